//! When a worker is started again, and when it is given up: in the words of Erlang/OTP's supervisors.

use std::time::Duration;

/// Whether a worker, or a group of them, is started again when it has ended by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Restarts {
    /// Always, also when it was done.
    #[default]
    Permanent,
    /// When it failed or panicked.
    Transient,
    /// Never.
    Temporary,
}

/// Who is started again when one of a group is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// That one alone.
    #[default]
    OneForOne,
    /// All of the group: the others are stopped first.
    OneForAll,
    /// That one and those that were registered after it: they are stopped first, the last one first.
    RestForOne,
}

/// How many restarts a group takes before it is given up itself, which is for its own group to deal with: escalation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intensity {
    pub(crate) restarts: u32,
    pub(crate) within: Duration,
}

impl Intensity {
    /// At most `restarts` within any stretch of `within`.
    pub const fn at_most(restarts: u32, within: Duration) -> Self {
        Self { restarts, within }
    }
}

/// OTP's: one restart within five seconds.
///
/// Source: Erlang/OTP, *Supervisor behaviour*, `intensity` and `period` of the supervisor flags.
impl Default for Intensity {
    fn default() -> Self {
        Self::at_most(1, Duration::from_secs(5))
    }
}

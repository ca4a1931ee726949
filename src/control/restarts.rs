//! When a worker is started again, and when it is given up: in the words of Erlang/OTP's supervisors.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use crate::control::wait::A_YEAR;

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

/// How long a worker rests before it is started again: longer each time, with jitter, so that workers that failed together do not come
/// back together. It begins anew when a run has lasted as long as the stretch of its group's [`Intensity`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    shortest: Duration,
    longest: Duration,
}

impl Backoff {
    /// From `shortest`, doubling, to `longest`; each with up to as much again, at random.
    pub const fn between(shortest: Duration, longest: Duration) -> Self {
        Self { shortest, longest }
    }

    /// No rest at all.
    pub const NONE: Self = Self::between(Duration::ZERO, Duration::ZERO);

    pub(crate) fn schedule(&self, seed: Option<u64>) -> Schedule {
        // Doubled, and as much again, it must still be a duration.
        let shortest = self.shortest.min(A_YEAR);
        let mut builder = ExponentialBuilder::new()
            .with_min_delay(shortest)
            .with_max_delay(self.longest.clamp(shortest, A_YEAR))
            .with_factor(2.0)
            .without_max_times()
            .with_jitter();
        if let Some(seed) = seed {
            builder = builder.with_jitter_seed(seed);
        }
        Schedule { of: *self, next: builder.build() }
    }
}

/// From ten milliseconds to ten seconds.
impl Default for Backoff {
    fn default() -> Self {
        Self::between(Duration::from_millis(10), Duration::from_secs(10))
    }
}

/// The rests of one worker, one after another.
#[derive(Debug)]
pub(crate) struct Schedule {
    of: Backoff,
    next: ExponentialBackoff,
}

impl Schedule {
    pub(crate) fn rest(&mut self) -> Duration {
        if self.of.longest.is_zero() { Duration::ZERO } else { self.next.next().unwrap_or(self.of.longest) }
    }

    pub(crate) fn begin_anew(&mut self) {
        *self = self.of.schedule(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_double_up_to_the_longest_and_differ_from_one_worker_to_the_next() {
        let backoff = Backoff::between(Duration::from_millis(10), Duration::from_secs(1));
        let rests = |seed| {
            let mut schedule = backoff.schedule(Some(seed));
            (0..12).map(|_| schedule.rest()).collect::<Vec<_>>()
        };
        for (rest, doublings) in rests(1).iter().zip(0..) {
            let least = (Duration::from_millis(10) * 2_u32.pow(doublings)).min(Duration::from_secs(1));
            assert!(*rest >= least && *rest <= least + Duration::from_secs(1), "{rest:?} after {doublings} doublings");
        }
        assert_ne!(rests(1), rests(2));
        assert_eq!(Backoff::NONE.schedule(None).rest(), Duration::ZERO);
    }
}

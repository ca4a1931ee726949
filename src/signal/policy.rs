//! What a subscription states: how many signals may wait, what happens to those for which there is no room, and what a failing
//! handler costs.

use std::time::Duration;

use crate::backoff::Backoff;

/// How many signals wait for a subscriber unless it says otherwise.
pub const WAITING: usize = 256;
/// The most that a subscription may ask for.
pub const WAITING_MAX: usize = 1 << 20;

/// What happens to signals that find a subscriber's queue full.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Full {
    /// The oldest that waits makes room.
    DropOldest,
    /// The newest is dropped.
    DropNewest,
    /// A newer signal of the same key takes in the one that waits, and its place is the newer one's; when the queue is full of other
    /// keys, the one that has waited longest makes room.
    CoalesceByKey,
    /// As many again are kept aside. They move up as room is made; when `tries` looks, with these rests between them, have found no
    /// room at all, what was kept aside is dropped.
    Retry {
        /// How many looks there are.
        tries: u32,
        /// How long to rest between two.
        backoff: Backoff,
    },
    /// Whoever publishes in this family waits: only in families whose publishers can, see [`Patient`](crate::signal::Patient). When
    /// nothing was read for this long, the newest are dropped until something is.
    Block {
        /// How long one that does not read may hold up its family.
        patience: Duration,
    },
}

impl Full {
    /// The policy's name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::DropOldest => "drop oldest",
            Self::DropNewest => "drop newest",
            Self::CoalesceByKey => "coalesce by key",
            Self::Retry { .. } => "retry",
            Self::Block { .. } => "block",
        }
    }
}

/// What happens when a handler fails or panics on a signal.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum OnFailure {
    /// That signal is given up, and the next one is handled.
    #[default]
    Skip,
    /// The same signal is handed over again after a rest, so many times, and then given up. The signals behind it wait.
    Retry {
        /// How many times more.
        tries: u32,
        /// How long to rest between two.
        backoff: Backoff,
    },
    /// The handler is called no more, and its subscription ends.
    Detach,
}

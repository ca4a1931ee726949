//! How a thread waits when there is nothing to do.

use std::time::Duration;

/// What a thread does between two polls that found nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdleStrategy {
    /// Polls again at once: the lowest latency, and a core of its own.
    Spin,
    /// Polls again after everyone else had a turn.
    Yield,
    /// Spins and yields a little, then sleeps. A main lane sleeps until it is woken; an ingestion thread wakes by
    /// itself after `longest`, to poll its source.
    Park {
        /// The longest an ingestion thread sleeps between two polls.
        longest: Duration,
    },
}

impl IdleStrategy {
    /// Sleeps for a millisecond at most.
    pub const PARK: IdleStrategy = IdleStrategy::Park { longest: Duration::from_millis(1) };
}

impl Default for IdleStrategy {
    fn default() -> Self {
        Self::PARK
    }
}

/// Counts idle polls in a row and says what to do about the next.
#[derive(Default)]
pub(crate) struct Idling {
    rounds: u32,
}

/// Long enough to meet a producer that is just publishing, short enough not to matter to anyone else.
const SPINS: u32 = 6;
const YIELDS: u32 = 4;

impl Idling {
    /// Something was there.
    pub(crate) fn reset(&mut self) {
        self.rounds = 0;
    }

    /// Waits a little. True when it is time to sleep instead.
    pub(crate) fn wait(&mut self, strategy: IdleStrategy) -> bool {
        match strategy {
            IdleStrategy::Spin => std::hint::spin_loop(),
            IdleStrategy::Yield => std::thread::yield_now(),
            IdleStrategy::Park { .. } if self.rounds < SPINS => {
                (0..1 << self.rounds).for_each(|_| std::hint::spin_loop());
                self.rounds += 1;
            }
            IdleStrategy::Park { .. } if self.rounds < SPINS + YIELDS => {
                std::thread::yield_now();
                self.rounds += 1;
            }
            IdleStrategy::Park { .. } => return true,
        }
        false
    }
}

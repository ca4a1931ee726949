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

/// What to do about an idle poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Spins this many times.
    Spin(u32),
    Yield,
    Sleep,
}

/// Long enough to meet a producer that is just publishing, short enough not to matter to anyone else.
const SPINS: u32 = 6;
const YIELDS: u32 = 4;
const ROUNDS: u32 = SPINS + YIELDS;

impl Idling {
    /// Something was there.
    pub(crate) fn reset(&mut self) {
        self.rounds = 0;
    }

    /// Waits a little. True when it is time to sleep instead.
    pub(crate) fn wait(&mut self, strategy: IdleStrategy) -> bool {
        match self.step(strategy) {
            Step::Spin(times) => (0..times).for_each(|_| std::hint::spin_loop()),
            Step::Yield => std::thread::yield_now(),
            Step::Sleep => return true,
        }
        false
    }

    fn step(&mut self, strategy: IdleStrategy) -> Step {
        match strategy {
            IdleStrategy::Spin => return Step::Spin(1),
            IdleStrategy::Yield => return Step::Yield,
            IdleStrategy::Park { .. } => {}
        }
        let step = match self.rounds {
            round @ ..SPINS => Step::Spin(1 << round),
            SPINS..ROUNDS => Step::Yield,
            ROUNDS.. => return Step::Sleep,
        };
        self.rounds += 1;
        step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_parks_spins_ever_longer_then_yields_then_sleeps_until_something_is_there() {
        let mut idling = Idling::default();
        let mut steps = || (0..12).map(|_| idling.step(IdleStrategy::PARK)).collect::<Vec<_>>();
        let spins = [1, 2, 4, 8, 16, 32].map(Step::Spin);
        let expected = [&spins[..], &[Step::Yield; 4], &[Step::Sleep; 2]].concat();
        assert_eq!(steps(), expected);
        assert_eq!(steps(), [Step::Sleep; 12]);
        idling.reset();
        assert_eq!(idling.step(IdleStrategy::PARK), Step::Spin(1));
    }

    #[test]
    fn only_who_parks_is_ever_told_to_sleep() {
        let sleeps = |strategy| {
            let mut idling = Idling::default();
            (0..100).filter(|_| idling.wait(strategy)).count()
        };
        assert_eq!([IdleStrategy::Spin, IdleStrategy::Yield, IdleStrategy::PARK].map(sleeps), [0, 0, 90]);
    }
}

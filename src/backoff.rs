//! How long to rest between two tries.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// For as long as anybody will wait.
pub(crate) const A_YEAR: Duration = Duration::from_secs(31_536_000);

/// How long something rests before it is tried again: longer each time, with jitter, so that what failed together does not come back
/// together.
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

/// The rests of one, one after another.
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
    fn rests_double_up_to_the_longest_and_differ_from_one_to_the_next() {
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

//! How long a scheduler does less when its lane is congested.
//!
//! # Rules
//! - **C1**: a sight of congestion begins a pause. While it lasts only a worse one counts as another sight.
//! - **C2**: each pause is twice as long as the one before, up to the longest.
//! - **C3**: a pause is waited out, also when the lane is clear before. The first look after it that finds the lane clear begins anew.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use crate::control::context::Congestion;

/// The pauses of one scheduler. Times are nanoseconds since some origin.
#[derive(Debug)]
pub(crate) struct Pauses {
    shortest: Duration,
    longest: Duration,
    next: ExponentialBackoff,
    level: Congestion,
    until: u64,
}

impl Pauses {
    pub(crate) fn between(shortest: Duration, longest: Duration) -> Self {
        let longest = longest.max(shortest);
        Self { shortest, longest, next: rests(shortest, longest), level: Congestion::Clear, until: 0 }
    }

    /// Looks at the lane; says for which congestion work is paused now, and whether a pause has begun.
    pub(crate) fn look(&mut self, now: u64, congestion: Congestion) -> (Congestion, bool) {
        let lasts = now < self.until;
        if lasts && congestion <= self.level {
            return (self.level, false);
        }
        self.level = congestion;
        if congestion == Congestion::Clear {
            self.next = rests(self.shortest, self.longest);
            return (Congestion::Clear, false);
        }
        let rest = self.next.next().unwrap_or(self.longest).as_nanos();
        self.until = now.saturating_add(u64::try_from(rest).unwrap_or(u64::MAX).max(1));
        (congestion, true)
    }

    /// When the pause that lasts ends.
    pub(crate) fn until(&self) -> u64 {
        self.until
    }
}

/// Without jitter: there is one scheduler on a lane, and nobody that it could come back together with.
fn rests(shortest: Duration, longest: Duration) -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(shortest)
        .with_max_delay(longest)
        .with_factor(2.0)
        .without_max_times()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use Congestion::{Busy, Clear, Full};

    #[test]
    fn pauses_double_are_waited_out_and_begin_anew() {
        let mut pauses = Pauses::between(Duration::from_nanos(10), Duration::from_nanos(70));
        let mut look = |now, congestion| {
            let (level, began) = pauses.look(now, congestion);
            (level, began, pauses.until())
        };
        assert_eq!(look(0, Clear), (Clear, false, 0));
        assert_eq!(look(5, Busy), (Busy, true, 15));
        assert_eq!(look(14, Busy), (Busy, false, 15));
        assert_eq!(look(14, Clear), (Busy, false, 15), "C3");
        assert_eq!(look(15, Busy), (Busy, true, 35));
        assert_eq!(look(16, Full), (Full, true, 56), "a worse one");
        assert_eq!(look(17, Busy), (Full, false, 56));
        assert_eq!(look(56, Busy), (Busy, true, 126), "C2");
        assert_eq!(look(126, Full), (Full, true, 196));
        assert_eq!(look(196, Clear), (Clear, false, 196));
        assert_eq!(look(197, Full), (Full, true, 207), "anew");
    }
}

//! How much one turn may do.

use std::time::{Duration, Instant};

/// How many events a turn may apply, and how long it may take. It stops wherever in the order it is, and the next turn
/// goes on from there.
///
/// The clock is looked at between events, at least at every eighth, so a turn overshoots its time by eight events at the most,
/// and by one when they are slow throughout. Effects count: what has no time left is run at the beginning of the next turn. So
/// does what is asked of a [timeline](crate::Builder::timeline): it is answered while there is time, but one question at least,
/// and a rewind is not done in parts. A budget of nothing applies nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    events: usize,
    time: Option<Duration>,
}

impl Budget {
    /// Everything there is.
    pub const UNLIMITED: Budget = Budget { events: usize::MAX, time: None };

    /// At most this long.
    pub const fn time(time: Duration) -> Self {
        Budget { events: usize::MAX, time: Some(time) }
    }

    /// At most this many milliseconds.
    pub const fn millis(milliseconds: u64) -> Self {
        Self::time(Duration::from_millis(milliseconds))
    }

    /// At most this many events.
    pub const fn events(events: usize) -> Self {
        Budget { events, time: None }
    }

    /// Also at most this many events.
    pub const fn and_events(self, events: usize) -> Self {
        Budget { events, ..self }
    }

    /// What is allowed by both.
    #[cfg(feature = "register")]
    pub(crate) fn at_most(self, other: Budget) -> Self {
        let time = match (self.time, other.time) {
            (Some(time), Some(other)) => Some(time.min(other)),
            (time, other) => time.or(other),
        };
        Budget { events: self.events.min(other.events), time }
    }

    /// What is left after this.
    #[cfg(feature = "register")]
    pub(crate) fn less(self, events: usize, time: Duration) -> Self {
        Budget { events: self.events.saturating_sub(events), time: self.time.map(|left| left.saturating_sub(time)) }
    }

    /// True when nothing is allowed.
    #[cfg(feature = "register")]
    pub(crate) fn is_nothing(self) -> bool {
        self.events == 0 || self.time == Some(Duration::ZERO)
    }
}

/// A budget being spent.
pub(crate) struct Pace {
    left: usize,
    /// Events allowed before the next look at the clock.
    credit: usize,
    timed: Option<Timed>,
}

struct Timed {
    deadline: Instant,
    /// The longest that may pass between two looks at the clock.
    slice: Duration,
    looked: Instant,
    stride: usize,
}

/// Events between two looks at the clock at most: it costs about as much as four quick events.
const STRIDE_MAX: usize = 8;

impl Pace {
    #[inline]
    pub(crate) fn new(budget: Budget) -> Self {
        let timed = budget.time.and_then(Timed::new);
        Self { left: budget.events, credit: 0, timed }
    }

    /// How many events may be applied before this is asked again; zero when the budget is spent.
    #[inline]
    pub(crate) fn allowance(&mut self) -> usize {
        let Some(timed) = &mut self.timed else { return self.left };
        if self.credit == 0 {
            self.credit = timed.stride(Instant::now());
        }
        self.credit.min(self.left)
    }

    /// True when the time is up.
    pub(crate) fn is_over(&self) -> bool {
        self.timed.as_ref().is_some_and(|timed| Instant::now() >= timed.deadline)
    }

    /// How many events are left, whatever the time is.
    #[cfg(feature = "signal")]
    pub(crate) fn events_left(&self) -> usize {
        self.left
    }

    #[inline]
    pub(crate) fn spend(&mut self, events: usize) {
        self.left -= events;
        self.credit = self.credit.saturating_sub(events);
    }
}

impl Timed {
    /// None for a time past the clock's range, which is no limit.
    fn new(time: Duration) -> Option<Self> {
        let looked = Instant::now();
        let deadline = looked.checked_add(time)?;
        Some(Self { deadline, slice: time / 16, looked, stride: 1 })
    }

    /// How many events may be applied from `now` to the next look at the clock.
    fn stride(&mut self, now: Instant) -> usize {
        if now >= self.deadline {
            return 0;
        }
        self.stride = if now.duration_since(self.looked) < self.slice / 2 {
            (self.stride * 2).min(STRIDE_MAX)
        } else {
            (self.stride / 4).max(1)
        };
        self.looked = now;
        self.stride
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_of_events_is_exact() {
        let mut pace = Pace::new(Budget::events(10));
        assert_eq!(pace.allowance(), 10);
        pace.spend(10);
        assert_eq!(pace.allowance(), 0);
    }

    #[test]
    fn however_quick_events_are_the_clock_is_looked_at_again_soon() {
        let mut pace = Pace::new(Budget::time(Duration::from_secs(3600)));
        for _ in 0..1000 {
            let allowance = pace.allowance();
            assert!((1..=STRIDE_MAX).contains(&allowance), "the next event may be a slow one");
            pace.spend(allowance);
        }
    }

    #[test]
    fn time_that_is_up_allows_nothing() {
        assert_eq!(Pace::new(Budget::time(Duration::ZERO)).allowance(), 0);
    }

    #[test]
    fn a_time_past_the_end_of_the_clock_is_no_limit() {
        assert_eq!(Pace::new(Budget::time(Duration::MAX).and_events(5)).allowance(), 5);
    }

    #[test]
    fn a_budget_is_what_it_was_asked_to_be() {
        let second = Some(Duration::from_secs(1));
        let budget = |events, time| Budget { events, time };
        assert_eq!(Budget::time(Duration::from_secs(1)), budget(usize::MAX, second));
        assert_eq!(Budget::millis(1000).and_events(3), budget(3, second));
        assert_eq!(Budget::events(3), budget(3, None));
    }

    #[cfg(feature = "register")]
    #[test]
    fn of_two_budgets_the_smaller_of_each_is_left_and_what_was_used_is_taken_off() {
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        let both = Budget::time(second).and_events(9).at_most(Budget::time(minute).and_events(3));
        assert_eq!(both, Budget::time(second).and_events(3));
        assert_eq!(Budget::events(2).at_most(Budget::time(second)), Budget::time(second).and_events(2));
        assert_eq!(both.less(1, second / 4), Budget::time(second * 3 / 4).and_events(2));
        assert!(both.less(4, Duration::ZERO).is_nothing() && both.less(0, minute).is_nothing());
        assert!(!both.is_nothing() && !Budget::UNLIMITED.less(1, minute).is_nothing());
    }

    #[test]
    fn only_a_time_that_is_up_is_over() {
        assert!(Pace::new(Budget::time(Duration::ZERO)).is_over());
        assert!(!Pace::new(Budget::time(Duration::from_secs(3600))).is_over());
        assert!(!Pace::new(Budget::events(0)).is_over(), "there was no time to be over");
    }

    #[test]
    fn what_is_spent_is_gone_from_both_the_budget_and_the_stretch_to_the_next_look() {
        let mut pace = Pace::new(Budget::time(Duration::from_secs(3600)).and_events(7));
        assert_eq!(pace.allowance(), 2);
        pace.spend(1);
        assert_eq!((pace.allowance(), pace.left), (1, 6));
        pace.spend(1);
        assert_eq!(pace.allowance(), 4);
        pace.spend(4);
        assert_eq!(pace.allowance(), 1, "the clock would allow eight");
    }

    #[test]
    fn quick_events_double_the_stretch_between_two_looks_and_slow_ones_quarter_it() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut timed = Timed { deadline: at(16_000), slice: Duration::from_secs(1), looked: start, stride: 1 };
        let quick = [499, 998, 1497, 1996].map(|now| timed.stride(at(now)));
        assert_eq!(quick, [2, 4, 8, 8]);
        let slow = [2496, 2996, 3496].map(|now| timed.stride(at(now)));
        assert_eq!(slow, [2, 1, 1], "half a slice is already slow");
        assert_eq!([15_999, 16_000].map(|now| timed.stride(at(now))), [1, 0]);
    }
}

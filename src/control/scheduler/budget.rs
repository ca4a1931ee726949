//! What the work of a scheduler may cost, and what it has cost so far.
//!
//! # Rules
//! - **B1 any window**: what is spent within one `window`, wherever it begins, is never more than `units`.
//! - **B2 at once**: what is spent within any time `t` is never more than `burst + units * t / window`.
//!
//! Two spends that are exactly a window apart are not within one. Times are nanoseconds since some origin.

use std::collections::VecDeque;
use std::time::Duration;

/// Into how many parts a window is cut at most: spends within one part are remembered as one, made when the last of them was.
const PARTS: u64 = 256;

/// What the work of a [`Scheduler`](super::Scheduler) may cost: so many units within any stretch of time of one length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScheduleBudget {
    units: u32,
    window: Duration,
    burst: u32,
}

impl ScheduleBudget {
    /// Nothing may run.
    pub const NONE: Self = Self::per(Duration::from_secs(1), 0);

    /// At most `units` within any `window`, all of them at once if need be. A window lasts a nanosecond at least.
    pub const fn per(window: Duration, units: u32) -> Self {
        Self { units, window, burst: units }
    }

    /// At most so many at once; what was spent of them comes back evenly, `units` in a window.
    pub const fn burst(mut self, units: u32) -> Self {
        self.burst = units;
        self
    }

    /// The most that one run can ever cost.
    pub(crate) fn ceiling(&self) -> u32 {
        self.units.min(self.burst)
    }

    fn window_ns(&self) -> u64 {
        u64::try_from(self.window.as_nanos()).unwrap_or(u64::MAX).max(1)
    }
}

/// What was spent, as far as it still counts.
#[derive(Debug)]
pub(crate) struct Spending {
    budget: ScheduleBudget,
    /// B1: the last window, oldest first.
    spent: VecDeque<Spent>,
    /// The sum of it.
    units: u64,
    /// B2: what has not come back yet, in units times the nanoseconds of a window, at the time `at`.
    debt: u128,
    at: u64,
}

/// Spends of one part of a window.
#[derive(Debug)]
struct Spent {
    first: u64,
    last: u64,
    units: u64,
}

impl Default for Spending {
    fn default() -> Self {
        Self { budget: ScheduleBudget::NONE, spent: VecDeque::new(), units: 0, debt: 0, at: 0 }
    }
}

impl Spending {
    /// From now on this budget holds. What was spent under the one before counts, as long as its window had it.
    pub(crate) fn hold(&mut self, now: u64, budget: ScheduleBudget) {
        self.come_back(now);
        if budget != self.budget {
            let units = self.debt.div_ceil(self.window());
            self.budget = budget;
            self.debt = units * self.window();
            self.come_back(now);
        }
    }

    /// How many units may be spent at this moment.
    pub(crate) fn room(&mut self, now: u64) -> u32 {
        self.come_back(now);
        let in_window = u64::from(self.budget.units).saturating_sub(self.units);
        let at_once = (u128::from(self.budget.burst) * self.window()).saturating_sub(self.debt) / self.window();
        // Neither is more than a budget has.
        in_window.min(at_once as u64) as u32
    }

    /// When that much may be spent if nothing else is; `None` when it never may.
    pub(crate) fn when(&mut self, now: u64, units: u32) -> Option<u64> {
        if units > self.budget.ceiling() {
            return None;
        }
        self.come_back(now);
        let mut over = (self.units + u64::from(units)).saturating_sub(self.budget.units.into());
        let leaving = self.spent.iter().take_while(|spent| {
            let leaves = over > 0;
            over = over.saturating_sub(spent.units);
            leaves
        });
        let in_window = leaving.last().map_or(now, |spent| spent.last.saturating_add(self.budget.window_ns()));
        let owed = self.debt + u128::from(units) * self.window();
        let too_much = owed.saturating_sub(u128::from(self.budget.burst) * self.window());
        // No more than the ceiling, so there are units that come back.
        let rest = too_much.div_ceil(u128::from(self.budget.units.max(1)));
        let at_once = now.saturating_add(u64::try_from(rest).unwrap_or(u64::MAX));
        Some(in_window.max(at_once))
    }

    /// Spends what there is room for.
    pub(crate) fn spend(&mut self, now: u64, units: u32) {
        debug_assert!(units <= self.room(now), "B1, B2");
        self.come_back(now);
        self.debt += u128::from(units) * self.window();
        let units = u64::from(units);
        self.units += units;
        let part = self.budget.window_ns() / PARTS;
        match self.spent.back_mut() {
            Some(spent) if now <= spent.last || now - spent.first < part => {
                spent.last = spent.last.max(now);
                spent.units += units;
            }
            Some(_) | None => self.spent.push_back(Spent { first: now, last: now, units }),
        }
    }

    fn window(&self) -> u128 {
        self.budget.window_ns().into()
    }

    /// Time has passed.
    fn come_back(&mut self, now: u64) {
        let passed = now.saturating_sub(self.at);
        self.debt = self.debt.saturating_sub(u128::from(passed) * u128::from(self.budget.units));
        self.at = self.at.max(now);
        while self.spent.front().is_some_and(|spent| now.saturating_sub(spent.last) >= self.budget.window_ns()) {
            self.units -= self.spent.pop_front().map_or(0, |spent| spent.units);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::twin::{Budget, breaks, spend_by};
    use super::*;

    fn budget(units: u32, window: u64, burst: u32) -> ScheduleBudget {
        ScheduleBudget::per(Duration::from_nanos(window), units).burst(burst)
    }

    /// Spends what there is room for of each wish, and says when it spent what.
    fn spend_all(budget: ScheduleBudget, wishes: &[(u64, u32)]) -> Vec<(u64, u32)> {
        let (mut spending, mut now, mut spends) = (Spending::default(), 0, Vec::new());
        for (further, units) in wishes {
            now += further;
            spending.hold(now, budget);
            if spending.room(now) >= *units {
                spending.spend(now, *units);
                spends.push((now, *units));
            }
        }
        spends
    }

    #[test]
    fn a_burst_then_evenly_and_a_window_never_sees_more() {
        let mut spending = Spending::default();
        spending.hold(0, budget(10, 1000, 4));
        assert_eq!((spending.room(0), spending.when(0, 4), spending.when(0, 5)), (4, Some(0), None));
        spending.spend(0, 4);
        assert_eq!((spending.room(99), spending.room(100), spending.when(100, 2)), (0, 1, Some(200)));
        for at in 1..=6 {
            spending.spend(100 * at, 1);
        }
        assert_eq!((spending.room(700), spending.when(700, 1)), (0, Some(1000)), "ten were spent since 0");
        assert_eq!((spending.room(999), spending.room(1000)), (0, 4));
    }

    #[test]
    fn another_budget_knows_what_was_spent() {
        let mut spending = Spending::default();
        spending.hold(0, budget(3, 1000, 3));
        spending.spend(0, 3);
        spending.hold(1, budget(5, 1000, 5));
        assert_eq!(spending.room(1), 2);
        spending.hold(2, budget(1, 1000, 1));
        assert_eq!((spending.room(2), spending.when(2, 1)), (0, Some(3002)), "what was too much comes back slowly");
        spending.hold(3, budget(8, 500, 8));
        assert_eq!(spending.room(3), 5);
        spending.hold(4, ScheduleBudget::NONE);
        assert_eq!((spending.room(4), spending.when(4, 1)), (0, None));
    }

    #[test]
    fn the_memory_of_a_window_is_bounded() {
        let (mut spending, second) = (Spending::default(), 1_000_000_000);
        for n in 0..100_000 {
            let now = n * second / 10_000;
            spending.hold(now, ScheduleBudget::per(Duration::from_secs(1), 1_000_000));
            spending.spend(now, 1);
            assert!(spending.spent.len() as u64 <= PARTS + 2);
        }
        assert!(spending.spent.len() as u64 > PARTS / 2);
    }

    #[test]
    fn spends_that_are_remembered_as_one_count_until_the_last_of_them_is_over() {
        let rule = Budget { units: 6, window: 51_200, burst: 12 };
        let spends = spend_all(budget(6, 51_200, 12), &[(0, 1), (100, 5), (51_100, 1), (99, 5), (1, 5)]);
        assert_eq!(spends, [(0, 1), (100, 5), (51_300, 5)]);
        assert_eq!(breaks(rule, &spends), None);
        assert_eq!(breaks(rule, &[(0, 1), (100, 5), (51_200, 1), (51_299, 5)]), Some("B1"));
    }

    fn wishes(further: u64) -> impl Strategy<Value = Vec<(u64, u32)>> {
        vec((prop_oneof![Just(0), 0..further], 1u32..4), 0..80)
    }

    #[test]
    fn refilling_at_the_edges_of_windows_is_told_apart() {
        // Ten just before an edge, ten just after it.
        let wishes: Vec<_> = (0..10).map(|_| (0, 1)).collect();
        let wishes = [vec![(95, 1)], wishes.clone(), vec![(10, 1)], wishes].concat();
        let rule = Budget { units: 10, window: 100, burst: 10 };
        assert_eq!(breaks(rule, &spend_by(Budget::room_by_edges, rule, &wishes)), Some("B1"));
        assert_eq!(breaks(rule, &spend_by(Budget::room, rule, &wishes)), None);
        assert_eq!(breaks(rule, &spend_all(budget(10, 100, 10), &wishes)), None);
    }

    #[test]
    fn a_bucket_alone_is_told_apart_and_so_is_a_window_alone() {
        let wishes: Vec<_> = (0..60).map(|_| (3, 1)).collect();
        let rule = Budget { units: 10, window: 100, burst: 10 };
        assert_eq!(breaks(rule, &spend_by(Budget::room_in_bucket, rule, &wishes)), Some("B1"));
        let rule = Budget { burst: 2, ..rule };
        assert_eq!(breaks(rule, &spend_by(Budget::room_in_window, rule, &wishes)), Some("B2"));
    }

    proptest! {
        #[test]
        fn it_spends_what_the_twin_does(wishes in wishes(60), units in 0u32..12, window in 1u64..300, burst in 0u32..14) {
            let rule = Budget { units, window, burst };
            let spends = spend_all(budget(units, window, burst), &wishes);
            prop_assert_eq!(breaks(rule, &spends), None);
            prop_assert_eq!(spends, spend_by(Budget::room, rule, &wishes));
        }

        #[test]
        fn where_spends_are_remembered_as_one_the_rules_hold_too(wishes in wishes(1_500), units in 0u32..12) {
            let rule = Budget { units, window: 50_000, burst: units };
            prop_assert_eq!(breaks(rule, &spend_all(budget(units, 50_000, units), &wishes)), None);
        }

        #[test]
        fn when_is_the_first_moment_with_room(wishes in wishes(60), units in 1u32..12, window in 1u64..300, burst in 1u32..14) {
            let (mut spending, mut now) = (Spending::default(), 0);
            spending.hold(0, budget(units, window, burst));
            for (further, cost) in wishes {
                now += further;
                if spending.room(now) >= cost {
                    spending.spend(now, cost);
                } else if let Some(at) = spending.when(now, cost) {
                    prop_assert!(at > now);
                    now = at - 1;
                    prop_assert!(spending.room(now) < cost);
                    now = at;
                    prop_assert!(spending.room(now) >= cost);
                    spending.spend(now, cost);
                }
            }
        }
    }
}

//! What no contender of a table can beat on this machine, and how near ours come.
//!
//! A limit is computed from what the machine took for single things ([`Costs`]) when each round began and when the last one
//! ended; a round is compared with what was measured at its own two ends.

use serde::Serialize;

use super::costs::Costs;
use super::rounds::{Spread, Table};

const LINE_BYTES: f64 = 64.0;
const NS_PER_SECOND: f64 = 1e9;

/// A limit, and how much of it was reached.
#[derive(Debug, Serialize)]
pub(crate) struct Limit {
    pub(crate) what: String,
    /// In the unit of the table.
    pub(crate) value: Spread,
    /// The one of ours that came nearest.
    pub(crate) by: String,
    /// One when it cannot be better; round by round.
    pub(crate) reached: Spread,
}

/// In the unit of a table; `None` where a cost is not known.
type Value = dyn Fn(&Costs) -> Option<f64>;

/// How a limit follows from what things cost.
pub(crate) struct Bound {
    what: String,
    /// True if it holds for lanes in causal order alone.
    clocked: bool,
    value: Box<Value>,
}

impl Bound {
    fn new(what: impl Into<String>, value: impl Fn(&Costs) -> Option<f64> + 'static) -> Self {
        Self { what: what.into(), clocked: false, value: Box::new(value) }
    }

    /// Events per second, when events of so many bytes fill lines, and one line follows the other from core to core.
    ///
    /// `64 bytes / bytes / time of a line`. Producers on several cores whose lines come at the same time may do better.
    pub(crate) fn packed(bytes: usize) -> Self {
        let per_line = LINE_BYTES / bytes as f64;
        let what = format!("events of {bytes} bytes, {per_line:.3} to a line, line after line");
        Self::new(what.replace(".000", ""), move |costs| Some(per_line / costs.line_ns? * NS_PER_SECOND))
    }

    /// Events per second, when each takes `updates` atomic read-modify-writes, one after the other.
    ///
    /// `1 / (updates * time of one that nobody disturbs)`; whoever disturbs it can only make it longer.
    pub(crate) fn updates(updates: u32) -> Self {
        let what = match updates {
            1 => "one atomic update for each".to_owned(),
            _ => format!("{updates} atomic updates for each"),
        };
        Self::new(what, move |costs| Some(NS_PER_SECOND / (f64::from(updates) * costs.update_ns)))
    }

    /// Nanoseconds until who pushed a burst of so many bytes knows that its end was seen.
    ///
    /// `a word there + the other lines behind it + a word back`.
    pub(crate) fn there_and_back(bytes: usize) -> Self {
        let more = (bytes as f64 / LINE_BYTES).ceil() - 1.0;
        let what = match more as usize {
            0 => "a word there and a word back".to_owned(),
            1 => "a word there, one more line, and a word back".to_owned(),
            more => format!("a word there, {more} more lines, and a word back"),
        };
        Self::new(what, move |costs| Some(2.0 * costs.transfer_ns? + more * costs.line_ns?))
    }

    /// Nanoseconds from one look at the clock to one on the other core that was waiting for the event.
    ///
    /// `a word there + a look at the clock`: from the end of one look to the end of the other.
    pub(crate) fn there() -> Self {
        let value = |costs: &Costs| Some(costs.transfer_ns? + costs.clock_ns);
        Self::new("a word there and a look at the clock", value)
    }

    /// Nanoseconds of a load that finds what it wants in the nearest cache.
    pub(crate) fn cached() -> Self {
        Self::new("a load from the nearest cache", |costs| Some(costs.load_ns))
    }

    /// For lanes in causal order alone.
    pub(crate) fn when_clocked(self) -> Self {
        Self { what: format!("{}, in causal order", self.what), clocked: true, ..self }
    }

    fn holds_for(&self, row: &str) -> bool {
        row.starts_with("mainlane") && (!self.clocked || row == "mainlane, in causal order")
    }
}

impl Table {
    /// Adds a limit, if the machine has what it takes to know it.
    pub(crate) fn limit(&mut self, bound: Bound) {
        let values: Option<Vec<f64>> = self.costs.iter().map(|costs| (bound.value)(costs)).collect();
        let Some(values) = values.filter(|values| !values.is_empty()) else { return };
        let nearest = (self.rows.iter().filter(|row| bound.holds_for(&row.name)))
            .map(|row| (row, Spread::of(reached(&row.figures, &values, self.more_is_better))))
            .max_by(|(_, one), (_, other)| one.median.total_cmp(&other.median));
        let Some((row, reached)) = nearest else { return };
        let (what, by) = (bound.what, row.name.clone());
        self.limits.push(Limit { what, value: Spread::of(values), by, reached });
    }
}

/// How much of a limit each round reached; `values` has one more, for a round is between two of them.
fn reached(figures: &[f64], values: &[f64], more_is_better: bool) -> impl Iterator<Item = f64> {
    figures.iter().zip(values.windows(2)).map(move |(figure, ends)| {
        let limit = (ends[0] + ends[1]) / 2.0;
        if more_is_better { figure / limit } else { limit / figure }
    })
}

#[cfg(test)]
mod tests {
    use super::super::rounds::{self, Contender};
    use super::*;

    fn costs(line_ns: f64) -> Costs {
        Costs {
            transfer_ns: Some(40.0),
            line_ns: Some(line_ns),
            contended_ns: Some(10.0),
            update_ns: 5.0,
            load_ns: 0.5,
            clock_ns: 20.0,
        }
    }

    fn value(bound: Bound) -> f64 {
        (bound.value)(&costs(2.0)).unwrap()
    }

    #[test]
    fn limits_follow_from_costs() {
        assert_eq!(value(Bound::packed(8)), 4e9);
        assert_eq!(value(Bound::packed(128)), 0.25e9);
        assert_eq!((value(Bound::updates(1)), value(Bound::updates(2))), (0.2e9, 0.1e9));
        assert_eq!((value(Bound::there_and_back(8)), value(Bound::there_and_back(64))), (80.0, 80.0));
        assert_eq!(value(Bound::there_and_back(800)), 80.0 + 12.0 * 2.0);
        assert_eq!((value(Bound::there()), value(Bound::cached())), (60.0, 0.5));
    }

    #[test]
    fn limits_say_what_they_are_of() {
        assert_eq!(Bound::packed(8).what, "events of 8 bytes, 8 to a line, line after line");
        assert_eq!(Bound::packed(24).what, "events of 24 bytes, 2.667 to a line, line after line");
        assert_eq!(Bound::there_and_back(80).what, "a word there, one more line, and a word back");
        assert_eq!(Bound::updates(1).when_clocked().what, "one atomic update for each, in causal order");
    }

    /// Two rounds: the first between lines of 2 and 4 ns, the second between two of 4 ns.
    fn table(more_is_better: bool) -> Table {
        let contenders = [("mainlane, in causal order", 1e9), ("mainlane, unclocked", 2e9), ("a peer", 3e9)]
            .map(|(name, figure)| Contender::new(name, move || figure));
        let table = rounds::run("t", "events per second", more_is_better, contenders.into(), 2, 1);
        assert_eq!(table.costs.len(), 3, "before each round, and after the last");
        Table { costs: [2.0, 4.0, 4.0].map(costs).into(), ..table }
    }

    #[test]
    fn what_is_reached_is_of_ours_and_round_by_round() {
        let mut table = table(true);
        table.limit(Bound::packed(8));
        let limit = &table.limits[0];
        // The limits are 4, 2 and 2 thousand million; the rounds' 3 and 2.
        assert_eq!((limit.value.median, limit.by.as_str()), (2e9, "mainlane, unclocked"));
        assert_eq!((limit.reached.median * 12.0).round(), (2.0 / 3.0 + 1.0) / 2.0 * 12.0);
    }

    #[test]
    fn a_limit_of_clocked_lanes_is_compared_with_those_alone() {
        let mut table = table(true);
        table.limit(Bound::updates(1).when_clocked());
        assert_eq!((table.limits[0].by.as_str(), table.limits[0].reached.median), ("mainlane, in causal order", 5.0));
    }

    #[test]
    fn of_what_should_be_small_a_limit_is_below() {
        let mut table = table(false);
        table.limit(Bound::cached());
        assert_eq!(
            (table.limits[0].by.as_str(), table.limits[0].reached.median),
            ("mainlane, in causal order", 0.5e-9)
        );
    }

    #[test]
    fn what_is_not_known_is_no_limit() {
        let mut table = table(true);
        table.costs[1].line_ns = None;
        table.limit(Bound::packed(8));
        table.rows.remove(0);
        table.limit(Bound::updates(1).when_clocked());
        assert!(table.limits.is_empty(), "neither a cost nor a row to compare: {:?}", table.limits);
    }
}

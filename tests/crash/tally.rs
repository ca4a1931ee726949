//! What has to be reached for a run to count: a test that injects faults and never meets one shows nothing.

use std::collections::BTreeMap;
use std::fmt;

#[derive(Default)]
pub(crate) struct Tally(BTreeMap<String, u64>);

impl Tally {
    pub(crate) fn add(&mut self, what: impl Into<String>) {
        *self.0.entry(what.into()).or_default() += 1;
    }

    pub(crate) fn add_if(&mut self, reached: bool, what: impl Into<String>) {
        if reached {
            self.add(what);
        }
    }

    pub(crate) fn of(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }

    /// Each of these was reached at least once.
    pub(crate) fn must_have(&self, all: &[&str]) {
        for what in all {
            assert!(self.of(what) > 0, "never reached: {what}; reached: {self}");
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(what, count)| write!(f, "\n  {count:>7} {what}"))
    }
}

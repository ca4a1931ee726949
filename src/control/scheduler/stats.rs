//! What a scheduler counts, and what it remembers from one run to the next.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::budget::Spending;
use crate::sync::Mutex;

/// What became of one entry's work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntryCounts {
    /// Begun: of a periodic entry its runs, of a likely one its events. Each has cost what the entry says.
    pub runs: u64,
    /// How often a likely entry was asked.
    pub asked: u64,
    /// Periods that passed without a run of their own, since the run before them was late.
    pub missed: u64,
    /// Due runs, or new snapshots, that had to wait for budget. Each counts once.
    pub put_off_budget: u64,
    /// Due runs, or new snapshots, that had to wait since the lane was congested. Each counts once.
    pub put_off_congestion: u64,
    /// Runs that panicked, or whose events were refused.
    pub failures: u64,
}

/// What a [`Scheduler`](super::Scheduler) did. Cheap to clone; for views and for the host.
///
/// It also keeps what was spent. Given to each scheduler that a factory makes, one after another, it goes on counting when the worker
/// is restarted, and the budget holds across restarts. It is for one worker: two at a time would share a budget.
#[derive(Clone, Default)]
pub struct SchedulerStats(Arc<Mutex<Ledger>>);

/// What outlives a run.
pub(crate) struct Ledger {
    origin: Instant,
    pub(crate) spending: Spending,
    pub(crate) entries: Vec<(Arc<str>, EntryCounts)>,
    pub(crate) pauses: u64,
}

impl Default for Ledger {
    fn default() -> Self {
        Self { origin: Instant::now(), spending: Spending::default(), entries: Vec::new(), pauses: 0 }
    }
}

impl Ledger {
    /// The place of this entry, a new one if need be.
    pub(crate) fn place(&mut self, name: &Arc<str>) -> usize {
        self.entries.iter().position(|(its, _)| its == name).unwrap_or_else(|| {
            self.entries.push((name.clone(), EntryCounts::default()));
            self.entries.len() - 1
        })
    }

    pub(crate) fn counts(&mut self, place: usize) -> &mut EntryCounts {
        &mut self.entries[place].1
    }
}

impl SchedulerStats {
    /// Nothing was done yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What became of this entry's work; `None` while no scheduler that has it was started.
    pub fn entry(&self, name: &str) -> Option<EntryCounts> {
        self.0.lock().entries.iter().find(|(its, _)| **its == *name).map(|(_, counts)| *counts)
    }

    /// All entries, in the order in which they were registered.
    pub fn entries(&self) -> Vec<(Arc<str>, EntryCounts)> {
        self.0.lock().entries.clone()
    }

    /// How many pauses were made since the lane was congested.
    pub fn pauses(&self) -> u64 {
        self.0.lock().pauses
    }

    pub(crate) fn with<R>(&self, look: impl FnOnce(&mut Ledger) -> R) -> R {
        look(&mut self.0.lock())
    }

    /// The time, in nanoseconds since these were made.
    pub(crate) fn now(&self) -> u64 {
        let origin = self.0.lock().origin;
        u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl fmt::Debug for SchedulerStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SchedulerStats").field("entries", &self.entries()).field("pauses", &self.pauses()).finish()
    }
}

//! What the queue counts, and how long things took.

use std::fmt;
use std::ops::AddAssign;
use std::sync::Arc;

use hdrhistogram::Histogram;

use crate::sync::Mutex;

use super::Priority;

/// How a job ended, or was told to, without what it came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Done,
    Failed,
    Panicked,
    Cancelled,
    Expired,
    Shed,
    Abandoned,
}

/// Jobs by what has become of them.
///
/// `accepted = waiting + running + done + failed + panicked + cancelled + expired + shed + abandoned`, always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobCounts {
    /// Taken in.
    pub accepted: u64,
    /// Handed back: the queue was full. Not among the accepted.
    pub refused: u64,
    /// Not started, or between two slices.
    pub waiting: u64,
    /// In a slot.
    pub running: u64,
    /// Ended with a value.
    pub done: u64,
    /// Ended with an error.
    pub failed: u64,
    /// Ended with a panic.
    pub panicked: u64,
    /// Taken back, before or while they ran.
    pub cancelled: u64,
    /// Not started by their deadline, so not started at all.
    pub expired: u64,
    /// Made room for one of a higher priority.
    pub shed: u64,
    /// Given up: the runtime has gone, or the queue was closed and they did not stop in time.
    pub abandoned: u64,
}

impl JobCounts {
    /// Whether the law holds.
    pub fn balanced(&self) -> bool {
        self.accepted == self.waiting + self.running + self.ended()
    }

    /// Those accepted that have ended, in whatever way.
    pub fn ended(&self) -> u64 {
        self.done + self.failed + self.panicked + self.cancelled + self.expired + self.shed + self.abandoned
    }

    pub(crate) fn end(&mut self, end: End) {
        *match end {
            End::Done => &mut self.done,
            End::Failed => &mut self.failed,
            End::Panicked => &mut self.panicked,
            End::Cancelled => &mut self.cancelled,
            End::Expired => &mut self.expired,
            End::Shed => &mut self.shed,
            End::Abandoned => &mut self.abandoned,
        } += 1;
    }
}

impl AddAssign for JobCounts {
    fn add_assign(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.waiting += other.waiting;
        self.running += other.running;
        self.done += other.done;
        self.failed += other.failed;
        self.panicked += other.panicked;
        self.cancelled += other.cancelled;
        self.expired += other.expired;
        self.shed += other.shed;
        self.abandoned += other.abandoned;
    }
}

/// Wait and run times in nanoseconds, to about one in a hundred.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct JobTimes {
    /// From submission to the first start, of jobs that were started.
    pub wait: Histogram<u64>,
    /// All slices together, of jobs that were started and have ended.
    pub run: Histogram<u64>,
}

/// Where times are recorded, under a lock that is held for one record or one copy.
pub(crate) struct Times(Mutex<JobTimes>);

impl Default for Times {
    fn default() -> Self {
        // Grows by need: what has seen milliseconds has no place for hours.
        let histogram = || Histogram::new(2).expect("two digits are possible");
        Self(Mutex::new(JobTimes { wait: histogram(), run: histogram() }))
    }
}

impl Times {
    pub(crate) fn waited(&self, wait_ns: u64) {
        // It grows to whatever a u64 can be, so nothing is out of range.
        let _ = self.0.lock().wait.record(wait_ns);
    }

    pub(crate) fn ran(&self, run_ns: u64) {
        let _ = self.0.lock().run.record(run_ns);
    }

    pub(crate) fn snapshot(&self) -> JobTimes {
        self.0.lock().clone()
    }

    pub(crate) fn add(&self, other: &Times) {
        let JobTimes { wait, run } = other.snapshot();
        let mut times = self.0.lock();
        let _ = times.wait.add(wait);
        let _ = times.run.add(run);
    }
}

/// The jobs of one submitter, or of one priority.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct JobFigures {
    /// What has become of them.
    pub counts: JobCounts,
    /// How long they waited and ran.
    pub times: JobTimes,
}

/// What a maintenance queue has seen so far.
///
/// All counts are of one moment. Each histogram is of a moment of its own, a little later.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MaintenanceStats {
    /// By the priority a job was submitted with, lowest first.
    pub priorities: Vec<(Priority, JobFigures)>,
    /// By submitter, in order of their names.
    pub submitters: Vec<(Arc<str>, JobFigures)>,
    /// Submitters that are no longer remembered one by one, all together.
    pub forgotten: JobFigures,
    /// Panics in the `drop` of a job's closure or future, or of a value that nobody waited for.
    pub drop_panics: u64,
}

impl MaintenanceStats {
    /// All jobs together.
    pub fn total(&self) -> JobCounts {
        let mut total = JobCounts::default();
        self.priorities.iter().for_each(|(_, figures)| total += figures.counts);
        total
    }

    /// One priority.
    pub fn priority(&self, priority: Priority) -> &JobFigures {
        &self.priorities[priority as usize].1
    }

    /// One submitter, if it is remembered.
    pub fn submitter(&self, name: &str) -> Option<&JobFigures> {
        self.submitters.iter().find(|(its, _)| **its == *name).map(|(_, figures)| figures)
    }
}

impl fmt::Display for MaintenanceStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (priority, figures) in &self.priorities {
            writeln!(f, "{priority}: {figures}")?;
        }
        Ok(())
    }
}

impl fmt::Display for JobFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let JobCounts { waiting, running, done, .. } = self.counts;
        let ended = self.counts.ended();
        let at = |times: &Histogram<u64>, quantile| times.value_at_quantile(quantile) as f64 / 1e3;
        let JobTimes { wait, run } = &self.times;
        write!(f, "{waiting} waiting, {running} running, {ended} ended ({done} done); ")?;
        write!(f, "wait p50 {:.1} us, p99 {:.1} us; ", at(wait, 0.5), at(wait, 0.99))?;
        write!(f, "run p50 {:.1} us, p99 {:.1} us", at(run, 0.5), at(run, 0.99))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_kept_to_one_in_a_hundred_whatever_their_size() {
        let times = Times::default();
        for ns in [1, 1_000, 1_000_000_000, u64::MAX / 2] {
            times.ran(ns);
            let max = times.snapshot().run.max();
            assert!(max >= ns && max - ns <= ns / 100, "{ns} is kept as {max}");
        }
        let both = Times::default();
        both.waited(5);
        both.add(&times);
        assert_eq!((both.snapshot().run.len(), both.snapshot().wait.len()), (4, 1));
    }

    #[test]
    fn every_end_has_its_count_and_the_law_tells_when_one_is_missing() {
        let ends = [End::Done, End::Failed, End::Panicked, End::Cancelled, End::Expired, End::Shed, End::Abandoned];
        let mut counts = JobCounts { accepted: ends.len() as u64 + 2, waiting: 1, running: 1, ..JobCounts::default() };
        assert!(!counts.balanced());
        ends.iter().for_each(|end| counts.end(*end));
        assert!(counts.balanced());
        let each = [counts.done, counts.failed, counts.panicked, counts.cancelled, counts.expired, counts.shed];
        assert_eq!((each, counts.abandoned), ([1; 6], 1));
        let mut twice = counts;
        twice += counts;
        assert!(twice.balanced());
        assert_eq!((twice.accepted, twice.abandoned), (2 * counts.accepted, 2));
    }
}

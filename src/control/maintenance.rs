//! The maintenance queue: jobs with priorities and deadlines, a few at once, on a shared runtime.
//!
//! Compaction, indexing, checks of what is kept, cleaning up after a pane: work that must be done, not now, and not all at
//! once. A job has a submitter, a [`Priority`], perhaps a deadline, and is of one of three kinds: it *blocks*, it is
//! *asynchronous*, or it is *resumable* and done step by step. At most [`slots`](MaintenanceBuilder::slots) are in work at a
//! time.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use mainlane::control::maintenance::{Closing, Job, Maintenance, Outcome, Priority, Step};
//!
//! // With a runtime: `.runtime(handle)`. Without, blocking and resumable jobs run on threads of the queue's own.
//! let maintenance = Maintenance::builder().slots(2).build()?;
//! let handle = maintenance.handle();
//!
//! let mut sum = handle.submit(Job::blocking("sum", |_| Ok((1..=10).sum::<u32>())).submitter("figures"))?;
//!
//! let mut pages = 0;
//! let compact = Job::resumable("compact", move |_| {
//!     pages += 1;
//!     Ok(if pages < 100 { Step::More } else { Step::Done(pages) })
//! });
//! let mut compact = handle.submit(compact.submitter("journal").priority(Priority::Low))?;
//!
//! let soon = Instant::now() + Duration::from_secs(10);
//! assert_eq!(sum.wait(soon), Some(Outcome::Done(55)));
//! assert_eq!(compact.wait(soon), Some(Outcome::Done(100)));
//!
//! let report = maintenance.close(Closing::Cancel, soon);
//! assert!(report.complete);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it promises
//! | | |
//! |---|---|
//! | **order** | higher priorities first; within one, submitters in turn; within a turn, what is due first; then as submitted |
//! | **no starvation** | a job's priority rises by one for each [`age`](MaintenanceBuilder::age) it has waited; four ages after it came, no later job of its submitter goes before it any more |
//! | **fair** | among equals each other submitter starts one job before yours at most, whatever it has waiting; long runs cost several turns, 16 at most |
//! | **deadlines** | a job that has not started by its deadline is not started, unless it asks to be; it is reported at that moment, not when a slot is free |
//! | **bounded** | [`capacity`](MaintenanceBuilder::capacity) jobs wait; one more is handed back, or sheds one of a lower priority; both are counted |
//! | **cancelling** | a job that waits is out when [`cancel`](Submitted::cancel) returns; an asynchronous one is dropped at its next await, a resumable one after its step, a blocking one is told |
//! | **faults stay where they are** | an error and a panic are outcomes, told apart; so are panics in drops of closures, futures and values contained, and counted |
//! | **an end** | [`close`](Maintenance::close) reports by name what it had to cancel and to give up; it leaves no thread and no task but of jobs that did not stop |
//! | **nobody waits for ever** | if the runtime is shut down, jobs end as [`Outcome::Abandoned`], and further ones are handed back |
//!
//! What is promised of time is a promise about starting. A blocking job that runs is never interrupted.
//!
//! # What it costs
//! A submission is a few allocations, one short lock, and logarithmic in the number of jobs; submitting, cancelling and
//! looking at the figures never wait for a job, so they may be called from async code. No lock is held while a job's code
//! runs. When many jobs rise in priority at once, the next start sorts them anew under the lock, each three times in its
//! life at most. One thread that mostly sleeps keeps the deadlines, whatever the runtime does.

use std::fmt;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::latch::Latch;
use crate::notifications::listen;
use crate::sync::{Arc, Mutex};

mod builder; // how a queue is to be, and its start
mod accounts; // who submits: turns, and what they have waiting
mod close; // the thread that keeps deadlines, and the end
mod job; // what can be asked for
mod outcome; // how it ended, and how that is told
mod queue; // which job is next
mod run; // running what is picked
mod stats; // counts and times
mod task; // a job with what it came to

#[cfg(test)]
mod queue_tests;
#[cfg(test)]
mod queue_twin;

pub use builder::{
    CAPACITY, CAPACITY_MAX, MaintenanceBuilder, MaintenanceError, SLOTS, SLOTS_MAX, SUBMITTERS, WhenFull,
};
pub use close::{CloseReport, Closing};
pub use job::{Job, JobContext, JobError, JobLabel, JobRefused, Late, Priority, Step};
pub use outcome::{Outcome, Submitted};
pub use stats::{JobCounts, JobFigures, JobTimes, MaintenanceStats};

use job::Work;
use outcome::Slot;
use queue::{Ask, Pushed};
use run::{Held, Runner, Shared};
use stats::End;
use task::Task;

/// When a closing is waited for no longer: the thread that keeps deadlines might be held up in the drop of a job's closure.
fn last_moment(deadline: Instant) -> Instant {
    let moment = deadline.max(Instant::now());
    moment.checked_add(DROP_PATIENCE).unwrap_or(moment)
}

/// How long a queue that is dropped waits for its jobs.
const DROP_PATIENCE: Duration = Duration::from_secs(1);

/// A maintenance queue, for whoever started it. Others have its [`handle`](Maintenance::handle).
///
/// Dropped without having been closed, it cancels what waits and tells what runs to stop; unless it is dropped in async
/// code, it waits a second at most for that.
pub struct Maintenance {
    handle: MaintenanceHandle,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

impl Maintenance {
    /// How a queue is to be.
    pub fn builder() -> MaintenanceBuilder {
        MaintenanceBuilder::new()
    }

    /// For those who submit.
    pub fn handle(&self) -> MaintenanceHandle {
        self.handle.clone()
    }

    /// Takes a job in, see [`MaintenanceHandle::submit`].
    ///
    /// # Errors
    /// The job is handed back.
    pub fn submit<T: Send + 'static>(&self, job: Job<T>) -> Result<Submitted<T>, JobRefused<T>> {
        self.handle.submit(job)
    }

    /// See [`MaintenanceHandle::stats`].
    pub fn stats(&self) -> MaintenanceStats {
        self.handle.stats()
    }

    /// Ends the queue, and blocks this thread until that is done, `deadline` and a moment at most. What has not ended by
    /// then is given up. Asked again, the sooner moments count, and the report is the same.
    ///
    /// Not for async code, which has [`closed`](Maintenance::closed); in a job of this queue it waits for itself, until the
    /// deadline.
    pub fn close(&self, closing: Closing, deadline: Instant) -> CloseReport {
        let shared = &self.handle.shared;
        self.begin_close(closing, deadline);
        let longest = last_moment(deadline);
        loop {
            listen!(shared.closed => told);
            if let Some(report) = shared.close_report(false) {
                self.join();
                return report;
            }
            if told.wait_deadline(longest).is_none()
                && let Some(report) = shared.close_report(true)
            {
                // Waited for once, and not again when this is dropped.
                drop(self.keeper.lock().take());
                return report;
            }
        }
    }

    /// Ends the queue as [`close`](Maintenance::close) does, in async code: a thread that ends with it keeps the deadline. Dropped half-way,
    /// the queue closes nevertheless.
    pub async fn closed(&self, closing: Closing, deadline: Instant) -> CloseReport {
        let shared = &self.handle.shared;
        shared.begin_close(closing, deadline);
        let given_up = Arc::new(Latch::default());
        let waits = shared.close_report(false).is_none();
        let giving_up = waits.then(|| self.give_up_at(last_moment(deadline), given_up.clone())).flatten();
        let report = loop {
            listen!(shared.closed => told);
            if let Some(report) = shared.close_report(false) {
                self.join();
                break report;
            }
            if given_up.is_set()
                && let Some(report) = shared.close_report(true)
            {
                drop(self.keeper.lock().take());
                break report;
            }
            told.await;
        };
        // It was told as well.
        let _ = giving_up.map(JoinHandle::join);
        report
    }

    /// Has those who await the end told when this moment has come before.
    fn give_up_at(&self, moment: Instant, given_up: Arc<Latch>) -> Option<JoinHandle<()>> {
        let shared = self.handle.shared.clone();
        let keep = move || {
            loop {
                listen!(shared.closed => told);
                if shared.close_report(false).is_some() {
                    return;
                }
                if told.wait_deadline(moment).is_none() {
                    given_up.set();
                    let _ = shared.closed.notify_all();
                    return;
                }
            }
        };
        // Refused by the system, nothing is lost but this.
        std::thread::Builder::new().name("mainlane deadline".to_owned()).spawn(keep).ok()
    }

    /// The first step of [`close`](Maintenance::close), which waits for nothing.
    pub(crate) fn begin_close(&self, closing: Closing, deadline: Instant) {
        self.handle.shared.begin_close(closing, deadline);
    }

    /// The thread is at its very end.
    fn join(&self) {
        let keeper = self.keeper.lock().take();
        keeper.filter(|keeper| keeper.thread().id() != std::thread::current().id()).map(|keeper| keeper.join());
    }
}

impl Drop for Maintenance {
    fn drop(&mut self) {
        if self.keeper.lock().is_none() {
            return;
        }
        let deadline = Instant::now() + DROP_PATIENCE;
        if Handle::try_current().is_ok() {
            self.handle.shared.begin_close(Closing::Cancel, deadline);
        } else {
            self.close(Closing::Cancel, deadline);
        }
    }
}

impl fmt::Debug for Maintenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Maintenance").finish_non_exhaustive()
    }
}

/// For those who submit jobs to a maintenance queue.
#[derive(Clone)]
pub struct MaintenanceHandle {
    shared: Arc<Shared>,
}

impl MaintenanceHandle {
    /// Takes a job in. Never blocks; the job may have started, or been cancelled for another, when this returns.
    ///
    /// # Errors
    /// The job is handed back: the queue is full or closed, its runtime has gone, or it has none and the job needs one.
    pub fn submit<T: Send + 'static>(&self, job: Job<T>) -> Result<Submitted<T>, JobRefused<T>> {
        let shared = &self.shared;
        if matches!(job.work, Work::Asynchronous(_)) && matches!(shared.runner, Runner::OnThreads(_)) {
            return Err(JobRefused::NeedsRuntime(job));
        }
        let Job { name, submitter, priority, deadline, late, cost, work } = job;
        let label = JobLabel { name, submitter, priority };
        let slot = Arc::new(Slot::new(JobContext { label: label.clone(), token: CancellationToken::new() }));
        let ask = Ask {
            submitter: label.submitter.clone(),
            priority,
            deadline: deadline.map(|deadline| shared.moment(deadline)),
            late,
            cost_ns: u64::try_from(cost.as_nanos()).unwrap_or(u64::MAX),
        };
        let mut task = Some(Box::new(Task::new(slot.clone(), work)));
        let mut expired = Vec::new();
        let refusal: fn(Job<T>) -> JobRefused<T>;
        {
            let mut state = shared.state.lock();
            let now = shared.now();
            expired.extend(std::iter::from_fn(|| state.queue.expire(now)));
            let before = state.queue.next_expiry();
            refusal = match (&state.closing, state.gone) {
                (Some(_), _) => JobRefused::Closed,
                (None, true) => JobRefused::RuntimeGone,
                (None, false) => JobRefused::Full,
            };
            let pushed = if state.closing.is_some() || state.gone {
                Pushed::Full
            } else {
                state.queue.push(now, &ask, |_| Held::new(task.take().expect("taken once")))
            };
            let sooner = state.queue.next_expiry() != before;
            drop(state);
            shared.retire(expired, End::Expired, "");
            let id = match pushed {
                Pushed::Accepted(id) => Some(id),
                Pushed::InsteadOf(id, shed) => {
                    shared.retire([shed], End::Shed, "");
                    Some(id)
                }
                Pushed::Full => None,
            };
            if let Some(id) = id {
                if sooner {
                    shared.wake_keeper();
                }
                shared.dispatch();
                return Ok(Submitted::new(slot, shared.clone(), id));
            }
        }
        let work = task.map_or(Work::Over, |task| task.work);
        let JobLabel { name, submitter, priority } = label;
        Err(refusal(Job { name, submitter, priority, deadline, late, cost, work }))
    }

    /// The figures so far. Holds nothing up for longer than it takes to copy the counts, or one histogram.
    pub fn stats(&self) -> MaintenanceStats {
        let shared = &self.shared;
        let state = shared.state.lock();
        let by_priority = state.queue.by_priority();
        let accounts = state.queue.accounts();
        let mut submitters: Vec<_> =
            accounts.all().map(|account| (account.name.clone(), account.counts, account.times.clone())).collect();
        let (forgotten, forgotten_times) = (accounts.forgotten, accounts.forgotten_times.clone());
        let drop_panics = state.drop_panics;
        drop(state);
        submitters.sort_by(|a, b| a.0.cmp(&b.0));
        let figures = |counts, times: &stats::Times| JobFigures { counts, times: times.snapshot() };
        MaintenanceStats {
            priorities: Priority::ALL
                .into_iter()
                .map(|priority| (priority, figures(by_priority[priority as usize], &shared.times[priority as usize])))
                .collect(),
            submitters: submitters.into_iter().map(|(name, counts, times)| (name, figures(counts, &times))).collect(),
            forgotten: figures(forgotten, &forgotten_times),
            drop_panics,
        }
    }

    /// How many further jobs find room. Others may take it.
    pub fn room(&self) -> usize {
        self.shared.state.lock().queue.room()
    }
}

impl fmt::Debug for MaintenanceHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MaintenanceHandle").finish_non_exhaustive()
    }
}

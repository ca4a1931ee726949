//! The thread that keeps deadlines, and the end of a queue.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use crate::core::contain;
use crate::sync::Arc;

use super::job::JobLabel;
use super::outcome::Tell;
use super::run::{Held, Runner, Shared, State};
use super::stats::{End, JobCounts};

/// How long threads of ours that have nothing to do may take to end.
const GRACE: Duration = Duration::from_millis(200);

/// Why jobs are abandoned that do not stop in time.
const OUTLIVED: &str = "the queue was closed, and it did not stop in time";

/// What becomes of the jobs of a queue that is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// Waiting ones are cancelled, running ones are told to stop.
    Cancel,
    /// All may go on until this moment. Then as with [`Cancel`](Closing::Cancel).
    FinishUntil(Instant),
}

/// What became of the jobs of a queue from when it was closed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseReport {
    /// Ended with a value.
    pub done: u64,
    /// Ended with an error.
    pub failed: u64,
    /// Ended with a panic.
    pub panicked: u64,
    /// Passed their deadlines.
    pub expired: u64,
    /// Did not start any more, or stopped when they were told to.
    pub cancelled: Vec<JobLabel>,
    /// Were given up. Those that ran may still be running.
    pub abandoned: Vec<JobLabel>,
    /// Nothing was given up, and every thread of the queue has ended.
    pub complete: bool,
}

/// How far the closing is.
pub(crate) struct Progress {
    stop_at: u64,
    deadline: u64,
    stopped: bool,
    /// What had been counted when it began.
    before: JobCounts,
    pub(crate) cancelled: Vec<JobLabel>,
    pub(crate) abandoned: Vec<JobLabel>,
    over: bool,
    threads_left: usize,
}

/// A thread of the queue's own, and where it is known to have ended.
pub(crate) type OwnThread = (JoinHandle<()>, Receiver<()>);

fn total(state: &State) -> JobCounts {
    let mut total = JobCounts::default();
    state.queue.by_priority().into_iter().for_each(|counts| total += counts);
    total
}

impl Shared {
    /// From now on nothing is taken in. Asked again, the sooner moments count.
    pub(crate) fn begin_close(&self, closing: Closing, deadline: Instant) {
        let deadline = self.moment(deadline);
        let stop_at = match closing {
            Closing::Cancel => 0,
            Closing::FinishUntil(at) => self.moment(at).min(deadline),
        };
        let mut state = self.state.lock();
        match &mut state.closing {
            Some(progress) => {
                progress.stop_at = progress.stop_at.min(stop_at);
                progress.deadline = progress.deadline.min(deadline);
            }
            None => {
                let before = total(&state);
                state.closing = Some(Progress {
                    stop_at,
                    deadline,
                    stopped: false,
                    before,
                    cancelled: Vec::new(),
                    abandoned: Vec::new(),
                    over: false,
                    threads_left: 0,
                });
            }
        }
        drop(state);
        self.wake_keeper();
    }

    /// The report, once the closing is over; or as far as it is.
    pub(crate) fn close_report(&self, even_if_not_over: bool) -> Option<CloseReport> {
        let state = self.state.lock();
        let progress = state.closing.as_ref().filter(|progress| progress.over || even_if_not_over)?;
        let (now, before) = (total(&state), progress.before);
        Some(CloseReport {
            done: now.done - before.done,
            failed: now.failed - before.failed,
            panicked: now.panicked - before.panicked,
            expired: now.expired - before.expired,
            cancelled: progress.cancelled.clone(),
            abandoned: progress.abandoned.clone(),
            complete: progress.over && progress.abandoned.is_empty() && progress.threads_left == 0,
        })
    }
}

/// What one look at the state found to be done, with the state unlocked again.
#[derive(Default)]
struct Found {
    expired: Vec<Held>,
    cancelled: Vec<Held>,
    to_stop: Vec<Arc<dyn Tell>>,
    given_up: Vec<Arc<dyn Tell>>,
    /// When to look again.
    alarm: Option<u64>,
    closed: bool,
}

/// Keeps deadlines until the queue is closed: those of waiting jobs, and those of the closing.
pub(crate) fn keep(shared: &Arc<Shared>, threads: Vec<OwnThread>) {
    loop {
        let Found { expired, cancelled, to_stop, given_up, alarm, closed } = look(shared);
        let any = !expired.is_empty() || !cancelled.is_empty();
        shared.retire(expired, End::Expired, "");
        // Wakes whoever waits for it: their code too.
        to_stop.iter().for_each(|slot| drop(contain(|| slot.context().token.cancel())));
        shared.retire(cancelled, End::Cancelled, "");
        given_up.iter().for_each(|slot| slot.abandon(OUTLIVED));
        if closed {
            break;
        }
        if any {
            continue;
        }
        match alarm {
            None => std::thread::park(),
            Some(at) => {
                let left = Duration::from_nanos(at.saturating_sub(shared.now()));
                if !left.is_zero() {
                    std::thread::park_timeout(left);
                }
            }
        }
    }
    let left = end_threads(shared, threads);
    if let Some(progress) = &mut shared.state.lock().closing {
        (progress.over, progress.threads_left) = (true, left);
    }
    let _ = shared.closed.notify_all();
}

fn look(shared: &Shared) -> Found {
    let mut found = Found::default();
    let mut guard = shared.state.lock();
    let state = &mut *guard;
    let now = shared.now();
    found.expired.extend(std::iter::from_fn(|| state.queue.expire(now)));
    // It has expired when its moment has passed.
    found.alarm = state.queue.next_expiry().map(|at| at.saturating_add(1));
    let Some(progress) = &mut state.closing else { return found };
    if !progress.stopped && now >= progress.stop_at {
        progress.stopped = true;
        found.cancelled = state.queue.take_all(End::Cancelled);
        progress.cancelled.extend(found.cancelled.iter().map(|held| held.unit.slot().context().label.clone()));
        found.to_stop.extend(state.running.values().cloned());
    }
    let overdue = now >= progress.deadline;
    if overdue {
        for (id, slot) in state.running.drain() {
            state.queue.end(id, 0, End::Abandoned);
            progress.abandoned.push(slot.context().label.clone());
            found.given_up.push(slot);
        }
        progress.abandoned.sort_by(|a, b| (&a.name, &a.submitter).cmp(&(&b.name, &b.submitter)));
    }
    found.closed = state.queue.is_empty() && (state.settling == 0 || overdue);
    let next = if progress.stopped { progress.deadline } else { progress.stop_at };
    found.alarm = Some(found.alarm.map_or(next, |alarm| alarm.min(next)));
    found
}

/// Lets our own threads go. Returns how many are still held up in a job.
fn end_threads(shared: &Shared, threads: Vec<OwnThread>) -> usize {
    if let Runner::OnThreads(sender) = &shared.runner {
        let sender = sender.lock().take();
        drop(sender);
    }
    let deadline = Instant::now() + GRACE;
    let mut left = 0;
    for (thread, done) in threads {
        match done.recv_deadline(deadline) {
            Err(crossbeam_channel::RecvTimeoutError::Timeout) => left += 1,
            _ => drop(thread.join()),
        }
    }
    left
}

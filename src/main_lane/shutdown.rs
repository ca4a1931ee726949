//! Closing a pipeline: nothing accepted is lost, nothing started is left behind, and what happened is said.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;

use crate::core::{Core, DROP_DEADLINE, IngestThread};
use crate::event::{Event, LaneId};
use crate::main_lane::budget::Budget;
use crate::main_lane::outcome::{Left, Poison, TurnError};
use crate::main_lane::reduce::Reducer;
use crate::main_lane::turn::{MainLane, Phase};
use crate::observe::counters::{self, Counters};
use crate::sync::Ordering::Relaxed;

/// What a shutdown did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// True when every accepted event was applied (or refused and reported), published, and every thread joined.
    pub complete: bool,
    /// Ingestion threads that were joined.
    pub joined: usize,
    /// Threads that did not stop before the deadline, by name. They were left running, and can push no more.
    pub stragglers: Vec<String>,
    /// Why the main lane stopped by itself, if it did. The event is kept: see [`MainLane::take_poison`] and
    /// [`Running::take_poison`](crate::Running::take_poison).
    pub fault: Option<Fault>,
    /// The final counts. With `in_flight` above zero, that many accepted events were not applied.
    pub counters: Counters,
}

/// A reducer's panic.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// The lane the event came through.
    pub lane: LaneId,
    /// The lane's name.
    pub lane_name: Arc<str>,
    /// The event's kind.
    pub kind: &'static str,
    /// What the reducer said.
    pub message: String,
}

impl Fault {
    pub(crate) fn of<E: Event>(poison: &Poison<E>) -> Self {
        let Poison { lane, lane_name, message, event, .. } = poison;
        Fault { lane: *lane, lane_name: lane_name.clone(), kind: event.kind(), message: message.clone() }
    }
}

impl<S: Reducer> MainLane<S> {
    /// Closes the lanes, applies everything accepted, runs the effects, publishes, and joins every ingestion thread.
    ///
    /// What is not done by the deadline is given up, and reported. Calling it again returns the same report; dropping
    /// the main lane does the same with a deadline of five seconds.
    pub fn shutdown(&mut self, deadline: Duration) -> ShutdownReport {
        // A deadline past the end of the clock is as good as a year.
        let now = Instant::now();
        self.shutdown_by(now.checked_add(deadline).unwrap_or(now + Duration::from_secs(31_536_000)))
    }

    /// The event on which the reducer panicked, if it did and nobody has taken it: [`turn`](MainLane::turn) hands it out
    /// in its error, a shutdown keeps it here.
    pub fn take_poison(&mut self) -> Option<Poison<S::Event>> {
        self.poison.take()
    }

    pub(crate) fn shutdown_by(&mut self, deadline: Instant) -> ShutdownReport {
        if let Some(report) = &self.report {
            return report.clone();
        }
        self.core().close();
        // Small turns: the deadline is looked at between them.
        let budget = Budget::millis(1);
        loop {
            match self.turn(budget) {
                Ok(turn) if turn.left == Left::Ended => break,
                Ok(turn) => {
                    if turn.events == 0 {
                        std::thread::yield_now();
                    }
                }
                Err(TurnError::ReducerPanicked(poison)) => self.poison = Some(*poison),
                Err(TurnError::SnapshotPanicked { .. } | TurnError::Stopped) => break,
            }
            if Instant::now() >= deadline {
                self.give_up();
                break;
            }
        }
        let (joined, stragglers) = join_threads(self.core(), deadline);
        let counters = read_counters(self.core());
        let complete = self.phase == Phase::Ended && stragglers.is_empty() && counters.events.in_flight == 0;
        let report = ShutdownReport { complete, joined, stragglers, fault: self.fault.clone(), counters };
        self.report = Some(report.clone());
        report
    }

    /// The deadline has passed: nothing more is accepted, and one last look applies what is there.
    fn give_up(&mut self) {
        self.shut_gates(|_| true);
        if let Ok(turn) = self.turn(Budget::millis(1))
            && turn.left == Left::Ended
        {
            return;
        }
        self.phase = Phase::Ended;
        self.finish();
    }
}

impl<S: Reducer> Drop for MainLane<S> {
    fn drop(&mut self) {
        if self.report.is_none() {
            self.shutdown(DROP_DEADLINE);
        }
    }
}

pub(crate) fn read_counters(core: &Core) -> Counters {
    let mut faults = core.reporter.faults();
    faults.wake_panics += core.sleeper.hook_panics.load(Relaxed);
    counters::read(&core.book, &core.counts, faults, core.reporter.dropped())
}

/// Joins the ingestion threads; names those that do not end in time.
pub(crate) fn join_threads(core: &Core, deadline: Instant) -> (usize, Vec<String>) {
    let threads = std::mem::take(&mut *core.threads.lock());
    threads.iter().for_each(IngestThread::ask_to_stop);
    let (mut joined, mut stragglers) = (0, Vec::new());
    for thread in threads {
        // The thread drops its end of the channel as its last act.
        match thread.done.recv_deadline(deadline) {
            Err(RecvTimeoutError::Timeout) => stragglers.push(thread.name),
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                // A panic was contained and reported on the thread itself.
                let _ = thread.join.join();
                joined += 1;
            }
        }
    }
    (joined, stragglers)
}

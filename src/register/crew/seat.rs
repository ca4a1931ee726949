//! A project's place in a crew: its main lane, whatever its state is, and what is known of it.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::core::{Core, contain, let_go};
use crate::main_lane::MainLane;
use crate::main_lane::budget::Budget;
use crate::main_lane::outcome::{Left, Poison};
use crate::main_lane::reduce::Reducer;
use crate::main_lane::report::{Fault, ShutdownReport};
use crate::register::crew::queue::Queue;
use crate::register::crew::ready::Ready;
use crate::register::waits::{self, Circle, Holds};
use crate::sync::{AtomicBool, AtomicU64, Mutex, Ordering::Relaxed};

/// How much longer than its deadline a shutdown waits for a turn that is under way: the main lane itself gives up at the deadline,
/// and then still has to say so.
pub(crate) const GRACE: Duration = Duration::from_millis(500);

/// What a crew needs of a main lane.
pub(crate) trait Driven: Send {
    fn turn(&mut self, budget: Budget) -> Turned;
    /// True when a turn would find something to do.
    fn is_waiting(&self) -> bool;
    /// When a publication is due that no event will bring about.
    fn due(&self) -> Option<Instant>;
    fn shutdown_by(&mut self, deadline: Instant) -> ShutdownReport;
    /// Drops what is the host's.
    fn let_go(self: Box<Self>);
}

/// What a turn did.
pub(crate) struct Turned {
    pub(crate) events: usize,
    pub(crate) ended: Ended,
}

/// Whether a main lane goes on.
pub(crate) enum Ended {
    No {
        left: Left,
    },
    Normally,
    /// It has stopped by itself.
    Failed(Fault),
}

/// A main lane of one kind of state.
pub(crate) struct Lane<S: Reducer> {
    pub(crate) main_lane: MainLane<S>,
    /// For who hosted it.
    pub(crate) poison: Arc<Mutex<Option<Poison<S::Event>>>>,
}

impl<S: Reducer> Driven for Lane<S> {
    fn turn(&mut self, budget: Budget) -> Turned {
        let error = match self.main_lane.turn(budget) {
            Ok(turn) if turn.left == Left::Ended => return Turned { events: turn.events, ended: Ended::Normally },
            Ok(turn) => return Turned { events: turn.events, ended: Ended::No { left: turn.left } },
            Err(error) => error,
        };
        let message = error.to_string();
        if let Some(poison) = error.into_poison() {
            *self.poison.lock() = Some(poison);
        }
        let fault = self.main_lane.fault.clone().unwrap_or(Fault::Snapshot { message });
        Turned { events: 0, ended: Ended::Failed(fault) }
    }

    fn is_waiting(&self) -> bool {
        self.main_lane.is_input_waiting()
    }

    fn due(&self) -> Option<Instant> {
        self.main_lane.publication_due()
    }

    fn shutdown_by(&mut self, deadline: Instant) -> ShutdownReport {
        let report = self.main_lane.shutdown_by(deadline);
        if let Some(poison) = self.main_lane.take_poison() {
            *self.poison.lock() = Some(poison);
        }
        report
    }

    fn let_go(self: Box<Self>) {
        // With the newest snapshot, whose end may panic as the state's may: the two must not meet.
        let hub = self.main_lane.hub.clone();
        let_go(self);
        let_go(hub);
    }
}

/// A project's place.
pub(crate) struct Seat {
    /// No other of this crew has it, and who came later has a higher one.
    pub(crate) id: u64,
    pub(crate) name: Arc<str>,
    pub(crate) core: Arc<Core>,
    pub(crate) ready: Ready,
    pub(crate) held: Mutex<Held>,
    pub(crate) counts: Counts,
    /// Why it does not run any more, if it ended by itself.
    pub(crate) end: Mutex<Option<End>>,
    queue: Weak<Queue>,
    done: Mutex<Option<ShutdownReport>>,
    /// By when its driver has to be done with it, once it was given up.
    heir_deadline: Mutex<Option<Instant>>,
}

/// What only the driver touches. The lock is what makes that so; by Y2 it is not waited for, but by a shutdown.
pub(crate) struct Held {
    /// `None` when it was shut down.
    pub(crate) lane: Option<Box<dyn Driven>>,
    /// The last turn that applied something.
    pub(crate) busy: Instant,
    pub(crate) armed: bool,
    /// The queue wakes it then, or earlier.
    pub(crate) timer: Option<Instant>,
}

/// How a project ended by itself.
#[derive(Clone, Debug)]
pub(crate) enum End {
    Closed,
    Failed(Fault),
}

/// What is counted of a project.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) turns: AtomicU64,
    pub(crate) events: AtomicU64,
    pub(crate) longest_ns: AtomicU64,
    /// The number of the thread that drives it; zero when none does.
    pub(crate) thread: AtomicU64,
    pub(crate) stuck: AtomicBool,
}

impl Seat {
    pub(crate) fn new(id: u64, name: Arc<str>, core: Arc<Core>, lane: Box<dyn Driven>, queue: Weak<Queue>) -> Self {
        let held = Held { lane: Some(lane), busy: Instant::now(), armed: false, timer: None };
        Self {
            id,
            name,
            core,
            ready: Ready::default(),
            held: Mutex::new(held),
            counts: Counts::default(),
            end: Mutex::new(None),
            queue,
            done: Mutex::new(None),
            heir_deadline: Mutex::new(None),
        }
    }

    /// Has it driven, if it is not already to be.
    pub(crate) fn wake(self: &Arc<Self>) {
        if self.ready.wake()
            && let Some(queue) = self.queue.upgrade()
        {
            queue.push(self.clone());
        }
    }

    /// True when it was closed, has ended, or is driven no more.
    pub(crate) fn has_ended(&self) -> bool {
        self.core.is_ended() || self.end.lock().is_some()
    }

    /// How it ended by itself, if it has. A turn that is under way is waited for as long as `patience` lasts: it may be its last.
    pub(crate) fn end_by(&self, patience: Instant) -> Option<End> {
        let _turn = self.held.try_lock_until(patience);
        self.end.lock().clone()
    }

    /// It ended by itself.
    pub(crate) fn ended(&self, end: End) {
        *self.end.lock() = Some(end);
        self.ready.end();
    }

    /// Takes the main lane from the crew and shuts it down on this thread. A turn that is under way is waited for as long as
    /// `patience` lasts. Whoever comes second gets the same report.
    pub(crate) fn shut_down(&self, deadline: Instant, patience: Instant) -> ShutdownReport {
        let done = waits::wait_for(&self.done, || self.done.try_lock_until(patience));
        // Whoever shuts it down joins its threads.
        let Ok(Some(mut done)) = done else { return self.report_without(0, Vec::new()) };
        let _ends = Holds::new(&self.done);
        if let Some(report) = &*done {
            return report.clone();
        }
        // No turn after the one that is under way.
        self.ready.end();
        self.core.close();
        // Nobody waits for itself: its own turn ends first, and so does one that waits for this.
        let held = waits::wait_for(&self.held, || self.held.try_lock_until(patience));
        let is_circle = held.is_err();
        let lane = match held {
            Ok(Some(mut held)) => held.lane.take(),
            Ok(None) | Err(Circle) => {
                *self.heir_deadline.lock() = Some(deadline);
                match self.ready.give_up() {
                    true => None,
                    // Y4: its driver has just let go of it.
                    false => self.held.lock().lane.take(),
                }
            }
        };
        if let Some(queue) = self.queue.upgrade() {
            queue.forget(self.id);
        }
        let report = match lane {
            Some(lane) => self.put_away(lane, deadline),
            // The heir joins its threads.
            None if is_circle => self.report_without(0, Vec::new()),
            None => self.report_of_a_straggler(deadline),
        };
        done.insert(report).clone()
    }

    /// True once a shutdown did not wait for its driver any longer.
    pub(crate) fn was_given_up(&self) -> bool {
        self.heir_deadline.lock().is_some()
    }

    /// By its driver, which finds itself the heir.
    pub(crate) fn put_away_as_heir(&self) {
        let deadline = self.heir_deadline.lock().unwrap_or_else(Instant::now);
        if let Some(lane) = self.held.lock().lane.take() {
            self.put_away(lane, deadline);
        }
    }

    fn put_away(&self, mut lane: Box<dyn Driven>, deadline: Instant) -> ShutdownReport {
        // What is the host's may ask for this end from within it.
        let _driving = Holds::new(&self.held);
        let report = contain(|| lane.shutdown_by(deadline));
        lane.let_go();
        let mut report = report.unwrap_or_else(|_| self.report_of_a_straggler(deadline));
        // What stopped it may have been the crew, of which the main lane knows nothing.
        if let (None, Some(End::Failed(fault))) = (&report.fault, &*self.end.lock()) {
            report.fault = Some(fault.clone());
        }
        report
    }

    /// What can be said when the reducer, or the reconciler, does not return.
    fn report_of_a_straggler(&self, deadline: Instant) -> ShutdownReport {
        let (joined, stragglers) = self.core.join_threads(deadline);
        self.report_without(joined, stragglers)
    }

    fn report_without(&self, joined: usize, mut stragglers: Vec<String>) -> ShutdownReport {
        stragglers.push(self.name.to_string());
        ShutdownReport {
            complete: false,
            joined,
            stragglers,
            fault: None,
            flight: Arc::default(),
            journal: None,
            counters: self.core.read_counters(),
        }
    }
}

impl Counts {
    pub(crate) fn count(&self, events: usize, took: Duration) {
        // One writer at a time, by the lock.
        self.turns.store(self.turns.load(Relaxed) + 1, Relaxed);
        self.events.store(self.events.load(Relaxed) + events as u64, Relaxed);
        let took = took.as_nanos() as u64;
        if took > self.longest_ns.load(Relaxed) {
            self.longest_ns.store(took, Relaxed);
        }
    }
}

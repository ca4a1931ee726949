//! The main lane on a thread of mainlane's own.

use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::core::{Core, DROP_DEADLINE};
use crate::error::Error;
use crate::lane::idle::{IdleStrategy, Idling};
use crate::lane::ingest::pin_here;
use crate::main_lane::budget::Budget;
use crate::main_lane::outcome::{Left, Poison, TurnError};
use crate::main_lane::reduce::Reducer;
use crate::main_lane::report::ShutdownReport;
use crate::main_lane::turn::MainLane;
use crate::pipeline::Handle;

/// How a main-lane thread runs.
#[derive(Clone, Debug)]
#[must_use]
pub struct Drive {
    name: String,
    pin: Option<usize>,
    idle: IdleStrategy,
    budget: Budget,
}

impl Default for Drive {
    fn default() -> Self {
        Self { name: "main-lane".to_owned(), pin: None, idle: IdleStrategy::PARK, budget: Budget::millis(5) }
    }
}

impl Drive {
    /// Sleeps when there is nothing to do, and publishes after at most five milliseconds of applying.
    pub fn new() -> Self {
        Self::default()
    }

    /// The thread's name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Asks for a core. If it cannot be had the thread runs unpinned, and that is reported.
    pub fn pin(mut self, core: usize) -> Self {
        self.pin = Some(core);
        self
    }

    /// What to do when there is nothing to do.
    pub fn idle(mut self, idle: IdleStrategy) -> Self {
        self.idle = idle;
        self
    }

    /// How much one turn may do: how long, under load, until what was applied is published.
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = budget;
        self
    }
}

impl<S: Reducer> MainLane<S> {
    /// Runs on a thread of its own from here on.
    ///
    /// # Errors
    /// When the system refuses the thread.
    pub fn spawn(self, drive: Drive) -> Result<Running<S>, Error> {
        let (core, handle) = (self.hub.core.clone(), Handle::new(self.hub.clone()));
        let (deadline, deadlines) = crossbeam_channel::bounded(1);
        let (endings, ending) = crossbeam_channel::bounded(1);
        let name = drive.name.clone();
        core.drive_elsewhere();
        let thread = std::thread::Builder::new()
            .name(name.replace('\0', " "))
            .spawn(move || run(self, &drive, &deadlines, &endings))
            .map_err(|error| Error::Thread { name: name.clone(), reason: error.to_string() })?;
        Ok(Running { name, core, handle, thread: Some(thread), deadline, ending, done: None, poison: None })
    }
}

/// What a main-lane thread leaves behind.
type Ending<E> = (ShutdownReport, Option<Poison<E>>);

fn run<S: Reducer>(
    mut main_lane: MainLane<S>,
    drive: &Drive,
    deadlines: &Receiver<Instant>,
    endings: &Sender<Ending<S::Event>>,
) {
    if let Some(pin) = drive.pin {
        pin_here(main_lane.core(), pin);
    }
    let deadline = turns(&mut main_lane, drive, deadlines).unwrap_or_else(|| Instant::now() + DROP_DEADLINE);
    let report = main_lane.shutdown_by(deadline);
    let _ = endings.send((report, main_lane.take_poison()));
}

/// Turns until everything is over, or until a deadline is set for that, which is returned. A pipeline that was closed
/// without one has all the time it needs.
fn turns<S: Reducer>(main_lane: &mut MainLane<S>, drive: &Drive, deadlines: &Receiver<Instant>) -> Option<Instant> {
    let mut idling = Idling::default();
    loop {
        if main_lane.core().is_closing()
            && let Ok(deadline) = deadlines.try_recv()
        {
            return Some(deadline);
        }
        match main_lane.turn(drive.budget) {
            Err(TurnError::Stopped) => return None,
            Err(error) => main_lane.poison = error.into_poison().or(main_lane.poison.take()),
            Ok(turn) if turn.left == Left::Ended => return None,
            Ok(turn) if turn.events > 0 || turn.left == Left::More => idling.reset(),
            Ok(_) => {
                if idling.wait(drive.idle) {
                    sleep(main_lane);
                }
            }
        }
    }
}

/// Sleeps until the bell is rung, or a publication is due.
fn sleep<S: Reducer>(main_lane: &mut MainLane<S>) {
    if main_lane.arm_input() {
        return;
    }
    match main_lane.publication_due() {
        Some(due) => main_lane.parker.park_deadline(due),
        None => main_lane.parker.park(),
    }
    main_lane.core().bell.disarm();
}

/// A main lane on a thread of its own. Dropping it shuts the pipeline down.
pub struct Running<S: Reducer> {
    name: String,
    core: Arc<Core>,
    handle: Handle<S>,
    thread: Option<JoinHandle<()>>,
    deadline: Sender<Instant>,
    ending: Receiver<Ending<S::Event>>,
    done: Option<ShutdownReport>,
    poison: Option<Poison<S::Event>>,
}

impl<S: Reducer> Running<S> {
    /// A handle to the pipeline.
    pub fn handle(&self) -> &Handle<S> {
        &self.handle
    }

    /// True when the main lane has ended by itself: it was closed, or its reducer panicked.
    pub fn is_finished(&self) -> bool {
        self.core.is_ended()
    }

    /// Closes the lanes, applies everything accepted, runs the effects, publishes, and joins every thread.
    ///
    /// What is not done by the deadline is given up, and reported. Calling it again returns the same report; dropping
    /// this does the same with a deadline of five seconds.
    pub fn shutdown(&mut self, deadline: Duration) -> ShutdownReport {
        if let Some(done) = &self.done {
            return done.clone();
        }
        let now = Instant::now();
        let deadline = now.checked_add(deadline).unwrap_or(now + Duration::from_secs(31_536_000));
        let _ = self.deadline.try_send(deadline);
        self.core.close();
        // A little beyond: the main lane itself gives up at the deadline, and then still has to say so.
        let report = match self.ending.recv_deadline(deadline + Duration::from_millis(500)) {
            Ok((report, poison)) => {
                self.poison = poison;
                if let Some(thread) = self.thread.take() {
                    let _ = thread.join();
                }
                report
            }
            // The reducer, or the reconciler, does not return.
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                let (joined, mut stragglers) = self.core.join_threads(deadline);
                stragglers.push(self.name.clone());
                let counters = self.core.read_counters();
                let flight = Arc::default();
                ShutdownReport { complete: false, joined, stragglers, fault: None, flight, journal: None, counters }
            }
        };
        self.done = Some(report.clone());
        report
    }

    /// The event on which the reducer panicked, if it did and nobody has taken it. Known after the shutdown.
    pub fn take_poison(&mut self) -> Option<Poison<S::Event>> {
        self.poison.take()
    }
}

impl<S: Reducer> Drop for Running<S> {
    fn drop(&mut self) {
        self.shutdown(DROP_DEADLINE);
    }
}

impl<S: Reducer> fmt::Debug for Running<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("name", &self.name)
            .field("finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}

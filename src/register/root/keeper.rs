//! The thread that sees to projects that have failed: it hears of them on the bus, and opens them again when they are due.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use crossbeam_utils::sync::{Parker, Unparker};

use crate::latch::Latch;
use crate::main_lane::budget::Budget;
use crate::observe::diagnostic::Diagnostic;
use crate::register::root::Shared;
use crate::register::root::project::AnyProject;
use crate::signal::{Sent, SignalError, SignalReader, family::earlier};

const NAME: &str = "register";
/// How long it sleeps at most: a project whose host closed it says nothing.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(crate) struct Keeper {
    stop: Arc<Latch>,
    unparker: Unparker,
    thread: Option<JoinHandle<()>>,
    /// Disconnected when the thread is about to end.
    done: Receiver<()>,
}

impl Keeper {
    pub(crate) fn start(shared: Arc<Shared>) -> Result<Self, SignalError> {
        let stops = |sent: &Sent<Diagnostic>| matches!(**sent, Diagnostic::Stopped(_));
        let stopped = shared.bus().subscribe::<Diagnostic>(NAME).filter(stops).reader()?;
        let parker = Parker::new();
        let unparker = parker.unparker().clone();
        let woken = unparker.clone();
        stopped.wake_with(move || woken.unpark());
        let stop = Arc::new(Latch::default());
        let (alive, done) = crossbeam_channel::bounded(0);
        let its = stop.clone();
        let thread = std::thread::Builder::new()
            .name(NAME.to_owned())
            .spawn(move || {
                keep(&shared, stopped, &its, &parker);
                drop(alive);
            })
            .map_err(|error| SignalError::Thread { name: NAME.to_owned(), reason: error.to_string() })?;
        Ok(Self { stop, unparker, thread: Some(thread), done })
    }

    /// Has it look at once.
    pub(crate) fn look(&self) {
        self.unparker.unpark();
    }

    /// Has nothing opened again any more. True when what was under way has ended by the deadline.
    pub(crate) fn stop(&mut self, deadline: Instant) -> bool {
        self.stop.set();
        self.unparker.unpark();
        if self.thread.is_none() {
            return true;
        }
        if self.done.recv_deadline(deadline) == Err(RecvTimeoutError::Timeout) {
            return false;
        }
        self.thread.take().is_none_or(|thread| thread.join().is_ok())
    }
}

/// A project that is being opened again, on a thread of its own: it may take long, and the others do not wait for it.
struct Opening {
    project: Arc<dyn AnyProject>,
    thread: JoinHandle<()>,
}

fn keep(shared: &Arc<Shared>, mut stopped: SignalReader<Diagnostic>, stop: &Latch, parker: &Parker) {
    let mut openings = Vec::<Opening>::new();
    while !stop.is_set() {
        // What it says does not matter, nor what was missed: all are looked at.
        let _ = stopped.drain(Budget::UNLIMITED, |_| ());
        openings.retain(|opening| !opening.thread.is_finished());
        let (now, mut next) = (Instant::now(), None);
        for project in shared.projects() {
            project.has_failed(shared);
            let Some(due) = project.due() else { continue };
            if openings.iter().any(|opening| Arc::ptr_eq(&opening.project, &project)) {
                continue;
            }
            if due > now {
                next = earlier(next, Some(due));
                continue;
            }
            match open(shared, &project, parker.unparker()) {
                Ok(thread) => openings.push(Opening { project, thread }),
                // The system has no thread just now.
                Err(_) => next = earlier(next, Some(now + LOOK_EVERY)),
            }
        }
        parker.park_deadline(earlier(next, Some(now + LOOK_EVERY)).unwrap_or(now + LOOK_EVERY));
    }
    openings.into_iter().for_each(|opening| drop(opening.thread.join()));
}

fn open(shared: &Arc<Shared>, project: &Arc<dyn AnyProject>, unparker: &Unparker) -> std::io::Result<JoinHandle<()>> {
    let (shared, opened, unparker) = (shared.clone(), project.clone(), unparker.clone());
    std::thread::Builder::new().name(format!("open {}", project.name()).replace('\0', " ")).spawn(move || {
        // What went wrong is in the project's phase, and was told.
        crate::core::let_go(opened.open(&shared));
        unparker.unpark();
    })
}

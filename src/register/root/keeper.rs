//! The thread that sees to projects that have ended by themselves: the crew tells it of them, and it opens them again when they are
//! due.

use std::io;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use crossbeam_utils::sync::{Parker, Unparker};

use crate::core::{contain, let_go};
use crate::latch::Latch;
use crate::register::root::Shared;
use crate::register::root::project::AnyProject;
use crate::signal::family::earlier;

pub(crate) const NAME: &str = "register";
/// When it asks the system again for a thread that it had not got.
const ASK_AGAIN: Duration = Duration::from_secs(1);

pub(crate) struct Keeper {
    stop: Arc<Latch>,
    unparker: Unparker,
    thread: Option<JoinHandle<()>>,
    /// Disconnected when the thread is about to end.
    done: Receiver<()>,
}

impl Keeper {
    /// # Errors
    /// When the system refuses the thread.
    pub(crate) fn start(shared: Arc<Shared>) -> io::Result<Self> {
        let parker = Parker::new();
        let unparker = parker.unparker().clone();
        shared.crew.on_end(unparker.clone());
        let stop = Arc::new(Latch::default());
        let (alive, done) = crossbeam_channel::bounded(0);
        let its = stop.clone();
        let thread = std::thread::Builder::new().name(NAME.to_owned()).spawn(move || {
            keep(&shared, &its, &parker);
            drop(alive);
        })?;
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

/// A project that is put away and opened again, on a thread of its own: it may take long, and the others do not wait for it.
struct Opening {
    /// That thread has it. It may be the last that does, and what is left of a project is the host's.
    project: Weak<dyn AnyProject>,
    thread: JoinHandle<()>,
    /// Set when all that is left to the thread is to end.
    over: Arc<Latch>,
}

fn keep(shared: &Arc<Shared>, stop: &Latch, parker: &Parker) {
    let mut openings = Vec::<Opening>::new();
    while !stop.is_set() {
        let over = openings.extract_if(.., |opening| opening.over.is_set());
        over.for_each(|opening| drop(opening.thread.join()));
        let (now, mut next) = (Instant::now(), None);
        let is_at_it = |project: &Arc<dyn AnyProject>| {
            openings.iter().any(|opening| std::ptr::addr_eq(opening.project.as_ptr(), Arc::as_ptr(project)))
        };
        let (mut due_now, now_due) = (Vec::new(), &mut next);
        shared.each_due(now, |project, due| match due <= now {
            _ if is_at_it(project) => {}
            true => due_now.push(project.clone()),
            false => *now_due = earlier(*now_due, Some(due)),
        });
        for project in due_now {
            match contain(|| open(shared, project, parker.unparker())) {
                Ok(Ok(opening)) => openings.push(opening),
                // The system has no thread just now.
                Ok(Err(_)) | Err(_) => next = earlier(next, Some(now + ASK_AGAIN)),
            }
        }
        match next {
            Some(next) => parker.park_deadline(next),
            None => parker.park(),
        }
    }
    openings.into_iter().for_each(|opening| drop(opening.thread.join()));
}

fn open(shared: &Arc<Shared>, project: Arc<dyn AnyProject>, unparker: &Unparker) -> io::Result<Opening> {
    let (over, name) = (Arc::new(Latch::default()), format!("open {}", project.name()).replace('\0', " "));
    let (shared, ends, unparker) = (shared.clone(), over.clone(), unparker.clone());
    let its = Arc::downgrade(&project);
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        let _ = contain(|| project.see_to(&shared));
        let_go(project);
        ends.set();
        unparker.unpark();
    })?;
    Ok(Opening { project: its, thread, over })
}

//! The threads that call handlers: one for each name, shared by all handlers that asked for it.

use std::thread::ThreadId;
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use crossbeam_utils::sync::{Parker, Unparker};

use crate::core::let_go;
use crate::latch::Latch;
use crate::mailbox::Mailbox;
use crate::signal::family::earlier;
use crate::signal::nowait::NoWaiting;
use crate::sync::Arc;

/// What a thread has to do, again and again.
pub(crate) trait Job: Send {
    fn work(&mut self) -> Work;
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// There is more to do.
    More,
    /// Nothing until the thread is woken.
    Idle,
    /// Nothing before this moment, or until the thread is woken.
    Until(Instant),
    /// Nothing ever again.
    Over,
}

/// A thread that calls handlers.
pub(crate) struct Hand {
    pub(crate) name: Arc<str>,
    shared: Arc<Shared>,
    unparker: Unparker,
    thread: std::thread::JoinHandle<()>,
    /// Disconnected when the thread is about to end.
    done: Receiver<()>,
}

struct Shared {
    jobs: Mailbox<Box<dyn Job>>,
    /// Ends when all jobs are done.
    ending: Latch,
    /// Ends, whatever is left.
    stop: Latch,
}

impl Hand {
    pub(crate) fn start(name: Arc<str>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { jobs: Mailbox::new(), ending: Latch::default(), stop: Latch::default() });
        let parker = Parker::new();
        let unparker = parker.unparker().clone();
        let (alive, done) = crossbeam_channel::bounded(0);
        let its = shared.clone();
        let thread = std::thread::Builder::new().name(name.replace('\0', " ")).spawn(move || {
            run(&its, &parker);
            drop(alive);
        })?;
        Ok(Self { name, shared, unparker, thread, done })
    }

    pub(crate) fn unparker(&self) -> &Unparker {
        &self.unparker
    }

    /// Hands the thread a job; hands it back when the thread takes none any more.
    pub(crate) fn post(&self, job: Box<dyn Job>) -> Result<(), Box<dyn Job>> {
        self.shared.jobs.post(job)?;
        self.unparker.unpark();
        Ok(())
    }

    /// Has the thread end when its jobs are done.
    pub(crate) fn end(&self) {
        self.shared.ending.set();
        self.unparker.unpark();
    }

    /// Joins the thread, if it ends in time; what it has not done by then it leaves, if it looks at all. It is not waited for if it is the
    /// caller, or the caller waits for whoever calls this.
    pub(crate) fn join(self, deadline: Instant, grace: Instant, caller: ThreadId) -> Joined {
        if self.thread.thread().id() == caller {
            self.shared.stop.set();
            return Joined::Not(self.name.to_string());
        }
        let in_time = self.done.recv_deadline(deadline) != Err(RecvTimeoutError::Timeout);
        self.shared.stop.set();
        self.unparker.unpark();
        if !in_time && self.done.recv_deadline(grace) == Err(RecvTimeoutError::Timeout) {
            return Joined::Not(self.name.to_string());
        }
        // Panics of the host's were contained.
        let is_sound = self.thread.join().is_ok();
        if in_time && is_sound { Joined::Done } else { Joined::Left }
    }
}

/// How a thread ended.
pub(crate) enum Joined {
    Done,
    /// With work left.
    Left,
    /// It did not.
    Not(String),
}

fn run(shared: &Shared, parker: &Parker) {
    // Whatever of the host's is called here, or dropped: those that block may have their handlers on this thread.
    let _here = NoWaiting::here();
    let (mut jobs, mut posted) = (Vec::<Box<dyn Job>>::new(), 0);
    loop {
        let now_posted = shared.jobs.posted();
        if now_posted != posted {
            posted = now_posted;
            jobs.extend(shared.jobs.collect());
        }
        let (mut busy, mut next) = (false, None);
        let mut at = 0;
        while let Some(job) = jobs.get_mut(at) {
            if shared.stop.is_set() {
                break;
            }
            at += 1;
            match job.work() {
                Work::More => busy = true,
                Work::Idle => {}
                Work::Until(due) => next = earlier(next, Some(due)),
                Work::Over => {
                    at -= 1;
                    let_go(jobs.remove(at));
                }
            }
        }
        let is_over = shared.ending.is_set() && jobs.is_empty() && shared.jobs.close_if_empty();
        if is_over || shared.stop.is_set() {
            break;
        }
        match next {
            _ if busy => {}
            Some(due) => parker.park_deadline(due),
            None => parker.park(),
        }
    }
    // Handlers are the host's, and so are their ends.
    jobs.extend(shared.jobs.close());
    jobs.into_iter().for_each(let_go);
}

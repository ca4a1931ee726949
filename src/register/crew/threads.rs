//! The threads of a crew, and the one that watches them.
//!
//! The watch sleeps while nobody has anything to do, and looks four times within the limit otherwise. A turn that it sees for longer
//! than the limit is called stuck; another thread is started in the place of the one that is held, and who is one too many after its
//! return ends.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::core::SharedMark;
use crate::main_lane::budget::Budget;
use crate::observe::diagnostic::Diagnostic;
use crate::register::crew::Shared;
use crate::register::crew::drive::Driver;
use crate::register::crew::post::{Post, Seen};
use crate::register::crew::queue::{TOGETHER, Watching, Work};
use crate::sync::{AtomicU64, Mutex, Ordering::Relaxed};

/// How threads drive.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    pub(crate) name: String,
    pub(crate) budget: Budget,
    pub(crate) linger: Duration,
    pub(crate) stuck_after: Duration,
}

/// The threads there are.
#[derive(Default)]
pub(crate) struct Threads {
    all: Mutex<Vec<Hand>>,
    watch: Mutex<Option<(JoinHandle<()>, Receiver<()>)>>,
    started: AtomicU64,
    /// How often the system refused one.
    refused: AtomicU64,
    stuck: AtomicU64,
}

/// One thread.
struct Hand {
    name: Arc<str>,
    post: Arc<Post>,
    join: JoinHandle<()>,
    /// Disconnected when the thread is about to end.
    done: Receiver<()>,
    /// The turn that the watch saw last, and since when.
    seen: Option<(Seen, Instant)>,
}

impl Threads {
    /// Starts one more, if there are too few.
    ///
    /// # Errors
    /// What the system said.
    pub(crate) fn start_one(&self, shared: &Arc<Shared>) -> Result<bool, (String, String)> {
        if !shared.queue.join() {
            return Ok(false);
        }
        let number = self.started.fetch_add(1, Relaxed) + 1;
        let name: Arc<str> = format!("{} {number}", shared.manner.name).into();
        let (post, (alive, done)) = (Arc::new(Post::default()), crossbeam_channel::bounded(0));
        let (its, its_post) = (shared.clone(), post.clone());
        let run = move || work(&its, &its_post, number, alive);
        match std::thread::Builder::new().name(name.replace('\0', " ")).spawn(run) {
            Ok(join) => {
                self.all.lock().push(Hand { name, post, join, done, seen: None });
                Ok(true)
            }
            Err(error) => {
                shared.queue.leave();
                self.refused.fetch_add(1, Relaxed);
                Err((name.to_string(), error.to_string()))
            }
        }
    }

    /// Starts the watch.
    ///
    /// # Errors
    /// What the system said.
    pub(crate) fn start_watch(&self, shared: &Arc<Shared>) -> Result<(), (String, String)> {
        let name = format!("{} watch", shared.manner.name);
        let (alive, done) = crossbeam_channel::bounded(0);
        let its = shared.clone();
        let watch = std::thread::Builder::new().name(name.replace('\0', " ")).spawn(move || watch(&its, alive));
        let join = watch.map_err(|error| (name, error.to_string()))?;
        *self.watch.lock() = Some((join, done));
        Ok(())
    }

    pub(crate) fn started(&self) -> u64 {
        self.started.load(Relaxed)
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    pub(crate) fn stuck(&self) -> u64 {
        self.stuck.load(Relaxed)
    }

    /// Joins all. Returns the names of those that do not end in time; this thread, if it is one of them, is among those.
    pub(crate) fn join(&self, deadline: Instant) -> Vec<String> {
        let mut stragglers = Vec::new();
        // First, for it starts others.
        if let Some((join, done)) = self.watch.lock().take() {
            join_by("the watch", join, &done, deadline, &mut stragglers);
        }
        let all = std::mem::take(&mut *self.all.lock());
        for hand in all {
            join_by(&hand.name, hand.join, &hand.done, deadline, &mut stragglers);
        }
        stragglers
    }

    /// One look at everybody.
    fn look(&self, shared: &Shared, now: Instant) {
        let mut held = Vec::new();
        {
            let mut all = self.all.lock();
            let (gone, here) = std::mem::take(&mut *all).into_iter().partition(|hand| hand.join.is_finished());
            *all = here;
            let _: Vec<_> = Vec::into_iter(gone).map(|hand: Hand| hand.join.join()).collect();
            for hand in &mut *all {
                let Some(seen) = hand.post.look() else {
                    hand.seen = None;
                    continue;
                };
                let since = hand.seen.filter(|(before, _)| *before == seen).map_or(now, |(_, since)| since);
                hand.seen = Some((seen, since));
                if now - since >= shared.manner.stuck_after {
                    held.push((seen, hand.post.clone(), hand.name.clone()));
                }
            }
        }
        for (seen, post, thread) in held {
            let seat = shared.find(|seat| seen.is_of(seat.id));
            if !shared.queue.call_stuck(&post, seen, seat.as_deref()) {
                continue;
            }
            self.stuck.fetch_add(1, Relaxed);
            if let Some(seat) = seat {
                seat.core.report(Diagnostic::ProjectStuck { project: seat.name.clone(), thread });
            }
        }
    }
}

fn join_by(name: &str, join: JoinHandle<()>, done: &Receiver<()>, deadline: Instant, stragglers: &mut Vec<String>) {
    let here = join.thread().id() == std::thread::current().id();
    if here || done.recv_deadline(deadline) == Err(RecvTimeoutError::Timeout) {
        stragglers.push(name.to_owned());
    } else {
        let _ = join.join();
    }
}

/// What a thread of the crew does.
fn work(shared: &Arc<Shared>, post: &Post, thread: u64, _alive: Sender<()>) {
    // Nobody of a crew waits for a main lane of that crew: it may be the one who would have to drive it.
    let _mark = SharedMark::new(shared.mark());
    let Manner { budget, linger, .. } = shared.manner;
    let mut driver = Driver { shared, post: Some(post), thread, budget, linger, stays: true, turn: 0 };
    let mut dry = Vec::with_capacity(TOGETHER);
    while let Some(work) = shared.queue.take(linger, &mut dry) {
        match work {
            Work::Drive(seat) => _ = driver.drive(seat),
            Work::LetSleep => driver.let_sleep(&mut dry),
        }
    }
}

/// What the watch does.
fn watch(shared: &Arc<Shared>, _alive: Sender<()>) {
    let period = (shared.manner.stuck_after / 4).max(Duration::from_millis(1));
    while shared.queue.wait_to_watch(period) == Watching::Look {
        shared.threads.look(shared, Instant::now());
        // Counted when the system refuses it, and tried again at the next look.
        while shared.threads.start_one(shared) == Ok(true) {}
    }
}

//! How a job ended, and how whoever submitted it is told.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Instant;

use crate::core::contain;
use crate::sync::Mutex;

use super::job::{JobContext, JobLabel};
use super::run::Shared;

/// What became of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome<T> {
    /// It ended with this.
    Done(T),
    /// It ended with an error, which said this.
    Failed(String),
    /// It panicked, and said this.
    Panicked(String),
    /// It was taken back before it started, or stopped when it was told to.
    Cancelled,
    /// It had not started by its deadline.
    Expired,
    /// It made room for one of a higher priority.
    Shed,
    /// It was given up, for this reason. If it ran, it may still be running.
    Abandoned(String),
}

impl<T> Outcome<T> {
    /// The value, if there is one.
    pub fn done(self) -> Option<T> {
        match self {
            Outcome::Done(value) => Some(value),
            _ => None,
        }
    }
}

/// Where a job's outcome will be: one side tells it, the other takes it.
pub(crate) struct Slot<T> {
    pub(crate) context: JobContext,
    place: Mutex<Place<T>>,
}

struct Place<T> {
    outcome: Option<Outcome<T>>,
    told: bool,
    /// Nobody will take it.
    given_up: bool,
    waker: Option<Waker>,
}

impl<T> Slot<T> {
    pub(crate) fn new(context: JobContext) -> Self {
        Self { context, place: Mutex::new(Place { outcome: None, told: false, given_up: false, waker: None }) }
    }

    /// Tells the outcome. Hands it back if nobody is there, or another was told before.
    pub(crate) fn tell(&self, outcome: Outcome<T>) -> Option<Outcome<T>> {
        let mut place = self.place.lock();
        if place.told {
            return Some(outcome);
        }
        place.told = true;
        if place.given_up {
            return Some(outcome);
        }
        place.outcome = Some(outcome);
        let waker = place.waker.take();
        drop(place);
        // A waker is somebody's code too.
        let _ = contain(|| waker.into_iter().for_each(Waker::wake));
        None
    }

    fn poll(&self, waker: Option<&Waker>) -> Poll<Outcome<T>> {
        let mut place = self.place.lock();
        if let Some(outcome) = place.outcome.take() {
            return Poll::Ready(outcome);
        }
        if place.told {
            return Poll::Ready(Outcome::Abandoned("its outcome was taken before".to_owned()));
        }
        let before = waker.and_then(|waker| place.waker.replace(waker.clone()));
        drop(place);
        drop(before);
        Poll::Pending
    }
}

/// A slot, whatever the type of its value.
pub(crate) trait Tell: Send + Sync {
    fn context(&self) -> &JobContext;
    fn abandon(&self, reason: &str);
}

impl<T: Send> Tell for Slot<T> {
    fn context(&self) -> &JobContext {
        &self.context
    }

    fn abandon(&self, reason: &str) {
        drop(self.tell(Outcome::Abandoned(reason.to_owned())));
    }
}

/// A job that was taken in. Await it, or [`wait`](Submitted::wait) for it.
///
/// Dropping it does not cancel the job, unless [`cancel_on_drop`](Submitted::cancel_on_drop) was said.
pub struct Submitted<T> {
    slot: Arc<Slot<T>>,
    shared: Arc<Shared>,
    id: u64,
    cancel_on_drop: bool,
}

impl<T> Submitted<T> {
    pub(crate) fn new(slot: Arc<Slot<T>>, shared: Arc<Shared>, id: u64) -> Self {
        Self { slot, shared, id, cancel_on_drop: false }
    }

    /// Takes the job back. One that waits is out of the queue when this returns; one that runs is told to stop, which a
    /// blocking one may ignore: look at its outcome. False if it had already ended.
    pub fn cancel(&self) -> bool {
        if self.shared.cancel_waiting(self.id) {
            return true;
        }
        if self.slot.place.lock().told {
            return false;
        }
        // Wakes whoever waits for it, also as this is dropped.
        let _ = contain(|| self.slot.context.token.cancel());
        // It may have ended a slice just before it was told, and wait again.
        self.shared.cancel_waiting(self.id);
        true
    }

    /// Cancels the job when this is dropped, if it has not ended by then.
    #[must_use = "dropped at once, it cancels at once"]
    pub fn cancel_on_drop(mut self) -> Self {
        self.cancel_on_drop = true;
        self
    }

    /// Blocks this thread until the job has ended, `deadline` at most. `None` if it had not ended by then; ask again.
    ///
    /// Not for async code, and not in a job of the same queue: the slots might all be taken by such.
    pub fn wait(&mut self, deadline: Instant) -> Option<Outcome<T>> {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        loop {
            if let Poll::Ready(outcome) = self.slot.poll(Some(&waker)) {
                return Some(outcome);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            std::thread::park_timeout(left);
        }
    }

    /// The outcome, if it is there.
    pub fn poll(&mut self) -> Option<Outcome<T>> {
        match self.slot.poll(None) {
            Poll::Ready(outcome) => Some(outcome),
            Poll::Pending => None,
        }
    }

    /// Which job it is.
    pub fn label(&self) -> &JobLabel {
        &self.slot.context.label
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Awaited again after its outcome was taken, it is [`Outcome::Abandoned`].
impl<T> Future for Submitted<T> {
    type Output = Outcome<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome<T>> {
        self.slot.poll(Some(context.waker()))
    }
}

impl<T> Drop for Submitted<T> {
    fn drop(&mut self) {
        if self.cancel_on_drop {
            self.cancel();
        }
        let mut place = self.slot.place.lock();
        place.given_up = true;
        let (outcome, waker) = (place.outcome.take(), place.waker.take());
        drop(place);
        drop((outcome, waker));
    }
}

impl<T> fmt::Debug for Submitted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Submitted").field("label", self.label()).finish_non_exhaustive()
    }
}

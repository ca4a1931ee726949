//! One subscriber's signals, between the dispatcher and whoever takes them.
//!
//! The dispatcher puts in a batch under the lock, the subscriber takes under the same lock; neither runs the host's code under it,
//! but for the comparison of keys: wakers are cloned, called and dropped without it, and so are signals and keys dropped.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use hdrhistogram::Histogram;
use parking_lot::Condvar;

use crate::core::{contain, let_go};
use crate::signal::policy::Full;
use crate::signal::queue::{Fallen, Hashed, Queue, QueueCounts, Run, Taken};
use crate::signal::sent::{Batch, Sent};
use crate::signal::status::{SubscriberState, SubscriberStatus};
use crate::sync::Mutex;

const AN_HOUR_NS: u64 = 3_600_000_000_000;

/// What an inbox has to tell the dispatcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// There is room again.
    Room,
    /// The subscriber is gone.
    Left,
}

/// Tells the dispatcher.
pub(crate) type Caller = Box<dyn Fn(Call) + Send + Sync>;

/// Is called when something came to a subscriber that had found nothing.
pub(crate) type Hook = Arc<dyn Fn() + Send + Sync>;

pub(crate) struct Inbox<T, K> {
    name: Arc<str>,
    full: Full,
    held: Mutex<Held<T, K>>,
    arrived: Condvar,
    dispatcher: Caller,
}

struct Held<T, K> {
    queue: Queue<T, K>,
    state: SubscriberState,
    /// The subscriber found nothing, and is to be woken.
    idle: bool,
    /// The dispatcher found no room, and is to be woken.
    starved: bool,
    /// Whoever waits is to stop waiting.
    interrupted: bool,
    waker: Option<Waker>,
    hook: Option<Hook>,
    latency: Histogram<u64>,
    tallies: Tallies,
}

/// What is counted outside of the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tallies {
    /// Signals on which the handler failed or panicked, each time.
    pub(crate) failures: u64,
    /// Signals handed to the handler again.
    pub(crate) retries: u64,
    /// Signals that the handler never got done.
    pub(crate) given_up: u64,
    /// Panics of the filter or of the function that gives keys.
    pub(crate) filter_panics: u64,
}

/// An inbox, whatever its keys are.
pub(crate) trait Mail<T>: Send + Sync {
    /// Takes up to `most` of what waits. Returns whether there may ever be more.
    fn take(&self, most: usize, into: &mut VecDeque<Taken<T>>) -> bool;
    /// Waits until there is something, or `deadline`. False when there will never be anything more.
    fn wait(&self, deadline: Option<Instant>) -> bool;
    /// As `wait`, for tasks.
    fn poll(&self, ctx: &mut Context<'_>) -> Poll<()>;
    /// Sets what is called when something came.
    fn hook(&self, hook: Hook);
    /// Lets go of a thread that waits.
    fn interrupt(&self);
    /// The subscriber is gone.
    fn leave(&self);
    /// The subscriber's handler is called no more.
    fn detach(&self);
    /// These were taken, and nobody looked at them.
    fn untaken(&self, count: u64);
    fn tally(&self, tally: &dyn Fn(&mut Tallies));
    fn status(&self) -> SubscriberStatus;
}

impl<T, K: Eq> Inbox<T, K> {
    pub(crate) fn new(name: Arc<str>, full: Full, capacity: usize, dispatcher: Caller) -> Self {
        let Ok(latency) = Histogram::new(2) else { unreachable!("two digits are possible") };
        let held = Held {
            queue: Queue::new(full, capacity),
            state: SubscriberState::Open,
            idle: true,
            starved: false,
            interrupted: false,
            waker: None,
            hook: None,
            latency,
            tallies: Tallies::default(),
        };
        Self { name, full, held: Mutex::new(held), arrived: Condvar::new(), dispatcher }
    }

    /// Puts in what matches, and what was refused after it. What falls out of the queue is in `fallen`.
    pub(crate) fn offer(
        &self,
        batch: &Batch<T>,
        matches: &mut Vec<Match<K>>,
        refused: u64,
        now: Instant,
        fallen: &mut Fallen<T, K>,
    ) -> Offered {
        let mut held = self.held.lock();
        if held.state != SubscriberState::Open {
            return Offered { open: false, dropped: 0, broken: None };
        }
        let dropped_before = held.queue.counts().dropped;
        let mut broken = None;
        for each in matches.drain(..) {
            match (&mut held.queue, each) {
                (Queue::Runs(runs), Match::Run(at)) => runs.offer(Run { batch: batch.clone(), at }, now),
                (Queue::Keyed(keyed), Match::Key(_, key)) if broken.is_some() => keyed.let_fall(key),
                (Queue::Keyed(keyed), Match::Key(at, key)) => broken = keyed.offer(one(batch, at), key).err(),
                (Queue::Keyed(keyed), Match::Broken(at)) => keyed.unkeyed(&one(batch, at)),
                _ => unreachable!("signals have keys where they are coalesced by them"),
            }
        }
        if refused > 0 {
            held.queue.refused(refused);
        }
        if broken.is_some() {
            held.state = SubscriberState::Detached;
            held.queue.clear();
        }
        let dropped = held.queue.counts().dropped - dropped_before;
        held.queue.swap_fallen(fallen);
        let sleeper = if broken.is_some() || !held.queue.is_empty() { held.sleeper() } else { None };
        drop(held);
        self.rouse(sleeper);
        Offered { open: broken.is_none(), dropped, broken }
    }

    /// How many signals may come. When there is no room, the dispatcher is woken as soon as there is.
    pub(crate) fn room(&self) -> usize {
        if !matches!(self.full, Full::Block { .. }) {
            return usize::MAX;
        }
        let mut held = self.held.lock();
        if held.state != SubscriberState::Open {
            return usize::MAX;
        }
        let room = held.queue.room();
        held.starved = room == 0;
        room
    }

    /// Looks at what is kept aside. Returns when the next look is due, and how many were dropped; they are in `fallen`.
    pub(crate) fn look_aside(&self, now: Instant, fallen: &mut Fallen<T, K>) -> (Option<Instant>, u64) {
        let mut held = self.held.lock();
        let dropped_before = held.queue.counts().dropped;
        let due = held.queue.look_aside(now);
        held.queue.swap_fallen(fallen);
        (due, held.queue.counts().dropped - dropped_before)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.held.lock().state == SubscriberState::Open
    }

    /// False if there is room by now.
    pub(crate) fn suspend(&self) -> bool {
        self.held.lock().queue.suspend()
    }

    /// Nothing more will come.
    pub(crate) fn end(&self) {
        let mut held = self.held.lock();
        if held.state == SubscriberState::Open {
            held.state = SubscriberState::Ended;
        }
        let sleeper = held.sleeper();
        drop(held);
        self.rouse(sleeper);
    }

    fn rouse(&self, sleeper: Option<Sleeper>) {
        let Some(Sleeper { waker, hook }) = sleeper else { return };
        self.arrived.notify_all();
        // The host's code.
        if let Some(waker) = waker {
            let _ = contain(|| waker.wake());
        }
        if let Some(hook) = hook {
            let _ = contain(|| hook());
            // Its subscriber may have left meanwhile.
            let_go(hook);
        }
    }
}

/// What matches of a batch.
pub(crate) enum Match<K> {
    /// These, which have no keys.
    Run(Range<usize>),
    /// This one, with its key.
    Key(usize, Hashed<K>),
    /// This one, and the function that gives keys panicked.
    Broken(usize),
}

fn one<T>(batch: &Batch<T>, at: usize) -> Run<T> {
    Run { batch: batch.clone(), at: at..at + 1 }
}

/// What became of a batch.
pub(crate) struct Offered {
    pub(crate) open: bool,
    pub(crate) dropped: u64,
    /// What the host's code said as it panicked.
    pub(crate) broken: Option<String>,
}

fn record<T>(latency: &mut Histogram<u64>, sent: &Sent<T>, now: Instant) {
    let Some(published) = sent.published else { return };
    let waited = now.saturating_duration_since(published);
    // It grows to what it is given, and that is an hour at most.
    let _ = latency.record((waited.as_nanos() as u64).clamp(1, AN_HOUR_NS));
}

/// Who is to be woken, beside a thread.
struct Sleeper {
    waker: Option<Waker>,
    hook: Option<Hook>,
}

impl<T, K: Eq> Held<T, K> {
    /// What nobody needs any more, to be dropped when the lock is free.
    fn fallen(&mut self) -> Fallen<T, K> {
        let mut fallen = Fallen::default();
        // Otherwise the queue keeps the room that it has for them.
        if self.queue.has_fallen() {
            self.queue.swap_fallen(&mut fallen);
        }
        fallen
    }

    /// Whoever found nothing the last time; once.
    fn sleeper(&mut self) -> Option<Sleeper> {
        let was_idle = std::mem::take(&mut self.idle);
        was_idle.then(|| Sleeper { waker: self.waker.take(), hook: self.hook.clone() })
    }

    /// True when there is something, or there will never be.
    fn is_ready(&mut self) -> bool {
        let ready = !self.queue.is_empty() || self.state != SubscriberState::Open;
        self.idle = !ready;
        ready
    }
}

impl<T: Send + Sync, K: Eq + Send> Mail<T> for Inbox<T, K> {
    fn take(&self, most: usize, into: &mut VecDeque<Taken<T>>) -> bool {
        let mut lock = self.held.lock();
        if !lock.is_ready() {
            return true;
        }
        let now = Instant::now();
        let held = &mut *lock;
        let before = into.len();
        held.queue.take(most, into, now);
        for taken in into.range(before..) {
            if let Taken::Run(run) | Taken::One { run, .. } = taken {
                run.signals().iter().for_each(|sent| record(&mut held.latency, sent, now));
            }
        }
        let more = !into.is_empty() || held.state == SubscriberState::Open || !held.queue.is_empty();
        let starved = std::mem::take(&mut held.starved);
        let mut fallen = held.fallen();
        drop(lock);
        fallen.bury();
        if starved {
            (self.dispatcher)(Call::Room);
        }
        more
    }

    fn wait(&self, deadline: Option<Instant>) -> bool {
        let mut held = self.held.lock();
        while !held.is_ready() {
            if std::mem::take(&mut held.interrupted) {
                return true;
            }
            let is_late = match deadline {
                None => {
                    self.arrived.wait(&mut held);
                    false
                }
                Some(deadline) => self.arrived.wait_until(&mut held, deadline).timed_out(),
            };
            if is_late {
                return true;
            }
        }
        held.state == SubscriberState::Open || !held.queue.is_empty()
    }

    fn poll(&self, ctx: &mut Context<'_>) -> Poll<()> {
        {
            let mut held = self.held.lock();
            if held.is_ready() {
                return Poll::Ready(());
            }
            if held.waker.as_ref().is_some_and(|waker| waker.will_wake(ctx.waker())) {
                return Poll::Pending;
            }
        }
        // Cloned and dropped by the host's code; nothing is changed if that panics.
        let waker = ctx.waker().clone();
        let mut held = self.held.lock();
        if held.is_ready() {
            drop(held);
            let_go(waker);
            return Poll::Ready(());
        }
        let before = held.waker.replace(waker);
        drop(held);
        let_go(before);
        Poll::Pending
    }

    fn hook(&self, hook: Hook) {
        let mut held = self.held.lock();
        let ready = held.is_ready();
        let before = held.hook.replace(hook.clone());
        drop(held);
        let_go(before);
        if ready {
            let _ = contain(|| hook());
        }
        let_go(hook);
    }

    fn interrupt(&self) {
        self.held.lock().interrupted = true;
        self.arrived.notify_all();
    }

    fn leave(&self) {
        let mut held = self.held.lock();
        if held.state == SubscriberState::Open {
            held.state = SubscriberState::Left;
        }
        held.queue.clear();
        held.starved = false;
        let (waker, hook, mut fallen) = (held.waker.take(), held.hook.take(), held.fallen());
        drop(held);
        fallen.bury();
        let_go(waker);
        let_go(hook);
        (self.dispatcher)(Call::Left);
    }

    fn detach(&self) {
        let mut held = self.held.lock();
        held.state = SubscriberState::Detached;
        held.queue.clear();
        let mut fallen = held.fallen();
        drop(held);
        fallen.bury();
        (self.dispatcher)(Call::Left);
    }

    fn untaken(&self, count: u64) {
        let mut held = self.held.lock();
        held.queue.counts().delivered -= count;
        held.queue.counts().dropped += count;
    }

    fn tally(&self, tally: &dyn Fn(&mut Tallies)) {
        tally(&mut self.held.lock().tallies);
    }

    fn status(&self) -> SubscriberStatus {
        let mut held = self.held.lock();
        let QueueCounts { matched, delivered, dropped, coalesced } = *held.queue.counts();
        let Tallies { failures, retries, given_up, filter_panics } = held.tallies;
        SubscriberStatus {
            name: self.name.clone(),
            full: self.full,
            state: held.state,
            matched,
            delivered,
            dropped,
            coalesced,
            depth: held.queue.depth() as u64,
            failures,
            retries,
            given_up,
            filter_panics,
            latency_ns: held.latency.clone(),
        }
    }
}

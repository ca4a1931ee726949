//! Projects that are ready, first come first served; those that have run dry; those to be woken by the clock; and the threads that
//! wait for any of them.
//!
//! All of it is behind one lock, which is held for some ten nanoseconds at a time: once when a project is queued, once when it is taken.
//!
//! To let a project sleep takes a barrier on all cores (B1), and one does for many. So those that have run dry stand in a row of
//! their own: while there is nothing else they are looked at in turn, and when the first has been dry for long enough, or the row is long,
//! all of them are let sleep together. That runs nothing of the host's, so nobody in it waits for another's reducer.

use std::cmp::{Ordering as Order, Reverse};
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Condvar;

use crate::core::{contain, let_go};
use crate::register::crew::post::{Post, Seen};
use crate::register::crew::seat::Seat;
use crate::sync::{AtomicU64, Mutex, Ordering::Relaxed};

/// Called when there is something to do, and the host was told that there was nothing.
pub(crate) type ReadyHook = Box<dyn Fn() + Send + Sync>;

/// How many times as long projects that have run dry stand in their row while others wait for a thread.
const LONGER: u32 = 8;
/// No timer.
const NEVER: u64 = u64::MAX;
/// How many are let sleep together at most.
pub(crate) const TOGETHER: usize = 64;

/// What there is to do for a thread.
pub(crate) enum Work {
    /// To drive one.
    Drive(Arc<Seat>),
    /// To let those sleep that were handed over.
    LetSleep,
}

/// What is ready, and who waits for it.
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    /// Threads wait here for something to do.
    work: Condvar,
    /// The watch waits here.
    watch: Condvar,
    /// How many are ready or dry. Only a hint: whether to look.
    length: AtomicU64,
    /// When the next timer is due, in nanoseconds since the beginning. Likewise.
    due_ns: AtomicU64,
    begin: Instant,
    hook: Option<ReadyHook>,
    hook_panics: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    ready: VecDeque<Arc<Seat>>,
    /// Since when they have had nothing to do.
    dry: VecDeque<(Instant, Arc<Seat>)>,
    timers: BinaryHeap<Reverse<Timer>>,
    hands: Hands,
    /// Threads that wait.
    parked: usize,
    /// The earliest moment at which one of those wakes by itself.
    watched: Option<Instant>,
    /// The watch sleeps until somebody has something to do.
    watch_sleeps: bool,
    /// The host was told that there is nothing to do.
    host_sleeps: bool,
    closed: bool,
}

/// How many threads there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hands {
    /// How many there should be that are not stuck.
    pub(crate) wanted: usize,
    /// How many of those there are.
    pub(crate) active: usize,
    /// How many are stuck.
    pub(crate) stuck: usize,
    /// How many more than wanted there may be in all.
    pub(crate) spares: usize,
}

impl Hands {
    /// True when there are too few, and one more may be started.
    pub(crate) fn wants_more(self) -> bool {
        self.active < self.wanted && self.active + self.stuck < self.wanted + self.spares
    }
}

/// When to wake whom.
struct Timer {
    due: Instant,
    seat: Arc<Seat>,
}

impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Order::Equal
    }
}

impl Eq for Timer {}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<Order> {
        Some(self.cmp(other))
    }
}

impl Ord for Timer {
    fn cmp(&self, other: &Self) -> Order {
        (self.due, self.seat.id).cmp(&(other.due, other.seat.id))
    }
}

/// What there is for a host that drives a crew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outlook {
    More,
    Nothing,
    Until(Instant),
}

/// What the watch does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watching {
    Look,
    Over,
}

impl Queue {
    pub(crate) fn new(wanted: usize, spares: usize, hook: Option<ReadyHook>) -> Self {
        let hands = Hands { wanted, active: 0, stuck: 0, spares };
        let waiting = Waiting { hands, host_sleeps: true, ..Waiting::default() };
        Self {
            waiting: Mutex::new(waiting),
            work: Condvar::new(),
            watch: Condvar::new(),
            length: AtomicU64::new(0),
            due_ns: AtomicU64::new(NEVER),
            begin: Instant::now(),
            hook,
            hook_panics: AtomicU64::new(0),
        }
    }

    /// Makes room, so that nobody who wakes a project has to.
    pub(crate) fn reserve(&self, projects: usize) {
        let Waiting { ready, dry, .. } = &mut *self.waiting.lock();
        ready.reserve(projects.saturating_sub(ready.len()));
        dry.reserve(projects.saturating_sub(dry.len()));
    }

    /// Queues one that Y1 says is to be queued.
    pub(crate) fn push(&self, seat: Arc<Seat>) {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return;
        }
        waiting.ready.push_back(seat);
        self.note(&waiting);
        let (wakes, calls) = (waiting.parked > 0, std::mem::take(&mut waiting.host_sleeps));
        drop(waiting);
        if wakes {
            self.work.notify_one();
        }
        if calls
            && let Some(hook) = &self.hook
            && contain(hook).is_err()
        {
            // It ran on the thread of whoever pushed: that one must not unwind.
            self.hook_panics.fetch_add(1, Relaxed);
        }
    }

    /// As [`push`](Queue::push), for one that has had nothing to do since.
    pub(crate) fn push_dry(&self, since: Instant, seat: Arc<Seat>) {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return;
        }
        waiting.dry.push_back((since, seat));
        // Nobody is woken: the caller looks here next.
        self.note(&waiting);
    }

    fn note(&self, waiting: &Waiting) {
        self.length.store((waiting.ready.len() + waiting.dry.len()) as u64, Relaxed);
    }

    fn note_due(&self, waiting: &Waiting) {
        let due = waiting.timers.peek().map(|Reverse(timer)| self.since_begin(timer.due));
        self.due_ns.store(due.unwrap_or(NEVER), Relaxed);
    }

    fn since_begin(&self, moment: Instant) -> u64 {
        // Longer than five hundred years is never.
        moment.saturating_duration_since(self.begin).as_nanos().try_into().unwrap_or(NEVER)
    }

    /// True when others wait for a thread, or are to be woken.
    #[inline]
    pub(crate) fn has_more(&self, now: Instant) -> bool {
        self.length.load(Relaxed) > 0 || {
            let due = self.due_ns.load(Relaxed);
            due != NEVER && due <= self.since_begin(now)
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.length.load(Relaxed) as usize
    }

    pub(crate) fn hook_panics(&self) -> u64 {
        self.hook_panics.load(Relaxed)
    }

    /// Wakes `seat` at `due`, if no timer of its wakes it before.
    pub(crate) fn wake_at(&self, due: Instant, seat: Arc<Seat>) {
        let mut waiting = self.waiting.lock();
        if !waiting.closed {
            waiting.timers.push(Reverse(Timer { due, seat }));
            self.note_due(&waiting);
        }
    }

    /// Whoever has set timers, or found that it is time, does not come back to [`take`](Queue::take): somebody who waits there sees to
    /// it from here on.
    pub(crate) fn leave_to_others(&self) {
        let waiting = self.waiting.lock();
        let minds = waiting.parked > 0 && (waiting.unwatched().is_some() || !waiting.ready.is_empty());
        drop(waiting);
        if minds {
            self.work.notify_one();
        }
    }

    /// Forgets one that was shut down.
    pub(crate) fn forget(&self, id: u64) {
        let mut waiting = self.waiting.lock();
        waiting.timers.retain(|Reverse(timer)| timer.seat.id != id);
        waiting.ready.retain(|seat| seat.id != id);
        waiting.dry.retain(|(_, seat)| seat.id != id);
        self.note(&waiting);
        self.note_due(&waiting);
    }

    /// What to do next; waits for it. `None` when this thread is to end: all is over, or there are too many. Those that are to be
    /// let sleep, as they have been dry for `linger`, are handed over in `dry`.
    pub(crate) fn take(&self, linger: Duration, dry: &mut Vec<Arc<Seat>>) -> Option<Work> {
        let mut waiting = self.waiting.lock();
        loop {
            if waiting.closed {
                waiting.hands.active -= 1;
                return None;
            }
            if waiting.hands.active > waiting.hands.wanted {
                waiting.hands.active -= 1;
                // What it was woken for is another's now.
                let wakes = waiting.parked > 0;
                drop(waiting);
                if wakes {
                    self.work.notify_one();
                }
                return None;
            }
            let next = match waiting.lets_sleep(linger) {
                true => Some(self.drain_dry(&mut waiting, dry)),
                false => self.pop(&mut waiting).map(Work::Drive),
            };
            if let Some(work) = next {
                let wakes_watch = std::mem::take(&mut waiting.watch_sleeps);
                // Somebody else keeps the time while this one is away, and looks at those that have run dry.
                let minds = waiting.parked > 0 && (waiting.unwatched().is_some() || !waiting.dry.is_empty());
                drop(waiting);
                if wakes_watch {
                    self.watch.notify_one();
                }
                if minds {
                    self.work.notify_one();
                }
                return Some(work);
            }
            // One of those who wait wakes for the next timer.
            let due = waiting.unwatched();
            waiting.parked += 1;
            match due {
                Some(due) => {
                    waiting.watched = Some(due);
                    self.work.wait_until(&mut waiting, due);
                    waiting.watched = waiting.watched.filter(|watched| *watched != due);
                }
                None => self.work.wait(&mut waiting),
            }
            waiting.parked -= 1;
        }
    }

    /// The next that is ready, if one is.
    pub(crate) fn try_take(&self) -> Option<Arc<Seat>> {
        let mut waiting = self.waiting.lock();
        let seat = waiting.ready.pop_front();
        self.note(&waiting);
        seat
    }

    fn pop(&self, waiting: &mut Waiting) -> Option<Arc<Seat>> {
        self.ring_timers(waiting);
        let seat = match waiting.ready.pop_front() {
            Some(seat) => Some(seat),
            // One more look, for want of something better.
            None => waiting.dry.pop_front().map(|(_, seat)| seat),
        };
        self.note(waiting);
        seat
    }

    /// Queues those whose time has come.
    fn ring_timers(&self, waiting: &mut Waiting) {
        if !waiting.timers.is_empty() && waiting.ring_timers(Instant::now()) {
            self.note(waiting);
            self.note_due(waiting);
        }
    }

    /// Those that have run dry.
    pub(crate) fn take_dry(&self, dry: &mut Vec<Arc<Seat>>) {
        self.drain_dry(&mut self.waiting.lock(), dry);
    }

    fn drain_dry(&self, waiting: &mut Waiting, dry: &mut Vec<Arc<Seat>>) -> Work {
        let count = waiting.dry.len().min(TOGETHER);
        dry.extend(waiting.dry.drain(..count).map(|(_, seat)| seat));
        self.note(waiting);
        Work::LetSleep
    }

    /// How many are ready now, those that are due included.
    pub(crate) fn ready_now(&self) -> usize {
        let mut waiting = self.waiting.lock();
        self.ring_timers(&mut waiting);
        waiting.ready.len()
    }

    /// What is left for a host. When that is nothing, the hook is called for the next that comes.
    pub(crate) fn outlook(&self) -> Outlook {
        let mut waiting = self.waiting.lock();
        self.ring_timers(&mut waiting);
        if !waiting.ready.is_empty() {
            return Outlook::More;
        }
        waiting.host_sleeps = true;
        waiting.timers.peek().map_or(Outlook::Nothing, |Reverse(timer)| Outlook::Until(timer.due))
    }

    /// A thread begins. False when it is not needed.
    pub(crate) fn join(&self) -> bool {
        let mut waiting = self.waiting.lock();
        let joins = !waiting.closed && waiting.hands.wants_more();
        waiting.hands.active += usize::from(joins);
        joins
    }

    /// The system refused a thread that had joined already.
    pub(crate) fn leave(&self) {
        self.waiting.lock().hands.active -= 1;
    }

    /// Calls a thread's turn stuck. False if it is over.
    pub(crate) fn call_stuck(&self, post: &Post, seen: Seen, seat: Option<&Seat>) -> bool {
        // Under the lock, so that what follows from it is there before the thread returns to this lock.
        let hands = &mut self.waiting.lock().hands;
        if !post.call_stuck(seen) {
            return false;
        }
        (hands.active, hands.stuck) = (hands.active - 1, hands.stuck + 1);
        if let Some(seat) = seat {
            seat.counts.stuck.store(true, Relaxed);
        }
        true
    }

    /// A thread whose turn was called stuck has ended it.
    pub(crate) fn returned(&self, seat: &Seat) {
        let hands = &mut self.waiting.lock().hands;
        (hands.active, hands.stuck) = (hands.active + 1, hands.stuck - 1);
        seat.counts.stuck.store(false, Relaxed);
    }

    pub(crate) fn hands(&self) -> Hands {
        self.waiting.lock().hands
    }

    /// The watch waits until it is time to look again: for as long as nobody does anything.
    pub(crate) fn wait_to_watch(&self, period: Duration) -> Watching {
        let mut waiting = self.waiting.lock();
        loop {
            if waiting.closed {
                return Watching::Over;
            }
            let rest = waiting.parked == waiting.hands.active
                && waiting.ready.is_empty()
                && waiting.dry.is_empty()
                && !waiting.hands.wants_more();
            if rest {
                waiting.watch_sleeps = true;
                self.watch.wait(&mut waiting);
                continue;
            }
            waiting.watch_sleeps = false;
            self.watch.wait_for(&mut waiting, period);
            return if waiting.closed { Watching::Over } else { Watching::Look };
        }
    }

    /// Nothing is queued any more, and all threads end.
    pub(crate) fn close(&self) {
        let mut waiting = self.waiting.lock();
        waiting.closed = true;
        let (ready, dry) = (std::mem::take(&mut waiting.ready), std::mem::take(&mut waiting.dry));
        let timers = std::mem::take(&mut waiting.timers);
        self.length.store(0, Relaxed);
        self.note_due(&waiting);
        drop(waiting);
        drop((ready, dry, timers));
        self.work.notify_all();
        self.watch.notify_all();
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // By whoever wakes a project as the crew goes.
        let_go(self.hook.take());
    }
}

impl Waiting {
    /// The moment of the next timer, if none of those who wait wakes by then.
    fn unwatched(&self) -> Option<Instant> {
        let due = self.timers.peek().map(|Reverse(timer)| timer.due)?;
        self.watched.is_none_or(|watched| due < watched).then_some(due)
    }

    /// True when those that have run dry are to be let sleep: the first has been for long enough, or there are many. While others
    /// wait for a thread it takes longer, so that there are more.
    fn lets_sleep(&self, linger: Duration) -> bool {
        let linger = if self.ready.is_empty() { linger } else { linger.saturating_mul(LONGER) };
        let is_time = |(since, _): &(Instant, _)| self.dry.len() >= TOGETHER || since.elapsed() >= linger;
        self.dry.front().is_some_and(is_time)
    }

    /// Queues those whose time has come. True if there were any.
    fn ring_timers(&mut self, now: Instant) -> bool {
        let before = self.timers.len();
        while let Some(Reverse(timer)) = self.timers.peek()
            && timer.due <= now
        {
            let Some(Reverse(Timer { seat, .. })) = self.timers.pop() else { unreachable!("it was there") };
            if seat.ready.wake() {
                self.ready.push_back(seat);
            }
        }
        self.timers.len() < before
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;

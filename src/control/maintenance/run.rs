//! Running what the queue picks: on the runtime it was given, or on threads of its own.
//!
//! # Invariants
//! - **N1 no lock over the host's code**: closures, futures, their drops, values, wakers and tokens are touched with the
//!   state unlocked. What leaves the queue under the lock is carried out and retired afterwards.
//! - **N2 counted, then told**: a job's end is in the counts before its outcome can be taken.
//! - **N3 no slot idles**: whatever puts a job in or frees a slot picks until nothing more may start.
//! - **N4 nothing vanishes**: a ticket that is dropped instead of run says so; only a runtime that has gone does that.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};
use std::thread::Thread;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use tokio::runtime::Handle;
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::core::contain;
use crate::notifications::Notifications;
use crate::sync::{Arc, Mutex};

use super::accounts::CLASSES;
use super::close::Progress;
use super::job::JobLabel;
use super::outcome::Tell;
use super::queue::{Picked, Queue};
use super::stats::{End, Times};
use super::task::Unit;

/// Why jobs are abandoned when their runtime drops them.
pub(crate) const GONE: &str = "the runtime has been shut down";

/// Where jobs run.
pub(crate) enum Runner {
    OnRuntime(Handle),
    /// The other end is with as many threads as there are slots. `None` once they are to end.
    OnThreads(Mutex<Option<Sender<Ticket>>>),
}

/// A job in the queue.
pub(crate) struct Held {
    pub(crate) unit: Box<dyn Unit>,
    /// What its slices took so far, and where that is to be recorded; once it has begun.
    begun: Option<(u64, Arc<Times>)>,
}

impl Held {
    pub(crate) fn new(unit: Box<dyn Unit>) -> Self {
        Self { unit, begun: None }
    }
}

pub(crate) struct State {
    pub(crate) queue: Queue<Held>,
    /// Those in a slot.
    pub(crate) running: HashMap<u64, Arc<dyn Tell>, foldhash::fast::RandomState>,
    /// How many have left their slot and are being told.
    pub(crate) settling: usize,
    pub(crate) drop_panics: u64,
    /// The runtime drops what it is given.
    pub(crate) gone: bool,
    pub(crate) closing: Option<Progress>,
}

/// What the ends of one queue share.
pub(crate) struct Shared {
    pub(crate) epoch: Instant,
    pub(crate) slice: Duration,
    pub(crate) state: Mutex<State>,
    pub(crate) runner: Runner,
    pub(crate) times: [Times; CLASSES],
    /// Told when the queue is closed.
    pub(crate) closed: Notifications,
    /// The thread that keeps deadlines.
    pub(crate) keeper: OnceLock<Thread>,
}

impl Shared {
    /// This moment, as the queue counts them.
    pub(crate) fn now(&self) -> u64 {
        self.moment(Instant::now())
    }

    pub(crate) fn moment(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.epoch).as_nanos()).unwrap_or(u64::MAX)
    }

    pub(crate) fn wake_keeper(&self) {
        self.keeper.get().inspect(|keeper| keeper.unpark());
    }

    /// Takes a job out that waits. False if it does not.
    pub(crate) fn cancel_waiting(&self, id: u64) -> bool {
        let held = {
            let mut state = self.state.lock();
            let held = state.queue.take(id, End::Cancelled);
            held.inspect(|held| state.note_cancelled(&held.unit.slot().context().label))
        };
        let found = held.is_some();
        self.retire(held, End::Cancelled, "");
        if found {
            self.wake_keeper_if_closing();
        }
        found
    }

    /// Tells those that are out of the queue, and not in a slot, how they ended. N1.
    pub(crate) fn retire(&self, held: impl IntoIterator<Item = Held>, end: End, reason: &str) {
        let mut drop_panics = 0;
        for Held { unit, begun } in held {
            if let Some((ran_ns, times)) = begun {
                self.record_run(&unit.slot().context().label, &times, ran_ns);
            }
            drop_panics += unit.finish(end, reason);
        }
        if drop_panics > 0 {
            self.state.lock().drop_panics += drop_panics;
        }
    }

    /// N3: starts whatever may start.
    pub(crate) fn dispatch(self: &Arc<Self>) {
        while let Some(ticket) = self.next(|_| {}) {
            self.start(ticket);
        }
    }

    /// The next job that may start, after `first` has been done to the state. N1.
    fn next(self: &Arc<Self>, first: impl FnOnce(&mut State)) -> Option<Ticket> {
        let mut expired = Vec::new();
        let ticket = {
            let mut state = self.state.lock();
            first(&mut state);
            let now = self.now();
            expired.extend(std::iter::from_fn(|| state.queue.expire(now)));
            state.queue.pick(now).map(|picked| Ticket::new(self.clone(), &mut state, picked))
        };
        self.retire(expired, End::Expired, "");
        ticket
    }

    fn start(self: &Arc<Self>, ticket: Ticket) {
        // What a runtime that has gone is given, it drops; so does a panic of the system's refusing it a thread. N4.
        let _ = contain(|| match &self.runner {
            Runner::OnRuntime(handle) if ticket.asynchronous => {
                drop(handle.spawn(Driven { ticket: Some(ticket), cancelled: None }));
            }
            Runner::OnRuntime(handle) => drop(handle.spawn_blocking(move || ticket.work())),
            Runner::OnThreads(sender) => {
                let sender = sender.lock().clone();
                sender.map(|sender| sender.send(ticket));
            }
        });
    }

    fn record_run(&self, label: &JobLabel, times: &Times, ran_ns: u64) {
        times.ran(ran_ns);
        self.times[label.priority as usize].ran(ran_ns);
    }

    pub(crate) fn wake_keeper_if_closing(&self) {
        if self.state.lock().closing.is_some() {
            self.wake_keeper();
        }
    }
}

impl State {
    pub(crate) fn note_cancelled(&mut self, label: &JobLabel) {
        if let Some(progress) = &mut self.closing {
            progress.cancelled.push(label.clone());
        }
    }

    /// A running job has ended. What is left of the closing hears of it.
    fn end(&mut self, id: u64, ran_ns: u64, end: End) {
        if self.queue.end(id, ran_ns, end)
            && let Some(slot) = self.running.remove(&id)
        {
            match (end, &mut self.closing) {
                (End::Cancelled, Some(progress)) => progress.cancelled.push(slot.context().label.clone()),
                (End::Abandoned, Some(progress)) => progress.abandoned.push(slot.context().label.clone()),
                _ => {}
            }
        }
    }
}

/// A job in a slot, on its way to whoever runs it, or running.
pub(crate) struct Ticket {
    shared: Arc<Shared>,
    id: u64,
    /// `None` once it is out of the slot.
    unit: Option<Box<dyn Unit>>,
    slot: Arc<dyn Tell>,
    asynchronous: bool,
    waiting_since: Option<u64>,
    expires: Option<u64>,
    times: Arc<Times>,
    /// What earlier slices took.
    ran_ns: u64,
    /// When this slice began.
    since: Option<u64>,
}

impl Ticket {
    fn new(shared: Arc<Shared>, state: &mut State, picked: Picked<Held>) -> Self {
        let Picked { id, job: Held { unit, begun }, waiting_since, expires, times } = picked;
        let slot = unit.slot();
        state.running.insert(id, slot.clone());
        let asynchronous = unit.is_asynchronous();
        let ran_ns = begun.map_or(0, |(ran_ns, _)| ran_ns);
        Self { shared, id, unit: Some(unit), slot, asynchronous, waiting_since, expires, times, ran_ns, since: None }
    }

    /// Runs it on this thread, and what comes after it for as long as a slice.
    pub(crate) fn work(self) {
        let shared = self.shared.clone();
        // Not for ever: a runtime that is being shut down waits for this to return.
        let until = match shared.runner {
            Runner::OnRuntime(_) => Instant::now().checked_add(shared.slice),
            Runner::OnThreads(_) => None,
        };
        let mut ticket = self;
        while let Some(next) = ticket.run_slice() {
            if next.asynchronous || until.is_some_and(|until| Instant::now() >= until) {
                return shared.start(next);
            }
            ticket = next;
        }
    }

    fn run_slice(mut self) -> Option<Ticket> {
        let end = self.begin().or_else(|| self.unit.as_mut().and_then(|unit| unit.run(self.shared.slice)));
        match end {
            Some(end) => self.settle(end, ""),
            None => self.yield_back(),
        }
    }

    /// Notes that it begins; or says why it must not.
    fn begin(&mut self) -> Option<End> {
        if self.slot.context().is_cancelled() {
            return Some(End::Cancelled);
        }
        let now = self.shared.now();
        if self.expires.is_some_and(|expires| expires < now) {
            return Some(End::Expired);
        }
        self.since = Some(now);
        if let Some(since) = self.waiting_since.take() {
            let wait_ns = now.saturating_sub(since);
            self.times.waited(wait_ns);
            self.shared.times[self.slot.context().label.priority as usize].waited(wait_ns);
        }
        None
    }

    /// How long this slice took until now.
    fn slice_ns(&self) -> u64 {
        self.since.map_or(0, |since| self.shared.now().saturating_sub(since))
    }

    /// It has ended: out of the slot, counted, told (N2). Returns what may start now.
    fn settle(mut self, end: End, reason: &str) -> Option<Ticket> {
        let unit = self.unit.take()?;
        let shared = self.shared.clone();
        let slice_ns = self.slice_ns();
        if self.since.is_some() || self.ran_ns > 0 {
            shared.record_run(&self.slot.context().label, &self.times, self.ran_ns + slice_ns);
        }
        {
            let mut state = shared.state.lock();
            state.end(self.id, slice_ns, end);
            state.settling += 1;
        }
        let drop_panics = unit.finish(end, reason);
        drop(self);
        shared.clone().next(|state| {
            state.settling -= 1;
            state.drop_panics += drop_panics;
            if state.closing.is_some() {
                shared.wake_keeper();
            }
        })
    }

    /// It waits for its next slice. Returns what may start now, perhaps itself.
    fn yield_back(mut self) -> Option<Ticket> {
        let unit = self.unit.take()?;
        let (shared, slice_ns) = (self.shared.clone(), self.slice_ns());
        let begun = Some((self.ran_ns + slice_ns, self.times.clone()));
        let mut left = Some(Held { unit, begun });
        let next = shared.next(|state| {
            // Under the lock, so that a `cancel` either is seen here or finds it waiting.
            if self.slot.context().is_cancelled() {
                return;
            }
            if let Some(held) = left.take() {
                let id = self.id;
                match state.queue.yield_back(id, shared.now(), slice_ns, held) {
                    Ok(()) => drop(state.running.remove(&id)),
                    Err(held) => left = Some(held),
                }
            }
        });
        let Some(held) = left else { return next };
        // Told to stop, or given up. It still has its slot, so nothing else was picked for it; but if something was, for
        // another's, that must start.
        next.into_iter().for_each(|next| shared.start(next));
        self.unit = Some(held.unit);
        self.settle(End::Cancelled, "")
    }
}

/// N4: nobody ran it.
impl Drop for Ticket {
    fn drop(&mut self) {
        let Some(unit) = self.unit.take() else { return };
        let shared = self.shared.clone();
        let slice_ns = self.slice_ns();
        if self.since.is_some() || self.ran_ns > 0 {
            shared.record_run(&self.slot.context().label, &self.times, self.ran_ns + slice_ns);
        }
        let waiting = {
            let mut state = shared.state.lock();
            state.gone = true;
            state.end(self.id, slice_ns, End::Abandoned);
            state.settling += 1;
            let waiting = state.queue.take_all(End::Abandoned);
            if let Some(progress) = &mut state.closing {
                progress.abandoned.extend(waiting.iter().map(|held| held.unit.slot().context().label.clone()));
            }
            waiting
        };
        let drop_panics = unit.finish(End::Abandoned, GONE);
        shared.retire(waiting, End::Abandoned, GONE);
        let mut state = shared.state.lock();
        state.settling -= 1;
        state.drop_panics += drop_panics;
        drop(state);
        shared.wake_keeper_if_closing();
    }
}

/// An asynchronous job as a task of the runtime.
struct Driven {
    ticket: Option<Ticket>,
    cancelled: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl Future for Driven {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Self { ticket: place, cancelled } = &mut *self;
        let Some(ticket) = place else { return Poll::Ready(()) };
        let mut end = if ticket.since.is_none() { ticket.begin() } else { None };
        if end.is_none() {
            let token = &ticket.slot.context().token;
            let cancelled = cancelled.get_or_insert_with(|| Box::pin(token.clone().cancelled_owned()));
            end = cancelled.as_mut().poll(context).is_ready().then_some(End::Cancelled);
        }
        if end.is_none()
            && let Some(unit) = &mut ticket.unit
        {
            match unit.poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(its) => end = Some(its),
            }
        }
        if let (Some(ticket), Some(end)) = (place.take(), end) {
            let shared = ticket.shared.clone();
            ticket.settle(end, "").into_iter().for_each(|next| shared.start(next));
        }
        Poll::Ready(())
    }
}

//! Who hands signals on: one thread, or the host's loop.

use std::fmt;
use std::thread::{self, JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use crossbeam_utils::sync::Parker;

use crate::backoff::A_YEAR;
use crate::core::{DROP_DEADLINE, let_go};
use crate::lane::idle::{IdleStrategy, Idling};
use crate::main_lane::budget::{Budget, Pace};
use crate::signal::bus::{Bus, Shared};
use crate::signal::error::SignalError;
use crate::signal::family::{BATCH, Family, earlier};
use crate::signal::hand::Joined;
use crate::signal::notice::BusNotice;
use crate::signal::nowait::NoWaiting;
use crate::signal::outlet::SignalOutlet;
use crate::signal::status::BusReport;

/// How long beyond its deadline a thread gets that has been told to leave its work.
const GRACE: Duration = Duration::from_millis(200);
/// How many signals the bus's own thread hands on before it looks whether it is to end.
const TURN: usize = 1024;
/// How long the dispatcher of a bus that is being shut down sleeps at most while a subscriber blocks.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Takes signals from the families' queues, and puts them into those of their subscribers.
///
/// Driven by the host through [`turn`](Dispatcher::turn), or on a thread of its own through [`spawn`](Dispatcher::spawn). Dropping it
/// shuts the bus down with a deadline of five seconds.
pub struct Dispatcher {
    bus: Bus,
    parker: Parker,
    done: Option<BusReport>,
}

/// What the dispatcher does, whoever does it: its own thread, the host's loop, or one who publishes
/// [directly](crate::signal::Bus::direct_outlet).
#[derive(Default)]
pub(crate) struct Turns {
    families: Vec<Box<dyn Family>>,
    /// Letters of the mailbox that were read.
    adopted: u64,
    /// Which family is next.
    next: usize,
    /// `None` before there is a dispatcher.
    notices: Option<SignalOutlet<BusNotice>>,
    pub(crate) due: Option<Instant>,
}

/// What a turn of the dispatcher came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dispatched {
    /// Signals that were handed on.
    pub signals: usize,
    /// True when the budget ended before the signals did.
    pub more: bool,
    /// When a turn is due even if nothing is published: something is to be tried again, or a subscriber's patience ends.
    pub due: Option<Instant>,
}

impl Turns {
    /// Hands on what there is, as far as the budget goes.
    pub(crate) fn turn(&mut self, shared: &Shared, budget: Budget) -> Dispatched {
        let _here = NoWaiting::here();
        let mut pace = Pace::new(budget);
        let mut dispatched = Dispatched { signals: 0, more: true, due: None };
        while dispatched.more && pace.events_left() > 0 {
            dispatched.more = self.pass(shared, &mut pace, &mut dispatched);
            if pace.is_over() {
                break;
            }
        }
        self.due = dispatched.due;
        dispatched
    }

    /// Looks at each family once, from where the last pass ended. True if there may be more.
    fn pass(&mut self, shared: &Shared, pace: &mut Pace, dispatched: &mut Dispatched) -> bool {
        self.adopt(shared);
        let (count, now, notices) = (self.families.len(), Instant::now(), &self.notices);
        let tell = |notice| tell(notices.as_ref(), notice);
        let mut more = false;
        dispatched.due = None;
        for _ in 0..count {
            let left = pace.events_left();
            if left == 0 {
                return true;
            }
            let turn = self.families[self.next % count].turn(left.min(BATCH), now, &tell);
            self.next = (self.next + 1) % count;
            pace.spend(turn.taken);
            dispatched.signals += turn.taken;
            dispatched.due = earlier(dispatched.due, turn.due);
            more |= turn.taken > 0;
        }
        more
    }

    fn adopt(&mut self, shared: &Shared) {
        let posted = shared.families.posted();
        if posted != self.adopted {
            self.adopted = posted;
            self.families.extend(shared.families.collect());
        }
    }

    fn has_input(&self, shared: &Shared) -> bool {
        shared.families.posted() != self.adopted
            || shared.closing.is_set()
            || self.families.iter().any(|family| family.has_input())
    }

    /// Closes the families that are not closed yet.
    fn close(&mut self, shared: &Shared, closed: &mut usize) {
        // Whoever waits for room is told so, and that is the host's code.
        let _here = NoWaiting::here();
        self.adopt(shared);
        self.families[*closed..].iter_mut().for_each(|family| family.close());
        *closed = self.families.len();
    }

    fn is_blocked(&self) -> bool {
        self.families.iter().any(|family| family.is_blocked())
    }

    /// Hands on what is left until there is nothing, or `deadline`; then whatever there is, whoever blocks.
    fn end_by(&mut self, shared: &Shared, parker: &Parker, deadline: Instant) {
        let mut closed = 0;
        // Families that are named meanwhile are closed too.
        loop {
            self.close(shared, &mut closed);
            let left = self.turn(shared, Budget::time(LOOK_EVERY));
            let is_blocked = left.due.is_some() && self.is_blocked();
            if left.signals == 0 && !is_blocked && shared.families.close_if_empty() {
                break;
            }
            if Instant::now() >= deadline {
                break;
            }
            if left.signals == 0 {
                parker.park_timeout(LOOK_EVERY);
            }
        }
        self.end(shared);
    }

    fn end(&mut self, shared: &Shared) {
        let _here = NoWaiting::here();
        self.families.extend(shared.families.close());
        let notices = &self.notices;
        for family in &mut self.families {
            family.end(Instant::now(), &|notice| tell(notices.as_ref(), notice));
        }
        // What is left of them is the host's.
        self.families.drain(..).for_each(let_go);
    }
}

impl Shared {
    /// Does a part of the dispatcher's work; `None` in the middle of it, in host's code that it calls.
    fn at_work<R>(&self, work: impl FnOnce(&mut Turns) -> R) -> Option<R> {
        let guard = self.turns.lock();
        let done = work(&mut *guard.try_borrow_mut().ok()?);
        drop(guard);
        self.end_if_left();
        Some(done)
    }

    /// Leaves the end to whoever does the dispatcher's work just now, if anybody does.
    fn leave_the_end(&self) {
        self.ending.leave(|| self.end_if_free());
    }

    /// E1. For whoever did the dispatcher's work, after it: ends it, if that was left to somebody.
    pub(crate) fn end_if_left(&self) {
        self.ending.after_work(|| self.end_if_free());
    }

    /// Unless somebody is at work, who will look at the flag.
    #[cold]
    fn end_if_free(&self) {
        if let Some(guard) = self.turns.try_lock()
            && let Ok(mut turns) = guard.try_borrow_mut()
        {
            turns.end(self);
        }
    }
}

/// There is nobody to tell when there is no room: it is counted there.
fn tell(notices: Option<&SignalOutlet<BusNotice>>, notice: BusNotice) {
    if let Some(notices) = notices {
        let _ = notices.publish(notice);
    }
}

impl Dispatcher {
    pub(crate) fn new(bus: Bus, parker: Parker) -> Self {
        let notices = bus.notices();
        bus.shared.at_work(|turns| turns.notices = Some(notices));
        Self { bus, parker, done: None }
    }

    /// Hands on what there is, as far as the budget goes: signals are counted once, however many hear them. The clock is looked at
    /// after each handful of up to 64. Without a limit it goes on for as long as more is published meanwhile.
    pub fn turn(&mut self, budget: Budget) -> Dispatched {
        let shared = &self.bus.shared;
        // In the middle of another turn, which one who publishes directly takes, this one has nothing to do.
        let in_another = Dispatched { signals: 0, more: true, due: None };
        shared.at_work(|turns| turns.turn(shared, budget)).unwrap_or(in_another)
    }

    /// For loops that sleep: looks once more, and if there is nothing, has [`on_input`](crate::signal::BusBuilder::on_input) called when
    /// there is. True when there is something already; never after the bus was shut down.
    pub fn arm_input(&mut self) -> bool {
        if self.done.is_some() {
            return false;
        }
        let shared = &self.bus.shared;
        shared.core.bell.arm();
        let found = shared.at_work(|turns| turns.has_input(shared)).unwrap_or(true);
        if found {
            shared.core.bell.disarm();
        }
        found
    }

    /// Runs on a thread of its own from here on.
    ///
    /// # Errors
    /// When the system refuses the thread.
    pub fn spawn(self) -> Result<RunningBus, SignalError> {
        const NAME: &str = "signal-bus";
        let bus = self.bus.clone();
        let (deadline, deadlines) = crossbeam_channel::bounded(1);
        let (endings, ending) = crossbeam_channel::bounded(1);
        let thread = thread::Builder::new()
            .name(NAME.to_owned())
            .spawn(move || run(self, &deadlines, &endings))
            .map_err(|error| SignalError::Thread { name: NAME.to_owned(), reason: error.to_string() })?;
        Ok(RunningBus { bus, thread: Some(thread), deadline, ending, done: None })
    }

    /// Closes the bus to whoever publishes, hands on what was accepted, has the handlers finish their work, and joins their threads.
    ///
    /// What is not done by the deadline is given up, and reported. Calling it again returns the same report.
    ///
    /// In host's code that the bus calls, it does not wait for the thread that it is called on: a handler's thread ends when the handler
    /// returns, with the work that it has left, and is among the [stragglers](BusReport::stragglers); what a filter, a hook or a waker is
    /// called in the middle of is ended after it.
    pub fn shutdown(&mut self, deadline: Duration) -> BusReport {
        self.shutdown_by(Instant::now() + deadline.min(A_YEAR), thread::current().id())
    }

    fn shutdown_by(&mut self, deadline: Instant, caller: ThreadId) -> BusReport {
        if let Some(done) = &self.done {
            return done.clone();
        }
        let began = Instant::now();
        self.bus.shared.closing.set();
        let is_ended = self.end_by(deadline.max(began) + GRACE, deadline);
        let mut report = self.join_hands(began, if is_ended { deadline } else { began }, caller);
        report.complete &= is_ended;
        self.done = Some(report.clone());
        report
    }

    /// Does what is left of the dispatcher's work. False when another is at it until `patience` ends, or this is in the middle of it: then
    /// the end is left to whoever that is.
    fn end_by(&self, patience: Instant, deadline: Instant) -> bool {
        let shared = &self.bus.shared;
        let guard = shared.turns.try_lock_until(patience);
        let turns = guard.as_ref().and_then(|guard| guard.try_borrow_mut().ok());
        let Some(mut turns) = turns else {
            shared.leave_the_end();
            return false;
        };
        turns.end_by(shared, &self.parker, deadline);
        true
    }

    fn join_hands(&mut self, began: Instant, deadline: Instant, caller: ThreadId) -> BusReport {
        let hands = self.bus.shared.hands.lock().take().unwrap_or_default();
        hands.iter().for_each(|hand| hand.end());
        let grace = deadline.max(Instant::now()) + GRACE;
        let (mut complete, mut joined, mut stragglers) = (true, 0, Vec::new());
        for hand in hands {
            match hand.join(deadline, grace, caller) {
                Joined::Done => joined += 1,
                Joined::Left => (complete, joined) = (false, joined + 1),
                Joined::Not(name) => {
                    complete = false;
                    stragglers.push(name);
                }
            }
        }
        BusReport { complete, joined, stragglers, took: began.elapsed(), families: self.bus.families() }
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        self.shutdown(DROP_DEADLINE);
    }
}

impl fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatcher").field("bus", &self.bus).finish_non_exhaustive()
    }
}

fn run(mut dispatcher: Dispatcher, deadlines: &Receiver<(Instant, ThreadId)>, endings: &Sender<BusReport>) {
    let mut idling = Idling::default();
    let (deadline, caller) = loop {
        if let Ok(asked) = deadlines.try_recv() {
            break asked;
        }
        // Not all there is: a publisher that never rests would keep this from ever hearing of its end.
        let dispatched = dispatcher.turn(Budget::events(TURN));
        if dispatched.signals > 0 {
            idling.reset();
        } else if idling.wait(IdleStrategy::PARK) {
            sleep(&mut dispatcher);
        }
    };
    let _ = endings.send(dispatcher.shutdown_by(deadline, caller));
}

/// Sleeps until something is published, or due.
fn sleep(dispatcher: &mut Dispatcher) {
    if dispatcher.arm_input() {
        return;
    }
    match dispatcher.bus.shared.at_work(|turns| turns.due).flatten() {
        Some(due) => dispatcher.parker.park_deadline(due),
        None => dispatcher.parker.park(),
    }
    dispatcher.bus.shared.core.bell.disarm();
}

/// A bus with a thread of its own. Dropping it shuts the bus down with a deadline of five seconds.
pub struct RunningBus {
    bus: Bus,
    thread: Option<JoinHandle<()>>,
    deadline: Sender<(Instant, ThreadId)>,
    ending: Receiver<BusReport>,
    done: Option<BusReport>,
}

impl RunningBus {
    /// The bus, to publish and subscribe.
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// As [`Dispatcher::shutdown`], with the bus's own thread among those that are joined.
    pub fn shutdown(&mut self, deadline: Duration) -> BusReport {
        if let Some(done) = &self.done {
            return done.clone();
        }
        let began = Instant::now();
        let deadline = began + deadline.min(A_YEAR);
        let caller = thread::current().id();
        let _ = self.deadline.try_send((deadline, caller));
        self.bus.shared.closing.set();
        self.bus.shared.core.wake();
        // The bus's own thread would wait for itself: it ends when it is back from here.
        let is_here = self.thread.as_ref().is_some_and(|thread| thread.thread().id() == caller);
        let ending = if is_here { None } else { self.ending.recv_deadline(deadline + 3 * GRACE).ok() };
        let mut report = match ending {
            Some(report) => {
                if let Some(thread) = self.thread.take() {
                    let _ = thread.join();
                }
                BusReport { joined: report.joined + 1, ..report }
            }
            // A filter, a hook or a waker of the host's does not return, or asks for this.
            None => BusReport {
                complete: false,
                joined: 0,
                stragglers: vec!["signal-bus".to_owned()],
                took: began.elapsed(),
                families: Vec::new(),
            },
        };
        report.took = began.elapsed();
        self.done = Some(report.clone());
        report
    }
}

impl Drop for RunningBus {
    fn drop(&mut self) {
        self.shutdown(DROP_DEADLINE);
    }
}

impl fmt::Debug for RunningBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningBus").field("bus", &self.bus).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Said;

    impl crate::signal::Signal for Said {
        const FAMILY: &'static str = "said";
    }

    /// As when a publisher that hands on by itself is in a filter for longer than a shutdown waits, and the host takes another turn.
    #[test]
    fn an_end_that_is_left_to_a_turn_comes_after_it() {
        let (_dispatcher, bus) = Bus::builder().build();
        let mut reader = bus.subscribe::<Said>("reads").reader().unwrap();
        bus.shared.at_work(|_| bus.shared.leave_the_end());
        assert!(reader.is_over());
    }
}

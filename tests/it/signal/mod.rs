//! The signal bus.

mod closing; // shutdowns, in the middle of everything
mod counts; // whatever happens, all is accounted for
mod delivery; // who hears what, in which order
mod direct; // outlets that hand on by themselves
mod engine; // what pipelines say of themselves
mod handlers; // host's code on threads of the bus's
mod hostile; // what a host should not do, and does
mod lanes; // signals that become events
mod locks; // host's code where a lock might be held
mod policies; // subscribers that are too slow
mod waiting; // publishers that wait, and those that may not
#[cfg(feature = "register")]
mod workflow; // parts of a host that know nothing of each other

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;

use mainlane::signal::{
    Bus, Cause, Delivery, Dispatcher, Patient, Sent, Signal, SignalOutlet, SignalReader, Unpublished,
};
use mainlane::{Budget, Origin};

use crate::domain::PATIENCE;

const HERE: Origin = Origin::built_in("test", 1);

/// Somebody said a number.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said(u64);

impl Signal for Said {
    const FAMILY: &'static str = "said";
    const CAPACITY: usize = 8;
}

/// As `Said`, where whoever publishes may be made to wait.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked(u64);

impl Signal for Asked {
    const FAMILY: &'static str = "asked";
    const CAPACITY: usize = 4;
}

impl Patient for Asked {}

/// A bus that the test drives.
fn bus() -> (Dispatcher, Bus) {
    Bus::builder().build()
}

/// A bus that the test drives, and how often it was told that there is something.
fn told_bus() -> (Dispatcher, Bus, impl Fn() -> u64) {
    let calls = Arc::new(AtomicU64::new(0));
    let counted = calls.clone();
    let on_input = move || {
        counted.fetch_add(1, SeqCst);
    };
    let (dispatcher, bus) = Bus::builder().on_input(on_input).build();
    (dispatcher, bus, move || calls.load(SeqCst))
}

/// Publishes from a thread until the bus is closed. Returns how many signals were accepted, and raises `go` when they are `enough`.
fn publish_until_closed(outlet: SignalOutlet<Said>, enough: u64, go: Arc<AtomicBool>) -> JoinHandle<u64> {
    std::thread::spawn(move || {
        let mut accepted = 0;
        loop {
            match outlet.publish(Said(accepted)) {
                Ok(()) => accepted += 1,
                Err(Unpublished::Full(_)) => std::thread::yield_now(),
                Err(_) => return accepted,
            }
            if accepted >= enough {
                go.store(true, SeqCst);
            }
        }
    })
}

/// Does something on another thread, so that a test whose locks wait for each other fails.
fn in_time<R: Send + 'static>(what: &str, work: impl FnOnce() -> R + Send + 'static) -> R {
    let (done, is_done) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(work()));
    is_done.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{what} did not happen within {PATIENCE:?}"))
}

/// Takes turns until nothing is left.
fn dispatch(dispatcher: &mut Dispatcher) -> usize {
    let dispatched = dispatcher.turn(Budget::UNLIMITED);
    assert!(!dispatched.more);
    dispatched.signals
}

/// Publishes these, a few at a time, so that the family's queue has room.
fn say(dispatcher: &mut Dispatcher, outlet: &SignalOutlet<Said>, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        outlet.publish(Said(number)).unwrap();
        dispatch(dispatcher);
    }
}

/// What waits for a reader: a number, or how many are missing, from which to which.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Heard {
    Number(u64),
    Parts(u64, u32),
    Missing(u64, u64, u64),
    Refused(u64),
}

fn heard(delivery: Delivery<Said>) -> Heard {
    match delivery {
        Delivery::Signal { sent, parts: 1 } => Heard::Number(sent.0),
        Delivery::Signal { sent, parts } => Heard::Parts(sent.0, parts),
        Delivery::Missed(missed) if missed.refused > 0 => Heard::Refused(missed.refused),
        Delivery::Missed(missed) => Heard::Missing(missed.count, missed.first, missed.last),
    }
}

fn all(reader: &mut SignalReader<Said>) -> Vec<Heard> {
    std::iter::from_fn(|| reader.next_waiting()).map(heard).collect()
}

fn numbers(range: std::ops::Range<u64>) -> Vec<Heard> {
    range.map(Heard::Number).collect()
}

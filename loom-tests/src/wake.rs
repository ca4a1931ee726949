//! Sleeping and waking: `wake.rs`, with the ring, the table and the gate that are waited for.
//!
//! Modelled: a sleeper that arms, looks and sleeps until everything it waits for has come; one or two ringers. Sleep is
//! loom's park, so that a lost wake-up is a deadlock, which loom reports. In every execution everybody comes home, and no
//! arming is answered twice.
//!
//! Bounds: one ringer with two publications, explored in full; two with one each, with at most four preemptions. A few
//! seconds.
//!
//! Must make it fail: either barrier taken away (B1), which are control arms; the bell's swap as a load and a store; the
//! release of `raise` or the acquire of `acknowledge` (P3); `acknowledge` as a plain store;
//! a table that does not say when what was late has ended.

use std::sync::atomic::{AtomicUsize, Ordering as Plain};

use crate::clock::Bound;
use crate::clock::critical_key;
use crate::lane::gate_file::Gate;
use crate::lane::ring::ring;
use crate::lane::table::{Unread, table};
use crate::latch_file::Latch;
use crate::sync::{Arc, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release, StoreLoad};
use crate::table::put_in;
use crate::wake_files::Notice;
// Under this name the files that ship know it.
pub(crate) use crate::wake_files::Bell;
use loom::thread;

/// Counts that are no part of the protocol, so loom need not see them.
#[derive(Default)]
struct Counts {
    armed: AtomicUsize,
    woken: AtomicUsize,
}

fn bell(sleeper: thread::Thread, counts: &std::sync::Arc<Counts>) -> Arc<Bell> {
    let counts = counts.clone();
    Arc::new(Bell::new(StoreLoad::detect(), move || {
        counts.woken.fetch_add(1, Plain::Relaxed);
        sleeper.unpark();
    }))
}

/// A bell that only counts, for models that do not park.
fn counting_bell(counts: &std::sync::Arc<Counts>) -> Arc<Bell> {
    let counts = counts.clone();
    Arc::new(Bell::new(StoreLoad::detect(), move || {
        counts.woken.fetch_add(1, Plain::Relaxed);
    }))
}

/// The main lane sleeps until `publications` of each of the `ringers` have come (W1, W2).
pub fn sleeper_and_ringers(ringers: usize, publications: u64) {
    let counts = std::sync::Arc::new(Counts::default());
    let bell = bell(thread::current(), &counts);
    let published = Arc::new(AtomicU64::new(0));
    let threads: Vec<_> = (0..ringers)
        .map(|_| {
            let (bell, published) = (bell.clone(), published.clone());
            thread::spawn(move || {
                for _ in 0..publications {
                    published.fetch_add(1, Release);
                    bell.ring();
                }
            })
        })
        .collect();
    let all = publications * ringers as u64;
    while published.load(Acquire) < all {
        bell.arm();
        counts.armed.fetch_add(1, Plain::Relaxed);
        if published.load(Acquire) < all {
            thread::park();
        }
        bell.disarm();
    }
    for thread in threads {
        thread.join().unwrap();
    }
    let (armed, woken) = (counts.armed.load(Plain::Relaxed), counts.woken.load(Plain::Relaxed));
    assert!(woken <= armed, "{woken} wake-ups for {armed} armings");
}

/// One sleep, looked at from the end: a sleeper that found nothing was woken (W1). Without a park, so that a wake-up that
/// is lost is a failed assertion and not a deadlock.
pub fn one_sleep() {
    let counts = std::sync::Arc::new(Counts::default());
    let bell = counting_bell(&counts);
    let published = Arc::new(AtomicU64::new(0));
    let (ringing, publishing) = (bell.clone(), published.clone());
    let ringer = thread::spawn(move || {
        publishing.store(1, Release);
        ringing.ring();
    });
    bell.arm();
    let asleep = published.load(Acquire) == 0;
    ringer.join().unwrap();
    assert!(!asleep || counts.woken.load(Plain::Relaxed) == 1, "it sleeps, and nobody wakes it");
}

/// The main lane takes what it finds and goes to sleep on a lane whose pushes are lossy: what it has not taken in the end,
/// late or not, is what it was woken for (W1).
pub fn sleep_on_a_table(pushes: u32) {
    let counts = std::sync::Arc::new(Counts::default());
    let bell = counting_bell(&counts);
    let (mut putting, mut taking) = table(1);
    let ringing = bell.clone();
    let pushing = thread::spawn(move || {
        for item in 1..=pushes {
            put_in(&mut putting, 0, Unread { key: 0, sequence: u64::from(item), parts: 1, item });
            ringing.ring();
        }
    });
    let mut newest = 0;
    taking.collect(Bound::OPEN, |value| newest = value.item);
    bell.arm();
    let asleep = !taking.has_visible();
    pushing.join().unwrap();
    let woken = counts.woken.load(Plain::Relaxed);
    assert!(!asleep || woken == 1 || newest == pushes, "it sleeps, and nobody wakes it");
    assert!(newest == pushes || taking.has_visible(), "what was not taken is not seen");
    taking.collect(Bound::OPEN, |value| newest = value.item);
    assert_eq!(newest, pushes, "what was not taken is lost");
}

/// One arming, two ringers, nobody disarms: one wake-up (W2).
pub fn one_answer() {
    let counts = std::sync::Arc::new(Counts::default());
    let bell = counting_bell(&counts);
    bell.arm();
    let ringing = bell.clone();
    let other = thread::spawn(move || ringing.ring());
    bell.ring();
    other.join().unwrap();
    assert_eq!(counts.woken.load(Plain::Relaxed), 1);
}

/// What ends a producer's wait for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitEnds {
    /// The main lane makes room.
    Room,
    /// The gate is shut.
    Gate,
    /// It is let go of: the latch is set, and the bell is rung.
    LetGo,
}

/// A producer at a full ring sleeps until there is room, until the gate is shut, or until it is let go of.
pub fn producer_waits_for_room(ends: WaitEnds) {
    let counts = std::sync::Arc::new(Counts::default());
    let store_load = StoreLoad::detect();
    let bell = bell(thread::current(), &counts);
    let gate = Arc::new(Gate::new(store_load));
    let latch = Arc::new(Latch::default());
    let (mut producer, mut consumer) = ring(1, true);
    producer.vacant().unwrap().stamp(0).publish(0);
    let (ringing, shutting, letting_go) = (bell.clone(), gate.clone(), latch.clone());
    let other = thread::spawn(move || {
        match ends {
            WaitEnds::Room => {
                consumer.extend(Bound::OPEN);
                consumer.take(u64::MAX, 1, |_, _, _: &_| ());
                consumer.settle();
            }
            WaitEnds::Gate => {
                shutting.shut();
                store_load.heavy();
            }
            WaitEnds::LetGo => letting_go.set(),
        }
        ringing.ring();
    });
    let mut waits = || producer.room(1) == 0 && !gate.is_shut() && !latch.is_set();
    while waits() {
        bell.arm();
        if waits() {
            thread::park();
        }
        bell.disarm();
    }
    other.join().unwrap();
}

/// A producer that sleeps is let go of, by a latch that is set before the bell is rung, or, which is too late, after.
pub fn a_sleeper_is_let_go_of(set_first: bool) {
    let counts = std::sync::Arc::new(Counts::default());
    let bell = counting_bell(&counts);
    let latch = Arc::new(Latch::default());
    let (ringing, letting_go) = (bell.clone(), latch.clone());
    let other = thread::spawn(move || {
        if set_first {
            letting_go.set();
            ringing.ring();
        } else {
            ringing.ring();
            letting_go.set();
        }
    });
    bell.arm();
    let asleep = !latch.is_set();
    other.join().unwrap();
    assert!(!asleep || counts.woken.load(Plain::Relaxed) == 1, "it sleeps, and nobody wakes it");
}

/// How a push ends that may have been refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It leaves the gate, then rings.
    LeavesThenRings,
    /// It rings, then leaves the gate: too early, for what the main lane waits for is that it has left.
    RingsThenLeaves,
    /// It leaves the gate, and rings only if it was accepted: too little.
    RingsIfAccepted,
}

/// The main lane shuts a gate, and sleeps while it is not quiet: it is woken when it is.
pub fn main_lane_waits_for_quiet(ending: Ending) {
    let counts = std::sync::Arc::new(Counts::default());
    let store_load = StoreLoad::detect();
    let bell = counting_bell(&counts);
    let gate = Arc::new(Gate::new(store_load));
    let (ringing, entering) = (bell.clone(), gate.clone());
    let pushing = thread::spawn(move || {
        let entered = entering.enter();
        let accepted = entered.is_some();
        if ending == Ending::RingsThenLeaves {
            ringing.ring();
        }
        drop(entered);
        if ending == Ending::LeavesThenRings || ending == Ending::RingsIfAccepted && accepted {
            ringing.ring();
        }
    });
    gate.shut();
    store_load.heavy();
    bell.arm();
    let asleep = !gate.is_quiet(|| 0, || 0);
    pushing.join().unwrap();
    assert!(!asleep || counts.woken.load(Plain::Relaxed) == 1, "it sleeps, and nobody wakes it");
}

/// The same for a push that the count alone announces: it is over when its event is visible, or not counted any more.
pub fn main_lane_waits_for_what_is_counted(ending: Ending) {
    let counts = std::sync::Arc::new(Counts::default());
    let store_load = StoreLoad::detect();
    let bell = counting_bell(&counts);
    let gate = Arc::new((Gate::new(store_load), AtomicU64::new(0)));
    let (mut producer, consumer) = ring(1, true);
    let (ringing, entering) = (bell.clone(), gate.clone());
    let pushing = thread::spawn(move || {
        let (gate, counted) = &*entering;
        let accepted = gate.enter_counted(1, store_load, |number| counted.store(number, Relaxed));
        if ending == Ending::RingsThenLeaves {
            ringing.ring();
        }
        if accepted {
            producer.vacant().unwrap().stamp(critical_key(1)).publish(());
        }
        if ending == Ending::LeavesThenRings || ending == Ending::RingsIfAccepted && accepted {
            ringing.ring();
        }
    });
    let (gate, counted) = &*gate;
    gate.shut();
    store_load.heavy();
    bell.arm();
    let asleep = !gate.is_quiet(|| counted.load(Relaxed), || consumer.position() + consumer.visible() as u64);
    pushing.join().unwrap();
    assert!(!asleep || counts.woken.load(Plain::Relaxed) == 1, "it sleeps, and nobody wakes it");
}

/// The main lane sleeps until a lane is left: it is woken then, for it has a lane to close.
pub fn main_lane_waits_for_a_lane_to_be_left() {
    let counts = std::sync::Arc::new(Counts::default());
    let bell = counting_bell(&counts);
    let gate = Arc::new(Gate::new(StoreLoad::detect()));
    let (ringing, leaving) = (bell.clone(), gate.clone());
    let dropping = thread::spawn(move || {
        leaving.leave();
        ringing.ring();
    });
    bell.arm();
    let asleep = !gate.is_left();
    dropping.join().unwrap();
    assert!(!asleep || counts.woken.load(Plain::Relaxed) == 1, "it sleeps, and nobody wakes it");
}

/// A reader that reads when it is told to: it is told of everything, and not again before it has acknowledged.
pub fn notice(publications: u64) {
    let notice = Arc::new(Notice::new());
    let published = Arc::new(AtomicU64::new(0));
    let (raising, publishing) = (notice.clone(), published.clone());
    let main_lane = thread::spawn(move || {
        (1..=publications)
            .filter(|version| {
                publishing.store(*version, Relaxed);
                raising.raise()
            })
            .count()
    });
    notice.acknowledge();
    let seen = published.load(Relaxed);
    let told = main_lane.join().unwrap();
    // Unread now: the reader was told, and has not acknowledged since.
    let unread = !notice.raise();
    assert!(seen == publications || unread, "told of {told}, saw {seen}, and will not hear of the rest");
    assert!(told as u64 <= publications && told >= 1, "the first is always told");
    assert!(told <= 2, "once before the reader acknowledges, and once after");
}

//! The gate: `lane/gate.rs`, with the ring and the table that it guards.
//!
//! Modelled: a producer that pushes twice through the gate, and a main lane that shuts it. In every execution, when the
//! gate is seen quiet after it was shut and the barrier run, every accepted push is visible and no other will be. The pushes are
//! announced by the count alone, as critical ones are, or by the flag, as lossy ones are, or first one and then the other; and a run of two
//! is one push, which is counted as it begins and before it is visible, and raises the flag for what is lossy in it.
//!
//! Bounds: one thread beside the main lane, two pushes. Explored in full. A few seconds.
//!
//! Must make it fail: weakening either end of P4 or P5; either barrier taken away (B1), an event that is counted when it is
//! there, a run that does not raise the flag, and a flag that is looked at first, which are control arms.

use crate::clock::{Bound, critical_key};
use crate::lane::gate_file::Gate;
use crate::lane::ring::{RingConsumer, ring};
use crate::lane::table::{Unread, table};
use crate::sync::{Arc, AtomicU64, Ordering::Relaxed, StoreLoad};
use crate::table::put_in;
use loom::thread;

fn visible(consumer: &mut RingConsumer<u32>) -> usize {
    consumer.extend(Bound::OPEN);
    consumer.take(u64::MAX, usize::MAX, |_, _, _: &_| ())
}

/// What says that a push is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announced {
    /// The count, before the slot is visible.
    Counted,
    /// The flag; the event is counted when it is there.
    Flagged,
    /// The count, when the slot is visible: too late.
    CountedLate,
}

/// Shut, barrier, quiet: then all that was accepted is there, and what was refused wrote nothing into the ring (G1).
pub fn shut_while_pushing(pushes: [Announced; 2]) {
    let store_load = StoreLoad::detect();
    let gate = Arc::new((Gate::new(store_load), AtomicU64::new(0)));
    let (mut producer, mut consumer) = ring(2, true);
    let entering = gate.clone();
    let pushing = thread::spawn(move || {
        let (gate, counted) = &*entering;
        let count = |number| counted.store(number, Relaxed);
        let mut accepted = 0;
        for announced in pushes {
            let number = accepted + 1;
            // As pushes on the beaten track do: without a look before.
            let entered = match announced {
                Announced::Counted if !gate.enter_counted(number, store_load, count) => break,
                Announced::Counted => None,
                Announced::Flagged | Announced::CountedLate => match gate.enter_by(store_load) {
                    None => break,
                    entered => entered.filter(|_| announced == Announced::Flagged),
                },
            };
            producer.vacant().unwrap().stamp(critical_key(number)).publish(number as u32);
            if announced != Announced::Counted {
                count(number);
            }
            accepted = number;
            drop(entered);
        }
        assert!(accepted == 2 || gate.is_shut());
        accepted
    });
    let (gate, counted) = &*gate;
    gate.shut();
    store_load.heavy();
    let quiet = gate.is_quiet(|| counted.load(Relaxed), || consumer.position() + consumer.visible() as u64);
    let seen = visible(&mut consumer);
    let accepted = pushing.join().unwrap();
    if quiet {
        assert_eq!(seen as u64, accepted, "quiet: all that was accepted is visible, and nothing comes after");
    }
    assert!(gate.is_quiet(|| counted.load(Relaxed), || consumer.position() + consumer.visible() as u64));
    assert_eq!((seen + visible(&mut consumer)) as u64, accepted, "nothing accepted is lost");
}

/// How a run of two is pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// Two critical events.
    Critical,
    /// A critical event, and one that is lossy.
    Mixed,
    /// The same, and no flag is raised: too little.
    Unflagged,
}

/// When the flag is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// After the counts, as `is_quiet` does it.
    Last,
    /// Before them: too early.
    First,
}

/// The same for a run, which is one push: it is there, or it is under way, or it will not be.
pub fn shut_while_pushing_a_run(run: Run, flag: Flag) {
    let store_load = StoreLoad::detect();
    let gate = Arc::new((Gate::new(store_load), AtomicU64::new(0)));
    let (mut producer, mut consumer) = ring(2, true);
    let (mut putting, mut taking) = table(1);
    let entering = gate.clone();
    let pushing = thread::spawn(move || {
        let (gate, counted) = &*entering;
        let count = |number| counted.store(number, Relaxed);
        if !gate.enter_counted(1, store_load, count) {
            return [0, 0];
        }
        let (mut second, mut staying) = (Some(2), None);
        let admit = |_: &mut u32| match run {
            Run::Critical => Ok(()),
            Run::Mixed => {
                staying = Some(gate.stay());
                Err(())
            }
            Run::Unflagged => Err(()),
        };
        let (length, lossy) = producer.fill(critical_key(1), 2, Some(1), || second.take(), admit, count);
        if let Some((held, ())) = lossy {
            let item = held.take();
            put_in(&mut putting, 0, Unread { key: 0, sequence: 1, parts: 1, item });
        }
        drop(staying);
        [length, 2 - length]
    });
    let (gate, counted) = &*gate;
    gate.shut();
    store_load.heavy();
    let is_flag_down = flag == Flag::Last || gate.is_quiet(|| 0, || 0);
    let visible_end = || consumer.position() + consumer.visible() as u64;
    let quiet = match flag {
        Flag::Last => gate.is_quiet(|| counted.load(Relaxed), visible_end),
        Flag::First => is_flag_down && counted.load(Relaxed) == visible_end(),
    };
    let mut seen = [0, 0];
    let mut look = || {
        seen[0] += visible(&mut consumer);
        taking.collect(Bound::OPEN, |_| seen[1] += 1);
        seen
    };
    let seen = look();
    let accepted = pushing.join().unwrap();
    if quiet {
        assert_eq!(seen, accepted, "quiet: all of the push is visible, or none of it will be");
    }
    assert_eq!(look(), accepted, "nothing accepted is lost");
    assert!(gate.is_quiet(|| counted.load(Relaxed), || consumer.position() + consumer.visible() as u64));
}

/// The same for lossy pushes: what was accepted was collected or replaced when the gate is quiet.
pub fn shut_while_pushing_lossy() {
    let store_load = StoreLoad::detect();
    let gate = Arc::new(Gate::new(store_load));
    let (mut putting, mut taking) = table(1);
    let entered = gate.clone();
    let pushing = thread::spawn(move || {
        let mut accepted = 0;
        for item in 1..=2 {
            let Some(_entered) = entered.enter() else { break };
            put_in(&mut putting, 0, Unread { key: 0, sequence: item, parts: 1, item });
            accepted = item;
        }
        accepted
    });
    gate.shut();
    store_load.heavy();
    let quiet = gate.is_quiet(|| 0, || 0);
    let mut newest = 0;
    taking.collect(Bound::OPEN, |value| newest = value.item);
    let empty = !taking.has_visible();
    let accepted = pushing.join().unwrap();
    if quiet {
        assert!(empty, "quiet: the lane is drained");
        assert_eq!(newest, accepted, "quiet: the last that was accepted is visible, and nothing comes after");
    }
    taking.collect(Bound::OPEN, |value| newest = value.item);
    assert_eq!(newest, accepted, "nothing accepted is lost");
}

/// A push after the gate is known to be shut is refused, however it is known.
pub fn refused_after_shut() {
    let store_load = StoreLoad::detect();
    let gate = Arc::new(Gate::new(store_load));
    gate.shut();
    let late = gate.clone();
    let pushing = thread::spawn(move || {
        let counted = std::cell::Cell::new(0);
        late.enter().is_none() && !late.enter_counted(1, store_load, |number| counted.set(number)) && counted.get() == 0
    });
    assert!(pushing.join().unwrap() && gate.is_quiet(|| 0, || 0));
}

/// The producer leaves: what is visible after that was seen is all there will be (P5).
pub fn producer_leaves() {
    let gate = Arc::new(Gate::new(StoreLoad::detect()));
    let (mut producer, mut consumer) = ring(2, true);
    let leaving = gate.clone();
    let pushing = thread::spawn(move || {
        for item in 0..2 {
            if let Some(_entered) = leaving.enter() {
                producer.vacant().unwrap().stamp(u64::from(item)).publish(item);
            }
        }
        leaving.leave();
    });
    if gate.is_left() {
        assert_eq!(visible(&mut consumer), 2, "all there will be");
    }
    pushing.join().unwrap();
}

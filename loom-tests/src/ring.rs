//! The bounded ring by itself: `sync/spsc.rs`. With a lane around it it is in the models of `cut.rs`, `gate.rs` and `wake.rs` as well.
//!
//! Modelled: one thread that pushes, one that takes, a ring of two slots that wraps. Loom watches each slot: an access that is not ordered behind
//! that of the other end fails. What goes through has a count of its own, so that a value which is dropped twice, or never, shows.
//!
//! Bounds: two threads, at most three values, explored in full. A second together.
//!
//! Mutations of the file that fail here: each release and acquire made relaxed (P1, P2, P19); a ring with one slot too much room; values that are not
//! dropped with it; a `tail` that is stored before the slots are written; a part that goes past what was seen.

use crate::sync::spsc::{Consumer, Producer, ring};
use loom::thread;
use std::sync::Arc;

/// Pushes as many of `count` values as there is room for.
fn push_some(producer: &mut Producer<(u32, Arc<()>)>, count: u32, token: &Arc<()>) -> u32 {
    (0..count).map_while(|number| producer.push((number, token.clone())).ok()).count() as u32
}

/// Takes what is visible, each value behind the one before.
fn take_some(consumer: &mut Consumer<(u32, Arc<()>)>, taken: &mut u32) {
    while let Some((number, _)) = consumer.pop() {
        assert_eq!(number, *taken, "first in, first out");
        *taken += 1;
    }
}

/// What is pushed comes out, in order and once; what is left is dropped by the end that goes last.
pub fn pushed_and_taken(count: u32) {
    let token = Arc::new(());
    let (mut producer, mut consumer) = ring(2);
    let pushing = thread::spawn({
        let token = token.clone();
        move || push_some(&mut producer, count, &token)
    });
    let mut taken = 0;
    take_some(&mut consumer, &mut taken);
    drop(consumer);
    assert!(pushing.join().unwrap() >= taken);
    assert_eq!(Arc::strong_count(&token), 1, "all are dropped");
}

/// Held in its slot and changed there: one is published, one is taken back, and what follows goes to the same slot.
pub fn held() {
    let token = Arc::new(());
    let (mut producer, mut consumer) = ring(2);
    let pushing = thread::spawn({
        let token = token.clone();
        move || {
            for (number, is_published) in [(0, true), (7, false), (1, true), (2, true)] {
                producer.look();
                let Some(vacant) = producer.vacant() else { return };
                let mut held = vacant.hold((0, token.clone()));
                held.change(|(changed, _)| *changed = number);
                if is_published {
                    held.publish();
                } else {
                    assert_eq!(held.take().0, number);
                }
            }
        }
    });
    let mut taken = 0;
    take_some(&mut consumer, &mut taken);
    pushing.join().unwrap();
    take_some(&mut consumer, &mut taken);
    assert!(taken >= 2, "there was room for two at least");
    drop(consumer);
    assert_eq!(Arc::strong_count(&token), 1, "all are dropped");
}

/// A producer that is gone: then all it pushed is visible (P19).
pub fn abandoned() {
    let token = Arc::new(());
    let (mut producer, mut consumer) = ring(2);
    let pushing = thread::spawn({
        let token = token.clone();
        move || push_some(&mut producer, 2, &token)
    });
    if consumer.is_abandoned() {
        assert_eq!(consumer.visible(), 2, "everything is there");
    }
    let mut taken = 0;
    take_some(&mut consumer, &mut taken);
    assert_eq!(pushing.join().unwrap(), 2);
    assert!(consumer.is_abandoned());
    take_some(&mut consumer, &mut taken);
    assert_eq!(taken, 2);
}

/// Read in place, and given back together; written in place, and made visible together.
pub fn in_place() {
    let token = Arc::new(());
    let (mut producer, mut consumer) = ring(2);
    // From the second slot on, so that what is seen together wraps.
    assert!(producer.push((0, token.clone())).is_ok() && consumer.pop().is_some());
    let pushing = thread::spawn({
        let token = token.clone();
        move || {
            let mut pushed = 0;
            for _ in 0..2 {
                producer.look();
                if let limit @ 1.. = producer.allowed() {
                    let next = || Some((pushed, token.clone())).inspect(|_| pushed += 1);
                    producer.fill(limit, None, next, |_| Ok::<(), ()>(()), |_| ());
                }
            }
            pushed
        }
    });
    let mut taken = 0;
    for _ in 0..2 {
        let end = consumer.look();
        while consumer.head() < end {
            let part = consumer.part(consumer.head()..end);
            let numbers: Vec<_> = part.iter().map(|(number, _)| *number).collect();
            assert_eq!(numbers, (taken..taken + part.len() as u32).collect::<Vec<_>>());
            taken += numbers.len() as u32;
            consumer.commit(consumer.head() + numbers.len() as u64);
        }
    }
    assert!(pushing.join().unwrap() >= taken);
    drop(consumer);
    assert_eq!(Arc::strong_count(&token), 1, "all are dropped");
}

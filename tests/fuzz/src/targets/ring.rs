//! The ring of a lane, both ends on one thread: `src/lane/ring.rs`, `src/lane/runs.rs` and `src/sync/spsc.rs`.
//!
//! - It is a queue: what comes out, in what order, and how much room there is once slots are given back.
//! - Every value has the key that it was pushed with, however keys jump and wherever the ring wraps.
//! - The cut takes what the last look saw, and what is below its bound, from the head on.
//! - Whoever unwinds while it writes or reads leaves what was done before; nothing is dropped twice, or never.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

use crate::choices::Choices;
use crate::clock::{Bound, critical_key};
use crate::lane::ring::{RingConsumer, RingProducer, ring};
use crate::lane::runs::NO_KEY;

struct Scenario {
    producer: RingProducer<Rc<u64>>,
    consumer: RingConsumer<Rc<u64>>,
    capacity: usize,
    /// The keys in the ring. From the head on, so many are taken, in the cut, and seen by the last look.
    twin: VecDeque<u64>,
    taken: usize,
    in_cut: usize,
    seen: usize,
    /// The next stamp value.
    clock: u64,
    pushed: u64,
    /// One for each value that was ever pushed.
    values: Vec<Rc<u64>>,
}

pub(super) fn check(data: &[u8]) {
    let mut choices = Choices::new(data);
    let capacity = 1 + choices.below(8);
    // The keys of an unclocked lane rise by the same step for ever.
    let is_clocked = choices.yes();
    let (producer, consumer) = ring(capacity, is_clocked);
    let mut scenario = Scenario {
        producer,
        consumer,
        capacity,
        twin: VecDeque::new(),
        taken: 0,
        in_cut: 0,
        seen: 0,
        clock: 0,
        pushed: 0,
        values: Vec::new(),
    };
    while choices.are_left() {
        match choices.below(12) {
            0 if is_clocked => scenario.clock += u64::from(choices.byte()),
            0..=2 => scenario.push(),
            3 | 4 => scenario.fill(choices.below(10), choices.below(16), is_clocked),
            5 => scenario.look_and_admit(),
            6 if is_clocked => scenario.extend(choices.byte()),
            6 | 7 => scenario.extend(u8::MAX),
            8 | 9 => scenario.take(choices.byte(), choices.below(10), choices.below(16)),
            10 => scenario.settle(),
            _ => match choices.below(16) {
                1 => {
                    // The last thing that is done to a ring.
                    scenario.pop();
                    break;
                }
                2..=9 => scenario.take_out(choices.byte(), choices.below(10)),
                _ => {}
            },
        }
        scenario.compare(choices.below(10));
    }
    let Scenario { producer, consumer, values, .. } = scenario;
    drop((producer, consumer));
    assert!(values.iter().all(|value| Rc::strong_count(value) == 1), "what was left is dropped with the ring");
}

impl Scenario {
    /// The next `count` values, with the keys from the clock's next on.
    fn next(&mut self, count: usize) -> (u64, Vec<Rc<u64>>) {
        let first = critical_key(self.clock);
        let keys = (self.clock..).take(count).map(critical_key);
        let values: Vec<_> = keys.map(Rc::new).collect();
        self.values.extend(values.iter().cloned());
        self.twin.extend(values.iter().map(|value| **value));
        self.clock += count as u64;
        self.pushed += count as u64;
        (first, values)
    }

    fn push(&mut self) {
        if self.producer.room(1) > 0 {
            let (key, mut values) = self.next(1);
            let (vacant, value) = (self.producer.vacant().unwrap(), values.remove(0));
            // In its slot, or as it is written there; and one that comes to nothing before.
            match self.pushed % 3 {
                0 => vacant.stamp(key).publish(value),
                1 => vacant.hold(value).publish(key),
                _ => {
                    drop(vacant.hold(value.clone()));
                    let mut held = self.producer.vacant().unwrap().hold(value.clone());
                    assert_eq!((held.position(), held.change(|held| **held)), (self.pushed - 1, key));
                    assert_eq!(*held.take(), key);
                    self.producer.vacant().unwrap().hold(value).publish(key);
                }
            }
        }
    }

    /// Fills up to `limit` slots; what yields the values but the first ends, or unwinds, before the last.
    fn fill(&mut self, limit: usize, end: usize, is_clocked: bool) {
        let limit = limit.min(self.producer.room(limit));
        if limit == 0 {
            return;
        }
        let count = limit.min(1 + end / 2);
        let (key, mut values) = self.next(count);
        let first = values.remove(0);
        let (mut left, mut counted) = (values.into_iter(), 0);
        let unwinds = end % 2 == 1 && count < limit;
        let filled = catch_unwind(AssertUnwindSafe(|| {
            let next = || match left.next() {
                None if unwinds => resume_unwind(Box::new(())),
                next => next,
            };
            let admit = |_: &mut _| Ok::<(), ()>(());
            let (filled, left_out) =
                self.producer.fill(key, limit, Some(first), next, admit, |number| counted = number);
            assert!(left_out.is_none());
            filled
        }));
        assert_eq!(counted, self.pushed, "also when it unwinds");
        assert_eq!(filled.ok(), (!unwinds).then_some(count));
        if is_clocked {
            // Stamps that were taken for values that did not come.
            self.clock += (limit - count) as u64;
        }
    }

    /// The first pass of a cut, or the only one of a lane that is alone.
    fn look_and_admit(&mut self) {
        self.seen = self.twin.len();
        assert_eq!(self.consumer.look(), self.seen > self.in_cut);
        self.consumer.admit();
        self.in_cut = self.seen;
        let last = self.twin.back().filter(|_| self.in_cut > self.taken);
        assert_eq!(self.consumer.end_key(), last.map(|key| key + 1));
    }

    /// A pass of a cut. Bounds rise.
    fn extend(&mut self, distance: u8) {
        let newest = critical_key(self.clock);
        let bound = if distance == u8::MAX { Bound::OPEN } else { Bound(newest.saturating_sub(distance.into())) };
        if self.seen == self.in_cut {
            self.seen = self.twin.len();
        }
        let below = self.twin.iter().take(self.seen).filter(|key| **key < bound.0).count();
        let added = below > self.in_cut;
        self.in_cut = self.in_cut.max(below);
        assert_eq!(self.consumer.extend(bound), added);
    }

    /// Takes up to `count` values with keys below a limit; reading unwinds at the `end`th.
    fn take(&mut self, distance: u8, count: usize, end: usize) {
        let limit = critical_key(self.clock).saturating_sub(distance.into());
        let cut = self.twin.iter().copied().take(self.in_cut).skip(self.taken);
        let expected: Vec<u64> = cut.take(count).take_while(|key| *key < limit).collect();
        let mut seen = Vec::new();
        let first = self.position();
        let taken = catch_unwind(AssertUnwindSafe(|| {
            self.consumer.take(limit, count, |key, position, value: &Rc<u64>| {
                if seen.len() == end {
                    resume_unwind(Box::new(()));
                }
                assert_eq!((key, position), (**value, first + seen.len() as u64));
                seen.push(key);
            })
        }));
        assert_eq!(taken.ok(), (end >= expected.len()).then_some(expected.len()));
        assert_eq!(seen, expected[..end.min(expected.len())]);
        self.taken += seen.len();
    }

    /// Moves up to `count` values with keys below a limit out; what was taken before is given back first.
    fn take_out(&mut self, distance: u8, count: usize) {
        self.forget_taken();
        let limit = critical_key(self.clock).saturating_sub(distance.into());
        let cut = self.twin.iter().copied().take(self.in_cut);
        let keys: Vec<u64> = cut.take(count).take_while(|key| *key < limit).collect();
        let expected: Vec<_> =
            keys.iter().zip(self.position()..).map(|(key, position)| (*key, position, *key)).collect();
        let mut seen = Vec::new();
        let taken = self.consumer.take_out(limit, count, |key, position, value| seen.push((key, position, *value)));
        assert_eq!((taken, seen), (expected.len(), expected));
        self.taken = taken;
        self.forget_taken();
    }

    /// How many values were ever taken.
    fn position(&self) -> u64 {
        self.pushed - (self.twin.len() - self.taken) as u64
    }

    fn settle(&mut self) {
        assert_eq!(self.consumer.settle(), self.taken > 0);
        self.forget_taken();
    }

    fn forget_taken(&mut self) {
        let taken = std::mem::take(&mut self.taken);
        self.twin.drain(..taken);
        self.in_cut -= taken;
        self.seen -= taken;
    }

    fn pop(&mut self) {
        self.forget_taken();
        let expected = self.twin.front().filter(|_| self.in_cut > 0);
        assert_eq!(self.consumer.pop().as_deref(), expected);
    }

    fn compare(&mut self, wanted: usize) {
        let (room, free) = (self.producer.room(wanted), self.capacity - self.twin.len());
        assert!(room == free || (wanted..free).contains(&room), "{room} for {wanted}, {free} are free");
        assert_eq!(self.producer.pushed(), self.pushed);
        assert_eq!(self.consumer.visible(), self.twin.len() - self.taken);
        assert_eq!(self.consumer.has_visible(), self.twin.len() > self.taken);
        assert_eq!(self.consumer.position(), self.position());
        let head = if self.in_cut > self.taken { self.twin.get(self.taken) } else { None };
        assert_eq!(self.consumer.head_key(), head.copied().unwrap_or(NO_KEY));
        assert_eq!(self.consumer.has_cut(), head.is_some());
        assert!(!self.consumer.should_settle() || self.taken > 0);
        let alive = self.values.iter().filter(|value| Rc::strong_count(value) > 1).map(|value| **value);
        assert_eq!(
            alive.collect::<Vec<_>>(),
            Vec::from(self.twin.clone()),
            "what is in the ring is alive, and nothing else"
        );
    }
}

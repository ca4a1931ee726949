//! A lane's way in for critical events: first in, first out, bounded, nothing lost.
//!
//! # Invariants
//! - **R1 rising keys**: the keys in a ring rise from head to tail. One producer takes them, in push order, from a
//!   counter that only grows.
//! - **R2 room before stamp**: a stamp is taken only when there is room for what it is for, so a producer that waits
//!   for room holds no old stamp.
//! - **R3 stamp before publication**: a value's key is in its slot before the slot is visible.
//!
//! # Pairs
//! | pair | release                              | acquire                     | hands over        |
//! |------|--------------------------------------|-----------------------------|-------------------|
//! | P1   | `tail`, `RingProducer::push`, `fill` | `tail`, `RingConsumer::extend` | written slots  |
//! | P2   | `head`, `RingConsumer::take`         | `head`, `RingProducer::room`   | emptied slots  |
//!
//! Both are inside the ring (`sync::spsc`). P1 is also what closes the cut, see `main_lane/cut.rs`.
//! Model: `loom-tests/src/cut.rs`, with a ring whose `tail` and `head` can be weakened.

use crate::clock::Bound;
use crate::sync::spsc;

/// A value and its place in the order.
pub(crate) struct Keyed<T> {
    pub(crate) key: u64,
    pub(crate) item: T,
}

pub(crate) fn ring<T>(capacity: usize) -> (RingProducer<T>, RingConsumer<T>) {
    let (producer, consumer) = spsc::ring(capacity);
    (RingProducer { slots: producer }, RingConsumer { slots: consumer, in_cut: 0 })
}

/// The lane's end.
pub(crate) struct RingProducer<T> {
    slots: spsc::Producer<Keyed<T>>,
}

impl<T> RingProducer<T> {
    /// How many slots are free: at least `wanted`, or exactly how many there are.
    #[inline]
    pub(crate) fn room(&self, wanted: usize) -> usize {
        // P2: slots counted here were emptied by `RingConsumer::take`.
        self.slots.room(wanted)
    }

    /// Publishes one value. There must be room.
    #[inline]
    pub(crate) fn push(&mut self, key: u64, item: T) {
        // P1: hands the slot to `RingConsumer::extend`. R3: the key is in it.
        let refused = self.slots.push(Keyed { key, item });
        debug_assert!(refused.is_ok(), "R2: a push follows a look at the room");
    }

    /// Publishes up to `limit` values at once; `limit` must not exceed the room. Returns how many there were.
    #[inline]
    pub(crate) fn fill(&mut self, limit: usize, next: impl FnMut() -> Option<Keyed<T>>) -> usize {
        // P1: one release for all of them.
        self.slots.fill(limit, next)
    }
}

/// The main lane's end.
pub(crate) struct RingConsumer<T> {
    slots: spsc::Consumer<Keyed<T>>,
    /// How many values from the head on are in the cut and not yet taken.
    in_cut: usize,
}

impl<T> RingConsumer<T> {
    /// True when something is visible, in the cut or not.
    #[inline]
    pub(crate) fn has_visible(&self) -> bool {
        self.slots.visible() > 0
    }

    /// Extends the cut over the visible values with keys below `bound`; true if that added any.
    #[inline]
    pub(crate) fn extend(&mut self, bound: Bound) -> bool {
        // P1: the values counted here were written by `RingProducer::push` or `fill`.
        let visible = self.slots.visible();
        if visible <= self.in_cut {
            return false;
        }
        let chunk = self.slots.chunk(visible);
        let (first, second) = chunk.slices();
        // R1: if the newest is below the bound, all are.
        let newest = second.last().or(first.last());
        let reached = if newest.is_some_and(|slot| slot.key < bound.0) {
            visible
        } else {
            below(first, bound) + if below(first, bound) == first.len() { below(second, bound) } else { 0 }
        };
        let added = reached > self.in_cut;
        self.in_cut = self.in_cut.max(reached);
        added
    }

    /// The key of the first value in the cut.
    #[inline]
    pub(crate) fn head_key(&mut self) -> Option<u64> {
        if self.in_cut == 0 {
            return None;
        }
        self.slots.chunk(1).slices().0.first().map(|slot| slot.key)
    }

    /// Gives the values of the cut with keys below `limit` to `read`, in place, at most `count`, and lets them go.
    /// Returns how many. A value whose `read` unwinds stays at the head.
    #[inline]
    pub(crate) fn take(&mut self, limit: u64, count: usize, mut read: impl FnMut(u64, &T)) -> usize {
        let count = count.min(self.in_cut);
        if count == 0 {
            return 0;
        }
        let in_cut = &mut self.in_cut;
        // P2: dropping the chunk hands the slots of the values taken back to `RingProducer::room`.
        self.slots.chunk(count).take_while(|slot| {
            if slot.key >= limit {
                return false;
            }
            read(slot.key, &slot.item);
            *in_cut -= 1;
            true
        })
    }

    /// Removes the first value of the cut, by value: the one that a reducer could not apply.
    pub(crate) fn pop(&mut self) -> Option<Keyed<T>> {
        if self.in_cut == 0 {
            return None;
        }
        self.in_cut -= 1;
        self.slots.pop()
    }
}

fn below<T>(slots: &[Keyed<T>], bound: Bound) -> usize {
    slots.partition_point(|slot| slot.key < bound.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(consumer: &mut RingConsumer<u64>, limit: u64) -> Vec<u64> {
        let mut seen = Vec::new();
        consumer.take(limit, usize::MAX, |key, _| seen.push(key));
        seen
    }

    #[test]
    fn the_cut_stops_at_the_bound_wherever_the_ring_wraps() {
        for start in 0..4 {
            let (mut producer, mut consumer) = ring(4);
            for _ in 0..start {
                producer.push(0, 0);
                consumer.extend(Bound::OPEN);
                consumer.take(u64::MAX, 1, |_, _| ());
            }
            for key in [1, 3, 5, 7] {
                producer.push(key, key);
            }
            assert!(consumer.extend(Bound(4)));
            assert!(!consumer.extend(Bound(4)), "nothing to add the second time");
            assert_eq!(keys(&mut consumer, u64::MAX), [1, 3], "wrapped at {start}");
            assert!(consumer.extend(Bound(8)));
            assert_eq!(keys(&mut consumer, 7), [5], "the limit is exclusive");
            assert_eq!(keys(&mut consumer, u64::MAX), [7]);
        }
    }

    #[test]
    fn a_value_beyond_the_bound_is_not_in_the_cut() {
        let (mut producer, mut consumer) = ring(2);
        producer.push(5, ());
        assert!(!consumer.extend(Bound(5)), "the bound itself is outside");
        assert_eq!(consumer.head_key(), None);
        assert!(consumer.has_visible());
    }
}

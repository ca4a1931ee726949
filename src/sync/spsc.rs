//! The bounded single-producer, single-consumer ring: `rtrb`, narrowed to what a lane needs.
//!
//! The pair that this file stands for is the ring's own: the producer's release of `tail` hands written slots to the
//! consumer's acquire, the consumer's release of `head` hands emptied slots back.

#![expect(
    unsafe_code,
    reason = "committing slots that were written in place, also when the writer unwinds; reading them without asking the \
              ring for each"
)]

use std::mem::{ManuallyDrop, MaybeUninit};
use std::ops::Range;

use rtrb::chunks::WriteChunkUninit;

use super::prefetch;

pub(crate) fn ring<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    let (mut producer, consumer) = rtrb::RingBuffer::new(capacity);
    // All of an empty ring, which does not wrap.
    let slots = producer.write_chunk_uninit(capacity).map_or(0, |mut chunk| chunk.as_mut_slices().0.as_ptr().addr());
    let producer = Producer { ring: producer, capacity, slots };
    (producer, Consumer { ring: consumer, before: Window::EMPTY, behind: Window::EMPTY })
}

pub(crate) struct Producer<T> {
    ring: rtrb::Producer<T>,
    capacity: usize,
    /// Where they lie.
    slots: usize,
}

impl<T> Producer<T> {
    /// How many slots are free.
    #[inline]
    pub(crate) fn room(&self) -> usize {
        self.ring.slots()
    }

    /// Asks for `count` free slots ahead of time, from the one that is written as the `from`th of all, counted from zero.
    #[inline]
    pub(crate) fn prefetch(&self, from: u64, count: usize) {
        debug_assert!(count <= self.ring.cached_slots(), "what is asked for to be written is free");
        let first = (from % self.capacity as u64) as usize;
        let before_end = count.min(self.capacity - first);
        prefetch::to_write(self.slots + first * size_of::<T>(), before_end * size_of::<T>());
        prefetch::to_write(self.slots, (count - before_end) * size_of::<T>());
    }

    #[inline]
    pub(crate) fn push(&mut self, value: T) -> Result<(), T> {
        self.ring.push(value).map_err(|rtrb::PushError::Full(value)| value)
    }

    /// Writes `first`, if there is one, and what `next` yields, `limit` values at most, and makes them visible with one store. Returns how many.
    /// `limit` must be one at least, and not exceed the room. `before` is told how many there are, before they are visible.
    ///
    /// `admit` is shown each value but `first` in its slot, and may change it there; one that it does not admit ends the run, and
    /// is returned with what it said. If `next` or `admit` unwinds, what was admitted before is made visible all the same.
    #[inline]
    pub(crate) fn fill<U>(
        &mut self,
        limit: usize,
        first: Option<T>,
        next: impl FnMut() -> Option<T>,
        admit: impl FnMut(&mut T) -> Result<(), U>,
        before: impl FnOnce(usize),
    ) -> (usize, Option<(T, U)>) {
        let Ok(chunk) = self.ring.write_chunk_uninit(limit) else {
            unreachable!("a producer asks for no more than it saw")
        };
        let mut filling = Filling { chunk: Some(chunk), before: Some(before), written: 0 };
        let left_out = filling.write(first, next, admit);
        (filling.written, left_out)
    }
}

/// A chunk being written; what is written is committed when it is dropped.
struct Filling<'a, T, B: FnOnce(usize)> {
    chunk: Option<WriteChunkUninit<'a, T>>,
    before: Option<B>,
    written: usize,
}

impl<T, B: FnOnce(usize)> Filling<'_, T, B> {
    #[inline]
    fn write<U>(
        &mut self,
        first: Option<T>,
        mut next: impl FnMut() -> Option<T>,
        mut admit: impl FnMut(&mut T) -> Result<(), U>,
    ) -> Option<(T, U)> {
        let (mut before_end, after_wrap) = self.chunk.as_mut()?.as_mut_slices();
        if let Some(first) = first {
            let (slot, behind) = before_end.split_first_mut()?;
            slot.write(first);
            (before_end, self.written) = (behind, 1);
        }
        // One after the other: a chain of both costs two instructions a value.
        for slots in [before_end, after_wrap] {
            for slot in slots {
                let mut written = Written::new(slot, next()?);
                if let Err(reason) = admit(written.value()) {
                    return Some((written.take(), reason));
                }
                written.keep();
                self.written += 1;
            }
        }
        None
    }
}

/// A slot that was written and may not be committed; what is in it is dropped with this.
struct Written<'a, T>(&'a mut MaybeUninit<T>);

impl<'a, T> Written<'a, T> {
    #[inline]
    fn new(slot: &'a mut MaybeUninit<T>, value: T) -> Self {
        slot.write(value);
        Written(slot)
    }

    #[inline]
    fn value(&mut self) -> &mut T {
        // SAFETY: `new` has initialised it, and what takes it out takes the guard as well.
        unsafe { self.0.assume_init_mut() }
    }

    #[inline]
    fn take(self) -> T {
        let this = ManuallyDrop::new(self);
        // SAFETY: as in `value`; the guard's own `drop` does not run.
        unsafe { this.0.assume_init_read() }
    }

    /// The slot is going to be committed.
    #[inline]
    fn keep(self) {
        std::mem::forget(self);
    }
}

impl<T> Drop for Written<'_, T> {
    fn drop(&mut self) {
        // SAFETY: as in `value`.
        unsafe { self.0.assume_init_drop() }
    }
}

impl<T, B: FnOnce(usize)> Drop for Filling<'_, T, B> {
    #[inline]
    fn drop(&mut self) {
        if let (Some(chunk), Some(before), 1..) = (self.chunk.take(), self.before.take(), self.written) {
            before(self.written);
            // SAFETY: `write` initialises slots from the front, one per count of `written`.
            unsafe { chunk.commit(self.written) };
        }
    }
}

/// The consumer's end, with a window on what it has looked at.
pub(crate) struct Consumer<T> {
    ring: rtrb::Consumer<T>,
    /// The values that were looked at and not committed: those before the ring wraps, and those behind.
    before: Window<T>,
    behind: Window<T>,
}

/// A slice of the ring's slots.
struct Window<T> {
    start: *const T,
    len: usize,
}

// SAFETY: a window is a part of the consumer that it stands in, and gives out no more than that may: shared references to
// values that are the consumer's own.
unsafe impl<T: Send> Send for Window<T> {}

impl<T> Window<T> {
    const EMPTY: Window<T> = Window { start: std::ptr::null(), len: 0 };

    fn on(slots: &[T]) -> Self {
        Window { start: slots.as_ptr(), len: slots.len() }
    }

    /// Asks for values ahead of time; `range` must be inside it.
    #[inline]
    fn prefetch(&self, range: Range<usize>) {
        prefetch::to_read(self.start.addr() + range.start * size_of::<T>(), range.len() * size_of::<T>());
    }

    /// Without the first `count`, which must not be more than there are.
    fn narrow(&mut self, count: usize) {
        // Stays inside the slice, or at its end.
        self.start = self.start.wrapping_add(count);
        self.len -= count;
    }
}

impl<T> Consumer<T> {
    /// How many values are visible now.
    #[inline]
    pub(crate) fn visible(&self) -> usize {
        self.ring.slots()
    }

    /// Looks at all values that are visible now. Returns how many.
    #[inline]
    pub(crate) fn look(&mut self) -> usize {
        let count = self.ring.slots();
        match self.ring.read_chunk(count) {
            Ok(chunk) => {
                let (before, behind) = chunk.as_slices();
                (self.before, self.behind) = (Window::on(before), Window::on(behind));
            }
            Err(_) => unreachable!("a consumer asks for no more than it saw"),
        }
        count
    }

    /// Up to `count` of the values looked at, one at least, from `from` on, which must be less than there are. In one
    /// slice: those before the ring wraps, or those behind.
    #[inline]
    pub(crate) fn part(&self, from: usize, count: usize) -> &[T] {
        let (window, from) =
            if from < self.before.len { (&self.before, from) } else { (&self.behind, from - self.before.len) };
        assert!(from < window.len, "a consumer asks for no more than it saw");
        let count = count.min(window.len - from);
        // SAFETY: the window was on a slice of visible values, whose slots are the consumer's until `commit` or `pop`,
        // which narrow it and need `self` for themselves; the ring never moves its slots.
        unsafe { std::slice::from_raw_parts(window.start.add(from), count) }
    }

    /// Asks for some of the values looked at ahead of time.
    #[inline]
    pub(crate) fn prefetch(&self, range: Range<usize>) {
        let Range { start, end } = range;
        debug_assert!(end <= self.before.len + self.behind.len, "what is asked for was looked at");
        let wrap = self.before.len;
        self.before.prefetch(start.min(wrap)..end.min(wrap));
        self.behind.prefetch(start.max(wrap) - wrap..end.max(wrap) - wrap);
    }

    /// Drops the first `count` of the values looked at and gives their slots back, with one store. When a value unwinds
    /// as it is dropped, those behind it stay in the ring; they are not looked at any more.
    #[inline]
    pub(crate) fn commit(&mut self, count: usize) {
        let wrapped = count.saturating_sub(self.before.len);
        self.before.narrow(count - wrapped);
        self.behind.narrow(wrapped);
        match self.ring.read_chunk(count) {
            Ok(chunk) => chunk.commit(count),
            Err(_) => unreachable!("a consumer asks for no more than it saw"),
        }
    }

    /// Gives the first `count` of the values looked at to `take`, which must not unwind, and then their slots back, with one
    /// store.
    #[inline]
    pub(crate) fn drain(&mut self, count: usize, take: impl FnMut(T)) {
        let wrapped = count.saturating_sub(self.before.len);
        self.before.narrow(count - wrapped);
        self.behind.narrow(wrapped);
        match self.ring.read_chunk(count) {
            Ok(chunk) => chunk.into_iter().for_each(take),
            Err(_) => unreachable!("a consumer asks for no more than it saw"),
        }
    }

    /// True when the producer is gone. What is visible after a `true` is all there will be.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.ring.is_abandoned()
    }

    /// Removes the first value. What was looked at has to be looked at anew.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<T> {
        (self.before, self.behind) = (Window::EMPTY, Window::EMPTY);
        self.ring.pop().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn what_was_written_before_an_unwind_is_visible() {
        let (mut producer, mut consumer) = ring::<String>(4);
        let mut n = 0;
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            let next = || {
                n += 1;
                assert!(n < 3, "third");
                Some(n.to_string())
            };
            producer.fill(4, Some("0".to_string()), next, |_| Ok::<(), ()>(()), |written| assert_eq!(written, 3))
        }));
        assert!(unwound.is_err());
        assert_eq!(consumer.visible(), 3);
        assert_eq!(consumer.pop().as_deref(), Some("0"));
    }

    #[test]
    fn a_value_is_changed_in_its_slot_and_one_that_is_not_admitted_comes_back() {
        for start in 0..4 {
            let (mut producer, mut consumer) = ring::<String>(4);
            for _ in 0..start {
                producer.push(String::new()).unwrap();
                consumer.look();
                consumer.commit(1);
            }
            let mut values = ["b", "c", "d"].map(String::from).into_iter();
            let admit = |value: &mut String| {
                value.push('!');
                if value == "d!" { Err(7) } else { Ok(()) }
            };
            let filled =
                producer.fill(4, Some("a".to_string()), || values.next(), admit, |written| assert_eq!(written, 3));
            assert_eq!(filled, (3, Some(("d!".to_string(), 7))));
            assert_eq!(consumer.look(), 3, "wrapped at {start}");
            assert_eq!([(); 3].map(|()| consumer.pop().unwrap()), ["a", "b!", "c!"]);
        }
    }

    #[test]
    fn a_value_on_which_admitting_unwinds_is_dropped_and_those_before_it_are_visible() {
        let (mut producer, mut consumer) = ring::<std::rc::Rc<u8>>(4);
        let token = std::rc::Rc::new(0);
        let mut shown = 0;
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            let admit = |_: &mut std::rc::Rc<u8>| {
                shown += 1;
                assert!(shown < 2, "second");
                Ok::<(), ()>(())
            };
            producer.fill(4, Some(token.clone()), || Some(token.clone()), admit, |_| ())
        }));
        assert!(unwound.is_err());
        assert_eq!((consumer.visible(), std::rc::Rc::strong_count(&token)), (2, 3));
        drop((consumer.pop(), consumer.pop()));
        assert_eq!(std::rc::Rc::strong_count(&token), 1);
    }

    #[test]
    fn values_are_read_where_the_ring_wraps() {
        for start in 0..4 {
            let (mut producer, mut consumer) = ring::<String>(4);
            for n in 0..start {
                producer.push(n.to_string()).unwrap();
                consumer.look();
                consumer.commit(1);
            }
            (0..4).for_each(|n| producer.push(n.to_string()).unwrap());
            assert_eq!(consumer.look(), 4);
            for done in 0..4 {
                let (mut seen, count) = (Vec::new(), 4 - done);
                while seen.len() < count {
                    seen.extend_from_slice(consumer.part(seen.len(), count - seen.len()));
                }
                assert_eq!(seen, (done..4).map(|n| n.to_string()).collect::<Vec<_>>(), "wrapped at {start}");
                consumer.commit(1);
            }
        }
    }

    #[test]
    fn values_are_moved_out_where_the_ring_wraps() {
        for start in 0..4 {
            let (mut producer, mut consumer) = ring::<String>(4);
            for n in 0..start {
                producer.push(n.to_string()).unwrap();
                consumer.look();
                consumer.drain(1, drop);
            }
            (0..4).for_each(|n| producer.push(n.to_string()).unwrap());
            consumer.look();
            let mut seen = Vec::new();
            consumer.drain(3, |value| seen.push(value));
            assert_eq!((seen, producer.room()), (["0", "1", "2"].map(String::from).to_vec(), 3), "wrapped at {start}");
            assert_eq!(consumer.part(0, 4), ["3"]);
        }
    }

    #[test]
    fn only_what_was_looked_at_is_read() {
        let (mut producer, mut consumer) = ring::<u32>(4);
        producer.push(1).unwrap();
        assert_eq!(consumer.look(), 1);
        producer.push(2).unwrap();
        assert_eq!(consumer.part(0, 4), [1], "the second came later");
        assert_eq!(consumer.look(), 2);
        assert_eq!(consumer.part(0, 4), [1, 2]);
        assert_eq!(consumer.pop(), Some(1));
        let read = |consumer: &Consumer<u32>| catch_unwind(AssertUnwindSafe(|| consumer.part(0, 1).to_vec()));
        assert!(read(&consumer).is_err(), "it has to look anew");
        assert_eq!(consumer.look(), 1);
        assert_eq!(read(&consumer).unwrap(), [2]);
    }

    #[test]
    fn a_value_that_unwinds_as_it_is_dropped_is_gone() {
        struct Thorn(bool);
        impl Drop for Thorn {
            fn drop(&mut self) {
                assert!(!self.0, "thorn");
            }
        }
        let (mut producer, mut consumer) = ring::<Thorn>(4);
        for thorn in [false, true, false] {
            assert!(producer.push(Thorn(thorn)).is_ok());
        }
        assert_eq!(consumer.look(), 3);
        assert!(catch_unwind(AssertUnwindSafe(|| consumer.commit(3))).is_err());
        assert_eq!(consumer.visible(), 1, "it, and the one before it");
        assert!(consumer.pop().is_some());
    }
}

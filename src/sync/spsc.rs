//! The bounded single-producer, single-consumer ring: `rtrb`, narrowed to what a lane needs.
//!
//! The pair that this file stands for is the ring's own: the producer's release of `tail` hands written slots to the
//! consumer's acquire, the consumer's release of `head` hands emptied slots back.

#![expect(unsafe_code, reason = "committing slots that were written in place, also when the writer unwinds")]

use rtrb::chunks::{ReadChunk, WriteChunkUninit};

pub(crate) fn ring<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    let (producer, consumer) = rtrb::RingBuffer::new(capacity);
    (Producer(producer), Consumer(consumer))
}

pub(crate) struct Producer<T>(rtrb::Producer<T>);

impl<T> Producer<T> {
    /// How many slots are free.
    #[inline]
    pub(crate) fn room(&self) -> usize {
        self.0.slots()
    }

    #[inline]
    pub(crate) fn push(&mut self, value: T) -> Result<(), T> {
        self.0.push(value).map_err(|rtrb::PushError::Full(value)| value)
    }

    /// Writes `first` and what `next` yields, `limit` values at most, and makes them visible with one store. Returns how many.
    /// `limit` must be one at least, and not exceed the room. If `next` unwinds, what it yielded before is made visible all the same. `before` is
    /// told how many there are, before they are visible.
    #[inline]
    pub(crate) fn fill(
        &mut self,
        limit: usize,
        first: T,
        mut next: impl FnMut() -> Option<T>,
        before: impl FnOnce(usize),
    ) -> usize {
        let Ok(chunk) = self.0.write_chunk_uninit(limit) else {
            unreachable!("a producer asks for no more than it saw")
        };
        let mut filling = Filling { chunk: Some(chunk), before: Some(before), written: 0 };
        filling.write(first, &mut next);
        filling.written
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
    fn write(&mut self, first: T, next: &mut impl FnMut() -> Option<T>) {
        let Some(chunk) = self.chunk.as_mut() else { return };
        let (before_end, after_wrap) = chunk.as_mut_slices();
        let Some((slot, before_end)) = before_end.split_first_mut() else { return };
        slot.write(first);
        self.written = 1;
        for slot in before_end {
            let Some(value) = next() else { return };
            slot.write(value);
            self.written += 1;
        }
        for slot in after_wrap {
            let Some(value) = next() else { return };
            slot.write(value);
            self.written += 1;
        }
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

pub(crate) struct Consumer<T>(rtrb::Consumer<T>);

impl<T> Consumer<T> {
    /// How many values are visible now.
    #[inline]
    pub(crate) fn visible(&self) -> usize {
        self.0.slots()
    }

    /// The first `count` values, in place. `count` must not exceed what was visible.
    #[inline]
    pub(crate) fn chunk(&mut self, count: usize) -> Chunk<'_, T> {
        match self.0.read_chunk(count) {
            Ok(chunk) => Chunk(chunk),
            Err(_) => unreachable!("a consumer asks for no more than it saw"),
        }
    }

    /// Drops the first `count` values and gives their slots back, with one store. `count` must not exceed what was visible.
    /// When a value unwinds as it is dropped, those behind it stay.
    #[inline]
    pub(crate) fn commit(&mut self, count: usize) {
        self.chunk(count).0.commit(count);
    }

    /// True when the producer is gone. What is visible after a `true` is all there will be.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.0.is_abandoned()
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<T> {
        self.0.pop().ok()
    }
}

/// Values being read in place.
pub(crate) struct Chunk<'a, T>(ReadChunk<'a, T>);

impl<T> Chunk<'_, T> {
    /// The values, without the first `skip`.
    #[inline]
    pub(crate) fn values(&self, skip: usize) -> Values<'_, T> {
        let (first, second) = self.0.as_slices();
        match first.get(skip..) {
            Some(first) => Values { first, second },
            None => Values { first: &[], second: &second[skip - first.len()..] },
        }
    }
}

/// Values in their order, in two slices: the ring wraps.
pub(crate) struct Values<'a, T> {
    first: &'a [T],
    second: &'a [T],
}

impl<'a, T> Values<'a, T> {
    /// Up to `count` values from `from` on, in one slice: those before the ring wraps, or those behind.
    #[inline]
    pub(crate) fn part(&self, from: usize, count: usize) -> &'a [T] {
        let split = self.first.len();
        if from < split {
            let end = (from + count).min(split);
            &self.first[from..end]
        } else {
            &self.second[from - split..from - split + count]
        }
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
            producer.fill(4, "0".to_string(), next, |written| assert_eq!(written, 3))
        }));
        assert!(unwound.is_err());
        assert_eq!(consumer.visible(), 3);
        assert_eq!(consumer.pop().as_deref(), Some("0"));
    }

    #[test]
    fn values_are_read_where_the_ring_wraps() {
        for start in 0..4 {
            let (mut producer, mut consumer) = ring::<usize>(4);
            for n in 0..start {
                producer.push(n).unwrap();
                consumer.commit(1);
            }
            (0..4).for_each(|n| producer.push(n).unwrap());
            for skip in 0..4 {
                let chunk = consumer.chunk(4);
                let values = chunk.values(skip);
                let (mut seen, count) = (Vec::new(), 4 - skip);
                while seen.len() < count {
                    seen.extend_from_slice(values.part(seen.len(), count - seen.len()));
                }
                assert_eq!(seen, (skip..4).collect::<Vec<_>>(), "wrapped at {start}");
            }
        }
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
        assert!(catch_unwind(AssertUnwindSafe(|| consumer.commit(3))).is_err());
        assert_eq!(consumer.visible(), 1, "it, and the one before it");
        assert!(consumer.pop().is_some());
    }
}

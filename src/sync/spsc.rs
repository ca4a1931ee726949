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
    /// How many slots are free: at least `wanted` of them, or exactly how many there are.
    #[inline]
    pub(crate) fn room(&self, wanted: usize) -> usize {
        let known = self.0.cached_slots();
        if known >= wanted { known } else { self.0.slots() }
    }

    #[inline]
    pub(crate) fn push(&mut self, value: T) -> Result<(), T> {
        self.0.push(value).map_err(|rtrb::PushError::Full(value)| value)
    }

    /// Writes what `next` yields, `limit` values at most, and makes them visible with one store. Returns how many.
    /// `limit` must not exceed the room. If `next` unwinds, what it yielded before is made visible all the same.
    #[inline]
    pub(crate) fn fill(&mut self, limit: usize, mut next: impl FnMut() -> Option<T>) -> usize {
        let Ok(chunk) = self.0.write_chunk_uninit(limit) else { return 0 };
        let mut filling = Filling { chunk: Some(chunk), written: 0 };
        filling.write(&mut next);
        filling.written
    }
}

/// A chunk being written; what is written is committed when it is dropped.
struct Filling<'a, T> {
    chunk: Option<WriteChunkUninit<'a, T>>,
    written: usize,
}

impl<T> Filling<'_, T> {
    #[inline]
    fn write(&mut self, next: &mut impl FnMut() -> Option<T>) {
        let Some(chunk) = self.chunk.as_mut() else { return };
        let (first, second) = chunk.as_mut_slices();
        for slot in first.iter_mut().chain(second) {
            let Some(value) = next() else { return };
            slot.write(value);
            self.written += 1;
        }
    }
}

impl<T> Drop for Filling<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(chunk) = self.chunk.take() {
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
            Ok(chunk) => Chunk { chunk: Some(chunk), done: 0 },
            Err(_) => unreachable!("a consumer asks for no more than it saw"),
        }
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

/// Values being read in place; those marked done leave the ring when it is dropped, also when the reader unwinds.
pub(crate) struct Chunk<'a, T> {
    chunk: Option<ReadChunk<'a, T>>,
    done: usize,
}

impl<T> Chunk<'_, T> {
    #[inline]
    pub(crate) fn slices(&self) -> (&[T], &[T]) {
        self.chunk.as_ref().map_or((&[], &[]), ReadChunk::as_slices)
    }

    /// Gives the values to `read` one after the other, until it returns false for one that it did not take.
    /// Returns how many were taken.
    #[inline]
    pub(crate) fn take_while(mut self, mut read: impl FnMut(&T) -> bool) -> usize {
        let Some(chunk) = self.chunk.as_ref() else { return 0 };
        let (first, second) = chunk.as_slices();
        for value in first.iter().chain(second) {
            if !read(value) {
                break;
            }
            self.done += 1;
        }
        self.done
    }
}

impl<T> Drop for Chunk<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(chunk) = self.chunk.take()
            && self.done > 0
        {
            chunk.commit(self.done);
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
            producer.fill(4, || {
                n += 1;
                assert!(n < 3, "third");
                Some(n.to_string())
            })
        }));
        assert!(unwound.is_err());
        assert_eq!(consumer.visible(), 2);
        assert_eq!(consumer.pop().as_deref(), Some("1"));
    }

    #[test]
    fn what_was_read_before_an_unwind_has_left() {
        let (mut producer, mut consumer) = ring::<String>(4);
        for n in 0..4 {
            producer.push(n.to_string()).unwrap();
        }
        let chunk = consumer.chunk(4);
        let unwound = catch_unwind(AssertUnwindSafe(move || {
            chunk.take_while(|value| {
                assert!(value != "2", "poison");
                true
            })
        }));
        assert!(unwound.is_err());
        assert_eq!(consumer.pop().as_deref(), Some("2"));
    }
}

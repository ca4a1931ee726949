//! The bounded single-producer, single-consumer ring.
//!
//! # Invariants
//! - **S1 one owner a slot**: slots from `head` to `tail` are the consumer's, all others the producer's; each end moves one of the two words,
//!   and only towards slots that are its own.
//! - **S2 no more than was seen**: an end touches slots up to where it has seen the other end, and looks at the other's word only when it is
//!   asked to. So [`Vacant`] and what was looked at are proofs, and need no second check.
//!
//! # Pairs
//! | pair | release                                        | acquire                       | hands over                       |
//! |------|------------------------------------------------|-------------------------------|----------------------------------|
//! | P1   | `tail`: `publish` of `Vacant` and `Held`, `Filling::drop` | `tail`, `Consumer::visible` | written slots           |
//! | P2   | `head`, `Leaving::drop`                        | `head`, `Producer::look`      | emptied slots                    |
//! | P19  | `is_abandoned`, `Producer::drop`               | `is_abandoned`, `Consumer::is_abandoned` | everything the producer pushed |
//!
//! Positions count from zero and never wrap: 2^64 of them are more than a machine lives for. There are as many slots as the next power of two, so
//! that the place of a position is its lower bits; no more than `capacity` of them are ever in use.
//!
//! Why not `rtrb`, which has the same words: its `push` looks once more whether there is room, which is known, keeps a position more that rises with each
//! push, and its slots cannot be watched. One by one that made the pipeline's rate two thirds of what it is (`docs/benchmarks.md`), and a stand-in was modelled instead of what ships.
//!
//! Model: `loom-tests/src/ring.rs`, and all that have lanes.

#![expect(unsafe_code, reason = "slots that are one end's at a time, written and read in place")]

use std::cell::Cell;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind, resume_unwind};

use super::{
    Arc, AtomicBool, AtomicU64, CachePadded,
    Ordering::{Acquire, Relaxed, Release},
    Row, prefetch,
};

/// A ring with room for `capacity` values, one at least.
///
/// # Panics
/// When so many are more than there can be.
pub(crate) fn ring<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    assert!(capacity > 0, "a ring has a slot");
    let Some(places) = capacity.checked_next_power_of_two() else { panic!("a ring of {capacity} slots is too large") };
    let slots = Row::new(places);
    let ring = Arc::new(Ring {
        head: CachePadded::new(AtomicU64::new(0)),
        tail: CachePadded::new(AtomicU64::new(0)),
        is_abandoned: AtomicBool::new(false),
        slots: slots.clone(),
    });
    let limit = capacity as u64;
    let producer = Producer {
        ring: ring.clone(),
        slots: slots.clone(),
        capacity,
        tail: 0,
        free_end: limit,
        limit,
        of_one_thread: PhantomData,
    };
    (producer, Consumer { ring, slots, head: 0, seen_end: 0, of_one_thread: PhantomData })
}

/// What both ends share.
struct Ring<T> {
    /// How many values were ever taken: written by the consumer.
    head: CachePadded<AtomicU64>,
    /// How many values were ever pushed: written by the producer.
    tail: CachePadded<AtomicU64>,
    /// Set when the producer is gone.
    is_abandoned: AtomicBool,
    slots: Row<T>,
}

// SAFETY: slots are accessed by the end whose they are (S1), which P1 and P2 hand over; so values go from one thread to another,
// and are never shared.
unsafe impl<T: Send> Send for Ring<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Ring<T> {}
// SAFETY: as above; the row is the ring's.
unsafe impl<T: Send> Send for Producer<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Consumer<T> {}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        // Both ends are gone, and what they did was handed over with their counts of this.
        let (head, tail) = (self.head.load(Relaxed), self.tail.load(Relaxed));
        // SAFETY: what is between the two was written, and is nobody's any more.
        unsafe { drop_values(&self.slots, head, (tail - head) as usize) };
    }
}

/// Drops so many values from a position on. When some of them unwind as they are dropped, the others are dropped all the same, and the first
/// unwind goes on then.
///
/// # Safety
/// They are there, the caller's, and not used again.
#[inline]
unsafe fn drop_values<T>(slots: &Row<T>, position: u64, count: usize) {
    if !std::mem::needs_drop::<T>() {
        return;
    }
    let (mut done, mut unwound) = (0, None);
    while done < count {
        // A second one that unwinds must not meet the unwinding of the first.
        let dropped = catch_unwind(AssertUnwindSafe(|| {
            while done < count {
                let at = place(slots, position + done as u64);
                done += 1;
                // SAFETY: the caller's promise; counted before, so that none is dropped twice.
                slots.with_mut(at..at + 1, |value| unsafe { value.drop_in_place() });
            }
        }));
        match (dropped, &unwound) {
            (Err(panic), None) => unwound = Some(panic),
            // Whatever it is, it may unwind as it is dropped.
            (Err(panic), Some(_)) => std::mem::forget(panic),
            (Ok(()), _) => {}
        }
    }
    if let Some(panic) = unwound {
        resume_unwind(panic);
    }
}

/// Where so many slots from a position on lie: those before the ring wraps, and those behind.
#[inline]
fn parts<T>(slots: &Row<T>, position: u64, count: usize) -> [Range<usize>; 2] {
    let first = place(slots, position);
    let before_end = count.min(slots.len() - first);
    [first..first + before_end, 0..count - before_end]
}

#[inline]
fn place<T>(slots: &Row<T>, position: u64) -> usize {
    // A power of two; in the address space, so the lower bits are enough.
    position as usize & (slots.len() - 1)
}

/// An end goes from one thread to another, and is never shared: what is behind it is its own.
type OfOneThread = PhantomData<Cell<()>>;

// What an end says of itself holds wherever somebody's code unwinds.
impl<T: RefUnwindSafe> UnwindSafe for Producer<T> {}
impl<T: RefUnwindSafe> UnwindSafe for Consumer<T> {}

pub(crate) struct Producer<T> {
    ring: Arc<Ring<T>>,
    /// The ring's, at hand: a push follows no pointer to them.
    slots: Row<T>,
    capacity: usize,
    /// The position of the next value.
    tail: u64,
    /// There was room up to this position at the last look at `head`.
    free_end: u64,
    /// What may be written now: up to here, which is not beyond `free_end`.
    limit: u64,
    of_one_thread: OfOneThread,
}

impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        // P19: hands everything over to `Consumer::is_abandoned`.
        self.ring.is_abandoned.store(true, Release);
    }
}

impl<T> Producer<T> {
    /// How many slots there are.
    #[cfg(feature = "control")]
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many values were ever pushed: the position of the next.
    #[inline]
    pub(crate) fn pushed(&self) -> u64 {
        self.tail
    }

    /// Up to which position there was room at the last look.
    #[inline]
    pub(crate) fn free_end(&self) -> u64 {
        self.free_end
    }

    /// How many values may be pushed before the next look.
    #[inline]
    pub(crate) fn allowed(&self) -> usize {
        (self.limit - self.tail) as usize
    }

    /// Looks for room, and allows all there is.
    #[inline]
    pub(crate) fn look(&mut self) {
        // P2: slots counted here were emptied before `Leaving::drop`.
        self.free_end = self.ring.head.load(Acquire) + self.capacity as u64;
        self.limit = self.free_end;
    }

    /// Allows values up to the position `end`, or as far as there was room at the last look; no fewer than there are.
    #[inline]
    pub(crate) fn allow(&mut self, end: u64) {
        self.limit = end.min(self.free_end).max(self.tail);
    }

    /// How many slots are free, exactly. Allows nothing, and so needs no order: who writes looks first.
    #[cfg(any(test, feature = "control", feature = "journal"))]
    pub(crate) fn room(&self) -> usize {
        self.capacity - (self.tail - self.ring.head.load(Relaxed)) as usize
    }

    /// Asks for `count` free slots ahead of time, from the one at the position `from` on.
    #[inline]
    pub(crate) fn prefetch(&self, from: u64, count: usize) {
        debug_assert!(
            from >= self.tail && from + count as u64 <= self.free_end,
            "what is asked for to be written is free"
        );
        for part in parts(&self.slots, from, count) {
            prefetch::to_write(self.slots.address() + part.start * size_of::<T>(), part.len() * size_of::<T>());
        }
    }

    /// The next slot, if it is allowed to be written.
    #[inline(always)]
    pub(crate) fn vacant(&mut self) -> Option<Vacant<'_, T>> {
        (self.tail != self.limit).then_some(Vacant { position: self.tail, producer: self })
    }

    /// Pushes one value, looking for room if it has to.
    #[inline]
    pub(crate) fn push(&mut self, value: T) -> Result<(), T> {
        if self.tail == self.limit {
            self.look();
        }
        match self.vacant() {
            Some(vacant) => {
                vacant.publish(value);
                Ok(())
            }
            None => Err(value),
        }
    }

    /// Writes `first`, if there is one, and what `next` yields, `limit` values at most, and makes them visible with one store. Returns how many.
    /// `limit` must be one at least, and not exceed what is allowed. `before` is told how many there are, before they are visible.
    ///
    /// `admit` is shown each value but `first` in its slot, and may change it there; one that it does not admit ends the run, and is held
    /// where it is, behind those that are visible now, with what `admit` said. If `next` or `admit` unwinds, what was admitted before
    /// is made visible all the same.
    #[inline]
    pub(crate) fn fill<U>(
        &mut self,
        limit: usize,
        first: Option<T>,
        next: impl FnMut() -> Option<T>,
        admit: impl FnMut(&mut T) -> Result<(), U>,
        before: impl FnOnce(usize),
    ) -> (usize, Option<(Held<'_, T>, U)>) {
        assert!((1..=self.allowed()).contains(&limit), "a producer asks for no more than it saw");
        let mut filling = Filling { producer: self, before: Some(before), written: 0 };
        let reason = filling.write(limit, first, next, admit);
        let written = filling.written;
        drop(filling);
        match reason {
            Some(reason) => (written, Some((Held { position: self.tail, producer: self }, reason))),
            None => (written, None),
        }
    }
}

/// The next slot of a ring: free, and the producer's to write.
#[must_use = "nothing is pushed but by `publish`"]
pub(crate) struct Vacant<'a, T> {
    producer: &'a mut Producer<T>,
    position: u64,
}

impl<'a, T> Vacant<'a, T> {
    /// How many values were pushed before.
    #[inline(always)]
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Always inline: an argument of a call is in memory, and to copy what was written there a moment ago takes longer than all of this.
    #[inline(always)]
    pub(crate) fn publish(self, value: T) {
        let Self { producer, position } = self;
        let at = place(&producer.slots, position);
        // SAFETY: a vacant slot is the producer's (S1), and there is nothing in it.
        producer.slots.with_mut(at..at + 1, |slot| unsafe { slot.write(value) });
        producer.tail = position + 1;
        // P1: hands the slot to `Consumer::visible`.
        producer.ring.tail.store(position + 1, Release);
    }

    /// Writes the value, to be looked at before it is published.
    #[inline(always)]
    pub(crate) fn hold(self, value: T) -> Held<'a, T> {
        let Self { producer, position } = self;
        let at = place(&producer.slots, position);
        // SAFETY: as in `publish`.
        producer.slots.with_mut(at..at + 1, |slot| unsafe { slot.write(value) });
        Held { producer, position }
    }
}

/// A value that was written and is not visible; dropped with this, if it was not published.
#[must_use = "nothing is pushed but by `publish`"]
pub(crate) struct Held<'a, T> {
    producer: &'a mut Producer<T>,
    position: u64,
}

impl<T> Held<'_, T> {
    /// How many values were pushed before.
    #[inline]
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    #[inline]
    pub(crate) fn change<R>(&mut self, change: impl FnOnce(&mut T) -> R) -> R {
        let at = place(&self.producer.slots, self.position);
        // SAFETY: whoever made this has written it, and what takes it out takes this as well; the slot is the producer's (S1), which is
        // borrowed.
        self.producer.slots.with_mut(at..at + 1, |value| change(unsafe { &mut *value }))
    }

    #[inline]
    pub(crate) fn publish(self) {
        let mut this = ManuallyDrop::new(self);
        let position = this.position + 1;
        this.producer.tail = position;
        // P1: hands the slot to `Consumer::visible`.
        this.producer.ring.tail.store(position, Release);
    }

    #[inline]
    pub(crate) fn take(self) -> T {
        let this = ManuallyDrop::new(self);
        let at = place(&this.producer.slots, this.position);
        // SAFETY: as in `change`; `drop` does not run.
        this.producer.slots.with_mut(at..at + 1, |value| unsafe { value.read() })
    }
}

impl<T> Drop for Held<'_, T> {
    fn drop(&mut self) {
        let at = place(&self.producer.slots, self.position);
        // SAFETY: as in `change`.
        self.producer.slots.with_mut(at..at + 1, |value| unsafe { value.drop_in_place() });
    }
}

/// Slots being written; what is written is made visible when it is dropped.
struct Filling<'a, T, B: FnOnce(usize)> {
    producer: &'a mut Producer<T>,
    before: Option<B>,
    written: usize,
}

impl<T, B: FnOnce(usize)> Filling<'_, T, B> {
    /// Returns why the last one that was written is not among them.
    #[inline]
    fn write<U>(
        &mut self,
        limit: usize,
        mut first: Option<T>,
        mut next: impl FnMut() -> Option<T>,
        mut admit: impl FnMut(&mut T) -> Result<(), U>,
    ) -> Option<U> {
        let Self { producer, written, .. } = self;
        // One after the other: a chain of both costs two instructions a value.
        for part in parts(&producer.slots, producer.tail, limit) {
            let mut slots = producer.slots.with_mut(part.clone(), |slots| {
                // SAFETY: they are allowed, so free and the producer's (S1), which is borrowed; a part does not wrap.
                unsafe { std::slice::from_raw_parts_mut(slots.cast::<MaybeUninit<T>>(), part.len()) }
            });
            if let Some(first) = first.take() {
                let (slot, behind) = slots.split_first_mut()?;
                slot.write(first);
                (slots, *written) = (behind, 1);
            }
            for slot in slots {
                let mut value = Written::new(slot, next()?);
                let admitted = admit(value.value());
                value.keep();
                if let Err(reason) = admitted {
                    return Some(reason);
                }
                *written += 1;
            }
        }
        None
    }
}

impl<T, B: FnOnce(usize)> Drop for Filling<'_, T, B> {
    #[inline]
    fn drop(&mut self) {
        if let (Some(before), 1..) = (self.before.take(), self.written) {
            before(self.written);
            let Producer { ring, slots, tail, .. } = &mut *self.producer;
            // Nothing but a sign for the models that they were written until now.
            parts(slots, *tail, self.written).into_iter().for_each(|part| slots.with_mut(part, |_| ()));
            *tail += self.written as u64;
            // P1: hands the slots to `Consumer::visible`; `write` wrote them from the front, one for each count of `written`.
            ring.tail.store(*tail, Release);
        }
    }
}

/// A slot that was written and that nobody may want; what is in it is dropped with this.
struct Written<'a, T>(&'a mut MaybeUninit<T>);

impl<'a, T> Written<'a, T> {
    #[inline]
    fn new(slot: &'a mut MaybeUninit<T>, value: T) -> Self {
        slot.write(value);
        Written(slot)
    }

    #[inline]
    fn value(&mut self) -> &mut T {
        // SAFETY: `new` has initialised it.
        unsafe { self.0.assume_init_mut() }
    }

    /// The slot is going to be committed, or held.
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

/// The consumer's end, which knows how far it has looked.
pub(crate) struct Consumer<T> {
    ring: Arc<Ring<T>>,
    slots: Row<T>,
    /// The position of the first value that is in the ring.
    head: u64,
    /// The position after the last value that was looked at.
    seen_end: u64,
    of_one_thread: OfOneThread,
}

impl<T> Consumer<T> {
    /// How many values were ever taken: the position of the first that is there.
    #[inline]
    pub(crate) fn head(&self) -> u64 {
        self.head
    }

    /// The position after the last value that was looked at: from `head` to there they are there.
    #[inline]
    pub(crate) fn seen_end(&self) -> u64 {
        self.seen_end
    }

    /// The position after the last value that is visible now.
    #[inline]
    pub(crate) fn visible_end(&self) -> u64 {
        // P1: slots before this were written before `Vacant::publish` or `Filling::drop`.
        self.ring.tail.load(Acquire)
    }

    /// How many values are visible now.
    #[inline]
    pub(crate) fn visible(&self) -> usize {
        (self.visible_end() - self.head) as usize
    }

    /// Looks at all values that are visible now. Returns the position after the last.
    #[inline]
    pub(crate) fn look(&mut self) -> u64 {
        self.seen_end = self.visible_end();
        self.seen_end
    }

    /// The values at these positions, one at least, which must have been looked at, and be there. In one slice: those before the
    /// ring wraps, or those behind.
    #[inline]
    pub(crate) fn part(&self, range: Range<u64>) -> &[T] {
        let Range { start, end } = range;
        assert!(self.head <= start && start < end && end <= self.seen_end, "a consumer asks for no more than it saw");
        let [part, _] = parts(&self.slots, start, (end - start) as usize);
        self.slots.with(part.clone(), |values| {
            // SAFETY: they were looked at, so they are written and the consumer's (S1) until it leaves them, for which it needs `self`
            // for itself; a part does not wrap.
            unsafe { std::slice::from_raw_parts(values, part.len()) }
        })
    }

    /// Asks for some of the values looked at ahead of time.
    #[inline]
    pub(crate) fn prefetch(&self, range: Range<u64>) {
        debug_assert!(range.end <= self.seen_end, "what is asked for was looked at");
        for part in parts(&self.slots, range.start, (range.end - range.start) as usize) {
            prefetch::to_read(self.slots.address() + part.start * size_of::<T>(), part.len() * size_of::<T>());
        }
    }

    /// Drops the values before the position `end` and gives their slots back, with one store. When some of them unwind
    /// as they are dropped, the others are dropped all the same.
    #[inline]
    pub(crate) fn commit(&mut self, end: u64) {
        assert!(self.head <= end && end <= self.seen_end, "a consumer asks for no more than it saw");
        let leaving = Leaving { end, consumer: self };
        let Consumer { slots, head, .. } = &*leaving.consumer;
        // SAFETY: they were looked at, and are left with this, whatever comes of it.
        unsafe { drop_values(slots, *head, (end - head) as usize) };
    }

    /// Gives the values before the position `end` to `take`, and then their slots back, with one store. The one on which `take` unwound,
    /// and those before it, are gone.
    #[inline]
    pub(crate) fn drain(&mut self, end: u64, mut take: impl FnMut(T)) {
        assert!(end <= self.seen_end, "a consumer asks for no more than it saw");
        let mut leaving = Leaving { end: self.head, consumer: self };
        while leaving.end < end {
            // SAFETY: it was looked at.
            take(unsafe { leaving.next() });
        }
    }

    /// True when the producer is gone. What is visible after a `true` is all there will be.
    pub(crate) fn is_abandoned(&self) -> bool {
        // P19: what is visible after this is everything that was pushed.
        self.ring.is_abandoned.load(Acquire)
    }

    /// Removes the first value, looking for one if it has to.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<T> {
        if self.seen_end == self.head && self.look() == self.head {
            return None;
        }
        // SAFETY: there is one.
        Some(unsafe { Leaving { end: self.head, consumer: self }.next() })
    }
}

/// Values that are taken; their slots are given back when it is dropped.
struct Leaving<'a, T> {
    consumer: &'a mut Consumer<T>,
    /// Those before this position; not beyond what was looked at.
    end: u64,
}

impl<T> Leaving<'_, T> {
    /// The next that was looked at.
    ///
    /// # Safety
    /// There is one.
    #[inline]
    unsafe fn next(&mut self) -> T {
        debug_assert!(self.end < self.consumer.seen_end, "it was looked at");
        let at = place(&self.consumer.slots, self.end);
        self.end += 1;
        // SAFETY: it was looked at, so it is written and the consumer's (S1), and is left with this.
        self.consumer.slots.with_mut(at..at + 1, |slot| unsafe { slot.read() })
    }
}

impl<T> Drop for Leaving<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.consumer.head = self.end;
        // P2: hands the slots back to `Producer::look`.
        self.consumer.ring.head.store(self.end, Release);
    }
}

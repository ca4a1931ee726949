//! A ring with the orderings of the one that ships, and slots that loom watches.
//!
//! Values that are still in it at the end are not dropped: the models push plain numbers.

#![expect(unsafe_code, reason = "slots are handed over by `head` and `tail`; loom watches every access")]

use std::cell::{Cell, UnsafeCell};
use std::mem::MaybeUninit;

use loom::cell;

use super::weak::{self, Weak};
use super::{Arc, AtomicU64, Ordering::Acquire};

struct Ring<T> {
    head: AtomicU64,
    tail: AtomicU64,
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
    /// One for each slot, accessed as the slot is: a slot must be part of a slice, which loom's own cells cannot.
    watched: Box<[cell::UnsafeCell<()>]>,
}

// SAFETY: slots in `head..tail` are the consumer's, all others the producer's, and loom watches that this is so.
unsafe impl<T: Send> Sync for Ring<T> {}

pub(crate) fn ring<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    let ring = Arc::new(Ring {
        head: AtomicU64::new(0),
        tail: AtomicU64::new(0),
        slots: (0..capacity).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
        watched: (0..capacity).map(|_| cell::UnsafeCell::new(())).collect(),
    });
    (
        Producer { ring: ring.clone(), tail: 0, head: Cell::new(0) },
        Consumer { ring, head: 0, tail: Cell::new(0), seen: 0 },
    )
}

impl<T> Ring<T> {
    fn place(&self, position: u64) -> usize {
        position as usize % self.slots.len()
    }

    fn write(&self, position: u64, value: T) {
        let at = self.place(position);
        self.watched[at].with_mut(|_| ());
        // SAFETY: the producer writes outside `head..tail`; had the consumer not let go of it, loom would have said so.
        unsafe { (*self.slots[at].get()).write(value) };
    }
}

pub(crate) struct Producer<T> {
    ring: Arc<Ring<T>>,
    tail: u64,
    /// The last `head` that was seen, as the real ring keeps it.
    head: Cell<u64>,
}

impl<T> Producer<T> {
    pub(crate) fn room(&self) -> usize {
        self.head.set(self.ring.head.load(Acquire));
        self.known()
    }

    /// Changes nothing, and rings of so few slots never ask.
    pub(crate) fn prefetch(&self, _: u64, _: usize) {}

    fn known(&self) -> usize {
        self.ring.slots.len() - (self.tail - self.head.get()) as usize
    }

    pub(crate) fn push(&mut self, value: T) -> Result<(), T> {
        if self.known() == 0 && self.room() == 0 {
            return Err(value);
        }
        self.ring.write(self.tail, value);
        self.publish(1);
        Ok(())
    }

    pub(crate) fn fill<U>(
        &mut self,
        limit: usize,
        first: Option<T>,
        mut next: impl FnMut() -> Option<T>,
        mut admit: impl FnMut(&mut T) -> Result<(), U>,
        before: impl FnOnce(usize),
    ) -> (usize, Option<(T, U)>) {
        assert!((1..=self.known()).contains(&limit), "a producer asks for no more than it saw");
        let (mut written, mut left_out) = (0, None);
        if let Some(first) = first {
            self.ring.write(self.tail, first);
            written = 1;
        }
        while written < limit {
            let Some(mut value) = next() else { break };
            if let Err(reason) = admit(&mut value) {
                left_out = Some((value, reason));
                break;
            }
            self.ring.write(self.tail + written as u64, value);
            written += 1;
        }
        if written > 0 {
            before(written);
            self.publish(written);
        }
        (written, left_out)
    }

    fn publish(&mut self, count: usize) {
        self.tail += count as u64;
        self.ring.tail.store(self.tail, weak::release(Weak::Tail));
    }
}

pub(crate) struct Consumer<T> {
    ring: Arc<Ring<T>>,
    head: u64,
    /// The last `tail` that was seen.
    tail: Cell<u64>,
    /// How many values were looked at.
    seen: usize,
}

impl<T> Consumer<T> {
    pub(crate) fn visible(&self) -> usize {
        self.tail.set(self.ring.tail.load(Acquire));
        (self.tail.get() - self.head) as usize
    }

    pub(crate) fn look(&mut self) -> usize {
        self.seen = self.visible();
        self.seen
    }

    pub(crate) fn part(&self, from: usize, count: usize) -> &[T] {
        assert!(from < self.seen, "a consumer asks for no more than it saw");
        let start = self.ring.place(self.head + from as u64);
        let count = count.min(self.seen - from).min(self.ring.slots.len() - start);
        for at in start..start + count {
            self.ring.watched[at].with(|_| ());
        }
        let slots = self.ring.slots.as_ptr().cast::<T>();
        // SAFETY: visible slots are written, and nobody writes them before they are committed.
        unsafe { std::slice::from_raw_parts(slots.add(start), count) }
    }

    /// As the producer's.
    pub(crate) fn prefetch(&self, _: std::ops::Range<usize>) {}

    pub(crate) fn commit(&mut self, count: usize) {
        assert!(count <= self.seen);
        self.seen -= count;
        for at in 0..count as u64 {
            // Dropping a value writes its slot.
            self.ring.watched[self.ring.place(self.head + at)].with_mut(|_| ());
        }
        self.leave(count);
    }

    pub(crate) fn drain(&mut self, count: usize, mut take: impl FnMut(T)) {
        assert!(count <= self.seen);
        self.seen -= count;
        for at in 0..count as u64 {
            let at = self.ring.place(self.head + at);
            self.ring.watched[at].with_mut(|_| ());
            // SAFETY: a visible slot is written, and is left below.
            take(unsafe { (*self.ring.slots[at].get()).assume_init_read() });
        }
        self.leave(count);
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        self.seen = 0;
        if self.head == self.tail.get() && self.visible() == 0 {
            return None;
        }
        let at = self.ring.place(self.head);
        self.ring.watched[at].with_mut(|_| ());
        // SAFETY: a visible slot is written, and is left with the next line.
        let value = unsafe { (*self.ring.slots[at].get()).assume_init_read() };
        self.leave(1);
        Some(value)
    }

    fn leave(&mut self, count: usize) {
        self.head += count as u64;
        self.ring.head.store(self.head, weak::release(Weak::Head));
    }
}

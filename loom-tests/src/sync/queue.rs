//! A bounded queue of many producers, in the place of the one that ships.
//!
//! In the real one a producer claims a slot, writes it, and stamps it; a consumer that comes upon a slot that is claimed and not stamped
//! waits for its producer. Such waits make a model endless, so here the producers have a lock among them, and a push becomes visible
//! in one step, as it is to a consumer that waits. There are none of the fences by which the real one tells full and empty apart: the protocol
//! around it has barriers of its own, and must not lean on those.

#![expect(unsafe_code, reason = "slots are handed over by their stamps; loom watches every access")]

use loom::cell::UnsafeCell;

use super::{
    AtomicU64, Mutex,
    Ordering::{Acquire, Relaxed, Release},
};

pub(crate) struct ArrayQueue<T> {
    pushing: Mutex<()>,
    head: AtomicU64,
    tail: AtomicU64,
    slots: Box<[Slot<T>]>,
}

struct Slot<T> {
    /// The position of the push that it waits for.
    emptied: AtomicU64,
    value: UnsafeCell<Option<T>>,
}

// SAFETY: whoever is to move `tail` past a slot, and then whoever moved `head` past it, has it alone; loom watches that this is so.
unsafe impl<T: Send> Sync for ArrayQueue<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for ArrayQueue<T> {}

impl<T> ArrayQueue<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        let slot = |at| Slot { emptied: AtomicU64::new(at), value: UnsafeCell::new(None) };
        let slots = (0..capacity as u64).map(slot).collect();
        Self { pushing: Mutex::new(()), head: AtomicU64::new(0), tail: AtomicU64::new(0), slots }
    }

    fn slot(&self, position: u64) -> &Slot<T> {
        &self.slots[position as usize % self.slots.len()]
    }

    pub(crate) fn push(&self, value: T) -> Result<(), T> {
        let _alone = self.pushing.lock();
        let tail = self.tail.load(Relaxed);
        let slot = self.slot(tail);
        if slot.emptied.load(Acquire) != tail {
            return Err(value);
        }
        // SAFETY: no other producer is here, and the consumer that emptied it has let go of it.
        slot.value.with_mut(|empty| unsafe { *empty = Some(value) });
        self.tail.store(tail + 1, Release);
        Ok(())
    }

    pub(crate) fn pop(&self) -> Option<T> {
        let mut head = self.head.load(Relaxed);
        loop {
            if self.tail.load(Acquire) <= head {
                return None;
            }
            match self.head.compare_exchange(head, head + 1, Relaxed, Relaxed) {
                Ok(_) => {
                    let slot = self.slot(head);
                    // SAFETY: the head was moved past it here, and the tail says that it is full.
                    let value = slot.value.with_mut(|full| unsafe { (*full).take() });
                    slot.emptied.store(head + self.slots.len() as u64, Release);
                    return value;
                }
                Err(now) => head = now,
            }
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() == self.slots.len()
    }

    pub(crate) fn len(&self) -> usize {
        (self.tail.load(Relaxed) - self.head.load(Relaxed)) as usize
    }
}

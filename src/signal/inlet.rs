//! The way of one family's signals from whoever publishes to the dispatcher: a bounded queue with many producers.
//!
//! One queue, so one order: of two signals of a family of which one was published before the other was begun, every
//! subscriber meets the first one first.
//!
//! # Invariants
//! - **I1 heard**: a publication that began after a subscription was made finds a listener, and the dispatcher finds the subscription.
//!   For the first, both sides touch one atomic, and its coherence suffices; for the second, the subscription was posted before,
//!   and the dispatcher looks for letters *after* it took the signal.
//! - **I2 none stranded in silence**: what was put in is taken by the dispatcher, or counted by the one who put it there. By B1
//!   (`sync/store_load.rs`): either the dispatcher's last look sees the signal, or its publisher sees that the end has come,
//!   and empties the queue itself.
//! - **I3 what came before the end is delivered**: `put` looks at the stage first, so that only those who were under way when the
//!   inlet was closed can come after it. The dispatcher takes all there is before it calls the end: from then on any of those who come
//!   late empties the queue, and counts what it finds.
//! - **I4 told of refusals**: one is counted some time after there was no room, and by then the dispatcher may have taken all there was, and
//!   sleep. By B1: whoever counts it finds that something was taken, and rings, or the dispatcher still looks at the count after it has taken
//!   what is there. While the queue is full nobody is woken for a refusal.
//!   Where it was one who publishes directly that took it, after the dispatcher had armed, nothing but the order of a processor's locked
//!   instructions says so; on one that keeps none, such a refusal, counted all the same, may be told with the next signal.
//!
//! The stage hands over no data, and what a signal carries is handed over by the queue: there is no pair here.
//! Model: `loom-tests/src/signal.rs`.
//!
//! The queue is lock-free, not wait-free: a publisher that the system stops in the middle of a push, a few instructions long, has the
//! dispatcher wait for it. Other publishers go on. I2 needs just that of two publishers that meet the end: neither leaves before
//! its own signal is out of the queue, whoever took it.

use crate::core::let_go;
use crate::sync::{ArrayQueue, AtomicU64, CachePadded, Ordering::Relaxed, StoreLoad};
use crate::wake::Bell;

const OPEN: u64 = 0;
const CLOSING: u64 = 1;
const ENDED: u64 = 2;

pub(crate) struct Inlet<T> {
    queue: ArrayQueue<T>,
    listeners: CachePadded<AtomicU64>,
    stage: AtomicU64,
    /// Signals that were put in after the dispatcher's last look.
    stranded: AtomicU64,
    /// Signals for which there was no room.
    refused: AtomicU64,
}

/// Why a signal was not put in.
pub(crate) enum Unput<T> {
    /// No room.
    Full(T),
    /// Nothing will be taken out any more.
    Closed(T),
}

impl<T> Inlet<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            queue: ArrayQueue::new(capacity),
            listeners: CachePadded::new(AtomicU64::new(0)),
            stage: AtomicU64::new(OPEN),
            stranded: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// True when there is somebody to publish for.
    #[inline]
    pub(crate) fn is_heard(&self) -> bool {
        // I1: coherence alone.
        self.listeners.load(Relaxed) > 0
    }

    pub(crate) fn listen(&self) {
        self.listeners.fetch_add(1, Relaxed);
    }

    pub(crate) fn unlisten(&self) {
        self.listeners.fetch_sub(1, Relaxed);
    }

    /// Puts a signal in, and wakes the dispatcher if it sleeps.
    #[inline]
    pub(crate) fn put(&self, signal: T, bell: &Bell) -> Result<(), Unput<T>> {
        // The ring's barrier is the one of B1.
        self.put_and(signal, || bell.ring())
    }

    /// Puts a signal in. Whoever does that sees to it that the dispatcher takes it.
    #[inline]
    pub(crate) fn put_in_silence(&self, signal: T, store_load: StoreLoad) -> Result<(), Unput<T>> {
        self.put_and(signal, || store_load.light())
    }

    #[inline]
    fn put_and(&self, signal: T, barrier: impl FnOnce()) -> Result<(), Unput<T>> {
        if self.stage.load(Relaxed) != OPEN {
            return Err(Unput::Closed(signal));
        }
        self.push_and(signal, barrier)
    }

    #[inline]
    fn push_and(&self, signal: T, barrier: impl FnOnce()) -> Result<(), Unput<T>> {
        self.queue.push(signal).map_err(Unput::Full)?;
        // B1: orders the look at the stage behind the signal.
        barrier();
        if self.stage.load(Relaxed) == ENDED {
            self.strand();
        }
        Ok(())
    }

    /// I2: nobody else will.
    #[cold]
    fn strand(&self) {
        while let Some(signal) = self.queue.pop() {
            self.stranded.fetch_add(1, Relaxed);
            // The host's, and perhaps not this publisher's: it must not end the loop.
            let_go(signal);
        }
    }

    /// I4: counts a signal for which there was no room, for the subscribers to be told.
    #[cold]
    pub(crate) fn refuse(&self, bell: &Bell, store_load: StoreLoad) {
        self.refused.fetch_add(1, Relaxed);
        // B1: orders the look into the queue behind the count.
        store_load.light();
        if !self.queue.is_full() {
            bell.ring();
        }
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    pub(crate) fn stranded(&self) -> u64 {
        self.stranded.load(Relaxed)
    }

    /// How many signals wait for the dispatcher.
    pub(crate) fn depth(&self) -> usize {
        self.queue.len()
    }

    /// The oldest signal, for the dispatcher.
    #[inline]
    pub(crate) fn take(&self) -> Option<T> {
        self.queue.pop()
    }

    /// From here on nothing more is put in but by those who are just about to. The dispatcher then takes all there is.
    pub(crate) fn close(&self) {
        self.stage.store(CLOSING, Relaxed);
    }

    /// From here on who puts something in counts it as stranded. The dispatcher takes once more what there is, and that is the last
    /// time.
    pub(crate) fn end(&self, store_load: StoreLoad) {
        self.stage.store(ENDED, Relaxed);
        // B1: the dispatcher's last look into the queue is ordered behind the stage.
        store_load.heavy();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::Arc;

    impl<T> Inlet<T> {
        /// As a publisher that was held up between its look at the stage and its push.
        pub(crate) fn put_late(&self, signal: T) -> Result<(), Unput<T>> {
            self.push_and(signal, || StoreLoad::detect().light())
        }
    }

    fn bell() -> Bell {
        Bell::new(StoreLoad::detect(), || {})
    }

    #[test]
    fn what_has_no_room_comes_back_and_what_comes_late_is_closed() {
        let (inlet, bell) = (Inlet::new(1), bell());
        assert!(inlet.put(1, &bell).is_ok());
        assert!(matches!(inlet.put(2, &bell), Err(Unput::Full(2))));
        inlet.close();
        assert!(matches!(inlet.put(3, &bell), Err(Unput::Closed(3))));
        assert_eq!((inlet.take(), inlet.take()), (Some(1), None));
    }

    #[test]
    fn what_lies_there_after_the_end_is_counted_by_whoever_put_it_there() {
        let (inlet, bell) = (Arc::new(Inlet::new(4)), bell());
        inlet.end(StoreLoad::detect());
        assert!(inlet.put_late(1).is_ok());
        assert_eq!((inlet.stranded(), inlet.take()), (1, None));
        assert!(matches!(inlet.put(2, &bell), Err(Unput::Closed(2))));
    }

    #[test]
    fn what_panics_as_it_is_dropped_after_the_end_keeps_nobody_from_counting_the_rest() {
        struct Bomb;

        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("a bomb");
            }
        }

        let inlet = Inlet::new(4);
        assert!(inlet.put_late(Bomb).is_ok());
        inlet.end(StoreLoad::detect());
        assert!(inlet.put_late(Bomb).is_ok(), "it does not unwind");
        assert_eq!((inlet.stranded(), inlet.depth()), (2, 0));
    }

    #[test]
    fn listeners_come_and_go() {
        let inlet = Inlet::<u8>::new(1);
        inlet.listen();
        inlet.listen();
        inlet.unlisten();
        assert!(inlet.is_heard());
        inlet.unlisten();
        assert!(!inlet.is_heard());
    }
}

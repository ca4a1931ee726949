//! The shared counter that gives every push its causal position.
//!
//! # How a stamp becomes a key
//! A *critical* push of `k` events takes `v = counter.fetch_add(k)`; the key of its `i`-th event is
//! `2(v + i) + 1`. A *lossy* push only loads `s = counter`; its key is `2s`. A lossy event of a batch, behind `i` critical ones that
//! have stamps already, has the key `2(v + i)`: a batch is one push, whose stamps are all of the time at which it was stamped. A cut takes
//! `t = counter.fetch_add(1)` and admits keys below `2t + 1`.
//!
//! # Invariants
//! - **K1 monotone**: if push A returned before push B began, by any synchronisation at all, then
//!   `key(A) <= key(B)`, and strictly so unless both are lossy and of different lanes.
//! - **K2 producers move past a bound**: a stamp taken after a cut's `fetch_add` was seen is at or past its bound,
//!   so collecting until nothing is added ends.
//!
//! - **K3 what was seen before a cut is below its bound**: a push whose publication was seen before a cut's `fetch_add`
//!   took or read its stamp before that, in the order of this one atomic.
//!
//! Every access is `Relaxed`: K1 needs nothing but the coherence of this one atomic (read-read for lossy pushes,
//! write-write for critical ones), and what a stamp *protects* is handed over by the ring and the table, never by
//! this counter. The models of `loom-tests/src/cut.rs` fail when `fetch_add` is split into a load and a store, and when a cut does
//! not move the counter.

use crate::sync::{AtomicU64, CachePadded, Ordering::Relaxed};

/// A causal position, given by the pipeline's shared counter. Zero for events of unclocked lanes.
///
/// Stamps order events inside one batch. They are *not* monotone from one batch to the next (a preempted producer
/// arrives late with an old stamp); the durable order is the turn and the index in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "journal", derive(serde::Serialize, serde::Deserialize))]
pub struct Stamp(pub(crate) u64);

impl Stamp {
    /// The stamp of every event of an unclocked lane.
    pub const UNCLOCKED: Stamp = Stamp(0);

    /// The stamp as a number: an odd one belongs to a critical event, an even one to a lossy event.
    pub fn as_u64(self) -> u64 {
        self.0
    }
}

/// The first key that a cut leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bound(pub(crate) u64);

impl Bound {
    /// Admits every key.
    #[allow(dead_code, reason = "unclocked lanes and the models use it; some builds have neither")]
    pub(crate) const OPEN: Bound = Bound(u64::MAX);
}

/// The key of a critical event with stamp value `value`.
#[inline]
pub(crate) fn critical_key(value: u64) -> u64 {
    2 * value + 1
}

/// The key of a lossy event with stamp value `value`.
#[inline]
pub(crate) fn lossy_key(value: u64) -> u64 {
    2 * value
}

/// The key of a lossy event that is pushed right before a critical one of this key, of the same run of stamps: the one that it would have
/// if the stamps before that one alone had been taken.
#[inline]
pub(crate) fn key_between(next_critical: u64) -> u64 {
    next_critical - 1
}

/// The one line that every clocked producer shares.
pub(crate) struct Clock {
    counter: CachePadded<AtomicU64>,
}

impl Clock {
    pub(crate) fn new() -> Self {
        // Starts at one: key zero then belongs to no clocked event.
        Self { counter: CachePadded::new(AtomicU64::new(1)) }
    }

    /// Takes `count` stamp values for critical events; returns the first.
    #[inline]
    pub(crate) fn take(&self, count: u64) -> u64 {
        self.counter.fetch_add(count, Relaxed)
    }

    /// Reads the stamp value for a lossy event.
    #[inline]
    pub(crate) fn read(&self) -> u64 {
        self.counter.load(Relaxed)
    }

    /// Begins a cut: once per cut, never in an idle poll, for it takes the line from the producers.
    #[inline]
    pub(crate) fn cut(&self) -> Bound {
        Bound(critical_key(self.counter.fetch_add(1, Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_critical_event_comes_after_the_lossy_ones_that_read_its_stamp() {
        assert_eq!((lossy_key(3), critical_key(3), lossy_key(4)), (6, 7, 8));
        assert_eq!(Stamp(critical_key(3)).as_u64(), 7);
    }

    #[test]
    fn critical_pushes_and_cuts_move_the_clock_and_looking_at_it_does_not() {
        let clock = Clock::new();
        assert_eq!((clock.read(), clock.take(3), clock.read()), (1, 1, 4));
        assert_eq!((clock.cut(), clock.read()), (Bound(critical_key(4)), 5));
    }

    #[test]
    fn a_stamp_from_before_a_cut_is_below_its_bound_and_one_from_after_it_is_not() {
        let clock = Clock::new();
        let before = [lossy_key(clock.read()), critical_key(clock.take(1)), lossy_key(clock.read())];
        let Bound(bound) = clock.cut();
        assert!(before.iter().all(|key| *key < bound));
        assert!(lossy_key(clock.read()) >= bound);
    }
}

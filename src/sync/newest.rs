//! The cell that holds the newest snapshot.
//!
//! One writer puts values in, any number of readers take the newest out, and nobody waits for anybody. Values lie in *places*, behind
//! locks that are only ever *tried*; a word says which place has the newest. The writer writes to a place that nobody looks at, and then
//! moves the word there. A reader tries the place that the word says, and looks at the word again while it has it.
//!
//! Each place has several *stripes*, with the same value behind a lock each, and every thread has one of them: readers on different cores
//! do not fight for a lock's line.
//!
//! # Invariants
//! - **N1 the newest is not written**: the writer writes, or empties, only places that the word does not name. So a reader fails to get a
//!   place only when the word is somewhere else, or was till just now, and tries again: as often as there are publications between its
//!   two looks.
//! - **N2 looked at twice**: what lies in a place may be newer than what the word said when it was looked at first, and not named yet.
//!   A reader that has the place, and finds it named still, or again, has what it was named for, and can never go back.
//! - **N3 always a place**: one that a reader is in the middle of is passed by. When there is no other, there are more.
//! - **N4 nothing old stays**: two places take turns while nobody is in the way. What came to lie in others is given back when those who were
//!   in the way are gone: each `put` looks at one such place.
//!
//! # Order
//! The locks hand over the snapshots (P11, see `snapshot/publisher.rs`): the writer lets go of a place that it wrote to, a reader gets it.
//! The word hands over nothing, and needs no order of its own. If a reader gets a place after the writer had it, it sees all that the writer
//! did before, and so that the word has moved (N2). If it gets it first, the writer gets it after the reader's second look, which
//! therefore sees nothing of what the writer does then.
//!
//! `ArcSwap` is not used here: its writer visits every thread of the process that ever loaded from any such cell, also one of another
//! library, alive or not, at 28 ns each (1.8 µs with 64 threads), and a main lane publishes every turn.
//!
//! Model: `loom-tests/src/snapshot.rs`, with one stripe: they share nothing but the word.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use super::{Arc, AtomicU64, CachePadded, Ordering::Relaxed, RwLock, STRIPES, prefetch::Hint, stripe};

/// How many places there are at first: the newest, the next, and two that readers may be in the middle of.
const FIRST: usize = 4;
/// Each row of places has twice as many as the one before it. No machine has as many threads as that makes.
const ROWS: usize = 24;

/// The same value in each; tried, and never waited for.
type Place<T> = [CachePadded<RwLock<Option<Arc<T>>>>; STRIPES];

/// One `Arc`, replaced by one writer and loaded by any number of readers.
pub(crate) struct NewestCell<T> {
    word: CachePadded<Word>,
    own: CachePadded<Own>,
    rows: [OnceLock<Box<[Place<T>]>>; ROWS],
}

struct Word {
    /// The place that has the newest.
    named: AtomicU64,
    /// For the newest to be asked for while its place is still on its way.
    address: Hint,
    /// A number of the user's.
    beside: AtomicU64,
}

/// What only the writer looks at.
struct Own {
    /// A copy of the word: a look of the writer's at the word itself would hide the readers' from the model.
    named: AtomicU64,
    /// There is nothing in places from this one on (N4).
    used: AtomicU64,
}

impl<T> NewestCell<T> {
    pub(crate) fn new(value: Arc<T>) -> Self {
        let own = Own { named: AtomicU64::new(0), used: AtomicU64::new(1) };
        let cell = Self {
            word: CachePadded::new(Word {
                named: AtomicU64::new(0),
                address: Hint::default(),
                beside: AtomicU64::new(0),
            }),
            own: CachePadded::new(own),
            rows: [const { OnceLock::new() }; ROWS],
        };
        cell.put_in(0, &value);
        cell
    }

    /// A number, zero at first, for whoever tells readers with it that there is something newer: on the line of the word, which they look at
    /// next. The cell neither reads nor writes it.
    #[inline]
    pub(crate) fn beside(&self) -> &AtomicU64 {
        &self.word.beside
    }

    /// The newest.
    #[inline]
    pub(crate) fn load(&self) -> Arc<T> {
        let stripe = stripe();
        loop {
            let at = self.word.named.load(Relaxed);
            self.word.address.ask();
            // P11: sees the value as `put` has it.
            if let Some(value) = self.place(at)[stripe].try_read()
                // N2
                && self.word.named.load(Relaxed) == at
                && let Some(value) = &*value
            {
                return value.clone();
            }
        }
    }

    /// Makes `value` the newest. Only one thread at a time may do so. Returns what lay where it is now, most often the newest but two; and
    /// seldom another one, which readers were in the middle of before. What was the newest until now stays, for those who are in the
    /// middle of it, until its place is used again.
    #[inline]
    pub(crate) fn put(&self, value: Arc<T>) -> [Option<Arc<T>>; 2] {
        let (before, address) = (self.own.named.load(Relaxed), std::ptr::from_ref(&*value).addr());
        // N1, N3: the first of the others that nobody is in the middle of.
        let mut others = (0..).filter(|at| *at != before);
        let (at, older) = loop {
            let Some(at) = others.next() else { unreachable!("there are more places than threads") };
            // P11: hands the value to `load`.
            if let Some(older) = self.put_in(at, &value) {
                break (at, older);
            }
        };
        self.word.named.store(at, Relaxed);
        self.word.address.set(address);
        self.own.named.store(at, Relaxed);
        let used = self.own.used.load(Relaxed).max(at + 1);
        // N4
        let (left, used) = if used > 2 { self.clear(used, at, before) } else { (None, used) };
        self.own.used.store(used, Relaxed);
        [one_of(older), left]
    }

    /// Empties the last place in which there is something, if it is none of these two and nobody looks at it. What was there, and how many
    /// are used then.
    #[cold]
    fn clear(&self, used: u64, newest: u64, before: u64) -> (Option<Arc<T>>, u64) {
        let last = used - 1;
        if last == newest || last == before {
            return (None, used);
        }
        let stripes = self.place(last).each_ref().map(|stripe| stripe.try_write());
        if stripes.iter().any(Option::is_none) {
            return (None, used);
        }
        (one_of(stripes.map(|stripe| stripe.and_then(|mut place| place.take()))), last)
    }

    /// Puts it into all stripes of this place, unless somebody looks at one. What was there.
    #[inline]
    fn put_in(&self, at: u64, value: &Arc<T>) -> Option<[Option<Arc<T>>; STRIPES]> {
        let stripes = self.place(at).each_ref().map(|stripe| stripe.try_write());
        stripes
            .iter()
            .all(Option::is_some)
            .then(|| stripes.map(|stripe| stripe.and_then(|mut place| place.replace(value.clone()))))
    }

    #[inline]
    fn place(&self, at: u64) -> &Place<T> {
        // Row n has `FIRST << n` places, and begins at `FIRST * (2^n - 1)`.
        let row = (at / FIRST as u64 + 1).ilog2() as usize;
        let first = FIRST * ((1 << row) - 1);
        let places = self.rows[row].get_or_init(|| {
            let empty = |_| std::array::from_fn(|_| CachePadded::new(RwLock::new(None)));
            (0..FIRST << row).map(empty).collect()
        });
        &places[at as usize - first]
    }
}

/// All that there are are the same: of one place, which is written and emptied as a whole.
#[inline]
fn one_of<T>(stripes: [Option<Arc<T>>; STRIPES]) -> Option<Arc<T>> {
    stripes.into_iter().flatten().reduce(|one, _| one)
}

impl<T> Drop for NewestCell<T> {
    fn drop(&mut self) {
        let places = self.rows.iter_mut().filter_map(OnceLock::take).flatten();
        for value in places.flatten().filter_map(|stripe| stripe.try_write().and_then(|mut value| value.take())) {
            // One by one, for what is the host's may panic: two must not meet.
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
                std::mem::forget(panic);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(cell: &NewestCell<u64>) -> u64 {
        *cell.load()
    }

    #[test]
    fn the_newest_is_loaded_and_an_older_one_given_back() {
        let cell = NewestCell::new(Arc::new(0));
        for n in 1..100 {
            let given_back = cell.put(Arc::new(n)).map(|value| value.map(|value| *value));
            assert_eq!((value(&cell), given_back), (n, [n.checked_sub(2), None]));
        }
    }

    #[test]
    fn readers_that_never_go_on_keep_nobody_from_anything() {
        let cell = NewestCell::new(Arc::new(0));
        let mut stuck = Vec::new();
        for n in 1..=200 {
            // As one that was stopped between its two looks.
            let at = cell.word.named.load(Relaxed);
            stuck.push(cell.place(at)[n as usize % STRIPES].try_read().unwrap());
            assert_eq!(cell.put(Arc::new(n)), [None, None], "the others are looked at");
            assert_eq!(value(&cell), n);
        }
        assert!(stuck.iter().enumerate().all(|(n, place)| place.as_deref() == Some(&(n as u64))));
        drop(stuck);
        // All that was left is given back, and nothing twice, but for the newest two.
        let put = |n| cell.put(Arc::new(n)).into_iter().flatten().map(|value| *value);
        let mut given_back: Vec<_> = (201..=500).flat_map(put).collect();
        given_back.sort_unstable();
        assert!(given_back.into_iter().eq(0..=498));
        assert_eq!((value(&cell), cell.own.used.load(Relaxed)), (500, 2));
    }

    #[test]
    fn values_that_panic_as_they_are_dropped_end_with_the_cell() {
        struct Bomb(Arc<AtomicU64>);

        impl Drop for Bomb {
            fn drop(&mut self) {
                self.0.fetch_add(1, Relaxed);
                panic!("a bomb");
            }
        }

        let dropped = Arc::new(AtomicU64::new(0));
        let cell = NewestCell::new(Arc::new(Bomb(dropped.clone())));
        assert!(cell.put(Arc::new(Bomb(dropped.clone()))).iter().all(Option::is_none));
        drop(cell);
        assert_eq!(dropped.load(Relaxed), 2);
    }

    #[test]
    fn a_place_is_written_in_all_its_stripes_or_in_none() {
        for looked_at in 0..STRIPES {
            let cell = NewestCell::new(Arc::new(0));
            let other = cell.place(1)[looked_at].try_read().unwrap();
            drop(cell.put(Arc::new(1)));
            assert!(other.is_none(), "passed by");
            for stripe in cell.place(cell.word.named.load(Relaxed)) {
                assert_eq!(stripe.try_read().unwrap().as_deref(), Some(&1));
            }
        }
    }

    #[test]
    fn no_reader_goes_back_or_waits() {
        let cell = NewestCell::new(Arc::new(0_u64));
        let last = 100_000;
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut newest = 0;
                    while newest < last {
                        let next = value(&cell);
                        assert!(next >= newest, "{next} after {newest}");
                        newest = next;
                    }
                });
            }
            (1..=last).for_each(|n| drop(cell.put(Arc::new(n))));
        });
    }
}

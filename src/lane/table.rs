//! A lane's way in for lossy events: two pages of unread values, one that the lane writes on and one that the main lane
//! has taken.
//!
//! Wait-free on both sides: a thread stopped at any instruction never blocks the other. The main lane takes a whole page
//! with one read-modify-write, after which the lane goes on with the other page; which value has which place on a page, and
//! what is coalesced there, is the lane's own business (`lane/coalesce.rs`).
//!
//! A push announces the one place that it is going to touch, and enters its number into `begun`, the word whose highest
//! bit says which page is the lane's. So a page that is taken in the middle of a push is taken all but for one place,
//! which comes *late*: when the push has ended. What that place held before is being coalesced into something newer.
//!
//! Values beyond the bound of a cut that are on the page it takes are *held* for the next one. A page on which nothing can
//! be below the bound is left alone, to be coalesced further.
//!
//! # Invariants
//! - **T1 ownership**: a place of the page named by `begun` is the lane's during a push. All places of the other page are
//!   the main lane's, but for the one announced by a push that began before the page was taken, until that push has ended.
//! - **T2 at most one flip a push**: a page is taken only after a push that wrote on it has ended, so between two pushes the
//!   pages change at most once, and a push that finds them changed is the first on its page.
//! - **T3 no lost value**: the first push on a page names it in `first` when it has ended; whatever is on it later is found
//!   with it.
//! - **T4 rising keys**: the keys of the values one lane stores never fall, so none on a page is below the first one's.
//! - **T5 held values come next**: a held value's key was read, or taken, before the value was collected, from the clock, or from a ring
//!   of which the next look shows that much; so it is below the bound of the next cut. None are taken on top of them: what
//!   came on a later page is not below the bound either (T4).
//!
//! # Pairs
//! | pair | release                                | acquire                                | hands over                     |
//! |------|----------------------------------------|----------------------------------------|--------------------------------|
//! | P6   | `begun`, `TableProducer::begin`        | `begun`, `TableConsumer::flip`         | what ended pushes wrote, and the announced place |
//! | P7   | `begun`, `TableConsumer::flip`         | `begun`, `TableProducer::begin`        | an emptied page                |
//! | P8   | `done`, `Writing::drop`                | `done`, `TableConsumer::has_ended`     | the announced place's value    |
//! | P9   | `first`, `Writing::drop`               | `first`, `TableConsumer::collect`      | its key, and that the push ended |
//! | P10  | `place`, `TableProducer::begin`        | `place`, `TableConsumer::flip`         | the end of the push before     |
//!
//! Model: `loom-tests/src/table.rs`.

#![expect(unsafe_code, reason = "places are handed over by the word that names the lane's page, T1")]

use std::ops::Range;

use crate::clock::Bound;
use crate::sync::{
    Arc, AtomicU64, CachePadded,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
    UnsafeCell, prefetch,
};

/// The most values that can be unread on one lane.
pub(crate) const KEYS_MAX: usize = 1 << 20;

/// The bit of `begun` that names the lane's page; the others number its pushes.
const PAGE: u64 = 1 << 63;
/// Announced by a push that will touch nothing, unless it finds a fresh page.
const NOWHERE: u64 = u64::MAX;
/// How many bytes of places are asked for ahead of the one that is filled.
const AHEAD: usize = 1024;
/// Before the first push on the first page.
const NO_PAGE: u64 = u64::MAX;

/// A value, its place in the order, and how many pushes it stands for.
pub(crate) struct Unread<T> {
    pub(crate) key: u64,
    pub(crate) sequence: u64,
    pub(crate) parts: u32,
    pub(crate) item: T,
}

impl<T, F: FnOnce() -> T> Unread<F> {
    /// With its item.
    #[inline]
    pub(crate) fn made(self) -> Unread<T> {
        Unread { key: self.key, sequence: self.sequence, parts: self.parts, item: (self.item)() }
    }
}

/// Places with what is unread in them.
type Page<T> = Box<[UnsafeCell<Option<Unread<T>>>]>;

struct Table<T> {
    pages: [Page<T>; 2],
    pushes: CachePadded<Pushes>,
    first: CachePadded<First>,
}

/// What the lane writes at every push.
struct Pushes {
    /// How many were begun, and the lane's page.
    begun: AtomicU64,
    /// How many have ended.
    done: AtomicU64,
    /// Which place the push that was begun last may touch.
    place: AtomicU64,
    /// How many places of each page are filled.
    filled: [AtomicU64; 2],
}

/// What the lane writes once a page, and an idle main lane looks at.
struct First {
    /// The number of the newest page that something was written on.
    page: AtomicU64,
    /// The key that the first value on it had.
    key: AtomicU64,
}

// SAFETY: T1. A place is touched only by the side that owns it, and P6, P7 and P8 order those accesses.
unsafe impl<T: Send> Sync for Table<T> {}

/// A table with room for so many values.
pub(crate) fn table<T>(capacity: usize) -> (TableProducer<T>, TableConsumer<T>) {
    debug_assert!(capacity <= KEYS_MAX);
    let page = || (0..capacity).map(|_| UnsafeCell::new(None)).collect();
    let zero = || AtomicU64::new(0);
    let table = Arc::new(Table {
        pages: [page(), page()],
        pushes: CachePadded::new(Pushes { begun: zero(), done: zero(), place: zero(), filled: [zero(), zero()] }),
        first: CachePadded::new(First { page: AtomicU64::new(NO_PAGE), key: zero() }),
    });
    let producer = TableProducer { table: table.clone(), page: 0, filled: 0 };
    (producer, TableConsumer { table, page: 0, late: None, held: Vec::new() })
}

/// The lane's end.
pub(crate) struct TableProducer<T> {
    table: Arc<Table<T>>,
    /// The number of the page that the last push found.
    page: u64,
    /// How many of its places are filled.
    filled: usize,
}

impl<T> TableProducer<T> {
    /// How many places of that page are filled.
    #[inline]
    pub(crate) fn filled(&self) -> usize {
        self.filled
    }

    /// Places that are asked for ahead: none where one alone is that large.
    const AHEAD: usize = AHEAD / size_of::<UnsafeCell<Option<Unread<T>>>>();

    /// Asks for places that are going to be filled, which were the main lane's; for none if not all of them exist.
    #[inline]
    fn prefetch(&self, places: Range<usize>) {
        if Self::AHEAD > 0
            && let Some(places) = self.table.pages[self.page as usize & 1].get(places)
        {
            prefetch::to_write(places.as_ptr().addr(), size_of_val(places));
        }
    }

    /// Begins a push that may touch `place`, which is filled or the next to be, or with `None` nothing; unless it finds a
    /// fresh page, [`Writing::is_first`]: then it may fill the first place of that.
    #[inline]
    pub(crate) fn begin(&mut self, place: Option<usize>) -> Writing<'_, T> {
        let announced = place.map_or(NOWHERE, |place| place as u64);
        // P10: whoever sees this sees the end of the push before, so it cannot be taken for the place of that one.
        self.table.pushes.place.store(announced, Release);
        // P6: hands the pushes before this one, and its place, to `flip`. P7: if the page is another one, it is empty.
        let begun = self.table.pushes.begun.fetch_add(1, AcqRel);
        let is_first = (begun ^ (self.page << 63)) & PAGE != 0;
        if is_first {
            // T2.
            self.page += 1;
            self.filled = 0;
            self.prefetch(0..Self::AHEAD.min(self.table.pages[0].len()));
        }
        let place = if is_first { Some(0) } else { place };
        Writing { number: (begun & !PAGE) + 1, place, is_first, named_by: None, producer: self }
    }
}

/// A push under way. It ends when this is dropped.
pub(crate) struct Writing<'a, T> {
    producer: &'a mut TableProducer<T>,
    number: u64,
    place: Option<usize>,
    is_first: bool,
    /// The key of the value that it put on a page on which there was none.
    named_by: Option<u64>,
}

impl<T> Writing<'_, T> {
    /// True when the main lane has taken the page since the last push: everything that was on it is read.
    #[inline]
    pub(crate) fn is_first(&self) -> bool {
        self.is_first
    }

    /// Hands `access` what is in the place that this push may touch.
    ///
    /// # Panics
    /// When there is no such place.
    #[inline]
    pub(crate) fn with_place<R>(&mut self, access: impl FnOnce(&mut Option<Unread<T>>) -> R) -> R {
        let (page, place) = (self.producer.page as usize & 1, self.place.unwrap_or(usize::MAX));
        // SAFETY: T1. The page is the lane's, and if it is taken while we write, all but the place announced for this push is;
        // a fresh page is not taken before this push has ended (T2).
        self.producer.table.pages[page][place].with_mut(|value| access(unsafe { &mut *value }))
    }

    /// Fills the place that this push may touch, which is the next to be filled.
    #[inline]
    pub(crate) fn fill(&mut self, value: Unread<T>) {
        let key = value.key;
        self.with_place(|place| *place = Some(value));
        let producer = &mut *self.producer;
        debug_assert!(self.place == Some(producer.filled), "places are filled in order");
        if producer.filled == 0 {
            self.named_by = Some(key);
        }
        producer.filled += 1;
        let ahead = producer.filled + TableProducer::<T>::AHEAD;
        producer.prefetch(ahead - 1..ahead);
        // Handed over by P6, or by P8 if the page is taken before this push has ended; then it does not matter, for
        // the place is the announced one.
        producer.table.pushes.filled[producer.page as usize & 1].store(producer.filled as u64, Relaxed);
    }
}

impl<T> Drop for Writing<'_, T> {
    #[inline]
    fn drop(&mut self) {
        let producer = &*self.producer;
        // P8: hands the place to `has_ended`.
        producer.table.pushes.done.store(self.number, Release);
        if let Some(key) = self.named_by {
            let first = &producer.table.first;
            first.key.store(key, Relaxed);
            // P9: hands the key, and the end of this push, to `collect`.
            first.page.store(producer.page, Release);
        }
    }
}

/// The main lane's end.
pub(crate) struct TableConsumer<T> {
    table: Arc<Table<T>>,
    /// The number of the lane's page.
    page: u64,
    late: Option<Late>,
    /// Values taken beyond the bound, for the next cut (T5).
    held: Vec<Unread<T>>,
}

/// A place that was being written when its page was taken.
#[derive(Clone, Copy)]
struct Late {
    page: u64,
    place: usize,
    /// The number of the push that writes it.
    number: u64,
}

impl<T> TableConsumer<T> {
    /// True when a value may be waiting.
    #[inline]
    pub(crate) fn has_visible(&self) -> bool {
        // Relaxed: whoever relies on a no has synchronised with the producer already, by P1, P4 or P5, or looks again (B1).
        let is_named = self.table.first.page.load(Relaxed) == self.page;
        is_named || !self.held.is_empty() || self.late.is_some_and(|late| self.has_ended(late.number))
    }

    /// Takes every unread value with a key below `bound`; true if there was any.
    #[inline]
    pub(crate) fn collect(&mut self, bound: Bound, mut take: impl FnMut(Unread<T>)) -> bool {
        // P9: the first push on this page has ended. Looked at first: by the time that a push has ended on this page, the
        // one that was late on the other has, and its place is taken before this page is.
        let is_named = self.table.first.page.load(Acquire) == self.page;
        if !is_named && self.held.is_empty() && self.late.is_none() {
            return false;
        }
        let mut added = self.take_held(bound, &mut take);
        added |= self.take_late(bound, &mut take);
        // T4: if the first was not below the bound, nothing is.
        if is_named && self.table.first.key.load(Relaxed) < bound.0 {
            added |= self.take_page(bound, &mut take);
            // By now, it has ended more often than not.
            added |= self.take_late(bound, &mut take);
        }
        added
    }

    fn take_late(&mut self, bound: Bound, take: &mut impl FnMut(Unread<T>)) -> bool {
        match self.late {
            Some(Late { page, place, number }) if self.has_ended(number) => {
                self.late = None;
                self.take_place(page, place, bound, take)
            }
            _ => false,
        }
    }

    fn take_held(&mut self, bound: Bound, take: &mut impl FnMut(Unread<T>)) -> bool {
        let before = self.held.len();
        self.held.extract_if(.., |value| value.key < bound.0).for_each(take);
        self.held.len() < before
    }

    fn take_page(&mut self, bound: Bound, take: &mut impl FnMut(Unread<T>)) -> bool {
        let page = self.page;
        let filled = self.flip();
        let late = self.late.map(|late| late.place);
        let mut added = false;
        for place in (0..filled).filter(|place| Some(*place) != late) {
            added |= self.take_place(page, place, bound, take);
        }
        added
    }

    /// Takes the lane's page, and gives it the other one. Returns how many places are filled.
    fn flip(&mut self) -> usize {
        debug_assert!(self.late.is_none(), "what was late was taken, or nothing was pushed since");
        let pushes = &self.table.pushes;
        // P6: what was pushed before is visible, and the place of a push that is under way. P7: the other page is empty.
        let number = pushes.begun.fetch_add(PAGE, AcqRel) & !PAGE;
        let page = self.page;
        self.page += 1;
        // P10: if this is the place of a later push, the one that began last on our page is seen to have ended.
        let place = pushes.place.load(Acquire);
        if !self.has_ended(number) && place != NOWHERE {
            self.late = Some(Late { page, place: place as usize, number });
        }
        // The lane does not write this again before it has the page again, but for the late place.
        pushes.filled[page as usize & 1].load(Relaxed) as usize
    }

    /// True when the push with this number has ended.
    #[inline]
    fn has_ended(&self, number: u64) -> bool {
        // P8: what it wrote is visible.
        self.table.pushes.done.load(Acquire) >= number
    }

    fn take_place(&mut self, page: u64, place: usize, bound: Bound, take: &mut impl FnMut(Unread<T>)) -> bool {
        // SAFETY: T1. The page is ours, and no push that began before we took it is still in this place.
        let value = self.table.pages[page as usize & 1][place].with_mut(|value| unsafe { (*value).take() });
        match value {
            Some(value) if value.key < bound.0 => {
                take(value);
                true
            }
            Some(value) => {
                self.held.push(value);
                false
            }
            // Coalescing unwound.
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unread(key: u64, item: u32) -> Unread<u32> {
        Unread { key, sequence: 0, parts: 1, item }
    }

    /// Puts a value in a place that is filled, or in the next.
    fn put(producer: &mut TableProducer<u32>, place: usize, value: Unread<u32>) {
        let mut writing = producer.begin(Some(place));
        if writing.is_first() || place == writing.producer.filled {
            writing.fill(value);
        } else {
            writing.with_place(|place| *place = Some(value));
        }
    }

    fn collect(consumer: &mut TableConsumer<u32>, bound: Bound) -> Vec<u32> {
        let mut items = Vec::new();
        consumer.collect(bound, |value| items.push(value.item));
        items
    }

    #[test]
    fn a_page_beyond_the_bound_stays_and_is_coalesced_further() {
        let (mut producer, mut consumer) = table(100);
        put(&mut producer, 0, unread(4, 1));
        assert_eq!(collect(&mut consumer, Bound(4)), [] as [u32; 0]);
        assert!(consumer.has_visible(), "it is left, not forgotten");
        put(&mut producer, 0, unread(6, 2));
        assert_eq!(collect(&mut consumer, Bound(7)), [2]);
        assert!(!consumer.has_visible());
    }

    #[test]
    fn a_value_beyond_the_bound_on_a_page_that_is_taken_is_held_for_the_next_cut() {
        let (mut producer, mut consumer) = table(100);
        put(&mut producer, 0, unread(2, 1));
        put(&mut producer, 1, unread(4, 2));
        assert_eq!(collect(&mut consumer, Bound(4)), [1]);
        put(&mut producer, 0, unread(4, 3));
        assert_eq!(collect(&mut consumer, Bound(4)), [] as [u32; 0], "another pass of the same cut");
        assert!(consumer.has_visible(), "it is held, not forgotten");
        assert_eq!(collect(&mut consumer, Bound(6)), [2, 3]);
        assert!(!consumer.has_visible());
    }

    #[test]
    fn a_key_that_is_always_written_just_after_the_bound_is_applied_every_other_cut() {
        let (mut producer, mut consumer) = table(2);
        let mut applied = Vec::new();
        for cut in 1..=9 {
            let bound = Bound(10 * cut + 1);
            put(&mut producer, 0, unread(10 * cut + 2, cut as u32));
            // Two passes, as every cut has at least.
            applied.extend(collect(&mut consumer, bound));
            applied.extend(collect(&mut consumer, bound));
        }
        assert_eq!(
            applied,
            [2, 4, 6, 8],
            "a page that was left is taken by the next cut, and its value held for the one after"
        );
    }

    #[test]
    fn a_push_that_is_under_way_comes_late_and_holds_nothing_up() {
        let (mut producer, mut consumer) = table(3);
        (0..3).for_each(|item| put(&mut producer, item, unread(2, item as u32)));
        let mut writing = producer.begin(Some(1));
        assert_eq!(collect(&mut consumer, Bound::OPEN), [0, 2]);
        assert!(!consumer.has_visible(), "there is nothing to be had of a push that stands still");
        writing.with_place(|place| *place = Some(unread(3, 7)));
        drop(writing);
        assert!(consumer.has_visible());
        put(&mut producer, 0, unread(4, 8));
        assert_eq!(collect(&mut consumer, Bound::OPEN), [7, 8]);
        assert!(!consumer.has_visible());
    }

    #[test]
    fn a_push_that_touches_nothing_leaves_nothing_late() {
        let (mut producer, mut consumer) = table(1);
        put(&mut producer, 0, unread(2, 1));
        let writing = producer.begin(None);
        assert_eq!(collect(&mut consumer, Bound::OPEN), [1]);
        drop(writing);
        assert!(!consumer.has_visible());
    }

    #[test]
    fn pages_go_round() {
        let (mut producer, mut consumer) = table(2);
        let mut taken = Vec::new();
        for n in 0..1000 {
            put(&mut producer, 0, unread(2 * u64::from(n), n));
            taken.extend(collect(&mut consumer, Bound::OPEN));
        }
        assert!(taken.into_iter().eq(0..1000));
    }
}

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
//! - **T6 what is in a place**: of the lane's page, places are filled in order, and those that are hold a value or nothing. Of the other, none
//!   does but the announced one, if it was filled. What was taken stays where it was, and is nobody's: so the main lane writes
//!   to no place, and its lines go one way.
//!
//! # Pairs
//! | pair | release                                | acquire                                | hands over                     |
//! |------|----------------------------------------|----------------------------------------|--------------------------------|
//! | P6   | `begun`, `TableProducer::begin`        | `begun`, `TableConsumer::flip`         | what ended pushes wrote, and the announced place |
//! | P7   | `begun`, `TableConsumer::flip`         | `begun`, `TableProducer::begin`        | a page that was read           |
//! | P8   | `done`, `Writing::end`                 | `done`, `TableConsumer::has_ended`     | the announced place's value    |
//! | P9   | `first`, `Writing::fill`               | `first`, `TableConsumer::collect`      | its key, and that the push ended |
//! | P10  | `place`, `TableProducer::begin`        | `place`, `TableConsumer::flip`         | the end of the push before     |
//!
//! Model: `loom-tests/src/table.rs`.

#![expect(unsafe_code, reason = "places are handed over by the word that names the lane's page, T1")]

use std::mem::{self, ManuallyDrop};
use std::ops::Range;
use std::ptr::slice_from_raw_parts_mut;

use crate::clock::Bound;
use crate::sync::{
    Arc, AtomicU64, CachePadded,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
    Row, prefetch,
};

/// The most values that can be unread on one lane.
pub(crate) const KEYS_MAX: usize = 1 << 20;

/// The bit of `begun` that names the lane's page; the others number its pushes.
const PAGE: u64 = 1 << 63;
/// Announced by a push that will touch nothing, unless it finds a fresh page.
const NOWHERE: usize = usize::MAX;
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

/// Places for what is unread; nothing if coalescing unwound. Which of them are filled, T6 says.
type Page<T> = Row<Option<Unread<T>>>;

struct Table<T> {
    pages: [Page<T>; 2],
    pushes: CachePadded<Pushes>,
    first: CachePadded<First>,
    /// The place that was late when the main lane's end was dropped.
    left_late: AtomicU64,
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

// SAFETY: T1. A place is touched only by the side that owns it, and P6, P7 and P8 order those accesses; so values go from one thread
// to another, and are never shared.
unsafe impl<T: Send> Send for Table<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Table<T> {}
// SAFETY: as above; the pages are the table's.
unsafe impl<T: Send> Send for TableProducer<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for TableConsumer<T> {}

/// A table with room for so many values.
pub(crate) fn table<T>(capacity: usize) -> (TableProducer<T>, TableConsumer<T>) {
    debug_assert!(capacity <= KEYS_MAX);
    let zero = || AtomicU64::new(0);
    let pages = [Row::new(capacity), Row::new(capacity)];
    let table = Arc::new(Table {
        pages: pages.clone(),
        pushes: CachePadded::new(Pushes { begun: zero(), done: zero(), place: zero(), filled: [zero(), zero()] }),
        first: CachePadded::new(First { page: AtomicU64::new(NO_PAGE), key: zero() }),
        left_late: AtomicU64::new(NOWHERE as u64),
    });
    let [places, others] = pages.clone();
    let producer = TableProducer { table: table.clone(), places, others, page: 0, page_bit: 0, filled: 0 };
    (producer, TableConsumer { table, pages, page: 0, late: None, held: Vec::new() })
}

impl<T> Drop for Table<T> {
    fn drop(&mut self) {
        if !mem::needs_drop::<T>() {
            return;
        }
        // Relaxed: both ends are dropped, and what they did happened before this.
        let filled = |page: usize| self.pushes.filled[page].load(Relaxed) as usize;
        let lane = usize::from(self.pushes.begun.load(Relaxed) & PAGE != 0);
        let named = self.first.page.load(Relaxed);
        // The lane's page has its newest values, unless it has not come to it: then it is the one before that is named (T3).
        let on_lane = if named != NO_PAGE && named as usize & 1 == lane { filled(lane) } else { 0 };
        let late = self.left_late.load(Relaxed) as usize;
        let late = Some(late).filter(|late| *late < filled(1 - lane));
        // SAFETY: T6. It is filled and was not taken, and nobody else has this table.
        let _late = late.map(|late| unsafe { taken(&self.pages[1 - lane], late) });
        // SAFETY: as above. Where one unwinds as it is dropped, the others are dropped all the same.
        self.pages[lane]
            .with_mut(0..on_lane, |first| unsafe { slice_from_raw_parts_mut(first, on_lane).drop_in_place() });
    }
}

/// Takes what is in a place, which stays where it was, and is nobody's.
///
/// # Safety
/// It is filled, and the caller's, and is not looked at again before it is filled anew.
#[inline(always)]
unsafe fn taken<T>(page: &Page<T>, place: usize) -> Option<Unread<T>> {
    // SAFETY: the caller's promise.
    page.with(place..place + 1, |value| unsafe { value.read() })
}

/// The lane's end.
pub(crate) struct TableProducer<T> {
    table: Arc<Table<T>>,
    /// The places of the page that the last push found, and those of the other.
    places: Page<T>,
    others: Page<T>,
    /// The number of that page, and its bit.
    page: u64,
    page_bit: u64,
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
    const AHEAD: usize = AHEAD / size_of::<Option<Unread<T>>>();

    /// Asks for places that are going to be filled, which were the main lane's; for none if not all of them exist.
    #[inline]
    fn prefetch(&self, places: Range<usize>) {
        let size = size_of::<Option<Unread<T>>>();
        if Self::AHEAD > 0 && places.end <= self.places.len() {
            prefetch::to_write(self.places.address() + places.start * size, places.len() * size);
        }
    }

    /// Begins a push that may touch `place`, which is filled or the next to be, or with `None` nothing; unless it finds a
    /// fresh page.
    #[inline]
    pub(crate) fn begin(&mut self, place: Option<usize>) -> Begun<'_, T> {
        let place = place.unwrap_or(NOWHERE);
        // P10: whoever sees this sees the end of the push before, so it cannot be taken for the place of that one.
        self.table.pushes.place.store(place as u64, Release);
        // P6: hands the pushes before this one, and its place, to `flip`. P7: if the page is another one, it was read.
        let begun = self.table.pushes.begun.fetch_add(1, AcqRel) ^ self.page_bit;
        if begun & PAGE == 0 {
            Begun::SamePage(Writing { number: begun + 1, place, producer: self })
        } else {
            Begun::FreshPage(self.turn_over(begun))
        }
    }

    /// The lane has the other page, on which nothing is (T2).
    #[cold]
    fn turn_over(&mut self, begun: u64) -> Writing<'_, T> {
        mem::swap(&mut self.places, &mut self.others);
        (self.page, self.page_bit, self.filled) = (self.page + 1, self.page_bit ^ PAGE, 0);
        self.prefetch(0..Self::AHEAD.min(self.places.len()));
        Writing { number: (begun ^ PAGE) + 1, place: 0, producer: self }
    }
}

/// A push that was begun.
pub(crate) enum Begun<'a, T> {
    /// On the page that the last one was on.
    SamePage(Writing<'a, T>),
    /// The main lane has taken that page, and everything on it is read. It may fill the first place.
    FreshPage(Writing<'a, T>),
}

/// A push under way. It ends when this is dropped.
pub(crate) struct Writing<'a, T> {
    producer: &'a mut TableProducer<T>,
    number: u64,
    place: usize,
}

impl<T> Writing<'_, T> {
    /// Hands `access` what is in the place that this push may touch.
    ///
    /// # Panics
    /// When that is not filled.
    #[inline]
    pub(crate) fn with_place<R>(&mut self, access: impl FnOnce(&mut Option<Unread<T>>) -> R) -> R {
        let producer = &*self.producer;
        let place = self.place;
        assert!(place < producer.filled, "a place that is filled");
        // SAFETY: T1. The page is the lane's, and if it is taken while we write, all but the place announced for this push is;
        // a fresh page is not taken before this push has ended (T2). T6: it is filled, and was not taken.
        producer.places.with_mut(place..place + 1, |value| access(unsafe { &mut *value }))
    }

    /// Fills the place that this push may touch. The push ends when `then` was called, which must not unwind.
    ///
    /// # Panics
    /// When that is not the next to be filled, or all are.
    #[inline]
    pub(crate) fn fill(self, value: Unread<T>, then: impl FnOnce()) {
        let (key, place, producer) = (value.key, self.place, &mut *self.producer);
        assert!(place == producer.filled && place < producer.places.len(), "places are filled in order");
        // SAFETY: T1, as above. T6: nothing is in it, and there is such a place.
        producer.places.with_mut(place..place + 1, |place| unsafe { place.write(Some(value)) });
        let names_page = producer.filled == 0;
        producer.filled += 1;
        let ahead = producer.filled + TableProducer::<T>::AHEAD;
        producer.prefetch(ahead - 1..ahead);
        // Handed over by P6, or by P8 if the page is taken before this push has ended; then it does not matter, for
        // the place is the announced one.
        producer.table.pushes.filled[producer.page as usize & 1].store(producer.filled as u64, Relaxed);
        then();
        let ended = ManuallyDrop::new(self);
        ended.end();
        if names_page {
            let first = &ended.producer.table.first;
            first.key.store(key, Relaxed);
            // P9: hands the key, and the end of this push, to `collect`.
            first.page.store(ended.producer.page, Release);
        }
    }

    #[inline]
    fn end(&self) {
        // P8: hands the place to `has_ended`.
        self.producer.table.pushes.done.store(self.number, Release);
    }
}

/// One store, which is inlined wherever something may unwind. If it were a call there, each push would be put in memory for it, by stores that
/// the next push's locked instruction waits for.
impl<T> Drop for Writing<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.end();
    }
}

/// The main lane's end.
pub(crate) struct TableConsumer<T> {
    table: Arc<Table<T>>,
    pages: [Page<T>; 2],
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
                // If it is not, that push unwound.
                place < self.filled(page) && self.take_place(page, place, bound, take)
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
        self.flip();
        let late = self.late.map(|late| late.place);
        let mut added = false;
        for place in (0..self.filled(page)).filter(|place| Some(*place) != late) {
            added |= self.take_place(page, place, bound, take);
        }
        added
    }

    /// How many places of a page that was taken are filled, but for one that is late.
    fn filled(&self, page: u64) -> usize {
        // Relaxed: the lane does not write this again before it has the page again, but for the late place.
        self.table.pushes.filled[page as usize & 1].load(Relaxed) as usize
    }

    /// Takes the lane's page, and gives it the other one.
    fn flip(&mut self) {
        debug_assert!(self.late.is_none(), "what was late was taken, or nothing was pushed since");
        let pushes = &self.table.pushes;
        // P6: what was pushed before is visible, and the place of a push that is under way. P7: the other page was read.
        let number = pushes.begun.fetch_add(PAGE, AcqRel) & !PAGE;
        let page = self.page;
        self.page += 1;
        // P10: if this is the place of a later push, the one that began last on our page is seen to have ended.
        let place = pushes.place.load(Acquire) as usize;
        if !self.has_ended(number) && place != NOWHERE {
            self.late = Some(Late { page, place, number });
        }
    }

    /// True when the push with this number has ended.
    #[inline]
    fn has_ended(&self, number: u64) -> bool {
        // P8: what it wrote is visible.
        self.table.pushes.done.load(Acquire) >= number
    }

    /// Of a place that is filled and was not taken.
    #[inline(always)]
    fn take_place(&mut self, page: u64, place: usize, bound: Bound, take: &mut impl FnMut(Unread<T>)) -> bool {
        // SAFETY: T1. The page is ours, and no push that began before we took it is still in this place. T6: it is filled.
        let value = unsafe { taken(&self.pages[page as usize & 1], place) };
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

impl<T> Drop for TableConsumer<T> {
    fn drop(&mut self) {
        if let Some(late) = self.late {
            self.table.left_late.store(late.place as u64, Relaxed);
        }
    }
}

//! Which place of the table's page a key has, what is coalesced there, and what is shed when there are more keys than
//! places.
//!
//! Everything here is the lane's own: no other thread sees it. The hand-over is in `lane/table.rs`.
//!
//! A key is known as long as its value is unread: when the main lane takes the page, all keys are unknown at once, and places are
//! filled from the first on. When all are filled, the value to shed is of the lowest tier the one that has been unread longest,
//! the newcomer included.

use std::hash::{BuildHasher, Hash};
use std::mem;

use foldhash::fast::RandomState;

use crate::event::{Coalesced, Tier};
use crate::lane::index::{Index, Vacant};
use crate::lane::table::{Begun, TableProducer, Unread, Writing};

/// What became of a lossy push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It is the only unread value of its key.
    Inserted,
    /// It met an unread value of its key.
    Coalesced(Coalesced),
    /// It is in the table, and a value of another key was shed for it.
    InsteadOf,
    /// It was itself the one to shed.
    Shed,
    /// Coalescing unwound: it is gone, and so is the value that it met.
    Lost,
}

/// The lane's end of the table, by key.
pub(crate) struct Coalescer<K, T> {
    table: TableProducer<T>,
    hasher: RandomState,
    page: Page<K>,
}

impl<K: Eq + Hash, T> Coalescer<K, T> {
    pub(crate) fn new(table: TableProducer<T>, capacity: usize) -> Self {
        Self { table, hasher: RandomState::default(), page: Page::new(capacity) }
    }

    /// Puts `value` where the main lane finds it, coalesced with the unread value of its key if there is one. Its item is made where
    /// it is put: to move it once more costs more than to say how.
    ///
    /// `count` is told what became of it, once, and must not unwind; after that nothing runs of the host's but what drops a value that is shed. If
    /// `combine` unwinds, both values are gone. If the key's own code does, before that, the new one is gone and not counted.
    ///
    /// Returns the key that there is one too many of, to be dropped when all is done: the host's `drop` may take long, and may panic.
    #[inline]
    pub(crate) fn push(
        &mut self,
        key: K,
        tier: Tier,
        value: Unread<impl FnOnce() -> T>,
        combine: impl FnOnce(&mut T, T) -> Coalesced,
        count: impl FnOnce(Pushed),
    ) -> Option<K> {
        let Self { table, hasher, page } = self;
        let hash = hash(hasher, &key);
        let found = page.index.find(hash, |place| page.is_at(place, hash, &key));
        if found.is_ok() || !page.is_full() {
            let opened = Opened::begin(table, page, found, hash, key, tier);
            if let (Ok(place), true) = (found, opened.is_unread) {
                page.set_tier(place, tier);
            }
            opened.put(value, combine, count)
        } else {
            self.shed_for(hash, key, tier, value, combine, count)
        }
    }

    /// Begins to push a value of a key that is quickly found, with the same tier, or that is not there and has a place to go to. Of another,
    /// nothing was done.
    ///
    /// Always inline: a call has its registers put away, stores that the locked instruction in it waits for. Nor is anything called or indexed
    /// between that and the value: where something may unwind, what is to be dropped then is in memory.
    #[inline(always)]
    pub(crate) fn open(&mut self, key: K, tier: Tier) -> Result<Opened<'_, K, T>, K> {
        let Self { table, hasher, page } = self;
        if !page.index.is_level() {
            return Err(key);
        }
        let hash = hash(hasher, &key);
        let found = page.index.find_on_top(hash, |place| page.is_at(place, hash, &key));
        let is_quick = match found {
            Ok(place) => page.has_tier(place, tier),
            Err(_) => !page.is_full(),
        };
        if !is_quick {
            return Err(key);
        }
        Ok(Opened::begin(table, page, found, hash, key, tier))
    }

    /// For a key that has no place, when all are filled.
    #[cold]
    fn shed_for(
        &mut self,
        hash: u32,
        key: K,
        tier: Tier,
        value: Unread<impl FnOnce() -> T>,
        combine: impl FnOnce(&mut T, T) -> Coalesced,
        count: impl FnOnce(Pushed),
    ) -> Option<K> {
        let Self { table, page, .. } = self;
        let victim = page.first_to_shed(tier);
        let mut writing = match table.begin(victim.map(|place| place as usize)) {
            Begun::SamePage(writing) => writing,
            Begun::FreshPage(writing) => {
                let forgotten = page.begin_with(hash, key, tier);
                return Opened { writing, is_unread: false, forgotten }.put(value, combine, count);
            }
        };
        let Some(place) = victim else {
            count(Pushed::Shed);
            return Some(key);
        };
        let forgotten = page.rename(place, hash, key, tier);
        let shed = writing.with_place(|place| place.replace(value.made()));
        count(if shed.is_some() { Pushed::InsteadOf } else { Pushed::Inserted });
        drop(writing);
        // When everything is in its place: the host's `drop` may panic.
        drop(shed);
        Some(forgotten)
    }
}

#[inline]
fn hash<K: Hash>(hasher: &RandomState, key: &K) -> u32 {
    hasher.hash_one(key) as u32
}

/// A push that was begun: what is left is to write the value.
pub(crate) struct Opened<'a, K, T> {
    writing: Writing<'a, T>,
    /// The key has an unread value, in the place that is to be written.
    is_unread: bool,
    /// The key that there is one too many of.
    forgotten: Option<K>,
}

impl<'a, K, T> Opened<'a, K, T> {
    /// Of a key that was found in its place, or of which it was found where it would be; then not all places are filled.
    #[inline(always)]
    fn begin(
        table: &'a mut TableProducer<T>,
        page: &mut Page<K>,
        found: Result<u32, Vacant>,
        hash: u32,
        key: K,
        tier: Tier,
    ) -> Self {
        let (writing, is_unread, forgotten) = match found {
            Ok(place) => match table.begin(Some(place as usize)) {
                Begun::SamePage(writing) => (writing, true, Some(key)),
                Begun::FreshPage(writing) => (writing, false, page.begin_with(hash, key, tier)),
            },
            Err(vacant) => match table.begin(Some(table.filled())) {
                Begun::SamePage(writing) => (writing, false, page.fill(vacant, hash, key, tier)),
                Begun::FreshPage(writing) => (writing, false, page.begin_with(hash, key, tier)),
            },
        };
        Self { writing, is_unread, forgotten }
    }

    /// As [`Coalescer::push`].
    #[inline]
    pub(crate) fn put(
        self,
        value: Unread<impl FnOnce() -> T>,
        combine: impl FnOnce(&mut T, T) -> Coalesced,
        count: impl FnOnce(Pushed),
    ) -> Option<K> {
        // In this order: the push ends first, also when the rule unwinds.
        let Self { forgotten, mut writing, is_unread } = self;
        if is_unread {
            writing.with_place(|place| Coalescing { place, count: Some(count) }.run(value, combine));
            drop(writing);
        } else {
            writing.fill(value.made(), || count(Pushed::Inserted));
        }
        forgotten
    }
}

/// Coalescing under way: if the rule unwinds, the place is emptied.
struct Coalescing<'a, T, C: FnOnce(Pushed)> {
    place: &'a mut Option<Unread<T>>,
    count: Option<C>,
}

impl<T, C: FnOnce(Pushed)> Coalescing<'_, T, C> {
    #[inline]
    fn run(mut self, value: Unread<impl FnOnce() -> T>, combine: impl FnOnce(&mut T, T) -> Coalesced) {
        let pushed = match &mut self.place {
            Some(unread) => {
                let Unread { key, sequence, parts, item } = value;
                let coalesced = combine(&mut unread.item, item());
                (unread.key, unread.sequence, unread.parts) = (key, sequence, unread.parts.saturating_add(parts));
                Pushed::Coalesced(coalesced)
            }
            // An earlier rule unwound.
            empty => {
                **empty = Some(value.made());
                Pushed::Inserted
            }
        };
        if let Some(count) = self.count.take() {
            count(pushed);
        }
    }
}

impl<T, C: FnOnce(Pushed)> Drop for Coalescing<'_, T, C> {
    #[inline]
    fn drop(&mut self) {
        if let Some(count) = self.count.take() {
            count(Pushed::Lost);
            *self.place = None;
        }
    }
}

/// The places of the lane's page that are filled, each with its key, in the order in which their values became unread, by tier.
struct Page<K> {
    index: Index,
    /// Those that were ever filled, on this page or before.
    places: Vec<Place<K>>,
    capacity: usize,
    lists: [List; Tier::COUNT],
}

struct Place<K> {
    key: K,
    hash: u32,
    tier: u8,
    before: u32,
    after: u32,
}

/// The first and the last place; `END` for none.
#[derive(Clone, Copy)]
struct List {
    first: u32,
    last: u32,
}

const END: u32 = u32::MAX;
const NOTHING: List = List { first: END, last: END };

impl<K> Page<K> {
    fn new(capacity: usize) -> Self {
        let (index, places) = (Index::new(capacity), Vec::with_capacity(capacity));
        Self { index, places, capacity, lists: [NOTHING; Tier::COUNT] }
    }

    #[inline]
    fn is_full(&self) -> bool {
        self.index.filled() as usize == self.capacity
    }

    #[inline]
    fn is_at(&self, place: u32, hash: u32, key: &K) -> bool
    where
        K: Eq,
    {
        let known = &self.places[place as usize];
        known.hash == hash && known.key == *key
    }

    /// The lane has a page on which nothing is: fills the first place of it. Returns the key that had it on an earlier page.
    #[inline(never)]
    fn begin_with(&mut self, hash: u32, key: K, tier: Tier) -> Option<K> {
        self.lists = [NOTHING; Tier::COUNT];
        let vacant = self.index.begin_page(hash);
        self.fill(vacant, hash, key, tier)
    }

    /// Fills the next place, of which there must be one. Returns the key that had it on an earlier page.
    #[inline(always)]
    fn fill(&mut self, vacant: Vacant, hash: u32, key: K, tier: Tier) -> Option<K> {
        let place = self.index.filled();
        self.index.fill(vacant, hash);
        let before = self.append(place, tier);
        let filled = Place { key, hash, tier: tier.number(), before, after: END };
        match self.places.get_mut(place as usize) {
            Some(known) => Some(mem::replace(known, filled).key),
            None => {
                self.places.push(filled);
                None
            }
        }
    }

    /// The place whose value is shed for one of this tier; none if that one is itself the first to shed.
    fn first_to_shed(&self, tier: Tier) -> Option<u32> {
        self.lists[..=tier.number() as usize].iter().map(|list| list.first).find(|first| *first != END)
    }

    #[inline]
    fn has_tier(&self, place: u32, tier: Tier) -> bool {
        self.places[place as usize].tier == tier.number()
    }

    /// The value in this place is of this tier now.
    fn set_tier(&mut self, place: u32, tier: Tier) {
        if !self.has_tier(place, tier) {
            self.move_to(place, tier);
        }
    }

    /// Gives a place to another key, which has none. Returns the one that had it.
    fn rename(&mut self, place: u32, hash: u32, key: K, tier: Tier) -> K {
        self.index.rename(place, hash, |place| self.places[place as usize].hash);
        self.move_to(place, tier);
        let renamed = &mut self.places[place as usize];
        renamed.hash = hash;
        mem::replace(&mut renamed.key, key)
    }

    /// To the end of a tier.
    #[cold]
    fn move_to(&mut self, place: u32, tier: Tier) {
        self.unlink(place);
        let before = self.append(place, tier);
        let moved = &mut self.places[place as usize];
        (moved.tier, moved.before, moved.after) = (tier.number(), before, END);
    }

    fn unlink(&mut self, place: u32) {
        let Place { tier, before, after, .. } = self.places[place as usize];
        let list = &mut self.lists[tier as usize];
        match before {
            END => list.first = after,
            before => self.places[before as usize].after = after,
        }
        match after {
            END => list.last = before,
            after => self.places[after as usize].before = before,
        }
    }

    /// Puts a place at the end of a list. Returns the one that it is behind.
    #[inline]
    fn append(&mut self, place: u32, tier: Tier) -> u32 {
        let list = &mut self.lists[tier.number() as usize];
        let last = mem::replace(&mut list.last, place);
        match self.places.get_mut(last as usize) {
            Some(last) => last.after = place,
            None => list.first = place,
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Bound;
    use crate::lane::coalesce_twin::{Twin, Value};
    use crate::lane::table::{TableConsumer, table};
    use proptest::prelude::*;

    fn coalescer(capacity: usize) -> (Coalescer<u32, u64>, TableConsumer<u64>) {
        let (producer, consumer) = table(capacity);
        (Coalescer::new(producer, capacity), consumer)
    }

    fn push(lane: &mut Coalescer<u32, u64>, key: u32, tier: Tier, item: u64) -> Pushed {
        let unread = Unread { key: 2, sequence: item, parts: 1, item: move || item };
        let replace = |old: &mut u64, newer| {
            *old = newer;
            Coalesced::Replaced
        };
        let mut became = None;
        lane.push(key, tier, unread, replace, |pushed| became = Some(pushed));
        became.expect("each push is counted")
    }

    fn take(consumer: &mut TableConsumer<u64>) -> Vec<u64> {
        let mut items = Vec::new();
        consumer.collect(Bound::OPEN, |value| items.push(value.item));
        items.sort_unstable();
        items
    }

    #[test]
    fn the_lowest_tier_goes_first_and_within_it_the_oldest() {
        let (mut lane, mut main) = coalescer(3);
        push(&mut lane, 1, Tier::NORMAL, 1);
        push(&mut lane, 2, Tier::BACKGROUND, 2);
        push(&mut lane, 3, Tier::BACKGROUND, 3);
        // Key 2 is written again, and has been unread longest all the same.
        push(&mut lane, 2, Tier::BACKGROUND, 4);
        assert_eq!(push(&mut lane, 4, Tier::NORMAL, 5), Pushed::InsteadOf);
        assert_eq!(take(&mut main), [1, 3, 5]);
    }

    #[test]
    fn a_newcomer_of_the_lowest_tier_is_itself_shed() {
        let (mut lane, mut main) = coalescer(2);
        push(&mut lane, 1, Tier::NORMAL, 1);
        push(&mut lane, 2, Tier::VISIBLE, 2);
        assert_eq!(push(&mut lane, 3, Tier::BACKGROUND, 3), Pushed::Shed);
        assert_eq!(take(&mut main), [1, 2]);
    }

    #[test]
    fn a_taken_value_makes_room_before_anything_is_shed() {
        let (mut lane, mut main) = coalescer(2);
        push(&mut lane, 1, Tier::VISIBLE, 1);
        push(&mut lane, 2, Tier::BACKGROUND, 2);
        take(&mut main);
        assert_eq!(push(&mut lane, 2, Tier::BACKGROUND, 3), Pushed::Inserted);
        assert_eq!(push(&mut lane, 3, Tier::BACKGROUND, 4), Pushed::Inserted, "key 1 is unread no more");
        assert_eq!(take(&mut main), [3, 4]);
    }

    #[test]
    fn a_coalesced_value_has_the_newers_place_and_stands_for_all_its_parts() {
        let (mut lane, mut main) = coalescer(1);
        for (sequence, parts) in [(1, 1), (5, 3), (9, 1)] {
            let unread = Unread { key: 2 * sequence, sequence, parts, item: move || sequence };
            let add = |sum: &mut u64, newer| {
                *sum += newer;
                Coalesced::Merged
            };
            lane.push(1, Tier::NORMAL, unread, add, |_| ());
        }
        let mut taken = Vec::new();
        main.collect(Bound::OPEN, |value| taken.push((value.key, value.sequence, value.parts, value.item)));
        assert_eq!(taken, [(18, 9, 5, 15)]);
    }

    #[test]
    fn an_unwinding_rule_loses_the_pair_and_keeps_the_table_whole() {
        let (mut lane, mut main) = coalescer(1);
        push(&mut lane, 1, Tier::NORMAL, 1);
        let mut lost = false;
        let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let unread = Unread { key: 2, sequence: 2, parts: 1, item: || 2 };
            lane.push(1, Tier::NORMAL, unread, |_, _| panic!("rule"), |pushed| lost = pushed == Pushed::Lost)
        }));
        assert!(unwound.is_err() && lost);
        assert_eq!(push(&mut lane, 1, Tier::NORMAL, 3), Pushed::Inserted);
        assert_eq!(take(&mut main), [3]);
    }

    thread_local! {
        /// How many more times a [`Brittle`] is hashed before it panics.
        static HASHES: std::cell::Cell<u32> = const { std::cell::Cell::new(u32::MAX) };
    }

    #[derive(Clone, PartialEq, Eq)]
    struct Brittle(u32);

    impl Hash for Brittle {
        fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
            let left = HASHES.get();
            assert!(left > 0, "hash");
            HASHES.set(left - 1);
            self.0.hash(state);
        }
    }

    #[test]
    fn a_key_whose_hash_panics_once_never_shares_a_place_with_another() {
        // When the value of key 3 is pushed, and not then.
        for hashes in 0..2 {
            let (producer, mut main) = table(2);
            let mut lane = Coalescer::new(producer, 2);
            let mut push = |key: u32, item: u64| {
                let unread = Unread { key: 2, sequence: item, parts: 1, item: move || item };
                let rule = |old: &mut u64, newer: u64| {
                    assert_eq!(*old / 100, newer / 100, "coalesced with a value of its own key");
                    *old = newer;
                    Coalesced::Replaced
                };
                lane.push(Brittle(key), Tier::NORMAL, unread, rule, |_| ());
            };
            push(1, 100);
            push(2, 200);
            take(&mut main);
            HASHES.set(hashes);
            let hashing = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| push(3, 300)));
            HASHES.set(u32::MAX);
            assert_eq!(take(&mut main), if hashing.is_ok() { vec![300] } else { vec![] });
            for (round, keys) in [[4, 1], [3, 4], [1, 5], [5, 1], [1, 3], [2, 1], [1, 2]].into_iter().enumerate() {
                let mut items = keys.map(|key| u64::from(key) * 100 + round as u64 + 1);
                keys.into_iter().zip(items).for_each(|(key, item)| push(key, item));
                items.sort_unstable();
                assert_eq!(take(&mut main), items, "after {hashes} hashes, round {round}");
            }
        }
    }

    #[test]
    fn the_key_that_there_is_one_too_many_of_is_handed_back() {
        let (producer, mut main) = table(1);
        let mut lane = Coalescer::new(producer, 1);
        let mut push = |key: &'static str, tier| {
            let unread = Unread { key: 2, sequence: 0, parts: 1, item: || 0 };
            // No two of them lie in one place.
            lane.push(Box::new(key), tier, unread, |_, _| Coalesced::Replaced, |_| ()).map(|key| *key)
        };
        assert_eq!(push("first", Tier::NORMAL), None);
        assert_eq!(push("first", Tier::NORMAL), Some("first"), "its value was unread");
        assert_eq!(push("second", Tier::NORMAL), Some("first"), "its value was shed");
        assert_eq!(push("third", Tier::BACKGROUND), Some("third"), "it was itself shed");
        take(&mut main);
        assert_eq!(push("fourth", Tier::NORMAL), Some("second"), "its value was read");
    }

    thread_local! {
        /// How many more times a [`Thorny`] is dropped before that panics.
        static DROPS: std::cell::Cell<u32> = const { std::cell::Cell::new(u32::MAX) };
    }

    #[derive(PartialEq, Eq, Hash)]
    struct Thorny(u32);

    impl Drop for Thorny {
        fn drop(&mut self) {
            let left = DROPS.get();
            DROPS.set(left.wrapping_sub(1));
            assert!(left > 0, "drop");
        }
    }

    #[test]
    fn a_key_that_panics_as_it_is_dropped_does_so_when_all_is_done() {
        // The key of the push that meets a value, of the place that is filled anew, of the value that is shed, of the one that is itself shed.
        let pushes = [(1, Tier::NORMAL), (3, Tier::NORMAL), (4, Tier::NORMAL), (5, Tier::BACKGROUND)];
        for (at, (key, tier)) in pushes.into_iter().enumerate() {
            let (producer, mut main) = table(2);
            let mut lane = Coalescer::new(producer, 2);
            let mut push = |key: u32, tier, item: u64| {
                let mut became = None;
                let unread = Unread { key: 2, sequence: item, parts: 1, item: move || item };
                let rule = |old: &mut u64, newer| {
                    *old = newer;
                    Coalesced::Replaced
                };
                let push = std::panic::AssertUnwindSafe(|| {
                    lane.push(Thorny(key), tier, unread, rule, |pushed| became = Some(pushed));
                });
                (std::panic::catch_unwind(push).is_err(), became)
            };
            push(1, Tier::NORMAL, 1);
            if at == 1 {
                assert_eq!(take(&mut main), [1]);
            } else {
                push(2, Tier::NORMAL, 2);
            }
            DROPS.set(0);
            let unwound = push(key, tier, 10);
            DROPS.set(u32::MAX);
            let (became, expected) = [
                (Pushed::Coalesced(Coalesced::Replaced), vec![2, 10]),
                (Pushed::Inserted, vec![10]),
                (Pushed::InsteadOf, vec![2, 10]),
                (Pushed::Shed, vec![1, 2]),
            ][at]
                .clone();
            assert_eq!(unwound, (true, Some(became)));
            assert_eq!(take(&mut main), expected);
            assert_eq!(push(1, Tier::NORMAL, 20), (false, Some(Pushed::Inserted)));
            assert_eq!(take(&mut main), [20]);
        }
    }

    proptest! {
        #[test]
        fn behaves_as_the_slow_twin(
            steps in proptest::collection::vec((0u32..6, 0u8..3, proptest::bool::weighted(0.2)), 1..200)
        ) {
            let (mut lane, mut main) = coalescer(3);
            let mut twin = Twin::new(3);
            for (n, (key, tier, taking)) in steps.into_iter().enumerate() {
                let (n, tier) = (n as u64, Tier::new(tier));
                let expected = twin.push(key, tier, Value { key: 2, sequence: n, parts: 1, item: n }, |older, newer| {
                    *older = newer;
                    Some(Coalesced::Replaced)
                });
                prop_assert_eq!(push(&mut lane, key, tier, n), expected);
                if taking {
                    let values = twin.collect(Bound::OPEN.0).into_iter().map(|value| value.item);
                    prop_assert_eq!(take(&mut main), values.collect::<Vec<_>>());
                }
            }
        }
    }
}

//! Which place of the table's page a key has, what is coalesced there, and what is shed when there are more keys than
//! places.
//!
//! Everything here is the lane's own: no other thread sees it. The hand-over is in `lane/table.rs`.
//!
//! A key has an *entry* (`lane/entries.rs`), which remembers where its value was put. When the main lane takes the page, all
//! entries are idle at once: no place is filled. A key that has no entry gets a fresh one, else one that is idle. When all places of
//! the page are filled, the value to shed is of the lowest tier the one that has been unread longest, the newcomer included.

use std::hash::Hash;

use crate::event::{Coalesced, Tier};
use crate::lane::entries::{Entries, Put};
use crate::lane::table::{TableProducer, Unread, Writing};

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
    entries: Entries<K>,
    page: Page,
}

impl<K: Clone + Eq + Hash, T> Coalescer<K, T> {
    pub(crate) fn new(table: TableProducer<T>, capacity: usize) -> Self {
        Self { table, entries: Entries::new(capacity), page: Page::new(capacity) }
    }

    /// Puts `value` where the main lane finds it, coalesced with the unread value of its key if there is one. Its item is made where
    /// it is put: to move it once more costs more than to say how.
    ///
    /// `count` is told what became of it, once; after that nothing runs of the host's but what drops values and keys. If
    /// `combine` unwinds, both values are gone. If the key's own code does, before that, the new one is gone and not counted.
    #[inline]
    pub(crate) fn push(
        &mut self,
        key: &K,
        tier: Tier,
        value: Unread<impl FnOnce() -> T>,
        combine: impl FnOnce(&mut T, T) -> Coalesced,
        count: impl FnOnce(Pushed),
    ) {
        match self.entries.find(key) {
            Some(entry) => self.open_at(entry, tier).put(value, combine, count),
            None => self.insert(key, tier, value, combine, count),
        }
    }

    /// Begins to push a value of a key that has an entry. If it has none, nothing was done.
    #[inline]
    pub(crate) fn open(&mut self, key: &K, tier: Tier) -> Option<Opened<'_, T>> {
        let entry = self.entries.find(key)?;
        Some(self.open_at(entry, tier))
    }

    /// There is room: of as many entries as places, each that is on the page has one.
    ///
    /// Always inline: a call has its registers put away, stores that the locked instruction in it waits for.
    #[inline(always)]
    fn open_at(&mut self, entry: u32, tier: Tier) -> Opened<'_, T> {
        let Self { table, entries, page } = self;
        let put = &mut entries.at(entry).put;
        let unread = page.place_of(*put);
        let writing = table.begin(Some(unread.map_or(table.filled(), |place| place as usize)));
        let is_unread = match unread {
            Some(place) if !writing.is_first() => {
                if put.tier() != tier.number() {
                    *put = page.move_to(place, put.tier(), tier);
                }
                true
            }
            _ => {
                if writing.is_first() {
                    page.clear();
                }
                *put = page.fill(entry, tier);
                false
            }
        };
        Opened { writing, is_unread }
    }

    /// For a key that has no entry.
    #[cold]
    fn insert(
        &mut self,
        key: &K,
        tier: Tier,
        value: Unread<impl FnOnce() -> T>,
        combine: impl FnOnce(&mut T, T) -> Coalesced,
        count: impl FnOnce(Pushed),
    ) {
        if !self.page.is_full() {
            let (entry, _forgotten) = self.entries.assign(key, |put| self.page.place_of(put).is_none());
            return self.open_at(entry, tier).put(value, combine, count);
        }
        let victim = self.page.first_to_shed(tier);
        let mut writing = self.table.begin(victim.map(|place| place as usize));
        if writing.is_first() {
            // There is room now.
            drop(writing);
            self.page.clear();
            return self.insert(key, tier, value, combine, count);
        }
        let Some(place) = victim else { return count(Pushed::Shed) };
        let entry = self.page.places[place as usize].entry;
        let _forgotten = self.entries.rename(entry, key);
        let put = &mut self.entries.at(entry).put;
        *put = self.page.move_to(place, put.tier(), tier);
        let shed = writing.with_place(|place| place.replace(value.made()));
        count(if shed.is_some() { Pushed::InsteadOf } else { Pushed::Inserted });
        // Dropped last, when everything is in its place: the host's `drop` may panic.
        drop(writing);
        drop(shed);
    }
}

/// A push that was begun: what is left is to write the value.
pub(crate) struct Opened<'a, T> {
    writing: Writing<'a, T>,
    /// The key has an unread value, in the place that is to be written.
    is_unread: bool,
}

impl<T> Opened<'_, T> {
    /// As [`Coalescer::push`].
    #[inline]
    pub(crate) fn put(
        self,
        value: Unread<impl FnOnce() -> T>,
        combine: impl FnOnce(&mut T, T) -> Coalesced,
        count: impl FnOnce(Pushed),
    ) {
        let Self { mut writing, is_unread } = self;
        if is_unread {
            return writing.with_place(|place| Coalescing { place, count: Some(count) }.run(value, combine));
        }
        writing.fill(value.made());
        count(Pushed::Inserted);
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

/// The places of the lane's page that are filled, in the order in which their values became unread, by tier.
struct Page {
    /// How many values had been put anywhere before the first on this page.
    before: u64,
    filled: u32,
    places: Box<[Place]>,
    lists: [List; Tier::COUNT],
}

#[derive(Clone, Copy)]
struct Place {
    entry: u32,
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

impl Page {
    fn new(capacity: usize) -> Self {
        let place = Place { entry: END, before: END, after: END };
        // One, so that what was put as number zero is nowhere.
        Self { before: 1, filled: 0, places: vec![place; capacity].into(), lists: [NOTHING; Tier::COUNT] }
    }

    #[inline]
    fn is_full(&self) -> bool {
        self.filled as usize == self.places.len()
    }

    /// Where on this page the value is, if it is. Told from how many were put before it, so that all entries are idle when a
    /// page begins.
    #[inline]
    fn place_of(&self, put: Put) -> Option<u32> {
        let place = put.number().wrapping_sub(self.before);
        (place < u64::from(self.filled)).then_some(place as u32)
    }

    /// The lane has a page on which nothing is.
    #[inline]
    fn clear(&mut self) {
        self.before += u64::from(self.filled);
        (self.filled, self.lists) = (0, [NOTHING; Tier::COUNT]);
    }

    /// Fills the next place.
    #[inline]
    fn fill(&mut self, entry: u32, tier: Tier) -> Put {
        let place = self.filled;
        self.filled += 1;
        self.places[place as usize].entry = entry;
        self.link(place, tier);
        Put::new(self.before + u64::from(place), tier)
    }

    /// The place whose value is shed for one of this tier; none if that one is itself the first to shed.
    fn first_to_shed(&self, tier: Tier) -> Option<u32> {
        self.lists[..=tier.number() as usize].iter().map(|list| list.first).find(|first| *first != END)
    }

    /// To the end of a tier.
    #[cold]
    fn move_to(&mut self, place: u32, from: u8, to: Tier) -> Put {
        self.unlink(place, from);
        self.link(place, to);
        Put::new(self.before + u64::from(place), to)
    }

    fn unlink(&mut self, place: u32, tier: u8) {
        let Place { before, after, .. } = self.places[place as usize];
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

    #[inline]
    fn link(&mut self, place: u32, tier: Tier) {
        let list = &mut self.lists[tier.number() as usize];
        let last = std::mem::replace(&mut list.last, place);
        let linked = &mut self.places[place as usize];
        (linked.before, linked.after) = (last, END);
        match last {
            END => list.first = place,
            last => self.places[last as usize].after = place,
        }
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
        lane.push(&key, tier, unread, replace, |pushed| became = Some(pushed));
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
        assert_eq!(push(&mut lane, 3, Tier::BACKGROUND, 4), Pushed::Inserted, "the entry of key 1 is idle");
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
            lane.push(&1, Tier::NORMAL, unread, add, |_| ());
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
            lane.push(&1, Tier::NORMAL, unread, |_, _| panic!("rule"), |pushed| lost = pushed == Pushed::Lost)
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
        // When the entry of key 1 goes to key 3: at the first look-up, and at each step of the change.
        for hashes in 0..4 {
            let (producer, mut main) = table(2);
            let mut lane = Coalescer::new(producer, 2);
            let mut push = |key: u32, item: u64| {
                let unread = Unread { key: 2, sequence: item, parts: 1, item: move || item };
                let rule = |old: &mut u64, newer: u64| {
                    assert_eq!(*old / 100, newer / 100, "coalesced with a value of its own key");
                    *old = newer;
                    Coalesced::Replaced
                };
                lane.push(&Brittle(key), Tier::NORMAL, unread, rule, |_| ());
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

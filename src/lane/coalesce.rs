//! Which entry of the table a key has, and what is shed when there are more keys than entries.
//!
//! Everything here is the lane's own: no other thread sees it. The hand-over is in `lane/table.rs`.
//!
//! An entry is *fresh* (never used), *waiting* (it may hold an unread value) or *idle* (its value was taken). A key that
//! has no entry gets a fresh one, else the entry that has been idle longest, else the entry of the value to shed: of the
//! lowest tier, the one that has waited longest, the newcomer included.

use std::collections::HashMap;
use std::hash::Hash;

use crate::event::{Coalesced, Tier};
use crate::lane::table::{SlotIndex, TableProducer, Unread};

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
}

/// The lane's end of the table, by key.
pub(crate) struct Coalescer<K, T> {
    table: TableProducer<T>,
    entry_of: HashMap<K, u32, foldhash::fast::RandomState>,
    entries: Vec<Entry<K>>,
    /// Which entry a slot was last put into.
    entry_of_slot: Vec<u32>,
    lists: [List; Tier::COUNT + 1],
    capacity: usize,
}

struct Entry<K> {
    key: K,
    /// The slot put last; an entry whose last slot has come back is idle.
    slot: u32,
    list: u8,
    before: u32,
    after: u32,
}

/// Entries in the order in which they were put; `END` for none.
#[derive(Clone, Copy)]
struct List {
    first: u32,
    last: u32,
}

const END: u32 = u32::MAX;
const IDLE: usize = Tier::COUNT;

impl<K: Clone + Eq + Hash, T> Coalescer<K, T> {
    pub(crate) fn new(table: TableProducer<T>, capacity: usize) -> Self {
        Self {
            table,
            // Twice the room: a map that is at most half full cleans up after removals in place, without allocating.
            entry_of: HashMap::with_capacity_and_hasher(2 * capacity, Default::default()),
            entries: Vec::with_capacity(capacity),
            entry_of_slot: vec![END; capacity + 1],
            lists: [List { first: END, last: END }; Tier::COUNT + 1],
            capacity,
        }
    }

    /// Puts `value` where the main lane finds it, coalesced with the unread value of its key if there is one.
    ///
    /// `combine` runs on the thread that pushes; if it unwinds, both values are gone, which `lost` is told.
    pub(crate) fn push(
        &mut self,
        key: &K,
        tier: Tier,
        mut value: Unread<T>,
        combine: impl FnOnce(&mut T, T) -> Coalesced,
        lost: impl FnOnce(),
    ) -> Pushed {
        let (entry, shed) = match self.entry_of.get(key) {
            Some(entry) => (*entry as usize, false),
            None => match self.assign(key, tier) {
                Some(assigned) => assigned,
                None => return Pushed::Shed,
            },
        };
        let mut outcome = if shed { Pushed::InsteadOf } else { Pushed::Inserted };
        let slot = match self.table.take_back(entry) {
            Some(slot) => {
                if let Some(mut unread) = self.table.take_value(&slot) {
                    let mut guard = Unwinding { table: &mut self.table, slot: Some(slot), lost: Some(lost) };
                    let coalesced = combine(&mut unread.item, value.item);
                    let slot = guard.disarm();
                    value = Unread { item: unread.item, parts: unread.parts.saturating_add(value.parts), ..value };
                    outcome = Pushed::Coalesced(coalesced);
                    slot
                } else {
                    slot
                }
            }
            None => self.free_slot(),
        };
        self.move_to(entry, tier.number() as usize);
        self.entries[entry].slot = slot.number() as u32;
        self.entry_of_slot[slot.number()] = entry as u32;
        self.table.put(entry, slot, value);
        outcome
    }

    /// An entry for a key that has none, and whether a value was shed for it.
    fn assign(&mut self, key: &K, tier: Tier) -> Option<(usize, bool)> {
        if self.entries.len() < self.capacity {
            let entry = self.entries.len();
            // Both copies first: a key whose `clone` panics leaves everything as it was.
            let (key, mapped) = (key.clone(), key.clone());
            self.entries.push(Entry { key, slot: END, list: IDLE as u8, before: END, after: END });
            self.link(entry, IDLE);
            self.entry_of.insert(mapped, entry as u32);
            return Some((entry, false));
        }
        if self.lists[IDLE].first == END {
            self.reclaim();
        }
        let (key, mapped) = (key.clone(), key.clone());
        let mut shed = None;
        let entry = match self.lists[IDLE].first {
            END => {
                let victim =
                    self.lists[..=tier.number() as usize].iter().find(|list| list.first != END)?.first as usize;
                // The main lane may have taken the value just now: then nothing is lost.
                if let Some(slot) = self.table.take_back(victim) {
                    shed = Some(self.table.take_value(&slot));
                    self.table.release(slot);
                }
                victim
            }
            idle => idle as usize,
        };
        self.entry_of.remove(&self.entries[entry].key);
        let before = std::mem::replace(&mut self.entries[entry].key, key);
        self.entry_of.insert(mapped, entry as u32);
        let is_shed = shed.is_some();
        // Dropped last, when everything is in its place: the host's `drop` may panic.
        drop((before, shed));
        Some((entry, is_shed))
    }

    fn free_slot(&mut self) -> SlotIndex {
        let Self { table, entries, entry_of_slot, lists, .. } = self;
        table.free_slot(|slot| settle(entries, entry_of_slot, lists, slot))
    }

    fn reclaim(&mut self) {
        let Self { table, entries, entry_of_slot, lists, .. } = self;
        table.reclaim(|slot| settle(entries, entry_of_slot, lists, slot));
    }

    fn move_to(&mut self, entry: usize, list: usize) {
        move_to(&mut self.entries, &mut self.lists, entry, list);
    }

    fn link(&mut self, entry: usize, list: usize) {
        link(&mut self.entries, &mut self.lists, entry, list);
    }
}

/// A slot has come back: if it was the last one put into its entry, that entry is idle.
fn settle<K>(entries: &mut [Entry<K>], entry_of_slot: &[u32], lists: &mut [List], slot: usize) {
    let entry = entry_of_slot[slot] as usize;
    if entries.get(entry).is_some_and(|entry| entry.slot as usize == slot) {
        move_to(entries, lists, entry, IDLE);
    }
}

fn move_to<K>(entries: &mut [Entry<K>], lists: &mut [List], entry: usize, list: usize) {
    if lists[list].last == entry as u32 {
        return;
    }
    unlink(entries, lists, entry);
    link(entries, lists, entry, list);
}

fn unlink<K>(entries: &mut [Entry<K>], lists: &mut [List], entry: usize) {
    let Entry { before, after, list, .. } = entries[entry];
    match before {
        END => lists[list as usize].first = after,
        before => entries[before as usize].after = after,
    }
    match after {
        END => lists[list as usize].last = before,
        after => entries[after as usize].before = before,
    }
}

fn link<K>(entries: &mut [Entry<K>], lists: &mut [List], entry: usize, list: usize) {
    let last = lists[list].last;
    entries[entry].list = list as u8;
    entries[entry].before = last;
    entries[entry].after = END;
    match last {
        END => lists[list].first = entry as u32,
        last => entries[last as usize].after = entry as u32,
    }
    lists[list].last = entry as u32;
}

/// Gives the slot back if coalescing unwinds.
struct Unwinding<'a, T, F: FnOnce()> {
    table: &'a mut TableProducer<T>,
    slot: Option<SlotIndex>,
    lost: Option<F>,
}

impl<T, F: FnOnce()> Unwinding<'_, T, F> {
    fn disarm(&mut self) -> SlotIndex {
        self.lost = None;
        match self.slot.take() {
            Some(slot) => slot,
            None => unreachable!("armed with a slot, disarmed once"),
        }
    }
}

impl<T, F: FnOnce()> Drop for Unwinding<'_, T, F> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.table.release(slot);
        }
        if let Some(lost) = self.lost.take() {
            lost();
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
        let unread = Unread { key: 2, sequence: item, parts: 1, item };
        let replace = |old: &mut u64, newer| {
            *old = newer;
            Coalesced::Replaced
        };
        lane.push(&key, tier, unread, replace, || ())
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
        // Key 2 is written again, so key 3 has now waited longest.
        push(&mut lane, 2, Tier::BACKGROUND, 4);
        assert_eq!(push(&mut lane, 4, Tier::NORMAL, 5), Pushed::InsteadOf);
        assert_eq!(take(&mut main), [1, 4, 5]);
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
            let unread = Unread { key: 2 * sequence, sequence, parts, item: sequence };
            let add = |sum: &mut u64, newer| {
                *sum += newer;
                Coalesced::Merged
            };
            lane.push(&1, Tier::NORMAL, unread, add, || ());
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
            let unread = Unread { key: 2, sequence: 2, parts: 1, item: 2 };
            lane.push(&1, Tier::NORMAL, unread, |_, _| panic!("rule"), || lost = true)
        }));
        assert!(unwound.is_err() && lost);
        assert_eq!(push(&mut lane, 1, Tier::NORMAL, 3), Pushed::Inserted);
        assert_eq!(take(&mut main), [3]);
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
                prop_assert_eq!(Some(push(&mut lane, key, tier, n)), expected);
                if taking {
                    let values = twin.collect(Bound::OPEN.0).into_iter().map(|value| value.item);
                    prop_assert_eq!(take(&mut main), values.collect::<Vec<_>>());
                }
            }
        }
    }
}

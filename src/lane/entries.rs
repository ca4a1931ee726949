//! The keys that a lane remembers, each with an entry, and where the value of each was put last.
//!
//! A table of open addressing, at most a quarter full, or half where that is much memory. Its slots hold nothing but hashes and the
//! numbers of entries: a look-up goes to one line for the slot and to one for the entry. An entry that is given to another key leaves the table
//! by its hash, which is kept; so what a key does by itself and may unwind (`hash`, `eq`, `clone`) it does before anything changes.
//!
//! Source: linear probing, with deletion by moving back what follows (D. E. Knuth, *The Art of Computer Programming*,
//! volume 3, section 6.4, algorithms L and R).

use std::hash::{BuildHasher, Hash};

use foldhash::fast::RandomState;

use crate::event::Tier;
use crate::lane::table::KEYS_MAX;

/// Where the value of a key was put: how many values had been put anywhere before it, and below that its tier.
#[derive(Clone, Copy, Default)]
pub(super) struct Put(u64);

impl Put {
    #[inline]
    pub(super) fn new(number: u64, tier: Tier) -> Self {
        Put(number * Tier::COUNT as u64 + u64::from(tier.number()))
    }

    #[inline]
    pub(super) fn number(self) -> u64 {
        self.0 / Tier::COUNT as u64
    }

    #[inline]
    pub(super) fn tier(self) -> u8 {
        (self.0 % Tier::COUNT as u64) as u8
    }
}

/// A key, and where its value was put last.
pub(super) struct Entry<K> {
    key: K,
    hash: u32,
    /// Before the first it is nowhere.
    pub(super) put: Put,
}

/// The entries of at most `capacity` keys.
pub(super) struct Entries<K> {
    hasher: RandomState,
    slots: Box<[Slot]>,
    all: Vec<Entry<K>>,
    capacity: usize,
    /// Where to look for an idle one next.
    next: usize,
}

/// The number of an entry, counted from one, below the high bits of its hash; zero when it is empty.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Slot(u32);

const EMPTY: Slot = Slot(0);
/// So many bits have numbers up to `KEYS_MAX`.
const NUMBER_BITS: u32 = KEYS_MAX.ilog2() + 1;
const NUMBER: u32 = (1 << NUMBER_BITS) - 1;

/// So many entries have slots of which three quarters stay empty.
const ROOMY: usize = 1 << 12;

impl Slot {
    #[inline]
    fn of(hash: u32, entry: u32) -> Self {
        Slot((hash & !NUMBER) | (entry + 1))
    }

    #[inline]
    fn is_empty(self) -> bool {
        self == EMPTY
    }

    /// Its entry, if it may be one of this hash.
    #[inline]
    fn entry_of(self, hash: u32) -> Option<u32> {
        ((self.0 ^ hash) & !NUMBER == 0).then(|| self.entry())
    }

    #[inline]
    fn entry(self) -> u32 {
        (self.0 & NUMBER).wrapping_sub(1)
    }
}

impl<K: Clone + Eq + Hash> Entries<K> {
    /// No memory is asked for later.
    pub(super) fn new(capacity: usize) -> Self {
        // Look-ups that end at the first slot are told ahead by the processor; but what does not fit into its caches takes longer.
        let room = if capacity <= ROOMY { 4 } else { 2 };
        Self {
            hasher: RandomState::default(),
            slots: vec![EMPTY; (room * capacity).next_power_of_two()].into(),
            all: Vec::with_capacity(capacity),
            capacity,
            next: 0,
        }
    }

    #[inline]
    pub(super) fn at(&mut self, entry: u32) -> &mut Entry<K> {
        &mut self.all[entry as usize]
    }

    #[inline]
    fn hash(&self, key: &K) -> u32 {
        self.hasher.hash_one(key) as u32
    }

    /// The entry of a key.
    #[inline]
    pub(super) fn find(&self, key: &K) -> Option<u32> {
        let hash = self.hash(key);
        let mut at = self.home(hash);
        loop {
            let slot = self.slots[at];
            if slot.is_empty() {
                return None;
            }
            if let Some(entry) = slot.entry_of(hash)
                && self.all[entry as usize].key == *key
            {
                return Some(entry);
            }
            at = self.behind(at);
        }
    }

    /// Gives a key that has none an entry: a fresh one, else the next one that `is_idle` says yes to, of which there must be
    /// one. Returns it, and the key that had it.
    pub(super) fn assign(&mut self, key: &K, is_idle: impl Fn(Put) -> bool) -> (u32, Option<K>) {
        if self.all.len() < self.capacity {
            let (hash, key, entry) = (self.hash(key), key.clone(), self.all.len() as u32);
            self.all.push(Entry { key, hash, put: Put::default() });
            self.insert(hash, entry);
            return (entry, None);
        }
        while !is_idle(self.all[self.next].put) {
            self.next = (self.next + 1) % self.capacity;
        }
        let entry = self.next as u32;
        (entry, Some(self.rename(entry, key)))
    }

    /// Gives an entry to a key that has none. Returns the key that had it.
    pub(super) fn rename(&mut self, entry: u32, key: &K) -> K {
        let (hash, key) = (self.hash(key), key.clone());
        self.remove(entry);
        self.insert(hash, entry);
        let renamed = &mut self.all[entry as usize];
        renamed.hash = hash;
        std::mem::replace(&mut renamed.key, key)
    }

    fn insert(&mut self, hash: u32, entry: u32) {
        let mut at = self.home(hash);
        while !self.slots[at].is_empty() {
            at = self.behind(at);
        }
        self.slots[at] = Slot::of(hash, entry);
    }

    fn remove(&mut self, entry: u32) {
        let mut hole = self.home(self.all[entry as usize].hash);
        while self.slots[hole].entry() != entry {
            hole = self.behind(hole);
        }
        let mut at = self.behind(hole);
        while !self.slots[at].is_empty() {
            // What would be looked for in vain behind the hole moves into it.
            let home = self.home(self.all[self.slots[at].entry() as usize].hash);
            if self.distance(home, at) >= self.distance(hole, at) {
                self.slots[hole] = self.slots[at];
                hole = at;
            }
            at = self.behind(at);
        }
        self.slots[hole] = EMPTY;
    }

    #[inline]
    fn home(&self, hash: u32) -> usize {
        hash as usize & (self.slots.len() - 1)
    }

    #[inline]
    fn behind(&self, at: usize) -> usize {
        (at + 1) & (self.slots.len() - 1)
    }

    fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & (self.slots.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// Of three hashes in all, so that nearly every slot is behind another.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Colliding(u32);

    impl Hash for Colliding {
        fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
            (self.0 % 3).hash(state);
        }
    }

    proptest! {
        #[test]
        fn keys_have_the_entries_they_were_given(
            capacity in 1usize..6,
            steps in proptest::collection::vec((0u32..12, any::<bool>(), 0u32..6), 1..100)
        ) {
            let mut entries = Entries::new(capacity);
            let mut known: HashMap<u32, u32> = HashMap::new();
            for (key, renames, entry) in steps {
                let key = Colliding(key);
                if entries.find(&key).is_some() {
                    continue;
                }
                let (entry, forgotten) = if renames && known.len() == capacity {
                    let entry = entry % capacity as u32;
                    (entry, Some(entries.rename(entry, &key)))
                } else {
                    // One that was asked for is idle, whichever it is.
                    let idle = Put::new(u64::from(entry) + 1, Tier::NORMAL);
                    known.values().for_each(|entry| entries.at(*entry).put = Put::default());
                    if known.len() == capacity {
                        entries.at(entry % capacity as u32).put = idle;
                    }
                    entries.assign(&key, |put| put.number() == idle.number())
                };
                if let Some(forgotten) = forgotten {
                    prop_assert_eq!(known.remove(&forgotten.0), Some(entry));
                }
                known.insert(key.0, entry);
                for key in 0..12 {
                    prop_assert_eq!(entries.find(&Colliding(key)), known.get(&key).copied());
                }
            }
        }
    }

    #[test]
    fn a_number_and_a_tier_are_what_was_put() {
        for (number, tier) in [(0, 0), (1, 7), (1 << 60, 3)] {
            let put = Put::new(number, Tier::new(tier));
            assert_eq!((put.number(), put.tier()), (number, tier));
        }
    }
}

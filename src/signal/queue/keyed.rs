//! The newest signal of each key.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hash, Hasher};
use std::time::Instant;

use super::{Missed, QueueCounts, Run, Taken};

/// A key with its hash, so that a map in the middle of something never asks the host's code for one.
#[derive(Clone)]
pub(crate) struct Hashed<K> {
    hash: u64,
    key: K,
}

impl<K: Hash> Hashed<K> {
    pub(crate) fn new(key: K, state: &impl BuildHasher) -> Self {
        Self { hash: state.hash_one(&key), key }
    }
}

impl<K: Eq> PartialEq for Hashed<K> {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.key == other.key
    }
}

impl<K: Eq> Eq for Hashed<K> {}

impl<K> Hash for Hashed<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// A signal that waits: a run of one.
struct Waiting<T, K> {
    run: Run<T>,
    /// How many signals it stands for.
    parts: u32,
    /// What is missing right before it.
    missed: Missed,
    key: Hashed<K>,
}

pub(crate) struct Keyed<T, K> {
    capacity: usize,
    /// What waits, oldest first. A place is empty when a newer signal took in the one that was there.
    places: VecDeque<Option<Waiting<T, K>>>,
    /// The number of the first place.
    first: u64,
    used: usize,
    keys: HashMap<Hashed<K>, u64, foldhash::fast::RandomState>,
    /// What is missing before everything that waits.
    pub(super) missed_before: Missed,
    /// What is missing after everything that waits.
    pub(super) missed_after: Missed,
    pub(super) counts: QueueCounts,
}

impl<T, K: Clone + Eq> Keyed<T, K> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            places: VecDeque::new(),
            first: 0,
            used: 0,
            keys: HashMap::default(),
            missed_before: Missed::default(),
            missed_after: Missed::default(),
            counts: QueueCounts::default(),
        }
    }

    pub(super) fn depth(&self) -> usize {
        self.used
    }

    /// How many places there are, empty ones among them.
    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.places.len()
    }

    /// A signal that matches: a run of one. It takes in the one of its key that waits.
    pub(crate) fn offer(&mut self, run: Run<T>, key: Hashed<K>) {
        self.counts.matched += 1;
        // The host's code compares the keys; who waits is not touched until it has.
        let place = self.keys.get(&key).copied();
        let mut parts = 1;
        if let Some((older, at)) = place.and_then(|place| self.empty(place)) {
            self.counts.coalesced += 1;
            parts = older.parts.saturating_add(1);
            self.tell_later(older.missed, at);
        } else if self.used >= self.capacity
            && let Some(oldest) = self.pop()
        {
            self.counts.dropped += 1;
            self.missed_before.add(oldest.missed);
            self.missed_before.numbers(oldest.run.signals());
        }
        let missed = self.missed_after.take();
        self.append(Waiting { run, parts, missed, key });
    }

    /// A signal that matches, and of which no key could be had.
    pub(crate) fn unkeyed(&mut self, run: &Run<T>) {
        self.counts.matched += 1;
        self.counts.dropped += 1;
        self.missed_after.numbers(run.signals());
    }

    pub(super) fn take(&mut self, most: usize, into: &mut VecDeque<Taken<T>>, _: Instant) {
        let mut left = most;
        while left > 0
            && let Some(Waiting { run, parts, missed, .. }) = self.pop()
        {
            self.missed_before.add(missed);
            if !self.missed_before.is_none() {
                into.push_back(Taken::Missed(self.missed_before.take()));
            }
            left -= 1;
            self.counts.delivered += 1;
            into.push_back(Taken::One { run, parts });
        }
        if left > 0 {
            self.missed_before.add(self.missed_after.take());
            if !self.missed_before.is_none() {
                into.push_back(Taken::Missed(self.missed_before.take()));
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.used = 0;
        self.keys.clear();
        self.places.clear();
        (self.missed_before, self.missed_after) = Default::default();
    }

    /// Takes what waits there out of its place.
    fn empty(&mut self, place: u64) -> Option<(Waiting<T, K>, usize)> {
        let at = (place - self.first) as usize;
        let waiting = self.places.get_mut(at)?.take()?;
        self.used -= 1;
        Some((waiting, at))
    }

    /// Q2: what was missing before a place that is empty now is told before the next one that is not.
    fn tell_later(&mut self, missed: Missed, at: usize) {
        if missed.is_none() {
            return;
        }
        let next = self.places.range_mut(at..).flatten().next().map(|next| &mut next.missed);
        let later = next.unwrap_or(&mut self.missed_after);
        let mut all = missed;
        all.add(later.take());
        *later = all;
    }

    fn append(&mut self, waiting: Waiting<T, K>) {
        if self.places.len() >= 2 * self.capacity.max(8) {
            self.compact();
        }
        self.keys.insert(waiting.key.clone(), self.first + self.places.len() as u64);
        self.places.push_back(Some(waiting));
        self.used += 1;
    }

    /// Takes out the empty places: at most as many as signals came since the last time.
    fn compact(&mut self) {
        self.places.retain(Option::is_some);
        for (waiting, place) in self.places.iter().zip(self.first..) {
            if let Some(waiting) = waiting
                && let Some(known) = self.keys.get_mut(&waiting.key)
            {
                *known = place;
            }
        }
    }

    fn pop(&mut self) -> Option<Waiting<T, K>> {
        loop {
            let popped = self.places.pop_front()?;
            self.first += 1;
            if let Some(waiting) = popped {
                self.used -= 1;
                self.keys.remove(&waiting.key);
                return Some(waiting);
            }
        }
    }
}

//! The newest signal of each key.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hash};
use std::time::Instant;

use super::{Fallen, Missed, QueueCounts, Run, Taken};
use crate::core::contain;

/// A key with its hash: the host's code is asked for that once, before any lock is held.
pub(crate) struct Hashed<K> {
    hash: u64,
    key: K,
}

impl<K: Hash> Hashed<K> {
    pub(crate) fn new(key: K, state: &impl BuildHasher) -> Self {
        Self { hash: state.hash_one(&key), key }
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
    /// The place of the next older one whose key has the same hash.
    same_hash: Option<u64>,
}

pub(crate) struct Keyed<T, K> {
    capacity: usize,
    /// What waits, oldest first. A place is empty when a newer signal took in the one that was there.
    places: VecDeque<Option<Waiting<T, K>>>,
    /// The number of the first place.
    first: u64,
    used: usize,
    /// The newest place of each hash. It has no keys, so that nothing but a search runs the host's code.
    newest: HashMap<u64, u64, foldhash::fast::RandomState>,
    /// What is missing before everything that waits.
    pub(super) missed_before: Missed,
    /// What is missing after everything that waits.
    pub(super) missed_after: Missed,
    pub(super) counts: QueueCounts,
    pub(super) fallen: Fallen<T, K>,
}

impl<T, K: Eq> Keyed<T, K> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            places: VecDeque::new(),
            first: 0,
            used: 0,
            newest: HashMap::default(),
            missed_before: Missed::default(),
            missed_after: Missed::default(),
            counts: QueueCounts::default(),
            fallen: Fallen::default(),
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
    ///
    /// # Errors
    /// What the host's code said as it panicked in comparing keys. The signal is counted as one that matched, and nothing else is changed.
    pub(crate) fn offer(&mut self, run: Run<T>, key: Hashed<K>) -> Result<(), String> {
        self.counts.matched += 1;
        let place = match contain(|| self.find(&key)) {
            Ok(place) => place,
            Err(message) => {
                self.let_fall(key);
                return Err(message);
            }
        };
        let mut parts = 1;
        if let Some((older, at)) = place.and_then(|place| self.empty(place)) {
            self.counts.coalesced += 1;
            parts = older.parts.saturating_add(1);
            self.tell_later(older.missed, at);
            self.fallen.runs.push(older.run);
            self.let_fall(older.key);
        } else if self.used >= self.capacity
            && let Some(oldest) = self.pop()
        {
            self.counts.dropped += 1;
            self.missed_before.add(oldest.missed);
            self.missed_before.numbers(oldest.run.signals());
            self.fallen.runs.push(oldest.run);
            self.let_fall(oldest.key);
        }
        let missed = self.missed_after.take();
        self.append(Waiting { run, parts, missed, key, same_hash: None });
        Ok(())
    }

    /// A key that nobody needs.
    pub(crate) fn let_fall(&mut self, key: Hashed<K>) {
        if std::mem::needs_drop::<K>() {
            self.fallen.keys.push(key.key);
        }
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
            && let Some(Waiting { run, parts, missed, key, .. }) = self.pop()
        {
            self.let_fall(key);
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
        while let Some(waiting) = self.pop() {
            self.fallen.runs.push(waiting.run);
            self.let_fall(waiting.key);
        }
        (self.missed_before, self.missed_after) = Default::default();
    }

    /// Where the signal of this key waits. The one place that runs the host's code.
    fn find(&self, key: &Hashed<K>) -> Option<u64> {
        let mut next = self.newest.get(&key.hash).copied();
        while let Some(place) = next {
            let waiting = self.at(place)?;
            if waiting.key.key == key.key {
                return Some(place);
            }
            next = waiting.same_hash;
        }
        None
    }

    fn at(&self, place: u64) -> Option<&Waiting<T, K>> {
        self.places.get((place - self.first) as usize)?.as_ref()
    }

    /// Takes what waits there out of its place.
    fn empty(&mut self, place: u64) -> Option<(Waiting<T, K>, usize)> {
        let at = (place - self.first) as usize;
        let waiting = self.places.get_mut(at)?.take()?;
        self.used -= 1;
        self.unlink(place, &waiting);
        Some((waiting, at))
    }

    /// Takes a place that is empty now out of those of its hash.
    fn unlink(&mut self, place: u64, was_there: &Waiting<T, K>) {
        let Some(newest) = self.newest.get_mut(&was_there.key.hash) else { return };
        let mut newer = *newest;
        if newer == place {
            match was_there.same_hash {
                Some(older) => *newest = older,
                None => {
                    self.newest.remove(&was_there.key.hash);
                }
            }
            return;
        }
        while let Some(Some(waiting)) = self.places.get_mut((newer - self.first) as usize) {
            match waiting.same_hash {
                Some(older) if older != place => newer = older,
                _ => return waiting.same_hash = was_there.same_hash,
            }
        }
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

    fn append(&mut self, mut waiting: Waiting<T, K>) {
        if self.places.len() >= 2 * self.capacity.max(8) {
            self.compact();
        }
        waiting.same_hash = self.newest.insert(waiting.key.hash, self.first + self.places.len() as u64);
        self.places.push_back(Some(waiting));
        self.used += 1;
    }

    /// Takes out the empty places: at most as many as signals came since the last time.
    fn compact(&mut self) {
        self.places.retain(Option::is_some);
        self.newest.clear();
        for (waiting, place) in self.places.iter_mut().flatten().zip(self.first..) {
            waiting.same_hash = self.newest.insert(waiting.key.hash, place);
        }
    }

    fn pop(&mut self) -> Option<Waiting<T, K>> {
        loop {
            self.places.front()?;
            let oldest = self.empty(self.first);
            self.places.pop_front();
            self.first += 1;
            if let Some((waiting, _)) = oldest {
                return Some(waiting);
            }
        }
    }
}

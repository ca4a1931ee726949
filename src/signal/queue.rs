//! What waits for one subscriber, and what becomes of signals for which there is no room. No thread, no clock, no lock.
//!
//! # Invariants
//! - **Q1 all accounted for**: `matched = delivered + dropped + coalesced + waiting`.
//! - **Q2 told where it happened**: what is missing between two signals that are taken is told between the two: so many, from this
//!   number to that.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hash, Hasher};
use std::time::Instant;

use crate::backoff::{Backoff, Schedule};
use crate::signal::policy::Full;

/// Signals that a subscriber did not get, though they matched its filter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missed {
    /// How many.
    pub count: u64,
    /// The number of the first of them, if there are any.
    pub first: u64,
    /// The number of the last of them.
    pub last: u64,
    /// Signals of the family that were refused as they were published, because the dispatcher was behind: they never got a number,
    /// and nobody knows whether they would have matched. Their publishers have them back.
    pub refused: u64,
}

impl Missed {
    pub(crate) fn refused(count: u64) -> Self {
        Self { refused: count, ..Self::default() }
    }

    /// True when nothing is missing.
    pub fn is_none(&self) -> bool {
        self.count == 0 && self.refused == 0
    }

    fn number(&mut self, number: u64) {
        self.add(Self { count: 1, first: number, last: number, refused: 0 });
    }

    pub(crate) fn add(&mut self, later: Self) {
        match (self.count, later.count) {
            (_, 0) => {}
            (0, _) => (self.first, self.last) = (later.first, later.last),
            _ => (self.first, self.last) = (self.first.min(later.first), self.last.max(later.last)),
        }
        self.count += later.count;
        self.refused += later.refused;
    }

    pub(crate) fn take(&mut self) -> Self {
        std::mem::take(self)
    }
}

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

/// A signal that waits.
struct Waiting<I, K> {
    item: I,
    number: u64,
    /// How many signals it stands for.
    parts: u32,
    /// What is missing right before it.
    missed: Missed,
    key: Option<Hashed<K>>,
}

/// What a subscriber gets next.
#[derive(Debug, PartialEq)]
pub(crate) enum Taken<I> {
    Signal { item: I, parts: u32 },
    Missed(Missed),
}

/// What became of the signals that matched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct QueueCounts {
    pub(crate) matched: u64,
    pub(crate) delivered: u64,
    pub(crate) dropped: u64,
    pub(crate) coalesced: u64,
}

pub(crate) struct Queue<I, K> {
    full: Full,
    capacity: usize,
    /// What waits, oldest first. A place is empty when a newer signal took in the one that was there.
    places: VecDeque<Option<Waiting<I, K>>>,
    /// The number of the first place.
    first: u64,
    used: usize,
    keys: HashMap<Hashed<K>, u64, foldhash::fast::RandomState>,
    /// What is missing before everything that waits.
    missed_before: Missed,
    /// What is missing after everything that waits.
    missed_after: Missed,
    aside: Aside<I, K>,
    /// A blocking subscriber that held up its family for long enough.
    suspended: bool,
    pub(crate) counts: QueueCounts,
}

/// What is kept aside until there is room.
struct Aside<I, K> {
    waiting: VecDeque<Waiting<I, K>>,
    rests: Schedule,
    /// Looks that found no room.
    tried: u32,
    due: Option<Instant>,
}

impl<I, K: Clone + Eq> Queue<I, K> {
    pub(crate) fn new(full: Full, capacity: usize) -> Self {
        let backoff = match full {
            Full::Retry { backoff, .. } => backoff,
            _ => Backoff::NONE,
        };
        Self {
            full,
            capacity,
            places: VecDeque::new(),
            first: 0,
            used: 0,
            keys: HashMap::default(),
            missed_before: Missed::default(),
            missed_after: Missed::default(),
            aside: Aside { waiting: VecDeque::new(), rests: backoff.schedule(None), tried: 0, due: None },
            suspended: false,
            counts: QueueCounts::default(),
        }
    }

    /// How many signals wait.
    pub(crate) fn depth(&self) -> usize {
        self.used + self.aside.waiting.len()
    }

    /// True when there is nothing to take, and nothing to be told.
    pub(crate) fn is_empty(&self) -> bool {
        self.depth() == 0 && self.missed_before.is_none() && self.missed_after.is_none()
    }

    /// How many signals may come until whoever publishes has to wait.
    pub(crate) fn room(&self) -> usize {
        match self.full {
            Full::Block { .. } if !self.suspended => self.capacity - self.used,
            _ => usize::MAX,
        }
    }

    /// Nobody waits for this subscriber until it has read something.
    pub(crate) fn suspend(&mut self) {
        self.suspended = true;
    }

    /// A signal that matches. One with a key takes in the one of that key that waits.
    pub(crate) fn offer(&mut self, number: u64, item: I, key: Option<Hashed<K>>, now: Instant) {
        self.counts.matched += 1;
        let mut waiting = Waiting { item, number, parts: 1, missed: Missed::default(), key };
        // The host's code compares the keys; who waits is not touched until it has.
        let place = waiting.key.as_ref().and_then(|key| self.keys.get(key).copied());
        if let Some((older, at)) = place.and_then(|place| self.empty(place)) {
            self.counts.coalesced += 1;
            waiting.parts = older.parts.saturating_add(1);
            self.tell_later(older.missed, at);
        } else if self.used >= self.capacity || !self.aside.waiting.is_empty() {
            match self.full {
                Full::DropOldest | Full::CoalesceByKey => self.drop_oldest(),
                Full::DropNewest | Full::Block { .. } => return self.drop_newest(number),
                Full::Retry { .. } if self.aside.waiting.len() < self.capacity => return self.keep_aside(waiting, now),
                Full::Retry { .. } => return self.drop_newest(number),
            }
        }
        waiting.missed = self.missed_after.take();
        self.append(waiting);
    }

    /// A signal that matches, and of which no key could be had.
    pub(crate) fn unkeyed(&mut self, number: u64) {
        self.counts.matched += 1;
        self.drop_newest(number);
    }

    /// Signals that were refused as they were published belong after everything that waits.
    pub(crate) fn refused(&mut self, count: u64) {
        self.missed_after.add(Missed::refused(count));
    }

    /// What is next. `None` when there is nothing.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Taken<I>> {
        self.trim();
        let Some(Some(next)) = self.places.front_mut() else {
            self.missed_before.add(self.missed_after.take());
            let missed = self.missed_before.take();
            return (!missed.is_none()).then_some(Taken::Missed(missed));
        };
        self.missed_before.add(next.missed.take());
        if !self.missed_before.is_none() {
            return Some(Taken::Missed(self.missed_before.take()));
        }
        let Waiting { item, parts, .. } = self.pop()?;
        self.counts.delivered += 1;
        self.suspended = false;
        self.move_up(now);
        Some(Taken::Signal { item, parts })
    }

    /// Counts a look at what is kept aside, if one is due. Returns when the next one is.
    pub(crate) fn look_aside(&mut self, now: Instant) -> Option<Instant> {
        let Full::Retry { tries, .. } = self.full else { return None };
        let due = self.aside.due?;
        if due > now {
            return Some(due);
        }
        self.aside.tried += 1;
        if self.aside.tried < tries {
            self.aside.due = Some(now + self.aside.rests.rest());
            return self.aside.due;
        }
        let after = self.missed_after.take();
        while let Some(waiting) = self.aside.waiting.pop_front() {
            self.missed_after.add(waiting.missed);
            self.drop_newest(waiting.number);
        }
        self.missed_after.add(after);
        self.aside.anew(None);
        None
    }

    /// Forgets what waits: nobody will take it.
    pub(crate) fn clear(&mut self) {
        // Q1, also when the host's code panicked in the middle of an offer.
        let QueueCounts { matched, delivered, coalesced, .. } = self.counts;
        self.counts.dropped = matched - delivered - coalesced;
        self.used = 0;
        self.keys.clear();
        self.places.clear();
        self.aside.waiting.clear();
        self.aside.anew(None);
        (self.missed_before, self.missed_after) = Default::default();
    }

    /// Takes what waits there out of its place.
    fn empty(&mut self, place: u64) -> Option<(Waiting<I, K>, usize)> {
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

    fn append(&mut self, waiting: Waiting<I, K>) {
        if self.places.len() >= 2 * self.capacity.max(8) {
            self.compact();
        }
        if let Some(key) = &waiting.key {
            self.keys.insert(key.clone(), self.first + self.places.len() as u64);
        }
        self.places.push_back(Some(waiting));
        self.used += 1;
    }

    /// Takes out the empty places: at most as many as signals came since the last time.
    fn compact(&mut self) {
        self.places.retain(Option::is_some);
        for (waiting, place) in self.places.iter().zip(self.first..) {
            if let Some(key) = waiting.as_ref().and_then(|waiting| waiting.key.as_ref())
                && let Some(known) = self.keys.get_mut(key)
            {
                *known = place;
            }
        }
    }

    /// Drops empty places at the front.
    fn trim(&mut self) {
        while let Some(None) = self.places.front() {
            self.places.pop_front();
            self.first += 1;
        }
    }

    fn pop(&mut self) -> Option<Waiting<I, K>> {
        self.trim();
        let waiting = self.places.pop_front()??;
        self.first += 1;
        self.used -= 1;
        if let Some(key) = &waiting.key {
            self.keys.remove(key);
        }
        Some(waiting)
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.pop() {
            self.counts.dropped += 1;
            self.missed_before.add(oldest.missed);
            self.missed_before.number(oldest.number);
        }
    }

    fn drop_newest(&mut self, number: u64) {
        self.counts.dropped += 1;
        self.missed_after.number(number);
    }

    fn keep_aside(&mut self, mut waiting: Waiting<I, K>, now: Instant) {
        waiting.missed = self.missed_after.take();
        self.aside.waiting.push_back(waiting);
        if self.aside.due.is_none() {
            self.aside.anew(Some(now));
        }
    }

    /// There is room for one more.
    fn move_up(&mut self, now: Instant) {
        if let Some(waiting) = self.aside.waiting.pop_front() {
            self.append(waiting);
            let more = !self.aside.waiting.is_empty();
            self.aside.anew(more.then_some(now));
        }
    }
}

impl<I, K> Aside<I, K> {
    /// Counts looks from `now` on, if there is anything to look for.
    fn anew(&mut self, now: Option<Instant>) {
        self.tried = 0;
        self.rests.begin_anew();
        self.due = now.map(|now| now + self.rests.rest());
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;

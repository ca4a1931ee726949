//! What waits for one subscriber, and what becomes of signals for which there is no room. No thread, no clock, no lock.
//!
//! # Invariants
//! - **Q1 all accounted for**: `matched = delivered + dropped + coalesced + waiting`.
//! - **Q2 told where it happened**: what is missing between two signals that are taken is told between the two: so many, from this
//!   number to that.
//! - **Q3 nothing dropped here**: signals and keys are the host's, and may ask for whatever lock is held around the queue as they are
//!   dropped. What nobody needs any more has [fallen](Fallen) out of the queue, and waits for somebody to take it away.
//!
//! There are two: of signals in their order, whose unit is a [run](Runs) of them, and of the newest [of each key](Keyed).

mod keyed;
mod runs;

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Instant;

use crate::core::let_go;
use crate::signal::policy::Full;
use crate::signal::sent::{Batch, Sent};

pub(crate) use keyed::{Hashed, Keyed};
pub(crate) use runs::Runs;

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
    /// and nobody knows whether they would have matched. Their publishers have them back. What is refused in the moment in which the bus
    /// ends is counted alone.
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

    /// These signals are missing too.
    fn numbers<T>(&mut self, signals: &[Sent<T>]) {
        if let (Some(first), Some(last)) = (signals.first(), signals.last()) {
            self.add(Self { count: signals.len() as u64, first: first.number, last: last.number, refused: 0 });
        }
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

/// Signals of one batch that follow each other.
pub(crate) struct Run<T> {
    pub(crate) batch: Batch<T>,
    pub(crate) at: Range<usize>,
}

impl<T> Run<T> {
    pub(crate) fn signals(&self) -> &[Sent<T>] {
        &self.batch[self.at.clone()]
    }

    pub(crate) fn len(&self) -> usize {
        self.at.len()
    }

    /// The first of them, as a run of their own.
    fn split_off_front(&mut self, count: usize) -> Self {
        let middle = self.at.start + count.min(self.at.len());
        let front = Self { batch: self.batch.clone(), at: self.at.start..middle };
        self.at.start = middle;
        front
    }
}

/// Q3: signals and keys that nobody needs any more.
pub(crate) struct Fallen<T, K> {
    runs: Vec<Run<T>>,
    keys: Vec<K>,
}

impl<T, K> Default for Fallen<T, K> {
    fn default() -> Self {
        Self { runs: Vec::new(), keys: Vec::new() }
    }
}

impl<T, K> Fallen<T, K> {
    fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.keys.is_empty()
    }

    /// Drops them: where no lock is held.
    pub(crate) fn bury(&mut self) {
        self.keys.drain(..).for_each(let_go);
        self.runs.clear();
    }
}

/// What a subscriber gets next.
pub(crate) enum Taken<T> {
    /// Signals, each for itself.
    Run(Run<T>),
    /// A signal that stands for so many.
    One {
        run: Run<T>,
        parts: u32,
    },
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

/// One of the two.
pub(crate) enum Queue<T, K> {
    Runs(Runs<T>),
    Keyed(Keyed<T, K>),
}

/// Calls the same of either.
macro_rules! either {
    ($queue:expr, $its:ident => $call:expr) => {
        match $queue {
            Queue::Runs($its) => $call,
            Queue::Keyed($its) => $call,
        }
    };
}

impl<T, K: Eq> Queue<T, K> {
    pub(crate) fn new(full: Full, capacity: usize) -> Self {
        match full {
            Full::CoalesceByKey => Self::Keyed(Keyed::new(capacity)),
            _ => Self::Runs(Runs::new(full, capacity)),
        }
    }

    pub(crate) fn counts(&mut self) -> &mut QueueCounts {
        either!(self, its => &mut its.counts)
    }

    /// How many signals wait.
    pub(crate) fn depth(&self) -> usize {
        either!(self, its => its.depth())
    }

    /// True when there is nothing to take, and nothing to be told.
    pub(crate) fn is_empty(&self) -> bool {
        either!(self, its => its.depth() == 0 && its.missed_before.is_none() && its.missed_after.is_none())
    }

    /// How many signals may come until whoever publishes has to wait.
    pub(crate) fn room(&self) -> usize {
        match self {
            Self::Runs(runs) => runs.room(),
            Self::Keyed(_) => usize::MAX,
        }
    }

    /// Nobody waits for this subscriber until it has read something. False if it has room: it has read since somebody looked.
    pub(crate) fn suspend(&mut self) -> bool {
        match self {
            Self::Runs(runs) => runs.suspend(),
            Self::Keyed(_) => false,
        }
    }

    /// Signals that were refused as they were published belong after everything that waits.
    pub(crate) fn refused(&mut self, count: u64) {
        either!(self, its => its.missed_after.add(Missed::refused(count)));
    }

    /// Takes what waits longest: up to `most` signals, and what is missing before, between and after them.
    pub(crate) fn take(&mut self, most: usize, into: &mut VecDeque<Taken<T>>, now: Instant) {
        either!(self, its => its.take(most, into, now));
    }

    /// Counts a look at what is kept aside, if one is due. Returns when the next one is.
    pub(crate) fn look_aside(&mut self, now: Instant) -> Option<Instant> {
        match self {
            Self::Runs(runs) => runs.look_aside(now),
            Self::Keyed(_) => None,
        }
    }

    /// Forgets what waits: nobody will take it.
    pub(crate) fn clear(&mut self) {
        either!(self, its => its.clear());
        let counts = self.counts();
        // Q1, also of the one whose key could not be compared.
        counts.dropped = counts.matched - counts.delivered - counts.coalesced;
    }

    pub(crate) fn has_fallen(&self) -> bool {
        match self {
            Self::Runs(runs) => !runs.fallen.is_empty(),
            Self::Keyed(keyed) => !keyed.fallen.is_empty(),
        }
    }

    /// Q3: exchanges what has fallen out for what is to be used for that from here on, which is empty.
    pub(crate) fn swap_fallen(&mut self, fallen: &mut Fallen<T, K>) {
        match self {
            Self::Runs(runs) => std::mem::swap(&mut runs.fallen, &mut fallen.runs),
            Self::Keyed(keyed) => std::mem::swap(&mut keyed.fallen, fallen),
        }
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;

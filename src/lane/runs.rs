//! The keys of what is in a ring, kept beside it: one record for each run of keys that rise by two.
//!
//! A batch takes its stamps at once, and a producer that is alone takes them one after the other, so most slots need no key
//! of their own: it follows from that of the slot before. What crosses from one core to the other is what events cost, so
//! slots carry events alone, and a record is written only where the keys jump.
//!
//! # Invariants
//! - **R4 records before slots**: the record of a run is written before the first slot of the run is visible, and lies
//!   where the consumer looks for it: records are numbered, and record `n` is in place `n` of as many as there are slots.
//! - **R5 no record is lost**: a record is overwritten only after the consumer went past it. There are never more records
//!   unread than slots in use, for each stands for at least one of them, and a slot is written only when there is room.
//!
//! The accesses are `Relaxed`: a record is handed over by P1 with the slots it stands for, and its place is handed back by
//! P2 with them. The consumer never uses a record whose slots it has not seen.
//!
//! Model: `loom-tests/src/cut.rs`, as a part of the ring; a record written after its slot, or one place fewer than there are
//! slots, makes it fail.

use crate::sync::{Arc, AtomicU64, Ordering::Relaxed};

/// How far apart the keys of a run are.
pub(crate) const STEP: u64 = 2;

/// Where there is no value: after every key.
pub(crate) const NO_KEY: u64 = u64::MAX;

/// The key of the first slot, if no record says otherwise.
const FIRST: u64 = 1;

/// A run: the position after its first slot, and that slot's key.
struct Record {
    /// Zero where nothing was written yet. Positions rise, so that of an older record in the same place is lower.
    after: AtomicU64,
    key: AtomicU64,
}

/// For a ring of so many slots; none if keys will never jump.
pub(crate) fn runs(capacity: usize) -> (RunsProducer, RunsConsumer) {
    let blank = || Record { after: AtomicU64::new(0), key: AtomicU64::new(0) };
    let records: Arc<Vec<Record>> = Arc::new((0..capacity).map(|_| blank()).collect());
    let producer = RunsProducer { records: records.clone(), place: 0, offset: FIRST };
    (producer, RunsConsumer { records, run: Run::START, newest: Run::START })
}

/// The lane's end.
pub(crate) struct RunsProducer {
    records: Arc<Vec<Record>>,
    /// Where the next record goes.
    place: usize,
    /// What the keys of the run that was begun last are ahead of `STEP` times their positions.
    offset: u64,
}

impl RunsProducer {
    /// The slots from `position` on have the keys from `key` on. Before the first of them is visible, and only when there
    /// is one.
    #[inline]
    pub(crate) fn begin(&mut self, position: u64, key: u64) {
        let offset = key.wrapping_sub(STEP * position);
        if offset != self.offset {
            self.offset = offset;
            self.record(position, key);
        }
    }

    #[inline]
    fn record(&mut self, position: u64, key: u64) {
        let record = &self.records[self.place];
        // R4: P1 hands these over with the slots.
        record.key.store(key, Relaxed);
        record.after.store(position + 1, Relaxed);
        self.place = next(self.place, self.records.len());
    }
}

/// The main lane's end.
pub(crate) struct RunsConsumer {
    records: Arc<Vec<Record>>,
    run: Run,
    /// Ahead of it: the run of the newest slot that was looked at.
    newest: Run,
}

/// The run that a reader is in.
#[derive(Clone, Copy)]
struct Run {
    /// The position after its first; zero before the first record.
    after: u64,
    key: u64,
    /// Where the next record is, or will be.
    place: usize,
}

impl RunsConsumer {
    /// The key of the slot at `position`, and the position at which that run ends. Positions do not fall from one call to
    /// the next, and `position` is below `visible`, where that which is visible ends.
    #[inline]
    pub(crate) fn at(&mut self, position: u64, visible: u64) -> (u64, u64) {
        self.run.seek(&self.records, position, visible)
    }

    /// The key of the slot at `position`, from which no later call of this goes back.
    #[inline]
    pub(crate) fn newest(&mut self, position: u64, visible: u64) -> u64 {
        if self.newest.after < self.run.after {
            self.newest = self.run;
        }
        self.newest.seek(&self.records, position, visible).0
    }

    /// The key of the slot at `position`, without going there.
    pub(crate) fn look_at(&self, position: u64, visible: u64) -> u64 {
        let mut run = self.run;
        run.seek(&self.records, position, visible).0
    }
}

impl Run {
    const START: Run = Run { after: 0, key: FIRST, place: 0 };

    #[inline]
    fn seek(&mut self, records: &[Record], position: u64, visible: u64) -> (u64, u64) {
        loop {
            // Written in an earlier round, or never; or later than what is visible, and then not to be used yet.
            let after = records.get(self.place).map_or(0, |record| record.after.load(Relaxed));
            let end = if after > self.after { (after - 1).min(visible) } else { visible };
            if position < end {
                return (self.key + STEP * (position + 1 - self.after.max(1)), end);
            }
            // R4: a slot of this run is visible, so its record is written.
            self.key = records[self.place].key.load(Relaxed);
            self.after = after;
            self.place = next(self.place, records.len());
        }
    }
}

#[inline]
fn next(place: usize, places: usize) -> usize {
    if place + 1 == places { 0 } else { place + 1 }
}

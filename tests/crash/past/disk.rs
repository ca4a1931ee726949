//! A store in memory that can be held, slowed down, filled up and broken, copied at any moment, and that forgets nothing:
//! beside what a journal may leave behind it keeps all that it was ever given, for the twin.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use mainlane::journal::store::{
    Checkpoint, CheckpointHead, Identity, Quarantined, Record, RecordKind, Store, StoreError, TornTail, Write,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ill {
    /// For good: nothing was written, and nothing will be.
    Failed,
    /// For good, and this time it was written all the same.
    FailedAfter,
    /// So many times.
    Full(u64),
}

#[derive(Clone, Default)]
pub(crate) struct Rows {
    identity: Option<Identity>,
    records: Vec<Record>,
    pub(crate) checkpoints: Vec<Checkpoint>,
    quarantined: Vec<Quarantined>,
    /// Everything there ever was.
    pub(crate) all: Vec<Record>,
    pub(crate) marks: Vec<Quarantined>,
}

#[derive(Default)]
struct State {
    rows: Rows,
    held: bool,
    slow: Duration,
    ill: Option<(u64, Ill)>,
    appends: u64,
    /// Are there somebody's hands on it?
    open: usize,
}

#[derive(Clone, Default)]
pub(crate) struct Disk(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// The newest turn of an append that is about to return without an error.
    durable: AtomicU64,
}

impl Disk {
    pub(crate) fn hold(&self, held: bool) {
        self.0.state.lock().unwrap().held = held;
        self.0.changed.notify_all();
    }

    /// Each append takes so long.
    pub(crate) fn slow(&self, time: Duration) {
        self.0.state.lock().unwrap().slow = time;
    }

    /// From the append after so many.
    pub(crate) fn fall_ill(&self, after: u64, ill: Ill) {
        let mut state = self.0.state.lock().unwrap();
        state.ill = Some((state.appends + after + 1, ill));
    }

    /// The newest turn that may be called durable.
    pub(crate) fn durable(&self) -> u64 {
        self.0.durable.load(Ordering::SeqCst)
    }

    /// Another disk with the same on it, as the end of the process would leave it.
    pub(crate) fn copy(&self) -> Self {
        let copy = Self::default();
        let rows = self.rows();
        let newest = rows.all.last().map_or(0, |record| record.turn);
        copy.0.durable.store(newest, Ordering::SeqCst);
        copy.0.state.lock().unwrap().rows = rows;
        copy
    }

    pub(crate) fn rows(&self) -> Rows {
        self.0.state.lock().unwrap().rows.clone()
    }

    /// True when nobody writes any more by `deadline`.
    pub(crate) fn is_left(&self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let state = self.0.state.lock().unwrap();
        let (state, _) = self.0.changed.wait_timeout_while(state, left, |state| state.open > 0).unwrap();
        state.open == 0
    }
}

impl Rows {
    /// Which checkpoints a recovery may begin with, oldest first.
    pub(crate) fn bases(&self) -> Vec<u64> {
        let changes: Vec<_> = self.records.iter().filter(|record| record.kind != RecordKind::Batch).collect();
        let is_base = |turn: u64| changes.iter().all(|change| change.turn <= turn || change.reaches > turn);
        self.checkpoints.iter().map(|checkpoint| checkpoint.turn).filter(|turn| is_base(*turn)).collect()
    }

    /// The turns whose state can be had.
    pub(crate) fn reach(&self) -> (u64, u64) {
        let oldest = self.checkpoints.first().map_or(0, |checkpoint| checkpoint.turn);
        (oldest, self.records.last().map_or(oldest, |record| record.turn))
    }
}

pub(crate) struct Memory(Disk);

impl Memory {
    pub(crate) fn open(disk: &Disk) -> Self {
        disk.0.state.lock().unwrap().open += 1;
        Self(disk.clone())
    }

    fn read<T>(&self, read: impl FnOnce(&Rows) -> T) -> Result<T, StoreError> {
        Ok(read(&self.0.0.state.lock().unwrap().rows))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.0.0.state.lock().unwrap().open -= 1;
        self.0.0.changed.notify_all();
    }
}

impl Store for Memory {
    fn identity(&mut self) -> Result<Option<Identity>, StoreError> {
        self.read(|rows| rows.identity.clone())
    }

    fn begin(&mut self, identity: &Identity) -> Result<(), StoreError> {
        self.0.0.state.lock().unwrap().rows.identity = Some(identity.clone());
        Ok(())
    }

    fn torn_tail(&self) -> Option<TornTail> {
        None
    }

    fn append(&mut self, write: &Write) -> Result<(), StoreError> {
        let shared = &*self.0.0;
        let slow = shared.state.lock().unwrap().slow;
        if !slow.is_zero() {
            std::thread::sleep(slow);
        }
        let mut state = shared.changed.wait_while(shared.state.lock().unwrap(), |state| state.held).unwrap();
        state.appends += 1;
        let number = state.appends;
        let failed = || Err(StoreError::Failed { doing: "writing", reason: "the disk is gone".into() });
        let ill = state.ill.filter(|(from, ill)| match ill {
            Ill::Full(times) => (*from..from + times).contains(&number),
            Ill::Failed | Ill::FailedAfter => number >= *from,
        });
        let strikes_after = match ill {
            Some((_, Ill::Full(_))) => return Err(StoreError::Full { reason: "no space".into() }),
            Some((_, Ill::Failed)) => return failed(),
            Some((from, Ill::FailedAfter)) if number > from => return failed(),
            Some((_, Ill::FailedAfter)) => true,
            None => false,
        };
        let rows = &mut state.rows;
        rows.records.extend(write.records.iter().cloned());
        rows.all.extend(write.records.iter().cloned());
        rows.quarantined.extend(write.quarantined.iter().cloned());
        rows.marks.extend(write.quarantined.iter().cloned());
        if let Some(checkpoint) = &write.checkpoint {
            rows.checkpoints.retain(|other| other.turn != checkpoint.turn);
            rows.checkpoints.push(checkpoint.clone());
        }
        if let Some(before) = write.prune_before {
            rows.records.retain(|record| record.turn > before);
            rows.checkpoints.retain(|checkpoint| checkpoint.turn >= before);
            rows.quarantined.retain(|event| event.turn > before);
        }
        if strikes_after {
            return failed();
        }
        if let Some(record) = write.records.last() {
            shared.durable.store(record.turn, Ordering::SeqCst);
        }
        Ok(())
    }

    fn turns(&mut self) -> Result<Option<(u64, u64)>, StoreError> {
        self.read(|rows| Some((rows.records.first()?.turn, rows.records.last()?.turn)))
    }

    fn turn_before(&mut self, events: u64) -> Result<u64, StoreError> {
        self.read(|rows| {
            let mut left = events;
            let found = rows.records.iter().rev().find(|record| {
                left = left.saturating_sub(u64::from(record.events));
                left == 0
            });
            found.map_or(0, |record| record.turn - 1)
        })
    }

    fn records(&mut self, from: u64, read: &mut dyn FnMut(Record) -> bool) -> Result<(), StoreError> {
        let records = self.read(|rows| rows.records.clone())?;
        let _ = records.into_iter().filter(|record| record.turn >= from).all(read);
        Ok(())
    }

    fn checkpoints(&mut self) -> Result<Vec<CheckpointHead>, StoreError> {
        let head = |checkpoint: &Checkpoint| CheckpointHead {
            turn: checkpoint.turn,
            schema: checkpoint.schema,
            hash: checkpoint.hash,
            bytes: checkpoint.payload.len() as u64,
        };
        self.read(|rows| rows.checkpoints.iter().map(head).collect())
    }

    fn checkpoint(&mut self, turn: u64) -> Result<Option<Checkpoint>, StoreError> {
        self.read(|rows| rows.checkpoints.iter().find(|checkpoint| checkpoint.turn == turn).cloned())
    }

    fn quarantined(&mut self, from: u64) -> Result<Vec<Quarantined>, StoreError> {
        let mut found = self.read(|rows| rows.quarantined.clone())?;
        found.retain(|event| event.turn >= from);
        found.sort_by_key(|event| (event.turn, event.index));
        Ok(found)
    }

    fn changes(&mut self, from: u64) -> Result<Vec<(u64, u64)>, StoreError> {
        let is_change = |record: &&Record| record.kind != RecordKind::Batch && record.turn >= from;
        self.read(|rows| rows.records.iter().filter(is_change).map(|record| (record.turn, record.reaches)).collect())
    }
}

//! A store in memory that can be held, filled up, broken and looked into.

use std::sync::{Arc, Condvar, Mutex};

use mainlane::journal::store::{
    Checkpoint, CheckpointHead, Identity, Quarantined, Record, RecordKind, Store, StoreError, TornTail, Write,
};

/// What survives the store.
#[derive(Clone, Default)]
pub(crate) struct Disk(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    rows: Rows,
    held: bool,
    error: Option<StoreError>,
}

#[derive(Clone, Default)]
pub(crate) struct Rows {
    pub(crate) identity: Option<Identity>,
    pub(crate) records: Vec<Record>,
    pub(crate) checkpoints: Vec<Checkpoint>,
    pub(crate) quarantined: Vec<Quarantined>,
}

impl Disk {
    /// Appends do not return before it is released.
    pub(crate) fn hold(&self) {
        self.0.0.lock().unwrap().held = true;
    }

    pub(crate) fn release(&self) {
        self.0.0.lock().unwrap().held = false;
        self.0.1.notify_all();
    }

    /// Appends fail before it is mended.
    pub(crate) fn fail(&self, error: StoreError) {
        self.0.0.lock().unwrap().error = Some(error);
    }

    pub(crate) fn mend(&self) {
        self.0.0.lock().unwrap().error = None;
    }

    /// Another disk with the same on it, as a crash would leave it.
    pub(crate) fn copy(&self) -> Self {
        let copy = Self::default();
        let rows = self.0.0.lock().unwrap().rows.clone();
        copy.edit(|to| *to = rows);
        copy
    }

    pub(crate) fn edit(&self, edit: impl FnOnce(&mut Rows)) {
        edit(&mut self.0.0.lock().unwrap().rows);
    }
}

pub(crate) struct Memory(Disk);

impl Memory {
    pub(crate) fn open(disk: &Disk) -> Self {
        Self(disk.clone())
    }

    fn read<T>(&self, read: impl FnOnce(&Rows) -> T) -> Result<T, StoreError> {
        Ok(read(&self.0.0.0.lock().unwrap().rows))
    }
}

impl Store for Memory {
    fn identity(&mut self) -> Result<Option<Identity>, StoreError> {
        self.read(|rows| rows.identity.clone())
    }

    fn begin(&mut self, identity: &Identity) -> Result<(), StoreError> {
        self.0.edit(|rows| rows.identity = Some(identity.clone()));
        Ok(())
    }

    fn torn_tail(&self) -> Option<TornTail> {
        None
    }

    fn append(&mut self, write: &Write) -> Result<(), StoreError> {
        let (state, released) = &*self.0.0;
        let mut state = released.wait_while(state.lock().unwrap(), |state| state.held).unwrap();
        if let Some(error) = &state.error {
            return Err(error.clone());
        }
        let rows = &mut state.rows;
        rows.records.extend(write.records.iter().cloned());
        rows.quarantined.extend(write.quarantined.iter().cloned());
        if let Some(checkpoint) = &write.checkpoint {
            rows.checkpoints.retain(|other| other.turn != checkpoint.turn);
            rows.checkpoints.push(checkpoint.clone());
        }
        if let Some(before) = write.prune_before {
            rows.records.retain(|record| record.turn > before);
            rows.checkpoints.retain(|checkpoint| checkpoint.turn >= before);
            rows.quarantined.retain(|event| event.turn > before);
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
        self.read(|rows| rows.quarantined.iter().filter(|event| event.turn >= from).cloned().collect())
    }

    fn changes(&mut self, from: u64) -> Result<Vec<(u64, u64)>, StoreError> {
        let is_change = |record: &&Record| record.kind != RecordKind::Batch && record.turn >= from;
        self.read(|rows| rows.records.iter().filter(is_change).map(|record| (record.turn, record.reaches)).collect())
    }
}

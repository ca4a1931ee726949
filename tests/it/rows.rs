//! What a store in memory has, and how it is written and read. Whoever holds it says when an append returns, and how.

use mainlane::journal::store::{
    Checkpoint, CheckpointHead, Identity, Quarantined, Record, RecordKind, Store, StoreError, TornTail, Write,
};

#[derive(Clone, Default)]
pub(crate) struct Rows {
    pub(crate) identity: Option<Identity>,
    pub(crate) records: Vec<Record>,
    pub(crate) checkpoints: Vec<Checkpoint>,
    pub(crate) quarantined: Vec<Quarantined>,
}

impl Rows {
    /// All of `write`, as it is to be after an append.
    pub(crate) fn write(&mut self, write: &Write) {
        self.records.extend(write.records.iter().cloned());
        self.quarantined.extend(write.quarantined.iter().cloned());
        if let Some(checkpoint) = &write.checkpoint {
            self.checkpoints.retain(|other| other.turn != checkpoint.turn);
            self.checkpoints.push(checkpoint.clone());
        }
        if let Some(before) = write.prune_before {
            self.records.retain(|record| record.turn > before);
            self.checkpoints.retain(|checkpoint| checkpoint.turn >= before);
            self.quarantined.retain(|event| event.turn > before);
        }
    }
}

/// Who holds rows.
pub(crate) trait Holder: Send + 'static {
    fn with<T>(&self, work: impl FnOnce(&mut Rows) -> T) -> T;

    fn append(&self, write: &Write) -> Result<(), StoreError>;
}

/// A store that reads what `H` holds.
pub(crate) struct Held<H>(pub(crate) H);

impl<H: Holder> Held<H> {
    fn read<T>(&self, read: impl FnOnce(&Rows) -> T) -> Result<T, StoreError> {
        Ok(self.0.with(|rows| read(rows)))
    }
}

impl<H: Holder> Store for Held<H> {
    fn identity(&mut self) -> Result<Option<Identity>, StoreError> {
        self.read(|rows| rows.identity.clone())
    }

    fn begin(&mut self, identity: &Identity) -> Result<(), StoreError> {
        self.0.with(|rows| rows.identity = Some(identity.clone()));
        Ok(())
    }

    fn torn_tail(&self) -> Option<TornTail> {
        None
    }

    fn append(&mut self, write: &Write) -> Result<(), StoreError> {
        self.0.append(write)
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

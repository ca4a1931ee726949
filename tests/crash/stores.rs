//! Stores around SQLite's: one that says what it does, one that fails, and some that lie.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use mainlane::journal::store::{
    Checkpoint, CheckpointHead, Identity, Quarantined, Record, Store, StoreError, TornTail, Write,
};
use mainlane::journal::{SqliteStore, Sync};

use crate::facts::{Fact, Part, Tell};

/// What a store around SQLite's does otherwise.
pub(crate) trait Around: Send + 'static {
    /// In place of an append.
    fn append(&mut self, inner: &mut SqliteStore, write: &Write) -> Result<(), StoreError> {
        inner.append(write)
    }

    /// Before anything else that may fail.
    fn call(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// What is read of the newest turns.
    fn newest(&self, newest: u64) -> u64 {
        newest
    }
}

pub(crate) struct Wrapped<A> {
    inner: SqliteStore,
    around: A,
    /// Is closed with the file.
    _gone: Option<crossbeam_channel::Sender<()>>,
}

impl<A: Around> Wrapped<A> {
    pub(crate) fn new(inner: SqliteStore, around: A) -> Self {
        Self { inner, around, _gone: None }
    }

    /// Also returns what is disconnected when the file is closed.
    pub(crate) fn with_end(inner: SqliteStore, around: A) -> (Self, crossbeam_channel::Receiver<()>) {
        let (gone, end) = crossbeam_channel::bounded(0);
        (Self { inner, around, _gone: Some(gone) }, end)
    }
}

impl<A: Around> Store for Wrapped<A> {
    fn identity(&mut self) -> Result<Option<Identity>, StoreError> {
        self.around.call()?;
        self.inner.identity()
    }

    fn begin(&mut self, identity: &Identity) -> Result<(), StoreError> {
        self.around.call()?;
        self.inner.begin(identity)
    }

    fn torn_tail(&self) -> Option<TornTail> {
        self.inner.torn_tail()
    }

    fn append(&mut self, write: &Write) -> Result<(), StoreError> {
        self.around.append(&mut self.inner, write)
    }

    fn turns(&mut self) -> Result<Option<(u64, u64)>, StoreError> {
        self.around.call()?;
        let turns = self.inner.turns()?;
        Ok(turns.map(|(oldest, newest)| (oldest, self.around.newest(newest))))
    }

    fn turn_before(&mut self, events: u64) -> Result<u64, StoreError> {
        self.around.call()?;
        self.inner.turn_before(events)
    }

    fn records(&mut self, from: u64, read: &mut dyn FnMut(Record) -> bool) -> Result<(), StoreError> {
        self.around.call()?;
        let newest = self.inner.turns()?.map_or(0, |(_, newest)| self.around.newest(newest));
        self.inner.records(from, &mut |record| record.turn <= newest && read(record))
    }

    fn checkpoints(&mut self) -> Result<Vec<CheckpointHead>, StoreError> {
        self.around.call()?;
        self.inner.checkpoints()
    }

    fn checkpoint(&mut self, turn: u64) -> Result<Option<Checkpoint>, StoreError> {
        self.around.call()?;
        self.inner.checkpoint(turn)
    }

    fn quarantined(&mut self, from: u64) -> Result<Vec<Quarantined>, StoreError> {
        self.around.call()?;
        self.inner.quarantined(from)
    }

    fn changes(&mut self, from: u64) -> Result<Vec<(u64, u64)>, StoreError> {
        self.around.call()?;
        self.inner.changes(from)
    }
}

/// Says what it writes, before and after.
pub(crate) struct Telling(pub(crate) Tell);

impl Around for Telling {
    fn append(&mut self, inner: &mut SqliteStore, write: &Write) -> Result<(), StoreError> {
        let part = match (&write.checkpoint, write.prune_before) {
            (_, Some(_)) => Part::Prune,
            (Some(_), None) => Part::Checkpoint,
            (None, None) => Part::Records,
        };
        (self.0)(Fact::Writing(part));
        inner.append(write)?;
        (self.0)(Fact::Written(part));
        Ok(())
    }
}

/// What a failing store does, from the moment it is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ill {
    /// Nothing is written, and an error returned.
    FailedBefore,
    /// It is written, and an error returned.
    FailedAfter,
    /// So many times there is no space.
    Full(u64),
    FullForGood,
    PanicBefore,
    PanicAfter,
}

/// What is known of a failing store from outside.
#[derive(Default)]
pub(crate) struct Chart {
    /// How many appends there were.
    pub(crate) appends: AtomicU64,
    /// How often it did harm.
    pub(crate) struck: AtomicU64,
    /// The newest turn of an append that returned without an error.
    pub(crate) returned: AtomicU64,
    /// The newest turn that is in the file.
    pub(crate) stored: AtomicU64,
    /// No harm is done any more.
    pub(crate) mended: std::sync::atomic::AtomicBool,
}

/// Fails at its `at`th append, counted from 1.
pub(crate) struct Failing {
    pub(crate) ill: Ill,
    pub(crate) at: u64,
    pub(crate) chart: Arc<Chart>,
}

impl Around for Failing {
    fn append(&mut self, inner: &mut SqliteStore, write: &Write) -> Result<(), StoreError> {
        let chart = self.chart.clone();
        let number = chart.appends.fetch_add(1, Ordering::SeqCst) + 1;
        let newest = write.records.last().map_or(0, |record| record.turn);
        let really = |inner: &mut SqliteStore| {
            inner.append(write)?;
            chart.stored.fetch_max(newest, Ordering::SeqCst);
            Ok(())
        };
        let is_due = !chart.mended.load(Ordering::SeqCst)
            && match self.ill {
                Ill::Full(times) => (self.at..self.at + times).contains(&number),
                Ill::FullForGood => number >= self.at,
                _ => number == self.at,
            };
        if is_due {
            chart.struck.fetch_add(1, Ordering::SeqCst);
            let failed = Err(StoreError::Failed { doing: "writing", reason: "a fault was injected".into() });
            return match self.ill {
                Ill::FailedBefore => failed,
                Ill::FailedAfter => really(inner).and(failed),
                Ill::Full(_) | Ill::FullForGood => Err(StoreError::Full { reason: "a fault was injected".into() }),
                Ill::PanicBefore => std::panic::resume_unwind(Box::new("a fault was injected")),
                Ill::PanicAfter => {
                    really(inner)?;
                    std::panic::resume_unwind(Box::new("a fault was injected"))
                }
            };
        }
        really(inner)?;
        chart.returned.fetch_max(newest, Ordering::SeqCst);
        Ok(())
    }
}

/// Fails at its `at`th call that reads, counted from 1.
pub(crate) struct Unreadable {
    pub(crate) at: u64,
    pub(crate) calls: Arc<AtomicU64>,
}

impl Around for Unreadable {
    fn call(&mut self) -> Result<(), StoreError> {
        if self.calls.fetch_add(1, Ordering::SeqCst) + 1 == self.at {
            return Err(StoreError::Failed { doing: "reading", reason: "a fault was injected".into() });
        }
        Ok(())
    }
}

/// A lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Returns before it has written, from its sixth append on: what it was given is written with the next.
    Early,
    /// Writes nothing from its fourth append on, and says it did.
    Gone,
    /// Never returns from its second append.
    Held,
    /// Does not show the newest record that it has.
    Hidden,
    /// Puts the payload of one record into the next, and the other way round.
    Swapped,
    /// As before, and seals both.
    SwappedAndSealed,
    /// Writes a checkpoint of a state that never was.
    Checkpoint,
}

pub(crate) struct Lying {
    pub(crate) lie: Lie,
    pub(crate) appends: u64,
    pub(crate) waiting: Option<Write>,
    pub(crate) done: Arc<Mutex<bool>>,
}

impl Lying {
    pub(crate) fn new(lie: Lie) -> Self {
        Self { lie, appends: 0, waiting: None, done: Arc::default() }
    }
}

fn copy(write: &Write) -> Write {
    Write {
        records: write.records.clone(),
        quarantined: write.quarantined.clone(),
        checkpoint: write.checkpoint.clone(),
        prune_before: write.prune_before,
    }
}

impl Lying {
    /// Keeps one write back, and writes it with the next.
    fn swap(&mut self, inner: &mut SqliteStore, write: &Write) -> Result<(), StoreError> {
        let mut done = self.done.lock().unwrap();
        let Some(mut both) = self.waiting.take() else {
            if *done || self.appends < 4 || write.records.is_empty() || write.checkpoint.is_some() {
                return inner.append(write);
            }
            self.waiting = Some(copy(write));
            return Ok(());
        };
        let second = both.records.len();
        both.records.extend(write.records.iter().cloned());
        both.quarantined.extend(write.quarantined.iter().cloned());
        (both.checkpoint, both.prune_before) = (write.checkpoint.clone(), write.prune_before);
        if let [.., one, other] = &mut both.records[..=second.min(write.records.len() + second - 1)]
            && one.kind == other.kind
        {
            std::mem::swap(&mut one.payload, &mut other.payload);
            if self.lie == Lie::SwappedAndSealed {
                std::mem::swap(&mut one.events, &mut other.events);
                for record in [one, other] {
                    let Record { turn, kind, events, reaches, schema, .. } = *record;
                    *record = Record::seal(kind, turn, events, reaches, schema, std::mem::take(&mut record.payload));
                }
            }
            *done = true;
        }
        inner.append(&both)
    }
}

impl Around for Lying {
    fn append(&mut self, inner: &mut SqliteStore, write: &Write) -> Result<(), StoreError> {
        self.appends += 1;
        match self.lie {
            Lie::Early if self.appends > 5 => {
                let now = self.waiting.replace(copy(write));
                now.map_or(Ok(()), |now| inner.append(&now))
            }
            Lie::Gone if self.appends > 3 => Ok(()),
            Lie::Held if self.appends > 1 => loop {
                std::thread::park();
            },
            Lie::Early | Lie::Gone | Lie::Held | Lie::Hidden => inner.append(write),
            Lie::Swapped | Lie::SwappedAndSealed => self.swap(inner, write),
            Lie::Checkpoint => {
                let mut write = copy(write);
                if let Some(checkpoint) = &mut write.checkpoint
                    && checkpoint.turn > 0
                {
                    let mut payload = std::mem::take(&mut checkpoint.payload);
                    *payload.last_mut().expect("a state") ^= 1;
                    *checkpoint = Checkpoint::seal(checkpoint.turn, checkpoint.schema, payload);
                    *self.done.lock().unwrap() = true;
                }
                inner.append(&write)
            }
        }
    }

    fn newest(&self, newest: u64) -> u64 {
        if self.lie == Lie::Hidden { newest - 1 } else { newest }
    }
}

pub(crate) fn sqlite(path: &std::path::Path, sync: Sync) -> SqliteStore {
    SqliteStore::open(path, sync).unwrap_or_else(|error| panic!("{error}"))
}

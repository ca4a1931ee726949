//! Where records are kept: one small trait, so that the rest of the journal does not know of files.
//!
//! A store promises three things, and nothing of what the bytes mean:
//! - **all or nothing**: what one [`append`](Store::append) is given is there as a whole afterwards, or not at all,
//!   whatever happens in between, a crash included;
//! - **durable**: when `append` returns without an error, it is as durable as the store was opened for;
//! - **in order**: what was appended before is there if what was appended after it is.

use std::fmt;

/// What a record says happened in its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// Events were applied.
    Batch,
    /// An operation was undone.
    Undo,
    /// An operation that had been undone was put back.
    Redo,
}

/// One turn. The turns of a journal's records rise by one from record to record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Which turn, counted from 1.
    pub turn: u64,
    /// What happened in it.
    pub kind: RecordKind,
    /// How many events the payload has.
    pub events: u32,
    /// The oldest turn that it changes: its own for a batch.
    pub reaches: u64,
    /// How the payload is encoded.
    pub codec: u8,
    /// The version of the host's events and state.
    pub schema: u32,
    /// XXH3 (128 bits) of all of the above and the payload.
    pub checksum: u128,
    /// The envelopes, or the operation.
    pub payload: Vec<u8>,
}

/// The state after a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which turn; 0 is the state that the pipeline began with.
    pub turn: u64,
    /// How the payload is encoded.
    pub codec: u8,
    /// The version of the host's events and state.
    pub schema: u32,
    /// XXH3 (128 bits) of the payload alone: what `replay --verify` compares.
    pub hash: u128,
    /// XXH3 (128 bits) of all of the above.
    pub checksum: u128,
    /// The operations that are open or sealed, and the state.
    pub payload: Vec<u8>,
}

/// An event that a reducer could not apply, and that is left out whenever its turn is applied again. Or an undo or a redo
/// that came to nothing, because the reducer panicked on what it applied again, and that comes to nothing again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// The turn of its record.
    pub turn: u64,
    /// Its place in the record, from 0; 0 of an undo or a redo.
    pub index: u32,
    /// The event's kind; `undo` or `redo`.
    pub kind: String,
    /// What the reducer said.
    pub message: String,
}

/// Whose journal this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The name of the host's schema.
    pub schema: String,
    /// The version of the journal's own format.
    pub format: u32,
}

/// What is written at once.
#[derive(Debug, Default)]
pub struct Write {
    /// Turns, in order; the first follows the newest turn of the store.
    pub records: Vec<Record>,
    /// Of turns that are in the store or among these.
    pub quarantined: Vec<Quarantined>,
    /// Of a turn that is in the store or among these.
    pub checkpoint: Option<Checkpoint>,
    /// Checkpoints and records that are not needed to rebuild the state after this turn, or later ones, may go: those of
    /// older turns, but for this turn's own checkpoint.
    pub prune_before: Option<u64>,
}

/// A checkpoint without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointHead {
    /// Which turn.
    pub turn: u64,
    /// The version of the host's events and state.
    pub schema: u32,
    /// The hash of its payload.
    pub hash: u128,
    /// How long its payload is, in bytes.
    pub bytes: u64,
}

/// What a store found unfinished when it was opened, and left out: the end of something that was being written when the
/// process or the machine stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// How many bytes of it there were.
    pub bytes: u64,
    /// Where.
    pub place: String,
    /// Whether some of it had been acknowledged as durable: then it is damage, and a store refuses to be opened for writing.
    /// Otherwise none was.
    pub was_durable: bool,
}

/// Where a journal keeps its records. Used by one thread at a time.
pub trait Store: Send + 'static {
    /// Whose journal this is; `None` for one that nothing was written to.
    ///
    /// # Errors
    /// When it cannot be read.
    fn identity(&mut self) -> Result<Option<Identity>, StoreError>;

    /// Begins a journal. Called once, on an empty store, before anything else is written.
    ///
    /// # Errors
    /// When it cannot be written.
    fn begin(&mut self, identity: &Identity) -> Result<(), StoreError>;

    /// What was cut off when the store was opened.
    fn torn_tail(&self) -> Option<TornTail>;

    /// Writes all of `write` or nothing, and returns when it is as durable as the store was opened for.
    ///
    /// # Errors
    /// [`StoreError::Full`] when there is no space: nothing was written, and the same may be tried again. Any other error
    /// leaves open whether it was written, and nothing may be appended after it.
    fn append(&mut self, write: &Write) -> Result<(), StoreError>;

    /// The oldest and the newest turn that have a record.
    ///
    /// # Errors
    /// When it cannot be read.
    fn turns(&mut self) -> Result<Option<(u64, u64)>, StoreError>;

    /// The newest turn that is followed by so many events at least; 0 when there are not so many.
    ///
    /// # Errors
    /// When it cannot be read.
    fn turn_before(&mut self, events: u64) -> Result<u64, StoreError>;

    /// Gives the records from turn `from` on to `read`, in order, until it returns false.
    ///
    /// # Errors
    /// When a record cannot be read; those before it were given.
    fn records(&mut self, from: u64, read: &mut dyn FnMut(Record) -> bool) -> Result<(), StoreError>;

    /// The oldest turn from `from` on that has a record, also one that [`records`](Store::records) cannot read.
    ///
    /// # Errors
    /// When it cannot be read.
    fn turn_from(&mut self, from: u64) -> Result<Option<u64>, StoreError> {
        let mut turn = None;
        self.records(from, &mut |record| {
            turn = Some(record.turn);
            false
        })?;
        Ok(turn)
    }

    /// All checkpoints without their payloads, oldest first.
    ///
    /// # Errors
    /// When it cannot be read.
    fn checkpoints(&mut self) -> Result<Vec<CheckpointHead>, StoreError>;

    /// The checkpoint of this turn.
    ///
    /// # Errors
    /// When it cannot be read.
    fn checkpoint(&mut self, turn: u64) -> Result<Option<Checkpoint>, StoreError>;

    /// The quarantined events of turns from `from` on, in order.
    ///
    /// # Errors
    /// When it cannot be read.
    fn quarantined(&mut self, from: u64) -> Result<Vec<Quarantined>, StoreError>;

    /// The turns that undid or redid something, from `from` on, in order, each with the oldest turn that it changes.
    ///
    /// # Errors
    /// When it cannot be read.
    fn changes(&mut self, from: u64) -> Result<Vec<(u64, u64)>, StoreError>;
}

/// Why a store failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no space left. Nothing was written; the same may be tried again.
    Full {
        /// What the system said.
        reason: String,
    },
    /// It is in use: by another process, or another pipeline of this one.
    Busy {
        /// Which.
        path: String,
    },
    /// This is not a journal of mainlane's.
    NotAJournal {
        /// Which.
        path: String,
        /// What it is.
        reason: String,
    },
    /// What was read is not what was written.
    Damaged {
        /// Where.
        place: String,
        /// What was found.
        reason: String,
    },
    /// Anything else: the disk, the file system, rights.
    Failed {
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        reason: String,
    },
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Full { reason } => write!(f, "there is no space left for the journal: {reason}"),
            StoreError::Busy { path } => {
                write!(f, "the journal {path} is in use; close the program that writes it, or use another file")
            }
            StoreError::NotAJournal { path, reason } => write!(f, "{path} is not a journal of mainlane's: {reason}"),
            StoreError::Damaged { place, reason } => write!(f, "the journal is damaged at {place}: {reason}"),
            StoreError::Failed { doing, reason } => write!(f, "the journal failed while {doing}: {reason}"),
        }
    }
}

impl std::error::Error for StoreError {}

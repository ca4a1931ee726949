//! Why a journal could not be opened or replayed.

use std::fmt;

use super::record::CodecError;
use super::store::StoreError;

/// Why a journal could not be opened or replayed. Nothing was changed in it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JournalError {
    /// The store failed.
    Store(StoreError),
    /// It is another host's.
    OtherSchema {
        /// The name of its schema.
        found: String,
        /// The name that was asked for.
        wanted: String,
    },
    /// A schema needs a name.
    UnnamedSchema,
    /// Something in it has a schema version that this host cannot read.
    Version {
        /// Of which turn.
        turn: u64,
        /// What is wrong.
        error: CodecError,
    },
    /// A record is not what was written.
    Damaged {
        /// Of which turn.
        turn: u64,
        /// What is wrong.
        reason: String,
    },
    /// A checkpoint is not what was written.
    DamagedCheckpoint {
        /// Of which turn.
        turn: u64,
        /// What is wrong.
        reason: String,
    },
    /// Records are missing.
    Missing {
        /// The first turn.
        first: u64,
        /// The last.
        last: u64,
    },
    /// No checkpoint is good.
    NoCheckpoint {
        /// What is wrong with the newest, if there is one.
        reason: Option<String>,
    },
    /// What was applied then cannot be applied now: the reducer is not deterministic, or has changed.
    Unrepeatable {
        /// Which turn.
        turn: u64,
        /// What happened.
        reason: String,
    },
    /// The state cannot be encoded.
    Unencodable {
        /// What happened.
        reason: String,
    },
    /// There is no such turn in it.
    NoSuchTurn {
        /// Which.
        turn: u64,
        /// The oldest that there is.
        oldest: u64,
        /// The newest.
        newest: u64,
    },
    /// The host's store panicked, or its state did as it was copied or dropped.
    Panicked {
        /// What it said.
        message: String,
    },
    /// The system refused a thread.
    Thread(crate::Error),
}

impl JournalError {
    pub(crate) fn of_record(turn: u64, error: CodecError) -> Self {
        match error {
            CodecError::Newer { .. } | CodecError::Older { .. } | CodecError::Upgrade { .. } => {
                JournalError::Version { turn, error }
            }
            error => JournalError::Damaged { turn, reason: error.to_string() },
        }
    }

    pub(crate) fn of_checkpoint(turn: u64, error: CodecError) -> Self {
        match JournalError::of_record(turn, error) {
            JournalError::Damaged { turn, reason } => JournalError::DamagedCheckpoint { turn, reason },
            error => error,
        }
    }
}

impl From<StoreError> for JournalError {
    fn from(error: StoreError) -> Self {
        JournalError::Store(error)
    }
}

const SALVAGE: &str = "`mainlane journal FILE --salvage TO` copies what is good and says what is lost";

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JournalError::Store(error @ StoreError::Damaged { .. }) => write!(f, "{error}; {SALVAGE}"),
            JournalError::Store(error) => error.fmt(f),
            JournalError::OtherSchema { found, wanted } => {
                write!(f, "this is a journal of `{found}`, not of `{wanted}`; open it with the program that wrote it")
            }
            JournalError::UnnamedSchema => {
                f.write_str("a journal needs the name of what is in it; give it one with `Journal::schema`")
            }
            JournalError::Version { turn, error } => write!(f, "turn {turn} cannot be read: {error}"),
            JournalError::Damaged { turn, reason } => {
                write!(f, "the record of turn {turn} is damaged: {reason}; {SALVAGE}")
            }
            JournalError::DamagedCheckpoint { turn, reason } => {
                write!(f, "the checkpoint of turn {turn} is damaged: {reason}")
            }
            JournalError::Missing { first, last } if first == last => {
                write!(f, "the record of turn {first} is missing; {SALVAGE}")
            }
            JournalError::Missing { first, last } => {
                write!(f, "the records of turns {first} to {last} are missing; {SALVAGE}")
            }
            JournalError::NoCheckpoint { reason: None } => f.write_str("there is no checkpoint to begin with"),
            JournalError::NoCheckpoint { reason: Some(reason) } => {
                write!(f, "there is no good checkpoint to begin with: {reason}; {SALVAGE}")
            }
            JournalError::Unrepeatable { turn, reason } => write!(
                f,
                "turn {turn} cannot be applied again: {reason}; the reducer is not deterministic, or it is not the one that \
                 wrote this"
            ),
            JournalError::Unencodable { reason } => write!(f, "the state cannot be encoded: {reason}"),
            JournalError::NoSuchTurn { turn, oldest, newest } => {
                write!(f, "there is no turn {turn}: the journal reaches from turn {oldest} to turn {newest}")
            }
            JournalError::Panicked { message } => write!(f, "the host's code panicked: {message}"),
            JournalError::Thread(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for JournalError {}

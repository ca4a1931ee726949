//! What can be asked of a timeline, and what it answers.

use std::fmt;

use crate::event::OperationId;
use crate::origin::Origin;

/// A wish to change the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Of the operations of this origin that have ended and are not undone, the one that ended last. When that one is beyond
    /// the window, the answer says so: an older end is not undone in its place.
    Undo(Origin),
    /// Of the operations of this origin that are undone, the one that was undone last; none, once a new one of this origin
    /// has ended since.
    Redo(Origin),
    UndoOperation(OperationId),
    RedoOperation(OperationId),
}

/// A change of the past that can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) kind: RewindKind,
    pub(crate) operation: OperationId,
    /// The turn of the operation's first event.
    pub(crate) reaches: u64,
}

/// Whether events were taken out of the past or put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RewindKind {
    /// Taken out.
    Undo,
    /// Put back where they stood.
    Redo,
}

impl RewindKind {
    /// As journals know it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            RewindKind::Undo => "undo",
            RewindKind::Redo => "redo",
        }
    }
}

/// A change of the past that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rewind {
    /// What was done.
    pub kind: RewindKind,
    /// To which operation.
    pub operation: OperationId,
    /// The turn in which it was done; it counts as one that applied something.
    pub turn: u64,
    /// The turn of the operation's first event.
    pub reaches: u64,
    /// How many events of the operation were taken out or put back.
    pub events: usize,
    /// How many events were applied anew, those put back included.
    pub applied: usize,
}

/// Why the past was not changed. The state is as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RewindError {
    /// The pipeline was built without a timeline.
    NoTimeline,
    /// The origin has no operation in the window that could be undone, or redone.
    Nothing {
        /// What was asked for.
        kind: RewindKind,
        /// Whose.
        origin: Origin,
    },
    /// No such operation has been seen, or not for a long time: of those without an event in the window, the 16,384 that
    /// left it last are known.
    Unknown {
        /// Which.
        operation: OperationId,
    },
    /// The operation has not ended.
    Open {
        /// Which.
        operation: OperationId,
    },
    /// The operation is undone already; or it is to be redone and was not undone.
    NotNow {
        /// What was asked for.
        kind: RewindKind,
        /// Which.
        operation: OperationId,
    },
    /// Some of the operation's events are older than what is kept.
    BeyondWindow {
        /// Which operation.
        operation: OperationId,
        /// The oldest turn whose events are kept.
        oldest: u64,
    },
    /// The reducer panicked on a later event, which does not stand without the operation, or with it.
    Panicked {
        /// Which operation.
        operation: OperationId,
        /// The kind of the event on which it panicked.
        kind: &'static str,
        /// What the reducer said.
        message: String,
    },
}

/// Why the state of a turn is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TimelineError {
    /// The pipeline was built without a timeline.
    NoTimeline,
    /// The turn is older than what is kept.
    BeyondWindow {
        /// The oldest turn after which the state is known.
        oldest: u64,
    },
    /// The turn has not been taken yet.
    NotYet {
        /// The newest turn.
        newest: u64,
    },
    /// The reducer panicked as the events were applied anew, so it is not deterministic.
    Panicked {
        /// The kind of the event on which it panicked.
        kind: &'static str,
        /// What the reducer said.
        message: String,
    },
}

impl fmt::Display for RewindKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RewindKind::Undo => "undo",
            RewindKind::Redo => "redo",
        })
    }
}

impl fmt::Display for RewindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RewindError::NoTimeline => f.write_str("this pipeline keeps no timeline; build it with one"),
            RewindError::Nothing { kind, origin } => write!(f, "there is nothing to {kind} for {origin}"),
            RewindError::Unknown { operation } => write!(f, "no operation {} has been seen", operation.0),
            RewindError::Open { operation } => {
                write!(f, "operation {} has not ended; end it before it is undone", operation.0)
            }
            RewindError::NotNow { kind: RewindKind::Undo, operation } => {
                write!(f, "operation {} is undone already", operation.0)
            }
            RewindError::NotNow { kind: RewindKind::Redo, operation } => {
                write!(f, "operation {} is not undone", operation.0)
            }
            RewindError::BeyondWindow { operation, oldest } => write!(
                f,
                "operation {} began before turn {oldest}, the oldest that is kept; keep a larger window to reach it",
                operation.0
            ),
            RewindError::Panicked { operation, kind, message } => write!(
                f,
                "without or with operation {} the reducer panics on a later event of kind `{kind}`: {message}; nothing \
                 was changed",
                operation.0
            ),
        }
    }
}

impl std::error::Error for RewindError {}

impl fmt::Display for TimelineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TimelineError::NoTimeline => f.write_str("this pipeline keeps no timeline; build it with one"),
            TimelineError::BeyondWindow { oldest } => {
                write!(f, "the oldest turn that can be looked at is {oldest}; keep a larger window, or ask the journal")
            }
            TimelineError::NotYet { newest } => write!(f, "the newest turn is {newest}"),
            TimelineError::Panicked { kind, message } => {
                write!(f, "the reducer panicked on an event of kind `{kind}` that it had applied before: {message}")
            }
        }
    }
}

impl std::error::Error for TimelineError {}

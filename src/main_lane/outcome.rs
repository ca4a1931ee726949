//! What a turn did, and why it failed.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::clock::Stamp;
use crate::event::{Event, LaneId, Operation, Sequence};
use crate::main_lane::entry::Entry;
use crate::origin::Origin;
use crate::snapshot::Version;

/// How far a main lane is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Running,
    /// No push is accepted any more; what was accepted is being applied.
    Closing,
    /// Everything is applied and published.
    Ended,
    /// A reducer panicked.
    Stopped,
}

/// What a turn did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Turn {
    /// How many turns have applied something, this one included.
    pub number: u64,
    /// How many events were taken: applied, or refused and reported.
    pub events: usize,
    /// The snapshot that was published, if one was.
    pub published: Option<Version>,
    /// Whether there is more to do.
    pub left: Left,
}

/// What a turn left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Nothing was there, or all that was is applied.
    Nothing,
    /// The budget was spent first: the next turn goes on where this one stopped.
    More,
    /// What there is waits for the journal: for a batch to be durable, or for room. Whoever waits for input is woken.
    Journal,
    /// Nothing, but a publication is held back until this moment.
    PublishAt(Instant),
    /// The pipeline has shut down; further turns do nothing.
    Ended,
}

/// Why a turn failed.
#[non_exhaustive]
pub enum TurnError<E: Event> {
    /// The reducer panicked. The main lane has stopped: its last snapshot stays readable, and nothing more is accepted.
    ReducerPanicked(Box<Poison<E>>),
    /// An event reached an authority that does not own it, and the pipeline was built to
    /// [panic](crate::Builder::panic_on_misrouted) on that. The main lane has stopped, as above.
    Misrouted(Box<Poison<E>>),
    /// Copying the state panicked, for a snapshot or for the timeline. The main lane has stopped, as above.
    SnapshotPanicked {
        /// What the state's `Clone` said.
        message: String,
    },
    /// Dropping an event that had been applied panicked. The main lane has stopped, as above.
    DropPanicked {
        /// What the event's `Drop` said.
        message: String,
    },
    /// The journal failed, and the pipeline was built to make nothing visible that is not durable. The main lane has stopped,
    /// as above.
    JournalFailed {
        /// What happened.
        message: String,
    },
    /// A turn after that.
    Stopped,
}

/// The event on which a main lane stopped or went on without it, with its envelope: the reducer panicked on it, or it reached the wrong
/// authority.
pub struct Poison<E: Event> {
    /// The lane it came through.
    pub lane: LaneId,
    /// The lane's name.
    pub lane_name: Arc<str>,
    /// What the panic said.
    pub message: String,
    /// The event's context.
    pub facets: E::Facets,
    /// The event.
    pub event: E,
    /// Who it is about.
    pub origin: Origin,
    /// Its causal position.
    pub stamp: Stamp,
    /// Its number in its lane.
    pub sequence: Sequence,
    /// How many pushes it stands for.
    pub parts: u32,
    /// The turn that it was to be applied in.
    pub turn: u64,
}

impl<E: Event> Poison<E> {
    pub(crate) fn new(entry: Entry<E>, lane_name: Arc<str>, turn: u64, message: String) -> Self {
        let Entry { stamp, lane, sequence, lane_origin, parts, facets, event } = entry;
        let origin = event.origin().unwrap_or(lane_origin);
        Self { lane, lane_name, message, facets, event, origin, stamp, sequence, parts, turn }
    }

    /// The operation it is a part of.
    pub fn operation(&self) -> Option<Operation> {
        self.event.operation()
    }
}

impl<E: Event> fmt::Debug for Poison<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poison")
            .field("lane", &self.lane_name)
            .field("kind", &self.event.kind())
            .field("turn", &self.turn)
            .field("message", &self.message)
            .finish_non_exhaustive()
    }
}

impl<E: Event> TurnError<E> {
    /// The event on which the main lane stopped, if it was one.
    pub fn into_poison(self) -> Option<Poison<E>> {
        match self {
            TurnError::ReducerPanicked(poison) | TurnError::Misrouted(poison) => Some(*poison),
            TurnError::SnapshotPanicked { .. }
            | TurnError::DropPanicked { .. }
            | TurnError::JournalFailed { .. }
            | TurnError::Stopped => None,
        }
    }
}

impl<E: Event> fmt::Debug for TurnError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TurnError::ReducerPanicked(poison) => f.debug_tuple("ReducerPanicked").field(poison).finish(),
            TurnError::Misrouted(poison) => f.debug_tuple("Misrouted").field(poison).finish(),
            TurnError::SnapshotPanicked { message } => {
                f.debug_struct("SnapshotPanicked").field("message", message).finish()
            }
            TurnError::DropPanicked { message } => f.debug_struct("DropPanicked").field("message", message).finish(),
            TurnError::JournalFailed { message } => f.debug_struct("JournalFailed").field("message", message).finish(),
            TurnError::Stopped => f.write_str("Stopped"),
        }
    }
}

impl<E: Event> fmt::Display for TurnError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TurnError::ReducerPanicked(poison) => write!(
                f,
                "the reducer panicked on an event of kind `{}` from lane `{}`: {}; the main lane has stopped, the event \
                 is in this error, the last snapshot stays readable",
                poison.event.kind(),
                poison.lane_name,
                poison.message
            ),
            TurnError::Misrouted(poison) => write!(
                f,
                "{} (from lane `{}`); the main lane has stopped, as `panic_on_misrouted` wants it, the event is in this \
                 error, the last snapshot stays readable",
                poison.message, poison.lane_name,
            ),
            TurnError::SnapshotPanicked { message } => write!(
                f,
                "copying the state panicked: {message}; the main lane has stopped, the last snapshot stays readable"
            ),
            TurnError::DropPanicked { message } => {
                write!(
                    f,
                    "dropping an event panicked: {message}; the main lane has stopped, the last snapshot stays readable"
                )
            }
            TurnError::JournalFailed { message } => {
                write!(f, "the journal failed: {message}; the main lane has stopped, the last snapshot stays readable")
            }
            TurnError::Stopped => f.write_str("the main lane has stopped in an earlier turn, which said why"),
        }
    }
}

impl<E: Event> std::error::Error for TurnError<E> {}

#[cfg(test)]
mod tests {
    use super::*;

    /// An event that cannot be printed, and need not be.
    struct Mute;

    impl Event for Mute {
        type Key = ();
        type Facets = ();

        fn class(&self) -> crate::Class<()> {
            crate::Class::Critical
        }

        fn kind(&self) -> &'static str {
            "mute"
        }
    }

    #[test]
    fn an_error_says_what_panicked_and_where_though_the_event_itself_cannot_be_printed() {
        let says = |message: &str| message.to_owned();
        let (lane, lane_name, message) = (LaneId(3), Arc::from("pane 1"), says("boom"));
        let (stamp, sequence, lane_origin) = (Stamp(1), Sequence(2), Origin::built_in("pane", 1));
        let entry = Entry { stamp, lane, sequence, lane_origin, parts: 1, facets: (), event: Mute };
        let poison = Poison::new(entry, lane_name, 7, message);
        let errors = [
            TurnError::ReducerPanicked(Box::new(poison)),
            TurnError::SnapshotPanicked { message: says("no copy") },
            TurnError::DropPanicked { message: says("no end") },
            TurnError::JournalFailed { message: says("no disk") },
            TurnError::Stopped,
        ];
        let parts: [&[&str]; 5] = [&["mute", "pane 1", "boom"], &["no copy"], &["no end"], &["no disk"], &["topped"]];
        for (error, parts) in errors.iter().zip(parts) {
            for printed in [error.to_string(), format!("{error:?}")] {
                assert!(parts.iter().all(|part| printed.contains(part)), "{printed}");
            }
        }
    }
}

//! What can go wrong on the control side. Data-plane refusals hand the event back, see [`Refused`](crate::Refused).

use std::fmt;

/// Why something could not be set up or driven.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// A lane's ring cannot have this many slots.
    Capacity {
        /// The lane.
        lane: String,
        /// What was asked for.
        capacity: usize,
        /// The most there can be.
        most: usize,
    },
    /// A lane's coalescing table cannot have this many keys.
    Keys {
        /// The lane.
        lane: String,
        /// What was asked for.
        keys: usize,
        /// The most there can be.
        most: usize,
    },
    /// A lane has no name.
    UnnamedLane,
    /// A setting would have no effect.
    Ignored {
        /// The lane.
        lane: String,
        /// The setting.
        setting: &'static str,
        /// Why it has none, and what to do.
        why: &'static str,
    },
    /// A flight recorder cannot have this many entries.
    FlightRecorder {
        /// What was asked for.
        entries: usize,
        /// The most there can be.
        most: usize,
    },
    /// The pipeline has been shut down, or its main lane has stopped.
    Closed,
    /// The system refused a thread.
    Thread {
        /// The thread's name.
        name: String,
        /// What the system said.
        reason: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Capacity { lane, capacity, most } => {
                write!(f, "lane `{lane}`: a ring of {capacity} slots is not possible; choose 1 to {most}")
            }
            Error::Keys { lane, keys, most } => {
                write!(f, "lane `{lane}`: a table of {keys} keys is not possible; choose 1 to {most}")
            }
            Error::FlightRecorder { entries, most } => {
                write!(f, "a flight recorder of {entries} entries is not possible; choose 0 (off) to {most}")
            }
            Error::UnnamedLane => f.write_str("a lane needs a name; it is what counters and diagnostics call it"),
            Error::Ignored { lane, setting, why } => {
                write!(f, "lane `{lane}`: the setting `{setting}` would be ignored: {why}")
            }
            Error::Closed => f.write_str("the pipeline has shut down; build a new one"),
            Error::Thread { name, reason } => write!(f, "the thread `{name}` could not be started: {reason}"),
        }
    }
}

impl std::error::Error for Error {}

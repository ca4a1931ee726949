//! What is said of a pipeline's end.

use std::fmt;
use std::sync::Arc;

use crate::event::{Authority, LaneId};
use crate::main_lane::apply::Misrouted;
use crate::main_lane::flight::FlightEntry;
use crate::observe::counters::Counters;

/// What a shutdown did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// True when every accepted event was applied (or refused and reported), its effects run, the state published, and every
    /// thread joined. A journal's last checkpoint may have failed all the same, see [`JournalEnd::checkpoint`].
    pub complete: bool,
    /// Ingestion threads that were joined.
    pub joined: usize,
    /// Threads that did not stop before the deadline, by name. They were left running, and can push no more.
    pub stragglers: Vec<String>,
    /// Why the main lane stopped by itself, if it did. The event is kept: see [`MainLane::take_poison`](crate::MainLane::take_poison) and
    /// [`Running::take_poison`](crate::Running::take_poison).
    pub fault: Option<Fault>,
    /// The last events before that, oldest first, as the [flight recorder](crate::Builder::flight_recorder) kept them. Empty
    /// without a fault.
    pub flight: Arc<[FlightEntry]>,
    /// What became of the journal, if there is one.
    pub journal: Option<JournalEnd>,
    /// The final counts. With `in_flight` above zero, that many accepted events were not applied.
    pub counters: Counters,
}

/// What became of a journal at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JournalEnd {
    /// The newest turn that is durable.
    pub durable: u64,
    /// The newest turn that was applied.
    pub applied: u64,
    /// The newest turn that there is a checkpoint of. What was applied since is applied again at the next start, which takes
    /// longer then and is the same.
    pub checkpoint: u64,
    /// Why it stopped writing, if it did.
    pub failure: Option<String>,
}

impl JournalEnd {
    /// True when everything that was applied is durable.
    pub fn is_complete(&self) -> bool {
        self.durable == self.applied
    }
}

/// Why a main lane stopped by itself: a panic in the host's code where nothing can go on, or a journal that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The reducer panicked on an event.
    Reducer {
        /// The lane the event came through.
        lane: LaneId,
        /// The lane's name.
        lane_name: Arc<str>,
        /// The event's kind.
        kind: &'static str,
        /// What the reducer said.
        message: String,
    },
    /// An event reached an authority that does not own it, and the pipeline was built to
    /// [panic](crate::Builder::panic_on_misrouted) on that.
    Misrouted {
        /// The lane the event came through.
        lane: LaneId,
        /// The lane's name.
        lane_name: Arc<str>,
        /// The event's kind.
        kind: &'static str,
        /// The owner it reached: `None` when the state has no such owner at all.
        reached: Option<Authority>,
        /// The owner it names.
        belongs_to: Authority,
    },
    /// Copying the state panicked, for a snapshot or for the timeline.
    Snapshot {
        /// What the state's `Clone` said.
        message: String,
    },
    /// Dropping an event that had been applied panicked.
    EventDrop {
        /// What its `Drop` said.
        message: String,
    },
    /// The journal failed, and the pipeline was built to make nothing visible that is not durable.
    Journal {
        /// What happened.
        message: String,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Reducer { lane_name, kind, message, .. } => {
                write!(f, "the reducer panicked on an event of kind `{kind}` from lane `{lane_name}`: {message}")
            }
            Fault::Misrouted { lane_name, kind, reached, belongs_to, .. } => {
                let misrouted = Misrouted { reached: *reached, belongs_to: *belongs_to };
                write!(f, "an event of kind `{kind}` from lane `{lane_name}` went wrong: {misrouted}")
            }
            Fault::Snapshot { message } => write!(f, "copying the state panicked: {message}"),
            Fault::EventDrop { message } => write!(f, "dropping an event panicked: {message}"),
            Fault::Journal { message } => write!(f, "the journal failed: {message}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_says_what_panicked_and_what_it_said() {
        let says = |message: &str| message.to_owned();
        let (lane, lane_name, kind, message) = (LaneId(3), "pane 1".into(), "pane.exited", says("boom"));
        let reducer = Fault::Reducer { lane, lane_name, kind, message }.to_string();
        assert!(["pane 1", "pane.exited", "boom"].iter().all(|part| reducer.contains(part)), "{reducer}");
        let (reached, belongs_to) = (Some(Authority::STATE), Authority::new(1, "layout"));
        let (lane, lane_name) = (LaneId(3), "pane 1".into());
        let misrouted = Fault::Misrouted { lane, lane_name, kind, reached, belongs_to }.to_string();
        assert!(
            ["pane 1", "pane.exited", "`layout`", "`state`"].iter().all(|part| misrouted.contains(part)),
            "{misrouted}"
        );
        assert!(Fault::Snapshot { message: says("no copy") }.to_string().contains("no copy"));
        assert!(Fault::EventDrop { message: says("no end") }.to_string().contains("no end"));
    }
}

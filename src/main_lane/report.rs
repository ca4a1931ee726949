//! What is said of a pipeline's end.

use std::sync::Arc;

use crate::event::{Event, LaneId};
use crate::main_lane::outcome::Poison;
use crate::observe::counters::Counters;

/// What a shutdown did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// True when every accepted event was applied (or refused and reported), published, and every thread joined.
    pub complete: bool,
    /// Ingestion threads that were joined.
    pub joined: usize,
    /// Threads that did not stop before the deadline, by name. They were left running, and can push no more.
    pub stragglers: Vec<String>,
    /// Why the main lane stopped by itself, if it did. The event is kept: see [`MainLane::take_poison`](crate::MainLane::take_poison) and
    /// [`Running::take_poison`](crate::Running::take_poison).
    pub fault: Option<Fault>,
    /// The final counts. With `in_flight` above zero, that many accepted events were not applied.
    pub counters: Counters,
}

/// A reducer's panic.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// The lane the event came through.
    pub lane: LaneId,
    /// The lane's name.
    pub lane_name: Arc<str>,
    /// The event's kind.
    pub kind: &'static str,
    /// What the reducer said.
    pub message: String,
}

impl Fault {
    pub(crate) fn of<E: Event>(poison: &Poison<E>) -> Self {
        let Poison { lane, lane_name, message, event, .. } = poison;
        Fault { lane: *lane, lane_name: lane_name.clone(), kind: event.kind(), message: message.clone() }
    }
}

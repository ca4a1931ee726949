//! An event that has left its lane, with its envelope: what a timeline keeps and a journal records.

use crate::clock::Stamp;
use crate::core::contain;
use crate::event::{Envelope, Event, LaneId, Sequence};
use crate::origin::Origin;

/// An event by value, with what the engine knows about it.
pub(crate) struct Entry<E: Event> {
    pub(crate) stamp: Stamp,
    pub(crate) lane: LaneId,
    pub(crate) sequence: Sequence,
    /// The lane's; an event may name another for itself.
    pub(crate) lane_origin: Origin,
    pub(crate) parts: u32,
    pub(crate) facets: E::Facets,
    pub(crate) event: E,
}

impl<E: Event> Entry<E> {
    /// As a reducer sees it.
    pub(crate) fn envelope(&self) -> Envelope<'_, E> {
        Envelope {
            stamp: self.stamp,
            lane: self.lane,
            sequence: self.sequence,
            origin: self.event.origin().unwrap_or(self.lane_origin),
            operation: self.event.operation(),
            parts: self.parts,
            facets: &self.facets,
            event: &self.event,
        }
    }
}

/// In place of an event's kind, when the host's code panicked as it was asked for.
pub(crate) const NO_KIND: &str = "an event that does not say its kind";

impl<E: Event> Entry<E> {
    /// For events on which the host's code has panicked: it may well do so again.
    pub(crate) fn kind(&self) -> &'static str {
        kind(&self.event)
    }
}

/// As there.
pub(crate) fn kind<E: Event>(event: &E) -> &'static str {
    contain(|| event.kind()).unwrap_or(NO_KIND)
}

/// What became of an event of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Applied,
    /// It never reached the state: misrouted, sealed, or quarantined.
    Refused,
}

//! An event that has left its lane, with its envelope: what a timeline keeps and a journal records.

use crate::clock::Stamp;
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

/// What became of an event of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Applied,
    /// It never reached the state: misrouted, sealed, or quarantined.
    Refused,
}

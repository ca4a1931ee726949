//! A host for tests: its events, its state, and entries of them.

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use crate::clock::Stamp;
use crate::event::{Class, Envelope, Event, LaneId, Sequence};
use crate::facets::{Facets, Fill};
use crate::main_lane::entry::Entry;
use crate::main_lane::reduce::{Effects, Reducer};
use crate::origin::Origin;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Context {
    pub(crate) project: Option<u32>,
}

impl Facets for Context {
    fn fill(&mut self, fallback: &Self) {
        self.project.fill(&fallback.project);
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Change {
    Add(i64),
    Note { text: String, bytes: Vec<u8> },
    Nothing,
}

impl Event for Change {
    type Key = ();
    type Facets = Context;

    fn class(&self) -> Class<()> {
        Class::Critical
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sum {
    pub(crate) sum: i64,
    pub(crate) notes: Vec<String>,
}

impl Reducer for Sum {
    type Event = Change;
    type Effect = ();

    fn apply(&mut self, envelope: &Envelope<'_, Change>, _: &mut Effects<()>) {
        match envelope.event {
            Change::Add(number) => self.sum = self.sum.wrapping_add(*number),
            Change::Note { text, .. } => self.notes.push(text.clone()),
            Change::Nothing => {}
        }
    }
}

/// What can be compared of an entry.
pub(crate) type Plain = (u64, u32, u64, Origin, u32, Context, Change);

pub(crate) fn plain(entry: &Entry<Change>) -> Plain {
    let Entry { stamp, lane, sequence, lane_origin, parts, facets, event } = entry;
    (stamp.0, lane.0, sequence.0, *lane_origin, *parts, facets.clone(), event.clone())
}

pub(crate) fn entry((stamp, lane, sequence, lane_origin, parts, facets, event): Plain) -> Entry<Change> {
    let (stamp, lane, sequence) = (Stamp(stamp), LaneId(lane), Sequence(sequence));
    Entry { stamp, lane, sequence, lane_origin, parts, facets, event }
}

/// Entries of a few lanes.
pub(crate) fn any_entries() -> impl Strategy<Value = Vec<Plain>> {
    prop::collection::vec(any_entry(), 0..40)
}

fn any_entry() -> impl Strategy<Value = Plain> {
    let lane = prop_oneof![0..3_u32, 0..200_u32, any::<u32>()];
    let number = || prop_oneof![0..200_u64, any::<u64>()];
    let parts = prop_oneof![Just(1), any::<u32>()];
    let facets = any::<Option<u32>>().prop_map(|project| Context { project });
    (number(), lane, number(), any_origin(), parts, facets, any_change())
}

fn any_origin() -> impl Strategy<Value = Origin> {
    let name = || prop::sample::select(vec!["", "pane", "git", "version-control", "größer"]);
    let id = || prop_oneof![0..3_u64, any::<u64>()];
    prop_oneof![
        (name(), id()).prop_map(|(part, id)| Origin::built_in(part, id)),
        (name(), name(), id()).prop_map(|(interface, provider, id)| Origin::service(interface, provider, id)),
        (name(), name(), id()).prop_map(|(plugin, schema, id)| Origin::plug_in(plugin, schema, id)),
    ]
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        any::<i64>().prop_map(Change::Add),
        (".{0,20}", prop::collection::vec(any::<u8>(), 0..200)).prop_map(|(text, bytes)| Change::Note { text, bytes }),
        Just(Change::Nothing),
    ]
}

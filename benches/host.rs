//! The host that is measured, part by part: by `parts.rs` in time, by `speed/instructions.rs` in instructions.

use mainlane::{
    Budget, Class, Coalesced, Effects, Envelope, Event, Lane, LaneBuilder, MainLane, Pipeline, Publish, Reducer, Tier,
};

/// Events of 24 bytes, critical or of a key.
#[derive(Clone, Copy)]
pub(crate) enum Load {
    Critical(u64, u64),
    Keyed(u32, u64),
}

impl Event for Load {
    type Key = u32;
    type Facets = ();

    fn class(&self) -> Class<u32> {
        match self {
            Load::Critical(..) => Class::Critical,
            Load::Keyed(key, _) => Class::lossy(*key, Tier::NORMAL),
        }
    }

    fn coalesce(&mut self, newer: Self) -> Coalesced {
        *self = newer;
        Coalesced::Replaced
    }
}

#[derive(Clone, Default)]
pub(crate) struct Sum {
    pub(crate) events: u64,
    pub(crate) sum: u64,
}

impl Reducer for Sum {
    type Event = Load;
    type Effect = ();

    fn apply(&mut self, envelope: &Envelope<'_, Load>, _: &mut Effects<()>) {
        self.events += 1;
        self.sum = match envelope.event {
            Load::Critical(number, value) => self.sum.wrapping_add(number ^ value),
            Load::Keyed(_, value) => self.sum.wrapping_add(*value),
        };
    }
}

const RING: usize = 1024;

pub(crate) fn pipeline(lanes: usize, clocked: bool, keys: usize, publish: Publish) -> (Vec<Lane<Load>>, MainLane<Sum>) {
    pipeline_of(lanes, publish, |lane| {
        let lane = lane.keys(keys);
        if clocked { lane } else { lane.unclocked() }
    })
}

pub(crate) fn pipeline_of(
    lanes: usize,
    publish: Publish,
    set: impl Fn(LaneBuilder<Sum>) -> LaneBuilder<Sum>,
) -> (Vec<Lane<Load>>, MainLane<Sum>) {
    let builder = Pipeline::builder(Sum::default()).publish(publish);
    let open = |at| set(builder.lane(format!("lane {at}")).capacity(RING)).open().expect("not built yet");
    let lanes = (0..lanes).map(open).collect();
    (lanes, builder.build().expect("settings are in range").0)
}

pub(crate) fn drain(main_lane: &mut MainLane<Sum>) -> usize {
    main_lane.turn(Budget::UNLIMITED).expect("the reducer does not panic").events
}

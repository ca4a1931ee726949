//! All lanes of a main lane: taking in new ones, and turning their counts into diagnostics.

use crate::clock::Bound;
use crate::core::Core;
use crate::event::Event;
use crate::hub::{Hub, Letter};
use crate::main_lane::awaited::Awaited;
use crate::main_lane::cut::Extend;
use crate::main_lane::flight::Flight;
use crate::main_lane::keeping::Keeping;
use crate::main_lane::lane_end::LaneEnd;
use crate::main_lane::merge::Merge;
use crate::main_lane::outcome::Phase;
use crate::main_lane::publish::Publishing;
use crate::main_lane::reduce::Reducer;
use crate::observe::diagnostic::Diagnostic;

/// The lanes, each kind in the order that breaks ties: rank, then number.
pub(crate) struct Lanes<E: Event> {
    pub(crate) unclocked: Vec<LaneEnd<E>>,
    pub(crate) clocked: Vec<LaneEnd<E>>,
    /// Of the clocked lanes' heads, while a batch is merged.
    pub(crate) merge: Merge,
    /// Of the cut.
    pub(crate) cut_awaited: Awaited,
}

/// Which lane.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) clocked: bool,
    pub(crate) at: usize,
}

impl<E: Event> Extend for LaneEnd<E> {
    #[inline]
    fn look(&mut self) -> bool {
        LaneEnd::look(self)
    }

    #[inline]
    fn has_unseen(&mut self) -> bool {
        LaneEnd::has_unseen(self)
    }

    #[inline]
    fn admit(&mut self) {
        LaneEnd::admit(self);
    }

    #[inline]
    fn end_key(&mut self) -> Option<u64> {
        LaneEnd::end_key(self)
    }

    #[inline]
    fn admit_unseen(&mut self) {
        LaneEnd::admit_unseen(self);
    }

    #[inline]
    fn extend(&mut self, bound: Bound) -> bool {
        LaneEnd::extend(self, bound)
    }
}

impl<E: Event> Lanes<E> {
    pub(crate) fn new() -> Self {
        Self { unclocked: Vec::new(), clocked: Vec::new(), merge: Merge::new(), cut_awaited: Awaited::default() }
    }

    #[inline]
    pub(crate) fn at(&mut self, Place { clocked, at }: Place) -> &mut LaneEnd<E> {
        if clocked { &mut self.clocked[at] } else { &mut self.unclocked[at] }
    }
}

/// Takes in what was posted since `letters`. True if there was anything.
#[inline]
#[expect(
    clippy::too_many_arguments,
    reason = "parts of the main lane, whose clocked lanes are lent to the cut meanwhile"
)]
pub(crate) fn adopt<S: Reducer>(
    hub: &Hub<S>,
    letters: &mut u64,
    phase: Phase,
    publishing: &mut Publishing<S>,
    keeping: &mut Option<Box<Keeping<S>>>,
    flight: &Flight,
    unclocked: &mut Vec<LaneEnd<S::Event>>,
    clocked: &mut Vec<LaneEnd<S::Event>>,
) -> bool {
    let posted = hub.mailbox.posted();
    if posted == *letters {
        return false;
    }
    *letters = posted;
    take_in(hub, phase, publishing, keeping, flight, unclocked, clocked);
    true
}

#[cold]
fn take_in<S: Reducer>(
    hub: &Hub<S>,
    phase: Phase,
    publishing: &mut Publishing<S>,
    keeping: &mut Option<Box<Keeping<S>>>,
    flight: &Flight,
    unclocked: &mut Vec<LaneEnd<S::Event>>,
    clocked: &mut Vec<LaneEnd<S::Event>>,
) {
    for letter in hub.mailbox.collect() {
        match letter {
            Letter::WakeHook(hook) => publishing.add_hook(hook, &hub.core),
            Letter::Flight(answer) => answer.give(flight.read(unclocked.iter().chain(&*clocked)).into()),
            Letter::Request(request) => match keeping {
                Some(keeping) => keeping.requests.push_back(request),
                None => request.refuse(),
            },
            Letter::Lane(lane) => {
                if phase != Phase::Running {
                    // Opened while the pipeline closes: it accepts nothing, and what it accepted is applied.
                    lane.shared.gate.shut();
                    hub.core.store_load.heavy();
                    lane.shared.room.ring();
                }
                let lanes = if lane.clocked { &mut *clocked } else { &mut *unclocked };
                let place = lanes.partition_point(|other| (other.rank, other.id) < (lane.rank, lane.id));
                lanes.insert(place, *lane);
            }
        }
    }
}

/// Reports what was shed, returned and mishandled on a lane since the last report.
pub(crate) fn report_lane<E: Event>(core: &Core, lane: &mut LaneEnd<E>) {
    let counts = &lane.shared.counts.producer.rare;
    let now =
        [counts.shed_unread.read() + counts.shed_at_once.read(), counts.returned.read(), counts.enricher_panics.read()];
    let before = std::mem::replace(&mut lane.reported, now);
    if now == before {
        return;
    }
    let [shed, returned, enricher_panics] = [0, 1, 2].map(|at| now[at] - before[at]);
    let id = lane.id;
    if shed > 0 {
        core.report(Diagnostic::Shed { lane: id, count: shed });
    }
    if returned > 0 {
        core.report(Diagnostic::Returned { lane: id, count: returned });
    }
    if enricher_panics > 0 {
        core.report(Diagnostic::EnricherPanicked { lane: id, count: enricher_panics });
    }
}

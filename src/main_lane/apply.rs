//! What happens to one event when its turn has come.

use crate::core::Core;
use crate::event::{Authority, Envelope, Event, LaneId, OperationId};
use crate::main_lane::lane_end::Applied;
use crate::main_lane::operations::{Finding, Operations};
use crate::main_lane::reduce::{Effects, Reducer};
use crate::observe::diagnostic::Diagnostic;

/// The state, and what is needed to apply an event to it.
pub(crate) struct Applying<S: Reducer> {
    pub(crate) state: S,
    pub(crate) effects: Effects<S::Effect>,
    pub(crate) operations: Operations,
    /// How many effects there were before the event that is being applied; `None` between events.
    pub(crate) applying_from: Option<usize>,
}

impl<S: Reducer> Applying<S> {
    const OWNED: u64 = owned(S::AUTHORITIES);

    pub(crate) fn new(state: S) -> Self {
        Self { state, effects: Effects::new(), operations: Operations::new(), applying_from: None }
    }

    #[inline]
    pub(crate) fn apply(&mut self, core: &Core, envelope: Envelope<'_, S::Event>) -> Applied {
        let authority = envelope.event.authority();
        if authority.bit() & Self::OWNED == 0 {
            misrouted(core, &envelope, None, authority);
            return Applied::Refused;
        }
        if let Some(operation) = envelope.operation {
            let find = |finding| diagnose(core, envelope.lane, operation.id, operation, finding);
            if !self.operations.admit(operation, envelope.parts, find) {
                return Applied::Refused;
            }
        }
        let before = self.effects.pending.len();
        self.applying_from = Some(before);
        self.state.apply(&envelope, &mut self.effects);
        self.applying_from = None;
        if let Some(reached) = self.effects.misrouted_to.take() {
            self.effects.pending.truncate(before);
            misrouted(core, &envelope, Some(reached), authority);
            return Applied::Refused;
        }
        if let Some(operation) = envelope.operation {
            let find = |finding| diagnose(core, envelope.lane, operation.id, operation, finding);
            self.operations.applied(operation, find);
        }
        Applied::Yes
    }

    /// The reducer panicked: what the event asked for is forgotten. False if it was not the reducer that did.
    pub(crate) fn forget_event(&mut self) -> bool {
        self.effects.misrouted_to = None;
        let Some(before) = self.applying_from.take() else { return false };
        self.effects.pending.truncate(before);
        true
    }
}

const fn owned(authorities: &[Authority]) -> u64 {
    let (mut mask, mut at) = (0, 0);
    while at < authorities.len() {
        mask |= authorities[at].bit();
        at += 1;
    }
    mask
}

#[cold]
fn misrouted<E: Event>(core: &Core, envelope: &Envelope<'_, E>, reached: Option<Authority>, belongs_to: Authority) {
    let (lane, kind) = (envelope.lane, envelope.event.kind());
    core.report(Diagnostic::Misrouted { lane, kind, reached, belongs_to });
}

#[cold]
fn diagnose(
    core: &Core,
    lane: LaneId,
    operation: OperationId,
    crate::event::Operation { sequence, phase, .. }: crate::event::Operation,
    finding: Finding,
) {
    core.report(match finding {
        Finding::Sealed => Diagnostic::Sealed { lane, operation, sequence },
        Finding::Gap { expected } => Diagnostic::OperationGap { operation, expected, found: sequence },
        Finding::Repeat => Diagnostic::OperationRepeat { operation, sequence, phase },
        Finding::Forgotten(operation) => Diagnostic::OperationForgotten { operation },
    });
}

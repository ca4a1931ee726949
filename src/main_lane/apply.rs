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
}

impl<S: Reducer> Applying<S> {
    const OWNED: u64 = owned(S::AUTHORITIES);

    pub(crate) fn new(state: S) -> Self {
        Self { state, effects: Effects::new(), operations: Operations::new() }
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
        self.state.apply(&envelope, &mut self.effects);
        match self.effects.misrouted_to.take() {
            None => Applied::Yes,
            Some(reached) => {
                misrouted(core, &envelope, Some(reached), authority);
                Applied::Refused
            }
        }
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

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
    /// The reducer panicked.
    by_reducer: bool,
}

impl<S: Reducer> Applying<S> {
    const OWNED: u64 = owned(S::AUTHORITIES);

    pub(crate) fn new(state: S) -> Self {
        Self { state, effects: Effects::new(), operations: Operations::new(), by_reducer: false }
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
        let asked_before = self.effects.pending.len();
        let reducing = Reducing { effects: &mut self.effects, asked_before, by_reducer: &mut self.by_reducer };
        self.state.apply(&envelope, reducing.effects);
        // Only a panic drops it.
        std::mem::forget(reducing);
        if let Some(reached) = self.effects.misrouted_to {
            self.effects.take_back(asked_before);
            misrouted(core, &envelope, Some(reached), authority);
            return Applied::Refused;
        }
        if let Some(operation) = envelope.operation {
            let find = |finding| diagnose(core, envelope.lane, operation.id, operation, finding);
            self.operations.applied(operation, find);
        }
        Applied::Yes
    }

    /// True if it was the reducer that panicked. What its event asked for is forgotten then.
    pub(crate) fn is_by_reducer(&self) -> bool {
        self.by_reducer
    }
}

/// A reducer at work. Dropped when it panics.
struct Reducing<'a, F> {
    effects: &'a mut Effects<F>,
    asked_before: usize,
    by_reducer: &'a mut bool,
}

impl<F> Drop for Reducing<'_, F> {
    #[cold]
    fn drop(&mut self) {
        *self.by_reducer = true;
        self.effects.take_back(self.asked_before);
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

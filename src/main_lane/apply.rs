//! What happens to one event when its turn has come.

use std::fmt;

use crate::core::Core;
use crate::event::{Authority, Envelope, Event, LaneId, OperationId, Sequence};
use crate::main_lane::entry::Fate;
use crate::main_lane::flight::Flight;
use crate::main_lane::lane_end::{Applied, Apply};
use crate::main_lane::operations::{Finding, Operations};
use crate::main_lane::reduce::{Effects, Reducer};
use crate::observe::diagnostic::Diagnostic;

/// The state, and what is needed to apply an event to it.
pub(crate) struct Applying<S: Reducer> {
    pub(crate) state: S,
    pub(crate) effects: Effects<S::Effect>,
    pub(crate) operations: Operations,
    pub(crate) flight: Flight,
    /// The reducer panicked, and so many effects were asked for before its event.
    by_reducer: Option<usize>,
    /// Panics on an event that reached the wrong owner.
    pub(crate) panics_on_misrouted: bool,
    /// That is why it panicked.
    pub(crate) misrouted: Option<Misrouted>,
}

/// Where an event went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Misrouted {
    pub(crate) reached: Option<Authority>,
    pub(crate) belongs_to: Authority,
}

impl<S: Reducer> Applying<S> {
    const OWNED: u64 = owned(S::AUTHORITIES);

    /// Takes note of no event until it is given a recorder.
    pub(crate) fn new(state: S, operations: Operations) -> Self {
        Self {
            state,
            effects: Effects::new(),
            operations,
            flight: Flight::new(0),
            by_reducer: None,
            panics_on_misrouted: false,
            misrouted: None,
        }
    }

    /// For events to be applied; what is found is reported to `core`.
    #[inline]
    pub(crate) fn with<'a>(&'a mut self, core: &'a Core) -> ApplyTo<'a, S> {
        ApplyTo { applying: self, core }
    }

    #[inline(always)]
    fn apply(&mut self, core: &Core, envelope: Envelope<'_, S::Event>) -> Applied {
        let authority = envelope.event.authority();
        if authority.bit() & Self::OWNED == 0 {
            self.strayed(core, envelope.lane, envelope.sequence, envelope.event, self.effects.pending.len());
            return Applied::Refused;
        }
        if let Some(operation) = envelope.operation {
            let find = |finding| diagnose(core, envelope.lane, operation.id, operation, finding);
            if !self.operations.admit(operation, envelope.parts, find) {
                self.flight.refuse(envelope.sequence.0);
                return Applied::Refused;
            }
        }
        let asked_before = self.effects.pending.len();
        let reducing = Reducing { asked_before, by_reducer: &mut self.by_reducer };
        self.state.apply(&envelope, &mut self.effects);
        // Only a panic drops it.
        std::mem::forget(reducing);
        if self.effects.misrouted_to.is_some() {
            self.strayed(core, envelope.lane, envelope.sequence, envelope.event, asked_before);
            return Applied::Refused;
        }
        if let Some(operation) = envelope.operation {
            let find = |finding| diagnose(core, envelope.lane, operation.id, operation, finding);
            self.operations.applied(operation, find);
        }
        Applied::Yes
    }

    /// This event is not the state's own, or the reducer says that it reached the wrong part of it.
    ///
    /// By itself, and without the envelope: what is left in the loop over a run of events is what most of them need, which
    /// the compiler then keeps in registers.
    #[cold]
    #[inline(never)]
    fn strayed(&mut self, core: &Core, lane: LaneId, sequence: Sequence, event: &S::Event, asked_before: usize) {
        let (reached, belongs_to) = (self.effects.misrouted_to, event.authority());
        self.effects.take_back(asked_before);
        core.report(Diagnostic::Misrouted { lane, kind: event.kind(), reached, belongs_to });
        if self.panics_on_misrouted {
            let kind = event.kind();
            self.by_reducer = Some(asked_before);
            let misrouted = *self.misrouted.insert(Misrouted { reached, belongs_to });
            // Nothing of it was applied. Whoever catches this stops the main lane, and rolls nothing back.
            panic!("an event of kind `{kind}` went wrong: {misrouted}");
        }
        self.flight.refuse(sequence.0);
    }

    /// Applies an event that has left its lane, and takes note of it.
    pub(crate) fn fate_of(&mut self, core: &Core, envelope: Envelope<'_, S::Event>) -> Fate {
        self.flight.begin(envelope.sequence.0);
        let applied = self.apply(core, envelope);
        self.flight.note(&envelope);
        match applied {
            Applied::Yes => Fate::Applied,
            Applied::Refused => Fate::Refused,
        }
    }

    /// Takes note of an event that is not to be applied any more, because the reducer panicked on it: its operation goes on
    /// as it did then.
    #[cfg(feature = "journal")]
    pub(crate) fn skip(&mut self, core: &Core, envelope: Envelope<'_, S::Event>) {
        if envelope.event.authority().bit() & Self::OWNED != 0
            && let Some(operation) = envelope.operation
        {
            let find = |finding| diagnose(core, envelope.lane, operation.id, operation, finding);
            self.operations.admit(operation, envelope.parts, find);
        }
    }

    /// True if it was the reducer that panicked. What its event asked for is forgotten then.
    pub(crate) fn forget_event(&mut self) -> bool {
        let Some(asked_before) = self.by_reducer.take() else { return false };
        self.effects.take_back(asked_before);
        true
    }
}

pub(crate) struct ApplyTo<'a, S: Reducer> {
    applying: &'a mut Applying<S>,
    core: &'a Core,
}

impl<S: Reducer> Apply<S::Event> for ApplyTo<'_, S> {
    #[inline(always)]
    fn apply(&mut self, envelope: Envelope<'_, S::Event>) -> Applied {
        self.applying.apply(self.core, envelope)
    }

    #[inline(always)]
    fn flight(&mut self) -> &mut Flight {
        &mut self.applying.flight
    }
}

/// A reducer at work. Dropped when it panics.
struct Reducing<'a> {
    asked_before: usize,
    by_reducer: &'a mut Option<usize>,
}

impl Drop for Reducing<'_> {
    #[cold]
    fn drop(&mut self) {
        // No more than that: effects are the host's, and may panic as they are dropped, which must not happen while unwinding.
        *self.by_reducer = Some(self.asked_before);
    }
}

impl fmt::Display for Misrouted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Misrouted { reached: Some(reached), belongs_to } => {
                write!(f, "it belongs to the authority `{belongs_to}` and reached `{reached}`")
            }
            Misrouted { reached: None, belongs_to } => {
                write!(f, "it belongs to the authority `{belongs_to}`, which this state does not have")
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Stamp;
    use crate::event::{Class, Operation, Phase, Sequence};
    use crate::observe::diagnostic::{Diagnostics, Reporter};
    use crate::origin::Origin;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    const MODEL: Authority = Authority::new(3, "model");
    const LAYOUT: Authority = Authority::new(5, "layout");
    const NOBODY: Authority = Authority::new(4, "nobody");
    const THORN: Authority = Authority::new(6, "thorn");

    #[derive(Clone, Copy)]
    struct Step {
        belongs_to: Authority,
        operation: Option<Operation>,
    }

    impl Event for Step {
        type Key = ();
        type Facets = ();

        fn class(&self) -> Class<()> {
            Class::Critical
        }

        fn authority(&self) -> Authority {
            self.belongs_to
        }

        fn kind(&self) -> &'static str {
            "step"
        }
    }

    /// Counts what is the model's, and knows no better of the layout than that it is not.
    #[derive(Clone, Default)]
    struct Count(u32);

    impl Reducer for Count {
        type Event = Step;
        type Effect = u32;

        const AUTHORITIES: &'static [Authority] = &[MODEL, LAYOUT, THORN];

        fn apply(&mut self, envelope: &Envelope<'_, Step>, effects: &mut Effects<u32>) {
            effects.push(self.0);
            if envelope.event.belongs_to != MODEL {
                effects.misrouted(MODEL);
                assert!(envelope.event.belongs_to != THORN, "ouch");
                return;
            }
            self.0 += 1;
        }
    }

    fn bench() -> (Applying<Count>, Core, Diagnostics) {
        let (reporter, diagnostics) = Reporter::new();
        let core = Core::new(crossbeam_utils::sync::Parker::new().unparker().clone(), reporter);
        (Applying::new(Count(0), Operations::new()), core, diagnostics)
    }

    fn apply(applying: &mut Applying<Count>, core: &Core, event: Step) -> Applied {
        let (stamp, lane, sequence, origin) = (Stamp(1), LaneId(2), Sequence(0), Origin::built_in("bench", 0));
        let Step { operation, .. } = event;
        applying
            .apply(core, Envelope { stamp, lane, sequence, origin, operation, parts: 1, facets: &(), event: &event })
    }

    #[test]
    fn an_event_is_applied_only_where_it_belongs_and_refused_with_its_effects_elsewhere() {
        let (mut applying, core, diagnostics) = bench();
        let applied = [MODEL, NOBODY, LAYOUT, MODEL].map(|belongs_to| {
            let step = Step { belongs_to, operation: None };
            apply(&mut applying, &core, step)
        });
        assert_eq!(applied, [Applied::Yes, Applied::Refused, Applied::Refused, Applied::Yes]);
        assert_eq!((applying.state.0, applying.effects.pending), (2, [0, 1].into()));
        let misrouted = |reached, belongs_to| {
            let (lane, kind) = (LaneId(2), "step");
            Diagnostic::Misrouted { lane, kind, reached, belongs_to }
        };
        let expected = [misrouted(None, NOBODY), misrouted(Some(MODEL), LAYOUT)];
        assert_eq!(diagnostics.drain().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn an_operation_is_refused_after_its_end_and_said_to_be() {
        let (mut applying, core, diagnostics) = bench();
        let id = OperationId(7);
        let mut step = |sequence, phase| {
            let operation = Some(Operation { id, sequence, phase });
            apply(&mut applying, &core, Step { belongs_to: MODEL, operation })
        };
        assert_eq!([step(0, Phase::Started), step(2, Phase::Terminal)], [Applied::Yes; 2]);
        assert_eq!([step(3, Phase::Progress), step(2, Phase::Terminal)], [Applied::Refused, Applied::Yes]);
        let expected = [
            Diagnostic::OperationGap { operation: id, expected: 1, found: 2 },
            Diagnostic::Sealed { lane: LaneId(2), operation: id, sequence: 3 },
            Diagnostic::OperationRepeat { operation: id, sequence: 2, phase: Phase::Terminal },
        ];
        assert_eq!(diagnostics.drain().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_reducer_that_panics_is_known_and_what_its_event_asked_for_is_forgotten() {
        let (mut applying, core, _) = bench();
        let step = |belongs_to| Step { belongs_to, operation: None };
        apply(&mut applying, &core, step(MODEL));
        assert!(!applying.forget_event());
        let unwound = catch_unwind(AssertUnwindSafe(|| apply(&mut applying, &core, step(THORN))));
        assert!(unwound.is_err() && applying.forget_event());
        assert_eq!((applying.effects.pending, applying.effects.misrouted_to), ([0].into(), None));
    }

    #[test]
    fn an_event_that_must_not_go_wrong_panics_after_it_was_refused_and_reported() {
        let (mut applying, core, diagnostics) = bench();
        let step = |belongs_to| Step { belongs_to, operation: None };
        apply(&mut applying, &core, step(MODEL));
        applying.panics_on_misrouted = true;
        for (belongs_to, reached) in [(NOBODY, None), (LAYOUT, Some(MODEL))] {
            let unwound = catch_unwind(AssertUnwindSafe(|| apply(&mut applying, &core, step(belongs_to))));
            let message = crate::core::panic_message(unwound.unwrap_err());
            assert!(message.contains("`step`") && message.contains(belongs_to.name()), "{message}");
            assert_eq!(diagnostics.drain().count(), 1);
            assert_eq!(applying.misrouted.take(), Some(Misrouted { reached, belongs_to }));
            // Not blamed on what was dropped, and of its effects nothing is left.
            assert!(applying.forget_event());
            assert_eq!((applying.state.0, &applying.effects.pending), (1, &[0].into()));
        }
    }

    #[test]
    fn the_owners_of_a_state_are_all_of_them_and_no_others() {
        assert_eq!([owned(&[]), owned(&[MODEL]), owned(&[MODEL, LAYOUT, MODEL])], [0, 8, 8 | 32]);
    }
}

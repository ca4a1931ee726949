//! What a host writes to say what its events do to its state.

use std::collections::VecDeque;

use crate::core::drop_each;
use crate::event::{Authority, Envelope, Event};
use crate::origin::Origin;

/// A state and what events do to it. Only the main lane ever calls [`apply`](Reducer::apply).
///
/// # Contract
/// - **Deterministic**: what `apply` does is a function of the state and the sequence of envelopes alone. No clock, no
///   randomness, no iteration over a hash map, nothing of the batch it happens to be in; time and randomness arrive as
///   events.
/// - **Pure of the outside**: `apply` touches nothing but the state. What must happen outside is an effect, run by a
///   [`Reconciler`](crate::Reconciler) after the batch.
/// - **Clone** is how a snapshot is made, once per publication. Make it cheap (persistent maps, `Arc`s), or write
///   `clone_from` so that it reuses what the retired snapshot already owns: then publishing allocates nothing.
pub trait Reducer: Clone + Send + Sync + 'static {
    /// The events of this state.
    type Event: Event;
    /// What `apply` asks to be done outside the state; `()` for nothing.
    type Effect: Send + 'static;

    /// The owners of parts of this state. An event that names another authority is refused, counted and reported,
    /// never applied.
    const AUTHORITIES: &'static [Authority] = &[Authority::STATE];

    /// Applies one event.
    fn apply(&mut self, envelope: &Envelope<'_, Self::Event>, effects: &mut Effects<Self::Effect>);

    /// The context that this state knows for an event about `origin`; the last place asked for facets that nobody set.
    /// Called on the lanes, with the newest published state.
    fn facets_of(&self, origin: Origin, event: &Self::Event) -> Option<&<Self::Event as Event>::Facets> {
        let _ = (origin, event);
        None
    }
}

/// Collects what `apply` wants done outside the state, in order.
pub struct Effects<F> {
    pub(crate) pending: VecDeque<F>,
    pub(crate) misrouted_to: Option<Authority>,
}

impl<F> Effects<F> {
    pub(crate) fn new() -> Self {
        Self { pending: VecDeque::new(), misrouted_to: None }
    }

    /// Forgets what was asked for by an event that was not applied after all.
    #[cold]
    pub(crate) fn take_back(&mut self, asked_before: usize) {
        self.misrouted_to = None;
        // Nothing is at stake when one panics.
        let _ = drop_each(self.pending.drain(asked_before..));
    }

    /// Asks for `effect` to be run after this batch.
    pub fn push(&mut self, effect: F) {
        self.pending.push_back(effect);
    }

    /// Says that this event reached `reached`, which does not own it, and was not applied: it is counted as refused
    /// and reported with its kind and the authority it belongs to. Effects it asked for are not run.
    ///
    /// For states with several owners, in the arms of the events that are not one's own. Leave the state alone then: what was
    /// not applied is left out whenever the past is applied again.
    pub fn misrouted(&mut self, reached: Authority) {
        self.misrouted_to = Some(reached);
    }
}

impl<F> std::fmt::Debug for Effects<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Effects").field("pending", &self.pending.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Class;

    struct Tick;

    impl Event for Tick {
        type Key = ();
        type Facets = ();

        fn class(&self) -> Class<()> {
            Class::Critical
        }
    }

    #[derive(Clone)]
    struct Idle;

    impl Reducer for Idle {
        type Event = Tick;
        type Effect = ();

        fn apply(&mut self, _: &Envelope<'_, Tick>, _: &mut Effects<()>) {}
    }

    #[test]
    fn a_state_that_says_nothing_of_facets_knows_none() {
        assert_eq!(Idle.facets_of(Origin::built_in("pane", 1), &Tick), None);
        assert_eq!(Idle::AUTHORITIES, [Authority::STATE]);
    }

    #[test]
    fn effects_are_kept_in_order_and_printed_by_their_number() {
        let mut effects = Effects::new();
        effects.push('a');
        effects.push('b');
        effects.misrouted(Authority::STATE);
        assert_eq!(
            (effects.pending.make_contiguous(), effects.misrouted_to),
            (&mut ['a', 'b'][..], Some(Authority::STATE))
        );
        assert_eq!(format!("{effects:?}"), "Effects { pending: 2 }");
        effects.take_back(1);
        assert_eq!((effects.pending.make_contiguous(), effects.misrouted_to), (&mut ['a'][..], None));
    }
}

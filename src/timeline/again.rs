//! Applying anew what was applied before.

use crate::core::{contain, let_go};
use crate::event::Event;
use crate::main_lane::entry::Entry;
use crate::main_lane::reduce::{Effects, Reducer};

/// In place of an event's kind, when it was no event on which the host's code panicked.
pub(super) const STATE: &str = "a copy of the state";

/// A state on its way from a checkpoint to somewhere else.
pub(super) struct Again<S: Reducer> {
    pub(super) state: S,
    /// Asked for and never run: it was run when the event was first applied.
    effects: Effects<S::Effect>,
    /// How many events were applied.
    pub(super) applied: usize,
}

/// The host's code panicked.
#[derive(Debug)]
pub(super) struct Stumbled {
    pub(super) kind: &'static str,
    pub(super) message: String,
}

impl<S: Reducer> Again<S> {
    /// Begins with a copy of this state.
    pub(super) fn from(state: &S) -> Result<Self, Stumbled> {
        Ok(Self { state: copy(state)?, effects: Effects::new(), applied: 0 })
    }

    /// Does `work`, and gives back the state that it comes to. Whatever it says, nothing that is the host's is dropped but in
    /// here.
    pub(super) fn through(mut self, work: impl FnOnce(&mut Self) -> Result<(), Stumbled>) -> Result<Self, Stumbled> {
        let outcome = work(&mut self);
        self.effects.take_back(0);
        match outcome {
            Ok(()) => Ok(self),
            Err(stumbled) => {
                let_go(self);
                Err(stumbled)
            }
        }
    }

    /// Applies one after the other.
    pub(super) fn apply<'a>(&mut self, entries: impl Iterator<Item = &'a Entry<S::Event>>) -> Result<(), Stumbled>
    where
        S::Event: 'a,
    {
        let mut current = None;
        // What the reducer may have left half-done lives outside, and is dropped when nothing unwinds any more.
        let outcome = contain(|| {
            for entry in entries {
                current = Some(&entry.event);
                self.state.apply(&entry.envelope(), &mut self.effects);
                if !self.effects.pending.is_empty() || self.effects.misrouted_to.is_some() {
                    self.effects.take_back(0);
                }
                self.applied += 1;
            }
        });
        outcome.map_err(|message| {
            let kind = current.and_then(|event| contain(|| event.kind()).ok()).unwrap_or(STATE);
            Stumbled { kind, message }
        })
    }
}

/// A copy is the host's code too.
pub(super) fn copy<S: Clone>(state: &S) -> Result<S, Stumbled> {
    contain(|| state.clone()).map_err(|message| Stumbled { kind: STATE, message })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Stamp;
    use crate::event::{Authority, Class, Envelope, LaneId, Sequence};
    use crate::origin::Origin;

    struct Step(u32);

    impl Event for Step {
        type Key = ();
        type Facets = ();

        fn class(&self) -> Class<()> {
            Class::Critical
        }

        fn kind(&self) -> &'static str {
            "step"
        }
    }

    /// Asks for an effect each time, and does not know odd events.
    #[derive(Debug)]
    struct Sum(u32);

    const NO_COPY: u32 = u32::MAX;

    impl Clone for Sum {
        fn clone(&self) -> Self {
            assert!(self.0 != NO_COPY, "no copy");
            Sum(self.0)
        }
    }

    impl Reducer for Sum {
        type Event = Step;
        type Effect = u32;

        fn apply(&mut self, envelope: &Envelope<'_, Step>, effects: &mut Effects<u32>) {
            let Step(number) = *envelope.event;
            effects.push(number);
            match number % 2 {
                0 => self.0 = self.0.checked_sub(number).expect("less than nothing"),
                _ => effects.misrouted(Authority::STATE),
            }
        }
    }

    fn entry(number: u32) -> Entry<Step> {
        let (stamp, lane, sequence, lane_origin) = (Stamp(1), LaneId(2), Sequence(0), Origin::built_in("bench", 0));
        Entry { stamp, lane, sequence, lane_origin, parts: 1, facets: (), event: Step(number) }
    }

    #[test]
    fn effects_of_the_past_are_forgotten_event_by_event() {
        let mut again = Again::from(&Sum(100)).unwrap();
        assert!(again.apply([2, 3, 4, 5].map(entry).iter()).is_ok());
        assert_eq!((again.state.0, again.applied), (94, 4));
        assert_eq!((again.effects.pending.len(), again.effects.misrouted_to), (0, None));
    }

    #[test]
    fn the_event_on_which_the_reducer_panics_is_named() {
        let mut again = Again::from(&Sum(5)).unwrap();
        let stumbled = again.apply([2, 4, 2].map(entry).iter()).expect_err("it is too much");
        assert_eq!((stumbled.kind, stumbled.message.as_str(), again.applied), ("step", "less than nothing", 1));
        let stumbled = Again::from(&Sum(NO_COPY)).err().expect("it panics");
        assert_eq!((stumbled.kind, stumbled.message.as_str()), (STATE, "no copy"));
    }
}

//! A host whose state tells everything that was done to it.

use mainlane::{Authority, Class, Effects, Envelope, Event, Operation, Reducer, Tier};
use serde::{Deserialize, Serialize};

/// What the reducer makes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Does {
    Write,
    /// Also asks for an effect.
    Ask,
    /// Panics unless event number so is in the state.
    Need(u32),
    /// Panics if it is.
    Shun(u32),
    Thorn,
    /// Is refused by the reducer.
    Stray,
    /// Is another's, and never reaches the reducer.
    Foreign,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Step {
    /// No other has it.
    pub(crate) number: u32,
    pub(crate) does: Does,
    pub(crate) part: Option<Operation>,
    /// Of one that may be replaced by the next with the same.
    pub(crate) key: Option<u32>,
}

const NOBODY: Authority = Authority::new(4, "nobody");

impl Event for Step {
    type Key = (bool, u64);
    type Facets = ();

    fn class(&self) -> Class<(bool, u64)> {
        match (self.part, self.key) {
            (Some(Operation { id, .. }), Some(_)) => Class::lossy((true, id.0), Tier::NORMAL),
            (None, Some(key)) => Class::lossy((false, u64::from(key)), Tier::NORMAL),
            (_, None) => Class::Critical,
        }
    }

    fn operation(&self) -> Option<Operation> {
        self.part
    }

    fn authority(&self) -> Authority {
        if self.does == Does::Foreign { NOBODY } else { Authority::STATE }
    }
}

/// The numbers of the events, and their stamps and places.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Log {
    pub(crate) told: Vec<u32>,
    pub(crate) seen: u64,
}

pub(crate) fn mix(chain: u64, value: u64) -> u64 {
    (chain.rotate_left(7) ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

impl Log {
    pub(crate) fn hash(&self) -> u64 {
        self.told.iter().fold(self.seen, |hash, number| mix(hash, u64::from(*number)))
    }
}

impl Reducer for Log {
    type Event = Step;
    type Effect = u32;

    fn apply(&mut self, envelope: &Envelope<'_, Step>, effects: &mut Effects<u32>) {
        let Step { number, does, .. } = *envelope.event;
        let has = |other| self.told.contains(&other);
        let panics = match does {
            Does::Thorn => true,
            Does::Need(other) => !has(other),
            Does::Shun(other) => has(other),
            Does::Write | Does::Ask | Does::Stray | Does::Foreign => false,
        };
        if does == Does::Stray {
            effects.push(number);
            effects.misrouted(Authority::STATE);
            return;
        }
        self.told.push(number);
        if does == Does::Ask || panics {
            effects.push(number);
        }
        if panics {
            // Half-way through it, and without the panic hook.
            std::panic::resume_unwind(Box::new("ouch"));
        }
        let place = envelope.sequence.as_u64().rotate_left(32) ^ u64::from(envelope.parts).rotate_left(50);
        self.seen = mix(self.seen, envelope.stamp.as_u64() ^ place);
    }
}

//! A small domain that most tests share: it remembers everything it was given.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use mainlane::{
    Authority, Budget, Class, Coalesced, Counters, Effects, Envelope, Event, Handle, LaneId, Left, MainLane, Operation,
    Reducer, Tier,
};

/// How long a test waits for what must happen before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    /// Critical.
    Item(u64),
    /// Lossy, the newer replaces.
    Level { key: u32, value: u64 },
    /// Lossy, counts add up.
    Sum { key: u32, value: u64 },
    /// Lossy, of a tier.
    Tiered { key: u32, tier: u8 },
    /// Part of an operation; progress is lossy.
    Step(Operation),
    /// Asks for an effect.
    Ask(u64),
    /// Belongs to an owner that `Ledger` does not have.
    Foreign,
    /// Reaches the wrong owner within `Ledger`.
    Stray,
    /// Makes the reducer panic.
    Poison,
    /// Makes the classifier panic.
    Unclassifiable,
}

pub(crate) const OTHER: Authority = Authority::new(7, "other");
pub(crate) const LAYOUT: Authority = Authority::new(1, "layout");

impl Event for Note {
    type Key = u32;
    type Facets = ();

    fn class(&self) -> Class<u32> {
        match self {
            Note::Level { key, .. } | Note::Sum { key, .. } => Class::lossy(*key, Tier::NORMAL),
            Note::Tiered { key, tier } => Class::lossy(*key, Tier::new(*tier)),
            Note::Step(operation) => Class::lossy(operation.id.0 as u32, Tier::NORMAL),
            Note::Item(_) | Note::Ask(_) | Note::Foreign | Note::Stray | Note::Poison => Class::Critical,
            Note::Unclassifiable => panic!("unclassifiable"),
        }
    }

    fn coalesce(&mut self, newer: Self) -> Coalesced {
        match (&mut *self, newer) {
            (Note::Sum { value, .. }, Note::Sum { value: more, .. }) => {
                *value += more;
                Coalesced::Merged
            }
            (older, newer) => {
                *older = newer;
                Coalesced::Replaced
            }
        }
    }

    fn operation(&self) -> Option<Operation> {
        match self {
            Note::Step(operation) => Some(*operation),
            _ => None,
        }
    }

    fn authority(&self) -> Authority {
        match self {
            Note::Foreign => OTHER,
            Note::Stray => LAYOUT,
            _ => Authority::STATE,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Note::Item(_) => "item",
            Note::Level { .. } => "level",
            Note::Sum { .. } => "sum",
            Note::Tiered { .. } => "tiered",
            Note::Step(_) => "step",
            Note::Ask(_) => "ask",
            Note::Foreign => "foreign",
            Note::Stray => "stray",
            Note::Poison => "poison",
            Note::Unclassifiable => "unclassifiable",
        }
    }
}

/// One event as the reducer saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) lane: LaneId,
    pub(crate) stamp: u64,
    pub(crate) sequence: u64,
    pub(crate) parts: u32,
    pub(crate) note: Note,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) seen: Vec<Seen>,
}

impl Reducer for Ledger {
    type Event = Note;
    type Effect = u64;

    const AUTHORITIES: &'static [Authority] = &[Authority::STATE, LAYOUT];

    fn apply(&mut self, envelope: &Envelope<'_, Note>, effects: &mut Effects<u64>) {
        match envelope.event {
            Note::Poison => panic!("poisoned"),
            Note::Stray => return effects.misrouted(Authority::STATE),
            Note::Ask(effect) => effects.push(*effect),
            _ => {}
        }
        self.seen.push(Seen {
            lane: envelope.lane,
            stamp: envelope.stamp.as_u64(),
            sequence: envelope.sequence.as_u64(),
            parts: envelope.parts,
            note: envelope.event.clone(),
        });
    }
}

impl Ledger {
    pub(crate) fn notes(&self) -> Vec<Note> {
        self.seen.iter().map(|seen| seen.note.clone()).collect()
    }
}

/// Turns until nothing is left; returns how many events that were.
pub(crate) fn drain<S: Reducer>(main_lane: &mut MainLane<S>) -> usize {
    let mut events = 0;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let turn = main_lane.turn(Budget::UNLIMITED).expect("no reducer panics here");
        events += turn.events;
        if turn.events == 0 && turn.left != Left::More {
            return events;
        }
        assert!(Instant::now() < deadline, "still events after {PATIENCE:?}");
    }
}

/// Waits until `holds`, for what another thread is to do.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not happen within {PATIENCE:?}");
        std::thread::yield_now();
    }
}

/// The counts, which must balance, with nothing in flight.
pub(crate) fn settled<S: Reducer>(handle: &Handle<S>) -> Counters {
    let counters = handle.counters();
    assert!(counters.events.balanced(), "the law is broken: {counters:#?}");
    assert_eq!(counters.events.in_flight, 0, "something is stuck: {counters:#?}");
    counters
}

/// Does it on a thread of its own, for it may never end.
pub(crate) fn does_end<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = mpsc::channel();
    let working = std::thread::spawn(move || drop(tell.send(work())));
    let done = told.recv_timeout(PATIENCE);
    assert_ne!(done.as_ref().err(), Some(&mpsc::RecvTimeoutError::Timeout), "it waits for itself");
    working.join().unwrap();
    done.unwrap()
}

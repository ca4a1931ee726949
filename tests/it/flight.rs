//! The flight recorder: the last events, each as the reducer had it, and no others.

use std::sync::Arc;
use std::time::Instant;

use mainlane::{
    Authority, Budget, Class, Coalesced, Drive, Effects, Envelope, Error, Event, FLIGHT_RECORDER, FLIGHT_RECORDER_MAX,
    FlightEntry, FlightOutcome, Handle, Lane, LaneId, MainLane, Operation, OperationId, Origin, Overflow, Phase,
    Pipeline, Reducer, Tier, Timeline, TurnError,
};
use parking_lot::Mutex;
use proptest::prelude::*;

use crate::domain::{LAYOUT, OTHER, PATIENCE, drain, until};

#[derive(Clone, Debug)]
struct Leg {
    kind: &'static str,
    /// Lossy, of this key.
    key: Option<u32>,
    operation: Option<Operation>,
    origin: Option<Origin>,
    authority: Authority,
}

const PLAIN: Leg = Leg { kind: "plain", key: None, operation: None, origin: None, authority: Authority::STATE };
const STRAY: Leg = Leg { kind: "stray", authority: LAYOUT, ..PLAIN };
const FOREIGN: Leg = Leg { kind: "foreign", authority: OTHER, ..PLAIN };
const POISON: Leg = Leg { kind: "poison", ..PLAIN };

impl Event for Leg {
    type Key = u32;
    type Facets = ();

    fn class(&self) -> Class<u32> {
        self.key.map_or(Class::Critical, |key| Class::lossy(key, Tier::NORMAL))
    }

    fn coalesce(&mut self, newer: Self) -> Coalesced {
        *self = newer;
        Coalesced::Merged
    }

    fn operation(&self) -> Option<Operation> {
        self.operation
    }

    fn authority(&self) -> Authority {
        self.authority
    }

    fn origin(&self) -> Option<Origin> {
        self.origin
    }

    fn kind(&self) -> &'static str {
        self.kind
    }
}

/// An event without the turn and the name of its lane, which a reducer does not know.
type Seen = (LaneId, u64, u64, &'static str, Origin, Option<Operation>, u32, FlightOutcome);

/// Writes down whatever reaches it, also what it does not apply.
#[derive(Clone, Default)]
struct Witness(Arc<Mutex<Vec<Seen>>>);

impl Reducer for Witness {
    type Event = Leg;
    type Effect = ();

    const AUTHORITIES: &'static [Authority] = &[Authority::STATE, LAYOUT];

    fn apply(&mut self, envelope: &Envelope<'_, Leg>, effects: &mut Effects<()>) {
        let Envelope { stamp, lane, sequence, origin, operation, parts, event, .. } = *envelope;
        let outcome = match event.kind {
            "poison" => FlightOutcome::Panicked,
            "stray" => FlightOutcome::Refused,
            _ => FlightOutcome::Applied,
        };
        self.0.lock().push((lane, stamp.as_u64(), sequence.as_u64(), event.kind, origin, operation, parts, outcome));
        match outcome {
            FlightOutcome::Panicked => panic!("poisoned"),
            FlightOutcome::Refused => effects.misrouted(Authority::STATE),
            FlightOutcome::Applied => {}
        }
    }
}

fn seen(entry: &FlightEntry) -> Seen {
    let FlightEntry { lane, stamp, sequence, kind, origin, operation, parts, outcome, .. } = *entry;
    (lane, stamp.as_u64(), sequence.as_u64(), kind, origin, operation, parts, outcome)
}

fn kinds(flight: &[FlightEntry]) -> Vec<&'static str> {
    flight.iter().map(|entry| entry.kind).collect()
}

fn last_of<T: Clone>(all: &[T], count: usize) -> Vec<T> {
    all[all.len().saturating_sub(count)..].to_vec()
}

fn built(entries: usize, kept: bool) -> (Vec<Lane<Leg>>, MainLane<Witness>, Handle<Witness>) {
    let builder = Pipeline::builder(Witness::default()).flight_recorder(entries);
    let builder = if kept { builder.timeline(Timeline::window(1000)) } else { builder };
    let open = |name: &'static str| {
        builder.lane(name).capacity(16).keys(8).overflow(Overflow::Return).origin(Origin::built_in(name, 1))
    };
    let lanes = [open("a"), open("b"), open("c").unclocked(), open("d").unclocked()];
    let lanes = lanes.into_iter().map(|lane| lane.open().unwrap()).collect();
    let (main_lane, handle) = builder.build().unwrap();
    (lanes, main_lane, handle)
}

/// What is pushed, and where to.
fn push(lanes: &mut [Lane<Leg>], step: u32, (at, what, count): (usize, u32, usize)) {
    let step = u64::from(step);
    let operation = Some(Operation { id: OperationId(step), sequence: 0, phase: Phase::Progress });
    let leg = match what {
        0 => STRAY,
        1 => Leg { kind: "operation", operation, ..PLAIN },
        2 => Leg { kind: "about", origin: Some(Origin::plug_in("mood", "mood/1", step)), ..PLAIN },
        3..6 => Leg { kind: "lossy", key: Some(what), ..PLAIN },
        6 => Leg { kind: "other", ..PLAIN },
        _ => PLAIN,
    };
    let events = (0..count).map(|_| leg.clone());
    // A full ring hands back what does not fit.
    let _ = lanes[at].push_batch(events);
}

proptest! {
    /// Against everything that reached the reducer: singly and in runs, in place and out of it, over wraps of both rings, and
    /// in budgets; and in the end with a panic.
    #[test]
    fn the_last_ones_and_no_others_are_kept_in_the_order_in_which_they_were_taken(
        size in 0u32..7,
        kept in any::<bool>(),
        steps in proptest::collection::vec((0usize..5, 0u32..12, 1usize..12), 1..80),
        last in 0usize..4,
    ) {
        let size = 1usize << size;
        let (mut lanes, mut main_lane, _handle) = built(size, kept);
        let truth = main_lane.state().0.clone();
        let mut turns: Vec<u64> = Vec::new();
        let check = |main_lane: &MainLane<Witness>, turns: &[u64]| {
            let flight = main_lane.flight();
            prop_assert_eq!(flight.iter().map(seen).collect::<Vec<_>>(), last_of(&truth.lock(), size));
            prop_assert_eq!(flight.iter().map(|entry| entry.turn).collect::<Vec<_>>(), last_of(turns, size));
            let names: Vec<_> = flight.iter().map(|entry| ["a", "b", "c", "d"][entry.lane.number() as usize]).collect();
            prop_assert_eq!(flight.iter().map(|entry| &*entry.lane_name).collect::<Vec<_>>(), names);
            Ok(())
        };
        for (step, what) in steps.into_iter().enumerate() {
            if what.0 < 4 {
                push(&mut lanes, step as u32, what);
                continue;
            }
            let budget = if what.1 < 6 { Budget::UNLIMITED } else { Budget::events(what.2) };
            let turn = main_lane.turn(budget).unwrap();
            turns.resize(truth.lock().len(), turn.number);
            check(&main_lane, &turns)?;
        }
        while main_lane.turn(Budget::UNLIMITED).unwrap().events > 0 {
            turns.resize(truth.lock().len(), 0);
        }
        let told = |kind| (kind, if kind == "stray" { FlightOutcome::Refused } else { FlightOutcome::Applied });
        let mut expected: Vec<_> = truth.lock().iter().map(|(.., kind, _, _, _, _)| told(*kind)).collect();
        lanes[last].push_batch([PLAIN, STRAY, PLAIN, POISON, PLAIN]).unwrap();
        let failed = main_lane.turn(Budget::UNLIMITED);
        prop_assert_eq!(matches!(failed, Err(TurnError::ReducerPanicked(_))), !kept);
        expected.extend(["plain", "stray", "plain"].map(told));
        expected.push(("poison", FlightOutcome::Panicked));
        // A timeline sets it aside and goes on; to roll it back takes others to the reducer once more.
        expected.extend(kept.then(|| told("plain")));
        let flight = main_lane.flight();
        let outcomes: Vec<_> = flight.iter().map(|entry| (entry.kind, entry.outcome)).collect();
        prop_assert_eq!(outcomes, last_of(&expected, size));
        if !kept {
            prop_assert_eq!(flight.iter().map(seen).collect::<Vec<_>>(), last_of(&truth.lock(), size));
        }
    }
}

#[test]
fn what_never_reaches_the_reducer_is_there_as_refused() {
    let step = |sequence, phase| {
        let operation = Some(Operation { id: OperationId(9), sequence, phase });
        Leg { kind: "step", operation, ..PLAIN }
    };
    for kept in [false, true] {
        let (mut lanes, mut main_lane, _handle) = built(8, kept);
        let late = Leg { key: Some(1), ..step(1, Phase::Progress) };
        lanes[0].push_batch([PLAIN, FOREIGN, PLAIN, STRAY, step(0, Phase::Terminal)]).unwrap();
        lanes[0].push(late).unwrap();
        lanes[2].push_batch([FOREIGN, PLAIN]).unwrap();
        drain(&mut main_lane);
        let outcomes: Vec<_> = main_lane.flight().iter().map(|entry| (entry.kind, entry.outcome)).collect();
        let (applied, refused) = (FlightOutcome::Applied, FlightOutcome::Refused);
        let expected = [
            ("foreign", refused),
            ("plain", applied),
            ("plain", applied),
            ("foreign", refused),
            ("plain", applied),
            ("stray", refused),
            ("step", applied),
            ("step", refused),
        ];
        assert_eq!(outcomes, expected, "kept: {kept}");
    }
}

#[test]
fn a_poisoned_lossy_event_is_the_last_too() {
    let (mut lanes, mut main_lane, _handle) = built(4, false);
    lanes[0].push_batch([PLAIN, PLAIN]).unwrap();
    lanes[0].push(Leg { key: Some(1), ..POISON }).unwrap();
    lanes[0].push(PLAIN).unwrap();
    assert!(main_lane.turn(Budget::UNLIMITED).is_err());
    assert_eq!(kinds(&main_lane.flight()), ["plain", "plain", "poison"]);
}

#[test]
fn a_recorder_that_is_off_has_nothing_and_one_cannot_be_of_any_size() {
    let (mut lanes, mut main_lane, handle) = built(0, false);
    lanes.iter_mut().for_each(|lane| assert!(lane.push_batch([PLAIN, STRAY, FOREIGN]).is_ok()));
    let asked = handle.flight();
    drain(&mut main_lane);
    assert_eq!(asked.poll().unwrap().as_deref(), Some(&[][..]));
    lanes[0].push_batch([PLAIN, POISON]).unwrap();
    assert!(main_lane.turn(Budget::UNLIMITED).is_err());
    assert_eq!(main_lane.flight(), []);
    let too_large = FLIGHT_RECORDER_MAX + 1;
    let refused = Pipeline::builder(Witness::default()).flight_recorder(too_large).build();
    let expected = Error::FlightRecorder { entries: too_large, most: FLIGHT_RECORDER_MAX };
    assert_eq!(refused.map(|_| ()).unwrap_err(), expected);
    assert!(expected.to_string().contains("65537") && expected.to_string().contains("65536"));
}

#[test]
fn unless_it_is_told_otherwise_it_keeps_as_many_as_it_says_and_other_sizes_are_rounded_up() {
    let count = |builder: mainlane::Builder<Witness>| {
        let mut lane = builder.lane("a").open().unwrap();
        let (mut main_lane, _) = builder.build().unwrap();
        lane.push_batch((0..1000).map(|_| PLAIN)).unwrap();
        drain(&mut main_lane);
        main_lane.flight().len()
    };
    assert_eq!(count(Pipeline::builder(Witness::default())), FLIGHT_RECORDER);
    assert_eq!(count(Pipeline::builder(Witness::default()).flight_recorder(5)), 8);
}

#[test]
fn lanes_that_are_gone_are_known_by_name_while_an_event_of_theirs_is_kept() {
    let (_lanes, mut main_lane, handle) = built(4, false);
    let mut names = Vec::new();
    for n in 0..100 {
        let name = format!("guest {n}");
        let origin = Origin::built_in("guest", n);
        let mut lane = handle.lane(name.clone()).origin(origin).open().unwrap();
        // Some come and go without a word.
        if n % 3 > 0 {
            lane.push(PLAIN).unwrap();
            names.push((name, origin));
        }
        drop(lane);
        drain(&mut main_lane);
        let flight: Vec<_> =
            main_lane.flight().iter().map(|entry| (entry.lane_name.to_string(), entry.origin)).collect();
        assert_eq!(flight, last_of(&names, 4));
    }
    assert_eq!(handle.counters().lanes_closed, 100);
}

#[test]
fn it_can_be_asked_for_from_anywhere_while_the_main_lane_runs_and_after_a_fault() {
    let builder = Pipeline::builder(Witness::default()).flight_recorder(4);
    let mut lane = builder.lane("a").open().unwrap();
    let (main_lane, handle) = builder.build().unwrap();
    let mut running = main_lane.spawn(Drive::new()).unwrap();
    let read = || handle.flight().wait(Instant::now() + PATIENCE);
    assert_eq!(read().as_deref(), Some(&[][..]));
    lane.push_batch((0..9).map(|_| PLAIN)).unwrap();
    until("they are applied", || handle.counters().events.applied == 9);
    assert_eq!(read().map(|flight| kinds(&flight)), Some(vec!["plain"; 4]));
    let _ = lane.push_batch([STRAY, POISON, PLAIN]);
    until("the main lane stops", || running.is_finished());
    let flight = read().expect("a fault is told also afterwards");
    assert_eq!(kinds(&flight), ["plain", "plain", "stray", "poison"]);
    let last = flight.last().unwrap();
    assert_eq!((last.outcome, last.sequence.as_u64(), &*last.lane_name), (FlightOutcome::Panicked, 10, "a"));
    let report = running.shutdown(PATIENCE);
    assert_eq!(report.flight, flight);
    assert!(report.fault.is_some() && !report.complete);
}

#[test]
fn it_is_kept_after_a_fault_of_another_kind_and_not_after_an_end_without_one() {
    #[derive(Default)]
    struct Fragile(bool);
    impl Clone for Fragile {
        fn clone(&self) -> Self {
            assert!(!self.0, "fragile");
            Fragile(false)
        }
    }
    impl Reducer for Fragile {
        type Event = Leg;
        type Effect = ();
        fn apply(&mut self, _: &Envelope<'_, Leg>, _: &mut Effects<()>) {
            self.0 = true;
        }
    }
    let builder = Pipeline::builder(Fragile(false));
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    lane.push(PLAIN).unwrap();
    let before = handle.flight();
    assert!(matches!(main_lane.turn(Budget::UNLIMITED), Err(TurnError::SnapshotPanicked { .. })));
    assert_eq!(before.poll().unwrap().as_deref(), Some(&[][..]), "as it was when the turn began");
    let after = handle.flight().poll().unwrap().unwrap();
    assert_eq!((kinds(&after), after[0].outcome), (vec!["plain"], FlightOutcome::Applied));
    assert_eq!(main_lane.shutdown(PATIENCE).flight, after);

    let (mut lanes, mut main_lane, handle) = built(4, false);
    lanes[0].push(PLAIN).unwrap();
    let report = main_lane.shutdown(PATIENCE);
    assert!(report.complete && report.flight.is_empty());
    assert_eq!(handle.flight().poll().unwrap(), None, "nobody is left to answer");
    assert_eq!(kinds(&main_lane.flight()), ["plain"], "but the main lane itself");
}

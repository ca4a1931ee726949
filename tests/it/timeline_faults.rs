//! C13 where a past is kept: the host's code panics as something of its is copied, dropped, or applied anew.

use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::time::{Duration, Instant};

use mainlane::{
    Authority, Budget, Class, Diagnostic, Effects, Envelope, Event, Fault, Handle, Lane, MainLane, Operation,
    OperationId, Origin, Phase, Pipeline, Publish, Reducer, RewindError, Timeline, TimelineError, TurnError,
};

use crate::domain::{PATIENCE, settled};

/// What a turn has.
const TIME: Duration = Duration::from_millis(2);

const ANNA: Origin = Origin::built_in("user", 1);

/// What of the host's panics.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sharp {
    Nothing,
    Events,
    Effects,
    States,
    Copies,
    /// Copies take as long as a turn has, and panic then or do not.
    SlowCopies {
        panic: bool,
    },
    /// Whatever is applied, from so many events on.
    Reducer(u32),
}

thread_local! {
    /// Everything happens on the thread of the test.
    static SHARP: Cell<Sharp> = const { Cell::new(Sharp::Nothing) };
}

fn is_sharp(what: Sharp) -> bool {
    SHARP.get() == what
}

#[derive(Debug)]
struct Sting {
    number: u32,
    does: Does,
    operation: Option<Operation>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Does {
    Add,
    Panic,
    /// Says that it is not the state's, having asked for effects.
    Stray,
}

impl Drop for Sting {
    fn drop(&mut self) {
        assert!(!is_sharp(Sharp::Events), "a sharp event");
    }
}

impl Event for Sting {
    type Key = ();
    type Facets = ();

    fn class(&self) -> Class<()> {
        Class::Critical
    }

    fn operation(&self) -> Option<Operation> {
        self.operation
    }

    fn kind(&self) -> &'static str {
        match self.does {
            Does::Add => "add",
            Does::Panic => "panic",
            Does::Stray => "stray",
        }
    }
}

struct Barb;

impl Drop for Barb {
    fn drop(&mut self) {
        assert!(!is_sharp(Sharp::Effects), "a sharp effect");
    }
}

#[derive(Debug, Default)]
struct Hedge(Vec<u32>);

impl Clone for Hedge {
    fn clone(&self) -> Self {
        assert!(!is_sharp(Sharp::Copies), "a sharp copy");
        if let Sharp::SlowCopies { panic } = SHARP.get() {
            let began = Instant::now();
            while began.elapsed() < TIME {
                std::hint::spin_loop();
            }
            assert!(!panic, "a sharp copy");
        }
        Hedge(self.0.clone())
    }
}

impl Drop for Hedge {
    fn drop(&mut self) {
        assert!(!is_sharp(Sharp::States), "a sharp state");
    }
}

impl Hash for Hedge {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Reducer for Hedge {
    type Event = Sting;
    type Effect = Barb;

    fn apply(&mut self, envelope: &Envelope<'_, Sting>, effects: &mut Effects<Barb>) {
        effects.push(Barb);
        effects.push(Barb);
        if let Sharp::Reducer(left) = SHARP.get() {
            SHARP.set(Sharp::Reducer(left.checked_sub(1).expect("no more")));
        }
        match envelope.event.does {
            Does::Add => self.0.push(envelope.event.number),
            Does::Panic => {
                self.0.push(u32::MAX);
                panic!("a thorn");
            }
            Does::Stray => effects.misrouted(Authority::STATE),
        }
    }
}

/// What of it is kept.
#[derive(Clone, Copy, Debug)]
struct Keeps {
    timeline: Option<Timeline>,
    check: bool,
}

const PAST: Keeps = Keeps { timeline: None, check: false };

fn host(keeps: Keeps) -> (Lane<Sting>, MainLane<Hedge>, Handle<Hedge>) {
    SHARP.set(Sharp::Nothing);
    // Not published, so that no copies and drops but those that a past needs are made.
    let mut builder = Pipeline::builder(Hedge::default()).publish(Publish::OnRequest);
    if let Some(timeline) = keeps.timeline {
        builder = builder.timeline(timeline);
    }
    if keeps.check {
        builder = builder.check_determinism();
    }
    builder = builder.reconciler(|_: Barb, _: &Hedge| {});
    let lane = builder.lane("a").origin(ANNA).open().unwrap();
    let (main_lane, handle) = builder.build().unwrap();
    (lane, main_lane, handle)
}

fn all(timeline: Timeline) -> [Keeps; 3] {
    [
        Keeps { timeline: Some(timeline), check: false },
        Keeps { timeline: Some(timeline), check: true },
        Keeps { timeline: None, check: true },
    ]
}

fn sting(number: u32, does: Does) -> Sting {
    Sting { number, does, operation: None }
}

fn whole(id: u64) -> [Sting; 2] {
    [(0, Phase::Started), (1, Phase::Terminal)].map(|(sequence, phase)| {
        let operation = Some(Operation { id: OperationId(id), sequence, phase });
        Sting { number: 10 * id as u32 + sequence as u32, does: Does::Add, operation }
    })
}

/// With everything blunt again, nothing is left behind.
fn end(mut main_lane: MainLane<Hedge>, handle: &Handle<Hedge>) -> Option<Fault> {
    SHARP.set(Sharp::Nothing);
    let report = main_lane.shutdown(PATIENCE);
    assert!(settled(handle).events.balanced());
    report.fault
}

#[test]
fn events_that_panic_as_they_are_dropped_stop_the_main_lane_and_no_more() {
    for keeps in all(Timeline::window(1).checkpoint_every(1)) {
        for does in [Does::Add, Does::Stray] {
            let (mut lane, mut main_lane, handle) = host(keeps);
            lane.push_batch((0..3).map(|number| sting(number, does))).unwrap();
            main_lane.turn(Budget::UNLIMITED).unwrap();
            lane.push_batch((3..6).map(|number| sting(number, does))).unwrap();
            SHARP.set(Sharp::Events);
            let turn = main_lane.turn(Budget::UNLIMITED);
            assert!(matches!(turn, Err(TurnError::DropPanicked { .. })), "{keeps:?} {does:?}: {turn:?}");
            let effects = if does == Does::Add { 12 } else { 0 };
            assert_eq!((handle.counters().effects, handle.counters().effects_unhandled), (effects, 0), "they are run");
            assert!(matches!(end(main_lane, &handle), Some(Fault::EventDrop { .. })));
        }
    }
}

#[test]
fn effects_that_panic_as_they_are_dropped_take_nothing_with_them() {
    let blunt = Keeps { timeline: None, check: false };
    for keeps in all(Timeline::window(9).checkpoint_every(2)).into_iter().chain([blunt]) {
        let (mut lane, mut main_lane, handle) = host(keeps);
        lane.push_batch(whole(1)).unwrap();
        main_lane.turn(Budget::UNLIMITED).unwrap();
        lane.push_batch([sting(1, Does::Add), sting(2, Does::Stray), sting(3, Does::Add)]).unwrap();
        SHARP.set(Sharp::Effects);
        assert_eq!(main_lane.turn(Budget::UNLIMITED).unwrap().events, 3, "{keeps:?}");
        if keeps.timeline.is_some() {
            lane.push_batch([sting(4, Does::Add), sting(5, Does::Panic), sting(6, Does::Panic), sting(7, Does::Add)])
                .unwrap();
            assert_eq!(main_lane.turn(Budget::UNLIMITED).unwrap().events, 4);
            assert_eq!(
                (main_lane.state().0.as_slice(), handle.take_quarantined().len()),
                (&[10, 11, 1, 3, 4, 7][..], 2)
            );
            let (look, undone) = (handle.state_at(1), handle.undo(ANNA));
            main_lane.turn(Budget::UNLIMITED).unwrap();
            assert_eq!(look.poll().unwrap().unwrap().unwrap().0, [10, 11]);
            assert!(undone.poll().unwrap().unwrap().is_ok());
            assert_eq!(main_lane.state().0, [1, 3, 4, 7]);
        }
        assert_eq!(settled(&handle).faults.nondeterministic, 0, "{keeps:?}");
        assert_eq!(end(main_lane, &handle), None);
    }
}

#[test]
fn states_that_panic_as_they_are_dropped_are_let_go_all_the_same() {
    for keeps in all(Timeline::window(2).checkpoint_every(1)) {
        let (mut lane, mut main_lane, handle) = host(keeps);
        SHARP.set(Sharp::States);
        for id in 0..6 {
            lane.push_batch(whole(id)).unwrap();
            assert_eq!(main_lane.turn(Budget::UNLIMITED).unwrap().events, 2, "{keeps:?}");
        }
        if keeps.timeline.is_some() {
            let thorns = [Does::Add, Does::Panic, Does::Add, Does::Panic, Does::Panic].map(|does| sting(1, does));
            lane.push_batch(thorns).unwrap();
            assert_eq!(main_lane.turn(Budget::UNLIMITED).unwrap().events, 5, "{keeps:?}");
            lane.push_batch(whole(7)).unwrap();
            main_lane.turn(Budget::UNLIMITED).unwrap();
            let undone = handle.undo(ANNA);
            main_lane.turn(Budget::UNLIMITED).unwrap();
            assert_eq!(undone.poll().unwrap().unwrap().unwrap().operation, OperationId(7));
            assert_eq!((main_lane.state().0.len(), handle.take_quarantined().len()), (14, 3));
        }
        assert_eq!(settled(&handle).faults.nondeterministic, 0, "{keeps:?}");
        assert_eq!(end(main_lane, &handle), None, "{keeps:?}");
    }
}

#[test]
fn a_state_that_cannot_be_copied_for_the_past_is_not_blamed_on_an_event() {
    let timeline = Some(Timeline::window(9).checkpoint_every(1));
    let (mut lane, mut main_lane, handle) = host(Keeps { timeline, ..PAST });
    lane.push(sting(1, Does::Add)).unwrap();
    SHARP.set(Sharp::Copies);
    let turn = main_lane.turn(Budget::UNLIMITED);
    assert!(matches!(&turn, Err(TurnError::SnapshotPanicked { message }) if message == "a sharp copy"), "{turn:?}");
    assert_eq!((handle.counters().effects, handle.counters().effects_unhandled), (2, 0), "its effects are run");
    assert!(matches!(end(main_lane, &handle), Some(Fault::Snapshot { .. })));
}

#[test]
fn what_needs_a_copy_that_cannot_be_made_says_so() {
    let timeline = Some(Timeline::window(9).checkpoint_every(9));
    let (mut lane, mut main_lane, handle) = host(Keeps { timeline, ..PAST });
    lane.push_batch(whole(1)).unwrap();
    main_lane.turn(Budget::UNLIMITED).unwrap();
    SHARP.set(Sharp::Copies);
    let (look, undone) = (handle.state_at(0), handle.undo(ANNA));
    main_lane.turn(Budget::UNLIMITED).unwrap();
    assert!(matches!(look.poll().unwrap().unwrap(), Err(TimelineError::Panicked { .. })));
    assert!(matches!(undone.poll().unwrap().unwrap(), Err(RewindError::Panicked { .. })));
    lane.push(sting(1, Does::Panic)).unwrap();
    let turn = main_lane.turn(Budget::UNLIMITED);
    assert!(matches!(&turn, Err(TurnError::ReducerPanicked(poison)) if poison.message == "a thorn"), "{turn:?}");
    assert!(matches!(end(main_lane, &handle), Some(Fault::Reducer { .. })));
}

#[test]
fn an_operation_whose_start_was_set_aside_can_be_undone_all_the_same() {
    for does in [Does::Panic, Does::Stray] {
        let timeline = Some(Timeline::window(9));
        let (mut lane, mut main_lane, handle) = host(Keeps { timeline, ..PAST });
        let [mut start, end_of_it] = whole(2);
        start.does = does;
        lane.push_batch(whole(1).into_iter().chain([start])).unwrap();
        main_lane.turn(Budget::UNLIMITED).unwrap();
        lane.push(end_of_it).unwrap();
        main_lane.turn(Budget::UNLIMITED).unwrap();
        assert_eq!(main_lane.state().0, [10, 11, 21]);
        for (operation, left) in [(2, &[10, 11][..]), (1, &[])] {
            let undone = handle.undo(ANNA);
            main_lane.turn(Budget::UNLIMITED).unwrap();
            let undone = undone.poll().unwrap().unwrap();
            assert_eq!(undone.map(|undone| undone.operation), Ok(OperationId(operation)), "{does:?}");
            assert_eq!(main_lane.state().0, left);
        }
        assert_eq!(end(main_lane, &handle), None);
    }
}

#[test]
fn an_event_that_only_panics_the_second_time_is_named_by_the_check() {
    let (mut lane, mut main_lane, handle) = host(Keeps { timeline: None, check: true });
    lane.push_batch([sting(1, Does::Add), sting(2, Does::Add)]).unwrap();
    // Twice for the batch and its copy, and then event by event.
    SHARP.set(Sharp::Reducer(3));
    main_lane.turn(Budget::UNLIMITED).unwrap();
    let found: Vec<_> = handle.diagnostics().drain().collect();
    let is_named = |note: &Diagnostic| matches!(note, Diagnostic::Nondeterministic { kind: Some("add"), .. });
    assert!(found.iter().any(is_named), "{found:?}");
    assert_eq!(end(main_lane, &handle), None);
}

/// The time of one turn is gone with the copy; the next one applies.
#[test]
fn a_check_whose_copy_takes_a_whole_turn_keeps_nothing_from_being_applied() {
    for panic in [false, true] {
        let (mut lane, mut main_lane, handle) = host(Keeps { timeline: None, check: true });
        for number in 1..=2 {
            lane.push(sting(number, Does::Add)).unwrap();
            SHARP.set(Sharp::SlowCopies { panic });
            // A thread that is put aside has used up its turn's time too.
            for _ in 0..1000 {
                if main_lane.state().0.len() < number as usize {
                    main_lane.turn(Budget::time(TIME)).unwrap();
                }
            }
            assert_eq!(main_lane.state().0.len(), number as usize, "panic: {panic}");
        }
        assert_eq!(handle.counters().faults.nondeterministic, if panic { 2 } else { 0 }, "once for each batch");
        assert_eq!(end(main_lane, &handle), None);
    }
}

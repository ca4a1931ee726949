//! C8, C11 to C13: what goes wrong is contained, counted and said.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use mainlane::{
    Authority, Budget, Class, Diagnostic, Drive, Effects, Envelope, Error, Event, Facets, Fault, Fill, Handle, Lane,
    Left, MainLane, Operation, OperationId, Origin, Outlet, Phase, Pipeline, Polled, Reducer, Refused, Restart, Source,
    SourceError, TurnError, WAKE_PANICS_MAX,
};

use crate::domain::{LAYOUT, Ledger, Note, OTHER, PATIENCE, drain, settled, until};

#[test]
fn an_event_for_an_owner_that_is_not_there_is_refused_and_reported() {
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    lane.push_batch([Note::Item(0), Note::Foreign, Note::Stray, Note::Item(1)]).unwrap();
    drain(&mut main_lane);
    assert_eq!(main_lane.state().notes(), [Note::Item(0), Note::Item(1)]);
    let counters = settled(&handle);
    assert_eq!((counters.events.refused, counters.faults.misrouted), (2, 2));
    let misrouted: Vec<_> =
        handle.diagnostics().drain().filter(|note| matches!(note, Diagnostic::Misrouted { .. })).collect();
    let lane = lane.id();
    let expected = [
        Diagnostic::Misrouted { lane, kind: "foreign", reached: None, belongs_to: OTHER },
        Diagnostic::Misrouted { lane, kind: "stray", reached: Some(Authority::STATE), belongs_to: LAYOUT },
    ];
    assert_eq!(misrouted, expected);
}

#[test]
fn an_operation_is_followed_to_its_end_and_sealed() {
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    let id = handle.operation();
    assert_ne!(id, handle.operation(), "numbers are given once");
    let mut step = |sequence, phase| {
        lane.push(Note::Step(Operation { id, sequence, phase })).unwrap();
        drain(&mut main_lane);
    };
    step(0, Phase::Started);
    step(1, Phase::Progress);
    step(5, Phase::Progress);
    step(5, Phase::Progress);
    step(6, Phase::Terminal);
    step(7, Phase::Progress);
    step(6, Phase::Terminal);
    let counters = settled(&handle);
    assert_eq!(counters.faults.operation_gaps, 1, "2 to 4 are missing");
    assert_eq!(counters.faults.operation_repeats, 2, "5 came twice, and so did the end");
    assert_eq!((counters.faults.sealed, counters.events.refused), (1, 1), "7 came after the end");
    let gap = Diagnostic::OperationGap { operation: id, expected: 2, found: 5 };
    assert!(handle.diagnostics().drain().any(|note| note == gap));
}

#[test]
fn a_reducer_that_panics_stops_the_main_lane_with_the_event_in_the_error() {
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    let reader = handle.reader();
    lane.push(Note::Item(0)).unwrap();
    drain(&mut main_lane);
    lane.push_batch([Note::Item(1), Note::Poison, Note::Item(2)]).unwrap();
    let Err(TurnError::ReducerPanicked(poison)) = main_lane.turn(Budget::UNLIMITED) else { panic!("no error") };
    assert_eq!((poison.event, poison.message.as_str(), &*poison.lane_name), (Note::Poison, "poisoned", "a"));
    assert_eq!(reader.load().notes(), [Note::Item(0)], "the last good snapshot stays");
    assert!(matches!(main_lane.turn(Budget::UNLIMITED), Err(TurnError::Stopped)));
    assert_eq!(lane.push(Note::Item(3)), Err(Refused::Closed(Note::Item(3))));
    assert!(matches!(handle.lane("b").open(), Err(Error::Closed)));
    let report = main_lane.shutdown(PATIENCE);
    assert!(!report.complete);
    assert!(matches!(report.fault, Some(Fault::Reducer { kind: "poison", .. })));
    let events = report.counters.events;
    assert!(events.balanced(), "{events:?}");
    assert_eq!(
        (events.applied, events.refused, events.in_flight),
        (2, 1, 1),
        "the one behind it is in flight for good"
    );
}

#[test]
fn a_poisoned_lossy_event_is_handed_out_too() {
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("a").classify(|_| mainlane::Class::lossy(1u32, mainlane::Tier::NORMAL)).open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    lane.push(Note::Poison).unwrap();
    let Err(TurnError::ReducerPanicked(poison)) = main_lane.turn(Budget::UNLIMITED) else { panic!("no error") };
    assert_eq!(poison.event, Note::Poison);
    let events = handle.counters().events;
    assert!(events.balanced() && events.in_flight == 0, "{events:?}");
}

#[test]
fn a_producer_that_waits_is_let_go_when_the_reducer_panics() {
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("a").capacity(1).open().unwrap();
    let (main_lane, handle) = builder.build().unwrap();
    let mut running = main_lane.spawn(Drive::new()).unwrap();
    let producer = std::thread::spawn(move || {
        lane.push(Note::Poison).unwrap();
        loop {
            if let Err(refused) = lane.push(Note::Item(0)) {
                return refused;
            }
        }
    });
    assert_eq!(producer.join().unwrap(), Refused::Closed(Note::Item(0)));
    until("the main lane stops", || running.is_finished());
    let report = running.shutdown(PATIENCE);
    assert!(matches!(&report.fault, Some(Fault::Reducer { message, .. }) if message == "poisoned"));
    assert_eq!(running.take_poison().unwrap().event, Note::Poison);
    assert_eq!(running.shutdown(PATIENCE), report, "asking again gives the same report");
    assert_eq!(handle.counters().faults.main_lane_stops, 1);
}

#[test]
fn effects_run_in_order_after_the_batch_and_a_panic_in_one_spares_the_others() {
    let ran = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let log = ran.clone();
    let reconcile = move |effect: u64, state: &Ledger| {
        assert!(effect != 3, "three");
        log.lock().push((effect, state.seen.len()));
    };
    let builder = Pipeline::builder(Ledger::default()).reconciler(reconcile);
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    lane.push_batch((1..=5).map(Note::Ask)).unwrap();
    drain(&mut main_lane);
    assert_eq!(*ran.lock(), [(1, 5), (2, 5), (4, 5), (5, 5)], "each saw the state after the whole batch");
    let counters = settled(&handle);
    assert_eq!((counters.effects, counters.faults.reconciler_panics), (5, 1));
}

#[test]
fn effects_that_nobody_runs_are_reported() {
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    lane.push(Note::Ask(1)).unwrap();
    drain(&mut main_lane);
    assert_eq!(handle.counters().effects_unhandled, 1);
    assert!(handle.diagnostics().drain().any(|note| note == Diagnostic::EffectsUnhandled { count: 1 }));
}

#[test]
fn a_panicking_enricher_costs_the_event_nothing() {
    let builder = Pipeline::builder(Ledger::default());
    let enrich = |note: &mut Note, _: &mut ()| {
        assert!(*note != Note::Item(1), "one");
        if let Note::Item(n) = note {
            *n += 100;
        }
    };
    let mut lane = builder.lane("a").enrich(enrich).open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    lane.push_batch((0..3).map(Note::Item)).unwrap();
    drop(lane);
    drain(&mut main_lane);
    assert_eq!(main_lane.state().notes(), [Note::Item(100), Note::Item(1), Note::Item(102)]);
    assert_eq!(settled(&handle).events.enricher_panics, 1);
    assert!(handle.diagnostics().drain().any(|note| matches!(note, Diagnostic::EnricherPanicked { count: 1, .. })));
}

/// Which steps of its preparation panic on it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Touchy {
    enrich: bool,
    fill: bool,
    classify: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Context {
    enriched: Option<u32>,
    of_lane: Option<u32>,
    known: Option<u32>,
}

impl Facets for Context {
    fn fill(&mut self, fallback: &Self) {
        self.enriched.fill(&fallback.enriched);
        self.of_lane.fill(&fallback.of_lane);
        self.known.fill(&fallback.known);
    }
}

impl Event for Touchy {
    type Key = ();
    type Facets = Context;

    fn class(&self) -> Class<()> {
        Class::Critical
    }
}

#[derive(Clone, Default)]
struct Applied(Vec<(Touchy, Context)>);

impl Reducer for Applied {
    type Event = Touchy;
    type Effect = ();

    fn apply(&mut self, envelope: &Envelope<'_, Touchy>, _: &mut Effects<()>) {
        self.0.push((*envelope.event, *envelope.facets));
    }

    fn facets_of(&self, _: Origin, event: &Touchy) -> Option<&Context> {
        assert!(!event.fill, "the state does not know");
        Some(&Context { enriched: Some(3), of_lane: Some(3), known: Some(3) })
    }
}

fn touchy_lane() -> (Lane<Touchy>, MainLane<Applied>, Handle<Applied>) {
    let builder = Pipeline::builder(Applied::default());
    let lane = builder.lane("touchy").facets(Context { enriched: Some(2), of_lane: Some(2), known: None });
    let enrich = |event: &mut Touchy, context: &mut Context| {
        assert!(!event.enrich, "the enricher is broken");
        context.enriched = Some(1);
    };
    let classify = |event: &Touchy, _: &Applied| {
        assert!(!event.classify, "the classifier is broken");
        Class::Critical
    };
    let lane = lane.enrich(enrich).classify_by(classify).open().unwrap();
    let (main_lane, handle) = builder.build().unwrap();
    (lane, main_lane, handle)
}

/// One for each way in which an event can be touchy.
fn all_touchy() -> Vec<Touchy> {
    let both = [false, true];
    let all = both.map(|enrich| both.map(|fill| both.map(|classify| Touchy { enrich, fill, classify })));
    all.into_iter().flatten().flatten().collect()
}

/// What is applied of them: those that can be classified, each with what the steps that did not panic set.
fn applied_of(events: &[Touchy]) -> Vec<(Touchy, Context)> {
    let context = |event: &Touchy| Context {
        enriched: if event.enrich { Some(2) } else { Some(1) },
        of_lane: Some(2),
        known: if event.fill { None } else { Some(3) },
    };
    events.iter().filter(|event| !event.classify).map(|event| (*event, context(event))).collect()
}

#[test]
fn a_panic_in_one_step_of_the_preparation_takes_nothing_from_the_others() {
    let (mut lane, mut main_lane, handle) = touchy_lane();
    for event in all_touchy() {
        let pushed = catch_unwind(AssertUnwindSafe(|| lane.push(event)));
        assert_eq!(pushed.is_ok(), !event.classify, "an event without a class is none: {event:?}");
    }
    drain(&mut main_lane);
    assert_eq!(main_lane.state().0, applied_of(&all_touchy()));
    // Four of eight each.
    assert_eq!(settled(&handle).events.enricher_panics, 8);
}

#[test]
fn nor_from_other_events_of_a_batch() {
    let (mut lane, mut main_lane, handle) = touchy_lane();
    let batch = all_touchy().repeat(20);
    for part in batch.chunks(40) {
        assert!(catch_unwind(AssertUnwindSafe(|| lane.push_batch(part.iter().copied()).is_ok())).is_err());
        drain(&mut main_lane);
    }
    assert_eq!(main_lane.state().0, applied_of(&batch));
    // In each of four parts half of the events in two steps, and in the third step all of that half but the first.
    assert_eq!(settled(&handle).events.enricher_panics, 4 * (20 + 20 + 19));
}

/// Emits two events a poll, and fails in its second one as it is told.
struct Faulty {
    polls: u32,
    panics: bool,
}

impl Source for Faulty {
    type Event = Note;

    fn poll(&mut self, outlet: &mut Outlet<Note>) -> Result<Polled, SourceError> {
        self.polls += 1;
        outlet.push(Note::Item(1));
        outlet.push(Note::Item(2));
        if self.polls == 1 {
            return Ok(Polled::Ready);
        }
        assert!(!self.panics, "the source is broken");
        Err("the cable is out".into())
    }
}

#[test]
fn a_source_that_fails_is_reported_and_what_it_emitted_is_applied() {
    for panics in [false, true] {
        let builder = Pipeline::builder(Ledger::default());
        builder.ingest("faulty", Faulty { polls: 0, panics }).start().unwrap();
        let (mut main_lane, handle) = builder.build().unwrap();
        until("the lane closes", || {
            drain(&mut main_lane);
            handle.counters().lanes_closed == 1
        });
        assert_eq!(main_lane.state().seen.len(), 4, "also what the failing poll emitted");
        let faults = settled(&handle).faults;
        assert_eq!((faults.source_panics, faults.source_errors), (u64::from(panics), u64::from(!panics)));
        let said = handle.diagnostics().drain().any(|note| match note {
            Diagnostic::SourcePanicked { message, .. } => message == "the source is broken",
            Diagnostic::SourceFailed { message, .. } => message == "the cable is out",
            _ => false,
        });
        assert!(said);
    }
}

#[test]
fn a_source_with_a_factory_is_made_anew_within_its_limit() {
    let made = Arc::new(AtomicU32::new(0));
    let count = made.clone();
    let builder = Pipeline::builder(Ledger::default());
    let factory = move || match count.fetch_add(1, Ordering::Relaxed) {
        2 => Err("not ready yet".into()),
        made => Ok(Faulty { polls: 0, panics: made % 2 == 0 }),
    };
    builder.ingest_with("faulty", factory).unwrap().restart(Restart::at_most(3, PATIENCE)).start().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    until("the lane closes", || {
        drain(&mut main_lane);
        handle.counters().lanes_closed == 1
    });
    // Made once, and anew three times, of which one failed to be made.
    assert_eq!(made.load(Ordering::Relaxed), 4);
    assert_eq!(main_lane.state().seen.len(), 3 * 4);
    let faults = settled(&handle).faults;
    assert_eq!(faults.source_restarts, 2);
    assert_eq!(faults.source_panics + faults.source_errors, 4);
}

#[test]
fn an_event_that_cannot_be_classified_costs_only_itself() {
    struct Three(bool);
    impl Source for Three {
        type Event = Note;
        fn poll(&mut self, outlet: &mut Outlet<Note>) -> Result<Polled, SourceError> {
            if std::mem::replace(&mut self.0, true) {
                return Ok(Polled::Done);
            }
            [Note::Item(0), Note::Unclassifiable, Note::Item(1)].into_iter().for_each(|note| outlet.push(note));
            Ok(Polled::Ready)
        }
    }
    let builder = Pipeline::builder(Ledger::default());
    builder.ingest("three", Three(false)).start().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    until("the lane closes", || {
        drain(&mut main_lane);
        handle.counters().lanes_closed == 1
    });
    assert_eq!(main_lane.state().notes(), [Note::Item(0), Note::Item(1)]);
    assert_eq!(settled(&handle).faults.source_panics, 1);
}

#[test]
fn a_core_that_does_not_exist_is_reported_and_the_thread_runs() {
    let builder = Pipeline::builder(Ledger::default());
    builder.ingest("pinned", Faulty { polls: 0, panics: false }).pin(4096).start().unwrap();
    let (main_lane, handle) = builder.build().unwrap();
    let mut running = main_lane.spawn(Drive::new().pin(4097)).unwrap();
    until("both pins are refused", || handle.counters().faults.pins_refused == 2);
    assert!(running.shutdown(PATIENCE).complete);
    let refused: Vec<_> = handle
        .diagnostics()
        .drain()
        .filter_map(|note| match note {
            Diagnostic::PinRefused { core, reason, .. } if reason.contains("may use the cores") => Some(core),
            _ => None,
        })
        .collect();
    assert!(refused.contains(&4096) && refused.contains(&4097));
}

#[test]
fn a_wake_hook_that_panics_is_contained_and_in_the_end_detached() {
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let reader = handle
        .waking_reader(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            panic!("hook")
        })
        .unwrap();
    for n in 0..10 {
        lane.push(Note::Item(n)).unwrap();
        drain(&mut main_lane);
        reader.load();
    }
    assert_eq!(calls.load(Ordering::Relaxed), WAKE_PANICS_MAX);
    assert_eq!(handle.counters().faults.wake_panics, u64::from(WAKE_PANICS_MAX));
}

#[test]
fn an_input_hook_that_panics_does_not_reach_whoever_pushes() {
    let called = Arc::new(AtomicBool::new(false));
    let flag = called.clone();
    let builder = Pipeline::builder(Ledger::default()).on_input(move || {
        flag.store(true, Ordering::Relaxed);
        panic!("hook")
    });
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    drain(&mut main_lane);
    assert!(!main_lane.arm_input());
    lane.push(Note::Item(0)).unwrap();
    assert!(called.load(Ordering::Relaxed));
    assert_eq!(handle.counters().faults.wake_panics, 1);
    drain(&mut main_lane);
    settled(&handle);
}

#[test]
fn diagnostics_that_nobody_drains_are_counted_not_kept() {
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("a").capacity(4096).open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    lane.push_batch((0..3000).map(|_| Note::Foreign)).unwrap();
    drain(&mut main_lane);
    let counters = settled(&handle);
    assert_eq!(counters.faults.misrouted, 3000);
    // The lane's opening is a diagnostic too.
    assert_eq!(handle.diagnostics().drain().count() as u64 + counters.diagnostics_dropped, 3001);
}

#[test]
fn an_operation_that_is_never_announced_is_a_gap() {
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    let end = Operation { id: OperationId(9), sequence: 3, phase: Phase::Terminal };
    lane.push(Note::Step(end)).unwrap();
    drain(&mut main_lane);
    assert_eq!(main_lane.state().notes(), [Note::Step(end)], "an end is always observable");
    assert_eq!(handle.counters().faults.operation_gaps, 1);
}

#[test]
fn a_straggler_is_named_and_left_behind() {
    struct Stuck {
        polled: Arc<AtomicBool>,
        released: Arc<AtomicBool>,
    }
    impl Source for Stuck {
        type Event = Note;
        fn poll(&mut self, _: &mut Outlet<Note>) -> Result<Polled, SourceError> {
            self.polled.store(true, Ordering::Release);
            // Blocks, and offers no interrupt.
            until("the test lets go", || self.released.load(Ordering::Acquire));
            Ok(Polled::Done)
        }
    }
    let (polled, released) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let builder = Pipeline::builder(Ledger::default());
    builder.ingest("stuck", Stuck { polled: polled.clone(), released: released.clone() }).start().unwrap();
    let (mut main_lane, _handle) = builder.build().unwrap();
    until("the source is polled", || polled.load(Ordering::Acquire));
    let report = main_lane.shutdown(Duration::from_millis(50));
    assert!(!report.complete);
    assert_eq!(report.stragglers, ["stuck"]);
    released.store(true, Ordering::Release);
}

/// In threads of its own the pipeline accepts what they have in hand while it closes, and nothing once it has given up.
#[test]
fn what_a_straggler_pushes_after_a_shutdown_gave_up_is_refused_and_counted() {
    struct Late {
        polled: Arc<AtomicBool>,
        released: Arc<AtomicBool>,
    }
    impl Source for Late {
        type Event = Note;
        fn poll(&mut self, outlet: &mut Outlet<Note>) -> Result<Polled, SourceError> {
            self.polled.store(true, Ordering::Release);
            until("the test lets go", || self.released.load(Ordering::Acquire));
            (0..3).for_each(|number| outlet.push(Note::Item(number)));
            outlet.push(Note::Level { key: 1, value: 1 });
            Ok(Polled::Ready)
        }
    }
    let (polled, released) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let builder = Pipeline::builder(Ledger::default());
    builder.ingest("late", Late { polled: polled.clone(), released: released.clone() }).start().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    until("the source is polled", || polled.load(Ordering::Acquire));
    let report = main_lane.shutdown(Duration::ZERO);
    assert_eq!((report.complete, report.stragglers), (false, vec!["late".to_owned()]));
    released.store(true, Ordering::Release);
    let came_to = || {
        let events = handle.counters().events;
        (events.pushed, events.returned)
    };
    until("it has pushed", || came_to() != (0, 0));
    // All of it at once, so that this is the whole of it.
    assert_eq!(came_to(), (0, 4));
    settled(&handle);
}

#[test]
fn a_state_that_cannot_be_copied_stops_the_main_lane() {
    struct Fragile(bool);
    impl Clone for Fragile {
        fn clone(&self) -> Self {
            assert!(!self.0, "fragile");
            Fragile(false)
        }
    }
    impl mainlane::Reducer for Fragile {
        type Event = Note;
        type Effect = ();
        fn apply(&mut self, _: &mainlane::Envelope<'_, Note>, _: &mut mainlane::Effects<()>) {
            self.0 = true;
        }
    }
    for spawned in [false, true] {
        let builder = Pipeline::builder(Fragile(false));
        let mut lane = builder.lane("a").open().unwrap();
        let (mut main_lane, handle) = builder.build().unwrap();
        lane.push(Note::Item(0)).unwrap();
        if spawned {
            let mut running = main_lane.spawn(Drive::new()).unwrap();
            until("it stops", || running.is_finished());
            assert!(!running.shutdown(PATIENCE).complete);
        } else {
            let failed = main_lane.turn(Budget::UNLIMITED);
            assert!(matches!(failed, Err(TurnError::SnapshotPanicked { message }) if message == "fragile"));
            assert!(matches!(main_lane.turn(Budget::UNLIMITED), Err(TurnError::Stopped)));
        }
        assert!(matches!(lane.push(Note::Item(1)), Err(Refused::Closed(_))));
        assert!(!handle.reader().load().0, "the last good snapshot stays");
        let panicked =
            handle.diagnostics().drain().any(|note| matches!(note, Diagnostic::Stopped(Fault::Snapshot { .. })));
        assert!(panicked);
    }
}

#[test]
fn effects_of_events_that_were_not_applied_are_not_run() {
    struct Asking;
    impl Clone for Asking {
        fn clone(&self) -> Self {
            Asking
        }
    }
    impl mainlane::Reducer for Asking {
        type Event = Note;
        type Effect = u64;
        const AUTHORITIES: &'static [Authority] = &[Authority::STATE, LAYOUT];
        fn apply(&mut self, envelope: &mainlane::Envelope<'_, Note>, effects: &mut mainlane::Effects<u64>) {
            match envelope.event {
                Note::Item(n) => effects.push(*n),
                Note::Stray => {
                    effects.push(666);
                    effects.misrouted(Authority::STATE);
                }
                Note::Step(_) => effects.misrouted(Authority::STATE),
                _ => {
                    effects.push(777);
                    panic!("poisoned");
                }
            }
        }
    }
    let ran = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let log = ran.clone();
    let builder = Pipeline::builder(Asking).reconciler(move |effect: u64, _: &Asking| log.lock().push(effect));
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    let step = |sequence, phase| Note::Step(Operation { id: OperationId(1), sequence, phase });
    lane.push_batch([Note::Item(1), Note::Stray, step(0, Phase::Terminal), step(1, Phase::Progress)]).unwrap();
    drain(&mut main_lane);
    assert_eq!(handle.counters().faults.sealed, 0, "an end that was refused seals nothing");
    lane.push_batch([Note::Item(2), Note::Poison]).unwrap();
    assert!(matches!(main_lane.turn(Budget::UNLIMITED), Err(TurnError::ReducerPanicked(_))));
    assert_eq!(*ran.lock(), [1, 2]);
}

#[test]
fn effects_that_have_no_time_left_are_run_by_the_next_turn() {
    let ran = Arc::new(AtomicU32::new(0));
    let count = ran.clone();
    let budget = Duration::from_millis(2);
    let reconcile = move |_: u64, _: &Ledger| {
        count.fetch_add(1, Ordering::Relaxed);
        // Outlasts the budget, however late it began.
        let began = std::time::Instant::now();
        until("the turn's time is up", || began.elapsed() > budget);
    };
    let builder = Pipeline::builder(Ledger::default()).reconciler(reconcile);
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    lane.push_batch((0..4).map(Note::Ask)).unwrap();
    let mut before = 0;
    loop {
        let turn = main_lane.turn(Budget::time(budget)).unwrap();
        let now = ran.load(Ordering::Relaxed);
        assert!(now - before <= 1, "one outlasts a turn");
        before = now;
        if turn.left == Left::Nothing {
            break;
        }
        assert!(turn.published.is_none(), "published after the effects");
    }
    assert_eq!(ran.load(Ordering::Relaxed), 4);
    assert_eq!(handle.reader().load().seen.len(), 4);
}

#[test]
fn the_source_made_anew_is_the_one_that_is_interrupted() {
    let made = AtomicU32::new(0);
    let factory = move || {
        let (interrupt, interrupted) = std::sync::mpsc::channel::<()>();
        let first = made.fetch_add(1, Ordering::Relaxed) == 0;
        let poll = move |outlet: &mut Outlet<Note>| {
            if first {
                return Err("the first one fails".into());
            }
            outlet.push(Note::Item(1));
            let _ = interrupted.recv_timeout(PATIENCE);
            Ok(Polled::Idle)
        };
        let interrupt = std::sync::Mutex::new(interrupt);
        Ok(mainlane::BlockingSource::new(poll, move || {
            let _ = interrupt.lock().unwrap().send(());
        }))
    };
    let builder = Pipeline::builder(Ledger::default());
    builder.ingest_with("net", factory).unwrap().restart(Restart::at_most(3, PATIENCE)).start().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    until("the second one is polled", || handle.counters().faults.source_restarts == 1);
    let report = main_lane.shutdown(PATIENCE);
    assert!(report.complete && report.stragglers.is_empty(), "{report:?}");
}

#[test]
fn a_source_that_cannot_be_made_anew_does_not_spin_and_stops_when_asked() {
    let mut made = false;
    let factory = move || {
        if std::mem::replace(&mut made, true) {
            Err("still down".into())
        } else {
            Ok(Faulty { polls: 1, panics: false })
        }
    };
    let builder = Pipeline::builder(Ledger::default());
    let forever = Restart::at_most(u32::MAX, Duration::MAX);
    builder.ingest_with("down", factory).unwrap().restart(forever).start().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    until("a few attempts", || handle.counters().faults.source_errors >= 4);
    let report = main_lane.shutdown(PATIENCE);
    assert!(report.complete, "{report:?}");
    assert!(report.counters.faults.source_errors < 100, "it rests in between: {:?}", report.counters.faults);
}

#[test]
fn an_event_that_panics_when_it_is_dropped_is_not_blamed_on_the_reducer() {
    struct Thorny(mainlane::Class<()>);
    impl Drop for Thorny {
        fn drop(&mut self) {
            panic!("thorn");
        }
    }
    impl mainlane::Event for Thorny {
        type Key = ();
        type Facets = ();
        fn class(&self) -> mainlane::Class<()> {
            self.0.clone()
        }
    }
    #[derive(Clone)]
    struct Nothing;
    impl mainlane::Reducer for Nothing {
        type Event = Thorny;
        type Effect = ();
        fn apply(&mut self, _: &mainlane::Envelope<'_, Thorny>, _: &mut mainlane::Effects<()>) {}
    }
    // Critical ones are dropped together.
    for (class, count) in [(mainlane::Class::lossy((), mainlane::Tier::NORMAL), 1), (mainlane::Class::Critical, 3)] {
        let builder = Pipeline::builder(Nothing);
        let mut lane = builder.lane("a").open().unwrap();
        let (mut main_lane, handle) = builder.build().unwrap();
        (0..count).for_each(|_| lane.push(Thorny(class.clone())).unwrap());
        assert!(
            matches!(main_lane.turn(Budget::UNLIMITED), Err(TurnError::DropPanicked { message }) if message == "thorn")
        );
        let events = handle.counters().events;
        assert!(events.balanced() && events.applied == count && events.in_flight == 0, "{events:?}");
        let report = main_lane.shutdown(PATIENCE);
        assert!(matches!(report.fault, Some(Fault::EventDrop { .. })));
    }
}

#[test]
fn strange_settings_are_no_panics() {
    let builder = Pipeline::builder(Ledger::default()).publish(mainlane::Publish::AtMostEvery(Duration::MAX));
    let never = mainlane::TimerSource::every(Duration::MAX, || Note::Item(0));
    builder.ingest("never\0ever", never).start().unwrap();
    let mut lane = builder.lane("a").open().unwrap();
    let (main_lane, handle) = builder.build().unwrap();
    let mut running = main_lane.spawn(Drive::new().name("main\0lane")).unwrap();
    for n in 0..10 {
        lane.push(Note::Item(n)).unwrap();
        until("it is applied", || handle.counters().events.applied == n + 1);
    }
    assert_eq!(handle.counters().snapshots, 2, "the first one, and one that nothing came before");
    assert!(running.shutdown(PATIENCE).complete);
    assert_eq!(handle.reader().load().seen.len(), 10);
    assert_eq!(lane.push(Note::Item(0)), Err(Refused::Closed(Note::Item(0))));
    assert_eq!(handle.counters().events.closed, 1);
}

//! C12: a host that wants it loud in debug builds when an event reaches the wrong owner.

use mainlane::{Authority, Budget, Diagnostic, Drive, Fault, FlightOutcome, MainLane, Pipeline, Timeline, TurnError};

use crate::domain::{LAYOUT, Ledger, Note, OTHER, PATIENCE, drain, settled, until};

/// Those that go wrong, and where they do.
fn strays() -> [(Note, Option<Authority>, Authority); 2] {
    [(Note::Foreign, None, OTHER), (Note::Stray, Some(Authority::STATE), LAYOUT)]
}

/// What `panic_on_misrouted` asks for happens in these builds.
const IS_LOUD: bool = cfg!(debug_assertions);

#[test]
fn the_main_lane_stops_with_the_event_in_the_error_in_debug_builds_alone() {
    for timeline in [None, Some(Timeline::window(8))] {
        for (stray, reached, belongs_to) in strays() {
            let builder = Pipeline::builder(Ledger::default()).panic_on_misrouted();
            let (effects, ran) = crossbeam_channel::unbounded();
            let builder = builder.reconciler(move |effect, _: &Ledger| effects.send(effect).unwrap());
            let builder = timeline.into_iter().fold(builder, |builder, timeline| builder.timeline(timeline));
            let mut lane = builder.lane("a").open().unwrap();
            let (mut main_lane, handle) = builder.build().unwrap();
            lane.push(Note::Item(0)).unwrap();
            drain(&mut main_lane);
            lane.push_batch([Note::Item(1), Note::Ask(2), stray.clone(), Note::Item(3)]).unwrap();
            let turn = main_lane.turn(Budget::UNLIMITED);
            let faults = handle.counters().faults;
            let said = Diagnostic::Misrouted { lane: lane.id(), kind: kind(&stray), reached, belongs_to };
            assert!(handle.diagnostics().drain().any(|diagnostic| diagnostic == said));
            assert_eq!(ran.try_iter().collect::<Vec<_>>(), [2], "what was asked for before it is done");
            assert_eq!((faults.misrouted, faults.quarantined), (1, 0));
            if !IS_LOUD {
                assert_eq!(turn.unwrap().events, 4);
                assert_eq!(settled(&handle).events.refused, 1);
                continue;
            }
            let Err(TurnError::Misrouted(poison)) = turn else { panic!("{turn:?}") };
            assert_eq!((&poison.event, &*poison.lane_name, poison.turn), (&stray, "a", 2));
            assert_eq!((poison.sequence.as_u64(), poison.parts), (3, 1));
            assert!(poison.message.contains(belongs_to.name()), "{}", poison.message);
            is_stopped(&mut main_lane, &stray, reached, belongs_to);
            let events = handle.counters().events;
            assert!(events.balanced(), "{events:?}");
            assert_eq!((events.applied, events.refused, events.in_flight), (3, 1, 1));
            assert_eq!(handle.reader().load().notes(), [Note::Item(0)], "and nothing of that turn is seen");
            assert!(handle.take_quarantined().is_empty() && lane.push(Note::Item(4)).is_err());
        }
    }
}

fn kind(note: &Note) -> &'static str {
    mainlane::Event::kind(note)
}

fn is_stopped(main_lane: &mut MainLane<Ledger>, stray: &Note, reached: Option<Authority>, belongs_to: Authority) {
    assert!(matches!(main_lane.turn(Budget::UNLIMITED), Err(TurnError::Stopped)));
    let report = main_lane.shutdown(PATIENCE);
    let Some(Fault::Misrouted { kind: named, reached: at, belongs_to: to, .. }) = report.fault else {
        panic!("{:?}", report.fault)
    };
    assert_eq!((named, at, to), (kind(stray), reached, belongs_to));
    let last = report.flight.last().unwrap();
    assert_eq!((last.kind, last.outcome), (kind(stray), FlightOutcome::Panicked));
    let before: Vec<_> = report.flight.iter().map(|entry| entry.outcome).collect();
    assert_eq!(before.iter().filter(|outcome| **outcome == FlightOutcome::Applied).count(), 3, "{before:?}");
}

#[test]
fn a_thread_of_its_own_keeps_the_event_for_the_host() {
    let builder = Pipeline::builder(Ledger::default()).panic_on_misrouted();
    let mut lane = builder.lane("a").open().unwrap();
    let (main_lane, handle) = builder.build().unwrap();
    let mut running = main_lane.spawn(Drive::new()).unwrap();
    lane.push_batch([Note::Item(1), Note::Stray]).unwrap();
    until("both are taken", || handle.counters().events.refused == 1);
    let report = running.shutdown(PATIENCE);
    assert_eq!(matches!(report.fault, Some(Fault::Misrouted { .. })), IS_LOUD);
    assert_eq!(running.take_poison().map(|poison| poison.event), IS_LOUD.then_some(Note::Stray));
}

#[cfg(feature = "register")]
#[test]
fn a_crew_keeps_the_event_for_the_host() {
    let crew = mainlane::register::Crew::builder().start().unwrap();
    let builder = Pipeline::builder(Ledger::default()).panic_on_misrouted();
    let mut lane = builder.lane("a").open().unwrap();
    let (main_lane, handle) = builder.build().unwrap();
    let mut hosted = crew.host("one", main_lane).unwrap();
    lane.push_batch([Note::Item(1), Note::Stray]).unwrap();
    until("both are taken", || handle.counters().events.refused == 1);
    let report = hosted.shutdown(PATIENCE);
    assert_eq!(matches!(report.fault, Some(Fault::Misrouted { .. })), IS_LOUD);
    assert_eq!(hosted.take_poison().map(|poison| poison.event), IS_LOUD.then_some(Note::Stray));
}

/// What was applied before it is durable, and a restart does not stumble over it again.
#[cfg(feature = "journal")]
#[test]
fn a_journal_that_has_it_goes_on_without_it() {
    use crate::journal::{ALL, Book, Entry, begin, journal, settle, stop};
    use mainlane::journal::Durability;

    for durability in ALL {
        for timeline in [false, true] {
            let disk = crate::memory::Disk::default();
            let builder = if timeline {
                let journal = journal(&disk).durability(durability).timeline(Timeline::window(50));
                journal.recover(Book::default()).unwrap().0
            } else {
                begin(&disk, durability)
            };
            let builder = builder.panic_on_misrouted();
            let mut lane = builder.lane("a").open().unwrap();
            let (mut main_lane, _) = builder.build().unwrap();
            lane.push_batch([Entry::Add(1), Entry::Stray, Entry::Add(2)]).unwrap();
            if !IS_LOUD {
                settle(&mut main_lane);
                continue;
            }
            let stopped = stop(&mut main_lane);
            let poison = stopped.into_poison().unwrap();
            assert_eq!(poison.event, Entry::Stray);
            let end = main_lane.shutdown(PATIENCE).journal.unwrap();
            assert_eq!((end.durable, end.applied, end.failure), (1, 1, None), "{durability:?}");
            let (builder, _) = journal(&disk).recover(Book::default()).unwrap();
            // Of a batch that was durable before it was applied, all is there but this.
            let whole = durability == Durability::BeforeApply;
            assert_eq!(builder.state().count, if whole { 4 } else { 2 }, "{durability:?}, {timeline}");
            let (mut main_lane, _) = builder.panic_on_misrouted().build().unwrap();
            settle(&mut main_lane);
            assert!(main_lane.shutdown(PATIENCE).complete);
        }
    }
}

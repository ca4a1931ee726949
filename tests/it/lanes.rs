//! Lanes: their two ways in, what is coalesced and shed, what happens when they are full, opening and closing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mainlane::{
    Budget, Class, Diagnostic, Error, IdleStrategy, Operation, OperationId, Overflow, Phase, Pipeline, Refused, Tier,
    TimerSource, ring_source,
};

use crate::domain::{Ledger, Note, drain, settled, until};

#[test]
fn critical_events_arrive_in_push_order_without_gaps() {
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("a").capacity(8).open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    let producer = std::thread::spawn(move || {
        for n in 0..10_000 {
            lane.push(Note::Item(n)).unwrap();
        }
    });
    until("all 10,000 events", || {
        drain(&mut main_lane);
        main_lane.state().seen.len() == 10_000
    });
    producer.join().unwrap();
    for (n, seen) in main_lane.state().seen.iter().enumerate() {
        assert_eq!((seen.sequence, &seen.note), (n as u64, &Note::Item(n as u64)));
    }
    assert_eq!(settled(&handle).events.applied, 10_000);
}

#[test]
fn a_batch_takes_one_stamp_and_is_one_run() {
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, _) = builder.build().unwrap();
    assert_eq!(lane.push_batch((0..100).map(Note::Item)).unwrap(), 100);
    drain(&mut main_lane);
    let stamps: Vec<_> = main_lane.state().seen.iter().map(|seen| seen.stamp).collect();
    assert!(stamps.windows(2).all(|pair| pair[1] == pair[0] + 2), "consecutive odd keys: {stamps:?}");
}

#[test]
fn a_mixed_batch_takes_one_stamp_for_64_events_at_most() {
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("a").capacity(128).keys(128).open().unwrap();
    let (mut main_lane, _) = builder.build().unwrap();
    let notes = (0..100).map(|n| if n % 2 == 0 { Note::Item(n) } else { Note::Level { key: n as u32, value: n } });
    assert_eq!(lane.push_batch(notes).unwrap(), 100);
    drain(&mut main_lane);
    let stamps: Vec<_> = main_lane.state().seen.iter().map(|seen| seen.stamp).collect();
    // Odd ones for items; a level has the even one between its neighbours', for as long as the run goes on.
    let gaps: Vec<_> = (1..100).filter(|at| stamps[*at] != stamps[at - 1] + 1).collect();
    assert_eq!(gaps, [64], "one stamp, and a second one behind 64 events: {stamps:?}");
}

#[test]
fn a_mixed_batch_keeps_its_order() {
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    let batch = [
        Note::Item(0),
        Note::Level { key: 1, value: 1 },
        Note::Item(1),
        Note::Level { key: 2, value: 2 },
        Note::Level { key: 1, value: 3 },
        Note::Item(2),
    ];
    assert_eq!(lane.push_batch(batch).unwrap(), 6);
    drain(&mut main_lane);
    // The first level was replaced; it stands where its newest part stood.
    let expected = [
        Note::Item(0),
        Note::Item(1),
        Note::Level { key: 2, value: 2 },
        Note::Level { key: 1, value: 3 },
        Note::Item(2),
    ];
    assert_eq!(main_lane.state().notes(), expected);
    assert_eq!(settled(&handle).events.replaced, 1);
}

#[test]
fn unclocked_lanes_keep_their_order_too() {
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("keys").unclocked().open().unwrap();
    let (mut main_lane, _) = builder.build().unwrap();
    lane.push_batch([Note::Item(0), Note::Level { key: 1, value: 1 }, Note::Item(1)]).unwrap();
    lane.push(Note::Level { key: 2, value: 2 }).unwrap();
    lane.push(Note::Level { key: 1, value: 3 }).unwrap();
    lane.push(Note::Item(2)).unwrap();
    drain(&mut main_lane);
    let expected = [
        Note::Item(0),
        Note::Item(1),
        Note::Level { key: 2, value: 2 },
        Note::Level { key: 1, value: 3 },
        Note::Item(2),
    ];
    assert_eq!(main_lane.state().notes(), expected);
    assert!(main_lane.state().seen.iter().all(|seen| seen.stamp == 0));
}

#[test]
fn lossy_events_replace_or_merge_and_are_counted() {
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    for value in 1..=10 {
        lane.push(Note::Level { key: 1, value }).unwrap();
        lane.push(Note::Sum { key: 2, value }).unwrap();
    }
    drain(&mut main_lane);
    assert_eq!(main_lane.state().notes(), [Note::Level { key: 1, value: 10 }, Note::Sum { key: 2, value: 55 }]);
    assert!(main_lane.state().seen.iter().all(|seen| seen.parts == 10));
    let events = settled(&handle).events;
    assert_eq!((events.pushed, events.applied, events.replaced, events.merged), (20, 2, 9, 9));
}

#[test]
fn a_full_table_sheds_the_lowest_tier_and_says_so() {
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("a").keys(2).open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    for (key, tier) in [(1, 0), (2, 4), (3, 4), (4, 0)] {
        lane.push(Note::Tiered { key, tier }).unwrap();
    }
    drain(&mut main_lane);
    assert_eq!(main_lane.state().notes(), [Note::Tiered { key: 2, tier: 4 }, Note::Tiered { key: 3, tier: 4 }]);
    assert_eq!(settled(&handle).events.shed, 2);
    drop(lane);
    drain(&mut main_lane);
    let shed = handle.diagnostics().drain().any(|note| matches!(note, Diagnostic::Shed { count: 2, .. }));
    assert!(shed, "two events shed are a diagnostic");
}

#[test]
fn a_full_ring_returns_the_event_or_waits() {
    let builder = Pipeline::builder(Ledger::default());
    let mut returning = builder.lane("returning").capacity(2).overflow(Overflow::Return).open().unwrap();
    let mut waiting = builder.lane("waiting").capacity(2).open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    returning.push(Note::Item(0)).unwrap();
    returning.push(Note::Item(1)).unwrap();
    assert_eq!(returning.push(Note::Item(2)), Err(Refused::Full(Note::Item(2))));
    let rest = returning.push_batch((3..6).map(Note::Item)).unwrap_err();
    assert_eq!(rest.into_inner().collect::<Vec<_>>(), (3..6).map(Note::Item).collect::<Vec<_>>());
    // Lossy events have a way of their own.
    returning.push(Note::Level { key: 1, value: 1 }).unwrap();
    let waiter = std::thread::spawn(move || (0..100).for_each(|n| waiting.push(Note::Item(100 + n)).unwrap()));
    until("the waiting lane's events", || {
        drain(&mut main_lane);
        main_lane.state().seen.len() == 103
    });
    waiter.join().unwrap();
    let counters = settled(&handle);
    assert_eq!(counters.events.returned, 2);
    assert_eq!(counters.events.pushed, 103);
}

#[test]
fn a_batch_that_does_not_fit_goes_in_as_far_as_there_is_room() {
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("a").capacity(4).overflow(Overflow::Return).open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    let refused = lane.push_batch((0..10).map(Note::Item)).unwrap_err();
    assert!(matches!(refused, Refused::Full(_)));
    let rest: Vec<_> = refused.into_inner().collect();
    assert_eq!(rest, (4..10).map(Note::Item).collect::<Vec<_>>(), "what was not accepted comes back whole");
    drain(&mut main_lane);
    assert_eq!(main_lane.state().notes(), (0..4).map(Note::Item).collect::<Vec<_>>());
    settled(&handle);
}

#[test]
fn the_main_lanes_own_thread_never_waits_for_itself() {
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("a").capacity(1).open().unwrap();
    let (mut main_lane, _handle) = builder.build().unwrap();
    main_lane.turn(Budget::UNLIMITED).unwrap();
    lane.push(Note::Item(0)).unwrap();
    assert_eq!(lane.push(Note::Item(1)), Err(Refused::Full(Note::Item(1))), "it would wait for ever");
}

#[test]
fn an_iterator_that_panics_half_way_loses_nothing_it_gave() {
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    let batch = (0..10).map(|n| if n == 5 { panic!("half-way") } else { Note::Item(n) });
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| lane.push_batch(batch))).is_err());
    drain(&mut main_lane);
    assert_eq!(main_lane.state().notes(), (0..5).map(Note::Item).collect::<Vec<_>>());
    assert_eq!(settled(&handle).events.pushed, 5);
    lane.push(Note::Item(9)).unwrap();
    assert_eq!(drain(&mut main_lane), 1, "the lane goes on");
}

#[test]
fn the_classifier_can_change_its_mind() {
    let visible = Arc::new(AtomicU32::new(1));
    let builder = Pipeline::builder(Ledger::default());
    let seen = visible.clone();
    let classify = move |note: &Note| match note {
        Note::Level { key, .. } if *key == seen.load(Ordering::Relaxed) => Class::lossy(*key, Tier::VISIBLE),
        Note::Level { key, .. } => Class::lossy(*key, Tier::BACKGROUND),
        _ => Class::Critical,
    };
    let mut lane = builder.lane("a").keys(1).classify(classify).open().unwrap();
    let (mut main_lane, _) = builder.build().unwrap();
    lane.push(Note::Level { key: 1, value: 1 }).unwrap();
    lane.push(Note::Level { key: 2, value: 2 }).unwrap();
    drain(&mut main_lane);
    visible.store(2, Ordering::Relaxed);
    lane.push(Note::Level { key: 2, value: 3 }).unwrap();
    lane.push(Note::Level { key: 1, value: 4 }).unwrap();
    drain(&mut main_lane);
    assert_eq!(main_lane.state().notes(), [Note::Level { key: 1, value: 1 }, Note::Level { key: 2, value: 3 }]);
}

/// Critical until something was applied; levels are lossy after.
fn lossy_later(note: &Note, state: &Ledger) -> Class<u32> {
    match note {
        Note::Level { key, .. } if !state.seen.is_empty() => Class::lossy(*key, Tier::NORMAL),
        _ => Class::Critical,
    }
}

#[test]
fn the_classifier_can_look_at_the_newest_snapshot() {
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("a").classify_by(lossy_later).open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    for _ in 0..2 {
        (0..3).for_each(|value| lane.push(Note::Level { key: 1, value }).unwrap());
        drain(&mut main_lane);
    }
    assert_eq!(main_lane.state().seen.len(), 4);
    assert_eq!(settled(&handle).events.replaced, 2);
}

#[test]
fn a_run_of_a_batch_asks_one_and_the_same_snapshot_when_it_is_drawn() {
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("a").classify_by(lossy_later).open().unwrap();
    let mut other = builder.lane("b").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    // Something is applied and published while the batch is being pushed.
    let levels = (0..4).map(|value| {
        if value == 2 {
            other.push(Note::Item(9)).unwrap();
            drain(&mut main_lane);
        }
        Note::Level { key: 1, value }
    });
    assert_eq!(lane.push_batch(levels).unwrap(), 4);
    drain(&mut main_lane);
    assert_eq!((main_lane.state().seen.len(), settled(&handle).events.replaced), (2, 3), "all of it was lossy");
    lane.push_batch((0..4).map(|value| Note::Level { key: 1, value })).unwrap();
    assert_eq!(drain(&mut main_lane), 1, "the next batch knows");
}

#[test]
fn the_end_of_an_operation_is_critical_whatever_its_class() {
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    let step = |sequence, phase| Note::Step(Operation { id: OperationId(1), sequence, phase });
    for (sequence, phase) in
        [(0, Phase::Started), (1, Phase::Progress), (2, Phase::Progress), (3, Phase::Terminal), (4, Phase::Progress)]
    {
        lane.push(step(sequence, phase)).unwrap();
    }
    drain(&mut main_lane);
    // Started and the progress are lossy by class and coalesced, into the progress that came too late.
    assert_eq!(main_lane.state().notes(), [step(3, Phase::Terminal)]);
    let counters = settled(&handle);
    assert_eq!((counters.events.refused, counters.faults.sealed), (1, 1));
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let builder = Pipeline::builder(Ledger::default());
    assert!(matches!(builder.lane("a").capacity(0).open(), Err(Error::Capacity { capacity: 0, .. })));
    assert!(matches!(builder.lane("a").capacity(usize::MAX).open(), Err(Error::Capacity { .. })));
    assert!(matches!(builder.lane("a").keys(0).open(), Err(Error::Keys { keys: 0, .. })));
    assert!(matches!(builder.lane("").open(), Err(Error::UnnamedLane)));
    let timer = || TimerSource::every(Duration::from_secs(1), || Note::Item(0));
    let ignored = builder.ingest("t", timer()).lane(|lane| lane.overflow(Overflow::Return)).start();
    assert!(matches!(ignored, Err(Error::Ignored { setting: "overflow", .. })));
    let ignored = builder.ingest("t", timer()).restart(mainlane::Restart::at_most(1, Duration::MAX)).start();
    assert!(matches!(ignored, Err(Error::Ignored { setting: "restart", .. })));
    assert_eq!(
        builder.lane("a").capacity(0).open().unwrap_err().to_string(),
        "lane `a`: a ring of 0 slots is not possible; choose 1 to 1048576"
    );
}

#[test]
fn lanes_open_and_close_while_events_flow() {
    let (mut main_lane, handle) = Pipeline::builder(Ledger::default()).build().unwrap();
    let openers: Vec<_> = (0..4)
        .map(|opener| {
            let handle = handle.clone();
            std::thread::spawn(move || {
                for round in 0..16u64 {
                    let lane = handle.lane(format!("{opener}/{round}")).capacity(4);
                    let mut lane = if round % 2 == 0 { lane } else { lane.unclocked() }.open().unwrap();
                    for n in 0..50 {
                        lane.push(Note::Item(n)).unwrap();
                        lane.push(Note::Sum { key: 1, value: 1 }).unwrap();
                    }
                }
            })
        })
        .collect();
    until("all 64 lanes opened, drained and closed", || {
        drain(&mut main_lane);
        handle.counters().lanes_closed == 64
    });
    openers.into_iter().for_each(|opener| opener.join().unwrap());
    let counters = settled(&handle);
    assert_eq!((counters.lanes.len(), counters.events.pushed), (0, 64 * 100));
    let items = main_lane.state().seen.iter().filter(|seen| matches!(seen.note, Note::Item(_))).count();
    let sum: u64 =
        main_lane.state().seen.iter().map(|seen| if let Note::Sum { value, .. } = seen.note { value } else { 0 }).sum();
    assert_eq!((items, sum), (64 * 50, 64 * 50));
    let mut opened = std::collections::BTreeMap::<_, u64>::new();
    for seen in &main_lane.state().seen {
        if let Note::Item(n) = seen.note {
            let next = opened.entry(seen.lane).or_default();
            assert_eq!((n, seen.sequence), (*next, *next), "{} is in order", seen.lane);
            *next += 1;
        }
    }
}

#[test]
fn a_foreign_callback_feeds_a_ring_that_a_lane_normalises() {
    let builder = Pipeline::builder(Ledger::default());
    let (mut feeder, source) = ring_source(16, |raw: i32| (raw >= 0).then_some(Note::Item(raw as u64)));
    builder.ingest("callback", source).idle(IdleStrategy::Yield).start().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    let callback = std::thread::spawn(move || {
        for raw in 0..1000 {
            let mut raw = if raw % 10 == 9 { -1 } else { raw };
            while let Err(full) = feeder.push(raw) {
                raw = full;
                std::thread::yield_now();
            }
        }
    });
    until("the source ends with its feeder", || {
        drain(&mut main_lane);
        handle.counters().lanes_closed == 1
    });
    callback.join().unwrap();
    assert_eq!(main_lane.state().seen.len(), 900);
    settled(&handle);
}

#[test]
fn a_timer_ticks_and_stops_with_the_pipeline() {
    let builder = Pipeline::builder(Ledger::default());
    let mut n = 0;
    let tick = move || {
        n += 1;
        Note::Item(n)
    };
    builder.ingest("timer", TimerSource::every(Duration::from_millis(1), tick)).start().unwrap();
    builder.ingest("slow timer", TimerSource::every(Duration::from_secs(3600), || Note::Item(0))).start().unwrap();
    let (mut main_lane, _handle) = builder.build().unwrap();
    until("five ticks", || {
        drain(&mut main_lane);
        main_lane.state().seen.len() >= 5
    });
    let report = main_lane.shutdown(Duration::from_secs(10));
    assert!(report.complete, "a thread that waits an hour is woken: {report:?}");
    assert_eq!(report.joined, 2);
}

#[test]
fn what_lanes_hold_is_known_from_when_they_are_opened_to_when_they_are_closed() {
    let builder = Pipeline::builder(Ledger::default()).flight_recorder(0);
    let small = builder.lane("small").capacity(16).keys(1).open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    let before = handle.held_bytes();
    assert_eq!((before.flight_recorder, before.journal, before.total()), (0, 0, before.lanes));
    assert!(before.lanes >= (16 * size_of::<Note>()) as u64, "{before:?}");
    let large = handle.lane("large").capacity(1600).keys(100).open().unwrap();
    let both = handle.held_bytes();
    assert!(both.lanes >= 90 * before.lanes, "a hundred times the slots: {both:?}, {before:?}");
    assert!(both.lanes >= (2048 * size_of::<Note>()) as u64, "memory of the next power of two: {both:?}");
    let prepared = handle.lane("prepared").capacity(16).keys(1).enrich(|_, _| ()).open().unwrap();
    let chunk = handle.held_bytes().lanes - both.lanes - before.lanes;
    assert!(
        ((64 * size_of::<Note>()) as u64..=8192).contains(&chunk),
        "for 64 events of a batch, which lie in {chunk}"
    );
    drop((small, large, prepared));
    until("they are closed", || {
        drain(&mut main_lane);
        handle.counters().lanes_closed == 3
    });
    assert_eq!(handle.held_bytes().total(), 0);
    let (_main_lane, recording) = Pipeline::builder(Ledger::default()).flight_recorder(100).build().unwrap();
    let entry = recording.held_bytes().flight_recorder / 128;
    assert!((50..=200).contains(&entry), "{entry} bytes an entry, of which there are a power of two");
}

/// Keys that look, as they are dropped, whether their push is over.
mod curious {
    use std::cell::{Cell, RefCell};

    use mainlane::{Budget, Class, Effects, Envelope, Event, MainLane, Reducer, Tier};

    thread_local! {
        pub(super) static MAIN_LANE: RefCell<Option<MainLane<Applied>>> = const { RefCell::new(None) };
        /// How many events the last of them found.
        pub(super) static FOUND: Cell<usize> = const { Cell::new(0) };
    }

    pub(super) struct Update(pub(super) u8, pub(super) Tier);

    #[derive(PartialEq, Eq, Hash)]
    pub(super) struct Curious(u8);

    impl Drop for Curious {
        fn drop(&mut self) {
            if let Some(mut main_lane) = MAIN_LANE.take() {
                FOUND.set(main_lane.turn(Budget::UNLIMITED).unwrap().events);
            }
        }
    }

    impl Event for Update {
        type Key = Curious;
        type Facets = ();

        fn class(&self) -> Class<Curious> {
            Class::lossy(Curious(self.0), self.1)
        }
    }

    #[derive(Clone, Default)]
    pub(super) struct Applied;

    impl Reducer for Applied {
        type Event = Update;
        type Effect = ();

        fn apply(&mut self, _: &Envelope<'_, Update>, _: &mut Effects<()>) {}
    }
}

#[test]
fn a_key_is_dropped_when_its_push_is_over() {
    use curious::{Applied, FOUND, MAIN_LANE, Update};

    // By the way that most pushes go, and by the one of a tier that changes.
    for tier in [Tier::NORMAL, Tier::BACKGROUND] {
        let builder = Pipeline::builder(Applied);
        let mut lane = builder.lane("a").keys(1).open().unwrap();
        let (main_lane, _handle) = builder.build().unwrap();
        lane.push(Update(1, Tier::NORMAL)).unwrap();
        MAIN_LANE.set(Some(main_lane));
        lane.push(Update(1, tier)).unwrap();
        assert_eq!(FOUND.take(), 1, "what was pushed is there to be had");
    }
}

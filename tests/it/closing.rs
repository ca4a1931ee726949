//! C14: nothing accepted is lost, nothing started is left behind.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use mainlane::{
    BlockingSource, Budget, Drive, Error, IdleStrategy, Left, Outlet, Pipeline, Polled, Refused, Source, SourceError,
};

use crate::domain::{Ledger, Note, PATIENCE, drain, settled, until};

/// Whatever `push` accepted is applied, whenever the shutdown comes.
#[test]
fn every_accepted_push_is_applied_however_the_shutdown_races_it() {
    for round in 0..200 {
        let builder = Pipeline::builder(Ledger::default());
        let lanes: Vec<_> = (0..3)
            .map(|n| {
                let lane = builder.lane(format!("{n}")).capacity(4).keys(4);
                if n == 2 { lane.unclocked() } else { lane }.open().unwrap()
            })
            .collect();
        let (main_lane, _handle) = builder.build().unwrap();
        let mut running = main_lane.spawn(Drive::new().idle(IdleStrategy::Yield)).unwrap();
        let start = Arc::new(Barrier::new(lanes.len() + 1));
        let producers: Vec<_> = lanes
            .into_iter()
            .map(|mut lane| {
                let start = start.clone();
                std::thread::spawn(move || {
                    start.wait();
                    let mut accepted = 0u64;
                    loop {
                        let n = accepted;
                        let pushed = match n % 4 {
                            0 => lane.push(Note::Sum { key: 1, value: 1 }).map(|()| 1),
                            1 => lane.push_batch([Note::Item(n), Note::Item(n)]).map(|n| n as u64).map_err(|refused| {
                                // What a batch did get in counts.
                                accepted += 2 - refused.into_inner().count() as u64;
                                Refused::Closed(Note::Item(n))
                            }),
                            _ => lane.push(Note::Item(n)).map(|()| 1),
                        };
                        match pushed {
                            Ok(more) => accepted += more,
                            Err(Refused::Closed(_)) => return accepted,
                            Err(Refused::Full(_)) => unreachable!("these lanes wait"),
                        }
                    }
                })
            })
            .collect();
        start.wait();
        (0..round * 20).for_each(|_| std::hint::spin_loop());
        let report = running.shutdown(PATIENCE);
        let accepted: u64 = producers.into_iter().map(|producer| producer.join().unwrap()).sum();
        assert!(report.complete, "{report:?}");
        let events = report.counters.events;
        assert!(events.balanced());
        assert_eq!(events.pushed, accepted, "round {round}");
        assert_eq!(events.in_flight, 0);
    }
}

#[test]
fn a_shutdown_joins_every_thread_and_says_so_each_time_it_is_asked() {
    struct Counting(Arc<AtomicU64>);
    impl Source for Counting {
        type Event = Note;
        fn poll(&mut self, outlet: &mut Outlet<Note>) -> Result<Polled, SourceError> {
            outlet.push(Note::Item(self.0.fetch_add(1, Ordering::Relaxed)));
            Ok(Polled::Ready)
        }
    }
    impl Drop for Counting {
        fn drop(&mut self) {
            self.0.fetch_add(1_000_000_000, Ordering::Relaxed);
        }
    }
    let emitted = Arc::new(AtomicU64::new(0));
    let builder = Pipeline::builder(Ledger::default());
    builder.ingest("counting", Counting(emitted.clone())).start().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    until("something is emitted", || drain_some(&mut main_lane) > 0);
    let report = main_lane.shutdown(PATIENCE);
    assert!(report.complete && report.joined == 1, "{report:?}");
    let emitted = emitted.load(Ordering::Relaxed);
    assert!(emitted >= 1_000_000_000, "the source was dropped before the shutdown returned");
    assert_eq!(report.counters.events.applied, emitted - 1_000_000_000, "everything emitted is applied");
    assert_eq!(main_lane.shutdown(Duration::ZERO), report);
    assert_eq!(main_lane.turn(Budget::UNLIMITED).unwrap().left, Left::Ended);
    assert!(handle.is_ended());
    assert!(matches!(handle.ingest("late", Counting(Arc::default())).start(), Err(Error::Closed)));
    assert!(matches!(handle.waking_reader(|| ()), Err(Error::Closed)));
}

fn drain_some(main_lane: &mut mainlane::MainLane<Ledger>) -> usize {
    main_lane.turn(Budget::UNLIMITED).unwrap().events
}

#[test]
fn a_source_that_blocks_is_interrupted() {
    let (interrupt, interrupted) = std::sync::mpsc::channel::<()>();
    let source = BlockingSource::new(
        move |outlet: &mut Outlet<Note>| {
            outlet.push(Note::Item(1));
            // Blocks until the interrupt comes.
            let _ = interrupted.recv_timeout(PATIENCE);
            Ok(Polled::Idle)
        },
        move || {
            let _ = interrupt.send(());
        },
    );
    let builder = Pipeline::builder(Ledger::default());
    builder.ingest("blocking", source).start().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    let report = main_lane.shutdown(PATIENCE);
    assert!(report.complete && report.joined == 1, "{report:?}");
    settled(&handle);
}

#[test]
fn closing_from_elsewhere_ends_the_hosts_loop() {
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    let stopper = std::thread::spawn(move || {
        lane.push(Note::Item(1)).unwrap();
        handle.close();
        lane
    });
    until("the loop ends", || main_lane.turn(Budget::UNLIMITED).unwrap().left == Left::Ended);
    let mut lane = stopper.join().unwrap();
    assert_eq!(main_lane.state().notes(), [Note::Item(1)]);
    assert_eq!(lane.push(Note::Item(2)), Err(Refused::Closed(Note::Item(2))));
}

#[test]
fn dropping_either_end_shuts_down() {
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("a").open().unwrap();
    let (main_lane, handle) = builder.build().unwrap();
    lane.push(Note::Item(1)).unwrap();
    drop(main_lane);
    assert!(handle.is_ended());
    assert_eq!(handle.reader().load().notes(), [Note::Item(1)], "what was accepted is applied and published");
    assert!(matches!(lane.push(Note::Item(2)), Err(Refused::Closed(_))));

    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("a").open().unwrap();
    let (main_lane, handle) = builder.build().unwrap();
    lane.push(Note::Item(1)).unwrap();
    drop(main_lane.spawn(Drive::new()).unwrap());
    assert_eq!(handle.reader().load().notes(), [Note::Item(1)]);
}

#[test]
fn a_builder_that_is_never_built_leaves_nothing_behind() {
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("a").capacity(1).open().unwrap();
    lane.push(Note::Item(1)).unwrap();
    let waiting = Arc::new(AtomicBool::new(false));
    let flag = waiting.clone();
    let producer = std::thread::spawn(move || {
        flag.store(true, Ordering::Release);
        lane.push(Note::Item(2))
    });
    until("the producer is about to wait", || waiting.load(Ordering::Acquire));
    drop(builder);
    assert_eq!(producer.join().unwrap(), Err(Refused::Closed(Note::Item(2))));
}

#[test]
fn everything_is_dropped_once() {
    let alive = Arc::new(());
    {
        #[derive(Clone)]
        struct Holding(Arc<()>);
        impl mainlane::Event for Holding {
            type Key = u32;
            type Facets = ();
            fn class(&self) -> mainlane::Class<u32> {
                if Arc::strong_count(&self.0).is_multiple_of(2) {
                    mainlane::Class::Critical
                } else {
                    mainlane::Class::lossy(Arc::strong_count(&self.0) as u32 % 5, mainlane::Tier::NORMAL)
                }
            }
        }
        #[derive(Clone)]
        struct Nothing;
        impl mainlane::Reducer for Nothing {
            type Event = Holding;
            type Effect = ();
            fn apply(&mut self, _: &mainlane::Envelope<'_, Holding>, _: &mut mainlane::Effects<()>) {}
        }
        let builder = Pipeline::builder(Nothing);
        let mut lane = builder.lane("a").keys(3).open().unwrap();
        let (mut main_lane, _) = builder.build().unwrap();
        for n in 0..100 {
            lane.push(Holding(alive.clone())).unwrap();
            if n == 60 {
                main_lane.turn(Budget::events(10)).unwrap();
            }
        }
        assert!(Arc::strong_count(&alive) > 1);
    }
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[test]
fn an_idle_pipeline_shuts_down_at_once() {
    let (main_lane, handle) = Pipeline::builder(Ledger::default()).build().unwrap();
    let mut running = main_lane.spawn(Drive::new()).unwrap();
    assert!(running.shutdown(PATIENCE).complete);
    assert_eq!(settled(&handle).events.pushed, 0);
    let (mut main_lane, _) = Pipeline::builder(Ledger::default()).build().unwrap();
    drain(&mut main_lane);
    assert!(main_lane.shutdown(Duration::ZERO).complete, "nothing to wait for");
}

#[test]
fn a_producer_that_waits_on_a_lane_nobody_has_seen_is_let_go() {
    let (mut main_lane, handle) = Pipeline::builder(Ledger::default()).build().unwrap();
    let opened = handle.clone();
    let (full, is_full) = std::sync::mpsc::channel();
    let producer = std::thread::spawn(move || {
        let mut lane = opened.lane("late").capacity(1).open().unwrap();
        lane.push(Note::Item(0)).unwrap();
        full.send(()).unwrap();
        // Waits for room that no turn will ever make.
        lane.push(Note::Item(1))
    });
    is_full.recv().unwrap();
    until("the producer waits", || handle.counters().events.waited == 1);
    let report = main_lane.shutdown(PATIENCE);
    let refused = producer.join().unwrap();
    let accepted = if refused.is_ok() { 2 } else { 1 };
    assert!(report.complete, "{report:?}");
    assert_eq!(report.counters.events.applied, accepted);
}

#[test]
fn a_refused_push_wakes_a_main_lane_that_waits_for_the_gate_to_be_quiet() {
    for _ in 0..50 {
        let builder = Pipeline::builder(Ledger::default());
        let mut lane = builder.lane("a").open().unwrap();
        let (mut main_lane, handle) = builder.build().unwrap();
        let producer = std::thread::spawn(move || while lane.push(Note::Level { key: 1, value: 1 }).is_ok() {});
        until("something is pushed", || drain_some(&mut main_lane) > 0);
        handle.close();
        let deadline = std::time::Instant::now() + PATIENCE;
        while main_lane.turn(Budget::UNLIMITED).unwrap().left != Left::Ended {
            main_lane.wait_for_input(deadline);
            assert!(std::time::Instant::now() < deadline, "nobody rang");
        }
        producer.join().unwrap();
    }
}

#[test]
fn effects_that_a_shutdown_has_no_time_for_are_counted() {
    let slow = |_: u64, _: &Ledger| {
        let began = std::time::Instant::now();
        until("ten milliseconds are over", || began.elapsed() > Duration::from_millis(10));
    };
    let builder = Pipeline::builder(Ledger::default()).reconciler(slow);
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, _handle) = builder.build().unwrap();
    lane.push_batch((0..5).map(Note::Ask)).unwrap();
    let report = main_lane.shutdown(Duration::ZERO);
    assert!(!report.complete, "{report:?}");
    let counters = report.counters;
    assert_eq!(counters.events.applied, 5);
    assert_eq!(counters.effects + counters.effects_unhandled, 5, "{counters:?}");
    assert!(counters.effects_unhandled > 0);
}

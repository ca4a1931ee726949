//! The ways to embed: the host's own loop, mainlane's thread, a task; waking and sleeping.

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use mainlane::{Budget, Drive, Effects, Envelope, IdleStrategy, Left, Overflow, Pipeline, Publish, Reducer, Timeline};

use crate::domain::{Ledger, Note, PATIENCE, drain, settled, until};

/// Runs a future on this thread, which is all the runtime that mainlane's futures need.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = std::pin::pin!(future);
    let deadline = Instant::now() + PATIENCE;
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park_timeout(deadline.saturating_duration_since(Instant::now())),
        }
        assert!(Instant::now() < deadline, "not ready within {PATIENCE:?}");
    }
}

#[test]
fn a_spawned_main_lane_sleeps_and_is_woken_by_each_push() {
    for idle in [IdleStrategy::PARK, IdleStrategy::Yield, IdleStrategy::Spin] {
        let builder = Pipeline::builder(Ledger::default());
        let mut clocked = builder.lane("clocked").open().unwrap();
        let mut unclocked = builder.lane("unclocked").unclocked().open().unwrap();
        let (main_lane, handle) = builder.build().unwrap();
        let mut running = main_lane.spawn(Drive::new().idle(idle)).unwrap();
        let mut reader = handle.reader();
        for n in 0..300u64 {
            // Each push waits for the one before to be applied, so the main lane goes idle in between.
            match n % 3 {
                0 => clocked.push(Note::Item(n)).unwrap(),
                1 => unclocked.push(Note::Item(n)).unwrap(),
                _ => clocked.push(Note::Level { key: 1, value: n }).unwrap(),
            }
            let snapshot = reader.wait_changed(Instant::now() + PATIENCE).expect("a lost wake-up");
            assert_eq!(snapshot.seen.len() as u64, n + 1);
        }
        assert!(running.shutdown(PATIENCE).complete);
        settled(&handle);
    }
}

#[test]
fn a_task_drives_the_main_lane() {
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    let producer = std::thread::spawn(move || {
        for n in 0..1000 {
            lane.push(Note::Item(n)).unwrap();
        }
        handle.close();
    });
    block_on(async {
        while main_lane.turn(Budget::millis(1)).unwrap().left != Left::Ended {
            main_lane.input().await;
        }
    });
    producer.join().unwrap();
    assert_eq!(main_lane.state().seen.len(), 1000);
}

#[test]
fn a_reader_awaits_a_change() {
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("a").open().unwrap();
    let (main_lane, handle) = builder.build().unwrap();
    let mut running = main_lane.spawn(Drive::new()).unwrap();
    let mut reader = handle.reader();
    for n in 0..100 {
        lane.push(Note::Item(n)).unwrap();
        let snapshot = block_on(reader.changed()).unwrap();
        assert_eq!(snapshot.seen.len() as u64, n + 1);
    }
    running.shutdown(PATIENCE);
    assert!(block_on(reader.changed()).is_none(), "there will be no more");
    assert!(reader.wait_changed(Instant::now() + PATIENCE).is_none());
}

#[test]
fn a_waiting_reader_is_let_go_at_the_end() {
    let (main_lane, handle) = Pipeline::builder(Ledger::default()).build().unwrap();
    let mut running = main_lane.spawn(Drive::new()).unwrap();
    let mut reader = handle.reader();
    let waiter = std::thread::spawn(move || reader.wait_changed(Instant::now() + PATIENCE).is_none());
    assert!(running.shutdown(PATIENCE).complete);
    assert!(waiter.join().unwrap());
}

#[test]
fn a_wait_for_a_change_ends_at_its_deadline() {
    let (_main_lane, handle) = Pipeline::builder(Ledger::default()).build().unwrap();
    assert!(handle.reader().wait_changed(Instant::now()).is_none());
    assert!(handle.reader().wait_changed(Instant::now() + Duration::from_millis(5)).is_none());
}

#[test]
fn a_waking_reader_is_told_once_until_it_reads() {
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    let calls = Arc::new(AtomicU64::new(0));
    let counted = calls.clone();
    let reader = handle
        .waking_reader(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        })
        .unwrap();
    let mut push = |n| {
        lane.push(Note::Item(n)).unwrap();
        drain(&mut main_lane);
        calls.load(Ordering::Relaxed)
    };
    assert_eq!((push(0), push(1), push(2)), (1, 1, 1), "one call while it is unanswered");
    assert_eq!(reader.load().seen.len(), 3);
    assert_eq!((push(3), push(4)), (2, 2), "the first publication after the answer calls again");
    drop(reader);
    assert_eq!((push(5), push(6)), (2, 2), "nobody is there to be told");
}

/// A host that sleeps until it is called, and loads when it is: it sees the last snapshot, however calls and loads
/// interleave.
#[test]
fn a_host_that_sleeps_on_its_wake_hook_misses_nothing() {
    const EVENTS: u64 = 20_000;
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("a").open().unwrap();
    let (main_lane, handle) = builder.build().unwrap();
    let mut running = main_lane.spawn(Drive::new().budget(Budget::events(50))).unwrap();
    let (call, called) = std::sync::mpsc::channel();
    let reader = handle
        .waking_reader(move || {
            let _ = call.send(());
        })
        .unwrap();
    let producer = std::thread::spawn(move || (0..EVENTS).for_each(|n| lane.push(Note::Item(n)).unwrap()));
    let mut versions = Vec::new();
    loop {
        called.recv_timeout(PATIENCE).expect("a lost wake-up");
        let snapshot = reader.load();
        versions.push(snapshot.version());
        if snapshot.seen.len() as u64 == EVENTS {
            break;
        }
    }
    producer.join().unwrap();
    assert!(versions.is_sorted(), "versions never go back");
    running.shutdown(PATIENCE);
    assert!(called.try_iter().count() <= 1, "at most the one call for what was read already");
}

#[test]
fn an_input_hook_wakes_a_host_that_sleeps() {
    let (call, called) = std::sync::mpsc::channel();
    let call = parking_lot::Mutex::new(call);
    let builder = Pipeline::builder(Ledger::default()).on_input(move || {
        let _ = call.lock().send(());
    });
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    let producer = std::thread::spawn(move || (0..5000).for_each(|n| lane.push(Note::Item(n)).unwrap()));
    loop {
        let turn = main_lane.turn(Budget::events(10)).unwrap();
        if main_lane.state().seen.len() == 5000 {
            break;
        }
        if turn.left == Left::Nothing && !main_lane.arm_input() {
            called.recv_timeout(PATIENCE).expect("a lost wake-up");
        }
    }
    producer.join().unwrap();
    drain(&mut main_lane);
    settled(&handle);
}

#[test]
fn a_host_thread_waits_for_input() {
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, _handle) = builder.build().unwrap();
    main_lane.wait_for_input(Instant::now());
    let producer = std::thread::spawn(move || (0..1000).for_each(|n| lane.push(Note::Item(n)).unwrap()));
    let deadline = Instant::now() + PATIENCE;
    while main_lane.state().seen.len() < 1000 {
        main_lane.wait_for_input(deadline);
        main_lane.turn(Budget::UNLIMITED).unwrap();
        assert!(Instant::now() < deadline);
    }
    producer.join().unwrap();
}

#[test]
fn publication_at_most_every_so_often_still_publishes_the_last_state() {
    let every = Duration::from_millis(20);
    let builder = Pipeline::builder(Ledger::default()).publish(Publish::AtMostEvery(every));
    let mut lane = builder.lane("a").open().unwrap();
    let (main_lane, handle) = builder.build().unwrap();
    let mut running = main_lane.spawn(Drive::new()).unwrap();
    let mut reader = handle.reader();
    let began = Instant::now();
    for n in 0..200 {
        lane.push(Note::Item(n)).unwrap();
        std::thread::yield_now();
    }
    // No further event comes: the time alone brings the last state out.
    let last = loop {
        let snapshot = reader.wait_changed(began + PATIENCE).expect("the last state is published");
        if snapshot.seen.len() == 200 {
            break snapshot;
        }
    };
    let most = began.elapsed().as_millis() / every.as_millis() + 2;
    assert!(u128::from(last.version().as_u64()) <= most, "{:?} in {:?}", last.version(), began.elapsed());
    running.shutdown(PATIENCE);
}

#[test]
fn publication_on_request_waits_to_be_asked() {
    let builder = Pipeline::builder(Ledger::default()).publish(Publish::OnRequest);
    let mut lane = builder.lane("a").open().unwrap();
    let (main_lane, handle) = builder.build().unwrap();
    let mut running = main_lane.spawn(Drive::new()).unwrap();
    let mut reader = handle.reader();
    lane.push_batch((0..10).map(Note::Item)).unwrap();
    until("all is applied", || handle.counters().events.applied == 10);
    assert_eq!(reader.version().as_u64(), 0);
    reader.request();
    assert_eq!(reader.wait_changed(Instant::now() + PATIENCE).unwrap().seen.len(), 10);
    lane.push(Note::Item(10)).unwrap();
    running.shutdown(PATIENCE);
    assert_eq!(reader.load().seen.len(), 11, "the end is always published");
}

/// A request that comes while a batch is applied is answered with what was pushed before it: not by that batch, and not
/// never.
#[test]
fn a_request_in_the_middle_of_a_turn_is_answered_by_the_next() {
    struct Asking {
        applied: usize,
        /// Pushes, then asks: once, from inside the first turn.
        ask: Option<Arc<dyn Fn() + Send + Sync>>,
    }
    impl Clone for Asking {
        fn clone(&self) -> Self {
            Self { applied: self.applied, ask: None }
        }
    }
    impl Reducer for Asking {
        type Event = Note;
        type Effect = ();
        fn apply(&mut self, _: &Envelope<'_, Note>, _: &mut Effects<()>) {
            self.applied += 1;
            if let Some(ask) = self.ask.take() {
                ask();
            }
        }
    }
    type Ask = Box<dyn FnMut() + Send>;
    let second = Arc::new(std::sync::Mutex::new(None::<Ask>));
    let asking = second.clone();
    let ask = Arc::new(move || (asking.lock().unwrap().as_mut().unwrap())());
    let builder = Pipeline::builder(Asking { applied: 0, ask: Some(ask) }).publish(Publish::OnRequest);
    let (mut one, mut other) = (builder.lane("one").open().unwrap(), builder.lane("other").open().unwrap());
    let (mut main_lane, handle) = builder.build().unwrap();
    let reader = handle.reader();
    *second.lock().unwrap() = Some(Box::new(move || {
        other.push(Note::Item(2)).unwrap();
        reader.request();
    }));
    one.push(Note::Item(1)).unwrap();
    assert_eq!(main_lane.turn(Budget::UNLIMITED).unwrap().published, None, "the second event is not in this batch");
    assert!(main_lane.arm_input(), "there is an event to apply, and a request to answer");
    assert!(main_lane.turn(Budget::UNLIMITED).unwrap().published.is_some());
    assert_eq!(handle.reader().load().applied, 2);
    assert!(!main_lane.arm_input(), "answered");
    handle.reader().request();
    assert!(main_lane.arm_input());
    assert_eq!(main_lane.turn(Budget::UNLIMITED).unwrap().published, None, "that is published already");
    assert!(!main_lane.arm_input(), "and the request does not wait for what comes later");
    main_lane.shutdown(PATIENCE);
}

/// A batch that a budget divides is answered for when all of it is applied.
#[test]
fn a_request_is_answered_when_its_cut_is_applied() {
    let builder = Pipeline::builder(Ledger::default()).publish(Publish::OnRequest);
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    lane.push_batch((0..10).map(Note::Item)).unwrap();
    handle.reader().request();
    let published: Vec<_> = (0..3).map(|_| main_lane.turn(Budget::events(4)).unwrap().published.is_some()).collect();
    assert_eq!(published, [false, false, true]);
    assert_eq!(handle.reader().load().seen.len(), 10);
    main_lane.shutdown(PATIENCE);
}

/// So is one that comes while an unclocked lane has something left of an earlier turn, which is not looked at meanwhile.
#[test]
fn a_request_is_not_answered_by_what_was_left() {
    let builder = Pipeline::builder(Ledger::default()).publish(Publish::OnRequest);
    let mut lane = builder.lane("keys").unclocked().open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    lane.push_batch((0..10).map(Note::Item)).unwrap();
    main_lane.turn(Budget::events(5)).unwrap();
    lane.push(Note::Item(10)).unwrap();
    let reader = handle.reader();
    reader.request();
    assert_eq!(main_lane.turn(Budget::UNLIMITED).unwrap().published, None);
    assert!(main_lane.turn(Budget::UNLIMITED).unwrap().published.is_some());
    assert_eq!(reader.load().seen.len(), 11);
}

/// Nor by what an earlier turn had no time left to publish.
#[test]
fn a_request_is_not_answered_by_what_effects_held_up() {
    const TIME: Duration = Duration::from_millis(5);
    let slow = |_: u64, _: &Ledger| {
        let began = Instant::now();
        while began.elapsed() < TIME {
            std::hint::spin_loop();
        }
    };
    let builder = Pipeline::builder(Ledger::default()).publish(Publish::OnRequest).reconciler(slow);
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    lane.push_batch([Note::Ask(1), Note::Ask(2)]).unwrap();
    // With nothing in it for the second effect.
    while main_lane.turn(Budget::time(TIME)).unwrap().events < 2 {}
    lane.push(Note::Item(3)).unwrap();
    let reader = handle.reader();
    reader.request();
    while main_lane.turn(Budget::UNLIMITED).unwrap().left == Left::More {}
    assert_eq!(reader.load().seen.last(), main_lane.state().seen.last());
    assert_eq!(reader.load().seen.len(), 3);
    main_lane.shutdown(PATIENCE);
}

/// Effects that take a turn's whole time do not keep its state from being published.
#[test]
fn effects_do_not_starve_publication() {
    let slow = |_: u64, _: &Ledger| {
        let until = Instant::now() + Duration::from_micros(300);
        while Instant::now() < until {}
    };
    let builder = Pipeline::builder(Ledger::default()).reconciler(slow);
    let mut lane = builder.lane("a").capacity(1 << 12).open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    let mut batches = 0;
    for n in 0..100 {
        lane.push_batch((0..4).map(|at| Note::Ask(4 * n + at))).unwrap();
        batches += u64::from(main_lane.turn(Budget::millis(1)).unwrap().events > 0);
    }
    main_lane.turn(Budget::UNLIMITED).unwrap();
    let snapshots = handle.counters().snapshots;
    assert!(snapshots + 1 >= batches, "{snapshots} snapshots of {batches} batches");
}

#[test]
fn a_turn_that_holds_a_publication_back_says_until_when() {
    let builder = Pipeline::builder(Ledger::default()).publish(Publish::AtMostEvery(Duration::from_secs(3600)));
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    lane.push(Note::Item(0)).unwrap();
    assert!(main_lane.turn(Budget::UNLIMITED).unwrap().published.is_some(), "the first goes out at once");
    lane.push(Note::Item(1)).unwrap();
    assert!(matches!(main_lane.turn(Budget::UNLIMITED).unwrap().left, Left::PublishAt(_)));
    main_lane.shutdown(PATIENCE);
    assert_eq!(handle.reader().load().seen.len(), 2);
}

#[test]
fn a_sleeping_reader_is_called_at_the_end() {
    for poisoned in [false, true] {
        let builder = Pipeline::builder(Ledger::default());
        let mut lane = builder.lane("a").open().unwrap();
        let (main_lane, handle) = builder.build().unwrap();
        let mut running = main_lane.spawn(Drive::new()).unwrap();
        let (call, called) = std::sync::mpsc::channel();
        let reader = handle
            .waking_reader(move || {
                let _ = call.send(());
            })
            .unwrap();
        if poisoned {
            lane.push(Note::Poison).unwrap();
        } else {
            handle.close();
        }
        called.recv_timeout(PATIENCE).expect("nobody said that it is over");
        until("the end", || reader.is_ended());
        running.shutdown(PATIENCE);
    }
}

/// Nor does what comes later put the answer off, where neither cut nor unclocked lane is ever done when the other is.
#[test]
fn a_request_is_answered_in_the_middle_of_a_flood() {
    for keeps in [false, true] {
        let builder = Pipeline::builder(Ledger::default()).publish(Publish::OnRequest);
        let builder = if keeps { builder.timeline(Timeline::window(100)) } else { builder };
        let lanes = [("a", false), ("b", false), ("mouse", true), ("keys", true)].map(|(name, is_unclocked)| {
            let lane = builder.lane(name).capacity(16).overflow(Overflow::Return);
            if is_unclocked { lane.unclocked().open().unwrap() } else { lane.open().unwrap() }
        });
        let (mut main_lane, handle) = builder.build().unwrap();
        let (mut lanes, reader, mut pushed) = (lanes, handle.reader(), 0);
        let mut fill = |pushed: &mut u64| {
            for lane in &mut lanes {
                while lane.push(Note::Item(*pushed)).is_ok() {
                    *pushed += 1;
                }
            }
        };
        for _ in 0..20 {
            fill(&mut pushed);
            main_lane.turn(Budget::events(8)).unwrap();
        }
        for _ in 0..20 {
            fill(&mut pushed);
            let before = pushed;
            reader.request();
            let version = reader.version();
            // What is visible and what was left of it before: four rings full, twice, and the half of it is the cut's.
            let turns = (0..100).take_while(|_| {
                main_lane.turn(Budget::events(8)).unwrap();
                fill(&mut pushed);
                reader.version() == version
            });
            assert!(turns.count() <= 32, "keeps {keeps}: the flood puts it off");
            let seen: HashSet<_> = reader.load().notes().into_iter().map(|note| format!("{note:?}")).collect();
            let late = (0..before).find(|item| !seen.contains(&format!("{:?}", Note::Item(*item))));
            assert_eq!(late, None, "keeps {keeps}: pushed before the request");
        }
        main_lane.shutdown(PATIENCE);
    }
}

//! Wakers that panic, or poll their task where they are called: they are the host's, and called wherever something changes.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};

use mainlane::{Budget, Handle, Lane, MainLane, Pipeline};

use crate::domain::{Ledger, Note, PATIENCE, does_end};

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Panics when it is called.
struct Touchy;

impl Wake for Touchy {
    fn wake(self: Arc<Self>) {
        panic!("not me");
    }
}

/// Counts how often it is called.
#[derive(Default)]
struct Calls(AtomicU64);

impl Calls {
    fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Calls {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// An executor of one task, which runs wherever that is woken.
struct Inline(Mutex<Option<Task>>);

impl Inline {
    fn start(task: Task) -> Arc<Self> {
        let inline = Arc::new(Self(Mutex::new(Some(task))));
        inline.clone().wake();
        inline
    }

    fn is_over(&self) -> bool {
        self.0.lock().unwrap().is_none()
    }
}

impl Wake for Inline {
    fn wake(self: Arc<Self>) {
        let waker = Waker::from(self.clone());
        let mut task = self.0.lock().unwrap();
        if let Some(its) = &mut *task
            && its.as_mut().poll(&mut Context::from_waker(&waker)).is_ready()
        {
            *task = None;
        }
    }
}

fn poll(task: &mut Pin<Box<impl Future + ?Sized>>, waker: &Arc<impl Wake + Send + Sync + 'static>) -> bool {
    task.as_mut().poll(&mut Context::from_waker(&Waker::from(waker.clone()))).is_ready()
}

fn pipeline() -> (MainLane<Ledger>, Handle<Ledger>, Lane<Note>) {
    let builder = Pipeline::builder(Ledger::default());
    let lane = builder.lane("host").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    main_lane.turn(Budget::UNLIMITED).unwrap();
    (main_lane, handle, lane)
}

#[test]
fn whoever_pushes_does_not_meet_a_panic_of_the_task_that_takes_turns() {
    let (mut main_lane, handle, mut lane) = pipeline();
    let calls = Arc::new(Calls::default());
    for round in 1..=3 {
        let mut input = Box::pin(main_lane.input());
        assert!(!poll(&mut input, &Arc::new(Touchy)));
        lane.push(Note::Item(round)).unwrap();
        assert_eq!(handle.counters().faults.wake_panics, round);
        assert!(poll(&mut input, &calls), "it was told");
        drop(input);
        assert_eq!(main_lane.turn(Budget::UNLIMITED).unwrap().events, 1);
        // And one that does not panic is woken as ever.
        let mut input = Box::pin(main_lane.input());
        assert!(!poll(&mut input, &calls));
        lane.push(Note::Item(round)).unwrap();
        assert_eq!(calls.now(), round);
        drop(input);
        assert_eq!(main_lane.turn(Budget::UNLIMITED).unwrap().events, 1);
    }
}

#[test]
fn readers_whose_wakers_panic_keep_no_snapshot_from_others() {
    let (mut main_lane, handle, mut lane) = pipeline();
    let calls = Arc::new(Calls::default());
    for round in 1..=3 {
        let [mut before, mut touchy, mut behind] = [(); 3].map(|()| {
            let mut reader = handle.reader();
            while reader.version() > mainlane::Version::default() && {
                let mut seen = Box::pin(reader.changed());
                poll(&mut seen, &Arc::new(Calls::default()))
            } {}
            Box::pin(async move { reader.changed().await.map(|snapshot| snapshot.seen.len() as u64) })
        });
        assert!(!poll(&mut before, &calls) && !poll(&mut touchy, &Arc::new(Touchy)) && !poll(&mut behind, &calls));
        lane.push(Note::Item(round)).unwrap();
        main_lane.turn(Budget::UNLIMITED).unwrap();
        assert_eq!((calls.now(), handle.counters().faults.wake_panics), (2 * round, round));
        drop(touchy);
        for mut told in [before, behind] {
            let told = told.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert_eq!(told, Poll::Ready(Some(round)));
        }
    }
}

#[test]
fn a_task_may_run_where_it_is_woken() {
    does_end(|| {
        let (mut main_lane, handle, mut lane) = pipeline();
        let (tell, told) = mpsc::channel();
        let mut reader = handle.reader();
        let reads = Inline::start(Box::pin(async move {
            while let Some(snapshot) = reader.changed().await {
                tell.send(snapshot.seen.len()).unwrap();
            }
        }));
        for n in 1..=3 {
            lane.push(Note::Item(7)).unwrap();
            main_lane.turn(Budget::UNLIMITED).unwrap();
            assert_eq!(told.try_recv(), Ok(n));
        }
        assert!(main_lane.shutdown(PATIENCE).complete);
        assert!(reads.is_over());
    });
}

#[test]
fn a_main_lane_may_take_its_turn_where_it_is_woken() {
    does_end(|| {
        let (mut main_lane, handle, mut lane) = pipeline();
        let turns = Inline::start(Box::pin(async move {
            while !handle.reader().is_ended() {
                main_lane.input().await;
                main_lane.turn(Budget::UNLIMITED).unwrap();
                if main_lane.state().seen.len() == 3 {
                    return;
                }
            }
        }));
        for _ in 0..3 {
            assert!(!turns.is_over());
            lane.push(Note::Item(7)).unwrap();
        }
        assert!(turns.is_over());
    });
}

#[test]
fn a_task_may_be_dropped_by_its_waker() {
    /// Drops the task instead of running it, as an executor does that is gone.
    struct Drops(Mutex<Option<Task>>);
    impl Wake for Drops {
        fn wake(self: Arc<Self>) {
            drop(self.0.lock().unwrap().take());
        }
    }
    does_end(|| {
        let (mut main_lane, handle, mut lane) = pipeline();
        let mut reader = handle.reader();
        let drops = Arc::new(Drops(Mutex::new(None)));
        let mut task: Task = Box::pin(async move { drop(reader.changed().await) });
        assert!(!poll(&mut task, &drops));
        *drops.0.lock().unwrap() = Some(task);
        lane.push(Note::Item(7)).unwrap();
        main_lane.turn(Budget::UNLIMITED).unwrap();
        assert!(drops.0.lock().unwrap().is_none());
    });
}

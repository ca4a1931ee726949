use std::sync::Mutex;

use mainlane::control::{ControlError, RuntimeChoice};

use super::*;
use crate::domain::until;

/// Writes down when it starts and stops.
struct Notes(&'static str, Arc<Mutex<Vec<String>>>);

impl Worker<Ledger> for Notes {
    fn start(&mut self, _: &mut WorkerContext<Ledger>) -> Result<(), WorkerError> {
        self.1.lock().unwrap().push(format!("+{}", self.0));
        Ok(())
    }
    fn turn(&mut self, _: &mut WorkerContext<Ledger>) -> Result<Next, WorkerError> {
        Ok(Next::After(Duration::from_secs(3600)))
    }
    fn stop(&mut self, _: &mut WorkerContext<Ledger>) -> Result<(), WorkerError> {
        self.1.lock().unwrap().push(format!("-{}", self.0));
        Ok(())
    }
}

#[test]
fn workers_start_after_and_stop_before_those_that_they_come_after() {
    let (_running, handle) = pipeline();
    let mut panel = ControlPanel::builder().start().unwrap();
    let book = Arc::new(Mutex::new(Vec::new()));
    let make = |name| {
        let book = book.clone();
        move || Ok(Notes(name, book.clone()))
    };
    panel.worker(&handle, "a", make("a")).start().unwrap();
    panel.worker(&handle, "b", make("b")).after("a").start().unwrap();
    panel.worker(&handle, "c", make("c")).after("b").start().unwrap();
    wait_until(&panel, "c", WorkerState::Running);
    assert!(panel.shutdown(PATIENCE).complete);
    assert_eq!(*book.lock().unwrap(), ["+a", "+b", "+c", "-c", "-b", "-a"]);
}

#[test]
fn who_does_not_stop_is_named_and_ends_alone() {
    /// Does not look whether it is cancelled.
    struct Deaf(Arc<std::sync::Barrier>, Count);
    impl Worker<Ledger> for Deaf {
        fn turn(&mut self, _: &mut WorkerContext<Ledger>) -> Result<Next, WorkerError> {
            self.1.next();
            self.0.wait();
            Ok(Next::Done)
        }
    }
    let (_running, handle) = pipeline();
    let mut panel = ControlPanel::builder().start().unwrap();
    let barrier = Arc::new(std::sync::Barrier::new(2));
    let turns = Count::default();
    let (its, counted) = (barrier.clone(), turns.clone());
    panel.worker(&handle, "deaf", move || Ok(Deaf(its.clone(), counted.clone()))).start().unwrap();
    panel.worker(&handle, "good", || Ok(Pushes(1))).start().unwrap();
    until("its turn", || turns.now() == 1);
    let report = panel.shutdown(SHORT);
    assert!(!report.complete);
    assert_eq!(report.stragglers, ["deaf"]);
    assert_eq!(handle.counters().faults.workers_stuck, 1);
    barrier.wait();
}

#[test]
fn a_task_that_does_not_stop_is_dropped_where_it_waits() {
    struct Deaf(Count);
    struct Held(Count);
    impl Drop for Held {
        fn drop(&mut self) {
            self.0.next();
        }
    }
    impl AsyncWorker<Ledger> for Deaf {
        async fn run(&mut self, _: &mut TaskContext<Ledger>) -> Result<(), WorkerError> {
            let _held = Held(self.0.clone());
            std::future::pending().await
        }
    }
    let (_running, handle) = pipeline();
    let dropped = Count::default();
    let its = dropped.clone();
    let mut panel = ControlPanel::builder().runtime(RuntimeChoice::OwnedAlone(1)).start().unwrap();
    panel.task(&handle, "deaf", move || Ok(Deaf(its.clone()))).stop_within(SHORT).start().unwrap();
    wait_until(&panel, "deaf", WorkerState::Running);
    panel.stop("deaf").unwrap();
    wait_until(&panel, "deaf", WorkerState::Stopped);
    assert_eq!(dropped.now(), 1);
    assert!(panel.shutdown(PATIENCE).complete);
}

#[test]
fn a_pipeline_that_is_closed_first_stops_its_own_workers_and_no_others() {
    let (mut running, handle) = pipeline();
    let (_other_running, other) = pipeline();
    let mut panel = ControlPanel::builder().start().unwrap();
    panel.worker(&handle, "here", || Ok(Pushes(1))).start().unwrap();
    panel.worker(&other, "there", || Ok(Pushes(1))).start().unwrap();
    wait_until(&panel, "here", WorkerState::Running);
    assert!(running.shutdown(PATIENCE).complete);
    wait_until(&panel, "here", WorkerState::Stopped);
    wait_until(&panel, "there", WorkerState::Running);
    let late = panel.worker(&handle, "late", || Ok(Pushes(1))).start();
    assert!(matches!(late, Err(ControlError::Lane(_))), "{late:?}");
    assert!(panel.shutdown(PATIENCE).complete);
}

#[test]
fn names_are_looked_at() {
    let (_running, handle) = pipeline();
    let mut panel = ControlPanel::builder().start().unwrap();
    let worker = |name: &str| panel.worker(&handle, name, || Ok(Pushes(1)));
    worker("one").start().unwrap();
    panel.group("some").start().unwrap();
    let name = |name: &str| name.to_owned();
    assert_eq!(worker("").start(), Err(ControlError::Unnamed));
    assert_eq!(worker("one").start(), Err(ControlError::Taken { name: name("one") }));
    assert_eq!(panel.group("one").start(), Err(ControlError::Taken { name: name("one") }));
    assert_eq!(worker("two").after("none").start(), Err(ControlError::Unknown { name: name("none") }));
    assert_eq!(worker("two").group("one").start(), Err(ControlError::Unknown { name: name("one") }), "no group");
    assert_eq!(worker("two").group("some").after("some").start(), Err(ControlError::Circular { name: name("two") }));
    assert_eq!(panel.stop("none"), Err(ControlError::Unknown { name: name("none") }));
    let blocking = panel.task(&handle, "task", || Ok(PushesInTask(1))).as_blocking_task().start();
    assert!(matches!(blocking, Err(ControlError::Ignored { .. })));
    // What was refused has left no lane.
    assert_eq!(handle.counters().lanes.iter().filter(|lane| &*lane.name == "two").count(), 0);
    panel.remove("one").unwrap();
    while panel.worker(&handle, "one", || Ok(Pushes(1))).start().is_err() {
        std::thread::yield_now();
    }
    assert!(panel.shutdown(PATIENCE).complete);
}

#[test]
fn nothing_is_left_of_many_panels() {
    for round in 0..50 {
        let (mut running, handle) = pipeline();
        let mut panel =
            ControlPanel::builder().name("many panels").runtime(RuntimeChoice::OwnedAlone(2)).start().unwrap();
        for n in 0..4 {
            panel.worker(&handle, format!("many thread {n}"), move || Ok(Pushes(n))).start().unwrap();
            panel.task(&handle, format!("many task {n}"), move || Ok(PushesInTask(n))).start().unwrap();
        }
        if round % 2 == 0 {
            assert!(panel.shutdown(PATIENCE).complete);
        }
        drop(panel);
        // A thread that was joined may be listed for a moment yet.
        until("the end of all threads", || threads_named("many ") == 0);
        assert!(running.shutdown(PATIENCE).complete);
    }
}

#[test]
fn a_maintenance_queue_ends_with_its_panel() {
    use mainlane::control::maintenance::{Job, Maintenance, Outcome, Step as JobStep};
    for choice in [RuntimeChoice::None, RuntimeChoice::OwnedAlone(1)] {
        let mut panel = ControlPanel::builder().runtime(choice).start().unwrap();
        let queue = panel.maintenance(Maintenance::builder().slots(1).name("jobs of a panel")).unwrap();
        let mut done = queue.submit(Job::blocking("quick", |_| Ok(3))).unwrap();
        assert_eq!(done.wait(deadline()), Some(Outcome::Done(3)));
        let mut endless = queue.submit(Job::resumable("endless", |_| Ok(JobStep::<()>::More))).unwrap();
        let mut waits = queue.submit(Job::blocking("waits", |_| Ok(()))).unwrap();
        let report = panel.shutdown(PATIENCE);
        assert!(report.complete, "{report:?}");
        assert_eq!(report.maintenance.len(), 1);
        assert_eq!(endless.wait(deadline()), Some(Outcome::Cancelled));
        waits.wait(deadline()).unwrap();
        until("the end of all threads", || threads_named("jobs of a pane") == 0);
        assert!(panel.maintenance(Maintenance::builder()).is_err());
        assert!(queue.submit(Job::blocking("late", |_| Ok(()))).is_err());
    }
}

use std::sync::{Barrier, Mutex, mpsc};

use mainlane::control::maintenance::{Job, Maintenance, Outcome};
use mainlane::control::{Backoff, CancellationToken, PolicyReader, RuntimeChoice};

use super::*;
use crate::domain::until;

/// Fails at once.
struct Fails;

impl Worker<Ledger> for Fails {
    fn turn(&mut self, _: &mut WorkerContext<Ledger>) -> Result<Next, WorkerError> {
        Err("no luck".into())
    }
}

/// Waits for a nudge.
struct Idle;

impl Worker<Ledger> for Idle {
    fn turn(&mut self, _: &mut WorkerContext<Ledger>) -> Result<Next, WorkerError> {
        Ok(Next::Nudged)
    }
}

/// A panel of this name whose thread is held up in a hook until somebody comes to the barrier.
fn held_up(handle: &Handle<Ledger>, name: &str) -> (ControlPanel, Arc<Barrier>) {
    let (barrier, held) = (Arc::new(Barrier::new(2)), CancellationToken::new());
    let (its, telling) = (barrier.clone(), held.clone());
    let hook = move |_: &[WorkerStatus]| {
        telling.cancel();
        its.wait();
    };
    let panel = ControlPanel::builder().name(name).on_escalation(hook).start().unwrap();
    panel.worker(handle, "bad", || Ok(Fails)).backoff(Backoff::NONE).start().unwrap();
    until("the hook", || held.is_cancelled());
    (panel, barrier)
}

/// Does it on a thread of its own, for it may never end.
fn does_end<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = mpsc::channel();
    let working = std::thread::spawn(move || drop(tell.send(work())));
    let done = told.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{what} does not end"));
    working.join().unwrap();
    done
}

#[test]
fn a_panel_that_was_given_up_is_not_waited_for_again_and_says_the_same() {
    let (_running, handle) = pipeline();
    let (mut panel, barrier) = held_up(&handle, "given up");
    let (reports, panel) = does_end("the second shutdown", move || {
        let first = panel.shutdown(SHORT);
        ([first, panel.shutdown(SHORT)], panel)
    });
    assert_eq!(reports[0].stragglers, ["given up"]);
    assert_eq!(reports[0], reports[1]);
    barrier.wait();
    until("its end", || threads_named("given up") == 0);
    let mut panel = does_end("the third", move || {
        let mut panel = panel;
        assert_eq!(panel.shutdown(SHORT), reports[1], "also when it has come to its end after all");
        panel
    });
    assert_eq!(panel.wait_for_shutdown(Instant::now()), Some(panel.shutdown(SHORT)));
}

#[test]
fn a_panel_that_was_given_up_is_not_waited_for_by_its_drop() {
    let (_running, handle) = pipeline();
    let (panel, barrier) = held_up(&handle, "dropped given");
    does_end("the drop", move || {
        let mut panel = panel;
        assert!(!panel.shutdown(SHORT).complete);
        drop(panel);
    });
    barrier.wait();
    until("its end", || threads_named("dropped given") == 0);
}

#[test]
fn a_task_does_not_wait_longer_than_that_either() {
    let (_running, handle) = pipeline();
    let (mut panel, barrier) = held_up(&handle, "task gives up");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let report = runtime.block_on(async { tokio::time::timeout(PATIENCE, panel.shutdown_async(SHORT)).await });
    let report = report.expect("it ends");
    assert!(!report.complete);
    assert_eq!(report.stragglers, ["task gives up"]);
    assert_eq!(runtime.block_on(panel.shutdown_async(SHORT)), report);
    barrier.wait();
    until("its end", || threads_named("task gives up") == 0);
}

#[test]
fn what_a_hook_holds_is_let_go_of_before_the_end_is_told() {
    /// Whose drop waits for somebody.
    struct Needs(Arc<Mutex<()>>);
    impl Drop for Needs {
        fn drop(&mut self) {
            drop(self.0.lock());
        }
    }
    let lock = Arc::new(Mutex::new(()));
    let needs = Needs(lock.clone());
    let hook = move |_: &[WorkerStatus]| drop(needs.0.lock());
    let mut panel = ControlPanel::builder().name("needs a lock").on_escalation(hook).start().unwrap();
    let report = does_end("the shutdown", move || {
        let _held = lock.lock().unwrap();
        panel.shutdown(SHORT)
    });
    assert_eq!(report.stragglers, ["needs a lock"]);
    until("its end", || threads_named("needs a lock") == 0);
}

#[test]
fn queues_of_a_panel_are_closed_together() {
    let mut panel = ControlPanel::builder().runtime(RuntimeChoice::None).start().unwrap();
    let queue = |name: &str| panel.maintenance(Maintenance::builder().slots(1).name(name)).unwrap();
    let (first, second) = (queue("first"), queue("second"));
    let (barrier, runs) = (Arc::new(Barrier::new(2)), Count::default());
    let (its, counted) = (barrier.clone(), runs.clone());
    let deaf = Job::blocking("deaf", move |_| {
        counted.next();
        its.wait();
        Ok(())
    });
    let _deaf = first.submit(deaf).unwrap();
    let counted = runs.clone();
    let polite = Job::blocking("polite", move |job| {
        counted.next();
        while !job.is_cancelled() {
            std::thread::yield_now();
        }
        Ok(3)
    });
    let mut polite = second.submit(polite).unwrap();
    until("both", || runs.now() == 2);
    let report = panel.shutdown(SHORT);
    assert!(!report.complete && !report.maintenance[0].complete, "{report:?}");
    assert!(report.maintenance[1].complete, "it was told in time: {report:?}");
    assert_eq!(polite.wait(deadline()), Some(Outcome::Done(3)));
    barrier.wait();
}

#[test]
fn whoever_panics_when_it_is_let_go_ends_alone() {
    struct Touchy;
    impl std::task::Wake for Touchy {
        fn wake(self: Arc<Self>) {
            panic!("not me");
        }
    }
    struct Waits(CancellationToken);
    impl AsyncWorker<Ledger> for Waits {
        async fn run(&mut self, ctx: &mut TaskContext<Ledger>) -> Result<(), WorkerError> {
            while ctx.lane().try_push(Note::Item(1)).is_ok() {}
            {
                let waker = std::task::Waker::from(Arc::new(Touchy));
                let mut lane = ctx.lane();
                let mut push = Box::pin(lane.push(Note::Item(2)));
                assert!(push.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
                self.0.cancel();
                std::future::pending::<()>().await;
            }
            Ok(())
        }
    }
    // Nobody takes a turn.
    let (_main_lane, handle) = Pipeline::builder(Ledger::default()).build().unwrap();
    let mut panel = ControlPanel::builder().start().unwrap();
    let waiting = CancellationToken::new();
    let telling = waiting.clone();
    panel.worker(&handle, "good", || Ok(Idle)).start().unwrap();
    panel.task(&handle, "touchy", move || Ok(Waits(telling.clone()))).stop_within(SHORT).start().unwrap();
    until("the wait", || waiting.is_cancelled());
    let report = panel.shutdown(PATIENCE);
    assert!(report.complete, "{report:?}");
}

#[test]
fn a_policy_is_compared_and_dropped_without_the_lock_that_readers_need() {
    /// Reads the policy when it is dropped, and panics when it is compared with one of its like.
    struct Nosy(usize, Arc<Mutex<Option<PolicyReader<Nosy>>>>);
    impl PartialEq for Nosy {
        fn eq(&self, other: &Self) -> bool {
            assert!(self.0 != 1 || other.0 != 2, "not comparable");
            self.0 == other.0
        }
    }
    impl Drop for Nosy {
        fn drop(&mut self) {
            let reader = self.1.lock().unwrap().clone();
            reader.map(|mut reader| reader.load().0);
        }
    }
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("host").open().unwrap();
    let (main_lane, handle) = builder.build().unwrap();
    let _running = main_lane.spawn(Drive::new()).unwrap();
    let place = Arc::<Mutex<Option<PolicyReader<Nosy>>>>::default();
    let its = place.clone();
    let project = move |state: &Ledger| Nosy(items(state).len(), its.clone());
    let mut panel = ControlPanel::builder().policy(&handle, project).start().unwrap();
    let mut reader = panel.policy();
    lane.push(Note::Item(1)).unwrap();
    until("the first change", || reader.load().0 == 1);
    lane.push(Note::Item(2)).unwrap();
    until("the panic", || handle.counters().faults.worker_panics == 1);
    assert_eq!(reader.load().0, 1, "it stays as it was");
    // Nobody holds the older one but the panel.
    drop(reader);
    *place.lock().unwrap() = Some(panel.policy());
    for items in 3..=5 {
        lane.push(Note::Item(3)).unwrap();
        until("the next change", || panel.policy().load().0 == items);
    }
    let taken = place.lock().unwrap().take();
    drop(taken);
    does_end("the shutdown", move || assert!(panel.shutdown(PATIENCE).complete));
}

#[test]
fn a_name_that_is_free_again_is_its_new_owners() {
    let (_running, handle) = pipeline();
    let (mut panel, barrier) = held_up(&handle, "new owner");
    panel.remove("bad").unwrap();
    // The panel's thread has not come to forget the first one.
    panel.worker(&handle, "bad", || Ok(Idle)).start().unwrap();
    let found = panel.wait_for("bad", Instant::now(), |_| true);
    assert_eq!(found.map(|status| status.state), Some(WorkerState::Stopped), "{:?}", panel.workers());
    barrier.wait();
    assert!(panel.shutdown(PATIENCE).complete);
}

#[test]
fn who_ends_after_the_deadline_is_waited_for_before_all_is_said_to_have_ended() {
    /// At the very end of its thread it waits for somebody.
    struct Lingers(CancellationToken, Arc<Barrier>);
    impl Drop for Lingers {
        fn drop(&mut self) {
            self.0.cancel();
            self.1.wait();
        }
    }
    thread_local! {
        static LINGERS: std::cell::RefCell<Option<Lingers>> = const { std::cell::RefCell::new(None) };
    }
    /// Does not look whether it is cancelled.
    struct Deaf(CancellationToken, Arc<Barrier>);
    impl Worker<Ledger> for Deaf {
        fn turn(&mut self, _: &mut WorkerContext<Ledger>) -> Result<Next, WorkerError> {
            self.0.cancel();
            self.1.wait();
            Ok(Next::Done)
        }
    }
    /// Dropped by the panel's thread when that has waited long enough, it lets the worker end.
    struct Last(Arc<Barrier>, CancellationToken);
    impl Drop for Last {
        fn drop(&mut self) {
            self.0.wait();
            until("the end of its run", || self.1.is_cancelled());
        }
    }
    let (_running, handle) = pipeline();
    let [deaf, lingers] = [(); 2].map(|()| Arc::new(Barrier::new(2)));
    let [turns, ended] = [(); 2].map(|()| CancellationToken::new());
    let last = Last(deaf.clone(), ended.clone());
    let hook = move |_: &[WorkerStatus]| {
        let _ = &last;
    };
    let mut panel = ControlPanel::builder().name("waits for all").on_escalation(hook).start().unwrap();
    let (its, telling) = (lingers.clone(), turns.clone());
    let make = move || {
        LINGERS.set(Some(Lingers(ended.clone(), its.clone())));
        Ok(Deaf(telling.clone(), deaf.clone()))
    };
    panel.worker(&handle, "lingers", make).start().unwrap();
    until("its turn", || turns.is_cancelled());
    let report = does_end("the shutdown", move || panel.shutdown(SHORT));
    assert!(!report.complete, "its thread is there: {report:?}");
    lingers.wait();
    until("its end", || threads_named("lingers") + threads_named("waits for all") == 0);
}

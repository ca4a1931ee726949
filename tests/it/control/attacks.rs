use std::sync::{Barrier, Mutex};

use mainlane::control::{
    Backoff, CancellationToken, ControlError, Failure, Health, Intensity, Restarts, RuntimeChoice, Step,
};

use super::*;
use crate::domain::until;

/// Fails at once.
struct Fails;

impl Worker<Ledger> for Fails {
    fn turn(&mut self, _: &mut WorkerContext<Ledger>) -> Result<Next, WorkerError> {
        Err("no luck".into())
    }
}

/// Ends when others have come to the barrier, whoever asks it before.
struct Deaf(CancellationToken, Arc<Barrier>);

impl Worker<Ledger> for Deaf {
    fn turn(&mut self, _: &mut WorkerContext<Ledger>) -> Result<Next, WorkerError> {
        self.0.cancel();
        self.1.wait();
        Ok(Next::Done)
    }
}

/// Where a panel is that its own parts get hold of.
type Place = Arc<Mutex<Option<ControlPanel>>>;

#[test]
fn a_panic_before_there_is_a_future_is_a_panic_like_any_other() {
    struct NoFuture {
        run: u64,
    }
    impl AsyncWorker<Ledger> for NoFuture {
        fn run(&mut self, ctx: &mut TaskContext<Ledger>) -> impl Future<Output = Result<(), WorkerError>> + Send {
            assert!(self.run >= 2, "instead of a future");
            let cancelled = ctx.cancelled();
            async {
                cancelled.await;
                Ok(())
            }
        }
    }
    let (_running, handle) = pipeline();
    let mut panel = ControlPanel::builder().intensity(Intensity::at_most(2, PATIENCE)).start().unwrap();
    let runs = Count::default();
    let make = move || Ok(NoFuture { run: runs.next() });
    panel.task(&handle, "task", make).backoff(Backoff::NONE).start().unwrap();
    let back = panel.wait_for("task", deadline(), |it| it.state == WorkerState::Running && it.restarts == 2);
    let back = back.unwrap_or_else(|| panic!("{:?}", panel.workers()));
    assert_eq!((back.errors, back.panics), (0, 2), "{back:?}");
    assert!(matches!(back.last_failure, Some(Failure::Panic { step: Step::Turn, .. })), "{back:?}");
    assert!(panel.shutdown(PATIENCE).complete);
}

#[test]
fn no_time_is_too_long() {
    let (_running, handle) = pipeline();
    let token = CancellationToken::new();
    let mut panel = ControlPanel::builder()
        .stop_with(token.clone(), Duration::MAX)
        .intensity(Intensity::at_most(1, Duration::MAX))
        .start()
        .unwrap();
    let slow = Backoff::between(Duration::MAX, Duration::MAX);
    panel.worker(&handle, "fails", || Ok(Fails)).backoff(slow).start().unwrap();
    panel.worker(&handle, "good", || Ok(Pushes(1))).stop_within(Duration::MAX).start().unwrap();
    wait_until(&panel, "good", WorkerState::Running);
    let rests = |status: &WorkerStatus| matches!(status.state, WorkerState::Resting { .. });
    assert!(panel.wait_for("fails", deadline(), rests).is_some(), "{:?}", panel.workers());
    panel.stop("good").unwrap();
    wait_until(&panel, "good", WorkerState::Stopped);
    panel.start("good").unwrap();
    wait_until(&panel, "good", WorkerState::Running);
    token.cancel();
    wait_until(&panel, "good", WorkerState::Stopped);
    assert!(panel.shutdown(Duration::MAX).complete);
}

#[test]
fn who_waits_for_a_worker_may_ask_the_panel_meanwhile() {
    let (_running, handle) = pipeline();
    let mut panel = ControlPanel::builder().start().unwrap();
    panel.worker(&handle, "good", || Ok(Pushes(1))).start().unwrap();
    let is = |status: &WorkerStatus| status.state == WorkerState::Running && panel.health() == Health::Good;
    assert!(panel.wait_for("good", deadline(), is).is_some());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(panel.wait_for_async("good", is));
    assert!(panel.shutdown(PATIENCE).complete);
}

#[test]
fn every_name_is_a_hosts_to_give() {
    let (_running, handle) = pipeline();
    let mut panel = ControlPanel::builder().start().unwrap();
    assert_eq!(panel.stop("root"), Err(ControlError::Unknown { name: "root".into() }));
    for name in ["root", "with\0a NUL", "\0"] {
        panel.worker(&handle, name, || Ok(Pushes(1))).start().unwrap();
        wait_until(&panel, name, WorkerState::Running);
        panel.stop(name).unwrap();
        wait_until(&panel, name, WorkerState::Stopped);
    }
    assert!(panel.shutdown(PATIENCE).complete);
}

#[test]
fn a_hook_on_the_panels_own_thread_may_begin_its_shutdown() {
    let (_running, handle) = pipeline();
    let place = Place::default();
    let (its, (tell, told)) = (place.clone(), std::sync::mpsc::channel());
    let hook = move |_: &[WorkerStatus]| {
        let mut panel = its.lock().unwrap();
        // Nobody but this thread could bring it to its end.
        tell.send(panel.as_mut().unwrap().shutdown(Duration::MAX)).unwrap();
    };
    let panel = ControlPanel::builder().name("shut in a hook").on_escalation(hook).start().unwrap();
    *place.lock().unwrap() = Some(panel);
    {
        let panel = place.lock().unwrap();
        let panel = panel.as_ref().unwrap();
        panel.worker(&handle, "good", || Ok(Pushes(1))).start().unwrap();
        panel.worker(&handle, "bad", || Ok(Fails)).backoff(Backoff::NONE).start().unwrap();
    }
    let begun = told.recv_timeout(PATIENCE).expect("it does not wait for itself");
    assert!(!begun.complete);
    assert_eq!(begun.stragglers.last().map(String::as_str), Some("shut in a hook"), "{begun:?}");
    let report = place.lock().unwrap().take().unwrap().shutdown(PATIENCE);
    assert!(report.complete && report.escalated, "{report:?}");
    // The system lists a thread for a moment after it was joined.
    until("the end of its threads", || threads_named("shut in a hook") == 0);
}

#[test]
fn a_hook_on_the_panels_own_thread_may_drop_it() {
    let (_running, handle) = pipeline();
    let place = Place::default();
    let its = place.clone();
    let dropped = CancellationToken::new();
    let telling = dropped.clone();
    let hook = move |_: &[WorkerStatus]| {
        drop(its.lock().unwrap().take());
        // Still on the same thread, which has more to do.
        telling.cancel();
    };
    let panel = ControlPanel::builder().name("dropped in one").on_escalation(hook).start().unwrap();
    panel.worker(&handle, "good one", || Ok(Pushes(1))).start().unwrap();
    wait_until(&panel, "good one", WorkerState::Running);
    {
        let mut place = place.lock().unwrap();
        panel.worker(&handle, "bad", || Ok(Fails)).backoff(Backoff::NONE).start().unwrap();
        *place = Some(panel);
    }
    until("the drop", || dropped.is_cancelled());
    until("the end of its threads", || threads_named("dropped in one") + threads_named("good one") == 0);
    assert_eq!(handle.counters().faults.workers_stuck, 0, "nobody was waited for in vain");
}

#[test]
fn a_hook_may_have_everyone_start_again_at_once() {
    let (_running, handle) = pipeline();
    let place = Place::default();
    let its = place.clone();
    let hook = move |_: &[WorkerStatus]| its.lock().unwrap().as_ref().unwrap().start_again();
    let panel = ControlPanel::builder().on_escalation(hook).start().unwrap();
    let failures = Count::default();
    let make = move || if failures.next() < 2 { Err("no luck".into()) } else { Ok(Pushes(2)) };
    let mut held = place.lock().unwrap();
    panel.worker(&handle, "good", || Ok(Pushes(1))).start().unwrap();
    wait_until(&panel, "good", WorkerState::Running);
    panel.worker(&handle, "shaky", make).backoff(Backoff::NONE).start().unwrap();
    *held = Some(panel);
    drop(held);
    let mut panel = loop {
        // The hook needs it before it is taken.
        if handle.counters().faults.worker_escalations == 1
            && let Ok(mut place) = place.lock()
            && place.as_ref().unwrap().health() == Health::Good
        {
            break place.take().unwrap();
        }
        std::thread::yield_now();
    };
    wait_until(&panel, "good", WorkerState::Running);
    wait_until(&panel, "shaky", WorkerState::Running);
    assert!(panel.shutdown(PATIENCE).complete);
}

#[test]
fn a_worker_that_shuts_its_own_panel_down_is_the_one_that_is_named() {
    struct Shuts(Place, std::sync::mpsc::Sender<mainlane::control::PanelReport>);
    impl Worker<Ledger> for Shuts {
        fn turn(&mut self, _: &mut WorkerContext<Ledger>) -> Result<Next, WorkerError> {
            let taken = self.0.lock().unwrap().take();
            let Some(mut panel) = taken else { return Ok(Next::After(SHORT)) };
            self.1.send(panel.shutdown(SHORT))?;
            drop(panel);
            Ok(Next::Again)
        }
    }
    let (_running, handle) = pipeline();
    let place = Place::default();
    let (tell, told) = std::sync::mpsc::channel();
    let panel = ControlPanel::builder().name("shut within").start().unwrap();
    let its = place.clone();
    panel.worker(&handle, "good", || Ok(Pushes(1))).start().unwrap();
    panel.worker(&handle, "suicidal", move || Ok(Shuts(its.clone(), tell.clone()))).start().unwrap();
    *place.lock().unwrap() = Some(panel);
    assert_eq!(told.recv_timeout(PATIENCE).unwrap().stragglers, ["suicidal"]);
    until("the end of its threads", || threads_named("shut within") + threads_named("suicidal") == 0);
}

#[test]
fn a_policy_that_nobody_looked_at_is_there_after_the_panel() {
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("host").open().unwrap();
    let (main_lane, handle) = builder.build().unwrap();
    let _running = main_lane.spawn(Drive::new()).unwrap();
    let panel = ControlPanel::builder().policy(&handle, |state: &Ledger| items(state).len()).start().unwrap();
    let (mut late, mut early) = (panel.policy(), panel.policy());
    lane.push(Note::Item(7)).unwrap();
    until("the policy", || *early.load() == 1);
    drop(panel);
    assert_eq!((*late.load(), *early.load()), (1, 1), "all see the same");
}

#[test]
fn a_pipeline_that_is_closed_while_a_worker_is_registered_stops_it() {
    let place: Arc<Mutex<Option<Handle<Ledger>>>> = Arc::default();
    let its = place.clone();
    let builder = Pipeline::builder(Ledger::default()).on_input(move || {
        // Closing calls this hook again.
        let taken = its.lock().unwrap().take();
        if let Some(handle) = taken {
            handle.close();
        }
    });
    let (mut main_lane, handle) = builder.build().unwrap();
    let mut panel = ControlPanel::builder().start().unwrap();
    assert!(!main_lane.arm_input(), "nothing yet");
    *place.lock().unwrap() = Some(handle.clone());
    // Its lane is the input.
    panel.worker(&handle, "late", || Ok(Pushes(1))).start().unwrap();
    assert!(place.lock().unwrap().is_none(), "the hook was called");
    wait_until(&panel, "late", WorkerState::Stopped);
    assert_eq!(handle.counters().faults.worker_errors, 0);
    assert!(panel.shutdown(PATIENCE).complete);
}

#[test]
fn who_is_stuck_is_not_forgotten_with_its_group() {
    let (_running, handle) = pipeline();
    let mut panel = ControlPanel::builder().start().unwrap();
    let barrier = Arc::new(Barrier::new(2));
    panel.group("group").start().unwrap();
    let its = barrier.clone();
    let deaf = CancellationToken::new();
    let telling = deaf.clone();
    let make = move || Ok(Deaf(telling.clone(), its.clone()));
    panel.worker(&handle, "deaf", make).group("group").stop_within(SHORT).start().unwrap();
    until("the turn", || deaf.is_cancelled());
    panel.remove("group").unwrap();
    wait_until(&panel, "deaf", WorkerState::Stuck);
    let again = panel.worker(&handle, "deaf", || Ok(Pushes(1))).start();
    assert_eq!(again, Err(ControlError::Taken { name: "deaf".into() }), "it still runs");
    assert_eq!(panel.shutdown(SHORT).stragglers, ["deaf"]);
    barrier.wait();
}

#[test]
fn who_ends_after_the_panel_ends_alone_whatever_its_factory_says() {
    /// Panics when it is dropped, with what panics when it is dropped.
    struct Nasty(CancellationToken);
    struct Nastier;
    impl Drop for Nastier {
        fn drop(&mut self) {
            panic!("a payload");
        }
    }
    impl Drop for Nasty {
        fn drop(&mut self) {
            self.0.cancel();
            std::panic::panic_any(Nastier);
        }
    }
    let (_running, handle) = pipeline();
    let (barrier, dropped) = (Arc::new(Barrier::new(2)), CancellationToken::new());
    let (its, nasty) = (barrier.clone(), Nasty(dropped.clone()));
    let deaf = CancellationToken::new();
    let telling = deaf.clone();
    let make = move || {
        let _ = &nasty;
        Ok(Deaf(telling.clone(), its.clone()))
    };
    let mut panel = ControlPanel::builder().start().unwrap();
    panel.worker(&handle, "late end", make).start().unwrap();
    until("the turn", || deaf.is_cancelled());
    assert_eq!(panel.shutdown(SHORT).stragglers, ["late end"]);
    drop(panel);
    barrier.wait();
    until("its end", || dropped.is_cancelled() && threads_named("late end") == 0);
}

#[test]
fn a_rest_that_ends_is_told_also_when_nothing_follows() {
    /// Fails when it is nudged.
    struct Touchy(bool);
    impl Worker<Ledger> for Touchy {
        fn turn(&mut self, _: &mut WorkerContext<Ledger>) -> Result<Next, WorkerError> {
            if std::mem::replace(&mut self.0, true) { Err("no luck".into()) } else { Ok(Next::Nudged) }
        }
    }
    let (_running, handle) = pipeline();
    let mut panel = ControlPanel::builder().start().unwrap();
    panel.worker(&handle, "first", || Ok(Pushes(1))).start().unwrap();
    let rest = Backoff::between(SHORT, SHORT);
    panel.worker(&handle, "touchy", || Ok(Touchy(false))).after("first").backoff(rest).start().unwrap();
    wait_until(&panel, "touchy", WorkerState::Running);
    panel.stop("first").unwrap();
    wait_until(&panel, "first", WorkerState::Stopped);
    panel.nudge("touchy").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let waiting = panel.wait_for_async("touchy", |status| status.state == WorkerState::Waiting);
    runtime.block_on(async { tokio::time::timeout(PATIENCE, waiting).await }).expect("it is told");
    assert!(panel.shutdown(PATIENCE).complete);
}

#[test]
fn a_runtime_that_goes_away_while_everything_stops_is_nobodys_failure() {
    struct Waits(bool);
    impl AsyncWorker<Ledger> for Waits {
        async fn run(&mut self, ctx: &mut TaskContext<Ledger>) -> Result<(), WorkerError> {
            ctx.cancelled().await;
            if self.0 { std::future::pending().await } else { Ok(()) }
        }
    }
    for round in 0..20 {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let choice =
            if round % 2 == 0 { RuntimeChoice::Ambient } else { RuntimeChoice::Handle(runtime.handle().clone()) };
        let (_running, handle) = pipeline();
        let mut panel = ControlPanel::builder().runtime(choice).start().unwrap();
        {
            let _entered = runtime.enter();
            for n in 0..8 {
                let spec = panel.task(&handle, format!("{n}"), move || Ok(Waits(n % 2 == 0)));
                spec.restarts(Restarts::Temporary).stop_within(SHORT).start().unwrap();
            }
        }
        // While they are started, and while they are stopped.
        let dropping = std::thread::spawn(move || drop(runtime));
        let report = panel.shutdown(PATIENCE);
        dropping.join().unwrap();
        assert!(report.complete, "{report:?}");
        assert!(!report.escalated, "{report:?}");
    }
}

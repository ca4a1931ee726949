use mainlane::control::{Backoff, CancellationToken, Failure, Health, Intensity, Restarts, RunsAs, Step, Strategy};

use super::*;

/// Where a worker of these tests fails, in its first runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Make,
    Start,
    Turn,
    Stop,
    Drop,
    Classify,
    Error,
}

const STEPS: [At; 7] = [At::Make, At::Start, At::Turn, At::Stop, At::Drop, At::Classify, At::Error];

/// Pushes one item in each step, and fails in one while there are failures left.
struct Fragile {
    at: At,
    left: Count,
    failures: u64,
    pushed: Count,
}

impl Fragile {
    fn fails_at(&self, at: At) -> bool {
        self.at == at && self.left.next() < self.failures
    }

    fn push(&self, ctx: &mut WorkerContext<Ledger>) -> Result<(), WorkerError> {
        ctx.lane().push(Note::Item(self.pushed.next()))?;
        Ok(())
    }
}

impl Worker<Ledger> for Fragile {
    fn start(&mut self, ctx: &mut WorkerContext<Ledger>) -> Result<(), WorkerError> {
        self.push(ctx)?;
        assert!(!self.fails_at(At::Start), "at its start");
        Ok(())
    }

    fn turn(&mut self, ctx: &mut WorkerContext<Ledger>) -> Result<Next, WorkerError> {
        self.push(ctx)?;
        assert!(!self.fails_at(At::Turn), "at its work");
        if self.fails_at(At::Error) {
            return Err("no luck".into());
        }
        if self.fails_at(At::Classify) {
            ctx.lane().push(Note::Unclassifiable)?;
        }
        let lasts = !matches!(self.at, At::Stop | At::Drop) || self.left.now() >= self.failures;
        Ok(if lasts { Next::Nudged } else { Next::Done })
    }

    fn stop(&mut self, ctx: &mut WorkerContext<Ledger>) -> Result<(), WorkerError> {
        self.push(ctx)?;
        assert!(!self.fails_at(At::Stop), "at its last words");
        Ok(())
    }
}

impl Drop for Fragile {
    fn drop(&mut self) {
        assert!(!self.fails_at(At::Drop), "at its end");
    }
}

/// A panic or an error at each step, on each kind of thread: what was accepted is applied, and it runs again.
fn fails_and_comes_back(at: At, runs_as: RunsAs, failures: u64) {
    let (mut running, handle) = pipeline();
    let intensity = Intensity::at_most(u32::MAX, Duration::from_secs(60));
    let mut panel = ControlPanel::builder().intensity(intensity).start().unwrap();
    let (left, pushed, made) = (Count::default(), Count::default(), Count::default());
    let counted = pushed.clone();
    let make = move || {
        let new = Fragile { at, left: left.clone(), failures, pushed: counted.clone() };
        if at == At::Make && made.next() < failures {
            // Nobody is there yet who could fail.
            panic!("as it is made");
        }
        Ok(new)
    };
    let spec = panel.worker(&handle, "fragile", make).backoff(Backoff::NONE);
    if runs_as == RunsAs::BlockingTask { spec.as_blocking_task() } else { spec }.start().unwrap();
    let back = panel
        .wait_for("fragile", deadline(), |status| status.state == WorkerState::Running && status.restarts >= failures);
    let back = back.unwrap_or_else(|| panic!("{at:?} {:?}", panel.workers()));
    let (errors, panics) = if at == At::Error { (failures, 0) } else { (0, failures) };
    assert_eq!((back.errors, back.panics, back.restarts), (errors, panics, failures), "{at:?} {back:?}");
    let step = match at {
        At::Make => Step::Make,
        At::Start => Step::Start,
        At::Turn | At::Classify | At::Error => Step::Turn,
        At::Stop => Step::Stop,
        At::Drop => Step::Drop,
    };
    match back.last_failure {
        Some(Failure::Error { step: at_step, .. }) => assert_eq!((at_step, at), (step, At::Error)),
        Some(Failure::Panic { step: at_step, .. }) => assert_eq!(at_step, step, "{at:?}"),
        other => panic!("{at:?}: {other:?}"),
    }
    assert!(panel.shutdown(PATIENCE).complete);
    let report = running.shutdown(PATIENCE);
    assert!(report.complete, "{at:?}: {report:?}");
    let faults = report.counters.faults;
    assert_eq!((faults.worker_errors, faults.worker_panics, faults.worker_restarts), (errors, panics, failures));
    let items = items(&handle.reader().load());
    assert_eq!(items, (0..pushed.now()).collect::<Vec<_>>(), "{at:?}: nothing lost, nothing doubled, in order");
}

#[test]
fn a_failure_at_any_step_loses_nothing_and_is_told_apart() {
    let failures = std::env::var("MAINLANE_PANICS").map_or(140, |panics| panics.parse().unwrap());
    for at in STEPS {
        for runs_as in [RunsAs::Thread, RunsAs::BlockingTask] {
            fails_and_comes_back(at, runs_as, failures / (2 * STEPS.len() as u64));
        }
    }
}

#[test]
fn a_task_that_fails_comes_back_with_the_same_lane() {
    struct FailsInTask {
        run: u64,
    }
    struct PanicsWhenDropped;
    impl Drop for PanicsWhenDropped {
        fn drop(&mut self) {
            panic!("as its future is dropped");
        }
    }
    impl AsyncWorker<Ledger> for FailsInTask {
        async fn run(&mut self, ctx: &mut TaskContext<Ledger>) -> Result<(), WorkerError> {
            ctx.lane().push(Note::Item(self.run)).await?;
            tokio::task::yield_now().await;
            match self.run {
                0 => panic!("as it works"),
                1 => Err("no luck".into()),
                2 => {
                    let _late = PanicsWhenDropped;
                    Ok(())
                }
                _ => {
                    ctx.cancelled().await;
                    ctx.lane().push(Note::Item(100)).await?;
                    Ok(())
                }
            }
        }
    }
    let (mut running, handle) = pipeline();
    let mut panel = ControlPanel::builder().intensity(Intensity::at_most(3, PATIENCE)).start().unwrap();
    let runs = Count::default();
    let make = move || Ok(FailsInTask { run: runs.next() });
    panel.task(&handle, "task", make).backoff(Backoff::NONE).start().unwrap();
    let back =
        panel.wait_for("task", deadline(), |status| status.state == WorkerState::Running && status.restarts == 3);
    let back = back.unwrap_or_else(|| panic!("{:?}", panel.workers()));
    assert_eq!((back.errors, back.panics), (1, 2), "{back:?}");
    while items(&handle.reader().load()).len() < 4 {
        std::thread::yield_now();
    }
    assert_eq!(handle.counters().lanes.iter().filter(|lane| lane.id == back.lane).count(), 1, "its lane stays");
    assert_eq!(handle.counters().lanes.len(), 1, "and is the only one");
    assert!(panel.shutdown(PATIENCE).complete);
    assert!(running.shutdown(PATIENCE).complete);
    assert_eq!(items(&handle.reader().load()), [0, 1, 2, 3, 100]);
}

/// Fails at once.
struct Fails;

impl Worker<Ledger> for Fails {
    fn turn(&mut self, _: &mut WorkerContext<Ledger>) -> Result<Next, WorkerError> {
        Err("no luck".into())
    }
}

#[test]
fn too_many_failures_stop_everyone_and_the_host_is_told() {
    let (mut running, handle) = pipeline();
    let told = CancellationToken::new();
    let telling = told.clone();
    let hook = move |workers: &[WorkerStatus]| {
        assert_eq!(workers.len(), 2);
        telling.cancel();
        panic!("a hook that panics is contained");
    };
    let mut panel = ControlPanel::builder().on_escalation(hook).start().unwrap();
    panel.worker(&handle, "good", || Ok(Pushes(1))).start().unwrap();
    panel.worker(&handle, "bad", || Ok(Fails)).backoff(Backoff::NONE).start().unwrap();
    wait_until(&panel, "good", WorkerState::Stopped);
    let bad = wait_until(&panel, "bad", WorkerState::Failed);
    assert_eq!((bad.errors, bad.restarts), (2, 1), "OTP's default: one restart, and no more");
    assert_eq!(panel.health(), Health::Escalated);
    while !told.is_cancelled() {
        std::thread::yield_now();
    }
    panel.remove("bad").unwrap();
    panel.start_again();
    wait_until(&panel, "good", WorkerState::Running);
    assert_eq!(panel.health(), Health::Good);
    assert!(panel.shutdown(PATIENCE).complete);
    let report = running.shutdown(PATIENCE);
    assert_eq!(report.counters.faults.worker_escalations, 1);
    assert!(report.complete, "the pipeline goes on");
}

#[test]
fn a_group_that_has_had_enough_is_started_again_whole() {
    let (_running, handle) = pipeline();
    let mut panel = ControlPanel::builder().intensity(Intensity::at_most(1000, PATIENCE)).start().unwrap();
    let intensity = Intensity::at_most(1, PATIENCE);
    panel.group("loaders").strategy(Strategy::OneForAll).intensity(intensity).backoff(Backoff::NONE).start().unwrap();
    let failures = Count::default();
    let make = move || if failures.next() < 4 { Err("no luck".into()) } else { Ok(Pushes(2)) };
    panel.worker(&handle, "steady", || Ok(Pushes(1))).group("loaders").start().unwrap();
    panel.worker(&handle, "shaky", make).group("loaders").backoff(Backoff::NONE).start().unwrap();
    let shaky = wait_until(&panel, "shaky", WorkerState::Running);
    assert_eq!(shaky.group.as_deref(), Some("loaders"));
    assert_eq!(panel.groups()[0].restarts, 2, "{:?}", panel.groups());
    assert_eq!(handle.counters().faults.worker_escalations, 2);
    wait_until(&panel, "steady", WorkerState::Running);
    assert!(panel.shutdown(PATIENCE).complete);
}

/// Is done at once.
struct Once;

impl Worker<Ledger> for Once {
    fn turn(&mut self, _: &mut WorkerContext<Ledger>) -> Result<Next, WorkerError> {
        Ok(Next::Done)
    }
}

#[test]
fn a_permanent_worker_that_is_done_too_often_counts_as_one_that_fails() {
    let (_running, handle) = pipeline();
    let mut panel = ControlPanel::builder().start().unwrap();
    panel.worker(&handle, "loader", || Ok(Once)).backoff(Backoff::NONE).start().unwrap();
    let loader = wait_until(&panel, "loader", WorkerState::Failed);
    assert_eq!((loader.restarts, loader.errors, loader.last_failure), (1, 0, None));
    assert_eq!(panel.health(), Health::Escalated);
    assert!(panel.shutdown(PATIENCE).complete);
}

#[test]
fn what_is_done_stays_done_when_it_is_not_permanent() {
    let (_running, handle) = pipeline();
    let mut panel = ControlPanel::builder().start().unwrap();
    panel.worker(&handle, "loader", || Ok(Once)).restarts(Restarts::Transient).start().unwrap();
    panel.worker(&handle, "reader", || Ok(Pushes(1))).after("loader").start().unwrap();
    wait_until(&panel, "loader", WorkerState::Done);
    wait_until(&panel, "reader", WorkerState::Running);
    panel.start("loader").unwrap();
    let again =
        panel.wait_for("loader", deadline(), |status| status.restarts == 0 && status.state == WorkerState::Done);
    assert!(again.is_some(), "the host may start it again");
    assert!(panel.shutdown(PATIENCE).complete);
}

use mainlane::control::{Restarts, Woken};

use super::*;
use crate::domain::until;

/// Tells what it sees, and why it was woken; waits for the state or the policy by turns.
struct Watches {
    tell: std::sync::mpsc::Sender<(Woken, usize)>,
    for_policy: bool,
    moment: Option<Instant>,
}

impl Worker<Ledger, usize> for Watches {
    fn turn(&mut self, ctx: &mut WorkerContext<Ledger, usize>) -> Result<Next, WorkerError> {
        let woken = if self.for_policy { ctx.wait_for_policy(self.moment) } else { ctx.wait_for_state(self.moment) };
        let seen = if self.for_policy { *ctx.policy() } else { items(ctx.state()).len() };
        self.tell.send((woken, seen))?;
        Ok(if woken == Woken::InTime { Next::Done } else { Next::Again })
    }
}

#[test]
fn a_thread_waits_for_a_snapshot_or_a_policy() {
    for for_policy in [false, true] {
        let builder = Pipeline::builder(Ledger::default());
        let mut lane = builder.lane("host").open().unwrap();
        let (main_lane, handle) = builder.build().unwrap();
        let _running = main_lane.spawn(Drive::new()).unwrap();
        let mut panel = ControlPanel::builder().policy(&handle, |state: &Ledger| items(state).len()).start().unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        let its = tell.clone();
        panel
            .worker(&handle, "watches", move || Ok(Watches { tell: its.clone(), for_policy, moment: None }))
            .start()
            .unwrap();
        let mut policy = panel.policy();
        for n in 1..=5 {
            lane.push(Note::Item(7)).unwrap();
            assert_eq!(told.recv_timeout(PATIENCE), Ok((Woken::Changed, n)), "for a policy: {for_policy}");
            until("the policy", || *policy.load() == n);
        }
        panel.nudge("watches").unwrap();
        assert_eq!(told.recv_timeout(PATIENCE), Ok((Woken::Nudged, 5)));
        panel.stop("watches").unwrap();
        let stopped = panel.wait_for("watches", deadline(), |status| status.state == WorkerState::Stopped);
        assert!(stopped.is_some(), "{:?}", panel.workers());
        // Unless it came between two waits.
        assert!(told.try_iter().all(|last| last == (Woken::Cancelled, 5)));
        let late = Instant::now();
        let make = move || Ok(Watches { tell: tell.clone(), for_policy, moment: Some(late) });
        panel.worker(&handle, "late", make).restarts(Restarts::Transient).start().unwrap();
        assert_eq!(told.recv_timeout(PATIENCE), Ok((Woken::InTime, 5)));
        assert!(panel.shutdown(PATIENCE).complete);
    }
}

#[test]
fn what_changed_before_a_worker_waits_is_not_waited_for() {
    /// Looks, has the host change something, and waits then.
    struct Looks(std::sync::mpsc::Sender<usize>, std::sync::mpsc::Receiver<()>);
    impl Worker<Ledger, usize> for Looks {
        fn turn(&mut self, ctx: &mut WorkerContext<Ledger, usize>) -> Result<Next, WorkerError> {
            self.0.send(items(ctx.state()).len() + *ctx.policy())?;
            self.1.recv()?;
            assert_eq!([ctx.wait_for_state(None), ctx.wait_for_policy(None)], [Woken::Changed; 2]);
            self.0.send(items(ctx.state()).len() + *ctx.policy())?;
            Ok(Next::Nudged)
        }
    }
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("host").open().unwrap();
    let (main_lane, handle) = builder.build().unwrap();
    let _running = main_lane.spawn(Drive::new()).unwrap();
    let mut panel = ControlPanel::builder().policy(&handle, |state: &Ledger| items(state).len()).start().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let (go, wait) = std::sync::mpsc::channel();
    let mut wait = Some(wait);
    let make = move || Ok(Looks(tell.clone(), wait.take().ok_or("once")?));
    panel.worker(&handle, "looks", make).start().unwrap();
    assert_eq!(told.recv_timeout(PATIENCE), Ok(0));
    let mut policy = panel.policy();
    lane.push(Note::Item(7)).unwrap();
    until("the policy", || *policy.load() == 1);
    go.send(()).unwrap();
    assert_eq!(told.recv_timeout(PATIENCE), Ok(2));
    assert!(panel.shutdown(PATIENCE).complete);
}

#[test]
fn a_task_waits_for_a_snapshot_or_a_policy() {
    struct WatchesInTask(std::sync::mpsc::Sender<(bool, usize)>);
    impl AsyncWorker<Ledger, usize> for WatchesInTask {
        async fn run(&mut self, ctx: &mut TaskContext<Ledger, usize>) -> Result<(), WorkerError> {
            loop {
                tokio::select! {
                    () = ctx.cancelled() => return Ok(()),
                    () = ctx.policy_changed() => self.0.send((true, *ctx.policy()))?,
                    () = ctx.state_changed() => self.0.send((false, items(ctx.state()).len()))?,
                }
            }
        }
    }
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("host").open().unwrap();
    let (main_lane, handle) = builder.build().unwrap();
    let mut running = main_lane.spawn(Drive::new()).unwrap();
    let mut panel = ControlPanel::builder().policy(&handle, |state: &Ledger| items(state).len()).start().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    panel.task(&handle, "watches", move || Ok(WatchesInTask(tell.clone()))).start().unwrap();
    panel.wait_for("watches", deadline(), |status| status.state == WorkerState::Running).unwrap();
    for n in 1..=5 {
        lane.push(Note::Item(7)).unwrap();
        let mut both = [told.recv_timeout(PATIENCE).unwrap(), told.recv_timeout(PATIENCE).unwrap()];
        both.sort_unstable();
        assert_eq!(both, [(false, n), (true, n)], "each once");
    }
    assert!(panel.shutdown(PATIENCE).complete);
    assert!(running.shutdown(PATIENCE).complete);
}

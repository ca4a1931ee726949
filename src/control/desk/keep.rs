//! The panel's thread: it alone carries out what the tree decides, without the lock.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crossbeam_utils::sync::Parker;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Decisions, Desk, RunningNow, Shared};
use crate::control::changes::Herald;
use crate::control::maintenance::Closing;
use crate::control::run::{Carrier, Launched, RunEnd, Ticket};
use crate::control::status::WorkerStatus;
use crate::control::tree::{Action, NodeId};
use crate::control::wait::{Unparking, later};
use crate::core::{contain, let_go};
use crate::lane::waiting::LetGo;
use crate::observe::diagnostic::Diagnostic;

/// Called when there were more failures than the panel takes.
pub(crate) type Escalation = Box<dyn FnMut(&[WorkerStatus]) + Send>;

/// What the thread looks after besides the workers.
pub(crate) struct Duties {
    /// Hands a changed policy on. `None` when there is no policy, or nothing to follow.
    pub(crate) policy: Option<Box<dyn FnMut() + Send>>,
    /// Cancelled when the host wants everything stopped.
    pub(crate) stop: Option<CancellationToken>,
    /// How long everything has to stop then.
    pub(crate) stop_within: Duration,
    pub(crate) escalation: Option<Escalation>,
    /// Tells on a bus how workers are doing.
    pub(crate) herald: Option<Herald>,
}

/// The policy is looked at no more often than this.
const POLICY_EVERY: Duration = Duration::from_millis(2);
/// How long to rest between two tries to tell the last.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// How long the threads of a runtime of our own have to end at least, also when the deadline has passed.
const RELEASE: Duration = Duration::from_millis(100);

/// The panel's thread, until everything was shut down.
pub(crate) fn keep(shared: &Arc<Shared>, parker: &Parker, mut duties: Duties) {
    let waker = Waker::from(Arc::new(Unparking(parker.unparker().clone())));
    let mut stopping = duties.stop.take().map(|token| Box::pin(token.cancelled_owned()));
    let mut herald = duties.herald.take();
    let mut policy_looked = None;
    let mut tasks = Vec::new();
    loop {
        if let Some(stop) = &mut stopping
            && is_ready(stop.as_mut(), &waker)
        {
            stopping = None;
            shared.shut_down(later(Instant::now(), duties.stop_within));
        }
        let policy_due = follow_policy(shared, &mut duties, &mut policy_looked);
        let now = Instant::now();
        let Decisions { actions, ended, is_news, escalates } = shared.look().decisions(now);
        tasks.extend(join(ended));
        // Those that have said that they end, and have not quite.
        tasks.retain_mut(|task| match Pin::new(task).poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => true,
            Poll::Ready(ended) => {
                let_go(ended);
                false
            }
        });
        if escalates && let Some(hook) = &mut duties.escalation {
            let workers = shared.look().workers(now);
            let _ = contain(|| hook(&workers));
        }
        let untold = herald.as_mut().and_then(|herald| herald.look(shared));
        if !actions.is_empty() {
            actions.into_iter().for_each(|action| carry_out(shared, action));
            shared.tell();
            continue;
        }
        if is_news {
            shared.tell();
        }
        let desk = shared.look();
        if desk.tree.is_finished(now)
            && desk.ended.is_empty()
            && (tasks.is_empty() || desk.tree.time_left(now).is_zero())
        {
            break;
        }
        let due = desk.tree.next_change().into_iter().chain(policy_due).chain(untold).min();
        drop(desk);
        match due {
            Some(due) => parker.park_deadline(due),
            None => parker.park(),
        }
    }
    // The host's, like all that may still hold this thread up: before the end is told, for whoever hears of that joins it.
    let _ = contain(move || drop(duties));
    finish(shared, herald, parker);
}

/// Joins the threads of runs that have ended. Returns their tasks, which may need a moment yet.
fn join(ended: Vec<Carrier>) -> Vec<JoinHandle<()>> {
    let join = |run| match run {
        Carrier::Thread(thread) => {
            // A panic in the worker was contained and reported on the thread itself.
            let_go(thread.join());
            None
        }
        Carrier::Task(task) => Some(task),
    };
    ended.into_iter().filter_map(join).collect()
}

/// Hands a changed policy on; says when to look again, if there is something to look at that came too soon after the last.
fn follow_policy(shared: &Shared, duties: &mut Duties, looked: &mut Option<Instant>) -> Option<Instant> {
    let follow = duties.policy.as_mut()?;
    let now = Instant::now();
    if let Some(due) = looked.map(|looked| looked + POLICY_EVERY)
        && now < due
    {
        return Some(due);
    }
    *looked = None;
    if shared.policy_due.take() {
        *looked = Some(now);
        // The projection is the host's code.
        let _ = contain(follow);
    }
    *looked
}

/// Everything is over: what is left is the runtime, and the report.
fn finish(shared: &Shared, mut herald: Option<Herald>, parker: &Parker) {
    let (mut engine, launchers) = shared.change(|desk| {
        let launchers: Vec<_> = desk.workers.values_mut().filter_map(|entry| entry.launch.take()).collect();
        (std::mem::take(&mut desk.engine), launchers)
    });
    // With them go the lanes, whose drop closes them, and the factories.
    launchers.into_iter().for_each(|launch| drop(contain(move || drop(launch))));
    let queues = shared.change(|desk| std::mem::take(&mut desk.queues));
    let until = Instant::now() + RELEASE.max(shared.look().tree.time_left(Instant::now()));
    // All of them, before any is waited for: each has the same time.
    queues.iter().for_each(|queue| queue.begin_close(Closing::Cancel, until));
    let maintenance: Vec<_> = queues.iter().map(|queue| queue.close(Closing::Cancel, until)).collect();
    drop(queues);
    engine.release(RELEASE.max(shared.look().tree.time_left(Instant::now())));
    let tell_until = Instant::now() + RELEASE;
    loop {
        // Those that have ended after all: their threads are there until they are joined.
        let ended = std::mem::take(&mut shared.look().ended);
        join(ended).into_iter().for_each(drop);
        // Before the report is there: whoever has it may shut the bus down.
        let untold = herald.as_mut().and_then(|herald| herald.look(shared));
        let now = Instant::now();
        let is_over = shared.change(|desk| {
            if !desk.ended.is_empty() {
                return false;
            }
            if now < tell_until && herald.as_ref().is_some_and(|herald| !herald.has_told(desk, now)) {
                return false;
            }
            let mut report = desk.final_report(now);
            report.complete &= maintenance.iter().all(|queue| queue.complete);
            report.maintenance.clone_from(&maintenance);
            // Unless somebody has been told another, who did not wait any longer.
            desk.report.get_or_insert(report);
            desk.is_over = true;
            true
        });
        if is_over {
            return;
        }
        if untold.is_some() {
            parker.park_timeout(LOOK_EVERY);
        }
    }
}

fn carry_out(shared: &Arc<Shared>, action: Action) {
    match action {
        Action::Launch { worker, run } => launch(shared, worker, run),
        Action::Cancel { worker } => {
            let told = shared.look().workers.get(&worker).and_then(|entry| {
                entry.run.as_ref().map(|running| (running.cancellation.clone(), entry.nudge.clone()))
            });
            if let Some((cancellation, nudge)) = told {
                // Wakes tasks, and runs whatever the host has hung on the token: without the lock.
                let _ = contain(|| cancellation.cancel());
                let _ = contain(|| nudge.wake());
            }
        }
        Action::GiveUp { worker } => {
            let running =
                shared.look().workers.get_mut(&worker).and_then(|entry| {
                    entry.run.as_mut().map(|running| (running.given_up.clone(), running.let_go.take()))
                });
            if let Some((given_up, let_go)) = running {
                // Both wake tasks, with whatever wakers these wait under.
                let _ = contain(|| let_go.iter().for_each(LetGo::let_go));
                let _ = contain(|| given_up.cancel());
            }
        }
        Action::Forget { worker } => {
            let forgotten = shared.change(|desk| (desk.workers.remove(&worker), desk.groups.remove(&worker)));
            let _ = contain(move || drop(forgotten));
        }
    }
}

/// Begins a run.
fn launch(shared: &Arc<Shared>, worker: NodeId, run: u64) {
    let (cancellation, given_up) = (CancellationToken::new(), CancellationToken::new());
    let prepared = {
        let mut desk = shared.look();
        let runtime = desk.engine.handle();
        let Some(entry) = desk.workers.get_mut(&worker) else { return };
        let (cancellation, given_up) = (cancellation.clone(), given_up.clone());
        entry.run = Some(RunningNow { run, cancellation, given_up, let_go: None, carrier: None });
        if run > 1 {
            entry.core.report(Diagnostic::WorkerRestarted { worker: entry.name.clone(), run });
        }
        entry.launch.take().map(|launch| (launch, entry.name.clone(), runtime))
    };
    let Some((mut launch, name, runtime)) = prepared else { return };
    let ticket = Ticket { shared: shared.clone(), worker, run, cancellation, given_up };
    let launched = launch.launch(ticket, &name, runtime);
    let mut desk = shared.look();
    let Desk { workers, ended, .. } = &mut *desk;
    let Some(entry) = workers.get_mut(&worker) else { return };
    entry.launch = Some(launch);
    match launched {
        Ok(Launched { carrier, let_go }) => match entry.run.as_mut().filter(|running| running.run == run) {
            Some(running) => (running.carrier, running.let_go) = (Some(carrier), Some(let_go)),
            // It has ended already.
            None => ended.push(carrier),
        },
        Err(failure) => {
            // Unless the run's own end has been told, by whoever dropped it.
            if entry.run.as_ref().is_some_and(|running| running.run == run) {
                desk.ended(worker, run, RunEnd::Failed(failure), &shared.choice);
            } else {
                entry.last_failure = Some(failure);
            }
        }
    }
}

fn is_ready(future: Pin<&mut impl Future<Output = ()>>, waker: &Waker) -> bool {
    future.poll(&mut Context::from_waker(waker)) == Poll::Ready(())
}

//! What the panel's thread, the workers and the host share.
//!
//! Whoever has something to say (a run has ended, the host asks for a stop) takes the lock, tells the [tree](super::tree), and
//! wakes the [thread](keep), which alone carries out what the tree decides, without the lock: it starts, cancels, joins. The host's own
//! code (factories, hooks, drops) never runs under the lock.

pub(crate) mod keep; // the thread

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crossbeam_utils::sync::Unparker;
use parking_lot::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;

use crate::control::maintenance::Maintenance;
use crate::control::run::{Carrier, Launch, RunEnd};
use crate::control::runtime::{Engine, RuntimeChoice};
use crate::control::status::{Failure, GroupStatus, Health, PanelReport, RunsAs, WorkerState, WorkerStatus};
use crate::control::tree::{Action, Ended, NodeId, Note, Over, ROOT, Stage, Tree};
use crate::control::wait::Nudge;
use crate::core::{Closer, Core, DROP_DEADLINE};
use crate::event::LaneId;
use crate::lane::waiting::LetGo;
use crate::latch::Latch;
use crate::notifications::{Notifications, listen};
use crate::observe::diagnostic::Diagnostic;
use crate::signal::Bus;

/// What everybody shares.
pub(crate) struct Shared {
    desk: Mutex<Desk>,
    /// Something changed that somebody may wait for.
    told: Notifications,
    unparker: Unparker,
    pub(crate) choice: RuntimeChoice,
    /// A snapshot was published that the policy may be different in.
    pub(crate) policy_due: Latch,
    /// What workers publish on.
    pub(crate) signals: Option<Bus>,
}

/// What is behind the lock.
pub(crate) struct Desk {
    pub(crate) tree: Tree,
    pub(crate) engine: Engine,
    pub(crate) workers: BTreeMap<NodeId, Entry>,
    groups: BTreeMap<NodeId, Arc<str>>,
    /// Maintenance queues that end with the panel.
    pub(crate) queues: Vec<Maintenance>,
    /// Those that workers push to.
    pipelines: Vec<Weak<Core>>,
    /// What runs were on that have ended.
    ended: Vec<Carrier>,
    pub(crate) closing: bool,
    report: Option<PanelReport>,
    /// The thread has said its last word, and runs nothing of the host's any more.
    is_over: bool,
}

/// A worker, as the panel has it.
pub(crate) struct Entry {
    pub(crate) name: Arc<str>,
    pub(crate) runs_as: RunsAs,
    pub(crate) lane: LaneId,
    /// Of the pipeline that it pushes to.
    pub(crate) core: Arc<Core>,
    /// `None` while a run is being started.
    pub(crate) launch: Option<Box<dyn Launch>>,
    pub(crate) nudge: Arc<Nudge>,
    run: Option<RunningNow>,
    errors: u64,
    panics: u64,
    last_failure: Option<Failure>,
}

/// The run that a worker is in.
struct RunningNow {
    run: u64,
    cancellation: CancellationToken,
    given_up: CancellationToken,
    let_go: Option<LetGo>,
    carrier: Option<Carrier>,
}

impl Entry {
    pub(crate) fn new(
        name: Arc<str>,
        runs_as: RunsAs,
        lane: LaneId,
        core: Arc<Core>,
        launch: Box<dyn Launch>,
        nudge: Arc<Nudge>,
    ) -> Self {
        let launch = Some(launch);
        Self { name, runs_as, lane, core, launch, nudge, run: None, errors: 0, panics: 0, last_failure: None }
    }
}

impl Shared {
    pub(crate) fn new(tree: Tree, choice: RuntimeChoice, unparker: Unparker, signals: Option<Bus>) -> Self {
        let desk = Desk {
            tree,
            engine: Engine::default(),
            workers: BTreeMap::new(),
            groups: BTreeMap::new(),
            queues: Vec::new(),
            pipelines: Vec::new(),
            ended: Vec::new(),
            closing: false,
            report: None,
            is_over: false,
        };
        let (told, policy_due) = (Notifications::new(), Latch::default());
        Self { desk: Mutex::new(desk), told, unparker, choice, policy_due, signals }
    }

    /// The desk, to look at.
    pub(crate) fn look(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock()
    }

    /// Changes something, and has it carried out.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Desk) -> T) -> T {
        let changed = change(&mut self.desk.lock());
        self.tell();
        changed
    }

    pub(crate) fn wake(&self) {
        self.unparker.unpark();
    }

    fn tell(&self) {
        self.wake();
        let _ = self.told.notify_all();
    }

    /// Waits until `find` finds something. It is called without the lock.
    pub(crate) fn wait_for<T>(&self, deadline: Instant, mut find: impl FnMut() -> Option<T>) -> Option<T> {
        loop {
            // Listens before it looks, so that whoever changes something after the look wakes it.
            listen!(self.told => told);
            if let Some(found) = find() {
                return Some(found);
            }
            if told.wait_deadline(deadline).is_none() {
                return find();
            }
        }
    }

    /// As [`wait_for`](Shared::wait_for), for a task, and without a deadline.
    pub(crate) async fn wait_in_task<T>(&self, mut find: impl FnMut() -> Option<T>) -> T {
        loop {
            listen!(self.told => told);
            if let Some(found) = find() {
                return found;
            }
            told.await;
        }
    }

    /// A run is ready.
    pub(crate) fn started(&self, worker: NodeId, run: u64) {
        self.change(|desk| desk.tree.started(worker, run, Instant::now()));
    }

    /// A run has ended.
    pub(crate) fn ended(&self, worker: NodeId, run: u64, end: RunEnd) {
        self.change(|desk| desk.ended(worker, run, end, &self.choice));
    }

    /// Has this pipeline's workers stopped when it is closed.
    pub(crate) fn attach(self: &Arc<Self>, core: &Arc<Core>) {
        let mut desk = self.desk.lock();
        let known = |other: &Weak<Core>| std::ptr::eq(other.as_ptr(), Arc::as_ptr(core));
        if desk.pipelines.iter().any(known) {
            return;
        }
        desk.pipelines.retain(|other| other.strong_count() > 0);
        desk.pipelines.push(Arc::downgrade(core));
        drop(desk);
        let panel: Arc<dyn Closer> = self.clone();
        core.on_close(Arc::downgrade(&panel));
    }

    /// The panel's thread, of this name, is waited for no longer. For all who wait.
    pub(crate) fn give_up(&self, name: &str) -> PanelReport {
        self.change(|desk| desk.report_without_thread(name))
    }

    pub(crate) fn shut_down(&self, deadline: Instant) {
        self.change(|desk| {
            desk.closing = true;
            desk.tree.shut_down(deadline, Instant::now());
        });
    }
}

impl Closer for Shared {
    /// A pipeline accepts nothing more: its workers have nothing left to do.
    fn closed(&self, core: &Core) {
        self.change(|desk| {
            let its = |entry: &Entry| std::ptr::eq(Arc::as_ptr(&entry.core), core);
            let workers: Vec<_> = desk.workers.iter().filter(|(_, entry)| its(entry)).map(|(id, _)| *id).collect();
            let now = Instant::now();
            workers.into_iter().rev().for_each(|id| desk.tree.stop(id, now));
        });
    }
}

impl Desk {
    pub(crate) fn add_group(&mut self, id: NodeId, name: Arc<str>) {
        self.groups.insert(id, name);
    }

    pub(crate) fn nudge(&self, id: NodeId) {
        if let Some(entry) = self.workers.get(&id) {
            entry.nudge.give();
        }
    }

    pub(crate) fn report(&self) -> Option<&PanelReport> {
        self.report.as_ref()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    fn ended(&mut self, worker: NodeId, run: u64, end: RunEnd, choice: &RuntimeChoice) {
        let Some(entry) = self.workers.get_mut(&worker) else { return };
        let Some(now_running) = entry.run.take_if(|running| running.run == run) else { return };
        self.ended.extend(now_running.carrier);
        if entry.core.is_closing() {
            // It may have found its lane closed before it was told why: that is no failure to make good.
            self.tree.stop(worker, Instant::now());
        }
        let how = match end {
            RunEnd::Over => Ended::Normally,
            RunEnd::Failed(Failure::RuntimeLost) if entry.runs_as != RunsAs::Thread => {
                entry.fail(Failure::RuntimeLost);
                // Nobody would end a runtime that is made from here on.
                Ended::Adrift { again: !self.closing && self.engine.lost(choice) }
            }
            RunEnd::Failed(failure) => {
                entry.fail(failure);
                Ended::Badly
            }
        };
        self.tree.ended(worker, run, how, Instant::now());
    }

    pub(crate) fn workers(&self, now: Instant) -> Vec<WorkerStatus> {
        self.workers.iter().filter_map(|(id, entry)| self.worker(*id, entry, now)).collect()
    }

    pub(crate) fn find_worker(&self, name: &str, now: Instant) -> Option<WorkerStatus> {
        // One that is out of the tree may not be forgotten here yet, and another may have its name.
        let mut called = self.workers.iter().filter(|(_, entry)| &*entry.name == name);
        called.find_map(|(id, entry)| self.worker(*id, entry, now))
    }

    fn worker(&self, id: NodeId, entry: &Entry, now: Instant) -> Option<WorkerStatus> {
        let (stage, restarts, group) = self.tree.look(id)?;
        Some(WorkerStatus {
            name: entry.name.clone(),
            group: self.groups.get(&group).cloned(),
            runs_as: entry.runs_as,
            state: state_of(stage, now),
            restarts,
            errors: entry.errors,
            panics: entry.panics,
            last_failure: entry.last_failure.clone(),
            lane: entry.lane,
        })
    }

    pub(crate) fn groups(&self, now: Instant) -> Vec<GroupStatus> {
        let group = |(id, name): (&NodeId, &Arc<str>)| {
            let (stage, restarts, parent) = self.tree.look(*id)?;
            let group = self.groups.get(&parent).cloned();
            Some(GroupStatus { name: name.clone(), group, state: state_of(stage, now), restarts })
        };
        self.groups.iter().filter_map(group).collect()
    }

    /// Those workers of whom `is_told` does not hold, which is asked with their state, restarts and failures.
    pub(crate) fn workers_but(
        &self,
        now: Instant,
        is_told: impl Fn(NodeId, WorkerState, u64, u64) -> bool,
    ) -> Vec<(NodeId, WorkerStatus)> {
        let untold = |(id, entry): (&NodeId, &Entry)| {
            let (stage, restarts, _) = self.tree.look(*id)?;
            if is_told(*id, state_of(stage, now), restarts, entry.errors + entry.panics) {
                return None;
            }
            Some((*id, self.worker(*id, entry, now)?))
        };
        self.workers.iter().filter_map(untold).collect()
    }

    pub(crate) fn health(&self) -> Health {
        if self.tree.is_escalated() {
            return Health::Escalated;
        }
        let amiss = |id: &NodeId| {
            let stage = self.tree.look(*id).map(|(stage, ..)| stage);
            matches!(stage, Some(Stage::Resting { .. } | Stage::Over(Over::Failed) | Stage::Stuck { .. }))
        };
        if self.workers.keys().any(amiss) { Health::Degraded } else { Health::Good }
    }

    /// Has everything start again after an escalation.
    pub(crate) fn start_again(&mut self, now: Instant) {
        self.tree.start(ROOT, now);
    }

    /// What the tree decided, and what there is to tell of it.
    fn decisions(&mut self, now: Instant) -> Decisions {
        let is_news = self.tree.tick(now);
        let mut escalates = false;
        while let Some(note) = self.tree.note() {
            match note {
                // Told when it is started.
                Note::Restarts { .. } => {}
                Note::Stuck { worker } => {
                    if let Some(entry) = self.workers.get(&worker) {
                        entry.core.report(Diagnostic::WorkerStuck { worker: entry.name.clone() });
                    }
                }
                Note::Escalates { group, culprit } => {
                    escalates |= group == ROOT;
                    self.tell_escalation(group, culprit);
                }
            }
        }
        let actions = std::iter::from_fn(|| self.tree.action()).collect();
        Decisions { actions, ended: std::mem::take(&mut self.ended), is_news, escalates }
    }

    /// Told to the pipeline of the worker whose failure was one too many; of a group, to those of all its workers.
    fn tell_escalation(&self, group: NodeId, culprit: NodeId) {
        let name = |id: NodeId| {
            let worker = self.workers.get(&id).map(|entry| &entry.name);
            worker.or(self.groups.get(&id)).cloned().unwrap_or_else(|| "the panel".into())
        };
        let (group_name, culprit_name) = (name(group), name(culprit));
        let mut told: Vec<*const Core> = Vec::new();
        for (id, entry) in &self.workers {
            let concerned = *id == culprit || self.tree.is_within(*id, group);
            if concerned && !told.contains(&Arc::as_ptr(&entry.core)) {
                told.push(Arc::as_ptr(&entry.core));
                let (group, worker) = (group_name.clone(), culprit_name.clone());
                entry.core.report(Diagnostic::WorkersEscalated { group, worker });
            }
        }
    }

    fn final_report(&self, now: Instant) -> PanelReport {
        let workers = self.workers(now);
        let ended = |status: &&WorkerStatus| {
            !matches!(status.state, WorkerState::Done | WorkerState::Failed | WorkerState::Stopped)
        };
        let stragglers: Vec<_> = workers.iter().filter(ended).map(|status| status.name.to_string()).collect();
        let (complete, escalated) = (stragglers.is_empty(), self.tree.is_escalated());
        PanelReport { complete, stragglers, workers, escalated, maintenance: Vec::new() }
    }

    /// What can be said of a shutdown that the panel's own thread did not come to the end of.
    fn report_without_thread(&mut self, name: &str) -> PanelReport {
        let report = self.report_so_far(name);
        self.report.get_or_insert(report).clone()
    }

    /// What can be said before the panel's own thread has come to the end.
    pub(crate) fn report_so_far(&self, name: &str) -> PanelReport {
        let mut report = self.final_report(Instant::now());
        report.complete = false;
        report.stragglers.push(name.to_owned());
        report
    }
}

/// What the panel's thread has to do.
struct Decisions {
    actions: Vec<Action>,
    /// What runs were on that have ended: to be joined.
    ended: Vec<Carrier>,
    /// Time has changed something that somebody may wait for.
    is_news: bool,
    /// There were more failures than the panel takes.
    escalates: bool,
}

impl Entry {
    fn fail(&mut self, failure: Failure) {
        let (worker, message) = (self.name.clone(), failure.to_string());
        if let Failure::Panic { .. } = failure {
            self.panics += 1;
            self.core.report(Diagnostic::WorkerPanicked { worker, message });
        } else {
            self.errors += 1;
            self.core.report(Diagnostic::WorkerFailed { worker, message });
        }
        self.last_failure = Some(failure);
    }
}

fn state_of(stage: Stage, now: Instant) -> WorkerState {
    match stage {
        Stage::Waiting => WorkerState::Waiting,
        Stage::Resting { until } => WorkerState::Resting { left: until.saturating_duration_since(now) },
        Stage::Starting => WorkerState::Starting,
        Stage::Running => WorkerState::Running,
        Stage::Leaving { .. } | Stage::Stopping { .. } => WorkerState::Stopping,
        Stage::Stuck { .. } => WorkerState::Stuck,
        Stage::Over(Over::Done) => WorkerState::Done,
        Stage::Over(Over::Failed) => WorkerState::Failed,
        Stage::Over(Over::Stopped) => WorkerState::Stopped,
    }
}

/// How long a shutdown has that nobody set a deadline for.
pub(crate) const STOP_WITHIN: Duration = DROP_DEADLINE;

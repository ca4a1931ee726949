//! The panel itself: what a host starts, asks, and shuts down.

use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_utils::sync::Parker;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::control::changes::Herald;
use crate::control::context::Load;
use crate::control::desk::keep::{Duties, Escalation, keep};
use crate::control::desk::{self, Shared};
use crate::control::error::ControlError;
use crate::control::maintenance::{Maintenance, MaintenanceBuilder, MaintenanceHandle};
use crate::control::policy::PolicyReader;
use crate::control::restarts::{Intensity, Strategy};
use crate::control::run::{Tasks, Threads};
use crate::control::runtime::{RuntimeChoice, fits, wait_here};
use crate::control::spec::{GroupSpec, MakeLaunch, Place, STOP_WITHIN, WorkerSpec};
use crate::control::status::{GroupStatus, Health, PanelReport, RunsAs, WorkerStatus};
use crate::control::tree::{NodeId, Tree};
use crate::control::wait::{either, later};
use crate::control::worker::{AsyncWorker, Worker, WorkerError};
use crate::core::{Core, DROP_DEADLINE, contain, let_go};
use crate::main_lane::MainLane;
use crate::main_lane::budget::Budget;
use crate::main_lane::outcome::{Left, Turn};
use crate::main_lane::reduce::Reducer;
use crate::main_lane::report::ShutdownReport;
use crate::observe::diagnostic::Diagnostic;
use crate::pipeline::Handle;
use crate::signal::Bus;
use crate::snapshot::WakingReader;

/// Follows the policy of a pipeline from the panel's thread on.
type Follow = Box<dyn FnOnce(&Arc<Shared>) -> Result<Box<dyn FnMut() + Send>, ControlError>>;

/// Sets up a [`ControlPanel`].
#[must_use = "a panel is started by `start`"]
pub struct PanelBuilder<P = ()> {
    name: String,
    runtime: RuntimeChoice,
    strategy: Strategy,
    intensity: Intensity,
    stop: Option<CancellationToken>,
    stop_within: Duration,
    escalation: Option<Escalation>,
    signals: Option<Bus>,
    policy: (watch::Sender<Arc<P>>, watch::Receiver<Arc<P>>),
    follow: Option<Follow>,
}

impl Default for PanelBuilder<()> {
    fn default() -> Self {
        Self {
            name: "control panel".to_owned(),
            runtime: RuntimeChoice::default(),
            strategy: Strategy::default(),
            intensity: Intensity::default(),
            stop: None,
            stop_within: desk::STOP_WITHIN,
            escalation: None,
            signals: None,
            policy: watch::channel(Arc::new(())),
            follow: None,
        }
    }
}

impl<P: Send + Sync + 'static> PanelBuilder<P> {
    /// The name of the panel's thread.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Where tasks run. Default: [`RuntimeChoice::Ambient`].
    pub fn runtime(mut self, choice: RuntimeChoice) -> Self {
        self.runtime = choice;
        self
    }

    /// Who is started again when a worker that is in no group is. Default: [`Strategy::OneForOne`].
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// How many restarts of such workers, and of such groups, the panel takes. Default: OTP's, one within five seconds.
    ///
    /// Then it stops them all, and says so: [`Health::Escalated`], the hook of [`on_escalation`](PanelBuilder::on_escalation), and a
    /// diagnostic. The pipeline goes on; what else to do is the host's to say.
    pub fn intensity(mut self, intensity: Intensity) -> Self {
        self.intensity = intensity;
        self
    }

    /// Shuts down when `token` is cancelled, with `deadline` for it all. The host [waits for that](ControlPanel::wait_for_shutdown), or
    /// asks for the [report](ControlPanel::shutdown) later.
    pub fn stop_with(mut self, token: CancellationToken, deadline: Duration) -> Self {
        (self.stop, self.stop_within) = (Some(token), deadline);
        self
    }

    /// Is called on the panel's thread when there were more failures than the panel takes, with how everyone was doing. A panic in it is
    /// contained.
    pub fn on_escalation(mut self, hook: impl FnMut(&[WorkerStatus]) + Send + 'static) -> Self {
        self.escalation = Some(Box::new(hook));
        self
    }

    /// The bus that workers [publish and subscribe](crate::control::WorkerContext::signals) on, and on which the panel itself tells how
    /// they are doing: [`WorkerChanged`](crate::control::WorkerChanged), [`HealthChanged`](crate::control::HealthChanged). Shut the
    /// panel down before it.
    ///
    /// The panel's thread looks at them all whenever it has something to do, if somebody listens. Whoever begins to listen asks the
    /// panel then how things stand, and hears of what changes from there on.
    pub fn signals(mut self, bus: &Bus) -> Self {
        self.signals = Some(bus.clone());
        self
    }

    /// What the workers' policy is: a part of this pipeline's state. See [`PolicyReader`].
    ///
    /// `project` runs on the panel's thread, for the newest of the snapshots that are published, at most every two milliseconds. When it
    /// panics the policy stays as it is, and that is reported as the panic of a worker called `the policy`.
    pub fn policy<S, Q>(self, handle: &Handle<S>, project: impl Fn(&S) -> Q + Send + 'static) -> PanelBuilder<Q>
    where
        S: Reducer,
        Q: PartialEq + Send + Sync + 'static,
    {
        let Self { name, runtime, strategy, intensity, stop, stop_within, escalation, signals, .. } = self;
        let (sender, receiver) = watch::channel(Arc::new(project(&handle.reader().load())));
        let (handle, follower) = (handle.clone(), sender.clone());
        let follow = move |shared: &Arc<Shared>| {
            let panel = Arc::downgrade(shared);
            let woken = move || {
                if let Some(panel) = panel.upgrade() {
                    panel.policy_due.set();
                    panel.wake();
                }
            };
            let reader: WakingReader<S> = handle.waking_reader(woken).map_err(ControlError::Lane)?;
            let (mut held, mut looked) = (follower.borrow().clone(), None);
            let look = move || {
                let snapshot = reader.load();
                if looked.replace(snapshot.version()) == Some(snapshot.version()) {
                    // Told of twice: as it was set up, and by the hook.
                    return;
                }
                // The host's code: also how two are compared, and the drop of one. The policy stays as it is when that panics, and the next
                // snapshot is another chance.
                let differs = contain(|| {
                    let policy = project(&snapshot);
                    if *held == policy { None } else { Some(Arc::new(policy)) }
                });
                match differs {
                    Ok(None) => {}
                    Ok(Some(policy)) => {
                        let older = (std::mem::replace(&mut held, policy.clone()), follower.send_replace(policy));
                        // Without the lock, under which readers look.
                        let_go(older);
                    }
                    Err(message) => {
                        let worker = "the policy".into();
                        handle.core().report(Diagnostic::WorkerPanicked { worker, message });
                    }
                }
            };
            // What was published before the hook was there.
            shared.policy_due.set();
            Ok(Box::new(look) as Box<dyn FnMut() + Send>)
        };
        let (policy, follow) = ((sender, receiver), Some(Box::new(follow) as Follow));
        PanelBuilder { name, runtime, strategy, intensity, stop, stop_within, escalation, signals, policy, follow }
    }

    /// Starts the panel: one thread, which sleeps while nothing happens.
    ///
    /// # Errors
    /// When the runtime that was given does not fit, the system refuses the thread, or the pipeline whose state has the policy has shut
    /// down.
    pub fn start(self) -> Result<ControlPanel<P>, ControlError> {
        let Self { name, runtime, strategy, intensity, stop, stop_within, escalation, signals, policy, follow } = self;
        if let RuntimeChoice::Handle(handle) = &runtime
            && !fits(handle)
        {
            return Err(ControlError::RuntimeUnfit);
        }
        let parker = Parker::new();
        let tree = Tree::new(strategy, intensity);
        let herald = signals.as_ref().map(|bus| Herald::new(bus, &name));
        let shared = Arc::new(Shared::new(tree, runtime, parker.unparker().clone(), signals));
        let policy_follower = follow.map(|follow| follow(&shared)).transpose()?;
        let duties = Duties { policy: policy_follower, stop, stop_within, escalation, herald };
        let its = shared.clone();
        let thread = std::thread::Builder::new()
            .name(name.replace('\0', " "))
            .spawn(move || keep(&its, &parker, duties))
            .map_err(|error| ControlError::Thread { reason: error.to_string() })?;
        Ok(ControlPanel { name, shared, thread: Some(thread), policy })
    }
}

impl<P> fmt::Debug for PanelBuilder<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PanelBuilder").field("name", &self.name).field("runtime", &self.runtime).finish_non_exhaustive()
    }
}

/// Starts workers, watches them, starts them again, stops them.
///
/// It belongs to no pipeline: each worker says whose lane it has. Shut it down *before* its pipelines, so that its workers can still
/// push their last words, or with one of them by [`shutdown_with`](ControlPanel::shutdown_with). A pipeline that is closed first has its
/// workers stopped. Dropping the panel shuts it down with a deadline of five seconds.
pub struct ControlPanel<P: Send + Sync + 'static = ()> {
    name: String,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// The sender is kept so that the policy never looks as if it were gone while the panel is there.
    policy: (watch::Sender<Arc<P>>, watch::Receiver<Arc<P>>),
}

impl ControlPanel<()> {
    /// A panel with the defaults that are written beside the settings.
    pub fn builder() -> PanelBuilder<()> {
        PanelBuilder::default()
    }
}

impl<P: Send + Sync + 'static> ControlPanel<P> {
    /// A worker that runs on a thread, and pushes to this pipeline. `factory` makes it, for each run anew, on that thread.
    pub fn worker<S, W, F>(&self, handle: &Handle<S>, name: impl Into<Arc<str>>, factory: F) -> WorkerSpec<'_, S, P>
    where
        S: Reducer,
        W: Worker<S, P>,
        F: FnMut() -> Result<W, WorkerError> + Send + 'static,
    {
        let make: MakeLaunch<S, P> = Box::new(move |port, runs_as| Box::new(Threads::new(port, factory, runs_as)));
        self.spec(handle, name.into(), RunsAs::Thread, make)
    }

    /// A worker that is a task of the panel's [runtime](RuntimeChoice), and pushes to this pipeline. `factory` makes it, for each run
    /// anew, in the task.
    pub fn task<S, W, F>(&self, handle: &Handle<S>, name: impl Into<Arc<str>>, factory: F) -> WorkerSpec<'_, S, P>
    where
        S: Reducer,
        W: AsyncWorker<S, P>,
        F: FnMut() -> Result<W, WorkerError> + Send + 'static,
    {
        let make: MakeLaunch<S, P> = Box::new(move |port, _| Box::new(Tasks::new(port, factory)));
        self.spec(handle, name.into(), RunsAs::Task, make)
    }

    fn spec<S: Reducer>(
        &self,
        handle: &Handle<S>,
        name: Arc<str>,
        runs_as: RunsAs,
        make: MakeLaunch<S, P>,
    ) -> WorkerSpec<'_, S, P> {
        WorkerSpec {
            shared: &self.shared,
            policy: self.policy(),
            handle: handle.clone(),
            place: Place::new(name),
            runs_as,
            blocking: false,
            make,
            load: Load::default(),
            lane: None,
            stop_within: STOP_WITHIN,
        }
    }

    /// A group of workers that stand and fall together.
    pub fn group(&self, name: impl Into<Arc<str>>) -> GroupSpec<'_> {
        let (strategy, intensity) = (Strategy::default(), Intensity::default());
        GroupSpec { shared: &self.shared, place: Place::new(name.into()), strategy, intensity }
    }

    /// A queue for maintenance jobs, on the panel's runtime; on threads of its own when the panel has [none](RuntimeChoice::None). It is
    /// closed with the panel, after the workers: what waits then is cancelled.
    ///
    /// # Errors
    /// When a setting is out of its range, no runtime or thread can be had, or the panel has been shut down.
    pub fn maintenance(&self, settings: MaintenanceBuilder) -> Result<MaintenanceHandle, ControlError> {
        let runtime = match self.shared.choice {
            RuntimeChoice::None => None,
            _ => Some(self.shared.change(|desk| match desk.closing {
                // Nobody would end a runtime that is made from here on.
                true => Err(ControlError::Closed),
                false => desk.engine.resolve(&self.shared.choice, "maintenance"),
            })?),
        };
        let settings = runtime.into_iter().fold(settings, MaintenanceBuilder::runtime);
        let mut queue = Some(settings.build().map_err(ControlError::Maintenance)?);
        self.shared.change(|desk| {
            if desk.closing {
                return Err(ControlError::Closed);
            }
            let handle = queue.as_ref().map(Maintenance::handle);
            desk.queues.extend(queue.take());
            handle.ok_or(ControlError::Closed)
        })
    }

    /// The policy that holds now, for parts of the host that are no workers.
    pub fn policy(&self) -> PolicyReader<P> {
        PolicyReader::new(self.policy.1.clone())
    }

    /// How each worker is doing, in the order in which they were registered.
    pub fn workers(&self) -> Vec<WorkerStatus> {
        self.shared.look().workers(Instant::now())
    }

    /// How each group is doing, in the order in which they were registered.
    pub fn groups(&self) -> Vec<GroupStatus> {
        self.shared.look().groups(Instant::now())
    }

    /// How the workers are doing, in one word.
    pub fn health(&self) -> Health {
        self.shared.look().health()
    }

    /// Blocks until a worker is as `is` says, `deadline` at most. `None` when it was not by then, or is not there.
    pub fn wait_for(
        &self,
        worker: &str,
        deadline: Instant,
        is: impl Fn(&WorkerStatus) -> bool,
    ) -> Option<WorkerStatus> {
        wait_here(|| self.shared.wait_for(deadline, || self.find(worker).filter(|status| is(status))))
    }

    /// Waits until a worker is as `is` says.
    pub async fn wait_for_async(&self, worker: &str, is: impl Fn(&WorkerStatus) -> bool) -> WorkerStatus {
        self.shared.wait_in_task(|| self.find(worker).filter(|status| is(status))).await
    }

    /// For questions of the host's, which are asked without the lock.
    fn find(&self, worker: &str) -> Option<WorkerStatus> {
        self.shared.look().find_worker(worker, Instant::now())
    }

    /// Blocks until the panel has been shut down, by its [token](PanelBuilder::stop_with) or from elsewhere, `deadline` at most. `None`
    /// when it has not been by then. Asks for nothing itself.
    pub fn wait_for_shutdown(&self, deadline: Instant) -> Option<PanelReport> {
        wait_here(|| self.shared.wait_for(deadline, || self.report()))
    }

    /// Waits until the panel has been shut down, as [`wait_for_shutdown`](ControlPanel::wait_for_shutdown) does.
    pub async fn wait_for_shutdown_async(&self) -> PanelReport {
        self.shared.wait_in_task(|| self.report()).await
    }

    /// Wakes a worker that waits for its next turn, or has its next wait end at once.
    ///
    /// # Errors
    /// When there is no worker of this name.
    pub fn nudge(&self, worker: &str) -> Result<(), ControlError> {
        self.ask(worker, |desk, id, _| desk.nudge(id))
    }

    /// Starts a worker or a group that does not run.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn start(&self, name: &str) -> Result<(), ControlError> {
        self.ask(name, |desk, id, now| desk.tree.start(id, now))
    }

    /// Stops a worker or a group, until it is started again. Returns at once. One that has ended by itself stays as it is: done, or failed.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn stop(&self, name: &str) -> Result<(), ControlError> {
        self.ask(name, |desk, id, now| desk.tree.stop(id, now))
    }

    /// Stops a worker or a group, and starts it again. That counts against nobody's [`Intensity`]. Returns at once.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn restart(&self, name: &str) -> Result<(), ControlError> {
        self.ask(name, |desk, id, now| desk.tree.restart(id, now))
    }

    /// Stops a worker or a group with all its members, closes its lane and forgets it; its name is free when it has ended. Returns at once.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn remove(&self, name: &str) -> Result<(), ControlError> {
        self.ask(name, |desk, id, now| desk.tree.remove(id, now))
    }

    /// Has everyone start again after there were more failures than the panel takes.
    pub fn start_again(&self) {
        self.shared.change(|desk| desk.start_again(Instant::now()));
    }

    fn ask(&self, name: &str, ask: impl FnOnce(&mut desk::Desk, NodeId, Instant)) -> Result<(), ControlError> {
        self.shared.change(|desk| {
            let id = desk.tree.find(name).ok_or_else(|| ControlError::Unknown { name: name.to_owned() })?;
            ask(desk, id, Instant::now());
            Ok(())
        })
    }

    /// Stops every worker, those that come after others first, and joins every thread and task. What has not stopped by the deadline is
    /// let go of, and named.
    ///
    /// Calling it again returns the same report. Inside an async runtime it blocks its thread; there is
    /// [`shutdown_async`](ControlPanel::shutdown_async) for that. On the thread that drives a main lane, workers may wait for room that
    /// nobody makes: there is [`shutdown_with`](ControlPanel::shutdown_with). On the panel's own thread, in a hook, all of these only begin it:
    /// the report says that it is not complete.
    pub fn shutdown(&mut self, deadline: Duration) -> PanelReport {
        let deadline = self.begin(deadline);
        let report = wait_here(|| self.shared.wait_for(later(deadline, GRACE), || self.report()));
        self.finish(report)
    }

    /// As [`shutdown`](ControlPanel::shutdown), for tasks. Needs no runtime: a thread that ends with it keeps the deadline. Dropped half-way,
    /// it goes on by itself.
    pub async fn shutdown_async(&mut self, deadline: Duration) -> PanelReport {
        let deadline = self.begin(deadline);
        let keeper = self.keep_deadline(deadline, None);
        let report = self.shared.wait_in_task(|| self.report()).await;
        self.finish_in_task(report, keeper)
    }

    /// Stops every worker while this main lane takes its turns, so that what they push last finds room and is applied, and shuts the
    /// pipeline down then. Both have until the same deadline.
    pub fn shutdown_with<S: Reducer>(
        &mut self,
        main_lane: &mut MainLane<S>,
        deadline: Duration,
    ) -> (PanelReport, ShutdownReport) {
        let deadline = self.begin(deadline);
        let report = loop {
            let report = self.report();
            if report.is_some() || Instant::now() >= later(deadline, GRACE) {
                break report;
            }
            // An error says that it has stopped, and that its lanes let their producers go.
            let busy = main_lane.turn(Budget::millis(1)).is_ok_and(|turn| turn.events > 0);
            if !busy {
                let soon = Instant::now() + LOOK_EVERY;
                wait_here(|| self.shared.wait_for(soon, || self.report().map(drop)));
            }
        };
        let panel = self.finish(report);
        let pipeline = main_lane.shutdown(deadline.saturating_duration_since(Instant::now()));
        (panel, pipeline)
    }

    /// As [`shutdown_with`](ControlPanel::shutdown_with), for a task that drives a main lane: it awaits between turns. Needs no runtime.
    ///
    /// Only the last part, the [shutdown of the main lane](MainLane::shutdown), blocks: for a turn or a few when nobody else pushes, and as
    /// long as ingestion threads and a journal need to end. Where that is too long, use [`shutdown_async`](ControlPanel::shutdown_async) beside
    /// turns, and shut the main lane down where blocking is allowed.
    pub async fn shutdown_async_with<S: Reducer>(
        &mut self,
        main_lane: &mut MainLane<S>,
        deadline: Duration,
    ) -> (PanelReport, ShutdownReport) {
        let deadline = self.begin(deadline);
        let keeper = self.keep_deadline(deadline, Some(main_lane.hub.core.clone()));
        let report = loop {
            if let Some(report) = self.report() {
                break report;
            }
            let stopped = self.shared.wait_in_task(|| self.report());
            match main_lane.turn(Budget::millis(1)) {
                // It has stopped, and its lanes have let their producers go.
                Ok(Turn { left: Left::Ended, .. }) | Err(_) => drop(stopped.await),
                // Not to hold up others while there is always more.
                Ok(turn) if turn.events > 0 || turn.left == Left::More => tokio::task::yield_now().await,
                Ok(_) => either(stopped, main_lane.input()).await,
            }
        };
        let panel = self.finish_in_task(report, keeper);
        let pipeline = main_lane.shutdown(deadline.saturating_duration_since(Instant::now()));
        (panel, pipeline)
    }

    /// Has the panel's own thread given up when the deadline has passed and it is held up, for those who cannot block until then. A task
    /// that takes turns meanwhile is woken now and then, as a thread would wake: a publication may be due.
    fn keep_deadline(&self, deadline: Instant, turns: Option<Arc<Core>>) -> Option<JoinHandle<()>> {
        if self.report().is_some() {
            return None;
        }
        let (shared, name) = (self.shared.clone(), self.name.clone());
        let keep = move || {
            let last = later(deadline, GRACE);
            loop {
                let soon = turns.as_ref().map_or(last, |_| last.min(Instant::now() + LOOK_EVERY));
                if shared.wait_for(soon, || shared.look().report().map(drop)).is_some() {
                    return;
                }
                if Instant::now() >= last {
                    shared.give_up(&name);
                    return;
                }
                turns.iter().for_each(|core| core.sleeper.tell(&core.sleeper.tasks));
            }
        };
        // Refused by the system, nothing is lost but this.
        std::thread::Builder::new().name("mainlane deadline".to_owned()).spawn(keep).ok()
    }

    fn finish_in_task(&mut self, report: PanelReport, keeper: Option<JoinHandle<()>>) -> PanelReport {
        // It was told as well, but of what can be said in a hook.
        let _ = keeper.filter(|_| !self.is_here()).map(JoinHandle::join);
        self.finish(Some(report))
    }

    fn begin(&self, deadline: Duration) -> Instant {
        let deadline = later(Instant::now(), deadline);
        self.shared.shut_down(deadline);
        deadline
    }

    fn finish(&mut self, report: Option<PanelReport>) -> PanelReport {
        let report = report.unwrap_or_else(|| self.shared.give_up(&self.name));
        let is_over = self.shared.look().is_over();
        // Not one that was given up: the host's code that holds it up may do so for ever.
        if is_over && let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        report
    }

    /// The report, when there is one. On the panel's own thread, which would wait for itself, what can be said so far.
    fn report(&self) -> Option<PanelReport> {
        let desk = self.shared.look();
        desk.report().cloned().or_else(|| self.is_here().then(|| desk.report_so_far(&self.name)))
    }

    #[cfg(test)]
    pub(crate) fn runtime(&self) -> Option<tokio::runtime::Handle> {
        self.shared.look().engine.handle()
    }

    /// True on the panel's own thread: in one of its hooks.
    fn is_here(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| thread.thread().id() == std::thread::current().id())
    }
}

/// How long the panel's own thread has beyond the deadline to say what happened.
const GRACE: Duration = Duration::from_millis(500);
/// How often a shutdown takes a turn without being woken.
const LOOK_EVERY: Duration = Duration::from_millis(1);

impl<P: Send + Sync + 'static> Drop for ControlPanel<P> {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.shutdown(DROP_DEADLINE);
        }
    }
}

impl<P: Send + Sync + 'static> fmt::Debug for ControlPanel<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlPanel").field("name", &self.name).field("health", &self.health()).finish_non_exhaustive()
    }
}

//! How workers and groups are registered.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::control::context::{Gauge, Load, Port};
use crate::control::desk::{Desk, Entry, Shared};
use crate::control::error::ControlError;
use crate::control::policy::PolicyReader;
use crate::control::restarts::{Intensity, Restarts, Strategy};
use crate::control::run::Launch;
use crate::control::status::RunsAs;
use crate::control::tree::{Kind, NodeId, ROOT, Spec};
use crate::control::wait::Nudge;
use crate::lane::Overflow;
use crate::lane::builder::LaneBuilder;
use crate::main_lane::reduce::Reducer;
use crate::pipeline::Handle;

/// How long a worker has to stop unless said otherwise. OTP's.
pub(crate) const STOP_WITHIN: Duration = Duration::from_secs(5);

/// Makes what begins the runs of a worker.
pub(crate) type MakeLaunch<S, P> = Box<dyn FnOnce(Port<S, P>, RunsAs) -> Box<dyn Launch> + Send>;

type LaneSettings<'a, S> = Box<dyn FnOnce(LaneBuilder<S>) -> LaneBuilder<S> + 'a>;

/// Registers a worker. The settings that are not made have the defaults written beside them.
#[must_use = "a worker is registered by `start`"]
pub struct WorkerSpec<'a, S: Reducer, P> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) policy: PolicyReader<P>,
    pub(crate) handle: Handle<S>,
    pub(crate) place: Place,
    pub(crate) runs_as: RunsAs,
    /// It was asked to be a blocking task.
    pub(crate) blocking: bool,
    pub(crate) make: MakeLaunch<S, P>,
    pub(crate) load: Load,
    pub(crate) lane: Option<LaneSettings<'a, S>>,
    pub(crate) stop_within: Duration,
}

/// What workers and groups have in common.
pub(crate) struct Place {
    pub(crate) name: Arc<str>,
    pub(crate) group: Option<Arc<str>>,
    pub(crate) after: Vec<Arc<str>>,
    pub(crate) restarts: Restarts,
    pub(crate) backoff: Backoff,
}

impl Place {
    pub(crate) fn new(name: Arc<str>) -> Self {
        Self { name, group: None, after: Vec::new(), restarts: Restarts::default(), backoff: Backoff::default() }
    }

    /// Finds its place in the tree.
    fn find(&self, desk: &Desk) -> Result<(NodeId, Vec<NodeId>), ControlError> {
        let tree = &desk.tree;
        let unknown = |name: &Arc<str>| ControlError::Unknown { name: name.to_string() };
        let known = |name: &Arc<str>| tree.find(name).filter(|id| *id != ROOT).ok_or_else(|| unknown(name));
        if desk.closing {
            return Err(ControlError::Closed);
        }
        if self.name.is_empty() {
            return Err(ControlError::Unnamed);
        }
        if tree.find(&self.name).is_some() {
            return Err(ControlError::Taken { name: self.name.to_string() });
        }
        let parent = match &self.group {
            Some(group) => known(group).ok().filter(|id| tree.is_group(*id)).ok_or_else(|| unknown(group))?,
            None => ROOT,
        };
        let after: Vec<_> = self.after.iter().map(known).collect::<Result<_, _>>()?;
        if tree.would_wait_for_itself(parent, &after) {
            return Err(ControlError::Circular { name: self.name.to_string() });
        }
        Ok((parent, after))
    }
}

/// What both kinds of registration have.
macro_rules! place {
    () => {
        /// Whether it is started again when it has ended by itself. Default: [`Restarts::Permanent`].
        pub fn restarts(mut self, restarts: Restarts) -> Self {
            self.place.restarts = restarts;
            self
        }

        /// How long it rests before it is started again.
        pub fn backoff(mut self, backoff: Backoff) -> Self {
            self.place.backoff = backoff;
            self
        }

        /// The group that it is in. Default: none but the panel itself.
        pub fn group(mut self, group: impl Into<Arc<str>>) -> Self {
            self.place.group = Some(group.into());
            self
        }

        /// Started when this worker or group runs, or is done; stopped before it when both are to stop. May be said several times.
        ///
        /// It goes on when that one fails and is started again; the [`Strategy`] of a group says otherwise.
        pub fn after(mut self, earlier: impl Into<Arc<str>>) -> Self {
            self.place.after.push(earlier.into());
            self
        }
    };
}

impl<S: Reducer, P: Send + Sync + 'static> WorkerSpec<'_, S, P> {
    place!();

    /// Runs it on a thread of the panel's runtime instead of one of its own: for workers that end by themselves before long. Of a task
    /// it is an error.
    pub fn as_blocking_task(mut self) -> Self {
        self.blocking = true;
        self
    }

    /// How many critical events its lane may hold. Default: [`Load::Normal`].
    pub fn load(mut self, load: Load) -> Self {
        self.load = load;
        self
    }

    /// How long it has to stop. Default: five seconds. When it has not by then, a task is dropped at its next `await`; a thread is let
    /// go of, named, and never joined by a second run before it ends after all.
    pub fn stop_within(mut self, stop_within: Duration) -> Self {
        self.stop_within = stop_within;
        self
    }
}

impl<'a, S: Reducer, P: Send + Sync + 'static> WorkerSpec<'a, S, P> {
    /// The lane's other settings: origin, rank, keys, classifier. That it waits for room, and for how many events there is room, is the
    /// worker's.
    pub fn lane(mut self, settings: impl FnOnce(LaneBuilder<S>) -> LaneBuilder<S> + 'a) -> Self {
        self.lane = Some(Box::new(settings));
        self
    }

    /// Registers it, opens its lane, and has it started.
    ///
    /// # Errors
    /// When its name is taken, a name that it refers to is not known, it would have to wait for itself, its lane cannot be opened, there
    /// is no runtime for it, or the panel has been shut down.
    pub fn start(self) -> Result<(), ControlError> {
        let Self { shared, policy, handle, place, runs_as, blocking, make, load, lane, stop_within } = self;
        let runs_as = match (runs_as, blocking) {
            (RunsAs::Thread, true) => RunsAs::BlockingTask,
            (RunsAs::Task, true) => {
                let (worker, setting) = (place.name.to_string(), "as_blocking_task");
                return Err(ControlError::Ignored { worker, setting, why: "it is a task, and must not block" });
            }
            (runs_as, _) => runs_as,
        };
        shared.change(|desk| {
            place.find(desk)?;
            if runs_as != RunsAs::Thread {
                // Here, where the host's runtime is active if it has one.
                desk.engine.resolve(&shared.choice, &place.name)?;
            }
            Ok(())
        })?;
        let builder = handle.lane(place.name.clone());
        let builder = match lane {
            Some(settings) => settings(builder),
            None => builder,
        };
        let origin = builder.origin_set();
        let lane = builder.capacity(load.slots()).overflow(Overflow::Wait).open().map_err(ControlError::Lane)?;
        let (core, id, nudge) = (handle.core().clone(), lane.id(), Arc::new(Nudge::default()));
        let reader = handle.reader();
        let port = Port {
            lane,
            newest: reader.cached(),
            reader,
            policy,
            cancellation: CancellationToken::new(),
            nudge: nudge.clone(),
            runtime: None,
            congestion: Gauge::default(),
            signals: shared.signals.clone(),
            origin: origin.unwrap_or(id.origin()),
        };
        shared.attach(&core);
        let mut entry = Some(Entry::new(place.name.clone(), runs_as, id, core, make(port, runs_as), nudge));
        let refused = shared.change(|desk| {
            // Looked for again: somebody else may have been quicker.
            let (parent, after) = place.find(desk)?;
            let Place { name, restarts, backoff, .. } = place;
            let kind = Kind::Worker { backoff, stop_within };
            let worker = desk.tree.add(Spec { name, parent, restarts, after, kind }, Instant::now());
            if entry.as_ref().is_some_and(|entry| entry.core.is_closing()) {
                // Whoever closed the pipeline has told everyone who was there, before or after this look.
                desk.tree.stop(worker, Instant::now());
            }
            desk.workers.extend(entry.take().map(|entry| (worker, entry)));
            Ok(())
        });
        // The lane that was opened in vain is closed without the lock.
        drop(entry);
        refused
    }
}

impl<S: Reducer, P> fmt::Debug for WorkerSpec<'_, S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerSpec").field("name", &self.place.name).finish_non_exhaustive()
    }
}

/// Registers a group: workers, and other groups, that stand and fall together.
#[must_use = "a group is registered by `start`"]
pub struct GroupSpec<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) place: Place,
    pub(crate) strategy: Strategy,
    pub(crate) intensity: Intensity,
}

impl GroupSpec<'_> {
    place!();

    /// Who is started again when one of the group is. Default: [`Strategy::OneForOne`].
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// How many restarts of its members the group takes before it is given up itself. Default: OTP's, one within five seconds.
    ///
    /// Then all of it is stopped, and it counts as one failure in the group that it is in: it is started again, whole, or that one is
    /// given up as well.
    pub fn intensity(mut self, intensity: Intensity) -> Self {
        self.intensity = intensity;
        self
    }

    /// Registers it. Its members say that they are in it.
    ///
    /// # Errors
    /// As for workers.
    pub fn start(self) -> Result<(), ControlError> {
        let Self { shared, place, strategy, intensity } = self;
        shared.change(|desk| {
            let (parent, after) = place.find(desk)?;
            let Place { name, restarts, backoff, .. } = place;
            let kind = Kind::Group { strategy, intensity, backoff };
            let group = desk.tree.add(Spec { name: name.clone(), parent, restarts, after, kind }, Instant::now());
            desk.add_group(group, name);
            Ok(())
        })
    }
}

impl fmt::Debug for GroupSpec<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupSpec").field("name", &self.place.name).finish_non_exhaustive()
    }
}

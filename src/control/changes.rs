//! What the panel's thread tells on a bus: how its workers are doing, when that changes.
//!
//! It compares what there is with what it told last, under the lock, and publishes without it. So nothing is told twice, and what
//! finds its family full is told at the next look, as it is by then.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::control::desk::{Desk, Shared};
use crate::control::status::{Failure, Health, WorkerState, WorkerStatus};
use crate::control::tree::NodeId;
use crate::origin::Origin;
use crate::signal::{Bus, Signal, SignalOutlet, Unpublished};

/// How long until what found its family full is told again.
const AGAIN: Duration = Duration::from_millis(5);
/// Who says so.
const PANEL: Origin = Origin::built_in("control panel", 0);

/// A worker is doing something else than it did, or failed since: published by a panel that was
/// [given a bus](crate::control::PanelBuilder::signals).
///
/// It says how the worker is when the panel's thread looks, and not each state that it went through. What is left of a rest is no
/// change. The last state of a worker is always told, as far as the family has room within a tenth of a second of the panel's end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerChanged {
    /// The panel, by its name.
    pub panel: Arc<str>,
    /// The worker.
    pub worker: Arc<str>,
    /// The group that it is in; `None` when it is in none.
    pub group: Option<Arc<str>>,
    /// What it was up to when this was told last, which nobody may have heard; `None` when it never was.
    pub was: Option<WorkerState>,
    /// What it is up to; `None` when it was removed from the panel.
    pub is: Option<WorkerState>,
    /// How often it was started again.
    pub restarts: u64,
    /// How many of its runs ended with an error or a panic.
    pub failures: u64,
    /// The last of those, kept after it runs again.
    pub failure: Option<Failure>,
}

impl Signal for WorkerChanged {
    const FAMILY: &'static str = "workers";
    const CAPACITY: usize = 256;
}

impl fmt::Display for WorkerChanged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.is {
            Some(is) => write!(f, "{} is {is}", self.worker)?,
            None => write!(f, "{} was removed", self.worker)?,
        }
        match &self.failure {
            Some(failure) => write!(f, " ({failure})"),
            None => Ok(()),
        }
    }
}

/// The health of a panel changed: published as [`WorkerChanged`] is, after those that explain it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HealthChanged {
    /// The panel, by its name.
    pub panel: Arc<str>,
    /// What it was when this was told last; a panel begins as [`Health::Good`].
    pub was: Health,
    /// What it is.
    pub is: Health,
}

impl Signal for HealthChanged {
    const FAMILY: &'static str = "health";
    const CAPACITY: usize = 64;
}

/// Tells what has changed.
pub(crate) struct Herald {
    panel: Arc<str>,
    workers: SignalOutlet<WorkerChanged>,
    health: SignalOutlet<HealthChanged>,
    /// As each worker was when it was told of last.
    told: BTreeMap<NodeId, WorkerStatus>,
    told_health: Health,
    /// The bus was shut down.
    is_over: bool,
}

/// True when what was told then is still all there is to tell.
fn holds(told: &WorkerStatus, state: WorkerState, restarts: u64, failures: u64) -> bool {
    let is_same = std::mem::discriminant(&told.state) == std::mem::discriminant(&state);
    is_same && told.restarts == restarts && told.errors + told.panics == failures
}

impl Herald {
    pub(crate) fn new(bus: &Bus, panel: &str) -> Self {
        Self {
            panel: panel.into(),
            workers: bus.outlet(PANEL),
            health: bus.outlet(PANEL),
            told: BTreeMap::new(),
            told_health: Health::Good,
            is_over: false,
        }
    }

    /// Tells what has changed, if there is anybody to hear it. Returns when to look again, if not all of it could be told.
    pub(crate) fn look(&mut self, shared: &Shared) -> Option<Instant> {
        if self.is_over || !self.workers.is_heard() && !self.health.is_heard() {
            return None;
        }
        let now = Instant::now();
        let (gone, changed, health) = {
            let desk = shared.look();
            let (gone, changed) = self.changes(&desk, now);
            (gone, changed, desk.health())
        };
        let told = gone.into_iter().try_for_each(|worker| self.tell_gone(worker));
        let told = told.and_then(|()| changed.into_iter().try_for_each(|(worker, status)| self.tell(worker, status)));
        match told.and_then(|()| self.tell_health(health)) {
            Ok(()) => None,
            Err(Untold::Full) => Some(now + AGAIN),
            Err(Untold::Closed) => {
                self.is_over = true;
                None
            }
        }
    }

    /// True when a look would find nothing to tell.
    pub(crate) fn has_told(&self, desk: &Desk, now: Instant) -> bool {
        if self.is_over || !self.workers.is_heard() && !self.health.is_heard() {
            return true;
        }
        let (gone, changed) = self.changes(desk, now);
        gone.is_empty() && changed.is_empty() && (!self.health.is_heard() || desk.health() == self.told_health)
    }

    fn changes(&self, desk: &Desk, now: Instant) -> (Vec<NodeId>, Vec<(NodeId, WorkerStatus)>) {
        if !self.workers.is_heard() {
            return (Vec::new(), Vec::new());
        }
        let gone = self.told.keys().filter(|worker| !desk.workers.contains_key(worker)).copied().collect();
        let is_told = |worker, state, restarts, failures| {
            self.told.get(&worker).is_some_and(|told| holds(told, state, restarts, failures))
        };
        (gone, desk.workers_but(now, is_told))
    }

    fn tell(&mut self, worker: NodeId, status: WorkerStatus) -> Result<(), Untold> {
        let was = self.told.get(&worker).map(|told| told.state);
        self.publish(&status, was, Some(status.state))?;
        self.told.insert(worker, status);
        Ok(())
    }

    fn tell_gone(&mut self, worker: NodeId) -> Result<(), Untold> {
        if let Some(told) = self.told.get(&worker) {
            self.publish(told, Some(told.state), None)?;
            self.told.remove(&worker);
        }
        Ok(())
    }

    fn publish(&self, status: &WorkerStatus, was: Option<WorkerState>, is: Option<WorkerState>) -> Result<(), Untold> {
        let WorkerStatus { name, group, restarts, errors, panics, last_failure, .. } = status;
        let told = self.workers.publish(WorkerChanged {
            panel: self.panel.clone(),
            worker: name.clone(),
            group: group.clone(),
            was,
            is,
            restarts: *restarts,
            failures: errors + panics,
            failure: last_failure.clone(),
        });
        told.map_err(Untold::from)
    }

    fn tell_health(&mut self, is: Health) -> Result<(), Untold> {
        if is == self.told_health || !self.health.is_heard() {
            return Ok(());
        }
        self.health.publish(HealthChanged { panel: self.panel.clone(), was: self.told_health, is })?;
        self.told_health = is;
        Ok(())
    }
}

/// Why something was not told.
enum Untold {
    Full,
    Closed,
}

impl<T> From<Unpublished<T>> for Untold {
    fn from(unpublished: Unpublished<T>) -> Self {
        match unpublished {
            Unpublished::Full(_) | Unpublished::MayNotWait(_) => Untold::Full,
            Unpublished::Closed(_) => Untold::Closed,
        }
    }
}

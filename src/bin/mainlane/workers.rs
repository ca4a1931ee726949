//! What runs in the background, supervised: the memory monitor.

use std::fmt;
use std::time::Duration;

use mainlane::Handle;
use mainlane::control::memory::{
    Levels, MemoryBudget, MemoryGauge, MemoryLevel, MemoryMonitor, MemoryProbe, MemoryThresholds, Monitor,
};
use mainlane::control::{
    ControlPanel, Intensity, Load, PanelReport, RuntimeChoice, WorkerError, WorkerState, WorkerStatus,
};
use mainlane::workspace::{Workspace, memory_monitor};
use serde::Serialize;

/// The part of what its container may use that this program uses.
const CONTAINER_PART: f64 = 0.9;
/// Failures of the workers that are worth another try.
const FAILURES: Intensity = Intensity::at_most(5, Duration::from_secs(60));

/// The workers, and what they have found.
pub(crate) struct Workers {
    pub(crate) panel: ControlPanel,
    pub(crate) memory: MemoryGauge,
}

impl Workers {
    pub(crate) fn start(handle: &Handle<Workspace>, budget: Option<u64>) -> Result<Self, String> {
        let panel = ControlPanel::builder().runtime(RuntimeChoice::None).intensity(FAILURES).start();
        let panel = panel.map_err(|error| error.to_string())?;
        let budget = match budget {
            Some(bytes) => MemoryBudget::new().process(bytes),
            None => MemoryBudget::new().cgroup(CONTAINER_PART),
        };
        let levels = Levels::new(budget, MemoryThresholds::default()).map_err(|error| error.to_string())?;
        let memory = MemoryGauge::new();
        let (of, gauge) = (handle.clone(), memory.clone());
        let make = move || -> Result<MemoryMonitor<Workspace>, WorkerError> {
            Ok(memory_monitor(Monitor::new(MemoryProbe::new(), levels.clone()), &of).gauge(gauge.clone()))
        };
        panel.worker(handle, "memory", make).load(Load::Light).start().map_err(|error| error.to_string())?;
        Ok(Self { panel, memory })
    }

    /// How short memory is.
    pub(crate) fn memory_level(&self) -> MemoryLevel {
        self.memory.last().map(|look| look.observation.level).unwrap_or_default()
    }
}

/// A worker, for a view and for the summary.
#[derive(Serialize)]
pub(crate) struct WorkerSummary {
    pub(crate) name: String,
    pub(crate) state: String,
    pub(crate) restarts: u64,
    pub(crate) last_failure: Option<String>,
}

impl WorkerSummary {
    pub(crate) fn new(status: &WorkerStatus) -> Self {
        Self {
            name: status.name.to_string(),
            state: status.state.to_string(),
            restarts: status.restarts,
            last_failure: status.last_failure.as_ref().map(ToString::to_string),
        }
    }

    pub(crate) fn all(report: &PanelReport) -> Vec<Self> {
        report.workers.iter().map(Self::new).collect()
    }
}

impl fmt::Display for WorkerSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {} {}", self.name, self.state)?;
        if self.restarts > 0 {
            write!(f, ", started again {} times", self.restarts)?;
        }
        self.last_failure.iter().try_for_each(|failure| write!(f, "; it {failure}"))
    }
}

/// True for a worker that a user should hear of.
pub(crate) fn is_amiss(status: &WorkerStatus) -> bool {
    status.restarts > 0 || !matches!(status.state, WorkerState::Starting | WorkerState::Running)
}

pub(crate) fn level_in_words(level: MemoryLevel) -> &'static str {
    match level {
        MemoryLevel::Normal => "memory is enough",
        MemoryLevel::Elevated => "memory is getting short",
        MemoryLevel::High => "memory is short",
        MemoryLevel::Critical => "memory is as good as out",
    }
}

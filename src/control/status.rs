//! How workers are doing, and what is said at the end.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::control::maintenance::CloseReport;
use crate::event::LaneId;

/// How a worker is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunsAs {
    /// On a thread of its own.
    Thread,
    /// On a thread of the runtime's, for as long as it runs.
    BlockingTask,
    /// As a task of the runtime's.
    Task,
}

/// What a worker, or a group, is up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkerState {
    /// It starts when what it comes after runs.
    Waiting,
    /// It failed, and is started again after this long.
    Resting {
        /// What is left of the rest.
        left: Duration,
    },
    /// It makes ready.
    Starting,
    /// It runs.
    Running,
    /// It is to stop, and has not yet.
    Stopping,
    /// It did not stop in time, and was let go of.
    Stuck,
    /// Its work is done.
    Done,
    /// It failed, and is not started again by itself.
    Failed,
    /// It was stopped: by the host, or with its group.
    Stopped,
}

impl fmt::Display for WorkerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WorkerState::Waiting => "waiting",
            WorkerState::Resting { .. } => "resting",
            WorkerState::Starting => "starting",
            WorkerState::Running => "running",
            WorkerState::Stopping => "stopping",
            WorkerState::Stuck => "stuck",
            WorkerState::Done => "done",
            WorkerState::Failed => "failed",
            WorkerState::Stopped => "stopped",
        })
    }
}

/// A step of a worker's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The factory makes it.
    Make,
    /// It makes ready.
    Start,
    /// It works; of a task, the whole run.
    Turn,
    /// It says its last words.
    Stop,
    /// It is dropped.
    Drop,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Make => "as it was made",
            Step::Start => "as it started",
            Step::Turn => "as it worked",
            Step::Stop => "as it stopped",
            Step::Drop => "as it was dropped",
        })
    }
}

/// Why a run ended badly.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// It returned an error.
    Error {
        /// When.
        step: Step,
        /// What it said.
        message: String,
    },
    /// It panicked.
    Panic {
        /// When.
        step: Step,
        /// What it said.
        message: String,
    },
    /// The system refused what it was to run on.
    NotStarted {
        /// What it said.
        message: String,
    },
    /// The runtime that it ran on was shut down.
    RuntimeLost,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Error { step, message } => write!(f, "failed {step}: {message}"),
            Failure::Panic { step, message } => write!(f, "panicked {step}: {message}"),
            Failure::NotStarted { message } => write!(f, "could not be started: {message}"),
            Failure::RuntimeLost => f.write_str("the runtime it ran on was shut down"),
        }
    }
}

/// How a worker is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerStatus {
    /// Its name.
    pub name: Arc<str>,
    /// The group that it is in; `None` when it is in none.
    pub group: Option<Arc<str>>,
    /// How it is run.
    pub runs_as: RunsAs,
    /// What it is up to.
    pub state: WorkerState,
    /// How often it was started again.
    pub restarts: u64,
    /// How many runs ended with an error.
    pub errors: u64,
    /// How many runs ended with a panic.
    pub panics: u64,
    /// The last failure, kept after it runs again.
    pub last_failure: Option<Failure>,
    /// Its lane.
    pub lane: LaneId,
}

/// How a group of workers is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupStatus {
    /// Its name.
    pub name: Arc<str>,
    /// The group that it is in; `None` when it is in none.
    pub group: Option<Arc<str>>,
    /// What it is up to.
    pub state: WorkerState,
    /// How often it was started again.
    pub restarts: u64,
}

/// How the workers are doing, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// Everyone who should run does, or is about to for the first time.
    Good,
    /// Somebody who should run does not: it rests after a failure, failed for good, or is stuck.
    Degraded,
    /// There were more failures than the panel takes, and everyone was stopped.
    Escalated,
}

/// What a panel's shutdown did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PanelReport {
    /// True when every worker and every maintenance job has ended: no thread and no task of the panel's is left.
    pub complete: bool,
    /// Workers that did not stop before the deadline, by name. They were left running, and their pushes wait no more.
    pub stragglers: Vec<String>,
    /// How each worker was doing at the end.
    pub workers: Vec<WorkerStatus>,
    /// True when there had been more failures than the panel takes.
    pub escalated: bool,
    /// What became of each maintenance queue.
    pub maintenance: Vec<CloseReport>,
}

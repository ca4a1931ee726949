//! How the projects of a crew are doing.

use std::sync::Arc;
use std::time::Duration;

use crate::main_lane::report::{Fault, ShutdownReport};

/// What a project is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProjectState {
    /// It waits for a thread, or for the host's next call.
    Ready,
    /// It is being driven.
    Running,
    /// It has nothing to do, and costs nothing until it has.
    Idle,
    /// It has held a thread for longer than the crew allows.
    Stuck,
    /// It is being shut down.
    Closing,
    /// It was closed, and everything it had accepted is applied.
    Ended,
    /// Its main lane stopped by itself.
    Failed(Fault),
}

/// How a project is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProjectStatus {
    /// Its name.
    pub name: Arc<str>,
    /// What it is doing.
    pub state: ProjectState,
    /// How often it was driven, also without anything to do.
    pub turns: u64,
    /// Events it took.
    pub events: u64,
    /// The longest that one of its turns took, but for the one that is under way.
    pub longest_turn: Duration,
    /// The number of the thread that drives it, from one; `None` when none does.
    pub thread: Option<u64>,
}

/// What is counted of a crew.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CrewCounters {
    /// Projects that are open.
    pub projects: usize,
    /// Those that wait for a thread now.
    pub ready: usize,
    /// Threads that are not stuck.
    pub threads: usize,
    /// Threads that are.
    pub threads_stuck: usize,
    /// Threads that were ever started.
    pub threads_started: u64,
    /// Threads that the system refused.
    pub threads_refused: u64,
    /// Turns that were called stuck.
    pub stuck_turns: u64,
    /// Calls of the host's hook that panicked.
    pub hook_panics: u64,
}

/// What the shutdown of a crew did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CrewReport {
    /// True when every project's shutdown was, and every thread was joined.
    pub complete: bool,
    /// The projects that were open, in the order in which they were shut down.
    pub projects: Vec<(Arc<str>, ShutdownReport)>,
    /// Threads that did not end before the deadline, by name. They end when what they drive returns.
    pub stragglers: Vec<String>,
}

//! The control panel: workers that are supervised, on threads and as tasks.

mod attacks; // what a host should not do, and does
mod failures; // panics and errors at every step of a life
mod health; // how workers are doing, told on a bus
mod held; // the panel's own thread, held up by the host
mod hosts; // each way of embedding a panel
#[cfg(all(feature = "workspace", target_os = "linux"))]
mod memory; // real memory, of a process of its own, that runs short
mod policy; // the policy that workers are given
mod pushing; // a worker's lane
mod scheduling; // periodic and likely work within a budget
mod shutting; // stopping, in order, in time, or not
#[cfg(unix)]
mod signals; // signals to a host that asked for them
mod talking; // workers that publish and subscribe
mod waiting; // for a snapshot, for a policy

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mainlane::control::{
    AsyncWorker, ControlPanel, Next, TaskContext, Worker, WorkerContext, WorkerError, WorkerState, WorkerStatus,
};
use mainlane::{Drive, Handle, Pipeline, Running};

use crate::domain::{Ledger, Note, PATIENCE, Seen};

/// A pipeline on a thread of its own.
fn pipeline() -> (Running<Ledger>, Handle<Ledger>) {
    let (main_lane, handle) = Pipeline::builder(Ledger::default()).build().unwrap();
    (main_lane.spawn(Drive::new()).unwrap(), handle)
}

fn deadline() -> Instant {
    Instant::now() + PATIENCE
}

/// Waits until the worker is in this state.
fn wait_until(panel: &ControlPanel, worker: &str, state: WorkerState) -> WorkerStatus {
    let found = panel.wait_for(worker, deadline(), |status| status.state == state);
    found.unwrap_or_else(|| panic!("`{worker}` never was {state}: {:?}", panel.workers()))
}

/// Pushes one item, and waits for a nudge.
struct Pushes(u64);

impl Worker<Ledger> for Pushes {
    fn turn(&mut self, ctx: &mut WorkerContext<Ledger>) -> Result<Next, WorkerError> {
        ctx.lane().push(Note::Item(self.0))?;
        Ok(Next::Nudged)
    }
}

/// Pushes one item, and waits until it is cancelled.
struct PushesInTask(u64);

impl AsyncWorker<Ledger> for PushesInTask {
    async fn run(&mut self, ctx: &mut TaskContext<Ledger>) -> Result<(), WorkerError> {
        ctx.lane().push(Note::Item(self.0)).await?;
        ctx.cancelled().await;
        Ok(())
    }
}

/// How many threads of this process have a name that begins so.
fn threads_named(prefix: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let name = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
    tasks.flatten().map(name).filter(|name| name.starts_with(prefix)).count()
}

/// The items that were applied, in order.
fn items(state: &Ledger) -> Vec<u64> {
    let item = |seen: &Seen| if let Note::Item(item) = seen.note { Some(item) } else { None };
    state.seen.iter().filter_map(item).collect()
}

/// Numbers that are handed out once.
#[derive(Clone, Default)]
struct Count(Arc<AtomicU64>);

impl Count {
    fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }

    fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

const SHORT: Duration = Duration::from_millis(50);

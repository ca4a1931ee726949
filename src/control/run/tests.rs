//! Runs that the system refuses a thread.

use std::time::Duration;

use super::*;
use crate::control::context::WorkerContext;
use crate::control::{ControlPanel, Restarts, RuntimeChoice, WorkerState};
use crate::sync::{AtomicU64, Ordering};
use crate::{Class, Diagnostic, Effects, Envelope, Event, Pipeline};

const PATIENCE: Duration = Duration::from_secs(60);

/// What was refused, and kept for later: a runtime does that.
static KEPT: Mutex<Vec<Box<dyn FnOnce() + Send>>> = Mutex::new(Vec::new());

pub(super) fn is_refused(name: &str) -> bool {
    name.starts_with("refused")
}

pub(super) fn keep(work: impl FnOnce() + Send + 'static) {
    KEPT.lock().push(Box::new(work));
}

#[derive(Clone)]
struct Nothing;

impl Event for Nothing {
    type Key = ();
    type Facets = ();
    fn class(&self) -> Class<()> {
        Class::Critical
    }
}

impl Reducer for Nothing {
    type Event = Nothing;
    type Effect = ();
    fn apply(&mut self, _: &Envelope<'_, Nothing>, _: &mut Effects<()>) {}
}

struct Idle;

impl Worker<Nothing> for Idle {
    fn turn(&mut self, _: &mut WorkerContext<Nothing>) -> Result<Next, WorkerError> {
        Ok(Next::Done)
    }
}

/// Refuses it its thread, and looks what is told of that.
fn refuse(runs_as: RunsAs, choice: RuntimeChoice) -> ControlPanel {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock();
    let (_main_lane, handle) = Pipeline::builder(Nothing).build().unwrap();
    let panel = ControlPanel::builder().runtime(choice).start().unwrap();
    let made = Arc::new(AtomicU64::new(0));
    let counted = made.clone();
    let make = move || {
        counted.fetch_add(1, Ordering::SeqCst);
        Ok(Idle)
    };
    let spec = panel.worker(&handle, "refused", make).restarts(Restarts::Temporary);
    let spec = if runs_as == RunsAs::BlockingTask { spec.as_blocking_task() } else { spec };
    spec.start().unwrap();
    let over = |status: &crate::control::WorkerStatus| status.state == WorkerState::Failed;
    let status = panel.wait_for("refused", Instant::now() + PATIENCE, over);
    let status = status.unwrap_or_else(|| panic!("{:?}", panel.workers()));
    assert_eq!(status.last_failure, Some(Failure::NotStarted { message: "no threads left".into() }));
    assert_eq!((status.errors, status.panics), (1, 0));
    let told = handle.diagnostics().drain().find_map(|one| match one {
        Diagnostic::WorkerFailed { message, .. } => Some(message),
        _ => None,
    });
    assert_eq!(told.as_deref(), Some("could not be started: no threads left"));
    let kept = std::mem::take(&mut *KEPT.lock());
    kept.into_iter().for_each(|late| late());
    assert_eq!(made.load(Ordering::SeqCst), 0, "what was refused is not begun any more");
    panel
}

#[test]
fn a_thread_that_is_refused_is_told_as_that() {
    assert!(refuse(RunsAs::Thread, RuntimeChoice::None).shutdown(PATIENCE).complete);
}

#[test]
fn a_runtime_that_is_refused_a_thread_is_not_gone_and_its_run_does_not_begin_later() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let _inside = runtime.enter();
    let mut panel = refuse(RunsAs::BlockingTask, RuntimeChoice::Ambient);
    assert_eq!(panel.runtime().map(|its| its.id()), Some(runtime.handle().id()), "it stays there");
    assert!(panel.shutdown(PATIENCE).complete);
}

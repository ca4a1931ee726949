//! What a worker is.

use std::time::{Duration, Instant};

use crate::control::context::{TaskContext, WorkerContext};
use crate::main_lane::reduce::Reducer;

/// Why a worker could not go on.
pub type WorkerError = Box<dyn std::error::Error + Send + Sync>;

/// A worker that is polled: a struct with a turn. It runs on a thread of its own, or as a blocking task of the panel's runtime.
///
/// # Contract
/// - **Steps.** Each run begins with a fresh worker, made by the factory that it was registered with. `start` is called once, then `turn`
///   again and again until it answers [`Next::Done`] or the worker is cancelled, then `stop` once. All of them on one thread.
/// - **What it may do.** Push events through [its lane](WorkerContext::lane), and read snapshots and the policy. It changes no state in any
///   other way, and nothing else pushes on its behalf.
/// - **How it is cancelled.** A turn should return soon, or look at [`WorkerContext::is_cancelled`] where it works for long; between turns
///   the panel does. The waits that the context and [`Next`] offer end at once. After that `stop` may still push its last words.
/// - **Failures.** An error or a panic in any step is contained, told apart, and ends the run; what was accepted by then is applied, and
///   the worker is made anew by its [restart](crate::control::Restarts) policy.
/// - **After it.** Destructors of its thread's own values (`thread_local!`) run when the run has ended, and the panel's thread joins it: one that
///   blocks holds up the whole panel.
pub trait Worker<S: Reducer, P = ()>: Send + 'static {
    /// Makes ready. Nothing was pushed yet in this run.
    ///
    /// # Errors
    /// Whatever keeps it from working.
    fn start(&mut self, ctx: &mut WorkerContext<S, P>) -> Result<(), WorkerError> {
        let _ = ctx;
        Ok(())
    }

    /// One pass.
    ///
    /// # Errors
    /// Whatever keeps it from going on.
    fn turn(&mut self, ctx: &mut WorkerContext<S, P>) -> Result<Next, WorkerError>;

    /// Says its last words: after it was done or cancelled, not after a failure.
    ///
    /// # Errors
    /// Whatever it could not bring to an end.
    fn stop(&mut self, ctx: &mut WorkerContext<S, P>) -> Result<(), WorkerError> {
        let _ = ctx;
        Ok(())
    }
}

/// When a worker wants its next turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// At once.
    Again,
    /// After this long, or when it is [nudged](crate::control::ControlPanel::nudge).
    After(Duration),
    /// At this moment, or when it is nudged.
    Until(Instant),
    /// When it is nudged.
    Nudged,
    /// Never: its work is done.
    Done,
}

/// A worker that is a task: it runs on the panel's runtime.
///
/// The contract is that of [`Worker`], with one step. Await [`TaskContext::cancelled`] beside whatever else is awaited, and return
/// when it resolves. A task that does not is dropped at its next `await` when its [stop deadline](crate::control::WorkerSpec::stop_within)
/// has passed.
pub trait AsyncWorker<S: Reducer, P = ()>: Send + 'static {
    /// The whole run. Returning `Ok` says that the work is done.
    ///
    /// # Errors
    /// Whatever keeps it from going on.
    fn run(&mut self, ctx: &mut TaskContext<S, P>) -> impl Future<Output = Result<(), WorkerError>> + Send;
}

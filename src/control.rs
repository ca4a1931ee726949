//! The control panel: background workers that are supervised.
//!
//! A worker is a struct with a [contract](Worker): a monitor, a loader, a scheduler, a syncer. It runs as a thread, as a blocking
//! task or as an async task, pushes through a lane of its own, and is started, watched, restarted and stopped by the panel.
//!
//! ```
//! use std::time::Duration;
//!
//! use mainlane::control::{Backoff, ControlPanel, Next, Worker, WorkerContext, WorkerError};
//! use mainlane::{Class, Effects, Envelope, Event, Pipeline, Reducer, Drive};
//!
//! struct Reading(u64);
//!
//! impl Event for Reading {
//!     type Key = ();
//!     type Facets = ();
//!     fn class(&self) -> Class<()> {
//!         Class::Critical
//!     }
//! }
//!
//! #[derive(Clone, Default)]
//! struct Log(Vec<u64>);
//!
//! impl Reducer for Log {
//!     type Event = Reading;
//!     type Effect = ();
//!     fn apply(&mut self, envelope: &Envelope<'_, Reading>, _: &mut Effects<()>) {
//!         self.0.push(envelope.event.0);
//!     }
//! }
//!
//! /// Reads something once a second.
//! struct Probe;
//!
//! impl Worker<Log> for Probe {
//!     fn turn(&mut self, ctx: &mut WorkerContext<Log>) -> Result<Next, WorkerError> {
//!         let last = ctx.state().0.last().copied().unwrap_or(0);
//!         ctx.lane().push(Reading(last + 1))?;
//!         Ok(Next::After(Duration::from_secs(1)))
//!     }
//! }
//!
//! let (main_lane, handle) = Pipeline::builder(Log::default()).build()?;
//! let mut running = main_lane.spawn(Drive::new())?;
//! let mut panel = ControlPanel::builder().start()?;
//! panel.worker(&handle, "probe", || Ok(Probe)).backoff(Backoff::default()).start()?;
//! # while handle.reader().load().0.is_empty() { std::thread::yield_now() }
//! // At the end the workers first, so that what they push last is applied:
//! assert!(panel.shutdown(Duration::from_secs(5)).complete);
//! assert!(running.shutdown(Duration::from_secs(5)).complete);
//! assert_eq!(handle.reader().load().0, [1]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod panel; // what a host starts, asks, and shuts down
mod spec; // how workers and groups are registered
mod worker; // what a worker is
mod context; // what a worker is given
mod policy; // what workers may do, as one typed value
mod restarts; // when a worker is started again
mod tree; // what a supervisor decides, without a thread or a clock
mod desk; // what everybody shares, and the thread that carries it out
mod run; // one run of a worker
pub(crate) mod wait; // how a worker waits
mod runtime; // what tasks run on
mod status; // how workers are doing
mod changes; // what is told of them on a bus
mod signals; // signals of the system, if a host asks for them
mod error; // what can go wrong in setting up workers

pub mod maintenance; // jobs with priorities and deadlines, a few at once, on that runtime
pub mod memory; // a standard worker: how much memory is used, and when it is too much
pub mod scheduler; // a standard worker: periodic and likely work, within a budget

pub use crate::backoff::Backoff;
pub use changes::{HealthChanged, WorkerChanged};
pub use context::{Congestion, Load, TaskContext, TaskLane, WorkerContext, WorkerLane};
pub use error::ControlError;
pub use panel::{ControlPanel, PanelBuilder};
pub use policy::PolicyReader;
pub use restarts::{Intensity, Restarts, Strategy};
pub use runtime::RuntimeChoice;
pub use signals::{SignalGuard, stop_on_signals};
pub use spec::{GroupSpec, WorkerSpec};
pub use status::{Failure, GroupStatus, Health, PanelReport, RunsAs, Step, WorkerState, WorkerStatus};
pub use tokio_util::sync::CancellationToken;
pub use wait::Woken;
pub use worker::{AsyncWorker, Next, Worker, WorkerError};

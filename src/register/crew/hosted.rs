//! A project that a crew drives.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::core::DROP_DEADLINE;
use crate::main_lane::outcome::Poison;
use crate::main_lane::reduce::Reducer;
use crate::main_lane::report::ShutdownReport;
use crate::pipeline::Handle;
use crate::register::crew::Shared;
use crate::register::crew::seat::{End, GRACE, Seat};
use crate::sync::Mutex;

/// A project that a crew drives. Dropping it shuts the project down.
pub struct Hosted<S: Reducer> {
    seat: Arc<Seat>,
    crew: Arc<Shared>,
    handle: Handle<S>,
    poison: Arc<Mutex<Option<Poison<S::Event>>>>,
}

impl<S: Reducer> Hosted<S> {
    pub(super) fn new(
        seat: Arc<Seat>,
        crew: Arc<Shared>,
        handle: Handle<S>,
        poison: Arc<Mutex<Option<Poison<S::Event>>>>,
    ) -> Self {
        Self { seat, crew, handle, poison }
    }

    /// The project's name.
    pub fn name(&self) -> &Arc<str> {
        &self.seat.name
    }

    /// A handle to the pipeline.
    pub fn handle(&self) -> &Handle<S> {
        &self.handle
    }

    /// True when the main lane has ended: it was closed, or has failed. The crew does not drive it any more.
    pub fn is_finished(&self) -> bool {
        self.seat.has_ended()
    }

    /// Closes the lanes, applies everything accepted, runs the effects, publishes, and joins every thread of this project. Its name
    /// is free then. The other projects do not notice.
    ///
    /// What is left to do is done on the calling thread, after the turn that is under way. What is not done by the deadline is given
    /// up, and reported. Calling it again returns the same report; dropping this does the same with a deadline of five
    /// seconds. A main lane that does not return is put away by its thread when it does, and called for within its own turn it
    /// ends after that.
    pub fn shutdown(&mut self, deadline: Duration) -> ShutdownReport {
        let now = Instant::now();
        let deadline = now.checked_add(deadline).unwrap_or(now + Duration::from_secs(31_536_000));
        let report = self.seat.shut_down(deadline, deadline + GRACE);
        self.crew.forget(&self.seat);
        report
    }

    pub(crate) fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }

    /// How it ended by itself, if it has. A turn that is under way is waited for a while.
    pub(crate) fn end(&self) -> Option<End> {
        self.seat.end_by(Instant::now() + GRACE)
    }

    /// The event on which the reducer panicked, if it did and nobody has taken it.
    pub fn take_poison(&mut self) -> Option<Poison<S::Event>> {
        self.poison.lock().take()
    }
}

impl<S: Reducer> Drop for Hosted<S> {
    fn drop(&mut self) {
        self.shutdown(DROP_DEADLINE);
    }
}

impl<S: Reducer> fmt::Debug for Hosted<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hosted")
            .field("name", &self.seat.name)
            .field("finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}

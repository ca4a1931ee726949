//! The policy: what workers may do, as one typed value that everybody sees the same of.
//!
//! It is part of a pipeline's state. To change it is to push an event like any other: it is applied in its order, recorded by the
//! journal, undone with its operation, and there again after a recovery. The panel looks at each snapshot that is published, and
//! hands the policy on when it is a different one.

use std::sync::Arc;

use tokio::sync::watch;

/// The policy that holds now. Cheap to clone; one for each thread that looks.
pub struct PolicyReader<P> {
    newest: watch::Receiver<Arc<P>>,
    held: Arc<P>,
}

impl<P> PolicyReader<P> {
    pub(crate) fn new(newest: watch::Receiver<Arc<P>>) -> Self {
        let held = newest.borrow().clone();
        let mut reader = Self { newest, held };
        // What it has is what it was told.
        reader.take_newest();
        reader
    }

    /// The policy. Costs an atomic load when it has not changed.
    pub fn load(&mut self) -> &P {
        // An error says that the panel is gone; what it said last may still be news.
        if self.newest.has_changed().unwrap_or(true) {
            self.take_newest();
        }
        &self.held
    }

    /// Waits for another policy than the one that [`load`](PolicyReader::load) returned last. Never resolves when the panel is gone.
    pub async fn changed(&mut self) -> &P {
        if self.newest.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        self.take_newest();
        &self.held
    }

    fn take_newest(&mut self) {
        let newest = self.newest.borrow_and_update().clone();
        // The older one is dropped without the lock.
        self.held = newest;
    }
}

impl<P> Clone for PolicyReader<P> {
    fn clone(&self) -> Self {
        Self { newest: self.newest.clone(), held: self.held.clone() }
    }
}

impl<P> std::fmt::Debug for PolicyReader<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PolicyReader").finish_non_exhaustive()
    }
}

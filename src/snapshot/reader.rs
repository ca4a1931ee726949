//! The readers' side: load, cached load, waiting for a change, being told of one.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::core::Core;
use crate::latch::Latch;
use crate::notifications::{Notifications, listen};
use crate::sync::{AtomicBool, Ordering::Relaxed, prefetch};
use crate::wake::Notice;

use super::{Shelf, Snapshot, Version};

/// What readers and the main lane share.
pub(crate) struct Published<S> {
    pub(crate) shelf: Arc<Shelf<S>>,
    pub(crate) changes: Notifications,
    pub(crate) wanted: Latch,
}

impl<S> Published<S> {
    pub(crate) fn new(state: S, turn: u64) -> Self {
        Self { shelf: Arc::new(Shelf::new(state, turn)), changes: Notifications::new(), wanted: Latch::default() }
    }
}

/// Loads snapshots, from any thread. Cheap to clone.
pub struct Reader<S> {
    published: Arc<Published<S>>,
    core: Arc<Core>,
    seen: Version,
}

impl<S> Clone for Reader<S> {
    fn clone(&self) -> Self {
        Self { published: self.published.clone(), core: self.core.clone(), seen: self.seen }
    }
}

impl<S> Reader<S> {
    pub(crate) fn new(published: Arc<Published<S>>, core: Arc<Core>) -> Self {
        Self { published, core, seen: Version(0) }
    }

    /// The newest snapshot. Never waits, and may be kept as long as one likes.
    ///
    /// Costs an atomic count or two; a loop that reads far more often than the state changes is better served by
    /// [`cached`](Reader::cached).
    pub fn load(&self) -> Arc<Snapshot<S>> {
        self.published.shelf.load()
    }

    /// The version that [`load`](Reader::load) would return, or an older one by a hair.
    pub fn version(&self) -> Version {
        self.published.shelf.version()
    }

    /// A reader for one thread that keeps the snapshot it loaded and looks only whether there is a newer one.
    pub fn cached(&self) -> CachedReader<S> {
        CachedReader { shelf: self.published.shelf.clone(), held: self.load() }
    }

    /// True when the pipeline has ended: what is published now is the last there will be.
    pub fn is_ended(&self) -> bool {
        self.core.is_ended()
    }

    /// Asks for a publication, for pipelines that publish [`on request`](crate::Publish::OnRequest). Returns at once.
    ///
    /// The answer has everything whose push *happened before* this call, from whatever thread, and what is pushed later does not
    /// put it off, however much that is. When all of it is published already there is no further publication.
    pub fn request(&self) {
        // P13: what this thread pushed before is in the answer.
        self.published.wanted.set();
        self.core.bell.ring();
    }

    /// Waits until there is a version that this reader has not been told of, and loads it. `None` when the pipeline has
    /// shut down and there will be none.
    ///
    /// Needs no runtime, and loses nothing when the future is dropped half-way.
    pub async fn changed(&mut self) -> Option<Arc<Snapshot<S>>> {
        loop {
            if let Some(snapshot) = self.unseen() {
                return Some(snapshot);
            }
            let published = self.published.clone();
            listen!(published.changes => change);
            // Looked at again after listening: a publication in between would go unheard.
            if let Some(snapshot) = self.unseen() {
                return Some(snapshot);
            }
            if self.core.is_ended() {
                return self.unseen();
            }
            change.await;
        }
    }

    /// As [`changed`](Reader::changed), blocking this thread until `deadline` at most. `None` when there was none.
    pub fn wait_changed(&mut self, deadline: Instant) -> Option<Arc<Snapshot<S>>> {
        loop {
            if let Some(snapshot) = self.unseen() {
                return Some(snapshot);
            }
            let published = self.published.clone();
            listen!(published.changes => change);
            if let Some(snapshot) = self.unseen() {
                return Some(snapshot);
            }
            if self.core.is_ended() {
                return self.unseen();
            }
            if change.wait_deadline(deadline).is_none() {
                return self.unseen();
            }
        }
    }

    /// The same reader, as one that was told of everything up to this version.
    #[cfg(feature = "control")]
    pub(crate) fn after(&self, seen: Version) -> Self {
        Self { seen, ..self.clone() }
    }

    fn unseen(&mut self) -> Option<Arc<Snapshot<S>>> {
        if self.published.shelf.version() <= self.seen {
            return None;
        }
        let snapshot = self.load();
        self.seen = snapshot.version();
        Some(snapshot)
    }
}

impl<S> fmt::Debug for Reader<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("version", &self.version().as_u64()).finish()
    }
}

/// A reader for hot loops: as long as nothing was published, a load is one look at a number.
///
/// It keeps one snapshot alive until its next load.
pub struct CachedReader<S> {
    shelf: Arc<Shelf<S>>,
    held: Arc<Snapshot<S>>,
}

impl<S> CachedReader<S> {
    /// The version that [`load`](CachedReader::load) returned last.
    #[cfg(feature = "control")]
    pub(crate) fn held_version(&self) -> Version {
        self.held.version
    }

    /// The newest snapshot.
    #[inline]
    pub fn load(&mut self) -> &Snapshot<S> {
        if self.shelf.version() != self.held.version {
            self.refresh();
        }
        &self.held
    }

    /// What [`load`](CachedReader::load) returned last.
    #[inline]
    pub(crate) fn held(&self) -> &Snapshot<S> {
        &self.held
    }

    #[cold]
    fn refresh(&mut self) {
        // Its count goes down in a moment.
        prefetch::counted(Arc::as_ptr(&self.held).addr());
        let newest = self.shelf.load();
        // The cell may be one publication ahead of the version that was seen, never behind it (S2).
        if newest.version > self.held.version {
            self.held = newest;
        }
    }
}

impl<S> Clone for CachedReader<S> {
    fn clone(&self) -> Self {
        Self { shelf: self.shelf.clone(), held: self.held.clone() }
    }
}

impl<S> fmt::Debug for CachedReader<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedReader").field("held", &self.held.version.as_u64()).finish()
    }
}

/// A reader whose host is called back when there is something it has not loaded: the hook for frame loops that sleep.
///
/// At most one call per published snapshot, none while one is unanswered, none lost: the next call comes with the first
/// publication after the [`load`](WakingReader::load) that answered the last.
pub struct WakingReader<S> {
    pub(crate) reader: Reader<S>,
    pub(crate) notice: Arc<Notice>,
    pub(crate) attached: Arc<AtomicBool>,
}

impl<S> WakingReader<S> {
    /// Answers the call, and loads the newest snapshot.
    pub fn load(&self) -> Arc<Snapshot<S>> {
        // Acknowledged before reading: what is published from here on calls again.
        self.notice.acknowledge();
        self.reader.load()
    }

    /// The reader behind it, which answers no call.
    pub fn reader(&self) -> &Reader<S> {
        &self.reader
    }

    /// True when the pipeline has ended and there will be no further call. The hook is called for that too.
    pub fn is_ended(&self) -> bool {
        self.reader.is_ended()
    }
}

impl<S> Drop for WakingReader<S> {
    fn drop(&mut self) {
        self.attached.store(false, Relaxed);
    }
}

impl<S> fmt::Debug for WakingReader<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WakingReader").field("version", &self.reader.version().as_u64()).finish()
    }
}

//! The main lane's side of publication: put in the new, keep the old aside, use it again.
//!
//! # Invariants
//! - **S1 one writer**: only the main lane puts something into the cell and stores the version.
//! - **S2 version behind cell**: the version is stored after the cell has the snapshot, so a reader that sees version *n*
//!   loads a snapshot of version *n* or newer.
//! - **S3 nobody's**: a snapshot is used again only when the publisher alone has it. It rests for [`QUARANTINE`] later publications before
//!   that is looked at, so that those who read the newest are done with it.
//!
//! # Pairs
//! | pair | release                         | acquire                     | hands over                     |
//! |------|---------------------------------|-----------------------------|--------------------------------|
//! | P11  | the cell, `Publisher::put`      | the cell, `Shelf::load`     | the snapshot                   |
//! | P12  | `beside`, `Publisher::put`      | `beside`, `Shelf::version`  | that the cell holds it (S2)    |
//!
//! Model: `loom-tests/src/snapshot.rs`.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::clock::Stamp;
use crate::sync::{
    Arc, NewestCell,
    Ordering::{Acquire, Release},
};

use super::{Snapshot, Version};

/// How many publications a retired snapshot rests before it may be used again, beside the one for which its place was kept.
pub(crate) const QUARANTINE: usize = 1;

/// How many retired snapshots are kept at most. Older ones that readers still hold are left to those readers.
const RETIRED_MAX: usize = 8;

/// Where the newest snapshot lies.
pub(crate) struct Shelf<S> {
    /// And beside it, the version.
    newest: NewestCell<Snapshot<S>>,
}

impl<S> Shelf<S> {
    pub(crate) fn new(state: S, turn: u64) -> Self {
        let first = Snapshot { state, version: Version(0), stamp: Stamp(0), turn };
        Self { newest: NewestCell::new(Arc::new(first)) }
    }

    #[inline]
    pub(crate) fn load(&self) -> Arc<Snapshot<S>> {
        // P11: sees the snapshot as `prepare` made it.
        self.newest.load()
    }

    /// The newest version whose snapshot can be loaded.
    #[inline]
    pub(crate) fn version(&self) -> Version {
        // P12: a load after this finds that version or a newer one.
        Version(self.newest.beside().load(Acquire))
    }
}

/// The one writer of a shelf.
pub(crate) struct Publisher<S> {
    shelf: Arc<Shelf<S>>,
    version: u64,
    retired: VecDeque<Arc<Snapshot<S>>>,
}

impl<S: Clone> Publisher<S> {
    pub(crate) fn new(shelf: Arc<Shelf<S>>) -> Self {
        // One more than the most, so that retiring never allocates.
        Self { shelf, version: 0, retired: VecDeque::with_capacity(RETIRED_MAX + 1) }
    }

    pub(crate) fn version(&self) -> Version {
        Version(self.version)
    }

    /// Publishes a copy of `state`. True if that needed new memory.
    pub(crate) fn publish(&mut self, state: &S, stamp: Stamp, turn: u64) -> bool {
        let (snapshot, allocated) = self.prepare(state, stamp, turn);
        self.put(snapshot);
        allocated
    }

    /// A copy of `state` that is to be the next one published, and whether that needed new memory.
    #[inline]
    pub(crate) fn prepare(&mut self, state: &S, stamp: Stamp, turn: u64) -> (Arc<Snapshot<S>>, bool) {
        let version = Version(self.version + 1);
        match self.recycle() {
            Some(mut snapshot) => {
                if let Some(inside) = Arc::get_mut(&mut snapshot) {
                    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| inside.state.clone_from(state))) {
                        drop_apart(snapshot);
                        resume_unwind(panic);
                    }
                    (inside.version, inside.stamp, inside.turn) = (version, stamp, turn);
                }
                (snapshot, false)
            }
            None => (Arc::new(Snapshot { state: state.clone(), version, stamp, turn }), true),
        }
    }

    /// Publishes what was prepared last.
    #[inline]
    pub(crate) fn put(&mut self, snapshot: Arc<Snapshot<S>>) {
        let version = snapshot.version;
        self.version = version.0;
        // P11: hands the snapshot to `Shelf::load`.
        let older = self.shelf.newest.put(snapshot);
        // P12, S2: after it was put there.
        self.shelf.newest.beside().store(version.0, Release);
        older.into_iter().flatten().for_each(|snapshot| self.retire(snapshot));
    }

    fn retire(&mut self, snapshot: Arc<Snapshot<S>>) {
        self.retired.push_back(snapshot);
        if self.retired.len() > RETIRED_MAX {
            drop_apart(self.retired.pop_front());
        }
    }

    /// Drops those that rest, one by one.
    pub(crate) fn let_go(&mut self) {
        self.retired.drain(..).for_each(drop_apart);
    }

    /// The snapshot that has rested longest and that no reader holds.
    fn recycle(&mut self) -> Option<Arc<Snapshot<S>>> {
        let rested = self.retired.len().saturating_sub(QUARANTINE);
        // The count first: to look whether it is ours alone takes its line from those who hold it.
        let is_free = |held: &mut Arc<Snapshot<S>>| Arc::strong_count(held) == 1 && Arc::get_mut(held).is_some();
        let at = (0..rested).find(|at| is_free(&mut self.retired[*at]))?;
        self.retired.remove(at)
    }
}

/// Drops a value of the host's, which may panic: it must not meet the unwinding of another's panic, nor begin one.
fn drop_apart<T>(value: T) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        // Its own end is the host's code, too.
        std::mem::forget(panic);
    }
}

//! Where the newest value of a register lies: replaced as a whole by one writer at a time, read by anyone without a lock.
//!
//! # Invariants
//! - **G1 one writer at a time**: whoever calls `put` holds the lock of the register that the board belongs to, and gives a
//!   higher revision each time. Readers take no lock.
//! - **G2 number behind cell**: the revision is stored after the cell is swapped, so a reader that sees revision *n* loads the
//!   value of revision *n* or of a newer one.
//! - **G3 whole values**: what was put is never written to again; a change puts another value. So a look sees one revision and
//!   no mixture.
//! - **G4 nothing is used again**: what is swapped out is dropped by the last who has it. Snapshots, which are written to
//!   anew, rest before that (S3); here such a rest would keep a provider alive that was withdrawn, and there is no second writing
//!   that a load under way could meet. That it keeps alive what it loads is the promise of the cell alone.
//!
//! # Pairs
//! | pair | release                  | acquire                     | hands over                  |
//! |------|--------------------------|-----------------------------|-----------------------------|
//! | P15  | the cell, `Board::put`   | the cell, `Board::load`     | the value as it was made    |
//! | P16  | `revision`, `Board::put` | `revision`, `Board::revision` | that the cell holds it (G2) |
//!
//! Model: `loom-tests/src/board.rs`.

use crate::sync::{
    Arc, AtomicU64, CachePadded,
    Ordering::{Acquire, Release},
    SwapCell,
};

/// A value, and which change made it.
pub(crate) struct Dated<T> {
    pub(crate) revision: u64,
    pub(crate) value: T,
}

/// The newest value.
pub(crate) struct Board<T> {
    newest: SwapCell<Dated<T>>,
    revision: CachePadded<AtomicU64>,
}

impl<T> Board<T> {
    /// With its first value, of revision zero.
    pub(crate) fn new(value: T) -> Self {
        Self {
            newest: SwapCell::new(Arc::new(Dated { revision: 0, value })),
            revision: CachePadded::new(AtomicU64::new(0)),
        }
    }

    #[inline]
    pub(crate) fn load(&self) -> Arc<Dated<T>> {
        // P15: sees the value as its writer made it.
        self.newest.load()
    }

    /// The newest revision whose value can be loaded.
    #[inline]
    pub(crate) fn revision(&self) -> u64 {
        // P16: a load after this finds that revision or a newer one.
        self.revision.load(Acquire)
    }

    /// Replaces the value (G1). Returns the one before it, which the caller drops where it holds no lock: the last of it may
    /// run what is the host's.
    #[must_use = "to be dropped outside of the lock"]
    pub(crate) fn put(&self, revision: u64, value: T) -> Arc<Dated<T>> {
        // P15: hands the value to `load`.
        let before = self.newest.swap(Arc::new(Dated { revision, value }));
        // P16, G2: after the swap.
        self.revision.store(revision, Release);
        before
    }
}

/// A value that one reader keeps, and looks only whether there is a newer one.
pub(crate) struct Kept<T>(Arc<Dated<T>>);

impl<T> Kept<T> {
    pub(crate) fn new(board: &Board<T>) -> Self {
        Self(board.load())
    }

    pub(crate) fn held(&self) -> &Dated<T> {
        &self.0
    }

    /// Takes the newest if it is newer; true if it was. One look at a number when nothing has changed.
    #[inline]
    pub(crate) fn refresh(&mut self, board: &Board<T>) -> bool {
        board.revision() != self.0.revision && self.replace(board)
    }

    #[cold]
    fn replace(&mut self, board: &Board<T>) -> bool {
        let newest = board.load();
        // The cell may be one change ahead of the number that was seen, never behind it (G2).
        let is_newer = newest.revision > self.0.revision;
        if is_newer {
            self.0 = newest;
        }
        is_newer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_keeps_what_it_has_until_there_is_something_newer() {
        let board = Board::new('a');
        let mut kept = Kept::new(&board);
        assert!(!kept.refresh(&board));
        let before = board.put(1, 'b');
        assert_eq!((before.value, board.revision(), board.load().value), ('a', 1, 'b'));
        assert_eq!(kept.held().value, 'a');
        assert!(kept.refresh(&board) && !kept.refresh(&board));
        assert_eq!((kept.held().value, kept.held().revision), ('b', 1));
    }

    #[test]
    fn what_is_swapped_out_is_dropped_by_the_last_who_has_it() {
        let board = Board::new(Arc::new(()));
        let mut kept = Kept::new(&board);
        let value = Arc::downgrade(&kept.held().value);
        drop(board.put(1, Arc::new(())));
        assert!(value.upgrade().is_some(), "the reader has it");
        kept.refresh(&board);
        assert!(value.upgrade().is_none());
    }
}

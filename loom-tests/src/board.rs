//! Where the newest value of a register lies: `register/board.rs`.
//!
//! Modelled: a writer that puts two values, each of two halves that loom watches, and a reader that looks three times, as a
//! cached reader does. The cell is as weak as its orderings, see `sync/swap.rs`.
//!
//! Bounds: one reader, two changes. A moment.
//!
//! Must make it fail: weakening either end of P16; storing the revision before the swap; the cell without its release, which
//! is a control arm (P15).

#![expect(unsafe_code, reason = "what a cell of loom's hands out is a pointer")]

use loom::cell::UnsafeCell;
use loom::thread;

use crate::board_file::{Board, Kept};
use crate::sync::{Arc, swap};

/// A value that loom watches, so that one that is read before it is written is found.
struct Watched(UnsafeCell<u64>);

impl Watched {
    fn read(&self) -> u64 {
        // SAFETY: loom watches that nobody writes meanwhile.
        self.0.with(|value| unsafe { *value })
    }
}

/// What was seen to be there is found, and a look never goes back (G2).
pub fn number_behind_cell() {
    swap::keep_all(true);
    let board = Arc::new(Board::new(Watched(UnsafeCell::new(0))));
    let writing = board.clone();
    let writer = thread::spawn(move || {
        for revision in 1..=2 {
            drop(writing.put(revision, Watched(UnsafeCell::new(revision))));
        }
    });
    let mut kept = Kept::new(&board);
    for _ in 0..2 {
        let (before, seen) = (kept.held().revision, board.revision());
        kept.refresh(&board);
        let held = kept.held();
        assert!(held.revision >= before, "back in time");
        assert!(held.revision >= seen, "the number is ahead of the cell");
        assert_eq!(held.value.read(), held.revision);
    }
    writer.join().unwrap();
}

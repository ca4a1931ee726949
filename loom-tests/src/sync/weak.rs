//! What a control arm takes away.

use std::cell::Cell;

/// One guarantee of the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weak {
    /// The hot side's barrier (B1).
    Light,
    /// The cold side's barrier (B1).
    Heavy,
    /// The release of the cell that a board is in (P15).
    Cell,
}

// All threads of a model run on one thread of the system, so this is the model's own.
thread_local!(static WEAK: Cell<Option<Weak>> = const { Cell::new(None) });

pub(crate) fn set(weak: Option<Weak>) {
    WEAK.set(weak);
}

pub(crate) fn is(weak: Weak) -> bool {
    WEAK.get() == Some(weak)
}

pub(crate) fn release(weak: Weak) -> super::Ordering {
    if is(weak) { super::Ordering::Relaxed } else { super::Ordering::Release }
}

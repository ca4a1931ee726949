//! Where nobody may wait for the bus: on threads whose work is what makes the room.

use std::cell::Cell;

thread_local!(static DEPTH: Cell<u32> = const { Cell::new(0) });

/// As long as this lives, its thread does not wait for room.
pub(crate) struct NoWaiting(());

impl NoWaiting {
    pub(crate) fn here() -> Self {
        DEPTH.set(DEPTH.get() + 1);
        Self(())
    }
}

impl Drop for NoWaiting {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

/// True where nobody may wait.
pub(crate) fn is_here() -> bool {
    DEPTH.get() > 0
}

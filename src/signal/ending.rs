//! Whose the end of a bus is while another does the dispatcher's work.
//!
//! Whoever has the lock of that work does it. One who is to end the bus, and cannot have the lock in time, or is called in the middle of the
//! work, leaves the end to whoever has it.
//!
//! # Invariant
//! - **E1 ended by somebody**: an end that was left comes as soon as nobody is at work. By B1 (`sync/store_load.rs`): either the one who
//!   leaves it finds the lock free, or whoever has it finds the flag after letting go of it. One who finds the lock taken then has nothing to
//!   do: whoever took it came later than the flag, and will look at it too. So *everybody* who had the lock looks afterwards.
//!
//! The flag hands over no work, and what was done under the lock is handed over by the lock.
//! Model: `loom-tests/src/ending.rs`.

use crate::latch::Latch;
use crate::sync::StoreLoad;

pub(crate) struct Ending {
    is_left: Latch,
    store_load: StoreLoad,
}

impl Ending {
    pub(crate) fn new(store_load: StoreLoad) -> Self {
        Self { is_left: Latch::default(), store_load }
    }

    /// Leaves the end to whoever is at work, if anybody is.
    pub(crate) fn leave(&self, end_if_free: impl FnOnce()) {
        self.is_left.set();
        // B1: orders the look at the lock behind the flag.
        self.store_load.heavy();
        end_if_free();
    }

    /// For whoever was at work, when the lock is let go of.
    pub(crate) fn after_work(&self, end_if_free: impl FnOnce()) {
        // B1: orders the look at the flag behind the lock.
        self.store_load.light();
        if self.is_left.is_set() {
            end_if_free();
        }
    }
}

//! A flag that one thread sets and another finds: *the pipeline is closing*, *it has ended*, *stop*, *a snapshot is
//! wanted*.
//!
//! # Pairs
//! | pair | release      | acquire                       | hands over                          |
//! |------|--------------|-------------------------------|-------------------------------------|
//! | P13  | `Latch::set` | `Latch::is_set`, `Latch::take`| whatever was done before it was set |
//!
//! Two callers rely on it: a reader that finds the pipeline ended finds its last snapshot too, and a main lane that takes
//! a request for a snapshot finds what was pushed before it was asked.
//!
//! Model: `loom-tests/src/latch.rs`.

use crate::sync::{
    AtomicBool,
    Ordering::{Acquire, Relaxed, Release},
};

/// Set by anybody; looked at, or taken back, by one other.
#[derive(Default)]
pub(crate) struct Latch(AtomicBool);

impl Latch {
    pub(crate) fn set(&self) {
        // P13: hands what was done before it to `is_set` and `take`. A read-modify-write, so that it goes on with the release
        // of whoever set it before: both are heard.
        self.0.swap(true, Release);
    }

    #[inline]
    pub(crate) fn is_set(&self) -> bool {
        // P13: sees what was done before `set`.
        self.0.load(Acquire)
    }

    /// Takes the flag back; true if it was set. Costs a load when it was not.
    #[inline]
    pub(crate) fn take(&self) -> bool {
        // P13: sees what was done before `set`, also before those after the one that the first look saw.
        self.0.load(Relaxed) && self.0.swap(false, Acquire)
    }
}

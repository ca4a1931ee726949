//! A cell that is replaced now and then, and loaded all the time.

use std::sync::Arc;

use arc_swap::ArcSwap;

/// One `Arc`, swapped by one writer and loaded by any number of readers, neither of whom waits for the other.
///
/// Kept this small so that what is behind it can be replaced: `arc-swap` had memory-ordering bugs fixed as late as
/// 1.9.2. Readers take a full `Arc`, never a guard, of which a thread has only a few. A swap costs the more the more threads there are
/// in the process, see `sync/newest.rs`; here nobody swaps often.
pub(crate) struct SwapCell<T>(ArcSwap<T>);

impl<T> SwapCell<T> {
    pub(crate) fn new(value: Arc<T>) -> Self {
        Self(ArcSwap::new(value))
    }

    pub(crate) fn load(&self) -> Arc<T> {
        self.0.load_full()
    }

    /// Makes `value` the newest and returns the one before it.
    pub(crate) fn swap(&self, value: Arc<T>) -> Arc<T> {
        self.0.swap(value)
    }
}

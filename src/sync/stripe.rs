//! Which of several equal things a thread uses, so that threads on different cores seldom use the same.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// How many there are.
pub(crate) const STRIPES: usize = 4;

/// This thread's; always the same.
#[inline]
pub(crate) fn stripe() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static STRIPE: usize = NEXT.fetch_add(1, Relaxed) % STRIPES);
    // A thread that ends may have none any more, where the system's keys hold such values.
    STRIPE.try_with(|stripe| *stripe).unwrap_or_default()
}

//! What the bus has to say of itself: a family of signals like any other.

use std::sync::Arc;

use crate::signal::Signal;

/// Something out of the ordinary on the bus. Each is counted too, see [`FamilyStatus`](crate::signal::FamilyStatus).
///
/// What happens to subscribers of this family is counted alone, and so is what happens once the bus is being shut down.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BusNotice {
    /// Signals were refused as they were published, because the dispatcher was behind.
    Refused {
        /// Of which family.
        family: &'static str,
        /// How many since the last notice.
        count: u64,
    },
    /// A subscriber does not read fast enough, and signals were dropped. Told once until it keeps up again; the subscriber itself is
    /// told what it [missed](crate::signal::Missed).
    Lagging {
        /// Of which family.
        family: &'static str,
        /// The subscription.
        subscriber: Arc<str>,
        /// How many were dropped, at first.
        dropped: u64,
    },
    /// A subscriber held up its family for as long as it may, and is not waited for until it reads.
    Suspended {
        /// Of which family.
        family: &'static str,
        /// The subscription.
        subscriber: Arc<str>,
    },
    /// A handler failed or panicked.
    HandlerFailed {
        /// Of which family.
        family: &'static str,
        /// The subscription.
        subscriber: Arc<str>,
        /// What it said.
        message: String,
        /// True when it was a panic.
        panicked: bool,
        /// True when it will be handed the same signal again.
        again: bool,
    },
    /// A subscription was ended: its handler failed and is called no more, or its keys could not be compared.
    Detached {
        /// Of which family.
        family: &'static str,
        /// The subscription.
        subscriber: Arc<str>,
        /// Why.
        message: String,
    },
}

impl Signal for BusNotice {
    const FAMILY: &'static str = "bus";
}

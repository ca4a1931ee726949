//! Events on which a reducer panicked and that were set aside, until the host takes them.

use std::collections::VecDeque;

use crate::event::Event;
use crate::main_lane::outcome::Poison;
use crate::sync::Mutex;

/// How many are kept. Beyond that they are dropped as they come: the first ones say most.
pub(crate) const QUARANTINED_MAX: usize = 256;

pub(crate) struct Quarantine<E: Event>(Mutex<VecDeque<Poison<E>>>);

impl<E: Event> Quarantine<E> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(VecDeque::new()))
    }

    /// True if there was room to keep it.
    pub(crate) fn add(&self, poison: Poison<E>) -> bool {
        let mut kept = self.0.lock();
        if kept.len() >= QUARANTINED_MAX {
            drop(kept);
            // The host's code.
            let _ = crate::core::contain(|| drop(poison));
            return false;
        }
        kept.push_back(poison);
        true
    }

    /// Takes what is kept, oldest first.
    pub(crate) fn take(&self) -> Vec<Poison<E>> {
        self.0.lock().drain(..).collect()
    }
}

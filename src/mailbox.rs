//! How lanes and readers that are opened while the pipeline runs reach the main lane.
//!
//! Posting takes a lock, looking does not: the main lane reads one number per pass, and opens the box only when that
//! number has changed.
//!
//! # Invariant
//! - **M1 part of the cut**: opening a lane is an event like a push. Each pass of a cut looks here first and counts a
//!   letter as something added, so a lane that was opened, and pushed to, before an event of the cut is in the cut.
//!
//! The letter itself is handed over by the lock. The number beside it is relaxed: that a letter posted before an event of
//! the cut is seen by the last pass needs only the coherence of that number. Model: `loom-tests/src/cut.rs`.

use crate::sync::{AtomicU64, CachePadded, Mutex, Ordering::Relaxed};

pub(crate) struct Mailbox<T> {
    letters: Mutex<Option<Vec<T>>>,
    posted: CachePadded<AtomicU64>,
}

impl<T> Mailbox<T> {
    pub(crate) fn new() -> Self {
        Self { letters: Mutex::new(Some(Vec::new())), posted: CachePadded::new(AtomicU64::new(0)) }
    }

    /// Posts a letter; hands it back when the box is closed for good.
    pub(crate) fn post(&self, letter: T) -> Result<(), T> {
        let mut letters = self.letters.lock();
        match letters.as_mut() {
            Some(letters) => letters.push(letter),
            None => return Err(letter),
        }
        // M1. Inside the lock, so that whoever sees the number and then takes the lock finds the letter.
        self.posted.fetch_add(1, Relaxed);
        Ok(())
    }

    /// How many letters were ever posted.
    #[inline]
    pub(crate) fn posted(&self) -> u64 {
        self.posted.load(Relaxed)
    }

    /// Takes the letters that are there.
    pub(crate) fn collect(&self) -> Vec<T> {
        self.letters.lock().as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Refuses letters from now on, if none is there. True if it did, or had before.
    ///
    /// Looking and closing are one step: a lane that was opened in between would have accepted events that nobody applies.
    pub(crate) fn close_if_empty(&self) -> bool {
        let mut letters = self.letters.lock();
        if letters.as_ref().is_some_and(|letters| !letters.is_empty()) {
            return false;
        }
        *letters = None;
        true
    }

    /// Refuses letters from now on, and takes those that are there.
    pub(crate) fn close(&self) -> Vec<T> {
        self.letters.lock().take().unwrap_or_default()
    }
}

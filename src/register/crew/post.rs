//! What a thread of a crew is doing, for the one who watches it.
//!
//! One word for each thread: the number of its turn, the project that the turn is of, and whether it was called stuck.
//!
//! # Invariant
//! - **Y5 one verdict**: a turn is ended, or is called stuck and ended later. Both are read-modify-writes on the word: who is first
//!   is seen by the other. A turn that has ended is never called stuck, for no other of that thread has its number, but for
//!   the one that is 4,294,967,296 turns later.
//!
//! The word hands over no data. Model: `loom-tests/src/ready.rs`.

use crate::sync::{AtomicU64, Ordering::Relaxed};

/// A turn that was called stuck.
const STUCK: u64 = 1 << 31;
/// What there is room for of a project's number.
const PROJECTS: u64 = STUCK - 1;

/// Written by its thread, read by the watch.
#[derive(Default)]
pub(crate) struct Post(AtomicU64);

/// A turn that is under way, as the watch saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen(u64);

impl Seen {
    /// True if this turn is of that project, as far as a word can tell.
    pub(crate) fn is_of(self, project: u64) -> bool {
        self.0 & PROJECTS == project & PROJECTS
    }
}

impl Post {
    /// A turn begins. `turn` is never zero in its low half.
    pub(crate) fn begin(&self, turn: u32, project: u64) {
        self.0.store(u64::from(turn) << 32 | project & PROJECTS, Relaxed);
    }

    /// The turn is over. True if it was called stuck.
    #[must_use]
    pub(crate) fn end(&self) -> bool {
        // Y5
        self.0.swap(0, Relaxed) & STUCK != 0
    }

    /// The turn that is under way and was not called stuck.
    pub(crate) fn look(&self) -> Option<Seen> {
        let word = self.0.load(Relaxed);
        (word != 0 && word & STUCK == 0).then_some(Seen(word))
    }

    /// Calls a turn stuck. False if it is over.
    #[must_use]
    pub(crate) fn call_stuck(&self, seen: Seen) -> bool {
        // Y5
        self.0.compare_exchange(seen.0, seen.0 | STUCK, Relaxed, Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_seen_while_it_is_under_way_and_is_called_stuck_once() {
        let post = Post::default();
        assert_eq!(post.look(), None);
        post.begin(1, 7);
        let seen = post.look().unwrap();
        assert!(seen.is_of(7) && !seen.is_of(8));
        assert!(post.call_stuck(seen) && !post.call_stuck(seen));
        assert_eq!(post.look(), None);
        assert!(post.end() && !post.end());
    }

    #[test]
    fn a_turn_that_is_over_is_not_called_stuck_nor_is_the_next_of_the_same_project() {
        let post = Post::default();
        post.begin(1, 7);
        let seen = post.look().unwrap();
        assert!(!post.end());
        assert!(!post.call_stuck(seen));
        post.begin(2, 7);
        assert!(!post.call_stuck(seen));
        assert!(!post.end());
    }

    #[test]
    fn a_project_whose_number_is_too_long_does_not_look_stuck() {
        let post = Post::default();
        post.begin(u32::MAX, u64::MAX);
        assert!(post.look().is_some_and(|seen| seen.is_of(u64::MAX)));
        assert!(!post.end());
    }
}

//! The recent past, kept in memory: undo and redo, quarantine, a look back.
//!
//! One mechanism carries all of it. The reducer is deterministic, so the state of any moment is an older state with the
//! events since then applied to it; leave some of them out, or put them back, and it is the state that there would be
//! without or with them. A timeline keeps cheap copies of the state (checkpoints) and the events between them, within a
//! window.

pub(crate) mod history; // checkpoints and entries, rewind, look back
pub(crate) mod check; // is the reducer what it must be?
mod operations; // whose operations there are, and which are undone
mod changes; // when they were undone and redone
mod again; // applying anew what was applied before
#[cfg(test)]
mod history_tests;
#[cfg(test)]
mod history_scripts;
#[cfg(test)]
mod history_twin;
pub(crate) mod ask; // what can be asked of a timeline, and what it answers

pub use ask::{Rewind, RewindError, RewindKind, TimelineError};

/// How much of the past a pipeline keeps.
///
/// # What can be undone
/// An operation whose end was applied, and whose events are all within the window. It belongs to the origin of its first
/// event. An origin's undo takes out the operation of its own that ended last; if that one is no longer within the window,
/// the answer says so, and no older end is taken out in its place. An origin's redo puts back what it had undone last,
/// until a new operation of its own ends. Events of others stay, those that came later too, and so do refusals: an event
/// that was refused, or set aside, is no part of the past; an operation whose start was begins with what was applied.
/// Effects are not run again. An event of an operation that comes after the operation was undone stands.
///
/// A timeline that begins later than the pipeline's past, after a recovery or because it is a new one, knows which operations
/// were open or had ended by then. Whatever comes of those is not all of them, so they are beyond its window; also those of
/// which there was nothing but what the reducer refused or panicked on, be it their start or a part of their middle.
///
/// # Cost
/// Memory: the events of the window and a checkpoint's worth more (a batch that is larger than that stays until a window's
/// worth came after it), and one copy of the state per checkpoint; persistent maps share what has not changed between
/// copies. Time: an undo applies the events from the one it takes out to the present, at most the window; a quarantine at
/// most a checkpoint's worth of events, and those of its batch. A rewind is done as a whole, whatever a turn's
/// [budget](crate::Budget) says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Timeline {
    pub(crate) window: usize,
    pub(crate) checkpoint_every: usize,
}

impl Timeline {
    /// Keeps the newest `events` events at least, 1 or more, and a checkpoint every 1,024.
    pub fn window(events: usize) -> Self {
        Self { window: events.max(1), checkpoint_every: 1024 }
    }

    /// A checkpoint after so many events, 1 at least: more of them cost a copy of the state each, fewer make rewinds slower.
    pub fn checkpoint_every(mut self, events: usize) -> Self {
        self.checkpoint_every = events.max(1);
        self
    }
}

#[cfg(feature = "journal")]
impl Timeline {
    /// How many events it may keep, but for the largest batch.
    pub(crate) fn reach(&self) -> u64 {
        (self.window as u64).saturating_add((self.checkpoint_every as u64).saturating_mul(2))
    }
}

impl Default for Timeline {
    /// A window of 65,536 events.
    fn default() -> Self {
        Self::window(1 << 16)
    }
}

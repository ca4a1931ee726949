//! Coherent state for any number of readers.
//!
//! The main lane publishes; readers load. Neither waits for the other: a reader that sits on a snapshot for an hour costs
//! the memory of that snapshot and nothing else.

mod publisher;
mod reader;
mod view;

use std::fmt;
use std::ops::Deref;

use crate::clock::Stamp;

pub(crate) use publisher::{Publisher, Shelf};
pub(crate) use reader::Published;
pub use reader::{CachedReader, Reader, WakingReader};
pub use view::{View, Viewed};

/// The state after a whole number of turns.
///
/// Dereferences to the state.
// In this order: what readers look at first is on the line of the count that they have to take anyway.
#[derive(Clone)]
#[repr(C)]
pub struct Snapshot<S> {
    pub(crate) version: Version,
    pub(crate) stamp: Stamp,
    pub(crate) turn: u64,
    pub(crate) state: S,
}

impl<S> Snapshot<S> {
    /// The state.
    pub fn state(&self) -> &S {
        &self.state
    }

    /// Which publication this is. Never goes back for any reader.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The bound of the newest cut that is in this state as a whole: every critical event of a clocked lane whose push
    /// returned before that cut began is in, and so is every lossy one, unless a newer one of its key has taken it in and
    /// is still to come. Never goes back for any reader.
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// How many turns that applied something came before this.
    pub fn turn(&self) -> u64 {
        self.turn
    }
}

impl<S> Deref for Snapshot<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.state
    }
}

impl<S> fmt::Debug for Snapshot<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("version", &self.version.0)
            .field("stamp", &self.stamp.as_u64())
            .field("turn", &self.turn)
            .finish_non_exhaustive()
    }
}

/// The number of a publication, counted from zero, which is the state the pipeline was built with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub(crate) u64);

impl Version {
    /// The version as a number.
    pub fn as_u64(self) -> u64 {
        self.0
    }
}

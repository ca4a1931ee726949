//! What an adapter is given to show: a state that it can read, and neither change nor make.
//!
//! A [`View`] is got from a [`Snapshot`] and from nowhere else, and a [`Viewed`] from a view. Neither can be made from a value of
//! one's own, and neither hands out anything that can be written to. So a function that takes a `View<'_, S>` is given what a main
//! lane published, and one that takes a `Viewed<T>` something that was made while looking at that, with the version it was made of.

use std::fmt;
use std::ops::Deref;

use crate::clock::Stamp;

use super::{Snapshot, Version};

/// A published state, to be read. Dereferences to it.
///
/// ```
/// # use mainlane::{Class, Effects, Envelope, Event, Pipeline, Reducer, View, Viewed};
/// # struct Tick;
/// # impl Event for Tick {
/// #     type Key = ();
/// #     type Facets = ();
/// #     fn class(&self) -> Class<()> { Class::Critical }
/// # }
/// # #[derive(Clone)]
/// # struct Count { ticks: u64 }
/// # impl Reducer for Count {
/// #     type Event = Tick;
/// #     type Effect = ();
/// #     fn apply(&mut self, _: &Envelope<'_, Tick>, _: &mut Effects<()>) { self.ticks += 1 }
/// # }
/// /// An adapter: it cannot be given anything that no main lane has published.
/// fn title(view: View<'_, Count>) -> Viewed<String> {
///     view.map(|state| format!("{} ticks", state.ticks))
/// }
///
/// let (_main_lane, handle) = Pipeline::builder(Count { ticks: 0 }).build()?;
/// let snapshot = handle.reader().load();
/// let title = title(snapshot.view());
/// assert_eq!((title.as_str(), title.version()), ("0 ticks", snapshot.version()));
/// # Ok::<(), mainlane::Error>(())
/// ```
///
/// What it cannot stop is a state that can be changed through a shared reference, by a lock or an atomic in it: a state of that
/// kind breaks the promise of a snapshot, too. Nor does it say of which pipeline it is; whoever took the snapshot knows.
pub struct View<'a, S>(&'a Snapshot<S>);

impl<S> Snapshot<S> {
    /// The state, for whoever is to show it.
    pub fn view(&self) -> View<'_, S> {
        View(self)
    }
}

impl<'a, S> View<'a, S> {
    /// The state.
    pub fn state(self) -> &'a S {
        &self.0.state
    }

    /// Which publication it is.
    pub fn version(self) -> Version {
        self.0.version
    }

    /// As [`Snapshot::stamp`].
    pub fn stamp(self) -> Stamp {
        self.0.stamp
    }

    /// As [`Snapshot::turn`].
    pub fn turn(self) -> u64 {
        self.0.turn
    }

    /// What `project` makes of the state, owned or borrowed from it, with the version that it was made of. What that says is the
    /// adapter's own word; it is a [`Viewed`] and never again a view.
    pub fn map<T>(self, project: impl FnOnce(&'a S) -> T) -> Viewed<T> {
        let Snapshot { state, version, stamp, turn } = self.0;
        Viewed { value: project(state), version: *version, stamp: *stamp, turn: *turn }
    }
}

// By hand: a derive would ask it of the state.
impl<S> Clone for View<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for View<'_, S> {}

impl<S> Deref for View<'_, S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.0.state
    }
}

impl<S> fmt::Debug for View<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("version", &self.0.version.0).field("turn", &self.0.turn).finish_non_exhaustive()
    }
}

/// Something that was made of a published state, and of which version of it. Dereferences to what was made.
///
/// Two of the same reader and the same version show one state. It is compared with its version: what looks the same, and was
/// made of another version, is not equal; compare what was made to leave the version out.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Viewed<T> {
    value: T,
    version: Version,
    stamp: Stamp,
    turn: u64,
}

impl<T> Viewed<T> {
    /// Which publication it was made of.
    pub fn version(&self) -> Version {
        self.version
    }

    /// As [`Snapshot::stamp`].
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// As [`Snapshot::turn`].
    pub fn turn(&self) -> u64 {
        self.turn
    }

    /// Something made of this, of the same version.
    pub fn map<U>(self, project: impl FnOnce(T) -> U) -> Viewed<U> {
        let Self { value, version, stamp, turn } = self;
        Viewed { value: project(value), version, stamp, turn }
    }

    /// A part of it, borrowed.
    pub fn borrowed(&self) -> Viewed<&T> {
        Viewed { value: &self.value, version: self.version, stamp: self.stamp, turn: self.turn }
    }

    /// What was made, without its version.
    pub fn into_inner(self) -> T {
        self.value
    }
}

impl<T> Deref for Viewed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: fmt::Debug> fmt::Debug for Viewed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Viewed").field("value", &self.value).field("version", &self.version.0).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Snapshot<Vec<u8>> {
        Snapshot { state: vec![1, 2, 3], version: Version(4), stamp: Stamp(5), turn: 6 }
    }

    #[test]
    fn a_view_is_the_snapshots_state_and_place() {
        let snapshot = snapshot();
        let view = snapshot.view();
        assert_eq!((view.len(), view.version(), view.stamp(), view.turn()), (3, Version(4), Stamp(5), 6));
        assert!(std::ptr::eq(view.state(), snapshot.state()));
        assert_eq!(format!("{view:?}"), "View { version: 4, turn: 6, .. }");
    }

    #[test]
    fn what_is_made_of_a_view_keeps_its_place_however_often_it_is_mapped() {
        let snapshot = snapshot();
        let borrowed = snapshot.view().map(|state| &state[1..]);
        assert_eq!(*borrowed, [2, 3]);
        let owned = borrowed.map(<[u8]>::to_vec);
        let length = owned.borrowed().map(Vec::len);
        drop(snapshot);
        assert_eq!((*length, length.version(), length.stamp(), length.turn()), (2, Version(4), Stamp(5), 6));
        assert_eq!(format!("{length:?}"), "Viewed { value: 2, version: 4, .. }");
        assert_eq!(owned.into_inner(), [2, 3]);
    }

    #[test]
    fn what_was_made_of_another_version_is_not_equal() {
        let (one, mut other) = (snapshot(), snapshot());
        other.version = Version(5);
        let sum = |snapshot: &Snapshot<Vec<u8>>| snapshot.view().map(|state| state.iter().sum::<u8>());
        assert_eq!(sum(&one), sum(&one));
        assert_ne!(sum(&one), sum(&other));
        assert_eq!(*sum(&one), *sum(&other));
    }
}

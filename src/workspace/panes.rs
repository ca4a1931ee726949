//! The panes of a workspace, and how much they hold.

use std::ops::Deref;
use std::sync::Arc;

use imbl::OrdMap;

use super::event::PaneId;
use super::state::Pane;

/// The panes by their numbers. Read as the map that it is; changed in ways that keep count of what they hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Panes {
    by_id: OrdMap<PaneId, Arc<Pane>>,
    /// The sum over all panes.
    held: u64,
}

impl Panes {
    /// How many bytes the panes hold: each a fixed part, its texts and its scrollback. Text that copies of the state share
    /// counts once. What it takes to find them, and what an allocator adds, is not counted.
    pub fn held_bytes(&self) -> u64 {
        self.held
    }

    /// Puts a pane in the place of the one with this number, which is returned.
    pub fn insert(&mut self, id: PaneId, pane: Arc<Pane>) -> Option<Arc<Pane>> {
        self.held += pane.held_bytes();
        let before = self.by_id.insert(id, pane);
        self.held -= before.as_ref().map_or(0, |before| before.held_bytes());
        before
    }

    /// Takes a pane out.
    pub fn remove(&mut self, id: &PaneId) -> Option<Arc<Pane>> {
        let before = self.by_id.remove(id);
        self.held -= before.as_ref().map_or(0, |before| before.held_bytes());
        before
    }

    /// Changes a pane, which is a new one if there was none with this number.
    pub fn update<T>(&mut self, id: PaneId, change: impl FnOnce(&mut Pane) -> T) -> T {
        let mut is_new = false;
        let new = || {
            is_new = true;
            Arc::default()
        };
        let pane = Arc::make_mut(self.by_id.entry(id).or_insert_with(new));
        let before = if is_new { 0 } else { pane.held_bytes() };
        let outcome = change(pane);
        self.held = self.held + pane.held_bytes() - before;
        outcome
    }
}

impl Deref for Panes {
    type Target = OrdMap<PaneId, Arc<Pane>>;

    fn deref(&self) -> &Self::Target {
        &self.by_id
    }
}

impl<'a> IntoIterator for &'a Panes {
    type Item = (&'a PaneId, &'a Arc<Pane>);
    type IntoIter = <&'a OrdMap<PaneId, Arc<Pane>> as IntoIterator>::IntoIter;

    fn into_iter(self) -> Self::IntoIter {
        (&self.by_id).into_iter()
    }
}

impl From<OrdMap<PaneId, Arc<Pane>>> for Panes {
    fn from(by_id: OrdMap<PaneId, Arc<Pane>>) -> Self {
        let held = by_id.values().map(|pane| pane.held_bytes()).sum();
        Self { by_id, held }
    }
}

#[cfg(feature = "journal")]
mod encode {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::super::encode::map;
    use super::*;

    impl Serialize for Panes {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            map::serialize(&self.by_id, serializer)
        }
    }

    impl<'de> Deserialize<'de> for Panes {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            map::deserialize(deserializer).map(|by_id: OrdMap<_, _>| by_id.into())
        }
    }
}

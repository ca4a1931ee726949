//! What came, changed and went in a registry, in order, for whoever listens.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::capability::{Capability, Support};
use super::provider::Holder;
use super::registry::{Interface, Shared};
use crate::notifications::listen;
use crate::origin::Origin;

/// How many announcements a registry keeps for those who listen. Whoever is further behind is told how many it missed, and
/// what there is now.
pub const ANNOUNCEMENTS: usize = 1024;

/// Something that changed in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement<K> {
    /// Which change of this registry it is, counted from one, without gaps.
    pub revision: u64,
    /// The interface.
    pub interface: &'static str,
    /// The provider's key.
    pub key: K,
    /// The provider's name.
    pub provider: &'static str,
    /// What changed.
    pub change: Change,
}

/// What changed in a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// A provider came.
    Registered,
    /// A provider took the place of the one with its name.
    Replaced,
    /// A provider left.
    Withdrawn,
}

impl<K: fmt::Display> fmt::Display for Announcement<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { interface, key, provider, change, .. } = self;
        let change = match change {
            Change::Registered => "registered",
            Change::Replaced => "replaced",
            Change::Withdrawn => "withdrawn",
        };
        write!(f, "{interface}@{provider} for {key}: {change}")
    }
}

/// What is in a registry at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing<K> {
    /// How many changes came before.
    pub revision: u64,
    /// The providers: by key, then rank, then name.
    pub providers: Vec<Row<K>>,
}

/// A provider in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row<K> {
    /// Its key.
    pub key: K,
    /// Its name.
    pub provider: &'static str,
    /// Who its events are about.
    pub origin: Origin,
    /// Its rank.
    pub rank: u32,
    /// The revision that it came with.
    pub number: u64,
    /// How far it supports what the interface names.
    pub support: Vec<(Capability, Support)>,
    /// Who has leases of it.
    pub holders: Vec<Holder>,
}

/// What a follower hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard<K> {
    /// Something changed.
    Announced(Announcement<K>),
    /// The follower was too far behind. What it hears next comes after this listing.
    Missed {
        /// How many announcements.
        count: u64,
        /// What there is instead.
        now: Listing<K>,
    },
}

/// The newest announcements.
pub(super) struct Log<K> {
    newest: VecDeque<Announcement<K>>,
}

impl<K: Clone> Log<K> {
    pub(super) fn new() -> Self {
        Self { newest: VecDeque::new() }
    }

    /// Returns what gives way, which is dropped when it is told of and no lock is held: keys are the host's.
    #[must_use = "to be dropped outside of the lock"]
    pub(super) fn push(&mut self, announcement: Announcement<K>) -> Option<Announcement<K>> {
        self.newest.push_back(announcement);
        if self.newest.len() > ANNOUNCEMENTS { self.newest.pop_front() } else { None }
    }

    /// The first after `heard`; or how many are gone for good.
    fn after(&self, heard: u64) -> Result<Option<&Announcement<K>>, u64> {
        let Some(first) = self.newest.front() else { return Ok(None) };
        match (heard + 1).checked_sub(first.revision) {
            None => Err(first.revision - heard - 1),
            Some(at) => Ok(usize::try_from(at).ok().and_then(|at| self.newest.get(at))),
        }
    }
}

/// Hears of every change of a registry, in order, each once. See [`Registry::follow`](super::Registry::follow).
///
/// It keeps no queue of its own: a follower that never listens costs nothing.
pub struct Follower<I: Interface + ?Sized> {
    shared: Arc<Shared<I>>,
    heard: u64,
}

impl<I: Interface + ?Sized> Follower<I> {
    pub(super) fn new(shared: Arc<Shared<I>>, heard: u64) -> Self {
        Self { shared, heard }
    }

    /// True when there is something that has not been heard. The answer stands for as long as the desk is locked.
    pub(super) fn is_behind(&self) -> bool {
        self.shared.shelves.revision() != self.heard
    }

    /// The next of what has not been heard, if there is any. Never waits for what is to come.
    #[allow(clippy::should_implement_trait, reason = "an iterator that ends may go on later, and this one never ends")]
    pub fn next(&mut self) -> Option<Heard<I::Key>> {
        // Without the lock when there is nothing: a frame loop asks often.
        if !self.is_behind() {
            return None;
        }
        let desk = self.shared.desk.lock();
        match desk.log.after(self.heard) {
            Ok(None) => None,
            Ok(Some(announcement)) => {
                self.heard = announcement.revision;
                Some(Heard::Announced(announcement.clone()))
            }
            Err(count) => {
                // What is kept is told of by the listing, too: all of it is missed. Nothing changes meanwhile (R-one desk).
                let count = count + desk.log.newest.len() as u64;
                self.heard = self.shared.shelves.revision();
                Some(Heard::Missed { count, now: self.shared.listing() })
            }
        }
    }

    /// As [`next`](Follower::next), blocking this thread until `deadline` at most.
    pub fn wait(&mut self, deadline: Instant) -> Option<Heard<I::Key>> {
        loop {
            if let Some(heard) = self.next() {
                return Some(heard);
            }
            let shared = self.shared.clone();
            listen!(shared.changes => change);
            // Looked at again after listening: a change in between would go unheard.
            if let Some(heard) = self.next() {
                return Some(heard);
            }
            if change.wait_deadline(deadline).is_none() {
                return self.next();
            }
        }
    }

    /// The next of what has not been heard. Needs no runtime, and loses nothing when the future is dropped half-way.
    pub async fn heard(&mut self) -> Heard<I::Key> {
        loop {
            if let Some(heard) = self.next() {
                return heard;
            }
            let shared = self.shared.clone();
            listen!(shared.changes => change);
            if let Some(heard) = self.next() {
                return heard;
            }
            change.await;
        }
    }
}

impl<I: Interface + ?Sized> fmt::Debug for Follower<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").field("interface", &I::NAME).field("heard", &self.heard).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_knows_what_is_gone() {
        let mut log = Log::new();
        assert_eq!(log.after(0), Ok(None));
        let announcement =
            |revision| Announcement { revision, interface: "i", key: 1, provider: "p", change: Change::Withdrawn };
        let last = ANNOUNCEMENTS as u64 + 3;
        let gone: Vec<_> = (1..=last).filter_map(|revision| log.push(announcement(revision))).collect();
        assert_eq!(gone, [announcement(1), announcement(2), announcement(3)]);
        assert_eq!(log.newest.len(), ANNOUNCEMENTS);
        assert_eq!((log.after(0), log.after(2)), (Err(3), Err(1)));
        assert_eq!(log.after(3), Ok(Some(&announcement(4))));
        assert_eq!((log.after(last - 1), log.after(last)), (Ok(Some(&announcement(last))), Ok(None)));
        assert_eq!(announcement(1).to_string(), "i@p for 1: withdrawn");
    }
}

//! The slow, obviously right twin of the mirror: a file system of the simplest sort, and a reader that applies facts.

use std::path::Path;
use std::sync::Arc;

use super::event::EntryKind;
use super::mirror::{Entries, EntryMirror, Fact, Fit};

/// What there is, one line for each entry.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk(Vec<(String, EntryKind)>);

/// One thing that somebody does to a disk.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Create(String, EntryKind),
    Remove(String),
    Rename(String, String),
}

impl Step {
    /// The entry that it is done to.
    pub(super) fn path(&self) -> &str {
        match self {
            Step::Create(path, _) | Step::Remove(path) | Step::Rename(path, _) => path,
        }
    }
}

impl Disk {
    pub(super) fn kind(&self, path: &str) -> Option<EntryKind> {
        self.0.iter().find(|(known, _)| known == path).map(|(_, kind)| *kind)
    }

    /// Does what a file system would do; false when it would refuse.
    pub(super) fn run(&mut self, step: &Step) -> bool {
        match step {
            Step::Create(path, kind) => {
                let possible = self.kind(path).is_none() && self.has_place(path);
                if possible {
                    self.0.push((path.clone(), *kind));
                }
                possible
            }
            Step::Remove(path) => {
                let possible = self.kind(path).is_some();
                self.remove(path);
                possible
            }
            Step::Rename(from, to) => {
                if self.kind(from).is_none() || !self.has_place(to) || from == to || is_below(to, from) {
                    return false;
                }
                if is_below(from, to) {
                    return false;
                }
                self.remove(to);
                for (path, _) in &mut self.0 {
                    if path == from || is_below(path, from) {
                        *path = format!("{to}{}", &path[from.len()..]);
                    }
                }
                true
            }
        }
    }

    pub(super) fn entries(&self) -> Entries {
        self.0.iter().map(|(path, kind)| (Path::new(path).into(), *kind)).collect()
    }

    fn has_place(&self, path: &str) -> bool {
        path.rsplit_once('/').is_none_or(|(parent, _)| self.kind(parent) == Some(EntryKind::Folder))
    }

    fn remove(&mut self, path: &str) {
        self.0.retain(|(known, _)| known != path && !is_below(known, path));
    }
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// Tells a mirror of a step. `kind` is what the entry was, where that is known.
pub(super) fn tell(mirror: &mut EntryMirror, step: &Step, kind: Option<EntryKind>, facts: &mut Vec<Fact>) -> Fit {
    let at = |path: &String| -> Arc<Path> { Path::new(path).into() };
    match step {
        Step::Create(path, kind) => mirror.created(&at(path), *kind, facts),
        Step::Remove(path) => mirror.removed(&at(path), kind, facts),
        Step::Rename(from, to) => mirror.renamed(&at(from), &at(to), kind.unwrap_or(EntryKind::File), facts),
    }
}

/// Applies facts the way a reader of the events does.
pub(super) fn follow(entries: &mut Entries, facts: &[Fact]) {
    for fact in facts {
        match fact {
            Fact::Created { path, kind } => {
                assert_eq!(entries.insert(Arc::clone(path), *kind), None, "created twice: {fact:?}");
            }
            Fact::Removed { path } => {
                assert!(entries.remove(path).is_some(), "removed twice: {fact:?}");
            }
            // Counts, but changes nothing.
            Fact::Renamed { from, .. } if !entries.contains_key(from) => {}
            Fact::Renamed { from, to, replaced } => {
                let before = entries.len();
                entries.retain(|path, _| !path.starts_with(to));
                assert_eq!((before - entries.len()) as u64, *replaced, "{fact:?}");
                *entries =
                    std::mem::take(entries).into_iter().map(|(path, kind)| (moved(path, from, to), kind)).collect();
            }
            Fact::Modified { .. } => {}
        }
    }
}

/// The path of an entry after `from` was renamed to `to`.
fn moved(path: Arc<Path>, from: &Path, to: &Arc<Path>) -> Arc<Path> {
    match path.strip_prefix(from) {
        Err(_) => path,
        Ok(below) if below.as_os_str().is_empty() => Arc::clone(to),
        Ok(below) => to.join(below).into(),
    }
}

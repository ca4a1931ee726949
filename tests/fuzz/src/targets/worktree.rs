//! From a disk to its mirror, by way of a watcher's reports: `src/workspace/translate.rs` and `src/workspace/mirror.rs`
//! together.
//!
//! What somebody does to a disk is reported as Linux does it: in two parts for a new name, twice for the end of a folder,
//! with other news in between. Then the mirror equals the disk, and so does whoever applies the facts, after every step,
//! and each entry that came or went, and each new name, is counted once. Only where the reports cannot say enough is the
//! disk looked at: what is in a folder that came in from elsewhere.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use notify::Event;
use notify::event::{AccessKind, CreateKind, DataChange, EventKind, ModifyKind, RemoveKind, RenameMode};

use super::mirror::{any_path, any_step};
use crate::choices::Choices;
use crate::event::EntryKind;
use crate::mirror::{Entries, EntryMirror, Fact, Fit};
use crate::mirror_twin::{Disk, Step, follow};
use crate::translate::{Change, Translator, matters};

const ROOT: &str = "/top";

struct Scenario {
    disk: Disk,
    translator: Translator,
    mirror: EntryMirror,
    followed: Entries,
    now: Instant,
    trackers: usize,
    happened: Counts,
    told: Counts,
}

/// Entries that came and went, and new names.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    created: usize,
    removed: usize,
    renamed: usize,
}

pub(super) fn check(data: &[u8]) {
    let mut choices = Choices::new(data);
    let mut scenario = Scenario {
        disk: Disk::default(),
        translator: Translator::new(ROOT.into()),
        mirror: EntryMirror::default(),
        followed: Entries::new(),
        now: Instant::now(),
        trackers: 0,
        happened: Counts::default(),
        told: Counts::default(),
    };
    while choices.are_left() {
        let noise = choices.yes().then(|| any_path(&mut choices));
        match choices.below(8) {
            0 => scenario.leave(&any_path(&mut choices), noise),
            1 => scenario.come_in(&any_path(&mut choices), choices.yes()),
            _ => scenario.step(&any_step(&mut choices), noise),
        }
        scenario.expire();
        assert_eq!(scenario.followed, scenario.disk.entries());
        assert_eq!(scenario.told, scenario.happened);
        let known = &scenario.mirror;
        assert_eq!(known.differences(Path::new(""), &scenario.followed, &[]), []);
        assert_eq!(known.len(), scenario.followed.len());
    }
}

impl Scenario {
    /// Does something to the disk, if that can be done, and counts it.
    fn run(&mut self, step: &Step) -> bool {
        let before = self.disk.entries().len();
        if !self.disk.run(step) {
            return false;
        }
        let after = self.disk.entries().len();
        self.happened.created += after.saturating_sub(before);
        self.happened.removed += before.saturating_sub(after);
        self.happened.renamed += usize::from(matches!(step, Step::Rename(..)));
        true
    }

    fn step(&mut self, step: &Step, noise: Option<String>) {
        let before = self.disk.clone();
        if !self.run(step) {
            return;
        }
        match step {
            Step::Create(path, kind) => {
                let create = if *kind == EntryKind::Folder { CreateKind::Folder } else { CreateKind::File };
                self.report(about(EventKind::Create(create), path));
                self.noise(noise);
            }
            Step::Remove(path) => {
                self.noise(noise);
                self.report_removal(&before, path);
            }
            Step::Rename(from, to) => {
                if before.kind(to) == Some(EntryKind::Folder) {
                    // Only an empty one can be replaced: as if it had been removed before.
                    self.report_removal(&before, to);
                }
                self.trackers += 1;
                self.report(name(RenameMode::From, from, self.trackers));
                self.noise(noise);
                self.report(name(RenameMode::To, to, self.trackers));
                self.report(name(RenameMode::Both, from, self.trackers).add_path(Path::new(ROOT).join(to)));
                if before.kind(from) == Some(EntryKind::Folder) {
                    self.report(about(EventKind::Modify(ModifyKind::Name(RenameMode::From)), from));
                }
            }
        }
    }

    /// What is deepest goes first; a folder tells of its end, and so does its parent.
    fn report_removal(&mut self, before: &Disk, path: &str) {
        for (gone, kind) in before.entries().into_iter().rev().filter(|(gone, _)| gone.starts_with(path)) {
            let gone = gone.to_str().expect("made of names");
            match kind {
                EntryKind::File => self.report(about(EventKind::Remove(RemoveKind::File), gone)),
                EntryKind::Folder => {
                    self.report(about(EventKind::Remove(RemoveKind::Folder), gone));
                    self.report(about(EventKind::Remove(RemoveKind::Folder), gone));
                }
            }
        }
    }

    /// An entry moves to somewhere that is not watched.
    fn leave(&mut self, path: &str, noise: Option<String>) {
        if !self.run(&Step::Remove(path.to_owned())) {
            return;
        }
        self.trackers += 1;
        self.report(name(RenameMode::From, path, self.trackers));
        self.noise(noise);
    }

    /// Nothing is reported for a while.
    fn expire(&mut self) {
        let mut changes = Vec::new();
        self.translator.expire(self.now, true, &mut changes);
        self.apply(changes);
    }

    /// An entry comes from somewhere that is not watched; a folder with something in it.
    fn come_in(&mut self, path: &str, is_folder: bool) {
        let kind = if is_folder { EntryKind::Folder } else { EntryKind::File };
        if !self.run(&Step::Create(path.to_owned(), kind)) {
            return;
        }
        self.run(&Step::Create(format!("{path}/inside"), EntryKind::File));
        self.trackers += 1;
        self.report(name(RenameMode::To, path, self.trackers));
        self.look(path);
    }

    /// News of something else, whether it is there or not.
    fn noise(&mut self, path: Option<String>) {
        if let Some(path) = path {
            self.report(about(EventKind::Access(AccessKind::Read), &path));
            self.report(about(EventKind::Modify(ModifyKind::Data(DataChange::Any)), &path));
        }
    }

    fn report(&mut self, report: Event) {
        if matters(&report) {
            let mut changes = Vec::new();
            self.translator.translate(&report, self.now, &mut changes);
            self.apply(changes);
        }
    }

    fn apply(&mut self, changes: Vec<Change>) {
        let mut facts = Vec::new();
        for change in changes {
            let on_disk = |path: &Arc<Path>| self.disk.entries().get(path).copied().unwrap_or(EntryKind::File);
            let fit = match &change {
                Change::Created { path, kind } => {
                    self.mirror.created(path, kind.unwrap_or_else(|| on_disk(path)), &mut facts)
                }
                Change::Removed { path, kind } => self.mirror.removed(path, *kind, &mut facts),
                Change::Renamed { from, to } => self.mirror.renamed(from, to, on_disk(to), &mut facts),
                Change::Modified { path } => {
                    // It may have left, and nobody has told of it yet.
                    let is_known = self.followed.contains_key(path);
                    assert_eq!(self.mirror.modified(path, &mut facts) == Fit::Fits, is_known);
                    Fit::Fits
                }
                other => panic!("{other:?} was not reported"),
            };
            assert_eq!(fit, Fit::Fits, "{change:?}");
        }
        self.follow(&facts);
    }

    fn follow(&mut self, facts: &[Fact]) {
        for fact in facts {
            match fact {
                Fact::Created { .. } => self.told.created += 1,
                Fact::Removed { .. } => self.told.removed += 1,
                Fact::Renamed { replaced, .. } => {
                    self.told.renamed += 1;
                    self.told.removed += *replaced as usize;
                }
                Fact::Modified { .. } => {}
            }
        }
        follow(&mut self.followed, facts);
    }

    /// A look at a folder, as for one that is too new to be watched.
    fn look(&mut self, scope: &str) {
        let found = self.disk.entries().into_iter().filter(|(path, _)| path.starts_with(scope)).collect();
        let mut facts = Vec::new();
        for difference in self.mirror.differences(Path::new(scope), &found, &[]) {
            match difference {
                Fact::Created { path, kind } => assert_eq!(self.mirror.created(&path, kind, &mut facts), Fit::Fits),
                Fact::Removed { path } => self.mirror.found_gone(&path, &mut facts),
                other => panic!("a comparison has found {other:?}"),
            }
        }
        self.follow(&facts);
    }
}

fn about(kind: EventKind, path: &str) -> Event {
    Event::new(kind).add_path(Path::new(ROOT).join(path))
}

fn name(mode: RenameMode, path: &str, tracker: usize) -> Event {
    about(EventKind::Modify(ModifyKind::Name(mode)), path).set_tracker(tracker)
}

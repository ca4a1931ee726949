//! From what a watcher reports to what happened to which entry.
//!
//! A watcher tells of a new name in two parts, the old name and the new one, tied by a number. The second may be
//! missing (the entry left the worktree) and so may the first (it came in from elsewhere), and other news may stand
//! between the two.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use notify::event::{CreateKind, EventKind, Flag, ModifyKind, RemoveKind, RenameMode};

use super::event::EntryKind;

/// How long the second part of a new name may take. The two are reported in one go, so this is generous.
const PATIENCE: Duration = Duration::from_millis(100);
/// How many old names wait for their new ones at most; the oldest is given up for a newer one.
const WAITING_MAX: usize = 1024;

/// What happened to an entry, by its path from the root of the worktree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It is new. Without a kind, the disk knows.
    Created { path: Arc<Path>, kind: Option<EntryKind> },
    /// It is gone.
    Removed { path: Arc<Path>, kind: Option<EntryKind> },
    /// It has a new name.
    Renamed { from: Arc<Path>, to: Arc<Path> },
    /// Its contents or metadata are different.
    Modified { path: Arc<Path> },
    /// Something happened to it; the disk knows what.
    Unclear { path: Arc<Path> },
    /// The operating system has dropped news.
    Overflow,
    /// The watcher has failed, as it says for itself.
    Failed(Arc<str>),
    /// The worktree itself is gone.
    RootGone,
}

/// Translates the reports of one watcher, in order.
#[derive(Debug)]
pub(super) struct Translator {
    root: PathBuf,
    waiting: Vec<OldName>,
}

/// The first part of a new name.
#[derive(Debug)]
struct OldName {
    tracker: Option<usize>,
    path: Arc<Path>,
    since: Instant,
}

/// Whether a report says anything of interest. Asked on the watcher's own thread, so that the rest takes up no room.
pub(super) fn matters(report: &notify::Event) -> bool {
    match report.kind {
        EventKind::Access(_) => false,
        // There, both parts have been reported on their own.
        EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => !cfg!(target_os = "linux"),
        EventKind::Any | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) => true,
        EventKind::Other => report.need_rescan(),
    }
}

impl Translator {
    /// For reports with paths below `root`.
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, waiting: Vec::new() }
    }

    /// Translates one report.
    pub(super) fn translate(&mut self, report: &notify::Event, now: Instant, changes: &mut Vec<Change>) {
        if report.flag() == Some(Flag::Rescan) {
            changes.push(Change::Overflow);
        }
        let tracker = report.tracker();
        match report.kind {
            EventKind::Modify(ModifyKind::Name(RenameMode::From)) => self.old_name(report, tracker, now, changes),
            EventKind::Modify(ModifyKind::Name(RenameMode::To)) => self.new_name(report, tracker, changes),
            EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => self.both_names(report, changes),
            EventKind::Create(kind) => {
                let kind = match kind {
                    CreateKind::File => Some(EntryKind::File),
                    CreateKind::Folder => Some(EntryKind::Folder),
                    CreateKind::Any | CreateKind::Other => None,
                };
                for path in self.entries(report) {
                    self.give_up_on(&path, changes);
                    changes.push(Change::Created { path, kind });
                }
            }
            EventKind::Remove(kind) => {
                let kind = match kind {
                    RemoveKind::File => Some(EntryKind::File),
                    RemoveKind::Folder => Some(EntryKind::Folder),
                    RemoveKind::Any | RemoveKind::Other => None,
                };
                if self.is_about_root(report) {
                    changes.push(Change::RootGone);
                }
                changes.extend(self.entries(report).into_iter().map(|path| Change::Removed { path, kind }));
            }
            EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Metadata(_)) => {
                changes.extend(self.entries(report).into_iter().map(|path| Change::Modified { path }));
            }
            EventKind::Modify(ModifyKind::Any | ModifyKind::Other | ModifyKind::Name(_)) | EventKind::Any => {
                changes.extend(self.entries(report).into_iter().map(|path| Change::Unclear { path }));
            }
            EventKind::Access(_) | EventKind::Other => {}
        }
    }

    /// Gives up on old names whose new ones do not come: on those that have waited for long, or on all when nothing
    /// is reported any more.
    pub(super) fn expire(&mut self, now: Instant, quiet: bool, changes: &mut Vec<Change>) {
        let overdue = |old: &OldName| quiet || now.duration_since(old.since) >= PATIENCE;
        changes.extend(self.waiting.extract_if(.., |old| overdue(old)).map(removed));
    }

    /// Forgets what is unfinished, for a new watcher.
    pub(super) fn start_over(&mut self) {
        self.waiting.clear();
    }

    fn old_name(&mut self, report: &notify::Event, tracker: Option<usize>, now: Instant, changes: &mut Vec<Change>) {
        if self.is_about_root(report) {
            changes.push(Change::RootGone);
            return;
        }
        // A folder also tells of its own move, without a number; its parent has told of it already.
        if tracker.is_none() && cfg!(target_os = "linux") {
            return;
        }
        for path in self.entries(report) {
            if self.waiting.len() == WAITING_MAX {
                changes.push(removed(self.waiting.remove(0)));
            }
            self.waiting.push(OldName { tracker, path, since: now });
        }
    }

    fn new_name(&mut self, report: &notify::Event, tracker: Option<usize>, changes: &mut Vec<Change>) {
        for to in self.entries(report) {
            let first_part = self.waiting.iter().position(|old| old.tracker == tracker);
            match first_part.map(|index| self.waiting.remove(index)) {
                Some(old) => {
                    self.give_up_on(&to, changes);
                    changes.push(Change::Renamed { from: old.path, to });
                }
                None => {
                    self.give_up_on(&to, changes);
                    changes.push(Change::Created { path: to, kind: None });
                }
            }
        }
    }

    fn both_names(&mut self, report: &notify::Event, changes: &mut Vec<Change>) {
        let names = self.entries(report);
        if let [from, to] = &names[..] {
            let (from, to) = (Arc::clone(from), Arc::clone(to));
            self.waiting.retain(|old| old.path != from);
            changes.push(Change::Renamed { from, to });
        } else {
            changes.extend(names.into_iter().map(|path| Change::Unclear { path }));
        }
    }

    /// Something new at the path of an old name: what was there before has left.
    fn give_up_on(&mut self, path: &Path, changes: &mut Vec<Change>) {
        changes.extend(self.waiting.extract_if(.., |old| &*old.path == path).map(removed));
    }

    fn is_about_root(&self, report: &notify::Event) -> bool {
        report.paths.contains(&self.root)
    }

    /// The paths of a report from the root, without the root itself.
    fn entries(&self, report: &notify::Event) -> Vec<Arc<Path>> {
        let relative = report.paths.iter().filter_map(|path| path.strip_prefix(&self.root).ok());
        relative.filter(|path| !path.as_os_str().is_empty()).map(Arc::from).collect()
    }
}

fn removed(old: OldName) -> Change {
    Change::Removed { path: old.path, kind: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::Event;
    use notify::event::{AccessKind, DataChange};

    fn report(kind: EventKind, path: &str) -> Event {
        Event::new(kind).add_path(Path::new("/root").join(path))
    }

    fn name(mode: RenameMode, path: &str, tracker: usize) -> Event {
        report(EventKind::Modify(ModifyKind::Name(mode)), path).set_tracker(tracker)
    }

    fn at(path: &str) -> Arc<Path> {
        Path::new(path).into()
    }

    fn gone(path: &str) -> Change {
        Change::Removed { path: at(path), kind: None }
    }

    /// Translates reports; then nothing comes for a while.
    fn translated(reports: &[Event]) -> Vec<Change> {
        let (mut translator, mut changes, now) = (Translator::new("/root".into()), Vec::new(), Instant::now());
        for report in reports {
            translator.translate(report, now, &mut changes);
        }
        translator.expire(now, true, &mut changes);
        changes
    }

    #[test]
    fn the_parts_of_a_new_name_are_joined() {
        let changes = translated(&[
            name(RenameMode::From, "a", 1),
            name(RenameMode::From, "b", 2),
            report(EventKind::Create(CreateKind::Folder), "d"),
            name(RenameMode::To, "y", 2),
            name(RenameMode::To, "x", 1),
        ]);
        let created = Change::Created { path: at("d"), kind: Some(EntryKind::Folder) };
        let (from_a, from_b) = (at("a"), at("b"));
        let renamed = [Change::Renamed { from: from_b, to: at("y") }, Change::Renamed { from: from_a, to: at("x") }];
        assert_eq!(changes[0], created);
        assert_eq!(changes[1..], renamed);
    }

    #[test]
    fn half_a_new_name_is_a_coming_or_a_going() {
        assert_eq!(translated(&[name(RenameMode::From, "a", 1)]), [gone("a")]);
        let came = [Change::Created { path: at("b"), kind: None }];
        assert_eq!(translated(&[name(RenameMode::To, "b", 1)]), came);
    }

    #[test]
    fn what_left_is_gone_before_something_new_takes_its_place() {
        let changes = translated(&[name(RenameMode::From, "a", 1), report(EventKind::Create(CreateKind::File), "a")]);
        assert_eq!(changes, [gone("a"), Change::Created { path: at("a"), kind: Some(EntryKind::File) }]);
    }

    #[test]
    fn an_old_name_waits_for_a_while_and_no_longer() {
        let (mut translator, mut changes, now) = (Translator::new("/root".into()), Vec::new(), Instant::now());
        translator.translate(&name(RenameMode::From, "a", 1), now, &mut changes);
        translator.expire(now, false, &mut changes);
        assert_eq!(changes, []);
        translator.expire(now + PATIENCE, false, &mut changes);
        assert_eq!(changes, [gone("a")]);
    }

    #[test]
    fn old_names_that_wait_are_bounded() {
        let (mut translator, mut changes, now) = (Translator::new("/root".into()), Vec::new(), Instant::now());
        for number in 0..=WAITING_MAX {
            translator.translate(&name(RenameMode::From, &number.to_string(), number), now, &mut changes);
        }
        assert_eq!((translator.waiting.len(), changes), (WAITING_MAX, vec![gone("0")]));
    }

    #[test]
    fn the_root_is_no_entry_but_its_end_is_news() {
        let remove = EventKind::Remove(RemoveKind::Folder);
        let modify = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        assert_eq!(translated(&[report(modify, "")]), []);
        assert_eq!(translated(&[report(remove, "")]), [Change::RootGone]);
        let moved = EventKind::Modify(ModifyKind::Name(RenameMode::From));
        assert_eq!(translated(&[report(moved, "")]), [Change::RootGone]);
    }

    #[test]
    fn an_overflow_matters_and_reading_does_not() {
        let overflow = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert!(matters(&overflow));
        assert_eq!(translated(&[overflow]), [Change::Overflow]);
        assert!(!matters(&report(EventKind::Access(AccessKind::Read), "a")));
        assert!(!matters(&report(EventKind::Other, "a")));
    }

    fn names(from: &str, to: &str) -> Event {
        report(EventKind::Modify(ModifyKind::Name(RenameMode::Both)), from).add_path(Path::new("/root").join(to))
    }

    #[test]
    fn both_names_in_one_report_are_a_new_name_and_settle_the_old_one() {
        let renamed = [Change::Renamed { from: at("a"), to: at("b") }];
        assert_eq!(translated(&[names("a", "b")]), renamed);
        let waits = name(RenameMode::From, "c", 2);
        let changes = translated(&[name(RenameMode::From, "a", 1), waits, names("a", "b")]);
        assert_eq!(changes, [&renamed[..], &[gone("c")]].concat());
        let left = names("a", "../elsewhere");
        assert_eq!(translated(&[names("a", "")]), [Change::Unclear { path: at("a") }]);
        assert_eq!(matters(&left), !cfg!(target_os = "linux"), "there, both parts come on their own");
    }

    #[test]
    fn parts_of_different_new_names_are_not_joined() {
        let changes = translated(&[name(RenameMode::From, "a", 1), name(RenameMode::To, "b", 2)]);
        assert_eq!(changes, [Change::Created { path: at("b"), kind: None }, gone("a")]);
    }

    #[test]
    fn a_new_name_ends_what_had_it_before() {
        let changes = translated(&[
            name(RenameMode::From, "b", 1),
            name(RenameMode::From, "a", 2),
            name(RenameMode::To, "b", 2),
            name(RenameMode::From, "c", 3),
            name(RenameMode::To, "c", 4),
        ]);
        let renamed = Change::Renamed { from: at("a"), to: at("b") };
        assert_eq!(changes, [gone("b"), renamed, gone("c"), Change::Created { path: at("c"), kind: None }]);
    }

    #[test]
    fn only_the_roots_own_end_is_the_end_of_the_root() {
        let remove = |kind, path| report(EventKind::Remove(kind), path);
        let removed = |kind| [Change::Removed { path: at("a"), kind }];
        assert_eq!(translated(&[remove(RemoveKind::File, "a")]), removed(Some(EntryKind::File)));
        assert_eq!(translated(&[remove(RemoveKind::Folder, "a")]), removed(Some(EntryKind::Folder)));
        assert_eq!(translated(&[remove(RemoveKind::Any, "a")]), removed(None));
    }

    #[test]
    fn changes_and_what_is_unclear_are_told_apart() {
        let data = report(EventKind::Modify(ModifyKind::Data(DataChange::Any)), "a");
        assert_eq!(translated(&[data]), [Change::Modified { path: at("a") }]);
        for kind in [EventKind::Any, EventKind::Modify(ModifyKind::Any)] {
            assert!(matters(&report(kind, "a")));
            assert_eq!(translated(&[report(kind, "a")]), [Change::Unclear { path: at("a") }]);
        }
    }

    #[test]
    fn a_translator_that_starts_over_has_forgotten_what_waits() {
        let (mut translator, mut changes, now) = (Translator::new("/root".into()), Vec::new(), Instant::now());
        translator.translate(&name(RenameMode::From, "a", 1), now, &mut changes);
        translator.start_over();
        translator.expire(now, true, &mut changes);
        assert_eq!(changes, []);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_folder_that_tells_of_its_own_move_is_not_heard_twice() {
        let own = report(EventKind::Modify(ModifyKind::Name(RenameMode::From)), "d");
        assert_eq!(translated(&[own]), []);
    }
}

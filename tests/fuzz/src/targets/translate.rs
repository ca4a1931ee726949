//! Reports of a watcher, in any order and about anything: `src/workspace/translate.rs`.
//!
//! - Whatever is said is about an entry that the report names, by its path from the root.
//! - Every old name is answered exactly once: by a new name with the same number, or by the entry's removal.
//! - Every new name is answered exactly once: by the rename, or as an entry that is new.
//! - What is gone goes before something new takes its place.
//! - Old names wait no longer, and no more of them, than they may; and when nothing is reported any more, not at all.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use notify::event::{
    AccessKind, CreateKind, DataChange, EventKind, Flag, MetadataKind, ModifyKind, RemoveKind, RenameMode,
};

use crate::choices::Choices;
use crate::translate::{Change, Translator, matters};

const ROOT: &str = "/top";
/// How long an old name may wait, and how many may.
const PATIENCE: Duration = Duration::from_millis(100);
const WAITING_MAX: usize = 1024;

/// The last ones are not below the root.
const PATHS: [&str; 8] = ["/top", "/top/a", "/top/b", "/top/a/b", "/top/a/b/c", "/topmost", "/", "a"];

const KINDS: [EventKind; 16] = [
    EventKind::Modify(ModifyKind::Name(RenameMode::From)),
    EventKind::Modify(ModifyKind::Name(RenameMode::To)),
    EventKind::Modify(ModifyKind::Name(RenameMode::Both)),
    EventKind::Modify(ModifyKind::Name(RenameMode::Any)),
    EventKind::Create(CreateKind::File),
    EventKind::Create(CreateKind::Folder),
    EventKind::Create(CreateKind::Any),
    EventKind::Remove(RemoveKind::File),
    EventKind::Remove(RemoveKind::Folder),
    EventKind::Remove(RemoveKind::Other),
    EventKind::Modify(ModifyKind::Data(DataChange::Any)),
    EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any)),
    EventKind::Modify(ModifyKind::Any),
    EventKind::Any,
    EventKind::Other,
    EventKind::Access(AccessKind::Read),
];

/// An old name without an answer.
#[derive(Debug)]
struct Waiting {
    tracker: Option<usize>,
    path: PathBuf,
    since: Instant,
}

struct Scenario {
    translator: Translator,
    now: Instant,
    waiting: Vec<Waiting>,
}

pub(super) fn check(data: &[u8]) {
    let mut choices = Choices::new(data);
    let translator = Translator::new(ROOT.into());
    let mut scenario = Scenario { translator, now: Instant::now(), waiting: Vec::new() };
    while choices.are_left() {
        match choices.below(16) {
            0 => scenario.now += Duration::from_millis(choices.byte().into()),
            1 => scenario.expire(choices.yes()),
            2 => {
                scenario.translator.start_over();
                scenario.waiting.clear();
            }
            // Seldom, for it takes its time.
            3 => scenario.flood(usize::from(choices.byte().saturating_sub(250)) * 206),
            _ => scenario.report(&any_report(&mut choices)),
        }
    }
    scenario.expire(true);
    assert!(scenario.waiting.is_empty(), "never answered: {:?}", scenario.waiting);
}

fn any_report(choices: &mut Choices<'_>) -> notify::Event {
    let mut report = notify::Event::new(choices.one_of(&KINDS));
    for _ in 0..choices.one_of(&[1, 1, 1, 0, 2, 3]) {
        report = report.add_path(choices.one_of(&PATHS).into());
    }
    if let Some(tracker) = choices.below(5).checked_sub(1) {
        report = report.set_tracker(tracker);
    }
    if choices.below(16) == 1 {
        report = report.set_flag(Flag::Rescan);
    }
    report
}

impl Scenario {
    fn report(&mut self, report: &notify::Event) {
        if !matters(report) {
            return;
        }
        let mut changes = Vec::new();
        self.translator.translate(report, self.now, &mut changes);
        let entries: Vec<&Path> =
            report.paths.iter().filter_map(|path| path.strip_prefix(ROOT).ok()).filter(|path| *path != "").collect();
        let is_about_root = report.paths.iter().any(|path| path == Path::new(ROOT));

        let mut changes = changes.iter();
        if report.need_rescan() {
            assert_eq!(changes.next(), Some(&Change::Overflow));
        }
        let changes: Vec<&Change> = changes.collect();
        match report.kind {
            EventKind::Modify(ModifyKind::Name(RenameMode::From)) if is_about_root => {
                assert_eq!(changes, [&Change::RootGone]);
            }
            EventKind::Modify(ModifyKind::Name(RenameMode::From)) => self.old_names(report, &entries, &changes),
            EventKind::Modify(ModifyKind::Name(RenameMode::To)) => self.new_names(report.tracker(), &entries, &changes),
            EventKind::Create(_) => self.new_entries(&entries, &changes),
            EventKind::Remove(_) => {
                let (root, entries_gone) = changes.split_at(usize::from(is_about_root));
                assert!(root.iter().all(|change| **change == Change::RootGone));
                let gone = entries_gone.iter().map(|change| match change {
                    Change::Removed { path, .. } => &**path,
                    other => panic!("{other:?} of a removal"),
                });
                assert_eq!(gone.collect::<Vec<_>>(), entries);
            }
            EventKind::Other => assert!(changes.is_empty(), "{changes:?}"),
            _ => {
                let said = changes.iter().map(|change| match change {
                    Change::Modified { path } | Change::Unclear { path } => &**path,
                    other => panic!("{other:?} of {:?}", report.kind),
                });
                assert_eq!(said.collect::<Vec<_>>(), entries);
            }
        }
        assert!(self.waiting.len() <= WAITING_MAX);
    }

    /// Old names wait; what there is no room for is given up, oldest first.
    fn old_names(&mut self, report: &notify::Event, entries: &[&Path], changes: &[&Change]) {
        if report.tracker().is_none() && cfg!(target_os = "linux") {
            // A folder tells of its own move, which its parent has told of already.
            assert!(changes.is_empty(), "{changes:?}");
            return;
        }
        let since = self.now;
        self.waiting.extend(entries.iter().map(|path| Waiting {
            tracker: report.tracker(),
            path: path.to_path_buf(),
            since,
        }));
        let given_up = self.waiting.len().saturating_sub(WAITING_MAX);
        let given_up: Vec<_> = self.waiting.drain(..given_up).map(|old| removed(&old.path)).collect();
        assert_eq!(changes, given_up.iter().collect::<Vec<_>>());
    }

    fn new_names(&mut self, tracker: Option<usize>, entries: &[&Path], changes: &[&Change]) {
        let mut changes = changes.iter();
        for entry in entries {
            let first_part = self.waiting.iter().position(|old| old.tracker == tracker);
            let from = first_part.map(|at| self.waiting.remove(at).path);
            self.give_up_on(entry, &mut changes);
            let path = (*entry).into();
            let expected = match from {
                Some(from) => Change::Renamed { from: from.into(), to: path },
                None => Change::Created { path, kind: None },
            };
            assert_eq!(changes.next(), Some(&&expected));
        }
        assert_eq!(changes.next(), None);
    }

    fn new_entries(&mut self, entries: &[&Path], changes: &[&Change]) {
        let mut changes = changes.iter();
        for entry in entries {
            self.give_up_on(entry, &mut changes);
            match changes.next() {
                Some(Change::Created { path, .. }) => assert_eq!(&**path, *entry),
                other => panic!("{other:?} instead of {entry:?}"),
            }
        }
        assert_eq!(changes.next(), None);
    }

    /// What has left is gone before something new takes its place.
    fn give_up_on<'a>(&mut self, path: &Path, changes: &mut impl Iterator<Item = &'a &'a Change>) {
        for _ in self.waiting.extract_if(.., |old| old.path == path) {
            assert_eq!(changes.next(), Some(&&removed(path)));
        }
    }

    fn expire(&mut self, quiet: bool) {
        let mut changes = Vec::new();
        self.translator.expire(self.now, quiet, &mut changes);
        let now = self.now;
        let overdue = self.waiting.extract_if(.., |old| quiet || old.since + PATIENCE <= now);
        assert_eq!(changes, overdue.map(|old| removed(&old.path)).collect::<Vec<_>>());
        changes.clear();
        self.translator.expire(self.now, quiet, &mut changes);
        assert_eq!(changes, [], "once is enough");
    }

    /// Many old names at once, none of which gets a new one.
    fn flood(&mut self, count: usize) {
        for number in 0..count {
            let report = notify::Event::new(EventKind::Modify(ModifyKind::Name(RenameMode::From)));
            self.report(&report.add_path(format!("{ROOT}/{number}").into()).set_tracker(1000 + number));
        }
    }
}

fn removed(path: &Path) -> Change {
    Change::Removed { path: path.into(), kind: None }
}

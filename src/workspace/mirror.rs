//! What is known to be on the disk below a worktree, without any access to the disk.
//!
//! The mirror decides what is worth an event: an entry is created when it was not known and removed when it was, so
//! that nothing is counted twice, however often and in whatever order the operating system tells of it.
//!
//! # Invariants
//! - **M1 facts add up**: whoever applies the facts that were reported to a set of entries has the mirror's set.
//! - **M2 no orphans**: the folder of every entry is an entry too, or the root.
//!
//! A change that does not fit (it happened in a folder that is not known) is not guessed at: it is [`Fit::Misfit`], and
//! the caller compares the nearest known folder with the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Included, Unbounded};
use std::path::Path;
use std::sync::Arc;

use super::event::EntryKind;

/// The entries of a worktree by their relative paths. Paths are ordered by their parts, so all that lies below a
/// folder comes right after it.
pub(super) type Entries = BTreeMap<Arc<Path>, EntryKind>;

/// The known entries of one worktree.
#[derive(Debug, Default)]
pub(super) struct EntryMirror {
    entries: Entries,
    /// Entries that a comparison with the disk found gone, before their removal was told. When it is told after all,
    /// it is old news.
    echoes: BTreeSet<Arc<Path>>,
}

/// Something that is so now, and was not before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fact {
    Created { path: Arc<Path>, kind: EntryKind },
    Removed { path: Arc<Path> },
    Renamed { from: Arc<Path>, to: Arc<Path>, replaced: u64 },
    Modified { path: Arc<Path> },
}

/// Whether a change fits what is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a change that does not fit calls for a look at the disk"]
pub(super) enum Fit {
    Fits,
    Misfit,
}

impl EntryMirror {
    pub(super) fn new(entries: Entries) -> Self {
        Self { entries, echoes: BTreeSet::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn kind(&self, path: &Path) -> Option<EntryKind> {
        self.entries.get(path).copied()
    }

    /// The longest part of `path` that is a known folder; the empty path is the root.
    pub(super) fn nearest_folder<'a>(&self, path: &'a Path) -> &'a Path {
        path.ancestors().skip(1).find(|folder| self.is_folder(folder)).unwrap_or(Path::new(""))
    }

    /// An entry was created.
    pub(super) fn created(&mut self, path: &Arc<Path>, kind: EntryKind, facts: &mut Vec<Fact>) -> Fit {
        if !self.has_place(path) {
            return Fit::Misfit;
        }
        self.echoes.remove(&**path);
        match self.kind(path) {
            Some(known) if known == kind => return Fit::Fits,
            // Its removal was never told.
            Some(_) => self.remove_all(path, facts),
            None => {}
        }
        self.insert(path, kind, facts);
        Fit::Fits
    }

    /// An entry was removed, with all below it. `kind` is what it was, where that is known for certain.
    pub(super) fn removed(&mut self, path: &Arc<Path>, kind: Option<EntryKind>, facts: &mut Vec<Fact>) -> Fit {
        if self.entries.contains_key(path) {
            self.remove_all(path, facts);
            return Fit::Fits;
        }
        if self.echoes.remove(path) {
            return Fit::Fits;
        }
        if !self.has_place(path) {
            return Fit::Misfit;
        }
        // The end of a folder is told twice, by itself and by its parent. That of a file is told once, so this one
        // was created unseen, in a folder too new to be watched, and is gone again.
        if kind == Some(EntryKind::File) {
            self.insert(path, EntryKind::File, facts);
            self.remove_all(path, facts);
        }
        Fit::Fits
    }

    /// An entry was renamed, with all below it. `kind` is what it is if it was not known before.
    pub(super) fn renamed(&mut self, from: &Arc<Path>, to: &Arc<Path>, kind: EntryKind, facts: &mut Vec<Fact>) -> Fit {
        if from == to {
            return Fit::Fits;
        }
        if !self.has_place(to) || to.starts_with(from) || from.starts_with(to) {
            let _ = self.removed(from, None, facts);
            return Fit::Misfit;
        }
        if self.entries.contains_key(from) {
            self.move_all(from, to, facts);
            return Fit::Fits;
        }
        let is_old_news = self.echoes.remove(from);
        match (is_old_news, self.entries.contains_key(to)) {
            // A comparison with the disk has counted both ends already.
            (true, true) => Fit::Fits,
            (true, false) => self.created(to, kind, facts),
            // A comparison with the disk has seen the new name only: nothing changes but the count of names.
            (false, true) => {
                facts.push(Fact::Renamed { from: Arc::clone(from), to: Arc::clone(to), replaced: 0 });
                Fit::Fits
            }
            // It was created unseen, in a folder too new to be watched.
            (false, false) => {
                let fit = self.created(from, kind, facts);
                if fit == Fit::Misfit {
                    return self.created(to, kind, facts);
                }
                self.move_all(from, to, facts);
                Fit::Fits
            }
        }
    }

    /// The contents or the metadata of an entry changed.
    pub(super) fn modified(&mut self, path: &Arc<Path>, facts: &mut Vec<Fact>) -> Fit {
        if !self.entries.contains_key(path) {
            return Fit::Misfit;
        }
        facts.push(Fact::Modified { path: Arc::clone(path) });
        Fit::Fits
    }

    /// How the disk differs from what is known, at `scope` and below it; the empty path is the whole worktree. What
    /// lies below an unreadable folder is not judged. Removals come first.
    pub(super) fn differences(&self, scope: &Path, disk: &Entries, unreadable: &[Arc<Path>]) -> Vec<Fact> {
        let hidden = |path: &Path| unreadable.iter().any(|folder| path != &**folder && path.starts_with(folder));
        let removed = self
            .below(scope)
            .filter(|(path, kind)| disk.get(*path) != Some(kind) && !hidden(path))
            .map(|(path, _)| Fact::Removed { path: Arc::clone(path) });
        let created = disk
            .iter()
            .filter(|(path, kind)| self.entries.get(*path) != Some(kind))
            .map(|(path, kind)| Fact::Created { path: Arc::clone(path), kind: *kind });
        removed.chain(created).collect()
    }

    /// Takes over differences found by [`differences`](EntryMirror::differences).
    pub(super) fn settle(&mut self, differences: &[Fact]) {
        for difference in differences {
            match difference {
                Fact::Removed { path } => {
                    self.entries.remove(path);
                    self.echoes.insert(Arc::clone(path));
                }
                Fact::Created { path, kind } => {
                    self.echoes.remove(path);
                    self.entries.insert(Arc::clone(path), *kind);
                }
                // A comparison of two sets finds neither.
                Fact::Renamed { .. } | Fact::Modified { .. } => {}
            }
        }
    }

    /// The disk says for certain that an entry is gone, with all below it, though nothing has told of it yet.
    pub(super) fn found_gone(&mut self, path: &Path, facts: &mut Vec<Fact>) {
        for path in self.take(path).into_keys().rev() {
            self.echoes.insert(Arc::clone(&path));
            facts.push(Fact::Removed { path });
        }
    }

    /// Everything that had happened before the last comparison with the disk has been told by now.
    pub(super) fn forget_echoes(&mut self) {
        self.echoes.clear();
    }

    fn is_folder(&self, path: &Path) -> bool {
        path.as_os_str().is_empty() || self.kind(path) == Some(EntryKind::Folder)
    }

    fn has_place(&self, path: &Path) -> bool {
        path.parent().is_some_and(|parent| self.is_folder(parent))
    }

    /// The entry at `scope` and all below it.
    fn below<'a>(&'a self, scope: &'a Path) -> impl Iterator<Item = (&'a Arc<Path>, &'a EntryKind)> {
        self.entries.range::<Path, _>((Included(scope), Unbounded)).take_while(move |(path, _)| path.starts_with(scope))
    }

    fn insert(&mut self, path: &Arc<Path>, kind: EntryKind, facts: &mut Vec<Fact>) {
        self.entries.insert(Arc::clone(path), kind);
        facts.push(Fact::Created { path: Arc::clone(path), kind });
    }

    /// Removes an entry and all below it, what is deepest first.
    fn remove_all(&mut self, path: &Path, facts: &mut Vec<Fact>) {
        for path in self.take(path).into_keys().rev() {
            facts.push(Fact::Removed { path });
        }
    }

    /// Moves an entry and all below it. What had the new name is gone.
    fn move_all(&mut self, from: &Arc<Path>, to: &Arc<Path>, facts: &mut Vec<Fact>) {
        let replaced = self.take(to).len() as u64;
        for (path, kind) in self.take(from) {
            let below = path.strip_prefix(from).expect("taken from below that path");
            let moved = if below.as_os_str().is_empty() { Arc::clone(to) } else { to.join(below).into() };
            self.echoes.remove(&moved);
            self.entries.insert(moved, kind);
        }
        facts.push(Fact::Renamed { from: Arc::clone(from), to: Arc::clone(to), replaced });
    }

    fn take(&mut self, scope: &Path) -> Entries {
        let paths: Vec<Arc<Path>> = self.below(scope).map(|(path, _)| Arc::clone(path)).collect();
        paths.iter().filter_map(|path| self.entries.remove_entry(path)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::mirror_twin::{Disk, Step, follow, tell};
    use super::*;
    use EntryKind::{File, Folder};
    use proptest::prelude::*;

    fn at(path: &str) -> Arc<Path> {
        Path::new(path).into()
    }

    fn mirror(entries: &[(&str, EntryKind)]) -> EntryMirror {
        EntryMirror::new(entries.iter().map(|(path, kind)| (at(path), *kind)).collect())
    }

    fn created(path: &str, kind: EntryKind) -> Fact {
        Fact::Created { path: at(path), kind }
    }

    fn removed(path: &str) -> Fact {
        Fact::Removed { path: at(path) }
    }

    fn renamed(from: &str, to: &str, replaced: u64) -> Fact {
        Fact::Renamed { from: at(from), to: at(to), replaced }
    }

    #[test]
    fn an_entry_is_created_once_and_removed_once() {
        let (mut mirror, mut facts) = (mirror(&[]), Vec::new());
        assert_eq!(mirror.created(&at("a"), File, &mut facts), Fit::Fits);
        assert_eq!(mirror.created(&at("a"), File, &mut facts), Fit::Fits);
        assert_eq!(mirror.removed(&at("a"), None, &mut facts), Fit::Fits);
        assert_eq!(mirror.removed(&at("a"), None, &mut facts), Fit::Fits);
        assert_eq!(facts, [created("a", File), removed("a")]);
    }

    #[test]
    fn a_folder_takes_everything_below_it_along() {
        let mut mirror = mirror(&[("d", Folder), ("d/e", Folder), ("d/e/f", File), ("d-", File), ("da", File)]);
        let mut facts = Vec::new();
        assert_eq!(mirror.renamed(&at("d"), &at("z"), Folder, &mut facts), Fit::Fits);
        assert_eq!(mirror.kind(Path::new("z/e/f")), Some(File));
        assert_eq!(mirror.removed(&at("z"), None, &mut facts), Fit::Fits);
        assert_eq!(facts, [renamed("d", "z", 0), removed("z/e/f"), removed("z/e"), removed("z")]);
        assert_eq!(mirror.len(), 2);
    }

    #[test]
    fn a_new_name_replaces_what_had_it() {
        let (mut mirror, mut facts) = (mirror(&[("a", File), ("b", File)]), Vec::new());
        assert_eq!(mirror.renamed(&at("a"), &at("b"), File, &mut facts), Fit::Fits);
        assert_eq!((facts, mirror.len()), (vec![renamed("a", "b", 1)], 1));
    }

    #[test]
    fn what_was_created_unseen_is_counted_when_it_is_heard_of() {
        let (mut mirror, mut facts) = (mirror(&[]), Vec::new());
        assert_eq!(mirror.removed(&at("a"), Some(File), &mut facts), Fit::Fits);
        assert_eq!(mirror.renamed(&at("b"), &at("c"), File, &mut facts), Fit::Fits);
        assert_eq!(facts, [created("a", File), removed("a"), created("b", File), renamed("b", "c", 0)]);
    }

    #[test]
    fn what_happens_in_an_unknown_folder_does_not_fit() {
        let (mut mirror, mut facts) = (mirror(&[("d", Folder), ("f", File)]), Vec::new());
        assert_eq!(mirror.created(&at("d/e/x"), File, &mut facts), Fit::Misfit);
        assert_eq!(mirror.created(&at("f/x"), File, &mut facts), Fit::Misfit);
        assert_eq!(mirror.removed(&at("d/e/x"), Some(File), &mut facts), Fit::Misfit);
        assert_eq!(mirror.modified(&at("d/x"), &mut facts), Fit::Misfit);
        assert_eq!(mirror.nearest_folder(Path::new("d/e/x")), Path::new("d"));
        assert_eq!(mirror.nearest_folder(Path::new("f/x")), Path::new(""));
        assert_eq!(facts, []);
    }

    #[test]
    fn an_entry_that_leaves_to_nowhere_known_is_removed() {
        let (mut mirror, mut facts) = (mirror(&[("a", File)]), Vec::new());
        assert_eq!(mirror.renamed(&at("a"), &at("x/a"), File, &mut facts), Fit::Misfit);
        assert_eq!(facts, [removed("a")]);
    }

    #[test]
    fn a_comparison_finds_what_is_gone_new_and_of_another_kind() {
        let mut known = mirror(&[("a", File), ("b", Folder), ("b/c", File), ("d", File)]);
        let disk: Entries = [(at("a"), File), (at("b"), File), (at("e"), File)].into();
        let differences = known.differences(Path::new(""), &disk, &[]);
        let expected = [removed("b"), removed("b/c"), removed("d"), created("b", File), created("e", File)];
        assert_eq!(differences, expected);
        known.settle(&differences);
        assert_eq!(known.entries, disk);
        assert_eq!(known.differences(Path::new(""), &disk, &[]), []);
    }

    #[test]
    fn a_comparison_keeps_to_its_scope_and_away_from_what_cannot_be_read() {
        let known = mirror(&[("a", File), ("d", Folder), ("d/x", File), ("d/y", File)]);
        let disk: Entries = [(at("d"), Folder), (at("d/x"), File)].into();
        assert_eq!(known.differences(Path::new("d"), &disk, &[]), [removed("d/y")]);
        assert_eq!(known.differences(Path::new("d"), &disk, &[at("d")]), []);
    }

    #[test]
    fn news_of_what_a_comparison_has_seen_is_old() {
        let mut mirror = mirror(&[("a", File), ("b", File)]);
        mirror.settle(&[removed("a"), removed("b"), created("c", File)]);
        let mut facts = Vec::new();
        assert_eq!(mirror.removed(&at("a"), Some(File), &mut facts), Fit::Fits);
        assert_eq!(mirror.renamed(&at("b"), &at("c"), File, &mut facts), Fit::Fits);
        assert_eq!(mirror.created(&at("c"), File, &mut facts), Fit::Fits);
        assert_eq!(facts, []);
    }

    #[test]
    fn what_is_found_gone_goes_with_all_below_it_and_is_old_news_when_told() {
        let (mut mirror, mut facts) = (mirror(&[("d", Folder), ("d/a", File)]), Vec::new());
        mirror.found_gone(Path::new("d"), &mut facts);
        assert_eq!(mirror.removed(&at("d/a"), Some(File), &mut facts), Fit::Fits);
        assert_eq!(mirror.removed(&at("d"), Some(Folder), &mut facts), Fit::Fits);
        assert_eq!(facts, [removed("d/a"), removed("d")]);
    }

    #[test]
    fn an_entry_can_have_no_new_name_above_or_below_its_own() {
        let known = [("d", Folder), ("d/e", Folder), ("f", File)];
        for (from, to, gone) in [("d", "d/e/x", vec![removed("d/e"), removed("d")]), ("d/e", "d", vec![removed("d/e")])]
        {
            let (mut mirror, mut facts) = (mirror(&known), Vec::new());
            assert_eq!(mirror.renamed(&at(from), &at(to), Folder, &mut facts), Fit::Misfit);
            assert_eq!(facts, gone);
        }
        let (mut mirror, mut facts) = (mirror(&known), Vec::new());
        assert_eq!(mirror.renamed(&at("d"), &at("d"), Folder, &mut facts), Fit::Fits);
        assert_eq!((facts, mirror.len()), (vec![], 3), "the same name is no news");
    }

    #[test]
    fn a_new_name_of_which_a_comparison_has_seen_one_end_only_counts_once() {
        let (mut mirror, mut facts) = (mirror(&[("a", File)]), Vec::new());
        mirror.settle(&[removed("a")]);
        assert_eq!(mirror.renamed(&at("a"), &at("b"), File, &mut facts), Fit::Fits);
        assert_eq!(mirror.renamed(&at("c"), &at("b"), File, &mut facts), Fit::Fits);
        assert_eq!(mirror.renamed(&at("x/c"), &at("d"), File, &mut facts), Fit::Fits);
        assert_eq!(facts, [created("b", File), renamed("c", "b", 0), created("d", File)]);
        assert_eq!(mirror.kind(Path::new("b")), Some(File));
    }

    #[test]
    fn what_becomes_of_another_kind_was_something_else_before() {
        let (mut mirror, mut facts) = (mirror(&[("a", Folder), ("a/b", File)]), Vec::new());
        assert_eq!(mirror.created(&at("a"), File, &mut facts), Fit::Fits);
        assert_eq!(facts, [removed("a/b"), removed("a"), created("a", File)]);
    }

    #[test]
    fn a_folder_that_cannot_be_read_is_itself_judged() {
        let known = mirror(&[("a", File), ("d", Folder), ("d/x", File)]);
        assert_eq!(known.differences(Path::new(""), &Entries::new(), &[at("d")]), [removed("a"), removed("d")]);
    }

    #[test]
    fn old_news_that_was_forgotten_is_news_again() {
        let (mut mirror, mut facts) = (mirror(&[("a", File)]), Vec::new());
        mirror.found_gone(Path::new("a"), &mut facts);
        mirror.forget_echoes();
        assert_eq!(mirror.removed(&at("a"), Some(File), &mut facts), Fit::Fits);
        assert_eq!(facts, [removed("a"), created("a", File), removed("a")]);
    }

    #[test]
    fn only_what_is_known_can_change() {
        let (mut mirror, mut facts) = (mirror(&[("a", File)]), Vec::new());
        assert_eq!(mirror.modified(&at("a"), &mut facts), Fit::Fits);
        assert_eq!(mirror.modified(&at("b"), &mut facts), Fit::Misfit);
        assert_eq!(facts, [Fact::Modified { path: at("a") }]);
        assert_eq!((mirror.removed(&at("d"), Some(Folder), &mut facts), facts.len()), (Fit::Fits, 1), "told twice");
    }

    fn any_path() -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(vec!["a", "b", "a.", "c"]), 1..4).prop_map(|parts| parts.join("/"))
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            2 => any_path().prop_map(|path| Step::Create(path, Folder)),
            2 => any_path().prop_map(|path| Step::Create(path, File)),
            1 => any_path().prop_map(Step::Remove),
            2 => (any_path(), any_path()).prop_map(|(from, to)| Step::Rename(from, to)),
        ]
    }

    proptest! {
        #[test]
        fn told_of_everything_it_equals_the_disk_and_its_facts_are_what_happened(
            steps in prop::collection::vec(any_step(), 0..60),
        ) {
            let (mut disk, mut mirror, mut followed) = (Disk::default(), EntryMirror::default(), Entries::new());
            for step in steps {
                let kind = disk.kind(step.path());
                if disk.run(&step) {
                    let mut facts = Vec::new();
                    prop_assert_eq!(tell(&mut mirror, &step, kind, &mut facts), Fit::Fits);
                    prop_assert!(!facts.is_empty());
                    follow(&mut followed, &facts);
                }
                prop_assert_eq!(&mirror.entries, &disk.entries());
                prop_assert_eq!(&followed, &mirror.entries);
            }
        }

        #[test]
        fn told_of_anything_its_facts_add_up_and_a_comparison_sets_it_right(
            steps in prop::collection::vec((any_step(), any::<bool>()), 0..60),
        ) {
            let (mut disk, mut mirror, mut followed) = (Disk::default(), EntryMirror::default(), Entries::new());
            for (step, told) in steps {
                let happened = disk.run(&step);
                // Some of what happens is not told, and some of what is told did not happen.
                if told || !happened {
                    let mut facts = Vec::new();
                    let _ = tell(&mut mirror, &step, None, &mut facts);
                    follow(&mut followed, &facts);
                }
                prop_assert_eq!(&followed, &mirror.entries);
                let orphan = mirror.entries.keys().find(|path| !mirror.has_place(path));
                prop_assert_eq!(orphan, None);
            }
            let differences = mirror.differences(Path::new(""), &disk.entries(), &[]);
            follow(&mut followed, &differences);
            mirror.settle(&differences);
            prop_assert_eq!(&mirror.entries, &disk.entries());
            prop_assert_eq!(&followed, &mirror.entries);
        }
    }
}

//! What happens on a disk, told in full, in part, or not at all: `src/workspace/mirror.rs`.
//!
//! - Whoever applies the facts has the mirror's entries, at every moment (M1), and no entry is an orphan (M2).
//! - A mirror that is told of everything equals the disk, without any comparison, and has nothing left unsaid.
//! - A comparison with the disk sets everything right, whatever was told before; a second one finds nothing.
//! - News of what a comparison has seen is old: nothing is counted twice. Once it was told, it is old no more.
//!
//! The twin is a file system of the simplest sort.

use std::path::Path;

use crate::choices::Choices;
use crate::event::EntryKind;
use crate::mirror::{Entries, EntryMirror, Fact, Fit};
use crate::mirror_twin::{Disk, Step, follow, tell};

/// Names of which some begin with others, and sort around the separator.
const NAMES: [&str; 4] = ["a", "b", "a.", "a-"];

struct Scenario {
    disk: Disk,
    mirror: EntryMirror,
    /// What a reader of the facts has.
    followed: Entries,
    /// What comparisons with the disk have found, and nobody has looked into.
    doubts: Vec<Fact>,
}

pub(super) fn check(data: &[u8]) {
    let mut choices = Choices::new(data);
    let (disk, mirror, followed) = (Disk::default(), EntryMirror::default(), Entries::new());
    let mut scenario = Scenario { disk, mirror, followed, doubts: Vec::new() };
    let told_of_everything = choices.yes();
    while choices.are_left() {
        if told_of_everything {
            scenario.told(&any_step(&mut choices));
            continue;
        }
        match choices.below(16) {
            0 => scenario.modify(&any_path(&mut choices)),
            1 => scenario.look(Path::new(&any_path(&mut choices))),
            2 => scenario.resolve(),
            3 => scenario.compare_all(),
            4 => scenario.mirror.forget_echoes(),
            5..=7 => {
                scenario.disk.run(&any_step(&mut choices));
            }
            8..=10 => {
                scenario.tell(&any_step(&mut choices), choices.one_of(&KINDS));
            }
            11 => scenario.old_news(&any_step(&mut choices)),
            _ => {
                let step = any_step(&mut choices);
                let kind = scenario.disk.kind(step.path());
                scenario.disk.run(&step);
                scenario.tell(&step, kind);
            }
        }
    }
    scenario.compare_all();
    assert_eq!(scenario.mirror.differences(Path::new(""), &scenario.disk.entries(), &[]), []);
}

const KINDS: [Option<EntryKind>; 3] = [None, Some(EntryKind::File), Some(EntryKind::Folder)];

pub(super) fn any_path(choices: &mut Choices<'_>) -> String {
    let depth = choices.one_of(&[1, 2, 3]);
    (0..depth).map(|_| choices.one_of(&NAMES)).collect::<Vec<_>>().join("/")
}

pub(super) fn any_step(choices: &mut Choices<'_>) -> Step {
    match choices.below(8) {
        0 | 1 => Step::Create(any_path(choices), EntryKind::Folder),
        2 | 3 => Step::Create(any_path(choices), EntryKind::File),
        4 | 5 => Step::Remove(any_path(choices)),
        _ => Step::Rename(any_path(choices), any_path(choices)),
    }
}

impl Scenario {
    /// A step that happens if it can, and is told if it did.
    fn told(&mut self, step: &Step) {
        let kind = self.disk.kind(step.path());
        if !self.disk.run(step) {
            return;
        }
        let mut facts = Vec::new();
        assert_eq!(tell(&mut self.mirror, step, kind, &mut facts), Fit::Fits, "{step:?}");
        assert!(!facts.is_empty(), "nothing is said of {step:?}");
        self.follow(&facts);
        assert_eq!(self.followed, self.disk.entries(), "after {step:?}");
    }

    /// A step that is told, whether it has happened or not. Returns what is said of it.
    fn tell(&mut self, step: &Step, kind: Option<EntryKind>) -> Vec<Fact> {
        let mut facts = Vec::new();
        let _ = tell(&mut self.mirror, step, kind, &mut facts);
        self.follow(&facts);
        facts
    }

    /// A step that a comparison sees before it is told.
    fn old_news(&mut self, step: &Step) {
        self.compare_all();
        let kind = self.disk.kind(step.path());
        if !self.disk.run(step) {
            return;
        }
        self.compare_all();
        assert_eq!(self.tell(step, kind), [], "of {step:?}");
        if let (Step::Remove(path), Some(EntryKind::File)) = (step, kind) {
            // Told once more, it was there once more, unseen.
            let path: std::sync::Arc<Path> = Path::new(path).into();
            let unseen = [Fact::Created { path: path.clone(), kind: EntryKind::File }, Fact::Removed { path }];
            assert_eq!(self.tell(step, kind), unseen);
        }
    }

    fn modify(&mut self, path: &str) {
        let (mut facts, path) = (Vec::new(), Path::new(path).into());
        let fit = self.mirror.modified(&path, &mut facts);
        assert_eq!(
            (fit == Fit::Fits, facts.len()),
            if self.followed.contains_key(&path) { (true, 1) } else { (false, 0) }
        );
        self.follow(&facts);
    }

    /// A comparison of a part, which something on its way may explain.
    fn look(&mut self, path: &Path) {
        let scope = self.mirror.nearest_folder(path);
        let found = self.disk.entries().into_iter().filter(|(path, _)| path.starts_with(scope)).collect();
        self.doubts.append(&mut self.mirror.differences(scope, &found, &[]));
    }

    /// Takes over what nothing has explained, and the disk still shows.
    fn resolve(&mut self) {
        let mut facts = Vec::new();
        for doubt in std::mem::take(&mut self.doubts) {
            match doubt {
                Fact::Created { path, kind } if self.disk.entries().get(&path) == Some(&kind) => {
                    let _ = self.mirror.created(&path, kind, &mut facts);
                }
                Fact::Removed { path } if !self.disk.entries().contains_key(&path) => {
                    self.mirror.found_gone(&path, &mut facts);
                }
                Fact::Created { .. } | Fact::Removed { .. } => {}
                other => panic!("a comparison has found {other:?}"),
            }
        }
        self.follow(&facts);
    }

    fn compare_all(&mut self) {
        let differences = self.mirror.differences(Path::new(""), &self.disk.entries(), &[]);
        self.mirror.settle(&differences);
        self.follow(&differences);
        assert_eq!(self.followed, self.disk.entries());
    }

    /// M1 and M2.
    fn follow(&mut self, facts: &[Fact]) {
        follow(&mut self.followed, facts);
        assert_eq!(self.mirror.differences(Path::new(""), &self.followed, &[]), [], "after {facts:?}");
        assert_eq!(self.mirror.len(), self.followed.len());
        for path in self.followed.keys() {
            let folder = path.parent().expect("no entry is the root");
            let has_place = folder == "" || self.followed.get(folder) == Some(&EntryKind::Folder);
            assert!(has_place, "{} is an orphan after {facts:?}", path.display());
        }
    }
}

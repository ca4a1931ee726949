//! Runs of a watch on real folders. What a test does to the disk is counted by the test itself.

use std::fs;

use super::*;
use crate::register::{Comparison, Divergence};
use crate::workspace::scan::{Scan, scan};
use crate::workspace::state::Worktree;
use crate::workspace::testing::{Bench, outlet};

const WORKTREE: WorktreeId = WorktreeId(1);

fn bench(path: &Path) -> Bench<WatchSource> {
    bench_with(WatchSource::builder(path))
}

fn bench_with(builder: WatchBuilder) -> Bench<WatchSource> {
    Bench::new(builder.worktree(WORKTREE).watch().expect("the folder can be watched"))
}

impl Bench<WatchSource> {
    fn worktree(&self) -> Worktree {
        Worktree::clone(&self.state().model.worktrees[&WORKTREE])
    }

    /// Audits, and returns whether everything was in sync.
    fn audit(&mut self) -> bool {
        let start = self.events.len();
        self.source.control().audit();
        self.poll_until("the answer to an audit", |events| audited(&events[start..]).is_some());
        audited(&self.events[start..]).unwrap()
    }

    fn count(&self, wanted: impl Fn(&WorktreeEvent) -> bool) -> usize {
        worktree_events(&self.events).filter(|event| wanted(event)).count()
    }

    /// The mirror is what a fresh look at the disk finds, and the state has counted as many.
    fn assert_equals_disk(&self) {
        let found = scan(&self.source.root, Path::new(""), usize::MAX).unwrap();
        assert_eq!(self.source.mirror.differences(Path::new(""), &found.entries, &[]), []);
        assert_eq!(self.worktree().entries, found.entries.len() as u64);
    }
}

fn worktree_events(events: &[WorkspaceEvent]) -> impl Iterator<Item = &WorktreeEvent> {
    events.iter().filter_map(|event| if let WorkspaceEvent::Worktree(event) = event { Some(event) } else { None })
}

fn audited(events: &[WorkspaceEvent]) -> Option<bool> {
    worktree_events(events)
        .find_map(|event| if let WorktreeEvent::Audited { in_sync, .. } = event { Some(*in_sync) } else { None })
}

fn has(events: &[WorkspaceEvent], wanted: impl Fn(&WorktreeEvent) -> bool) -> bool {
    worktree_events(events).any(wanted)
}

fn is_reconciled(event: &WorktreeEvent) -> bool {
    matches!(event, WorktreeEvent::Reconciled { .. })
}

/// There was a divergence, and a comparison after the last one found everything equal.
fn is_over(events: &[WorkspaceEvent]) -> bool {
    let all: Vec<_> = worktree_events(events).collect();
    let last = all.iter().rposition(|event| matches!(event, WorktreeEvent::Diverged { .. }));
    last.is_some_and(|last| all[last..].iter().any(|event| is_reconciled(event)))
}

#[test]
fn what_cannot_be_watched_is_said_clearly() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(WatchSource::watch(folder.path().join("none")), Err(WatchError::Missing(_))));
    assert!(matches!(WatchSource::watch(&file), Err(WatchError::NotAFolder(_))));
    let error = WatchSource::watch("/no/such/folder").err().unwrap().to_string();
    assert_eq!(error, "cannot watch /no/such/folder: there is no such folder");
    let error = WatchSource::builder(folder.path()).entries_max(0).watch().err().unwrap();
    assert!(matches!(error, WatchError::TooManyEntries(_, 0)), "{error}");
}

#[test]
fn what_was_there_before_is_not_created() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("d")).unwrap();
    fs::write(folder.path().join("d/a"), "").unwrap();
    let mut bench = bench(folder.path());
    assert!(bench.audit());
    let worktree = bench.worktree();
    assert_eq!((worktree.entries, worktree.counts.created), (2, 0));
    assert_eq!(worktree.path.as_deref(), Some(&*folder.path().canonicalize().unwrap()));
}

/// Creates and renames files in nested folders, removes every other one, and polls meanwhile.
fn run_script(bench: &mut Bench<WatchSource>, root: &Path, files: u64) {
    let script = root.to_owned();
    let runner = std::thread::spawn(move || {
        for number in 0..files {
            let home = script.join(format!("top{}/d{}", number % 20 % 4, number % 20));
            fs::write(home.join(format!("f{number}")), "x").unwrap();
            fs::rename(home.join(format!("f{number}")), home.join(format!("g{number}"))).unwrap();
            if number % 2 == 0 {
                fs::remove_file(home.join(format!("g{number}"))).unwrap();
            }
        }
    });
    while !runner.is_finished() {
        bench.poll();
    }
    runner.join().unwrap();
}

fn create_nested_folders(root: &Path) {
    for number in 0..20 {
        fs::create_dir_all(root.join(format!("top{}/d{number}", number % 4))).unwrap();
    }
}

#[test]
fn a_script_and_the_events_count_the_same() {
    const FILES: u64 = 2_000;
    let folder = tempfile::tempdir().unwrap();
    let mut bench = bench(folder.path());
    create_nested_folders(folder.path());
    assert!(bench.audit());
    run_script(&mut bench, folder.path(), FILES);
    assert!(bench.audit(), "nothing was missed");
    bench.assert_equals_disk();
    let worktree = bench.worktree();
    assert_eq!((worktree.divergences, worktree.entries), (0, FILES / 2 + 24));
    let counts = worktree.counts;
    assert_eq!((counts.created, counts.renamed, counts.removed), (FILES + 24, FILES, FILES / 2));
}

#[test]
fn folders_that_are_too_new_to_be_watched_are_known_in_the_end() {
    const FILES: u64 = 2_000;
    let folder = tempfile::tempdir().unwrap();
    let mut bench = bench(folder.path());
    create_nested_folders(folder.path());
    run_script(&mut bench, folder.path(), FILES);
    assert!(bench.audit());
    bench.assert_equals_disk();
    // What came and went before its folder was watched was never seen, but nothing is counted twice.
    let counts = bench.worktree().counts;
    assert!(counts.created <= FILES + 24 && counts.renamed <= FILES && counts.removed <= FILES / 2, "{counts:?}");
    assert_eq!(counts.created - counts.removed, FILES / 2 + 24);
}

#[test]
fn ten_thousand_files_in_a_watched_folder_are_counted_exactly() {
    const FILES: u64 = 10_000;
    let folder = tempfile::tempdir().unwrap();
    let mut bench = bench(folder.path());
    let script = folder.path().to_owned();
    let runner = std::thread::spawn(move || {
        for number in 0..FILES {
            fs::write(script.join(format!("f{number}")), "x").unwrap();
            fs::rename(script.join(format!("f{number}")), script.join(format!("g{number}"))).unwrap();
            fs::remove_file(script.join(format!("g{number}"))).unwrap();
        }
    });
    while !runner.is_finished() {
        bench.poll();
    }
    runner.join().unwrap();
    bench.audit();
    bench.assert_equals_disk();
    let worktree = bench.worktree();
    if worktree.divergences == 0 {
        let counts = worktree.counts;
        assert_eq!((counts.created, counts.renamed, counts.removed), (FILES, FILES, FILES));
    } else {
        assert!(bench.count(is_reconciled) > 1, "a divergence is reported and reconciled");
    }
}

#[test]
fn folders_move_and_go_with_all_that_is_in_them() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir_all(elsewhere.path().join("in/deep")).unwrap();
    fs::write(elsewhere.path().join("in/deep/file"), "").unwrap();
    let mut bench = bench(folder.path());

    fs::rename(elsewhere.path().join("in"), folder.path().join("in")).unwrap();
    bench.poll_until("three entries that came in", |events| {
        worktree_events(events).filter(|event| matches!(event, WorktreeEvent::Created { .. })).count() == 3
    });
    fs::rename(folder.path().join("in"), folder.path().join("moved")).unwrap();
    fs::write(folder.path().join("moved/deep/second"), "").unwrap();
    assert!(bench.audit());
    assert_eq!(bench.worktree().counts.renamed, 1);
    bench.assert_equals_disk();

    fs::rename(folder.path().join("moved"), elsewhere.path().join("out")).unwrap();
    assert!(bench.audit());
    let worktree = bench.worktree();
    assert_eq!((worktree.counts.created, worktree.counts.removed, worktree.entries), (4, 4, 0));
}

#[test]
fn changes_to_contents_are_told_by_path() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a"), "").unwrap();
    let mut bench = bench(folder.path());
    fs::write(folder.path().join("a"), "more").unwrap();
    bench.poll_until("a modification", |events| {
        has(events, |event| matches!(event, WorktreeEvent::Modified { path, .. } if **path == *Path::new("a")))
    });
    assert!(bench.audit());
    assert_eq!(bench.worktree().counts.created, 0);
}

#[test]
fn a_full_queue_is_a_divergence_that_is_reconciled() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = bench_with(WatchSource::builder(folder.path()).queue_capacity(4));
    for number in 0..500 {
        fs::write(folder.path().join(number.to_string()), "x").unwrap();
    }
    bench.poll_until("a reconciliation", is_over);
    assert!(bench.audit());
    bench.assert_equals_disk();
    let worktree = bench.worktree();
    assert_eq!((worktree.entries, worktree.counts.created), (500, 500));
    assert!(worktree.mirror.is_in_sync());
    assert!(matches!(worktree.last_divergence, Some(DivergenceCause::QueueFull { dropped }) if dropped > 0));
    // Announced before the first difference that it explains.
    let order: Vec<&WorktreeEvent> = worktree_events(&bench.events).collect();
    let diverged = order.iter().position(|event| matches!(event, WorktreeEvent::Diverged { .. })).unwrap();
    assert!(diverged < order.iter().rposition(|event| is_reconciled(event)).unwrap());
}

#[test]
fn a_watcher_that_lost_track_is_replaced_and_the_disk_decides() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = bench(folder.path());
    for (round, change) in [Change::Overflow, Change::Failed("broken".into())].into_iter().enumerate() {
        bench.source.changes.push(change);
        fs::create_dir(folder.path().join(format!("d{round}"))).unwrap();
        let start = bench.events.len();
        bench.poll_until("a reconciliation", |events| is_over(&events[start..]));
        fs::write(folder.path().join(format!("d{round}/after")), "").unwrap();
        assert!(bench.audit());
        bench.assert_equals_disk();
    }
    let worktree = bench.worktree();
    assert_eq!((worktree.divergences, worktree.counts.created), (2, 4));
    assert_eq!(worktree.last_divergence, Some(DivergenceCause::WatcherFailed("broken".into())));
}

#[test]
fn a_file_that_is_written_to_after_its_removal_is_gone() {
    use std::io::Write;
    let folder = tempfile::tempdir().unwrap();
    let mut bench = bench(folder.path());
    let mut file = fs::File::create(folder.path().join("a")).unwrap();
    fs::remove_file(folder.path().join("a")).unwrap();
    bench.poll_until("the removal", |events| has(events, |event| matches!(event, WorktreeEvent::Removed { .. })));
    for _ in 0..100 {
        file.write_all(b"more").unwrap();
    }
    assert!(bench.audit());
    let counts = bench.worktree().counts;
    assert_eq!((counts.created, counts.removed), (1, 1));
}

#[test]
fn a_folder_that_is_gone_is_waited_for_and_reconciled() {
    let parent = tempfile::tempdir().unwrap();
    let (root, away) = (parent.path().join("root"), parent.path().join("away"));
    fs::create_dir(&root).unwrap();
    fs::write(root.join("stays"), "").unwrap();
    fs::write(root.join("goes"), "").unwrap();
    let mut bench = bench(&root);

    fs::rename(&root, &away).unwrap();
    bench.poll_until("the loss of the folder", |events| {
        has(events, |event| matches!(event, WorktreeEvent::Diverged { reason: DivergenceCause::RootMissing, .. }))
    });
    assert!(bench.worktree().root_missing());
    assert!(!bench.audit(), "a folder that is gone is not in sync");

    fs::remove_file(away.join("goes")).unwrap();
    fs::create_dir(away.join("new")).unwrap();
    fs::rename(&away, &root).unwrap();
    bench.poll_until("the return of the folder", is_over);
    bench.assert_equals_disk();
    assert!(!bench.worktree().root_missing());

    fs::write(root.join("new/after"), "").unwrap();
    assert!(bench.audit());
    let counts = bench.worktree().counts;
    assert_eq!((counts.created, counts.removed), (2, 1));
}

#[test]
fn another_folder_at_the_same_path_is_noticed() {
    let parent = tempfile::tempdir().unwrap();
    let root = parent.path().join("root");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("old"), "").unwrap();
    let mut bench = bench(&root);
    fs::remove_dir_all(&root).unwrap();
    fs::create_dir(&root).unwrap();
    fs::write(root.join("new"), "").unwrap();
    bench.poll_until("a reconciliation", is_over);
    assert!(bench.audit());
    bench.assert_equals_disk();
    let counts = bench.worktree().counts;
    assert_eq!((counts.created, counts.removed), (1, 1));
}

#[test]
fn an_audit_finds_what_no_report_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = bench(folder.path());
    assert!(bench.audit());
    // As if its report had been lost.
    bench.source.mirror.settle(&[Fact::Created { path: Path::new("ghost").into(), kind: EntryKind::File }]);
    assert!(!bench.audit());
    let reason = DivergenceCause::Audit { differences: 1 };
    assert!(
        has(&bench.events, |event| *event == WorktreeEvent::Diverged { worktree: WORKTREE, reason: reason.clone() })
    );
    let is_it =
        |event: &WorktreeEvent| matches!(event, WorktreeEvent::Reconciled { entries: 0, created: 0, removed: 1, .. });
    assert!(has(&bench.events, is_it));
    assert!(bench.audit());

    fs::write(folder.path().join("after"), "").unwrap();
    bench.poll_until("a report to the new watcher", |events| {
        has(events, |event| matches!(event, WorktreeEvent::Created { .. }))
    });
}

#[test]
fn a_tree_that_is_built_at_once_is_known_in_full() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = bench(folder.path());
    let mut entries = 0;
    for top in 0..5 {
        let mut path = folder.path().join(format!("t{top}"));
        for depth in 0..20 {
            path.push(format!("d{depth}"));
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("file"), "").unwrap();
            entries += 2;
        }
    }
    assert!(bench.audit());
    bench.assert_equals_disk();
    assert_eq!(bench.worktree().counts.created, entries + 5);
    fs::remove_dir_all(folder.path().join("t0")).unwrap();
    assert!(bench.audit());
    assert_eq!(bench.worktree().counts.removed, 41);
}

#[test]
fn a_closed_source_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = bench(folder.path());
    bench.source.control().close();
    bench.poll_to_the_end();
}

/// What one call of the source emits.
fn emitted(
    bench: &mut Bench<WatchSource>,
    call: impl FnOnce(&mut WatchSource, &mut Outlet<WorkspaceEvent>),
) -> Vec<WorktreeEvent> {
    let mut outlet = outlet();
    call(&mut bench.source, &mut outlet);
    let events: Vec<WorkspaceEvent> = outlet.staged.drain(..).map(|(_, event)| event).collect();
    worktree_events(&events).cloned().collect()
}

fn ghost(path: &str) -> Fact {
    Fact::Created { path: Path::new(path).into(), kind: EntryKind::File }
}

#[test]
fn a_comparison_tells_how_many_came_and_how_many_went() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = bench(folder.path());
    bench.source.mirror.settle(&["gone", "lost"].map(ghost));
    for name in ["a", "b", "c"] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    let events = emitted(&mut bench, |source, outlet| {
        assert_eq!(source.compare(Path::new(""), outlet).unwrap(), (3, 2));
        assert_eq!(source.compare(Path::new(""), outlet).unwrap(), (0, 0));
    });
    assert_eq!(events.len(), 5);
}

#[test]
fn a_folder_that_cannot_be_read_is_told_once_for_as_long_as_that_is_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = bench(folder.path());
    let mut told = |scope: &str, unreadable: &[&str]| {
        let denied = |path: &&str| (Path::new(path).into(), std::io::ErrorKind::PermissionDenied.into());
        let found = Scan { unreadable: unreadable.iter().map(denied).collect(), ..Scan::default() };
        let events = emitted(&mut bench, |source, outlet| source.note_unreadable(Path::new(scope), found, outlet));
        let paths = events.into_iter().filter_map(|event| match event {
            WorktreeEvent::Unreadable { path, .. } => Some(path.to_str().unwrap().to_owned()),
            _ => None,
        });
        paths.collect::<Vec<_>>()
    };
    assert_eq!(told("", &["a", "b/c"]), ["a", "b/c"]);
    assert_eq!(told("b", &["b/c"]), [""; 0], "it still cannot be read");
    assert_eq!(told("b", &[]), [""; 0], "now it can, and nothing was looked at but b");
    assert_eq!(told("", &["a", "b/c"]), ["b/c"]);
}

fn comparing(comparison: u64) -> WorktreeEvent {
    WorktreeEvent::Comparing { worktree: WORKTREE, comparison: Comparison(comparison) }
}

fn reconciled(comparison: u64, [entries, created, removed]: [u64; 3]) -> WorktreeEvent {
    let comparison = Comparison(comparison);
    WorktreeEvent::Reconciled { worktree: WORKTREE, comparison, entries, created, removed }
}

#[test]
fn a_watcher_is_replaced_where_there_is_a_folder_and_given_up_where_there_is_none() {
    let parent = tempfile::tempdir().unwrap();
    let root = parent.path().join("root");
    fs::create_dir(&root).unwrap();
    let mut bench = bench(&root);
    bench.source.watching = None;
    assert_eq!(emitted(&mut bench, |source, outlet| assert!(source.rewatch(outlet).unwrap())), []);
    assert!(bench.source.watching.is_some());
    fs::remove_dir(&root).unwrap();
    let missing = WorktreeEvent::Diverged { worktree: WORKTREE, reason: DivergenceCause::RootMissing };
    assert_eq!(emitted(&mut bench, |source, outlet| assert!(!source.rewatch(outlet).unwrap())), [missing]);
    assert!(bench.source.watching.is_none());
}

#[test]
fn an_audit_looks_again_before_it_believes_in_a_difference() {
    let folder = tempfile::tempdir().unwrap();
    let (mut bench, worktree) = (bench(folder.path()), WORKTREE);
    let audit = |bench: &mut Bench<_>| emitted(bench, |source, outlet| source.audit(outlet).unwrap());
    let audited = |in_sync| WorktreeEvent::Audited { worktree, in_sync, entries: 0 };
    assert_eq!(audit(&mut bench), [comparing(1), reconciled(1, [0; 3]), audited(true)]);
    bench.source.mirror.settle(&[ghost("ghost")]);
    let looks = [(); AUDIT_LOOKS as usize].map(|()| audit(&mut bench));
    let found = [
        comparing(4),
        WorktreeEvent::Diverged { worktree, reason: DivergenceCause::Audit { differences: 1 } },
        comparing(5),
        WorktreeEvent::Removed { worktree, path: Path::new("ghost").into() },
        comparing(6),
        reconciled(6, [0, 0, 1]),
        audited(false),
    ];
    assert_eq!(looks, [vec![comparing(2)], vec![comparing(3)], found.to_vec()]);
}

#[path = "worktree_divergence_tests.rs"]
mod divergence;

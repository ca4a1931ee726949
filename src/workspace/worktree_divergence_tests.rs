//! Folders that change behind the watch's back, or while they are compared: what is found, and what is not said to be equal.

use super::*;

fn announced() -> OpenDivergence {
    OpenDivergence { announced: true, ..OpenDivergence::new(false) }
}

/// The first comparison, like any that nothing new speaks for, takes nothing over: a report may be on its way.
#[test]
fn a_comparison_that_nothing_speaks_for_looks_again_before_it_believes_in_a_difference() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = bench(folder.path());
    bench.source.mirror.settle(&[ghost("ghost")]);
    bench.source.compare_soon();
    let mut confirm = |is_quiet| emitted(&mut bench, |source, outlet| source.confirm(is_quiet, outlet).unwrap());
    let looks = [false, false, false, true].map(&mut confirm);
    assert_eq!(looks[..3], [1, 2, 3].map(|look| vec![comparing(look)]), "while reports come nothing is certain");
    let what = DivergenceCause::Audit { differences: 1 };
    assert_eq!(looks[3], [comparing(4), WorktreeEvent::Diverged { worktree: WORKTREE, reason: what }]);
    let events = emitted(&mut bench, |source, outlet| source.reconcile(outlet).unwrap());
    assert_eq!(events.last(), Some(&reconciled(6, [0, 0, 1])));
}

#[test]
fn reports_that_were_dropped_since_a_divergence_are_told_before_it_is_reconciled() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = bench(folder.path());
    let full = WorktreeEvent::Diverged { worktree: WORKTREE, reason: DivergenceCause::QueueFull { dropped: 3 } };
    let plain = vec![comparing(1), reconciled(1, [0; 3])];
    for (dropped, expected) in [(0, plain), (3, vec![full, comparing(2), reconciled(2, [0; 3])])] {
        bench.source.divergence = Some(OpenDivergence { dropped, ..announced() });
        assert_eq!(emitted(&mut bench, |source, outlet| source.reconcile(outlet).unwrap()), expected);
        assert_eq!(emitted(&mut bench, |source, outlet| source.reconcile(outlet).unwrap()), [], "once");
    }
}

#[test]
fn a_comparison_that_takes_something_over_is_followed_by_one_that_finds_nothing() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("new"), "").unwrap();
    let mut bench = bench(folder.path());
    bench.source.mirror.settle(&[ghost("ghost"), Fact::Removed { path: Path::new("new").into() }]);
    bench.source.divergence = Some(announced());
    let events = emitted(&mut bench, |source, outlet| source.reconcile(outlet).unwrap());
    assert_eq!((&events[0], events.len()), (&comparing(1), 5));
    assert_eq!(events[3..], [comparing(2), reconciled(2, [1, 1, 1])]);
}

/// As a folder is that keeps changing while it is compared.
#[test]
fn a_folder_that_never_holds_still_is_not_said_to_be_equal() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = bench(folder.path());
    bench.source.divergence = Some(announced());
    let (stop, path) = (Arc::new(crate::sync::AtomicBool::new(false)), folder.path().to_owned());
    let is_over = stop.clone();
    let busy = std::thread::spawn(move || {
        for number in 0_u64.. {
            fs::write(path.join(format!("f{number}")), "").unwrap();
            if is_over.load(Ordering::Relaxed) {
                return number + 1;
            }
        }
        0
    });
    let mut events = Vec::new();
    while bench.source.comparisons < 40 {
        bench.source.divergence.get_or_insert_with(announced);
        events.push(emitted(&mut bench, |source, outlet| source.reconcile(outlet).unwrap()));
    }
    stop.store(true, Ordering::Relaxed);
    let files = busy.join().unwrap();
    for look in &events {
        // Equal is what the last comparison found, if it took nothing over.
        let newest = look.iter().rposition(|event| matches!(event, WorktreeEvent::Comparing { .. })).unwrap();
        let taken_over = look[newest + 1..].iter().filter(|event| !is_reconciled(event)).count();
        assert_eq!(look.last().is_some_and(is_reconciled), taken_over == 0, "{look:?}");
    }
    assert!(events.iter().any(|look| !look.last().is_some_and(is_reconciled)), "it did keep changing");
    bench.source.divergence = Some(announced());
    let last = emitted(&mut bench, |source, outlet| source.reconcile(outlet).unwrap());
    let equal = last.last().unwrap();
    assert!(matches!(equal, WorktreeEvent::Reconciled { entries, .. } if *entries == files), "{equal:?}");
}

#[test]
fn what_a_dead_watcher_does_not_tell_is_found_by_a_comparison_and_reconciled() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(folder.path().join("old"), "").unwrap();
    let mut bench = bench(folder.path());
    bench.poll_until("the first comparison", |events| has(events, is_reconciled));
    assert_eq!(*bench.worktree().mirror.divergence(), Divergence::InSync);

    // It hears of another folder alone, and nobody can tell.
    let identity = bench.source.watching.as_ref().unwrap().identity;
    let mut deaf = Watching::start(elsewhere.path(), 16).unwrap();
    deaf.identity = identity;
    bench.source.watching = Some(deaf);
    fs::write(folder.path().join("new"), "").unwrap();
    fs::remove_file(folder.path().join("old")).unwrap();
    let start = bench.events.len();
    assert!(!bench.audit());
    let events: Vec<_> = worktree_events(&bench.events[start..]).cloned().collect();
    let found = DivergenceCause::Audit { differences: 2 };
    assert!(events.contains(&WorktreeEvent::Diverged { worktree: WORKTREE, reason: found.clone() }));
    bench.poll_until("a reconciliation", is_over);
    let worktree = bench.worktree();
    assert!(worktree.mirror.is_in_sync());
    assert_eq!((worktree.divergences, worktree.last_divergence), (1, Some(found)));
    bench.assert_equals_disk();
    // And the new watcher hears.
    fs::write(folder.path().join("after"), "").unwrap();
    bench.poll_until("a report", |events| {
        has(events, |event| matches!(event, WorktreeEvent::Created { path, .. } if **path == *Path::new("after")))
    });
}

#[test]
fn a_folder_that_cannot_be_read_keeps_a_worktree_from_being_equal() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = bench(folder.path());
    bench.poll_until("the first comparison", |events| has(events, is_reconciled));
    fs::create_dir(folder.path().join("d")).unwrap();
    assert!(bench.audit());
    // As a look finds it that has no right to read it.
    let denied = (Path::new("d").into(), std::io::ErrorKind::PermissionDenied.into());
    let found = Scan { unreadable: vec![denied], ..Scan::default() };
    let events = emitted(&mut bench, |source, outlet| {
        source.note_unreadable(Path::new("d"), found, outlet);
        source.announce_unreadable(outlet);
    });
    bench.events.extend(events.into_iter().map(WorkspaceEvent::Worktree));
    let what = DivergenceCause::Unreadable { folders: 1 };
    assert_eq!(bench.worktree().mirror.what(), Some(&what));
    // It can be read again, and someone looks.
    bench.source.next_unreadable_check = Instant::now();
    bench.poll_until("a reconciliation", is_over);
    assert!(bench.worktree().mirror.is_in_sync());
    assert!(bench.audit());
}

#[test]
fn a_watch_that_ends_says_that_nobody_watches() {
    let folder = tempfile::tempdir().unwrap();
    let mut closed = bench(folder.path());
    closed.poll_until("the first comparison", |events| has(events, is_reconciled));
    closed.source.control().close();
    closed.poll_to_the_end();
    assert_eq!(closed.worktree().mirror.what(), Some(&DivergenceCause::Unwatched));

    let mut full = bench_with(WatchSource::builder(folder.path()).entries_max(1));
    full.poll_until("the first comparison", |events| has(events, is_reconciled));
    for name in ["a", "b"] {
        fs::write(folder.path().join(name), "").unwrap();
    }
    let mut outlet = outlet();
    let error = loop {
        if let Err(error) = full.source.poll(&mut outlet) {
            break error.to_string();
        }
    };
    full.events.extend(outlet.staged.drain(..).map(|(_, event)| event));
    assert_eq!(full.worktree().mirror.what(), Some(&DivergenceCause::WatcherFailed(error.into())));
}

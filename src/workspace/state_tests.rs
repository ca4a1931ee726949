//! Tests of the state of a workspace.

use super::*;
use crate::register::{Comparison, Divergence};
use crate::workspace::testing::apply_all;
use crate::workspace::{EntryKind, MODEL};
use crate::{Event, Operation, OperationId, Phase};

const PANE: PaneId = PaneId(7);
const WORKTREE: WorktreeId = WorktreeId(3);

fn operation(sequence: u64, phase: Phase) -> Operation {
    Operation { id: OperationId(7), sequence, phase }
}

fn started() -> WorkspaceEvent {
    let operation = operation(0, Phase::Started);
    let folder = Some(Path::new("/srv").into());
    WorkspaceEvent::Pane(PaneEvent::Started { pane: PANE, command: "make".into(), folder, operation })
}

fn output(bytes: u64) -> WorkspaceEvent {
    let operation = operation(1, Phase::Progress);
    let (last_line, text) = ("done".into(), "done\n".into());
    WorkspaceEvent::Pane(PaneEvent::Output { pane: PANE, bytes, lines: 1, last_line, text, operation })
}

fn created(path: &str) -> WorkspaceEvent {
    let (path, kind) = (Path::new(path).into(), EntryKind::File);
    WorkspaceEvent::Worktree(WorktreeEvent::Created { worktree: WORKTREE, path, kind })
}

fn removed(path: &str) -> WorkspaceEvent {
    WorkspaceEvent::Worktree(WorktreeEvent::Removed { worktree: WORKTREE, path: Path::new(path).into() })
}

#[test]
fn a_pane_lives_from_its_start_to_its_exit() {
    let mut state = Workspace::default();
    let operation = operation(3, Phase::Terminal);
    let exited = WorkspaceEvent::Pane(PaneEvent::Exited { pane: PANE, exit: Exit::Code(2), operation });
    let effects = apply_all(&mut state, &[started(), output(10), output(5), exited]);
    let pane = &state.model.panes[&PANE];
    assert_eq!((pane.bytes, pane.lines, &*pane.last_line), (15, 2, "done"));
    assert_eq!(pane.state, PaneState::Exited(Exit::Code(2)));
    assert_eq!(pane.working_directory(), Some(Path::new("/srv")));
    assert_eq!(effects.pending, [WorkspaceEffect::PaneEnded(PANE)]);
}

#[test]
fn a_pane_whose_end_nobody_saw_is_lost() {
    let mut state = Workspace::default();
    let lost = WorkspaceEvent::Pane(PaneEvent::Lost { pane: PANE });
    let effects = apply_all(&mut state, &[started(), output(10), lost]);
    let pane = &state.model.panes[&PANE];
    assert_eq!((&pane.state, pane.bytes), (&PaneState::Lost, 10));
    assert_eq!(effects.pending, [WorkspaceEffect::PaneEnded(PANE)]);
}

#[test]
fn the_state_knows_the_folder_of_a_pane() {
    let mut state = Workspace::default();
    apply_all(&mut state, &[started()]);
    let event = output(1);
    let facets = state.facets_of(event.origin().unwrap(), &event).unwrap();
    assert_eq!(facets.folder.as_deref(), Some(Path::new("/srv")));
}

#[test]
fn a_snapshot_does_not_see_what_comes_after_it() {
    let mut state = Workspace::default();
    apply_all(&mut state, &[started(), output(10)]);
    let snapshot = state.clone();
    apply_all(&mut state, &[output(5)]);
    assert_eq!(snapshot.model.panes[&PANE].bytes, 10);
    assert_eq!((snapshot.model.panes[&PANE].scrollback.count(), state.model.panes[&PANE].scrollback.count()), (1, 2));
    assert_eq!(state.model.panes[&PANE].bytes, 15);
}

fn opened(entries: u64) -> WorktreeEvent {
    WorktreeEvent::Opened { worktree: WORKTREE, path: Path::new("/srv").into(), entries }
}

fn diverged(reason: DivergenceCause) -> WorktreeEvent {
    WorktreeEvent::Diverged { worktree: WORKTREE, reason }
}

fn comparing(comparison: u64) -> WorktreeEvent {
    WorktreeEvent::Comparing { worktree: WORKTREE, comparison: Comparison(comparison) }
}

fn reconciled(comparison: u64, entries: u64) -> WorktreeEvent {
    let comparison = Comparison(comparison);
    WorktreeEvent::Reconciled { worktree: WORKTREE, comparison, entries, created: 0, removed: 0 }
}

fn mirror_of(state: &Workspace) -> Divergence<u64, DivergenceCause> {
    state.model.worktrees[&WORKTREE].mirror.divergence().clone()
}

#[test]
fn a_worktree_is_in_sync_when_it_was_compared_and_not_before() {
    let mut state = Workspace::default();
    of_worktree(&mut state, &[opened(1)]);
    let what = DivergenceCause::NotCompared;
    assert_eq!(mirror_of(&state), Divergence::Diverged { since: 1, what: what.clone() });
    of_worktree(&mut state, &[comparing(1)]);
    assert_eq!(mirror_of(&state), Divergence::Reconciling { since: 1, what });
    of_worktree(&mut state, &[reconciled(1, 1)]);
    assert_eq!(mirror_of(&state), Divergence::InSync);

    let what = DivergenceCause::SystemOverflow;
    let effects = of_worktree(&mut state, &[diverged(what.clone()), comparing(2)]);
    assert_eq!(effects.pending, [WorkspaceEffect::Diverged(WORKTREE)]);
    apply_all(&mut state, &[created("b")]);
    assert_eq!(mirror_of(&state), Divergence::Reconciling { since: 4, what: what.clone() });
    of_worktree(&mut state, &[comparing(3), reconciled(2, 2)]);
    assert_eq!(mirror_of(&state), Divergence::Reconciling { since: 4, what: what.clone() }, "another was begun since");
    of_worktree(&mut state, &[reconciled(3, 2)]);
    let worktree = &state.model.worktrees[&WORKTREE];
    assert_eq!((worktree.mirror.is_in_sync(), worktree.entries, worktree.divergences), (true, 2, 1));
    assert_eq!(worktree.last_divergence, Some(what));
}

#[test]
fn a_divergence_while_it_is_compared_outlasts_the_comparison() {
    let mut state = Workspace::default();
    of_worktree(&mut state, &[opened(0), comparing(1), diverged(DivergenceCause::SystemOverflow), reconciled(1, 0)]);
    assert_eq!(mirror_of(&state), Divergence::Diverged { since: 1, what: DivergenceCause::SystemOverflow });
    let audited = WorktreeEvent::Audited { worktree: WORKTREE, in_sync: true, entries: 0 };
    of_worktree(&mut state, &[audited]);
    assert!(!state.model.worktrees[&WORKTREE].mirror.is_in_sync(), "nobody but a comparison says so");
}

#[test]
fn more_removals_than_entries_are_a_divergence_that_only_the_disk_ends() {
    let mut state = Workspace::default();
    of_worktree(&mut state, &[opened(0), comparing(1), reconciled(1, 0)]);
    let effects = apply_all(&mut state, &[created("a"), removed("a"), removed("b")]);
    let expected = [WorkspaceEffect::Diverged(WORKTREE), WorkspaceEffect::RescanWorktree(WORKTREE)];
    assert_eq!(effects.pending, expected);
    assert_eq!(mirror_of(&state), Divergence::Diverged { since: 6, what: DivergenceCause::Contradiction });
    // The disk has one more than was counted: that is taken over, and compared again.
    let effects = of_worktree(&mut state, &[comparing(2), reconciled(2, 1)]);
    assert_eq!(effects.pending, [WorkspaceEffect::RescanWorktree(WORKTREE)], "no further divergence");
    assert!(!state.model.worktrees[&WORKTREE].mirror.is_in_sync());
    of_worktree(&mut state, &[comparing(3), reconciled(3, 1)]);
    let worktree = &state.model.worktrees[&WORKTREE];
    assert_eq!((worktree.mirror.is_in_sync(), worktree.entries, worktree.divergences), (true, 1, 1));
}

#[test]
fn each_owner_reports_what_is_not_its_own() {
    let (mut model, mut layout) = (Model::default(), Layout::default());
    let focused = WorkspaceEvent::Layout(LayoutEvent::Focused { pane: Some(PANE) });
    let effects = crate::workspace::testing::with_envelope(&focused, |envelope, effects| {
        model.apply(envelope, effects);
    });
    assert_eq!(effects.misrouted_to, Some(MODEL));
    let effects = crate::workspace::testing::with_envelope(&started(), |envelope, effects| {
        layout.apply(envelope, effects);
    });
    assert_eq!(effects.misrouted_to, Some(LAYOUT));
    assert_eq!((model, layout), (Model::default(), Layout::default()));
}

#[test]
fn the_layout_follows_the_user() {
    let mut state = Workspace::default();
    let events = [
        LayoutEvent::Visible { pane: PaneId(1), visible: true },
        LayoutEvent::Visible { pane: PaneId(2), visible: true },
        LayoutEvent::Visible { pane: PaneId(1), visible: false },
        LayoutEvent::Focused { pane: Some(PaneId(2)) },
        LayoutEvent::Zoomed { pane: Some(PaneId(2)) },
    ];
    apply_all(&mut state, &events.map(WorkspaceEvent::Layout));
    assert_eq!(state.layout.visible.iter().copied().collect::<Vec<_>>(), [PaneId(2)]);
    assert_eq!((state.layout.focused, state.layout.zoomed), (Some(PaneId(2)), Some(PaneId(2))));
}

fn of_pane(state: &mut Workspace, events: &[PaneEvent]) -> Effects<WorkspaceEffect> {
    apply_all(state, &events.iter().cloned().map(WorkspaceEvent::Pane).collect::<Vec<_>>())
}

fn of_worktree(state: &mut Workspace, events: &[WorktreeEvent]) -> Effects<WorkspaceEffect> {
    apply_all(state, &events.iter().cloned().map(WorkspaceEvent::Worktree).collect::<Vec<_>>())
}

#[test]
fn a_pane_knows_what_its_shell_said_last() {
    let (mut state, pane) = (Workspace::default(), PANE);
    let bells = [2, 3].map(|count| PaneEvent::Bell { pane, count });
    assert_eq!(of_pane(&mut state, &bells).pending, [WorkspaceEffect::Bell(PANE); 2]);
    let folder = Path::new("/srv/a").into();
    of_pane(
        &mut state,
        &[PaneEvent::Title { pane, title: "build".into() }, PaneEvent::WorkingDirectory { pane, folder }],
    );
    of_pane(&mut state, &[PaneEvent::CommandStarted { pane }]);
    assert_eq!(state.model.panes[&PANE].activity, PaneActivity::InCommand);
    let exit_code = Some(2);
    of_pane(
        &mut state,
        &[PaneEvent::CommandFinished { pane, exit_code: None }, PaneEvent::CommandFinished { pane, exit_code }],
    );
    let pane = &state.model.panes[&PANE];
    assert_eq!((pane.bells, &*pane.title, pane.commands, pane.last_exit_code), (5, "build", 2, Some(2)));
    assert_eq!((pane.activity, pane.working_directory()), (PaneActivity::AtPrompt, Some(Path::new("/srv/a"))));
}

#[test]
fn a_worktree_counts_what_happens_to_its_entries() {
    let (mut state, worktree) = (Workspace::default(), WORKTREE);
    let path: Arc<Path> = Path::new("/srv/project").into();
    let renamed = |replaced| WorktreeEvent::Renamed { worktree, from: path.clone(), to: path.clone(), replaced };
    let modified = |changes| WorktreeEvent::Modified { worktree, path: path.clone(), changes };
    let unreadable = || WorktreeEvent::Unreadable { worktree, path: path.clone(), reason: "locked".into() };
    let audited = |in_sync| WorktreeEvent::Audited { worktree, in_sync, entries: 0 };
    of_worktree(&mut state, &[WorktreeEvent::Opened { worktree, path: path.clone(), entries: 10 }]);
    apply_all(&mut state, &[created("a"), created("b"), removed("a"), removed("b"), removed("c")]);
    let effects =
        of_worktree(&mut state, &[renamed(0), renamed(4), modified(2), modified(3), unreadable(), unreadable()]);
    of_worktree(&mut state, &[audited(true), audited(false)]);
    let known = &state.model.worktrees[&WORKTREE];
    assert_eq!(known.counts, WorktreeCounts { created: 2, modified: 5, removed: 3, renamed: 2 });
    assert_eq!((known.entries, known.unreadable, effects.pending), (5, 2, [].into()));
    assert_eq!((known.audits, known.last_audit_in_sync), (2, Some(false)));
    assert_eq!((known.mirror.what(), known.path.as_ref()), (Some(&DivergenceCause::NotCompared), Some(&path)));
    assert_eq!(known.told, 12, "changes to contents are not among them");
}

#[test]
fn only_a_worktree_whose_folder_is_gone_misses_its_root() {
    let mut state = Workspace::default();
    let mut missing_after = |reason| {
        of_worktree(&mut state, &[diverged(reason)]);
        state.model.worktrees[&WORKTREE].root_missing()
    };
    assert!(!missing_after(DivergenceCause::SystemOverflow));
    assert!(missing_after(DivergenceCause::RootMissing));
    of_worktree(&mut state, &[comparing(1)]);
    assert!(state.model.worktrees[&WORKTREE].root_missing());
    of_worktree(&mut state, &[reconciled(1, 0)]);
    let known = &state.model.worktrees[&WORKTREE];
    assert_eq!((known.root_missing(), known.divergences), (false, 2));
}

#[test]
fn a_worktree_that_nobody_watches_is_not_in_sync_until_it_is_compared_again() {
    let (mut state, worktree) = (Workspace::default(), WORKTREE);
    let audited = WorktreeEvent::Audited { worktree, in_sync: true, entries: 3 };
    of_worktree(&mut state, &[opened(3), comparing(1), reconciled(1, 3), audited]);
    of_worktree(&mut state, &[WorktreeEvent::Unwatched { worktree }]);
    let known = state.model.worktrees[&WORKTREE].clone();
    assert_eq!((known.mirror.what(), known.last_audit_in_sync), (Some(&DivergenceCause::Unwatched), Some(true)));
    assert_eq!((known.root_missing(), known.divergences), (false, 0));
    // Its comparisons are numbered anew.
    of_worktree(&mut state, &[opened(3), comparing(1)]);
    assert!(!state.model.worktrees[&WORKTREE].mirror.is_in_sync());
    of_worktree(&mut state, &[reconciled(1, 3)]);
    let known = &state.model.worktrees[&WORKTREE];
    assert_eq!((known.mirror.is_in_sync(), known.last_audit_in_sync, known.audits), (true, None, 1));
}

#[test]
fn readings_services_and_plug_ins_are_kept_where_they_belong() {
    let (mut state, worktree, provider) = (Workspace::default(), WORKTREE, "git");
    let status = VersionStatus { branch: Some("main".into()), changed: 2 };
    let service = ServiceEvent::VersionControl { provider, worktree, status: status.clone() };
    let mood = |bytes| PlugInEvent { plugin: "mood", schema: "mood/1", payload: vec![0; bytes].into() };
    let readings = [
        SystemEvent::Memory { process_rss: 1, machine_used: 2, machine_total: 3 },
        SystemEvent::Load { one: 4.0, five: 5.0, fifteen: 6.0 },
        SystemEvent::Processor { process_percent: 7.0 },
    ];
    apply_all(&mut state, &readings.map(WorkspaceEvent::System));
    apply_all(&mut state, &[2, 3].map(|bytes| WorkspaceEvent::PlugIn(mood(bytes))));
    apply_all(&mut state, &[WorkspaceEvent::Service(service)]);
    let (load, process_percent) = ([4.0, 5.0, 6.0], 7.0);
    let machine = Machine { process_rss: 1, memory_used: 2, memory_total: 3, load, process_percent };
    assert_eq!(state.model.machine, machine);
    assert_eq!(state.model.plug_ins[&("mood", "mood/1")], PlugInTally { events: 2, bytes: 5 });
    assert_eq!(state.model.version_control[&(WORKTREE, "git")], status);
}

#[test]
fn what_is_about_a_worktree_has_the_worktrees_context() {
    let (mut state, worktree) = (Workspace::default(), WORKTREE);
    let path = Path::new("/srv/project").into();
    of_worktree(&mut state, &[WorktreeEvent::Opened { worktree, path, entries: 0 }]);
    let service = ServiceEvent::VersionControl { provider: "git", worktree, status: VersionStatus::default() };
    for event in [created("a"), WorkspaceEvent::Service(service)] {
        let facets = state.facets_of(event.origin().unwrap(), &event).unwrap();
        assert_eq!(
            (facets.project.as_deref(), facets.folder.as_deref()),
            (Some("project"), Some(Path::new("/srv/project")))
        );
    }
    let elsewhere = WorkspaceEvent::Layout(LayoutEvent::Focused { pane: None });
    assert_eq!(state.facets_of(elsewhere.origin().unwrap(), &elsewhere), None);
}

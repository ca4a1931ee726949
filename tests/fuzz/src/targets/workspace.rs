//! The reference domain in the engine: `src/workspace/event.rs`, `class.rs` and `state.rs`.
//!
//! Whatever coalesces, the state is the same in the end: byte counts, line counts and bells add up, the newest of
//! everything else stands, and a scrollback has the newest lines that its pane's warmth allows. (A pane is not promoted here: of what it
//! wrote before that and after, more is kept when it comes as one.) A pipeline that turns now and then is compared with one that turns after every push, and both
//! with sums that are made without any engine.

use std::sync::{Arc, Mutex};

use mainlane::register::Comparison;
use mainlane::workspace::{
    DivergenceCause, EntryKind, Exit, LayoutEvent, Lines, PaneEvent, PaneId, PlugInEvent, ServiceEvent, SystemEvent,
    VersionStatus, Warmth, Workspace, WorkspaceEffect, WorkspaceEvent, WorktreeEvent, WorktreeId, classify_in,
};
use mainlane::{Budget, Lane, MainLane, Operation, OperationId, Phase, Pipeline};

use crate::choices::Choices;

const PANES: usize = 3;
/// As many events as fit into a ring that nobody reads.
const EVENTS_MAX: usize = 900;

/// A pipeline, and what it wanted done but for bells: they are one effect for each event that is left of them.
struct Host {
    main_lane: MainLane<Workspace>,
    lanes: Vec<Lane<WorkspaceEvent>>,
    effects: Arc<Mutex<Vec<WorkspaceEffect>>>,
}

/// What a source knows of its pane, and what must come of it.
#[derive(Clone, Copy, Default)]
struct Pane {
    sequence: u64,
    ended: bool,
    bytes: u64,
    lines: u64,
    bells: u64,
}

pub(super) fn check(data: &[u8]) {
    let mut choices = Choices::new(data);
    let (mut seldom, mut often) = (Host::new(), Host::new());
    let mut panes = [Pane::default(); PANES];
    let (mut modified, mut count) = (0, 0);
    while choices.are_left() && count < EVENTS_MAX {
        if choices.below(8) == 1 {
            let events = choices.one_of(&[usize::MAX, 0, 1, 2, 5]);
            seldom.main_lane.turn(Budget::events(events)).expect("no reducer panics here");
            continue;
        }
        let at = choices.below(PANES + 1);
        let event = match panes.get_mut(at) {
            Some(pane) if pane.ended => continue,
            Some(pane) => WorkspaceEvent::Pane(any_pane_event(&mut choices, PaneId(at as u64), pane)),
            None => any_other_event(&mut choices),
        };
        if let WorkspaceEvent::Worktree(WorktreeEvent::Modified { changes, .. }) = &event {
            modified += changes;
        }
        count += 1;
        seldom.push(at, event.clone());
        often.push(at, event);
        often.settle();
    }
    seldom.settle();
    let state = seldom.main_lane.state();
    assert_eq!(state, often.main_lane.state());
    assert_eq!(*seldom.effects.lock().unwrap(), *often.effects.lock().unwrap());
    for (id, sum) in panes.iter().enumerate() {
        let pane = state.model.panes.get(&PaneId(id as u64)).map(|pane| (pane.bytes, pane.lines, pane.bells));
        assert_eq!(pane.unwrap_or_default(), (sum.bytes, sum.lines, sum.bells), "pane {id}");
    }
    assert_eq!(state.held_bytes(), state.model.panes.values().map(|pane| pane.held_bytes()).sum::<u64>());
    assert_eq!(state.model.worktrees.values().map(|worktree| worktree.counts.modified).sum::<u64>(), modified);
}

impl Host {
    fn new() -> Self {
        let effects = Arc::new(Mutex::new(Vec::new()));
        let wanted = Arc::clone(&effects);
        let builder = Pipeline::builder(Workspace::default()).reconciler(move |effect, _: &Workspace| {
            if !matches!(effect, WorkspaceEffect::Bell(_)) {
                wanted.lock().unwrap().push(effect);
            }
        });
        let lane = |at: usize| builder.lane(at.to_string()).classify_by(classify_in).open().expect("in range");
        let lanes = (0..=PANES).map(lane).collect();
        let (main_lane, _) = builder.build().expect("in range");
        Self { main_lane, lanes, effects }
    }

    fn push(&mut self, lane: usize, event: WorkspaceEvent) {
        assert!(self.lanes[lane].push(event).is_ok(), "there is room");
    }

    fn settle(&mut self) {
        // What the first leaves behind, the second takes.
        for _ in 0..2 {
            self.main_lane.turn(Budget::UNLIMITED).expect("no reducer panics here");
        }
    }
}

impl Pane {
    fn next_operation(&mut self, id: PaneId, phase: Phase) -> Operation {
        let sequence = self.sequence;
        self.sequence += 1;
        Operation { id: OperationId(id.0), sequence, phase }
    }
}

fn any_pane_event(choices: &mut Choices<'_>, id: PaneId, pane: &mut Pane) -> PaneEvent {
    if pane.sequence == 0 {
        let operation = pane.next_operation(id, Phase::Started);
        return PaneEvent::Started { pane: id, command: "make".into(), folder: None, operation };
    }
    match choices.below(13) {
        0..=3 => {
            let operation = pane.next_operation(id, Phase::Progress);
            let (bytes, lines) = (u64::from(choices.byte()) << choices.one_of(&[0, 8, 40]), choices.byte().into());
            (pane.bytes, pane.lines) = (pane.bytes + bytes, pane.lines + lines);
            let last_line: Arc<str> = String::from_utf8_lossy(choices.bytes(2)).into();
            // Up to a few hundred lines: what is kept of several outputs is less than all of it.
            let text = Lines::from(&*format!("{last_line}\n").repeat(2 * lines as usize));
            PaneEvent::Output { pane: id, bytes, lines, last_line, text, operation }
        }
        4 | 5 => {
            let count = choices.byte().into();
            pane.bells += count;
            PaneEvent::Bell { pane: id, count }
        }
        6 => PaneEvent::Title { pane: id, title: String::from_utf8_lossy(choices.bytes(2)).into() },
        7 => {
            PaneEvent::WorkingDirectory { pane: id, folder: std::path::Path::new(choices.one_of(&["/a", "/b"])).into() }
        }
        8 => PaneEvent::PromptStarted { pane: id },
        9 => PaneEvent::CommandStarted { pane: id },
        11 => PaneEvent::Demoted { pane: id, to: choices.one_of(&[Warmth::Hot, Warmth::Warm, Warmth::Cold]) },
        10 => PaneEvent::CommandFinished { pane: id, exit_code: choices.one_of(&[None, Some(0), Some(-1)]) },
        _ => {
            pane.ended = true;
            let signal = Exit::Signal { number: 9, name: "Killed".into() };
            let exit = if choices.yes() { signal } else { Exit::Code(choices.byte().into()) };
            PaneEvent::Exited { pane: id, exit, operation: pane.next_operation(id, Phase::Terminal) }
        }
    }
}

fn any_other_event(choices: &mut Choices<'_>) -> WorkspaceEvent {
    let pane = PaneId(choices.below(PANES) as u64);
    match choices.below(10) {
        0 => WorkspaceEvent::Layout(LayoutEvent::Focused { pane: choices.yes().then_some(pane) }),
        1 => WorkspaceEvent::Layout(LayoutEvent::Visible { pane, visible: choices.yes() }),
        2 => WorkspaceEvent::Layout(LayoutEvent::Zoomed { pane: choices.yes().then_some(pane) }),
        3 => {
            let payload = choices.bytes(3).into();
            WorkspaceEvent::PlugIn(PlugInEvent { plugin: "plug-in", schema: choices.one_of(&["a", "b"]), payload })
        }
        4 => {
            let status = VersionStatus { branch: choices.yes().then(|| "main".into()), changed: choices.byte().into() };
            let worktree = WorktreeId(choices.below(2) as u64);
            WorkspaceEvent::Service(ServiceEvent::VersionControl { provider: "git", worktree, status })
        }
        5 => WorkspaceEvent::System(match choices.below(3) {
            0 => SystemEvent::Load { one: choices.byte().into(), five: 0.0, fifteen: 0.0 },
            1 => SystemEvent::Processor { process_percent: choices.byte().into() },
            _ => {
                let (process_rss, machine_used) = (choices.byte().into(), choices.byte().into());
                SystemEvent::Memory { process_rss, machine_used, machine_total: 1 << 30 }
            }
        }),
        _ => WorkspaceEvent::Worktree(any_worktree_event(choices)),
    }
}

fn any_worktree_event(choices: &mut Choices<'_>) -> WorktreeEvent {
    let worktree = WorktreeId(choices.below(2) as u64);
    let path = std::path::Path::new(choices.one_of(&["a", "b", "c"])).into();
    match choices.below(12) {
        0 => WorktreeEvent::Opened { worktree, path, entries: choices.byte().into() },
        1 | 2 => WorktreeEvent::Created { worktree, path, kind: choices.one_of(&[EntryKind::File, EntryKind::Folder]) },
        3 | 4 => WorktreeEvent::Removed { worktree, path },
        5 => WorktreeEvent::Renamed {
            worktree,
            from: path,
            to: std::path::Path::new("d").into(),
            replaced: choices.byte().into(),
        },
        6..=8 => WorktreeEvent::Modified { worktree, path, changes: choices.byte().into() },
        9 => {
            let reason = choices.one_of(&[0, 1, 2]);
            let reason = match reason {
                0 => DivergenceCause::SystemOverflow,
                1 => DivergenceCause::RootMissing,
                _ => DivergenceCause::QueueFull { dropped: choices.byte().into() },
            };
            WorktreeEvent::Diverged { worktree, reason }
        }
        10 => {
            let comparison = Comparison(choices.below(4) as u64);
            match choices.yes() {
                true => WorktreeEvent::Comparing { worktree, comparison },
                false => {
                    let entries = choices.byte().into();
                    WorktreeEvent::Reconciled { worktree, comparison, entries, created: 0, removed: 0 }
                }
            }
        }
        _ => WorktreeEvent::Audited { worktree, in_sync: choices.yes(), entries: choices.byte().into() },
    }
}

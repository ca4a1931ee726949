//! Drives sources and the state in tests, without the rest of the engine.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::event::{
    DivergenceCause, EntryKind, Exit, LayoutEvent, PaneEvent, PaneId, PlugInEvent, Reading, ServiceEvent, SystemEvent,
    VersionStatus, WorkspaceEvent, WorkspaceKey, WorktreeEvent, WorktreeId,
};
use super::state::{Workspace, WorkspaceEffect};
use super::warmth::Warmth;
use crate::clock::Stamp;
use crate::event::{LaneId, Sequence};
use crate::register::Comparison;
use crate::{Effects, Envelope, Event, Operation, OperationId, Outlet, Phase, Pipeline, Polled, Reducer, Source};

/// How long a test waits for something that must happen, before it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A source under test and everything it has emitted so far.
pub(super) struct Bench<S> {
    pub(super) source: S,
    outlet: Outlet<WorkspaceEvent>,
    pub(super) events: Vec<WorkspaceEvent>,
    pub(super) done: bool,
}

impl<S: Source<Event = WorkspaceEvent>> Bench<S> {
    pub(super) fn new(source: S) -> Self {
        Self { source, outlet: outlet(), events: Vec::new(), done: false }
    }

    /// Polls once and takes in what was emitted.
    pub(super) fn poll(&mut self) {
        let polled = self.source.poll(&mut self.outlet).expect("the source stays usable");
        self.events.extend(self.outlet.staged.drain(..).map(|(_, event)| event));
        match polled {
            Polled::Done => self.done = true,
            // The pace that the source asks for, as its lane's thread would keep it.
            Polled::Until(moment) => std::thread::park_timeout(moment.saturating_duration_since(Instant::now())),
            Polled::Ready | Polled::Idle => {}
        }
    }

    /// Polls until what was emitted so far satisfies `enough`.
    pub(super) fn poll_until(&mut self, what: &str, mut enough: impl FnMut(&[WorkspaceEvent]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !enough(&self.events) {
            assert!(Instant::now() < deadline, "waited too long for {what}; last events: {:?}", self.tail());
            assert!(!self.done, "the source ended before {what}; last events: {:?}", self.tail());
            self.poll();
        }
    }

    /// Polls until the source says that nothing will ever come.
    pub(super) fn poll_to_the_end(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.done {
            assert!(Instant::now() < deadline, "the source does not end; last events: {:?}", self.tail());
            self.poll();
        }
    }

    /// The state after all events so far.
    pub(super) fn state(&self) -> Workspace {
        let mut state = Workspace::default();
        apply_all(&mut state, &self.events);
        state
    }

    fn tail(&self) -> &[WorkspaceEvent] {
        &self.events[self.events.len().saturating_sub(10)..]
    }
}

/// An outlet that publishes nothing: what is staged can be looked at.
pub(super) fn outlet() -> Outlet<WorkspaceEvent> {
    let lane = Pipeline::builder(Workspace::default()).lane("bench").open().expect("the defaults are in range");
    Outlet { staged: VecDeque::new(), chunk: usize::MAX, lane, closed: false, emitted: 0 }
}

/// Calls `apply` with an envelope around `event`.
pub(super) fn with_envelope(
    event: &WorkspaceEvent,
    apply: impl FnOnce(&Envelope<'_, WorkspaceEvent>, &mut Effects<WorkspaceEffect>),
) -> Effects<WorkspaceEffect> {
    let mut effects = Effects::new();
    let facets = Default::default();
    let envelope = Envelope {
        stamp: Stamp::UNCLOCKED,
        lane: LaneId(0),
        sequence: Sequence(0),
        origin: event.origin().expect("every event of a workspace names its origin"),
        operation: event.operation(),
        parts: 1,
        facets: &facets,
        event,
    };
    apply(&envelope, &mut effects);
    effects
}

/// Applies events in order and collects their effects.
pub(super) fn apply_all(state: &mut Workspace, events: &[WorkspaceEvent]) -> Effects<WorkspaceEffect> {
    let mut all = Effects::new();
    for event in events {
        let effects = with_envelope(event, |envelope, effects| state.apply(envelope, effects));
        assert_eq!(effects.misrouted_to, None, "misrouted: {event:?}");
        all.pending.extend(effects.pending);
    }
    all
}

pub(super) const PANE: PaneId = PaneId(7);
pub(super) const WORKTREE: WorktreeId = WorktreeId(9);
pub(super) const RUN: Operation = Operation { id: OperationId(3), sequence: 4, phase: Phase::Progress };

/// One event of every sort, its kind, and its key if it is lossy.
pub(super) fn every_sort() -> Vec<(WorkspaceEvent, &'static str, Option<WorkspaceKey>)> {
    let (pane, worktree, operation, changes) = (PANE, WORKTREE, RUN, 1);
    let (path, folder, text): (Arc<Path>, Arc<Path>, Arc<str>) =
        (Path::new("a").into(), Path::new("/srv").into(), "text".into());
    let (created, removed, entries, kind, comparison) = (0, 0, 0, EntryKind::File, Comparison(1));
    let panes = [
        (PaneEvent::Started { pane, command: text.clone(), folder: None, operation }, "pane.started", None),
        (
            PaneEvent::Output { pane, bytes: 1, lines: 1, last_line: text.clone(), text: "a\n".into(), operation },
            "pane.output",
            Some(WorkspaceKey::PaneOutput(pane)),
        ),
        (PaneEvent::Title { pane, title: text.clone() }, "pane.title", None),
        (PaneEvent::WorkingDirectory { pane, folder: folder.clone() }, "pane.working-directory", None),
        (PaneEvent::Bell { pane, count: 1 }, "pane.bell", Some(WorkspaceKey::PaneBell(pane))),
        (PaneEvent::PromptStarted { pane }, "pane.prompt-started", None),
        (PaneEvent::CommandStarted { pane }, "pane.command-started", None),
        (PaneEvent::CommandFinished { pane, exit_code: None }, "pane.command-finished", None),
        (PaneEvent::Exited { pane, exit: Exit::Code(0), operation }, "pane.exited", None),
        (PaneEvent::Lost { pane }, "pane.lost", None),
        (PaneEvent::Demoted { pane, to: Warmth::Warm }, "pane.demoted", None),
        (PaneEvent::Promoted { pane }, "pane.promoted", None),
    ];
    let worktrees = [
        (WorktreeEvent::Opened { worktree, path: folder, entries }, "worktree.opened", None),
        (WorktreeEvent::Created { worktree, path: path.clone(), kind }, "worktree.created", None),
        (WorktreeEvent::Removed { worktree, path: path.clone() }, "worktree.removed", None),
        (
            WorktreeEvent::Renamed { worktree, from: path.clone(), to: path.clone(), replaced: 0 },
            "worktree.renamed",
            None,
        ),
        (
            WorktreeEvent::Modified { worktree, path: path.clone(), changes },
            "worktree.modified",
            Some(WorkspaceKey::PathModified(worktree, path.clone())),
        ),
        (WorktreeEvent::Diverged { worktree, reason: DivergenceCause::RootMissing }, "worktree.diverged", None),
        (WorktreeEvent::Comparing { worktree, comparison }, "worktree.comparing", None),
        (WorktreeEvent::Reconciled { worktree, comparison, entries, created, removed }, "worktree.reconciled", None),
        (WorktreeEvent::Audited { worktree, in_sync: true, entries }, "worktree.audited", None),
        (WorktreeEvent::Unreadable { worktree, path, reason: text }, "worktree.unreadable", None),
        (WorktreeEvent::Unwatched { worktree }, "worktree.unwatched", None),
    ];
    let systems = [
        (SystemEvent::Memory { process_rss: 1, machine_used: 2, machine_total: 3 }, "system.memory", Reading::Memory),
        (SystemEvent::Load { one: 1.0, five: 2.0, fifteen: 3.0 }, "system.load", Reading::Load),
        (SystemEvent::Processor { process_percent: 1.0 }, "system.processor", Reading::Processor),
    ];
    let layouts = [
        (LayoutEvent::Focused { pane: Some(pane) }, "layout.focused"),
        (LayoutEvent::Visible { pane, visible: true }, "layout.visible"),
        (LayoutEvent::Zoomed { pane: Some(pane) }, "layout.zoomed"),
    ];
    let status = ServiceEvent::VersionControl { provider: "git", worktree, status: VersionStatus::default() };
    let mood = PlugInEvent { plugin: "mood", schema: "mood/1", payload: Box::default() };
    let mut all = vec![
        (
            WorkspaceEvent::Service(status),
            "service.version-control",
            Some(WorkspaceKey::VersionControl("git", worktree)),
        ),
        (WorkspaceEvent::PlugIn(mood), "plug-in", None),
    ];
    all.extend(panes.map(|(event, kind, key)| (WorkspaceEvent::Pane(event), kind, key)));
    all.extend(worktrees.map(|(event, kind, key)| (WorkspaceEvent::Worktree(event), kind, key)));
    all.extend(
        systems.map(|(event, kind, key)| (WorkspaceEvent::System(event), kind, Some(WorkspaceKey::System(key)))),
    );
    all.extend(layouts.map(|(event, kind)| (WorkspaceEvent::Layout(event), kind, None)));
    all
}

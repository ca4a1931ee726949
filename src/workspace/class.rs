//! What the engine is told about the events of a workspace: which may be coalesced and how, who they are about, who owns
//! what they change.

use std::mem;
use std::sync::Arc;

use super::event::{
    LAYOUT, LayoutEvent, MODEL, PaneEvent, PaneId, Reading, ServiceEvent, SystemEvent, WorkspaceEvent, WorkspaceFacets,
    WorkspaceKey, WorktreeEvent, WorktreeId,
};
use super::state::{Layout, Workspace};
use crate::{Authority, Class, Coalesced, Event, Operation, Origin, Tier};

impl Event for WorkspaceEvent {
    type Key = WorkspaceKey;
    type Facets = WorkspaceFacets;

    fn class(&self) -> Class<WorkspaceKey> {
        match self.key() {
            Some(key) => Class::Lossy { key, tier: Tier::NORMAL },
            None => Class::Critical,
        }
    }

    fn coalesce(&mut self, newer: Self) -> Coalesced {
        let older = mem::replace(self, newer);
        self.absorb(older)
    }

    fn operation(&self) -> Option<Operation> {
        match self {
            WorkspaceEvent::Pane(event) => event.operation(),
            WorkspaceEvent::Worktree(_)
            | WorkspaceEvent::System(_)
            | WorkspaceEvent::Layout(_)
            | WorkspaceEvent::Service(_)
            | WorkspaceEvent::PlugIn(_) => None,
        }
    }

    fn authority(&self) -> Authority {
        match self {
            WorkspaceEvent::Pane(_)
            | WorkspaceEvent::Worktree(_)
            | WorkspaceEvent::System(_)
            | WorkspaceEvent::Service(_)
            | WorkspaceEvent::PlugIn(_) => MODEL,
            WorkspaceEvent::Layout(_) => LAYOUT,
        }
    }

    fn origin(&self) -> Option<Origin> {
        Some(match self {
            WorkspaceEvent::Pane(event) => Origin::built_in("pane", event.pane().0),
            WorkspaceEvent::Worktree(event) => Origin::built_in("worktree", event.worktree().0),
            WorkspaceEvent::System(_) => Origin::built_in("system", 0),
            WorkspaceEvent::Layout(_) => Origin::built_in("layout", 0),
            WorkspaceEvent::Service(ServiceEvent::VersionControl { provider, worktree, .. }) => {
                Origin::service("version-control", provider, worktree.0)
            }
            WorkspaceEvent::PlugIn(event) => Origin::plug_in(event.plugin, event.schema, 0),
        })
    }

    fn kind(&self) -> &'static str {
        match self {
            WorkspaceEvent::Pane(event) => event.kind(),
            WorkspaceEvent::Worktree(event) => event.kind(),
            WorkspaceEvent::System(SystemEvent::Memory { .. }) => "system.memory",
            WorkspaceEvent::System(SystemEvent::Load { .. }) => "system.load",
            WorkspaceEvent::System(SystemEvent::Processor { .. }) => "system.processor",
            WorkspaceEvent::Layout(LayoutEvent::Focused { .. }) => "layout.focused",
            WorkspaceEvent::Layout(LayoutEvent::Visible { .. }) => "layout.visible",
            WorkspaceEvent::Layout(LayoutEvent::Zoomed { .. }) => "layout.zoomed",
            WorkspaceEvent::Service(ServiceEvent::VersionControl { .. }) => "service.version-control",
            WorkspaceEvent::PlugIn(_) => "plug-in",
        }
    }
}

/// Classifies by what is on screen: what a pane in focus says is shed last, what a hidden one says first.
///
/// For [`LaneBuilder::classify_by`](crate::LaneBuilder::classify_by): the user's layout changes the tiers as soon as it
/// is published.
pub fn classify_in(event: &WorkspaceEvent, workspace: &Workspace) -> Class<WorkspaceKey> {
    match event.key() {
        Some(key) => Class::Lossy { key, tier: tier_in(event, &workspace.layout) },
        None => Class::Critical,
    }
}

fn tier_in(event: &WorkspaceEvent, layout: &Layout) -> Tier {
    match event {
        WorkspaceEvent::Pane(event) if layout.focused == Some(event.pane()) => Tier::FOCUSED,
        WorkspaceEvent::Pane(event) if layout.visible.contains(&event.pane()) => Tier::VISIBLE,
        WorkspaceEvent::Pane(_) => Tier::BACKGROUND,
        WorkspaceEvent::Worktree(_)
        | WorkspaceEvent::System(_)
        | WorkspaceEvent::Layout(_)
        | WorkspaceEvent::Service(_)
        | WorkspaceEvent::PlugIn(_) => Tier::NORMAL,
    }
}

impl WorkspaceEvent {
    /// The key of a lossy event; `None` for a critical one.
    fn key(&self) -> Option<WorkspaceKey> {
        match self {
            WorkspaceEvent::Pane(event) => event.key(),
            WorkspaceEvent::Worktree(event) => event.key(),
            WorkspaceEvent::System(event) => Some(WorkspaceKey::System(event.reading())),
            WorkspaceEvent::Layout(_) => None,
            WorkspaceEvent::Service(ServiceEvent::VersionControl { provider, worktree, .. }) => {
                Some(WorkspaceKey::VersionControl(provider, *worktree))
            }
            WorkspaceEvent::PlugIn(_) => None,
        }
    }

    /// Takes in what an older event of the same key had counted.
    fn absorb(&mut self, older: Self) -> Coalesced {
        match (self, older) {
            (WorkspaceEvent::Pane(event), WorkspaceEvent::Pane(older)) => event.absorb(older),
            (WorkspaceEvent::Worktree(event), WorkspaceEvent::Worktree(older)) => event.absorb(&older),
            // Nothing else counts: the newest reading or status is all there is to know.
            (
                WorkspaceEvent::Pane(_)
                | WorkspaceEvent::Worktree(_)
                | WorkspaceEvent::System(_)
                | WorkspaceEvent::Layout(_)
                | WorkspaceEvent::Service(_)
                | WorkspaceEvent::PlugIn(_),
                WorkspaceEvent::Pane(_)
                | WorkspaceEvent::Worktree(_)
                | WorkspaceEvent::System(_)
                | WorkspaceEvent::Layout(_)
                | WorkspaceEvent::Service(_)
                | WorkspaceEvent::PlugIn(_),
            ) => Coalesced::Replaced,
        }
    }
}

impl PaneEvent {
    /// Which pane it happened to.
    pub fn pane(&self) -> PaneId {
        match self {
            PaneEvent::Started { pane, .. }
            | PaneEvent::Output { pane, .. }
            | PaneEvent::Title { pane, .. }
            | PaneEvent::WorkingDirectory { pane, .. }
            | PaneEvent::Bell { pane, .. }
            | PaneEvent::PromptStarted { pane }
            | PaneEvent::CommandStarted { pane }
            | PaneEvent::CommandFinished { pane, .. }
            | PaneEvent::Exited { pane, .. }
            | PaneEvent::Lost { pane }
            | PaneEvent::Demoted { pane, .. }
            | PaneEvent::Promoted { pane } => *pane,
        }
    }

    /// Whether it says that the user wants the pane, screen or no screen. Critical events alone: how many lossy ones are
    /// applied hangs on how many were coalesced.
    pub(super) fn is_use(&self) -> bool {
        match self {
            PaneEvent::Started { .. }
            | PaneEvent::PromptStarted { .. }
            | PaneEvent::CommandStarted { .. }
            | PaneEvent::CommandFinished { .. }
            | PaneEvent::Promoted { .. } => true,
            PaneEvent::Output { .. }
            | PaneEvent::Title { .. }
            | PaneEvent::WorkingDirectory { .. }
            | PaneEvent::Bell { .. }
            | PaneEvent::Exited { .. }
            | PaneEvent::Lost { .. }
            | PaneEvent::Demoted { .. } => false,
        }
    }

    fn operation(&self) -> Option<Operation> {
        match self {
            PaneEvent::Started { operation, .. }
            | PaneEvent::Output { operation, .. }
            | PaneEvent::Exited { operation, .. } => Some(*operation),
            PaneEvent::Title { .. }
            | PaneEvent::WorkingDirectory { .. }
            | PaneEvent::Bell { .. }
            | PaneEvent::PromptStarted { .. }
            | PaneEvent::CommandStarted { .. }
            | PaneEvent::CommandFinished { .. }
            | PaneEvent::Lost { .. }
            | PaneEvent::Demoted { .. }
            | PaneEvent::Promoted { .. } => None,
        }
    }

    fn key(&self) -> Option<WorkspaceKey> {
        match self {
            PaneEvent::Output { pane, .. } => Some(WorkspaceKey::PaneOutput(*pane)),
            PaneEvent::Bell { pane, .. } => Some(WorkspaceKey::PaneBell(*pane)),
            PaneEvent::Started { .. }
            | PaneEvent::Title { .. }
            | PaneEvent::WorkingDirectory { .. }
            | PaneEvent::PromptStarted { .. }
            | PaneEvent::CommandStarted { .. }
            | PaneEvent::CommandFinished { .. }
            | PaneEvent::Exited { .. }
            | PaneEvent::Lost { .. }
            | PaneEvent::Demoted { .. }
            | PaneEvent::Promoted { .. } => None,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            PaneEvent::Started { .. } => "pane.started",
            PaneEvent::Output { .. } => "pane.output",
            PaneEvent::Title { .. } => "pane.title",
            PaneEvent::WorkingDirectory { .. } => "pane.working-directory",
            PaneEvent::Bell { .. } => "pane.bell",
            PaneEvent::PromptStarted { .. } => "pane.prompt-started",
            PaneEvent::CommandStarted { .. } => "pane.command-started",
            PaneEvent::CommandFinished { .. } => "pane.command-finished",
            PaneEvent::Exited { .. } => "pane.exited",
            PaneEvent::Lost { .. } => "pane.lost",
            PaneEvent::Demoted { .. } => "pane.demoted",
            PaneEvent::Promoted { .. } => "pane.promoted",
        }
    }

    fn absorb(&mut self, older: Self) -> Coalesced {
        match self {
            PaneEvent::Output { bytes, lines, text, .. } => {
                if let PaneEvent::Output { bytes: older_bytes, lines: older_lines, text: older_text, .. } = older {
                    *bytes += older_bytes;
                    *lines += older_lines;
                    text.prepend(older_text);
                    return Coalesced::Merged;
                }
                Coalesced::Replaced
            }
            PaneEvent::Bell { count, .. } => {
                if let PaneEvent::Bell { count: older_count, .. } = older {
                    *count += older_count;
                    return Coalesced::Merged;
                }
                Coalesced::Replaced
            }
            PaneEvent::Started { .. }
            | PaneEvent::Title { .. }
            | PaneEvent::WorkingDirectory { .. }
            | PaneEvent::PromptStarted { .. }
            | PaneEvent::CommandStarted { .. }
            | PaneEvent::CommandFinished { .. }
            | PaneEvent::Exited { .. }
            | PaneEvent::Lost { .. }
            | PaneEvent::Demoted { .. }
            | PaneEvent::Promoted { .. } => Coalesced::Replaced,
        }
    }
}

impl WorktreeEvent {
    /// Which worktree it happened in.
    pub fn worktree(&self) -> WorktreeId {
        match self {
            WorktreeEvent::Opened { worktree, .. }
            | WorktreeEvent::Created { worktree, .. }
            | WorktreeEvent::Removed { worktree, .. }
            | WorktreeEvent::Renamed { worktree, .. }
            | WorktreeEvent::Modified { worktree, .. }
            | WorktreeEvent::Diverged { worktree, .. }
            | WorktreeEvent::Comparing { worktree, .. }
            | WorktreeEvent::Reconciled { worktree, .. }
            | WorktreeEvent::Audited { worktree, .. }
            | WorktreeEvent::Unreadable { worktree, .. }
            | WorktreeEvent::Unwatched { worktree } => *worktree,
        }
    }

    fn key(&self) -> Option<WorkspaceKey> {
        match self {
            WorktreeEvent::Modified { worktree, path, .. } => {
                Some(WorkspaceKey::PathModified(*worktree, Arc::clone(path)))
            }
            WorktreeEvent::Opened { .. }
            | WorktreeEvent::Created { .. }
            | WorktreeEvent::Removed { .. }
            | WorktreeEvent::Renamed { .. }
            | WorktreeEvent::Diverged { .. }
            | WorktreeEvent::Comparing { .. }
            | WorktreeEvent::Reconciled { .. }
            | WorktreeEvent::Audited { .. }
            | WorktreeEvent::Unreadable { .. }
            | WorktreeEvent::Unwatched { .. } => None,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            WorktreeEvent::Opened { .. } => "worktree.opened",
            WorktreeEvent::Created { .. } => "worktree.created",
            WorktreeEvent::Removed { .. } => "worktree.removed",
            WorktreeEvent::Renamed { .. } => "worktree.renamed",
            WorktreeEvent::Modified { .. } => "worktree.modified",
            WorktreeEvent::Diverged { .. } => "worktree.diverged",
            WorktreeEvent::Comparing { .. } => "worktree.comparing",
            WorktreeEvent::Reconciled { .. } => "worktree.reconciled",
            WorktreeEvent::Audited { .. } => "worktree.audited",
            WorktreeEvent::Unreadable { .. } => "worktree.unreadable",
            WorktreeEvent::Unwatched { .. } => "worktree.unwatched",
        }
    }

    fn absorb(&mut self, older: &Self) -> Coalesced {
        match self {
            WorktreeEvent::Modified { changes, .. } => {
                if let WorktreeEvent::Modified { changes: older_changes, .. } = older {
                    *changes += older_changes;
                    return Coalesced::Merged;
                }
                Coalesced::Replaced
            }
            WorktreeEvent::Opened { .. }
            | WorktreeEvent::Created { .. }
            | WorktreeEvent::Removed { .. }
            | WorktreeEvent::Renamed { .. }
            | WorktreeEvent::Diverged { .. }
            | WorktreeEvent::Comparing { .. }
            | WorktreeEvent::Reconciled { .. }
            | WorktreeEvent::Audited { .. }
            | WorktreeEvent::Unreadable { .. }
            | WorktreeEvent::Unwatched { .. } => Coalesced::Replaced,
        }
    }
}

impl SystemEvent {
    fn reading(&self) -> Reading {
        match self {
            SystemEvent::Memory { .. } => Reading::Memory,
            SystemEvent::Load { .. } => Reading::Load,
            SystemEvent::Processor { .. } => Reading::Processor,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::workspace::VersionStatus;
    use crate::workspace::testing::{RUN, every_sort};
    use crate::{OperationId, Phase};

    fn output(bytes: u64, lines: u64, last_line: &str, sequence: u64) -> WorkspaceEvent {
        with_text(bytes, lines, last_line, "", sequence)
    }

    fn with_text(bytes: u64, lines: u64, last_line: &str, text: &str, sequence: u64) -> WorkspaceEvent {
        WorkspaceEvent::Pane(PaneEvent::Output {
            pane: PaneId(1),
            bytes,
            lines,
            last_line: last_line.into(),
            text: text.into(),
            operation: Operation { id: OperationId(1), sequence, phase: Phase::Progress },
        })
    }

    #[test]
    fn outputs_add_up_and_keep_the_newest_line_and_sequence() {
        let mut unread = output(10, 2, "old", 4);
        assert_eq!(unread.coalesce(output(5, 1, "new", 5)), Coalesced::Merged);
        assert_eq!(unread, output(15, 3, "new", 5));
        let mut unread = with_text(6, 1, "b", "a\n\n", 6);
        assert_eq!(unread.coalesce(with_text(4, 1, "c", "b\n", 7)), Coalesced::Merged);
        assert_eq!(unread, with_text(10, 2, "c", "a\n\nb\n", 7));
    }

    #[test]
    fn bells_and_modifications_add_up() {
        let mut bell = WorkspaceEvent::Pane(PaneEvent::Bell { pane: PaneId(1), count: 3 });
        bell.coalesce(bell.clone());
        assert_eq!(bell, WorkspaceEvent::Pane(PaneEvent::Bell { pane: PaneId(1), count: 6 }));

        let modified = |changes| {
            let (worktree, path) = (WorktreeId(1), Path::new("a").into());
            WorkspaceEvent::Worktree(WorktreeEvent::Modified { worktree, path, changes })
        };
        let mut unread = modified(1);
        assert_eq!(unread.coalesce(modified(2)), Coalesced::Merged);
        assert_eq!(unread, modified(3));
    }

    #[test]
    fn readings_replace_each_other() {
        let load = |one| WorkspaceEvent::System(SystemEvent::Load { one, five: 0.0, fifteen: 0.0 });
        let mut unread = load(1.0);
        assert_eq!(unread.coalesce(load(2.0)), Coalesced::Replaced);
        assert_eq!(unread, load(2.0));
    }

    #[test]
    fn an_event_knows_its_tier_its_owner_and_its_kind() {
        let status = VersionStatus::default();
        let git = ServiceEvent::VersionControl { provider: "git", worktree: WorktreeId(2), status };
        let git = WorkspaceEvent::Service(git);
        assert_eq!(git.origin(), Some(Origin::service("version-control", "git", 2)));
        assert_eq!(git.authority(), MODEL);
        assert!(matches!(git.class(), Class::Lossy { .. }));

        let focus = WorkspaceEvent::Layout(LayoutEvent::Focused { pane: None });
        assert_eq!(focus.authority(), LAYOUT);
        assert_eq!(focus.class(), Class::Critical);
        assert_eq!(focus.kind(), "layout.focused");
        assert_eq!(output(1, 1, "", 1).kind(), "pane.output");
    }

    #[test]
    fn an_event_is_small_enough_for_a_ring_that_stays_in_cache() {
        assert!(size_of::<WorkspaceEvent>() <= 80, "{} bytes", size_of::<WorkspaceEvent>());
    }

    #[test]
    fn every_sort_of_event_has_a_kind_of_its_own_and_a_class() {
        for (event, kind, key) in every_sort() {
            assert_eq!(event.kind(), kind);
            let class = match key {
                Some(key) => Class::Lossy { key, tier: Tier::NORMAL },
                None => Class::Critical,
            };
            assert_eq!(event.class(), class, "{kind}");
        }
    }

    #[test]
    fn every_sort_of_event_names_its_origin_its_owner_and_its_operation() {
        for (event, kind, _) in every_sort() {
            let (origin, owner) = match &event {
                WorkspaceEvent::Pane(_) => (Origin::built_in("pane", 7), MODEL),
                WorkspaceEvent::Worktree(_) => (Origin::built_in("worktree", 9), MODEL),
                WorkspaceEvent::System(_) => (Origin::built_in("system", 0), MODEL),
                WorkspaceEvent::Layout(_) => (Origin::built_in("layout", 0), LAYOUT),
                WorkspaceEvent::Service(_) => (Origin::service("version-control", "git", 9), MODEL),
                WorkspaceEvent::PlugIn(_) => (Origin::plug_in("mood", "mood/1", 0), MODEL),
            };
            assert_eq!((event.origin(), event.authority()), (Some(origin), owner), "{kind}");
            let is_of_a_run = ["pane.started", "pane.output", "pane.exited"].contains(&kind);
            assert_eq!(event.operation(), is_of_a_run.then_some(RUN), "{kind}");
        }
    }

    #[test]
    fn what_is_on_screen_is_shed_after_what_is_not() {
        let (mut workspace, output) = (Workspace::default(), output(1, 1, "", 1));
        let load = WorkspaceEvent::System(SystemEvent::Load { one: 0.0, five: 0.0, fifteen: 0.0 });
        let lossy = |key, tier| Class::Lossy { key, tier };
        let pane = |tier| lossy(WorkspaceKey::PaneOutput(PaneId(1)), tier);
        (workspace.layout.focused, workspace.layout.visible) = (Some(PaneId(2)), [PaneId(2)].into_iter().collect());
        assert_eq!(classify_in(&output, &workspace), pane(Tier::BACKGROUND));
        workspace.layout.visible.insert(PaneId(1));
        assert_eq!(classify_in(&output, &workspace), pane(Tier::VISIBLE));
        workspace.layout.focused = Some(PaneId(1));
        assert_eq!(classify_in(&output, &workspace), pane(Tier::FOCUSED));
        assert_eq!(classify_in(&load, &workspace), lossy(WorkspaceKey::System(Reading::Load), Tier::NORMAL));
        let title = WorkspaceEvent::Pane(PaneEvent::Title { pane: PaneId(1), title: "text".into() });
        assert_eq!(classify_in(&title, &workspace), Class::Critical);
    }
}

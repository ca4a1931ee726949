//! A run that goes on where an earlier one ended: its journal, and what of the earlier run is over.

use std::path::{Path, PathBuf};

use mainlane::journal::{Durability, Journal, Recovery, Retention};
use mainlane::workspace::{
    DivergenceCause, LayoutEvent, PaneEvent, PaneId, PaneState, SCHEMA, Workspace, WorkspaceEvent, WorktreeEvent,
    WorktreeId,
};
use mainlane::{Builder, Origin};

use crate::args::{Kept, RunArgs, Waiting};
use crate::problem::Problem;

/// Opens the journal and rebuilds the state.
pub(crate) fn recover(file: &Path, args: &RunArgs) -> Result<(Builder<Workspace>, Recovery), String> {
    if let Some(folder) = args.watches.iter().find(|folder| is_within(file, folder)) {
        let (file, folder) = (file.display(), folder.display());
        return Err(format!(
            "the journal {file} is in {folder}, which is watched: it would record that it has recorded something, again and \
             again; put it elsewhere"
        ));
    }
    if let Some(project) = args.projects.iter().find(|project| is_within(file, Path::new(&project.what))) {
        let (file, name) = (file.display(), &project.project);
        return Err(format!(
            "the journal {file} is in the folder that the project `{name}` watches: whatever is recorded would be news there; put \
             it elsewhere"
        ));
    }
    let durability = match args.durability {
        Waiting::Async => Durability::Async,
        Waiting::BeforePublish => Durability::BeforePublish,
        Waiting::BeforeApply => Durability::BeforeApply,
    };
    let retention = match args.keep {
        Kept::All => Retention::All,
        Kept::Checkpoints(count) => Retention::Checkpoints(count as usize),
    };
    Journal::file(file)
        .schema(SCHEMA.0, SCHEMA.1)
        .durability(durability)
        .retention(retention)
        .recover(Workspace::default())
        .map_err(|error| Problem::from(error).line)
}

/// What an earlier run left behind.
pub(crate) struct Past {
    next_pane: u64,
    next_worktree: u64,
    /// Folders that were watched, and may be again.
    folders: Vec<(PathBuf, WorktreeId)>,
    /// Panes whose commands ran to the last.
    pub(crate) running: Vec<PaneId>,
    on_screen: Vec<PaneId>,
    is_zoomed: bool,
}

impl Past {
    pub(crate) fn of(state: &Workspace) -> Self {
        let (model, layout) = (&state.model, &state.layout);
        let running = model.panes.iter().filter(|(_, pane)| pane.state == PaneState::Running);
        let folders = model.worktrees.iter().map(|(id, worktree)| {
            let path = worktree.path.as_deref().map(Path::to_owned);
            (path.unwrap_or_default(), *id)
        });
        Self {
            next_pane: after(model.panes.keys().next_back().map(|id| id.0)),
            next_worktree: after(model.worktrees.keys().next_back().map(|id| id.0)),
            folders: folders.collect(),
            running: running.map(|(id, _)| *id).collect(),
            on_screen: layout.visible.iter().copied().collect(),
            is_zoomed: layout.zoomed.is_some(),
        }
    }

    /// A number that no pane has had.
    pub(crate) fn new_pane(&mut self) -> PaneId {
        let pane = PaneId(self.next_pane);
        self.next_pane = after(Some(pane.0));
        pane
    }

    /// The number that this folder had, so that its counts go on; or else one that none has had.
    pub(crate) fn worktree(&mut self, folder: &Path) -> WorktreeId {
        if let Ok(path) = folder.canonicalize()
            && let Some(at) = self.folders.iter().position(|(known, _)| *known == path)
        {
            return self.folders.remove(at).1;
        }
        let worktree = WorktreeId(self.next_worktree);
        self.next_worktree = after(Some(worktree.0));
        worktree
    }

    /// Says what is over: commands that ran ended unseen, folders that are not watched again may change unseen, and none of
    /// the earlier panes is on screen. To be called when all folders of this run have their numbers.
    pub(crate) fn end(&self, builder: &Builder<Workspace>) -> Result<(), String> {
        let mut events = Vec::new();
        events.extend(self.running.iter().map(|pane| WorkspaceEvent::Pane(PaneEvent::Lost { pane: *pane })));
        let worktrees = &builder.state().model.worktrees;
        let left = self.folders.iter().map(|(_, worktree)| *worktree);
        let left = left.filter(|id| {
            worktrees.get(id).is_some_and(|known| known.mirror.what() != Some(&DivergenceCause::Unwatched))
        });
        events.extend(left.map(|worktree| WorkspaceEvent::Worktree(WorktreeEvent::Unwatched { worktree })));
        let hidden = self.on_screen.iter().map(|pane| LayoutEvent::Visible { pane: *pane, visible: false });
        events.extend(hidden.map(WorkspaceEvent::Layout));
        if self.is_zoomed {
            events.push(WorkspaceEvent::Layout(LayoutEvent::Zoomed { pane: None }));
        }
        if events.is_empty() {
            return Ok(());
        }
        let lane = builder.lane("recovery").origin(Origin::built_in("recovery", 0)).capacity(events.len());
        let mut lane = lane.open().map_err(|error| error.to_string())?;
        events.into_iter().try_for_each(|event| lane.push(event).map(drop)).map_err(|error| error.to_string())
    }
}

fn is_within(file: &Path, folder: &Path) -> bool {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // A journal that is a symbolic link is where that leads.
    let parent =
        file.canonicalize().ok().and_then(|file| file.parent().map(Path::to_owned)).or(parent.canonicalize().ok());
    parent.zip(folder.canonicalize().ok()).is_some_and(|(parent, folder)| parent.starts_with(folder))
}

/// Numbers begin with one.
fn after(last: Option<u64>) -> u64 {
    last.unwrap_or(0).saturating_add(1)
}

/// What was recovered, a line for each thing.
pub(crate) fn in_words(file: &Path, recovery: &Recovery, lost_panes: usize) -> Vec<String> {
    let Recovery { created, turn, checkpoint, turns, events, took, torn_tail, .. } = recovery;
    let mut lines = vec![match created {
        true => "a new journal".to_owned(),
        false => format!(
            "goes on after turn {turn}; {events} events of {turns} turns since the checkpoint of turn {checkpoint} were \
             applied again in {} ms",
            took.as_millis()
        ),
    }];
    if lost_panes > 0 {
        lines.push(format!("panes that ran when it ended, and are lost: {lost_panes}"));
    }
    lines.extend(torn_tail.iter().map(|torn| {
        let (bytes, place) = (torn.bytes, &torn.place);
        format!("{bytes} bytes at {place} were cut off; they were never said to be durable")
    }));
    lines.extend(
        recovery.damaged_checkpoints.iter().map(|(turn, reason)| {
            format!("the checkpoint of turn {turn} is damaged ({reason}); an older one was used")
        }),
    );
    lines.extend(recovery.quarantined.iter().map(|event| {
        format!("event {} of turn {} is set aside, a {}: {}", event.index, event.turn, event.kind, event.message)
    }));
    let file = file.display();
    lines.into_iter().map(|line| format!("journal {file}: {line}")).collect()
}

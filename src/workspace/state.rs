//! The state of a workspace and what its events do to it.
//!
//! Two owners: [`Model`] has the data, [`Layout`] has what is on screen. Each applies its own events and reports the
//! others as misrouted. Both are cheap to clone, ordered maps that share what has not changed, and are iterated in the
//! order of their keys, so that nothing depends on chance.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use super::event::{
    DivergenceCause, Exit, LAYOUT, LayoutEvent, MODEL, PaneEvent, PaneId, PlugInEvent, ServiceEvent, SystemEvent,
    VersionStatus, WorkspaceEvent, WorkspaceFacets, WorktreeEvent, WorktreeId,
};
use super::lines::Scrollback;
use super::panes::Panes;
use super::warmth::Warmth;
use crate::register::Mirror;
use crate::{Authority, Effects, Envelope, Origin, Reducer};

/// The state of a workspace.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "journal", derive(serde::Serialize, serde::Deserialize))]
pub struct Workspace {
    /// What there is.
    pub model: Model,
    /// What is on screen.
    pub layout: Layout,
}

/// What a workspace wants done outside its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkspaceEffect {
    /// A bell rang: draw the user's attention.
    Bell(PaneId),
    /// A pane's command has ended: let go of what belongs to it.
    PaneEnded(PaneId),
    /// The events of a worktree contradict each other: have it compared with the disk, by
    /// [`WatchControl::audit`](super::WatchControl::audit).
    RescanWorktree(WorktreeId),
    /// A worktree may differ from the disk. Why is in the state, if it does still.
    Diverged(WorktreeId),
}

/// The data of a workspace; owned by [`MODEL`].
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "journal", derive(serde::Serialize, serde::Deserialize))]
pub struct Model {
    /// The panes, those that have ended included.
    pub panes: Panes,
    /// The watched folders.
    #[cfg_attr(feature = "journal", serde(with = "super::encode::map"))]
    pub worktrees: OrdMap<WorktreeId, Arc<Worktree>>,
    /// The newest readings of the machine.
    pub machine: Machine,
    /// The newest status of each worktree under version control, by provider.
    #[cfg_attr(feature = "journal", serde(with = "super::encode::map"))]
    pub version_control: OrdMap<(WorktreeId, &'static str), VersionStatus>,
    /// What was heard from each plug-in, by plug-in and schema.
    #[cfg_attr(feature = "journal", serde(with = "super::encode::map"))]
    pub plug_ins: OrdMap<(&'static str, &'static str), PlugInTally>,
    /// How many uses of panes there were: the number of the newest is [`Pane::used`] of its pane.
    pub uses: u64,
}

/// What is on screen; owned by [`LAYOUT`].
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "journal", derive(serde::Serialize, serde::Deserialize))]
pub struct Layout {
    /// The pane that has the focus.
    pub focused: Option<PaneId>,
    /// The panes on screen.
    #[cfg_attr(feature = "journal", serde(with = "super::encode::set"))]
    pub visible: OrdSet<PaneId>,
    /// The pane that fills the screen.
    pub zoomed: Option<PaneId>,
    /// The number of the newest use of each pane that was ever on screen: it came there, or left.
    #[cfg_attr(feature = "journal", serde(with = "super::encode::map"))]
    pub used: OrdMap<PaneId, u64>,
    /// How many such uses there were.
    pub uses: u64,
}

/// A pane.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "journal", derive(serde::Serialize, serde::Deserialize))]
pub struct Pane {
    /// The command it runs.
    pub command: Arc<str>,
    /// Its title, empty until a program gives one.
    pub title: Arc<str>,
    /// Whether its command still runs.
    pub state: PaneState,
    /// How many bytes the command has written.
    pub bytes: u64,
    /// How many lines the command has ended.
    pub lines: u64,
    /// The newest line that is not blank.
    pub last_line: Arc<str>,
    /// How much of its output is kept.
    pub warmth: Warmth,
    /// The newest lines that the command has ended, as many as its warmth allows.
    pub scrollback: Scrollback,
    /// How often the bell rang.
    pub bells: u64,
    /// What a shell inside the pane says it is doing.
    pub activity: PaneActivity,
    /// How many commands a shell inside the pane has finished.
    pub commands: u64,
    /// The exit code of the last of them, when the shell said it.
    pub last_exit_code: Option<i32>,
    /// The number of its newest use that was not on screen: it was started or promoted, or its shell ran a command.
    pub used: u64,
    /// What is known of it for the context of its events; the working directory is its folder.
    pub facets: WorkspaceFacets,
}

/// Whether a pane's command still runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "journal", derive(serde::Serialize, serde::Deserialize))]
pub enum PaneState {
    /// It runs.
    #[default]
    Running,
    /// It has ended.
    Exited(Exit),
    /// It ran when the program that ran it ended; nobody saw its end.
    Lost,
}

/// What a shell inside a pane says it is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "journal", derive(serde::Serialize, serde::Deserialize))]
pub enum PaneActivity {
    /// Nothing was said; most programs do not.
    #[default]
    Unknown,
    /// It waits at its prompt.
    AtPrompt,
    /// It runs a command.
    InCommand,
}

/// A watched folder.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "journal", derive(serde::Serialize, serde::Deserialize))]
pub struct Worktree {
    /// Where it is, absolute; `None` until it is opened.
    #[cfg_attr(feature = "journal", serde(with = "super::encode::optional_path"))]
    pub path: Option<Arc<Path>>,
    /// How many changes of each sort there were since it is watched.
    pub counts: WorktreeCounts,
    /// How many entries are known.
    pub entries: u64,
    /// Whether what is known is what is on the disk, and if not, why, and since which of its events.
    pub mirror: Mirror<u64, DivergenceCause>,
    /// How many events told of it, changes to contents aside.
    pub told: u64,
    /// How often it diverged; that it was opened or is not watched any more does not count.
    pub divergences: u64,
    /// The cause of the last divergence, kept after it was reconciled.
    pub last_divergence: Option<DivergenceCause>,
    /// How many of its folders cannot be read.
    pub unreadable: u64,
    /// How many audits have been answered.
    pub audits: u64,
    /// Whether the last audit found no difference; `None` when there was none since the folder was opened.
    pub last_audit_in_sync: Option<bool>,
    /// What is known of it for the context of its events.
    pub facets: WorkspaceFacets,
}

/// How many changes of each sort there were in a worktree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "journal", derive(serde::Serialize, serde::Deserialize))]
pub struct WorktreeCounts {
    /// Entries that are new.
    pub created: u64,
    /// Changes to contents or metadata.
    pub modified: u64,
    /// Entries that are gone.
    pub removed: u64,
    /// Entries with a new name.
    pub renamed: u64,
}

/// The newest readings of the machine; zero until the first.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "journal", derive(serde::Serialize, serde::Deserialize))]
pub struct Machine {
    /// What this process holds in memory, in bytes.
    pub process_rss: u64,
    /// Memory in use, in bytes.
    pub memory_used: u64,
    /// Memory there is, in bytes.
    pub memory_total: u64,
    /// The run queue over one, five and fifteen minutes.
    pub load: [f64; 3],
    /// Processor time of this process, in percent of one core.
    pub process_percent: f32,
}

/// What was heard from a plug-in. The payload itself is for whoever knows its schema.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "journal", derive(serde::Serialize, serde::Deserialize))]
pub struct PlugInTally {
    /// How many events.
    pub events: u64,
    /// How many bytes of payload.
    pub bytes: u64,
}

impl Reducer for Workspace {
    type Event = WorkspaceEvent;
    type Effect = WorkspaceEffect;

    const AUTHORITIES: &'static [Authority] = &[MODEL, LAYOUT];

    fn apply(&mut self, envelope: &Envelope<'_, WorkspaceEvent>, effects: &mut Effects<WorkspaceEffect>) {
        match envelope.event {
            WorkspaceEvent::Pane(_)
            | WorkspaceEvent::Worktree(_)
            | WorkspaceEvent::System(_)
            | WorkspaceEvent::Service(_)
            | WorkspaceEvent::PlugIn(_) => self.model.apply(envelope, effects),
            WorkspaceEvent::Layout(_) => self.layout.apply(envelope, effects),
        }
    }

    fn facets_of(&self, _: Origin, event: &WorkspaceEvent) -> Option<&WorkspaceFacets> {
        match event {
            WorkspaceEvent::Pane(event) => self.model.panes.get(&event.pane()).map(|pane| &pane.facets),
            WorkspaceEvent::Worktree(event) => self.model.facets_of_worktree(event.worktree()),
            WorkspaceEvent::Service(ServiceEvent::VersionControl { worktree, .. }) => {
                self.model.facets_of_worktree(*worktree)
            }
            WorkspaceEvent::System(_) | WorkspaceEvent::Layout(_) | WorkspaceEvent::PlugIn(_) => None,
        }
    }
}

impl Model {
    /// Applies an event of the data model; reports any other as misrouted.
    pub fn apply(&mut self, envelope: &Envelope<'_, WorkspaceEvent>, effects: &mut Effects<WorkspaceEffect>) {
        match envelope.event {
            WorkspaceEvent::Pane(event) => {
                self.uses += u64::from(event.is_use());
                let uses = self.uses;
                self.panes.update(event.pane(), |pane| {
                    if event.is_use() {
                        pane.used = uses;
                    }
                    pane.apply(event, effects);
                });
            }
            WorkspaceEvent::Worktree(event) => {
                let worktree = self.worktrees.entry(event.worktree()).or_default();
                Arc::make_mut(worktree).apply(event, effects);
            }
            WorkspaceEvent::System(event) => self.machine.apply(event),
            WorkspaceEvent::Service(ServiceEvent::VersionControl { provider, worktree, status }) => {
                self.version_control.insert((*worktree, provider), status.clone());
            }
            WorkspaceEvent::PlugIn(event) => self.hear(event),
            WorkspaceEvent::Layout(_) => effects.misrouted(MODEL),
        }
    }

    fn hear(&mut self, event: &PlugInEvent) {
        let tally = self.plug_ins.entry((event.plugin, event.schema)).or_default();
        tally.events += 1;
        tally.bytes += event.payload.len() as u64;
    }

    fn facets_of_worktree(&self, worktree: WorktreeId) -> Option<&WorkspaceFacets> {
        self.worktrees.get(&worktree).map(|worktree| &worktree.facets)
    }
}

impl Layout {
    /// Applies an event of the layout; reports any other as misrouted.
    pub fn apply(&mut self, envelope: &Envelope<'_, WorkspaceEvent>, effects: &mut Effects<WorkspaceEffect>) {
        match envelope.event {
            WorkspaceEvent::Layout(LayoutEvent::Focused { pane }) => {
                self.note_uses([self.focused, *pane]);
                self.focused = *pane;
            }
            WorkspaceEvent::Layout(LayoutEvent::Zoomed { pane }) => {
                self.note_uses([self.zoomed, *pane]);
                self.zoomed = *pane;
            }
            WorkspaceEvent::Layout(LayoutEvent::Visible { pane, visible: true }) => {
                self.note_uses([Some(*pane)]);
                self.visible.insert(*pane);
            }
            WorkspaceEvent::Layout(LayoutEvent::Visible { pane, visible: false }) => {
                self.note_uses([Some(*pane)]);
                self.visible.remove(pane);
            }
            WorkspaceEvent::Pane(_)
            | WorkspaceEvent::Worktree(_)
            | WorkspaceEvent::System(_)
            | WorkspaceEvent::Service(_)
            | WorkspaceEvent::PlugIn(_) => effects.misrouted(LAYOUT),
        }
    }

    fn note_uses(&mut self, panes: impl IntoIterator<Item = Option<PaneId>>) {
        for pane in panes.into_iter().flatten() {
            self.uses += 1;
            self.used.insert(pane, self.uses);
        }
    }
}

impl Pane {
    fn apply(&mut self, event: &PaneEvent, effects: &mut Effects<WorkspaceEffect>) {
        match event {
            PaneEvent::Started { command, folder, .. } => {
                self.command = Arc::clone(command);
                self.state = PaneState::Running;
                self.facets.folder.clone_from(folder);
            }
            PaneEvent::Output { bytes, lines, last_line, text, .. } => {
                self.bytes += bytes;
                self.lines += lines;
                self.last_line = Arc::clone(last_line);
                match self.warmth {
                    Warmth::Hot | Warmth::Warm => self.scrollback.push(text, self.warmth.bound()),
                    Warmth::Cold => {}
                }
            }
            PaneEvent::Title { title, .. } => self.title = Arc::clone(title),
            PaneEvent::WorkingDirectory { folder, .. } => self.facets.folder = Some(Arc::clone(folder)),
            PaneEvent::Bell { pane, count } => {
                self.bells += count;
                effects.push(WorkspaceEffect::Bell(*pane));
            }
            PaneEvent::PromptStarted { .. } => self.activity = PaneActivity::AtPrompt,
            PaneEvent::CommandStarted { .. } => self.activity = PaneActivity::InCommand,
            PaneEvent::CommandFinished { exit_code, .. } => {
                self.activity = PaneActivity::AtPrompt;
                self.commands += 1;
                self.last_exit_code = *exit_code;
            }
            PaneEvent::Exited { pane, exit, .. } => {
                self.state = PaneState::Exited(exit.clone());
                effects.push(WorkspaceEffect::PaneEnded(*pane));
            }
            PaneEvent::Lost { pane } => {
                self.state = PaneState::Lost;
                effects.push(WorkspaceEffect::PaneEnded(*pane));
            }
            PaneEvent::Demoted { to, .. } => {
                self.warmth = self.warmth.max(*to);
                self.scrollback.trim(self.warmth.bound());
            }
            PaneEvent::Promoted { .. } => self.warmth = Warmth::Hot,
        }
    }

    /// The folder it works in, as far as it is known.
    pub fn working_directory(&self) -> Option<&Path> {
        self.facets.folder.as_deref()
    }
}

impl Worktree {
    fn apply(&mut self, event: &WorktreeEvent, effects: &mut Effects<WorkspaceEffect>) {
        // Changes to contents coalesce: how many of them come before another event hangs on who was faster.
        self.told += u64::from(!matches!(event, WorktreeEvent::Modified { .. }));
        match event {
            WorktreeEvent::Opened { path, entries, .. } => self.open(path, *entries),
            WorktreeEvent::Created { .. } => {
                self.counts.created += 1;
                self.entries += 1;
            }
            WorktreeEvent::Removed { worktree, .. } => {
                self.counts.removed += 1;
                self.forget(1, *worktree, effects);
            }
            WorktreeEvent::Renamed { worktree, replaced, .. } => {
                self.counts.renamed += 1;
                self.forget(*replaced, *worktree, effects);
            }
            WorktreeEvent::Modified { changes, .. } => self.counts.modified += changes,
            WorktreeEvent::Diverged { worktree, reason } => self.diverge(*worktree, reason.clone(), effects),
            WorktreeEvent::Comparing { comparison, .. } => self.mirror.begin_as(*comparison),
            WorktreeEvent::Reconciled { worktree, comparison, entries, .. } => {
                if self.entries == *entries {
                    self.mirror.equal(*comparison);
                } else {
                    self.entries = *entries;
                    self.contradict(*worktree, effects);
                }
            }
            WorktreeEvent::Audited { in_sync, .. } => {
                self.audits += 1;
                self.last_audit_in_sync = Some(*in_sync);
            }
            WorktreeEvent::Unreadable { .. } => self.unreadable += 1,
            WorktreeEvent::Unwatched { .. } => self.mirror.diverge(self.told, DivergenceCause::Unwatched),
        }
    }

    /// Whether the folder itself is gone.
    pub fn root_missing(&self) -> bool {
        self.mirror.what() == Some(&DivergenceCause::RootMissing)
    }

    /// Keeps what was counted: a source that was restarted opens the same worktree again. Its comparisons are numbered anew.
    fn open(&mut self, path: &Arc<Path>, entries: u64) {
        self.path = Some(Arc::clone(path));
        self.entries = entries;
        self.mirror = Mirror::new(self.told, DivergenceCause::NotCompared);
        self.last_audit_in_sync = None;
        self.facets.folder = Some(Arc::clone(path));
        self.facets.project = path.file_name().map(OsStr::to_string_lossy).map(Arc::from);
    }

    fn diverge(&mut self, worktree: WorktreeId, cause: DivergenceCause, effects: &mut Effects<WorkspaceEffect>) {
        // A comparison that finds what was known to be amiss is no further divergence.
        if self.mirror.what() != Some(&cause) {
            self.divergences += 1;
            effects.push(WorkspaceEffect::Diverged(worktree));
        }
        self.last_divergence = Some(cause.clone());
        self.mirror.diverge(self.told, cause);
    }

    /// An event does not fit what was known: only a comparison with the disk can say what is so.
    fn contradict(&mut self, worktree: WorktreeId, effects: &mut Effects<WorkspaceEffect>) {
        self.diverge(worktree, DivergenceCause::Contradiction, effects);
        effects.push(WorkspaceEffect::RescanWorktree(worktree));
    }

    fn forget(&mut self, entries: u64, worktree: WorktreeId, effects: &mut Effects<WorkspaceEffect>) {
        match self.entries.checked_sub(entries) {
            Some(left) => self.entries = left,
            None => {
                self.entries = 0;
                self.contradict(worktree, effects);
            }
        }
    }
}

impl Machine {
    fn apply(&mut self, event: &SystemEvent) {
        match *event {
            SystemEvent::Memory { process_rss, machine_used, machine_total } => {
                self.process_rss = process_rss;
                self.memory_used = machine_used;
                self.memory_total = machine_total;
            }
            SystemEvent::Load { one, five, fifteen } => self.load = [one, five, fifteen],
            SystemEvent::Processor { process_percent } => self.process_percent = process_percent,
        }
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;

//! A workspace being run: its pipeline, wired, and what the command line keeps beside it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use mainlane::journal::Recovery;
use mainlane::workspace::{
    LayoutEvent, PaneEvent, PaneId, PtySource, SystemSource, Warmth, WatchControl, WatchSource, Workspace,
    WorkspaceEffect, WorkspaceEvent, WorktreeId, classify_in, first_word_exists,
};
use mainlane::{Diagnostic, Handle, Lane, MainLane, Origin, Overflow, Pipeline};

use crate::args::RunArgs;
use crate::past::{self, Past};
use crate::projects::{self, Projects};
use crate::say;
use crate::workers::Workers;

/// How often the machine is read.
const READING_EVERY: Duration = Duration::from_secs(1);
/// Critical events that a watched folder may have waiting between two frames.
const WATCH_CAPACITY: usize = 1 << 16;
/// Different entries of a watched folder that may have unread changes.
const WATCH_KEYS: usize = 1 << 14;
/// Unread lossy events of a pane: its output and its bell.
pub(crate) const PANE_KEYS: usize = 4;
/// Keys pressed between two frames.
const KEYS_MAX: usize = 64;

pub(crate) struct Session {
    pub(crate) main_lane: MainLane<Workspace>,
    pub(crate) handle: Handle<Workspace>,
    pub(crate) workers: Workers,
    /// The user's own lane: ahead of everyone else's.
    pub(crate) keyboard: Lane<WorkspaceEvent>,
    /// Those of this run, in the order they were asked for, as are the folders.
    pub(crate) panes: Vec<PaneId>,
    pub(crate) watched: Vec<WorktreeId>,
    pub(crate) worktrees: BTreeMap<WorktreeId, WatchControl>,
    /// The journal, what was recovered from it, and how many panes were lost.
    pub(crate) journal: Option<(PathBuf, Recovery, usize)>,
    /// Those beside this one.
    pub(crate) projects: Option<Projects>,
    pub(crate) began: Instant,
}

impl Session {
    /// Starts everything that was asked for.
    pub(crate) fn open(args: &RunArgs) -> Result<Self, String> {
        args.panes.iter().try_for_each(|command| first_word_exists(command))?;
        let asked = projects::asked(args)?;
        let (builder, recovered) = match &args.journal {
            None => (Pipeline::builder(Workspace::default()), None),
            Some(file) => {
                let (builder, recovery) = past::recover(file, args)?;
                (builder, Some((file.clone(), recovery)))
            }
        };
        let mut past = Past::of(builder.state());
        let watches = args
            .watches
            .iter()
            .map(|folder| WatchSource::builder(folder).worktree(past.worktree(folder)).watch())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| error.to_string())?;
        past.end(&builder)?;
        let journal = recovered.map(|(file, recovery)| {
            let lines = past::in_words(&file, &recovery, past.running.len());
            lines.iter().for_each(|line| say(format_args!("mainlane: {line}")));
            (file, recovery, past.running.len())
        });
        let watched: Vec<_> = watches.iter().map(WatchSource::worktree).collect();
        let worktrees: BTreeMap<_, _> = watches.iter().map(|watch| (watch.worktree(), watch.control())).collect();

        let (controls, own) = (worktrees.clone(), Arc::new(OnceLock::<Handle<Workspace>>::new()));
        let handle_of = own.clone();
        let builder = builder.reconciler(move |effect, state: &Workspace| match effect {
            WorkspaceEffect::Diverged(worktree) => {
                let what = state.model.worktrees.get(&worktree).and_then(|worktree| worktree.last_divergence.as_ref());
                let what = what.map_or_else(String::new, ToString::to_string);
                let origin = Origin::built_in("worktree", worktree.0);
                handle_of.get().into_iter().for_each(|handle| handle.report_divergence(origin, what.as_str()));
            }
            WorkspaceEffect::RescanWorktree(worktree) => {
                controls.get(&worktree).into_iter().for_each(WatchControl::audit)
            }
            // The view shows both from the state.
            WorkspaceEffect::Bell(_) | WorkspaceEffect::PaneEnded(_) => {}
        });
        // Pushed to by the frame loop itself, which must not wait for itself.
        let keyboard = builder
            .lane("keyboard")
            .rank(0)
            .unclocked()
            .capacity(KEYS_MAX + args.panes.len())
            .overflow(Overflow::Return)
            .open()
            .map_err(|error| error.to_string())?;
        let mut panes = Vec::new();
        for command in &args.panes {
            let pane = past.new_pane();
            let source = PtySource::builder(command).pane(pane).spawn().map_err(|error| error.to_string())?;
            builder
                .ingest(format!("pane {}", pane.0), source)
                .origin(Origin::built_in("pane", pane.0))
                .keys(PANE_KEYS)
                .lane(|lane| lane.classify_by(classify_in))
                .start()
                .map_err(|error| error.to_string())?;
            panes.push(pane);
        }
        for watch in watches {
            let worktree = watch.worktree();
            builder
                .ingest(format!("worktree {}", worktree.0), watch)
                .origin(Origin::built_in("worktree", worktree.0))
                .capacity(WATCH_CAPACITY)
                .keys(WATCH_KEYS)
                .start()
                .map_err(|error| error.to_string())?;
        }
        builder
            .ingest("system", SystemSource::every(READING_EVERY))
            .origin(Origin::built_in("system", 0))
            .start()
            .map_err(|error| error.to_string())?;
        let (main_lane, handle) = builder.build().map_err(|error| error.to_string())?;
        // Before the first turn, so no effect comes before it.
        let _ = own.set(handle.clone());
        let workers = Workers::start(&handle, args.memory)?;
        let projects = Projects::open(asked)?;
        let began = Instant::now();
        let mut session =
            Self { main_lane, handle, workers, keyboard, panes, watched, worktrees, journal, projects, began };
        session.show_all();
        Ok(session)
    }

    /// Every pane is on screen, the first one has the focus.
    fn show_all(&mut self) {
        for pane in self.panes.clone() {
            self.press(LayoutEvent::Visible { pane, visible: true });
        }
        self.press(LayoutEvent::Focused { pane: self.panes.first().copied() });
    }

    /// The user did something. A lane full of key strokes means that nobody turns; then one more is not missed.
    pub(crate) fn press(&mut self, event: LayoutEvent) {
        let shown = match event {
            LayoutEvent::Focused { pane } | LayoutEvent::Zoomed { pane } => pane,
            LayoutEvent::Visible { .. } => None,
        };
        let _ = self.keyboard.push(WorkspaceEvent::Layout(event));
        // What the user looks at keeps its lines again.
        let is_hot =
            |pane: &PaneId| self.main_lane.state().model.panes.get(pane).is_none_or(|pane| pane.warmth == Warmth::Hot);
        if let Some(pane) = shown.filter(|pane| !is_hot(pane)) {
            let _ = self.keyboard.push(WorkspaceEvent::Pane(PaneEvent::Promoted { pane }));
        }
    }

    /// True when every pane's lane has closed and no folder is watched, by whatever project.
    pub(crate) fn is_over(&self, open_lanes: &[Arc<str>]) -> bool {
        self.projects.is_none()
            && self.worktrees.is_empty()
            && !self.panes.is_empty()
            && !open_lanes.iter().any(|name| name.starts_with("pane "))
    }

    /// What went wrong since the last look, in words.
    pub(crate) fn problems(&mut self) -> Vec<String> {
        let own = self.handle.diagnostics();
        let beside = self.projects.as_mut().map(Projects::problems).unwrap_or_default();
        own.drain().filter_map(|diagnostic| in_words(&diagnostic)).chain(beside).collect()
    }
}

/// A diagnostic as a line for people; `None` for what is no problem.
pub(crate) fn in_words(diagnostic: &Diagnostic) -> Option<String> {
    match diagnostic {
        Diagnostic::LaneOpened { .. } | Diagnostic::LaneClosed { .. } => None,
        Diagnostic::Shed { lane, count } => Some(format!("{lane}: {count} lossy events dropped, its table is full")),
        Diagnostic::Returned { lane, count } => Some(format!("{lane}: {count} events refused, its ring is full")),
        Diagnostic::Diverged { origin, what } => Some(format!("{origin} may differ from the disk: {what}")),
        Diagnostic::SourceFailed { name, message, .. } => Some(format!("{name} failed: {message}")),
        Diagnostic::JournalFailed { durable, reason } => {
            Some(format!("the journal failed after turn {durable}, nothing more is recorded: {reason}"))
        }
        Diagnostic::JournalFull { reason } => Some(format!("no space for the journal, trying again: {reason}")),
        Diagnostic::CheckpointFailed { turn, reason } => {
            Some(format!("no checkpoint after turn {turn}, the next start takes longer: {reason}"))
        }
        Diagnostic::SourcePanicked { name, message, .. } => Some(format!("{name} panicked: {message}")),
        Diagnostic::WorkerFailed { worker, message } | Diagnostic::WorkerPanicked { worker, message } => {
            Some(format!("worker {worker} {message}"))
        }
        Diagnostic::WorkerRestarted { worker, run } => Some(format!("worker {worker} is started again, run {run}")),
        Diagnostic::WorkerStuck { worker } => Some(format!("worker {worker} does not stop")),
        Diagnostic::WorkersEscalated { worker, .. } => {
            Some(format!("worker {worker} failed too often, there are no workers any more"))
        }
        Diagnostic::ProjectStuck { thread, .. } => {
            Some(format!("stuck, a turn does not end; {thread} waits for it, and another thread goes on"))
        }
        other => Some(format!("{other:?}")),
    }
}

//! A state as it is printed: by a run at its end, and by a replay.

use std::io::{self, Write};

use mainlane::journal::store::Quarantined;
use mainlane::register::Divergence;
use mainlane::workspace::{DivergenceCause, Exit, Pane, PaneId, PaneState, Workspace, Worktree};
use serde::Serialize;

use crate::print::line;

#[derive(Serialize)]
pub(crate) struct PaneSummary {
    id: u64,
    command: String,
    state: &'static str,
    bytes: u64,
    lines: u64,
    /// `None` if it was still running; 128 and the signal's number if a signal ended it.
    exit_code: Option<i32>,
    signal: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct WorktreeSummary {
    path: String,
    created: u64,
    modified: u64,
    removed: u64,
    renamed: u64,
    /// How often it diverged from the disk; each time was reconciled if `in_sync`.
    diverged: u64,
    in_sync: bool,
    mirror: MirrorSummary,
}

/// Whether what is known of a folder is what is on the disk, as far as it was compared.
#[derive(Serialize)]
struct MirrorSummary {
    /// `in-sync`, `diverged` or `reconciling`.
    state: &'static str,
    /// Since which event of the folder nobody can say that they are equal, and why.
    since: Option<u64>,
    what: Option<String>,
}

impl MirrorSummary {
    fn new(divergence: &Divergence<u64, DivergenceCause>) -> Self {
        let (state, doubt) = match divergence {
            Divergence::InSync => ("in-sync", None),
            Divergence::Diverged { since, what } => ("diverged", Some((since, what))),
            Divergence::Reconciling { since, what } => ("reconciling", Some((since, what))),
        };
        let (since, what) = doubt.map(|(since, what)| (*since, what.to_string())).unzip();
        Self { state, since, what }
    }
}

/// An event that a reducer could not apply, and that is left out.
#[derive(Serialize)]
pub(crate) struct QuarantinedSummary {
    pub(crate) turn: u64,
    pub(crate) index: u32,
    pub(crate) kind: String,
    pub(crate) message: String,
}

impl QuarantinedSummary {
    pub(crate) fn new(event: &Quarantined) -> Self {
        let Quarantined { turn, index, kind, message } = event.clone();
        Self { turn, index, kind, message }
    }

    pub(crate) fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { turn, index, kind, message } = self;
        line(out, format_args!("event {index} of turn {turn} is set aside, a {kind}: {message}"))
    }
}

impl PaneSummary {
    pub(crate) fn new(id: PaneId, command: &str, pane: &Pane) -> Self {
        let (state, exit) = match &pane.state {
            PaneState::Running => ("running", None),
            PaneState::Exited(exit) => ("exited", Some(exit)),
            PaneState::Lost => ("lost", None),
        };
        let signal = match exit {
            Some(Exit::Signal { name, .. }) => Some(name.to_string()),
            Some(Exit::Code(_)) | None => None,
        };
        let exit_code = exit.map(Exit::shell_code);
        let Pane { bytes, lines, .. } = *pane;
        Self { id: id.0, command: command.to_owned(), state, bytes, lines, exit_code, signal }
    }

    /// All that there are.
    pub(crate) fn all(state: &Workspace) -> Vec<Self> {
        state.model.panes.iter().map(|(id, pane)| Self::new(*id, &pane.command, pane)).collect()
    }

    pub(crate) fn print(&self, out: &mut dyn Write, running: &str) -> io::Result<()> {
        let end = match (&self.signal, self.exit_code) {
            (Some(signal), _) => format!("ended by {signal}"),
            (None, Some(code)) => format!("exit code {code}"),
            (None, None) if self.state == "lost" => "lost".to_owned(),
            (None, None) => running.to_owned(),
        };
        let Self { bytes, lines, command, .. } = self;
        line(out, format_args!("{bytes:>12} bytes {lines:>10} lines  {end:<16} {command}"))
    }
}

impl WorktreeSummary {
    pub(crate) fn new(path: String, worktree: &Worktree) -> Self {
        Self {
            path,
            created: worktree.counts.created,
            modified: worktree.counts.modified,
            removed: worktree.counts.removed,
            renamed: worktree.counts.renamed,
            diverged: worktree.divergences,
            in_sync: worktree.mirror.is_in_sync() && worktree.last_audit_in_sync.is_some(),
            mirror: MirrorSummary::new(worktree.mirror.divergence()),
        }
    }

    /// All that there are.
    pub(crate) fn all(state: &Workspace) -> Vec<Self> {
        let path = |worktree: &Worktree| worktree.path.as_deref().map(|path| path.display().to_string());
        let worktrees = state.model.worktrees.values();
        worktrees.map(|worktree| Self::new(path(worktree).unwrap_or_default(), worktree)).collect()
    }

    pub(crate) fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { path, created, modified, removed, renamed, diverged, in_sync, mirror } = self;
        let sync = match &mirror.what {
            None if *in_sync => "equal to the disk".to_owned(),
            None => "NOT compared with the disk at the end".to_owned(),
            Some(what) => format!("NOT known to be equal to the disk ({what})"),
        };
        line(
            out,
            format_args!(
                "{created} created, {modified} modified, {removed} removed, {renamed} renamed, \
                 {diverged} times diverged, {sync}  {path}"
            ),
        )
    }
}

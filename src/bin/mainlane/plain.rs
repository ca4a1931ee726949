//! Progress lines, for logs and pipes.

use std::time::{Duration, Instant};

use mainlane::control::memory::MemoryLevel;
use mainlane::workspace::{PaneState, Workspace};
use mainlane::{Counters, Snapshot};

use crate::projects::InALine;
use crate::say;
use crate::session::Session;
use crate::workers::{WorkerSummary, is_amiss, level_in_words};

/// How often a line is printed.
const EVERY: Duration = Duration::from_secs(1);

pub(crate) struct Plain {
    next: Instant,
}

impl Plain {
    pub(crate) fn new() -> Self {
        // The first line says that everything is running.
        Self { next: Instant::now() }
    }

    /// Prints what is out of the ordinary at once, and a progress line now and then.
    pub(crate) fn show(&mut self, session: &mut Session, snapshot: &Snapshot<Workspace>, counters: &Counters) {
        for problem in session.problems() {
            say(format_args!("mainlane: {problem}"));
        }
        let now = Instant::now();
        if now < self.next {
            return;
        }
        self.next = now + EVERY;
        say(format_args!("{}", line(session, snapshot, counters)));
    }
}

fn line(session: &Session, state: &Workspace, counters: &Counters) -> String {
    let panes: Vec<_> = session.panes.iter().filter_map(|id| state.model.panes.get(id)).collect();
    let running = panes.iter().filter(|pane| pane.state == PaneState::Running).count();
    let bytes: u64 = panes.iter().map(|pane| pane.bytes).sum();
    let lines: u64 = panes.iter().map(|pane| pane.lines).sum();
    let mut text = format!("{:>4}s", session.began.elapsed().as_secs());
    if !panes.is_empty() {
        text += &format!("  panes {running} of {} running, {bytes} bytes, {lines} lines", panes.len());
    }
    for worktree in session.watched.iter().filter_map(|id| state.model.worktrees.get(id)) {
        let path = worktree.path.as_deref().unwrap_or(std::path::Path::new("?"));
        let counts = worktree.counts;
        text += &format!(
            "  {}: +{} ~{} -{} >{}",
            path.display(),
            counts.created,
            counts.modified,
            counts.removed,
            counts.renamed
        );
        if let Some(what) = worktree.mirror.what() {
            text += &format!(" (not in sync: {what})");
        }
    }
    let events = counters.events;
    text += &format!(
        "  events {} pushed, {} applied, {} coalesced",
        events.pushed,
        events.applied,
        events.replaced + events.merged
    );
    if events.shed + events.refused > 0 {
        text += &format!(", {} shed, {} refused", events.shed, events.refused);
    }
    let level = session.workers.memory_level();
    if level > MemoryLevel::Normal {
        text += &format!(", {}", level_in_words(level));
    }
    for status in session.workers.panel.workers().iter().filter(|status| is_amiss(status)) {
        text += &format!(", {}", WorkerSummary::new(status));
    }
    if let Some(journal) = session.handle.journal() {
        text += &format!(", turn {} on disk", journal.durable());
    }
    if let Some(projects) = &session.projects {
        for (beside, driven) in projects.all().iter().zip(projects.driven()) {
            text += &format!("; {}", InALine(beside, driven.as_ref()));
        }
    }
    text
}

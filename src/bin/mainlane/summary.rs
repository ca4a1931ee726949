//! What is printed at the end.

use std::io::{self, Write};

use hdrhistogram::Histogram;
use mainlane::ShutdownReport;
use mainlane::workspace::{Exit, PaneState, Workspace};
use serde::Serialize;

use crate::args::RunArgs;
use crate::session::Session;

#[derive(Serialize)]
pub(crate) struct Summary {
    panes: Vec<PaneSummary>,
    worktrees: Vec<WorktreeSummary>,
    events: EventSummary,
    turns: u64,
    snapshots: u64,
    turn_ns: Latency,
    elapsed_ms: u64,
    /// The most memory this process held; `None` where the system does not say.
    peak_memory_bytes: Option<u64>,
    complete: bool,
}

#[derive(Serialize)]
struct PaneSummary {
    command: String,
    bytes: u64,
    lines: u64,
    /// `None` if it was still running; 128 and the signal's number if a signal ended it.
    exit_code: Option<i32>,
    signal: Option<String>,
}

#[derive(Serialize)]
struct WorktreeSummary {
    path: String,
    created: u64,
    modified: u64,
    removed: u64,
    renamed: u64,
    /// How often it diverged from the disk; each time was reconciled if `in_sync`.
    diverged: u64,
    in_sync: bool,
}

#[derive(Serialize)]
struct EventSummary {
    pushed: u64,
    applied: u64,
    replaced: u64,
    merged: u64,
    shed: u64,
    refused: u64,
    in_flight: u64,
}

#[derive(Serialize)]
struct Latency {
    p50: u64,
    p99: u64,
    p999: u64,
    max: u64,
}

impl Summary {
    pub(crate) fn new(args: &RunArgs, session: &Session, report: &ShutdownReport, turn_ns: &Histogram<u64>) -> Self {
        let state = session.handle.reader().load();
        let events = report.counters.events;
        Self {
            panes: panes(args, session, &state),
            worktrees: worktrees(args, &state),
            events: EventSummary {
                pushed: events.pushed,
                applied: events.applied,
                replaced: events.replaced,
                merged: events.merged,
                shed: events.shed,
                refused: events.refused,
                in_flight: events.in_flight,
            },
            turns: report.counters.turns,
            snapshots: report.counters.snapshots,
            turn_ns: Latency {
                p50: turn_ns.value_at_quantile(0.5),
                p99: turn_ns.value_at_quantile(0.99),
                p999: turn_ns.value_at_quantile(0.999),
                max: turn_ns.max(),
            },
            elapsed_ms: u64::try_from(session.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            peak_memory_bytes: peak_memory_bytes(),
            complete: report.complete,
        }
    }

    pub(crate) fn print(&self, json: bool) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if json {
            serde_json::to_writer_pretty(&mut out, self)?;
            writeln!(out)?;
        } else {
            self.print_text(&mut out)?;
        }
        out.flush()
    }

    fn print_text(&self, out: &mut impl Write) -> io::Result<()> {
        for pane in &self.panes {
            let end = match (&pane.signal, pane.exit_code) {
                (Some(signal), _) => format!("ended by {signal}"),
                (None, Some(code)) => format!("exit code {code}"),
                (None, None) => "ended with this".to_owned(),
            };
            writeln!(out, "{:>12} bytes {:>10} lines  {end:<16} {}", pane.bytes, pane.lines, pane.command)?;
        }
        for worktree in &self.worktrees {
            let WorktreeSummary { path, created, modified, removed, renamed, diverged, in_sync } = worktree;
            let sync = if *in_sync { "equal to the disk" } else { "NOT equal to the disk, or not compared with it" };
            writeln!(
                out,
                "{created} created, {modified} modified, {removed} removed, {renamed} renamed, \
                 {diverged} times diverged, {sync}  {path}"
            )?;
        }
        let EventSummary { pushed, applied, replaced, merged, shed, refused, in_flight } = &self.events;
        writeln!(
            out,
            "{pushed} events pushed = {applied} applied + {replaced} replaced + {merged} merged + {shed} shed + \
             {refused} refused + {in_flight} in flight"
        )?;
        let Latency { p50, p99, p999, max } = &self.turn_ns;
        let micros = |ns: &u64| ns / 1000;
        writeln!(
            out,
            "{} turns, {} snapshots in {:.2} s; turn time p50 {} µs, p99 {} µs, p99.9 {} µs, max {} µs",
            self.turns,
            self.snapshots,
            self.elapsed_ms as f64 / 1000.0,
            micros(p50),
            micros(p99),
            micros(p999),
            micros(max)
        )
    }
}

/// The kernel's own mark of the most memory this process held.
fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kibibytes = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().strip_suffix(" kB")?;
    kibibytes.parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}

fn panes(args: &RunArgs, session: &Session, state: &Workspace) -> Vec<PaneSummary> {
    session
        .panes
        .iter()
        .zip(&args.panes)
        .map(|(id, command)| {
            let pane = state.model.panes.get(id).map(|pane| (**pane).clone()).unwrap_or_default();
            let exit = match pane.state {
                PaneState::Running => None,
                PaneState::Exited(exit) => Some(exit),
            };
            let signal = match &exit {
                Some(Exit::Signal { name, .. }) => Some(name.to_string()),
                Some(Exit::Code(_)) | None => None,
            };
            let exit_code = exit.map(|exit| exit.shell_code());
            PaneSummary { command: command.clone(), bytes: pane.bytes, lines: pane.lines, exit_code, signal }
        })
        .collect()
}

fn worktrees(args: &RunArgs, state: &Workspace) -> Vec<WorktreeSummary> {
    // Numbered from one, in the order they were asked for.
    args.watches
        .iter()
        .enumerate()
        .map(|(at, asked)| {
            let id = mainlane::workspace::WorktreeId(at as u64 + 1);
            let worktree = state.model.worktrees.get(&id).map(|worktree| (**worktree).clone()).unwrap_or_default();
            let path = worktree.path.as_deref().unwrap_or(asked).display().to_string();
            let in_sync = worktree.mirror == mainlane::workspace::Mirror::InSync && worktree.audits > 0;
            WorktreeSummary {
                path,
                created: worktree.counts.created,
                modified: worktree.counts.modified,
                removed: worktree.counts.removed,
                renamed: worktree.counts.renamed,
                diverged: worktree.divergences,
                in_sync,
            }
        })
        .collect()
}

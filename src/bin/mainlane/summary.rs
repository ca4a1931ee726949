//! What is printed at the end.

use std::io::{self, Write};

use hdrhistogram::Histogram;
use mainlane::workspace::{Warmth, Workspace};
use mainlane::{JournalEnd, ShutdownReport, Totals};
use serde::Serialize;

use crate::args::RunArgs;
use crate::print;
use crate::projects::{CrewSummary, ProjectSummary};
use crate::run::Ended;
use crate::session::Session;
use crate::state::{PaneSummary, QuarantinedSummary, WorktreeSummary};
use crate::workers::WorkerSummary;

#[derive(Serialize)]
pub(crate) struct Summary<'a> {
    panes: Vec<PaneSummary>,
    worktrees: Vec<WorktreeSummary>,
    events: EventSummary,
    turns: u64,
    snapshots: u64,
    turn_ns: Latency,
    elapsed_ms: u64,
    /// The most memory this process held; `None` where the system does not say.
    peak_memory_bytes: Option<u64>,
    /// What the panes hold, by their own count.
    held_bytes: u64,
    /// Panes that keep fewer lines than they had, or none.
    demoted_panes: usize,
    workers: Vec<WorkerSummary>,
    journal: Option<JournalSummary>,
    /// Those beside the first one, and who drove them.
    projects: &'a [ProjectSummary],
    crew: Option<&'a CrewSummary>,
    complete: bool,
}

/// What became of the journal.
#[derive(Serialize)]
struct JournalSummary {
    file: String,
    recovered: RecoverySummary,
    /// The newest turn that was applied, and the newest that is on disk.
    turn: u64,
    durable: u64,
    /// Why nothing more was recorded, if it was not.
    failure: Option<String>,
}

#[derive(Serialize)]
struct RecoverySummary {
    created: bool,
    turn: u64,
    checkpoint: u64,
    turns: u64,
    events: u64,
    ms: u64,
    /// Panes that ran when the journal ended.
    lost_panes: usize,
    /// Bytes that were cut off at the end.
    torn_bytes: u64,
    /// Turns.
    damaged_checkpoints: Vec<u64>,
    quarantined: Vec<QuarantinedSummary>,
}

#[derive(Serialize)]
pub(crate) struct EventSummary {
    pushed: u64,
    pub(crate) applied: u64,
    replaced: u64,
    merged: u64,
    shed: u64,
    refused: u64,
    pub(crate) in_flight: u64,
}

impl EventSummary {
    pub(crate) fn new(events: &Totals) -> Self {
        let Totals { pushed, applied, replaced, merged, shed, refused, in_flight, .. } = *events;
        Self { pushed, applied, replaced, merged, shed, refused, in_flight }
    }
}

#[derive(Serialize)]
struct Latency {
    p50: u64,
    p99: u64,
    p999: u64,
    max: u64,
}

impl<'a> Summary<'a> {
    pub(crate) fn new(args: &RunArgs, session: &Session, ended: &'a Ended, turn_ns: &Histogram<u64>) -> Self {
        let Ended { report, workers, projects } = ended;
        let state = session.handle.reader().load();
        Self {
            panes: panes(args, session, &state),
            worktrees: worktrees(args, session, &state),
            events: EventSummary::new(&report.counters.events),
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
            held_bytes: state.held_bytes(),
            demoted_panes: state.model.panes.iter().filter(|(_, pane)| pane.warmth != Warmth::Hot).count(),
            workers: WorkerSummary::all(workers),
            journal: journal(session, report),
            projects: projects.as_ref().map(|ended| ended.projects.as_slice()).unwrap_or_default(),
            crew: projects.as_ref().map(|ended| &ended.crew),
            complete: report.complete
                && workers.complete
                && projects.as_ref().is_none_or(|ended| ended.amiss.is_empty()),
        }
    }

    pub(crate) fn print(&self, json: bool) -> io::Result<()> {
        print::print(|out| if json { print::json(out, self) } else { self.print_text(out) })
    }

    fn print_text(&self, out: &mut dyn Write) -> io::Result<()> {
        self.panes.iter().try_for_each(|pane| pane.print(out, "ended with this"))?;
        self.worktrees.iter().try_for_each(|worktree| worktree.print(out))?;
        if let Some(JournalSummary { file, turn, durable, .. }) = &self.journal {
            print::line(out, format_args!("turn {durable} of {turn} is on disk, in {file}"))?;
        }
        if self.demoted_panes > 0 {
            print::line(out, format_args!("memory was short: {} panes keep fewer lines", self.demoted_panes))?;
        }
        let amiss = self.workers.iter().filter(|worker| worker.restarts > 0 || worker.last_failure.is_some());
        amiss.into_iter().try_for_each(|worker| print::line(out, format_args!("{worker}")))?;
        self.projects.iter().try_for_each(|project| project.print(out))?;
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
    let known = |id| state.model.panes.get(id).map(|pane| (**pane).clone()).unwrap_or_default();
    session.panes.iter().zip(&args.panes).map(|(id, command)| PaneSummary::new(*id, command, &known(id))).collect()
}

fn worktrees(args: &RunArgs, session: &Session, state: &Workspace) -> Vec<WorktreeSummary> {
    let worktrees = session.watched.iter().zip(&args.watches);
    worktrees
        .map(|(id, asked)| {
            let worktree = state.model.worktrees.get(id).map(|worktree| (**worktree).clone()).unwrap_or_default();
            let path = worktree.path.as_deref().unwrap_or(asked).display().to_string();
            WorktreeSummary::new(path, &worktree)
        })
        .collect()
}

fn journal(session: &Session, report: &ShutdownReport) -> Option<JournalSummary> {
    let (file, recovery, lost_panes) = session.journal.as_ref()?;
    let JournalEnd { applied, durable, failure, .. } = report.journal.clone()?;
    let recovered = RecoverySummary {
        created: recovery.created,
        turn: recovery.turn,
        checkpoint: recovery.checkpoint,
        turns: recovery.turns,
        events: recovery.events,
        ms: u64::try_from(recovery.took.as_millis()).unwrap_or(u64::MAX),
        lost_panes: *lost_panes,
        torn_bytes: recovery.torn_tail.as_ref().map_or(0, |torn| torn.bytes),
        damaged_checkpoints: recovery.damaged_checkpoints.iter().map(|(turn, _)| *turn).collect(),
        quarantined: recovery.quarantined.iter().map(QuarantinedSummary::new).collect(),
    };
    Some(JournalSummary { file: file.display().to_string(), recovered, turn: applied, durable, failure })
}

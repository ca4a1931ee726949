//! `mainlane replay`: the state of a journal, rebuilt.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mainlane::journal::{Journal, ReplayReport, Replaying};
use mainlane::workspace::{SCHEMA, Workspace};
use serde::Serialize;

use crate::args::ReplayArgs;
use crate::print::{self, line};
use crate::problem::{FAILURE, Problem};
use crate::run::signals;
use crate::say;
use crate::state::{PaneSummary, QuarantinedSummary, WorktreeSummary};

/// How often the progress line is drawn anew.
const DRAW_EVERY: Duration = Duration::from_millis(200);

pub(crate) fn run(args: &ReplayArgs) -> Result<ExitCode, Problem> {
    let stop = signals()?;
    let mut progress = Progress::new();
    let what = Replaying { until: args.until, verify: args.verify };
    let replayed =
        Journal::file(&args.file).schema(SCHEMA.0, SCHEMA.1).replay::<Workspace>(what, None, &mut |report| {
            progress.draw(report);
            !stop.load(Ordering::Relaxed)
        });
    progress.clear();
    let (state, report) = replayed?;
    let summary = Summary::new(args, &state, &report, progress.began.elapsed());
    print::print(|out| if args.json { print::json(out, &summary) } else { summary.print(out) })?;
    for turn in &report.different {
        say(format_args!("mainlane: turn {turn}: the state is not the one whose hash was recorded"));
    }
    if !summary.complete {
        say(format_args!("mainlane: interrupted after turn {} of {}", report.turn, report.until));
    }
    let is_well = report.different.is_empty() && summary.complete;
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::from(FAILURE) })
}

/// One line on standard error, where that is a terminal.
struct Progress {
    began: Instant,
    next: Instant,
    is_shown: bool,
    is_drawn: bool,
}

impl Progress {
    fn new() -> Self {
        let began = Instant::now();
        Self { began, next: began + DRAW_EVERY, is_shown: io::stderr().is_terminal(), is_drawn: false }
    }

    fn draw(&mut self, report: &ReplayReport) {
        if !self.is_shown {
            return;
        }
        let now = Instant::now();
        if now < self.next {
            return;
        }
        self.next = now + DRAW_EVERY;
        self.is_drawn = true;
        // To the start of the line, and everything after it away.
        let _ = write!(io::stderr(), "\r\x1b[K{}", in_words(report, now - self.began));
    }

    fn clear(&mut self) {
        if self.is_drawn {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

fn in_words(report: &ReplayReport, elapsed: Duration) -> String {
    let ReplayReport { checkpoint, turn, until, events, .. } = report;
    let (done, all) = (turn.saturating_sub(*checkpoint), until.saturating_sub(*checkpoint));
    let left = elapsed.as_secs_f64() * (all - done.min(all)) as f64 / done.max(1) as f64;
    let rate = per_second(*events, elapsed);
    format!("turn {turn} of {until}, {events} events, {rate} events/s, {left:.0} s left")
}

fn per_second(events: u64, elapsed: Duration) -> u64 {
    (events as f64 / elapsed.as_secs_f64().max(1e-9)) as u64
}

#[derive(Serialize)]
struct Skipped {
    turn: u64,
    version: u32,
}

#[derive(Serialize)]
struct Summary {
    file: String,
    panes: Vec<PaneSummary>,
    worktrees: Vec<WorktreeSummary>,
    /// The turn of the checkpoint that it began with, the newest that was applied, and the newest that was to be.
    checkpoint: u64,
    turn: u64,
    until: u64,
    events: u64,
    elapsed_ms: u64,
    events_per_second: u64,
    /// Turns whose state was compared with a recorded hash, and those that came out differently.
    compared: Vec<u64>,
    different: Vec<u64>,
    /// Checkpoints of another version of the schema.
    skipped: Vec<Skipped>,
    hash: Option<String>,
    quarantined: Vec<QuarantinedSummary>,
    complete: bool,
}

impl Summary {
    fn new(args: &ReplayArgs, state: &Workspace, report: &ReplayReport, elapsed: Duration) -> Self {
        Self {
            file: args.file.display().to_string(),
            panes: PaneSummary::all(state),
            worktrees: WorktreeSummary::all(state),
            checkpoint: report.checkpoint,
            turn: report.turn,
            until: report.until,
            events: report.events,
            elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            events_per_second: per_second(report.events, elapsed),
            compared: report.compared.clone(),
            different: report.different.clone(),
            skipped: report.skipped.iter().map(|&(turn, version)| Skipped { turn, version }).collect(),
            hash: report.hash.map(print::hex),
            quarantined: report.quarantined.iter().map(QuarantinedSummary::new).collect(),
            complete: report.turn == report.until,
        }
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        self.panes.iter().try_for_each(|pane| pane.print(out, "running"))?;
        self.worktrees.iter().try_for_each(|worktree| worktree.print(out))?;
        self.quarantined.iter().try_for_each(|event| event.print(out))?;
        let Self { checkpoint, turn, events, events_per_second, .. } = self;
        let seconds = self.elapsed_ms as f64 / 1000.0;
        line(
            out,
            format_args!(
                "turn {turn}, from the checkpoint of turn {checkpoint}: {events} events in {seconds:.2} s, \
                 {events_per_second} events/s"
            ),
        )?;
        let (compared, different) = (self.compared.len(), self.different.len());
        if compared > 0 {
            line(out, format_args!("{compared} hashes compared, {different} different"))?;
        }
        self.skipped.iter().try_for_each(|Skipped { turn, version }| {
            let ours = SCHEMA.1;
            line(out, format_args!("turn {turn} not compared: its checkpoint has schema version {version}, not {ours}"))
        })?;
        line(out, format_args!("state {}", self.hash.as_deref().unwrap_or("unknown")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_reckoned_from_what_is_done() {
        let mut report = ReplayReport::default();
        (report.checkpoint, report.turn, report.until, report.events) = (100, 150, 300, 5000);
        let said = in_words(&report, Duration::from_secs(2));
        assert_eq!(said, "turn 150 of 300, 5000 events, 2500 events/s, 6 s left");
        // At the very beginning nothing is known, and nothing is divided by.
        report.turn = 100;
        assert!(in_words(&report, Duration::ZERO).starts_with("turn 100 of 300"));
    }
}

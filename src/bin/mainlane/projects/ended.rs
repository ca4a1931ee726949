//! How the projects ended, for the summary and the exit code.

use std::io::{self, Write};
use std::time::Duration;

use mainlane::ShutdownReport;
use mainlane::register::{CrewCounters, ProjectPhase, RegisterReport};
use serde::Serialize;

use super::{Beside, Projects, word};
use crate::args::Breakage;
use crate::print::line;
use crate::state::{PaneSummary, WorktreeSummary};
use crate::summary::EventSummary;

/// What became of them.
pub(crate) struct ProjectsEnd {
    pub(crate) projects: Vec<ProjectSummary>,
    pub(crate) crew: CrewSummary,
    /// What is not as it should be, and was not asked for: a line for each.
    pub(crate) amiss: Vec<String>,
}

/// A project, as it is printed.
#[derive(Serialize)]
pub(crate) struct ProjectSummary {
    name: String,
    folder: String,
    /// `closed` if it was open to the end; `failed`, or `resting` if it would have been opened again.
    phase: &'static str,
    openings: u64,
    failures: u64,
    last_failure: Option<String>,
    /// How it was to be broken, if it was: `panic` or `hang`.
    broken: Option<&'static str>,
    /// The rest is of its last opening.
    stuck_turns: u64,
    turns: u64,
    events: EventSummary,
    /// Whether each event that was pushed is accounted for.
    balanced: bool,
    /// Whether everything was applied, and all its threads have ended.
    complete: bool,
    panes: Vec<PaneSummary>,
    worktrees: Vec<WorktreeSummary>,
}

/// The crew, as it is printed.
#[derive(Serialize)]
pub(crate) struct CrewSummary {
    /// Those that were not stuck, and those that were, as the end began.
    threads: usize,
    threads_stuck: usize,
    threads_started: u64,
    threads_refused: u64,
    stuck_turns: u64,
    complete: bool,
}

impl ProjectsEnd {
    /// Shuts them down if that has not been done.
    pub(crate) fn of(projects: &mut Projects, deadline: Duration) -> Self {
        let report = projects.shutdown(deadline);
        projects.end(&report);
        let report_of = |beside: &Beside| {
            let of = report.projects.iter().find(|(name, _)| **name == *beside.asked.name);
            of.map(|(_, report)| report)
        };
        Self {
            projects: projects.all().iter().map(|beside| ProjectSummary::new(beside, report_of(beside))).collect(),
            crew: CrewSummary::new(projects.counted.as_ref(), &projects.crew(), &report),
            amiss: amiss(projects.all(), &report, deadline),
        }
    }
}

/// That a project fails which was to be broken is no fault of anybody's; nor is what it could not apply then.
fn amiss(all: &[Beside], report: &RegisterReport, deadline: Duration) -> Vec<String> {
    let mut amiss = Vec::new();
    for beside in all {
        let name = &beside.asked.name;
        amiss.extend(beside.unasked.iter().map(|why| format!("project {name} failed: {why}")));
    }
    for (name, report) in report.projects.iter().filter(|(_, report)| !report.complete && report.fault.is_none()) {
        let in_flight = report.counters.events.in_flight;
        amiss.extend((in_flight > 0).then(|| format!("project {name}: {in_flight} accepted events were not applied")));
        let late = report.stragglers.iter();
        amiss.extend(late.map(|thread| format!("project {name}: `{thread}` did not stop within {deadline:?}")));
        if in_flight == 0 && report.stragglers.is_empty() {
            amiss.push(format!("project {name} did not end within {deadline:?}"));
        }
    }
    amiss.extend(
        report.busy.iter().map(|name| format!("project {name} was being opened, and did not end within {deadline:?}")),
    );
    amiss.extend(report.crew.stragglers.iter().map(|thread| format!("`{thread}` did not stop within {deadline:?}")));
    if !(report.panel.complete && report.bus.complete) {
        amiss.push(format!("the projects' bus did not stop within {deadline:?}"));
    }
    amiss
}

impl ProjectSummary {
    fn new(beside: &Beside, report: Option<&ShutdownReport>) -> Self {
        let state = beside.project.reader().load();
        let counters = report.map_or_else(|| beside.project.handle().counters(), |report| report.counters.clone());
        Self {
            name: beside.asked.name.clone(),
            folder: beside.asked.folder.display().to_string(),
            phase: word(&beside.phase),
            openings: beside.openings,
            failures: beside.failures,
            last_failure: beside.last_failure.as_deref().map(str::to_owned),
            broken: beside.asked.broken.map(Breakage::name),
            stuck_turns: counters.faults.stuck_turns,
            turns: counters.turns,
            events: EventSummary::new(&counters.events),
            balanced: counters.events.balanced(),
            complete: beside.phase == ProjectPhase::Closed && report.is_some_and(|report| report.complete),
            panes: PaneSummary::all(&state.workspace),
            worktrees: WorktreeSummary::all(&state.workspace),
        }
    }

    pub(crate) fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { name, folder, phase, openings, turns, events, .. } = self;
        let EventSummary { applied, in_flight, .. } = events;
        let times = if *openings == 1 { "once".to_owned() } else { format!("{openings} times") };
        let left = if *in_flight == 0 { String::new() } else { format!(", {in_flight} were not") };
        line(
            out,
            format_args!(
                "project {name}: {phase}, opened {times}; {applied} events applied in {turns} turns{left}  {folder}"
            ),
        )?;
        if let Some(why) = &self.last_failure {
            line(out, format_args!("    it failed {} times, the last time because {why}", self.failures))?;
        }
        if self.stuck_turns > 0 {
            line(out, format_args!("    {} of its turns were stuck, and held a thread each", self.stuck_turns))?;
        }
        self.panes.iter().try_for_each(|pane| pane.print(out, "ended with this"))?;
        self.worktrees.iter().try_for_each(|worktree| worktree.print(out))
    }
}

impl CrewSummary {
    fn new(began: Option<&CrewCounters>, counters: &CrewCounters, report: &RegisterReport) -> Self {
        let CrewCounters { threads, threads_stuck, .. } = *began.unwrap_or(counters);
        let CrewCounters { threads_started, threads_refused, stuck_turns, .. } = *counters;
        Self { threads, threads_stuck, threads_started, threads_refused, stuck_turns, complete: report.crew.complete }
    }
}

//! The frame loop: a turn within its budget, then the newest snapshot on screen.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mainlane::control::PanelReport;
use mainlane::workspace::{Workspace, Worktree};
use mainlane::{Budget, CachedReader, JournalEnd, Left, ShutdownReport, Turn};

use crate::args::RunArgs;
use crate::demo;
use crate::plain::Plain;
use crate::projects::{Projects, ProjectsEnd};
use crate::say;
use crate::session::Session;
use crate::summary::Summary;
use crate::view::{Key, View};

/// How long the sources and the main lane have to come to an end.
const SHUTDOWN: Duration = Duration::from_secs(5);
/// How long they have when everything is to be on disk by then.
const SHUTDOWN_OF_JOURNAL: Duration = Duration::from_secs(30);
/// How long a watched folder has to be compared with the disk at the end.
const AUDIT: Duration = Duration::from_secs(10);
/// The longest turn that is told apart from longer ones.
const TURN_NS_MAX: u64 = 60_000_000_000;
/// How long one wait between frames is at most, so that signals are noticed.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Runs until it is over, and prints the summary.
pub(crate) fn run(mut args: RunArgs) -> Result<ExitCode, String> {
    if args.is_empty() {
        demo::fill(&mut args);
    }
    let mut session = Session::open(&args)?;
    // From here on: while the folders are scanned, a signal ends the program as it ends any other.
    let stop = signals()?;
    let mut screen = Screen::open(&args)?;
    let mut frames = Frames::new(&args, &session);
    let looped = frames.run(&mut session, &mut screen, &stop);
    drop(screen);
    let fault = looped.err();
    if fault.is_none() {
        frames.settle(&mut session, &stop);
    }
    let ended = end(&mut session);
    let summary = Summary::new(&args, &session, &ended, &frames.turn_ns);
    let code = exit_code(&mut session, &ended, fault);
    if let Err(error) = summary.print(args.json) {
        say(format_args!("mainlane: cannot print the summary: {error}"));
        return Ok(ExitCode::FAILURE);
    }
    Ok(code)
}

/// How everything ended.
pub(crate) struct Ended {
    pub(crate) report: ShutdownReport,
    pub(crate) workers: PanelReport,
    pub(crate) projects: Option<ProjectsEnd>,
}

/// Ends the first project and those beside it at the same time: they share nothing, so neither has to wait for the other, and each has
/// all of the time. One after the other, the first project's lanes would be full while nobody takes its turns, or the others would
/// have what it leaves of the deadline.
fn end(session: &mut Session) -> Ended {
    let (deadline, Session { workers, main_lane, projects, .. }) = (shutdown_of(session), session);
    let (workers, report) = std::thread::scope(|scope| {
        if let Some(projects) = projects.as_mut() {
            let named = std::thread::Builder::new().name("shutdown".to_owned());
            // Where there is no thread for it, they are closed below.
            let _ = named.spawn_scoped(scope, || projects.shutdown(deadline));
        }
        workers.panel.shutdown_with(main_lane, deadline)
    });
    let projects = projects.as_mut().map(|projects| ProjectsEnd::of(projects, deadline));
    Ended { report, workers, projects }
}

fn shutdown_of(session: &Session) -> Duration {
    if session.journal.is_some() { SHUTDOWN_OF_JOURNAL } else { SHUTDOWN }
}

fn exit_code(session: &mut Session, ended: &Ended, fault: Option<String>) -> ExitCode {
    let Ended { report, workers, projects } = ended;
    session.problems().iter().chain(&fault).for_each(|problem| say(format_args!("mainlane: {problem}")));
    let journal = report.journal.as_ref();
    if let Some(JournalEnd { durable, applied, .. }) = journal.filter(|journal| !journal.is_complete()) {
        say(format_args!("mainlane: turn {applied} was applied, and the newest in the journal is {durable}"));
    }
    let amiss = projects.as_ref().map(|projects| projects.amiss.as_slice()).unwrap_or_default();
    let is_well = report.complete && workers.complete && journal.is_none_or(|journal| journal.failure.is_none());
    if is_well && amiss.is_empty() {
        return ExitCode::SUCCESS;
    }
    for thread in report.stragglers.iter().chain(&workers.stragglers) {
        say(format_args!("mainlane: `{thread}` did not stop within {:?}", shutdown_of(session)));
    }
    if report.counters.events.in_flight > 0 {
        say(format_args!("mainlane: {} accepted events were not applied", report.counters.events.in_flight));
    }
    amiss.iter().for_each(|what| say(format_args!("mainlane: {what}")));
    ExitCode::FAILURE
}

/// Set by Ctrl-C, SIGTERM, and the end of the terminal.
pub(crate) fn signals() -> Result<Arc<AtomicBool>, String> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, stop.clone())
            .map_err(|error| format!("cannot listen for signals: {error}"))?;
    }
    Ok(stop)
}

/// Where frames go.
enum Screen {
    View(Box<View>),
    Plain(Plain),
}

impl Screen {
    /// A live view where there is a terminal for it, progress lines elsewhere. Both on standard error, so that standard
    /// output has the summary alone.
    fn open(args: &RunArgs) -> Result<Self, String> {
        if args.plain || !std::io::stderr().is_terminal() || !std::io::stdin().is_terminal() {
            return Ok(Screen::Plain(Plain::new()));
        }
        View::open()
            .map(|view| Screen::View(Box::new(view)))
            .map_err(|error| format!("cannot draw: {error}; try --plain"))
    }
}

struct Frames {
    reader: CachedReader<Workspace>,
    frame: Duration,
    deadline: Option<Instant>,
    turn_ns: Histogram<u64>,
}

impl Frames {
    fn new(args: &RunArgs, session: &Session) -> Self {
        Self {
            reader: session.handle.reader().cached(),
            frame: Duration::from_secs(1) / args.fps,
            deadline: args.duration.and_then(|duration| session.began.checked_add(duration)),
            turn_ns: Histogram::new_with_bounds(1, TURN_NS_MAX, 3)
                .expect("the bounds are in order and three digits are possible"),
        }
    }

    /// Frames until the session is over, or the user or the clock says so.
    fn run(&mut self, session: &mut Session, screen: &mut Screen, stop: &AtomicBool) -> Result<(), String> {
        let mut due = Instant::now();
        while !stop.load(Ordering::Relaxed) && self.deadline.is_none_or(|deadline| Instant::now() < deadline) {
            let left = self.turn(session)?.left;
            if let Some(projects) = &mut session.projects {
                // What is left is for the next frame.
                let _ = projects.hear();
            }
            let counters = session.handle.counters();
            let snapshot = self.reader.load();
            match screen {
                Screen::Plain(plain) => plain.show(session, snapshot, &counters),
                Screen::View(view) => {
                    view.draw(session, snapshot, &counters).map_err(|error| format!("cannot draw: {error}"))?;
                    while let Some(key) = View::key() {
                        match key {
                            Key::Quit => return Ok(()),
                            Key::Layout(change) => session.press(change(&snapshot.layout, &session.panes)),
                        }
                    }
                }
            }
            let names: Vec<_> = counters.lanes.iter().map(|lane| lane.name.clone()).collect();
            if session.is_over(&names) {
                return Ok(());
            }
            due = next_frame(due, self.frame);
            self.wait_until(due, left, session, stop)?;
        }
        Ok(())
    }

    /// One turn within half a frame.
    fn turn(&mut self, session: &mut Session) -> Result<Turn, String> {
        let began = Instant::now();
        let turn = session.main_lane.turn(Budget::time(self.frame / 2)).map_err(|error| error.to_string())?;
        if turn.events > 0 {
            self.turn_ns.saturating_record(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
        }
        Ok(turn)
    }

    /// Sleeps until the next frame. Events wait for it, and coalesce meanwhile; what waits for the disk alone does not.
    fn wait_until(
        &mut self,
        due: Instant,
        mut left: Left,
        session: &mut Session,
        stop: &AtomicBool,
    ) -> Result<(), String> {
        let due = self.deadline.map_or(due, |deadline| deadline.min(due));
        loop {
            let now = Instant::now();
            if now >= due || stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            let look = due.min(now + LOOK_EVERY);
            if left == Left::Journal {
                session.main_lane.wait_for_input(look);
                left = self.turn(session)?.left;
            } else {
                std::thread::sleep(look - now);
            }
        }
    }

    /// Has every watched folder compared with the disk, so that what the summary says is what is there.
    fn settle(&mut self, session: &mut Session, stop: &AtomicBool) {
        let audits = |session: &Session| -> Vec<u64> { watched(session).map(|worktree| worktree.audits).collect() };
        let before = audits(session);
        // A second Ctrl-C while this goes on: the user does not want to wait.
        stop.store(false, Ordering::Relaxed);
        session.worktrees.values().for_each(mainlane::workspace::WatchControl::audit);
        let beside = session.projects.as_ref().map(Projects::audit);
        let deadline = Instant::now() + AUDIT;
        while (!session.worktrees.is_empty() || beside.is_some()) && Instant::now() < deadline {
            let Ok(turn) = self.turn(session) else { return };
            let missing = watched(session).any(Worktree::root_missing);
            let answered = audits(session).iter().zip(&before).all(|(now, before)| now > before);
            let projects = session.projects.as_ref().zip(beside.as_deref());
            let all_answered = projects.is_none_or(|(projects, before)| projects.audited(before));
            if turn.left == Left::Ended || ((answered || missing) && all_answered) {
                return;
            }
            session.main_lane.wait_for_input(Instant::now() + LOOK_EVERY);
            if stop.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}

/// The folders of this run, as far as they are known.
fn watched(session: &Session) -> impl Iterator<Item = &Worktree> {
    let worktrees = &session.main_lane.state().model.worktrees;
    session.watched.iter().filter_map(|id| worktrees.get(id)).map(|worktree| &**worktree)
}

/// The moment of the next frame; frames that were missed are skipped.
fn next_frame(due: Instant, frame: Duration) -> Instant {
    let now = Instant::now();
    let next = due + frame;
    if next > now { next } else { now }
}

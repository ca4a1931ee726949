//! The projects beside the first one: each a workspace of its own, owned by a register and driven by its crew's threads.

mod ended;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mainlane::control::{ControlPanel, Intensity, RuntimeChoice};
use mainlane::register::{
    CrewCounters, OpenError, Project, ProjectChanged, ProjectPhase, ProjectState, ProjectStatus, Register,
    RegisterReport, Reopen,
};
use mainlane::signal::{Backoff, Delivery, Sent, SignalReader, Waiting};
use mainlane::workspace::{
    PaneId, PtySource, WatchControl, WatchError, WatchSource, WorkspaceEffect, Worktree, WorktreeId, first_word_exists,
};
use mainlane::{Budget, Builder, Diagnostic, Origin, Pipeline};
use parking_lot::Mutex;

use crate::args::{Breakage, RunArgs};
use crate::session::{PANE_KEYS, in_words};
pub(crate) use ended::{CrewSummary, ProjectSummary, ProjectsEnd};

use crate::trial::{Breaker, Fragile, TRIAL, is_on_purpose};

/// How often a project that fails is opened again, and after which rests.
const REOPEN: Reopen = Reopen::Within(
    Intensity::at_most(3, Duration::from_secs(10)),
    Backoff::between(Duration::from_millis(50), Duration::from_millis(500)),
);
/// Signals that may wait from one frame to the next.
const WAITING: usize = 1_000;
/// How many of them are heard in a frame: the rest is in the next.
const HEARD: Budget = Budget::millis(1).and_events(200);
/// Events of its folder that may wait. Its turns are taken at once, not once a frame, and each opening makes these anew.
const WATCH_CAPACITY: usize = 1 << 12;
const WATCH_KEYS: usize = 1 << 12;
/// The one folder of a project.
const WORKTREE: WorktreeId = WorktreeId(1);
/// What this program is called where it subscribes.
const NAME: &str = "mainlane";

/// A project that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    panes: Vec<String>,
    pub(crate) broken: Option<Breakage>,
}

/// What was asked for, if it makes sense. Starts nothing.
pub(crate) fn asked(args: &RunArgs) -> Result<Vec<Asked>, String> {
    let mut all = Vec::<Asked>::new();
    for project in &args.projects {
        let name = project.project.clone();
        if all.iter().any(|other| other.name == name) {
            return Err(format!("the project `{name}` is given twice"));
        }
        let folder = folder(Path::new(&project.what)).map_err(|error| format!("project `{name}`: {error}"))?;
        all.push(Asked { name, folder, panes: Vec::new(), broken: None });
    }
    for pane in &args.project_panes {
        let project = find(&mut all, &pane.project, "--project-pane")?;
        command_exists(&pane.what).map_err(|error| format!("project `{}`: {error}", project.name))?;
        project.panes.push(pane.what.clone());
    }
    for (name, how) in &args.broken {
        let project = find(&mut all, name, "--break")?;
        if project.broken.replace(*how).is_some() {
            return Err(format!("--break {name} is given twice"));
        }
    }
    Ok(all)
}

fn find<'a>(all: &'a mut [Asked], name: &str, option: &str) -> Result<&'a mut Asked, String> {
    let missing = || format!("{option} {name}: there is no project `{name}`; --project {name}=DIR makes one");
    all.iter_mut().find(|project| project.name == name).ok_or_else(missing)
}

/// As a watch would find it, before anything is started.
fn folder(path: &Path) -> Result<PathBuf, WatchError> {
    let found = path.canonicalize().map_err(|_| WatchError::Missing(path.to_owned()))?;
    if found.is_dir() { Ok(found) } else { Err(WatchError::NotAFolder(path.to_owned())) }
}

/// A path that is relative is meant from the project's folder; of that the shell says whether it is there.
fn command_exists(command: &str) -> Result<(), String> {
    let is_relative = |word: &str| word.contains('/') && !word.starts_with('/');
    if command.split_whitespace().next().is_some_and(is_relative) { Ok(()) } else { first_word_exists(command) }
}

/// The projects, and what was heard of them.
pub(crate) struct Projects {
    register: Register,
    all: Vec<Beside>,
    changes: SignalReader<ProjectChanged>,
    diagnostics: SignalReader<Diagnostic>,
    problems: Vec<String>,
    /// What the crew counted as the shutdown began.
    counted: Option<CrewCounters>,
}

/// One of them, as far as was heard.
pub(crate) struct Beside {
    pub(crate) asked: Asked,
    pub(crate) project: Project<Fragile>,
    pub(crate) phase: ProjectPhase,
    pub(crate) openings: u64,
    pub(crate) failures: u64,
    pub(crate) last_failure: Option<Arc<str>>,
    /// The last one that was not asked for.
    pub(crate) unasked: Option<Arc<str>>,
    watch: Newest,
}

/// The watch of the newest opening.
type Newest = Arc<Mutex<Option<WatchControl>>>;

impl Projects {
    /// Opens them; `None` when there are none.
    pub(crate) fn open(asked: Vec<Asked>) -> Result<Option<Self>, String> {
        if asked.is_empty() {
            return Ok(None);
        }
        let panel = ControlPanel::builder().runtime(RuntimeChoice::None);
        let register = Register::builder().panel(panel).start().map_err(|error| error.to_string())?;
        let changes = register.bus().subscribe(NAME).waiting(WAITING).reader().map_err(|error| error.to_string())?;
        let diagnostics = register.bus().subscribe(NAME).waiting(WAITING).filter(is_news).reader();
        let diagnostics = diagnostics.map_err(|error| error.to_string())?;
        let all = asked.into_iter().map(|asked| Beside::open(&register, asked)).collect::<Result<_, _>>()?;
        Ok(Some(Self { register, all, changes, diagnostics, problems: Vec::new(), counted: None }))
    }

    pub(crate) fn all(&self) -> &[Beside] {
        &self.all
    }

    pub(crate) fn crew(&self) -> CrewCounters {
        self.register.crew().counters()
    }

    /// What the crew says of each, in order; `None` of those that it does not drive.
    pub(crate) fn driven(&self) -> Vec<Option<ProjectStatus>> {
        self.all.iter().map(|beside| self.register.crew().project(&beside.asked.name)).collect()
    }

    /// Hears what was told since the last frame, as much as there is time for. True when there is more.
    pub(crate) fn hear(&mut self) -> bool {
        let Self { all, changes, diagnostics, problems, .. } = self;
        let changed = changes.drain(HEARD, |told| match told {
            Delivery::Signal { sent, .. } => {
                let beside = all.iter_mut().find(|beside| beside.asked.name == *sent.project);
                problems.extend(beside.and_then(|beside| beside.heard(sent)));
            }
            Delivery::Missed(_) => all.iter_mut().for_each(Beside::look),
        });
        let found = diagnostics.drain(HEARD, |told| match told {
            Delivery::Signal { sent, .. } => {
                let about = all.iter().find(|beside| beside.project.origin() == sent.source());
                let name = about.map_or_else(|| sent.source().to_string(), |beside| beside.asked.name.clone());
                problems.extend(in_words(sent).map(|what| format!("project {name}: {what}")));
            }
            Delivery::Missed(missed) => problems.push(format!("what went wrong in projects came too fast: {missed:?}")),
        });
        changed.left == Waiting::More || found.left == Waiting::More
    }

    /// What went wrong since the last time, in words.
    pub(crate) fn problems(&mut self) -> Vec<String> {
        std::mem::take(&mut self.problems)
    }

    /// Has every folder compared with the disk. What it returns is for `audited`.
    pub(crate) fn audit(&self) -> Vec<(u64, u64)> {
        let before = self.all.iter().map(|beside| (beside.project.openings(), beside.audits())).collect();
        self.all.iter().filter_map(|beside| beside.watch.lock().clone()).for_each(|watch| watch.audit());
        before
    }

    /// True when all those that are open have been, since then.
    pub(crate) fn audited(&self, before: &[(u64, u64)]) -> bool {
        self.all.iter().zip(before).all(|(beside, (openings, audits))| {
            let missing = beside.worktree().is_some_and(|worktree| worktree.root_missing());
            let open = beside.project.phase() == ProjectPhase::Open && beside.project.openings() == *openings;
            !open || missing || beside.audits() > *audits
        })
    }

    /// Closes all of them. Calling it again returns the same report.
    pub(crate) fn shutdown(&mut self, deadline: Duration) -> RegisterReport {
        let counters = self.crew();
        self.counted.get_or_insert(counters);
        self.register.shutdown(deadline)
    }

    /// Hears the rest, after the shutdown: what became of each.
    pub(crate) fn end(&mut self, report: &RegisterReport) {
        while self.hear() {}
        for (name, report) in &report.projects {
            let beside = self.all.iter_mut().find(|beside| *beside.asked.name == **name);
            if let Some((beside, fault)) = beside.zip(report.fault.as_ref()) {
                let why = Arc::from(fault.to_string());
                beside.fails(&ProjectPhase::Failed { why, again: false });
            }
        }
    }
}

impl Beside {
    fn open(register: &Register, asked: Asked) -> Result<Self, String> {
        let (watch, own) = (Newest::default(), Arc::new(OnceLock::new()));
        let (what, newest, itself) = (asked.clone(), watch.clone(), own.clone());
        let project = register
            .project(asked.name.as_str(), move || pipeline(&what, &newest, &itself))
            .reopen(REOPEN)
            .open()
            .map_err(|error| error.to_string())?;
        let _ = own.set(project.clone());
        let (phase, openings) = (project.phase(), project.openings());
        Ok(Self { asked, project, phase, openings, failures: 0, last_failure: None, unasked: None, watch })
    }

    /// A change, as it was told; and a line about it, if it is one for people.
    fn heard(&mut self, change: &ProjectChanged) -> Option<String> {
        self.openings = change.openings;
        match &change.phase {
            ProjectPhase::Failed { .. } => {
                self.fails(&change.phase);
                return Some(format!("project {} {}", self.asked.name, change.phase));
            }
            // What it was before the end is of more interest.
            ProjectPhase::Closed if matches!(self.phase, ProjectPhase::Failed { .. }) => return None,
            phase => self.phase = phase.clone(),
        }
        (self.phase == ProjectPhase::Open && self.openings > 1)
            .then(|| format!("project {} is open again, opening {}", self.asked.name, self.openings))
    }

    /// Changes were missed: how it is now is still to be seen.
    fn look(&mut self) {
        self.openings = self.project.openings();
        match self.project.phase() {
            failed @ ProjectPhase::Failed { .. } if self.phase != failed => self.fails(&failed),
            phase => self.phase = phase,
        }
        self.failures = self.failures.max(self.openings - 1);
    }

    fn fails(&mut self, phase: &ProjectPhase) {
        let ProjectPhase::Failed { why, .. } = phase else { return };
        if !(matches!(self.asked.broken, Some(Breakage::Panic(_))) && is_on_purpose(why)) {
            self.unasked = Some(why.clone());
        }
        (self.phase, self.last_failure) = (phase.clone(), Some(why.clone()));
        self.failures += 1;
    }

    fn worktree(&self) -> Option<Arc<Worktree>> {
        self.project.reader().load().workspace.model.worktrees.get(&WORKTREE).cloned()
    }

    fn audits(&self) -> u64 {
        self.worktree().map_or(0, |worktree| worktree.audits)
    }

    /// Its phase in a word, or two.
    pub(crate) fn phase_in_a_word(&self, driven: Option<&ProjectStatus>) -> &'static str {
        match &self.phase {
            ProjectPhase::Open if driven.is_some_and(|driven| driven.state == ProjectState::Stuck) => "stuck",
            phase => word(phase),
        }
    }
}

/// For a line of its own: what is not seen elsewhere.
pub(crate) struct InALine<'a>(pub(crate) &'a Beside, pub(crate) Option<&'a ProjectStatus>);

impl fmt::Display for InALine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(beside, driven) = self;
        write!(f, "project {} {}", beside.asked.name, beside.phase_in_a_word(*driven))?;
        if let Some(ProjectStatus { turns, events, .. }) = driven {
            write!(f, ", {events} events, driven {turns} times")?;
        }
        if beside.openings > 1 {
            write!(f, ", opened {} times", beside.openings)?;
        }
        Ok(())
    }
}

pub(crate) fn word(phase: &ProjectPhase) -> &'static str {
    match phase {
        ProjectPhase::Opening => "opening",
        ProjectPhase::Open => "open",
        ProjectPhase::Failed { again: true, .. } => "resting",
        ProjectPhase::Failed { again: false, .. } => "failed",
        ProjectPhase::Closed => "closed",
        _ => "unknown",
    }
}

/// That it stopped is told with its phase, by `ProjectChanged`.
fn is_news(sent: &Sent<Diagnostic>) -> bool {
    !matches!(**sent, Diagnostic::LaneOpened { .. } | Diagnostic::LaneClosed { .. } | Diagnostic::Stopped(_))
}

/// A project's pipeline, made anew for each opening, with sources of its own.
fn pipeline(
    asked: &Asked,
    newest: &Newest,
    itself: &Arc<OnceLock<Project<Fragile>>>,
) -> Result<Builder<Fragile>, OpenError> {
    let watch = WatchSource::builder(&asked.folder).worktree(WORKTREE).watch()?;
    let (control, itself) = (watch.control(), itself.clone());
    *newest.lock() = Some(control.clone());
    let builder = Pipeline::builder(Fragile::default()).reconciler(move |effect, state: &Fragile| match effect {
        WorkspaceEffect::Diverged(worktree) => {
            let known = state.workspace.model.worktrees.get(&worktree);
            let what = known.and_then(|worktree| worktree.last_divergence.as_ref());
            let what = what.map_or_else(String::new, ToString::to_string);
            // A folder is scanned before it can diverge, so by then the project knows this pipeline.
            let project = itself.get().into_iter();
            project.for_each(|project| {
                project.handle().report_divergence(Origin::built_in("worktree", worktree.0), what.as_str());
            });
        }
        WorkspaceEffect::RescanWorktree(_) => control.audit(),
        // Nobody looks at its panes.
        WorkspaceEffect::Bell(_) | WorkspaceEffect::PaneEnded(_) => {}
    });
    for (pane, command) in (1..).map(PaneId).zip(&asked.panes) {
        let source = PtySource::builder(command).pane(pane).folder(&asked.folder).spawn()?;
        let ingest = builder.ingest(format!("pane {}", pane.0), source);
        ingest.origin(Origin::built_in("pane", pane.0)).keys(PANE_KEYS).start()?;
    }
    builder
        .ingest("worktree 1", watch)
        .origin(Origin::built_in("worktree", WORKTREE.0))
        .capacity(WATCH_CAPACITY)
        .keys(WATCH_KEYS)
        .start()?;
    if let Some(how) = asked.broken {
        builder.ingest(TRIAL, Breaker::new(how)).start()?;
    }
    Ok(builder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Named;

    fn args(projects: &[&str], panes: &[&str], broken: &[&str]) -> RunArgs {
        let named = |text: &&str| Named { project: (*text).to_owned(), what: ".".to_owned() };
        let pane = |text: &&str| Named { project: (*text).to_owned(), what: "true".to_owned() };
        let breaks = |text: &&str| ((*text).to_owned(), Breakage::Hang(Duration::ZERO));
        RunArgs {
            projects: projects.iter().map(named).collect(),
            project_panes: panes.iter().map(pane).collect(),
            broken: broken.iter().map(breaks).collect(),
            ..RunArgs::default()
        }
    }

    #[test]
    fn what_belongs_to_a_project_finds_it() {
        let found = asked(&args(&["a", "b"], &["b", "b"], &["a"])).unwrap();
        let found: Vec<_> = found.iter().map(|a| (&*a.name, a.panes.len(), a.broken.is_some())).collect();
        assert_eq!(found, [("a", 0, true), ("b", 2, false)]);
    }

    #[test]
    fn names_that_are_given_twice_or_unknown_are_refused() {
        let wrong =
            |projects: &[&str], panes: &[&str], broken: &[&str]| asked(&args(projects, panes, broken)).unwrap_err();
        assert_eq!(wrong(&["a", "a"], &[], &[]), "the project `a` is given twice");
        assert!(wrong(&["a"], &["b"], &[]).contains("--project-pane b: there is no project `b`"));
        assert!(wrong(&[], &[], &["b"]).contains("--break b: there is no project `b`"));
        assert_eq!(wrong(&["a"], &[], &["a", "a"]), "--break a is given twice");
    }

    #[test]
    fn a_failure_that_was_asked_for_is_told_from_others_and_is_there_to_the_end() {
        let mut register = Register::builder().start().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let broken = Some(Breakage::Panic(Duration::from_secs(3600)));
        let asked = Asked { name: "a".to_owned(), folder: folder.path().to_owned(), panes: Vec::new(), broken };
        let mut beside = Beside::open(&register, asked).unwrap();
        let change = |openings, phase| ProjectChanged { project: "a".into(), phase, openings };
        let failed = |why: &str| ProjectPhase::Failed { why: why.into(), again: true };
        let said = beside.heard(&change(1, failed("it was broken on purpose, by --break"))).unwrap();
        assert!(said.starts_with("project a failed, and is opened again"), "{said}");
        assert_eq!((beside.failures, beside.unasked.is_some()), (1, false));
        assert_eq!(beside.heard(&change(2, ProjectPhase::Open)).unwrap(), "project a is open again, opening 2");
        beside.heard(&change(2, failed("index out of bounds")));
        beside.heard(&change(2, ProjectPhase::Closed));
        assert_eq!((word(&beside.phase), beside.failures), ("resting", 2));
        assert_eq!(beside.unasked.as_deref(), Some("index out of bounds"));
        // As it really is: open, for the first time. What was heard to fail has failed.
        beside.look();
        assert_eq!((&beside.phase, beside.openings, beside.failures), (&ProjectPhase::Open, 1, 2));
        assert!(register.shutdown(Duration::from_secs(60)).complete);
    }
}

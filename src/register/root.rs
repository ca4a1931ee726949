//! The composition root: what a host of many parts owns in one place, starts in order, and stops in the reverse order.

mod health;
mod keeper;
mod order;
mod project;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backoff::A_YEAR;
use crate::control::{ControlError, ControlPanel, PanelBuilder, PanelReport};
use crate::core::{DROP_DEADLINE, let_go};
use crate::latch::Latch;
use crate::main_lane::reduce::Reducer;
use crate::main_lane::report::ShutdownReport;
use crate::origin::Origin;
use crate::pipeline::Builder;
use crate::register::crew::status::CrewReport;
use crate::register::crew::{Crew, CrewBuilder, CrewError};
use crate::register::registries::Registries;
use crate::signal::{Bus, BusReport, RunningBus, SignalError, SignalOutlet};
use crate::sync::{AtomicU64, Mutex, Ordering::Relaxed};

pub use health::{Condition, HealthNode};
pub(crate) use keeper::Keeper;
use project::{AnyProject, Busy, Slot};
pub use project::{OpenError, Project, ProjectChanged, ProjectPhase, Reopen};

/// The thread of the bus's that tells what happens in the registries.
const REGISTRIES: &str = "registries";

/// The composition root of a host with many projects: it owns the [bus](crate::signal), the [registries](Registries), the projects with
/// the [crew](Crew) that drives them, and the [control panel](ControlPanel) with its workers.
///
/// They are started in this order, projects [after](ProjectSpec::after) those that they need, and stopped in the reverse order: workers
/// can push their last words, projects tell their end on the bus. A project that crashes is [opened again](Reopen) by itself, if that
/// is wanted; the others do not notice.
///
/// All that its parts have to tell is on its bus: [`ProjectChanged`]; each project's [`Diagnostic`](crate::Diagnostic)s, by the project's
/// origin; [`WorkerChanged`](crate::control::WorkerChanged) and [`HealthChanged`](crate::control::HealthChanged) of the panel;
/// [`RegistryNews`](crate::register::RegistryNews) of the registries.
///
/// ```
/// use std::time::Duration;
/// use mainlane::register::{Condition, ProjectChanged, Register};
/// use mainlane::{Class, Effects, Envelope, Event, Pipeline, Reducer};
///
/// struct Sold(u64);
///
/// impl Event for Sold {
///     type Key = ();
///     type Facets = ();
///     fn class(&self) -> Class<()> {
///         Class::Critical
///     }
/// }
///
/// #[derive(Clone, Default)]
/// struct Shop(u64);
///
/// impl Reducer for Shop {
///     type Event = Sold;
///     type Effect = ();
///     fn apply(&mut self, envelope: &Envelope<'_, Sold>, _: &mut Effects<()>) {
///         self.0 += envelope.event.0;
///     }
/// }
///
/// let mut register = Register::builder().start()?;
/// let mut changes = register.bus().subscribe::<ProjectChanged>("log").reader()?;
/// let stock = register.project("stock", || Ok(Pipeline::builder(Shop::default()))).open()?;
/// let shop = register.project("shop", || Ok(Pipeline::builder(Shop::default()))).after(["stock"]).open()?;
///
/// let mut till = shop.handle().lane("till").open()?;
/// till.push(Sold(3))?;
/// assert_eq!(register.health().condition, Condition::Good);
/// let report = register.shutdown(Duration::from_secs(5));
/// assert!(report.complete);
/// // The last one opened was closed first.
/// assert!(report.projects.iter().map(|(name, _)| &**name).eq(["shop", "stock"]));
/// assert_eq!(shop.reader().load().0, 3);
/// let told = changes.wait(Duration::from_secs(60)).expect("both were opened, and closed");
/// assert_eq!(&*told.signal().unwrap().project, "stock");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Register {
    shared: Arc<Shared>,
    panel: ControlPanel,
    registries: Registries,
    keeper: Keeper,
    bus: RunningBus,
    done: Option<RegisterReport>,
}

/// What the register's parts share.
pub(crate) struct Shared {
    pub(crate) crew: Crew,
    bus: Bus,
    projects: Mutex<Vec<Arc<dyn AnyProject>>>,
    next: AtomicU64,
    /// Nothing is opened again any more.
    is_over: Latch,
}

impl Shared {
    pub(crate) fn bus(&self) -> &Bus {
        &self.bus
    }

    pub(crate) fn changes(&self, origin: Origin) -> SignalOutlet<ProjectChanged> {
        self.bus.outlet(origin)
    }

    /// The projects, in the order in which they were first opened.
    pub(crate) fn projects(&self) -> Vec<Arc<dyn AnyProject>> {
        self.projects.lock().clone()
    }

    /// Those that have ended, or are to be opened again: `see` is called with each, and when that is. It must not wait; and nobody
    /// has more of the projects for this than before. One whose needs are not open is not due until they are.
    fn each_due(&self, now: Instant, mut see: impl FnMut(&Arc<dyn AnyProject>, Instant)) {
        let projects = self.projects.lock();
        for project in &*projects {
            let due = match project.has_ended() {
                true => Some(now),
                false => project.due().filter(|_| order::unmet(&projects, project.after()).is_none()),
            };
            due.into_iter().for_each(|due| see(project, due));
        }
    }

    /// The first of these that is not open.
    fn unmet(&self, after: &[Arc<str>]) -> Option<Arc<str>> {
        if after.is_empty() { None } else { order::unmet(&self.projects.lock(), after).cloned() }
    }

    fn find(&self, name: &str) -> Option<Arc<dyn AnyProject>> {
        self.projects.lock().iter().find(|project| &**project.name() == name).cloned()
    }
}

/// Sets a register up.
#[must_use = "a register is made by `start`"]
#[derive(Default)]
pub struct RegisterBuilder {
    crew: CrewBuilder,
    panel: PanelBuilder,
}

impl RegisterBuilder {
    /// The crew that drives the projects. With [no threads](CrewBuilder::threads) the host drives them, by [`Register::crew`].
    pub fn crew(mut self, crew: CrewBuilder) -> Self {
        self.crew = crew;
        self
    }

    /// The control panel. Its [bus](PanelBuilder::signals) is the register's, whatever was said before.
    pub fn panel(mut self, panel: PanelBuilder) -> Self {
        self.panel = panel;
        self
    }

    /// Starts bus, crew and panel.
    ///
    /// # Errors
    /// When the system refuses a thread, or a setting is wrong. What was started is stopped again.
    pub fn start(self) -> Result<Register, RegisterFault> {
        let bus = Bus::builder().start().map_err(RegisterFault::Bus)?;
        let crew = self.crew.start().map_err(RegisterFault::Crew)?;
        let (projects, next) = (Mutex::new(Vec::new()), AtomicU64::new(1));
        let shared = Arc::new(Shared { crew, bus: bus.bus().clone(), projects, next, is_over: Latch::default() });
        let panel = self.panel.signals(bus.bus()).start().map_err(RegisterFault::Panel)?;
        let registries = Registries::new();
        registries.announce(bus.bus(), REGISTRIES).map_err(RegisterFault::Bus)?.keep();
        let keeper = Keeper::start(shared.clone())
            .map_err(|error| RegisterFault::Thread { name: keeper::NAME, reason: error.to_string() })?;
        Ok(Register { shared, panel, registries, keeper, bus, done: None })
    }
}

impl fmt::Debug for RegisterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegisterBuilder").field("crew", &self.crew).field("panel", &self.panel).finish()
    }
}

impl Register {
    /// Sets a register up.
    pub fn builder() -> RegisterBuilder {
        RegisterBuilder::default()
    }

    /// The bus.
    pub fn bus(&self) -> &Bus {
        self.bus.bus()
    }

    /// The registries.
    pub fn registries(&self) -> &Registries {
        &self.registries
    }

    /// The control panel.
    pub fn panel(&self) -> &ControlPanel {
        &self.panel
    }

    /// The crew, for hosts that drive the projects in their own loop, and for what it counts.
    pub fn crew(&self) -> &Crew {
        &self.shared.crew
    }

    /// A project, whose pipeline `open` makes: now, and whenever it is opened again. It runs on whatever thread that happens on.
    pub fn project<S, F>(&self, name: impl Into<Arc<str>>, open: F) -> ProjectSpec<'_, S>
    where
        S: Reducer,
        F: FnMut() -> Result<Builder<S>, OpenError> + Send + 'static,
    {
        let (open, after) = (Box::new(open), Vec::new());
        ProjectSpec { register: self, name: name.into(), open, after, reopen: Reopen::default() }
    }

    /// How the projects are, in the order in which they were first opened.
    pub fn projects(&self) -> Vec<(Arc<str>, ProjectPhase)> {
        self.shared.projects().iter().map(|project| (project.name().clone(), project.look().0)).collect()
    }

    /// Opens a project again that has failed, or was closed. Nothing happens to one that is open.
    ///
    /// # Errors
    /// When there is none of this name, one that it comes [after](ProjectSpec::after) is not open, it cannot be opened, or the register
    /// was shut down.
    pub fn reopen(&self, name: &str) -> Result<(), ProjectError> {
        if self.done.is_some() {
            return Err(ProjectError::Closed);
        }
        let opened = self.find(name)?.open(&self.shared);
        // One that could not be opened may be due again, and those that come after one that was.
        self.keeper.look();
        opened
    }

    /// Closes a project: applies everything accepted, publishes, and joins its threads. The others do not notice. It can be opened
    /// again. `None` when it was not open.
    ///
    /// # Errors
    /// When there is none of this name, or it is being opened and that does not end in time.
    pub fn close(&self, name: &str, deadline: Duration) -> Result<Option<ShutdownReport>, ProjectError> {
        self.close_as(&self.find(name)?, deadline, false)
    }

    /// [Closes](Register::close) a project for good: the register forgets it, and its name is free. Whoever has a [`Project`] of it can
    /// still read its last state.
    ///
    /// # Errors
    /// As those of `close`. It is not removed then.
    pub fn remove(&self, name: &str, deadline: Duration) -> Result<Option<ShutdownReport>, ProjectError> {
        let project = self.find(name)?;
        let report = self.close_as(&project, deadline, true)?;
        self.shared.projects.lock().retain(|other| !Arc::ptr_eq(other, &project));
        Ok(report)
    }

    fn close_as(
        &self,
        project: &Arc<dyn AnyProject>,
        deadline: Duration,
        for_good: bool,
    ) -> Result<Option<ShutdownReport>, ProjectError> {
        let closed = project.close(&self.shared, deadline, for_good);
        closed.map_err(|Busy| ProjectError::Busy { name: project.name().clone() })
    }

    fn find(&self, name: &str) -> Result<Arc<dyn AnyProject>, ProjectError> {
        self.shared.find(name).ok_or_else(|| ProjectError::Unknown { name: name.into() })
    }

    /// How everything is, as one tree. Stops nothing.
    pub fn health(&self) -> HealthNode {
        health::tree(self)
    }

    /// Stops everything, in the reverse order: the workers, the projects before those that they come [after](ProjectSpec::after) and
    /// otherwise the last opened first, the crew, the bus.
    ///
    /// Everything together has until the deadline; a part that does not end gets half of what is left, so that those after it have some.
    /// Calling it again returns the same report; dropping the register does the same with a deadline of five seconds.
    pub fn shutdown(&mut self, deadline: Duration) -> RegisterReport {
        if let Some(done) = &self.done {
            return done.clone();
        }
        let deadline = Instant::now() + deadline.min(A_YEAR);
        let half = || deadline.saturating_duration_since(Instant::now()) / 2;
        // Nobody opens anything again from here on.
        self.shared.is_over.set();
        let keeper = self.keeper.stop(Instant::now() + half());
        let panel = self.panel.shutdown(half());
        let (mut projects, mut busy) = (Vec::new(), Vec::new());
        for project in order::closing(&self.shared.projects()) {
            match project.close(&self.shared, half(), false) {
                Ok(report) => projects.extend(report.map(|report| (project.name().clone(), report))),
                Err(Busy) => busy.push(project.name().clone()),
            }
        }
        let crew = self.shared.crew.stop(half());
        // What was opened too late has ended with the crew.
        for name in &busy {
            let _ = self.shared.find(name).map(|project| project.close(&self.shared, Duration::ZERO, false));
        }
        let bus = self.bus.shutdown(deadline.saturating_duration_since(Instant::now()));
        let complete = keeper
            && busy.is_empty()
            && panel.complete
            && projects.iter().all(|(_, report)| report.complete)
            && crew.complete
            && bus.complete;
        let report = RegisterReport { complete, panel, projects, busy, crew, bus };
        self.done = Some(report.clone());
        report
    }
}

impl Drop for Register {
    fn drop(&mut self) {
        self.shutdown(DROP_DEADLINE);
    }
}

impl fmt::Debug for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Register").field("projects", &self.projects()).finish_non_exhaustive()
    }
}

/// A project that is being set up: [`Register::project`].
#[must_use = "a project is opened by `open`"]
pub struct ProjectSpec<'a, S: Reducer> {
    register: &'a Register,
    name: Arc<str>,
    open: project::Open<S>,
    after: Vec<Arc<str>>,
    reopen: Reopen,
}

impl<S: Reducer> ProjectSpec<'_, S> {
    /// These must be open when it is opened, also when that is again: [`Register::reopen`] refuses it without them, and by itself it is
    /// opened when they are, however long that takes. As the register shuts down they are closed after it. One that is closed or fails
    /// by itself leaves those that come after it open.
    ///
    /// It goes by names: one that was [removed](Register::remove) may be made anew.
    pub fn after<N: Into<Arc<str>>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.after.extend(names.into_iter().map(Into::into));
        self
    }

    /// What becomes of it when its main lane stops by itself. Default: [`Reopen::Never`].
    pub fn reopen(mut self, reopen: Reopen) -> Self {
        self.reopen = reopen;
        self
    }

    /// Opens it.
    ///
    /// # Errors
    /// When the name is taken, one that it comes after is not open or comes after it, or its pipeline cannot be made.
    pub fn open(self) -> Result<Project<S>, ProjectError> {
        let Self { register, name, open, after, reopen } = self;
        let shared = &register.shared;
        if register.done.is_some() {
            return Err(ProjectError::Closed);
        }
        if shared.find(&name).is_some() {
            return Err(ProjectError::Taken { name });
        }
        if order::is_circular(&shared.projects(), &name, &after) {
            return Err(ProjectError::Circular { name });
        }
        if let Some(needs) = shared.unmet(&after) {
            return Err(ProjectError::Needs { name, needs });
        }
        let origin = Origin::built_in("project", shared.next.fetch_add(1, Relaxed));
        let slot = Slot::first(shared, name.clone(), origin, open, after, reopen)
            .map_err(|error| ProjectError::Open { name: name.clone(), error })?;
        let mut projects = shared.projects.lock();
        let refused = if projects.iter().any(|other| *other.name() == name) {
            // Somebody else was at it, and has closed theirs again, or the crew would not have taken this one.
            Some(ProjectError::Taken { name })
        } else if order::is_circular(&projects, &name, slot.after()) {
            // Others were made anew meanwhile.
            Some(ProjectError::Circular { name })
        } else {
            None
        };
        if let Some(refused) = refused {
            drop(projects);
            let_go(slot.close(shared, DROP_DEADLINE, true));
            return Err(refused);
        }
        projects.push(slot.clone());
        drop(projects);
        // What happened since, before it was in the list.
        register.keeper.look();
        Ok(Project(slot))
    }
}

impl<S: Reducer> fmt::Debug for ProjectSpec<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProjectSpec").field("name", &self.name).field("after", &self.after).finish_non_exhaustive()
    }
}

/// What can go wrong in starting a register.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegisterFault {
    /// The bus.
    Bus(SignalError),
    /// The system refused the thread that looks after the projects.
    Thread {
        /// What it would have been called.
        name: &'static str,
        /// Why.
        reason: String,
    },
    /// The crew.
    Crew(CrewError),
    /// The control panel.
    Panel(ControlError),
}

impl fmt::Display for RegisterFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bus(error) => write!(f, "the bus could not be started: {error}"),
            Self::Thread { name, reason } => write!(f, "the thread `{name}` could not be started: {reason}"),
            Self::Crew(error) => write!(f, "the crew could not be started: {error}"),
            Self::Panel(error) => write!(f, "the control panel could not be started: {error}"),
        }
    }
}

impl std::error::Error for RegisterFault {}

/// What can go wrong with a project.
#[derive(Debug)]
#[non_exhaustive]
pub enum ProjectError {
    /// There is a project of that name.
    Taken {
        /// The name.
        name: Arc<str>,
    },
    /// There is none of that name.
    Unknown {
        /// The name.
        name: Arc<str>,
    },
    /// It comes after one that is not open.
    Needs {
        /// The project.
        name: Arc<str>,
        /// The one that it comes after.
        needs: Arc<str>,
    },
    /// It comes after itself, by way of others: one of those that it comes after was made before it and is to come after it.
    Circular {
        /// The project.
        name: Arc<str>,
    },
    /// Its pipeline could not be made.
    Open {
        /// The project.
        name: Arc<str>,
        /// Why.
        error: OpenError,
    },
    /// It is being opened, or closed, by somebody else, and that did not end in time.
    Busy {
        /// The project.
        name: Arc<str>,
    },
    /// The register was shut down.
    Closed,
}

impl fmt::Display for ProjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken { name } => write!(
                f,
                "there is a project `{name}` already; `reopen` opens it again, `remove` makes room for another"
            ),
            Self::Unknown { name } => write!(f, "there is no project `{name}`"),
            Self::Needs { name, needs } => {
                write!(f, "the project `{name}` comes after `{needs}`, which is not open: open that first")
            }
            Self::Circular { name } => write!(
                f,
                "the project `{name}` would come after itself, by way of what it comes after: remove that, or do without"
            ),
            Self::Open { name, error } => write!(f, "the project `{name}` could not be opened: {error}"),
            Self::Busy { name } => write!(f, "the project `{name}` is being opened or closed, and that takes longer"),
            Self::Closed => f.write_str("the register was shut down"),
        }
    }
}

impl std::error::Error for ProjectError {}

/// How a register ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RegisterReport {
    /// True when every part's end was.
    pub complete: bool,
    /// The control panel's.
    pub panel: PanelReport,
    /// Those of the projects that were open, in the order in which they were closed.
    pub projects: Vec<(Arc<str>, ShutdownReport)>,
    /// Projects that were being opened, and did not come to an end. What is opened too late is closed at once.
    pub busy: Vec<Arc<str>>,
    /// The crew's.
    pub crew: CrewReport,
    /// The bus's.
    pub bus: BusReport,
}

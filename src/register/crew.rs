//! Many main lanes on a few threads.
//!
//! A main lane is driven by one thread at a time ([`ready`], Y2), and by any. What a crew does costs as much as there are projects
//! that have something to do; the others sleep, each with its bell armed.

mod drive;
mod hosted;
mod post;
mod queue;
mod ready;
pub(crate) mod seat;
pub(crate) mod status;
mod threads;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_utils::sync::Unparker;

use crate::core::{DROP_DEADLINE, SharedMark};
use crate::main_lane::MainLane;
use crate::main_lane::budget::Budget;
use crate::main_lane::reduce::Reducer;
use crate::pipeline::Handle;
use crate::register::crew::drive::Driver;
pub use crate::register::crew::hosted::Hosted;
use crate::register::crew::queue::{Outlook, Queue, ReadyHook, TOGETHER};
use crate::register::crew::ready::Doing;
use crate::register::crew::seat::{Driven, End, GRACE, Lane, Seat};
use crate::register::crew::status::{CrewCounters, CrewReport, ProjectState, ProjectStatus};
use crate::register::crew::threads::{Manner, Threads};
use crate::sync::{Mutex, Ordering::Relaxed};

/// How long a project that has run dry is looked at before it is let sleep, unless said otherwise: about what it costs to let it
/// sleep and to wake it.
pub const LINGER: Duration = Duration::from_micros(20);
/// After how long a turn is called stuck, unless said otherwise.
pub const STUCK_AFTER: Duration = Duration::from_millis(250);
/// How many threads are started in the place of stuck ones at most, unless said otherwise.
pub const SPARES: usize = 8;
/// How long a shutdown waits at least for a turn that is under way, and for a thread that is about to end.
const PATIENCE_MIN: Duration = Duration::from_millis(20);
/// How many threads a crew has at most, unless said otherwise.
const THREADS: usize = 4;

/// Drives the main lanes of many projects on a few threads.
///
/// Any thread takes any project that is ready, first come first served, for one turn within a [budget](CrewBuilder::budget): a
/// busy project does not keep the others waiting for longer than that. One that does not return holds one thread; it is
/// [reported](crate::Diagnostic::ProjectStuck), and another thread takes its place. A project that has nothing to do costs nothing.
///
/// A thread of a crew never waits for a project of the same crew: a reconciler that pushes to a full lane of another one gets its
/// event back, whatever the lane does [when it is full](crate::Overflow).
///
/// Dropping it shuts all projects down.
///
/// ```
/// use mainlane::register::Crew;
/// use mainlane::{Class, Effects, Envelope, Event, Pipeline, Reducer};
/// # use std::time::Duration;
///
/// struct Added(u64);
///
/// impl Event for Added {
///     type Key = ();
///     type Facets = ();
///     fn class(&self) -> Class<()> {
///         Class::Critical
///     }
/// }
///
/// #[derive(Clone, Default)]
/// struct Project(u64);
///
/// impl Reducer for Project {
///     type Event = Added;
///     type Effect = ();
///     fn apply(&mut self, envelope: &Envelope<'_, Added>, _: &mut Effects<()>) {
///         self.0 += envelope.event.0;
///     }
/// }
///
/// let mut crew = Crew::builder().threads(2).start()?;
/// let mut projects = Vec::new();
/// for name in ["shop", "mill", "farm"] {
///     let builder = Pipeline::builder(Project::default());
///     let mut lane = builder.lane("orders").open()?;
///     let (main_lane, _handle) = builder.build()?;
///     let project = crew.host(name, main_lane)?;
///     lane.push(Added(7))?;
///     projects.push((project, lane));
/// }
/// // One of them ends, the others go on.
/// let (mut shop, _) = projects.remove(0);
/// assert!(shop.shutdown(Duration::from_secs(5)).complete);
/// assert_eq!(shop.handle().reader().load().0, 7);
/// let report = crew.shutdown(Duration::from_secs(5));
/// assert!(report.complete);
/// assert!(report.projects.iter().map(|(name, _)| &**name).eq(["farm", "mill"]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Crew {
    shared: Arc<Shared>,
    done: Option<CrewReport>,
}

/// What the host, the threads and the hosted share.
pub(crate) struct Shared {
    pub(crate) queue: Arc<Queue>,
    pub(crate) threads: Threads,
    pub(crate) manner: Manner,
    seats: Mutex<Seats>,
    /// Whom to wake when a project has ended by itself.
    on_end: OnceLock<Unparker>,
}

/// Who is open, in the order of hosting.
#[derive(Default)]
struct Seats {
    all: BTreeMap<u64, Arc<Seat>>,
    names: BTreeMap<Arc<str>, u64>,
    next: u64,
    closed: bool,
}

impl Shared {
    /// What the threads of this crew have in common, and nobody else has.
    pub(crate) fn mark(&self) -> u64 {
        std::ptr::from_ref(self).addr() as u64
    }

    pub(crate) fn find(&self, which: impl Fn(&Seat) -> bool) -> Option<Arc<Seat>> {
        self.seats.lock().all.values().find(|seat| which(seat)).cloned()
    }

    /// One is not driven any more.
    pub(crate) fn tell_end(&self) {
        self.on_end.get().inspect(|waits| waits.unpark());
    }

    /// One has been shut down. Its name is free.
    pub(crate) fn forget(&self, seat: &Seat) {
        let gone = {
            let mut seats = self.seats.lock();
            if seats.names.get(&seat.name) == Some(&seat.id) {
                seats.names.remove(&seat.name);
            }
            // One that does not return stays in the list until it does.
            if seat.ready.has_heir() { None } else { seats.all.remove(&seat.id) }
        };
        drop(gone);
    }
}

/// Sets a crew up.
#[must_use]
pub struct CrewBuilder {
    name: String,
    budget: Budget,
    threads: Option<usize>,
    linger: Option<Duration>,
    stuck_after: Option<Duration>,
    spares: Option<usize>,
    hook: Option<ReadyHook>,
}

impl CrewBuilder {
    /// What the threads are called, with a number each; `crew` unless said otherwise.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// How many threads there are: as many as there are cores unless said otherwise, but no more than four. With none, the host
    /// drives the projects itself, see [`Crew::turn`].
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// How much one turn of one project may do: the longest, but for what a budget cannot stop, that the others wait for it. A
    /// millisecond unless said otherwise.
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = budget;
        self
    }

    /// How long a project that has run dry is looked at before it is let sleep: [`LINGER`] unless said otherwise. To let it sleep
    /// costs a system call, to wake it another two. Refused without [threads](CrewBuilder::threads): in the host's own loop projects
    /// sleep at once.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = Some(linger);
        self
    }

    /// After how long a turn is called stuck: [`STUCK_AFTER`] unless said otherwise; not zero. It is found within a quarter more of
    /// that, but looked for no more often than every millisecond. Refused without [threads](CrewBuilder::threads): nobody looks then.
    pub fn stuck_after(mut self, limit: Duration) -> Self {
        self.stuck_after = Some(limit);
        self
    }

    /// How many threads more there may be than [asked for](CrewBuilder::threads), while as many are stuck: [`SPARES`] unless said
    /// otherwise. With more stuck than that, fewer drive, and with too many none. Refused without [threads](CrewBuilder::threads).
    pub fn spares(mut self, spares: usize) -> Self {
        self.spares = Some(spares);
        self
    }

    /// For a crew without threads: is called when there is something to do, once after each [`Crew::turn`] that left nothing. From
    /// whatever thread pushes; must not block.
    pub fn on_ready(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.hook = Some(Box::new(hook));
        self
    }

    /// Starts the threads.
    ///
    /// # Errors
    /// When the system refuses one, or a setting would have no effect.
    pub fn start(self) -> Result<Crew, CrewError> {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let wanted = self.threads.unwrap_or_else(|| cores().min(THREADS));
        if wanted > 0 && self.hook.is_some() {
            let why = "the crew's threads are woken by themselves";
            return Err(CrewError::Ignored { setting: "on_ready", why });
        }
        if let Some((setting, why)) = self.without_threads().filter(|_| wanted == 0) {
            return Err(CrewError::Ignored { setting, why });
        }
        if self.budget.is_nothing() {
            return Err(CrewError::Ignored {
                setting: "budget",
                why: "with nothing to spend no event would ever be applied",
            });
        }
        let stuck_after = self.stuck_after.unwrap_or(STUCK_AFTER);
        if stuck_after.is_zero() {
            return Err(CrewError::Ignored { setting: "stuck_after", why: "every turn takes longer than nothing" });
        }
        let linger = self.linger.unwrap_or(LINGER);
        let manner = Manner { name: self.name, budget: self.budget, linger, stuck_after };
        let queue = Arc::new(Queue::new(wanted, self.spares.unwrap_or(SPARES), self.hook));
        let (threads, seats) = (Threads::default(), Mutex::new(Seats::default()));
        let shared = Shared { queue, threads, manner, seats, on_end: OnceLock::new() };
        let crew = Crew { shared: Arc::new(shared), done: None };
        if wanted > 0 {
            let refused = |(name, reason)| CrewError::Thread { name, reason };
            while crew.shared.threads.start_one(&crew.shared).map_err(refused)? {}
            crew.shared.threads.start_watch(&crew.shared).map_err(refused)?;
        }
        Ok(crew)
    }

    /// What was set that is for threads alone.
    fn without_threads(&self) -> Option<(&'static str, &'static str)> {
        if self.linger.is_some() {
            return Some(("linger", "without threads, projects that have run dry sleep at once; leave it out"));
        }
        if self.stuck_after.is_some() {
            let why = "without threads nobody looks, but the host, which knows how long its call of `turn` takes; leave it out";
            return Some(("stuck_after", why));
        }
        let why = "without threads there are none in whose place others could be started; leave it out";
        self.spares.map(|_| ("spares", why))
    }
}

impl Default for CrewBuilder {
    fn default() -> Self {
        Self {
            name: "crew".to_owned(),
            budget: Budget::millis(1),
            threads: None,
            linger: None,
            stuck_after: None,
            spares: None,
            hook: None,
        }
    }
}

impl fmt::Debug for CrewBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CrewBuilder")
            .field("name", &self.name)
            .field("budget", &self.budget)
            .field("threads", &self.threads)
            .field("linger", &self.linger)
            .field("stuck_after", &self.stuck_after)
            .field("spares", &self.spares)
            .finish_non_exhaustive()
    }
}

/// What a call of [`Crew::turn`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CrewTurn {
    /// How many projects were driven.
    pub projects: usize,
    /// How many events they took.
    pub events: usize,
    /// What is left.
    pub left: CrewLeft,
}

/// What a call of [`Crew::turn`] left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrewLeft {
    /// Nothing is ready. The [hook](CrewBuilder::on_ready) is called when something is.
    Nothing,
    /// There are projects that are ready.
    More,
    /// Nothing is ready before this moment, at which a project publishes, but for what is pushed until then.
    Until(Instant),
}

impl Crew {
    /// Sets up a crew.
    pub fn builder() -> CrewBuilder {
        CrewBuilder::default()
    }

    /// Drives `main_lane` from here on, under a name that no other open project of this crew has.
    ///
    /// # Errors
    /// When the name is taken or empty, or the crew was shut down. The main lane is shut down then.
    pub fn host<S: Reducer>(&self, name: impl Into<Arc<str>>, main_lane: MainLane<S>) -> Result<Hosted<S>, CrewError> {
        let name = name.into();
        if name.is_empty() {
            return Err(CrewError::Unnamed);
        }
        let (core, handle) = (main_lane.hub.core.clone(), Handle::new(main_lane.hub.clone()));
        let poison = Arc::new(Mutex::new(None));
        let lane = Box::new(Lane { main_lane, poison: poison.clone() });
        if self.is_threaded() {
            // Before anybody knows it, who might shut it down, and have it driven by another than the crew.
            core.drive_by(self.shared.mark());
        }
        let seat = {
            let mut seats = self.shared.seats.lock();
            let refused = match seats.names.contains_key(&name) {
                _ if seats.closed => Some(CrewError::Closed),
                true => Some(CrewError::Taken { name: name.clone() }),
                false => None,
            };
            if let Some(refused) = refused {
                drop(seats);
                // Shuts it down, which takes a while, and drops what is the host's.
                lane.let_go();
                return Err(refused);
            }
            let id = seats.next;
            seats.next += 1;
            let seat = Arc::new(Seat::new(id, name.clone(), core.clone(), lane, Arc::downgrade(&self.shared.queue)));
            seats.names.insert(name, id);
            seats.all.insert(id, seat.clone());
            self.shared.queue.reserve(seats.all.len());
            seat
        };
        let woken = Arc::downgrade(&seat);
        let wake = move || {
            if let Some(seat) = woken.upgrade() {
                seat.wake();
            }
        };
        // A main lane is hosted once, for it is moved here.
        let _ = core.sleeper.crew.set(Box::new(wake));
        // What was there before, and what came before there was anybody to wake.
        seat.wake();
        Ok(Hosted::new(seat, self.shared.clone(), handle, poison))
    }

    /// For a crew without threads: takes a turn of each project that is ready, within `budget` altogether, and each within its
    /// [own](CrewBuilder::budget). Who has no turn any more is first in the next call.
    ///
    /// On a crew with threads this helps them.
    pub fn turn(&self, budget: Budget) -> CrewTurn {
        // As the threads do. Without any, this one is known by its own.
        let _mark = self.is_threaded().then(|| SharedMark::new(self.shared.mark()));
        let (queue, mut left, mut last) = (&self.shared.queue, budget, Instant::now());
        let (mut projects, mut events, mut dry) = (0usize, 0, Vec::new());
        let (shared, linger) = (&self.shared, Duration::ZERO);
        let mut driver = Driver { shared, post: None, thread: 0, budget, linger, stays: false, turn: 0 };
        // One turn each: what goes on and on does not keep the host here.
        for _ in 0..queue.ready_now() {
            if left.is_nothing() {
                break;
            }
            let Some(seat) = queue.try_take() else { break };
            let budget = self.shared.manner.budget.at_most(left);
            driver.budget = budget;
            let Some(taken) = driver.drive(seat) else { continue };
            let now = Instant::now();
            left = left.less(taken, now - last);
            last = now;
            projects += 1;
            events += taken;
        }
        // As many as can have run dry here, and no more: threads may add to them all the time.
        for _ in 0..projects.div_ceil(TOGETHER) {
            queue.take_dry(&mut dry);
            driver.let_sleep(&mut dry);
        }
        let left = match queue.outlook() {
            Outlook::More => CrewLeft::More,
            Outlook::Nothing => CrewLeft::Nothing,
            Outlook::Until(due) => CrewLeft::Until(due),
        };
        queue.leave_to_others();
        CrewTurn { projects, events, left }
    }

    /// How the projects are doing, in the order of hosting. Stops nothing.
    pub fn projects(&self) -> Vec<ProjectStatus> {
        let seats: Vec<_> = self.shared.seats.lock().all.values().cloned().collect();
        seats.iter().map(|seat| status(seat)).collect()
    }

    /// How the project of this name is doing.
    pub fn project(&self, name: &str) -> Option<ProjectStatus> {
        let seats = self.shared.seats.lock();
        let seat = seats.names.get(name).and_then(|id| seats.all.get(id)).cloned();
        drop(seats);
        seat.map(|seat| status(&seat))
    }

    /// Everything that is counted, now. Stops nothing.
    pub fn counters(&self) -> CrewCounters {
        let Shared { queue, threads, seats, .. } = &*self.shared;
        let hands = queue.hands();
        CrewCounters {
            projects: seats.lock().all.len(),
            ready: queue.len(),
            threads: hands.active,
            threads_stuck: hands.stuck,
            threads_started: threads.started(),
            threads_refused: threads.refused(),
            stuck_turns: threads.stuck(),
            hook_panics: queue.hook_panics(),
        }
    }

    /// Shuts all projects down, the last hosted first and one after the other, and joins the threads.
    ///
    /// Everything together has until the deadline, each project half of what is left: one that does not end does not take the
    /// time of all that come after it. Calling it again returns the same report; dropping the crew does the same with a
    /// deadline of five seconds.
    pub fn shutdown(&mut self, deadline: Duration) -> CrewReport {
        if let Some(done) = &self.done {
            return done.clone();
        }
        let report = self.stop(deadline);
        self.done = Some(report.clone());
        report
    }

    /// Has this one woken whenever a project has ended by itself. One only: a crew has one register.
    pub(crate) fn on_end(&self, waits: Unparker) {
        let _ = self.shared.on_end.set(waits);
    }

    /// As `shutdown`, which whoever shares the crew calls once.
    pub(crate) fn stop(&self, deadline: Duration) -> CrewReport {
        let begin = Instant::now();
        let deadline = begin.checked_add(deadline).unwrap_or(begin + Duration::from_secs(31_536_000));
        self.shared.seats.lock().closed = true;
        let (mut projects, mut given_up) = (Vec::new(), Vec::new());
        while let Some(seat) = self.last_but(&projects) {
            if seat.was_given_up() {
                given_up.push(seat.id);
            }
            let (now, is_last) = (Instant::now(), self.shared.seats.lock().all.len() == projects.len() + 1);
            let half = |end: Instant| now + end.saturating_duration_since(now) / 2;
            let (until, patience) = match is_last {
                true => (deadline, deadline + GRACE),
                false => (half(deadline), half(deadline + GRACE)),
            };
            // Turns that end are soon over.
            let report = seat.shut_down(until, patience.max(now + PATIENCE_MIN));
            projects.push((seat, report));
        }
        self.shared.queue.close();
        let stragglers = self.shared.threads.join((deadline + GRACE).max(Instant::now() + PATIENCE_MIN));
        // What was given up before, as whoever did it was told, and has returned by now: its thread has put it away.
        given_up.retain(|id| !self.shared.seats.lock().all.contains_key(id));
        projects.retain(|(seat, _)| !given_up.contains(&seat.id));
        projects.iter().for_each(|(seat, _)| self.shared.forget(seat));
        let projects: Vec<_> = projects.into_iter().map(|(seat, report)| (seat.name.clone(), report)).collect();
        let complete = stragglers.is_empty() && projects.iter().all(|(_, report)| report.complete);
        CrewReport { complete, projects, stragglers }
    }

    /// The last hosted of those that are open, but for these.
    fn last_but<T>(&self, done: &[(Arc<Seat>, T)]) -> Option<Arc<Seat>> {
        let before = done.last().map_or(u64::MAX, |(seat, _)| seat.id);
        self.shared.seats.lock().all.range(..before).next_back().map(|(_, seat)| seat.clone())
    }

    fn is_threaded(&self) -> bool {
        self.shared.queue.hands().wanted > 0
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.shutdown(DROP_DEADLINE);
    }
}

impl fmt::Debug for Crew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crew").field("counters", &self.counters()).finish_non_exhaustive()
    }
}

fn status(seat: &Seat) -> ProjectStatus {
    let counts = &seat.counts;
    let state = match (seat.ready.look(), &*seat.end.lock()) {
        (_, Some(End::Failed(fault))) => ProjectState::Failed(fault.clone()),
        (_, Some(End::Closed)) => ProjectState::Ended,
        _ if counts.stuck.load(Relaxed) => ProjectState::Stuck,
        (Doing::Driven, None) => ProjectState::Running,
        (Doing::Queued, None) => ProjectState::Ready,
        (Doing::Asleep, None) => ProjectState::Idle,
        (Doing::Over, None) => ProjectState::Closing,
    };
    ProjectStatus {
        name: seat.name.clone(),
        state,
        turns: counts.turns.load(Relaxed),
        events: counts.events.load(Relaxed),
        longest_turn: Duration::from_nanos(counts.longest_ns.load(Relaxed)),
        thread: Some(counts.thread.load(Relaxed)).filter(|thread| *thread > 0),
    }
}

/// Why a crew could not be set up, or does not take a project.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CrewError {
    /// A project of that name is open.
    Taken {
        /// The name.
        name: Arc<str>,
    },
    /// A project has no name.
    Unnamed,
    /// The crew was shut down.
    Closed,
    /// A setting would have no effect, or none that anybody can want.
    Ignored {
        /// The setting.
        setting: &'static str,
        /// Why it has none.
        why: &'static str,
    },
    /// The system refused a thread.
    Thread {
        /// The thread's name.
        name: String,
        /// What the system said.
        reason: String,
    },
}

impl fmt::Display for CrewError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CrewError::Taken { name } => {
                write!(f, "a project `{name}` is open; shut it down first, or choose another name")
            }
            CrewError::Unnamed => f.write_str("a project needs a name; it is what reports call it"),
            CrewError::Closed => f.write_str("the crew was shut down; start a new one"),
            CrewError::Ignored { setting, why } => write!(f, "the setting `{setting}` makes no sense: {why}"),
            CrewError::Thread { name, reason } => write!(f, "the thread `{name}` could not be started: {reason}"),
        }
    }
}

impl std::error::Error for CrewError {}

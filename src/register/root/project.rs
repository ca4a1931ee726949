//! A project: a pipeline that the register opens, watches, opens again, and closes.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;

use crate::backoff::{A_YEAR, Backoff, Schedule};
use crate::control::Intensity;
use crate::core::{DROP_DEADLINE, contain, let_go};
use crate::main_lane::outcome::Poison;
use crate::main_lane::reduce::Reducer;
use crate::main_lane::report::{Fault, ShutdownReport};
use crate::origin::Origin;
use crate::pipeline::{Builder, Handle};
use crate::register::crew::Hosted;
use crate::register::crew::seat::{End, Seat};
use crate::register::root::{ProjectError, Shared};
use crate::register::waits::{self, Circle, Holds};
use crate::signal::{Cause, Signal};
use crate::snapshot::Reader;
use crate::sync::{Mutex, SwapCell};

/// Why a project could not be opened.
pub type OpenError = Box<dyn std::error::Error + Send + Sync>;

/// Makes a project's pipeline, for each opening anew: from nothing, or by [recovery](crate::journal::Journal::recover).
pub(crate) type Open<S> = Box<dyn FnMut() -> Result<Builder<S>, OpenError> + Send>;

/// What becomes of a project whose main lane has stopped by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Reopen {
    /// It stays closed until the host [opens it again](crate::register::Register::reopen).
    #[default]
    Never,
    /// It is opened again after a rest, as long as that has not happened more often than this; and not before those that it comes
    /// [after](crate::register::ProjectSpec::after) are open.
    Within(Intensity, Backoff),
}

/// How a project is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProjectPhase {
    /// It is being opened.
    Opening,
    /// It takes events.
    Open,
    /// Its main lane has stopped by itself, or it could not be opened again. Nothing is applied.
    Failed {
        /// Why.
        why: Arc<str>,
        /// True when it will be opened again by itself.
        again: bool,
    },
    /// It was closed by the host.
    Closed,
}

impl fmt::Display for ProjectPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opening => f.write_str("opening"),
            Self::Open => f.write_str("open"),
            Self::Failed { why, again: true } => write!(f, "failed, and is opened again: {why}"),
            Self::Failed { why, again: false } => write!(f, "failed: {why}"),
            Self::Closed => f.write_str("closed"),
        }
    }
}

/// A project's phase has changed. Published on the register's bus by the project's [origin](Project::origin).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectChanged {
    /// Its name.
    pub project: Arc<str>,
    /// What it is now.
    pub phase: ProjectPhase,
    /// How often it has been opened.
    pub openings: u64,
}

impl Signal for ProjectChanged {
    const FAMILY: &'static str = "projects";
}

/// A project of a register. Cheap to clone; any thread may have one. It outlives the pipeline that the project has at any moment: after
/// a crash [`handle`](Project::handle) is that of the pipeline which came after.
pub struct Project<S: Reducer>(pub(crate) Arc<Slot<S>>);

impl<S: Reducer> Clone for Project<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: Reducer> Project<S> {
    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    /// Who it is, for signals that are about it.
    pub fn origin(&self) -> Origin {
        self.0.origin
    }

    /// A handle to the pipeline that it has now, or had last. Waits for nobody.
    pub fn handle(&self) -> Handle<S> {
        Handle::clone(&self.0.handle.load())
    }

    /// A reader of the pipeline that it has now, or had last.
    pub fn reader(&self) -> Reader<S> {
        self.0.handle.load().reader()
    }

    /// How it is.
    pub fn phase(&self) -> ProjectPhase {
        self.0.book.lock().phase.clone()
    }

    /// How often it has been opened. A handle of before the last opening is of a pipeline that has ended.
    pub fn openings(&self) -> u64 {
        self.0.book.lock().openings
    }

    /// What the last of its pipelines that has ended left behind: what was not applied, and why it ended. `None` while the first is open.
    pub fn last_report(&self) -> Option<ShutdownReport> {
        self.0.book.lock().last.clone()
    }

    /// The event on which the reducer panicked the last time, if nobody has taken it.
    pub fn take_poison(&self) -> Option<Poison<S::Event>> {
        self.0.poison.lock().take()
    }
}

impl<S: Reducer> fmt::Debug for Project<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Project").field("name", &self.0.name).field("phase", &self.phase()).finish_non_exhaustive()
    }
}

/// What the register has of a project.
pub(crate) struct Slot<S: Reducer> {
    pub(crate) name: Arc<str>,
    origin: Origin,
    after: Vec<Arc<str>>,
    handle: SwapCell<Handle<S>>,
    /// Locked while the project is opened or closed, and by nobody else.
    ends: Mutex<Ends<S>>,
    /// Its place in the crew, to be looked at whoever opens or closes it.
    seat: Mutex<Weak<Seat>>,
    poison: Mutex<Option<Poison<S::Event>>>,
    book: Mutex<Book>,
}

struct Ends<S: Reducer> {
    open: Open<S>,
    hosted: Option<Hosted<S>>,
    /// The register does not know it any more.
    is_removed: bool,
}

impl<S: Reducer> Ends<S> {
    /// True when it has ended by itself, and nobody has put it away yet.
    fn is_finished(&self) -> bool {
        self.hosted.as_ref().is_some_and(Hosted::is_finished)
    }
}

/// What is to be seen of it.
pub(crate) struct Book {
    phase: ProjectPhase,
    openings: u64,
    reopen: Reopen,
    rests: Schedule,
    /// When it was opened again by itself, as far back as counts.
    reopened: Vec<Instant>,
    /// When it is to be opened again.
    due: Option<Instant>,
    /// What the last of its pipelines left behind.
    last: Option<ShutdownReport>,
}

/// It is being opened, or closed, and that takes longer than there is time; or it waits for whoever asks.
pub(crate) struct Busy;

/// While this lives, its thread opens or closes the project.
struct AtIt<'a, S: Reducer> {
    ends: MutexGuard<'a, Ends<S>>,
    _holds: Holds,
}

/// A project, whatever its state is.
pub(crate) trait AnyProject: Send + Sync {
    fn name(&self) -> &Arc<str>;
    fn look(&self) -> (ProjectPhase, u64, Option<ShutdownReport>);
    /// The names of those that it comes after.
    fn after(&self) -> &[Arc<str>];
    /// True when it takes events.
    fn is_open(&self) -> bool;
    /// True when it is said to be open, and its main lane has ended.
    fn has_ended(&self) -> bool;
    /// When it is to be opened again.
    fn due(&self) -> Option<Instant>;
    /// Notes that its main lane has ended, if it has, and opens it again if it is time. Waits for what is the host's.
    fn see_to(&self, register: &Shared);
    /// Opens it, unless it is open.
    fn open(&self, register: &Shared) -> Result<(), ProjectError>;
    /// What its pipeline left behind, if it was open. One that is closed for good is never opened again.
    fn close(&self, register: &Shared, deadline: Duration, for_good: bool) -> Result<Option<ShutdownReport>, Busy>;
}

impl<S: Reducer> Drop for Slot<S> {
    fn drop(&mut self) {
        // One by one: what opens it and the event on which it failed are the host's, and if both panicked at once, all would end.
        let ends = self.ends.get_mut();
        let_go(ends.hosted.take());
        let_go(std::mem::replace(&mut ends.open, Box::new(|| Err("it is gone".into()))));
        let_go(self.poison.get_mut().take());
    }
}

impl<S: Reducer> Slot<S> {
    /// Opens a project for the first time.
    pub(crate) fn first(
        register: &Shared,
        name: Arc<str>,
        origin: Origin,
        mut open: Open<S>,
        after: Vec<Arc<str>>,
        reopen: Reopen,
    ) -> Result<Arc<Self>, OpenError> {
        let (hosted, handle) = host(register, &name, origin, &mut open)?;
        let backoff = match reopen {
            Reopen::Never => Backoff::NONE,
            Reopen::Within(_, backoff) => backoff,
        };
        let book = Book {
            phase: ProjectPhase::Open,
            openings: 1,
            reopen,
            rests: backoff.schedule(None),
            reopened: Vec::new(),
            due: None,
            last: None,
        };
        let slot = Arc::new(Self {
            name,
            origin,
            after,
            handle: SwapCell::new(Arc::new(handle)),
            seat: Mutex::new(Arc::downgrade(hosted.seat())),
            ends: Mutex::new(Ends { open, hosted: Some(hosted), is_removed: false }),
            poison: Mutex::new(None),
            book: Mutex::new(book),
        });
        slot.tell(register);
        Ok(slot)
    }

    fn is_said_to_be_open(&self) -> bool {
        self.book.lock().phase == ProjectPhase::Open
    }

    fn is_driven(&self) -> bool {
        self.seat.lock().upgrade().is_some_and(|seat| !seat.has_ended())
    }

    fn set(&self, register: &Shared, change: impl FnOnce(&mut Book)) {
        change(&mut self.book.lock());
        self.tell(register);
    }

    fn tell(&self, register: &Shared) {
        // In a family that is full it is the newest that matters, and that can be asked for: the loss is counted there.
        let _ = register.changes(self.origin).publish_with(Cause::NONE, || {
            let book = self.book.lock();
            ProjectChanged { project: self.name.clone(), phase: book.phase.clone(), openings: book.openings }
        });
    }

    /// Opens or closes it from here on, when `lock` has got hold of it.
    fn at_it<'a>(
        &'a self,
        lock: impl FnOnce(&'a Mutex<Ends<S>>) -> Option<MutexGuard<'a, Ends<S>>>,
    ) -> Result<AtIt<'a, S>, Busy> {
        // What is the host's runs within, and may ask for the same again.
        let ends = waits::wait_for(&self.ends, || lock(&self.ends)).map_err(|Circle| Busy)?.ok_or(Busy)?;
        Ok(AtIt { ends, _holds: Holds::new(&self.ends) })
    }

    /// Its main lane has ended.
    fn note_end(&self, register: &Shared, hosted: &mut Option<Hosted<S>>) {
        let end = hosted.as_mut().and_then(|hosted| {
            let end = hosted.end();
            self.keep_poison(hosted);
            end
        });
        let tell = |fault: Option<&Fault>| {
            self.set(register, |book| match fault {
                // Its lanes were closed by somebody who has the handle.
                None => (book.phase, book.due) = (ProjectPhase::Closed, None),
                Some(fault) => book.fail(register, fault.to_string().into()),
            });
        };
        // Told before what is the host's is dropped, which may take long.
        match &end {
            Some(End::Failed(fault)) => tell(Some(fault)),
            Some(End::Closed) => tell(None),
            None => {}
        }
        let report = self.put_away(hosted, DROP_DEADLINE);
        if end.is_none() {
            tell(report.as_ref().and_then(|report| report.fault.as_ref()));
        }
        self.book.lock().last = report;
    }

    fn open_now(&self, register: &Shared, ends: &mut Ends<S>) -> Result<(), OpenError> {
        let last = self.put_away(&mut ends.hosted, DROP_DEADLINE);
        self.set(register, |book| {
            (book.phase, book.due) = (ProjectPhase::Opening, None);
            book.last = last.or(book.last.take());
        });
        let Ends { open, hosted, .. } = ends;
        match host(register, &self.name, self.origin, open) {
            Ok((its, handle)) => {
                *self.seat.lock() = Arc::downgrade(its.seat());
                *hosted = Some(its);
                let before = self.handle.swap(Arc::new(handle));
                self.set(register, |book| {
                    book.phase = ProjectPhase::Open;
                    book.openings += 1;
                });
                let_go(before);
                Ok(())
            }
            Err(error) => {
                let why = contain(|| error.to_string()).unwrap_or_else(|message| message);
                self.set(register, |book| book.fail(register, why.into()));
                Err(error)
            }
        }
    }

    fn keep_poison(&self, hosted: &mut Hosted<S>) {
        if let Some(poison) = hosted.take_poison() {
            let before = self.poison.lock().replace(poison);
            let_go(before);
        }
    }

    fn put_away(&self, hosted: &mut Option<Hosted<S>>, deadline: Duration) -> Option<ShutdownReport> {
        let mut hosted = hosted.take()?;
        let report = hosted.shutdown(deadline);
        self.keep_poison(&mut hosted);
        // What is left of it is the host's.
        let_go(hosted);
        Some(report)
    }
}

/// Makes a pipeline, and has the crew drive it.
fn host<S: Reducer>(
    register: &Shared,
    name: &Arc<str>,
    origin: Origin,
    open: &mut Open<S>,
) -> Result<(Hosted<S>, Handle<S>), OpenError> {
    // All of it: what is refused half-way is the host's as it ends.
    let opened = contain(|| {
        let (main_lane, handle) = open()?.build()?;
        handle.publish_diagnostics(register.bus(), origin);
        let hosted = register.crew.host(name.clone(), main_lane)?;
        Ok((hosted, handle))
    });
    opened.map_err(|message| format!("it panicked as it was opened: {message}"))?
}

impl<S: Reducer> AnyProject for Slot<S> {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn look(&self) -> (ProjectPhase, u64, Option<ShutdownReport>) {
        let book = self.book.lock();
        (book.phase.clone(), book.openings, book.last.clone())
    }

    fn after(&self) -> &[Arc<str>] {
        &self.after
    }

    fn is_open(&self) -> bool {
        self.is_said_to_be_open() && self.is_driven()
    }

    fn has_ended(&self) -> bool {
        self.is_said_to_be_open() && !self.is_driven()
    }

    fn due(&self) -> Option<Instant> {
        self.book.lock().due
    }

    fn see_to(&self, register: &Shared) {
        let Ok(mut at_it) = self.at_it(|ends| Some(ends.lock())) else { return };
        if at_it.ends.is_finished() {
            self.note_end(register, &mut at_it.ends.hosted);
        }
        if register.is_over.is_set() {
            // Whoever shut everything down may not have got hold of it, and does not come back.
            if self.due().is_some() {
                self.set(register, Book::give_up);
            }
            return;
        }
        // Not if it was closed meanwhile.
        if self.due().is_some_and(|due| due <= Instant::now()) && register.unmet(&self.after).is_none() {
            // What went wrong is in the project's phase, and was told.
            let_go(self.open_now(register, &mut at_it.ends));
        }
    }

    fn open(&self, register: &Shared) -> Result<(), ProjectError> {
        let refused = |error| ProjectError::Open { name: self.name.clone(), error };
        let Ok(mut at_it) = self.at_it(|ends| Some(ends.lock())) else {
            let why = "it is being opened or closed by whoever asks for it, or by one who waits for that";
            return Err(refused(why.into()));
        };
        if at_it.ends.is_removed {
            return Err(refused("it was removed meanwhile".into()));
        }
        if at_it.ends.hosted.is_some() && !at_it.ends.is_finished() {
            return Ok(());
        }
        if let Some(needs) = register.unmet(&self.after) {
            return Err(ProjectError::Needs { name: self.name.clone(), needs });
        }
        self.open_now(register, &mut at_it.ends).map_err(refused)
    }

    fn close(&self, register: &Shared, deadline: Duration, for_good: bool) -> Result<Option<ShutdownReport>, Busy> {
        let begin = Instant::now();
        let mut at_it = self.at_it(|ends| ends.try_lock_for(deadline.min(A_YEAR)))?;
        let deadline = deadline.saturating_sub(begin.elapsed());
        at_it.ends.is_removed |= for_good;
        let report = self.put_away(&mut at_it.ends.hosted, deadline);
        // Before anybody else opens it.
        self.set(register, |book| {
            (book.phase, book.due) = (ProjectPhase::Closed, None);
            if report.is_some() {
                book.last.clone_from(&report);
            }
        });
        Ok(report)
    }
}

impl Book {
    /// It is not opened again by itself after all.
    fn give_up(&mut self) {
        self.due = None;
        if let ProjectPhase::Failed { again, .. } = &mut self.phase {
            *again = false;
        }
    }

    fn fail(&mut self, register: &Shared, why: Arc<str>) {
        let now = Instant::now();
        let mut again = false;
        self.due = None;
        if let Reopen::Within(intensity, _) = self.reopen {
            self.reopened.retain(|reopened| now.saturating_duration_since(*reopened) < intensity.within);
            again = self.reopened.len() < intensity.restarts as usize && !register.is_over.is_set();
            if self.reopened.is_empty() {
                self.rests.begin_anew();
            }
            if again {
                self.reopened.push(now);
                self.due = Some(now + self.rests.rest());
            }
        }
        self.phase = ProjectPhase::Failed { why, again };
    }
}

//! The one place where lanes, the main lane and its threads are wired.

use std::fmt;
use std::sync::Arc;

use crossbeam_utils::sync::Parker;

use crate::core::Core;
use crate::error::Error;
use crate::event::OperationId;
use crate::hub::{Hub, Letter};
#[cfg(feature = "journal")]
use crate::journal::{JournalReader, status::Status};
use crate::lane::builder::{IngestBuilder, LaneBuilder, Start};
use crate::lane::source::{Source, SourceError};
use crate::mailbox::Mailbox;
use crate::main_lane::MainLane;
use crate::main_lane::flight::{FLIGHT_RECORDER, FLIGHT_RECORDER_MAX, Flight, FlightEntry};
use crate::main_lane::keeping::{Keeping, Request};
use crate::main_lane::operations::Operations;
use crate::main_lane::outcome::Poison;
use crate::main_lane::publish::{Publish, WakeHook};
use crate::main_lane::quarantine::Quarantine;
use crate::main_lane::reconcile::Reconciler;
use crate::main_lane::reduce::Reducer;
use crate::main_lane::scribe::{Check, Scribe};
use crate::main_lane::turn::Past;
use crate::observe::counters::{Counters, HeldBytes};
use crate::observe::diagnostic::{Diagnostic, Diagnostics, Reporter};
use crate::origin::Origin;
use crate::reply::{Answer, Asked, reply};
use crate::snapshot::{Published, Reader, WakingReader};
use crate::sync::AtomicBool;
use crate::timeline::ask::Ask;
use crate::timeline::check::ByHash;
use crate::timeline::history::History;
use crate::timeline::{Rewind, RewindError, Timeline, TimelineError};
use crate::wake::Notice;

/// Where to begin: [`Pipeline::builder`].
#[derive(Debug)]
pub struct Pipeline;

impl Pipeline {
    /// A pipeline whose state begins as `state`.
    ///
    /// ```
    /// use mainlane::{Budget, Class, Effects, Envelope, Event, Pipeline, Reducer, Tier};
    ///
    /// enum Reading { Temperature { probe: u32, celsius: f64 }, Alarm(u32) }
    ///
    /// impl Event for Reading {
    ///     type Key = u32;
    ///     type Facets = ();
    ///     fn class(&self) -> Class<u32> {
    ///         match self {
    ///             Reading::Temperature { probe, .. } => Class::lossy(*probe, Tier::NORMAL),
    ///             Reading::Alarm(_) => Class::Critical,
    ///         }
    ///     }
    /// }
    ///
    /// #[derive(Clone, Default)]
    /// struct Plant { warmest: f64, alarms: u32 }
    ///
    /// impl Reducer for Plant {
    ///     type Event = Reading;
    ///     type Effect = ();
    ///     fn apply(&mut self, envelope: &Envelope<'_, Reading>, _: &mut Effects<()>) {
    ///         match envelope.event {
    ///             Reading::Temperature { celsius, .. } => self.warmest = self.warmest.max(*celsius),
    ///             Reading::Alarm(_) => self.alarms += 1,
    ///         }
    ///     }
    /// }
    ///
    /// let builder = Pipeline::builder(Plant::default());
    /// let mut probes = builder.lane("probes").open()?;
    /// let (mut main_lane, handle) = builder.build()?;
    /// let reader = handle.reader();
    ///
    /// // Any thread:
    /// probes.push(Reading::Temperature { probe: 1, celsius: 21.5 })?;
    /// probes.push(Reading::Alarm(1))?;
    /// // The host's loop:
    /// main_lane.turn(Budget::UNLIMITED)?;
    /// assert_eq!((reader.load().warmest, reader.load().alarms), (21.5, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder<S: Reducer>(state: S) -> Builder<S> {
        Self::resume(state, Past { turn: 0, operations: Operations::new() })
    }

    /// A pipeline that goes on from `past`.
    pub(crate) fn resume<S: Reducer>(state: S, past: Past) -> Builder<S> {
        let parker = Parker::new();
        let (reporter, diagnostics) = Reporter::new();
        let core = Arc::new(Core::new(parker.unparker().clone(), reporter));
        // The state that the pipeline is built with is its first snapshot.
        core.counts.snapshots.add(1);
        let published = Arc::new(Published::new(state.clone(), past.turn));
        let hub = Arc::new(Hub {
            core,
            published,
            mailbox: Mailbox::new(),
            diagnostics,
            last_flight: std::sync::OnceLock::new(),
            quarantine: Quarantine::new(),
            #[cfg(feature = "journal")]
            journal: std::sync::OnceLock::new(),
        });
        Builder {
            ends: Some(Ends { parker, state, reconciler: None, past, history: None, scribe: None, check: None }),
            hub,
            publish: Publish::EveryTurn,
            flight: FLIGHT_RECORDER,
            panics_on_misrouted: false,
            starts: parking_lot::Mutex::new(Vec::new()),
        }
    }
}

/// Wires a pipeline. Reads as its topology.
#[must_use]
pub struct Builder<S: Reducer> {
    hub: Arc<Hub<S>>,
    /// `None` once it is built.
    ends: Option<Ends<S>>,
    publish: Publish,
    /// How many events the flight recorder keeps.
    flight: usize,
    panics_on_misrouted: bool,
    /// Ingestion threads to start.
    pub(crate) starts: parking_lot::Mutex<Vec<Start>>,
}

struct Ends<S: Reducer> {
    parker: Parker,
    state: S,
    reconciler: Option<Box<dyn Reconciler<S>>>,
    past: Past,
    history: Option<History<S>>,
    scribe: Option<Box<dyn Scribe<S>>>,
    check: Option<Box<dyn Check<S>>>,
}

impl<S: Reducer> Builder<S> {
    /// A lane that a thread of the host's pushes to. It may push before the pipeline is built.
    pub fn lane(&self, name: impl Into<Arc<str>>) -> LaneBuilder<S> {
        LaneBuilder::new(self.hub.clone(), name.into())
    }

    /// A lane that a thread of mainlane's polls `source` into, from [`build`](Builder::build) on.
    pub fn ingest<R>(&self, name: impl Into<Arc<str>>, source: R) -> IngestBuilder<'_, S, R>
    where
        R: Source<Event = S::Event>,
    {
        IngestBuilder::new(self.lane(name), source, Some(&self.starts))
    }

    /// As [`ingest`](Builder::ingest), with a way to make the source anew after it panicked or failed; see
    /// [`IngestBuilder::restart`].
    ///
    /// # Errors
    /// When the first source cannot be made.
    pub fn ingest_with<R>(
        &self,
        name: impl Into<Arc<str>>,
        factory: impl FnMut() -> Result<R, SourceError> + Send + 'static,
    ) -> Result<IngestBuilder<'_, S, R>, SourceError>
    where
        R: Source<Event = S::Event>,
    {
        IngestBuilder::from_factory(self.lane(name), factory, Some(&self.starts))
    }

    /// When a changed state is published; after every turn unless said otherwise.
    pub fn publish(mut self, publish: Publish) -> Self {
        self.publish = publish;
        self
    }

    /// Who runs the effects.
    pub fn reconciler(mut self, reconciler: impl Reconciler<S>) -> Self {
        if let Some(ends) = &mut self.ends {
            ends.reconciler = Some(Box::new(reconciler));
        }
        self
    }

    /// Keeps the recent past: operations can be undone and redone ([`Handle::undo`]), an event on which the reducer panics is
    /// taken out of its turn instead of stopping the main lane ([`Handle::take_quarantined`]), and the state can be looked at
    /// as it was ([`Handle::state_at`]).
    ///
    /// Costs a move of each event and a copy of the state now and then. A pipeline that was recovered from a journal has the
    /// timeline that it was recovered with: setting one here begins it anew.
    pub fn timeline(mut self, timeline: Timeline) -> Self {
        if let Some(ends) = &mut self.ends {
            let history = History::new(timeline, ends.past.turn, &ends.state);
            ends.history = Some(history.after(ends.past.operations.seen()));
        }
        self
    }

    /// Applies every batch twice, from two copies of the same state, and compares the hashes of what comes out: a reducer
    /// that reads a clock or goes through a hash map of its own is reported
    /// ([`Diagnostic::Nondeterministic`](crate::Diagnostic::Nondeterministic)).
    ///
    /// For tests and trial runs: a turn costs more than twice as much. A hash map *in the state* keeps its order when it is
    /// copied; the check of the feature `journal`, which encodes the state and decodes it again, finds that too.
    pub fn check_determinism(mut self) -> Self
    where
        S: std::hash::Hash,
    {
        self.check_with(ByHash);
        self
    }

    /// How many of the last events the flight recorder keeps, up to [`FLIGHT_RECORDER_MAX`]; rounded up to a power of two, and
    /// [`FLIGHT_RECORDER`] unless said otherwise. Zero turns it off.
    ///
    /// What it has is read with [`MainLane::flight`] and [`Handle::flight`]; after a fault it is in
    /// [`ShutdownReport::flight`](crate::ShutdownReport::flight), with the event on which the reducer panicked as the last.
    /// Its memory, about 150 bytes an entry, is taken when the pipeline is built.
    pub fn flight_recorder(mut self, entries: usize) -> Self {
        self.flight = entries;
        self
    }

    /// In builds with debug assertions, a panic on an event that reaches an [authority](crate::Authority) that does not own it, on the
    /// thread of the main lane. Elsewhere nothing is different: such an event is refused, counted and reported, and that is all.
    ///
    /// The panic is contained as one of the reducer's is without a timeline: the main lane stops, with the event in the error
    /// ([`TurnError::Misrouted`](crate::TurnError::Misrouted)), and has refused, counted and reported it before. Also with a timeline, where
    /// nothing is rolled back, because nothing of the event was applied. What was applied before it in its turn is never published,
    /// and with a journal it is written down.
    pub fn panic_on_misrouted(mut self) -> Self {
        self.panics_on_misrouted = true;
        self
    }

    /// The state that the pipeline begins with: the one that it was recovered to, if it was.
    pub fn state(&self) -> &S {
        match &self.ends {
            Some(ends) => &ends.state,
            None => unreachable!("`build` takes the builder"),
        }
    }

    #[cfg(feature = "journal")]
    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.hub.core
    }

    #[cfg(feature = "journal")]
    pub(crate) fn with_journal(
        &mut self,
        scribe: Box<dyn Scribe<S>>,
        status: Arc<Status>,
        history: Option<History<S>>,
    ) {
        let _ = self.hub.journal.set(JournalReader::new(status));
        if let Some(ends) = &mut self.ends {
            (ends.scribe, ends.history) = (Some(scribe), history);
        }
    }

    pub(crate) fn check_with(&mut self, check: impl Check<S> + 'static) {
        if let Some(ends) = &mut self.ends {
            ends.check = Some(Box::new(check));
        }
    }

    /// Is called when there is input for a main lane whose [`MainLane::arm_input`] found none: the hook for hosts that
    /// drive it from a loop that sleeps. Called from whatever thread pushes, once per arming; must not block.
    pub fn on_input(self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        // A builder has one owner, so this is the only setter.
        let _ = self.hub.core.sleeper.hook.set(Box::new(hook));
        self
    }

    /// Starts the ingestion threads, and returns the main lane and a handle to the rest.
    ///
    /// # Errors
    /// When the system refuses a thread, or the flight recorder cannot be as large as it was asked to be. What was started is
    /// stopped again.
    pub fn build(mut self) -> Result<(MainLane<S>, Handle<S>), Error> {
        let flight = match self.flight {
            0 => Flight::new(0),
            entries @ 1..=FLIGHT_RECORDER_MAX => Flight::new(entries.next_power_of_two()),
            entries => return Err(Error::FlightRecorder { entries, most: FLIGHT_RECORDER_MAX }),
        };
        for start in std::mem::take(&mut *self.starts.lock()) {
            start()?;
        }
        let Some(Ends { parker, state, reconciler, past, history, scribe, check }) = self.ends.take() else {
            unreachable!("`build` takes the builder")
        };
        let keeps = history.is_some() || scribe.is_some() || check.is_some();
        let keeping = keeps.then(|| Box::new(Keeping::new(history, scribe, check)));
        let mut main_lane = MainLane::new(self.hub.clone(), parker, state, self.publish, reconciler, keeping, past);
        self.hub.core.counts.flight_bytes.set(flight.bytes());
        main_lane.applying.flight = flight;
        main_lane.applying.panics_on_misrouted = self.panics_on_misrouted && cfg!(debug_assertions);
        Ok((main_lane, Handle::new(self.hub.clone())))
    }
}

impl<S: Reducer> Drop for Builder<S> {
    fn drop(&mut self) {
        if self.ends.is_none() {
            return;
        }
        // Never built: nothing will ever be applied, so nothing may be accepted.
        self.hub.core.end();
        for letter in self.hub.mailbox.close() {
            if let Letter::Lane(lane) = letter {
                lane.shared.gate.shut();
                self.hub.core.store_load.heavy();
                lane.shared.room.ring();
            }
        }
        self.hub.core.join_threads(std::time::Instant::now() + crate::core::DROP_DEADLINE);
    }
}

impl<S: Reducer> fmt::Debug for Builder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("publish", &self.publish).finish_non_exhaustive()
    }
}

/// Everything but the main lane: readers, counters, new lanes. Cheap to clone; any thread may have one.
pub struct Handle<S: Reducer> {
    hub: Arc<Hub<S>>,
}

impl<S: Reducer> Clone for Handle<S> {
    fn clone(&self) -> Self {
        Self { hub: self.hub.clone() }
    }
}

impl<S: Reducer> Handle<S> {
    pub(crate) fn new(hub: Arc<Hub<S>>) -> Self {
        Self { hub }
    }

    #[cfg(feature = "control")]
    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.hub.core
    }

    /// A reader of snapshots.
    pub fn reader(&self) -> Reader<S> {
        Reader::new(self.hub.published.clone(), self.hub.core.clone())
    }

    /// A reader whose host is called back when there is something it has not loaded.
    ///
    /// `hook` runs on the main lane; it must not block. Pass whatever makes the host's loop run once: an event-loop
    /// proxy, a repaint request, an unpark.
    ///
    /// # Errors
    /// When the pipeline has shut down.
    pub fn waking_reader(&self, hook: impl Fn() + Send + 'static) -> Result<WakingReader<S>, Error> {
        let (notice, attached) = (Arc::new(Notice::new()), Arc::new(AtomicBool::new(true)));
        let since = self.hub.published.shelf.version();
        let (raised, answered) = (notice.clone(), attached.clone());
        let wake = WakeHook { notice: raised, attached: answered, hook: Box::new(hook), panics: 0, since };
        self.hub.mailbox.post(Letter::WakeHook(wake)).map_err(|_| Error::Closed)?;
        self.hub.core.bell.ring();
        Ok(WakingReader { reader: self.reader(), notice, attached })
    }

    /// A lane that a thread of the host's pushes to, opened while the pipeline runs.
    pub fn lane(&self, name: impl Into<Arc<str>>) -> LaneBuilder<S> {
        LaneBuilder::new(self.hub.clone(), name.into())
    }

    /// A lane that a thread of mainlane's polls `source` into, started at once.
    pub fn ingest<R>(&self, name: impl Into<Arc<str>>, source: R) -> IngestBuilder<'static, S, R>
    where
        R: Source<Event = S::Event>,
    {
        IngestBuilder::new(self.lane(name), source, None)
    }

    /// As [`ingest`](Handle::ingest), with a way to make the source anew after it panicked or failed.
    ///
    /// # Errors
    /// When the first source cannot be made.
    pub fn ingest_with<R>(
        &self,
        name: impl Into<Arc<str>>,
        factory: impl FnMut() -> Result<R, SourceError> + Send + 'static,
    ) -> Result<IngestBuilder<'static, S, R>, SourceError>
    where
        R: Source<Event = S::Event>,
    {
        IngestBuilder::from_factory(self.lane(name), factory, None)
    }

    /// Everything that is counted, now. Stops nothing.
    pub fn counters(&self) -> Counters {
        self.hub.core.read_counters()
    }

    /// How many bytes mainlane itself holds, as far as that is counted. Stops nothing.
    pub fn held_bytes(&self) -> HeldBytes {
        let core = &self.hub.core;
        let (lanes, flight_recorder) = (core.book.lock().bytes(), core.counts.flight_bytes.read());
        #[cfg(feature = "journal")]
        let journal = self.hub.journal.get().map_or(0, JournalReader::held_bytes);
        #[cfg(not(feature = "journal"))]
        let journal = 0;
        HeldBytes { lanes, flight_recorder, journal }
    }

    /// Notes about whatever is out of the ordinary.
    pub fn diagnostics(&self) -> Diagnostics {
        self.hub.diagnostics.clone()
    }

    /// Reports that what the state mirrors may differ from what is outside: it is counted, and a
    /// [`Diverged`](crate::Diagnostic::Diverged) that others find with the rest. For reconcilers, when an effect of the reducer says so.
    pub fn report_divergence(&self, origin: Origin, what: impl Into<Arc<str>>) {
        self.hub.core.report(Diagnostic::Diverged { origin, what: what.into() });
    }

    /// Asks for the newest operation of `origin` that has ended and is not undone to be undone: its events are taken out of
    /// the past, and those that came after them, of whatever origin, are applied without them.
    ///
    /// Effects of the past are neither taken back nor run again. Answered when all that was pushed before is applied, and the
    /// effects of the turn that applied it are run; needs a [timeline](Builder::timeline). An operation is its first event's
    /// origin's. No answer comes once the pipeline has ended.
    pub fn undo(&self, origin: Origin) -> Asked<Result<Rewind, RewindError>> {
        self.ask(|answer| Request::Rewind(Ask::Undo(origin), answer))
    }

    /// Asks for the operation of `origin` that was undone last to be put back where it stood. When another operation of the
    /// same origin has ended since, there is nothing to redo; [`redo_operation`](Handle::redo_operation) does it all the
    /// same.
    pub fn redo(&self, origin: Origin) -> Asked<Result<Rewind, RewindError>> {
        self.ask(|answer| Request::Rewind(Ask::Redo(origin), answer))
    }

    /// As [`undo`](Handle::undo), for this operation, whoever's it is.
    pub fn undo_operation(&self, operation: OperationId) -> Asked<Result<Rewind, RewindError>> {
        self.ask(|answer| Request::Rewind(Ask::UndoOperation(operation), answer))
    }

    /// As [`redo`](Handle::redo), for this operation.
    pub fn redo_operation(&self, operation: OperationId) -> Asked<Result<Rewind, RewindError>> {
        self.ask(|answer| Request::Rewind(Ask::RedoOperation(operation), answer))
    }

    /// Asks for the state as it was after `turn`. What was undone later is in it. Answered by the main lane, which applies
    /// the events from the checkpoint before that turn once more: for debugging, not for every frame. With a journal, when
    /// that turn may be seen ([`Durability`](crate::main_lane::scribe::Durability)).
    pub fn state_at(&self, turn: u64) -> Asked<Result<S, TimelineError>> {
        self.ask(|answer| Request::StateAt(turn, answer))
    }

    fn ask<T>(&self, request: impl FnOnce(Answer<T>) -> Request<S>) -> Asked<T> {
        let (answer, asked) = reply();
        // Dropped when the pipeline has ended, which lets whoever asked go.
        if self.hub.mailbox.post(Letter::Request(request(answer))).is_ok() {
            self.hub.core.bell.ring();
        }
        asked
    }

    /// How far the journal is, for a pipeline that was recovered from one.
    #[cfg(feature = "journal")]
    #[cfg_attr(docsrs, doc(cfg(feature = "journal")))]
    pub fn journal(&self) -> Option<JournalReader> {
        self.hub.journal.get().cloned()
    }

    /// Asks for what the flight recorder has: the last events that were taken, oldest first. Answered in one of the next turns;
    /// at once when the main lane has stopped by itself, with what there was then. Empty when the recorder is
    /// [off](Builder::flight_recorder).
    pub fn flight(&self) -> Asked<Arc<[FlightEntry]>> {
        let (answer, asked) = reply();
        match self.hub.mailbox.post(Letter::Flight(answer)) {
            Ok(()) => self.hub.core.bell.ring(),
            Err(letter) => self.hub.answer_last(letter),
        }
        asked
    }

    /// The events on which the reducer panicked and that were set aside, oldest first: those that nobody has taken, 256 at
    /// most. Only with a [timeline](Builder::timeline).
    pub fn take_quarantined(&self) -> Vec<Poison<S::Event>> {
        self.hub.quarantine.take()
    }

    /// Publishes what is out of the ordinary in this pipeline on a bus, as signals of the family [`Diagnostic`](crate::Diagnostic), from
    /// now on. `source` says there which pipeline it is. [`diagnostics`](Handle::diagnostics) has them as before; those that it has no
    /// room for count as [dropped](crate::Counters::diagnostics_dropped) only if nobody heard them on the bus either.
    ///
    /// The main lane publishes as any other: it waits for nobody. False when this pipeline publishes already: it has one bus.
    #[cfg(feature = "signal")]
    #[cfg_attr(docsrs, doc(cfg(feature = "signal")))]
    pub fn publish_diagnostics(&self, bus: &crate::signal::Bus, source: Origin) -> bool {
        self.hub.core.reporter.publish_to(bus.outlet(source))
    }

    /// A number for a new operation; no other operation of this pipeline that asked here has it.
    pub fn operation(&self) -> OperationId {
        OperationId(self.hub.core.next_operation())
    }

    /// Asks the pipeline to shut down, and returns at once: from its next turn on lanes accept nothing more, and whoever
    /// drives the main lane finds [`Left::Ended`](crate::Left::Ended) when everything accepted is applied, however long that
    /// takes.
    pub fn close(&self) {
        self.hub.core.close();
    }

    /// True when the pipeline has ended and nothing more will be applied or published. Everything accepted has been, unless
    /// a deadline was missed or the host's code panicked: [`counters`](Handle::counters) tells.
    pub fn is_ended(&self) -> bool {
        self.hub.core.is_ended()
    }
}

impl<S: Reducer> fmt::Debug for Handle<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("ended", &self.is_ended()).finish_non_exhaustive()
    }
}

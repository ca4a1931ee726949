//! How a lane is opened, before the pipeline is built or while it runs.

use crossbeam_utils::sync::Parker;
use parking_lot::Mutex;

use crate::error::Error;
use crate::event::{Class, Event, LaneId};
use crate::hub::{Hub, Letter};
use crate::lane::coalesce::Coalescer;
use crate::lane::gate::Gate;
use crate::lane::idle::IdleStrategy;
use crate::lane::ingest::{self, Ingest, Restart};
use crate::lane::prepare::{Classifier, Enrich, Preparation, Preparing};
use crate::lane::ring;
use crate::lane::source::{Source, SourceError};
use crate::lane::table::{self, KEYS_MAX, Unread};
use crate::lane::waiting::Patience;
use crate::lane::{Item, Lane, LaneShared, Order, Overflow, QUICK};
use crate::main_lane::lane_end::LaneEnd;
use crate::main_lane::reduce::Reducer;
#[cfg(feature = "control")]
use crate::notifications::Notifications;
use crate::observe::counters::LaneCounts;
use crate::observe::diagnostic::Diagnostic;
use crate::origin::{Origin, Rank};
use crate::sync::Arc;
use crate::wake::Bell;

/// Slots of a lane's ring unless said otherwise.
pub const CAPACITY: usize = 1024;
/// Slots of a lane's ring at most.
pub const CAPACITY_MAX: usize = 1 << 20;
/// Keys of a lane's coalescing table unless said otherwise.
pub const KEYS: usize = 256;

type EventOf<S> = <S as Reducer>::Event;
type FacetsOf<S> = <EventOf<S> as Event>::Facets;

/// Starts an ingestion thread.
pub(crate) type Start = Box<dyn FnOnce() -> Result<(), Error> + Send>;

/// Opens a lane. The settings that are not made have the defaults written beside them.
#[must_use = "a lane is opened by `open`"]
pub struct LaneBuilder<S: Reducer> {
    hub: Arc<Hub<S>>,
    name: Arc<str>,
    settings: Settings<S>,
}

struct Settings<S: Reducer> {
    origin: Option<Origin>,
    rank: Option<Rank>,
    clocked: bool,
    capacity: usize,
    keys: usize,
    overflow: Overflow,
    facets: Option<FacetsOf<S>>,
    enrich: Option<Box<dyn Enrich<EventOf<S>>>>,
    classify: Classifier<S>,
}

impl<S: Reducer> LaneBuilder<S> {
    pub(crate) fn new(hub: Arc<Hub<S>>, name: Arc<str>) -> Self {
        let settings = Settings {
            origin: None,
            rank: None,
            clocked: true,
            capacity: CAPACITY,
            keys: KEYS,
            overflow: Overflow::Wait,
            facets: None,
            enrich: None,
            classify: Classifier::Event,
        };
        Self { hub, name, settings }
    }

    /// Who its events are about, unless an event says otherwise itself. Default: a built-in part called `lane`, with the
    /// lane's number.
    pub fn origin(mut self, origin: Origin) -> Self {
        self.settings.origin = Some(origin);
        self
    }

    #[cfg(feature = "control")]
    pub(crate) fn origin_set(&self) -> Option<Origin> {
        self.settings.origin
    }

    /// Where the lane stands when stamps tie, and among unclocked lanes; the lower goes first. Default: the rank of its
    /// origin's tier.
    pub fn rank(mut self, rank: u16) -> Self {
        self.settings.rank = Some(Rank(rank));
        self
    }

    /// Gives up causal order towards other lanes: its events are applied ahead of all clocked lanes', and its pushes
    /// touch no line that other producers do. For the local user's input, which reacts to published snapshots.
    pub fn unclocked(mut self) -> Self {
        self.settings.clocked = false;
        self
    }

    /// Slots of the ring: how many critical events may wait. Default: [`CAPACITY`]. Small rings stay in cache. Memory is taken for
    /// the next power of two.
    pub fn capacity(mut self, slots: usize) -> Self {
        self.settings.capacity = slots;
        self
    }

    /// Keys of the coalescing table: how many different lossy values may wait. Default: [`KEYS`].
    ///
    /// Room for twice as many is allocated when the lane is opened: while one half is written, the main lane has the other,
    /// of which it holds back for its next cut what came too late for the last.
    pub fn keys(mut self, keys: usize) -> Self {
        self.settings.keys = keys;
        self
    }

    /// What a push of a critical event does when the ring is full. Default: it waits.
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.settings.overflow = overflow;
        self
    }

    /// Context for events that set none, see [`facets`](crate::Facets).
    pub fn facets(mut self, defaults: FacetsOf<S>) -> Self {
        self.settings.facets = Some(defaults);
        self
    }

    /// Completes each event on the thread that pushes, before it is classified and stamped. What it sets in the facets
    /// wins over the lane's defaults; let it use [`Fill`](crate::Fill) to leave alone what the event's origin has set.
    ///
    /// A panic in it is contained and counted; the event goes on as it is.
    pub fn enrich(mut self, enrich: impl FnMut(&mut EventOf<S>, &mut FacetsOf<S>) + Send + 'static) -> Self {
        self.settings.enrich = Some(Box::new(enrich));
        self
    }

    /// Classifies events in place of [`Event::class`]. The rule may change at run time: let it read a shared value.
    pub fn classify(
        mut self,
        mut classify: impl FnMut(&EventOf<S>) -> Class<<EventOf<S> as Event>::Key> + Send + 'static,
    ) -> Self {
        let rule = move |event: &EventOf<S>, _: Option<&S>| classify(event);
        self.settings.classify = Classifier::Rule(Box::new(rule));
        self
    }

    /// As [`classify`](LaneBuilder::classify), by the newest published state: which pane is visible, for instance.
    pub fn classify_by(
        mut self,
        mut classify: impl FnMut(&EventOf<S>, &S) -> Class<<EventOf<S> as Event>::Key> + Send + 'static,
    ) -> Self {
        let rule = move |event: &EventOf<S>, newest: Option<&S>| match newest {
            Some(state) => classify(event, state),
            None => unreachable!("a lane that asks the state has a reader"),
        };
        self.settings.classify = Classifier::ByState(Box::new(rule));
        self
    }

    /// Opens the lane.
    ///
    /// # Errors
    /// When a setting is out of its range, or the pipeline has shut down.
    pub fn open(self) -> Result<Lane<EventOf<S>>, Error> {
        self.open_as(true)
    }

    fn open_as(self, foreign: bool) -> Result<Lane<EventOf<S>>, Error> {
        self.validate()?;
        let Self { hub, name, settings } = self;
        let core = hub.core.clone();
        if core.is_closing() {
            return Err(Error::Closed);
        }
        let id = LaneId(core.next_lane());
        let origin = settings.origin.unwrap_or(id.origin());
        let rank = settings.rank.unwrap_or(origin.rank());
        let parker = Parker::new();
        let unparker = parker.unparker().clone();
        #[cfg(feature = "control")]
        let tasks = Arc::new(Notifications::new());
        #[cfg(feature = "control")]
        let (waiting, sleeper) = (tasks.clone(), core.sleeper.clone());
        let shared = Arc::new(LaneShared {
            gate: Gate::new(core.store_load),
            counts: Arc::new(LaneCounts::new()),
            room: Bell::new(core.store_load, move || {
                unparker.unpark();
                #[cfg(feature = "control")]
                sleeper.tell(&waiting);
            }),
            #[cfg(feature = "control")]
            tasks,
        });
        let (producer, consumer) = ring::ring(settings.capacity, settings.clocked);
        let (table, taker) = table::table(settings.keys);
        let Settings { facets, enrich, classify, .. } = settings;
        let preparing = Preparing::of_lane(&hub, origin, facets, enrich, classify, shared.counts.clone());
        let end =
            LaneEnd::new(id, name.clone(), origin, rank, settings.clocked, foreign, shared.clone(), consumer, taker);
        let chunk = if preparing.is_some() { Preparation::<EventOf<S>>::CHUNK } else { 0 };
        let bytes = bytes_of::<EventOf<S>>(settings.capacity, settings.keys, settings.clocked, chunk);
        core.book.lock().opened(id, name.clone(), shared.counts.clone(), bytes);
        if hub.mailbox.post(Letter::Lane(Box::new(end))).is_err() {
            core.book.lock().closed(id);
            return Err(Error::Closed);
        }
        core.report(Diagnostic::LaneOpened { lane: id, name: name.clone() });
        core.bell.ring();
        Ok(Lane {
            id,
            name,
            shared,
            ring: producer,
            table: Coalescer::new(table, settings.keys),
            is_quick: preparing.is_none() && core.store_load == QUICK,
            aside: None,
            preparing,
            order: if settings.clocked { Order::Clocked } else { Order::Unclocked },
            lossy_sequence: 0,
            overflow: settings.overflow,
            parker,
            patience: Patience::default(),
            core,
        })
    }

    fn validate(&self) -> Result<(), Error> {
        let Settings { capacity, keys, .. } = self.settings;
        let lane = || self.name.to_string();
        if self.name.is_empty() {
            return Err(Error::UnnamedLane);
        }
        if !(1..=CAPACITY_MAX).contains(&capacity) {
            return Err(Error::Capacity { lane: lane(), capacity, most: CAPACITY_MAX });
        }
        if !(1..=KEYS_MAX).contains(&keys) {
            return Err(Error::Keys { lane: lane(), keys, most: KEYS_MAX });
        }
        Ok(())
    }
}

/// How many bytes the slots of a lane take: those of its ring, with the records of their keys, two pages of its table, and those in which the
/// events of batches are prepared.
fn bytes_of<E: Event>(capacity: usize, keys: usize, clocked: bool, chunk: usize) -> u64 {
    let records = if clocked { 2 * size_of::<u64>() } else { 0 };
    let ring = (capacity.next_power_of_two() + chunk) * size_of::<Item<E>>() + capacity * records;
    (ring + 2 * keys * size_of::<Option<Unread<Item<E>>>>()) as u64
}

/// Opens a lane with a thread of mainlane's behind it.
#[must_use = "an ingestion thread is started by `start`"]
pub struct IngestBuilder<'a, S: Reducer, R: Source> {
    lane: LaneBuilder<S>,
    ingest: Ingest<R>,
    /// Where to put the start until the pipeline is built; `None` to start at once.
    later: Option<&'a Mutex<Vec<Start>>>,
}

impl<'a, S: Reducer, R: Source<Event = S::Event>> IngestBuilder<'a, S, R> {
    pub(crate) fn new(lane: LaneBuilder<S>, source: R, later: Option<&'a Mutex<Vec<Start>>>) -> Self {
        let ingest =
            Ingest { source, factory: None, restart: Restart::NEVER, idle: IdleStrategy::PARK, pin: None, chunk: 0 };
        Self { lane, ingest, later }
    }

    pub(crate) fn from_factory(
        lane: LaneBuilder<S>,
        mut factory: impl FnMut() -> Result<R, SourceError> + Send + 'static,
        later: Option<&'a Mutex<Vec<Start>>>,
    ) -> Result<Self, SourceError> {
        let mut builder = Self::new(lane, factory()?, later);
        builder.ingest.factory = Some(Box::new(factory));
        Ok(builder)
    }

    /// Asks for a core. If it cannot be had the thread runs unpinned, and that is reported.
    pub fn pin(mut self, core: usize) -> Self {
        self.ingest.pin = Some(core);
        self
    }

    /// What the thread does when the source has nothing. Default: [`IdleStrategy::PARK`].
    pub fn idle(mut self, idle: IdleStrategy) -> Self {
        self.ingest.idle = idle;
        self
    }

    /// How often a source that was given as a factory is made anew after it panicked or failed. Default: never.
    pub fn restart(mut self, restart: Restart) -> Self {
        self.ingest.restart = restart;
        self
    }

    /// The lane's other settings.
    pub fn lane(mut self, settings: impl FnOnce(LaneBuilder<S>) -> LaneBuilder<S>) -> Self {
        self.lane = settings(self.lane);
        self
    }

    /// Slots of the lane's ring, see [`LaneBuilder::capacity`]. A poll that emits more is published in several parts.
    pub fn capacity(self, slots: usize) -> Self {
        self.lane(|lane| lane.capacity(slots))
    }

    /// Keys of the lane's table, see [`LaneBuilder::keys`].
    pub fn keys(self, keys: usize) -> Self {
        self.lane(|lane| lane.keys(keys))
    }

    /// Who its events are about, see [`LaneBuilder::origin`].
    pub fn origin(self, origin: Origin) -> Self {
        self.lane(|lane| lane.origin(origin))
    }

    /// Opens the lane, and starts the thread: at once on a running pipeline, else when it is built. Returns which lane
    /// it is.
    ///
    /// # Errors
    /// When a setting is out of its range or ignored (`Overflow::Return`, for an ingestion thread has nobody to return
    /// an event to; a restart policy without a factory), when the system refuses the thread, or when the pipeline has
    /// shut down.
    pub fn start(self) -> Result<LaneId, Error> {
        let Self { mut lane, mut ingest, later } = self;
        if lane.settings.overflow == Overflow::Return {
            return Err(Error::Ignored { lane: lane.name.to_string(), setting: "overflow", why: IGNORED_OVERFLOW });
        }
        if ingest.restart != Restart::NEVER && ingest.factory.is_none() {
            return Err(Error::Ignored { lane: lane.name.to_string(), setting: "restart", why: IGNORED_RESTART });
        }
        // Ranges are looked at first, so that nothing half-open is left behind.
        lane.validate()?;
        lane.settings.overflow = Overflow::Wait;
        ingest.chunk = lane.settings.capacity;
        let core = lane.hub.core.clone();
        let lane = lane.open_as(false)?;
        let id = lane.id();
        match later {
            None => ingest::start(&core, lane, ingest)?,
            Some(later) => later.lock().push(Box::new(move || ingest::start(&core, lane, ingest))),
        }
        Ok(id)
    }
}

const IGNORED_OVERFLOW: &str = "an ingestion thread has nobody to return an event to; it waits";
const IGNORED_RESTART: &str = "there is no way to make the source anew; use `ingest_with` and give a factory";

impl<S: Reducer> std::fmt::Debug for LaneBuilder<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LaneBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<S: Reducer, R: Source> std::fmt::Debug for IngestBuilder<'_, S, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IngestBuilder").field("lane", &self.lane).finish_non_exhaustive()
    }
}

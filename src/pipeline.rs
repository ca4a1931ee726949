//! The one place where lanes, the main lane and its threads are wired.

use std::fmt;
use std::sync::Arc;

use crossbeam_utils::sync::Parker;

use crate::core::Core;
use crate::error::Error;
use crate::event::OperationId;
use crate::hub::{Hub, Letter};
use crate::lane::builder::{IngestBuilder, LaneBuilder, Start};
use crate::lane::source::{Source, SourceError};
use crate::mailbox::Mailbox;
use crate::main_lane::MainLane;
use crate::main_lane::publish::{Publish, WakeHook};
use crate::main_lane::reconcile::Reconciler;
use crate::main_lane::reduce::Reducer;
use crate::observe::counters::Counters;
use crate::observe::diagnostic::{Diagnostics, Reporter};
use crate::snapshot::{Published, Reader, WakingReader};
use crate::sync::AtomicBool;
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
    /// main_lane.turn(Budget::millis(2))?;
    /// assert_eq!((reader.load().warmest, reader.load().alarms), (21.5, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder<S: Reducer>(state: S) -> Builder<S> {
        let parker = Parker::new();
        let (reporter, diagnostics) = Reporter::new();
        let core = Arc::new(Core::new(parker.unparker().clone(), reporter));
        // The state that the pipeline is built with is its first snapshot.
        core.counts.snapshots.add(1);
        let published = Arc::new(Published::new(state.clone()));
        let hub = Arc::new(Hub { core, published, mailbox: Mailbox::new(), diagnostics });
        Builder {
            ends: Some(Ends { parker, state, reconciler: None }),
            hub,
            publish: Publish::EveryTurn,
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
    /// Ingestion threads to start.
    pub(crate) starts: parking_lot::Mutex<Vec<Start>>,
}

struct Ends<S: Reducer> {
    parker: Parker,
    state: S,
    reconciler: Option<Box<dyn Reconciler<S>>>,
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
    /// When the system refuses a thread. What was started is stopped again.
    pub fn build(mut self) -> Result<(MainLane<S>, Handle<S>), Error> {
        for start in std::mem::take(&mut *self.starts.lock()) {
            start()?;
        }
        let Some(Ends { parker, state, reconciler }) = self.ends.take() else {
            unreachable!("`build` takes the builder")
        };
        let main_lane = MainLane::new(self.hub.clone(), parker, state, self.publish, reconciler);
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

    /// Notes about whatever is out of the ordinary.
    pub fn diagnostics(&self) -> Diagnostics {
        self.hub.diagnostics.clone()
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

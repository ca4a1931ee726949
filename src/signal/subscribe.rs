//! How a subscription is made: what matches, how much may wait, what happens beyond that, and who takes the signals.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_utils::sync::Unparker;

use crate::backoff::{A_YEAR, Backoff};
use crate::event::{Event, OperationId};
use crate::lane::Lane;
use crate::latch::Latch;
use crate::origin::Origin;
use crate::signal::bus::Bus;
use crate::signal::error::SignalError;
use crate::signal::family::{Filter, KeyOf, Sink};
use crate::signal::handler::{Handler, Handling, ToLane};
use crate::signal::inbox::{Inbox, Mail};
use crate::signal::policy::{Full, OnFailure, WAITING, WAITING_MAX};
use crate::signal::reader::SignalReader;
use crate::signal::sent::Sent;
use crate::signal::source::SignalSource;
use crate::signal::status::SubscriberStatus;
use crate::signal::{Patient, Signal};

/// A subscription that is being made: [`Bus::subscribe`].
#[must_use = "nothing is subscribed until it is said who takes the signals"]
pub struct Subscribe<'a, T: Signal, K = ()> {
    bus: &'a Bus,
    name: Arc<str>,
    waiting: usize,
    full: Full,
    source: Option<Origin>,
    operation: Option<OperationId>,
    filter: Option<Filter<T>>,
    key: Option<KeyOf<T, K>>,
    on_failure: Option<OnFailure>,
}

impl<'a, T: Signal> Subscribe<'a, T> {
    pub(crate) fn new(bus: &'a Bus, name: Arc<str>) -> Self {
        let (waiting, full) = (WAITING, Full::DropOldest);
        Self { bus, name, waiting, full, source: None, operation: None, filter: None, key: None, on_failure: None }
    }

    /// A newer signal of the same key takes in the one that waits, so that the newest of each key is always there and memory is bounded
    /// by the number of keys. When the queue is full of other keys, the one that has waited longest is dropped.
    ///
    /// `key` runs on the dispatcher's thread. A signal of which it panics is dropped, and the subscriber told. Keys are compared while
    /// the subscription is locked, so a comparison must not use the bus.
    pub fn coalesce_by_key<K>(self, key: impl FnMut(&Sent<T>) -> K + Send + 'static) -> Subscribe<'a, T, K>
    where
        K: Eq + Hash + Send + 'static,
    {
        let Self { bus, name, waiting, source, operation, filter, on_failure, .. } = self;
        let (full, key) = (Full::CoalesceByKey, Some(Box::new(key) as KeyOf<T, K>));
        Subscribe { bus, name, waiting, full, source, operation, filter, key, on_failure }
    }

    /// When the queue is full the oldest signal makes room. This is what holds unless something else is said.
    pub fn drop_oldest(self) -> Self {
        self.when_full(Full::DropOldest)
    }

    /// When the queue is full the newest signal is dropped.
    pub fn drop_newest(self) -> Self {
        self.when_full(Full::DropNewest)
    }

    /// When the queue is full, as many signals again are kept aside and move up as room is made; see [`Full::Retry`].
    pub fn retry(self, tries: u32, backoff: Backoff) -> Self {
        self.when_full(Full::Retry { tries, backoff })
    }

    /// What is said last holds, also when signals were to be coalesced by a key that is `()`.
    fn when_full(mut self, full: Full) -> Self {
        (self.full, self.key) = (full, None);
        self
    }
}

impl<T: Patient> Subscribe<'_, T> {
    /// When the queue is full, whoever publishes in this family waits or gets the signal back, for as long as `patience` without a read;
    /// then the newest are dropped until something is read.
    ///
    /// Nobody waits for ever, and nobody waits for himself: see [`publish_within`](crate::signal::SignalOutlet::publish_within). In a
    /// family that is not [`Patient`], the engine's diagnostics for one, this does not compile.
    pub fn block(self, patience: Duration) -> Self {
        self.when_full(Full::Block { patience })
    }
}

impl<'a, T: Signal, K> Subscribe<'a, T, K>
where
    K: Eq + Hash + Send + 'static,
{
    /// How many signals may wait. Default: [`WAITING`]. One that waits keeps those that were handed on together with it, 64 at most, also
    /// if they do not match: what a filter picks from many may keep that much more memory.
    pub fn waiting(mut self, signals: usize) -> Self {
        self.waiting = signals;
        self
    }

    /// Only signals from this source.
    pub fn from(mut self, source: Origin) -> Self {
        self.source = Some(source);
        self
    }

    /// Only signals that are a part of this operation: whose [cause](Sent::cause) names it.
    ///
    /// Its end may have been published before; `register::OperationFollower` (feature `register`) learns it all the same.
    pub fn operation(mut self, operation: OperationId) -> Self {
        self.operation = Some(operation);
        self
    }

    /// Only signals of which `filter` says so. It runs on the dispatcher's thread, for each signal of the family: keep it short. A signal
    /// on which it panics passes.
    pub fn filter(mut self, filter: impl FnMut(&Sent<T>) -> bool + Send + 'static) -> Self {
        self.filter = Some(Box::new(filter));
        self
    }

    /// What happens when the handler fails or panics. Default: [`OnFailure::Skip`]; for [`into_lane`](Subscribe::into_lane) it is
    /// to try again for as long as it takes.
    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = Some(on_failure);
        self
    }

    /// Opens the subscription, for whoever reads by himself: in a loop, on a thread, or as an async stream.
    ///
    /// Whatever is published after this has returned reaches it; what was published just before may.
    ///
    /// # Errors
    /// When a setting is out of its range, or the bus was shut down.
    pub fn reader(self) -> Result<SignalReader<T>, SignalError> {
        if self.on_failure.is_some() {
            return Err(SignalError::Unused { name: self.name, setting: "on_failure" });
        }
        self.open()
    }

    fn open(self) -> Result<SignalReader<T>, SignalError> {
        let Self { bus, name, waiting, full, source, operation, filter, key, .. } = self;
        if !(1..=WAITING_MAX).contains(&waiting) {
            return Err(SignalError::Waiting { name, asked: waiting });
        }
        if bus.is_closed() {
            return Err(SignalError::Closed);
        }
        let hub = bus.family::<T>();
        let inbox = Arc::new(Inbox::<T, K>::new(name.clone(), full, waiting, hub.caller()));
        let mail: Arc<dyn Mail<T>> = inbox.clone();
        let is_meant = move |sent: &Sent<T>| {
            source.is_none_or(|source| sent.source == source)
                && operation.is_none_or(|operation| sent.cause().operation == Some(operation))
        };
        let filter: Option<Filter<T>> = match filter {
            filter if source.is_none() && operation.is_none() => filter,
            None => Some(Box::new(is_meant)),
            // The host's is asked about those alone that are meant.
            Some(mut filter) => Some(Box::new(move |sent| is_meant(sent) && filter(sent))),
        };
        let patience = match full {
            // It is added to a moment.
            Full::Block { patience } => Some(patience.min(A_YEAR)),
            _ => None,
        };
        let sink = Sink {
            name,
            inbox,
            filter,
            key,
            patience,
            keeps_aside: matches!(full, Full::Retry { .. }),
            hash: Default::default(),
            matches: Vec::new(),
            fallen: Default::default(),
            blocks_since: None,
            lags: false,
        };
        hub.join(Box::new(sink));
        Ok(SignalReader::new(mail))
    }

    /// Calls `handler` with each signal, on the thread of this name. All handlers that name the same thread share it; the bus starts it
    /// and, in the end, joins it. It stays as long as the bus does, also without handlers: name few.
    ///
    /// # Errors
    /// As [`reader`](Subscribe::reader), or when the system refuses the thread.
    pub fn on_thread(
        mut self,
        thread: impl Into<Arc<str>>,
        handler: impl Handler<T>,
    ) -> Result<Subscription<T>, SignalError> {
        let (bus, name) = (self.bus, self.name.clone());
        let on_failure = self.on_failure.take().unwrap_or_default();
        let reader = self.open()?;
        let mail = reader.mail().clone();
        let stop = Arc::new(Latch::default());
        let handling = Handling {
            name: name.clone(),
            reader,
            handler,
            on_failure,
            notices: bus.notices(),
            stop: stop.clone(),
            again: None,
        };
        let woken = mail.clone();
        let unparker = bus.hand(&thread.into(), Box::new(handling))?;
        let its = unparker.clone();
        woken.hook(Arc::new(move || its.unpark()));
        Ok(Subscription { mail, unparker, stop: Some(stop) })
    }

    /// Turns signals into events of a lane: the one way in which a signal changes a state. `map` runs on the thread of this name, as a
    /// [handler](Subscribe::on_thread) does; what it answers is pushed.
    ///
    /// Critical events that find the lane full are tried again, and not lost, unless [`on_failure`](Subscribe::on_failure) says otherwise;
    /// the signals behind them wait. When the lane's pipeline has shut down, the subscription ends.
    ///
    /// # Errors
    /// As [`on_thread`](Subscribe::on_thread).
    pub fn into_lane<E: Event>(
        mut self,
        thread: impl Into<Arc<str>>,
        lane: Lane<E>,
        map: impl FnMut(&Sent<T>) -> Option<E> + Send + 'static,
    ) -> Result<Subscription<T>, SignalError> {
        let backoff = Backoff::between(Duration::from_millis(1), Duration::from_millis(50));
        self.on_failure.get_or_insert(OnFailure::Retry { tries: u32::MAX, backoff });
        self.on_thread(thread, ToLane::new(lane, map))
    }

    /// Turns signals into events on a lane's own ingestion thread: a source for [`Builder::ingest`](crate::Builder::ingest) or
    /// [`Handle::ingest`](crate::Handle::ingest).
    ///
    /// # Errors
    /// As [`reader`](Subscribe::reader).
    pub fn source<E, F>(self, map: F) -> Result<SignalSource<T, E, F>, SignalError>
    where
        E: Event,
        F: FnMut(&Sent<T>) -> Option<E> + Send + 'static,
    {
        Ok(SignalSource::new(self.reader()?, map))
    }
}

impl<T: Signal, K> fmt::Debug for Subscribe<'_, T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscribe")
            .field("family", &T::FAMILY)
            .field("name", &self.name)
            .field("waiting", &self.waiting)
            .field("full", &self.full)
            .finish_non_exhaustive()
    }
}

/// A subscription whose signals a handler takes. Dropping it ends the subscription; a call that is under way comes to its end.
#[must_use = "dropping it ends the subscription; `keep` leaves it to the bus"]
pub struct Subscription<T: Signal> {
    mail: Arc<dyn Mail<T>>,
    unparker: Unparker,
    /// `None` when it is the bus's to end.
    stop: Option<Arc<Latch>>,
}

impl<T: Signal> Subscription<T> {
    /// Leaves the subscription open for as long as the bus is.
    pub fn keep(mut self) {
        self.stop = None;
    }

    /// What became of its signals.
    pub fn status(&self) -> SubscriberStatus {
        self.mail.status()
    }
}

impl<T: Signal> Drop for Subscription<T> {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop.set();
            self.mail.leave();
            self.unparker.unpark();
        }
    }
}

impl<T: Signal> fmt::Debug for Subscription<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("family", &T::FAMILY).finish_non_exhaustive()
    }
}

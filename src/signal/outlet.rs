//! Where signals are published.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backoff::A_YEAR;
use crate::main_lane::budget::Budget;
use crate::notifications::listen;
use crate::origin::Origin;
use crate::signal::bus::Shared;
use crate::signal::family::{BATCH, FamilyHub};
use crate::signal::inlet::Unput;
use crate::signal::nowait;
use crate::signal::sent::Cause;
use crate::signal::{Patient, Signal};
use crate::sync::{AtomicU64, CachePadded, Ordering::Relaxed};

/// Publishes signals of one family, from one source. Any thread may have one; a clone for each costs less than sharing one.
///
/// A publication costs the same however many there are to hear it: the signal goes into the family's queue, and the dispatcher
/// hands it on. To nobody it costs a look and a count.
pub struct SignalOutlet<T: Signal> {
    hub: Arc<FamilyHub<T>>,
    source: Origin,
    counts: Arc<OutletCounts>,
    /// Of one that hands on by itself.
    direct: Option<Arc<Shared>>,
}

/// What one outlet counts: on a line of its own.
#[derive(Default)]
pub(crate) struct OutletCounts(CachePadded<Published>);

#[derive(Default)]
struct Published {
    published: AtomicU64,
    unheard: AtomicU64,
}

impl OutletCounts {
    /// Published, and published to nobody.
    pub(crate) fn read(&self) -> (u64, u64) {
        (self.0.published.load(Relaxed), self.0.unheard.load(Relaxed))
    }
}

/// Of how many signals of each outlet the time is noted, until it is of one in eight.
pub const TIMED_ALL: u64 = 256;

/// Whether the time of an outlet's signal is noted. By the golden ratio: evenly, and in step with no burst.
#[inline]
fn is_timed(number: u64) -> bool {
    number < TIMED_ALL || number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 61 == 0
}

/// A signal on its way from an outlet to the dispatcher.
pub(crate) struct Entry<T> {
    pub(crate) signal: T,
    pub(crate) source: Origin,
    pub(crate) cause: Cause,
    pub(crate) published: Option<Instant>,
}

/// A signal that was not published, handed back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Unpublished<T> {
    /// The dispatcher is behind, and the family's queue is full. Counted, and every subscriber is told that there was one.
    Full(T),
    /// The bus was shut down.
    Closed(T),
    /// Waiting here might never end: this thread runs the dispatcher, a handler, or a main lane's effects. Counted as `Full` is.
    MayNotWait(T),
}

impl<T> Unpublished<T> {
    /// The signal.
    pub fn into_signal(self) -> T {
        match self {
            Self::Full(signal) | Self::Closed(signal) | Self::MayNotWait(signal) => signal,
        }
    }
}

impl<T> fmt::Display for Unpublished<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => {
                "the family's queue is full: its dispatcher is behind, or a subscriber that blocks does not read"
            }
            Self::Closed(_) => "the bus was shut down",
            Self::MayNotWait(_) => {
                "the family's queue is full, and this thread may not wait: what it does makes the room"
            }
        })
    }
}

impl<T> fmt::Debug for Unpublished<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::Closed(_) => "Closed(..)",
            Self::MayNotWait(_) => "MayNotWait(..)",
        })
    }
}

impl<T> std::error::Error for Unpublished<T> {}

impl<T: Signal> SignalOutlet<T> {
    pub(crate) fn new(hub: Arc<FamilyHub<T>>, source: Origin, direct: Option<Arc<Shared>>) -> Self {
        let counts = hub.outlet_counts();
        Self { hub, source, counts, direct }
    }

    /// Publishes a signal, and never waits.
    ///
    /// # Errors
    /// The signal, when the dispatcher is behind or the bus was shut down.
    #[inline]
    pub fn publish(&self, signal: T) -> Result<(), Unpublished<T>> {
        self.publish_with(Cause::NONE, || signal)
    }

    /// Publishes a signal that something led to.
    ///
    /// # Errors
    /// As [`publish`](SignalOutlet::publish).
    #[inline]
    pub fn publish_because(&self, cause: Cause, signal: T) -> Result<(), Unpublished<T>> {
        self.publish_with(cause, || signal)
    }

    /// Publishes a signal that is made only if there is somebody to hear it.
    ///
    /// # Errors
    /// As [`publish`](SignalOutlet::publish).
    #[inline]
    pub fn publish_with(&self, cause: Cause, signal: impl FnOnce() -> T) -> Result<(), Unpublished<T>> {
        if !self.has_listeners() {
            return Ok(());
        }
        self.put(self.entry(cause, signal())).map_err(|unput| self.unpublished(unput))
    }

    /// Counts a signal that nobody hears.
    #[inline]
    fn has_listeners(&self) -> bool {
        let is_heard = self.hub.inlet.is_heard();
        if !is_heard {
            self.counts.0.unheard.fetch_add(1, Relaxed);
        }
        is_heard
    }

    /// Counts a signal for which there was no room.
    #[cold]
    fn unpublished(&self, unput: Unput<Entry<T>>) -> Unpublished<T> {
        match unput {
            Unput::Closed(entry) => Unpublished::Closed(entry.signal),
            Unput::Full(entry) => {
                self.refuse();
                Unpublished::Full(entry.signal)
            }
        }
    }

    fn refuse(&self) {
        self.hub.inlet.refuse(&self.hub.bus.bell, self.hub.bus.store_load);
    }

    fn entry(&self, cause: Cause, signal: T) -> Entry<T> {
        let published = is_timed(self.counts.0.published.load(Relaxed)).then(Instant::now);
        Entry { signal, source: self.source, cause, published }
    }

    #[inline]
    fn put(&self, entry: Entry<T>) -> Result<(), Unput<Entry<T>>> {
        match &self.direct {
            None => self.hub.inlet.put(entry, &self.hub.bus.bell)?,
            Some(shared) => {
                self.hub.inlet.put_in_silence(entry, self.hub.bus.store_load)?;
                hand_on(shared);
            }
        }
        self.counts.0.published.fetch_add(1, Relaxed);
        Ok(())
    }

    /// True when somebody listens now.
    pub fn is_heard(&self) -> bool {
        self.hub.inlet.is_heard()
    }

    /// Who is named as the source.
    pub fn source(&self) -> Origin {
        self.source
    }
}

/// Does the dispatcher's work, unless somebody is at it: then it is the dispatcher's to see to.
fn hand_on(shared: &Shared) {
    // Where nobody may wait, nobody does others' work either.
    let turns = if nowait::is_here() { None } else { shared.turns.try_lock() };
    let Some(guard) = turns else { return shared.core.bell.ring() };
    let Ok(mut turns) = guard.try_borrow_mut() else { return shared.core.bell.ring() };
    let before = turns.due;
    let dispatched = turns.turn(shared, Budget::events(BATCH));
    drop(turns);
    drop(guard);
    shared.end_if_left();
    // The dispatcher goes on with the rest, and keeps the times.
    if dispatched.more || dispatched.due != before {
        shared.core.wake();
    }
}

impl<T: Patient> SignalOutlet<T> {
    /// Publishes a signal, and waits up to `patience` while the family's queue is full.
    ///
    /// Refused, as [`MayNotWait`](Unpublished::MayNotWait), where the wait might be for the waiting thread itself: in a handler, in a
    /// filter, in the callback of [`drain`](crate::signal::SignalReader::drain), on the thread that takes the dispatcher's turns, and in
    /// a reconciler.
    ///
    /// # Errors
    /// The signal, when there was no room in time, the bus was shut down, or this thread may not wait.
    pub fn publish_within(&self, patience: Duration, cause: Cause, signal: T) -> Result<(), Unpublished<T>> {
        if !self.has_listeners() {
            return Ok(());
        }
        let deadline = Instant::now() + patience.min(A_YEAR);
        let mut entry = self.entry(cause, signal);
        loop {
            // Listens before it looks, so that whoever makes room after the look wakes it.
            listen!(self.hub.room => room);
            entry = match self.put(entry) {
                Ok(()) => return Ok(()),
                Err(Unput::Full(entry)) => entry,
                Err(unput) => return Err(self.unpublished(unput)),
            };
            if nowait::is_here() {
                self.refuse();
                return Err(Unpublished::MayNotWait(entry.signal));
            }
            if room.wait_deadline(deadline).is_none() {
                return Err(self.unpublished(Unput::Full(entry)));
            }
        }
    }

    /// As [`publish_within`](SignalOutlet::publish_within), for tasks: waits as long as it takes, without holding up its thread. Dropping
    /// the future drops the signal. Needs no runtime. Not to be blocked on where `publish_within` is refused: that might wait for itself.
    ///
    /// # Errors
    /// The signal, when the bus was shut down.
    pub async fn publish_async(&self, cause: Cause, signal: T) -> Result<(), Unpublished<T>> {
        if !self.has_listeners() {
            return Ok(());
        }
        let mut entry = self.entry(cause, signal);
        loop {
            listen!(self.hub.room => room);
            entry = match self.put(entry) {
                Ok(()) => return Ok(()),
                Err(Unput::Full(entry)) => entry,
                Err(unput) => return Err(self.unpublished(unput)),
            };
            room.await;
        }
    }
}

impl<T: Signal> Clone for SignalOutlet<T> {
    fn clone(&self) -> Self {
        Self::new(self.hub.clone(), self.source, self.direct.clone())
    }
}

impl<T: Signal> Drop for SignalOutlet<T> {
    fn drop(&mut self) {
        self.hub.outlet_gone(&self.counts);
    }
}

impl<T: Signal> fmt::Debug for SignalOutlet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignalOutlet")
            .field("family", &T::FAMILY)
            .field("source", &format_args!("{}", self.source))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::Ordering::SeqCst;

    struct Rare;

    impl Signal for Rare {
        const FAMILY: &'static str = "rare";
        const CAPACITY: usize = 1;
    }

    #[test]
    fn what_is_refused_after_all_was_taken_is_told_to_a_dispatcher_that_sleeps() {
        let calls = Arc::new(AtomicU64::new(0));
        let counted = calls.clone();
        let on_input = move || {
            counted.fetch_add(1, SeqCst);
        };
        let (mut dispatcher, bus) = crate::signal::Bus::builder().on_input(on_input).build();
        let mut reader = bus.subscribe::<Rare>("reads").reader().unwrap();
        let outlet = bus.outlet::<Rare>(Origin::built_in("test", 0));
        assert!(outlet.publish(Rare).is_ok());
        // A publisher that found no room, and is held up before it says so.
        let Err(unput) = outlet.put(outlet.entry(Cause::NONE, Rare)) else { panic!("there is no room") };
        dispatcher.turn(Budget::UNLIMITED);
        assert!(reader.next_waiting().is_some());
        assert!(!dispatcher.arm_input());
        let before = calls.load(SeqCst);
        assert!(matches!(outlet.unpublished(unput), Unpublished::Full(Rare)));
        assert_eq!(calls.load(SeqCst), before + 1);
        dispatcher.turn(Budget::UNLIMITED);
        let Some(crate::signal::Delivery::Missed(missed)) = reader.next_waiting() else { panic!("it is told nothing") };
        assert_eq!(missed.refused, 1);
    }

    #[test]
    fn one_signal_in_eight_is_timed_and_none_of_a_burst_more_than_the_others() {
        assert!((0..TIMED_ALL).all(is_timed));
        for burst in [1, 2, 7, 8, 16, 64, 100, 512, 1024] {
            for at in [0, 1, burst / 2, burst - 1] {
                let timed = (1..8_001).filter(|round| is_timed(TIMED_ALL + round * burst + at)).count();
                assert!((900..1_100).contains(&timed), "{timed} of 8,000, at {at} in bursts of {burst}");
            }
        }
    }
}

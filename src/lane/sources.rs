//! Sources that most hosts need: a timer, a ring that a foreign callback fills, and a closure.

use std::fmt;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use crate::event::Event;
use crate::lane::source::{Interrupt, Outlet, Polled, Source, SourceError};
use crate::sync::{Mutex, spsc};

/// Emits an event at fixed moments. A moment that was missed is skipped, not made up for.
pub struct TimerSource<F> {
    period: Duration,
    /// `None` for a moment that no clock will show.
    next: Option<Instant>,
    tick: F,
}

impl<F> TimerSource<F> {
    /// Emits what `tick` makes, every `period`, for the first time after one period.
    pub fn every(period: Duration, tick: F) -> Self {
        Self { period, next: Instant::now().checked_add(period), tick }
    }
}

impl<E: Event, F: FnMut() -> E + Send + 'static> Source for TimerSource<F> {
    type Event = E;

    fn poll(&mut self, outlet: &mut Outlet<E>) -> Result<Polled, SourceError> {
        let Some(next) = self.next else { return Ok(Polled::Idle) };
        let now = Instant::now();
        if now < next {
            return Ok(Polled::Until(next));
        }
        outlet.push((self.tick)());
        self.next = next_after(next, self.period, now);
        Ok(Polled::Ready)
    }
}

/// The first moment of the row that begins at `start` which is after `now`.
fn next_after(start: Instant, period: Duration, now: Instant) -> Option<Instant> {
    let period = period.max(Duration::from_nanos(1));
    let missed = now.duration_since(start).as_nanos() / period.as_nanos();
    let steps = u32::try_from(missed).unwrap_or(u32::MAX).saturating_add(1);
    start.checked_add(period.saturating_mul(steps))
}

impl<F> fmt::Debug for TimerSource<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimerSource").field("period", &self.period).finish_non_exhaustive()
    }
}

/// A ring between a foreign callback, which only ever pushes raw values, and an ingestion thread, which turns them into
/// events. For callbacks that must not wait and must not run a host's code: audio, interrupts, foreign libraries.
///
/// `normalise` makes an event of a raw value, or `None` to leave it out. Memory is taken at once, for the next power of two of `capacity`,
/// and for one value if that is zero.
///
/// # Panics
/// When so many values take more bytes than one allocation can have.
pub fn ring_source<R, F>(capacity: usize, normalise: F) -> (Feeder<R>, RingSource<R, F>)
where
    R: Send + 'static,
{
    let (producer, consumer) = spsc::ring(capacity.max(1));
    (Feeder { ring: producer }, RingSource { ring: consumer, normalise })
}

/// The callback's end of a [`RingSource`]. Dropping it ends the source once everything in the ring is taken.
///
/// It can be sent to another thread, but not shared:
///
/// ```compile_fail
/// fn shared<T: Sync>() {}
/// shared::<mainlane::Feeder<u32>>();
/// ```
pub struct Feeder<R> {
    ring: spsc::Producer<R>,
}

impl<R> Feeder<R> {
    /// Hands over a raw value. Never waits, never allocates.
    ///
    /// # Errors
    /// The value, when the ring is full.
    pub fn push(&mut self, raw: R) -> Result<(), R> {
        self.ring.push(raw)
    }
}

impl<R> fmt::Debug for Feeder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feeder").finish_non_exhaustive()
    }
}

/// The ingestion thread's end of a ring that a [`Feeder`] fills.
pub struct RingSource<R, F> {
    ring: spsc::Consumer<R>,
    normalise: F,
}

impl<R, E, F> Source for RingSource<R, F>
where
    R: Send + 'static,
    E: Event,
    F: FnMut(R) -> Option<E> + Send + 'static,
{
    type Event = E;

    fn poll(&mut self, outlet: &mut Outlet<E>) -> Result<Polled, SourceError> {
        // Asked before the look: what is visible after a yes is all there will be.
        let abandoned = self.ring.is_abandoned();
        // No more than is there now, so that one poll ends.
        let visible = self.ring.visible();
        for _ in 0..visible {
            let Some(raw) = self.ring.pop() else { break };
            if let Some(event) = (self.normalise)(raw) {
                outlet.push(event);
            }
        }
        Ok(match visible {
            _ if abandoned => Polled::Done,
            0 => Polled::Idle,
            _ => Polled::Ready,
        })
    }
}

impl<R, F> fmt::Debug for RingSource<R, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingSource").finish_non_exhaustive()
    }
}

/// A source that blocks in a call of its own, such as a read from a socket.
///
/// `poll` is called again and again; `interrupt` must make a call under way return soon.
pub struct BlockingSource<E, P> {
    poll: P,
    interrupt: Mutex<Option<Interrupt>>,
    event: PhantomData<fn(E)>,
}

impl<E, P> BlockingSource<E, P>
where
    E: Event,
    P: FnMut(&mut Outlet<E>) -> Result<Polled, SourceError> + Send + 'static,
{
    /// Polls with `poll`, which may block until `interrupt` is called.
    pub fn new(poll: P, interrupt: impl Fn() + Send + Sync + 'static) -> Self {
        Self { poll, interrupt: Mutex::new(Some(Box::new(interrupt))), event: PhantomData }
    }
}

impl<E, P> Source for BlockingSource<E, P>
where
    E: Event,
    P: FnMut(&mut Outlet<E>) -> Result<Polled, SourceError> + Send + 'static,
{
    type Event = E;

    fn poll(&mut self, outlet: &mut Outlet<E>) -> Result<Polled, SourceError> {
        (self.poll)(outlet)
    }

    fn interrupt(&self) -> Option<Interrupt> {
        self.interrupt.lock().take()
    }
}

impl<E, P> fmt::Debug for BlockingSource<E, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingSource").finish_non_exhaustive()
    }
}

//! The pinned thread that polls a source into its lane.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use crate::core::{Core, IngestThread, contain};
use crate::error::Error;
use crate::event::Event;
use crate::lane::idle::{IdleStrategy, Idling};
use crate::lane::refused::Refused;
use crate::lane::source::{Interrupt, Outlet, Polled, Source, SourceError};
use crate::lane::{Item, Lane};
use crate::latch::Latch;
use crate::observe::diagnostic::Diagnostic;
use crate::sync::{Arc, Mutex};

/// How often a source that panicked or failed is made anew.
///
/// By default never: the lane is closed, and what was emitted before is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    limit: u32,
    within: Duration,
}

/// Restarts that are remembered.
const LIMIT_MAX: u32 = 1000;

impl Restart {
    /// Never.
    pub const NEVER: Restart = Restart { limit: 0, within: Duration::ZERO };

    /// At most `limit` times within any stretch of `within`; one failure more and the lane is closed. A limit above 1,000
    /// counts as 1,000.
    ///
    /// The source rests for 10 milliseconds before the first time, and twice as long before each of the next within that
    /// stretch, up to a second.
    pub const fn at_most(limit: u32, within: Duration) -> Self {
        Restart { limit: if limit < LIMIT_MAX { limit } else { LIMIT_MAX }, within }
    }
}

/// Makes a source, again after each failure.
pub(crate) type Factory<R> = Box<dyn FnMut() -> Result<R, SourceError> + Send>;

/// What an ingestion thread is told.
pub(crate) struct Ingest<R: Source> {
    pub(crate) source: R,
    /// Makes a new one after a failure; `None` when there is only the one.
    pub(crate) factory: Option<Factory<R>>,
    pub(crate) restart: Restart,
    pub(crate) idle: IdleStrategy,
    pub(crate) pin: Option<usize>,
    pub(crate) chunk: usize,
}

/// What those who stop the thread have of it.
struct Control {
    stop: Arc<Latch>,
    interrupt: Arc<Mutex<Option<Interrupt>>>,
}

/// Starts the thread.
pub(crate) fn start<R: Source>(core: &Arc<Core>, lane: Lane<R::Event>, ingest: Ingest<R>) -> Result<(), Error> {
    let name = lane.name().to_owned();
    let stop = Arc::new(Latch::default());
    let interrupt = Arc::new(Mutex::new(ingest.source.interrupt()));
    let (done_here, done) = crossbeam_channel::bounded(0);
    let (its_core, its_control) = (core.clone(), Control { stop: stop.clone(), interrupt: interrupt.clone() });
    // Under the lock from here on, so that a shutdown that begins now finds the thread.
    let mut threads = core.threads.lock();
    if core.is_closing() {
        return Err(Error::Closed);
    }
    let join = std::thread::Builder::new()
        .name(name.replace('\0', " "))
        .spawn(move || run(&its_core, lane, ingest, &its_control, done_here))
        .map_err(|error| Error::Thread { name: name.clone(), reason: error.to_string() })?;
    threads.retain(|thread| !thread.join.is_finished());
    threads.push(IngestThread { name, stop, interrupt, join, done });
    Ok(())
}

/// Pins the calling thread, or reports why it could not be.
pub(crate) fn pin_here(core: &Core, wanted: usize) {
    let allowed = core_affinity::get_core_ids().unwrap_or_default();
    let reason = match allowed.iter().find(|id| id.id == wanted) {
        Some(id) if core_affinity::set_for_current(*id) => return,
        Some(_) => "the system did not accept it".to_owned(),
        None => {
            let ids: Vec<_> = allowed.iter().map(|id| id.id.to_string()).collect();
            format!("this process may use the cores {}", ids.join(", "))
        }
    };
    let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
    core.report(Diagnostic::PinRefused { thread, core: wanted, reason });
}

fn run<R: Source>(core: &Core, lane: Lane<R::Event>, ingest: Ingest<R>, control: &Control, _done: Sender<()>) {
    if let Some(pin) = ingest.pin {
        pin_here(core, pin);
    }
    let Ingest { source, mut factory, restart, idle, chunk, .. } = ingest;
    let (id, name): (_, std::sync::Arc<str>) = (lane.id(), lane.name().into());
    let mut outlet = Outlet { staged: VecDeque::with_capacity(chunk), chunk, lane, closed: false, emitted: 0 };
    let mut source = Some(source);
    let mut failures = Failures::new(restart);
    let stop = &*control.stop;
    while let Some(polling) = &mut source {
        match poll_until_failure(polling, &mut outlet, idle, stop) {
            Ended::Done => break,
            Ended::Panicked(message) => {
                core.report(Diagnostic::SourcePanicked { lane: id, name: name.clone(), message })
            }
            Ended::Failed(message) => core.report(Diagnostic::SourceFailed { lane: id, name: name.clone(), message }),
        }
        // A source that panicked may panic again while it is dropped.
        let _ = contain(|| drop(source.take()));
        if stop.is_set() {
            break;
        }
        source = make_anew(&mut factory, &mut failures, core, id, &name, stop);
        if let Some(source) = &source {
            // Before the next look at `stop`: a shutdown either finds this one's, or is found.
            *control.interrupt.lock() = source.interrupt();
            core.report(Diagnostic::SourceRestarted { lane: id, name: name.clone(), restarts: failures.restarts });
        }
    }
    let _ = contain(|| drop(source));
}

/// A new source, if the policy allows one and the factory makes it.
fn make_anew<R: Source>(
    factory: &mut Option<Factory<R>>,
    failures: &mut Failures,
    core: &Core,
    id: crate::event::LaneId,
    name: &std::sync::Arc<str>,
    stop: &Latch,
) -> Option<R> {
    let factory = factory.as_mut()?;
    while let Some(pause) = failures.allow() {
        wait_until(Instant::now() + pause, stop);
        if stop.is_set() {
            return None;
        }
        match contain(&mut *factory) {
            Ok(Ok(source)) => return Some(source),
            Ok(Err(error)) => {
                core.report(Diagnostic::SourceFailed { lane: id, name: name.clone(), message: error.to_string() });
            }
            Err(message) => {
                core.report(Diagnostic::SourcePanicked { lane: id, name: name.clone(), message });
            }
        }
    }
    None
}

/// Failures within the restart policy's stretch of time.
struct Failures {
    restart: Restart,
    times: VecDeque<Instant>,
    restarts: u32,
}

/// How long a source rests before it is made anew: at first, and at most. Twice as long after each failure in a row.
const PAUSE: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

impl Failures {
    fn new(restart: Restart) -> Self {
        Self { restart, times: VecDeque::new(), restarts: 0 }
    }

    /// How long to wait before the source is made anew after one failure more; `None` if it may not be.
    fn allow(&mut self) -> Option<Duration> {
        let now = Instant::now();
        while self.times.front().is_some_and(|time| now.duration_since(*time) > self.restart.within) {
            self.times.pop_front();
        }
        if self.times.len() >= self.restart.limit as usize {
            return None;
        }
        let doublings = u32::try_from(self.times.len()).unwrap_or(u32::MAX).min(16);
        self.times.push_back(now);
        self.restarts = self.restarts.saturating_add(1);
        Some((PAUSE * 2u32.pow(doublings)).min(PAUSE_MAX))
    }
}

enum Ended {
    Done,
    Panicked(String),
    Failed(String),
}

fn poll_until_failure<R: Source>(
    source: &mut R,
    outlet: &mut Outlet<R::Event>,
    idle: IdleStrategy,
    stop: &Latch,
) -> Ended {
    let mut idling = Idling::default();
    while !stop.is_set() {
        let before = outlet.emitted;
        let polled = contain(|| source.poll(outlet));
        if outlet.emitted != before {
            idling.reset();
        }
        // What was emitted is published, whatever the poll came to.
        if let Err(message) = publish(outlet) {
            return Ended::Panicked(message);
        }
        if outlet.is_closed() {
            return Ended::Done;
        }
        match polled {
            Err(message) => return Ended::Panicked(message),
            Ok(Err(error)) => return Ended::Failed(error.to_string()),
            Ok(Ok(Polled::Done)) => return Ended::Done,
            Ok(Ok(Polled::Ready)) => idling.reset(),
            Ok(Ok(Polled::Until(moment))) => {
                idling.reset();
                wait_until(moment, stop);
            }
            Ok(Ok(Polled::Idle)) => {
                if idling.wait(idle)
                    && let IdleStrategy::Park { longest } = idle
                {
                    // Woken early by a shutdown.
                    std::thread::park_timeout(longest);
                }
            }
        }
    }
    Ended::Done
}

/// Waits until `moment`, or until the thread is asked to stop.
fn wait_until(moment: Instant, stop: &Latch) {
    while !stop.is_set() {
        let left = moment.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::park_timeout(left);
    }
}

/// Publishes what is staged. A host's classifier or `class` that panics costs the one event it panicked on.
fn publish<E: Event>(outlet: &mut Outlet<E>) -> Result<(), String> {
    let mut message = None;
    while !outlet.staged.is_empty() {
        if let Err(panic) = contain(|| outlet.publish()) {
            message = Some(panic);
        }
    }
    message.map_or(Ok(()), Err)
}

impl<E: Event> Outlet<E> {
    /// Publishes what is staged, as one batch, waiting for room if there is none.
    pub(crate) fn publish(&mut self) {
        if self.staged.is_empty() {
            return;
        }
        let Self { staged, lane, .. } = self;
        match lane.push_items(Front(staged), |(facets, event)| Item { facets, event }) {
            Ok(_) => {}
            Err(Refused::Closed(_) | Refused::Full(_)) => {
                // The pipeline has given up on this lane: its deadline has passed.
                lane.counts().rare.returned.add(1 + staged.len() as u64);
                staged.clear();
                self.closed = true;
            }
        }
    }

    fn is_closed(&self) -> bool {
        self.closed
    }
}

/// Takes from the front; what is not taken stays, also when the taker unwinds.
struct Front<'a, T>(&'a mut VecDeque<T>);

impl<T> Iterator for Front<'_, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        self.0.pop_front()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.0.len(), Some(self.0.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_are_limited_within_a_stretch_of_time() {
        let mut failures = Failures::new(Restart::at_most(2, Duration::from_secs(3600)));
        assert_eq!([failures.allow(), failures.allow(), failures.allow()], [Some(PAUSE), Some(2 * PAUSE), None]);
        failures.times.clear();
        assert_eq!(failures.allow(), Some(PAUSE), "the stretch is over");
        assert_eq!(Failures::new(Restart::NEVER).allow(), None);
        let mut often = Failures::new(Restart::at_most(u32::MAX, Duration::MAX));
        let pauses: Vec<_> = std::iter::from_fn(|| often.allow()).collect();
        assert_eq!((pauses.len(), pauses.last()), (1000, Some(&PAUSE_MAX)));
    }
}

//! Handlers: host's code that is called with each signal, on a thread that the bus runs for it.

use std::time::Instant;

use crate::backoff::Schedule;
use crate::core::contain;
use crate::event::Event;
use crate::lane::Lane;
use crate::lane::refused::Refused;
use crate::latch::Latch;
use crate::signal::Signal;
use crate::signal::family::FamilyTurns;
use crate::signal::hand::{Job, Work};
use crate::signal::notice::BusNotice;
use crate::signal::outlet::SignalOutlet;
use crate::signal::policy::OnFailure;
use crate::signal::queue::Missed;
use crate::signal::reader::{Delivery, SignalReader};
use crate::signal::sent::{Sent, Shared};
use crate::sync::Arc;

/// Why a handler could not do its work.
pub type HandlerError = Box<dyn std::error::Error + Send + Sync>;

/// Is called with each signal of a subscription, one after the other, on one thread.
///
/// An error or a panic is contained, counted and told ([`BusNotice::HandlerFailed`]); what happens then is the subscription's
/// [`OnFailure`]. It changes no state: what is to become of a signal is an event, through a lane
/// ([`into_lane`](crate::signal::Subscribe::into_lane)).
pub trait Handler<T: Signal>: Send + 'static {
    /// Handles a signal.
    ///
    /// # Errors
    /// Whatever kept it from its work.
    fn handle(&mut self, sent: &Sent<T>) -> Result<(), HandlerError>;

    /// Is told that signals are missing, right where they are.
    fn missed(&mut self, missed: Missed) {
        let _ = missed;
    }

    /// True when it has nothing to do any more, and its subscription is to end. Asked after each signal. A panic here ends it too.
    fn is_over(&self) -> bool {
        false
    }
}

impl<T, F> Handler<T> for F
where
    T: Signal,
    F: FnMut(&Sent<T>) -> Result<(), HandlerError> + Send + 'static,
{
    fn handle(&mut self, sent: &Sent<T>) -> Result<(), HandlerError> {
        self(sent)
    }
}

/// How many signals a handler gets before the others of its thread have their turn.
const CHUNK: u32 = 32;

/// A handler and its subscription.
pub(crate) struct Handling<T: Signal, H> {
    pub(crate) name: Arc<str>,
    pub(crate) reader: SignalReader<T>,
    pub(crate) handler: H,
    pub(crate) on_failure: OnFailure,
    pub(crate) notices: SignalOutlet<BusNotice>,
    /// The subscription is to end.
    pub(crate) stop: Arc<Latch>,
    pub(crate) again: Option<Again<T>>,
}

/// A signal that is handed over again.
pub(crate) struct Again<T> {
    sent: Shared<T>,
    tries_left: u32,
    rests: Schedule,
    due: Instant,
}

impl<T: Signal, H: Handler<T>> Handling<T, H> {
    fn handle(&mut self, sent: &Sent<T>) -> Result<(), (String, bool)> {
        match contain(|| self.handler.handle(sent)) {
            Ok(Ok(())) => Ok(()),
            // Its text is the host's code too.
            Ok(Err(error)) => {
                let message = contain(|| error.to_string()).unwrap_or_else(|message| message);
                crate::core::let_go(error);
                Err((message, false))
            }
            Err(message) => Err((message, true)),
        }
    }

    /// What is next after a failure. False when the handler is called no more.
    fn failed(&mut self, sent: Shared<T>, before: Option<Again<T>>, (message, panicked): (String, bool)) -> bool {
        let again = match (before, self.on_failure) {
            (Some(Again { tries_left: 0, .. }), _) => None,
            (Some(Again { tries_left, mut rests, .. }), _) => {
                let due = Instant::now() + rests.rest();
                Some(Again { sent, tries_left: tries_left - 1, rests, due })
            }
            (None, OnFailure::Retry { tries, backoff }) if tries > 0 => {
                let mut rests = backoff.schedule(None);
                let due = Instant::now() + rests.rest();
                Some(Again { sent, tries_left: tries - 1, rests, due })
            }
            (None, _) => None,
        };
        let is_given_up = again.is_none();
        self.reader.mail().tally(&|tallies| {
            tallies.failures += 1;
            tallies.given_up += u64::from(is_given_up);
        });
        let (family, subscriber) = (T::FAMILY, self.name.clone());
        self.tell(BusNotice::HandlerFailed {
            family,
            subscriber,
            message: message.clone(),
            panicked,
            again: !is_given_up,
        });
        self.again = again;
        if self.on_failure != OnFailure::Detach {
            return true;
        }
        self.reader.mail().detach();
        self.tell(BusNotice::Detached { family, subscriber: self.name.clone(), message });
        false
    }

    /// Host's code beside `handle` panicked.
    fn panicked(&self, message: String) {
        self.reader.mail().tally(&|tallies| tallies.failures += 1);
        let (family, subscriber) = (T::FAMILY, self.name.clone());
        self.tell(BusNotice::HandlerFailed { family, subscriber, message, panicked: true, again: false });
    }

    /// True when the handler has nothing to do any more.
    fn is_over(&mut self) -> bool {
        contain(|| self.handler.is_over()).unwrap_or_else(|message| {
            // Nobody knows, and it would be asked again after each signal.
            self.reader.mail().detach();
            self.panicked(message.clone());
            self.tell(BusNotice::Detached { family: T::FAMILY, subscriber: self.name.clone(), message });
            true
        })
    }

    /// Nobody hears it when there is no room: it is counted there. A handler of notices would be handed what it is told of itself, for ever.
    fn tell(&self, notice: BusNotice) {
        if !FamilyTurns::<T>::is_of_notices() {
            let _ = self.notices.publish(notice);
        }
    }
}

impl<T: Signal, H: Handler<T>> Job for Handling<T, H> {
    fn work(&mut self) -> Work {
        for _ in 0..CHUNK {
            if self.stop.is_set() {
                return Work::Over;
            }
            let (sent, before) = match self.again.take() {
                Some(again) if again.due > Instant::now() => {
                    let due = again.due;
                    self.again = Some(again);
                    return Work::Until(due);
                }
                Some(again) => {
                    self.reader.mail().tally(&|tallies| tallies.retries += 1);
                    (again.sent.clone(), Some(again))
                }
                None => match self.reader.next_waiting() {
                    Some(Delivery::Signal { sent, .. }) => (sent, None),
                    Some(Delivery::Missed(missed)) => {
                        if let Err(message) = contain(|| self.handler.missed(missed)) {
                            self.panicked(message);
                        }
                        continue;
                    }
                    None if self.reader.is_over() => return Work::Over,
                    None => return Work::Idle,
                },
            };
            if let Err(failure) = self.handle(&sent)
                && !self.failed(sent, before, failure)
            {
                return Work::Over;
            }
            if self.is_over() {
                return Work::Over;
            }
        }
        Work::More
    }
}

impl<T: Signal, H> Drop for Handling<T, H> {
    fn drop(&mut self) {
        if self.again.take().is_some() {
            // It rested, to be handed over again.
            self.reader.mail().tally(&|tallies| tallies.given_up += 1);
        }
    }
}

/// Turns signals into events of a lane.
pub(crate) struct ToLane<E: Event, F> {
    lane: Lane<E>,
    map: F,
    /// The event that found no room, of the signal with this number.
    pending: Option<(u64, E)>,
    /// The lane's pipeline has shut down.
    is_closed: bool,
}

impl<E: Event, F> ToLane<E, F> {
    pub(crate) fn new(lane: Lane<E>, map: F) -> Self {
        Self { lane, map, pending: None, is_closed: false }
    }
}

impl<T, E, F> Handler<T> for ToLane<E, F>
where
    T: Signal,
    E: Event,
    F: FnMut(&Sent<T>) -> Option<E> + Send + 'static,
{
    fn handle(&mut self, sent: &Sent<T>) -> Result<(), HandlerError> {
        let event = match self.pending.take() {
            Some((number, event)) if number == sent.number() => Some(event),
            _ => (self.map)(sent),
        };
        let Some(event) = event else { return Ok(()) };
        self.lane.try_push(event).map_err(|refused| {
            let message = refused.to_string();
            match refused {
                Refused::Full(event) => self.pending = Some((sent.number(), event)),
                Refused::Closed(_) => self.is_closed = true,
            }
            message.into()
        })
    }

    fn is_over(&self) -> bool {
        self.is_closed
    }
}

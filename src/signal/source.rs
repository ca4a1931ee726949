//! Signals as the source of a lane: handled on the lane's own ingestion thread, and turned into events there.

use std::fmt;

use crate::event::Event;
use crate::lane::source::{Interrupt, Outlet, Polled, Source, SourceError};
use crate::signal::Signal;
use crate::signal::nowait::NoWaiting;
use crate::signal::reader::{Delivery, SignalReader};
use crate::signal::sent::Sent;

/// A [`Source`] that turns signals into events. Made by [`Subscribe::source`](crate::signal::Subscribe::source).
pub struct SignalSource<T: Signal, E, F> {
    reader: SignalReader<T>,
    map: F,
    event: std::marker::PhantomData<fn() -> E>,
}

/// How many signals one poll takes.
const CHUNK: usize = 64;

impl<T: Signal, E, F> SignalSource<T, E, F> {
    pub(crate) fn new(reader: SignalReader<T>, map: F) -> Self {
        Self { reader, map, event: std::marker::PhantomData }
    }
}

impl<T, E, F> Source for SignalSource<T, E, F>
where
    T: Signal,
    E: Event,
    F: FnMut(&Sent<T>) -> Option<E> + Send + 'static,
{
    type Event = E;

    fn poll(&mut self, outlet: &mut Outlet<E>) -> Result<Polled, SourceError> {
        for _ in 0..CHUNK {
            match self.reader.next_waiting() {
                Some(Delivery::Signal { sent, .. }) => {
                    // As in a handler: it is this thread that makes the room.
                    let _here = NoWaiting::here();
                    if let Some(event) = (self.map)(&sent) {
                        outlet.push(event);
                    }
                }
                // Counted; whoever has to know of it reads by itself.
                Some(Delivery::Missed(_)) => {}
                None if self.reader.is_over() => return Ok(Polled::Done),
                None if outlet.staged() > 0 => break,
                None => {
                    // Ends early when it is interrupted.
                    self.reader.mail().wait(None);
                    break;
                }
            }
        }
        Ok(Polled::Ready)
    }

    fn interrupt(&self) -> Option<Interrupt> {
        let mail = self.reader.mail().clone();
        Some(Box::new(move || mail.interrupt()))
    }
}

impl<T: Signal, E, F> fmt::Debug for SignalSource<T, E, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignalSource").field("family", &T::FAMILY).finish_non_exhaustive()
    }
}

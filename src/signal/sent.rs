//! A signal on its way: what was said, by whom, and why.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use crate::clock::Stamp;
use crate::core::let_go;
use crate::event::{Envelope, Event, OperationId};
use crate::origin::Origin;
use crate::signal::outlet::Entry;

/// What a signal is about, beside what it says: the event that led to it, and the operation it is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Causal position of the event that led to the signal, in its pipeline; [`Stamp::UNCLOCKED`] when there was none.
    pub stamp: Stamp,
    /// The operation that it is a part of.
    pub operation: Option<OperationId>,
}

impl Cause {
    /// Nothing that is known.
    pub const NONE: Self = Self { stamp: Stamp::UNCLOCKED, operation: None };

    /// This event, with its operation.
    pub fn event<E: Event>(envelope: &Envelope<'_, E>) -> Self {
        Self { stamp: envelope.stamp, operation: envelope.operation.map(|operation| operation.id) }
    }

    /// This operation.
    pub const fn operation(id: OperationId) -> Self {
        Self { stamp: Stamp::UNCLOCKED, operation: Some(id) }
    }
}

impl Default for Cause {
    fn default() -> Self {
        Self::NONE
    }
}

/// A signal as a subscriber meets it: what was said, and all that the bus knows about it. All subscribers share it.
pub struct Sent<T> {
    /// `None` only while it is dropped.
    signal: Option<T>,
    pub(crate) number: u64,
    pub(crate) source: Origin,
    cause: Cause,
    pub(crate) published: Option<Instant>,
}

impl<T> Sent<T> {
    pub(crate) fn new(number: u64, Entry { signal, source, cause, published }: Entry<T>) -> Self {
        Self { signal: Some(signal), number, source, cause, published }
    }

    /// What was said.
    pub fn signal(&self) -> &T {
        match &self.signal {
            Some(signal) => signal,
            None => unreachable!("it is taken out as this is dropped"),
        }
    }

    /// Its number in its family, counted from zero without gaps. A gap between two numbers that a subscriber meets is what its filter
    /// kept back, what it [missed](crate::signal::Missed), or what a newer signal stands for.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Who said it.
    pub fn source(&self) -> Origin {
        self.source
    }

    /// What led to it.
    pub fn cause(&self) -> Cause {
        self.cause
    }

    /// When it was published, if that was noted: a look at the clock costs more than the rest of a publication, so an outlet notes it of its
    /// first [`TIMED_ALL`](crate::signal::TIMED_ALL) signals, and then of one in eight.
    pub fn published(&self) -> Option<Instant> {
        self.published
    }
}

impl<T> Drop for Sent<T> {
    fn drop(&mut self) {
        if std::mem::needs_drop::<T>() {
            // The host's code, in the middle of a batch, on the thread of whoever has it last.
            let_go(self.signal.take());
        }
    }
}

impl<T> Deref for Sent<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.signal()
    }
}

impl<T: fmt::Debug> fmt::Debug for Sent<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sent")
            .field("number", &self.number)
            .field("source", &format_args!("{}", self.source))
            .field("cause", &self.cause)
            .field("signal", self.signal())
            .finish()
    }
}

/// Signals that were handed on together. Their numbers have no gaps.
pub(crate) type Batch<T> = Arc<[Sent<T>]>;

/// A [`Sent`] signal that is shared, to be kept or passed on. It keeps the signals that were handed on together with it, 64 at most.
pub struct Shared<T> {
    pub(crate) batch: Batch<T>,
    pub(crate) at: usize,
}

impl<T> Deref for Shared<T> {
    type Target = Sent<T>;

    fn deref(&self) -> &Sent<T> {
        &self.batch[self.at]
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self { batch: self.batch.clone(), at: self.at }
    }
}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

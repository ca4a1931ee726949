//! What a push or a batch hands back when it is not accepted.

use std::fmt;

/// An event that was not accepted, handed back.
#[derive(Clone, PartialEq, Eq)]
pub enum Refused<T> {
    /// The ring is full.
    Full(T),
    /// The pipeline has shut down, or its main lane has stopped.
    Closed(T),
}

impl<T> Refused<T> {
    /// What was not accepted.
    pub fn into_inner(self) -> T {
        match self {
            Refused::Full(value) | Refused::Closed(value) => value,
        }
    }

    /// Why it was not accepted, without what it was: for `?` into errors that must be `Sync`, when the event is not.
    pub fn without_value(self) -> Refused<()> {
        self.map(drop)
    }

    pub(super) fn map<U>(self, f: impl FnOnce(T) -> U) -> Refused<U> {
        match self {
            Refused::Full(value) => Refused::Full(f(value)),
            Refused::Closed(value) => Refused::Closed(f(value)),
        }
    }
}

impl<T> fmt::Display for Refused<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refused::Full(_) => "the lane's ring is full; push again later, or let the lane wait",
            Refused::Closed(_) => "the pipeline has shut down; nothing more is accepted",
        })
    }
}

// Without a bound on `T`, so that `?` and `unwrap` work for events that cannot be printed.
impl<T> fmt::Debug for Refused<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refused::Full(_) => "Full(..)",
            Refused::Closed(_) => "Closed(..)",
        })
    }
}

impl<T> std::error::Error for Refused<T> {}

/// The events of a batch that were not accepted, in order.
pub struct Unsent<E, I> {
    pub(super) first: Option<E>,
    pub(super) rest: I,
}

impl<E, I: Iterator<Item = E>> Iterator for Unsent<E, I> {
    type Item = E;

    fn next(&mut self) -> Option<E> {
        self.first.take().or_else(|| self.rest.next())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let (low, high) = self.rest.size_hint();
        let first = usize::from(self.first.is_some());
        (low.saturating_add(first), high.and_then(|high| high.checked_add(first)))
    }
}

impl<E, I: Iterator<Item = E>> fmt::Debug for Unsent<E, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unsent").field("events", &self.size_hint()).finish_non_exhaustive()
    }
}

//! What the bus counts, and shows to whoever asks.

use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::signal::policy::Full;

/// How a subscription is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriberState {
    /// It gets signals.
    Open,
    /// The bus was shut down. What waits can still be read.
    Ended,
    /// The subscriber is gone.
    Left,
    /// Its handler failed and its [policy](crate::signal::OnFailure) wants it called no more, or its keys could not be compared.
    Detached,
}

/// What became of the signals of one subscription.
///
/// `matched = delivered + dropped + coalesced + depth`, at any moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SubscriberStatus {
    /// The name that it was made with.
    pub name: Arc<str>,
    /// What happens when its queue is full.
    pub full: Full,
    /// How it is.
    pub state: SubscriberState,
    /// Signals that passed its filter.
    pub matched: u64,
    /// Signals that were taken; a reader that was told what it missed has taken the one behind that, too.
    pub delivered: u64,
    /// Signals that were dropped because the queue was full, or that waited as the subscriber left.
    pub dropped: u64,
    /// Signals that a newer one of their key took in.
    pub coalesced: u64,
    /// Signals that wait.
    pub depth: u64,
    /// How often its handler failed or panicked.
    pub failures: u64,
    /// How often a signal was handed to the handler again.
    pub retries: u64,
    /// Signals that its handler never got done, one among them that rested for another try as the handler ended. They are among those
    /// that were delivered.
    pub given_up: u64,
    /// Panics of its filter, which let the signal pass then, and of the function that gives keys, which dropped it.
    pub filter_panics: u64,
    /// From a signal's publication until it was taken, in nanoseconds; of those whose [time](crate::signal::Sent::published) was noted.
    pub latency_ns: Histogram<u64>,
}

/// What became of the signals of one family.
///
/// `published = dispatched + depth + stranded`, when nothing is moving.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FamilyStatus {
    /// The family's name.
    pub family: &'static str,
    /// Signals that were accepted and had somebody to hear them.
    pub published: u64,
    /// Signals that were published to nobody.
    pub unheard: u64,
    /// Signals that were handed back because the dispatcher was behind.
    pub refused: u64,
    /// Signals that were just about to be published as the bus ended. They are counted alone: no subscriber is told.
    pub stranded: u64,
    /// Signals that were handed to the queues of the subscribers.
    pub dispatched: u64,
    /// Signals that wait for the dispatcher.
    pub depth: u64,
    /// The subscriptions that are there.
    pub subscribers: Vec<SubscriberStatus>,
    /// What became of the signals of subscriptions that are gone.
    pub gone: Gone,
}

/// The sums of subscriptions that are gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gone {
    /// How many there were.
    pub subscribers: u64,
    /// Signals that passed their filters.
    pub matched: u64,
    /// Signals that they took.
    pub delivered: u64,
    /// Signals that were dropped.
    pub dropped: u64,
    /// Signals that a newer one took in.
    pub coalesced: u64,
    /// How often their handlers failed or panicked.
    pub failures: u64,
    /// How often a signal was handed to a handler again.
    pub retries: u64,
    /// Signals that their handlers never got done, of those that were delivered.
    pub given_up: u64,
    /// Panics of their filters and of the functions that give keys.
    pub filter_panics: u64,
}

impl Gone {
    pub(crate) fn add(&mut self, status: &SubscriberStatus) {
        self.subscribers += 1;
        self.matched += status.matched;
        self.delivered += status.delivered;
        self.dropped += status.dropped;
        self.coalesced += status.coalesced;
        self.failures += status.failures;
        self.retries += status.retries;
        self.given_up += status.given_up;
        self.filter_panics += status.filter_panics;
    }
}

/// How a bus ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BusReport {
    /// True when every signal that was accepted before was handed on, every handler got done with its own, and every thread was joined.
    pub complete: bool,
    /// Threads that were joined.
    pub joined: usize,
    /// Threads that did not end in time.
    pub stragglers: Vec<String>,
    /// How long it took.
    pub took: Duration,
    /// What became of all signals.
    pub families: Vec<FamilyStatus>,
}

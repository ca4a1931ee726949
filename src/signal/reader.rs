//! How a subscriber takes its signals: one by one, in a loop with a budget, on a thread that waits, or as an async stream.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_core::Stream;

use crate::backoff::A_YEAR;
use crate::main_lane::budget::{Budget, Pace};
use crate::signal::Signal;
use crate::signal::inbox::Mail;
use crate::signal::nowait::NoWaiting;
use crate::signal::queue::{Missed, Run, Taken};
use crate::signal::sent::{Sent, Shared};
use crate::signal::status::SubscriberStatus;

/// How many signals `drain` takes under one lock.
const CHUNK: usize = 256;

/// What a subscriber gets.
#[derive(Debug)]
pub enum Delivery<T> {
    /// A signal.
    Signal {
        /// The signal; all subscribers share it.
        sent: Shared<T>,
        /// How many signals it stands for: 1, or more when it was coalesced.
        parts: u32,
    },
    /// Signals are missing here.
    Missed(Missed),
}

impl<T> Delivery<T> {
    /// The signal, if it is one.
    pub fn signal(&self) -> Option<&Sent<T>> {
        match self {
            Self::Signal { sent, .. } => Some(sent),
            Self::Missed(_) => None,
        }
    }
}

impl<T> Clone for Delivery<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Signal { sent, parts } => Self::Signal { sent: sent.clone(), parts: *parts },
            Self::Missed(missed) => Self::Missed(*missed),
        }
    }
}

/// What a [`drain`](SignalReader::drain) came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "says whether something is left"]
pub struct Drained {
    /// Signals that were handed over; tidings of missed ones are not counted.
    pub signals: usize,
    /// What is left.
    pub left: Waiting,
}

/// What waits for a subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Nothing now.
    Nothing,
    /// More than the budget allowed.
    More,
    /// Nothing ever again: the bus was shut down, and everything was taken.
    Ended,
}

/// The reading end of a subscription. Dropping it ends the subscription.
///
/// As an async stream it ends when the bus was shut down and everything was taken.
pub struct SignalReader<T: Signal> {
    mail: Arc<dyn Mail<T>>,
    /// Taken, and not handed over yet.
    taken: VecDeque<Taken<T>>,
}

impl<T: Signal> SignalReader<T> {
    pub(crate) fn new(mail: Arc<dyn Mail<T>>) -> Self {
        Self { mail, taken: VecDeque::new() }
    }

    pub(crate) fn mail(&self) -> &Arc<dyn Mail<T>> {
        &self.mail
    }

    /// What waits longest, if anything does.
    pub fn next_waiting(&mut self) -> Option<Delivery<T>> {
        self.next_or_end().ok().flatten()
    }

    /// `Err` when there will never be anything more.
    fn next_or_end(&mut self) -> Result<Option<Delivery<T>>, ()> {
        self.tidy();
        if self.taken.is_empty() && !self.mail.take(1, &mut self.taken) {
            return Err(());
        }
        Ok(self.pop())
    }

    /// Lets go of what was handed over.
    fn tidy(&mut self) {
        let is_over = |taken: &mut Taken<T>| match taken {
            Taken::Run(run) | Taken::One { run, .. } => run.len() == 0,
            Taken::Missed(missed) => missed.is_none(),
        };
        while self.taken.pop_front_if(is_over).is_some() {}
    }

    /// The first of what was taken.
    fn pop(&mut self) -> Option<Delivery<T>> {
        if let Taken::Run(run) = self.taken.front_mut()?
            && run.len() > 1
        {
            let sent = Shared { batch: run.batch.clone(), at: run.at.start };
            run.at.start += 1;
            return Some(Delivery::Signal { sent, parts: 1 });
        }
        Some(match self.taken.pop_front()? {
            Taken::Run(Run { batch, at }) => Delivery::Signal { sent: Shared { batch, at: at.start }, parts: 1 },
            Taken::One { run: Run { batch, at }, parts } => {
                Delivery::Signal { sent: Shared { batch, at: at.start }, parts }
            }
            Taken::Missed(missed) => Delivery::Missed(missed),
        })
    }

    /// Hands over what waits, as far as the budget goes. For the host's loop: this is how signals reach a main lane's thread, if the
    /// host wants that.
    ///
    /// When `each` panics, what it has not seen is handed over the next time.
    pub fn drain(&mut self, budget: Budget, mut each: impl FnMut(&Delivery<T>)) -> Drained {
        let _here = NoWaiting::here();
        self.tidy();
        let mut pace = Pace::new(budget);
        let mut signals = 0;
        loop {
            let allowance = pace.allowance();
            if allowance == 0 {
                let left = if self.is_over() { Waiting::Ended } else { Waiting::More };
                return Drained { signals, left };
            }
            if self.taken.is_empty() && !self.mail.take(allowance.min(CHUNK), &mut self.taken) {
                return Drained { signals, left: Waiting::Ended };
            }
            if self.taken.is_empty() {
                return Drained { signals, left: Waiting::Nothing };
            }
            let mut seen = 0;
            // There may be more than is allowed now: what another call took, and a panic left.
            while seen < allowance
                && let Some(taken) = self.taken.front_mut()
            {
                seen += hand_over(taken, allowance - seen, &mut each);
                self.tidy();
            }
            signals += seen;
            pace.spend(seen);
        }
    }

    /// Waits for something, `deadline` at most. `None` when there was nothing by then, or there will never be.
    pub fn wait(&mut self, deadline: Duration) -> Option<Delivery<T>> {
        let deadline = Instant::now() + deadline.min(A_YEAR);
        loop {
            if let Some(next) = self.next_or_end().ok()? {
                return Some(next);
            }
            if Instant::now() >= deadline || !self.mail.wait(Some(deadline)) {
                return self.next_waiting();
            }
        }
    }

    /// Waits for something. `None` when the bus was shut down and everything was taken. Needs no runtime.
    pub async fn next(&mut self) -> Option<Delivery<T>> {
        std::future::poll_fn(|ctx| self.poll_delivery(ctx)).await
    }

    fn poll_delivery(&mut self, ctx: &mut Context<'_>) -> Poll<Option<Delivery<T>>> {
        loop {
            match self.next_or_end() {
                Err(()) => return Poll::Ready(None),
                Ok(Some(next)) => return Poll::Ready(Some(next)),
                Ok(None) => std::task::ready!(self.mail.poll(ctx)),
            }
        }
    }

    /// Has `hook` called when something comes after this found nothing: for a host's loop that sleeps. Called once until nothing is found
    /// again, on the dispatcher's thread or, if something waits already, at once; must not block. A panic in it is contained.
    pub fn wake_with(&self, hook: impl Fn() + Send + Sync + 'static) {
        self.mail.hook(Arc::new(hook));
    }

    /// True when there will never be anything more.
    pub fn is_over(&mut self) -> bool {
        self.tidy();
        self.taken.is_empty() && !self.mail.take(0, &mut self.taken)
    }

    /// What became of this subscription's signals.
    pub fn status(&self) -> SubscriberStatus {
        self.mail.status()
    }
}

/// Hands over a part of what was taken, up to `most` signals; returns how many that were. What is left is there the next time, also by a panic.
fn hand_over<T>(taken: &mut Taken<T>, most: usize, each: &mut impl FnMut(&Delivery<T>)) -> usize {
    let (run, parts) = match taken {
        Taken::Run(run) => (run, 1),
        Taken::One { run, parts } => (run, *parts),
        Taken::Missed(missed) => {
            let missed = missed.take();
            if !missed.is_none() {
                each(&Delivery::Missed(missed));
            }
            return 0;
        }
    };
    let signals = run.len().min(most);
    // One reference for all of them.
    let mut delivery = Delivery::Signal { sent: Shared { batch: run.batch.clone(), at: run.at.start }, parts };
    for _ in 0..signals {
        run.at.start += 1;
        each(&delivery);
        if let Delivery::Signal { sent, .. } = &mut delivery {
            sent.at += 1;
        }
    }
    signals
}

impl<T: Signal> Stream for SignalReader<T> {
    type Item = Delivery<T>;

    fn poll_next(mut self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_delivery(ctx)
    }
}

impl<T: Signal> Drop for SignalReader<T> {
    fn drop(&mut self) {
        let signals = |taken: &Taken<T>| match taken {
            Taken::Run(run) | Taken::One { run, .. } => run.len() as u64,
            Taken::Missed(_) => 0,
        };
        self.mail.untaken(self.taken.iter().map(signals).sum());
        self.mail.leave();
    }
}

impl<T: Signal> fmt::Debug for SignalReader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignalReader").field("family", &T::FAMILY).finish_non_exhaustive()
    }
}

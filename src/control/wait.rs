//! How a worker waits: until a moment, until it is cancelled, until it is nudged.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use event_listener::{Event as Notifications, Listener, listener};
use tokio_util::sync::CancellationToken;

use crate::backoff::A_YEAR;
use crate::latch::Latch;

/// The moment so long after `now`; what is longer than a year is one, for a clock has an end.
pub(crate) fn later(now: Instant, time: Duration) -> Instant {
    now + time.min(A_YEAR)
}

/// Waits until one of them is ready.
pub(crate) async fn either<T, U>(one: impl Future<Output = T>, other: impl Future<Output = U>) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    let mut ready = |task: &mut Context<'_>| one.as_mut().poll(task).is_ready() || other.as_mut().poll(task).is_ready();
    poll_fn(|task| if ready(task) { Poll::Ready(()) } else { Poll::Pending }).await;
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// The moment has come.
    InTime,
    /// Somebody nudged the worker.
    Nudged,
    /// The worker is to stop.
    Cancelled,
}

/// Wakes one worker, on whatever it runs. A nudge while it does not wait is kept until it does; several are one.
#[derive(Default)]
pub(crate) struct Nudge {
    given: Latch,
    told: Notifications,
}

impl Nudge {
    pub(crate) fn give(&self) {
        self.given.set();
        self.wake();
    }

    /// Has the worker look around: it was cancelled.
    pub(crate) fn wake(&self) {
        self.told.notify(usize::MAX);
    }

    pub(crate) fn wait_until(&self, moment: Option<Instant>, cancellation: &CancellationToken) -> Woken {
        loop {
            // Listens before it looks, so that whoever sets one of them after the look wakes it.
            listener!(self.told => told);
            if cancellation.is_cancelled() {
                return Woken::Cancelled;
            }
            if self.given.take() {
                return Woken::Nudged;
            }
            match moment {
                None => told.wait(),
                Some(moment) => {
                    if told.wait_deadline(moment).is_none() {
                        return Woken::InTime;
                    }
                }
            }
        }
    }

    pub(crate) async fn nudged(&self) {
        loop {
            listener!(self.told => told);
            if self.given.take() {
                return;
            }
            told.await;
        }
    }
}

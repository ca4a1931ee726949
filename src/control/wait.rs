//! How a worker waits: until a moment, until it is cancelled, until it is nudged.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use crossbeam_utils::sync::{Parker, Unparker};
use tokio_util::sync::CancellationToken;

use crate::backoff::A_YEAR;
use crate::latch::Latch;
use crate::notifications::{Notifications, listen};

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
    /// What it waited for has changed.
    Changed,
    /// The worker is to stop.
    Cancelled,
}

/// Has a thread that is parked look at what it waits for.
pub(crate) struct Unparking(pub(crate) Unparker);

impl Wake for Unparking {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Blocks this thread until that is ready, until `moment` at most.
pub(crate) fn block_until<T>(moment: Option<Instant>, future: impl Future<Output = T>) -> Option<T> {
    let parker = Parker::new();
    let waker = Waker::from(Arc::new(Unparking(parker.unparker().clone())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(done);
        }
        match moment {
            None => parker.park(),
            Some(moment) if Instant::now() >= moment => return None,
            Some(moment) => parker.park_deadline(moment),
        }
    }
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
        let _ = self.told.notify_all();
    }

    pub(crate) fn wait_until(&self, moment: Option<Instant>, cancellation: &CancellationToken) -> Woken {
        loop {
            // Listens before it looks, so that whoever sets one of them after the look wakes it.
            listen!(self.told => told);
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

    /// As [`wait_until`](Nudge::wait_until), and no longer than until something has `changed`.
    pub(crate) fn wait_for(
        &self,
        changed: impl Future<Output = ()>,
        moment: Option<Instant>,
        cancellation: &CancellationToken,
    ) -> Woken {
        let (mut cancelled, mut nudged) = (pin!(cancellation.cancelled()), pin!(self.nudged()));
        let mut changed = pin!(changed);
        let first = poll_fn(|task| {
            if cancelled.as_mut().poll(task).is_ready() {
                Poll::Ready(Woken::Cancelled)
            } else if nudged.as_mut().poll(task).is_ready() {
                Poll::Ready(Woken::Nudged)
            } else {
                changed.as_mut().poll(task).map(|()| Woken::Changed)
            }
        });
        block_until(moment, first).unwrap_or(Woken::InTime)
    }

    pub(crate) async fn nudged(&self) {
        loop {
            listen!(self.told => told);
            if self.given.take() {
                return;
            }
            told.await;
        }
    }
}

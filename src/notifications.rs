//! Telling all who wait that something has changed: threads, and tasks with whatever wakers these have.
//!
//! `event-listener` wakes tasks with its own lock held. A waker of the host's that panics there spoils its count of those who were told, and
//! nobody is woken again; one that polls its task at once, or drops it, waits for that lock for ever. So what is woken there is a
//! [`Relay`], which puts the host's waker aside, and that is called when the lock is free.
//!
//! # Invariants
//! - **A1 no lock over the host's code**: wakers are cloned, called and dropped without a lock.
//! - **A2 all or nobody**: everyone who listens is told. So one who was told and does not wait any more passes nothing on to another:
//!   that would wake it with the lock held.
//! - **A3 nobody forgotten**: who puts a waker aside calls what was put aside as soon as the lock is free, or has seen another do so.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use event_listener::{Event, Listener};

use crate::core::contain;
use crate::sync::{Arc, Mutex};

/// Those who wait for something, and what tells them.
#[derive(Default)]
pub(crate) struct Notifications {
    pub(crate) event: Event,
    /// The host's wakers that are to be called.
    aside: Arc<Mutex<Vec<Waker>>>,
}

impl Notifications {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Tells everyone who listens.
    ///
    /// # Errors
    /// What the first of the host's wakers that panicked said. All were called.
    #[inline]
    pub(crate) fn notify_all(&self) -> Result<(), String> {
        if self.event.notify(usize::MAX) == 0 { Ok(()) } else { self.wake() }
    }

    /// A3.
    #[cold]
    fn wake(&self) -> Result<(), String> {
        let mut outcome = Ok(());
        let aside = std::mem::take(&mut *self.aside.lock());
        for waker in aside {
            outcome = outcome.and(contain(|| waker.wake()));
        }
        outcome
    }
}

/// Listens from here on: whatever is told after this ends the wait.
macro_rules! listen {
    ($notifications:expr => $listening:ident) => {
        let notifications = &$notifications;
        event_listener::listener!(notifications.event => $listening);
        let $listening = $crate::notifications::Listening::new(notifications, $listening);
    };
}

pub(crate) use listen;

/// Waits for what is told, once.
pub(crate) struct Listening<'a, L: Listener<()>> {
    notifications: &'a Notifications,
    /// `None` once it was told.
    listener: Option<L>,
    relay: Option<Arc<Relay>>,
}

impl<'a, L: Listener<()> + Unpin> Listening<'a, L> {
    pub(crate) fn new(notifications: &'a Notifications, listener: L) -> Self {
        Self { notifications, listener: Some(listener), relay: None }
    }

    /// Blocks this thread until it is told.
    #[cfg(feature = "control")]
    pub(crate) fn wait(mut self) {
        self.listener.take().map(L::wait);
    }

    /// Blocks this thread until it is told, `deadline` at most. `None` when it was not.
    pub(crate) fn wait_deadline(mut self, deadline: Instant) -> Option<()> {
        self.listener.take()?.wait_deadline(deadline)
    }
}

impl<L: Listener<()> + Unpin> Future for Listening<'_, L> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Self { notifications, listener, relay } = &mut *self;
        let Some(waiting) = listener else { return Poll::Ready(()) };
        let relay = relay.get_or_insert_with(|| Relay::new(notifications));
        relay.lead_to(context.waker());
        let waker = Waker::from(relay.clone());
        let told = pin!(waiting).poll(&mut Context::from_waker(&waker));
        if told.is_ready() {
            *listener = None;
        }
        told
    }
}

impl<L: Listener<()>> Drop for Listening<'_, L> {
    fn drop(&mut self) {
        // A2.
        self.listener.take().map(L::discard);
    }
}

/// Stands for a task's waker where a lock is held.
struct Relay {
    waker: Mutex<Option<Waker>>,
    aside: Arc<Mutex<Vec<Waker>>>,
}

impl Relay {
    fn new(notifications: &Notifications) -> Arc<Self> {
        Arc::new(Self { waker: Mutex::new(None), aside: notifications.aside.clone() })
    }

    /// A1.
    fn lead_to(&self, waker: &Waker) {
        let waker = waker.clone();
        let before = self.waker.lock().replace(waker);
        drop(before);
    }
}

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        let waker = self.waker.lock().take();
        self.aside.lock().extend(waker);
    }
}

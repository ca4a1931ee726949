//! What a worker is given: a lane of its own, snapshots, the policy, and word of when to stop.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::control::policy::PolicyReader;
use crate::control::wait::{Nudge, Woken};
use crate::event::{Event, LaneId};
use crate::lane::Lane;
use crate::lane::refused::Refused;
use crate::main_lane::reduce::Reducer;
use crate::origin::Origin;
use crate::signal::{Bus, Delivery, Signal, SignalOutlet, SignalReader};
use crate::snapshot::{CachedReader, Reader, Snapshot};

/// What a worker keeps from one run to the next: its lane stays open, so that nothing accepted is lost and its number stays.
pub(crate) struct Port<S: Reducer, P> {
    pub(crate) lane: Lane<S::Event>,
    pub(crate) reader: Reader<S>,
    pub(crate) newest: CachedReader<S>,
    pub(crate) policy: PolicyReader<P>,
    pub(crate) cancellation: CancellationToken,
    pub(crate) nudge: Arc<Nudge>,
    pub(crate) runtime: Option<tokio::runtime::Handle>,
    pub(crate) congestion: Gauge,
    pub(crate) signals: Option<Bus>,
    /// Who its lane's events are about, and its signals come from.
    pub(crate) origin: Origin,
}

impl<S: Reducer, P> Port<S, P> {
    /// Resolves when there is a newer snapshot than the one that was looked at last; never when there will be none.
    fn state_changed(&self) -> impl Future<Output = ()> + Send + use<S, P> {
        let mut reader = self.reader.after(self.newest.held_version());
        async move {
            if reader.changed().await.is_none() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Resolves when there is another policy than the one that was looked at last.
    fn policy_changed(&self) -> impl Future<Output = ()> + Send + use<S, P>
    where
        P: Send + Sync,
    {
        let mut policy = self.policy.clone();
        async move {
            policy.changed().await;
        }
    }
}

/// How many critical events a worker's lane may hold, by the load that is expected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Load {
    /// 64: a monitor, a timer.
    Light,
    /// 256: a watcher, a syncer.
    #[default]
    Normal,
    /// 512: a loader.
    Heavy,
    /// As many as this; see [`CAPACITY_MAX`](crate::CAPACITY_MAX).
    Slots(usize),
}

impl Load {
    /// How many slots the ring has.
    pub fn slots(self) -> usize {
        match self {
            Load::Light => 64,
            Load::Normal => 256,
            Load::Heavy => 512,
            Load::Slots(slots) => slots,
        }
    }
}

/// How a worker's lane is doing, for workers that can do less for a while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Congestion {
    /// There is room.
    #[default]
    Clear,
    /// Half of the ring or more was full, and it has not fallen to a quarter since.
    Busy,
    /// Seven eighths of it or more were full, and it has not fallen to half since: the next critical event may have to wait.
    Full,
}

/// The congestion of one lane, with hysteresis.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gauge(Congestion);

impl Gauge {
    pub(crate) fn observe(&mut self, used: usize, capacity: usize) -> Congestion {
        let was = self.0;
        self.0 = if used * 8 >= capacity * 7 || (was == Congestion::Full && used * 2 > capacity) {
            Congestion::Full
        } else if used * 2 >= capacity || (was >= Congestion::Busy && used * 4 > capacity) {
            Congestion::Busy
        } else {
            Congestion::Clear
        };
        self.0
    }
}

/// What a worker on a thread is given: see [`Worker`](crate::control::Worker).
pub struct WorkerContext<S: Reducer, P = ()>(pub(crate) Port<S, P>);

/// What a worker that is a task is given: see [`AsyncWorker`](crate::control::AsyncWorker).
pub struct TaskContext<S: Reducer, P = ()>(pub(crate) Port<S, P>);

/// What both kinds of context have.
macro_rules! context {
    ($context:ident) => {
        impl<S: Reducer, P> $context<S, P> {
            /// The newest snapshot. Costs an atomic load when there is no newer one.
            pub fn state(&mut self) -> &Snapshot<S> {
                self.0.newest.load()
            }

            /// A reader of snapshots, to keep or to hand on.
            pub fn reader(&self) -> Reader<S> {
                self.0.reader.clone()
            }

            /// The policy that holds now. Costs an atomic load when it has not changed.
            pub fn policy(&mut self) -> &P {
                self.0.policy.load()
            }

            /// True when the worker is to stop.
            pub fn is_cancelled(&self) -> bool {
                self.0.cancellation.is_cancelled()
            }

            /// Cancelled when the worker is to stop: to hand to whatever it calls.
            pub fn cancellation(&self) -> &CancellationToken {
                &self.0.cancellation
            }

            /// The panel's runtime, if it has one by now.
            pub fn runtime(&self) -> Option<&tokio::runtime::Handle> {
                self.0.runtime.as_ref()
            }

            /// The [bus](crate::control::PanelBuilder::signals) that the panel was given, if it was given one: to publish, and to subscribe.
            pub fn signals(&self) -> Option<&Bus> {
                self.0.signals.as_ref()
            }

            /// Where the worker publishes signals of one family, if the panel was given a bus. Their source is the worker's
            /// [origin](Self::origin). To be made once and kept, in the worker's start.
            pub fn outlet<T: Signal>(&self) -> Option<SignalOutlet<T>> {
                self.signals().map(|bus| bus.outlet(self.origin()))
            }

            /// Who the events of the worker's lane are about, unless they say otherwise: as its
            /// [lane](crate::control::WorkerSpec::lane) was set up.
            pub fn origin(&self) -> Origin {
                self.0.origin
            }
        }

        impl<S: Reducer, P> fmt::Debug for $context<S, P> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($context)).field("lane", &self.0.lane.name()).finish_non_exhaustive()
            }
        }
    };
}

context!(WorkerContext);
context!(TaskContext);

impl<S: Reducer, P> WorkerContext<S, P> {
    /// The worker's own lane.
    pub fn lane(&mut self) -> WorkerLane<'_, S::Event> {
        WorkerLane { lane: &mut self.0.lane, congestion: &mut self.0.congestion }
    }

    /// Waits this long, or until the worker is cancelled or nudged; says which.
    pub fn wait(&mut self, duration: Duration) -> Woken {
        self.wait_until(Instant::now().checked_add(duration))
    }

    /// Waits until `moment`, for good if there is none, or until the worker is cancelled or nudged; says which.
    pub fn wait_until(&mut self, moment: Option<Instant>) -> Woken {
        self.0.nudge.wait_until(moment, &self.0.cancellation)
    }

    /// Waits until there is a newer snapshot than the one that [`state`](WorkerContext::state) returned last, until `moment` at most, or until the
    /// worker is cancelled or nudged; says which. It may be one that the worker's own events have brought about.
    pub fn wait_for_state(&mut self, moment: Option<Instant>) -> Woken {
        self.0.nudge.wait_for(self.0.state_changed(), moment, &self.0.cancellation)
    }

    /// As [`wait_for_state`](WorkerContext::wait_for_state), for another policy than the one that [`policy`](WorkerContext::policy) returned
    /// last.
    pub fn wait_for_policy(&mut self, moment: Option<Instant>) -> Woken
    where
        P: Send + Sync,
    {
        self.0.nudge.wait_for(self.0.policy_changed(), moment, &self.0.cancellation)
    }

    /// Waits for a signal, until `moment` at most, or until the worker is cancelled or nudged. When the bus is shut down there will be
    /// none any more, and it waits for the others.
    ///
    /// A task awaits [`SignalReader::next`] beside [`cancelled`](TaskContext::cancelled) instead.
    ///
    /// # Errors
    /// Why it waits no longer, when that was no signal.
    pub fn wait_for_signal<T: Signal>(
        &mut self,
        reader: &mut SignalReader<T>,
        moment: Option<Instant>,
    ) -> Result<Delivery<T>, Woken> {
        let mut next = None;
        let come = async {
            match reader.next().await {
                Some(delivery) => next = Some(delivery),
                None => std::future::pending::<()>().await,
            }
        };
        let woken = self.0.nudge.wait_for(come, moment, &self.0.cancellation);
        next.ok_or(woken)
    }
}

impl<S: Reducer, P> TaskContext<S, P> {
    /// The worker's own lane.
    pub fn lane(&mut self) -> TaskLane<'_, S::Event> {
        TaskLane { lane: &mut self.0.lane, congestion: &mut self.0.congestion }
    }

    /// Resolves when the worker is to stop.
    pub fn cancelled(&self) -> impl Future<Output = ()> + Send + use<S, P> {
        self.0.cancellation.clone().cancelled_owned()
    }

    /// Resolves when there is a newer snapshot than the one that [`state`](TaskContext::state) returned last before this call. Never when the
    /// pipeline has ended: await [`cancelled`](TaskContext::cancelled) beside it.
    pub fn state_changed(&self) -> impl Future<Output = ()> + Send + use<S, P> {
        self.0.state_changed()
    }

    /// Resolves when there is another policy than the one that [`policy`](TaskContext::policy) returned last before this call.
    pub fn policy_changed(&self) -> impl Future<Output = ()> + Send + use<S, P>
    where
        P: Send + Sync,
    {
        self.0.policy_changed()
    }

    /// Resolves when the worker is [nudged](crate::control::ControlPanel::nudge), or was since the last time.
    pub fn nudged(&self) -> impl Future<Output = ()> + Send + use<S, P> {
        let nudge = self.0.nudge.clone();
        async move { nudge.nudged().await }
    }
}

/// A worker's own lane. Critical events wait for room; lossy ones never do.
pub struct WorkerLane<'a, E: Event> {
    lane: &'a mut Lane<E>,
    congestion: &'a mut Gauge,
}

/// As [`WorkerLane`], for a task: it waits without holding up its thread.
pub struct TaskLane<'a, E: Event> {
    lane: &'a mut Lane<E>,
    congestion: &'a mut Gauge,
}

impl<E: Event> WorkerLane<'_, E> {
    /// Pushes one event. A critical one waits while the ring is full.
    ///
    /// # Errors
    /// The event: when the pipeline has shut down, or when it still waits as the worker's stop deadline passes.
    pub fn push(&mut self, event: E) -> Result<(), Refused<E>> {
        self.lane.push(event)
    }

    /// Pushes events in order, see [`Lane::push_batch`]; waits as [`push`](WorkerLane::push) does.
    ///
    /// # Errors
    /// The events that were not accepted, as `push` does.
    pub fn push_batch<I>(&mut self, events: I) -> Result<usize, Refused<crate::Unsent<E, I::IntoIter>>>
    where
        I: IntoIterator<Item = E>,
    {
        self.lane.push_batch(events)
    }
}

impl<E: Event> TaskLane<'_, E> {
    /// Pushes one event. A critical one waits while the ring is full. Dropping the future while it waits drops the event.
    ///
    /// # Errors
    /// The event: when the pipeline has shut down, or when it still waits as the worker's stop deadline passes.
    pub async fn push(&mut self, event: E) -> Result<(), Refused<E>> {
        self.lane.push_in_task(event).await
    }
}

/// What both kinds of lane have.
macro_rules! lane {
    ($lane:ident) => {
        impl<E: Event> $lane<'_, E> {
            /// Pushes one event, and never waits.
            ///
            /// # Errors
            /// The event, when it is critical and the ring is full, or when the pipeline has shut down. Both are counted.
            pub fn try_push(&mut self, event: E) -> Result<(), Refused<E>> {
                self.lane.try_push(event)
            }

            /// How full the ring is, for workers that can do less for a while.
            pub fn congestion(&mut self) -> Congestion {
                let (used, capacity) = self.lane.filled();
                self.congestion.observe(used, capacity)
            }

            /// Which lane this is. It stays the same when the worker is restarted.
            pub fn id(&self) -> LaneId {
                self.lane.id()
            }
        }

        impl<E: Event> fmt::Debug for $lane<'_, E> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($lane)).field("lane", &self.lane).finish_non_exhaustive()
            }
        }
    };
}

lane!(WorkerLane);
lane!(TaskLane);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn congestion_rises_at_once_and_falls_late() {
        let mut gauge = Gauge::default();
        use Congestion::{Busy, Clear, Full};
        let used = [0, 31, 32, 17, 31, 16, 17, 56, 33, 32, 17, 16, 64, 16];
        let expected = [Clear, Clear, Busy, Busy, Busy, Clear, Clear, Full, Full, Busy, Busy, Clear, Full, Clear];
        let levels = used.map(|used| gauge.observe(used, 64));
        assert_eq!(levels, expected);
    }
}

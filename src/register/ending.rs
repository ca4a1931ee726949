//! Following one operation to its end: by the signals that are a part of it, and by what snapshots say of it.
//!
//! Signals alone cannot tell an end: it may have been published before the subscription. Snapshots alone cannot, either, if they are looked
//! at once: it may be applied after the look. So whoever waits has both ends in hand, in this order: the subscription is there before the
//! first look at a snapshot, and the outcome is taken from snapshots alone, at every one that is published.

use std::fmt;
use std::pin::pin;
use std::task::Poll;
use std::time::Instant;

use super::operations::{EndedOperation, Followed, OperationsView};
use crate::control::wait::block_until;
use crate::event::OperationId;
use crate::main_lane::reduce::Reducer;
use crate::signal::{Delivery, Signal, SignalReader};
use crate::snapshot::Reader;

/// What there is to tell of an operation.
#[derive(Debug)]
pub enum OperationNews<T, O> {
    /// A signal, or tidings of missed ones.
    Signal(Delivery<T>),
    /// It has ended. The last of its news.
    Ended(EndedOperation<O>),
    /// It was followed in the state, and gave way to newer ones: what became of it cannot be told any more. The last of its news.
    Forgotten,
    /// The pipeline has ended, and the operation has not. The last of its news.
    LeftOpen,
}

/// Where a state follows operations.
type Find<S, O> = Box<dyn Fn(&S) -> &OperationsView<O> + Send>;

/// Follows one operation from wherever it is to its end, and never guesses: see [`OperationNews`].
///
/// It is made of a subscription to the operation's signals and a reader of the state that follows operations. Whatever came before what,
/// the subscription, the end, and the look at the state, the end is told, once, with its outcome, and nothing after it.
///
/// What signals say comes as it comes: an end that is in a snapshot may be told before signals that are on their way to this
/// subscriber, which are then left. In a state that an undo changes, an operation is as the last snapshot has it.
///
/// ```
/// # use std::time::{Duration, Instant};
/// # use mainlane::{Class, Effects, Envelope, Event, Operation, Phase, Pipeline, Reducer, Budget};
/// use mainlane::Origin;
/// use mainlane::register::{OperationFollower, OperationNews, OperationsView};
/// use mainlane::signal::{Bus, Cause, Signal};
/// # struct Step { operation: Operation, exit_code: i32 }
/// # impl Event for Step {
/// #     type Key = ();
/// #     type Facets = ();
/// #     fn class(&self) -> Class<()> { Class::Critical }
/// #     fn operation(&self) -> Option<Operation> { Some(self.operation) }
/// # }
/// # #[derive(Clone, Default)]
/// # struct Builds { operations: OperationsView<i32> }
/// # impl Reducer for Builds {
/// #     type Event = Step;
/// #     type Effect = ();
/// #     fn apply(&mut self, envelope: &Envelope<'_, Step>, _: &mut Effects<()>) {
/// #         self.operations.follow(envelope, |end| end.exit_code);
/// #     }
/// # }
///
/// struct Compiled { file: u32 }
///
/// impl Signal for Compiled {
///     const FAMILY: &'static str = "compiled";
/// }
///
/// # let builder = Pipeline::builder(Builds::default());
/// # let mut lane = builder.lane("build").open()?;
/// # let (mut main_lane, handle) = builder.build()?;
/// # let (mut dispatcher, bus) = Bus::builder().build();
/// let build = handle.operation();
/// let signals = bus.subscribe::<Compiled>("progress bar").operation(build).reader()?;
/// let mut follower = OperationFollower::new(build, signals, handle.reader(), |state: &Builds| &state.operations);
///
/// let outlet = bus.outlet::<Compiled>(Origin::built_in("builder", 1));
/// outlet.publish_because(Cause::operation(build), Compiled { file: 1 })?;
/// # dispatcher.turn(Budget::UNLIMITED);
/// assert!(matches!(follower.next_waiting(), Some(OperationNews::Signal(_))));
/// lane.push(Step { operation: Operation { id: build, sequence: 0, phase: Phase::Terminal }, exit_code: 2 })?;
/// # main_lane.turn(Budget::UNLIMITED)?;
/// let Some(OperationNews::Ended(end)) = follower.wait(Instant::now() + Duration::from_secs(60)) else { panic!("no end") };
/// assert_eq!(end.outcome, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a follower that nobody asks tells nothing"]
pub struct OperationFollower<S: Reducer, T: Signal, O: Clone> {
    id: OperationId,
    signals: SignalReader<T>,
    states: Reader<S>,
    operations: Find<S, O>,
    /// The last of the news was told.
    is_over: bool,
}

impl<S: Reducer, T: Signal, O: Clone> OperationFollower<S, T, O> {
    /// Follows an operation. `signals` is a subscription to [those of this operation](crate::signal::Subscribe::operation), with whatever
    /// other filter and policy; `operations` says where the state follows them.
    pub fn new(
        id: OperationId,
        signals: SignalReader<T>,
        states: Reader<S>,
        operations: impl Fn(&S) -> &OperationsView<O> + Send + 'static,
    ) -> Self {
        Self { id, signals, states, operations: Box::new(operations), is_over: false }
    }

    /// What there is to tell now: signals that wait, and then how the operation ended, if it has. Never waits.
    pub fn next_waiting(&mut self) -> Option<OperationNews<T, O>> {
        if self.is_over {
            return None;
        }
        if let Some(delivery) = self.signals.next_waiting() {
            return Some(OperationNews::Signal(delivery));
        }
        let last = self.last();
        self.is_over = last.is_some();
        last
    }

    fn last(&self) -> Option<OperationNews<T, O>> {
        // Before the snapshot is loaded: what is published then is the last.
        let is_ended = self.states.is_ended();
        match (self.operations)(&self.states.load()).get(self.id) {
            Followed::Ended(end) => Some(OperationNews::Ended(end.clone())),
            Followed::Forgotten => Some(OperationNews::Forgotten),
            Followed::Unknown | Followed::Open(_) => is_ended.then_some(OperationNews::LeftOpen),
        }
    }

    /// Waits for the next news, `deadline` at most. `None` when there were none by then, or the last was told.
    pub fn wait(&mut self, deadline: Instant) -> Option<OperationNews<T, O>> {
        block_until(Some(deadline), self.next()).flatten().or_else(|| self.next_waiting())
    }

    /// The next news; `None` when the last was told. Needs no runtime, and loses nothing when the future is dropped half-way.
    pub async fn next(&mut self) -> Option<OperationNews<T, O>> {
        loop {
            let news = self.next_waiting();
            if news.is_some() || self.is_over {
                return news;
            }
            let are_over = self.signals.is_over();
            let Self { signals, states, .. } = self;
            let (mut signal, mut change) = (pin!(signals.next()), pin!(states.changed()));
            let delivery = std::future::poll_fn(|task| {
                // Once for each snapshot; and for good when there will be none, which the next look tells.
                if change.as_mut().poll(task).is_ready() {
                    return Poll::Ready(None);
                }
                // Nothing comes of a bus that was shut down; the state goes on.
                if are_over { Poll::Pending } else { signal.as_mut().poll(task) }
            })
            .await;
            if let Some(delivery) = delivery {
                return Some(OperationNews::Signal(delivery));
            }
        }
    }

    /// True when the last of its news was told.
    pub fn is_over(&self) -> bool {
        self.is_over
    }
}

impl<S: Reducer, T: Signal, O: Clone> fmt::Debug for OperationFollower<S, T, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperationFollower")
            .field("id", &self.id)
            .field("is_over", &self.is_over)
            .finish_non_exhaustive()
    }
}

//! Drives sources and the state in tests, without the rest of the engine.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::event::WorkspaceEvent;
use super::state::{Workspace, WorkspaceEffect};
use crate::clock::Stamp;
use crate::event::{LaneId, Sequence};
use crate::{Effects, Envelope, Event, Outlet, Pipeline, Polled, Reducer, Source};

/// How long a test waits for something that must happen, before it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A source under test and everything it has emitted so far.
pub(super) struct Bench<S> {
    pub(super) source: S,
    outlet: Outlet<WorkspaceEvent>,
    pub(super) events: Vec<WorkspaceEvent>,
    pub(super) done: bool,
}

impl<S: Source<Event = WorkspaceEvent>> Bench<S> {
    pub(super) fn new(source: S) -> Self {
        Self { source, outlet: outlet(), events: Vec::new(), done: false }
    }

    /// Polls once and takes in what was emitted.
    pub(super) fn poll(&mut self) {
        let polled = self.source.poll(&mut self.outlet).expect("the source stays usable");
        self.events.extend(self.outlet.staged.drain(..).map(|(_, event)| event));
        match polled {
            Polled::Done => self.done = true,
            // The pace that the source asks for, as its lane's thread would keep it.
            Polled::Until(moment) => std::thread::park_timeout(moment.saturating_duration_since(Instant::now())),
            Polled::Ready | Polled::Idle => {}
        }
    }

    /// Polls until what was emitted so far satisfies `enough`.
    pub(super) fn poll_until(&mut self, what: &str, mut enough: impl FnMut(&[WorkspaceEvent]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !enough(&self.events) {
            assert!(Instant::now() < deadline, "waited too long for {what}; last events: {:?}", self.tail());
            assert!(!self.done, "the source ended before {what}; last events: {:?}", self.tail());
            self.poll();
        }
    }

    /// Polls until the source says that nothing will ever come.
    pub(super) fn poll_to_the_end(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.done {
            assert!(Instant::now() < deadline, "the source does not end; last events: {:?}", self.tail());
            self.poll();
        }
    }

    /// The state after all events so far.
    pub(super) fn state(&self) -> Workspace {
        let mut state = Workspace::default();
        apply_all(&mut state, &self.events);
        state
    }

    fn tail(&self) -> &[WorkspaceEvent] {
        &self.events[self.events.len().saturating_sub(10)..]
    }
}

/// An outlet that publishes nothing: what is staged can be looked at.
pub(super) fn outlet() -> Outlet<WorkspaceEvent> {
    let lane = Pipeline::builder(Workspace::default()).lane("bench").open().expect("the defaults are in range");
    Outlet { staged: VecDeque::new(), chunk: usize::MAX, lane, closed: false, emitted: 0 }
}

/// Calls `apply` with an envelope around `event`.
pub(super) fn with_envelope(
    event: &WorkspaceEvent,
    apply: impl FnOnce(&Envelope<'_, WorkspaceEvent>, &mut Effects<WorkspaceEffect>),
) -> Effects<WorkspaceEffect> {
    let mut effects = Effects::new();
    let facets = Default::default();
    let envelope = Envelope {
        stamp: Stamp::UNCLOCKED,
        lane: LaneId(0),
        sequence: Sequence(0),
        origin: event.origin().expect("every event of a workspace names its origin"),
        operation: event.operation(),
        parts: 1,
        facets: &facets,
        event,
    };
    apply(&envelope, &mut effects);
    effects
}

/// Applies events in order and collects their effects.
pub(super) fn apply_all(state: &mut Workspace, events: &[WorkspaceEvent]) -> Effects<WorkspaceEffect> {
    let mut all = Effects::new();
    for event in events {
        let effects = with_envelope(event, |envelope, effects| state.apply(envelope, effects));
        assert_eq!(effects.misrouted_to, None, "misrouted: {event:?}");
        all.pending.extend(effects.pending);
    }
    all
}

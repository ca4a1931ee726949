//! Breaking a project on purpose, to see that the others go on.
//!
//! The workspace knows nothing of it: a state around it takes the events that are for this alone, and hands on all others.

use std::time::{Duration, Instant};

use mainlane::workspace::{PlugInEvent, Workspace, WorkspaceEffect, WorkspaceEvent, WorkspaceFacets};
use mainlane::{Authority, Effects, Envelope, Origin, Outlet, Polled, Reducer, Source, SourceError};

use crate::args::Breakage;

/// The lane of the events that break a project, and the plug-in that they are from.
pub(crate) const TRIAL: &str = "trial";
/// What the panic says.
const ON_PURPOSE: &str = "broken on purpose, by --break";
/// How long a turn hangs: longer than a crew allows, not so long that a shutdown gives it up.
const HANG: Duration = Duration::from_secs(2);
const PANIC: &str = "panic";
const HANGS: &str = "hang";

impl Breakage {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Panic(_) => PANIC,
            Self::Hang(_) => HANGS,
        }
    }
}

/// True for the reason of a failure that was asked for.
pub(crate) fn is_on_purpose(why: &str) -> bool {
    why.ends_with(ON_PURPOSE)
}

/// A workspace that can be broken.
#[derive(Clone, Default)]
pub(crate) struct Fragile {
    pub(crate) workspace: Workspace,
}

impl Reducer for Fragile {
    type Event = WorkspaceEvent;
    type Effect = WorkspaceEffect;

    const AUTHORITIES: &'static [Authority] = Workspace::AUTHORITIES;

    fn apply(&mut self, envelope: &Envelope<'_, WorkspaceEvent>, effects: &mut Effects<WorkspaceEffect>) {
        match envelope.event {
            WorkspaceEvent::PlugIn(PlugInEvent { plugin: TRIAL, schema: PANIC, .. }) => panic!("{ON_PURPOSE}"),
            WorkspaceEvent::PlugIn(PlugInEvent { plugin: TRIAL, schema: HANGS, .. }) => std::thread::sleep(HANG),
            _ => self.workspace.apply(envelope, effects),
        }
    }

    fn facets_of(&self, origin: Origin, event: &WorkspaceEvent) -> Option<&WorkspaceFacets> {
        self.workspace.facets_of(origin, event)
    }
}

/// The event that breaks a project, once, when the time has come.
pub(crate) struct Breaker {
    due: Option<Instant>,
    how: Breakage,
}

impl Breaker {
    pub(crate) fn new(how: Breakage) -> Self {
        let (Breakage::Panic(after) | Breakage::Hang(after)) = how;
        Self { due: Instant::now().checked_add(after), how }
    }
}

impl Source for Breaker {
    type Event = WorkspaceEvent;

    fn poll(&mut self, outlet: &mut Outlet<WorkspaceEvent>) -> Result<Polled, SourceError> {
        let Some(due) = self.due else { return Ok(Polled::Done) };
        if Instant::now() < due {
            return Ok(Polled::Until(due));
        }
        self.due = None;
        outlet.push(WorkspaceEvent::PlugIn(PlugInEvent { plugin: TRIAL, schema: self.how.name(), payload: [].into() }));
        Ok(Polled::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainlane::workspace::{PaneEvent, PaneId};
    use mainlane::{Budget, Pipeline};

    fn say(schema: &'static str) -> WorkspaceEvent {
        WorkspaceEvent::PlugIn(PlugInEvent { plugin: TRIAL, schema, payload: [].into() })
    }

    #[test]
    fn everything_but_what_breaks_it_is_the_workspaces() {
        let builder = Pipeline::builder(Fragile::default());
        let mut lane = builder.lane("a").open().unwrap();
        let (mut main_lane, _handle) = builder.build().unwrap();
        let bell = WorkspaceEvent::Pane(PaneEvent::Bell { pane: PaneId(1), count: 2 });
        lane.push(bell).and_then(|_| lane.push(say("other"))).unwrap();
        main_lane.turn(Budget::UNLIMITED).unwrap();
        let model = &main_lane.state().workspace.model;
        assert_eq!((model.panes.get(&PaneId(1)).unwrap().bells, model.plug_ins.len()), (2, 1));
    }

    #[test]
    fn a_panic_on_purpose_is_told_from_others() {
        let builder = Pipeline::builder(Fragile::default());
        builder.ingest(TRIAL, Breaker::new(Breakage::Panic(Duration::ZERO))).start().unwrap();
        let (mut main_lane, _handle) = builder.build().unwrap();
        let error = loop {
            main_lane.wait_for_input(Instant::now() + Duration::from_secs(60));
            if let Err(error) = main_lane.turn(Budget::UNLIMITED) {
                break error;
            }
        };
        drop(error);
        let report = main_lane.shutdown(Duration::from_secs(60));
        let why = report.fault.unwrap().to_string();
        assert!(is_on_purpose(&why) && why.contains(TRIAL), "{why}");
        assert!(!is_on_purpose(
            "the reducer panicked on an event of kind `pane` from lane `pane 1`: index out of bounds"
        ));
    }
}

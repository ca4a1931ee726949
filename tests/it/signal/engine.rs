//! The engine's diagnostics on the bus.

use mainlane::{Diagnostic, Pipeline};

use super::*;
use crate::domain::{Ledger, Note, drain};

const PIPELINE: Origin = Origin::built_in("pipeline", 7);

#[test]
fn what_is_out_of_the_ordinary_reaches_whoever_listens_and_the_host_as_before() {
    let (mut dispatcher, bus) = bus();
    let only = |sent: &Sent<Diagnostic>| matches!(**sent, Diagnostic::Misrouted { .. });
    let mut view = bus.subscribe::<Diagnostic>("view").from(PIPELINE).filter(only).reader().unwrap();
    let mut other = bus.subscribe::<Diagnostic>("other pipelines").from(HERE).reader().unwrap();
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("one").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    assert!(handle.publish_diagnostics(&bus, PIPELINE));
    assert!(!handle.publish_diagnostics(&bus, HERE), "one bus, one source");
    lane.push(Note::Foreign).unwrap();
    drain(&mut main_lane);
    dispatch(&mut dispatcher);
    let heard = view.next_waiting().expect("an event reached the wrong owner");
    let drained: Vec<_> = handle.diagnostics().drain().filter(|d| matches!(d, Diagnostic::Misrouted { .. })).collect();
    assert_eq!(drained, [heard.signal().unwrap().signal().clone()]);
    assert!(view.next_waiting().is_none() && other.next_waiting().is_none());
}

#[test]
fn what_is_heard_on_the_bus_need_not_be_drained_by_the_host() {
    const EVENTS: usize = 3_000;
    let (mut dispatcher, bus) = bus();
    let mut seen = 0;
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("one").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    handle.publish_diagnostics(&bus, PIPELINE);
    let mut view = bus.subscribe::<Diagnostic>("view").waiting(10_000).reader().unwrap();
    let mut push = |seen: &mut usize| {
        for _ in 0..EVENTS {
            lane.push(Note::Foreign).unwrap();
            drain(&mut main_lane);
            dispatch(&mut dispatcher);
        }
        *seen += view.drain(Budget::UNLIMITED, |_| ()).signals;
    };
    push(&mut seen);
    assert_eq!((seen, handle.counters().diagnostics_dropped), (EVENTS, 0));
    drop(view);
    let mut alone = || {
        lane.push(Note::Foreign).unwrap();
        drain(&mut main_lane);
        dispatch(&mut dispatcher);
    };
    (0..100).for_each(|_| alone());
    assert!(
        handle.counters().diagnostics_dropped >= 99,
        "nobody hears them now, and nobody drained the first thousand"
    );
}

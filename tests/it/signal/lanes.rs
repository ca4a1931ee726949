//! Signals that become events: the one way in which they change a state.

use mainlane::signal::OnFailure;
use mainlane::{Drive, Pipeline};

use super::*;
use crate::domain::{Ledger, Note, drain, settled, until};

fn to_note(sent: &Sent<Said>) -> Option<Note> {
    (!sent.0.is_multiple_of(3)).then_some(Note::Item(sent.0))
}

#[test]
fn signals_reach_the_reducer_through_a_lane_on_a_thread_of_the_bus() {
    let running = Bus::builder().start().unwrap();
    let builder = Pipeline::builder(Ledger::default());
    // A lane that is full most of the time: critical events are tried again, and none is lost.
    let lane = builder.lane("signals").capacity(2).open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    let bus = running.bus();
    let subscription = bus.subscribe::<Said>("to lane").waiting(1_000).into_lane("hands", lane, to_note).unwrap();
    let outlet = bus.outlet::<Said>(HERE);
    for number in 0..300 {
        until("room for a signal", || outlet.publish(Said(number)).is_ok());
    }
    let mut applied = 0;
    until("all that are to be events", || {
        applied += drain(&mut main_lane);
        applied == 200
    });
    let expected: Vec<_> = (0..300).filter(|n| n % 3 != 0).map(Note::Item).collect();
    assert_eq!(handle.reader().load().notes(), expected);
    assert_eq!(settled(&handle).events.applied, 200);
    assert_eq!(subscription.status().given_up, 0);
}

#[test]
fn signals_reach_the_reducer_as_the_source_of_a_lane() {
    let mut running = Bus::builder().start().unwrap();
    let source = running.bus().subscribe::<Said>("source").waiting(1_000).source(to_note).unwrap();
    let builder = Pipeline::builder(Ledger::default());
    builder.ingest("signals", source).start().unwrap();
    let (main_lane, handle) = builder.build().unwrap();
    let mut pipeline = main_lane.spawn(Drive::new()).unwrap();
    let outlet = running.bus().outlet::<Said>(HERE);
    for number in 0..300 {
        until("room for a signal", || outlet.publish(Said(number)).is_ok());
    }
    let expected: Vec<_> = (0..300).filter(|n| n % 3 != 0).map(Note::Item).collect();
    until("all that are to be events", || handle.reader().load().seen.len() == expected.len());
    assert_eq!(handle.reader().load().notes(), expected);
    // The lane ends with the bus; a pipeline that ends first lets go of the source.
    assert!(running.shutdown(PATIENCE).complete);
    until("the end of the lane", || handle.counters().lanes.is_empty());
    assert!(pipeline.shutdown(PATIENCE).complete);
}

#[test]
fn a_pipeline_that_shuts_down_first_lets_go_of_its_signals() {
    let running = Bus::builder().start().unwrap();
    let bus = running.bus();
    let builder = Pipeline::builder(Ledger::default());
    let lane = builder.lane("signals").open().unwrap();
    builder.ingest("source", bus.subscribe::<Said>("source").source(to_note).unwrap()).start().unwrap();
    let (main_lane, _handle) = builder.build().unwrap();
    let mut pipeline = main_lane.spawn(Drive::new()).unwrap();
    let subscription = bus.subscribe::<Said>("to lane").into_lane("hands", lane, to_note).unwrap();
    let outlet = bus.outlet::<Said>(HERE);
    assert!(pipeline.shutdown(PATIENCE).complete, "a source that waits for signals is interrupted");
    until("room for a signal", || outlet.publish(Said(1)).is_ok());
    until("both subscriptions are gone", || !outlet.is_heard());
    let status = subscription.status();
    assert_eq!((status.given_up, status.retries), (1, 0), "its event found the lane closed, and was not tried again");
}

#[test]
fn a_source_does_not_wait_for_itself() {
    let running = Bus::builder().start().unwrap();
    let bus = running.bus();
    let blocks = bus.subscribe::<Asked>("blocks").waiting(1).block(PATIENCE * 10).reader().unwrap();
    let (asks, (tries, tried)) = (bus.outlet::<Asked>(HERE), std::sync::mpsc::channel());
    let map = move |_: &Sent<Said>| {
        // The dispatcher makes some room yet, until the subscriber blocks.
        let refused = (0..).find_map(|_| asks.publish_within(PATIENCE * 10, Cause::NONE, Asked(1)).err());
        tries.send(refused).unwrap();
        None::<Note>
    };
    let builder = Pipeline::builder(Ledger::default());
    builder.ingest("signals", bus.subscribe::<Said>("source").source(map).unwrap()).start().unwrap();
    let (main_lane, _handle) = builder.build().unwrap();
    let _pipeline = main_lane.spawn(Drive::new()).unwrap();
    bus.outlet::<Said>(HERE).publish(Said(1)).unwrap();
    assert_eq!(tried.recv_timeout(PATIENCE), Ok(Some(Unpublished::MayNotWait(Asked(1)))));
    drop(blocks);
}

#[test]
fn whoever_would_rather_lose_events_says_so() {
    let running = Bus::builder().start().unwrap();
    let builder = Pipeline::builder(Ledger::default());
    let lane = builder.lane("signals").capacity(2).open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    let bus = running.bus();
    let subscription = bus
        .subscribe::<Said>("to lane")
        .waiting(100)
        .on_failure(OnFailure::Skip)
        .into_lane("hands", lane, |sent| Some(Note::Item(sent.0)))
        .unwrap();
    let outlet = bus.outlet::<Said>(HERE);
    for number in 0..10 {
        until("room for a signal", || outlet.publish(Said(number)).is_ok());
    }
    until("all ten handled", || subscription.status().given_up == 8);
    assert_eq!(drain(&mut main_lane), 2);
    assert_eq!(settled(&handle).events.returned, 8);
}

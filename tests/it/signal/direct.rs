//! Outlets that hand on by themselves.

use mainlane::signal::Backoff;

use super::*;
use crate::domain::until;

#[test]
fn what_is_published_directly_is_there_without_the_dispatcher() {
    let (mut dispatcher, bus, calls) = told_bus();
    let mut reader = bus.subscribe::<Said>("one").reader().unwrap();
    let (direct, other) = (bus.direct_outlet::<Said>(HERE), bus.outlet::<Said>(HERE));
    dispatch(&mut dispatcher);
    assert!(!dispatcher.arm_input());
    let before = calls();
    direct.publish(Said(0)).unwrap();
    assert_eq!((all(&mut reader), calls()), (numbers(0..1), before), "and nobody is woken for it");
    // What others published is handed on with it, before it.
    other.publish(Said(1)).unwrap();
    direct.clone().publish(Said(2)).unwrap();
    assert_eq!(all(&mut reader), numbers(1..3));
}

#[test]
fn the_dispatcher_is_told_when_it_has_to_look_again() {
    let (mut dispatcher, bus, calls) = told_bus();
    let _full =
        bus.subscribe::<Said>("full").waiting(1).retry(3, Backoff::between(PATIENCE, PATIENCE)).reader().unwrap();
    let direct = bus.direct_outlet::<Said>(HERE);
    dispatch(&mut dispatcher);
    direct.publish(Said(0)).unwrap();
    let before = calls();
    direct.publish(Said(1)).unwrap();
    assert_eq!(calls(), before + 1, "something is kept aside, and is to be tried again");
    assert!(dispatcher.turn(Budget::UNLIMITED).due.is_some());
}

#[test]
fn in_a_filter_and_in_a_handler_it_is_left_to_the_dispatcher() {
    let (mut dispatcher, bus) = bus();
    let mut answers = bus.subscribe::<Asked>("answers").reader().unwrap();
    let direct = bus.direct_outlet::<Asked>(HERE);
    let mut reader =
        bus.subscribe::<Said>("asks").filter(move |sent| direct.publish(Asked(sent.0)).is_ok()).reader().unwrap();
    bus.direct_outlet::<Said>(HERE).publish(Said(3)).unwrap();
    assert_eq!(all(&mut reader), numbers(3..4));
    dispatch(&mut dispatcher);
    assert_eq!(answers.next_waiting().unwrap().signal().map(|sent| sent.0), Some(3));
}

#[test]
fn with_others_beside_it_and_a_shutdown_in_the_middle_all_are_delivered_or_counted() {
    for round in 0..50_u64 {
        let mut running = Bus::builder().start().unwrap();
        let bus = running.bus().clone();
        let mut reader = bus.subscribe::<Said>("one").waiting(100_000).reader().unwrap();
        let go = Arc::new(AtomicBool::new(false));
        let publishing: Vec<_> = (0..3)
            .map(|place| {
                let source = Origin::built_in("test", place);
                let outlet = if place == 0 { bus.outlet::<Said>(source) } else { bus.direct_outlet(source) };
                publish_until_closed(outlet, round * 5, go.clone())
            })
            .collect();
        until("publications", || go.load(SeqCst));
        let report = running.shutdown(PATIENCE);
        assert!(report.complete);
        let accepted: u64 = publishing.into_iter().map(|thread| thread.join().unwrap()).sum();
        let (mut delivered, mut last) = (0, [None; 3]);
        while let Some(delivery) = reader.next_waiting() {
            match delivery {
                Delivery::Signal { sent, .. } => {
                    let Origin::BuiltIn { id, .. } = sent.source() else { panic!("{sent:?}") };
                    let last = &mut last[id as usize];
                    assert!(last.is_none_or(|last| last < sent.0), "{} after {last:?}", sent.0);
                    *last = Some(sent.0);
                    delivered += 1;
                }
                Delivery::Missed(missed) => delivered += missed.count,
            }
        }
        let status = running.bus().status::<Said>();
        assert_eq!((accepted, status.published), (delivered + status.stranded, accepted));
    }
}

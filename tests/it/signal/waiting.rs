//! Publishers that wait, and those that may not.

use std::sync::mpsc;

use mainlane::signal::{BusNotice, Handler, HandlerError, SubscriberState};
use mainlane::{Pipeline, Reconciler};

use super::*;
use crate::domain::{Ledger, Note, until};

fn asked(reader: &mut SignalReader<Asked>) -> Vec<Option<u64>> {
    std::iter::from_fn(|| reader.next_waiting()).map(|delivery| delivery.signal().map(|sent| sent.0)).collect()
}

#[test]
fn a_blocking_subscriber_holds_up_its_family_and_loses_nothing() {
    let mut running = Bus::builder().start().unwrap();
    let bus = running.bus();
    let mut reader = bus.subscribe::<Asked>("blocks").waiting(2).block(PATIENCE).reader().unwrap();
    let outlet = bus.outlet::<Asked>(HERE);
    let publishing = std::thread::spawn(move || {
        (0..500).for_each(|number| outlet.publish_within(PATIENCE, Cause::NONE, Asked(number)).unwrap());
    });
    let mut seen = Vec::new();
    while seen.len() < 500 {
        let next = reader.wait(PATIENCE).expect("more is published");
        seen.push(next.signal().expect("nothing is missing").0);
    }
    publishing.join().unwrap();
    assert_eq!(seen, (0..500).collect::<Vec<_>>());
    let status = bus.status::<Asked>();
    assert_eq!((status.refused, status.published, status.subscribers[0].dropped), (0, 500, 0));
    assert!(running.shutdown(PATIENCE).complete);
}

#[tokio::test]
async fn a_task_waits_without_its_thread() {
    let running = Bus::builder().start().unwrap();
    let bus = running.bus().clone();
    let mut reader = bus.subscribe::<Asked>("blocks").waiting(2).block(PATIENCE).reader().unwrap();
    let publishing = tokio::spawn(async move {
        let outlet = bus.outlet::<Asked>(HERE);
        for number in 0..100 {
            outlet.publish_async(Cause::NONE, Asked(number)).await.unwrap();
        }
    });
    // The one thread of this runtime reads and publishes in turn.
    for number in 0..100 {
        assert_eq!(reader.next().await.unwrap().signal().map(|sent| sent.0), Some(number));
    }
    publishing.await.unwrap();
}

#[test]
fn who_may_not_wait_gets_its_signal_back() {
    let (mut dispatcher, bus) = bus();
    let mut reader = bus.subscribe::<Asked>("blocks").waiting(2).block(PATIENCE).reader().unwrap();
    let outlet = bus.outlet::<Asked>(HERE);
    let mut refused = Vec::new();
    for number in 0..10 {
        if let Err(Unpublished::Full(signal)) = outlet.publish(Asked(number)) {
            refused.push(signal.0);
        }
        dispatcher.turn(Budget::UNLIMITED);
    }
    // Two in the queue of the subscriber, four in the family's.
    assert_eq!(refused, [6, 7, 8, 9]);
    assert_eq!(asked(&mut reader), [Some(0), Some(1)]);
    dispatcher.turn(Budget::UNLIMITED);
    assert_eq!(asked(&mut reader), [Some(2), Some(3)]);
    dispatcher.turn(Budget::UNLIMITED);
    // And then what was refused, after all that was there before it.
    assert_eq!(asked(&mut reader), [Some(4), Some(5), None]);
}

#[test]
fn one_that_never_reads_holds_up_its_family_for_its_patience_and_then_loses_the_newest() {
    let (mut dispatcher, bus) = bus();
    let mut notices = bus.subscribe::<BusNotice>("notices").reader().unwrap();
    let mut lazy = bus.subscribe::<Asked>("lazy").waiting(1).block(Duration::from_millis(5)).reader().unwrap();
    let mut good = bus.subscribe::<Asked>("good").reader().unwrap();
    let outlet = bus.outlet::<Asked>(HERE);
    let mut published = 0;
    until("the end of its patience", || {
        published += u64::from(outlet.publish(Asked(published)).is_ok());
        dispatcher.turn(Budget::UNLIMITED);
        published == 20
    });
    until("everything handed on", || {
        dispatcher.turn(Budget::UNLIMITED);
        bus.status::<Asked>().depth == 0
    });
    let good = asked(&mut good).into_iter().flatten().collect::<Vec<_>>();
    assert_eq!(good, (0..20).collect::<Vec<_>>());
    let told: Vec<_> = std::iter::from_fn(|| notices.next_waiting()).collect();
    let suspended = BusNotice::Suspended { family: "asked", subscriber: "lazy".into() };
    assert!(told.iter().any(|notice| notice.signal().is_some_and(|sent| **sent == suspended)), "{told:?}");
    // It reads again, and is waited for again.
    assert_eq!(lazy.next_waiting().unwrap().signal().map(|sent| sent.0), Some(0));
    let Some(Delivery::Missed(missed)) = lazy.next_waiting() else { panic!("it missed nineteen") };
    assert_eq!((missed.count, missed.first, missed.last), (19, 1, 19));
    assert_eq!(lazy.status().state, SubscriberState::Open);
}

#[test]
fn a_patience_without_end_is_a_long_one() {
    let (mut dispatcher, bus) = bus();
    let mut reader = bus.subscribe::<Asked>("blocks").waiting(1).block(Duration::MAX).reader().unwrap();
    let outlet = bus.outlet::<Asked>(HERE);
    (0..2).for_each(|number| outlet.publish(Asked(number)).unwrap());
    assert!(dispatcher.turn(Budget::UNLIMITED).due.is_some());
    assert_eq!(asked(&mut reader), [Some(0)]);
    assert_eq!(dispatch(&mut dispatcher), 1);
}

#[test]
fn while_a_subscriber_blocks_its_dispatcher_can_sleep_until_there_is_room() {
    let (mut dispatcher, bus, calls) = told_bus();
    let mut reader = bus.subscribe::<Asked>("blocks").waiting(1).block(PATIENCE).reader().unwrap();
    let outlet = bus.outlet::<Asked>(HERE);
    outlet.publish(Asked(0)).unwrap();
    dispatch(&mut dispatcher);
    (1..5).for_each(|number| outlet.publish(Asked(number)).unwrap());
    for round in 0..3 {
        assert!(outlet.publish(Asked(9)).is_err());
        dispatch(&mut dispatcher);
        assert!(!dispatcher.arm_input(), "nothing can be done, {round} more refusals or not");
    }
    // Room that is made before it arms is not overlooked, though the call came before too.
    dispatch(&mut dispatcher);
    let before = calls();
    assert_eq!(asked(&mut reader), [Some(0)]);
    assert_eq!(calls(), before + 1);
    assert!(dispatcher.arm_input(), "there is room");
    let mut heard = Vec::new();
    for _ in 0..9 {
        dispatch(&mut dispatcher);
        heard.extend(asked(&mut reader));
    }
    assert_eq!(heard, [Some(1), Some(2), Some(3), Some(4), None]);
}

#[test]
fn what_comes_just_before_its_dispatcher_sleeps_is_held_up_for_as_long_as_a_subscriber_may_and_no_longer() {
    let (mut dispatcher, bus) = bus();
    let _lazy = bus.subscribe::<Asked>("lazy").waiting(1).block(Duration::ZERO).reader().unwrap();
    let mut good = bus.subscribe::<Asked>("good").reader().unwrap();
    let outlet = bus.outlet::<Asked>(HERE);
    outlet.publish(Asked(0)).unwrap();
    dispatch(&mut dispatcher);
    // The lazy one is full now, and holds up nothing yet.
    outlet.publish(Asked(1)).unwrap();
    assert!(dispatcher.arm_input(), "somebody has to look how long it blocks");
    dispatch(&mut dispatcher);
    assert_eq!(asked(&mut good), [Some(0), Some(1)]);
}

#[test]
fn a_wait_that_might_be_for_oneself_is_refused() {
    let (mut dispatcher, bus) = bus();
    let fill = |outlet: &SignalOutlet<Asked>| while outlet.publish(Asked(0)).is_ok() {};
    let waits = |outlet: &SignalOutlet<Asked>| outlet.publish_within(PATIENCE, Cause::NONE, Asked(9));
    let blocks = bus.subscribe::<Asked>("blocks").waiting(1).block(PATIENCE).reader().unwrap();
    let outlet = bus.outlet::<Asked>(HERE);
    // In a filter, on the dispatcher's thread.
    let (tries, tried) = mpsc::channel();
    let (its, told) = (outlet.clone(), tries.clone());
    let mut reader = bus
        .subscribe::<Said>("filter")
        .filter(move |_| {
            fill(&its);
            told.send(waits(&its)).unwrap();
            true
        })
        .reader()
        .unwrap();
    say(&mut dispatcher, &bus.outlet(HERE), [1]);
    assert_eq!(tried.recv().unwrap(), Err(Unpublished::MayNotWait(Asked(9))));
    // As a reader is drained.
    let drained = reader.drain(Budget::UNLIMITED, |_| {
        fill(&outlet);
        tries.send(waits(&outlet)).unwrap();
    });
    assert_eq!((drained.signals, tried.recv().unwrap()), (1, Err(Unpublished::MayNotWait(Asked(9)))));
    // In a handler.
    let (its, told) = (outlet.clone(), tries.clone());
    let handler = move |_: &Sent<Said>| {
        fill(&its);
        Ok(told.send(waits(&its))?)
    };
    let _subscription = bus.subscribe::<Said>("handler").on_thread("hands", handler).unwrap();
    say(&mut dispatcher, &bus.outlet(HERE), [2]);
    // The filter's subscriber is still there.
    for _ in 0..2 {
        assert_eq!(tried.recv().unwrap(), Err(Unpublished::MayNotWait(Asked(9))));
    }
    // In a reconciler, on a main lane.
    struct Tells(SignalOutlet<Asked>, mpsc::Sender<Result<(), Unpublished<Asked>>>);
    impl Reconciler<Ledger> for Tells {
        fn reconcile(&mut self, _: u64, _: &Ledger) {
            while self.0.publish(Asked(0)).is_ok() {}
            self.1.send(self.0.publish_within(PATIENCE, Cause::NONE, Asked(9))).unwrap();
        }
    }
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("one").open().unwrap();
    let (mut main_lane, _handle) = builder.reconciler(Tells(outlet.clone(), tries)).build().unwrap();
    lane.push(Note::Ask(1)).unwrap();
    crate::domain::drain(&mut main_lane);
    assert_eq!(tried.recv().unwrap(), Err(Unpublished::MayNotWait(Asked(9))));
    drop(blocks);
}

#[test]
fn a_handler_that_is_asked_whether_it_is_over_or_dropped_waits_for_nobody_either() {
    struct Asks(SignalOutlet<Asked>, mpsc::Sender<Result<(), Unpublished<Asked>>>);

    impl Asks {
        fn ask(&self) {
            self.1.send(self.0.publish_within(Duration::from_millis(20), Cause::NONE, Asked(9))).unwrap();
        }
    }

    impl Handler<Said> for Asks {
        fn handle(&mut self, _: &Sent<Said>) -> Result<(), HandlerError> {
            Ok(())
        }

        fn is_over(&self) -> bool {
            self.ask();
            true
        }
    }

    impl Drop for Asks {
        fn drop(&mut self) {
            self.ask();
        }
    }

    let (mut dispatcher, bus) = bus();
    let _blocks = bus.subscribe::<Asked>("blocks").waiting(1).block(PATIENCE).reader().unwrap();
    let outlet = bus.outlet::<Asked>(HERE);
    outlet.publish(Asked(0)).unwrap();
    dispatch(&mut dispatcher);
    // Nobody makes room any more.
    while outlet.publish(Asked(0)).is_ok() {}
    let (tries, tried) = mpsc::channel();
    let _subscription = bus.subscribe::<Said>("asks").on_thread("hands", Asks(outlet, tries)).unwrap();
    say(&mut dispatcher, &bus.outlet(HERE), [1]);
    for _ in 0..2 {
        assert_eq!(tried.recv().unwrap(), Err(Unpublished::MayNotWait(Asked(9))));
    }
}

#[test]
fn a_wait_ends_by_its_patience_and_by_the_end_of_the_bus() {
    let (mut dispatcher, bus) = bus();
    let _blocks = bus.subscribe::<Asked>("blocks").waiting(1).block(PATIENCE).reader().unwrap();
    let outlet = bus.outlet::<Asked>(HERE);
    while outlet.publish(Asked(0)).is_ok() {}
    let late = outlet.publish_within(Duration::from_millis(1), Cause::NONE, Asked(1));
    assert_eq!(late, Err(Unpublished::Full(Asked(1))));
    let waiting = std::thread::spawn(move || outlet.publish_within(PATIENCE * 10, Cause::NONE, Asked(2)));
    assert!(
        dispatcher.shutdown(Duration::from_millis(20)).complete,
        "who blocks is not waited for beyond the deadline"
    );
    let waited = waiting.join().unwrap();
    assert_eq!(waited, Err(Unpublished::Closed(Asked(2))));
}

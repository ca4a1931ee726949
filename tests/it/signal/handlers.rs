//! Host's code on threads of the bus's: what it fails at, and what comes of it.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::mpsc;
use std::thread::ThreadId;

use mainlane::signal::{Backoff, BusNotice, Handler, HandlerError, Missed, OnFailure, SubscriberState};

use super::*;
use crate::domain::until;

fn fails(_: &Sent<Said>) -> Result<(), HandlerError> {
    Err("not today".into())
}

/// A bus with a thread, and an outlet.
fn started() -> (mainlane::signal::RunningBus, SignalOutlet<Said>) {
    let running = Bus::builder().start().unwrap();
    let outlet = running.bus().outlet(HERE);
    (running, outlet)
}

fn publish(outlet: &SignalOutlet<Said>, number: u64) {
    until("room for a signal", || outlet.publish(Said(number)).is_ok());
}

#[test]
fn handlers_that_name_one_thread_share_it_and_others_have_their_own() {
    let (mut running, outlet) = started();
    let threads = Arc::new(Mutex::new(Vec::<(&'static str, ThreadId, String)>::new()));
    let handler = |name: &'static str| {
        let threads = threads.clone();
        move |_: &Sent<Said>| {
            let here = std::thread::current();
            threads.lock().unwrap().push((name, here.id(), here.name().unwrap().to_owned()));
            Ok(())
        }
    };
    let bus = running.bus();
    let _first = bus.subscribe::<Said>("a").on_thread("shared", handler("a")).unwrap();
    let _second = bus.subscribe::<Said>("b").on_thread("shared", handler("b")).unwrap();
    let _third = bus.subscribe::<Said>("c").on_thread("alone", handler("c")).unwrap();
    publish(&outlet, 1);
    until("three calls", || threads.lock().unwrap().len() == 3);
    let seen = threads.lock().unwrap().clone();
    let of = |name| seen.iter().find(|(other, ..)| *other == name).unwrap();
    assert_eq!((of("a").1, of("a").2.as_str(), of("c").2.as_str()), (of("b").1, "shared", "alone"));
    assert_eq!(seen.iter().map(|(_, id, _)| *id).collect::<HashSet<_>>().len(), 2);
    let report = running.shutdown(PATIENCE);
    assert_eq!((report.complete, report.joined), (true, 3), "two of the handlers', and the bus's own");
}

#[test]
fn a_handler_that_fails_is_contained_counted_and_told_and_the_next_signal_is_handled() {
    let (mut running, outlet) = started();
    let bus = running.bus();
    let mut notices = bus.subscribe::<BusNotice>("notices").reader().unwrap();
    let (seen, seeing) = mpsc::channel();
    let handler = move |sent: &Sent<Said>| match sent.0 {
        1 => panic!("a panic"),
        2 => Err("an error".into()),
        number => Ok(seen.send(number)?),
    };
    let subscription = bus.subscribe::<Said>("clumsy").on_thread("hands", handler).unwrap();
    (0..4).for_each(|number| publish(&outlet, number));
    assert_eq!((seeing.recv().unwrap(), seeing.recv().unwrap()), (0, 3));
    for (expected, was_panic) in [("a panic", true), ("an error", false)] {
        let notice = notices.wait(PATIENCE).unwrap();
        let BusNotice::HandlerFailed { family, subscriber, message, panicked, again } =
            notice.signal().unwrap().signal().clone()
        else {
            panic!("{notice:?}")
        };
        assert_eq!((family, &*subscriber, message.as_str()), ("said", "clumsy", expected));
        assert_eq!((panicked, again), (was_panic, false));
    }
    assert!(running.shutdown(PATIENCE).complete);
    let status = subscription.status();
    assert_eq!((status.delivered, status.failures, status.given_up, status.retries), (4, 2, 2, 0));
}

#[test]
fn a_handler_of_notices_that_fails_is_counted_and_begets_no_notices() {
    let (mut dispatcher, bus) = bus();
    let clumsy = |_: &Sent<BusNotice>| Err("not this one either".into());
    let notices = bus.subscribe::<BusNotice>("notices").on_thread("hands", clumsy).unwrap();
    let (seen, seeing) = mpsc::channel();
    let _later = bus.subscribe::<Said>("later").on_thread("hands", move |s: &Sent<Said>| Ok(seen.send(s.0)?)).unwrap();
    let _slow = bus.subscribe::<Said>("slow").waiting(1).reader().unwrap();
    say(&mut dispatcher, &bus.outlet(HERE), 0..2);
    until("a notice that was not handled", || notices.status().failures == 1);
    // On the same thread, and so after whatever came of it.
    say(&mut dispatcher, &bus.outlet(HERE), [2]);
    until("a signal after it", || seeing.recv() == Ok(2));
    dispatch(&mut dispatcher);
    let status = bus.status::<BusNotice>();
    assert_eq!((status.published, status.depth), (1, 0), "that one was slow, and nothing else");
}

#[test]
fn a_failed_signal_is_handed_over_again_before_those_behind_it() {
    let (mut running, outlet) = started();
    let calls = Arc::new(Mutex::new(Vec::new()));
    let seen = calls.clone();
    let handler = move |sent: &Sent<Said>| {
        let mut seen = seen.lock().unwrap();
        seen.push(sent.0);
        let tries = seen.iter().filter(|number| **number == sent.0).count();
        // The first works at its third try, the second never.
        if (sent.0 == 1 && tries < 3) || sent.0 == 2 { Err("again".into()) } else { Ok(()) }
    };
    let on_failure = OnFailure::Retry { tries: 3, backoff: Backoff::NONE };
    let subscription =
        running.bus().subscribe::<Said>("tries").on_failure(on_failure).on_thread("hands", handler).unwrap();
    (0..4).for_each(|number| publish(&outlet, number));
    until("the last signal", || calls.lock().unwrap().last() == Some(&3));
    assert!(running.shutdown(PATIENCE).complete);
    assert_eq!(*calls.lock().unwrap(), [0, 1, 1, 1, 2, 2, 2, 2, 3]);
    let status = subscription.status();
    assert_eq!((status.delivered, status.failures, status.retries, status.given_up), (4, 6, 5, 1));
}

#[test]
fn while_one_handler_rests_the_others_of_its_thread_go_on() {
    let (mut running, outlet) = started();
    let bus = running.bus();
    let resting = OnFailure::Retry { tries: 1, backoff: Backoff::between(PATIENCE * 10, PATIENCE * 10) };
    let rests = bus.subscribe::<Said>("rests").on_failure(resting).on_thread("hands", fails).unwrap();
    let (seen, seeing) = mpsc::channel();
    let _works = bus.subscribe::<Said>("works").on_thread("hands", move |sent: &Sent<Said>| Ok(seen.send(sent.0)?));
    (0..5).for_each(|number| publish(&outlet, number));
    assert_eq!(seeing.iter().take(5).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    until("the failure", || rests.status().failures == 1);
    // What rests is left at the deadline, and that is not complete.
    let report = running.shutdown(Duration::ZERO);
    assert!(!report.complete && report.stragglers.is_empty(), "{report:?}");
    let status = rests.status();
    assert_eq!((status.matched, status.delivered + status.dropped, status.given_up), (5, 5, 1), "{status:?}");
}

#[test]
fn what_rests_as_its_subscription_is_dropped_is_given_up() {
    let (mut dispatcher, bus) = bus();
    let resting = OnFailure::Retry { tries: 1, backoff: Backoff::between(PATIENCE * 10, PATIENCE * 10) };
    let rests = bus.subscribe::<Said>("rests").on_failure(resting).on_thread("hands", fails).unwrap();
    say(&mut dispatcher, &bus.outlet(HERE), 0..1);
    until("the failure", || rests.status().failures == 1);
    assert_eq!(rests.status().given_up, 0);
    drop(rests);
    // The dispatcher has not looked who left yet.
    until("the end of its handler", || bus.status::<Said>().subscribers[0].given_up == 1);
}

#[test]
fn a_handler_that_panics_as_it_is_asked_whether_it_is_over_is_detached_and_the_bus_says_so() {
    struct Unsure;

    impl Handler<Said> for Unsure {
        fn handle(&mut self, _: &Sent<Said>) -> Result<(), HandlerError> {
            Ok(())
        }

        fn is_over(&self) -> bool {
            panic!("who knows")
        }
    }

    let (running, outlet) = started();
    let mut notices = running.bus().subscribe::<BusNotice>("notices").reader().unwrap();
    let subscription = running.bus().subscribe::<Said>("unsure").on_thread("hands", Unsure).unwrap();
    publish(&outlet, 1);
    let mut told = || notices.wait(PATIENCE).unwrap().signal().unwrap().signal().clone();
    assert!(matches!(told(), BusNotice::HandlerFailed { panicked: true, message, .. } if message == "who knows"));
    assert!(matches!(told(), BusNotice::Detached { message, .. } if message == "who knows"));
    let status = subscription.status();
    assert_eq!((status.state, status.failures, status.given_up), (SubscriberState::Detached, 1, 0));
}

#[test]
fn a_handler_that_is_to_be_detached_is_called_no_more_and_the_bus_says_so() {
    let (running, outlet) = started();
    let bus = running.bus();
    let mut notices =
        bus.subscribe::<BusNotice>("notices").filter(|n| matches!(**n, BusNotice::Detached { .. })).reader();
    let subscription = bus.subscribe::<Said>("once").on_failure(OnFailure::Detach).on_thread("hands", fails).unwrap();
    (0..3).for_each(|number| publish(&outlet, number));
    let notice = notices.as_mut().unwrap().wait(PATIENCE).unwrap();
    let expected = BusNotice::Detached { family: "said", subscriber: "once".into(), message: "not today".to_owned() };
    assert_eq!(notice.signal().unwrap().signal(), &expected);
    until("nobody to hear", || !outlet.is_heard());
    let status = subscription.status();
    assert_eq!((status.failures, status.state), (1, SubscriberState::Detached));
    assert_eq!(status.matched, status.delivered + status.dropped + status.depth);
}

#[test]
fn a_handler_is_told_what_it_missed() {
    struct Counts(mpsc::Sender<Result<u64, Missed>>, mpsc::Receiver<()>);

    impl Handler<Said> for Counts {
        fn handle(&mut self, sent: &Sent<Said>) -> Result<(), HandlerError> {
            self.0.send(Ok(sent.0))?;
            Ok(self.1.recv()?)
        }

        fn missed(&mut self, missed: Missed) {
            self.0.send(Err(missed)).unwrap();
        }
    }

    let (mut dispatcher, bus) = bus();
    let ((seen, seeing), (go, going)) = (mpsc::channel(), mpsc::channel());
    let _subscription = bus.subscribe::<Said>("slow").waiting(2).on_thread("hands", Counts(seen, going)).unwrap();
    let outlet = bus.outlet(HERE);
    say(&mut dispatcher, &outlet, 0..1);
    assert_eq!(seeing.recv().unwrap(), Ok(0));
    say(&mut dispatcher, &outlet, 1..6);
    (0..3).for_each(|_| go.send(()).unwrap());
    let Ok(Err(missed)) = seeing.recv() else { panic!("nothing was said of what is missing") };
    assert_eq!((missed.count, missed.first, missed.last), (3, 1, 3));
    assert_eq!((seeing.recv().unwrap(), seeing.recv().unwrap()), (Ok(4), Ok(5)));
}

#[test]
fn dropping_a_subscription_ends_it_and_keeping_it_leaves_it_to_the_bus() {
    let (mut running, outlet) = started();
    let (seen, seeing) = mpsc::channel();
    let handler = move |sent: &Sent<Said>| Ok(seen.send(sent.0)?);
    let subscription = running.bus().subscribe::<Said>("short").on_thread("hands", handler).unwrap();
    publish(&outlet, 1);
    assert_eq!(seeing.recv().unwrap(), 1);
    drop(subscription);
    until("the end of the subscription", || !outlet.is_heard());
    // The handler is gone, and what it owned.
    assert!(seeing.recv().is_err());

    let (seen, seeing) = mpsc::channel();
    running
        .bus()
        .subscribe::<Said>("long")
        .on_thread("hands", move |s: &Sent<Said>| Ok(seen.send(s.0)?))
        .unwrap()
        .keep();
    publish(&outlet, 2);
    assert_eq!(seeing.recv().unwrap(), 2);
    assert!(running.shutdown(PATIENCE).complete);
    assert!(seeing.recv().is_err());
}

#[test]
fn what_handlers_that_are_gone_failed_at_is_remembered() {
    let (mut running, outlet) = started();
    let on_failure = OnFailure::Retry { tries: 2, backoff: Backoff::NONE };
    let fails = |_: &Sent<Said>| Err("as it does".into());
    let subscribe = running
        .bus()
        .subscribe::<Said>("fails")
        .filter(|_: &Sent<Said>| -> bool { panic!("lets it pass") })
        .on_failure(on_failure);
    let subscription = subscribe.on_thread("hands", fails).unwrap();
    publish(&outlet, 1);
    let status = || running.bus().status::<Said>();
    until("it is given up", || status().subscribers[0].given_up == 1);
    let its = status().subscribers[0].clone();
    drop(subscription);
    until("it is gone", || status().gone.subscribers == 1);
    let gone = status().gone;
    assert_eq!((gone.failures, gone.retries, gone.given_up), (its.failures, its.retries, 1));
    assert!(gone.failures > 1 && gone.retries > 0 && gone.filter_panics == 1, "{gone:?}");
    assert!(running.shutdown(PATIENCE).complete);
}

#[test]
fn what_a_handler_fails_at_after_its_subscription_was_dropped_is_remembered_too() {
    let (mut dispatcher, bus) = bus();
    let (begun, beginning) = mpsc::channel();
    let (go, going) = mpsc::channel::<()>();
    let slow = move |_: &Sent<Said>| {
        begun.send(())?;
        let _ = going.recv();
        Err("in the end".into())
    };
    let on_failure = OnFailure::Retry { tries: 2, backoff: Backoff::between(PATIENCE, PATIENCE) };
    let subscription = bus.subscribe::<Said>("slow").on_failure(on_failure).on_thread("hands", slow).unwrap();
    say(&mut dispatcher, &bus.outlet(HERE), [0]);
    beginning.recv().unwrap();
    drop(subscription);
    dispatch(&mut dispatcher);
    let gone = || bus.status::<Said>().gone;
    assert_eq!((gone().subscribers, gone().failures), (1, 0), "it is still at it");
    drop(go);
    until("it is given up", || gone().given_up == 1);
    assert_eq!((gone().subscribers, gone().failures, gone().delivered), (1, 1, 1));
}

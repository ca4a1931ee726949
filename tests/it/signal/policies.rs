//! Subscribers that are too slow. What each policy does is checked against a slow twin in `src/signal/queue_tests.rs`; this is the way
//! through the bus.

use mainlane::signal::{Backoff, BusNotice, SubscriberState};

use super::*;

#[test]
fn the_oldest_makes_room_and_the_subscriber_is_told_which() {
    let (mut dispatcher, bus) = bus();
    let mut reader = bus.subscribe::<Said>("slow").waiting(3).reader().unwrap();
    say(&mut dispatcher, &bus.outlet(HERE), 0..10);
    let expected = [vec![Heard::Missing(7, 0, 6)], numbers(7..10)].concat();
    assert_eq!(all(&mut reader), expected);
    let status = reader.status();
    assert_eq!((status.matched, status.delivered, status.dropped, status.depth), (10, 3, 7, 0));
}

#[test]
fn the_newest_is_dropped_and_told_after_what_waits() {
    let (mut dispatcher, bus) = bus();
    let outlet = bus.outlet(HERE);
    let mut reader = bus.subscribe::<Said>("slow").waiting(3).drop_newest().reader().unwrap();
    say(&mut dispatcher, &outlet, 0..10);
    assert_eq!(reader.next_waiting().map(heard), Some(Heard::Number(0)));
    say(&mut dispatcher, &outlet, 10..11);
    let expected = [numbers(1..3), vec![Heard::Missing(7, 3, 9), Heard::Number(10)]].concat();
    assert_eq!(all(&mut reader), expected);
}

#[test]
fn the_newest_of_each_key_is_there_however_slow_a_subscriber_is() {
    let (mut dispatcher, bus) = bus();
    let mut reader = bus.subscribe::<Said>("view").waiting(4).coalesce_by_key(|sent| sent.0 % 3).reader().unwrap();
    say(&mut dispatcher, &bus.outlet(HERE), 0..100);
    assert_eq!(all(&mut reader), [Heard::Parts(97, 33), Heard::Parts(98, 33), Heard::Parts(99, 34)]);
    let status = reader.status();
    assert_eq!((status.matched, status.delivered, status.coalesced, status.dropped), (100, 3, 97, 0));
}

#[test]
fn what_is_kept_aside_moves_up_as_room_is_made_and_is_dropped_when_none_is() {
    let (mut dispatcher, bus) = bus();
    let outlet = bus.outlet(HERE);
    let patient = Backoff::between(PATIENCE, PATIENCE);
    let mut reads = bus.subscribe::<Said>("reads").waiting(2).retry(2, patient).reader().unwrap();
    let mut never = bus.subscribe::<Said>("never").waiting(2).retry(1, Backoff::NONE).reader().unwrap();
    say(&mut dispatcher, &outlet, 0..4);
    assert!(dispatcher.turn(Budget::UNLIMITED).due.is_some(), "the dispatcher knows when to look again");
    assert_eq!(all(&mut reads), numbers(0..4));
    assert_eq!(all(&mut never), [numbers(0..2), vec![Heard::Missing(2, 2, 3)]].concat());
}

#[test]
fn lagging_is_told_on_the_bus_once_until_the_subscriber_keeps_up_again() {
    let (mut dispatcher, bus) = bus();
    let outlet = bus.outlet(HERE);
    let mut notices = bus.subscribe::<BusNotice>("notices").reader().unwrap();
    let mut slow = bus.subscribe::<Said>("slow").waiting(1).reader().unwrap();
    say(&mut dispatcher, &outlet, 0..5);
    assert_eq!(all(&mut slow).len(), 2);
    say(&mut dispatcher, &outlet, 5..7);
    let told: Vec<_> =
        std::iter::from_fn(|| notices.next_waiting()).map(|notice| notice.signal().unwrap().signal().clone()).collect();
    let lagging = BusNotice::Lagging { family: "said", subscriber: "slow".into(), dropped: 1 };
    assert_eq!(told, [lagging.clone(), lagging]);
}

#[test]
fn who_lags_keeps_up_again_with_a_signal_that_is_meant_for_it_and_no_other() {
    let (mut dispatcher, bus) = bus();
    let outlet = bus.outlet(HERE);
    let mut notices = bus.subscribe::<BusNotice>("notices").reader().unwrap();
    let _slow = bus.subscribe::<Said>("slow").waiting(1).filter(|sent| sent.0 % 2 == 0).reader().unwrap();
    say(&mut dispatcher, &outlet, 0..20);
    let told: Vec<_> = std::iter::from_fn(|| notices.next_waiting()).collect();
    assert_eq!(told.len(), 1, "{told:?}");
}

#[test]
fn what_was_refused_is_handed_back_counted_and_told_to_everybody() {
    let (mut dispatcher, bus) = bus();
    let outlet = bus.outlet(HERE);
    let mut notices = bus.subscribe::<BusNotice>("notices").reader().unwrap();
    let mut reader = bus.subscribe::<Said>("one").reader().unwrap();
    let mut refused = Vec::new();
    for number in 0..11 {
        if let Err(unpublished) = outlet.publish(Said(number)) {
            assert!(unpublished.to_string().contains("queue is full"), "{unpublished}");
            refused.push(unpublished.into_signal());
        }
    }
    assert_eq!(refused, [8, 9, 10].map(Said));
    dispatch(&mut dispatcher);
    assert_eq!(all(&mut reader), [numbers(0..8), vec![Heard::Refused(3)]].concat());
    let notice = notices.next_waiting().unwrap();
    assert_eq!(notice.signal().unwrap().signal(), &BusNotice::Refused { family: "said", count: 3 });
    let status = bus.status::<Said>();
    assert_eq!((status.published, status.refused, status.dispatched, status.depth), (8, 3, 8, 0));
}

#[test]
fn what_was_refused_stands_between_what_came_before_and_what_came_after() {
    let (mut dispatcher, bus) = bus();
    let outlet = bus.outlet(HERE);
    let mut reader = bus.subscribe::<Said>("one").reader().unwrap();
    (0..8).for_each(|number| outlet.publish(Said(number)).unwrap());
    assert!(outlet.publish(Said(99)).is_err());
    assert_eq!(dispatcher.turn(Budget::events(4)).signals, 4);
    (8..12).for_each(|number| outlet.publish(Said(number)).unwrap());
    dispatch(&mut dispatcher);
    assert_eq!(all(&mut reader), [numbers(0..8), vec![Heard::Refused(1)], numbers(8..12)].concat());
}

#[test]
fn the_policy_that_was_named_last_holds() {
    let (mut dispatcher, bus) = bus();
    let mut reader = bus.subscribe::<Said>("unsure").coalesce_by_key(|_| ()).drop_oldest().reader().unwrap();
    let mut newest = bus.subscribe::<Said>("newest").drop_oldest().coalesce_by_key(|_| ()).reader().unwrap();
    say(&mut dispatcher, &bus.outlet(HERE), 0..3);
    assert_eq!((all(&mut reader), all(&mut newest)), (numbers(0..3), vec![Heard::Parts(2, 3)]));
}

#[test]
fn no_subscriber_touches_another() {
    let (mut dispatcher, bus) = bus();
    let outlet = bus.outlet(HERE);
    let mut good = bus.subscribe::<Said>("good").waiting(2_000).reader().unwrap();
    let _slow: Vec<_> = (0..50).map(|_| bus.subscribe::<Said>("slow").waiting(1).reader().unwrap()).collect();
    let _retries = bus.subscribe::<Said>("retries").waiting(1).retry(9, Backoff::NONE).reader().unwrap();
    say(&mut dispatcher, &outlet, 0..1_000);
    assert_eq!(all(&mut good), numbers(0..1_000));
    let status = bus.status::<Said>();
    for subscriber in &status.subscribers {
        let sum = subscriber.delivered + subscriber.dropped + subscriber.coalesced + subscriber.depth;
        assert_eq!((subscriber.matched, subscriber.state), (sum, SubscriberState::Open), "{subscriber:?}");
    }
    assert_eq!(status.subscribers.len(), 52);
}

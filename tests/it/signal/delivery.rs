//! Who hears what, in which order.

use mainlane::OperationId;
use mainlane::Stamp;
use mainlane::signal::Waiting;

use super::*;

#[test]
fn all_who_subscribed_hear_everything_in_the_order_in_which_it_was_published() {
    let (mut dispatcher, bus) = bus();
    let outlet = bus.outlet::<Said>(HERE);
    let mut readers: Vec<_> = (0..3).map(|_| bus.subscribe("all").reader().unwrap()).collect();
    say(&mut dispatcher, &outlet, 0..20);
    for reader in &mut readers {
        assert_eq!(all(reader), numbers(0..20));
        assert_eq!(reader.next_waiting().map(heard), None);
    }
}

#[test]
fn a_signal_says_who_and_why() {
    let (mut dispatcher, bus) = bus();
    let mut reader = bus.subscribe::<Said>("who").reader().unwrap();
    let cause = Cause::operation(OperationId(7));
    bus.outlet(HERE).publish_because(cause, Said(3)).unwrap();
    dispatch(&mut dispatcher);
    let Some(Delivery::Signal { sent, parts }) = reader.next_waiting() else { panic!("nothing came") };
    assert_eq!((sent.number(), sent.source(), sent.cause(), parts), (0, HERE, cause, 1));
    assert_eq!(sent.cause().stamp, Stamp::UNCLOCKED);
    assert_eq!((sent.signal(), format!("{sent:?}").contains("test/1")), (&Said(3), true));
}

#[test]
fn only_what_matches_is_heard() {
    let (mut dispatcher, bus) = bus();
    let (here, there) = (bus.outlet::<Said>(HERE), bus.outlet::<Said>(Origin::built_in("test", 2)));
    let mut even = bus.subscribe::<Said>("even").filter(|sent| sent.0 % 2 == 0).reader().unwrap();
    let mut from_here = bus.subscribe::<Said>("here").from(HERE).reader().unwrap();
    let both = |sent: &Sent<Said>| sent.0 > 2;
    let mut late_from_here = bus.subscribe::<Said>("late").from(HERE).filter(both).reader().unwrap();
    for number in 0..6 {
        let outlet = if number < 4 { &here } else { &there };
        say(&mut dispatcher, outlet, [number]);
    }
    assert_eq!(all(&mut even), [0, 2, 4].map(Heard::Number));
    assert_eq!(all(&mut from_here), numbers(0..4));
    assert_eq!(all(&mut late_from_here), numbers(3..4));
}

#[test]
fn what_nobody_hears_is_counted_and_never_made() {
    let (mut dispatcher, bus) = bus();
    let outlet = bus.outlet::<Said>(HERE);
    outlet.publish_with(Cause::NONE, || panic!("nobody listens")).unwrap();
    assert!(!outlet.is_heard());
    let reader = bus.subscribe::<Said>("one").reader().unwrap();
    assert!(outlet.is_heard());
    outlet.publish(Said(1)).unwrap();
    dispatch(&mut dispatcher);
    drop(reader);
    dispatch(&mut dispatcher);
    assert!(!outlet.is_heard(), "the dispatcher was told, though nothing was published");
    outlet.publish(Said(2)).unwrap();
    let status = bus.status::<Said>();
    assert_eq!((status.published, status.unheard, status.dispatched, status.gone.subscribers), (1, 2, 1, 1));
    assert_eq!((status.gone.matched, status.gone.dropped), (1, 1), "it waited as its subscriber left");
}

#[test]
fn whoever_asks_for_one_operation_hears_of_that_alone() {
    let (mut dispatcher, bus) = bus();
    let [one, other] = [1, 2].map(mainlane::OperationId);
    let mut of_one = bus.subscribe::<Said>("one").operation(one).reader().unwrap();
    let mut of_both =
        bus.subscribe::<Said>("from here").operation(one).from(HERE).filter(|sent| sent.0 > 1).reader().unwrap();
    let there = Origin::built_in("test", 2);
    for (number, source, cause) in [
        (1, HERE, Cause::operation(one)),
        (2, HERE, Cause::operation(other)),
        (3, HERE, Cause::NONE),
        (4, there, Cause::operation(one)),
        (5, HERE, Cause::operation(one)),
    ] {
        bus.outlet::<Said>(source).publish_because(cause, Said(number)).unwrap();
        dispatch(&mut dispatcher);
    }
    assert_eq!(all(&mut of_one), [1, 4, 5].map(Heard::Number));
    assert_eq!(all(&mut of_both), [Heard::Number(5)]);
}

#[test]
fn whoever_subscribed_before_a_publication_hears_it() {
    // Whatever the dispatcher is about: it is a thread of its own here.
    let running = Bus::builder().start().unwrap();
    let bus = running.bus();
    let outlet = bus.outlet::<Said>(HERE);
    let mut others = Vec::new();
    for number in 0..500 {
        let mut reader = bus.subscribe::<Said>("fresh").reader().unwrap();
        while outlet.publish(Said(number)).is_err() {
            std::thread::yield_now();
        }
        let next = reader.wait(PATIENCE).expect("it was published after the subscription");
        assert!(next.signal().is_some_and(|sent| sent.0 <= number), "{next:?}");
        others.push(reader);
        if others.len() > 20 {
            others.clear();
        }
    }
}

#[test]
fn a_publication_that_returned_comes_before_one_that_begins() {
    // Three threads hand a token around, and publish as they have it.
    const ROUNDS: u64 = 2_000;
    let running = Bus::builder().start().unwrap();
    let mut reader = running.bus().subscribe::<Said>("order").waiting(10_000).reader().unwrap();
    let mut ends: Vec<_> = (0..3).map(|_| std::sync::mpsc::channel::<u64>()).collect();
    let first = ends[0].0.clone();
    let mut threads = Vec::new();
    for place in 0..3 {
        let outlet = running.bus().outlet::<Said>(Origin::built_in("test", place));
        let next = ends[(place as usize + 1) % 3].0.clone();
        let token = std::mem::replace(&mut ends[place as usize].1, std::sync::mpsc::channel().1);
        threads.push(std::thread::spawn(move || {
            while let Ok(number) = token.recv() {
                if number < ROUNDS {
                    while outlet.publish(Said(number)).is_err() {
                        std::thread::yield_now();
                    }
                }
                if next.send(number + 1).is_err() || number >= ROUNDS {
                    break;
                }
            }
        }));
    }
    first.send(0).unwrap();
    let mut last = None;
    while last != Some(ROUNDS - 1) {
        let next = reader.wait(PATIENCE).expect("more was published");
        let Delivery::Signal { sent, .. } = next else { continue };
        assert!(last.is_none_or(|last| last < sent.0), "{} after {last:?}", sent.0);
        last = Some(sent.0);
    }
    drop((first, ends));
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_reader_is_drained_within_a_budget() {
    let (mut dispatcher, bus) = bus();
    let mut reader = bus.subscribe::<Said>("host").reader().unwrap();
    say(&mut dispatcher, &bus.outlet(HERE), 0..100);
    let mut seen = Vec::new();
    let drained = reader.drain(Budget::events(70), |delivery| seen.push(heard(delivery.clone())));
    assert_eq!((drained.signals, drained.left, seen.len()), (70, Waiting::More, 70));
    let drained = reader.drain(Budget::UNLIMITED, |delivery| seen.push(heard(delivery.clone())));
    assert_eq!((drained.signals, drained.left), (30, Waiting::Nothing));
    assert_eq!(seen, numbers(0..100));
    assert_eq!(reader.drain(Budget::events(0), |_| ()).left, Waiting::More, "nobody looked");
    drop((bus, dispatcher));
    assert_eq!(reader.drain(Budget::UNLIMITED, |_| ()).left, Waiting::Ended);
}

#[test]
fn a_sleeping_host_is_called_once_until_it_has_looked_again() {
    let (mut dispatcher, bus) = bus();
    let outlet = bus.outlet::<Said>(HERE);
    let mut reader = bus.subscribe::<Said>("host").reader().unwrap();
    let calls = Arc::new(AtomicU64::new(0));
    let counted = calls.clone();
    reader.wake_with(move || {
        counted.fetch_add(1, SeqCst);
    });
    say(&mut dispatcher, &outlet, 0..3);
    assert_eq!(calls.load(SeqCst), 1);
    assert_eq!(all(&mut reader).len(), 3);
    say(&mut dispatcher, &outlet, 3..5);
    assert_eq!(calls.load(SeqCst), 2);
    // Set when something waits already: at once.
    let counted = calls.clone();
    reader.wake_with(move || {
        counted.fetch_add(10, SeqCst);
    });
    assert_eq!(calls.load(SeqCst), 12);
}

#[test]
fn a_dispatcher_that_sleeps_is_told_of_input() {
    let (mut dispatcher, bus, calls) = told_bus();
    let outlet = bus.outlet::<Said>(HERE);
    let _reader = bus.subscribe::<Said>("one").reader().unwrap();
    dispatch(&mut dispatcher);
    assert!(!dispatcher.arm_input());
    let before = calls();
    outlet.publish(Said(1)).unwrap();
    outlet.publish(Said(2)).unwrap();
    assert_eq!(calls(), before + 1, "once for each arming");
    assert!(dispatcher.arm_input(), "something is there");
    assert_eq!(dispatch(&mut dispatcher), 2);
}

#[tokio::test]
async fn a_reader_is_a_stream_that_ends_with_the_bus() {
    let mut running = Bus::builder().start().unwrap();
    let outlet = running.bus().outlet::<Said>(HERE);
    let mut reader = running.bus().subscribe::<Said>("stream").reader().unwrap();
    let reading = tokio::spawn(async move {
        let mut seen = Vec::new();
        while let Some(delivery) = reader.next().await {
            seen.push(heard(delivery));
        }
        seen
    });
    for number in 0..5 {
        outlet.publish(Said(number)).unwrap();
        tokio::task::yield_now().await;
    }
    assert!(running.shutdown(PATIENCE).complete);
    assert_eq!(reading.await.unwrap(), numbers(0..5));
}

#[test]
fn latency_is_recorded_from_publication_to_taking() {
    let (mut dispatcher, bus) = bus();
    let mut reader = bus.subscribe::<Said>("one").reader().unwrap();
    say(&mut dispatcher, &bus.outlet(HERE), 0..10);
    let waited = std::time::Instant::now();
    while waited.elapsed() < Duration::from_micros(50) {
        std::hint::spin_loop();
    }
    assert_eq!(all(&mut reader).len(), 10);
    let latency = reader.status().latency_ns;
    assert_eq!(latency.len(), 10);
    assert!(latency.min() >= 49_000, "they waited for fifty microseconds: {}", latency.min());
}

//! What a host should not do, and does.

use std::hash::{Hash, Hasher};

use mainlane::signal::{BusNotice, OnFailure, SignalError, SubscriberState, WAITING_MAX, Waiting};

use super::*;

#[test]
fn a_queue_of_no_size_is_an_error_and_so_is_a_setting_that_nothing_uses() {
    let (_dispatcher, bus) = bus();
    for asked in [0, WAITING_MAX + 1] {
        let error = bus.subscribe::<Said>("odd").waiting(asked).reader().unwrap_err();
        assert_eq!(error, SignalError::Waiting { name: "odd".into(), asked });
        assert!(error.to_string().contains("from 1 to 1048576"), "{error}");
    }
    let error = bus.subscribe::<Said>("odd").on_failure(OnFailure::Detach).reader().unwrap_err();
    assert!(error.to_string().contains("`on_failure`"), "{error}");
    assert!(bus.status::<Said>().subscribers.is_empty());
}

#[test]
fn a_filter_that_panics_lets_the_signal_pass_and_is_counted() {
    let (mut dispatcher, bus) = bus();
    let filter = |sent: &Sent<Said>| if sent.0 == 1 { panic!("no idea") } else { sent.0 == 2 };
    let mut reader = bus.subscribe::<Said>("unsure").filter(filter).reader().unwrap();
    let mut other = bus.subscribe::<Said>("other").reader().unwrap();
    say(&mut dispatcher, &bus.outlet(HERE), 0..4);
    assert_eq!(all(&mut reader), numbers(1..3));
    assert_eq!((reader.status().filter_panics, all(&mut other)), (1, numbers(0..4)));
}

#[test]
fn a_signal_of_which_no_key_can_be_had_is_missing_and_counted() {
    let (mut dispatcher, bus) = bus();
    let key = |sent: &Sent<Said>| if sent.0 == 2 { panic!("no key") } else { sent.0 };
    let mut reader = bus.subscribe::<Said>("keyed").coalesce_by_key(key).reader().unwrap();
    say(&mut dispatcher, &bus.outlet(HERE), 0..4);
    assert_eq!(all(&mut reader), [numbers(0..2), vec![Heard::Missing(1, 2, 2), Heard::Number(3)]].concat());
    let status = reader.status();
    assert_eq!((status.filter_panics, status.matched, status.dropped), (1, 4, 1));
}

#[test]
fn keys_that_cannot_be_compared_end_their_subscription_alone() {
    #[derive(Clone, Debug)]
    struct Key(u64);

    impl Hash for Key {
        fn hash<H: Hasher>(&self, state: &mut H) {
            state.write_u8(0);
        }
    }

    impl PartialEq for Key {
        fn eq(&self, other: &Self) -> bool {
            assert!(self.0 != 3 && other.0 != 3, "not comparable");
            self.0 == other.0
        }
    }

    impl Eq for Key {}

    let (mut dispatcher, bus) = bus();
    let mut notices = bus.subscribe::<BusNotice>("notices").reader().unwrap();
    let mut reader = bus.subscribe::<Said>("keyed").coalesce_by_key(|sent| Key(sent.0)).reader().unwrap();
    let mut other = bus.subscribe::<Said>("other").reader().unwrap();
    say(&mut dispatcher, &bus.outlet(HERE), 0..6);
    assert_eq!(all(&mut other), numbers(0..6));
    assert!(reader.is_over());
    let status = reader.status();
    assert_eq!((status.state, status.matched, status.dropped), (SubscriberState::Detached, 4, 4));
    let notice = notices.next_waiting().unwrap();
    assert!(
        matches!(&**notice.signal().unwrap(), BusNotice::Detached { message, .. } if message.contains("not comparable"))
    );
}

#[test]
fn hooks_and_wakers_that_panic_are_contained() {
    struct Bad;

    impl std::task::Wake for Bad {
        fn wake(self: Arc<Self>) {
            panic!("a bad waker");
        }
    }

    let (mut dispatcher, bus) = bus();
    let outlet = bus.outlet(HERE);
    let mut hooked = bus.subscribe::<Said>("hooked").reader().unwrap();
    hooked.wake_with(|| panic!("a bad hook"));
    let mut woken = bus.subscribe::<Said>("woken").reader().unwrap();
    let waker = Arc::new(Bad).into();
    let mut ctx = std::task::Context::from_waker(&waker);
    {
        let next = std::pin::pin!(woken.next());
        assert!(next.poll(&mut ctx).is_pending());
    }
    say(&mut dispatcher, &outlet, 0..3);
    assert_eq!((all(&mut hooked), all(&mut woken)), (numbers(0..3), numbers(0..3)));
}

#[test]
fn a_callback_that_panics_in_the_middle_of_a_drain_loses_nothing() {
    let (mut dispatcher, bus) = bus();
    let mut reader = bus.subscribe::<Said>("clumsy").reader().unwrap();
    say(&mut dispatcher, &bus.outlet(HERE), 0..20);
    let mut seen = Vec::new();
    let drained = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        reader.drain(Budget::UNLIMITED, |delivery| {
            seen.push(heard(delivery.clone()));
            assert_ne!(seen.len(), 5, "clumsy");
        })
    }));
    assert!(drained.is_err());
    assert_eq!(seen, numbers(0..5));
    assert_eq!(reader.drain(Budget::UNLIMITED, |delivery| seen.push(heard(delivery.clone()))).signals, 15);
    assert_eq!(seen, numbers(0..20));
}

#[test]
fn what_a_callback_that_panicked_has_not_seen_is_handed_over_within_the_next_budget() {
    let (mut dispatcher, bus) = bus();
    let mut reader = bus.subscribe::<Said>("clumsy").reader().unwrap();
    say(&mut dispatcher, &bus.outlet(HERE), 0..20);
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        reader.drain(Budget::UNLIMITED, |_| panic!("at the first"))
    }));
    let mut seen = Vec::new();
    let drained = reader.drain(Budget::events(3), |delivery| seen.push(heard(delivery.clone())));
    assert_eq!((drained.signals, drained.left), (3, Waiting::More));
    assert_eq!(seen, numbers(1..4));
    assert_eq!(all(&mut reader), numbers(4..20));
}

#[test]
fn a_reader_that_goes_in_the_middle_of_what_it_took_leaves_the_counts_right() {
    let (mut dispatcher, bus) = bus();
    let mut reader = bus.subscribe::<Said>("clumsy").reader().unwrap();
    say(&mut dispatcher, &bus.outlet(HERE), 0..20);
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        reader.drain(Budget::UNLIMITED, |_| panic!("at the first"))
    }));
    drop(reader);
    dispatch(&mut dispatcher);
    let gone = bus.status::<Said>().gone;
    assert_eq!((gone.subscribers, gone.matched, gone.delivered, gone.dropped), (1, 20, 1, 19));
}

#[test]
fn signals_that_panic_as_they_are_dropped_take_nobody_down() {
    struct Bomb(Arc<AtomicU64>);

    impl Signal for Bomb {
        const FAMILY: &'static str = "bomb";
    }

    impl Drop for Bomb {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
            if !std::thread::panicking() {
                panic!("a bomb");
            }
        }
    }

    let (mut dispatcher, bus) = bus();
    let dropped = Arc::new(AtomicU64::new(0));
    // Everything is filtered out, so the dispatcher is the last who has them.
    let _deaf = bus.subscribe::<Bomb>("deaf").filter(|_| false).reader().unwrap();
    let outlet = bus.outlet::<Bomb>(HERE);
    for _ in 0..10 {
        assert!(outlet.publish(Bomb(dropped.clone())).is_ok());
    }
    dispatch(&mut dispatcher);
    assert_eq!(dropped.load(SeqCst), 10);
    let mut reader = bus.subscribe::<Said>("after").reader().unwrap();
    say(&mut dispatcher, &bus.outlet(HERE), 0..3);
    assert_eq!(all(&mut reader), numbers(0..3));
}

#[test]
fn who_comes_and_goes_in_the_middle_of_a_turn_is_gone_after_the_next() {
    let (mut dispatcher, bus) = bus();
    let its = bus.clone();
    let brief = move |_: &Sent<Said>| its.subscribe::<Said>("brief").reader().map(drop).is_ok();
    let _reader = bus.subscribe::<Said>("stays").filter(brief).reader().unwrap();
    bus.outlet(HERE).publish(Said(1)).unwrap();
    while dispatcher.turn(Budget::UNLIMITED).signals > 0 || dispatcher.arm_input() {}
    let status = bus.status::<Said>();
    assert_eq!((status.subscribers.len(), status.gone.subscribers), (1, 1));
}

#[test]
fn two_hundred_subscribers_come_and_go_while_everything_runs() {
    let running = Bus::builder().start().unwrap();
    let bus = running.bus();
    let stop = Arc::new(AtomicU64::new(0));
    let (outlet, stopping) = (bus.outlet::<Said>(HERE), stop.clone());
    let publishing = std::thread::spawn(move || {
        let mut published = 0;
        while stopping.load(SeqCst) == 0 {
            published += u64::from(outlet.publish(Said(published)).is_ok());
        }
        published
    });
    let mut readers = Vec::new();
    for round in 0..1_000_u64 {
        readers.push(bus.subscribe::<Said>(format!("{round}")).waiting(4).reader().unwrap());
        if readers.len() == 200 {
            readers.rotate_left(round as usize % 7);
            for mut reader in readers.drain(..150) {
                let mut last = None;
                while let Some(next) = reader.next_waiting() {
                    let Delivery::Signal { sent, .. } = next else { continue };
                    assert!(last.is_none_or(|last| last < sent.number()));
                    last = Some(sent.number());
                }
            }
        }
    }
    drop(readers);
    stop.store(1, SeqCst);
    let published = publishing.join().unwrap();
    crate::domain::until("everybody is gone", || bus.status::<Said>().gone.subscribers == 1_000);
    // One that was just taken out of the queue is neither in it nor counted as handed on.
    crate::domain::until("everything handed on", || {
        let status = bus.status::<Said>();
        status.published == status.dispatched && status.depth == 0
    });
    let status = bus.status::<Said>();
    assert_eq!(status.published + status.unheard, published);
    assert_eq!(status.gone.matched, status.gone.delivered + status.gone.dropped);
}

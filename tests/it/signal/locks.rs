//! Host's code in places where a lock might be held, or a panic might go too far.

use std::hash::{Hash, Hasher};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::task::Context;

use mainlane::signal::{Backoff, Subscribe};

use super::*;

/// A signal that asks the bus about its own family as it is dropped.
struct Nosy(Bus);

impl Signal for Nosy {
    const FAMILY: &'static str = "nosy";
}

impl Drop for Nosy {
    fn drop(&mut self) {
        self.0.status::<Nosy>();
    }
}

#[test]
fn signals_that_ask_the_bus_as_they_are_dropped_wait_for_nobody() {
    type Setting = fn(Subscribe<'_, Nosy>) -> SignalReader<Nosy>;
    let settings: [Setting; 4] = [
        |subscribe| subscribe.drop_oldest().reader().unwrap(),
        |subscribe| subscribe.drop_newest().reader().unwrap(),
        |subscribe| subscribe.coalesce_by_key(|_| ()).reader().unwrap(),
        |subscribe| subscribe.retry(0, Backoff::NONE).reader().unwrap(),
    ];
    for setting in settings {
        in_time("the end of all signals", move || {
            let (mut dispatcher, bus) = bus();
            let reader = setting(bus.subscribe("one").waiting(1));
            let outlet = bus.outlet::<Nosy>(HERE);
            for _ in 0..3 {
                assert!(outlet.publish(Nosy(bus.clone())).is_ok());
                dispatch(&mut dispatcher);
            }
            // And what waits as its subscriber leaves.
            drop(reader);
        });
    }
}

#[test]
fn wakers_that_ask_the_bus_as_they_are_dropped_wait_for_nobody() {
    struct Asks(Bus);

    impl std::task::Wake for Asks {
        fn wake(self: Arc<Self>) {}
    }

    impl Drop for Asks {
        fn drop(&mut self) {
            self.0.status::<Said>();
        }
    }

    in_time("another waker in its place", || {
        let (_dispatcher, bus) = bus();
        let mut reader = bus.subscribe::<Said>("task").reader().unwrap();
        for _ in 0..2 {
            let waker = Arc::new(Asks(bus.clone())).into();
            let next = std::pin::pin!(reader.next());
            assert!(next.poll(&mut Context::from_waker(&waker)).is_pending());
        }
    });
}

#[test]
fn keys_are_compared_as_signals_come_and_not_as_they_are_taken() {
    struct Key(u64, Arc<AtomicBool>);

    impl Hash for Key {
        fn hash<H: Hasher>(&self, state: &mut H) {
            state.write_u8(0);
        }
    }

    impl PartialEq for Key {
        fn eq(&self, other: &Self) -> bool {
            assert!(!self.1.load(SeqCst), "not comparable any more");
            self.0 == other.0
        }
    }

    impl Eq for Key {}

    let (mut dispatcher, bus) = bus();
    let is_over = Arc::new(AtomicBool::new(false));
    let its = is_over.clone();
    let mut reader =
        bus.subscribe::<Said>("keyed").coalesce_by_key(move |sent| Key(sent.0 % 3, its.clone())).reader().unwrap();
    say(&mut dispatcher, &bus.outlet(HERE), 0..9);
    is_over.store(true, SeqCst);
    assert_eq!(all(&mut reader), [6, 7, 8].map(|number| Heard::Parts(number, 3)));
}

#[test]
fn keys_that_panic_as_they_are_dropped_end_nothing() {
    #[derive(PartialEq, Eq, Hash)]
    struct Key(u64);

    impl Drop for Key {
        fn drop(&mut self) {
            assert!(std::thread::panicking(), "a bomb");
        }
    }

    let (mut dispatcher, bus) = bus();
    let outlet = bus.outlet(HERE);
    let mut reader = bus.subscribe::<Said>("keyed").coalesce_by_key(|sent| Key(sent.0 % 2)).reader().unwrap();
    say(&mut dispatcher, &outlet, 0..6);
    assert_eq!(reader.next_waiting().map(heard), Some(Heard::Parts(4, 3)));
    drop(reader);
    // The dispatcher finds that it is gone, with keys in its hands.
    say(&mut dispatcher, &outlet, 6..7);
    let gone = bus.status::<Said>().gone;
    assert_eq!((gone.matched, gone.delivered, gone.coalesced, gone.dropped), (6, 1, 4, 1));
}

#[test]
fn a_hook_that_panics_as_it_is_dropped_ends_nothing() {
    struct Bomb(Arc<AtomicU64>);

    impl Drop for Bomb {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
            assert!(std::thread::panicking(), "a bomb");
        }
    }

    let (mut dispatcher, bus) = bus();
    let dropped = Arc::new(AtomicU64::new(0));
    let reader = bus.subscribe::<Said>("leaves").reader().unwrap();
    let kept = Arc::new(Mutex::new(None));
    let (its, bomb) = (kept.clone(), Bomb(dropped.clone()));
    reader.wake_with(move || {
        let _bomb = &bomb;
        // Its subscription ends in the middle of the call.
        drop::<Option<SignalReader<Said>>>(its.lock().unwrap().take());
    });
    *kept.lock().unwrap() = Some(reader);
    say(&mut dispatcher, &bus.outlet(HERE), 0..2);
    assert_eq!((dropped.load(SeqCst), bus.status::<Said>().gone.subscribers), (1, 1));
}

//! Registries whose keys misbehave, and what is told of many registries at once.

use std::cell::Cell;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use mainlane::Budget;
use mainlane::register::{Announcement, Heard, Interface, Need, Registries, Registry, RegistryNews};
use mainlane::signal::Bus;

use crate::domain::until;

/// What the next key does that is asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sharp {
    Nothing,
    Clone,
    Hash,
    Eq,
    /// That of this key.
    Drop(u64),
}

thread_local! {
    static SHARP: Cell<Sharp> = const { Cell::new(Sharp::Nothing) };
}

fn sting(as_what: Sharp) {
    if SHARP.get() == as_what {
        SHARP.set(Sharp::Nothing);
        panic!("a sharp key");
    }
}

#[derive(Debug, PartialOrd, Ord)]
struct Key(u64);

impl Clone for Key {
    fn clone(&self) -> Self {
        sting(Sharp::Clone);
        LEFT.set(LEFT.get().checked_sub(1).expect("a sharp copy"));
        Key(self.0)
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        sting(Sharp::Hash);
        self.0.hash(state);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        sting(Sharp::Eq);
        self.0 == other.0
    }
}

impl Eq for Key {}

impl Drop for Key {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            sting(Sharp::Drop(self.0));
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

trait Speaker: Send + Sync {}

impl Interface for dyn Speaker {
    type Key = Key;
    const NAME: &'static str = "speaker";
    const CAPABILITIES: &'static [Need] = &[];

    fn id(key: &Key) -> u64 {
        key.0
    }
}

struct Silent;

impl Speaker for Silent {}

type Speakers = Registry<dyn Speaker>;

fn register(speakers: &Speakers, key: u64, service: Arc<dyn Speaker>) {
    speakers.register(speakers.offer(Key(key), "a", service)).unwrap();
}

/// What a follower says, and that it is without a gap.
fn heard(follower: &mut mainlane::register::Follower<dyn Speaker>) -> Vec<u64> {
    let mut revisions = Vec::new();
    while let Some(heard) = follower.next() {
        let Heard::Announced(Announcement { revision, .. }) = heard else { panic!("none is missing: {heard:?}") };
        revisions.push(revision);
    }
    revisions
}

#[test]
fn a_key_that_panics_leaves_a_registry_that_tells_of_all_its_changes() {
    for sharp in [Sharp::Clone, Sharp::Hash, Sharp::Eq] {
        let speakers = Speakers::new();
        (0..50).for_each(|key| register(&speakers, key, Arc::new(Silent)));
        let (listing, mut follower) = speakers.follow();
        let offer = speakers.offer(Key(7), "b", Arc::new(Silent));
        let (withdrawn, known) = (Key(8), Key(9));
        SHARP.set(sharp);
        let outcome = catch_unwind(AssertUnwindSafe(|| speakers.register(offer).is_ok()));
        assert!(outcome.is_err() && SHARP.get() == Sharp::Nothing, "{sharp:?}");
        SHARP.set(sharp);
        let outcome = catch_unwind(AssertUnwindSafe(|| speakers.withdraw(&withdrawn, "a").is_some()));
        assert!(outcome.is_err() && SHARP.get() == Sharp::Nothing, "{sharp:?}");
        assert_eq!((speakers.revision(), speakers.list()), (listing.revision, listing));
        assert!(speakers.get(&known, "a").is_some());
        register(&speakers, 50, Arc::new(Silent));
        assert_eq!(heard(&mut follower), [51]);
    }
}

#[test]
fn an_announcement_that_panics_as_it_gives_way_keeps_no_other_from_being_heard() {
    let speakers = Speakers::new();
    // The first announcement's key is nowhere else.
    register(&speakers, 1_000_000, Arc::new(Silent));
    speakers.withdraw(&Key(1_000_000), "a").unwrap();
    (2..1024).for_each(|key| register(&speakers, key, Arc::new(Silent)));
    assert_eq!(speakers.revision(), 1024);
    let (_, mut follower) = speakers.follow();
    SHARP.set(Sharp::Drop(1_000_000));
    let outcome = catch_unwind(AssertUnwindSafe(|| register(&speakers, 5_000, Arc::new(Silent))));
    assert!(outcome.is_err() && SHARP.get() == Sharp::Nothing);
    assert!(speakers.get(&Key(5_000), "a").is_some(), "it is there");
    register(&speakers, 5_001, Arc::new(Silent));
    register(&speakers, 5_002, Arc::new(Silent));
    assert_eq!(heard(&mut follower), [1025, 1026, 1027]);
}

#[test]
fn a_service_that_is_not_registered_because_its_key_panics_may_use_the_registry_at_its_end() {
    struct Curious(Speakers, Arc<Mutex<Option<u64>>>);

    impl Speaker for Curious {}

    impl Drop for Curious {
        fn drop(&mut self) {
            *self.1.lock().unwrap() = Some(self.0.counts().registered);
        }
    }

    let (tell, told) = std::sync::mpsc::channel();
    let working = std::thread::spawn(move || {
        let (speakers, seen) = (Speakers::new(), Arc::default());
        register(&speakers, 1, Arc::new(Silent));
        for clones in 0..4 {
            let (registry, service) = (speakers.clone(), Arc::new(Curious(speakers.clone(), Arc::clone(&seen))));
            // Where a clone panics: of the offer's key, of the key for the map, in the map.
            let offer = registry.offer(Key(2), "b", service);
            LEFT.set(clones);
            let outcome = catch_unwind(AssertUnwindSafe(|| registry.register(offer).is_ok()));
            LEFT.set(u64::MAX);
            if outcome.is_ok() {
                registry.withdraw(&Key(2), "b");
            }
            assert_eq!(seen.lock().unwrap().take().map(|registered| registered >= 1), Some(true), "{clones}");
        }
        tell.send(()).unwrap();
    });
    assert_eq!(told.recv_timeout(crate::domain::PATIENCE), Ok(()), "it waits for itself");
    working.join().unwrap();
}

thread_local! {
    /// How many clones are good.
    static LEFT: Cell<u64> = const { Cell::new(u64::MAX) };
}

trait Listener: Send + Sync {}

impl Listener for Silent {}

impl Interface for dyn Listener {
    type Key = u64;
    const NAME: &'static str = "listener";
    const CAPABILITIES: &'static [Need] = &[];

    fn id(key: &u64) -> u64 {
        *key
    }
}

#[test]
fn a_key_that_panics_as_it_is_told_of_takes_no_other_registry_s_news_with_it() {
    #[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    struct Shy(u64);

    impl Clone for Shy {
        fn clone(&self) -> Self {
            assert_ne!(std::thread::current().name(), Some("tells of shy keys"), "a shy key");
            Shy(self.0)
        }
    }

    impl fmt::Display for Shy {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.fmt(f)
        }
    }

    trait Hider: Send + Sync {}

    impl Hider for Silent {}

    impl Interface for dyn Hider {
        type Key = Shy;
        const NAME: &'static str = "hider";
        const CAPABILITIES: &'static [Need] = &[];

        fn id(key: &Shy) -> u64 {
            key.0
        }
    }

    let registries = Registries::new();
    let (hiders, listeners) = (registries.add::<dyn Hider>().unwrap(), registries.add::<dyn Listener>().unwrap());
    let mut running = Bus::builder().start().unwrap();
    let bus = running.bus();
    let mut news = bus.subscribe::<RegistryNews>("test").reader().unwrap();
    registries.announce(bus, "tells of shy keys").unwrap().keep();
    for n in 1..=3 {
        hiders.register(hiders.offer(Shy(n), "a", Arc::new(Silent))).unwrap();
        listeners.register(listeners.offer(n, "a", Arc::new(Silent))).unwrap();
        let told = news.wait(crate::domain::PATIENCE).expect("the other's news");
        assert_eq!(told.signal().unwrap().to_string(), format!("listener@a for {n}: registered"));
    }
    until("all are counted", || hiders.counts().key_panics == 3);
    assert!(running.shutdown(crate::domain::PATIENCE).complete);
}

#[test]
fn what_hooks_that_are_kept_have_ends_one_by_one_with_the_registry() {
    struct Thorn;

    impl Drop for Thorn {
        fn drop(&mut self) {
            panic!("a thorn");
        }
    }

    let listeners = Registry::<dyn Listener>::new();
    for thorn in [Thorn, Thorn] {
        listeners.on_change(move || _ = &thorn).keep();
    }
    drop(listeners);
}

#[test]
fn one_registry_that_changes_all_the_time_does_not_keep_the_news_of_another() {
    let registries = Registries::new();
    let (speakers, listeners) = (registries.add::<dyn Speaker>().unwrap(), registries.add::<dyn Listener>().unwrap());
    let (mut dispatcher, bus) = Bus::builder().build();
    let mut news = bus.subscribe::<RegistryNews>("test").waiting(10_000).reader().unwrap();
    let _announcing = registries.announce(&bus, "announces").unwrap();
    (0..1_000).for_each(|key| register(&speakers, key, Arc::new(Silent)));
    listeners.register(listeners.offer(1, "a", Arc::new(Silent))).unwrap();
    let (mut before, mut after) = (0, 0);
    until("all are told", || {
        dispatcher.turn(Budget::events(10));
        while let Some(told) = news.next_waiting() {
            // What found no room is counted, and told later.
            let Some(told) = told.signal() else { continue };
            match told.interface() {
                "listener" => after = 1,
                _ if after > 0 => after += 1,
                _ => before += 1,
            }
        }
        before + after == 1_001
    });
    // What fits into the family may stand before it, and no more.
    assert!(after > 500, "{before} were told before it");
    drop(dispatcher);
}

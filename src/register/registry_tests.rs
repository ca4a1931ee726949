//! Tests of registries: rules one by one, random changes beside a slow twin, and both at once from many threads.

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::core::contain;
use crate::register::{ANNOUNCEMENTS, Declaration, Heard, Holder, Level, Problem, Registries, RegistriesError};

/// A service that says which one it is.
trait Speaker: Send + Sync {
    fn word(&self) -> u64;
}

const SPEAK: Capability = Capability::new("speak");
const SING: Capability = Capability::new("sing");
const DANCE: Capability = Capability::new("dance");

impl Interface for dyn Speaker {
    type Key = u64;
    const NAME: &'static str = "speaker";
    const CAPABILITIES: &'static [Need] = &[Need::required(SPEAK), Need::expected(SING), Need::optional(DANCE)];

    fn id(key: &u64) -> u64 {
        *key
    }
}

struct Word(u64);

impl Speaker for Word {
    fn word(&self) -> u64 {
        self.0
    }
}

type Speakers = Registry<dyn Speaker>;

fn able() -> Declaration {
    Declaration::new().full(SPEAK).full(SING).full(DANCE)
}

fn offer(key: u64, name: &'static str, word: u64) -> Offer<dyn Speaker> {
    Offer::<dyn Speaker>::new(key, name, Arc::new(Word(word))).declare(able())
}

fn words(registry: &Speakers, key: u64) -> Vec<u64> {
    registry.reader("test").all(&key).map(|speaker| speaker.word()).collect()
}

#[test]
fn a_provider_is_found_by_key_and_name_until_it_leaves() {
    let registry = Speakers::new();
    let registered = registry.register(offer(1, "a", 10)).unwrap();
    registry.register(offer(1, "b", 11)).unwrap();
    registry.register(offer(2, "a", 20)).unwrap();
    let found = |key, name| registry.get(&key, name).map(|speaker| speaker.word());
    assert_eq!([found(1, "a"), found(1, "b"), found(2, "a")], [Some(10), Some(11), Some(20)]);
    assert_eq!([found(2, "b"), found(3, "a")], [None; 2]);
    assert_eq!(registry.get(&2, "a").unwrap().provider().origin().to_string(), "speaker@a/2");
    let taken = RegisterError::Taken { interface: "speaker", key: 1, provider: "a" };
    assert_eq!(registry.register(offer(1, "a", 12)), Err(taken));
    assert_eq!(found(1, "a"), Some(10), "nothing has changed");

    let (_, before) = registry.replace(offer(1, "a", 13)).unwrap();
    assert!(before.is_gone());
    assert_eq!(found(1, "a"), Some(13));
    assert!(registry.withdraw_this(&registered).is_none(), "another has its name");
    assert!(registry.withdraw(&1, "a").unwrap().is_gone());
    assert!(registry.withdraw(&1, "a").is_none());
    assert_eq!((found(1, "a"), found(1, "b")), (None, Some(11)));
    let error = registry.replace(offer(1, "a", 14)).unwrap_err();
    assert_eq!(error.to_string(), "speaker@a for 1 is not there to be replaced; register it");
    let counts = RegistryCounts { registered: 3, replaced: 1, withdrawn: 1, refused: 2, ..RegistryCounts::default() };
    assert_eq!((registry.counts(), registry.revision()), (counts, 5));
}

#[test]
fn ranks_come_first_and_then_names() {
    let registry = Speakers::new();
    for (name, rank, word) in [("b", 1, 1), ("d", 0, 2), ("c", 1, 3), ("a", 2, 4)] {
        registry.register(offer(1, name, word).rank(rank)).unwrap();
    }
    assert_eq!(words(&registry, 1), [2, 1, 3, 4]);
    registry.replace(offer(1, "d", 5).rank(9)).unwrap();
    assert_eq!(words(&registry, 1), [1, 3, 4, 5]);
}

#[test]
fn a_provider_is_chosen_by_what_it_supports() {
    let registry = Speakers::new();
    let declared = [
        ("a", Declaration::new().full(SPEAK).none(SING).full(DANCE)),
        ("b", Declaration::new().partial(SPEAK, "verbs").partial(SING, "high notes").full(DANCE)),
        ("c", Declaration::new().full(SPEAK).partial(SING, "low notes").none(DANCE)),
        ("d", able()),
    ];
    for (name, declaration) in declared.clone() {
        registry.register(offer(1, name, 0).declare(declaration)).unwrap();
    }
    let mut reader = registry.reader("test");
    let mut fully = |capabilities: &[_]| reader.fully(&1, capabilities).map(Provider::name);
    assert_eq!([fully(&[]), fully(&[SPEAK]), fully(&[SING])], [Some("a"), Some("a"), Some("d")]);
    registry.withdraw(&1, "d").unwrap();
    assert_eq!([fully(&[SING]), fully(&[SPEAK, DANCE])], [None, Some("a")]);
    let mut best = |capabilities: &[_]| reader.best(&1, capabilities).map(Provider::name);
    assert_eq!(best(&[SING]), Some("b"), "as good as c, and preferred");
    assert_eq!(best(&[SPEAK, SING]), Some("c"), "short of one, b of two");
    assert_eq!((best(&[SING, DANCE]), best(&[Capability::new("fly")])), (Some("b"), None));
    let lease = registry.best(&1, &[SPEAK, SING]).unwrap();
    assert_eq!(*lease.provider().support(SING), Support::partial("low notes"));
    assert_eq!(registry.fully(&1, &[SPEAK]).unwrap().provider().name(), "a");
}

#[test]
fn what_does_not_fit_is_refused_or_listed() {
    let registry = Speakers::new();
    let mute = || Declaration::new().none(SPEAK).full(SING);
    let error = registry.register(offer(1, "mute", 0).declare(mute())).unwrap_err();
    let expected = "speaker@mute for 1: `speak` is required, and not supported; it was refused";
    assert_eq!(error.to_string(), expected);
    assert!(words(&registry, 1).is_empty(), "it is not there");
    let seen = |registry: &Speakers| -> Vec<_> {
        let all = registry.mismatches().into_iter();
        all.map(|mismatch| (mismatch.provider, mismatch.capability, mismatch.refused)).collect()
    };
    assert_eq!(seen(&registry), [("mute", SPEAK, true), ("mute", DANCE, true)]);

    let fly = Capability::new("fly");
    registry.register(offer(1, "flat", 0).declare(Declaration::new().full(SPEAK).none(SING).full(fly))).unwrap();
    let of_flat = [("flat", SING, false), ("flat", DANCE, false), ("flat", fly, false)];
    assert_eq!(seen(&registry)[..3], of_flat);
    let unsupported = Problem::Unsupported { level: Level::Expected };
    assert_eq!(registry.mismatches()[0].problem, unsupported);
    assert_eq!(registry.counts().mismatches, 5);

    // Offered again and again it is listed once; registered at last, what was refused is over.
    (0..3).for_each(|_| drop(registry.register(offer(1, "mute", 0).declare(mute()))));
    assert_eq!(seen(&registry).len(), 5);
    registry.register(offer(1, "mute", 0)).unwrap();
    assert_eq!(seen(&registry), of_flat);
    registry.withdraw(&1, "flat").unwrap();
    assert!(seen(&registry).is_empty());
    assert_eq!(registry.counts().refused, 4);
    let kept = registry.replace(offer(1, "mute", 1).declare(mute()));
    assert!(matches!(kept, Err(RegisterError::Unsupported(mismatches)) if mismatches.len() == 1));
    assert_eq!(words(&registry, 1), [0], "what was to be replaced is there still");
}

#[test]
fn refused_offers_are_remembered_up_to_a_bound() {
    let registry = Speakers::new();
    let keys = REFUSED_MAX as u64;
    for key in 0..keys {
        assert!(registry.register(offer(key, "mute", 0).declare(Declaration::new())).is_err());
    }
    let mismatches = registry.mismatches();
    assert_eq!(mismatches.len(), REFUSED_MAX);
    assert_eq!(mismatches.last().unwrap().key, keys - 1);
    assert_eq!(registry.counts().mismatches, 3 * keys);
}

fn holder(name: &str, leases: u64, looks: u64) -> Holder {
    Holder { name: name.into(), leases, looks }
}

#[test]
fn who_holds_what_has_left_is_named() {
    let registry = Speakers::new();
    let early = registry.reader("early");
    registry.register(offer(1, "a", 10)).unwrap();
    let (mut indexer, mut view, mut other_view) =
        (registry.reader("indexer"), registry.reader("view"), registry.reader("view"));
    let leases = [indexer.lease(&1, "a").unwrap(), view.lease(&1, "a").unwrap(), other_view.lease(&1, "a").unwrap()];
    let unnamed = registry.get(&1, "a").unwrap();
    let copy = leases[0].clone();
    assert_eq!(registry.list().providers[0].holders.len(), 3);

    let (_, departed) = registry.replace(offer(1, "a", 11)).unwrap();
    let late = registry.reader("late");
    let expected = [holder("(unnamed)", 1, 0), holder("indexer", 2, 1), holder("view", 2, 2)];
    assert_eq!(departed.held_by(), expected, "neither who came early nor who came late");
    assert_eq!((leases[0].word(), unnamed.word()), (10, 10), "it stays what it was");
    assert_eq!(registry.get(&1, "a").unwrap().word(), 11);
    drop((early, late));

    assert_eq!(indexer.get(&1, "a").unwrap().word(), 11);
    drop((leases, unnamed, copy));
    assert_eq!(departed.held_by(), [holder("view", 0, 2)]);
    assert_eq!(departed.held_by()[0].to_string(), "view (has not looked since)");
    drop(other_view);
    assert!(!departed.is_gone());
    view.get(&1, "a");
    assert!(departed.is_gone() && departed.held_by().is_empty());
    assert!(format!("{departed:?}").contains("speaker@a/1"));
}

#[test]
fn a_lease_outlives_the_registry() {
    let registry = Speakers::new();
    registry.register(offer(1, "a", 10)).unwrap();
    let lease = registry.reader("test").lease(&1, "a").unwrap();
    drop(registry);
    assert_eq!(lease.word(), 10);
}

#[test]
fn a_follower_hears_of_all_that_comes_after_its_listing() {
    let registry = Speakers::new();
    registry.register(offer(1, "a", 10)).unwrap();
    let (listing, mut follower) = registry.follow();
    assert_eq!((listing.revision, listing.providers.len()), (1, 1));
    assert_eq!(follower.next(), None);
    registry.replace(offer(1, "a", 11)).unwrap();
    registry.register(offer(2, "b", 12)).unwrap();
    registry.withdraw(&1, "a").unwrap();
    let heard: Vec<_> = std::iter::from_fn(|| follower.next()).collect();
    let expected = [(2, 1, "a", Change::Replaced), (3, 2, "b", Change::Registered), (4, 1, "a", Change::Withdrawn)];
    let expected = expected.map(|(revision, key, provider, change)| {
        Heard::Announced(Announcement { revision, interface: "speaker", key, provider, change })
    });
    assert_eq!(heard, expected);
    assert_eq!(follower.wait(Instant::now()), None);
}

#[test]
fn a_follower_that_is_too_far_behind_is_told_how_far_and_what_there_is() {
    let registry = Speakers::new();
    let (_, mut follower) = registry.follow();
    let rounds = ANNOUNCEMENTS as u64 / 2 + 5;
    for _ in 0..rounds {
        registry.register(offer(1, "a", 0)).unwrap();
        registry.withdraw(&1, "a").unwrap();
    }
    registry.register(offer(2, "b", 0)).unwrap();
    let Some(Heard::Missed { count, now }) = follower.next() else { panic!("it missed some") };
    assert_eq!((count, now.revision, now.providers.len()), (2 * rounds + 1, 2 * rounds + 1, 1));
    assert_eq!(follower.next(), None);
    registry.withdraw(&2, "b").unwrap();
    assert!(matches!(follower.next(), Some(Heard::Announced(_))));
}

#[test]
fn a_follower_that_waits_is_woken() {
    let registry = Speakers::new();
    let (_, mut follower) = registry.follow();
    let other = registry.clone();
    let waiting = std::thread::spawn(move || follower.wait(Instant::now() + Duration::from_secs(60)));
    other.register(offer(1, "a", 0)).unwrap();
    assert!(matches!(waiting.join().unwrap(), Some(Heard::Announced(_))));
}

#[test]
fn a_hook_is_called_after_each_change_and_may_change_the_registry_itself() {
    let registry = Speakers::new();
    let calls = Arc::new(AtomicU64::new(0));
    let (count, itself) = (calls.clone(), registry.clone());
    let hooked = registry.on_change(move || {
        if count.fetch_add(1, Relaxed) == 0 {
            itself.register(offer(2, "from the hook", 0)).unwrap();
        }
        panic!("as hooks do");
    });
    hooked.keep();
    registry.register(offer(1, "a", 0)).unwrap();
    assert_eq!((calls.load(Relaxed), registry.revision(), registry.counts().hook_panics), (2, 2, 2));
}

/// A service whose end looks at the registry that it was in, and changes it.
struct Meddler(Speakers);

impl Speaker for Meddler {
    fn word(&self) -> u64 {
        0
    }
}

impl Drop for Meddler {
    fn drop(&mut self) {
        let _ = self.0.register(offer(9, "left behind", self.0.revision()));
        let _ = (self.0.list(), self.0.mismatches(), self.0.follow());
    }
}

#[test]
fn a_provider_that_ends_may_use_the_registry() {
    let registry = Speakers::new();
    let meddler =
        |declaration| Offer::<dyn Speaker>::new(1, "m", Arc::new(Meddler(registry.clone()))).declare(declaration);
    assert!(registry.register(meddler(Declaration::new())).is_err());
    assert!(registry.withdraw(&9, "left behind").is_some(), "a refused one ends, too");
    registry.register(meddler(able())).unwrap();
    assert!(registry.register(meddler(able())).is_err());
    registry.withdraw(&9, "left behind").unwrap();
    registry.replace(meddler(able())).unwrap();
    registry.withdraw(&9, "left behind").unwrap();
    registry.withdraw(&1, "m").unwrap();
    assert_eq!(words(&registry, 9).len(), 1);
    registry.withdraw(&9, "left behind").unwrap();
    registry.register(meddler(able())).unwrap();
    let mut reader = registry.reader("last");
    let lease = reader.lease(&1, "m").unwrap();
    registry.withdraw(&1, "m").unwrap();
    reader.get(&1, "m");
    assert!(words(&registry, 9).is_empty());
    drop(lease);
    assert_eq!(words(&registry, 9).len(), 1);
}

/// A service whose end panics.
struct Sore;

impl Speaker for Sore {
    fn word(&self) -> u64 {
        0
    }
}

impl Drop for Sore {
    fn drop(&mut self) {
        panic!("as ends do");
    }
}

#[test]
fn a_provider_whose_end_panics_has_left_and_everyone_is_told() {
    let registry = Speakers::new();
    let (_, mut follower) = registry.follow();
    let calls = Arc::new(AtomicU64::new(0));
    let count = calls.clone();
    let _hooked = registry.on_change(move || {
        count.fetch_add(1, Relaxed);
    });
    registry.register(Offer::<dyn Speaker>::new(1, "sore", Arc::new(Sore)).declare(able())).unwrap();
    assert!(contain(|| registry.withdraw(&1, "sore")).is_err(), "whoever withdraws it hears of it");
    let heard = std::iter::from_fn(|| follower.next()).count();
    assert_eq!((heard, calls.load(Relaxed), words(&registry, 1).len()), (2, 2, 0));
    registry.register(offer(1, "sore", 3)).unwrap();
    assert_eq!(words(&registry, 1), [3]);
}

/// A second interface, and one that borrows the first one's name.
trait Clock: Send + Sync {}
trait Impostor: Send + Sync {}
trait Confused: Send + Sync {}

macro_rules! interface {
    ($type:ty, $name:expr, $needs:expr) => {
        impl Interface for $type {
            type Key = String;
            const NAME: &'static str = $name;
            const CAPABILITIES: &'static [Need] = $needs;

            fn id(_: &String) -> u64 {
                0
            }
        }
    };
}

interface!(dyn Clock, "clock", &[]);
interface!(dyn Impostor, "speaker", &[]);
interface!(dyn Confused, "confused", &[Need::optional(SING), Need::required(SPEAK), Need::expected(SING)]);

struct Sun;
impl Clock for Sun {}

#[test]
fn registries_are_found_by_type_and_listed_together() {
    let registries = Registries::new();
    let speakers = registries.add::<dyn Speaker>().unwrap();
    let clocks = registries.add::<dyn Clock>().unwrap();
    assert!(registries.get::<dyn Impostor>().is_none());
    let interface = "speaker";
    assert_eq!(registries.add::<dyn Speaker>().unwrap_err(), RegistriesError::AlreadyThere { interface });
    assert_eq!(registries.add::<dyn Impostor>().unwrap_err(), RegistriesError::NameTaken { interface });
    let twice = RegistriesError::CapabilityTwice { interface: "confused", capability: "sing" };
    assert_eq!(registries.add::<dyn Confused>().unwrap_err(), twice);

    speakers.register(offer(1, "a", 10).declare(Declaration::new().full(SPEAK).none(SING).none(DANCE))).unwrap();
    clocks.register(clocks.offer("here".to_owned(), "sun", Arc::new(Sun))).unwrap();
    let found = registries.clone().get::<dyn Speaker>().unwrap();
    assert_eq!(found.get(&1, "a").unwrap().word(), 10);
    let _held = found.reader("view").lease(&1, "a");
    let page = registries.to_string();
    let expected = "clock: 1 providers\n  sun for here, rank 0\nspeaker: 1 providers\n  a for 1, rank 0; speak: yes; sing: no; \
                    dance: no; held by view (1 leases)\nmismatch: speaker@a for 1: `sing` is expected, and not supported\n";
    assert_eq!(page, expected);
    assert_eq!(registries.mismatches().len(), 1);
}

/// The slow, obviously right twin: the whole list, sorted at each look.
#[derive(Clone, Debug, Default, PartialEq)]
struct Twin(BTreeMap<(u64, &'static str), (u32, u64)>);

impl Twin {
    fn all(&self, key: u64) -> Vec<(&'static str, u64)> {
        let mut all: Vec<_> = self.0.iter().filter(|((its, _), _)| *its == key).collect();
        all.sort_by_key(|((_, name), (rank, _))| (*rank, *name));
        all.into_iter().map(|((_, name), (_, word))| (*name, *word)).collect()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Register(u64, &'static str, u32),
    Replace(u64, &'static str, u32),
    Withdraw(u64, &'static str),
    Look,
}

const NAMES: [&str; 3] = ["a", "b", "c"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let place = || (0..3_u64, prop::sample::select(&NAMES[..]), 0..3_u32);
    prop::collection::vec(
        prop_oneof![
            place().prop_map(|(key, name, rank)| Step::Register(key, name, rank)),
            place().prop_map(|(key, name, rank)| Step::Replace(key, name, rank)),
            place().prop_map(|(key, name, _)| Step::Withdraw(key, name)),
            Just(Step::Look),
        ],
        0..60,
    )
}

fn listed(registry: &Speakers) -> Twin {
    let rows = registry.list().providers.into_iter();
    Twin(
        rows.map(|row| {
            let word = registry.get(&row.key, row.provider).unwrap().word();
            ((row.key, row.provider), (row.rank, word))
        })
        .collect(),
    )
}

proptest! {
    #[test]
    fn a_registry_is_what_its_twin_is(steps in steps()) {
        let (registry, mut twin, mut word, mut heard) = (Speakers::new(), Twin::default(), 0, 0);
        let (mut sparse, mut eager) = (registry.reader("sparse"), registry.reader("eager"));
        let (_, mut follower) = registry.follow();
        for step in steps {
            word += 1;
            match step {
                Step::Register(key, name, rank) => {
                    let free = !twin.0.contains_key(&(key, name));
                    prop_assert_eq!(registry.register(offer(key, name, word).rank(rank)).is_ok(), free);
                    if free {
                        twin.0.insert((key, name), (rank, word));
                        heard += 1;
                    }
                }
                Step::Replace(key, name, rank) => {
                    let taken = twin.0.contains_key(&(key, name));
                    prop_assert_eq!(registry.replace(offer(key, name, word).rank(rank)).is_ok(), taken);
                    if taken {
                        twin.0.insert((key, name), (rank, word));
                        heard += 1;
                    }
                }
                Step::Withdraw(key, name) => {
                    let there = twin.0.remove(&(key, name)).is_some();
                    prop_assert_eq!(registry.withdraw(&key, name).is_some(), there);
                    heard += u64::from(there);
                }
                Step::Look => {
                    for key in 0..3 {
                        let all: Vec<_> = sparse.all(&key).map(|found| (found.name(), found.word())).collect();
                        prop_assert_eq!(all, twin.all(key));
                    }
                }
            }
            for key in 0..3 {
                let all: Vec<_> = eager.all(&key).map(|found| (found.name(), found.word())).collect();
                prop_assert_eq!(all, twin.all(key));
            }
            prop_assert_eq!(listed(&registry), twin.clone());
        }
        let announced = std::iter::from_fn(|| follower.next()).count() as u64;
        prop_assert_eq!((announced, registry.revision()), (heard, heard));
    }
}

/// What the announcements amount to: who is there after each revision.
fn replayed(announcements: &[Announcement<u64>]) -> Vec<Vec<(u64, &'static str, u64)>> {
    let mut there: BTreeMap<(u64, &'static str), u64> = BTreeMap::new();
    let flat = |there: &BTreeMap<(u64, &'static str), u64>| {
        there.iter().map(|((key, name), number)| (*key, *name, *number)).collect()
    };
    let mut all = vec![flat(&there)];
    for (at, Announcement { revision, key, provider, change, .. }) in announcements.iter().enumerate() {
        assert_eq!(*revision, at as u64 + 1, "without gaps");
        let before = match change {
            Change::Registered | Change::Replaced => there.insert((*key, *provider), *revision),
            Change::Withdrawn => there.remove(&(*key, *provider)),
        };
        assert_eq!(before.is_some(), *change != Change::Registered);
        all.push(flat(&there));
    }
    all
}

/// Writers, readers and followers at once. Every look must be one revision, whole, and a revision is what the announcements up to
/// it amount to.
#[test]
fn every_look_is_one_revision_while_many_change_it() {
    const WRITERS: u64 = 3;
    const CHANGES: u64 = 300;
    let registry = Speakers::new();
    let (_, mut follower) = registry.follow();
    let start = Barrier::new(WRITERS as usize + 3);
    let over = AtomicU64::new(0);
    let (heard, looks, midway) = std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (registry, start, over) = (&registry, &start, &over);
            scope.spawn(move || {
                start.wait();
                for change in 0..CHANGES {
                    let (key, name) = ((writer + change) % 4, NAMES[change as usize % 3]);
                    match change % 3 {
                        0 => drop(registry.register(offer(key, name, change))),
                        1 => drop(registry.replace(offer(key, name, change))),
                        _ => drop(registry.withdraw(&key, name)),
                    }
                }
                over.fetch_add(1, Relaxed);
            });
        }
        let looking = || {
            let mut reader = registry.reader("reader");
            let (mut looks, mut leases) = (Vec::new(), Vec::new());
            start.wait();
            while over.load(Relaxed) < WRITERS {
                let revision_before = registry.revision();
                let lease = reader.lease(&1, "a");
                assert!(reader.revision() >= revision_before, "what was seen to be there is found");
                leases.extend(lease);
                let shelf = reader.look();
                let mut all: Vec<_> = shelf.values().flat_map(|among| among.iter()).collect();
                all.sort_by_key(|provider| (*provider.key(), provider.name()));
                let all: Vec<_> = all.iter().map(|found| (*found.key(), found.name(), found.number())).collect();
                looks.push((reader.revision(), all));
            }
            assert!(looks.is_sorted_by_key(|(revision, _)| *revision), "never goes back");
            looks
        };
        let readers = [scope.spawn(looking), scope.spawn(looking)];
        let following = scope.spawn(|| {
            start.wait();
            // Begins in the middle: its listing and what it hears are one past.
            let (listing, mut later) = registry.follow();
            let (mut early, mut after) = (Vec::new(), Vec::new());
            loop {
                let ended = over.load(Relaxed) == WRITERS;
                early.extend(std::iter::from_fn(|| follower.next()));
                after.extend(std::iter::from_fn(|| later.next()));
                if ended {
                    return (early, (listing, after));
                }
            }
        });
        let looks = readers.map(|reader| reader.join().unwrap()).concat();
        let (heard, midway) = following.join().unwrap();
        (heard, looks, midway)
    });
    let announced = |heard: Vec<Heard<u64>>| -> Vec<_> {
        let one = |heard| match heard {
            Heard::Announced(announcement) => announcement,
            Heard::Missed { .. } => panic!("fewer changes than are kept"),
        };
        heard.into_iter().map(one).collect()
    };
    let announcements = announced(heard);
    let states = replayed(&announcements);
    assert_eq!(announcements.len() as u64, registry.revision());
    for (revision, look) in looks {
        assert_eq!(look, states[revision as usize], "revision {revision}");
    }
    let (listing, after) = midway;
    let rows: Vec<_> = listing.providers.iter().map(|row| (row.key, row.provider, row.number)).collect();
    assert_eq!(rows, states[listing.revision as usize]);
    assert_eq!(announced(after), announcements[listing.revision as usize..]);
}

//! The coalescing table: `lane/table.rs` and `lane/coalesce.rs`.
//!
//! Modelled: a lane that pushes up to four values in one or two places, and a main lane that collects up to twice
//! meanwhile and once after. In every execution each value is collected, coalesced or shed, exactly once; the last one of
//! a key is collected; and no older one of a key after a newer.
//!
//! Bounds: one thread beside the main lane, one or two places, up to four pushes against two collects, explored in full.
//! A few seconds together.
//!
//! Must make it fail: weakening either end of P6, P7, P8, P9 or P10; naming a page before its first push has ended; looking
//! for what is late before looking at the page's name; forgetting what is late or held; dropping with the table what was taken, or not what
//! is late.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::clock::{Bound, Clock, lossy_key};
use crate::event::{Coalesced, Tier};
use crate::lane::coalesce::{Coalescer, Pushed};
use crate::lane::table::{Begun, TableConsumer, TableProducer, Unread, table};
use crate::sync::Arc;
use loom::thread;

fn unread(item: u64) -> Unread<u64> {
    Unread { key: 2 * item, sequence: item, parts: 1, item }
}

/// The same, as a lane is given it.
fn to_be_made(item: u64) -> Unread<impl FnOnce() -> u64> {
    let Unread { key, sequence, parts, item } = unread(item);
    Unread { key, sequence, parts, item: move || item }
}

/// Puts a value in `place`, which is filled or the next to be, or in the first place of a fresh page; returns what it replaced.
pub(crate) fn put_in<T>(lane: &mut TableProducer<T>, place: usize, value: Unread<T>) -> Option<Unread<T>> {
    let is_next = place >= lane.filled();
    match lane.begin(Some(place)) {
        Begun::SamePage(mut writing) if !is_next => writing.with_place(|place| place.replace(value)),
        Begun::SamePage(writing) | Begun::FreshPage(writing) => {
            writing.fill(value, || ());
            None
        }
    }
}

/// The same; returns how many values it replaced.
fn put(lane: &mut TableProducer<u64>, place: usize, value: Unread<u64>) -> u32 {
    let newer = value.item;
    let older = put_in(lane, place, value).map(|older| older.item);
    assert!(older.is_none_or(|older| older < newer), "what is unread is older");
    older.is_some().into()
}

fn collect(main_lane: &mut TableConsumer<u64>, into: &mut Vec<u64>) {
    main_lane.collect(Bound::OPEN, |value| into.push(value.item));
}

fn rises(items: &[u64]) -> bool {
    items.windows(2).all(|two| two[0] < two[1])
}

/// One place, values that replace one another. With equal keys, as between two cuts, the word of a value that
/// went through the same slot is the same again.
pub fn replaced(pushes: u64, collects: usize, equal_keys: bool) {
    let (mut lane, mut main_lane) = table(1);
    let pushing = thread::spawn(move || {
        (1..=pushes)
            .map(|item| Unread { key: if equal_keys { 2 } else { 2 * item }, ..unread(item) })
            .map(|value| put(&mut lane, 0, value))
            .sum::<u32>()
    });
    let mut found = Vec::new();
    for _ in 0..collects {
        collect(&mut main_lane, &mut found);
    }
    let replaced = pushing.join().unwrap();
    collect(&mut main_lane, &mut found);
    assert!(rises(&found), "never an older value after a newer: {found:?}");
    assert_eq!(found.last(), Some(&pushes), "the newest is not lost");
    assert_eq!(found.len() as u64 + u64::from(replaced), pushes, "each is collected or replaced, once");
    assert!(!main_lane.has_visible());
}

/// Two keys in turn.
pub fn two_keys(pushes: usize, collects: usize) {
    const PUSHES: [(u32, Tier); 4] = [(7, Tier::LOW), (8, Tier::LOW), (7, Tier::LOW), (8, Tier::LOW)];
    let (outcome, found) = coalescer(2, &PUSHES[..pushes], collects);
    for key in 0..2 {
        let of_key: Vec<_> = found.iter().map(|(item, _)| *item).filter(|item| (item - 1) % 2 == key).collect();
        assert!(rises(&of_key), "never an older value after a newer: {of_key:?}");
        let newest = (1..=pushes as u64).filter(|item| (item - 1) % 2 == key).max();
        assert_eq!(of_key.last().copied(), newest, "the newest is not lost");
    }
    assert_eq!(found.len() + outcome.coalesced, pushes, "each is collected or replaced, once");
}

/// The lane stops in the middle of its third push, for good or until all else is over. The main lane goes on, and loses
/// nothing but what that push meets.
pub fn lane_stops_half_way(goes_on: bool) {
    let (mut lane, mut main_lane) = table(2);
    let pushing = thread::spawn(move || {
        put(&mut lane, 0, unread(1));
        let next = lane.filled();
        put(&mut lane, next, unread(2));
        let mut writing = match lane.begin(Some(0)) {
            Begun::SamePage(writing) => writing,
            Begun::FreshPage(writing) => {
                if goes_on {
                    writing.fill(unread(3), || ());
                }
                return None;
            }
        };
        let met = writing.with_place(|place| if goes_on { place.replace(unread(3)) } else { place.take() });
        if !goes_on {
            std::mem::forget(writing);
        }
        met.map(|met| met.item)
    });
    let mut found = Vec::new();
    collect(&mut main_lane, &mut found);
    let met = pushing.join().unwrap();
    collect(&mut main_lane, &mut found);
    found.sort_unstable();
    let expected: Vec<u64> = (1..=2).chain(goes_on.then_some(3)).filter(|item| Some(*item) != met).collect();
    assert_eq!(found, expected);
}

/// The main lane stops after one collect, whatever it found: the lane goes on, and what is not replaced is there later.
pub fn main_lane_stops() {
    let (mut lane, mut main_lane) = table(1);
    let stopping = thread::spawn(move || {
        let mut found = Vec::new();
        collect(&mut main_lane, &mut found);
        (main_lane, found)
    });
    let replaced: u32 = (1..=3).map(|item| put(&mut lane, 0, unread(item))).sum();
    let (mut main_lane, mut found) = stopping.join().unwrap();
    collect(&mut main_lane, &mut found);
    assert!(rises(&found));
    assert_eq!(found.last(), Some(&3));
    assert_eq!(replaced as usize + found.len(), 3);
}

/// Values beyond a bound are left where they are, or held, and taken by a later cut. Keys come from the clock.
pub fn left_at_the_bound() {
    let clock = Arc::new(Clock::new());
    let (mut lane, mut main_lane) = table(1);
    let its_clock = clock.clone();
    let pushing = thread::spawn(move || {
        (1..=2).map(|item| put(&mut lane, 0, Unread { key: lossy_key(its_clock.read()), ..unread(item) })).sum::<u32>()
    });
    let mut found: Vec<u64> = Vec::new();
    for _ in 0..2 {
        let bound = clock.cut();
        main_lane.collect(bound, |value| {
            assert!(value.key < bound.0, "taken below the bound only");
            found.push(value.item);
        });
    }
    let replaced = pushing.join().unwrap();
    let waiting = main_lane.has_visible();
    let before = found.len();
    main_lane.collect(clock.cut(), |value| found.push(value.item));
    assert!(waiting || found.len() == before, "what is left is visible");
    assert!(rises(&found));
    assert_eq!(found.last(), Some(&2), "what was left is taken by the next cut");
    assert_eq!(found.len() as u32 + replaced, 2);
    assert!(!main_lane.has_visible());
}

/// Both ends are dropped while values wait, one of them perhaps in the middle of its last push: each value is dropped once.
pub fn left_to_the_table(stops: bool) {
    // Not loom's: it is counted, not synchronised with.
    let token = std::sync::Arc::new(());
    let value = |item| {
        let Unread { key, sequence, parts, item: _ } = unread(item);
        Unread { key, sequence, parts, item: token.clone() }
    };
    let values = [value(1), value(2), value(3)];
    let (mut lane, mut main_lane) = table(2);
    let pushing = thread::spawn(move || {
        for (value, place) in values.into_iter().zip([0, 1, 0]) {
            let place = place.min(lane.filled());
            if stops && place == lane.filled() && place > 0 {
                drop(lane.begin(Some(place)));
            } else {
                drop(put_in(&mut lane, place, value));
            }
        }
    });
    main_lane.collect(Bound::OPEN, drop);
    drop(main_lane);
    pushing.join().unwrap();
    assert_eq!(std::sync::Arc::strong_count(&token), 1, "what nobody took is dropped with the table, once");
}

/// What became of the pushes of a model with the real coalescer.
#[derive(Default)]
struct Outcome {
    inserted: usize,
    coalesced: usize,
    shed_unread: usize,
    shed_at_once: usize,
}

impl Outcome {
    fn note(&mut self, pushed: Pushed) {
        match pushed {
            Pushed::Inserted => self.inserted += 1,
            Pushed::InsteadOf => {
                self.inserted += 1;
                self.shed_unread += 1;
            }
            Pushed::Coalesced(_) => self.coalesced += 1,
            Pushed::Shed => self.shed_at_once += 1,
            Pushed::Lost => unreachable!("no rule unwinds"),
        }
    }
}

/// The real coalescer: pushes are key and tier, values are numbered from one. Merging adds up `parts`.
fn coalescer(capacity: usize, pushes: &'static [(u32, Tier)], collects: usize) -> (Outcome, Vec<(u64, u32)>) {
    let (producer, mut main_lane) = table(capacity);
    let pushing = thread::spawn(move || {
        let mut lane = Coalescer::new(producer, capacity);
        let mut outcome = Outcome::default();
        for (at, (key, tier)) in pushes.iter().enumerate() {
            let rule = |old: &mut u64, newer| {
                assert!(*old < newer, "the unread value is the older one");
                *old = newer;
                Coalesced::Merged
            };
            lane.push(*key, *tier, to_be_made(at as u64 + 1), rule, |pushed| outcome.note(pushed));
        }
        outcome
    });
    let mut found = Vec::new();
    for _ in 0..collects {
        main_lane.collect(Bound::OPEN, |value| found.push((value.item, value.parts)));
    }
    let outcome = pushing.join().unwrap();
    main_lane.collect(Bound::OPEN, |value| found.push((value.item, value.parts)));
    (outcome, found)
}

/// One key, merged: every push is in exactly one of the values that were collected.
pub fn merged(pushes: usize, collects: usize) {
    const PUSHES: [(u32, Tier); 3] = [(7, Tier::LOW); 3];
    let (outcome, found) = coalescer(1, &PUSHES[..pushes], collects);
    assert_eq!(found.iter().map(|(_, parts)| *parts as usize).sum::<usize>(), pushes, "no part is lost or doubled");
    assert_eq!(outcome.inserted, found.len());
    assert_eq!(outcome.inserted + outcome.coalesced, pushes);
    assert_eq!(found.last().map(|(item, _)| *item), Some(pushes as u64));
}

/// A coalescing rule that unwinds: the pair is lost and said to be, nothing else is, and the table goes on.
pub fn rule_unwinds() {
    let (producer, mut main_lane) = table(1);
    let pushing = thread::spawn(move || {
        let mut lane = Coalescer::new(producer, 1);
        let (mut inserted, mut lost) = (0, 0);
        for item in 1..=3 {
            // Without the panic hook, which would print one message for each execution.
            let rule = |_: &mut u64, _| -> Coalesced { resume_unwind(Box::new(())) };
            let count = |pushed| match pushed {
                Pushed::Inserted => inserted += 1,
                Pushed::Lost => lost += 1,
                other => unreachable!("{other:?}"),
            };
            let _ = catch_unwind(AssertUnwindSafe(|| lane.push(7, Tier::LOW, to_be_made(item), rule, count)));
        }
        (inserted, lost)
    });
    let mut found = Vec::new();
    collect(&mut main_lane, &mut found);
    let (inserted, lost) = pushing.join().unwrap();
    collect(&mut main_lane, &mut found);
    assert!(rises(&found));
    assert_eq!(inserted, found.len() + lost, "each was collected, or lost and said to be");
    assert_eq!(inserted + lost, 3, "each was inserted, or lost with the one that it met");
}

/// More keys than places: each page has them for other keys, and a value is shed for that of another.
pub fn place_for_another_key(collects: usize) {
    const PUSHES: [(u32, Tier); 3] = [(7, Tier::LOW), (8, Tier::LOW), (7, Tier::LOW)];
    let (outcome, found) = coalescer(1, &PUSHES, collects);
    let items: Vec<_> = found.iter().map(|(item, _)| *item).collect();
    assert!(rises(&items), "{items:?}");
    assert_eq!(items.last(), Some(&3), "the newest is not lost");
    assert_eq!(outcome.inserted, found.len() + outcome.shed_unread);
    assert_eq!(outcome.inserted, 3);
}

/// A newcomer of a lower tier is itself shed, unless the main lane has made room.
pub fn tiers(collects: usize) {
    const PUSHES: [(u32, Tier); 3] = [(7, Tier::HIGH), (8, Tier::LOW), (7, Tier::HIGH)];
    let (outcome, found) = coalescer(1, &PUSHES, collects);
    assert_eq!(found.last().map(|(item, _)| *item), Some(3), "the newest of the higher tier is not lost");
    assert_eq!(outcome.inserted, found.len() + outcome.shed_unread);
    assert_eq!(outcome.inserted + outcome.coalesced + outcome.shed_at_once, 3);
}

/// Two keys in two places, the second of which meets a third key.
pub fn two_keys_and_a_third(collects: usize) {
    const PUSHES: [(u32, Tier); 3] = [(7, Tier::HIGH), (8, Tier::LOW), (9, Tier::LOW)];
    let (outcome, found) = coalescer(2, &PUSHES, collects);
    let items: Vec<_> = found.iter().map(|(item, _)| *item).collect();
    assert!(items.contains(&1), "the higher tier is never the one to be shed");
    assert!(items.contains(&3), "the newcomer is not the oldest");
    assert_eq!(outcome.inserted, found.len() + outcome.shed_unread);
}

//! The coalescing table: `lane/table.rs` and `lane/coalesce.rs`.
//!
//! Modelled: a lane that pushes up to three values on one or two entries, and a main lane that collects up to twice
//! meanwhile and once after. In every execution each value is collected, coalesced or shed, exactly once; the last one of
//! a key is collected; no older one of a key after a newer; and there is always a free slot.
//!
//! Bounds: one thread beside the main lane, one or two entries, up to four pushes against two collects, explored in full.
//! A quarter of a minute together.
//!
//! Must make it fail: weakening either end of P6, P7, P8, P9 or P10; testing the dirty bit or the summary before setting it;
//! setting the summary before the dirty bit; forgetting what is left at the bound; a slot that is not given back. The
//! ring's release in P10 is a control arm.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::clock::{Bound, Clock, lossy_key};
use crate::event::{Coalesced, Tier};
use crate::lane::coalesce::{Coalescer, Pushed};
use crate::lane::table::{TableConsumer, TableProducer, Unread, table};
use crate::sync::Arc;
use loom::thread;

fn unread(item: u64) -> Unread<u64> {
    Unread { key: 2 * item, sequence: item, parts: 1, item }
}

/// Replaces what is unread in `entry`; returns how many values that replaced.
fn replace(lane: &mut TableProducer<u64>, entry: usize, value: Unread<u64>) -> u32 {
    let (slot, replaced) = match lane.take_back(entry) {
        Some(slot) => {
            let old = lane.take_value(&slot);
            assert!(old.is_some_and(|old| old.item < value.item), "a slot that was taken back has its value");
            (slot, 1)
        }
        None => (lane.free_slot(|_| ()), 0),
    };
    lane.put(entry, slot, value);
    replaced
}

fn collect(main_lane: &mut TableConsumer<u64>, into: &mut Vec<u64>) {
    main_lane.collect(Bound::OPEN, |value| into.push(value.item));
}

fn rises(items: &[u64]) -> bool {
    items.windows(2).all(|two| two[0] < two[1])
}

/// One entry, values that replace one another. With equal keys, as between two cuts, the entry's word of a value that
/// went through the same slot is the same again.
pub fn replaced(pushes: u64, collects: usize, equal_keys: bool) {
    let (mut lane, mut main_lane) = table(1);
    let pushing = thread::spawn(move || {
        (1..=pushes)
            .map(|item| Unread { key: if equal_keys { 2 } else { 2 * item }, ..unread(item) })
            .map(|value| replace(&mut lane, 0, value))
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

/// Two entries in turn: the slots go round (T2), and the summary bit stands for both (T3).
pub fn two_entries(pushes: u64, collects: usize) {
    let (mut lane, mut main_lane) = table(2);
    let pushing = thread::spawn(move || {
        (1..=pushes).map(|item| replace(&mut lane, item as usize % 2, unread(item))).sum::<u32>()
    });
    let mut found = Vec::new();
    for _ in 0..collects {
        collect(&mut main_lane, &mut found);
    }
    let replaced = pushing.join().unwrap();
    collect(&mut main_lane, &mut found);
    for entry in 0..2 {
        let of_entry: Vec<_> = found.iter().copied().filter(|item| item % 2 == entry).collect();
        assert!(rises(&of_entry), "never an older value after a newer: {of_entry:?}");
        let newest = (1..=pushes).filter(|item| item % 2 == entry).max();
        assert_eq!(of_entry.last().copied(), newest, "the newest is not lost");
    }
    assert_eq!(found.len() as u64 + u64::from(replaced), pushes, "each is collected or replaced, once");
}

/// Two entries whose dirty bits are in words of their own.
pub fn two_words() {
    let (mut lane, mut main_lane) = table(65);
    let pushing = thread::spawn(move || {
        replace(&mut lane, 0, unread(1));
        replace(&mut lane, 64, unread(2));
    });
    let mut found = Vec::new();
    collect(&mut main_lane, &mut found);
    pushing.join().unwrap();
    collect(&mut main_lane, &mut found);
    found.sort_unstable();
    assert_eq!(found, [1, 2]);
}

/// The lane takes a value back to shed it, and stops; or takes it back to coalesce it, and stops for good. The main lane
/// goes on, and loses nothing else.
pub fn lane_stops_half_way(puts_again: bool) {
    let (mut lane, mut main_lane) = table(2);
    let pushing = thread::spawn(move || {
        replace(&mut lane, 0, unread(1));
        replace(&mut lane, 1, unread(2));
        let back = lane.take_back(0);
        let shed = back.is_some();
        if puts_again {
            let slot = match back {
                Some(slot) => {
                    lane.release(slot);
                    lane.free_slot(|_| ())
                }
                None => lane.free_slot(|_| ()),
            };
            lane.take_value(&slot);
            lane.put(0, slot, unread(3));
        }
        shed
    });
    let mut found = Vec::new();
    collect(&mut main_lane, &mut found);
    let shed = pushing.join().unwrap();
    collect(&mut main_lane, &mut found);
    found.sort_unstable();
    let expected: Vec<u64> =
        [(1, !shed), (2, true), (3, puts_again)].iter().filter(|one| one.1).map(|one| one.0).collect();
    assert_eq!(found, expected);
}

/// The main lane stops for good after one collect, whatever it found: the lane goes on, and never lacks a slot.
pub fn main_lane_stops() {
    let (mut lane, mut main_lane) = table(1);
    let stopping = thread::spawn(move || {
        let mut found = Vec::new();
        collect(&mut main_lane, &mut found);
        found.len() as u32
    });
    let replaced: u32 = (1..=3).map(|item| replace(&mut lane, 0, unread(item))).sum();
    let found = stopping.join().unwrap();
    assert_eq!(replaced + found + u32::from(lane.take_back(0).is_some()), 3);
}

/// Values beyond a bound are left where they are, coalesced further, and taken by a later cut. Keys come from the clock.
pub fn left_at_the_bound() {
    let clock = Arc::new(Clock::new());
    let (mut lane, mut main_lane) = table(1);
    let its_clock = clock.clone();
    let pushing = thread::spawn(move || {
        (1..=2)
            .map(|item| replace(&mut lane, 0, Unread { key: lossy_key(its_clock.read()), ..unread(item) }))
            .sum::<u32>()
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
            outcome.note(lane.push(key, *tier, unread(at as u64 + 1), rule, || ()));
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
            let pushed = catch_unwind(AssertUnwindSafe(|| lane.push(&7, Tier::LOW, unread(item), rule, || lost += 1)));
            inserted += usize::from(matches!(pushed, Ok(Pushed::Inserted)));
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

/// More keys than entries: an entry that is idle is given to another key, and one that is not is shed for it.
pub fn entry_for_another_key(collects: usize) {
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

/// Two keys in two entries, the second of which meets a third key.
pub fn two_keys_and_a_third(collects: usize) {
    const PUSHES: [(u32, Tier); 3] = [(7, Tier::HIGH), (8, Tier::LOW), (9, Tier::LOW)];
    let (outcome, found) = coalescer(2, &PUSHES, collects);
    let items: Vec<_> = found.iter().map(|(item, _)| *item).collect();
    assert!(items.contains(&1), "the higher tier is never the one to be shed");
    assert!(items.contains(&3), "the newcomer is not the oldest");
    assert_eq!(outcome.inserted, found.len() + outcome.shed_unread);
}

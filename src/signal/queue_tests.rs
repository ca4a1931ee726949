//! The queue beside a slow twin: one list in which nothing is ever taken out but by reading, and every rule is a loop over it.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::backoff::Backoff;
use crate::origin::Origin;
use crate::signal::outlet::Entry;
use crate::signal::sent::Cause;

/// A batch of signals with these numbers.
fn batch(numbers: Range<u64>) -> Batch<u64> {
    let entry = |signal| Entry { signal, source: Origin::built_in("test", 0), cause: Cause::NONE, published: None };
    numbers.map(|number| Sent::new(number, entry(number))).collect()
}

/// What a subscriber gets, one by one.
#[derive(Debug, PartialEq)]
enum Got {
    Signal { number: u64, parts: u32 },
    Missed(Missed),
}

/// What the queue gives when it is asked for so many.
fn take<K: Eq>(queue: &mut Queue<u64, K>, most: usize, now: Instant) -> Vec<Got> {
    let mut taken = VecDeque::new();
    queue.take(most, &mut taken, now);
    let mut got = Vec::new();
    for each in taken {
        match each {
            Taken::Run(run) => got.extend(run.signals().iter().map(|sent| Got::Signal { number: **sent, parts: 1 })),
            Taken::One { run, parts } => got.push(Got::Signal { number: *run.signals()[0], parts }),
            Taken::Missed(missed) => got.push(Got::Missed(missed)),
        }
    }
    got
}

/// What the twin's list has.
#[derive(Clone, Debug, PartialEq)]
enum Line {
    Waits { number: u64, key: Option<u8>, parts: u32, aside: bool },
    Missing(u64),
    Refused(u64),
}

struct Twin {
    full: Full,
    capacity: usize,
    lines: Vec<Line>,
    suspended: bool,
    tried: u32,
    counts: QueueCounts,
}

impl Twin {
    fn new(full: Full, capacity: usize) -> Self {
        Self { full, capacity, lines: Vec::new(), suspended: false, tried: 0, counts: QueueCounts::default() }
    }

    fn count(&self, is_aside: bool) -> usize {
        self.lines.iter().filter(|line| matches!(line, Line::Waits { aside, .. } if *aside == is_aside)).count()
    }

    fn offer(&mut self, number: u64, key: Option<u8>) {
        self.counts.matched += 1;
        let mut parts = 1;
        let same = |line: &Line| matches!(line, Line::Waits { key: Some(other), .. } if Some(*other) == key);
        if let Some(at) = self.lines.iter().position(same) {
            if let Line::Waits { parts: older, .. } = self.lines.remove(at) {
                parts += older;
            }
            self.counts.coalesced += 1;
        } else if self.count(false) >= self.capacity || self.count(true) > 0 {
            match self.full {
                Full::DropOldest | Full::CoalesceByKey => {
                    let oldest = self.lines.iter_mut().find(|line| matches!(line, Line::Waits { .. })).unwrap();
                    let Line::Waits { number, .. } = *oldest else { unreachable!() };
                    *oldest = Line::Missing(number);
                    self.counts.dropped += 1;
                }
                Full::Retry { .. } if self.count(true) < self.capacity => {
                    self.lines.push(Line::Waits { number, key, parts, aside: true });
                    return;
                }
                _ => {
                    self.lines.push(Line::Missing(number));
                    self.counts.dropped += 1;
                    return;
                }
            }
        }
        self.lines.push(Line::Waits { number, key, parts, aside: false });
    }

    fn unkeyed(&mut self, number: u64) {
        self.counts.matched += 1;
        self.counts.dropped += 1;
        self.lines.push(Line::Missing(number));
    }

    fn take(&mut self) -> Option<Got> {
        let mut missed = Missed::default();
        while let Some(line) = self.lines.first().cloned() {
            match line {
                Line::Missing(number) => missed.numbers(&batch(number..number + 1)),
                Line::Refused(count) => missed.refused += count,
                Line::Waits { .. } => break,
            }
            self.lines.remove(0);
        }
        if !missed.is_none() {
            return Some(Got::Missed(missed));
        }
        if self.lines.is_empty() {
            return None;
        }
        let Line::Waits { number, parts, .. } = self.lines.remove(0) else { unreachable!() };
        self.counts.delivered += 1;
        self.suspended = false;
        if let Some(Line::Waits { aside, .. }) =
            self.lines.iter_mut().find(|line| matches!(line, Line::Waits { aside: true, .. }))
        {
            *aside = false;
            self.tried = 0;
        }
        Some(Got::Signal { number, parts })
    }

    /// A look that is due.
    fn look_aside(&mut self) {
        let Full::Retry { tries, .. } = self.full else { return };
        if self.count(true) == 0 {
            return;
        }
        self.tried += 1;
        if self.tried >= tries {
            for line in &mut self.lines {
                if let Line::Waits { number, aside: true, .. } = *line {
                    *line = Line::Missing(number);
                    self.counts.dropped += 1;
                }
            }
            self.tried = 0;
        }
    }

    fn room(&self) -> usize {
        match self.full {
            Full::Block { .. } if !self.suspended => self.capacity - self.count(false),
            _ => usize::MAX,
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Signals of one batch: whether each matches, and its key.
    Offer(Vec<Option<u8>>),
    Unkeyed,
    Refused(u64),
    Take(usize),
    Look,
    Suspend,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let matches = proptest::collection::vec(proptest::option::weighted(0.8, 0..6_u8), 1..8);
    let step = prop_oneof![
        6 => matches.prop_map(Step::Offer),
        1 => Just(Step::Unkeyed),
        1 => (1..4_u64).prop_map(Step::Refused),
        6 => (1..5_usize).prop_map(Step::Take),
        2 => Just(Step::Look),
        1 => Just(Step::Suspend),
    ];
    proptest::collection::vec(step, 0..80)
}

fn policies() -> impl Strategy<Value = Full> {
    prop_oneof![
        Just(Full::DropOldest),
        Just(Full::DropNewest),
        Just(Full::CoalesceByKey),
        (0..4_u32).prop_map(|tries| Full::Retry { tries, backoff: Backoff::NONE }),
        Just(Full::Block { patience: Duration::ZERO }),
    ]
}

/// A key whose hash says little: three keys have the same one.
#[derive(PartialEq, Eq)]
struct Key(u8);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u8(self.0 % 2);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 2_000 }))]

    #[test]
    fn every_policy_does_what_its_slow_twin_does(full in policies(), capacity in 1..10_usize, steps in steps()) {
        let (mut queue, mut twin) = (Queue::<u64, Key>::new(full, capacity), Twin::new(full, capacity));
        let (hash, now) = (foldhash::fast::RandomState::default(), Instant::now());
        let mut next = 0;
        for step in steps {
            match step {
                Step::Offer(mut matches) => {
                    // A publisher waits: the dispatcher offers no more than there is room for.
                    let mut room = queue.room();
                    matches.retain(|key| match key {
                        Some(_) if room == 0 => false,
                        Some(_) => {
                            room -= 1;
                            true
                        }
                        None => true,
                    });
                    let batch = batch(next..next + matches.len() as u64);
                    for (at, key) in matches.iter().enumerate().filter_map(|(at, key)| Some((at, (*key)?))) {
                        twin.offer(next + at as u64, (full == Full::CoalesceByKey).then_some(key));
                        if let Queue::Keyed(keyed) = &mut queue {
                            let run = Run { batch: batch.clone(), at: at..at + 1 };
                            keyed.offer(run, Hashed::new(Key(key), &hash)).unwrap();
                        }
                    }
                    if let Queue::Runs(runs) = &mut queue {
                        let mut at = 0;
                        for run in matches.chunk_by(|one, other| one.is_some() == other.is_some()) {
                            if run[0].is_some() {
                                runs.offer(Run { batch: batch.clone(), at: at..at + run.len() }, now);
                            }
                            at += run.len();
                        }
                    }
                    next += matches.len() as u64;
                }
                Step::Unkeyed => {
                    if let Queue::Keyed(keyed) = &mut queue {
                        keyed.unkeyed(&Run { batch: batch(next..next + 1), at: 0..1 });
                        twin.unkeyed(next);
                        next += 1;
                    }
                }
                Step::Refused(count) => {
                    queue.refused(count);
                    twin.lines.push(Line::Refused(count));
                }
                Step::Take(most) => {
                    for got in take(&mut queue, most, now) {
                        prop_assert_eq!(Some(got), twin.take());
                    }
                }
                Step::Look => {
                    queue.look_aside(now);
                    twin.look_aside();
                }
                Step::Suspend => {
                    twin.suspended |= twin.room() == 0;
                    prop_assert_eq!(queue.suspend(), twin.suspended);
                }
            }
            let QueueCounts { matched, delivered, dropped, coalesced } = *queue.counts();
            prop_assert_eq!(*queue.counts(), twin.counts);
            prop_assert_eq!(matched, delivered + dropped + coalesced + queue.depth() as u64, "Q1");
            prop_assert_eq!(queue.room(), twin.room());
            prop_assert_eq!(queue.is_empty(), twin.lines.is_empty());
            if let Queue::Keyed(keyed) = &queue {
                prop_assert!(keyed.places() <= 2 * capacity.max(8), "memory is bounded by the capacity");
            }
        }
        for got in take(&mut queue, usize::MAX, now) {
            prop_assert_eq!(Some(got), twin.take());
        }
        prop_assert_eq!(twin.take(), None);
        prop_assert_eq!(take(&mut queue, usize::MAX, now), []);
    }
}

/// A queue that keeps aside, with three signals in it.
fn three(tries: u32, backoff: Backoff, capacity: usize, now: Instant) -> Queue<u64, ()> {
    let mut queue = Queue::new(Full::Retry { tries, backoff }, capacity);
    let Queue::Runs(runs) = &mut queue else { unreachable!("it has no keys") };
    runs.offer(Run { batch: batch(0..3), at: 0..3 }, now);
    queue
}

#[test]
fn what_is_kept_aside_rests_between_looks_and_starts_anew_when_something_moves_up() {
    let (rest, now) = (Duration::from_secs(10), Instant::now());
    let mut queue = three(2, Backoff::between(rest, rest), 1, now);
    let first = queue.look_aside(now).expect("something is kept aside");
    assert!(first >= now + rest);
    // Capacity one, and one more aside: the third was dropped.
    assert_eq!((queue.depth(), queue.counts().dropped), (2, 1));
    let second = queue.look_aside(first).expect("one look of two");
    assert!(second >= first + rest);
    assert_eq!(take(&mut queue, 1, second), [Got::Signal { number: 0, parts: 1 }], "the second moves up");
    let Queue::Runs(runs) = &mut queue else { unreachable!("it has no keys") };
    runs.offer(Run { batch: batch(3..4), at: 0..1 }, second);
    assert_eq!(queue.look_aside(second).map(|due| due >= second + rest), Some(true), "counted anew");
}

#[test]
fn clearing_counts_what_waits() {
    let now = Instant::now();
    let mut queue = three(9, Backoff::NONE, 2, now);
    queue.refused(1);
    queue.clear();
    assert_eq!((queue.counts().dropped, queue.depth()), (3, 0));
    assert_eq!(take(&mut queue, 9, now), []);
}

#[test]
fn a_batch_that_many_wait_for_is_counted_by_reference_once_each() {
    let (batch, now) = (batch(0..64), Instant::now());
    let mut queue = Queue::<u64, ()>::new(Full::DropOldest, 64);
    let Queue::Runs(runs) = &mut queue else { unreachable!("it has no keys") };
    runs.offer(Run { batch: batch.clone(), at: 0..10 }, now);
    runs.offer(Run { batch: batch.clone(), at: 10..64 }, now);
    assert_eq!(std::sync::Arc::strong_count(&batch), 2);
    assert_eq!(take(&mut queue, 100, now).len(), 64);
    assert_eq!(std::sync::Arc::strong_count(&batch), 1);
}

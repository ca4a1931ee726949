//! The queue beside a slow twin: one list in which nothing is ever taken out but by reading, and every rule is a loop over it.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

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

    fn take(&mut self) -> Option<Taken<u64>> {
        let mut missed = Missed::default();
        while let Some(line) = self.lines.first().cloned() {
            match line {
                Line::Missing(number) => missed.number(number),
                Line::Refused(count) => missed.refused += count,
                Line::Waits { .. } => break,
            }
            self.lines.remove(0);
        }
        if !missed.is_none() {
            return Some(Taken::Missed(missed));
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
        Some(Taken::Signal { item: number, parts })
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
    Offer(u8),
    Unkeyed,
    Refused(u64),
    Take,
    Look,
    Suspend,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..6_u8).prop_map(Step::Offer),
        1 => Just(Step::Unkeyed),
        1 => (1..4_u64).prop_map(Step::Refused),
        5 => Just(Step::Take),
        2 => Just(Step::Look),
        1 => Just(Step::Suspend),
    ];
    proptest::collection::vec(step, 0..120)
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 2_000 }))]

    #[test]
    fn every_policy_does_what_its_slow_twin_does(full in policies(), capacity in 1..6_usize, steps in steps()) {
        let (mut queue, mut twin) = (Queue::<u64, u8>::new(full, capacity), Twin::new(full, capacity));
        let (hash, now) = (foldhash::fast::RandomState::default(), Instant::now());
        let is_keyed = full == Full::CoalesceByKey;
        for (step, number) in steps.into_iter().zip(0..) {
            match step {
                // A publisher waits: the dispatcher offers nothing.
                Step::Offer(_) if queue.room() == 0 => {}
                Step::Offer(key) => {
                    queue.offer(number, number, is_keyed.then(|| Hashed::new(key, &hash)), now);
                    twin.offer(number, is_keyed.then_some(key));
                }
                Step::Unkeyed => {
                    queue.unkeyed(number);
                    twin.unkeyed(number);
                }
                Step::Refused(count) => {
                    queue.refused(count);
                    twin.lines.push(Line::Refused(count));
                }
                Step::Take => prop_assert_eq!(queue.take(now), twin.take()),
                Step::Look => {
                    queue.look_aside(now);
                    twin.look_aside();
                }
                Step::Suspend => {
                    queue.suspend();
                    twin.suspended = true;
                }
            }
            let QueueCounts { matched, delivered, dropped, coalesced } = queue.counts;
            prop_assert_eq!(queue.counts, twin.counts);
            prop_assert_eq!(matched, delivered + dropped + coalesced + queue.depth() as u64, "Q1");
            prop_assert_eq!(queue.room(), twin.room());
            prop_assert_eq!(queue.is_empty(), twin.lines.is_empty());
            prop_assert!(queue.places.len() <= 2 * capacity.max(8), "memory is bounded by the capacity");
        }
        while let Some(taken) = twin.take() {
            prop_assert_eq!(queue.take(now), Some(taken));
        }
        prop_assert_eq!(queue.take(now), None);
    }
}

#[test]
fn what_is_kept_aside_rests_between_looks_and_starts_anew_when_something_moves_up() {
    let rest = Duration::from_secs(10);
    let full = Full::Retry { tries: 2, backoff: Backoff::between(rest, rest) };
    let (mut queue, now) = (Queue::<u64, ()>::new(full, 1), Instant::now());
    (0..3).for_each(|number| queue.offer(number, number, None, now));
    let first = queue.look_aside(now).expect("something is kept aside");
    assert!(first >= now + rest);
    // Capacity one, and one more aside: the third was dropped.
    assert_eq!((queue.depth(), queue.counts.dropped), (2, 1));
    let second = queue.look_aside(first).expect("one look of two");
    assert!(second >= first + rest);
    assert!(queue.take(second).is_some(), "the second moves up");
    queue.offer(3, 3, None, second);
    assert_eq!(queue.look_aside(second).map(|due| due >= second + rest), Some(true), "counted anew");
}

#[test]
fn clearing_counts_what_waits() {
    let (mut queue, now) = (Queue::<u64, ()>::new(Full::Retry { tries: 9, backoff: Backoff::NONE }, 2), Instant::now());
    (0..3).for_each(|number| queue.offer(number, number, None, now));
    queue.refused(1);
    queue.clear();
    assert_eq!((queue.counts.dropped, queue.depth(), queue.take(now)), (3, 0, None));
}

//! The causally consistent cut: `clock.rs`, `lane/ring.rs`, `lane/table.rs`, `mailbox.rs`, `main_lane/cut.rs`.
//!
//! Modelled: one or two threads that push A and then, knowing of A by some way that the engine does not see, B; a main
//! lane that takes a cut meanwhile. In every execution a cut that has B has A, and A goes first. Lanes are real rings of
//! two slots and real tables of one entry; keys come from the real clock.
//!
//! Bounds: at most two threads beside the main lane, three events, two cuts, explored in full; a chain of three threads
//! beside the main lane, and a hidden channel past a lossy push that is under way, with at most three preemptions. Half a
//! minute together.
//!
//! Must make it fail, and are kept as control arms: one pass instead of until stable; admitting the bound itself with
//! one pass; a mailbox that is not looked at in each pass; taking what is in the table of a lane that is alone with what a
//! look showed of its ring; a lossy event of a batch that is stamped behind it; an unclocked lane whose table has no bound.
//! Mutations of the files that fail here: a `fetch_add` of the clock as a load and a store; a cut that does not move the
//! clock; critical keys that are even, as lossy ones are; a ring that ignores the bound; either release or acquire of the ring (P1, P2).

use crate::clock::{Bound, Clock, critical_key, key_between, lossy_key};
use crate::lane::ring::{RingConsumer, RingProducer, ring};
use crate::lane::table::{TableConsumer, TableProducer, Unread, table};
use crate::mailbox::Mailbox;
use crate::main_lane::cut_file::{self, Extend, until_stable};
use crate::sync::{Arc, AtomicU64, Ordering::Acquire, Ordering::Release};
use crate::table::put_in;
use loom::thread;

const A: u32 = 1;
const B: u32 = 2;
const C: u32 = 3;
const Z: u32 = 26;

/// How a model takes its cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cutting {
    /// As the engine does.
    UntilStable,
    /// One pass: too little.
    OnePass,
    /// One pass that admits the bound itself and the key after it.
    OnePassWithBound,
    /// Until stable, with a mailbox that is looked at only before.
    MailboxOnce,
    /// Until stable, but with what a look showed goes what is in the table: of a lane that is alone too much.
    AdmitsAll,
}

/// A lane's end at the main lane: both ways in, and what was found.
pub(crate) struct End {
    ring: RingConsumer<u32>,
    table: TableConsumer<u32>,
    /// Set by a control arm.
    admits_all: bool,
    pub(crate) found: Vec<(u64, u32)>,
}

impl Extend for End {
    fn look(&mut self) -> bool {
        self.ring.look() | self.table.has_visible()
    }

    fn has_unseen(&mut self) -> bool {
        self.table.has_visible()
    }

    fn admit(&mut self) {
        self.ring.admit();
        if self.admits_all {
            self.admit_unseen();
        }
    }

    fn end_key(&mut self) -> Option<u64> {
        self.ring.end_key()
    }

    fn admit_unseen(&mut self) {
        if self.table.has_visible() {
            self.table.collect(Bound::OPEN, |value| self.found.push((value.key, value.item)));
        }
    }

    fn extend(&mut self, bound: Bound) -> bool {
        let ring = self.ring.extend(bound);
        self.table.collect(bound, |value| self.found.push((value.key, value.item))) | ring
    }
}

/// A lane's end at its producer.
pub(crate) struct Start {
    clock: Arc<Clock>,
    ring: RingProducer<u32>,
    table: TableProducer<u32>,
}

impl Start {
    pub(crate) fn critical(&mut self, item: u32) {
        let vacant = self.ring.vacant().expect("there is room");
        vacant.stamp(critical_key(self.clock.take(1))).publish(item);
    }

    fn batch(&mut self, items: [u32; 2]) {
        assert!(self.ring.room(2) == 2);
        let key = critical_key(self.clock.take(2));
        let [first, second] = items;
        let mut rest = Some(second);
        self.ring.fill(key, 2, Some(first), || rest.take(), |_| Ok::<(), ()>(()), |_| ());
    }

    pub(crate) fn lossy(&mut self, item: u32) {
        self.lossy_in(0, item);
    }

    /// Two critical events that are stamped together, and a lossy one between them.
    fn mixed_batch(&mut self, items: [u32; 3], stamped: Between) {
        assert!(self.ring.room(2) == 2);
        let key = critical_key(self.clock.take(2));
        let [first, between, last] = items;
        self.ring.fill(key, 2, Some(first), || None, |_| Ok::<(), ()>(()), |_| ());
        let between_key = match stamped {
            Between::Neighbours => key_between(key + 2),
            Between::Late => lossy_key(self.clock.read()),
        };
        self.lossy_with(between_key, 0, between);
        let mut rest = Some(last);
        self.ring.fill(key + 2, 1, None, || rest.take(), |_| Ok::<(), ()>(()), |_| ());
    }

    /// In a place that is filled, or the next to be.
    fn lossy_in(&mut self, place: usize, item: u32) {
        self.lossy_with(lossy_key(self.clock.read()), place, item);
    }

    fn lossy_with(&mut self, key: u64, place: usize, item: u32) {
        let place = place.min(self.table.filled());
        let value = Unread { key, sequence: 0, parts: 1, item };
        put_in(&mut self.table, place, value);
    }
}

pub(crate) fn lane(clock: &Arc<Clock>) -> (Start, End) {
    lane_of(clock, 1)
}

fn lane_of(clock: &Arc<Clock>, places: usize) -> (Start, End) {
    let (producer, consumer) = ring(2, true);
    let (putting, taking) = table(places);
    (
        Start { clock: clock.clone(), ring: producer, table: putting },
        End { ring: consumer, table: taking, admits_all: false, found: Vec::new() },
    )
}

pub(crate) fn cut(clock: &Clock, lanes: &mut Vec<End>, mailbox: Option<(&Mailbox<End>, &mut u64)>, cutting: Cutting) {
    let mut mailbox = mailbox;
    let mut look = |lanes: &mut Vec<End>| {
        let Some((mailbox, letters)) = &mut mailbox else { return false };
        adopt(lanes, mailbox, letters)
    };
    let mut bound = Bound::OPEN;
    match cutting {
        Cutting::UntilStable | Cutting::AdmitsAll => {
            lanes.iter_mut().for_each(|lane| lane.admits_all = cutting == Cutting::AdmitsAll);
            look(lanes);
            bound = cut_file::cut(clock, lanes, look).map_or(Bound(0), |cut| cut.bound);
        }
        Cutting::OnePass => one_pass(clock.cut(), lanes),
        Cutting::OnePassWithBound => one_pass(Bound(clock.cut().0 + 2), lanes),
        Cutting::MailboxOnce => {
            look(lanes);
            until_stable(clock.cut(), lanes, |_| false);
        }
    }
    for lane in lanes {
        let found = &mut lane.found;
        lane.ring.take(u64::MAX, usize::MAX, |key, _, item: &_| found.push((key, *item)));
        lane.ring.settle();
        let is_below = found.iter().all(|(key, _)| *key < bound.0);
        assert!(is_below || cutting == Cutting::AdmitsAll, "what is cut is below its bound");
    }
}

/// Takes in lanes that were opened since `letters`. True if there were any.
pub(crate) fn adopt(lanes: &mut Vec<End>, mailbox: &Mailbox<End>, letters: &mut u64) -> bool {
    let posted = mailbox.posted();
    if posted == *letters {
        return false;
    }
    *letters = posted;
    lanes.append(&mut mailbox.collect());
    true
}

fn one_pass(bound: Bound, lanes: &mut [End]) {
    for lane in lanes {
        lane.extend(bound);
    }
}

/// What all cuts so far found, in the order in which it is applied.
#[derive(Default)]
struct Applied(Vec<u32>);

impl Applied {
    fn add(&mut self, lanes: &mut [End]) {
        let mut batch: Vec<_> = lanes.iter_mut().flat_map(|lane| lane.found.drain(..)).collect();
        batch.sort_by_key(|(key, _)| *key);
        let are_ordered =
            |two: &[(u64, u32)]| two[0].0 < two[1].0 || two[0].0 == two[1].0 && two[0].0.is_multiple_of(2);
        assert!(batch.windows(2).all(are_ordered), "only lossy ones have one key");
        self.0.extend(batch.into_iter().map(|(_, item)| item));
    }

    /// Each has the one before it, of A, B, C and Z.
    fn closed_in_turn(&self) {
        [A, B, C, Z].windows(2).for_each(|two| self.closed(two[0], two[1]));
    }

    /// What has `later` has `earlier`, before it.
    fn closed(&self, earlier: u32, later: u32) {
        let place = |item| self.0.iter().position(|other| *other == item);
        if let Some(later) = place(later) {
            assert!(place(earlier).is_some_and(|earlier| earlier < later), "an effect without its cause: {:?}", self.0);
        }
    }
}

/// Of which classes the two pushes are.
#[derive(Clone, Copy, Debug)]
pub enum Kinds {
    /// Both are critical.
    Critical,
    /// The first is lossy.
    LossyThenCritical,
    /// The second is lossy.
    CriticalThenLossy,
    /// The second is a batch of B, C and Z, of which C is lossy.
    CriticalThenMixedBatch,
}

fn push_first(lane: &mut Start, kinds: Kinds) {
    match kinds {
        Kinds::LossyThenCritical => lane.lossy(A),
        Kinds::Critical | Kinds::CriticalThenLossy | Kinds::CriticalThenMixedBatch => lane.critical(A),
    }
}

fn push_second(lane: &mut Start, kinds: Kinds) {
    match kinds {
        Kinds::CriticalThenLossy => lane.lossy(B),
        Kinds::CriticalThenMixedBatch => lane.mixed_batch([B, C, Z], Between::Neighbours),
        Kinds::Critical | Kinds::LossyThenCritical => lane.critical(B),
    }
}

/// One thread pushes A, then raises a flag; another sees the flag and pushes B on another lane. The lane of A comes
/// first at the main lane, where a single pass misses it.
pub fn hidden_channel(kinds: Kinds, cuts: usize, cutting: Cutting) {
    let clock = Arc::new(Clock::new());
    let (mut first, first_end) = lane(&clock);
    let (mut second, second_end) = lane(&clock);
    let flag = Arc::new(AtomicU64::new(0));
    let raised = flag.clone();
    let one = thread::spawn(move || {
        push_first(&mut first, kinds);
        raised.store(1, Release);
    });
    let other = thread::spawn(move || {
        if flag.load(Acquire) == 1 {
            push_second(&mut second, kinds);
        }
    });
    let mut lanes = vec![first_end, second_end];
    let mut applied = Applied::default();
    for _ in 0..cuts {
        cut(&clock, &mut lanes, None, cutting);
        applied.add(&mut lanes);
        applied.closed_in_turn();
    }
    one.join().unwrap();
    other.join().unwrap();
    cut(&clock, &mut lanes, None, Cutting::UntilStable);
    applied.add(&mut lanes);
    applied.closed_in_turn();
    assert!(applied.0.contains(&A), "nothing is lost");
}

/// One thread pushes A on one lane, then B on another.
pub fn one_thread_two_lanes(kinds: Kinds, cutting: Cutting) {
    let clock = Arc::new(Clock::new());
    let (mut first, first_end) = lane(&clock);
    let (mut second, second_end) = lane(&clock);
    let pushing = thread::spawn(move || {
        push_first(&mut first, kinds);
        push_second(&mut second, kinds);
    });
    let mut lanes = vec![first_end, second_end];
    let mut applied = Applied::default();
    cut(&clock, &mut lanes, None, cutting);
    applied.add(&mut lanes);
    applied.closed(A, B);
    pushing.join().unwrap();
    cut(&clock, &mut lanes, None, Cutting::UntilStable);
    applied.add(&mut lanes);
    assert_eq!(applied.0, [A, B]);
}

/// One thread pushes A, B and C in this order; the main lane cuts once meanwhile and once after.
fn in_order(clock: &Clock, mut lanes: Vec<End>, pushing: thread::JoinHandle<()>, cutting: Cutting) {
    let mut applied = Applied::default();
    cut(clock, &mut lanes, None, cutting);
    applied.add(&mut lanes);
    applied.closed(A, B);
    applied.closed(B, C);
    pushing.join().unwrap();
    cut(clock, &mut lanes, None, Cutting::UntilStable);
    applied.add(&mut lanes);
    assert_eq!(applied.0, [A, B, C]);
}

/// A batch of A and B on one lane, then C on another, by one thread.
pub fn batch_then_another_lane() {
    let clock = Arc::new(Clock::new());
    let (mut first, first_end) = lane(&clock);
    let (mut second, second_end) = lane(&clock);
    let pushing = thread::spawn(move || {
        first.batch([A, B]);
        second.critical(C);
    });
    in_order(&clock, vec![first_end, second_end], pushing, Cutting::UntilStable);
}

/// Which stamp a lossy event between two critical ones of a batch has.
#[derive(Clone, Copy)]
pub enum Between {
    /// That of its neighbours.
    Neighbours,
    /// The one of the moment in which it is pushed: behind both of theirs.
    Late,
}

/// A, B and C on one lane, in a batch in which B is lossy.
pub fn mixed_batch(stamped: Between) {
    let clock = Arc::new(Clock::new());
    let (mut start, end) = lane(&clock);
    let pushing = thread::spawn(move || start.mixed_batch([A, B, C], stamped));
    in_order(&clock, vec![end], pushing, Cutting::UntilStable);
}

/// A, then B because of A, then C because of B, by three threads on three lanes.
pub fn chain_of_three() {
    let clock = Arc::new(Clock::new());
    let (mut first, first_end) = lane(&clock);
    let (mut second, second_end) = lane(&clock);
    let (mut third, third_end) = lane(&clock);
    let (flag, second_flag) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (raised, seen, passed_on, last_seen) = (flag.clone(), flag, second_flag.clone(), second_flag);
    let threads = [
        thread::spawn(move || {
            first.critical(A);
            raised.store(1, Release);
        }),
        thread::spawn(move || {
            if seen.load(Acquire) == 1 {
                second.critical(B);
                passed_on.store(1, Release);
            }
        }),
        thread::spawn(move || {
            if last_seen.load(Acquire) == 1 {
                third.critical(C);
            }
        }),
    ];
    let mut lanes = vec![first_end, second_end, third_end];
    let mut applied = Applied::default();
    cut(&clock, &mut lanes, None, Cutting::UntilStable);
    applied.add(&mut lanes);
    applied.closed(A, B);
    applied.closed(B, C);
    for thread in threads {
        thread.join().unwrap();
    }
}

/// A and B on a lane that is alone, then C, a lossy one: whatever the first look showed, none is applied before those
/// before it (C2).
pub fn lossy_after_a_look_at_a_lane_that_is_alone(cutting: Cutting) {
    let clock = Arc::new(Clock::new());
    let (mut start, end) = lane(&clock);
    let pushing = thread::spawn(move || {
        start.critical(A);
        start.critical(B);
        start.lossy(C);
    });
    in_order(&clock, vec![end], pushing, cutting);
}

/// One thread pushes A, a lossy event, raises a flag, and pushes C, another of another key, or of the same; a second sees
/// the flag and pushes B on another lane. What comes late is C, and A only where C takes its place.
pub fn hidden_channel_with_a_push_under_way(same_key: bool) {
    let clock = Arc::new(Clock::new());
    let (mut first, first_end) = lane_of(&clock, 2);
    let (mut second, second_end) = lane(&clock);
    let flag = Arc::new(AtomicU64::new(0));
    let raised = flag.clone();
    let one = thread::spawn(move || {
        first.lossy(A);
        raised.store(1, Release);
        first.lossy_in(usize::from(!same_key), C);
    });
    let other = thread::spawn(move || {
        if flag.load(Acquire) == 1 {
            second.critical(B);
        }
    });
    let mut lanes = vec![first_end, second_end];
    let mut applied = Applied::default();
    cut(&clock, &mut lanes, None, Cutting::UntilStable);
    applied.add(&mut lanes);
    if !same_key {
        applied.closed(A, B);
    }
    one.join().unwrap();
    other.join().unwrap();
    cut(&clock, &mut lanes, None, Cutting::UntilStable);
    applied.add(&mut lanes);
    assert!(applied.0.contains(&C), "the newest is not lost");
    if applied.0.contains(&A) {
        applied.closed(A, B);
        applied.closed(A, C);
    } else {
        assert!(same_key, "A is coalesced with its own key only");
    }
}

/// A, B and C on an unclocked lane, every other one lossy: they are applied in this order (C2).
pub fn unclocked(lossy_first: bool, is_bounded: bool) {
    let (mut producer, ring) = ring(2, false);
    let (mut putting, table) = table(1);
    let pushing = thread::spawn(move || {
        for (item, lossy) in [(A, lossy_first), (B, !lossy_first), (C, lossy_first)] {
            let pushed = producer.pushed();
            if !lossy {
                producer.vacant().unwrap().stamp(critical_key(pushed)).publish(item);
                continue;
            }
            let value = Unread { key: lossy_key(pushed), sequence: u64::from(item), parts: 1, item };
            put_in(&mut putting, 0, value);
        }
    });
    let mut lanes = [End { ring, table, admits_all: false, found: Vec::new() }];
    let mut applied = Applied::default();
    let mut take = |applied: &mut Applied| {
        let End { ring, table, found, .. } = &mut lanes[0];
        // As `LaneEnd::extend_alone` does.
        if ring.look() | table.has_visible() {
            ring.extend(Bound::OPEN);
            let bound = if is_bounded { Bound(critical_key(ring.cut_end())) } else { Bound::OPEN };
            table.collect(bound, |value| found.push((value.key, value.item)));
            ring.take(u64::MAX, usize::MAX, |key, _, item: &_| found.push((key, *item)));
            ring.settle();
        }
        applied.add(&mut lanes);
    };
    for _ in 0..2 {
        take(&mut applied);
        if !lossy_first {
            applied.closed(A, B);
        }
        applied.closed(B, C);
    }
    pushing.join().unwrap();
    take(&mut applied);
    // The first of two lossy ones may have been coalesced.
    let expected = if applied.0.contains(&A) { &[A, B, C][..] } else { &[B, C] };
    assert_eq!(applied.0, expected);
    assert!(lossy_first || applied.0.contains(&A), "what is critical is not lost");
}

/// A ring that wraps: three events through two slots, while two cuts are taken.
pub fn around_the_ring() {
    let clock = Arc::new(Clock::new());
    let (mut start, end) = lane(&clock);
    let pushing = thread::spawn(move || {
        let mut pushed = 0;
        for item in [A, B, C] {
            if start.ring.room(1) > 0 {
                start.critical(item);
                pushed += 1;
            }
        }
        pushed
    });
    let mut lanes = vec![end];
    let mut applied = Applied::default();
    for _ in 0..2 {
        cut(&clock, &mut lanes, None, Cutting::UntilStable);
        applied.add(&mut lanes);
    }
    let pushed = pushing.join().unwrap();
    cut(&clock, &mut lanes, None, Cutting::UntilStable);
    applied.add(&mut lanes);
    assert_eq!(applied.0, [A, B, C][..pushed], "first in, first out, nothing lost");
}

/// Keys of a ring that wraps, with and without jumps: each value is found with its own key (R4, R5), read in its slot or
/// moved out of it.
pub fn keys_that_jump(moves: bool) {
    const KEYS: [u32; 4] = [3, 9, 11, 20];
    let (mut producer, mut consumer) = ring(2, true);
    let pushing = thread::spawn(move || {
        let mut pushed = 0;
        for key in KEYS {
            if let Some(vacant) = producer.vacant() {
                vacant.stamp(u64::from(key)).publish(key);
                pushed += 1;
            } else {
                break;
            }
        }
        pushed
    });
    let mut found = Vec::new();
    let mut turn = |bound| {
        consumer.extend(bound);
        if moves {
            consumer.take_out(u64::MAX, usize::MAX, |key, _, item| found.push((key, item)));
        } else {
            consumer.take(u64::MAX, usize::MAX, |key, _, item: &_| found.push((key, *item)));
            consumer.settle();
        }
    };
    turn(Bound(10));
    turn(Bound::OPEN);
    let pushed = pushing.join().unwrap();
    turn(Bound::OPEN);
    let expected: Vec<_> = KEYS[..pushed].iter().map(|key| (u64::from(*key), *key)).collect();
    assert_eq!(found, expected, "each with its own key");
}

/// One thread opens a lane, pushes A on it, and raises a flag; another sees the flag and pushes B on an older lane (M1).
pub fn lane_opened_meanwhile(cutting: Cutting) {
    let clock = Arc::new(Clock::new());
    let mailbox = Arc::new(Mailbox::new());
    let (mut old, old_end) = lane(&clock);
    let flag = Arc::new(AtomicU64::new(0));
    let (raised, posting, its_clock) = (flag.clone(), mailbox.clone(), clock.clone());
    let one = thread::spawn(move || {
        let (mut new, new_end) = lane(&its_clock);
        assert!(posting.post(new_end).is_ok());
        new.critical(A);
        raised.store(1, Release);
    });
    let other = thread::spawn(move || {
        if flag.load(Acquire) == 1 {
            old.critical(B);
        }
    });
    let mut lanes = vec![old_end];
    let mut letters = 0;
    let mut applied = Applied::default();
    cut(&clock, &mut lanes, Some((&mailbox, &mut letters)), cutting);
    applied.add(&mut lanes);
    applied.closed(A, B);
    one.join().unwrap();
    other.join().unwrap();
    cut(&clock, &mut lanes, Some((&mailbox, &mut letters)), Cutting::UntilStable);
    applied.add(&mut lanes);
    applied.closed(A, B);
    assert!(applied.0.contains(&A), "an open lane is not lost");
}

/// Posting against closing: each letter is taken, or handed back.
pub fn mailbox_closed_meanwhile() {
    let mailbox = Arc::new(Mailbox::new());
    let posting = mailbox.clone();
    let poster = thread::spawn(move || [1, 2].map(|letter| posting.post(letter).is_ok()));
    let mut taken = Vec::new();
    if mailbox.posted() > 0 {
        let letters = mailbox.collect();
        assert!(!letters.is_empty(), "a number that is seen has its letter in the box");
        taken.extend(letters);
    }
    taken.extend(mailbox.close());
    let accepted = poster.join().unwrap();
    let expected: Vec<_> = [1, 2].into_iter().zip(accepted).filter(|(_, accepted)| *accepted).map(|(n, _)| n).collect();
    assert_eq!(taken, expected);
    assert_eq!(mailbox.posted() as usize, expected.len());
}

/// A cut in a thread of its own reads nothing but what `Relaxed` allows of the clock: keys of one thread still rise, and
/// one that follows a cut is past its bound (K1, K2).
pub fn keys_rise() {
    let clock = Arc::new(Clock::new());
    let flag = Arc::new(AtomicU64::new(0));
    let (cutting, bound_of) = (clock.clone(), flag.clone());
    let main_lane = thread::spawn(move || {
        let bound = cutting.cut();
        bound_of.store(bound.0, Release);
        bound.0
    });
    let lossy = lossy_key(clock.read());
    let critical = critical_key(clock.take(1));
    let seen = flag.load(Acquire);
    let last = lossy_key(clock.read());
    assert!(lossy < critical && critical < last);
    assert!(seen == 0 || last >= seen, "a push after a cut is outside it");
    assert_ne!(critical, main_lane.join().unwrap(), "the bound is nobody's key");
    assert_eq!(clock.read(), 3, "no stamp value is given twice");
}

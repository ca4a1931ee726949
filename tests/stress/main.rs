//! The cut on real hardware, with control arms that must fail.
//!
//! Two producers push to two lanes as fast as they can, with a channel between them that the consumer knows nothing of: B
//! answers A. The consumer takes cuts flat out and counts those that have a B without its A. The protocol files themselves
//! run here (clock, ring, cut); each control arm takes one idea away from them, and must be caught.
//!
//! The number of cuts for the real protocol is `MAINLANE_CUTS`, 2,000,000 unless it is set, of which one in four hundred at least has something in it:
//! `MAINLANE_CUTS=100000000 cargo test --release --test stress -- --nocapture`

#![allow(
    dead_code,
    unreachable_pub,
    reason = "the protocol files are made for their crate, and have more than these runs use"
)]

#[path = "../../src/clock.rs"]
mod clock;
/// The part of the door that these files go through.
#[path = "."]
mod sync {
    #[path = "../../src/sync/cell.rs"]
    mod cell;
    #[path = "../../src/sync/prefetch.rs"]
    mod prefetch;
    #[path = "../../src/sync/spsc.rs"]
    pub(crate) mod spsc;

    pub(crate) use crossbeam_utils::CachePadded;
    pub(crate) use std::sync::Arc;
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    pub(crate) use cell::Row;
}
#[path = "."]
mod lane {
    #[path = "../../src/lane/ring.rs"]
    pub(crate) mod ring;
    #[path = "../../src/lane/runs.rs"]
    pub(crate) mod runs;
}
#[path = "."]
mod main_lane {
    #[path = "../../src/main_lane/cut.rs"]
    pub(crate) mod cut;
}

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clock::{Bound, Clock, critical_key, lossy_key};
use lane::ring::{RingConsumer, RingProducer, ring};
use main_lane::cut::Extend;

const CUTS: u64 = 2_000_000;
const CAPACITY: usize = 256;
const PUT_OFF: u32 = 20;
/// Questions that must have come through for a run of the real protocol to count.
const EVENTS: u64 = 10_000;
/// How long a control arm may take to find its violation.
const PATIENCE: Duration = Duration::from_secs(120);

/// How pushes are stamped.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stamps {
    /// As critical events: each takes a number of its own.
    Taken,
    /// As lossy events: each reads the counter.
    Read,
    /// From the processor's time-stamp counter, without a fence.
    #[cfg(target_arch = "x86_64")]
    TimeStampCounter,
}

/// How the consumer cuts.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    /// As the engine does.
    UntilStable,
    /// A single pass.
    OnePass,
    /// A single pass that admits the bound itself: `<=` instead of `<`, against a counter that is only read.
    OnePassWithBound,
}

/// Who pushes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    /// Two threads, the second of which answers what it has heard from the first.
    HiddenChannel,
    /// One thread that pushes to both lanes in turn.
    OneThread,
}

struct LaneSide {
    ring: RingConsumer<u64>,
    /// How long the look at this lane is put off, so that producers get further between the looks of one pass.
    put_off: u32,
}

impl Extend for LaneSide {
    fn look(&mut self) -> bool {
        self.ring.look()
    }

    fn has_unseen(&mut self) -> bool {
        false
    }

    fn admit(&mut self) {
        self.ring.admit();
    }

    fn end_key(&mut self) -> Option<u64> {
        self.ring.end_key()
    }

    fn admit_unseen(&mut self) {}

    fn extend(&mut self, bound: Bound) -> bool {
        (0..self.put_off).for_each(|_| std::hint::spin_loop());
        self.ring.extend(bound)
    }
}

/// What a run found.
#[derive(Debug)]
struct Found {
    cuts: u64,
    /// Those of the real protocol with something in them.
    filled: u64,
    violations: u64,
    passes: u64,
    pushed: u64,
}

fn stamp(stamps: Stamps, clock: &Clock) -> u64 {
    match stamps {
        Stamps::Taken => critical_key(clock.take(1)),
        Stamps::Read => lossy_key(clock.read()),
        #[cfg(target_arch = "x86_64")]
        Stamps::TimeStampCounter => tsc(),
    }
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "reading the time-stamp counter is an intrinsic")]
fn tsc() -> u64 {
    // SAFETY: reads a register that every processor of this architecture has.
    unsafe { std::arch::x86_64::_rdtsc() }
}

fn bound(stamps: Stamps, cut: Cut, clock: &Clock) -> Bound {
    match stamps {
        // The counter holds the stamp that is taken next.
        Stamps::Taken if cut == Cut::OnePassWithBound => Bound(critical_key(clock.read()) + 1),
        Stamps::Taken | Stamps::Read => clock.cut(),
        #[cfg(target_arch = "x86_64")]
        Stamps::TimeStampCounter => Bound(tsc()),
    }
}

/// Pushes `item` when there is room; false when there is none.
fn push(lane: &mut RingProducer<u64>, stamps: Stamps, clock: &Clock, item: u64) -> bool {
    let Some(vacant) = lane.vacant() else { return false };
    let key = stamp(stamps, clock);
    vacant.stamp(key).publish(item);
    true
}

/// Cuts until `cuts` are taken, or until `enough` violations are found.
fn run(shape: Shape, stamps: Stamps, cut: Cut, cuts: u64, enough: u64) -> Found {
    let clock = Clock::new();
    let (mut asking, questions) = ring(CAPACITY, true);
    let (mut answering, answers) = ring(CAPACITY, true);
    let (asked, done) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let (clock, asked, done) = (&clock, &asked, &done);
        match shape {
            Shape::HiddenChannel => {
                scope.spawn(move || {
                    let mut item = 1;
                    while !done.load(Ordering::Relaxed) {
                        if push(&mut asking, stamps, clock, item) {
                            asked.store(item, Ordering::Release);
                            item += 1;
                        }
                    }
                });
                scope.spawn(move || {
                    let mut answered = 0;
                    while !done.load(Ordering::Relaxed) {
                        let item = asked.load(Ordering::Acquire);
                        if item > answered && push(&mut answering, stamps, clock, item) {
                            answered = item;
                        }
                    }
                });
            }
            Shape::OneThread => {
                scope.spawn(move || {
                    let mut item = 1;
                    while !done.load(Ordering::Relaxed) {
                        if asking.room(1) > 0 && answering.room(1) > 0 {
                            push(&mut asking, stamps, clock, item);
                            asked.store(item, Ordering::Relaxed);
                            push(&mut answering, stamps, clock, item);
                            item += 1;
                        }
                    }
                });
            }
        }
        let found = consume(
            stamps,
            cut,
            clock,
            vec![LaneSide { ring: questions, put_off: 0 }, LaneSide { ring: answers, put_off: PUT_OFF }],
            cuts,
            enough,
        );
        done.store(true, Ordering::Relaxed);
        Found { pushed: asked.load(Ordering::Relaxed), ..found }
    })
}

fn consume(stamps: Stamps, cut: Cut, clock: &Clock, mut lanes: Vec<LaneSide>, cuts: u64, enough: u64) -> Found {
    let mut found = Found { cuts: 0, filled: 0, violations: 0, passes: 0, pushed: 0 };
    let (mut question, mut answer) = (0, 0);
    let deadline = Instant::now() + PATIENCE;
    // On a busy machine producers may sleep through many cuts, which then prove nothing: more are taken.
    while (found.cuts < cuts || proves_little(&found, cut, cuts) || question < EVENTS) && found.violations < enough {
        let limited = enough < u64::MAX || found.cuts >= cuts;
        if limited && found.cuts.is_multiple_of(4096) && Instant::now() > deadline {
            break;
        }
        found.passes += match cut {
            // Nothing is there yet: no cut.
            Cut::UntilStable => match main_lane::cut::cut(clock, &mut lanes, |_| false) {
                Some(cut) => {
                    found.filled += 1;
                    cut.passes
                }
                // Nothing is visible: on a busy machine because producers wait for a processor.
                None => {
                    if found.cuts.is_multiple_of(64) {
                        std::thread::yield_now();
                    }
                    0
                }
            },
            Cut::OnePass | Cut::OnePassWithBound => one_pass(bound(stamps, cut, clock), &mut lanes),
        };
        found.cuts += 1;
        lanes[0].ring.take(u64::MAX, usize::MAX, |_, _, item: &_| question = *item);
        lanes[1].ring.take(u64::MAX, usize::MAX, |_, _, item: &_| answer = *item);
        lanes.iter_mut().for_each(|lane| {
            lane.ring.settle();
        });
        found.violations += u64::from(answer > question);
    }
    found
}

/// True while fewer than one cut in four hundred had something in it.
fn proves_little(found: &Found, cut: Cut, cuts: u64) -> bool {
    cut == Cut::UntilStable && found.filled < cuts / 400
}

fn one_pass(bound: Bound, lanes: &mut [LaneSide]) -> u64 {
    lanes.iter_mut().for_each(|lane| {
        lane.extend(bound);
    });
    1
}

fn cuts() -> u64 {
    match std::env::var("MAINLANE_CUTS") {
        Ok(cuts) => cuts.parse().expect("MAINLANE_CUTS is a whole number of cuts"),
        Err(_) => CUTS,
    }
}

/// The real protocol: no cut has an answer without its question.
fn must_hold(shape: Shape, stamps: Stamps) {
    let found = run(shape, stamps, Cut::UntilStable, cuts(), u64::MAX);
    println!("{shape:?}, {stamps:?}: {found:?}");
    assert_eq!(found.violations, 0, "{found:?}");
    assert!(found.pushed >= EVENTS, "producers hardly ran: {found:?}");
}

/// A control arm: takes something away, and must be caught.
fn must_fail(shape: Shape, stamps: Stamps, cut: Cut) {
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        println!("{shape:?}, {stamps:?}, {cut:?}: skipped, it needs two processors");
        return;
    }
    let found = run(shape, stamps, cut, u64::MAX, 1);
    println!("{shape:?}, {stamps:?}, {cut:?}: {found:?}");
    assert_eq!(found.violations, 1, "a control arm found nothing within {PATIENCE:?}: {found:?}");
}

/// One after the other: each wants the processors for itself.
#[test]
fn the_cut_is_closed_and_the_control_arms_are_not() {
    must_hold(Shape::HiddenChannel, Stamps::Taken);
    must_hold(Shape::HiddenChannel, Stamps::Read);
    must_hold(Shape::OneThread, Stamps::Taken);
    must_hold(Shape::OneThread, Stamps::Read);
    must_fail(Shape::OneThread, Stamps::Read, Cut::OnePass);
    must_fail(Shape::OneThread, Stamps::Taken, Cut::OnePassWithBound);
    // Depends on the depth of a store buffer, and so on the machine: part of the long run only.
    #[cfg(target_arch = "x86_64")]
    if std::env::var_os("MAINLANE_CUTS").is_some() {
        must_fail(Shape::OneThread, Stamps::TimeStampCounter, Cut::OnePass);
    }
}

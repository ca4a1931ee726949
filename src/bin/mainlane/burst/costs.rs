//! What the machine takes for the few things that every contender is made of. No contender can do with less.
//!
//! A virtual machine's cores are near each other in one second and far in the next, so all of it is measured again for every
//! round of every table, in a few milliseconds.

use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;
use serde::Serialize;

use super::machine;
use super::rounds::Spread;

/// A cost is the median of so many pieces of work, or of those that were done when the time was up.
const PIECES: usize = 15;
const PIECES_MIN: usize = 3;
const TIME: Duration = Duration::from_millis(1);

/// How much of it is a piece: a few microseconds, so that most of them are not interrupted.
const ROUND_TRIPS: u64 = 32;
const LINES: u64 = 1024;
const UPDATES: u64 = 512;
const LOADS: u64 = 4096;
const LOOKS: u64 = 128;

/// The ring of lines, and after how many the producer shows them to the consumer.
const RING: u64 = 256;
const SHOWN: u64 = 16;

/// Copied once: more than the caches of most machines have room for.
const COPIED_BYTES: usize = 64 << 20;

/// What each thing takes at one moment, in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Costs {
    /// A word from one core to another that waits for it. `None`, as the two others, where there is one core alone.
    pub(crate) transfer_ns: Option<f64>,
    /// Each of many lines of 64 bytes from one core to another.
    pub(crate) line_ns: Option<f64>,
    /// Each atomic read-modify-write of a line that two cores want, of both together: one may keep it for many.
    pub(crate) contended_ns: Option<f64>,
    /// An atomic read-modify-write of a line that nobody else wants.
    pub(crate) update_ns: f64,
    /// A load of what is in the nearest cache, among others that need not wait for it.
    pub(crate) load_ns: f64,
    /// `Instant::now()`.
    pub(crate) clock_ns: f64,
}

/// One of the costs over a while.
#[derive(Debug, Serialize)]
pub(crate) struct Cost {
    pub(crate) about: &'static str,
    pub(crate) ns: Spread,
}

impl Costs {
    pub(crate) fn now() -> Self {
        let two = machine::is_enough_for(1);
        let (update_ns, load_ns, clock_ns) = thread::scope(|scope| {
            let alone = || (update(), load(), clock());
            on_first(scope, alone)
        });
        Self {
            transfer_ns: two.then(transfer),
            line_ns: two.then(line),
            contended_ns: two.then(contended),
            update_ns,
            load_ns,
            clock_ns,
        }
    }

    /// What is known of each cost.
    pub(crate) fn over(all: &[Self]) -> Vec<Cost> {
        let of = |about, cost: fn(&Self) -> Option<f64>| {
            let known: Option<Vec<_>> = all.iter().map(cost).collect();
            known.filter(|known| !known.is_empty()).map(|known| Cost { about, ns: Spread::of(known) })
        };
        let costs = [
            of("a word from core to core", |costs| costs.transfer_ns),
            of("each of many lines from core to core", |costs| costs.line_ns),
            of("each atomic update of two cores at once", |costs| costs.contended_ns),
            of("an atomic update that nobody else wants", |costs| Some(costs.update_ns)),
            of("a load from the nearest cache", |costs| Some(costs.load_ns)),
            of("a look at the clock", |costs| Some(costs.clock_ns)),
        ];
        costs.into_iter().flatten().collect()
    }
}

/// Bytes copied per second, from memory to memory.
pub(crate) fn copy_rate() -> Spread {
    let (from, mut to) = (vec![1_u8; COPIED_BYTES], vec![0_u8; COPIED_BYTES]);
    let seconds = (0..7).map(|_| {
        let began = Instant::now();
        to.copy_from_slice(black_box(&from));
        black_box(&mut to);
        COPIED_BYTES as f64 / began.elapsed().as_secs_f64()
    });
    Spread::of(seconds)
}

/// Runs `work` where the consumer of a table runs.
fn on_first<'scope, T: Send + 'scope>(scope: &'scope Scope<'scope, '_>, work: impl FnOnce() -> T + Send + 'scope) -> T {
    let thread = scope.spawn(|| {
        machine::pin_consumer(1);
        work()
    });
    thread.join().expect("what is measured ends")
}

/// Runs `other` where the producer of a table runs, until `work` has ended; it must then end of itself, and let others run
/// until then.
fn beside<T: Send>(other: impl FnOnce() + Send, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        scope.spawn(|| {
            machine::pin_producer(0, 1);
            other();
        });
        on_first(scope, work)
    })
}

/// Nanoseconds of the median piece, by `size`.
fn pieces(size: u64, mut piece: impl FnMut()) -> f64 {
    let (began, mut times) = (Instant::now(), Vec::with_capacity(PIECES));
    // Not counted: the first, which finds nothing in the caches.
    piece();
    while times.len() < PIECES_MIN || times.len() < PIECES && began.elapsed() < TIME {
        let start = Instant::now();
        piece();
        times.push(start.elapsed().as_nanos() as f64);
    }
    Spread::of(times).median / size as f64
}

/// Waits, and lets others run where there are too few cores after all.
#[inline]
fn wait_until(mut is_so: impl FnMut() -> bool) {
    let mut spins = 0;
    while !is_so() {
        if spins < 10_000 {
            spins += 1;
            spin_loop();
        } else {
            thread::yield_now();
        }
    }
}

/// Half of what it takes there and back.
fn transfer() -> f64 {
    const END: u64 = u64::MAX;
    let (there, back) = (CachePadded::new(AtomicU64::new(0)), CachePadded::new(AtomicU64::new(0)));
    let echo = || {
        let mut last = 0;
        loop {
            wait_until(|| there.load(Ordering::Acquire) != last);
            last = there.load(Ordering::Acquire);
            if last == END {
                return;
            }
            back.store(last, Ordering::Release);
        }
    };
    beside(echo, || {
        let mut number = 0;
        let time = pieces(2 * ROUND_TRIPS, || {
            for _ in 0..ROUND_TRIPS {
                number += 1;
                there.store(number, Ordering::Release);
                wait_until(|| back.load(Ordering::Acquire) == number);
            }
        });
        there.store(END, Ordering::Release);
        time
    })
}

/// One word of a line; the rest of the line goes with it.
#[derive(Default)]
#[repr(align(64))]
struct Line(AtomicU64);

/// Lines through a ring, one word of each written and read: the words are not what takes time.
fn line() -> f64 {
    let ring: Vec<Line> = (0..RING).map(|_| Line::default()).collect();
    let (head, tail) = (CachePadded::new(AtomicU64::new(0)), CachePadded::new(AtomicU64::new(0)));
    let over = CachePadded::new(AtomicBool::new(false));
    let fill = || {
        let (mut next, mut room_to) = (0, RING);
        while !over.load(Ordering::Relaxed) {
            if next + SHOWN > room_to {
                wait_until(|| {
                    room_to = head.load(Ordering::Acquire) + RING;
                    next + SHOWN <= room_to || over.load(Ordering::Relaxed)
                });
                continue;
            }
            for number in next..next + SHOWN {
                ring[(number % RING) as usize].0.store(number, Ordering::Relaxed);
            }
            next += SHOWN;
            tail.store(next, Ordering::Release);
        }
    };
    beside(fill, || {
        let (mut next, mut wrong) = (0, 0);
        let time = pieces(LINES, || {
            let end = next + LINES;
            while next < end {
                wait_until(|| tail.load(Ordering::Acquire) != next);
                let shown = tail.load(Ordering::Acquire).min(end);
                for number in next..shown {
                    wrong |= ring[(number % RING) as usize].0.load(Ordering::Relaxed) ^ number;
                }
                next = shown;
                head.store(next, Ordering::Release);
            }
        });
        over.store(true, Ordering::Relaxed);
        assert_eq!(wrong, 0, "each line has its number");
        time
    })
}

/// Two cores add to one word; the word itself says how often both did.
fn contended() -> f64 {
    let word = CachePadded::new(AtomicU64::new(0));
    let (begun, over) = (CachePadded::new(AtomicBool::new(false)), CachePadded::new(AtomicBool::new(false)));
    let other = || {
        begun.store(true, Ordering::Release);
        while !over.load(Ordering::Relaxed) {
            (0..1024).take_while(|_| !over.load(Ordering::Relaxed)).for_each(|_| add(&word, 16));
            // Under a real-time policy nothing else would run here, and the one that ends this may wait for that.
            thread::yield_now();
        }
    };
    beside(other, || {
        wait_until(|| begun.load(Ordering::Acquire));
        let mut times = Vec::with_capacity(PIECES);
        for _ in 0..PIECES {
            let (start, before) = (Instant::now(), word.load(Ordering::Relaxed));
            add(&word, UPDATES / 2);
            let after = word.load(Ordering::Relaxed);
            times.push(start.elapsed().as_nanos() as f64 / (after - before) as f64);
        }
        over.store(true, Ordering::Relaxed);
        Spread::of(times).median
    })
}

fn add(word: &AtomicU64, times: u64) {
    for _ in 0..times {
        black_box(word.fetch_add(1, Ordering::Relaxed));
    }
}

fn update() -> f64 {
    let word = CachePadded::new(AtomicU64::new(0));
    pieces(UPDATES, || add(&word, UPDATES))
}

fn load() -> f64 {
    let word = CachePadded::new(AtomicU64::new(1));
    pieces(LOADS, || {
        let mut sums = [0_u64; 4];
        for _ in 0..LOADS / 4 {
            sums.iter_mut().for_each(|sum| *sum += black_box(&word).load(Ordering::Relaxed));
        }
        black_box(sums);
    })
}

fn clock() -> f64 {
    pieces(LOOKS, || {
        for _ in 0..LOOKS {
            black_box(Instant::now());
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_takes_some_time() {
        let costs = Costs::now();
        assert!(costs.update_ns > 0.0 && costs.load_ns > 0.0 && costs.clock_ns > 0.0, "{costs:?}");
        let between = [costs.transfer_ns, costs.line_ns, costs.contended_ns];
        assert!(between.iter().all(|cost| cost.is_some() == machine::is_enough_for(1)), "{costs:?}");
        assert!(between.iter().flatten().all(|cost| *cost > 0.0), "{costs:?}");
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let alone = |update_ns| Costs { update_ns, load_ns: 1.0, clock_ns: 20.0, ..Costs::default() };
        let costs = Costs::over(&[alone(4.0), alone(8.0), alone(6.0)]);
        assert_eq!(costs.len(), 3);
        assert_eq!((costs[0].about, costs[0].ns.median), ("an atomic update that nobody else wants", 6.0));
        let two = Costs { transfer_ns: Some(50.0), ..alone(4.0) };
        assert_eq!(Costs::over(&[two])[0].ns.median, 50.0);
        assert!(Costs::over(&[]).is_empty());
    }

    #[test]
    fn pieces_are_enough_and_not_too_many() {
        let mut count = 0;
        pieces(1, || count += 1);
        assert!(count > PIECES_MIN && count <= PIECES + 1);
    }
}

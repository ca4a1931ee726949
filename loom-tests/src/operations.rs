//! The end of an operation: `main_lane/operations.rs` behind the cut.
//!
//! Modelled: a lane that reports progress of an operation and its end, another that reports progress after it has heard of
//! the end by some way that the engine does not see, and a main lane that cuts, merges and admits meanwhile. In every
//! execution the end is applied, once; what came before it in happens-before is applied before it; what came after it is
//! refused.
//!
//! Bounds: two threads beside the main lane, one or two events each, two cuts: explored in full where both lanes have one event,
//! with at most three preemptions where one has two. A few seconds.
//!
//! Must make it fail: a cut in one pass, which is a control arm; sealing when the end is admitted to a cut of another
//! order; a sealed operation whose progress is admitted.

use crate::clock::Clock;
use crate::cut::{Cutting, End, cut, lane};
use crate::event::{Operation, OperationId, Phase};
use crate::main_lane::operations_file::{Finding, Operations};
use crate::sync::{Arc, AtomicU64, Ordering::Acquire, Ordering::Release};
use loom::thread;

const STARTED: u32 = 0;
const PROGRESS: u32 = 1;
const TERMINAL: u32 = 2;
const LATE: u32 = 3;

fn operation(item: u32) -> Operation {
    let phase = match item {
        STARTED => Phase::Started,
        TERMINAL => Phase::Terminal,
        _ => Phase::Progress,
    };
    Operation { id: OperationId(1), sequence: u64::from(item), phase }
}

/// The main lane's book: what was applied, and what was refused.
struct Book {
    operations: Operations,
    applied: Vec<u32>,
    refused: Vec<u32>,
}

impl Book {
    fn turn(&mut self, lanes: &mut [End]) {
        let mut batch: Vec<_> = lanes.iter_mut().flat_map(|lane| lane.found.drain(..)).collect();
        batch.sort_unstable_by_key(|(key, _)| *key);
        for (_, item) in batch {
            let mut sealed = false;
            let admitted = self.operations.admit(operation(item), 1, |finding| sealed |= finding == Finding::Sealed);
            assert_eq!(admitted, !sealed, "what is refused is said");
            if admitted {
                self.operations.applied(operation(item), |_| ());
                self.applied.push(item);
            } else {
                self.refused.push(item);
            }
        }
        let end = self.applied.iter().position(|item| *item == TERMINAL);
        assert!(end.is_none_or(|end| end + 1 == self.applied.len()), "progress after the end: {:?}", self.applied);
        assert!(!self.applied.contains(&LATE), "progress that followed the end was applied: {:?}", self.applied);
        assert!(self.refused.iter().all(|item| *item == LATE), "progress before the end was refused");
    }
}

/// Progress and the end on one lane; on another, progress by a thread that has heard of the end.
pub fn sealed_by_its_end(lossy_progress: bool, cutting: Cutting) {
    let clock = Arc::new(Clock::new());
    let (mut first, first_end) = lane(&clock);
    let (mut second, second_end) = lane(&clock);
    let over = Arc::new(AtomicU64::new(0));
    let told = over.clone();
    let working = thread::spawn(move || {
        if lossy_progress {
            first.lossy(PROGRESS)
        } else {
            first.critical(PROGRESS)
        }
        first.critical(TERMINAL);
        told.store(1, Release);
    });
    let late = thread::spawn(move || {
        let heard = over.load(Acquire) == 1;
        if heard {
            second.lossy(LATE);
        }
        heard
    });
    // The lane that is late comes first: a single pass would see it before the end.
    let mut lanes = vec![first_end, second_end];
    let mut book = Book { operations: Operations::new(), applied: Vec::new(), refused: Vec::new() };
    cut(&clock, &mut lanes, None, cutting);
    book.turn(&mut lanes);
    working.join().unwrap();
    let heard = late.join().unwrap();
    cut(&clock, &mut lanes, None, Cutting::UntilStable);
    book.turn(&mut lanes);
    assert_eq!(book.applied, [PROGRESS, TERMINAL], "nothing that was accepted is lost");
    assert_eq!(book.refused, if heard { vec![LATE] } else { vec![] });
}

/// Start, then end, by two threads on two lanes: the second knows of the first.
pub fn started_and_ended_by_two(cutting: Cutting) {
    let clock = Arc::new(Clock::new());
    let (mut first, first_end) = lane(&clock);
    let (mut second, second_end) = lane(&clock);
    let begun = Arc::new(AtomicU64::new(0));
    let told = begun.clone();
    let starting = thread::spawn(move || {
        first.critical(STARTED);
        told.store(1, Release);
    });
    let ending = thread::spawn(move || {
        let heard = begun.load(Acquire) == 1;
        if heard {
            second.critical(TERMINAL);
        }
        heard
    });
    let mut lanes = vec![first_end, second_end];
    let mut book = Book { operations: Operations::new(), applied: Vec::new(), refused: Vec::new() };
    cut(&clock, &mut lanes, None, cutting);
    book.turn(&mut lanes);
    starting.join().unwrap();
    let heard = ending.join().unwrap();
    cut(&clock, &mut lanes, None, Cutting::UntilStable);
    book.turn(&mut lanes);
    assert_eq!(book.applied, if heard { vec![STARTED, TERMINAL] } else { vec![STARTED] });
}

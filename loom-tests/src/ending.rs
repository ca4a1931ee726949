//! Whose the end of a bus is: `signal/ending.rs`, with the lock of the dispatcher's work.
//!
//! Modelled: one who leaves the end of a bus to whoever is at work, and threads that do that work, if nobody else is at it. In every
//! execution the bus has ended when all are gone. The lock is that of the engine as far as it is tried: a look, an exchange, a store.
//!
//! Bounds: one who works, in full; two, with at most three preemptions. A second.
//!
//! Must make it fail: either barrier taken away (B1), one who looks whether the end was left before the lock is let go of, and
//! one who does not look at all, which are control arms.

use crate::ending_file::Ending;
use crate::sync::{
    Arc, AtomicBool,
    Ordering::{Acquire, Relaxed, Release},
    StoreLoad,
};
use loom::thread;

/// The dispatcher's work, as it is shared.
struct Work {
    is_locked: AtomicBool,
    is_over: AtomicBool,
    ending: Ending,
}

impl Work {
    fn try_lock(&self) -> bool {
        !self.is_locked.load(Relaxed) && self.is_locked.compare_exchange(false, true, Acquire, Relaxed).is_ok()
    }

    fn unlock(&self) {
        self.is_locked.store(false, Release);
    }

    fn end_if_free(&self) {
        if self.try_lock() {
            self.is_over.store(true, Relaxed);
            self.unlock();
        }
    }
}

/// When one who was at work looks whether the end was left to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looking {
    /// As the engine does.
    AfterTheLock,
    /// Whoever leaves the end in between finds the lock taken, by one who has looked.
    BeforeTheLockIsFree,
    /// All do but the last.
    NotTheLast,
}

/// An end that is left to whoever is at work comes (E1).
pub fn an_end_that_is_left(workers: usize, looking: Looking) {
    let work = Arc::new(Work {
        is_locked: AtomicBool::new(false),
        is_over: AtomicBool::new(false),
        ending: Ending::new(StoreLoad::detect()),
    });
    let threads: Vec<_> = (1..=workers)
        .map(|number| {
            let work = work.clone();
            thread::spawn(move || {
                if !work.try_lock() {
                    return;
                }
                if looking == Looking::BeforeTheLockIsFree {
                    work.ending.after_work(|| work.is_over.store(true, Relaxed));
                }
                work.unlock();
                if looking == Looking::AfterTheLock || looking == Looking::NotTheLast && number < workers {
                    work.ending.after_work(|| work.end_if_free());
                }
            })
        })
        .collect();
    work.ending.leave(|| work.end_if_free());
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(work.is_over.load(Relaxed), "the end was left, and nobody called it");
}

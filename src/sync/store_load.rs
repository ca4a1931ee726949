//! Orders a store before a later load, at the expense of the side that can afford it.
//!
//! Two hand-shakes of the engine have the shape *each side stores a flag, then loads the other's*: closing a lane while
//! a push is under way, and going to sleep while an event arrives. Release and acquire do not order a store before a
//! later load; both sides need a barrier between the two. The hot side here runs once per push, the cold side once per
//! sleep or shutdown, so the barrier is asymmetric where the system can do that.
//!
//! # Invariant
//! - **B1**: of two threads, one that runs `store a; light(); load b` and one that runs `store b; heavy(); load a`, at
//!   least one sees the other's store.
//!
//! On Linux, `heavy` is the system call `membarrier(PRIVATE_EXPEDITED)`, which runs a full barrier on every thread of
//! the process that is executing (the others have run one by being switched out), so `light` need only keep the
//! compiler from reordering. Elsewhere, under Miri, and where the call is refused, both are sequentially consistent
//! fences. No data is handed over through these fences: that is always a named release and acquire pair, so thread
//! sanitizers see every hand-over.
//!
//! Source: `membarrier(2)`; the pattern is that of folly's asymmetric thread fence.
//! Model: `loom-tests/src/wake.rs` and `gate.rs`, with fences on both sides; removing either makes them fail.

#![cfg_attr(all(target_os = "linux", not(miri)), expect(unsafe_code, reason = "the one system call of this file"))]

use std::sync::atomic::{Ordering::SeqCst, compiler_fence, fence};

/// How this process orders a store before a later load. Decided once per pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreLoad {
    /// The hot side pays nothing, the cold side makes a system call.
    Asymmetric,
    /// Both sides run a full fence.
    Full,
}

impl StoreLoad {
    /// The best this system offers.
    pub(crate) fn detect() -> Self {
        if membarrier::register() { StoreLoad::Asymmetric } else { StoreLoad::Full }
    }

    /// The hot side's barrier.
    #[inline]
    pub(crate) fn light(self) {
        match self {
            StoreLoad::Asymmetric => compiler_fence(SeqCst),
            StoreLoad::Full => fence(SeqCst),
        }
    }

    /// The cold side's barrier.
    ///
    /// # Panics
    /// When the kernel refuses the barrier that it accepted a registration for: going on would lose wake-ups.
    pub(crate) fn heavy(self) {
        match self {
            StoreLoad::Asymmetric => assert!(
                membarrier::run() || (membarrier::register() && membarrier::run()),
                "membarrier was accepted at start and is refused now; a system call filter set after the pipeline \
                 was built does that: set it before"
            ),
            StoreLoad::Full => fence(SeqCst),
        }
    }
}

#[cfg(all(target_os = "linux", not(miri)))]
mod membarrier {
    pub(super) fn register() -> bool {
        call(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED)
    }

    pub(super) fn run() -> bool {
        call(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED)
    }

    fn call(command: libc::c_int) -> bool {
        // SAFETY: membarrier takes three integers, touches no memory of ours and has no effect but ordering.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
    }
}

#[cfg(not(all(target_os = "linux", not(miri))))]
mod membarrier {
    pub(super) fn register() -> bool {
        false
    }

    pub(super) fn run() -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    /// B1 on this machine, for the pair that `detect` chose.
    #[test]
    fn one_of_the_two_sees_the_other() {
        let kind = StoreLoad::detect();
        let (a, b) = (AtomicBool::new(false), AtomicBool::new(false));
        let rounds = if cfg!(miri) { 50 } else { 20_000 };
        let (start, end) = (Barrier::new(2), Barrier::new(2));
        let blind = std::thread::scope(|scope| {
            let hot = scope.spawn(|| {
                let mut saw = Vec::with_capacity(rounds);
                for _ in 0..rounds {
                    start.wait();
                    a.store(true, Relaxed);
                    kind.light();
                    saw.push(b.load(Relaxed));
                    end.wait();
                }
                saw
            });
            let mut saw = Vec::with_capacity(rounds);
            for _ in 0..rounds {
                a.store(false, Relaxed);
                b.store(false, Relaxed);
                start.wait();
                b.store(true, Relaxed);
                kind.heavy();
                saw.push(a.load(Relaxed));
                end.wait();
            }
            let hot = hot.join().unwrap();
            saw.into_iter().zip(hot).filter(|(cold, hot)| !cold && !hot).count()
        });
        assert_eq!(blind, 0, "rounds in which neither side saw the other");
    }
}

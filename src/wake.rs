//! How one thread sleeps until another has something for it.
//!
//! Three places use it: the main lane sleeps until an event arrives, a producer sleeps until its ring has room, and a
//! host is called back when a snapshot that it has not read is published.
//!
//! # Invariants
//! - **W1 no lost wake-up**: a sleeper that armed, then looked and found nothing, is woken by the first ring after what
//!   it waits for was published. By B1 (`sync/store_load.rs`): either the sleeper's look sees the publication, or the
//!   ringer sees the arming.
//! - **W2 none doubled**: one arming is answered by one wake-up, whoever rings: the swap has one winner.
//!
//! # Pairs
//! | pair | release                       | acquire                            | hands over                         |
//! |------|-------------------------------|------------------------------------|------------------------------------|
//! | P3   | `unread`, `Notice::raise`     | `unread`, `Notice::acknowledge`    | the snapshot published before it   |
//!
//! The bell's flag hands over no data: what was published has its own pair.
//! Model: `loom-tests/src/wake.rs`.

use crate::sync::{
    AtomicBool, CachePadded,
    Ordering::{Acquire, Relaxed, Release},
    StoreLoad,
};

/// Rung by a producer after each publication; wakes the sleeper if it is armed.
pub(crate) struct Bell(CachePadded<Arming>);

/// On one line, which changes only when somebody sleeps.
struct Arming {
    armed: AtomicBool,
    store_load: StoreLoad,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Bell {
    pub(crate) fn new(store_load: StoreLoad, wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self(CachePadded::new(Arming { armed: AtomicBool::new(false), store_load, wake: Box::new(wake) }))
    }

    /// The sleeper's first step. After it the sleeper must look once more, and sleep only if there is nothing.
    pub(crate) fn arm(&self) {
        self.begin_to_arm();
        // B1: the look that follows is ordered behind this store.
        self.0.store_load.heavy();
    }

    /// A part of [`arm`](Bell::arm), for one who arms many bells: the barrier is still to come, one for all.
    pub(crate) fn begin_to_arm(&self) {
        self.0.armed.store(true, Relaxed);
    }

    /// The sleeper is up, whoever woke it.
    pub(crate) fn disarm(&self) {
        self.0.armed.store(false, Relaxed);
    }

    #[cfg(test)]
    pub(crate) fn is_armed(&self) -> bool {
        self.0.armed.load(Relaxed)
    }

    /// The ringer's last step, after it published.
    #[inline]
    pub(crate) fn ring(&self) {
        self.ring_by(self.0.store_load);
    }

    /// The same for one who knows how the process orders a store before a load.
    #[inline]
    pub(crate) fn ring_by(&self, store_load: StoreLoad) {
        // B1: this load is ordered behind the publication.
        store_load.light();
        if self.0.armed.load(Relaxed) {
            self.answer();
        }
    }

    #[cold]
    fn answer(&self) {
        // W2: of several ringers one takes the arming away.
        if self.0.armed.swap(false, Relaxed) {
            (self.0.wake)();
        }
    }
}

/// Tells one reader that there is something unread, once until the reader acknowledges.
pub(crate) struct Notice {
    unread: AtomicBool,
}

impl Notice {
    pub(crate) fn new() -> Self {
        Self { unread: AtomicBool::new(false) }
    }

    /// After a publication. True if the reader must be told: it has acknowledged everything before this.
    pub(crate) fn raise(&self) -> bool {
        // P3: hands what was published to the `acknowledge` that takes this flag back.
        !self.unread.swap(true, Release)
    }

    /// Before reading. What is published after this raises the notice anew.
    pub(crate) fn acknowledge(&self) {
        // P3: sees what `raise` published; a read-modify-write, so that it cannot miss a `raise` before it.
        self.unread.swap(false, Acquire);
    }
}

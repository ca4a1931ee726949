//! The hand-shake by which a lane is closed from the other side without losing a push that is under way.
//!
//! # Invariants
//! - **G1 all or nothing**: a push that entered before the gate was shut is complete, and visible to the main lane,
//!   when the gate is seen quiet; a push that comes later is refused before it writes anything into the lane.
//!
//! By B1 (`sync/store_load.rs`): the producer stores `busy`, then loads `shut`; the main lane stores `shut`, then loads
//! `busy`. At least one sees the other.
//!
//! Critical events need no flag: one is counted before it is there, and while more are counted than are visible, its push is under
//! way. So what announces it is the lane's counter, and what ends it is the ring's `tail` (P1): two stores fewer, on a line fewer.
//! Of a run the first event is counted as the push begins, and all of them before they are visible. One that is refused was counted for
//! that moment; a shutdown waits for it before it reads counts. The flag is for lossy events; for a run that is prepared
//! first, which may have no critical event; and for a run that goes on with a lossy one: there it is raised before what came first is
//! visible, so who sees that sees the flag, by P1, when it looks at the flag after the counts.
//!
//! # Pairs
//! | pair | release                  | acquire               | hands over                                  |
//! |------|--------------------------|-----------------------|---------------------------------------------|
//! | P4   | `busy`, `Entered::drop`  | `busy`, `Gate::is_quiet` | everything pushed while the gate was entered |
//! | P5   | `gone`, `Gate::leave`    | `gone`, `Gate::is_left`  | everything the producer ever pushed          |
//!
//! Model: `loom-tests/src/gate.rs`.

use crate::sync::{
    AtomicBool, CachePadded,
    Ordering::{Acquire, Relaxed, Release},
    StoreLoad,
};

/// One lane's gate. What the producer writes is on a line of its own; what each side only reads, until the lane ends, shares
/// another.
pub(crate) struct Gate {
    busy: CachePadded<AtomicBool>,
    ending: CachePadded<Ending>,
}

struct Ending {
    /// Set by the main lane.
    shut: AtomicBool,
    /// Set by the producer.
    gone: AtomicBool,
    store_load: StoreLoad,
}

impl Gate {
    pub(crate) fn new(store_load: StoreLoad) -> Self {
        Self {
            busy: CachePadded::new(AtomicBool::new(false)),
            ending: CachePadded::new(Ending { shut: AtomicBool::new(false), gone: AtomicBool::new(false), store_load }),
        }
    }

    /// Begins a push; `None` when the gate is shut.
    #[inline]
    pub(crate) fn enter(&self) -> Option<Entered<'_>> {
        // Looked at first as well, so that a producer that hammers a shut gate does not look busy for ever.
        if self.is_shut() { None } else { self.enter_by(self.ending.store_load) }
    }

    /// The same for one who knows how the process orders a store before a load, and never found the gate shut.
    #[inline]
    pub(crate) fn enter_by(&self, store_load: StoreLoad) -> Option<Entered<'_>> {
        self.busy.store(true, Relaxed);
        let entered = Entered { gate: self };
        // B1: the load that follows is ordered behind the store before it.
        store_load.light();
        (!self.is_shut()).then_some(entered)
    }

    /// Begins the push of a critical event, the lane's `number`th, or of a run that begins with it, by having it counted: the push is under
    /// way until so many are visible. False when the gate is shut; then it is not counted any more.
    #[inline]
    pub(crate) fn enter_counted(&self, number: u64, store_load: StoreLoad, count: impl Fn(u64)) -> bool {
        count(number);
        // B1: the load that follows is ordered behind the store before it.
        store_load.light();
        let enters = !self.is_shut();
        if !enters {
            std::hint::cold_path();
            count(number - 1);
        }
        enters
    }

    /// Goes on with a push that was begun by [`enter_counted`](Gate::enter_counted), beyond what it counted. To be called before that is
    /// visible.
    #[cold]
    pub(crate) fn stay(&self) -> Entered<'_> {
        // P1: seen by who sees what was counted.
        self.busy.store(true, Relaxed);
        Entered { gate: self }
    }

    /// The producer will push nothing more.
    pub(crate) fn leave(&self) {
        // P5: hands every push to `is_left`.
        self.ending.gone.store(true, Release);
    }

    /// True when the producer has left. Look at the lane's content after this, not before.
    #[inline]
    pub(crate) fn is_left(&self) -> bool {
        // P5: what is visible after a `true` is all there will be.
        self.ending.gone.load(Acquire)
    }

    /// Refuses pushes from now on. To be followed by one [`StoreLoad::heavy`] for all gates shut together.
    pub(crate) fn shut(&self) {
        self.ending.shut.store(true, Relaxed);
    }

    #[inline]
    pub(crate) fn is_shut(&self) -> bool {
        self.ending.shut.load(Relaxed)
    }

    /// True when no push is under way: none that entered, and of critical events as many are `visible` as were `counted`.
    /// After `shut` and the barrier that follows it: and none will be.
    pub(crate) fn is_quiet(&self, counted: impl FnOnce() -> u64, visible: impl FnOnce() -> u64) -> bool {
        // In this order: with what is counted the flag of a push that goes on is seen (P1). P4: what was pushed before is visible after this.
        counted() == visible() && !self.busy.load(Acquire)
    }
}

/// A push under way.
pub(crate) struct Entered<'a> {
    gate: &'a Gate,
}

impl Drop for Entered<'_> {
    #[inline]
    fn drop(&mut self) {
        // P4: hands the push to `Gate::is_quiet`.
        self.gate.busy.store(false, Release);
    }
}

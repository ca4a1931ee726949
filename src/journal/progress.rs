//! How far a journal is, for whoever waits for it.
//!
//! # Pairs
//! | pair | release                 | acquire                | hands over                                   |
//! |------|-------------------------|------------------------|----------------------------------------------|
//! | P14  | `turn`, `Durable::reach` | `turn`, `Durable::turn` | what was written of that turn and all before |
//!
//! Model: `loom-tests/src/durable.rs`.

use crate::sync::{
    AtomicU64,
    Ordering::{Acquire, Release},
};

/// The newest turn that is durable. One writer.
pub(crate) struct Durable {
    turn: AtomicU64,
}

impl Durable {
    pub(crate) fn new(turn: u64) -> Self {
        Self { turn: AtomicU64::new(turn) }
    }

    /// All turns up to this one are durable.
    pub(crate) fn reach(&self, turn: u64) {
        // P14: after the write that made them so.
        self.turn.store(turn, Release);
    }

    pub(crate) fn turn(&self) -> u64 {
        // P14: whoever sees a turn sees what was written of it.
        self.turn.load(Acquire)
    }
}

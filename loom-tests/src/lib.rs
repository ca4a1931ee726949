//! Models of the engine's lock-free protocols, run by loom.
//!
//! The files that ship are compiled here a second time, against a door (`sync`) of the same shape as the engine's with
//! loom's types behind it: what the models check is the code itself, not a copy of it. Beside each model that must hold
//! stand *control arms*: the same model with one thing taken away, which must fail. An arm that does not fail would mean
//! that the model is blind.
//!
//! Run with `cargo test -p loom-tests --release`; `LOOM_COUNTS=1` and `--nocapture` print how many executions each model
//! took. `cargo run -p loom-tests --bin teeth` weakens every ordering of those files, one at a time, and wants a model
//! to fail for each.
//!
//! # What loom cannot show
//! It has no load buffering: it cannot move a load past an earlier one of another atomic. It lets an atomic be read at
//! most seven stores back, and knows neither compiler fences nor the system's barriers: `StoreLoad` is modelled with sequentially consistent fences on both sides. `arc_swap`
//! and `crossbeam_queue` are invisible to it; in their place stand a cell and a queue with the same orderings.
//!
//! It remembers only the last access to an atomic. A thread that loads one and then writes it hides the loads of others
//! before its own, and executions in which those come later are not explored. The door and the models therefore never
//! load what the same thread then writes, but where the engine does; a model of one execution is a sign of it.

// Without their unit tests, which are the engine's own: under `cfg(test)` there is nothing here.
#![cfg(not(test))]

#[path = "../../src/clock.rs"]
#[allow(dead_code, unreachable_pub, reason = "the whole file is compiled, the models use a part of it")]
mod clock;
#[path = "../../src/register/board.rs"]
mod board_file;
#[path = "../../src/journal/progress.rs"]
mod durable_file;
#[path = "../../src/signal/ending.rs"]
mod ending_file;
#[path = "../../src/latch.rs"]
mod latch_file;
#[path = "../../src/mailbox.rs"]
#[allow(dead_code, reason = "the whole file is compiled, the models use a part of it")]
mod mailbox;
#[path = "../../src/register/crew/post.rs"]
#[allow(dead_code, reason = "the whole file is compiled, the models use a part of it")]
mod post_file;
#[path = "../../src/register/crew/ready.rs"]
#[allow(dead_code, reason = "the whole file is compiled, the models use a part of it")]
mod ready_file;
#[path = "../../src/wake.rs"]
mod wake_files;

mod core {
    //! What `signal/inlet.rs` knows of the engine's care for the host's code.

    pub(crate) fn let_go<T>(value: T) {
        drop(value);
    }
}

mod event {
    //! The names that `lane/coalesce.rs` and `main_lane/operations.rs` know of the engine's events.

    /// See `mainlane::Coalesced`.
    #[allow(dead_code, reason = "the models merge")]
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Coalesced {
        Replaced,
        Merged,
    }

    /// See `mainlane::Tier`.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub(crate) struct Tier(u8);

    impl Tier {
        pub(crate) const LOW: Tier = Tier(0);
        pub(crate) const HIGH: Tier = Tier(1);
        pub(crate) const COUNT: usize = 8;

        pub(crate) const fn number(self) -> u8 {
            self.0
        }
    }

    /// See `mainlane::Operation`.
    #[derive(Clone, Copy)]
    pub(crate) struct Operation {
        pub(crate) id: OperationId,
        pub(crate) sequence: u64,
        pub(crate) phase: Phase,
    }

    /// See `mainlane::OperationId`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub(crate) struct OperationId(pub(crate) u64);

    /// See `mainlane::Phase`.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Phase {
        Started,
        Progress,
        Terminal,
    }
}

#[path = "../../src/lane"]
#[allow(dead_code, reason = "the whole files are compiled, the models use a part of them")]
mod lane {
    pub(crate) mod coalesce;
    mod index;
    #[path = "gate.rs"]
    pub(crate) mod gate_file;
    #[path = "ring.rs"]
    pub(crate) mod ring;
    pub(crate) mod runs;
    #[path = "table.rs"]
    pub(crate) mod table;
}

#[path = "../../src/main_lane"]
#[allow(dead_code, reason = "the whole files are compiled, the models use a part of them")]
mod main_lane {
    #[path = "cut.rs"]
    pub(crate) mod cut_file;
    #[path = "operations.rs"]
    pub(crate) mod operations_file;
}

#[path = "../../src/signal"]
#[allow(dead_code, reason = "the whole file is compiled, the models use a part of it")]
mod signal_files {
    pub(crate) mod inlet;
}

#[path = "../../src/snapshot"]
#[allow(dead_code, reason = "the whole files are compiled, the models use a part of them")]
mod snapshot_files {
    //! What `snapshot/publisher.rs` finds around it.

    use crate::clock::Stamp;

    pub(crate) mod publisher;

    pub(crate) struct Snapshot<S> {
        pub(crate) state: S,
        pub(crate) version: Version,
        pub(crate) stamp: Stamp,
        pub(crate) turn: u64,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub(crate) struct Version(pub(crate) u64);
}

mod sync;

pub mod board;
pub mod cut;
pub mod durable;
pub mod ending;
pub mod explore;
pub mod gate;
pub mod latch;
pub mod operations;
pub mod ready;
pub mod ring;
pub mod signal;
pub mod snapshot;
pub mod table;
pub mod wake;

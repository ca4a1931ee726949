//! Coverage-guided fuzzing of everything that reads what others wrote, and of the parts of the engine that can be driven
//! by one thread.
//!
//! A target is one function from bytes to nothing, which panics when a promise is broken. Most of them compare the code
//! that ships with a slow, obviously right twin. Private files of the engine are compiled here a second time, from where
//! they are; so what is fuzzed is the code itself, and nothing is public for the sake of it.
//!
//! - `cargo test` replays everything that is kept through every target, without any tool: `tests/replay.rs`.
//! - `.ci/fuzz` looks for something new, for some seconds per target; `.ci/fuzz 3600` for an hour each.
//! - `cargo run -p fuzz --bin terminal -- FILE` replays one file.
//!
//! Kept are `seeds/TARGET`, written by hand; `corpus/TARGET`, the fewest short inputs that reach what was ever reached; and
//! `regressions/TARGET`, each of which once found a bug.

// Without their unit tests, which are the engine's own: under `cfg(test)` there is nothing here.
#![cfg(not(test))]

#[path = "../../../src/clock.rs"]
#[allow(dead_code, unreachable_pub, reason = "the whole file is compiled, the targets use a part of it")]
mod clock;

mod event {
    //! What the files below know of events.

    pub(crate) use mainlane::workspace::EntryKind;
    pub(crate) use mainlane::{Coalesced, Event, Operation, OperationId, Phase, Tier};

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct LaneId(pub(crate) u32);

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Sequence(pub(crate) u64);
}

mod origin {
    //! What the files below know of origins.

    pub(crate) use mainlane::Origin;
}

#[path = "../../../src/journal"]
#[allow(dead_code, unreachable_pub, reason = "the whole files are compiled, the targets use a part of them")]
mod journal {
    pub(crate) mod batch;
    mod bytes;
    pub(crate) mod names;
    pub(crate) mod record;
    pub(crate) mod store;
    pub(crate) mod torn;
}

#[path = "../../../src/lane"]
#[allow(dead_code, reason = "the whole files are compiled, the targets use a part of them")]
mod lane {
    pub(crate) mod coalesce;
    pub(crate) mod coalesce_twin;
    mod index;
    pub(crate) mod ring;
    pub(crate) mod runs;
    pub(crate) mod table;
}

#[path = "../../../src/main_lane"]
#[allow(dead_code, reason = "the whole file is compiled, the target uses a part of it")]
mod main_lane {
    pub(crate) mod operations;

    pub(crate) mod entry {
        //! What an entry is to those that write and read it.

        use mainlane::{Event, Origin};

        use crate::clock::Stamp;
        use crate::event::{LaneId, Sequence};

        pub(crate) struct Entry<E: Event> {
            pub(crate) stamp: Stamp,
            pub(crate) lane: LaneId,
            pub(crate) sequence: Sequence,
            pub(crate) lane_origin: Origin,
            pub(crate) parts: u32,
            pub(crate) facets: E::Facets,
            pub(crate) event: E,
        }
    }

    pub(crate) mod reduce {
        //! What a reducer is to those that read its state.

        pub(crate) use mainlane::Reducer;
    }
}

#[path = "../../../src/sync"]
#[allow(dead_code, reason = "the whole files are compiled, the targets use a part of them")]
mod sync {
    //! The engine's door, as far as these files go through it.

    mod cell;
    pub(crate) mod prefetch;
    pub(crate) mod spsc;

    pub(crate) use std::sync::Arc;
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    pub(crate) use crossbeam_utils::CachePadded;

    pub(crate) use cell::Row;
}

#[path = "../../../src/workspace/mirror.rs"]
#[allow(dead_code, reason = "the whole file is compiled, the targets use a part of it")]
mod mirror;
#[path = "../../../src/workspace/mirror_twin.rs"]
mod mirror_twin;
#[path = "../../../src/workspace/terminal_twin.rs"]
mod terminal_twin;
#[path = "../../../src/workspace/translate.rs"]
#[allow(dead_code, reason = "the whole file is compiled, the targets use a part of it")]
mod translate;

mod terminal {
    //! What the terminal's twin knows of the terminal.

    pub(crate) use mainlane::workspace::{Mark, TerminalReading};
}

#[path = "../../../src/bin/mainlane/args.rs"]
#[allow(dead_code, unexpected_cfgs, reason = "the whole file is compiled, with features that are the program's own")]
mod args;

#[path = "../../it/domain.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod domain;
#[path = "../../it/twin.rs"]
mod twin;

mod choices;
mod memory;
mod targets;

pub use targets::{TARGETS, Target, target};

#[doc(hidden)]
#[cfg(fuzzing)]
pub use libfuzzer_sys;

/// The program of one target. Under `cargo fuzz` it is libFuzzer's; otherwise it runs the files that it is given.
#[cfg(fuzzing)]
#[macro_export]
macro_rules! program {
    () => {
        $crate::libfuzzer_sys::fuzz_target!(|data: &[u8]| ($crate::target(env!("CARGO_BIN_NAME")).check)(data));
    };
}

/// The program of one target. Under `cargo fuzz` it is libFuzzer's; otherwise it runs the files that it is given.
#[cfg(not(fuzzing))]
#[macro_export]
macro_rules! program {
    () => {
        fn main() -> std::io::Result<()> {
            for path in std::env::args_os().skip(1) {
                ($crate::target(env!("CARGO_BIN_NAME")).check)(&std::fs::read(path)?);
            }
            Ok(())
        }
    };
}

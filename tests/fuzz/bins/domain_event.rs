//! See `src/targets.rs`.
#![cfg_attr(fuzzing, no_main)]

fuzz::program!();

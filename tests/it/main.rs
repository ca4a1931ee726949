//! Everything that needs more than one part of the engine, as a table of contents.

#[cfg(feature = "burst")]
mod burst;
mod closing;
mod cost;
mod domain;
mod faults;
mod hosts;
mod lanes;
mod order;
#[cfg(feature = "cli")]
mod program;
mod reading;
mod tidy;
mod twin;
mod types;

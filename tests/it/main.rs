//! Everything that needs more than one part of the engine, as a table of contents.

#[cfg(feature = "burst")]
mod burst;
mod closing;
#[cfg(feature = "control")]
mod control;
mod cost;
#[cfg(feature = "register")]
mod crew;
mod domain;
#[cfg(feature = "register")]
mod ending;
mod faults;
mod flight;
#[cfg(feature = "register")]
mod following;
mod hosts;
#[cfg(feature = "journal")]
mod journal;
#[cfg(all(feature = "journal", feature = "workspace"))]
mod journal_panes;
#[cfg(feature = "cli")]
mod journal_program;
#[cfg(feature = "journal")]
mod journal_recovery;
#[cfg(feature = "journal")]
mod journal_waits;
mod lanes;
#[cfg(feature = "control")]
mod maintenance;
#[cfg(feature = "journal")]
mod memory;
mod misrouted;
mod order;
mod prepared;
#[cfg(feature = "cli")]
mod program;
#[cfg(feature = "cli")]
mod projects_program;
mod reading;
#[cfg(feature = "register")]
mod registries;
#[cfg(feature = "register")]
mod root;
#[cfg(feature = "journal")]
mod rows;
#[cfg(feature = "signal")]
mod signal;
mod tidy;
mod timeline;
mod timeline_faults;
mod twin;
mod types;
#[cfg(feature = "register")]
mod unruly;
mod wakers;

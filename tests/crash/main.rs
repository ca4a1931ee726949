//! The journal under crashes, errors and damage: what was acknowledged is there afterwards, or somebody is told.
//!
//! A host whose next turn depends on nothing but the number of the last one is killed, robbed of what was not synced, and
//! given a store that fails. Whatever comes back is compared with a run of the same host that nothing happened to, and
//! with what the host was told before.
//!
//! Everything random comes from a seed, which is in every message; `MAINLANE_SEED` sets it. `MAINLANE_KILLS` is the number
//! of kills, 25 unless it is set: `MAINLANE_KILLS=1000 cargo test --features journal --test crash kills -- --nocapture`.
//! With a thousand or more the other tests try more too.

mod book; // the host: events, state, and what it does in which turn
mod facts; // what was told, and what that promises
mod life; // a pipeline from its recovery to its end
mod tally; // what has to be reached for a run to count
mod random; // numbers from a seed
#[path = "../it/rows.rs"]
mod rows; // what a store in memory has
mod stores; // stores that fail, lie, or look on

mod kills; // the end of the process, at any moment
mod power; // the loss of power, and rot
mod errors; // a store that fails at its n-th append
mod limits; // a real disk that is full, or gone
mod past; // operations, undo and readers, in random mixtures
mod controls; // that all of this would notice

//! The one consumer: it alone mutates the state.
//!
//! Sequential, deterministic and boring. A turn reads as the pipeline: adopt, cut, merge, apply, reconcile, publish.

pub(crate) mod turn;
pub(crate) mod budget;
pub(crate) mod lanes;
mod hand;
pub(crate) mod lane_end;
pub(crate) mod cut;
pub(crate) mod merge;
mod in_order;
pub(crate) mod apply;
pub(crate) mod entry;
pub(crate) mod flight;
pub(crate) mod awaited;
pub(crate) mod keeping;
pub(crate) mod kept;
#[cfg(test)]
mod kept_tests;
pub(crate) mod scribe;
pub(crate) mod stop;
pub(crate) mod quarantine;
pub(crate) mod reduce;
pub(crate) mod operations;
pub(crate) mod reconcile;
pub(crate) mod publish;
pub(crate) mod outcome;
pub(crate) mod drive;
pub(crate) mod shutdown;
pub(crate) mod report;
mod warm;
mod calm;

pub use turn::MainLane;

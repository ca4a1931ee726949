//! What a user can see of a running pipeline: counters, and diagnostics for whatever is out of the ordinary.

pub(crate) mod counters;
pub(crate) mod diagnostic;

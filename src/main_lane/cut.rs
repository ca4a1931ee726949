//! The causally consistent cut over all clocked lanes.
//!
//! # Claim
//! Let keys never fall along happens-before (K1, `clock.rs`). Fix any bound. Pass over all lanes, again and again, each
//! time extending every lane by what is visible below the bound, until a whole pass adds nothing. The result is closed:
//! with an event it has every event whose push returned before that event's push began.
//!
//! # Why
//! Let B be in the result. Its lane was extended over B in some pass but the last, so the acquire that saw B (P1 for the
//! ring, P6 to P8 for the table) comes before every look of the last pass. If the push of A returned before the push of
//! B began, then A's publication happens before B's, hence before the last pass's look at A's lane, which therefore sees
//! A. A's key is not above B's, so it is below the bound: A is in. A lane opened on the way is seen the same way (M1).
//!
//! # What would break it
//! One pass instead of until-stable; admitting the bound itself; stamps from a clock that is not ordered with the
//! publication; a lane's events enriched after their stamp by another thread; a limit on what one lane may give that
//! does not lower the bound for all. The models in `loom-tests/src/cut.rs` keep the first two as control arms.

use crate::clock::Bound;

/// One lane, to the cut.
pub(crate) trait Extend {
    /// Extends the cut over what is visible below `bound`; true if that added anything.
    fn extend(&mut self, bound: Bound) -> bool;
}

/// Passes over all lanes until a pass adds nothing. Returns how many passes that took.
///
/// `adopt` looks for lanes that were opened meanwhile, and tells whether there were any.
pub(crate) fn until_stable<L: Extend>(
    bound: Bound,
    lanes: &mut Vec<L>,
    mut adopt: impl FnMut(&mut Vec<L>) -> bool,
) -> u64 {
    let mut passes = 0;
    loop {
        let mut added = adopt(lanes);
        for lane in &mut *lanes {
            added |= lane.extend(bound);
        }
        passes += 1;
        if !added {
            return passes;
        }
    }
}

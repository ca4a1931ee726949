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
//! What was seen before the bound was taken is below it without a look at its key (K3). That makes the first pass shorter,
//! and leaves the argument as it is, which is about the last.
//!
//! # What would break it
//! One pass instead of until-stable; admitting the bound itself; stamps from a clock that is not ordered with the
//! publication; a lane's events enriched after their stamp by another thread; a limit on what one lane may give that
//! does not lower the bound for all. The models in `loom-tests/src/cut.rs` keep the first two as control arms.

use crate::clock::{Bound, Clock};

/// One lane, to the cut.
pub(crate) trait Extend {
    /// Looks at what is visible now; true if anything is.
    fn look(&mut self) -> bool;

    /// True if there is anything visible that the last look did not show: what may have been pushed before it.
    fn has_unseen(&mut self) -> bool;

    /// Extends the cut over what the last look showed. Returns the key after that of the last value.
    fn admit(&mut self) -> Option<u64>;

    /// Extends the cut over what is visible below `bound`; true if that added anything.
    fn extend(&mut self, bound: Bound) -> bool;
}

/// What was cut.
pub(crate) struct Cut {
    pub(crate) bound: Bound,
    pub(crate) passes: u64,
}

/// Takes a cut, if there is anything visible.
///
/// `adopt` looks for lanes that were opened meanwhile, and tells whether there were any.
pub(crate) fn cut<L: Extend>(
    clock: &Clock,
    lanes: &mut Vec<L>,
    mut adopt: impl FnMut(&mut Vec<L>) -> bool,
) -> Option<Cut> {
    let mut any = false;
    for lane in &mut *lanes {
        any |= lane.look();
    }
    if !any {
        return None;
    }
    // A lane that is alone is closed by itself, and leaves the clock to its producer. Looked at in this order: whatever
    // came before what the lane showed would be seen now, on a lane opened meanwhile (M1) or in its table.
    if !adopt(lanes)
        && let [lane] = &mut lanes[..]
        && !lane.has_unseen()
        && let Some(end) = lane.admit()
    {
        return Some(Cut { bound: Bound(end), passes: 0 });
    }
    // K2: once per cut, never in an idle poll.
    let bound = clock.cut();
    for lane in &mut *lanes {
        // K3: seen before the bound was taken.
        lane.admit();
    }
    Some(Cut { bound, passes: until_stable(bound, lanes, adopt) })
}

/// Passes over all lanes until a pass adds nothing. Returns how many passes that took.
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

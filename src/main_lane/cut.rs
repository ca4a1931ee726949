//! The causally consistent cut over all clocked lanes.
//!
//! # Claim
//! Let keys never fall along happens-before (K1, `clock.rs`). Fix any bound. Pass over all lanes, again and again, each
//! time extending every lane by what is visible below the bound, until a whole pass adds nothing. The result is closed:
//! with an event it has every event whose push returned before that event's push began.
//!
//! # Why
//! Let B be in the result. Its lane was extended over B in some pass but the last, so the acquire that saw B (P1 for the
//! ring, P6 to P9 for the table) comes before every look of the last pass. If the push of A returned before the push of
//! B began, then A's publication happens before B's, hence before the last pass's look at A's lane, which therefore sees
//! A. A's key is not above B's, so it is below the bound: A is in. A lane opened on the way is seen the same way (M1).
//!
//! What was seen before the bound was taken is below it without a look at its key (K3). That makes the first pass shorter, takes
//! keys that are always being written when they are fresh, and leaves the argument as it is, which is about the last pass.
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

    /// Extends the cut over what the last look showed, and nothing else.
    fn admit(&mut self);

    /// The key after that of the last value that was admitted and not taken.
    fn end_key(&mut self) -> Option<u64>;

    /// Extends the cut over what the last look did not show, whenever it came. Only before the bound is taken, and a pass
    /// follows: what came before that may not be in the cut yet.
    fn admit_unseen(&mut self);

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
#[inline]
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
    // came before what the lane showed would be seen now, on a lane opened meanwhile (M1) or in its table. What comes into
    // the table from here on may be behind something that the look did not show, and waits.
    if !adopt(lanes)
        && let [lane] = &mut lanes[..]
        && !lane.has_unseen()
    {
        lane.admit();
        if let Some(end) = lane.end_key() {
            return Some(Cut { bound: Bound(end), passes: 0 });
        }
    }
    for lane in &mut *lanes {
        // K3: seen before the bound is taken.
        lane.admit();
        lane.admit_unseen();
    }
    // K2: once per cut, never in an idle poll.
    let bound = clock.cut();
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A lane of which a look shows what ends before a key, and that shows something new in some passes after that.
    #[derive(Clone, Copy)]
    struct Showing {
        shows: Option<u64>,
        admitted: Option<u64>,
        unseen: bool,
        passes: u32,
    }

    impl Extend for Showing {
        fn look(&mut self) -> bool {
            self.shows.is_some()
        }

        fn has_unseen(&mut self) -> bool {
            self.unseen
        }

        fn admit(&mut self) {
            self.admitted = self.shows.take().or(self.admitted);
        }

        fn end_key(&mut self) -> Option<u64> {
            self.admitted
        }

        fn admit_unseen(&mut self) {
            self.unseen = false;
        }

        fn extend(&mut self, _: Bound) -> bool {
            let adds = self.passes > 0;
            self.passes -= u32::from(adds);
            adds
        }
    }

    const EMPTY: Showing = Showing { shows: None, admitted: None, unseen: false, passes: 0 };
    const SHOWS: Showing = Showing { shows: Some(9), ..EMPTY };

    fn showing_in(passes: u32) -> Showing {
        Showing { passes, ..EMPTY }
    }

    /// Adopts these lanes when it is first asked.
    fn adopting(mut lanes: Vec<Showing>) -> impl FnMut(&mut Vec<Showing>) -> bool {
        move |all| {
            let any = !lanes.is_empty();
            all.append(&mut lanes);
            any
        }
    }

    fn passes(mut lanes: Vec<Showing>, adopted: Vec<Showing>) -> u64 {
        let passes = until_stable(Bound::OPEN, &mut lanes, adopting(adopted));
        assert!(
            lanes.iter().all(|lane| lane.passes == 0),
            "every lane was looked at until it had nothing more to show"
        );
        passes
    }

    #[test]
    fn a_cut_ends_with_the_first_pass_in_which_no_lane_adds_anything() {
        assert_eq!(passes(vec![], vec![]), 1);
        assert_eq!(passes(vec![EMPTY, EMPTY], vec![]), 1);
        assert_eq!(passes(vec![showing_in(3), EMPTY], vec![]), 4, "whichever lane it is");
        assert_eq!(passes(vec![EMPTY, showing_in(3)], vec![]), 4, "whichever lane it is");
    }

    #[test]
    fn a_lane_that_was_opened_meanwhile_asks_for_another_pass() {
        assert_eq!(passes(vec![EMPTY], vec![EMPTY]), 2);
        assert_eq!(passes(vec![EMPTY], vec![showing_in(2)]), 3);
    }

    /// The bound and the passes of a cut, and how far it moved the clock.
    fn cut_of(mut lanes: Vec<Showing>, adopted: Vec<Showing>) -> (Option<(Bound, u64)>, u64) {
        let clock = Clock::new();
        let before = clock.read();
        let cut = cut(&clock, &mut lanes, adopting(adopted)).map(|cut| (cut.bound, cut.passes));
        let is_all_admitted = lanes.iter().all(|lane| lane.shows.is_none());
        assert!(is_all_admitted, "what a look showed is in the cut");
        assert!(lanes.iter().all(|lane| !lane.unseen), "and what is in the tables");
        (cut, clock.read() - before)
    }

    #[test]
    fn where_nothing_is_visible_there_is_no_cut_and_the_clock_is_left_alone() {
        assert_eq!(cut_of(vec![], vec![]), (None, 0));
        assert_eq!(cut_of(vec![EMPTY, EMPTY], vec![]), (None, 0));
    }

    #[test]
    fn only_a_lane_that_is_alone_and_has_shown_everything_leaves_the_clock_alone() {
        assert_eq!(cut_of(vec![SHOWS], vec![]), (Some((Bound(9), 0)), 0));
        let (bound, once) = (Bound(3), 1);
        assert_eq!(cut_of(vec![Showing { unseen: true, ..SHOWS }], vec![]), (Some((bound, 1)), once));
        assert_eq!(cut_of(vec![SHOWS, EMPTY], vec![]), (Some((bound, 1)), once));
        assert_eq!(cut_of(vec![EMPTY, SHOWS], vec![]), (Some((bound, 1)), once));
        assert_eq!(cut_of(vec![SHOWS], vec![EMPTY]), (Some((bound, 1)), once));
        assert_eq!(cut_of(vec![SHOWS, showing_in(2)], vec![]), (Some((bound, 3)), once));
    }
}

//! What has to be applied before somebody is answered: all that was pushed before he asked, and nothing that is pushed later.
//!
//! # Claim
//! When an asker is heard (a letter in the mailbox, a latch that is taken), each lane is looked at once more, and he is answered
//! when what those looks showed is applied. Then all is applied whose push happened before he asked, however much comes after.
//!
//! # Why
//! Hearing him comes after his asking (P13 for a reader, the lock of the mailbox for whoever asks of the past), which comes
//! after the push, in the sense of happens-before. So a look that begins after he was heard sees the push: in an unclocked lane's
//! ring or table (P1, P6 to P9), or in the cut, which is closed. A lane that was opened before he asked is adopted by then: its
//! letter came before.
//!
//! A lane, or the cut, is not looked at while something of its last look is left. What is left of it may have been seen too early; so
//! the first look that begins after he was heard is awaited, and then its end. Both come in a bounded number of turns: a look
//! shows no more than ring and table have room for, and each unclocked lane, and the cut, has its turn however many events the others
//! have (`apply_batch` in `turn.rs`).
//!
//! # What would break it
//! An answer at the end of what was left when he was heard; a wait until nothing at all is left, for two that are flooded in turns
//! may never be done both at once; an end that is noted while the batch with it waits for the journal.

use crate::event::Event;
use crate::main_lane::lanes::Lanes;
use crate::main_lane::reduce::Reducer;
use crate::main_lane::turn::MainLane;

/// Who is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// Those who asked something of the past.
    Past,
    /// A reader who asked for a snapshot.
    Reader,
}

/// What of a lane, or of the cut, an asker waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Nothing,
    /// A look that begins after he was heard.
    Look,
    /// That what this look showed is applied.
    End,
}

/// The same for all askers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Awaited([Stage; 2]);

impl Awaited {
    fn by(&mut self, asker: Asker) -> &mut Stage {
        &mut self.0[asker as usize]
    }

    fn begin(&mut self, asker: Asker) {
        *self.by(asker) = Stage::Look;
    }

    /// A look begins, if `is_free`.
    fn look(&mut self, asker: Asker, is_free: bool) {
        let stage = self.by(asker);
        if *stage == Stage::Look && is_free {
            *stage = Stage::End;
        }
    }

    /// Nothing is left of the last look, if `is_free`. True when nothing is awaited any more.
    fn end(&mut self, asker: Asker, is_free: bool) -> bool {
        let stage = self.by(asker);
        if *stage == Stage::End && is_free {
            *stage = Stage::Nothing;
        }
        *stage == Stage::Nothing
    }
}

impl<E: Event> Lanes<E> {
    /// Somebody was heard.
    pub(crate) fn begin_await(&mut self, asker: Asker) {
        self.cut_awaited.begin(asker);
        self.unclocked.iter_mut().for_each(|lane| lane.awaited.begin(asker));
    }

    /// Right before a look at the lanes. Clocked ones are looked at unless some of the cut is left.
    pub(crate) fn await_look(&mut self, asker: Asker, is_cut_open: bool) {
        self.cut_awaited.look(asker, !is_cut_open);
        for lane in &mut self.unclocked {
            let is_free = !lane.has_cut();
            lane.awaited.look(asker, is_free);
        }
    }

    /// With all that was taken applied. True when there is no more to wait for.
    pub(crate) fn await_end(&mut self, asker: Asker, is_cut_open: bool) -> bool {
        let mut is_time = self.cut_awaited.end(asker, !is_cut_open);
        for lane in &mut self.unclocked {
            let is_free = !lane.has_cut();
            is_time &= lane.awaited.end(asker, is_free);
        }
        is_time
    }
}

impl<S: Reducer> MainLane<S> {
    /// Before a look at the lanes: a reader that asks is answered when what is visible now is applied.
    #[inline(never)]
    pub(crate) fn await_request(&mut self) {
        if self.publishing.take_request() {
            // A lane that was opened since the last look may have what was pushed before the request (M1).
            self.adopt();
            self.lanes.begin_await(Asker::Reader);
        }
        // With a batch staged there is no look in this turn.
        if self.publishing.has_request() && !self.has_staged() {
            self.lanes.await_look(Asker::Reader, self.open_batch);
        }
    }

    /// After a batch: the request that was taken is due when what it waits for is applied, and not with the journal only.
    #[inline(never)]
    pub(crate) fn end_request(&mut self) {
        let is_applied = self.keeping.as_ref().is_none_or(|keeping| keeping.batch.is_empty());
        if is_applied && self.lanes.await_end(Asker::Reader, self.open_batch) {
            self.publishing.request_is_due();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_when_somebody_was_heard_is_not_what_he_waits_for() {
        let mut awaited = Awaited::default();
        awaited.begin(Asker::Reader);
        awaited.look(Asker::Reader, false);
        assert!(!awaited.end(Asker::Reader, true), "that was left");
        awaited.look(Asker::Reader, true);
        assert!(!awaited.end(Asker::Reader, false), "some of it is left");
        awaited.look(Asker::Reader, false);
        assert!(awaited.end(Asker::Reader, true));
        awaited.look(Asker::Reader, true);
        assert!(awaited.end(Asker::Reader, false), "what comes later does not matter");
    }

    #[test]
    fn one_asker_knows_nothing_of_the_other() {
        let mut awaited = Awaited::default();
        awaited.begin(Asker::Past);
        assert!(awaited.end(Asker::Reader, false));
        awaited.begin(Asker::Reader);
        awaited.look(Asker::Past, true);
        assert!(awaited.end(Asker::Past, true));
        assert!(!awaited.end(Asker::Reader, true));
    }
}

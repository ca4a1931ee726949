//! Whether a project wants to be driven, and whether it is.
//!
//! One word for each project says both. Whoever finds that it has to be queued queues it, and nobody else.
//!
//! ```text
//!             wake                begin                 rest(nothing)
//!   asleep ─────────▶ queued ─────────────▶ driven ───────────────────▶ asleep
//!                       ▲                     │ rest(more), or woken while driven
//!                       └─────────────────────┘
//! ```
//!
//! # Invariants
//! - **Y1 queued once**: a project is in the queue once when it is woken and not driven, and otherwise not at all. Who takes it
//!   from *asleep* to *woken* puts it in, that is one `wake` by the coherence of the word; who ends driving it, and finds it
//!   woken or wants more, puts it in; who takes it out begins to drive it in the same step.
//! - **Y2 one driver**: of all who would begin, one does: the word goes from *woken* to *driven* once for each time in the queue.
//!   The main lane itself is behind a lock, which is never waited for because of this.
//! - **Y3 no wake-up is lost**: a `wake` while it is driven makes `rest` queue it again, whatever the driver found. With W1
//!   (`wake.rs`): what comes after the last look rings, and what comes before it is seen by it.
//! - **Y4 one heir**: a project that has been given up while it was driven is put away by its driver, and otherwise by who gave it
//!   up. Both find out by a read-modify-write on the word, so one of them comes second and sees the other.
//!
//! # Pairs
//! | pair | release          | acquire        | hands over                                              |
//! |------|------------------|----------------|---------------------------------------------------------|
//! | P17  | `Ready::wake`    | `Ready::begin` | what was done before the project was woken, by whomever |
//! | P18  | `Ready::give_up` | `Ready::rest`  | what the heir is told of how to put it away             |
//!
//! All changes are read-modify-writes, so that the release of one who woke it reaches `begin` through all that come after it, also
//! of one who found it queued already. What a lane carries has pairs of its own; a pipeline that is asked to close has this one.
//!
//! Model: `loom-tests/src/ready.rs`.

use crate::sync::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

/// Somebody wants it to be driven.
const WOKEN: u64 = 1;
/// Somebody drives it.
const DRIVEN: u64 = 2;
/// It is not driven any more from here on.
const OVER: u64 = 4;
/// Whoever drives it puts it away.
const GIVEN_UP: u64 = 8;

/// One project's word.
#[derive(Default)]
pub(crate) struct Ready(AtomicU64);

/// What becomes of a project that was driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Nothing, until it is woken.
    Asleep,
    /// The caller queues it.
    Queue,
    /// It is not driven any more.
    Over {
        /// The caller puts it away.
        heir: bool,
    },
}

/// What a project is doing, for those who only look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    Asleep,
    Queued,
    Driven,
    Over,
}

impl Ready {
    /// Wants it to be driven. True if the caller has to queue it.
    #[must_use]
    pub(crate) fn wake(&self) -> bool {
        // P17: hands what was done before it to `begin`. Y1: of all who wake it, one finds it asleep.
        self.0.fetch_or(WOKEN, Release) == 0
    }

    /// By whoever took it out of the queue. True if the caller drives it from here on, false if it is over.
    #[must_use]
    pub(crate) fn begin(&self) -> bool {
        // P17: sees what was done before each `wake` up to here. Y2: in one step.
        self.0.compare_exchange(WOKEN, DRIVEN, Acquire, Relaxed).is_ok()
    }

    /// Between two turns, by the driver: false when it is over.
    pub(crate) fn goes_on(&self) -> bool {
        self.0.load(Relaxed) & OVER == 0
    }

    /// The driver lets go of it.
    #[must_use]
    pub(crate) fn rest(&self, more: bool) -> Rest {
        if !more && self.0.compare_exchange(DRIVEN, 0, Relaxed, Relaxed).is_ok() {
            return Rest::Asleep;
        }
        // Y3: more, or woken meanwhile. Two tries, for it can be woken in between, and no more than that.
        for was in [DRIVEN, DRIVEN | WOKEN] {
            if self.0.compare_exchange(was, WOKEN, Relaxed, Relaxed).is_ok() {
                return Rest::Queue;
            }
        }
        // Y4. P18: sees what was done before `give_up`.
        let was = self.0.fetch_and(!DRIVEN, Acquire);
        Rest::Over { heir: was & GIVEN_UP != 0 }
    }

    /// It is not driven any more: who drives it now stops after its turn.
    pub(crate) fn end(&self) {
        self.0.fetch_or(OVER, Relaxed);
    }

    /// It is over, and nobody waits for its driver any more. True if there is one, which puts it away.
    #[must_use]
    pub(crate) fn give_up(&self) -> bool {
        // Y4. P18: hands what was done before it to the heir's `rest`.
        self.0.fetch_or(OVER | GIVEN_UP, Release) & DRIVEN != 0
    }

    /// True while its driver still has to put it away.
    pub(crate) fn has_heir(&self) -> bool {
        self.0.load(Relaxed) & (DRIVEN | GIVEN_UP) == DRIVEN | GIVEN_UP
    }

    pub(crate) fn look(&self) -> Doing {
        match self.0.load(Relaxed) {
            word if word & DRIVEN != 0 => Doing::Driven,
            word if word & OVER != 0 => Doing::Over,
            0 => Doing::Asleep,
            _ => Doing::Queued,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_queued_by_the_first_who_wakes_it_and_by_a_driver_that_wants_more() {
        let ready = Ready::default();
        assert_eq!([ready.wake(), ready.wake()], [true, false]);
        assert_eq!(ready.look(), Doing::Queued);
        assert!(ready.begin());
        assert_eq!(ready.look(), Doing::Driven);
        assert_eq!(ready.rest(true), Rest::Queue);
        assert!(!ready.wake(), "it is queued");
        assert!(ready.begin());
        assert_eq!(ready.rest(false), Rest::Asleep);
        assert_eq!(ready.look(), Doing::Asleep);
    }

    #[test]
    fn who_is_woken_while_it_is_driven_is_driven_again() {
        for more in [false, true] {
            let ready = Ready::default();
            assert!(ready.wake() && ready.begin());
            assert!(!ready.wake(), "its driver queues it");
            assert_eq!(ready.rest(more), Rest::Queue);
            assert!(ready.begin());
            assert_eq!(ready.rest(false), Rest::Asleep);
        }
    }

    #[test]
    fn what_is_over_is_not_driven_nor_queued_again() {
        for woken in [false, true] {
            let ready = Ready::default();
            if woken {
                assert!(ready.wake());
            }
            ready.end();
            assert!(!ready.wake());
            assert!(!ready.begin());
            assert_eq!(ready.look(), Doing::Over);
            assert!(!ready.give_up(), "nobody drives it");
        }
    }

    #[test]
    fn a_driver_is_told_that_it_is_over_and_whether_it_is_the_heir() {
        for (woken, more) in [(false, false), (false, true), (true, false), (true, true)] {
            let ready = Ready::default();
            assert!(ready.wake() && ready.begin() && ready.goes_on());
            if woken {
                assert!(!ready.wake());
            }
            ready.end();
            assert!(!ready.goes_on());
            assert_eq!(ready.look(), Doing::Driven);
            assert_eq!(ready.rest(more), Rest::Over { heir: false });
            assert!(!ready.give_up());

            let ready = Ready::default();
            assert!(ready.wake() && ready.begin());
            assert!(!ready.has_heir());
            assert!(ready.give_up() && ready.has_heir(), "its driver is the heir");
            assert_eq!(ready.rest(more), Rest::Over { heir: true });
            assert!(!ready.has_heir());
        }
    }
}

//! The flag that one thread sets and another finds: `latch.rs`, with what its callers rely on.
//!
//! Modelled: a main lane that publishes its last snapshot and ends, and a reader that finds it ended; a producer that
//! pushes and asks for a snapshot, and a main lane that takes the request before its cut, or while it has one and answers with the
//! next; a producer whose lane is opened, pushed to and asked for in one go.
//!
//! Bounds: two threads beside the main lane, explored in full. A second.
//!
//! Must make it fail: weakening either end of P13; setting by a store, which forgets who set it before; a main lane that takes the request after its cut, or looks for new lanes before it and not again: control
//! arms.

use crate::clock::{Clock, Stamp};
use crate::cut::{Cutting, adopt, cut, lane};
// Under the name by which the engine's files know it.
pub(crate) use crate::latch_file::Latch;
use crate::mailbox::Mailbox;
use crate::snapshot_files::Version;
use crate::snapshot_files::publisher::{Publisher, Shelf};
use crate::sync::Arc;
use loom::thread;

/// A reader that finds the pipeline ended finds its last snapshot.
pub fn ended_after_the_last_publication() {
    let shelf = Arc::new(Shelf::new(0, 0));
    let ended = Arc::new(Latch::default());
    let (publishing, ending) = (shelf.clone(), ended.clone());
    let main_lane = thread::spawn(move || {
        let mut publisher = Publisher::new(publishing);
        publisher.publish(&1, Stamp::UNCLOCKED, 1);
        ending.set();
    });
    if ended.is_set() {
        assert_eq!(shelf.version(), Version(1), "ended, and the last snapshot is still to come");
        assert_eq!(shelf.load().state, 1);
    }
    main_lane.join().unwrap();
}

/// When the main lane takes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taking {
    /// As the engine does.
    BeforeTheCut,
    /// As the engine does where some of a cut is left: that is no answer, the next one is.
    BetweenTwoCuts,
    /// What was pushed in between is not in the answer, and the request is gone.
    AfterTheCut,
}

/// Two ask at once: what either pushed before is in the answer, if its request is gone.
pub fn two_requests() {
    let clock = Arc::new(Clock::new());
    let wanted = Arc::new(Latch::default());
    let (mut lanes, mut threads) = (Vec::new(), Vec::new());
    for item in 1..=2 {
        let (mut start, end) = lane(&clock);
        lanes.push(end);
        let wanted = wanted.clone();
        threads.push(thread::spawn(move || {
            start.critical(item);
            wanted.set();
        }));
    }
    let answered = wanted.take();
    cut(&clock, &mut lanes, None, Cutting::UntilStable);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    if answered && !wanted.take() {
        assert!(
            lanes.iter().all(|lane| !lane.found.is_empty()),
            "a request is gone, and its push is not in the answer"
        );
    }
}

/// A request is answered with what was pushed before it, also by another thread than asks; and it is not lost.
pub fn a_request_is_answered(by_another: bool, taking: Taking) {
    const PUSHED: u32 = 7;
    let clock = Arc::new(Clock::new());
    let (wanted, pushed) = (Arc::new(Latch::default()), Arc::new(Latch::default()));
    let (mut start, end) = lane(&clock);
    let told = if by_another { pushed.clone() } else { wanted.clone() };
    let pushing = thread::spawn(move || {
        start.critical(PUSHED);
        told.set();
    });
    let asking = by_another.then(|| {
        let asking = wanted.clone();
        thread::spawn(move || {
            let heard = pushed.is_set();
            if heard {
                asking.set();
            }
            heard
        })
    });
    let mut lanes = vec![end];
    let mut is_early = false;
    if taking == Taking::BetweenTwoCuts {
        cut(&clock, &mut lanes, None, Cutting::UntilStable);
        is_early = lanes[0].found.pop().is_some();
    }
    let before = taking != Taking::AfterTheCut && wanted.take();
    cut(&clock, &mut lanes, None, Cutting::UntilStable);
    let answered = before || taking == Taking::AfterTheCut && wanted.take();
    assert!(!answered || is_early || !lanes[0].found.is_empty(), "the answer lacks what was pushed before the request");
    pushing.join().unwrap();
    let asked = asking.is_none_or(|asking| asking.join().unwrap());
    assert_eq!(answered || wanted.take(), asked, "each request is answered, or waits for the next cut");
}

/// When the main lane looks for lanes that were opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adopting {
    /// As the engine does.
    AfterTheRequest,
    /// Where nothing is visible on the others, the cut does not look again.
    BeforeTheRequest,
}

/// A request is answered with what was pushed before it also on a lane that the main lane has not heard of.
pub fn a_lane_is_opened_before_a_request(adopting: Adopting) {
    let clock = Arc::new(Clock::new());
    let (mailbox, wanted) = (Arc::new(Mailbox::new()), Arc::new(Latch::default()));
    let (posting, asking, its_clock) = (mailbox.clone(), wanted.clone(), clock.clone());
    let pushing = thread::spawn(move || {
        let (mut new, new_end) = lane(&its_clock);
        assert!(posting.post(new_end).is_ok());
        new.critical(7);
        asking.set();
    });
    let mut lanes = vec![lane(&clock).1];
    let mut letters = 0;
    if adopting == Adopting::BeforeTheRequest {
        adopt(&mut lanes, &mailbox, &mut letters);
    }
    let answered = wanted.take();
    if adopting == Adopting::AfterTheRequest {
        adopt(&mut lanes, &mailbox, &mut letters);
    }
    cut(&clock, &mut lanes, None, Cutting::UntilStable);
    let found = lanes.iter().any(|lane| !lane.found.is_empty());
    assert!(!answered || found, "the answer lacks what was pushed before the request");
    pushing.join().unwrap();
}

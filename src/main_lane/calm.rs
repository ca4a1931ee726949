//! A turn that finds what the last one left: nothing.
//!
//! Who polls has most of his turns find nothing, and an event that comes waits for the end of the one that was begun before it. So what the
//! last turn has made sure of is not looked at again, nor is the clock: only what others may have changed since. If anything was, the turn is
//! one like all others. Each of the looks is a hint; whoever finds something looks again, in the order that he needs.

use crate::event::Event;
use crate::main_lane::lane_end::LaneEnd;
use crate::main_lane::lanes::Lanes;
use crate::main_lane::reduce::Reducer;
use crate::main_lane::turn::MainLane;
use crate::main_lane::warm::EVERY;

impl<S: Reducer> MainLane<S> {
    /// After a turn that found nothing, and has come to its end: whether the next one has nothing to go on with, but what others may bring.
    #[inline]
    pub(super) fn is_calm(&self) -> bool {
        // Who keeps the past is asked about it, and waits for a journal.
        self.keeping.is_none() && self.publishing.is_calm()
    }

    /// Takes a turn that finds nothing, if this is one. False when it must be taken in full: also where it is time to look at counts, or to
    /// keep warm.
    #[inline]
    pub(super) fn stays_calm(&mut self) -> bool {
        let Self { hub, letters, lanes: Lanes { unclocked, clocked, .. }, publishing, .. } = self;
        let (idle, until_report) = (self.idle.wrapping_add(1), self.until_report.saturating_sub(1));
        // Who has ended is closing.
        let is_calm = !hub.core.is_closing()
            && hub.mailbox.posted() == *letters
            && !publishing.is_wanted_now()
            && until_report > 0
            && !idle.is_multiple_of(EVERY)
            && !has_come(unclocked)
            && !has_come(clocked);
        if is_calm {
            hub.core.drive_here();
            (self.idle, self.until_report) = (idle, until_report);
        }
        is_calm
    }
}

/// True when one of these lanes shows something, or was left.
#[inline]
fn has_come<E: Event>(lanes: &[LaneEnd<E>]) -> bool {
    lanes.iter().any(|lane| lane.has_visible() || lane.shared.gate.is_left())
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::main_lane::turn::REPORT_EVERY;
    use crate::{
        Budget, Builder, Class, Diagnostic, Effects, Envelope, Handle, Left, Pipeline, Publish, Tier, Timeline,
    };

    #[derive(Clone, Copy)]
    enum Tick {
        Critical,
        Keyed(u64),
    }

    impl Event for Tick {
        type Key = u64;
        type Facets = ();

        fn class(&self) -> Class<u64> {
            match *self {
                Tick::Critical => Class::Critical,
                Tick::Keyed(key) => Class::lossy(key, Tier::NORMAL),
            }
        }
    }

    #[derive(Clone)]
    struct Count(u64);

    impl Reducer for Count {
        type Event = Tick;
        type Effect = ();

        fn apply(&mut self, _: &Envelope<'_, Tick>, _: &mut Effects<()>) {
            self.0 += 1;
        }
    }

    fn turn(main_lane: &mut MainLane<Count>) -> (usize, Left) {
        let turn = main_lane.turn(Budget::UNLIMITED).unwrap();
        (turn.events, turn.left)
    }

    /// A main lane that has found nothing, and would again.
    fn calm(builder: Builder<Count>) -> (MainLane<Count>, Handle<Count>) {
        let (mut main_lane, handle) = builder.build().unwrap();
        turn(&mut main_lane);
        assert!(main_lane.calm && main_lane.stays_calm());
        (main_lane, handle)
    }

    #[test]
    fn what_is_pushed_ends_the_calm_and_is_applied_in_the_next_turn() {
        let builder = Pipeline::builder(Count(0));
        let lanes = [builder.lane("clocked"), builder.lane("unclocked").unclocked()];
        let mut lanes = lanes.map(|lane| lane.open().unwrap());
        let (mut main_lane, _handle) = calm(builder);
        for event in [Tick::Critical, Tick::Keyed(7)] {
            for lane in &mut lanes {
                lane.push(event).unwrap();
                assert!(main_lane.calm && !main_lane.stays_calm());
                assert_eq!(turn(&mut main_lane), (1, Left::Nothing));
                assert!(!main_lane.calm, "after a turn that found something more may be there");
                assert_eq!(turn(&mut main_lane), (0, Left::Nothing));
                assert!(main_lane.calm && main_lane.stays_calm());
            }
        }
    }

    #[test]
    fn so_do_lanes_that_are_opened_and_left() {
        let (mut main_lane, handle) = calm(Pipeline::builder(Count(0)));
        for lane in [handle.lane("clocked"), handle.lane("unclocked").unclocked()] {
            let lane = lane.open().unwrap();
            assert!(!main_lane.stays_calm());
            turn(&mut main_lane);
            assert!(main_lane.calm && main_lane.stays_calm());
            drop(lane);
            assert!(!main_lane.stays_calm());
            turn(&mut main_lane);
            assert!(main_lane.calm && main_lane.stays_calm());
            assert!(handle.diagnostics().drain().any(|found| matches!(found, Diagnostic::LaneClosed { .. })));
        }
    }

    #[test]
    fn so_does_whoever_asks_or_closes() {
        let builder = Pipeline::builder(Count(0)).publish(Publish::OnRequest);
        let mut lane = builder.lane("a").open().unwrap();
        let (mut main_lane, handle) = calm(builder);
        lane.push(Tick::Critical).unwrap();
        assert_eq!(turn(&mut main_lane).0, 1);
        turn(&mut main_lane);
        assert!(main_lane.calm && main_lane.stays_calm(), "what is not published is not asked for");
        handle.reader().request();
        assert!(!main_lane.stays_calm());
        assert!(main_lane.turn(Budget::UNLIMITED).unwrap().published.is_some());
        turn(&mut main_lane);
        assert!(main_lane.calm && main_lane.stays_calm());
        drop(lane);
        turn(&mut main_lane);
        handle.close();
        assert!(!main_lane.stays_calm());
        assert_eq!(turn(&mut main_lane), (0, Left::Ended));
        assert!(!main_lane.stays_calm(), "what has ended is not calm");
    }

    #[test]
    fn a_turn_that_leaves_something_is_not_followed_by_calm() {
        let builder = Pipeline::builder(Count(0)).publish(Publish::AtMostEvery(Duration::from_secs(3600)));
        let mut lane = builder.lane("a").open().unwrap();
        let (mut main_lane, _handle) = calm(builder);
        for published in [true, false] {
            lane.push(Tick::Critical).unwrap();
            assert_eq!(main_lane.turn(Budget::events(0)).unwrap().left, Left::More);
            assert!(!main_lane.calm, "an event is left");
            assert_eq!(main_lane.turn(Budget::UNLIMITED).unwrap().published.is_some(), published);
        }
        assert!(matches!(turn(&mut main_lane), (0, Left::PublishAt(_))));
        assert!(!main_lane.calm, "a publication is left");
        let (mut main_lane, _handle) = Pipeline::builder(Count(0)).timeline(Timeline::window(10)).build().unwrap();
        assert_eq!(turn(&mut main_lane), (0, Left::Nothing));
        assert!(!main_lane.calm, "who keeps the past is asked about it");
    }

    #[test]
    fn counts_are_looked_at_and_code_is_kept_warm_as_often_as_without() {
        let builder = Pipeline::builder(Count(0));
        let mut lane = builder.lane("a").enrich(|_, _| panic!("on purpose")).open().unwrap();
        let (mut main_lane, handle) = calm(builder);
        // Nothing of this is to be seen on the lane.
        let _ = lane.push(Tick::Critical);
        let found = |handle: &Handle<Count>| {
            handle.diagnostics().drain().any(|found| matches!(found, Diagnostic::EnricherPanicked { count: 1, .. }))
        };
        let turns = (1..=2 * REPORT_EVERY).find(|_| {
            turn(&mut main_lane);
            found(&handle)
        });
        assert!(turns.is_some_and(|turns| turns <= REPORT_EVERY), "in turn {turns:?}");
        let idle = main_lane.idle;
        (0..3 * EVERY).for_each(|_| assert_eq!(turn(&mut main_lane), (0, Left::Nothing)));
        assert_eq!(main_lane.idle, idle + 3 * EVERY, "each is counted once");
        (main_lane.idle, main_lane.until_report) = (EVERY - 2, 10);
        assert!(main_lane.stays_calm());
        assert!(!main_lane.stays_calm(), "this one keeps warm");
    }

    #[test]
    fn who_takes_calm_turns_drives_the_main_lane() {
        let (mut main_lane, _handle) = calm(Pipeline::builder(Count(0)));
        assert!(main_lane.core().is_driven_here());
        thread::scope(|scope| {
            let elsewhere = scope.spawn(|| {
                assert!(main_lane.stays_calm());
                main_lane.core().is_driven_here()
            });
            assert!(elsewhere.join().unwrap());
        });
        assert!(!main_lane.core().is_driven_here());
    }
}

//! A main lane that finds nothing goes through what it does with events all the same, now and then.
//!
//! Who polls and finds nothing runs the same few lines of code over and over. Meanwhile those that apply an event, and what they look at, leave
//! the caches: within milliseconds where others have a share in the core. Then the first event after a pause waits for each of these lines in turn,
//! which takes ten times as long as to apply it. So one in five hundred turns that find nothing goes the way of one that does, with no event: as far as
//! that goes without the host's code, which may not be run for nothing.

use crate::main_lane::reduce::Reducer;
use crate::main_lane::turn::MainLane;
use crate::sync::prefetch;

/// How many turns find nothing for one that goes all the way: some tens of microseconds of polling.
pub(super) const EVERY: u32 = 512;

/// So much of the host's state is asked for: what is larger has most of it elsewhere.
const STATE_BYTES: usize = 512;

impl<S: Reducer> MainLane<S> {
    /// Whether this turn, which has found nothing, goes on as if it had.
    #[inline]
    pub(super) fn is_to_keep_warm(&mut self) -> bool {
        self.idle = self.idle.wrapping_add(1);
        self.idle.is_multiple_of(EVERY) && self.keep_warm()
    }

    /// What is on the way of events alone. Not for those that are kept, whose way begins a batch.
    #[cold]
    fn keep_warm(&mut self) -> bool {
        if self.keeping.is_some() {
            return false;
        }
        let Self { lanes, applying, hub, .. } = self;
        prefetch::to_write((&raw const applying.state).addr(), size_of::<S>().min(STATE_BYTES));
        applying.flight.keep_warm();
        let mut apply = applying.with(&hub.core);
        lanes.unclocked.iter_mut().chain(&mut lanes.clocked).for_each(|lane| lane.keep_warm(&mut apply));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::EVERY;
    use crate::{Budget, Class, Effects, Envelope, Event, Pipeline, Publish, Reducer};

    struct Tick(u64);

    impl Event for Tick {
        type Key = u64;
        type Facets = ();

        fn class(&self) -> Class<u64> {
            Class::Critical
        }
    }

    /// Whose code is the host's: run for events, and for nothing else.
    #[derive(Clone)]
    struct Seen(Vec<u64>);

    impl Reducer for Seen {
        type Event = Tick;
        type Effect = ();

        fn apply(&mut self, envelope: &Envelope<'_, Tick>, _: &mut Effects<()>) {
            self.0.push(envelope.event.0);
        }
    }

    #[test]
    fn one_turn_in_so_many_that_find_nothing_goes_on() {
        let (mut main_lane, _handle) = Pipeline::builder(Seen(Vec::new())).build().unwrap();
        let went_on = (0..4 * EVERY).filter(|_| main_lane.is_to_keep_warm()).count();
        assert_eq!(went_on, 4);
    }

    #[test]
    fn nothing_is_changed_by_going_on_with_nothing() {
        let builder = Pipeline::builder(Seen(Vec::new())).publish(Publish::EveryTurn);
        let mut lanes =
            [builder.lane("clocked"), builder.lane("unclocked").unclocked()].map(|lane| lane.open().unwrap());
        let (mut main_lane, handle) = builder.build().unwrap();
        let mut pushed = Vec::new();
        for n in 0..3 {
            lanes.iter_mut().for_each(|lane| lane.push(Tick(n)).unwrap());
            pushed.extend([n, n]);
            main_lane.turn(Budget::UNLIMITED).unwrap();
            let flight = main_lane.applying.flight.next();
            let before = (handle.reader().load().version(), format!("{:?}", handle.counters()), main_lane.turns);
            for _ in 0..2 * EVERY {
                let turn = main_lane.turn(Budget::UNLIMITED).unwrap();
                assert_eq!((turn.events, turn.published, turn.number), (0, None, n + 1));
            }
            assert_eq!((handle.reader().load().version(), format!("{:?}", handle.counters()), main_lane.turns), before);
            assert_eq!(main_lane.applying.flight.next(), flight, "no event is noted");
            assert_eq!(main_lane.state().0, pushed);
        }
    }
}

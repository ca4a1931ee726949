//! Closing a pipeline: nothing accepted is lost, nothing started is left behind, and what happened is said.

use std::time::{Duration, Instant};

use crate::core::{DROP_DEADLINE, contain};
use crate::main_lane::budget::Budget;
use crate::main_lane::outcome::{Left, Phase, Poison, TurnError};
use crate::main_lane::reduce::Reducer;
use crate::main_lane::report::{JournalEnd, ShutdownReport};
use crate::main_lane::turn::MainLane;
use crate::observe::counters::Counters;

/// How often a shutdown looks around without being woken.
const LOOK_EVERY: Duration = Duration::from_millis(5);

impl<S: Reducer> MainLane<S> {
    /// Closes the lanes, applies everything accepted, runs the effects, publishes, and joins every ingestion thread.
    ///
    /// What is not done by the deadline is given up, and reported. Calling it again returns the same report; dropping
    /// the main lane does the same with a deadline of five seconds.
    pub fn shutdown(&mut self, deadline: Duration) -> ShutdownReport {
        // A deadline past the end of the clock is as good as a year.
        let now = Instant::now();
        self.shutdown_by(now.checked_add(deadline).unwrap_or(now + Duration::from_secs(31_536_000)))
    }

    /// The event on which the reducer panicked, if it did and nobody has taken it: [`turn`](MainLane::turn) hands it out
    /// in its error, a shutdown keeps it here.
    pub fn take_poison(&mut self) -> Option<Poison<S::Event>> {
        self.poison.take()
    }

    pub(crate) fn shutdown_by(&mut self, deadline: Instant) -> ShutdownReport {
        if let Some(report) = &self.report {
            return report.clone();
        }
        self.core().close();
        // Small turns: the deadline is looked at between them.
        let budget = Budget::millis(1);
        loop {
            match self.turn(budget) {
                Ok(turn) if turn.left == Left::Ended => break,
                Ok(turn) => {
                    if turn.events == 0 && turn.left != Left::More {
                        // Whoever finishes rings. The look now and then is for threads of the host's that do not.
                        self.wait_for_input(deadline.min(Instant::now() + LOOK_EVERY));
                    }
                }
                Err(TurnError::Stopped) => break,
                Err(error) => self.poison = error.into_poison().or(self.poison.take()),
            }
            if Instant::now() >= deadline {
                self.give_up();
                break;
            }
        }
        let (journal, writing) = self.close_journal(deadline).unzip();
        let effects_left = self.give_up_effects();
        let (joined, mut stragglers) = self.core().join_threads(deadline);
        stragglers.extend(writing.into_iter().flatten());
        let (is_quiet, counters) = self.count_at_last(deadline);
        let complete = self.phase == Phase::Ended
            && is_quiet
            && effects_left == 0
            // What was durable too late for the last publication is seen by the next run alone.
            && !self.publishing.is_unpublished()
            && self.publishing.held().is_none()
            && stragglers.is_empty()
            && journal.as_ref().is_none_or(JournalEnd::is_complete)
            && counters.events.in_flight == 0;
        let (fault, flight) = (self.fault.clone(), self.hub.last_flight.get().cloned().unwrap_or_default());
        let report = ShutdownReport { complete, joined, stragglers, fault, flight, journal, counters };
        self.report = Some(report.clone());
        report
    }

    /// Whether no push is under way any more, and the counts behind that: one that was under way may have been accepted after the last look.
    ///
    /// Where a main lane has come to its end everything that was accepted is applied. So what is in flight then is counted for the moment in
    /// which it finds that it comes too late, which may begin after the look whether all is quiet.
    fn count_at_last(&self, deadline: Instant) -> (bool, Counters) {
        loop {
            let is_quiet = self.await_quiet(deadline);
            let counters = self.core().read_counters();
            let is_settled = self.phase != Phase::Ended || counters.events.in_flight == 0;
            if is_settled || !is_quiet || Instant::now() >= deadline {
                return (is_quiet, counters);
            }
            std::thread::yield_now();
        }
    }

    /// Waits until no push is under way; for a moment only, if the main lane did not come to its end. True if none is.
    ///
    /// When a main lane has come to its end, what it waits for here is pushes that are about to be refused: one for each lane at most.
    fn await_quiet(&self, deadline: Instant) -> bool {
        let now = Instant::now();
        let until = (now + LOOK_EVERY).max(if self.phase == Phase::Ended { deadline } else { now });
        while !self.is_quiet() {
            if Instant::now() >= until {
                return false;
            }
            // W1: armed before the last look. Whoever ends a push rings; who is woken may be another, on a crew.
            self.core().bell.arm();
            if !self.is_quiet() {
                self.parker.park_deadline(until.min(Instant::now() + LOOK_EVERY));
            }
            self.core().bell.disarm();
        }
        true
    }

    /// Waits until everything is durable, and ends the journal's threads.
    fn close_journal(&mut self, deadline: Instant) -> Option<(JournalEnd, Vec<String>)> {
        let keeping = self.keeping.as_mut()?;
        let mut scribe = keeping.scribe.take()?;
        if self.phase == Phase::Ended && !keeping.failed && keeping.staged.is_none() {
            // So that the next start has nothing to apply again. One at a time is made.
            scribe.await_checkpoint(deadline);
            let oldest = keeping.history.as_ref().map_or(self.turns, |history| history.base_turn());
            let (state, operations) = (&self.applying.state, &self.applying.operations);
            // The state's copy is the host's code.
            if contain(|| scribe.checkpoint(self.turns, state, operations, oldest)).is_ok() {
                scribe.submit();
            }
        }
        Some(scribe.close(self.turns, deadline))
    }

    /// The deadline has passed: nothing more is accepted, and one last look applies what is there.
    fn give_up(&mut self) {
        self.shut_gates(|_| true);
        match self.turn(Budget::millis(1)) {
            Ok(turn) if turn.left == Left::Ended => {}
            Ok(_) => {
                self.phase = Phase::Ended;
                self.finish();
            }
            Err(error) => self.poison = error.into_poison().or(self.poison.take()),
        }
    }
}

impl<S: Reducer> Drop for MainLane<S> {
    fn drop(&mut self) {
        if self.report.is_none() {
            self.shutdown(DROP_DEADLINE);
        }
        if let Some(keeping) = self.keeping.take() {
            keeping.let_go_of_all();
        }
        self.publishing.let_go();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Class, Envelope, Event};
    use crate::lane::Lane;
    use crate::main_lane::reduce::Effects;
    use crate::pipeline::Pipeline;
    use crate::sync::{Arc, AtomicBool, Ordering::Relaxed};

    struct Word;

    impl Event for Word {
        type Key = ();
        type Facets = ();

        fn class(&self) -> Class<()> {
            Class::Critical
        }
    }

    #[derive(Clone, Default)]
    struct Text;

    impl Reducer for Text {
        type Event = Word;
        type Effect = ();

        fn apply(&mut self, _: &Envelope<'_, Word>, _: &mut Effects<()>) {}
    }

    /// A main lane that has come to its end, and a lane that has just announced a push.
    fn ended_with_a_push_under_way() -> (MainLane<Text>, Lane<Word>) {
        let builder = Pipeline::builder(Text);
        let lane = builder.lane("a").open().unwrap();
        let (mut main_lane, _) = builder.build().unwrap();
        main_lane.core().close();
        while main_lane.turn(Budget::UNLIMITED).unwrap().left != Left::Ended {}
        lane.counts().critical.set(1);
        (main_lane, lane)
    }

    #[test]
    fn a_push_that_is_refused_at_the_end_is_not_in_the_report() {
        let (mut main_lane, lane) = ended_with_a_push_under_way();
        let (core, over) = (main_lane.hub.core.clone(), Arc::new(AtomicBool::new(false)));
        let pushing = std::thread::spawn({
            let over = over.clone();
            move || {
                while !core.bell.is_armed() && !over.load(Relaxed) {
                    std::thread::yield_now();
                }
                lane.counts().critical.set(0);
                core.bell.ring();
            }
        });
        let report = main_lane.shutdown(Duration::from_secs(60));
        over.store(true, Relaxed);
        pushing.join().unwrap();
        assert!(report.complete, "{report:?}");
        assert_eq!((report.counters.events.pushed, report.counters.events.in_flight), (0, 0));
    }

    #[test]
    fn pushes_that_are_refused_again_and_again_are_not_in_the_report_either() {
        for round in 0..50 {
            let (mut main_lane, lane) = ended_with_a_push_under_way();
            let over = Arc::new(AtomicBool::new(false));
            let pushing = std::thread::spawn({
                let (core, over) = (main_lane.hub.core.clone(), over.clone());
                move || {
                    while !over.load(Relaxed) {
                        lane.counts().critical.set(1);
                        lane.counts().critical.set(0);
                        core.bell.ring();
                    }
                }
            });
            let report = main_lane.shutdown(Duration::from_secs(60));
            over.store(true, Relaxed);
            pushing.join().unwrap();
            assert!(report.complete && report.counters.events.pushed == 0, "{round}: {report:?}");
        }
    }

    #[test]
    fn a_push_that_does_not_end_is_not_waited_for_beyond_the_deadline() {
        let (mut main_lane, _lane) = ended_with_a_push_under_way();
        let report = main_lane.shutdown(Duration::ZERO);
        assert!(!report.complete, "{report:?}");
        assert_eq!(report.counters.events.in_flight, 1);
    }
}

//! How a main lane comes to its end: closing when it is asked to, stopping where nothing can go on.

use crate::core::{IngestThread, contain, drop_each};
use crate::hub::Letter;
use crate::main_lane::apply::Misrouted;
use crate::main_lane::budget::{Budget, Pace};
use crate::main_lane::entry::kind;
use crate::main_lane::flight::FlightEntry;
use crate::main_lane::lane_end::LaneEnd;
use crate::main_lane::lanes::Lanes;
use crate::main_lane::outcome::{Phase, Poison, TurnError};
use crate::main_lane::reduce::Reducer;
use crate::main_lane::report::Fault;
use crate::main_lane::turn::MainLane;
use crate::observe::diagnostic::Diagnostic;

impl<S: Reducer> MainLane<S> {
    /// The reducer panicked on the event at the head of the current lane.
    #[cold]
    pub(crate) fn stop(&mut self, message: String) -> TurnError<S::Event> {
        let by_reducer = self.applying.forget_event();
        let lane = self.lanes.at(self.current);
        if by_reducer {
            // While they are in their slots. A panic in `Event::kind` only costs the entry.
            let _ = contain(|| lane.note_unfinished(&mut self.applying.flight));
        }
        // The effects of the events before it; there will be no other turn to run them in.
        self.reconcile(&Pace::new(Budget::UNLIMITED));
        if !by_reducer {
            return self.stop_with(Fault::EventDrop { message: message.clone() }, TurnError::DropPanicked { message });
        }
        let lane = self.lanes.at(self.current);
        // Drops the events before it, which is the host's code too.
        if let Err(message) = contain(|| lane.settle()) {
            return self.stop_with(Fault::EventDrop { message: message.clone() }, TurnError::DropPanicked { message });
        }
        let removed = lane.remove_head();
        lane.count();
        let lane_name = lane.name.clone();
        let Some(entry) = removed else { unreachable!("the event being applied is at the head of its lane") };
        let _ = contain(|| self.applying.flight.note_panicked(&entry.envelope()));
        self.stop_on(Poison::new(entry, lane_name, self.turns + 1, message))
    }

    /// The reducer panicked on this event, or it reached the wrong authority: nobody will apply it.
    #[cold]
    pub(crate) fn stop_on(&mut self, poison: Poison<S::Event>) -> TurnError<S::Event> {
        let Poison { lane, lane_name, message, event, .. } = &poison;
        let (lane, lane_name, kind, message) = (*lane, lane_name.clone(), kind(event), message.clone());
        let (fault, error) = match self.applying.misrouted.take() {
            Some(Misrouted { reached, belongs_to }) => {
                let fault = Fault::Misrouted { lane, lane_name, kind, reached, belongs_to };
                (fault, TurnError::Misrouted(Box::new(poison)))
            }
            None => (Fault::Reducer { lane, lane_name, kind, message }, TurnError::ReducerPanicked(Box::new(poison))),
        };
        self.stop_with(fault, error)
    }

    /// The host's code panicked where nothing can go on: nothing more is accepted, and whoever waits is told.
    #[cold]
    pub(crate) fn stop_with(&mut self, fault: Fault, error: TurnError<S::Event>) -> TurnError<S::Event> {
        // Before anyone finds that it has stopped.
        let _ = self.hub.last_flight.set(self.flight().into());
        self.shut_gates(|_| true);
        self.phase = Phase::Stopped;
        self.finish();
        self.core().report(Diagnostic::Stopped(fault.clone()));
        self.fault = Some(fault);
        error
    }

    /// What the flight recorder has: the last events that were taken, oldest first. After a fault the last one is that on
    /// which the reducer panicked.
    pub fn flight(&self) -> Vec<FlightEntry> {
        let Lanes { unclocked, clocked, .. } = &self.lanes;
        self.applying.flight.read(unclocked.iter().chain(clocked))
    }

    /// Forgets the effects that no turn will run any more; they count as unhandled. Returns how many there were.
    pub(crate) fn give_up_effects(&mut self) -> usize {
        let pending = std::mem::take(&mut self.applying.effects.pending);
        let held = self.keeping.as_mut().map(|keeping| std::mem::take(&mut keeping.held_effects)).unwrap_or_default();
        let left = pending.len() + held.len();
        if left > 0 {
            self.core().counts.effects_unhandled.add(left as u64);
            self.core().report(Diagnostic::EffectsUnhandled { count: left as u64 });
        }
        let _ = drop_each(pending.into_iter().chain(held.into_iter().map(|(_, effect)| effect)));
        left
    }

    /// No push by a thread of the host's is accepted from here on; ingestion threads are asked to stop, and what they
    /// have in hand is still accepted.
    pub(crate) fn begin_close(&mut self) {
        self.phase = Phase::Closing;
        // Outside the lock: an interrupt is the host's code. Nothing is added meanwhile, for the pipeline is closing.
        let threads = std::mem::take(&mut *self.core().threads.lock());
        threads.iter().for_each(IngestThread::ask_to_stop);
        self.core().threads.lock().extend(threads);
        self.shut_gates(|lane| lane.foreign);
    }

    /// Shuts the gates of these lanes and lets go whoever waits at them.
    pub(crate) fn shut_gates(&mut self, mut which: impl FnMut(&LaneEnd<S::Event>) -> bool) {
        let Lanes { unclocked, clocked, .. } = &self.lanes;
        let shut: Vec<_> = unclocked.iter().chain(clocked).filter(|lane| which(lane)).collect();
        shut.iter().for_each(|lane| lane.shared.gate.shut());
        // One barrier for all (G1).
        self.core().store_load.heavy();
        shut.iter().for_each(|lane| lane.shared.room.ring());
    }

    /// Nothing will change any more: whoever waits for that is told.
    pub(crate) fn finish(&mut self) {
        let letters = self.hub.mailbox.close();
        let unadopted =
            || letters.iter().filter_map(|letter| if let Letter::Lane(lane) = letter { Some(lane) } else { None });
        unadopted().for_each(|lane| lane.shared.gate.shut());
        self.core().store_load.heavy();
        // Their producers may wait for room already.
        unadopted().for_each(|lane| lane.shared.room.ring());
        letters.into_iter().for_each(|letter| self.hub.answer_last(letter));
        // What was taken out of the mailbox and waited for the journal.
        if let Some(keeping) = &mut self.keeping {
            keeping.let_go();
        }
        self.core().end();
        self.publishing.end(&self.hub.core);
    }
}

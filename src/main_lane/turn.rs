//! One turn of the main lane.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_utils::sync::Parker;

use crate::clock::{Bound, Stamp};
use crate::core::{Core, IngestThread, contain};
use crate::event::Event;
use crate::hub::{Hub, Letter};
use crate::main_lane::apply::Applying;
use crate::main_lane::budget::{Budget, Pace};
use crate::main_lane::cut::{self, Cut};
use crate::main_lane::lane_end::LaneEnd;
use crate::main_lane::lanes::{Lanes, Place, adopt, report_lane};
use crate::main_lane::merge::{NO_HEAD, Next};
use crate::main_lane::outcome::{Left, Phase, Poison, Turn, TurnError};
use crate::main_lane::publish::{Now, Publish, Publishing};
use crate::main_lane::reconcile::{self, Reconciler};
use crate::main_lane::reduce::Reducer;
use crate::main_lane::report::{Fault, ShutdownReport};
use crate::observe::diagnostic::Diagnostic;
use crate::snapshot::Version;

/// How many turns go by between two looks at the counts that become diagnostics.
const REPORT_EVERY: u32 = 64;

/// A turn with so many events shows that producers push faster than turns are taken.
const DENSE: usize = 4;
/// How often a processor that waits for more pauses between two looks, at first and at most.
const PAUSES_MIN: u32 = 16;
const PAUSES_MAX: u32 = 64;

/// The one consumer of a pipeline, and the owner of its state.
///
/// A host drives it in one of three ways: it calls [`turn`](MainLane::turn) from a loop of its own, it hands it to a
/// thread of mainlane's with [`spawn`](MainLane::spawn), or it awaits [`input`](MainLane::input) between turns in a
/// task. Dropping it shuts the pipeline down.
pub struct MainLane<S: Reducer> {
    pub(crate) hub: Arc<Hub<S>>,
    pub(crate) parker: Parker,
    pub(crate) phase: Phase,
    pub(crate) report: Option<ShutdownReport>,
    pub(crate) fault: Option<Fault>,
    pub(crate) poison: Option<Poison<S::Event>>,
    lanes: Lanes<S::Event>,
    applying: Applying<S>,
    publishing: Publishing<S>,
    reconciler: Option<Box<dyn Reconciler<S>>>,
    letters: u64,
    /// The cut being applied, and whether some of it is left.
    bound: Bound,
    open_batch: bool,
    /// Unclocked lanes spent the last turn's whole budget.
    cut_first: bool,
    /// The newest bound below which everything is applied.
    settled: Stamp,
    turns: u64,
    /// How many events the last turn applied.
    last: usize,
    /// The last turn had no time left for its publication; whether all of its cut was applied.
    owed: Option<bool>,
    /// The last look found what an earlier turn had left, and may not have seen what came since.
    went_on: bool,
    until_report: u32,
    /// The lane whose event is being applied.
    current: Place,
}

impl<S: Reducer> MainLane<S> {
    pub(crate) fn new(
        hub: Arc<Hub<S>>,
        parker: Parker,
        state: S,
        publish: Publish,
        reconciler: Option<Box<dyn Reconciler<S>>>,
    ) -> Self {
        let publishing = Publishing::new(hub.published.clone(), publish);
        Self {
            hub,
            parker,
            phase: Phase::Running,
            report: None,
            fault: None,
            poison: None,
            lanes: Lanes::new(),
            applying: Applying::new(state),
            publishing,
            reconciler,
            letters: 0,
            bound: Bound(0),
            open_batch: false,
            cut_first: false,
            settled: Stamp(0),
            turns: 0,
            last: 0,
            owed: None,
            went_on: false,
            until_report: REPORT_EVERY,
            current: Place { clocked: false, at: 0 },
        }
    }

    /// The state, as it is now. It may be ahead of the newest snapshot.
    pub fn state(&self) -> &S {
        &self.applying.state
    }

    /// Applies what has arrived, within `budget`, and publishes.
    ///
    /// Takes no lock, allocates nothing and makes no system call in steady state, but to wake whoever asked for it.
    ///
    /// # Errors
    /// When the reducer panics. The event is in the error; events before it in this turn were applied and their
    /// effects run, but nothing was published.
    pub fn turn(&mut self, budget: Budget) -> Result<Turn, TurnError<S::Event>> {
        match self.phase {
            Phase::Stopped => return Err(TurnError::Stopped),
            Phase::Ended => return Ok(self.summary(0, None, Left::Ended)),
            Phase::Running | Phase::Closing => {}
        }
        self.core().drive_here();
        self.adopt();
        if self.phase == Phase::Running && self.core().is_closing() {
            self.begin_close();
        }
        let mut pace = Pace::new(budget);
        // What the last turn had no time left for.
        if !self.reconcile(&pace) {
            return Ok(self.summary(0, None, Left::More));
        }
        if !self.open_batch {
            if self.last >= DENSE {
                self.keep_distance();
            }
            // What an earlier turn left on an unclocked lane keeps this one from looking there.
            if !self.lanes.unclocked.iter().any(LaneEnd::has_cut) {
                self.publishing.take_request();
            }
        }
        // What the last turn had no time left to publish.
        let owed = match self.owed.take() {
            Some(finished) if self.publishing.is_wanted(finished) => self.publish(Publishing::publish)?,
            _ => None,
        };
        let (events, finished) = if self.cut() { self.apply(&mut pace)? } else { (0, true) };
        self.last = events;
        if events > 0 {
            self.turns += 1;
            self.hub.core.counts.turns.add(1);
            self.publishing.changed();
        }
        if !self.reconcile(&pace) {
            self.owed = Some(finished);
            return Ok(self.summary(events, owed, Left::More));
        }
        let published = match self.publishing.is_wanted(finished) {
            true => self.publish(Publishing::publish)?,
            false => owed,
        };
        self.report_counts(events == 0);
        if !finished || self.went_on && self.has_visible() {
            return Ok(self.summary(events, published, Left::More));
        }
        self.close_lanes_that_were_left();
        let left = self.what_is_left()?;
        Ok(self.summary(events, published, left))
    }

    /// Waits until there may be something for a turn to do. For hosts that drive the main lane from a task; needs no
    /// runtime, and loses nothing when it is dropped half-way.
    ///
    /// A publication held back by [`Publish::AtMostEvery`] does not end the wait: race this against a timer for the
    /// moment in [`Left::PublishAt`].
    pub async fn input(&mut self) {
        let core = self.hub.core.clone();
        event_listener::listener!(core.sleeper.tasks => woken);
        if !self.arm_input() {
            woken.await;
            core.bell.disarm();
        }
    }

    /// Blocks this thread until there may be something for a turn to do, `deadline` at most. For hosts that drive the
    /// main lane from a thread that has nothing else to do.
    pub fn wait_for_input(&mut self, deadline: Instant) {
        if self.arm_input() {
            return;
        }
        self.parker.park_deadline(self.publishing.due().map_or(deadline, |due| due.min(deadline)));
        self.hub.core.bell.disarm();
    }

    /// Asks to be told of input. Returns true when there is some already; otherwise the hook given to
    /// [`Builder::on_input`](crate::Builder::on_input) is called once, when there is.
    ///
    /// For hosts whose event loop sleeps: call it after a turn that left nothing, and sleep if it returns false.
    pub fn arm_input(&mut self) -> bool {
        // W1: armed before the last look.
        self.hub.core.bell.arm();
        let waiting = self.is_input_waiting();
        if waiting {
            self.hub.core.bell.disarm();
        }
        waiting
    }

    /// True when a turn would find something to do.
    pub(crate) fn is_input_waiting(&self) -> bool {
        let Lanes { unclocked, clocked, .. } = &self.lanes;
        self.open_batch
            || !self.applying.effects.pending.is_empty()
            || self.hub.mailbox.posted() != self.letters
            || self.publishing.is_pending()
            || match self.phase {
                Phase::Running => self.core().is_closing(),
                Phase::Closing => self.is_drained_for_good(),
                Phase::Ended | Phase::Stopped => false,
            }
            || self.has_visible()
            || unclocked.iter().chain(clocked).any(|lane| lane.shared.gate.is_left())
    }

    /// True when a lane shows something that is not applied.
    fn has_visible(&self) -> bool {
        let Lanes { unclocked, clocked, .. } = &self.lanes;
        unclocked.iter().chain(clocked).any(LaneEnd::has_visible)
    }

    /// When a publication is due that no event will bring about.
    pub(crate) fn publication_due(&self) -> Option<Instant> {
        self.publishing.due()
    }

    pub(crate) fn core(&self) -> &Core {
        &self.hub.core
    }

    /// Takes in lanes and hooks that were opened since the last look.
    fn adopt(&mut self) {
        adopt(
            &self.hub,
            &mut self.letters,
            self.phase,
            &mut self.publishing,
            &mut self.lanes.unclocked,
            &mut self.lanes.clocked,
        );
    }

    /// Lets producers that push flat out get ahead a little.
    ///
    /// A main lane at the heels of a producer takes each line of its ring from it half-written, and both wait for it to
    /// come back: in bulk the same events take a fraction of the time. So when the last turn was dense, this waits as long
    /// as more keeps coming, up to about a hundred pauses of the processor in all, a microsecond or a few. It looks in growing intervals, for each look takes a line
    /// from the producer too. Events that come one by one are never waited for.
    #[cold]
    fn keep_distance(&self) {
        let Lanes { unclocked, clocked, .. } = &self.lanes;
        let (mut seen, mut pauses) = (0, PAUSES_MIN);
        loop {
            let mut now = 0;
            for lane in unclocked.iter().chain(clocked) {
                let visible = lane.visible();
                if visible >= lane.stride() {
                    return;
                }
                now += visible;
            }
            if now == seen || pauses > PAUSES_MAX {
                return;
            }
            (0..pauses).for_each(|_| std::hint::spin_loop());
            (seen, pauses) = (now, 2 * pauses);
        }
    }

    /// Takes a new cut if the last one is applied and there is anything to cut; looks at unclocked lanes every time. True
    /// if there is anything to apply.
    fn cut(&mut self) -> bool {
        let Self { hub, letters, phase, publishing, lanes, .. } = self;
        let Lanes { unclocked, clocked, .. } = lanes;
        self.went_on = self.open_batch;
        if !self.open_batch {
            let adopt = |clocked: &mut Vec<_>| adopt(hub, letters, *phase, publishing, unclocked, clocked);
            if let Some(Cut { bound, passes }) = cut::cut(&hub.core.clock, clocked, adopt) {
                self.bound = bound;
                clocked.iter_mut().for_each(LaneEnd::arrange);
                hub.core.counts.cuts.add(1);
                hub.core.counts.passes.add(passes);
                self.open_batch = true;
            }
        }
        let mut any = self.open_batch;
        for lane in unclocked {
            // Not before what was taken is applied: what waits in the table goes on coalescing meanwhile.
            if lane.has_cut() {
                any = true;
                self.went_on = true;
            } else if lane.look() {
                any = true;
                lane.extend_alone();
            }
        }
        any
    }

    /// Applies what was cut. Returns how many events there were and whether that was all.
    fn apply(&mut self, pace: &mut Pace) -> Result<(usize, bool), TurnError<S::Event>> {
        let applied = contain(|| {
            let applied = self.apply_batch(pace);
            self.settle();
            applied
        });
        self.count();
        applied.map_err(|message| self.stop(message))
    }

    /// Applies unclocked lanes first, by rank, then the cut in the order of its keys. Returns how many events there were
    /// and whether that was all.
    ///
    /// When unclocked lanes alone have spent a whole budget, the cut goes first in the next turn: a flood on one of them
    /// slows the others down, it does not stop them.
    fn apply_batch(&mut self, pace: &mut Pace) -> (usize, bool) {
        if std::mem::take(&mut self.cut_first) {
            let (cut, finished) = self.apply_cut(pace);
            let (unclocked, finished) = if finished { self.apply_unclocked(pace) } else { (0, false) };
            return (cut + unclocked, finished);
        }
        let (unclocked, finished) = self.apply_unclocked(pace);
        let (cut, finished) = if finished { self.apply_cut(pace) } else { (0, false) };
        self.cut_first = self.open_batch && !finished && cut == 0;
        (unclocked + cut, finished)
    }

    fn apply_unclocked(&mut self, pace: &mut Pace) -> (usize, bool) {
        let mut events = 0;
        for at in 0..self.lanes.unclocked.len() {
            while self.lanes.unclocked[at].head_key().is_some() {
                let Some(run) = self.apply_run(Place { clocked: false, at }, NO_HEAD, pace) else {
                    return (events, false);
                };
                events += run;
            }
        }
        (events, true)
    }

    fn apply_cut(&mut self, pace: &mut Pace) -> (usize, bool) {
        if !self.open_batch {
            return (0, true);
        }
        let mut events = 0;
        let Lanes { clocked, merge, .. } = &mut self.lanes;
        merge.begin(clocked.iter().map(|lane| lane.head_key().unwrap_or(NO_HEAD)));
        while let Some(Next { lane, limit }) = self.lanes.merge.next() {
            let Some(run) = self.apply_run(Place { clocked: true, at: lane }, limit, pace) else {
                return (events, false);
            };
            events += run;
            let head = self.lanes.clocked[lane].head_key().unwrap_or(NO_HEAD);
            self.lanes.merge.went(lane, head);
        }
        self.open_batch = false;
        self.settled = self.settled.max(Stamp(self.bound.0));
        (events, true)
    }

    /// Applies a run of one lane's events below `limit`. `None` when the budget is spent.
    #[inline]
    fn apply_run(&mut self, place: Place, limit: u64, pace: &mut Pace) -> Option<usize> {
        let allowance = pace.allowance();
        if allowance == 0 {
            return None;
        }
        self.current = place;
        let mut apply = self.applying.with(&self.hub.core);
        let run = self.lanes.at(place).take(limit, allowance, &mut apply);
        pace.spend(run);
        Some(run)
    }

    /// The reducer panicked on the event at the head of the current lane.
    #[cold]
    fn stop(&mut self, message: String) -> TurnError<S::Event> {
        let by_reducer = self.applying.forget_event();
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
        let (lane, lane_name) = (lane.id, lane.name.clone());
        let Some((facets, event)) = removed else { unreachable!("the event being applied is at the head of its lane") };
        let kind = event.kind();
        let fault = Fault::Reducer { lane, lane_name: lane_name.clone(), kind, message: message.clone() };
        let poison = Poison { lane, lane_name, message, facets, event };
        self.stop_with(fault, TurnError::ReducerPanicked(Box::new(poison)))
    }

    /// The host's code panicked where nothing can go on: nothing more is accepted, and whoever waits is told.
    #[cold]
    fn stop_with(&mut self, fault: Fault, error: TurnError<S::Event>) -> TurnError<S::Event> {
        self.shut_gates(|_| true);
        self.phase = Phase::Stopped;
        self.finish();
        self.core().report(Diagnostic::Stopped(fault.clone()));
        self.fault = Some(fault);
        error
    }

    /// Forgets the effects that no turn will run any more; they count as unhandled. Returns how many there were.
    pub(crate) fn give_up_effects(&mut self) -> usize {
        let pending = std::mem::take(&mut self.applying.effects.pending);
        let left = pending.len();
        if left > 0 {
            self.core().counts.effects_unhandled.add(left as u64);
            self.core().report(Diagnostic::EffectsUnhandled { count: left as u64 });
        }
        let _ = contain(|| drop(pending));
        left
    }

    /// Runs effects while there is time. True if none is left.
    fn reconcile(&mut self, pace: &Pace) -> bool {
        reconcile::run(&mut self.reconciler, &mut self.applying.effects, &self.applying.state, &self.hub.core, pace)
    }

    /// No push by a thread of the host's is accepted from here on; ingestion threads are asked to stop, and what they
    /// have in hand is still accepted.
    fn begin_close(&mut self) {
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
        self.core().end();
        self.publishing.end(&self.hub.core);
    }

    fn close_lanes_that_were_left(&mut self) {
        let Lanes { unclocked, clocked, .. } = &self.lanes;
        if !unclocked.iter().chain(clocked).any(|lane| lane.shared.gate.is_left()) {
            return;
        }
        let core = &self.hub.core;
        let stays = |lane: &mut LaneEnd<S::Event>| {
            // P5: what is visible after the first of these is all there will be.
            let left = lane.shared.gate.is_left() && lane.is_drained();
            if left {
                report_lane(core, lane);
                core.book.lock().closed(lane.id);
                core.report(Diagnostic::LaneClosed { lane: lane.id, name: lane.name.clone() });
            }
            !left
        };
        self.lanes.unclocked.retain_mut(stays);
        self.lanes.clocked.retain_mut(stays);
    }

    fn what_is_left(&mut self) -> Result<Left, TurnError<S::Event>> {
        if self.phase == Phase::Closing && self.is_drained_for_good() && self.hub.mailbox.close_if_empty() {
            self.publish(Publishing::publish)?;
            self.report_counts(true);
            self.phase = Phase::Ended;
            self.finish();
            return Ok(Left::Ended);
        }
        Ok(match self.publishing.due() {
            Some(due) => Left::PublishAt(due),
            None => Left::Nothing,
        })
    }

    /// Publishes as `how` says. The state's `Clone` is the host's code, and may panic.
    #[inline]
    fn publish(
        &mut self,
        how: impl FnOnce(&mut Publishing<S>, &Now<'_, S>) -> Option<Version>,
    ) -> Result<Option<Version>, TurnError<S::Event>> {
        let Self { publishing, applying, settled, turns, hub, .. } = self;
        let now = Now { state: &applying.state, stamp: *settled, turn: *turns, core: &hub.core };
        contain(|| how(publishing, &now)).map_err(|message| {
            let fault = Fault::Snapshot { message: message.clone() };
            self.stop_with(fault, TurnError::SnapshotPanicked { message })
        })
    }

    /// True when every lane is gone, or is shut, quiet and drained (G1).
    fn is_drained_for_good(&self) -> bool {
        let Lanes { unclocked, clocked, .. } = &self.lanes;
        self.hub.mailbox.posted() == self.letters
            && unclocked.iter().chain(clocked).all(|lane| {
                let gate = &lane.shared.gate;
                // P4: quiet first, then the look at what is there.
                gate.is_shut() && gate.is_quiet() && lane.is_drained()
            })
    }

    /// True when no push is under way on any lane.
    pub(crate) fn is_quiet(&self) -> bool {
        let Lanes { unclocked, clocked, .. } = &self.lanes;
        unclocked.iter().chain(clocked).all(|lane| lane.shared.gate.is_quiet())
    }

    /// Gives back the slots of what was applied, and drops it.
    fn settle(&mut self) {
        let Lanes { unclocked, clocked, .. } = &mut self.lanes;
        unclocked.iter_mut().chain(clocked).for_each(LaneEnd::settle);
    }

    fn count(&mut self) {
        let Lanes { unclocked, clocked, .. } = &mut self.lanes;
        unclocked.iter_mut().chain(clocked).for_each(LaneEnd::count);
    }

    /// Turns counts of lanes into diagnostics, now and then: looking takes the line from the producers.
    fn report_counts(&mut self, idle: bool) {
        self.until_report = self.until_report.saturating_sub(1);
        if self.until_report > 0 && !(idle && self.phase != Phase::Running) {
            return;
        }
        self.until_report = REPORT_EVERY;
        let Lanes { unclocked, clocked, .. } = &mut self.lanes;
        unclocked.iter_mut().chain(clocked).for_each(|lane| report_lane(&self.hub.core, lane));
    }

    fn summary(&self, events: usize, published: Option<Version>, left: Left) -> Turn {
        Turn { number: self.turns, events, published, left }
    }
}

impl<S: Reducer> fmt::Debug for MainLane<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MainLane")
            .field("phase", &self.phase)
            .field("turns", &self.turns)
            .field("lanes", &(self.lanes.unclocked.len() + self.lanes.clocked.len()))
            .finish_non_exhaustive()
    }
}

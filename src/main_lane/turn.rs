//! One turn of the main lane.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_utils::sync::Parker;

use crate::clock::{Bound, Stamp};
use crate::core::{Core, contain};
use crate::event::LaneId;
use crate::hub::Hub;
use crate::main_lane::apply::Applying;
use crate::main_lane::budget::{Budget, Pace};
use crate::main_lane::cut::{self, Cut};
use crate::main_lane::keeping::Keeping;
use crate::main_lane::kept::Go;
use crate::main_lane::lane_end::LaneEnd;
use crate::main_lane::lanes::{Lanes, Place, adopt, report_lane};
use crate::main_lane::operations::Operations;
use crate::main_lane::outcome::{Left, Phase, Poison, Turn, TurnError};
use crate::main_lane::publish::{Now, Publish, Publishing};
use crate::main_lane::reconcile::{self, Reconciler};
use crate::main_lane::reduce::Reducer;
use crate::main_lane::report::{Fault, ShutdownReport};
use crate::notifications::listen;
use crate::observe::diagnostic::Diagnostic;
use crate::snapshot::Version;

/// How many turns go by between two looks at the counts that become diagnostics.
pub(super) const REPORT_EVERY: u32 = 64;

/// A turn with so many events shows that producers push faster than turns are taken.
const DENSE: usize = 4;
/// How often a processor that waits for more pauses between two looks, at first and at most.
const PAUSES_MIN: u32 = 16;
const PAUSES_MAX: u32 = 128;
/// And in all: while anything comes, and while it is dense between any two looks.
const PAUSES_FEW: u32 = 112;
const PAUSES_MANY: u32 = 496;

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
    pub(crate) lanes: Lanes<S::Event>,
    pub(crate) applying: Applying<S>,
    pub(crate) publishing: Publishing<S>,
    /// With a timeline, a journal or a check.
    pub(crate) keeping: Option<Box<Keeping<S>>>,
    reconciler: Option<Box<dyn Reconciler<S>>>,
    pub(crate) letters: u64,
    /// The cut being applied, and whether some of it is left.
    pub(crate) bound: Bound,
    pub(crate) open_batch: bool,
    /// Unclocked lanes spent the last turn's whole budget.
    pub(crate) cut_first: bool,
    /// Those before this one did, and it had nothing of it.
    pub(crate) unclocked_first: Option<LaneId>,
    /// The newest bound below which everything is applied.
    pub(crate) settled: Stamp,
    pub(crate) turns: u64,
    /// How many events the last turn applied.
    last: usize,
    /// The last turn had no time left for its publication.
    owed: bool,
    /// The last look found what an earlier turn had left, and may not have seen what came since.
    went_on: bool,
    /// The last turn found nothing and left nothing.
    pub(super) calm: bool,
    /// How many turns found nothing.
    pub(super) idle: u32,
    pub(super) until_report: u32,
    /// The lane whose event is being applied.
    pub(crate) current: Place,
}

/// What a main lane begins with, beside the state.
pub(crate) struct Past {
    pub(crate) turn: u64,
    pub(crate) operations: Operations,
}

impl<S: Reducer> MainLane<S> {
    pub(crate) fn new(
        hub: Arc<Hub<S>>,
        parker: Parker,
        state: S,
        publish: Publish,
        reconciler: Option<Box<dyn Reconciler<S>>>,
        keeping: Option<Box<Keeping<S>>>,
        past: Past,
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
            applying: Applying::new(state, past.operations),
            publishing,
            keeping,
            reconciler,
            letters: 0,
            bound: Bound(0),
            open_batch: false,
            cut_first: false,
            unclocked_first: None,
            settled: Stamp(0),
            turns: past.turn,
            last: 0,
            owed: false,
            went_on: false,
            calm: false,
            idle: 0,
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
        if self.calm && self.stays_calm() {
            return Ok(self.summary(0, None, Left::Nothing));
        }
        self.calm = false;
        self.turn_in_full(budget)
    }

    #[inline(never)]
    fn turn_in_full(&mut self, budget: Budget) -> Result<Turn, TurnError<S::Event>> {
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
        let (mut go, released) = match self.keeping {
            Some(_) => self.begin_kept()?,
            None => (Go::On, None),
        };
        // What the last turn had no time left for.
        if !self.reconcile(&pace) {
            return Ok(self.summary(0, released, Left::More));
        }
        if self.keeping.is_some() && go == Go::On {
            go = self.answer_left(&pace)?;
        }
        if go == Go::Wait {
            // What is applied and due is seen all the same.
            let published = match self.publishing.is_wanted() {
                true => self.publish()?.or(released),
                false => released,
            };
            self.report_counts(false);
            return Ok(self.summary(0, published, Left::Journal));
        }
        // What the last turn had no time left to publish. It is no answer to who asked since, which is not taken yet.
        let owed = match std::mem::take(&mut self.owed) && self.publishing.is_wanted() {
            true => self.publish()?.or(released),
            false => released,
        };
        if !self.open_batch && self.last >= DENSE {
            self.keep_distance();
        }
        if self.publishing.is_asked_for() {
            self.await_request();
        }
        if self.keeping.is_some() {
            self.await_questions();
        }
        let (events, finished) = match self.has_staged() || self.cut() || self.is_to_keep_warm() {
            true => self.apply(&mut pace)?,
            false => (0, true),
        };
        if self.keeping.is_some() && self.is_partial() {
            return Ok(self.summary(0, owed, Left::More));
        }
        self.last = events;
        if events > 0 {
            self.turns += 1;
            self.hub.core.counts.turns.add(1);
            self.publishing.changed();
        }
        if self.publishing.has_request() {
            self.end_request();
        }
        if !self.reconcile(&pace) {
            self.owed = true;
            return Ok(self.summary(events, owed, Left::More));
        }
        if self.keeping.is_some() {
            self.answer(&pace)?;
        }
        let published = match self.publishing.is_wanted() {
            true => self.publish()?.or(owed),
            false => owed,
        };
        if let Some(keeping) = &self.keeping
            && let Some(left) = keeping.left()
        {
            return Ok(self.summary(events, published, left));
        }
        self.report_counts(events == 0);
        if !finished || self.went_on && self.has_visible() {
            return Ok(self.summary(events, published, Left::More));
        }
        if self.has_lanes_that_were_left() {
            self.close_lanes_that_were_left();
        }
        let left = match self.phase {
            Phase::Closing if self.is_drained_for_good() => self.what_is_left_to_close()?,
            _ => self.publishing.due().map_or(Left::Nothing, Left::PublishAt),
        };
        self.calm = events == 0 && self.is_calm();
        Ok(self.summary(events, published, left))
    }

    /// Waits until there may be something for a turn to do. For hosts that drive the main lane from a task; needs no
    /// runtime, and loses nothing when it is dropped half-way.
    ///
    /// A publication held back by [`Publish::AtMostEvery`] does not end the wait: race this against a timer for the
    /// moment in [`Left::PublishAt`].
    pub async fn input(&mut self) {
        let core = self.hub.core.clone();
        listen!(core.sleeper.tasks => woken);
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
        if self.is_blocked() {
            let asked = self.hub.mailbox.posted() != self.letters;
            let is_due = self.publishing.is_unheld() && !self.publishing.is_asked_for() && self.publishing.is_pending();
            let is_to_close = self.phase == Phase::Running && self.core().is_closing();
            return asked || is_due || is_to_close || !self.applying.effects.pending.is_empty() || self.has_progress();
        }
        self.open_batch
            || self.has_progress()
            || !self.applying.effects.pending.is_empty()
            || self.hub.mailbox.posted() != self.letters
            || self.publishing.is_pending()
            || match self.phase {
                Phase::Running => self.core().is_closing(),
                // Not while all there is to wait for is the journal, which rings.
                Phase::Closing => {
                    self.is_drained_for_good() && (self.is_settled_for_good() || self.publishing.is_unheld())
                }
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
    pub(crate) fn adopt(&mut self) {
        let Self { hub, letters, phase, publishing, keeping, applying, lanes, .. } = self;
        let Lanes { unclocked, clocked, .. } = lanes;
        adopt(hub, letters, *phase, publishing, keeping, &applying.flight, unclocked, clocked);
    }

    /// Lets producers that push flat out get ahead a little.
    ///
    /// A main lane at the heels of a producer takes each line of its ring from it half-written, and both wait for it to
    /// come back; and each turn has a price of its own, also for those who look at what it publishes. In bulk the same events
    /// take a fraction of the time. So when the last turn was dense, this waits while more keeps coming, until one lane has a
    /// quarter of its ring full: for about a hundred pauses of the processor at most, a microsecond or a few; for five hundred if
    /// several come between any two looks, which take a line from the producer too. Events that come one by one are never waited for.
    #[cold]
    fn keep_distance(&self) {
        let Lanes { unclocked, clocked, .. } = &self.lanes;
        let (mut seen, mut waited, mut pauses) = (0, 0, PAUSES_MIN);
        loop {
            let mut now = 0;
            for lane in unclocked.iter().chain(clocked) {
                let visible = lane.visible();
                if visible >= lane.stride() {
                    return;
                }
                now += visible;
            }
            let enough = if waited < PAUSES_FEW { 1 } else { DENSE };
            if now < seen + enough || waited >= PAUSES_MANY {
                return;
            }
            (0..pauses).for_each(|_| std::hint::spin_loop());
            (seen, waited, pauses) = (now, waited + pauses, (2 * pauses).min(PAUSES_MAX));
        }
    }

    /// Takes a new cut if the last one is applied and there is anything to cut; looks at unclocked lanes every time. True
    /// if there is anything to apply.
    fn cut(&mut self) -> bool {
        let Self { hub, letters, phase, publishing, keeping, applying, lanes, .. } = self;
        let (Lanes { unclocked, clocked, .. }, flight) = (lanes, &applying.flight);
        self.went_on = self.open_batch;
        if !self.open_batch {
            let adopt =
                |clocked: &mut Vec<_>| adopt(hub, letters, *phase, publishing, keeping, flight, unclocked, clocked);
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
        self.applying.flight.turn = self.turns + 1;
        if self.keeping.is_some() {
            return self.apply_kept(pace);
        }
        let applied = contain(|| {
            let applied = self.apply_batch(pace);
            self.settle();
            applied
        });
        self.count();
        applied.map_err(|message| self.stop(message))
    }

    /// Runs effects while there is time. True if none is left.
    #[inline]
    pub(crate) fn reconcile(&mut self, pace: &Pace) -> bool {
        self.applying.effects.pending.is_empty() || self.run_effects(pace)
    }

    #[inline(never)]
    fn run_effects(&mut self, pace: &Pace) -> bool {
        reconcile::run(&mut self.reconciler, &mut self.applying.effects, &self.applying.state, &self.hub.core, pace)
    }

    #[inline]
    fn has_lanes_that_were_left(&self) -> bool {
        let Lanes { unclocked, clocked, .. } = &self.lanes;
        unclocked.iter().chain(clocked).any(|lane| lane.shared.gate.is_left())
    }

    #[cold]
    fn close_lanes_that_were_left(&mut self) {
        let (core, flight) = (&self.hub.core, &mut self.applying.flight);
        let mut stays = |lane: &mut LaneEnd<S::Event>| {
            // P5: what is visible after the first of these is all there will be.
            let left = lane.shared.gate.is_left() && lane.is_drained();
            if left {
                report_lane(core, lane);
                core.book.lock().closed(lane.id);
                flight.close(lane);
                core.report(Diagnostic::LaneClosed { lane: lane.id, name: lane.name.clone() });
            }
            !left
        };
        self.lanes.unclocked.retain_mut(&mut stays);
        self.lanes.clocked.retain_mut(stays);
    }

    #[cold]
    fn what_is_left_to_close(&mut self) -> Result<Left, TurnError<S::Event>> {
        self.publish()?;
        if !self.is_settled_for_good() || self.publishing.is_unpublished() {
            return Ok(Left::Journal);
        }
        if !self.hub.mailbox.close_if_empty() {
            return Ok(Left::More);
        }
        self.report_counts(true);
        self.phase = Phase::Ended;
        self.finish();
        Ok(Left::Ended)
    }

    /// Publishes, or makes ready what may be seen when its turn is durable. The state's `Clone` is the host's code, and may
    /// panic.
    #[inline]
    fn publish(&mut self) -> Result<Option<Version>, TurnError<S::Event>> {
        let Self { publishing, applying, settled, turns, hub, keeping, .. } = self;
        let now = Now { state: &applying.state, stamp: *settled, turn: *turns, core: &hub.core };
        let held = keeping.as_ref().is_some_and(|keeping| keeping.visible_turn() < *turns);
        let publish = || {
            if held {
                publishing.hold(&now);
                return None;
            }
            publishing.publish(&now)
        };
        contain(publish).map_err(|message| {
            let fault = Fault::Snapshot { message: message.clone() };
            self.stop_with(fault, TurnError::SnapshotPanicked { message })
        })
    }

    /// True when every lane is gone, or is shut, quiet and drained (G1).
    fn is_drained_for_good(&self) -> bool {
        let Lanes { unclocked, clocked, .. } = &self.lanes;
        self.hub.mailbox.posted() == self.letters
            // P4: quiet first, then the look at what is there.
            && unclocked.iter().chain(clocked).all(|lane| lane.shared.gate.is_shut() && lane.is_quiet() && lane.is_drained())
    }

    /// True when no push is under way on any lane.
    pub(crate) fn is_quiet(&self) -> bool {
        let Lanes { unclocked, clocked, .. } = &self.lanes;
        unclocked.iter().chain(clocked).all(LaneEnd::is_quiet)
    }

    /// Gives back the slots of what was applied, and drops it.
    fn settle(&mut self) {
        let Lanes { unclocked, clocked, .. } = &mut self.lanes;
        unclocked.iter_mut().chain(clocked).for_each(LaneEnd::settle);
    }

    pub(crate) fn count(&mut self) {
        let Lanes { unclocked, clocked, .. } = &mut self.lanes;
        unclocked.iter_mut().chain(clocked).for_each(LaneEnd::count);
    }

    /// Turns counts of lanes into diagnostics, now and then: looking takes the line from the producers.
    #[inline]
    fn report_counts(&mut self, idle: bool) {
        self.until_report = self.until_report.saturating_sub(1);
        if self.until_report == 0 || idle && self.phase != Phase::Running {
            self.report_counts_now();
        }
    }

    #[cold]
    fn report_counts_now(&mut self) {
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

//! The worker that does the work of a schedule.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::budget::ScheduleBudget;
use super::core::{Beat, Core, Guess, PutOff, Seen, Step};
use super::pauses::Pauses;
use super::stats::SchedulerStats;
use crate::control::context::WorkerContext;
use crate::control::worker::{Next, Worker, WorkerError};
use crate::main_lane::reduce::Reducer;

/// How long it rests at most while it waits for a snapshot or for budget, unless said otherwise.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The shortest pause and the longest, unless said otherwise.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(10));

/// When a periodic entry is due, and what a run of it costs.
#[derive(Clone, Debug)]
pub struct Every {
    name: Arc<str>,
    period: Duration,
    first_after: Duration,
    cost: u32,
    essential: bool,
}

impl Every {
    /// Due whenever a period has passed since the scheduler was started. Costs one unit.
    pub fn new(name: impl Into<Arc<str>>, period: Duration) -> Self {
        Self { name: name.into(), period, first_after: period, cost: 1, essential: false }
    }

    /// Due for the first time after this delay instead of after a period.
    pub fn first_after(mut self, delay: Duration) -> Self {
        self.first_after = delay;
        self
    }

    /// What a run costs. A scheduler with an entry that costs nothing fails to start.
    pub fn cost(mut self, units: u32) -> Self {
        self.cost = units;
        self
    }

    /// Runs also when the lane is full, and then waits for room. The budget holds for it as for all others.
    pub fn essential(mut self) -> Self {
        self.essential = true;
        self
    }
}

type Action<S> = Box<dyn FnMut(&S, &mut Vec<<S as Reducer>::Event>) + Send>;
/// Adds events to the buffer, as many as it is told at most; says whether it could tell.
type Choose<S> = Box<dyn FnMut(&S, usize, &mut Vec<<S as Reducer>::Event>) -> bool + Send>;

/// A standard worker: does periodic and likely work, within a budget, and less of it when its lane is congested.
///
/// See the [module](super) for what it promises and what it costs.
pub struct Scheduler<S: Reducer, P = ()> {
    budget: Box<dyn Fn(&P) -> ScheduleBudget + Send>,
    stats: SchedulerStats,
    look_every: Duration,
    pauses: (Duration, Duration),
    every: Vec<(Every, Action<S>)>,
    likely: Vec<(Arc<str>, u32, Choose<S>)>,
    core: Core,
    /// What an entry gave and is not pushed yet; kept for its room.
    events: Vec<S::Event>,
}

impl<S: Reducer, P> Scheduler<S, P> {
    /// With nothing to do, and as much budget as the policy says.
    pub fn new(budget: impl Fn(&P) -> ScheduleBudget + Send + 'static) -> Self {
        let pauses = Pauses::between(PAUSES.0, PAUSES.1);
        let core = Core { beats: Vec::new(), guesses: Vec::new(), pauses, look_every: 0, questions: 0 };
        Self {
            budget: Box::new(budget),
            stats: SchedulerStats::new(),
            look_every: LOOK_EVERY,
            pauses: PAUSES,
            every: Vec::new(),
            likely: Vec::new(),
            core,
            events: Vec::new(),
        }
    }

    /// Where is counted what it does, and remembered what it has spent.
    pub fn stats(mut self, stats: SchedulerStats) -> Self {
        self.stats = stats;
        self
    }

    /// How long it rests at most while it waits for a new snapshot or for budget. Default: 100 ms, which is ten wake-ups a second.
    pub fn look_every(mut self, period: Duration) -> Self {
        self.look_every = period;
        self
    }

    /// How long it does less when the lane is congested: `shortest` at first, twice as long each further time, `longest` at most.
    /// Default: from 10 ms to 10 s.
    pub fn pauses(mut self, shortest: Duration, longest: Duration) -> Self {
        self.pauses = (shortest, longest);
        self
    }

    /// Does this again and again. The action is given the newest state, and adds the events that it wants pushed; they wait for room in the
    /// lane as any critical event does, so it should be fewer than the lane holds.
    pub fn every(mut self, every: Every, action: impl FnMut(&S, &mut Vec<S::Event>) + Send + 'static) -> Self {
        self.every.push((every, Box::new(action)));
        self
    }

    /// Does what is likely to be of use, when there is budget to spare. Each new state is shown to `choose`, which gives events, the most
    /// useful first, or `None` if it cannot tell yet: then it is asked about the same state once more at the next look.
    /// Each event costs `cost`; as many are pushed as the budget has room for, and the others are not made.
    ///
    /// A state that is newer may not have the events in it that were pushed last. Then the same are chosen again, and paid for, so they must
    /// do no harm when they are applied twice.
    pub fn likely<I: IntoIterator<Item = S::Event>>(
        mut self,
        name: impl Into<Arc<str>>,
        cost: u32,
        mut choose: impl FnMut(&S) -> Option<I> + Send + 'static,
    ) -> Self {
        let choose = move |state: &S, most: usize, events: &mut Vec<S::Event>| {
            let chosen = choose(state);
            let could_tell = chosen.is_some();
            events.extend(chosen.into_iter().flatten().take(most));
            could_tell
        };
        self.likely.push((name.into(), cost, Box::new(choose)));
        self
    }

    /// What would keep it from working.
    fn problem(&self) -> Option<String> {
        let entries = self.every.iter().map(|(every, _)| (&every.name, every.cost));
        let entries: Vec<_> = entries.chain(self.likely.iter().map(|(name, cost, _)| (name, *cost))).collect();
        for (at, (name, cost)) in entries.iter().enumerate() {
            if *cost == 0 {
                return Some(format!("`{name}` costs nothing, so no budget would bound it"));
            }
            if entries[..at].iter().any(|(other, _)| other == name) {
                return Some(format!("there are two entries `{name}`"));
            }
        }
        let idle = self.every.iter().find(|(every, _)| every.period.is_zero());
        if let Some((every, _)) = idle {
            return Some(format!("the period of `{}` is zero", every.name));
        }
        let zero = self.look_every.is_zero() || self.pauses.0.is_zero();
        zero.then(|| "it neither looks nor pauses for no time at all".to_owned())
    }

    /// Sets the entries up, as of now.
    fn begin(&mut self) {
        let now = self.stats.now();
        self.core.pauses = Pauses::between(self.pauses.0, self.pauses.1);
        self.core.look_every = nanoseconds(self.look_every);
        let Self { stats, every, likely, core, .. } = self;
        stats.with(|ledger| {
            core.beats = every
                .iter()
                .map(|(every, _)| Beat {
                    place: ledger.place(&every.name),
                    period: nanoseconds(every.period),
                    cost: every.cost,
                    essential: every.essential,
                    due: now.saturating_add(nanoseconds(every.first_after)),
                    missed: 0,
                    put_off: PutOff::default(),
                })
                .collect();
            core.guesses = likely.iter().map(|(name, cost, _)| Guess::new(ledger.place(name), *cost)).collect();
        });
    }
}

impl<S: Reducer, P: Send + Sync + 'static> Worker<S, P> for Scheduler<S, P> {
    fn start(&mut self, _: &mut WorkerContext<S, P>) -> Result<(), WorkerError> {
        if let Some(problem) = self.problem() {
            return Err(problem.into());
        }
        self.begin();
        Ok(())
    }

    fn turn(&mut self, ctx: &mut WorkerContext<S, P>) -> Result<Next, WorkerError> {
        let Self { budget, stats, every, likely, core, events, .. } = self;
        // One snapshot for all of it.
        let snapshot = ctx.reader().load();
        let version = snapshot.version().as_u64();
        let seen = Seen { version, congestion: ctx.lane().congestion(), budget: budget(ctx.policy()) };
        let now = stats.now();
        let (place, step) = match stats.with(|ledger| core.step(now, seen, ledger)) {
            Step::Rest(None) => return Ok(Next::Nudged),
            Step::Rest(Some(until)) => return Ok(Next::After(Duration::from_nanos(until.saturating_sub(now)))),
            step @ Step::Run(beat) => (core.beats[beat].place, step),
            step @ Step::Ask { likely, .. } => (core.guesses[likely].place, step),
        };
        let attempt = Attempt { stats, place };
        match step {
            Step::Run(beat) => every[beat].1(&snapshot, events),
            Step::Ask { likely: guess, most } => {
                let given = likely[guess].2(&snapshot, most, events).then_some(events.len());
                // B1 is about when they are pushed, and to choose may have taken long.
                let now = stats.now();
                events.truncate(stats.with(|ledger| core.asked(now, guess, version, given, ledger)));
            }
            Step::Rest(_) => {}
        }
        for event in events.drain(..) {
            ctx.lane().push(event).map_err(crate::Refused::without_value)?;
        }
        attempt.succeeded();
        Ok(Next::Again)
    }
}

/// Work that was begun. It has failed unless it is said to have succeeded; also when it unwinds.
struct Attempt<'a> {
    stats: &'a SchedulerStats,
    place: usize,
}

impl Attempt<'_> {
    fn succeeded(self) {
        std::mem::forget(self);
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.stats.with(|ledger| ledger.counts(self.place).failures += 1);
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl<S: Reducer, P> fmt::Debug for Scheduler<S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.every.iter().map(|(every, _)| &every.name).chain(self.likely.iter().map(|(name, ..)| name));
        f.debug_struct("Scheduler").field("entries", &names.collect::<Vec<_>>()).finish_non_exhaustive()
    }
}

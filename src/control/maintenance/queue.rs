//! Which job is next: the order, the bounds and the counts, without threads, locks or a clock.
//!
//! # Order
//! - **M1 class**: a job's class is its priority, one higher for each `age` it has waited, [`Urgent`](Priority::Urgent) at
//!   most. The highest class goes first.
//! - **M2 turns**: within a class, submitters take turns. A start costs one turn, a long one as many as it ran slices,
//!   [`DEBT_MAX`] at most; who has used fewest goes first. Who was away joins the present round: being idle saves nothing.
//! - **M3 due**: within a turn, and among the jobs of one submitter in one class, the one that is due first: at its
//!   deadline, or when it will have waited [`PATIENCE`] times `age`, whichever is sooner. Then as they came.
//!
//! Turns are those of deficit round robin (Shreedhar and Varghese, 1995) with debts instead of credits, so that a cost need
//! not be known beforehand. That within a turn the deadline decides is the idea of EEVDF (Stoica and Abdel-Wahab, 1995): who
//! is eligible is a matter of fairness, who of them goes first one of urgency.
//!
//! # Bounds
//! From M1: no priority holds a job back for more than three times `age`. From M2: within a class a submitter without debt
//! is passed over by each other submitter once, whatever they have waiting; one in debt [`DEBT_MAX`] times. From M3: what is
//! submitted [`PATIENCE`] times `age` later never overtakes a job of the same submitter and class.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::accounts::{Accounts, CLASSES, Line};
use super::stats::{End, JobCounts, Times};
use super::{Late, Priority, WhenFull};

/// How many turns one can be behind at most.
pub(crate) const DEBT_MAX: u64 = 16;

/// How many times `age` a job without a deadline has before it is due.
pub(crate) const PATIENCE: u64 = CLASSES as u64;

/// What a queue is made with. Times are in nanoseconds.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// Nothing is taken in while so many wait. One that ends a slice always finds a place, so that there can be more, by
    /// the number of slots.
    pub(crate) capacity: usize,
    pub(crate) slots: usize,
    pub(crate) age_ns: u64,
    pub(crate) slice_ns: u64,
    pub(crate) when_full: WhenFull,
    /// Submitters without jobs that are remembered.
    pub(crate) submitters: usize,
}

/// What the queue has to know of a job. Moments are nanoseconds since the queue was made.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) submitter: Arc<str>,
    pub(crate) priority: Priority,
    pub(crate) deadline: Option<u64>,
    pub(crate) late: Late,
    pub(crate) cost_ns: u64,
}

/// What became of a submission.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pushed<J> {
    Accepted(u64),
    /// Instead of another, which is out.
    InsteadOf(u64, J),
    Full,
}

/// A job that may start now.
pub(crate) struct Picked<J> {
    pub(crate) id: u64,
    pub(crate) job: J,
    /// Since when it has been waiting, if this is its first start.
    pub(crate) waiting_since: Option<u64>,
    /// Not to be started after this moment.
    pub(crate) expires: Option<u64>,
    pub(crate) times: Arc<Times>,
}

struct Waiting<J> {
    job: J,
    account: usize,
    priority: Priority,
    class: usize,
    since: u64,
    due: u64,
    arrival: u64,
    /// Its deadline, if passing it is its end.
    expires: Option<u64>,
    cost_ns: u64,
    /// It has run before, and waits for its next slice.
    begun: bool,
}

struct Running {
    account: usize,
    priority: Priority,
    /// The class it was started in, and what it was charged there.
    class: usize,
    charge: u64,
    cost_ns: u64,
}

/// Who is served when in one class: by turn, due time and arrival of the submitter's first job.
type Head = (u64, u64, u64, usize);

/// The queue.
pub(crate) struct Queue<J> {
    rules: Rules,
    accounts: Accounts,
    by_priority: [JobCounts; CLASSES],
    waiting: HashMap<u64, Waiting<J>, foldhash::fast::RandomState>,
    running: HashMap<u64, Running, foldhash::fast::RandomState>,
    heads: [BTreeSet<Head>; CLASSES],
    rounds: [u64; CLASSES],
    /// When which job rises.
    rises: BTreeSet<(u64, u64)>,
    /// When which job expires.
    expiries: BTreeSet<(u64, u64)>,
    ids: u64,
    arrivals: u64,
}

impl<J> Queue<J> {
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            accounts: Accounts::new(rules.submitters),
            rules,
            by_priority: [JobCounts::default(); CLASSES],
            waiting: HashMap::default(),
            running: HashMap::default(),
            heads: Default::default(),
            rounds: [0; CLASSES],
            rises: BTreeSet::new(),
            expiries: BTreeSet::new(),
            ids: 0,
            arrivals: 0,
        }
    }

    /// Takes a job in, if there is room. `job` is called only then.
    pub(crate) fn push(&mut self, now: u64, ask: &Ask, job: impl FnOnce(u64) -> J) -> Pushed<J> {
        let account = self.accounts.find_or_open(&ask.submitter);
        let mut shed = None;
        if self.waiting.len() >= self.rules.capacity {
            self.rise(now);
            shed = self.victim(ask.priority);
            if shed.is_none() {
                self.count(account, ask.priority, |counts| counts.refused += 1);
                return Pushed::Full;
            }
        }
        let shed = shed.and_then(|id| self.take(id, End::Shed));
        let id = self.ids;
        self.ids += 1;
        let patience = now.saturating_add(self.rules.age_ns.saturating_mul(PATIENCE));
        let waiting = Waiting {
            job: job(id),
            account,
            priority: ask.priority,
            class: ask.priority as usize,
            since: now,
            due: ask.deadline.unwrap_or(u64::MAX).clamp(now, patience),
            arrival: self.arrivals,
            expires: ask.deadline.filter(|_| ask.late == Late::Expire),
            cost_ns: ask.cost_ns,
            begun: false,
        };
        self.count(account, ask.priority, |counts| counts.accepted += 1);
        self.enter(id, waiting);
        shed.map_or(Pushed::Accepted(id), |job| Pushed::InsteadOf(id, job))
    }

    /// One job whose deadline has passed, out of the queue.
    pub(crate) fn expire(&mut self, now: u64) -> Option<J> {
        let (at, id) = *self.expiries.first()?;
        if at >= now {
            return None;
        }
        self.take(id, End::Expired)
    }

    /// The job that is to start now, if a slot is free. To be called when nothing is left to expire.
    pub(crate) fn pick(&mut self, now: u64) -> Option<Picked<J>> {
        if self.running.len() >= self.rules.slots {
            return None;
        }
        self.rise(now);
        let class = (0..CLASSES).rev().find(|class| !self.heads[*class].is_empty())?;
        let (turn, _, _, account) = *self.heads[class].first()?;
        let id = self.accounts.of(account).lines[class].places.first()?.2;
        let waiting = self.leave(id)?;
        self.rounds[class] = turn;
        let charge = self.turns_of(waiting.cost_ns);
        self.charge(account, class, 0, charge);
        let Waiting { priority, cost_ns, .. } = waiting;
        self.running.insert(id, Running { account, priority, class, charge, cost_ns });
        self.count(account, priority, |counts| counts.running += 1);
        Some(Picked {
            id,
            job: waiting.job,
            waiting_since: (!waiting.begun).then_some(waiting.since),
            expires: waiting.expires,
            times: self.accounts.of(account).times.clone(),
        })
    }

    /// A running job has ended, after `ran_ns` of this slice. False if it is not running: it was given up.
    pub(crate) fn end(&mut self, id: u64, ran_ns: u64, end: End) -> bool {
        self.stop(id, ran_ns, Some(end)).is_some()
    }

    /// A running job waits for its next slice. Hands it back if it is not running: it was given up.
    pub(crate) fn yield_back(&mut self, id: u64, now: u64, ran_ns: u64, job: J) -> Result<(), J> {
        let Some(Running { account, priority, cost_ns, .. }) = self.stop(id, ran_ns, None) else { return Err(job) };
        let waiting = Waiting {
            job,
            account,
            priority,
            class: priority as usize,
            since: now,
            due: now.saturating_add(self.rules.age_ns.saturating_mul(PATIENCE)),
            arrival: self.arrivals,
            expires: None,
            // It said what all of it will take; a slice is a slice.
            cost_ns: cost_ns.min(self.rules.slice_ns),
            begun: true,
        };
        self.enter(id, waiting);
        Ok(())
    }

    /// Takes a waiting job out. `None` if it is not waiting.
    pub(crate) fn take(&mut self, id: u64, end: End) -> Option<J> {
        let waiting = self.leave(id)?;
        self.count(waiting.account, waiting.priority, |counts| counts.end(end));
        Some(waiting.job)
    }

    /// Takes all waiting jobs out, in order of their arrival.
    pub(crate) fn take_all(&mut self, end: End) -> Vec<J> {
        let mut ids: Vec<_> = self.waiting.iter().map(|(id, waiting)| (waiting.arrival, *id)).collect();
        ids.sort_unstable();
        ids.into_iter().filter_map(|(_, id)| self.take(id, end)).collect()
    }

    /// When the next waiting job expires.
    pub(crate) fn next_expiry(&self) -> Option<u64> {
        self.expiries.first().map(|(at, _)| *at)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// Room for how many more.
    pub(crate) fn room(&self) -> usize {
        self.rules.capacity.saturating_sub(self.waiting.len())
    }

    pub(crate) fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    pub(crate) fn by_priority(&self) -> [JobCounts; CLASSES] {
        self.by_priority
    }

    fn enter(&mut self, id: u64, waiting: Waiting<J>) {
        self.arrivals += 1;
        self.count(waiting.account, waiting.priority, |counts| counts.waiting += 1);
        if let Some(at) = waiting.expires {
            self.expiries.insert((at, id));
        }
        self.stand(id, &waiting);
        self.waiting.insert(id, waiting);
    }

    fn leave(&mut self, id: u64) -> Option<Waiting<J>> {
        let waiting = self.waiting.remove(&id)?;
        self.count(waiting.account, waiting.priority, |counts| counts.waiting -= 1);
        if let Some(at) = waiting.expires {
            self.expiries.remove(&(at, id));
        }
        self.step_out(id, &waiting);
        Some(waiting)
    }

    fn stop(&mut self, id: u64, ran_ns: u64, end: Option<End>) -> Option<Running> {
        let running = self.running.remove(&id)?;
        let charge = self.turns_of(ran_ns);
        self.charge(running.account, running.class, running.charge, charge);
        self.count(running.account, running.priority, |counts| {
            counts.running -= 1;
            end.into_iter().for_each(|end| counts.end(end));
        });
        Some(running)
    }

    /// Puts a job into the line of its class.
    fn stand(&mut self, id: u64, waiting: &Waiting<J>) {
        let class = waiting.class;
        self.change(waiting.account, class, |_, line| {
            line.places.insert((waiting.due, waiting.arrival, id));
            line.begun += usize::from(waiting.begun);
        });
        if let Some(at) = self.rises_at(waiting) {
            self.rises.insert((at, id));
        }
    }

    /// Takes a job out of the line of its class.
    fn step_out(&mut self, id: u64, waiting: &Waiting<J>) {
        self.change(waiting.account, waiting.class, |_, line| {
            line.places.remove(&(waiting.due, waiting.arrival, id));
            line.begun -= usize::from(waiting.begun);
        });
        if let Some(at) = self.rises_at(waiting) {
            self.rises.remove(&(at, id));
        }
    }

    /// M1: when a job rises into the next class.
    fn rises_at(&self, waiting: &Waiting<J>) -> Option<u64> {
        let times = (waiting.class - waiting.priority as usize) as u64 + 1;
        (waiting.class + 1 < CLASSES).then(|| waiting.since.saturating_add(self.rules.age_ns.saturating_mul(times)))
    }

    /// M1: moves each job up that has waited long enough.
    fn rise(&mut self, now: u64) {
        while let Some((at, id)) = self.rises.first().copied()
            && at <= now
            && let Some(mut waiting) = self.waiting.remove(&id)
        {
            self.step_out(id, &waiting);
            let times = (now - waiting.since).checked_div(self.rules.age_ns).unwrap_or(u64::MAX);
            waiting.class = (waiting.priority as usize).saturating_add(times as usize).min(CLASSES - 1);
            self.stand(id, &waiting);
            self.waiting.insert(id, waiting);
        }
    }

    /// M2: how many turns a run of this length costs.
    fn turns_of(&self, run_ns: u64) -> u64 {
        run_ns.div_ceil(self.rules.slice_ns.max(1)).clamp(1, DEBT_MAX)
    }

    /// M2: takes a charge back and makes another. Nobody gets behind the present round, or too far ahead of it.
    fn charge(&mut self, account: usize, class: usize, back: u64, charge: u64) {
        let round = self.rounds[class];
        self.change(account, class, |turn, _| {
            *turn = ((*turn).max(round).saturating_sub(back) + charge).clamp(round, round + DEBT_MAX);
        });
    }

    /// Changes a submitter's turn or line, and moves its head to where it then belongs.
    fn change(&mut self, at: usize, class: usize, change: impl FnOnce(&mut u64, &mut Line)) {
        let account = self.accounts.of(at);
        let (turn, line) = (&mut account.turns[class], &mut account.lines[class]);
        let head = |turn: u64, line: &Line| line.places.first().map(|(due, arrival, _)| (turn, *due, *arrival, at));
        let before = head(*turn, line);
        change(turn, line);
        if before.is_none() {
            // M2: whoever was away joins the present round.
            *turn = (*turn).max(self.rounds[class]);
        }
        let after = head(*turn, line);
        if before != after {
            if let Some(head) = before {
                self.heads[class].remove(&head);
            }
            self.heads[class].extend(after);
        }
    }

    /// Who makes room for a job of this priority: of the lowest class below it, from whoever has most there that never
    /// ran, the one that would be served last.
    fn victim(&mut self, priority: Priority) -> Option<u64> {
        if self.rules.when_full == WhenFull::Refuse {
            return None;
        }
        for class in 0..priority as usize {
            let mut longest = None;
            for (_, _, _, at) in &self.heads[class] {
                let line = &self.accounts.of(*at).lines[class];
                let length = line.places.len() - line.begun;
                // Among equals the last, which is served last.
                if length > 0 && longest.is_none_or(|(most, _)| length >= most) {
                    longest = Some((length, *at));
                }
            }
            let Some((_, at)) = longest else { continue };
            let places = &self.accounts.of(at).lines[class].places;
            return places.iter().rev().map(|(_, _, id)| *id).find(|id| !self.waiting[id].begun);
        }
        None
    }

    fn count(&mut self, account: usize, priority: Priority, change: impl Fn(&mut JobCounts)) {
        change(&mut self.by_priority[priority as usize]);
        change(&mut self.accounts.of(account).counts);
        self.accounts.settle(account);
    }
}

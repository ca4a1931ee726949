//! The slow, obviously right twin of the queue: one list of jobs, looked through from the beginning for everything.

use std::collections::BTreeMap;

use super::queue::{Ask, DEBT_MAX, PATIENCE, Rules};
use super::stats::{End, JobCounts};
use super::{Late, Priority, WhenFull};

/// A rule that is wrong, to see that it would be found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    Nothing,
    /// Nobody's priority rises.
    NoAgeing,
    /// Who has had most turns makes no difference.
    NoTurns,
    /// A long run costs no more than a short one.
    NoDebts,
    /// Who comes back has the turns it saved.
    Savings,
    /// Jobs of a submitter are served as they came, whatever their deadlines.
    NoDeadlines,
    /// What has no deadline is due never.
    NoPatience,
    /// A job expires at its deadline, not after it.
    TooEarly,
    /// The first of the lowest class is shed, not the last.
    ShedsFirst,
    /// Slices count as a run that has ended.
    SlicesEnd,
}

struct Job {
    id: u64,
    ask: Ask,
    since: u64,
    due: u64,
    arrival: u64,
    begun: bool,
}

struct Running {
    id: u64,
    ask: Ask,
    class: usize,
    charge: u64,
}

pub(crate) struct Twin {
    rules: Rules,
    wrong: Wrong,
    waiting: Vec<Job>,
    running: Vec<Running>,
    turns: BTreeMap<(String, usize), u64>,
    rounds: [u64; 4],
    pub(crate) by_priority: [JobCounts; 4],
    pub(crate) by_submitter: BTreeMap<String, JobCounts>,
    ids: u64,
    arrivals: u64,
}

impl Twin {
    pub(crate) fn new(rules: Rules, wrong: Wrong) -> Self {
        Self {
            rules,
            wrong,
            waiting: Vec::new(),
            running: Vec::new(),
            turns: BTreeMap::new(),
            rounds: [0; 4],
            by_priority: Default::default(),
            by_submitter: BTreeMap::new(),
            ids: 0,
            arrivals: 0,
        }
    }

    /// The id it was given, if it was taken in, and which was shed for it.
    pub(crate) fn push(&mut self, now: u64, ask: &Ask) -> Option<(u64, Option<u64>)> {
        let mut shed = None;
        if self.waiting.len() >= self.rules.capacity {
            shed = self.victim(now, ask.priority);
            if shed.is_none() {
                self.count(ask, |counts| counts.refused += 1);
                return None;
            }
        }
        if let Some(id) = shed {
            self.take(id, End::Shed);
        }
        let id = self.ids;
        self.ids += 1;
        self.count(ask, |counts| counts.accepted += 1);
        self.enter(id, now, ask.clone(), false);
        Some((id, shed))
    }

    pub(crate) fn expire(&mut self, now: u64) -> Option<u64> {
        let early = u64::from(self.wrong == Wrong::TooEarly);
        let late = |job: &&Job| {
            !job.begun && job.ask.late == Late::Expire && job.ask.deadline.is_some_and(|at| at < now + early)
        };
        let id = self.waiting.iter().filter(late).min_by_key(|job| (job.ask.deadline, job.id))?.id;
        self.take(id, End::Expired);
        Some(id)
    }

    /// The id, and since when it waited if it starts for the first time.
    pub(crate) fn pick(&mut self, now: u64) -> Option<(u64, Option<u64>)> {
        if self.running.len() >= self.rules.slots {
            return None;
        }
        let class = self.waiting.iter().map(|job| self.class(job, now)).max()?;
        let same = self.waiting.iter().filter(|job| self.class(job, now) == class);
        let id = same.min_by_key(|job| self.order(job, class))?.id;
        let at = self.waiting.iter().position(|job| job.id == id)?;
        let job = self.waiting.remove(at);
        let turn = self.turn(&job.ask, class);
        self.rounds[class] = turn;
        let cost_ns = if job.begun { job.ask.cost_ns.min(self.rules.slice_ns) } else { job.ask.cost_ns };
        let charge = self.turns_of(cost_ns);
        self.set_turn(&job.ask, class, turn + charge);
        self.count(&job.ask, |counts| {
            counts.waiting -= 1;
            counts.running += 1;
        });
        self.running.push(Running { id, ask: job.ask, class, charge });
        Some((id, (!job.begun).then_some(job.since)))
    }

    pub(crate) fn end(&mut self, id: u64, ran_ns: u64, end: End) -> bool {
        let Some(running) = self.stop(id, ran_ns) else { return false };
        self.count(&running.ask, |counts| counts.end(end));
        true
    }

    pub(crate) fn yield_back(&mut self, id: u64, now: u64, ran_ns: u64) -> bool {
        let Some(Running { ask, .. }) = self.stop(id, ran_ns) else { return false };
        if self.wrong == Wrong::SlicesEnd {
            self.count(&ask, |counts| counts.end(End::Done));
        }
        self.enter(id, now, ask, true);
        true
    }

    pub(crate) fn take(&mut self, id: u64, end: End) -> bool {
        let Some(at) = self.waiting.iter().position(|job| job.id == id) else { return false };
        let job = self.waiting.remove(at);
        self.count(&job.ask, |counts| {
            counts.waiting -= 1;
            counts.end(end);
        });
        true
    }

    pub(crate) fn take_all(&mut self, end: End) -> Vec<u64> {
        self.waiting.sort_by_key(|job| job.arrival);
        let ids: Vec<_> = self.waiting.iter().map(|job| job.id).collect();
        for id in &ids {
            self.take(*id, end);
        }
        ids
    }

    fn enter(&mut self, id: u64, now: u64, ask: Ask, begun: bool) {
        let patience = now + PATIENCE * self.rules.age_ns;
        let due = match ask.deadline {
            Some(deadline) if !begun => deadline.max(now).min(patience),
            _ if self.wrong == Wrong::NoPatience => u64::MAX,
            _ => patience,
        };
        self.count(&ask, |counts| counts.waiting += 1);
        self.waiting.push(Job { id, ask, since: now, due, arrival: self.arrivals, begun });
        self.arrivals += 1;
    }

    fn stop(&mut self, id: u64, ran_ns: u64) -> Option<Running> {
        let at = self.running.iter().position(|running| running.id == id)?;
        let running = self.running.remove(at);
        let ran = if self.wrong == Wrong::NoDebts { 1 } else { self.turns_of(ran_ns) };
        let turn = self.turn(&running.ask, running.class);
        self.set_turn(&running.ask, running.class, turn.saturating_sub(running.charge) + ran);
        self.count(&running.ask, |counts| counts.running -= 1);
        Some(running)
    }

    fn class(&self, job: &Job, now: u64) -> usize {
        if self.wrong == Wrong::NoAgeing {
            return job.ask.priority as usize;
        }
        let risen = (now - job.since) / self.rules.age_ns;
        (job.ask.priority as usize + risen as usize).min(3)
    }

    fn order(&self, job: &Job, class: usize) -> (u64, u64, u64) {
        let turn = if self.wrong == Wrong::NoTurns { 0 } else { self.turn(&job.ask, class) };
        let due = if self.wrong == Wrong::NoDeadlines { 0 } else { job.due };
        (turn, due, job.arrival)
    }

    fn saved(&self, ask: &Ask, class: usize) -> u64 {
        self.turns.get(&(ask.submitter.to_string(), class)).copied().unwrap_or(0)
    }

    fn turn(&self, ask: &Ask, class: usize) -> u64 {
        let saved = self.saved(ask, class);
        if self.wrong == Wrong::Savings { saved } else { saved.max(self.rounds[class]) }
    }

    fn set_turn(&mut self, ask: &Ask, class: usize, turn: u64) {
        let round = self.rounds[class];
        let least = if self.wrong == Wrong::Savings { 0 } else { round };
        self.turns.insert((ask.submitter.to_string(), class), turn.clamp(least, round + DEBT_MAX));
    }

    fn turns_of(&self, ns: u64) -> u64 {
        ns.div_ceil(self.rules.slice_ns).clamp(1, DEBT_MAX)
    }

    fn victim(&self, now: u64, priority: Priority) -> Option<u64> {
        if self.rules.when_full == WhenFull::Refuse {
            return None;
        }
        let of = |class: usize| self.waiting.iter().filter(move |job| !job.begun && self.class(job, now) == class);
        let class = (0..priority as usize).find(|class| of(*class).next().is_some())?;
        // Their places are by all of their jobs of the class, those that have run among them.
        let all = || self.waiting.iter().filter(|job| self.class(job, now) == class);
        let first =
            |name: &str| all().filter(|job| &*job.ask.submitter == name).map(|job| self.order(job, class)).min();
        let many = |name: &str| of(class).filter(|job| &*job.ask.submitter == name).count();
        let most = of(class).max_by_key(|job| (many(&job.ask.submitter), first(&job.ask.submitter)))?;
        let its = of(class).filter(|job| job.ask.submitter == most.ask.submitter);
        let key = |job: &&Job| (job.due, job.arrival);
        let victim = if self.wrong == Wrong::ShedsFirst { its.min_by_key(key) } else { its.max_by_key(key) };
        victim.map(|job| job.id)
    }

    fn count(&mut self, ask: &Ask, change: impl Fn(&mut JobCounts)) {
        change(&mut self.by_priority[ask.priority as usize]);
        change(self.by_submitter.entry(ask.submitter.to_string()).or_default());
    }
}

//! Who submits: their turns, what they have waiting, and their figures.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::Priority;
use super::stats::{JobCounts, Times};

/// How many classes there are: one for each [`Priority`].
pub(crate) const CLASSES: usize = Priority::ALL.len();

/// Where a waiting job stands among those of its submitter: due first, then as they came.
pub(crate) type Place = (u64, u64, u64);

/// The jobs of one submitter that wait in one class.
#[derive(Default)]
pub(crate) struct Line {
    /// By due time, number of arrival, id.
    pub(crate) places: BTreeSet<Place>,
    /// How many of them have run before.
    pub(crate) begun: usize,
}

/// One submitter.
pub(crate) struct Account {
    pub(crate) name: Arc<str>,
    /// By class: the round in which it may start its next job.
    pub(crate) turns: [u64; CLASSES],
    pub(crate) lines: [Line; CLASSES],
    pub(crate) counts: JobCounts,
    pub(crate) times: Arc<Times>,
    /// Its place among the idle ones, while it is one.
    idle: Option<u64>,
}

/// All submitters that are remembered: those with jobs, and the `most` who had some last.
pub(crate) struct Accounts {
    slots: Vec<Option<Account>>,
    free: Vec<usize>,
    names: HashMap<Arc<str>, usize, foldhash::fast::RandomState>,
    /// Those without jobs, longest idle first.
    idle: BTreeSet<(u64, usize)>,
    idle_stamp: u64,
    most: usize,
    /// What those who are no longer remembered came to.
    pub(crate) forgotten: JobCounts,
    pub(crate) forgotten_times: Arc<Times>,
}

impl Accounts {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            names: HashMap::default(),
            idle: BTreeSet::new(),
            idle_stamp: 0,
            most,
            forgotten: JobCounts::default(),
            forgotten_times: Arc::default(),
        }
    }

    /// The submitter of this name. A new one may cost the longest idle one its place.
    pub(crate) fn find_or_open(&mut self, name: &Arc<str>) -> usize {
        if let Some(at) = self.names.get(name) {
            return *at;
        }
        self.forget_down_to(self.most.saturating_sub(1));
        let account = Account {
            name: name.clone(),
            turns: [0; CLASSES],
            lines: Default::default(),
            counts: JobCounts::default(),
            times: Arc::default(),
            idle: None,
        };
        let at = self.free.pop().unwrap_or(self.slots.len());
        if at == self.slots.len() {
            self.slots.push(Some(account));
        } else {
            self.slots[at] = Some(account);
        }
        self.names.insert(name.clone(), at);
        self.settle(at);
        at
    }

    /// To be called when the number of live jobs of a submitter has changed.
    pub(crate) fn settle(&mut self, at: usize) {
        let stamp = self.idle_stamp;
        let account = self.of(at);
        let live = account.counts.waiting + account.counts.running > 0;
        match (live, account.idle) {
            (true, Some(since)) => {
                account.idle = None;
                self.idle.remove(&(since, at));
            }
            (false, None) => {
                account.idle = Some(stamp);
                self.idle.insert((stamp, at));
                self.idle_stamp += 1;
            }
            _ => {}
        }
    }

    pub(crate) fn of(&mut self, at: usize) -> &mut Account {
        self.slots[at].as_mut().expect("an account with a live job is not forgotten")
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Account> {
        self.slots.iter().flatten()
    }

    fn forget_down_to(&mut self, most: usize) {
        while self.names.len() > most
            && let Some((_, at)) = self.idle.pop_first()
            && let Some(account) = self.slots[at].take()
        {
            self.forgotten += account.counts;
            self.forgotten_times.add(&account.times);
            self.names.remove(&account.name);
            self.free.push(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_idle_submitters_are_forgotten_and_their_figures_are_kept() {
        let mut accounts = Accounts::new(2);
        let names: Vec<Arc<str>> = (0..4).map(|n| format!("{n}").into()).collect();
        let busy = accounts.find_or_open(&names[0]);
        accounts.of(busy).counts.waiting = 1;
        accounts.settle(busy);
        let idle = accounts.find_or_open(&names[1]);
        accounts.of(idle).counts.done = 5;
        accounts.of(idle).times.ran(100);
        let third = accounts.find_or_open(&names[2]);
        assert_eq!(third, idle, "the place of the idle one");
        assert_eq!((accounts.forgotten.done, accounts.forgotten_times.snapshot().run.len()), (5, 1));
        accounts.of(third).counts.running = 1;
        accounts.settle(third);
        let fourth = accounts.find_or_open(&names[3]);
        assert_eq!(accounts.all().count(), 3, "those with jobs are all remembered");
        assert_ne!(fourth, busy);
        assert_eq!(accounts.find_or_open(&names[0]), busy);
    }
}

//! The slow, obviously right twin of the scheduler: it remembers all that ever happened, and goes over it for each decision. Beside it
//! the laws that any history must keep, and rules that are wrong, which the laws must tell apart.

use super::core::{Seen, Step};
use crate::control::context::Congestion;

/// A budget: so many units in any window, so many of them at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    pub(super) units: u32,
    pub(super) window: u64,
    pub(super) burst: u32,
}

/// What was spent, and when.
type Spends = [(u64, u32)];

fn sum(spends: &Spends) -> i128 {
    spends.iter().map(|(_, units)| i128::from(*units)).sum()
}

impl Budget {
    /// How much more may be spent now.
    pub(super) fn room(self, spends: &Spends, now: u64) -> u32 {
        self.room_in_window(spends, now).min(self.room_in_bucket(spends, now))
    }

    /// B1 alone.
    pub(super) fn room_in_window(self, spends: &Spends, now: u64) -> u32 {
        let recent: u32 = spends.iter().filter(|(at, _)| now - at < self.window).map(|(_, units)| units).sum();
        self.units.saturating_sub(recent)
    }

    /// B2 alone: seen from each spend until now.
    pub(super) fn room_in_bucket(self, spends: &Spends, now: u64) -> u32 {
        let window = i128::from(self.window);
        let since = |at: usize| {
            let back = i128::from(self.units) * i128::from(now - spends[at].0);
            ((i128::from(self.burst) - sum(&spends[at..])) * window + back).div_euclid(window)
        };
        let least = (0..spends.len()).map(since).min().unwrap_or(self.burst.into());
        least.clamp(0, self.burst.into()) as u32
    }

    /// Wrong: windows that begin at fixed moments, each with all of its units.
    pub(super) fn room_by_edges(self, spends: &Spends, now: u64) -> u32 {
        let recent = spends.iter().filter(|(at, _)| at / self.window == now / self.window).map(|(_, units)| units);
        self.units.saturating_sub(recent.sum())
    }
}

/// Spends what a rule has room for of each wish: after so long, so many units.
pub(super) fn spend_by(
    room: fn(Budget, &Spends, u64) -> u32,
    budget: Budget,
    wishes: &[(u64, u32)],
) -> Vec<(u64, u32)> {
    let (mut now, mut spends) = (0, Vec::new());
    for (further, units) in wishes {
        now += further;
        if room(budget, &spends, now) >= *units {
            spends.push((now, *units));
        }
    }
    spends
}

/// Which law of a budget is broken.
pub(super) fn breaks(budget: Budget, spends: &Spends) -> Option<&'static str> {
    let Budget { units, window, burst } = budget;
    for first in 0..spends.len() {
        for last in first..spends.len() {
            let (time, spent) = (i128::from(spends[last].0 - spends[first].0), sum(&spends[first..=last]));
            if time < window.into() && spent > units.into() {
                return Some("B1");
            }
            if spent * i128::from(window) > i128::from(burst) * i128::from(window) + i128::from(units) * time {
                return Some("B2");
            }
        }
    }
    None
}

/// A periodic entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Periodic {
    pub(super) first: u64,
    pub(super) period: u64,
    pub(super) cost: u32,
    pub(super) essential: bool,
}

/// How periodic entries are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    Right,
    /// Wrong: each missed period gets its run, one after another.
    CatchesUp,
    /// Wrong: the next period begins when an entry runs.
    Drifts,
    /// Wrong: whoever can pay goes, past those that save up.
    CheapFirst,
}

/// One decision that did something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) now: u64,
    pub(super) step: Step,
    pub(super) units: u32,
    pub(super) paused: Congestion,
}

pub(super) struct Twin {
    pub(super) rule: Rule,
    pub(super) budget: Budget,
    pub(super) periodic: Vec<Periodic>,
    /// What each likely entry costs.
    pub(super) likely: Vec<u32>,
    /// The shortest pause and the longest.
    pub(super) pauses: (u64, u64),
    pub(super) done: Vec<Done>,
    /// All looks at the lane.
    pub(super) looks: Vec<(u64, Congestion)>,
    /// All answers: who, and of which version.
    pub(super) answers: Vec<(usize, u64)>,
}

impl Twin {
    pub(super) fn spends(&self) -> Vec<(u64, u32)> {
        self.done.iter().map(|done| (done.now, done.units)).filter(|(_, units)| *units > 0).collect()
    }

    /// What to do now; remembered when it is a run.
    pub(super) fn step(&mut self, now: u64, seen: Seen) -> Step {
        self.looks.push((now, seen.congestion));
        let (paused, room) = (self.paused(), self.budget.room(&self.spends(), now));
        let ceiling = self.budget.units.min(self.budget.burst);
        let mut due: Vec<_> = (0..self.periodic.len())
            .filter(|at| paused < Congestion::Full || self.periodic[*at].essential)
            .filter(|at| self.periodic[*at].cost <= ceiling)
            .filter_map(|at| self.due(at, now).map(|due| (due, at)))
            .collect();
        due.sort_unstable();
        if self.rule == Rule::CheapFirst {
            due.retain(|(_, at)| self.periodic[*at].cost <= room);
        }
        if let Some((_, at)) = due.first() {
            let units = self.periodic[*at].cost;
            if units > room {
                return Step::Rest(None);
            }
            self.done.push(Done { now, step: Step::Run(*at), units, paused });
            return Step::Run(*at);
        }
        let to_ask = (0..self.likely.len())
            .filter(|at| paused == Congestion::Clear && !self.answers.contains(&(*at, seen.version)))
            .filter(|at| self.likely[*at] <= ceiling)
            .min_by_key(|at| (self.answers.iter().rposition(|(who, _)| who == at).map_or(0, |turn| turn + 1), *at));
        match to_ask {
            Some(likely) if self.likely[likely] <= room => {
                Step::Ask { likely, most: (room / self.likely[likely]) as usize }
            }
            Some(_) | None => Step::Rest(None),
        }
    }

    /// That entry gave so many events.
    pub(super) fn asked(&mut self, now: u64, step: Step, likely: usize, version: u64, given: usize) {
        self.answers.push((likely, version));
        let units = self.likely[likely] * given as u32;
        self.done.push(Done { now, step, units, paused: self.paused() });
    }

    fn runs(&self, at: usize) -> impl Iterator<Item = u64> + '_ {
        self.done.iter().filter(move |done| done.step == Step::Run(at)).map(|done| done.now)
    }

    /// The moments of an entry until now.
    pub(super) fn moments(&self, at: usize, now: u64) -> impl Iterator<Item = u64> + use<> {
        let Periodic { first, period, .. } = self.periodic[at];
        (0..).map(move |n| first + n * period).take_while(move |moment| *moment <= now)
    }

    /// Since when an entry is due.
    pub(super) fn due(&self, at: usize, now: u64) -> Option<u64> {
        let last = self.runs(at).last();
        match self.rule {
            Rule::Right | Rule::CheapFirst => {
                self.moments(at, now).find(|moment| last.is_none_or(|last| *moment > last))
            }
            Rule::CatchesUp => self.moments(at, now).nth(self.runs(at).count()),
            Rule::Drifts => Some(last.map_or(self.periodic[at].first, |last| last + self.periodic[at].period))
                .filter(|due| *due <= now),
        }
    }

    /// Periods without a run of their own.
    pub(super) fn missed(&self, at: usize, now: u64) -> usize {
        self.moments(at, now).count() - self.runs(at).count() - usize::from(self.due(at, now).is_some())
    }

    /// For which congestion work is paused after the last look: all looks again, from the first.
    fn paused(&self) -> Congestion {
        let (mut level, mut until, mut length) = (Congestion::Clear, 0, self.pauses.0);
        for (now, congestion) in &self.looks {
            if *now < until && *congestion <= level {
                continue;
            }
            level = *congestion;
            if level == Congestion::Clear {
                length = self.pauses.0;
            } else {
                until = now + length;
                length = (2 * length).min(self.pauses.1);
            }
        }
        level
    }

    /// Which law of the scheduler its history breaks, until now.
    pub(super) fn breaks(&self, now: u64) -> Option<&'static str> {
        if let Some(law) = breaks(self.budget, &self.spends()) {
            return Some(law);
        }
        for at in 0..self.periodic.len() {
            let runs: Vec<_> = self.runs(at).collect();
            // The last moment that a run can have been for.
            let moment = |run: u64| self.moments(at, run).last();
            if runs.iter().any(|run| moment(*run).is_none())
                || runs.windows(2).any(|two| moment(two[0]) == moment(two[1]))
            {
                return Some("S2");
            }
            // Whether it was run late for no reason: on a lane and with a budget that kept nobody waiting.
            let idle = self.looks.iter().all(|(_, congestion)| *congestion == Congestion::Clear);
            if idle && self.periodic.len() == 1 && self.budget.units == u32::MAX {
                // The first look at which each moment is the newest.
                let mut expected: Vec<_> = self.looks.iter().map(|(look, _)| (moment(*look), *look)).collect();
                expected.retain(|(newest, _)| newest.is_some());
                expected.dedup_by_key(|(newest, _)| *newest);
                if !expected.into_iter().map(|(_, look)| look).eq(runs.iter().copied()) {
                    return Some("S1");
                }
            }
            if self.overtaken(at, now) {
                return Some("S3");
            }
        }
        let paused = |done: &Done| match done.step {
            Step::Run(at) => done.paused == Congestion::Full && !self.periodic[at].essential,
            Step::Ask { .. } => done.paused > Congestion::Clear,
            Step::Rest(_) => true,
        };
        self.done.iter().any(paused).then_some("S6")
    }

    /// Whether an entry that was due waited for two runs of another, or for a question, though nothing but the budget kept it.
    fn overtaken(&self, at: usize, now: u64) -> bool {
        if self.periodic[at].cost > self.budget.units.min(self.budget.burst) {
            return false;
        }
        let mut runs: Vec<_> = self.done.iter().collect();
        runs.retain(|done| done.paused < Congestion::Full || self.periodic[at].essential);
        let own: Vec<_> = self.runs(at).collect();
        let begins = [None].into_iter().chain(own.iter().copied().map(Some));
        begins.enumerate().any(|(nth, last)| {
            let end = own.get(nth).copied().unwrap_or(now);
            let Some(due) = self.moments(at, end).find(|moment| last.is_none_or(|last| *moment > last)) else {
                return false;
            };
            let while_due: Vec<_> = runs.iter().filter(|done| done.now > due && done.now < end).collect();
            let asked = while_due.iter().any(|done| matches!(done.step, Step::Ask { .. }));
            let twice = (0..self.periodic.len())
                .any(|other| while_due.iter().filter(|done| done.step == Step::Run(other)).count() > 1);
            asked || twice
        })
    }
}

//! What a scheduler decides, without a thread, a clock or a lane.
//!
//! # Rules
//! - **S1 drift-free**: a periodic entry is due at its first moment and whole periods after it, whenever its runs were.
//! - **S2 no catching up**: however late, it runs once. Periods that passed meanwhile are missed, and counted.
//! - **S3 due longest first**: among periodic entries, and nobody overtakes one that waits for budget. So once due, and not paused, an entry
//!   waits for at most one run of each other.
//! - **S4 periodic first**: likely entries are asked when no periodic one waits for budget.
//! - **S5 once a snapshot**: a likely entry is asked once for each version; who was asked longest ago comes first, and is not overtaken
//!   while it waits for budget. So an entry waits until each other was asked at most once.
//! - **S6 congestion**: while [paused](super::pauses) for a busy lane no likely entry is asked; for a full one only essential entries run.
//! - **S7 too dear**: an entry that costs more than the budget ever has does not run, and holds nobody up.

use super::budget::ScheduleBudget;
use super::pauses::Pauses;
use super::stats::{EntryCounts, Ledger};
use crate::control::context::Congestion;

/// What it looks at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// Of the newest snapshot.
    pub(crate) version: u64,
    pub(crate) congestion: Congestion,
    pub(crate) budget: ScheduleBudget,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Run this periodic entry; its cost is spent.
    Run(usize),
    /// Ask this likely entry for so many events at most, and say what [came of it](Core::asked).
    Ask { likely: usize, most: usize },
    /// Nothing until then; `None` when nothing ever will be.
    Rest(Option<u64>),
}

/// Work that comes again and again. Times are nanoseconds.
#[derive(Debug)]
pub(crate) struct Beat {
    pub(crate) place: usize,
    pub(crate) period: u64,
    pub(crate) cost: u32,
    pub(crate) essential: bool,
    /// The oldest moment that it was not run for.
    pub(crate) due: u64,
    /// How many periods have passed since then and were counted.
    pub(crate) missed: u64,
    pub(crate) put_off: PutOff,
}

/// Work that is likely to be of use.
#[derive(Debug)]
pub(crate) struct Guess {
    pub(crate) place: usize,
    pub(crate) cost: u32,
    /// For which version it was asked.
    pub(crate) version: Option<u64>,
    /// Not before that; it said that it could not tell.
    pub(crate) again_at: u64,
    /// Which question of all was its last.
    pub(crate) turn: u64,
    /// Of which version `put_off` is.
    pub(crate) looked_at: Option<u64>,
    pub(crate) put_off: PutOff,
}

/// What was counted already of one run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PutOff {
    budget: bool,
    congestion: bool,
}

/// What keeps work from being done.
#[derive(Clone, Copy, Debug)]
enum Cause {
    Budget,
    Congestion,
}

impl PutOff {
    fn count(&mut self, cause: Cause, counts: &mut EntryCounts) {
        let (said, count) = match cause {
            Cause::Budget => (&mut self.budget, &mut counts.put_off_budget),
            Cause::Congestion => (&mut self.congestion, &mut counts.put_off_congestion),
        };
        *count += u64::from(!*said);
        *said = true;
    }
}

/// Who of those that want to go does.
enum Head {
    Goes(usize),
    /// Waits for budget till then, and everybody behind it too.
    Waits(u64),
    Nobody,
}

/// The decisions of one scheduler.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) beats: Vec<Beat>,
    pub(crate) guesses: Vec<Guess>,
    pub(crate) pauses: Pauses,
    /// How long it rests at most while something waits for a snapshot or for budget.
    pub(crate) look_every: u64,
    pub(crate) questions: u64,
}

impl Core {
    /// What to do at the time `now`.
    pub(crate) fn step(&mut self, now: u64, seen: Seen, ledger: &mut Ledger) -> Step {
        ledger.spending.hold(now, seen.budget);
        let (paused, began) = self.pauses.look(now, seen.congestion);
        ledger.pauses += u64::from(began);
        self.count_missed(now, ledger);
        let mut rest = self.rest(now, paused);
        match self.next_beat(now, paused, seen.budget, ledger) {
            Head::Goes(beat) => return self.run(now, beat, ledger),
            Head::Waits(until) => {
                self.put_off_guesses(seen.version, paused, ledger);
                rest = sooner(rest, until);
            }
            Head::Nobody => match self.next_guess(now, paused, seen, ledger) {
                Head::Goes(likely) => {
                    let most = ledger.spending.room(now) / self.guesses[likely].cost;
                    return Step::Ask { likely, most: most as usize };
                }
                Head::Waits(until) => rest = sooner(rest, until),
                Head::Nobody => {}
            },
        }
        Step::Rest(rest)
    }

    /// That entry gave so many events for this version, or could not tell yet. How many of them may be pushed; they are paid for now.
    pub(crate) fn asked(
        &mut self,
        now: u64,
        likely: usize,
        version: u64,
        given: Option<usize>,
        ledger: &mut Ledger,
    ) -> usize {
        self.questions += 1;
        let guess = &mut self.guesses[likely];
        guess.turn = self.questions;
        let Some(given) = given else {
            guess.again_at = now.saturating_add(self.look_every);
            ledger.counts(guess.place).asked += 1;
            return 0;
        };
        guess.version = Some(version);
        // The room that it was told of is there, unless somebody else spends from the same ledger.
        let events = (ledger.spending.room(now) / guess.cost).min(u32::try_from(given).unwrap_or(u32::MAX));
        ledger.spending.spend(now, guess.cost * events);
        let counts = ledger.counts(guess.place);
        counts.asked += 1;
        counts.runs += u64::from(events);
        events as usize
    }

    /// S2.
    fn count_missed(&mut self, now: u64, ledger: &mut Ledger) {
        for beat in self.beats.iter_mut().filter(|beat| beat.due <= now) {
            let passed = (now - beat.due) / beat.period;
            ledger.counts(beat.place).missed += passed - beat.missed;
            beat.missed = passed;
        }
    }

    /// S3: who of the periodic entries that are due goes next. Those that cannot are put off.
    fn next_beat(&mut self, now: u64, paused: Congestion, budget: ScheduleBudget, ledger: &mut Ledger) -> Head {
        let mut head: Option<(u64, usize)> = None;
        for (at, beat) in self.beats.iter_mut().enumerate().filter(|(_, beat)| beat.due <= now) {
            if paused == Congestion::Full && !beat.essential {
                beat.put_off.count(Cause::Congestion, ledger.counts(beat.place));
            } else if beat.cost > budget.ceiling() {
                beat.put_off.count(Cause::Budget, ledger.counts(beat.place));
            } else if head.is_none_or(|first| (beat.due, at) < first) {
                head = Some((beat.due, at));
            }
        }
        let Some((_, first)) = head else { return Head::Nobody };
        let cost = self.beats[first].cost;
        if ledger.spending.room(now) >= cost {
            return Head::Goes(first);
        }
        for beat in self.beats.iter_mut().filter(|beat| beat.due <= now) {
            if paused < Congestion::Full || beat.essential {
                beat.put_off.count(Cause::Budget, ledger.counts(beat.place));
            }
        }
        Head::Waits(ledger.spending.when(now, cost).unwrap_or(u64::MAX))
    }

    /// S1 and S2: it is due at the next whole period after now.
    fn run(&mut self, now: u64, at: usize, ledger: &mut Ledger) -> Step {
        let beat = &mut self.beats[at];
        ledger.spending.spend(now, beat.cost);
        ledger.counts(beat.place).runs += 1;
        beat.due = beat.due.saturating_add((beat.missed + 1).saturating_mul(beat.period));
        (beat.missed, beat.put_off) = (0, PutOff::default());
        Step::Run(at)
    }

    /// S5: which of the likely entries is asked next. Those that cannot be are put off.
    fn next_guess(&mut self, now: u64, paused: Congestion, seen: Seen, ledger: &mut Ledger) -> Head {
        let room = ledger.spending.room(now);
        let mut head: Option<(u64, usize)> = None;
        for (at, guess) in self.guesses.iter_mut().enumerate() {
            if guess.version == Some(seen.version) || now < guess.again_at {
                continue;
            }
            if paused > Congestion::Clear {
                guess.put_off(Cause::Congestion, seen.version, ledger);
            } else if guess.cost > seen.budget.ceiling() {
                guess.put_off(Cause::Budget, seen.version, ledger);
            } else if head.is_none_or(|first| (guess.turn, at) < first) {
                head = Some((guess.turn, at));
            }
        }
        let Some((_, first)) = head else { return Head::Nobody };
        let cost = self.guesses[first].cost;
        if room >= cost {
            return Head::Goes(first);
        }
        self.put_off_guesses(seen.version, paused, ledger);
        Head::Waits(ledger.spending.when(now, cost).unwrap_or(u64::MAX))
    }

    /// S4: they have to wait for budget, if it is not congestion that they wait for.
    fn put_off_guesses(&mut self, version: u64, paused: Congestion, ledger: &mut Ledger) {
        let cause = if paused > Congestion::Clear { Cause::Congestion } else { Cause::Budget };
        for guess in self.guesses.iter_mut().filter(|guess| guess.version != Some(version)) {
            guess.put_off(cause, version, ledger);
        }
    }

    /// When there will be something to look at, whatever the budget does. While paused it does not look for what would wait all the same.
    fn rest(&self, now: u64, paused: Congestion) -> Option<u64> {
        let mut due = self.beats.iter().filter(|beat| beat.due <= now);
        let waits_for_budget = due.clone().any(|beat| paused < Congestion::Full || beat.essential);
        let looks = waits_for_budget || (!self.guesses.is_empty() && paused == Congestion::Clear);
        let is_held = paused > Congestion::Clear && (!self.guesses.is_empty() || due.next().is_some());
        let look = looks.then(|| now.saturating_add(self.look_every));
        let pause = is_held.then(|| self.pauses.until());
        let later = self.beats.iter().map(|beat| beat.due).filter(|due| *due > now).min();
        [look, pause, later].into_iter().flatten().min()
    }
}

impl Guess {
    pub(crate) fn new(place: usize, cost: u32) -> Self {
        let put_off = PutOff::default();
        Self { place, cost, version: None, again_at: 0, turn: 0, looked_at: None, put_off }
    }

    fn put_off(&mut self, cause: Cause, version: u64, ledger: &mut Ledger) {
        if self.looked_at != Some(version) {
            (self.looked_at, self.put_off) = (Some(version), PutOff::default());
        }
        self.put_off.count(cause, ledger.counts(self.place));
    }
}

fn sooner(rest: Option<u64>, until: u64) -> Option<u64> {
    Some(rest.map_or(until, |rest| rest.min(until)))
}

#[cfg(test)]
#[path = "core_tests.rs"]
mod tests;

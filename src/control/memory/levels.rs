//! How a reading stands to the budget.
//!
//! # Rules
//! - **L1 the worst counts**: of what is both limited and known, the fullest part decides.
//! - **L2 up at once**: a level whose threshold is reached is taken at once.
//! - **L3 down slowly**: a level is left for the next lower one when every observation of a dwell time was below its own
//!   threshold by the margin.
//! - **L4 unknown is not calm**: where nothing is known the level stays, and the dwell time begins anew.

use std::time::Instant;

use super::budget::{MemoryBudget, MemoryBudgetError, MemoryThresholds};
use super::reading::MemoryReading;

/// How short memory is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemoryLevel {
    /// There is enough.
    #[default]
    Normal,
    /// There is less than there should be: put aside what is not looked at.
    Elevated,
    /// It runs out: put aside more, and faster.
    High,
    /// It is as good as out: keep what is needed now.
    Critical,
}

/// What a level was judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum MemorySignal {
    /// What the state and mainlane hold.
    Held,
    /// What of the process is in memory.
    Process,
    /// What the cgroup uses of its limit.
    Cgroup,
    /// For how much of the time tasks wait for memory.
    Stall,
}

/// How a reading stands to the budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Observation {
    /// The level, from now on.
    pub level: MemoryLevel,
    /// Whether it was another before.
    pub changed: bool,
    /// What the reading was judged by: the part that is fullest. `None` when nothing that is limited is known.
    pub by: Option<MemorySignal>,
    /// How much of that is used: bytes; of [`MemorySignal::Stall`] hundredths of a percent.
    pub used: u64,
    /// How much of it may be, in the same unit.
    pub budget: u64,
    /// How much of it has to go until the lowest level can be left; zero when nothing has to.
    pub excess: u64,
}

/// Judges readings, one after the other.
#[derive(Clone, Debug)]
pub struct Levels {
    budget: MemoryBudget,
    thresholds: MemoryThresholds,
    level: MemoryLevel,
    /// Since when every observation was below the level by the margin.
    calm_since: Option<Instant>,
}

impl Levels {
    /// Begins at [`MemoryLevel::Normal`].
    ///
    /// # Errors
    /// When the budget or the thresholds make no sense.
    pub fn new(budget: MemoryBudget, thresholds: MemoryThresholds) -> Result<Self, MemoryBudgetError> {
        budget.check()?;
        thresholds.check()?;
        Ok(Self { budget, thresholds, level: MemoryLevel::Normal, calm_since: None })
    }

    /// The level now.
    pub fn level(&self) -> MemoryLevel {
        self.level
    }

    /// Takes in a reading that was taken at `now`. A time before that of the last observation counts as the same.
    pub fn observe(&mut self, now: Instant, reading: &MemoryReading) -> Observation {
        let before = self.level;
        let Some(fill) = self.budget.fullest(reading) else {
            self.calm_since = None;
            return Observation { level: before, ..Observation::default() };
        };
        let reached = self.thresholds.reached(&fill);
        if reached > before {
            (self.level, self.calm_since) = (reached, None);
        } else if self.thresholds.is_calm(before, &fill) {
            let since = *self.calm_since.get_or_insert(now);
            if now.saturating_duration_since(since) >= self.thresholds.dwell {
                (self.level, self.calm_since) = (before.lower(), None);
            }
        } else {
            self.calm_since = None;
        }
        Observation {
            level: self.level,
            changed: self.level != before,
            by: Some(fill.signal),
            used: fill.used,
            budget: fill.budget,
            excess: self.thresholds.excess(&fill),
        }
    }
}

/// How much of one part of the budget is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fill {
    pub(super) signal: MemorySignal,
    pub(super) used: u64,
    /// One at least.
    pub(super) budget: u64,
}

impl MemoryBudget {
    /// L1. Of parts that are equally full, the first.
    pub(super) fn fullest(&self, reading: &MemoryReading) -> Option<Fill> {
        let fill =
            |signal, used: Option<u64>, budget: Option<u64>| Some(Fill { signal, used: used?, budget: budget?.max(1) });
        let cgroup = reading.cgroup.and_then(|cgroup| cgroup.fullest);
        let part = cgroup.zip(self.cgroup).map(|(fill, fraction)| (fill.limit as f64 * fraction) as u64);
        let pressure = reading.cgroup_pressure.or(reading.machine_pressure);
        let waited = pressure.and_then(|pressure| pressure.some).map(|stall| hundredths(stall.avg10));
        let parts = [
            fill(MemorySignal::Held, reading.held, self.held),
            fill(MemorySignal::Process, reading.process, self.process),
            fill(MemorySignal::Cgroup, cgroup.map(|fill| fill.used), part),
            fill(MemorySignal::Stall, waited, self.stall.map(hundredths)),
        ];
        parts.into_iter().flatten().reduce(|fullest, other| if other.is_fuller(&fullest) { other } else { fullest })
    }
}

impl Fill {
    fn is_fuller(&self, other: &Self) -> bool {
        u128::from(self.used) * u128::from(other.budget) > u128::from(other.used) * u128::from(self.budget)
    }

    fn is_at_least(&self, percent: u32) -> bool {
        u128::from(self.used) * 100 >= u128::from(self.budget) * u128::from(percent)
    }
}

impl MemoryThresholds {
    fn of(&self, level: MemoryLevel) -> Option<u32> {
        match level {
            MemoryLevel::Normal => None,
            MemoryLevel::Elevated => Some(self.elevated),
            MemoryLevel::High => Some(self.high),
            MemoryLevel::Critical => Some(self.critical),
        }
    }

    fn reached(&self, fill: &Fill) -> MemoryLevel {
        let levels = [MemoryLevel::Critical, MemoryLevel::High, MemoryLevel::Elevated];
        let is_reached = |level: &MemoryLevel| self.of(*level).is_some_and(|percent| fill.is_at_least(percent));
        levels.into_iter().find(is_reached).unwrap_or(MemoryLevel::Normal)
    }

    /// Whether it is below the level by the margin.
    fn is_calm(&self, level: MemoryLevel, fill: &Fill) -> bool {
        self.of(level).is_some_and(|percent| !fill.is_at_least(percent - self.margin))
    }

    /// What is to go until the lowest level can be left.
    fn excess(&self, fill: &Fill) -> u64 {
        let left_at = u128::from(fill.budget) * u128::from(self.elevated - self.margin);
        // Below it, not at it.
        let most = left_at.div_ceil(100).saturating_sub(1) as u64;
        fill.used.saturating_sub(most)
    }
}

impl MemoryLevel {
    fn lower(self) -> Self {
        match self {
            MemoryLevel::Normal | MemoryLevel::Elevated => MemoryLevel::Normal,
            MemoryLevel::High => MemoryLevel::Elevated,
            MemoryLevel::Critical => MemoryLevel::High,
        }
    }
}

fn hundredths(percent: f64) -> u64 {
    (percent * 100.0).round() as u64
}

#[cfg(test)]
#[path = "levels_tests.rs"]
mod tests;

//! What may be used, and how much of it is how bad.

use std::fmt;
use std::time::Duration;

/// How much memory may be used. Each part may be unset; what the system does not say is not judged either.
///
/// ```
/// use mainlane::control::memory::{Levels, MemoryBudget, MemoryThresholds};
///
/// let budget = MemoryBudget::new().held(256 << 20).cgroup(0.9);
/// assert!(Levels::new(budget, MemoryThresholds::default()).is_ok());
/// let error = Levels::new(MemoryBudget::new().cgroup(90.0), MemoryThresholds::default()).unwrap_err();
/// assert_eq!(error.to_string(), "90 is not a part of a cgroup's limit; choose more than 0, up to 1");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MemoryBudget {
    pub(super) held: Option<u64>,
    pub(super) process: Option<u64>,
    pub(super) cgroup: Option<f64>,
    pub(super) stall: Option<f64>,
}

impl MemoryBudget {
    /// Nothing is limited.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many bytes the state and mainlane may hold, by their own count
    /// ([`MemoryReading::held`](super::MemoryReading::held)).
    pub fn held(mut self, bytes: u64) -> Self {
        self.held = Some(bytes);
        self
    }

    /// How many bytes of the process may be in memory.
    pub fn process(mut self, bytes: u64) -> Self {
        self.process = Some(bytes);
        self
    }

    /// Which part of its limit the cgroup may use, 1 for all of it: that of the cgroup or of one that it is in, whichever is
    /// fuller ([`CgroupMemory::fullest`](super::CgroupMemory::fullest)).
    pub fn cgroup(mut self, fraction: f64) -> Self {
        self.cgroup = Some(fraction);
        self
    }

    /// In how many percent of the last ten seconds some task of the cgroup may have waited for memory; of the machine, where
    /// the cgroup has no such figure.
    pub fn stall(mut self, percent: f64) -> Self {
        self.stall = Some(percent);
        self
    }

    pub(super) fn check(&self) -> Result<(), MemoryBudgetError> {
        let Self { held, process, cgroup, stall } = *self;
        for (setting, bytes) in [("held", held), ("process", process)] {
            if bytes == Some(0) {
                return Err(MemoryBudgetError::Zero { setting });
            }
        }
        if let Some(fraction) = cgroup.filter(|fraction| !(*fraction > 0.0 && *fraction <= 1.0)) {
            return Err(MemoryBudgetError::Fraction { fraction });
        }
        // Below a hundredth nothing is measured.
        if let Some(percent) = stall.filter(|percent| !(0.01..=100.0).contains(percent)) {
            return Err(MemoryBudgetError::Percent { percent });
        }
        if *self == Self::default() {
            return Err(MemoryBudgetError::Nothing);
        }
        Ok(())
    }
}

/// At how many percent of the budget which level begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryThresholds {
    /// Of [`Elevated`](super::MemoryLevel::Elevated); 70 unless said otherwise.
    pub elevated: u32,
    /// Of [`High`](super::MemoryLevel::High); 85 unless said otherwise.
    pub high: u32,
    /// Of [`Critical`](super::MemoryLevel::Critical); 95 unless said otherwise.
    pub critical: u32,
    /// How many percent below its threshold a level is left; 5 unless said otherwise.
    pub margin: u32,
    /// For how long it has to be below that all the time; 5 seconds unless said otherwise.
    pub dwell: Duration,
}

impl Default for MemoryThresholds {
    fn default() -> Self {
        Self { elevated: 70, high: 85, critical: 95, margin: 5, dwell: Duration::from_secs(5) }
    }
}

impl MemoryThresholds {
    pub(super) fn check(&self) -> Result<(), MemoryBudgetError> {
        let Self { elevated, high, critical, margin, .. } = *self;
        if !(0 < elevated && elevated < high && high < critical && critical <= 100) {
            return Err(MemoryBudgetError::Thresholds { elevated, high, critical });
        }
        if margin >= elevated {
            return Err(MemoryBudgetError::Margin { margin, elevated });
        }
        Ok(())
    }
}

/// Why a budget cannot be kept.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum MemoryBudgetError {
    /// It limits nothing.
    Nothing,
    /// It allows no byte.
    Zero {
        /// Which part of it.
        setting: &'static str,
    },
    /// It is not a part of a limit.
    Fraction {
        /// What was asked for.
        fraction: f64,
    },
    /// It is not a part of the time.
    Percent {
        /// What was asked for.
        percent: f64,
    },
    /// The thresholds do not rise, or are not within the budget.
    Thresholds {
        /// The lowest.
        elevated: u32,
        /// The next.
        high: u32,
        /// The highest.
        critical: u32,
    },
    /// The lowest level would never be left.
    Margin {
        /// What was asked for.
        margin: u32,
        /// The lowest threshold.
        elevated: u32,
    },
}

impl fmt::Display for MemoryBudgetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MemoryBudgetError::Nothing => f.write_str("a budget that limits nothing has no effect; set a part of it"),
            MemoryBudgetError::Zero { setting } => {
                write!(f, "a budget of no bytes for `{setting}` cannot be kept; choose one or more, or leave it unset")
            }
            MemoryBudgetError::Fraction { fraction } => {
                write!(f, "{fraction} is not a part of a cgroup's limit; choose more than 0, up to 1")
            }
            MemoryBudgetError::Percent { percent } => {
                write!(f, "{percent} percent of the time cannot be waited; choose 0.01 to 100")
            }
            MemoryBudgetError::Thresholds { elevated, high, critical } => {
                write!(f, "thresholds of {elevated}, {high} and {critical} percent: they have to rise, from 1 to 100")
            }
            MemoryBudgetError::Margin { margin, elevated } => {
                write!(
                    f,
                    "with a margin of {margin} percent a level that begins at {elevated} is never left; choose less"
                )
            }
        }
    }
}

impl std::error::Error for MemoryBudgetError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_kept_is_refused() {
        let new = MemoryBudget::new;
        for (budget, error) in [
            (new(), MemoryBudgetError::Nothing),
            (new().held(0), MemoryBudgetError::Zero { setting: "held" }),
            (new().held(1).process(0), MemoryBudgetError::Zero { setting: "process" }),
            (new().cgroup(0.0), MemoryBudgetError::Fraction { fraction: 0.0 }),
            (new().cgroup(1.01), MemoryBudgetError::Fraction { fraction: 1.01 }),
            (new().cgroup(-0.5), MemoryBudgetError::Fraction { fraction: -0.5 }),
            (new().stall(0.0), MemoryBudgetError::Percent { percent: 0.0 }),
            (new().stall(101.0), MemoryBudgetError::Percent { percent: 101.0 }),
        ] {
            assert_eq!(budget.check(), Err(error));
        }
        assert!(new().cgroup(f64::NAN).check().is_err() && new().stall(f64::NAN).check().is_err());
        let budgets =
            [new().held(1), new().process(1), new().cgroup(1.0), new().stall(100.0), new().held(1).stall(0.01)];
        assert!(budgets.iter().all(|budget| budget.check().is_ok()));
    }

    #[test]
    fn thresholds_rise_and_can_be_left() {
        let with = |elevated, high, critical, margin| {
            MemoryThresholds { elevated, high, critical, margin, dwell: Duration::ZERO }.check().is_ok()
        };
        assert!(MemoryThresholds::default().check().is_ok() && with(1, 2, 3, 0) && with(98, 99, 100, 97));
        let refused = [(0, 1, 2, 0), (2, 2, 3, 0), (1, 3, 3, 0), (3, 2, 4, 0), (1, 2, 101, 0), (5, 6, 7, 5)];
        assert!(!refused.iter().any(|(elevated, high, critical, margin)| with(*elevated, *high, *critical, *margin)));
    }
}

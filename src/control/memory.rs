//! How much memory is used, how much there is, when it is too much, and how much of the state is then to be put aside.
//!
//! | part | what it is |
//! |------|------------|
//! | [`MemoryProbe`] | reads what the system says: the process, its cgroup, the machine, the kernel's pressure |
//! | [`MemoryBudget`] | what may be used |
//! | [`Levels`] | how a reading stands to the budget: a [`MemoryLevel`], with hysteresis |
//! | [`Demotions`] | how many parts of the state may be demoted now |
//! | [`Monitor`] | all of them in one look |
//! | [`MemoryMonitor`] | the worker that looks again and again |
//!
//! All but the probe and the worker is a function of what it is given, the time included.

// In the order a reading meets them.
mod cgroup;
mod pressure;
mod probe;
mod reading;

mod spare;

mod budget;
mod levels;

mod demotions;
mod monitor;
mod worker;

#[cfg(test)]
mod levels_twin;

pub use budget::{MemoryBudget, MemoryBudgetError, MemoryThresholds};
pub use demotions::Demotions;
pub use levels::{Levels, MemoryLevel, MemorySignal, Observation};
pub use monitor::{Look, Monitor};
pub use probe::MemoryProbe;
pub use reading::{CgroupFill, CgroupMemory, MachineMemory, MemoryPressure, MemoryReading, Stall};
pub use worker::{MemoryGauge, MemoryMonitor};

//! What a look at the memory has found.

use std::time::Duration;

/// What is known of the memory at one moment. Whatever the system does not say is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct MemoryReading {
    /// Bytes that the host's state and mainlane hold, by their own count. The probe leaves it to whoever knows.
    pub held: Option<u64>,
    /// Bytes of this process that are in memory.
    pub process: Option<u64>,
    /// The cgroup that this process is in.
    pub cgroup: Option<CgroupMemory>,
    /// The machine.
    pub machine: Option<MachineMemory>,
    /// How much the tasks of the cgroup wait for memory.
    pub cgroup_pressure: Option<MemoryPressure>,
    /// How much all tasks of the machine wait for memory.
    pub machine_pressure: Option<MemoryPressure>,
}

/// The memory of the cgroup that a process is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CgroupMemory {
    /// Bytes in use, without the file cache that the kernel drops first when it needs room (`inactive_file`).
    pub used: Option<u64>,
    /// The lowest hard limit of the cgroup and those that it is in, in bytes: beyond it the kernel kills.
    pub limit: Option<u64>,
    /// The lowest limit, likewise, beyond which the kernel slows down whoever asks for more.
    pub high: Option<u64>,
    /// Of the cgroup and those that it is in, the one with the least room for its size.
    pub fullest: Option<CgroupFill>,
}

/// How full a cgroup is.
///
/// A limit is set against what its own cgroup uses: that of a parent is shared with the parent's other children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CgroupFill {
    /// Bytes in use, as in [`CgroupMemory::used`].
    pub used: u64,
    /// The lower of its two limits, in bytes.
    pub limit: u64,
    /// Which one: 0 for the cgroup that the process is in, 1 for its parent.
    pub parents: u32,
}

/// The memory of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MachineMemory {
    /// Bytes there are.
    pub total: u64,
    /// Bytes that can be had without swapping, as the kernel estimates.
    pub available: Option<u64>,
}

/// The kernel's pressure stall information: how much of the time tasks wait for memory.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MemoryPressure {
    /// Some task waited.
    pub some: Option<Stall>,
    /// All tasks that had something to do waited, so that nothing was done.
    pub full: Option<Stall>,
}

/// How long was waited.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stall {
    /// In percent of the last ten seconds.
    pub avg10: f64,
    /// Since the machine, or the cgroup, was started.
    pub total: Duration,
}

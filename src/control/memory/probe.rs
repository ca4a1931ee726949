//! Reads what the system says of memory.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use super::cgroup::Cgroup;
use super::pressure;
use super::reading::{MachineMemory, MemoryReading};

/// The most that is read of a file. None of them is near it.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// Reads how much memory this process, its cgroup and the machine use.
///
/// On Linux it reads `/proc` and the cgroup's files: v2 with all parents of the cgroup, or v1. Elsewhere there are the
/// process and the machine only. What is absent, malformed or forbidden is `None` in the reading, and never an error. A
/// reading takes some file reads, a few tens of microseconds; what it needs for that it keeps.
///
/// ```
/// use mainlane::control::memory::MemoryProbe;
///
/// let reading = MemoryProbe::new().read();
/// assert!(reading.process.is_none_or(|bytes| bytes > 0));
/// ```
#[derive(Debug)]
pub struct MemoryProbe {
    status: PathBuf,
    membership: PathBuf,
    machine: PathBuf,
    pressure: PathBuf,
    cgroup_root: PathBuf,
    cgroup: Cgroup,
    files: Files,
    /// Asked where there is no `/proc`.
    elsewhere: Option<Elsewhere>,
}

#[derive(Debug)]
struct Elsewhere {
    system: System,
    process: Option<Pid>,
}

impl Default for MemoryProbe {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryProbe {
    /// Looks at this process, on this machine.
    pub fn new() -> Self {
        let mut probe = Self::at("/proc", "/sys/fs/cgroup");
        if cfg!(not(target_os = "linux")) {
            let process = sysinfo::get_current_pid().ok();
            probe.elsewhere = System::new().ok().map(|system| Elsewhere { system, process });
        }
        probe
    }

    /// Reads the same files in other places: where a container has the machine's `/proc` and cgroups, or copies of them.
    pub fn at(proc: impl AsRef<Path>, cgroups: impl Into<PathBuf>) -> Self {
        let proc = proc.as_ref();
        Self {
            status: proc.join("self/status"),
            membership: proc.join("self/cgroup"),
            machine: proc.join("meminfo"),
            pressure: proc.join("pressure/memory"),
            cgroup_root: cgroups.into(),
            cgroup: Cgroup::default(),
            files: Files::default(),
            elsewhere: None,
        }
    }

    /// Takes a reading. [`MemoryReading::held`] stays `None`.
    pub fn read(&mut self) -> MemoryReading {
        if let Some(elsewhere) = &mut self.elsewhere {
            return elsewhere.read();
        }
        let Self { status, membership, machine, pressure, cgroup_root, cgroup, files, .. } = self;
        let mut read = |file: &Path, take: &mut dyn FnMut(&str)| files.read(file, take);
        let mut reading = MemoryReading::default();
        read(status, &mut |text| reading.process = kibibytes(text, "VmRSS:"));
        read(machine, &mut |text| reading.machine = machine_memory(text));
        read(pressure, &mut |text| reading.machine_pressure = pressure::parse(text));
        cgroup.find(membership, cgroup_root, &mut read);
        reading.cgroup = cgroup.read(reading.machine.map(|machine| machine.total), &mut read);
        reading.cgroup_pressure = cgroup.pressure(&mut read);
        reading
    }
}

impl Elsewhere {
    fn read(&mut self) -> MemoryReading {
        let Self { system, process } = self;
        system.refresh_memory();
        let machine = MachineMemory { total: system.total_memory(), available: Some(system.available_memory()) };
        let mut reading = MemoryReading { machine: Some(machine), ..MemoryReading::default() };
        if let Some(process) = *process {
            let wanted = ProcessRefreshKind::nothing().with_memory();
            system.refresh_processes_specifics(ProcessesToUpdate::Some(&[process]), false, wanted);
            reading.process = system.process(process).map(sysinfo::Process::memory);
        }
        reading
    }
}

/// Reads files, one after the other, into the same memory.
#[derive(Debug, Default)]
struct Files {
    buffer: Vec<u8>,
}

impl Files {
    fn read(&mut self, file: &Path, take: &mut dyn FnMut(&str)) {
        self.buffer.clear();
        let read = File::open(file).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut self.buffer));
        if read.is_ok() {
            // The name of a process is cut at 15 bytes, be it within a character.
            take(&String::from_utf8_lossy(&self.buffer));
        }
    }
}

fn machine_memory(text: &str) -> Option<MachineMemory> {
    Some(MachineMemory { total: kibibytes(text, "MemTotal:")?, available: kibibytes(text, "MemAvailable:") })
}

/// The bytes of a line as `VmRSS:     1234 kB`.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
#[path = "probe_tests.rs"]
mod tests;

//! Tests of the probe, in folders made up for them.

use std::fs;
use std::time::Duration;

use proptest::prelude::*;

use super::super::reading::{CgroupFill, CgroupMemory, MemoryPressure, Stall};
use super::*;

const MIB: u64 = 1 << 20;
const MACHINE: &str = "MemTotal:       1048576 kB\nMemFree:          1000 kB\nMemAvailable:     524288 kB\n";

/// A machine: `proc` and `cgroups` in a folder of their own.
struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    fn new(files: &[(&str, &str)]) -> Self {
        let machine = Self { folder: tempfile::tempdir().unwrap() };
        machine.write("proc/meminfo", MACHINE);
        files.iter().for_each(|(path, text)| machine.write(path, text));
        machine
    }

    fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let file = self.folder.path().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    fn probe(&self) -> MemoryProbe {
        MemoryProbe::at(self.folder.path().join("proc"), self.folder.path().join("cgroups"))
    }

    fn cgroup(&self) -> Option<CgroupMemory> {
        self.probe().read().cgroup
    }
}

fn bytes(mib: u64) -> String {
    format!("{}\n", mib * MIB)
}

#[test]
fn a_name_that_is_cut_within_a_character_hides_nothing() {
    let machine = Machine::new(&[]);
    machine.write("proc/self/status", b"Name:\tsechzehn-bytes\xc3\nVmRSS:\t    2048 kB\n");
    assert_eq!(machine.probe().read().process, Some(2 * MIB));
}

#[test]
fn a_process_and_its_machine_are_read() {
    let stall = "some avg10=1.50 avg60=0.00 avg300=0.00 total=9\n";
    let machine = Machine::new(&[
        ("proc/self/status", "Name:\tx\nVmHWM:\t    9999 kB\nVmRSS:\t    2048 kB\nThreads:\t1\n"),
        ("proc/pressure/memory", stall),
    ]);
    let reading = machine.probe().read();
    assert_eq!((reading.process, reading.held, reading.cgroup), (Some(2 * MIB), None, None));
    assert_eq!(reading.machine, Some(MachineMemory { total: 1024 * MIB, available: Some(512 * MIB) }));
    let some = Some(Stall { avg10: 1.5, total: Duration::from_micros(9) });
    assert_eq!(reading.machine_pressure, Some(MemoryPressure { some, full: None }));
    assert_eq!(reading.cgroup_pressure, None);
}

#[test]
fn where_there_is_nothing_nothing_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let mut probe = MemoryProbe::at(folder.path().join("proc"), folder.path().join("cgroups"));
    assert_eq!(probe.read(), MemoryReading::default());
    assert_eq!(probe.read(), MemoryReading::default());
}

/// A parent with a lower limit, of which siblings use a part.
fn nested() -> Machine {
    Machine::new(&[
        ("proc/self/cgroup", "0::/user.slice/app:1.scope\n"),
        ("cgroups/user.slice/app:1.scope/memory.current", &bytes(200)),
        ("cgroups/user.slice/app:1.scope/memory.stat", &format!("anon 1\ninactive_file {}\nslab 3\n", 50 * MIB)),
        ("cgroups/user.slice/app:1.scope/memory.max", &bytes(400)),
        ("cgroups/user.slice/app:1.scope/memory.high", "max\n"),
        ("cgroups/user.slice/app:1.scope/memory.pressure", "full avg10=2.00 avg60=0.00 avg300=0.00 total=1\n"),
        ("cgroups/user.slice/memory.current", &bytes(280)),
        ("cgroups/user.slice/memory.max", &bytes(350)),
        ("cgroups/user.slice/memory.high", &bytes(300)),
        // The root of a machine has no limits.
        ("cgroups/memory.stat", "inactive_file 5\n"),
    ])
}

#[test]
fn the_tightest_limit_among_the_parents_counts_against_what_its_own_cgroup_uses() {
    let machine = nested();
    let fullest = CgroupFill { used: 280 * MIB, limit: 300 * MIB, parents: 1 };
    let cgroup =
        CgroupMemory { used: Some(150 * MIB), limit: Some(350 * MIB), high: Some(300 * MIB), fullest: Some(fullest) };
    let reading = machine.probe().read();
    assert_eq!(reading.cgroup, Some(cgroup));
    let full = Some(Stall { avg10: 2.0, total: Duration::from_micros(1) });
    assert_eq!(reading.cgroup_pressure, Some(MemoryPressure { some: None, full }));

    machine.write("cgroups/user.slice/memory.current", bytes(100));
    let fullest = CgroupFill { used: 150 * MIB, limit: 400 * MIB, parents: 0 };
    assert_eq!(machine.cgroup().unwrap().fullest, Some(fullest), "the parent has more room now");
}

#[test]
fn a_file_that_vanishes_is_missed_alone_and_read_again_when_it_is_back() {
    let machine = nested();
    let mut probe = machine.probe();
    let before = probe.read();
    let usage = machine.folder.path().join("cgroups/user.slice/app:1.scope/memory.current");
    fs::remove_file(&usage).unwrap();
    let without = probe.read().cgroup.unwrap();
    assert_eq!((without.used, without.limit), (None, Some(350 * MIB)));
    fs::write(&usage, bytes(200)).unwrap();
    assert_eq!(probe.read(), before);
    fs::remove_dir_all(machine.folder.path().join("cgroups")).unwrap();
    assert_eq!(probe.read().cgroup, None);
    fs::remove_file(machine.folder.path().join("proc/self/cgroup")).unwrap();
    assert_eq!(probe.read().cgroup, None);
}

#[test]
fn a_process_that_is_moved_is_followed() {
    let machine = nested();
    let mut probe = machine.probe();
    assert_eq!(probe.read().cgroup.unwrap().used, Some(150 * MIB));
    machine.write("cgroups/other/memory.current", bytes(7));
    machine.write("proc/self/cgroup", "0::/other\n");
    assert_eq!(probe.read().cgroup, Some(CgroupMemory { used: Some(7 * MIB), ..CgroupMemory::default() }));
}

#[test]
fn what_is_not_limited_has_no_limit() {
    let machine = Machine::new(&[
        ("proc/self/cgroup", "0::/\n"),
        ("cgroups/memory.current", &bytes(5)),
        ("cgroups/memory.max", "max\n"),
        ("cgroups/memory.high", "max\n"),
    ]);
    let unlimited = Some(CgroupMemory { used: Some(5 * MIB), ..CgroupMemory::default() });
    assert_eq!(machine.cgroup(), unlimited);
    machine.write("cgroups/memory.max", bytes(1024));
    assert_eq!(machine.cgroup(), unlimited, "no lower than what the machine has");
    machine.write("cgroups/memory.max", bytes(1023));
    assert_eq!(machine.cgroup().unwrap().limit, Some(1023 * MIB));
}

#[test]
fn the_first_version_is_read_too() {
    let machine = Machine::new(&[
        ("proc/self/cgroup", "4:cpu,memory:/a/b\n1:name=systemd:/x\n"),
        ("cgroups/memory/a/b/memory.usage_in_bytes", &bytes(100)),
        ("cgroups/memory/a/b/memory.limit_in_bytes", "9223372036854771712\n"),
        ("cgroups/memory/a/b/memory.stat", &format!("inactive_file 3\ntotal_inactive_file {}\n", 10 * MIB)),
        ("cgroups/memory/a/memory.usage_in_bytes", &bytes(120)),
        ("cgroups/memory/a/memory.limit_in_bytes", &bytes(200)),
    ]);
    let fullest = Some(CgroupFill { used: 120 * MIB, limit: 200 * MIB, parents: 1 });
    let cgroup = CgroupMemory { used: Some(90 * MIB), limit: Some(200 * MIB), high: None, fullest };
    assert_eq!(machine.cgroup(), Some(cgroup));
}

#[test]
fn of_two_hierarchies_the_one_with_the_memory_is_read() {
    let machine = Machine::new(&[
        ("proc/self/cgroup", "4:memory:/a\n0::/b\n"),
        ("cgroups/memory/a/memory.usage_in_bytes", &bytes(100)),
        ("cgroups/unified/b/memory.current", &bytes(1)),
        ("cgroups/unified/b/memory.pressure", "some avg10=3.00 total=1\n"),
    ]);
    let reading = machine.probe().read();
    assert_eq!(reading.cgroup.unwrap().used, Some(100 * MIB));
    assert_eq!(reading.cgroup_pressure.unwrap().some.unwrap().avg10, 3.0);
}

#[test]
fn in_a_container_the_root_is_its_own() {
    for path in ["/docker/0123", "/../../other"] {
        let machine = Machine::new(&[
            ("proc/self/cgroup", &format!("0::{path}\n")),
            ("cgroups/memory.current", &bytes(30)),
            ("cgroups/memory.max", &bytes(60)),
        ]);
        // Beyond the root there is nothing to be looked for.
        machine.write("other/memory.current", bytes(1));
        let cgroup = machine.cgroup().unwrap();
        assert_eq!((cgroup.limit, cgroup.fullest.map(|fill| fill.used)), (Some(60 * MIB), Some(30 * MIB)), "{path}");
    }
}

#[test]
fn what_is_malformed_is_not_known() {
    let machine = nested();
    machine.write("proc/self/status", "VmRSS:\t 12 MB\n");
    machine.write("proc/meminfo", "MemTotal: 99999999999999999999 kB\n");
    machine.write("proc/pressure/memory", [0xFF, 0xFE]);
    machine.write("cgroups/user.slice/app:1.scope/memory.current", "-5\n");
    machine.write("cgroups/user.slice/memory.max", "");
    let reading = machine.probe().read();
    assert_eq!((reading.process, reading.machine, reading.machine_pressure), (None, None, None));
    let cgroup = reading.cgroup.unwrap();
    assert_eq!((cgroup.used, cgroup.limit, cgroup.high), (None, Some(400 * MIB), Some(300 * MIB)));
    for membership in ["", "0", "0:", "x::/y\n", "0::\n", ":::::", "\n\n"] {
        machine.write("proc/self/cgroup", membership);
        let _ = machine.probe().read();
    }
}

#[test]
fn this_process_has_plausible_figures() {
    let mut probe = MemoryProbe::new();
    let reading = probe.read();
    let (process, machine) =
        (reading.process.expect("a process has memory"), reading.machine.expect("as has a machine"));
    assert!(process > 0 && process < machine.total, "{reading:?}");
    assert!(machine.available.is_none_or(|available| available <= machine.total), "{reading:?}");
    if let Some(CgroupMemory { used: Some(used), .. }) = reading.cgroup {
        assert!(used <= machine.total, "{reading:?}");
    }
    let capacity = probe.files.buffer.capacity();
    probe.read();
    assert!(probe.files.buffer.capacity() <= 2 * capacity, "the memory is used again");
}

proptest! {
    #[test]
    fn whatever_the_files_say_is_no_panic(
        membership in "(([0-9]{0,2}|0):(memory|cpu,memory|)?:(/[a-b./]{0,8})?\n?){0,4}",
        texts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 8),
        numbers in proptest::collection::vec(any::<u64>(), 4),
    ) {
        let machine = Machine::new(&[("proc/self/cgroup", &membership)]);
        for (file, text) in ["proc/meminfo", "proc/self/status", "proc/pressure/memory", "cgroups/memory.stat"].iter().zip(&texts) {
            machine.write(file, text);
        }
        for (file, number) in ["memory.current", "memory.max", "memory.high", "a/memory.current"].iter().zip(&numbers) {
            machine.write(&format!("cgroups/{file}"), number.to_string());
        }
        let reading = machine.probe().read();
        let filled = reading.cgroup.and_then(|cgroup| cgroup.fullest);
        prop_assert!(filled.is_none_or(|fill| numbers.contains(&fill.limit)));
    }
}

//! Readings of the machine, at a steady pace.

use std::time::{Duration, Instant};

use sysinfo::{Pid, Process, ProcessRefreshKind, ProcessesToUpdate, System};

use super::event::{SystemEvent, WorkspaceEvent};
use crate::{Outlet, Polled, Source, SourceError};

/// Emits one reading of each kind per period: memory, load, and this process's processor time.
///
/// All are lossy, so a main lane that falls behind sees the newest. A period that was missed is skipped, not made up
/// for. A reading costs some reads below `/proc`, well under a millisecond.
pub struct SystemSource {
    period: Duration,
    next: Instant,
    /// Opened by the first poll, which can say what went wrong.
    system: Option<System>,
    process: Option<Pid>,
}

impl SystemSource {
    /// Readings every `period`, the first one at once. The first reading of processor time is zero: it is an average
    /// since the reading before.
    ///
    /// A period below 200 milliseconds is raised to it: shorter spans of processor time are noise.
    pub fn every(period: Duration) -> Self {
        Self {
            period: period.max(sysinfo::MINIMUM_CPU_UPDATE_INTERVAL),
            next: Instant::now(),
            system: None,
            // Missing on systems without processes of their own; then there are no readings of the process.
            process: sysinfo::get_current_pid().ok(),
        }
    }

    /// Takes all readings.
    fn refresh(&mut self) -> Result<&System, SourceError> {
        let system = match &mut self.system {
            Some(system) => system,
            none => none.insert(System::new()?),
        };
        system.refresh_memory();
        if let Some(process) = self.process {
            let wanted = ProcessRefreshKind::nothing().with_memory().with_cpu();
            system.refresh_processes_specifics(ProcessesToUpdate::Some(&[process]), false, wanted);
        }
        Ok(system)
    }
}

fn memory(system: &System, process: Option<&Process>) -> SystemEvent {
    let process_rss = process.map_or(0, Process::memory);
    let (mut machine_used, mut machine_total) = (system.used_memory(), system.total_memory());
    if let Some(limit) = system.cgroup_limits()
        && limit.total_memory < machine_total
    {
        machine_total = limit.total_memory;
        machine_used = limit.total_memory.saturating_sub(limit.free_memory);
    }
    SystemEvent::Memory { process_rss, machine_used, machine_total }
}

/// `None` on a system that has no such figure.
fn load() -> Option<SystemEvent> {
    let load = System::load_average().ok()?;
    Some(SystemEvent::Load { one: load.one, five: load.five, fifteen: load.fifteen })
}

fn processor(process: Option<&Process>) -> SystemEvent {
    SystemEvent::Processor { process_percent: process.map_or(0.0, Process::cpu_usage) }
}

impl Source for SystemSource {
    type Event = WorkspaceEvent;

    fn poll(&mut self, outlet: &mut Outlet<WorkspaceEvent>) -> Result<Polled, SourceError> {
        let now = Instant::now();
        if now < self.next {
            return Ok(Polled::Until(self.next));
        }
        let process = self.process;
        let system = self.refresh()?;
        let process = process.and_then(|process| system.process(process));
        for reading in [Some(memory(system, process)), load(), Some(processor(process))].into_iter().flatten() {
            outlet.push(WorkspaceEvent::System(reading));
        }
        self.next = now + self.period;
        Ok(Polled::Until(self.next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::testing::{Bench, outlet};

    #[test]
    fn a_reading_has_plausible_figures() {
        let mut bench = Bench::new(SystemSource::every(Duration::from_millis(1)));
        bench.poll_until("two readings", |events| events.len() >= 6);
        let machine = bench.state().model.machine;
        assert!(machine.process_rss > 0, "{machine:?}");
        assert!(machine.memory_used > 0 && machine.memory_used <= machine.memory_total, "{machine:?}");
        assert!(machine.process_percent >= 0.0 && machine.load.iter().all(|load| *load >= 0.0), "{machine:?}");
    }

    #[test]
    fn before_its_time_a_reading_is_not_taken() {
        let mut source = SystemSource::every(Duration::from_secs(3600));
        let mut outlet = outlet();
        let Polled::Until(first) = source.poll(&mut outlet).unwrap() else { panic!("a moment is named") };
        assert_eq!(outlet.staged(), 3);
        assert_eq!(source.poll(&mut outlet).unwrap(), Polled::Until(first));
        assert_eq!(outlet.staged(), 3);
    }
}

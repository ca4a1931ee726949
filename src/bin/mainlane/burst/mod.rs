//! `mainlane burst`: mainlane side by side with its peers, in one process.
//!
//! All contenders of a table run in turn, in short slices, in random order, round after round; what they deliver is checked
//! in every slice. Figures are medians with quartiles, comparisons are of slices of the same round: machines change their
//! mind from minute to minute.

mod bursts;
mod coalescing;
mod costs;
mod hostloop;
mod journal;
mod limits;
mod machine;
mod openloop;
mod ours;
mod peers;
mod report;
mod rounds;
mod signals;
mod snapshots;
mod stream;
mod transport;
mod whole;

use std::process::ExitCode;

use crate::args::BurstArgs;
use machine::Machine;
use report::Report;
use rounds::Table;

/// A workload: its short name, what it is about, and how it is run.
struct Workload {
    name: &'static str,
    about: &'static str,
    tables: fn(&BurstArgs) -> Vec<Table>,
}

const WORKLOADS: &[Workload] = &[
    Workload { name: "W0", about: "one producer, flat out", tables: stream::one_producer },
    Workload { name: "W1", about: "bursts with a pause before each", tables: bursts::tables },
    Workload { name: "W2", about: "a steady rate, and the time from the intended moment", tables: openloop::tables },
    Workload { name: "W5", about: "three producers, flat out", tables: stream::three_producers },
    Workload { name: "W15", about: "newest values of keys, for a busy consumer", tables: coalescing::tables },
    Workload { name: "W16", about: "reading the newest state", tables: snapshots::tables },
    Workload { name: "W20", about: "frames of a host, and bursts that fall into them", tables: hostloop::tables },
    Workload { name: "W21", about: "the whole path, from lanes to readers", tables: whole::tables },
    Workload { name: "W22", about: "the journal: rates, turns, recovery", tables: journal::tables },
    Workload { name: "W23", about: "signals: one who publishes, and many who hear it", tables: signals::tables },
];

/// What a workload is about, by its name.
fn about(name: &str) -> &'static str {
    WORKLOADS.iter().find(|workload| workload.name == name).map_or("", |workload| workload.about)
}

pub(crate) fn run(args: &BurstArgs) -> Result<ExitCode, String> {
    let known = |wanted: &&String| WORKLOADS.iter().any(|workload| workload.name.eq_ignore_ascii_case(wanted));
    if let Some(unknown) = args.workloads.iter().find(|wanted| !known(wanted)) {
        let names: Vec<_> =
            WORKLOADS.iter().map(|workload| format!("{} ({})", workload.name, workload.about)).collect();
        return Err(format!("there is no workload {unknown}; there are {}", names.join(", ")));
    }
    let wanted = |workload: &&Workload| {
        args.workloads.is_empty() || args.workloads.iter().any(|wanted| workload.name.eq_ignore_ascii_case(wanted))
    };
    if let Some(page) = &args.html {
        report::assert_writable(page)?;
    }
    if let Some(dir) = &args.dir {
        journal::assert_usable(dir)?;
    }
    crate::say(format_args!("the machine itself"));
    let machine = Machine::measure();
    let mut tables = Vec::new();
    for workload in WORKLOADS.iter().filter(wanted) {
        crate::say(format_args!("{}: {}", workload.name, workload.about));
        tables.extend((workload.tables)(args));
    }
    Ok(report::write(&Report { machine, args, tables }))
}

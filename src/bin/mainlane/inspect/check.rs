//! Whether a journal is whole.

use std::io::{self, Write};

use mainlane::journal::{CheckFault, CheckReport, SqliteStore, check};
use serde::Serialize;

use crate::args::JournalArgs;
use crate::print::{self, line};
use crate::problem::Problem;

#[derive(Serialize)]
struct Checked {
    file: String,
    whole: bool,
    schema: Option<String>,
    oldest_turn: Option<u64>,
    newest_turn: Option<u64>,
    records: u64,
    events: u64,
    checkpoints: Vec<u64>,
    quarantined: u64,
    /// Left unfinished by a crash, which is no fault.
    torn_bytes: u64,
    faults: Vec<Fault>,
}

#[derive(Serialize)]
struct Fault {
    /// The first turn and the last that it is about, if it is about turns.
    from: Option<u64>,
    to: Option<u64>,
    what: String,
}

pub(super) fn run(args: &JournalArgs, store: &mut SqliteStore) -> Result<bool, Problem> {
    let checked = Checked::new(args, check(store));
    print::print(|out| if args.json { print::json(out, &checked) } else { checked.print(out) })?;
    Ok(checked.whole)
}

impl Checked {
    fn new(args: &JournalArgs, report: CheckReport) -> Self {
        Self {
            file: args.file.display().to_string(),
            whole: report.is_whole(),
            schema: report.identity.map(|identity| identity.schema),
            oldest_turn: report.turns.map(|(oldest, _)| oldest),
            newest_turn: report.turns.map(|(_, newest)| newest),
            records: report.records,
            events: report.events,
            checkpoints: report.checkpoints,
            quarantined: report.quarantined,
            torn_bytes: report.torn.map_or(0, |torn| torn.bytes),
            faults: report.faults.iter().map(Fault::new).collect(),
        }
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        for fault in &self.faults {
            line(out, format_args!("{}", fault.what))?;
        }
        let Self { file, records, events, quarantined, torn_bytes, .. } = self;
        let checkpoints = self.checkpoints.len();
        let verdict = match self.faults.len() {
            0 => "whole".to_owned(),
            1 => "DAMAGED, 1 fault".to_owned(),
            faults => format!("DAMAGED, {faults} faults"),
        };
        line(
            out,
            format_args!(
                "{file}: {verdict}; good are {records} records, {events} events, {checkpoints} checkpoints; {quarantined} \
                 events are set aside; {torn_bytes} bytes were left unfinished"
            ),
        )
    }
}

impl Fault {
    fn new(fault: &CheckFault) -> Self {
        let turns = match fault {
            CheckFault::Records { from, to, .. } => Some((*from, *to)),
            CheckFault::Checkpoint { turn, .. } | CheckFault::Quarantined { turn, .. } => Some((*turn, *turn)),
            CheckFault::NoStart { newest, .. } => Some((*newest, *newest)),
            _ => None,
        };
        Self { from: turns.map(|(from, _)| from), to: turns.map(|(_, to)| to), what: fault.to_string() }
    }
}

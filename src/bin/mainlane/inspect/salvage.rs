//! What is good of a damaged journal, in a new one.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use mainlane::journal::{SalvageReport, salvage};
use serde::Serialize;

use crate::args::JournalArgs;
use crate::print::{self, line};
use crate::problem::Problem;

#[derive(Serialize)]
struct Salvaged {
    from: String,
    to: String,
    /// None when only a checkpoint was kept.
    oldest_turn: Option<u64>,
    newest_turn: Option<u64>,
    records: u64,
    events: u64,
    checkpoints: Vec<u64>,
    /// The newest turn whose state can be rebuilt.
    reaches: u64,
    lost: Vec<LostTurns>,
    lost_checkpoints: Vec<LostCheckpoint>,
    /// Lists that could not be read.
    unread: Vec<String>,
    torn_bytes: u64,
    /// Whether some of these had been said to be durable.
    torn_was_durable: bool,
}

#[derive(Serialize)]
struct LostTurns {
    from: u64,
    to: u64,
    /// None when that cannot be read.
    events: Option<u64>,
    why: String,
    #[serde(skip)]
    in_words: String,
}

#[derive(Serialize)]
struct LostCheckpoint {
    turn: u64,
    why: String,
}

pub(super) fn run(args: &JournalArgs, to: &Path) -> Result<ExitCode, Problem> {
    let salvaged = Salvaged::new(args, to, salvage(&args.file, to)?);
    print::print(|out| if args.json { print::json(out, &salvaged) } else { salvaged.print(out) })?;
    Ok(ExitCode::SUCCESS)
}

impl Salvaged {
    fn new(args: &JournalArgs, to: &Path, report: SalvageReport) -> Self {
        let lost = report.lost.into_iter().map(|lost| LostTurns {
            in_words: lost.to_string(),
            from: lost.from,
            to: lost.to,
            events: lost.events,
            why: lost.why,
        });
        Self {
            from: args.file.display().to_string(),
            to: to.display().to_string(),
            oldest_turn: report.kept.map(|(oldest, _)| oldest),
            newest_turn: report.kept.map(|(_, newest)| newest),
            records: report.records,
            events: report.events,
            checkpoints: report.checkpoints,
            reaches: report.last,
            lost: lost.collect(),
            lost_checkpoints: report.skipped.into_iter().map(|(turn, why)| LostCheckpoint { turn, why }).collect(),
            unread: report.unread,
            torn_bytes: report.torn.as_ref().map_or(0, |torn| torn.bytes),
            torn_was_durable: report.torn.is_some_and(|torn| torn.was_durable),
        }
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { to, records, events, reaches, torn_bytes, .. } = self;
        let checkpoints = self.checkpoints.len();
        line(
            out,
            format_args!(
                "{to}: {records} records, {events} events, {checkpoints} checkpoints; the state can be rebuilt up to turn \
                 {reaches}"
            ),
        )?;
        for lost in &self.lost {
            line(out, format_args!("LOST: {}", lost.in_words))?;
        }
        for LostCheckpoint { turn, why } in &self.lost_checkpoints {
            line(out, format_args!("LOST: the checkpoint of turn {turn}: {why}"))?;
        }
        for unread in &self.unread {
            line(out, format_args!("LOST: {unread}"))?;
        }
        if *torn_bytes > 0 {
            let said = if self.torn_was_durable { "were durable" } else { "were never said to be durable" };
            line(out, format_args!("LOST: {torn_bytes} bytes at the end that {said}"))?;
        }
        if self.lost.is_empty() && self.lost_checkpoints.is_empty() && self.unread.is_empty() && *torn_bytes == 0 {
            line(out, format_args!("nothing is lost"))?;
        }
        Ok(())
    }
}

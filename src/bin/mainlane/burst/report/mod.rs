//! What a run found, as text or JSON, and as a page.

mod axis;
mod bars;
mod charts;
mod page;
mod percentiles;
mod text;
mod units;
mod verdict;

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

use super::machine::Machine;
use super::rounds::Table;
use crate::args::BurstArgs;

/// What is reported.
pub(crate) struct Report<'a> {
    pub(crate) machine: Machine,
    pub(crate) args: &'a BurstArgs,
    pub(crate) tables: Vec<Table>,
}

/// Finds out before anything is measured that a page cannot be written.
///
/// # Errors
/// What the system says about it.
pub(crate) fn assert_writable(page: &Path) -> Result<(), String> {
    OpenOptions::new().append(true).create(true).open(page).map(drop).map_err(|error| unwritable(page, &error))
}

fn unwritable(page: &Path, error: &io::Error) -> String {
    format!("cannot write the page {}: {error}", page.display())
}

pub(crate) fn write(report: &Report<'_>) -> ExitCode {
    let page = report.args.html.as_deref().map_or(Ok(()), |path| {
        fs::write(path, page::page(report)).map_err(|error| crate::say(format_args!("{}", unwritable(path, &error))))
    });
    let mut out = io::stdout().lock();
    // Nobody may be there to read it.
    let printed = if report.args.json { write_json(&mut out, report) } else { text::write(&mut out, report) };
    if page.is_ok() && printed.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn write_json(out: &mut impl Write, report: &Report<'_>) -> io::Result<()> {
    let Report { machine, args, tables } = report;
    let all = json!({ "machine": machine, "rounds": args.rounds, "seed": args.seed, "tables": tables });
    serde_json::to_writer_pretty(&mut *out, &all)?;
    writeln!(out)
}

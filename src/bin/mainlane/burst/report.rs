//! What a run found, as text, JSON and a page.

use std::io::{self, Write};
use std::process::ExitCode;

use serde::Serialize;

use super::machine;
use super::rounds::{Row, Table};
use crate::args::BurstArgs;

#[derive(Serialize)]
struct Report<'a> {
    machine: machine::Machine,
    rounds: usize,
    seed: u64,
    tables: &'a [Table],
}

pub(crate) fn write(tables: &[Table], args: &BurstArgs) -> Result<ExitCode, String> {
    let report = Report { machine: machine::Machine::here(), rounds: args.rounds as usize, seed: args.seed, tables };
    let mut out = io::stdout().lock();
    let written = if args.json {
        serde_json::to_writer_pretty(&mut out, &report).map_err(io::Error::from).and_then(|()| writeln!(out))
    } else {
        write_text(&mut out, &report)
    };
    // Nobody may be there to read it.
    Ok(if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn write_text(out: &mut impl Write, report: &Report<'_>) -> io::Result<()> {
    writeln!(out, "{}, {} rounds, seed {}", report.machine, report.rounds, report.seed)?;
    for table in report.tables {
        writeln!(out, "\n{} [{}]", table.name, table.unit)?;
        for note in &table.notes {
            writeln!(out, "  {note}")?;
        }
        for row in &table.rows {
            write_row(out, row)?;
        }
    }
    Ok(())
}

fn write_row(out: &mut impl Write, row: &Row) -> io::Result<()> {
    let spread = |value: f64| match value {
        large if large >= 1e6 => format!("{:.1} M", large / 1e6),
        middle if middle >= 1e4 => format!("{:.1} k", middle / 1e3),
        small => format!("{small:.1}"),
    };
    write!(
        out,
        "  {:<50} {:>9} [{:>9} {:>9}] {:>7.2}x",
        row.name,
        spread(row.spread.median),
        spread(row.spread.lower),
        spread(row.spread.upper),
        row.first_against_this.median
    )?;
    if let Some(latency) = &row.latency_ns {
        write!(
            out,
            "  p50 {} p99 {} p99.9 {} p99.99 {} max {}",
            latency.p50, latency.p99, latency.p999, latency.p9999, latency.max
        )?;
    }
    writeln!(out)
}

//! The report as lines for a terminal.

use std::io::{self, Write};

use super::super::limits::Limit;
use super::super::rounds::{Row, Table};
use super::Report;
use super::units::{self, percent};
use super::verdict::Verdict;

pub(crate) fn write(out: &mut impl Write, report: &Report<'_>) -> io::Result<()> {
    let Report { machine, args, tables } = report;
    writeln!(out, "{machine}, {} rounds, seed {}", args.rounds, args.seed)?;
    for cost in &machine.costs {
        writeln!(out, "  {:<50} {}", cost.about, units::spread(cost.ns, "ns"))?;
    }
    let copied = units::spread(machine.copied_per_second, "bytes");
    writeln!(out, "  {:<50} {copied}", "bytes copied per second, from memory to memory")?;
    tables.iter().try_for_each(|table| write_table(out, table))
}

fn write_table(out: &mut impl Write, table: &Table) -> io::Result<()> {
    writeln!(out, "\n{} [{}]", table.name, table.unit)?;
    for note in &table.notes {
        writeln!(out, "  {note}")?;
    }
    for row in &table.rows {
        write_row(out, row)?;
    }
    for limit in &table.limits {
        writeln!(out, "  {}", limit_line(limit, table.unit))?;
    }
    writeln!(out, "  {}", Verdict::of(table).sentence)
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

/// A limit in words, and how much of it was reached.
pub(crate) fn limit_line(limit: &Limit, unit: &str) -> String {
    let Limit { what, value, by, reached } = limit;
    let (value, reached) = (units::spread(*value, unit), percent(reached.median));
    format!("limit {value}: {what}; {reached} of it reached by {by}")
}

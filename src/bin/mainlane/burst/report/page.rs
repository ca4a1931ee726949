//! The report as a page: one file, without scripts, that needs nothing else.

use std::fmt::Write;
use std::time::SystemTime;

use super::super::about;
use super::super::costs::Costs;
use super::super::rounds::{Row, Table};
use super::Report;
use super::units::{figure, spread, time};
use super::verdict::{Standing, Verdict, is_ours};
use super::{bars, percentiles, text};

const HOW_TO_READ: &str = "All contenders of a table run in one process, in turn, in short slices, in random order, round \
    after round. A figure is the median of the rounds, the whiskers are the quartiles. A ratio is how many times better the \
    first contender is, slice against slice of the same round: above one it is ahead. “Ahead” is said where three quarters \
    of the rounds agree. A dashed line is what the machine itself could do meanwhile.";

pub(crate) fn page(report: &Report<'_>) -> String {
    let mut page = String::new();
    write_page(&mut page, report).expect("a string takes whatever is written");
    page
}

/// Text that means itself, in an element or between quotation marks.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

fn write_page(page: &mut String, report: &Report<'_>) -> std::fmt::Result {
    let machine = escape(&report.machine.to_string());
    writeln!(page, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>")?;
    writeln!(page, "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>")?;
    writeln!(page, "<title>mainlane burst, {machine}</title>")?;
    writeln!(page, "<style>\n{}</style>\n</head>\n<body>", include_str!("page.css"))?;
    writeln!(page, "<h1>mainlane beside its peers</h1>")?;
    writeln!(page, "<p class=\"lead\">{machine}<br/>{}</p>", escape(&settings(report)))?;
    write_contents(page, &report.tables)?;
    writeln!(page, "<h2>How to read it</h2>\n<p>{HOW_TO_READ}</p>")?;
    write_machine(page, report)?;
    for (at, table) in report.tables.iter().enumerate() {
        if at == 0 || workload(table) != workload(&report.tables[at - 1]) {
            let name = workload(table);
            writeln!(page, "<h2 id=\"{0}\">{0}: {1}</h2>", escape(name), escape(about(name)))?;
        }
        write_table(page, at, table)?;
    }
    writeln!(page, "</body>\n</html>")
}

fn settings(report: &Report<'_>) -> String {
    let args = report.args;
    let slice = args.slice.map_or_else(String::new, |slice| format!(", slices of {slice:?}"));
    let when = humantime::format_rfc3339_seconds(SystemTime::now());
    let (version, rounds, seed, events) = (env!("CARGO_PKG_VERSION"), args.rounds, args.seed, args.events);
    format!("mainlane {version}, {when}: {rounds} rounds, seed {seed}, {events} events of each producer{slice}")
}

/// The short name that a table begins with.
fn workload(table: &Table) -> &str {
    table.name.split_whitespace().next().unwrap_or_default()
}

/// A table's name without its workload.
fn title(table: &Table) -> &str {
    table.name.split_once(' ').map_or(table.name.as_str(), |(_, title)| title)
}

fn write_contents(page: &mut String, tables: &[Table]) -> std::fmt::Result {
    writeln!(page, "<nav>")?;
    for group in tables.chunk_by(|one, other| workload(one) == workload(other)) {
        let name = workload(&group[0]);
        writeln!(page, "<p><a href=\"#{0}\"><b>{0}</b>: {1}</a></p>\n<ul>", escape(name), escape(about(name)))?;
        for table in group {
            let verdict = Verdict::of(table);
            // By its place among all tables: names need not be different.
            let at = tables.iter().position(|other| std::ptr::eq(other, table)).unwrap_or_default();
            let (class, title) = (class(verdict.standing), escape(title(table)));
            let short = escape(&verdict.short);
            writeln!(page, "<li><a href=\"#t{at}\">{title}</a> <span class=\"{class}\">{short}</span></li>")?;
        }
        writeln!(page, "</ul>")?;
    }
    writeln!(page, "</nav>")
}

fn class(standing: Standing) -> &'static str {
    match standing {
        Standing::Ahead => "ahead",
        Standing::Level => "level",
        Standing::Behind => "behind",
        Standing::Mixed => "mixed",
        Standing::Alone => "alone",
    }
}

fn write_machine(page: &mut String, report: &Report<'_>) -> std::fmt::Result {
    writeln!(page, "<h2>The machine itself</h2>\n<div class=\"wide\"><table>")?;
    writeln!(page, "<tr><th>what</th><th>median</th><th>quartiles</th></tr>")?;
    let costs = report.machine.costs.iter().map(|cost| (cost.about, cost.ns, "ns"));
    let copied = ("bytes copied per second, from memory to memory", report.machine.copied_per_second, "bytes");
    for (what, spread, unit) in costs.chain([copied]) {
        let [lower, median, upper] = [spread.lower, spread.median, spread.upper].map(|value| figure(value, unit));
        writeln!(page, "<tr><td>{}</td><td>{median}</td><td>{lower} … {upper}</td></tr>", escape(what))?;
    }
    writeln!(page, "</table></div>")
}

fn write_table(page: &mut String, at: usize, table: &Table) -> std::fmt::Result {
    let verdict = Verdict::of(table);
    writeln!(page, "<section id=\"t{at}\">\n<h3>{}</h3>", escape(title(table)))?;
    writeln!(page, "<p class=\"{}\">{}</p>", class(verdict.standing), escape(&verdict.sentence))?;
    writeln!(page, "<div class=\"wide\">{}</div>", bars::bars(table))?;
    write_limits(page, table)?;
    if let Some(chart) = percentiles::percentiles(table) {
        writeln!(page, "<div class=\"wide\">{chart}</div>")?;
    }
    if !table.notes.is_empty() {
        writeln!(page, "<ul>")?;
        table.notes.iter().try_for_each(|note| writeln!(page, "<li>{}</li>", escape(note)))?;
        writeln!(page, "</ul>")?;
    }
    write_figures(page, table)?;
    writeln!(page, "</section>")
}

fn write_limits(page: &mut String, table: &Table) -> std::fmt::Result {
    for limit in &table.limits {
        let away = if bars::is_shown(table, limit.value.median) { "" } else { " (too far away for the chart)" };
        writeln!(page, "<p class=\"limit\">{}{away}</p>", escape(&text::limit_line(limit, table.unit)))?;
    }
    Ok(())
}

fn write_figures(page: &mut String, table: &Table) -> std::fmt::Result {
    let is_timed = table.rows.iter().any(|row| row.latency_ns.is_some());
    writeln!(page, "<details>\n<summary>figures</summary>\n<div class=\"wide\"><table>")?;
    write!(page, "<tr><th>contender</th><th>{}</th><th>quartiles</th><th>ratio</th>", escape(table.unit))?;
    if is_timed {
        write!(page, "<th>p50</th><th>p90</th><th>p99</th><th>p99.9</th><th>p99.99</th><th>max</th>")?;
    }
    writeln!(page, "</tr>")?;
    table.rows.iter().try_for_each(|row| write_row(page, row, table.unit))?;
    writeln!(page, "</table></div>")?;
    let costs = Costs::over(&table.costs).into_iter();
    let costs: Vec<_> = costs.map(|cost| format!("{} {}", cost.about, spread(cost.ns, "ns"))).collect();
    writeln!(page, "<p>meanwhile: {}</p>\n</details>", escape(&costs.join("; ")))
}

fn write_row(page: &mut String, row: &Row, unit: &str) -> std::fmt::Result {
    let class = if is_ours(&row.name) { "ours" } else { "peer" };
    let [lower, median, upper] =
        [row.spread.lower, row.spread.median, row.spread.upper].map(|value| figure(value, unit));
    let ratio = row.first_against_this.median;
    write!(page, "<tr class=\"{class}\"><td>{}</td><td>{median}</td>", escape(&row.name))?;
    write!(page, "<td>{lower} … {upper}</td><td>{ratio:.2}</td>")?;
    if let Some(times) = row.latency_ns {
        let times = [times.p50, times.p90, times.p99, times.p999, times.p9999, times.max];
        times.iter().try_for_each(|ns| write!(page, "<td>{}</td>", time(*ns as f64)))?;
    }
    writeln!(page, "</tr>")
}

#[cfg(test)]
mod tests {
    use super::super::super::machine::Machine;
    use super::super::super::rounds::{self, Contender, Figure};
    use super::*;
    use crate::args::BurstArgs;

    fn table(name: &str, contender: &str) -> Table {
        let timed = || {
            let mut latency = rounds::histogram();
            latency.record(100).unwrap();
            Figure { value: 100.0, latency: Some(latency) }
        };
        let contenders = vec![Contender::new("mainlane", timed), Contender::new(contender, timed)];
        rounds::run(name, "ns", false, contenders, 1, 1)
    }

    fn page_of(tables: Vec<Table>) -> String {
        let (workloads, slice, html, dir) = (Vec::new(), None, None, None);
        let args = BurstArgs { workloads, rounds: 1, events: 1, slice, seed: 1, json: false, html, dir };
        page(&Report { machine: Machine::measure(), args: &args, tables })
    }

    #[test]
    fn nothing_that_is_named_can_be_markup() {
        let mut evil = table("W9 <script>&\"'", "<b>\"peer\"</b>");
        evil.notes.push("<i>note</i>".to_owned());
        let page = page_of(vec![evil]);
        for markup in ["<script", "<b>\"", "<i>"] {
            assert!(!page.contains(markup), "{markup} in {page}");
        }
        assert!(page.contains("&lt;i&gt;note&lt;/i&gt;") && page.contains("&lt;script&gt;&amp;&quot;&#39;"), "{page}");
    }

    #[test]
    fn the_contents_lead_to_every_table() {
        let page = page_of(vec![table("W0 one", "a"), table("W0 one", "a"), table("W1 other", "b")]);
        for id in ["W0", "W1", "t0", "t1", "t2"] {
            assert_eq!(page.matches(&format!("id=\"{id}\"")).count(), 1, "{id}");
            assert_eq!(page.matches(&format!("href=\"#{id}\"")).count(), 1, "{id}");
        }
        assert_eq!(page.matches("<svg ").count(), 6, "two of each table");
        assert!(page.contains("one producer, flat out"), "what a workload is about");
    }

    #[test]
    fn the_page_has_a_colour_in_the_dark_for_each_that_would_not_be_seen() {
        let style = include_str!("page.css");
        for colour in ["#1F2430", "#E2E5EA", "#A9B1BD", "#0B5CC4", "#C2410C"] {
            assert!(style.contains(&format!("=\"{colour}\"]")), "{colour}");
        }
        let page = page_of(vec![table("W0 one", "a")]);
        let charts = &page[page.find("<svg").unwrap()..];
        // Drawn as they are named in the style, or the style would not find them.
        assert!(charts.contains("fill=\"#1F2430\"") && charts.contains("stroke=\"#E2E5EA\""));
    }
}

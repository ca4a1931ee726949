//! `mainlane burst`, run briefly: that each workload ends, with its contents checked, and what it prints.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// One round of slices of a few milliseconds.
fn burst(workload: &str, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainlane"));
    command.args(["burst", workload, "--rounds", "1", "--slice", "2ms", "--events", "20000"]).args(more);
    command.stdin(Stdio::null()).output().unwrap()
}

/// What a run that went well said in JSON.
fn report(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["rounds"], 1);
    report
}

/// The tables of a workload.
fn tables(workload: &str) -> Vec<Value> {
    report(&burst(workload, &["--json"]))["tables"].as_array().unwrap().clone()
}

fn contenders(table: &Value) -> Vec<&str> {
    table["rows"].as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect()
}

fn notes(table: &Value) -> String {
    table["notes"].as_array().unwrap().iter().map(|note| note.as_str().unwrap()).collect::<Vec<_>>().join("\n")
}

fn assert_measured(table: &Value) {
    for row in table["rows"].as_array().unwrap() {
        assert!(row["spread"]["median"].as_f64().unwrap() > 0.0, "{row:#}");
        assert_eq!(row["figures"].as_array().unwrap().len(), 1, "{row:#}");
    }
}

#[test]
fn coalescing_names_its_contenders_and_what_became_of_the_updates() {
    let tables = tables("W15");
    assert_eq!(tables.len(), 10, "five mixes of keys, two lengths of turns");
    for table in &tables {
        let expected = [
            "mainlane, in causal order",
            "mainlane, unclocked",
            "a locked IndexMap, swapped",
            "crossbeam-channel, the consumer keeps the newest",
        ];
        assert_eq!(contenders(table), expected);
        assert_measured(table);
        assert!(notes(table).contains("pushed for each applied, 0 shed"), "{table:#}");
    }
}

#[test]
fn snapshots_are_loaded_beside_others_and_written_beside_a_reader() {
    let tables = tables("w16");
    assert_eq!(tables.len(), 10, "one to three readers, none to two others; and the writer");
    tables.iter().for_each(assert_measured);
    assert_eq!(contenders(&tables[0])[..2], ["mainlane, load", "mainlane, cached load"]);
    assert_eq!(contenders(&tables[9])[0], "mainlane, the writer alone");
    assert!(notes(&tables[9]).contains("% slower than alone"), "{:#}", tables[9]);
}

#[test]
fn a_host_loses_nothing_at_any_rate() {
    let tables = tables("W20");
    assert_eq!(tables.len(), 4, "three rates, and fixed steps");
    for table in &tables {
        assert_eq!(contenders(table)[0], "mainlane, a turn of 2 ms at most");
        assert_measured(table);
        assert!(table["rows"][0]["latency_ns"]["p99"].as_u64().unwrap() > 0, "{table:#}");
    }
}

#[test]
fn the_whole_path_is_run_with_each_setting_and_each_trouble() {
    let tables = tables("W21");
    assert_eq!(tables.len(), 11, "two bases, three numbers of lanes, two sizes, many readers; three troubles");
    tables.iter().for_each(assert_measured);
    for table in &tables[..8] {
        assert_eq!(contenders(table)[0], "mainlane, the whole path");
        assert_eq!(contenders(table)[2], "rtrb, bare rings into the state");
        assert!(notes(table).contains("of the rate of bare rings"), "{table:#}");
    }
    for table in &tables[8..] {
        assert_eq!(contenders(table)[0], "mainlane");
        assert!(notes(table).contains("ms between two publications at most"), "{table:#}");
    }
}

/// True where there are two cores to send something from one to the other.
fn has_two_cores() -> bool {
    std::thread::available_parallelism().unwrap().get() > 1
}

#[test]
fn limits_stand_beside_what_was_measured() {
    let report = report(&burst("W0", &["--json"]));
    let costs = report["machine"]["costs"].as_array().unwrap();
    assert_eq!(costs.len(), if has_two_cores() { 6 } else { 3 }, "{costs:#?}");
    assert!(costs.iter().all(|cost| cost["ns"]["median"].as_f64().unwrap() > 0.0), "{costs:#?}");
    assert!(report["machine"]["copied_per_second"]["median"].as_f64().unwrap() > 0.0);
    let (single, batches) = (&report["tables"][0], &report["tables"][1]);
    for table in [single, batches] {
        assert_eq!(table["costs"].as_array().unwrap().len(), 2, "before the round, and after it");
    }
    let limits = |table: &Value| table["limits"].as_array().unwrap().clone();
    let updates = limits(single).pop().unwrap();
    assert_eq!(updates["what"], "one atomic update for each, in causal order");
    assert_eq!(updates["by"], "mainlane, in causal order");
    // What is said to be reached is what was measured: both ends of the only round, and the only figure.
    let values: Vec<_> =
        single["costs"].as_array().unwrap().iter().map(|cost| 1e9 / cost["update_ns"].as_f64().unwrap()).collect();
    let reached = single["rows"][0]["figures"][0].as_f64().unwrap() / ((values[0] + values[1]) / 2.0);
    assert!((updates["reached"]["median"].as_f64().unwrap() / reached - 1.0).abs() < 1e-9, "{updates:#} {reached}");
    assert_eq!(limits(batches).len(), usize::from(has_two_cores()), "of lines alone: a batch has one update");
}

/// What keeps a page from being well-formed, with every element closed and all text escaped.
fn malformed(page: &str) -> Option<String> {
    let mut open = Vec::new();
    let Some(mut rest) = page.strip_prefix("<!doctype html>") else { return Some("not a page".to_owned()) };
    while let Some((text, after)) = rest.split_once('<') {
        if text.contains('>') || text.contains('&') && !text.split('&').skip(1).all(is_entity) {
            return Some(format!("not escaped: {text}"));
        }
        let Some((tag, next)) = after.split_once('>') else { return Some("a tag that does not end".to_owned()) };
        let name = tag.split_whitespace().next().unwrap_or_default();
        if let Some(name) = name.strip_prefix('/') {
            if open.pop() != Some(name) {
                return Some(format!("{name} closes what is not open"));
            }
        } else if !tag.ends_with('/') {
            open.push(name);
        }
        if tag.contains('<') || tag.matches('"').count() % 2 == 1 {
            return Some(format!("a damaged tag: {tag}"));
        }
        rest = next;
    }
    (!open.is_empty()).then(|| format!("left open: {open:?}"))
}

fn is_entity(text: &str) -> bool {
    text.split_once(';').is_some_and(|(name, _)| ["amp", "lt", "gt", "quot", "apos", "#39"].contains(&name))
}

#[test]
fn the_check_of_a_page_finds_what_is_wrong() {
    let page = |body: &str| malformed(&format!("<!doctype html><p class=\"a\">{body}</p>"));
    assert_eq!(page("a &lt; b<br/>"), None);
    assert!(malformed("<p></p>").is_some(), "without its first line");
    for wrong in ["<b>", "</b>", "a < b", "a > b", "a & b", "<b class=\"a></b>", "<i><b></i></b>"] {
        assert!(page(wrong).is_some(), "{wrong}");
    }
}

#[test]
fn a_page_shows_every_table_and_contender() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("burst.html");
    std::fs::write(&path, "an older and longer page".repeat(100_000)).unwrap();
    let report = report(&burst("W16", &["--json", "--html", path.to_str().unwrap()]));
    let page = std::fs::read_to_string(&path).unwrap();
    // The style has no elements in it, and text of its own.
    let (before, style) = page.split_once("<style>").unwrap();
    let markup = format!("{before}{}", style.split_once("</style>").unwrap().1);
    assert_eq!(malformed(&markup), None);
    let tables = report["tables"].as_array().unwrap();
    let timed = tables.iter().filter(|table| !table["rows"][0]["latency_ns"].is_null()).count();
    assert_eq!(page.matches("<svg ").count(), tables.len() + timed);
    for table in tables {
        let section = page.split("<section").find(|section| {
            let title = table["name"].as_str().unwrap().split_once(' ').unwrap().1;
            section.contains(&format!("<h3>{title}</h3>"))
        });
        let section = section.unwrap_or_else(|| panic!("no section for {}", table["name"]));
        for name in contenders(table) {
            assert!(section.matches(name).count() >= 2, "{name} in a chart and in the figures of {}", table["name"]);
        }
    }
    for foreign in ["<script", "<link", "src=", "url(", "@import"] {
        assert!(!page.contains(foreign), "{foreign}: the page needs nothing but itself");
    }
}

#[test]
fn a_page_is_beside_the_text_and_not_instead_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("burst.html");
    let output = burst("W20", &["--html", path.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("a look at the clock") && text.contains("W20 frames at 240 Hz"), "{text}");
    assert!(std::fs::read_to_string(&path).unwrap().trim_end().ends_with("</html>"));
}

#[test]
fn a_page_that_cannot_be_written_is_refused_before_anything_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    for wrong in [folder.path(), Path::new("no/such/folder/burst.html")] {
        let output = burst("W20", &["--html", wrong.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let problem = String::from_utf8(output.stderr).unwrap();
        assert!(problem.starts_with(&format!("mainlane: cannot write the page {}", wrong.display())), "{problem}");
    }
}

//! `mainlane burst`, run briefly: that each workload ends, with its contents checked, and what it prints.

use std::process::{Command, Stdio};

use serde_json::Value;

/// The tables of a workload, in one round of slices of a few milliseconds.
fn tables(workload: &str) -> Vec<Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainlane"));
    command.args(["burst", workload, "--rounds", "1", "--slice", "2ms", "--json"]).stdin(Stdio::null());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["rounds"], 1);
    report["tables"].as_array().unwrap().clone()
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

//! The program, as a user runs it.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::domain::{PATIENCE, until};

pub(crate) fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainlane"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub(crate) fn run(arguments: &[&str]) -> Output {
    program(arguments).output().unwrap()
}

pub(crate) fn summary_of(stdout: &[u8]) -> Value {
    serde_json::from_slice(stdout).unwrap_or_else(|error| panic!("{error} in {:?}", String::from_utf8_lossy(stdout)))
}

/// Runs it to its end and reads the one object on its standard output.
pub(crate) fn summary(arguments: &[&str]) -> Value {
    let output = run(arguments);
    assert!(output.status.success(), "{output:?}");
    summary_of(&output.stdout)
}

pub(crate) fn assert_balanced(summary: &Value) {
    let events = &summary["events"];
    let count = |name: &str| events[name].as_u64().unwrap();
    let accounted = ["applied", "replaced", "merged", "shed", "refused"].map(count).iter().sum::<u64>();
    assert_eq!(count("pushed"), accounted, "{summary:#}");
    assert_eq!(count("in_flight"), 0, "{summary:#}");
    assert_eq!(summary["complete"], true);
}

/// A program under way that has said that everything is running.
pub(crate) struct Started {
    pub(crate) child: Child,
    pub(crate) stderr: BufReader<std::process::ChildStderr>,
}

impl Started {
    pub(crate) fn new(arguments: &[&str]) -> Self {
        let mut child = program(arguments).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        // What is said of a journal comes first.
        while line.is_empty() || line.starts_with("mainlane: journal ") {
            line.clear();
            assert!(stderr.read_line(&mut line).unwrap() > 0, "it ended");
        }
        assert!(line.contains("events"), "the first line is a progress line: {line}");
        Self { child, stderr }
    }

    /// Waits until it says this.
    pub(crate) fn until(&mut self, expected: &str) {
        let mut line = String::new();
        while !line.contains(expected) {
            line.clear();
            assert!(self.stderr.read_line(&mut line).unwrap() > 0, "it never said: {expected}");
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end, and reads its summary.
    pub(crate) fn end(mut self) -> (Value, String) {
        let (mut stdout, mut said) = (Vec::new(), String::new());
        self.child.stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
        self.stderr.read_to_string(&mut said).unwrap();
        assert!(self.child.wait().unwrap().success(), "{said}");
        (summary_of(&stdout), said)
    }
}

#[test]
fn every_line_and_every_byte_is_counted_in_bounded_memory() {
    let lines = "seq 1 1000000";
    let bytes = "head -c 50000000 /dev/zero | tr \"\\0\" x";
    let summary = summary(&["run", "--plain", "--json", "--pane", lines, "--pane", bytes]);
    assert_eq!(summary["panes"][0]["command"], lines);
    assert_eq!(summary["panes"][0]["lines"], 1_000_000);
    assert_eq!(summary["panes"][0]["exit_code"], 0);
    assert_eq!(summary["panes"][1]["bytes"], 50_000_000);
    assert_eq!(summary["panes"][1]["exit_code"], 0);
    assert_balanced(&summary);
    let peak = summary["peak_memory_bytes"].as_u64().unwrap_or(0);
    assert!(peak < 48 << 20, "{peak} bytes, less than the output is");
    for quantile in ["p50", "p99", "p999", "max"] {
        assert!(summary["turn_ns"][quantile].as_u64().unwrap() > 0, "{summary:#}");
    }
}

#[test]
fn panes_end_in_their_own_ways() {
    let panes = ["exit 3", "kill -9 $$", "true"];
    let summary = summary(&["run", "--plain", "--json", "--pane", panes[0], "--pane", panes[1], "--pane", panes[2]]);
    let codes: Vec<_> = (0..3).map(|at| summary["panes"][at]["exit_code"].as_i64().unwrap()).collect();
    assert_eq!(codes, [3, 137, 0]);
    assert_eq!(summary["panes"][1]["signal"], "Killed");
    assert_balanced(&summary);
}

#[test]
fn ten_thousand_files_come_and_go() {
    const FILES: u64 = 10_000;
    let folder = tempfile::tempdir().unwrap();
    let program = Started::new(&["run", "--plain", "--json", "--watch", folder.path().to_str().unwrap()]);
    churn(folder.path(), FILES);
    program.signal("TERM");
    let (summary, said) = program.end();
    let worktree = &summary["worktrees"][0];
    assert_eq!(worktree["in_sync"], true, "{summary:#}\n{said}");
    assert_eq!(worktree["mirror"]["state"], "in-sync", "{summary:#}");
    if worktree["diverged"] == 0 {
        for count in ["created", "renamed", "removed"] {
            assert_eq!(worktree[count], FILES, "{summary:#}");
        }
    }
    assert_balanced(&summary);
}

fn churn(folder: &Path, files: u64) {
    for n in 0..files {
        std::fs::write(folder.join(format!("a{n}")), "").unwrap();
    }
    for n in 0..files {
        std::fs::rename(folder.join(format!("a{n}")), folder.join(format!("b{n}"))).unwrap();
    }
    for n in 0..files {
        std::fs::remove_file(folder.join(format!("b{n}"))).unwrap();
    }
}

#[test]
fn a_folder_that_is_unplugged_is_a_divergence() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("stick");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("a"), "").unwrap();
    let program = Started::new(&["run", "--plain", "--json", "--watch", folder.to_str().unwrap()]);
    std::fs::remove_dir_all(&folder).unwrap();
    program.signal("INT");
    let (summary, said) = program.end();
    let worktree = &summary["worktrees"][0];
    assert!(worktree["diverged"].as_u64().unwrap() >= 1, "{summary:#}");
    assert_eq!(worktree["in_sync"], false, "what is gone is not equal to anything");
    assert_eq!(
        (&worktree["mirror"]["state"], &worktree["mirror"]["what"]),
        (&"diverged".into(), &"the folder is gone".into())
    );
    assert!(worktree["mirror"]["since"].as_u64().unwrap() > 0, "{summary:#}");
    assert!(said.contains("worktree/1 may differ from the disk: the folder is gone"), "{said}");
    assert_balanced(&summary);
}

#[test]
fn a_signal_ends_it_cleanly_and_its_panes_with_it() {
    for signal in ["INT", "TERM"] {
        let program = Started::new(&["run", "--plain", "--json", "--pane", "echo $$; exec sleep 1000"]);
        program.signal(signal);
        let (summary, _) = program.end();
        assert_eq!(summary["panes"][0]["exit_code"], Value::Null, "it was still running");
        assert_balanced(&summary);
    }
}

#[test]
fn a_killed_child_is_reported_and_the_others_go_on() {
    let program =
        Started::new(&["run", "--plain", "--json", "--pane", "exec sleep 1234.5", "--pane", "seq 1 10; sleep 1"]);
    let parent = program.child.id();
    let mut sleeper = None;
    until("the pane's child runs", || {
        sleeper = children(parent).into_iter().find(|(_, command)| command.contains("1234.5")).map(|(id, _)| id);
        sleeper.is_some()
    });
    Command::new("kill").args(["-KILL", &sleeper.unwrap().to_string()]).status().unwrap();
    let (summary, _) = program.end();
    assert_eq!(summary["panes"][0]["exit_code"], 137);
    assert_eq!(summary["panes"][1]["lines"], 10);
    assert_balanced(&summary);
}

/// The processes whose parent is `parent`, with their command lines.
fn children(parent: u32) -> Vec<(u32, String)> {
    all_processes()
        .into_iter()
        .filter(|(id, _)| {
            let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
            let its_parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).map(str::trim);
            its_parent == Some(parent.to_string().as_str())
        })
        .collect()
}

/// All processes, with their command lines.
fn all_processes() -> Vec<(u32, String)> {
    let entries = std::fs::read_dir("/proc").unwrap();
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    ids.filter_map(|id: u32| Some((id, std::fs::read_to_string(format!("/proc/{id}/cmdline")).ok()?))).collect()
}

#[test]
fn wrong_input_is_one_clear_line_and_a_failure() {
    let wrong: [(&[&str], &str); 5] = [
        (&["run", "--pane", "no-such-command -v"], "command not found: no-such-command"),
        (&["run", "--watch", "/no/such/folder"], "there is no such folder"),
        (&["run", "--watch", "/dev/null"], "it is not a folder"),
        (&["run", "--pane", ""], "the command is empty"),
        (&["run", "--pane", "true", "--watch", "/no/such/folder"], "there is no such folder"),
    ];
    for (arguments, expected) in wrong {
        let output = run(arguments);
        assert!(!output.status.success(), "{arguments:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(expected) && said.lines().count() == 1, "{arguments:?}: {said}");
        assert!(output.stdout.is_empty());
    }
    for arguments in [&["run", "--fps", "0"][..], &["run", "--for", "soon"], &["fly"], &["run", "--fast"]] {
        let output = run(arguments);
        assert!(!output.status.success() && !output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn without_anything_to_run_it_shows_what_it_can_do() {
    let output = run(&["run", "--for", "1s", "--plain"]);
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("mainlane run --pane CMD"), "{said}");
    let summary = String::from_utf8(output.stdout).unwrap();
    assert!(summary.contains("events pushed =") && summary.contains("turns"), "{summary}");
}

#[test]
fn help_and_version_are_there() {
    for arguments in [&["--help"][..], &["run", "--help"], &["--version"]] {
        let output = run(arguments);
        assert!(output.status.success() && !output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn it_ends_when_its_time_is_up() {
    let began = std::time::Instant::now();
    let summary = summary(&["run", "--plain", "--json", "--pane", "sleep 1000", "--for", "300ms"]);
    assert_balanced(&summary);
    assert!(began.elapsed() < PATIENCE);
}

#[test]
fn nobody_has_to_read_what_it_says() {
    let full = || Stdio::from(std::fs::File::options().write(true).open("/dev/full").unwrap());
    let output = program(&["run", "--plain", "--json", "--pane", "seq 1 5"]).stderr(full()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(summary_of(&output.stdout)["panes"][0]["lines"], 5);
    // Where the summary itself cannot be printed, that is a failure, said in a line.
    let output = program(&["run", "--plain", "--json", "--pane", "true"]).stdout(full()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot print the summary"));
}

#[test]
fn what_will_not_be_hung_up_on_is_ended_too() {
    let pane = "trap '' HUP TERM INT; sleep 86399.25 & sleep 86399.5";
    let started = Started::new(&["run", "--plain", "--json", "--pane", pane]);
    let sleeping = || all_processes().iter().any(|(_, command)| command.contains("sleep\u{0}86399."));
    until("the pane sleeps", sleeping);
    started.signal("TERM");
    let (summary, _) = started.end();
    assert_balanced(&summary);
    until("nothing is left behind", || !sleeping());
}

/// More than this program needs to start is not there; so its panes keep fewer lines, and everything else is as ever.
#[test]
fn the_memory_monitor_runs_and_has_panes_keep_less_when_there_is_less() {
    let panes = ["seq 1 5000; sleep 2", "seq 1 3000; sleep 2"];
    let both = |memory: &str| {
        summary(&["run", "--plain", "--json", "--pane", panes[0], "--pane", panes[1], "--memory", memory])
    };
    let (short, ample) = (both("1M"), both("100G"));
    for summary in [&short, &ample] {
        assert_balanced(summary);
        assert_eq!([&summary["panes"][0]["lines"], &summary["panes"][1]["lines"]], [5000, 3000], "{summary:#}");
        assert_eq!(summary["workers"][0]["name"], "memory");
        assert_eq!(summary["workers"][0]["state"], "stopped");
        assert_eq!(summary["workers"][0]["last_failure"], Value::Null);
    }
    assert_eq!((&short["demoted_panes"], &ample["demoted_panes"]), (&Value::from(2), &Value::from(0)));
    assert!(short["held_bytes"].as_u64() < ample["held_bytes"].as_u64(), "{short:#} {ample:#}");
}

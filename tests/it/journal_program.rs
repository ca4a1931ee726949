//! The program's journal, as a user has it: runs that go on, replays, looks at it, damage.

use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};
use std::process::Output;

use mainlane::journal::store::{Checkpoint, Identity, Store, Write};
use mainlane::journal::{SqliteStore, Sync};
use mainlane::workspace::SCHEMA;
use serde_json::Value;
use tempfile::TempDir;

use crate::program::{Started, assert_balanced, program, run, summary, summary_of};

/// A folder for journals, which nobody watches.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    /// A journal with a run of some panes in it.
    fn with_a_run(&self) -> String {
        let journal = self.at("a.journal");
        run_on(&journal, &["--pane", "echo one", "--pane", "printf '\\033]133;C\\007\\033]133;D;4\\007'"]);
        journal
    }
}

/// A run on a journal to its end.
fn run_on(journal: &str, arguments: &[&str]) -> Value {
    let summary = summary(&[&["run", "--plain", "--json", "--journal", journal], arguments].concat());
    assert_balanced(&summary);
    let end = &summary["journal"];
    assert_eq!((&end["durable"], &end["failure"]), (&end["turn"], &Value::Null), "{summary:#}");
    summary
}

fn replay(journal: &str, arguments: &[&str]) -> Value {
    summary(&[&["replay", "--json", journal], arguments].concat())
}

/// What `mainlane journal` says as an object, and its exit code.
fn journal(file: &str, arguments: &[&str]) -> (Value, Option<i32>) {
    let output = run(&[&["journal", "--json", file], arguments].concat());
    (summary_of(&output.stdout), output.status.code())
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A clear line, and nothing else.
fn assert_refused(arguments: &[&str], code: i32, expected: &str) {
    let output = run(arguments);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(said.contains(expected) && said.lines().count() == 1, "{arguments:?}: {said}");
    assert!(said.starts_with("mainlane: ") && !said.contains('\u{1b}'), "{said}");
}

fn turn_of(summary: &Value) -> u64 {
    summary["journal"]["turn"].as_u64().unwrap()
}

#[test]
fn a_run_goes_on_where_the_last_one_ended() {
    for durability in ["async", "before-publish", "before-apply"] {
        let (place, folder) = (Place::new(), tempfile::tempdir().unwrap());
        let (journal, watched) = (place.at("j"), folder.path().to_str().unwrap());
        let first = ["--pane", "echo one", "--pane", "sleep 1000", "--watch", watched];
        let on_journal = ["run", "--plain", "--json", "--journal", &journal, "--durability", durability];
        let mut started = Started::new(&[&on_journal[..], &first].concat());
        started.until("panes 1 of 2 running");
        std::fs::write(folder.path().join("a"), "").unwrap();
        started.signal("TERM");
        let (first, _) = started.end();
        assert_eq!(first["journal"]["recovered"]["created"], true, "{first:#}");
        assert_eq!(first["worktrees"][0]["created"], 1, "{first:#}");

        let mut started = Started::new(&[&on_journal[..], &["--pane", "echo two", "--watch", watched]].concat());
        started.until("panes 0 of 1 running");
        started.signal("TERM");
        let (second, _) = started.end();
        let recovered = &second["journal"]["recovered"];
        assert_eq!((recovered["created"].as_bool(), recovered["turn"].as_u64()), (Some(false), Some(turn_of(&first))));
        assert_eq!(recovered["lost_panes"], 1, "{second:#}");
        assert_eq!(second["panes"][0]["id"], 3, "{second:#}");
        assert_eq!((&second["worktrees"][0]["created"], &second["worktrees"][0]["in_sync"]), (&1.into(), &true.into()));
        assert!(second["panes"].as_array().unwrap().len() == 1 && turn_of(&second) > turn_of(&first));

        // Whoever does not watch the folder does not vouch for it.
        run_on(&journal, &["--pane", "true", "--durability", durability]);
        let state = replay(&journal, &["--verify"]);
        let panes: Vec<_> = (0..4).map(|at| state["panes"][at]["state"].as_str().unwrap()).collect();
        assert_eq!(panes, ["exited", "lost", "exited", "exited"]);
        assert_eq!(state["worktrees"].as_array().unwrap().len(), 1, "{state:#}");
        assert_eq!(state["worktrees"][0]["in_sync"], false, "{state:#}");
        assert_eq!(state["checkpoint"], 0);
        assert_eq!((&state["different"], state["compared"].as_array().unwrap().len()), (&Value::Array(vec![]), 4));
    }
}

#[test]
fn what_is_kept_of_the_past_is_bounded_if_asked_for() {
    let place = Place::new();
    let file = place.at("j");
    let runs = [(); 4].map(|()| turn_of(&run_on(&file, &["--pane", "true", "--keep", "1"])));
    let (page, _) = journal(&file, &[]);
    assert_eq!(page["checkpoints"].as_array().unwrap().len(), 1, "{page:#}");
    assert_eq!(page["checkpoints"][0]["turn"].as_u64(), Some(runs[3]));
    assert_refused(&["replay", &file, "--until", "0"], 2, "there is no turn 0");
}

#[test]
fn a_replay_comes_out_the_same_and_ends_where_it_is_told_to() {
    let place = Place::new();
    let file = place.with_a_run();
    let newest = turn_of(&run_on(&file, &["--pane", "echo two"]));
    let verified = [replay(&file, &["--verify"]), replay(&file, &["--verify"])];
    let hash = verified[0]["hash"].as_str().unwrap();
    assert_eq!((verified[1]["hash"].as_str(), hash.len()), (Some(hash), 32));
    assert_eq!(replay(&file, &[])["hash"], hash, "by a shorter way");
    let (page, _) = journal(&file, &[]);
    let checkpoints = page["checkpoints"].as_array().unwrap();
    assert_eq!((&checkpoints[2]["hash"], checkpoints[2]["turn"].as_u64()), (&hash.into(), Some(newest)));

    for turn in [0, 1, newest - 1] {
        let earlier = replay(&file, &["--until", &turn.to_string(), "--verify"]);
        assert_eq!((earlier["turn"].as_u64(), &earlier["complete"]), (Some(turn), &true.into()));
        assert_ne!(earlier["hash"], hash, "after turn {turn}");
    }
    let beyond = (newest + 1).to_string();
    assert_refused(&["replay", &file, "--until", &beyond], 2, &format!("there is no turn {beyond}"));
    // For people, with nothing on standard error that is no terminal.
    let output = run(&["replay", &file, "--verify"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(hash) && text.contains("3 hashes compared, 0 different"), "{text}");
    assert!(output.stderr.is_empty());
}

#[test]
fn a_state_that_comes_out_differently_is_a_failure_with_its_turn() {
    let place = Place::new();
    let file = place.with_a_run();
    let mut store = SqliteStore::open(&file, Sync::Full).unwrap();
    let newest = store.checkpoints().unwrap().last().unwrap().turn;
    let payload = store.checkpoint(0).unwrap().unwrap().payload;
    let checkpoint = Some(Checkpoint::seal(newest, SCHEMA.1, payload));
    store.append(&Write { checkpoint, ..Write::default() }).unwrap();
    drop(store);
    let output = run(&["replay", &file, "--verify", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(summary_of(&output.stdout)["different"][0].as_u64(), Some(newest));
    assert!(said(&output).contains(&format!("turn {newest}:")), "{}", said(&output));
}

#[test]
fn checkpoints_of_another_version_are_not_compared_and_that_is_said() {
    let place = Place::new();
    let file = place.with_a_run();
    let mut store = SqliteStore::open(&file, Sync::Full).unwrap();
    let payload = store.checkpoint(0).unwrap().unwrap().payload;
    let version = SCHEMA.1 - 1;
    let checkpoint = Some(Checkpoint::seal(1, version, payload));
    store.append(&Write { checkpoint, ..Write::default() }).unwrap();
    let heads = store.checkpoints().unwrap();
    drop(store);
    let ours: Vec<_> = heads.iter().filter(|head| head.schema == SCHEMA.1).map(|head| head.turn).collect();
    let replayed = replay(&file, &["--verify"]);
    assert_eq!(replayed["skipped"], serde_json::json!([{ "turn": 1, "version": version }]));
    assert_eq!([&replayed["different"], &replayed["compared"]], [&serde_json::json!([]), &serde_json::json!(ours)]);
    let text = String::from_utf8(run(&["replay", &file, "--verify"]).stdout).unwrap();
    let expected = format!("turn 1 not compared: its checkpoint has schema version {version}, not {}", SCHEMA.1);
    let compared = format!("{} hashes compared, 0 different", ours.len());
    assert!(text.contains(&compared) && text.contains(&expected), "{text}");
}

#[test]
fn a_journal_can_be_looked_at() {
    let place = Place::new();
    let file = place.with_a_run();
    let (page, code) = journal(&file, &[]);
    assert_eq!((page["schema"].as_str(), page["format"].as_u64(), code), (Some("workspace"), Some(1), Some(0)));
    assert_eq!(page["in_use"], false);
    let newest = page["newest_turn"].as_u64().unwrap();

    let (turns, code) = journal(&file, &["--list"]);
    let turns = turns.as_array().unwrap();
    assert_eq!((turns.len() as u64, code), (newest, Some(0)));
    assert_eq!(page["records"], newest);
    let events: u64 = turns.iter().map(|turn| turn["events"].as_u64().unwrap()).sum();
    assert_eq!(page["events"].as_u64(), Some(events));
    for turn in turns {
        let lanes = turn["lanes"].as_array().unwrap().iter();
        assert_eq!(lanes.map(|lane| lane["events"].as_u64().unwrap()).sum::<u64>(), turn["events"], "{turn:#}");
        assert_eq!((turn["kind"].as_str(), &turn["fault"]), (Some("batch"), &Value::Null));
    }
    let (part, _) = journal(&file, &["--list", "--from", "1", "--to", "1"]);
    assert_eq!(part.as_array().unwrap().len(), 1);

    let (mut kinds, mut events) = (Vec::new(), Vec::new());
    for turn in 1..=newest {
        let (turn, code) = journal(&file, &["--show", &turn.to_string()]);
        assert_eq!(code, Some(0));
        for envelope in turn["envelopes"].as_array().unwrap() {
            kinds.push(envelope["kind"].as_str().unwrap().to_owned());
            events.push(envelope["event"].as_str().unwrap().to_owned());
        }
    }
    for kind in ["layout.focused", "pane.started", "pane.output", "pane.command-started", "pane.exited"] {
        assert!(kinds.iter().any(|known| known == kind), "{kinds:?}");
    }
    assert!(events.iter().any(|event| event.contains("exit_code: Some(4)")), "{events:?}");

    let (checked, code) = journal(&file, &["--check"]);
    assert_eq!((&checked["whole"], &checked["events"], code), (&true.into(), &page["events"], Some(0)));
    for arguments in [&[][..], &["--list"], &["--show", "1"], &["--check"]] {
        let output = run(&[&["journal", &file], arguments].concat());
        assert!(output.status.success() && output.stderr.is_empty() && !output.stdout.is_empty(), "{output:?}");
    }
    for turn in ["0".to_owned(), (newest + 1).to_string()] {
        assert_refused(&["journal", &file, "--show", &turn], 2, &format!("there is no turn {turn}"));
    }
}

#[test]
fn a_journal_in_use_can_be_looked_at_and_not_be_run_on() {
    let place = Place::new();
    let file = place.with_a_run();
    let started = Started::new(&["run", "--plain", "--json", "--journal", &file, "--pane", "sleep 1000"]);
    let (page, code) = journal(&file, &[]);
    assert_eq!((&page["in_use"], code), (&true.into(), Some(0)));
    assert_eq!(journal(&file, &["--check"]).1, Some(0));
    replay(&file, &["--verify"]);
    assert_refused(&["run", "--journal", &file, "--pane", "true"], 2, "is in use");
    started.signal("TERM");
    started.end();
}

/// Changes the payload of a record, or whatever else.
fn damage(file: &str, statement: &str) {
    rusqlite::Connection::open(file).unwrap().execute_batch(statement).unwrap();
}

#[test]
fn damage_is_found_said_and_salvaged() {
    let place = Place::new();
    let file = place.with_a_run();
    let first = turn_of(&run_on(&file, &["--pane", "echo two"]));
    let newest = turn_of(&run_on(&file, &["--pane", "echo three"]));
    damage(&file, &format!("UPDATE records SET payload = zeroblob(length(payload)) WHERE turn = {first}"));

    let (checked, code) = journal(&file, &["--check"]);
    assert_eq!((&checked["whole"], code), (&false.into(), Some(1)));
    assert_eq!(
        (checked["faults"][0]["from"].as_u64(), checked["faults"][0]["to"].as_u64()),
        (Some(first), Some(first))
    );
    let output = run(&["journal", &file, "--check"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(&format!("turn {first}: ")) && text.contains("DAMAGED"), "{text}");
    let (turns, code) = journal(&file, &["--list"]);
    assert_eq!((turns.as_array().unwrap().len() as u64, code), (newest, Some(1)));
    assert!(turns[first as usize - 1]["fault"].is_string() && turns[0]["fault"].is_null());
    let (turn, code) = journal(&file, &["--show", &first.to_string()]);
    assert!(!turn["faults"].as_array().unwrap().is_empty() && code == Some(1), "{turn:#}");
    assert_refused(&["replay", &file, "--verify"], 1, &format!("the record of turn {first} is damaged"));

    let saved = place.at("saved");
    let (salvaged, code) = journal(&file, &["--salvage", &saved]);
    assert_eq!((salvaged["reaches"].as_u64(), code), (Some(newest), Some(0)), "{salvaged:#}");
    let lost = salvaged["lost"].as_array().unwrap();
    assert!(lost.iter().any(|lost| lost["to"].as_u64() == Some(first)), "{salvaged:#}");
    assert_refused(&["journal", &file, "--salvage", &saved], 2, "exists");
    assert_eq!(journal(&saved, &["--check"]).1, Some(0));
    let after = run_on(&saved, &["--pane", "echo four"]);
    assert_eq!(after["journal"]["recovered"]["turn"].as_u64(), Some(newest));
    assert_eq!(after["panes"][0]["id"], 5, "nothing of the state is lost: {after:#}");
    replay(&saved, &["--verify"]);
}

#[test]
fn damage_where_a_run_would_go_on_stops_it() {
    let place = Place::new();
    let file = place.with_a_run();
    run_on(&file, &["--pane", "echo two"]);
    // There is one before it and one behind it, for each run has a turn at least.
    let newest = turn_of(&run_on(&file, &["--pane", "echo three"]));
    damage(&file, &format!("DELETE FROM checkpoints WHERE turn > 0; DELETE FROM records WHERE turn = {}", newest - 1));
    let before = std::fs::read(&file).unwrap();
    assert_refused(&["run", "--journal", &file, "--pane", "true"], 2, &format!("turn {} is missing", newest - 1));
    assert_eq!(std::fs::read(&file).unwrap(), before, "nothing was changed");
    assert_refused(&["journal", &file, "--show", &(newest - 1).to_string()], 1, "is missing");
    let saved = place.at("saved");
    let output = run(&["journal", &file, "--salvage", &saved]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains(&format!("LOST: turn {}", newest - 1)), "{text}");
    run_on(&saved, &["--pane", "true"]);
}

#[test]
fn files_that_are_none_of_ours_are_a_clear_line() {
    let place = Place::new();
    let at = |name: &str| place.at(name);
    std::fs::write(at("text"), "not a journal\n").unwrap();
    damage(&at("other"), "CREATE TABLE t (a); INSERT INTO t VALUES (1)");
    let mut store = SqliteStore::open(at("hostile"), Sync::Full).unwrap();
    let schema = "\u{1b}[2J\r\nfree beer".to_owned();
    store.begin(&Identity { schema, format: mainlane::journal::FORMAT }).unwrap();
    drop(store);
    let saved = at("saved");
    for (file, expected) in [("text", "is no SQLite file"), ("other", "another program"), ("none", "No such file")] {
        assert_refused(&["replay", &at(file)], 2, expected);
        for arguments in [&[][..], &["--list"], &["--show", "1"], &["--check"], &["--salvage", &saved]] {
            assert_refused(&[&["journal", &at(file)], arguments].concat(), 2, expected);
        }
        assert!(!Path::new(&saved).exists());
    }
    for file in ["text", "other"] {
        assert_refused(&["run", "--journal", &at(file), "--pane", "true"], 2, "is not a journal");
    }
    for command in [&["journal"][..], &["replay"], &["run", "--pane", "true", "--journal"]] {
        let folder = at(".");
        assert_refused(&[command, &[folder.as_str()]].concat(), 2, "it is a folder");
    }
    assert_refused(&["run", "--journal", &at("no/such/folder"), "--pane", "true"], 2, "No such file");
    // Of another schema: it can be looked at, not run, and what it says of itself stays text.
    assert_refused(&["run", "--journal", &at("hostile"), "--pane", "true"], 2, "free beer");
    assert_refused(&["replay", &at("hostile")], 2, "\\u{1b}[2J\\r\\nfree beer");
    let output = run(&["journal", &at("hostile")]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && text.contains("\\u{1b}[2J\\r\\nfree beer") && !text.contains('\u{1b}'),
        "{text}"
    );
}

#[test]
fn a_journal_of_another_version_is_refused_with_what_can_be_done() {
    let place = Place::new();
    let payload = SqliteStore::open(place.with_a_run(), Sync::Full).unwrap().checkpoint(0).unwrap().unwrap().payload;
    for (version, expected) in [(SCHEMA.1 - 1, "version that wrote it"), (SCHEMA.1 + 1, "a newer mainlane")] {
        let file = place.at(&version.to_string());
        let mut store = SqliteStore::open(&file, Sync::Full).unwrap();
        let identity = Identity { schema: SCHEMA.0.to_owned(), format: mainlane::journal::FORMAT };
        store.begin(&identity).unwrap();
        let checkpoint = Some(Checkpoint::seal(0, version, payload.clone()));
        store.append(&Write { checkpoint, ..Write::default() }).unwrap();
        drop(store);
        for command in [&["replay"][..], &["run", "--pane", "true", "--journal"]] {
            assert_refused(&[command, &[file.as_str()]].concat(), 2, expected);
            assert_refused(&[command, &[file.as_str()]].concat(), 2, &format!("with version {version}"));
        }
        assert_eq!(journal(&file, &["--check"]).1, Some(0), "it is whole, and can be looked at");
    }
}

#[test]
fn wrong_arguments_are_refused() {
    let wrong: [&[&str]; 8] = [
        &["replay"],
        &["replay", "a", "--until", "soon"],
        &["replay", "a", "b"],
        &["journal"],
        &["journal", "a", "--list", "--check"],
        &["journal", "a", "--from", "1"],
        &["run", "--durability", "async"],
        &["run", "--journal", "a", "--keep", "0"],
    ];
    for arguments in wrong {
        let output = run(arguments);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{arguments:?}");
        assert!(said(&output).starts_with("error: "), "{arguments:?}");
    }
}

#[test]
fn a_journal_is_not_recorded_in_itself() {
    let folder = tempfile::tempdir().unwrap();
    let below = folder.path().join("below");
    std::fs::create_dir(&below).unwrap();
    let file = below.join("j");
    let arguments = ["run", "--journal", file.to_str().unwrap(), "--watch", folder.path().to_str().unwrap()];
    assert_refused(&arguments, 2, "put it elsewhere");
    assert!(!file.exists());
}

#[test]
fn nobody_has_to_read_a_list_to_its_end() {
    let place = Place::new();
    let file = place.with_a_run();
    for arguments in [&["--list"][..], &["--list", "--json"], &["--show", "1"], &["--check"], &[]] {
        let mut child = program(&[&["journal", &file], arguments].concat()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    }
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = program(&["journal", &file, "--list"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("cannot print"));
}

#[test]
fn a_journal_that_fails_is_an_exit_code() {
    for (durability, goes_on) in [("async", true), ("before-publish", false)] {
        let place = Place::new();
        let file = place.at("j");
        let arguments = ["run", "--plain", "--json", "--journal", &file, "--durability", durability];
        let mut started = Started::new(&[&arguments[..], &["--pane", "while :; do echo x; sleep 0.01; done"]].concat());
        std::fs::remove_file(&file).unwrap();
        started.until("failed");
        if goes_on {
            started.signal("TERM");
        }
        let mut stdout = Vec::new();
        started.child.stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
        assert_eq!(started.child.wait().unwrap().code(), Some(1));
        let summary = summary_of(&stdout);
        assert!(summary["journal"]["failure"].is_string(), "{summary:#}");
        assert_eq!(summary["complete"], false);
    }
}

/// What is appended lies beside the file, not beside a link to it.
#[cfg(unix)]
#[test]
fn a_journal_is_as_long_by_a_link_as_by_its_name() {
    let (place, links) = (Place::new(), Place::new());
    let (file, link) = (place.with_a_run(), links.at("link"));
    std::os::unix::fs::symlink(&file, &link).unwrap();
    // Somebody looks, so that nothing is merged as it is closed.
    let _looks = SqliteStore::open_read_only(&file).unwrap();
    run_on(&file, &["--pane", "true"]);
    let length = |ending: &str| std::fs::metadata(format!("{file}{ending}")).unwrap().len();
    assert!(length("-wal") > 0, "there is something beside it");
    for name in [&file, &link] {
        let (page, _) = journal(name, &[]);
        assert_eq!(page["file_bytes"].as_u64(), Some(length("") + length("-wal")), "{name}");
    }
}

#[test]
fn a_killed_run_is_gone_on_with() {
    let (place, folder) = (Place::new(), tempfile::tempdir().unwrap());
    let (file, watched) = (place.at("j"), folder.path().to_str().unwrap());
    let pane = "i=0; while :; do i=$((i+1)); printf '\\033]133;C\\007\\033]133;D;0\\007'; done";
    let (mut turn, mut compared) = (0, 1);
    for round in 0..3 {
        let arguments = ["run", "--plain", "--journal", &file, "--pane", pane, "--watch", watched, "--fps", "200"];
        let mut started = Started::new(&arguments);
        std::fs::write(folder.path().join(format!("{round}")), "").unwrap();
        // Until something of this run is on disk.
        let mut durable = turn;
        while durable < turn + 20 {
            let mut line = String::new();
            assert!(started.stderr.read_line(&mut line).unwrap() > 0, "it ended");
            let told = line.split_once("turn ").and_then(|(_, rest)| rest.split_once(" on disk"));
            durable = told.and_then(|(turn, _)| turn.parse().ok()).unwrap_or(durable);
        }
        started.child.kill().unwrap();
        started.child.wait().unwrap();
        let recovered = run_on(&file, &["--pane", "echo"]);
        let found = recovered["journal"]["recovered"]["turn"].as_u64().unwrap();
        assert!(found >= durable, "{durable} was said to be on disk, and {found} was found");
        assert_eq!(recovered["journal"]["recovered"]["lost_panes"], 1);
        (turn, compared) = (turn_of(&recovered), compared + 1);
    }
    let replayed = replay(&file, &["--verify"]);
    assert!(replayed["compared"].as_array().unwrap().len() >= compared, "{replayed:#}");
    assert_eq!(replayed["different"], Value::Array(vec![]));
    assert_eq!(journal(&file, &["--check"]).1, Some(0));
}

/// So many events of real input, of commands and of a folder, and more runs on top: replays come out the same each time, and as
/// it was. `MAINLANE_EVENTS=1000000 cargo test --release --features cli --test it replays_of_real_input -- --nocapture` is the
/// long form.
#[test]
fn replays_of_real_input_come_out_the_same() {
    let wanted = std::env::var("MAINLANE_EVENTS").map_or(20_000, |events| events.parse::<u64>().unwrap());
    let (place, folder) = (Place::new(), tempfile::tempdir().unwrap());
    let (file, watched) = (place.at("j"), folder.path().to_str().unwrap());
    // Half of it, two events each, from four shells that say what they do; a tenth from files that come and go; and the rest of
    // whatever it takes.
    let marks = format!(
        "i=0; while [ $i -lt {} ]; do i=$((i+1)); \
         printf '\\033]0;job %d\\007\\033]133;C\\007%d\\n\\033]133;D;%d\\007' $i $i $((i % 3)); done",
        wanted / 8
    );
    let files = format!(
        "cd {watched} && i=0; while [ $i -lt {} ]; do i=$((i+1)); : > f$i; mv f$i g$i; rm g$i; done",
        wanted / 30
    );
    let listing = "ls -lR /usr/include /etc 2>/dev/null | head -n 100000";
    let mut arguments = vec!["--fps", "1000", "--watch", watched, "--pane", &files, "--pane", listing];
    (0..4).for_each(|_| arguments.extend(["--pane", &marks]));
    // A watched folder has no end of its own: it ends when the panes have.
    let mut started = Started::new(&[&["run", "--plain", "--json", "--journal", &file], &arguments[..]].concat());
    let panes = arguments.iter().filter(|word| **word == "--pane").count();
    started.until(&format!("panes 0 of {panes} running"));
    started.signal("TERM");
    let (first, _) = started.end();
    assert_balanced(&first);
    let applied = first["events"]["applied"].as_u64().unwrap();
    assert!(applied >= wanted, "{first:#}");
    run_on(&file, &["--pane", "seq 1 1000"]);

    let (checked, code) = journal(&file, &["--check"]);
    assert_eq!(code, Some(0), "{checked:#}");
    let replays: Vec<_> = (0..3).map(|_| replay(&file, &["--verify"])).collect();
    for replayed in &replays {
        assert_eq!(replayed["events"], checked["events"]);
        assert_eq!((&replayed["different"], &replayed["hash"]), (&Value::Array(vec![]), &replays[0]["hash"]));
        assert_eq!(
            replayed["compared"].as_array().unwrap().last(),
            Some(&replayed["turn"]),
            "the end was compared too"
        );
    }
    let bytes = std::fs::metadata(PathBuf::from(&file)).unwrap().len();
    let rates: Vec<_> = replays.iter().map(|replayed| &replayed["events_per_second"]).collect();
    println!(
        "{applied} events in {} ms and {} turns, {bytes} bytes; replayed at {rates:?} events/s, {} hashes compared, {}",
        first["elapsed_ms"],
        first["turns"],
        replays[0]["compared"].as_array().unwrap().len(),
        replays[0]["hash"]
    );
}

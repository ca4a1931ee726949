//! The program with several projects, of which one or the other is broken on purpose.

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::program::{Started, assert_balanced, run, summary};

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// `NAME=FOLDER`.
fn of(name: &str, folder: &TempDir) -> String {
    format!("{name}={}", folder.path().display())
}

fn project<'a>(summary: &'a Value, name: &str) -> &'a Value {
    summary["projects"].as_array().unwrap().iter().find(|project| project["name"] == name).unwrap()
}

/// Opened once, never failed, closed at the end; and everything that was pushed was applied.
fn assert_untouched(project: &Value) {
    assert_eq!(project["phase"], "closed", "{project:#}");
    assert_eq!([&project["openings"], &project["failures"]], [1, 0], "{project:#}");
    assert_eq!(project["last_failure"], Value::Null);
    assert_applied(project);
}

fn assert_applied(project: &Value) {
    let count = |name: &str| project["events"][name].as_u64().unwrap();
    let accounted = ["applied", "replaced", "merged", "shed", "refused"].map(count).iter().sum::<u64>();
    assert_eq!([count("pushed"), count("in_flight"), count("refused")], [accounted, 0, 0], "{project:#}");
    assert_eq!([&project["balanced"], &project["complete"]], [true, true], "{project:#}");
    assert!(count("applied") > 0, "{project:#}");
}

/// Makes so many files in it.
fn fill(folder: &Path, files: u64) {
    (0..files).for_each(|n| std::fs::write(folder.join(format!("a{n}")), "").unwrap());
}

#[test]
fn a_project_that_panics_is_opened_again_and_the_others_apply_everything() {
    let (good, bad) = (folder(), folder());
    let lines = "seq 1 200000; printf done > written";
    let mut program = Started::new(
        &[
            &["run", "--plain", "--json", "--pane", "seq 1 300000"][..],
            &["--project", &of("good", &good), "--project-pane", &format!("good={lines}")],
            &["--project", &of("bad", &bad), "--project-pane", "bad=seq 1 10; exec sleep 1000", "--break", "bad=200ms"],
        ]
        .concat(),
    );
    program.until("project bad is open again");
    // While the other fails again and again.
    fill(good.path(), 500);
    program.until("project bad failed: ");
    program.signal("INT");
    let (summary, said) = program.end();
    assert_balanced(&summary);
    assert_eq!(summary["panes"][0]["lines"], 300_000);

    let good_one = project(&summary, "good");
    assert_untouched(good_one);
    assert_eq!(good_one["panes"][0]["lines"], 200_000, "{good_one:#}");
    let worktree = &good_one["worktrees"][0];
    assert_eq!(worktree["in_sync"], true, "{good_one:#}");
    if worktree["diverged"] == 0 {
        assert_eq!(worktree["created"], 501, "what was written here, and by its pane, in its folder: {good_one:#}");
    }

    let bad_one = project(&summary, "bad");
    // Each opening has failed: the first, and three more within ten seconds.
    assert_eq!(bad_one["openings"], bad_one["failures"], "{bad_one:#}\n{said}");
    assert!(bad_one["openings"].as_u64() >= Some(4), "{bad_one:#}\n{said}");
    assert_eq!([&bad_one["phase"], &bad_one["broken"]], ["failed", "panic"], "{bad_one:#}");
    let why = bad_one["last_failure"].as_str().unwrap();
    assert!(why.contains("the reducer panicked") && why.contains("broken on purpose"), "{why}");
    assert_eq!([&bad_one["balanced"], &bad_one["complete"]], [true, false]);
    assert_eq!(bad_one["panes"].as_array().unwrap().len(), 1, "its pane was made anew: {bad_one:#}");
    // Not that no turn was called stuck: on a busy machine one may take as long, above all one that prints its panic.
    assert_eq!(summary["crew"]["complete"], true, "{:#}", summary["crew"]);
}

#[test]
fn a_project_that_hangs_holds_a_thread_and_nobody_else() {
    let (good, bad) = (folder(), folder());
    let mut program = Started::new(
        &[
            &["run", "--plain", "--json", "--pane", "seq 1 1000"][..],
            &["--project", &of("good", &good), "--project", &of("bad", &bad), "--break", "bad=hang"],
        ]
        .concat(),
    );
    program.until("project bad: stuck, a turn does not end");
    fill(good.path(), 300);
    program.signal("TERM");
    let (summary, _) = program.end();
    assert_balanced(&summary);
    let (good, bad) = (project(&summary, "good"), project(&summary, "bad"));
    assert_untouched(good);
    assert_eq!(good["worktrees"][0]["in_sync"], true, "{good:#}");
    // It was not opened again: it goes on by itself, and applies the rest.
    assert_untouched(bad);
    assert_eq!([&bad["broken"], &bad["stuck_turns"]], [&Value::from("hang"), &Value::from(1)], "{bad:#}");
    let crew = &summary["crew"];
    assert_eq!([&crew["stuck_turns"], &crew["complete"]], [&Value::from(1), &Value::from(true)], "{crew:#}");
    assert!(crew["threads_started"].as_u64() > crew["threads"].as_u64(), "a spare one: {crew:#}");
}

#[test]
fn one_that_panics_and_one_that_hangs_at_once_leave_two_alone() {
    let (panics, hangs, good) = (folder(), folder(), folder());
    let mut program = Started::new(
        &[
            &["run", "--plain", "--json"][..],
            &["--project", &of("panics", &panics), "--break", "panics"],
            &["--project", &of("hangs", &hangs), "--break", "hangs=hang"],
            &["--project", &of("good", &good), "--project-pane", "good=seq 1 100"],
        ]
        .concat(),
    );
    program.until("project panics is open again");
    program.signal("INT");
    let (summary, said) = program.end();
    // The first one, which has only the machine to tell of, and that one.
    assert_balanced(&summary);
    assert_untouched(project(&summary, "good"));
    assert_untouched(project(&summary, "hangs"));
    assert!(project(&summary, "panics")["openings"].as_u64() >= Some(2), "{said}");
}

#[test]
fn a_project_that_fails_and_was_not_to_is_a_failure_of_the_program() {
    let (parent, good) = (folder(), folder());
    let gone = parent.path().join("gone");
    std::fs::create_dir(&gone).unwrap();
    let mut program =
        Started::new(
            &[
                &[
                    "run",
                    "--plain",
                    "--json",
                    "--project",
                    &format!("gone={}", gone.display()),
                    "--break",
                    "gone=500ms",
                ][..],
                &["--project", &of("good", &good)],
            ]
            .concat(),
        );
    // The panic was asked for; that it cannot be opened again was not.
    std::fs::remove_dir(&gone).unwrap();
    program.until("project gone failed: cannot watch");
    program.signal("INT");
    let output = program.child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let summary = crate::program::summary_of(&output.stdout);
    assert_eq!(
        [&project(&summary, "gone")["phase"], &summary["complete"]],
        [&Value::from("failed"), &Value::from(false)]
    );
    assert_untouched(project(&summary, "good"));
}

#[test]
fn without_others_the_summary_says_so() {
    let summary = summary(&["run", "--plain", "--json", "--pane", "true"]);
    assert_eq!([&summary["projects"], &summary["crew"]], [&Value::Array(Vec::new()), &Value::Null]);
}

#[test]
fn wrong_projects_are_refused_before_anything_starts() {
    let here = folder();
    let (a, text) = (of("a", &here), here.path().join("text"));
    let journal = here.path().join("j").display().to_string();
    let at_text = format!("a={}", text.display());
    std::fs::write(&text, "").unwrap();
    let wrong: [(&[&str], &str); 9] = [
        (&["--project", &a, "--project", &a], "the project `a` is given twice"),
        (&["--project", "a=/no/such/folder"], "project `a`: cannot watch /no/such/folder: there is no such folder"),
        (&["--project", &at_text], "it is not a folder"),
        (&["--project", &a, "--project-pane", "b=true"], "--project-pane b: there is no project `b`; --project b=DIR"),
        (
            &["--project", &a, "--project-pane", "a=no-such-command -v"],
            "project `a`: command not found: no-such-command",
        ),
        (&["--project", &a, "--break", "b"], "--break b: there is no project `b`"),
        (&["--break", "b=hang"], "--break b: there is no project `b`"),
        (&["--project", &a, "--break", "a", "--break", "a=hang"], "--break a is given twice"),
        (&["--project", &a, "--journal", &journal], "in the folder that the project `a` watches"),
    ];
    // The first pane would leave a trace.
    let trace = here.path().join("trace");
    let pane = format!("touch {}", trace.display());
    for (arguments, expected) in wrong {
        let output = run(&[&["run", "--plain", "--pane", &pane], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(expected) && said.lines().count() == 1, "{arguments:?}: {said}");
        assert!(output.stdout.is_empty());
    }
    assert!(!trace.exists() && !Path::new(&journal).exists());
    for arguments in [["--project", "a"], ["--project", "=."], ["--project-pane", "a="], ["--break", "a=soon"]] {
        let output = run(&[&["run"], &arguments[..]].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(arguments[0]), "{output:?}");
    }
}

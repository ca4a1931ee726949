//! Control arms: bugs that are put in on purpose, one at a time, each of which the replay of what is kept must find.
//!
//! `cargo test -p fuzz --test controls -- --ignored --nocapture`; with `MAINLANE_CONTROLS=ring,coalesce` those of some targets.
//!
//! A copy of the sources is changed and built in a folder of its own, which takes some minutes. A control whose place is no
//! longer there is an error, and so is one that does not compile. Each has to end: nobody waits with a clock.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// One bug: which target must fail, and what is replaced by what in which file.
struct Control {
    target: &'static str,
    file: &'static str,
    place: &'static str,
    bug: &'static str,
}

const TERMINAL: &str = "src/workspace/terminal.rs";
const TRANSLATE: &str = "src/workspace/translate.rs";
const MIRROR: &str = "src/workspace/mirror.rs";
const ARGUMENTS: &str = "src/bin/mainlane/args.rs";
const COMMAND: &str = "src/workspace/command.rs";
const RING: &str = "src/lane/ring.rs";
const RUNS: &str = "src/lane/runs.rs";
const SPSC: &str = "src/sync/spsc.rs";
const COALESCE: &str = "src/lane/coalesce.rs";
const INDEX: &str = "src/lane/index.rs";
const TABLE: &str = "src/lane/table.rs";
const OPERATIONS: &str = "src/main_lane/operations.rs";
const BATCH: &str = "src/journal/batch.rs";
const BYTES: &str = "src/journal/bytes.rs";
const TORN: &str = "src/journal/torn.rs";
const IMAGE: &str = "src/main_lane/operations/image.rs";
const ENCODE: &str = "src/workspace/encode.rs";

#[rustfmt::skip]
const CONTROLS: &[Control] = &[
    // Once real.
    Control { target: "terminal", file: TERMINAL, place: "line.truncate(line.floor_char_boundary(LINE_BYTES));", bug: "" },
    Control { target: "terminal", file: TERMINAL, place: "0x00..=0x1F | 0x7F..=0xFF => after_escape,", bug: "0x00..=0x1F | 0x7F..=0xFF => false," },
    Control { target: "terminal", file: TERMINAL, place: "take_while(|byte| matches!(byte, 0x30..=0x3B))", bug: "take_while(|byte| matches!(byte, 0x30..=0x3F))" },
    Control { target: "terminal", file: TERMINAL, place: "[b\"7\", ..] if params.len() == PARTS_MAX => {}", bug: "" },
    Control { target: "arguments", file: ARGUMENTS, place: "const DIGITS_MAX: usize = 9;", bug: "const DIGITS_MAX: usize = 20;" },
    Control { target: "operations", file: OPERATIONS, place: "open.get(&id).is_some_and(|open| open.age == age)", bug: "open.get(&id).is_some_and(|open| open.age | age < u64::MAX)" },
    // Never so far.
    Control { target: "terminal", file: TERMINAL, place: "self.returned |= returned;", bug: "self.returned = returned;" },
    Control { target: "terminal", file: TERMINAL, place: "self.settled = bell_terminated;", bug: "self.settled = true;" },
    Control { target: "terminal", file: TERMINAL, place: "length > STRING_BYTES)", bug: "length > 2 * STRING_BYTES)" },
    Control { target: "translate", file: TRANSLATE, place: "position(|old| old.tracker == tracker)", bug: "position(|old| old.tracker.is_some())" },
    Control { target: "translate", file: TRANSLATE, place: "self.waiting.len() == WAITING_MAX", bug: "self.waiting.len() > WAITING_MAX" },
    Control { target: "mirror", file: MIRROR, place: "Some(_) => self.remove_all(path, facts),", bug: "Some(_) => {}" },
    Control { target: "mirror", file: MIRROR, place: "if self.echoes.remove(path) {", bug: "if self.echoes.contains(path) {" },
    Control { target: "translate", file: TRANSLATE, place: "tracker.is_none() && cfg!(target_os = \"linux\")", bug: "tracker.is_none() && cfg!(target_os = \"none\")" },
    Control { target: "worktree", file: TRANSLATE, place: "Change::Created { path: to, kind: None }", bug: "Change::Created { path: to, kind: Some(EntryKind::File) }" },
    Control { target: "worktree", file: MIRROR, place: "if kind == Some(EntryKind::File) {", bug: "if kind == Some(EntryKind::Folder) {" },
    Control { target: "arguments", file: ARGUMENTS, place: "self.panes.is_empty() && self", bug: "self.panes.is_empty() || self" },
    Control { target: "command", file: COMMAND, place: "if !is_plain(word) || SHELL_WORDS", bug: "if SHELL_WORDS" },
    Control { target: "command", file: COMMAND, place: "Err(format!(\"not a command: {word} is a folder\"))", bug: "Ok(())" },
    Control { target: "ring", file: RING, place: ".div_ceil(STEP);", bug: ".div_ceil(STEP) + 1;" },
    Control { target: "ring", file: RING, place: "*next_key += STEP;", bug: "" },
    Control { target: "ring", file: RING, place: "self.runs.begin(self.slot.position(), key);\n        // P1: hands the slot to `RingConsumer::look` and `extend`.\n        self.slot.publish();", bug: "self.slot.publish();" },
    Control { target: "ring", file: SPSC, place: "// SAFETY: as in `change`.\n        self.producer.slots.with_mut(at..at + 1, |value| unsafe { value.drop_in_place() });", bug: "let _ = at;" },
    Control { target: "ring", file: RING, place: "            self.next_key = NO_KEY;", bug: "" },
    Control { target: "ring", file: RING, place: "count(position + written as u64);", bug: "count(position + 1);" },
    Control { target: "ring", file: RUNS, place: "if offset != self.offset {", bug: "if offset > self.offset + STEP {" },
    Control { target: "ring", file: RING, place: "if all { seen_end } else { self.below(bound) }", bug: "if all { seen_end } else { self.cut_end.max(self.below(bound).saturating_sub(1)) }" },
    Control { target: "ring", file: SPSC, place: "unsafe { drop_values(slots, *head, (end - head) as usize) };", bug: "" },
    Control { target: "ring", file: SPSC, place: ".load(Acquire) + self.capacity as u64;", bug: ".load(Acquire) + self.slots.len() as u64;" },
    Control { target: "ring", file: SPSC, place: "done += 1;\n                // SAFETY: the caller", bug: "done += 2;\n                // SAFETY: the caller" },
    Control { target: "ring", file: SPSC, place: "before(self.written);", bug: "let _ = before;" },
    Control { target: "coalesce", file: COALESCE, place: "unread.parts.saturating_add(parts));", bug: "parts);" },
    Control { target: "coalesce", file: COALESCE, place: "if !self.has_tier(place, tier) {", bug: "{" },
    Control { target: "coalesce", file: COALESCE, place: "renamed.hash = hash;", bug: "" },
    Control { target: "coalesce", file: INDEX, place: "(place < self.filled).then_some", bug: "(place.saturating_add(1) < self.filled).then_some" },
    Control { target: "coalesce", file: INDEX, place: "if self.distance(home, at) >= self.distance(hole, at) {", bug: "if self.distance(home, at) > self.distance(hole, at) {" },
    Control { target: "coalesce", file: INDEX, place: "self.go_on(start..end + 1);", bug: "self.go_on(end + 1..end + 1);" },
    Control { target: "coalesce", file: TABLE, place: "let on_lane = if named != NO_PAGE && named as usize & 1 == lane {", bug: "let on_lane = if named != NO_PAGE {" },
    Control { target: "coalesce", file: TABLE, place: "self.held.extract_if(.., |value| value.key < bound.0)", bug: "self.held.extract_if(.., |_| true)" },
    Control { target: "coalesce", file: TABLE, place: "is_named && self.table.first.key.load(Relaxed) < bound.0", bug: "is_named" },
    Control { target: "operations", file: OPERATIONS, place: "if sequence <= self.last ||", bug: "if sequence < self.last ||" },
    Control { target: "record", file: BATCH, place: "min(payload.len() / ENTRY_BYTES_MIN)", bug: "max(1 << 16)" },
    Control { target: "record", file: BATCH, place: "self.before = stamp;", bug: "self.before = self.before.max(stamp);" },
    Control { target: "record", file: BATCH, place: "== Some(&(lane, origin))", bug: ".is_some_and(|known| known.0 == lane)" },
    Control { target: "record", file: BYTES, place: "filter(|length| *length <= self.0.len())", bug: "filter(|_| true)" },
    Control { target: "record", file: BYTES, place: "part << (7 * place) >> (7 * place) != part", bug: "place > 99" },
    Control { target: "record", file: TORN, place: "*salts == self.salts[..salts.len()] || is_next", bug: "*salts == self.salts[..salts.len()]" },
    Control { target: "record", file: TORN, place: "self.tail.goes_on |= self.tail.commits > 0;", bug: "" },
    Control { target: "record", file: TORN, place: "self.is_valid = is_next && number(frame, 0) > 0;", bug: "self.is_valid = is_next;" },
    Control { target: "image", file: IMAGE, place: "free = last.checked_add(2);", bug: "free = last.checked_add(1);" },
    Control { target: "image", file: IMAGE, place: "if self.sealed.contains(id) {", bug: "if false {" },
    Control { target: "image", file: IMAGE, place: "aged.sort_unstable();", bug: "aged.sort_unstable_by_key(|(_, pair)| *pair);" },
    Control { target: "domain_event", file: ENCODE, place: "if !keys.is_sorted_by(|key, next| key < next) {", bug: "if false {" },
    Control { target: "domain_event", file: ENCODE, place: "if !entries.is_sorted_by(|(key, _), (next, _)| key < next) {", bug: "if false {" },
    Control { target: "pipeline", file: "src/main_lane/merge.rs", place: "if first.lane < second.lane {", bug: "if first.lane != second.lane {" },
    Control { target: "pipeline", file: "src/main_lane/apply.rs", place: "self.operations.applied(operation, find);", bug: "let _ = find;" },
    Control { target: "workspace", file: "src/workspace/class.rs", place: "*lines += older_lines;", bug: "let _ = older_lines;" },
    Control { target: "workspace", file: "src/workspace/class.rs", place: "Some(WorkspaceKey::System(event.reading()))", bug: "Some(WorkspaceKey::System(Reading::Memory))" },
];

/// Whoever changes a file sees here that a control went with its place, and not when somebody runs them all.
#[test]
fn every_place_of_a_bug_is_there_once() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let is_there_once =
        |control: &&Control| fs::read_to_string(root.join(control.file)).unwrap().matches(control.place).count() == 1;
    let gone: Vec<_> = CONTROLS
        .iter()
        .filter(|control| !is_there_once(control))
        .map(|Control { file, place, .. }| (file, place))
        .collect();
    assert!(gone.is_empty(), "not there once: {gone:#?}");
}

#[test]
#[ignore = "builds the sources once for each bug; takes some minutes"]
fn every_bug_that_is_put_in_is_found() {
    let copy = Copy::new().unwrap();
    assert!(copy.replays("").unwrap(), "nothing is found before anything is changed");
    let mut missed = Vec::new();
    let chosen = std::env::var("MAINLANE_CONTROLS").unwrap_or_default();
    let is_chosen = |control: &&Control| chosen.is_empty() || chosen.split(',').any(|target| control.target == target);
    assert!(CONTROLS.iter().any(|control| is_chosen(&control)), "no control has its target in `{chosen}`");
    for Control { target, file, place, bug } in CONTROLS.iter().filter(is_chosen) {
        let start = Instant::now();
        let path = copy.folder.join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.matches(place).count(), 1, "`{place}` stands once in {file}");
        fs::write(&path, text.replace(place, bug)).unwrap();
        let is_missed = copy.replays(target).unwrap();
        fs::write(&path, text).unwrap();
        let outcome = if is_missed { "MISSED" } else { "found" };
        println!("{target:<10} {outcome:<6} {:>3} s  {file}: {place}", start.elapsed().as_secs());
        if is_missed {
            missed.push(place);
        }
    }
    assert!(copy.replays("").unwrap(), "nothing is found once everything is as it was");
    assert!(missed.is_empty(), "not found: {missed:#?}");
}

/// The sources in a folder of their own, which goes with it.
struct Copy {
    folder: PathBuf,
}

impl Copy {
    fn new() -> io::Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let copy = Self { folder: std::env::temp_dir().join(format!("mainlane-controls-{}", std::process::id())) };
        fs::create_dir(&copy.folder)?;
        for file in ["Cargo.toml", "Cargo.lock"] {
            fs::copy(root.join(file), copy.folder.join(file))?;
        }
        // All that the manifest names.
        for folder in ["src", "tests", "loom-tests", "benches", "examples"] {
            copy_folder(&root.join(folder), &copy.folder.join(folder))?;
        }
        Ok(copy)
    }

    /// Whether what is kept for a target, or for all, breaks no promise, nor memory. An error if it could not be replayed.
    fn replays(&self, target: &str) -> io::Result<bool> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["test", "--offline", "--package", "fuzz", "--test", "replay", "--", target])
            .current_dir(&self.folder)
            .env("CARGO_TARGET_DIR", self.folder.join("target"))
            .env("RUSTFLAGS", "--cap-lints=warn")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .output()?;
        let (said, warned) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if warned.contains("process didn't exit successfully") && warned.contains("(signal: ") {
            return Ok(false);
        }
        if !said.contains("test result:") {
            return Err(io::Error::other(warned.into_owned()));
        }
        if !output.status.success() && !said.contains("breaks a promise") {
            return Err(io::Error::other(said.into_owned()));
        }
        Ok(output.status.success())
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), &to)?;
        }
    }
    Ok(())
}

//! Command lines: `src/bin/mainlane/args.rs`.
//!
//! - Any words at all are understood or refused; a refusal says what is wrong.
//! - A line that is put together from options means those options, in whatever order and spelling.
//! - A duration is the sum of its parts, or refused.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use clap::error::ErrorKind;

use crate::args::{Command, CommandLine};
use crate::choices::Choices;

pub(super) fn check(data: &[u8]) {
    let mut choices = Choices::new(data);
    match choices.below(3) {
        0 => any_words(choices.rest()),
        1 => any_duration(choices.rest()),
        _ => put_together(&mut choices),
    }
}

/// Words with zeroes between them.
fn any_words(bytes: &[u8]) {
    let words = bytes.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec()));
    match CommandLine::try_parse_from([OsString::from("mainlane")].into_iter().chain(words)) {
        Ok(CommandLine { command: None }) => {}
        Ok(CommandLine { command: Some(Command::Run(args)) }) => assert!((1..=1000).contains(&args.fps)),
        Ok(CommandLine { command: Some(Command::Replay(_) | Command::Journal(_)) }) => {}
        Err(refusal) => is_clear(&refusal),
    }
}

/// A refusal says what is wrong, on standard error, and ends with the exit code for wrong arguments.
fn is_clear(refusal: &clap::Error) {
    let said = refusal.to_string();
    match refusal.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            assert!(!refusal.use_stderr() && refusal.exit_code() == 0 && said.contains("mainlane"));
        }
        _ => {
            assert!(refusal.use_stderr() && refusal.exit_code() == 2);
            let reason = said.strip_prefix("error: ").expect("a refusal begins with what it is");
            assert!(reason.lines().next().is_some_and(|line| line.len() > 10), "{said}");
        }
    }
}

/// Whatever is given as a duration.
fn any_duration(text: &[u8]) {
    let word = OsString::from_vec([b"--for=", text].concat());
    if let Err(refusal) = CommandLine::try_parse_from(["mainlane".into(), "run".into(), word]) {
        is_clear(&refusal);
        assert!(refusal.to_string().contains("--for <DURATION>") || refusal.kind() == ErrorKind::InvalidUtf8);
    }
}

/// What a line is to mean.
#[derive(Debug, Default)]
struct Meant {
    panes: Vec<String>,
    watches: Vec<PathBuf>,
    duration: Option<Duration>,
    fps: Option<u64>,
    plain: bool,
    json: bool,
    /// Something is given twice that may be given once, or is out of range.
    wrong: bool,
}

fn put_together(choices: &mut Choices<'_>) {
    let (mut line, mut meant) = (vec!["mainlane".to_owned(), "run".to_owned()], Meant::default());
    for _ in 0..choices.below(8) {
        let (name, value) = any_option(choices, &mut meant);
        match value {
            None => line.push(name.to_owned()),
            // A value that looks like an option needs the other spelling.
            Some(value) if value.starts_with('-') || choices.yes() => line.push(format!("{name}={value}")),
            Some(value) => line.extend([name.to_owned(), value]),
        }
    }
    let wrong = meant.wrong || meant.fps.is_some_and(|fps| !(1..=1000).contains(&fps));
    match CommandLine::try_parse_from(&line) {
        Err(refusal) => {
            assert!(wrong, "{line:?} is refused: {refusal}");
            is_clear(&refusal);
        }
        Ok(CommandLine { command: Some(Command::Run(args)) }) => {
            assert!(!wrong, "{line:?} is accepted");
            assert_eq!((&args.panes, &args.watches), (&meant.panes, &meant.watches), "{line:?}");
            assert_eq!((args.plain, args.json), (meant.plain, meant.json), "{line:?}");
            assert_eq!((u64::from(args.fps), args.duration), (meant.fps.unwrap_or(30), meant.duration), "{line:?}");
            assert_eq!(args.is_empty(), meant.panes.is_empty() && meant.watches.is_empty());
        }
        Ok(other) => panic!("{line:?} means {other:?}"),
    }
}

fn any_option(choices: &mut Choices<'_>, meant: &mut Meant) -> (&'static str, Option<String>) {
    match choices.below(8) {
        0 => {
            meant.wrong |= std::mem::replace(&mut meant.plain, true);
            ("--plain", None)
        }
        1 => {
            meant.wrong |= std::mem::replace(&mut meant.json, true);
            ("--json", None)
        }
        2 => {
            let fps = choices.one_of(&[0, 1, 30, 1000, 1001, 1 << 32]);
            meant.wrong |= meant.fps.replace(fps).is_some();
            ("--fps", Some(fps.to_string()))
        }
        3 | 4 => {
            let (text, duration) = sum_of_parts(choices);
            meant.wrong |= meant.duration.is_some() || duration.is_none();
            meant.duration = duration;
            ("--for", Some(text))
        }
        5 => {
            let path = any_text(choices);
            meant.watches.push(path.clone().into());
            meant.wrong |= path.is_empty();
            ("--watch", Some(path))
        }
        _ => {
            let command = any_text(choices);
            meant.panes.push(command.clone());
            ("--pane", Some(command))
        }
    }
}

fn any_text(choices: &mut Choices<'_>) -> String {
    let length = choices.below(12);
    String::from_utf8_lossy(choices.bytes(length)).into_owned()
}

/// A duration as text, and how long it is; `None` when it is too long, or not one.
fn sum_of_parts(choices: &mut Choices<'_>) -> (String, Option<Duration>) {
    const UNITS: [(&str, u64); 9] = [
        ("ns", 1),
        ("us", 1000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
        ("days", 86_400_000_000_000),
        ("w", 7 * 86_400_000_000_000),
        ("year", 31_557_600_000_000_000),
    ];
    const NUMBERS: [u64; 10] = [0, 1, 7, 59, 999, 1000, 1_000_000, 999_999_999, 1_000_000_000, u64::MAX];
    let (mut text, mut nanoseconds, mut is_small) = (String::new(), 0u128, true);
    for _ in 0..choices.below(5) {
        let (unit, length) = choices.one_of(&UNITS);
        let number = choices.one_of(&NUMBERS);
        text += &format!("{number}{unit}{}", choices.one_of(&["", " ", "  "]));
        nanoseconds += u128::from(number) * u128::from(length);
        is_small &= number <= 999_999_999;
    }
    let seconds = u64::try_from(nanoseconds / 1_000_000_000).ok().filter(|_| is_small && !text.is_empty());
    let duration = seconds.map(|seconds| Duration::new(seconds, (nanoseconds % 1_000_000_000) as u32));
    (text, duration)
}

//! The tables of `.ci/speed`.
//!
//! - `speed instructions BEFORE AFTER LIMIT`: two files that the bench `instructions` wrote, and by how many percent a part
//!   may get dearer, or `none`. Exit code 1 when one did, 2 when there is nothing to compare.
//! - `speed paired BEFORE AFTER ROUNDS`: two programs, and how often each is run.

use std::process::ExitCode;

use speed::{instructions, paired};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["instructions", before, after, limit] => instructions(before, after, limit),
        ["paired", before, after, rounds] => paired(before, after, rounds),
        _ => Err("instructions BEFORE AFTER LIMIT, or paired BEFORE AFTER ROUNDS".to_owned()),
    };
    outcome.unwrap_or_else(|problem| {
        eprintln!("speed: {problem}");
        ExitCode::from(2)
    })
}

fn instructions(before: &str, after: &str, limit: &str) -> Result<ExitCode, String> {
    let limit = match limit {
        "none" => None,
        percent => match percent.parse() {
            Ok(percent) if percent >= 0.0 => Some(percent),
            _ => return Err(format!("neither a number of percent nor `none`: {percent}")),
        },
    };
    let counts = |path: &str| {
        let text = std::fs::read_to_string(path).map_err(|problem| format!("{path}: {problem}"))?;
        instructions::counts(&text).map_err(|problem| format!("{path}: {problem}"))
    };
    let comparison = instructions::Comparison::new(&counts(before)?, &counts(after)?, limit)?;
    print!("{comparison}");
    Ok(if comparison.is_dearer() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn paired(before: &str, after: &str, rounds: &str) -> Result<ExitCode, String> {
    let rounds = rounds.parse().ok().filter(|rounds| *rounds > 0).ok_or("not a number of rounds")?;
    print!("{}", paired::run(before, after, rounds)?);
    Ok(ExitCode::SUCCESS)
}

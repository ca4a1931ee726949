//! The command line: a terminal workspace that runs commands and watches folders, on the engine.

mod args;
mod demo;
mod plain;
mod run;
mod session;
mod summary;
mod view;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Command, CommandLine};

/// Exit code for wrong arguments, a command or a folder that is not there.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    // Prints help, or what is wrong with the arguments, and ends by itself.
    let outcome = match CommandLine::parse().command {
        Some(Command::Run(args)) => run::run(args),
        None => run::run(args::RunArgs::default()),
    };
    match outcome {
        Ok(code) => code,
        Err(problem) => {
            eprintln!("mainlane: {problem}");
            ExitCode::from(USAGE)
        }
    }
}

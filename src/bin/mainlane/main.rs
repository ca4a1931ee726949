//! The command line: a terminal workspace that runs commands and watches folders, on the engine.

mod args;
#[cfg(feature = "burst")]
mod burst;
mod demo;
mod plain;
mod run;
mod session;
mod summary;
mod view;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::args::{Command, CommandLine};

/// Exit code for wrong arguments, a command or a folder that is not there. 0 means that everything was applied and every
/// thread ended; 1 that something was not, or that the summary could not be printed.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    // Prints help, or what is wrong with the arguments, and ends by itself.
    let outcome = match CommandLine::parse().command {
        Some(Command::Run(args)) => run::run(args),
        #[cfg(feature = "burst")]
        Some(Command::Burst(args)) => burst::run(&args),
        None => run::run(args::RunArgs::default()),
    };
    match outcome {
        Ok(code) => code,
        Err(problem) => {
            say(format_args!("mainlane: {problem}"));
            ExitCode::from(USAGE)
        }
    }
}

/// Prints a line on standard error. Nobody may be there to read it, which is no reason to stop.
fn say(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

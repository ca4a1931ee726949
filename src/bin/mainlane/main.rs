//! The command line: a terminal workspace that runs commands and watches folders, on the engine.

mod args;
#[cfg(feature = "burst")]
mod burst;
mod demo;
mod inspect;
mod past;
mod plain;
mod print;
mod problem;
mod projects;
mod replay;
mod run;
mod session;
mod state;
mod summary;
mod trial;
mod view;
mod workers;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::args::{Command, CommandLine};
use crate::print::Clean;
use crate::problem::Problem;

fn main() -> ExitCode {
    // Prints help, or what is wrong with the arguments, and ends by itself.
    let outcome = match CommandLine::parse().command {
        Some(Command::Run(args)) => run::run(args).map_err(Problem::from),
        Some(Command::Replay(args)) => replay::run(&args),
        Some(Command::Journal(args)) => inspect::run(&args),
        #[cfg(feature = "burst")]
        Some(Command::Burst(args)) => burst::run(&args).map_err(Problem::from),
        None => run::run(args::RunArgs::default()).map_err(Problem::from),
    };
    match outcome {
        Ok(code) => code,
        Err(Problem { code, line }) => {
            say(format_args!("mainlane: {line}"));
            ExitCode::from(code)
        }
    }
}

/// Prints a line on standard error. Nobody may be there to read it, which is no reason to stop.
fn say(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{}", Clean(line));
}

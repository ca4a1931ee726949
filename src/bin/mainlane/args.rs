//! What can be asked for.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

/// Many producers, one coherent state, and a thread that must not stall.
///
/// Without a command it runs a short demonstration: three commands and the current folder.
#[derive(Debug, Parser)]
#[command(name = "mainlane", version, about, disable_help_subcommand = true)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs commands and watches folders, and shows them live.
    ///
    /// It ends when all commands have ended and no folder is watched, after --for, on `q`, Ctrl-C or SIGTERM; then it
    /// prints a summary. Without --pane and --watch it runs a short demonstration.
    ///
    /// Keys: Tab moves the focus, z zooms, q ends.
    #[command(after_help = EXAMPLES)]
    Run(RunArgs),

    /// Measures mainlane side by side with its peers.
    #[cfg(feature = "burst")]
    Burst(BurstArgs),
}

#[cfg(feature = "burst")]
#[derive(Args, Debug)]
pub(crate) struct BurstArgs {
    /// Which workloads to run, such as `W1`; all of them by default.
    pub(crate) workloads: Vec<String>,

    /// How often each contender has its slice.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) rounds: u32,

    /// Events of each producer in a slice.
    #[arg(long, value_name = "N", default_value_t = 500_000)]
    pub(crate) events: u64,

    /// How long a slice takes in W15, W16, W20, W21 and W22, such as `50ms`; by default each has its own.
    #[arg(long, value_name = "DURATION", value_parser = some_time)]
    pub(crate) slice: Option<Duration>,

    /// The seed of the order in which contenders have their turn.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    /// Prints one JSON object instead of tables.
    #[arg(long)]
    pub(crate) json: bool,

    /// Writes a page with charts as well: one file, to be opened in a browser.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,

    /// Where W22 has its files while it runs; by default where the system has its temporary files.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

/// A duration that is not zero.
#[cfg(feature = "burst")]
fn some_time(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("it must take some time".to_owned()),
        Ok(time) => Ok(time),
        Err(error) => Err(error.to_string()),
    }
}

const EXAMPLES: &str = "\
Examples:
  mainlane run --pane 'cargo build' --pane 'tail -f /var/log/syslog' --watch src
  mainlane run --plain --json --pane 'seq 1 1000000'
  mainlane run --watch . --for 30s

Exit codes: 0 when everything was applied and ended, 1 when something was not, 2 for wrong
arguments, a command or a folder that is not there. A command's own exit code is in the summary.";

#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// A command to run on a pseudo-terminal of its own, through `sh -c`; may be given several times.
    #[arg(long = "pane", value_name = "CMD")]
    pub(crate) panes: Vec<String>,

    /// A folder to watch, with everything below it; may be given several times.
    #[arg(long = "watch", value_name = "DIR")]
    pub(crate) watches: Vec<PathBuf>,

    /// Ends after this time, such as `30s` or `5m`.
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub(crate) duration: Option<Duration>,

    /// Frames per second.
    #[arg(long, value_name = "N", default_value_t = FPS, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) fps: u32,

    /// Prints progress lines instead of a live view. The default where there is no terminal.
    #[arg(long)]
    pub(crate) plain: bool,

    /// Prints one JSON object at the end, on standard output; everything else goes to standard error.
    #[arg(long)]
    pub(crate) json: bool,
}

const FPS: u32 = 30;
/// Digits that a number of a duration may have, and bytes that all of it may.
const DIGITS_MAX: usize = 9;
const DURATION_BYTES: usize = 100;

/// A duration, such as `1m 30s`. A number that nobody means is refused before it is added to others: at the end of all
/// seconds there are, `humantime` panics. Within these bounds no sum comes near it.
fn duration(text: &str) -> Result<Duration, String> {
    if text.len() > DURATION_BYTES {
        return Err("it is too long".to_owned());
    }
    // White space may stand between the digits of one number.
    let mut numbers = text.split(|c: char| !c.is_ascii_digit() && !c.is_whitespace());
    if numbers.any(|number| number.chars().filter(char::is_ascii_digit).count() > DIGITS_MAX) {
        return Err(format!("a number has more than {DIGITS_MAX} digits; use a larger unit"));
    }
    humantime::parse_duration(text).map_err(|error| error.to_string())
}

impl Default for RunArgs {
    fn default() -> Self {
        Self { panes: Vec::new(), watches: Vec::new(), duration: None, fps: FPS, plain: false, json: false }
    }
}

impl RunArgs {
    /// True when there is nothing to run.
    pub(crate) fn is_empty(&self) -> bool {
        self.panes.is_empty() && self.watches.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for wrong in [
            ["mainlane", "run", "--fps", "0"],
            ["mainlane", "run", "--fps", "fast"],
            ["mainlane", "run", "--for", "soon"],
            ["mainlane", "run", "--for", "18446744073709551615s 1000ms"],
            ["mainlane", "run", "--for", "184467440 73709551615s 1000ms"],
            ["mainlane", "run", "--frames", "3"],
        ] {
            assert!(CommandLine::try_parse_from(wrong).is_err(), "{wrong:?}");
        }
    }

    #[cfg(feature = "burst")]
    #[test]
    fn a_slice_takes_some_time() {
        let burst = |slice| CommandLine::try_parse_from(["mainlane", "burst", "--slice", slice]);
        assert!(burst("0s").is_err() && burst("soon").is_err());
        let Some(Command::Burst(args)) = burst("2ms").unwrap().command else { unreachable!() };
        assert_eq!(args.slice, Some(Duration::from_millis(2)));
    }

    #[test]
    fn panes_and_folders_can_be_given_many_times() {
        let line = ["mainlane", "run", "--pane", "a b", "--watch", "x", "--pane", "c", "--for", "1m 30s"];
        let Some(Command::Run(args)) = CommandLine::try_parse_from(line).unwrap().command else { unreachable!() };
        assert_eq!(args.panes, ["a b", "c"]);
        assert_eq!(args.watches, [PathBuf::from("x")]);
        assert_eq!(args.duration, Some(Duration::from_secs(90)));
    }
}

//! What can be asked for.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

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
    /// prints a summary. Without --pane, --watch and --project it runs a short demonstration.
    ///
    /// With --project there are several projects: the first is what --pane and --watch say, and what is on screen; each of the others has
    /// a state of its own and threads that take its turns, and is opened again when it fails, up to three times in ten seconds.
    ///
    /// Keys: Tab moves the focus, z zooms, q ends.
    #[command(after_help = EXAMPLES)]
    Run(RunArgs),

    /// Rebuilds the state that a journal has, and prints it.
    ///
    /// Without --verify it begins with the newest checkpoint, which is quick; with --verify it begins with the oldest, and
    /// compares the state with every hash that was recorded on the way.
    #[command(after_help = REPLAY_CODES)]
    Replay(ReplayArgs),

    /// Says what is in a journal, whether it is whole, and saves what is good of a damaged one.
    ///
    /// Without an option it prints a page about the journal. One that is being written can be looked at too.
    #[command(after_help = JOURNAL_CODES)]
    Journal(JournalArgs),

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
  mainlane run --journal day.journal --pane 'make test' --watch src
  mainlane run --pane 'make' --project docs=docs --project-pane docs='make html' --for 5m
  mainlane run --pane 'seq 1 1000000' --project good=. --project bad=. --break bad --for 8s

Exit codes: 0 when everything was applied and ended, 1 when something was not, the journal failed, or
a project did that was not to be broken; 2 for wrong arguments, a command or a folder that is not
there, a journal that cannot be opened. A command's own exit code is in the summary.";

const REPLAY_CODES: &str = "\
Exit codes: 0 when the state was rebuilt, 1 when it came out differently, something is damaged, or
the replay was interrupted, 2 for wrong arguments, no such turn, or what is no journal of a workspace.";

const JOURNAL_CODES: &str = "\
Exit codes: 0 when all is well, 1 when something is damaged, 2 for wrong arguments, no such turn, or
what is no journal. A salvage that wrote a new journal ends with 0, whatever was lost; it says what.";

#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// A command to run on a pseudo-terminal of its own, through `sh -c`; may be given several times.
    #[arg(long = "pane", value_name = "CMD")]
    pub(crate) panes: Vec<String>,

    /// A folder to watch, with everything below it; may be given several times.
    #[arg(long = "watch", value_name = "DIR")]
    pub(crate) watches: Vec<PathBuf>,

    /// Another project beside the first: it watches this folder, with everything below it. May be given several times.
    #[arg(long = "project", value_name = "NAME=DIR", value_parser = named)]
    pub(crate) projects: Vec<Named>,

    /// A command of that project, run in its folder, on a pseudo-terminal; may be given several times.
    #[arg(long = "project-pane", value_name = "NAME=CMD", value_parser = named)]
    pub(crate) project_panes: Vec<Named>,

    /// For trials: breaks that project on purpose, so long after each of its openings, by a panic; or by a turn that hangs for two seconds.
    /// After one second unless said otherwise.
    #[arg(long = "break", value_name = "NAME[=DURATION|=hang]", value_parser = broken)]
    pub(crate) broken: Vec<(String, Breakage)>,

    /// Goes on from the state in this file, and records there what is applied. Made when it is not there.
    #[arg(long, value_name = "FILE")]
    pub(crate) journal: Option<PathBuf>,

    /// What waits until a turn is on disk.
    #[arg(long, value_name = "WHEN", default_value = "before-publish", requires = "journal")]
    pub(crate) durability: Waiting,

    /// What is kept of the past: `all`, or so many checkpoints with the turns since the oldest of them.
    #[arg(long, value_name = "all|N", default_value = "all", value_parser = kept, requires = "journal")]
    pub(crate) keep: Kept,

    /// How much memory this program may use, such as `64M`. When it runs short, panes that were not used for long keep fewer lines. By
    /// default nine tenths of what its container may use, if it is in one.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) memory: Option<u64>,

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

/// Something of a project's, and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) project: String,
    pub(crate) what: String,
}

fn named(text: &str) -> Result<Named, String> {
    match text.split_once('=') {
        Some((project, what)) if !project.is_empty() && !what.is_empty() => {
            Ok(Named { project: project.to_owned(), what: what.to_owned() })
        }
        _ => Err("the project's name, `=`, and what belongs to it".to_owned()),
    }
}

/// How a project is to break, and how long after its opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Breakage {
    Panic(Duration),
    Hang(Duration),
}

/// `--break`: the project's name, and how it breaks.
fn broken(text: &str) -> Result<(String, Breakage), String> {
    let (project, how) = match text.split_once('=') {
        None => (text, Breakage::Panic(BREAK_AFTER)),
        Some((project, "hang")) => (project, Breakage::Hang(BREAK_AFTER)),
        Some((project, after)) => {
            let after = duration(after).map_err(|error| format!("`hang`, or a duration: {error}"))?;
            (project, Breakage::Panic(after))
        }
    };
    match project {
        "" => Err("which project? NAME, NAME=DURATION or NAME=hang".to_owned()),
        project => Ok((project.to_owned(), how)),
    }
}

/// What waits for the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Waiting {
    /// Nothing: a crash takes the newest turns, 256 at most
    Async,
    /// What is shown: a crash takes nothing that was seen
    #[default]
    BeforePublish,
    /// The state itself: nothing is done before it is on disk
    BeforeApply,
}

/// What a journal keeps of the past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kept {
    #[default]
    All,
    Checkpoints(u32),
}

fn kept(text: &str) -> Result<Kept, String> {
    match (text, text.parse()) {
        ("all", _) => Ok(Kept::All),
        (_, Ok(count)) if count > 0 => Ok(Kept::Checkpoints(count)),
        _ => Err("`all`, or a number of checkpoints, 1 at least".to_owned()),
    }
}

/// A size in bytes, or with a unit.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|unit: char| !unit.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "" => 1,
        "K" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        _ => 0,
    };
    match digits.parse::<u64>().ok().and_then(|count| count.checked_mul(unit)) {
        Some(bytes) if bytes > 0 => Ok(bytes),
        _ => Err("a size such as `500M`; the units are K, M and G, of 1024".to_owned()),
    }
}

#[derive(Args, Debug)]
pub(crate) struct ReplayArgs {
    /// The journal.
    pub(crate) file: PathBuf,

    /// The last turn to apply; the newest by default.
    #[arg(long, value_name = "TURN")]
    pub(crate) until: Option<u64>,

    /// Begins with the oldest checkpoint, and compares the state with every hash that was recorded.
    #[arg(long)]
    pub(crate) verify: bool,

    /// Prints one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct JournalArgs {
    /// The journal.
    pub(crate) file: PathBuf,

    /// Prints a line for each turn.
    #[arg(long, group = "what")]
    pub(crate) list: bool,

    /// The first turn to list.
    #[arg(long, value_name = "TURN", requires = "list", conflicts_with_all = ["show", "check", "salvage"])]
    pub(crate) from: Option<u64>,

    /// The last turn to list.
    #[arg(long, value_name = "TURN", requires = "list", conflicts_with_all = ["show", "check", "salvage"])]
    pub(crate) to: Option<u64>,

    /// Prints the events of one turn.
    #[arg(long, value_name = "TURN", group = "what")]
    pub(crate) show: Option<u64>,

    /// Reads all of it, and says what is wrong with it.
    #[arg(long, group = "what")]
    pub(crate) check: bool,

    /// Writes what is good of it to a new journal, and says what is lost.
    #[arg(long, value_name = "FILE", group = "what")]
    pub(crate) salvage: Option<PathBuf>,

    /// Prints JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

const FPS: u32 = 30;
/// How long a project lives that is to be broken, unless it is said.
const BREAK_AFTER: Duration = Duration::from_secs(1);
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
        Self {
            panes: Vec::new(),
            watches: Vec::new(),
            projects: Vec::new(),
            project_panes: Vec::new(),
            broken: Vec::new(),
            journal: None,
            durability: Waiting::default(),
            keep: Kept::default(),
            memory: None,
            duration: None,
            fps: FPS,
            plain: false,
            json: false,
        }
    }
}

impl RunArgs {
    /// True when there is nothing to run.
    pub(crate) fn is_empty(&self) -> bool {
        self.panes.is_empty() && self.watches.is_empty() && self.projects.is_empty()
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
    fn sizes_have_units() {
        assert_eq!([size("7"), size("2K"), size("3MiB"), size("1G")], [Ok(7), Ok(2048), Ok(3 << 20), Ok(1 << 30)]);
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
            ["mainlane", "run", "--durability", "async"],
            ["mainlane", "run", "--keep", "all"],
            ["mainlane", "journal", "--list", "--check"],
            ["mainlane", "replay", "a", "--until"],
            ["mainlane", "run", "--memory", "0"],
            ["mainlane", "run", "--memory", "64X"],
            ["mainlane", "run", "--memory", "-1M"],
            ["mainlane", "run", "--memory", "18446744073709551615K"],
        ] {
            assert!(CommandLine::try_parse_from(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn projects_have_names_and_break_in_two_ways() {
        let name = |text: &str, what: &str| Named { project: text.to_owned(), what: what.to_owned() };
        assert_eq!(named("a=b=c"), Ok(name("a", "b=c")));
        for wrong in ["a", "a=", "=b", "=", ""] {
            assert!(named(wrong).is_err(), "{wrong}");
        }
        let (panic, hang) = (Breakage::Panic(BREAK_AFTER), Breakage::Hang(BREAK_AFTER));
        assert_eq!([broken("a"), broken("a=hang")], [Ok(("a".to_owned(), panic)), Ok(("a".to_owned(), hang))]);
        assert_eq!(broken("a=20ms"), Ok(("a".to_owned(), Breakage::Panic(Duration::from_millis(20)))));
        for wrong in ["", "=hang", "a=", "a=soon", "a=-1s"] {
            assert!(broken(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_journal_keeps_all_of_the_past_or_a_part_of_it() {
        let run = |words: &[&str]| {
            let line = ["mainlane", "run", "--journal", "a"].iter().chain(words);
            match CommandLine::try_parse_from(line).ok()?.command {
                Some(Command::Run(args)) => Some((args.keep, args.durability)),
                _ => None,
            }
        };
        assert_eq!(run(&[]), Some((Kept::All, Waiting::BeforePublish)));
        let both = run(&["--keep", "3", "--durability", "before-apply"]);
        assert_eq!(both, Some((Kept::Checkpoints(3), Waiting::BeforeApply)));
        for wrong in [["--keep", "0"], ["--keep", "-1"], ["--keep", "some"], ["--durability", "never"]] {
            assert_eq!(run(&wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn one_thing_is_asked_of_a_journal() {
        let wrong = [
            &["--list", "--check"][..],
            &["--show", "1", "--salvage", "b"],
            &["--from", "1"],
            &["--check", "--to", "1"],
            &["--show", "-1"],
        ];
        for words in wrong {
            let line = ["mainlane", "journal", "a"].iter().chain(words);
            assert!(CommandLine::try_parse_from(line).is_err(), "{words:?}");
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

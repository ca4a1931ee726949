//! Something worth watching, for those who only want to look.

use std::time::Duration;

use mainlane::workspace::WatchSource;

use crate::args::RunArgs;
use crate::say;

const SHOWN: &str = "\
mainlane runs commands on pseudo-terminals, watches folders, and shows one coherent state.
  mainlane run --pane CMD --watch DIR    your own commands and folders
  mainlane run --help                    everything it can do
This is a demonstration: three commands and, if it is not too large, the current folder, for fifteen seconds.";

/// A folder with more entries is not watched.
const ENTRIES_MAX: usize = 50_000;

/// A flood, a slow progress and a shell that says what it does.
const PANES: [&str; 3] = [
    "i=0; while [ $i -lt 140 ]; do seq 1 20000; i=$((i+1)); sleep 0.1; done",
    "i=0; while [ $i -le 100 ]; do printf '\\rcopying %3d %%' $i; i=$((i+1)); sleep 0.14; done; echo; echo done",
    "for job in fetch build test pack ship; do printf '\\033]0;%s\\007\\033]133;C\\007' $job; \
     echo \"$job: working\"; sleep 2.5; echo \"$job: done\"; printf '\\007\\033]133;D;0\\007'; done",
];

/// Fills in what to show, and says so.
pub(crate) fn fill(args: &mut RunArgs) {
    SHOWN.lines().for_each(|line| say(format_args!("{line}")));
    args.panes = PANES.map(str::to_owned).to_vec();
    // A home folder may have more than is worth reading for this.
    if WatchSource::builder(".").entries_max(ENTRIES_MAX).watch().is_ok() {
        args.watches = vec![".".into()];
    }
    args.duration.get_or_insert(Duration::from_secs(15));
}

//! The events of a workspace: one closed union, in three tiers.
//!
//! Every `match` on it names all variants, so that a new one is a compile error at each place that must think about it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::lines::Lines;
use super::warmth::Warmth;
use crate::origin::Name;
use crate::register::Comparison;
use crate::{Authority, Facets, Fill, Operation, Tags};

/// The owner of the data model: panes, worktrees, readings, services, plug-ins.
pub const MODEL: Authority = Authority::new(1, "model");
/// The owner of the layout: which pane has the focus, which are visible, which one is zoomed.
pub const LAYOUT: Authority = Authority::new(2, "layout");

/// Identifies a pane within a pipeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "journal", derive(serde::Serialize, serde::Deserialize))]
pub struct PaneId(pub u64);

/// Identifies a worktree, a watched folder, within a pipeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "journal", derive(serde::Serialize, serde::Deserialize))]
pub struct WorktreeId(pub u64);

impl fmt::Display for PaneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pane {}", self.0)
    }
}

impl fmt::Display for WorktreeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worktree {}", self.0)
    }
}

/// Everything that can happen in a workspace.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "journal", derive(serde::Serialize, serde::Deserialize))]
pub enum WorkspaceEvent {
    /// Built in: a command on a pseudo-terminal.
    Pane(PaneEvent),
    /// Built in: a watched folder.
    Worktree(WorktreeEvent),
    /// Built in: a reading of the machine.
    System(SystemEvent),
    /// Built in: what is on screen.
    Layout(LayoutEvent),
    /// A typed interface with a named provider behind it.
    Service(ServiceEvent),
    /// A plug-in, in a schema that this crate does not know.
    PlugIn(PlugInEvent),
}

/// What happens to a pane.
///
/// `Started`, `Output` and `Exited` are the three phases of one operation, the run of the command; their sequence
/// numbers rise by one from event to event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "journal", derive(serde::Serialize, serde::Deserialize))]
pub enum PaneEvent {
    /// The command was started.
    Started {
        /// Which pane.
        pane: PaneId,
        /// The command, as it was given to the shell.
        command: Arc<str>,
        /// The folder it was started in, when one was asked for.
        #[cfg_attr(feature = "journal", serde(with = "super::encode::optional_path"))]
        folder: Option<Arc<Path>>,
        /// The run, its first phase.
        operation: Operation,
    },
    /// The command wrote something. Lossy; unread outputs of a pane merge: their counts add up, and their text is joined.
    Output {
        /// Which pane.
        pane: PaneId,
        /// How many bytes were written, exactly.
        bytes: u64,
        /// How many line ends (`\n`) were among them, exactly.
        lines: u64,
        /// The newest line that is not blank, as text, cut to 512 bytes.
        last_line: Arc<str>,
        /// The newest lines that were ended, as many as a scrollback holds.
        text: Lines,
        /// The run, in progress.
        operation: Operation,
    },
    /// The program named its window (OSC 0 and 2).
    Title {
        /// Which pane.
        pane: PaneId,
        /// The title, without control characters, cut to 256 characters.
        title: Arc<str>,
    },
    /// The program said which folder it works in (OSC 7).
    WorkingDirectory {
        /// Which pane.
        pane: PaneId,
        /// The folder, on this host.
        #[cfg_attr(feature = "journal", serde(with = "super::encode::path"))]
        folder: Arc<Path>,
    },
    /// The bell rang. Lossy; unread bells of a pane add up.
    Bell {
        /// Which pane.
        pane: PaneId,
        /// How many times.
        count: u64,
    },
    /// A shell shows its prompt (OSC 133 A).
    PromptStarted {
        /// Which pane.
        pane: PaneId,
    },
    /// A shell runs a command (OSC 133 C).
    CommandStarted {
        /// Which pane.
        pane: PaneId,
    },
    /// A shell's command has ended (OSC 133 D).
    CommandFinished {
        /// Which pane.
        pane: PaneId,
        /// The command's exit code, when the shell said it.
        exit_code: Option<i32>,
    },
    /// The pane's own command has ended, and nothing more will be read from it.
    Exited {
        /// Which pane.
        pane: PaneId,
        /// How it ended.
        exit: Exit,
        /// The run, its last phase.
        operation: Operation,
    },
    /// The pane was lost: the program that ran it has ended, and how the command went on is not known. Said by whoever goes
    /// on from a recovered state.
    Lost {
        /// Which pane.
        pane: PaneId,
    },
    /// Less of its output is to be kept. Never more: for that there is [`Promoted`](PaneEvent::Promoted).
    Demoted {
        /// Which pane.
        pane: PaneId,
        /// What it becomes, unless it is colder.
        to: Warmth,
    },
    /// All of its output is to be kept from now on, as far as a scrollback holds it: somebody looks at it, or will. What
    /// was given up does not come back.
    Promoted {
        /// Which pane.
        pane: PaneId,
    },
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "journal", derive(serde::Serialize, serde::Deserialize))]
pub enum Exit {
    /// By itself, with this exit code.
    Code(i32),
    /// By a signal.
    Signal {
        /// The signal's number.
        number: i32,
        /// The signal's name in the words of the operating system, as `Killed`.
        name: Arc<str>,
    },
}

impl Exit {
    /// True for exit code 0.
    pub fn success(&self) -> bool {
        *self == Exit::Code(0)
    }

    /// One number for both cases, as shells give it: the exit code, or 128 and the signal's number.
    pub fn shell_code(&self) -> i32 {
        match self {
            Exit::Code(code) => *code,
            Exit::Signal { number, .. } => 128 + number,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exit code {code}"),
            Exit::Signal { number, name } => write!(f, "signal {number} ({name})"),
        }
    }
}

/// What happens in a worktree. All paths but that of `Opened` are relative to the worktree's own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "journal", derive(serde::Serialize, serde::Deserialize))]
pub enum WorktreeEvent {
    /// The folder is being watched.
    Opened {
        /// Which worktree.
        worktree: WorktreeId,
        /// The folder, absolute, symbolic links resolved.
        #[cfg_attr(feature = "journal", serde(with = "super::encode::path"))]
        path: Arc<Path>,
        /// How many entries were there already.
        entries: u64,
    },
    /// An entry is new.
    Created {
        /// Which worktree.
        worktree: WorktreeId,
        /// Which entry.
        #[cfg_attr(feature = "journal", serde(with = "super::encode::path"))]
        path: Arc<Path>,
        /// What it is.
        kind: EntryKind,
    },
    /// An entry is gone. A folder that goes takes everything below it along, each with an event of its own.
    Removed {
        /// Which worktree.
        worktree: WorktreeId,
        /// Which entry.
        #[cfg_attr(feature = "journal", serde(with = "super::encode::path"))]
        path: Arc<Path>,
    },
    /// An entry has a new name. A folder takes everything below it along, without further events.
    ///
    /// An old name that no event had told of belonged to an entry of a folder too new to be watched; the new one was
    /// found on the disk and told of, so nothing is left to do but to count.
    Renamed {
        /// Which worktree.
        worktree: WorktreeId,
        /// The name it had.
        #[cfg_attr(feature = "journal", serde(with = "super::encode::path"))]
        from: Arc<Path>,
        /// The name it has.
        #[cfg_attr(feature = "journal", serde(with = "super::encode::path"))]
        to: Arc<Path>,
        /// How many entries had that name, or lay below it, and are gone with it.
        replaced: u64,
    },
    /// The contents or the metadata of an entry changed. Lossy by path; the number of changes adds up.
    Modified {
        /// Which worktree.
        worktree: WorktreeId,
        /// Which entry.
        #[cfg_attr(feature = "journal", serde(with = "super::encode::path"))]
        path: Arc<Path>,
        /// How many times the operating system said so.
        changes: u64,
    },
    /// What is known is no longer certain to be what is on the disk.
    Diverged {
        /// Which worktree.
        worktree: WorktreeId,
        /// Why.
        reason: DivergenceCause,
    },
    /// All that is known is being compared with the disk. Each difference comes as an event.
    Comparing {
        /// Which worktree.
        worktree: WorktreeId,
        /// Which comparison. They are numbered from one since the folder was opened.
        comparison: Comparison,
    },
    /// What is known was compared with the disk, and the two are equal. Differences that earlier comparisons found came as events
    /// before.
    Reconciled {
        /// Which worktree.
        worktree: WorktreeId,
        /// The comparison that found them equal.
        comparison: Comparison,
        /// How many entries are known, and on the disk.
        entries: u64,
        /// How many entries turned out to be new since it was known to be equal before.
        created: u64,
        /// How many entries turned out to be gone.
        removed: u64,
    },
    /// The answer to [`WatchControl::audit`](super::WatchControl::audit).
    Audited {
        /// Which worktree.
        worktree: WorktreeId,
        /// Whether what was known was equal to the disk. If not, `Diverged` came before.
        in_sync: bool,
        /// How many entries are known now.
        entries: u64,
    },
    /// A folder cannot be read, so what lies below it is not known. Said once per folder.
    Unreadable {
        /// Which worktree.
        worktree: WorktreeId,
        /// Which folder.
        #[cfg_attr(feature = "journal", serde(with = "super::encode::path"))]
        path: Arc<Path>,
        /// What the operating system said.
        reason: Arc<str>,
    },
    /// The folder is not watched any more: the program that did has ended. Said by whoever goes on from a recovered state.
    Unwatched {
        /// Which worktree.
        worktree: WorktreeId,
    },
}

/// What an entry of a worktree is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "journal", derive(serde::Serialize, serde::Deserialize))]
pub enum EntryKind {
    /// A folder.
    Folder,
    /// Anything else: a file, a symbolic link, a socket.
    File,
}

/// Why a worktree may differ from the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "journal", derive(serde::Serialize, serde::Deserialize))]
pub enum DivergenceCause {
    /// Changes came faster than they were taken in, and the source's queue was full.
    QueueFull {
        /// How many changes were dropped.
        dropped: u64,
    },
    /// The operating system dropped changes before anyone could read them.
    SystemOverflow,
    /// The watcher reported an error.
    WatcherFailed(Arc<str>),
    /// The folder itself is gone: removed, moved away or unplugged. The source waits for its return.
    RootMissing,
    /// An audit found differences that no change had announced.
    Audit {
        /// How many entries differed.
        differences: u64,
    },
    /// Nobody has compared them yet since the folder was opened.
    #[default]
    NotCompared,
    /// Folders cannot be read, so what lies below them is not known.
    Unreadable {
        /// How many.
        folders: u64,
    },
    /// An event does not fit what was known.
    Contradiction,
    /// Nobody watches it any more.
    Unwatched,
}

impl fmt::Display for DivergenceCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DivergenceCause::QueueFull { dropped } => write!(f, "the queue was full, {dropped} changes dropped"),
            DivergenceCause::SystemOverflow => f.write_str("the operating system dropped changes"),
            DivergenceCause::WatcherFailed(reason) => write!(f, "the watcher failed: {reason}"),
            DivergenceCause::RootMissing => f.write_str("the folder is gone"),
            DivergenceCause::Audit { differences } => write!(f, "an audit found {differences} differences"),
            DivergenceCause::NotCompared => f.write_str("not compared yet"),
            DivergenceCause::Unreadable { folders } => write!(f, "{folders} folders cannot be read"),
            DivergenceCause::Contradiction => f.write_str("an event does not fit"),
            DivergenceCause::Unwatched => f.write_str("not watched"),
        }
    }
}

/// A reading of the machine. Lossy: the newest one of its kind stands.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "journal", derive(serde::Serialize, serde::Deserialize))]
pub enum SystemEvent {
    /// Memory, in bytes.
    Memory {
        /// What this process holds in memory.
        process_rss: u64,
        /// What is in use on the machine, or in the container when that has a limit of its own.
        machine_used: u64,
        /// What there is on the machine, or the container's limit.
        machine_total: u64,
    },
    /// The length of the machine's run queue, averaged over three spans. Not emitted where there is no such figure.
    Load {
        /// Over one minute.
        one: f64,
        /// Over five minutes.
        five: f64,
        /// Over fifteen minutes.
        fifteen: f64,
    },
    /// Processor time since the reading before.
    Processor {
        /// Of this process, in percent of one core; above 100 when it keeps several busy.
        process_percent: f32,
    },
}

/// What changes on screen. All critical: these are the user's own doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "journal", derive(serde::Serialize, serde::Deserialize))]
pub enum LayoutEvent {
    /// The focus moved.
    Focused {
        /// Where to; `None` for nowhere.
        pane: Option<PaneId>,
    },
    /// A pane was shown or hidden.
    Visible {
        /// Which pane.
        pane: PaneId,
        /// Whether it is on screen.
        visible: bool,
    },
    /// A pane fills the screen, or no longer does.
    Zoomed {
        /// Which pane; `None` for none.
        pane: Option<PaneId>,
    },
}

/// What a service says, through an interface that has a type of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "journal", derive(serde::Serialize, serde::Deserialize))]
pub enum ServiceEvent {
    /// Version control of a worktree. Lossy: the newest status of a provider stands.
    VersionControl {
        /// Who says so, as `git`.
        #[cfg_attr(feature = "journal", serde(with = "crate::journal::names"))]
        provider: Name,
        /// About which worktree.
        worktree: WorktreeId,
        /// What it says.
        status: VersionStatus,
    },
}

/// The status of a worktree under version control.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "journal", derive(serde::Serialize, serde::Deserialize))]
pub struct VersionStatus {
    /// The branch; `None` when no branch is checked out.
    pub branch: Option<Arc<str>>,
    /// How many entries differ from what is committed.
    pub changed: u64,
}

/// What a plug-in says, in its own words. Critical, since nobody here knows which of them may be lost.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "journal", derive(serde::Serialize, serde::Deserialize))]
pub struct PlugInEvent {
    /// Which plug-in.
    #[cfg_attr(feature = "journal", serde(with = "crate::journal::names"))]
    pub plugin: Name,
    /// The name of the schema that the payload follows.
    #[cfg_attr(feature = "journal", serde(with = "crate::journal::names"))]
    pub schema: Name,
    /// The payload.
    #[cfg_attr(feature = "journal", serde(with = "super::encode::bytes"))]
    pub payload: Box<[u8]>,
}

/// What lossy events of a workspace have in common when the newer may stand for both.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WorkspaceKey {
    /// The output of a pane.
    PaneOutput(PaneId),
    /// The bell of a pane.
    PaneBell(PaneId),
    /// Changes to the contents of one entry.
    PathModified(WorktreeId, Arc<Path>),
    /// A reading of the machine.
    System(Reading),
    /// The status of a worktree under version control, by its provider.
    VersionControl(&'static str, WorktreeId),
}

/// The kinds of readings of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reading {
    /// [`SystemEvent::Memory`].
    Memory,
    /// [`SystemEvent::Load`].
    Load,
    /// [`SystemEvent::Processor`].
    Processor,
}

/// The context that travels with every event of a workspace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "journal", derive(serde::Serialize, serde::Deserialize))]
pub struct WorkspaceFacets {
    /// The project it belongs to.
    pub project: Option<Arc<str>>,
    /// The folder it happened in.
    #[cfg_attr(feature = "journal", serde(with = "super::encode::optional_path"))]
    pub folder: Option<Arc<Path>>,
    /// Labels.
    pub tags: Tags,
}

impl Facets for WorkspaceFacets {
    fn fill(&mut self, fallback: &Self) {
        self.project.fill(&fallback.project);
        self.folder.fill(&fallback.folder);
        self.tags.fill(&fallback.tags);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_has_one_number_as_shells_give_it() {
        assert_eq!(Exit::Code(3).shell_code(), 3);
        assert_eq!(Exit::Signal { number: 9, name: "Killed".into() }.shell_code(), 137);
        assert!(Exit::Code(0).success() && !Exit::Code(1).success());
    }
}

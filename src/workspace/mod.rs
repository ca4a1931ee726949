//! The reference domain: panes on pseudo-terminals, watched folders, system readings.
//!
//! A small but complete host of the engine, of the kind it was made for: a terminal workspace, where many noisy
//! producers feed one state that several views read. The command line runs on it, and it shows how a host is laid out.
//!
//! | part | what it is |
//! |------|------------|
//! | [`WorkspaceEvent`] | the union of all events, in three tiers: built-in, services with a named provider, plug-ins |
//! | [`Workspace`] | the state, with two owners: [`Model`] for what there is, [`Layout`] for what is on screen |
//! | [`PtySource`] | one command on a pseudo-terminal of its own |
//! | [`WatchSource`] | one folder and everything below it, kept equal to the disk |
//! | [`SystemSource`] | readings of memory, load and processor time |
//!
//! # What is exact and what is not
//! Byte counts, line counts and exit codes of panes are exact: they are added up when events coalesce. A worktree's
//! counts are exact while the operating system keeps up. When it does not, the worktree says so
//! ([`WorktreeEvent::Diverged`]), compares itself with the disk, reports every difference as an event of its own, and calls
//! itself [reconciled](WorktreeEvent::Reconciled) only when a comparison finds none; [`Worktree::mirror`] follows, by the rules of
//! [`Mirror`](crate::register::Mirror). The disk is the truth; nothing is repaired silently, and nothing is taken to be equal that was
//! not compared.
//!
//! Readings of the system are samples: the newest one is all that matters.
//!
//! # What is kept of a pane
//! Of what a pane writes its newest lines are kept ([`Pane::scrollback`]): all that fit when it is [hot](Warmth), few when it
//! is warm, none when it is cold. [`PaneEvent::Demoted`] and [`PaneEvent::Promoted`] say which; the workspace names the panes that
//! matter least and those that will matter next, and how much they hold.
//!
//! # Where it runs
//! On Unix. The figures of [`SystemSource`] respect the memory limit of a Linux container.

// In the order an event meets them: what it is, where it comes from, what it does to the state.
mod class;
mod event;
mod lines;

mod command;
mod pane;
mod terminal;

mod mirror;
mod scan;
mod translate;
mod watch;
mod worktree;

mod system;

mod panes;
mod state;
mod warmth;

#[cfg(feature = "journal")]
mod encode;

#[cfg(test)]
mod mirror_twin;
#[cfg(test)]
mod terminal_twin;
#[cfg(test)]
mod testing;

pub use class::classify_in;
pub use command::first_word_exists;
pub use event::{
    DivergenceCause, EntryKind, Exit, LAYOUT, LayoutEvent, MODEL, PaneEvent, PaneId, PlugInEvent, Reading,
    ServiceEvent, SystemEvent, VersionStatus, WorkspaceEvent, WorkspaceFacets, WorkspaceKey, WorktreeEvent, WorktreeId,
};
pub use lines::{Lines, SCROLLBACK_BYTES, SCROLLBACK_LINES, Scrollback};
pub use pane::{PtyBuilder, PtySource};
pub use panes::Panes;
pub use state::{
    Layout, Machine, Model, Pane, PaneActivity, PaneState, PlugInTally, Workspace, WorkspaceEffect, Worktree,
    WorktreeCounts,
};
pub use system::SystemSource;
pub use terminal::{Mark, Terminal, TerminalReading};
pub use warmth::Warmth;
#[cfg(feature = "control")]
pub use warmth::memory_monitor;
pub use watch::{WatchBuilder, WatchControl, WatchError};
pub use worktree::WatchSource;

/// What a journal of a workspace is called, and the version of its events and state; for
/// [`Journal::schema`](crate::journal::Journal::schema).
#[cfg(feature = "journal")]
pub const SCHEMA: (&str, u32) = ("workspace", 3);

//! A watched folder as a source: what the operating system tells of it, checked against the disk.
//!
//! # Three ways to learn of a change
//! - **Reports** of the operating system, in order. They are applied to a mirror of what is known, and what the mirror
//!   did not know yet becomes an event.
//! - **A look at a new folder.** Between its creation and the moment it is watched, things may happen in it unseen. So
//!   it is watched once more, which takes effect at once, and compared with the disk when the reports have paused. A
//!   difference may still be one that a report on its way will explain; only one that outlasts another pause becomes
//!   an event, like any other. What came *and* went before its folder was watched is never seen by anyone.
//! - **A reconciliation** of everything, whenever the reports cannot be complete: the queue between the watcher's
//!   thread and ours was full, the operating system dropped some, the watcher failed, the folder itself was gone for
//!   a time, or an [audit](WatchControl::audit) found a difference. It is announced by
//!   [`Diverged`](WorktreeEvent::Diverged). Each comparison begins with [`Comparing`](WorktreeEvent::Comparing), every
//!   difference is an event, and as long as there was one another comparison follows;
//!   [`Reconciled`](WorktreeEvent::Reconciled) says that one found none. The first one comes when the folder is opened.
//!
//! A folder that cannot be read hides what is below it, so as long as there is one the worktree has diverged: it is compared
//! again when it can be read, or is gone.
//!
//! # Bounds
//! The queue of reports (`queue_capacity`), the known entries (`entries_max`), old names that wait for their new ones.
//! The watcher's thread never waits: what does not fit into the queue is counted and dropped, and that is a
//! divergence.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

mod reconcile;

use super::event::{DivergenceCause, EntryKind, WorkspaceEvent, WorktreeEvent, WorktreeId};
use super::mirror::{EntryMirror, Fact, Fit};
use super::scan::{exists_as, kind_on_disk, pop_with_all_below};
use super::translate::{Change, Translator};
use super::watch::{WatchBuilder, WatchControl, WatchError, Watching, identity, is_missing, watch_error};
use crate::sync::{AtomicU64, Ordering};
use crate::{Outlet, Polled, Source, SourceError};

/// How long one poll waits for a report. When none comes for that long, the reports have paused, and whatever had
/// happened before has been told.
const PAUSE: Duration = Duration::from_millis(50);
/// How long the disk may stay unlooked at because the reports do not pause.
const PAUSE_WAIT_MAX: Duration = Duration::from_secs(1);
/// How long a report may be on its way, when there is no pause.
const REPORT_DELAY: Duration = Duration::from_millis(100);
/// How often the folder itself is checked for being the one that is watched.
const ROOT_CHECK: Duration = Duration::from_millis(500);
/// How many reports one poll takes in.
const REPORTS_PER_POLL: usize = 1024;
/// How long one poll goes on looking at new folders.
const LOOK: Duration = Duration::from_millis(50);
/// How often folders that cannot be read are tried again.
const UNREADABLE_CHECK: Duration = Duration::from_secs(10);
/// How many comparisons follow each other at once. In a folder that changes all the time the next ones wait for a pause, or for
/// longer and longer.
const COMPARISONS: u32 = 2;
/// How often an audit looks again before it calls a difference one: in a busy folder, a report may be on its way.
const AUDIT_LOOKS: u32 = 3;

/// Numbers worktrees that were given no number. It hands out names and guards nothing.
static NEXT_WORKTREE: AtomicU64 = AtomicU64::new(1);

/// Watches one folder and everything below it.
///
/// Symbolic links are entries, and are not followed. Reading is not a change. What was there before is not created;
/// [`WorktreeEvent::Opened`], the first event, says how much it was.
pub struct WatchSource {
    worktree: WorktreeId,
    options: WatchBuilder,
    root: Arc<Path>,
    /// `None` while the folder is gone.
    watching: Option<Watching>,
    translator: Translator,
    mirror: EntryMirror,
    /// Folders to be compared with the disk when the reports pause.
    unsettled: BTreeSet<Arc<Path>>,
    unsettled_since: Instant,
    /// Those of them that are to be watched before that.
    unwatched: BTreeSet<Arc<Path>>,
    /// Differences from the disk that a report on its way may explain.
    doubts: Vec<Fact>,
    doubts_since: Instant,
    /// Folders that were reported as unreadable.
    unreadable: BTreeSet<Arc<Path>>,
    next_unreadable_check: Instant,
    divergence: Option<OpenDivergence>,
    /// How many comparisons of everything were begun.
    comparisons: u64,
    control: WatchControl,
    audits_answered: u64,
    audit_looks: u32,
    audit_since: Option<Instant>,
    next_root_check: Instant,
    opened: bool,
    changes: Vec<Change>,
    facts: Vec<Fact>,
}

/// A comparison with the disk is due.
#[derive(Clone, Copy, Debug)]
struct OpenDivergence {
    /// Whether a divergence was announced that it is to end. If not, nobody has compared yet, or a folder can be read again.
    announced: bool,
    /// Since when it waits for a pause to be looked at.
    since: Instant,
    /// Whether the watcher has to be set up anew as well.
    rewatch: bool,
    /// Reports dropped since it was announced.
    dropped: u64,
    /// How often it was looked at, and was not equal in the end.
    looks: u32,
    /// How many entries turned out to be new, and gone.
    created: u64,
    removed: u64,
}

impl OpenDivergence {
    fn new(rewatch: bool) -> Self {
        Self { announced: false, since: Instant::now(), rewatch, dropped: 0, looks: 0, created: 0, removed: 0 }
    }

    /// Whether it has waited for a pause for long enough: longer after each look that came to nothing.
    fn is_overdue(&self, now: Instant) -> bool {
        now.duration_since(self.since) >= PAUSE_WAIT_MAX * (1 << self.looks.min(6))
    }
}

/// Whether the disk may be looked at: only when nothing that happened before is still to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reports {
    Paused,
    Coming,
}

impl WatchBuilder {
    /// Watches the folder, and takes in what is there.
    ///
    /// Whatever happens in the folder after this call has returned becomes an event.
    ///
    /// # Errors
    /// When there is no such folder, or the operating system cannot watch it, or there is too much in it.
    pub fn watch(self) -> Result<WatchSource, WatchError> {
        let root = self.absolute_path()?;
        let watching = Watching::start(&root, self.queue_capacity)?;
        let found = self.scan(&root, Path::new(""))?;
        let now = Instant::now();
        let mut source = WatchSource {
            worktree: self.worktree.unwrap_or_else(|| WorktreeId(NEXT_WORKTREE.fetch_add(1, Ordering::Relaxed))),
            options: self,
            translator: Translator::new(root.to_path_buf()),
            root,
            watching: Some(watching),
            mirror: EntryMirror::new(found.entries),
            unsettled: BTreeSet::new(),
            unsettled_since: now,
            unwatched: BTreeSet::new(),
            doubts: Vec::new(),
            doubts_since: now,
            unreadable: BTreeSet::new(),
            next_unreadable_check: now + UNREADABLE_CHECK,
            divergence: None,
            comparisons: 0,
            control: WatchControl::default(),
            audits_answered: 0,
            audit_looks: 0,
            audit_since: None,
            next_root_check: now + ROOT_CHECK,
            opened: false,
            changes: Vec::new(),
            facts: Vec::new(),
        };
        source.take_in_what_came_meanwhile();
        Ok(source)
    }
}

impl WatchSource {
    /// Watches the folder at `path` with the usual options.
    ///
    /// # Errors
    /// See [`WatchBuilder::watch`].
    pub fn watch(path: impl Into<PathBuf>) -> Result<WatchSource, WatchError> {
        Self::builder(path).watch()
    }

    /// Options for a watch of the folder at `path`.
    pub fn builder(path: impl Into<PathBuf>) -> WatchBuilder {
        WatchBuilder::new(path.into())
    }

    /// The worktree's number.
    pub fn worktree(&self) -> WorktreeId {
        self.worktree
    }

    /// The folder, absolute, symbolic links resolved.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Speaks to this source once a lane has taken it.
    pub fn control(&self) -> WatchControl {
        self.control.clone()
    }

    /// What happened between the watch and the first look is known already, and nothing to tell.
    fn take_in_what_came_meanwhile(&mut self) {
        let mut divergences = Vec::new();
        self.take_reports(Duration::ZERO);
        self.apply_changes(&mut divergences);
        self.facts.clear();
        // What a watcher has to say at this early moment is told again by the first poll.
        if let Some(reason) = divergences.pop() {
            self.changes.push(match reason {
                DivergenceCause::RootMissing => Change::RootGone,
                DivergenceCause::QueueFull { .. }
                | DivergenceCause::SystemOverflow
                | DivergenceCause::WatcherFailed(_)
                | DivergenceCause::Audit { .. }
                | DivergenceCause::NotCompared
                | DivergenceCause::Unreadable { .. }
                | DivergenceCause::Contradiction
                | DivergenceCause::Unwatched => Change::Overflow,
            });
        }
    }

    fn open(&mut self, outlet: &mut Outlet<WorkspaceEvent>) {
        if !self.opened {
            self.opened = true;
            let (worktree, path, entries) = (self.worktree, Arc::clone(&self.root), self.mirror.len() as u64);
            self.emit(WorktreeEvent::Opened { worktree, path, entries }, outlet);
            self.compare_soon();
        }
    }

    /// Takes reports from the queue and translates them; waits for the first.
    fn take_reports(&mut self, wait: Duration) -> Reports {
        let Some(watching) = &self.watching else { return Reports::Paused };
        let now = Instant::now();
        let first = watching.reports.recv_timeout(wait).ok();
        let reports = if first.is_some() { Reports::Coming } else { Reports::Paused };
        for report in first.into_iter().chain(watching.reports.try_iter().take(REPORTS_PER_POLL)) {
            match report {
                Ok(report) => self.translator.translate(&report, now, &mut self.changes),
                Err(error) => self.changes.push(Change::Failed(error.to_string().into())),
            }
        }
        self.translator.expire(Instant::now(), reports == Reports::Paused, &mut self.changes);
        reports
    }

    /// Applies translated changes to the mirror, and collects the facts and the divergences they amount to.
    fn apply_changes(&mut self, divergences: &mut Vec<DivergenceCause>) {
        for change in std::mem::take(&mut self.changes) {
            match change {
                Change::Created { path, kind } => {
                    self.find_folders_of(&path);
                    let kind = kind.unwrap_or_else(|| kind_on_disk(&self.root.join(&path)));
                    let fit = self.mirror.created(&path, kind, &mut self.facts);
                    self.check(fit, &path);
                    self.settle_later_if_folder(kind, path);
                }
                Change::Removed { path, kind } => {
                    self.find_folders_of(&path);
                    let fit = self.mirror.removed(&path, kind, &mut self.facts);
                    self.check(fit, &path);
                    // Old news of a folder that is there again would take the new one along.
                    if kind != Some(EntryKind::File) && kind_on_disk(&self.root.join(&path)) == EntryKind::Folder {
                        self.settle_later(path);
                    }
                }
                Change::Renamed { from, to } => {
                    self.find_folders_of(&from);
                    self.find_folders_of(&to);
                    let kind = self.mirror.kind(&from).unwrap_or_else(|| kind_on_disk(&self.root.join(&to)));
                    let fit = self.mirror.renamed(&from, &to, kind, &mut self.facts);
                    self.check(fit, &to);
                    self.settle_later_if_folder(kind, to);
                }
                Change::Modified { path } => {
                    self.find_folders_of(&path);
                    let fit = self.mirror.modified(&path, &mut self.facts);
                    // A file that is removed while it is open is reported for as long as it is written to.
                    let is_there = fit == Fit::Misfit && self.root.join(&path).symlink_metadata().is_ok();
                    // Perhaps it can be read from now on.
                    if is_there || self.unreadable.contains(&path) {
                        self.settle_later(path);
                    }
                }
                Change::Unclear { path } => self.settle_later(path),
                Change::Overflow => divergences.push(DivergenceCause::SystemOverflow),
                Change::Failed(reason) => divergences.push(DivergenceCause::WatcherFailed(reason)),
                Change::RootGone => divergences.push(DivergenceCause::RootMissing),
            }
        }
    }

    /// The watcher watches what it finds in a new folder, and reports from there, though nobody has told that it was
    /// found. If the folders of such a report are on the disk, they are known from now on.
    fn find_folders_of(&mut self, path: &Path) {
        let known = self.mirror.nearest_folder(path);
        let unknown = path.ancestors().skip(1).take_while(|folder| *folder != known);
        let unknown: Vec<Arc<Path>> = unknown.map(Arc::from).collect();
        for folder in unknown.into_iter().rev() {
            if !exists_as(&self.root.join(&folder), EntryKind::Folder) {
                return;
            }
            let fit = self.mirror.created(&folder, EntryKind::Folder, &mut self.facts);
            self.check(fit, &folder);
            self.settle_later(folder);
        }
    }

    fn check(&mut self, fit: Fit, path: &Path) {
        match fit {
            Fit::Fits => {}
            Fit::Misfit => self.settle_later(self.mirror.nearest_folder(path).into()),
        }
    }

    fn settle_later_if_folder(&mut self, kind: EntryKind, path: Arc<Path>) {
        match kind {
            EntryKind::Folder => self.settle_later(path),
            EntryKind::File => {}
        }
    }

    fn settle_later(&mut self, path: Arc<Path>) {
        if self.unsettled.is_empty() {
            self.unsettled_since = Instant::now();
        }
        self.unwatched.insert(Arc::clone(&path));
        self.unsettled.insert(path);
    }

    /// Announces a divergence, unless one is open already that will be reconciled by the same comparison; reports that
    /// are dropped meanwhile are announced with it. The loss of the folder is always announced.
    fn diverge(&mut self, reason: DivergenceCause, outlet: &mut Outlet<WorkspaceEvent>) {
        let (root_missing, rewatch, dropped) = match &reason {
            DivergenceCause::QueueFull { dropped } => (false, false, *dropped),
            DivergenceCause::SystemOverflow
            | DivergenceCause::WatcherFailed(_)
            | DivergenceCause::Audit { .. }
            | DivergenceCause::Contradiction
            | DivergenceCause::Unwatched => (false, true, 0),
            DivergenceCause::NotCompared | DivergenceCause::Unreadable { .. } => (false, false, 0),
            DivergenceCause::RootMissing => (true, true, 0),
        };
        if root_missing {
            self.watching = None;
            self.translator.start_over();
            self.next_root_check = Instant::now() + ROOT_CHECK;
        }
        let open = self.divergence.get_or_insert_with(|| OpenDivergence::new(false));
        open.rewatch |= rewatch;
        if open.announced && !root_missing {
            open.dropped += dropped;
        } else {
            open.announced = true;
            self.announce(reason, outlet);
        }
    }

    /// Has everything compared with the disk, though nothing new speaks against it: nothing is taken over, for a report on its way
    /// may explain what differs.
    fn compare_soon(&mut self) {
        self.divergence.get_or_insert_with(|| OpenDivergence::new(false));
    }

    fn announce(&mut self, reason: DivergenceCause, outlet: &mut Outlet<WorkspaceEvent>) {
        self.emit(WorktreeEvent::Diverged { worktree: self.worktree, reason }, outlet);
    }

    /// Notices what nobody reports: a full queue, and another folder, or none, at our path.
    fn check_watch(&mut self, outlet: &mut Outlet<WorkspaceEvent>) {
        let Some(watching) = &self.watching else { return };
        let dropped = watching.dropped();
        let watched = watching.identity;
        if dropped > 0 {
            self.diverge(DivergenceCause::QueueFull { dropped }, outlet);
        }
        let now = Instant::now();
        if now >= self.next_root_check {
            self.next_root_check = now + ROOT_CHECK;
            if identity(&self.root).ok() != Some(watched) {
                self.diverge(DivergenceCause::RootMissing, outlet);
            }
        }
    }

    /// Looks at the disk, if something calls for it and the reports allow it.
    fn look_at_disk(&mut self, reports: Reports, outlet: &mut Outlet<WorkspaceEvent>) -> Result<(), WatchError> {
        let now = Instant::now();
        let is_time = |since: Instant| reports == Reports::Paused || now.duration_since(since) >= PAUSE_WAIT_MAX;
        if let Some(open) = self.divergence.filter(|open| open.announced) {
            return if reports == Reports::Paused || open.is_overdue(now) { self.reconcile(outlet) } else { Ok(()) };
        }
        self.try_unreadable(now);
        if !self.doubts.is_empty() {
            let is_certain = reports == Reports::Paused || now.duration_since(self.doubts_since) >= REPORT_DELAY;
            if is_certain {
                self.resolve_doubts(outlet);
            }
            return Ok(());
        }
        if !self.unsettled.is_empty() && self.unwatched.is_empty() && is_time(self.unsettled_since) {
            return self.settle(outlet);
        }
        if self.control.audits() == self.audits_answered {
            let Some(open) = self.divergence else { return Ok(()) };
            let is_quiet = reports == Reports::Paused && self.unsettled.is_empty();
            return if is_quiet || open.is_overdue(now) { self.confirm(is_quiet, outlet) } else { Ok(()) };
        }
        let since = *self.audit_since.get_or_insert(now);
        let overdue = now.duration_since(since) >= PAUSE_WAIT_MAX;
        if is_time(since) && (self.unsettled.is_empty() || overdue) {
            return self.audit(outlet);
        }
        Ok(())
    }

    /// Watches new folders without waiting for the reports to pause: the watcher does so too, but may be late, and may
    /// miss some when a folder vanishes while it does. Those that could not be watched are left for the next poll.
    fn watch_new_folders(&mut self, outlet: &mut Outlet<WorkspaceEvent>) {
        let started = Instant::now();
        let mut again = BTreeSet::new();
        while started.elapsed() < LOOK {
            let Some(scope) = pop_with_all_below(&mut self.unwatched) else { break };
            let folder = self.root.join(&scope);
            let Some(watching) = &mut self.watching else { break };
            if kind_on_disk(&folder) != EntryKind::Folder {
                continue;
            }
            match watching.watch(&folder) {
                Ok(()) => {}
                // Something below it has vanished meanwhile, and what comes after that was not watched.
                Err(error) if is_missing(&error) => {
                    again.insert(scope);
                }
                Err(error) => {
                    let reason = watch_error(&folder, error).to_string().into();
                    self.diverge(DivergenceCause::WatcherFailed(reason), outlet);
                }
            }
        }
        self.unwatched.append(&mut again);
    }

    /// Looks at new folders, and at any where something did not fit, each with all that is below it.
    fn settle(&mut self, outlet: &mut Outlet<WorkspaceEvent>) -> Result<(), WatchError> {
        self.mirror.forget_echoes();
        let started = Instant::now();
        while started.elapsed() < LOOK {
            let Some(scope) = pop_with_all_below(&mut self.unsettled) else { break };
            let found = self.options.scan(&self.root, &scope)?;
            self.doubts.append(&mut self.differences(&scope, &found));
            let before = self.unreadable.len();
            self.note_unreadable(&scope, found, outlet);
            match self.unreadable.len() {
                0 if before > 0 => self.compare_soon(),
                now if now > before => self.announce_unreadable(outlet),
                _ => {}
            }
        }
        self.doubts_since = Instant::now();
        Ok(())
    }

    /// Takes over those differences that no report has explained and that the disk still shows.
    fn resolve_doubts(&mut self, outlet: &mut Outlet<WorkspaceEvent>) {
        for doubt in std::mem::take(&mut self.doubts) {
            match doubt {
                Fact::Created { path, kind } => {
                    if exists_as(&self.root.join(&path), kind) {
                        let fit = self.mirror.created(&path, kind, &mut self.facts);
                        self.check(fit, &path);
                    }
                }
                Fact::Removed { path } => {
                    let is_gone = self.root.join(&path).symlink_metadata().is_err();
                    if is_gone {
                        self.mirror.found_gone(&path, &mut self.facts);
                    }
                }
                // A comparison of two sets finds neither.
                Fact::Renamed { .. } | Fact::Modified { .. } => {}
            }
        }
        self.emit_facts(outlet);
    }

    /// Waits for a folder that is gone to come back. An audit meanwhile finds that it is not in sync.
    fn await_root(&mut self, outlet: &mut Outlet<WorkspaceEvent>) -> Result<Polled, WatchError> {
        let wanted = self.control.audits();
        if wanted != self.audits_answered {
            self.answer_audit(wanted, false, outlet);
        }
        let now = Instant::now();
        if now >= self.next_root_check {
            self.next_root_check = now + ROOT_CHECK;
            if self.root.is_dir() {
                self.reconcile(outlet)?;
                return Ok(Polled::Ready);
            }
        }
        Ok(Polled::Until(self.next_root_check))
    }

    fn emit_facts(&mut self, outlet: &mut Outlet<WorkspaceEvent>) {
        for fact in std::mem::take(&mut self.facts) {
            self.emit_fact(fact, outlet);
        }
    }

    fn emit_fact(&self, fact: Fact, outlet: &mut Outlet<WorkspaceEvent>) {
        let worktree = self.worktree;
        let event = match fact {
            Fact::Created { path, kind } => WorktreeEvent::Created { worktree, path, kind },
            Fact::Removed { path } => WorktreeEvent::Removed { worktree, path },
            Fact::Renamed { from, to, replaced } => WorktreeEvent::Renamed { worktree, from, to, replaced },
            Fact::Modified { path } => WorktreeEvent::Modified { worktree, path, changes: 1 },
        };
        self.emit(event, outlet);
    }

    fn emit(&self, event: WorktreeEvent, outlet: &mut Outlet<WorkspaceEvent>) {
        outlet.push(WorkspaceEvent::Worktree(event));
    }
}

impl Source for WatchSource {
    type Event = WorkspaceEvent;

    fn poll(&mut self, outlet: &mut Outlet<WorkspaceEvent>) -> Result<Polled, SourceError> {
        self.open(outlet);
        if self.control.is_closed() {
            self.emit(WorktreeEvent::Unwatched { worktree: self.worktree }, outlet);
            return Ok(Polled::Done);
        }
        let polled = self.watch_on(outlet);
        if let Err(error) = &polled {
            // The last word of a watch that ends here: nobody watches until it is opened again.
            self.announce(DivergenceCause::WatcherFailed(error.to_string().into()), outlet);
        }
        Ok(polled?)
    }
}

impl WatchSource {
    fn watch_on(&mut self, outlet: &mut Outlet<WorkspaceEvent>) -> Result<Polled, WatchError> {
        if self.watching.is_none() {
            return self.await_root(outlet);
        }
        let reports = self.take_reports(PAUSE);
        let mut divergences = Vec::new();
        self.apply_changes(&mut divergences);
        self.emit_facts(outlet);
        if self.mirror.len() > self.options.entries_max {
            return Err(self.options.too_many());
        }
        for reason in divergences {
            self.diverge(reason, outlet);
        }
        // A pause says nothing about folders that were not watched during it.
        let pause = if self.unwatched.is_empty() { reports } else { Reports::Coming };
        self.watch_new_folders(outlet);
        self.check_watch(outlet);
        if self.watching.is_some() {
            self.look_at_disk(pause, outlet)?;
        }
        Ok(match reports {
            Reports::Coming => Polled::Ready,
            Reports::Paused => Polled::Idle,
        })
    }
}

#[cfg(test)]
#[path = "worktree_tests.rs"]
mod tests;

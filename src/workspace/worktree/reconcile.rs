//! Compares a worktree with the disk, reports each difference, and says that the two are equal again.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::super::event::{DivergenceCause, WorkspaceEvent, WorktreeEvent};
use super::super::mirror::Fact;
use super::super::scan::Scan;
use super::super::watch::{WatchError, Watching};
use super::{AUDIT_LOOKS, COMPARISONS, OpenDivergence, Outlet, UNREADABLE_CHECK, WatchSource};
use crate::register::Comparison;

impl WatchSource {
    /// Compares a part of the mirror with the disk, takes over the differences and emits them. Returns how many
    /// entries turned out to be new, and how many to be gone.
    pub(super) fn compare(
        &mut self,
        scope: &Path,
        outlet: &mut Outlet<WorkspaceEvent>,
    ) -> Result<(u64, u64), WatchError> {
        let found = self.options.scan(&self.root, scope)?;
        let differences = self.differences(scope, &found);
        self.note_unreadable(scope, found, outlet);
        self.mirror.settle(&differences);
        let (mut created, mut removed) = (0, 0);
        for difference in differences {
            match difference {
                Fact::Created { .. } => created += 1,
                Fact::Removed { .. } => removed += 1,
                Fact::Renamed { .. } | Fact::Modified { .. } => {}
            }
            self.emit_fact(difference, outlet);
        }
        Ok((created, removed))
    }

    pub(super) fn differences(&self, scope: &Path, found: &Scan) -> Vec<Fact> {
        let unreadable: Vec<Arc<Path>> = found.unreadable.iter().map(|(path, _)| Arc::clone(path)).collect();
        self.mirror.differences(scope, &found.entries, &unreadable)
    }

    /// Reports folders that cannot be read, each once for as long as that is so.
    pub(super) fn note_unreadable(&mut self, scope: &Path, found: Scan, outlet: &mut Outlet<WorkspaceEvent>) {
        self.unreadable.retain(|path| !path.starts_with(scope) || found.unreadable.iter().any(|(now, _)| now == path));
        for (path, error) in found.unreadable {
            if self.unreadable.insert(Arc::clone(&path)) {
                let (worktree, reason) = (self.worktree, error.to_string().into());
                self.emit(WorktreeEvent::Unreadable { worktree, path, reason }, outlet);
            }
        }
    }

    /// Ends a divergence: watches anew if that is in doubt, and compares everything with the disk until a comparison finds no
    /// difference. As long as the folder keeps changing that is left for later.
    pub(super) fn reconcile(&mut self, outlet: &mut Outlet<WorkspaceEvent>) -> Result<(), WatchError> {
        let Some(open) = self.divergence else { return Ok(()) };
        if open.rewatch && !self.rewatch(outlet)? {
            return Ok(());
        }
        if open.dropped > 0 {
            self.announce(DivergenceCause::QueueFull { dropped: open.dropped }, outlet);
        }
        self.unsettled.clear();
        self.doubts.clear();
        let (mut created, mut removed) = (open.created, open.removed);
        for _ in 0..COMPARISONS {
            let comparison = self.begin(outlet);
            let (new, gone) = self.compare(Path::new(""), outlet)?;
            (created, removed) = (created + new, removed + gone);
            if !self.unreadable.is_empty() {
                self.divergence = None;
                self.announce_unreadable(outlet);
                return Ok(());
            }
            if new + gone == 0 {
                self.divergence = None;
                self.found_equal(comparison, created, removed, outlet);
                return Ok(());
            }
        }
        let (announced, looks) = (open.announced, open.looks + 1);
        self.divergence = Some(OpenDivergence { announced, looks, created, removed, ..OpenDivergence::new(false) });
        Ok(())
    }

    /// Compares everything with the disk where nothing speaks against it. What differs is looked at again; if it still does when all
    /// has been told, that is a divergence.
    pub(super) fn confirm(&mut self, is_quiet: bool, outlet: &mut Outlet<WorkspaceEvent>) -> Result<(), WatchError> {
        let looks = self.divergence.map_or(0, |open| open.looks);
        let differences = self.compare_only(outlet)?;
        if differences > 0 {
            self.divergence = Some(OpenDivergence { looks: looks + 1, ..OpenDivergence::new(false) });
            if is_quiet && looks + 1 >= AUDIT_LOOKS {
                self.diverge(DivergenceCause::Audit { differences }, outlet);
            }
        }
        Ok(())
    }

    /// Compares everything with the disk, takes over nothing, and says so when the two are equal. Returns how many entries differ.
    fn compare_only(&mut self, outlet: &mut Outlet<WorkspaceEvent>) -> Result<u64, WatchError> {
        let comparison = self.begin(outlet);
        let found = self.options.scan(&self.root, Path::new(""))?;
        let differences = self.differences(Path::new(""), &found).len() as u64;
        if differences > 0 {
            return Ok(differences);
        }
        self.note_unreadable(Path::new(""), found, outlet);
        self.divergence = None;
        match self.unreadable.is_empty() {
            true => self.found_equal(comparison, 0, 0, outlet),
            false => self.announce_unreadable(outlet),
        }
        Ok(0)
    }

    /// Says that everything is being compared.
    fn begin(&mut self, outlet: &mut Outlet<WorkspaceEvent>) -> Comparison {
        self.comparisons += 1;
        let comparison = Comparison(self.comparisons);
        self.emit(WorktreeEvent::Comparing { worktree: self.worktree, comparison }, outlet);
        comparison
    }

    fn found_equal(&mut self, comparison: Comparison, created: u64, removed: u64, outlet: &mut Outlet<WorkspaceEvent>) {
        let (worktree, entries) = (self.worktree, self.mirror.len() as u64);
        self.emit(WorktreeEvent::Reconciled { worktree, comparison, entries, created, removed }, outlet);
    }

    pub(super) fn announce_unreadable(&mut self, outlet: &mut Outlet<WorkspaceEvent>) {
        let folders = self.unreadable.len() as u64;
        self.announce(DivergenceCause::Unreadable { folders }, outlet);
    }

    /// Folders that could not be read are looked at again when they can be, or are gone.
    pub(super) fn try_unreadable(&mut self, now: Instant) {
        if self.unreadable.is_empty() || now < self.next_unreadable_check {
            return;
        }
        self.next_unreadable_check = now + UNREADABLE_CHECK;
        let is_hidden = |path: &&Arc<Path>| {
            let folder = self.root.join(path);
            folder.is_dir() && folder.read_dir().is_err()
        };
        if let Some(changed) = self.unreadable.iter().find(|path| !is_hidden(path)).cloned() {
            self.settle_later(changed);
        }
    }

    /// Replaces the watcher; false when the folder is gone, which is a divergence of its own.
    pub(super) fn rewatch(&mut self, outlet: &mut Outlet<WorkspaceEvent>) -> Result<bool, WatchError> {
        // The old one ends first: each takes up watches, and there may be no more to spare.
        self.watching = None;
        self.translator.start_over();
        self.unwatched.clear();
        match Watching::start(&self.root, self.options.queue_capacity) {
            Ok(watching) => {
                self.watching = Some(watching);
                Ok(true)
            }
            Err(_) if !self.root.is_dir() => {
                self.diverge(DivergenceCause::RootMissing, outlet);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Compares everything with the disk. A difference is looked at again, and then reconciled and reported.
    pub(super) fn audit(&mut self, outlet: &mut Outlet<WorkspaceEvent>) -> Result<(), WatchError> {
        let wanted = self.control.audits();
        self.mirror.forget_echoes();
        let differences = self.compare_only(outlet)?;
        self.audit_looks += 1;
        if differences > 0 && self.audit_looks < AUDIT_LOOKS {
            return Ok(());
        }
        if differences > 0 {
            self.diverge(DivergenceCause::Audit { differences }, outlet);
            self.reconcile(outlet)?;
        }
        self.answer_audit(wanted, differences == 0 && self.unreadable.is_empty(), outlet);
        Ok(())
    }

    pub(super) fn answer_audit(&mut self, wanted: u64, in_sync: bool, outlet: &mut Outlet<WorkspaceEvent>) {
        self.audits_answered = wanted;
        self.audit_looks = 0;
        self.audit_since = None;
        let (worktree, entries) = (self.worktree, self.mirror.len() as u64);
        self.emit(WorktreeEvent::Audited { worktree, in_sync, entries }, outlet);
    }
}

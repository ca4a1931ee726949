//! Compares a worktree with the disk, reports each difference, and says that the two are equal again.

use std::path::Path;
use std::sync::Arc;

use super::super::event::{Divergence, WorkspaceEvent, WorktreeEvent};
use super::super::mirror::Fact;
use super::super::scan::Scan;
use super::super::watch::{WatchError, Watching};
use super::{AUDIT_LOOKS, Outlet, WatchSource};

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

    /// Ends a divergence: watches anew if that is in doubt, and compares everything with the disk.
    pub(super) fn reconcile(&mut self, outlet: &mut Outlet<WorkspaceEvent>) -> Result<(), WatchError> {
        let Some(open) = self.divergence else { return Ok(()) };
        if open.rewatch && !self.rewatch(outlet)? {
            return Ok(());
        }
        if open.dropped > 0 {
            self.announce(Divergence::QueueFull { dropped: open.dropped }, outlet);
        }
        self.unsettled.clear();
        self.doubts.clear();
        let (created, removed) = self.compare(Path::new(""), outlet)?;
        self.divergence = None;
        self.emit(WorktreeEvent::Reconciled { worktree: self.worktree, created, removed }, outlet);
        Ok(())
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
                self.diverge(Divergence::RootMissing, outlet);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Compares everything with the disk. A difference is looked at again, and then reconciled and reported.
    pub(super) fn audit(&mut self, outlet: &mut Outlet<WorkspaceEvent>) -> Result<(), WatchError> {
        let wanted = self.control.audits();
        self.mirror.forget_echoes();
        let found = self.options.scan(&self.root, Path::new(""))?;
        let differences = self.differences(Path::new(""), &found).len() as u64;
        self.audit_looks += 1;
        if differences > 0 && self.audit_looks < AUDIT_LOOKS {
            return Ok(());
        }
        if differences > 0 {
            self.diverge(Divergence::Audit { differences }, outlet);
            self.reconcile(outlet)?;
        }
        self.answer_audit(wanted, differences == 0, outlet);
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

//! Sets up the watch of a folder: options, errors, the watcher of the operating system and the queue that it fills.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossbeam_channel::{Receiver, bounded};
use notify::{Config, ErrorKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::event::WorktreeId;
use super::scan::{Scan, TooMany, scan};
use super::translate::matters;
use crate::sync::{AtomicBool, AtomicU64, Ordering};

/// How often a watch is tried again when folders vanish while it is set up.
const WATCH_TRIES: u32 = 10;

/// The options of a watch; see [`WatchSource::builder`](super::WatchSource::builder).
#[derive(Clone, Debug)]
pub struct WatchBuilder {
    pub(super) path: PathBuf,
    pub(super) worktree: Option<WorktreeId>,
    pub(super) queue_capacity: usize,
    pub(super) entries_max: usize,
}

/// Speaks to a [`WatchSource`](super::WatchSource) from any thread.
#[derive(Clone, Debug, Default)]
pub struct WatchControl {
    audits: Arc<AtomicU64>,
    closed: Arc<AtomicBool>,
}

/// Why a folder cannot be watched.
#[derive(Debug)]
#[non_exhaustive]
pub enum WatchError {
    /// There is nothing at this path.
    Missing(PathBuf),
    /// What is at this path is no folder.
    NotAFolder(PathBuf),
    /// The folder cannot be read.
    Unreadable(PathBuf, io::Error),
    /// There are more entries below the folder than `entries_max` allows.
    TooManyEntries(PathBuf, usize),
    /// The operating system does not give as many watches as there are folders.
    TooManyFolders(PathBuf),
    /// The operating system refuses for another reason.
    Watcher(PathBuf, String),
}

impl fmt::Display for WatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WatchError::Missing(path) => write!(f, "cannot watch {}: there is no such folder", path.display()),
            WatchError::NotAFolder(path) => {
                write!(f, "cannot watch {}: it is not a folder; name the folder it is in", path.display())
            }
            WatchError::Unreadable(path, error) => write!(f, "cannot watch {}: {error}", path.display()),
            WatchError::TooManyEntries(path, limit) => {
                let path = path.display();
                write!(f, "cannot watch {path}: more than {limit} entries; raise `entries_max` or watch a part of it")
            }
            WatchError::TooManyFolders(path) => {
                let path = path.display();
                write!(
                    f,
                    "cannot watch {path}: no watches left; raise fs.inotify.max_user_watches or watch a part of it"
                )
            }
            WatchError::Watcher(path, reason) => write!(f, "cannot watch {}: {reason}", path.display()),
        }
    }
}

impl std::error::Error for WatchError {}

/// A watcher and the queue that it fills.
pub(super) struct Watching {
    watcher: RecommendedWatcher,
    pub(super) reports: Receiver<notify::Result<notify::Event>>,
    /// Reports that did not fit into the queue.
    dropped: Arc<AtomicU64>,
    /// Which folder is watched, whatever is at its path by now.
    pub(super) identity: (u64, u64),
}

impl WatchControl {
    /// Has the source compare what it knows with the disk, once the reports of earlier changes are through. The answer
    /// is [`Audited`](super::WorktreeEvent::Audited); several requests may get one answer that serves them all.
    pub fn audit(&self) {
        // Pairs with the Acquire in `audits`: the audit sees what its caller did before.
        self.audits.fetch_add(1, Ordering::Release);
    }

    /// Ends the source: its next poll says that nothing will ever come.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// How many audits were asked for so far.
    pub(super) fn audits(&self) -> u64 {
        // Pairs with the Release in `audit`.
        self.audits.load(Ordering::Acquire)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }
}

impl WatchBuilder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, worktree: None, queue_capacity: 16_384, entries_max: 2_000_000 }
    }

    /// The worktree's number. Without one, it is given the next that this process has not given out.
    pub fn worktree(mut self, worktree: WorktreeId) -> Self {
        self.worktree = Some(worktree);
        self
    }

    /// How many reports may wait to be taken in, at least 1; 16,384 if it is not said. When more come, the rest is
    /// dropped, counted, and made up for by a comparison with the disk.
    pub fn queue_capacity(mut self, reports: usize) -> Self {
        self.queue_capacity = reports.max(1);
        self
    }

    /// How many entries may be known; 2,000,000 if it is not said. A folder with more is refused.
    pub fn entries_max(mut self, entries: usize) -> Self {
        self.entries_max = entries;
        self
    }

    pub(super) fn absolute_path(&self) -> Result<Arc<Path>, WatchError> {
        let path = self.path.canonicalize().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => WatchError::Missing(self.path.clone()),
            io::ErrorKind::NotADirectory => WatchError::NotAFolder(self.path.clone()),
            _ => WatchError::Unreadable(self.path.clone(), error),
        })?;
        if !path.is_dir() {
            return Err(WatchError::NotAFolder(self.path.clone()));
        }
        path.read_dir().map_err(|error| WatchError::Unreadable(self.path.clone(), error))?;
        Ok(path.into())
    }

    pub(super) fn scan(&self, root: &Path, scope: &Path) -> Result<Scan, WatchError> {
        scan(root, scope, self.entries_max).map_err(|TooMany| self.too_many())
    }

    pub(super) fn too_many(&self) -> WatchError {
        WatchError::TooManyEntries(self.path.clone(), self.entries_max)
    }
}

impl Watching {
    pub(super) fn start(root: &Path, queue_capacity: usize) -> Result<Self, WatchError> {
        let (sender, reports) = bounded(queue_capacity);
        let dropped = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&dropped);
        let hear = move |report: notify::Result<notify::Event>| {
            let is_of_interest = report.as_ref().map_or(true, matters);
            if is_of_interest && sender.try_send(report).is_err() {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        };
        let watcher = RecommendedWatcher::new(hear, Config::default().with_follow_symlinks(false));
        let watcher = watcher.map_err(|error| watch_error(root, error))?;
        let identity = identity(root).map_err(|_| WatchError::Missing(root.to_owned()))?;
        let mut watching = Self { watcher, reports, dropped, identity };
        watching.watch_persistently(root)?;
        Ok(watching)
    }

    /// Watches all folders below `root`; tries again when one vanishes meanwhile, for then the rest was not watched.
    fn watch_persistently(&mut self, root: &Path) -> Result<(), WatchError> {
        for _ in 1..WATCH_TRIES {
            match self.watch(root) {
                Err(error) if is_missing(&error) && root.exists() => {}
                result => return result.map_err(|error| watch_error(root, error)),
            }
        }
        self.watch(root).map_err(|error| watch_error(root, error))
    }

    pub(super) fn watch(&mut self, folder: &Path) -> notify::Result<()> {
        self.watcher.watch(folder, RecursiveMode::Recursive)
    }

    /// How many reports did not fit into the queue since the last call.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.swap(0, Ordering::Relaxed)
    }
}

/// What tells one folder from another at the same path.
pub(super) fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = path.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}

pub(super) fn is_missing(error: &notify::Error) -> bool {
    match &error.kind {
        ErrorKind::PathNotFound => true,
        ErrorKind::Io(error) => error.kind() == io::ErrorKind::NotFound,
        ErrorKind::Generic(_) | ErrorKind::WatchNotFound | ErrorKind::InvalidConfig(_) | ErrorKind::MaxFilesWatch => {
            false
        }
    }
}

pub(super) fn watch_error(folder: &Path, error: notify::Error) -> WatchError {
    match error.kind {
        ErrorKind::PathNotFound => WatchError::Missing(folder.to_owned()),
        ErrorKind::MaxFilesWatch => WatchError::TooManyFolders(folder.to_owned()),
        // The folder below it that could not be read, where that is known.
        ErrorKind::Io(reason) => {
            WatchError::Unreadable(error.paths.first().map_or(folder, PathBuf::as_path).to_owned(), reason)
        }
        ErrorKind::Generic(reason) => WatchError::Watcher(folder.to_owned(), reason),
        ErrorKind::WatchNotFound | ErrorKind::InvalidConfig(_) => {
            WatchError::Watcher(folder.to_owned(), error.to_string())
        }
    }
}

//! The journal's file and those beside it: FILE-wal and FILE-shm, which are SQLite's, and FILE-lock, which is ours.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::store::{StoreError, TornTail};
use super::super::torn::{self, Found, Tail};

/// One who only looks whether there is a writer holds the lock for a moment; a writer tries again so often.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(2);

/// So many links from one to the next are followed, as the system does.
const LINKS_MAX: u32 = 40;

/// Which file it is, whatever it is called.
#[cfg(unix)]
type FileId = (u64, u64);
#[cfg(not(unix))]
type FileId = ();

#[derive(Debug)]
pub(super) struct Files {
    journal: PathBuf,
    wal: PathBuf,
    lock: PathBuf,
    /// The journal, and SQLite's write-ahead file, as they were when they were opened.
    opened: Option<[FileId; 2]>,
}

impl Files {
    /// By the journal's path, without symbolic links: what is beside it has one name then.
    pub(super) fn new(path: &Path) -> Result<Self, StoreError> {
        if let Ok(found) = fs::metadata(path)
            && !found.is_file()
        {
            // What is written to a device is gone, and a pipe is waited for.
            let reason = if found.is_dir() { "it is a folder" } else { "it is no file" };
            return Err(StoreError::NotAJournal { path: path.display().to_string(), reason: reason.into() });
        }
        let failed = |error: io::Error| failed("looking for its folder", path, &error);
        let journal = if path.exists() {
            path.canonicalize().map_err(failed)?
        } else {
            let path = end_of_links(path).map_err(failed)?;
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let name = path.file_name().ok_or_else(|| failed(io::ErrorKind::IsADirectory.into()))?;
            folder.canonicalize().map_err(failed)?.join(name)
        };
        let beside = |ending: &str| {
            let mut name = OsString::from(&journal);
            name.push(ending);
            PathBuf::from(name)
        };
        let (wal, lock) = (beside("-wal"), beside("-lock"));
        Ok(Self { journal, wal, lock, opened: None })
    }

    pub(super) fn path(&self) -> &Path {
        &self.journal
    }

    /// As SQLite wants to be told that nobody changes the journal, and that nothing is to be put beside it.
    pub(super) fn address_of_what_stays(&self) -> PathBuf {
        let mut address = String::from("file:");
        for byte in self.journal.as_os_str().as_encoded_bytes() {
            match byte {
                b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => address.push(char::from(*byte)),
                byte => address.push_str(&format!("%{byte:02X}")),
            }
        }
        PathBuf::from(address + "?immutable=1")
    }

    /// For people.
    pub(super) fn name(&self) -> String {
        self.journal.display().to_string()
    }

    pub(super) fn must_exist(&self) -> Result<(), StoreError> {
        match fs::metadata(&self.journal) {
            Ok(_) => Ok(()),
            Err(error) => Err(failed("opening it", &self.journal, &error)),
        }
    }

    /// What is appended lies beside one of its names: by another one it would not be found, nor the lock.
    pub(super) fn must_have_one_name(&self) -> Result<(), StoreError> {
        match fs::metadata(&self.journal).map_or(1, |found| names(&found)) {
            0 | 1 => Ok(()),
            names => {
                let reason = format!("{} has {names} names, which are hard links; copy it, or keep one", self.name());
                Err(StoreError::Failed { doing: "opening it", reason })
            }
        }
    }

    /// Makes this the only one that writes, until the file that is returned is closed.
    pub(super) fn lock(&self) -> Result<File, StoreError> {
        let failed = |error: io::Error| failed("locking it", &self.lock, &error);
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&self.lock).map_err(failed)?;
        for _ in 0..LOCK_TRIES {
            match lock.try_lock() {
                Ok(()) => return Ok(lock),
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
        Err(StoreError::Busy { path: self.name() })
    }

    /// Whether somebody writes it now.
    pub(super) fn is_written(&self) -> bool {
        let Ok(lock) = File::open(&self.lock) else { return false };
        matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock))
    }

    /// What SQLite will leave out when it opens the journal.
    pub(super) fn unfinished(&self) -> Result<Found, StoreError> {
        let wal = match File::open(&self.wal) {
            Ok(wal) => wal,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Whole),
            Err(error) => return Err(failed("opening it", &self.wal, &error)),
        };
        let length = |metadata: io::Result<fs::Metadata>| metadata.map_or(0, |metadata| metadata.len());
        if length(fs::metadata(&self.journal)) == 0 && length(wal.metadata()) > 0 {
            // SQLite would remove it.
            let reason = "there is no journal that it belongs to; put back the one that was there, or remove it";
            return Err(StoreError::Damaged { place: self.wal.display().to_string(), reason: reason.into() });
        }
        torn::scan(io::BufReader::with_capacity(1 << 16, wal)).map_err(|error| failed("opening it", &self.wal, &error))
    }

    /// As [`unfinished`](Files::unfinished), for one who does not hold the lock: what is being written is not torn.
    pub(super) fn left_unfinished(&self) -> Result<Found, StoreError> {
        steady(|| self.is_written(), || self.unfinished())
    }

    /// Whether all there is is in the journal itself.
    pub(super) fn is_merged(&self) -> bool {
        fs::metadata(&self.wal).map_or(true, |wal| wal.len() == 0)
    }

    pub(super) fn torn(&self, tail: Tail, was_durable: bool) -> TornTail {
        TornTail { bytes: tail.bytes, place: format!("{}, byte {}", self.wal.display(), tail.offset), was_durable }
    }

    /// Makes the names of new files durable.
    pub(super) fn sync_folder(&self) -> Result<(), StoreError> {
        #[cfg(unix)]
        if let Some(folder) = self.journal.parent() {
            let synced = File::open(folder).and_then(|folder| folder.sync_all());
            synced.map_err(|error| failed("syncing its folder", folder, &error))?;
        }
        Ok(())
    }

    /// Takes note of which files are open.
    pub(super) fn remember(&mut self) -> Result<(), StoreError> {
        self.opened = Some(self.ids()?);
        Ok(())
    }

    /// What is written to a file without a name is gone when it is closed. Costs two system calls.
    pub(super) fn must_be_the_same(&self) -> Result<(), StoreError> {
        match self.opened {
            Some(opened) if opened != self.ids()? => {
                let reason = format!("{} or what is beside it was moved or removed, or is another file", self.name());
                Err(StoreError::Failed { doing: "writing", reason })
            }
            _ => Ok(()),
        }
    }

    fn ids(&self) -> Result<[FileId; 2], StoreError> {
        Ok([id(&self.journal)?, id(&self.wal)?])
    }
}

/// Where a link leads to that has nothing at its end.
fn end_of_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        match fs::read_link(&path) {
            Ok(to) => path = path.parent().unwrap_or(Path::new("")).join(to),
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("too many symbolic links, or a circle of them"))
}

/// What two looks in a row find: a writer that comes while one looks leaves something half old and half new to be seen.
fn steady(
    is_written: impl Fn() -> bool,
    mut look: impl FnMut() -> Result<Found, StoreError>,
) -> Result<Found, StoreError> {
    let mut before = None;
    for _ in 0..LOCK_TRIES {
        if is_written() {
            break;
        }
        let found = look()?;
        if found == Found::Whole || before.as_ref() == Some(&found) {
            return Ok(found);
        }
        before = Some(found);
    }
    Ok(Found::Whole)
}

#[cfg(unix)]
fn names(found: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::nlink(found)
}

/// Who opens it another time finds that it cannot be shared.
#[cfg(not(unix))]
fn names(_: &fs::Metadata) -> u64 {
    1
}

#[cfg(unix)]
fn id(path: &Path) -> Result<FileId, StoreError> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(path).map_err(|error| failed("writing", path, &error))?;
    Ok((metadata.dev(), metadata.ino()))
}

/// An open file cannot be moved away.
#[cfg(not(unix))]
fn id(_: &Path) -> Result<FileId, StoreError> {
    Ok(())
}

fn failed(doing: &'static str, path: &Path, error: &io::Error) -> StoreError {
    let reason = format!("{}: {error}", path.display());
    if error.kind() == io::ErrorKind::StorageFull {
        StoreError::Full { reason }
    } else {
        StoreError::Failed { doing, reason }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// What is found at the first look, the second and so on, with a writer there from look `written` on.
    fn looked(finds: &[Found], written: usize) -> Found {
        let looks = Cell::new(0);
        let look = || {
            looks.set(looks.get() + 1);
            Ok(finds[looks.get() - 1].clone())
        };
        steady(|| looks.get() >= written, look).unwrap()
    }

    #[test]
    fn what_is_seen_of_a_writer_that_comes_is_not_taken_for_torn() {
        let (some, more) = (Found::Tail(Tail::all(3)), Found::Tail(Tail::all(5)));
        assert_eq!(looked(&[some.clone(), some.clone()], usize::MAX), some);
        assert_eq!(looked(&[Found::Whole], usize::MAX), Found::Whole);
        assert_eq!(looked(&[], 0), Found::Whole);
        // It comes while the first look goes on; or it comes and goes.
        assert_eq!(looked(std::slice::from_ref(&some), 1), Found::Whole);
        assert_eq!(looked(&[some.clone(), Found::Whole], usize::MAX), Found::Whole);
        assert_eq!(looked(&[some, more.clone(), more.clone()], usize::MAX), more);
    }
}

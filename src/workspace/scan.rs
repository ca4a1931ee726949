//! Looks at the disk: what there is below a folder.

use std::collections::BTreeSet;
use std::fs::{self, FileType};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::event::EntryKind;
use super::mirror::Entries;

/// What a look at the disk has found.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Every entry at the scope and below it, by its path from the root.
    pub(super) entries: Entries,
    /// Folders that cannot be read, and what the operating system said. What lies below them is not known.
    pub(super) unreadable: Vec<(Arc<Path>, io::Error)>,
}

/// There is more below a folder than may be kept in mind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany;

/// Lists `scope` and all below it, with paths relative to `root`; the empty scope is the root itself, which is not
/// listed. Symbolic links are entries, and are not followed. An entry that vanishes meanwhile is not an error.
///
/// Goes folder by folder, not by recursion: what is kept is the list itself and the folders of it still to be read.
pub(super) fn scan(root: &Path, scope: &Path, entries_max: usize) -> Result<Scan, TooMany> {
    let mut found = Scan::default();
    let mut folders: Vec<PathBuf> = Vec::new();
    if scope.as_os_str().is_empty() {
        folders.push(PathBuf::new());
    } else if let Ok(metadata) = root.join(scope).symlink_metadata() {
        let kind = kind_of(metadata.file_type());
        found.entries.insert(scope.into(), kind);
        if kind == EntryKind::Folder {
            folders.push(scope.to_owned());
        }
    }
    while let Some(folder) = folders.pop() {
        if let Err(error) = list(root, &folder, &mut found.entries, &mut folders) {
            found.unreadable.push((folder.into(), error));
        }
        if found.entries.len() > entries_max {
            return Err(TooMany);
        }
    }
    Ok(found)
}

/// What the entry at `path` is; a file when it is not there any more.
pub(super) fn kind_on_disk(path: &Path) -> EntryKind {
    path.symlink_metadata().map_or(EntryKind::File, |metadata| kind_of(metadata.file_type()))
}

/// Whether there is an entry of that kind at `path`.
pub(super) fn exists_as(path: &Path, kind: EntryKind) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| kind_of(metadata.file_type()) == kind)
}

fn kind_of(file_type: FileType) -> EntryKind {
    if file_type.is_dir() { EntryKind::Folder } else { EntryKind::File }
}

/// Lists one folder, and notes the folders in it.
fn list(root: &Path, folder: &Path, entries: &mut Entries, folders: &mut Vec<PathBuf>) -> io::Result<()> {
    let listing = match fs::read_dir(root.join(folder)) {
        Err(error) if vanished(&error) => return Ok(()),
        listing => listing?,
    };
    for entry in listing {
        let entry = entry?;
        let kind = match entry.file_type() {
            Err(error) if vanished(&error) => continue,
            file_type => kind_of(file_type?),
        };
        let path = folder.join(entry.file_name());
        if kind == EntryKind::Folder {
            folders.push(path.clone());
        }
        entries.insert(path.into(), kind);
    }
    Ok(())
}

/// A folder that is gone, or is no folder any more, has nothing below it.
fn vanished(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Takes out the first folder, and with it those that lie below it: they come right after it.
pub(super) fn pop_with_all_below(folders: &mut BTreeSet<Arc<Path>>) -> Option<Arc<Path>> {
    let folder = folders.pop_first()?;
    while folders.first().is_some_and(|path| path.starts_with(&folder)) {
        folders.pop_first();
    }
    Some(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(scan: &Scan) -> Vec<&str> {
        scan.entries.keys().map(|path| path.to_str().unwrap()).collect()
    }

    #[test]
    fn lists_all_below_a_folder_and_follows_no_link() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a/b")).unwrap();
        fs::write(root.path().join("a/b/c"), "").unwrap();
        std::os::unix::fs::symlink(root.path(), root.path().join("a/loop")).unwrap();
        let whole = scan(root.path(), Path::new(""), 100).unwrap();
        assert_eq!(paths(&whole), ["a", "a/b", "a/b/c", "a/loop"]);
        assert_eq!(whole.entries[Path::new("a/loop")], EntryKind::File);
        assert_eq!(whole.entries[Path::new("a/b")], EntryKind::Folder);
        assert_eq!(paths(&scan(root.path(), Path::new("a/b"), 100).unwrap()), ["a/b", "a/b/c"]);
        assert_eq!(paths(&scan(root.path(), Path::new("a/b/c"), 100).unwrap()), ["a/b/c"]);
    }

    #[test]
    fn what_is_not_there_is_an_empty_list() {
        let root = tempfile::tempdir().unwrap();
        let found = scan(root.path(), Path::new("gone"), 100).unwrap();
        assert!(found.entries.is_empty() && found.unreadable.is_empty());
    }

    #[test]
    fn the_list_has_a_limit() {
        let root = tempfile::tempdir().unwrap();
        for number in 0..4 {
            fs::write(root.path().join(number.to_string()), "").unwrap();
        }
        assert!(scan(root.path(), Path::new(""), 4).is_ok());
        assert_eq!(scan(root.path(), Path::new(""), 3).unwrap_err(), TooMany);
    }
}

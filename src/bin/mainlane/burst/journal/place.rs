//! Where the files are, and on what.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// A folder of its own for the files of one slice or one table. Taken away with all that is in it.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// In `dir`, or where the system has its temporary files.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn new(dir: Option<&Path>) -> Result<Self, String> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Relaxed);
        let path = parent(dir).join(format!("mainlane-burst-{}-{number}", std::process::id()));
        let made = fs::create_dir(&path);
        made.map_err(|error| format!("cannot make the folder {}: {error}", path.display()))?;
        Ok(Self(path))
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left is in a place for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn parent(dir: Option<&Path>) -> PathBuf {
    dir.map_or_else(std::env::temp_dir, Path::to_owned)
}

/// What the files are on, for whoever reads the figures.
pub(crate) fn note(dir: Option<&Path>) -> String {
    let parent = parent(dir);
    let path = parent.canonicalize().unwrap_or(parent);
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    match file_system(&path, &mounts) {
        None => format!("the files are in {}", path.display()),
        Some(kind) if kind == "tmpfs" || kind == "ramfs" => {
            format!("the files are in {}, {kind}, WHICH IS MEMORY: nothing is synced; see --dir", path.display())
        }
        Some(kind) => format!("the files are in {}, {kind}", path.display()),
    }
}

/// The kind of the file system that `path` is on, by a list of what is mounted: the innermost, and of these the last.
fn file_system(path: &Path, mounts: &str) -> Option<String> {
    let mut kinds = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        // As the list writes what would end a word.
        let point = words.next()?.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\");
        let kind = words.next()?;
        path.starts_with(&point).then_some((point.len(), kind))
    });
    let first = kinds.next()?;
    let (_, kind) = kinds.fold(first, |best, next| if next.0 >= best.0 { next } else { best });
    Some(kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_file_system_is_named() {
        let mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/vdb /my\\040disk xfs rw 0 0\n\
                      /dev/vdc /tmp/x btrfs rw 0 0\n/dev/vdd /tmp/x f2fs rw 0 0\n";
        let kind = |path: &str| file_system(Path::new(path), mounts);
        assert_eq!(kind("/home/a").as_deref(), Some("ext4"));
        assert_eq!(kind("/tmp/a").as_deref(), Some("tmpfs"));
        assert_eq!(kind("/tmpfiles").as_deref(), Some("ext4"), "not every path that begins like it");
        assert_eq!(kind("/my disk/a").as_deref(), Some("xfs"));
        assert_eq!(kind("/tmp/x/a").as_deref(), Some("f2fs"), "what was mounted last is what is seen");
        assert_eq!(file_system(Path::new("/a"), ""), None);
    }

    #[test]
    fn a_folder_leaves_nothing_behind() {
        let folder = Folder::new(None).unwrap();
        fs::write(folder.file("a"), "a").unwrap();
        let (path, other) = (folder.0.clone(), Folder::new(None).unwrap());
        assert_ne!(path, other.0);
        drop(folder);
        assert!(!path.exists());
        assert!(Folder::new(Some(&path)).unwrap_err().contains("cannot make"));
    }
}

//! The cgroup that this process is in, and those that it is in.
//!
//! `/proc/self/cgroup` names it, by its path below a root. A machine has one hierarchy for everything (v2), or one for each
//! resource (v1), or both at once; memory is accounted in one of them. In a container the path may be that of the machine,
//! of which nothing is to be seen, or begin with `..`; then what is known is what the root itself says.

use std::path::{Component, Path, PathBuf};

use super::pressure;
use super::reading::{CgroupFill, CgroupMemory, MemoryPressure};

/// A v1 limit from here on is none: what stands for none is the largest number, rounded to pages.
const NO_LIMIT: u64 = 1 << 62;

/// Reads a whole file as text, into memory that is used again. `None` when it cannot be read.
pub(super) type Read<'a> = &'a mut dyn FnMut(&Path, &mut dyn FnMut(&str));

/// The cgroup, found and kept until the process is moved to another.
#[derive(Debug, Default)]
pub(super) struct Cgroup {
    /// What `/proc/self/cgroup` said.
    membership: String,
    /// Its own first, then its parents.
    levels: Vec<Level>,
    pressure: Option<PathBuf>,
}

/// The files of one cgroup.
#[derive(Debug)]
struct Level {
    usage: PathBuf,
    limit: PathBuf,
    high: Option<PathBuf>,
    stat: PathBuf,
    /// The line of `stat` with the cache that can be dropped, of the cgroup and all in it.
    droppable: &'static str,
}

impl Cgroup {
    /// Looks where the process is now. `membership` is the file that says it, `root` where cgroups are.
    pub(super) fn find(&mut self, membership: &Path, root: &Path, read: Read<'_>) {
        let mut found = false;
        read(membership, &mut |text| {
            found = true;
            if text != self.membership {
                *self = Self::of(text, root);
            }
        });
        if !found {
            *self = Self::default();
        }
    }

    fn of(membership: &str, root: &Path) -> Self {
        // The second hierarchy has no controllers here: they are in the files of the cgroup.
        let path_of = |wanted: &dyn Fn(&str, &str) -> bool| {
            membership.lines().find_map(|line| {
                let mut parts = line.splitn(3, ':');
                let (id, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
                wanted(id, controllers).then_some(path)
            })
        };
        let first = path_of(&|_, controllers| controllers.split(',').any(|controller| controller == "memory"));
        let second = path_of(&|id, controllers| id == "0" && controllers.is_empty());
        let beside = root.join("unified");
        let second_root = if beside.is_dir() { &beside } else { root };
        let pressure = second.and_then(|path| Some(folders(second_root, path).next()?.join("memory.pressure")));
        let levels = match (first, second) {
            (Some(path), _) => folders(&root.join("memory"), path).map(Level::v1).collect(),
            (None, Some(path)) => folders(second_root, path).map(Level::v2).collect(),
            (None, None) => Vec::new(),
        };
        Self { membership: membership.to_owned(), levels, pressure }
    }

    /// What its files say. A limit that is no lower than `machine_total` is none.
    pub(super) fn read(&self, machine_total: Option<u64>, read: Read<'_>) -> Option<CgroupMemory> {
        let mut memory = CgroupMemory::default();
        for (parents, level) in self.levels.iter().enumerate() {
            let below_all = |limit: &u64| *limit < NO_LIMIT && machine_total.is_none_or(|total| *limit < total);
            let used = level.used(read);
            let limit = number(&level.limit, read).filter(below_all);
            let high = level.high.as_deref().and_then(|high| number(high, read)).filter(below_all);
            if parents == 0 {
                memory.used = used;
            }
            memory.limit = lower(memory.limit, limit);
            memory.high = lower(memory.high, high);
            if let (Some(used), Some(limit)) = (used, lower(limit, high)) {
                let fill = CgroupFill { used, limit, parents: parents as u32 };
                if memory.fullest.is_none_or(|fullest| is_fuller(&fill, &fullest)) {
                    memory.fullest = Some(fill);
                }
            }
        }
        (memory != CgroupMemory::default()).then_some(memory)
    }

    pub(super) fn pressure(&self, read: Read<'_>) -> Option<MemoryPressure> {
        let mut pressure = None;
        read(self.pressure.as_deref()?, &mut |text| pressure = pressure::parse(text));
        pressure
    }
}

impl Level {
    fn v2(folder: PathBuf) -> Self {
        Self {
            usage: folder.join("memory.current"),
            limit: folder.join("memory.max"),
            high: Some(folder.join("memory.high")),
            stat: folder.join("memory.stat"),
            droppable: "inactive_file ",
        }
    }

    fn v1(folder: PathBuf) -> Self {
        Self {
            usage: folder.join("memory.usage_in_bytes"),
            limit: folder.join("memory.limit_in_bytes"),
            high: None,
            stat: folder.join("memory.stat"),
            droppable: "total_inactive_file ",
        }
    }

    fn used(&self, read: Read<'_>) -> Option<u64> {
        let usage = number(&self.usage, read)?;
        let mut droppable = None;
        read(&self.stat, &mut |text| {
            droppable = text.lines().find_map(|line| line.strip_prefix(self.droppable)?.trim().parse().ok());
        });
        Some(usage.saturating_sub(droppable.unwrap_or(0)))
    }
}

/// The folder at `path` below `root`, and those that it is in, up to the root.
fn folders(root: &Path, path: &str) -> impl Iterator<Item = PathBuf> {
    let path = Path::new(path);
    // Outside of what this process may see.
    let outside = path.components().any(|component| component == Component::ParentDir);
    let below = if outside { Path::new("") } else { path.strip_prefix("/").unwrap_or(path) };
    below.ancestors().map(|folder| root.join(folder)).collect::<Vec<_>>().into_iter()
}

/// The number that is all of a file; `None` for `max`, as for anything that is no number.
fn number(file: &Path, read: Read<'_>) -> Option<u64> {
    let mut number = None;
    read(file, &mut |text| number = text.trim().parse().ok());
    number
}

fn lower(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    [one, other].into_iter().flatten().min()
}

fn is_fuller(one: &CgroupFill, other: &CgroupFill) -> bool {
    u128::from(one.used) * u128::from(other.limit) > u128::from(other.used) * u128::from(one.limit)
}

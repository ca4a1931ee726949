//! How a journal writes what serde has no good answer for: paths, names in keys, ordered maps.
//!
//! What is written is a function of the value alone, and the same value is written in the same way: maps and sets are in
//! the order of their keys, each key once, and anything else is refused when it is read.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::event::{PaneId, WorktreeId};
use crate::journal::names::Kept;

/// Bytes, all at once: serde would go through them one by one.
pub(super) mod bytes {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Box<[u8]>, D::Error> {
        deserializer.deserialize_bytes(Whole(|bytes: &[u8]| bytes.into()))
    }
}

/// A path as the bytes that the system knows it by: not every name is text.
pub(super) mod path {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(path.as_os_str().as_bytes())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<Path>, D::Error> {
        deserializer.deserialize_bytes(Whole(|bytes: &[u8]| Path::new(OsStr::from_bytes(bytes)).into()))
    }
}

/// As [`path`].
pub(super) mod optional_path {
    use super::*;

    #[derive(Serialize)]
    struct Borrowed<'a>(#[serde(with = "path")] &'a Path);

    #[derive(Deserialize)]
    struct Owned(#[serde(with = "path")] Arc<Path>);

    pub(crate) fn serialize<S: Serializer>(path: &Option<Arc<Path>>, serializer: S) -> Result<S::Ok, S::Error> {
        path.as_deref().map(Borrowed).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Arc<Path>>, D::Error> {
        Ok(Option::<Owned>::deserialize(deserializer)?.map(|Owned(path)| path))
    }
}

/// A map as a list of its entries, so that formats whose keys must be text can write it, too.
///
/// imbl's own way takes the number of entries at its word when it reads, and reserves as much memory.
pub(super) mod map {
    use imbl::OrdMap;

    use super::*;

    pub(crate) fn serialize<S: Serializer, K, V>(map: &OrdMap<K, V>, serializer: S) -> Result<S::Ok, S::Error>
    where
        K: Ord + Serialize,
        V: Serialize,
    {
        serializer.collect_seq(map.iter())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, K, V>(deserializer: D) -> Result<OrdMap<K, V>, D::Error>
    where
        K: Key,
        V: Clone + Deserialize<'de>,
    {
        let entries = Vec::<(K::Read, V)>::deserialize(deserializer)?;
        let entries: Vec<_> = entries.into_iter().map(|(key, value)| (K::of(key), value)).collect();
        if !entries.is_sorted_by(|(key, _), (next, _)| key < next) {
            return Err(Error::custom("the keys of a map do not rise"));
        }
        Ok(entries.into())
    }
}

/// A set, as a [`map`].
pub(super) mod set {
    use imbl::OrdSet;

    use super::*;

    pub(crate) fn serialize<S: Serializer, K>(set: &OrdSet<K>, serializer: S) -> Result<S::Ok, S::Error>
    where
        K: Ord + Serialize,
    {
        serializer.collect_seq(set.iter())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, K>(deserializer: D) -> Result<OrdSet<K>, D::Error>
    where
        K: Clone + Ord + Deserialize<'de>,
    {
        let keys = Vec::<K>::deserialize(deserializer)?;
        if !keys.is_sorted_by(|key, next| key < next) {
            return Err(Error::custom("the keys of a set do not rise"));
        }
        Ok(keys.into())
    }
}

/// A key of a map, and what it is read as.
pub(super) trait Key: Clone + Ord {
    type Read: for<'de> Deserialize<'de>;

    fn of(read: Self::Read) -> Self;
}

impl Key for PaneId {
    type Read = Self;

    fn of(read: Self) -> Self {
        read
    }
}

impl Key for WorktreeId {
    type Read = Self;

    fn of(read: Self) -> Self {
        read
    }
}

impl Key for (WorktreeId, &'static str) {
    type Read = (WorktreeId, Kept);

    fn of((worktree, Kept(name)): Self::Read) -> Self {
        (worktree, name)
    }
}

impl Key for (&'static str, &'static str) {
    type Read = (Kept, Kept);

    fn of((Kept(first), Kept(second)): Self::Read) -> Self {
        (first, second)
    }
}

/// Makes something of bytes, however the format hands them over.
struct Whole<F>(F);

impl<'de, T, F: FnOnce(&[u8]) -> T> Visitor<'de> for Whole<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<T, E> {
        Ok(self.0(bytes))
    }

    /// Formats without bytes write lists of numbers.
    fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<T, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = numbers.next_element()? {
            bytes.push(byte);
        }
        Ok(self.0(&bytes))
    }
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;

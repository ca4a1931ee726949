//! Names that live as long as the program.
//!
//! Origins and events carry names as `&'static str`: in a running host they are literals. A name that is read from a file is
//! kept for good, once, so what may be read is bounded.

use std::collections::HashSet;
use std::sync::OnceLock;

use parking_lot::Mutex;

/// How many different names may be read by one process, and how long one may be.
const NAMES_MAX: usize = 1 << 16;
/// In bytes.
const NAME_BYTES_MAX: usize = 1 << 10;

/// There are too many names, or one is too long: the file is not what it says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyNames;

impl std::fmt::Display for TooManyNames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "more than {NAMES_MAX} different names, or one of more than {NAME_BYTES_MAX} bytes")
    }
}

impl std::error::Error for TooManyNames {}

/// `name` for as long as the program runs. Equal names are kept once.
///
/// # Errors
/// When too many were kept already, or it is too long.
pub fn keep(name: &str) -> Result<&'static str, TooManyNames> {
    static KEPT: OnceLock<Mutex<HashSet<&'static str>>> = OnceLock::new();
    let mut kept = KEPT.get_or_init(Mutex::default).lock();
    if let Some(name) = kept.get(name) {
        return Ok(name);
    }
    if kept.len() >= NAMES_MAX {
        return Err(TooManyNames);
    }
    let name: &'static str = Box::leak(check(name)?.into());
    kept.insert(name);
    Ok(name)
}

/// That `name` can be read again, as far as it can be said of one alone.
///
/// # Errors
/// When it is too long.
pub(crate) fn check(name: &str) -> Result<&str, TooManyNames> {
    if name.len() > NAME_BYTES_MAX { Err(TooManyNames) } else { Ok(name) }
}

/// For `#[serde(serialize_with)]`: refuses what [`deserialize`] would, so that nothing is written that cannot be read.
///
/// # Errors
/// When it is too long.
pub fn serialize<S: serde::Serializer>(name: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(check(name).map_err(serde::ser::Error::custom)?)
}

/// For `#[serde(deserialize_with)]` on a field of type `&'static str`; or `#[serde(with)]`, with [`serialize`].
///
/// serde's derive borrows a field that is written as a `&str` from what it reads, which would have to live as long as the
/// program. It does not see through an alias:
///
/// ```
/// type Name = &'static str;
///
/// #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
/// struct Message {
///     #[serde(with = "mainlane::journal::names")]
///     from: Name,
/// }
///
/// let written = String::from(r#"{"from":"git"}"#);
/// assert_eq!(serde_json::from_str::<Message>(&written)?, Message { from: "git" });
/// # Ok::<(), serde_json::Error>(())
/// ```
///
/// # Errors
/// When it is no text, or cannot be kept.
pub fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<&'static str, D::Error> {
    let name = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
    keep(&name).map_err(serde::de::Error::custom)
}

/// A name that is kept as it is read: for names in keys and lists, where `#[serde(deserialize_with)]` cannot be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kept(pub &'static str);

impl<'de> serde::Deserialize<'de> for Kept {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize(deserializer).map(Kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_names_are_kept_once_and_long_ones_not_at_all() {
        let (first, second) = (keep("pane").unwrap(), keep(&["pa", "ne"].concat()).unwrap());
        assert!(std::ptr::eq(first, second));
        assert_eq!(keep(&"x".repeat(NAME_BYTES_MAX + 1)), Err(TooManyNames));
    }
}

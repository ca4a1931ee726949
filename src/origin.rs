//! Who an event is about.
//!
//! Not to be mixed with a [`Source`](crate::Source), which is what an ingestion thread polls: one source may carry
//! events about many origins (a file watcher about many folders).

use std::fmt;

/// A name that lives as long as the program. Under this name serde's derive reads it as it reads any field; a bare
/// `&'static str` it would borrow from what it reads.
pub(crate) type Name = &'static str;

/// Who an event is about, and through which of the three tiers it came.
///
/// The tiers are a closed union: match it exhaustively, without a catch-all arm, so that a new tier is a compile
/// error at every place that must think about it.
///
/// ```
/// use mainlane::Origin;
///
/// fn trusted(origin: Origin) -> bool {
///     match origin {
///         Origin::BuiltIn { .. } => true,
///         Origin::Service { .. } => true,
///         Origin::PlugIn { .. } => false,
///     }
/// }
/// assert!(trusted(Origin::built_in("pane", 3)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "journal", derive(serde::Serialize, serde::Deserialize))]
pub enum Origin {
    /// A part of the host itself: a pane, a worktree, the keyboard.
    BuiltIn {
        /// What kind of part.
        #[cfg_attr(feature = "journal", serde(with = "crate::journal::names"))]
        part: Name,
        /// Which one of its kind.
        id: u64,
    },
    /// A typed interface with a named provider behind it: version control by `git`.
    Service {
        /// The interface, by the name its type carries.
        #[cfg_attr(feature = "journal", serde(with = "crate::journal::names"))]
        interface: Name,
        /// Who provides it.
        #[cfg_attr(feature = "journal", serde(with = "crate::journal::names"))]
        provider: Name,
        /// Which instance.
        id: u64,
    },
    /// A plug-in, with a schema of its own that the host does not know.
    PlugIn {
        /// The plug-in's name.
        #[cfg_attr(feature = "journal", serde(with = "crate::journal::names"))]
        plugin: Name,
        /// The name of the schema its events follow.
        #[cfg_attr(feature = "journal", serde(with = "crate::journal::names"))]
        schema: Name,
        /// Which instance.
        id: u64,
    },
}

impl Origin {
    /// A part of the host itself.
    pub const fn built_in(part: &'static str, id: u64) -> Self {
        Origin::BuiltIn { part, id }
    }

    /// A named provider behind a typed interface.
    pub const fn service(interface: &'static str, provider: &'static str, id: u64) -> Self {
        Origin::Service { interface, provider, id }
    }

    /// A plug-in, through its own schema.
    pub const fn plug_in(plugin: &'static str, schema: &'static str, id: u64) -> Self {
        Origin::PlugIn { plugin, schema, id }
    }

    /// The rank that a lane of this origin has unless it is given one: built-in before services before plug-ins.
    ///
    /// Lower goes first where stamps tie. The rank that orders is the *lane's*; an origin that an event names for
    /// itself identifies, it does not reorder the lane.
    pub const fn rank(self) -> Rank {
        match self {
            Origin::BuiltIn { .. } => Rank(100),
            Origin::Service { .. } => Rank(200),
            Origin::PlugIn { .. } => Rank(300),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::BuiltIn { part, id } => write!(f, "{part}/{id}"),
            Origin::Service { interface, provider, id } => write!(f, "{interface}@{provider}/{id}"),
            Origin::PlugIn { plugin, schema, id } => write!(f, "{plugin}:{schema}/{id}"),
        }
    }
}

/// Breaks ties between lanes: the lower rank goes first. Unclocked lanes are ordered by it alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank(pub u16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiers_rank_built_in_first_and_plug_ins_last() {
        let pane = Origin::built_in("pane", 1).rank();
        let git = Origin::service("version-control", "git", 1).rank();
        let mood = Origin::plug_in("mood", "mood/1", 1).rank();
        assert!(pane < git && git < mood);
    }

    #[test]
    fn an_origin_prints_as_its_tier_reads() {
        assert_eq!(Origin::built_in("pane", 3).to_string(), "pane/3");
        assert_eq!(Origin::service("version-control", "git", 0).to_string(), "version-control@git/0");
        assert_eq!(Origin::plug_in("mood", "mood/1", 7).to_string(), "mood:mood/1/7");
    }

    #[cfg(feature = "journal")]
    #[test]
    fn an_origin_comes_back_from_bytes_that_are_gone() {
        let pane = (Origin::built_in("pane", 3), &b"\x00\x04pane\x03"[..]);
        let git = (Origin::service("version-control", "git", 0), &b"\x01\x0fversion-control\x03git\x00"[..]);
        let mood = (Origin::plug_in("mood", "mood/1", 7), &b"\x02\x04mood\x06mood/1\x07"[..]);
        for (origin, expected) in [pane, git, mood] {
            let bytes = postcard::to_allocvec(&origin).unwrap();
            assert_eq!(bytes, expected);
            let back = postcard::from_bytes::<Origin>(&bytes).unwrap();
            drop(bytes);
            assert_eq!(back, origin);
        }
    }
}

//! Context on every envelope, and the rule by which it is filled in.
//!
//! Three places can know the context of an event, asked in this order:
//! 1. the event's origin itself, which sets facets when it pushes ([`Lane::push_with`](crate::Lane::push_with));
//! 2. the lane's defaults;
//! 3. the newest published state ([`Reducer::facets_of`](crate::Reducer::facets_of)).
//!
//! A value that is set wins over every later place; a missing one is filled. [`Tags`] are taken from a later place
//! only when there are none at all, never mixed. Filling never allocates: values are cloned, so make them cheap to
//! clone (numbers, `Arc<str>`).
//!
//! ```
//! use mainlane::{Facets, Fill, Tags};
//! use std::sync::Arc;
//!
//! #[derive(Clone, Default)]
//! struct PaneFacets { project: Option<u32>, folder: Option<Arc<str>>, tags: Tags }
//!
//! impl Facets for PaneFacets {
//!     fn fill(&mut self, fallback: &Self) {
//!         self.project.fill(&fallback.project);
//!         self.folder.fill(&fallback.folder);
//!         self.tags.fill(&fallback.tags);
//!     }
//! }
//!
//! let mut set_by_the_event = PaneFacets { project: Some(7), tags: Tags::new(["urgent"]), ..Default::default() };
//! let lane = PaneFacets { project: Some(1), folder: Some("/srv".into()), tags: Tags::new(["build"]) };
//! set_by_the_event.fill(&lane);
//! assert_eq!(set_by_the_event.project, Some(7));
//! assert_eq!(set_by_the_event.folder.as_deref(), Some("/srv"));
//! assert_eq!(set_by_the_event.tags.iter().collect::<Vec<_>>(), ["urgent"]);
//! ```

use std::sync::Arc;

/// The context that travels with every event. `()` for hosts that want none.
///
/// # Contract
/// `default()` sets nothing and does not allocate. `fill` changes only what is missing: filling twice with the same
/// fallback changes nothing the second time.
pub trait Facets: Clone + Default + Send + Sync + 'static {
    /// True when there is never anything to fill, so that the engine skips the whole step.
    const NONE: bool = false;

    /// Fills what is missing in `self` from `fallback`.
    fn fill(&mut self, fallback: &Self);
}

impl Facets for () {
    const NONE: bool = true;

    fn fill(&mut self, (): &Self) {}
}

/// One facet that knows whether it is missing.
pub trait Fill {
    /// Takes `fallback`'s value if `self` has none.
    fn fill(&mut self, fallback: &Self);
}

impl<T: Clone> Fill for Option<T> {
    fn fill(&mut self, fallback: &Self) {
        if self.is_none() {
            self.clone_from(fallback);
        }
    }
}

/// Free-form labels. Taken whole from a fallback, and only when there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tags(Option<Arc<[Box<str>]>>);

impl Tags {
    /// Labels, in the order given.
    pub fn new<T: Into<Box<str>>>(labels: impl IntoIterator<Item = T>) -> Self {
        let labels: Arc<[Box<str>]> = labels.into_iter().map(Into::into).collect();
        Tags(if labels.is_empty() { None } else { Some(labels) })
    }

    /// True when there is no label.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The labels.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(|labels| labels.iter().map(AsRef::as_ref))
    }
}

/// As a list, so that no labels are written in one way.
#[cfg(feature = "journal")]
impl serde::Serialize for Tags {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_deref().unwrap_or_default().serialize(serializer)
    }
}

#[cfg(feature = "journal")]
impl<'de> serde::Deserialize<'de> for Tags {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<Box<str>>::deserialize(deserializer).map(Tags::new)
    }
}

impl Fill for Tags {
    fn fill(&mut self, fallback: &Self) {
        if self.is_empty() {
            self.0.clone_from(&fallback.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explicit_value_wins_and_a_missing_one_is_filled() {
        let mut set = Some(1);
        set.fill(&Some(2));
        assert_eq!(set, Some(1));
        let mut missing = None;
        missing.fill(&Some(2));
        assert_eq!(missing, Some(2));
    }

    #[test]
    fn tags_are_never_mixed() {
        let mut some = Tags::new(["a"]);
        some.fill(&Tags::new(["b", "c"]));
        assert_eq!(some, Tags::new(["a"]));
        let mut none = Tags::default();
        none.fill(&Tags::new(["b", "c"]));
        assert_eq!(none.iter().collect::<Vec<_>>(), ["b", "c"]);
    }

    #[test]
    fn an_empty_list_of_labels_is_no_labels() {
        assert!(Tags::new(Vec::<String>::new()).is_empty());
        let mut none = Tags::new(Vec::<String>::new());
        none.fill(&Tags::new(["b"]));
        assert_eq!(none, Tags::new(["b"]));
    }

    #[cfg(feature = "journal")]
    #[test]
    fn tags_come_back_and_no_labels_are_no_labels() {
        for tags in [Tags::default(), Tags::new([""]), Tags::new(["b", "a", "b"])] {
            let bytes = postcard::to_allocvec(&tags).unwrap();
            assert_eq!(postcard::from_bytes(&bytes), Ok(tags));
        }
        assert_eq!(postcard::from_bytes::<Tags>(&[0]).map(|tags| tags.is_empty()), Ok(true));
    }
}

//! Which project comes after which: none is opened before what it needs, and none is closed before what needs it.
//!
//! All goes by names. One that was removed and made anew is the one that is meant.

use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::sync::Arc;

use crate::register::root::project::AnyProject;

type Projects = [Arc<dyn AnyProject>];

/// The first of these that is not open.
pub(super) fn unmet<'a>(projects: &Projects, after: &'a [Arc<str>]) -> Option<&'a Arc<str>> {
    let is_open = |needs: &Arc<str>| projects.iter().any(|other| other.name() == needs && other.is_open());
    after.iter().find(|needs| !is_open(needs))
}

/// True when one of this name would come after itself in the end.
pub(super) fn is_circular(projects: &Projects, name: &str, after: &[Arc<str>]) -> bool {
    let (mut seen, mut left) = (BTreeSet::new(), Vec::from_iter(after));
    while let Some(needs) = left.pop() {
        if **needs == *name {
            return true;
        }
        if seen.insert(needs) {
            left.extend(projects.iter().filter(|other| other.name() == needs).flat_map(|other| other.after()));
        }
    }
    false
}

/// In the order in which they are closed: before those that they come after, and otherwise the last opened first.
pub(super) fn closing(projects: &Projects) -> Vec<Arc<dyn AnyProject>> {
    let places: HashMap<&str, usize> = projects.iter().zip(0..).map(|(project, at)| (&**project.name(), at)).collect();
    let needs = |at: usize| projects[at].after().iter().filter_map(|needs| places.get(&**needs).copied());
    let mut needed_by = vec![0; projects.len()];
    (0..projects.len()).flat_map(needs).for_each(|at| needed_by[at] += 1);
    let mut next: BinaryHeap<_> = (0..projects.len()).filter(|at| needed_by[*at] == 0).collect();
    let mut order = Vec::with_capacity(projects.len());
    while let Some(at) = next.pop() {
        order.push(projects[at].clone());
        for needed in needs(at) {
            needed_by[needed] -= 1;
            if needed_by[needed] == 0 {
                next.push(needed);
            }
        }
    }
    order
}

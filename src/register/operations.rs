//! What became of operations, as a part of the state: whoever reads a snapshot can tell without guessing.

use std::sync::Arc;

use imbl::OrdMap;

use crate::clock::Stamp;
use crate::event::{Envelope, Event, Operation, OperationId, Phase};
use crate::origin::Origin;

/// How many open operations are followed unless said otherwise: as many as the engine remembers.
const OPEN_MAX: usize = 1 << 16;
/// How many operations that have ended are remembered with their outcomes unless said otherwise.
const ENDED_MAX: usize = 4096;
/// How many separate ranges of forgotten operations are remembered. Operations that are numbered in rising order, and end, are a
/// single range.
const RANGES_MAX: usize = 1024;

/// Follows operations from their first event to their outcome, within bounds.
///
/// A state embeds it, and its reducer calls [`follow`](OperationsView::follow) once per event; `O` is what the host wants to know of an
/// end. What a reader finds in a snapshot for an operation goes one way only:
///
/// ```text
/// Unknown ──▶ Open ──▶ Ended ──▶ Forgotten
///               └───────────────────▲
/// ```
///
/// - `Unknown` is certain: no event of it was applied before this snapshot.
/// - `Ended` is certain, and has the outcome of the first end. A second one is counted and changes nothing.
/// - `Forgotten` says that this table cannot tell: it was followed, and gave way to newer ones; or, when operations are not
///   numbered in rising order and more than 1024 ranges of them were forgotten, its number lies between two that were. Nothing
///   that comes later changes that.
///
/// An undo takes events out of the past, and with them what is known of their operation: it is `Unknown` again. An end on which
/// the reducer panicked was not applied, so its operation stays open.
///
/// A copy shares everything and costs a few counts. An event of an operation costs a look-up and a write in a map of those that are
/// followed; any other event costs nothing.
///
/// ```
/// # use mainlane::{Class, Effects, Envelope, Event, Operation, OperationId, Phase, Pipeline, Reducer, Budget};
/// use mainlane::register::{Followed, OperationsView};
///
/// struct Step { operation: Operation, exit_code: i32 }
///
/// impl Event for Step {
///     type Key = ();
///     type Facets = ();
///     fn class(&self) -> Class<()> { Class::Critical }
///     fn operation(&self) -> Option<Operation> { Some(self.operation) }
/// }
///
/// #[derive(Clone, Default)]
/// struct Builds { operations: OperationsView<i32> }
///
/// impl Reducer for Builds {
///     type Event = Step;
///     type Effect = ();
///     fn apply(&mut self, envelope: &Envelope<'_, Step>, _: &mut Effects<()>) {
///         self.operations.follow(envelope, |end| end.exit_code);
///     }
/// }
///
/// let builder = Pipeline::builder(Builds::default());
/// let mut lane = builder.lane("build").open()?;
/// let (mut main_lane, handle) = builder.build()?;
/// let (id, reader) = (handle.operation(), handle.reader());
/// let step = |sequence, phase| Step { operation: Operation { id, sequence, phase }, exit_code: 2 };
///
/// assert!(matches!(reader.load().operations.get(id), Followed::Unknown));
/// lane.push(step(0, Phase::Started))?;
/// main_lane.turn(Budget::UNLIMITED)?;
/// assert!(matches!(reader.load().operations.get(id), Followed::Open(open) if open.progress == 0));
/// lane.push(step(1, Phase::Terminal))?;
/// main_lane.turn(Budget::UNLIMITED)?;
/// assert!(matches!(reader.load().operations.get(id), Followed::Ended(end) if end.outcome == 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "journal", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "journal",
    serde(
        into = "image::Image<O>",
        try_from = "image::Image<O>",
        bound(serialize = "O: Clone + serde::Serialize", deserialize = "O: Clone + serde::Deserialize<'de>")
    )
)]
pub struct OperationsView<O: Clone> {
    known: OrdMap<OperationId, Known<O>>,
    /// By age: those that began first are forgotten first.
    open: OrdMap<u64, OperationId>,
    /// Those that ended first are forgotten first.
    ended: OrdMap<u64, OperationId>,
    /// Ranges of numbers, by their first; the last is included.
    forgotten: OrdMap<u64, u64>,
    next_age: u64,
    bounds: Bounds,
    counts: FollowedCounts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "journal", derive(serde::Serialize, serde::Deserialize))]
struct Bounds {
    open: u64,
    ended: u64,
    ranges: u64,
}

#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "journal", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "journal",
    serde(bound(serialize = "O: serde::Serialize", deserialize = "O: serde::Deserialize<'de>"))
)]
enum Known<O> {
    Open(u64, OpenOperation),
    Ended(u64, Arc<EndedOperation<O>>),
}

/// What is known of an operation that was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "journal", derive(serde::Serialize, serde::Deserialize))]
pub struct OpenOperation {
    /// The stamp of the first of its events that was applied; [`Stamp::UNCLOCKED`] on unclocked lanes.
    pub since: Stamp,
    /// Who that event was about.
    pub origin: Origin,
    /// The highest number of its events that was applied.
    pub progress: u64,
}

/// What is known of an operation that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "journal", derive(serde::Serialize, serde::Deserialize))]
pub struct EndedOperation<O> {
    /// What was known of it before; its progress includes the end.
    pub whole: OpenOperation,
    /// The stamp of its end.
    pub ended: Stamp,
    /// What the host made of its end.
    pub outcome: O,
}

/// What a snapshot knows of an operation.
#[derive(Debug, PartialEq, Eq)]
pub enum Followed<'a, O> {
    /// No event of it was applied.
    Unknown,
    /// It was begun, and has not ended.
    Open(&'a OpenOperation),
    /// It has ended.
    Ended(&'a EndedOperation<O>),
    /// It cannot be told any more.
    Forgotten,
}

/// How much there was of each, in the past that the state is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "journal", derive(serde::Serialize, serde::Deserialize))]
pub struct FollowedCounts {
    /// Operations that gave way before they ended: let more be [open](OperationsView::bounded), or end them.
    pub forgotten_open: u64,
    /// Operations that gave way after they had ended.
    pub forgotten_ended: u64,
    /// Times that two ranges were joined, and what lies between them became forgotten with them.
    pub joined: u64,
    /// Starts and ends that came after the end. The first outcome stands.
    pub repeats: u64,
}

impl<O: Clone> Default for OperationsView<O> {
    fn default() -> Self {
        Self::bounded(OPEN_MAX, ENDED_MAX)
    }
}

impl<O: Clone> OperationsView<O> {
    /// Follows as many open ones, and remembers as many that have ended. At least one of each.
    pub fn bounded(open_max: usize, ended_max: usize) -> Self {
        let bounds = Bounds { open: open_max.max(1) as u64, ended: ended_max.max(1) as u64, ranges: RANGES_MAX as u64 };
        Self {
            known: OrdMap::new(),
            open: OrdMap::new(),
            ended: OrdMap::new(),
            forgotten: OrdMap::new(),
            next_age: 0,
            bounds,
            counts: FollowedCounts::default(),
        }
    }

    /// Takes note of an event, if it is a part of an operation. To be called once for each event that a reducer applies, and not
    /// for those that it reports as misrouted; `outcome` is called for the end alone.
    pub fn follow<E: Event>(&mut self, envelope: &Envelope<'_, E>, outcome: impl FnOnce(&E) -> O) {
        let Some(Operation { id, sequence, phase }) = envelope.operation else { return };
        let is_forgotten = self.is_forgotten(id);
        let (was_open, whole) = match self.known.get_mut(&id) {
            Some(Known::Ended(..)) => {
                self.counts.repeats += 1;
                return;
            }
            Some(Known::Open(age, open)) => {
                open.progress = open.progress.max(sequence);
                if phase != Phase::Terminal {
                    return;
                }
                (Some(*age), *open)
            }
            None if is_forgotten => return,
            None => {
                let whole = OpenOperation { since: envelope.stamp, origin: envelope.origin, progress: sequence };
                if phase != Phase::Terminal {
                    let age = self.age();
                    self.known.insert(id, Known::Open(age, whole));
                    self.open.insert(age, id);
                    self.keep_bounds();
                    return;
                }
                (None, whole)
            }
        };
        // First, for it is the host's: should it panic, the operation is open as before.
        let ended = EndedOperation { whole, ended: envelope.stamp, outcome: outcome(envelope.event) };
        was_open.map(|age| self.open.remove(&age));
        let age = self.age();
        self.known.insert(id, Known::Ended(age, Arc::new(ended)));
        self.ended.insert(age, id);
        self.keep_bounds();
    }

    /// What is known of an operation.
    pub fn get(&self, id: OperationId) -> Followed<'_, O> {
        match self.known.get(&id) {
            Some(Known::Open(_, open)) => Followed::Open(open),
            Some(Known::Ended(_, ended)) => Followed::Ended(ended),
            None if self.is_forgotten(id) => Followed::Forgotten,
            None => Followed::Unknown,
        }
    }

    /// The open ones, in the order in which they began.
    pub fn open(&self) -> impl Iterator<Item = (OperationId, &OpenOperation)> {
        self.open.values().filter_map(|id| match self.known.get(id) {
            Some(Known::Open(_, open)) => Some((*id, open)),
            Some(Known::Ended(..)) | None => None,
        })
    }

    /// How much there was of what is out of the ordinary.
    pub fn counts(&self) -> FollowedCounts {
        self.counts
    }

    fn is_forgotten(&self, id: OperationId) -> bool {
        self.forgotten.get_prev(&id.0).is_some_and(|(_, last)| id.0 <= *last)
    }

    fn age(&mut self) -> u64 {
        self.next_age += 1;
        self.next_age - 1
    }

    fn keep_bounds(&mut self) {
        while self.open.len() as u64 > self.bounds.open {
            let Some((age, id)) = self.open.get_min().copied() else { return };
            self.open.remove(&age);
            self.counts.forgotten_open += 1;
            self.forget(id);
        }
        while self.ended.len() as u64 > self.bounds.ended {
            let Some((age, id)) = self.ended.get_min().copied() else { return };
            self.ended.remove(&age);
            self.counts.forgotten_ended += 1;
            self.forget(id);
        }
    }

    /// Adds a number to the ranges; joins the two lowest when there are too many. Numbers that rise are the highest, so they are
    /// not touched by that.
    fn forget(&mut self, id: OperationId) {
        self.known.remove(&id);
        if self.is_forgotten(id) {
            return;
        }
        let after = id.0.checked_add(1).and_then(|after| self.forgotten.remove(&after));
        let last = after.unwrap_or(id.0);
        let before = self.forgotten.get_prev(&id.0).map(|(first, last)| (*first, *last));
        match before {
            Some((first, before)) if before.checked_add(1) == Some(id.0) => self.forgotten.insert(first, last),
            Some(_) | None => self.forgotten.insert(id.0, last),
        };
        if self.forgotten.len() as u64 > self.bounds.ranges
            && let Some((lowest, _)) = self.forgotten.get_min().copied()
        {
            let next = self.forgotten.range((std::ops::Bound::Excluded(lowest), std::ops::Bound::Unbounded)).next();
            if let Some((first, last)) = next.map(|(first, last)| (*first, *last)) {
                self.forgotten.remove(&first);
                self.forgotten.insert(lowest, last);
                self.counts.joined += 1;
            }
        }
    }
}

#[cfg(feature = "journal")]
mod image {
    //! As a journal has it: what can be worked out is left out, and what does not fit is refused.

    use super::*;

    #[derive(serde::Serialize, serde::Deserialize)]
    #[serde(bound(serialize = "O: serde::Serialize", deserialize = "O: serde::Deserialize<'de>"))]
    pub(super) struct Image<O> {
        known: Vec<(OperationId, Known<O>)>,
        forgotten: Vec<(u64, u64)>,
        next_age: u64,
        bounds: Bounds,
        counts: FollowedCounts,
    }

    impl<O: Clone> From<OperationsView<O>> for Image<O> {
        fn from(view: OperationsView<O>) -> Self {
            let OperationsView { known, forgotten, next_age, bounds, counts, .. } = view;
            Self {
                known: known.into_iter().collect(),
                forgotten: forgotten.into_iter().collect(),
                next_age,
                bounds,
                counts,
            }
        }
    }

    impl<O: Clone> TryFrom<Image<O>> for OperationsView<O> {
        type Error = &'static str;

        fn try_from(image: Image<O>) -> Result<Self, &'static str> {
            let Image { known, forgotten, next_age, bounds, counts } = image;
            if !known.is_sorted_by(|(one, _), (next, _)| one < next) {
                return Err("the numbers of operations do not rise");
            }
            let apart =
                |(_, last): &(u64, u64), (next, _): &(u64, u64)| last.checked_add(1).is_some_and(|after| after < *next);
            if forgotten.iter().any(|(first, last)| first > last) || !forgotten.is_sorted_by(apart) {
                return Err("ranges of forgotten operations meet");
            }
            // Nobody gets there by counting.
            if next_age > u64::MAX / 2 {
                return Err("more operations than there can have been");
            }
            let (mut open, mut ended) = (OrdMap::new(), OrdMap::new());
            for (id, known) in &known {
                let (ages, age) = match known {
                    Known::Open(age, _) => (&mut open, *age),
                    Known::Ended(age, _) => (&mut ended, *age),
                };
                if age >= next_age || ages.insert(age, *id).is_some() {
                    return Err("two operations are of one age");
                }
            }
            let held = [(open.len(), bounds.open), (ended.len(), bounds.ended), (forgotten.len(), bounds.ranges)];
            if held.iter().any(|(count, most)| *count as u64 > *most) || held.iter().any(|(_, most)| *most == 0) {
                return Err("more operations than the bounds allow");
            }
            Ok(Self { known: known.into(), open, ended, forgotten: forgotten.into(), next_age, bounds, counts })
        }
    }
}

#[cfg(test)]
#[path = "operations_tests.rs"]
mod tests;

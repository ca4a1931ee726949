//! What a host tells the engine about its events, and what a reducer is given.

use std::fmt;
use std::hash::Hash;

use crate::clock::Stamp;
use crate::facets::Facets;
use crate::origin::Origin;

/// An event of the host's domain.
///
/// Only [`class`](Event::class) has to be written; the rest has defaults for hosts that do not need it.
///
/// ```
/// use mainlane::{Class, Coalesced, Event, Tier};
///
/// enum PaneEvent {
///     Progress { pane: u32, bytes: u64 },
///     Title(u32, String),
/// }
///
/// impl Event for PaneEvent {
///     type Key = u32;
///     type Facets = ();
///
///     fn class(&self) -> Class<u32> {
///         match self {
///             PaneEvent::Progress { pane, .. } => Class::lossy(*pane, Tier::VISIBLE),
///             PaneEvent::Title(..) => Class::Critical,
///         }
///     }
///
///     // Counts add up instead of being replaced.
///     fn coalesce(&mut self, newer: Self) -> Coalesced {
///         match (&mut *self, newer) {
///             (PaneEvent::Progress { bytes, .. }, PaneEvent::Progress { bytes: more, .. }) => {
///                 *bytes += more;
///                 Coalesced::Merged
///             }
///             (old, newer) => { *old = newer; Coalesced::Replaced }
///         }
///     }
/// }
/// ```
pub trait Event: Send + Sized + 'static {
    /// What two lossy events of one lane have in common when the newer may stand for both.
    type Key: Eq + Hash + Send + 'static;
    /// Context that travels with the event; `()` for none.
    type Facets: Facets;

    /// Whether the event may be coalesced. A lane may override this with a classifier of its own.
    fn class(&self) -> Class<Self::Key>;

    /// Takes in a newer event of the same key that met this one unread. By default the newer one replaces it.
    ///
    /// Runs on the thread that pushes. Must depend on the two events alone.
    fn coalesce(&mut self, newer: Self) -> Coalesced {
        *self = newer;
        Coalesced::Replaced
    }

    /// The operation this event is a part of, if any. An event whose phase is [`Phase::Terminal`] is always critical,
    /// whatever its class says.
    fn operation(&self) -> Option<Operation> {
        None
    }

    /// Which owner of the state this event belongs to. Match exhaustively, without a catch-all arm: a new kind of event is then a compile
    /// error here, and cannot reach an owner that nobody chose.
    ///
    /// ```
    /// use mainlane::{Authority, Class, Event};
    ///
    /// const MODEL: Authority = Authority::new(1, "model");
    /// const LAYOUT: Authority = Authority::new(2, "layout");
    ///
    /// enum Change { Renamed(String), Moved { x: f32, y: f32 }, Closed }
    ///
    /// impl Event for Change {
    ///     type Key = ();
    ///     type Facets = ();
    ///     fn class(&self) -> Class<()> { Class::Critical }
    ///     fn authority(&self) -> Authority {
    ///         match self {
    ///             Change::Renamed(_) | Change::Closed => MODEL,
    ///             Change::Moved { .. } => LAYOUT,
    ///         }
    ///     }
    /// }
    ///
    /// assert_eq!(Change::Moved { x: 0.0, y: 1.0 }.authority(), LAYOUT);
    /// ```
    ///
    /// With an event that nobody thought of it does not compile:
    ///
    /// ```compile_fail,E0004
    /// # use mainlane::Authority;
    /// # const MODEL: Authority = Authority::new(1, "model");
    /// # const LAYOUT: Authority = Authority::new(2, "layout");
    /// enum Change { Renamed(String), Moved { x: f32, y: f32 }, Closed, Hidden }
    ///
    /// fn authority(change: &Change) -> Authority {
    ///     match change {
    ///         Change::Renamed(_) | Change::Closed => MODEL,
    ///         Change::Moved { .. } => LAYOUT,
    ///     }
    /// }
    /// ```
    ///
    /// What reaches the wrong owner all the same is refused, counted and reported
    /// ([`Diagnostic::Misrouted`](crate::Diagnostic::Misrouted)); [`panic_on_misrouted`](crate::Builder::panic_on_misrouted) makes that
    /// loud in debug builds.
    fn authority(&self) -> Authority {
        Authority::STATE
    }

    /// Who the event is about, when that is not the lane's own origin.
    fn origin(&self) -> Option<Origin> {
        None
    }

    /// The event's kind, for diagnostics and the flight recorder, which asks most events: cheap, and without a panic.
    fn kind(&self) -> &'static str {
        std::any::type_name::<Self>()
    }
}

/// Whether an event may be coalesced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class<K> {
    /// Never lost, duplicated or reordered within its lane.
    Critical,
    /// At most one unread event per key: a newer one replaces or merges with the unread one.
    Lossy {
        /// Events of one lane with equal keys coalesce.
        key: K,
        /// What is shed first when the table is full of other keys.
        tier: Tier,
    },
}

impl<K> Class<K> {
    /// A lossy class.
    pub fn lossy(key: impl Into<K>, tier: Tier) -> Self {
        Class::Lossy { key: key.into(), tier }
    }
}

/// How much a lossy event matters when a coalescing table is full of other keys: the lowest tier is shed first, and
/// within a tier the value of the key that has been unread longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tier(u8);

impl Tier {
    /// Nobody is looking.
    pub const BACKGROUND: Tier = Tier(0);
    /// The ordinary case.
    pub const NORMAL: Tier = Tier(2);
    /// On screen.
    pub const VISIBLE: Tier = Tier(4);
    /// What the user is working with.
    pub const FOCUSED: Tier = Tier(6);
    /// How many tiers there are.
    pub const COUNT: usize = 8;

    /// A tier by its number, 0 (shed first) to 7.
    ///
    /// # Panics
    /// When `number` is 8 or more; in a `const` that is a compile error.
    pub const fn new(number: u8) -> Self {
        assert!(number < Self::COUNT as u8, "a tier is a number from 0 to 7");
        Tier(number)
    }

    /// The tier's number, 0 to 7.
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// What [`Event::coalesce`] did with the older event; counted as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coalesced {
    /// The newer event stands alone.
    Replaced,
    /// The two were combined.
    Merged,
}

/// The place of an event in an operation: something with a beginning, progress, and exactly one end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "journal", derive(serde::Serialize, serde::Deserialize))]
pub struct Operation {
    /// Which operation.
    pub id: OperationId,
    /// The number of this event in its operation: zero for the first, then one more than that of the event before it.
    /// Give coalesced events the newer one's number: the engine knows how many pushes an event stands for.
    pub sequence: u64,
    /// Where in the operation it stands.
    pub phase: Phase,
}

/// Identifies an operation within a pipeline. Numbers given in rising order keep the engine's memory of sealed
/// operations small; [`Handle::operation`](crate::Handle::operation) gives such numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "journal", derive(serde::Serialize, serde::Deserialize))]
pub struct OperationId(pub u64);

/// Where in its operation an event stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "journal", derive(serde::Serialize, serde::Deserialize))]
pub enum Phase {
    /// The first event.
    Started,
    /// Anything between; may be lossy.
    Progress,
    /// The outcome. Always critical; seals the operation, so that later progress is refused and counted.
    Terminal,
}

/// An owner of a part of the state: the data model, the layout. Compared by `id`; the name is for people.
#[derive(Clone, Copy, Debug)]
pub struct Authority {
    id: u8,
    name: &'static str,
}

impl Authority {
    /// The single owner of a state that is not divided.
    pub const STATE: Authority = Authority::new(0, "state");

    /// An owner, by a number of its own from 0 to 63.
    ///
    /// # Panics
    /// When `id` is 64 or more; in a `const` that is a compile error.
    pub const fn new(id: u8, name: &'static str) -> Self {
        assert!(id < 64, "an authority is a number from 0 to 63");
        Authority { id, name }
    }

    /// The name, for people.
    pub const fn name(self) -> &'static str {
        self.name
    }

    pub(crate) const fn bit(self) -> u64 {
        1 << self.id
    }
}

impl PartialEq for Authority {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Authority {}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Which lane of a pipeline; never used again after the lane is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "journal", derive(serde::Serialize, serde::Deserialize))]
pub struct LaneId(pub(crate) u32);

impl LaneId {
    /// The lane's number, in the order the lanes were opened.
    pub fn number(self) -> u32 {
        self.0
    }

    /// Who its events are about when nobody says so.
    pub(crate) fn origin(self) -> Origin {
        Origin::built_in("lane", u64::from(self.0))
    }
}

impl fmt::Display for LaneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lane {}", self.0)
    }
}

/// The number of an event in its lane, counted from zero, critical and lossy events apart.
///
/// Critical events are numbered without gaps: a gap would be a lost event. Gaps between lossy events are the ones that
/// were replaced, merged or shed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "journal", derive(serde::Serialize, serde::Deserialize))]
pub struct Sequence(pub(crate) u64);

impl Sequence {
    /// The sequence as a number.
    pub fn as_u64(self) -> u64 {
        self.0
    }
}

/// An event as a reducer sees it: in place, with all that the engine knows about it.
pub struct Envelope<'a, E: Event> {
    /// Causal position; [`Stamp::UNCLOCKED`] on unclocked lanes.
    pub stamp: Stamp,
    /// The lane it came through.
    pub lane: LaneId,
    /// Its number in that lane.
    pub sequence: Sequence,
    /// Who it is about.
    pub origin: Origin,
    /// The operation it is a part of.
    pub operation: Option<Operation>,
    /// How many pushes it stands for: 1, or more when it was coalesced.
    pub parts: u32,
    /// Its context, filled in.
    pub facets: &'a E::Facets,
    /// The event.
    pub event: &'a E,
}

impl<E: Event> Clone for Envelope<'_, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E: Event> Copy for Envelope<'_, E> {}

impl<E: Event> fmt::Debug for Envelope<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelope")
            .field("kind", &self.event.kind())
            .field("stamp", &self.stamp.0)
            .field("lane", &self.lane.0)
            .field("sequence", &self.sequence.0)
            .field("origin", &format_args!("{}", self.origin))
            .field("operation", &self.operation)
            .field("parts", &self.parts)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Eq)]
    struct Plain(u8);

    impl Event for Plain {
        type Key = u8;
        type Facets = ();

        fn class(&self) -> Class<u8> {
            Class::Critical
        }
    }

    #[test]
    fn an_event_that_says_no_more_than_its_class_is_the_states_and_is_replaced() {
        let mut event = Plain(1);
        assert_eq!((event.operation(), event.origin(), event.authority()), (None, None, Authority::STATE));
        assert!(event.kind().ends_with("::Plain"), "{}", event.kind());
        assert_eq!(event.coalesce(Plain(2)), Coalesced::Replaced);
        assert_eq!(event, Plain(2));
    }

    #[test]
    fn owners_are_told_apart_by_number_and_printed_by_name() {
        let [layout, screen, model] =
            [(5, "layout"), (5, "screen"), (6, "layout")].map(|(id, name)| Authority::new(id, name));
        assert!(layout == screen && layout != model);
        assert_eq!((layout.bit(), model.bit()), (32, 64));
        assert_eq!((layout.name(), screen.to_string().as_str()), ("layout", "screen"));
    }

    #[test]
    fn an_envelope_prints_what_is_around_the_event_but_not_the_event() {
        let (lane, sequence, origin) = (LaneId(3), Sequence(4), Origin::built_in("pane", 5));
        let (facets, event) = (&(), &Plain(1));
        let envelope = Envelope { stamp: Stamp(9), lane, sequence, origin, operation: None, parts: 2, facets, event };
        let printed = format!("{envelope:?}");
        for part in ["stamp: 9", "lane: 3", "sequence: 4", "origin: pane/5", "parts: 2", "::Plain\""] {
            assert!(printed.contains(part), "{printed}");
        }
        assert_eq!((lane.number(), sequence.as_u64(), lane.to_string().as_str()), (3, 4, "lane 3"));
    }

    #[cfg(feature = "journal")]
    #[test]
    fn the_place_of_an_event_comes_back() {
        for (phase, tag) in [(Phase::Started, 0), (Phase::Progress, 1), (Phase::Terminal, 2)] {
            let place = (Stamp(9), LaneId(3), Sequence(4), Some(Operation { id: OperationId(5), sequence: 6, phase }));
            let bytes = postcard::to_allocvec(&place).unwrap();
            assert_eq!(bytes, [9, 3, 4, 1, 5, 6, tag]);
            assert_eq!(postcard::from_bytes(&bytes), Ok(place));
        }
    }
}

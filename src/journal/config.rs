//! What a host says of its journal.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::sqlite::Sync;
use super::store::Store;
use crate::main_lane::scribe::Durability;
use crate::timeline::Timeline;

/// A journal to be opened: where it is, and what it promises.
///
/// ```
/// use mainlane::journal::{Durability, Journal};
/// # use mainlane::{Budget, Class, Effects, Envelope, Event, Reducer};
/// # use serde::{Deserialize, Serialize};
/// #
/// # #[derive(Serialize, Deserialize)]
/// # struct Paid(u64);
/// # impl Event for Paid {
/// #     type Key = ();
/// #     type Facets = ();
/// #     fn class(&self) -> Class<()> { Class::Critical }
/// # }
/// # #[derive(Clone, Default, Serialize, Deserialize)]
/// # struct Till { cents: u64 }
/// # impl Reducer for Till {
/// #     type Event = Paid;
/// #     type Effect = ();
/// #     fn apply(&mut self, envelope: &Envelope<'_, Paid>, _: &mut Effects<()>) { self.cents += envelope.event.0; }
/// # }
/// # let folder = tempfile::tempdir()?;
/// # let file = folder.path().join("till.journal");
/// let open = || Journal::file(&file).schema("till", 1).durability(Durability::BeforePublish);
///
/// let (builder, recovery) = open().recover(Till::default())?;
/// assert!(recovery.created);
/// let mut lane = builder.lane("register").open()?;
/// let (mut main_lane, handle) = builder.build()?;
/// lane.push(Paid(350))?;
/// main_lane.turn(Budget::UNLIMITED)?;
/// assert!(main_lane.shutdown(std::time::Duration::from_secs(5)).complete);
///
/// // Another day, or after a crash:
/// let (builder, recovery) = open().recover(Till::default())?;
/// assert_eq!((recovery.turn, builder.state().cents), (1, 350));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub struct Journal {
    pub(crate) place: Place,
    pub(crate) schema: String,
    pub(crate) timeline: Option<Timeline>,
    pub(crate) check: bool,
    pub(crate) settings: Settings,
}

pub(crate) enum Place {
    File(PathBuf),
    Store(Box<dyn Store>),
}

#[derive(Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) schema_version: u32,
    pub(crate) durability: Durability,
    pub(crate) sync: Sync,
    pub(crate) lag_turns: usize,
    pub(crate) lag_bytes: u64,
    pub(crate) behind: Behind,
    pub(crate) checkpoints: CheckpointPolicy,
    pub(crate) retention: Retention,
}

/// There is a place for each turn that may be under way.
const LAG_TURNS_MAX: usize = 1 << 16;

/// What happens when the main lane is ahead of the journal by all that its lag allows: the disk is slow, or full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Behind {
    /// Turns apply nothing and say [`Left::Journal`](crate::Left::Journal) until there is room, lanes fill up, and their
    /// producers wait or are told, each by its lane's policy. A full disk is tried again until there is space.
    #[default]
    Wait,
    /// The journal fails, which is reported; the main lane never waits for it. With [`Durability::BeforeApply`], where each
    /// batch waits until it is durable, it fails as soon as the disk is full.
    GiveUp,
}

/// When a checkpoint of the state is due: whichever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointPolicy {
    /// After so many events.
    pub events: u64,
    /// After so many bytes of records.
    pub bytes: u64,
    /// After so much time, if there was any event.
    pub time: Option<Duration>,
}

impl Default for CheckpointPolicy {
    /// After 100,000 events or 16 MiB, at any time.
    fn default() -> Self {
        Self { events: 100_000, bytes: 16 << 20, time: None }
    }
}

/// What is kept of the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// So many checkpoints, one at least, with the records since the oldest of them; and what the timeline reaches.
    Checkpoints(usize),
    /// Everything: the run can be replayed from its beginning.
    All,
}

impl Default for Retention {
    /// Two checkpoints, so that there is another one if the newest is damaged.
    fn default() -> Self {
        Retention::Checkpoints(2)
    }
}

impl Journal {
    /// In this file, which is made when it is not there. SQLite keeps two more beside it while it is open, `-wal` and `-shm`;
    /// and `-lock` shows that it is in use.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::at(Place::File(path.into()))
    }

    /// In a store of the host's own.
    pub fn store(store: impl Store) -> Self {
        Self::at(Place::Store(Box::new(store)))
    }

    fn at(place: Place) -> Self {
        let settings = Settings {
            schema_version: 0,
            durability: Durability::default(),
            sync: Sync::Full,
            lag_turns: 256,
            lag_bytes: 16 << 20,
            behind: Behind::default(),
            checkpoints: CheckpointPolicy::default(),
            retention: Retention::default(),
        };
        Self { place, schema: String::new(), timeline: None, check: false, settings }
    }

    /// What the host's events and state are called, and which version they have. Raise the version whenever what is encoded
    /// changes; see [`Upgrade`](super::Upgrade). A journal of another schema, or of a newer version, is not opened.
    pub fn schema(mut self, name: impl Into<String>, version: u32) -> Self {
        (self.schema, self.settings.schema_version) = (name.into(), version);
        self
    }

    /// What may be seen of a turn before it is durable: by default nothing but what the main lane sees.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.settings.durability = durability;
        self
    }

    /// What durable means: by default that it survives the loss of power.
    pub fn sync(mut self, sync: Sync) -> Self {
        self.settings.sync = sync;
        self
    }

    /// How far the main lane may be ahead: so many turns, 1 to 65,536, and so many bytes of records (the one that goes beyond
    /// is still written). 256 turns and 16 MiB by default: what is more than a cache holds is written and read more slowly.
    /// With [`Durability::Async`] this is what a crash takes at most.
    pub fn lag(mut self, turns: usize, bytes: u64) -> Self {
        (self.settings.lag_turns, self.settings.lag_bytes) = (turns.clamp(1, LAG_TURNS_MAX), bytes.max(1));
        self
    }

    /// What happens when it is ahead as far as that.
    pub fn behind(mut self, behind: Behind) -> Self {
        self.settings.behind = behind;
        self
    }

    /// When a checkpoint is due. The state is copied on the main lane and encoded on another thread.
    pub fn checkpoints(mut self, policy: CheckpointPolicy) -> Self {
        self.settings.checkpoints = policy;
        self
    }

    /// What is kept of the past.
    pub fn retention(mut self, retention: Retention) -> Self {
        self.settings.retention = retention;
        self
    }

    /// Recovers the timeline too: what could be undone and redone before can be after. See
    /// [`Builder::timeline`](crate::Builder::timeline).
    pub fn timeline(mut self, timeline: Timeline) -> Self {
        self.timeline = Some(timeline);
        self
    }

    /// Applies every batch twice, the second time to a state that was encoded and decoded, and compares the hashes of both as
    /// they are encoded. Finds a reducer that reads a clock or depends on the order of a hash map, and a state that is not
    /// encoded as a whole. For tests and trial runs: a turn costs the encoding of the state four times.
    pub fn check_determinism(mut self) -> Self {
        self.check = true;
        self
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal")
            .field("schema", &self.schema)
            .field("version", &self.settings.schema_version)
            .field("durability", &self.settings.durability)
            .finish_non_exhaustive()
    }
}

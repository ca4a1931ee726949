//! From a journal to a pipeline that goes on where it ended; and from a journal to a look at it.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::append::{self, Begin};
use super::config::{Journal, Place, Settings};
use super::determinism::ByEncoding;
use super::error::JournalError;
use super::record::{CodecError, Upgrade, encode_checkpoint};
use super::replay::Replay;
use super::sqlite::{FORMAT, SqliteStore};
use super::store::{Checkpoint, CheckpointHead, Identity, Quarantined, Store, StoreError, TornTail, Write};
use crate::core::contain;
use crate::event::Event;
use crate::main_lane::operations::Operations;
use crate::main_lane::reduce::Reducer;
use crate::main_lane::turn::Past;
use crate::pipeline::{Builder, Pipeline};
use crate::timeline::Timeline;

/// What a recovery found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// True when there was no journal, and one was begun.
    pub created: bool,
    /// The newest turn.
    pub turn: u64,
    /// The turn of the checkpoint that it began with.
    pub checkpoint: u64,
    /// How many turns were applied since.
    pub turns: u64,
    /// How many events there were in them.
    pub events: u64,
    /// How long that took.
    pub took: Duration,
    /// What was cut off at the end: it was being written when the process or the machine stopped.
    pub torn_tail: Option<TornTail>,
    /// Checkpoints that are damaged and were passed over, newest first: their turns, and what is wrong.
    pub damaged_checkpoints: Vec<(u64, String)>,
    /// Events on which the reducer panicked as they were applied again, and that were set aside: the process ended before
    /// they were the first time. Also undos and redos that came to nothing for that reason.
    pub quarantined: Vec<Quarantined>,
}

/// What a replay is at, and at the end what it found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplayReport {
    /// The turn of the checkpoint that it began with.
    pub checkpoint: u64,
    /// The newest turn that was applied.
    pub turn: u64,
    /// The newest turn that is to be.
    pub until: u64,
    /// How many events were applied.
    pub events: u64,
    /// The turns whose state was compared with the hash that was recorded.
    pub compared: Vec<u64>,
    /// Those whose state came out differently.
    pub different: Vec<u64>,
    /// Those whose checkpoint could not be compared, because it has another version of the host's schema: turn and version.
    /// What was encoded as another type has another hash.
    pub skipped: Vec<(u64, u32)>,
    /// At the end, the hash of the state and of what is known of operations: the one that a checkpoint made there has.
    pub hash: Option<u128>,
    /// Events that were set aside then, or are now.
    pub quarantined: Vec<Quarantined>,
}

/// What to replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replaying {
    /// The last turn; the newest there is when there is none.
    pub until: Option<u64>,
    /// Begins with the oldest checkpoint, and compares the state with every hash that was recorded on the way.
    pub verify: bool,
}

impl Journal {
    /// Opens the journal and rebuilds the state: the newest good checkpoint, and the turns since. A journal that is not there
    /// is begun with `initial`; otherwise that is not used.
    ///
    /// The builder goes on from there: add lanes, a reconciler, and build. Effects of the turns that are applied again are
    /// not run again.
    ///
    /// # Errors
    /// When it is in use, of another schema or a newer version, or damaged. Nothing is repaired: what a crash left
    /// unfinished was never acknowledged, and is cut and reported; all else is an error with its turn.
    pub fn recover<S>(self, initial: S) -> Result<(Builder<S>, Recovery), JournalError>
    where
        S: Reducer + Serialize + DeserializeOwned,
        S::Event: Serialize + DeserializeOwned,
        <S::Event as Event>::Facets: Serialize + DeserializeOwned,
    {
        contained(|| self.open(initial, None))
    }

    /// As [`recover`](Journal::recover), with a way to read what older versions of the host wrote. The journal goes on in
    /// today's version, with a checkpoint first.
    ///
    /// # Errors
    /// As there.
    pub fn recover_with<S>(self, initial: S, upgrade: Upgrade<S>) -> Result<(Builder<S>, Recovery), JournalError>
    where
        S: Reducer + Serialize + DeserializeOwned,
        S::Event: Serialize + DeserializeOwned,
        <S::Event as Event>::Facets: Serialize + DeserializeOwned,
    {
        contained(|| self.open(initial, Some(upgrade)))
    }

    fn open<S>(self, initial: S, mut upgrade: Option<Upgrade<S>>) -> Result<(Builder<S>, Recovery), JournalError>
    where
        S: Reducer + Serialize + DeserializeOwned,
        S::Event: Serialize + DeserializeOwned,
        <S::Event as Event>::Facets: Serialize + DeserializeOwned,
    {
        let began = Instant::now();
        let Journal { place, schema, timeline, check, settings } = self;
        let mut store = match place {
            Place::File(path) => Box::new(SqliteStore::open(&path, settings.sync)?),
            Place::Store(store) => store,
        };
        let created = begin(store.as_mut(), &schema, &settings, &initial)?;
        drop(initial);
        let heads = store.checkpoints()?;
        // Also where what is older would do.
        if let Some(CheckpointHead { turn, schema, .. }) =
            heads.iter().find(|head| head.schema > settings.schema_version)
        {
            let error = CodecError::Newer { found: *schema, host: settings.schema_version };
            return Err(JournalError::Version { turn: *turn, error });
        }
        let torn_tail = store.torn_tail();
        let mut reach = timeline.map(|timeline| timeline.reach());
        let mut damaged_checkpoints: Damaged = Vec::new();
        let (mut replay, checkpoint) = loop {
            let floor = floor(store.as_mut(), reach)?;
            let (mut replay, damaged) =
                newest_good(store.as_mut(), &heads, &settings, timeline, floor, upgrade.as_mut())?;
            // Those of an earlier look may be out of the sight of this one.
            damaged_checkpoints.extend(damaged);
            let checkpoint = replay.turn;
            let mut outcome = Ok(());
            store.records(checkpoint + 1, &mut |record| {
                outcome = replay.step(&record, upgrade.as_mut());
                outcome.is_ok()
            })?;
            outcome?;
            let is_oldest = floor == 0 || heads.first().is_none_or(|head| checkpoint <= head.turn);
            if timeline.is_none() || is_oldest || replay.history.fills_window() {
                replay.all_were_there(u64::MAX)?;
                break (replay, checkpoint);
            }
            // Many of the events were refused, and are no part of the past: it goes back further.
            reach = reach.map(|events| events.saturating_mul(4));
        };
        damaged_checkpoints.sort_by_key(|(turn, _)| Reverse(*turn));
        damaged_checkpoints.dedup();
        let upgraded = heads.iter().any(|head| head.turn == checkpoint && head.schema != settings.schema_version);
        let changes = store.changes(0)?;
        remember(store.as_mut(), &replay, &settings, upgraded)?;

        let (turn, events, bytes) = (replay.turn, replay.events, replay.bytes);
        let quarantined = std::mem::take(&mut replay.found);
        let (state, operations, history) = replay.into_parts();
        let next_operation = operations.highest().map_or(0, |highest| highest.saturating_add(1));
        let mut builder = Pipeline::resume(state, Past { turn, operations });
        let core = builder.core().clone();
        core.skip_operations(next_operation);
        if check {
            builder.check_with(ByEncoding);
        }
        // Not on one that is damaged may hang what is kept.
        let is_good = |turn: &u64| damaged_checkpoints.iter().all(|(damaged, _)| damaged != turn);
        let kept = store.checkpoints()?.iter().map(|head| head.turn).filter(is_good).collect();
        let begin = Begin { durable: turn, checkpoints: kept, changes, events, bytes };
        let (pen, status) = append::start(&settings, store, begin, core).map_err(JournalError::Thread)?;
        builder.with_journal(Box::new(pen), status, timeline.map(|_| history));
        let turns = turn - checkpoint;
        let took = began.elapsed();
        let recovery =
            Recovery { created, turn, checkpoint, turns, events, took, torn_tail, damaged_checkpoints, quarantined };
        Ok((builder, recovery))
    }

    /// Rebuilds a state without going on from it, and without changing the journal: one that is in use can be replayed too,
    /// as far as it is written. `progress` is called now and then, and ends the replay when it returns false.
    ///
    /// # Errors
    /// When the journal cannot be read, or the turn is not in it. A state that comes out differently is not an error: it is in
    /// the report.
    pub fn replay<S>(
        self,
        what: Replaying,
        upgrade: Option<Upgrade<S>>,
        progress: &mut dyn FnMut(&ReplayReport) -> bool,
    ) -> Result<(S, ReplayReport), JournalError>
    where
        S: Reducer + Serialize + DeserializeOwned,
        S::Event: Serialize + DeserializeOwned,
        <S::Event as Event>::Facets: Serialize + DeserializeOwned,
    {
        contained(|| self.look(what, upgrade, progress))
    }

    fn look<S>(
        self,
        what: Replaying,
        mut upgrade: Option<Upgrade<S>>,
        progress: &mut dyn FnMut(&ReplayReport) -> bool,
    ) -> Result<(S, ReplayReport), JournalError>
    where
        S: Reducer + Serialize + DeserializeOwned,
        S::Event: Serialize + DeserializeOwned,
        <S::Event as Event>::Facets: Serialize + DeserializeOwned,
    {
        let Journal { place, schema, timeline, settings, .. } = self;
        let mut store: Box<dyn Store> = match place {
            Place::File(path) => Box::new(SqliteStore::open_read_only(&path)?),
            Place::Store(store) => store,
        };
        if let Some(TornTail { bytes, place, was_durable: true }) = store.torn_tail() {
            let reason = format!("{bytes} bytes from there on were durable and cannot be read");
            return Err(StoreError::Damaged { place, reason }.into());
        }
        let found = store.identity()?.ok_or(JournalError::NoCheckpoint { reason: None })?;
        named(&found, &schema)?;
        let mut heads = store.checkpoints()?;
        let oldest = heads.first().map_or(0, |head| head.turn);
        let newest = store.turns()?.map_or(oldest, |(_, newest)| newest);
        let until = what.until.unwrap_or(newest);
        if until < oldest || until > newest {
            return Err(JournalError::NoSuchTurn { turn: until, oldest, newest });
        }
        heads.retain(|head| head.turn <= until);
        if what.verify {
            heads.truncate(1);
        }
        let floor = floor(store.as_mut(), timeline.map(|timeline| timeline.reach()))?;
        let (mut replay, _) = newest_good(store.as_mut(), &heads, &settings, timeline, floor, upgrade.as_mut())?;
        let recorded: Vec<_> = store.checkpoints()?;
        let mut quarantined = store.quarantined(replay.turn + 1)?;
        quarantined.retain(|event| event.turn <= until);
        let mut report = ReplayReport { checkpoint: replay.turn, turn: replay.turn, until, ..ReplayReport::default() };
        let mut outcome = Ok(());
        let compare = |replay: &Replay<S>, report: &mut ReplayReport| {
            let Some(head) = recorded.iter().find(|head| what.verify && head.turn == replay.turn) else {
                return Ok(());
            };
            if head.schema != settings.schema_version {
                report.skipped.push((head.turn, head.schema));
                return Ok(());
            }
            report.compared.push(head.turn);
            if replay.hash()? != head.hash {
                report.different.push(head.turn);
            }
            Ok(())
        };
        compare(&replay, &mut report)?;
        if replay.turn < until {
            store.records(replay.turn + 1, &mut |record| {
                outcome = replay.step(&record, upgrade.as_mut()).and_then(|()| compare(&replay, &mut report));
                (report.turn, report.events) = (replay.turn, replay.events);
                outcome.is_ok() && replay.turn < until && progress(&report)
            })?;
        }
        outcome?;
        report.hash = Some(replay.hash()?);
        quarantined.append(&mut replay.found);
        report.quarantined = quarantined;
        let (state, ..) = replay.into_parts();
        Ok((state, report))
    }
}

/// A store may be the host's, and states are copied and dropped: nobody's panic ends the thread that opens a journal.
fn contained<T>(work: impl FnOnce() -> Result<T, JournalError>) -> Result<T, JournalError> {
    contain(work).unwrap_or_else(|message| Err(JournalError::Panicked { message }))
}

fn named(found: &Identity, wanted: &str) -> Result<(), JournalError> {
    if wanted.is_empty() {
        return Err(JournalError::UnnamedSchema);
    }
    if found.schema != wanted {
        return Err(JournalError::OtherSchema { found: found.schema.clone(), wanted: wanted.to_owned() });
    }
    Ok(())
}

/// Begins a journal where there is none. True if there was none.
fn begin<S: Reducer + Serialize>(
    store: &mut dyn Store,
    schema: &str,
    settings: &Settings,
    initial: &S,
) -> Result<bool, JournalError> {
    if let Some(found) = store.identity()? {
        named(&found, schema)?;
        if !store.checkpoints()?.is_empty() || store.turns()?.is_some() {
            return Ok(false);
        }
    } else {
        let identity = Identity { schema: schema.to_owned(), format: FORMAT };
        named(&identity, schema)?;
        store.begin(&identity)?;
    }
    let checkpoint = Some(encoded(0, settings, &Operations::new(), initial)?);
    store.append(&Write { checkpoint, ..Write::default() })?;
    Ok(true)
}

fn encoded<S: Reducer + Serialize>(
    turn: u64,
    settings: &Settings,
    operations: &Operations,
    state: &S,
) -> Result<Checkpoint, JournalError> {
    let mut payload = Vec::new();
    match contain(|| encode_checkpoint(&operations.image(), state, &mut payload)) {
        Ok(Ok(())) => Ok(Checkpoint::seal(turn, settings.schema_version, payload)),
        Ok(Err(error)) => Err(JournalError::Unencodable { reason: error.to_string() }),
        Err(reason) => Err(JournalError::Unencodable { reason }),
    }
}

/// Checkpoints that were passed over, newest first: their turns, and what is wrong.
type Damaged = Vec<(u64, String)>;

/// The newest turn that is followed by so many events, which the timeline may reach; any, without one.
fn floor(store: &mut dyn Store, reach: Option<u64>) -> Result<u64, StoreError> {
    reach.map_or(Ok(u64::MAX), |events| store.turn_before(events))
}

/// The newest checkpoint that is good, that no later turn reaches behind, and that is of turn `floor` or before, where there is
/// one.
fn newest_good<S>(
    store: &mut dyn Store,
    heads: &[CheckpointHead],
    settings: &Settings,
    timeline: Option<Timeline>,
    floor: u64,
    mut upgrade: Option<&mut Upgrade<S>>,
) -> Result<(Replay<S>, Damaged), JournalError>
where
    S: Reducer + Serialize + DeserializeOwned,
    S::Event: DeserializeOwned,
    <S::Event as Event>::Facets: DeserializeOwned,
{
    let changes = store.changes(0)?;
    let (mut damaged, mut first): (Damaged, _) = (Vec::new(), None);
    let is_base =
        |head: &CheckpointHead| changes.iter().all(|(turn, reaches)| *turn <= head.turn || *reaches > head.turn);
    // Those before the window first, newest first; and if there is none, the oldest.
    let (before, within): (Vec<&CheckpointHead>, Vec<_>) =
        heads.iter().filter(|head| is_base(head)).partition(|head| head.turn <= floor);
    for head in before.iter().rev().chain(&within) {
        let Some(checkpoint) = store.checkpoint(head.turn)? else { continue };
        let upgrade = upgrade.as_deref_mut();
        match Replay::from(store, &checkpoint, settings.schema_version, timeline, upgrade) {
            Ok(replay) => return Ok((replay, damaged)),
            Err(JournalError::DamagedCheckpoint { turn, reason }) => {
                first.get_or_insert(format!("that of turn {turn}: {reason}"));
                damaged.push((turn, reason));
            }
            Err(error) => return Err(error),
        }
    }
    Err(JournalError::NoCheckpoint { reason: first })
}

/// Writes down what the replay found out: events that it had to set aside, and the state in today's version.
fn remember<S>(
    store: &mut dyn Store,
    replay: &Replay<S>,
    settings: &Settings,
    upgraded: bool,
) -> Result<(), JournalError>
where
    S: Reducer + Serialize,
{
    let checkpoint = match upgraded {
        true => Some(encoded(replay.turn, settings, &replay.applying.operations, &replay.applying.state)?),
        false => None,
    };
    if replay.found.is_empty() && checkpoint.is_none() {
        return Ok(());
    }
    let write = Write { quarantined: replay.found.clone(), checkpoint, ..Write::default() };
    Ok(store.append(&write)?)
}

//! Records applied again, one after the other: what recovery and a replay have in common.

use std::collections::VecDeque;

use crossbeam_utils::sync::Parker;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::batch::decode_batch;
use super::error::JournalError;
use super::record::{Upgrade, decode_checkpoint, decode_operation, encode_checkpoint};
use super::store::{Checkpoint, Quarantined, Record, RecordKind, Store};
use crate::core::{Core, contain, drop_each, let_go};
use crate::event::Event;
use crate::main_lane::apply::Applying;
use crate::main_lane::entry::{Entry, Fate};
use crate::main_lane::keeping::reapply;
use crate::main_lane::operations::Operations;
use crate::main_lane::operations::image::OperationsImage;
use crate::main_lane::reduce::Reducer;
use crate::observe::diagnostic::Reporter;
use crate::timeline::ask::{Change, RewindError};
use crate::timeline::history::{History, Unkept};
use crate::timeline::{RewindKind, Timeline};

/// A state that is being rebuilt.
pub(crate) struct Replay<S: Reducer> {
    pub(crate) applying: Applying<S>,
    pub(crate) history: History<S>,
    pub(crate) turn: u64,
    pub(crate) events: u64,
    /// Of the records that were applied.
    pub(crate) bytes: u64,
    /// Events on which the reducer panicked now, and that nobody had set aside before; and changes.
    pub(crate) found: Vec<Quarantined>,
    schema: u32,
    core: Core,
    batch: Vec<(Entry<S::Event>, Fate)>,
    marks: VecDeque<(u64, u32)>,
    /// Turns that change older ones, oldest first, with the oldest turn that they or any later one changes.
    needs: VecDeque<(u64, u64)>,
}

impl<S> Replay<S>
where
    S: Reducer + Serialize + DeserializeOwned,
    S::Event: DeserializeOwned,
    <S::Event as Event>::Facets: DeserializeOwned,
{
    /// From a checkpoint of `store` on.
    pub(crate) fn from(
        store: &mut dyn Store,
        checkpoint: &Checkpoint,
        schema: u32,
        timeline: Option<Timeline>,
        upgrade: Option<&mut Upgrade<S>>,
    ) -> Result<Self, JournalError> {
        let turn = checkpoint.turn;
        let damaged = |reason: String| JournalError::DamagedCheckpoint { turn, reason };
        checkpoint.verify().map_err(|error| damaged(error.to_string()))?;
        let decode =
            || decode_checkpoint::<OperationsImage, S>(&checkpoint.payload, checkpoint.schema, schema, upgrade);
        let (image, state) = match contain(decode) {
            Ok(decoded) => decoded.map_err(|error| JournalError::of_checkpoint(turn, error))?,
            Err(message) => return Err(damaged(format!("the host's code panicked: {message}"))),
        };
        let operations = Operations::from_image(&image).map_err(damaged)?;
        // Without one of the host's a short one, to roll back to when the reducer panics.
        let history = History::new(timeline.unwrap_or(Timeline::window(1)), turn, &state).after(operations.seen());
        let mut needs: VecDeque<_> = store.changes(turn + 1)?.into();
        let mut oldest = u64::MAX;
        for (_, reaches) in needs.iter_mut().rev() {
            oldest = oldest.min(*reaches);
            *reaches = oldest;
        }
        let marks = store.quarantined(turn + 1)?;
        let (reporter, _) = Reporter::new();
        let mut replay = Self {
            applying: Applying::new(state, operations),
            history,
            turn,
            events: 0,
            bytes: 0,
            found: Vec::new(),
            schema,
            core: Core::new(Parker::new().unparker().clone(), reporter),
            batch: Vec::new(),
            marks: marks.iter().map(|mark| (mark.turn, mark.index)).collect(),
            needs,
        };
        replay.hold();
        Ok(replay)
    }

    /// Applies the next turn.
    pub(crate) fn step(&mut self, record: &Record, upgrade: Option<&mut Upgrade<S>>) -> Result<(), JournalError> {
        let turn = record.turn;
        if turn != self.turn + 1 {
            return Err(JournalError::Missing { first: self.turn + 1, last: turn.saturating_sub(1) });
        }
        let damaged = |reason: String| JournalError::Damaged { turn, reason };
        record.verify().map_err(|error| damaged(error.to_string()))?;
        match record.kind {
            RecordKind::Batch => {
                let decode = || decode_batch::<S>(&record.payload, record.events, record.schema, self.schema, upgrade);
                let entries = match contain(decode) {
                    Ok(decoded) => decoded.map_err(|error| JournalError::of_record(turn, error))?,
                    Err(message) => return Err(damaged(format!("the host's code panicked: {message}"))),
                };
                self.batch.extend(entries.into_iter().map(|entry| (entry, Fate::Applied)));
                self.events += u64::from(record.events);
                self.apply(turn)?;
            }
            RecordKind::Undo | RecordKind::Redo => {
                let kind = if record.kind == RecordKind::Undo { RewindKind::Undo } else { RewindKind::Redo };
                let operation = decode_operation(&record.payload).map_err(|error| damaged(error.to_string()))?;
                let change = Change { kind, operation, reaches: record.reaches };
                self.rewind(turn, &change)?;
                if self.needs.front().is_some_and(|(first, _)| *first <= turn) {
                    self.needs.pop_front();
                    self.hold();
                }
            }
        }
        self.bytes += record.payload.len() as u64;
        self.turn = turn;
        self.all_were_there(turn)
    }

    fn rewind(&mut self, turn: u64, change: &Change) -> Result<(), JournalError> {
        let is_marked = self.marks.pop_front_if(|mark| *mark == (turn, 0)).is_some();
        if !is_marked {
            match self.history.rewind(change, turn) {
                Ok((state, _)) => {
                    self.applying.state = state;
                    return Ok(());
                }
                // It came to nothing then, for the same reason, and the process ended before that was written down.
                Err(RewindError::Panicked { message, .. }) => {
                    self.found.push(Quarantined { turn, index: 0, kind: change.kind.name().to_owned(), message });
                }
                Err(error) => return Err(JournalError::Unrepeatable { turn, reason: error.to_string() }),
            }
        }
        let Self { history, applying, .. } = self;
        keep(history, turn, &mut Vec::new(), &applying.state, false)
    }

    /// What is said to be set aside of turns up to `until` was there. What is not found would hide what is after it.
    pub(crate) fn all_were_there(&self, until: u64) -> Result<(), JournalError> {
        match self.marks.front() {
            Some(&(turn, index)) if turn <= until => {
                Err(JournalError::Damaged { turn, reason: format!("event {index} is set aside, and there is none") })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// What later turns change must not be forgotten before.
    fn hold(&mut self) {
        self.history.hold_from(self.needs.front().map(|(_, oldest)| *oldest));
    }

    fn apply(&mut self, turn: u64) -> Result<(), JournalError> {
        let Self { applying, history, batch, marks, core, found, .. } = self;
        let mut marked = false;
        for at in 0..batch.len() {
            let index = u32::try_from(at).unwrap_or(u32::MAX);
            if marks.front() == Some(&(turn, index)) {
                marks.pop_front();
                applying.skip(core, batch[at].0.envelope());
                batch[at].1 = Fate::Refused;
                continue;
            }
            match contain(|| applying.fate_of(core, batch[at].0.envelope())) {
                Ok(fate) => batch[at].1 = fate,
                Err(message) => {
                    applying.forget_event();
                    let unrepeatable = |reason| JournalError::Unrepeatable { turn, reason };
                    let mut state = history.newest_state().map_err(|error| unrepeatable(error.to_string()))?;
                    reapply(&mut state, &batch[..at]).map_err(unrepeatable)?;
                    let old = std::mem::replace(&mut applying.state, state);
                    let_go(old);
                    batch[at].1 = Fate::Refused;
                    marked = true;
                    found.push(Quarantined { turn, index, kind: batch[at].0.kind().to_owned(), message });
                }
            }
        }
        // They were run then, or never will be.
        let _ = drop_each(applying.effects.pending.drain(..));
        keep(history, turn, batch, &applying.state, marked)
    }

    /// The hash that a checkpoint made now has.
    pub(crate) fn hash(&self) -> Result<u128, JournalError> {
        let mut payload = Vec::new();
        let encode = || encode_checkpoint(&self.applying.operations.image(), &self.applying.state, &mut payload);
        let reason = match contain(encode) {
            Ok(Ok(())) => return Ok(xxhash_rust::xxh3::xxh3_128(&payload)),
            Ok(Err(error)) => error.to_string(),
            Err(message) => message,
        };
        Err(JournalError::Unencodable { reason })
    }

    /// The state, the operations and the past.
    pub(crate) fn into_parts(self) -> (S, Operations, History<S>) {
        let Applying { state, operations, .. } = self.applying;
        (state, operations, self.history)
    }
}

/// Keeps a batch; the host's code is in it.
fn keep<S: Reducer>(
    history: &mut History<S>,
    turn: u64,
    batch: &mut Vec<(Entry<S::Event>, Fate)>,
    state: &S,
    mark: bool,
) -> Result<(), JournalError> {
    let kept = contain(|| history.keep(turn, batch, state, mark)).map_err(Unkept::Dropped);
    kept.flatten()
        .map_err(|(Unkept::Dropped(reason) | Unkept::Copied(reason))| JournalError::Unrepeatable { turn, reason })
}

//! The past of one pipeline: checkpoints and the events between them.
//!
//! A rewind goes back to a checkpoint and applies the events from there on, but for those that are undone. Every event
//! keeps its place, so that what is undone can be put back. Effects of the past are not run again, and what was refused
//! stays refused: it is not kept at all.
//!
//! # Invariants
//! - **H1 reach**: the first checkpoint stands before the first event that is kept, and there always is one.
//! - **H2 one present**: a checkpoint is the state with all events before it, but for those that are undone *now*. A
//!   rewind replaces those that it goes past.
//! - **H3 bound**: there are fewer than `window + checkpoint_every` events and the largest batch among them, unless
//!   older turns are held; and no more than two checkpoints for as many events as `checkpoint_every`, and two.

use std::collections::VecDeque;
use std::ops::Range;

use crate::core::{contain, drop_each, let_go};
use crate::event::{self, Event, OperationId, Phase};
use crate::main_lane::entry::{Entry, Fate};
use crate::main_lane::operations::Seen;
use crate::main_lane::reduce::Reducer;
use crate::timeline::Timeline;
use crate::timeline::again::{Again, Stumbled, copy};
use crate::timeline::ask::{Ask, Change, Rewind, RewindError, RewindKind, TimelineError};
use crate::timeline::changes::{CHANGES_MAX, Changes, Made};
use crate::timeline::operations::{LEFT_MAX, Operation, Operations, Place};

/// So many events have their place from the start, if the window is that large: no turn has to move what is there to a
/// larger one.
const RESERVED_MAX: usize = 1 << 17;

pub(crate) struct History<S: Reducer> {
    config: Timeline,
    /// Oldest first.
    checkpoints: VecDeque<Checkpoint<S>>,
    entries: VecDeque<Kept<S>>,
    /// The place of the first of them.
    start: Place,
    operations: Operations,
    changes: Changes,
    newest: u64,
    hold_from: Option<u64>,
    /// A state that is not needed any more, for the next checkpoint to be made in.
    spare: Option<S>,
}

/// The state before the event at `place`.
struct Checkpoint<S> {
    turn: u64,
    place: Place,
    state: S,
}

/// An event that was applied.
struct Kept<S: Reducer> {
    turn: u64,
    undone: bool,
    entry: Entry<S::Event>,
}

/// What a rewind comes to.
struct Remade<S> {
    /// The checkpoints past the one that it began with.
    checkpoints: Vec<S>,
    present: S,
    applied: usize,
}

/// The host's code panicked as a batch was kept, and said this.
#[derive(Debug)]
pub(crate) enum Unkept {
    /// As an event was dropped: one that was refused, or is out of the window.
    Dropped(String),
    /// As the state was copied.
    Copied(String),
}

impl<S: Reducer> History<S> {
    /// `state` is the state after `turn`, 0 for a fresh pipeline.
    pub(crate) fn new(config: Timeline, turn: u64, state: &S) -> Self {
        Self::bounded(config, turn, state, LEFT_MAX, CHANGES_MAX)
    }

    pub(super) fn bounded(config: Timeline, turn: u64, state: &S, left_max: usize, changes_max: usize) -> Self {
        let checkpoint = Checkpoint { turn, place: 0, state: state.clone() };
        Self {
            config,
            checkpoints: [checkpoint].into(),
            entries: VecDeque::with_capacity(reserved(config)),
            start: 0,
            operations: Operations::bounded(left_max),
            changes: Changes::bounded(changes_max),
            newest: turn,
            hold_from: None,
            spare: None,
        }
    }

    /// There were these operations before: whatever comes of them, there is more of them than is kept.
    pub(crate) fn after(mut self, before: Seen) -> Self {
        self.operations.begin_after(before);
        self
    }

    /// Takes in what turn `turn` applied; `state` is the state after it. Leaves `batch` empty.
    ///
    /// Takes a checkpoint when one is due. A `mark` asks for one in any case; it takes the place of an earlier one if there
    /// would be too many else.
    ///
    /// # Errors
    /// When the host's code panics. No rewind can be relied on after that.
    pub(crate) fn keep(
        &mut self,
        turn: u64,
        batch: &mut Vec<(Entry<S::Event>, Fate)>,
        state: &S,
        mark: bool,
    ) -> Result<(), Unkept> {
        self.look(turn, batch);
        self.take(turn, batch, state, mark)
    }

    /// The first half of it: which operations there are.
    pub(crate) fn look(&mut self, turn: u64, batch: &[(Entry<S::Event>, Fate)]) {
        debug_assert!(turn > self.newest, "turn {turn} after turn {}", self.newest);
        // First looked at and then moved: both at once takes twice as long.
        let mut place = self.end();
        for (entry, fate) in batch {
            let is_applied = *fate == Fate::Applied;
            if let Some(operation) = entry.event.operation() {
                match is_applied {
                    true => self.operations.keep(operation, entry.parts, place, turn, || entry.envelope().origin),
                    false => self.operations.pass_over(operation),
                }
            }
            place += u64::from(is_applied);
        }
    }

    /// The other half. What was refused may be gone by now.
    pub(crate) fn take(
        &mut self,
        turn: u64,
        batch: &mut Vec<(Entry<S::Event>, Fate)>,
        state: &S,
        mark: bool,
    ) -> Result<(), Unkept> {
        let mut dropped = Ok(());
        for (entry, fate) in batch.drain(..) {
            match fate {
                Fate::Applied => self.entries.push_back(Kept { turn, undone: false, entry }),
                Fate::Refused => dropped = dropped.and(contain(|| drop(entry))),
            }
        }
        self.newest = turn;
        dropped.and(self.trim()).map_err(Unkept::Dropped)?;
        self.checkpoint(state, mark).map_err(|Stumbled { message, .. }| Unkept::Copied(message))
    }

    /// The state after the newest turn, made from a checkpoint: what a main lane goes back to when a reducer panics.
    ///
    /// # Errors
    /// When the reducer panics on what it has applied before.
    pub(crate) fn newest_state(&self) -> Result<S, TimelineError> {
        let checkpoint = &self.checkpoints[self.checkpoints.len() - 1];
        let remade = Again::from(&checkpoint.state)
            .and_then(|again| again.through(|again| again.apply(self.standing(checkpoint.place..self.end()))));
        remade.map(|again| again.state).map_err(Stumbled::in_a_look)
    }

    /// Which change `ask` comes to; nothing is changed yet.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn plan(&self, ask: Ask) -> Result<Change, RewindError> {
        let (kind, operation) = match ask {
            Ask::Undo(origin) => (RewindKind::Undo, self.operations.newest_ended(origin).ok_or(origin)),
            Ask::Redo(origin) => (RewindKind::Redo, self.operations.last_undone(origin).ok_or(origin)),
            Ask::UndoOperation(operation) => (RewindKind::Undo, Ok(operation)),
            Ask::RedoOperation(operation) => (RewindKind::Redo, Ok(operation)),
        };
        let operation = operation.map_err(|origin| RewindError::Nothing { kind, origin })?;
        let reaches = self.find(kind, operation, None)?.reaches;
        Ok(Change { kind, operation, reaches })
    }

    /// Makes the change as turn `turn`, which is newer than all that are kept. Returns the new present.
    ///
    /// # Errors
    /// When it cannot be made, or the reducer panics on the way; everything is as before then.
    pub(crate) fn rewind(&mut self, change: &Change, turn: u64) -> Result<(S, Rewind), RewindError> {
        debug_assert!(turn > self.newest, "turn {turn} after turn {}", self.newest);
        let Change { kind, operation, reaches } = *change;
        self.begin_anew(operation, reaches);
        let &Operation { first, undone: undone_since, .. } = self.find(kind, operation, Some(reaches))?;
        let from = self.checkpoint_before(first, u64::MAX);
        let Remade { checkpoints, present, applied } = self
            .remake(from, first, kind, operation)
            .map_err(|Stumbled { kind, message }| RewindError::Panicked { operation, kind, message })?;
        let replaced: Vec<S> = self
            .checkpoints
            .range_mut(from + 1..)
            .zip(checkpoints)
            .map(|(checkpoint, state)| std::mem::replace(&mut checkpoint.state, state))
            .collect();
        let events = self.turn_over(first, kind, operation);
        self.operations.change(operation, kind == RewindKind::Undo, turn);
        self.changes.keep(Made { turn, operation, first, undone_since });
        self.newest = turn;
        // The host's code; the change is made, whatever it does.
        let _ = drop_each(replaced);
        Ok((present, Rewind { kind, operation, turn, reaches, events, applied }))
    }

    /// The state as it was after turn `turn`: an operation that was undone later is still in it.
    ///
    /// # Errors
    /// When that turn is not kept, or not there yet, or the reducer panics on what it has applied before.
    pub(crate) fn state_at(&self, turn: u64) -> Result<S, TimelineError> {
        let (oldest, newest) = (self.oldest_turn(), self.newest);
        if turn < oldest {
            return Err(TimelineError::BeyondWindow { oldest });
        }
        if turn > newest {
            return Err(TimelineError::NotYet { newest });
        }
        let then = self.changes.after(turn);
        // H2: up to the first event of an operation that was changed later, checkpoints are what they were.
        let checkpoint = &self.checkpoints[self.checkpoint_before(then.first.unwrap_or(Place::MAX), turn)];
        let until = self.start + self.entries.partition_point(|kept| kept.turn <= turn) as u64;
        let was_undone = |(at, kept): &(Place, &Kept<S>)| match kept.entry.event.operation() {
            Some(part) if !then.is_as_now() => then.was_undone(part.id, *at, kept.turn).unwrap_or(kept.undone),
            Some(_) | None => kept.undone,
        };
        let kept = self.placed(checkpoint.place..until).filter(|placed| !was_undone(placed));
        let remade = Again::from(&checkpoint.state)
            .and_then(|again| again.through(|again| again.apply(kept.map(|(_, kept)| &kept.entry))));
        remade.map(|again| again.state).map_err(Stumbled::in_a_look)
    }

    /// Keeps the events of turns from `turn` on, however many they are, until this is called with `None`.
    #[cfg(any(test, feature = "journal"))]
    pub(crate) fn hold_from(&mut self, turn: Option<u64>) {
        self.hold_from = turn;
        let _ = self.trim();
    }

    /// Drops what is the host's.
    pub(crate) fn let_go(self) {
        let Self { entries, checkpoints, spare, .. } = self;
        let _ = drop_each(entries).and(drop_each(checkpoints));
        let_go(spare);
    }

    /// The oldest turn after which the state is known.
    pub(crate) fn oldest_turn(&self) -> u64 {
        self.checkpoints[0].turn.max(self.changes.known_from())
    }

    /// The turn behind which nothing can be changed.
    pub(crate) fn base_turn(&self) -> u64 {
        self.checkpoints[0].turn
    }

    /// True when there are as many events as are to be kept at least.
    #[cfg(feature = "journal")]
    pub(crate) fn fills_window(&self) -> bool {
        self.entries.len() >= self.config.window
    }

    #[cfg(test)]
    pub(crate) fn newest_turn(&self) -> u64 {
        self.newest
    }

    /// The operation, if the change can be made. When it was planned, it was known how far it `reaches`: a journal that
    /// begins behind a start that was set aside does not show it any more.
    fn find(&self, kind: RewindKind, id: OperationId, reaches: Option<u64>) -> Result<&Operation, RewindError> {
        let operation = self.operations.get(id).ok_or(RewindError::Unknown { operation: id })?;
        if operation.undone.is_some() == (kind == RewindKind::Undo) {
            return Err(RewindError::NotNow { kind, operation: id });
        }
        let is_whole = operation.whole || reaches == Some(operation.reaches);
        if operation.first < self.start || !is_whole {
            // The turn of the first checkpoint is in it, and can be looked at but not changed.
            return Err(RewindError::BeyondWindow { operation: id, oldest: self.base_turn() + 1 });
        }
        if !operation.has_ended() {
            return Err(RewindError::Open { operation: id });
        }
        Ok(operation)
    }

    /// A change that was planned by whoever had forgotten what there was of the operation before turn `reaches`: what is
    /// changed begins there. That is found in a journal, by a replay that forgets later than the main lane did.
    fn begin_anew(&mut self, id: OperationId, reaches: u64) {
        if self.operations.get(id).is_none_or(|operation| operation.reaches >= reaches) {
            return;
        }
        let from = self.entries.partition_point(|kept| kept.turn < reaches);
        let part = |(at, kept): (Place, &Kept<S>)| {
            let part = kept.entry.event.operation().filter(|part| part.id == id)?;
            Some((kept.turn, at, part.phase))
        };
        let parts = || self.placed(self.start + from as u64..self.end()).filter_map(part);
        let Some((turn, first, _)) = parts().next() else { return };
        let ended = parts().find(|(.., phase)| *phase == Phase::Terminal).map(|(turn, at, _)| (turn, at));
        self.operations.begin_anew(id, first, turn, ended);
    }

    /// Applies everything from a checkpoint on as it would be after the change of what there is of `operation` from `first` on.
    fn remake(
        &self,
        from: usize,
        first: Place,
        kind: RewindKind,
        operation: OperationId,
    ) -> Result<Remade<S>, Stumbled> {
        let stands = |(at, kept): &(Place, &Kept<S>)| match kept.entry.event.operation() {
            Some(part) if part.id == operation && *at >= first => kind == RewindKind::Redo,
            Some(_) | None => !kept.undone,
        };
        let mut checkpoints = Vec::with_capacity(self.checkpoints.len() - from - 1);
        let remake = |again: &mut Again<S>| {
            let mut place = self.checkpoints[from].place;
            for checkpoint in self.checkpoints.range(from + 1..) {
                again.apply(self.placed(place..checkpoint.place).filter(stands).map(|(_, kept)| &kept.entry))?;
                checkpoints.push(copy(&again.state)?);
                place = checkpoint.place;
            }
            again.apply(self.placed(place..self.end()).filter(stands).map(|(_, kept)| &kept.entry))
        };
        match Again::from(&self.checkpoints[from].state).and_then(|again| again.through(remake)) {
            Ok(Again { state: present, applied, .. }) => Ok(Remade { checkpoints, present, applied }),
            Err(stumbled) => {
                let _ = drop_each(checkpoints);
                Err(stumbled)
            }
        }
    }

    /// Marks the operation's events, which stand from `first` on, and counts those that were not marked so before.
    fn turn_over(&mut self, first: Place, kind: RewindKind, operation: OperationId) -> usize {
        let undone = kind == RewindKind::Undo;
        let is_part = |part: Option<event::Operation>| part.is_some_and(|part| part.id == operation);
        let mut events = 0;
        for kept in self.entries.range_mut((first - self.start) as usize..) {
            if kept.undone != undone && is_part(kept.entry.event.operation()) {
                kept.undone = undone;
                events += 1;
            }
        }
        events
    }

    /// The newest checkpoint that is not past `place` and not of a turn after `turn`.
    fn checkpoint_before(&self, place: Place, turn: u64) -> usize {
        let after = self.checkpoints.partition_point(|checkpoint| checkpoint.place <= place && checkpoint.turn <= turn);
        after.saturating_sub(1)
    }

    fn checkpoint(&mut self, state: &S, mark: bool) -> Result<(), Stumbled> {
        let (end, every) = (self.end(), self.config.checkpoint_every as u64);
        let (newest, before) = (self.checkpoints.len() - 1, self.checkpoints.len().checked_sub(2));
        let since = end - self.checkpoints[newest].place;
        if since == 0 || since < every && !mark {
            return Ok(());
        }
        // H3: of three in a row, the outer two are further apart than that.
        if before.is_some_and(|before| end - self.checkpoints[before].place <= every) {
            let between = self.checkpoints.pop_back();
            self.spare_one(between);
        }
        let mut spare = self.spare.take();
        let is_filled = spare.as_mut().map(|spare| contain(|| spare.clone_from(state)));
        let state = match (spare, is_filled) {
            (Some(filled), Some(Ok(()))) => filled,
            // What it had may have panicked as it was dropped.
            (spare, _) => {
                let_go(spare);
                copy(state)?
            }
        };
        self.checkpoints.push_back(Checkpoint { turn: self.newest, place: end, state });
        Ok(())
    }

    fn spare_one(&mut self, checkpoint: Option<Checkpoint<S>>) {
        if let Some(Checkpoint { state, .. }) = checkpoint {
            let_go(self.spare.replace(state));
        }
    }

    /// Drops what is older than the window, from checkpoint to checkpoint.
    fn trim(&mut self) -> Result<(), String> {
        let mut dropped = Ok(());
        while let Some(&Checkpoint { turn, place, .. }) = self.checkpoints.get(1)
            && self.end() - place >= self.config.window as u64
            && self.hold_from.is_none_or(|held| turn < held)
        {
            dropped = dropped.and(self.forget((place - self.start) as usize));
        }
        dropped
    }

    /// Drops the first checkpoint and the events up to the next, of which there are `count`.
    fn forget(&mut self, count: usize) -> Result<(), String> {
        for (place, kept) in (self.start..).zip(self.entries.range(..count)) {
            if let Some(operation) = kept.entry.event.operation()
                && let Some(changed) = self.operations.leave(operation.id, place)
            {
                // How it was before that change cannot be made any more.
                self.changes.forget_before(changed);
            }
        }
        self.start += count as u64;
        let oldest = self.checkpoints.pop_front();
        self.spare_one(oldest);
        let dropped = drop_each(self.entries.drain(..count));
        // After a batch that was far larger than usual.
        let room = reserved(self.config).max(2 * self.entries.len());
        if self.entries.capacity() > 2 * room {
            self.entries.shrink_to(room);
        }
        dropped
    }

    fn end(&self) -> Place {
        self.start + self.entries.len() as u64
    }

    fn kept(&self, places: Range<Place>) -> impl Iterator<Item = &Kept<S>> {
        self.entries.range((places.start - self.start) as usize..(places.end - self.start) as usize)
    }

    fn placed(&self, places: Range<Place>) -> impl Iterator<Item = (Place, &Kept<S>)> {
        (places.start..).zip(self.kept(places))
    }

    fn standing(&self, places: Range<Place>) -> impl Iterator<Item = &Entry<S::Event>> {
        self.kept(places).filter(|kept| !kept.undone).map(|kept| &kept.entry)
    }
}

impl Stumbled {
    fn in_a_look(self) -> TimelineError {
        TimelineError::Panicked { kind: self.kind, message: self.message }
    }
}

fn reserved(config: Timeline) -> usize {
    config.window.saturating_add(config.checkpoint_every).min(RESERVED_MAX)
}

#[cfg(test)]
impl<S: Reducer> History<S> {
    /// How many events have left the window, and the turn after which it begins.
    pub(super) fn reach(&self) -> (Place, u64) {
        (self.start, self.base_turn())
    }

    pub(super) fn kept_count(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn checkpoint_count(&self) -> usize {
        self.checkpoints.len()
    }

    pub(super) fn since_checkpoint(&self) -> u64 {
        self.end() - self.checkpoints[self.checkpoints.len() - 1].place
    }

    pub(super) fn room(&self) -> usize {
        self.entries.capacity()
    }

    pub(super) fn operations(&self) -> &Operations {
        &self.operations
    }
}

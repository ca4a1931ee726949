//! Which operations a timeline knows: whose they are, whether they have ended, whether they are undone.

use std::collections::{HashMap, VecDeque};

use crate::event::{self, OperationId, Phase};
use crate::main_lane::operations::Seen;
use crate::origin::Origin;

/// How many operations without an event in the window are remembered, so that it can be said of them that they are beyond
/// it. Older ones are as if they had never been.
pub(crate) const LEFT_MAX: usize = 1 << 14;

/// The place of an event among all events that the timeline was ever given.
pub(super) type Place = u64;

pub(super) struct Operations {
    /// Those with an event in the window, and those that left it last.
    known: HashMap<OperationId, Operation, foldhash::fast::RandomState>,
    /// Those whose newest event left the window, with that event; some have had another since.
    left: VecDeque<(OperationId, Place)>,
    left_max: usize,
    /// Operations whose start was passed over before anything else of them was kept, those of late.
    passed_over: VecDeque<OperationId>,
    /// Those of which there was something before the timeline began.
    before: Seen,
}

#[derive(Clone, Debug)]
pub(super) struct Operation {
    /// That of its first event.
    owner: Origin,
    /// Its first event, and the turn of it.
    pub(super) first: Place,
    pub(super) reaches: u64,
    /// What is taken to be its first event is one, or stands for it.
    pub(super) whole: bool,
    newest: Place,
    /// The turn and the place of its first end.
    ended: Option<(u64, Place)>,
    /// The turn in which it was undone, if it is.
    pub(super) undone: Option<u64>,
    /// The turn in which it was undone or redone last.
    changed: Option<u64>,
}

impl Operations {
    pub(super) fn bounded(left_max: usize) -> Self {
        Self {
            known: HashMap::default(),
            left: VecDeque::new(),
            left_max,
            passed_over: VecDeque::new(),
            before: Seen::default(),
        }
    }

    /// There were these before anything that is kept.
    pub(super) fn begin_after(&mut self, before: Seen) {
        self.before = before;
    }

    /// Takes note of an event of an operation, which stands for `parts` pushes.
    pub(super) fn keep(
        &mut self,
        event: event::Operation,
        parts: u32,
        place: Place,
        turn: u64,
        origin: impl FnOnce() -> Origin,
    ) {
        let (passed_over, before) = (&mut self.passed_over, &self.before);
        let operation = self.known.entry(event.id).or_insert_with(|| {
            // Numbered from zero: a coalesced event has the number of the last push that it stands for.
            let begins = is_among(passed_over, event.id)
                || event.phase == Phase::Started
                || event.sequence < u64::from(parts.max(1));
            Operation {
                owner: origin(),
                first: place,
                reaches: turn,
                whole: begins && !before.contains(event.id),
                newest: place,
                // Before all that are kept.
                ended: before.had_ended(event.id).then_some((0, 0)),
                undone: None,
                changed: None,
            }
        });
        operation.newest = place;
        if event.phase == Phase::Terminal && operation.ended.is_none() {
            operation.ended = Some((turn, place));
        }
    }

    /// An event of an operation was refused, or set aside: it is no part of the past. When it is the start, what comes next
    /// of the operation is its beginning.
    pub(super) fn pass_over(&mut self, event: event::Operation) {
        if event.phase != Phase::Started || self.known.contains_key(&event.id) {
            return;
        }
        self.passed_over.push_back(event.id);
        if self.passed_over.len() > self.left_max {
            self.passed_over.pop_front();
        }
    }

    /// An event of operation `id` left the window. Returns the turn in which the operation was changed last: it cannot be
    /// changed again.
    pub(super) fn leave(&mut self, id: OperationId, place: Place) -> Option<u64> {
        let operation = self.known.get(&id)?;
        let changed = operation.changed;
        if operation.newest == place {
            self.left.push_back((id, place));
        }
        if self.left.len() > self.left_max
            && let Some((oldest, place)) = self.left.pop_front()
            && self.known.get(&oldest).is_some_and(|oldest| oldest.newest == place)
        {
            self.known.remove(&oldest);
        }
        changed
    }

    pub(super) fn get(&self, id: OperationId) -> Option<&Operation> {
        self.known.get(&id)
    }

    /// Of the operations of `owner` that are not undone, the one that ended last.
    pub(super) fn newest_ended(&self, owner: Origin) -> Option<OperationId> {
        let standing = self.of(owner).filter(|(_, operation)| operation.undone.is_none());
        let newest = standing.filter_map(|(id, operation)| Some((operation.ended?, *id))).max();
        newest.map(|(_, id)| id)
    }

    /// Of the operations of `owner` that are undone, the one that was undone last, unless a new one has ended since.
    pub(super) fn last_undone(&self, owner: Origin) -> Option<OperationId> {
        let undone = self.of(owner).filter_map(|(id, operation)| Some((operation.undone?, *id)));
        let (turn, id) = undone.max()?;
        let ended_since = |operation: &Operation| operation.ended.is_some_and(|(ended, _)| ended > turn);
        (!self.of(owner).any(|(_, operation)| ended_since(operation))).then_some(id)
    }

    /// The operation is undone from `turn` on, or not any more.
    pub(super) fn change(&mut self, id: OperationId, undone: bool, turn: u64) {
        if let Some(operation) = self.known.get_mut(&id) {
            operation.undone = undone.then_some(turn);
            operation.changed = Some(turn);
            // Or else it could not have been.
            operation.whole = true;
        }
    }

    /// It begins with its event at `first`, of turn `reaches`: what there was of it before was forgotten when it was changed.
    pub(super) fn begin_anew(&mut self, id: OperationId, first: Place, reaches: u64, ended: Option<(u64, Place)>) {
        if let Some(operation) = self.known.get_mut(&id) {
            (operation.first, operation.reaches, operation.ended) = (first, reaches, ended);
            (operation.whole, operation.undone) = (true, None);
        }
    }

    /// In no order: what is found among them must not depend on it.
    fn of(&self, owner: Origin) -> impl Iterator<Item = (&OperationId, &Operation)> {
        self.known.iter().filter(move |(_, operation)| operation.owner == owner)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> (usize, usize) {
        (self.known.len(), self.left.len())
    }
}

/// True if it was one of them; it is not any more.
fn is_among(passed_over: &mut VecDeque<OperationId>, id: OperationId) -> bool {
    let count = passed_over.len();
    passed_over.retain(|other| *other != id);
    passed_over.len() < count
}

impl Operation {
    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_some()
    }
}

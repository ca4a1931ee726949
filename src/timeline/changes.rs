//! When operations were undone and redone, for a look at the past as it was.

use std::collections::{HashMap, VecDeque};

use crate::event::OperationId;
use crate::timeline::operations::Place;

/// How many undos and redos a look back goes past, at most.
pub(crate) const CHANGES_MAX: usize = 1 << 14;

pub(super) struct Changes {
    /// Oldest first.
    made: VecDeque<Made>,
    /// How things were before this turn is not known any more.
    known_from: u64,
    max: usize,
}

/// An operation was undone or redone.
pub(super) struct Made {
    pub(super) turn: u64,
    pub(super) operation: OperationId,
    /// The operation's first event.
    pub(super) first: Place,
    /// The turn since which it had been undone, for a redo.
    pub(super) undone_since: Option<u64>,
}

/// What was different after an older turn.
pub(super) struct Then {
    /// The first event of each operation that was changed later, and since when it had been undone, if it was.
    operations: HashMap<OperationId, (Place, Option<u64>), foldhash::fast::RandomState>,
    /// The first event of any of them.
    pub(super) first: Option<Place>,
}

impl Changes {
    pub(super) fn bounded(max: usize) -> Self {
        Self { made: VecDeque::new(), known_from: 0, max }
    }

    pub(super) fn keep(&mut self, made: Made) {
        self.made.push_back(made);
        if self.made.len() > self.max
            && let Some(oldest) = self.made.pop_front()
        {
            self.known_from = oldest.turn;
        }
    }

    /// How things were before `turn` does not matter any more.
    pub(super) fn forget_before(&mut self, turn: u64) {
        self.known_from = self.known_from.max(turn);
        while self.made.front().is_some_and(|made| made.turn <= self.known_from) {
            self.made.pop_front();
        }
    }

    /// The oldest turn after which it is known how things were, as far as changes go.
    pub(super) fn known_from(&self) -> u64 {
        self.known_from
    }

    /// What was different after `turn`, which is one that is known.
    pub(super) fn after(&self, turn: u64) -> Then {
        let mut then = Then { operations: HashMap::default(), first: None };
        let at = self.made.partition_point(|made| made.turn <= turn);
        for made in self.made.range(at..) {
            // The first change after the turn says how it was; later ones of the same operation follow from it.
            then.operations.entry(made.operation).or_insert((made.first, made.undone_since));
            then.first = Some(then.first.map_or(made.first, |first| first.min(made.first)));
        }
        then
    }
}

impl Then {
    pub(super) fn is_as_now(&self) -> bool {
        self.operations.is_empty()
    }

    /// Whether the event of `operation` at `at`, which came in turn `turn`, was undone then; `None` if it was as it is now.
    pub(super) fn was_undone(&self, operation: OperationId, at: Place, turn: u64) -> Option<bool> {
        let (_, undone_since) = self.operations.get(&operation).filter(|(first, _)| *first <= at)?;
        // What came after the undo was not part of it.
        Some(undone_since.is_some_and(|since| turn < since))
    }
}

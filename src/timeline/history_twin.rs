//! The slow, obviously right twin of a timeline: it keeps every event and every change, and makes each state from the very
//! first one. It takes the history's word for where the window begins, and for nothing else.

use crate::core::contain;
use crate::event::{self, OperationId, Phase};
use crate::main_lane::entry::{Entry, Fate};
use crate::main_lane::reduce::{Effects, Reducer};
use crate::origin::Origin;
use crate::timeline::ask::{Ask, Change, Rewind, RewindError, RewindKind, TimelineError};

/// Which rules the twin goes by: the right ones, or with one of them changed, to see that it is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    Right,
    /// The operation that began last is the newest.
    NewestByStart,
    /// What was undone first is redone first.
    RedoInOrder,
    /// A new operation leaves what can be redone as it is.
    RedoForever,
    /// Redo of one origin is cleared by whoever ends an operation.
    ClearedByAnyone,
    /// The past is shown with what is undone now.
    LookAsNow,
    /// An event that comes after its operation was undone is undone with it.
    LateIsUndone,
    /// An operation belongs to whoever said something of it last.
    LastSpeaks,
    /// A second end moves the operation to the front.
    LastEndCounts,
    /// Operations that have not ended can be undone.
    OpenToo,
    /// Where an operation was first seen is where it began.
    AlwaysWhole,
    /// What follows an undone operation goes with it.
    UndoAllSince,
    /// What is put back is put at the end.
    RedoAtTheEnd,
    /// Operations are remembered for ever.
    NeverForgets,
    /// An operation whose start was refused has none.
    StartsMustStand,
}

pub(super) struct Twin<S: Reducer> {
    rule: Rule,
    first: S,
    told: Vec<Told<S>>,
    lives: Vec<Life>,
    /// The turn of each undo and redo.
    changes: Vec<u64>,
    /// Lives whose newest event left the window, each time that it did.
    left: Vec<usize>,
    /// Operations that nothing was known of when their start was refused.
    passed_over: Vec<OperationId>,
    /// How many events are out of the window, and the turn of its beginning.
    gone: usize,
    began: u64,
    newest: u64,
    left_max: usize,
    changes_max: usize,
}

struct Told<S: Reducer> {
    turn: u64,
    entry: Entry<S::Event>,
    life: Option<usize>,
}

/// An operation, from when it is first seen to when it is forgotten.
struct Life {
    id: OperationId,
    forgotten: bool,
    whole: bool,
    /// Which events, where they came from, and which of them are ends.
    told: Vec<usize>,
    origins: Vec<Origin>,
    ends: Vec<usize>,
    changes: Vec<(u64, RewindKind)>,
}

impl<S: Reducer + std::fmt::Debug> Twin<S> {
    pub(super) fn new(rule: Rule, first: S, left_max: usize, changes_max: usize) -> Self {
        Self {
            rule,
            first,
            told: Vec::new(),
            lives: Vec::new(),
            changes: Vec::new(),
            left: Vec::new(),
            passed_over: Vec::new(),
            gone: 0,
            began: 0,
            newest: 0,
            left_max,
            changes_max,
        }
    }

    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    pub(super) fn count(&self) -> usize {
        self.told.len()
    }

    /// A turn is taken, with these events.
    pub(super) fn tell(&mut self, turn: u64, entries: impl Iterator<Item = (Entry<S::Event>, Fate)>) {
        self.newest = turn;
        for (entry, fate) in entries {
            let (operation, origin) = (entry.envelope().operation, entry.envelope().origin);
            if fate == Fate::Refused {
                let start = operation.filter(|operation| operation.phase == Phase::Started);
                if let Some(start) = start.filter(|start| self.known(start.id).is_none()) {
                    self.passed_over.push(start.id);
                    let too_many = self.passed_over.len().saturating_sub(self.left_max);
                    self.passed_over.drain(..too_many);
                }
                continue;
            }
            let life = operation.map(|operation| self.live(operation, entry.parts, origin));
            self.told.push(Told { turn, entry, life });
        }
    }

    fn live(&mut self, event: event::Operation, parts: u32, origin: Origin) -> usize {
        let life = self.known(event.id).unwrap_or_else(|| {
            let whole = event.phase == Phase::Started || event.sequence < u64::from(parts);
            let began_in_vain = self.passed_over.contains(&event.id) && self.rule != Rule::StartsMustStand;
            self.passed_over.retain(|other| *other != event.id);
            let whole = whole || began_in_vain || self.rule == Rule::AlwaysWhole;
            let (told, origins, ends, changes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
            self.lives.push(Life { id: event.id, forgotten: false, whole, told, origins, ends, changes });
            self.lives.len() - 1
        });
        let at = self.told.len();
        self.lives[life].told.push(at);
        self.lives[life].origins.push(origin);
        if event.phase == Phase::Terminal {
            self.lives[life].ends.push(at);
        }
        life
    }

    /// So many events are out of the window, which begins after turn `began`.
    pub(super) fn forget(&mut self, gone: usize, began: u64) {
        for at in self.gone..gone {
            let Some(life) = self.told[at].life else { continue };
            if self.lives[life].told.last() == Some(&at) {
                self.left.push(life);
            }
            let remembered = &self.left[self.left.len().saturating_sub(self.left_max)..];
            for (life, known) in self.lives.iter_mut().enumerate() {
                let has_left = known.told.last().is_some_and(|last| *last <= at);
                known.forgotten |= has_left && !remembered.contains(&life) && self.rule != Rule::NeverForgets;
            }
        }
        self.gone = gone;
        self.began = began;
    }

    pub(super) fn plan(&self, ask: Ask) -> Result<Change, RewindError> {
        let (kind, life) = match ask {
            Ask::Undo(origin) => (RewindKind::Undo, self.newest_ended(origin).map(Ok).unwrap_or(Err(origin))),
            Ask::Redo(origin) => (RewindKind::Redo, self.last_undone(origin).map(Ok).unwrap_or(Err(origin))),
            Ask::UndoOperation(operation) | Ask::RedoOperation(operation) => {
                let undo = ask == Ask::UndoOperation(operation);
                let kind = if undo { RewindKind::Undo } else { RewindKind::Redo };
                (kind, Ok(self.known(operation).ok_or(RewindError::Unknown { operation })?))
            }
        };
        let life = life.map_err(|origin| RewindError::Nothing { kind, origin })?;
        self.can(kind, life)?;
        let Life { id: operation, told, .. } = &self.lives[life];
        Ok(Change { kind, operation: *operation, reaches: self.told[told[0]].turn })
    }

    pub(super) fn rewind(&mut self, change: &Change, turn: u64) -> Result<(S, Rewind), RewindError> {
        let &Change { kind, operation, reaches } = change;
        let life = self.known(operation).ok_or(RewindError::Unknown { operation })?;
        self.can(kind, life)?;
        let is_undone = |twin: &Self, now| (0..twin.told.len()).map(|at| twin.is_undone(at, now)).collect::<Vec<_>>();
        let before = is_undone(self, self.newest);
        self.lives[life].changes.push((turn, kind));
        let present = match self.make(turn, turn) {
            Ok(present) => present,
            Err((kind, message)) => {
                self.lives[life].changes.pop();
                return Err(RewindError::Panicked { operation, kind, message });
            }
        };
        let after = is_undone(self, turn);
        let events = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        self.newest = turn;
        self.changes.push(turn);
        // How many are applied is the history's own affair.
        Ok((present, Rewind { kind, operation, turn, reaches, events, applied: 0 }))
    }

    pub(super) fn present(&self) -> S {
        self.make(self.newest, self.newest).expect("it was made before")
    }

    pub(super) fn oldest(&self) -> u64 {
        let is_beyond = |life: &&Life| life.told[0] < self.gone;
        let unknown = self.lives.iter().filter(is_beyond).flat_map(|life| &life.changes).map(|(turn, _)| *turn);
        let unkept = self.changes.iter().rev().skip(self.changes_max).copied();
        unknown.chain(unkept).max().unwrap_or(0).max(self.began)
    }

    pub(super) fn state_at(&self, turn: u64) -> Result<S, TimelineError> {
        if turn < self.oldest() {
            return Err(TimelineError::BeyondWindow { oldest: self.oldest() });
        }
        if turn > self.newest {
            return Err(TimelineError::NotYet { newest: self.newest });
        }
        let seen_from = if self.rule == Rule::LookAsNow { self.newest } else { turn };
        self.make(turn, seen_from).map_err(|(kind, message)| TimelineError::Panicked { kind, message })
    }

    /// The state with the events up to `turn`, but for those that were undone after turn `now`.
    fn make(&self, turn: u64, now: u64) -> Result<S, (&'static str, String)> {
        let told: Vec<_> = (0..self.told.len()).filter(|at| self.told[*at].turn <= turn).collect();
        let (mut standing, mut put_back) = (Vec::new(), Vec::new());
        for at in told.into_iter().filter(|at| !self.is_undone(*at, now)) {
            let was_redone = self.told[at].life.is_some_and(|life| self.last_change(life, at, now).is_some());
            let is_last = self.rule == Rule::RedoAtTheEnd && was_redone;
            if is_last { &mut put_back } else { &mut standing }.push(at);
        }
        standing.append(&mut put_back);
        let (mut state, mut effects) = (self.first.clone(), Effects::new());
        for at in standing {
            let envelope = self.told[at].entry.envelope();
            contain(|| state.apply(&envelope, &mut effects))
                .map_err(|message| (event::Event::kind(envelope.event), message))?;
        }
        Ok(state)
    }

    /// Whether event `at` was undone after turn `now`: by the last change of its operation since it came.
    fn is_undone(&self, at: usize, now: u64) -> bool {
        if self.rule == Rule::UndoAllSince {
            let is_since = |life: &usize| self.lives[*life].told[0] <= at;
            return (0..self.lives.len()).filter(is_since).any(|life| self.is_undone_with(life, at, now));
        }
        self.told[at].life.is_some_and(|life| self.is_undone_with(life, at, now))
    }

    fn is_undone_with(&self, life: usize, at: usize, now: u64) -> bool {
        self.last_change(life, at, now) == Some(RewindKind::Undo)
    }

    fn last_change(&self, life: usize, at: usize, now: u64) -> Option<RewindKind> {
        let since = if self.rule == Rule::LateIsUndone { 0 } else { self.told[at].turn };
        let changes = self.lives[life].changes.iter();
        changes.filter(|(turn, _)| since < *turn && *turn <= now).map(|(_, kind)| *kind).next_back()
    }

    fn can(&self, kind: RewindKind, life: usize) -> Result<(), RewindError> {
        let Life { id: operation, whole, ref told, ref ends, .. } = self.lives[life];
        if self.undone_since(life).is_some() == (kind == RewindKind::Undo) {
            return Err(RewindError::NotNow { kind, operation });
        }
        if told[0] < self.gone || !whole {
            return Err(RewindError::BeyondWindow { operation, oldest: self.began + 1 });
        }
        if ends.is_empty() && self.rule != Rule::OpenToo {
            return Err(RewindError::Open { operation });
        }
        Ok(())
    }

    fn known(&self, operation: OperationId) -> Option<usize> {
        self.lives.iter().position(|life| life.id == operation && !life.forgotten)
    }

    fn undone_since(&self, life: usize) -> Option<u64> {
        let last = self.lives[life].changes.last();
        last.filter(|(_, kind)| *kind == RewindKind::Undo).map(|(turn, _)| *turn)
    }

    fn of(&self, origin: Origin) -> impl Iterator<Item = usize> {
        let is_of = move |life: &Life| match self.rule {
            Rule::LastSpeaks => life.origins.last() == Some(&origin),
            _ => life.origins[0] == origin,
        };
        (0..self.lives.len()).filter(move |life| !self.lives[*life].forgotten && is_of(&self.lives[*life]))
    }

    fn end(&self, life: usize) -> Option<usize> {
        let Life { told, ends, .. } = &self.lives[life];
        match self.rule {
            Rule::NewestByStart if !ends.is_empty() => Some(told[0]),
            Rule::LastEndCounts => ends.last().copied(),
            _ => ends.first().copied(),
        }
    }

    fn newest_ended(&self, origin: Origin) -> Option<usize> {
        let standing = self.of(origin).filter(|life| self.undone_since(*life).is_none());
        standing.filter(|life| self.end(*life).is_some()).max_by_key(|life| self.end(*life))
    }

    fn last_undone(&self, origin: Origin) -> Option<usize> {
        let has_ended_since = |life: usize, turn| self.end(life).is_some_and(|at| self.told[at].turn > turn);
        let is_cleared = |turn| match self.rule {
            Rule::RedoForever => false,
            Rule::ClearedByAnyone => (0..self.lives.len()).any(|life| has_ended_since(life, turn)),
            _ => self.of(origin).any(|life| has_ended_since(life, turn)),
        };
        let undone = self.of(origin).filter(|life| self.undone_since(*life).is_some_and(|turn| !is_cleared(turn)));
        match self.rule {
            Rule::RedoInOrder => undone.min_by_key(|life| self.undone_since(*life)),
            _ => undone.max_by_key(|life| self.undone_since(*life)),
        }
    }
}

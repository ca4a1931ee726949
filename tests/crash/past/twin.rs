//! The slow, obviously right twin: what the records of a journal come to, made from the first of them, and by the rules
//! that are written in the documentation of [`Timeline`](mainlane::Timeline).

use std::collections::{BTreeMap, BTreeSet};

use mainlane::journal::store::{Quarantined, Record, RecordKind};
use mainlane::journal::{decode, decode_operation, heads};
use mainlane::{Operation, OperationId, Origin, Phase, RewindKind};

use super::host::{Does, Log, Step, mix};

/// An event that was applied.
struct Told {
    turn: u64,
    step: Step,
    /// What it adds to [`Log::seen`].
    place: u64,
    undone: bool,
}

pub(super) struct Op {
    pub(super) owner: Origin,
    /// Others had a part in it.
    pub(super) mixed: bool,
    /// Of its events, the first: its turn, and its place among all that were applied.
    pub(super) first: (u64, usize),
    /// The turn of the newest.
    pub(super) newest: u64,
    /// The first is where it began.
    pub(super) whole: bool,
    /// The first turn in which something of it was refused, if that was before there was anything of it.
    pub(super) in_vain: Option<u64>,
    /// Its first end.
    pub(super) ended: Option<(u64, usize)>,
    pub(super) undone: Option<u64>,
    /// The turn of its newest change.
    pub(super) changed: Option<u64>,
}

/// What a change would come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) state: Log,
    pub(super) events: usize,
}

#[derive(Default)]
pub(super) struct Twin {
    told: Vec<Told>,
    pub(super) ops: BTreeMap<u64, Op>,
    sealed: BTreeSet<u64>,
    /// Operations of which something was refused before anything of them was applied: the turn of the first, and whether a
    /// start was among it.
    in_vain: BTreeMap<u64, (u64, bool)>,
    /// After each turn.
    pub(super) states: Vec<Log>,
    /// The turn in which an event had its place, and the place, by its number; also of those that were refused.
    pub(super) placed: BTreeMap<u32, (u64, u32)>,
    /// The turn, number and place of every effect that was asked for, in order.
    pub(super) asked: Vec<(u64, u32)>,
    /// Events and changes that came to nothing because the reducer panicked: turn and index.
    pub(super) poisoned: Vec<(u64, u32)>,
    /// The changes that there were.
    pub(super) changes: BTreeMap<u64, (RewindKind, OperationId)>,
    pub(super) largest: usize,
    /// What there was to be met.
    pub(super) met: BTreeSet<&'static str>,
}

impl Twin {
    pub(super) fn new() -> Self {
        Self { states: vec![Log::default()], ..Self::default() }
    }

    pub(super) fn turn(&self) -> u64 {
        self.states.len() as u64 - 1
    }

    pub(super) fn count(&self) -> usize {
        self.told.len()
    }

    /// How many events were applied after turn `turn`.
    pub(super) fn count_after(&self, turn: u64) -> usize {
        self.told.len() - self.told.partition_point(|told| told.turn <= turn)
    }

    pub(super) fn state(&self) -> &Log {
        self.states.last().expect("the first")
    }

    /// Takes in the next turn.
    ///
    /// # Errors
    /// When it is not what a journal may have there.
    pub(super) fn take(&mut self, record: &Record) -> Result<(), String> {
        let turn = self.turn() + 1;
        if record.turn != turn {
            return Err(format!("turn {} is written where turn {turn} belongs", record.turn));
        }
        if record.kind == RecordKind::Batch {
            return self.batch(record);
        }
        let kind = if record.kind == RecordKind::Undo { RewindKind::Undo } else { RewindKind::Redo };
        let id = decode_operation(&record.payload).map_err(|error| error.to_string())?;
        let context = || format!("turn {turn} is the {kind} of operation {}", id.0);
        let op = self.ops.get(&id.0).ok_or_else(|| format!("{}, of which there is nothing", context()))?;
        if op.first.0 != record.reaches {
            return Err(format!("{}, which began in turn {} and not {}", context(), op.first.0, record.reaches));
        }
        if op.ended.is_none() || op.undone.is_some() == (kind == RewindKind::Undo) {
            return Err(format!("{}, which ended {:?} and was undone {:?}", context(), op.ended, op.undone));
        }
        self.changes.insert(turn, (kind, id));
        match self.outcome(kind, id) {
            Some(Outcome { state, .. }) => {
                let undone = kind == RewindKind::Undo;
                let part_of = |told: &&mut Told| told.step.part.is_some_and(|part| part.id == id);
                self.told.iter_mut().filter(part_of).for_each(|told| told.undone = undone);
                let op = self.ops.get_mut(&id.0).expect("it was there");
                (op.undone, op.changed) = (undone.then_some(turn), Some(turn));
                self.states.push(state);
            }
            None => {
                self.poisoned.push((turn, 0));
                self.states.push(self.state().clone());
            }
        }
        Ok(())
    }

    /// The state after a change of operation `id`, and how many events it moves. `None` when the reducer panics.
    pub(super) fn outcome(&self, kind: RewindKind, id: OperationId) -> Option<Outcome> {
        let (mut state, mut events) = (Log::default(), 0);
        for told in &self.told {
            let is_part = told.step.part.is_some_and(|part| part.id == id);
            let undone = if is_part { kind == RewindKind::Undo } else { told.undone };
            events += usize::from(undone != told.undone);
            if !undone {
                if panics(&told.step, &state) {
                    return None;
                }
                write(&mut state, told);
            }
        }
        Some(Outcome { state, events })
    }

    fn batch(&mut self, record: &Record) -> Result<(), String> {
        let (turn, mut state) = (record.turn, self.state().clone());
        let mut applied = 0;
        for (index, head) in (0_u32..).zip(heads(&record.payload, record.events)) {
            let head = head.map_err(|error| error.to_string())?;
            let ((), step) = decode::<((), Step)>(head.body)?;
            if self.placed.insert(step.number, (turn, index + 1)).is_some() {
                return Err(format!("event {} is there twice, once in turn {turn}", step.number));
            }
            let place = head.stamp.as_u64() ^ head.sequence.as_u64().rotate_left(32);
            let place = place ^ u64::from(head.parts).rotate_left(50);
            let told = Told { turn, step, place, undone: false };
            if self.is_refused(&told.step, &state, (turn, index)) {
                if let Some(part) = told.step.part.filter(|part| !self.ops.contains_key(&part.id.0)) {
                    self.pass_over(part, told.step.does, turn);
                }
                continue;
            }
            write(&mut state, &told);
            if told.step.does == Does::Ask {
                self.asked.push((turn, told.step.number));
            }
            if let Some(part) = told.step.part {
                self.keep(part, head.parts, head.lane_origin, turn);
            }
            self.told.push(told);
            applied += 1;
        }
        self.largest = self.largest.max(applied);
        self.states.push(state);
        Ok(())
    }

    fn is_refused(&mut self, step: &Step, state: &Log, place: (u64, u32)) -> bool {
        let is_sealed = |part: Operation| part.phase == Phase::Progress && self.sealed.contains(&part.id.0);
        if step.does == Does::Foreign || step.part.is_some_and(is_sealed) || step.does == Does::Stray {
            return true;
        }
        let panics = panics(step, state);
        if panics {
            self.poisoned.push(place);
        }
        panics
    }

    /// Of an operation of which there is nothing yet.
    fn pass_over(&mut self, part: Operation, does: Does, turn: u64) {
        let is_start = part.phase == Phase::Started;
        // What is another's is not known to be a part of anything; only of a start there is a note.
        if is_start || does != Does::Foreign {
            let (_, began) = self.in_vain.entry(part.id.0).or_insert((turn, false));
            *began |= is_start;
            if is_start {
                self.met.insert("a start was refused");
            }
        }
    }

    fn keep(&mut self, part: Operation, parts: u32, origin: Origin, turn: u64) {
        let Operation { id, sequence, phase } = part;
        let place = self.told.len();
        let in_vain = self.in_vain.get(&id.0);
        let began_in_vain = in_vain.is_some_and(|(_, began)| *began);
        let began = phase == Phase::Started || sequence < u64::from(parts) || began_in_vain;
        if phase == Phase::Started && self.ops.contains_key(&id.0) {
            let again = if self.sealed.contains(&id.0) { "a start after the end" } else { "a second start" };
            self.met.insert(again);
        }
        if phase == Phase::Started && in_vain.is_some() && !began_in_vain {
            self.met.insert("a start after something was refused");
        }
        let op = self.ops.entry(id.0).or_insert(Op {
            owner: origin,
            mixed: false,
            first: (turn, place),
            newest: turn,
            whole: began,
            in_vain: in_vain.map(|(turn, _)| *turn),
            ended: None,
            undone: None,
            changed: None,
        });
        op.mixed |= op.owner != origin;
        op.newest = turn;
        if phase == Phase::Terminal {
            op.ended.get_or_insert((turn, place));
            self.sealed.insert(id.0);
        }
    }
}

fn panics(step: &Step, state: &Log) -> bool {
    match step.does {
        Does::Thorn => true,
        Does::Need(other) => !state.told.contains(&other),
        Does::Shun(other) => state.told.contains(&other),
        Does::Write | Does::Ask | Does::Stray | Does::Foreign => false,
    }
}

fn write(state: &mut Log, told: &Told) {
    state.told.push(told.step.number);
    state.seen = mix(state.seen, told.place);
}

/// The turn, and the place in it.
type Place = (u64, u32);

/// What of `poisoned` is not written down as set aside, and what is that should not be.
pub(super) fn unmarked(poisoned: &[Place], marks: &[Quarantined]) -> (Vec<Place>, Vec<Place>) {
    let marks: BTreeSet<_> = marks.iter().map(|mark| (mark.turn, mark.index)).collect();
    let poisoned: BTreeSet<_> = poisoned.iter().copied().collect();
    (poisoned.difference(&marks).copied().collect(), marks.difference(&poisoned).copied().collect())
}

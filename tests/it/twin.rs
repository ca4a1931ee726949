//! A slow, obviously right twin of the whole pipeline: one list, one thread, no tricks. Random scenarios run through both
//! must come out the same: every event in the same order with the same parts, every count equal.
//!
//! A scenario that fails is printed, shrunk, and kept by proptest to be run again. The package `fuzz` makes scenarios too.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use mainlane::{Budget, Builder, Handle, Lane, MainLane, Operation, Overflow, Phase, Pipeline, Timeline};

use crate::domain::{Ledger, Note};

const CAPACITY: usize = 4;
const KEYS: usize = 3;

/// One thing that happens.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Open { clocked: bool, rank: u16 },
    Close { lane: usize },
    Push { lane: usize, note: Note },
    Batch { lane: usize, notes: Vec<Note> },
    Turn { events: usize },
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Counts {
    pushed: u64,
    applied: u64,
    replaced: u64,
    merged: u64,
    shed: u64,
    refused: u64,
    returned: u64,
}

/// What a note is to the twin, written down independently of its `class`.
enum Kind {
    Critical,
    Lossy { key: u32, tier: u8 },
}

fn kind(note: &Note) -> Kind {
    match note {
        Note::Item(_) | Note::Ask(_) | Note::Foreign | Note::Stray | Note::Poison | Note::Unclassifiable => {
            Kind::Critical
        }
        Note::Step(Operation { phase: Phase::Terminal, .. }) => Kind::Critical,
        Note::Step(operation) => Kind::Lossy { key: operation.id.0 as u32, tier: 2 },
        Note::Level { key, .. } | Note::Sum { key, .. } => Kind::Lossy { key: *key, tier: 2 },
        Note::Tiered { key, tier } => Kind::Lossy { key: *key, tier: *tier },
    }
}

#[derive(Clone, Debug)]
struct Waiting {
    stamp: u64,
    order: u64,
    lane: usize,
    rank: u16,
    critical: bool,
    parts: u32,
    note: Note,
}

struct TwinLane {
    clocked: bool,
    rank: u16,
    open: bool,
    /// Critical events that still take a slot: waiting, or in the cut and not applied.
    slots: usize,
    waiting: Vec<Waiting>,
    /// Unclocked only: what was taken and is not applied.
    hand: VecDeque<Waiting>,
    /// Unread keys with their tiers, the one that has been unread longest first.
    unread: Vec<(u32, u8)>,
}

#[derive(Default)]
struct Twin {
    lanes: Vec<TwinLane>,
    clock: u64,
    /// Stamps that were taken for the critical events of a batch that is being pushed: the next one, and how many are left.
    stamps: (u64, usize),
    order: u64,
    cut: VecDeque<Waiting>,
    cut_first: bool,
    unclocked_first: Option<usize>,
    sealed: BTreeSet<u64>,
    seen: Vec<(usize, u32, Note)>,
    counts: Counts,
}

impl Twin {
    /// How many of them are accepted.
    fn push_all(&mut self, lane: usize, notes: &[Note]) -> usize {
        let accepted = (0..notes.len()).find(|at| !self.push(lane, notes[*at].clone(), notes.len() - at));
        self.stamps = (0, 0);
        accepted.unwrap_or(notes.len())
    }

    /// One of `left` notes of a batch. The first critical one that finds room takes stamps for all that are left and have room; what
    /// is lossy among those has the stamp of its neighbours.
    fn push(&mut self, lane: usize, note: Note, left: usize) -> bool {
        self.order += 1;
        let order = self.order;
        let target = &mut self.lanes[lane];
        if let Kind::Critical = kind(&note)
            && target.clocked
            && self.stamps.1 == 0
        {
            self.stamps = (self.clock, left.min(CAPACITY - target.slots));
            self.clock += self.stamps.1 as u64;
        }
        let clock = if self.stamps.1 > 0 { self.stamps.0 } else { self.clock };
        let (clocked, rank) = (target.clocked, target.rank);
        let waiting = |stamp, critical| Waiting {
            stamp: if clocked { stamp } else { 0 },
            order,
            lane,
            rank,
            critical,
            parts: 1,
            note: note.clone(),
        };
        match kind(&note) {
            Kind::Critical if target.slots == CAPACITY => {
                self.counts.returned += 1;
                return false;
            }
            Kind::Critical => {
                target.waiting.push(waiting(2 * clock + 1, true));
                target.slots += 1;
                if clocked {
                    self.stamps = (clock + 1, self.stamps.1 - 1);
                }
            }
            Kind::Lossy { key, tier } => {
                let mut newer = waiting(2 * clock, false);
                let same =
                    |waiting: &Waiting| matches!(kind(&waiting.note), Kind::Lossy { key: other, .. } if other == key);
                if let Some(at) = target.waiting.iter().position(|waiting| !waiting.critical && same(waiting)) {
                    let older = target.waiting.remove(at);
                    newer.parts += older.parts;
                    match (&older.note, &mut newer.note) {
                        (Note::Sum { value: old, .. }, Note::Sum { value, .. }) => {
                            *value += old;
                            self.counts.merged += 1;
                        }
                        _ => self.counts.replaced += 1,
                    }
                    // It keeps its place among those to be shed, unless its tier is another.
                    target.unread.retain(|(other, before)| *other != key || *before == tier);
                } else if target.unread.len() == KEYS {
                    let lowest = target.unread.iter().map(|(_, tier)| *tier).min().unwrap();
                    self.counts.shed += 1;
                    if lowest > tier {
                        self.counts.pushed += 1;
                        return true;
                    }
                    let at = target.unread.iter().position(|(_, tier)| *tier == lowest).unwrap();
                    let (victim, _) = target.unread.remove(at);
                    let is_victim = |waiting: &Waiting| {
                        !waiting.critical && matches!(kind(&waiting.note), Kind::Lossy { key, .. } if key == victim)
                    };
                    target.waiting.retain(|waiting| !is_victim(waiting));
                }
                if !target.unread.contains(&(key, tier)) {
                    target.unread.push((key, tier));
                }
                target.waiting.push(newer);
            }
        }
        self.counts.pushed += 1;
        true
    }

    fn turn(&mut self, mut budget: usize) {
        if self.cut.is_empty() && self.lanes.iter().any(|lane| lane.clocked && !lane.waiting.is_empty()) {
            self.clock += 1;
            let mut cut = Vec::new();
            for lane in self.lanes.iter_mut().filter(|lane| lane.clocked) {
                cut.append(&mut lane.waiting);
                lane.unread.clear();
            }
            cut.sort_by_key(|waiting| (waiting.stamp, waiting.rank, waiting.lane, waiting.order));
            self.cut = cut.into();
        }
        for lane in self.lanes.iter_mut().filter(|lane| !lane.clocked && lane.hand.is_empty()) {
            lane.waiting.sort_by_key(|waiting| waiting.order);
            lane.hand = std::mem::take(&mut lane.waiting).into();
            lane.unread.clear();
        }
        if std::mem::take(&mut self.cut_first) {
            self.apply_cut(&mut budget);
            if self.cut.is_empty() {
                self.apply_unclocked(&mut budget);
            }
            return;
        }
        let waiting = !self.cut.is_empty();
        self.apply_unclocked(&mut budget);
        let applied = self.apply_cut(&mut budget);
        self.cut_first = waiting && applied == 0 && !self.cut.is_empty();
    }

    fn apply_unclocked(&mut self, budget: &mut usize) {
        let mut order: Vec<_> = (0..self.lanes.len()).filter(|lane| !self.lanes[*lane].clocked).collect();
        order.sort_by_key(|lane| (self.lanes[*lane].rank, *lane));
        // The one that had nothing of the last turn goes first.
        let first = self.unclocked_first.take();
        let at = order.iter().position(|lane| Some(*lane) == first);
        order.rotate_left(at.unwrap_or(0));
        for lane in order {
            let mut applied = 0;
            while *budget > 0 {
                let Some(waiting) = self.lanes[lane].hand.pop_front() else { break };
                (*budget, applied) = (*budget - 1, applied + 1);
                self.apply(waiting);
            }
            if !self.lanes[lane].hand.is_empty() {
                self.unclocked_first = (applied == 0).then_some(lane);
                return;
            }
        }
    }

    fn apply_cut(&mut self, budget: &mut usize) -> usize {
        let mut applied = 0;
        while *budget > 0 {
            let Some(waiting) = self.cut.pop_front() else { break };
            *budget -= 1;
            applied += 1;
            self.apply(waiting);
        }
        applied
    }

    fn apply(&mut self, waiting: Waiting) {
        if waiting.critical {
            self.lanes[waiting.lane].slots -= 1;
        }
        let refused = match &waiting.note {
            Note::Foreign | Note::Stray => true,
            Note::Step(operation) => {
                let sealed = self.sealed.contains(&operation.id.0);
                if operation.phase == Phase::Terminal {
                    self.sealed.insert(operation.id.0);
                }
                sealed && operation.phase == Phase::Progress
            }
            _ => false,
        };
        if refused {
            self.counts.refused += 1;
        } else {
            self.counts.applied += 1;
            self.seen.push((waiting.lane, waiting.parts, waiting.note));
        }
    }
}

/// The real thing, with its lanes.
struct Real {
    main_lane: MainLane<Ledger>,
    handle: Handle<Ledger>,
    lanes: Vec<Option<Lane<Note>>>,
}

/// Runs a scenario through both.
pub(crate) fn run(steps: &[Step]) {
    compare(Pipeline::builder(Ledger::default()), steps);
}

/// As [`run`], with a pipeline that takes events out of their lanes before it applies them.
#[allow(dead_code, reason = "not every package that has this file makes scenarios of both kinds")]
pub(crate) fn run_kept(steps: &[Step]) {
    compare(Pipeline::builder(Ledger::default()).timeline(Timeline::window(20).checkpoint_every(7)), steps);
}

fn compare(builder: Builder<Ledger>, steps: &[Step]) {
    let (main_lane, handle) = builder.build().unwrap();
    let mut real = Real { main_lane, handle, lanes: Vec::new() };
    let mut twin = Twin::default();
    open(&mut real, &mut twin, true, 1);
    open(&mut real, &mut twin, false, 1);
    for step in steps {
        take(&mut real, &mut twin, step);
    }
    // Two turns beyond the last event: whatever waits is taken by then.
    while !twin.cut.is_empty() || twin.lanes.iter().any(|lane| !lane.waiting.is_empty() || !lane.hand.is_empty()) {
        take(&mut real, &mut twin, &Step::Turn { events: usize::MAX });
    }
    let seen: Vec<_> = real
        .main_lane
        .state()
        .seen
        .iter()
        .map(|seen| (seen.lane.number() as usize, seen.parts, seen.note.clone()))
        .collect();
    assert_eq!(seen, twin.seen, "the order of application");
    let events = real.handle.counters().events;
    assert!(events.balanced() && events.in_flight == 0, "{events:?}");
    let counts = Counts {
        pushed: events.pushed,
        applied: events.applied,
        replaced: events.replaced,
        merged: events.merged,
        shed: events.shed,
        refused: events.refused,
        returned: events.returned,
    };
    assert_eq!(counts, twin.counts);
    gapless(&real);
}

/// Critical events of each lane are numbered without gaps, but for those that were refused.
fn gapless(real: &Real) {
    let mut last = BTreeMap::new();
    for seen in &real.main_lane.state().seen {
        if let Kind::Critical = kind(&seen.note) {
            let before = last.insert(seen.lane, seen.sequence);
            assert!(before.is_none_or(|before| before < seen.sequence), "sequences rise");
        }
    }
}

fn open(real: &mut Real, twin: &mut Twin, clocked: bool, rank: u16) {
    let lane = real.handle.lane(format!("{}", real.lanes.len())).rank(rank).capacity(CAPACITY).keys(KEYS);
    let lane = lane.overflow(Overflow::Return);
    let lane = if clocked { lane } else { lane.unclocked() }.open().unwrap();
    assert_eq!(lane.id().number() as usize, real.lanes.len());
    real.lanes.push(Some(lane));
    let (waiting, hand, unread) = (Vec::new(), VecDeque::new(), Vec::new());
    twin.lanes.push(TwinLane { clocked, rank, open: true, slots: 0, waiting, hand, unread });
}

fn take(real: &mut Real, twin: &mut Twin, step: &Step) {
    match step {
        Step::Open { clocked, rank } => open(real, twin, *clocked, *rank),
        Step::Close { lane } => {
            let lane = lane % real.lanes.len();
            real.lanes[lane] = None;
            twin.lanes[lane].open = false;
        }
        Step::Push { lane, note } => {
            let lane = lane % real.lanes.len();
            if let Some(pushing) = &mut real.lanes[lane] {
                let accepted = pushing.push(note.clone()).is_ok();
                assert_eq!(usize::from(accepted), twin.push_all(lane, std::slice::from_ref(note)), "{note:?}");
            }
        }
        Step::Batch { lane, notes } => {
            let lane = lane % real.lanes.len();
            if let Some(pushing) = &mut real.lanes[lane] {
                let left = match pushing.push_batch(notes.clone()) {
                    Ok(accepted) => {
                        assert_eq!(accepted, notes.len());
                        Vec::new()
                    }
                    Err(refused) => refused.into_inner().collect(),
                };
                let accepted = twin.push_all(lane, notes);
                assert_eq!(left, notes[accepted..], "what comes back");
            }
        }
        Step::Turn { events } => {
            real.main_lane.turn(Budget::events(*events)).unwrap();
            twin.turn(*events);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainlane::OperationId;
    use proptest::prelude::*;

    fn note() -> impl Strategy<Value = Note> {
        let operation = (0u64..3, 0u64..4, 0u8..6).prop_map(|(id, sequence, phase)| {
            let phase = match phase {
                0 => Phase::Terminal,
                1 => Phase::Started,
                _ => Phase::Progress,
            };
            Note::Step(Operation { id: OperationId(id), sequence, phase })
        });
        prop_oneof![
            6 => (0u64..1000).prop_map(Note::Item),
            4 => (0u32..5, 0u64..1000).prop_map(|(key, value)| Note::Level { key: 100 + key, value }),
            4 => (0u32..2, 1u64..10).prop_map(|(key, value)| Note::Sum { key: 200 + key, value }),
            3 => (0u32..4, 0u8..4).prop_map(|(key, tier)| Note::Tiered { key: 300 + key, tier }),
            3 => operation,
            1 => Just(Note::Foreign),
            1 => Just(Note::Stray),
        ]
    }

    fn step() -> impl Strategy<Value = Step> {
        let lane = 0usize..5;
        prop_oneof![
            1 => (any::<bool>(), 0u16..3).prop_map(|(clocked, rank)| Step::Open { clocked, rank }),
            1 => lane.clone().prop_map(|lane| Step::Close { lane }),
            12 => (lane.clone(), note()).prop_map(|(lane, note)| Step::Push { lane, note }),
            4 => (lane, proptest::collection::vec(note(), 0..8)).prop_map(|(lane, notes)| Step::Batch { lane, notes }),
            5 => prop_oneof![Just(usize::MAX), 0usize..6].prop_map(|events| Step::Turn { events }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn the_pipeline_does_what_its_slow_twin_does(steps in proptest::collection::vec(step(), 0..80)) {
            run(&steps);
        }

        #[test]
        fn so_does_one_that_keeps_a_timeline(steps in proptest::collection::vec(step(), 0..80)) {
            run_kept(&steps);
        }
    }
}

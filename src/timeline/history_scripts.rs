//! Scripts of what may happen to a pipeline, let happen to a history and to its slow twin.

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::core::contain;
use crate::event::{Operation, OperationId, Phase};
use crate::main_lane::entry::{Entry, Fate};
use crate::main_lane::reduce::{Effects, Reducer};
use crate::timeline::Timeline;
use crate::timeline::ask::{Ask, Rewind};
use crate::timeline::history::History;
use crate::timeline::history_tests::{Does, Log, Step, entry, pane};
use crate::timeline::history_twin::{Rule, Twin};

/// One thing that happens to a pipeline.
#[derive(Clone, Debug)]
enum Happening {
    Batch { drafts: Vec<Draft>, mark: bool },
    Undo(u64),
    Redo(u64),
    UndoOperation(Index),
    RedoOperation(Index),
    Hold(Option<Index>),
}

/// An event before it is known which operation it belongs to, and what it leans on.
#[derive(Clone, Debug)]
struct Draft {
    does: u8,
    leans_on: Index,
    part: Part,
    /// Which of a few operations that are under way at once; mostly of the pane of the same number.
    slot: usize,
    elsewhere: bool,
    parts: u32,
}

#[derive(Clone, Copy, Debug)]
enum Part {
    None,
    /// The next event of the operation: its first, if there is none under way.
    Next,
    /// The same, and the last.
    End,
    /// Of the operation that ended last: one more start, or end.
    Again(Phase),
}

fn draft() -> impl Strategy<Value = Draft> {
    let part = prop_oneof![
        3 => Just(Part::None),
        3 => Just(Part::Next),
        4 => Just(Part::End),
        1 => Just(Part::Again(Phase::Started)),
        1 => Just(Part::Again(Phase::Terminal)),
    ];
    (0_u8..32, any::<Index>(), part, 0_usize..5, prop::bool::weighted(0.1), 1_u32..3).prop_map(
        |(does, leans_on, part, slot, elsewhere, parts)| Draft { does, leans_on, part, slot, elsewhere, parts },
    )
}

fn happening() -> impl Strategy<Value = Happening> {
    let batch = (prop::collection::vec(draft(), 0..6), prop::bool::weighted(0.1));
    prop_oneof![
        40 => batch.prop_map(|(drafts, mark)| Happening::Batch { drafts, mark }),
        1 => prop::collection::vec(draft(), 20..40).prop_map(|drafts| Happening::Batch { drafts, mark: false }),
        12 => (0_u64..3).prop_map(Happening::Undo),
        12 => (0_u64..3).prop_map(Happening::Redo),
        6 => any::<Index>().prop_map(Happening::UndoOperation),
        6 => any::<Index>().prop_map(Happening::RedoOperation),
        1 => prop::option::of(any::<Index>()).prop_map(Happening::Hold),
    ]
}

#[derive(Clone, Debug)]
struct Script {
    window: usize,
    checkpoint_every: usize,
    left_max: usize,
    changes_max: usize,
    happenings: Vec<Happening>,
}

fn script() -> impl Strategy<Value = Script> {
    (1_usize..40, 1_usize..12, 0_usize..8, 1_usize..12, prop::collection::vec(happening(), 1..80)).prop_map(
        |(window, checkpoint_every, left_max, changes_max, happenings)| Script {
            window,
            checkpoint_every,
            left_max,
            changes_max,
            happenings,
        },
    )
}

/// Gives events their numbers and operations.
#[derive(Default)]
struct Author {
    numbers: u32,
    operations: u64,
    slots: [Slot; 5],
}

#[derive(Default)]
struct Slot {
    /// The operation, and its next sequence.
    under_way: Option<(u64, u64)>,
    ended: Option<u64>,
}

impl Author {
    fn write(&mut self, draft: &Draft) -> Entry<Step> {
        let number = self.numbers;
        self.numbers += 1;
        let other = draft.leans_on.index(number as usize + 1) as u32;
        let does = match draft.does {
            0 => Does::Need(other),
            1 => Does::Shun(other),
            2 => Does::Even,
            _ => Does::Write,
        };
        let origin = draft.elsewhere.then(|| pane(2));
        let operation = self.operation(draft);
        entry(Step { number, does, operation, origin }, pane(draft.slot as u64 % 3), draft.parts)
    }

    fn operation(&mut self, draft: &Draft) -> Option<Operation> {
        let Slot { under_way, ended } = &mut self.slots[draft.slot];
        let (id, sequence, phase) = match draft.part {
            Part::None => return None,
            Part::Again(phase) => ((*ended)?, 9, phase),
            Part::Next | Part::End => {
                // Some are first seen in their middle.
                let skipped = u64::from(self.operations.is_multiple_of(7));
                let (id, sequence) = under_way.take().unwrap_or_else(|| {
                    self.operations += 1;
                    (self.operations, u64::from(draft.parts) - 1 + skipped)
                });
                let is_end = matches!(draft.part, Part::End);
                let phase = match (is_end, sequence) {
                    (true, _) => Phase::Terminal,
                    (false, 0) => Phase::Started,
                    (false, _) => Phase::Progress,
                };
                if is_end {
                    *ended = Some(id);
                }
                *under_way = (!is_end).then_some((id, sequence + u64::from(draft.parts)));
                (id, sequence, phase)
            }
        };
        Some(Operation { id: OperationId(id), sequence, phase })
    }

    /// One of those that there were, or are to come.
    fn some_operation(&self, which: &Index) -> OperationId {
        OperationId(which.index(self.operations as usize + 2) as u64)
    }
}

/// Lets a script happen to a history and to its twin; what they do not agree on.
fn disagreement(script: &Script, rule: Rule) -> Result<(), String> {
    let config = Timeline::window(script.window).checkpoint_every(script.checkpoint_every);
    let mut history = History::bounded(config, 0, &Log::default(), script.left_max, script.changes_max);
    let mut twin = Twin::new(rule, Log::default(), script.left_max, script.changes_max);
    let mut author = Author::default();
    let (mut state, mut batch, mut largest, mut held_from) = (Log::default(), Vec::new(), 0, None);
    for (at, happening) in script.happenings.iter().enumerate() {
        let turn = twin.newest() + 1;
        let ask = match happening {
            Happening::Batch { drafts, mark } => {
                let mut told = Vec::new();
                for draft in drafts {
                    let written = author.write(draft);
                    let copy = || entry(written.event, written.lane_origin, written.parts);
                    let (before, mut effects) = (state.clone(), Effects::new());
                    let outcome = contain(|| state.apply(&written.envelope(), &mut effects));
                    let fate = match outcome {
                        Ok(()) if effects.misrouted_to.is_none() => Fate::Applied,
                        Ok(()) => Fate::Refused,
                        Err(_) => {
                            state = before;
                            Fate::Refused
                        }
                    };
                    told.push((copy(), fate));
                    batch.push((copy(), fate));
                }
                largest = largest.max(told.iter().filter(|(_, fate)| *fate == Fate::Applied).count());
                twin.tell(turn, told.into_iter());
                history.keep(turn, &mut batch, &state, *mark).map_err(|unkept| format!("{at}: {unkept:?}"))?;
                same(at, "left in the batch", &batch.len(), &0)?;
                same(at, "too few checkpoints", &(history.since_checkpoint() > 0 && *mark), &false)?;
                None
            }
            Happening::Undo(id) => Some(Ask::Undo(pane(*id))),
            Happening::Redo(id) => Some(Ask::Redo(pane(*id))),
            Happening::UndoOperation(id) => Some(Ask::UndoOperation(author.some_operation(id))),
            Happening::RedoOperation(id) => Some(Ask::RedoOperation(author.some_operation(id))),
            Happening::Hold(from) => {
                let from = from.map(|from| from.index(turn as usize) as u64 + 1);
                // No older ones than there are.
                held_from = from.map(|from| from.max(history.reach().1 + 1));
                history.hold_from(from);
                None
            }
        };
        if let Some(ask) = ask {
            let (planned, expected) = (history.plan(ask), twin.plan(ask));
            same(at, "planned", &planned, &expected)?;
            if let Ok(change) = planned {
                let outcome = history.rewind(&change, turn);
                let outcome = outcome.map(|(state, rewind)| (state, Rewind { applied: 0, ..rewind }));
                same(at, "rewound", &outcome, &twin.rewind(&change, turn))?;
                if let Ok((present, _)) = outcome {
                    state = present;
                }
            }
        }
        let (gone, began) = history.reach();
        twin.forget(gone as usize, began);
        let kept = history.kept_count();
        let bound = script.window + script.checkpoint_every + largest;
        same(at, "kept", &kept, &(twin.count() - gone as usize))?;
        same(at, "window too small", &(kept < script.window.min(twin.count())), &false)?;
        same(at, "too many events", &(kept >= bound && held_from.is_none()), &false)?;
        let checkpoints_max = 2 * kept / script.checkpoint_every + 2;
        same(at, "too many checkpoints", &(history.checkpoint_count() > checkpoints_max), &false)?;
        same(at, "dropped what is held", &held_from.is_some_and(|from| began >= from), &false)?;
        same(at, "newest turn", &history.newest_turn(), &twin.newest())?;
        same(at, "oldest turn", &history.oldest_turn(), &twin.oldest())?;
        same(at, "present", &history.newest_state(), &Ok(twin.present()))?;
        same(at, "state", &state, &twin.present())?;
        for turn in [0, history.oldest_turn(), turn / 2, turn.saturating_sub(3), turn - 1, turn, turn + 1] {
            same(at, "looked at", &history.state_at(turn), &twin.state_at(turn))?;
        }
    }
    for turn in 0..=twin.newest() {
        same(script.happenings.len(), "looked at in the end", &history.state_at(turn), &twin.state_at(turn))?;
    }
    Ok(())
}

fn same<T: PartialEq + std::fmt::Debug>(at: usize, what: &str, found: &T, expected: &T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{at}: {what}: {found:?}, where the twin says {expected:?}")) }
}

/// Runs scripts until one shows a disagreement.
fn run(rule: Rule, cases: u32) -> Result<(), String> {
    let config = Config { cases, max_shrink_iters: 0, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let outcome = runner.run(&script(), |script| disagreement(&script, rule).map_err(TestCaseError::fail));
    outcome.map_err(|error| error.to_string())
}

proptest! {
    #[test]
    fn agrees_with_its_slow_twin(script in script()) {
        let outcome = disagreement(&script, Rule::Right);
        prop_assert!(outcome.is_ok(), "{}", outcome.unwrap_err());
    }
}

#[test]
fn a_twin_that_goes_by_other_rules_is_found_out() {
    let wrong = [
        Rule::NewestByStart,
        Rule::RedoInOrder,
        Rule::RedoForever,
        Rule::ClearedByAnyone,
        Rule::LookAsNow,
        Rule::LateIsUndone,
        Rule::LastSpeaks,
        Rule::LastEndCounts,
        Rule::OpenToo,
        Rule::AlwaysWhole,
        Rule::UndoAllSince,
        Rule::RedoAtTheEnd,
        Rule::NeverForgets,
        Rule::StartsMustStand,
    ];
    for rule in wrong {
        assert!(run(rule, 200).is_err(), "{rule:?} passes for right");
    }
    assert_eq!(run(Rule::Right, 200), Ok(()));
}

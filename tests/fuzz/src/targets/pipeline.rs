//! The whole pipeline on one thread, against the twin of `tests/it/twin.rs`: pushes, batches, classes, keys, tiers, merges,
//! operations, misroutes, full rings, budgets, and lanes that open and close.
//!
//! The applied events are equal in order, content and parts, every count is, and the counters obey their law.

use mainlane::{Operation, OperationId, Phase};

use crate::choices::Choices;
use crate::domain::Note;
use crate::twin::{Step, run};

/// A scenario has so many steps at most: a lane costs more than a step.
const STEPS_MAX: usize = 400;

pub(super) fn check(data: &[u8]) {
    let mut choices = Choices::new(data);
    let mut steps = Vec::new();
    while choices.are_left() && steps.len() < STEPS_MAX {
        steps.push(any_step(&mut choices));
    }
    run(&steps);
}

fn any_step(choices: &mut Choices<'_>) -> Step {
    match choices.below(24) {
        0 => Step::Open { clocked: choices.yes(), rank: choices.one_of(&[0, 1, 2]) },
        1 => Step::Close { lane: choices.below(5) },
        2..=5 => {
            let lane = choices.below(5);
            let notes = (0..choices.below(8)).map(|_| any_note(choices)).collect();
            Step::Batch { lane, notes }
        }
        6..=8 => Step::Turn { events: choices.below(6) },
        9 | 10 => Step::Turn { events: usize::MAX },
        _ => Step::Push { lane: choices.below(5), note: any_note(choices) },
    }
}

fn any_note(choices: &mut Choices<'_>) -> Note {
    match choices.below(12) {
        0..=2 => Note::Item(choices.byte().into()),
        3 | 4 => Note::Level { key: 100 + choices.below(5) as u32, value: choices.byte().into() },
        5 | 6 => Note::Sum { key: 200 + choices.below(2) as u32, value: choices.byte().into() },
        7 | 8 => Note::Tiered { key: 300 + choices.below(4) as u32, tier: choices.one_of(&[0, 1, 2, 3]) },
        9 => Note::Foreign,
        10 => Note::Stray,
        _ => {
            let phase = choices.one_of(&[Phase::Progress, Phase::Started, Phase::Terminal]);
            let (id, sequence) = (OperationId(choices.below(3) as u64), choices.below(4) as u64);
            Note::Step(Operation { id, sequence, phase })
        }
    }
}

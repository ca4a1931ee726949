//! Who writes the events: operations that begin, begin again, end, and come too late.

use mainlane::{Operation, OperationId, Origin, Phase};

use super::host::{Does, Step};
use crate::random::Random;

/// How many lanes there are; the last is unclocked.
pub(super) const LANES: usize = 4;
const SLOTS: u64 = 5;
/// Of operations that may be open at once there are 65,536.
pub(super) const FLOOD: u64 = 65_600;

pub(super) fn origin(lane: usize) -> Origin {
    Origin::built_in("user", lane as u64 % 3)
}

#[derive(Default)]
pub(super) struct Author {
    numbers: u32,
    operations: u64,
    slots: [Slot; SLOTS as usize],
}

#[derive(Clone, Copy, Default)]
struct Slot {
    /// The operation, and its next sequence.
    under_way: Option<(u64, u64)>,
    ended: Option<u64>,
}

impl Author {
    /// The next event, and the lane that it goes to.
    pub(super) fn write(&mut self, random: &mut Random) -> (usize, Step) {
        let number = self.numbers;
        self.numbers += 1;
        let other = random.below(u64::from(number) + 1) as u32;
        let mut does = match random.below(40) {
            0 => Does::Thorn,
            1 => Does::Stray,
            2 => Does::Foreign,
            3 => Does::Need(other),
            4 => Does::Shun(other),
            5..13 => Does::Ask,
            _ => Does::Write,
        };
        let slot = random.below(SLOTS);
        let part = if random.one_in(3) { None } else { self.part(slot, random) };
        // Also the first that is seen of some.
        let is_edge = |part: Operation| part.phase != Phase::Progress || part.sequence == 1;
        if part.is_some_and(is_edge) && random.one_in(8) {
            does = [Does::Thorn, Does::Stray, Does::Foreign][random.below(3) as usize];
        }
        let is_lossy = part.map_or(random.one_in(4), |part| part.phase == Phase::Progress && random.one_in(2));
        let lane = if random.one_in(12) { random.below(LANES as u64) } else { slot % LANES as u64 } as usize;
        (lane, Step { number, does, part, key: is_lossy.then_some(random.below(3) as u32) })
    }

    fn part(&mut self, slot: u64, random: &mut Random) -> Option<Operation> {
        let operations = &mut self.operations;
        let Slot { under_way, ended } = &mut self.slots[slot as usize];
        let operation = |id, sequence, phase| Some(Operation { id: OperationId(id), sequence, phase });
        match (random.below(16), *under_way) {
            // Once more, of one that is under way, or of one that has ended.
            (0, Some((id, sequence))) => operation(id, sequence, Phase::Started),
            (1, _) => operation((*ended)?, random.below(9), Phase::Started),
            (2, _) => operation((*ended)?, 9, Phase::Terminal),
            (3, _) => operation((*ended)?, 9, Phase::Progress),
            // As if it had never been, but for its number.
            (4, None) if ended.is_some() => {
                *under_way = ended.map(|id| (id, 1));
                operation((*ended)?, 0, Phase::Started)
            }
            (what, _) => {
                let (id, sequence) = under_way.take().unwrap_or_else(|| {
                    *operations += 1;
                    // Some are first seen in their middle.
                    (*operations, u64::from(random.one_in(6)))
                });
                if what < 9 && sequence > 0 {
                    *ended = Some(id);
                    return operation(id, sequence, Phase::Terminal);
                }
                *under_way = Some((id, sequence + 1));
                operation(id, sequence, if sequence == 0 { Phase::Started } else { Phase::Progress })
            }
        }
    }

    /// Starts of more operations than can be open.
    pub(super) fn flood(&mut self) -> impl Iterator<Item = Step> {
        let (number, id) = (self.numbers, self.operations);
        self.numbers += FLOOD as u32;
        self.operations += FLOOD;
        (0..FLOOD).map(move |at| {
            let part = Operation { id: OperationId(id + 1 + at), sequence: 0, phase: Phase::Started };
            Step { number: number + at as u32, does: Does::Write, part: Some(part), key: None }
        })
    }

    /// One of those that there were of late, or is to come.
    pub(super) fn some_operation(&self, random: &mut Random) -> u64 {
        (self.operations + 1).saturating_sub(random.below(8))
    }
}

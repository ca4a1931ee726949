//! Events of operations in any order: `src/main_lane/operations.rs`.
//!
//! - Progress after the end is refused; whatever else is out of the ordinary is found, and nothing else.
//! - Memory is bounded; whatever is forgotten for that is said, and is the oldest there is, but never the one with the highest number.

use crate::choices::Choices;
use crate::event::{Operation, OperationId, Phase};
use crate::main_lane::operations::{Finding, Operations};

const IDS: [u64; 12] = [0, 1, 2, 3, 4, 5, 9, 10, 11, 1000, u64::MAX - 1, u64::MAX];
const SEQUENCES: [u64; 8] = [0, 1, 2, 3, 4, 7, u64::MAX - 1, u64::MAX];

/// The twin: two lists, the oldest first.
struct Twin {
    open: Vec<(u64, u64)>,
    /// Ranges of numbers, first and last.
    sealed: Vec<(u64, u64)>,
    open_max: usize,
    ranges_max: usize,
    highest: u64,
}

pub(super) fn check(data: &[u8]) {
    let mut choices = Choices::new(data);
    let (open_max, ranges_max) = (1 + choices.below(4), 1 + choices.below(4));
    let mut operations = Operations::bounded(open_max, ranges_max);
    let mut twin = Twin { open: Vec::new(), sealed: Vec::new(), open_max, ranges_max, highest: 0 };
    while choices.are_left() {
        let id = OperationId(choices.one_of(&IDS));
        let phase = choices.one_of(&[Phase::Progress, Phase::Started, Phase::Terminal]);
        let operation = Operation { id, sequence: choices.one_of(&SEQUENCES), phase };
        let parts = choices.one_of(&[1, 2, 3, u32::MAX]);
        let mut found = Vec::new();
        let admitted = operations.admit(operation, parts, |finding| found.push(finding));
        assert_eq!((admitted, found), twin.admit(operation, parts), "{operation:?}, {parts} parts");
        // A reducer may refuse it after all.
        if admitted && choices.below(8) != 1 {
            let mut found = Vec::new();
            operations.applied(operation, |finding| found.push(finding));
            assert_eq!(found, twin.applied(operation), "{operation:?}");
        }
    }
}

impl Twin {
    fn is_sealed(&self, id: u64) -> bool {
        self.sealed.iter().any(|(first, last)| (*first..=*last).contains(&id))
    }

    fn admit(
        &mut self,
        Operation { id: OperationId(id), sequence, phase }: Operation,
        parts: u32,
    ) -> (bool, Vec<Finding>) {
        if self.is_sealed(id) {
            let is_progress = phase == Phase::Progress;
            return (!is_progress, vec![if is_progress { Finding::Sealed } else { Finding::Repeat }]);
        }
        let mut found = Vec::new();
        let known = self.open.iter_mut().find(|(open, _)| *open == id);
        // The number that comes next if no push is missing.
        let expected =
            known.as_ref().map_or(0, |(_, last)| last.saturating_add(1)).saturating_add(u64::from(parts) - 1);
        match known {
            Some((_, last)) if sequence <= *last || phase == Phase::Started => {
                found.push(Finding::Repeat);
                *last = sequence.max(*last);
                return (true, found);
            }
            Some((_, last)) => *last = sequence,
            None => {
                self.highest = self.highest.max(id);
                self.open.push((id, sequence));
            }
        }
        if sequence > expected {
            found.push(Finding::Gap { expected });
        }
        if self.open.len() > self.open_max {
            found.push(forget(&mut self.open, |(id, _)| *id == self.highest));
        }
        (true, found)
    }

    fn applied(&mut self, Operation { id: OperationId(id), phase, .. }: Operation) -> Vec<Finding> {
        if phase != Phase::Terminal {
            return Vec::new();
        }
        self.open.retain(|(open, _)| *open != id);
        if self.is_sealed(id) {
            return Vec::new();
        }
        // A range that grows at its end keeps its age; one that grows at its beginning is a new one.
        let before = self.sealed.iter().position(|(_, last)| last.checked_add(1) == Some(id));
        let after = self.sealed.iter().position(|(first, _)| id.checked_add(1) == Some(*first));
        let last = after.map_or(id, |after| self.sealed[after].1);
        match before {
            Some(before) => self.sealed[before].1 = last,
            None => self.sealed.push((id, last)),
        }
        if let Some(after) = after {
            self.sealed.remove(after);
        }
        if self.sealed.len() > self.ranges_max {
            return vec![forget(&mut self.sealed, |(_, last)| *last == self.highest)];
        }
        Vec::new()
    }
}

/// Removes the oldest; one that is kept is as if it had just come.
fn forget(all: &mut Vec<(u64, u64)>, is_kept: impl Fn(&(u64, u64)) -> bool) -> Finding {
    loop {
        let oldest = all.remove(0);
        if !is_kept(&oldest) {
            return Finding::Forgotten(OperationId(oldest.0));
        }
        all.push(oldest);
    }
}

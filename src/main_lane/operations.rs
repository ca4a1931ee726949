//! Follows operations from their start to their end, and refuses what comes after it.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use crate::event::{Operation, OperationId, Phase};

// By its path: the models compile this file under another name.
#[cfg(feature = "journal")]
#[path = "operations/image.rs"]
pub(crate) mod image; // for checkpoints

/// How many operations may be open at once before the oldest is forgotten. The one with the highest number ever is not.
pub(crate) const OPEN_MAX: usize = 1 << 16;

/// How many separate ranges of sealed operations are remembered before the oldest is forgotten. Operations numbered in
/// rising order, and all ended, are a single range. The one with the highest number ever is not.
pub(crate) const SEALED_RANGES_MAX: usize = 1 << 16;

/// What the tracker found out of the ordinary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// Progress after the end: to be refused.
    Sealed,
    Gap {
        expected: u64,
    },
    Repeat,
    Forgotten(OperationId),
}

/// The state of every operation that matters.
pub(crate) struct Operations {
    open: HashMap<OperationId, Open, foldhash::fast::RandomState>,
    /// Operations in the order in which they were opened; some have ended since, and may have been opened again.
    opened: VecDeque<(OperationId, Age)>,
    sealed: Sealed,
    open_max: usize,
    next_age: Age,
    /// The highest number there ever was. It is open or sealed, and thus in every checkpoint: whoever goes on from one
    /// numbers new operations behind it.
    highest: Option<u64>,
}

struct Open {
    last: u64,
    age: Age,
}

/// Tells what is known by a number from what was known by it before.
type Age = u64;

/// Which operations there were when this was taken.
#[derive(Default)]
pub(crate) struct Seen {
    open: HashSet<OperationId>,
    /// First and last number of each range.
    sealed: BTreeMap<u64, u64>,
}

impl Seen {
    /// Whether the operation was seen.
    pub(crate) fn contains(&self, id: OperationId) -> bool {
        self.open.contains(&id) || self.had_ended(id)
    }

    pub(crate) fn had_ended(&self, id: OperationId) -> bool {
        self.sealed.range(..=id.0).next_back().is_some_and(|(_, last)| id.0 <= *last)
    }
}

impl Operations {
    pub(crate) fn new() -> Self {
        Self::bounded(OPEN_MAX, SEALED_RANGES_MAX)
    }

    pub(crate) fn bounded(open_max: usize, ranges_max: usize) -> Self {
        let ranges_max = ranges_max.max(1);
        let sealed = Sealed { ranges: BTreeMap::new(), recent: VecDeque::new(), ranges_max, next_age: 0 };
        let open_max = open_max.max(1);
        Self { open: HashMap::default(), opened: VecDeque::new(), sealed, open_max, next_age: 0, highest: None }
    }

    /// Takes note of an event of an operation that stands for `parts` pushes. True if it is to be applied; whatever is
    /// out of the ordinary goes to `find`.
    pub(crate) fn admit(&mut self, operation: Operation, parts: u32, mut find: impl FnMut(Finding)) -> bool {
        let Operation { id, sequence, phase } = operation;
        if self.sealed.contains(id) {
            return match phase {
                Phase::Progress => {
                    find(Finding::Sealed);
                    false
                }
                // Critical events are never dropped: a second start or end is applied, and reported.
                Phase::Started | Phase::Terminal => {
                    find(Finding::Repeat);
                    true
                }
            };
        }
        match self.open.get_mut(&id) {
            Some(open) => {
                if let Some(finding) = open.advance(sequence, parts, phase) {
                    find(finding);
                }
            }
            None => {
                // Numbered from zero: what came before the first that is seen is missing.
                let expected = u64::from(parts.saturating_sub(1));
                if sequence > expected {
                    find(Finding::Gap { expected });
                }
                self.open(id, sequence, &mut find);
            }
        }
        true
    }

    /// The event was applied: if it was the end, its operation is sealed.
    pub(crate) fn applied(&mut self, operation: Operation, mut find: impl FnMut(Finding)) {
        let Operation { id, phase: Phase::Terminal, .. } = operation else { return };
        self.open.remove(&id);
        if !self.sealed.contains(id)
            && let Some(forgotten) = self.sealed.insert(id, self.highest)
        {
            find(Finding::Forgotten(forgotten));
        }
    }

    /// What there is now, for whoever sees only what comes.
    pub(crate) fn seen(&self) -> Seen {
        let sealed = self.sealed.ranges.iter().map(|(first, range)| (*first, range.last)).collect();
        Seen { open: self.open.keys().copied().collect(), sealed }
    }

    fn open(&mut self, id: OperationId, sequence: u64, find: &mut impl FnMut(Finding)) {
        self.highest = self.highest.max(Some(id.0));
        let age = self.next_age;
        self.next_age += 1;
        self.open.insert(id, Open { last: sequence, age });
        self.opened.push_back((id, age));
        let open = &mut self.open;
        let is_open = |open: &HashMap<_, Open, _>, id, age| open.get(&id).is_some_and(|open| open.age == age);
        if self.opened.len() > 2 * self.open_max {
            self.opened.retain(|(id, age)| is_open(open, *id, *age));
        }
        while open.len() > self.open_max {
            let Some((oldest, age)) = self.opened.pop_front() else { break };
            if !is_open(open, oldest, age) {
                continue;
            }
            if self.highest == Some(oldest.0) {
                // As if it had just been opened.
                open.entry(oldest).and_modify(|open| open.age = self.next_age);
                self.opened.push_back((oldest, self.next_age));
                self.next_age += 1;
                continue;
            }
            open.remove(&oldest);
            find(Finding::Forgotten(oldest));
        }
    }
}

impl Open {
    fn advance(&mut self, sequence: u64, parts: u32, phase: Phase) -> Option<Finding> {
        let expected = self.last.saturating_add(u64::from(parts));
        if sequence <= self.last || phase == Phase::Started {
            self.last = self.last.max(sequence);
            return Some(Finding::Repeat);
        }
        self.last = sequence;
        (sequence > expected).then_some(Finding::Gap { expected })
    }
}

/// Sealed operations as ranges of their numbers.
struct Sealed {
    /// By their first.
    ranges: BTreeMap<u64, Range>,
    /// Range starts, in the order they came up; some have been joined to others since, and may have come up again.
    recent: VecDeque<(u64, Age)>,
    ranges_max: usize,
    next_age: Age,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    /// Included.
    last: u64,
    age: Age,
}

impl Sealed {
    fn contains(&self, id: OperationId) -> bool {
        self.ranges.range(..=id.0).next_back().is_some_and(|(_, range)| id.0 <= range.last)
    }

    /// Adds an operation; returns one that had to be forgotten for it.
    fn insert(&mut self, id: OperationId, highest: Option<u64>) -> Option<OperationId> {
        let after = id.0.checked_add(1).and_then(|after| self.ranges.remove(&after));
        let last = after.map_or(id.0, |range| range.last);
        match self.ranges.range_mut(..id.0).next_back() {
            Some((_, before)) if before.last.checked_add(1) == Some(id.0) => before.last = last,
            Some(_) | None => {
                let age = self.next_age;
                self.next_age += 1;
                self.ranges.insert(id.0, Range { last, age });
                self.recent.push_back((id.0, age));
            }
        }
        self.bound(highest)
    }

    fn bound(&mut self, highest: Option<u64>) -> Option<OperationId> {
        let ranges = &mut self.ranges;
        let is_there =
            |ranges: &BTreeMap<u64, Range>, first, age| ranges.get(&first).is_some_and(|range| range.age == age);
        if self.recent.len() > 2 * self.ranges_max {
            self.recent.retain(|(first, age)| is_there(ranges, *first, *age));
        }
        while ranges.len() > self.ranges_max {
            let (oldest, age) = self.recent.pop_front()?;
            if !is_there(ranges, oldest, age) {
                continue;
            }
            if let Some(range) = ranges.get_mut(&oldest).filter(|range| Some(range.last) == highest) {
                // As if it had just come up.
                range.age = self.next_age;
                self.recent.push_back((oldest, self.next_age));
                self.next_age += 1;
                continue;
            }
            ranges.remove(&oldest);
            return Some(OperationId(oldest));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(operations: &mut Operations, id: u64, sequence: u64, parts: u32, phase: Phase) -> (bool, Vec<Finding>) {
        let mut found = Vec::new();
        let operation = Operation { id: OperationId(id), sequence, phase };
        let admitted = operations.admit(operation, parts, |finding| found.push(finding));
        if admitted {
            operations.applied(operation, |finding| found.push(finding));
        }
        (admitted, found)
    }

    #[test]
    fn an_operation_that_is_first_seen_in_its_middle_has_a_gap() {
        let mut all = Operations::new();
        assert_eq!(step(&mut all, 1, 4, 2, Phase::Progress), (true, vec![Finding::Gap { expected: 1 }]));
        assert_eq!(step(&mut all, 2, 1, 2, Phase::Progress), (true, vec![]), "its start was coalesced into it");
    }

    #[test]
    fn progress_after_the_end_is_refused() {
        let mut all = Operations::new();
        assert_eq!(step(&mut all, 1, 0, 1, Phase::Started), (true, vec![]));
        assert_eq!(step(&mut all, 1, 1, 1, Phase::Progress), (true, vec![]));
        assert_eq!(step(&mut all, 1, 2, 1, Phase::Terminal), (true, vec![]));
        assert_eq!(step(&mut all, 1, 3, 1, Phase::Progress), (false, vec![Finding::Sealed]));
        assert_eq!(step(&mut all, 1, 2, 1, Phase::Terminal), (true, vec![Finding::Repeat]));
    }

    #[test]
    fn coalesced_progress_is_no_gap_and_shed_progress_is() {
        let mut all = Operations::new();
        step(&mut all, 1, 0, 1, Phase::Started);
        assert_eq!(step(&mut all, 1, 3, 3, Phase::Progress), (true, vec![]));
        assert_eq!(step(&mut all, 1, 6, 2, Phase::Progress), (true, vec![Finding::Gap { expected: 5 }]));
        assert_eq!(step(&mut all, 1, 6, 1, Phase::Progress), (true, vec![Finding::Repeat]));
    }

    #[test]
    fn operations_that_ended_in_any_order_are_one_range() {
        let mut all = Operations::new();
        for id in (0..1000).step_by(2).chain((1..1000).step_by(2)) {
            step(&mut all, id, 0, 1, Phase::Terminal);
        }
        assert_eq!(all.sealed.ranges, BTreeMap::from([(0, Range { last: 999, age: 0 })]));
        assert!((0..1000).all(|id| !step(&mut all, id, 1, 1, Phase::Progress).0));
        assert!(step(&mut all, 1000, 1, 1, Phase::Progress).0);
    }

    #[test]
    fn the_largest_number_is_an_operation_like_any_other() {
        let mut all = Operations::new();
        step(&mut all, u64::MAX, 0, 1, Phase::Terminal);
        assert!(!step(&mut all, u64::MAX, u64::MAX, 1, Phase::Progress).0);
    }

    #[test]
    fn memory_is_bounded_and_what_is_forgotten_is_said() {
        let mut all = Operations::bounded(2, 2);
        for id in [10, 20] {
            step(&mut all, id, 0, 1, Phase::Started);
        }
        assert_eq!(step(&mut all, 30, 0, 1, Phase::Started).1, [Finding::Forgotten(OperationId(10))]);
        for id in [100, 200] {
            step(&mut all, id, 0, 1, Phase::Terminal);
        }
        assert!(step(&mut all, 300, 0, 1, Phase::Terminal).1.contains(&Finding::Forgotten(OperationId(100))));
        for id in 0..10_000 {
            step(&mut all, 3 * id, 0, 1, Phase::Started);
            step(&mut all, 3 * id, 1, 1, Phase::Terminal);
        }
        assert!(all.opened.len() <= 5 && all.sealed.recent.len() <= 5, "the queues beside the maps are bounded too");
    }

    #[test]
    fn the_queues_beside_the_maps_are_cleared_when_they_are_twice_as_long() {
        let (mut all, mut opened_max, mut recent_max) = (Operations::bounded(5, 5), 0, 0);
        // Upwards each range is joined to the one before it; downwards, the start of the one after it is left behind.
        for id in (0..1000).chain((0..1000).rev().flat_map(|pair| [10_000 + 2 * pair, 10_001 + 2 * pair])) {
            for (sequence, phase) in [(0, Phase::Started), (1, Phase::Terminal)] {
                step(&mut all, id, sequence, 1, phase);
                opened_max = opened_max.max(all.opened.len());
                recent_max = recent_max.max(all.sealed.recent.len());
            }
            assert!(id >= 1000 || recent_max == 1, "one range has one start");
        }
        let ranges: Vec<_> = all.sealed.ranges.iter().map(|(first, range)| (*first, range.last)).collect();
        assert_eq!(ranges, [(0, 999), (10_000, 11_999)]);
        assert_eq!((opened_max, recent_max), (10, 10));
    }

    #[test]
    fn the_highest_number_is_never_forgotten() {
        let forgotten = |id| vec![Finding::Forgotten(OperationId(id))];
        let mut all = Operations::bounded(2, 2);
        for id in [9, 1] {
            step(&mut all, id, 0, 1, Phase::Started);
        }
        assert_eq!(step(&mut all, 2, 0, 1, Phase::Started).1, forgotten(1));
        assert_eq!(step(&mut all, 3, 0, 1, Phase::Started).1, forgotten(2), "9 is as if it was opened with 2");
        assert_eq!(step(&mut all, 10, 0, 1, Phase::Started).1, forgotten(9), "it is not the highest any more");

        let mut all = Operations::bounded(8, 2);
        for id in [9, 1] {
            step(&mut all, id, 0, 1, Phase::Terminal);
        }
        assert_eq!(step(&mut all, 3, 0, 1, Phase::Terminal).1, forgotten(1));
        assert_eq!(step(&mut all, 8, 0, 1, Phase::Terminal).1, [], "8 and 9 are a range");
        assert_eq!(step(&mut all, 5, 0, 1, Phase::Terminal).1, forgotten(3));
        assert_eq!(step(&mut all, 11, 0, 1, Phase::Terminal).1, forgotten(8));
    }

    #[test]
    fn an_operation_that_comes_up_again_is_not_as_old_as_it_was() {
        let mut all = Operations::bounded(2, 1);
        for (id, phase) in [(1, Phase::Started), (2, Phase::Started), (1, Phase::Terminal), (7, Phase::Terminal)] {
            step(&mut all, id, 0, 1, phase);
        }
        assert_eq!(step(&mut all, 1, 0, 1, Phase::Started).1, [], "that it had ended is forgotten");
        let forgotten = |id| vec![Finding::Forgotten(OperationId(id))];
        assert_eq!(step(&mut all, 3, 0, 1, Phase::Started).1, forgotten(2), "it was opened before 1 was opened again");

        let mut all = Operations::bounded(8, 2);
        // 5 is joined to 4, forgotten with it, and ends again.
        for id in [5, 4, 9] {
            step(&mut all, id, 0, 1, Phase::Terminal);
        }
        assert_eq!(step(&mut all, 20, 0, 1, Phase::Terminal).1, forgotten(4));
        assert_eq!(step(&mut all, 5, 0, 1, Phase::Terminal).1, forgotten(9), "20 and 5 are newer");
        assert_eq!(step(&mut all, 30, 0, 1, Phase::Terminal).1, forgotten(20), "5 is newer");
    }
}

//! The order inside a batch: by key, then by the lanes' own order, which is rank, then number.
//!
//! Each lane's events come sorted; this says which lane goes next, and how far, so a run of one lane's events costs one look.
//! The lanes that go first are kept sorted, a few of them; the others are looked at when those have run out. So where many
//! lanes take turns with single events, a look at all of them serves several.

use crate::lane::runs::NO_KEY;

/// How many lanes are kept sorted: a power of two.
const SORTED: usize = 16;

/// The lane that goes next, and the first key at which another one does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Next {
    pub(crate) lane: usize,
    pub(crate) limit: u64,
}

/// A lane by its head: in the order in which they go, for on a tie the earlier lane goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Head {
    key: u64,
    lane: u32,
}

/// After every head that there is.
const NONE: Head = Head { key: NO_KEY, lane: 0 };

/// The heads of all lanes, in the order of the lanes.
pub(crate) struct Merge {
    heads: Vec<u64>,
    /// Those that go first, in their order, from the place `first` on and round: who went goes behind the others more often than not, and then
    /// nobody has to move.
    sorted: [Head; SORTED],
    first: usize,
    count: usize,
    /// No lane that is not among the sorted ones goes before this.
    beyond: Head,
}

impl Merge {
    pub(crate) fn new() -> Self {
        Self { heads: Vec::new(), sorted: [NONE; SORTED], first: 0, count: 0, beyond: NONE }
    }

    /// Begins with these heads.
    pub(crate) fn begin(&mut self, heads: impl Iterator<Item = u64>) {
        self.heads.clear();
        self.heads.extend(heads);
        self.sort();
    }

    /// Which lane goes next.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<Next> {
        if self.count == 0 {
            if self.beyond.key == NO_KEY {
                return None;
            }
            self.sort();
        }
        let first = self.sorted[self.first % SORTED];
        let second = if self.count > 1 { self.sorted[(self.first + 1) % SORTED] } else { self.beyond };
        // On a tie the earlier lane goes first: it may run through the runner-up's key, a later lane may not.
        let limit = if first.lane < second.lane { second.key.saturating_add(1) } else { second.key };
        Some(Next { lane: first.lane as usize, limit })
    }

    /// The lane that went next has this head now.
    #[inline]
    pub(crate) fn went(&mut self, lane: usize, key: u64) {
        self.heads[lane] = key;
        debug_assert_eq!(self.sorted[self.first % SORTED].lane as usize, lane, "the one that was named by `next`");
        self.first = (self.first + 1) % SORTED;
        self.count -= 1;
        let head = Head { key, lane: lane as u32 };
        if head < self.beyond {
            self.insert(head);
        }
    }

    /// Looks at all heads.
    fn sort(&mut self) {
        (self.count, self.beyond) = (0, NONE);
        for lane in 0..self.heads.len() {
            let head = Head { key: self.heads[lane], lane: lane as u32 };
            if head >= self.beyond || head.key == NO_KEY {
                continue;
            }
            if self.count == SORTED {
                // The last to go makes room, unless this one would go after it.
                let last = self.sorted[(self.first + SORTED - 1) % SORTED];
                if head > last {
                    self.beyond = head;
                    continue;
                }
                self.beyond = last;
                self.count -= 1;
            }
            self.insert(head);
        }
    }

    /// There must be room.
    #[inline]
    fn insert(&mut self, head: Head) {
        let mut at = self.first + self.count;
        while at > self.first && self.sorted[(at - 1) % SORTED] > head {
            self.sorted[at % SORTED] = self.sorted[(at - 1) % SORTED];
            at -= 1;
        }
        self.sorted[at % SORTED] = head;
        self.count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn next(heads: &[u64]) -> Option<Next> {
        let mut merge = Merge::new();
        merge.begin(heads.iter().copied());
        merge.next()
    }

    #[test]
    fn a_run_ends_where_another_lane_goes_first() {
        assert_eq!(next(&[5, 3, 9]), Some(Next { lane: 1, limit: 5 }));
        assert_eq!(next(&[3, 3]), Some(Next { lane: 0, limit: 4 }), "the earlier lane goes through the tie");
        assert_eq!(next(&[4, 3]), Some(Next { lane: 1, limit: 4 }), "the later lane stops before it");
        assert_eq!(next(&[NO_KEY, 3]).map(|next| next.lane), Some(1));
        assert!(next(&[NO_KEY, 3]).unwrap().limit >= NO_KEY - 1);
        assert_eq!(next(&[NO_KEY, NO_KEY]), None);
        assert_eq!(next(&[]), None);
    }

    proptest! {
        /// Against sorting everything at once; more lanes than are kept sorted, too.
        #[test]
        fn merges_as_a_sort_would(lanes in proptest::collection::vec(proptest::collection::vec(0u64..50, 0..20), 1..25)) {
            let mut expected = Vec::new();
            let mut queues: Vec<_> = lanes.into_iter().enumerate().map(|(at, mut keys)| {
                keys.sort_unstable();
                expected.extend(keys.iter().map(|key| (*key, at)));
                std::collections::VecDeque::from(keys)
            }).collect();
            expected.sort();
            let mut merged = Vec::new();
            let head = |queue: &std::collections::VecDeque<u64>| queue.front().copied().unwrap_or(NO_KEY);
            let mut merge = Merge::new();
            merge.begin(queues.iter().map(head));
            while let Some(Next { lane, limit }) = merge.next() {
                while let Some(key) = queues[lane].pop_front_if(|key| *key < limit) {
                    merged.push((key, lane));
                }
                merge.went(lane, head(&queues[lane]));
            }
            prop_assert_eq!(merged, expected);
        }
    }
}

//! The order inside a batch: by key, then by the lanes' own order, which is rank, then number.
//!
//! Each lane's events come sorted; this says which lane goes next, and how far. A linear look over the heads beats a heap
//! for the numbers of lanes there are, and a run of one lane's events costs one look.

/// A lane without a head.
pub(crate) const NO_HEAD: u64 = u64::MAX;

/// The lane that goes next, and the first key at which another one does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Next {
    pub(crate) lane: usize,
    pub(crate) limit: u64,
}

/// Which of the lanes with these head keys goes next; the lanes are in the order that breaks ties.
#[inline]
pub(crate) fn next(heads: &[u64]) -> Option<Next> {
    let (mut lane, mut first) = (0, NO_HEAD);
    let (mut runner_up, mut second) = (0, NO_HEAD);
    for (at, &key) in heads.iter().enumerate() {
        if key < first {
            (runner_up, second) = (lane, first);
            (lane, first) = (at, key);
        } else if key < second {
            (runner_up, second) = (at, key);
        }
    }
    if first == NO_HEAD {
        return None;
    }
    // On a tie the earlier lane goes first: it may run through the runner-up's key, a later lane may not.
    let limit = if lane < runner_up { second.saturating_add(1) } else { second };
    Some(Next { lane, limit })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_run_ends_where_another_lane_goes_first() {
        assert_eq!(next(&[5, 3, 9]), Some(Next { lane: 1, limit: 5 }));
        assert_eq!(next(&[3, 3]), Some(Next { lane: 0, limit: 4 }), "the earlier lane goes through the tie");
        assert_eq!(next(&[4, 3]), Some(Next { lane: 1, limit: 4 }), "the later lane stops before it");
        assert_eq!(next(&[NO_HEAD, 3]), Some(Next { lane: 1, limit: NO_HEAD }));
        assert_eq!(next(&[NO_HEAD, NO_HEAD]), None);
        assert_eq!(next(&[]), None);
    }

    proptest! {
        /// Against sorting everything at once.
        #[test]
        fn merges_as_a_sort_would(lanes in proptest::collection::vec(proptest::collection::vec(0u64..50, 0..20), 1..6)) {
            let mut expected = Vec::new();
            let mut queues: Vec<_> = lanes.into_iter().enumerate().map(|(at, mut keys)| {
                keys.sort_unstable();
                expected.extend(keys.iter().map(|key| (*key, at)));
                std::collections::VecDeque::from(keys)
            }).collect();
            expected.sort();
            let mut merged = Vec::new();
            let heads = |queues: &[std::collections::VecDeque<u64>]| -> Vec<u64> {
                queues.iter().map(|queue| queue.front().copied().unwrap_or(NO_HEAD)).collect()
            };
            while let Some(Next { lane, limit }) = next(&heads(&queues)) {
                while let Some(key) = queues[lane].pop_front_if(|key| *key < limit) {
                    merged.push((key, lane));
                }
            }
            prop_assert_eq!(merged, expected);
        }
    }
}

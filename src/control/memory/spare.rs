//! What the state has let go of and the system still counts.
//!
//! An allocator keeps freed memory for what comes next; some give none of it back. To put more of the state aside then does not
//! lower what the system counts, however much it is: judged by that alone, all of it would go. So freed memory that is still counted
//! is taken off, as far as the state's own count tells of it.
//!
//! # Rules
//! - **K1 cautious**: what the state takes again is off the credit, and so is each change of what the system counts, either way.
//! - **K2 never beyond what was seen**: when the system counts more than it did as the credit began, there is none.

use super::reading::MemoryReading;

/// By which part of what it counted at first the system's count may rise before there is no credit.
const SLACK: u64 = 16;

/// Follows readings, and says what of them is spare.
#[derive(Clone, Debug, Default)]
pub(super) struct Spares {
    process: Spare,
    cgroup: Spare,
}

impl Spares {
    /// The same reading, with the spare memory of the process and of its cgroup taken off.
    pub(super) fn take_off(&mut self, mut reading: MemoryReading) -> MemoryReading {
        let Some(held) = reading.held else { return reading };
        if let Some(used) = &mut reading.process {
            *used -= self.process.note(*used, held);
        }
        if let Some(fill) = reading.cgroup.as_mut().and_then(|cgroup| cgroup.fullest.as_mut()) {
            fill.used -= self.cgroup.note(fill.used, held);
        }
        reading
    }
}

/// The spare part of one count of the system's.
#[derive(Clone, Debug, Default)]
struct Spare {
    /// What the system counted, and what the state held.
    last: Option<(u64, u64)>,
    bytes: u64,
    /// What the system counted when the credit began.
    began: u64,
}

impl Spare {
    fn note(&mut self, used: u64, held: u64) -> u64 {
        let Some((used_before, held_before)) = self.last.replace((used, held)) else { return 0 };
        if self.bytes == 0 {
            self.began = used_before;
        }
        // K1.
        let credit = self.bytes.saturating_add(held_before).saturating_sub(held);
        self.bytes = credit.saturating_sub(used.abs_diff(used_before)).min(used);
        // K2.
        if used > self.began.saturating_add(self.began / SLACK) {
            self.bytes = 0;
        }
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::reading::{CgroupFill, CgroupMemory};
    use super::*;

    /// What is spare after each of these: what the system counts, and what the state holds.
    fn spare<const N: usize>(readings: [(u64, u64); N]) -> [u64; N] {
        let mut spare = Spare::default();
        readings.map(|(used, held)| spare.note(used, held))
    }

    #[test]
    fn freed_memory_is_spare_until_it_is_used_again() {
        assert_eq!(spare([(900, 500), (900, 300), (900, 250), (900, 400), (900, 600)]), [0, 200, 250, 100, 0]);
    }

    #[test]
    fn what_was_given_back_is_not() {
        assert_eq!(spare([(900, 500), (700, 300), (700, 200), (650, 200)]), [0, 0, 100, 50]);
    }

    #[test]
    fn there_is_none_where_others_take_more() {
        assert_eq!(spare([(640, 500), (640, 300), (660, 300), (681, 300), (681, 250)]), [0, 200, 180, 0, 50]);
        assert_eq!(spare([(640, 500), (700, 300)]), [0, 0], "what was freed was not enough");
    }

    #[test]
    fn each_count_is_followed_on_its_own_and_the_rest_stays() {
        let mut spares = Spares::default();
        let mut at = |held, process, cgroup: Option<u64>| {
            let fullest = cgroup.map(|used| CgroupFill { used, limit: 1000, parents: 0 });
            let cgroup = fullest.map(|_| CgroupMemory { fullest, used: Some(7), ..CgroupMemory::default() });
            let judged = spares.take_off(MemoryReading { held, process, cgroup, ..MemoryReading::default() });
            assert_eq!((judged.held, judged.cgroup.and_then(|cgroup| cgroup.used)), (held, cgroup.map(|_| 7)));
            (judged.process, judged.cgroup.and_then(|cgroup| cgroup.fullest).map(|fill| fill.used))
        };
        assert_eq!(at(Some(500), Some(900), Some(950)), (Some(900), Some(950)));
        assert_eq!(at(Some(400), Some(900), Some(900)), (Some(800), Some(850)));
        assert_eq!(at(None, Some(900), None), (Some(900), None));
        assert_eq!(at(Some(300), None, Some(900)), (None, Some(750)));
    }

    proptest! {
        /// K2, and that a state that never shrinks has no credit.
        #[test]
        fn the_credit_is_bounded(readings in prop::collection::vec((0u64..2000, 0u64..1000), 1..50)) {
            let (mut spare, mut grows) = (Spare::default(), Spare::default());
            let (mut most, mut since) = (0, None);
            for (at, (used, held)) in readings.iter().enumerate() {
                let bytes = spare.note(*used, *held);
                most = most.max(*held);
                prop_assert!(bytes <= *used && bytes <= most - held);
                since = if bytes == 0 { None } else { since.or(Some(readings[at - 1].0)) };
                if let Some(began) = since {
                    prop_assert!(*used <= began + began / SLACK);
                }
                prop_assert_eq!(grows.note(*used, at as u64), 0);
            }
        }
    }
}

//! What a checkpoint keeps of operations.

use serde::{Deserialize, Serialize};

use super::{OPEN_MAX, Open, Operations, Range, SEALED_RANGES_MAX};
use crate::event::OperationId;

/// The operations that are open or sealed, as plain lists.
///
/// Of ages, all that matters is which is the older, and the lists have that order. So two trackers have equal images if
/// and only if they will find the same in whatever comes, however they came about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OperationsImage {
    /// Number and last sequence of those that are open, the one that was opened first in front.
    open: Vec<(u64, u64)>,
    /// First and last number of ranges of those that are sealed, the one that came up first in front.
    sealed: Vec<(u64, u64)>,
}

impl Operations {
    /// What determines the future, whatever there was besides. Takes time and memory by what is open or sealed now.
    pub(crate) fn image(&self) -> OperationsImage {
        let open = self.open.iter().map(|(id, open)| (open.age, (id.0, open.last))).collect();
        let sealed = self.sealed.ranges.iter().map(|(first, range)| (range.age, (*first, range.last))).collect();
        OperationsImage { open: by_age(open), sealed: by_age(sealed) }
    }

    /// Goes on where the image was taken.
    ///
    /// # Errors
    /// When no tracker has such an image.
    pub(crate) fn from_image(image: &OperationsImage) -> Result<Self, String> {
        Self::bounded(OPEN_MAX, SEALED_RANGES_MAX).filled(image)
    }

    /// The highest number of an operation that there ever was.
    pub(crate) fn highest(&self) -> Option<u64> {
        self.highest
    }

    fn filled(mut self, image: &OperationsImage) -> Result<Self, String> {
        at_most(self.sealed.ranges_max, image.sealed.len(), "ranges of sealed operations")?;
        at_most(self.open_max, image.open.len(), "open operations")?;
        for (age, (first, last)) in (0..).zip(&image.sealed) {
            self.sealed.ranges.insert(*first, Range { last: *last, age });
            self.sealed.recent.push_back((*first, age));
        }
        self.sealed.next_age = image.sealed.len() as u64;
        self.sealed_are_apart(image.sealed.len())?;
        for (age, (id, last)) in (0..).zip(&image.open) {
            let id = OperationId(*id);
            if self.sealed.contains(id) {
                return Err(format!("operation {} is open and sealed", id.0));
            }
            if self.open.insert(id, Open { last: *last, age }).is_some() {
                return Err(format!("operation {} is open twice", id.0));
            }
            self.opened.push_back((id, age));
        }
        self.next_age = image.open.len() as u64;
        let ranges = self.sealed.ranges.last_key_value();
        self.highest = self.open.keys().map(|id| id.0).max().max(ranges.map(|(_, range)| range.last));
        Ok(self)
    }

    /// Ranges that touch would have been joined.
    fn sealed_are_apart(&self, count: usize) -> Result<(), String> {
        if self.sealed.ranges.len() < count {
            return Err("two ranges of sealed operations begin with the same".into());
        }
        let mut free = Some(0);
        for (first, Range { last, .. }) in &self.sealed.ranges {
            if free.is_none_or(|free| *first < free) || first > last {
                return Err(format!("sealed operations {first} to {last} are no range of their own"));
            }
            free = last.checked_add(2);
        }
        Ok(())
    }
}

fn by_age(mut aged: Vec<(u64, (u64, u64))>) -> Vec<(u64, u64)> {
    aged.sort_unstable();
    aged.into_iter().map(|(_, pair)| pair).collect()
}

fn at_most(most: usize, count: usize, what: &str) -> Result<(), String> {
    if count > most {
        return Err(format!("{count} {what}, where {most} is the most there can be"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::event::{Operation, Phase};
    use crate::main_lane::operations::Finding;

    #[derive(Clone, Copy, Debug)]
    struct Step {
        operation: Operation,
        parts: u32,
        /// A reducer may refuse it after all.
        applied: bool,
    }

    fn run(operations: &mut Operations, Step { operation, parts, applied }: Step) -> (bool, Vec<Finding>) {
        let mut found = Vec::new();
        let admitted = operations.admit(operation, parts, |finding| found.push(finding));
        if admitted && applied {
            operations.applied(operation, |finding| found.push(finding));
        }
        (admitted, found)
    }

    /// Few numbers, so that operations come up again, ranges join, and bounds are met.
    fn step() -> impl Strategy<Value = Step> {
        let id = prop_oneof![8 => 0u64..12, 1 => u64::MAX - 3..=u64::MAX];
        let sequence = prop_oneof![8 => 0u64..8, 1 => Just(u64::MAX)];
        let phase = prop::sample::select(&[Phase::Started, Phase::Progress, Phase::Terminal][..]);
        (id, sequence, phase, 1u32..3, prop::bool::weighted(0.9)).prop_map(|(id, sequence, phase, parts, applied)| {
            Step { operation: Operation { id: OperationId(id), sequence, phase }, parts, applied }
        })
    }

    fn image(open: &[(u64, u64)], sealed: &[(u64, u64)]) -> OperationsImage {
        OperationsImage { open: open.into(), sealed: sealed.into() }
    }

    proptest! {
        #[test]
        fn what_comes_from_an_image_goes_on_like_the_original(
            bounds in (1usize..6, 1usize..6),
            past in vec(step(), 0..80),
            future in vec(step(), 0..80),
        ) {
            let mut original = Operations::bounded(bounds.0, bounds.1);
            let mut highest = None;
            for step in past {
                run(&mut original, step);
                highest = highest.max(Some(step.operation.id.0));
            }
            let image = original.image();
            let bytes = postcard::to_allocvec(&image).unwrap();
            prop_assert_eq!(&postcard::from_bytes::<OperationsImage>(&bytes).unwrap(), &image);
            let mut copy = Operations::bounded(bounds.0, bounds.1).filled(&image).unwrap();
            prop_assert_eq!(copy.image(), image);
            for step in future {
                prop_assert_eq!(run(&mut copy, step), run(&mut original, step), "{:?}", step);
                highest = highest.max(Some(step.operation.id.0));
                prop_assert_eq!([copy.highest(), original.highest()], [highest; 2]);
            }
            prop_assert_eq!(copy.image(), original.image());
        }

        /// What is accepted is the image of a tracker that keeps its bounds and its promises.
        #[test]
        fn any_lists_are_refused_or_are_an_image(
            open in vec((0u64..12, any::<u64>()), 0..4),
            sealed in vec((0u64..12, 0u64..12), 0..4),
            future in vec(step(), 0..20),
        ) {
            let image = image(&open, &sealed);
            let Ok(mut copy) = Operations::bounded(3, 3).filled(&image) else { return Ok(()) };
            prop_assert_eq!(copy.image(), image);
            for step in future {
                run(&mut copy, step);
                let after = copy.image();
                prop_assert!(Operations::bounded(3, 3).filled(&after).is_ok(), "{:?}", after);
            }
        }
    }

    #[test]
    fn an_image_has_what_is_left_of_the_past_and_no_more() {
        let mut all = Operations::new();
        let mut step = |id, sequence, phase| {
            let operation = Operation { id: OperationId(id), sequence, phase };
            run(&mut all, Step { operation, parts: 1, applied: true });
        };
        (10..100_000).for_each(|id| step(id, 0, Phase::Started));
        (10..100_000).for_each(|id| step(id, 1, Phase::Terminal));
        for (id, phase) in [(7, Phase::Started), (3, Phase::Started), (5, Phase::Terminal), (7, Phase::Progress)] {
            step(id, 2, phase);
        }
        assert_eq!(all.image(), image(&[(7, 2), (3, 2)], &[(10, 99_999), (5, 5)]));
        assert_eq!(all.highest(), Some(99_999));
    }

    #[test]
    fn the_highest_number_is_open_or_sealed() {
        let highest = |open: &[_], sealed: &[_]| Operations::from_image(&image(open, sealed)).unwrap().highest();
        assert_eq!(highest(&[], &[]), None);
        assert_eq!(highest(&[(9, 0), (4, 1)], &[(1, 2)]), Some(9));
        assert_eq!(highest(&[(1, 0)], &[(7, u64::MAX), (3, 5)]), Some(u64::MAX));
    }

    #[test]
    fn what_is_no_image_is_refused_with_a_reason() {
        let refused = |open: &[_], sealed: &[_]| {
            Operations::bounded(2, 2).filled(&image(open, sealed)).err().expect("it is refused")
        };
        assert_eq!(refused(&[(4, 0), (4, 1)], &[]), "operation 4 is open twice");
        assert_eq!(refused(&[(4, 0)], &[(3, 5)]), "operation 4 is open and sealed");
        assert_eq!(refused(&[(1, 0), (2, 0), (3, 0)], &[]), "3 open operations, where 2 is the most there can be");
        assert_eq!(
            refused(&[], &[(1, 1), (3, 3), (5, 5)]),
            "3 ranges of sealed operations, where 2 is the most there can be"
        );
        assert_eq!(refused(&[], &[(5, 3)]), "sealed operations 5 to 3 are no range of their own");
        assert_eq!(refused(&[], &[(1, 2), (1, 3)]), "two ranges of sealed operations begin with the same");
        for (first, second) in [((1, 5), (3, 4)), ((1, 5), (5, 9)), ((1, 5), (6, 9)), ((0, u64::MAX), (7, 8))] {
            let expected = format!("sealed operations {} to {} are no range of their own", second.0, second.1);
            assert_eq!([refused(&[], &[first, second]), refused(&[], &[second, first])], [&*expected, &*expected]);
        }
        let too_many: Vec<_> = (0..=SEALED_RANGES_MAX as u64).map(|n| (2 * n, 2 * n)).collect();
        assert!(Operations::from_image(&image(&[], &too_many)).is_err());
        assert!(Operations::from_image(&image(&too_many, &[])).is_err());
        assert!(Operations::from_image(&image(&[], &too_many[1..])).is_ok());
    }
}

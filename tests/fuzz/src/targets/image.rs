//! What a checkpoint says of operations: `src/main_lane/operations/image.rs`.
//!
//! - Any bytes at all are read or refused; what is read is an image of a tracker or is refused with a reason.
//! - Which lists are images is what a slow, obviously right twin says.
//! - A tracker made of an image has that image, and goes on with whatever comes.

use crate::choices::Choices;
use crate::event::{Operation, OperationId, Phase};
use crate::journal::record;
use crate::main_lane::operations::Operations;
use crate::main_lane::operations::image::OperationsImage;

const NUMBERS: [u64; 12] = [0, 1, 2, 3, 4, 5, 9, 10, 11, 1000, u64::MAX - 1, u64::MAX];

/// As it is written: pairs of numbers, what is open and then what is sealed.
type Lists = (Vec<(u64, u64)>, Vec<(u64, u64)>);

pub(super) fn check(data: &[u8]) {
    let mut choices = Choices::new(data);
    let bytes = match choices.below(2) {
        0 => choices.rest().to_vec(),
        _ => {
            let lists = (list(&mut choices), list(&mut choices));
            postcard::to_allocvec(&lists).expect("lists can be written")
        }
    };
    let lists = record::decode::<Lists>(&bytes);
    let Ok(image) = record::decode::<OperationsImage>(&bytes) else {
        assert!(lists.is_err());
        return;
    };
    let lists = lists.expect("an image is two lists");
    let mut operations = match Operations::from_image(&image) {
        Ok(operations) => operations,
        Err(reason) => {
            assert!(!reason.is_empty() && !is_image(&lists), "{lists:?}: {reason}");
            return;
        }
    };
    assert!(is_image(&lists), "{lists:?}");
    assert_eq!(operations.image(), image);
    let numbers = lists.0.iter().map(|(id, _)| *id).chain(lists.1.iter().map(|(_, last)| *last));
    assert_eq!(operations.highest(), numbers.max());
    for id in NUMBERS {
        let operation = Operation { id: OperationId(id), sequence: 1, phase: Phase::Progress };
        let is_sealed = lists.1.iter().any(|(first, last)| (*first..=*last).contains(&id));
        assert_eq!(operations.admit(operation, 1, |_| ()), !is_sealed);
    }
    assert!(Operations::from_image(&operations.image()).is_ok());
}

fn list(choices: &mut Choices<'_>) -> Vec<(u64, u64)> {
    (0..choices.below(4)).map(|_| (choices.one_of(&NUMBERS), choices.one_of(&NUMBERS))).collect()
}

/// Every operation is in one place, and between two ranges there is a number that is in none.
fn is_image((open, sealed): &Lists) -> bool {
    let is_sealed = |id: u64| sealed.iter().any(|(first, last)| (*first..=*last).contains(&id));
    let is_apart = |(at, (first, last)): (usize, &(u64, u64))| {
        let others = sealed.iter().enumerate().filter(|(other, _)| *other != at);
        let touches = |(other, end): (u64, u64)| other <= last.saturating_add(1) && *first <= end.saturating_add(1);
        first <= last && !others.map(|(_, range)| *range).any(touches)
    };
    let is_once = |(at, (id, _)): (usize, &(u64, u64))| !open[..at].iter().any(|(before, _)| before == id);
    let is_small = open.len() <= 1 << 16 && sealed.len() <= 1 << 16;
    is_small
        && open.iter().enumerate().all(is_once)
        && !open.iter().any(|(id, _)| is_sealed(*id))
        && sealed.iter().enumerate().all(is_apart)
}

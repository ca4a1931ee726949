//! Rings that ask for slots ahead: larger ones than those of the other tests.

use proptest::prelude::*;

use crate::lane::ring::ring;

proptest! {
    /// What is asked for ahead is one's own, which `spsc` asserts; and whatever that is, room and values are what they are.
    #[test]
    fn who_asks_for_slots_ahead_has_the_same_room_and_values(
        capacity in 1..300_usize, steps in proptest::collection::vec((0..400_usize, 0..400_usize, any::<bool>()), 1..40),
    ) {
        let (mut producer, mut consumer) = ring::<u64>(capacity, true);
        let (mut pushed, mut taken, mut given_back) = (0, 0, 0);
        for (wanted, count, settles) in steps {
            let (room, free) = (producer.room(wanted), capacity - (pushed - given_back) as usize);
            prop_assert!(room <= free && (room >= wanted || room == free));
            for _ in 0..room.min(wanted) {
                producer.vacant().unwrap().stamp(2 * pushed + 1).publish(pushed);
                pushed += 1;
            }
            consumer.look();
            consumer.admit();
            let mut next = taken;
            consumer.take(u64::MAX, count, |key, position, value: &_| {
                assert_eq!((key, position, *value), (2 * next + 1, next, next));
                next += 1;
            });
            prop_assert_eq!(next, pushed.min(taken + count as u64));
            taken = next;
            if settles {
                consumer.settle();
                given_back = taken;
            }
        }
    }
}

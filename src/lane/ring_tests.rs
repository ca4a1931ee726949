//! The ring of a lane: its cut, its keys, and slots that are asked for ahead.

use proptest::prelude::*;

use crate::clock::Bound;
use crate::lane::ring::{RingConsumer, ring};
use crate::lane::runs::NO_KEY;

fn keys(consumer: &mut RingConsumer<u64>, limit: u64) -> Vec<u64> {
    let mut seen = Vec::new();
    consumer.take(limit, usize::MAX, |key, _, _: &_| seen.push(key));
    consumer.settle();
    seen
}

#[test]
fn the_cut_stops_at_the_bound_wherever_the_ring_wraps() {
    for start in 0..4 {
        let (mut producer, mut consumer) = ring(4, true);
        for _ in 0..start {
            assert!(producer.room(1) > 0);
            producer.vacant().unwrap().stamp(0).publish(0);
            consumer.extend(Bound::OPEN);
            consumer.take(u64::MAX, 1, |_, _, _: &_| ());
            consumer.settle();
        }
        assert_eq!(producer.room(4), 4);
        for key in [1, 3, 5, 7] {
            producer.vacant().unwrap().stamp(key).publish(key);
        }
        assert!(consumer.extend(Bound(4)));
        assert!(!consumer.extend(Bound(4)), "nothing to add the second time");
        assert_eq!(keys(&mut consumer, u64::MAX), [1, 3], "wrapped at {start}");
        assert!(consumer.extend(Bound(8)));
        assert_eq!(keys(&mut consumer, 7), [5], "the limit is exclusive");
        assert_eq!(keys(&mut consumer, u64::MAX), [7]);
    }
}

#[test]
fn a_value_beyond_the_bound_is_not_in_the_cut() {
    let (mut producer, mut consumer) = ring(2, true);
    producer.vacant().unwrap().stamp(5).publish(());
    assert!(!consumer.extend(Bound(5)), "the bound itself is outside");
    assert_eq!(consumer.head_key(), NO_KEY);
    assert!(consumer.has_visible());
}

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

    /// Against a list of keys and values.
    #[test]
    fn each_value_has_the_key_it_was_pushed_with(
        capacity in 1usize..6,
        steps in proptest::collection::vec((0usize..4, 0u64..4, 0u64..30, 0usize..6), 1..60),
    ) {
        let (mut producer, mut consumer) = ring(capacity, true);
        let mut waiting = std::collections::VecDeque::new();
        let mut next_key = 1;
        for (batch, jump, past, count) in steps {
            let batch = batch.min(producer.room(batch));
            next_key += 2 * jump;
            if batch == 0 {
                producer.room(1);
            } else if batch == 1 {
                producer.vacant().unwrap().stamp(next_key).publish(next_key);
            } else {
                let mut values = (1..batch as u64).map(|at| next_key + 2 * at);
                producer.fill(next_key, batch, Some(next_key), || values.next(), |_| Ok::<(), ()>(()), |_| ());
            }
            waiting.extend((0..batch as u64).map(|at| next_key + 2 * at));
            next_key += 2 * batch as u64;
            // A bound, and a limit below it, as cuts and merges set them.
            let bound = waiting.front().map_or(past, |first| first + past);
            consumer.extend(Bound(bound));
            if consumer.has_cut() {
                prop_assert_eq!(Some(consumer.head_key()), waiting.front().copied());
            }
            let (mut taken, limit) = (Vec::new(), bound.saturating_sub(past / 2));
            if jump == 3 {
                let before = consumer.position();
                let moved = consumer.take_out(limit, count, |key, _, value| taken.push((key, value)));
                prop_assert_eq!((moved, consumer.position()), (taken.len(), before + moved as u64));
            } else {
                consumer.take(limit, count, |key, _, value: &_| taken.push((key, *value)));
            }
            for (key, value) in taken {
                prop_assert_eq!((Some(key), value), (waiting.pop_front(), key));
            }
            if past % 2 == 0 {
                consumer.settle();
            }
        }
        while consumer.extend(Bound::OPEN) {}
        let mut rest = Vec::new();
        consumer.take(u64::MAX, usize::MAX, |key, _, _: &_| rest.push(key));
        prop_assert_eq!(rest, Vec::from(waiting));
    }
}

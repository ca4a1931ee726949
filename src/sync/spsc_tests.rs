//! The ring on one thread: where it wraps, what unwinds, what is dropped.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::spsc::{Consumer, Producer, ring};

/// How many values a look shows.
fn look<T>(consumer: &mut Consumer<T>) -> u64 {
    consumer.look() - consumer.head()
}

/// The values looked at from so many on, `count` at most; those in one slice.
fn part<T>(consumer: &Consumer<T>, from: u64, count: u64) -> &[T] {
    let start = consumer.head() + from;
    consumer.part(start..consumer.seen_end().min(start + count))
}

fn commit<T>(consumer: &mut Consumer<T>, count: u64) {
    consumer.commit(consumer.head() + count);
}

/// A ring of four slots that wraps behind the first `4 - start` values: so many went through it before.
fn ring_from<T>(start: usize, filler: impl Fn() -> T) -> (Producer<T>, Consumer<T>) {
    let (mut producer, mut consumer) = ring(4);
    for _ in 0..start {
        assert!(producer.push(filler()).is_ok());
        look(&mut consumer);
        commit(&mut consumer, 1);
    }
    (producer, consumer)
}

#[test]
fn what_was_written_before_an_unwind_is_visible() {
    let (mut producer, mut consumer) = ring::<String>(4);
    let mut n = 0;
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let next = || {
            n += 1;
            assert!(n < 3, "third");
            Some(n.to_string())
        };
        producer.fill(4, Some("0".to_string()), next, |_| Ok::<(), ()>(()), |written| assert_eq!(written, 3)).0
    }));
    assert!(unwound.is_err());
    assert_eq!(consumer.visible(), 3);
    assert_eq!(consumer.pop().as_deref(), Some("0"));
}

#[test]
fn a_value_is_changed_in_its_slot_and_one_that_is_not_admitted_is_held() {
    for start in 0..4 {
        let (mut producer, mut consumer) = ring_from(start, String::new);
        producer.look();
        let mut values = ["b", "c", "d"].map(String::from).into_iter();
        let admit = |value: &mut String| {
            value.push('!');
            if value == "d!" { Err(7) } else { Ok(()) }
        };
        let next = || values.next();
        let (written, held) = producer.fill(4, Some("a".to_string()), next, admit, |written| assert_eq!(written, 3));
        let (mut held, reason) = held.unwrap();
        assert_eq!((written, reason, held.position()), (3, 7, start as u64 + 3));
        held.change(|value| value.push('?'));
        assert_eq!(held.take(), "d!?");
        assert_eq!(look(&mut consumer), 3, "wrapped at {start}");
        assert_eq!([(); 3].map(|()| consumer.pop().unwrap()), ["a", "b!", "c!"]);
    }
}

#[test]
fn a_value_on_which_admitting_unwinds_is_dropped_and_those_before_it_are_visible() {
    let (mut producer, mut consumer) = ring::<std::rc::Rc<u8>>(4);
    let token = std::rc::Rc::new(0);
    let mut shown = 0;
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let admit = |_: &mut std::rc::Rc<u8>| {
            shown += 1;
            assert!(shown < 2, "second");
            Ok::<(), ()>(())
        };
        producer.fill(4, Some(token.clone()), || Some(token.clone()), admit, |_| ()).0
    }));
    assert!(unwound.is_err());
    assert_eq!((consumer.visible(), std::rc::Rc::strong_count(&token)), (2, 3));
    drop((consumer.pop(), consumer.pop()));
    assert_eq!(std::rc::Rc::strong_count(&token), 1);
}

#[test]
fn values_are_read_where_the_ring_wraps() {
    for start in 0..4 {
        let (mut producer, mut consumer) = ring_from(start, String::new);
        (0..4).for_each(|n| producer.push(n.to_string()).unwrap());
        assert_eq!(look(&mut consumer), 4);
        for done in 0..4 {
            let mut seen = Vec::new();
            while seen.len() < 4 - done {
                seen.extend_from_slice(part(&consumer, seen.len() as u64, 4));
            }
            assert_eq!(seen, (done..4).map(|n| n.to_string()).collect::<Vec<_>>(), "wrapped at {start}");
            commit(&mut consumer, 1);
        }
    }
}

#[test]
fn values_are_moved_out_where_the_ring_wraps() {
    for start in 0..4 {
        let (mut producer, mut consumer) = ring_from(start, String::new);
        (0..4).for_each(|n| producer.push(n.to_string()).unwrap());
        look(&mut consumer);
        let mut seen = Vec::new();
        consumer.drain(consumer.head() + 3, |value| seen.push(value));
        assert_eq!((seen, producer.room()), (["0", "1", "2"].map(String::from).to_vec(), 3), "wrapped at {start}");
        assert_eq!(part(&consumer, 0, 4), ["3"]);
    }
}

#[test]
fn only_what_was_looked_at_is_read() {
    let (mut producer, mut consumer) = ring::<u32>(4);
    producer.push(1).unwrap();
    assert_eq!(look(&mut consumer), 1);
    producer.push(2).unwrap();
    assert_eq!(part(&consumer, 0, 4), [1], "the second came later");
    assert_eq!(look(&mut consumer), 2);
    assert_eq!(part(&consumer, 0, 4), [1, 2]);
    assert_eq!(consumer.pop(), Some(1));
    let read = |consumer: &Consumer<u32>| catch_unwind(AssertUnwindSafe(|| part(consumer, 0, 1).to_vec()));
    assert_eq!(read(&consumer).unwrap(), [2]);
    producer.push(3).unwrap();
    assert_eq!(consumer.pop(), Some(2));
    assert!(read(&consumer).is_err(), "it has to look anew");
    assert_eq!(look(&mut consumer), 1);
    assert_eq!(read(&consumer).unwrap(), [3]);
}

#[test]
fn there_is_as_much_room_as_was_asked_for_whatever_the_power_of_two() {
    for capacity in 1..10 {
        let (mut producer, mut consumer) = ring::<usize>(capacity);
        let mut next = 0;
        for taken in 0..=capacity {
            assert_eq!(producer.room(), if taken == 0 { capacity } else { taken - 1 });
            while producer.push(next).is_ok() {
                next += 1;
            }
            assert_eq!((producer.room(), look(&mut consumer)), (0, capacity as u64));
            (0..taken).for_each(|_| assert!(consumer.pop().is_some()));
        }
        assert_eq!(next, (0..capacity).sum::<usize>() + capacity);
    }
}

#[test]
fn what_is_allowed_is_not_more_than_there_is() {
    let (mut producer, mut consumer) = ring::<u8>(4);
    producer.allow(2);
    assert_eq!((producer.allowed(), producer.free_end()), (2, 4));
    producer.push(1).unwrap();
    producer.push(2).unwrap();
    assert!(producer.vacant().is_none());
    producer.allow(0);
    assert_eq!(producer.allowed(), 0, "what is pushed is not taken back");
    producer.allow(100);
    assert_eq!(producer.allowed(), 2, "no more than was seen");
    look(&mut consumer);
    commit(&mut consumer, 2);
    assert_eq!((producer.allowed(), producer.room()), (2, 4), "seen when it is looked for");
    producer.look();
    assert_eq!((producer.free_end(), producer.allowed()), (6, 4));
}

#[test]
#[should_panic(expected = "a producer asks for no more than it saw")]
fn no_more_is_filled_than_is_allowed() {
    let (mut producer, _consumer) = ring::<u8>(4);
    producer.allow(2);
    producer.fill(3, None, || Some(0), |_| Ok::<(), ()>(()), |_| ());
}

#[test]
#[should_panic(expected = "a consumer asks for no more than it saw")]
fn no_more_is_given_back_than_was_looked_at() {
    let (mut producer, mut consumer) = ring::<u8>(4);
    producer.push(1).unwrap();
    look(&mut consumer);
    producer.push(2).unwrap();
    commit(&mut consumer, 2);
}

#[test]
fn what_is_left_is_dropped_with_the_last_end_once() {
    let token = std::rc::Rc::new(());
    for start in 0..5 {
        for consumer_goes_first in [false, true] {
            let (mut producer, mut consumer) = ring(5);
            for _ in 0..start {
                producer.push(token.clone()).unwrap();
                drop(consumer.pop());
            }
            (0..5).for_each(|_| producer.push(token.clone()).unwrap());
            look(&mut consumer);
            commit(&mut consumer, 1);
            assert_eq!(std::rc::Rc::strong_count(&token), 5);
            if consumer_goes_first {
                drop(consumer);
                assert_eq!(std::rc::Rc::strong_count(&token), 5, "the producer is there");
            } else {
                assert!(!consumer.is_abandoned());
                drop(producer);
                assert!(consumer.is_abandoned());
                assert_eq!(consumer.visible(), 4);
            }
        }
        assert_eq!(std::rc::Rc::strong_count(&token), 1, "wrapped at {start}");
    }
}

/// Unwinds when it is dropped, if it says so.
struct Dropped<'a>(bool, &'a std::cell::Cell<u32>);

impl Drop for Dropped<'_> {
    fn drop(&mut self) {
        self.1.set(self.1.get() + 1);
        assert!(!self.0, "as asked");
    }
}

#[test]
fn values_that_unwind_as_they_are_dropped_keep_no_other_from_that() {
    for start in 0..4 {
        for bad in 1..8_u32 {
            let dropped = std::cell::Cell::new(0);
            let (mut producer, mut consumer) = ring_from(start, || Dropped(false, &dropped));
            dropped.set(0);
            (0..4).for_each(|at| assert!(producer.push(Dropped(bad & 1 << at != 0, &dropped)).is_ok()));
            look(&mut consumer);
            assert!(catch_unwind(AssertUnwindSafe(|| commit(&mut consumer, 3))).is_err());
            assert_eq!((dropped.get(), producer.room(), consumer.visible()), (3, 3, 1), "{bad} at {start}");
            drop(consumer.pop());
            assert_eq!(dropped.get(), 4);
        }
    }
}

#[test]
fn a_ring_in_which_values_unwind_as_they_are_dropped_drops_all_of_them() {
    let dropped = std::cell::Cell::new(0);
    let (mut producer, consumer) = ring(4);
    (0..4).for_each(|at| assert!(producer.push(Dropped(at > 0, &dropped)).is_ok()));
    drop(producer);
    assert!(catch_unwind(AssertUnwindSafe(|| drop(consumer))).is_err());
    assert_eq!(dropped.get(), 4);
}

#[test]
fn a_ring_that_is_too_large_is_refused() {
    // The next power of two of these is none.
    for capacity in [usize::MAX, usize::MAX / 2 + 2] {
        assert!(catch_unwind(|| ring::<u8>(capacity)).is_err());
        assert!(catch_unwind(|| ring::<()>(capacity)).is_err());
    }
    assert!(catch_unwind(|| ring::<u64>(usize::MAX / 2)).is_err(), "more bytes than there can be");
}

#[test]
fn who_takes_may_unwind_and_no_value_is_taken_twice() {
    let dropped = std::cell::Cell::new(0);
    let (mut producer, mut consumer) = ring(4);
    (0..4).for_each(|_| assert!(producer.push(Dropped(false, &dropped)).is_ok()));
    look(&mut consumer);
    let mut seen = 0;
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        consumer.drain(consumer.head() + 3, |value| {
            drop(value);
            seen += 1;
            assert!(seen < 2, "second");
        });
    }));
    assert!(unwound.is_err());
    assert_eq!((dropped.get(), consumer.visible(), producer.room()), (2, 2, 2));
    drop((producer, consumer));
    assert_eq!(dropped.get(), 4);
}

#[test]
fn values_without_a_size_and_with_a_large_alignment_go_through() {
    #[repr(align(256))]
    #[derive(Debug, PartialEq)]
    struct Wide(u8);
    let (mut producer, mut consumer) = ring::<Wide>(3);
    let (mut units, mut taken) = ring::<()>(3);
    for n in 0..7 {
        producer.push(Wide(n)).unwrap();
        look(&mut consumer);
        let part = part(&consumer, 0, 1);
        assert_eq!((part, part.as_ptr().addr() % 256), ([Wide(n)].as_slice(), 0));
        commit(&mut consumer, 1);
        units.push(()).unwrap();
        assert_eq!((taken.pop(), taken.pop()), (Some(()), None));
    }
}

#[test]
fn a_value_that_is_held_is_changed_in_its_slot_then_published_taken_back_or_dropped() {
    let token = std::rc::Rc::new(());
    for start in 0..4 {
        let (mut producer, mut consumer) = ring_from(start, || (0, token.clone()));
        producer.look();
        let mut hold = |number: u32| {
            let mut held = producer.vacant().unwrap().hold((number, token.clone()));
            assert_eq!(held.position(), start as u64);
            held.change(|(number, _)| *number += 10);
            assert_eq!(
                (consumer.visible(), std::rc::Rc::strong_count(&token)),
                (0, 2),
                "it is there, and nobody sees it"
            );
            held.take().0
        };
        assert_eq!((hold(1), hold(2)), (11, 12));
        drop(producer.vacant().unwrap().hold((3, token.clone())));
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            producer.vacant().unwrap().hold((4, token.clone())).change(|_| panic!("as it was changed"))
        }));
        assert_eq!((unwound.is_err(), std::rc::Rc::strong_count(&token)), (true, 1), "each was dropped once");
        producer.vacant().unwrap().hold((5, token.clone())).publish();
        assert_eq!((producer.pushed(), consumer.visible()), (start as u64 + 1, 1));
        assert_eq!(consumer.pop().map(|(number, _)| number), Some(5));
    }
    assert_eq!(std::rc::Rc::strong_count(&token), 1);
}

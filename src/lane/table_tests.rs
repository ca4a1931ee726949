//! Tests of the table: one end after the other, on one thread.

use std::rc::Rc;

use crate::clock::Bound;
use crate::lane::table::{Begun, TableConsumer, TableProducer, Unread, table};

fn unread(key: u64, item: u32) -> Unread<u32> {
    Unread { key, sequence: 0, parts: 1, item }
}

/// Puts a value in a place that is filled, or in the next.
fn put(producer: &mut TableProducer<u32>, place: usize, value: Unread<u32>) {
    let is_next = place == producer.filled();
    match producer.begin(Some(place)) {
        Begun::SamePage(mut writing) if !is_next => writing.with_place(|place| *place = Some(value)),
        Begun::SamePage(writing) | Begun::FreshPage(writing) => writing.fill(value, || ()),
    }
}

fn collect(consumer: &mut TableConsumer<u32>, bound: Bound) -> Vec<u32> {
    let mut items = Vec::new();
    consumer.collect(bound, |value| items.push(value.item));
    items
}

#[test]
fn a_page_beyond_the_bound_stays_and_is_coalesced_further() {
    let (mut producer, mut consumer) = table(100);
    put(&mut producer, 0, unread(4, 1));
    assert_eq!(collect(&mut consumer, Bound(4)), [] as [u32; 0]);
    assert!(consumer.has_visible(), "it is left, not forgotten");
    put(&mut producer, 0, unread(6, 2));
    assert_eq!(collect(&mut consumer, Bound(7)), [2]);
    assert!(!consumer.has_visible());
}

#[test]
fn a_value_beyond_the_bound_on_a_page_that_is_taken_is_held_for_the_next_cut() {
    let (mut producer, mut consumer) = table(100);
    put(&mut producer, 0, unread(2, 1));
    put(&mut producer, 1, unread(4, 2));
    assert_eq!(collect(&mut consumer, Bound(4)), [1]);
    put(&mut producer, 0, unread(4, 3));
    assert_eq!(collect(&mut consumer, Bound(4)), [] as [u32; 0], "another pass of the same cut");
    assert!(consumer.has_visible(), "it is held, not forgotten");
    assert_eq!(collect(&mut consumer, Bound(6)), [2, 3]);
    assert!(!consumer.has_visible());
}

#[test]
fn a_key_that_is_always_written_just_after_the_bound_is_applied_every_other_cut() {
    let (mut producer, mut consumer) = table(2);
    let mut applied = Vec::new();
    for cut in 1..=9 {
        let bound = Bound(10 * cut + 1);
        put(&mut producer, 0, unread(10 * cut + 2, cut as u32));
        // Two passes, as every cut has at least.
        applied.extend(collect(&mut consumer, bound));
        applied.extend(collect(&mut consumer, bound));
    }
    assert_eq!(
        applied,
        [2, 4, 6, 8],
        "a page that was left is taken by the next cut, and its value held for the one after"
    );
}

#[test]
fn a_push_that_is_under_way_comes_late_and_holds_nothing_up() {
    let (mut producer, mut consumer) = table(3);
    (0..3).for_each(|item| put(&mut producer, item, unread(2, item as u32)));
    let Begun::SamePage(mut writing) = producer.begin(Some(1)) else { panic!("nothing was taken") };
    assert_eq!(collect(&mut consumer, Bound::OPEN), [0, 2]);
    assert!(!consumer.has_visible(), "there is nothing to be had of a push that stands still");
    writing.with_place(|place| *place = Some(unread(3, 7)));
    drop(writing);
    assert!(consumer.has_visible());
    put(&mut producer, 0, unread(4, 8));
    assert_eq!(collect(&mut consumer, Bound::OPEN), [7, 8]);
    assert!(!consumer.has_visible());
}

#[test]
fn a_push_that_touches_nothing_leaves_nothing_late() {
    let (mut producer, mut consumer) = table(1);
    put(&mut producer, 0, unread(2, 1));
    let writing = producer.begin(None);
    assert_eq!(collect(&mut consumer, Bound::OPEN), [1]);
    drop(writing);
    assert!(!consumer.has_visible());
}

/// A table in which something waits of each kind there is, and the values that were taken from it.
fn left_in(pushed_since: bool, late: bool, held: bool) -> Rc<()> {
    let token = Rc::new(());
    let value = |key| Unread { key, sequence: 0, parts: 1, item: token.clone() };
    let fill = |producer: &mut TableProducer<_>, key| {
        let filled = producer.filled();
        let (Begun::SamePage(writing) | Begun::FreshPage(writing)) = producer.begin(Some(filled));
        writing.fill(value(key), || ());
    };
    let (mut producer, mut consumer) = table(4);
    // A round of both pages first, so that more places were filled than are.
    for _ in 0..2 {
        (0..4).for_each(|_| fill(&mut producer, 2));
        consumer.collect(Bound::OPEN, drop);
    }
    (0..3).for_each(|key| fill(&mut producer, 2 + 2 * key));
    let bound = if held { Bound(5) } else { Bound::OPEN };
    if late {
        let (Begun::SamePage(mut writing) | Begun::FreshPage(mut writing)) = producer.begin(Some(1));
        consumer.collect(bound, drop);
        writing.with_place(|place| *place = Some(value(4)));
    } else {
        consumer.collect(bound, drop);
    }
    if pushed_since {
        fill(&mut producer, 8);
    }
    assert_eq!(Rc::strong_count(&token), 1 + usize::from(pushed_since) + usize::from(late) + usize::from(held));
    token
}

#[test]
fn what_nobody_took_is_dropped_with_the_table() {
    for at in 0..8 {
        let token = left_in(at & 1 > 0, at & 2 > 0, at & 4 > 0);
        assert_eq!(Rc::strong_count(&token), 1, "{at}");
    }
}

#[test]
fn a_place_that_its_push_did_not_fill_is_not_looked_at() {
    let token = Rc::new(());
    let (mut producer, mut consumer) = table(2);
    for fills in [false, true] {
        let (Begun::SamePage(writing) | Begun::FreshPage(writing)) = producer.begin(Some(0));
        writing.fill(Unread { key: 2, sequence: 0, parts: 1, item: token.clone() }, || ());
        let Begun::SamePage(writing) = producer.begin(Some(1)) else { panic!("nothing was taken") };
        assert!(consumer.collect(Bound::OPEN, drop));
        if fills {
            writing.fill(Unread { key: 2, sequence: 0, parts: 1, item: token.clone() }, || ());
        } else {
            drop(writing);
        }
        assert_eq!(consumer.collect(Bound::OPEN, drop), fills);
        assert_eq!(Rc::strong_count(&token), 1);
    }
}

#[test]
fn a_late_place_that_its_push_did_not_fill_is_not_dropped() {
    let token = Rc::new(());
    let (mut producer, mut consumer) = table(2);
    // Both places of both pages have held something.
    for fills in [2, 2, 1] {
        for _ in 0..fills {
            let filled = producer.filled();
            let (Begun::SamePage(writing) | Begun::FreshPage(writing)) = producer.begin(Some(filled));
            writing.fill(Unread { key: 2, sequence: 0, parts: 1, item: token.clone() }, || ());
        }
        if fills == 2 {
            consumer.collect(Bound::OPEN, drop);
        }
    }
    let writing = producer.begin(Some(1));
    consumer.collect(Bound::OPEN, drop);
    drop(consumer);
    drop(writing);
    drop(producer);
    assert_eq!(Rc::strong_count(&token), 1);
}

#[test]
#[should_panic(expected = "a place that is filled")]
fn a_place_that_is_not_filled_cannot_be_looked_at() {
    let (mut producer, _consumer) = table::<u32>(2);
    let Begun::SamePage(mut writing) = producer.begin(Some(0)) else { panic!("nothing was taken") };
    writing.with_place(|_| ());
}

#[test]
#[should_panic(expected = "places are filled in order")]
fn no_place_is_filled_behind_the_last() {
    let (mut producer, _consumer) = table(1);
    put(&mut producer, 0, unread(2, 1));
    let Begun::SamePage(writing) = producer.begin(Some(1)) else { panic!("nothing was taken") };
    writing.fill(unread(2, 2), || ());
}

#[test]
fn pages_go_round() {
    let (mut producer, mut consumer) = table(2);
    let mut taken = Vec::new();
    for n in 0..1000 {
        put(&mut producer, 0, unread(2 * u64::from(n), n));
        taken.extend(collect(&mut consumer, Bound::OPEN));
    }
    assert!(taken.into_iter().eq(0..1000));
}

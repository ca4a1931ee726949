//! What the main lane has taken from the table of a lane, in the order in which it was pushed.

use std::mem;

use crate::lane::runs::NO_KEY;
use crate::lane::table::Unread;
use crate::sync::prefetch;

/// So many values ahead of the first, one is asked for: they do not lie in the order in which they go.
const AHEAD: usize = 4;
/// Where no more than so many sequences stand for each value, there is a table of them instead of a sort.
const SPARSE: u64 = 4;

/// Values, by their sequences, with which their keys rise.
///
/// They stay where they were put. What is sorted is a word for each, which takes a fraction of the time.
pub(super) struct Hand<T> {
    values: Vec<Option<Unread<T>>>,
    /// Of each value its sequence, until they are arranged. Then of each that is left, in order, its place in `values`, and above that how
    /// much its sequence is more than the lowest.
    order: Vec<u64>,
    /// While they are arranged: at each sequence from the lowest on, one more than the place of its value, or zero.
    by_sequence: Vec<u32>,
    /// What of a word is the place.
    place: u64,
    /// The first word that is left.
    next: usize,
    head_key: u64,
}

impl<T> Hand<T> {
    pub(super) fn new() -> Self {
        Self { values: Vec::new(), order: Vec::new(), by_sequence: Vec::new(), place: 0, next: 0, head_key: NO_KEY }
    }

    /// Before anything is looked at, all must be [`arrange`](Hand::arrange)d again.
    #[inline]
    pub(super) fn add(&mut self, value: Unread<T>) {
        if self.is_arranged() {
            self.begin_anew();
        }
        self.order.push(value.sequence);
        self.values.push(Some(value));
    }

    #[inline]
    fn is_arranged(&self) -> bool {
        self.place != 0
    }

    fn begin_anew(&mut self) {
        self.values.retain(Option::is_some);
        self.order.clear();
        self.order.extend(self.values.iter().flatten().map(|value| value.sequence));
        (self.place, self.next, self.head_key) = (0, 0, NO_KEY);
    }

    /// Puts everything in order.
    #[inline]
    pub(super) fn arrange(&mut self) {
        if !self.is_arranged() && !self.is_empty() {
            self.arrange_all();
        }
    }

    #[inline(never)]
    fn arrange_all(&mut self) {
        let Self { values, order, by_sequence, .. } = self;
        let (lowest, highest) = order.iter().fold((u64::MAX, 0), |(low, high), of| (low.min(*of), high.max(*of)));
        let (distance, place_bits) = (highest - lowest, values.len().ilog2() + 1);
        if order.is_sorted() {
            order.iter_mut().zip(0..).for_each(|(word, place)| *word = place);
            self.place = u64::MAX;
        } else if distance < SPARSE * values.len() as u64 && values.len() < u32::MAX as usize {
            by_sequence.clear();
            by_sequence.resize(distance as usize + 1, 0);
            order.iter().zip(1..).for_each(|(sequence, nth)| by_sequence[(sequence - lowest) as usize] = nth);
            order.clear();
            order.extend(by_sequence.iter().filter(|nth| **nth > 0).map(|nth| u64::from(nth - 1)));
            self.place = u64::MAX;
        } else if distance <= u64::MAX >> place_bits {
            order.iter_mut().zip(0..).for_each(|(word, place)| *word = (*word - lowest) << place_bits | place);
            order.sort_unstable();
            self.place = (1 << place_bits) - 1;
        } else {
            self.arrange_slowly();
        }
        self.look_at_head();
    }

    /// Where sequences are further apart than a word holds beside a place.
    #[cold]
    fn arrange_slowly(&mut self) {
        let Self { values, order, .. } = self;
        order.iter_mut().zip(0..).for_each(|(word, place)| *word = place);
        order.sort_unstable_by_key(|place| values[*place as usize].as_ref().map(|value| value.sequence));
        self.place = u64::MAX;
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The key of the first value; [`NO_KEY`] where there is none.
    #[inline]
    pub(super) fn head_key(&self) -> u64 {
        self.head_key
    }

    #[inline]
    pub(super) fn first(&self) -> Option<&Unread<T>> {
        self.values[self.place_of(self.next)?].as_ref()
    }

    #[inline]
    fn place_of(&self, word: usize) -> Option<usize> {
        debug_assert!(self.is_arranged() || self.is_empty(), "what was added is arranged before it is looked at");
        Some((*self.order.get(word)? & self.place) as usize)
    }

    #[inline]
    fn look_at_head(&mut self) {
        self.head_key = self.first().map_or(NO_KEY, |value| value.key);
        if let Some(place) = self.place_of(self.next + AHEAD) {
            let ahead = &raw const self.values[place];
            prefetch::to_read(ahead.addr(), 1);
        }
    }

    /// By value.
    pub(super) fn remove_first(&mut self) -> Option<Unread<T>> {
        let place = self.place_of(self.next)?;
        let value = self.values[place].take();
        self.go_on();
        value
    }

    #[inline]
    pub(super) fn drop_first(&mut self) {
        if mem::needs_drop::<T>() {
            drop(self.remove_first());
        } else if let Some(place) = self.place_of(self.next) {
            self.values[place] = None;
            self.go_on();
        }
    }

    #[inline(always)]
    fn go_on(&mut self) {
        self.next += 1;
        if self.next == self.order.len() {
            self.values.clear();
            self.begin_anew();
        } else {
            self.look_at_head();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use proptest::prelude::*;

    use super::*;

    fn unread<T>(sequence: u64, item: T) -> Unread<T> {
        Unread { key: sequence / 2, sequence, parts: 1, item }
    }

    fn take<T>(hand: &mut Hand<T>, count: usize) -> Vec<u64> {
        let taken = (0..count).map_while(|_| {
            let first = hand.first()?;
            let (sequence, key) = (first.sequence, first.key);
            assert_eq!(hand.head_key(), key);
            match sequence % 2 {
                0 => hand.drop_first(),
                _ => assert_eq!(hand.remove_first()?.sequence, sequence),
            }
            Some(sequence)
        });
        taken.collect()
    }

    proptest! {
        #[test]
        fn values_go_in_the_order_of_their_sequences(
            start in prop_oneof![Just(0), Just(u64::MAX - 5_000), any::<u64>().prop_map(|start| start >> 1)],
            steps in proptest::collection::vec(
                (proptest::collection::hash_set(prop_oneof![0u64..40, 0u64..4_000], 0..30), 0usize..40, 0u32..60), 1..12
            )
        ) {
            let (mut hand, mut waiting) = (Hand::new(), Vec::new());
            for (added, taken, shift) in steps {
                for offset in added {
                    // Far from the others now and then: further than there is room for beside a place.
                    let sequence = start.saturating_add(if offset % 37 == 0 { offset << shift } else { offset });
                    if !waiting.contains(&sequence) {
                        waiting.push(sequence);
                        hand.add(unread(sequence, sequence));
                    }
                }
                hand.arrange();
                waiting.sort_unstable();
                prop_assert_eq!(hand.is_empty(), waiting.is_empty());
                let expected: Vec<_> = waiting.drain(..taken.min(waiting.len())).collect();
                prop_assert_eq!(take(&mut hand, taken), expected);
            }
            prop_assert_eq!(take(&mut hand, usize::MAX), waiting);
            prop_assert!(hand.is_empty() && hand.head_key() == NO_KEY && hand.first().is_none());
        }
    }

    #[test]
    fn a_value_is_dropped_when_it_has_gone_and_nothing_is_kept_of_it() {
        let (token, mut hand) = (Rc::new(()), Hand::new());
        let add = |hand: &mut Hand<_>, sequences: std::ops::Range<u64>| {
            sequences.for_each(|sequence| hand.add(unread(sequence, token.clone())));
            hand.arrange();
        };
        add(&mut hand, 0..4);
        for sequence in 4..1_000 {
            hand.drop_first();
            add(&mut hand, sequence..sequence + 1);
            assert_eq!(hand.values.len(), 4, "one that is never empty does not grow");
        }
        assert_eq!(Rc::strong_count(&token), 5);
        drop(hand);
        assert_eq!(Rc::strong_count(&token), 1);
    }
}

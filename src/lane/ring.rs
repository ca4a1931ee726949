//! A lane's way in for critical events: first in, first out, bounded, nothing lost.
//!
//! # Invariants
//! - **R1 rising keys**: the keys in a ring rise from head to tail. One producer takes them, in push order, from a
//!   counter that only grows.
//! - **R2 room before stamp**: a stamp is taken only when there is room for what it is for, so a producer that waits
//!   for room holds no old stamp.
//! - **R3 stamp before publication**: the keys of slots are known (R4, `lane/runs.rs`) before the slots are visible.
//!
//! Its pairs, P1 and P2, are those of the slots (`sync/spsc.rs`). P1 also closes the cut (`main_lane/cut.rs`) and, by `visible`, ends a
//! push (`lane/gate.rs`).
//!
//! # Slots ahead
//! Either end asks for the lines of its next slots before it comes to them (`sync/prefetch.rs`): the producer for slots that are free,
//! the main lane for values that are visible, and not for the few that were written last. That would take lines from the other only to
//! give them back.
//!
//! Model: `loom-tests/src/cut.rs`.

use crate::clock::Bound;
use crate::lane::runs::{NO_KEY, RunsConsumer, RunsProducer, STEP, runs};
use crate::sync::spsc;

/// A ring of `capacity` slots. Its keys may jump, or they are those of an unclocked lane, which rise by the step of a run
/// from the first on.
pub(crate) fn ring<T>(capacity: usize, jumps: bool) -> (RingProducer<T>, RingConsumer<T>) {
    let (producer, consumer) = spsc::ring(capacity);
    let (adding, reading) = runs(if jumps { capacity } else { 0 });
    (
        RingProducer { slots: producer, runs: adding, fetched_end: 0, ahead: Ahead::of::<T>(capacity) },
        RingConsumer {
            slots: consumer,
            runs: reading,
            position: 0,
            cut_end: 0,
            next_key: NO_KEY,
            run_end: 0,
            stride: (capacity / 4).max(1),
            fetched_end: 0,
            ahead: Ahead::of::<T>(capacity),
        },
    )
}

/// How many bytes of slots either end asks for at a time: thirty-two lines, some more than cores can wait for at once.
const STEP_BYTES: usize = 2048;

/// So many bytes must be visible for the main lane to ask for them: what a producer wrote last it is still writing beside.
const LEAST_BYTES: usize = 256;

/// How far the ends of a ring are ahead of themselves, in slots.
#[derive(Clone, Copy)]
struct Ahead {
    /// So many are asked for at a time; as many as there are where nothing is.
    step: usize,
    /// So many there must be.
    least: usize,
    /// False where slots are so large, or so few, that a step is none.
    asks: bool,
}

impl Ahead {
    fn of<T>(capacity: usize) -> Self {
        let size = size_of::<T>().max(1);
        let step = (STEP_BYTES / size).min(capacity / 4);
        let asks = step >= 2;
        Ahead { step: if asks { step } else { capacity }, least: LEAST_BYTES.div_ceil(size), asks }
    }

    /// As [`RingConsumer::fetch_ahead`].
    #[inline]
    fn fetch<T>(&self, slots: &spsc::Consumer<T>, position: u64, fetched_end: &mut u64) {
        let from = position.max(*fetched_end);
        if self.asks && from + self.least as u64 <= slots.seen_end() && *fetched_end < position + self.step as u64 {
            self.fetch_from(from, slots, position, fetched_end);
        }
    }

    /// Apart, for the sake of the loops that it is called from.
    #[inline(never)]
    fn fetch_from<T>(&self, from: u64, slots: &spsc::Consumer<T>, position: u64, fetched_end: &mut u64) {
        *fetched_end = slots.seen_end().min(position + 2 * self.step as u64);
        slots.prefetch(from..*fetched_end);
    }
}

/// The lane's end.
pub(crate) struct RingProducer<T> {
    slots: spsc::Producer<T>,
    runs: RunsProducer,
    /// Slots up to this position were asked for.
    fetched_end: u64,
    ahead: Ahead,
}

impl<T> RingProducer<T> {
    /// How many values were ever pushed.
    #[inline]
    pub(crate) fn pushed(&self) -> u64 {
        self.slots.pushed()
    }

    /// How many slots there are.
    #[cfg(feature = "control")]
    pub(crate) fn capacity(&self) -> usize {
        self.slots.capacity()
    }

    /// How many slots are free: at least `wanted`, or exactly how many there are.
    #[inline]
    pub(crate) fn room(&mut self, wanted: usize) -> usize {
        if self.slots.allowed() < wanted {
            self.look_for_room(wanted as u64);
        }
        self.slots.allowed()
    }

    /// Looks at the ring's head only when it has to, for that takes its line from the main lane. What is allowed is all that there was at
    /// first, and then a step more than was wanted.
    #[inline(never)]
    fn look_for_room(&mut self, wanted: u64) {
        let Self { slots, fetched_end, ahead, .. } = self;
        let (tail, step) = (slots.pushed(), ahead.step as u64);
        let end = tail + wanted + step;
        if slots.free_end() < end {
            // P2: slots counted here were emptied by `RingConsumer::settle`, `take_out` or `pop`.
            slots.look();
        }
        slots.allow(end);
        if !ahead.asks {
            return;
        }
        // A step further than will be written before the next look.
        let from = (*fetched_end).max(tail);
        let to = (end + step).min(slots.free_end()).min(from + 2 * step);
        if from < to {
            slots.prefetch(from, (to - from) as usize);
            *fetched_end = to;
        }
    }

    /// How many slots are free, exactly, and nothing asked for.
    #[cfg(feature = "control")]
    pub(crate) fn free(&self) -> usize {
        self.slots.room()
    }

    /// The next slot, if there is room.
    #[inline(always)]
    pub(crate) fn vacant(&mut self) -> Option<Vacant<'_, T>> {
        if self.slots.allowed() == 0 {
            std::hint::cold_path();
            self.look_for_room(1);
        }
        self.vacant_at_hand()
    }

    /// The next slot, if the last look allows it.
    #[inline(always)]
    pub(crate) fn vacant_at_hand(&mut self) -> Option<Vacant<'_, T>> {
        let Self { slots, runs, .. } = self;
        Some(Vacant { slot: slots.vacant()?, runs })
    }

    /// Publishes `first`, if there is one, and what `next` yields at once, `limit` values at most, with the keys from `key` on; `limit`
    /// must be one at least, and not exceed the room. Returns how many there were.
    ///
    /// `admit` is shown each but `first` in its slot, and may change it; one that it does not admit ends the run, and is held there, to
    /// be taken out, with what it said. If `next` or `admit` unwinds, what was admitted before is published all the same. `count` is told how many
    /// were ever pushed, before that is seen.
    #[inline]
    pub(crate) fn fill<U>(
        &mut self,
        key: u64,
        limit: usize,
        first: Option<T>,
        next: impl FnMut() -> Option<T>,
        admit: impl FnMut(&mut T) -> Result<(), U>,
        count: impl FnOnce(u64),
    ) -> (usize, Option<(spsc::Held<'_, T>, U)>) {
        let Self { slots, runs, .. } = self;
        let position = slots.pushed();
        // P1: one release for all of them. R3: their keys are known before.
        slots.fill(limit, first, next, admit, |written| {
            runs.begin(position, key);
            count(position + written as u64);
        })
    }
}

/// R2 as a value: there is room for the next.
#[must_use = "nothing is pushed but by `publish`"]
pub(crate) struct Vacant<'a, T> {
    slot: spsc::Vacant<'a, T>,
    runs: &'a mut RunsProducer,
}

impl<'a, T> Vacant<'a, T> {
    /// How many values were pushed before.
    #[inline(always)]
    pub(crate) fn position(&self) -> u64 {
        self.slot.position()
    }

    /// Gives it its key. Not needed where that is a step after the last.
    #[inline(always)]
    pub(crate) fn stamp(self, key: u64) -> Self {
        self.runs.begin(self.slot.position(), key);
        self
    }

    /// R3: after it was stamped.
    #[inline(always)]
    pub(crate) fn publish(self, item: T) {
        // P1: hands the slot to `RingConsumer::look` and `extend`.
        self.slot.publish(item);
    }

    /// Writes the value, to be prepared where it is.
    #[inline(always)]
    pub(crate) fn hold(self, item: T) -> Held<'a, T> {
        Held { slot: self.slot.hold(item), runs: self.runs }
    }
}

/// A value in its slot, and not visible.
#[must_use = "nothing is pushed but by `publish`"]
pub(crate) struct Held<'a, T> {
    slot: spsc::Held<'a, T>,
    runs: &'a mut RunsProducer,
}

impl<T> Held<'_, T> {
    /// How many values were pushed before.
    #[inline]
    pub(crate) fn position(&self) -> u64 {
        self.slot.position()
    }

    #[inline]
    pub(crate) fn change<R>(&mut self, change: impl FnOnce(&mut T) -> R) -> R {
        self.slot.change(change)
    }

    /// With its key, R3.
    #[inline]
    pub(crate) fn publish(self, key: u64) {
        self.runs.begin(self.slot.position(), key);
        // P1: hands the slot to `RingConsumer::look` and `extend`.
        self.slot.publish();
    }

    #[inline]
    pub(crate) fn take(self) -> T {
        self.slot.take()
    }
}

/// The main lane's end.
///
/// From the head of the ring on, in this order: values taken, whose slots are not given back yet; values in the cut;
/// values that are visible; others that may be visible by now.
pub(crate) struct RingConsumer<T> {
    slots: spsc::Consumer<T>,
    runs: RunsConsumer,
    /// Of the first value that is not taken.
    position: u64,
    /// The position after the last value in the cut.
    cut_end: u64,
    /// The key of the first value in the cut, or none; and the position at which its run ends, or the cut.
    next_key: u64,
    run_end: u64,
    /// How many slots are given back together at most: a quarter of them.
    stride: usize,
    /// Values up to this position were asked for.
    fetched_end: u64,
    ahead: Ahead,
}

impl<T> RingConsumer<T> {
    /// True when something is visible that was not taken, in the cut or not.
    #[inline]
    pub(crate) fn has_visible(&self) -> bool {
        self.slots.seen_end() > self.position || self.slots.visible_end() > self.position
    }

    /// How many values are visible now and not taken.
    #[inline]
    pub(crate) fn visible(&self) -> usize {
        (self.slots.visible_end() - self.position) as usize
    }

    /// True when values of the cut are left.
    #[inline]
    pub(crate) fn has_cut(&self) -> bool {
        self.cut_end > self.position
    }

    /// Looks at what is visible now; true if anything is that is not in the cut.
    #[inline]
    pub(crate) fn look(&mut self) -> bool {
        // P1: the values before this were written before `Vacant::publish` or the end of `fill`.
        let is_new = self.slots.look() > self.cut_end;
        if is_new {
            self.fetch_ahead();
        }
        is_new
    }

    /// Asks for values that come next, if they are near, some lines of them, and were not asked for.
    #[inline]
    fn fetch_ahead(&mut self) {
        self.ahead.fetch(&self.slots, self.position, &mut self.fetched_end);
    }

    /// Extends the cut over everything that the last look saw. Before it was taken (K3): their keys are below its bound.
    #[inline]
    pub(crate) fn admit(&mut self) {
        self.extend_to(self.slots.seen_end());
    }

    /// The position after the last value in the cut.
    #[inline]
    pub(crate) fn cut_end(&self) -> u64 {
        self.cut_end
    }

    /// The key after that of the last value in the cut.
    #[inline]
    pub(crate) fn end_key(&mut self) -> Option<u64> {
        self.has_cut().then(|| self.newest_key(self.cut_end - 1) + 1)
    }

    /// Extends the cut over the visible values with keys below `bound`; true if that added any. Looks anew only when
    /// everything seen so far is in the cut: what it returns is final when it is false.
    #[inline]
    pub(crate) fn extend(&mut self, bound: Bound) -> bool {
        // R1: with a value beyond the bound in sight, there is nothing more below it.
        if self.slots.seen_end() == self.cut_end && !self.look() {
            return false;
        }
        let (before, seen_end) = (self.cut_end, self.slots.seen_end());
        let all = bound == Bound::OPEN || self.newest_key(seen_end - 1) < bound.0;
        self.extend_to(if all { seen_end } else { self.below(bound) });
        self.cut_end > before
    }

    #[inline]
    fn extend_to(&mut self, end: u64) {
        if end > self.cut_end {
            self.cut_end = end;
            self.seek();
        }
    }

    /// The position after the last visible value with a key below `bound`, or where the cut ends already.
    #[cold]
    fn below(&self, bound: Bound) -> u64 {
        let (mut low, mut high) = (self.cut_end, self.slots.seen_end());
        while low < high {
            let middle = low + (high - low) / 2;
            let key = self.runs.look_at(middle, self.slots.seen_end());
            if key < bound.0 { low = middle + 1 } else { high = middle }
        }
        low
    }

    #[inline]
    fn newest_key(&mut self, position: u64) -> u64 {
        self.runs.newest(position, self.slots.seen_end())
    }

    /// Goes to the run of the first value in the cut.
    #[inline]
    fn seek(&mut self) {
        if self.has_cut() {
            (self.next_key, self.run_end) = self.runs.at(self.position, self.cut_end);
        } else {
            self.next_key = NO_KEY;
        }
    }

    /// The key of the first value in the cut; [`NO_KEY`] where there is none.
    #[inline]
    pub(crate) fn head_key(&self) -> u64 {
        self.next_key
    }

    /// The position of the first value that was not taken: how many ever were.
    #[inline]
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Where a part of the cut ends that has no more than `count` values, lies in one run, and has keys below `limit`.
    #[inline]
    fn part_end(&self, limit: u64, count: usize) -> u64 {
        let below = (limit - self.next_key).div_ceil(STEP);
        self.run_end.min(self.position.saturating_add(below.min(count as u64)))
    }

    /// Gives the values of the cut with keys below `limit` to `read`, in place, at most `count`. Returns how many. A value whose `read` unwinds is not taken. Slots are given back by
    /// [`settle`](RingConsumer::settle).
    #[inline]
    pub(crate) fn take(&mut self, limit: u64, count: usize, mut read: impl Read<T>) -> usize {
        let mut done = 0;
        loop {
            // Also where the last one ended so, and `read` unwound then.
            if self.position == self.run_end {
                self.seek();
            }
            if done >= count || self.next_key >= limit {
                return done;
            }
            done += self.take_part(self.part_end(limit, count - done), &mut read);
        }
    }

    /// Takes values of the run that the first one is in, up to a position or less far, one at least.
    #[inline]
    fn take_part(&mut self, end: u64, read: &mut impl Read<T>) -> usize {
        let Self { slots, position, next_key, fetched_end, ahead, .. } = self;
        let values = slots.part(*position..end);
        let (first, first_key) = (*position, *next_key);
        read.begin(first);
        let mut taking = Taking { position, next_key, done: 0 };
        let mut rest = values;
        loop {
            let (step, behind) = rest.split_at(rest.len().min(ahead.step));
            for value in step {
                read.read(first_key + STEP * taking.done, first + taking.done, value);
                taking.done += 1;
            }
            ahead.fetch(slots, first + taking.done, fetched_end);
            rest = behind;
            if rest.is_empty() {
                break;
            }
        }
        read.end(first_key, first, values);
        values.len()
    }

    /// The values taken from `position` on, which must be within what the last `read` that unwound had begun with; and the first one's key.
    pub(crate) fn unfinished(&self, position: u64) -> (u64, &[T]) {
        let done = self.position.saturating_sub(position);
        let values = if done == 0 { &[] } else { self.slots.part(position..self.position) };
        (self.next_key - STEP * done, values)
    }

    /// Moves the values of the cut with keys below `limit` to `take`, in order, at most `count`, each with its key and its
    /// position, and gives their slots back. Returns how many. One on which `take` unwinds is gone.
    pub(crate) fn take_out(&mut self, limit: u64, count: usize, mut take: impl FnMut(u64, u64, T)) -> usize {
        self.settle();
        let first = self.position;
        let done = |position: u64| (position - first) as usize;
        while done(self.position) < count && self.next_key < limit {
            self.fetch_ahead();
            let end = self.part_end(limit, count - done(self.position)).min(self.position + self.ahead.step as u64);
            let Self { slots, position, next_key, .. } = self;
            // P2: hands the slots back to `RingProducer::look_for_room`.
            slots.drain(end, |value| {
                let (its_key, its_position) = (*next_key, *position);
                *next_key += STEP;
                *position += 1;
                take(its_key, its_position, value);
            });
            if self.position == self.run_end {
                self.seek();
            }
        }
        done(self.position)
    }

    #[inline]
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// True when so many slots were taken that they should be given back.
    #[inline]
    pub(crate) fn should_settle(&self) -> bool {
        self.position - self.slots.head() >= self.stride as u64
    }

    /// Gives the slots of the values taken back to the producer; true if there were any. Drops the values.
    #[inline]
    pub(crate) fn settle(&mut self) -> bool {
        if self.position == self.slots.head() {
            return false;
        }
        // P2: hands the slots back to `RingProducer::look_for_room`.
        self.slots.commit(self.position);
        true
    }

    /// Removes the first value of the cut, by value: the one that a reducer could not apply. The last thing that is done to
    /// a ring.
    pub(crate) fn pop(&mut self) -> Option<T> {
        self.settle();
        if !self.has_cut() {
            return None;
        }
        self.position += 1;
        (self.cut_end, self.next_key) = (self.position, NO_KEY);
        self.slots.pop()
    }
}

/// Who reads values in place: in parts, whose values lie in one row and have keys that rise by [`STEP`].
pub(crate) trait Read<T> {
    /// A part begins with the value at `position`.
    #[inline]
    fn begin(&mut self, position: u64) {
        let _ = position;
    }

    /// The next value, with its key and its position.
    fn read(&mut self, key: u64, position: u64, value: &T);

    /// The part is read: all of its values, with the key and the position of the first.
    #[inline]
    fn end(&mut self, key: u64, position: u64, values: &[T]) {
        let _ = (key, position, values);
    }
}

impl<T, F: FnMut(u64, u64, &T)> Read<T> for F {
    #[inline]
    fn read(&mut self, key: u64, position: u64, value: &T) {
        self(key, position, value);
    }
}

/// Counts values of a run as taken, also when the reader unwinds.
struct Taking<'a> {
    position: &'a mut u64,
    next_key: &'a mut u64,
    done: u64,
}

impl Drop for Taking<'_> {
    #[inline]
    fn drop(&mut self) {
        *self.position += self.done;
        *self.next_key += STEP * self.done;
    }
}

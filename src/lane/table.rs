//! A lane's way in for lossy events: at most one unread value per entry, taken by the main lane when it wants them.
//!
//! Wait-free on both sides: a thread stopped at any instruction never blocks the other. The lane side decides which
//! entry a key has (`lane/coalesce.rs`); this file only hands values over.
//!
//! An entry's word holds the slot of its unread value *and the low bits of that value's key*, so that the main lane can
//! leave a value beyond its bound where it is, to be coalesced further, without taking it first. A value found beyond the
//! bound by two cuts in a row is taken all the same, and *held* for the next one: else a producer that writes a key again
//! and again, always just after the bound was fixed, would keep it from ever being applied.
//!
//! # Invariants
//! - **T1 ownership**: a slot named by an entry belongs to nobody until one side takes the entry back to `NONE` by a
//!   read-modify-write; the side that does owns the slot.
//! - **T2 enough slots**: `entries + 1` slots suffice. An entry names at most one, the main lane's hand holds at most
//!   one, the others are free or on their way back.
//! - **T3 no lost notification**: a value stored in an entry has its dirty bit set, or is about to; a dirty word that
//!   is not empty has its summary bit set, or is about to. The setter of a word's first bit sets the summary bit.
//! - **T4 rising keys**: the keys of the values one lane stores never fall, so a value left behind at a bound leaves no
//!   older one of its entry behind it.
//! - **T5 held values come next**: a held value's key was read from the clock before the value was taken, so it is below
//!   the bound of every later cut; there is at most one for each entry and cut.
//!
//! # Pairs
//! | pair | release                                | acquire                                | hands over            |
//! |------|----------------------------------------|----------------------------------------|-----------------------|
//! | P6   | `entries`, `TableProducer::put`        | `entries`, `TableConsumer::take_entry` | a written slot        |
//! | P7   | `dirty`, `TableProducer::put`          | `dirty`, `TableConsumer::collect`      | the entry's new word  |
//! | P8   | `summary`, `TableProducer::put`        | `summary`, `TableConsumer::collect`    | the dirty word's bit  |
//! | P9   | `entries`, `TableConsumer::take_entry` | `entries`, `TableProducer::take_back`  | the slots returned before it (T2) |
//! | P10  | `tail` of `returned`, `take_entry`     | `head` side, `TableProducer::free_slot`| an emptied slot       |
//!
//! Model: `loom-tests/src/table.rs`.

#![expect(unsafe_code, reason = "slots are handed over by the entry words, T1")]

use crate::clock::Bound;
use crate::sync::{
    Arc, AtomicU64, CachePadded,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
    UnsafeCell, spsc,
};

/// The most entries one table can have.
pub(crate) const ENTRIES_MAX: usize = (1 << SLOT_BITS) - 2;

const SLOT_BITS: u32 = 20;
const SLOT_MASK: u64 = (1 << SLOT_BITS) - 1;
const WORD_BITS: usize = 64;
/// The word of an entry without an unread value. Its slot number is one that no table has.
const NONE: u64 = u64::MAX;

/// A value, its place in the order, and how many pushes it stands for.
pub(crate) struct Unread<T> {
    pub(crate) key: u64,
    pub(crate) sequence: u64,
    pub(crate) parts: u32,
    pub(crate) item: T,
}

/// The slot of an unread value, owned by whoever took it (T1).
pub(crate) struct SlotIndex(u32);

impl SlotIndex {
    pub(crate) fn number(&self) -> usize {
        self.0 as usize
    }
}

struct Table<T> {
    entries: Box<[AtomicU64]>,
    slots: Box<[UnsafeCell<Option<Unread<T>>>]>,
    dirty: Box<[CachePadded<AtomicU64>]>,
    summary: Box<[CachePadded<AtomicU64>]>,
}

// SAFETY: T1. A slot is touched only by the side that took its entry's word, and P6, P9 and P10 order those accesses.
unsafe impl<T: Send> Sync for Table<T> {}

// SAFETY: it owns its values and nothing tied to a thread.
unsafe impl<T: Send> Send for Table<T> {}

pub(crate) fn table<T>(entries: usize) -> (TableProducer<T>, TableConsumer<T>) {
    debug_assert!(entries <= ENTRIES_MAX);
    let words = entries.div_ceil(WORD_BITS);
    let summaries = words.div_ceil(WORD_BITS);
    let zeroes = |count: usize| (0..count).map(|_| CachePadded::new(AtomicU64::new(0))).collect();
    let table = Arc::new(Table {
        entries: (0..entries).map(|_| AtomicU64::new(NONE)).collect(),
        // T2.
        slots: (0..=entries).map(|_| UnsafeCell::new(None)).collect(),
        dirty: zeroes(words),
        summary: zeroes(summaries),
    });
    let (returning, returned) = spsc::ring(entries + 1);
    let producer =
        TableProducer { table: table.clone(), free: (0..=entries as u32).rev().map(SlotIndex).collect(), returned };
    let consumer = TableConsumer {
        table,
        returning,
        left: vec![0; words].into(),
        left_words: vec![0; summaries].into(),
        left_at: vec![0; entries].into(),
        held: Vec::new(),
        bound: Bound(0),
    };
    (producer, consumer)
}

/// The lane's end.
pub(crate) struct TableProducer<T> {
    table: Arc<Table<T>>,
    free: Vec<SlotIndex>,
    returned: spsc::Consumer<u32>,
}

impl<T> TableProducer<T> {
    /// Takes the unread value of `entry` back, if the main lane has not taken it.
    #[inline]
    pub(crate) fn take_back(&mut self, entry: usize) -> Option<SlotIndex> {
        // P9 when this finds `NONE`: the slots that the main lane returned before it took this entry are visible.
        // T1 when it finds a slot: it was ours, and is again.
        let word = self.table.entries[entry].swap(NONE, Acquire);
        (word != NONE).then_some(SlotIndex((word & SLOT_MASK) as u32))
    }

    /// A slot that nobody holds. Never fails after `take_back` of the entry it is wanted for (T2).
    #[inline]
    pub(crate) fn free_slot(&mut self, returned: impl FnMut(usize)) -> SlotIndex {
        if self.free.is_empty() {
            self.reclaim(returned);
        }
        match self.free.pop() {
            Some(slot) => slot,
            None => unreachable!("T2: of entries + 1 slots one is free when an entry is empty"),
        }
    }

    /// Gathers the slots that the main lane has emptied, and names each to `returned`.
    pub(crate) fn reclaim(&mut self, mut returned: impl FnMut(usize)) {
        // P10: the slots named here are empty and ours.
        while let Some(slot) = self.returned.pop() {
            returned(slot as usize);
            self.free.push(SlotIndex(slot));
        }
    }

    /// Gives back a slot that is not going to be used.
    pub(crate) fn release(&mut self, slot: SlotIndex) {
        self.free.push(slot);
    }

    /// Moves the value out of a slot that we own.
    #[inline]
    pub(crate) fn take_value(&mut self, slot: &SlotIndex) -> Option<Unread<T>> {
        // SAFETY: T1. A `SlotIndex` on this side is a slot that no entry names and the main lane does not hold.
        self.table.slots[slot.number()].with_mut(|slot| unsafe { (*slot).take() })
    }

    /// Stores `value` as the unread value of `entry`, which must be empty: `take_back` was called and nothing put since.
    #[inline]
    pub(crate) fn put(&mut self, entry: usize, slot: SlotIndex, value: Unread<T>) {
        let word = pack(value.key, slot.0);
        // SAFETY: T1, as in `take_value`.
        self.table.slots[slot.number()].with_mut(|slot| unsafe { *slot = Some(value) });
        // P6: hands the slot written above to `take_entry`.
        self.table.entries[entry].store(word, Release);
        let (at, bit) = (entry / WORD_BITS, 1u64 << (entry % WORD_BITS));
        // P7, T3: a read-modify-write every time. To test the bit first would lose a notification: the test could read
        // a bit that the main lane has already taken away.
        if self.table.dirty[at].fetch_or(bit, Release) == 0 {
            // P8, T3: ours is the word's first bit since the main lane emptied it.
            self.table.summary[at / WORD_BITS].fetch_or(1 << (at % WORD_BITS), Release);
        }
    }
}

/// The main lane's end.
pub(crate) struct TableConsumer<T> {
    table: Arc<Table<T>>,
    returning: spsc::Producer<u32>,
    /// Dirty bits taken from the table whose values were beyond the bound.
    left: Box<[u64]>,
    /// Which words of `left` are not empty.
    left_words: Box<[u64]>,
    /// The bound at which each entry's value was left last; zero if it was taken since.
    left_at: Box<[u64]>,
    /// Values taken beyond the bound, for the next cut (T5).
    held: Vec<Unread<T>>,
    /// The bound of the cut that is being taken.
    bound: Bound,
}

impl<T> TableConsumer<T> {
    /// True when a value may be waiting.
    #[inline]
    pub(crate) fn has_visible(&self) -> bool {
        let waiting = |(summary, left): (&CachePadded<AtomicU64>, &u64)| *left != 0 || summary.load(Relaxed) != 0;
        // Relaxed: whoever relies on a no has synchronised with the producer already, by B1, P4 or P5.
        !self.held.is_empty() || self.table.summary.iter().zip(&self.left_words).any(waiting)
    }

    /// Takes every unread value with a key below `bound`; true if there was any.
    pub(crate) fn collect(&mut self, bound: Bound, mut take: impl FnMut(Unread<T>)) -> bool {
        let mut added = false;
        if self.bound != bound {
            self.bound = bound;
            added = !self.held.is_empty();
            self.held.drain(..).for_each(&mut take);
        }
        for at in 0..self.table.summary.len() {
            // The load only spares an idle table the exchange. It may be relaxed: what the cut needs to see here happened
            // before this pass.
            let fresh = match self.table.summary[at].load(Relaxed) {
                0 => 0,
                // P8.
                _ => self.table.summary[at].swap(0, Acquire),
            };
            let words = fresh | std::mem::take(&mut self.left_words[at]);
            for word in bits(words) {
                added |= self.collect_word(at * WORD_BITS + word, bound, &mut take);
            }
        }
        added
    }

    fn collect_word(&mut self, at: usize, bound: Bound, take: &mut impl FnMut(Unread<T>)) -> bool {
        // P8 has made the word's first bit visible, so a load that finds nothing spares the exchange. P7: the words of the
        // entries named here are visible.
        let dirty = match self.table.dirty[at].load(Relaxed) {
            0 => 0,
            _ => self.table.dirty[at].swap(0, Acquire),
        };
        let dirty = dirty | std::mem::take(&mut self.left[at]);
        let mut added = false;
        for bit in bits(dirty) {
            match self.take_entry(at * WORD_BITS + bit, bound) {
                Taken::Value(value) => {
                    added = true;
                    take(value);
                }
                Taken::Held(value) => self.held.push(value),
                Taken::BeyondBound => self.leave(at, bit),
                Taken::Nothing => {}
            }
        }
        added
    }

    /// Remembers that a value is still there, for the next cut.
    fn leave(&mut self, at: usize, bit: usize) {
        self.left[at] |= 1 << bit;
        self.left_words[at / WORD_BITS] |= 1 << (at % WORD_BITS);
    }

    fn take_entry(&mut self, entry: usize, bound: Bound) -> Taken<T> {
        let word = self.table.entries[entry].load(Relaxed);
        if word == NONE {
            return Taken::Nothing;
        }
        let below = is_below(word, bound);
        let left_at = std::mem::take(&mut self.left_at[entry]);
        if !below && (left_at == 0 || left_at == bound.0) {
            self.left_at[entry] = bound.0;
            return Taken::BeyondBound;
        }
        // An exchange that writes only what it takes: where it fails, the lane has taken the value back to coalesce
        // it, and will mark the entry dirty again. P6 on success; P9: what we returned before is visible to whoever
        // finds this `NONE`.
        if self.table.entries[entry].compare_exchange(word, NONE, AcqRel, Relaxed).is_err() {
            return Taken::Nothing;
        }
        let slot = (word & SLOT_MASK) as u32;
        // SAFETY: T1. The exchange made the slot ours; P6 made its content visible.
        let value = self.table.slots[slot as usize].with_mut(|slot| unsafe { (*slot).take() });
        // P10: hands the emptied slot to `reclaim`.
        let returned = self.returning.push(slot);
        debug_assert!(returned.is_ok(), "T2: the way back holds every slot there is");
        match value {
            Some(value) if below => Taken::Value(value),
            Some(value) => Taken::Held(value),
            None => Taken::Nothing,
        }
    }
}

enum Taken<T> {
    Value(Unread<T>),
    /// Beyond the bound for the second cut in a row.
    Held(Unread<T>),
    BeyondBound,
    Nothing,
}

fn pack(key: u64, slot: u32) -> u64 {
    (key << SLOT_BITS) | u64::from(slot)
}

/// Compares the low bits of a key with those of the bound, around the wrap. The distance is always below half of their
/// range, 2^43: while a value waits for a main lane that stands still, stamps advance by what the rings can hold, times
/// what a run of a batch may take in advance (`RUN_MAX`), which is 2^30 for the largest ring there can be.
fn is_below(word: u64, bound: Bound) -> bool {
    let distance = (word & !SLOT_MASK).wrapping_sub(bound.0 << SLOT_BITS);
    bound == Bound::OPEN || (distance as i64) < 0
}

fn bits(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        (word != 0).then(|| {
            let bit = word.trailing_zeros() as usize;
            word &= word - 1;
            bit
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unread(key: u64, item: u32) -> Unread<u32> {
        Unread { key, sequence: 0, parts: 1, item }
    }

    fn put(producer: &mut TableProducer<u32>, entry: usize, value: Unread<u32>) {
        let slot = match producer.take_back(entry) {
            Some(slot) => slot,
            None => producer.free_slot(|_| ()),
        };
        producer.put(entry, slot, value);
    }

    fn collect(consumer: &mut TableConsumer<u32>, bound: Bound) -> Vec<u32> {
        let mut items = Vec::new();
        consumer.collect(bound, |value| items.push(value.item));
        items
    }

    #[test]
    fn a_value_beyond_the_bound_stays_and_is_coalesced_further() {
        let (mut producer, mut consumer) = table(100);
        put(&mut producer, 70, unread(4, 1));
        assert_eq!(collect(&mut consumer, Bound(4)), [] as [u32; 0]);
        assert!(consumer.has_visible(), "it is left, not forgotten");
        put(&mut producer, 70, unread(6, 2));
        assert_eq!(collect(&mut consumer, Bound(7)), [2]);
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
        assert_eq!(applied, [2, 4, 6, 8], "each cut that finds it left behind takes it for the next");
        assert!(consumer.has_visible(), "the last one is still to come");
        assert_eq!(collect(&mut consumer, Bound(101)), [9]);
    }

    #[test]
    fn slots_go_round() {
        let (mut producer, mut consumer) = table(2);
        for n in 0..1000 {
            put(&mut producer, n as usize % 2, unread(2 * u64::from(n), n));
            if n % 3 == 0 {
                collect(&mut consumer, Bound::OPEN);
            }
        }
        collect(&mut consumer, Bound::OPEN);
        producer.reclaim(|_| ());
        assert_eq!(producer.free.len(), 3, "every slot came back");
    }

    #[test]
    fn entries_past_the_first_summary_word_are_found() {
        let (mut producer, mut consumer) = table(64 * 64 * 2 + 1);
        for entry in [0, 63, 64, 4095, 4096, 8192] {
            put(&mut producer, entry, unread(2, entry as u32));
        }
        assert_eq!(collect(&mut consumer, Bound(3)), [0, 63, 64, 4095, 4096, 8192]);
    }

    #[test]
    fn keys_compare_around_the_wrap_of_their_low_bits() {
        let wrap = 1u64 << (64 - SLOT_BITS);
        for (key, bound) in [(2, 3), (wrap - 2, wrap + 1), (3 * wrap - 2, 3 * wrap - 1)] {
            assert!(is_below(pack(key, 5), Bound(bound)), "{key} is below {bound}");
            assert!(!is_below(pack(bound, 5), Bound(key)), "{bound} is not below {key}");
        }
        assert!(!is_below(pack(7, 0), Bound(7)), "the bound itself is outside");
    }
}

//! Which place of the lane's page a key has.
//!
//! A hash table of open addressing. A slot holds a number: how many values had been put anywhere before the one that it stands for;
//! that one's place follows from it, and whether it is on the page. So all slots are empty at once when a page begins, and nothing is
//! cleared. Keys lie with their places, one behind another.
//!
//! Of a number a slot has the lower half. So that no value of long ago looks as if it were on the page when numbers have gone
//! round, slots are swept: some as each page begins, all of them before numbers have gone half round.
//!
//! A page with few values should touch little memory, whatever there is room for. So there are *levels*, tables of which each has
//! four times the slots of the one before. A page begins on the smallest in which as many values as it may have find
//! room, and goes on with the next when that is full; nothing moves from one to another. More often than not there is one to look at.
//!
//! Source: linear probing, with deletion by moving back what follows (D. E. Knuth, *The Art of Computer Programming*,
//! volume 3, section 6.4, algorithms L and R).

use std::ops::Range;
use std::{iter, mem};

use crate::lane::table::KEYS_MAX;

/// No level has fewer slots than this, unless it is the only one.
const SLOTS_MIN: usize = 1 << 10;
/// So many times the slots of the one before.
const GROWTH: usize = 4;
/// Up to so many slots, three quarters of a level stay empty: most look-ups end at the first, which processors tell ahead. Of more
/// slots it is half, for what does not fit into the caches takes longer.
const ROOMY: usize = 1 << 14;
/// For so many values one slot is swept, at least: all of the largest index before numbers have gone half round.
const SWEEP: u32 = 1 << 9;

// Of the largest index that there can be: it has less than twice the slots of its largest level.
const _: () = assert!(4 * KEYS_MAX as u64 * SWEEP as u64 <= 1 << 31);

/// The lower half of the number of a value.
type Slot = u32;

/// A power of two of slots, of which half at least are empty.
#[derive(Default)]
struct Level(Box<[Slot]>);

impl Level {
    /// How many values it takes.
    fn room(&self) -> usize {
        room(self.0.len())
    }

    #[inline]
    fn home(&self, hash: u32) -> usize {
        hash as usize & (self.0.len() - 1)
    }

    #[inline]
    fn behind(&self, at: usize) -> usize {
        (at + 1) & (self.0.len() - 1)
    }

    fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & (self.0.len() - 1)
    }

    /// The slot, and the place, of the key with this hash, which `is_at` knows; or the slot that it would have.
    #[inline]
    fn find(&self, on_page: Numbers, hash: u32, is_at: impl Fn(u32) -> bool) -> Result<(usize, u32), usize> {
        let mut at = self.home(hash);
        loop {
            let Some(place) = on_page.place_of(self.0[at]) else { return Err(at) };
            if is_at(place) {
                return Ok((at, place));
            }
            at = self.behind(at);
        }
    }

    /// Empties a slot. `hash_at` tells the hashes of the keys of all places.
    fn remove(&mut self, on_page: Numbers, slot: usize, hash_at: impl Fn(u32) -> u32) {
        let (mut hole, mut at) = (slot, self.behind(slot));
        while let Some(place) = on_page.place_of(self.0[at]) {
            // What would be looked for in vain behind the hole moves into it.
            let home = self.home(hash_at(place));
            if self.distance(home, at) >= self.distance(hole, at) {
                self.0[hole] = self.0[at];
                hole = at;
            }
            at = self.behind(at);
        }
        self.0[hole] = on_page.none();
    }
}

fn room(slots: usize) -> usize {
    slots / if slots <= ROOMY { 4 } else { 2 }
}

/// Which values are on the page.
#[derive(Clone, Copy)]
struct Numbers {
    /// How many had been put anywhere before the first: the lower half of that.
    before: u32,
    filled: u32,
}

impl Numbers {
    #[inline]
    fn place_of(self, slot: Slot) -> Option<u32> {
        let place = slot.wrapping_sub(self.before);
        (place < self.filled).then_some(place)
    }

    #[inline]
    fn slot_of(self, place: u32) -> Slot {
        self.before.wrapping_add(place)
    }

    /// On no page for as long as can be.
    #[inline]
    fn none(self) -> Slot {
        self.before.wrapping_sub(1)
    }
}

/// The slot of a key that is not on the page.
#[derive(Clone, Copy)]
pub(super) struct Vacant(usize);

/// The places of one page, by the hashes of their keys.
pub(super) struct Index {
    /// The level that is being filled, and how many values more it takes.
    top: Level,
    room: usize,
    on_page: Numbers,
    /// How many values the page may have: as many as one before, or fewer by an eighth for each since.
    expected: u32,
    /// The levels below the top that are filled: none, for most pages.
    below: Range<usize>,
    /// The smallest first; the largest has room for all places there are. The top is not in its place, which is at the end of `below`.
    levels: Box<[Level]>,
    /// The level and the slot to sweep next.
    unswept: (usize, usize),
}

impl Index {
    /// Of a page with so many places. No memory is asked for later.
    pub(super) fn new(capacity: usize) -> Self {
        Self::numbered_from(1, capacity)
    }

    fn numbered_from(first: u32, capacity: usize) -> Self {
        let smaller = |slots: &usize| Some(slots / GROWTH).filter(|slots| *slots >= SLOTS_MIN);
        let largest = (2..usize::BITS).map(|bits| 1 << bits).find(|slots| room(*slots) >= capacity);
        let on_page = Numbers { before: first, filled: 0 };
        let level = |slots| Level(vec![on_page.none(); slots].into());
        let mut levels: Vec<_> = iter::successors(largest, smaller).map(level).collect();
        levels.reverse();
        let top = mem::take(&mut levels[0]);
        Self { room: top.room(), top, on_page, expected: 0, below: 0..0, levels: levels.into(), unswept: (0, 0) }
    }

    /// How many places of the page are filled.
    #[inline]
    pub(super) fn filled(&self) -> u32 {
        self.on_page.filled
    }

    /// True when all values are on one level.
    #[inline]
    pub(super) fn is_level(&self) -> bool {
        self.below.is_empty()
    }

    /// The place of the key with this hash, which `is_at` knows; or where it would be. Where the index
    /// [`is_level`](Index::is_level).
    #[inline]
    pub(super) fn find_on_top(&self, hash: u32, is_at: impl Fn(u32) -> bool) -> Result<u32, Vacant> {
        self.top.find(self.on_page, hash, is_at).map(|(_, place)| place).map_err(Vacant)
    }

    /// As [`find_on_top`](Index::find_on_top), on all levels.
    pub(super) fn find(&self, hash: u32, is_at: impl Fn(u32) -> bool) -> Result<u32, Vacant> {
        let on = |level: &Level| level.find(self.on_page, hash, &is_at).ok();
        match self.levels[self.below.clone()].iter().find_map(on) {
            Some((_, place)) => Ok(place),
            None => self.find_on_top(hash, is_at),
        }
    }

    /// A page begins, on which nothing is. Returns where a key with this hash would be.
    pub(super) fn begin_page(&mut self, hash: u32) -> Vacant {
        let Numbers { before, filled } = self.on_page;
        self.on_page = Numbers { before: before.wrapping_add(filled), filled: 0 };
        self.put_back();
        self.sweep(1 + (filled / SWEEP) as usize);
        self.expected = filled.max(self.expected - self.expected / 8);
        let (last, expected) = (self.levels.len() - 1, self.expected as usize);
        let bottom = self.levels[..last].iter().position(|level| level.room() >= expected).unwrap_or(last);
        self.go_on(bottom..bottom);
        Vacant(self.top.home(hash))
    }

    /// Empties slots, of which none may be of the page: right when it begins.
    fn sweep(&mut self, mut slots: usize) {
        while slots > 0 {
            let (at, from) = self.unswept;
            let (levels, level) = (self.levels.len(), &mut self.levels[at].0[from..]);
            let swept = slots.min(level.len());
            level[..swept].fill(self.on_page.none());
            slots -= swept;
            self.unswept = if swept < level.len() { (at, from + swept) } else { ((at + 1) % levels, 0) };
        }
    }

    fn put_back(&mut self) {
        self.levels[self.below.end] = mem::take(&mut self.top);
    }

    fn go_on(&mut self, below: Range<usize>) {
        self.top = mem::take(&mut self.levels[below.end]);
        (self.below, self.room) = (below, self.top.room());
    }

    /// The next place is filled, by a key with this hash that is not on the page. There must be one.
    #[inline]
    pub(super) fn fill(&mut self, vacant: Vacant, hash: u32) {
        let place = self.on_page.filled;
        self.on_page.filled += 1;
        self.insert(vacant, place, hash);
    }

    /// A place goes from one key to another, which is not on the page. `hash_at` tells the hashes of the keys of all places, as they
    /// were before.
    pub(super) fn rename(&mut self, place: u32, hash: u32, hash_at: impl Fn(u32) -> u32) {
        self.remove(place, hash_at);
        let Err(vacant) = self.find_on_top(hash, |_| false) else { unreachable!("nothing is what is sought") };
        self.insert(vacant, place, hash);
    }

    #[inline]
    fn insert(&mut self, Vacant(mut at): Vacant, place: u32, hash: u32) {
        if self.room == 0 {
            at = self.go_up(hash);
        }
        self.room -= 1;
        self.top.0[at] = self.on_page.slot_of(place);
    }

    /// Goes on with the next level. There is one: the largest takes all that there are.
    #[cold]
    fn go_up(&mut self, hash: u32) -> usize {
        let Range { start, end } = self.below;
        self.put_back();
        self.go_on(start..end + 1);
        self.top.home(hash)
    }

    fn remove(&mut self, place: u32, hash_at: impl Fn(u32) -> u32) {
        let (on_page, hash) = (self.on_page, hash_at(place));
        for level in &mut self.levels[self.below.clone()] {
            if let Ok((slot, _)) = level.find(on_page, hash, |other| other == place) {
                return level.remove(on_page, slot, hash_at);
            }
        }
        if let Ok((slot, _)) = self.top.find(on_page, hash, |other| other == place) {
            self.top.remove(on_page, slot, hash_at);
            self.room += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// An index, the keys that are on its page, each with its place, and what is to be had of it otherwise.
    struct Page {
        index: Index,
        hash_of: fn(u32) -> u32,
        keys: Vec<u32>,
        places: HashMap<u32, u32>,
    }

    impl Page {
        fn find(&self, key: u32) -> Result<u32, Vacant> {
            self.index.find((self.hash_of)(key), |place| self.keys[place as usize] == key)
        }

        /// Puts a key that has no place into the next, or where there is none into that of another.
        fn put(&mut self, key: u32, of: u32, capacity: usize) {
            let Err(vacant) = self.find(key) else { return };
            let (hash, filled) = ((self.hash_of)(key), self.index.filled());
            let place = if (filled as usize) < capacity {
                self.index.fill(vacant, hash);
                filled
            } else {
                let place = of % filled;
                self.index.rename(place, hash, |place| (self.hash_of)(self.keys[place as usize]));
                self.places.remove(&self.keys[place as usize]);
                place
            };
            // Beyond what is filled there are keys of earlier pages.
            self.keys.resize(self.keys.len().max(place as usize + 1), 0);
            self.keys[place as usize] = key;
            self.places.insert(key, place);
        }

        fn begin(&mut self, key: u32) {
            let hash = (self.hash_of)(key);
            let vacant = self.index.begin_page(hash);
            self.places.clear();
            self.index.fill(vacant, hash);
            self.keys.resize(self.keys.len().max(1), 0);
            self.keys[0] = key;
            self.places.insert(key, 0);
        }
    }

    /// Nearly every slot is behind another.
    fn colliding(key: u32) -> u32 {
        key % 3 * 0x4000_0001
    }

    fn spread(key: u32) -> u32 {
        key.wrapping_mul(0x9E37_79B9).rotate_left(16)
    }

    proptest! {
        #[test]
        fn keys_have_the_places_that_they_were_given(
            capacity in prop_oneof![1usize..6, Just(600)],
            first in prop_oneof![Just(1), u32::MAX - 8..u32::MAX, any::<u32>()],
            spreads in any::<bool>(),
            steps in proptest::collection::vec((0u32..12, 1u32..300, any::<u32>(), 0u8..16), 1..60)
        ) {
            let index = Index::numbered_from(first, capacity);
            let hash_of = if spreads || capacity > 6 { spread } else { colliding };
            let mut page = Page { index, hash_of, keys: Vec::new(), places: HashMap::new() };
            for (key, count, of, what) in steps {
                // Many at once where there is room for many.
                let count = if capacity > 6 { count } else { 1 };
                if what == 0 {
                    page.begin(key);
                }
                (0..count).for_each(|nth| page.put(key + 12 * nth, of ^ nth, capacity));
                prop_assert_eq!(page.index.filled() as usize, page.places.len());
                for key in 0..12 + 12 * count {
                    prop_assert_eq!(page.find(key).ok(), page.places.get(&key).copied());
                }
            }
        }
    }

    #[test]
    fn a_page_begins_on_a_level_that_pages_before_have_shown_to_be_large_enough() {
        let (capacity, mut of) = (100_000, 0);
        let mut page = Page { index: Index::new(capacity), hash_of: spread, keys: Vec::new(), places: HashMap::new() };
        let mut fill = |count: u32| {
            page.begin(of);
            let level = page.index.top.0.len();
            (1..count).for_each(|key| page.put(of + key, 0, capacity));
            of += count;
            (level, page.index.is_level())
        };
        assert_eq!(fill(100), (1 << 10, true), "the smallest");
        assert_eq!(fill(30_000), (1 << 10, false), "it went up from there");
        assert_eq!(fill(30_000), (1 << 16, true));
        assert_eq!(fill(30), (1 << 16, true), "where a large page was, one may come again soon");
        assert_eq!((0..60).map(|_| fill(30)).last(), Some((1 << 10, true)), "but not for ever");
    }

    #[test]
    fn no_slot_keeps_a_number_until_it_comes_round() {
        for capacity in [1, 3, 600] {
            let mut index = Index::new(capacity);
            let slots: usize = index.levels.iter().map(|level| level.0.len()).sum::<usize>() + index.top.0.len();
            // The largest pages, and those of one value.
            for values in [capacity.max(1) as u32, 1] {
                let puts = 3 * slots as u32 * if values > 1 { SWEEP } else { 1 };
                for page in 0..puts / values {
                    let vacant = index.begin_page(spread(page));
                    index.fill(vacant, spread(page));
                    for key in page + 1..page + values {
                        let Err(vacant) = index.find(spread(key), |_| false) else { unreachable!() };
                        index.fill(vacant, spread(key));
                    }
                }
                let age = |slot: &Slot| index.on_page.before.wrapping_sub(*slot) as i32;
                let oldest = index.levels.iter().chain([&index.top]).flat_map(|level| &level.0).map(age).max();
                let limit = if values > 1 { slots * SWEEP as usize + capacity } else { slots + 1 };
                assert!(oldest.is_some_and(|oldest| oldest <= limit as i32), "{oldest:?} of {limit}");
            }
        }
    }
}

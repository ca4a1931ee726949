//! What goes the whole way: an event of some size, and the context that it is given.

use std::num::NonZeroU16;

use mainlane::{Facets, Fill};

use super::super::transport::Payload;

/// One event in so many is lossy.
const LOSSY_EVERY: u64 = 8;
/// How many values the lossy events of a lane are about.
pub(crate) const KEYS: usize = 8;

/// An event of 24 bytes and so many words: 32 bytes with one of them, 64 with five, 256 with 29.
#[derive(Clone, Copy)]
pub(crate) struct Parcel<const WORDS: usize> {
    lane: u32,
    /// What its enricher makes of it; zero before.
    mark: u32,
    /// In its lane, critical and lossy ones together, from zero.
    number: u64,
    /// Since the slice began; zero if nobody looked at the clock.
    pub(crate) pushed_ns: u64,
    rest: [u64; WORDS],
}

impl<const WORDS: usize> Default for Parcel<WORDS> {
    fn default() -> Self {
        Self::new(0, 0)
    }
}

impl<const WORDS: usize> Payload for Parcel<WORDS> {
    #[inline]
    fn new(lane: usize, number: u64) -> Self {
        Self { lane: lane as u32, mark: 0, number, pushed_ns: 0, rest: [number; WORDS] }
    }

    #[inline]
    fn producer(&self) -> usize {
        self.lane as usize
    }

    #[inline]
    fn number(&self) -> u64 {
        self.number
    }
}

impl<const WORDS: usize> Parcel<WORDS> {
    /// The same, with the time of its push.
    #[inline]
    pub(crate) fn at(self, pushed_ns: u64) -> Self {
        Self { pushed_ns, ..self }
    }

    /// Which value it is about, if it is lossy.
    #[inline]
    pub(crate) fn key(&self) -> Option<usize> {
        (self.number % LOSSY_EVERY == LOSSY_EVERY - 1).then_some((self.number / LOSSY_EVERY) as usize % KEYS)
    }

    /// True when every word is as it was pushed. All of it is read, as a real consumer would.
    #[inline]
    pub(crate) fn is_whole(&self) -> bool {
        self.rest.iter().fold(0, |damage, word| damage | (word ^ self.number)) == 0
    }

    /// True when its enricher has seen it, if it has one.
    #[inline]
    pub(crate) fn is_marked(&self, enriched: bool) -> bool {
        self.mark == if enriched { self.mark_to_be() } else { 0 }
    }

    /// A hash, as an enricher may well take one.
    #[inline]
    fn mark_to_be(&self) -> u32 {
        ((self.number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32
    }
}

/// How many critical events there are among the first `count` of a lane.
pub(crate) fn critical_among(count: u64) -> u64 {
    count - count / LOSSY_EVERY
}

/// How many events there are for each critical one.
pub(crate) const ALL_PER_CRITICAL: f64 = LOSSY_EVERY as f64 / (LOSSY_EVERY - 1) as f64;

/// The number of the first critical event from this one on.
#[inline]
pub(crate) fn critical_from(number: u64) -> u64 {
    number + u64::from(number % LOSSY_EVERY == LOSSY_EVERY - 1)
}

/// The number of the newest value of a key after `count` events of its lane; `None` if there was none.
pub(crate) fn newest_of(key: usize, count: u64) -> Option<u64> {
    let lossy = count / LOSSY_EVERY;
    let rounds = (lossy + KEYS as u64 - 1 - key as u64) / KEYS as u64;
    let last = (rounds.checked_sub(1)?) * KEYS as u64 + key as u64;
    Some(last * LOSSY_EVERY + LOSSY_EVERY - 1)
}

/// The context of an event, each part from another place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Context {
    /// Set by the enricher.
    source: Option<NonZeroU16>,
    /// A default of the lane.
    project: Option<NonZeroU16>,
    /// What the state knows.
    pane: Option<NonZeroU16>,
}

impl Context {
    /// All that an event of a lane has when it is applied.
    pub(crate) fn of(lane: usize) -> Self {
        let mut all = Self { source: source_of(lane), ..Self::default() };
        all.fill(&Self::of_lane(lane));
        all.fill(&Self::of_state(lane));
        all
    }

    /// The lane's defaults.
    pub(crate) fn of_lane(lane: usize) -> Self {
        Self { project: NonZeroU16::new(lane as u16 / 4 + 1), ..Self::default() }
    }

    /// What the state knows about a lane's origin.
    pub(crate) fn of_state(lane: usize) -> Self {
        Self { pane: NonZeroU16::new(lane as u16 + 1000), ..Self::default() }
    }
}

impl Facets for Context {
    #[inline]
    fn fill(&mut self, fallback: &Self) {
        self.source.fill(&fallback.source);
        self.project.fill(&fallback.project);
        self.pane.fill(&fallback.pane);
    }
}

fn source_of(lane: usize) -> Option<NonZeroU16> {
    NonZeroU16::new(lane as u16 + 1)
}

/// The enricher of all contenders that have one.
#[inline]
pub(crate) fn enrich<const WORDS: usize>(parcel: &mut Parcel<WORDS>, context: &mut Context) {
    parcel.mark = parcel.mark_to_be();
    context.source.fill(&source_of(parcel.producer()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_have_the_sizes_that_are_said() {
        let sizes = [size_of::<Parcel<1>>(), size_of::<Parcel<5>>(), size_of::<Parcel<29>>()];
        assert_eq!(sizes, [32, 64, 256]);
    }

    #[test]
    fn damage_to_any_word_is_noticed() {
        let parcel = Parcel::<5>::new(3, 77);
        assert!(parcel.is_whole());
        for at in 0..5 {
            let mut damaged = parcel;
            damaged.rest[at] ^= 1 << at;
            assert!(!damaged.is_whole());
        }
        assert!(!Parcel { number: 78, ..parcel }.is_whole());
    }

    #[test]
    fn what_is_to_come_of_a_number_of_events_is_what_comes_of_them() {
        for count in 0..300 {
            let (mut newest, mut critical) = ([None; KEYS], Vec::new());
            for number in 0..count {
                match Parcel::<1>::new(0, number).key() {
                    Some(key) => newest[key] = Some(number),
                    None => critical.push(number),
                }
            }
            assert_eq!(critical.len() as u64, critical_among(count));
            assert!((0..KEYS).all(|key| newest_of(key, count) == newest[key]), "after {count}");
            assert!(critical.windows(2).all(|two| critical_from(two[0] + 1) == two[1]));
        }
    }

    #[test]
    fn context_is_complete_only_with_all_three_places() {
        let (mut parcel, mut context) = (Parcel::<1>::new(9, 4), Context::default());
        assert!(parcel.is_marked(false) && !parcel.is_marked(true));
        enrich(&mut parcel, &mut context);
        assert!(parcel.is_marked(true) && !parcel.is_marked(false));
        context.fill(&Context::of_lane(9));
        assert_ne!(context, Context::of(9));
        context.fill(&Context::of_state(9));
        assert_eq!(context, Context::of(9));
    }
}

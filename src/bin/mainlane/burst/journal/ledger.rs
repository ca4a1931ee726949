//! What is journaled: postings of 24 bytes, in memory and as they are encoded, and a state that knows whether all of them
//! came, in their order.

use mainlane::{Class, Effects, Envelope, Event, Reducer};
use serde::{Deserialize, Serialize};

/// With this bit, and none above it, a word is encoded in eight bytes.
const TOP: u64 = 1 << 55;
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// An event of 24 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Posting(pub(crate) [u64; 3]);

impl Posting {
    #[inline]
    pub(crate) fn new(number: u64) -> Self {
        let word = |factor: u64| number.wrapping_mul(factor) & (TOP - 1) | TOP;
        Self([word(1), word(SPREAD), word(SPREAD >> 7)])
    }
}

impl Event for Posting {
    type Key = ();
    type Facets = ();

    #[inline]
    fn class(&self) -> Class<()> {
        Class::Critical
    }
}

/// How many postings there were, and what they come to in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ledger {
    pub(crate) count: u64,
    digest: u64,
}

impl Ledger {
    #[inline]
    pub(crate) fn post(&mut self, posting: &Posting) {
        let [number, account, amount] = posting.0;
        self.digest = (self.digest.rotate_left(5) ^ number ^ amount).wrapping_mul(SPREAD) ^ account;
        self.count += 1;
    }

    /// After the first `count` postings.
    pub(crate) fn of(count: u64) -> Self {
        let mut ledger = Self::default();
        (0..count).for_each(|number| ledger.post(&Posting::new(number)));
        ledger
    }
}

impl Reducer for Ledger {
    type Event = Posting;
    type Effect = ();

    #[inline]
    fn apply(&mut self, envelope: &Envelope<'_, Posting>, _: &mut Effects<()>) {
        self.post(envelope.event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_knows_what_is_missing_doubled_or_out_of_order() {
        let of = |numbers: &[u64]| {
            let mut ledger = Ledger::default();
            numbers.iter().for_each(|number| ledger.post(&Posting::new(*number)));
            ledger
        };
        assert_eq!(of(&[0, 1, 2]), Ledger::of(3));
        for wrong in [[0, 2, 1], [0, 1, 3], [0, 1, 1]] {
            assert_ne!(of(&wrong), Ledger::of(3), "{wrong:?}");
        }
    }

    #[test]
    fn every_word_is_eight_bytes_when_encoded() {
        for number in [0, 1, 1 << 20, 1 << 40] {
            // As postcard writes numbers: seven bits in a byte.
            let bytes = |word: &u64| (64 - word.leading_zeros()).div_ceil(7);
            assert_eq!(Posting::new(number).0.iter().map(bytes).sum::<u32>(), 24);
        }
    }
}

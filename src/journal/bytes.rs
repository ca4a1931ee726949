//! Numbers and texts as they stand in payloads, and a careful reader of them.
//!
//! A number is written seven bits at a time, the lowest first, with the highest bit set in all bytes but the last: 1 byte
//! below 128, 10 at most. A text is its length in bytes as such a number, then its bytes in UTF-8. Signed numbers are
//! folded first, so that small ones stay small: 0, -1, 1, -2 are written as 0, 1, 2, 3.

use super::record::Fault;

/// The most bytes that a number takes.
const NUMBER_BYTES_MAX: usize = 10;

#[inline]
pub(crate) fn put_number(number: u64, bytes: &mut Vec<u8>) {
    // Nearly all there are.
    if number < 0x80 {
        return bytes.push(number as u8);
    }
    if number < 1 << (7 * 8) {
        // The last byte that is one is the last that is not followed by another.
        let last = (63 - number.leading_zeros()) / 7;
        let word = spread(number) | 0x8080_8080_8080_8080 & ((1 << (8 * last)) - 1);
        bytes.extend_from_slice(&word.to_le_bytes());
        bytes.truncate(bytes.len() - 7 + last as usize);
        return;
    }
    let (written, length) = number_bytes(number);
    bytes.extend_from_slice(&written[..length]);
}

/// Seven bits in each byte of what is 56 bits at most.
#[inline]
fn spread(number: u64) -> u64 {
    let halves = number & 0x0FFF_FFFF | (number & 0x0FFF_FFFF << 28) << 4;
    let quarters = halves & 0x0000_3FFF_0000_3FFF | (halves & 0x0FFF_C000_0FFF_C000) << 2;
    quarters & 0x007F_007F_007F_007F | (quarters & 0x3F80_3F80_3F80_3F80) << 1
}

/// Appends what are often few bytes: a call that copies them, as `extend_from_slice` comes to, takes longer than they do.
#[inline]
pub(crate) fn put_few(few: &[u8], bytes: &mut Vec<u8>) {
    match few.len() {
        0 => {}
        1 => bytes.push(few[0]),
        2..=3 => put_ends::<2>(few, bytes),
        4..=7 => put_ends::<4>(few, bytes),
        8..=16 => put_ends::<8>(few, bytes),
        _ => bytes.extend_from_slice(few),
    }
}

/// Appends `LENGTH` to twice as many bytes: the first and the last so many, which may overlap.
#[inline]
fn put_ends<const LENGTH: usize>(few: &[u8], bytes: &mut Vec<u8>) {
    if let (Some(first), Some(last)) = (few.first_chunk::<LENGTH>(), few.last_chunk::<LENGTH>()) {
        bytes.extend_from_slice(first);
        bytes.truncate(bytes.len() + few.len() - 2 * LENGTH);
        bytes.extend_from_slice(last);
    }
}

/// A number's bytes, and how many they are.
fn number_bytes(number: u64) -> ([u8; NUMBER_BYTES_MAX], usize) {
    let (mut bytes, mut last, mut rest) = ([0; NUMBER_BYTES_MAX], 0, number);
    while rest >= 0x80 {
        bytes[last] = rest as u8 | 0x80;
        rest >>= 7;
        last += 1;
    }
    bytes[last] = rest as u8;
    (bytes, last + 1)
}

pub(crate) fn put_text(text: &str, bytes: &mut Vec<u8>) {
    put_number(text.len() as u64, bytes);
    bytes.extend_from_slice(text.as_bytes());
}

/// Writes what `write` writes, with its length before it.
#[inline]
pub(crate) fn put_block<T>(bytes: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let start = bytes.len();
    // Room for the length of a short one; a long one is moved for the rest.
    bytes.push(0);
    let written = write(bytes);
    let length = bytes.len() - start - 1;
    if length < 0x80 {
        bytes[start] = length as u8;
    } else {
        let (number, number_length) = number_bytes(length as u64);
        let end = bytes.len();
        bytes.resize(end + number_length - 1, 0);
        bytes.copy_within(start + 1..end, start + number_length);
        bytes[start..start + number_length].copy_from_slice(&number[..number_length]);
    }
    written
}

/// A signed number as an unsigned one.
#[inline]
pub(crate) fn fold(number: i64) -> u64 {
    (number << 1 ^ number >> 63) as u64
}

#[inline]
pub(crate) fn unfold(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

/// What is left to be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl<'a> Bytes<'a> {
    #[inline]
    pub(crate) fn byte(&mut self) -> Result<u8, Fault> {
        let (first, rest) = self.0.split_first().ok_or(Fault::Ends)?;
        self.0 = rest;
        Ok(*first)
    }

    #[inline]
    pub(crate) fn number(&mut self) -> Result<u64, Fault> {
        let mut number = 0;
        for place in 0..NUMBER_BYTES_MAX {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7F);
            if part << (7 * place) >> (7 * place) != part {
                return Err(Fault::Number);
            }
            number |= part << (7 * place);
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Fault::Number)
    }

    #[inline]
    pub(crate) fn small_number(&mut self) -> Result<u32, Fault> {
        self.number()?.try_into().map_err(|_| Fault::Number)
    }

    /// As many bytes as the number before them says.
    #[inline]
    pub(crate) fn block(&mut self) -> Result<&'a [u8], Fault> {
        let length = self.number()?;
        let length = usize::try_from(length).ok().filter(|length| *length <= self.0.len()).ok_or(Fault::Ends)?;
        let (block, rest) = self.0.split_at(length);
        self.0 = rest;
        Ok(block)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, Fault> {
        std::str::from_utf8(self.block()?).map_err(|_| Fault::Text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_number_is_read_as_it_was_written(number: u64, rest: [u8; 3]) {
            for number in (0..64).map(|shift| number >> shift) {
                let mut bytes = Vec::new();
                put_number(number, &mut bytes);
                prop_assert_eq!(&bytes, &number_bytes(number).0[..bytes.len()]);
                prop_assert_eq!(bytes.len(), (64 - number.leading_zeros()).div_ceil(7).max(1) as usize);
                bytes.extend(rest);
                let mut left = Bytes(&bytes);
                prop_assert_eq!(left.number(), Ok(number));
                prop_assert_eq!(left.0, rest);
                prop_assert_eq!(unfold(fold(number as i64)), number as i64);
            }
        }

        #[test]
        fn few_bytes_are_appended_as_they_are(few in prop::collection::vec(any::<u8>(), 0..40), before: Vec<u8>) {
            let mut bytes = before.clone();
            put_few(&few, &mut bytes);
            prop_assert_eq!(bytes, [before, few].concat());
        }

        #[test]
        fn a_block_is_read_as_it_was_written(block in prop::collection::vec(any::<u8>(), 0..300), before: u8, rest: [u8; 3]) {
            let mut bytes = vec![before];
            put_block(&mut bytes, |bytes| bytes.extend(&block));
            bytes.extend(rest);
            let mut left = Bytes(&bytes);
            prop_assert_eq!(left.byte(), Ok(before));
            prop_assert_eq!(left.block(), Ok(&block[..]));
            prop_assert_eq!(left.0, rest);
        }
    }

    #[test]
    fn small_numbers_of_either_sign_are_one_byte() {
        assert_eq!([0, -1, 1, -2, i64::MAX, i64::MIN].map(fold), [0, 1, 2, 3, u64::MAX - 1, u64::MAX]);
    }

    #[test]
    fn a_long_block_has_a_long_length() {
        for (length, expected) in [(127, 1), (128, 2), (16_383, 2), (16_384, 3), (1 << 21, 4)] {
            let mut bytes = Vec::new();
            put_block(&mut bytes, |bytes| bytes.resize(bytes.len() + length, 7));
            assert_eq!(bytes.len(), length + expected);
            assert_eq!(Bytes(&bytes).block().unwrap(), vec![7; length]);
        }
    }

    #[test]
    fn what_ends_too_early_or_is_too_large_is_a_fault() {
        assert_eq!(Bytes(&[]).number(), Err(Fault::Ends));
        assert_eq!(Bytes(&[0x80]).number(), Err(Fault::Ends));
        let most = [[0xFF; 9].as_slice(), &[1]].concat();
        assert_eq!(Bytes(&most).number(), Ok(u64::MAX));
        let too_large = [[0xFF; 9].as_slice(), &[2]].concat();
        assert_eq!(Bytes(&too_large).number(), Err(Fault::Number));
        assert_eq!(Bytes(&[0x80; 11]).number(), Err(Fault::Number));
        assert_eq!(Bytes(&[0xFF, 0xFF, 0xFF, 0xFF, 0x1F]).small_number(), Err(Fault::Number));
        assert_eq!(Bytes(&[3, 1, 2]).block(), Err(Fault::Ends));
        assert_eq!(Bytes(&most).block(), Err(Fault::Ends));
        assert_eq!(Bytes(&[1, 0xFF]).text(), Err(Fault::Text));
    }
}

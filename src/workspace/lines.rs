//! Text of a pane, by the line: what an event brings, and what the state keeps of it.
//!
//! # Invariants
//! - **N1 whole lines**: each line ends with `\n`, and nothing follows the last one.
//! - **N2 bounded**: a line is kept if few enough come after it, with fewer bytes than the bound. So the bound is met
//!   wherever something was dropped, or gone beyond by a part of one line, and there is never room for what is older than that.
//! - **N3 no seams**: what is kept is a function of the lines alone, not of the pieces that they came in. Both types have
//!   the same bounds, so it does not matter how many outputs were coalesced before they were applied.
//! - **N4 no larger than counted**: the text of a scrollback takes about twice its bytes of memory at most, so what is dropped is
//!   freed, whatever the pieces were that it came in.

use std::fmt;
use std::sync::Arc;

use imbl::Vector;
use memchr::{memchr_iter, memrchr_iter};

/// How many lines of a pane are kept, at most.
pub const SCROLLBACK_LINES: usize = 1024;
/// How many bytes these lines have, line ends included, before the first of them is dropped.
pub const SCROLLBACK_BYTES: usize = 64 * 1024;
/// How long a line is at most, in bytes.
pub(super) const LINE_BYTES: usize = 512;

/// Pieces of a scrollback that are no larger together are joined.
const PIECE_BYTES: usize = 4 * 1024;

/// How much may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) lines: usize,
    pub(super) bytes: usize,
}

impl Bound {
    pub(super) const WHOLE: Self = Self { lines: SCROLLBACK_LINES, bytes: SCROLLBACK_BYTES };

    /// Whether the first of so many lines is dropped, when there are so many bytes in those after it.
    fn drops(&self, lines: usize, bytes_after: usize) -> bool {
        lines > self.lines || bytes_after >= self.bytes
    }

    /// How many bytes and lines of `text`, which has `lines`, have to go from its beginning.
    fn beyond(&self, text: &str, lines: usize) -> (usize, usize) {
        if lines <= self.lines && text.len() <= self.bytes {
            return (0, 0);
        }
        if self.lines == 0 || self.bytes == 0 {
            return (text.len(), lines);
        }
        let (mut gone, mut bytes) = (0, 0);
        for end in memchr_iter(b'\n', text.as_bytes()) {
            if !self.drops(lines - gone, text.len() - (end + 1)) {
                break;
            }
            (gone, bytes) = (gone + 1, end + 1);
        }
        (bytes, gone)
    }
}

/// Lines being collected, the newest that fit.
#[derive(Clone, Default)]
pub(super) struct Text {
    text: String,
    /// Where the oldest line begins: what is before it is not kept any more.
    start: usize,
    lines: usize,
}

impl Text {
    pub(super) fn as_str(&self) -> &str {
        &self.text[self.start..]
    }

    /// Adds a line, which has no line end.
    pub(super) fn push(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
        self.lines += 1;
        self.trim();
    }

    /// Adds whole lines, of which there are so many.
    pub(super) fn push_lines(&mut self, text: &str, lines: usize) {
        let (bytes, gone) = Bound::WHOLE.beyond(text, lines);
        self.text.push_str(&text[bytes..]);
        self.lines += lines - gone;
        self.trim();
    }

    pub(super) fn clear(&mut self) {
        self.text.clear();
        (self.start, self.lines) = (0, 0);
    }

    /// A copy that takes no more memory than it needs.
    pub(super) fn to_lines(&self) -> Lines {
        self.without((0, 0))
    }

    /// Such a copy, without so many bytes and lines at the beginning.
    fn without(&self, (bytes, lines): (usize, usize)) -> Lines {
        if self.lines == lines {
            return Lines::default();
        }
        Lines(Some(Arc::new(Text { text: self.as_str()[bytes..].to_owned(), start: 0, lines: self.lines - lines })))
    }

    fn trim(&mut self) {
        let (bytes, gone) = Bound::WHOLE.beyond(self.as_str(), self.lines);
        (self.start, self.lines) = (self.start + bytes, self.lines - gone);
        // Moved seldom: as much was added since as is moved now.
        if self.start > SCROLLBACK_BYTES {
            self.text.drain(..self.start);
            self.start = 0;
        }
    }
}

/// The newest lines that a pane wrote since the event before, as many as a [`Scrollback`] holds.
///
/// Cheap to clone.
///
/// ```
/// use mainlane::workspace::Lines;
///
/// let mut lines = Lines::from("two\nthree");
/// lines.prepend(Lines::from("one\n"));
/// assert_eq!(lines.as_str(), "one\ntwo\nthree\n");
/// assert_eq!(lines.count(), 3);
/// ```
#[derive(Clone, Default)]
pub struct Lines(Option<Arc<Text>>);

impl Lines {
    /// The lines, each with its end.
    pub fn as_str(&self) -> &str {
        self.0.as_ref().map_or("", |text| text.as_str())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.as_ref().map_or(0, |text| text.lines)
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// How many bytes of memory its text takes.
    fn takes(&self) -> usize {
        self.0.as_ref().map_or(0, |text| text.text.capacity())
    }

    /// A copy, if most of the memory is for nothing once so many bytes and lines at the beginning are not kept.
    fn packed_without(&self, skipped: (usize, usize)) -> Option<Self> {
        let text = self.0.as_ref()?;
        (self.takes() > 2 * (text.as_str().len() - skipped.0)).then(|| text.without(skipped))
    }

    /// Puts older lines in front. What does not fit any more is dropped, the oldest first.
    pub fn prepend(&mut self, older: Self) {
        let Some(older) = older.0 else { return };
        let Some(newer) = self.0.take() else {
            self.0 = Some(older);
            return;
        };
        let room = Bound {
            lines: SCROLLBACK_LINES - newer.lines,
            bytes: SCROLLBACK_BYTES.saturating_sub(newer.as_str().len()),
        };
        let (bytes, gone) = room.beyond(older.as_str(), older.lines);
        if gone == older.lines {
            self.0 = Some(newer);
            return;
        }
        // Usually nobody else has it, and only what is new is copied.
        let mut all = Arc::try_unwrap(older).unwrap_or_else(|shared| Text::clone(&shared));
        (all.start, all.lines) = (all.start + bytes, all.lines - gone);
        all.push_lines(newer.as_str(), newer.lines);
        self.0 = Some(Arc::new(all));
    }
}

/// A last line without an end is given one. Lines are cut to 512 bytes.
impl From<&str> for Lines {
    fn from(text: &str) -> Self {
        let mut all = Text::default();
        text.split_terminator('\n').for_each(|line| all.push(&line[..line.floor_char_boundary(LINE_BYTES)]));
        all.to_lines()
    }
}

impl PartialEq for Lines {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Lines {}

/// How many, and the newest: they may be a page long.
impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} lines", self.count())?;
        self.as_str().split_terminator('\n').next_back().map_or(Ok(()), |newest| write!(f, ", {newest:?}"))
    }
}

/// The newest lines that a pane's command has ended: up to [`SCROLLBACK_LINES`], and no more than come to
/// [`SCROLLBACK_BYTES`] but for the last that fits in part.
///
/// A copy shares its text with the original.
#[derive(Clone, Default)]
pub struct Scrollback {
    pieces: Vector<Lines>,
    /// How many bytes and lines of the first piece are not kept any more.
    skipped: (usize, usize),
    lines: usize,
    bytes: usize,
}

impl Scrollback {
    /// How many lines there are.
    pub fn count(&self) -> usize {
        self.lines
    }

    /// How many bytes they have, line ends included.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.lines == 0
    }

    /// The lines, oldest first, without their ends.
    pub fn lines(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.texts().flat_map(|text| text.split_terminator('\n'))
    }

    fn texts(&self) -> impl DoubleEndedIterator<Item = &str> {
        let skipped = self.skipped.0;
        self.pieces.iter().enumerate().map(move |(at, piece)| &piece.as_str()[if at == 0 { skipped } else { 0 }..])
    }

    /// Adds lines, and keeps what `bound` allows.
    pub(super) fn push(&mut self, lines: &Lines, bound: Bound) {
        if !lines.is_empty() {
            self.lines += lines.count();
            self.bytes += lines.as_str().len();
            self.pieces.push_back(lines.packed_without((0, 0)).unwrap_or_else(|| lines.clone()));
            self.join();
        }
        self.trim(bound);
    }

    /// Keeps the newest lines that `bound` allows.
    pub(super) fn trim(&mut self, bound: Bound) {
        while self.exceeds(bound) {
            let Some(first) = self.pieces.front() else { return };
            let (bytes, lines) = self.skipped;
            let (text, count) = (&first.as_str()[bytes..], first.count() - lines);
            // What the pieces after it leave room for.
            let (behind_lines, behind_bytes) = (self.lines - count, self.bytes - text.len());
            let room = Bound {
                lines: bound.lines.saturating_sub(behind_lines),
                bytes: bound.bytes.saturating_sub(behind_bytes),
            };
            let (beyond, gone) = room.beyond(text, count);
            (self.lines, self.bytes) = (self.lines - gone, self.bytes - beyond);
            if gone == count {
                self.pieces.pop_front();
                self.skipped = (0, 0);
            } else {
                self.skipped = (bytes + beyond, lines + gone);
                self.pack();
            }
        }
    }

    /// N4. Copies what is kept of the first piece if that is the smaller part of it, so each byte is copied seldom.
    fn pack(&mut self) {
        if let Some(first) = self.pieces.front_mut()
            && let Some(packed) = first.packed_without(self.skipped)
        {
            (*first, self.skipped) = (packed, (0, 0));
        }
    }

    /// Whether [`trim`](Self::trim) would drop something.
    pub(super) fn exceeds(&self, bound: Bound) -> bool {
        self.lines().next().is_some_and(|first| bound.drops(self.lines, self.bytes - (first.len() + 1)))
    }

    /// Joins the last two pieces if they are small, so that a line at a time is not a piece at a time. The first is left
    /// alone when a part of it is skipped.
    fn join(&mut self) {
        let length = self.pieces.len();
        if length < 2 || (length == 2 && self.skipped != (0, 0)) {
            return;
        }
        let joined = self.pieces[length - 1].as_str().len() + self.pieces[length - 2].as_str().len();
        if joined > PIECE_BYTES || self.pieces[length - 1].count() + self.pieces[length - 2].count() > SCROLLBACK_LINES
        {
            return;
        }
        if let (Some(mut newer), Some(older)) = (self.pieces.pop_back(), self.pieces.pop_back()) {
            newer.prepend(older);
            self.pieces.push_back(newer);
        }
    }
}

impl From<Lines> for Scrollback {
    fn from(lines: Lines) -> Self {
        let mut scrollback = Self::default();
        scrollback.push(&lines, Bound::WHOLE);
        scrollback
    }
}

impl PartialEq for Scrollback {
    fn eq(&self, other: &Self) -> bool {
        (self.lines, self.bytes) == (other.lines, other.bytes) && self.lines().eq(other.lines())
    }
}

/// As [`Lines`].
impl fmt::Debug for Scrollback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} lines", self.count())?;
        self.lines().next_back().map_or(Ok(()), |newest| write!(f, ", {newest:?}"))
    }
}

/// The newest lines of something longer, as many as may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Newest {
    /// Where they begin.
    pub(super) start: usize,
    pub(super) lines: usize,
    /// How many bytes the longest of them has, its end not counted.
    pub(super) longest: usize,
}

impl Newest {
    /// `bytes` are whole lines. One pass, from the end.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let Some((_, before)) = bytes.split_last() else { return Self { start: 0, lines: 0, longest: 0 } };
        let (mut end, mut lines, mut longest) = (before.len(), 1, 0);
        for at in memrchr_iter(b'\n', before) {
            longest = longest.max(end - at - 1);
            if lines == SCROLLBACK_LINES {
                return Self { start: at + 1, lines, longest };
            }
            (end, lines) = (at, lines + 1);
        }
        Self { start: 0, lines, longest: longest.max(end) }
    }
}

#[cfg(feature = "journal")]
mod encode {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::*;

    impl Serialize for Lines {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_str(self.as_str())
        }
    }

    impl<'de> Deserialize<'de> for Lines {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let text = String::deserialize(deserializer)?;
            let lines = Lines::from(&*text);
            if lines.as_str() != text {
                return Err(Error::custom("text that is not in whole lines, or more of it than is kept"));
            }
            Ok(lines)
        }
    }

    impl Serialize for Scrollback {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut text = String::with_capacity(self.bytes);
            self.texts().for_each(|piece| text.push_str(piece));
            serializer.serialize_str(&text)
        }
    }

    impl<'de> Deserialize<'de> for Scrollback {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            Lines::deserialize(deserializer).map(Self::from)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// The slow, obviously right way: all lines, and of them the newest that fit.
    fn slowly(lines: &[String], bound: Bound) -> Vec<String> {
        let (mut kept, mut bytes) = (Vec::new(), 0);
        for line in lines.iter().rev() {
            if kept.len() == bound.lines || bytes >= bound.bytes {
                break;
            }
            bytes += line.len() + 1;
            kept.insert(0, line.clone());
        }
        kept
    }

    fn text(lines: &[String]) -> String {
        lines.iter().map(|line| format!("{line}\n")).collect()
    }

    /// Short lines and long ones, so that either bound is met.
    fn any_lines() -> impl Strategy<Value = Vec<String>> {
        let line = prop_oneof![8 => "[a-z]{0,3}".boxed(), 1 => "[a-zü]{250}".boxed()];
        prop_oneof![4 => vec(line.clone(), 0..20), 1 => vec(line, 300..700), 1 => vec("x?", 900..1200)]
    }

    #[test]
    fn whole_lines_are_counted() {
        assert_eq!((Lines::from("").count(), Lines::from("").is_empty()), (0, true));
        assert_eq!((Lines::from("\n").count(), Lines::from("\n").is_empty()), (1, false));
        assert_eq!(Lines::from("a\nb"), Lines::from("a\nb\n"));
    }

    #[test]
    fn what_is_shared_is_left_as_it_is() {
        let older = Lines::from("a\n");
        let mut newer = Lines::from("b\n");
        newer.prepend(older.clone());
        assert_eq!((older.as_str(), newer.as_str()), ("a\n", "a\nb\n"));
        let mut scrollback = Scrollback::from(older.clone());
        let copy = scrollback.clone();
        scrollback.push(&Lines::from("b\n"), Bound::WHOLE);
        assert_eq!((copy.lines().collect::<Vec<_>>(), scrollback.count()), (vec!["a"], 2));
    }

    #[test]
    fn a_line_at_a_time_is_not_a_piece_at_a_time() {
        let mut scrollback = Scrollback::default();
        for number in 0..5000 {
            scrollback.push(&Lines::from(&*format!("line {number}")), Bound::WHOLE);
        }
        assert_eq!((scrollback.count(), scrollback.lines().next_back()), (SCROLLBACK_LINES, Some("line 4999")));
        assert!(scrollback.pieces.len() < 20, "{}", scrollback.pieces.len());
    }

    fn takes(scrollback: &Scrollback) -> usize {
        scrollback.pieces.iter().map(Lines::takes).sum()
    }

    #[test]
    fn what_is_dropped_is_freed_though_it_came_in_one_piece() {
        let warm = Bound { lines: 64, bytes: 4096 };
        let mut coalesced = Lines::from("");
        for _ in 0..20 {
            let mut newer = Lines::from(&*format!("{}\n", "x".repeat(99)).repeat(100));
            newer.prepend(std::mem::take(&mut coalesced));
            coalesced = newer;
        }
        let mut scrollback = Scrollback::from(coalesced);
        assert!(scrollback.bytes() > 64_000 && takes(&scrollback) <= 2 * scrollback.bytes());
        scrollback.trim(warm);
        assert!((4096..4200).contains(&scrollback.bytes()) && takes(&scrollback) <= 2 * scrollback.bytes());
    }

    #[test]
    fn the_newest_lines_are_found_from_the_end() {
        let of = |text: &str| {
            let Newest { start, lines, longest } = Newest::of(text.as_bytes());
            (start, lines, longest)
        };
        assert_eq!((of(""), of("\n"), of("abc\n")), ((0, 0, 0), (0, 1, 0), (0, 1, 3)));
        assert_eq!((of("abcd\n\nab\n"), of("a\nabc\n\n")), ((0, 3, 4), (0, 3, 3)));
        let most = "ab\n".repeat(SCROLLBACK_LINES);
        assert_eq!(of(&most), (0, SCROLLBACK_LINES, 2));
        assert_eq!(of(&format!("abcd\nx\n{most}")), (7, SCROLLBACK_LINES, 2));
    }

    #[test]
    fn a_line_is_cut_between_characters() {
        let lines = Lines::from(&*format!("{}\nx{}\n", "x".repeat(600), "ü".repeat(300)));
        assert_eq!(lines.as_str().lines().map(str::len).collect::<Vec<_>>(), [512, 511]);
    }

    #[test]
    fn what_is_older_than_a_line_that_was_dropped_is_dropped() {
        let long = format!("{}\n", "x".repeat(500)).repeat(SCROLLBACK_BYTES / 501 + 2);
        let mut lines = Lines::from(&*long);
        let count = lines.count();
        lines.prepend(Lines::from("\n\n"));
        assert_eq!(lines.count(), count);
    }

    proptest! {
        #[test]
        fn however_it_is_cut_and_joined_the_newest_lines_stay(outputs in vec((any_lines(), any::<bool>()), 0..8)) {
            let mut all = Vec::new();
            let (mut scrollback, mut unread) = (Scrollback::default(), Lines::default());
            for (lines, is_read) in outputs {
                let mut newer = Lines::from(&*text(&lines));
                all.extend(lines);
                newer.prepend(std::mem::take(&mut unread));
                prop_assert!(newer.count() <= SCROLLBACK_LINES && newer.as_str().len() < SCROLLBACK_BYTES + 513);
                prop_assert_eq!(memchr_iter(b'\n', newer.as_str().as_bytes()).count(), newer.count());
                if is_read {
                    scrollback.push(&newer, Bound::WHOLE);
                } else {
                    unread = newer;
                }
            }
            scrollback.push(&unread, Bound::WHOLE);
            let expected = slowly(&all, Bound::WHOLE);
            prop_assert_eq!(scrollback.lines().collect::<Vec<_>>(), expected.clone());
            prop_assert_eq!(scrollback.count(), expected.len());
            prop_assert_eq!(scrollback.bytes(), text(&expected).len());
            prop_assert!(takes(&scrollback) <= 2 * scrollback.bytes() + 8 * scrollback.pieces.len(), "N4");
        }

        #[test]
        fn a_smaller_bound_keeps_fewer(outputs in vec(any_lines(), 0..5), lines in 0usize..80, bytes in 0usize..5000) {
            let (bound, mut all, mut scrollback) = (Bound { lines, bytes }, Vec::new(), Scrollback::default());
            for lines in outputs {
                scrollback.push(&Lines::from(&*text(&lines)), Bound::WHOLE);
                all.extend(lines);
            }
            let exceeds = scrollback.exceeds(bound);
            let before = scrollback.count();
            scrollback.trim(bound);
            prop_assert_eq!(scrollback.count() < before, exceeds);
            prop_assert_eq!(scrollback.lines().collect::<Vec<_>>(), slowly(&all, bound));
            prop_assert!(takes(&scrollback) <= 2 * scrollback.bytes() + 8 * scrollback.pieces.len(), "N4");
            scrollback.push(&Lines::from("next\n"), bound);
            all.push("next".to_owned());
            prop_assert_eq!(scrollback.lines().collect::<Vec<_>>(), slowly(&all, bound));
        }
    }
}

//! What SQLite leaves out in silence when it opens a journal after a crash.
//!
//! SQLite appends to a file beside its own, FILE-wal: a header of 32 bytes, then frames of a header of 24 bytes and a page
//! each. A frame with a size in its header ends a transaction. Each frame has the header's salts and a sum over all frames
//! up to it, so SQLite finds the last transaction that is whole, and forgets what follows. This file reads the same bytes
//! with the same rules, *before* SQLite does, and says what will be forgotten. The format is at
//! <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>.
//!
//! Frames with other salts are what an older use of the file left there; they mean nothing.

use std::io::{self, Read};

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
const VERSION: u32 = 3_007_000;
/// With its lowest bit, sums are over numbers with the highest byte first.
const MAGIC: u32 = 0x377F_0682;

/// What is in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Whole transactions, or nothing.
    Whole,
    /// Whole transactions, or nothing, and then something else.
    Tail(Tail),
    /// So many bytes that cannot be read, though they were once, and why not.
    NoHeader(u64, &'static str),
}

/// Frames of the file's newest use that are in no whole transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tail {
    /// Where it begins.
    pub(crate) offset: u64,
    /// Up to the end of its last frame.
    pub(crate) bytes: u64,
    /// How many of its frames end a transaction.
    commits: u32,
    /// Whether a frame follows one that ends a transaction.
    goes_on: bool,
}

impl Tail {
    /// All there is.
    pub(crate) fn all(bytes: u64) -> Self {
        Self { bytes, ..Self::default() }
    }

    /// Whether there is more than the one transaction that a crash can interrupt, if each was synced before the next: then
    /// something that was whole once is damaged.
    pub(crate) fn is_more_than_one(&self) -> bool {
        self.goes_on || self.commits > 1
    }
}

/// Reads a write-ahead file from its beginning to its end.
pub(crate) fn scan(mut wal: impl Read) -> io::Result<Found> {
    let mut header = [0; HEADER_BYTES];
    let length = fill(&mut wal, &mut header)?;
    if length < HEADER_BYTES || header == [0; HEADER_BYTES] {
        // The header was never synced, so nothing that came after it was.
        let bytes = length as u64 + io::copy(&mut wal, &mut io::sink())?;
        return Ok(if bytes == 0 { Found::Whole } else { Found::Tail(Tail::all(bytes)) });
    }
    match Frames::new(&header) {
        Ok(frames) => Ok(frames.read(wal)?.map_or(Found::Whole, Found::Tail)),
        Err(reason) => Ok(Found::NoHeader((HEADER_BYTES as u64) + io::copy(&mut wal, &mut io::sink())?, reason)),
    }
}

/// The sum that SQLite keeps: over pairs of numbers of 4 bytes.
#[derive(Clone, Copy)]
struct Sum {
    is_high_first: bool,
    sums: [u32; 2],
}

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        let read = if self.is_high_first { u32::from_be_bytes } else { u32::from_le_bytes };
        let [mut first, mut second] = self.sums;
        for pair in bytes.as_chunks::<8>().0 {
            let [a, b, c, d, e, f, g, h] = *pair;
            first = first.wrapping_add(read([a, b, c, d])).wrapping_add(second);
            second = second.wrapping_add(read([e, f, g, h])).wrapping_add(first);
        }
        self.sums = [first, second];
    }
}

/// A number at a place of a header.
fn number(header: &[u8], place: usize) -> u32 {
    u32::from_be_bytes([header[place], header[place + 1], header[place + 2], header[place + 3]])
}

/// Where the reading of frames is.
struct Frames {
    page_bytes: usize,
    salts: [u8; 8],
    sum: Sum,
    /// Whether all frames so far are valid.
    is_valid: bool,
    offset: u64,
    tail: Tail,
}

impl Frames {
    fn new(header: &[u8; HEADER_BYTES]) -> Result<Self, &'static str> {
        let (magic, page_bytes) = (number(header, 0), number(header, 8) as usize);
        if magic & !1 != MAGIC || number(header, 4) != VERSION {
            return Err("it does not begin as one");
        }
        if !page_bytes.is_power_of_two() || !(512..=65_536).contains(&page_bytes) {
            return Err("its size of pages is none");
        }
        let mut sum = Sum { is_high_first: magic & 1 == 1, sums: [0, 0] };
        sum.add(&header[..24]);
        if sum.sums != [number(header, 24), number(header, 28)] {
            return Err("the checksum of its header does not fit");
        }
        let salts = header[16..24].try_into().expect("eight bytes");
        let offset = HEADER_BYTES as u64;
        Ok(Self { page_bytes, salts, sum, is_valid: true, offset, tail: Tail { offset, ..Tail::default() } })
    }

    fn read(mut self, mut wal: impl Read) -> io::Result<Option<Tail>> {
        let mut frame = vec![0; FRAME_HEADER_BYTES + self.page_bytes];
        loop {
            let length = fill(&mut wal, &mut frame)?;
            // Salts that are cut off are taken for this use's: only what is written last is cut.
            let salts = &frame[8..length.clamp(8, 16)];
            let is_whole = length == frame.len();
            // Sums leave out the salts: a frame that has everything but them is this use's too, and damaged.
            let is_next = self.is_valid && is_whole && self.sum_with(&frame) == sums(&frame);
            if length > 0 && (*salts == self.salts[..salts.len()] || is_next) {
                self.take(&frame[..length], is_next && *salts == self.salts, is_whole);
            } else {
                self.is_valid = false;
            }
            self.offset += length as u64;
            if !is_whole {
                return Ok((self.tail.bytes > 0).then_some(self.tail));
            }
        }
    }

    /// A frame of this use, or the beginning of one.
    fn take(&mut self, frame: &[u8], is_next: bool, is_whole: bool) {
        let is_commit = is_whole && number(frame, 4) > 0;
        let end = self.offset + frame.len() as u64;
        self.is_valid = is_next && number(frame, 0) > 0;
        self.sum.sums = if self.is_valid { sums(frame) } else { self.sum.sums };
        if self.is_valid && is_commit {
            self.tail = Tail { offset: end, ..Tail::default() };
        } else {
            self.tail.goes_on |= self.tail.commits > 0;
            self.tail.commits += u32::from(is_commit);
            self.tail.bytes = end - self.tail.offset;
        }
    }

    /// What the sums would be with this frame.
    fn sum_with(&self, frame: &[u8]) -> [u32; 2] {
        let mut sum = self.sum;
        sum.add(&frame[..8]);
        sum.add(&frame[FRAME_HEADER_BYTES..]);
        sum.sums
    }
}

/// The sums that a frame's header has.
fn sums(frame: &[u8]) -> [u32; 2] {
    [number(frame, 16), number(frame, 20)]
}

/// Reads until `buffer` is full or nothing is left.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match from.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use tempfile::TempDir;

    use super::super::sqlite::{FORMAT, SqliteStore, Sync};
    use super::super::store::{Identity, Record, RecordKind, Store, StoreError, Write};
    use super::*;

    /// Smaller than those of a new journal, so that a turn may have several.
    const PAGE: usize = 4096;
    const FRAME: usize = FRAME_HEADER_BYTES + PAGE;

    /// A journal of some turns as a process leaves it that is killed after the last.
    struct Left {
        journal: Vec<u8>,
        wal: Vec<u8>,
        /// How long the write-ahead file was after each turn, the first of which is none.
        ends: Vec<usize>,
    }

    fn leave(sync: Sync, sizes: &[usize]) -> Left {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let settings = format!("PRAGMA page_size = {PAGE}; PRAGMA journal_mode = WAL");
        rusqlite::Connection::open(&path).unwrap().execute_batch(&settings).unwrap();
        let mut store = SqliteStore::open(&path, sync).unwrap();
        store.begin(&Identity { schema: "panes".into(), format: FORMAT }).unwrap();
        let wal = || fs::read(folder.path().join("journal-wal")).unwrap();
        let mut ends = vec![wal().len()];
        for (turn, size) in (1..).zip(sizes) {
            store.append(&write(turn, *size)).unwrap();
            ends.push(wal().len());
        }
        let wal = wal();
        assert_eq!(number(&wal, 8) as usize, PAGE);
        Left { journal: fs::read(&path).unwrap(), wal, ends }
    }

    fn write(turn: u64, size: usize) -> Write {
        let record = Record::seal(RecordKind::Batch, turn, 1, turn, 1, vec![turn as u8; size]);
        Write { records: vec![record], ..Write::default() }
    }

    impl Left {
        /// The files, with another write-ahead file.
        fn put(&self, wal: &[u8]) -> (TempDir, PathBuf) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("journal");
            fs::write(&path, &self.journal).unwrap();
            fs::write(folder.path().join("journal-wal"), wal).unwrap();
            (folder, path)
        }
    }

    fn newest(store: &mut SqliteStore) -> u64 {
        let mut newest = 0;
        store
            .records(0, &mut |record| {
                assert_eq!((record.turn, record.verify()), (newest + 1, Ok(())));
                newest = record.turn;
                true
            })
            .unwrap();
        newest
    }

    #[test]
    fn cut_at_every_byte_all_that_was_acknowledged_is_there_and_the_rest_is_told() {
        let left = leave(Sync::Full, &[30, 9000, 50]);
        let (start, end) = (left.ends[1], left.ends[3]);
        assert!(end - start > 3 * FRAME, "the second turn has several pages");
        for length in start..=end {
            let cut = &left.wal[..length];
            let kept = left.ends.iter().rposition(|end| *end <= length).unwrap();
            let rest = (length - left.ends[kept]) as u64;
            let expected = if rest == 0 {
                Found::Whole
            } else {
                Found::Tail(Tail { offset: left.ends[kept] as u64, bytes: rest, ..Tail::default() })
            };
            assert_eq!(scan(cut).unwrap(), expected, "cut to {length}");
            // Opening all of them takes a minute.
            let is_near = left.ends.iter().any(|end| length.abs_diff(*end) <= 4);
            if !is_near && length % 499 != 0 {
                continue;
            }
            let (_folder, path) = left.put(cut);
            let torn = (rest > 0).then_some(rest);
            let look = SqliteStore::open_read_only(&path).unwrap();
            assert_eq!(look.torn_tail().map(|torn| torn.bytes), torn, "cut to {length}");
            drop(look);
            let mut store = SqliteStore::open(&path, Sync::Full).unwrap();
            assert_eq!(store.torn_tail().map(|torn| torn.bytes), torn, "cut to {length}");
            assert_eq!(newest(&mut store), kept as u64, "cut to {length}");
            store.append(&write(kept as u64 + 1, 10)).unwrap();
            // What was torn is told once.
            drop(store);
            let mut store = SqliteStore::open(&path, Sync::Full).unwrap();
            assert_eq!((newest(&mut store), store.torn_tail()), (kept as u64 + 1, None));
        }
    }

    #[test]
    fn a_file_cut_before_its_first_frame_holds_nothing() {
        let left = leave(Sync::Full, &[1]);
        for length in 0..HEADER_BYTES {
            let bytes = length as u64;
            let expected = if length == 0 { Found::Whole } else { Found::Tail(Tail::all(bytes)) };
            assert_eq!(scan(&left.wal[..length]).unwrap(), expected);
        }
        assert_eq!(scan(&left.wal[..HEADER_BYTES]).unwrap(), Found::Whole);
        assert_eq!(scan(&[0; 5000][..]).unwrap(), Found::Tail(Tail::all(5000)));
    }

    #[test]
    fn every_spoiled_byte_of_the_last_transaction_is_a_torn_tail() {
        let left = leave(Sync::Full, &[30, 40]);
        for place in left.ends[1]..left.ends[2] {
            let mut wal = left.wal.clone();
            wal[place] ^= 1;
            let Found::Tail(tail) = scan(&wal[..]).unwrap() else { panic!("byte {place} is not missed") };
            assert_eq!((tail.offset, tail.is_more_than_one()), (left.ends[1] as u64, false), "byte {place}");
            if place % 97 == 0 {
                let mut store = SqliteStore::open(left.put(&wal).1, Sync::Full);
                let store = store.as_mut().unwrap();
                assert!(store.torn_tail().is_some());
                assert_eq!(newest(store), 1, "byte {place}");
            }
        }
    }

    #[test]
    fn what_was_durable_and_cannot_be_read_is_damage_and_nothing_is_changed() {
        for (sync, is_refused) in [(Sync::Full, true), (Sync::Os, false)] {
            let left = leave(sync, &[30, 40, 50]);
            for place in (left.ends[1]..left.ends[2]).step_by(97) {
                let mut wal = left.wal.clone();
                wal[place] ^= 1;
                let (_folder, path) = left.put(&wal);
                let opened = SqliteStore::open(&path, Sync::Full);
                let Ok(mut store) = opened else {
                    let error = opened.unwrap_err();
                    assert!(is_refused && matches!(error, StoreError::Damaged { .. }), "{error}");
                    assert!(error.to_string().contains(&format!("journal-wal, byte {}", left.ends[1])), "{error}");
                    assert_eq!(fs::read(path.with_file_name("journal-wal")).unwrap(), wal);
                    assert_eq!(fs::read(&path).unwrap(), left.journal);
                    continue;
                };
                // Nothing was promised about the loss of power, which looks the same.
                assert!(!is_refused, "byte {place}");
                assert_eq!(newest(&mut store), 1);
                assert_eq!(store.torn_tail().unwrap().bytes, (left.ends[3] - left.ends[1]) as u64);
            }
        }
    }

    #[test]
    fn a_spoiled_header_is_damage() {
        let left = leave(Sync::Full, &[30]);
        for place in 0..HEADER_BYTES {
            let mut wal = left.wal.clone();
            wal[place] ^= 1;
            assert!(matches!(scan(&wal[..]).unwrap(), Found::NoHeader(..)), "byte {place}");
            let (_folder, path) = left.put(&wal);
            let error = SqliteStore::open(&path, Sync::Full).unwrap_err();
            assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
            assert_eq!(fs::read(path.with_file_name("journal-wal")).unwrap(), wal);
        }
    }

    #[test]
    fn what_an_older_use_of_the_file_left_there_means_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut store = SqliteStore::open(&path, Sync::Full).unwrap();
        store.begin(&Identity { schema: "panes".into(), format: FORMAT }).unwrap();
        // Merged, and begun again from its start.
        let wal = || fs::read(folder.path().join("journal-wal")).unwrap();
        let mut turn = 1;
        store.append(&write(turn, 200_000)).unwrap();
        let mut before = wal();
        while wal()[..HEADER_BYTES] == before[..HEADER_BYTES] {
            turn += 1;
            before = wal();
            store.append(&write(turn, 200_000)).unwrap();
        }
        let now = wal();
        assert!(now.len() >= 10 * 200_000);
        assert_eq!(scan(&now[..]).unwrap(), Found::Whole);
        // Also when it was cut.
        assert_eq!(scan(&now[..now.len() - 3000]).unwrap(), Found::Whole);
        assert!(matches!(scan(&now[..100_000]).unwrap(), Found::Tail(_)), "half of its first turn");
    }

    #[test]
    fn a_transaction_that_was_begun_and_not_ended_is_a_torn_tail() {
        let left = leave(Sync::Full, &[30, 9000]);
        // All frames but the one that ends it.
        let wal = &left.wal[..left.ends[2] - FRAME];
        let Found::Tail(tail) = scan(wal).unwrap() else { panic!("it is not missed") };
        assert_eq!((tail.offset, tail.bytes), (left.ends[1] as u64, (wal.len() - left.ends[1]) as u64));
    }
}

//! What is made by hand instead: a row in SQLite for each batch or for each event, or a plain file.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use mainlane::journal::Sync;
use rusqlite::{Connection, params};
use xxhash_rust::xxh3::xxh3_128;

use super::ledger::{Ledger, Posting};

/// An event as it stands in a batch: its number, and its 24 bytes. mainlane's envelopes come to 29 to 32.
const EVENT_BYTES: usize = 32;
/// A checksum and a length, before each batch of a plain file.
const HEAD_BYTES: usize = 16 + 8;
/// How large a page is, and after how many SQLite merges what was appended: as in mainlane's journal.
const PAGE_BYTES: u32 = 16 << 10;
const MERGE_PAGES: u32 = 256;

/// Where batches are appended, one after the other.
pub(crate) trait Log {
    fn append(&mut self, from: u64, count: u64);

    /// Returns when all that was appended is durable; by hand it is as soon as it is appended.
    fn settle(&mut self) {}
}

/// A way to keep batches, and to get them back.
pub(crate) trait Keeping {
    fn create(&self, path: &Path, sync: Sync) -> Box<dyn Log>;
    fn read(&self, path: &Path) -> Ledger;
}

/// SQLite, with a row for each batch.
pub(crate) struct Bare;

/// SQLite, with a row for each event, and a transaction for each batch.
pub(crate) struct Rows;

/// A file, with one write for each batch.
pub(crate) struct Plain;

fn encode(from: u64, count: u64, bytes: &mut Vec<u8>) {
    for number in from..from + count {
        let [first, second, third] = Posting::new(number).0;
        let mut event = [0; EVENT_BYTES];
        for (place, word) in event.chunks_exact_mut(8).zip([number, first, second, third]) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(&event);
    }
}

fn post_all(payload: &[u8], ledger: &mut Ledger) {
    let (events, rest) = payload.as_chunks::<EVENT_BYTES>();
    assert!(rest.is_empty(), "a batch is of whole events");
    for event in events {
        let word = |at: usize| u64::from_le_bytes(event[at * 8..at * 8 + 8].try_into().expect("a word has 8 bytes"));
        ledger.post(&Posting([word(1), word(2), word(3)]));
    }
}

fn connect(path: &Path, sync: Sync, table: &str) -> Connection {
    let connection = Connection::open(path).expect("SQLite opens a new file");
    let synchronous = if sync == Sync::Full { "FULL" } else { "NORMAL" };
    let settings = format!(
        "PRAGMA page_size = {PAGE_BYTES}; PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous}; PRAGMA fullfsync = ON; \
         PRAGMA checkpoint_fullfsync = ON; PRAGMA wal_autocheckpoint = {MERGE_PAGES}; PRAGMA mmap_size = 0; {table}"
    );
    connection.execute_batch(&settings).expect("SQLite takes its settings");
    connection
}

struct BareLog {
    connection: Connection,
    payload: Vec<u8>,
    turn: i64,
}

impl Keeping for Bare {
    fn create(&self, path: &Path, sync: Sync) -> Box<dyn Log> {
        let table =
            "CREATE TABLE batches (turn INTEGER PRIMARY KEY, checksum BLOB NOT NULL, payload BLOB NOT NULL) STRICT";
        Box::new(BareLog { connection: connect(path, sync, table), payload: Vec::new(), turn: 0 })
    }

    fn read(&self, path: &Path) -> Ledger {
        let connection = Connection::open(path).expect("SQLite opens its file");
        let mut batches =
            connection.prepare("SELECT checksum, payload FROM batches ORDER BY turn").expect("there is a table");
        let (mut rows, mut ledger) = (batches.query([]).expect("it can be read"), Ledger::default());
        while let Some(row) = rows.next().expect("it can be read") {
            let blob = |column| row.get_ref(column).and_then(|value| Ok(value.as_blob()?)).expect("it is a blob");
            let payload = blob(1);
            assert_eq!(blob(0), xxh3_128(payload).to_be_bytes(), "a batch is what was written");
            post_all(payload, &mut ledger);
        }
        ledger
    }
}

impl Log for BareLog {
    fn append(&mut self, from: u64, count: u64) {
        self.payload.clear();
        encode(from, count, &mut self.payload);
        let checksum = xxh3_128(&self.payload).to_be_bytes();
        self.turn += 1;
        let mut insert =
            self.connection.prepare_cached("INSERT INTO batches VALUES (?1, ?2, ?3)").expect("there is a table");
        insert.execute(params![self.turn, checksum, self.payload]).expect("SQLite takes a row");
    }
}

struct RowsLog(Connection);

impl Keeping for Rows {
    fn create(&self, path: &Path, sync: Sync) -> Box<dyn Log> {
        let table = "CREATE TABLE events (number INTEGER PRIMARY KEY, first INTEGER NOT NULL, second INTEGER NOT NULL, \
                     third INTEGER NOT NULL) STRICT";
        Box::new(RowsLog(connect(path, sync, table)))
    }

    fn read(&self, path: &Path) -> Ledger {
        let connection = Connection::open(path).expect("SQLite opens its file");
        let mut events =
            connection.prepare("SELECT first, second, third FROM events ORDER BY number").expect("there is a table");
        let (mut rows, mut ledger) = (events.query([]).expect("it can be read"), Ledger::default());
        while let Some(row) = rows.next().expect("it can be read") {
            let words = [0, 1, 2].map(|column| row.get::<_, i64>(column).expect("it is a number"));
            ledger.post(&Posting(words.map(|word| word as u64)));
        }
        ledger
    }
}

impl Log for RowsLog {
    fn append(&mut self, from: u64, count: u64) {
        let run = |statement| {
            let mut statement = self.0.prepare_cached(statement).expect("SQLite knows it");
            statement.execute([]).expect("SQLite does it");
        };
        run("BEGIN");
        let mut insert = self.0.prepare_cached("INSERT INTO events VALUES (?1, ?2, ?3, ?4)").expect("there is a table");
        for number in from..from + count {
            let [first, second, third] = Posting::new(number).0.map(|word| word as i64);
            insert.execute([number as i64, first, second, third]).expect("SQLite takes a row");
        }
        run("COMMIT");
    }
}

struct PlainLog {
    file: File,
    sync: Sync,
    batch: Vec<u8>,
}

impl Keeping for Plain {
    fn create(&self, path: &Path, sync: Sync) -> Box<dyn Log> {
        let file = File::create_new(path).expect("there is a place for it");
        // That there is one is durable, whatever follows.
        file.sync_all().expect("the disk takes it");
        Box::new(PlainLog { file, sync, batch: Vec::new() })
    }

    fn read(&self, path: &Path) -> Ledger {
        let (mut bytes, mut ledger) = (Vec::new(), Ledger::default());
        let read = File::open(path).and_then(|mut file| file.read_to_end(&mut bytes));
        read.expect("it can be read");
        let mut left = &bytes[..];
        while let Some((head, rest)) = left.split_at_checked(HEAD_BYTES) {
            let (checksum, length) = head.split_at(16);
            let length = u64::from_le_bytes(length.try_into().expect("a word has 8 bytes")) as usize;
            let (payload, rest) = rest.split_at(length);
            assert_eq!(checksum, xxh3_128(payload).to_be_bytes(), "a batch is what was written");
            post_all(payload, &mut ledger);
            left = rest;
        }
        ledger
    }
}

impl Log for PlainLog {
    fn append(&mut self, from: u64, count: u64) {
        let batch = &mut self.batch;
        batch.clear();
        batch.resize(HEAD_BYTES, 0);
        encode(from, count, batch);
        let (head, payload) = batch.split_at_mut(HEAD_BYTES);
        head[..16].copy_from_slice(&xxh3_128(payload).to_be_bytes());
        head[16..].copy_from_slice(&(payload.len() as u64).to_le_bytes());
        self.file.write_all(batch).expect("the disk takes it");
        if self.sync == Sync::Full {
            self.file.sync_data().expect("the disk takes it");
        }
    }
}

/// Keeps `count` events in batches, and lets go of the file.
pub(crate) fn write(keeping: &dyn Keeping, path: PathBuf, batch: u64, count: u64) -> PathBuf {
    let mut log = keeping.create(&path, Sync::Os);
    for from in (0..count).step_by(batch as usize) {
        log.append(from, batch.min(count - from));
    }
    path
}

#[cfg(test)]
mod tests {
    use super::super::place::Folder;
    use super::*;

    #[test]
    fn what_is_kept_is_read_and_what_is_damaged_is_noticed() {
        let folder = Folder::new(None).unwrap();
        let ways: [&dyn Keeping; 3] = [&Bare, &Rows, &Plain];
        for (way, name) in ways.iter().zip(["bare", "rows", "plain"]) {
            let path = write(*way, folder.file(name), 7, 100);
            assert_eq!(way.read(&path), Ledger::of(100), "{name}");
        }
        let path = folder.file("plain");
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(std::panic::catch_unwind(|| Plain.read(&path)).is_err());
    }
}

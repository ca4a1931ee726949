//! Where records are kept: SQLite, one row for each turn.
//!
//! SQLite does the storing; what is here is what makes it keep the store's promises: which settings, which errors mean
//! what, and when to stop. A sync that failed is never tried again as if nothing had happened: after any error but a full
//! disk nothing more is written, not even by SQLite itself when the file is closed.

mod files; // the file's name, its lock, whether it is still there
mod faults; // what SQLite's errors mean
mod rows; // tables, and rows to records and back

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::store::{Checkpoint, CheckpointHead, Identity, Quarantined, Record, Store, StoreError, TornTail, Write};
use super::torn::{Found, Tail};
use faults::fault;
use files::Files;

/// The version of tables and payloads together.
pub const FORMAT: u32 = 1;

/// The longest payload that there is room for, in bytes: SQLite takes rows of a billion, and there is a little more in each.
pub const PAYLOAD_BYTES_MAX: usize = 1_000_000_000 - ROW_BYTES as usize;

/// How much is appended before the write-ahead file is merged into the journal. More makes merges rarer, each of which
/// syncs twice; and makes the next opening after a crash a little longer.
const MERGE_BYTES: u64 = 4 << 20;

/// The write-ahead file is cut down to this after it was longer.
const WAL_BYTES_KEPT: u64 = 16 << 20;

/// The size of a page of a new journal. What is appended is written page by page, with two calls for each, and merged the
/// same way: in pages of 4 KiB, as SQLite has them by default, large turns take half as long again. Larger pages than this
/// make small turns dearer, for the last page of an append is written as a whole.
const PAGE_BYTES: u64 = 16 << 10;

/// What a row costs beside its payload, about.
const ROW_BYTES: u64 = 128;

/// The least that one append takes away of what may go.
const PRUNE_BYTES_MIN: u64 = 1 << 20;

/// How long a tool that writes to the journal is waited for; mainlane's own programs never do.
const PATIENCE: Duration = Duration::from_secs(1);

/// What an append that returned survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// The loss of power: every append is synced.
    Full,
    /// The end of the process, however it comes. The file survives the loss of power whole, without its newest appends: it
    /// is synced when the write-ahead file is merged.
    Os,
}

impl Sync {
    fn name(self) -> &'static str {
        match self {
            Sync::Full => "full",
            Sync::Os => "os",
        }
    }
}

/// A journal in an SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    connection: Connection,
    files: Files,
    access: Access,
    torn: Option<TornTail>,
}

#[derive(Debug)]
enum Access {
    Read,
    Write(Box<Writer>),
}

/// What only the one that writes needs.
#[derive(Debug)]
struct Writer {
    sync: Sync,
    /// The newest turn that has a record.
    newest: Option<u64>,
    /// Older turns may go.
    prune_before: u64,
    /// Appended since the last merge, about.
    unmerged_bytes: u64,
    /// Why nothing may be written any more.
    broken: Option<String>,
    /// Held as long as the file is open.
    _lock: File,
}

/// How far a merge came.
enum Merged {
    /// All was moved, as far as was asked for.
    All,
    /// Some was not, because somebody reads.
    InUse,
    /// Some was not; all was synced where it is. With what the system said.
    NoSpace(String),
}

impl SqliteStore {
    /// Opens a journal for writing, and makes it when there is none.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when somebody else writes it; [`StoreError::NotAJournal`] for any other file, or one of a newer
    /// format; [`StoreError::Damaged`] when what was durable is lost.
    pub fn open(path: impl AsRef<Path>, sync: Sync) -> Result<Self, StoreError> {
        let files = Files::new(path.as_ref())?;
        files.must_have_one_name()?;
        let lock = files.lock()?;
        let found = files.unfinished()?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let connection = connect(&files, flags)?;
        let writer = Writer { sync, newest: None, prune_before: 0, unmerged_bytes: 0, broken: None, _lock: lock };
        let mut store = Self { connection, files, access: Access::Write(Box::new(writer)), torn: None };
        match store.prepare(sync, found) {
            Ok(()) => Ok(store),
            // Closed as it is.
            Err(error) => Err(store.give_up(error)),
        }
    }

    /// Opens a journal to look at it as it is now, also while somebody writes it. Nothing of it is changed; what is
    /// written from now on is not seen.
    ///
    /// # Errors
    /// [`StoreError::NotAJournal`] for any other file, or one of a newer format.
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let files = Files::new(path.as_ref())?;
        files.must_exist()?;
        let found = files.left_unfinished()?;
        let connection = look(&files)?;
        let mut store = Self { connection, files, access: Access::Read, torn: None };
        rows::check_format(&store.connection, &store.files.name())?;
        // One look at all that is asked for.
        store
            .connection
            .execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema")
            .map_err(|error| store.failed("opening it", error))?;
        store.torn = match found {
            Found::Whole => None,
            // Whether it was synced cannot be read from a damaged page; then it is taken to have been.
            Found::Tail(tail) => {
                Some(store.files.torn(tail, tail.is_more_than_one() && store.was_synced().unwrap_or(true)))
            }
            Found::NoHeader(bytes, _) => Some(store.files.torn(Tail::all(bytes), true)),
        };
        Ok(store)
    }

    /// Merges all that was written, and closes the files. Dropping it does the same, and says nothing of what goes wrong.
    ///
    /// # Errors
    /// When that fails, also because there is no space for it or somebody looks at it; what was appended is as durable as
    /// before.
    pub fn close(mut self) -> Result<(), StoreError> {
        if let Access::Read = self.access {
            return Ok(());
        }
        self.writer()?;
        match self.merge("TRUNCATE").map_err(|error| self.give_up(error))? {
            Merged::All => Ok(()),
            Merged::NoSpace(reason) => Err(StoreError::Full { reason }),
            Merged::InUse => Err(StoreError::Busy { path: self.files.name() }),
        }
    }

    /// Whether somebody writes it now.
    pub fn is_written(&self) -> bool {
        self.files.is_written()
    }

    fn prepare(&mut self, sync: Sync, found: Found) -> Result<(), StoreError> {
        let Self { connection, files, .. } = self;
        let failed = |error| fault(&files.name(), "opening it", error);
        let is_new = rows::is_empty(connection, &files.name())?;
        if is_new {
            // Synced whatever is promised later: a journal is there as a whole or not at all.
            let settings =
                format!("PRAGMA page_size = {PAGE_BYTES}; PRAGMA synchronous = FULL; PRAGMA journal_mode = WAL");
            connection.execute_batch(&settings).map_err(failed)?;
            rows::create(connection).map_err(failed)?;
            files.sync_folder()?;
        } else {
            rows::check_format(connection, &files.name())?;
        }
        self.refuse_damage(found)?;
        let failed = |error| fault(&self.files.name(), "opening it", error);
        let connection = &self.connection;
        connection
            .execute_batch(&format!(
                "PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON; \
                 PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = {WAL_BYTES_KEPT}"
            ))
            .map_err(failed)?;
        // Synced, whatever is promised from here on: it says what may be missing after the loss of power.
        connection.execute("UPDATE journal SET sync = ?1 WHERE sync <> ?1", [sync.name()]).map_err(failed)?;
        let newest = self.turns()?.map(|(_, newest)| newest);
        // What was torn is not to be found again.
        if let Merged::InUse = self.merge("TRUNCATE")? {
            // It may be in the system's memory alone, left by a process that was killed, and will be called durable.
            // SQLite does not write what is there already.
            let name = sync.name();
            let append = format!("BEGIN; UPDATE journal SET sync = ''; UPDATE journal SET sync = '{name}'; COMMIT");
            self.connection.execute_batch(&append).map_err(|error| self.failed("opening it", error))?;
        }
        self.promise(sync)?;
        self.files.remember()?;
        self.writer()?.newest = newest;
        Ok(())
    }

    /// An unfinished transaction is what a crash leaves. More than that was acknowledged, and is not left out in silence.
    fn refuse_damage(&mut self, found: Found) -> Result<(), StoreError> {
        let place = self.files.name() + "-wal";
        match found {
            Found::Whole => Ok(()),
            Found::NoHeader(_, reason) => {
                let reason = format!("{reason}, so nothing that was written to it can be read; see `salvage`");
                Err(StoreError::Damaged { place, reason })
            }
            Found::Tail(tail) if tail.is_more_than_one() && self.was_synced()? => {
                let Tail { offset, bytes, .. } = tail;
                let place = format!("{place}, byte {offset}");
                let reason = format!("{bytes} bytes from there on were durable and cannot be read; see `salvage`");
                Err(StoreError::Damaged { place, reason })
            }
            Found::Tail(tail) => {
                self.torn = Some(self.files.torn(tail, false));
                Ok(())
            }
        }
    }

    /// Whether whoever wrote last synced every append.
    fn was_synced(&self) -> Result<bool, StoreError> {
        let sync = rows::sync(&self.connection).map_err(|error| self.failed("opening it", error))?;
        Ok(sync.is_none_or(|sync| sync != Sync::Os.name()))
    }

    /// How appends are synced from here on.
    fn promise(&self, sync: Sync) -> Result<(), StoreError> {
        let synchronous = if sync == Sync::Full { "FULL" } else { "NORMAL" };
        let set = self.connection.execute_batch(&format!("PRAGMA synchronous = {synchronous}"));
        set.map_err(|error| self.failed("opening it", error))
    }

    /// Moves what was appended from the write-ahead file into the journal. A tool that reads may keep some of it from being
    /// moved, and a full disk all; then it is moved later.
    fn merge(&mut self, how: &str) -> Result<Merged, StoreError> {
        self.connection.busy_timeout(Duration::ZERO).map_err(|error| self.failed("merging", error))?;
        let is_in_use = |row: &rusqlite::Row<'_>| Ok(row.get::<_, i64>(0)? != 0);
        let merged = self.connection.query_row(&format!("PRAGMA wal_checkpoint({how})"), [], is_in_use);
        self.connection.busy_timeout(PATIENCE).map_err(|error| self.failed("merging", error))?;
        match merged.map_err(|error| self.failed("merging", error)) {
            Ok(false) => Ok(Merged::All),
            Ok(true) | Err(StoreError::Busy { .. }) => Ok(Merged::InUse),
            Err(StoreError::Full { reason }) => Ok(Merged::NoSpace(reason)),
            Err(error) => Err(error),
        }
    }

    fn failed(&self, doing: &'static str, error: rusqlite::Error) -> StoreError {
        fault(&self.files.name(), doing, error)
    }

    fn writer(&mut self) -> Result<&mut Writer, StoreError> {
        let doing = "writing";
        match &mut self.access {
            Access::Read => Err(StoreError::Failed { doing, reason: "it was opened for reading".into() }),
            Access::Write(writer) => match &writer.broken {
                None => Ok(writer),
                Some(first) => {
                    Err(StoreError::Failed { doing, reason: format!("nothing is written after an error: {first}") })
                }
            },
        }
    }

    /// Writes in one transaction. Whatever goes wrong ends it; all but a full disk ends the writing.
    fn transact(&mut self, write: impl FnOnce(&mut Self) -> Result<(), StoreError>) -> Result<(), StoreError> {
        self.writer()?;
        let written = self
            .connection
            .prepare_cached("BEGIN IMMEDIATE")
            .and_then(|mut begin| begin.execute([]).map(drop))
            .map_err(|error| self.failed("writing", error))
            .and_then(|()| write(self))
            .and_then(|()| self.commit())
            .and_then(|()| self.files.must_be_the_same());
        let Err(error) = written else { return Ok(()) };
        let is_ended = self.connection.is_autocommit() || self.connection.execute_batch("ROLLBACK").is_ok();
        if matches!(error, StoreError::Full { .. }) && is_ended {
            // What was begun lies in the write-ahead file, and is not to be found there later. Makes some room too.
            return self.merge("TRUNCATE").map_err(|error| self.give_up(error)).and(Err(error));
        }
        Err(self.give_up(error))
    }

    fn commit(&self) -> Result<(), StoreError> {
        let committed = self.connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([]));
        committed.map(drop).map_err(|error| self.failed("writing", error))
    }

    fn give_up(&mut self, error: StoreError) -> StoreError {
        if let Access::Write(writer) = &mut self.access {
            writer.broken.get_or_insert_with(|| error.to_string());
        }
        error
    }

    fn follows(&mut self, write: &Write) -> Result<(), StoreError> {
        let mut newest = self.writer()?.newest;
        for record in &write.records {
            if newest.is_some_and(|newest| newest.checked_add(1) != Some(record.turn)) {
                let reason = format!("turn {} does not follow turn {}", record.turn, newest.unwrap_or(0));
                return Err(StoreError::Failed { doing: "writing", reason });
            }
            newest = Some(record.turn);
        }
        Ok(())
    }

    /// Takes away some of what may go: twice as much as `bytes` at least, so that there is an end to it.
    fn prune(&mut self, write: &Write, bytes: u64) -> Result<(), StoreError> {
        let writer = self.writer()?;
        let before = writer.prune_before.max(write.prune_before.unwrap_or(0));
        let is_new = before > writer.prune_before;
        if before == 0 {
            return Ok(());
        }
        let room = PRUNE_BYTES_MIN.max(2 * bytes);
        rows::prune(&self.connection, before, is_new, room).map_err(|error| self.failed("pruning", error))?;
        Ok(())
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        // Closing merges what is left, unless it cannot be known what is there.
        if let Access::Write(writer) = &self.access
            && writer.broken.is_none()
            && self.files.must_be_the_same().is_ok()
        {
            let _ = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false);
        }
    }
}

/// For one who only looks.
fn look(files: &Files) -> Result<Connection, StoreError> {
    let connection = connect(files, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    // The first access opens the write-ahead file and its index.
    let opened = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()));
    match opened {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::CannotOpen) => {}
        // Whatever else is wrong is found again.
        _ => return Ok(connection),
    }
    // SQLite wants to put an index there, and cannot. All that the index is for is the write-ahead file.
    if !files.is_merged() {
        let reason = "nothing can be written beside it, and some of it is in its write-ahead file; copy both to a folder \
                      where something can";
        return Err(StoreError::Failed { doing: "opening it", reason: reason.into() });
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    connect_to(&files.address_of_what_stays(), files, flags)
}

fn connect(files: &Files, flags: OpenFlags) -> Result<Connection, StoreError> {
    connect_to(files.path(), files, flags)
}

fn connect_to(path: &Path, files: &Files, flags: OpenFlags) -> Result<Connection, StoreError> {
    let failed = |error| fault(&files.name(), "opening it", error);
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(failed)?;
    // Until all is known to be well.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(failed)?;
    // Nothing that a file says is run.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true).map_err(failed)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false).map_err(failed)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false).map_err(failed)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false).map_err(failed)?;
    connection.busy_timeout(PATIENCE).map_err(failed)?;
    // Pages are looked at before they are used; none is mapped, for a mapped page that cannot be read ends the process.
    connection.execute_batch("PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0").map_err(failed)?;
    Ok(connection)
}

impl Store for SqliteStore {
    fn identity(&mut self) -> Result<Option<Identity>, StoreError> {
        rows::identity(&self.connection).map_err(|error| self.failed("reading", error))
    }

    fn begin(&mut self, identity: &Identity) -> Result<(), StoreError> {
        let sync = self.writer()?.sync;
        if identity.format != FORMAT {
            let reason =
                format!("format {} is not written by this version of mainlane, which writes {FORMAT}", identity.format);
            return Err(StoreError::Failed { doing: "writing", reason });
        }
        // Synced, whatever is promised: without this row nobody could tell what was.
        self.promise(Sync::Full)?;
        let begun = self.transact(|store| {
            rows::begin(&store.connection, identity, sync.name()).map_err(|error| store.failed("writing", error))
        });
        self.promise(sync)?;
        begun?;
        // So that it is there also when the write-ahead file cannot be read.
        self.merge("TRUNCATE").map(drop).map_err(|error| self.give_up(error))
    }

    fn torn_tail(&self) -> Option<TornTail> {
        self.torn.clone()
    }

    fn append(&mut self, write: &Write) -> Result<(), StoreError> {
        let payloads = write.records.iter().map(|record| &record.payload);
        let payloads = payloads.chain(write.checkpoint.iter().map(|checkpoint| &checkpoint.payload));
        let bytes = payloads.map(|payload| payload.len() as u64 + ROW_BYTES).sum::<u64>() + PAGE_BYTES;
        self.transact(|store| {
            store.follows(write)?;
            rows::insert(&store.connection, write).map_err(|error| store.failed("writing", error))?;
            store.prune(write, bytes)
        })?;
        let writer = self.writer()?;
        writer.newest = write.records.last().map(|record| record.turn).or(writer.newest);
        writer.prune_before = writer.prune_before.max(write.prune_before.unwrap_or(0));
        writer.unmerged_bytes += bytes;
        if writer.unmerged_bytes >= MERGE_BYTES {
            writer.unmerged_bytes = 0;
            self.merge("PASSIVE").map_err(|error| self.give_up(error))?;
        }
        Ok(())
    }

    fn turns(&mut self) -> Result<Option<(u64, u64)>, StoreError> {
        rows::turns(&self.connection).map_err(|error| self.failed("reading", error))
    }

    fn turn_before(&mut self, events: u64) -> Result<u64, StoreError> {
        rows::turn_before(&self.connection, events).map_err(|error| self.failed("reading", error))
    }

    fn records(&mut self, from: u64, read: &mut dyn FnMut(Record) -> bool) -> Result<(), StoreError> {
        rows::records(&self.connection, from, read).map_err(|error| self.failed("reading", error))
    }

    fn turn_from(&mut self, from: u64) -> Result<Option<u64>, StoreError> {
        rows::turn_from(&self.connection, from).map_err(|error| self.failed("reading", error))
    }

    fn checkpoints(&mut self) -> Result<Vec<CheckpointHead>, StoreError> {
        rows::checkpoints(&self.connection).map_err(|error| self.failed("reading", error))
    }

    fn checkpoint(&mut self, turn: u64) -> Result<Option<Checkpoint>, StoreError> {
        rows::checkpoint(&self.connection, turn).map_err(|error| self.failed("reading", error))
    }

    fn quarantined(&mut self, from: u64) -> Result<Vec<Quarantined>, StoreError> {
        rows::quarantined(&self.connection, from).map_err(|error| self.failed("reading", error))
    }

    fn changes(&mut self, from: u64) -> Result<Vec<(u64, u64)>, StoreError> {
        rows::changes(&self.connection, from).map_err(|error| self.failed("reading", error))
    }
}

#[cfg(test)]
mod tests;

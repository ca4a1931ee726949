//! The tables, and what their rows mean.
//!
//! Turns are kept as SQLite's signed numbers; checksums as 16 bytes, the highest first, as their function is printed.

use std::num::TryFromIntError;

use rusqlite::types::Type;
use rusqlite::{CachedStatement, Connection, Error, OptionalExtension, Row, params};

use super::super::record::CodecError;
use super::super::store::{Checkpoint, CheckpointHead, Identity, Quarantined, Record, RecordKind, StoreError, Write};
use super::FORMAT;
use super::faults::fault;

/// "mlj1", as SQLite's own tools print it.
const APPLICATION_ID: i32 = 0x6D6C_6A31;

const TABLES: &str = "
    CREATE TABLE journal (
        only INTEGER PRIMARY KEY CHECK (only = 1),
        schema TEXT NOT NULL,
        sync TEXT NOT NULL
    ) STRICT;
    CREATE TABLE records (
        turn INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,
        events INTEGER NOT NULL,
        reaches INTEGER NOT NULL,
        codec INTEGER NOT NULL,
        schema INTEGER NOT NULL,
        checksum BLOB NOT NULL,
        payload BLOB NOT NULL
    ) STRICT;
    CREATE INDEX changes ON records (turn, reaches) WHERE kind <> 'batch';
    CREATE TABLE checkpoints (
        turn INTEGER PRIMARY KEY,
        codec INTEGER NOT NULL,
        schema INTEGER NOT NULL,
        hash BLOB NOT NULL,
        checksum BLOB NOT NULL,
        payload BLOB NOT NULL
    ) STRICT;
    CREATE TABLE quarantined (
        turn INTEGER NOT NULL,
        event INTEGER NOT NULL,
        kind TEXT NOT NULL,
        message TEXT NOT NULL,
        checksum BLOB NOT NULL,
        PRIMARY KEY (turn, event)
    ) STRICT, WITHOUT ROWID;
";

/// Makes the tables, all or none.
pub(super) fn create(connection: &Connection) -> Result<(), Error> {
    connection.execute_batch(&format!(
        "BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT}; {TABLES} COMMIT"
    ))
}

/// Whether nothing was ever written to the file.
pub(super) fn is_empty(connection: &Connection, path: &str) -> Result<bool, StoreError> {
    let failed = |error| fault(path, "opening it", error);
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(failed)?;
    let [id, format] = stamps(connection).map_err(failed)?;
    Ok(tables == 0 && id == 0 && format == 0)
}

pub(super) fn check_format(connection: &Connection, path: &str) -> Result<(), StoreError> {
    let refused = |reason: String| Err(StoreError::NotAJournal { path: path.into(), reason });
    match stamps(connection).map_err(|error| fault(path, "opening it", error))? {
        [id, _] if id != APPLICATION_ID => refused("it is the SQLite file of another program".into()),
        [_, format] if format != FORMAT as i32 => {
            refused(format!("its format is {format}, and this version of mainlane knows {FORMAT}"))
        }
        _ => Ok(()),
    }
}

/// What SQLite keeps in a file's first bytes: whose it is, and which version.
fn stamps(connection: &Connection) -> Result<[i32; 2], Error> {
    let stamp = |name| connection.pragma_query_value(None, name, |row| row.get(0));
    Ok([stamp("application_id")?, stamp("user_version")?])
}

pub(super) fn begin(connection: &Connection, identity: &Identity, sync: &str) -> Result<(), Error> {
    connection.execute("INSERT INTO journal VALUES (1, ?1, ?2)", params![identity.schema, sync]).map(drop)
}

pub(super) fn identity(connection: &Connection) -> Result<Option<Identity>, Error> {
    let schema = connection.query_row("SELECT schema FROM journal", [], |row| row.get(0)).optional()?;
    Ok(schema.map(|schema| Identity { schema, format: FORMAT }))
}

/// What the last writer promised.
pub(super) fn sync(connection: &Connection) -> Result<Option<String>, Error> {
    connection.query_row("SELECT sync FROM journal", [], |row| row.get(0)).optional()
}

pub(super) fn insert(connection: &Connection, write: &Write) -> Result<(), Error> {
    if !write.records.is_empty() {
        let mut insert = connection.prepare_cached("INSERT INTO records VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
        for Record { turn, kind, events, reaches, codec, schema, checksum, payload } in &write.records {
            let (turn, reaches, checksum) = (number(*turn)?, number(*reaches)?, checksum.to_be_bytes());
            insert.execute(params![turn, kind.name(), events, reaches, codec, schema, checksum, payload])?;
        }
    }
    for poison in &write.quarantined {
        let mut insert = connection.prepare_cached("REPLACE INTO quarantined VALUES (?1, ?2, ?3, ?4, ?5)")?;
        let (Quarantined { turn, index, kind, message }, checksum) = (poison, poison.sum().to_be_bytes());
        insert.execute(params![number(*turn)?, index, kind, message, checksum])?;
    }
    if let Some(Checkpoint { turn, codec, schema, hash, checksum, payload }) = &write.checkpoint {
        let mut insert = connection.prepare_cached("REPLACE INTO checkpoints VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
        let (hash, checksum) = (hash.to_be_bytes(), checksum.to_be_bytes());
        insert.execute(params![number(*turn)?, codec, schema, hash, checksum, payload])?;
    }
    Ok(())
}

/// Takes away what is older than turn `before`: checkpoints at once, and records up to about `room` bytes of them.
pub(super) fn prune(connection: &Connection, before: u64, is_new: bool, room: u64) -> Result<(), Error> {
    let before = number(before)?;
    if is_new {
        connection.prepare_cached("DELETE FROM checkpoints WHERE turn < ?1")?.execute([before])?;
        connection.prepare_cached("DELETE FROM quarantined WHERE turn < ?1")?.execute([before])?;
    }
    let (mut last, mut bytes) = (None, 0);
    let mut oldest =
        connection.prepare_cached("SELECT turn, length(payload) FROM records WHERE turn < ?1 ORDER BY turn")?;
    let mut rows = oldest.query([before])?;
    while bytes < room
        && let Some(row) = rows.next()?
    {
        last = Some(row.get::<_, i64>(0)?);
        bytes += row.get::<_, u32>(1)? as u64 + super::ROW_BYTES;
    }
    drop(rows);
    if let Some(last) = last {
        connection.prepare_cached("DELETE FROM records WHERE turn <= ?1")?.execute([last])?;
    }
    Ok(())
}

pub(super) fn turns(connection: &Connection) -> Result<Option<(u64, u64)>, Error> {
    let end = |order| {
        let mut end = connection.prepare_cached(&format!("SELECT turn FROM records ORDER BY turn {order} LIMIT 1"))?;
        end.query_row([], |row| unsigned(row, 0)).optional()
    };
    Ok(end("ASC")?.zip(end("DESC")?))
}

pub(super) fn turn_before(connection: &Connection, events: u64) -> Result<u64, Error> {
    let mut newest = connection.prepare_cached("SELECT turn, events FROM records ORDER BY turn DESC")?;
    let mut rows = newest.query([])?;
    let mut left = events;
    while let Some(row) = rows.next()? {
        left = left.saturating_sub(unsigned(row, 1)?);
        if left == 0 {
            return Ok(unsigned(row, 0)?.saturating_sub(1));
        }
    }
    Ok(0)
}

pub(super) fn turn_from(connection: &Connection, from: u64) -> Result<Option<u64>, Error> {
    let Ok(from) = number(from) else { return Ok(None) };
    let mut next = connection.prepare_cached("SELECT turn FROM records WHERE turn >= ?1 ORDER BY turn LIMIT 1")?;
    next.query_row([from], |row| unsigned(row, 0)).optional()
}

pub(super) fn records(connection: &Connection, from: u64, read: &mut dyn FnMut(Record) -> bool) -> Result<(), Error> {
    let Ok(from) = number(from) else { return Ok(()) };
    let mut records = connection.prepare_cached(
        "SELECT turn, kind, events, reaches, codec, schema, checksum, payload FROM records WHERE turn >= ?1 ORDER BY turn",
    )?;
    let mut rows = records.query([from])?;
    while let Some(row) = rows.next()?
        && read(record(row)?)
    {}
    Ok(())
}

fn record(row: &Row<'_>) -> Result<Record, Error> {
    let turn = unsigned(row, 0)?;
    let kind: String = row.get(1)?;
    let kind = RecordKind::from_name(&kind).ok_or_else(|| wrong(1, format!("turn {turn} is of kind `{kind}`")))?;
    let (events, reaches, codec, schema) = (row.get(2)?, unsigned(row, 3)?, row.get(4)?, row.get(5)?);
    Ok(Record { turn, kind, events, reaches, codec, schema, checksum: sum(row, 6)?, payload: row.get(7)? })
}

pub(super) fn checkpoints(connection: &Connection) -> Result<Vec<CheckpointHead>, Error> {
    let mut heads =
        connection.prepare_cached("SELECT turn, schema, hash, length(payload) FROM checkpoints ORDER BY turn")?;
    let heads = heads.query_map([], |row| {
        Ok(CheckpointHead {
            turn: unsigned(row, 0)?,
            schema: row.get(1)?,
            hash: sum(row, 2)?,
            bytes: unsigned(row, 3)?,
        })
    })?;
    heads.collect()
}

pub(super) fn checkpoint(connection: &Connection, turn: u64) -> Result<Option<Checkpoint>, Error> {
    let Ok(key) = number(turn) else { return Ok(None) };
    let mut checkpoint = connection
        .prepare_cached("SELECT turn, codec, schema, hash, checksum, payload FROM checkpoints WHERE turn = ?1")?;
    let read = checkpoint.query_row([key], |row| {
        let (codec, schema, hash, checksum) = (row.get(1)?, row.get(2)?, sum(row, 3)?, sum(row, 4)?);
        Ok(Checkpoint { turn, codec, schema, hash, checksum, payload: row.get(5)? })
    });
    read.optional()
}

pub(super) fn quarantined(connection: &Connection, from: u64) -> Result<Vec<Quarantined>, Error> {
    let Ok(from) = number(from) else { return Ok(Vec::new()) };
    let mut all: CachedStatement<'_> = connection.prepare_cached(
        "SELECT turn, event, kind, message, checksum FROM quarantined WHERE turn >= ?1 ORDER BY turn, event",
    )?;
    let all = all.query_map([from], |row| {
        let (turn, index) = (unsigned(row, 0)?, row.get(1)?);
        let poison = Quarantined { turn, index, kind: row.get(2)?, message: row.get(3)? };
        if poison.sum() != sum(row, 4)? {
            let reason = format!("event {index} of turn {turn} is said to be set aside, and {}", CodecError::Checksum);
            return Err(wrong(4, reason));
        }
        Ok(poison)
    })?;
    all.collect()
}

pub(super) fn changes(connection: &Connection, from: u64) -> Result<Vec<(u64, u64)>, Error> {
    let Ok(from) = number(from) else { return Ok(Vec::new()) };
    let mut all = connection
        .prepare_cached("SELECT turn, reaches FROM records WHERE kind <> 'batch' AND turn >= ?1 ORDER BY turn")?;
    let all = all.query_map([from], |row| Ok((unsigned(row, 0)?, unsigned(row, 1)?)))?;
    all.collect()
}

/// As SQLite keeps it.
fn number(number: u64) -> Result<i64, Error> {
    number.try_into().map_err(|error: TryFromIntError| Error::ToSqlConversionFailure(error.into()))
}

fn unsigned(row: &Row<'_>, column: usize) -> Result<u64, Error> {
    let number: i64 = row.get(column)?;
    number.try_into().map_err(|_| Error::IntegralValueOutOfRange(column, number))
}

fn sum(row: &Row<'_>, column: usize) -> Result<u128, Error> {
    let bytes = row.get_ref(column)?.as_blob()?;
    let bytes = bytes.try_into().map_err(|_| wrong(column, format!("a checksum has {} bytes", bytes.len())))?;
    Ok(u128::from_be_bytes(bytes))
}

fn wrong(column: usize, reason: String) -> Error {
    Error::FromSqlConversionFailure(column, Type::Blob, reason.into())
}

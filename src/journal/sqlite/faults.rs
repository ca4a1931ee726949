//! What SQLite's errors mean for a journal.

use rusqlite::{Error, ErrorCode, ffi};

use super::super::store::StoreError;

/// As a store says it. `path` is the journal's.
pub(super) fn fault(path: &str, doing: &'static str, error: Error) -> StoreError {
    let (path, reason) = (path.to_owned(), error.to_string());
    match &error {
        Error::SqliteFailure(failure, _) => match failure.code {
            ErrorCode::DiskFull => StoreError::Full { reason },
            // The index of the write-ahead file could not grow; the transaction ends as with a full disk.
            _ if failure.extended_code == ffi::SQLITE_IOERR_SHMSIZE => StoreError::Full { reason },
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => StoreError::Busy { path },
            ErrorCode::DatabaseCorrupt => StoreError::Damaged { place: path, reason },
            ErrorCode::NotADatabase => {
                StoreError::NotAJournal { path, reason: "it is no SQLite file, or its first page is damaged".into() }
            }
            _ => StoreError::Failed { doing, reason },
        },
        // A row that is not as rows are written.
        Error::FromSqlConversionFailure(_, _, cause) => StoreError::Damaged { place: path, reason: cause.to_string() },
        Error::IntegralValueOutOfRange(..) | Error::InvalidColumnType(..) | Error::Utf8Error(..) => {
            StoreError::Damaged { place: path, reason }
        }
        _ => StoreError::Failed { doing, reason },
    }
}

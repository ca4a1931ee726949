//! Why a command came to nothing, and the exit code for it.

use mainlane::journal::{CodecError, JournalError, SalvageError, StoreError};

/// For wrong arguments, a command or a folder that is not there, a file that is no journal.
pub(crate) const USAGE: u8 = 2;
/// For what is not as it should be: something that was not applied, is damaged, or came out differently.
pub(crate) const FAILURE: u8 = 1;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) code: u8,
    pub(crate) line: String,
}

impl From<String> for Problem {
    fn from(line: String) -> Self {
        Self { code: USAGE, line }
    }
}

impl From<JournalError> for Problem {
    fn from(error: JournalError) -> Self {
        let code = match &error {
            JournalError::Store(error) => code_of(error),
            JournalError::Damaged { .. }
            | JournalError::DamagedCheckpoint { .. }
            | JournalError::Missing { .. }
            | JournalError::NoCheckpoint { .. }
            | JournalError::Unrepeatable { .. } => FAILURE,
            _ => USAGE,
        };
        // The library's errors are for who writes a host, and can add an upgrade.
        let advice = match &error {
            JournalError::Version { error: CodecError::Older { .. }, .. } => {
                "; this mainlane has none: replay it with the version that wrote it, and name another file for new runs"
            }
            JournalError::Version { error: CodecError::Newer { .. }, .. } => "; it needs a newer mainlane",
            _ => "",
        };
        Self { code, line: format!("{error}{advice}") }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        JournalError::from(error).into()
    }
}

impl From<SalvageError> for Problem {
    fn from(error: SalvageError) -> Self {
        let code = match &error {
            SalvageError::Exists { .. } => USAGE,
            SalvageError::Store(error) => code_of(error),
            _ => FAILURE,
        };
        Self { code, line: error.to_string() }
    }
}

/// Of what was printed and could not be.
impl From<std::io::Error> for Problem {
    fn from(error: std::io::Error) -> Self {
        Self { code: FAILURE, line: format!("cannot print: {error}") }
    }
}

fn code_of(error: &StoreError) -> u8 {
    match error {
        StoreError::Damaged { .. } | StoreError::Full { .. } => FAILURE,
        _ => USAGE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_told_from_a_wrong_file() {
        let damaged = StoreError::Damaged { place: "page 3".into(), reason: "torn".into() };
        assert_eq!(Problem::from(damaged.clone()).code, FAILURE);
        assert!(Problem::from(damaged.clone()).line.contains("--salvage"));
        assert_eq!(Problem::from(SalvageError::Store(damaged)).code, FAILURE);
        let other = StoreError::NotAJournal { path: "a".into(), reason: "a text".into() };
        assert_eq!(Problem::from(other).code, USAGE);
        let turn = JournalError::NoSuchTurn { turn: 9, oldest: 1, newest: 3 };
        assert_eq!(Problem::from(turn).code, USAGE);
    }
}

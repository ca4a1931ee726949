//! What is good of a damaged journal, in a new one: `mainlane journal FILE --salvage NEW`.
//!
//! A state can be rebuilt only from a checkpoint and records that follow it without a gap. What is kept is the run of
//! records that leads furthest, with all good checkpoints within it. Everything else is lost, and said to be.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::sqlite::{SqliteStore, Sync};
use super::store::{Store, StoreError, TornTail, Write};
use super::survey::{Run, Survey};

/// The ending of its name while it is not whole.
const PART: &str = "-part";

/// How many bytes of records are written at once.
const WRITE_BYTES: usize = 4 << 20;

/// What was kept, and what is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SalvageReport {
    /// The oldest and the newest turn whose records were kept; none when only a checkpoint was.
    pub kept: Option<(u64, u64)>,
    /// How many records were kept.
    pub records: u64,
    /// How many events they have.
    pub events: u64,
    /// The newest turn whose state can be rebuilt.
    pub last: u64,
    /// Turns of the checkpoints that were kept, oldest first.
    pub checkpoints: Vec<u64>,
    /// Turns that are lost, oldest first.
    pub lost: Vec<Lost>,
    /// Checkpoints that were not kept, each with the reason.
    pub skipped: Vec<(u64, String)>,
    /// Lists that could not be read: whatever was on them is lost.
    pub unread: Vec<String>,
    /// What SQLite left out at the end, if anything.
    pub torn: Option<TornTail>,
}

/// Turns that were not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The first.
    pub from: u64,
    /// The last.
    pub to: u64,
    /// How many events they had; none when that cannot be read.
    pub events: Option<u64>,
    /// Why.
    pub why: String,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.from, self.to) {
            (from, to) if from == to => write!(f, "turn {from}")?,
            (from, to) => write!(f, "turns {from} to {to}")?,
        }
        match self.events {
            Some(events) => write!(f, ", {events} events: {}", self.why),
            None => write!(f, ", an unknown number of events: {}", self.why),
        }
    }
}

/// Why nothing was salvaged.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SalvageError {
    /// There is a file already where the new journal is to be, or beside that.
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// No good checkpoint was found, so no state can be rebuilt.
    NoCheckpoint {
        /// What is wrong with those that there are.
        skipped: Vec<(u64, String)>,
    },
    /// Whose journal it is cannot be read, or was never written.
    NoIdentity {
        /// What was found.
        why: String,
    },
    /// The damaged journal could not be opened, or the new one not be written.
    Store(StoreError),
}

impl fmt::Display for SalvageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SalvageError::Exists { path } => {
                write!(f, "{} exists; remove it if nobody needs it, or name another file", path.display())
            }
            SalvageError::NoCheckpoint { skipped } => {
                f.write_str("there is no good checkpoint, so no state can be rebuilt")?;
                skipped.iter().try_for_each(|(turn, why)| write!(f, "; that of turn {turn}: {why}"))
            }
            SalvageError::NoIdentity { why } => write!(f, "it cannot be read whose journal it is: {why}"),
            SalvageError::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SalvageError {}

impl From<StoreError> for SalvageError {
    fn from(error: StoreError) -> Self {
        SalvageError::Store(error)
    }
}

/// Writes what is good of the journal `from` to a new one. Nothing of `from` is changed.
///
/// # Errors
/// When `to` exists, or something that would be taken for a part of it, or nothing can be rebuilt; then there is no new
/// file.
pub fn salvage(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<SalvageReport, SalvageError> {
    let to = to.as_ref();
    // Has its name when it is whole: nobody is to take a part of it for a journal.
    let part = beside(to, PART);
    for path in [to, &part] {
        for path in ["", "-wal", "-journal"].map(|ending| beside(path, ending)) {
            if fs::symlink_metadata(&path).is_ok() {
                return Err(SalvageError::Exists { path });
            }
        }
    }
    let mut source = SqliteStore::open_read_only(from)?;
    let survey = Survey::of(&mut source);
    let plan = Plan::new(&survey)?;
    let written = SqliteStore::open(&part, Sync::Full).and_then(|mut target| {
        plan.copy(&survey, &mut source, &mut target)?;
        // All of it is in the one file that is to have the name.
        target.close()
    });
    let named = written.and_then(|()| name(&part, to).map_err(|error| failed(&error)));
    remove(&part);
    named?;
    Ok(plan.report(survey))
}

/// Names a file, for good.
fn name(part: &Path, to: &Path) -> io::Result<()> {
    fs::rename(part, to)?;
    #[cfg(unix)]
    {
        let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

fn failed(error: &io::Error) -> StoreError {
    StoreError::Failed { doing: "naming what was salvaged", reason: error.to_string() }
}

fn remove(journal: &Path) {
    for ending in ["", "-wal", "-shm", "-lock"] {
        let _ = fs::remove_file(beside(journal, ending));
    }
}

fn beside(journal: &Path, ending: &str) -> PathBuf {
    let mut name = journal.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// What is kept.
struct Plan {
    /// The oldest record and the newest; none are kept if the second is less than the first.
    from: u64,
    last: u64,
    checkpoints: Vec<u64>,
}

impl Plan {
    fn new(survey: &Survey) -> Result<Self, SalvageError> {
        match &survey.identity {
            Ok(Some(_)) => {}
            Ok(None) => return Err(SalvageError::NoIdentity { why: "it was never begun".into() }),
            Err(why) => return Err(SalvageError::NoIdentity { why: why.clone() }),
        }
        // The one that leads furthest; of those, the newest. What leads to it without a gap comes along.
        let base = survey.good_checkpoints().max_by_key(|base| survey.reach(*base));
        let Some(base) = base else {
            let skipped = survey.checkpoints.iter();
            let skipped = skipped.filter_map(|(turn, read)| Some((*turn, read.clone().err()?))).collect();
            return Err(SalvageError::NoCheckpoint { skipped });
        };
        let last = survey.reach(base);
        let from = survey.runs.iter().find(|run| run.follows(base)).map_or(base + 1, |run| run.from);
        let checkpoints = survey.good_checkpoints().filter(|turn| (from - 1..=last).contains(turn)).collect();
        Ok(Self { from, last, checkpoints })
    }

    fn copy(&self, survey: &Survey, source: &mut SqliteStore, target: &mut SqliteStore) -> Result<(), StoreError> {
        let identity = survey.identity.clone().ok().flatten().expect("looked at by the plan");
        target.begin(&identity)?;
        let mut next = self.from;
        while next <= self.last {
            let mut write = Write::default();
            let mut bytes = 0;
            source.records(next, &mut |record| {
                if record.turn != next || next > self.last {
                    return false;
                }
                next += 1;
                bytes += record.payload.len();
                write.records.push(record);
                bytes < WRITE_BYTES
            })?;
            if write.records.is_empty() {
                let place = format!("turn {next}");
                return Err(StoreError::Damaged { place, reason: "it could be read before, and cannot now".into() });
            }
            target.append(&write)?;
        }
        for turn in &self.checkpoints {
            let checkpoint = source.checkpoint(*turn)?;
            target.append(&Write { checkpoint, ..Write::default() })?;
        }
        let mut quarantined = survey.quarantined.clone().unwrap_or_default();
        quarantined.retain(|poison| (self.from..=self.last).contains(&poison.turn));
        target.append(&Write { quarantined, ..Write::default() })
    }

    fn report(&self, survey: Survey) -> SalvageReport {
        let kept = (self.from <= self.last).then_some((self.from, self.last));
        let run = survey.runs.iter().find(|run| run.from == self.from);
        let events = run.map_or(0, |run| run.events_after(self.from - 1) - run.events_after(self.last));
        let mut lost = Vec::new();
        for bad in &survey.bad {
            lost.push(Lost { from: bad.from, to: bad.to, events: bad.events, why: bad.why.clone() });
        }
        for run in &survey.runs {
            lost.extend(self.lost_of(run));
        }
        lost.sort_by_key(|lost| lost.from);
        let mut skipped = Vec::new();
        for (turn, read) in &survey.checkpoints {
            match read {
                Err(why) => skipped.push((*turn, why.clone())),
                Ok(()) if !self.checkpoints.contains(turn) => skipped.push((*turn, "it leads less far".into())),
                Ok(()) => {}
            }
        }
        let lists = [("checkpoints", survey.unlisted), ("events that are set aside", survey.quarantined.err())];
        let unread = lists.into_iter().filter_map(|(what, why)| Some(format!("{what}: {}", why?)));
        SalvageReport {
            kept,
            records: kept.map_or(0, |(from, last)| last - from + 1),
            events,
            last: self.last,
            checkpoints: self.checkpoints.clone(),
            lost,
            skipped,
            unread: unread.collect(),
            torn: survey.torn,
        }
    }

    /// The good records that lead nowhere.
    fn lost_of(&self, run: &Run) -> Option<Lost> {
        let (is_kept, to) = (run.from == self.from, run.to());
        let from = if is_kept { run.from.max(self.last + 1) } else { run.from };
        let why = match from > self.last {
            true => "no good checkpoint leads to them",
            false => "records after them are lost, and a newer checkpoint leads further",
        };
        (from <= to).then(|| Lost { from, to, events: Some(run.events_after(from - 1)), why: why.into() })
    }
}

//! A pipeline from its recovery to its end, with everybody who is told something.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mainlane::journal::{Journal, JournalError, JournalReader, NotDurable};
use mainlane::{Reader, ShutdownReport};

use crate::book::{Book, Driver};
use crate::facts::{Fact, Tell};

/// How long a test waits for what must happen before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A folder in memory, where there is one. Whatever syncs are good for does not show there anyway.
pub(crate) fn quick_folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// How a life ended.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) report: ShutdownReport,
    /// The turn that failed.
    pub(crate) error: Option<String>,
    pub(crate) failure: Option<String>,
    /// The newest turn that was durable, as it was known before the shutdown.
    pub(crate) durable: u64,
    /// The newest that was applied before the shutdown.
    pub(crate) applied: u64,
    /// There was no time for the next, which was begun: the shutdown took it, if it could.
    pub(crate) has_begun: bool,
    pub(crate) failures_counted: u64,
    pub(crate) full_counted: u64,
}

/// What goes on beside the turns.
#[derive(Clone, Copy)]
pub(crate) struct Habits {
    /// Takes so many turns at most.
    pub(crate) turns: u64,
    /// Waits for each to be durable before the next.
    pub(crate) one_by_one: bool,
    /// After the journal has failed, so many more.
    pub(crate) after: u64,
    /// How long the shutdown may take.
    pub(crate) deadline: Duration,
    /// How long a turn waits for room.
    pub(crate) patience: Duration,
    /// And whether it is taken up again then.
    pub(crate) stays: bool,
}

impl Habits {
    pub(crate) fn turns(turns: u64) -> Self {
        Self { turns, one_by_one: false, after: 3, deadline: PATIENCE, patience: PATIENCE, stays: false }
    }
}

/// Recovers, and lives. `between` is called between two turns, and ends the life when it returns false.
pub(crate) fn live(
    journal: Journal,
    seed: u64,
    habits: Habits,
    tell: &Tell,
    between: &mut dyn FnMut(&Driver) -> bool,
) -> Result<End, JournalError> {
    tell(Fact::Opening);
    let (builder, recovery) = journal.recover(Book::default())?;
    tell(Fact::Recovered(builder.state().at(recovery.turn)));
    let mut driver = Driver::new(builder, seed, recovery.turn);
    let (watch, reader) = (driver.handle.journal().expect("a journal"), driver.handle.reader());
    let over = Arc::new(AtomicBool::new(false));
    let threads = [
        std::thread::spawn({
            let (watch, over, tell) = (watch.clone(), over.clone(), tell.clone());
            move || watch_journal(&watch, &over, &tell)
        }),
        std::thread::spawn({
            let tell = tell.clone();
            move || watch_snapshots(reader, &tell)
        }),
    ];
    let (mut error, mut left) = (None, habits.after);
    while driver.turn < recovery.turn + habits.turns && between(&driver) {
        if watch.failure().is_some() {
            if left == 0 {
                break;
            }
            left -= 1;
        }
        match driver.step(Instant::now() + habits.patience) {
            Ok(true) => {}
            Ok(false) if habits.stays => continue,
            Ok(false) => break,
            Err(failed) => {
                error = Some(failed.to_string());
                break;
            }
        }
        tell(Fact::Applied(driver.state()));
        if habits.one_by_one {
            // Fails with the journal, which the next turn says.
            let _ = watch.wait(driver.turn, Instant::now() + habits.patience);
        }
    }
    let durable = watch.durable();
    let report = driver.main_lane.shutdown(habits.deadline);
    over.store(true, Ordering::Release);
    let faults = driver.handle.counters().faults;
    let end = End {
        report,
        error,
        failure: watch.failure(),
        durable,
        applied: driver.turn,
        has_begun: driver.has_begun(),
        failures_counted: faults.journal_failures,
        full_counted: faults.journal_full,
    };
    drop(driver);
    threads.into_iter().for_each(|thread| thread.join().expect("who is told says what was wrong"));
    tell(Fact::Durable(watch.durable()));
    Ok(end)
}

fn watch_journal(watch: &JournalReader, over: &AtomicBool, tell: &Tell) {
    let mut durable = watch.durable();
    tell(Fact::Durable(durable));
    loop {
        match watch.wait(durable + 1, Instant::now() + Duration::from_millis(20)) {
            Ok(()) => {
                durable = watch.durable();
                tell(Fact::Durable(durable));
            }
            Err(NotDurable::Failed { durable, reason }) => {
                tell(Fact::Durable(durable));
                tell(Fact::Failed(reason));
                return;
            }
            // Nothing tells that there will be no other.
            Err(_) if over.load(Ordering::Acquire) => return,
            Err(_) => {}
        }
    }
}

fn watch_snapshots(mut reader: Reader<Book>, tell: &Tell) {
    while !reader.is_ended() {
        if let Some(snapshot) = reader.wait_changed(Instant::now() + PATIENCE) {
            tell(Fact::Shown(snapshot.at(snapshot.turn())));
        }
    }
}

//! A store in memory that can be held, slowed down, filled up and broken, copied at any moment, and that forgets nothing:
//! beside what a journal may leave behind it keeps all that it was ever given, for the twin.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use mainlane::journal::store::{Quarantined, Record, RecordKind, StoreError, Write};

use crate::rows::{Held, Holder, Rows};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ill {
    /// For good: nothing was written, and nothing will be.
    Failed,
    /// For good, and this time it was written all the same.
    FailedAfter,
    /// So many times.
    Full(u64),
}

/// What is on a disk, and what was.
#[derive(Clone, Default)]
pub(crate) struct Kept {
    pub(crate) rows: Rows,
    /// Everything there ever was, also what the journal has left behind it.
    pub(crate) all: Vec<Record>,
    pub(crate) marks: Vec<Quarantined>,
}

#[derive(Default)]
struct State {
    kept: Kept,
    held: bool,
    slow: Duration,
    ill: Option<(u64, Ill)>,
    appends: u64,
    /// Are there somebody's hands on it?
    open: usize,
}

#[derive(Clone, Default)]
pub(crate) struct Disk(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// The newest turn of an append that is about to return without an error.
    durable: AtomicU64,
}

impl Disk {
    pub(crate) fn hold(&self, held: bool) {
        self.0.state.lock().unwrap().held = held;
        self.0.changed.notify_all();
    }

    /// Each append takes so long.
    pub(crate) fn slow(&self, time: Duration) {
        self.0.state.lock().unwrap().slow = time;
    }

    /// From the append after so many.
    pub(crate) fn fall_ill(&self, after: u64, ill: Ill) {
        let mut state = self.0.state.lock().unwrap();
        state.ill = Some((state.appends + after + 1, ill));
    }

    /// The newest turn that may be called durable.
    pub(crate) fn durable(&self) -> u64 {
        self.0.durable.load(Ordering::SeqCst)
    }

    /// Another disk with the same on it, as the end of the process would leave it.
    pub(crate) fn copy(&self) -> Self {
        let copy = Self::default();
        let kept = self.kept();
        let newest = kept.all.last().map_or(0, |record| record.turn);
        copy.0.durable.store(newest, Ordering::SeqCst);
        copy.0.state.lock().unwrap().kept = kept;
        copy
    }

    pub(crate) fn kept(&self) -> Kept {
        self.0.state.lock().unwrap().kept.clone()
    }

    /// True when nobody writes any more by `deadline`.
    pub(crate) fn is_left(&self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let state = self.0.state.lock().unwrap();
        let (state, _) = self.0.changed.wait_timeout_while(state, left, |state| state.open > 0).unwrap();
        state.open == 0
    }
}

impl Kept {
    /// Which checkpoints a recovery may begin with, oldest first.
    pub(crate) fn bases(&self) -> Vec<u64> {
        let changes: Vec<_> = self.rows.records.iter().filter(|record| record.kind != RecordKind::Batch).collect();
        let is_base = |turn: u64| changes.iter().all(|change| change.turn <= turn || change.reaches > turn);
        self.rows.checkpoints.iter().map(|checkpoint| checkpoint.turn).filter(|turn| is_base(*turn)).collect()
    }

    /// The turns whose state can be had.
    pub(crate) fn reach(&self) -> (u64, u64) {
        let oldest = self.rows.checkpoints.first().map_or(0, |checkpoint| checkpoint.turn);
        (oldest, self.rows.records.last().map_or(oldest, |record| record.turn))
    }
}

/// The store on it.
pub(crate) type Memory = Held<Hand>;

impl Memory {
    pub(crate) fn open(disk: &Disk) -> Self {
        disk.0.state.lock().unwrap().open += 1;
        Held(Hand(disk.clone()))
    }
}

/// Somebody's on the disk.
pub(crate) struct Hand(Disk);

impl Drop for Hand {
    fn drop(&mut self) {
        self.0.0.state.lock().unwrap().open -= 1;
        self.0.0.changed.notify_all();
    }
}

impl Holder for Hand {
    fn with<T>(&self, work: impl FnOnce(&mut Rows) -> T) -> T {
        work(&mut self.0.0.state.lock().unwrap().kept.rows)
    }

    fn append(&self, write: &Write) -> Result<(), StoreError> {
        let shared = &*self.0.0;
        // The disk's own time, as a slow one takes it: nothing is waited for, and no test hangs on how long it is.
        let (began, slow) = (Instant::now(), shared.state.lock().unwrap().slow);
        while began.elapsed() < slow {
            std::thread::yield_now();
        }
        let mut state = shared.changed.wait_while(shared.state.lock().unwrap(), |state| state.held).unwrap();
        state.appends += 1;
        let number = state.appends;
        let failed = || Err(StoreError::Failed { doing: "writing", reason: "the disk is gone".into() });
        let ill = state.ill.filter(|(from, ill)| match ill {
            Ill::Full(times) => (*from..from + times).contains(&number),
            Ill::Failed | Ill::FailedAfter => number >= *from,
        });
        let strikes_after = match ill {
            Some((_, Ill::Full(_))) => return Err(StoreError::Full { reason: "no space".into() }),
            Some((_, Ill::Failed)) => return failed(),
            Some((from, Ill::FailedAfter)) if number > from => return failed(),
            Some((_, Ill::FailedAfter)) => true,
            None => false,
        };
        let kept = &mut state.kept;
        kept.rows.write(write);
        kept.all.extend(write.records.iter().cloned());
        kept.marks.extend(write.quarantined.iter().cloned());
        if strikes_after {
            return failed();
        }
        if let Some(record) = write.records.last() {
            shared.durable.store(record.turn, Ordering::SeqCst);
        }
        Ok(())
    }
}

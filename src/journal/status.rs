//! What is known of a running journal, by the main lane, its threads, and whoever reads.

use std::fmt;
use std::time::Instant;

use super::progress::Durable;
use crate::latch::Latch;
use crate::notifications::{Notifications, listen};
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering::Relaxed};

pub(crate) struct Status {
    durable: Durable,
    /// What was handed on and is not durable, in bytes.
    bytes: AtomicU64,
    /// What empty buffers that wait to be used again take, in bytes.
    kept: AtomicU64,
    drafting: AtomicBool,
    /// The newest turn that there is a checkpoint of.
    checkpoint: AtomicU64,
    failed: Latch,
    reason: Mutex<Option<String>>,
    /// What the system said of the space that is waited for.
    full: Mutex<Option<String>>,
    closing: Latch,
    ended: Latch,
    deadline: Mutex<Option<Instant>>,
    changes: Notifications,
}

impl Status {
    pub(crate) fn new(durable: u64, checkpoint: u64) -> Self {
        Self {
            durable: Durable::new(durable),
            bytes: AtomicU64::new(0),
            kept: AtomicU64::new(0),
            drafting: AtomicBool::new(false),
            checkpoint: AtomicU64::new(checkpoint),
            failed: Latch::default(),
            reason: Mutex::new(None),
            full: Mutex::new(None),
            closing: Latch::default(),
            ended: Latch::default(),
            deadline: Mutex::new(None),
            changes: Notifications::new(),
        }
    }

    pub(crate) fn durable(&self) -> u64 {
        self.durable.turn()
    }

    pub(crate) fn reach(&self, turn: u64) {
        self.durable.reach(turn);
        let _ = self.changes.notify_all();
    }

    pub(crate) fn add_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn remove_bytes(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Relaxed);
    }

    pub(crate) fn bytes_in_flight(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    pub(crate) fn keep_bytes(&self, bytes: u64) {
        self.kept.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn use_bytes(&self, bytes: u64) {
        self.kept.fetch_sub(bytes, Relaxed);
    }

    pub(crate) fn bytes_kept(&self) -> u64 {
        self.kept.load(Relaxed)
    }

    /// True from the moment a checkpoint is begun to the moment it is written, or given up.
    pub(crate) fn is_drafting(&self) -> bool {
        self.drafting.load(Relaxed)
    }

    pub(crate) fn set_drafting(&self, drafting: bool) {
        self.drafting.store(drafting, Relaxed);
        if !drafting {
            let _ = self.changes.notify_all();
        }
    }

    /// Waits until no checkpoint is under way, or none will come, `deadline` at most.
    pub(crate) fn wait_drafted(&self, deadline: Instant) {
        loop {
            listen!(self.changes => change);
            if !self.is_drafting() || self.has_failed() || change.wait_deadline(deadline).is_none() {
                return;
            }
        }
    }

    pub(crate) fn has_checkpoint(&self, turn: u64) {
        self.checkpoint.fetch_max(turn, Relaxed);
    }

    pub(crate) fn checkpoint(&self) -> u64 {
        self.checkpoint.load(Relaxed)
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.is_set()
    }

    pub(crate) fn failure(&self) -> Option<String> {
        if self.failed.is_set() { self.reason.lock().clone() } else { None }
    }

    /// The first reason stays.
    pub(crate) fn fail(&self, reason: String) {
        self.reason.lock().get_or_insert(reason);
        self.failed.set();
        let _ = self.changes.notify_all();
    }

    pub(crate) fn lack_space(&self, reason: &str) {
        *self.full.lock() = Some(reason.to_owned());
    }

    pub(crate) fn has_space(&self) {
        *self.full.lock() = None;
    }

    /// There is no time left.
    pub(crate) fn give_up(&self) {
        let full = self.full.lock().clone();
        self.fail(match full {
            Some(reason) => format!("there was no space left for it: {reason}"),
            None => "it was not through when the time for the shutdown was".to_owned(),
        });
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.is_set()
    }

    pub(crate) fn close(&self, deadline: Instant) {
        *self.deadline.lock() = Some(deadline);
        self.closing.set();
    }

    /// Nothing more will be durable, and nothing went wrong.
    pub(crate) fn end(&self) {
        self.ended.set();
        let _ = self.changes.notify_all();
    }

    /// True when there is no time left to try again.
    pub(crate) fn is_over(&self) -> bool {
        self.closing.is_set() && self.deadline.lock().is_none_or(|deadline| Instant::now() >= deadline)
    }
}

/// How far a pipeline's journal is, from any thread. Cheap to clone.
#[derive(Clone)]
pub struct JournalReader {
    status: Arc<Status>,
}

/// A turn is not durable.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotDurable {
    /// Not yet.
    NotYet {
        /// The newest turn that is.
        durable: u64,
    },
    /// The journal has failed: nobody will say that it is. It may be there all the same when the journal is recovered, if
    /// it was being written by then.
    Failed {
        /// The newest turn that is.
        durable: u64,
        /// What happened.
        reason: String,
    },
    /// The pipeline has ended before that turn.
    Ended {
        /// The newest turn that is.
        durable: u64,
    },
}

impl JournalReader {
    pub(crate) fn new(status: Arc<Status>) -> Self {
        Self { status }
    }

    /// The newest turn that is durable: it and all before it survive what the journal's
    /// [`Sync`](crate::journal::Sync) says.
    pub fn durable(&self) -> u64 {
        self.status.durable()
    }

    /// How many bytes are in its buffers: what is not durable yet, and what waits to be used again.
    pub fn held_bytes(&self) -> u64 {
        self.status.bytes_in_flight() + self.status.bytes_kept()
    }

    /// Why the journal writes nothing any more, if it does not.
    pub fn failure(&self) -> Option<String> {
        self.status.failure()
    }

    /// Blocks this thread until `turn` is durable, `deadline` at most. Not for the thread that drives the main lane.
    ///
    /// # Errors
    /// When it is not durable by then, or never will be.
    pub fn wait(&self, turn: u64, deadline: Instant) -> Result<(), NotDurable> {
        loop {
            listen!(self.status.changes => change);
            if let Some(outcome) = self.outcome(turn) {
                return outcome;
            }
            if change.wait_deadline(deadline).is_none() {
                return self.outcome(turn).unwrap_or(Err(NotDurable::NotYet { durable: self.durable() }));
            }
        }
    }

    /// Waits until `turn` is durable. Needs no runtime, and loses nothing when the future is dropped half-way.
    ///
    /// # Errors
    /// When it never will be.
    pub async fn reached(&self, turn: u64) -> Result<(), NotDurable> {
        loop {
            listen!(self.status.changes => change);
            if let Some(outcome) = self.outcome(turn) {
                return outcome;
            }
            change.await;
        }
    }

    fn outcome(&self, turn: u64) -> Option<Result<(), NotDurable>> {
        // The end and the failure first: a turn may become durable in between, not the other way round.
        let ended = self.status.ended.is_set();
        let failure = self.status.failure();
        let durable = self.durable();
        if durable >= turn {
            return Some(Ok(()));
        }
        match failure {
            Some(reason) => Some(Err(NotDurable::Failed { durable, reason })),
            None => ended.then_some(Err(NotDurable::Ended { durable })),
        }
    }
}

impl fmt::Debug for JournalReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JournalReader").field("durable", &self.durable()).field("failure", &self.failure()).finish()
    }
}

impl fmt::Display for NotDurable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotDurable::NotYet { durable } => write!(f, "the newest turn that is durable is {durable}"),
            NotDurable::Failed { durable, reason } => {
                write!(f, "the journal has failed after turn {durable}: {reason}")
            }
            NotDurable::Ended { durable } => write!(f, "the pipeline has ended with turn {durable}"),
        }
    }
}

impl std::error::Error for NotDurable {}

//! From the main lane to the store: the pen, which the main lane holds, and the thread that it writes through.
//!
//! The main lane encodes what a turn applied into a buffer, and hands it on through a ring; the journal's thread takes all
//! that is there, appends it to the store in one go, says how far it got, and gives the buffers back through another ring.
//! So the slower the disk is, the more turns share one write. A second thread encodes checkpoints: those may be large, and
//! turns do not wait for them.
//!
//! After an error that is not a lack of space nothing is written any more: what a failed sync has done to a file is not
//! known, and trying again would only make it look done.

use std::cell::Cell;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use crossbeam_utils::sync::{Parker, Unparker};
use serde::Serialize;

use super::batch::{Scratch, encode_batch};
use super::config::{Behind, CheckpointPolicy, Retention, Settings};
use super::record::{encode_checkpoint, encode_operation};
use super::sqlite::PAYLOAD_BYTES_MAX;
use super::status::Status;
use super::store::{Checkpoint, Quarantined, Record, RecordKind, Store, StoreError, Write};
use crate::core::{Core, contain};
use crate::error::Error;
use crate::event::Event;
use crate::main_lane::entry::{Entry, Fate};
use crate::main_lane::operations::Operations;
use crate::main_lane::operations::image::OperationsImage;
use crate::main_lane::reduce::Reducer;
use crate::main_lane::report::JournalEnd;
use crate::main_lane::scribe::{Durability, Scribe};
use crate::observe::diagnostic::Diagnostic;
use crate::sync::{Arc, spsc};
use crate::timeline::RewindKind;
use crate::timeline::ask::Change;

/// A turn needs no more than so many places in the ring: its batch, and what came of it.
const JOBS_PER_TURN: usize = 2;
/// How much is written at once, in bytes of payload; the one that goes beyond is still written. Half of what SQLite has room
/// for in memory: a transaction for which there is none takes twice as long.
const WRITE_BYTES_MAX: usize = 1 << 20;
const TOO_FAR: &str =
    "it is further behind than its lag allows, and was set to give up rather than make the main lane wait";
/// How often a journal without space looks for some.
const RETRY_EVERY: Duration = Duration::from_millis(50);

/// The name of the journal's thread.
const JOURNAL: &str = "journal";

/// What the main lane hands on.
struct Job<S> {
    line: Option<Line>,
    quarantined: Vec<Quarantined>,
    draft: Option<Box<Draft<S>>>,
}

/// What becomes a record.
struct Line {
    kind: RecordKind,
    turn: u64,
    events: u32,
    reaches: u64,
    payload: Vec<u8>,
}

/// What becomes a checkpoint.
struct Draft<S> {
    turn: u64,
    state: S,
    operations: OperationsImage,
    oldest: u64,
}

/// The main lane's end.
pub(crate) struct Pen<S: Reducer> {
    jobs: spsc::Producer<Job<S>>,
    /// Places that were free in that ring at the last look, without those that were taken since: each look takes a line from
    /// the journal's thread.
    room: Cell<usize>,
    /// How long the last payload was: the next will be about as long.
    payload_bytes: usize,
    buffers: spsc::Consumer<Vec<u8>>,
    job: Job<S>,
    scratch: Scratch,
    status: Arc<Status>,
    unparker: Unparker,
    durability: Durability,
    behind: Behind,
    turns_max: u64,
    bytes_max: u64,
    /// The newest turn that was handed on, and the newest that was durable when that was looked at last.
    newest: u64,
    seen: Cell<u64>,
    policy: CheckpointPolicy,
    /// Since the last checkpoint.
    events: u64,
    bytes: u64,
    since: Instant,
    threads: Option<Threads>,
}

/// The journal's thread, and the one that encodes checkpoints.
struct Threads([Running; 2]);

struct Running {
    name: &'static str,
    join: JoinHandle<()>,
    /// Closed when it ends.
    done: Receiver<()>,
}

impl<S> Job<S> {
    const fn empty() -> Self {
        Self { line: None, quarantined: Vec::new(), draft: None }
    }

    fn is_empty(&self) -> bool {
        self.line.is_none() && self.quarantined.is_empty() && self.draft.is_none()
    }
}

/// Starts the threads. `durable` is the newest turn of the store, `changes` the turns in it that change older ones.
pub(crate) fn start<S>(
    settings: &Settings,
    store: Box<dyn Store>,
    begin: Begin,
    core: Arc<Core>,
) -> Result<(Pen<S>, Arc<Status>), Error>
where
    S: Reducer + Serialize,
{
    let status = Arc::new(Status::new(begin.durable, begin.checkpoints.last().copied().unwrap_or(0)));
    let (jobs, job_ends) = spsc::ring(settings.lag_turns.max(1) * JOBS_PER_TURN);
    let (empties, buffers) = spsc::ring(settings.lag_turns.max(1) * JOBS_PER_TURN);
    let parker = Parker::new();
    let unparker = parker.unparker().clone();
    let (drafts, to_encode) = crossbeam_channel::bounded(1);
    let (encoded, checkpoints) = crossbeam_channel::bounded(1);
    let writer = Writer {
        store,
        jobs: job_ends,
        buffers: empties,
        parker,
        status: status.clone(),
        core: core.clone(),
        drafts,
        checkpoints,
        schema: settings.schema_version,
        retention: settings.retention,
        gives_up: settings.behind == Behind::GiveUp && settings.durability == Durability::BeforeApply,
        kept: begin.checkpoints,
        changes: begin.changes,
        waiting: None,
        oldest: begin.durable,
        bytes_max: settings.lag_bytes,
    };
    let (woken, schema, reporting) = (unparker.clone(), settings.schema_version, core);
    let encoder = run("journal-checkpoint", move || {
        encode_drafts::<S>(&to_encode, &encoded, &woken, schema, &reporting);
    })?;
    let writer = run(JOURNAL, move || writer.run_contained())?;
    let pen = Pen {
        jobs,
        room: Cell::new(0),
        payload_bytes: 0,
        buffers,
        job: Job::empty(),
        scratch: Scratch::default(),
        status: status.clone(),
        unparker,
        durability: settings.durability,
        behind: settings.behind,
        turns_max: settings.lag_turns.max(1) as u64,
        bytes_max: settings.lag_bytes,
        newest: begin.durable,
        seen: Cell::new(begin.durable),
        policy: settings.checkpoints,
        events: begin.events,
        bytes: begin.bytes,
        since: Instant::now(),
        threads: Some(Threads([writer, encoder])),
    };
    Ok((pen, status))
}

fn run(name: &'static str, work: impl FnOnce() + Send + 'static) -> Result<Running, Error> {
    let (end, done) = crossbeam_channel::bounded(0);
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let _end = end;
        work();
    });
    let join = thread.map_err(|error| Error::Thread { name: name.to_owned(), reason: error.to_string() })?;
    Ok(Running { name, join, done })
}

/// Where a journal goes on from.
pub(crate) struct Begin {
    pub(crate) durable: u64,
    /// Turns of the checkpoints that there are, oldest first.
    pub(crate) checkpoints: Vec<u64>,
    /// Turns that change older ones, with the oldest.
    pub(crate) changes: Vec<(u64, u64)>,
    /// How many events came since the last checkpoint, and how many bytes of records.
    pub(crate) events: u64,
    pub(crate) bytes: u64,
}

impl<S> Pen<S>
where
    S: Reducer + Serialize,
    S::Event: Serialize,
    <S::Event as Event>::Facets: Serialize,
{
    fn line(&mut self, turn: u64, kind: RecordKind, events: usize, reaches: u64, payload: Vec<u8>) {
        if self.behind == Behind::GiveUp && !self.is_within_lag() {
            self.status.fail(TOO_FAR.to_owned());
        }
        self.newest = turn;
        self.status.add_bytes(payload.len() as u64);
        self.payload_bytes = payload.len();
        self.events += events as u64;
        self.bytes += payload.len() as u64;
        let events = u32::try_from(events).unwrap_or(u32::MAX);
        self.job.line = Some(Line { kind, turn, events, reaches, payload });
    }

    fn buffer(&mut self) -> Vec<u8> {
        let mut buffer = match self.buffers.pop() {
            Some(buffer) => {
                self.status.use_bytes(buffer.capacity() as u64);
                buffer
            }
            None => Vec::new(),
        };
        buffer.clear();
        buffer.reserve(self.payload_bytes);
        buffer
    }

    fn ring_has_room(&self) -> bool {
        if self.room.get() < JOBS_PER_TURN {
            self.room.set(self.jobs.room());
        }
        self.room.get() >= JOBS_PER_TURN
    }

    /// True when another turn may be handed on. What the journal's thread has in hand is behind too, so the room in the ring
    /// does not say it.
    fn is_within_lag(&self) -> bool {
        if self.newest - self.seen.get() >= self.turns_max {
            self.seen.set(self.status.durable());
        }
        let turns = self.newest - self.seen.get();
        turns < self.turns_max && self.status.bytes_in_flight() < self.bytes_max && self.ring_has_room()
    }
}

impl<S> Scribe<S> for Pen<S>
where
    S: Reducer + Serialize,
    S::Event: Serialize,
    <S::Event as Event>::Facets: Serialize,
{
    fn durability(&self) -> Durability {
        self.durability
    }

    fn durable(&self) -> u64 {
        self.status.durable()
    }

    fn failure(&self) -> Option<String> {
        self.status.failure()
    }

    fn has_room(&self) -> bool {
        self.behind == Behind::GiveUp || self.is_within_lag()
    }

    fn record(&mut self, turn: u64, batch: &[(Entry<S::Event>, Fate)]) {
        let (mut payload, scratch) = (self.buffer(), &mut self.scratch);
        let encode = || encode_batch(batch.iter().map(|(entry, _)| entry), &mut payload, scratch);
        match contain(encode) {
            Ok(Ok(())) => self.line(turn, RecordKind::Batch, batch.len(), turn, payload),
            Ok(Err(error)) => self.status.fail(format!("turn {turn} cannot be encoded: {error}")),
            Err(message) => {
                self.status.fail(format!("turn {turn} cannot be encoded: the host's code panicked: {message}"))
            }
        }
    }

    fn change(&mut self, turn: u64, change: &Change) {
        let mut payload = self.buffer();
        encode_operation(change.operation, &mut payload);
        let kind = match change.kind {
            RewindKind::Undo => RecordKind::Undo,
            RewindKind::Redo => RecordKind::Redo,
        };
        self.line(turn, kind, 0, change.reaches, payload);
    }

    fn quarantine(&mut self, turn: u64, index: usize, kind: &str, message: &str) {
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        self.job.quarantined.push(Quarantined { turn, index, kind: kind.to_owned(), message: message.to_owned() });
    }

    fn is_checkpoint_due(&self) -> bool {
        let CheckpointPolicy { events, bytes, time } = self.policy;
        let due = self.events >= events
            || self.bytes >= bytes
            || time.is_some_and(|time| self.events > 0 && self.since.elapsed() >= time);
        due && !self.status.is_drafting()
    }

    fn checkpoint(&mut self, turn: u64, state: &S, operations: &Operations, oldest: u64) {
        // Nothing came since the last one; or it is not finished, or there is no place for this one.
        if self.events == 0 && self.bytes == 0 || self.status.is_drafting() || self.jobs.room() == 0 {
            return;
        }
        // The copy first: it may panic, and a draft that is not there would be waited for.
        self.job.draft = Some(Box::new(Draft { turn, state: state.clone(), operations: operations.image(), oldest }));
        self.status.set_drafting(true);
        (self.events, self.bytes, self.since) = (0, 0, Instant::now());
    }

    fn await_checkpoint(&mut self, deadline: Instant) {
        self.status.wait_drafted(deadline);
    }

    fn submit(&mut self) {
        if self.job.is_empty() || self.status.has_failed() {
            self.job = Job::empty();
            return;
        }
        let job = std::mem::replace(&mut self.job, Job::empty());
        self.room.set(self.room.get().saturating_sub(1));
        if self.jobs.push(job).is_err() {
            self.status.fail(TOO_FAR.to_owned());
        }
        self.unparker.unpark();
    }

    fn close(&mut self, applied: u64, deadline: Instant) -> (JournalEnd, Vec<String>) {
        self.status.close(deadline);
        self.unparker.unpark();
        let mut stragglers = Vec::new();
        // A little beyond: the thread itself gives up at the deadline, and then still has to end.
        let deadline = deadline + Duration::from_millis(250);
        // The second ends with the first, unless the host's code does not return.
        for Running { name, join, done } in self.threads.take().into_iter().flat_map(|Threads(threads)| threads) {
            match done.recv_deadline(deadline) {
                Err(RecvTimeoutError::Timeout) => stragglers.push(name.to_owned()),
                Ok(()) | Err(RecvTimeoutError::Disconnected) => drop(join.join()),
            }
        }
        if stragglers.iter().any(|name| name == JOURNAL) {
            self.status.give_up();
        }
        self.status.end();
        let (durable, checkpoint, failure) = (self.status.durable(), self.status.checkpoint(), self.status.failure());
        (JournalEnd { durable, applied, checkpoint, failure }, stragglers)
    }
}

impl<S: Reducer> Drop for Pen<S> {
    fn drop(&mut self) {
        // Of a pipeline that was never built.
        if let Some(Threads(threads)) = self.threads.take() {
            self.status.close(Instant::now());
            self.unparker.unpark();
            threads.into_iter().for_each(|thread| drop(thread.join.join()));
            self.status.end();
        }
    }
}

/// The second thread: makes checkpoints of drafts.
fn encode_drafts<S: Reducer + Serialize>(
    drafts: &Receiver<Box<Draft<S>>>,
    encoded: &Sender<Encoded>,
    writer: &Unparker,
    schema: u32,
    core: &Core,
) {
    for draft in drafts {
        let Draft { turn, state, operations, oldest } = *draft;
        let mut payload = Vec::new();
        let checkpoint = match contain(|| encode_checkpoint(&operations, &state, &mut payload)) {
            Ok(Ok(())) if payload.len() > PAYLOAD_BYTES_MAX => {
                let reason = format!("the state takes {} bytes, and {PAYLOAD_BYTES_MAX} is the most", payload.len());
                core.report(Diagnostic::CheckpointFailed { turn, reason });
                None
            }
            Ok(Ok(())) => Some(Checkpoint::seal(turn, schema, payload)),
            Ok(Err(error)) => {
                core.report(Diagnostic::CheckpointFailed { turn, reason: error.to_string() });
                None
            }
            Err(reason) => {
                core.report(Diagnostic::CheckpointFailed { turn, reason });
                None
            }
        };
        let _ = contain(|| drop(state));
        if encoded.send(Encoded { checkpoint, oldest }).is_err() {
            return;
        }
        writer.unpark();
    }
}

struct Encoded {
    checkpoint: Option<Checkpoint>,
    /// Turns before this are not needed by the timeline.
    oldest: u64,
}

/// The journal's thread.
struct Writer<S> {
    store: Box<dyn Store>,
    jobs: spsc::Consumer<Job<S>>,
    buffers: spsc::Producer<Vec<u8>>,
    parker: Parker,
    status: Arc<Status>,
    core: Arc<Core>,
    drafts: Sender<Box<Draft<S>>>,
    checkpoints: Receiver<Encoded>,
    schema: u32,
    retention: Retention,
    /// A full disk is not waited for: what is not durable may not be applied, so there is no lag that it could use up.
    gives_up: bool,
    kept: Vec<u64>,
    changes: Vec<(u64, u64)>,
    /// A checkpoint whose turn is not written yet.
    waiting: Option<Encoded>,
    oldest: u64,
    /// Of empty buffers.
    bytes_max: u64,
}

impl<S> Writer<S> {
    /// A store may be the host's, and panic. Nobody must wait for a thread that has ended.
    fn run_contained(mut self) {
        let (status, core) = (self.status.clone(), self.core.clone());
        let ran = contain(|| self.run());
        // By itself: what is left of a store that has panicked may do so again.
        if let Err(message) = ran.and_then(|()| contain(|| drop(self))) {
            status.fail(format!("its store panicked: {message}"));
            core.bell.ring();
        }
    }

    fn run(&mut self) {
        loop {
            // Before the look: what came before the closing is seen by it.
            let closing = self.status.is_closing();
            let mut write = Write::default();
            let any = self.collect(&mut write);
            if any && !self.status.has_failed() {
                self.append(write);
                continue;
            }
            if any {
                continue;
            }
            if closing && (self.status.has_failed() || !self.status.is_drafting()) {
                return;
            }
            self.parker.park();
        }
    }

    /// Takes what there is, within bounds. True if that was anything.
    fn collect(&mut self, write: &mut Write) -> bool {
        let (mut any, mut bytes) = (false, 0);
        while bytes < WRITE_BYTES_MAX {
            let Some(Job { line, quarantined, draft }) = self.jobs.pop() else { break };
            any = true;
            if let Some(Line { kind, turn, events, reaches, payload }) = line {
                bytes += payload.len();
                if kind != RecordKind::Batch {
                    self.changes.push((turn, reaches));
                }
                write.records.push(Record::seal(kind, turn, events, reaches, self.schema, payload));
            }
            write.quarantined.extend(quarantined);
            if let Some(draft) = draft {
                // There is one at a time.
                let _ = self.drafts.try_send(draft);
            }
        }
        if self.waiting.is_none() {
            match self.checkpoints.try_recv() {
                Ok(encoded) => self.waiting = Some(encoded),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => {}
            }
        }
        let newest = write.records.last().map_or(self.status.durable(), |record| record.turn);
        let is_written = |encoded: &mut Encoded| encoded.checkpoint.as_ref().is_none_or(|made| made.turn <= newest);
        if let Some(Encoded { checkpoint, oldest }) = self.waiting.take_if(is_written) {
            any = true;
            if let Some(checkpoint) = checkpoint {
                self.oldest = oldest;
                write.prune_before = self.prune_before(checkpoint.turn);
                write.checkpoint = Some(checkpoint);
            } else {
                self.status.set_drafting(false);
            }
        }
        any
    }

    /// With a checkpoint of `turn`, the newest one that everything older than may be left behind.
    fn prune_before(&mut self, turn: u64) -> Option<u64> {
        let Retention::Checkpoints(count) = self.retention else { return None };
        if self.kept.last().is_none_or(|last| *last < turn) {
            self.kept.push(turn);
        }
        let last = self.kept.len().checked_sub(count.max(1))?;
        let changes = &self.changes;
        let is_base = |base: &&u64| changes.iter().all(|(turn, reaches)| *turn <= **base || *reaches > **base);
        let base = *self.kept[..=last].iter().rev().find(|base| **base <= self.oldest && is_base(base))?;
        self.kept.retain(|turn| *turn >= base);
        self.changes.retain(|(turn, _)| *turn > base);
        Some(base)
    }

    fn append(&mut self, mut write: Write) {
        let mut is_full = false;
        loop {
            match self.store.append(&write) {
                Ok(()) => break,
                Err(StoreError::Full { reason }) => {
                    self.status.lack_space(&reason);
                    if !std::mem::replace(&mut is_full, true) {
                        self.core.report(Diagnostic::JournalFull { reason });
                    }
                    if self.gives_up || self.status.is_over() {
                        self.status.give_up();
                        self.core.bell.ring();
                    }
                    // The main lane may have given up too.
                    if self.status.has_failed() {
                        return;
                    }
                    self.parker.park_timeout(RETRY_EVERY);
                }
                Err(error) => {
                    self.fail(error.to_string());
                    return;
                }
            }
        }
        if is_full {
            self.status.has_space();
        }
        if self.status.has_failed() {
            // Given up meanwhile: it was said that this would not be durable.
            return;
        }
        if let Some(checkpoint) = &write.checkpoint {
            self.status.has_checkpoint(checkpoint.turn);
            self.status.set_drafting(false);
        }
        let bytes = write.records.iter().map(|record| record.payload.len() as u64).sum();
        let newest = write.records.last().map(|record| record.turn);
        for Record { payload, .. } in write.records.drain(..) {
            // Buffers grow and are never cut: no more of them are kept than may be in flight.
            let capacity = payload.capacity() as u64;
            if self.status.bytes_kept() + capacity <= self.bytes_max {
                // Before it can be taken, so that the sum is never below zero.
                self.status.keep_bytes(capacity);
                if self.buffers.push(payload).is_err() {
                    self.status.use_bytes(capacity);
                }
            }
        }
        self.status.remove_bytes(bytes);
        if let Some(turn) = newest {
            self.status.reach(turn);
        }
        self.core.bell.ring();
    }

    #[cold]
    fn fail(&mut self, reason: String) {
        self.status.fail(reason);
        self.core.bell.ring();
    }
}

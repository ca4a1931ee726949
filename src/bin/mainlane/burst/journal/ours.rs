//! mainlane: a pipeline whose journal is in a file.

use std::path::Path;
use std::time::{Duration, Instant};

use mainlane::journal::{CheckpointPolicy, Durability, Journal, JournalReader, Replaying, Retention, Sync};
use mainlane::{Budget, Builder, Lane, Left, MainLane, Pipeline, Reducer, Timeline};

use super::ledger::{Ledger, Posting};

/// Nothing takes so long unless it stands still.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// No checkpoint but the first.
pub(crate) const NO_CHECKPOINTS: CheckpointPolicy = CheckpointPolicy { events: u64::MAX, bytes: u64::MAX, time: None };

/// A journal with all its records, and no checkpoint but the first.
pub(crate) fn whole(path: &Path) -> Journal {
    Journal::file(path).schema("ledger", 1).checkpoints(NO_CHECKPOINTS).retention(Retention::All)
}

/// What is kept of what was applied.
#[derive(Clone, Copy)]
pub(crate) enum Keep {
    Nothing,
    Timeline,
    Journal(Durability),
}

/// A pipeline and the one who pushes to it, on one thread.
pub(crate) struct Host<S: Reducer<Event = Posting>> {
    lane: Lane<Posting>,
    pub(crate) main_lane: MainLane<S>,

    journal: Option<JournalReader>,
    pub(crate) pushed: u64,
}

/// One turn that applied what was pushed.
pub(crate) struct Applied {
    pub(crate) number: u64,
    /// Spent in turns, waiting left out.
    pub(crate) took: Duration,
}

/// A pipeline on a journal.
pub(crate) fn recovered<S>(journal: Journal, initial: S) -> Builder<S>
where
    S: Reducer<Event = Posting> + serde::Serialize + serde::de::DeserializeOwned,
{
    let (builder, _) = journal.recover(initial).unwrap_or_else(|error| panic!("the journal is sound: {error}"));
    builder
}

/// The state that all records there are come to, from the oldest checkpoint on.
///
/// # Panics
/// When it is another than the checkpoints on the way say.
pub(crate) fn replayed(journal: Journal) -> Ledger {
    let all = Replaying { verify: true, ..Replaying::default() };
    let replayed = journal.replay(all, None, &mut |_| true);
    let (state, report) = replayed.unwrap_or_else(|error| panic!("the journal is sound: {error}"));
    assert!(report.different.is_empty(), "the state is what it was: {report:?}");
    state
}

impl<S: Reducer<Event = Posting>> Host<S> {
    /// With room for so many events in its lane.
    pub(crate) fn new(builder: Builder<S>, batch: u64) -> Self {
        let lane = builder.lane("postings").capacity(batch.max(1024) as usize).open();
        let lane = lane.expect("the builder is not built yet");
        let (main_lane, handle) = builder.build().expect("all settings are in range");
        let journal = handle.journal();
        Self { lane, main_lane, journal, pushed: 0 }
    }

    #[inline]
    pub(crate) fn push(&mut self, batch: u64) {
        let from = self.pushed;
        let pushed = match batch {
            1 => self.lane.push(Posting::new(from)).is_ok(),
            _ => self.lane.push_batch((from..from + batch).map(Posting::new)).is_ok(),
        };
        assert!(pushed, "the pipeline is open, and there is room");
        self.pushed += batch;
    }

    /// Applies what was pushed, as one turn. Where there is a journal that is behind, waits for it.
    #[inline]
    pub(crate) fn apply(&mut self) -> Applied {
        let mut took = Duration::ZERO;
        loop {
            let began = Instant::now();
            let turn = self.main_lane.turn(Budget::UNLIMITED).unwrap_or_else(|error| panic!("{error}"));
            took += began.elapsed();
            if turn.events > 0 {
                return Applied { number: turn.number, took };
            }
            if turn.left == Left::Journal {
                self.main_lane.wait_for_input(Instant::now() + PATIENCE);
            }
        }
    }

    /// Applies what was pushed, until it can be seen.
    #[inline]
    pub(crate) fn show(&mut self) {
        while self.main_lane.turn(Budget::UNLIMITED).unwrap_or_else(|error| panic!("{error}")).published.is_none() {
            self.main_lane.wait_for_input(Instant::now() + PATIENCE);
        }
    }

    /// Returns when turn `turn` is acknowledged as durable.
    pub(crate) fn persist(&self, turn: u64) {
        if let Some(journal) = &self.journal {
            journal.wait(turn, Instant::now() + PATIENCE).unwrap_or_else(|error| panic!("{error}"));
        }
    }

    pub(crate) fn end(mut self) -> S {
        let report = self.main_lane.shutdown(PATIENCE);
        assert!(report.complete, "all is applied and written: {report:?}");
        self.main_lane.state().clone()
    }
}

impl Keep {
    pub(crate) fn open(self, path: &Path, batch: u64) -> Host<Ledger> {
        let initial = Ledger::default();
        let builder = match self {
            Keep::Nothing => Pipeline::builder(initial),
            Keep::Timeline => Pipeline::builder(initial).timeline(Timeline::default()),
            Keep::Journal(durability) => recovered(whole(path).durability(durability).sync(Sync::Full), initial),
        };
        Host::new(builder, batch)
    }
}

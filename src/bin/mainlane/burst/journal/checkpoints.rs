//! What checkpoints of a state of ten megabytes do to turns, and how long they take.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use imbl::OrdMap;
use mainlane::journal::store::{Checkpoint, CheckpointHead, Identity, Quarantined, Record, Store, TornTail, Write};
use mainlane::journal::{CheckpointPolicy, Journal, SqliteStore, StoreError, Sync};
use mainlane::{Effects, Envelope, Pipeline, Reducer};
use parking_lot::Mutex;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::super::BurstArgs;
use super::super::rounds::{self, Contender, Figure, Spread, Table, histogram};
use super::ledger::Posting;
use super::ours::{Host, NO_CHECKPOINTS, recovered};
use super::place::Folder;
use super::{folder, machine};

/// In a slice, whatever it takes: the older a map is, the further apart its parts are.
const TURNS: usize = 2_000;
const ACCOUNTS: u64 = 100_000;
/// Of an account, beside its number: ten megabytes in all.
const WORDS: usize = 12;
const BATCH: u64 = 100;
/// Turns from one checkpoint to the next.
const EVERY: u64 = 200;

/// A persistent map: a copy shares what has not changed.
#[derive(Clone)]
struct Accounts(OrdMap<u64, [u64; WORDS]>);

impl Accounts {
    fn new() -> Self {
        Self((0..ACCOUNTS).map(|account| (account, [account; WORDS])).collect())
    }
}

impl Reducer for Accounts {
    type Event = Posting;
    type Effect = ();

    fn apply(&mut self, envelope: &Envelope<'_, Posting>, _: &mut Effects<()>) {
        let [_, account, amount] = envelope.event.0;
        if let Some(words) = self.0.get_mut(&(account % ACCOUNTS)) {
            let word = &mut words[(amount % WORDS as u64) as usize];
            *word = word.wrapping_add(amount);
        }
    }
}

impl Serialize for Accounts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter())
    }
}

impl<'de> Deserialize<'de> for Accounts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Vec::<(u64, [u64; WORDS])>::deserialize(deserializer)?.into_iter().collect()))
    }
}

pub(super) fn table(args: &BurstArgs) -> Table {
    let written = Rc::new(RefCell::new(Vec::new()));
    let every = CheckpointPolicy { events: EVERY * BATCH, ..NO_CHECKPOINTS };
    let of = |name: &str, policy: Option<CheckpointPolicy>| {
        let (dir, written) = (args.dir.clone(), written.clone());
        Contender::new(name, move || {
            let (figure, checkpoints) = slice(policy, &folder(dir.as_deref()));
            written.borrow_mut().extend(checkpoints);
            figure
        })
    };
    let contenders = vec![
        of("mainlane, nothing kept", None),
        of("mainlane, a journal without checkpoints", Some(NO_CHECKPOINTS)),
        of(&format!("mainlane, a checkpoint every {EVERY} turns"), Some(every)),
    ];
    let name = format!("W22 turns of {BATCH} events, a state of 10 MB in a persistent map");
    let mut table = rounds::run(name, "ns per turn", false, contenders, args.rounds as usize, args.seed);
    let written = written.borrow();
    if !written.is_empty() {
        let Spread { lower, median, upper } = Spread::of(written.iter().copied());
        table.notes.push(format!(
            "{} checkpoints took {median:.1} ms [{lower:.1} {upper:.1}] each, from the turn that begins one to the write",
            written.len()
        ));
    }
    table.notes.push("flat out, synced; what the main lane waits for the journal is not in a turn's time".to_owned());
    table.notes.extend(machine::note_if_crowded(2));
    table
}

/// Turns, and how long each checkpoint took, in milliseconds.
fn slice(policy: Option<CheckpointPolicy>, folder: &Folder) -> (Figure, Vec<f64>) {
    let (path, landed) = (folder.file("journal"), Landed::default());
    let journal = |store| Journal::store(store).schema("accounts", 1);
    let open = || SqliteStore::open(&path, Sync::Full).expect("the journal is sound");
    let builder = match policy {
        None => Pipeline::builder(Accounts::new()),
        Some(policy) => {
            let watched = Watched { store: open(), landed: landed.clone() };
            recovered(journal(watched).checkpoints(policy), Accounts::new())
        }
    };
    landed.lock().clear();
    let mut host = Host::new(builder, BATCH);
    let (mut times, mut ends) = (histogram(), Vec::with_capacity(TURNS));
    for _ in 0..TURNS {
        host.push(BATCH);
        let turn = host.apply();
        times.saturating_record(turn.took.as_nanos() as u64);
        ends.push(Instant::now());
    }
    let state = host.end();
    if policy.is_some() {
        let again = recovered(journal(Watched { store: open(), landed: Landed::default() }), Accounts::new());
        assert!(again.state().0 == state.0, "what is recovered is the state");
    }
    let took = |(turn, at): &(u64, Instant)| Some((*at - *ends.get(*turn as usize - 1)?).as_secs_f64() * 1e3);
    let written = landed.lock().iter().filter_map(took).collect();
    (Figure { value: times.value_at_percentile(50.0) as f64, latency: Some(times) }, written)
}

/// Checkpoints that were written: the turn, and when.
type Landed = Arc<Mutex<Vec<(u64, Instant)>>>;

/// A store that says when it has written a checkpoint.
struct Watched {
    store: SqliteStore,
    landed: Landed,
}

impl Store for Watched {
    fn identity(&mut self) -> Result<Option<Identity>, StoreError> {
        self.store.identity()
    }

    fn begin(&mut self, identity: &Identity) -> Result<(), StoreError> {
        self.store.begin(identity)
    }

    fn torn_tail(&self) -> Option<TornTail> {
        self.store.torn_tail()
    }

    fn append(&mut self, write: &Write) -> Result<(), StoreError> {
        self.store.append(write)?;
        if let Some(checkpoint) = &write.checkpoint {
            self.landed.lock().push((checkpoint.turn, Instant::now()));
        }
        Ok(())
    }

    fn turns(&mut self) -> Result<Option<(u64, u64)>, StoreError> {
        self.store.turns()
    }

    fn turn_before(&mut self, events: u64) -> Result<u64, StoreError> {
        self.store.turn_before(events)
    }

    fn records(&mut self, from: u64, read: &mut dyn FnMut(Record) -> bool) -> Result<(), StoreError> {
        self.store.records(from, read)
    }

    fn checkpoints(&mut self) -> Result<Vec<CheckpointHead>, StoreError> {
        self.store.checkpoints()
    }

    fn checkpoint(&mut self, turn: u64) -> Result<Option<Checkpoint>, StoreError> {
        self.store.checkpoint(turn)
    }

    fn quarantined(&mut self, from: u64) -> Result<Vec<Quarantined>, StoreError> {
        self.store.quarantined(from)
    }

    fn changes(&mut self, from: u64) -> Result<Vec<(u64, u64)>, StoreError> {
        self.store.changes(from)
    }
}

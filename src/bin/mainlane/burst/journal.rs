//! W22: the journal. How many events a second it takes, beside a bare store and a plain file; what it costs the main lane; how
//! long until what was pushed can be seen; how quickly a state is rebuilt; and what checkpoints do to turns.

mod by_hand;
mod checkpoints;
mod ledger;
mod ours;
mod place;
mod recovery;
mod turns;

use std::path::Path;
use std::time::{Duration, Instant};

use mainlane::journal::{Journal, Sync};

use super::BurstArgs;
use super::machine;
use super::rounds::{self, Contender, Row, Spread, Table};
use by_hand::{Bare, Keeping, Log, Plain, Rows};
use ledger::Ledger;
use ours::Host;
use place::Folder;

const SLICE: Duration = Duration::from_millis(100);
/// A slice ends also when it has so many events, so that it can be read back: about 64 MB.
const EVENTS_MAX: u64 = 2_000_000;
/// Events of a turn, or of a batch by hand.
const SYNCED: [u64; 3] = [1, 100, 10_000];
const UNSYNCED: [u64; 5] = [1, 10, 100, 1_000, 10_000];
/// So many times ours, a plain file matters.
const MATTERS: f64 = 2.0;

const BARE: &str = "SQLite by hand: a row for each batch";
const PLAIN: &str = "a plain file with checksums";

pub(crate) fn tables(args: &BurstArgs) -> Vec<Table> {
    let mut tables: Vec<_> = SYNCED.map(|batch| journaled(batch, Sync::Full, args)).into();
    let mut unsynced = UNSYNCED.map(|batch| journaled(batch, Sync::Os, args));
    let plain: Vec<_> = UNSYNCED.iter().copied().zip(unsynced.iter().map(against_plain)).collect();
    if let Some(last) = unsynced.last_mut() {
        last.notes.push(where_it_matters(&plain));
    }
    tables.extend(unsynced);
    tables.extend(turns::tables(args));
    tables.extend(recovery::tables(args));
    tables.push(checkpoints::table(args));
    let note = place::note(args.dir.as_deref());
    tables.iter_mut().for_each(|table| table.notes.push(note.clone()));
    tables
}

/// Finds out before anything is measured that there is no place for files.
///
/// # Errors
/// What the system says about it.
pub(crate) fn assert_usable(dir: &Path) -> Result<(), String> {
    Folder::new(Some(dir)).map(drop)
}

/// A folder for a slice or a table.
fn folder(dir: Option<&Path>) -> Folder {
    Folder::new(dir).unwrap_or_else(|problem| panic!("{problem}"))
}

fn journaled(batch: u64, sync: Sync, args: &BurstArgs) -> Table {
    let time = args.slice.unwrap_or(SLICE);
    let of = |name: &str, keeping: Box<dyn Keeping>| {
        let dir = args.dir.clone();
        Contender::new(name, move || slice(keeping.as_ref(), &folder(dir.as_deref()), batch, sync, time))
    };
    let contenders = vec![
        of("mainlane, a whole pipeline", Box::new(Ours(ours::whole))),
        of("mainlane, with checkpoints and pruning", Box::new(Ours(|path| Journal::file(path).schema("ledger", 1)))),
        of(BARE, Box::new(Bare)),
        of("SQLite by hand: a row for each event", Box::new(Rows)),
        of(PLAIN, Box::new(Plain)),
    ];
    let how = if sync == Sync::Full { "synced" } else { "not synced" };
    let name = format!("W22 journaled in batches of {batch}, {how}");
    let mut table = rounds::run(name, "events per second", true, contenders, args.rounds as usize, args.seed);
    table.notes.push(
        "24 bytes an event; a batch is a turn of mainlane's, on two threads, until all is durable: turns that come while one \
         is written share the next write; by hand it is one write each"
            .to_owned(),
    );
    table.notes.extend(machine::note_if_crowded(1));
    table
}

/// mainlane's way to keep batches.
struct Ours(fn(&Path) -> Journal);

struct OurLog {
    host: Host<Ledger>,
    turn: u64,
}

impl Keeping for Ours {
    fn create(&self, path: &Path, sync: Sync) -> Box<dyn Log> {
        let builder = ours::recovered((self.0)(path).sync(sync), Ledger::default());
        let room = SYNCED.into_iter().chain(UNSYNCED).max().unwrap_or(1);
        Box::new(OurLog { host: Host::new(builder, room), turn: 0 })
    }

    fn read(&self, path: &Path) -> Ledger {
        ours::replayed((self.0)(path))
    }
}

impl Log for OurLog {
    #[inline]
    fn append(&mut self, _: u64, count: u64) {
        self.host.push(count);
        self.turn = self.host.apply().number;
    }

    fn settle(&mut self) {
        self.host.persist(self.turn);
    }
}

/// Appends until the time is up, and returns events per second.
fn slice(keeping: &dyn Keeping, folder: &Folder, batch: u64, sync: Sync, time: Duration) -> f64 {
    let path = folder.file("log");
    let mut log = keeping.create(&path, sync);
    let (began, mut events) = (Instant::now(), 0);
    while events == 0 || events < EVENTS_MAX && began.elapsed() < time {
        log.append(events, batch);
        events += batch;
    }
    log.settle();
    let took = began.elapsed();
    drop(log);
    assert!(keeping.read(&path) == Ledger::of(events), "what is read back is what was appended");
    events as f64 / took.as_secs_f64()
}

/// How many times ours a plain file is.
fn against_plain(table: &Table) -> Spread {
    let row = |name| table.rows.iter().find(|row: &&Row| row.name == name).expect("it is one of the contenders");
    rounds::against(&row(PLAIN).figures, &table.rows[0].figures, true)
}

/// From which batch on a plain file is so far ahead that it matters.
fn where_it_matters(plain: &[(u64, Spread)]) -> String {
    let all: Vec<_> = plain.iter().map(|(batch, times)| format!("{:.2} at {batch}", times.median)).collect();
    let from = match plain.iter().find(|(_, times)| times.median >= MATTERS) {
        Some((batch, _)) => format!("{MATTERS} times from batches of {batch} on"),
        None => format!("nowhere {MATTERS} times"),
    };
    format!("not synced, a plain file is so many times ours: {}; {from}", all.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_plain_file_matters_is_said() {
        let spread = |median| Spread { lower: median, median, upper: median };
        let said = where_it_matters(&[(1, spread(0.5)), (100, spread(2.5)), (1000, spread(6.0))]);
        assert!(said.ends_with("0.50 at 1, 2.50 at 100, 6.00 at 1000; 2 times from batches of 100 on"), "{said}");
        assert!(where_it_matters(&[(1, spread(1.9))]).ends_with("nowhere 2 times"));
    }

    #[test]
    fn what_ours_keeps_is_read_back() {
        let short = Duration::from_millis(1);
        for sync in [Sync::Full, Sync::Os] {
            assert!(slice(&Ours(ours::whole), &folder(None), 10, sync, short) > 0.0);
        }
    }
}

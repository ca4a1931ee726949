//! How quickly a state is rebuilt.

use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use mainlane::Timeline;
use mainlane::journal::Sync;

use super::super::BurstArgs;
use super::super::rounds::{self, Contender, Table};
use super::by_hand::{self, Bare, Keeping, Plain};
use super::ledger::Ledger;
use super::ours::{self, Host};
use super::place::Folder;
use super::{BARE, PLAIN, folder};

const BATCHES: [u64; 3] = [1, 100, 10_000];

pub(super) fn tables(args: &BurstArgs) -> Vec<Table> {
    BATCHES.map(|batch| table(batch, args)).into()
}

fn table(batch: u64, args: &BurstArgs) -> Table {
    // A million, unless another number is asked for.
    let events = (args.events * 2).next_multiple_of(batch);
    let folder = Rc::new(folder(args.dir.as_deref()));
    let journal = journal(&folder, batch, events);
    let expected = Ledger::of(events);
    let of = |name: &str, rebuild: Box<dyn Fn() -> Ledger>| {
        let (expected, folder) = (expected.clone(), folder.clone());
        Contender::new(name, move || {
            let _until_the_last = &folder;
            let began = Instant::now();
            let rebuilt = rebuild();
            let took = began.elapsed();
            assert!(rebuilt == expected, "the state is what it was");
            events as f64 / took.as_secs_f64()
        })
    };
    let with_timeline = journal.clone();
    let contenders = vec![
        of("mainlane", Box::new(move || recovered(&journal, None))),
        of("mainlane, with its timeline", Box::new(move || recovered(&with_timeline, Some(Timeline::default())))),
        of(BARE, by_hand(Bare, folder.file("bare"), batch, events)),
        of(PLAIN, by_hand(Plain, folder.file("plain"), batch, events)),
    ];
    let name = format!("W22 recovered: {events} events in batches of {batch}");
    let mut table = rounds::run(name, "events per second", true, contenders, args.rounds as usize, args.seed);
    table.notes.push("from the opening of the file to the state, the file in the system's memory".to_owned());
    table
}

/// As a crash leaves it: a journal that was closed in peace has a checkpoint at its end, and nothing is left to do.
fn journal(folder: &Folder, batch: u64, events: u64) -> PathBuf {
    let open = folder.file("open");
    let mut host = Host::new(ours::recovered(ours::whole(&open).sync(Sync::Os), Ledger::default()), batch);
    let mut turn = 0;
    while host.pushed < events {
        host.push(batch);
        turn = host.apply().number;
    }
    host.persist(turn);
    for file in ["", "-wal"] {
        let [from, to] = ["open", "crashed"].map(|name| folder.file(&format!("{name}{file}")));
        fs::copy(from, to).unwrap_or_else(|error| panic!("the journal can be copied: {error}"));
    }
    host.end();
    folder.file("crashed")
}

fn recovered(path: &Path, timeline: Option<Timeline>) -> Ledger {
    let journal = ours::whole(path).sync(Sync::Os);
    let journal = match timeline {
        Some(timeline) => journal.timeline(timeline),
        None => journal,
    };
    ours::recovered(journal, Ledger::default()).state().clone()
}

fn by_hand(keeping: impl Keeping + 'static, path: PathBuf, batch: u64, events: u64) -> Box<dyn Fn() -> Ledger> {
    let path = by_hand::write(&keeping, path, batch, events);
    Box::new(move || keeping.read(&path))
}

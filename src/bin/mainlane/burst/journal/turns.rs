//! What keeping costs the main lane, turn by turn; and how long it is from a push to a snapshot that shows it.

use std::path::Path;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use hdrhistogram::Histogram;
use mainlane::journal::{Durability, Sync};

use super::super::BurstArgs;
use super::super::rounds::{self, Contender, Figure, Spread, Table, histogram};
use super::by_hand::{Bare, Keeping, Plain};
use super::ledger::{Ledger, Posting};
use super::ours::{self, Host, Keep};
use super::place::Folder;
use super::{folder, machine};

const SLICE: Duration = Duration::from_millis(50);
const TURNS: [u64; 3] = [1, 100, 10_000];
/// So that it can be read back: about 64 MB.
const EVENTS_MAX: u64 = 2_000_000;

const WAYS: [(&str, Keep); 5] = [
    ("mainlane, nothing kept", Keep::Nothing),
    ("mainlane, a timeline", Keep::Timeline),
    ("mainlane, a journal: Async", Keep::Journal(Durability::Async)),
    ("mainlane, a journal: BeforePublish", Keep::Journal(Durability::BeforePublish)),
    ("mainlane, a journal: BeforeApply", Keep::Journal(Durability::BeforeApply)),
];

pub(super) fn tables(args: &BurstArgs) -> Vec<Table> {
    let turns = TURNS.map(|batch| turns(batch, args));
    turns.into_iter().chain(TURNS.map(|batch| visible(batch, args))).collect()
}

fn turns(batch: u64, args: &BurstArgs) -> Table {
    let time = args.slice.unwrap_or(SLICE);
    let contenders = WAYS.map(|(name, keep)| {
        let dir = args.dir.clone();
        Contender::new(name, move || slice(keep, &folder(dir.as_deref()), batch, time, one_turn))
    });
    let name = format!("W22 turns of {batch} events");
    let mut table = rounds::run(name, "ns per turn", false, contenders.into(), args.rounds as usize, args.seed);
    table.notes.push(
        "flat out, synced; the median of each slice; what the main lane waits for the journal is not in a turn's time, and \
         BeforeApply takes two turns for each"
            .to_owned(),
    );
    let costs = table.rows[1..].iter().map(|row| {
        let each = row.figures.iter().zip(&table.rows[0].figures).map(|(kept, bare)| (kept - bare) / batch as f64);
        format!("{} {:.1} ns", row.name.trim_start_matches("mainlane, "), Spread::of(each).median)
    });
    let costs = costs.collect::<Vec<_>>().join(", ");
    table.notes.push(format!("for each event more than with nothing kept: {costs}"));
    table.notes.extend(machine::note_if_crowded(1));
    table
}

/// How long a batch takes, on the main lane or until it is visible.
type Measured = fn(&mut Host<Ledger>, u64) -> Duration;

fn one_turn(host: &mut Host<Ledger>, batch: u64) -> Duration {
    host.push(batch);
    host.apply().took
}

fn until_visible(host: &mut Host<Ledger>, batch: u64) -> Duration {
    let began = Instant::now();
    host.push(batch);
    host.show();
    began.elapsed()
}

fn slice(keep: Keep, folder: &Folder, batch: u64, time: Duration, measured: Measured) -> Figure {
    let path = folder.file("journal");
    let mut host = keep.open(&path, batch);
    let (began, mut times) = (Instant::now(), histogram());
    while times.is_empty() || host.pushed < EVENTS_MAX && began.elapsed() < time {
        let took = measured(&mut host, batch);
        record(&mut times, took);
    }
    let expected = Ledger::of(host.pushed);
    assert!(host.end() == expected, "all that was pushed is applied, in order");
    if let Keep::Journal(_) = keep {
        assert!(ours::replayed(ours::whole(&path)) == expected, "and is in the journal");
    }
    figure(times)
}

fn visible(batch: u64, args: &BurstArgs) -> Table {
    let time = args.slice.unwrap_or(SLICE);
    let mut contenders: Vec<_> = [WAYS[3], WAYS[4], WAYS[2], WAYS[0]]
        .map(|(name, keep)| {
            let dir = args.dir.clone();
            Contender::new(name, move || slice(keep, &folder(dir.as_deref()), batch, time, until_visible))
        })
        .into();
    let by_hand: [(_, Box<dyn Keeping>); 2] = [
        ("by hand: SQLite, then a swapped copy", Box::new(Bare)),
        ("by hand: a plain file, then a copy", Box::new(Plain)),
    ];
    contenders.extend(by_hand.map(|(name, keeping)| {
        let dir = args.dir.clone();
        Contender::new(name, move || swapped(keeping.as_ref(), &folder(dir.as_deref()).file("log"), batch, time))
    }));
    let name = format!("W22 from a push of {batch} events to a snapshot of them");
    let mut table = rounds::run(name, "ns", false, contenders, args.rounds as usize, args.seed);
    table.notes.push("one batch at a time, synced; Async shows it before it is durable".to_owned());
    table.notes.extend(machine::note_if_crowded(1));
    table
}

/// Written, applied, and shown, one after the other.
fn swapped(keeping: &dyn Keeping, path: &Path, batch: u64, time: Duration) -> Figure {
    let mut log = keeping.create(path, Sync::Full);
    let (shown, mut ledger) = (ArcSwap::from_pointee(Ledger::default()), Ledger::default());
    let (began, mut times) = (Instant::now(), histogram());
    while times.is_empty() || ledger.count < EVENTS_MAX && began.elapsed() < time {
        let (start, from) = (Instant::now(), ledger.count);
        log.append(from, batch);
        (from..from + batch).for_each(|number| ledger.post(&Posting::new(number)));
        shown.store(ledger.clone().into());
        record(&mut times, start.elapsed());
    }
    drop(log);
    assert!(keeping.read(path) == **shown.load(), "what is shown is what is kept");
    figure(times)
}

fn record(times: &mut Histogram<u64>, took: Duration) {
    times.saturating_record(took.as_nanos() as u64);
}

/// The median, with all the times.
fn figure(times: Histogram<u64>) -> Figure {
    Figure { value: times.value_at_percentile(50.0) as f64, latency: Some(times) }
}

//! W21: the whole path. Threads push events of two classes to several lanes, which enrich and classify them; one thread merges,
//! coalesces and applies them and publishes the state after every turn; readers look at it. How much of the rate of bare rings
//! is left, and what becomes of it when something goes wrong.

mod board;
mod by_hand;
mod ours;
mod parcel;
mod run;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::BurstArgs;
use super::machine;
use super::rounds::{self, Contender, Figure, Row, Spread, Table};
use by_hand::{Bare, Enriched, Locked, Swapped};
use ours::{Plain, Whole};
use run::{HOLD, Load, Path, Trouble};

const SLICE: Duration = Duration::from_millis(40);
/// Where the tables begin; each of the others varies one thing.
const BASE: Load = Load { lanes: 4, batch: 16, readers: 1, slice: SLICE, trouble: Trouble::None };
/// What the whole path should keep of the rate of bare rings.
const GOAL: f64 = 0.7;

pub(crate) fn tables(args: &BurstArgs) -> Vec<Table> {
    let base = Load { slice: args.slice.unwrap_or(SLICE), ..BASE };
    let mut tables = vec![
        table::<5>("4 lanes, in batches of 16, 64 bytes, 1 reader", base, args),
        table::<5>("one by one", Load { batch: 1, ..base }, args),
    ];
    for (lanes, name) in [(1, "1 lane"), (16, "16 lanes"), (64, "64 lanes")] {
        tables.push(table::<5>(name, Load { lanes, ..base }, args));
    }
    tables.push(table::<1>("32 bytes", base, args));
    tables.push(table::<29>("256 bytes", base, args));
    tables.push(table::<5>("8 readers", Load { readers: 8, ..base }, args));
    tables.extend(troubles(base, args));
    tables
}

fn table<const WORDS: usize>(what: &str, load: Load, args: &BurstArgs) -> Table {
    let contenders = vec![
        of::<WORDS, _>("mainlane, the whole path", Whole, load),
        of::<WORDS, _>("mainlane, nothing enriched", Plain, load),
        of::<WORDS, _>("rtrb, bare rings into the state", Bare, load),
        of::<WORDS, _>("rtrb, the same rings, enriched by hand", Enriched, load),
        of::<WORDS, _>("by hand: a channel and a locked state", Locked, load),
        of::<WORDS, _>("by hand: a channel and swapped copies", Swapped, load),
    ];
    let name = format!("W21 {what}");
    let mut table = rounds::run(name, "events per second", true, contenders, args.rounds as usize, args.seed);
    table.notes.push(format!(
        "{} threads push to the lanes in turn; one event in eight is a newest value; readers look every ms; the times are \
         from a push to its publication, of bare rings to the end of the turn",
        load.threads()
    ));
    let (bare, enriched) = (&table.rows[2], &table.rows[3]);
    let notes = [verdict(bare.first_against_this), of_the_hosts_work(bare, enriched)];
    table.notes.extend(notes);
    table.notes.extend(machine::note_if_crowded(load.threads()));
    table
}

/// Whether enough is left of the rate of bare rings.
fn verdict(against: Spread) -> String {
    let is = if against.median >= GOAL { "is" } else { "IS NOT" };
    format!("the whole path has {:.2} of the rate of bare rings, which {is} {GOAL} at least", against.median)
}

/// How much of the rate of bare rings is left by what the host does to each event, and of that by mainlane.
fn of_the_hosts_work(bare: &Row, enriched: &Row) -> String {
    let left = enriched.figures.iter().zip(&bare.figures).map(|(enriched, bare)| enriched / bare);
    format!(
        "what the host itself does to each event leaves {:.2} of that rate; the whole path has {:.2} of what is left",
        Spread::of(left).median,
        enriched.first_against_this.median
    )
}

/// What is thrown in, each beside the same without it.
fn troubles(base: Load, args: &BurstArgs) -> Vec<Table> {
    let with = |trouble| Load { trouble, ..base };
    let beside = |undisturbed, trouble| {
        vec![
            troubled("mainlane", Whole, with(trouble)),
            troubled(undisturbed, Whole, base),
            troubled("by hand: a channel and a locked state", Locked, with(trouble)),
            troubled("by hand: a channel and swapped copies", Swapped, with(trouble)),
        ]
    };
    let hold = format!("W21 a reader that holds what it reads for {} ms", HOLD.as_millis());
    let slow = beside("mainlane, with a quick reader", Trouble::SlowReader);
    let stalled = beside("mainlane, with all lanes moving", Trouble::StalledLane);
    let sources = vec![
        troubled("mainlane", Whole, with(Trouble::PanickingSource)),
        troubled("mainlane, with a source that goes on", Whole, with(Trouble::Source)),
    ];
    vec![
        table_of_troubles(&hold, slow, args),
        table_of_troubles("W21 a lane that stands still in the middle of a batch", stalled, args),
        table_of_troubles("W21 a source that panics and is made anew", sources, args),
    ]
}

/// The longest time between two publications of each slice, in nanoseconds.
type Gaps = Rc<RefCell<Vec<f64>>>;

fn troubled(name: &str, path: impl Path<5>, load: Load) -> (Contender, Gaps) {
    let gaps = Gaps::default();
    let longest = gaps.clone();
    let contender = Contender::new(name, move || {
        let watched = run::slice::<5, _>(&path, load);
        longest.borrow_mut().push(watched.gaps.max() as f64);
        Figure { value: watched.rate(), latency: Some(watched.gaps) }
    });
    (contender, gaps)
}

fn table_of_troubles(name: &str, contenders: Vec<(Contender, Gaps)>, args: &BurstArgs) -> Table {
    let (contenders, gaps): (Vec<_>, Vec<_>) = contenders.into_iter().unzip();
    let mut table = rounds::run(name, "events per second", true, contenders, args.rounds as usize, args.seed);
    table.notes.push("the times are from one publication to the next; nothing is lost in any slice".to_owned());
    table.notes.extend(table.rows.iter().zip(&gaps).map(|(row, gaps)| {
        let longest = Spread::of(gaps.borrow().iter().copied()).median / 1e6;
        format!("{}: {longest:.3} ms between two publications at most, in the median slice", row.name)
    }));
    table.notes.extend(machine::note_if_crowded(BASE.threads()));
    table
}

fn of<const WORDS: usize, P: Path<WORDS>>(name: &str, path: P, load: Load) -> Contender {
    Contender::new(name, move || {
        let watched = run::slice::<WORDS, P>(&path, load);
        Figure { value: watched.rate(), latency: Some(watched.ages) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_the_rate_is_said() {
        let spread = |median| Spread { lower: median, median, upper: median };
        assert!(verdict(spread(0.72)).contains("0.72 of the rate of bare rings, which is 0.7 at least"));
        assert!(verdict(spread(0.69)).contains("IS NOT"));
    }
}

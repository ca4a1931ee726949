//! A shopping list that survives whatever happens to its program, with undo and redo.
//!
//! Run it, type a few lines, end it by Ctrl-C or worse, and run it again:
//! `cargo run --features journal --example journal -- list.journal`

use std::error::Error;
use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use mainlane::journal::{Durability, Journal};
use mainlane::{Class, Drive, Effects, Envelope, Event, Operation, Origin, Phase, Reducer, RewindError, Timeline};
use serde::{Deserialize, Serialize};

/// Each is an operation of its own, of one event, so that it can be undone.
#[derive(Serialize, Deserialize)]
struct Bought {
    what: String,
    operation: Operation,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct List(Vec<String>);

impl Event for Bought {
    type Key = ();
    type Facets = ();

    fn class(&self) -> Class<()> {
        Class::Critical
    }

    fn operation(&self) -> Option<Operation> {
        Some(self.operation)
    }
}

impl Reducer for List {
    type Event = Bought;
    type Effect = ();

    fn apply(&mut self, envelope: &Envelope<'_, Bought>, _: &mut Effects<()>) {
        self.0.push(envelope.event.what.clone());
    }
}

const ME: Origin = Origin::built_in("user", 1);
const PATIENCE: Duration = Duration::from_secs(5);

fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::args().nth(1).unwrap_or_else(|| "list.journal".to_owned());
    let journal = Journal::file(&file).schema("shopping", 1).durability(Durability::BeforePublish);
    let (builder, recovery) = journal.timeline(Timeline::window(1000)).recover(List::default())?;
    println!(
        "on the list: {}, after {} turns; type `undo`, `redo`, or a thing",
        builder.state().0.len(),
        recovery.turn
    );

    let mut lane = builder.lane("keyboard").origin(ME).open()?;
    let (main_lane, handle) = builder.build()?;
    let mut running = main_lane.spawn(Drive::new())?;
    let mut reader = handle.reader();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let deadline = Instant::now() + PATIENCE;
        let rewind = match line.trim() {
            "" => continue,
            "undo" => handle.undo(ME).wait(deadline),
            "redo" => handle.redo(ME).wait(deadline),
            what => {
                let operation = Operation { id: handle.operation(), sequence: 0, phase: Phase::Terminal };
                lane.push(Bought { what: what.to_owned(), operation })?;
                None
            }
        };
        match rewind {
            Some(Err(error @ RewindError::Nothing { .. })) => println!("{error}"),
            Some(Err(error)) => return Err(error.into()),
            // What is seen is on the disk: that is what `BeforePublish` means.
            Some(Ok(_)) | None => {
                if let Some(list) = reader.wait_changed(deadline) {
                    println!("turn {}: {}", list.turn(), list.0.join(", "));
                }
            }
        }
        std::io::stdout().flush()?;
    }
    let report = running.shutdown(PATIENCE);
    println!("{}", if report.complete { "all of it is kept" } else { "not all of it is kept" });
    Ok(())
}

//! A line for each turn of a journal.

use std::collections::BTreeMap;
use std::io::{self, Write};

use mainlane::journal::store::{Record, RecordKind, Store};
use mainlane::journal::{SqliteStore, decode_operation};
use serde::Serialize;
use serde::ser::{SerializeSeq, Serializer};

use super::{fault_of, heads_of};
use crate::args::JournalArgs;
use crate::print::{self, line};
use crate::problem::Problem;
use crate::say;

#[derive(Serialize)]
struct Turn {
    turn: u64,
    kind: &'static str,
    events: u32,
    lanes: Vec<LaneOfTurn>,
    /// That was undone or redone, and the oldest turn that this changes.
    operation: Option<u64>,
    reaches: u64,
    version: u32,
    bytes: usize,
    /// What is wrong with it.
    fault: Option<String>,
}

/// Lanes are numbered anew in each run.
#[derive(Serialize)]
struct LaneOfTurn {
    lane: u32,
    origin: String,
    events: u32,
}

impl Turn {
    fn of(record: &Record) -> Self {
        let fault = fault_of(record);
        let (mut lanes, mut operation) = (BTreeMap::new(), None);
        match record.kind {
            RecordKind::Batch => {
                for head in heads_of(record) {
                    *lanes.entry((head.lane.number(), head.lane_origin.to_string())).or_insert(0) += 1;
                }
            }
            RecordKind::Undo | RecordKind::Redo => operation = decode_operation(&record.payload).ok(),
        }
        let lanes = lanes.into_iter().map(|((lane, origin), events)| LaneOfTurn { lane, origin, events });
        Self {
            turn: record.turn,
            kind: record.kind.name(),
            events: record.events,
            lanes: lanes.collect(),
            operation: operation.map(|operation| operation.0),
            reaches: record.reaches,
            version: record.schema,
            bytes: record.payload.len(),
            fault,
        }
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { turn, kind, events, operation, reaches, bytes, fault, .. } = self;
        let what = match operation {
            Some(operation) => format!("operation {operation}, from turn {reaches} on"),
            None => {
                let lanes = self.lanes.iter();
                let lanes = lanes.map(|LaneOfTurn { lane, origin, events }| format!("lane {lane} {origin} {events}"));
                format!("{events} events: {}", lanes.collect::<Vec<_>>().join(", "))
            }
        };
        let fault = fault.as_deref().unwrap_or("good");
        line(out, format_args!("turn {turn}  {kind}  {bytes} bytes  {fault}  {what}"))
    }
}

pub(super) fn run(args: &JournalArgs, store: &mut SqliteStore) -> Result<bool, Problem> {
    let (mut is_well, mut unread) = (true, None);
    print::print(|out| {
        let mut each = |print: &mut dyn FnMut(&Turn) -> io::Result<()>| {
            let mut printed = Ok(());
            let read = store.records(args.from.unwrap_or(0), &mut |record| {
                if args.to.is_some_and(|to| record.turn > to) {
                    return false;
                }
                let turn = Turn::of(&record);
                is_well &= turn.fault.is_none();
                printed = print(&turn);
                printed.is_ok()
            });
            unread = read.err();
            printed
        };
        if !args.json {
            return each(&mut |turn| turn.print(out));
        }
        let mut json = serde_json::Serializer::pretty(&mut *out);
        let mut all = json.serialize_seq(None)?;
        each(&mut |turn| Ok(all.serialize_element(turn)?))?;
        all.end()?;
        writeln!(out)
    })?;
    if let Some(error) = unread {
        say(format_args!("mainlane: {error}; `--check` says more"));
        is_well = false;
    }
    Ok(is_well)
}

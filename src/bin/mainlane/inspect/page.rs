//! A page about a journal.

use std::io::{self, Write};

use mainlane::journal::store::{RecordKind, Store};
use mainlane::journal::{SqliteStore, StoreError};
use serde::Serialize;

use crate::args::JournalArgs;
use crate::print::{self, hex, line};
use crate::problem::Problem;
use crate::say;
use crate::state::QuarantinedSummary;

#[derive(Serialize)]
struct Page {
    file: String,
    /// None when nothing was ever written to it.
    schema: Option<String>,
    format: Option<u32>,
    /// Whether somebody writes it now.
    in_use: bool,
    /// On disk, with what is not merged yet.
    file_bytes: u64,
    oldest_turn: Option<u64>,
    newest_turn: Option<u64>,
    records: u64,
    events: u64,
    record_bytes: u64,
    undone: u64,
    redone: u64,
    checkpoints: Vec<CheckpointLine>,
    quarantined: Vec<QuarantinedSummary>,
    torn: Option<Torn>,
}

#[derive(Serialize)]
struct CheckpointLine {
    turn: u64,
    version: u32,
    bytes: u64,
    hash: String,
}

/// What a crash left unfinished.
#[derive(Serialize)]
struct Torn {
    bytes: u64,
    place: String,
    /// Then it is damage.
    was_durable: bool,
}

pub(super) fn run(args: &JournalArgs, store: &mut SqliteStore) -> Result<bool, Problem> {
    let mut page = Page::new(args, store)?;
    let read = page.read_records(store);
    print::print(|out| if args.json { print::json(out, &page) } else { page.print(out) })?;
    if let Err(error) = &read {
        say(format_args!("mainlane: {error}; the counts are of what comes before, and `--check` says more"));
    }
    Ok(read.is_ok() && !page.torn.is_some_and(|torn| torn.was_durable))
}

impl Page {
    fn new(args: &JournalArgs, store: &mut SqliteStore) -> Result<Self, StoreError> {
        let (identity, turns) = (store.identity()?, store.turns()?);
        let checkpoints = store.checkpoints()?;
        // What is beside it has the name that it has without links.
        let file = args.file.canonicalize().unwrap_or_else(|_| args.file.clone());
        let length = |ending: &str| {
            let mut name = file.clone().into_os_string();
            name.push(ending);
            std::fs::metadata(name).map_or(0, |metadata| metadata.len())
        };
        Ok(Self {
            file: args.file.display().to_string(),
            format: identity.as_ref().map(|identity| identity.format),
            schema: identity.map(|identity| identity.schema),
            in_use: store.is_written(),
            file_bytes: length("") + length("-wal"),
            oldest_turn: turns.map(|(oldest, _)| oldest),
            newest_turn: turns.map(|(_, newest)| newest),
            records: 0,
            events: 0,
            record_bytes: 0,
            undone: 0,
            redone: 0,
            checkpoints: checkpoints
                .iter()
                .map(|head| CheckpointLine {
                    turn: head.turn,
                    version: head.schema,
                    bytes: head.bytes,
                    hash: hex(head.hash),
                })
                .collect(),
            quarantined: store.quarantined(0)?.iter().map(QuarantinedSummary::new).collect(),
            torn: store.torn_tail().map(|torn| Torn {
                bytes: torn.bytes,
                place: torn.place,
                was_durable: torn.was_durable,
            }),
        })
    }

    fn read_records(&mut self, store: &mut SqliteStore) -> Result<(), StoreError> {
        store.records(0, &mut |record| {
            self.records += 1;
            self.events += u64::from(record.events);
            self.record_bytes += record.payload.len() as u64;
            match record.kind {
                RecordKind::Batch => {}
                RecordKind::Undo => self.undone += 1,
                RecordKind::Redo => self.redone += 1,
            }
            true
        })
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { file, file_bytes, records, events, record_bytes, undone, redone, .. } = self;
        let in_use = if self.in_use { ", in use" } else { "" };
        line(out, format_args!("{file}: {file_bytes} bytes{in_use}"))?;
        match (&self.schema, self.format) {
            (Some(schema), Some(format)) => line(out, format_args!("a journal of `{schema}`, format {format}"))?,
            _ => line(out, format_args!("a journal that nothing was written to"))?,
        }
        if let (Some(oldest), Some(newest)) = (self.oldest_turn, self.newest_turn) {
            line(
                out,
                format_args!(
                    "turns {oldest} to {newest}: {records} records, {events} events, {record_bytes} bytes, \
                     {undone} times undone, {redone} redone"
                ),
            )?;
        }
        for CheckpointLine { turn, version, bytes, hash } in &self.checkpoints {
            line(out, format_args!("checkpoint of turn {turn}: {bytes} bytes, version {version}, hash {hash}"))?;
        }
        self.quarantined.iter().try_for_each(|event| event.print(out))?;
        match &self.torn {
            Some(Torn { bytes, place, was_durable }) => {
                let what = match was_durable {
                    true => "DAMAGED: they were durable, and are not what was written",
                    false => "they were being written when it ended, and never said to be durable",
                };
                line(out, format_args!("{bytes} bytes at {place}: {what}"))
            }
            None => Ok(()),
        }
    }
}

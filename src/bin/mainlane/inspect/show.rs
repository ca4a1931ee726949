//! The events of one turn.

use std::io::{self, Write};

use mainlane::journal::store::{Record, RecordKind, Store};
use mainlane::journal::{Head, JournalError, SqliteStore, decode, decode_operation, heads};
use mainlane::workspace::{WorkspaceEvent, WorkspaceFacets};
use mainlane::{Event, Stamp};
use serde::Serialize;

use super::{fault_of, is_ours};
use crate::args::JournalArgs;
use crate::print::{self, line};
use crate::problem::Problem;

#[derive(Serialize)]
struct Turn {
    turn: u64,
    kind: &'static str,
    events: u32,
    /// That was undone or redone, and the oldest turn that this changes.
    operation: Option<u64>,
    reaches: u64,
    codec: u8,
    version: u32,
    bytes: usize,
    checksum: String,
    envelopes: Vec<Envelope>,
    /// What is wrong with it.
    faults: Vec<String>,
}

#[derive(Serialize)]
struct Envelope {
    index: usize,
    lane: u32,
    origin: String,
    /// None on unclocked lanes.
    stamp: Option<u64>,
    sequence: u64,
    parts: u32,
    bytes: usize,
    /// None when the journal is another program's.
    kind: Option<&'static str>,
    event: Option<String>,
    facets: Option<String>,
    /// What the reducer said, when it was set aside.
    set_aside: Option<String>,
}

pub(super) fn run(args: &JournalArgs, turn: u64, store: &mut SqliteStore) -> Result<bool, Problem> {
    let mut found = None;
    store.records(turn, &mut |record| {
        found = Some(record).filter(|record| record.turn == turn);
        false
    })?;
    let Some(record) = found else {
        let (oldest, newest) = store.turns()?.unwrap_or((0, 0));
        return Err(match (oldest..=newest).contains(&turn) && turn > 0 {
            true => JournalError::Missing { first: turn, last: turn }.into(),
            false => JournalError::NoSuchTurn { turn, oldest, newest }.into(),
        });
    };
    let turn = Turn::of(&record, store)?;
    print::print(|out| if args.json { print::json(out, &turn) } else { turn.print(out) })?;
    Ok(turn.faults.is_empty())
}

impl Turn {
    fn of(record: &Record, store: &mut SqliteStore) -> Result<Self, Problem> {
        let mut faults: Vec<_> = fault_of(record).into_iter().collect();
        let (mut envelopes, mut operation) = (Vec::new(), None);
        match record.kind {
            RecordKind::Batch => {
                let is_ours = is_ours(store, record.schema);
                for (index, head) in heads(&record.payload, record.events).enumerate() {
                    match head {
                        Ok(head) => envelopes.push(Envelope::of(index, &head, is_ours, &mut faults)),
                        Err(error) => faults.push(error.to_string()),
                    }
                }
            }
            RecordKind::Undo | RecordKind::Redo => match decode_operation(&record.payload) {
                Ok(id) => operation = Some(id.0),
                Err(error) => faults.push(error.to_string()),
            },
        }
        for event in store.quarantined(record.turn)?.into_iter().filter(|event| event.turn == record.turn) {
            if let Some(envelope) = envelopes.get_mut(event.index as usize) {
                envelope.set_aside = Some(event.message);
            }
        }
        Ok(Self {
            turn: record.turn,
            kind: record.kind.name(),
            events: record.events,
            operation,
            reaches: record.reaches,
            codec: record.codec,
            version: record.schema,
            bytes: record.payload.len(),
            checksum: print::hex(record.checksum),
            envelopes,
            faults,
        })
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { turn, kind, events, bytes, version, checksum, .. } = self;
        line(
            out,
            format_args!("turn {turn}: {kind}, {events} events, {bytes} bytes, version {version}, checksum {checksum}"),
        )?;
        if let Some(operation) = self.operation {
            line(out, format_args!("operation {operation}, from turn {} on", self.reaches))?;
        }
        self.envelopes.iter().try_for_each(|envelope| envelope.print(out))?;
        self.faults.iter().try_for_each(|fault| line(out, format_args!("DAMAGED: {fault}")))
    }
}

impl Envelope {
    fn of(index: usize, head: &Head<'_>, is_ours: bool, faults: &mut Vec<String>) -> Self {
        let read = is_ours.then(|| decode::<(WorkspaceFacets, WorkspaceEvent)>(head.body));
        let (mut kind, mut event, mut facets) = (None, None, None);
        match read {
            Some(Ok((context, what))) => {
                (kind, event) = (Some(what.kind()), Some(format!("{what:?}")));
                facets = (context != WorkspaceFacets::default()).then(|| format!("{context:?}"));
            }
            Some(Err(error)) => faults.push(format!("entry {index}: {error}")),
            None => {}
        }
        Self {
            index,
            lane: head.lane.number(),
            origin: head.lane_origin.to_string(),
            stamp: (head.stamp != Stamp::UNCLOCKED).then(|| head.stamp.as_u64()),
            sequence: head.sequence.as_u64(),
            parts: head.parts,
            bytes: head.body.len(),
            kind,
            event,
            facets,
            set_aside: None,
        }
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { index, lane, origin, sequence, parts, bytes, .. } = self;
        let stamp = self.stamp.map_or("none".to_owned(), |stamp| stamp.to_string());
        let what = self.event.clone().unwrap_or_else(|| format!("{bytes} bytes"));
        let facets = self.facets.as_ref().map(|facets| format!("  {facets}")).unwrap_or_default();
        let set_aside = self.set_aside.as_ref().map(|message| format!("  SET ASIDE: {message}")).unwrap_or_default();
        line(
            out,
            format_args!(
                "{index:>6}  lane {lane} {origin}  stamp {stamp}  sequence {sequence}  parts {parts}  \
                 {what}{facets}{set_aside}"
            ),
        )
    }
}

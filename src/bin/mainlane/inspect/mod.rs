//! `mainlane journal`: what is in a journal, whether it is whole, what can be saved of it.

mod check;
mod list;
mod page;
mod salvage;
mod show;

use std::process::ExitCode;

use mainlane::journal::SqliteStore;
use mainlane::journal::store::{Record, Store};
use mainlane::journal::{Head, heads};
use mainlane::workspace::SCHEMA;

use crate::args::JournalArgs;
use crate::problem::{FAILURE, Problem};

pub(crate) fn run(args: &JournalArgs) -> Result<ExitCode, Problem> {
    if let Some(to) = &args.salvage {
        return salvage::run(args, to);
    }
    let mut store = SqliteStore::open_read_only(&args.file)?;
    let is_well = match args.show {
        Some(turn) => show::run(args, turn, &mut store)?,
        None if args.list => list::run(args, &mut store)?,
        None if args.check => check::run(args, &mut store)?,
        None => page::run(args, &mut store)?,
    };
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::from(FAILURE) })
}

/// What is wrong with a record, as far as can be seen without applying it.
fn fault_of(record: &Record) -> Option<String> {
    record.verify().err().map(|error| error.to_string())
}

/// Of what can be read of a batch.
fn heads_of(record: &Record) -> impl Iterator<Item = Head<'_>> {
    heads(&record.payload, record.events).map_while(Result::ok)
}

/// Whether events of this version can be read here.
fn is_ours(store: &mut dyn Store, version: u32) -> bool {
    let named = store.identity().ok().flatten().is_some_and(|identity| identity.schema == SCHEMA.0);
    named && version == SCHEMA.1
}

//! What was applied, kept for good: recover, replay, inspect.

mod config; // what a host says of its journal
mod recover; // from a journal to a pipeline, or to a look at it
mod replay; // records applied again
mod append; // from the main lane to the store
pub(crate) mod status; // how far it is, for whoever waits
mod progress; // the turn that is durable
mod determinism; // is the reducer, and is the encoding, what it must be?
mod error; // what can go wrong
pub(crate) mod record; // records and checkpoints to bytes and back, checksums, versions
pub(crate) mod batch; // the entries of a batch to bytes and back
mod bytes; // numbers and texts as they stand in payloads
mod survey; // what can be read and is what was written
mod check; // whether a journal is whole
mod salvage; // what is good of a damaged one, in a new one
#[cfg(test)]
mod damage_tests; // of check and salvage
#[cfg(test)]
mod testing; // a host for tests
pub mod names; // names that live as long as the program, for what is read back
pub mod store; // where records are kept: the trait
pub(crate) mod sqlite; // where records are kept: SQLite
pub(crate) mod torn; // what SQLite leaves out in silence after a crash

pub use crate::main_lane::scribe::Durability;
pub use batch::{Head, Heads, heads};
pub use check::{CheckFault, CheckReport, check};
pub use config::{Behind, CheckpointPolicy, Journal, Retention};
pub use error::JournalError;
pub use record::{CODEC, CodecError, Fault, Upgrade, decode, decode_operation, split_checkpoint};
pub use recover::{Recovery, ReplayReport, Replaying};
pub use salvage::{Lost, SalvageError, SalvageReport, salvage};
pub use sqlite::{FORMAT, PAYLOAD_BYTES_MAX, SqliteStore, Sync};
pub use status::{JournalReader, NotDurable};
pub use store::StoreError;

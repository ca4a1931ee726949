//! What the reference domain reads from a journal: its events and its state (`src/workspace/event.rs`, `state.rs`,
//! `encode.rs`).
//!
//! Any bytes at all are read or refused, in memory that they pay for; what is read is written in one way, which is read as
//! the same again.

use mainlane::journal::decode;
use mainlane::workspace::{Workspace, WorkspaceEvent, WorkspaceFacets};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::choices::Choices;
use crate::memory;

/// What the smallest part of a state takes in memory, in a map that has room for more.
const MEMORY_PER_BYTE: usize = 4096;

pub(super) fn check(data: &[u8]) {
    let mut choices = Choices::new(data);
    match choices.below(2) {
        0 => read::<(WorkspaceFacets, WorkspaceEvent)>(choices.rest()),
        _ => read::<Workspace>(choices.rest()),
    }
}

fn read<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    // Names that are read are kept for good.
    let _ = decode::<T>(bytes);
    let (held, read) = memory::held_by(|| decode::<T>(bytes));
    assert!(held <= MEMORY_PER_BYTE * (bytes.len() + 16), "{held} bytes for {}", bytes.len());
    match read {
        Err(error) => assert!(!error.is_empty()),
        Ok(value) => {
            let written = postcard::to_allocvec(&value).expect("what was read can be written");
            // A number may be read that has more bytes than it needs; nothing else is written in two ways.
            assert!(written.len() < bytes.len() || written == bytes, "{written:?} for {bytes:?}");
            let again = decode::<T>(&written).expect("what is written can be read");
            assert_eq!(postcard::to_allocvec(&again).as_ref(), Ok(&written));
        }
    }
}

//! What a main lane asks of a journal, and of a check of determinism.
//!
//! Traits, so that only hosts that use them need events and states that can be encoded.

use std::time::Instant;

use crate::main_lane::entry::{Entry, Fate};
use crate::main_lane::operations::Operations;
use crate::main_lane::reduce::Reducer;
use crate::main_lane::report::JournalEnd;
use crate::timeline::ask::Change;

/// What may be seen of a turn before it is durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Everything. A crash may take back what readers have seen and effects have done: at most what the
    /// journal's lag allows, and in most cases the time of one write.
    Async,
    /// Nothing but the state that the main lane itself sees: snapshots are published, and effects run, when their turn is
    /// durable. The main lane goes on meanwhile.
    #[default]
    BeforePublish,
    /// Nothing at all: a batch is applied when it is durable. The main lane takes one batch at a time.
    BeforeApply,
}

/// Writes down what a main lane applies. Never waits for the disk but in [`close`](Scribe::close).
pub(crate) trait Scribe<S: Reducer>: Send {
    fn durability(&self) -> Durability;

    /// The newest turn that is durable.
    fn durable(&self) -> u64;

    /// Why nothing more will be durable.
    fn failure(&self) -> Option<String>;

    /// True when there is room for what a turn has to say.
    fn has_room(&self) -> bool;

    /// Of a batch, `turn` is the number.
    fn record(&mut self, turn: u64, batch: &[(Entry<S::Event>, Fate)]);

    fn change(&mut self, turn: u64, change: &Change);

    fn quarantine(&mut self, turn: u64, index: usize, kind: &str, message: &str);

    fn is_checkpoint_due(&self) -> bool;

    /// The state after `turn`; the past before turn `oldest` is not needed any more.
    fn checkpoint(&mut self, turn: u64, state: &S, operations: &Operations, oldest: u64);

    /// Waits until no checkpoint is under way, `deadline` at most. Only before [`close`](Scribe::close).
    fn await_checkpoint(&mut self, deadline: Instant);

    /// Hands on what was said since the last time.
    fn submit(&mut self);

    /// Waits until everything is durable, `deadline` at most, and ends.
    /// Returns also the threads that did not end.
    fn close(&mut self, applied: u64, deadline: Instant) -> (JournalEnd, Vec<String>);
}

/// Makes states comparable. Runs the host's code.
pub(crate) trait Check<S>: Send {
    /// A state that is the same, and shares as little as possible with it.
    fn copy(&self, state: &S) -> Result<S, String>;

    fn hash(&self, state: &S) -> Result<u128, String>;
}

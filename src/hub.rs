//! What all ends of one pipeline share, for its kind of state and events.

use crate::core::Core;
#[cfg(feature = "journal")]
use crate::journal::JournalReader;
use crate::mailbox::Mailbox;
use crate::main_lane::flight::FlightEntry;
use crate::main_lane::keeping::Request;
use crate::main_lane::lane_end::LaneEnd;
use crate::main_lane::publish::WakeHook;
use crate::main_lane::quarantine::Quarantine;
use crate::main_lane::reduce::Reducer;
use crate::observe::diagnostic::Diagnostics;
use crate::reply::Answer;
use crate::snapshot::Published;
use crate::sync::Arc;

/// What all ends of one pipeline share.
pub(crate) struct Hub<S: Reducer> {
    pub(crate) core: Arc<Core>,
    pub(crate) published: Arc<Published<S>>,
    pub(crate) mailbox: Mailbox<Letter<S>>,
    pub(crate) diagnostics: Diagnostics,
    /// What the flight recorder had when the main lane stopped by itself.
    pub(crate) last_flight: std::sync::OnceLock<Arc<[FlightEntry]>>,
    pub(crate) quarantine: Quarantine<S::Event>,
    #[cfg(feature = "journal")]
    pub(crate) journal: std::sync::OnceLock<JournalReader>,
}

impl<S: Reducer> Hub<S> {
    /// Answers a letter that the main lane will not read any more, if that can be done.
    pub(crate) fn answer_last(&self, letter: Letter<S>) {
        if let (Letter::Flight(answer), Some(last)) = (letter, self.last_flight.get()) {
            answer.give(last.clone());
        }
    }
}

/// What is sent to the main lane outside of lanes.
pub(crate) enum Letter<S: Reducer> {
    Lane(Box<LaneEnd<S::Event>>),
    WakeHook(WakeHook),
    Request(Request<S>),
    Flight(Answer<Arc<[FlightEntry]>>),
}

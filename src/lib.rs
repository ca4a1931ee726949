//! Many producers, one coherent state, and a thread that must not stall.
//!
//! A host brings an event type ([`Event`]), a state and what events do to it ([`Reducer`]). mainlane brings the way in
//! between:
//!
//! ```text
//!  source ──poll──▶ lane: enrich → classify ─┬─ critical ─▶ ring ────────────┐
//!  (a thread of ours, or yours that pushes)  └─ lossy ────▶ coalescing table ┤
//!                                                                            ▼
//!          main lane, one turn:   cut → merge → apply → reconcile → publish ──▶ readers
//! ```
//!
//! Begin with [`Pipeline::builder`]. Its page has a whole example; the repository's `docs/guide.md` says how to embed it
//! and `docs/ARCHITECTURE.md` what it promises and how it is made.
//!
//! # What it promises
//! | | |
//! |---|---|
//! | **lane order** | events of one lane are applied in push order; a coalesced one stands where its newest part stood |
//! | **causal order** | if push A returned before push B began, A is applied before B, and B is never seen without it (a lossy A may have been coalesced into a newer event of its key, which is still to come) |
//! | **critical events** | are never lost, duplicated or reordered within their lane |
//! | **lossy events** | never make a producer wait; the newest value of each key arrives; each loss is counted by its reason |
//! | **coherent reads** | a snapshot is the state after a whole number of turns; nobody waits for anybody |
//! | **bounded cost** | no allocation, no lock and no system call per event in steady state; a turn keeps its budget |
//! | **faults stay where they are** | a panicking source, enricher, hook or reconciler is contained and reported; with a [`Timeline`] an event on which the reducer panics is set aside |
//! | **durability** | with a journal, what is acknowledged as durable survives, and recovery gives the same state |
//! | **an end** | a shutdown applies what was accepted, joins every thread, and reports |
//! | **nothing silent** | whatever is out of the ordinary is a counter and a [`Diagnostic`] |
//!
//! # Features
//! None is on by default. `signal` adds the [bus](signal) on which parts of a host tell each other what happened; `control` supervised
//! workers and the runtime behind them; `register` many projects on a few threads; `journal` what is kept for good; `workspace` the reference domain, panes on pseudo-terminals and
//! watched folders; `cli` the program.

#![cfg_attr(docsrs, feature(doc_cfg))]

// In the order an event meets them.

mod pipeline; // the one place where everything is wired
mod event; // what a host says of its events, and the envelope a reducer is given
mod origin; // who an event is about
mod facets; // context, and how it is filled in
mod lane; // enrich, classify, ring and coalescing table, ingestion threads and their sources
mod clock; // the shared counter, and how stamps become keys
mod hub; // what all ends of one pipeline share, for its kind of state
mod mailbox; // how lanes that are opened at run time reach the main lane
mod main_lane; // cut, merge, apply, reconcile, publish
mod timeline; // the recent past: undo, redo, quarantine, a look back
#[cfg(feature = "journal")]
#[cfg_attr(docsrs, doc(cfg(feature = "journal")))]
pub mod journal; // what was applied, kept for good: recover, replay, inspect
mod snapshot; // publisher and readers
#[cfg(feature = "signal")]
#[cfg_attr(docsrs, doc(cfg(feature = "signal")))]
pub mod signal; // how parts of a host tell each other what happened
#[cfg(feature = "control")]
#[cfg_attr(docsrs, doc(cfg(feature = "control")))]
pub mod control; // workers that are supervised, and the runtime they share
#[cfg(feature = "signal")]
mod backoff; // how long to rest between two tries
#[cfg(any(feature = "register", feature = "workspace"))]
#[cfg_attr(docsrs, doc(cfg(any(feature = "register", feature = "workspace"))))]
pub mod register; // many projects, who provides which service, whether what mirrors the outside is equal to it
mod latch; // a flag that one thread sets and another finds
mod reply; // an answer that another thread waits for
mod wake; // how one thread sleeps until another has something for it
mod notifications; // telling all who wait, tasks among them
mod observe; // counters and diagnostics
mod core; // what all parts of one pipeline share, whatever its state
mod error; // what can go wrong on the control side
mod sync; // the one door to atomics, cells and rings
#[cfg(feature = "workspace")]
#[cfg_attr(docsrs, doc(cfg(feature = "workspace")))]
pub mod workspace; // the reference domain, with real sources

pub use clock::Stamp;
pub use error::Error;
pub use event::{Authority, Class, Coalesced, Envelope, Event, LaneId, Operation, OperationId, Phase, Sequence, Tier};
pub use facets::{Facets, Fill, Tags};
pub use lane::builder::{CAPACITY, CAPACITY_MAX, IngestBuilder, KEYS, LaneBuilder};
pub use lane::idle::IdleStrategy;
pub use lane::ingest::Restart;
pub use lane::refused::{Refused, Unsent};
pub use lane::source::{Interrupt, Outlet, Polled, Source, SourceError};
pub use lane::sources::{BlockingSource, Feeder, RingSource, TimerSource, ring_source};
pub use lane::{Lane, Overflow};
pub use main_lane::MainLane;
pub use main_lane::budget::Budget;
pub use main_lane::drive::{Drive, Running};
pub use main_lane::flight::{FLIGHT_RECORDER, FLIGHT_RECORDER_MAX, FlightEntry, FlightOutcome};
pub use main_lane::outcome::{Left, Poison, Turn, TurnError};
pub use main_lane::publish::{Publish, WAKE_PANICS_MAX};
pub use main_lane::reconcile::Reconciler;
pub use main_lane::reduce::{Effects, Reducer};
pub use main_lane::report::{Fault, JournalEnd, ShutdownReport};
pub use main_lane::scribe::Durability;
pub use observe::counters::{Counters, Faults, HeldBytes, LaneCounters, Totals};
pub use observe::diagnostic::{Diagnostic, Diagnostics};
pub use origin::{Origin, Rank};
pub use pipeline::{Builder, Handle, Pipeline};
pub use reply::Asked;
pub use snapshot::{CachedReader, Reader, Snapshot, Version, View, Viewed, WakingReader};
pub use timeline::{Rewind, RewindError, RewindKind, Timeline, TimelineError};

#[cfg(doctest)]
mod proofs; // what must not compile

/// The README's example, compiled and run.
#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;

/// The programs of the page on embedding, compiled and run.
#[doc = include_str!("../docs/embedding.md")]
#[cfg(all(doctest, feature = "control"))]
struct Embedding;

/// The page on who may talk to whom: its programs run, and what it forbids does not compile.
#[doc = include_str!("../docs/routing.md")]
#[cfg(all(doctest, feature = "register"))]
struct Routing;

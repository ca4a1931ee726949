//! What may cross threads, and what may not.

use mainlane::{
    BlockingSource, Builder, CachedReader, Diagnostics, Envelope, Feeder, Handle, Lane, MainLane, Outlet, Reader,
    Running, ShutdownReport, Snapshot, TurnError, WakingReader,
};

use crate::domain::{Ledger, Note};

fn sent<T: Send>() {}
fn shared<T: Sync>() {}

#[test]
fn ends_can_be_sent_and_handles_shared() {
    sent::<Lane<Note>>();
    sent::<MainLane<Ledger>>();
    sent::<Running<Ledger>>();
    sent::<Builder<Ledger>>();
    sent::<Outlet<Note>>();
    sent::<Feeder<u8>>();
    sent::<BlockingSource<Note, fn()>>();
    sent::<CachedReader<Ledger>>();
    sent::<TurnError<Note>>();
    sent::<ShutdownReport>();
    sent::<Reader<Ledger>>();
    shared::<Reader<Ledger>>();
    sent::<WakingReader<Ledger>>();
    shared::<WakingReader<Ledger>>();
    sent::<Handle<Ledger>>();
    shared::<Handle<Ledger>>();
    sent::<Diagnostics>();
    shared::<Diagnostics>();
    sent::<Snapshot<Ledger>>();
    shared::<Snapshot<Ledger>>();
    sent::<Envelope<'static, Note>>();
}

#[test]
fn a_refusal_without_its_event_goes_through_question_marks_that_want_sync() {
    fn push(lane: &mut Lane<Unshared>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        lane.push(Unshared(std::cell::Cell::new(1))).map_err(mainlane::Refused::without_value)?;
        Ok(())
    }
    let builder = mainlane::Pipeline::builder(Nothing);
    let mut lane = builder.lane("a").open().unwrap();
    push(&mut lane).unwrap();
    drop(builder);
    assert!(push(&mut lane).unwrap_err().to_string().contains("shut down"));
}

/// An event that may be sent, but not shared.
struct Unshared(#[expect(dead_code, reason = "makes it unshared")] std::cell::Cell<u32>);

impl mainlane::Event for Unshared {
    type Key = ();
    type Facets = ();

    fn class(&self) -> mainlane::Class<()> {
        mainlane::Class::Critical
    }
}

#[derive(Clone)]
struct Nothing;

impl mainlane::Reducer for Nothing {
    type Event = Unshared;
    type Effect = ();

    fn apply(&mut self, _: &Envelope<'_, Unshared>, _: &mut mainlane::Effects<()>) {}
}

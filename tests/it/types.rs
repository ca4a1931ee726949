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

//! What may cross threads, and what may not.

use std::cell::Cell;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::MutexGuard;
use std::vec::IntoIter;

use mainlane::{
    BlockingSource, Builder, CachedReader, Class, Effects, Envelope, Feeder, Handle, IngestBuilder, Lane, LaneBuilder,
    MainLane, Outlet, Poison, Reader, Refused, RingSource, Running, Snapshot, TimerSource, TurnError, Unsent, View,
    Viewed, WakingReader,
};

use crate::domain::{Ledger, Note};

/// Whether a type has a trait: the inherent constant is preferred where its bound holds.
macro_rules! has {
    ($type:ty: $trait:path) => {{
        #[allow(dead_code, reason = "one of the two constants is shadowed")]
        trait Otherwise {
            const HAS: bool = false;
        }
        impl<T> Otherwise for T {}
        struct Asked<T>(PhantomData<T>);
        #[allow(dead_code, reason = "one of the two constants is shadowed")]
        impl<T: $trait> Asked<T> {
            const HAS: bool = true;
        }
        Asked::<$type>::HAS
    }};
}

/// Compares each type with what is promised of it, and names those that differ.
macro_rules! promised {
    ($($type:ty => $promised:expr,)*) => {{
        let mut differ = Vec::new();
        $(
            let is: [bool; 3] = [has!($type: Send), has!($type: Sync), has!($type: Clone)];
            if is != $promised {
                differ.push((stringify!($type), is));
            }
        )*
        differ
    }};
}

/// May be sent, not shared.
type Sent = Cell<u8>;
/// May be shared, not sent.
type Shared = MutexGuard<'static, u8>;
/// Neither.
type Stays = Rc<u8>;

/// Every public generic type, filled with what may be sent and shared, sent only, shared only, and neither.
#[test]
fn what_is_sent_shared_and_cloned() {
    // Each: is it `Send`, `Sync`, `Clone`?
    let differ = promised! {
        Snapshot<Ledger> => [true, true, true],
        Snapshot<Sent> => [true, false, true],
        Snapshot<Shared> => [false, true, false],
        Snapshot<Stays> => [false, false, true],
        Reader<Ledger> => [true, true, true],
        Reader<Sent> => [false, false, true],
        Reader<Shared> => [false, false, true],
        Reader<Stays> => [false, false, true],
        CachedReader<Ledger> => [true, true, true],
        CachedReader<Sent> => [false, false, true],
        CachedReader<Shared> => [false, false, true],
        CachedReader<Stays> => [false, false, true],
        WakingReader<Ledger> => [true, true, false],
        WakingReader<Sent> => [false, false, false],
        WakingReader<Shared> => [false, false, false],
        WakingReader<Stays> => [false, false, false],
        View<'static, Ledger> => [true, true, true],
        View<'static, Sent> => [false, false, true],
        View<'static, Shared> => [true, true, true],
        View<'static, Stays> => [false, false, true],
        Viewed<u8> => [true, true, true],
        Viewed<Sent> => [true, false, true],
        Viewed<Shared> => [false, true, false],
        Viewed<Stays> => [false, false, true],
        Effects<u8> => [true, true, false],
        Effects<Sent> => [true, false, false],
        Effects<Shared> => [false, true, false],
        Effects<Stays> => [false, false, false],
        Refused<Note> => [true, true, true],
        Refused<Sent> => [true, false, true],
        Refused<Shared> => [false, true, false],
        Refused<Stays> => [false, false, true],
        Unsent<Note, IntoIter<Note>> => [true, true, false],
        Unsent<Unshared, IntoIter<Unshared>> => [true, false, false],
        Unsent<Note, Shared> => [false, true, false],
        Unsent<Note, Stays> => [false, false, false],
        TimerSource<fn()> => [true, true, false],
        TimerSource<Sent> => [true, false, false],
        TimerSource<Stays> => [false, false, false],
        Feeder<u8> => [true, false, false],
        Feeder<Sent> => [true, false, false],
        Feeder<Shared> => [false, false, false],
        Feeder<Stays> => [false, false, false],
        RingSource<u8, fn()> => [true, false, false],
        RingSource<Sent, fn()> => [true, false, false],
        RingSource<Stays, fn()> => [false, false, false],
        RingSource<u8, Stays> => [false, false, false],
        BlockingSource<Note, fn()> => [true, true, false],
        BlockingSource<Unshared, Sent> => [true, false, false],
        BlockingSource<Note, Stays> => [false, false, false],
        Class<u8> => [true, true, true],
        Class<Sent> => [true, false, true],
        Class<Stays> => [false, false, true],
        Lane<Note> => [true, false, false],
        Lane<Unshared> => [true, false, false],
        Outlet<Note> => [true, false, false],
        Outlet<Unshared> => [true, false, false],
        Envelope<'static, Note> => [true, true, true],
        Envelope<'static, Unshared> => [false, false, true],
        TurnError<Note> => [true, true, false],
        TurnError<Unshared> => [true, false, false],
        Poison<Note> => [true, true, false],
        Poison<Unshared> => [true, false, false],
        MainLane<Ledger> => [true, false, false],
        MainLane<Nothing> => [true, false, false],
        Running<Ledger> => [true, true, false],
        Running<Nothing> => [true, false, false],
        Builder<Ledger> => [true, false, false],
        Builder<Nothing> => [true, false, false],
        Handle<Ledger> => [true, true, true],
        Handle<Nothing> => [true, true, true],
        LaneBuilder<Ledger> => [true, false, false],
        LaneBuilder<Nothing> => [true, false, false],
        IngestBuilder<'static, Ledger, TimerSource<fn() -> Note>> => [true, false, false],
    };
    assert!(differ.is_empty(), "{differ:#?}");
}

/// Control arm: the table notices a type that is not what it says.
#[test]
fn a_promise_that_is_broken_is_named() {
    let differ = promised! {
        Lane<Note> => [true, true, false],
        Lane<Note> => [true, false, false],
        Reader<Ledger> => [true, true, false],
    };
    assert_eq!(differ, [("Lane<Note>", [true, false, false]), ("Reader<Ledger>", [true, true, true])]);
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

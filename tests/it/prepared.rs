//! Batches of lanes that do something to events first: whatever that is, they are pushed as those of a plain lane.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mainlane::{Budget, Class, Coalesced, Effects, Envelope, Event, Lane, Overflow, Pipeline, Reducer, Refused, Tier};

use crate::domain::{Ledger, Note, PATIENCE, drain, settled, until};

const MANY: u64 = 100;

fn items(range: std::ops::Range<u64>) -> Vec<Note> {
    range.map(Note::Item).collect()
}

/// Whether pushing a batch panics.
fn panics(lane: &mut Lane<Note>, batch: impl IntoIterator<Item = Note>) -> bool {
    catch_unwind(AssertUnwindSafe(|| lane.push_batch(batch).is_ok())).is_err()
}

#[test]
fn what_does_not_fit_comes_back_whole_and_in_order() {
    for capacity in [1, 4, 31, 32, 33, 64] {
        let builder = Pipeline::builder(Ledger::default());
        let lane = builder.lane("a").capacity(capacity).overflow(Overflow::Return);
        let mut lane = lane.enrich(|_, _| ()).open().unwrap();
        let (mut main_lane, handle) = builder.build().unwrap();
        let refused = lane.push_batch(items(0..MANY)).unwrap_err();
        assert!(matches!(refused, Refused::Full(_)));
        let (capacity, rest) = (capacity as u64, refused.into_inner());
        assert_eq!(rest.size_hint().0 as u64, MANY - capacity);
        assert_eq!(rest.collect::<Vec<_>>(), items(capacity..MANY));
        drain(&mut main_lane);
        assert_eq!(main_lane.state().notes(), items(0..capacity));
        assert_eq!(settled(&handle).events.returned, 1);
        assert_eq!(lane.push_batch(items(0..1)).unwrap(), 1);
    }
}

#[test]
fn what_is_pushed_to_a_pipeline_that_is_shut_comes_back_whole_and_in_order() {
    let builder = Pipeline::builder(Ledger::default());
    let enriched = Arc::new(AtomicUsize::new(0));
    let counts = enriched.clone();
    let enrich = move |_: &mut Note, _: &mut ()| _ = counts.fetch_add(1, Ordering::Relaxed);
    let mut lane = builder.lane("a").enrich(enrich).open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    assert!(main_lane.shutdown(PATIENCE).complete);
    for _ in 0..2 {
        let refused = lane.push_batch(items(0..MANY)).unwrap_err();
        assert!(matches!(refused, Refused::Closed(_)));
        let rest = refused.into_inner();
        assert_eq!(rest.size_hint(), (MANY as usize, Some(MANY as usize)));
        assert_eq!(rest.collect::<Vec<_>>(), items(0..MANY));
    }
    assert_eq!(enriched.load(Ordering::Relaxed), 0, "none of them for nothing");
    assert_eq!(handle.counters().events.closed, 2, "one batch each");
    assert_eq!(lane.push_batch(items(0..3)).unwrap_err().into_inner().collect::<Vec<_>>(), items(0..3));
}

#[test]
fn a_shutdown_waits_for_a_batch_that_is_being_drawn() {
    for prepares in [false, true] {
        let builder = Pipeline::builder(Ledger::default());
        let lane = builder.lane("a");
        let mut lane = if prepares { lane.enrich(|_, _| ()) } else { lane }.open().unwrap();
        let mut other = builder.lane("b").overflow(Overflow::Return).open().unwrap();
        let (mut main_lane, _handle) = builder.build().unwrap();
        let (begin, may_begin) = std::sync::mpsc::channel();
        let shutdown = std::thread::spawn(move || {
            may_begin.recv().unwrap();
            let is_complete = main_lane.shutdown(PATIENCE).complete;
            (is_complete, main_lane.state().notes())
        });
        let batch = items(0..10).into_iter().inspect(|note| {
            if *note == Note::Item(5) {
                begin.send(()).unwrap();
                let level = || Note::Level { key: 0, value: 0 };
                until("the lanes are shut", || matches!(other.push(level()), Err(Refused::Closed(_))));
                // A chance for a shutdown that does not wait.
                (0..1000).for_each(|_| std::thread::yield_now());
            }
        });
        assert_eq!(lane.push_batch(batch).unwrap(), 10);
        let (is_complete, mut notes) = shutdown.join().unwrap();
        notes.retain(|note| matches!(note, Note::Item(_)));
        assert_eq!((is_complete, notes), (true, items(0..10)), "prepares: {prepares}");
    }
}

#[test]
fn an_iterator_that_panics_loses_nothing_it_gave() {
    for given in [0, 1, 5, 31, 32, 33, 64, 99] {
        let builder = Pipeline::builder(Ledger::default());
        let mut lane = builder.lane("a").enrich(|_, _| ()).open().unwrap();
        let (mut main_lane, handle) = builder.build().unwrap();
        let batch = (0..MANY).map(|n| if n == given { panic!("half-way") } else { Note::Item(n) });
        assert!(panics(&mut lane, batch));
        drain(&mut main_lane);
        assert_eq!(main_lane.state().notes(), items(0..given));
        assert_eq!(settled(&handle).events.pushed, given);
        assert_eq!(lane.push_batch(items(0..1)).unwrap(), 1, "the lane goes on");
    }
}

#[test]
fn an_enricher_that_panics_on_some_costs_them_nothing() {
    let builder = Pipeline::builder(Ledger::default());
    let enrich = |note: &mut Note, _: &mut ()| {
        let Note::Item(n) = note else { return };
        assert!(*n % 3 != 0, "a third");
        *n += 1000;
    };
    let mut lane = builder.lane("a").enrich(enrich).open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    assert_eq!(lane.push_batch(items(0..MANY)).unwrap(), MANY as usize);
    drain(&mut main_lane);
    let expected: Vec<_> = (0..MANY).map(|n| Note::Item(if n % 3 == 0 { n } else { n + 1000 })).collect();
    assert_eq!(main_lane.state().notes(), expected);
    assert_eq!(settled(&handle).events.enricher_panics, MANY.div_ceil(3));
}

/// Items are critical and levels lossy; an item that says so cannot be classified.
fn touchy(note: &Note) -> Class<u32> {
    match note {
        Note::Item(UNCLASSIFIABLE) => panic!("what is it?"),
        Note::Level { key, .. } => Class::lossy(*key, Tier::NORMAL),
        _ => Class::Critical,
    }
}

const UNCLASSIFIABLE: u64 = u64::MAX;

#[test]
fn an_event_of_a_batch_that_cannot_be_classified_costs_only_itself() {
    for position in [0, 1, 2, 3, 30, 62, 63] {
        let builder = Pipeline::builder(Ledger::default());
        let mut lane = builder.lane("a").classify(touchy).open().unwrap();
        let (mut main_lane, handle) = builder.build().unwrap();
        let mut batch = items(0..200);
        batch[2] = Note::Level { key: 1, value: 2 };
        batch[position] = Note::Item(UNCLASSIFIABLE);
        let mut rest = batch.clone().into_iter();
        let unwound = catch_unwind(AssertUnwindSafe(|| lane.push_batch(rest.by_ref()).map_err(drop)));
        let message = unwound.unwrap_err().downcast_ref::<&str>().map(|message| message.to_string());
        assert_eq!(message.as_deref(), Some("what is it?"));
        // What was not drawn is where it was; all else was pushed, but for that one.
        let drawn = batch.len() - rest.len();
        assert_eq!(rest.as_slice(), &batch[drawn..]);
        assert!((position + 1..=position + 64).contains(&drawn), "{drawn} with {position}");
        drain(&mut main_lane);
        batch.truncate(drawn);
        batch.remove(position);
        assert_eq!(main_lane.state().notes(), batch);
        let events = settled(&handle).events;
        assert_eq!((events.pushed, events.enricher_panics), (drawn as u64 - 1, 0));
        assert_eq!(lane.push_batch(rest).unwrap(), 200 - drawn, "the lane goes on");
        drain(&mut main_lane);
        assert!(settled(&handle).events.balanced());
    }
}

#[test]
fn of_several_panics_in_one_chunk_the_first_goes_on_and_the_others_are_counted() {
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("a").classify(touchy).open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    let mut batch = items(0..12);
    [3, 4, 9].into_iter().for_each(|position| batch[position] = Note::Item(UNCLASSIFIABLE));
    assert!(panics(&mut lane, batch.clone()));
    drain(&mut main_lane);
    batch.retain(|note| *note != Note::Item(UNCLASSIFIABLE));
    assert_eq!(main_lane.state().notes(), batch);
    let events = settled(&handle).events;
    assert_eq!((events.pushed, events.enricher_panics), (9, 2));
    // The iterator's own comes first.
    let given = (0..12).map(|n| match n {
        4 => Note::Item(UNCLASSIFIABLE),
        11 => panic!("the end"),
        n => Note::Item(n),
    });
    let unwound = catch_unwind(AssertUnwindSafe(|| lane.push_batch(given).is_ok())).unwrap_err();
    assert_eq!(unwound.downcast_ref::<&str>(), Some(&"the end"));
    drain(&mut main_lane);
    let events = settled(&handle).events;
    assert_eq!((events.pushed, events.enricher_panics), (9 + 10, 3));
}

/// What the host's own code for a lossy event does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Deed {
    Well,
    HashPanics,
    CoalescePanics,
}

#[derive(Clone, Debug, PartialEq)]
struct Value(u64, Deed);

#[derive(PartialEq, Eq)]
struct Prickly(bool);

impl std::hash::Hash for Prickly {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        assert!(!self.0, "no hash");
        state.write_u8(1);
    }
}

impl Event for Value {
    type Key = Prickly;
    type Facets = ();

    fn class(&self) -> Class<Prickly> {
        match self.0 % 4 {
            3 => Class::lossy(Prickly(self.1 == Deed::HashPanics), Tier::NORMAL),
            _ => Class::Critical,
        }
    }

    fn coalesce(&mut self, newer: Self) -> Coalesced {
        assert!(newer.1 != Deed::CoalescePanics, "no rule");
        *self = newer;
        Coalesced::Replaced
    }
}

#[derive(Clone, Default)]
struct Values(Vec<u64>);

impl Reducer for Values {
    type Event = Value;
    type Effect = ();

    fn apply(&mut self, envelope: &Envelope<'_, Value>, _: &mut Effects<()>) {
        self.0.push(envelope.event.0);
    }
}

#[test]
fn a_key_or_a_rule_that_panics_takes_nothing_from_what_comes_behind() {
    for (deed, kept, shed) in [(Deed::HashPanics, Some(11), 0), (Deed::CoalescePanics, Some(11), 1)] {
        let builder = Pipeline::builder(Values::default());
        let mut lane = builder.lane("a").enrich(|_, _| ()).open().unwrap();
        let (mut main_lane, handle) = builder.build().unwrap();
        let batch = (0..12).map(|n| Value(n, if n == 7 { deed } else { Deed::Well }));
        assert!(catch_unwind(AssertUnwindSafe(|| lane.push_batch(batch).is_ok())).is_err());
        while main_lane.turn(Budget::UNLIMITED).unwrap().events > 0 {}
        let expected: Vec<_> = (0..12).filter(|n| n % 4 != 3 || Some(*n) == kept).collect();
        assert_eq!(main_lane.state().0, expected, "{deed:?}");
        let events = handle.counters().events;
        assert!(events.balanced(), "{events:?}");
        assert_eq!((events.in_flight, events.shed), (0, shed), "{deed:?}: {events:?}");
    }
}

#[test]
fn an_iterator_that_does_not_know_how_many_there_are_waits_for_none_of_them() {
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("a").enrich(|_, _| ()).open().unwrap();
    let (mut main_lane, _handle) = builder.build().unwrap();
    // Each is drawn when the one before it was applied.
    let mut applied = Vec::new();
    let batch = std::iter::from_fn(|| {
        drain(&mut main_lane);
        applied.push(main_lane.state().seen.len());
        (applied.len() < 5).then_some(Note::Item(applied.len() as u64))
    });
    assert_eq!(lane.push_batch(batch.take(10)).unwrap(), 4);
    assert_eq!(applied, [0, 1, 2, 3, 4]);
}

/// Says that there are some for sure, and panics when it is asked once more.
struct Unsure {
    given: u64,
    said: std::cell::Cell<bool>,
}

impl Iterator for Unsure {
    type Item = Note;

    fn next(&mut self) -> Option<Note> {
        self.given += 1;
        Some(Note::Item(self.given - 1))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        assert!(!self.said.replace(true), "how should I know");
        (7, None)
    }
}

#[test]
fn an_iterator_that_panics_as_it_is_asked_how_many_there_are_loses_nothing_it_gave() {
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("a").enrich(|_, _| ()).open().unwrap();
    let (mut main_lane, _handle) = builder.build().unwrap();
    let mut unsure = Unsure { given: 0, said: false.into() };
    assert!(panics(&mut lane, unsure.by_ref()));
    drain(&mut main_lane);
    assert_eq!((unsure.given, main_lane.state().notes()), (7, items(0..7)));
}

#[test]
fn lossy_events_take_no_stamps() {
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("a").enrich(|_, _| ()).open().unwrap();
    let mut other = builder.lane("b").open().unwrap();
    let (mut main_lane, _handle) = builder.build().unwrap();
    let level = |key| Note::Level { key, value: 0 };
    other.push(Note::Item(0)).unwrap();
    lane.push_batch((0..64).map(level)).unwrap();
    other.push(Note::Item(1)).unwrap();
    lane.push_batch([level(0), Note::Item(2), level(1), Note::Item(3)]).unwrap();
    other.push(Note::Item(4)).unwrap();
    drain(&mut main_lane);
    let stamps: Vec<_> = main_lane.state().seen.iter().filter(|seen| matches!(seen.note, Note::Item(_))).collect();
    let behind = |at: usize| stamps[at].stamp - stamps[at - 1].stamp;
    assert_eq!((behind(1), behind(3)), (2, 2), "a step");
    assert!(
        (2..=8).contains(&((stamps[4].stamp - stamps[1].stamp) / 2)),
        "what is behind a critical one takes some for nothing"
    );
}

/// Events without a size.
mod nothing {
    use super::*;

    pub(super) struct Beat;

    impl Event for Beat {
        type Key = ();
        type Facets = ();

        fn class(&self) -> Class<()> {
            Class::Critical
        }
    }

    #[derive(Clone, Default)]
    pub(super) struct Beats(pub(super) u64);

    impl Reducer for Beats {
        type Event = Beat;
        type Effect = ();

        fn apply(&mut self, _: &Envelope<'_, Beat>, _: &mut Effects<()>) {
            self.0 += 1;
        }
    }
}

#[test]
fn events_without_a_size_are_prepared_too() {
    let builder = Pipeline::builder(nothing::Beats::default());
    let mut lane = builder.lane("a").enrich(|_, _| ()).open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    assert_eq!(lane.push_batch((0..200).map(|_| nothing::Beat)).unwrap(), 200);
    assert!(lane.push(nothing::Beat).is_ok());
    while main_lane.turn(Budget::UNLIMITED).unwrap().events > 0 {}
    assert_eq!((main_lane.state().0, handle.counters().events.pushed), (201, 201));
}

/// A state one copy of which panics as it is dropped.
mod prickly {
    use std::sync::atomic::AtomicBool;

    use super::*;

    pub(super) static IS_ARMED: AtomicBool = AtomicBool::new(false);

    #[derive(Clone, Default)]
    pub(super) struct Seen(pub(super) Vec<u64>);

    impl Drop for Seen {
        fn drop(&mut self) {
            assert!(!IS_ARMED.swap(false, Ordering::Relaxed), "a state with a bad end");
        }
    }

    impl Reducer for Seen {
        type Event = Note;
        type Effect = ();

        fn apply(&mut self, envelope: &Envelope<'_, Note>, _: &mut Effects<()>) {
            if let Note::Item(n) = envelope.event {
                self.0.push(*n);
            }
        }
    }
}

#[test]
fn a_state_that_panics_as_a_lane_lets_go_of_it_costs_no_event() {
    for in_batches in [false, true] {
        let builder = Pipeline::builder(prickly::Seen::default());
        let mut lane = builder.lane("a").classify_by(|note, _| note.class()).open().unwrap();
        let mut other = builder.lane("b").open().unwrap();
        let (mut main_lane, handle) = builder.build().unwrap();
        lane.push(Note::Item(0)).unwrap();
        // The lane has the last of an old one: there are newer ones than are kept to be used again.
        let _kept: Vec<_> = (1..20)
            .map(|n| {
                other.push(Note::Item(n)).unwrap();
                main_lane.turn(Budget::UNLIMITED).unwrap();
                handle.reader().load()
            })
            .collect();
        prickly::IS_ARMED.store(true, Ordering::Relaxed);
        if in_batches {
            assert_eq!(lane.push_batch(items(20..30)).unwrap(), 10);
        } else {
            items(20..30).into_iter().for_each(|note| lane.push(note).unwrap());
        }
        assert!(!prickly::IS_ARMED.load(Ordering::Relaxed), "it was dropped by the lane");
        while main_lane.turn(Budget::UNLIMITED).unwrap().events > 0 {}
        assert_eq!(main_lane.state().0, (0..30).collect::<Vec<_>>());
        assert_eq!(handle.counters().events.enricher_panics, 1);
    }
}

mod at_random {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn note() -> impl Strategy<Value = Note> {
        prop_oneof![
            3 => any::<u64>().prop_map(Note::Item),
            1 => (0..4_u32, any::<u64>()).prop_map(|(key, value)| Note::Level { key, value }),
            1 => (0..4_u32, 0..9_u64).prop_map(|(key, value)| Note::Sum { key, value }),
        ]
    }

    /// All that was applied, and what was counted; `turns` are taken behind so many of the batches.
    fn applied(batches: &[Vec<Note>], turns: usize, prepares: bool, is_clocked: bool) -> (Vec<Note>, [u64; 4]) {
        let builder = Pipeline::builder(Ledger::default());
        let mut lane = builder.lane("a").capacity(2000);
        if prepares {
            lane = lane.enrich(|_, _| ());
        }
        if !is_clocked {
            lane = lane.unclocked();
        }
        let mut lane = lane.open().unwrap();
        let (mut main_lane, handle) = builder.build().unwrap();
        for (at, batch) in batches.iter().enumerate() {
            assert_eq!(lane.push_batch(batch.iter().cloned()).unwrap(), batch.len());
            if at < turns {
                drain(&mut main_lane);
            }
        }
        drain(&mut main_lane);
        let events = settled(&handle).events;
        (main_lane.state().notes(), [events.pushed, events.applied, events.replaced, events.merged])
    }

    proptest! {
        #[test]
        fn a_lane_that_prepares_pushes_as_one_that_does_not(
            batches in vec(vec(note(), 0..180), 0..8), turns in 0..8_usize, is_clocked in any::<bool>(),
        ) {
            prop_assert_eq!(
                applied(&batches, turns, true, is_clocked), applied(&batches, turns, false, is_clocked)
            );
        }
    }
}

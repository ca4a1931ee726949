//! C15: what is acknowledged as durable is there afterwards, and the state is the same.

use std::collections::BTreeMap;
use std::time::Instant;

use mainlane::journal::{CheckpointPolicy, Durability, Journal, JournalError, Replaying, Retention, StoreError, Sync};
use mainlane::{
    Authority, Budget, Builder, Class, Effects, Envelope, Event, Left, MainLane, Operation, OperationId, Origin, Phase,
    Reducer, RewindError, RewindKind, Tier, Timeline, TurnError,
};
use serde::{Deserialize, Serialize};

use crate::domain::PATIENCE;
use crate::memory::{Disk, Memory};

pub(crate) const ANNA: Origin = Origin::built_in("user", 1);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Entry {
    Add(u64),
    Level {
        key: u32,
        value: u64,
    },
    Step(u64, Operation),
    Thorn,
    Ask(u64),
    /// Reaches the wrong owner.
    Stray,
}

/// Depends on the order of everything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Book {
    pub(crate) chain: u64,
    pub(crate) count: u64,
    pub(crate) levels: BTreeMap<u32, u64>,
}

impl Event for Entry {
    type Key = u32;
    type Facets = ();

    fn class(&self) -> Class<u32> {
        match self {
            Entry::Level { key, .. } => Class::lossy(*key, Tier::NORMAL),
            Entry::Add(_) | Entry::Step(..) | Entry::Thorn | Entry::Ask(_) | Entry::Stray => Class::Critical,
        }
    }

    fn operation(&self) -> Option<Operation> {
        if let Entry::Step(_, operation) = self { Some(*operation) } else { None }
    }
}

impl Book {
    fn link(&mut self, value: u64) {
        self.chain = self.chain.rotate_left(7).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ value;
        self.count += 1;
    }
}

impl Reducer for Book {
    type Event = Entry;
    type Effect = u64;

    fn apply(&mut self, envelope: &Envelope<'_, Entry>, effects: &mut Effects<u64>) {
        match envelope.event {
            Entry::Add(value) | Entry::Step(value, _) => self.link(*value),
            Entry::Level { key, value } => {
                self.levels.insert(*key, *value);
                self.link(*value);
            }
            Entry::Ask(effect) => {
                self.link(*effect);
                effects.push(*effect);
            }
            Entry::Thorn => {
                self.link(1);
                panic!("a thorn");
            }
            Entry::Stray => return effects.misrouted(Authority::STATE),
        }
        self.link(envelope.stamp.as_u64() ^ envelope.sequence.as_u64());
    }
}

pub(crate) fn step(id: u64, sequence: u64, phase: Phase) -> Entry {
    Entry::Step(id * 100 + sequence, Operation { id: OperationId(id), sequence, phase })
}

pub(crate) fn whole(id: u64) -> [Entry; 2] {
    [step(id, 0, Phase::Started), step(id, 1, Phase::Terminal)]
}

pub(crate) fn journal(disk: &Disk) -> Journal {
    Journal::store(Memory::open(disk)).schema("book", 1)
}

pub(crate) fn begin(disk: &Disk, durability: Durability) -> Builder<Book> {
    let (builder, _) = journal(disk).durability(durability).recover(Book::default()).unwrap();
    builder
}

/// Takes turns until one stops it, as it must: nothing else keeps it but its journal, which may be through before the turn
/// that asked it has ended.
pub(crate) fn stop<S: Reducer>(main_lane: &mut MainLane<S>) -> TurnError<S::Event> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match main_lane.turn(Budget::UNLIMITED) {
            Ok(turn) => assert!(matches!(turn.left, Left::Journal | Left::More), "{turn:?}"),
            Err(error) => return error,
        }
        main_lane.wait_for_input(deadline);
        assert!(Instant::now() < deadline);
    }
}

/// Turns until there is nothing left to apply, and the journal is through.
pub(crate) fn settle<S: Reducer>(main_lane: &mut MainLane<S>) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let turn = main_lane.turn(Budget::UNLIMITED).unwrap();
        match turn.left {
            Left::Nothing | Left::Ended if turn.events == 0 => return,
            Left::Journal => main_lane.wait_for_input(deadline),
            _ => {}
        }
        assert!(Instant::now() < deadline);
    }
}

pub(crate) const ALL: [Durability; 3] = [Durability::Async, Durability::BeforePublish, Durability::BeforeApply];

#[test]
fn a_state_is_recovered_as_it_was() {
    for durability in ALL {
        let disk = Disk::default();
        let journal = |disk: &Disk| journal(disk).retention(Retention::All);
        let mut states = Vec::new();
        for run in 0..4 {
            let (builder, recovery) = journal(&disk).durability(durability).recover(Book::default()).unwrap();
            assert_eq!((recovery.created, recovery.turn), (run == 0, run * 10));
            if run > 0 {
                assert_eq!(Some(builder.state()), states.last(), "{durability:?}");
            }
            let mut lane = builder.lane("a").open().unwrap();
            let (mut main_lane, handle) = builder.build().unwrap();
            assert_eq!(handle.reader().load().turn(), run * 10);
            for turn in 0..10 {
                lane.push_batch((0..turn).map(Entry::Add)).unwrap();
                lane.push(Entry::Level { key: turn as u32 % 3, value: turn }).unwrap();
                settle(&mut main_lane);
            }
            let state = main_lane.state().clone();
            let report = main_lane.shutdown(PATIENCE);
            assert!(report.complete, "{report:?}");
            assert_eq!(
                report.journal.map(|end| (end.durable, end.applied, end.failure)),
                Some(((run + 1) * 10, (run + 1) * 10, None))
            );
            states.push(state);
        }
        let (replayed, report) = journal(&disk)
            .replay::<Book>(Replaying { verify: true, ..Replaying::default() }, None, &mut |_| true)
            .unwrap();
        assert_eq!((Some(&replayed), report.turn, report.different.len()), (states.last(), 40, 0));
        assert!(report.compared.len() > 1, "{report:?}");
        let (then, _) = journal(&disk)
            .replay::<Book>(Replaying { until: Some(20), ..Replaying::default() }, None, &mut |_| true)
            .unwrap();
        assert_eq!(then, states[1]);
    }
}

#[test]
fn nothing_is_seen_before_it_is_durable() {
    for durability in [Durability::BeforePublish, Durability::BeforeApply] {
        let disk = Disk::default();
        let builder = begin(&disk, durability);
        let (effects, ran) = crossbeam_channel::unbounded();
        let builder = builder.reconciler(move |effect, _: &Book| effects.send(effect).unwrap());
        let mut lane = builder.lane("a").open().unwrap();
        let (mut main_lane, handle) = builder.build().unwrap();
        let (reader, watch) = (handle.reader(), handle.journal().unwrap());
        disk.hold();
        lane.push(Entry::Ask(7)).unwrap();
        for _ in 0..100 {
            main_lane.turn(Budget::UNLIMITED).unwrap();
        }
        assert_eq!(main_lane.state().count > 0, durability == Durability::BeforePublish);
        assert_eq!((reader.load().count, reader.load().turn(), ran.len(), watch.durable()), (0, 0, 0, 0));
        lane.push(Entry::Add(1)).unwrap();
        main_lane.turn(Budget::UNLIMITED).unwrap();
        disk.release();
        watch.wait(1, Instant::now() + PATIENCE).unwrap();
        settle(&mut main_lane);
        watch.wait(2, Instant::now() + PATIENCE).unwrap();
        settle(&mut main_lane);
        assert_eq!((reader.load().count, reader.load().turn(), ran.try_recv()), (4, 2, Ok(7)));
        assert!(main_lane.shutdown(PATIENCE).complete);
    }
}

#[test]
fn a_journal_that_fails_acknowledges_nothing_more_and_says_so() {
    for durability in ALL {
        let disk = Disk::default();
        let builder = begin(&disk, durability);
        let mut lane = builder.lane("a").open().unwrap();
        let (mut main_lane, handle) = builder.build().unwrap();
        lane.push(Entry::Add(1)).unwrap();
        settle(&mut main_lane);
        let watch = handle.journal().unwrap();
        watch.wait(1, Instant::now() + PATIENCE).unwrap();
        disk.fail(StoreError::Failed { doing: "writing", reason: "the disk is gone".into() });
        lane.push(Entry::Add(2)).unwrap();
        main_lane.turn(Budget::UNLIMITED).unwrap();
        let refused = watch.wait(2, Instant::now() + PATIENCE).unwrap_err();
        assert!(refused.to_string().contains("the disk is gone"), "{durability:?}: {refused}");
        disk.mend();
        let next = main_lane.turn(Budget::UNLIMITED);
        match durability {
            Durability::Async => {
                lane.push(Entry::Add(3)).unwrap();
                settle(&mut main_lane);
                assert_eq!(handle.reader().load().count, 6, "it goes on, and has said that it is not durable");
            }
            Durability::BeforePublish | Durability::BeforeApply => {
                let error = next.expect_err("nothing can be shown any more");
                assert!(error.to_string().contains("the disk is gone"), "{error}");
                assert_eq!(handle.reader().load().count, 2);
            }
        }
        assert_eq!(handle.counters().faults.journal_failures, 1);
        assert_eq!(watch.durable(), 1, "also when the disk is back");
        let report = main_lane.shutdown(PATIENCE);
        assert!(!report.complete);
        assert_eq!(report.journal.map(|end| end.durable), Some(1));
        drop(main_lane);
        let (builder, recovery) = journal(&disk).recover(Book::default()).unwrap();
        assert_eq!((recovery.turn, builder.state().count), (1, 2));
    }
}

#[test]
fn a_full_disk_is_waited_for() {
    for durability in ALL {
        let disk = Disk::default();
        let (builder, _) = journal(&disk).durability(durability).lag(2, 1 << 20).recover(Book::default()).unwrap();
        let mut lane = builder.lane("a").capacity(4).open().unwrap();
        let (mut main_lane, handle) = builder.build().unwrap();
        disk.fail(StoreError::Full { reason: "no space".into() });
        let mut pushed = 0;
        let deadline = Instant::now() + PATIENCE;
        // Until everything stands: lag, ring, and the producer.
        while lane.push(Entry::Add(pushed)).is_ok() && pushed < 1000 {
            pushed += 1;
            while main_lane.turn(Budget::events(1)).unwrap().left == Left::More {}
            assert!(Instant::now() < deadline);
        }
        assert!(pushed < 100, "the lane filled up");
        crate::domain::until("the journal says that it is full", || handle.counters().faults.journal_full == 1);
        assert!(handle.counters().journal_waits > 0);
        disk.mend();
        settle(&mut main_lane);
        let report = main_lane.shutdown(PATIENCE);
        assert!(report.complete, "{report:?}");
        let (builder, _) = journal(&disk).recover(Book::default()).unwrap();
        assert_eq!(builder.state().count, 2 * pushed);
    }
}

#[test]
fn the_past_that_was_changed_is_recovered_as_it_was_changed() {
    for durability in ALL {
        let disk = Disk::default();
        let open = || journal(&disk).durability(durability).timeline(Timeline::window(50).checkpoint_every(7));
        let (builder, _) = open().recover(Book::default()).unwrap();
        let mut lane = builder.lane("a").origin(ANNA).open().unwrap();
        let (mut main_lane, handle) = builder.build().unwrap();
        for id in 0..6 {
            lane.push_batch(whole(id)).unwrap();
            lane.push_batch([Entry::Thorn, Entry::Add(id)]).unwrap();
            settle(&mut main_lane);
            if id % 2 == 1 {
                let asked = handle.undo(ANNA);
                settle(&mut main_lane);
                assert_eq!(asked.poll().unwrap().unwrap().unwrap().operation, OperationId(id));
            }
        }
        let asked = handle.redo_operation(OperationId(3));
        settle(&mut main_lane);
        asked.poll().unwrap().unwrap().unwrap();
        let state = main_lane.state().clone();
        assert_eq!(handle.take_quarantined().len(), 6);
        assert!(main_lane.shutdown(PATIENCE).complete);
        drop(main_lane);

        let (builder, recovery) = open().recover(Book::default()).unwrap();
        assert_eq!((builder.state(), recovery.turn, recovery.quarantined.len()), (&state, 10, 0), "{durability:?}");
        let (mut main_lane, handle) = builder.build().unwrap();
        assert_eq!(handle.operation(), OperationId(6), "numbers go on where they were");
        let asked = handle.redo_operation(OperationId(5));
        settle(&mut main_lane);
        asked.poll().unwrap().unwrap().expect("undone before, and redone after");
        let asked = handle.undo_operation(OperationId(0));
        settle(&mut main_lane);
        asked.poll().unwrap().unwrap().expect("the window is as it was");
        assert!(main_lane.shutdown(PATIENCE).complete);
        drop(main_lane);
        let verify = Replaying { verify: true, ..Replaying::default() };
        let (_, report) = open().replay::<Book>(verify, None, &mut |_| true).unwrap();
        assert_eq!((report.different.len(), report.turn, report.quarantined.len()), (0, 12, 6));
    }
}

#[test]
fn a_lag_without_end_has_one() {
    let disk = Disk::default();
    for lag in [(0, 0), (usize::MAX, u64::MAX)] {
        let (builder, _) = journal(&disk).lag(lag.0, lag.1).recover(Book::default()).unwrap();
        let mut lane = builder.lane("a").open().unwrap();
        let (mut main_lane, _) = builder.build().unwrap();
        lane.push(Entry::Add(1)).unwrap();
        settle(&mut main_lane);
        assert!(main_lane.shutdown(PATIENCE).complete);
    }
}

#[test]
fn damage_is_an_error_with_its_turn() {
    let disk = Disk::default();
    let builder = begin(&disk, Durability::Async);
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, _) = builder.build().unwrap();
    for turn in 1..=9 {
        lane.push(Entry::Add(turn)).unwrap();
        settle(&mut main_lane);
    }
    main_lane.shutdown(PATIENCE);
    drop(main_lane);
    // The newest checkpoint is damaged: the one before it is taken, and that is said.
    disk.edit(|rows| rows.checkpoints.last_mut().unwrap().payload[0] ^= 1);
    let (builder, recovery) = journal(&disk).recover(Book::default()).unwrap();
    assert_eq!((recovery.turn, recovery.checkpoint, recovery.damaged_checkpoints.len()), (9, 0, 1));
    drop(builder);
    disk.edit(|rows| rows.records[4].payload[3] ^= 1);
    let error = journal(&disk).recover(Book::default()).unwrap_err();
    assert!(matches!(error, JournalError::Damaged { turn: 5, .. }), "{error}");
    disk.edit(|rows| drop(rows.records.remove(4)));
    let error = journal(&disk).recover(Book::default()).unwrap_err();
    assert_eq!(error, JournalError::Missing { first: 5, last: 5 });
    let error = journal(&disk).schema("other", 1).recover(Book::default()).unwrap_err();
    assert!(matches!(error, JournalError::OtherSchema { .. }), "{error}");
    let error = journal(&disk).schema("book", 0).recover(Book::default()).unwrap_err();
    assert!(matches!(error, JournalError::Version { .. }), "{error}");
}

/// A pseudo-random number after this one.
pub(crate) fn next(number: &mut u64) -> u64 {
    *number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *number >> 33
}

/// `MAINLANE_EVENTS=1000000` makes it a long run.
#[test]
fn replays_of_a_run_with_all_that_may_happen_are_the_same_every_time() {
    let events: u64 = std::env::var("MAINLANE_EVENTS").map_or(20_000, |count| count.parse().expect("a number"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.journal");
    let open = || {
        let policy = CheckpointPolicy { events: events / 40, ..CheckpointPolicy::default() };
        let journal = Journal::file(&file).schema("book", 1).sync(Sync::Os).durability(Durability::Async);
        journal.retention(Retention::All).checkpoints(policy).timeline(Timeline::window(2000).checkpoint_every(100))
    };
    let (mut seed, mut pushed, mut states) = (7, 0, Vec::new());
    let (mut undone, mut redone, mut thorns) = (0, 0, 0);
    // Four runs, each recovered from the one before.
    for run in 1..=4 {
        let (builder, recovery) = open().recover(Book::default()).unwrap();
        assert_eq!(states.last(), (run > 1).then(|| builder.state()));
        assert_eq!(recovery.created, run == 1);
        let mut lanes: Vec<_> =
            (1..=3).map(|id| builder.lane("lane").origin(Origin::built_in("user", id)).open().unwrap()).collect();
        let (mut main_lane, handle) = builder.build().unwrap();
        while pushed < events * run / 4 {
            let which = next(&mut seed) as usize % 3;
            let batch: Vec<Entry> = (0..next(&mut seed) % 40)
                .flat_map(|_| match next(&mut seed) % 400 {
                    0..=99 => whole(handle.operation().0).to_vec(),
                    100..=199 => vec![Entry::Level { key: next(&mut seed) as u32 % 50, value: next(&mut seed) }],
                    200 => vec![Entry::Thorn],
                    _ => vec![Entry::Add(next(&mut seed))],
                })
                .collect();
            thorns += batch.iter().filter(|entry| **entry == Entry::Thorn).count();
            pushed += batch.len() as u64;
            lanes[which].push_batch(batch).unwrap();
            // Not of whoever ends something in the same turn, and has nothing to redo then.
            let user = |user: usize| Origin::built_in("user", user as u64 % 3 + 1);
            let asked = match next(&mut seed) % 8 {
                0 => Some(handle.undo(user(which + 1))),
                1 => Some(handle.redo(user(which + 1))),
                _ => None,
            };
            while main_lane.turn(Budget::UNLIMITED).unwrap().left == Left::Journal {
                main_lane.wait_for_input(Instant::now() + PATIENCE);
            }
            if let Some(asked) = asked {
                match asked.poll().expect("answered in that turn, or the one that waited").expect("it goes on") {
                    Ok(rewind) if rewind.kind == RewindKind::Undo => undone += 1,
                    Ok(_) => redone += 1,
                    Err(error) => assert!(
                        matches!(error, RewindError::Nothing { .. } | RewindError::BeyondWindow { .. }),
                        "{error}"
                    ),
                }
            }
        }
        settle(&mut main_lane);
        states.push(main_lane.state().clone());
        assert_eq!(handle.counters().faults.nondeterministic, 0);
        assert!(main_lane.shutdown(PATIENCE).complete);
    }
    assert!(undone > 5 && redone > 5 && thorns > 5, "{undone} {redone} {thorns}");
    let mut hashes = Vec::new();
    for _ in 0..3 {
        let verify = Replaying { verify: true, ..Replaying::default() };
        let (state, report) = open().replay::<Book>(verify, None, &mut |_| true).unwrap();
        assert_eq!(Some(&state), states.last());
        assert!(report.compared.len() > 4 && report.different.is_empty(), "{report:?}");
        assert_eq!(report.quarantined.len(), thorns);
        hashes.push(report.hash);
    }
    assert!(hashes[0].is_some() && hashes.iter().all(|hash| *hash == hashes[0]));
    println!("{pushed} events, {undone} undone, {redone} redone, {thorns} set aside: {:032x}", hashes[0].unwrap());
}

/// A state whose order is chance, and one that is not written down as a whole.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Careless {
    numbers: std::collections::HashMap<u64, u64>,
    first: Vec<u64>,
    #[serde(skip)]
    forgotten: u64,
}

impl Reducer for Careless {
    type Event = Entry;
    type Effect = ();

    fn apply(&mut self, envelope: &Envelope<'_, Entry>, _: &mut Effects<()>) {
        match envelope.event {
            // Goes through the map.
            Entry::Add(value) => {
                self.numbers = (0..64).map(|number| (number, *value)).collect();
                self.first = self.numbers.keys().copied().collect();
                self.numbers.clear();
            }
            // Depends on what is not encoded.
            Entry::Ask(value) => {
                self.forgotten += value;
                self.first = vec![self.forgotten];
            }
            Entry::Level { value, .. } => self.first = vec![*value],
            Entry::Step(..) | Entry::Thorn | Entry::Stray => {}
        }
    }
}

#[test]
fn a_state_that_does_not_come_back_as_it_was_is_found_out() {
    let suspects = |entries: &[Entry]| {
        let disk = Disk::default();
        let (builder, _) = journal(&disk).check_determinism().recover(Careless::default()).unwrap();
        let mut lane = builder.lane("a").open().unwrap();
        let (mut main_lane, handle) = builder.build().unwrap();
        for entry in entries {
            lane.push(entry.clone()).unwrap();
            main_lane.turn(Budget::UNLIMITED).unwrap();
        }
        handle.counters().faults.nondeterministic
    };
    assert_eq!(suspects(&[Entry::Level { key: 1, value: 1 }, Entry::Level { key: 1, value: 2 }]), 0);
    assert_eq!(suspects(&[Entry::Add(1), Entry::Level { key: 1, value: 2 }]), 1, "the order of a hash map");
    assert_eq!(suspects(&[Entry::Ask(1), Entry::Ask(1)]), 1, "the second depends on what was not encoded");
}

#[test]
fn a_timeline_as_long_as_can_be_is_recovered() {
    let disk = Disk::default();
    let open = || journal(&disk).timeline(Timeline::window(usize::MAX).checkpoint_every(usize::MAX));
    let (builder, _) = open().recover(Book::default()).unwrap();
    let mut lane = builder.lane("a").origin(ANNA).open().unwrap();
    let (mut main_lane, _) = builder.build().unwrap();
    lane.push_batch(whole(1)).unwrap();
    settle(&mut main_lane);
    assert!(main_lane.shutdown(PATIENCE).complete);
    drop(main_lane);
    let (builder, _) = open().recover(Book::default()).unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    let asked = handle.undo(ANNA);
    settle(&mut main_lane);
    asked.poll().unwrap().unwrap().expect("it is within the window");
}

//! Recovery, where little is as it should be: damage, other versions, a host that panics, a life of many short runs.

use std::sync::{Condvar, Mutex};
use std::time::Instant;

use mainlane::journal::store::{Checkpoint, CheckpointHead, Identity, Quarantined, Record, Store, TornTail, Write};
use mainlane::journal::{
    CheckpointPolicy, CodecError, Durability, Journal, JournalError, Replaying, Retention, StoreError, Upgrade, decode,
};
use mainlane::{
    Budget, Class, Effects, Envelope, Event, Left, MainLane, Operation, OperationId, Origin, Phase, Reducer,
    RewindError, Timeline, TimelineError, TurnError,
};
use serde::{Deserialize, Serialize};

use crate::domain::PATIENCE;
use crate::journal::{ALL, ANNA, Book, Entry, journal, settle, step, whole};
use crate::memory::{Disk, Memory};

#[test]
fn checkpoints_that_were_passed_over_are_told_though_a_second_look_goes_further_back() {
    let disk = Disk::default();
    let open = |disk: &Disk| {
        let timeline = Timeline::window(10).checkpoint_every(1);
        journal(disk).timeline(timeline).retention(Retention::All)
    };
    let mut state = Book::default();
    for life in 0..4 {
        let (builder, _) = open(&disk).recover(Book::default()).unwrap();
        let mut lane = builder.lane("a").open().unwrap();
        let (mut main_lane, _) = builder.build().unwrap();
        for turn in 0..10 {
            // Most of them are refused, and no part of the past.
            lane.push(if life == 0 { Entry::Add(turn) } else { Entry::Thorn }).unwrap();
            settle(&mut main_lane);
        }
        state = main_lane.state().clone();
        // With a checkpoint.
        assert!(main_lane.shutdown(PATIENCE).complete);
    }
    let mut damaged = Vec::new();
    disk.edit(|rows| {
        for checkpoint in rows.checkpoints.iter_mut().filter(|checkpoint| checkpoint.turn == 20) {
            checkpoint.payload[0] ^= 1;
            damaged.push(checkpoint.turn);
        }
    });
    assert_eq!(damaged, [20]);
    let (builder, recovery) = open(&disk).recover(Book::default()).unwrap();
    assert_eq!((builder.state(), recovery.turn, recovery.checkpoint), (&state, 40, 0));
    let told: Vec<_> = recovery.damaged_checkpoints.iter().map(|(turn, _)| *turn).collect();
    assert_eq!(told, damaged);
}

#[test]
fn a_name_that_could_not_be_read_again_is_not_acknowledged() {
    let name: &'static str = "n".repeat(1025).leak();
    let disk = Disk::default();
    let (builder, _) = journal(&disk).durability(Durability::BeforeApply).recover(Book::default()).unwrap();
    let mut lane = builder.lane("a").origin(Origin::built_in(name, 1)).open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    lane.push(Entry::Add(1)).unwrap();
    main_lane.turn(Budget::UNLIMITED).unwrap();
    let error = handle.journal().unwrap().wait(1, Instant::now() + PATIENCE).unwrap_err();
    assert!(error.to_string().contains("1024 bytes"), "{error}");
    assert!(matches!(main_lane.turn(Budget::UNLIMITED), Err(TurnError::JournalFailed { .. })));
    main_lane.shutdown(PATIENCE);
    assert_eq!(journal(&disk).recover(Book::default()).unwrap().1.turn, 0);
}

#[test]
fn bytes_since_the_last_checkpoint_are_counted_also_those_of_an_earlier_life() {
    let disk = Disk::default();
    let policy = |bytes| CheckpointPolicy { events: u64::MAX, bytes, time: None };
    let (builder, _) = journal(&disk).checkpoints(policy(u64::MAX)).recover(Book::default()).unwrap();
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    for turn in 1..=30 {
        lane.push_batch((0..3).map(Entry::Add)).unwrap();
        settle(&mut main_lane);
        handle.journal().unwrap().wait(turn, Instant::now() + PATIENCE).unwrap();
    }
    // It is killed.
    let left = disk.copy();
    drop(main_lane);
    let (builder, recovery) = journal(&left).checkpoints(policy(600)).recover(Book::default()).unwrap();
    assert_eq!((recovery.turn, recovery.checkpoint), (30, 0));
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, _handle) = builder.build().unwrap();
    lane.push(Entry::Add(1)).unwrap();
    settle(&mut main_lane);
    let deadline = Instant::now() + PATIENCE;
    let mut newest = 0;
    while newest < 31 {
        assert!(Instant::now() < deadline, "a checkpoint is due with the first turn");
        std::thread::yield_now();
        left.edit(|rows| newest = rows.checkpoints.last().unwrap().turn);
    }
}

#[test]
fn what_is_said_to_be_set_aside_and_is_not_there_is_damage() {
    let disk = Disk::default();
    let open = |disk: &Disk| journal(disk).timeline(Timeline::window(50)).retention(Retention::All);
    let (builder, _) = open(&disk).recover(Book::default()).unwrap();
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    for turn in 1..=6 {
        lane.push(if turn % 2 == 0 { Entry::Thorn } else { Entry::Add(turn) }).unwrap();
        settle(&mut main_lane);
    }
    handle.journal().unwrap().wait(6, Instant::now() + PATIENCE).unwrap();
    let left = disk.copy();
    main_lane.shutdown(PATIENCE);
    let (_, recovery) = open(&left.copy()).recover(Book::default()).unwrap();
    assert_eq!((recovery.turn, recovery.quarantined), (6, vec![]));
    // Another place in its turn, another turn, and one that is not there yet.
    for (turn, index) in [(2, 1), (3, 4), (9, 0)] {
        let disk = left.copy();
        disk.edit(|rows| (rows.quarantined[0].turn, rows.quarantined[0].index) = (turn, index));
        disk.edit(|rows| rows.quarantined.sort_by_key(|event| event.turn));
        let error = open(&disk).recover(Book::default()).err();
        let found = matches!(error, Some(JournalError::Damaged { turn: found, .. }) if found == turn);
        assert!(found, "event {index} of turn {turn}: {error:?}");
    }
}

#[test]
fn what_a_newer_version_has_gone_on_with_is_refused_whatever_there_is_of_the_older() {
    let disk = Disk::default();
    let open = |version| {
        let journal = Journal::store(Memory::open(&disk)).schema("book", version);
        journal.timeline(Timeline::window(50)).retention(Retention::All)
    };
    let (builder, _) = open(1).recover(Book::default()).unwrap();
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, _) = builder.build().unwrap();
    lane.push(Entry::Add(1)).unwrap();
    settle(&mut main_lane);
    drop(main_lane);
    let upgrade = Upgrade::<Book>::new(|_, bytes| decode(bytes), |_, bytes| decode(bytes));
    drop(open(2).recover_with(Book::default(), upgrade).unwrap());
    let error = open(1).recover(Book::default()).err();
    let expected = CodecError::Newer { found: 2, host: 1 };
    assert_eq!(error, Some(JournalError::Version { turn: 1, error: expected }));
}

#[test]
fn a_verification_says_which_checkpoints_it_did_not_compare() {
    let disk = Disk::default();
    let open = |version| {
        let policy = CheckpointPolicy { events: 1, ..CheckpointPolicy::default() };
        let journal = Journal::store(Memory::open(&disk)).schema("book", version);
        journal.checkpoints(policy).retention(Retention::All)
    };
    let upgrade = || Upgrade::<Book>::new(|_, bytes| decode(bytes), |_, bytes| decode(bytes));
    for version in 1..=2 {
        let (builder, _) = open(version).recover_with(Book::default(), upgrade()).unwrap();
        let mut lane = builder.lane("a").open().unwrap();
        let (mut main_lane, _) = builder.build().unwrap();
        for _ in 0..2 {
            lane.push(Entry::Add(1)).unwrap();
            settle(&mut main_lane);
        }
        assert!(main_lane.shutdown(PATIENCE).complete);
    }
    let heads = Memory::open(&disk).checkpoints().unwrap();
    let verify = Replaying { verify: true, ..Replaying::default() };
    let (_, report) = open(2).replay(verify, Some(upgrade()), &mut |_| true).unwrap();
    let turns = |version| heads.iter().filter(move |head| head.schema == version).map(|head| head.turn);
    // In the newer version from the turn on in which it took over.
    assert!(turns(1).eq([0, 1]) && turns(2).next_back() == Some(4), "{heads:?}");
    assert_eq!(report.skipped, turns(1).map(|turn| (turn, 1)).collect::<Vec<_>>());
    assert_eq!(report.compared, turns(2).collect::<Vec<_>>());
    assert!(report.different.is_empty(), "{report:?}");
    // Nothing was to be compared.
    let (_, report) = open(2).replay(Replaying::default(), Some(upgrade()), &mut |_| true).unwrap();
    assert_eq!((report.skipped, report.compared), (vec![], vec![]));
}

#[test]
fn no_number_of_an_operation_is_given_twice_though_its_operation_was_to_be_forgotten() {
    // As many as can be open at once, and more. The newest begins first, or it ends first with a gap between any two.
    const MANY: u64 = (1 << 16) + 10;
    for phase in [Phase::Started, Phase::Terminal] {
        let disk = Disk::default();
        let (builder, _) = journal(&disk).recover(Book::default()).unwrap();
        let mut lane = builder.lane("a").capacity(1 << 17).open().unwrap();
        let (mut main_lane, handle) = builder.build().unwrap();
        let given: Vec<_> = (0..2 * MANY).map(|_| handle.operation().0).collect();
        lane.push_batch(given.iter().rev().step_by(2).map(|id| step(*id, 0, phase))).unwrap();
        settle(&mut main_lane);
        assert_eq!(handle.counters().faults.operations_forgotten, 10, "{phase:?}");
        assert!(main_lane.shutdown(PATIENCE).complete);
        let (builder, _) = journal(&disk).recover(Book::default()).unwrap();
        let (_main_lane, handle) = builder.build().unwrap();
        assert_eq!(handle.operation().0, 2 * MANY, "{phase:?}");
    }
}

/// Cannot give what it does not have.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Purse {
    coins: u32,
    changes: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Coin {
    Put(Operation),
    Give,
}

impl Event for Coin {
    type Key = ();
    type Facets = ();

    fn class(&self) -> Class<()> {
        Class::Critical
    }

    fn operation(&self) -> Option<Operation> {
        if let Coin::Put(operation) = self { Some(*operation) } else { None }
    }
}

impl Reducer for Purse {
    type Event = Coin;
    type Effect = ();

    fn apply(&mut self, envelope: &Envelope<'_, Coin>, _: &mut Effects<()>) {
        self.changes += 1;
        match envelope.event {
            Coin::Put(_) => self.coins += 1,
            Coin::Give => self.coins = self.coins.checked_sub(1).expect("an empty purse"),
        }
    }
}

fn apply_all<S: Reducer>(main_lane: &mut MainLane<S>) {
    let deadline = Instant::now() + PATIENCE;
    while main_lane.turn(Budget::UNLIMITED).unwrap().left != Left::Nothing {
        main_lane.wait_for_input(deadline);
        assert!(Instant::now() < deadline);
    }
}

#[test]
fn a_change_that_came_to_nothing_comes_to_nothing_again_and_that_is_told() {
    let disk = Disk::default();
    let open = |disk: &Disk| {
        let journal = Journal::store(Memory::open(disk)).schema("purse", 1).durability(Durability::BeforeApply);
        journal.timeline(Timeline::window(50)).retention(Retention::All).recover(Purse::default()).unwrap()
    };
    let (builder, _) = open(&disk);
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    let part = |sequence, phase| Coin::Put(Operation { id: OperationId(7), sequence, phase });
    lane.push_batch([part(0, Phase::Started), part(1, Phase::Terminal), Coin::Give]).unwrap();
    apply_all(&mut main_lane);
    let undo = handle.undo_operation(OperationId(7));
    apply_all(&mut main_lane);
    let outcome = undo.poll().expect("it is answered").unwrap();
    assert!(matches!(outcome, Err(RewindError::Panicked { .. })), "{outcome:?}");
    lane.push(Coin::Give).unwrap();
    apply_all(&mut main_lane);
    let (state, killed) = (main_lane.state().clone(), disk.copy());
    assert_eq!(state, Purse { coins: 0, changes: 4 });
    main_lane.shutdown(PATIENCE);
    let mut marks = Vec::new();
    disk.edit(|rows| marks = rows.quarantined.clone());
    let expected = Quarantined { turn: 2, index: 0, kind: "undo".into(), message: "an empty purse".into() };
    assert_eq!(marks, std::slice::from_ref(&expected));
    // It was killed before that was written down, and finds out again: once.
    killed.edit(|rows| rows.quarantined.clear());
    for told in [vec![expected], vec![]] {
        let (builder, recovery) = open(&killed);
        assert_eq!((builder.state(), recovery.turn, recovery.quarantined), (&state, 3, told));
    }
}

/// A store that panics whatever it is asked.
struct Broken;

impl Store for Broken {
    fn identity(&mut self) -> Result<Option<Identity>, StoreError> {
        panic!("a broken store")
    }

    fn begin(&mut self, _: &Identity) -> Result<(), StoreError> {
        unreachable!()
    }

    fn torn_tail(&self) -> Option<TornTail> {
        None
    }

    fn append(&mut self, _: &Write) -> Result<(), StoreError> {
        unreachable!()
    }

    fn turns(&mut self) -> Result<Option<(u64, u64)>, StoreError> {
        unreachable!()
    }

    fn turn_before(&mut self, _: u64) -> Result<u64, StoreError> {
        unreachable!()
    }

    fn records(&mut self, _: u64, _: &mut dyn FnMut(Record) -> bool) -> Result<(), StoreError> {
        unreachable!()
    }

    fn checkpoints(&mut self) -> Result<Vec<CheckpointHead>, StoreError> {
        unreachable!()
    }

    fn checkpoint(&mut self, _: u64) -> Result<Option<Checkpoint>, StoreError> {
        unreachable!()
    }

    fn quarantined(&mut self, _: u64) -> Result<Vec<Quarantined>, StoreError> {
        unreachable!()
    }

    fn changes(&mut self, _: u64) -> Result<Vec<(u64, u64)>, StoreError> {
        unreachable!()
    }
}

#[test]
fn a_store_that_panics_is_an_error() {
    let open = || Journal::store(Broken).schema("book", 1);
    let recovered = open().recover(Book::default()).err();
    let replayed = open().replay::<Book>(mainlane::journal::Replaying::default(), None, &mut |_| true).err();
    for error in [recovered, replayed] {
        assert_eq!(error, Some(JournalError::Panicked { message: "a broken store".into() }));
    }
}

/// Its encoding waits until it may go on.
#[derive(Clone, Debug, Default, Deserialize)]
struct Slow(u64);

static MAY_ENCODE: (Mutex<bool>, Condvar) = (Mutex::new(true), Condvar::new());

impl Serialize for Slow {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        drop(MAY_ENCODE.1.wait_while(MAY_ENCODE.0.lock().unwrap(), |may| !*may).unwrap());
        serializer.serialize_newtype_struct("Slow", &self.0)
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct More;

impl Event for More {
    type Key = ();
    type Facets = ();

    fn class(&self) -> Class<()> {
        Class::Critical
    }
}

impl Reducer for Slow {
    type Event = More;
    type Effect = ();

    fn apply(&mut self, _: &Envelope<'_, More>, _: &mut Effects<()>) {
        self.0 += 1;
    }
}

#[test]
fn the_last_checkpoint_is_of_the_last_turn_also_when_another_is_under_way() {
    let disk = Disk::default();
    let open = || {
        let policy = CheckpointPolicy { events: 1, bytes: u64::MAX, time: None };
        Journal::store(Memory::open(&disk)).schema("slow", 1).checkpoints(policy)
    };
    let (builder, _) = open().recover(Slow::default()).unwrap();
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    *MAY_ENCODE.0.lock().unwrap() = false;
    for _ in 0..2 {
        lane.push(More).unwrap();
        apply_all(&mut main_lane);
    }
    let ending = std::thread::spawn(move || main_lane.shutdown(PATIENCE));
    while !handle.is_ended() {
        std::thread::yield_now();
    }
    *MAY_ENCODE.0.lock().unwrap() = true;
    MAY_ENCODE.1.notify_all();
    let report = ending.join().unwrap();
    assert!(report.complete, "{report:?}");
    assert_eq!(report.journal.map(|end| (end.durable, end.checkpoint)), Some((2, 2)));
    let (_, recovery) = open().recover(Slow::default()).unwrap();
    assert_eq!((recovery.turn, recovery.checkpoint), (2, 2));
}

#[test]
fn a_last_checkpoint_that_fails_is_told_in_the_report() {
    let disk = Disk::default();
    let (builder, _) = journal(&disk).recover(Book::default()).unwrap();
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    lane.push_batch(whole(1)).unwrap();
    settle(&mut main_lane);
    handle.journal().unwrap().wait(1, Instant::now() + PATIENCE).unwrap();
    settle(&mut main_lane);
    disk.fail(StoreError::Failed { doing: "writing", reason: "gone".into() });
    let report = main_lane.shutdown(PATIENCE);
    // All of it is durable; the next start applies it again.
    assert!(report.complete, "{report:?}");
    let end = report.journal.unwrap();
    assert_eq!((end.durable, end.applied, end.checkpoint), (1, 1, 0));
    assert!(end.failure.is_some());
}

#[test]
fn a_replay_ends_with_the_turn_that_it_is_asked_for_and_a_turn_that_is_not_there_is_an_error() {
    let disk = Disk::default();
    let open = |disk: &Disk| journal(disk).timeline(Timeline::window(4).checkpoint_every(1)).retention(Retention::All);
    let mut states = vec![Book::default()];
    for life in 0..3 {
        let (builder, _) = open(&disk).recover(Book::default()).unwrap();
        let mut lane = builder.lane("a").open().unwrap();
        let (mut main_lane, _) = builder.build().unwrap();
        for entry in 0..5 {
            lane.push_batch((0..2).map(|part| Entry::Add(100 * life + 10 * entry + part))).unwrap();
            settle(&mut main_lane);
            states.push(main_lane.state().clone());
        }
        // With a checkpoint, from which shorter replays begin.
        assert!(main_lane.shutdown(PATIENCE).complete);
    }
    let replay = |until, verify| {
        let what = Replaying { until, verify };
        journal(&disk).replay::<Book>(what, None, &mut |_| true)
    };
    for (turn, expected) in states.iter().enumerate() {
        for verify in [false, true] {
            let (state, report) = replay(Some(turn as u64), verify).unwrap();
            assert_eq!(&state, expected, "after turn {turn}");
            assert_eq!((report.turn, report.until), (turn as u64, turn as u64));
            assert_eq!(report.different, [0; 0]);
            if verify {
                let checkpoints: Vec<_> = [0, 5, 10, 15].into_iter().filter(|at| *at <= turn as u64).collect();
                assert_eq!((report.checkpoint, report.compared), (0, checkpoints));
            }
        }
    }
    assert_eq!(replay(None, true).unwrap().1.turn, 15);
    let beyond = replay(Some(16), false).map(|(_, report)| report.turn);
    assert_eq!(beyond, Err(JournalError::NoSuchTurn { turn: 16, oldest: 0, newest: 15 }));
    disk.edit(|rows| rows.checkpoints.retain(|checkpoint| checkpoint.turn >= 5));
    let before = replay(Some(4), false).map(|(_, report)| report.turn);
    assert_eq!(before, Err(JournalError::NoSuchTurn { turn: 4, oldest: 5, newest: 15 }));
    assert_eq!(replay(Some(5), false).unwrap().0, states[5]);
}

/// Begins nothing that is worth more than it has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Wary(Vec<u64>);

impl Reducer for Wary {
    type Event = Entry;
    type Effect = ();

    fn apply(&mut self, envelope: &Envelope<'_, Entry>, _: &mut Effects<()>) {
        match envelope.event {
            Entry::Step(_, Operation { phase: Phase::Started, .. }) => panic!("not now"),
            Entry::Step(value, _) | Entry::Add(value) => self.0.push(*value),
            Entry::Level { .. } | Entry::Ask(_) | Entry::Thorn | Entry::Stray => {}
        }
    }
}

#[test]
fn an_undo_of_what_began_in_vain_is_undone_again_from_a_checkpoint_behind_that_beginning() {
    for durability in ALL {
        let disk = Disk::default();
        let policy = CheckpointPolicy { events: 1, ..CheckpointPolicy::default() };
        let open = |disk: &Disk, timeline| {
            let journal = journal(disk).durability(durability).checkpoints(policy).retention(Retention::All);
            if timeline { journal.timeline(Timeline::window(50)) } else { journal }
        };
        let (builder, _) = open(&disk, true).recover(Wary::default()).unwrap();
        let mut lane = builder.lane("a").origin(ANNA).open().unwrap();
        let (mut main_lane, handle) = builder.build().unwrap();
        let [start, end] = whole(1);
        lane.push(start).unwrap();
        settle(&mut main_lane);
        assert!(main_lane.shutdown(PATIENCE).complete, "with a checkpoint");
        drop((lane, handle));
        let (builder, _) = open(&disk, true).recover(Wary::default()).unwrap();
        let mut lane = builder.lane("a").origin(ANNA).open().unwrap();
        let (mut main_lane, handle) = builder.build().unwrap();
        lane.push_batch([Entry::Add(7), end]).unwrap();
        settle(&mut main_lane);
        for asked in [handle.undo(ANNA), handle.redo(ANNA), handle.undo(ANNA)] {
            settle(&mut main_lane);
            asked.poll().expect("it is answered").unwrap().expect("it can be done");
        }
        handle.journal().unwrap().wait(5, Instant::now() + PATIENCE).unwrap();
        let left = disk.copy();
        assert_eq!(main_lane.state(), &Wary(vec![7]));
        drop(main_lane);
        // The shortest way, and one behind which nobody knows that it began.
        left.edit(|rows| rows.checkpoints.retain(|checkpoint| checkpoint.turn == 1));
        left.edit(|rows| rows.records.retain(|record| record.turn > 1));
        left.edit(|rows| rows.quarantined.retain(|event| event.turn > 1));
        for timeline in [false, true] {
            let (builder, recovery) = open(&left.copy(), timeline).recover(Wary::default()).unwrap();
            assert_eq!((builder.state(), recovery.turn, recovery.checkpoint), (&Wary(vec![7]), 5, 1));
        }
        let (builder, _) = open(&left, true).recover(Wary::default()).unwrap();
        let (mut main_lane, handle) = builder.build().unwrap();
        let asked = handle.redo(ANNA);
        settle(&mut main_lane);
        asked.poll().expect("it is answered").unwrap().expect("it was redone before");
        assert_eq!(main_lane.state(), &Wary(vec![7, 101]));
    }
}

#[test]
fn an_operation_of_which_there_was_something_before_the_timeline_is_not_undone_in_part() {
    for ended in [false, true] {
        for anew in [false, true] {
            let disk = Disk::default();
            let policy = CheckpointPolicy { events: 1, ..CheckpointPolicy::default() };
            let open = |disk: &Disk, window| {
                let journal = journal(disk).checkpoints(policy).retention(Retention::All);
                journal.timeline(Timeline::window(window).checkpoint_every(1)).recover(Book::default()).unwrap()
            };
            let [start, end] = whole(1);
            let first = if ended { vec![start.clone(), end.clone()] } else { vec![start.clone()] };
            for events in [first, (0..5).map(Entry::Add).collect()] {
                let (builder, _) = open(&disk, 1);
                let mut lane = builder.lane("a").origin(ANNA).open().unwrap();
                let (mut main_lane, _) = builder.build().unwrap();
                lane.push_batch(events).unwrap();
                settle(&mut main_lane);
                assert!(main_lane.shutdown(PATIENCE).complete, "with a checkpoint");
            }
            let (builder, recovery) = open(&disk, 1);
            assert_eq!(recovery.checkpoint, 1);
            let builder = if anew { builder.timeline(Timeline::window(100)) } else { builder };
            let mut lane = builder.lane("a").origin(ANNA).open().unwrap();
            let (mut main_lane, handle) = builder.build().unwrap();
            lane.push_batch(whole(3)).unwrap();
            settle(&mut main_lane);
            lane.push_batch([start, end]).unwrap();
            settle(&mut main_lane);
            let asked = handle.undo_operation(OperationId(1));
            settle(&mut main_lane);
            let answer = asked.poll().expect("it is answered").unwrap();
            assert!(matches!(answer, Err(RewindError::BeyondWindow { .. })), "{ended}, {anew}: {answer:?}");
            if ended && anew {
                // Its second end is not when it ended.
                let asked = handle.undo(ANNA);
                settle(&mut main_lane);
                let answer = asked.poll().expect("it is answered").unwrap();
                assert_eq!(answer.map(|rewind| rewind.operation), Ok(OperationId(3)));
            }
            assert!(main_lane.shutdown(PATIENCE).complete);
            drop(handle);
            // Another window shows all of it, and comes to the same state.
            let (builder, recovery) = open(&disk, 100);
            assert_eq!((recovery.checkpoint, builder.state()), (0, main_lane.state()));
        }
    }
}

#[test]
fn a_past_that_was_recovered_is_left_behind_again() {
    // Also behind a checkpoint of a turn that changed an older one.
    for turns in [1, 2] {
        let disk = Disk::default();
        let open = |disk: &Disk| {
            let journal = journal(disk).timeline(Timeline::window(4).checkpoint_every(2));
            journal.recover(Book::default()).unwrap()
        };
        let (builder, _) = open(&disk);
        let mut lane = builder.lane("a").origin(ANNA).open().unwrap();
        let (mut main_lane, handle) = builder.build().unwrap();
        lane.push_batch(whole(1)).unwrap();
        settle(&mut main_lane);
        if turns == 2 {
            let asked = handle.undo(ANNA);
            settle(&mut main_lane);
            asked.poll().expect("it is answered").unwrap().expect("it can be done");
        }
        assert!(main_lane.shutdown(PATIENCE).complete, "with a checkpoint");
        drop((lane, handle));
        disk.edit(|rows| rows.checkpoints.retain(|checkpoint| checkpoint.turn == turns));
        let (builder, recovery) = open(&disk);
        assert_eq!((recovery.checkpoint, recovery.turn), (turns, turns));
        let mut lane = builder.lane("a").open().unwrap();
        let (mut main_lane, handle) = builder.build().unwrap();
        for value in 0..20 {
            lane.push(Entry::Add(value)).unwrap();
            settle(&mut main_lane);
        }
        handle.journal().unwrap().wait(turns + 20, Instant::now() + PATIENCE).unwrap();
        let [old, new] = [turns + 10, turns + 16].map(|turn| handle.state_at(turn));
        settle(&mut main_lane);
        let looked = old.poll().expect("it is answered").unwrap();
        assert!(matches!(looked, Err(TimelineError::BeyondWindow { .. })), "{looked:?}");
        assert!(new.poll().expect("it is answered").unwrap().is_ok());
    }
}

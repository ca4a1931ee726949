//! C14 and C15: what waits for a journal is told in the end, whatever becomes of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use mainlane::journal::{Behind, CheckpointPolicy, Durability, NotDurable, Replaying, Retention, StoreError};
use mainlane::{
    Budget, Counters, Effects, Envelope, Event, JournalEnd, Left, OperationId, Origin, Phase, Publish, Reducer,
    RewindError, Timeline, TimelineError, TurnError,
};
use serde::{Deserialize, Serialize, Serializer};

use crate::domain::{PATIENCE, until};
use crate::journal::{ALL, ANNA, Book, Entry, begin, journal, next, settle, step, stop, whole};
use crate::memory::Disk;

fn gone() -> StoreError {
    StoreError::Failed { doing: "writing", reason: "the disk is gone".into() }
}

#[test]
fn a_request_is_answered_with_all_that_was_pushed_before_it() {
    for durability in ALL {
        let disk = Disk::default();
        let builder = begin(&disk, durability).publish(Publish::OnRequest);
        let mut lane = builder.lane("a").open().unwrap();
        let (mut main_lane, handle) = builder.build().unwrap();
        let (reader, watch) = (handle.reader(), handle.journal().unwrap());
        disk.hold();
        // The second comes while the first is on its way.
        for value in 1..=2 {
            lane.push(Entry::Add(value)).unwrap();
            reader.request();
            main_lane.turn(Budget::UNLIMITED).unwrap();
        }
        disk.release();
        settle(&mut main_lane);
        watch.wait(2, Instant::now() + PATIENCE).unwrap();
        settle(&mut main_lane);
        assert_eq!((reader.load().count, reader.load().turn()), (4, 2), "{durability:?}");
    }
}

#[test]
fn whoever_asked_is_let_go_when_the_main_lane_stops() {
    // A batch that waits for the journal, with questions behind it; and a change that waits for it.
    for with_batch in [true, false] {
        let disk = Disk::default();
        let open = journal(&disk).durability(Durability::BeforeApply).timeline(Timeline::window(50));
        let (builder, _) = open.recover(Book::default()).unwrap();
        let mut lane = builder.lane("a").origin(ANNA).open().unwrap();
        let (mut main_lane, handle) = builder.build().unwrap();
        lane.push_batch(whole(1)).unwrap();
        settle(&mut main_lane);
        disk.hold();
        if with_batch {
            lane.push(Entry::Add(1)).unwrap();
            main_lane.turn(Budget::UNLIMITED).unwrap();
        }
        let (undo, look) = (handle.undo(ANNA), handle.state_at(1));
        main_lane.turn(Budget::UNLIMITED).unwrap();
        disk.fail(gone());
        disk.release();
        handle.journal().unwrap().wait(2, Instant::now() + PATIENCE).unwrap_err();
        main_lane.turn(Budget::UNLIMITED).unwrap_err();
        assert_eq!(undo.poll().expect("nobody will answer"), None);
        assert_eq!(look.poll().expect("nobody will answer"), None);
        assert!(!main_lane.shutdown(PATIENCE).complete);
    }
}

#[test]
fn whoever_asked_is_let_go_when_a_shutdown_gives_up() {
    let disk = Disk::default();
    let open = journal(&disk).durability(Durability::BeforeApply).timeline(Timeline::window(50));
    let (builder, _) = open.recover(Book::default()).unwrap();
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    disk.hold();
    lane.push(Entry::Add(1)).unwrap();
    main_lane.turn(Budget::UNLIMITED).unwrap();
    let look = handle.state_at(0);
    let report = main_lane.shutdown(Duration::from_millis(20));
    assert!(!report.complete);
    assert_eq!(look.poll().expect("nobody will answer"), None);
    disk.release();
}

#[test]
fn a_shutdown_that_gave_up_before_the_last_publication_is_not_complete() {
    for publish in [Publish::EveryTurn, Publish::OnRequest] {
        let disk = Disk::default();
        let builder = begin(&disk, Durability::BeforePublish).publish(publish);
        let mut lane = builder.lane("a").open().unwrap();
        let (mut main_lane, handle) = builder.build().unwrap();
        disk.hold();
        lane.push(Entry::Add(1)).unwrap();
        let reader = handle.reader();
        let late = std::thread::spawn({
            let (disk, reader) = (disk.clone(), handle.reader());
            move || {
                let deadline = Instant::now() + PATIENCE;
                while !reader.is_ended() && Instant::now() < deadline {
                    std::thread::yield_now();
                }
                disk.release();
            }
        });
        let report = main_lane.shutdown(Duration::ZERO);
        late.join().unwrap();
        assert_eq!(main_lane.state().count, 2);
        assert_eq!(reader.load().count, 0, "{publish:?}: it was not durable when the pipeline ended");
        assert!(!report.complete, "{publish:?}: {report:?}");
    }
}

/// The state is published before its effects are run, and all of it is durable: nothing but them is missing.
#[test]
fn a_shutdown_that_gave_up_the_effects_of_what_is_published_is_not_complete() {
    for effects in [2, 5] {
        let disk = Disk::default();
        let slow = |_: u64, _: &Book| {
            let began = Instant::now();
            until("more than a shutdown's small turn is over", || began.elapsed() > Duration::from_millis(2));
        };
        let builder = begin(&disk, Durability::BeforePublish).reconciler(slow);
        let mut lane = builder.lane("a").open().unwrap();
        let (mut main_lane, handle) = builder.build().unwrap();
        lane.push_batch((0..effects).map(Entry::Ask)).unwrap();
        main_lane.turn(Budget::UNLIMITED).unwrap();
        handle.journal().unwrap().wait(1, Instant::now() + PATIENCE).unwrap();
        // One of them in its turn, and one in the last look.
        let report = main_lane.shutdown(Duration::ZERO);
        assert_eq!(handle.reader().load().turn(), 1);
        assert!(report.journal.as_ref().is_some_and(JournalEnd::is_complete), "{report:?}");
        let Counters { effects: run, effects_unhandled, .. } = report.counters;
        assert_eq!((run, effects_unhandled), (2, effects - 2));
        assert_eq!(report.complete, effects == 2, "{report:?}");
    }
}

#[test]
fn a_pipeline_that_closes_sleeps_until_all_is_durable() {
    for durability in [Durability::Async, Durability::BeforePublish] {
        let disk = Disk::default();
        let builder = begin(&disk, durability);
        let mut lane = builder.lane("a").open().unwrap();
        let (mut main_lane, handle) = builder.build().unwrap();
        disk.hold();
        lane.push(Entry::Add(1)).unwrap();
        main_lane.turn(Budget::UNLIMITED).unwrap();
        handle.close();
        assert_eq!(main_lane.turn(Budget::UNLIMITED).unwrap().left, Left::Journal);
        assert!(!main_lane.arm_input(), "{durability:?}: no turn would do anything before the disk does");
        disk.release();
        handle.journal().unwrap().wait(1, Instant::now() + PATIENCE).unwrap();
        assert!(main_lane.arm_input());
        while main_lane.turn(Budget::UNLIMITED).unwrap().left != Left::Ended {
            assert!(main_lane.arm_input());
        }
        assert_eq!(handle.reader().load().count, 2);
    }
}

#[test]
fn a_main_lane_that_waits_for_its_journal_does_not_sleep_over_the_closing() {
    for durability in ALL {
        let disk = Disk::default();
        let (builder, _) = journal(&disk).durability(durability).lag(1, 1).recover(Book::default()).unwrap();
        let mut lane = builder.lane("a").open().unwrap();
        let (mut main_lane, handle) = builder.build().unwrap();
        disk.hold();
        lane.push(Entry::Add(1)).unwrap();
        assert_eq!(main_lane.turn(Budget::UNLIMITED).unwrap().left, Left::Journal, "{durability:?}");
        assert!(!main_lane.arm_input());
        // Before the host goes to sleep.
        handle.close();
        assert!(main_lane.arm_input(), "{durability:?}: lanes are to be closed");
        assert_eq!(main_lane.turn(Budget::UNLIMITED).unwrap().left, Left::Journal);
        assert!(!main_lane.arm_input(), "{durability:?}: they are");
        assert!(lane.push(Entry::Add(2)).is_err());
        disk.release();
        assert!(main_lane.shutdown(PATIENCE).complete);
    }
}

#[test]
fn effects_that_ran_between_two_parts_of_a_batch_are_no_sign_of_chance() {
    let disk = Disk::default();
    let open = journal(&disk).durability(Durability::BeforeApply).check_determinism();
    let (builder, _) = open.recover(Book::default()).unwrap();
    let (effects, ran) = crossbeam_channel::unbounded();
    let builder = builder.reconciler(move |effect, _: &Book| effects.send(effect).unwrap());
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    lane.push_batch((0..10).map(Entry::Ask)).unwrap();
    main_lane.turn(Budget::UNLIMITED).unwrap();
    handle.journal().unwrap().wait(1, Instant::now() + PATIENCE).unwrap();
    while main_lane.turn(Budget::events(3)).unwrap().left == Left::More {}
    assert_eq!(ran.try_iter().collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    assert_eq!(handle.counters().faults.nondeterministic, 0);
}

#[test]
fn a_journal_that_is_behind_holds_up_no_publication_that_is_due() {
    let disk = Disk::default();
    let open = journal(&disk).durability(Durability::Async).lag(1, 1);
    let (builder, _) = open.recover(Book::default()).unwrap();
    let builder = builder.publish(Publish::AtMostEvery(Duration::from_millis(50)));
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    let reader = handle.reader();
    lane.push(Entry::Add(1)).unwrap();
    main_lane.turn(Budget::UNLIMITED).unwrap();
    assert_eq!(reader.load().count, 2, "the first is due at once");
    handle.journal().unwrap().wait(1, Instant::now() + PATIENCE).unwrap();
    disk.hold();
    lane.push(Entry::Add(2)).unwrap();
    assert_eq!(main_lane.turn(Budget::UNLIMITED).unwrap().left, Left::Journal);
    let deadline = Instant::now() + PATIENCE;
    while reader.load().count < 4 {
        main_lane.wait_for_input(deadline);
        assert_eq!(main_lane.turn(Budget::UNLIMITED).unwrap().left, Left::Journal);
        assert!(Instant::now() < deadline, "the time was up long ago");
    }
    disk.release();
    assert!(main_lane.shutdown(PATIENCE).complete);
}

#[test]
fn a_turn_that_never_comes_is_not_waited_for_when_the_pipeline_has_ended() {
    let disk = Disk::default();
    let (mut main_lane, handle) = begin(&disk, Durability::Async).build().unwrap();
    let watch = handle.journal().unwrap();
    let waiting = std::thread::spawn({
        let watch = watch.clone();
        move || watch.wait(7, Instant::now() + PATIENCE)
    });
    assert!(main_lane.shutdown(PATIENCE).complete);
    assert_eq!(waiting.join().unwrap(), Err(NotDurable::Ended { durable: 0 }));
    assert_eq!(watch.wait(0, Instant::now()), Ok(()));
}

#[test]
fn a_look_back_shows_nothing_that_is_not_durable() {
    let disk = Disk::default();
    let open = journal(&disk).durability(Durability::BeforePublish).timeline(Timeline::window(50));
    let (builder, _) = open.recover(Book::default()).unwrap();
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    disk.hold();
    lane.push(Entry::Add(1)).unwrap();
    main_lane.turn(Budget::UNLIMITED).unwrap();
    let (now, then) = (handle.state_at(1), handle.state_at(0));
    main_lane.turn(Budget::UNLIMITED).unwrap();
    assert_eq!(then.poll().expect("it is durable").unwrap().unwrap().count, 0);
    let now = now.poll().expect_err("a crash could take it back");
    assert!(!main_lane.arm_input(), "and nothing is to be done about it");
    disk.release();
    handle.journal().unwrap().wait(1, Instant::now() + PATIENCE).unwrap();
    assert!(main_lane.arm_input());
    main_lane.turn(Budget::UNLIMITED).unwrap();
    assert_eq!(now.poll().expect("it is durable").unwrap().unwrap().count, 2);
    assert!(main_lane.shutdown(PATIENCE).complete);
}

/// Shut, it holds up whoever comes.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn set(&self, shut: bool) {
        *self.0.0.lock().unwrap() = shut;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        drop(self.0.1.wait_while(self.0.0.lock().unwrap(), |shut| *shut).unwrap());
    }
}

/// Its code does what it should not.
#[derive(Default, Deserialize)]
struct Moody {
    count: u64,
    #[serde(skip)]
    copies_panic: Arc<AtomicBool>,
    #[serde(skip)]
    encoding: Gate,
}

impl Clone for Moody {
    fn clone(&self) -> Self {
        assert!(!self.copies_panic.load(Ordering::Relaxed), "not now");
        Self { count: self.count, copies_panic: self.copies_panic.clone(), encoding: self.encoding.clone() }
    }
}

impl Serialize for Moody {
    fn serialize<T: Serializer>(&self, serializer: T) -> Result<T::Ok, T::Error> {
        self.encoding.pass();
        (self.count,).serialize(serializer)
    }
}

impl Reducer for Moody {
    type Event = Entry;
    type Effect = ();

    fn apply(&mut self, _: &Envelope<'_, Entry>, _: &mut Effects<()>) {
        self.count += 1;
    }
}

#[test]
fn a_state_that_panics_when_it_is_copied_for_a_checkpoint_does_not_hold_up_the_shutdown() {
    let disk = Disk::default();
    let (builder, _) = journal(&disk).recover(Moody::default()).unwrap();
    let copies_panic = builder.state().copies_panic.clone();
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    lane.push(Entry::Add(1)).unwrap();
    main_lane.turn(Budget::UNLIMITED).unwrap();
    handle.journal().unwrap().wait(1, Instant::now() + PATIENCE).unwrap();
    copies_panic.store(true, Ordering::Relaxed);
    let report = main_lane.shutdown(Duration::from_secs(3));
    assert!(report.complete, "{report:?}");
}

#[test]
fn a_state_that_takes_long_to_encode_does_not_hold_up_a_shutdown_after_its_journal_failed() {
    let disk = Disk::default();
    let policy = CheckpointPolicy { events: 1, ..CheckpointPolicy::default() };
    let open = journal(&disk).durability(Durability::Async).checkpoints(policy);
    let (builder, _) = open.recover(Moody::default()).unwrap();
    let encoding = builder.state().encoding.clone();
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    encoding.set(true);
    lane.push(Entry::Add(1)).unwrap();
    main_lane.turn(Budget::UNLIMITED).unwrap();
    let watch = handle.journal().unwrap();
    watch.wait(1, Instant::now() + PATIENCE).unwrap();
    disk.fail(gone());
    lane.push(Entry::Add(2)).unwrap();
    main_lane.turn(Budget::UNLIMITED).unwrap();
    watch.wait(2, Instant::now() + PATIENCE).unwrap_err();
    let (ended, end) = crossbeam_channel::bounded::<()>(0);
    let opener = std::thread::spawn(move || {
        let _ = end.recv_timeout(PATIENCE);
        encoding.set(false);
    });
    let report = main_lane.shutdown(Duration::from_millis(20));
    drop(ended);
    opener.join().unwrap();
    assert_eq!(report.stragglers, ["journal-checkpoint"]);
}

#[test]
fn operations_of_a_batch_in_parts_are_as_if_it_was_one() {
    let disk = Disk::default();
    let open = || journal(&disk).durability(Durability::BeforeApply).timeline(Timeline::window(50));
    let (builder, _) = open().recover(Book::default()).unwrap();
    let mut lane = builder.lane("a").origin(ANNA).open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    let batch: Vec<_> = (0..5).flat_map(|id| whole(id).into_iter().chain([Entry::Thorn])).collect();
    lane.push_batch(batch).unwrap();
    main_lane.turn(Budget::UNLIMITED).unwrap();
    handle.journal().unwrap().wait(1, Instant::now() + PATIENCE).unwrap();
    main_lane.turn(Budget::events(4)).unwrap();
    let asked = handle.undo_operation(OperationId(0));
    while main_lane.turn(Budget::events(4)).unwrap().left == Left::More {}
    settle(&mut main_lane);
    asked.poll().unwrap().unwrap().expect("the batch is whole by then");
    let (state, counters) = (main_lane.state().clone(), handle.counters());
    assert!(counters.events.balanced() && counters.events.in_flight == 0);
    assert_eq!((counters.events.refused, counters.turns, handle.take_quarantined().len()), (5, 2, 5));
    // As after a crash: from the first checkpoint on.
    assert!(main_lane.shutdown(PATIENCE).complete);
    disk.edit(|rows| rows.checkpoints.truncate(1));
    let (builder, recovery) = open().recover(Book::default()).unwrap();
    assert_eq!((builder.state(), recovery.turn, recovery.quarantined.len()), (&state, 2, 0));
}

#[test]
fn a_crash_takes_no_more_than_the_lag() {
    for behind in [Behind::Wait, Behind::GiveUp] {
        for (turns, bytes) in [(4, 1 << 20), (100, 1)] {
            let disk = Disk::default();
            let open = journal(&disk).durability(Durability::Async).lag(turns, bytes).behind(behind);
            let (builder, _) = open.recover(Book::default()).unwrap();
            let mut lane = builder.lane("a").capacity(1024).open().unwrap();
            let (mut main_lane, handle) = builder.build().unwrap();
            let watch = handle.journal().unwrap();
            disk.hold();
            let mut ahead = 0;
            while ahead < 200 && watch.failure().is_none() {
                lane.push(Entry::Add(ahead)).unwrap();
                if main_lane.turn(Budget::UNLIMITED).unwrap().events == 0 {
                    break;
                }
                ahead += 1;
            }
            // The turn on which it gave up has been applied, which was said.
            let most = if bytes == 1 { 1 } else { turns as u64 } + u64::from(behind == Behind::GiveUp);
            assert_eq!(
                (ahead, watch.failure().is_some()),
                (most, behind == Behind::GiveUp),
                "{turns} turns, {bytes} bytes"
            );
            disk.release();
            assert_eq!(main_lane.shutdown(PATIENCE).complete, behind == Behind::Wait);
        }
    }
}

#[test]
fn effects_of_what_was_applied_before_a_panic_are_run_when_it_is_durable() {
    let disk = Disk::default();
    let builder = begin(&disk, Durability::BeforeApply);
    let (effects, ran) = crossbeam_channel::unbounded();
    let builder = builder.reconciler(move |effect, _: &Book| effects.send(effect).unwrap());
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    lane.push_batch([Entry::Ask(7), Entry::Thorn, Entry::Ask(8)]).unwrap();
    main_lane.turn(Budget::UNLIMITED).unwrap();
    handle.journal().unwrap().wait(1, Instant::now() + PATIENCE).unwrap();
    main_lane.turn(Budget::UNLIMITED).unwrap_err();
    assert_eq!(ran.try_iter().collect::<Vec<_>>(), [7]);
}

#[test]
fn what_was_applied_before_a_panic_that_ends_a_pipeline_is_durable() {
    for durability in ALL {
        for before in [0, 2] {
            let disk = Disk::default();
            let builder = begin(&disk, durability);
            let mut lane = builder.lane("a").open().unwrap();
            let (mut main_lane, _) = builder.build().unwrap();
            lane.push_batch((0..before).map(Entry::Add).chain([Entry::Thorn, Entry::Add(8)])).unwrap();
            let stopped = stop(&mut main_lane);
            assert!(matches!(stopped, TurnError::ReducerPanicked(_)), "{durability:?}: {stopped}");
            // Of a batch that was durable before it was applied, all is.
            let is_first = durability == Durability::BeforeApply;
            let turns = u64::from(is_first || before > 0);
            let end = main_lane.shutdown(PATIENCE).journal.unwrap();
            assert_eq!((end.durable, end.applied, end.failure), (turns, turns, None), "{durability:?}");
            disk.edit(|rows| {
                let said = rows.quarantined.iter().map(|event| (event.turn, event.index, event.kind.as_str()));
                let expected = is_first.then_some((1, before as u32, Entry::Thorn.kind()));
                assert!(said.eq(expected), "{durability:?}: {:?}", rows.quarantined);
            });
            let (builder, recovery) = journal(&disk).recover(Book::default()).unwrap();
            assert_eq!((recovery.turn, recovery.quarantined.len()), (turns, 0), "{durability:?}");
            assert_eq!(builder.state().count, 2 * before + if is_first { 2 } else { 0 }, "{durability:?}");
        }
    }
}

#[test]
fn a_part_of_a_batch_is_not_published_however_long_ago_the_last_publication_was() {
    let period = Duration::from_millis(20);
    // Until the machine is quick enough for the second turn not to be due.
    for _ in 0..1000 {
        let builder = begin(&Disk::default(), Durability::BeforeApply).publish(Publish::AtMostEvery(period));
        let mut lane = builder.lane("a").open().unwrap();
        let (mut main_lane, handle) = builder.build().unwrap();
        let (reader, watch) = (handle.reader(), handle.journal().unwrap());
        for turn in 1..=3 {
            lane.push_batch((0..turn).map(Entry::Add)).unwrap();
            main_lane.turn(Budget::UNLIMITED).unwrap();
            watch.wait(turn, Instant::now() + PATIENCE).unwrap();
            if turn < 3 {
                main_lane.turn(Budget::UNLIMITED).unwrap();
            }
        }
        if reader.load().count != 2 {
            continue;
        }
        main_lane.turn(Budget::events(1)).unwrap();
        let due = Instant::now() + period;
        while Instant::now() < due {
            std::hint::spin_loop();
        }
        main_lane.turn(Budget::events(1)).unwrap();
        assert_eq!((main_lane.state().count, reader.load().count), (10, 2));
        main_lane.turn(Budget::events(1)).unwrap();
        assert_eq!(reader.load().count, 12);
        return;
    }
    panic!("the second turn was always due");
}

#[test]
fn a_turn_keeps_its_budget_whatever_is_set_aside_in_it() {
    for durability in ALL {
        let disk = Disk::default();
        let open = journal(&disk).durability(durability).timeline(Timeline::window(50));
        let (builder, _) = open.recover(Book::default()).unwrap();
        let mut lane = builder.lane("a").open().unwrap();
        let (mut main_lane, handle) = builder.build().unwrap();
        lane.push_batch((0..20).flat_map(|value| [Entry::Thorn, Entry::Add(value)])).unwrap();
        let deadline = Instant::now() + PATIENCE;
        if durability == Durability::BeforeApply {
            // All of it in one batch, which is then applied in parts. It may be durable before the turn has ended.
            let turn = main_lane.turn(Budget::UNLIMITED).unwrap();
            assert!(turn.events == 0 && matches!(turn.left, Left::Journal | Left::More), "{turn:?}");
        }
        while handle.counters().faults.quarantined < 20 {
            let before = main_lane.state().count;
            let turn = main_lane.turn(Budget::events(3)).unwrap();
            if turn.left == Left::Journal {
                main_lane.wait_for_input(deadline);
            }
            // Each counts two, and every other one is a thorn.
            let applied = (main_lane.state().count - before) / 2;
            assert!(applied <= 2, "{durability:?}: {applied} in a turn");
            assert!(Instant::now() < deadline);
        }
    }
}

#[test]
fn what_is_kept_does_not_hang_on_a_checkpoint_that_is_damaged() {
    let disk = Disk::default();
    let open = || journal(&disk).durability(Durability::Async);
    // A run each, with a checkpoint at its end.
    for run in 0..3 {
        let (builder, _) = open().recover(Book::default()).unwrap();
        let mut lane = builder.lane("a").open().unwrap();
        let (mut main_lane, _) = builder.build().unwrap();
        lane.push(Entry::Add(run)).unwrap();
        settle(&mut main_lane);
        assert!(main_lane.shutdown(PATIENCE).complete);
        if run == 1 {
            disk.edit(|rows| rows.checkpoints.last_mut().unwrap().payload[0] ^= 1);
        }
    }
    // Now the newest one is damaged too: there must be another.
    disk.edit(|rows| rows.checkpoints.last_mut().unwrap().payload[0] ^= 1);
    let (_, recovery) = open().recover(Book::default()).unwrap();
    assert_eq!((recovery.turn, recovery.damaged_checkpoints.len()), (3, 2));
}

#[test]
fn what_was_refused_does_not_shorten_the_past_that_is_recovered() {
    let disk = Disk::default();
    let policy = CheckpointPolicy { events: 10, ..CheckpointPolicy::default() };
    let open = || journal(&disk).checkpoints(policy).timeline(Timeline::window(20).checkpoint_every(5));
    let (builder, _) = open().recover(Book::default()).unwrap();
    let mut lane = builder.lane("a").origin(ANNA).open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    lane.push_batch(whole(1)).unwrap();
    for turn in 1..=200 {
        settle(&mut main_lane);
        handle.journal().unwrap().wait(turn, Instant::now() + PATIENCE).unwrap();
        lane.push(if turn % 20 == 0 { Entry::Add(turn) } else { Entry::Thorn }).unwrap();
    }
    settle(&mut main_lane);
    let (state, base) = (main_lane.state().clone(), handle.state_at(0));
    main_lane.turn(Budget::UNLIMITED).unwrap();
    assert!(base.poll().unwrap().unwrap().is_ok(), "all of it is within the window");
    assert!(main_lane.shutdown(PATIENCE).complete);
    let (builder, _) = open().recover(Book::default()).unwrap();
    assert_eq!(builder.state(), &state);
    let (mut main_lane, handle) = builder.build().unwrap();
    let asked = handle.undo(ANNA);
    settle(&mut main_lane);
    asked.poll().unwrap().unwrap().expect("it could be undone before");
}

/// Events ask for what others have done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Shaky {
    done: [u64; 4],
    chain: u64,
}

impl Reducer for Shaky {
    type Event = Entry;
    type Effect = ();

    fn apply(&mut self, envelope: &Envelope<'_, Entry>, _: &mut Effects<()>) {
        let value = match envelope.event {
            Entry::Step(value, operation) => {
                self.done[operation.id.0 as usize % 4] += 1;
                *value
            }
            Entry::Ask(value) => {
                self.chain += 1;
                assert!(self.done[*value as usize % 4] > 0, "nothing is done");
                *value
            }
            Entry::Add(value) | Entry::Level { value, .. } => *value,
            Entry::Thorn | Entry::Stray => {
                self.chain = 0;
                panic!("a thorn");
            }
        };
        self.chain = self.chain.rotate_left(7).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ value;
    }
}

#[test]
fn a_change_that_comes_to_nothing_has_a_turn_when_the_journal_has_it_first() {
    for durability in ALL {
        let disk = Disk::default();
        let open = |disk: &Disk| {
            let journal = journal(disk).durability(durability).timeline(Timeline::default());
            journal.recover(Shaky::default()).unwrap()
        };
        let (builder, _) = open(&disk);
        let mut lane = builder.lane("a").origin(ANNA).open().unwrap();
        let (mut main_lane, handle) = builder.build().unwrap();
        lane.push_batch(whole(1)).unwrap();
        lane.push(Entry::Ask(1)).unwrap();
        settle(&mut main_lane);
        let asked = handle.undo(ANNA);
        settle(&mut main_lane);
        let answer = asked.poll().expect("it was answered").expect("it goes on");
        assert!(matches!(answer, Err(RewindError::Panicked { .. })), "{durability:?}: {answer:?}");
        let first = if durability == Durability::BeforeApply { 2 } else { 1 };
        if durability == Durability::BeforeApply {
            assert_eq!(handle.reader().load().turn(), first, "readers see the turn too");
        }
        for turn in first..first + 3 {
            assert_eq!(main_lane.turn(Budget::UNLIMITED).unwrap().number, turn, "{durability:?}");
            handle.journal().unwrap().wait(turn, Instant::now() + PATIENCE).unwrap();
            let looks = [turn, turn + 1].map(|turn| handle.state_at(turn));
            settle(&mut main_lane);
            let [now, later] = looks.map(|look| look.poll().expect("it was answered").expect("it goes on"));
            assert_eq!(now.as_ref(), Ok(main_lane.state()), "{durability:?}");
            assert_eq!(later, Err(TimelineError::NotYet { newest: turn }), "{durability:?}");
            let (builder, recovery) = open(&disk.copy());
            assert_eq!((builder.state(), recovery.turn), (main_lane.state(), turn), "{durability:?}");
            lane.push(Entry::Add(turn)).unwrap();
            settle(&mut main_lane);
        }
    }
}

#[test]
fn wherever_a_crash_comes_the_state_and_the_past_are_the_same() {
    let mut compared = 0;
    for seed in 0..90_u64 {
        let mut number = seed;
        let durability = ALL[seed as usize % 3];
        let mut disk = Disk::default();
        let every = 1 + seed as usize % 5;
        let policy = CheckpointPolicy { events: 5 + seed % 11, ..CheckpointPolicy::default() };
        let open = |disk: &Disk| {
            let journal = journal(disk).durability(durability).checkpoints(policy).retention(Retention::Checkpoints(1));
            journal.timeline(Timeline::window(12).checkpoint_every(every)).recover(Shaky::default()).unwrap()
        };
        let (mut id, mut expected) = (0, Shaky::default());
        for run in 0..4 {
            let (builder, _) = open(&disk);
            assert_eq!(builder.state(), &expected, "seed {seed}, run {run}");
            let mut lane = builder.lane("a").origin(ANNA).open().unwrap();
            let mut other = builder.lane("b").origin(Origin::built_in("user", 2)).open().unwrap();
            let (mut main_lane, handle) = builder.build().unwrap();
            let watch = handle.journal().unwrap();
            let deadline = Instant::now() + PATIENCE;
            for _ in 0..25 {
                let mut asked = None;
                match next(&mut number) % 12 {
                    0..=2 => {
                        lane.push_batch(whole(id)).unwrap();
                        id += 1;
                    }
                    3 => {
                        other
                            .push_batch([step(id, 0, Phase::Started), Entry::Thorn, step(id, 1, Phase::Terminal)])
                            .unwrap();
                        id += 1;
                    }
                    4 => {
                        lane.push(step(next(&mut number) % (id + 1), 2, Phase::Progress)).unwrap();
                    }
                    5 => {
                        other.push_batch((0..next(&mut number) % 9).map(Entry::Ask)).unwrap();
                    }
                    6 => {
                        lane.push_batch([Entry::Add(1), Entry::Thorn, Entry::Ask(3), Entry::Thorn]).unwrap();
                    }
                    7 | 8 => asked = Some(handle.undo(ANNA)),
                    9 => asked = Some(handle.redo(ANNA)),
                    10 => asked = Some(handle.undo_operation(OperationId(id.saturating_sub(next(&mut number) % 4)))),
                    _ => asked = Some(handle.redo_operation(OperationId(id.saturating_sub(next(&mut number) % 6)))),
                }
                let budget = Budget::events(1 + next(&mut number) as usize % 4);
                loop {
                    let turn = main_lane.turn(budget).unwrap();
                    match turn.left {
                        Left::Nothing if turn.events == 0 => break,
                        Left::Journal => main_lane.wait_for_input(deadline),
                        _ => {}
                    }
                    assert!(Instant::now() < deadline);
                }
                if let Some(asked) = asked {
                    let _ = asked.poll().expect("it was answered");
                }
                let turn = main_lane.turn(budget).unwrap().number;
                watch.wait(turn, deadline).unwrap();
                // What was set aside, and a checkpoint, may be on their way.
                if next(&mut number).is_multiple_of(3) {
                    let (builder, recovery) = open(&disk.copy());
                    assert_eq!((builder.state(), recovery.turn), (main_lane.state(), turn), "seed {seed}, run {run}");
                    let (mut second, its) = builder.build().unwrap();
                    let asked = match next(&mut number) % 4 {
                        0 => [handle.undo(ANNA), its.undo(ANNA)],
                        1 => [handle.redo(ANNA), its.redo(ANNA)],
                        _ => {
                            let operation = OperationId(id.saturating_sub(next(&mut number) % 6));
                            match next(&mut number) % 2 {
                                0 => [&handle, &its].map(|handle| handle.undo_operation(operation)),
                                _ => [&handle, &its].map(|handle| handle.redo_operation(operation)),
                            }
                        }
                    };
                    for main_lane in [&mut main_lane, &mut second] {
                        while main_lane.turn(Budget::UNLIMITED).unwrap().left == Left::Journal {
                            main_lane.wait_for_input(deadline);
                        }
                        main_lane.turn(Budget::UNLIMITED).unwrap();
                    }
                    let answers = asked.map(|asked| asked.poll().expect("it was answered").unwrap());
                    let done = answers.each_ref().map(|answer| answer.as_ref().ok().map(|rewind| rewind.operation));
                    // Of what is beyond the window, one or the other may know a little more.
                    let is_beyond = |answer: &Result<_, RewindError>| {
                        use RewindError::{BeyondWindow, Nothing, Unknown};
                        matches!(answer, Err(BeyondWindow { .. } | Nothing { .. } | Unknown { .. }))
                    };
                    if !answers.iter().any(is_beyond) {
                        compared += 1;
                        assert_eq!(done[0], done[1], "seed {seed}, run {run}: {answers:?}");
                        assert_eq!(main_lane.state(), second.state(), "seed {seed}, run {run}");
                    }
                }
            }
            // Also the change that was compared last.
            watch.wait(main_lane.turn(Budget::UNLIMITED).unwrap().number, deadline).unwrap();
            expected = main_lane.state().clone();
            if next(&mut number).is_multiple_of(2) {
                // A crash; or an orderly end.
                disk = disk.copy();
            }
            assert!(main_lane.shutdown(PATIENCE).complete);
            if next(&mut number).is_multiple_of(2) {
                let (builder, _) = open(&disk);
                drop(builder);
            }
        }
    }
    assert!(compared > 100, "{compared} changes were compared");
}

/// Takes its time over everything, and cannot be copied once it was asked something.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Brittle {
    told: Vec<u64>,
    is_brittle: bool,
}

/// Longer than a turn of a shutdown has.
const SLOW: Duration = Duration::from_millis(2);

impl Clone for Brittle {
    fn clone(&self) -> Self {
        assert!(!self.is_brittle, "no copy");
        Self { told: self.told.clone(), is_brittle: false }
    }
}

impl Reducer for Brittle {
    type Event = Entry;
    type Effect = ();

    fn apply(&mut self, envelope: &Envelope<'_, Entry>, _: &mut Effects<()>) {
        let began = Instant::now();
        while began.elapsed() < SLOW {
            std::hint::spin_loop();
        }
        match envelope.event {
            Entry::Add(value) => self.told.push(*value),
            Entry::Ask(_) => self.is_brittle = true,
            _ => panic!("a thorn"),
        }
    }
}

#[test]
fn of_a_batch_that_a_shutdown_leaves_half_applied_there_is_no_checkpoint() {
    let disk = Disk::default();
    let open = || journal(&disk).durability(Durability::BeforeApply).recover(Brittle::default()).unwrap();
    let (builder, _) = open();
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    lane.push_batch((0..20).map(Entry::Add)).unwrap();
    main_lane.turn(Budget::UNLIMITED).unwrap();
    handle.journal().unwrap().wait(1, Instant::now() + PATIENCE).unwrap();
    let report = main_lane.shutdown(Duration::ZERO);
    assert!(!report.complete && main_lane.state().told.len() < 20, "{report:?}");
    let (builder, recovery) = open();
    assert_eq!((recovery.turn, recovery.checkpoint), (1, 0));
    assert_eq!(builder.state().told, (0..20).collect::<Vec<_>>());
}

#[test]
fn what_was_set_aside_before_the_end_of_a_pipeline_is_written_down() {
    for durability in ALL {
        let disk = Disk::default();
        let open = journal(&disk).durability(durability).timeline(Timeline::window(50));
        let (builder, _) = open.recover(Brittle::default()).unwrap();
        let builder = builder.publish(Publish::OnRequest);
        let mut lane = builder.lane("a").open().unwrap();
        let (mut main_lane, handle) = builder.build().unwrap();
        lane.push_batch([Entry::Add(1), Entry::Thorn, Entry::Ask(1), Entry::Thorn]).unwrap();
        if durability == Durability::BeforeApply {
            main_lane.turn(Budget::UNLIMITED).unwrap();
            handle.journal().unwrap().wait(1, Instant::now() + PATIENCE).unwrap();
        }
        let error = main_lane.turn(Budget::UNLIMITED).unwrap_err();
        assert!(matches!(error, TurnError::ReducerPanicked(_)), "it cannot be rolled back: {error}");
        assert_eq!(main_lane.shutdown(PATIENCE).journal.unwrap().durable, 1);
        let expected = if durability == Durability::BeforeApply { &[1, 3][..] } else { &[1] };
        disk.edit(|rows| {
            let said = rows.quarantined.iter().map(|event| event.index);
            assert!(said.eq(expected.iter().copied()), "{durability:?}: {:?}", rows.quarantined);
        });
        let journal = journal(&disk).timeline(Timeline::window(50));
        let (state, report) = journal.replay::<Brittle>(Replaying::default(), None, &mut |_| true).unwrap();
        assert_eq!((report.quarantined.len(), state.told.as_slice()), (expected.len(), &[1][..]));
    }
}

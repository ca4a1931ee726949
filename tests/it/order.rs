//! C3 to C5: causal order across lanes, the order inside a batch, budgets that stop anywhere.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mainlane::{Budget, Lane, Left, MainLane, Overflow, Pipeline};

use crate::domain::{Ledger, Note, Seen, drain, settled, until};

#[test]
fn one_thread_on_two_lanes_is_applied_in_its_order() {
    let builder = Pipeline::builder(Ledger::default());
    let mut first = builder.lane("first").open().unwrap();
    let mut second = builder.lane("second").rank(1).open().unwrap();
    let (mut main_lane, _) = builder.build().unwrap();
    for n in 0..50 {
        let lane = if n % 3 == 0 { &mut first } else { &mut second };
        lane.push(Note::Item(n)).unwrap();
    }
    drain(&mut main_lane);
    assert_eq!(main_lane.state().notes(), (0..50).map(Note::Item).collect::<Vec<_>>());
}

#[test]
fn critical_and_lossy_of_different_lanes_are_ordered() {
    let builder = Pipeline::builder(Ledger::default());
    let mut critical = builder.lane("critical").open().unwrap();
    let mut lossy = builder.lane("lossy").open().unwrap();
    let (mut main_lane, _) = builder.build().unwrap();
    let mut expected = Vec::new();
    for n in 0..20 {
        expected.extend([Note::Item(n), Note::Level { key: n as u32, value: n }]);
        critical.push(Note::Item(n)).unwrap();
        lossy.push(Note::Level { key: n as u32, value: n }).unwrap();
    }
    drain(&mut main_lane);
    assert_eq!(main_lane.state().notes(), expected);
}

#[test]
fn unclocked_lanes_go_first_by_rank() {
    let builder = Pipeline::builder(Ledger::default());
    let mut background = builder.lane("background").open().unwrap();
    let mut mouse = builder.lane("mouse").rank(2).unclocked().open().unwrap();
    let mut keys = builder.lane("keys").rank(1).unclocked().open().unwrap();
    let (mut main_lane, _) = builder.build().unwrap();
    for (lane, n) in [(&mut background, 3), (&mut mouse, 2), (&mut keys, 1)] {
        lane.push(Note::Item(n)).unwrap();
    }
    drain(&mut main_lane);
    assert_eq!(main_lane.state().notes(), (1..4).map(Note::Item).collect::<Vec<_>>());
}

#[test]
fn lossy_events_that_tie_go_by_rank_then_lane() {
    let builder = Pipeline::builder(Ledger::default());
    let mut plain = builder.lane("plain").open().unwrap();
    let mut also_plain = builder.lane("also plain").open().unwrap();
    let mut favoured = builder.lane("favoured").rank(0).open().unwrap();
    let (mut main_lane, _) = builder.build().unwrap();
    // No critical event and no cut between them: all three have the same stamp.
    for (lane, value) in [(&mut also_plain, 3), (&mut plain, 2), (&mut favoured, 1)] {
        lane.push(Note::Level { key: 1, value }).unwrap();
    }
    drain(&mut main_lane);
    let expected: Vec<_> = (1..4).map(|value| Note::Level { key: 1, value }).collect();
    assert_eq!(main_lane.state().notes(), expected);
}

/// Two producers with a hidden channel between them: an event that answers another is never applied before it, nor
/// published without it.
#[test]
fn an_answer_is_never_seen_without_its_question() {
    const ROUNDS: u64 = 20_000;
    let builder = Pipeline::builder(Ledger::default());
    let mut asking = builder.lane("asking").rank(2).capacity(64).open().unwrap();
    // The answers would go first wherever only rank decided.
    let mut answering = builder.lane("answering").rank(1).capacity(64).open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    let asked = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..=ROUNDS {
                asking.push(Note::Item(2 * n)).unwrap();
                asked.store(n, Ordering::Release);
            }
        });
        scope.spawn(|| {
            let mut answered = 0;
            while answered < ROUNDS {
                let n = asked.load(Ordering::Acquire);
                if n > answered {
                    answering.push(Note::Item(2 * n + 1)).unwrap();
                    answered = n;
                }
            }
        });
        let mut checked = 0;
        let mut newest_question = 0;
        until("every question and its answer", || {
            main_lane.turn(Budget::events(7)).unwrap();
            for seen in &main_lane.state().seen[checked..] {
                let Note::Item(n) = seen.note else { unreachable!() };
                if n % 2 == 0 {
                    assert_eq!(n, newest_question + 2, "questions are in order");
                    newest_question = n;
                } else {
                    assert!(n - 1 <= newest_question, "answer {n} came before its question");
                }
            }
            checked = main_lane.state().seen.len();
            matches!(main_lane.state().seen.last(), Some(Seen { note: Note::Item(n), .. }) if *n == 2 * ROUNDS + 1)
        });
    });
    settled(&handle);
}

#[test]
fn a_budget_of_events_stops_anywhere_and_goes_on_there() {
    let run = |budget: Budget| {
        let builder = Pipeline::builder(Ledger::default());
        let mut lanes: Vec<_> = (0..3).map(|n| builder.lane(format!("{n}")).open().unwrap()).collect();
        let (mut main_lane, handle) = builder.build().unwrap();
        for n in 0..60u64 {
            lanes[(n * n % 3) as usize].push(Note::Item(n)).unwrap();
            lanes[(n % 3) as usize].push(Note::Level { key: n as u32 % 7, value: n }).unwrap();
        }
        let mut turns = 0;
        while main_lane.turn(budget).unwrap().left == Left::More {
            turns += 1;
        }
        settled(&handle);
        (main_lane.state().notes(), turns)
    };
    let (whole, _) = run(Budget::UNLIMITED);
    for events in [1, 2, 3, 7, 50] {
        let (parts, turns) = run(Budget::events(events));
        assert_eq!(parts, whole, "the order does not depend on where turns end");
        assert_eq!(turns, (whole.len() - 1) / events, "a budget of {events} is kept");
    }
}

#[test]
fn what_is_pushed_while_a_batch_is_half_applied_comes_after_it() {
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("a").open().unwrap();
    let mut keys = builder.lane("keys").unclocked().open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    lane.push_batch((0..4).map(Note::Item)).unwrap();
    lane.push(Note::Level { key: 1, value: 1 }).unwrap();
    main_lane.turn(Budget::events(2)).unwrap();
    lane.push(Note::Level { key: 1, value: 2 }).unwrap();
    lane.push(Note::Item(4)).unwrap();
    keys.push(Note::Item(100)).unwrap();
    drain(&mut main_lane);
    let expected = [
        Note::Item(0),
        Note::Item(1),
        // The user's input does not wait for the rest of the batch.
        Note::Item(100),
        Note::Item(2),
        Note::Item(3),
        Note::Level { key: 1, value: 1 },
        Note::Level { key: 1, value: 2 },
        Note::Item(4),
    ];
    assert_eq!(main_lane.state().notes(), expected);
    settled(&handle);
}

#[test]
fn a_budget_of_no_time_applies_nothing_and_loses_nothing() {
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    lane.push(Note::Item(1)).unwrap();
    let turn = main_lane.turn(Budget::millis(0)).unwrap();
    assert_eq!((turn.events, turn.left), (0, Left::More));
    drain(&mut main_lane);
    assert_eq!(settled(&handle).events.applied, 1);
}

#[test]
fn the_newest_lossy_value_is_never_older_than_one_before_it() {
    let builder = Pipeline::builder(Ledger::default());
    let lanes: Vec<_> = (0..2).map(|n| builder.lane(format!("{n}")).keys(4).open().unwrap()).collect();
    let (mut main_lane, handle) = builder.build().unwrap();
    let ids: Vec<_> = lanes.iter().map(|lane| lane.id()).collect();
    let producers: Vec<_> = lanes
        .into_iter()
        .map(|mut lane| {
            std::thread::spawn(move || {
                for value in 0..50_000u64 {
                    lane.push(Note::Level { key: (value % 4) as u32, value }).unwrap();
                }
            })
        })
        .collect();
    until("both lanes are closed", || {
        main_lane.turn(Budget::events(3)).unwrap();
        handle.counters().lanes_closed == 2
    });
    producers.into_iter().for_each(|producer| producer.join().unwrap());
    let mut newest = HashMap::new();
    for seen in &main_lane.state().seen {
        let Note::Level { key, value } = seen.note else { unreachable!() };
        let before = newest.insert((seen.lane, key), value);
        assert!(before.is_none_or(|before| before < value), "{value} after {before:?}");
    }
    for lane in ids {
        for key in 0..4 {
            assert_eq!(newest[&(lane, key)], 49_996 + u64::from(key), "the last value of every key arrives");
        }
    }
    settled(&handle);
}

/// A key that is written again and again, always just after the bound of the cut was fixed, is applied all the same.
#[test]
fn a_hot_key_is_not_starved_by_its_own_producer() {
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("hot").open().unwrap();
    // Lanes beside it make the time between the bound and the look at its table longer.
    let _idle: Vec<_> = (0..64).map(|n| builder.lane(format!("idle {n}")).rank(0).open().unwrap()).collect();
    let (mut main_lane, handle) = builder.build().unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let done = &done;
        scope.spawn(move || {
            let mut value = 0;
            while !done.load(Ordering::Relaxed) {
                value += 1;
                lane.push(Note::Level { key: 1, value }).unwrap();
            }
        });
        until("two thousand cuts", || {
            main_lane.turn(Budget::UNLIMITED).unwrap();
            handle.counters().cuts >= 2000
        });
        done.store(true, Ordering::Relaxed);
    });
    drain(&mut main_lane);
    let counters = settled(&handle);
    // Of two cuts in a row that find it, the second takes it, to be applied with the third.
    assert!(counters.events.applied >= counters.cuts / 4, "{} of {}", counters.events.applied, counters.cuts);
}

#[test]
fn a_flooded_unclocked_lane_does_not_starve_the_others() {
    let builder = Pipeline::builder(Ledger::default());
    let mut keys = builder.lane("keys").unclocked().open().unwrap();
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    lane.push_batch((0..100).map(Note::Item)).unwrap();
    for n in 0..200 {
        keys.push_batch([Note::Item(1000 + n), Note::Item(1000 + n)]).unwrap();
        main_lane.turn(Budget::events(2)).unwrap();
    }
    let ours = main_lane.state().seen.iter().filter(|seen| seen.lane == lane.id()).count();
    assert_eq!(ours, 100, "every other turn is theirs");
    drain(&mut main_lane);
    settled(&handle);
}

#[test]
fn an_unclocked_lane_goes_on_coalescing_while_its_events_wait_for_a_budget() {
    let builder = Pipeline::builder(Ledger::default());
    let mut keys = builder.lane("keys").unclocked().keys(2).open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    for value in 0..10_000 {
        keys.push(Note::Level { key: 1, value }).unwrap();
        keys.push(Note::Level { key: 2, value }).unwrap();
        main_lane.turn(Budget::events(1)).unwrap();
        assert!(handle.counters().events.in_flight <= 4, "at most what was taken and what is in the table");
    }
    drain(&mut main_lane);
    settled(&handle);
}

/// A turn that finishes what an earlier one began has not looked at what came since: it says so.
#[test]
fn a_turn_that_went_on_says_when_there_is_more() {
    for clocked in [true, false] {
        let builder = Pipeline::builder(Ledger::default());
        let lane = builder.lane("a");
        let mut lane = if clocked { lane } else { lane.unclocked() }.open().unwrap();
        let (mut main_lane, _) = builder.build().unwrap();
        lane.push_batch((0..10).map(Note::Item)).unwrap();
        assert_eq!(main_lane.turn(Budget::events(5)).unwrap().left, Left::More);
        lane.push_batch((10..20).map(Note::Item)).unwrap();
        let turn = main_lane.turn(Budget::UNLIMITED).unwrap();
        assert_eq!((turn.events, turn.left), (5, Left::More), "clocked: {clocked}");
        let turn = main_lane.turn(Budget::UNLIMITED).unwrap();
        assert_eq!((turn.events, turn.left), (10, Left::Nothing), "clocked: {clocked}");
    }
}

/// C2 on an unclocked lane, whose ring and table are looked at one after the other while its producer goes on.
#[test]
fn an_unclocked_lane_keeps_its_order_between_ring_and_table() {
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("keys").unclocked().capacity(8192).keys(4096).open().unwrap();
    let (mut main_lane, _) = builder.build().unwrap();
    let pushing = std::thread::spawn(move || {
        for n in 0..200_000 {
            lane.push(Note::Item(n)).unwrap();
            lane.push(Note::Level { key: (n % 4096) as u32, value: n }).unwrap();
        }
    });
    until("all is applied", || {
        let ended = pushing.is_finished();
        main_lane.turn(Budget::UNLIMITED).unwrap().events == 0 && ended
    });
    pushing.join().unwrap();
    let mut items = 0;
    for seen in &main_lane.state().seen {
        match seen.note {
            Note::Item(_) => items += 1,
            // The item of the same number was pushed before it.
            Note::Level { value, .. } => assert!(value < items, "level {value} after {items} items"),
            _ => {}
        }
    }
    assert_eq!(items, 200_000);
}

#[test]
fn a_flooded_unclocked_lane_does_not_starve_another() {
    let builder = Pipeline::builder(Ledger::default());
    let unclocked = |name| builder.lane(name).unclocked().capacity(16).overflow(Overflow::Return).open().unwrap();
    let mut lanes = ["one", "two", "three"].map(unclocked);
    let (mut main_lane, _) = builder.build().unwrap();
    let ours = |main_lane: &MainLane<Ledger>, lane: &Lane<Note>| {
        main_lane.state().seen.iter().filter(|seen| seen.lane == lane.id()).count()
    };
    for turn in 0..60 {
        for lane in &mut lanes {
            while lane.push(Note::Item(turn)).is_ok() {}
        }
        // As many as one of them has.
        main_lane.turn(Budget::events(16)).unwrap();
    }
    for lane in &lanes {
        assert!(ours(&main_lane, lane) >= 16 * 10, "{:?}", lanes.each_ref().map(|lane| ours(&main_lane, lane)));
    }
    drain(&mut main_lane);
}

//! The queue beside its twin, on random scripts; and the bounds it states, one by one.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::queue::{Ask, DEBT_MAX, PATIENCE, Picked, Pushed, Queue, Rules};
use super::queue_twin::{Twin, Wrong};
use super::stats::End;
use super::{Late, Priority, WhenFull};

const AGE: u64 = 1000;
const SLICE: u64 = 10;

#[derive(Clone, Debug)]
enum Op {
    Push { submitter: u8, priority: usize, deadline: Option<u64>, late: bool, cost: u64 },
    Pass(u64),
    Expire,
    Pick,
    End { at: usize, ran: u64 },
    Yield { at: usize, ran: u64 },
    Cancel { back: u64 },
    TakeAll,
}

fn op() -> impl Strategy<Value = Op> {
    let deadline = proptest::option::weighted(0.4, 0..6 * AGE);
    let push = (0..4u8, 0..4usize, deadline, any::<bool>(), 0..4 * SLICE)
        .prop_map(|(submitter, priority, deadline, late, cost)| Op::Push { submitter, priority, deadline, late, cost });
    prop_oneof![
        10 => push,
        3 => prop_oneof![1..20u64, Just(AGE), 0..3 * AGE].prop_map(Op::Pass),
        2 => Just(Op::Expire),
        7 => Just(Op::Pick),
        4 => (0..3usize, 0..30 * SLICE).prop_map(|(at, ran)| Op::End { at, ran }),
        3 => (0..3usize, 0..3 * SLICE).prop_map(|(at, ran)| Op::Yield { at, ran }),
        1 => (0..8u64).prop_map(|back| Op::Cancel { back }),
        1 => prop_oneof![9 => Just(Op::Expire), 1 => Just(Op::TakeAll)],
    ]
}

#[derive(Clone, Debug)]
struct Script {
    rules: Rules,
    ops: Vec<Op>,
}

fn script() -> impl Strategy<Value = Script> {
    let rules = (1..12usize, 1..4usize, any::<bool>()).prop_map(|(capacity, slots, sheds)| Rules {
        capacity,
        slots,
        age_ns: AGE,
        slice_ns: SLICE,
        when_full: if sheds { WhenFull::ShedLowest } else { WhenFull::Refuse },
        submitters: 64,
    });
    (rules, prop::collection::vec(op(), 1..150)).prop_map(|(rules, ops)| Script { rules, ops })
}

fn ask(submitter: &str, priority: Priority) -> Ask {
    Ask { submitter: submitter.into(), priority, deadline: None, late: Late::Expire, cost_ns: 0 }
}

/// Runs both, and says where they first differ. Jobs of the queue are their own ids.
fn compare(script: &Script, wrong: Wrong) -> Result<(), String> {
    let mut queue = Queue::<u64>::new(script.rules.clone());
    let mut twin = Twin::new(script.rules.clone(), wrong);
    let (mut now, mut running) = (0u64, Vec::new());
    let mut newest = 0u64;
    for (step, op) in script.ops.iter().enumerate() {
        let (ours, its) = match op.clone() {
            Op::Push { submitter, priority, deadline, late, cost } => {
                let ask = Ask {
                    submitter: format!("{submitter}").into(),
                    priority: Priority::ALL[priority],
                    // Also such as have passed.
                    deadline: deadline.map(|deadline| (now + deadline).saturating_sub(AGE)),
                    late: if late { Late::Run } else { Late::Expire },
                    cost_ns: cost,
                };
                let ours = match queue.push(now, &ask, |id| id) {
                    Pushed::Accepted(id) => Some((id, None)),
                    Pushed::InsteadOf(id, shed) => Some((id, Some(shed))),
                    Pushed::Full => None,
                };
                newest = ours.map_or(newest, |(id, _)| id);
                (format!("{ours:?}"), format!("{:?}", twin.push(now, &ask)))
            }
            Op::Pass(time) => {
                now += time;
                continue;
            }
            Op::Expire => (format!("{:?}", queue.expire(now)), format!("{:?}", twin.expire(now))),
            Op::Pick => {
                let ours = queue.pick(now).map(|Picked { id, job, waiting_since, .. }| {
                    assert_eq!(id, job);
                    running.push(id);
                    (id, waiting_since)
                });
                (format!("{ours:?}"), format!("{:?}", twin.pick(now)))
            }
            Op::End { at, ran } if at < running.len() => {
                let id = running.remove(at);
                let end = [End::Done, End::Failed, End::Panicked][at];
                assert!(queue.end(id, ran, end));
                assert!(!queue.end(id, ran, end), "it ends once");
                (String::new(), twin.end(id, ran, end).then(String::new).unwrap_or("not running".to_owned()))
            }
            Op::Yield { at, ran } if at < running.len() => {
                let id = running.remove(at);
                assert_eq!(queue.yield_back(id, now, ran, id), Ok(()));
                (String::new(), twin.yield_back(id, now, ran).then(String::new).unwrap_or("not running".to_owned()))
            }
            Op::Cancel { back } => {
                let id = newest.saturating_sub(back);
                let ours = queue.take(id, End::Cancelled).is_some();
                (format!("{ours}"), format!("{}", twin.take(id, End::Cancelled)))
            }
            Op::TakeAll => {
                let (ours, its) = (queue.take_all(End::Cancelled), twin.take_all(End::Cancelled));
                (format!("{ours:?}"), format!("{its:?}"))
            }
            Op::End { .. } | Op::Yield { .. } => continue,
        };
        if ours != its {
            return Err(format!("step {step}, {op:?}: {ours}, but the twin {its}"));
        }
        if queue.by_priority() != twin.by_priority {
            return Err(format!("step {step}, {op:?}: counts differ"));
        }
        for account in queue.accounts().all() {
            let its = twin.by_submitter.get(&*account.name).copied().unwrap_or_default();
            if account.counts != its || !account.counts.balanced() {
                return Err(format!("step {step}, {op:?}: counts of {} differ", account.name));
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn the_queue_does_what_its_twin_does(script in script()) {
        prop_assert_eq!(compare(&script, Wrong::Nothing), Ok(()));
    }
}

#[test]
fn every_wrong_rule_is_found_out() {
    let all = [
        Wrong::NoAgeing,
        Wrong::NoTurns,
        Wrong::NoDebts,
        Wrong::Savings,
        Wrong::NoDeadlines,
        Wrong::NoPatience,
        Wrong::TooEarly,
        Wrong::ShedsFirst,
        Wrong::SlicesEnd,
    ];
    let mut runner = TestRunner::deterministic();
    let scripts: Vec<_> = (0..400).map(|_| script().new_tree(&mut runner).unwrap().current()).collect();
    for wrong in all {
        let found = scripts.iter().filter(|script| compare(script, wrong).is_err()).count();
        assert!(found > 0, "{wrong:?} is not told apart by {} scripts", scripts.len());
    }
}

fn rules(slots: usize) -> Rules {
    Rules { capacity: 20_000, slots, age_ns: AGE, slice_ns: SLICE, when_full: WhenFull::Refuse, submitters: 8 }
}

fn accepted<J>(pushed: Pushed<J>) -> u64 {
    match pushed {
        Pushed::Accepted(id) => id,
        _ => panic!("there was room"),
    }
}

/// Starts one and lets it end at once; which it was.
fn serve(queue: &mut Queue<()>, now: u64, ran: u64) -> Option<u64> {
    let id = queue.pick(now)?.id;
    assert!(queue.end(id, ran, End::Done));
    Some(id)
}

/// M2: ten thousand jobs of another cost one slot's one job.
#[test]
fn a_flood_of_one_submitter_delays_anothers_job_by_one_for_each_slot() {
    for slots in [1, 2, 4] {
        let mut queue = Queue::<()>::new(rules(slots));
        for _ in 0..10_000 {
            accepted(queue.push(0, &ask("flood", Priority::Normal), |_| ()));
        }
        let mut taken: Vec<u64> = (0..slots).map(|_| queue.pick(0).unwrap().id).collect();
        let single = accepted(queue.push(0, &ask("single", Priority::Normal), |_| ()));
        let mut before = 0;
        loop {
            // One ends, one starts.
            assert!(queue.end(taken.remove(0), 1, End::Done));
            let id = queue.pick(0).unwrap().id;
            if id == single {
                break;
            }
            taken.push(id);
            before += 1;
            assert!(before <= 1, "{slots} slots: {before} further jobs were started before it");
        }
    }
}

/// M2: several floods pass a newcomer over once each, also with deadlines; and time is shared, not starts.
#[test]
fn each_other_submitter_goes_first_once_and_long_runs_cost_turns() {
    let mut queue = Queue::<()>::new(rules(1));
    for flood in 0..5 {
        for _ in 0..100 {
            let ask = Ask { deadline: Some(1), ..ask(&format!("{flood}"), Priority::Normal) };
            accepted(queue.push(0, &ask, |_| ()));
        }
    }
    for _ in 0..17 {
        serve(&mut queue, 0, 1);
    }
    let single = accepted(queue.push(0, &ask("single", Priority::Normal), |_| ()));
    let before = (0..).take_while(|_| serve(&mut queue, 0, 1) != Some(single)).count();
    assert!(before <= 5, "{before} jobs of five submitters went before it");

    let mut queue = Queue::<()>::new(rules(1));
    let mut long = Vec::new();
    for _ in 0..200 {
        long.push(accepted(queue.push(0, &ask("long", Priority::Normal), |_| ())));
        accepted(queue.push(0, &ask("short", Priority::Normal), |_| ()));
    }
    let (mut long_ns, mut short_ns) = (0, 0);
    for _ in 0..110 {
        let id = queue.pick(0).unwrap().id;
        let (ran, sum) = if long.contains(&id) { (5 * SLICE, &mut long_ns) } else { (SLICE, &mut short_ns) };
        *sum += ran;
        assert!(queue.end(id, ran, End::Done));
    }
    assert!(long_ns.abs_diff(short_ns) <= 5 * SLICE, "long {long_ns}, short {short_ns}");

    // Debts are bounded.
    let mut queue = Queue::<()>::new(rules(1));
    for _ in 0..2 {
        accepted(queue.push(0, &ask("hog", Priority::Normal), |_| ()));
    }
    serve(&mut queue, 0, u64::MAX);
    let ids: Vec<_> = (0..100).map(|_| accepted(queue.push(0, &ask("other", Priority::Normal), |_| ()))).collect();
    let before = (0..).take_while(|_| ids.contains(&serve(&mut queue, 0, 1).unwrap())).count();
    assert!((1..=DEBT_MAX as usize).contains(&before), "{before} jobs went before one in debt");
}

/// M1: three ages, and then a turn, under a stream of the highest priority that never ends.
#[test]
fn nothing_starves_under_an_endless_stream_of_urgent_jobs() {
    for (submitter, most) in [("else", 3 * AGE + 2), ("stream", PATIENCE * AGE + 2)] {
        let mut queue = Queue::<()>::new(rules(1));
        let low = accepted(queue.push(0, &ask(submitter, Priority::Low), |_| ()));
        let mut now = 0;
        loop {
            // One comes each moment, each due at once, and one is served: there is always another.
            let urgent = Ask { deadline: Some(now), late: Late::Run, ..ask("stream", Priority::Urgent) };
            accepted(queue.push(now, &urgent, |_| ()));
            if serve(&mut queue, now, 1) == Some(low) {
                break;
            }
            now += 1;
            assert!(now <= most, "still waiting at {now}");
        }
        assert!(now >= 3 * AGE, "it overtook urgent ones at {now}");
    }
}

/// A job that is done slice by slice lets others go between, of its own submitter too.
#[test]
fn slices_of_a_long_job_alternate_with_others() {
    let mut queue = Queue::<()>::new(rules(1));
    let long = accepted(queue.push(0, &ask("a", Priority::Normal), |_| ()));
    let own = accepted(queue.push(0, &ask("a", Priority::Normal), |_| ()));
    let other = accepted(queue.push(0, &ask("b", Priority::Normal), |_| ()));
    let mut order = Vec::new();
    for now in 0..5 {
        let id = queue.pick(now).unwrap().id;
        order.push(id);
        if id == long {
            assert!(queue.yield_back(id, now, SLICE, ()).is_ok());
        } else {
            assert!(queue.end(id, 1, End::Done));
        }
    }
    assert_eq!(order, [long, other, own, long, long]);
    assert!(queue.take(long, End::Cancelled).is_some(), "between two slices it can be taken out");
    assert!(queue.is_empty());
}

/// Jobs between slices always find a place, and are not shed.
#[test]
fn what_has_begun_keeps_its_place_in_a_full_queue() {
    let mut queue = Queue::<()>::new(Rules { capacity: 1, when_full: WhenFull::ShedLowest, ..rules(1) });
    let begun = accepted(queue.push(0, &ask("a", Priority::Low), |_| ()));
    assert_eq!(queue.pick(0).map(|picked| picked.id), Some(begun));
    accepted(queue.push(0, &ask("a", Priority::Normal), |_| ()));
    assert!(queue.yield_back(begun, 0, SLICE, ()).is_ok());
    assert_eq!(queue.room(), 0);
    assert_eq!(queue.push(0, &ask("a", Priority::Normal), |_| ()), Pushed::Full, "no lower one to shed");
    assert!(matches!(queue.push(0, &ask("a", Priority::High), |_| ()), Pushed::InsteadOf(..)));
    // Who has begun and waits takes room like all others: otherwise each would make room for the next.
    assert_eq!(queue.pick(0).map(|picked| picked.waiting_since), Some(Some(0)));
    assert_eq!(queue.push(0, &ask("a", Priority::Urgent), |_| ()), Pushed::Full);
    let shed = queue.by_priority().map(|counts| counts.shed);
    assert_eq!(shed, [0, 1, 0, 0], "the one that had not begun");
}

#[test]
fn names_without_jobs_do_not_pile_up() {
    let mut queue = Queue::<()>::new(rules(1));
    for name in 0..1000 {
        let name: Arc<str> = format!("{name}").into();
        accepted(queue.push(0, &Ask { submitter: name, ..ask("", Priority::Normal) }, |_| ()));
        serve(&mut queue, 0, 1);
    }
    assert_eq!(queue.accounts().all().count(), 8);
    let mut all = queue.accounts().forgotten;
    queue.accounts().all().for_each(|account| all += account.counts);
    assert_eq!((all.accepted, all.done), (1000, 1000));
}

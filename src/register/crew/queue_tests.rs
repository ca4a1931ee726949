//! The queue beside a slow twin, one thread after the other; and with threads that wait.

use std::collections::BTreeSet;

use crossbeam_utils::sync::Parker;
use proptest::prelude::*;

use super::*;
use crate::Budget;
use crate::core::Core;
use crate::main_lane::outcome::Left;
use crate::main_lane::report::ShutdownReport;
use crate::observe::diagnostic::Reporter;
use crate::register::crew::ready::{Doing, Rest};
use crate::register::crew::seat::{Driven, Ended, Turned};

const LONG: Duration = Duration::from_secs(3_600);
const PATIENCE: Duration = Duration::from_secs(30);

/// A main lane that never has anything to do.
struct Idle;

impl Driven for Idle {
    fn turn(&mut self, _: Budget) -> Turned {
        Turned { events: 0, ended: Ended::No { left: Left::Nothing } }
    }

    fn is_waiting(&self) -> bool {
        false
    }

    fn due(&self) -> Option<Instant> {
        None
    }

    fn shutdown_by(&mut self, _: Instant) -> ShutdownReport {
        unreachable!("nobody shuts it down")
    }

    fn let_go(self: Box<Self>) {}
}

fn seats(queue: &Arc<Queue>, count: u64) -> Vec<Arc<Seat>> {
    let seat = |id| {
        let core = Arc::new(Core::new(Parker::new().unparker().clone(), Reporter::new().0));
        Arc::new(Seat::new(id, id.to_string().into(), core, Box::new(Idle), Arc::downgrade(queue)))
    };
    (0..count).map(seat).collect()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::yield_now();
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Wake(u64),
    /// What a thread of the crew does next, if there is anything.
    Take,
    /// What a host does next.
    TryTake,
    /// A driver lets go: with more, dry, or to sleep.
    More(u64),
    Dry(u64),
    Sleep(u64),
    /// A timer that is due, or is not for long.
    Timer(u64, bool),
    End(u64),
    Outlook,
}

const SEATS: u64 = 80;

fn step() -> impl Strategy<Value = Step> {
    let who = || 0..SEATS;
    prop_oneof![
        6 => who().prop_map(Step::Wake),
        6 => Just(Step::Take),
        2 => Just(Step::TryTake),
        2 => who().prop_map(Step::More),
        4 => who().prop_map(Step::Dry),
        2 => who().prop_map(Step::Sleep),
        2 => (who(), any::<bool>()).prop_map(|(who, due)| Step::Timer(who, due)),
        1 => who().prop_map(Step::End),
        1 => Just(Step::Outlook),
    ]
}

/// What a project is doing, as the twin has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Is {
    #[default]
    Asleep,
    Queued,
    Driven {
        woken: bool,
    },
    Over,
    /// It is driven once more, and no more.
    Ending,
}

/// The queue, without thought for what it costs.
#[derive(Default)]
struct Twin {
    is: Vec<Is>,
    ready: Vec<u64>,
    dry: Vec<u64>,
    /// Those that are due, and who it is.
    due: BTreeSet<(Instant, u64)>,
    later: Vec<u64>,
}

impl Twin {
    fn wake(&mut self, who: u64) {
        let is = &mut self.is[who as usize];
        match is {
            Is::Asleep => {
                *is = Is::Queued;
                self.ready.push(who);
            }
            Is::Driven { woken } => *woken = true,
            Is::Queued | Is::Over | Is::Ending => {}
        }
    }

    fn ring(&mut self) {
        while let Some((_, who)) = self.due.pop_first() {
            self.wake(who);
        }
    }

    /// Begins to drive it.
    fn begin(&mut self, who: u64) -> bool {
        let is = &mut self.is[who as usize];
        let begins = *is == Is::Queued;
        if begins {
            *is = Is::Driven { woken: false };
        }
        begins
    }

    /// What a driver does with it that lets go: queues it (true) or not.
    fn rest(&mut self, who: u64, more: bool) -> bool {
        let is = &mut self.is[who as usize];
        let (next, queues) = match *is {
            Is::Driven { woken } if more || woken => (Is::Queued, true),
            Is::Driven { .. } => (Is::Asleep, false),
            _ => (Is::Over, false),
        };
        *is = next;
        queues
    }

    fn end(&mut self, who: u64) {
        let is = &mut self.is[who as usize];
        *is = if matches!(is, Is::Driven { .. } | Is::Ending) { Is::Ending } else { Is::Over };
        self.ready.retain(|other| *other != who);
        self.dry.retain(|other| *other != who);
        self.due.retain(|(_, other)| *other != who);
        self.later.retain(|other| *other != who);
    }

    fn is_driven(&self, who: u64) -> bool {
        matches!(self.is[who as usize], Is::Driven { .. } | Is::Ending)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 400 }))]

    /// With a linger that is over at once, or never.
    #[test]
    fn the_queue_is_what_its_twin_is(steps in prop::collection::vec(step(), 0..400), at_once: bool) {
        let queue = Arc::new(Queue::new(1, 0, None));
        let seats = seats(&queue, SEATS);
        let linger = if at_once { Duration::ZERO } else { Duration::MAX };
        let mut twin = Twin { is: vec![Is::Asleep; seats.len()], ..Twin::default() };
        prop_assert!(queue.join() && !queue.join(), "one is wanted");
        for step in steps {
            match step {
                Step::Wake(who) => {
                    seats[who as usize].wake();
                    twin.wake(who);
                }
                Step::Take => {
                    let lets_sleep = !twin.dry.is_empty() && (at_once || twin.dry.len() >= TOGETHER);
                    if !lets_sleep {
                        twin.ring();
                    }
                    if twin.ready.is_empty() && twin.dry.is_empty() {
                        // It would wait.
                        prop_assert_eq!(queue.ready_now(), 0);
                        continue;
                    }
                    let mut dry = Vec::new();
                    match queue.take(linger, &mut dry) {
                        Some(Work::LetSleep) => {
                            prop_assert!(lets_sleep);
                            let count = twin.dry.len().min(TOGETHER);
                            let expected: Vec<_> = twin.dry.drain(..count).collect();
                            prop_assert_eq!(dry.iter().map(|seat| seat.id).collect::<Vec<_>>(), &expected[..]);
                            for seat in dry {
                                prop_assert_eq!(seat.ready.begin(), twin.begin(seat.id));
                            }
                        }
                        Some(Work::Drive(seat)) => {
                            prop_assert!(!lets_sleep);
                            let from = if twin.ready.is_empty() { &mut twin.dry } else { &mut twin.ready };
                            prop_assert_eq!(seat.id, from.remove(0), "first come first served");
                            prop_assert_eq!(seat.ready.begin(), twin.begin(seat.id));
                        }
                        None => prop_assert!(false, "it is not to end"),
                    }
                }
                Step::TryTake => {
                    let expected = (!twin.ready.is_empty()).then(|| twin.ready.remove(0));
                    let seat = queue.try_take();
                    prop_assert_eq!(seat.as_ref().map(|seat| seat.id), expected);
                    if let Some(seat) = seat {
                        prop_assert_eq!(seat.ready.begin(), twin.begin(seat.id));
                    }
                }
                Step::More(who) | Step::Dry(who) | Step::Sleep(who) if twin.is_driven(who) => {
                    let seat = &seats[who as usize];
                    let queues = twin.rest(who, !matches!(step, Step::Sleep(_)));
                    prop_assert_eq!(seat.ready.rest(!matches!(step, Step::Sleep(_))) == Rest::Queue, queues);
                    if queues && matches!(step, Step::Dry(_)) {
                        queue.push_dry(Instant::now(), seat.clone());
                        twin.dry.push(who);
                    } else if queues {
                        queue.push(seat.clone());
                        twin.ready.push(who);
                    }
                }
                Step::More(_) | Step::Dry(_) | Step::Sleep(_) => {}
                Step::Timer(who, is_due) => {
                    if twin.is[who as usize] == Is::Over {
                        continue;
                    }
                    let due = if is_due { Instant::now() } else { Instant::now() + LONG };
                    queue.wake_at(due, seats[who as usize].clone());
                    if is_due {
                        twin.due.insert((due, who));
                    } else {
                        twin.later.push(who);
                    }
                }
                Step::End(who) => {
                    seats[who as usize].ready.end();
                    queue.forget(who);
                    twin.end(who);
                }
                Step::Outlook => {
                    twin.ring();
                    let is_right = match queue.outlook() {
                        Outlook::More => !twin.ready.is_empty(),
                        Outlook::Until(due) => {
                            twin.ready.is_empty() && !twin.later.is_empty() && due > Instant::now()
                        }
                        Outlook::Nothing => twin.ready.is_empty() && twin.later.is_empty(),
                    };
                    prop_assert!(is_right);
                }
            }
            prop_assert_eq!(queue.len(), twin.ready.len() + twin.dry.len());
            prop_assert_eq!(queue.has_more(Instant::now()), queue.len() > 0 || !twin.due.is_empty());
            for (seat, is) in seats.iter().zip(&twin.is) {
                let expected = match is {
                    Is::Asleep => Doing::Asleep,
                    Is::Queued => Doing::Queued,
                    Is::Driven { .. } | Is::Ending => Doing::Driven,
                    Is::Over => Doing::Over,
                };
                prop_assert_eq!(seat.ready.look(), expected);
            }
        }
        queue.close();
        prop_assert_eq!(queue.len(), 0);
        prop_assert!(queue.take(linger, &mut Vec::new()).is_none());
        prop_assert_eq!(queue.hands().active, 0);
        drop(queue);
        prop_assert!(seats.iter().all(|seat| Arc::strong_count(seat) == 1), "nobody is kept");
    }
}

/// A thread that takes what there is, and says who it was.
fn taker(queue: &Arc<Queue>, told: crossbeam_channel::Sender<u64>) -> std::thread::JoinHandle<()> {
    assert!(queue.join());
    let queue = queue.clone();
    std::thread::spawn(move || {
        let mut dry = Vec::new();
        while let Some(work) = queue.take(Duration::ZERO, &mut dry) {
            let Work::Drive(seat) = work else { panic!("none runs dry here") };
            assert!(seat.ready.begin());
            told.send(seat.id).unwrap();
            if seat.ready.rest(false) == Rest::Queue {
                queue.push(seat);
            }
        }
    })
}

fn parked(queue: &Queue) -> usize {
    queue.waiting.lock().parked
}

#[test]
fn a_timer_of_one_who_does_not_wait_is_kept_by_those_who_do() {
    for threads in 1..=3 {
        let queue = Arc::new(Queue::new(threads, 0, None));
        let seats = seats(&queue, 20);
        let (tell, told) = crossbeam_channel::unbounded();
        let takers: Vec<_> = (0..threads).map(|_| taker(&queue, tell.clone())).collect();
        for seat in &seats {
            until("all wait", || parked(&queue) == threads);
            // The second is earlier than what somebody waits for already.
            for due in [LONG, Duration::from_millis(2)] {
                queue.wake_at(Instant::now() + due, seat.clone());
                queue.leave_to_others();
            }
            assert_eq!(told.recv_timeout(PATIENCE), Ok(seat.id));
            queue.forget(seat.id);
        }
        queue.close();
        takers.into_iter().for_each(|taker| taker.join().unwrap());
    }
}

#[test]
fn what_a_host_finds_to_be_due_and_leaves_is_done_by_those_who_wait() {
    let queue = Arc::new(Queue::new(1, 0, None));
    let seats = seats(&queue, 1);
    let (tell, told) = crossbeam_channel::unbounded();
    let taker = taker(&queue, tell);
    until("it waits", || parked(&queue) == 1);
    // Due at once, and nobody was told.
    queue.wake_at(Instant::now(), seats[0].clone());
    assert_eq!((queue.outlook(), queue.len()), (Outlook::More, 1));
    assert!(queue.has_more(Instant::now()), "whoever lingers lets others go first");
    queue.leave_to_others();
    assert_eq!(told.recv_timeout(PATIENCE), Ok(0));
    queue.close();
    taker.join().unwrap();
}

#[test]
fn the_time_is_kept_while_whoever_kept_it_is_away() {
    let queue = Arc::new(Queue::new(2, 0, None));
    let seats = seats(&queue, 2);
    assert!(queue.join() && queue.join());
    // Due soon, while the first who comes has something else to do for long.
    queue.wake_at(Instant::now() + Duration::from_millis(20), seats[0].clone());
    let (tell, told) = crossbeam_channel::unbounded();
    let takers: Vec<_> = (0..2)
        .map(|_| {
            let (queue, tell) = (queue.clone(), tell.clone());
            std::thread::spawn(move || {
                while let Some(Work::Drive(seat)) = queue.take(Duration::ZERO, &mut Vec::new()) {
                    let id = seat.id;
                    tell.send(id).unwrap();
                    if id == 1 {
                        until("the other is served", || seat.counts.turns.load(Relaxed) == 1);
                    }
                }
            })
        })
        .collect();
    until("both wait", || parked(&queue) == 2 || told.len() == 1);
    seats[1].wake();
    let mut served = [told.recv_timeout(PATIENCE).unwrap(), told.recv_timeout(PATIENCE).unwrap()];
    served.sort_unstable();
    assert_eq!(served, [0, 1]);
    seats[1].counts.turns.store(1, Relaxed);
    queue.close();
    takers.into_iter().for_each(|taker| taker.join().unwrap());
}

#[test]
fn whoever_is_one_too_many_passes_on_what_it_was_woken_for() {
    let queue = Arc::new(Queue::new(1, 1, None));
    let seats = seats(&queue, 1);
    let (tell, told) = crossbeam_channel::unbounded();
    for round in 0..200 {
        // One is stuck, another comes in its place, and the first returns.
        let (post, other) = (Post::default(), round == 0);
        let first = other.then(|| taker(&queue, tell.clone()));
        until("it waits", || parked(&queue) == 1);
        assert!(!queue.hands().wants_more() && !queue.join());
        post.begin(1, 99);
        assert!(queue.call_stuck(&post, post.look().unwrap(), None) && post.look().is_none());
        assert_eq!((queue.hands().active, queue.hands().stuck), (0, 1));
        let spare = taker(&queue, tell.clone());
        until("both wait", || parked(&queue) == 2);
        assert!(post.end());
        queue.returned(&seats[0]);
        assert_eq!((queue.hands().active, queue.hands().stuck), (2, 0));
        seats[0].wake();
        assert_eq!(told.recv_timeout(PATIENCE), Ok(0));
        until("one has ended", || queue.hands().active == 1);
        drop((first, spare));
    }
    queue.close();
    until("none is left", || queue.hands().active == 0);
}

#[test]
fn the_watch_sleeps_while_nobody_has_anything_to_do_and_looks_otherwise() {
    let queue = Arc::new(Queue::new(1, 1, None));
    let seats = seats(&queue, 1);
    // Nobody drives yet: one is wanted.
    assert_eq!(queue.wait_to_watch(Duration::from_millis(1)), Watching::Look);
    let (tell, told) = crossbeam_channel::unbounded();
    let taker = taker(&queue, tell);
    until("it waits", || parked(&queue) == 1);
    let its = queue.clone();
    let watch = std::thread::spawn(move || {
        let mut looks = 0;
        while its.wait_to_watch(Duration::from_millis(1)) == Watching::Look {
            looks += 1;
        }
        looks
    });
    until("it sleeps", || queue.waiting.lock().watch_sleeps);
    seats[0].wake();
    assert_eq!(told.recv_timeout(PATIENCE), Ok(0));
    until("it sleeps again", || queue.waiting.lock().watch_sleeps && parked(&queue) == 1);
    queue.close();
    let _: u64 = watch.join().unwrap();
    taker.join().unwrap();
    assert_eq!(queue.wait_to_watch(LONG), Watching::Over);
}

#[test]
fn a_host_is_called_once_for_all_that_comes_after_it_found_nothing() {
    let calls = Arc::new(AtomicU64::new(0));
    let counts = calls.clone();
    let hook: ReadyHook = Box::new(move || {
        counts.fetch_add(1, Relaxed);
    });
    let queue = Arc::new(Queue::new(0, 0, Some(hook)));
    let seats = seats(&queue, 3);
    for round in 1..=10 {
        seats.iter().for_each(Seat::wake);
        assert_eq!(calls.load(Relaxed), round);
        assert_eq!((queue.ready_now(), queue.outlook()), (3, Outlook::More));
        while let Some(seat) = queue.try_take() {
            assert!(seat.ready.begin() && seat.ready.rest(false) == Rest::Asleep);
        }
        assert_eq!(calls.load(Relaxed), round, "it has not looked");
        assert_eq!(queue.outlook(), Outlook::Nothing);
    }
    // One that is shut down is nothing to do.
    seats[0].wake();
    seats[0].ready.end();
    queue.forget(0);
    assert_eq!((queue.len(), queue.outlook()), (0, Outlook::Nothing));
}

//! Operations that are followed to their end, whatever came first: the end, the subscription, or the look.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use mainlane::register::{Followed, OperationFollower, OperationNews, OperationsView};
use mainlane::signal::{Bus, Cause, Delivery, Signal, SignalReader};
use mainlane::{
    Budget, Class, Drive, Effects, Envelope, Event, Handle, Operation, OperationId, Origin, Phase, Pipeline, Reducer,
};

use crate::domain::{PATIENCE, until};

const HERE: Origin = Origin::built_in("test", 1);

struct Step(Operation);

impl Event for Step {
    type Key = ();
    type Facets = ();

    fn class(&self) -> Class<()> {
        Class::Critical
    }

    fn operation(&self) -> Option<Operation> {
        Some(self.0)
    }
}

#[derive(Clone)]
struct Jobs(OperationsView<u64>);

impl Default for Jobs {
    fn default() -> Self {
        Jobs(OperationsView::bounded(64, 1_000))
    }
}

/// Asks for a signal about each step.
impl Reducer for Jobs {
    type Event = Step;
    type Effect = Operation;

    fn apply(&mut self, envelope: &Envelope<'_, Step>, effects: &mut Effects<Operation>) {
        self.0.follow(envelope, |end| end.0.id.0 * 10);
        effects.push(envelope.event.0);
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Stepped(Phase);

impl Signal for Stepped {
    const FAMILY: &'static str = "stepped";
}

type Follower = OperationFollower<Jobs, Stepped, u64>;

fn operations(jobs: &Jobs) -> &OperationsView<u64> {
    &jobs.0
}

fn step(id: OperationId, sequence: u64, phase: Phase) -> Step {
    Step(Operation { id, sequence, phase })
}

fn follow(bus: &Bus, handle: &Handle<Jobs>, id: OperationId) -> Follower {
    let signals = bus.subscribe("follower").operation(id).reader().unwrap();
    OperationFollower::new(id, signals, handle.reader(), operations)
}

/// All its news so far, in words.
fn told(follower: &mut Follower) -> Vec<String> {
    std::iter::from_fn(|| follower.next_waiting()).map(word).collect()
}

fn word(news: OperationNews<Stepped, u64>) -> String {
    match news {
        OperationNews::Signal(Delivery::Signal { sent, .. }) => format!("{:?}", sent.0),
        OperationNews::Signal(Delivery::Missed(missed)) => format!("missed {}", missed.count),
        OperationNews::Ended(end) => format!("ended with {}", end.outcome),
        OperationNews::Forgotten => "forgotten".to_owned(),
        OperationNews::LeftOpen => "left open".to_owned(),
    }
}

#[test]
fn an_end_is_told_once_wherever_it_falls() {
    // Where the subscription is made, and where the first look is taken: before the start, the progress, the end, or after it.
    for subscribed in 0..=3 {
        for looked in subscribed..=3 {
            let (mut dispatcher, bus) = Bus::builder().build();
            let outlet = bus.outlet::<Stepped>(HERE);
            let reconciler = move |step: Operation, _: &Jobs| {
                outlet.publish_because(Cause::operation(step.id), Stepped(step.phase)).unwrap();
            };
            let builder = Pipeline::builder(Jobs::default()).reconciler(reconciler);
            let mut lane = builder.lane("a").open().unwrap();
            let (mut main_lane, handle) = builder.build().unwrap();
            let (id, mut follower, mut news) = (handle.operation(), None, Vec::new());
            for at in 0..=3 {
                if at == subscribed {
                    follower = Some(follow(&bus, &handle, id));
                }
                if at == looked {
                    news.extend(follower.as_mut().map(told).unwrap());
                }
                let Some(phase) = [Phase::Started, Phase::Progress, Phase::Terminal].get(at) else { break };
                lane.push(step(id, at as u64, *phase)).unwrap();
                let _ = main_lane.turn(Budget::UNLIMITED).unwrap();
                dispatcher.turn(Budget::UNLIMITED);
            }
            let mut follower = follower.unwrap();
            news.extend(told(&mut follower));
            let all = ["Started", "Progress", "Terminal", "ended with 0"];
            assert_eq!(news, all[subscribed..], "subscribed at {subscribed}, looked at {looked}");
            assert!(follower.is_over() && follower.next_waiting().is_none());
        }
    }
}

/// Whoever looks first and subscribes then may miss the end, which shows that the test has the race.
#[test]
fn an_end_between_a_look_and_a_subscription_is_not_missed() {
    let (mut dispatcher, bus) = Bus::builder().build();
    let _other = bus.subscribe::<Stepped>("somebody else").reader().unwrap();
    let builder = Pipeline::builder(Jobs::default());
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    let id = handle.operation();
    lane.push(step(id, 0, Phase::Started)).unwrap();
    let _ = main_lane.turn(Budget::UNLIMITED).unwrap();
    assert!(matches!(handle.reader().load().0.get(id), Followed::Open(_)), "the look");
    bus.outlet(HERE).publish_because(Cause::operation(id), Stepped(Phase::Terminal)).unwrap();
    dispatcher.turn(Budget::UNLIMITED);
    lane.push(step(id, 1, Phase::Terminal)).unwrap();
    let _ = main_lane.turn(Budget::UNLIMITED).unwrap();
    let mut signals: SignalReader<Stepped> = bus.subscribe("late").operation(id).reader().unwrap();
    dispatcher.turn(Budget::UNLIMITED);
    assert!(signals.next_waiting().is_none(), "signals will never tell");
    let mut follower = OperationFollower::new(id, signals, handle.reader(), operations);
    assert_eq!(told(&mut follower), ["ended with 0"]);
}

/// Signals may be published before the state is: effects run before it.
#[test]
fn an_end_whose_signal_came_before_the_subscription_and_whose_state_comes_after_the_look_is_not_missed() {
    let running = Bus::builder().start().unwrap();
    let bus = running.bus().clone();
    let _other = bus.subscribe::<Stepped>("somebody else").reader().unwrap();
    let (made, waiting): (Arc<Mutex<Option<Follower>>>, _) =
        (Arc::default(), Arc::new(Mutex::new(None::<Handle<Jobs>>)));
    let (makes, of) = (made.clone(), waiting.clone());
    let outlet = bus.outlet::<Stepped>(HERE);
    let reconciler = move |step: Operation, _: &Jobs| {
        outlet.publish_because(Cause::operation(step.id), Stepped(step.phase)).unwrap();
        until("it was handed on", || bus.status::<Stepped>().dispatched == 1);
        let mut follower = follow(&bus, of.lock().unwrap().as_ref().unwrap(), step.id);
        assert!(told(&mut follower).is_empty(), "neither the signal nor the state");
        *makes.lock().unwrap() = Some(follower);
    };
    let builder = Pipeline::builder(Jobs::default()).reconciler(reconciler);
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    *waiting.lock().unwrap() = Some(handle.clone());
    lane.push(step(OperationId(7), 0, Phase::Terminal)).unwrap();
    let _ = main_lane.turn(Budget::UNLIMITED).unwrap();
    let mut follower = made.lock().unwrap().take().unwrap();
    assert_eq!(follower.wait(Instant::now() + PATIENCE).map(word), Some("ended with 70".to_owned()));
}

#[test]
fn what_cannot_be_told_is_said_to_be_so() {
    let (_dispatcher, bus) = Bus::builder().build();
    let builder = Pipeline::builder(Jobs::default());
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    lane.push_batch((0..65).map(|id| step(OperationId(id), 0, Phase::Started))).unwrap();
    let _ = main_lane.turn(Budget::UNLIMITED).unwrap();
    let mut given_way = follow(&bus, &handle, OperationId(0));
    assert_eq!(told(&mut given_way), ["forgotten"]);
    let (mut open, mut never) = (follow(&bus, &handle, OperationId(9)), follow(&bus, &handle, OperationId(99)));
    assert!(told(&mut open).is_empty() && told(&mut never).is_empty());
    // A bus that ends is no end of an operation.
    drop(_dispatcher);
    assert!(told(&mut open).is_empty());
    assert!(main_lane.shutdown(PATIENCE).complete);
    let soon = || Instant::now() + PATIENCE;
    assert_eq!(open.wait(soon()).map(word), Some("left open".to_owned()));
    assert_eq!((told(&mut never), never.wait(soon()).is_none()), (vec!["left open".to_owned()], true));
}

#[test]
fn whoever_comes_at_any_time_learns_every_outcome() {
    const JOBS: u64 = 400;
    let signals = Bus::builder().start().unwrap();
    let bus = signals.bus().clone();
    let outlet = bus.outlet::<Stepped>(HERE);
    let publish = move |step: Operation, _: &Jobs| {
        // A full family is no reason to guess, either.
        let _ = outlet.publish_because(Cause::operation(step.id), Stepped(step.phase));
    };
    let builder = Pipeline::builder(Jobs::default()).reconciler(publish);
    let mut lane = builder.lane("a").open().unwrap();
    let (main_lane, handle) = builder.build().unwrap();
    let mut running = main_lane.spawn(Drive::new()).unwrap();
    let producer = std::thread::spawn(move || {
        for id in 0..JOBS {
            lane.push(step(OperationId(id), 0, Phase::Started)).unwrap();
            std::thread::yield_now();
            lane.push(step(OperationId(id), 1, Phase::Terminal)).unwrap();
        }
    });
    let blocking = std::thread::spawn({
        let (bus, handle) = (bus.clone(), handle.clone());
        move || {
            for id in 0..JOBS {
                let mut follower = follow(&bus, &handle, OperationId(id));
                let mut words = std::iter::from_fn(|| follower.wait(Instant::now() + PATIENCE)).map(word);
                assert_eq!(words.by_ref().last(), Some(format!("ended with {}", id * 10)));
            }
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        for id in (0..JOBS).rev() {
            let (mut follower, mut last) = (follow(&bus, &handle, OperationId(id)), None);
            while let Some(news) = follower.next().await {
                last = Some(word(news));
            }
            assert_eq!(last, Some(format!("ended with {}", id * 10)));
        }
    });
    producer.join().unwrap();
    blocking.join().unwrap();
    assert!(running.shutdown(PATIENCE).complete);
}

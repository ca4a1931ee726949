//! How workers are doing, told on a bus: what a view hears, what becomes a part of the state, and what is never lost.

use std::sync::OnceLock;

use mainlane::control::{Backoff, Failure, Health, HealthChanged, Intensity, Restarts, WorkerChanged};
use mainlane::signal::{Bus, Dispatcher, SignalReader};
use mainlane::{Budget, Class, Effects, Envelope, Event, Reducer};

use super::*;
use crate::domain::until;

/// Fails as long as it is to, and is nudged to try.
struct Shaky(Arc<AtomicU64>);

impl Worker<Ledger> for Shaky {
    fn turn(&mut self, _: &mut WorkerContext<Ledger>) -> Result<Next, WorkerError> {
        if self.0.load(Ordering::SeqCst) > 0 {
            self.0.fetch_sub(1, Ordering::SeqCst);
            return Err("no luck".into());
        }
        Ok(Next::Nudged)
    }
}

impl Worker<Board> for Shaky {
    fn turn(&mut self, _: &mut WorkerContext<Board>) -> Result<Next, WorkerError> {
        match self.0.load(Ordering::SeqCst) {
            0 => Ok(Next::Nudged),
            _ => Err("no luck".into()),
        }
    }
}

/// What waits for a reader, in words.
fn words<T: mainlane::signal::Signal>(
    dispatcher: &mut Dispatcher,
    reader: &mut SignalReader<T>,
    mut word: impl FnMut(&T) -> String,
) -> Vec<String> {
    while dispatcher.turn(Budget::UNLIMITED).more {}
    let mut all = Vec::new();
    while let mainlane::signal::Waiting::More =
        reader.drain(Budget::events(2), |delivery| all.extend(delivery.signal().map(|sent| word(sent.signal())))).left
    {
    }
    all
}

fn of_worker(changed: &WorkerChanged) -> String {
    let state = |state: Option<WorkerState>| state.map_or("-".to_owned(), |state| state.to_string());
    format!("{}: {} to {}", changed.worker, state(changed.was), state(changed.is))
}

fn of_health(changed: &HealthChanged) -> String {
    format!("{:?} to {:?}", changed.was, changed.is)
}

const RARELY: Duration = Duration::from_secs(3600);

#[test]
fn the_health_of_a_failing_worker_reaches_a_view_within_its_budget() {
    let (mut running, handle) = pipeline();
    let (mut dispatcher, bus) = Bus::builder().build();
    let mut workers = bus.subscribe::<WorkerChanged>("view").waiting(1_000).reader().unwrap();
    let mut health = bus.subscribe::<HealthChanged>("view").reader().unwrap();
    let mut panel = ControlPanel::builder().name("crew").signals(&bus).start().unwrap();
    let fails = Arc::new(AtomicU64::new(0));
    let its = fails.clone();
    let rest = Backoff::between(RARELY, RARELY);
    panel.group("monitors").start().unwrap();
    let spec = panel.worker(&handle, "shaky", move || Ok(Shaky(its.clone()))).backoff(rest);
    spec.group("monitors").start().unwrap();
    wait_until(&panel, "shaky", WorkerState::Running);
    fails.store(1, Ordering::SeqCst);
    panel.nudge("shaky").unwrap();
    let is_resting = |status: &WorkerStatus| matches!(status.state, WorkerState::Resting { .. });
    panel.wait_for("shaky", deadline(), is_resting).unwrap();
    let mut seen = Vec::new();
    until("the view knows that it rests", || {
        seen.extend(words(&mut dispatcher, &mut workers, |changed| {
            if let Some(WorkerState::Resting { .. }) = changed.is {
                assert_eq!((&*changed.panel, changed.group.as_deref()), ("crew", Some("monitors")));
                assert_eq!((changed.failures, changed.restarts), (1, 1));
                assert!(matches!(&changed.failure, Some(Failure::Error { message, .. }) if message == "no luck"));
                assert!(changed.to_string().contains("no luck"), "{changed}");
            }
            of_worker(changed)
        }));
        seen.iter().any(|word| word.ends_with("to resting"))
    });
    let mut healths = Vec::new();
    until("the view knows of the health", || {
        healths.extend(words(&mut dispatcher, &mut health, of_health));
        !healths.is_empty()
    });
    // Somebody looks at it again and again: that a rest grows shorter is no change.
    panel.nudge("shaky").unwrap();
    panel.stop("shaky").unwrap();
    wait_until(&panel, "shaky", WorkerState::Stopped);
    panel.start("shaky").unwrap();
    wait_until(&panel, "shaky", WorkerState::Running);
    assert!(panel.shutdown(PATIENCE).complete);
    seen.extend(words(&mut dispatcher, &mut workers, of_worker));
    healths.extend(words(&mut dispatcher, &mut health, of_health));
    assert_eq!(healths, ["Good to Degraded", "Degraded to Good"]);
    // Each begins where the last one ended, and the last is told.
    let ends: Vec<_> = seen.iter().map(|word| word.trim_start_matches("shaky: ").split_once(" to ").unwrap()).collect();
    assert_eq!((ends[0].0, ends[ends.len() - 1].1), ("-", "stopped"), "{seen:?}");
    assert!(ends.windows(2).all(|two| two[0].1 == two[1].0), "{seen:?}");
    assert_eq!(ends.iter().filter(|(_, is)| *is == "resting").count(), 1, "{seen:?}");
    assert!(running.shutdown(PATIENCE).complete);
}

/// What a view shows, as a part of the state.
#[derive(Clone, Default)]
struct Board {
    lamps: Vec<(Arc<str>, bool)>,
    health: Option<Health>,
}

enum Report {
    Worker { name: Arc<str>, runs: bool },
    Health(Health),
}

impl Event for Report {
    type Key = ();
    type Facets = ();

    fn class(&self) -> Class<()> {
        Class::Critical
    }
}

impl Reducer for Board {
    type Event = Report;
    type Effect = ();

    fn apply(&mut self, envelope: &Envelope<'_, Report>, _: &mut Effects<()>) {
        match envelope.event {
            Report::Worker { name, runs } => match self.lamps.iter_mut().find(|(lamp, _)| lamp == name) {
                Some((_, lamp)) => *lamp = *runs,
                None => self.lamps.push((name.clone(), *runs)),
            },
            Report::Health(health) => self.health = Some(*health),
        }
    }
}

#[test]
fn the_health_of_a_failing_worker_becomes_a_part_of_the_state_through_a_lane() {
    let signals = Bus::builder().start().unwrap();
    let bus = signals.bus();
    let (main_lane, handle) = Pipeline::builder(Board::default()).build().unwrap();
    let mut running = main_lane.spawn(Drive::new()).unwrap();
    let lane = |name| handle.lane(name).open().unwrap();
    let to_worker = |sent: &mainlane::signal::Sent<WorkerChanged>| {
        Some(Report::Worker { name: sent.worker.clone(), runs: sent.is == Some(WorkerState::Running) })
    };
    let to_health = |sent: &mainlane::signal::Sent<HealthChanged>| Some(Report::Health(sent.is));
    let _workers = bus.subscribe("lamps").into_lane("to lane", lane("workers"), to_worker).unwrap();
    let _health = bus.subscribe("health").into_lane("to lane", lane("health"), to_health).unwrap();
    let mut panel = ControlPanel::builder().signals(bus).intensity(Intensity::at_most(0, RARELY)).start().unwrap();
    let fails = Arc::new(AtomicU64::new(0));
    let (its, calm) = (fails.clone(), Arc::new(AtomicU64::new(0)));
    panel.worker(&handle, "shaky", move || Ok(Shaky(its.clone()))).start().unwrap();
    let temporary = Restarts::Temporary;
    panel.worker(&handle, "calm", move || Ok(Shaky(calm.clone()))).restarts(temporary).start().unwrap();
    let reader = handle.reader();
    let runs = |name: &str| reader.load().lamps.iter().any(|(lamp, runs)| &**lamp == name && *runs);
    until("both lamps are on", || runs("shaky") && runs("calm"));
    fails.store(1, Ordering::SeqCst);
    panel.nudge("shaky").unwrap();
    until("the state knows that there was one failure too many", || {
        reader.load().health == Some(Health::Escalated) && !runs("shaky") && !runs("calm")
    });
    assert!(panel.shutdown(PATIENCE).complete);
    assert!(running.shutdown(PATIENCE).complete);
}

/// For `words`, when there is nothing left to dispatch.
fn bus_that_is_gone() -> Dispatcher {
    Bus::builder().build().0
}

#[test]
fn a_panel_whose_bus_is_not_dispatched_ends_all_the_same() {
    let (mut running, handle) = pipeline();
    let (mut dispatcher, bus) = Bus::builder().build();
    let _workers = bus.subscribe::<WorkerChanged>("view").reader().unwrap();
    let mut panel = ControlPanel::builder().signals(&bus).start().unwrap();
    for worker in 0..300 {
        panel.task(&handle, format!("worker {worker}"), || Ok(PushesInTask(0))).start().unwrap();
    }
    assert!(panel.shutdown(PATIENCE).complete);
    let status = bus.status::<WorkerChanged>();
    assert!(status.refused > 0 && status.depth == 256, "{status:?}");
    // A bus that was shut down before the panel: nobody is told, and nobody waits.
    let mut panel = ControlPanel::builder().signals(&bus).start().unwrap();
    dispatcher.shutdown(PATIENCE);
    panel.task(&handle, "last", || Ok(PushesInTask(0))).start().unwrap();
    wait_until(&panel, "last", WorkerState::Running);
    assert!(panel.shutdown(PATIENCE).complete);
    assert!(running.shutdown(PATIENCE).complete);
}

#[test]
fn what_finds_its_family_full_is_told_later_as_it_is_by_then() {
    const WORKERS: usize = 300;
    let (mut running, handle) = pipeline();
    let (mut dispatcher, bus) = Bus::builder().build();
    let mut workers = bus.subscribe::<WorkerChanged>("view").waiting(10_000).reader().unwrap();
    let mut panel = ControlPanel::builder().signals(&bus).start().unwrap();
    for worker in 0..WORKERS {
        panel.task(&handle, format!("worker {worker}"), || Ok(PushesInTask(0))).start().unwrap();
    }
    let last = format!("worker {}", WORKERS - 1);
    wait_until(&panel, &last, WorkerState::Running);
    until("the family is full", || bus.status::<WorkerChanged>().refused > 0);
    let mut is = std::collections::BTreeMap::new();
    let mut count = |dispatcher: &mut Dispatcher, state| {
        let note = |changed: &WorkerChanged| {
            let before = is.insert(changed.worker.clone(), changed.is);
            assert_eq!(before.flatten(), changed.was, "no tidings are missing, and none come twice");
            String::new()
        };
        words(dispatcher, &mut workers, note);
        is.values().filter(|is| **is == state).count()
    };
    until("all are known to run", || count(&mut dispatcher, Some(WorkerState::Running)) == WORKERS);
    panel.remove("worker 7").unwrap();
    until("it is gone", || count(&mut dispatcher, None) == 1);
    // A panel whose bus is dispatched tells the last state of each, and waits for room.
    let mut signals = dispatcher.spawn().unwrap();
    assert!(panel.shutdown(PATIENCE).complete);
    assert!(signals.shutdown(PATIENCE).complete);
    let stopped = count(&mut bus_that_is_gone(), Some(WorkerState::Stopped));
    assert_eq!(stopped, WORKERS - 1);
    assert!(running.shutdown(PATIENCE).complete);
}

#[test]
fn nobody_is_told_under_the_lock_and_nothing_is_told_to_nobody() {
    let (mut running, handle) = pipeline();
    let panel: Arc<OnceLock<ControlPanel>> = Arc::default();
    let (asks, asked) = (panel.clone(), Count::default());
    let counts = asked.clone();
    // Runs on the thread that publishes: the panel's.
    let hook = move || {
        if let Some(panel) = asks.get() {
            let _ = (panel.workers(), panel.health());
            counts.next();
        }
    };
    let (mut dispatcher, bus) = Bus::builder().on_input(hook).build();
    let started = ControlPanel::builder().signals(&bus).start().unwrap();
    assert!(panel.set(started).is_ok());
    let panel = panel.get().unwrap();
    panel.worker(&handle, "one", || Ok(Pushes(1))).start().unwrap();
    wait_until(panel, "one", WorkerState::Running);
    let status = bus.status::<WorkerChanged>();
    assert_eq!((status.published, status.unheard, status.refused), (0, 0, 0));
    let mut workers = bus.subscribe::<WorkerChanged>("late").reader().unwrap();
    while dispatcher.turn(Budget::UNLIMITED).more {}
    until("armed", || {
        let _ = dispatcher.turn(Budget::UNLIMITED);
        !dispatcher.arm_input()
    });
    panel.worker(&handle, "two", || Ok(Pushes(2))).start().unwrap();
    wait_until(panel, "two", WorkerState::Running);
    until("the hook was called", || asked.now() > 0);
    let mut seen = Vec::new();
    until("a late listener learns how those are that were there before, too", || {
        seen.extend(words(&mut dispatcher, &mut workers, of_worker));
        ["one", "two"].iter().all(|name| seen.iter().any(|word| word.starts_with(name) && word.ends_with("running")))
    });
    panel.stop("one").unwrap();
    wait_until(panel, "one", WorkerState::Stopped);
    assert!(running.shutdown(PATIENCE).complete);
}

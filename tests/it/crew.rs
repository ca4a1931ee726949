//! Many projects on a few threads: each has one writer, none keeps the others waiting, and what becomes of one is no other's matter.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use mainlane::register::{Crew, CrewError, CrewLeft, Hosted, ProjectState};
use mainlane::{
    Budget, Class, Diagnostic, Effects, Envelope, Event, Fault, Handle, Lane, MainLane, Pipeline, Publish, Reducer,
    Refused, Tier,
};

use crate::domain::{PATIENCE, settled, until};

/// Who waits here goes on when it is opened.
#[derive(Clone, Default)]
struct Door(Arc<(Mutex<(bool, u64)>, Condvar)>);

impl Door {
    fn open(&self) {
        self.0.0.lock().unwrap().0 = true;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let mut state = self.0.0.lock().unwrap();
        state.1 += 1;
        while !state.0 {
            state = self.0.1.wait(state).unwrap();
        }
    }

    fn arrived(&self) -> u64 {
        self.0.0.lock().unwrap().1
    }
}

enum Order {
    Add(u64),
    Level(u32, u64),
    Hang(Door),
    Panic,
    /// Has the next job done, after the batch.
    Do,
}

/// What effects are to do.
type Jobs = Arc<Mutex<Vec<Box<dyn FnOnce() + Send>>>>;

impl Event for Order {
    type Key = u32;
    type Facets = ();

    fn class(&self) -> Class<u32> {
        match self {
            Order::Level(key, _) => Class::lossy(*key, Tier::NORMAL),
            _ => Class::Critical,
        }
    }
}

#[derive(Clone, Default)]
struct Project {
    sum: u64,
    count: u64,
    last: u64,
    level: u64,
    /// Shows how many there are.
    _token: Arc<()>,
    /// Somebody is inside.
    inside: Arc<AtomicBool>,
}

impl Reducer for Project {
    type Event = Order;
    type Effect = ();

    fn apply(&mut self, envelope: &Envelope<'_, Order>, effects: &mut Effects<()>) {
        assert!(!self.inside.swap(true, SeqCst), "two write at once");
        match envelope.event {
            Order::Add(n) => (self.sum, self.count, self.last) = (self.sum + n, self.count + 1, *n),
            Order::Level(_, value) => self.level = *value,
            Order::Hang(door) => door.pass(),
            Order::Panic => {
                self.inside.store(false, SeqCst);
                panic!("poisoned")
            }
            Order::Do => effects.push(()),
        }
        self.inside.store(false, SeqCst);
    }
}

fn project() -> (Lane<Order>, MainLane<Project>, Handle<Project>) {
    let builder = Pipeline::builder(Project::default());
    let lane = builder.lane("orders").open().unwrap();
    let (main_lane, handle) = builder.build().unwrap();
    (lane, main_lane, handle)
}

/// A project whose effects run what they are given.
fn doing(jobs: Jobs) -> (Lane<Order>, MainLane<Project>) {
    let reconciler = move |(): (), _: &Project| {
        let job = jobs.lock().unwrap().pop();
        if let Some(job) = job {
            job();
        }
    };
    let builder = Pipeline::builder(Project::default()).reconciler(reconciler);
    let lane = builder.lane("orders").open().unwrap();
    (lane, builder.build().unwrap().0)
}

fn hosted(crew: &Crew, name: &str) -> (Lane<Order>, Hosted<Project>) {
    let (lane, main_lane, _) = project();
    (lane, crew.host(name, main_lane).unwrap())
}

/// How many threads of this process have names that begin so.
fn threads_named(name: &str) -> usize {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return 0 };
    let comms = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    comms.filter(|comm| comm.starts_with(name)).count()
}

fn state_of(crew: &Crew, name: &str) -> ProjectState {
    crew.project(name).unwrap().state
}

#[test]
fn each_project_has_one_writer_and_gets_everything_in_order() {
    const PROJECTS: u64 = 12;
    const EVENTS: u64 = if cfg!(debug_assertions) { 4_000 } else { 40_000 };
    let mut crew = Crew::builder().name("one-writer").threads(3).budget(Budget::events(7)).start().unwrap();
    let mut projects = Vec::new();
    let producers: Vec<_> = (0..PROJECTS)
        .flat_map(|n| {
            let (mut lane, hosted) = hosted(&crew, &format!("{n}"));
            let mut other = hosted.handle().lane("more").capacity(3).open().unwrap();
            projects.push(hosted);
            let steady = std::thread::spawn(move || (1..=EVENTS).for_each(|n| lane.push(Order::Add(n)).unwrap()));
            let levels = std::thread::spawn(move || (1..=EVENTS).for_each(|n| other.push(Order::Level(1, n)).unwrap()));
            [steady, levels]
        })
        .collect();
    producers.into_iter().for_each(|producer| producer.join().unwrap());
    let report = crew.shutdown(PATIENCE);
    assert!(report.complete, "{report:?}");
    for hosted in &projects {
        let state = hosted.handle().reader().load();
        assert_eq!((state.count, state.sum, state.last), (EVENTS, EVENTS * (EVENTS + 1) / 2, EVENTS));
        assert_eq!(state.level, EVENTS, "the newest of all is applied");
        settled(hosted.handle());
    }
    until("the system has forgotten those that were joined", || threads_named("one-writer") == 0);
}

#[test]
fn who_is_ready_is_served_first_come_first_served_a_turn_each() {
    let crew = Crew::builder().threads(0).budget(Budget::events(10)).start().unwrap();
    let mut projects: Vec<_> = ["flood", "b", "c"].map(|name| hosted(&crew, name)).into();
    for (lane, _) in &mut projects {
        lane.push_batch((0..1000).map(|_| Order::Add(1))).unwrap();
    }
    let counts =
        |crew: &Crew| -> Vec<_> { crew.projects().iter().map(|project| (project.turns, project.events)).collect() };
    for round in 1..=100 {
        let turn = crew.turn(Budget::UNLIMITED);
        assert_eq!((turn.projects, turn.events), (3, 30));
        assert_eq!(counts(&crew), [(round, 10 * round); 3], "a turn each");
    }
    // A budget that is spent by the first: the next call begins with the second.
    for (lane, _) in &mut projects {
        lane.push_batch((0..1000).map(|_| Order::Add(1))).unwrap();
    }
    let before = counts(&crew);
    for round in 0..30 {
        let turn = crew.turn(Budget::events(10));
        assert_eq!((turn.events, turn.left), (10, CrewLeft::More));
        let gone: Vec<_> = counts(&crew).iter().zip(&before).map(|(now, before)| (now.1 - before.1) / 10).collect();
        assert_eq!(gone.iter().sum::<u64>(), round + 1);
        assert!(gone.iter().max().unwrap() - gone.iter().min().unwrap() <= 1, "{gone:?}");
    }
    let nothing = crew.turn(Budget::events(0));
    assert_eq!((nothing.projects, nothing.events, nothing.left), (0, 0, CrewLeft::More));
}

#[test]
fn without_a_budget_one_turn_takes_all_there_is() {
    // The control of the test before: what keeps a flood from the others is the budget.
    let crew = Crew::builder().threads(0).budget(Budget::UNLIMITED).start().unwrap();
    let (mut lane, _flood) = hosted(&crew, "flood");
    lane.push_batch((0..1000).map(|_| Order::Add(1))).unwrap();
    assert_eq!(crew.turn(Budget::UNLIMITED).events, 1000);
    assert_eq!(crew.turn(Budget::UNLIMITED).left, CrewLeft::Nothing);
}

#[test]
fn a_flood_does_not_keep_the_others_from_being_served() {
    let mut crew = Crew::builder().threads(1).budget(Budget::events(64)).start().unwrap();
    let (mut flooding, flood) = hosted(&crew, "flood");
    let (mut lane, quiet) = hosted(&crew, "quiet");
    let stop = Arc::new(AtomicBool::new(false));
    let stops = stop.clone();
    let flooding = std::thread::spawn(move || {
        let mut pushed = 0;
        while !stops.load(SeqCst) {
            flooding.push(Order::Add(1)).unwrap();
            pushed += 1;
        }
        pushed
    });
    let mut reader = quiet.handle().reader();
    let flooded = flood.handle().reader();
    for n in 1..=200 {
        let before = flooded.load().count;
        lane.push(Order::Add(n)).unwrap();
        while reader.load().count < n {
            reader.wait_changed(Instant::now() + PATIENCE).expect("a lost wake-up");
        }
        // Both go on.
        until("the flood goes on", || flooded.load().count > before);
    }
    stop.store(true, SeqCst);
    let pushed = flooding.join().unwrap();
    assert!(crew.shutdown(PATIENCE).complete);
    assert_eq!(flooded.load().count, pushed);
    settled(flood.handle());
    settled(quiet.handle());
}

#[test]
fn a_flood_does_not_keep_the_clock_from_waking_the_others() {
    let mut crew = Crew::builder().threads(1).start().unwrap();
    let (mut flooding, flood) = hosted(&crew, "flood");
    let builder = Pipeline::builder(Project::default()).publish(Publish::AtMostEvery(Duration::from_millis(5)));
    let mut lane = builder.lane("orders").open().unwrap();
    let timed = crew.host("timed", builder.build().unwrap().0).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let stops = stop.clone();
    let flooding = std::thread::spawn(move || {
        while !stops.load(SeqCst) {
            flooding.push(Order::Add(1)).unwrap();
        }
    });
    for n in 1..=20 {
        lane.push_batch([Order::Add(1), Order::Add(1)]).unwrap();
        lane.push(Order::Add(1)).unwrap();
        let mut reader = timed.handle().reader();
        while reader.load().count < 3 * n {
            reader.wait_changed(Instant::now() + PATIENCE).expect("a publication that nobody made");
        }
    }
    stop.store(true, SeqCst);
    flooding.join().unwrap();
    assert!(crew.shutdown(PATIENCE).complete);
    settled(flood.handle());
}

#[test]
fn a_project_sleeps_when_there_is_nothing_and_is_woken_by_each_push() {
    for linger in [Duration::ZERO, Duration::from_micros(20), Duration::from_millis(1)] {
        for threads in [1, 2] {
            let mut crew = Crew::builder().threads(threads).linger(linger).start().unwrap();
            let mut projects: Vec<_> = (0..5).map(|n| hosted(&crew, &n.to_string())).collect();
            for n in 1..=300u64 {
                let at = (n * 7 % 5) as usize;
                let (lane, hosted) = &mut projects[at];
                let mut reader = hosted.handle().reader();
                let before = reader.load().count;
                lane.push(Order::Add(n)).unwrap();
                while reader.load().count == before {
                    reader.wait_changed(Instant::now() + PATIENCE).expect("a lost wake-up");
                }
            }
            assert!(crew.shutdown(PATIENCE).complete);
        }
    }
}

#[test]
fn who_has_nothing_to_do_is_not_driven() {
    let crew = Crew::builder().threads(2).start().unwrap();
    let mut projects: Vec<_> = (0..50).map(|n| hosted(&crew, &n.to_string())).collect();
    let all_idle = || crew.projects().iter().all(|project| project.state == ProjectState::Idle);
    until("all sleep", all_idle);
    let turns = || -> Vec<_> { crew.projects().iter().map(|project| project.turns).collect() };
    let before = turns();
    projects[7].0.push(Order::Add(1)).unwrap();
    until("it is applied", || projects[7].1.handle().reader().load().count == 1);
    until("all sleep", all_idle);
    let after = turns();
    let driven: Vec<_> = (0..50).filter(|n| before[*n] != after[*n]).collect();
    assert_eq!(driven, [7]);
    assert!(crew.projects().iter().all(|project| project.thread.is_none()));
}

#[test]
fn a_publication_that_is_due_is_made_though_the_project_sleeps() {
    for threads in [1, 3] {
        let crew = Crew::builder().threads(threads).start().unwrap();
        let mut projects: Vec<_> = (0..8)
            .map(|n| {
                let builder =
                    Pipeline::builder(Project::default()).publish(Publish::AtMostEvery(Duration::from_millis(3 + n)));
                let lane = builder.lane("orders").open().unwrap();
                let (main_lane, _) = builder.build().unwrap();
                (lane, crew.host(format!("{n}"), main_lane).unwrap())
            })
            .collect();
        for round in 1..=40 {
            for (lane, _) in &mut projects {
                // The second is held back, and nothing comes after it.
                lane.push(Order::Add(1)).unwrap();
                lane.push(Order::Add(round)).unwrap();
            }
            for (_, hosted) in &projects {
                let mut reader = hosted.handle().reader();
                while reader.load().count < 2 * round {
                    reader.wait_changed(Instant::now() + PATIENCE).expect("a publication that nobody made");
                }
            }
        }
    }
}

#[test]
fn a_main_lane_that_panics_is_one_project_s_matter_and_is_opened_again_under_its_name() {
    const PROJECTS: usize = 6;
    const ROUNDS: u64 = if cfg!(debug_assertions) { 60 } else { 300 };
    let mut crew = Crew::builder().threads(2).start().unwrap();
    let mut steady: Vec<_> = (0..PROJECTS).map(|n| hosted(&crew, &format!("steady {n}"))).collect();
    let mut random = 0x2545_f491_4f6c_dd1du64;
    let mut faults = 0;
    for round in 0..ROUNDS {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let at = random % 50;
        let (mut lane, mut broken) = hosted(&crew, "broken");
        let mut accepted = 0;
        for n in 0..50 {
            let order = if n == at { Order::Panic } else { Order::Add(1) };
            accepted += u64::from(lane.push(order).is_ok());
            if n == at && random & 1 << 40 != 0 {
                until("it has stopped", || broken.is_finished());
            }
        }
        for (lane, _) in &mut steady {
            lane.push(Order::Add(round)).unwrap();
        }
        until("it has stopped", || broken.is_finished());
        until("that is known", || matches!(state_of(&crew, "broken"), ProjectState::Failed(_)));
        let ProjectState::Failed(fault) = state_of(&crew, "broken") else { unreachable!() };
        assert!(matches!(&fault, Fault::Reducer { message, .. } if message == "poisoned"), "{fault:?}");
        let report = broken.shutdown(PATIENCE);
        assert_eq!(report.fault, Some(fault));
        assert!(matches!(broken.take_poison().unwrap().event, Order::Panic));
        assert!(broken.take_poison().is_none());
        let events = report.counters.events;
        assert!(events.balanced() && events.pushed == accepted, "{events:?}");
        assert!(matches!(lane.push(Order::Add(1)), Err(Refused::Closed(_))));
        assert_eq!(crew.project("broken"), None);
        faults += 1;
    }
    assert_eq!(faults, ROUNDS);
    assert!(crew.shutdown(PATIENCE).complete);
    for (_, hosted) in &steady {
        let state = hosted.handle().reader().load();
        assert_eq!((state.count, state.sum), (ROUNDS, ROUNDS * (ROUNDS - 1) / 2));
        settled(hosted.handle());
    }
}

#[test]
fn who_hangs_holds_one_thread_and_another_takes_its_place_until_it_returns() {
    let limit = Duration::from_millis(20);
    let mut crew = Crew::builder().name("hang-1").threads(1).stuck_after(limit).start().unwrap();
    let (mut hanging, hung) = hosted(&crew, "hung");
    let (mut lane, quiet) = hosted(&crew, "quiet");
    for round in 1..=5u64 {
        let door = Door::default();
        hanging.push(Order::Hang(door.clone())).unwrap();
        until("it hangs", || door.arrived() == 1);
        lane.push(Order::Add(1)).unwrap();
        until("the others go on", || quiet.handle().reader().load().count == round);
        assert_eq!(state_of(&crew, "hung"), ProjectState::Stuck);
        let counters = crew.counters();
        assert_eq!((counters.threads, counters.threads_stuck, counters.stuck_turns), (1, 1, round));
        assert_eq!(counters.threads_started, 1 + round);
        assert_eq!(hung.handle().counters().faults.stuck_turns, round);
        let told =
            hung.handle().diagnostics().drain().filter(|told| matches!(told, Diagnostic::ProjectStuck { .. })).count();
        assert_eq!(told, 1);
        door.open();
        until("it is back", || crew.counters().threads_stuck == 0);
        // The watch and the one who drives.
        until("who is too many has ended", || crew.counters().threads == 1 && threads_named("hang-1") <= 2);
        until("it goes on", || state_of(&crew, "hung") == ProjectState::Idle);
    }
    assert!(crew.shutdown(PATIENCE).complete);
    until("the system has forgotten those that were joined", || threads_named("hang-1") == 0);
    settled(hung.handle());
    settled(quiet.handle());
}

#[test]
fn when_all_spares_are_gone_the_others_wait_and_go_on_when_one_returns() {
    let limit = Duration::from_millis(10);
    let mut crew = Crew::builder().threads(1).spares(2).stuck_after(limit).start().unwrap();
    let doors: Vec<_> = (0..3).map(|_| Door::default()).collect();
    let mut hung: Vec<_> = (0..3).map(|n| hosted(&crew, &format!("hung {n}"))).collect();
    for ((lane, _), door) in hung.iter_mut().zip(&doors) {
        lane.push(Order::Hang(door.clone())).unwrap();
        until("it hangs", || door.arrived() == 1);
    }
    until("all are called stuck", || crew.counters().threads_stuck == 3);
    assert_eq!((crew.counters().threads, crew.counters().threads_started), (0, 3));
    let (mut lane, quiet) = hosted(&crew, "quiet");
    lane.push(Order::Add(1)).unwrap();
    assert_eq!(state_of(&crew, "quiet"), ProjectState::Ready);
    doors[1].open();
    until("it is served", || quiet.handle().reader().load().count == 1);
    doors.iter().for_each(Door::open);
    until("all are back", || crew.counters().threads_stuck == 0 && crew.counters().threads == 1);
    assert!(crew.shutdown(PATIENCE).complete);
}

#[test]
fn projects_come_and_go_by_the_thousand_and_leave_nothing() {
    const TIMES: u64 = if cfg!(debug_assertions) { 1_000 } else { 5_000 };
    let mut crew = Crew::builder().name("come-go").threads(2).start().unwrap();
    let (mut lane, steady) = hosted(&crew, "steady");
    let stop = Arc::new(AtomicBool::new(false));
    let stops = stop.clone();
    let busy = std::thread::spawn(move || {
        let mut pushed = 0;
        while !stops.load(SeqCst) {
            lane.push(Order::Add(1)).unwrap();
            pushed += 1;
        }
        pushed
    });
    let token = Arc::new(());
    let applied = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for who in 0..2 {
            let (crew, token, applied) = (&crew, &token, &applied);
            scope.spawn(move || {
                for n in 0..TIMES {
                    let state = Project { _token: token.clone(), ..Project::default() };
                    let mut builder = Pipeline::builder(state).flight_recorder(8);
                    if n % 3 == 0 {
                        // A timer that would outlive it.
                        builder = builder.publish(Publish::AtMostEvery(Duration::from_secs(3600)));
                    }
                    let mut lane = builder.lane("orders").capacity(8).open().unwrap();
                    let mut hosted = crew.host(format!("{who}"), builder.build().unwrap().0).unwrap();
                    lane.push(Order::Add(1)).unwrap();
                    lane.push(Order::Add(1)).unwrap();
                    match n % 4 {
                        0 => drop(lane),
                        1 => until("it is applied", || hosted.handle().reader().load().count >= 1),
                        2 => hosted.handle().close(),
                        _ => {}
                    }
                    let report = hosted.shutdown(PATIENCE);
                    assert!(report.complete && report.counters.events.balanced(), "{report:?}");
                    applied.fetch_add(report.counters.events.applied, SeqCst);
                }
            });
        }
    });
    assert_eq!(applied.load(SeqCst), 4 * TIMES);
    assert_eq!(Arc::strong_count(&token), 1, "no state outlives its project");
    let counters = crew.counters();
    assert_eq!((counters.projects, counters.threads, counters.threads_started), (1, 2, 2));
    assert!(threads_named("come-go") <= 3);
    stop.store(true, SeqCst);
    let pushed = busy.join().unwrap();
    assert!(crew.shutdown(PATIENCE).complete);
    assert_eq!(steady.handle().reader().load().count, pushed);
    until("the system has forgotten those that were joined", || threads_named("come-go") == 0);
}

#[test]
fn a_host_drives_in_its_own_loop_and_is_called_when_there_is_something() {
    let calls = Arc::new(AtomicU64::new(0));
    let counts = calls.clone();
    let hook = move || {
        counts.fetch_add(1, SeqCst);
    };
    let crew = Crew::builder().threads(0).budget(Budget::UNLIMITED).on_ready(hook).start().unwrap();
    let called = || calls.load(SeqCst);
    let (mut a, first) = hosted(&crew, "a");
    let (mut b, _second) = hosted(&crew, "b");
    assert_eq!(called(), 1, "once, for the first");
    let nothing = crew.turn(Budget::UNLIMITED);
    assert_eq!((nothing.projects, nothing.events, nothing.left), (2, 0, CrewLeft::Nothing));
    assert_eq!(called(), 1);
    for round in 2..50 {
        a.push(Order::Add(1)).unwrap();
        b.push(Order::Add(1)).unwrap();
        a.push(Order::Add(1)).unwrap();
        assert_eq!(called(), round, "once, though there are two");
        let turn = crew.turn(Budget::UNLIMITED);
        assert_eq!((turn.projects, turn.events, turn.left), (2, 3, CrewLeft::Nothing));
    }
    assert_eq!(first.handle().reader().load().count, 96);
    assert_eq!(crew.project("a").unwrap().thread, None);
}

#[test]
fn a_host_s_loop_is_told_until_when_it_may_sleep() {
    let crew = Crew::builder().threads(0).budget(Budget::UNLIMITED).start().unwrap();
    let every = Duration::from_secs(1000);
    let builder = Pipeline::builder(Project::default()).publish(Publish::AtMostEvery(every));
    let mut lane = builder.lane("orders").open().unwrap();
    let hosted = crew.host("slow", builder.build().unwrap().0).unwrap();
    lane.push(Order::Add(1)).unwrap();
    assert_eq!(crew.turn(Budget::UNLIMITED).left, CrewLeft::Nothing);
    let before = Instant::now();
    for n in 2..5 {
        lane.push(Order::Add(n)).unwrap();
        let CrewLeft::Until(due) = crew.turn(Budget::UNLIMITED).left else { panic!("a publication is held back") };
        assert!(due > before && due <= Instant::now() + every);
    }
    assert_eq!(hosted.handle().reader().load().count, 1);
    drop(hosted);
    assert_eq!(crew.turn(Budget::UNLIMITED).left, CrewLeft::Nothing, "its timer went with it");
}

#[test]
fn a_hook_that_panics_is_counted_and_the_push_is_accepted() {
    let crew = Crew::builder().threads(0).budget(Budget::UNLIMITED).on_ready(|| panic!("a bad hook")).start().unwrap();
    let (mut lane, _hosted) = hosted(&crew, "a");
    crew.turn(Budget::UNLIMITED);
    lane.push(Order::Add(1)).unwrap();
    assert_eq!(crew.counters().hook_panics, 2);
    assert_eq!(crew.turn(Budget::UNLIMITED).events, 1);
}

#[test]
fn names_are_one_project_s_each_and_settings_that_make_no_sense_are_refused() {
    let mut crew = Crew::builder().threads(1).start().unwrap();
    let (_, mut first) = hosted(&crew, "a");
    let (mut lane, main_lane, handle) = project();
    let taken = crew.host("a", main_lane).unwrap_err();
    assert_eq!(taken, CrewError::Taken { name: "a".into() });
    assert!(taken.to_string().contains("`a`"));
    assert!(handle.is_ended(), "what is refused is shut down");
    assert!(matches!(lane.push(Order::Add(1)), Err(Refused::Closed(_))));
    assert_eq!(crew.host("", project().1).unwrap_err(), CrewError::Unnamed);
    first.shutdown(PATIENCE);
    let (_, _again) = hosted(&crew, "a");
    assert!(crew.shutdown(PATIENCE).complete);
    assert_eq!(crew.host("b", project().1).unwrap_err(), CrewError::Closed);
    let ignored = |built: Result<Crew, CrewError>| matches!(built, Err(CrewError::Ignored { .. }));
    assert!(ignored(Crew::builder().threads(1).on_ready(|| ()).start()));
    assert!(ignored(Crew::builder().budget(Budget::events(0)).start()));
    // What is for threads, and there are none.
    let (linger, stuck_after) = (Duration::from_millis(1), Duration::from_secs(1));
    for (setting, of) in [
        ("linger", Crew::builder().linger(linger)),
        ("stuck_after", Crew::builder().stuck_after(stuck_after)),
        ("spares", Crew::builder().spares(1)),
    ] {
        let error = of.threads(0).start().unwrap_err();
        assert!(matches!(error, CrewError::Ignored { setting: its, .. } if its == setting), "{error}");
        assert!(error.to_string().ends_with("leave it out"));
    }
    assert!(Crew::builder().linger(linger).stuck_after(stuck_after).spares(1).threads(1).start().is_ok());
}

#[test]
fn a_crew_shuts_its_projects_down_last_first_and_says_what_became_of_each() {
    for deadline in [PATIENCE, Duration::ZERO] {
        let mut crew = Crew::builder().name("order").threads(2).start().unwrap();
        let ended = Arc::new(Mutex::new(Vec::new()));
        let mut lanes = Vec::new();
        let mut projects = Vec::new();
        for n in 0..20 {
            let (mut lane, hosted) = hosted(&crew, &n.to_string());
            let (handle, ended) = (hosted.handle().clone(), ended.clone());
            // Pushes until it is told to stop, and says when that was.
            lanes.push(std::thread::spawn(move || {
                let mut accepted = 0u64;
                while lane.push(Order::Add(1)).is_ok() {
                    accepted += 1;
                }
                until("the end", || handle.is_ended());
                ended.lock().unwrap().push(n);
                accepted
            }));
            projects.push(hosted);
        }
        let report = crew.shutdown(deadline);
        assert_eq!(crew.shutdown(PATIENCE), report, "the same, whenever it is asked");
        let accepted: Vec<u64> = lanes.into_iter().map(|lane| lane.join().unwrap()).collect();
        assert_eq!(report.projects.len(), 20);
        for (at, (name, ended)) in report.projects.iter().enumerate() {
            let n = 19 - at;
            assert_eq!(&**name, n.to_string());
            let events = projects[n].handle().counters().events;
            assert!(events.balanced(), "{events:?}");
            assert_eq!(events.pushed, accepted[n]);
            if deadline > Duration::ZERO {
                assert!(ended.complete, "{ended:?}");
                assert_eq!(projects[n].handle().reader().load().count, accepted[n]);
            }
            assert_eq!(projects[n].shutdown(PATIENCE), *ended, "the same report");
        }
        assert_eq!(report.stragglers, [""; 0]);
        until("the system has forgotten those that were joined", || threads_named("order") == 0);
        assert_eq!(crew.counters().projects, 0);
    }
}

#[test]
fn a_crew_that_is_dropped_applies_what_was_accepted() {
    let crew = Crew::builder().name("dropped").threads(2).start().unwrap();
    let mut projects: Vec<_> = (0..10).map(|n| hosted(&crew, &n.to_string())).collect();
    for (lane, _) in &mut projects {
        lane.push_batch((0..100).map(Order::Add)).unwrap();
    }
    drop(crew);
    for (_, hosted) in &projects {
        assert!(hosted.is_finished());
        assert_eq!(hosted.handle().reader().load().count, 100);
    }
    until("the system has forgotten those that were joined", || threads_named("dropped") == 0);
}

#[test]
fn who_hangs_at_the_end_is_named_and_takes_nothing_from_the_others() {
    for deadline in [Duration::from_millis(200), Duration::ZERO] {
        let mut crew =
            Crew::builder().name("hung-end").threads(2).stuck_after(Duration::from_millis(10)).start().unwrap();
        let (mut before, first) = hosted(&crew, "before");
        let token = Arc::new(());
        let builder = Pipeline::builder(Project { _token: token.clone(), ..Project::default() });
        let mut hanging = builder.lane("orders").open().unwrap();
        let hung = crew.host("hung", builder.build().unwrap().0).unwrap();
        let (mut after, last) = hosted(&crew, "after");
        let door = Door::default();
        hanging.push(Order::Hang(door.clone())).unwrap();
        until("it hangs", || door.arrived() == 1);
        before.push(Order::Add(1)).unwrap();
        after.push(Order::Add(1)).unwrap();
        until("both are applied", || {
            first.handle().reader().load().count == 1 && last.handle().reader().load().count == 1
        });
        let report = crew.shutdown(deadline);
        assert!(!report.complete);
        let complete: Vec<_> = report.projects.iter().map(|(name, ended)| (&**name, ended.complete)).collect();
        assert_eq!(complete, [("after", true), ("hung", false), ("before", true)]);
        assert_eq!(report.projects[1].1.stragglers, ["hung"]);
        assert_eq!(report.stragglers.len(), 1, "the thread that it holds: {:?}", report.stragglers);
        door.open();
        until("its thread puts it away and ends", || threads_named("hung-end") == 0);
        until("its state is gone", || hung.is_finished());
        drop((hung, hanging));
        until("and its snapshots", || Arc::strong_count(&token) == 1);
    }
}

#[test]
fn a_project_that_hangs_is_given_up_and_its_name_is_free_at_once() {
    let mut crew = Crew::builder().name("given-up").threads(1).stuck_after(Duration::from_millis(10)).start().unwrap();
    let (mut hanging, mut hung) = hosted(&crew, "a");
    let door = Door::default();
    hanging.push(Order::Hang(door.clone())).unwrap();
    until("it hangs", || door.arrived() == 1);
    let report = hung.shutdown(Duration::from_millis(1));
    assert!(!report.complete && report.stragglers == ["a"]);
    let (mut lane, again) = hosted(&crew, "a");
    lane.push(Order::Add(1)).unwrap();
    until("the new one goes on", || again.handle().reader().load().count == 1);
    assert_eq!(crew.projects().len(), 2, "the old one is still there");
    assert_eq!(crew.projects()[0].state, ProjectState::Stuck);
    door.open();
    until("until it returns", || crew.projects().len() == 1);
    until("and it ended", || hung.is_finished());
    assert_eq!(crew.project("a").unwrap().events, 1);
    assert!(crew.shutdown(PATIENCE).complete);
}

#[test]
fn what_was_given_up_and_returns_in_time_does_not_make_a_shutdown_incomplete() {
    for returns in [true, false] {
        let mut crew = Crew::builder().name("in-time").threads(2).spares(0).start().unwrap();
        let (mut hanging, mut hung) = hosted(&crew, "hung");
        let door = Door::default();
        hanging.push(Order::Hang(door.clone())).unwrap();
        until("it hangs", || door.arrived() == 1);
        assert!(!hung.shutdown(Duration::from_millis(1)).complete);
        let (_lane, _last) = hosted(&crew, "last");
        let report = std::thread::scope(|scope| {
            if returns {
                scope.spawn(|| {
                    until("the crew has ended but for that thread", || threads_named("in-time") <= 1);
                    door.open();
                });
            }
            crew.shutdown(if returns { PATIENCE } else { Duration::ZERO })
        });
        let names: Vec<_> = report.projects.iter().map(|(name, ended)| (&**name, ended.complete)).collect();
        assert_eq!(names[0].0, "last");
        assert_eq!((report.complete, names.get(1)), (returns, (!returns).then_some(&("hung", false))), "{report:?}");
        door.open();
    }
}

#[test]
fn a_reconciler_may_shut_its_own_project_down_and_another() {
    for threads in [0, 1, 2] {
        let mut crew = Crew::builder().threads(threads).start().unwrap();
        let jobs: Jobs = Arc::default();
        let (mut lane, main_lane) = doing(jobs.clone());
        let mut own = crew.host("own", main_lane).unwrap();
        let (mut other_lane, mut other) = hosted(&crew, "other");
        other_lane.push(Order::Add(5)).unwrap();
        let (told, tells) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (says, done, handle) = (told.clone(), tells.clone(), own.handle().clone());
        jobs.lock().unwrap().push(Box::new(move || {
            let others = other.shutdown(PATIENCE);
            let its = own.shutdown(PATIENCE);
            says.lock().unwrap().extend([others, its]);
            done.store(true, SeqCst);
        }));
        lane.push(Order::Add(1)).unwrap();
        lane.push(Order::Do).unwrap();
        lane.push(Order::Add(1)).unwrap();
        until("it is done", || {
            if threads == 0 {
                crew.turn(Budget::UNLIMITED);
            }
            tells.load(SeqCst) && handle.is_ended()
        });
        let told = told.lock().unwrap();
        assert!(told[0].complete && told[0].counters.events.applied == 1, "{:?}", told[0]);
        assert!(!told[1].complete, "it cannot have ended within its own turn");
        assert_eq!(handle.reader().load().count, 2, "what was accepted is applied");
        settled(&handle);
        until("all are gone", || crew.counters().projects == 0);
        assert!(crew.shutdown(PATIENCE).complete);
    }
}

#[test]
fn nobody_of_a_crew_waits_for_room_in_a_project_of_the_same_crew() {
    for threads in [0, 1, 3] {
        let crew = Crew::builder().threads(threads);
        let crew = if threads == 0 { crew } else { crew.stuck_after(Duration::from_secs(3600)) }.start().unwrap();
        let (_, main_lane, other) = project();
        let _other = crew.host("other", main_lane).unwrap();
        let jobs: Jobs = Arc::default();
        let (mut lane, main_lane) = doing(jobs.clone());
        let _own = crew.host("own", main_lane).unwrap();
        let mut full = other.lane("full").capacity(2).open().unwrap();
        // Driven once, so that a crew in the host's loop knows its thread.
        until("it is known", || {
            crew.turn(Budget::UNLIMITED);
            crew.project("other").unwrap().turns > 0
        });
        let (refused, refuses) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counts, done) = (refused.clone(), refuses.clone());
        let door = Door::default();
        let held = door.clone();
        jobs.lock().unwrap().push(Box::new(move || {
            full.push(Order::Hang(held.clone())).unwrap();
            for _ in 0..10 {
                counts.fetch_add(u64::from(matches!(full.push(Order::Add(1)), Err(Refused::Full(_)))), SeqCst);
            }
            held.open();
            done.store(true, SeqCst);
        }));
        lane.push(Order::Do).unwrap();
        until("it is done", || {
            if threads == 0 {
                crew.turn(Budget::UNLIMITED);
            }
            refuses.load(SeqCst)
        });
        assert!(refused.load(SeqCst) >= 8, "{} of ten were handed back", refused.load(SeqCst));
    }
}

#[test]
fn a_crew_may_be_dropped_within_a_turn_of_its_own() {
    for threads in [0, 1, 2] {
        let name = format!("drop-own-{threads}");
        let crew = Crew::builder().name(&name).threads(threads).budget(Budget::UNLIMITED).start().unwrap();
        let jobs: Jobs = Arc::default();
        let (mut lane, main_lane) = doing(jobs.clone());
        let own = crew.host("own", main_lane).unwrap();
        let (mut other_lane, other) = hosted(&crew, "other");
        other_lane.push(Order::Add(5)).unwrap();
        let (shared, report) = (Arc::new(Mutex::new(Some(crew))), Arc::new(Mutex::new(None)));
        let (its, tells) = (shared.clone(), report.clone());
        jobs.lock().unwrap().push(Box::new(move || {
            // In the host's loop it is out already.
            let crew = its.lock().unwrap().take();
            *tells.lock().unwrap() = crew.map(|mut crew| crew.shutdown(PATIENCE));
        }));
        lane.push(Order::Add(1)).unwrap();
        lane.push(Order::Do).unwrap();
        if threads == 0 {
            let crew = shared.lock().unwrap().take().unwrap();
            crew.turn(Budget::UNLIMITED);
            drop(crew);
        }
        until("both have ended", || own.is_finished() && other.is_finished());
        assert_eq!((own.handle().reader().load().count, other.handle().reader().load().count), (1, 1));
        settled(own.handle());
        until("no thread is left", || threads_named(&name) == 0);
        if threads > 0 {
            until("it said so", || report.lock().unwrap().is_some());
            let report = report.lock().unwrap().take().unwrap();
            let ended: Vec<_> = report.projects.iter().map(|(name, ended)| (&**name, ended.complete)).collect();
            assert_eq!(ended, [("other", true), ("own", false)]);
            assert_eq!(report.stragglers.len(), 1, "the thread that says so");
        }
    }
}

#[test]
fn a_hook_may_drive_the_crew_itself() {
    let shared: Arc<Mutex<Option<Arc<Crew>>>> = Arc::default();
    let its = shared.clone();
    let hook = move || {
        let crew = its.lock().unwrap().clone();
        if let Some(crew) = crew {
            crew.turn(Budget::UNLIMITED);
        }
    };
    let crew = Arc::new(Crew::builder().threads(0).budget(Budget::UNLIMITED).on_ready(hook).start().unwrap());
    *shared.lock().unwrap() = Some(crew.clone());
    let (mut lane, hosted) = hosted(&crew, "a");
    crew.turn(Budget::UNLIMITED);
    for n in 1..=100 {
        lane.push(Order::Add(1)).unwrap();
        assert_eq!(hosted.handle().reader().load().count, n, "applied by the push that woke it");
    }
    shared.lock().unwrap().take();
}

#[test]
fn limits_at_the_end_of_the_clock_are_none() {
    let never = Duration::MAX;
    let mut crew = Crew::builder().threads(1).linger(never).stuck_after(never).start().unwrap();
    let (mut lane, mut first) = hosted(&crew, "a");
    let (mut other, _second) = hosted(&crew, "b");
    for n in 1..=50 {
        lane.push(Order::Add(n)).unwrap();
        other.push(Order::Add(n)).unwrap();
    }
    until("it is applied", || first.handle().reader().load().count == 50);
    assert!(first.shutdown(never).complete);
    assert!(crew.shutdown(never).complete);
}

#[test]
fn a_project_that_has_stopped_or_ended_before_it_is_hosted_is_told_as_such() {
    let crew = Crew::builder().threads(1).start().unwrap();
    let (mut lane, mut main_lane, _) = project();
    lane.push(Order::Panic).unwrap();
    main_lane.turn(Budget::UNLIMITED).unwrap_err();
    let mut stopped = crew.host("stopped", main_lane).unwrap();
    let (_, mut main_lane, _) = project();
    let report = main_lane.shutdown(PATIENCE);
    let mut ended = crew.host("ended", main_lane).unwrap();
    until("both are known", || {
        matches!(state_of(&crew, "stopped"), ProjectState::Failed(Fault::Reducer { .. }))
            && state_of(&crew, "ended") == ProjectState::Ended
    });
    assert!(matches!(stopped.shutdown(PATIENCE).fault, Some(Fault::Reducer { .. })));
    assert_eq!(ended.shutdown(PATIENCE), report);
}

#[cfg(feature = "journal")]
#[test]
fn a_project_that_waits_for_its_journal_holds_nobody_and_one_whose_disk_is_gone_is_alone_in_that() {
    use crate::journal::{Entry, begin};
    use crate::memory::Disk;
    use mainlane::journal::{Durability, StoreError};

    for threads in [1, 2] {
        let mut crew = Crew::builder().threads(threads).start().unwrap();
        let (mut quiet_lane, quiet) = hosted(&crew, "quiet");
        let disks = [Disk::default(), Disk::default()];
        let mut kept: Vec<_> = disks
            .iter()
            .enumerate()
            .map(|(n, disk)| {
                let builder = begin(disk, Durability::BeforePublish);
                let lane = builder.lane("a").open().unwrap();
                (lane, crew.host(format!("kept {n}"), builder.build().unwrap().0).unwrap())
            })
            .collect();
        disks.iter().for_each(Disk::hold);
        for (lane, _) in &mut kept {
            lane.push(Entry::Add(1)).unwrap();
        }
        until("they sleep", || (0..2).all(|n| state_of(&crew, &format!("kept {n}")) == ProjectState::Idle));
        quiet_lane.push(Order::Add(1)).unwrap();
        until("the others go on", || quiet.handle().reader().load().count == 1);
        assert!(kept.iter().all(|(_, kept)| kept.handle().reader().load().count == 0), "it is not durable");
        disks[1].fail(StoreError::Failed { doing: "writing", reason: "the disk is gone".into() });
        disks.iter().for_each(Disk::release);
        until("it is durable", || kept[0].1.handle().reader().load().count > 0);
        until("it has stopped", || matches!(state_of(&crew, "kept 1"), ProjectState::Failed(Fault::Journal { .. })));
        // Opened again on what the disk has.
        assert!(!kept.pop().unwrap().1.shutdown(PATIENCE).complete);
        disks[1].mend();
        let builder = begin(&disks[1], Durability::BeforePublish);
        let mut lane = builder.lane("a").open().unwrap();
        let again = crew.host("kept 1", builder.build().unwrap().0).unwrap();
        let before = again.handle().reader().load().count;
        lane.push(Entry::Add(1)).unwrap();
        until("it goes on", || again.handle().reader().load().count > before);
        assert!(crew.shutdown(PATIENCE).complete);
    }
}

//! Projects that misbehave as they open, fail and close: it is their own matter, and what is told of them is true.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use mainlane::control::{Backoff, Intensity};
use mainlane::register::{
    Condition, Crew, CrewError, Hosted, OpenError, Project, ProjectError, ProjectPhase, Register, Reopen,
};
use mainlane::{Builder, Class, Effects, Envelope, Event, Outlet, Pipeline, Polled, Reducer, Source, SourceError};

use crate::domain::{Ledger, Note, PATIENCE, does_end, settled, until};

fn ledger() -> Result<Builder<Ledger>, OpenError> {
    Ok(Pipeline::builder(Ledger::default()))
}

fn at_once(times: u32) -> Reopen {
    Reopen::Within(Intensity::at_most(times, PATIENCE * 100), Backoff::NONE)
}

fn push(project: &Project<Ledger>, note: Note) {
    project.handle().lane("test").open().unwrap().push(note).unwrap();
}

fn applied(project: &Project<Ledger>) -> usize {
    project.reader().load().seen.len()
}

/// Who comes here waits until it is opened.
#[derive(Clone, Default)]
struct Door {
    here: Arc<AtomicBool>,
    open: Arc<AtomicBool>,
}

impl Door {
    fn pass(&self) {
        self.here.store(true, SeqCst);
        until("the door is opened", || self.open.load(SeqCst));
    }

    fn is_waited_at(&self) -> bool {
        self.here.load(SeqCst)
    }

    fn open(&self) {
        self.open.store(true, SeqCst);
    }
}

struct Fails;

impl Event for Fails {
    type Key = ();
    type Facets = ();

    fn class(&self) -> Class<()> {
        Class::Critical
    }
}

/// Does something as it is dropped.
type AtTheEnd = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

#[derive(Clone, Default)]
struct Last(AtTheEnd);

impl Drop for Last {
    fn drop(&mut self) {
        let job = self.0.lock().unwrap().take();
        if let Some(job) = job {
            job();
        }
    }
}

/// Fails at its first event.
#[derive(Clone, Default)]
struct Broken {
    _last: Last,
}

impl Reducer for Broken {
    type Event = Fails;
    type Effect = ();

    fn apply(&mut self, _: &Envelope<'_, Fails>, _: &mut Effects<()>) {
        panic!("broken");
    }
}

#[test]
fn a_state_that_does_not_come_to_its_end_keeps_no_other_project_closed() {
    let register = Register::builder().start().unwrap();
    let (door, jobs) = (Door::default(), AtTheEnd::default());
    let state = jobs.clone();
    let open = move || Ok(Pipeline::builder(Broken { _last: Last(state.clone()) }));
    let broken = register.project("broken", open).reopen(at_once(1)).open().unwrap();
    let good = register.project("good", ledger).reopen(at_once(1)).open().unwrap();
    let waits = door.clone();
    *jobs.lock().unwrap() = Some(Box::new(move || waits.pass()));
    broken.handle().lane("a").open().unwrap().push(Fails).unwrap();
    until("its state is at its end", || door.is_waited_at());
    // It is said to have failed meanwhile.
    until("that is known", || matches!(broken.phase(), ProjectPhase::Failed { again: true, .. }));
    push(&good, Note::Poison);
    until("the other is opened again", || good.openings() == 2 && good.phase() == ProjectPhase::Open);
    door.open();
    until("and so is that one", || broken.openings() == 2 && broken.phase() == ProjectPhase::Open);
}

#[test]
fn a_project_that_is_opened_again_is_not_blamed_for_what_the_last_one_holds() {
    let crew = Crew::builder().threads(1).stuck_after(Duration::from_millis(10));
    let mut register = Register::builder().crew(crew).start().unwrap();
    let door = Door::default();
    let hangs = door.clone();
    let open = move || {
        Ok(Pipeline::builder(Ledger::default()).reconciler({
            let door = hangs.clone();
            move |_: u64, _: &Ledger| door.pass()
        }))
    };
    let project = register.project("one", open).open().unwrap();
    push(&project, Note::Ask(1));
    until("it hangs", || door.is_waited_at());
    until("that is seen", || register.health().find("one").unwrap().condition == Condition::Failed);
    let report = register.close("one", Duration::from_millis(1)).unwrap().unwrap();
    assert!(!report.complete);
    register.reopen("one").unwrap();
    push(&project, Note::Item(1));
    until("it goes on", || applied(&project) == 1);
    let health = register.health();
    assert_eq!(health.find("one").unwrap().condition, Condition::Good, "{health:?}");
    assert_eq!(health.find("projects").unwrap().condition, Condition::Degraded, "a thread is held: {health:?}");
    door.open();
    until("the thread is back", || register.health().condition == Condition::Good);
    assert!(register.shutdown(PATIENCE).complete);
}

#[test]
fn a_project_that_has_stopped_is_never_said_to_be_well() {
    let register = Register::builder().start().unwrap();
    let project = register.project("one", ledger).open().unwrap();
    for _ in 0..300 {
        let handle = project.handle();
        push(&project, Note::Poison);
        until("it has stopped", || handle.is_ended());
        let health = register.health();
        assert_ne!(health.find("one").unwrap().condition, Condition::Good, "{health:?}");
        register.reopen("one").unwrap();
        assert_eq!(register.health().find("one").unwrap().condition, Condition::Good);
    }
}

#[test]
fn what_is_closed_as_another_opens_it_is_open_or_closed_as_it_is_said_to_be() {
    const ROUNDS: usize = if cfg!(debug_assertions) { 200 } else { 2_000 };
    let register = Register::builder().crew(Crew::builder().threads(1)).start().unwrap();
    let project = register.project("one", ledger).open().unwrap();
    for _ in 0..ROUNDS {
        std::thread::scope(|scope| {
            let closes = || (0..5).for_each(|_| drop(register.close("one", PATIENCE).unwrap()));
            let opens = || (0..5).for_each(|_| register.reopen("one").unwrap());
            for _ in 0..2 {
                scope.spawn(closes);
                scope.spawn(opens);
            }
        });
        let is_open = project.phase() == ProjectPhase::Open;
        assert_eq!(is_open, !project.handle().is_ended(), "it is said to be {}", project.phase());
        register.reopen("one").unwrap();
    }
}

#[test]
fn what_its_host_has_closed_is_not_opened_again_by_itself() {
    for _ in 0..200 {
        let mut register = Register::builder().crew(Crew::builder().threads(1)).start().unwrap();
        let project = register.project("one", ledger).reopen(at_once(9)).open().unwrap();
        let handle = project.handle();
        push(&project, Note::Poison);
        until("it has stopped", || handle.is_ended());
        until("that is known", || project.phase() != ProjectPhase::Open || project.openings() > 1);
        register.close("one", PATIENCE).unwrap();
        let openings = project.openings();
        let report = register.shutdown(PATIENCE);
        assert!(report.complete, "{report:?}");
        assert_eq!((project.openings(), project.phase()), (openings, ProjectPhase::Closed));
        assert!(report.projects.is_empty() && report.crew.projects.is_empty());
    }
}

#[test]
fn what_is_opened_while_all_is_shut_down_is_not_said_to_be_open() {
    let (door, at_the_end) = (Door::default(), AtTheEnd::default());
    let mut register = Register::builder().start().unwrap();
    let state = at_the_end.clone();
    let open = move || Ok(Pipeline::builder(Broken { _last: Last(state.clone()) }));
    let _first = register.project("first", open).open().unwrap();
    let (mut is_first, waits) = (true, door.clone());
    let open = move || {
        if !std::mem::take(&mut is_first) {
            waits.pass();
        }
        ledger()
    };
    let slow = register.project("slow", open).reopen(at_once(1)).open().unwrap();
    push(&slow, Note::Poison);
    until("it is being opened", || door.is_waited_at());
    // The first is closed after it, and waits until it is open.
    let (opens, its) = (door.clone(), slow.clone());
    *at_the_end.lock().unwrap() = Some(Box::new(move || {
        opens.open();
        until("it is open", || its.openings() == 2);
    }));
    let report = register.shutdown(Duration::from_secs(2));
    assert_eq!((report.complete, &report.busy[..]), (false, &["slow".into()][..]));
    assert!(slow.openings() == 2 && slow.handle().is_ended());
    assert_eq!(slow.phase(), ProjectPhase::Closed);
}

#[test]
fn a_project_may_ask_to_be_opened_again_or_closed_as_it_is_closed() {
    does_end(|| {
        let register = Arc::new(Register::builder().crew(Crew::builder().threads(0)).start().unwrap());
        let answers: Arc<Mutex<Vec<String>>> = Arc::default();
        let (its, tells) = (Arc::downgrade(&register), answers.clone());
        let open = move || {
            let (its, tells) = (its.clone(), tells.clone());
            Ok(Pipeline::builder(Ledger::default()).reconciler(move |_: u64, _: &Ledger| {
                let Some(register) = its.upgrade() else { return };
                let opened = register.reopen("one").map_err(|error| error.to_string());
                let closed = register.close("one", PATIENCE * 10).map(drop).map_err(|error| error.to_string());
                tells.lock().unwrap().extend([opened, closed].into_iter().filter_map(Result::err));
            }))
        };
        let project = register.project("one", open).open().unwrap();
        push(&project, Note::Ask(1));
        assert!(register.close("one", PATIENCE).unwrap().unwrap().complete);
        let answers = answers.lock().unwrap();
        assert_eq!(answers.len(), 2, "{answers:?}");
        assert!(answers.iter().all(|why| why.contains("is being opened or closed")), "{answers:?}");
        assert_eq!(project.phase(), ProjectPhase::Closed);
        assert!(matches!(register.close("two", PATIENCE), Err(ProjectError::Unknown { .. })));
    });
}

#[test]
fn who_is_shut_down_may_shut_everything_down() {
    does_end(|| {
        let crew = Crew::builder().threads(0).start().unwrap();
        let shared = Arc::new(Mutex::new(Some(crew)));
        let said = Arc::new(Mutex::new(None));
        let (its, says) = (shared.clone(), said.clone());
        let builder = Pipeline::builder(Ledger::default()).reconciler(move |_: u64, _: &Ledger| {
            let crew = its.lock().unwrap().take();
            *says.lock().unwrap() = crew.map(|mut crew| crew.shutdown(PATIENCE * 10));
        });
        let mut lane = builder.lane("a").open().unwrap();
        let main_lane = builder.build().unwrap().0;
        let mut hosted = shared.lock().unwrap().as_ref().unwrap().host("one", main_lane).unwrap();
        lane.push(Note::Ask(1)).unwrap();
        assert!(hosted.shutdown(PATIENCE).complete);
        let report = said.lock().unwrap().take().unwrap();
        assert!(!report.complete, "it cannot have ended within its own end");
        assert_eq!(report.projects[0].1.stragglers, ["one"]);
    });
}

#[test]
fn a_limit_that_every_turn_exceeds_is_refused() {
    let refused = Crew::builder().threads(1).stuck_after(Duration::ZERO).start();
    assert!(matches!(refused, Err(CrewError::Ignored { setting: "stuck_after", .. })), "{refused:?}");
}

#[test]
fn states_whose_end_panics_take_nobody_with_them() {
    #[derive(Clone, Default)]
    struct Thorny(u64);

    impl Drop for Thorny {
        fn drop(&mut self) {
            panic!("a thorn");
        }
    }

    impl Reducer for Thorny {
        type Event = Fails;
        type Effect = ();

        fn apply(&mut self, _: &Envelope<'_, Fails>, _: &mut Effects<()>) {
            self.0 += 1;
        }
    }

    let mut register = Register::builder().start().unwrap();
    let good = register.project("good", ledger).open().unwrap();
    let thorny = register.project("thorny", || Ok(Pipeline::builder(Thorny::default()))).open().unwrap();
    let mut lane = thorny.handle().lane("a").open().unwrap();
    for n in 1..20 {
        if lane.push(Fails).is_err() {
            break;
        }
        let handle = thorny.handle();
        until("it is applied", || handle.counters().events.applied == n || handle.is_ended());
    }
    let _ = register.close("thorny", PATIENCE);
    push(&good, Note::Item(1));
    until("the other goes on", || applied(&good) == 1);
    assert_eq!(register.health().find("good").unwrap().condition, Condition::Good);
    let _ = register.shutdown(PATIENCE);
    std::mem::forget((thorny, lane));
}

#[test]
fn who_closes_itself_does_not_wait_for_a_source_that_waits_for_it() {
    struct Floods;

    impl Source for Floods {
        type Event = Note;

        fn poll(&mut self, outlet: &mut Outlet<Note>) -> Result<Polled, SourceError> {
            outlet.push(Note::Item(1));
            Ok(Polled::Ready)
        }
    }

    let crew = Crew::builder().threads(1).start().unwrap();
    let (own, said) = (Arc::new(Mutex::new(None)), Arc::new(Mutex::new(None)));
    let (its, says) = (own.clone(), said.clone());
    let builder = Pipeline::builder(Ledger::default()).reconciler(move |_: u64, _: &Ledger| {
        let mut own: Hosted<Ledger> = its.lock().unwrap().take().unwrap();
        let report = own.shutdown(PATIENCE * 10);
        *says.lock().unwrap() = Some((report, own));
    });
    builder.ingest("floods", Floods).capacity(2).start().unwrap();
    let mut lane = builder.lane("a").open().unwrap();
    let (main_lane, handle) = builder.build().unwrap();
    *own.lock().unwrap() = Some(crew.host("own", main_lane).unwrap());
    lane.push(Note::Ask(1)).unwrap();
    until("it has ended", || handle.is_ended());
    until("it is put away", || crew.counters().projects == 0);
    let (report, own) = said.lock().unwrap().take().unwrap();
    assert_eq!((report.complete, report.joined, &report.stragglers[..]), (false, 0, &["own".to_owned()][..]));
    settled(own.handle());
}

#[cfg(feature = "journal")]
#[test]
fn what_was_applied_before_a_failure_is_written_down_before_it_is_opened_again() {
    use crate::journal::{Entry, begin};
    use crate::memory::Disk;
    use mainlane::journal::Durability;

    let register = Register::builder().start().unwrap();
    for round in 0..5 {
        let disk = Disk::default();
        let its = disk.clone();
        let open = move || Ok(begin(&its, Durability::Async));
        let project = register.project(format!("kept {round}"), open).reopen(at_once(1)).open().unwrap();
        let before = project.handle();
        let mut lane = before.lane("a").open().unwrap();
        // The journal's thread is behind when it fails.
        disk.hold();
        for n in 1..=20 {
            lane.push(Entry::Add(n)).unwrap();
            until("it is applied", || before.counters().events.applied == n);
        }
        lane.push(Entry::Thorn).unwrap();
        // What it fails of is known before its journal is closed.
        until("that is known", || project.phase() != ProjectPhase::Open || project.openings() == 2);
        disk.release();
        until("it is open again", || project.openings() == 2 && project.phase() == ProjectPhase::Open);
        assert_eq!(project.reader().load().count, 40, "two for each");
    }
}

#[test]
fn a_project_is_opened_and_closed_by_the_thousand_and_leaves_nothing() {
    const TIMES: u64 = if cfg!(debug_assertions) { 500 } else { 5_000 };

    #[derive(Clone, Default)]
    struct Counted {
        _token: Arc<()>,
    }

    impl Reducer for Counted {
        type Event = Fails;
        type Effect = ();

        fn apply(&mut self, _: &Envelope<'_, Fails>, _: &mut Effects<()>) {
            panic!("one of many");
        }
    }

    let crew = Crew::builder().name("thousand").threads(2).stuck_after(PATIENCE * 100);
    let mut register = Register::builder().crew(crew).start().unwrap();
    let token = Arc::new(());
    let state = Counted { _token: token.clone() };
    let open = move || Ok(Pipeline::builder(state.clone()).flight_recorder(8));
    let project = register.project("one", open).reopen(at_once(u32::MAX)).open().unwrap();
    for n in 1..=TIMES {
        if n % 2 == 0 {
            register.close("one", PATIENCE).unwrap().expect("it was open");
            register.reopen("one").unwrap();
        } else {
            project.handle().lane("a").open().unwrap().push(Fails).unwrap();
        }
        until("it is open again", || project.openings() == n + 1 && project.phase() == ProjectPhase::Open);
    }
    until("all threads but the crew's and its watch have ended", || threads_named("open one") == 0);
    let counters = register.crew().counters();
    assert_eq!((counters.projects, counters.threads, counters.threads_started), (1, 2, 2));
    // The opener's, and what one pipeline has.
    assert!(Arc::strong_count(&token) < 10, "{} states are left", Arc::strong_count(&token));
    assert!(register.shutdown(PATIENCE).complete);
    drop((register, project));
    assert_eq!(Arc::strong_count(&token), 1);
}

/// How many threads of this process have names that begin so.
fn threads_named(name: &str) -> usize {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return 0 };
    let comms = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    comms.filter(|comm| comm.starts_with(name)).count()
}

/// Ends badly.
struct Thorn;

impl Drop for Thorn {
    fn drop(&mut self) {
        panic!("a thorn");
    }
}

/// What is left of a pipeline ends on whatever thread lets go of it last.
#[test]
fn a_hook_whose_end_panics_takes_no_thread_of_the_crew_with_it() {
    let crew = Crew::builder().threads(1).stuck_after(PATIENCE * 100).start().unwrap();
    let (door, thorn) = (Door::default(), Thorn);
    let hangs = door.clone();
    let builder = Pipeline::builder(Ledger::default())
        .reconciler(move |_: u64, _: &Ledger| hangs.pass())
        .on_input(move || _ = &thorn);
    let mut lane = builder.lane("a").open().unwrap();
    let (main_lane, handle) = builder.build().unwrap();
    let mut given_up = crew.host("given up", main_lane).unwrap();
    lane.push(Note::Ask(1)).unwrap();
    until("it hangs", || door.is_waited_at());
    assert!(!given_up.shutdown(Duration::from_millis(1)).complete);
    drop((given_up, lane, handle));
    door.open();
    until("it is put away", || crew.counters().projects == 0);
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("a").open().unwrap();
    let good = crew.host("good", builder.build().unwrap().0).unwrap();
    lane.push(Note::Item(1)).unwrap();
    until("the thread goes on", || good.handle().reader().load().seen.len() == 1);
}

#[test]
fn what_is_left_of_projects_that_were_removed_takes_nobody_with_it() {
    let register = Register::builder().start().unwrap();
    for n in 0..200 {
        let (name, thorn) = (n.to_string(), Thorn);
        let open = move || {
            let _ = &thorn;
            ledger()
        };
        let project = register.project(&*name, open).reopen(at_once(1)).open().unwrap();
        push(&project, Note::Poison);
        until("it is opened again", || project.openings() == 2);
        register.remove(&name, PATIENCE).unwrap();
    }
    let good = register.project("good", ledger).reopen(at_once(1)).open().unwrap();
    push(&good, Note::Poison);
    until("the register looks after the others", || good.openings() == 2);
}

#[test]
fn what_is_left_of_a_project_ends_one_by_one() {
    struct Prickly(Thorn);

    impl Event for Prickly {
        type Key = ();
        type Facets = ();

        fn class(&self) -> Class<()> {
            Class::Critical
        }
    }

    #[derive(Clone, Default)]
    struct Pricked;

    impl Reducer for Pricked {
        type Event = Prickly;
        type Effect = ();

        fn apply(&mut self, _: &Envelope<'_, Prickly>, _: &mut Effects<()>) {
            panic!("it pricks");
        }
    }

    let register = Register::builder().start().unwrap();
    let thorn = Thorn;
    let open = move || {
        let _ = &thorn;
        Ok(Pipeline::builder(Pricked))
    };
    let project = register.project("one", open).open().unwrap();
    project.handle().lane("a").open().unwrap().push(Prickly(Thorn)).unwrap();
    until("it has failed", || matches!(project.phase(), ProjectPhase::Failed { .. }));
    until("its report is there", || project.last_report().is_some());
    register.remove("one", PATIENCE).unwrap();
    // Both the one that opened it and the event on which it failed.
    drop(project);
}

#[test]
fn a_project_whose_opening_ends_badly_has_failed() {
    #[derive(Clone, Default)]
    struct Armed(Arc<AtomicU64>);

    impl Drop for Armed {
        fn drop(&mut self) {
            // The last of its copies.
            assert!(self.0.load(SeqCst) == 0 || self.0.fetch_sub(1, SeqCst) > 1, "a thorn");
        }
    }

    impl Reducer for Armed {
        type Event = Fails;
        type Effect = ();

        fn apply(&mut self, _: &Envelope<'_, Fails>, _: &mut Effects<()>) {}
    }

    let register = Register::builder().start().unwrap();
    let mut openings = 0;
    let open = move || {
        openings += 1;
        let state = Armed::default();
        let armed = state.0.clone();
        // Refused as it is built, and the state ends then.
        let builder = Pipeline::builder(state).flight_recorder(if openings == 2 { usize::MAX } else { 0 });
        armed.store(if openings == 2 { 2 } else { 0 }, SeqCst);
        Ok(builder)
    };
    let project = register.project("one", open).open().unwrap();
    register.close("one", PATIENCE).unwrap();
    assert!(matches!(register.reopen("one"), Err(ProjectError::Open { .. })));
    assert!(matches!(project.phase(), ProjectPhase::Failed { again: false, .. }), "{}", project.phase());
    register.reopen("one").unwrap();
}

#[test]
fn after_the_end_of_all_nothing_is_opened_again() {
    let tries = Arc::new(AtomicU64::new(0));
    let tried = tries.clone();
    let open = move || {
        tried.fetch_add(1, SeqCst);
        ledger()
    };
    let mut register = Register::builder().start().unwrap();
    let project = register.project("one", open).reopen(at_once(3)).open().unwrap();
    assert!(register.shutdown(PATIENCE).complete);
    assert!(matches!(register.reopen("one"), Err(ProjectError::Closed)));
    assert_eq!((tries.load(SeqCst), project.phase()), (1, ProjectPhase::Closed));
}

/// As a host has it whose program is in a thread's own storage.
#[test]
fn a_crew_may_end_with_its_threads_own_storage() {
    thread_local! {
        static PROGRAM: std::cell::RefCell<Option<(Crew, Hosted<Ledger>)>> = const { std::cell::RefCell::new(None) };
    }
    let handle = std::thread::spawn(|| {
        let crew = Crew::builder().threads(1).start().unwrap();
        PROGRAM.with_borrow(|_| ());
        let builder = Pipeline::builder(Ledger::default());
        let mut lane = builder.lane("a").open().unwrap();
        let (main_lane, handle) = builder.build().unwrap();
        let mut other = crew.host("other", Pipeline::builder(Ledger::default()).build().unwrap().0).unwrap();
        let hosted = crew.host("one", main_lane).unwrap();
        lane.push(Note::Item(1)).unwrap();
        PROGRAM.set(Some((crew, hosted)));
        other.shutdown(PATIENCE);
        handle
    })
    .join()
    .unwrap();
    assert!(handle.is_ended() && handle.reader().load().seen.len() == 1);
}

#[test]
fn two_projects_that_close_each_other_do_not_wait_for_each_other() {
    does_end(|| {
        let crew = Crew::builder().threads(2).stuck_after(PATIENCE * 100);
        let register = Arc::new(Register::builder().crew(crew).start().unwrap());
        let (both, told) = (Arc::new(Barrier::new(2)), Arc::new(Mutex::new(Vec::new())));
        let open = |name: &str, other: &'static str| {
            let (its, both, tells) = (Arc::downgrade(&register), both.clone(), told.clone());
            let open = move || {
                let (its, both, tells) = (its.clone(), both.clone(), tells.clone());
                Ok(Pipeline::builder(Ledger::default()).reconciler(move |_: u64, _: &Ledger| {
                    let Some(register) = its.upgrade() else { return };
                    both.wait();
                    let report = register.close(other, PATIENCE * 10).unwrap().expect("it was open");
                    tells.lock().unwrap().push(report.complete);
                }))
            };
            register.project(name, open).open().unwrap()
        };
        let projects = [open("one", "two"), open("two", "one")];
        projects.iter().for_each(|project| push(project, Note::Ask(1)));
        until("both have ended", || projects.iter().all(|project| project.handle().is_ended()));
        until("both have said so", || told.lock().unwrap().len() == 2);
        told.lock().unwrap().sort_unstable();
        assert_eq!(*told.lock().unwrap(), [false, true], "the other's turn ends after its own");
        until("both are put away", || register.crew().counters().projects == 0);
        projects.iter().for_each(|project| _ = settled(&project.handle()));
    });
}

#[test]
fn two_projects_whose_openings_open_each_other_do_not_wait_for_each_other() {
    does_end(|| {
        let register = Arc::new(Register::builder().start().unwrap());
        let (both, told) = (Arc::new(Barrier::new(2)), Arc::new(Mutex::new(Vec::new())));
        let open = |name: &str, other: &'static str| {
            let (its, both, tells, mut is_first) = (Arc::downgrade(&register), both.clone(), told.clone(), true);
            let open = move || {
                if !std::mem::take(&mut is_first) {
                    both.wait();
                    let register = its.upgrade().expect("nobody ends it");
                    let opened = register.reopen(other).is_ok();
                    tells.lock().unwrap().push(opened);
                }
                ledger()
            };
            register.project(name, open).reopen(at_once(1)).open().unwrap()
        };
        let projects = [open("one", "two"), open("two", "one")];
        projects.iter().for_each(|project| push(project, Note::Poison));
        until("both are open", || projects.iter().all(|project| project.openings() == 2));
        until("both have said so", || told.lock().unwrap().len() == 2);
        told.lock().unwrap().sort_unstable();
        assert_eq!(*told.lock().unwrap(), [false, true]);
    });
}

/// Whoever closes whom, and whoever waits for whom: all comes to an end long before the deadlines do.
#[test]
fn projects_that_close_and_open_each_other_at_random_come_to_an_end() {
    const PROJECTS: usize = 6;
    const ROUNDS: u64 = if cfg!(debug_assertions) { 40 } else { 400 };
    does_end(|| {
        for round in 0..ROUNDS {
            let crew = Crew::builder().threads(1 + round as usize % 4).stuck_after(PATIENCE * 100);
            let register = Arc::new(Register::builder().crew(crew).start().unwrap());
            let random = Arc::new(AtomicU64::new(round));
            let some = move || (random.fetch_add(0x9e37_79b9_7f4a_7c15, SeqCst) >> 32) as usize % PROJECTS;
            let open = |at: usize| {
                let (its, some) = (Arc::downgrade(&register), some.clone());
                let open = move || {
                    let (its, some) = (its.clone(), some.clone());
                    Ok(Pipeline::builder(Ledger::default()).reconciler(move |_: u64, _: &Ledger| {
                        let Some(register) = its.upgrade() else { return };
                        let _ = register.close(&some().to_string(), PATIENCE * 10);
                        let _ = register.reopen(&some().to_string());
                    }))
                };
                register.project(at.to_string(), open).open().unwrap()
            };
            let projects: Vec<_> = (0..PROJECTS).map(open).collect();
            for n in 0..10 {
                for project in &projects {
                    // Whatever is closed refuses it.
                    let lane = project.handle().lane("test").open();
                    let _ = lane.map(|mut lane| drop(lane.push(Note::Ask(n))));
                }
            }
            // One that is closed may be opened again by another that is not.
            until("all are closed", || {
                (0..PROJECTS).for_each(|at| drop(register.close(&at.to_string(), PATIENCE * 10)));
                projects.iter().all(|project| project.handle().is_ended())
            });
            projects.iter().for_each(|project| _ = settled(&project.handle()));
        }
    });
}

#[test]
fn what_failed_before_the_end_of_all_is_not_opened_after_it() {
    for rest in [Duration::ZERO, PATIENCE * 100] {
        let (door, jobs, tries) = (Door::default(), AtTheEnd::default(), Arc::new(AtomicU64::new(0)));
        let (state, tried) = (jobs.clone(), tries.clone());
        let open = move || {
            tried.fetch_add(1, SeqCst);
            Ok(Pipeline::builder(Broken { _last: Last(state.clone()) }))
        };
        let mut register = Register::builder().start().unwrap();
        let reopen = Reopen::Within(Intensity::at_most(1, PATIENCE * 100), Backoff::between(rest, rest));
        let project = register.project("one", open).reopen(reopen).open().unwrap();
        let waits = door.clone();
        *jobs.lock().unwrap() = Some(Box::new(move || waits.pass()));
        project.handle().lane("a").open().unwrap().push(Fails).unwrap();
        until("its state is at its end", || door.is_waited_at());
        assert!(matches!(project.phase(), ProjectPhase::Failed { again: true, .. }), "{}", project.phase());
        let report = register.shutdown(Duration::from_millis(10));
        assert_eq!((report.complete, &report.busy[..]), (false, &["one".into()][..]));
        door.open();
        until("it is put away", || matches!(project.phase(), ProjectPhase::Failed { again: false, .. }));
        assert_eq!(tries.load(SeqCst), 1);
    }
}

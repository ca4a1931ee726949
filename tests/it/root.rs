//! The composition root: projects that open, crash, are opened again and close, without touching each other.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use mainlane::control::{Backoff, Intensity, Next, Worker, WorkerChanged, WorkerContext, WorkerError, WorkerState};
use mainlane::register::{
    Condition, Crew, Interface, Need, Project, ProjectChanged, ProjectError, ProjectPhase, Register, RegistryNews,
    Reopen,
};
use mainlane::signal::{Sent, SignalReader};
use mainlane::{Budget, Diagnostic, Pipeline};

use crate::domain::{Ledger, Note, PATIENCE, until};

fn ledger() -> Result<mainlane::Builder<Ledger>, mainlane::register::OpenError> {
    Ok(Pipeline::builder(Ledger::default()))
}

fn at_once(times: u32) -> Reopen {
    Reopen::Within(Intensity::at_most(times, PATIENCE * 100), Backoff::NONE)
}

/// Waits until a change of this project to a phase like this is told.
fn told(
    changes: &mut SignalReader<ProjectChanged>,
    project: &str,
    is: impl Fn(&ProjectPhase) -> bool,
) -> ProjectChanged {
    loop {
        let change = changes.wait(PATIENCE).expect("it is told");
        let change = change.signal().expect("nothing is missing").signal().clone();
        if &*change.project == project && is(&change.phase) {
            return change;
        }
    }
}

fn push(project: &Project<Ledger>, note: Note) {
    project.handle().lane("test").open().unwrap().push(note).unwrap();
}

fn applied(project: &Project<Ledger>) -> usize {
    project.reader().load().seen.len()
}

#[test]
fn projects_open_after_what_they_need_and_close_in_the_reverse_order() {
    let mut register = Register::builder().start().unwrap();
    let needs = register.project("shop", ledger).after(["stock"]).open().unwrap_err();
    assert_eq!(needs.to_string(), "the project `shop` comes after `stock`, which is not open: open that first");
    let stock = register.project("stock", ledger).open().unwrap();
    let shop = register.project("shop", ledger).after(["stock"]).open().unwrap();
    assert!(matches!(register.project("shop", ledger).open(), Err(ProjectError::Taken { .. })));
    assert_ne!(stock.origin(), shop.origin());
    let lane = (stock.handle().lane("a").open().unwrap(), shop.handle().lane("b").open().unwrap());
    let (mut a, mut b) = lane;
    (0..100).for_each(|n| a.push(Note::Item(n)).and_then(|()| b.push(Note::Item(n))).unwrap());
    let report = register.shutdown(PATIENCE);
    assert!(report.complete, "{report:?}");
    let closed: Vec<_> =
        report.projects.iter().map(|(name, report)| (&**name, report.counters.events.applied)).collect();
    assert_eq!(closed, [("shop", 100), ("stock", 100)]);
    assert_eq!((applied(&stock), applied(&shop)), (100, 100));
    assert!(matches!(register.project("late", ledger).open(), Err(ProjectError::Closed)));
    assert!(register.shutdown(Duration::ZERO).complete, "the same report");
}

#[test]
fn a_project_that_crashes_is_opened_again_and_the_others_do_not_notice() {
    let register = Register::builder().start().unwrap();
    let mut changes = register.bus().subscribe::<ProjectChanged>("test").waiting(1_000).reader().unwrap();
    let only_faults = |sent: &Sent<Diagnostic>| matches!(**sent, Diagnostic::Stopped(_));
    let mut faults = register.bus().subscribe::<Diagnostic>("test").filter(only_faults).reader().unwrap();
    let broken = register.project("broken", ledger).reopen(at_once(3)).open().unwrap();
    let good = register.project("good", ledger).open().unwrap();
    let mut lane = good.handle().lane("test").open().unwrap();
    for round in 1..=3_u64 {
        (0..50).for_each(|n| lane.push(Note::Item(n)).unwrap());
        let before = broken.handle();
        push(&broken, Note::Poison);
        let change = told(&mut changes, "broken", |phase| matches!(phase, ProjectPhase::Failed { .. }));
        let ProjectPhase::Failed { why, again: true } = change.phase else { panic!("{change:?}") };
        assert!(why.contains("poisoned"), "{why}");
        let change = told(&mut changes, "broken", |phase| *phase == ProjectPhase::Open);
        assert_eq!((change.openings, broken.openings()), (round + 1, round + 1));
        assert!(before.is_ended() && !broken.handle().is_ended());
        assert!(broken.take_poison().is_some_and(|poison| matches!(poison.event, Note::Poison)));
        push(&broken, Note::Item(round));
        until("the event", || applied(&broken) == 1);
        let fault = faults.wait(PATIENCE).unwrap();
        assert_eq!(fault.signal().unwrap().source(), broken.origin());
    }
    // Three times within the period, and no more.
    push(&broken, Note::Poison);
    told(&mut changes, "broken", |phase| matches!(phase, ProjectPhase::Failed { again: false, .. }));
    let health = register.health();
    assert_eq!((health.condition, health.find("broken").unwrap().condition), (Condition::Failed, Condition::Failed));
    assert_eq!(health.find("good").unwrap().condition, Condition::Good);
    until("everything of the other", || applied(&good) == 150);
    // The host has the last word.
    register.reopen("broken").unwrap();
    assert_eq!(
        (broken.phase(), register.health().find("broken").unwrap().condition),
        (ProjectPhase::Open, Condition::Good)
    );
}

#[test]
fn a_project_that_cannot_be_opened_again_is_tried_again_and_then_given_up() {
    let register = Register::builder().start().unwrap();
    let mut changes = register.bus().subscribe::<ProjectChanged>("test").waiting(1_000).reader().unwrap();
    let (tries, works) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(true)));
    let (tried, working) = (tries.clone(), works.clone());
    let open = move || match tried.fetch_add(1, SeqCst) {
        _ if working.load(SeqCst) => ledger(),
        1 => panic!("the disk is gone"),
        _ => Err("there is no disk".into()),
    };
    let project = register.project("shaky", open).reopen(at_once(3)).open().unwrap();
    works.store(false, SeqCst);
    push(&project, Note::Poison);
    let mut reasons = Vec::new();
    while reasons.len() < 4 {
        let change = told(&mut changes, "shaky", |phase| matches!(phase, ProjectPhase::Failed { .. }));
        if let ProjectPhase::Failed { why, again } = change.phase {
            reasons.push((why.to_string(), again));
        }
    }
    assert!(
        reasons[0].0.contains("poisoned") && reasons[1].0.contains("it panicked as it was opened: the disk is gone")
    );
    assert_eq!(reasons[3], ("there is no disk".to_owned(), false));
    assert_eq!(tries.load(SeqCst), 4, "the first time, and three more");
    let error = register.reopen("shaky").unwrap_err();
    assert_eq!(error.to_string(), "the project `shaky` could not be opened: there is no disk");
    works.store(true, SeqCst);
    register.reopen("shaky").unwrap();
    push(&project, Note::Item(1));
    until("the event", || applied(&project) == 1);
}

#[test]
fn closing_and_reopening_leaves_the_others_alone() {
    let register = Register::builder().start().unwrap();
    let (one, other) =
        (register.project("one", ledger).open().unwrap(), register.project("other", ledger).open().unwrap());
    let mut lane = other.handle().lane("test").open().unwrap();
    for round in 0..20 {
        lane.push(Note::Item(round)).unwrap();
        push(&one, Note::Item(round));
        let report = register.close("one", PATIENCE).unwrap().expect("it was open");
        assert!(report.complete && report.counters.events.applied == 1, "{report:?}");
        assert_eq!(one.phase(), ProjectPhase::Closed);
        assert!(register.close("one", PATIENCE).unwrap().is_none());
        register.reopen("one").unwrap();
        register.reopen("one").unwrap();
        assert_eq!(one.openings(), round + 2);
    }
    until("everything of the other", || applied(&other) == 20);
    assert!(matches!(register.close("third", PATIENCE), Err(ProjectError::Unknown { .. })));
}

#[test]
fn a_project_that_is_removed_is_forgotten_and_its_name_is_free() {
    let mut register = Register::builder().start().unwrap();
    let first = register.project("one", ledger).reopen(at_once(1)).open().unwrap();
    assert!(first.last_report().is_none());
    push(&first, Note::Item(1));
    let report = register.remove("one", PATIENCE).unwrap().expect("it was open");
    assert!(report.complete && first.last_report().is_some_and(|last| last.counters.events.applied == 1));
    assert_eq!((applied(&first), first.phase(), register.projects().len()), (1, ProjectPhase::Closed, 0));
    assert!(matches!(register.remove("one", PATIENCE), Err(ProjectError::Unknown { .. })));
    assert!(matches!(register.reopen("one"), Err(ProjectError::Unknown { .. })));
    assert!(register.health().find("one").is_none());
    // Another, which has nothing of the first.
    let second = register.project("one", ledger).open().unwrap();
    push(&second, Note::Item(2));
    until("the event", || applied(&second) == 1);
    assert_ne!(first.origin(), second.origin());
    assert!(register.shutdown(PATIENCE).complete);
}

/// What happened to it is told whenever that is: nothing else has the register look.
#[test]
fn a_project_whose_pipeline_is_closed_by_its_handle_is_closed() {
    let register = Register::builder().start().unwrap();
    let mut changes = register.bus().subscribe::<ProjectChanged>("test").waiting(100).reader().unwrap();
    let project = register.project("one", ledger).reopen(at_once(3)).open().unwrap();
    told(&mut changes, "one", |phase| *phase == ProjectPhase::Open);
    push(&project, Note::Item(1));
    project.handle().close();
    told(&mut changes, "one", |phase| *phase == ProjectPhase::Closed);
    assert_eq!((applied(&project), project.phase()), (1, ProjectPhase::Closed));
    register.reopen("one").unwrap();
    push(&project, Note::Item(2));
    until("the event", || applied(&project) == 1 && project.openings() == 2);
}

/// The host's attempt does not count as the last word: the project is due again, and nothing else has the register look.
#[test]
fn a_project_that_the_host_could_not_open_again_is_tried_again() {
    let register = Register::builder().start().unwrap();
    let mut changes = register.bus().subscribe::<ProjectChanged>("test").waiting(100).reader().unwrap();
    let tries = Arc::new(AtomicU64::new(0));
    let tried = tries.clone();
    let open = move || match tried.fetch_add(1, SeqCst) {
        1 => Err("the disk is busy".into()),
        _ => ledger(),
    };
    let project = register.project("shaky", open).reopen(at_once(3)).open().unwrap();
    assert!(register.close("shaky", PATIENCE).unwrap().is_some());
    told(&mut changes, "shaky", |phase| *phase == ProjectPhase::Closed);
    assert!(register.reopen("shaky").is_err());
    told(&mut changes, "shaky", |phase| *phase == ProjectPhase::Open);
    assert_eq!((tries.load(SeqCst), project.openings()), (3, 2));
}

#[test]
fn what_happens_to_its_workers_and_in_its_registries_is_on_its_bus() {
    trait Build: Send + Sync {}
    impl Interface for dyn Build {
        type Key = u64;
        const NAME: &'static str = "build";
        const CAPABILITIES: &'static [Need] = &[];

        fn id(key: &u64) -> u64 {
            *key
        }
    }
    struct Cargo;
    impl Build for Cargo {}

    struct Idle;
    impl Worker<Ledger> for Idle {
        fn turn(&mut self, _: &mut WorkerContext<Ledger>) -> Result<Next, WorkerError> {
            Ok(Next::Nudged)
        }
    }

    let mut register = Register::builder().start().unwrap();
    let mut news = register.bus().subscribe::<RegistryNews>("test").reader().unwrap();
    let mut workers = register.bus().subscribe::<WorkerChanged>("test").waiting(100).reader().unwrap();
    let builds = register.registries().add::<dyn Build>().unwrap();
    builds.register(builds.offer(7, "cargo", Arc::new(Cargo))).unwrap();
    let told = news.wait(PATIENCE).expect("a provider was registered");
    assert_eq!(told.signal().unwrap().to_string(), "build@cargo for 7: registered");
    let project = register.project("one", ledger).open().unwrap();
    register.panel().worker(&project.handle(), "idler", || Ok(Idle)).start().unwrap();
    loop {
        let told = workers.wait(PATIENCE).expect("the worker runs");
        let change = told.signal().expect("nothing is missing");
        if &*change.worker == "idler" && change.is == Some(WorkerState::Running) {
            break;
        }
    }
    assert!(register.shutdown(PATIENCE).complete, "who tells of registries ends with the bus");
}

#[test]
fn workers_belong_to_it_and_are_stopped_before_their_projects() {
    struct LastWords;

    impl Worker<Ledger> for LastWords {
        fn turn(&mut self, _: &mut WorkerContext<Ledger>) -> Result<Next, WorkerError> {
            Ok(Next::Nudged)
        }

        fn stop(&mut self, ctx: &mut WorkerContext<Ledger>) -> Result<(), WorkerError> {
            ctx.lane().push(Note::Item(7))?;
            Ok(())
        }
    }

    let mut register = Register::builder().start().unwrap();
    let project = register.project("one", ledger).open().unwrap();
    register.panel().worker(&project.handle(), "talks", || Ok(LastWords)).start().unwrap();
    until("the worker runs", || register.health().find("talks").is_some_and(|worker| worker.what == "running"));
    assert!(register.shutdown(PATIENCE).complete);
    assert_eq!(project.reader().load().notes(), [Note::Item(7)]);
}

#[test]
fn a_worker_that_fails_shows_in_the_tree_and_at_its_root() {
    struct Fails;

    impl Worker<Ledger> for Fails {
        fn turn(&mut self, _: &mut WorkerContext<Ledger>) -> Result<Next, WorkerError> {
            Err("no network".into())
        }
    }

    let register = Register::builder().start().unwrap();
    let project = register.project("one", ledger).open().unwrap();
    assert_eq!(register.health().condition, Condition::Good);
    let rests = Backoff::between(PATIENCE * 10, PATIENCE * 10);
    register.panel().worker(&project.handle(), "syncer", || Ok(Fails)).backoff(rests).start().unwrap();
    until("it rests", || {
        register.health().find("syncer").is_some_and(|worker| worker.condition == Condition::Degraded)
    });
    let health = register.health();
    assert!(health.find("syncer").unwrap().what.contains("no network"), "{health:?}");
    assert_eq!((health.condition, health.find("projects").unwrap().condition), (Condition::Degraded, Condition::Good));
}

#[test]
fn in_the_hosts_own_loop_too() {
    let mut register = Register::builder().crew(Crew::builder().threads(0)).start().unwrap();
    let projects: Vec<_> =
        ["a", "b", "c"].into_iter().map(|name| register.project(name, ledger).open().unwrap()).collect();
    projects.iter().for_each(|project| push(project, Note::Item(1)));
    until("all three", || {
        register.crew().turn(Budget::millis(1));
        projects.iter().all(|project| applied(project) == 1)
    });
    assert!(register.shutdown(PATIENCE).complete);
}

#[test]
fn an_opening_that_does_not_end_keeps_nobody_from_shutting_down() {
    let (hangs, released) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (hanging, release) = (hangs.clone(), released.clone());
    let mut first = true;
    let open = move || {
        if !std::mem::take(&mut first) {
            hanging.store(true, SeqCst);
            until("its release", || release.load(SeqCst));
        }
        ledger()
    };
    let mut register = Register::builder().start().unwrap();
    let project = register.project("slow", open).reopen(at_once(1)).open().unwrap();
    let other = register.project("other", ledger).open().unwrap();
    push(&project, Note::Poison);
    until("it hangs", || hangs.load(SeqCst));
    assert!(matches!(register.close("slow", Duration::ZERO), Err(ProjectError::Busy { .. })));
    push(&other, Note::Item(1));
    until("the other goes on", || applied(&other) == 1);
    let report = register.shutdown(Duration::from_millis(50));
    assert!(!report.complete);
    assert_eq!(report.projects.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["other"]);
    assert_eq!(report.busy, ["slow".into()]);
    released.store(true, SeqCst);
    until("the end of what was opened too late", || matches!(project.phase(), ProjectPhase::Failed { .. }));
    assert!(project.handle().is_ended());
}

#[test]
fn dropping_it_leaves_no_thread() {
    let threads = || {
        let names = std::fs::read_dir("/proc/self/task")
            .unwrap()
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.filter(|name| name.starts_with("dropped")).count()
    };
    let register = Register::builder().crew(Crew::builder().name("dropped").threads(2)).start().unwrap();
    let project = register.project("one", ledger).open().unwrap();
    push(&project, Note::Item(1));
    until("both threads", || threads() >= 2);
    drop(register);
    assert_eq!(applied(&project), 1);
    assert_eq!((threads(), project.phase()), (0, ProjectPhase::Closed));
}

#[test]
fn a_project_is_not_opened_again_before_what_it_comes_after() {
    let register = Register::builder().start().unwrap();
    let _stock = register.project("stock", ledger).open().unwrap();
    let shop = register.project("shop", ledger).after(["stock"]).open().unwrap();
    // Without the other it goes on.
    register.close("stock", PATIENCE).unwrap();
    push(&shop, Note::Item(1));
    until("the event", || applied(&shop) == 1);
    register.reopen("shop").expect("it is open");
    register.close("shop", PATIENCE).unwrap();
    assert!(matches!(register.reopen("shop"), Err(ProjectError::Needs { needs, .. }) if &*needs == "stock"));
    assert_eq!((shop.phase(), shop.openings()), (ProjectPhase::Closed, 1));
    register.reopen("stock").unwrap();
    register.reopen("shop").unwrap();
    assert_eq!(shop.openings(), 2);
}

#[test]
fn a_project_that_crashed_is_opened_again_when_what_it_comes_after_is() {
    for is_closed in [false, true] {
        let (hangs, released) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (hanging, release, mut first) = (hangs.clone(), released.clone(), true);
        let open = move || {
            if !std::mem::take(&mut first) {
                hanging.store(true, SeqCst);
                until("its release", || release.load(SeqCst));
            }
            ledger()
        };
        let register = Register::builder().start().unwrap();
        let stock = register.project("stock", open).reopen(at_once(1)).open().unwrap();
        let (needs, phases) = (stock.clone(), Arc::new(std::sync::Mutex::new(Vec::new())));
        let seen = phases.clone();
        let open = move || {
            seen.lock().unwrap().push(needs.phase());
            ledger()
        };
        let shop = register.project("shop", open).after(["stock"]).reopen(at_once(1)).open().unwrap();
        if is_closed {
            register.close("stock", PATIENCE).unwrap();
        } else {
            push(&stock, Note::Poison);
            until("it is being opened", || hangs.load(SeqCst));
        }
        push(&shop, Note::Poison);
        let waits = "; it waits until `stock` is open";
        until("it waits", || register.health().find("shop").is_some_and(|shop| shop.what.ends_with(waits)));
        assert!(matches!(shop.phase(), ProjectPhase::Failed { again: true, .. }), "{}", shop.phase());
        released.store(true, SeqCst);
        if is_closed {
            register.reopen("stock").unwrap();
        }
        until("both are open", || shop.openings() == 2 && shop.phase() == ProjectPhase::Open && stock.openings() == 2);
        assert_eq!(*phases.lock().unwrap(), [ProjectPhase::Open, ProjectPhase::Open]);
    }
}

#[test]
fn what_was_removed_and_made_anew_is_closed_after_those_that_come_after_it() {
    let mut register = Register::builder().start().unwrap();
    register.project("stock", ledger).open().unwrap();
    register.project("shop", ledger).after(["stock"]).open().unwrap();
    register.project("till", ledger).after(["shop", "stock"]).open().unwrap();
    register.remove("stock", PATIENCE).unwrap();
    let circular = register.project("stock", ledger).after(["till"]).open().unwrap_err();
    assert!(matches!(circular, ProjectError::Circular { .. }), "{circular}");
    register.project("stock", ledger).open().unwrap();
    register.project("other", ledger).open().unwrap();
    let report = register.shutdown(PATIENCE);
    let closed: Vec<_> = report.projects.iter().map(|(name, _)| &**name).collect();
    assert_eq!((report.complete, &closed[..]), (true, &["other", "till", "shop", "stock"][..]));
}

#[test]
fn what_is_made_anew_while_another_is_opened_makes_no_circle_with_it() {
    let mut register = Register::builder().start().unwrap();
    register.project("stock", ledger).open().unwrap();
    register.project("shop", ledger).after(["stock"]).open().unwrap();
    register.remove("stock", PATIENCE).unwrap();
    let its = &register;
    let (begun, made) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let (begins, is_made) = (begun.clone(), made.clone());
    let open = move || {
        begins.wait();
        is_made.wait();
        ledger()
    };
    let circular = std::thread::scope(|scope| {
        let till = scope.spawn(move || its.project("till", open).after(["shop"]).open());
        begun.wait();
        register.project("till", ledger).open().unwrap();
        register.project("stock", ledger).after(["till"]).open().unwrap();
        register.remove("till", PATIENCE).unwrap();
        made.wait();
        till.join().unwrap()
    });
    assert!(matches!(circular, Err(ProjectError::Circular { .. })), "{circular:?}");
    let report = register.shutdown(PATIENCE);
    let closed: Vec<_> = report.projects.iter().map(|(name, _)| &**name).collect();
    assert_eq!((report.complete, &closed[..]), (true, &["shop", "stock"][..]));
}

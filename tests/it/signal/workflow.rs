//! Parts of a host in different registries that work together, and know nothing of each other.

use std::sync::Arc;

use mainlane::register::{
    Announcement, Capability, Change, Declaration, Interface, Mismatch, Need, Problem, RegisterError, Registries,
    RegistryNews,
};
use mainlane::signal::{RunningBus, Subscription};
use mainlane::{Class, Drive, Effects, Envelope, Event, Lane, OperationId, Pipeline, Reducer};
use parking_lot::Mutex;

use super::*;
use crate::domain::until;

// What they have in common: three families of signals, in the host's vocabulary.

#[derive(Clone, Debug, PartialEq, Eq)]
struct FolderChanged {
    folder: u64,
}

impl Signal for FolderChanged {
    const FAMILY: &'static str = "folder";
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct BuildDone {
    folder: u64,
    by: &'static str,
}

impl Signal for BuildDone {
    const FAMILY: &'static str = "build";
}

// A registry of build services, found by what they can do.

trait BuildService: Send + Sync {
    fn build(&self, folder: u64) -> &'static str;
}

const INCREMENTAL: Capability = Capability::new("incremental");
const REMOTE: Capability = Capability::new("remote");

impl Interface for dyn BuildService {
    type Key = u64;
    const NAME: &'static str = "build";
    const CAPABILITIES: &'static [Need] = &[Need::required(INCREMENTAL), Need::expected(REMOTE)];

    fn id(folder: &u64) -> u64 {
        *folder
    }
}

/// Notes what it built.
struct Builds(&'static str, Arc<Mutex<Vec<(&'static str, u64)>>>);

impl BuildService for Builds {
    fn build(&self, folder: u64) -> &'static str {
        self.1.lock().push((self.0, folder));
        self.0
    }
}

// And one of notifiers.

trait Notifier: Send + Sync {
    fn line(&self, done: &BuildDone) -> String;
}

impl Interface for dyn Notifier {
    type Key = &'static str;
    const NAME: &'static str = "notifier";
    const CAPABILITIES: &'static [Need] = &[];

    fn id(_: &&'static str) -> u64 {
        0
    }
}

struct Status;

impl Notifier for Status {
    fn line(&self, done: &BuildDone) -> String {
        format!("folder {} was built by {}", done.folder, done.by)
    }
}

// The state, in which a line is to appear.

struct Line {
    text: String,
}

impl Event for Line {
    type Key = ();
    type Facets = ();

    fn class(&self) -> Class<()> {
        Class::Critical
    }
}

#[derive(Clone, Default)]
struct Lines(Vec<String>);

impl Reducer for Lines {
    type Event = Line;
    type Effect = ();

    fn apply(&mut self, envelope: &Envelope<'_, Line>, _: &mut Effects<()>) {
        self.0.push(envelope.event.text.clone());
    }
}

/// Reacts to folders that change: with whoever builds them, whoever that is.
fn build_on_change(bus: &Bus, registries: &Registries) -> Subscription<FolderChanged> {
    let mut services = registries.get::<dyn BuildService>().unwrap().reader("builds on change");
    let out = bus.outlet::<BuildDone>(Origin::built_in("builds", 0));
    let react = move |sent: &Sent<FolderChanged>| {
        let folder = sent.folder;
        let Some(service) = services.fully(&folder, &[INCREMENTAL]) else { return Ok(()) };
        let done = BuildDone { folder, by: service.build(folder) };
        // A part of the same operation, if it is one.
        Ok(out.publish_because(sent.cause(), done).map_err(|refused| refused.to_string())?)
    };
    bus.subscribe("builds on change").on_thread("builds", react).unwrap()
}

/// Turns what was built into lines of the state, through a lane of its own.
fn show_builds(bus: &Bus, registries: &Registries, lane: Lane<Line>) -> Subscription<BuildDone> {
    let mut notifiers = registries.get::<dyn Notifier>().unwrap().reader("shows builds");
    let to_line = move |sent: &Sent<BuildDone>| {
        let notifier = notifiers.get(&"status", "status line")?;
        Some(Line { text: notifier.line(sent) })
    };
    bus.subscribe("shows builds").into_lane("lines", lane, to_line).unwrap()
}

struct Host {
    signals: RunningBus,
    registries: Registries,
    built: Arc<Mutex<Vec<(&'static str, u64)>>>,
}

impl Host {
    fn new() -> Self {
        let registries = Registries::new();
        registries.add::<dyn BuildService>().unwrap();
        registries.add::<dyn Notifier>().unwrap();
        Self { signals: Bus::builder().start().unwrap(), registries, built: Arc::default() }
    }

    fn offer(&self, folder: u64, name: &'static str, rank: u32) {
        let builds = self.registries.get::<dyn BuildService>().unwrap();
        let service = Arc::new(Builds(name, self.built.clone()));
        let declared = Declaration::new().full(INCREMENTAL).full(REMOTE);
        builds.register(builds.offer(folder, name, service).rank(rank).declare(declared)).unwrap();
    }
}

#[test]
fn a_workflow_across_two_registries_is_started_by_a_signal() {
    let mut host = Host::new();
    let bus = host.signals.bus().clone();
    host.offer(7, "cargo", 1);
    host.offer(8, "make", 1);
    let notifiers = host.registries.get::<dyn Notifier>().unwrap();
    notifiers.register(notifiers.offer("status", "status line", Arc::new(Status))).unwrap();
    let (main_lane, handle) = Pipeline::builder(Lines::default()).build().unwrap();
    let mut running = main_lane.spawn(Drive::new()).unwrap();
    let _builds = build_on_change(&bus, &host.registries);
    let _lines = show_builds(&bus, &host.registries, handle.lane("lines").open().unwrap());
    let mut of_operation = bus.subscribe::<BuildDone>("one operation").operation(OperationId(5)).reader().unwrap();
    // Whoever watches folders knows of none of them.
    let watcher = bus.outlet::<FolderChanged>(Origin::built_in("watcher", 0));
    watcher.publish(FolderChanged { folder: 7 }).unwrap();
    watcher.publish_because(Cause::operation(OperationId(5)), FolderChanged { folder: 8 }).unwrap();
    // Nobody builds this one.
    watcher.publish(FolderChanged { folder: 9 }).unwrap();
    let lines = || handle.reader().load().0.clone();
    until("both lines are in the state", || lines().len() == 2);
    assert_eq!(lines(), ["folder 7 was built by cargo", "folder 8 was built by make"]);
    let end = of_operation.wait(PATIENCE).unwrap();
    assert_eq!(end.signal().map(|sent| sent.folder), Some(8), "the operation goes through");
    // Another provider takes over while everything goes on, and nobody who reacts is told to look for it.
    host.offer(7, "bazel", 0);
    watcher.publish(FolderChanged { folder: 7 }).unwrap();
    until("a third line is in the state", || lines().len() == 3);
    assert_eq!(lines()[2], "folder 7 was built by bazel");
    assert!(running.shutdown(PATIENCE).complete);
    assert!(host.signals.shutdown(PATIENCE).complete);
}

#[test]
fn one_producer_has_two_observers_in_different_registries() {
    let mut host = Host::new();
    let bus = host.signals.bus().clone();
    host.offer(1, "cargo", 0);
    let notifiers = host.registries.get::<dyn Notifier>().unwrap();
    notifiers.register(notifiers.offer("status", "status line", Arc::new(Status))).unwrap();
    let lines: Arc<Mutex<Vec<String>>> = Arc::default();
    let written = lines.clone();
    let mut readers = notifiers.reader("notes");
    let note = move |sent: &Sent<FolderChanged>| {
        let done = BuildDone { folder: sent.folder, by: "nobody yet" };
        written.lock().extend(readers.get(&"status", "status line").map(|notifier| notifier.line(&done)));
        Ok(())
    };
    let _builds = build_on_change(&bus, &host.registries);
    let _notes = bus.subscribe("notes").on_thread("notes", note).unwrap();
    let watcher = bus.outlet::<FolderChanged>(Origin::built_in("watcher", 0));
    (0..10).for_each(|_| watcher.publish(FolderChanged { folder: 1 }).unwrap());
    until("both have seen all of it", || host.built.lock().len() == 10 && lines.lock().len() == 10);
    // One of them is gone: the other does not know.
    notifiers.withdraw(&"status", "status line").unwrap();
    watcher.publish(FolderChanged { folder: 1 }).unwrap();
    until("it was built", || host.built.lock().len() == 11);
    assert!(host.signals.shutdown(PATIENCE).complete);
    assert_eq!(lines.lock().len(), 10);
}

/// What a reader of news has heard, in words.
fn news(reader: &mut SignalReader<RegistryNews>, count: usize) -> Vec<String> {
    let next = |_| match reader.wait(PATIENCE).expect("there is more to hear") {
        Delivery::Signal { sent, .. } => sent.to_string(),
        Delivery::Missed(missed) => panic!("{missed:?}"),
    };
    (0..count).map(next).collect()
}

#[test]
fn what_happens_in_registries_is_told_on_the_bus() {
    let mut host = Host::new();
    let bus = &host.signals.bus().clone();
    host.offer(1, "before", 0);
    let announcing = host.registries.announce(bus, "registries").unwrap();
    let mut reader = bus.subscribe::<RegistryNews>("listener").waiting(1_000).reader().unwrap();
    host.offer(7, "cargo", 0);
    assert_eq!(news(&mut reader, 1), ["build@cargo for 7: registered"]);
    let builds = host.registries.get::<dyn BuildService>().unwrap();
    let service = || Arc::new(Builds("lame", host.built.clone())) as Arc<dyn BuildService>;
    // Less than is expected: it is there, and what does not fit is told.
    let less = Declaration::new().full(INCREMENTAL).none(REMOTE);
    builds.register(builds.offer(7, "lame", service()).declare(less.clone())).unwrap();
    let heard = news(&mut reader, 2);
    assert_eq!(heard[0], "build@lame for 7: registered");
    assert!(heard[1].starts_with("build@lame for 7: `remote`"), "{heard:?}");
    // Less than is required: it is not there, and why is told all the same.
    let refused = builds.register(builds.offer(9, "lame", service()).declare(Declaration::new().full(REMOTE)));
    assert!(matches!(refused, Err(RegisterError::Unsupported(_))));
    let Some(Delivery::Signal { sent, .. }) = reader.wait(PATIENCE) else { panic!("nothing of the refusal") };
    let RegistryNews::Mismatch(Mismatch { key, capability, problem, refused, .. }) = sent.signal() else {
        panic!("{sent:?}")
    };
    assert!(matches!(problem, Problem::Undeclared { .. }) && *refused && key == "9" && *capability == INCREMENTAL);
    builds.replace(builds.offer(7, "lame", service()).declare(less.full(REMOTE))).unwrap();
    builds.withdraw(&7, "cargo").unwrap();
    let Some(Delivery::Signal { sent, .. }) = reader.wait(PATIENCE) else { panic!("nothing of the change") };
    assert!(
        matches!(sent.signal(), RegistryNews::Announced(Announcement { change: Change::Replaced, revision: 4, .. })),
        "{sent:?}"
    );
    let mut rest = Vec::new();
    until("it has left", || {
        rest.extend(std::iter::from_fn(|| reader.next_waiting()).map(|next| next.signal().unwrap().to_string()));
        // Between the two there is what does not fit now, if it is told before the other leaves.
        rest.iter().any(|news| news == "build@cargo for 7: withdrawn")
    });
    // A registry that is added later is told of from its beginning.
    trait Late: Send + Sync {}
    impl Interface for dyn Late {
        type Key = u64;
        const NAME: &'static str = "late";
        const CAPABILITIES: &'static [Need] = &[];

        fn id(key: &u64) -> u64 {
            *key
        }
    }
    struct Comes;
    impl Late for Comes {}
    let mut late_news =
        bus.subscribe::<RegistryNews>("late").filter(|sent| sent.interface() == "late").reader().unwrap();
    let late = host.registries.add::<dyn Late>().unwrap();
    late.register(late.offer(3, "comes", Arc::new(Comes))).unwrap();
    assert_eq!(news(&mut late_news, 1), ["late@comes for 3: registered"]);
    // One that goes on is no reason for the bus to wait as it ends.
    drop(announcing);
    late.announce(bus, "registries").unwrap().keep();
    assert!(host.signals.shutdown(PATIENCE).complete);
    assert!(host.registries.announce(bus, "registries").is_err(), "the bus was shut down");
}

#[test]
fn what_does_not_fit_is_told_after_the_news_that_it_is_there_however_they_race() {
    let host = Host::new();
    let bus = host.signals.bus();
    let _announcing = host.registries.announce(bus, "registries").unwrap();
    let mut reader = bus.subscribe::<RegistryNews>("listener").waiting(1_000).reader().unwrap();
    let builds = host.registries.get::<dyn BuildService>().unwrap();
    for key in 0..1_000 {
        let lame = Arc::new(Builds("lame", host.built.clone())) as Arc<dyn BuildService>;
        builds.register(builds.offer(key, "lame", lame).declare(Declaration::new().full(INCREMENTAL))).unwrap();
        let heard = news(&mut reader, 2);
        assert_eq!(heard[0], format!("build@lame for {key}: registered"), "{heard:?}");
    }
}

#[test]
fn a_bus_without_room_is_told_later_and_no_revision_is_missing() {
    const CHANGES: u64 = 900;
    let (mut dispatcher, bus) = bus();
    let registries = Registries::new();
    let builds = registries.add::<dyn BuildService>().unwrap();
    registries.announce(&bus, "registries").unwrap().keep();
    let mut reader = bus.subscribe::<RegistryNews>("listener").waiting(10_000).reader().unwrap();
    let host = Host { signals: Bus::builder().start().unwrap(), registries, built: Arc::default() };
    (0..CHANGES).for_each(|folder| host.offer(folder, "cargo", 0));
    until("the family is full", || bus.status::<RegistryNews>().refused > 0);
    let mut revisions = Vec::new();
    let mut hear = |dispatcher: &mut Dispatcher, revisions: &mut Vec<u64>| {
        let _ = dispatcher.turn(Budget::UNLIMITED);
        while let Some(delivery) = reader.next_waiting() {
            match delivery.signal().map(|sent| sent.signal()) {
                Some(RegistryNews::Announced(announcement)) => revisions.push(announcement.revision),
                Some(RegistryNews::Missed { now, .. }) => revisions.extend(revisions.len() as u64 + 1..=now.revision),
                // That something was refused is told as well; here it was tried again.
                None => {}
                other => panic!("{other:?}"),
            }
        }
        revisions.len() as u64
    };
    until("all is told", || hear(&mut dispatcher, &mut revisions) == CHANGES);
    // More than the registry keeps: what there is instead is told.
    (CHANGES..3 * CHANGES).for_each(|folder| host.offer(folder, "cargo", 0));
    (CHANGES..2 * CHANGES).for_each(|folder| drop(builds.withdraw(&folder, "cargo").unwrap()));
    until("all is told", || hear(&mut dispatcher, &mut revisions) == 4 * CHANGES);
    assert_eq!(revisions, (1..=4 * CHANGES).collect::<Vec<_>>());
    assert!(dispatcher.shutdown(PATIENCE).complete, "it does not wait for whoever announces");
}

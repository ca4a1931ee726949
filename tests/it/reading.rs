//! C9: coherent reads that nobody waits for. And facets, which come from what is read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use mainlane::{Budget, Class, Drive, Effects, Envelope, Event, Facets, Fill, Origin, Pipeline, Reducer, Tags};

use crate::domain::{Ledger, Note, PATIENCE, drain, settled};

/// A state whose parts must always agree, and which is copied in place when it can be.
#[derive(Default)]
struct Pair {
    left: Vec<u64>,
    right: Vec<u64>,
}

impl Clone for Pair {
    fn clone(&self) -> Self {
        Self { left: self.left.clone(), right: self.right.clone() }
    }

    fn clone_from(&mut self, source: &Self) {
        self.left.clone_from(&source.left);
        self.right.clone_from(&source.right);
    }
}

impl Reducer for Pair {
    type Event = Note;
    type Effect = ();

    fn apply(&mut self, envelope: &Envelope<'_, Note>, _: &mut Effects<()>) {
        let Note::Item(n) = envelope.event else { return };
        self.left = vec![*n; 16];
        self.right = vec![*n; 16];
    }
}

#[test]
fn readers_never_see_a_torn_state_nor_go_back() {
    let builder = Pipeline::builder(Pair::default());
    let mut lane = builder.lane("a").open().unwrap();
    let (main_lane, handle) = builder.build().unwrap();
    let mut running = main_lane.spawn(Drive::new().budget(Budget::events(3))).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for cached in [false, true] {
            let (reader, done) = (handle.reader(), &done);
            scope.spawn(move || {
                let (mut cache, mut version, mut stamp) = (reader.cached(), 0, 0);
                while !done.load(Ordering::Acquire) {
                    let full;
                    let snapshot = if cached {
                        cache.load()
                    } else {
                        full = reader.load();
                        &*full
                    };
                    assert_eq!(snapshot.left, snapshot.right, "torn");
                    assert!(snapshot.version().as_u64() >= version && snapshot.stamp().as_u64() >= stamp, "went back");
                    (version, stamp) = (snapshot.version().as_u64(), snapshot.stamp().as_u64());
                }
            });
        }
        (0..100_000).for_each(|n| lane.push(Note::Item(n)).unwrap());
        assert!(running.shutdown(PATIENCE).complete);
        done.store(true, Ordering::Release);
    });
    let last = handle.reader().load();
    assert_eq!(last.left, vec![99_999; 16]);
    assert_eq!(handle.reader().cached().load().version(), last.version());
}

#[test]
fn a_reader_that_sits_on_a_snapshot_stops_nobody_and_keeps_what_it_has() {
    let builder = Pipeline::builder(Pair::default());
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    let reader = handle.reader();
    let mut held = vec![reader.load()];
    for n in 1..=1000 {
        lane.push(Note::Item(n)).unwrap();
        drain(&mut main_lane);
        if n % 100 == 0 {
            held.push(reader.load());
        }
    }
    for (at, snapshot) in held.iter().enumerate() {
        assert_eq!(snapshot.version().as_u64(), at as u64 * 100);
        assert!(snapshot.left.iter().chain(&snapshot.right).all(|n| *n == at as u64 * 100), "it was not touched");
    }
    let counters = settled(&handle);
    assert_eq!(counters.snapshots, 1001);
    assert!(counters.snapshots_allocated <= 32, "retired snapshots are used again: {}", counters.snapshots_allocated);
}

#[test]
fn retired_snapshots_are_used_again() {
    let builder = Pipeline::builder(Pair::default());
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    for n in 0..1000 {
        lane.push(Note::Item(n)).unwrap();
        drain(&mut main_lane);
    }
    let counters = settled(&handle);
    assert_eq!(counters.snapshots, 1001);
    // The first one, the newest, and those in quarantine.
    assert!(counters.snapshots_allocated <= 3, "{}", counters.snapshots_allocated);
}

#[test]
fn a_snapshots_stamp_covers_what_was_pushed_before_its_cut() {
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("a").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    lane.push_batch((0..10).map(Note::Item)).unwrap();
    main_lane.turn(Budget::events(4)).unwrap();
    let half = handle.reader().load();
    assert_eq!((half.stamp().as_u64(), half.seen.len()), (0, 4), "half a cut covers nothing new");
    drain(&mut main_lane);
    let whole = handle.reader().load();
    assert!(whole.seen.iter().all(|seen| seen.stamp < whole.stamp().as_u64()));
    assert_eq!(whole.seen.len(), 10);
}

#[test]
fn a_turn_without_events_publishes_nothing() {
    let (mut main_lane, handle) = Pipeline::builder(Ledger::default()).build().unwrap();
    for _ in 0..10 {
        assert_eq!(main_lane.turn(Budget::UNLIMITED).unwrap().published, None);
    }
    assert_eq!(handle.counters().snapshots, 1);
    assert!(handle.reader().wait_changed(Instant::now()).is_none());
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Context {
    project: Option<u32>,
    folder: Option<Arc<str>>,
    tags: Tags,
}

impl Facets for Context {
    fn fill(&mut self, fallback: &Self) {
        self.project.fill(&fallback.project);
        self.folder.fill(&fallback.folder);
        self.tags.fill(&fallback.tags);
    }
}

#[derive(Clone)]
struct Titled(Option<Origin>);

impl Event for Titled {
    type Key = ();
    type Facets = Context;

    fn class(&self) -> Class<()> {
        Class::Critical
    }

    fn origin(&self) -> Option<Origin> {
        self.0
    }
}

/// Remembers the context of each event, and knows a folder for one origin.
#[derive(Clone, Default)]
struct Contexts {
    seen: Vec<(Origin, Context)>,
    known: Context,
}

impl Reducer for Contexts {
    type Event = Titled;
    type Effect = ();

    fn apply(&mut self, envelope: &Envelope<'_, Titled>, _: &mut Effects<()>) {
        self.seen.push((envelope.origin, envelope.facets.clone()));
    }

    fn facets_of(&self, origin: Origin, _: &Titled) -> Option<&Context> {
        (origin == Origin::built_in("pane", 1)).then_some(&self.known)
    }
}

#[test]
fn facets_are_filled_from_the_event_then_the_lane_then_the_state() {
    let known = Context { project: Some(3), folder: Some("/state".into()), tags: Tags::new(["state"]) };
    let builder = Pipeline::builder(Contexts { seen: Vec::new(), known });
    let defaults = Context { project: Some(2), ..Context::default() };
    let pane = Origin::built_in("pane", 1);
    let mut lane = builder.lane("a").origin(pane).facets(defaults).open().unwrap();
    let (mut main_lane, _) = builder.build().unwrap();
    let own = Context { project: Some(1), folder: None, tags: Tags::new(["own"]) };
    lane.push_with(own, Titled(None)).unwrap();
    lane.push(Titled(None)).unwrap();
    let other = Origin::plug_in("mood", "mood/1", 4);
    lane.push(Titled(Some(other))).unwrap();
    drain(&mut main_lane);
    let filled = |project, folder: Option<&str>, tags: &[&str]| Context {
        project: Some(project),
        folder: folder.map(Into::into),
        tags: Tags::new(tags.iter().copied()),
    };
    let expected = [
        (pane, filled(1, Some("/state"), &["own"])),
        (pane, filled(2, Some("/state"), &["state"])),
        (other, filled(2, None, &[])),
    ];
    assert_eq!(main_lane.state().seen, expected);
}

#[test]
fn an_enricher_comes_before_the_defaults_and_leaves_alone_what_is_set() {
    let builder = Pipeline::builder(Contexts::default());
    let enrich = |_: &mut Titled, facets: &mut Context| facets.project.fill(&Some(9));
    let defaults = Context { project: Some(2), folder: Some("/lane".into()), ..Context::default() };
    let mut lane = builder.lane("a").facets(defaults).enrich(enrich).open().unwrap();
    let (mut main_lane, _) = builder.build().unwrap();
    lane.push_with(Context { project: Some(1), ..Context::default() }, Titled(None)).unwrap();
    lane.push(Titled(None)).unwrap();
    drain(&mut main_lane);
    let projects: Vec<_> = main_lane.state().seen.iter().map(|(_, context)| context.project).collect();
    assert_eq!(projects, [Some(1), Some(9)]);
    assert!(main_lane.state().seen.iter().all(|(_, context)| context.folder.as_deref() == Some("/lane")));
}

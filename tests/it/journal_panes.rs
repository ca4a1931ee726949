//! C5 and C15 with real input: commands on pseudo-terminals and a folder, whose operations are undone and redone while others go on,
//! events that are set aside, and a journal that is copied while it is open, as a killed process leaves it.

use std::path::Path;
use std::time::{Duration, Instant};

use mainlane::journal::{CheckpointPolicy, Durability, Journal, Replaying, Retention, Sync};
use mainlane::workspace::{
    PaneEvent, PaneId, PtySource, SCHEMA, WatchSource, Workspace, WorkspaceEffect, WorkspaceEvent, WorkspaceFacets,
};
use mainlane::{
    Authority, Budget, Builder, Effects, Envelope, Handle, Left, MainLane, OperationId, Origin, Reducer, RewindError,
    RewindKind, Timeline,
};
use serde::{Deserialize, Serialize};

use crate::domain::PATIENCE;
use crate::journal::{next, settle};

/// Each recovered from the one before.
const RUNS: u64 = 3;
/// Of each run, so many at a time; every second one is short.
const PANES: u64 = 24;
const AT_ONCE: u64 = 4;
/// What is asked for in each run, at least.
const ASKED: u64 = 60;
/// How often a short one says something, and makes a file.
const SHORT: u64 = 120;
/// The exit code on which the reducer panics, and how often it comes.
const POISON: i32 = 66;
const POISON_EVERY: u64 = 50;

/// A workspace that cannot take one exit code.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Touchy(Workspace);

impl Reducer for Touchy {
    type Event = WorkspaceEvent;
    type Effect = WorkspaceEffect;

    const AUTHORITIES: &'static [Authority] = Workspace::AUTHORITIES;

    fn apply(&mut self, envelope: &Envelope<'_, WorkspaceEvent>, effects: &mut Effects<WorkspaceEffect>) {
        if let WorkspaceEvent::Pane(PaneEvent::CommandFinished { exit_code: Some(POISON), .. }) = envelope.event {
            panic!("poison");
        }
        self.0.apply(envelope, effects);
    }

    fn facets_of(&self, origin: Origin, event: &WorkspaceEvent) -> Option<&WorkspaceFacets> {
        self.0.facets_of(origin, event)
    }
}

/// What was done, in all runs.
#[derive(Debug, Default)]
struct Done {
    undone: u64,
    redone: u64,
    refused: u64,
}

/// A shell that says what it does; a short one makes files, too.
fn command(pane: PaneId, says: u64, folder: &Path) -> String {
    let file = if says == SHORT { format!(": > '{}'/{}-$i; ", folder.display(), pane.0) } else { String::new() };
    format!(
        "i=0; while [ $i -lt {says} ]; do i=$((i+1)); {file}\
         printf '\\033]0;job %d\\007\\033]133;C\\007%d\\n\\033]133;D;%d\\007' $i $i $((i % {POISON_EVERY} ? 0 : {POISON})); \
         done"
    )
}

/// Drives the main lane until all panes have ended, and asks again and again for one's operation to be undone, or redone.
fn drive(
    main_lane: &mut MainLane<Touchy>,
    handle: &Handle<Touchy>,
    mut begin: impl FnMut(u64) -> OperationId,
    seed: &mut u64,
    done: &mut Done,
) {
    let (mut begun, mut asked, mut count) = (Vec::new(), None, 0);
    let deadline = Instant::now() + 60 * PATIENCE;
    loop {
        let ended = handle.counters().lanes_closed;
        while begun.len() < PANES as usize && begun.len() as u64 - ended < AT_ONCE {
            begun.push(begin(begun.len() as u64));
        }
        if ended == PANES && asked.is_none() && count >= ASKED {
            return;
        }
        assert!(Instant::now() < deadline, "{ended} of {PANES} panes have ended");
        if asked.is_none() {
            count += 1;
            // The newest are those that are within reach.
            let back = next(seed) as usize % begun.len().min(2 * AT_ONCE as usize);
            let operation = begun[begun.len() - 1 - back];
            let is_undo = next(seed).is_multiple_of(2);
            asked = Some(if is_undo { handle.undo_operation(operation) } else { handle.redo_operation(operation) });
        }
        if main_lane.turn(Budget::UNLIMITED).unwrap().left != Left::More {
            main_lane.wait_for_input(Instant::now() + Duration::from_millis(1));
        }
        let Some(question) = asked.take() else { continue };
        let answer = match question.poll() {
            Ok(answer) => answer.expect("the main lane goes on"),
            Err(question) => {
                asked = Some(question);
                continue;
            }
        };
        match answer {
            Ok(rewind) if rewind.kind == RewindKind::Undo => done.undone += 1,
            Ok(_) => done.redone += 1,
            Err(
                RewindError::Unknown { .. }
                | RewindError::Open { .. }
                | RewindError::NotNow { .. }
                | RewindError::BeyondWindow { .. },
            ) => done.refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
}

/// `MAINLANE_EVENTS=1000000 cargo test --release --features journal,workspace --test it journal_panes -- --nocapture` is the long form.
#[test]
fn real_input_with_all_that_may_happen_is_replayed_the_same_every_time() {
    let wanted = std::env::var("MAINLANE_EVENTS").map_or(20_000, |events| events.parse::<u64>().unwrap());
    // An operation is within reach while others come and go.
    let window = wanted as usize / 4;
    let (place, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = |run: u64| place.path().join(format!("{run}.journal"));
    let open = |run: u64| {
        let policy = CheckpointPolicy { events: wanted / 40, ..CheckpointPolicy::default() };
        let journal = Journal::file(file(run)).schema(SCHEMA.0, SCHEMA.1).sync(Sync::Os).durability(Durability::Async);
        journal
            .retention(Retention::All)
            .checkpoints(policy)
            .timeline(Timeline::window(window).checkpoint_every(window / 20))
    };
    // Two critical events each time that one says something: its command begins, and ends.
    let long = wanted / (RUNS * PANES / 2 * 2);
    let (mut seed, mut done, mut poison, mut last) = (7, Done::default(), 0, Touchy::default());
    for run in 0..RUNS {
        let (builder, recovery): (Builder<Touchy>, _) = open(run).recover(Touchy::default()).unwrap();
        assert_eq!((builder.state(), recovery.created), (&last, run == 0));
        let watch = WatchSource::builder(folder.path()).watch().unwrap();
        builder.ingest("folder", watch).capacity(1 << 14).start().unwrap();
        let (mut main_lane, handle) = builder.build().unwrap();
        let begin = |nth: u64| {
            let (pane, operation) = (PaneId(run * PANES + nth), handle.operation());
            let says = if nth.is_multiple_of(2) { SHORT } else { long };
            poison += says / POISON_EVERY;
            let command = command(pane, says, folder.path());
            let source = PtySource::builder(&command).pane(pane).operation(operation).spawn().unwrap();
            handle.ingest(format!("pane {}", pane.0), source).keys(4).start().unwrap();
            operation
        };
        drive(&mut main_lane, &handle, begin, &mut seed, &mut done);
        settle(&mut main_lane);
        last = main_lane.state().clone();
        let watch = handle.journal().expect("there is one");
        watch.wait(handle.reader().load().turn(), Instant::now() + PATIENCE).unwrap();
        // As a killed process leaves it: what is beside the file was not folded in.
        for beside in ["", "-wal"] {
            let name = |run: u64| format!("{}{beside}", file(run).display());
            std::fs::copy(name(run), name(run + 1)).unwrap();
        }
        assert!(main_lane.shutdown(PATIENCE).complete);
    }
    assert!(done.undone > 5 && done.redone > 5 && done.refused > 5 && poison > 5, "{done:?}");
    let mut hashes = Vec::new();
    for _ in 0..3 {
        let verify = Replaying { verify: true, ..Replaying::default() };
        let (state, report) = open(RUNS).replay::<Touchy>(verify, None, &mut |_| true).unwrap();
        assert!(state == last && report.different.is_empty() && report.compared.len() > 4, "{report:?}");
        assert_eq!(report.quarantined.len() as u64, poison);
        assert!(report.events >= wanted, "{} of {wanted}", report.events);
        hashes.push(report.hash);
    }
    assert!(hashes[0].is_some() && hashes.iter().all(|hash| *hash == hashes[0]));
    println!("{done:?}, {poison} set aside: {:032x}", hashes[0].unwrap());
}

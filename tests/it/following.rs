//! Following operations from snapshots, and divergences that a host reports.

use mainlane::register::{Followed, OperationsView};
use mainlane::{
    Budget, Class, Diagnostic, Effects, Envelope, Event, Operation, OperationId, Origin, Phase, Pipeline, Reducer,
    Snapshot, Tier, Timeline, View, Viewed,
};

/// A step of a job. Progress is lossy.
struct Step {
    job: Operation,
    result: Option<u32>,
}

impl Event for Step {
    type Key = u64;
    type Facets = ();

    fn class(&self) -> Class<u64> {
        match self.job.phase {
            Phase::Progress => Class::lossy(self.job.id.0, Tier::NORMAL),
            Phase::Started | Phase::Terminal => Class::Critical,
        }
    }

    fn operation(&self) -> Option<Operation> {
        Some(self.job)
    }
}

#[derive(Clone, Default)]
struct Jobs {
    operations: OperationsView<Option<u32>>,
}

impl Reducer for Jobs {
    type Event = Step;
    type Effect = ();

    fn apply(&mut self, envelope: &Envelope<'_, Step>, _: &mut Effects<()>) {
        self.operations.follow(envelope, |end| end.result);
        assert!(envelope.event.result != Some(13), "bad luck");
    }
}

fn step(id: OperationId, sequence: u64, phase: Phase, result: Option<u32>) -> Step {
    Step { job: Operation { id, sequence, phase }, result }
}

/// An adapter: what a job looks like.
fn shown(view: View<'_, Jobs>, id: OperationId) -> Viewed<String> {
    view.map(|jobs| match jobs.operations.get(id) {
        Followed::Unknown => "unknown".to_owned(),
        Followed::Open(open) => format!("at {}", open.progress),
        Followed::Ended(ended) => format!("ended with {:?} at {}", ended.outcome, ended.whole.progress),
        Followed::Forgotten => "forgotten".to_owned(),
    })
}

fn at(snapshot: &Snapshot<Jobs>, id: OperationId) -> String {
    shown(snapshot.view(), id).into_inner()
}

#[test]
fn a_reader_finds_the_outcome_of_an_operation_and_need_not_guess() {
    let builder = Pipeline::builder(Jobs::default());
    let mut lane = builder.lane("job").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    let (id, reader) = (handle.operation(), handle.reader());
    let before = reader.load();
    let mut push = |step| {
        assert!(lane.push(step).is_ok());
        main_lane.turn(Budget::UNLIMITED).unwrap();
        at(&reader.load(), id)
    };
    assert_eq!(at(&before, id), "unknown");
    assert_eq!(push(step(id, 0, Phase::Started, None)), "at 0");
    assert_eq!(push(step(id, 1, Phase::Progress, None)), "at 1");
    assert_eq!(push(step(id, 2, Phase::Terminal, Some(7))), "ended with Some(7) at 2");
    // What comes after the end is refused, or changes nothing.
    assert_eq!(push(step(id, 3, Phase::Progress, None)), "ended with Some(7) at 2");
    assert_eq!(push(step(id, 4, Phase::Terminal, Some(8))), "ended with Some(7) at 2");
    assert_eq!(handle.counters().faults.sealed, 1);
    assert_eq!(at(&before, id), "unknown", "an old snapshot knows what it knew");
    let newest = reader.load();
    assert_eq!(newest.operations.counts().repeats, 1);
    let title = shown(newest.view(), id);
    assert_eq!((title.version(), title.turn()), (newest.version(), newest.turn()));
    assert!(title.turn() > before.turn());
}

#[test]
fn an_end_that_is_undone_or_set_aside_did_not_happen() {
    let builder = Pipeline::builder(Jobs::default()).timeline(Timeline::window(100));
    let origin = Origin::built_in("job", 1);
    let mut lane = builder.lane("job").origin(origin).open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    let [first, second] = [handle.operation(), handle.operation()];
    for (id, result) in [(first, 7), (second, 13)] {
        assert!(lane.push(step(id, 0, Phase::Started, None)).is_ok());
        assert!(lane.push(step(id, 1, Phase::Terminal, Some(result))).is_ok());
    }
    main_lane.turn(Budget::UNLIMITED).unwrap();
    let look = || [first, second].map(|id| at(&handle.reader().load(), id));
    assert_eq!(look(), ["ended with Some(7) at 1", "at 0"]);
    let undo = handle.undo(origin);
    main_lane.turn(Budget::UNLIMITED).unwrap();
    assert!(undo.wait(std::time::Instant::now()).unwrap().is_ok());
    assert_eq!(look(), ["unknown", "at 0"]);
}

#[test]
fn a_divergence_that_a_host_reports_is_counted_and_told() {
    let (_main_lane, handle) = Pipeline::builder(Jobs::default()).build().unwrap();
    let origin = Origin::service("mail", "imap", 3);
    handle.report_divergence(origin, "the connection was lost");
    assert_eq!(handle.counters().faults.divergences, 1);
    let expected = Diagnostic::Diverged { origin, what: "the connection was lost".into() };
    assert!(handle.diagnostics().drain().any(|told| told == expected));
}

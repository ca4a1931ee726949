//! The rules of the past, one by one.

use std::cell::Cell;

use crate::clock::Stamp;
use crate::event::{Authority, Class, Envelope, Event, LaneId, Operation, OperationId, Phase, Sequence};
use crate::main_lane::entry::{Entry, Fate};
use crate::main_lane::reduce::{Effects, Reducer};
use crate::origin::Origin;
use crate::timeline::Timeline;
use crate::timeline::ask::{Ask, Change, Rewind, RewindError, RewindKind, TimelineError};
use crate::timeline::history::History;

/// Something that is written to a log, by its number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) number: u32,
    pub(super) does: Does,
    pub(super) operation: Option<Operation>,
    pub(super) origin: Option<Origin>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Does {
    Write,
    /// Panics without that number in the log, or with it.
    Need(u32),
    Shun(u32),
    /// Is written on even lines only, and asks for an effect in vain on odd ones.
    Even,
}

/// What has been written: no two sequences of events come to the same.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Log(Vec<u32>);

thread_local! {
    /// A log can be copied so many times.
    static COPIES: Cell<u32> = const { Cell::new(u32::MAX) };
}

impl Clone for Log {
    fn clone(&self) -> Self {
        COPIES.set(COPIES.get().checked_sub(1).expect("no more copies"));
        Log(self.0.clone())
    }
}

impl Event for Step {
    type Key = ();
    type Facets = ();

    fn class(&self) -> Class<()> {
        Class::Critical
    }

    fn operation(&self) -> Option<Operation> {
        self.operation
    }

    fn origin(&self) -> Option<Origin> {
        self.origin
    }

    fn kind(&self) -> &'static str {
        match self.does {
            Does::Write => "write",
            Does::Need(_) => "need",
            Does::Shun(_) => "shun",
            Does::Even => "even",
        }
    }
}

impl Reducer for Log {
    type Event = Step;
    type Effect = u32;

    fn apply(&mut self, envelope: &Envelope<'_, Step>, effects: &mut Effects<u32>) {
        let Step { number, does, .. } = *envelope.event;
        effects.push(number);
        match does {
            Does::Need(other) => assert!(self.0.contains(&other), "{number} needs {other}"),
            Does::Shun(other) => assert!(!self.0.contains(&other), "{number} shuns {other}"),
            Does::Even if self.0.len() % 2 == 1 => return effects.misrouted(Authority::STATE),
            Does::Write | Does::Even => {}
        }
        self.0.push(number);
    }
}

pub(super) fn pane(id: u64) -> Origin {
    Origin::built_in("pane", id)
}

pub(super) fn entry(event: Step, lane_origin: Origin, parts: u32) -> Entry<Step> {
    Entry { stamp: Stamp(1), lane: LaneId(0), sequence: Sequence(0), lane_origin, parts, facets: (), event }
}

/// A main lane as small as can be.
struct Bench {
    history: History<Log>,
    state: Log,
    turn: u64,
}

impl Bench {
    fn new(window: usize, checkpoint_every: usize) -> Self {
        let state = Log::default();
        let config = Timeline::window(window).checkpoint_every(checkpoint_every);
        Self { history: History::bounded(config, 0, &state, 3, 5), state, turn: 0 }
    }

    /// Applies these in one turn, and lets them be kept.
    fn turn(&mut self, steps: &[Entry<Step>]) -> u64 {
        self.turn_with(steps, false)
    }

    fn turn_with(&mut self, steps: &[Entry<Step>], mark: bool) -> u64 {
        let mut batch = Vec::new();
        for step in steps {
            self.state.apply(&step.envelope(), &mut Effects::new());
            batch.push((entry(step.event, step.lane_origin, step.parts), Fate::Applied));
        }
        self.turn += 1;
        self.history.keep(self.turn, &mut batch, &self.state, mark).unwrap();
        assert_eq!(self.history.newest_state().as_ref(), Ok(&self.state));
        self.turn
    }

    fn ask(&mut self, ask: Ask) -> Result<Rewind, RewindError> {
        let change = self.history.plan(ask)?;
        let (state, rewind) = self.history.rewind(&change, self.turn + 1)?;
        assert_eq!((rewind.kind, rewind.operation, rewind.reaches), (change.kind, change.operation, change.reaches));
        self.turn += 1;
        self.state = state;
        assert_eq!(self.history.newest_state().as_ref(), Ok(&self.state));
        assert_eq!((self.history.newest_turn(), rewind.turn), (self.turn, self.turn));
        Ok(rewind)
    }

    fn undo(&mut self, pane_id: u64) -> Result<u64, RewindError> {
        self.ask(Ask::Undo(pane(pane_id))).map(|rewind| rewind.operation.0)
    }

    fn redo(&mut self, pane_id: u64) -> Result<u64, RewindError> {
        self.ask(Ask::Redo(pane(pane_id))).map(|rewind| rewind.operation.0)
    }

    fn at(&self, turn: u64) -> Vec<u32> {
        self.history.state_at(turn).unwrap().0
    }
}

/// An event of pane 1 that belongs to no operation.
fn plain(number: u32) -> Entry<Step> {
    entry(Step { number, does: Does::Write, operation: None, origin: None }, pane(1), 1)
}

fn part(number: u32, pane_id: u64, id: u64, sequence: u64, phase: Phase) -> Entry<Step> {
    let operation = Some(Operation { id: OperationId(id), sequence, phase });
    entry(Step { number, does: Does::Write, operation, origin: None }, pane(pane_id), 1)
}

fn start(number: u32, pane_id: u64, id: u64) -> Entry<Step> {
    part(number, pane_id, id, 0, Phase::Started)
}

fn end(number: u32, pane_id: u64, id: u64) -> Entry<Step> {
    part(number, pane_id, id, 1, Phase::Terminal)
}

/// An operation of a single event.
fn single(number: u32, pane_id: u64, id: u64) -> Entry<Step> {
    part(number, pane_id, id, 0, Phase::Terminal)
}

fn nothing(kind: RewindKind, pane_id: u64) -> RewindError {
    RewindError::Nothing { kind, origin: pane(pane_id) }
}

#[test]
fn an_operation_is_taken_out_and_put_back_where_it_stood() {
    let mut bench = Bench::new(100, 2);
    let first = bench.turn(&[plain(1), start(2, 1, 7)]);
    bench.turn(&[start(3, 2, 8), plain(4)]);
    bench.turn(&[end(5, 1, 7), end(6, 2, 8), plain(7)]);
    let rewind = bench.ask(Ask::Undo(pane(1))).unwrap();
    assert_eq!(bench.state.0, [1, 3, 4, 6, 7], "what another did meanwhile stays");
    assert_eq!((rewind.operation, rewind.reaches, rewind.events), (OperationId(7), first, 2));
    assert_eq!(rewind.applied, 5, "from the state before all");
    bench.turn(&[plain(8)]);
    let rewind = bench.ask(Ask::Redo(pane(1))).unwrap();
    assert_eq!(bench.state.0, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!((rewind.kind, rewind.events, rewind.applied), (RewindKind::Redo, 2, 8));
}

#[test]
fn a_rewind_begins_at_the_newest_checkpoint_before_the_operation() {
    let mut bench = Bench::new(100, 2);
    for number in 0..10 {
        bench.turn(&[plain(number)]);
    }
    bench.turn(&[single(10, 1, 1)]);
    assert_eq!(bench.ask(Ask::Undo(pane(1))).unwrap().applied, 0, "a checkpoint stands right before it");
    bench.turn(&[plain(11)]);
    assert_eq!(bench.ask(Ask::Redo(pane(1))).unwrap().applied, 2);
}

#[test]
fn what_was_undone_stays_undone_in_later_rewinds() {
    let mut bench = Bench::new(100, 3);
    for id in 1..=4 {
        bench.turn(&[single(id as u32, id % 2, id), plain(10 + id as u32)]);
    }
    assert_eq!((bench.undo(0), bench.undo(1), bench.undo(0)), (Ok(4), Ok(3), Ok(2)));
    assert_eq!(bench.state.0, [1, 11, 12, 13, 14]);
    assert_eq!((bench.redo(0), bench.redo(1)), (Ok(2), Ok(3)));
    assert_eq!(bench.state.0, [1, 11, 2, 12, 3, 13, 14]);
}

#[test]
fn the_newest_operation_is_the_one_that_ended_last() {
    let mut bench = Bench::new(100, 4);
    bench.turn(&[start(1, 1, 1), start(2, 1, 2), end(3, 1, 2), end(4, 1, 1), start(5, 1, 3)]);
    assert_eq!(bench.ask(Ask::UndoOperation(OperationId(3))), Err(RewindError::Open { operation: OperationId(3) }));
    assert_eq!((bench.undo(1), bench.undo(1)), (Ok(1), Ok(2)));
    assert_eq!(bench.undo(1), Err(nothing(RewindKind::Undo, 1)), "the third has not ended");
    assert_eq!(bench.state.0, [5]);
}

#[test]
fn an_operation_belongs_to_the_origin_of_its_first_event() {
    let mut bench = Bench::new(100, 4);
    let mut first = start(1, 1, 1);
    first.event.origin = Some(pane(9));
    bench.turn(&[first, end(2, 1, 1)]);
    assert_eq!((bench.undo(1), bench.undo(9)), (Err(nothing(RewindKind::Undo, 1)), Ok(1)));
}

#[test]
fn a_new_operation_leaves_nothing_to_redo_but_by_name() {
    let mut bench = Bench::new(100, 4);
    bench.turn(&[single(1, 1, 1), single(2, 1, 2), single(3, 2, 3)]);
    assert_eq!((bench.undo(1), bench.undo(1)), (Ok(2), Ok(1)));
    bench.turn(&[single(4, 2, 4), start(5, 1, 5), plain(6)]);
    assert_eq!(bench.redo(1), Ok(1), "neither another's nor one that has not ended counts");
    bench.turn(&[end(7, 1, 5)]);
    assert_eq!(bench.redo(1), Err(nothing(RewindKind::Redo, 1)));
    assert_eq!(bench.undo(1), Ok(5));
    assert_eq!((bench.redo(1), bench.redo(1)), (Ok(5), Err(nothing(RewindKind::Redo, 1))));
    assert!(bench.ask(Ask::RedoOperation(OperationId(2))).is_ok());
    assert_eq!(bench.state.0, [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn what_cannot_be_done_now_is_told_apart() {
    let mut bench = Bench::new(100, 4);
    bench.turn(&[single(1, 1, 1), start(2, 1, 2)]);
    let (one, two, other) = (OperationId(1), OperationId(2), OperationId(3));
    let not_now = |kind, operation| Err(RewindError::NotNow { kind, operation });
    assert_eq!(bench.ask(Ask::UndoOperation(other)), Err(RewindError::Unknown { operation: other }));
    assert_eq!(bench.ask(Ask::RedoOperation(one)), not_now(RewindKind::Redo, one));
    assert_eq!(bench.ask(Ask::RedoOperation(two)), not_now(RewindKind::Redo, two), "not undone, ended or not");
    let change = bench.history.plan(Ask::UndoOperation(one)).unwrap();
    assert!(bench.ask(Ask::UndoOperation(one)).is_ok());
    assert_eq!(bench.ask(Ask::UndoOperation(one)), not_now(RewindKind::Undo, one));
    let outdated = bench.history.rewind(&change, bench.turn + 1);
    assert_eq!(outdated.err(), not_now(RewindKind::Undo, one).err(), "a change is looked at again when it is made");
}

#[test]
fn an_operation_that_began_before_the_window_is_beyond_it() {
    let mut bench = Bench::new(4, 2);
    let mut late = part(1, 1, 1, 1, Phase::Progress);
    late.parts = 2;
    bench.turn(&[late, part(2, 1, 2, 1, Phase::Progress), part(3, 1, 3, 5, Phase::Started)]);
    bench.turn(&[end(4, 1, 1), end(5, 1, 2), end(6, 1, 3)]);
    let beyond = |id, oldest| RewindError::BeyondWindow { operation: OperationId(id), oldest };
    assert_eq!(bench.undo(1), Ok(3), "numbered oddly, but it says that it is the start");
    assert_eq!(bench.undo(1), Err(beyond(2, 1)), "not the one that ended before it in its place");
    assert!(bench.ask(Ask::UndoOperation(OperationId(1))).is_ok(), "its first event stands for its start too");
    for number in 10..13 {
        bench.turn(&[plain(number)]);
    }
    assert_eq!(bench.history.oldest_turn(), 4, "the last change of what is half out of the window");
    assert_eq!((bench.history.plan(Ask::Redo(pane(1))), bench.at(4)), (Err(beyond(1, 2)), vec![2, 5]));
}

#[test]
fn the_last_ones_that_left_the_window_are_remembered_and_no_more() {
    let mut bench = Bench::new(2, 1);
    for id in 1..=7 {
        bench.turn(&[single(id as u32, 1, id)]);
    }
    let asked = [1, 2, 3, 5, 6].map(|id| bench.history.plan(Ask::UndoOperation(OperationId(id))).err());
    let unknown = |id| Some(RewindError::Unknown { operation: OperationId(id) });
    let beyond = |id| Some(RewindError::BeyondWindow { operation: OperationId(id), oldest: 6 });
    assert_eq!(asked, [unknown(1), unknown(2), beyond(3), beyond(5), None]);
    assert_eq!((bench.undo(1), bench.undo(1), bench.undo(1).err()), (Ok(7), Ok(6), beyond(5)));
    assert_eq!(bench.history.operations().len(), (5, 3));
}

#[test]
fn what_is_undone_stays_so_when_the_window_has_left_its_beginning() {
    let mut bench = Bench::new(4, 2);
    bench.turn(&[start(1, 1, 1), plain(2)]);
    bench.turn(&[plain(3), end(4, 1, 1)]);
    assert_eq!(bench.undo(1), Ok(1));
    bench.turn(&[plain(5), plain(6)]);
    bench.turn(&[single(7, 1, 2)]);
    assert_eq!(bench.undo(1), Ok(2));
    assert_eq!(bench.state.0, [2, 3, 5, 6]);
    let beyond = RewindError::BeyondWindow { operation: OperationId(1), oldest: 2 };
    assert_eq!(bench.ask(Ask::RedoOperation(OperationId(1))), Err(beyond));
}

#[test]
fn an_event_that_comes_after_the_undo_of_its_operation_stands() {
    let mut bench = Bench::new(100, 2);
    bench.turn(&[start(1, 1, 1), end(2, 1, 1)]);
    assert_eq!(bench.undo(1), Ok(1));
    let after = bench.turn(&[end(3, 1, 1), plain(4)]);
    assert_eq!(bench.state.0, [3, 4], "a second end is applied, and the main lane has said so");
    assert_eq!(bench.ask(Ask::Redo(pane(1))).unwrap().events, 2, "and is no new operation");
    assert_eq!(bench.state.0, [1, 2, 3, 4]);
    assert_eq!(bench.ask(Ask::Undo(pane(1))).unwrap().events, 3);
    assert_eq!((bench.state.0.as_slice(), bench.at(after)), (&[4][..], vec![3, 4]));
}

#[test]
fn a_look_back_shows_what_was() {
    let mut bench = Bench::new(100, 2);
    let first = bench.turn(&[plain(1), single(2, 1, 1)]);
    let second = bench.turn(&[plain(3), single(4, 1, 2)]);
    let undone = [bench.undo(1), bench.undo(1)].map(|_| bench.turn);
    let third = bench.turn(&[plain(5)]);
    assert_eq!(bench.redo(1), Ok(1));
    assert_eq!([0, first].map(|turn| bench.at(turn)), [vec![], vec![1, 2]]);
    assert_eq!([second, undone[0] - 1].map(|turn| bench.at(turn)), [vec![1, 2, 3, 4], vec![1, 2, 3]]);
    assert_eq!([undone[0], third].map(|turn| bench.at(turn)), [vec![1, 3], vec![1, 3, 5]]);
    assert_eq!(bench.at(third + 1), [1, 2, 3, 5]);
    assert_eq!(bench.history.state_at(third + 2), Err(TimelineError::NotYet { newest: third + 1 }));
}

#[test]
fn a_look_back_goes_as_far_as_changes_are_remembered() {
    let mut bench = Bench::new(100, 2);
    bench.turn(&[single(1, 1, 1)]);
    for _ in 0..3 {
        assert_eq!((bench.undo(1), bench.redo(1)), (Ok(1), Ok(1)));
    }
    assert_eq!(bench.history.oldest_turn(), 2, "the oldest of six changes is forgotten");
    assert_eq!(bench.history.state_at(1), Err(TimelineError::BeyondWindow { oldest: 2 }));
    assert_eq!((bench.at(2), bench.at(3)), (vec![], vec![1]));
}

#[test]
fn a_panic_on_the_way_changes_nothing() {
    for does in [Does::Need(1), Does::Shun(1)] {
        let mut bench = Bench::new(100, 2);
        bench.turn(&[plain(0), single(1, 1, 1), single(2, 1, 2)]);
        let mut leaning = plain(3);
        leaning.event.does = does;
        if matches!(does, Does::Shun(_)) {
            assert!(bench.ask(Ask::UndoOperation(OperationId(1))).is_ok());
        }
        bench.turn(&[leaning, plain(4), plain(5)]);
        let (before, turns) = (bench.state.0.clone(), bench.turn);
        let ask = match does {
            Does::Need(_) => Ask::UndoOperation(OperationId(1)),
            _ => Ask::RedoOperation(OperationId(1)),
        };
        let change = bench.history.plan(ask).unwrap();
        let Err(RewindError::Panicked { operation: OperationId(1), kind, message }) = bench.ask(ask) else {
            panic!("it cannot be changed")
        };
        let said = if kind == "need" { "3 needs 1" } else { "3 shuns 1" };
        assert_eq!((message.as_str(), bench.history.newest_turn()), (said, turns));
        assert_eq!((bench.history.newest_state().unwrap().0, bench.at(turns)), (before.clone(), before));
        assert_eq!(bench.history.plan(ask), Ok(change));
        assert_eq!(bench.undo(1), Ok(2), "and it can still be asked for other things");
        assert!(!bench.state.0.contains(&2) && bench.state.0.ends_with(&[3, 4, 5]));
    }
}

#[test]
fn a_state_that_cannot_be_copied_changes_nothing() {
    let mut bench = Bench::new(100, 2);
    for number in 0..3 {
        bench.turn(&[plain(number), single(10 + number, 1, number.into())]);
    }
    let change = bench.history.plan(Ask::UndoOperation(OperationId(0))).unwrap();
    for copies in 0..4 {
        COPIES.set(copies);
        let outcome = bench.history.rewind(&change, bench.turn + 1).map(|(state, _)| state);
        COPIES.set(u32::MAX);
        let said = matches!(&outcome, Err(RewindError::Panicked { message, .. }) if message == "no more copies");
        assert!(said, "{copies}: {outcome:?}");
        assert_eq!(bench.history.newest_state().as_ref(), Ok(&bench.state));
        assert_eq!(bench.at(2), [0, 10, 1, 11]);
    }
    assert!(bench.ask(Ask::UndoOperation(OperationId(0))).is_ok());
}

#[test]
fn what_was_refused_is_no_part_of_the_past() {
    let mut bench = Bench::new(100, 2);
    let mut batch = vec![(single(1, 1, 1), Fate::Refused), (plain(2), Fate::Applied)];
    let room = batch.capacity();
    bench.history.keep(1, &mut batch, &Log(vec![2]), false).unwrap();
    assert_eq!((batch.len(), batch.capacity()), (0, room));
    assert_eq!(bench.history.state_at(1), Ok(Log(vec![2])));
    let unknown = RewindError::Unknown { operation: OperationId(1) };
    assert_eq!(bench.history.plan(Ask::UndoOperation(OperationId(1))), Err(unknown));
}

#[test]
fn events_are_dropped_from_checkpoint_to_checkpoint() {
    let mut bench = Bench::new(4, 3);
    let mut kept = Vec::new();
    for number in 0..12 {
        bench.turn(&[plain(number)]);
        kept.push((bench.history.oldest_turn(), bench.history.kept_count()));
    }
    assert_eq!(kept[5..], [(0, 6), (3, 4), (3, 5), (3, 6), (6, 4), (6, 5), (6, 6)]);
    assert_eq!(bench.history.state_at(5), Err(TimelineError::BeyondWindow { oldest: 6 }));
    assert_eq!(bench.at(6), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn a_batch_that_is_larger_than_all_else_has_one_checkpoint_and_is_dropped_as_one() {
    let mut bench = Bench::new(4, 3);
    bench.turn(&[plain(0)]);
    let large: Vec<_> = (1..1000).map(plain).collect();
    bench.turn(&large);
    bench.turn_with(&[], true);
    assert_eq!((bench.history.kept_count(), bench.history.checkpoint_count()), (1000, 2));
    for number in 0..3 {
        bench.turn(&[plain(number)]);
    }
    assert_eq!(bench.history.kept_count(), 1003);
    bench.turn(&[plain(0)]);
    assert_eq!((bench.history.oldest_turn(), bench.history.kept_count()), (2, 4));
    assert!(bench.history.room() < 100, "room for {} events", bench.history.room());
}

#[test]
fn marks_do_not_pile_up() {
    let mut bench = Bench::new(20, 10);
    for number in 0..100 {
        bench.turn_with(&[plain(number)], true);
        assert_eq!(bench.history.since_checkpoint(), 0);
        bench.turn_with(&[], true);
    }
    assert!(bench.history.checkpoint_count() <= 8, "{}", bench.history.checkpoint_count());
    assert!(bench.history.kept_count() < 30);
}

#[test]
fn turns_that_are_held_are_kept() {
    let mut bench = Bench::new(2, 1);
    bench.turn(&[plain(0)]);
    bench.history.hold_from(Some(3));
    for number in 1..20 {
        bench.turn(&[plain(number)]);
    }
    assert_eq!((bench.history.oldest_turn(), bench.history.kept_count()), (2, 18));
    bench.history.hold_from(None);
    assert_eq!((bench.history.oldest_turn(), bench.history.kept_count()), (18, 2));
}

#[test]
fn a_past_may_begin_at_any_turn() {
    let mut history = History::new(Timeline::window(10), 41, &Log(vec![1]));
    assert_eq!((history.oldest_turn(), history.newest_turn()), (41, 41));
    history.keep(42, &mut vec![(single(2, 1, 1), Fate::Applied)], &Log(vec![1, 2]), false).unwrap();
    assert_eq!((history.state_at(41), history.state_at(42)), (Ok(Log(vec![1])), Ok(Log(vec![1, 2]))));
    assert_eq!(history.state_at(40), Err(TimelineError::BeyondWindow { oldest: 41 }));
    let change = history.plan(Ask::Undo(pane(1))).unwrap();
    assert_eq!(change, Change { kind: RewindKind::Undo, operation: OperationId(1), reaches: 42 });
    assert_eq!(history.rewind(&change, 43).unwrap().0, Log(vec![1]));
}

#[test]
fn what_came_after_the_timeline_began_is_not_all_of_what_there_was_before() {
    let mut tracker = crate::main_lane::operations::Operations::new();
    for (id, phase) in [(1, Phase::Started), (1, Phase::Terminal), (2, Phase::Started)] {
        let operation = Operation { id: OperationId(id), sequence: 0, phase };
        tracker.admit(operation, 1, |_| ());
        tracker.applied(operation, |_| ());
    }
    // Admitted, and refused by the reducer.
    tracker.admit(Operation { id: OperationId(7), sequence: 1, phase: Phase::Progress }, 1, |_| ());
    let mut bench = Bench::new(100, 4);
    bench.history = History::new(Timeline::window(100), 0, &Log::default()).after(tracker.seen());
    bench.turn(&[single(1, 1, 3), start(2, 1, 1), end(3, 1, 1)]);
    assert_eq!(bench.undo(1), Ok(3), "the first ended before all that is kept");
    let beyond = |id| Err(RewindError::BeyondWindow { operation: OperationId(id), oldest: 1 });
    assert_eq!(bench.undo(1), beyond(1));
    assert_eq!(bench.redo(1), Ok(3), "nor did it end since");
    bench.turn(&[start(4, 1, 2), end(5, 1, 2)]);
    assert_eq!(bench.undo(1), beyond(2), "this one ended now");
    bench.turn(&[start(6, 1, 7), end(7, 1, 7)]);
    assert_eq!(bench.undo(1), beyond(7), "that was no start");
}

#[test]
fn a_change_by_whoever_had_forgotten_the_beginning_is_made_again_as_it_was_then() {
    for undone_before in [false, true] {
        let mut bench = Bench::new(100, 2);
        bench.turn(&[start(1, 1, 1), end(2, 1, 1)]);
        if undone_before {
            bench.undo(1).unwrap();
        }
        bench.turn(&[plain(3)]);
        let before = bench.state.0.clone();
        let reaches = bench.turn(&[start(4, 1, 1), plain(5), end(6, 1, 1)]);
        let present = bench.state.0.clone();
        let left = [&before[..], &[5]].concat();
        for (kind, expected) in [(RewindKind::Undo, &left), (RewindKind::Redo, &present), (RewindKind::Undo, &left)] {
            bench.turn += 1;
            let change = Change { kind, operation: OperationId(1), reaches };
            let (state, rewind) = bench.history.rewind(&change, bench.turn).unwrap();
            assert_eq!((&state.0, rewind.reaches, rewind.events), (expected, reaches, 2));
            assert_eq!(bench.history.newest_state().as_ref(), Ok(&state));
            bench.state = state;
            assert_eq!(bench.history.state_at(reaches).unwrap().0, present, "as it was");
            assert_eq!(bench.history.state_at(reaches - 1).unwrap().0, before);
        }
        bench.turn(&[plain(7)]);
        assert_eq!(bench.redo(1), Ok(1));
        assert_eq!(bench.state.0, [&present[..], &[7]].concat());
    }
}

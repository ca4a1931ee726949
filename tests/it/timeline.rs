//! C13 and C15 in memory: undo and redo, quarantine, a look back, the check of determinism.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mainlane::{
    Asked, Budget, Class, Diagnostic, Drive, Effects, Envelope, Event, Handle, Left, MainLane, Operation, OperationId,
    Origin, Overflow, Phase, Pipeline, Reducer, RewindError, RewindKind, Tier, Timeline, TimelineError, TurnError,
};

use crate::domain::{PATIENCE, drain, settled};

const ANNA: Origin = Origin::built_in("user", 1);
const BEN: Origin = Origin::built_in("user", 2);

/// A page that people write on.
#[derive(Clone, Debug, PartialEq)]
enum Edit {
    /// Appends to a line: where it ends up depends on what was there before.
    Write { line: u32, text: char, operation: Operation },
    /// Needs the line to be there.
    Shout { line: u32 },
    /// Always panics.
    Thorn(u32),
    /// Reads a clock, in a manner of speaking.
    Lucky,
    /// Goes through a hash map.
    Shuffle,
}

#[derive(Clone, Debug, Default, PartialEq, Hash)]
struct Page {
    lines: BTreeMap<u32, String>,
    order: Vec<u64>,
}

impl Event for Edit {
    type Key = ();
    type Facets = ();

    fn class(&self) -> Class<()> {
        match self {
            Edit::Lucky => Class::lossy((), Tier::NORMAL),
            _ => Class::Critical,
        }
    }

    fn operation(&self) -> Option<Operation> {
        if let Edit::Write { operation, .. } = self { Some(*operation) } else { None }
    }

    fn kind(&self) -> &'static str {
        match self {
            Edit::Write { .. } => "write",
            Edit::Shout { .. } => "shout",
            Edit::Thorn(_) => "thorn",
            Edit::Lucky => "lucky",
            Edit::Shuffle => "shuffle",
        }
    }
}

static CLOCK: AtomicU64 = AtomicU64::new(0);

impl Reducer for Page {
    type Event = Edit;
    type Effect = u32;

    fn apply(&mut self, envelope: &Envelope<'_, Edit>, effects: &mut Effects<u32>) {
        match envelope.event {
            Edit::Write { line, text, .. } => {
                self.lines.entry(*line).or_default().push(*text);
                effects.push(*line);
            }
            Edit::Shout { line } => {
                let line = self.lines.get_mut(line).expect("the line is there");
                *line = line.to_uppercase();
            }
            Edit::Thorn(line) => {
                // Half-done, and effects asked for.
                self.lines.insert(*line, "torn".to_owned());
                effects.push(99);
                panic!("a thorn");
            }
            Edit::Lucky => self.order.push(CLOCK.fetch_add(1, Ordering::Relaxed)),
            Edit::Shuffle => {
                let numbers: HashMap<u64, ()> = (0..64).map(|number| (number, ())).collect();
                self.order = numbers.into_keys().collect();
            }
        }
    }
}

fn whole(id: u64, line: u32, text: char) -> [Edit; 2] {
    let part =
        |sequence, phase| Edit::Write { line, text, operation: Operation { id: OperationId(id), sequence, phase } };
    [part(0, Phase::Started), part(1, Phase::Terminal)]
}

fn answer<T>(main_lane: &mut MainLane<Page>, asked: Asked<T>) -> T {
    drain(main_lane);
    asked.poll().ok().flatten().expect("the main lane has answered")
}

fn page(handle: &Handle<Page>) -> Vec<String> {
    handle.reader().load().lines.values().cloned().collect()
}

#[test]
fn what_one_undoes_is_gone_and_what_others_did_later_stays() {
    let builder = Pipeline::builder(Page::default()).timeline(Timeline::window(1000));
    let mut anna = builder.lane("anna").origin(ANNA).open().unwrap();
    let mut ben = builder.lane("ben").origin(BEN).open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    anna.push_batch(whole(1, 0, 'a')).unwrap();
    drain(&mut main_lane);
    ben.push_batch(whole(2, 0, 'b')).unwrap();
    drain(&mut main_lane);
    anna.push_batch(whole(3, 0, 'c')).unwrap();
    drain(&mut main_lane);
    ben.push(Edit::Shout { line: 0 }).unwrap();
    drain(&mut main_lane);
    assert_eq!(page(&handle), ["AABBCC"]);

    let rewind = answer(&mut main_lane, handle.undo(ANNA)).unwrap();
    assert_eq!((rewind.kind, rewind.operation, rewind.turn), (RewindKind::Undo, OperationId(3), 5));
    assert_eq!((rewind.reaches, rewind.events), (3, 2));
    assert_eq!(page(&handle), ["AABB"], "published, and Ben's shout stands");
    assert_eq!(handle.reader().load().turn(), 5);
    answer(&mut main_lane, handle.undo(ANNA)).unwrap();
    assert_eq!(page(&handle), ["BB"]);
    let nothing = RewindError::Nothing { kind: RewindKind::Undo, origin: ANNA };
    assert_eq!(answer(&mut main_lane, handle.undo(ANNA)), Err(nothing));

    assert_eq!(answer(&mut main_lane, handle.redo(ANNA)).unwrap().operation, OperationId(1));
    assert_eq!(page(&handle), ["AABB"], "where it stood");
    answer(&mut main_lane, handle.redo_operation(OperationId(3))).unwrap();
    assert_eq!(page(&handle), ["AABBCC"]);

    // As it was, undone later or not.
    let then: Vec<_> = (0..=8).map(|turn| answer(&mut main_lane, handle.state_at(turn)).unwrap()).collect();
    let lines: Vec<_> = then.iter().map(|page| page.lines.values().next().cloned().unwrap_or_default()).collect();
    assert_eq!(lines, ["", "aa", "aabb", "aabbcc", "AABBCC", "AABB", "BB", "AABB", "AABBCC"]);
    let not_yet = answer(&mut main_lane, handle.state_at(9));
    assert_eq!(not_yet, Err(TimelineError::NotYet { newest: 8 }));

    let counters = settled(&handle);
    assert_eq!((counters.faults.rewinds, counters.turns), (4, 8));
    assert_eq!(counters.effects_unhandled, 6, "of six events; none was asked for again");
    assert_eq!(handle.diagnostics().drain().filter(|note| matches!(note, Diagnostic::Rewound(_))).count(), 4);
}

#[test]
fn an_event_on_which_the_reducer_panics_is_set_aside_and_the_rest_is_applied() {
    let builder = Pipeline::builder(Page::default()).timeline(Timeline::window(8).checkpoint_every(3));
    let mut lane = builder.lane("anna").origin(ANNA).capacity(1024).open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    let (mut expected, mut thorns) = (String::new(), 0);
    for round in 0..20_u64 {
        let mut batch = Vec::new();
        for number in 0..10 {
            if (round + number) % 4 == 0 {
                batch.push(Edit::Thorn(0));
                thorns += 1;
            } else {
                batch.extend(whole(round * 10 + number, 0, 'a'));
                expected.push_str("aa");
            }
        }
        lane.push_batch(batch).unwrap();
        main_lane.turn(Budget::UNLIMITED).unwrap();
    }
    assert_eq!(page(&handle), [expected], "nothing half-done is left, and nothing is missing");
    let counters = settled(&handle);
    assert_eq!((counters.faults.quarantined, counters.events.refused), (thorns, thorns));
    assert_eq!(counters.effects_unhandled, counters.events.applied, "none of the thorns'");
    let aside = handle.take_quarantined();
    assert_eq!(aside.len() as u64, thorns);
    let first = &aside[0];
    assert_eq!((&first.event, &*first.lane_name, first.message.as_str()), (&Edit::Thorn(0), "anna", "a thorn"));
    assert_eq!((first.turn, first.sequence.as_u64(), first.origin, first.parts), (1, 0, ANNA, 1));
    assert!(first.stamp.as_u64() > 0);
    assert!(handle.take_quarantined().is_empty(), "taken once");
}

#[test]
fn without_a_timeline_it_stops_the_main_lane_as_ever() {
    let builder = Pipeline::builder(Page::default()).check_determinism();
    let mut lane = builder.lane("anna").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    lane.push_batch(whole(1, 0, 'a').into_iter().chain([Edit::Thorn(1), Edit::Shout { line: 0 }])).unwrap();
    let Err(TurnError::ReducerPanicked(poison)) = main_lane.turn(Budget::UNLIMITED) else { panic!("no error") };
    assert_eq!((poison.event, poison.sequence.as_u64()), (Edit::Thorn(1), 2));
    let events = handle.counters().events;
    assert!(events.balanced(), "{events:?}");
    assert_eq!((events.applied, events.refused, events.in_flight), (2, 1, 1));
    assert_eq!(handle.undo(ANNA).poll().unwrap(), None, "the pipeline has ended");
}

#[test]
fn a_change_without_which_a_later_event_does_not_stand_is_not_made() {
    let builder = Pipeline::builder(Page::default()).timeline(Timeline::default());
    let mut anna = builder.lane("anna").origin(ANNA).open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    anna.push_batch(whole(1, 7, 'a').into_iter().chain([Edit::Shout { line: 7 }])).unwrap();
    drain(&mut main_lane);
    let Err(RewindError::Panicked { operation, kind: "shout", .. }) = answer(&mut main_lane, handle.undo(ANNA)) else {
        panic!("it was undone");
    };
    assert_eq!((operation, page(&handle)), (OperationId(1), vec!["AA".to_owned()]));
    assert_eq!(main_lane.turn(Budget::UNLIMITED).unwrap().number, 1, "and it was no turn");
    anna.push_batch(whole(2, 7, 'b')).unwrap();
    drain(&mut main_lane);
    let then = answer(&mut main_lane, handle.state_at(2)).unwrap();
    assert_eq!((then.lines[&7].as_str(), page(&handle)), ("AAbb", vec!["AAbb".to_owned()]));
}

#[test]
fn a_pipeline_without_a_past_says_so() {
    // The second one keeps its batches all the same.
    for builder in [Pipeline::builder(Page::default()), Pipeline::builder(Page::default()).check_determinism()] {
        let (mut main_lane, handle) = builder.build().unwrap();
        assert_eq!(answer(&mut main_lane, handle.undo(ANNA)), Err(RewindError::NoTimeline));
        assert_eq!(answer(&mut main_lane, handle.state_at(0)), Err(TimelineError::NoTimeline));
    }
}

#[test]
fn a_main_lane_on_a_thread_of_its_own_wakes_up_for_what_is_asked() {
    let builder = Pipeline::builder(Page::default()).timeline(Timeline::default());
    let mut anna = builder.lane("anna").origin(ANNA).open().unwrap();
    let (main_lane, handle) = builder.build().unwrap();
    let mut running = main_lane.spawn(Drive::new()).unwrap();
    anna.push_batch(whole(1, 0, 'a')).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut reader = handle.reader();
    while reader.wait_changed(deadline).expect("it is published").lines.is_empty() {}
    assert_eq!(handle.undo(ANNA).wait(deadline).expect("it is answered").unwrap().operation, OperationId(1));
    while !reader.wait_changed(deadline).expect("it is published").lines.is_empty() {}
    assert!(running.shutdown(PATIENCE).complete);
    assert_eq!(handle.redo(ANNA).wait(deadline), None);
}

/// Lets `asked` be answered, with this done before each turn.
fn answer_within<T>(
    main_lane: &mut MainLane<Page>,
    mut asked: Asked<T>,
    budget: Budget,
    mut before: impl FnMut(u64),
) -> (T, u64) {
    for turn in 1..200 {
        before(turn);
        main_lane.turn(budget).unwrap();
        match asked.poll() {
            Ok(answer) => return (answer.expect("the main lane goes on"), turn),
            Err(waiting) => asked = waiting,
        }
    }
    panic!("an answer waits for what was pushed before the question, and for nothing else")
}

#[test]
fn a_question_is_about_all_that_was_pushed_before_it() {
    for clocked in [true, false] {
        let builder = Pipeline::builder(Page::default()).timeline(Timeline::default());
        let lane = builder.lane("anna").origin(ANNA);
        let mut anna = if clocked { lane.open() } else { lane.unclocked().open() }.unwrap();
        let (mut main_lane, handle) = builder.build().unwrap();
        anna.push_batch(whole(1, 0, 'a')).unwrap();
        drain(&mut main_lane);
        anna.push_batch(whole(2, 0, 'b')).unwrap();
        let undone = answer(&mut main_lane, handle.undo(ANNA)).unwrap();
        assert_eq!((undone.operation, undone.turn), (OperationId(2), 3), "clocked: {clocked}");
        // A part of the last cut is left, and there is more than one turn may apply.
        anna.push_batch(whole(3, 0, 'c')).unwrap();
        main_lane.turn(Budget::events(1)).unwrap();
        anna.push_batch(whole(4, 0, 'd').into_iter().chain(whole(5, 0, 'e'))).unwrap();
        let asked = handle.undo(ANNA);
        anna.push_batch(whole(6, 0, 'f')).unwrap();
        let (undone, turns) = answer_within(&mut main_lane, asked, Budget::events(1), |_| ());
        // What came before the next look is in, too.
        assert_eq!((undone.unwrap().operation, turns), (OperationId(6), 7), "clocked: {clocked}");
    }
}

#[test]
fn a_question_is_answered_though_more_comes_than_can_be_applied() {
    let builder = Pipeline::builder(Page::default()).timeline(Timeline::window(1000));
    let mut lanes = [("a", false), ("b", true), ("c", true)].map(|(name, clocked)| {
        let lane = builder.lane(name).origin(BEN).capacity(8).overflow(Overflow::Return);
        if clocked { lane.open() } else { lane.unclocked().open() }.unwrap()
    });
    let mut anna = builder.lane("anna").origin(ANNA).open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    let mut flood = |_| {
        for lane in &mut lanes {
            let _ = lane.push_batch((0..8).map(|_| Edit::Lucky));
            while lane.push(Edit::Shout { line: 0 }).is_ok() {}
        }
    };
    anna.push_batch(whole(1, 0, 'a')).unwrap();
    drain(&mut main_lane);
    for budget in 1..12 {
        for _ in 0..4 {
            flood(0);
            main_lane.turn(Budget::events(budget)).unwrap();
        }
        let (undone, _) = answer_within(&mut main_lane, handle.undo(ANNA), Budget::events(budget), &mut flood);
        // Without it the shouts do not stand.
        assert!(matches!(undone, Err(RewindError::Panicked { .. })), "{undone:?}");
    }
}

#[test]
fn a_turn_answers_as_many_questions_as_it_has_time_for() {
    let builder = Pipeline::builder(Page::default()).timeline(Timeline::default());
    let mut anna = builder.lane("anna").origin(ANNA).open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    anna.push_batch(whole(1, 0, 'a')).unwrap();
    drain(&mut main_lane);
    let mut asked: Vec<_> = (0..5).map(|_| handle.state_at(1)).collect();
    for left in (0..5).rev() {
        let turn = main_lane.turn(Budget::millis(0)).unwrap();
        assert_eq!(turn.left == Left::More, left > 0);
        asked = asked.into_iter().filter_map(|asked| asked.poll().err()).collect();
        assert_eq!(asked.len(), left, "one at least, and there was no time for more");
    }
}

#[test]
fn effects_are_run_before_the_past_is_changed() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sees = seen.clone();
    let builder = Pipeline::builder(Page::default()).timeline(Timeline::default());
    let builder = builder.reconciler(move |_: u32, page: &Page| {
        let mut seen = sees.lock().unwrap();
        seen.push(page.lines.len());
        // The first is work that takes longer than the turn may.
        let end = Instant::now() + Duration::from_millis(if seen.len() == 1 { 3 } else { 0 });
        while Instant::now() < end {
            std::hint::spin_loop();
        }
    });
    let mut anna = builder.lane("anna").origin(ANNA).open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    anna.push_batch(whole(1, 0, 'a')).unwrap();
    while seen.lock().unwrap().is_empty() {
        main_lane.turn(Budget::millis(2).and_events(2)).unwrap();
    }
    let asked = handle.undo(ANNA);
    answer(&mut main_lane, asked).unwrap();
    assert_eq!((seen.lock().unwrap().as_slice(), page(&handle).len()), (&[1, 1][..], 0));
}

/// A state that takes long to copy.
#[derive(Debug, Default, Hash)]
struct Large(Vec<u32>);

impl Clone for Large {
    fn clone(&self) -> Self {
        let began = Instant::now();
        while began.elapsed() < Duration::from_micros(300) {
            std::hint::spin_loop();
        }
        Large(self.0.clone())
    }
}

impl Reducer for Large {
    type Event = Edit;
    type Effect = ();

    fn apply(&mut self, envelope: &Envelope<'_, Edit>, _: &mut Effects<()>) {
        if let Edit::Write { line, .. } | Edit::Shout { line } = envelope.event {
            self.0.push(*line);
        }
    }
}

#[test]
fn a_check_that_takes_longer_than_the_budget_keeps_nothing_from_being_applied() {
    let builder = Pipeline::builder(Large::default()).timeline(Timeline::window(50)).check_determinism();
    let mut lane = builder.lane("anna").origin(ANNA).open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    lane.push_batch(whole(1, 1, 'a')).unwrap();
    drain(&mut main_lane);
    lane.push(Edit::Shout { line: 3 }).unwrap();
    main_lane.turn(Budget::events(0)).unwrap();
    let asked = handle.undo(ANNA);
    let budget = Budget::time(Duration::from_micros(100));
    for _ in 0..1000 {
        main_lane.turn(budget).unwrap();
    }
    assert!(asked.poll().expect("it is answered").unwrap().is_ok());
    assert_eq!((&main_lane.state().0[..], settled(&handle).faults.nondeterministic), (&[3][..], 0));
}

/// What the check says of a batch of these events.
fn suspects(events: Vec<Edit>) -> Vec<Option<&'static str>> {
    let builder = Pipeline::builder(Page::default()).check_determinism();
    let mut lane = builder.lane("anna").open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    for event in events {
        lane.push(event).unwrap();
    }
    drain(&mut main_lane);
    let found: Vec<_> = handle
        .diagnostics()
        .drain()
        .filter_map(|note| if let Diagnostic::Nondeterministic { kind, .. } = note { Some(kind) } else { None })
        .collect();
    assert_eq!(settled(&handle).faults.nondeterministic, found.len() as u64);
    found
}

#[test]
fn a_reducer_that_depends_on_more_than_state_and_events_is_found_out() {
    let [one, two] = whole(1, 0, 'a');
    let line = Edit::Shout { line: 0 };
    assert_eq!(suspects(vec![one.clone(), two.clone(), line.clone()]), []);
    assert_eq!(suspects(vec![one.clone(), Edit::Lucky, two.clone()]), [Some("lucky")]);
    assert_eq!(suspects(vec![one, line, Edit::Shuffle, two]), [Some("shuffle")]);
}

#[test]
fn a_batch_that_a_budget_cuts_in_pieces_is_as_many_turns() {
    let builder = Pipeline::builder(Page::default()).timeline(Timeline::window(100).checkpoint_every(4));
    let mut anna = builder.lane("anna").origin(ANNA).open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    for id in 0..10 {
        anna.push_batch(whole(id, 0, 'a')).unwrap();
    }
    let mut turns = Vec::new();
    loop {
        let turn = main_lane.turn(Budget::events(3)).unwrap();
        turns.push(turn.events);
        if turn.left != Left::More {
            break;
        }
    }
    assert_eq!(turns, [3, 3, 3, 3, 3, 3, 2]);
    let then = answer(&mut main_lane, handle.state_at(3)).unwrap();
    assert_eq!(then.lines[&0].len(), 9);
}

/// Cannot say what it is.
#[derive(Debug)]
struct Nameless;

impl Event for Nameless {
    type Key = ();
    type Facets = ();

    fn class(&self) -> Class<()> {
        Class::Critical
    }

    fn kind(&self) -> &'static str {
        panic!("no name")
    }
}

#[derive(Clone)]
struct Registrar;

impl Reducer for Registrar {
    type Event = Nameless;
    type Effect = ();

    fn apply(&mut self, envelope: &Envelope<'_, Nameless>, _: &mut Effects<()>) {
        assert!(!envelope.event.kind().is_empty());
    }
}

#[test]
fn an_event_whose_kind_panics_too_is_set_aside_like_any_other() {
    for timeline in [true, false] {
        let mut builder = Pipeline::builder(Registrar);
        if timeline {
            builder = builder.timeline(Timeline::default());
        }
        let mut lane = builder.lane("a").open().unwrap();
        let (mut main_lane, handle) = builder.build().unwrap();
        lane.push(Nameless).unwrap();
        let turn = main_lane.turn(Budget::UNLIMITED);
        assert_eq!((turn.is_ok(), handle.take_quarantined().len()), (timeline, usize::from(timeline)));
        assert!(settled(&handle).events.balanced());
    }
}

//! A journal that is quicker than the turn that hands it something.

use std::time::Instant;

use crate::event::{Class, Envelope, Event, Operation, OperationId, Phase};
use crate::main_lane::budget::Budget;
use crate::main_lane::entry::{Entry, Fate};
use crate::main_lane::flight::Flight;
use crate::main_lane::keeping::Keeping;
use crate::main_lane::operations::Operations;
use crate::main_lane::publish::Publish;
use crate::main_lane::reduce::{Effects, Reducer};
use crate::main_lane::report::JournalEnd;
use crate::main_lane::scribe::{Durability, Scribe};
use crate::main_lane::turn::{MainLane, Past};
use crate::origin::Origin;
use crate::pipeline::Pipeline;
use crate::sync::{Arc, AtomicU64, Ordering::Relaxed};
use crate::timeline::Timeline;
use crate::timeline::ask::Change;
use crate::timeline::history::History;

#[derive(Clone, Copy)]
struct Word(u64, Phase);

impl Event for Word {
    type Key = ();
    type Facets = ();

    fn class(&self) -> Class<()> {
        Class::Critical
    }

    fn operation(&self) -> Option<Operation> {
        let Word(id, phase) = *self;
        Some(Operation { id: OperationId(id), sequence: u64::from(phase == Phase::Terminal), phase })
    }
}

#[derive(Clone, Default)]
struct Text(Vec<u64>);

impl Reducer for Text {
    type Event = Word;
    type Effect = ();

    fn apply(&mut self, envelope: &Envelope<'_, Word>, _: &mut Effects<()>) {
        self.0.push(envelope.event.0);
    }
}

/// What is handed on is durable before anyone can look.
struct Quick {
    said: u64,
    durable: Arc<AtomicU64>,
}

impl Scribe<Text> for Quick {
    fn durability(&self) -> Durability {
        Durability::BeforeApply
    }

    fn durable(&self) -> u64 {
        self.durable.load(Relaxed)
    }

    fn failure(&self) -> Option<String> {
        None
    }

    fn has_room(&self) -> bool {
        true
    }

    fn record(&mut self, turn: u64, _: &[(Entry<Word>, Fate)]) {
        assert_eq!(turn, self.said + 1, "each turn is said once");
        self.said = turn;
    }

    fn change(&mut self, turn: u64, _: &Change) {
        self.record(turn, &[]);
    }

    fn quarantine(&mut self, _: u64, _: usize, _: &str, _: &str) {}

    fn is_checkpoint_due(&self) -> bool {
        false
    }

    fn checkpoint(&mut self, _: u64, _: &Text, _: &Operations, _: u64) {}

    fn await_checkpoint(&mut self, _: Instant) {}

    fn submit(&mut self) {
        self.durable.store(self.said, Relaxed);
    }

    fn close(&mut self, applied: u64, _: Instant) -> (JournalEnd, Vec<String>) {
        (JournalEnd { durable: self.durable(), applied, checkpoint: 0, failure: None }, Vec::new())
    }
}

#[test]
fn a_change_has_its_turn_before_the_next_batch_however_soon_it_is_durable() {
    let builder = Pipeline::builder(Text::default());
    let mut lane = builder.lane("a").origin(Origin::built_in("user", 1)).open().unwrap();
    let (main_lane, handle) = builder.build().unwrap();
    let history = History::new(Timeline::default(), 0, &Text::default());
    let scribe = Quick { said: 0, durable: Arc::default() };
    // The same pipeline, with another main lane: only a journal's own feature hands one to a builder.
    let past = Past { turn: 0, operations: Operations::new() };
    let keeping = Keeping::new(Some(history), Some(Box::new(scribe)), None);
    let parker = crossbeam_utils::sync::Parker::new();
    let hub = main_lane.hub.clone();
    std::mem::forget(main_lane);
    let (publish, keeping) = (Publish::EveryTurn, Some(Box::new(keeping)));
    let mut main_lane = MainLane::new(hub, parker, Text::default(), publish, None, keeping, past);
    main_lane.applying.flight = Flight::new(0);
    let drain = |main_lane: &mut MainLane<Text>| {
        for _ in 0..20 {
            main_lane.turn(Budget::UNLIMITED).unwrap();
        }
    };
    let whole = |id| [Word(id, Phase::Started), Word(id, Phase::Terminal)];
    lane.push_batch((1..=3).flat_map(whole)).unwrap();
    drain(&mut main_lane);
    // One of them is left to the beginning of a turn that finds more on its lane.
    let asked = [1, 2, 3].map(|id| handle.undo_operation(OperationId(id)));
    main_lane.turn(Budget::millis(0)).unwrap();
    lane.push_batch(whole(4)).unwrap();
    drain(&mut main_lane);
    let turns = asked.map(|asked| asked.poll().unwrap().unwrap().unwrap().turn);
    assert_eq!((turns, main_lane.state().0.as_slice(), main_lane.turns), ([2, 3, 4], &[4, 4][..], 5));
}

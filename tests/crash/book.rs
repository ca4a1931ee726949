//! The host: a book that depends on the order of everything, and a driver that fills it.
//!
//! What is done in a turn depends on the seed and the number of the turn alone. So a run that was interrupted any number of
//! times comes to the same states as one that was not.

use std::collections::BTreeMap;
use std::time::Instant;

use mainlane::journal::{CheckpointPolicy, Durability, Journal, Retention, Sync};
use mainlane::{
    Asked, Budget, Builder, Class, Effects, Envelope, Event, Handle, Lane, Left, MainLane, Operation, OperationId,
    Origin, Phase, Pipeline, Reducer, Rewind, RewindError, Tier, Timeline, TurnError,
};
use serde::{Deserialize, Serialize};

use crate::facts::State;
use crate::random::Random;

pub(crate) const DURABILITIES: [Durability; 3] =
    [Durability::Async, Durability::BeforePublish, Durability::BeforeApply];

const ANNA: Origin = Origin::built_in("user", 1);
const BEN: Origin = Origin::built_in("user", 2);
/// As many numbers, so that a checkpoint has several pages.
const PAGE: usize = 1024;
/// How often the plan of turns begins anew.
const CYCLE: u64 = 11;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Entry {
    Add(u64),
    Text(Vec<u8>),
    Level {
        key: u32,
        value: u64,
    },
    Step(u64, Operation),
    /// The reducer panics half-way through it.
    Thorn(u64),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Book {
    /// Of the events.
    chain: u64,
    count: u64,
    levels: BTreeMap<u32, u64>,
    page: Vec<u64>,
    /// Of their stamps and places too, which are others in every run.
    seen: u64,
}

impl Default for Book {
    fn default() -> Self {
        Self { chain: 0, count: 0, levels: BTreeMap::new(), page: vec![0; PAGE], seen: 0 }
    }
}

impl Event for Entry {
    type Key = u32;
    type Facets = ();

    fn class(&self) -> Class<u32> {
        match self {
            Entry::Level { key, .. } => Class::lossy(*key, Tier::NORMAL),
            Entry::Add(_) | Entry::Text(_) | Entry::Step(..) | Entry::Thorn(_) => Class::Critical,
        }
    }

    fn operation(&self) -> Option<Operation> {
        if let Entry::Step(_, operation) = self { Some(*operation) } else { None }
    }
}

fn mix(chain: u64, value: u64) -> u64 {
    (chain.rotate_left(7) ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

impl Book {
    fn link(&mut self, value: u64) {
        self.chain = mix(self.chain, value);
        let place = self.chain as usize % PAGE;
        self.page[place] = mix(self.page[place], value);
        self.count += 1;
    }

    pub(crate) fn at(&self, turn: u64) -> State {
        let levels = self.levels.iter().fold(self.count, |sum, (key, value)| mix(mix(sum, u64::from(*key)), *value));
        let events = self.page.iter().fold(mix(self.chain, levels), |sum, word| mix(sum, *word));
        State { turn, events, seen: self.seen }
    }
}

impl Reducer for Book {
    type Event = Entry;
    type Effect = u64;

    fn apply(&mut self, envelope: &Envelope<'_, Entry>, effects: &mut Effects<u64>) {
        match envelope.event {
            Entry::Add(value) => self.link(*value),
            Entry::Text(text) => self.link(text.iter().fold(text.len() as u64, |sum, byte| mix(sum, u64::from(*byte)))),
            Entry::Level { key, value } => {
                self.levels.insert(*key, *value);
                self.link(*value);
            }
            Entry::Step(value, operation) => {
                self.link(*value);
                effects.push(operation.id.0);
            }
            Entry::Thorn(value) => {
                self.link(*value);
                // Without the panic hook, which would write a page for each.
                std::panic::resume_unwind(Box::new("a thorn"));
            }
        }
        self.seen = mix(self.seen, envelope.stamp.as_u64() ^ envelope.sequence.as_u64().rotate_left(32));
    }
}

pub(crate) fn timeline() -> Timeline {
    Timeline::window(300).checkpoint_every(32)
}

/// Checkpoints often, little lag, and a short past, so that all of it is met again and again.
pub(crate) fn settings(journal: Journal, durability: Durability, sync: Sync) -> Journal {
    journal
        .schema("book", 1)
        .durability(durability)
        .sync(sync)
        .lag(16, 1 << 20)
        .checkpoints(CheckpointPolicy { events: 40, bytes: 1 << 20, time: None })
        .retention(Retention::Checkpoints(2))
        .timeline(timeline())
}

/// What a turn does.
enum Plan {
    Push(Vec<(usize, Entry)>),
    Undo(Origin),
    Redo(Origin),
    UndoOperation(OperationId),
}

fn step(id: u64, sequence: u64, phase: Phase) -> Entry {
    Entry::Step(id * 100 + sequence, Operation { id: OperationId(id), sequence, phase })
}

/// Ben's operation in the cycle that `turn` is in.
fn bens(turn: u64) -> u64 {
    2 * (turn / CYCLE) + 2
}

fn plan(seed: u64, turn: u64) -> Plan {
    let mut random = Random::of(seed, turn);
    let (cycle, place) = (turn / CYCLE, turn % CYCLE);
    match place {
        7 => return Plan::Undo(ANNA),
        9 if cycle % 2 == 0 => return Plan::Redo(ANNA),
        5 if cycle % 3 == 2 => return Plan::UndoOperation(OperationId(bens(turn - CYCLE))),
        _ => {}
    }
    let mut events = vec![(random.below(3) as usize, Entry::Add(turn))];
    for _ in 0..random.below(7) {
        let lane = random.below(3) as usize;
        events.push((
            lane,
            match random.below(16) {
                0 => Entry::Thorn(random.next()),
                1 => Entry::Text(vec![turn as u8; 1 << random.below(14)]),
                2..8 => Entry::Level { key: random.below(6) as u32, value: random.next() },
                _ => Entry::Add(random.next()),
            },
        ));
    }
    match place {
        2 => events.push((0, step(bens(turn) - 1, 0, Phase::Started))),
        3 => events.push((0, step(bens(turn) - 1, 1, Phase::Terminal))),
        4 => {
            events.insert(0, (1, step(bens(turn), 0, Phase::Started)));
            events.push((1, step(bens(turn), 1, Phase::Terminal)));
        }
        _ => {}
    }
    Plan::Push(events)
}

/// A pipeline, and who pushes to it.
pub(crate) struct Driver {
    pub(crate) main_lane: MainLane<Book>,
    pub(crate) handle: Handle<Book>,
    lanes: [Lane<Entry>; 3],
    seed: u64,
    pub(crate) turn: u64,
    /// What was asked for in a turn that is not through.
    begun: Option<Option<Change>>,
}

type Change = Asked<Result<Rewind, RewindError>>;

impl Driver {
    /// Of a pipeline that is at `turn`.
    pub(crate) fn new(builder: Builder<Book>, seed: u64, turn: u64) -> Self {
        let lanes = [
            builder.lane("anna").origin(ANNA).open().unwrap(),
            builder.lane("ben").origin(BEN).open().unwrap(),
            builder.lane("aside").unclocked().open().unwrap(),
        ];
        let (main_lane, handle) = builder.build().unwrap();
        Self { main_lane, handle, lanes, seed, turn, begun: None }
    }

    /// Pushes, or asks for, what the turn is to do.
    fn begin(&mut self, turn: u64) -> Result<Option<Change>, TurnError<Entry>> {
        Ok(match plan(self.seed, turn) {
            Plan::Push(events) => {
                for (lane, event) in events {
                    if self.lanes[lane].push(event).is_err() {
                        return Err(TurnError::Stopped);
                    }
                }
                None
            }
            Plan::Undo(origin) => Some(self.handle.undo(origin)),
            Plan::Redo(origin) => Some(self.handle.redo(origin)),
            Plan::UndoOperation(operation) => Some(self.handle.undo_operation(operation)),
        })
    }

    /// Takes the next turn. False when there was not time for it: the next call goes on with it.
    pub(crate) fn step(&mut self, deadline: Instant) -> Result<bool, TurnError<Entry>> {
        let turn = self.turn + 1;
        let mut change = match self.begun.take() {
            Some(change) => change,
            None => self.begin(turn)?,
        };
        loop {
            let taken = self.main_lane.turn(Budget::UNLIMITED)?;
            change = self.look(turn, change);
            if taken.number == turn {
                assert!(change.is_none(), "turn {turn} was taken, and its change is not answered");
                self.turn = turn;
                return Ok(true);
            }
            assert_eq!(taken.number + 1, turn, "one turn for one step");
            if taken.left == Left::Journal {
                if Instant::now() >= deadline {
                    self.begun = Some(change);
                    return Ok(false);
                }
                self.main_lane.wait_for_input(deadline);
            }
        }
    }

    /// True when a turn was begun and is not through.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun.is_some()
    }

    fn look(&self, turn: u64, change: Option<Change>) -> Option<Change> {
        match change?.poll() {
            Ok(answer) => {
                let rewind = answer.expect("an answer").unwrap_or_else(|error| panic!("turn {turn}: {error}"));
                assert_eq!(rewind.turn, turn);
                None
            }
            Err(change) => Some(change),
        }
    }

    pub(crate) fn state(&self) -> State {
        self.main_lane.state().at(self.turn)
    }
}

/// The run that nothing happens to.
pub(crate) struct Reference {
    driver: Driver,
    events: Vec<u64>,
}

impl Reference {
    pub(crate) fn new(seed: u64) -> Self {
        let driver = Driver::new(Pipeline::builder(Book::default()).timeline(timeline()), seed, 0);
        let events = vec![driver.state().events];
        Self { driver, events }
    }

    /// What the state is after a turn.
    pub(crate) fn at(&mut self, turn: u64) -> u64 {
        while self.driver.turn < turn {
            assert!(self.driver.step(Instant::now()).expect("a turn without a journal"));
            self.events.push(self.driver.state().events);
            // Else nobody does.
            self.driver.handle.take_quarantined();
        }
        self.events[turn as usize]
    }
}

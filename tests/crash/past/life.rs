//! One life of a pipeline: everything that may happen to it, at random, and everything that it says.

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mainlane::journal::JournalReader;
use mainlane::{
    Asked, Budget, Builder, CachedReader, Handle, Lane, Left, MainLane, OperationId, Publish, Reader, Rewind,
    RewindError, RewindKind, Snapshot, Stamp, TimelineError, TurnError, Version,
};

use super::author::{Author, LANES, origin};
use super::disk::{Disk, Ill};
use super::host::{Log, Step};
use super::judge::{Answered, Question, Said, Shown, Told};
use crate::life::PATIENCE;
use crate::random::Random;

/// So long nothing is waited for that comes.
const TOO_LONG: Duration = Duration::from_secs(20);
/// And so long a host sleeps that is not woken.
const PATIENCE_ASLEEP: Duration = Duration::from_secs(1);
/// So many turns in a row do nothing.
const IDLE_MAX: u32 = 100_000;

pub(super) struct Life {
    pub(super) told: Told,
    pub(super) stopped: bool,
    main_lane: MainLane<Log>,
    handle: Handle<Log>,
    watch: JournalReader,
    disk: Disk,
    lanes: Vec<Option<Lane<Step>>>,
    open: Vec<(Question, usize, u64, Pending)>,
    reader: Reader<Log>,
    cached: CachedReader<Log>,
    last: Seen,
    watcher: Option<JoinHandle<Vec<Shown>>>,
    effects: Arc<Mutex<Vec<(u32, u64)>>>,
    /// What was undone of late, whatever became of it since.
    undone: Vec<OperationId>,
    /// The number of accepted events when a reader asked last.
    requested: Option<usize>,
    publish: Publish,
    turn: u64,
    held: bool,
}

enum Pending {
    Rewind(Asked<Result<Rewind, RewindError>>),
    Look(Asked<Result<Log, TimelineError>>),
}

/// What a reader saw last.
#[derive(Clone, Copy, Debug)]
struct Seen(Version, Stamp, u64);

impl Seen {
    fn go(&mut self, snapshot: &Snapshot<Log>) {
        let now = Seen(snapshot.version(), snapshot.stamp(), snapshot.turn());
        assert!(self.0 <= now.0 && self.1 <= now.1 && self.2 <= now.2, "a reader went back from {self:?} to {now:?}");
        assert!(self.0 < now.0 || self.2 == now.2, "the same version twice: {self:?}, {now:?}");
        *self = now;
    }
}

fn shown(snapshot: &Snapshot<Log>, disk: &Disk) -> Shown {
    // What is durable is looked at after what was seen.
    Shown { turn: snapshot.turn(), durable: disk.durable(), hash: snapshot.hash() }
}

/// Sees every snapshot that it is in time for.
fn watch(mut reader: Reader<Log>, disk: &Disk) -> Vec<Shown> {
    let (mut last, mut seen) = (None, Vec::new());
    while !reader.is_ended() {
        let Some(snapshot) = reader.wait_changed(Instant::now() + PATIENCE) else { continue };
        seen.push(shown(&snapshot, disk));
        last.get_or_insert(Seen(snapshot.version(), snapshot.stamp(), snapshot.turn())).go(&snapshot);
    }
    seen
}

/// What a host does in its own way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    pub(super) publish: Publish,
    pub(super) slow_effects: Duration,
    /// Of lanes.
    pub(super) capacity: usize,
}

impl Life {
    pub(super) fn begin(builder: Builder<Log>, disk: &Disk, manner: Manner, told: Told) -> Self {
        let effects = Arc::new(Mutex::new(Vec::new()));
        let (ran, known) = (effects.clone(), disk.clone());
        let builder = builder.publish(manner.publish).reconciler(move |effect: u32, _: &Log| {
            ran.lock().unwrap().push((effect, known.durable()));
            let began = Instant::now();
            while began.elapsed() < manner.slow_effects {
                std::hint::spin_loop();
            }
        });
        let lane = |at: usize| {
            let lane = builder.lane(format!("lane {at}")).origin(origin(at)).capacity(manner.capacity);
            if at + 1 == LANES { lane.unclocked().open() } else { lane.open() }
        };
        let lanes = (0..LANES).map(|at| Some(lane(at).expect("a lane"))).collect();
        let (main_lane, handle) = builder.build().expect("a pipeline");
        let (reader, cached) = (handle.reader(), handle.reader().cached());
        let watcher = std::thread::spawn({
            let (reader, disk) = (handle.reader(), disk.clone());
            move || watch(reader, &disk)
        });
        let first = reader.load();
        let last = Seen(first.version(), first.stamp(), first.turn());
        let watch = handle.journal().expect("a journal");
        Self {
            turn: told.began,
            told,
            stopped: false,
            main_lane,
            watch,
            disk: disk.clone(),
            lanes,
            open: Vec::new(),
            undone: Vec::new(),
            reader,
            cached,
            last,
            watcher: Some(watcher),
            effects,
            requested: None,
            publish: manner.publish,
            held: false,
            handle,
        }
    }

    /// One thing that may happen.
    pub(super) fn go_on(&mut self, author: &mut Author, random: &mut Random) {
        match random.below(40) {
            0..14 => self.push(author, random),
            14..28 => {
                let budget = if random.one_in(2) { budget(random) } else { Budget::UNLIMITED };
                self.turn(budget);
            }
            28..33 => self.ask(author, random),
            33 => {
                self.reader.request();
                self.requested = Some(self.told.accepted.len());
            }
            34 => {
                self.reader.request();
                self.requested = Some(self.told.accepted.len());
                self.rest();
            }
            35 => {
                self.disk.hold(true);
                self.held = true;
            }
            36..38 => self.release(),
            38 => self.rest(),
            _ => {
                let lane = random.below(LANES as u64) as usize;
                if random.one_in(6) {
                    // Some go, and come again.
                    self.lanes[lane] = match self.lanes[lane].take() {
                        Some(_) => None,
                        None => self.handle.lane(format!("lane {lane}")).origin(origin(lane)).open().ok(),
                    };
                }
            }
        }
    }

    fn push(&mut self, author: &mut Author, random: &mut Random) {
        let most = if random.one_in(12) { 40 } else { 6 };
        for _ in 0..1 + random.below(most) {
            let (lane, step) = author.write(random);
            let number = step.number;
            let is_critical = step.key.is_none();
            let Some(to) = &mut self.lanes[lane] else {
                self.told.returned.push(number);
                continue;
            };
            match to.push(step) {
                Ok(()) if is_critical => self.told.accepted.push((lane, number)),
                Ok(()) => {}
                Err(_) => self.told.returned.push(number),
            }
        }
    }

    /// As many operations as can be open, and some more.
    pub(super) fn flood(&mut self, author: &mut Author) {
        let lane = self.lanes[0].as_mut().expect("it is open");
        for step in author.flood() {
            self.told.accepted.push((0, step.number));
            lane.push(step).expect("there is room");
        }
        self.turn(Budget::UNLIMITED);
    }

    fn ask(&mut self, author: &Author, random: &mut Random) {
        let whose = origin(random.below(3) as usize);
        let mut which = OperationId(author.some_operation(random));
        if !self.undone.is_empty() && random.one_in(2) {
            which = self.undone[random.below(self.undone.len() as u64) as usize];
        }
        let (question, pending) = match random.below(8) {
            0..2 => (Question::Undo(whose), Pending::Rewind(self.handle.undo(whose))),
            2..4 => (Question::Redo(whose), Pending::Rewind(self.handle.redo(whose))),
            4 => (Question::UndoOperation(which), Pending::Rewind(self.handle.undo_operation(which))),
            5 => (Question::RedoOperation(which), Pending::Rewind(self.handle.redo_operation(which))),
            _ => {
                let back = if random.one_in(3) { self.turn + 3 } else { 12 };
                let turn = (self.turn + 2).saturating_sub(random.below(back));
                (Question::Look(turn), Pending::Look(self.handle.state_at(turn)))
            }
        };
        self.open.push((question, self.told.accepted.len(), self.turn, pending));
    }

    fn turn(&mut self, budget: Budget) -> Option<Left> {
        if self.stopped {
            return None;
        }
        let before = self.turn;
        let left = match self.main_lane.turn(budget) {
            Ok(turn) => {
                self.turn = turn.number;
                if turn.number > before {
                    self.told.applied.push((turn.number, self.main_lane.state().hash()));
                }
                Some(turn.left)
            }
            Err(error) => {
                self.stopped = true;
                self.said(error);
                None
            }
        };
        self.hear(before, self.turn);
        self.look();
        left
    }

    fn said(&mut self, error: TurnError<Step>) {
        match error {
            TurnError::ReducerPanicked(poison) => {
                assert!(self.told.window.is_none(), "a timeline sets it aside: {poison:?}");
                self.told.poison = Some(poison.event.number);
            }
            TurnError::JournalFailed { .. } => assert!(self.watch.failure().is_some()),
            error => panic!("{error}"),
        }
    }

    /// What was answered between two turns.
    fn hear(&mut self, before: u64, to: u64) {
        for (question, pushed, _, pending) in std::mem::take(&mut self.open) {
            let polled = match pending {
                Pending::Rewind(asked) => match asked.poll() {
                    Ok(answer) => Ok(answer.map_or(Said::Nothing, Said::Rewound)),
                    Err(asked) => Err(Pending::Rewind(asked)),
                },
                Pending::Look(asked) => match asked.poll() {
                    Ok(answer) => {
                        Ok(answer.map_or(Said::Nothing, |looked| Said::Looked(looked.map(|state| state.hash()))))
                    }
                    Err(asked) => Err(Pending::Look(asked)),
                },
            };
            match polled {
                Ok(said) => {
                    if let Said::Rewound(Ok(rewind)) = &said
                        && rewind.kind == RewindKind::Undo
                    {
                        self.undone.push(rewind.operation);
                    }
                    // The state is made when it is asked for, and shown when it may be.
                    let from = if matches!(said, Said::Looked(_)) { self.told.began } else { before };
                    let durable = self.disk.durable();
                    self.told.answered.push(Answered { question, pushed, from, to, durable, said });
                }
                Err(pending) => self.open.push((question, pushed, before, pending)),
            }
        }
    }

    fn look(&mut self) {
        let snapshot = self.reader.load();
        if snapshot.version() > self.last.0 {
            self.told.shown.push(shown(&snapshot, &self.disk));
        }
        self.last.go(&snapshot);
        let cached = self.cached.load();
        assert_eq!((cached.version(), cached.turn()), (snapshot.version(), snapshot.turn()), "two readers disagree");
    }

    fn release(&mut self) {
        self.disk.hold(false);
        self.held = false;
    }

    /// Sleeps as a host does, and takes the next turn. Woken by nobody, there must be nothing to do.
    fn sleep(&mut self) {
        let (began, before) = (Instant::now(), self.turn);
        self.main_lane.wait_for_input(began + PATIENCE_ASLEEP);
        let is_woken = began.elapsed() < PATIENCE_ASLEEP;
        let (shown, open) = (self.last.0, self.open.len());
        self.turn(Budget::UNLIMITED);
        let has_done = self.turn > before || self.last.0 > shown || self.open.len() < open;
        assert!(is_woken || !has_done, "slept over something");
    }

    /// Goes on until nothing is left to do: by then everything that was asked for has come about.
    fn rest(&mut self) {
        self.release();
        let (mut idle, began) = (0, Instant::now());
        loop {
            let (before, durable) = (self.turn, self.watch.durable());
            let Some(left) = self.turn(Budget::UNLIMITED) else { return };
            if self.watch.failure().is_some() {
                return;
            }
            idle = if self.turn > before { 0 } else { idle + 1 };
            let is_late = idle > IDLE_MAX || began.elapsed() > PATIENCE;
            assert!(!is_late, "it does not come to rest: {left:?}, {idle}, {durable} of {}", self.turn);
            if left == Left::Ended {
                return;
            }
            if left == Left::More || self.main_lane.arm_input() {
                continue;
            }
            let is_shown = !matches!(left, Left::PublishAt(at) if at < Instant::now() + PATIENCE_ASLEEP);
            if durable == self.turn && left != Left::Journal && is_shown {
                // So it was before that turn, which did nothing.
                break;
            }
            let is_due = match self.publish {
                Publish::EveryTurn => true,
                Publish::AtMostEvery(time) => time < PATIENCE_ASLEEP,
                Publish::OnRequest => false,
            };
            let is_behind = is_due && self.reader.load().turn() < self.turn;
            if left == Left::Journal || is_behind || !self.open.is_empty() {
                // Only the journal can be waited for, which rings, and the time.
                self.sleep();
                continue;
            }
            let durable = self.watch.wait(self.turn, Instant::now() + TOO_LONG);
            assert!(durable.is_ok() || self.watch.failure().is_some(), "{durable:?}");
        }
        if let Some(pushed) = self.requested
            && !matches!(self.publish, Publish::AtMostEvery(_))
        {
            self.told.requested.push((pushed, self.reader.load().turn()));
        }
        assert_eq!(self.handle.counters().events.in_flight, 0, "at rest, and not all is applied");
    }

    pub(super) fn has_failed(&self) -> bool {
        self.watch.failure().is_some()
    }

    pub(super) fn fall_ill(&self, after: u64, ill: Ill) {
        self.disk.fall_ill(after, ill);
    }

    /// What is said to be durable, and the disk as it is right after.
    pub(super) fn kill(&self) -> (u64, Disk) {
        (self.watch.durable().max(self.last_shown()), self.disk.copy())
    }

    fn last_shown(&self) -> u64 {
        if self.told.durability == mainlane::journal::Durability::Async { 0 } else { self.last.2 }
    }

    /// Shuts it down. Returns what was told, whether it had to be complete, and what is said to be durable.
    pub(super) fn end(mut self, how: End) -> (Told, u64) {
        if how != End::Late {
            self.release();
        }
        let before = self.turn;
        let deadline = match how {
            End::Well | End::Drop => PATIENCE,
            End::Short(time) => time,
            End::Late => Duration::ZERO,
        };
        let report = self.main_lane.shutdown(deadline);
        self.told.poison = self.main_lane.take_poison().map(|poison| poison.event.number).or(self.told.poison);
        let journal = report.journal.as_ref().expect("a journal's end");
        self.turn = journal.applied;
        if report.complete {
            self.told.applied.push((journal.applied, self.main_lane.state().hash()));
        }
        self.hear(before, self.turn);
        self.look();
        let has_failed = self.watch.failure().is_some();
        if how == End::Well && !self.stopped && !has_failed && report.fault.is_none() {
            assert!(report.complete, "{report:?}");
        }
        if report.complete {
            assert_eq!(self.reader.load().turn(), self.turn, "complete, and the last turn is not shown");
            assert!(report.fault.is_none(), "{report:?}");
        }
        // What fails after that is the last checkpoint, or what was set aside: the next start does without.
        (self.told.complete, self.told.failed) = (report.complete, has_failed);
        self.told.answers = report.complete && matches!(how, End::Well | End::Drop);
        let durable = self.watch.durable().max(self.last_shown());
        self.release();
        let Self { main_lane, mut told, effects, watcher, handle, disk, open, .. } = self;
        assert!(open.is_empty(), "nobody answers, and nobody says so");
        assert!(handle.is_ended());
        drop(main_lane);
        let seen = watcher.expect("a watcher").join();
        told.shown.extend(seen.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        told.effects = std::mem::take(&mut *effects.lock().unwrap());
        assert!(disk.is_left(Instant::now() + PATIENCE), "the store is not let go");
        (told, durable)
    }
}

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Well,
    Drop,
    Short(Duration),
    /// Out of time from the first moment, and nothing that is written returns.
    Late,
}

fn budget(random: &mut Random) -> Budget {
    match random.below(6) {
        0 => Budget::events(0),
        1 | 2 => Budget::events(1 + random.below(5) as usize),
        3 => Budget::time(Duration::ZERO),
        4 => Budget::time(Duration::from_micros(random.below(60))),
        _ => Budget::time(Duration::from_micros(random.below(200))).and_events(3),
    }
}

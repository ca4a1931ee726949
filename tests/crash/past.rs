//! The past in random mixtures: operations that begin twice or in vain, undo and redo of them, events that are set aside,
//! readers that ask, effects that take long, budgets, disks that are slow, full or gone, shutdowns without time, kills; and
//! then a recovery, with another window, another durability, or without a timeline.
//!
//! What is written is played to a slow twin, and everything that anybody was told or shown is held against it.

mod author; // what is pushed
mod disk; // a store that forgets nothing
mod host; // events and state
mod judge; // was it true?
mod life; // a pipeline from its recovery to its end
mod twin; // what it must come to

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainlane::journal::{Behind, CheckpointPolicy, Durability, Journal, Recovery, Replaying, Retention};
use mainlane::{Publish, Timeline};

use crate::book::DURABILITIES;
use crate::life::PATIENCE;
use crate::random::{Random, is_long, kills, seed};
use crate::tally::Tally;
use author::Author;
use disk::{Disk, Ill, Memory};
use host::Log;
use judge::{Told, Window};
use life::{End, Life, Manner};
use twin::Twin;

/// How a journal is opened.
#[derive(Clone, Copy, Debug)]
struct Opening {
    durability: Durability,
    timeline: Option<(usize, usize)>,
    /// The timeline is not recovered, and begins with the life.
    anew: bool,
    lag: (usize, u64),
    behind: Behind,
    checkpoints: u64,
    retention: Retention,
    check: bool,
}

fn one_of<T: Copy>(of: &[T], random: &mut Random) -> T {
    of[random.below(of.len() as u64) as usize]
}

impl Opening {
    fn any(random: &mut Random) -> Self {
        let turns_max = if random.one_in(2) { 4 } else { 60 };
        let timeline = (one_of(&[1, 3, 8, 20, 60, 300], random), one_of(&[1, 2, 5, 16], random));
        Self {
            durability: one_of(&DURABILITIES, random),
            timeline: (!random.one_in(7)).then_some(timeline),
            anew: random.one_in(12),
            lag: (1 + random.below(turns_max) as usize, one_of(&[1, 200, 1 << 20], random)),
            behind: if random.one_in(15) { Behind::GiveUp } else { Behind::Wait },
            checkpoints: one_of(&[1, 4, 12, 40, 1000], random),
            retention: one_of(
                &[Retention::Checkpoints(1), Retention::Checkpoints(2), Retention::Checkpoints(4), Retention::All],
                random,
            ),
            check: random.one_in(8),
        }
    }

    fn journal(&self, disk: &Disk) -> Journal {
        let journal = Journal::store(Memory::open(disk))
            .schema("log", 1)
            .durability(self.durability)
            .lag(self.lag.0, self.lag.1)
            .behind(self.behind)
            .checkpoints(CheckpointPolicy { events: self.checkpoints, bytes: 1 << 20, time: None })
            .retention(self.retention);
        let journal = if self.check { journal.check_determinism() } else { journal };
        match self.timeline() {
            Some(timeline) if !self.anew => journal.timeline(timeline),
            _ => journal,
        }
    }

    fn timeline(&self) -> Option<Timeline> {
        self.timeline.map(|(window, every)| Timeline::window(window).checkpoint_every(every))
    }

    /// What is known for sure of the past.
    fn window(&self, recovery: &Recovery) -> Option<Window> {
        let base = if self.anew { recovery.turn } else { recovery.checkpoint };
        self.timeline.map(|(events, every)| Window { events, every, base })
    }
}

/// Some lives, one after the other, of one journal.
fn scenario(seed: u64, number: u64, tally: &mut Tally) {
    let mut random = Random::of(seed, number);
    let (mut disk, mut author, mut durable) = (Disk::default(), Author::default(), 0);
    let mut before: Option<(Twin, Option<Window>)> = None;
    let was_flood = std::cell::Cell::new(false);
    for _ in 0..1 + random.below(5) {
        let opening = Opening::any(&mut random);
        if let Some((twin, window)) = &before {
            look(&disk, &opening, twin, &mut random);
            tally.add_if(window.is_none() && opening.timeline.is_some(), "a timeline after a life without one");
            tally.add_if(window.is_some() && opening.timeline.is_none(), "a life without a timeline after one with it");
        }
        if std::env::var("MAINLANE_PAST_VERBOSE").is_ok() {
            eprintln!("{opening:?}, durable {durable}");
        }
        let kept = disk.kept();
        let (builder, recovery) =
            opening.journal(&disk).recover(Log::default()).unwrap_or_else(|error| panic!("{error}"));
        if let Some((twin, _)) = &before {
            recovered(&recovery, builder.state(), durable, twin, &opening, &kept.bases());
            tally.add_if(!recovery.quarantined.is_empty(), "set aside at a recovery");
        }
        if random.one_in(15) {
            // Never built.
            drop(builder);
            assert!(disk.is_left(std::time::Instant::now() + PATIENCE));
            continue;
        }
        let builder = match opening.timeline() {
            Some(timeline) if opening.anew => builder.timeline(timeline),
            _ => builder,
        };
        let slow_effects = Duration::from_micros(one_of(&[0, 0, 20, 150], &mut random));
        let hours = Duration::from_secs(7200);
        let publish = match random.below(6) {
            0 | 1 => Publish::EveryTurn,
            2..5 => Publish::OnRequest,
            _ => Publish::AtMostEvery(one_of(&[Duration::ZERO, Duration::from_micros(200), hours], &mut random)),
        };
        let told = Told {
            durability: opening.durability,
            window: opening.window(&recovery),
            began: recovery.turn,
            accepted: Vec::new(),
            returned: Vec::new(),
            answered: Vec::new(),
            applied: Vec::new(),
            shown: Vec::new(),
            requested: Vec::new(),
            effects: Vec::new(),
            poison: None,
            complete: false,
            answers: false,
            failed: false,
        };
        let window = told.window;
        if random.one_in(4) {
            disk.slow(Duration::from_micros(random.below(300)));
        }
        // Once, in the first life of one scenario in many.
        let is_flood = number % 700 == 7 && !was_flood.replace(true);
        let capacity = if is_flood { 2 * author::FLOOD as usize } else { 64 };
        let mut life = Life::begin(builder, &disk, Manner { publish, slow_effects, capacity }, told);
        if is_flood {
            life.flood(&mut author);
            tally.add("more operations than can be open");
        }
        if random.one_in(8) {
            let ill = [Ill::Failed, Ill::FailedAfter, Ill::Full(1)][random.below(3) as usize];
            life.fall_ill(random.below(20), ill);
        }
        let is_killed = random.one_in(3);
        let (steps, dies_at) = (random.below(120), random.below(120));
        let mut killed = None;
        for step in 0..steps {
            if life.stopped {
                break;
            }
            life.go_on(&mut author, &mut random);
            if is_killed && step == dies_at {
                // What comes after it has never been.
                killed = Some(life.kill());
                break;
            }
        }
        let end = match random.below(8) {
            0 if !life.has_failed() => End::Late,
            1 | 2 => End::Short(Duration::from_micros(random.below(3000))),
            3 => End::Drop,
            _ => End::Well,
        };
        tally.add_if(life.has_failed(), "a journal that failed");
        tally.add_if(life.stopped, "a main lane that stopped");
        tally.add_if(killed.is_some(), "a kill");
        tally.add(format!("{end:?}").split('(').next().unwrap());
        tally.add(format!("{:?}", opening.durability));
        let (told, said) = life.end(end);
        let judged = told.judge(&disk.kept()).unwrap_or_else(|wrong| panic!("{opening:?}, {end:?}: {wrong}"));
        tally.add_if(told.complete, "complete");
        count(&told, &judged, tally);
        let kept = match killed {
            Some((said, left)) => {
                (disk, durable) = (left, said);
                disk.kept()
            }
            None => {
                durable = said;
                disk = disk.copy();
                disk.kept()
            }
        };
        let mut twin = Twin::new();
        kept.all.iter().try_for_each(|record| twin.take(record)).unwrap();
        before = Some((twin, window));
    }
}

/// What a recovery comes to.
fn recovered(recovery: &Recovery, state: &Log, durable: u64, twin: &Twin, opening: &Opening, bases: &[u64]) {
    assert!(recovery.turn >= durable, "turn {durable} was durable, and turn {} is the newest", recovery.turn);
    assert_eq!((recovery.turn, state), (twin.turn(), twin.state()), "{opening:?}: {recovery:?}");
    for mark in &recovery.quarantined {
        assert!(twin.poisoned.contains(&(mark.turn, mark.index)), "{mark:?} was applied before");
    }
    let (oldest, newest) = (bases.first().copied(), bases.last().copied());
    match opening.timeline {
        Some((events, _)) if !opening.anew => {
            let is_enough = twin.count_after(recovery.checkpoint) >= events || Some(recovery.checkpoint) == oldest;
            assert!(is_enough, "{opening:?}, {bases:?}: {recovery:?}");
        }
        _ => assert_eq!(Some(recovery.checkpoint), newest),
    }
}

/// Looks at a journal without changing it.
fn look(disk: &Disk, opening: &Opening, twin: &Twin, random: &mut Random) {
    let (oldest, newest) = disk.kept().reach();
    let until = oldest + random.below(newest - oldest + 1);
    for what in
        [Replaying { verify: true, ..Replaying::default() }, Replaying { verify: random.one_in(2), until: Some(until) }]
    {
        let (state, report) = opening
            .journal(disk)
            .replay::<Log>(what, None, &mut |_| true)
            .unwrap_or_else(|error| panic!("{opening:?}, {what:?}: {error}"));
        let expected = &twin.states[what.until.unwrap_or(newest) as usize];
        assert_eq!((&state, &report.different[..]), (expected, &[][..]), "{opening:?}, {what:?}: {report:?}");
        if what.verify {
            let mut compared = disk.kept().rows.checkpoints.iter().map(|head| head.turn).collect::<Vec<_>>();
            compared.retain(|turn| *turn <= report.until);
            assert_eq!(report.compared, compared, "{what:?}");
        }
    }
}

fn count(told: &Told, twin: &Twin, tally: &mut Tally) {
    for met in &twin.met {
        tally.add(*met);
    }
    tally.add_if(!twin.poisoned.is_empty(), "something was set aside");
    tally.add_if(!told.requested.is_empty(), "a reader that asked");
    for answered in &told.answered {
        let said = format!("{:?}", answered.said);
        let is_word = |word: &&str| !word.is_empty() && !word.starts_with(|first: char| first.is_ascii_digit());
        let words: Vec<_> = said.split(['(', ' ', '{']).filter(is_word).take(3).collect();
        let kind = format!("{:?}", answered.question);
        tally.add(format!("{}: {}", kind.split('(').next().unwrap(), words.join(" ")));
    }
}

/// Runs scenarios until there were enough, in a thread of its own: what hangs is an error.
fn run(seed: u64, numbers: std::ops::Range<u64>) -> Tally {
    let at = Arc::new(AtomicU64::new(numbers.start));
    let tally = Arc::new(Mutex::new(Tally::default()));
    let (done, wait) = crossbeam_channel::bounded::<()>(1);
    let (now, counted, end) = (at.clone(), tally.clone(), numbers.end);
    let thread = std::thread::spawn(move || {
        let _done = done;
        for number in numbers {
            now.store(number, Ordering::SeqCst);
            scenario(seed, number, &mut counted.lock().unwrap());
        }
    });
    let mut before = None;
    while let Err(crossbeam_channel::RecvTimeoutError::Timeout) = wait.recv_timeout(2 * PATIENCE) {
        let number = at.load(Ordering::SeqCst);
        assert!(before != Some(number), "seed {seed}, scenario {number} of {end} hangs");
        before = Some(number);
    }
    if let Err(panic) = thread.join() {
        eprintln!("seed {seed}, scenario {} of {end}", at.load(Ordering::SeqCst));
        std::panic::resume_unwind(panic);
    }
    std::mem::take(&mut *tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
}

/// How many scenarios there are, unless it is a long run.
const CI: u64 = 250;

const MUST: [&str; 28] = [
    "Async",
    "BeforePublish",
    "BeforeApply",
    "Late",
    "Short",
    "Drop",
    "complete",
    "a kill",
    "a journal that failed",
    "a main lane that stopped",
    "a reader that asked",
    "a second start",
    "a start after the end",
    "a start was refused",
    "a start after something was refused",
    "more operations than can be open",
    "something was set aside",
    "set aside at a recovery",
    "a timeline after a life without one",
    "a life without a timeline after one with it",
    "Undo: Rewound Ok Rewind",
    "Undo: Rewound Err Panicked",
    "Undo: Rewound Err BeyondWindow",
    "Redo: Rewound Ok Rewind",
    "Redo: Rewound Err BeyondWindow",
    "UndoOperation: Rewound Ok Rewind",
    "RedoOperation: Rewound Ok Rewind",
    "Look: Looked Err BeyondWindow",
];

#[test]
fn what_was_told_of_the_past_is_what_was_written() {
    let begin = std::env::var("MAINLANE_PAST_FROM").ok().map_or(0, |from| from.parse().unwrap());
    let count = std::env::var("MAINLANE_PAST_COUNT").ok().map(|count| count.parse().unwrap());
    let count = count.unwrap_or(if is_long() { 5 * kills() } else { CI });
    let tally = run(seed(), begin..begin + count);
    println!("seed {}:{tally}", seed());
    if begin == 0 && count >= CI {
        tally.must_have(&MUST);
    }
}

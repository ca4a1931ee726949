//! The end of the process, at any moment: a child is killed while it opens, recovers, applies, writes, takes a checkpoint,
//! leaves the past behind, and closes.

use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;
use mainlane::journal::{Durability, Journal, Sync};

use crate::book::{DURABILITIES, Reference, settings};
use crate::facts::{Fact, Part, Promise, Tell};
use crate::life::{Habits, live, quick_folder};
use crate::random::{Random, kills, seed};
use crate::stores::{Lie, Lying, Telling, Wrapped, sqlite};
use crate::tally::Tally;

const CHILD: &str = "MAINLANE_CRASH_CHILD";

/// What a child is to do.
#[derive(Clone)]
pub(crate) struct Errand {
    pub(crate) path: PathBuf,
    pub(crate) durability: Durability,
    pub(crate) sync: Sync,
    pub(crate) store: Kind,
    pub(crate) turns: u64,
    pub(crate) seed: u64,
}

/// Through what a child writes.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    /// As hosts do.
    File,
    Telling,
    Lying(Lie),
    /// A store that holds what it is given; and it is said of every turn that was applied that it is durable.
    Boasting,
}

impl Errand {
    fn to_text(&self) -> String {
        let durability = DURABILITIES.iter().position(|durability| *durability == self.durability).unwrap();
        let store = match self.store {
            Kind::File => 0,
            Kind::Telling => 1,
            Kind::Boasting => 2,
            Kind::Lying(lie) => 3 + lie as u64,
        };
        let sync = u8::from(self.sync == Sync::Os);
        format!("{durability} {sync} {store} {} {} {}", self.turns, self.seed, self.path.display())
    }

    fn from_text(text: &str) -> Self {
        let mut words = text.splitn(6, ' ');
        let mut number = || words.next().unwrap().parse::<u64>().unwrap();
        let durability = DURABILITIES[number() as usize];
        let sync = if number() == 1 { Sync::Os } else { Sync::Full };
        let store = match number() {
            0 => Kind::File,
            1 => Kind::Telling,
            2 => Kind::Boasting,
            lie => Kind::Lying(if lie == 3 + Lie::Early as u64 { Lie::Early } else { Lie::Gone }),
        };
        let (turns, seed) = (number(), number());
        Self { path: words.next().unwrap().into(), durability, sync, store, turns, seed }
    }

    /// Runs it in this process.
    fn run(&self) {
        let tell: Tell = Arc::new(|fact: Fact| {
            let line = format!("{fact}\n");
            let mut out = std::io::stdout().lock();
            if out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_err() {
                // Nobody is left to kill it.
                std::process::exit(3);
            }
        });
        let boasting: Tell = Arc::new({
            let tell = tell.clone();
            move |fact: Fact| {
                if let Fact::Applied(state) = fact {
                    tell(Fact::Durable(state.turn));
                }
                tell(fact);
            }
        });
        let journal = match self.store {
            Kind::File => Journal::file(&self.path),
            Kind::Telling => {
                tell(Fact::Opening);
                Journal::store(Wrapped::new(sqlite(&self.path, self.sync), Telling(tell.clone())))
            }
            Kind::Lying(lie) => Journal::store(Wrapped::new(sqlite(&self.path, self.sync), Lying::new(lie))),
            Kind::Boasting => Journal::store(Wrapped::new(sqlite(&self.path, self.sync), Lying::new(Lie::Held))),
        };
        let tell = if self.store == Kind::Boasting { boasting } else { tell };
        let habits = Habits::turns(self.turns);
        let journal = settings(journal, self.durability, self.sync);
        match live(journal, self.seed, habits, &tell, &mut |_| true) {
            Ok(end) if end.report.complete => {}
            Ok(end) => tell(Fact::Failed(format!("{end:?}"))),
            Err(error) => tell(Fact::Failed(error.to_string())),
        }
    }
}

#[test]
#[ignore = "run by the others, as a process of its own"]
fn child() {
    if let Ok(errand) = std::env::var(CHILD) {
        // The harness has begun a line.
        println!();
        Errand::from_text(&errand).run();
    }
}

/// When a child is killed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arm {
    after: Sign,
    /// The so manieth of them.
    count: u64,
    delay: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Sign {
    Start,
    Opening,
    Recovered,
    Durable,
    Writing(Part),
    Written(Part),
    /// So many turns before it ends by itself.
    LastTurn(u64),
}

impl Arm {
    pub(crate) fn at(after: Sign, count: u64) -> Self {
        Self { after, count, delay: Duration::ZERO }
    }

    fn one_of(number: u64, random: &mut Random) -> Self {
        let part = [Part::Records, Part::Checkpoint, Part::Prune][random.below(3) as usize];
        let mut after = |sign, count, delay: u64| Self {
            after: sign,
            count: 1 + random.below(count),
            delay: Duration::from_micros(random.below(delay)),
        };
        match number % 8 {
            0 => after(Sign::Recovered, 1, 200_000),
            1 => after(Sign::Writing(part), 6, 1_500),
            2 => after(Sign::Opening, 1, 8_000),
            3 => after(Sign::Durable, 60, 1),
            4 => after(Sign::Writing(Part::Prune), 3, 2_500),
            5 => after(Sign::Start, 1, 10_000),
            6 => after(Sign::LastTurn(20), 1, 10_000),
            _ => after(Sign::Written(part), 6, 100),
        }
    }

    fn is_due(&self, fact: &Fact, first: &mut Option<u64>) -> bool {
        match (self.after, fact) {
            (Sign::Opening, Fact::Opening)
            | (Sign::Recovered, Fact::Recovered(_))
            | (Sign::Durable, Fact::Durable(_)) => true,
            // Who leaves the past behind writes a checkpoint too.
            (Sign::Writing(part), Fact::Writing(now)) | (Sign::Written(part), Fact::Written(now)) => part <= *now,
            (Sign::LastTurn(_), Fact::Recovered(state)) => {
                *first = Some(state.turn);
                false
            }
            (Sign::LastTurn(turns), Fact::Applied(state)) => first.is_some_and(|first| state.turn == first + turns),
            _ => false,
        }
    }
}

/// A child that does not come to the moment that it is to be killed at is killed anyway.
const LATEST: Duration = Duration::from_secs(10);

/// What a child said, and whether it was killed or ended by itself.
pub(crate) struct Last {
    pub(crate) facts: Vec<Fact>,
    pub(crate) killed: bool,
    pub(crate) success: bool,
}

/// Sends a child, and kills it.
pub(crate) fn send(errand: &Errand, arm: Arm, by: Option<&mut Command>) -> Last {
    let this = std::env::current_exe().unwrap();
    let arguments = ["kills::child", "--exact", "--ignored", "--nocapture", "--test-threads=1"];
    let mut own = Command::new(&this);
    let command = match by {
        Some(by) => by.arg(&this),
        None => &mut own,
    };
    let mut process = command
        .args(arguments)
        .env(CHILD, errand.to_text())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("no child: {error}"));
    let started = Instant::now();
    let (said, heard) = crossbeam_channel::unbounded();
    let out = BufReader::new(process.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        for line in out.lines().map_while(Result::ok) {
            // The harness talks too.
            if let Ok(fact) = line.parse::<Fact>() {
                let _ = said.send(fact);
            }
        }
    });
    let mut facts = Vec::new();
    let (mut count, mut first, mut killed) = (0, None, false);
    let mut at = (arm.after == Sign::Start).then(|| started + arm.delay);
    loop {
        match heard.recv_deadline(at.unwrap_or(started + LATEST)) {
            Ok(fact) => {
                if at.is_none() && arm.is_due(&fact, &mut first) {
                    count += 1;
                    at = (count == arm.count).then(|| Instant::now() + arm.delay);
                }
                facts.push(fact);
                if at.is_some_and(|at| Instant::now() >= at) {
                    killed = process.kill().is_ok();
                    break;
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                killed = process.kill().is_ok();
                break;
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = process.wait().unwrap();
    reader.join().unwrap();
    facts.extend(heard.iter());
    // It may have ended before the signal came.
    let killed = killed && status.code().is_none();
    Last { facts, killed, success: status.success() }
}

/// A journal, and all that was promised about it.
struct Case {
    errand: Errand,
    promise: Promise,
    _folder: tempfile::TempDir,
}

impl Case {
    fn new(durability: Durability, sync: Sync) -> Self {
        // The disk's time to sync is most of what a write takes there, and none in memory: kills meet both.
        let is_on_disk = durability == Durability::BeforePublish && sync == Sync::Full;
        let folder = if is_on_disk { tempfile::tempdir().unwrap() } else { quick_folder() };
        let path = folder.path().join("journal");
        let errand = Errand { path, durability, sync, store: Kind::File, turns: u64::MAX / 2, seed: seed() };
        Self { errand, promise: Promise::new(durability), _folder: folder }
    }

    fn hear(&mut self, last: &Last, reference: &mut Reference) -> Result<(), String> {
        last.facts.iter().try_for_each(|fact| self.promise.hear(fact, reference))?;
        let failed = last.facts.iter().find(|fact| matches!(fact, Fact::Failed(_)));
        if let Some(failed) = failed {
            return Err(format!("a child {failed}"));
        }
        if last.killed || last.success { Ok(()) } else { Err("a child ended badly".into()) }
    }
}

/// Where a child was when it was killed.
fn place(facts: &[Fact], tally: &mut Tally) {
    let recovered = facts.iter().any(|fact| matches!(fact, Fact::Recovered(_)));
    let writing = facts.iter().rev().find_map(|fact| match fact {
        Fact::Writing(part) => Some(Some(*part)),
        Fact::Written(_) => Some(None),
        _ => None,
    });
    tally.add_if(facts.is_empty(), "killed before it opened the journal");
    tally.add_if(!facts.is_empty() && !recovered, "killed while it opened and recovered the journal");
    tally.add_if(recovered, "killed after its recovery");
    match writing.flatten() {
        Some(Part::Records) => tally.add("killed while records were written"),
        Some(Part::Checkpoint) => tally.add("killed while a checkpoint was written"),
        Some(Part::Prune) => {
            tally.add("killed while a checkpoint was written");
            tally.add("killed while the past was left behind");
        }
        None => {}
    }
}

const MUST: [&str; 9] = [
    "killed before it opened the journal",
    "killed while it opened and recovered the journal",
    "killed after its recovery",
    "killed while records were written",
    "killed while a checkpoint was written",
    "killed while the past was left behind",
    "killed several times before anybody looked",
    "recovery: turns were applied again",
    "recovery: from a checkpoint of later than the beginning",
];

#[test]
fn what_was_acknowledged_survives_any_kill() {
    let (seed, kills) = (seed(), kills());
    let mut random = Random::of(seed, 1);
    let mut reference = Reference::new(seed);
    let mut tally = Tally::default();
    let mut cases: Vec<_> = DURABILITIES
        .into_iter()
        .flat_map(|durability| [Sync::Full, Sync::Os].map(|sync| Case::new(durability, sync)))
        .collect();
    let (mut killed, mut round) = (0, 0_u64);
    // Whatever has to be met is met within so many more.
    while killed < kills || killed < kills + 200 && MUST.iter().any(|what| tally.of(what) == 0) {
        let count = cases.len() as u64;
        let case = &mut cases[(round % count) as usize];
        let arm = Arm::one_of(round + round / count, &mut random);
        round += 1;
        case.errand.turns = if let Sign::LastTurn(turns) = arm.after { turns } else { u64::MAX / 2 };
        let is_telling = matches!(arm.after, Sign::Writing(_) | Sign::Written(_)) || random.one_in(2);
        case.errand.store = if is_telling { Kind::Telling } else { Kind::File };
        // Also again and again, before anybody looks.
        let times = if matches!(arm.after, Sign::Start | Sign::Opening) { 1 + random.below(4) } else { 1 };
        let mut in_a_row = 0;
        let Errand { durability, sync, .. } = case.errand;
        let context = format!("seed {seed}, round {round}, {durability:?}, {sync:?}, {arm:?}");
        for _ in 0..times {
            let last = send(&case.errand, arm, None);
            killed += u64::from(last.killed);
            in_a_row += u64::from(last.killed);
            tally.add_if(last.killed, "kills");
            tally.add_if(!last.killed, "ended before it could be killed");
            if last.killed {
                place(&last.facts, &mut tally);
            }
            if let Err(error) = case.hear(&last, &mut reference) {
                panic!("{context}: {error}; {}", keep(case));
            }
        }
        tally.add_if(in_a_row > 1, "killed several times before anybody looked");
        match case.promise.check_file(&case.errand.path, sync, &mut reference, &mut random) {
            Ok(recovery) => crate::facts::tally(&recovery, &mut tally),
            Err(error) => panic!("{context}: {error}; {}", keep(case)),
        }
    }
    let turns: u64 = cases.iter().map(|case| case.promise.acknowledged).sum();
    println!("seed {seed}, {turns} turns acknowledged:{tally}");
    tally.must_have(&MUST);
}

/// Leaves the files for whoever looks into it.
fn keep(case: &Case) -> String {
    let to = std::env::temp_dir().join(format!("mainlane-crash-{}", std::process::id()));
    let _ = std::fs::create_dir_all(&to);
    let from = case.errand.path.parent().unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let _ = std::fs::copy(entry.path(), to.join(entry.file_name()));
    }
    format!("its files are in {}", to.display())
}

/// Kills children that lie until that is noticed: one may die between two lies.
pub(crate) fn is_noticed(kind: Kind, durability: Durability) -> Result<(), String> {
    (0..20).try_for_each(|_| kill_one(kind, durability))
}

fn kill_one(kind: Kind, durability: Durability) -> Result<(), String> {
    let mut reference = Reference::new(seed());
    let mut case = Case::new(durability, Sync::Full);
    case.errand.store = kind;
    let last = send(&case.errand, Arm::at(Sign::Durable, 12), None);
    assert!(last.killed);
    case.hear(&last, &mut reference)?;
    let path: &Path = &case.errand.path;
    case.promise.check_file(path, Sync::Full, &mut reference, &mut Random::new(seed())).map(drop)
}

//! A store that fails at its n-th append, for every n until there is no such append: nothing is acknowledged that is not
//! there, nothing shown that is not durable, and everybody is told.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mainlane::journal::{Behind, Durability, Journal, JournalError, SqliteStore, StoreError, Sync};

use crate::book::{Book, DURABILITIES, Driver, Reference, settings};
use crate::facts::{Fact, Promise, Tell};
use crate::life::{End, Habits, PATIENCE, live, quick_folder};
use crate::random::{Random, is_long, seed};
use crate::stores::{Chart, Failing, Ill, Unreadable, Wrapped, sqlite};
use crate::tally::Tally;

/// For what would wait for ever: nothing that is waited for so long comes.
const FOR_EVER: Duration = Duration::from_secs(3600);
/// For a shutdown that has nothing to hope for.
const SHORT: Duration = Duration::from_millis(120);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Collects what was told, and looks at once whether it was true.
struct Ears {
    facts: Mutex<Vec<Fact>>,
    wrong: Mutex<Option<String>>,
    chart: Arc<Chart>,
    durability: Durability,
    recovered: AtomicU64,
}

impl Ears {
    fn new(durability: Durability, chart: &Arc<Chart>) -> Arc<Self> {
        let (facts, wrong) = (Mutex::default(), Mutex::default());
        Arc::new(Self { facts, wrong, chart: chart.clone(), durability, recovered: AtomicU64::new(0) })
    }

    fn tell(self: &Arc<Self>) -> Tell {
        let ears = self.clone();
        Arc::new(move |fact| ears.hear(fact))
    }

    fn hear(&self, fact: Fact) {
        if let Fact::Recovered(state) = fact {
            self.recovered.store(state.turn, Ordering::SeqCst);
        }
        let returned = self.chart.returned.load(Ordering::SeqCst).max(self.recovered.load(Ordering::SeqCst));
        let too_early = match &fact {
            Fact::Durable(turn) => (*turn > returned).then_some(*turn),
            Fact::Shown(state) if self.durability != Durability::Async => (state.turn > returned).then_some(state.turn),
            Fact::Applied(state) if self.durability == Durability::BeforeApply => {
                (state.turn > returned).then_some(state.turn)
            }
            _ => None,
        };
        if let Some(turn) = too_early {
            let wrong = format!("{fact:?}, and turn {returned} is the newest that was written, not {turn}");
            self.wrong.lock().unwrap().get_or_insert(wrong);
        }
        self.facts.lock().unwrap().push(fact);
    }
}

/// One fault in one life.
#[derive(Clone, Copy, Debug)]
struct Trial {
    durability: Durability,
    behind: Behind,
    ill: Ill,
    at: u64,
    /// One turn for each append, or as they come.
    one_by_one: bool,
    /// How long a shutdown that may have nothing to hope for may take.
    short: Duration,
}

/// Whether the fault was met, and what became of it.
struct Outcome {
    struck: u64,
    lived: Result<End, JournalError>,
}

impl Trial {
    /// In a thread of its own, so that what hangs is an error.
    fn run(self, reference: &mut Reference, turns: u64) -> Outcome {
        let folder = quick_folder();
        let path = folder.path().join("journal");
        let chart = Arc::new(Chart::default());
        let ears = Ears::new(self.durability, &chart);
        let (store, gone) =
            Wrapped::with_end(sqlite(&path, Sync::Os), Failing { ill: self.ill, at: self.at, chart: chart.clone() });
        let journal = settings(Journal::store(store), self.durability, Sync::Os).behind(self.behind);
        let is_full = self.ill == Ill::FullForGood && self.behind == Behind::Wait;
        let habits = Habits {
            one_by_one: self.one_by_one,
            deadline: match self.ill {
                Ill::FullForGood => self.short,
                _ => FOR_EVER,
            },
            patience: if is_full { self.short } else { PATIENCE },
            ..Habits::turns(2000)
        };
        let (done, wait) = crossbeam_channel::bounded(1);
        let (tell, known) = (ears.tell(), chart.clone());
        // Who gives up does so when it is behind by its lag.
        let gives_up = self.behind == Behind::GiveUp;
        let life = std::thread::spawn(move || {
            let mut between = |driver: &Driver| {
                let has_failed = driver.handle.journal().is_some_and(|watch| watch.failure().is_some());
                if has_failed {
                    // It works again, and that must not matter.
                    known.mended.store(true, Ordering::SeqCst);
                }
                let Some(watch) = driver.handle.journal().filter(|_| gives_up) else { return driver.turn < turns };
                let is_struck = || known.struck.load(Ordering::SeqCst) > 0;
                // So that it is behind for no other reason.
                while !has_failed && !is_struck() && watch.wait(driver.turn, Instant::now() + LOOK_EVERY).is_err() {}
                driver.turn < turns || is_struck() && !has_failed
            };
            let lived = catch_unwind(AssertUnwindSafe(|| live(journal, seed(), habits, &tell, &mut between)));
            let _ = done.send(lived);
        });
        let lived = match wait.recv_timeout(2 * PATIENCE) {
            Ok(Ok(lived)) => lived,
            // On the host's own thread, before there was a pipeline: its own affair.
            Ok(Err(_)) if self.at == 1 && matches!(self.ill, Ill::PanicBefore | Ill::PanicAfter) => {
                Err(JournalError::Store(StoreError::Failed { doing: "beginning", reason: "its store panicked".into() }))
            }
            Ok(Err(panicked)) => std::panic::resume_unwind(panicked),
            Err(_) => panic!("{self:?}: it hangs; {:?}", ears.facts.lock().unwrap().last()),
        };
        life.join().unwrap();
        // The journal's thread may outlive a shutdown that was out of time.
        let _ = gone.recv_timeout(PATIENCE);
        if let Some(wrong) = &*ears.wrong.lock().unwrap() {
            panic!("{self:?}: {wrong}");
        }
        let struck = chart.struck.load(Ordering::SeqCst);
        self.look(&path, &ears, &chart, reference);
        if let Ok(end) = &lived {
            self.judge(end, struck, &chart);
        }
        Outcome { struck, lived }
    }

    /// What is there, without any fault.
    fn look(&self, path: &Path, ears: &Ears, chart: &Chart, reference: &mut Reference) {
        let mut promise = Promise::new(self.durability);
        for fact in &*ears.facts.lock().unwrap() {
            promise.hear(fact, reference).unwrap_or_else(|error| panic!("{self:?}: {error}"));
        }
        let recovery = promise
            .check_file(path, Sync::Os, reference, &mut Random::new(self.at))
            .unwrap_or_else(|error| panic!("{self:?}: {error}"));
        let stored = chart.stored.load(Ordering::SeqCst);
        assert_eq!(recovery.turn, stored, "{self:?}: what was written is there, no more and no less");
    }

    fn judge(&self, end: &End, struck: u64, chart: &Chart) {
        let journal = end.report.journal.as_ref().expect("a journal's end");
        // What was begun is taken by the shutdown, when there is time for it then.
        let newest = end.applied + u64::from(end.has_begun);
        assert!((end.applied..=newest).contains(&journal.applied), "{self:?}: {end:?}");
        let passes = matches!(self.ill, Ill::Full(_)) && self.behind == Behind::Wait;
        if struck == 0 && self.ill == Ill::FullForGood && !ended_well(end) {
            return;
        }
        if struck == 0 || passes {
            assert!(end.report.complete && end.failure.is_none() && end.error.is_none(), "{self:?}: {end:?}");
            assert_eq!(
                (journal.durable, end.full_counted),
                (journal.applied, u64::from(struck > 0)),
                "{self:?}: {end:?}"
            );
            return;
        }
        if matches!(self.ill, Ill::Full(_)) {
            // It may have gone by before there was too much.
            return;
        }
        // The last checkpoint is nothing that anybody was promised.
        assert!(!end.report.complete || journal.durable == journal.applied, "{self:?}: {end:?}");
        let returned = chart.returned.load(Ordering::SeqCst);
        assert!(journal.durable <= returned && end.durable <= journal.durable, "{self:?}: {end:?}");
        assert_eq!(journal.failure, end.failure, "{self:?}: {end:?}");
        assert!(journal.failure.is_some() || journal.durable == journal.applied, "{self:?}: {end:?}");
        if self.behind == Behind::GiveUp && end.failures_counted > 0 {
            // Nothing is waited for that was given up before.
            assert!(end.report.stragglers.is_empty(), "{self:?}: {end:?}");
        }
        if self.ill != Ill::FullForGood {
            let said = journal.failure.as_deref().unwrap_or_default();
            assert!(said.contains("a fault was injected"), "{self:?}: {said}");
            // Not all was durable before, so there was a turn to fail.
            if self.durability != Durability::Async && journal.durable < journal.applied {
                assert!(end.error.is_some() || end.report.fault.is_some(), "{self:?}: {end:?}");
            }
        }
        assert!(end.failures_counted <= 1, "{self:?}: {end:?}");
    }
}

/// All turns were taken, and all that came of them is done.
fn ended_well(end: &End) -> bool {
    end.report.complete && !end.has_begun
}

fn sweep(ills: &[Ill], behind: Behind) -> Tally {
    let mut reference = Reference::new(seed());
    let mut tally = Tally::default();
    let turns = if is_long() { 120 } else { 16 };
    for durability in DURABILITIES {
        for (ill, one_by_one) in ills.iter().flat_map(|ill| [(*ill, true), (*ill, false)]) {
            // Who waits for each turn would wait for a disk that stays full.
            if one_by_one && (ill == Ill::FullForGood || matches!(ill, Ill::Full(_)) && !is_long()) {
                continue;
            }
            for at in 1.. {
                let mut trial = Trial { durability, behind, ill, at, one_by_one, short: SHORT };
                let Outcome { struck, lived } = loop {
                    let outcome = trial.run(&mut reference, turns);
                    let was_met = outcome.struck > 0 || outcome.lived.as_ref().is_ok_and(ended_well);
                    if was_met {
                        break outcome;
                    }
                    // Out of time for another reason than the one that was looked for.
                    trial.short *= 2;
                };
                if struck == 0 {
                    assert!(at > 3, "{trial:?}: there were {at} appends");
                    tally.add("runs without a fault, which end a sweep");
                    break;
                }
                tally.add(format!("{durability:?}, {ill:?}"));
                match lived {
                    Ok(end) => {
                        tally.add_if(end.failure.is_some(), "the journal failed");
                        tally.add_if(end.failure.is_none(), "the journal went on");
                        tally.add_if(end.applied > end.report.journal.unwrap().durable, "not all was durable");
                    }
                    Err(error) => {
                        let is_expected = match ill {
                            Ill::PanicBefore | Ill::PanicAfter => matches!(error, JournalError::Panicked { .. }),
                            _ => matches!(error, JournalError::Store(_)),
                        };
                        assert!(is_expected, "{trial:?}: {error}");
                        tally.add("there was no journal to begin with");
                    }
                }
            }
        }
    }
    println!("{behind:?}:{tally}");
    tally
}

#[test]
fn a_store_that_fails_is_never_believed() {
    let tally = sweep(&[Ill::FailedBefore, Ill::FailedAfter], Behind::Wait);
    tally.must_have(&["the journal failed", "not all was durable", "there was no journal to begin with"]);
}

#[test]
fn a_store_that_panics_has_failed() {
    let tally = sweep(&[Ill::PanicBefore, Ill::PanicAfter], Behind::Wait);
    tally.must_have(&["the journal failed", "not all was durable"]);
}

#[test]
fn a_disk_that_is_full_for_a_while_is_waited_for() {
    let tally = sweep(&[Ill::Full(2)], Behind::Wait);
    tally.must_have(&["the journal went on"]);
    assert_eq!(tally.of("the journal failed"), 0);
}

#[test]
fn a_disk_that_stays_full_is_told() {
    sweep(&[Ill::FullForGood], Behind::Wait).must_have(&["the journal failed", "not all was durable"]);
}

#[test]
fn a_host_that_does_not_wait_for_a_full_disk_is_told() {
    sweep(&[Ill::FullForGood], Behind::GiveUp).must_have(&["the journal failed", "not all was durable"]);
}

#[test]
fn what_cannot_be_read_is_an_error_and_never_less_than_there_is() {
    let folder = quick_folder();
    let path = folder.path().join("journal");
    let tell: Tell = Arc::new(|_| ());
    let mut reference = Reference::new(seed());
    for durability in DURABILITIES {
        let journal = settings(Journal::file(&path), durability, Sync::Os);
        let end = live(journal, seed(), Habits::turns(40), &tell, &mut |_| true).unwrap();
        assert!(end.report.complete);
        let mut failed = 0;
        for at in 1.. {
            let calls = Arc::new(AtomicU64::new(0));
            let store = Wrapped::new(sqlite(&path, Sync::Os), Unreadable { at, calls: calls.clone() });
            let recovered = settings(Journal::store(store), durability, Sync::Os).recover(Book::default());
            let Ok((builder, recovery)) = recovered else {
                let error = recovered.map(drop).unwrap_err();
                assert!(matches!(error, JournalError::Store(StoreError::Failed { .. })), "{error}");
                failed += 1;
                continue;
            };
            assert!(calls.load(Ordering::SeqCst) < at, "call {at} failed, and nobody was told");
            assert_eq!(
                (recovery.turn, builder.state().at(recovery.turn).events),
                (end.applied, reference.at(end.applied))
            );
            break;
        }
        assert!(failed >= 5, "{failed} calls");
    }
    drop(SqliteStore::open(&path, Sync::Os).unwrap());
}

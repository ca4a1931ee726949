//! A real disk that is full, in the way, or gone.
//!
//! A child with a limit on the size of its files has writes that come short and then fail. A file system of a few
//! megabytes is mounted where that is allowed, filled, and freed again.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mainlane::journal::store::{Identity, Record, RecordKind, Store, StoreError, Write};
use mainlane::journal::{Behind, Durability, FORMAT, Journal, SqliteStore, Sync};

use crate::book::{DURABILITIES, Driver, Reference, settings};
use crate::facts::{Fact, Promise, Tell};
use crate::kills::{Arm, Errand, Kind, Sign, send};
use crate::life::{End, Habits, live, quick_folder};
use crate::random::{Random, is_long, seed};
use crate::tally::Tally;

const MOUNTED: &str = "MAINLANE_CRASH_MOUNTED";

#[test]
#[cfg(unix)]
fn writes_that_come_short_are_told_and_nothing_is_lost() {
    let mut reference = Reference::new(seed());
    let mut random = Random::of(seed(), 2);
    let mut tally = Tally::default();
    for round in 0..if is_long() { 120 } else { 12 } {
        let folder = quick_folder();
        let path = folder.path().join("journal");
        let durability = DURABILITIES[round % 3];
        let sync = if random.one_in(2) { Sync::Full } else { Sync::Os };
        let errand = Errand { path, durability, sync, store: Kind::File, turns: 3000, seed: seed() };
        // In blocks of 512 bytes; less is no journal at all. Everything that is larger would come to an end by itself.
        let blocks = 60 + random.below(if round % 2 == 0 { 300 } else { 6000 });
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"")]);
        let last = send(&errand, Arm::at(Sign::LastTurn(u64::MAX / 2), 1), Some(&mut shell));
        let mut promise = Promise::new(durability);
        let context = format!("seed {}, round {round}, {durability:?}, {sync:?}, {blocks} blocks", seed());
        for fact in &last.facts {
            promise.hear(fact, &mut reference).unwrap_or_else(|error| panic!("{context}: {error}"));
        }
        let failed = last.facts.iter().filter(|fact| matches!(fact, Fact::Failed(_))).count();
        assert!(last.success && !last.killed, "{context}: {:?}", last.facts.last());
        assert!(failed > 0, "{context}: it ends at its limit, and says so: {:?}", last.facts.last());
        let recovery = promise
            .check_file(&errand.path, sync, &mut reference, &mut random)
            .unwrap_or_else(|error| panic!("{context}: {error}"));
        tally.add("limits met");
        tally.add_if(recovery.turn > 500, "limits met after a merge or two");
        tally.add_if(recovery.torn_tail.is_some(), "limits that left a torn tail");
    }
    println!("{tally}");
    tally.must_have(&["limits met"]);
}

#[test]
#[cfg(target_os = "linux")]
fn a_disk_that_fills_up_and_is_freed_again() {
    on_a_disk("limits::on_a_small_disk", "filled and freed");
}

#[test]
#[cfg(target_os = "linux")]
fn a_journal_where_nothing_can_be_written() {
    on_a_disk("limits::on_a_disk_for_reading", "read and refused");
}

/// Runs a test in a process of its own, which may mount what others do not see, with three megabytes of its own.
#[cfg(target_os = "linux")]
fn on_a_disk(test: &str, expected: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mounted = |command: &str| {
        let mut unshare = Command::new("unshare");
        unshare.args(["-m", "sh", "-c", command]).arg(std::env::current_exe().unwrap());
        unshare.args([test, "--exact", "--ignored", "--nocapture"]);
        unshare.env(MOUNTED, folder.path()).stdin(Stdio::null()).output()
    };
    let mount = format!("mount -t tmpfs -o size=3m mainlane '{}'", folder.path().display());
    if !mounted(&mount).is_ok_and(|tried| tried.status.success()) {
        println!("skipped: a file system cannot be mounted here");
        return;
    }
    let ran = mounted(&format!("{mount} && exec \"$0\" \"$@\"")).unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{said}\n{}", String::from_utf8_lossy(&ran.stderr));
    assert!(said.contains("1 passed") && said.contains(expected), "{said}");
    println!("{said}");
}

#[test]
#[ignore = "run by another, where a file system is mounted"]
#[cfg(target_os = "linux")]
fn on_a_disk_for_reading() {
    let Some(folder) = std::env::var_os(MOUNTED) else { return };
    // Names that mean something in an address.
    let [closed, killed] = ["closed 100%?", "killed#"].map(|name| Path::new(&folder).join(name));
    let identity = Identity { schema: "book".into(), format: FORMAT };
    let mut store = SqliteStore::open(&closed, Sync::Full).unwrap();
    store.begin(&identity).unwrap();
    let record = Record::seal(RecordKind::Batch, 1, 0, 1, 1, Vec::new());
    store.append(&Write { records: vec![record], ..Write::default() }).unwrap();
    for ending in ["", "-wal"] {
        let beside = |path: &Path| format!("{}{ending}", path.display());
        fs::copy(beside(&closed), beside(&killed)).unwrap();
    }
    drop(store);
    let remounted = Command::new("mount").args(["-o", "remount,ro"]).arg(&folder).status().unwrap();
    assert!(remounted.success());
    let mut look = SqliteStore::open_read_only(&closed).unwrap();
    assert_eq!((look.identity(), look.turns()), (Ok(Some(identity)), Ok(Some((1, 1)))));
    let error = SqliteStore::open_read_only(&killed).unwrap_err();
    assert!(error.to_string().contains("copy both"), "{error}");
    let error = SqliteStore::open(&closed, Sync::Full).unwrap_err();
    assert!(matches!(error, StoreError::Failed { .. }), "{error}");
    println!("read and refused");
}

#[test]
#[ignore = "run by another, where a small file system is mounted"]
fn on_a_small_disk() {
    let Some(folder) = std::env::var_os(MOUNTED) else { return };
    let mut reference = Reference::new(seed());
    for durability in DURABILITIES {
        for behind in [Behind::Wait, Behind::GiveUp] {
            for sync in [Sync::Full, Sync::Os] {
                fill(Path::new(&folder), durability, behind, sync, &mut reference);
            }
        }
    }
    println!("filled and freed");
}

fn collect() -> (Tell, Arc<Mutex<Vec<Fact>>>) {
    let facts = Arc::new(Mutex::new(Vec::new()));
    let into = facts.clone();
    (Arc::new(move |fact| into.lock().unwrap().push(fact)), facts)
}

/// Fills the disk half-way through a life, and frees it when that was noticed.
fn fill(disk: &Path, durability: Durability, behind: Behind, sync: Sync, reference: &mut Reference) {
    let context = format!("{durability:?}, {behind:?}, {sync:?}");
    let folder = tempfile::tempdir_in(disk).unwrap();
    let (path, ballast) = (folder.path().join("journal"), folder.path().join("ballast"));
    let (tell, facts) = collect();
    let journal = settings(Journal::file(&path), durability, sync).behind(behind);
    let habits = Habits { patience: Duration::from_millis(20), ..Habits::turns(u64::MAX / 2) };
    let (mut filled, mut freed_at) = (false, None);
    let mut between = |driver: &Driver| {
        if driver.turn == 40 && !std::mem::replace(&mut filled, true) {
            // All there is, to the last byte.
            let mut bytes = 1 << 20;
            while bytes > 0 {
                use std::io::Write;
                let mut file = fs::OpenOptions::new().append(true).create(true).open(&ballast).unwrap();
                if file.write_all(&vec![1; bytes]).is_err() {
                    bytes /= 2;
                }
            }
        }
        let (watch, faults) = (driver.handle.journal().unwrap(), driver.handle.counters().faults);
        if driver.turn < 40 {
            // So that it falls behind for no other reason.
            let _ = watch.wait(driver.turn, Instant::now() + crate::life::PATIENCE);
        }
        let is_noticed = match behind {
            Behind::Wait => faults.journal_full > 0,
            Behind::GiveUp => watch.failure().is_some(),
        };
        if freed_at.is_none() && is_noticed {
            fs::remove_file(&ballast).unwrap();
            freed_at = Some(driver.turn);
        }
        freed_at.is_none_or(|turn| driver.turn < turn + 60)
    };
    // A turn that has no room is taken up again.
    let end = live_on(journal, habits, &tell, &mut between);
    let journal = end.report.journal.clone().unwrap();
    let _ = fs::remove_file(&ballast);
    match behind {
        Behind::Wait => {
            assert!(end.report.complete && end.failure.is_none(), "{context}: {end:?}");
            assert!(end.full_counted > 0, "{context}: {end:?}");
            assert_eq!(journal.durable, end.applied, "{context}");
        }
        Behind::GiveUp => {
            assert!(!end.report.complete && end.failure.is_some(), "{context}: {end:?}");
            assert!(durability == Durability::Async || end.error.is_some(), "{context}: {end:?}");
        }
    }
    let mut promise = Promise::new(durability);
    for fact in &*facts.lock().unwrap() {
        promise.hear(fact, reference).unwrap_or_else(|error| panic!("{context}: {error}"));
    }
    let recovery = promise
        .check_file(&path, sync, reference, &mut Random::new(seed()))
        .unwrap_or_else(|error| panic!("{context}: {error}"));
    println!("{context}: full at turn {freed_at:?}, ended at {}, recovered to {}", end.applied, recovery.turn);
}

fn live_on(journal: Journal, habits: Habits, tell: &Tell, between: &mut dyn FnMut(&Driver) -> bool) -> End {
    live(journal, seed(), Habits { stays: true, ..habits }, tell, between).unwrap()
}

/// What is done to the files of a journal that is written.
#[derive(Clone, Copy, Debug)]
enum Harm {
    RemoveJournal,
    RemoveWal,
    ReplaceJournal,
    MoveFolder,
    RemoveFolder,
    /// Does none: another writer would be let in by it, and then one of the two fails.
    RemoveLock,
}

#[test]
#[cfg(unix)]
fn files_that_go_away_are_missed_and_nothing_is_acknowledged_after() {
    use Harm::*;
    let mut reference = Reference::new(seed());
    for durability in DURABILITIES {
        for harm in [RemoveJournal, RemoveWal, ReplaceJournal, MoveFolder, RemoveFolder, RemoveLock] {
            let context = format!("{durability:?}, {harm:?}");
            let folder = quick_folder();
            let home = folder.path().join("home");
            fs::create_dir(&home).unwrap();
            let path = home.join("journal");
            let (tell, facts) = collect();
            let mut before = 0;
            let mut between = |driver: &Driver| {
                if driver.turn == 30 {
                    let watch = driver.handle.journal().unwrap();
                    // So that what was written before has an end.
                    watch.wait(30, Instant::now() + crate::life::PATIENCE).unwrap();
                    before = watch.durable();
                    let other = folder.path().join("other");
                    match harm {
                        RemoveJournal => fs::remove_file(&path).unwrap(),
                        RemoveWal => fs::remove_file(home.join("journal-wal")).unwrap(),
                        ReplaceJournal => {
                            fs::copy(&path, &other).unwrap();
                            fs::rename(&other, &path).unwrap();
                        }
                        MoveFolder => fs::rename(&home, &other).unwrap(),
                        RemoveFolder => fs::remove_dir_all(&home).unwrap(),
                        RemoveLock => fs::remove_file(home.join("journal-lock")).unwrap(),
                    }
                }
                driver.turn < 60
            };
            let journal = settings(Journal::file(&path), durability, Sync::Os);
            let end = live(journal, seed(), Habits::turns(100), &tell, &mut between).unwrap();
            let durable = end.report.journal.as_ref().unwrap().durable;
            let mut promise = Promise::new(durability);
            for fact in &*facts.lock().unwrap() {
                promise.hear(fact, &mut reference).unwrap_or_else(|error| panic!("{context}: {error}"));
            }
            if matches!(harm, RemoveLock) {
                assert!(end.report.complete, "{context}: {end:?}");
            } else {
                assert!(!end.report.complete && end.failure.is_some(), "{context}: {end:?}");
                assert_eq!((durable, promise.acknowledged), (before, before), "{context}: {end:?}");
            }
            let left = if matches!(harm, MoveFolder) { folder.path().join("other/journal") } else { path };
            if matches!(harm, MoveFolder | RemoveLock) {
                promise
                    .check_file(&left, Sync::Os, &mut reference, &mut Random::new(seed()))
                    .unwrap_or_else(|error| panic!("{context}: {error}"));
            }
        }
    }
}

#[test]
#[cfg(unix)]
fn of_two_writers_that_a_removed_lock_lets_in_one_fails() {
    let folder = quick_folder();
    let path = folder.path().join("journal");
    let (tell, facts) = collect();
    let (quiet, _) = collect();
    let mut second = None;
    let mut between = |driver: &Driver| {
        if driver.turn == 30 {
            let watch = driver.handle.journal().unwrap();
            watch.wait(30, Instant::now() + crate::life::PATIENCE).unwrap();
            fs::remove_file(folder.path().join("journal-lock")).unwrap();
            let journal = settings(Journal::file(&path), Durability::BeforePublish, Sync::Os);
            second = Some(live(journal, seed(), Habits::turns(30), &quiet, &mut |_| true));
        }
        driver.turn < 60
    };
    let journal = settings(Journal::file(&path), Durability::BeforePublish, Sync::Os);
    let first = live(journal, seed(), Habits::turns(100), &tell, &mut between);
    let failed = |life: &Result<End, _>| life.as_ref().map_or(true, |end: &End| end.failure.is_some());
    let second = second.expect("it was tried");
    assert!(failed(&first) || failed(&second), "{first:?}, {second:?}");
    let mut reference = Reference::new(seed());
    let mut promise = Promise::new(Durability::BeforePublish);
    // What the one that failed has applied is not what is there.
    let stays = |fact: &&Fact| !matches!(fact, Fact::Applied(state) if state.turn > 30);
    facts.lock().unwrap().iter().filter(stays).try_for_each(|fact| promise.hear(fact, &mut reference)).unwrap();
    promise.check_file(&path, Sync::Os, &mut reference, &mut Random::new(seed())).unwrap();
}

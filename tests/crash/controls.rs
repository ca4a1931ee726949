//! That the other tests would notice: stores that lie, and a host that hears of turns as durable that are not.

use std::sync::{Arc, Mutex};

use mainlane::journal::{Durability, Journal, SqliteStore, Sync};

use crate::book::{Reference, settings};
use crate::facts::{Fact, Promise, Tell};
use crate::kills::{Kind, is_noticed};
use crate::life::{Habits, live, quick_folder};
use crate::random::{Random, seed};
use crate::stores::{Lie, Lying, Telling, Wrapped, sqlite};

/// A life that ends by itself, through a store that lies, and a look at what it leaves.
fn left_by(lie: Option<Lie>) -> Result<(), String> {
    let folder = quick_folder();
    let path = folder.path().join("journal");
    let mut reference = Reference::new(seed());
    let facts = Arc::new(Mutex::new(Vec::new()));
    let tell: Tell = Arc::new({
        let facts = facts.clone();
        move |fact| facts.lock().unwrap().push(fact)
    });
    let store = sqlite(&path, Sync::Full);
    let lying = lie.map(Lying::new);
    let done = lying.as_ref().map(|lying| lying.done.clone());
    let journal = match lying {
        Some(lying) => Journal::store(Wrapped::new(store, lying)),
        None => Journal::store(Wrapped::new(store, Telling(tell.clone()))),
    };
    let journal = settings(journal, Durability::Async, Sync::Full);
    let habits = Habits { one_by_one: true, ..Habits::turns(60) };
    let end = live(journal, seed(), habits, &tell, &mut |_| true).map_err(|error| error.to_string())?;
    assert!(end.report.complete, "nobody knows yet: {end:?}");
    if let (Some(Lie::Swapped | Lie::SwappedAndSealed | Lie::Checkpoint), Some(done)) = (lie, done) {
        assert!(*done.lock().unwrap(), "there was nothing to lie about");
    }
    let mut promise = Promise::new(Durability::Async);
    let facts: Vec<Fact> = std::mem::take(&mut *facts.lock().unwrap());
    facts.iter().try_for_each(|fact| promise.hear(fact, &mut reference))?;
    let random = &mut Random::new(seed());
    if lie == Some(Lie::Hidden) {
        let open = |read_only| {
            let opened =
                if read_only { SqliteStore::open_read_only(&path) } else { SqliteStore::open(&path, Sync::Full) };
            opened.map(|store| Wrapped::new(store, Lying::new(Lie::Hidden))).map_err(|error| error.to_string())
        };
        return promise.check(&open, Sync::Full, &mut reference, random).map(drop);
    }
    promise.check_file(&path, Sync::Full, &mut reference, random).map(drop)
}

fn must_say(noticed: Result<(), String>, what: &[&str]) {
    let said = noticed.expect_err("nobody noticed");
    println!("{said}");
    assert!(what.iter().any(|what| said.contains(what)), "{said}");
}

#[test]
fn the_truth_passes() {
    assert_eq!(left_by(None), Ok(()));
    assert_eq!(is_noticed(Kind::File, Durability::BeforePublish), Ok(()));
}

#[test]
fn a_store_that_acknowledges_before_it_writes_is_noticed() {
    must_say(is_noticed(Kind::Lying(Lie::Early), Durability::BeforeApply), &["was acknowledged"]);
}

#[test]
fn a_store_that_stops_writing_and_does_not_say_so_is_noticed() {
    must_say(is_noticed(Kind::Lying(Lie::Gone), Durability::BeforeApply), &["was acknowledged"]);
    must_say(left_by(Some(Lie::Gone)), &["was acknowledged"]);
}

#[test]
fn a_reader_that_acknowledges_too_early_is_noticed() {
    must_say(is_noticed(Kind::Boasting, Durability::Async), &["was acknowledged"]);
}

#[test]
fn a_record_that_is_lost_is_noticed() {
    must_say(left_by(Some(Lie::Hidden)), &["was acknowledged", "replay"]);
}

#[test]
fn records_that_are_swapped_are_noticed() {
    must_say(left_by(Some(Lie::Swapped)), &["checksum"]);
    // The checksums are right, and the state is not.
    must_say(left_by(Some(Lie::SwappedAndSealed)), &["the state is another", "cannot be applied again"]);
}

#[test]
fn a_checkpoint_of_another_state_is_noticed() {
    must_say(left_by(Some(Lie::Checkpoint)), &["the state is another"]);
}

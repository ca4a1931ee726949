//! Of the file and its names: links, what is no file; and what is promised of a file that others look at.

use super::*;

#[test]
#[cfg(unix)]
fn a_link_to_a_journal_that_is_not_there_yet_is_followed() {
    let place = Place::new();
    let (link, far) = (place.0.path().join("link"), place.0.path().join("far"));
    fs::create_dir(&far).unwrap();
    // From link to link, relative to where each lies.
    std::os::unix::fs::symlink("far/link", &link).unwrap();
    std::os::unix::fs::symlink("../journal", far.join("link")).unwrap();
    let mut store = SqliteStore::open(&link, Sync::Full).unwrap();
    store.begin(&identity()).unwrap();
    store.append(&write([1])).unwrap();
    assert!(matches!(SqliteStore::open(place.path(), Sync::Full), Err(StoreError::Busy { .. })));
    let left = copy(&place);
    assert_eq!(turns(&mut left.open()), [1]);
    // In a circle, or to a folder that is not there.
    for to in ["round", "nowhere/journal"] {
        let round = place.0.path().join("round");
        let _ = fs::remove_file(&round);
        std::os::unix::fs::symlink(to, &round).unwrap();
        let error = SqliteStore::open(&round, Sync::Full).unwrap_err();
        assert!(matches!(error, StoreError::Failed { .. }), "{error}");
    }
}

#[test]
#[cfg(unix)]
fn a_journal_with_two_names_is_not_written() {
    let place = Place::new();
    let mut store = place.begin();
    store.append(&write([1])).unwrap();
    let other = place.0.path().join("other");
    fs::hard_link(place.path(), &other).unwrap();
    // What the first writer appends is beside the first name: by the other one nobody would see it.
    let before = fs::read(place.path()).unwrap();
    let error = SqliteStore::open(&other, Sync::Full).unwrap_err();
    assert!(matches!(error, StoreError::Failed { .. }) && error.to_string().contains("2 names"), "{error}");
    assert_eq!(fs::read(place.path()).unwrap(), before);
    fs::remove_file(other).unwrap();
    store.append(&write([2])).unwrap();
    drop(store);
    assert_eq!(turns(&mut place.open()), [1, 2]);
}

#[test]
#[cfg(unix)]
fn what_keeps_nothing_is_no_journal() {
    let error = SqliteStore::open("/dev/null", Sync::Full).unwrap_err();
    assert!(matches!(error, StoreError::NotAJournal { .. }), "{error}");
    assert!(error.to_string().contains("no file"), "{error}");
    assert!(!Path::new("/dev/null-lock").exists());
}

#[test]
fn what_is_set_aside_is_what_was_written() {
    let place = Place::new();
    let mut store = place.begin();
    let poison = Quarantined { turn: 1, index: 1, kind: "Ping".into(), message: "no".into() };
    store.append(&Write { quarantined: vec![poison.clone()], ..write([1]) }).unwrap();
    assert_eq!(store.quarantined(0), Ok(vec![poison]));
    drop(store);
    for change in ["turn = 2", "event = 0", "kind = 'Pong'", "message = 'yes'", "checksum = x'00'"] {
        let left = copy(&place);
        Connection::open(left.path()).unwrap().execute(&format!("UPDATE quarantined SET {change}"), []).unwrap();
        let error = left.look().quarantined(0);
        assert!(matches!(error, Err(StoreError::Damaged { .. })), "{change}: {error:?}");
    }
}

#[test]
fn what_is_found_is_synced_also_when_it_cannot_be_merged() {
    let place = Place::new();
    let mut store = place.begin();
    store.append(&write([1])).unwrap();
    // Somebody looks, another turn is appended, and the process is killed: the end of it is all that is missed of it.
    let _look = place.look();
    store.append(&write([2])).unwrap();
    store.give_up(StoreError::Busy { path: String::new() });
    drop(store);
    let length = || fs::metadata(place.beside("-wal")).unwrap().len();
    let before = length();
    let mut store = place.open();
    assert_eq!(turns(&mut store), [1, 2]);
    assert!(length() > before, "with an append that is synced all before it is");
    assert_eq!(rows::sync(&store.connection).unwrap().as_deref(), Some("full"));
}

#[test]
fn a_journal_that_cannot_be_merged_is_not_closed_as_if_it_were() {
    let place = Place::new();
    let mut store = place.begin();
    let look = place.look();
    store.append(&write([1])).unwrap();
    let error = store.close().unwrap_err();
    assert!(matches!(error, StoreError::Busy { .. }), "{error}");
    drop(look);
    let store = place.open();
    store.close().unwrap();
    assert!(!place.beside("-wal").exists());
    assert_eq!(turns(&mut place.look()), [1]);
}

#[test]
fn the_longest_payload_has_room_in_a_row() {
    let place = Place::new();
    let store = place.begin();
    // So that it ends before a gigabyte is written.
    store.connection.pragma_update_and_check(None, "max_page_count", 100, |_| Ok(())).unwrap();
    let insert = |length: usize, row: &str| {
        let blob = format!("x'{}'", "00".repeat(16));
        let row = row.replace("hash", &blob).replace("payload", &format!("zeroblob({length})"));
        let error = store.connection.execute(&format!("INSERT INTO {row}"), []).unwrap_err();
        fault("journal", "writing", error)
    };
    let most = i64::MAX;
    for row in [
        format!("records VALUES ({most}, 'batch', {}, {most}, 255, {}, hash, payload)", u32::MAX, u32::MAX),
        format!("checkpoints VALUES ({most}, 255, {}, hash, hash, payload)", u32::MAX),
    ] {
        let error = insert(PAYLOAD_BYTES_MAX, &row);
        assert!(matches!(error, StoreError::Full { .. }), "{row}: {error}");
        let error = insert(1_000_000_000, &row);
        assert!(matches!(error, StoreError::Failed { .. }), "{row}: {error}");
    }
}

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::super::store::RecordKind;
use super::*;

#[path = "place_tests.rs"]
mod place;

/// A folder with a journal in it.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("journal")
    }

    fn beside(&self, ending: &str) -> PathBuf {
        self.0.path().join(format!("journal{ending}"))
    }

    fn open(&self) -> SqliteStore {
        SqliteStore::open(self.path(), Sync::Full).unwrap()
    }

    fn look(&self) -> SqliteStore {
        SqliteStore::open_read_only(self.path()).unwrap()
    }

    /// A journal that was begun and has a first checkpoint.
    fn begin(&self) -> SqliteStore {
        let mut store = self.open();
        store.begin(&identity()).unwrap();
        store
            .append(&Write { checkpoint: Some(Checkpoint::seal(0, 1, b"nothing".to_vec())), ..Write::default() })
            .unwrap();
        store
    }
}

fn identity() -> Identity {
    Identity { schema: "panes".into(), format: FORMAT }
}

fn record(turn: u64) -> Record {
    sized(turn, 20)
}

fn sized(turn: u64, bytes: usize) -> Record {
    Record::seal(RecordKind::Batch, turn, 3, turn, 1, vec![turn as u8; bytes])
}

fn write(turns: impl IntoIterator<Item = u64>) -> Write {
    Write { records: turns.into_iter().map(record).collect(), ..Write::default() }
}

fn read(store: &mut SqliteStore, from: u64) -> Vec<Record> {
    let mut records = Vec::new();
    store
        .records(from, &mut |record| {
            records.push(record);
            true
        })
        .unwrap();
    records
}

fn turns(store: &mut SqliteStore) -> Vec<u64> {
    read(store, 0).iter().map(|record| record.turn).collect()
}

#[test]
fn what_is_written_is_read_also_by_the_next_who_opens_it() {
    let place = Place::new();
    let undo = Record::seal(RecordKind::Undo, 4, 0, 2, 1, vec![7]);
    let poison = Quarantined { turn: 2, index: 1, kind: "Ping".into(), message: "no".into() };
    let checkpoint = Checkpoint::seal(4, 1, b"state".to_vec());
    let mut store = place.open();
    assert_eq!((store.identity(), store.turns(), store.checkpoints()), (Ok(None), Ok(None), Ok(vec![])));
    store.begin(&identity()).unwrap();
    store.append(&write(1..=3)).unwrap();
    let (records, quarantined) = (vec![undo.clone()], vec![poison.clone()]);
    store.append(&Write { records, quarantined, checkpoint: Some(checkpoint.clone()), prune_before: None }).unwrap();
    for mut store in [store, place.look()] {
        assert_eq!(store.identity(), Ok(Some(identity())));
        assert_eq!(store.torn_tail(), None);
        assert_eq!(store.turns(), Ok(Some((1, 4))));
        assert_eq!(read(&mut store, 0), [record(1), record(2), record(3), undo.clone()]);
        assert_eq!(read(&mut store, 4), std::slice::from_ref(&undo));
        assert_eq!(read(&mut store, u64::MAX), []);
        let mut first = None;
        store.records(2, &mut |record| first.replace(record).is_some()).unwrap();
        assert_eq!(first, Some(record(2)));
        let head = CheckpointHead { turn: 4, schema: 1, hash: checkpoint.hash, bytes: 5 };
        assert_eq!(store.checkpoints(), Ok(vec![head]));
        assert_eq!(store.checkpoint(4), Ok(Some(checkpoint.clone())));
        assert_eq!((store.checkpoint(3), store.checkpoint(u64::MAX)), (Ok(None), Ok(None)));
        assert_eq!(store.quarantined(2), Ok(vec![poison.clone()]));
        assert_eq!(store.quarantined(3), Ok(vec![]));
        assert_eq!((store.changes(4), store.changes(5)), (Ok(vec![(4, 2)]), Ok(vec![])));
    }
    let mut store = place.open();
    assert_eq!(turns(&mut store), [1, 2, 3, 4]);
    store.append(&write([5])).unwrap();
}

#[test]
fn there_is_one_writer_and_any_number_who_look() {
    let place = Place::new();
    let mut store = place.begin();
    store.append(&write([1])).unwrap();
    let busy = SqliteStore::open(place.path(), Sync::Full).unwrap_err();
    assert_eq!(busy, StoreError::Busy { path: place.path().canonicalize().unwrap().display().to_string() });
    // By another name too.
    #[cfg(unix)]
    {
        let link = place.0.path().join("link");
        std::os::unix::fs::symlink(place.path(), &link).unwrap();
        assert_eq!(SqliteStore::open(link, Sync::Full).unwrap_err(), busy);
    }
    let (mut early, mut other) = (place.look(), place.look());
    store.append(&write([2])).unwrap();
    assert_eq!((turns(&mut early), turns(&mut other), turns(&mut place.look())), (vec![1], vec![1], vec![1, 2]));
    let refused = early.append(&write([2])).unwrap_err();
    assert!(refused.to_string().contains("opened for reading"), "{refused}");
    drop(store);
    assert_eq!((turns(&mut early), turns(&mut place.open())), (vec![1], vec![1, 2]));
}

#[test]
fn who_looks_changes_nothing() {
    let place = Place::new();
    let mut store = place.begin();
    store.append(&write(1..=5)).unwrap();
    let files = || [place.path(), place.beside("-wal")].map(|path| fs::read(path).ok());
    let before = files();
    assert_eq!(turns(&mut place.look()), [1, 2, 3, 4, 5]);
    assert_eq!(files(), before);
    drop(store);
    let before = files();
    assert_eq!(turns(&mut place.look()), [1, 2, 3, 4, 5]);
    assert_eq!(files()[0], before[0]);
    assert!(SqliteStore::open_read_only(place.0.path().join("none")).is_err());
    assert!(!place.0.path().join("none").exists());
}

#[test]
fn settings_are_as_promised() {
    let place = Place::new();
    let value = |store: &SqliteStore, name: &str| -> String {
        store
            .connection
            .pragma_query_value(None, name, |row| {
                row.get_ref(0).map(|value| match value {
                    rusqlite::types::ValueRef::Integer(number) => number.to_string(),
                    other => other.as_str().unwrap().to_owned(),
                })
            })
            .unwrap()
    };
    for (sync, synchronous) in [(Sync::Full, "2"), (Sync::Os, "1"), (Sync::Full, "2")] {
        let mut store = SqliteStore::open(place.path(), sync).unwrap();
        if store.identity().unwrap().is_none() {
            store.begin(&identity()).unwrap();
        }
        assert_eq!(value(&store, "synchronous"), synchronous);
        assert_eq!(value(&store, "journal_mode"), "wal");
        assert_eq!(value(&store, "wal_autocheckpoint"), "0");
        assert_eq!(rows::sync(&store.connection).unwrap().as_deref(), Some(sync.name()));
    }
}

#[test]
fn a_full_disk_leaves_nothing_behind_and_the_same_works_later() {
    let place = Place::new();
    let mut store = place.begin();
    let pages = |store: &SqliteStore, count: u32| {
        store.connection.pragma_update_and_check(None, "max_page_count", count, |_| Ok(())).unwrap();
    };
    pages(&store, 30);
    let large = |turn| Write { records: vec![sized(turn, 20_000)], ..Write::default() };
    let mut turn = 1;
    while store.append(&large(turn)) == Ok(()) {
        turn += 1;
    }
    assert!((3..30).contains(&turn), "{turn}");
    let full = store.append(&large(turn)).unwrap_err();
    assert!(matches!(full, StoreError::Full { .. }), "{full}");
    assert!(full.to_string().starts_with("there is no space left for the journal: "));
    assert_eq!(store.turns(), Ok(Some((1, turn - 1))));
    // As large as what SQLite keeps in memory before it writes some of it.
    let huge = Write { records: vec![sized(turn, 20_000_000)], ..Write::default() };
    pages(&store, 1000);
    assert!(matches!(store.append(&huge), Err(StoreError::Full { .. })));
    pages(&store, 10_000);
    store.append(&large(turn)).unwrap();
    assert_eq!(store.turns(), Ok(Some((1, turn))));
    // The end of a process: nothing is closed.
    let killed = copy(&place);
    let mut store = killed.open();
    assert_eq!((store.turns(), store.torn_tail()), (Ok(Some((1, turn))), None));
}

/// The files of a journal as they are now, as if the process had ended.
fn copy(place: &Place) -> Place {
    let copy = Place::new();
    for ending in ["", "-wal"] {
        if place.beside(ending).exists() {
            fs::copy(place.beside(ending), copy.beside(ending)).unwrap();
        }
    }
    copy
}

#[test]
fn after_any_other_error_nothing_is_written_not_even_at_the_end() {
    let place = Place::new();
    let mut store = place.begin();
    store.append(&write([1])).unwrap();
    let error = store.append(&write([3])).unwrap_err().to_string();
    assert_eq!(error, "the journal failed while writing: turn 3 does not follow turn 1");
    let files = || ["", "-wal"].map(|ending| fs::read(place.beside(ending)).unwrap());
    let before = files();
    assert!(!before[1].is_empty());
    let refused = store.append(&write([2])).unwrap_err().to_string();
    assert!(refused.contains("nothing is written after an error") && refused.contains("turn 3"), "{refused}");
    assert!(store.begin(&identity()).is_err());
    assert_eq!(turns(&mut store), [1]);
    drop(store);
    assert_eq!(files(), before);
    let mut store = place.open();
    assert_eq!(turns(&mut store), [1]);
    store.append(&write([2])).unwrap();
    drop(store);
    assert!(!place.beside("-wal").exists(), "closing merges what is left");
}

#[test]
#[cfg(unix)]
fn a_file_that_is_taken_away_is_noticed_before_anything_is_acknowledged() {
    for ending in ["", "-wal"] {
        let place = Place::new();
        let mut store = place.begin();
        store.append(&write([1])).unwrap();
        fs::remove_file(place.beside(ending)).unwrap();
        let error = store.append(&write([2])).unwrap_err();
        assert!(matches!(error, StoreError::Failed { .. }), "{error}");
        assert!(store.append(&write([2])).is_err());
        // Another file of that name is not the same.
        let place = Place::new();
        let mut store = place.begin();
        store.append(&write([1])).unwrap();
        let copy = fs::read(place.beside(ending)).unwrap();
        fs::rename(place.beside(ending), place.beside("-old")).unwrap();
        fs::write(place.beside(ending), copy).unwrap();
        let error = store.append(&write([2])).unwrap_err();
        assert!(error.to_string().contains("moved or removed"), "{error}");
    }
}

#[test]
fn other_files_are_refused_and_left_as_they_are() {
    let place = Place::new();
    let path = place.path();
    let refusals = || {
        let before = fs::read(&path).unwrap();
        let refusals =
            [SqliteStore::open(&path, Sync::Full), SqliteStore::open_read_only(&path)].map(Result::unwrap_err);
        assert_eq!(fs::read(&path).unwrap(), before);
        refusals.map(|error| {
            assert!(matches!(error, StoreError::NotAJournal { .. }), "{error}");
            error.to_string()
        })
    };
    fs::write(&path, "what is this? ".repeat(100)).unwrap();
    assert!(refusals().iter().all(|said| said.contains("no SQLite file")));
    fs::remove_file(&path).unwrap();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE songs (name)").unwrap();
    assert!(refusals().iter().all(|said| said.contains("another program")));
    fs::remove_file(&path).unwrap();
    drop(place.begin());
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 2).unwrap();
    assert!(refusals().iter().all(|said| said.contains("its format is 2, and this version of mainlane knows 1")));
}

#[test]
fn a_journal_that_was_not_begun_can_be() {
    let place = Place::new();
    fs::write(place.path(), "").unwrap();
    drop(place.open());
    let mut store = place.open();
    assert_eq!(store.identity(), Ok(None));
    assert!(store.begin(&Identity { format: 2, ..identity() }).is_err());
    let mut store = place.begin_again(store);
    assert_eq!(store.identity(), Ok(Some(identity())));
    assert!(store.begin(&identity()).is_err(), "once");
}

impl Place {
    fn begin_again(&self, store: SqliteStore) -> SqliteStore {
        drop(store);
        self.begin()
    }
}

#[test]
fn what_was_written_to_a_journal_that_is_gone_is_not_removed_in_silence() {
    let place = Place::new();
    let store = place.begin();
    let left = copy(&place);
    drop(store);
    for journal in [None, Some("")] {
        match journal {
            None => fs::remove_file(left.path()).unwrap(),
            Some(text) => fs::write(left.path(), text).unwrap(),
        }
        let before = fs::read(left.beside("-wal")).unwrap();
        let error = SqliteStore::open(left.path(), Sync::Full).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        assert_eq!(fs::read(left.beside("-wal")).unwrap(), before);
    }
}

#[test]
fn a_damaged_page_is_an_error_after_what_can_be_read() {
    let place = Place::new();
    let mut store = place.begin();
    for turn in 1..=100 {
        store.append(&Write { records: vec![sized(turn, 500)], ..Write::default() }).unwrap();
    }
    drop(store);
    let mut bytes = fs::read(place.path()).unwrap();
    let needle = [50_u8; 500];
    let found = bytes.windows(500).position(|window| window == needle).unwrap();
    let page = found / PAGE_BYTES as usize * PAGE_BYTES as usize;
    bytes[page..page + 8].fill(0xEE);
    fs::write(place.path(), bytes).unwrap();
    for mut store in [place.look(), place.open()] {
        let mut read = Vec::new();
        let error = store.records(0, &mut |record| {
            read.push(record.turn);
            true
        });
        assert!(matches!(error, Err(StoreError::Damaged { .. })), "{error:?}");
        assert!(read.len() < 50 && read.iter().copied().eq(1..=read.len() as u64), "{read:?}");
        assert_eq!(store.turns(), Ok(Some((1, 100))));
    }
}

#[test]
fn rows_that_are_not_as_they_are_written_are_damage() {
    let place = Place::new();
    let mut store = place.begin();
    store.append(&write([1])).unwrap();
    drop(store);
    for change in
        ["kind = 'other'", "events = -1", "events = 1 << 32", "reaches = -1", "codec = 256", "checksum = x'00'"]
    {
        let copy = copy(&place);
        Connection::open(copy.path()).unwrap().execute(&format!("UPDATE records SET {change}"), []).unwrap();
        let error = copy.look().records(0, &mut |_| true);
        assert!(matches!(error, Err(StoreError::Damaged { .. })), "{change}: {error:?}");
    }
}

#[test]
fn old_turns_go_bit_by_bit_and_what_is_needed_stays() {
    let place = Place::new();
    let mut store = place.begin();
    for turn in 1..=200 {
        let checkpoint = (turn % 50 == 0).then(|| Checkpoint::seal(turn, 1, vec![1; 3000]));
        let poison = Quarantined { turn, index: 0, kind: String::new(), message: String::new() };
        let records = vec![sized(turn, 20_000)];
        store.append(&Write { records, checkpoint, quarantined: vec![poison], prune_before: None }).unwrap();
    }
    store.append(&Write { prune_before: Some(150), ..Write::default() }).unwrap();
    let checkpoints: Vec<_> = store.checkpoints().unwrap().iter().map(|head| head.turn).collect();
    assert_eq!(checkpoints, [150, 200]);
    assert_eq!(store.quarantined(0).unwrap()[0].turn, 150);
    let (oldest, newest) = store.turns().unwrap().unwrap();
    assert!((40..80).contains(&oldest) && newest == 200, "some at a time: {oldest}");
    for turn in 201..=400 {
        store.append(&Write { records: vec![sized(turn, 20_000)], ..Write::default() }).unwrap();
    }
    assert_eq!(store.turns(), Ok(Some((150, 400))));
    drop(store);
    let grown = fs::metadata(place.path()).unwrap().len();
    assert!(grown < 300 * (20_000 + ROW_BYTES), "what went made room: {grown}");
}

#[test]
fn the_write_ahead_file_is_merged_again_and_again() {
    let place = Place::new();
    let mut store = place.begin();
    for turn in 1..=100 {
        store.append(&Write { records: vec![sized(turn, 300_000)], ..Write::default() }).unwrap();
        assert!(fs::metadata(place.beside("-wal")).unwrap().len() < 3 * MERGE_BYTES);
    }
    assert!(fs::metadata(place.path()).unwrap().len() > 20_000_000);
    // What was long is cut.
    store.append(&Write { records: vec![sized(101, 40_000_000)], ..Write::default() }).unwrap();
    assert!(fs::metadata(place.beside("-wal")).unwrap().len() > 2 * WAL_BYTES_KEPT);
    store.append(&write([102])).unwrap();
    assert!(fs::metadata(place.beside("-wal")).unwrap().len() <= WAL_BYTES_KEPT);
}

#[test]
fn nothing_that_a_file_says_is_run() {
    let place = Place::new();
    drop(place.begin());
    let trigger = "CREATE TRIGGER extra AFTER INSERT ON records BEGIN DELETE FROM checkpoints; END";
    Connection::open(place.path()).unwrap().execute_batch(trigger).unwrap();
    let mut store = place.open();
    store.append(&write([1])).unwrap();
    assert_eq!(store.checkpoints().unwrap().len(), 1);
}

//! Damaged journals: what `check` says of them, and what `salvage` makes of them.

use std::fs;
use std::path::PathBuf;

use rusqlite::Connection;
use tempfile::TempDir;

use super::batch::{Scratch, encode_batch};
use super::check::{CheckFault, CheckReport, check};
use super::record::encode_operation;
use super::salvage::{Lost, SalvageError, SalvageReport, salvage};
use super::sqlite::{FORMAT, SqliteStore, Sync};
use super::store::{Checkpoint, Identity, Quarantined, Record, RecordKind, Store, Write};
use super::testing::{Change, Context, entry};
use crate::event::OperationId;
use crate::origin::Origin;

/// Smaller than those of a new journal, so that few turns stand on each.
const PAGE: usize = 4096;

struct Place(TempDir);

impl Place {
    /// Turns 1 to 100 of three events each, checkpoints of turn 0 and every 25th, an event set aside.
    fn new() -> Self {
        Self::with(&[])
    }

    /// With these turns instead undoing something, back to that turn.
    fn with(undone: &[(u64, u64)]) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.change(&format!("PRAGMA page_size = {PAGE}; PRAGMA journal_mode = WAL"));
        let mut store = SqliteStore::open(place.path(), Sync::Os).unwrap();
        store.begin(&Identity { schema: "sums".into(), format: FORMAT }).unwrap();
        for turn in 0..=100 {
            let undo = undone.iter().find(|(undo, _)| *undo == turn);
            let record = undo.map_or_else(|| batch(turn), |(_, reaches)| self::undo(turn, *reaches));
            let checkpoint = (turn % 25 == 0).then(|| Checkpoint::seal(turn, 1, vec![0, turn as u8]));
            store
                .append(&Write {
                    records: Vec::from_iter((turn > 0).then_some(record)),
                    checkpoint,
                    ..Write::default()
                })
                .unwrap();
        }
        let poison = Quarantined { turn: 60, index: 2, kind: "Change".into(), message: "no".into() };
        store.append(&Write { quarantined: vec![poison], ..Write::default() }).unwrap();
        place
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("journal")
    }

    fn change(&self, sql: &str) {
        Connection::open(self.path()).unwrap().execute_batch(sql).unwrap();
    }

    /// Spoils the header of the page in which these bytes are; there may be something left of them on an earlier page.
    fn spoil(&self, needle: &[u8]) {
        let mut bytes = fs::read(self.path()).unwrap();
        let found = bytes.windows(needle.len()).rposition(|window| window == needle).unwrap();
        let page = found / PAGE * PAGE;
        assert!(page > 0);
        bytes[page..page + 12].fill(0xEE);
        fs::write(self.path(), bytes).unwrap();
    }

    fn check(&self) -> CheckReport {
        check(&mut SqliteStore::open_read_only(self.path()).unwrap())
    }

    /// What is salvaged is whole, and the source is as it was.
    fn salvage(&self) -> (SalvageReport, SqliteStore) {
        let before = fs::read(self.path()).unwrap();
        let to = self.0.path().join("new");
        let report = salvage(self.path(), &to).unwrap();
        assert_eq!(fs::read(self.path()).unwrap(), before);
        let mut names: Vec<_> = fs::read_dir(self.0.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.retain(|name| name.to_string_lossy().starts_with("new"));
        assert_eq!(names, ["new"]);
        let mut store = SqliteStore::open(to, Sync::Full).unwrap();
        let checked = check(&mut store);
        assert_eq!(checked.faults, []);
        assert_eq!((checked.turns, checked.records, checked.events), (report.kept, report.records, report.events));
        assert_eq!(checked.checkpoints, report.checkpoints);
        (report, store)
    }
}

/// Long enough that few share a page, and none is like another.
fn batch(turn: u64) -> Record {
    let note = Change::Note { text: format!("turn {turn} "), bytes: vec![turn as u8; 900] };
    let entries = [note, Change::Add(1), Change::Nothing]
        .map(|event| entry((turn, 1, turn, Origin::built_in("pane", 1), 1, Context::default(), event)));
    let mut payload = Vec::new();
    encode_batch(entries.iter(), &mut payload, &mut Scratch::default()).unwrap();
    Record::seal(RecordKind::Batch, turn, 3, turn, 1, payload)
}

fn undo(turn: u64, reaches: u64) -> Record {
    let mut payload = Vec::new();
    encode_operation(OperationId(turn), &mut payload);
    Record::seal(RecordKind::Undo, turn, 0, reaches, 1, payload)
}

fn records(from: u64, to: u64, why: &str) -> CheckFault {
    CheckFault::Records { from, to, why: why.into() }
}

const SPOILED: &str = "the checksum does not fit: it is not what was written";

#[test]
fn a_whole_journal_has_no_faults_and_is_salvaged_whole() {
    let place = Place::with(&[(40, 30)]);
    let report = place.check();
    let expected = CheckReport {
        identity: Some(Identity { schema: "sums".into(), format: FORMAT }),
        turns: Some((1, 100)),
        records: 100,
        events: 99 * 3,
        checkpoints: vec![0, 25, 50, 75, 100],
        quarantined: 1,
        torn: None,
        faults: vec![],
    };
    assert_eq!(report, expected);
    assert!(report.is_whole());
    let (report, mut store) = place.salvage();
    assert_eq!((report.kept, report.last, report.events), (Some((1, 100)), 100, 99 * 3));
    assert_eq!((report.lost, report.skipped, report.unread), (vec![], vec![], vec![]));
    let (mut kept, mut turns) = (Vec::new(), 0);
    store
        .records(0, &mut |record| {
            turns += 1;
            kept.push(record);
            true
        })
        .unwrap();
    assert_eq!((turns, &kept[39], &kept[98]), (100, &undo(40, 30), &batch(99)));
    assert_eq!(store.quarantined(0).unwrap().len(), 1);
    assert_eq!(store.checkpoint(75).unwrap(), Some(Checkpoint::seal(75, 1, vec![0, 75])));
}

#[test]
fn an_empty_journal_is_whole_and_there_is_nothing_to_salvage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let mut store = SqliteStore::open(&path, Sync::Os).unwrap();
    let report = check(&mut store);
    assert!(report.is_whole() && report.identity.is_none() && report.turns.is_none());
    let to = folder.path().join("new");
    assert!(matches!(salvage(&path, &to), Err(SalvageError::NoIdentity { .. })));
    store.begin(&Identity { schema: "sums".into(), format: FORMAT }).unwrap();
    assert_eq!(salvage(&path, &to), Err(SalvageError::NoCheckpoint { skipped: vec![] }));
    assert!(!to.exists());
    fs::write(&to, "mine").unwrap();
    assert_eq!(salvage(&path, &to), Err(SalvageError::Exists { path: to.clone() }));
    assert_eq!(fs::read(to).unwrap(), b"mine");
}

#[test]
fn a_spoiled_record_costs_what_is_before_the_next_checkpoint() {
    let place = Place::new();
    place.change("UPDATE records SET payload = CAST(x'FF' || substr(payload, 2) AS BLOB) WHERE turn IN (30, 31)");
    assert_eq!(place.check().faults, [records(30, 31, SPOILED)]);
    let (report, _) = place.salvage();
    // Turns 32 to 49 are good, and lead from nowhere to the checkpoint of turn 50, which follows them without a gap.
    assert_eq!((report.kept, report.last, report.events), (Some((32, 100)), 100, 69 * 3));
    assert_eq!(report.checkpoints, [50, 75, 100]);
    let lost =
        [(1, 29, 29 * 3, "records after them are lost, and a newer checkpoint leads further"), (30, 31, 6, SPOILED)];
    let lost = lost.map(|(from, to, events, why)| Lost { from, to, events: Some(events), why: why.into() });
    assert_eq!(report.lost, lost);
    assert_eq!(report.lost[1].to_string(), format!("turns 30 to 31, 6 events: {SPOILED}"));
    assert_eq!(report.skipped, [0, 25].map(|turn| (turn, "it leads less far".to_owned())));
}

#[test]
fn what_follows_a_gap_without_a_checkpoint_is_lost() {
    let place = Place::new();
    place.change("DELETE FROM records WHERE turn = 90; DELETE FROM checkpoints WHERE turn > 80");
    let faults = [records(90, 90, "there is no record"), CheckFault::NoStart { newest: 100, reachable: Some(89) }];
    assert_eq!(place.check().faults, faults);
    let (report, mut store) = place.salvage();
    assert_eq!((report.kept, report.last, report.checkpoints), (Some((1, 89)), 89, vec![0, 25, 50, 75]));
    let lost = [
        Lost { from: 90, to: 90, events: None, why: "there is no record".into() },
        Lost { from: 91, to: 100, events: Some(30), why: "no good checkpoint leads to them".into() },
    ];
    assert_eq!(report.lost, lost);
    assert_eq!(lost[0].to_string(), "turn 90, an unknown number of events: there is no record");
    store.append(&Write { records: vec![batch(90)], ..Write::default() }).unwrap();
}

#[test]
fn the_newest_checkpoint_is_enough_when_all_before_it_is_spoiled() {
    let place = Place::new();
    place.change("UPDATE records SET events = 4; UPDATE checkpoints SET schema = 9 WHERE turn < 100");
    let report = place.check();
    assert_eq!(report.faults[0], records(1, 100, SPOILED));
    assert_eq!(report.faults.len(), 5);
    let (report, _) = place.salvage();
    assert_eq!((report.kept, report.last, report.checkpoints.as_slice()), (None, 100, &[100][..]));
    // The counts are spoiled with the rest, and are all there is.
    assert_eq!(report.lost, [Lost { from: 1, to: 100, events: Some(400), why: SPOILED.into() }]);
    assert_eq!(report.skipped, [0, 25, 50, 75].map(|turn| (turn, SPOILED.to_owned())));
    place.change("UPDATE checkpoints SET schema = 9");
    let faults = place.check().faults;
    assert_eq!(faults.last(), Some(&CheckFault::NoStart { newest: 100, reachable: None }));
    let error = salvage(place.path(), place.0.path().join("other")).unwrap_err();
    assert!(matches!(&error, SalvageError::NoCheckpoint { skipped } if skipped.len() == 5), "{error}");
}

#[test]
fn a_checkpoint_is_of_no_use_to_an_undo_that_reaches_before_it() {
    let place = Place::with(&[(80, 70)]);
    place.change("DELETE FROM records WHERE turn = 60; DELETE FROM checkpoints WHERE turn = 100");
    // The checkpoint of turn 75 leads to turn 79: what turn 80 undoes is older. That of 50 leads to turn 59.
    let faults = [records(60, 60, "there is no record"), CheckFault::NoStart { newest: 100, reachable: Some(79) }];
    assert_eq!(place.check().faults, faults);
    let (report, _) = place.salvage();
    assert_eq!((report.kept, report.last), (Some((61, 79)), 79));
    place.change("DELETE FROM records WHERE turn <= 60; DELETE FROM checkpoints WHERE turn < 75");
    assert_eq!(place.check().faults, [CheckFault::NoStart { newest: 100, reachable: Some(79) }]);
}

#[test]
fn records_that_say_what_cannot_be_are_faults_though_their_checksums_fit() {
    let place = Place::new();
    let Record { payload, .. } = batch(10);
    let wrong = [
        Record::seal(RecordKind::Batch, 10, 2, 10, 1, payload.clone()),
        Record::seal(RecordKind::Batch, 10, 4, 10, 1, payload.clone()),
        Record::seal(RecordKind::Batch, 10, 3, 9, 1, payload.clone()),
        Record::seal(RecordKind::Undo, 10, 0, 9, 1, payload),
        Record::seal(RecordKind::Redo, 10, 1, 9, 1, vec![1]),
        Record::seal(RecordKind::Redo, 10, 0, 11, 1, vec![1]),
    ];
    for record in wrong {
        let connection = Connection::open(place.path()).unwrap();
        let Record { turn, kind, events, reaches, checksum, payload, .. } = record;
        let change =
            "UPDATE records SET kind = ?2, events = ?3, reaches = ?4, checksum = ?5, payload = ?6 WHERE turn = ?1";
        let checksum = checksum.to_be_bytes();
        connection
            .execute(change, rusqlite::params![turn as i64, kind.name(), events, reaches as i64, checksum, payload])
            .unwrap();
        let faults = place.check().faults;
        assert!(matches!(&faults[..], [CheckFault::Records { from: 10, to: 10, .. }]), "{faults:?}");
    }
    let poison = Quarantined { turn: 60, index: 3, kind: "Change".into(), message: "no".into() };
    let mut store = SqliteStore::open(place.path(), Sync::Full).unwrap();
    store.append(&Write { quarantined: vec![poison], ..Write::default() }).unwrap();
    drop(store);
    assert!(place.check().faults.contains(&CheckFault::Quarantined { turn: 60, index: 3 }));
}

#[test]
fn pages_that_cannot_be_read_cost_the_turns_that_are_on_them() {
    let place = Place::new();
    place.spoil(b"turn 40 ");
    let report = place.check();
    let [CheckFault::Records { from, to, why }] = &report.faults[..] else { panic!("{:?}", report.faults) };
    assert!((36..=40).contains(from) && (40..=44).contains(to), "{from} to {to}");
    assert!(why.contains("malformed"), "{why}");
    assert_eq!(report.records, 100 - (to - from + 1));
    let (from, to) = (*from, *to);
    let (report, _) = place.salvage();
    assert_eq!((report.kept, report.checkpoints), (Some((to + 1, 100)), vec![50, 75, 100]));
    assert_eq!(report.lost[1], Lost { from, to, events: None, why: report.lost[1].why.clone() });
}

#[test]
fn the_first_and_the_last_page_of_records_can_be_lost_too() {
    for (needle, kept, reason) in [("turn 1 ", 0, "malformed"), ("turn 100 ", 97, "malformed")] {
        let place = Place::new();
        place.spoil(needle.as_bytes());
        let report = place.check();
        let [CheckFault::Records { from, to, why }] = &report.faults[..] else { panic!("{:?}", report.faults) };
        assert!(why.contains(reason), "{why}");
        assert!(to - from < 5, "{from} to {to}");
        let (report, _) = place.salvage();
        assert!(report.last == 100 && report.checkpoints.contains(&100), "{report:?}");
        assert_eq!(report.kept.is_some(), kept == 0);
    }
}

#[test]
fn checkpoints_are_found_also_when_their_list_cannot_be_read() {
    let place = Place::new();
    place.change("UPDATE checkpoints SET hash = x'00' WHERE turn = 50");
    let report = place.check();
    assert!(matches!(&report.faults[..], [CheckFault::Unreadable { what: "the list of checkpoints", .. }]));
    assert_eq!(report.checkpoints, [0, 25, 75, 100]);
    let (report, _) = place.salvage();
    assert_eq!((report.kept, report.checkpoints), (Some((1, 100)), vec![0, 25, 75, 100]));
    assert_eq!(report.unread.len(), 1);
}

#[test]
fn every_spoiled_page_is_survived() {
    let whole = fs::read(Place::new().path()).unwrap();
    for page in 1..whole.len() / PAGE {
        let place = Place::new();
        let mut bytes = whole.clone();
        bytes[page * PAGE..(page + 1) * PAGE].fill(0xA5);
        fs::write(place.path(), bytes).unwrap();
        let to = place.0.path().join("new");
        match salvage(place.path(), &to) {
            Ok(report) => {
                let checked = check(&mut SqliteStore::open_read_only(to).unwrap());
                assert_eq!(checked.faults, [], "page {page}");
                assert!(report.last >= 75, "page {page}: {report:?}");
            }
            Err(SalvageError::NoIdentity { .. } | SalvageError::NoCheckpoint { .. }) => assert!(!to.exists()),
            Err(error) => panic!("page {page}: {error}"),
        }
    }
}

#[test]
fn a_turn_far_off_that_cannot_be_read_is_not_looked_for_turn_by_turn() {
    let place = Place::new();
    let far = 1_u64 << 60;
    place.change(&format!("UPDATE records SET turn = {far}, kind = 'other' WHERE turn = 100"));
    let faults = place.check().faults;
    let CheckFault::Records { from: 100, to, why } = &faults[0] else { panic!("{faults:?}") };
    assert_eq!((*to, why.contains("is of kind `other`")), (far, true), "{why}");
    let (report, _) = place.salvage();
    assert_eq!((report.kept, report.last), (None, 100));
    // Two of them, with what is good in between.
    let place = Place::new();
    place.change(&format!("UPDATE records SET turn = {far}, kind = 'other' WHERE turn = 100"));
    place.change("UPDATE records SET turn = turn + 100000 WHERE turn > 60");
    place.change("UPDATE records SET kind = 'other' WHERE turn = 100061");
    let faults = place.check().faults;
    let bad = faults.iter().filter_map(|fault| match fault {
        CheckFault::Records { from, to, why } if why.contains("is of kind") => Some((*from, *to)),
        _ => None,
    });
    let bad: Vec<_> = bad.collect();
    assert_eq!(bad, [(61, 100_061), (100_100, far + 100_000)]);
}

#[test]
fn salvage_takes_the_place_of_nothing() {
    let place = Place::new();
    let in_folder = |name: &str| place.0.path().join(name);
    // What it would write to, and what SQLite would take for a part of what is salvaged.
    for name in ["new-part", "new-part-wal", "new-wal", "new-journal"] {
        fs::write(in_folder(name), "mine").unwrap();
        let error = salvage(place.path(), in_folder("new")).unwrap_err();
        assert_eq!(error, SalvageError::Exists { path: in_folder(name) });
        assert_eq!(fs::read(in_folder(name)).unwrap(), b"mine");
        assert!(!in_folder("new").exists());
        fs::remove_file(in_folder(name)).unwrap();
    }
    // Least of all of the journal that is to be saved.
    fs::rename(place.path(), in_folder("new-part")).unwrap();
    let before = fs::read(in_folder("new-part")).unwrap();
    assert!(matches!(salvage(in_folder("new-part"), in_folder("new")), Err(SalvageError::Exists { .. })));
    assert_eq!(fs::read(in_folder("new-part")).unwrap(), before);
}

//! The loss of power, and rot: files as they may lie there afterwards, put together from what was written and synced.
//!
//! A store looks at its own files after every append. Between two looks SQLite writes to the write-ahead file and syncs it,
//! and now and then moves what is in there to the journal, which it syncs too. So at the moment the power goes, the sectors
//! that differ are old, new, or anything, and what was synced before is there. All of these must be opened without a word,
//! with all that was acknowledged.
//!
//! Rot is the opposite: any bit may be another. Then there may be an error, but never another state, and never less than
//! was acknowledged without anybody being told.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use mainlane::journal::store::{Store, StoreError, Write};
use mainlane::journal::{Durability, Journal, Recovery, SqliteStore, Sync};

use crate::book::{Book, Reference, settings};
use crate::facts::{State, Tell};
use crate::life::{Habits, live, quick_folder};
use crate::random::{Random, is_long, seed};
use crate::stores::{Around, Wrapped, sqlite};
use crate::tally::Tally;

const SECTOR: usize = 512;
const WAL_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// The files after an append.
#[derive(Clone, Default)]
struct Image {
    journal: Vec<u8>,
    wal: Vec<u8>,
    /// The newest turn that was acknowledged.
    turn: u64,
}

/// What happened between two images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Records,
    Prune,
    /// The write-ahead file began again.
    Restart,
    /// It was moved into the journal, with what was written last.
    Merge,
    /// The same behind a draft of a checkpoint, of which nothing is written.
    MergeAlone,
}

struct Moment {
    step: Step,
    before: Image,
    after: Image,
}

/// Keeps some moments of each kind.
struct Camera {
    path: PathBuf,
    last: Option<Image>,
    random: Random,
    film: Arc<Mutex<Film>>,
}

#[derive(Default)]
struct Film {
    moments: Vec<Moment>,
    seen: BTreeMap<Step, u64>,
    last: Image,
    /// With [`Sync::Os`]: as it was when it was synced for the last time.
    merged: Image,
}

/// So many moments of a kind are kept.
const KEPT: usize = 4;

impl Camera {
    fn shoot(&self, turn: u64) -> Image {
        let read = |ending: &str| fs::read(format!("{}{ending}", self.path.display())).unwrap_or_default();
        Image { journal: read(""), wal: read("-wal"), turn }
    }
}

impl Around for Camera {
    fn append(&mut self, inner: &mut SqliteStore, write: &Write) -> Result<(), StoreError> {
        let before = self.last.take().unwrap_or_else(|| self.shoot(0));
        inner.append(write)?;
        let after = self.shoot(write.records.last().map_or(before.turn, |record| record.turn));
        if before.journal == after.journal && before.wal == after.wal {
            // Nothing to write: that of a draft of a checkpoint, which comes later.
            self.last = Some(after);
            return Ok(());
        }
        let header = |image: &Image| image.wal.get(..WAL_HEADER).map(<[u8]>::to_vec);
        let step = if before.journal != after.journal {
            if before.wal == after.wal { Step::MergeAlone } else { Step::Merge }
        } else if header(&before) != header(&after) {
            Step::Restart
        } else if write.prune_before.is_some() {
            Step::Prune
        } else {
            Step::Records
        };
        let film = &mut *self.film.lock().unwrap();
        if matches!(step, Step::Merge | Step::MergeAlone) {
            film.merged = after.clone();
        }
        let seen = film.seen.entry(step).or_default();
        *seen += 1;
        let moment = Moment { step, before, after: after.clone() };
        let of_kind: Vec<_> = (0..film.moments.len()).filter(|at| film.moments[*at].step == step).collect();
        if of_kind.len() < KEPT {
            film.moments.push(moment);
        } else if self.random.below(*seen) < KEPT as u64 {
            // Each has the same chance.
            film.moments[of_kind[self.random.below(KEPT as u64) as usize]] = moment;
        }
        film.last = after.clone();
        self.last = Some(after);
        Ok(())
    }
}

/// A life long enough for a merge, in pictures.
fn shoot(sync: Sync, random: &mut Random) -> Film {
    let folder = quick_folder();
    let path = folder.path().join("journal");
    let film = Arc::new(Mutex::new(Film::default()));
    let camera = Camera { path: path.clone(), last: None, random: random.clone(), film: film.clone() };
    let store = Wrapped::new(sqlite(&path, sync), camera);
    let tell: Tell = Arc::new(|_| ());
    let journal = settings(Journal::store(store), Durability::BeforeApply, sync);
    let known = film.clone();
    let mut after = 0;
    let mut between = |_: &crate::book::Driver| {
        let seen = known.lock().unwrap().seen.get(&Step::Merge).copied().unwrap_or(0);
        // Well into the second use of the write-ahead file.
        after += u64::from(seen >= 1);
        after < 60
    };
    let end = live(journal, seed(), Habits::turns(20_000), &tell, &mut between).unwrap();
    // A turn that takes longer than anybody waits for it ends a life too.
    assert!(after == 60, "the life ended after {} turns, before there was enough to see: {:?}", end.applied, end.error);
    std::mem::take(&mut *film.lock().unwrap())
}

/// That of [`Sync::Full`], which two tests look at.
fn film() -> &'static Film {
    static FILM: OnceLock<Film> = OnceLock::new();
    FILM.get_or_init(|| shoot(Sync::Full, &mut Random::of(seed(), 7)))
}

/// Puts files somewhere and recovers.
fn recover(image: &Image) -> Result<(State, Recovery), String> {
    let folder = quick_folder();
    let path = folder.path().join("journal");
    fs::write(&path, &image.journal).unwrap();
    fs::write(folder.path().join("journal-wal"), &image.wal).unwrap();
    let open = || open(&path);
    catch_unwind(AssertUnwindSafe(open)).unwrap_or_else(|_| panic!("a panic"))
}

fn open(path: &Path) -> Result<(State, Recovery), String> {
    let journal = settings(Journal::file(path), Durability::BeforeApply, Sync::Os);
    let (builder, recovery) = journal.recover(Book::default()).map_err(|error| error.to_string())?;
    Ok((builder.state().at(recovery.turn), recovery))
}

/// What becomes of the sectors in which two files differ.
#[derive(Clone, Copy, Debug)]
enum Torn {
    /// The first so many bytes are new, and the file may end there.
    Cut(usize),
    /// All but the sector of this number.
    Without(usize),
    /// None but this one.
    Only(usize),
    /// Each as it falls: new, old, zeros or anything.
    Any(u64),
}

/// `before` with some of `after`; the first `sure` bytes are new.
fn tear(before: &[u8], after: &[u8], sure: usize, torn: Torn) -> Vec<u8> {
    let mut file = before.to_vec();
    file.resize(before.len().max(after.len()), 0);
    let differs =
        |at: usize| before.get(at..(at + SECTOR).min(before.len())) != after.get(at..(at + SECTOR).min(after.len()));
    let sectors: Vec<_> = (0..after.len()).step_by(SECTOR).filter(|at| differs(*at)).collect();
    let put = |file: &mut Vec<u8>, at: usize, end: usize| {
        let end = end.min(after.len());
        file[at..end].copy_from_slice(&after[at..end]);
    };
    // What is in a sector and was synced before stays when the rest of it is written.
    let first = before.iter().zip(after).position(|(old, new)| old != new).unwrap_or(before.len().min(after.len()));
    match torn {
        Torn::Cut(length) => {
            put(&mut file, 0, length);
            if length > before.len() {
                file.truncate(length.max(sure));
            }
        }
        Torn::Without(number) => {
            for (at, sector) in sectors.iter().enumerate() {
                if at != number % sectors.len().max(1) {
                    put(&mut file, *sector, sector + SECTOR);
                }
            }
        }
        Torn::Only(number) => {
            if let Some(sector) = sectors.get(number % sectors.len().max(1)) {
                put(&mut file, *sector, sector + SECTOR);
            }
        }
        Torn::Any(seed) => {
            let mut random = Random::new(seed);
            for sector in sectors {
                let end = (sector + SECTOR).min(after.len());
                match random.below(8) {
                    0 => file[sector.max(first)..end].fill(0),
                    1 => file[sector.max(first)..end].iter_mut().for_each(|byte| *byte = random.next() as u8),
                    2 | 3 => {}
                    _ => put(&mut file, sector, end),
                }
            }
            if random.one_in(3) && after.len() > before.len() {
                file.truncate(before.len() + random.below((after.len() - before.len()) as u64) as usize);
            }
        }
    }
    file.resize(file.len().max(sure), 0);
    put(&mut file, 0, sure);
    file
}

/// Where the first frame of a write-ahead file begins, or the first page of a journal, and how long each is.
fn parts(file: &[u8]) -> (usize, usize) {
    let number = |at: usize| file[at..at + 2].iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
    match file {
        [] => (0, SECTOR),
        // The lower half of a number of four bytes: no page is longer.
        _ if !file.starts_with(b"SQLite format 3") => (WAL_HEADER, FRAME_HEADER + number(10)),
        _ => (0, number(16)),
    }
}

/// Ways to tear a file: at every boundary of a frame, around it and within, and sectors at random.
fn ways(before: &[u8], after: &[u8], count: usize, random: &mut Random) -> Vec<Torn> {
    let first = before.iter().zip(after).position(|(old, new)| old != new).unwrap_or(before.len().min(after.len()));
    // Where the newest frames end, when older ones lie behind them.
    let last = match after.len() > before.len() {
        true => after.len(),
        false => {
            after.len() - before.iter().rev().zip(after.iter().rev()).position(|(old, new)| old != new).unwrap_or(0)
        }
    };
    let mut ways = Vec::new();
    let (begin, part) = parts(after);
    assert!(part >= SECTOR, "{part}");
    let mut boundary = begin + first.saturating_sub(begin) / part * part;
    while boundary <= last {
        let within = FRAME_HEADER + 1 + random.below((part - FRAME_HEADER - 1) as u64) as usize;
        for at in [0, 8, FRAME_HEADER - 1, FRAME_HEADER, within] {
            ways.push(Torn::Cut((boundary + at).clamp(first, last)));
        }
        boundary += part;
    }
    let sectors = (last - first).div_ceil(SECTOR) + 1;
    ways.extend((0..sectors).flat_map(|sector| [Torn::Without(sector), Torn::Only(sector)]));
    ways.extend((0..count).map(|_| Torn::Any(random.next())));
    // As many as there is time for.
    while ways.len() > count {
        ways.swap_remove(random.below(ways.len() as u64) as usize);
    }
    ways
}

#[test]
fn whatever_was_not_synced_when_the_power_went_all_that_was_acknowledged_is_there() {
    let mut random = Random::of(seed(), 3);
    let mut reference = Reference::new(seed());
    let mut tally = Tally::default();
    let film = film();
    let count = if is_long() { 600 } else { 24 };
    for Moment { step, before, after } in &film.moments {
        let is_restart = before.wal.get(..WAL_HEADER) != after.wal.get(..WAL_HEADER);
        let mut torn_files = Vec::new();
        if before.wal != after.wal {
            let ways = ways(&before.wal, &after.wal, count, &mut random);
            torn_files.extend(ways.into_iter().map(|torn| (torn, "write-ahead file")));
            if is_restart {
                torn_files.push((Torn::Cut(0), "old write-ahead file"));
            }
        }
        if before.journal != after.journal {
            let ways = ways(&before.journal, &after.journal, count, &mut random);
            torn_files.extend(ways.into_iter().map(|torn| (torn, "journal")));
        }
        for (torn, what) in torn_files {
            // One at a time: all of them together take gigabytes in a long run.
            let image = match what {
                "write-ahead file" => {
                    // The header is synced before anything that comes after it.
                    let sure = if is_restart { WAL_HEADER } else { 0 };
                    let wal = tear(&before.wal, &after.wal, sure, torn);
                    Image { journal: before.journal.clone(), wal, turn: 0 }
                }
                "journal" => {
                    let journal = tear(&before.journal, &after.journal, 0, torn);
                    Image { journal, wal: after.wal.clone(), turn: 0 }
                }
                _ => before.clone(),
            };
            let context = format!("seed {}, turn {}, {step:?}, {what}, {torn:?}", seed(), after.turn);
            tally.add("images");
            let (state, recovery) = match recover(&image) {
                Ok(recovered) => recovered,
                // A sector may end within the header of a frame; with the other half of another one it may look as if a
                // transaction ended there, and more than one had been lost. That is too careful, and rare.
                Err(error) if error.contains("were durable and cannot be read") && !matches!(torn, Torn::Cut(_)) => {
                    tally.add("refused, though nothing was lost");
                    continue;
                }
                Err(error) => panic!("{context}: {error}"),
            };
            // Of a merge, all was synced before it began.
            let acknowledged = if what == "journal" { after.turn } else { before.turn };
            assert!((acknowledged..=after.turn).contains(&state.turn), "{context}: {state:?}");
            assert_eq!(state.events, reference.at(state.turn), "{context}");
            tally.add(format!("{step:?}, {what}"));
            tally.add_if(state.turn == after.turn && after.turn > before.turn, "with what was not acknowledged");
            crate::facts::tally(&recovery, &mut tally);
        }
    }
    println!("{tally}");
    assert!(50 * tally.of("refused, though nothing was lost") < tally.of("images"), "seed {}: {tally}", seed());
    tally.must_have(&[
        "Records, write-ahead file",
        "Prune, write-ahead file",
        "Restart, write-ahead file",
        "Merge, write-ahead file",
        "Merge, journal",
        "with what was not acknowledged",
        "recovery: a torn tail was cut off",
    ]);
}

#[test]
fn without_syncs_the_newest_may_go_and_the_rest_is_whole() {
    let mut random = Random::of(seed(), 4);
    let mut reference = Reference::new(seed());
    let mut tally = Tally::default();
    let film = shoot(Sync::Os, &mut random);
    // Since the merge nothing was synced but the header of the write-ahead file.
    let (before, after) = (&film.merged, &film.last);
    assert!(before.turn > 0 && after.turn > before.turn);
    for torn in ways(&before.wal, &after.wal, if is_long() { 2000 } else { 60 }, &mut random) {
        let wal = tear(&before.wal, &after.wal, WAL_HEADER, torn);
        let context = format!("seed {}, {torn:?}", seed());
        let (state, _) = recover(&Image { journal: after.journal.clone(), wal, turn: 0 })
            .unwrap_or_else(|error| panic!("{context}: {error}"));
        assert!((before.turn..=after.turn).contains(&state.turn), "{context}: {state:?}");
        assert_eq!(state.events, reference.at(state.turn), "{context}");
        tally.add_if(state.turn < after.turn, "the newest were gone");
        tally.add_if(state.turn > before.turn, "some of the newest were there");
    }
    println!("{tally}");
    tally.must_have(&["the newest were gone", "some of the newest were there"]);
}

#[test]
fn a_new_journal_that_was_not_synced_can_be_opened() {
    let mut random = Random::of(seed(), 5);
    let folder = quick_folder();
    let path = folder.path().join("journal");
    let store = sqlite(&path, Sync::Os);
    let film = Arc::new(Mutex::new(Film::default()));
    let camera = Camera { path: path.clone(), last: None, random: random.clone(), film: film.clone() };
    let tell: Tell = Arc::new(|_| ());
    let journal = settings(Journal::store(Wrapped::new(store, camera)), Durability::BeforeApply, Sync::Os);
    live(journal, seed(), Habits::turns(12), &tell, &mut |_| true).unwrap();
    let after = film.lock().unwrap().last.clone();
    assert_eq!(after.turn, 12);
    assert_eq!(film.lock().unwrap().merged.turn, 0, "nothing was merged since it was begun");
    let mut reference = Reference::new(seed());
    for torn in ways(&[], &after.wal, if is_long() { 2000 } else { 60 }, &mut random) {
        let wal = tear(&[], &after.wal, WAL_HEADER, torn);
        let context = format!("seed {}, {torn:?}", seed());
        let (state, _) = recover(&Image { journal: after.journal.clone(), wal, turn: 0 })
            .unwrap_or_else(|error| panic!("{context}: {error}"));
        assert_eq!(state.events, reference.at(state.turn), "{context}");
    }
}

/// What a bit that is another does.
fn rot(image: &Image, place: usize, bit: u8, reference: &mut Reference, tally: &mut Tally) -> Result<(), String> {
    let mut image = image.clone();
    let length = image.journal.len();
    let (name, file, at) = match place < length {
        true => ("journal", &mut image.journal, place),
        false => ("write-ahead file", &mut image.wal, place - length),
    };
    file[at] ^= 1 << bit;
    let turn = image.turn;
    match recover(&image) {
        Err(error) => {
            if error.is_empty() {
                return Err("an error without a word".into());
            }
            tally.add(format!("{name}: refused"));
        }
        Ok((state, _)) if state.events != reference.at(state.turn) => {
            return Err(format!("{name}, byte {at}, bit {bit}: another state after turn {}", state.turn));
        }
        Ok((state, _)) if state.turn >= turn => tally.add(format!("{name}: all is there")),
        Ok((_, recovery)) if recovery.torn_tail.is_some() => tally.add(format!("{name}: less is there, and told")),
        Ok((state, _)) => {
            return Err(format!("{name}, byte {at}, bit {bit}: turn {} of {turn}, and nobody is told", state.turn));
        }
    }
    Ok(())
}

/// With everything in the journal itself.
fn merge(image: &Image) -> Image {
    let folder = quick_folder();
    let path = folder.path().join("journal");
    fs::write(&path, &image.journal).unwrap();
    fs::write(folder.path().join("journal-wal"), &image.wal).unwrap();
    SqliteStore::open(&path, Sync::Full).unwrap().close().unwrap();
    Image { journal: fs::read(&path).unwrap(), wal: Vec::new(), turn: image.turn }
}

#[test]
fn a_bit_that_is_another_is_never_another_state() {
    let mut random = Random::of(seed(), 6);
    let mut reference = Reference::new(seed());
    let left = film().last.clone();
    let merged = merge(&left);
    let mut tally = Tally::default();
    let mut wrong = Vec::new();
    for _ in 0..if is_long() { 20_000 } else { 300 } {
        // Half of them in the journal, when all of it counts: what is in the write-ahead file too is read from there.
        let (image, start, length) = match random.one_in(2) {
            true => (&merged, 0, merged.journal.len()),
            false => (&left, left.journal.len(), left.wal.len()),
        };
        let place = start + random.below(length as u64) as usize;
        let bit = random.below(8) as u8;
        wrong.extend(rot(image, place, bit, &mut reference, &mut tally).err());
    }
    println!("{tally}");
    assert!(wrong.is_empty(), "seed {}: {wrong:#?}", seed());
    tally.must_have(&["journal: refused", "journal: all is there", "write-ahead file: all is there"]);
}

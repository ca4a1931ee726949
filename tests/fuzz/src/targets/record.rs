//! What a journal is read from: payloads (`src/journal/batch.rs`, `src/journal/record.rs`) and write-ahead files
//! (`src/journal/torn.rs`).
//!
//! - Any bytes at all are read or refused, in memory that they pay for; what is read says the same again.
//! - What is written is read as it was, by those who know the events and those who do not; spoiled, it fails its checksum.
//! - What SQLite will leave out of a write-ahead file is what a slow, obviously right twin says it will.

use mainlane::{Class, Effects, Envelope, Event, Facets, Fill, Origin, Reducer};
use serde::{Deserialize, Serialize};

use crate::choices::Choices;
use crate::clock::Stamp;
use crate::event::{LaneId, OperationId, Sequence};
use crate::journal::batch::{Scratch, decode_batch, encode_batch, heads};
use crate::journal::names;
use crate::journal::record::{self, Upgrade};
use crate::journal::store::{Checkpoint, Record, RecordKind};
use crate::journal::torn::{self, Found};
use crate::main_lane::entry::Entry;
use crate::memory;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Context {
    project: Option<u32>,
}

impl Facets for Context {
    fn fill(&mut self, fallback: &Self) {
        self.project.fill(&fallback.project);
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Change {
    Add(i64),
    Note { text: String, numbers: Vec<u32> },
    Nothing,
}

impl Event for Change {
    type Key = ();
    type Facets = Context;

    fn class(&self) -> Class<()> {
        Class::Critical
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Sum {
    sum: i64,
    notes: Vec<String>,
}

impl Reducer for Sum {
    type Event = Change;
    type Effect = ();

    fn apply(&mut self, _: &Envelope<'_, Change>, _: &mut Effects<()>) {}
}

/// What stands for what is known of operations.
type Image = Vec<(u64, bool)>;

const NAMES: [&str; 4] = ["", "pane", "git", "größer"];

/// What one entry takes in memory, and as much again for a vector that grows, for each of its five bytes at least.
const MEMORY_PER_BYTE: usize = 64;

pub(super) fn check(data: &[u8]) {
    // Once, so that later they take no memory, and can always be kept.
    for name in NAMES {
        names::keep(name).expect("there are few");
    }
    let mut choices = Choices::new(data);
    match choices.below(6) {
        0 => any_batch(choices.below(64) as u32, choices.rest()),
        1 => any_checkpoint(choices.rest()),
        2 => any_number(choices.rest()),
        3 => batch(&mut choices),
        4 => checkpoint(&mut choices),
        _ => write_ahead(&mut choices),
    }
}

fn any_batch(events: u32, payload: &[u8]) {
    // Names are kept for good.
    let _ = heads(payload, events).count();
    let (held, read) = memory::held_by(|| decode_batch::<Sum>(payload, events, 1, 1, None));
    assert!(held <= MEMORY_PER_BYTE * (payload.len() + 16), "{held} bytes for {}", payload.len());
    let heads: Vec<_> = heads(payload, events).collect();
    let is_read = heads.iter().all(Result::is_ok);
    match read {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(entries) => {
            assert!(is_read && entries.len() == events as usize && heads.len() == entries.len());
            let mut again = Vec::new();
            encode_batch(entries.iter(), &mut again, &mut Scratch::default()).expect("what was read can be written");
            same(&entries, &decode_batch::<Sum>(&again, events, 1, 1, None).expect("what is written can be read"));
        }
    }
    // An upgrade is given every body, and what it says is said.
    let mut bodies = 0;
    let upgrade = move |version, _: &[u8]| {
        bodies += 1;
        if version == 1 && bodies < 3 { Ok((Context::default(), Change::Nothing)) } else { Err("enough".to_owned()) }
    };
    let read = decode_batch(payload, events, 1, 2, Some(&mut Upgrade::<Sum>::new(upgrade, |_, _| Err(String::new()))));
    assert_eq!(read.is_ok(), is_read && events < 3);
}

fn any_checkpoint(payload: &[u8]) {
    let (held, read) = memory::held_by(|| record::decode_checkpoint::<Image, Sum>(payload, 1, 1, None));
    assert!(held <= MEMORY_PER_BYTE * (payload.len() + 16), "{held} bytes for {}", payload.len());
    if let Ok((operations, state)) = read {
        let mut again = Vec::new();
        record::encode_checkpoint(&operations, &state, &mut again).expect("what was read can be written");
        assert_eq!(record::decode_checkpoint(&again, 1, 1, None), Ok((operations, state)));
    }
}

fn any_number(payload: &[u8]) {
    if let Ok(OperationId(id)) = record::decode_operation(payload) {
        let parts = payload.iter().rev();
        assert_eq!(parts.fold(0, |number: u128, byte| number << 7 | u128::from(byte & 0x7F)), id.into());
        let mut again = Vec::new();
        record::encode_operation(OperationId(id), &mut again);
        assert_eq!(record::decode_operation(&again), Ok(OperationId(id)));
        assert!(again.len() <= payload.len());
    }
    let _ = record::decode::<Vec<(u8, Option<String>)>>(payload);
    if let Ok(text) = std::str::from_utf8(payload) {
        assert!(names::keep(text).is_err() || names::keep(text) == Ok(text));
    }
}

fn same(entries: &[Entry<Change>], others: &[Entry<Change>]) {
    assert_eq!(entries.len(), others.len());
    for (entry, other) in entries.iter().zip(others) {
        let plain = |entry: &Entry<Change>| (entry.stamp, entry.lane, entry.sequence, entry.lane_origin, entry.parts);
        assert_eq!(plain(entry), plain(other));
        assert_eq!((&entry.facets, &entry.event), (&other.facets, &other.event));
    }
}

/// Numbers of all lengths.
fn number(choices: &mut Choices<'_>) -> u64 {
    let shift = choices.below(64);
    u64::from(choices.byte()) << shift
}

fn origin(choices: &mut Choices<'_>) -> Origin {
    let names = [choices.one_of(&NAMES), choices.one_of(&NAMES)];
    let id = number(choices);
    match choices.below(3) {
        0 => Origin::built_in(names[0], id),
        1 => Origin::service(names[0], names[1], id),
        _ => Origin::plug_in(names[0], names[1], id),
    }
}

fn batch(choices: &mut Choices<'_>) {
    let mut entries: Vec<Entry<Change>> = Vec::new();
    while choices.are_left() && entries.len() < 200 {
        let event = match choices.below(3) {
            0 => Change::Nothing,
            1 => Change::Add(number(choices) as i64),
            _ => Change::Note { text: "x".repeat(choices.below(256)), numbers: vec![7; choices.below(4)] },
        };
        // Mostly of a lane that was before.
        let before = entries.last().filter(|_| choices.below(4) > 0);
        let (lane, lane_origin) = match before {
            Some(before) => (before.lane, before.lane_origin),
            None => (LaneId(number(choices) as u32), origin(choices)),
        };
        let facets = Context { project: choices.yes().then_some(3) };
        let (stamp, sequence) = (Stamp(number(choices)), Sequence(number(choices)));
        entries.push(Entry { stamp, lane, sequence, lane_origin, parts: number(choices) as u32, facets, event });
    }
    let (mut payload, events) = (Vec::new(), entries.len() as u32);
    encode_batch(entries.iter(), &mut payload, &mut Scratch::default()).expect("these can be written");
    same(&entries, &decode_batch::<Sum>(&payload, events, 1, 1, None).expect("what is written can be read"));
    for (entry, head) in entries.iter().zip(heads(&payload, events)) {
        let head = head.expect("what is written can be read");
        assert_eq!((head.stamp, head.lane, head.sequence), (entry.stamp, entry.lane, entry.sequence));
        assert_eq!((head.lane_origin, head.parts), (entry.lane_origin, entry.parts));
        assert_eq!(record::decode(head.body), Ok((entry.facets.clone(), entry.event.clone())));
    }
    let mut sealed = Record::seal(RecordKind::Batch, 9, events, 9, 1, payload);
    assert_eq!(sealed.verify(), Ok(()));
    if let Some(byte) = sealed.payload.len().checked_sub(1).map(|last| last.min(events as usize * 3)) {
        sealed.payload[byte] ^= 1;
        assert!(sealed.verify().is_err());
    }
}

fn checkpoint(choices: &mut Choices<'_>) {
    let operations: Image = (0..choices.below(200)).map(|id| (id as u64, choices.yes())).collect();
    let notes = (0..choices.below(4)).map(|_| "note ".repeat(choices.below(9))).collect();
    let state = Sum { sum: number(choices) as i64, notes };
    let mut payload = Vec::new();
    record::encode_checkpoint(&operations, &state, &mut payload).expect("this can be written");
    let (_, bytes) = record::split_checkpoint(&payload).expect("what is written can be read");
    assert_eq!(record::decode(bytes), Ok(state.clone()));
    assert_eq!(record::decode_checkpoint(&payload, 1, 1, None), Ok((operations, state)));
    let mut sealed = Checkpoint::seal(number(choices), 1, payload);
    assert_eq!(sealed.verify(), Ok(()));
    sealed.turn ^= 1 << choices.below(64);
    assert!(sealed.verify().is_err());
}

const PAGE_BYTES: usize = 512;
const FRAME_BYTES: usize = 24 + PAGE_BYTES;

/// A write-ahead file as SQLite writes it, then spoiled here and there.
fn write_ahead(choices: &mut Choices<'_>) {
    if choices.below(4) == 0 {
        let _ = torn::scan(choices.rest()).expect("memory can be read");
        return;
    }
    let is_high_first = choices.yes();
    let salts = [choices.byte(), 0, 0, 0, 0, 0, 0, 7];
    let mut wal =
        [0x377F_0682 + u32::from(is_high_first), 3_007_000, PAGE_BYTES as u32, 0].map(u32::to_be_bytes).concat();
    wal.extend(salts);
    let mut sums = add([0, 0], &wal, is_high_first);
    wal.extend(sums.map(u32::to_be_bytes).concat());
    for _ in 0..choices.below(12) {
        let frame = wal.len();
        let (page, size) = ((1 + choices.below(8) as u32) % 8, choices.below(3) as u32);
        wal.extend([page, size].map(u32::to_be_bytes).concat());
        let is_older = choices.below(16) == 15;
        wal.extend(if is_older { [9; 8] } else { salts });
        sums = add(sums, &wal[frame..frame + 8], is_high_first);
        let content = [choices.byte(); PAGE_BYTES];
        sums = add(sums, &content, is_high_first);
        wal.extend(sums.map(u32::to_be_bytes).concat());
        wal.extend(content);
    }
    for _ in 0..choices.below(3) {
        let place = choices.below(256) << choices.below(6);
        let length = wal.len();
        wal[place % length] ^= choices.byte();
    }
    wal.truncate(wal.len() - choices.below(256) * choices.below(4) % wal.len());
    let expected = twin(&wal);
    match torn::scan(&wal[..]).expect("memory can be read") {
        Found::Whole => assert_eq!(expected, Some((0, false))),
        Found::Tail(tail) => assert_eq!(expected, Some((tail.bytes, tail.is_more_than_one()))),
        Found::NoHeader(bytes, _) => assert_eq!((expected, bytes), (None, wal.len() as u64)),
    }
}

fn word(bytes: &[u8], place: usize) -> u32 {
    u32::from_be_bytes(bytes[4 * place..][..4].try_into().expect("four bytes"))
}

fn add([mut first, mut second]: [u32; 2], bytes: &[u8], is_high_first: bool) -> [u32; 2] {
    for pair in bytes.chunks(8) {
        let word = |place| if is_high_first { word(pair, place) } else { word(pair, place).swap_bytes() };
        first = first.wrapping_add(word(0)).wrapping_add(second);
        second = second.wrapping_add(word(1)).wrapping_add(first);
    }
    [first, second]
}

/// How many bytes are left out, and whether some of them were durable; none when the header is spoiled.
fn twin(wal: &[u8]) -> Option<(u64, bool)> {
    if wal.len() < 32 || wal[..32] == [0; 32] {
        return Some((wal.len() as u64, false));
    }
    let is_high_first = word(wal, 0) == 0x377F_0683;
    let is_header = (is_high_first || word(wal, 0) == 0x377F_0682) && word(wal, 1) == 3_007_000;
    let mut sums = add([0, 0], &wal[..24], is_high_first);
    if !is_header || word(wal, 2) as usize != PAGE_BYTES || sums != [word(wal, 6), word(wal, 7)] {
        return None;
    }
    // Of every frame: whether it is whole, of this use, in the chain of sums, and ends a transaction.
    let mut is_chained = true;
    let frames: Vec<[bool; 4]> = wal[32..]
        .chunks(FRAME_BYTES)
        .map(|frame| {
            let is_whole = frame.len() == FRAME_BYTES;
            let salts = frame.get(8..).unwrap_or_default();
            let mut is_ours = salts.iter().zip(&wal[16..24]).all(|(salt, ours)| salt == ours);
            let is_summed = is_whole && {
                let next = add(add(sums, &frame[..8], is_high_first), &frame[24..], is_high_first);
                let fits = next == [word(frame, 4), word(frame, 5)];
                sums = if fits { next } else { sums };
                fits
            };
            let was_chained = is_chained;
            is_chained &= is_ours && is_summed && word(frame, 0) > 0;
            is_ours |= was_chained && is_summed;
            [is_whole, is_ours, is_chained, is_whole && word(frame, 1) > 0]
        })
        .collect();
    let kept = frames.iter().rposition(|[_, _, is_chained, is_end]| *is_chained && *is_end).map_or(0, |last| last + 1);
    let Some(last) = frames.iter().rposition(|[_, is_ours, ..]| *is_ours).filter(|last| *last >= kept) else {
        return Some((0, false));
    };
    let end = wal.len().min(32 + (last + 1) * FRAME_BYTES);
    let ours = frames[kept..].iter().filter(|[_, is_ours, ..]| *is_ours);
    // Something comes after the first that ends a transaction.
    let was_durable = ours.skip_while(|[.., is_end]| !*is_end).count() > 1;
    Some(((end - 32 - kept * FRAME_BYTES) as u64, was_durable))
}

//! Records and checkpoints to bytes and back: checksums, payloads, versions.
//!
//! The whole format is in `docs/journal.md`. Payloads of batches are in `batch`; a payload of an undo or a redo is the
//! number of the operation; one of a checkpoint is a block with the operations, and then the state.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::event::{Event, OperationId};
use crate::main_lane::reduce::Reducer;

use super::bytes::{self, Bytes};
use super::names::TooManyNames;
use super::store::{Checkpoint, Quarantined, Record, RecordKind};

/// How payloads are encoded: this file's way, around postcard's.
pub const CODEC: u8 = 1;

impl RecordKind {
    /// As checksums know it.
    fn number(self) -> u8 {
        match self {
            RecordKind::Batch => 1,
            RecordKind::Undo => 2,
            RecordKind::Redo => 3,
        }
    }

    /// As people and tools read it.
    pub fn name(self) -> &'static str {
        match self {
            RecordKind::Batch => "batch",
            RecordKind::Undo => "undo",
            RecordKind::Redo => "redo",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [RecordKind::Batch, RecordKind::Undo, RecordKind::Redo].into_iter().find(|kind| kind.name() == name)
    }
}

impl Record {
    /// With its checksum, in today's encoding.
    pub fn seal(kind: RecordKind, turn: u64, events: u32, reaches: u64, schema: u32, payload: Vec<u8>) -> Self {
        let mut record = Self { turn, kind, events, reaches, codec: CODEC, schema, checksum: 0, payload };
        record.checksum = record.sum();
        record
    }

    /// Whether it is what was written, in an encoding that is known here.
    ///
    /// # Errors
    /// When it is not.
    pub fn verify(&self) -> Result<(), CodecError> {
        if self.sum() != self.checksum {
            return Err(CodecError::Checksum);
        }
        known(self.codec)
    }

    /// Fields in the order in which they are declared, the lowest byte of each first, and the payload.
    fn sum(&self) -> u128 {
        let mut sum = Xxh3::new();
        let mut head = [0; 26];
        head[..8].copy_from_slice(&self.turn.to_le_bytes());
        head[8] = self.kind.number();
        head[9..13].copy_from_slice(&self.events.to_le_bytes());
        head[13..21].copy_from_slice(&self.reaches.to_le_bytes());
        head[21] = self.codec;
        head[22..].copy_from_slice(&self.schema.to_le_bytes());
        sum.update(&head);
        sum.update(&self.payload);
        sum.digest128()
    }
}

impl Checkpoint {
    /// With its hash and its checksum, in today's encoding.
    pub fn seal(turn: u64, schema: u32, payload: Vec<u8>) -> Self {
        let hash = xxh3_128(&payload);
        let mut checkpoint = Self { turn, codec: CODEC, schema, hash, checksum: 0, payload };
        checkpoint.checksum = checkpoint.sum();
        checkpoint
    }

    /// Whether it is what was written, in an encoding that is known here.
    ///
    /// # Errors
    /// When it is not.
    pub fn verify(&self) -> Result<(), CodecError> {
        if xxh3_128(&self.payload) != self.hash || self.sum() != self.checksum {
            return Err(CodecError::Checksum);
        }
        known(self.codec)
    }

    /// Fields in the order in which they are declared, the lowest byte of each first. The hash stands for the payload.
    fn sum(&self) -> u128 {
        let mut head = [0; 29];
        head[..8].copy_from_slice(&self.turn.to_le_bytes());
        head[8] = self.codec;
        head[9..13].copy_from_slice(&self.schema.to_le_bytes());
        head[13..].copy_from_slice(&self.hash.to_le_bytes());
        xxh3_128(&head)
    }
}

impl Quarantined {
    /// Turn and place, the lowest byte of each first, the length of the kind in the same way, kind and message.
    pub(crate) fn sum(&self) -> u128 {
        let mut sum = Xxh3::new();
        sum.update(&self.turn.to_le_bytes());
        sum.update(&self.index.to_le_bytes());
        sum.update(&(self.kind.len() as u64).to_le_bytes());
        sum.update(self.kind.as_bytes());
        sum.update(self.message.as_bytes());
        sum.digest128()
    }
}

fn known(codec: u8) -> Result<(), CodecError> {
    if codec == CODEC { Ok(()) } else { Err(CodecError::Codec { found: codec }) }
}

/// The payload of an undo or a redo.
pub(crate) fn encode_operation(id: OperationId, buffer: &mut Vec<u8>) {
    bytes::put_number(id.0, buffer);
}

/// The operation in the payload of an undo or a redo.
///
/// # Errors
/// When it is something else.
pub fn decode_operation(payload: &[u8]) -> Result<OperationId, CodecError> {
    let mut left = Bytes(payload);
    let id = left.number().map_err(|fault| CodecError::Payload { fault })?;
    if !left.0.is_empty() {
        return Err(CodecError::Payload { fault: Fault::Trailing { bytes: left.0.len() } });
    }
    Ok(OperationId(id))
}

/// The payload of a checkpoint: what is known of operations, and the state.
pub(crate) fn encode_checkpoint<O: Serialize, S: Serialize>(
    operations: &O,
    state: &S,
    buffer: &mut Vec<u8>,
) -> Result<(), CodecError> {
    let start = buffer.len();
    let encoded = bytes::put_block(buffer, |buffer| encode(operations, buffer)).and_then(|()| encode(state, buffer));
    encoded.map_err(|fault| {
        buffer.truncate(start);
        CodecError::Payload { fault }
    })
}

/// What [`encode_checkpoint`] wrote in a host whose events and state had version `schema`.
pub(crate) fn decode_checkpoint<O: DeserializeOwned, S: Reducer + DeserializeOwned>(
    payload: &[u8],
    schema: u32,
    host: u32,
    upgrade: Option<&mut Upgrade<S>>,
) -> Result<(O, S), CodecError> {
    let upgrade = older(schema, host, upgrade)?;
    let (operations, state) = split_checkpoint(payload)?;
    let operations = decode_whole(operations).map_err(|fault| CodecError::Payload { fault })?;
    let state = match upgrade {
        None => decode_whole(state).map_err(|fault| CodecError::Payload { fault })?,
        Some(upgrade) => (upgrade.state)(schema, state).map_err(|reason| CodecError::Upgrade {
            entry: None,
            found: schema,
            host,
            reason,
        })?,
    };
    Ok((operations, state))
}

/// The bytes of the operations and of the state in a checkpoint's payload.
///
/// # Errors
/// When it is no such payload.
pub fn split_checkpoint(payload: &[u8]) -> Result<(&[u8], &[u8]), CodecError> {
    let mut left = Bytes(payload);
    let operations = left.block().map_err(|fault| CodecError::Payload { fault })?;
    Ok((operations, left.0))
}

/// What was written by a host with an older version of its events or state, as what they are now.
///
/// Both are given the version and the bytes, to be read with [`decode`] as the types of that version, and say in words when
/// they cannot be.
#[expect(clippy::type_complexity, reason = "two closures that are named by what they are for")]
pub struct Upgrade<S: Reducer> {
    pub(crate) event: Box<dyn FnMut(u32, &[u8]) -> Result<(<S::Event as Event>::Facets, S::Event), String> + Send>,
    pub(crate) state: Box<dyn FnMut(u32, &[u8]) -> Result<S, String> + Send>,
}

impl<S: Reducer> Upgrade<S> {
    /// By two functions. The bytes of an event are those of its facets and itself, as a pair.
    pub fn new(
        event: impl FnMut(u32, &[u8]) -> Result<(<S::Event as Event>::Facets, S::Event), String> + Send + 'static,
        state: impl FnMut(u32, &[u8]) -> Result<S, String> + Send + 'static,
    ) -> Self {
        Self { event: Box::new(event), state: Box::new(state) }
    }
}

impl<S: Reducer> fmt::Debug for Upgrade<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgrade").finish_non_exhaustive()
    }
}

/// Reads all of `bytes` as what it was when it was written; for [`Upgrade`].
///
/// # Errors
/// When it is something else, in words.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    decode_whole(bytes).map_err(|fault| fault.to_string())
}

/// How to read what has version `schema`, when that is not the host's.
pub(crate) fn older<S: Reducer>(
    schema: u32,
    host: u32,
    upgrade: Option<&mut Upgrade<S>>,
) -> Result<Option<&mut Upgrade<S>>, CodecError> {
    match (schema.cmp(&host), upgrade) {
        (std::cmp::Ordering::Equal, _) => Ok(None),
        (std::cmp::Ordering::Less, Some(upgrade)) => Ok(Some(upgrade)),
        (std::cmp::Ordering::Less, None) => Err(CodecError::Older { found: schema, host }),
        (std::cmp::Ordering::Greater, _) => Err(CodecError::Newer { found: schema, host }),
    }
}

/// Writes `value` behind what is in `buffer`.
#[inline]
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T, buffer: &mut Vec<u8>) -> Result<(), Fault> {
    postcard::serialize_with_flavor(value, Behind(buffer)).map_err(|error| Fault::Host { reason: error.to_string() })
}

#[inline]
pub(crate) fn decode_whole<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    let (value, rest) = postcard::take_from_bytes(bytes).map_err(|error| Fault::Host { reason: error.to_string() })?;
    if rest.is_empty() { Ok(value) } else { Err(Fault::Trailing { bytes: rest.len() }) }
}

/// Where postcard writes.
struct Behind<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Behind<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        bytes::put_few(bytes, self.0);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Why bytes are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CodecError {
    /// They are not what was written.
    Checksum,
    /// They are encoded in a way that is not known here.
    Codec {
        /// Which.
        found: u8,
    },
    /// They were written by a newer host.
    Newer {
        /// Its version.
        found: u32,
        /// This host's.
        host: u32,
    },
    /// They were written by an older host, and this one says nothing of how to read that.
    Older {
        /// Its version.
        found: u32,
        /// This host's.
        host: u32,
    },
    /// The host's way to read what an older one wrote failed.
    Upgrade {
        /// Which entry of the record, from 0; none for a state.
        entry: Option<u32>,
        /// The older host's version.
        found: u32,
        /// This host's.
        host: u32,
        /// What it said.
        reason: String,
    },
    /// One entry of a batch.
    Entry {
        /// Which, from 0.
        entry: u32,
        /// What is wrong with it.
        fault: Fault,
    },
    /// A payload as a whole.
    Payload {
        /// What is wrong with it.
        fault: Fault,
    },
}

/// What is wrong with bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// They end too early.
    Ends,
    /// A number is too large.
    Number,
    /// A lane that was not described before.
    Lane {
        /// Its place.
        place: u64,
        /// How many were described.
        known: usize,
    },
    /// An origin of none of the three tiers.
    Tier {
        /// What stands there.
        found: u8,
    },
    /// A text that is none.
    Text,
    /// A name that cannot be kept.
    Name(TooManyNames),
    /// There are more after the last.
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// The host's type could not be written, or read from them.
    Host {
        /// What the encoding said.
        reason: String,
    },
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CodecError::Checksum => f.write_str("the checksum does not fit: it is not what was written"),
            CodecError::Codec { found } => write!(f, "it has encoding {found}; this version of mainlane knows {CODEC}"),
            CodecError::Newer { found, host } => {
                write!(
                    f,
                    "it was written with version {found} of the host's schema, which is newer than version {host}"
                )
            }
            CodecError::Older { found, host } => {
                write!(
                    f,
                    "it was written with version {found} of the host's schema; version {host} needs an upgrade for it"
                )
            }
            CodecError::Upgrade { entry, found, host, reason } => {
                write!(f, "the upgrade from version {found} of the host's schema to {host} failed")?;
                if let Some(entry) = entry {
                    write!(f, " at entry {entry}")?;
                }
                write!(f, ": {reason}")
            }
            CodecError::Entry { entry, fault } => write!(f, "entry {entry}: {fault}"),
            CodecError::Payload { fault } => fault.fmt(f),
        }
    }
}

impl std::error::Error for CodecError {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Ends => f.write_str("it ends too early"),
            Fault::Number => f.write_str("a number is too large"),
            Fault::Lane { place, known } => write!(f, "it names lane {place} of {known} that were described"),
            Fault::Tier { found } => write!(f, "an origin has tier {found}; there are 0 to 2"),
            Fault::Text => f.write_str("a name is not UTF-8"),
            Fault::Name(error) => error.fmt(f),
            Fault::Trailing { bytes } => write!(f, "{bytes} bytes follow where nothing should"),
            Fault::Host { reason } => write!(f, "the host's type does not fit: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::super::testing::{Change, Context, Sum};
    use super::*;

    fn record() -> Record {
        Record::seal(RecordKind::Batch, 0x0102, 3, 0x0102, 7, (0..100).collect())
    }

    /// Every record that differs from `record` in one bit.
    fn spoiled(record: &Record) -> Vec<Record> {
        let mut all = Vec::new();
        let mut spoil = |change: &dyn Fn(&mut Record)| {
            let mut spoiled = record.clone();
            change(&mut spoiled);
            all.push(spoiled);
        };
        for bit in 0..64 {
            spoil(&|record| record.turn ^= 1 << bit);
            spoil(&|record| record.reaches ^= 1 << bit);
            spoil(&|record| record.checksum ^= 1 << bit | 1 << (64 + bit));
        }
        for bit in 0..32 {
            spoil(&|record| record.events ^= 1 << bit);
            spoil(&|record| record.schema ^= 1 << bit);
        }
        spoil(&|record| record.kind = RecordKind::Undo);
        spoil(&|record| record.codec ^= 1);
        spoil(&|record| record.payload.push(0));
        for index in 0..record.payload.len() {
            for bit in 0..8 {
                spoil(&|record| record.payload[index] ^= 1 << bit);
            }
        }
        all
    }

    #[test]
    fn every_change_of_a_record_is_noticed() {
        let record = record();
        assert_eq!(record.verify(), Ok(()));
        for spoiled in spoiled(&record) {
            assert_eq!(spoiled.verify(), Err(CodecError::Checksum), "{spoiled:?}");
        }
    }

    #[test]
    fn every_change_of_a_checkpoint_is_noticed() {
        let checkpoint = Checkpoint::seal(9, 7, (0..100).collect());
        assert_eq!(checkpoint.verify(), Ok(()));
        let noticed = |change: &dyn Fn(&mut Checkpoint)| {
            let mut spoiled = checkpoint.clone();
            change(&mut spoiled);
            assert_eq!(spoiled.verify(), Err(CodecError::Checksum), "{spoiled:?}");
        };
        for bit in 0..128 {
            noticed(&|checkpoint| checkpoint.turn ^= 1 << (bit % 64));
            noticed(&|checkpoint| checkpoint.schema ^= 1 << (bit % 32));
            noticed(&|checkpoint| checkpoint.codec ^= 1 << (bit % 8));
            noticed(&|checkpoint| checkpoint.hash ^= 1 << bit);
            noticed(&|checkpoint| checkpoint.checksum ^= 1 << bit);
        }
        for index in 0..checkpoint.payload.len() {
            for bit in 0..8 {
                noticed(&|checkpoint| checkpoint.payload[index] ^= 1 << bit);
            }
        }
    }

    /// What is on disk must not change its meaning.
    #[test]
    fn checksums_are_what_they_always_were() {
        assert_eq!(record().checksum, 0x6822_21A6_229C_7363_0177_EBB0_CAA0_62F7);
        let checkpoint = Checkpoint::seal(9, 7, (0..100).collect());
        assert_eq!(
            (checkpoint.hash, checkpoint.checksum),
            (0xDA95_EF16_FD95_66F3_29B2_0BA5_F03E_C01E, 0x1EB1_D165_A868_AB5C_870B_2C84_4C5E_5731)
        );
        assert_eq!(xxh3_128(b""), 0x99AA_06D3_0147_98D8_6001_C324_468D_497F);
    }

    #[test]
    fn an_encoding_of_the_future_is_not_guessed_at() {
        let mut record = Record { codec: 2, ..record() };
        record.checksum = record.sum();
        assert_eq!(record.verify(), Err(CodecError::Codec { found: 2 }));
        assert_eq!(record.verify().unwrap_err().to_string(), "it has encoding 2; this version of mainlane knows 1");
    }

    #[test]
    fn kinds_have_names_and_numbers_of_their_own() {
        let all = [(RecordKind::Batch, 1), (RecordKind::Undo, 2), (RecordKind::Redo, 3)];
        for (kind, number) in all {
            assert_eq!((RecordKind::from_name(kind.name()), kind.number()), (Some(kind), number));
        }
        assert_eq!(RecordKind::from_name("other"), None);
    }

    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    struct Image(Vec<(u64, u64)>);

    fn image() -> Image {
        Image((0..60).map(|number| (number, u64::MAX - number)).collect())
    }

    proptest! {
        #[test]
        fn an_operation_is_read_as_it_was_written(id: u64, payload in prop::collection::vec(any::<u8>(), 0..12)) {
            let mut buffer = vec![];
            encode_operation(OperationId(id), &mut buffer);
            prop_assert_eq!(decode_operation(&buffer), Ok(OperationId(id)));
            buffer.push(0);
            prop_assert!(decode_operation(&buffer).is_err());
            let _ = decode_operation(&payload);
        }

        #[test]
        fn a_checkpoint_is_read_as_it_was_written(sum: i64, notes in prop::collection::vec(".{0,9}", 0..9), bytes: [u8; 9], cut: prop::sample::Index) {
            let (operations, state) = (image(), Sum { sum, notes });
            let mut payload = Vec::new();
            encode_checkpoint(&operations, &state, &mut payload).unwrap();
            prop_assert_eq!(decode_checkpoint::<Image, Sum>(&payload, 2, 2, None), Ok((operations, state)));
            let end = payload.len() - cut.index(payload.len());
            prop_assert!(decode_checkpoint::<Image, Sum>(&payload[..end - 1], 2, 2, None).is_err());
            payload.splice(end - 1.., bytes);
            let _ = decode_checkpoint::<Image, Sum>(&payload, 2, 2, None);
        }
    }

    #[test]
    fn an_older_state_is_upgraded_and_its_operations_are_kept() {
        let mut payload = Vec::new();
        encode_checkpoint(&image(), &5_u16, &mut payload).unwrap();
        assert_eq!(split_checkpoint(&payload).unwrap().1, [5]);
        let mut upgrade = Upgrade::<Sum>::new(
            |_, body| decode::<(Context, Change)>(body),
            |version, state| Ok(Sum { sum: decode::<u16>(state)?.into(), notes: vec![version.to_string()] }),
        );
        let mut read = |schema| decode_checkpoint::<Image, Sum>(&payload, schema, 2, Some(&mut upgrade));
        assert_eq!(read(1), Ok((image(), Sum { sum: 5, notes: vec!["1".into()] })));
        let error = read(3).unwrap_err().to_string();
        assert_eq!(error, "it was written with version 3 of the host's schema, which is newer than version 2");
        let error = decode_checkpoint::<Image, Sum>(&payload, 1, 2, None).unwrap_err().to_string();
        assert_eq!(error, "it was written with version 1 of the host's schema; version 2 needs an upgrade for it");
        payload.push(0);
        let error = decode_checkpoint::<Image, Sum>(&payload, 1, 2, Some(&mut upgrade)).unwrap_err().to_string();
        let expected =
            "the upgrade from version 1 of the host's schema to 2 failed: 1 bytes follow where nothing should";
        assert_eq!(error, expected);
    }
}

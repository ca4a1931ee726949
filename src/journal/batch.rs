//! The payload of a batch: its entries, one after the other.
//!
//! An entry is the place of its lane among those described so far, and the lane's description if it is the first of it;
//! the step of its stamp from the entry before; its sequence; its parts; and a block with its facets and the event. Whoever
//! cannot read the blocks steps over them.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock::Stamp;
use crate::event::{Event, LaneId, Sequence};
use crate::main_lane::entry::Entry;
use crate::main_lane::reduce::Reducer;
use crate::origin::Origin;

use super::bytes::{self, Bytes};
use super::names::{self, TooManyNames};
use super::record::{self, CodecError, Fault, Upgrade};

/// The fewest bytes of an entry: one each for its lane, step, sequence, parts, and the length of its block.
const ENTRY_BYTES_MIN: usize = 5;

/// How many lanes are found without a search.
const NEAR: usize = 64;

/// What an encoder needs from call to call, so that it allocates nothing.
pub(crate) struct Scratch {
    /// Lanes described so far, by their places.
    lanes: Vec<(LaneId, Origin)>,
    /// The place of the newest lane with these lowest bits of its number; may be of an earlier batch.
    near: [u32; NEAR],
}

impl Default for Scratch {
    fn default() -> Self {
        Self { lanes: Vec::new(), near: [0; NEAR] }
    }
}

impl Scratch {
    /// The place of a lane, and whether it was not described before.
    #[inline]
    fn place(&mut self, lane: LaneId, origin: Origin) -> (u32, bool) {
        let near = &mut self.near[lane.0 as usize % NEAR];
        if self.lanes.get(*near as usize) == Some(&(lane, origin)) {
            return (*near, false);
        }
        let found = self.lanes.iter().position(|known| *known == (lane, origin));
        *near = found.unwrap_or(self.lanes.len()) as u32;
        if found.is_none() {
            self.lanes.push((lane, origin));
        }
        (*near, found.is_none())
    }
}

/// Writes entries behind what is in `buffer`. After an error `buffer` is as it was.
pub(crate) fn encode_batch<'a, E>(
    entries: impl ExactSizeIterator<Item = &'a Entry<E>>,
    buffer: &mut Vec<u8>,
    scratch: &mut Scratch,
) -> Result<(), CodecError>
where
    E: Event + Serialize,
    E::Facets: Serialize,
{
    let start = buffer.len();
    let mut before = Stamp::UNCLOCKED;
    scratch.lanes.clear();
    for (index, entry) in entries.enumerate() {
        let (place, is_new) = scratch.place(entry.lane, entry.lane_origin);
        bytes::put_number(place.into(), buffer);
        if is_new {
            bytes::put_number(entry.lane.0.into(), buffer);
            if let Err(error) = put_origin(entry.lane_origin, buffer) {
                buffer.truncate(start);
                return Err(CodecError::Entry { entry: index as u32, fault: Fault::Name(error) });
            }
        }
        bytes::put_number(bytes::fold(entry.stamp.0.wrapping_sub(before.0) as i64), buffer);
        before = entry.stamp;
        bytes::put_number(entry.sequence.0, buffer);
        bytes::put_number(entry.parts.into(), buffer);
        let body = bytes::put_block(buffer, |buffer| record::encode(&(&entry.facets, &entry.event), buffer));
        if let Err(fault) = body {
            buffer.truncate(start);
            return Err(CodecError::Entry { entry: index as u32, fault });
        }
    }
    Ok(())
}

fn put_origin(origin: Origin, buffer: &mut Vec<u8>) -> Result<(), TooManyNames> {
    let (tier, names, id) = match origin {
        Origin::BuiltIn { part, id } => (0, [Some(part), None], id),
        Origin::Service { interface, provider, id } => (1, [Some(interface), Some(provider)], id),
        Origin::PlugIn { plugin, schema, id } => (2, [Some(plugin), Some(schema)], id),
    };
    buffer.push(tier);
    for name in names.into_iter().flatten() {
        bytes::put_text(names::check(name)?, buffer);
    }
    bytes::put_number(id, buffer);
    Ok(())
}

fn take_origin(left: &mut Bytes<'_>) -> Result<Origin, Fault> {
    let tier = left.byte()?;
    let mut name = || names::keep(left.text()?).map_err(Fault::Name);
    Ok(match tier {
        0 => Origin::BuiltIn { part: name()?, id: left.number()? },
        1 => Origin::Service { interface: name()?, provider: name()?, id: left.number()? },
        2 => Origin::PlugIn { plugin: name()?, schema: name()?, id: left.number()? },
        found => return Err(Fault::Tier { found }),
    })
}

/// All that can be said of an entry of a batch by one who does not know the host's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// The lane it came through.
    pub lane: LaneId,
    /// The lane's origin; the event may name another for itself.
    pub lane_origin: Origin,
    /// Its causal position.
    pub stamp: Stamp,
    /// Its number in its lane.
    pub sequence: Sequence,
    /// How many pushes it stands for.
    pub parts: u32,
    /// Its facets and the event, as the host wrote them.
    pub body: &'a [u8],
}

/// The entries of a batch, without what the host wrote. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Heads<'a> {
    left: Bytes<'a>,
    lanes: Vec<(LaneId, Origin)>,
    before: Stamp,
    next: u32,
    events: u32,
    ended: bool,
}

/// Reads the payload of a batch of `events` events.
pub fn heads(payload: &[u8], events: u32) -> Heads<'_> {
    Heads { left: Bytes(payload), lanes: Vec::new(), before: Stamp::UNCLOCKED, next: 0, events, ended: false }
}

impl<'a> Heads<'a> {
    #[inline]
    fn read(&mut self) -> Result<Head<'a>, Fault> {
        let left = &mut self.left;
        let (place, known) = (left.number()?, self.lanes.len());
        if place == known as u64 {
            let lane = LaneId(left.small_number()?);
            self.lanes.push((lane, take_origin(left)?));
        }
        let described = usize::try_from(place).ok().and_then(|place| self.lanes.get(place));
        let (lane, lane_origin) = *described.ok_or(Fault::Lane { place, known })?;
        let stamp = Stamp(self.before.0.wrapping_add(bytes::unfold(left.number()?) as u64));
        self.before = stamp;
        let sequence = Sequence(left.number()?);
        let parts = left.small_number()?;
        Ok(Head { lane, lane_origin, stamp, sequence, parts, body: left.block()? })
    }
}

impl<'a> Iterator for Heads<'a> {
    type Item = Result<Head<'a>, CodecError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        if self.next == self.events {
            self.ended = true;
            let bytes = self.left.0.len();
            return (bytes > 0).then_some(Err(CodecError::Payload { fault: Fault::Trailing { bytes } }));
        }
        let entry = self.next;
        self.next += 1;
        let read = self.read();
        self.ended = read.is_err();
        Some(read.map_err(|fault| CodecError::Entry { entry, fault }))
    }
}

/// What [`encode_batch`] wrote in a host whose events and state had version `schema`; `host` is the version of this one.
pub(crate) fn decode_batch<S>(
    payload: &[u8],
    events: u32,
    schema: u32,
    host: u32,
    upgrade: Option<&mut Upgrade<S>>,
) -> Result<Vec<Entry<S::Event>>, CodecError>
where
    S: Reducer,
    S::Event: DeserializeOwned,
    <S::Event as Event>::Facets: DeserializeOwned,
{
    let mut upgrade = record::older(schema, host, upgrade)?;
    // No more than there is room for, whatever the row says.
    let mut entries = Vec::with_capacity((events as usize).min(payload.len() / ENTRY_BYTES_MIN));
    for head in heads(payload, events) {
        let Head { lane, lane_origin, stamp, sequence, parts, body } = head?;
        let entry = entries.len() as u32;
        let (facets, event) = match &mut upgrade {
            None => record::decode_whole(body).map_err(|fault| CodecError::Entry { entry, fault })?,
            Some(upgrade) => (upgrade.event)(schema, body).map_err(|reason| CodecError::Upgrade {
                entry: Some(entry),
                found: schema,
                host,
                reason,
            })?,
        };
        entries.push(Entry { stamp, lane, sequence, lane_origin, parts, facets, event });
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use crate::event::Class;

    use super::super::testing::{Change, Context, Plain, Sum, any_entries, entry, plain};
    use super::*;

    fn encoded(entries: &[Entry<Change>]) -> Vec<u8> {
        let mut buffer = Vec::new();
        encode_batch(entries.iter(), &mut buffer, &mut Scratch::default()).unwrap();
        buffer
    }

    fn decoded(payload: &[u8], events: u32) -> Result<Vec<Plain>, CodecError> {
        Ok(decode_batch::<Sum>(payload, events, 3, 3, None)?.iter().map(plain).collect())
    }

    fn add(lane: u32, number: i64) -> Entry<Change> {
        entry((1, lane, 0, Origin::built_in("pane", lane.into()), 1, Context::default(), Change::Add(number)))
    }

    proptest! {
        #[test]
        fn entries_are_read_as_they_were_written(first in any_entries(), second in any_entries()) {
            let (mut buffer, mut scratch) = (vec![7], Scratch::default());
            for plains in [first, second] {
                let entries: Vec<_> = plains.iter().cloned().map(entry).collect();
                buffer.truncate(1);
                // What a scratch is left with by one batch is nothing to the next.
                encode_batch(entries.iter(), &mut buffer, &mut scratch).unwrap();
                prop_assert_eq!(&buffer[1..], encoded(&entries));
                prop_assert_eq!(decoded(&buffer[1..], entries.len() as u32), Ok(plains.clone()));
                let heads: Vec<_> = heads(&buffer[1..], entries.len() as u32).map(Result::unwrap).collect();
                prop_assert_eq!(heads.len(), plains.len());
                for (head, (stamp, lane, sequence, origin, parts, facets, event)) in heads.into_iter().zip(plains) {
                    prop_assert_eq!((head.stamp.0, head.lane.0, head.sequence.0), (stamp, lane, sequence));
                    prop_assert_eq!((head.lane_origin, head.parts), (origin, parts));
                    prop_assert_eq!(record::decode(head.body), Ok((facets, event)));
                }
            }
        }

        #[test]
        fn whatever_is_changed_is_read_or_refused(
            plains in any_entries(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            cut: prop::sample::Index,
            events in prop_oneof![0..50_u32, any::<u32>()],
        ) {
            let entries: Vec<_> = plains.into_iter().map(entry).collect();
            let mut payload = encoded(&entries);
            payload.push(0);
            for (place, byte) in changes {
                let place = place.index(payload.len());
                payload[place] = byte;
            }
            payload.truncate(cut.index(payload.len()) + 1);
            for events in [events, entries.len() as u32] {
                let heads: Vec<_> = heads(&payload, events).collect();
                prop_assert!(heads.iter().rev().skip(1).all(Result::is_ok), "nothing follows an error");
                if let Ok(plains) = decoded(&payload, events) {
                    prop_assert_eq!(plains.len(), events as usize);
                    prop_assert_eq!(heads.len(), plains.len());
                }
            }
        }
    }

    #[test]
    fn an_entry_of_a_lane_alone_costs_five_bytes_and_its_body() {
        let entries: Vec<_> = (0..100).map(|_| add(1, 5)).collect();
        let description = [&[1, 0, 4][..], b"pane", &[1]].concat().len();
        // No facet, the variant, the number.
        assert_eq!(encoded(&entries).len(), description + 100 * (ENTRY_BYTES_MIN + 3));
    }

    #[test]
    fn every_lane_is_described_once_also_when_there_are_many() {
        let entries: Vec<_> = (0..3).flat_map(|_| 0..1000).map(|lane| add(lane, 1)).collect();
        let mut scratch = Scratch::default();
        encode_batch(entries.iter(), &mut Vec::new(), &mut scratch).unwrap();
        assert_eq!(scratch.lanes.len(), 1000);
        // A lane has one origin; were there two, none would be taken for the other.
        let pair = [add(1, 1), Entry { lane_origin: Origin::built_in("pane", 9), ..add(1, 1) }];
        let plains: Vec<_> = pair.iter().map(plain).collect();
        assert_eq!(decoded(&encoded(&pair), 2), Ok(plains));
    }

    #[test]
    fn nothing_is_allocated_for_the_second_batch() {
        let entries: Vec<_> = (0..1000).map(|lane| add(lane, 1)).collect();
        let (mut buffer, mut scratch) = (Vec::new(), Scratch::default());
        encode_batch(entries.iter(), &mut buffer, &mut scratch).unwrap();
        let before = (buffer.capacity(), buffer.as_ptr(), scratch.lanes.capacity());
        buffer.clear();
        encode_batch(entries.iter(), &mut buffer, &mut scratch).unwrap();
        assert_eq!(before, (buffer.capacity(), buffer.as_ptr(), scratch.lanes.capacity()));
    }

    #[test]
    fn a_cut_or_too_long_payload_is_an_error_at_its_entry() {
        let entries = [add(0, 1), add(0, 2), add(1, 3)];
        let payload = encoded(&entries);
        let firsts = [encoded(&entries[..1]).len(), encoded(&entries[..2]).len()];
        for cut in 0..payload.len() {
            let entry = firsts.iter().filter(|end| cut >= **end).count() as u32;
            let error = decoded(&payload[..cut], 3).unwrap_err();
            assert_eq!(error, CodecError::Entry { entry, fault: Fault::Ends }, "cut at {cut}");
            assert_eq!(error.to_string(), format!("entry {entry}: it ends too early"));
        }
        let rest = payload.len() - firsts[1];
        let error = decoded(&payload, 2).unwrap_err();
        assert_eq!(error, CodecError::Payload { fault: Fault::Trailing { bytes: rest } });
        // A body of another type, or longer than its event.
        let mut longer = payload.clone();
        *longer.last_mut().unwrap() = 0xFF;
        let error = decoded(&longer, 3).unwrap_err().to_string();
        assert!(error.starts_with("entry 2: the host's type does not fit: "), "{error}");
        let body = payload.len() - 3;
        longer = payload;
        (longer[body - 1], longer[body + 1]) = (3, 2);
        let error = decoded(&longer, 3).unwrap_err();
        assert_eq!(error, CodecError::Entry { entry: 2, fault: Fault::Trailing { bytes: 1 } });
    }

    #[test]
    fn lanes_and_tiers_that_are_none_are_refused() {
        let error = |payload: &[u8]| heads(payload, 1).next().unwrap().unwrap_err();
        let fault = |fault| CodecError::Entry { entry: 0, fault };
        assert_eq!(error(&[1, 0, 0, 1, 0]), fault(Fault::Lane { place: 1, known: 0 }));
        assert_eq!(error(&[0, 0, 3, 0, 0]), fault(Fault::Tier { found: 3 }));
        assert_eq!(error(&[0, 0, 0, 1, 0xFF]), fault(Fault::Text));
        let long = [&[0, 0, 0, 0xFF, 0x7F][..], &[b'x'; 0x3FFF]].concat();
        assert_eq!(error(&long), fault(Fault::Name(names::TooManyNames)));
        assert_eq!(error(&[0, 0x80, 0x80, 0x80, 0x80, 0x10]), fault(Fault::Number));
    }

    /// What a change was in version 1.
    #[derive(Serialize, Deserialize)]
    struct OldChange(i32);

    impl Event for OldChange {
        type Key = ();
        type Facets = ();

        fn class(&self) -> Class<()> {
            Class::Critical
        }
    }

    fn old(numbers: [i32; 2]) -> Vec<u8> {
        let entries = numbers.map(|number| {
            let Entry { stamp, lane, sequence, lane_origin, parts, .. } = add(0, 0);
            Entry { stamp, lane, sequence, lane_origin, parts, facets: (), event: OldChange(number) }
        });
        let mut buffer = Vec::new();
        encode_batch(entries.iter(), &mut buffer, &mut Scratch::default()).unwrap();
        buffer
    }

    #[test]
    fn an_older_host_is_understood_by_its_upgrade_and_a_newer_one_is_not() {
        let mut upgrade = Upgrade::<Sum>::new(
            |version, body| {
                assert_eq!(version, 1);
                let OldChange(number) = record::decode(body)?;
                if number == 9 { Err("nine".into()) } else { Ok((Context::default(), Change::Add(number.into()))) }
            },
            |_, _| Err("no state is asked for".into()),
        );
        let entries = decode_batch(&old([7, 8]), 2, 1, 2, Some(&mut upgrade)).unwrap();
        assert_eq!(entries.iter().map(|entry| &entry.event).collect::<Vec<_>>(), [&Change::Add(7), &Change::Add(8)]);
        fn error(payload: &[u8], schema: u32, upgrade: Option<&mut Upgrade<Sum>>) -> CodecError {
            decode_batch::<Sum>(payload, 2, schema, 2, upgrade).err().unwrap()
        }
        assert_eq!(error(&old([7, 8]), 1, None), CodecError::Older { found: 1, host: 2 });
        assert_eq!(error(&old([7, 8]), 3, Some(&mut upgrade)), CodecError::Newer { found: 3, host: 2 });
        let said = error(&old([7, 9]), 1, Some(&mut upgrade)).to_string();
        assert_eq!(said, "the upgrade from version 1 of the host's schema to 2 failed at entry 1: nine");
    }

    #[test]
    fn an_event_that_cannot_be_written_leaves_nothing_behind() {
        struct Stubborn;
        impl Event for Stubborn {
            type Key = ();
            type Facets = ();
            fn class(&self) -> Class<()> {
                Class::Critical
            }
        }
        impl Serialize for Stubborn {
            fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom("no"))
            }
        }
        let plain = add(0, 0);
        let Entry { stamp, lane, sequence, lane_origin, parts, .. } = plain;
        let entry = Entry { stamp, lane, sequence, lane_origin, parts, facets: (), event: Stubborn };
        let mut buffer = vec![1, 2, 3];
        let error = encode_batch([&entry].into_iter(), &mut buffer, &mut Scratch::default()).unwrap_err();
        assert!(matches!(error, CodecError::Entry { entry: 0, fault: Fault::Host { .. } }), "{error}");
        assert_eq!(buffer, [1, 2, 3]);
    }
}

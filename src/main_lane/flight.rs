//! The flight recorder: what the last events were, whatever happens next.
//!
//! A ring of fixed size that the main lane alone writes and reads. What it costs must not show beside events that are applied
//! in a few nanoseconds, so nothing is written per event that can be written per run: of a run of one lane's events it is noted where the last
//! stood, and the kinds of the others one by one if they are not all the same. The rest follows from it, for sequences rise by
//! one within a run and stamps by two. Of a run longer than the ring only the end is looked at.
//!
//! A run is noted as soon as it is applied, while its events are in their slots; when the reducer panics within one, the part
//! before the panic and the event itself are noted then. Whoever reads cannot tell: nobody reads while the reducer runs.
//!
//! What most events do not have (an operation, an origin of their own, a fate other than to be applied) lies beside the ring,
//! under the number of its event, and is written only where there is something.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use crate::clock::Stamp;
use crate::event::{Envelope, Event, LaneId, Operation, Phase, Sequence};
use crate::lane::Item;
use crate::lane::runs::STEP;
use crate::main_lane::lane_end::LaneEnd;
use crate::origin::Origin;
use crate::sync::prefetch;

/// How many events a flight recorder keeps unless it is told otherwise.
pub const FLIGHT_RECORDER: usize = 128;

/// How many events a flight recorder can keep.
pub const FLIGHT_RECORDER_MAX: usize = 1 << 16;

/// One of the last events, as the flight recorder kept it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlightEntry {
    /// The turn that applied it, or was about to.
    pub turn: u64,
    /// The lane it came through.
    pub lane: LaneId,
    /// The lane's name.
    pub lane_name: Arc<str>,
    /// Its causal position.
    pub stamp: Stamp,
    /// Its number in its lane.
    pub sequence: Sequence,
    /// Its kind.
    pub kind: &'static str,
    /// Who it is about.
    pub origin: Origin,
    /// The operation it is a part of.
    pub operation: Option<Operation>,
    /// How many pushes it stands for.
    pub parts: u32,
    /// What became of it.
    pub outcome: FlightOutcome,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlightOutcome {
    /// The reducer applied it.
    Applied,
    /// It was not applied, and that was reported: it belongs to another owner, or its operation had ended.
    Refused,
    /// The reducer panicked on it.
    Panicked,
}

/// The ring.
pub(crate) struct Flight {
    /// A power of two of them, or none: event `n` is in place `n` of as many as there are.
    entries: Box<[Noted]>,
    /// Of events that are not the last of their runs, where they are not all of one kind: all that is written for them.
    kinds: Box<[&'static str]>,
    more: Box<[More]>,
    fates: Box<[OtherFate]>,
    /// How many events were ever noted: the number of the next.
    next: u64,
    /// The sequence of the first event of the run that is being applied; its number is `next`.
    first: u64,
    pub(crate) turn: u64,
    /// Lanes that are closed and may be named by an entry, and how many of them are too many.
    closed: Vec<Lane>,
    closed_max: usize,
}

/// An event, and where the run stood that it is the last of. In the places of the others of the run all of it is older.
#[derive(Clone, Copy)]
struct Noted {
    kind: &'static str,
    stamp: u64,
    sequence: u64,
    turn: u64,
    lane: LaneId,
    stands_for: StandsFor,
}

/// The parts of an event by itself; or below zero how many events there were in a run of one part each, and below `ALIKE` if they were all
/// of one kind.
#[derive(Clone, Copy)]
struct StandsFor(i32);

impl StandsFor {
    const ALIKE: i32 = -(1 << 30);

    #[inline]
    fn parts(parts: u32) -> Self {
        StandsFor(i32::try_from(parts).unwrap_or(i32::MAX))
    }

    /// One event at least.
    #[inline]
    fn run(count: usize, alike: bool) -> Self {
        // Of more than that no recorder knows the beginning.
        let count = -(count.min(FLIGHT_RECORDER_MAX + 1) as i32);
        StandsFor(if alike { Self::ALIKE + count } else { count })
    }

    /// How many events, and how many parts each of them has.
    fn events(self) -> (u64, u32) {
        match self.0 {
            parts @ 0.. => (1, parts as u32),
            run @ Self::ALIKE..0 => (u64::from(run.unsigned_abs()), 1),
            run => (u64::from((run - Self::ALIKE).unsigned_abs()), 1),
        }
    }

    fn is_alike(self) -> bool {
        self.0 < Self::ALIKE
    }
}

/// What few events have. Valid while `after` is the number after its event's.
#[derive(Clone, Copy)]
struct More {
    after: u64,
    operation: Option<Operation>,
    origin: Option<Origin>,
}

/// A fate that few events have. Valid as above.
#[derive(Clone, Copy)]
struct OtherFate {
    after: u64,
    outcome: FlightOutcome,
}

/// What entries leave out about their lane.
#[derive(Clone)]
struct Lane {
    id: LaneId,
    name: Arc<str>,
    origin: Origin,
}

impl Flight {
    /// For `entries` events, a power of two; or off, with none.
    pub(crate) fn new(entries: usize) -> Self {
        debug_assert!(entries == 0 || entries.is_power_of_two(), "a number's place is its low bits");
        let noted = Noted { kind: "", stamp: 0, sequence: 0, turn: 0, lane: LaneId(0), stands_for: StandsFor(0) };
        Self {
            entries: vec![noted; entries].into(),
            kinds: vec![""; entries].into(),
            more: vec![More { after: 0, operation: None, origin: None }; entries].into(),
            fates: vec![OtherFate { after: 0, outcome: FlightOutcome::Applied }; entries].into(),
            next: 0,
            first: 0,
            turn: 0,
            closed: Vec::new(),
            closed_max: 0,
        }
    }

    /// How many bytes it takes.
    pub(crate) fn bytes(&self) -> u64 {
        let Self { entries, kinds, more, fates, .. } = self;
        (size_of_val(&**entries) + size_of_val(&**kinds) + size_of_val(&**more) + size_of_val(&**fates)) as u64
    }

    /// How many events were ever noted.
    #[cfg(test)]
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Asks for the places of the next event.
    pub(crate) fn keep_warm(&self) {
        let place = self.place(self.next);
        if let Some(entry) = self.entries.get(place) {
            prefetch::to_write((&raw const *entry).addr(), size_of::<Noted>());
        }
    }

    /// A run begins with the event of this sequence. Before the first of its events is applied.
    #[inline]
    pub(crate) fn begin(&mut self, first: u64) {
        self.first = first;
    }

    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// The event of this sequence, in the run that was begun, is refused.
    #[cold]
    #[inline(never)]
    pub(crate) fn refuse(&mut self, sequence: u64) {
        self.put_fate(self.next + (sequence - self.first), FlightOutcome::Refused);
    }

    /// The run that was begun is applied: these values, one at least, with the stamp and the sequence of the first.
    #[inline(always)]
    pub(crate) fn note_run<E: Event>(&mut self, stamp: u64, sequence: u64, lane: LaneId, values: &[Item<E>]) {
        // What is off asks the host for nothing.
        let Some((last, before)) = values.split_last().filter(|_| !self.entries.is_empty()) else { return };
        let (count, kind) = (before.len() as u64, last.event.kind());
        let newest = &before[before.len().saturating_sub(self.entries.len())..];
        let oldest = self.next + (before.len() - newest.len()) as u64;
        // Where events have but one kind, this is nothing to be found out.
        let alike = newest.iter().all(|item| std::ptr::eq(item.event.kind(), kind));
        if !alike {
            self.put_kinds(oldest, newest);
        }
        for (number, item) in (oldest..).zip(newest) {
            self.put_more(number, &item.event);
        }
        self.next += count;
        self.put(&last.event, later(stamp, count), sequence + count, lane, StandsFor::run(values.len(), alike));
    }

    #[inline(never)]
    fn put_kinds<E: Event>(&mut self, oldest: u64, items: &[Item<E>]) {
        let (behind, ahead) = self.kinds.split_at_mut(self.place(oldest).min(self.kinds.len()));
        let (first, wrapped) = items.split_at(items.len().min(ahead.len()));
        put_kinds(ahead, first);
        put_kinds(behind, wrapped);
    }

    /// The event that was begun is applied, or refused.
    #[inline]
    pub(crate) fn note<E: Event>(&mut self, envelope: &Envelope<'_, E>) {
        let Envelope { stamp, lane, sequence, parts, event, .. } = *envelope;
        self.put(event, stamp.0, sequence.0, lane, StandsFor::parts(parts));
    }

    /// The reducer panicked on this event.
    #[cold]
    pub(crate) fn note_panicked<E: Event>(&mut self, envelope: &Envelope<'_, E>) {
        self.note(envelope);
        if let Some(number) = self.next.checked_sub(1) {
            self.put_fate(number, FlightOutcome::Panicked);
        }
    }

    #[inline(always)]
    fn put<E: Event>(&mut self, event: &E, stamp: u64, sequence: u64, lane: LaneId, stands_for: StandsFor) {
        let (place, turn) = (self.place(self.next), self.turn);
        // There is none when the recorder is off.
        if let Some(entry) = self.entries.get_mut(place) {
            *entry = Noted { kind: event.kind(), stamp, sequence, turn, lane, stands_for };
            self.put_more(self.next, event);
            self.next += 1;
        }
    }

    #[inline(always)]
    fn put_more<E: Event>(&mut self, number: u64, event: &E) {
        let (operation, origin) = (event.operation(), event.origin());
        if operation.is_some() || origin.is_some() {
            let place = self.place(number);
            if let Some(more) = self.more.get_mut(place) {
                *more = More { after: number + 1, operation, origin };
            }
        }
    }

    #[inline]
    fn put_fate(&mut self, number: u64, outcome: FlightOutcome) {
        let place = self.place(number);
        if let Some(fate) = self.fates.get_mut(place) {
            *fate = OtherFate { after: number + 1, outcome };
        }
    }

    #[inline(always)]
    fn place(&self, number: u64) -> usize {
        number as usize & self.entries.len().wrapping_sub(1)
    }

    /// This lane is closed: entries may name it for a while.
    pub(crate) fn close<E: Event>(&mut self, lane: &LaneEnd<E>) {
        self.remember(Lane { id: lane.id, name: lane.name.clone(), origin: lane.origin });
    }

    fn remember(&mut self, lane: Lane) {
        if self.entries.is_empty() {
            return;
        }
        if self.closed.len() >= self.closed_max {
            let mut named = HashSet::new();
            self.each(|noted| {
                named.insert(noted.lane);
            });
            self.closed.retain(|lane| named.contains(&lane.id));
            // Looked at again when as many have come as there are.
            self.closed_max = 2 * self.closed.len() + 16;
        }
        self.closed.push(lane);
    }

    /// What is kept, oldest first. Lanes that are closed are known, the others are these.
    pub(crate) fn read<'a, E: Event>(&self, lanes: impl Iterator<Item = &'a LaneEnd<E>> + Clone) -> Vec<FlightEntry> {
        let lane_of = |id| {
            let mut open = lanes.clone().filter(|lane| lane.id == id);
            let open = open.next().map(|lane| (lane.name.clone(), lane.origin));
            let closed = || self.closed.iter().find(|lane| lane.id == id).map(|lane| (lane.name.clone(), lane.origin));
            open.or_else(closed).unwrap_or_else(|| (Arc::from(""), Origin::built_in("", 0)))
        };
        let mut number = self.next;
        let mut read = Vec::new();
        self.each(|noted| {
            number -= 1;
            let (lane_name, lane_origin) = lane_of(noted.lane);
            let place = self.place(number);
            let more = Some(self.more[place]).filter(|more| more.after == number + 1);
            let fate = Some(self.fates[place]).filter(|fate| fate.after == number + 1);
            read.push(FlightEntry {
                turn: noted.turn,
                lane: noted.lane,
                lane_name,
                stamp: Stamp(noted.stamp),
                sequence: Sequence(noted.sequence),
                kind: noted.kind,
                origin: more.and_then(|more| more.origin).unwrap_or(lane_origin),
                operation: more.and_then(|more| more.operation),
                parts: noted.stands_for.events().1,
                outcome: fate.map_or(FlightOutcome::Applied, |fate| fate.outcome),
            });
        });
        read.reverse();
        read
    }

    /// Every event that is kept, newest first, each as if it had been by itself.
    fn each(&self, mut each: impl FnMut(&Noted)) {
        let oldest = self.next.saturating_sub(self.entries.len() as u64);
        let mut number = self.next;
        while number > oldest {
            let last = &self.entries[self.place(number - 1)];
            let (count, parts) = last.stands_for.events();
            for before in 0..count.min(number - oldest) {
                let is_last_kind = before == 0 || last.stands_for.is_alike();
                let kind = if is_last_kind { last.kind } else { self.kinds[self.place(number - 1 - before)] };
                let (stamp, sequence) = (earlier(last.stamp, before), last.sequence - before);
                each(&Noted { kind, stamp, sequence, stands_for: StandsFor::parts(parts), ..*last });
            }
            number = number.saturating_sub(count);
        }
    }
}

#[inline]
fn put_kinds<E: Event>(kinds: &mut [&'static str], items: &[Item<E>]) {
    for (kind, item) in kinds.iter_mut().zip(items) {
        *kind = item.event.kind();
    }
}

/// The stamp of an event so many behind in its run. Those of unclocked lanes stay what they are.
fn later(stamp: u64, count: u64) -> u64 {
    if stamp == Stamp::UNCLOCKED.0 { stamp } else { stamp + STEP * count }
}

fn earlier(stamp: u64, count: u64) -> u64 {
    if stamp == Stamp::UNCLOCKED.0 { stamp } else { stamp - STEP * count }
}

impl fmt::Display for FlightEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FlightEntry { turn, lane_name, stamp, sequence, kind, origin, operation, parts, outcome, .. } = self;
        write!(f, "turn {turn}: `{kind}` from `{lane_name}`, number {}", sequence.0)?;
        if *stamp != Stamp::UNCLOCKED {
            write!(f, ", stamp {}", stamp.0)?;
        }
        write!(f, ", about {origin}")?;
        if let Some(Operation { id, sequence, phase }) = operation {
            let phase = match phase {
                Phase::Started => "started",
                Phase::Progress => "progress",
                Phase::Terminal => "ended",
            };
            write!(f, ", operation {} number {sequence} ({phase})", id.0)?;
        }
        if *parts != 1 {
            write!(f, ", {parts} parts")?;
        }
        write!(f, ": {outcome}")
    }
}

impl fmt::Display for FlightOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FlightOutcome::Applied => "applied",
            FlightOutcome::Refused => "refused",
            FlightOutcome::Panicked => "the reducer panicked",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::OperationId;

    #[test]
    fn an_entry_is_one_line_that_says_what_there_is_to_say() {
        let mut entry = FlightEntry {
            turn: 7,
            lane: LaneId(3),
            lane_name: "pane 1".into(),
            stamp: Stamp::UNCLOCKED,
            sequence: Sequence(12),
            kind: "pane.title",
            origin: Origin::built_in("pane", 1),
            operation: None,
            parts: 1,
            outcome: FlightOutcome::Applied,
        };
        assert_eq!(entry.to_string(), "turn 7: `pane.title` from `pane 1`, number 12, about pane/1: applied");
        entry.stamp = Stamp(45);
        entry.operation = Some(Operation { id: OperationId(4), sequence: 2, phase: Phase::Terminal });
        (entry.parts, entry.outcome) = (3, FlightOutcome::Refused);
        let said = "number 12, stamp 45, about pane/1, operation 4 number 2 (ended), 3 parts: refused";
        assert!(entry.to_string().ends_with(said), "{entry}");
    }

    #[test]
    fn lanes_that_no_entry_names_are_not_remembered_for_ever() {
        for entries in [0, 4] {
            let mut flight = Flight::new(entries);
            let mut most = 0;
            for id in 0..1000 {
                flight.remember(Lane { id: LaneId(id), name: "guest".into(), origin: Origin::built_in("guest", 1) });
                most = most.max(flight.closed.len());
            }
            assert!(most <= 4 * entries, "{most} for {entries}");
        }
    }

    #[test]
    fn what_is_written_for_each_event_is_small() {
        assert!(size_of::<Noted>() <= 48);
    }
}

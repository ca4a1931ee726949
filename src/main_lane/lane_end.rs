//! A lane as the main lane sees it: what its ring shows, and what was taken from its table.

use crate::clock::{Bound, Stamp, critical_key};
use crate::event::{Envelope, Event, LaneId, Sequence};
use crate::lane::ring::{Read, RingConsumer};
use crate::lane::table::TableConsumer;
use crate::lane::{Item, LaneShared};
use crate::main_lane::awaited::Awaited;
use crate::main_lane::entry::{Entry, Fate};
use crate::main_lane::flight::Flight;
use crate::main_lane::hand::Hand;
use crate::origin::{Origin, Rank};
use crate::sync::{Arc, prefetch};

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    Yes,
    Refused,
}

/// Where events go.
///
/// A trait, and not a closure, for the sake of `inline(always)`: it is called from two places, and is most of what an event
/// costs. Left to itself, the compiler calls a closure for each event where everything is one unit of code, as in hosts that
/// are built for speed, and four times as slow.
pub(crate) trait Apply<E: Event> {
    fn apply(&mut self, envelope: Envelope<'_, E>) -> Applied;

    /// Where what was applied is noted.
    fn flight(&mut self) -> &mut Flight;
}

pub(crate) struct LaneEnd<E: Event> {
    pub(crate) id: LaneId,
    pub(crate) name: Arc<str>,
    pub(crate) rank: Rank,
    pub(crate) origin: Origin,
    pub(crate) clocked: bool,
    /// Pushed to by a thread of the host, not by one of ours.
    pub(crate) foreign: bool,
    pub(crate) shared: Arc<LaneShared>,
    ring: RingConsumer<Item<E>>,
    table: TableConsumer<Item<E>>,
    hand: Hand<Item<E>>,
    tally: Tally,
    /// What was last reported of the counts that become diagnostics: shed, returned, enricher panics.
    pub(crate) reported: [u64; 3],
    /// Of an unclocked lane.
    pub(crate) awaited: Awaited,
}

/// Counts of this lane that the main lane keeps to itself until [`LaneEnd::count`].
#[derive(Default)]
struct Tally {
    refused: u64,
    taken: u64,
    left_hand: u64,
    /// How many of those that left are in a batch that is not applied.
    in_batch: u64,
    changed: bool,
}

impl<E: Event> LaneEnd<E> {
    #[expect(clippy::too_many_arguments, reason = "called once, by the lane builder, with everything it was told")]
    pub(crate) fn new(
        id: LaneId,
        name: Arc<str>,
        origin: Origin,
        rank: Rank,
        clocked: bool,
        foreign: bool,
        shared: Arc<LaneShared>,
        ring: RingConsumer<Item<E>>,
        table: TableConsumer<Item<E>>,
    ) -> Self {
        let (hand, tally, reported, awaited) = (Hand::new(), Tally::default(), [0; 3], Awaited::default());
        Self { id, name, rank, origin, clocked, foreign, shared, ring, table, hand, tally, reported, awaited }
    }

    /// True when there is something to cut.
    #[inline]
    pub(crate) fn has_visible(&self) -> bool {
        self.ring.has_visible() || self.table.has_visible()
    }

    /// How many critical events are visible.
    #[inline]
    pub(crate) fn visible(&self) -> usize {
        self.ring.visible()
    }

    /// So many critical events are worth a turn, whatever else there is.
    #[inline]
    pub(crate) fn stride(&self) -> usize {
        self.ring.stride()
    }

    /// True when the lane has nothing, in the cut or out of it.
    pub(crate) fn is_drained(&self) -> bool {
        !self.has_visible() && self.hand.is_empty() && self.tally.in_batch == 0
    }

    /// True when no push is under way; with the gate shut, and its barrier behind that: and none will be (G1).
    pub(crate) fn is_quiet(&self) -> bool {
        let LaneShared { gate, counts, .. } = &*self.shared;
        gate.is_quiet(|| counts.producer.critical.read(), || self.ring.position() + self.ring.visible() as u64)
    }

    /// Looks at what is visible now; true if anything is that is not in the cut.
    #[inline]
    pub(crate) fn look(&mut self) -> bool {
        self.ring.look() | self.table.has_visible()
    }

    /// True when the table has something: the last look shows only the ring.
    #[inline]
    pub(crate) fn has_unseen(&self) -> bool {
        self.table.has_visible()
    }

    /// Extends the cut over what the last look saw in the ring.
    #[inline]
    pub(crate) fn admit(&mut self) {
        self.ring.admit();
    }

    /// The key after that of the last in the ring's cut.
    #[inline]
    pub(crate) fn end_key(&mut self) -> Option<u64> {
        self.ring.end_key()
    }

    /// Extends the cut over what is in the table: also over what came after more in the ring than the last look saw.
    #[inline]
    pub(crate) fn admit_unseen(&mut self) {
        if self.table.has_visible() {
            self.collect(Bound::OPEN);
        }
    }

    /// Extends the cut to what is visible below `bound`; true if that added anything.
    #[inline]
    pub(crate) fn extend(&mut self, bound: Bound) -> bool {
        self.ring.extend(bound) | self.collect(bound)
    }

    /// Takes what is visible on an unclocked lane, which is in nobody's order but its own.
    pub(crate) fn extend_alone(&mut self) {
        self.ring.extend(Bound::OPEN);
        // C2: what was pushed after a critical event that is not in yet waits for it. What was pushed before one that is, is
        // visible (P1).
        self.collect(Bound(critical_key(self.ring.cut_end())));
        self.arrange();
    }

    /// Takes what is in the table below `bound`; true if there was any.
    fn collect(&mut self, bound: Bound) -> bool {
        let Self { table, hand, tally, .. } = self;
        table.collect(bound, |value| {
            tally.taken += 1;
            tally.changed = true;
            hand.add(value);
        })
    }

    /// Puts what was taken from the table in order. After the last `extend` of a cut.
    pub(crate) fn arrange(&mut self) {
        self.hand.arrange();
    }

    /// True when some of the cut is left.
    #[inline]
    pub(crate) fn has_cut(&self) -> bool {
        self.ring.has_cut() || !self.hand.is_empty()
    }

    /// The key of the first event of the cut; [`NO_KEY`](crate::lane::runs::NO_KEY) where there is none.
    #[inline]
    pub(crate) fn head_key(&self) -> u64 {
        self.ring.head_key().min(self.hand.head_key())
    }

    /// Gives events of the cut with keys below `limit` to `apply`, in order, at most `count`. Returns how many.
    ///
    /// An event on which `apply` unwinds stays at the head.
    #[inline]
    pub(crate) fn take(&mut self, limit: u64, count: usize, apply: &mut impl Apply<E>) -> usize {
        if self.hand.is_empty() {
            return self.take_from_ring(limit, count, apply);
        }
        self.take_from_both(limit, count, apply)
    }

    #[inline(never)]
    fn take_from_both(&mut self, limit: u64, count: usize, apply: &mut impl Apply<E>) -> usize {
        let mut done = 0;
        while done < count {
            let (ring, hand) = (self.ring.head_key(), self.hand.head_key());
            if ring.min(hand) >= limit {
                break;
            }
            debug_assert_ne!(ring, hand, "critical keys are odd, lossy ones even");
            if hand < ring {
                self.take_from_hand(apply);
                done += 1;
            } else {
                done += self.take_from_ring(limit.min(hand), count - done, apply);
            }
        }
        done
    }

    #[inline]
    fn take_from_ring(&mut self, limit: u64, count: usize, apply: &mut impl Apply<E>) -> usize {
        let Self { id, origin, clocked, ring, tally, .. } = self;
        let (stamps, lane, origin) = (if *clocked { u64::MAX } else { Stamp::UNCLOCKED.0 }, *id, *origin);
        tally.changed |= count > 0;
        let taken = ring.take(limit, count, InPlace { apply, tally, stamps, lane, origin });
        if ring.should_settle() {
            self.settle();
        }
        taken
    }

    /// Goes the way of [`take`](LaneEnd::take) without an event, and asks for what that changes.
    pub(crate) fn keep_warm(&mut self, apply: &mut impl Apply<E>) {
        self.take_from_ring(0, 0, apply);
        let counts = &self.shared.counts.main_lane;
        prefetch::to_write((&raw const *counts).addr(), size_of_val(counts));
    }

    /// Gives the slots of applied events back to the producer, which may wait for them.
    #[inline]
    pub(crate) fn settle(&mut self) {
        if self.ring.settle() {
            self.shared.room.ring();
        }
    }

    #[inline]
    fn take_from_hand(&mut self, apply: &mut impl Apply<E>) {
        let Self { id, origin, clocked, hand, tally, .. } = self;
        tally.changed = true;
        let Some(unread) = hand.first() else { return };
        let envelope = Envelope {
            stamp: if *clocked { Stamp(unread.key) } else { Stamp::UNCLOCKED },
            lane: *id,
            sequence: Sequence(unread.sequence),
            origin: unread.item.event.origin().unwrap_or(*origin),
            operation: unread.item.event.operation(),
            parts: unread.parts,
            facets: &unread.item.facets,
            event: &unread.item.event,
        };
        apply.flight().begin(unread.sequence);
        if apply.apply(envelope) == Applied::Refused {
            tally.refused += 1;
        }
        apply.flight().note(&envelope);
        tally.left_hand += 1;
        // When it is counted: its `drop` is the host's code.
        hand.drop_first();
    }

    /// As [`take`](LaneEnd::take), by value: the events are the batch's from here on, until [`done`](LaneEnd::done).
    pub(crate) fn take_out(&mut self, limit: u64, count: usize, batch: &mut Vec<(Entry<E>, Fate)>) -> usize {
        let Self { id, origin, clocked, ring, hand, tally, shared, .. } = self;
        let (stamps, lane, lane_origin) = (if *clocked { u64::MAX } else { Stamp::UNCLOCKED.0 }, *id, *origin);
        let mut entry = |key, sequence, parts, Item { event, facets }| {
            let (stamp, sequence) = (Stamp(key & stamps), Sequence(sequence));
            batch.push((Entry { stamp, lane, sequence, lane_origin, parts, facets, event }, Fate::Applied));
        };
        let (mut done, mut from_ring) = (0, false);
        while done < count {
            let (ring_key, hand_key) = (ring.head_key(), hand.head_key());
            if ring_key.min(hand_key) >= limit {
                break;
            }
            debug_assert_ne!(ring_key, hand_key, "critical keys are odd, lossy ones even");
            if hand_key < ring_key {
                let Some(unread) = hand.remove_first() else { break };
                entry(unread.key, unread.sequence, unread.parts, unread.item);
                tally.left_hand += 1;
                done += 1;
            } else {
                let limit = limit.min(hand_key);
                let part = ring.take_out(limit, count - done, |key, position, item| entry(key, position, 1, item));
                from_ring |= part > 0;
                done += part;
            }
        }
        tally.in_batch += done as u64;
        tally.changed |= done > 0;
        if from_ring {
            shared.room.ring();
        }
        done
    }

    /// The batch is done with, but for `left` of this lane's events in it; `refused` were not applied.
    pub(crate) fn done(&mut self, refused: u64, left: u64) {
        let tally = &mut self.tally;
        tally.changed |= tally.in_batch > 0;
        tally.in_batch = left;
        tally.refused += refused;
    }

    /// Notes the events of the run that the reducer panicked in, those before the one at the head.
    #[cold]
    pub(crate) fn note_unfinished(&self, flight: &mut Flight) {
        // Events of the table are a run each.
        if self.is_ring_first() {
            let (key, values) = self.ring.unfinished(flight.first());
            let stamp = if self.clocked { key } else { Stamp::UNCLOCKED.0 };
            flight.note_run(stamp, flight.first(), self.id, values);
        }
    }

    /// True when the event at the head is the ring's.
    fn is_ring_first(&self) -> bool {
        self.ring.head_key() < self.hand.head_key()
    }

    /// Removes the event at the head, by value: the one that a reducer could not apply. It counts as refused.
    pub(crate) fn remove_head(&mut self) -> Option<Entry<E>> {
        let ring_first = self.is_ring_first();
        let Self { id, origin, clocked, ring, hand, tally, .. } = self;
        let (stamps, lane, lane_origin) = (if *clocked { u64::MAX } else { Stamp::UNCLOCKED.0 }, *id, *origin);
        let (key, sequence, parts, item) = if ring_first {
            let (key, position) = (ring.head_key(), ring.position());
            (key, position, 1, ring.pop()?)
        } else {
            let unread = hand.remove_first()?;
            tally.left_hand += 1;
            (unread.key, unread.sequence, unread.parts, unread.item)
        };
        tally.refused += 1;
        tally.changed = true;
        let (stamp, sequence, Item { facets, event }) = (Stamp(key & stamps), Sequence(sequence), item);
        Some(Entry { stamp, lane, sequence, lane_origin, parts, facets, event })
    }

    /// Makes this lane's counts visible.
    #[inline]
    pub(crate) fn count(&mut self) {
        let tally = &mut self.tally;
        if !std::mem::take(&mut tally.changed) {
            return;
        }
        let counts = &self.shared.counts.main_lane;
        counts.taken.set(tally.taken);
        // Everything that left was applied or refused.
        let position = self.ring.position();
        let left_ring = position.saturating_sub(tally.in_batch);
        let left_hand = tally.left_hand - (tally.in_batch - (position - left_ring));
        counts.left_ring.set(left_ring);
        counts.left_hand.set(left_hand);
        counts.refused.set(tally.refused);
        counts.applied.set(left_ring + left_hand - tally.refused);
    }
}

/// Applies events of a ring in their slots.
struct InPlace<'a, A> {
    apply: &'a mut A,
    tally: &'a mut Tally,
    /// What of a key is the stamp.
    stamps: u64,
    lane: LaneId,
    origin: Origin,
}

impl<E: Event, A: Apply<E>> Read<Item<E>> for InPlace<'_, A> {
    #[inline]
    fn begin(&mut self, position: u64) {
        self.apply.flight().begin(position);
    }

    /// Not `inline(always)`: that comes too early for the compiler to see what stays the same from one event to the next, and
    /// an event of a reducer that does little costs half as much again.
    #[inline]
    fn read(&mut self, key: u64, position: u64, item: &Item<E>) {
        let envelope = Envelope {
            stamp: Stamp(key & self.stamps),
            lane: self.lane,
            sequence: Sequence(position),
            origin: item.event.origin().unwrap_or(self.origin),
            operation: item.event.operation(),
            parts: 1,
            facets: &item.facets,
            event: &item.event,
        };
        if self.apply.apply(envelope) == Applied::Refused {
            self.tally.refused += 1;
        }
    }

    #[inline]
    fn end(&mut self, key: u64, position: u64, values: &[Item<E>]) {
        self.apply.flight().note_run(key & self.stamps, position, self.lane, values);
    }
}

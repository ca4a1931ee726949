//! Counters that can be read at any time without stopping anything.
//!
//! Each is written by one thread, with a plain load and store. They obey a law, exact whenever nothing is moving:
//!
//! `pushed = applied + replaced + merged + shed + refused + in flight`
//!
//! *In flight* is not the difference of the others: it is counted where events enter and leave the rings and the tables,
//! so an event that goes missing anywhere breaks the law.

use std::sync::Arc;

use crate::event::LaneId;
use crate::sync::{
    AtomicU64, CachePadded, Mutex,
    Ordering::{Acquire, Relaxed, Release},
};

/// A count with one writer.
#[derive(Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    #[inline]
    pub(crate) fn add(&self, more: u64) {
        // One writer: no read-modify-write is needed. Release, so that whoever reads a later count also sees the
        // earlier ones of the same thread.
        self.0.store(self.0.load(Relaxed) + more, Release);
    }

    #[inline]
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Release);
    }

    pub(crate) fn read(&self) -> u64 {
        self.0.load(Acquire)
    }
}

/// Counts of one lane, by the thread that writes them.
pub(crate) struct LaneCounts {
    pub(crate) producer: CachePadded<ProducerCounts>,
    pub(crate) main_lane: CachePadded<MainLaneCounts>,
}

#[derive(Default)]
pub(crate) struct ProducerCounts {
    /// Critical events put into the ring; of each run the first is counted as its push begins, and all before they are visible (`lane/gate.rs`).
    pub(crate) critical: Count,
    /// Lossy events that are, or were, the only unread value of their key.
    pub(crate) inserted: Count,
    pub(crate) replaced: Count,
    pub(crate) merged: Count,
    pub(crate) rare: CachePadded<RareCounts>,
}

/// What most pushes do not count. On lines of their own: the main lane looks at them now and then to tell of them, and would take the line that
/// is written by every push.
#[derive(Default)]
pub(crate) struct RareCounts {
    /// Unread values taken back for another key.
    pub(crate) shed_unread: Count,
    /// Lossy events shed as they came.
    pub(crate) shed_at_once: Count,
    pub(crate) returned: Count,
    pub(crate) closed: Count,
    pub(crate) waited: Count,
    pub(crate) enricher_panics: Count,
}

#[derive(Default)]
pub(crate) struct MainLaneCounts {
    pub(crate) applied: Count,
    pub(crate) refused: Count,
    /// Events that left the ring.
    pub(crate) left_ring: Count,
    /// Values taken from the table.
    pub(crate) taken: Count,
    /// Values of those that are done with.
    pub(crate) left_hand: Count,
}

impl LaneCounts {
    pub(crate) fn new() -> Self {
        Self { producer: CachePadded::new(Default::default()), main_lane: CachePadded::new(Default::default()) }
    }

    fn read(&self) -> Totals {
        // The main lane's side first, so that while things move the producers' side is the newer one. A lossy event
        // can be taken in the moment before its push is counted; then a difference is taken as zero.
        let main_lane = &self.main_lane;
        let (applied, refused) = (main_lane.applied.read(), main_lane.refused.read());
        let (left_hand, taken, left_ring) =
            (main_lane.left_hand.read(), main_lane.taken.read(), main_lane.left_ring.read());
        let producer = &self.producer;
        let (replaced, merged) = (producer.replaced.read(), producer.merged.read());
        let (shed_unread, shed_at_once) = (producer.rare.shed_unread.read(), producer.rare.shed_at_once.read());
        let (inserted, critical) = (producer.inserted.read(), producer.critical.read());
        let in_ring = critical.saturating_sub(left_ring);
        let in_table = inserted.saturating_sub(shed_unread + taken);
        Totals {
            pushed: critical + inserted + replaced + merged + shed_at_once,
            applied,
            replaced,
            merged,
            shed: shed_unread + shed_at_once,
            refused,
            in_flight: in_ring + in_table + taken.saturating_sub(left_hand),
            returned: producer.rare.returned.read(),
            closed: producer.rare.closed.read(),
            waited: producer.rare.waited.read(),
            depth: in_ring,
            unread: in_table,
            enricher_panics: producer.rare.enricher_panics.read(),
        }
    }
}

/// Counts of events: of one lane, or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// Events that a lane accepted. A critical event, or the first of a run of them, is counted as its push begins: one that comes to a lane
    /// as it is closed, and is refused, is in here and `in_flight` for that moment. A shutdown waits until it is not.
    pub pushed: u64,
    /// Events that a reducer applied.
    pub applied: u64,
    /// Lossy events that a newer one of their key replaced.
    pub replaced: u64,
    /// Lossy events that a newer one of their key took in.
    pub merged: u64,
    /// Lossy events dropped because the table was full of other keys.
    pub shed: u64,
    /// Events that were not applied and reported instead: progress of a sealed operation, an event that reached an
    /// authority that does not own it, or one on which a reducer panicked.
    pub refused: u64,
    /// Events between their push and their end.
    pub in_flight: u64,
    /// Pushes and batches handed back because the ring was full. Not among the pushed.
    pub returned: u64,
    /// Pushes and batches handed back because the pipeline has shut down. Not among the pushed.
    pub closed: u64,
    /// Pushes that had to wait for room.
    pub waited: u64,
    /// Critical events in the ring.
    pub depth: u64,
    /// Lossy events in the table.
    pub unread: u64,
    /// Enrichers, and what fills facets in, that panicked; their events went on with the facets they had. And further panics of the
    /// host's code in a run of a batch, when one goes on already ([`push_batch`](crate::Lane::push_batch)): an event on which it was the
    /// class, the key or the rule is lost.
    pub enricher_panics: u64,
}

impl Totals {
    /// True when every accepted event is accounted for. Exact when nothing is moving.
    pub fn balanced(&self) -> bool {
        self.pushed == self.applied + self.replaced + self.merged + self.shed + self.refused + self.in_flight
    }

    fn add(&mut self, other: &Totals) {
        let Totals {
            pushed,
            applied,
            replaced,
            merged,
            shed,
            refused,
            in_flight,
            returned,
            closed,
            waited,
            depth,
            unread,
            enricher_panics,
        } = other;
        self.pushed += pushed;
        self.applied += applied;
        self.replaced += replaced;
        self.merged += merged;
        self.shed += shed;
        self.refused += refused;
        self.in_flight += in_flight;
        self.returned += returned;
        self.closed += closed;
        self.waited += waited;
        self.depth += depth;
        self.unread += unread;
        self.enricher_panics += enricher_panics;
    }
}

/// The counts of one open lane.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LaneCounters {
    /// Which lane.
    pub id: LaneId,
    /// The name it was opened with.
    pub name: Arc<str>,
    /// Its counts.
    pub events: Totals,
}

/// Everything a pipeline counts, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// All lanes together, closed ones included.
    pub events: Totals,
    /// The lanes that are open, in the order they were opened.
    pub lanes: Vec<LaneCounters>,
    /// Lanes opened so far.
    pub lanes_opened: u64,
    /// Lanes closed and drained so far.
    pub lanes_closed: u64,
    /// Turns that applied something.
    pub turns: u64,
    /// Cuts taken.
    pub cuts: u64,
    /// Passes over the lanes that those cuts took; two a cut are the least.
    pub passes: u64,
    /// Snapshots published, the first one included.
    pub snapshots: u64,
    /// Snapshots that needed new memory, because readers held all retired ones.
    pub snapshots_allocated: u64,
    /// Effects run by the reconciler.
    pub effects: u64,
    /// Effects that no reconciler was there to run, or that a shutdown had no time for.
    pub effects_unhandled: u64,
    /// Turns that did nothing because the journal was behind.
    pub journal_waits: u64,
    /// What went wrong, by kind.
    pub faults: Faults,
    /// Diagnostics dropped because nobody drained them; the counts above have them all the same.
    pub diagnostics_dropped: u64,
}

/// How many bytes a pipeline holds by itself, as far as that is known at any moment without looking.
///
/// Counted are the slots that were made when a lane was opened, full or empty; the flight recorder; and of a journal what was handed on
/// and is not durable yet, with the buffers that wait to be used again. Not counted are the state and its snapshots, a
/// timeline, what events own beyond their own size, the host's effects, and what a table needs to find its keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeldBytes {
    /// The rings and tables of the lanes that are open, and where those that enrich or classify have the events of a batch meanwhile.
    pub lanes: u64,
    /// The flight recorder.
    pub flight_recorder: u64,
    /// The journal's buffers.
    pub journal: u64,
}

impl HeldBytes {
    /// All of it.
    pub fn total(&self) -> u64 {
        let Self { lanes, flight_recorder, journal } = self;
        lanes + flight_recorder + journal
    }
}

/// Counts of what went wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Faults {
    /// Events that reached an authority that does not own them.
    pub misrouted: u64,
    /// Events refused because their operation had ended.
    pub sealed: u64,
    /// Gaps in the sequence of an operation.
    pub operation_gaps: u64,
    /// Repeated or reversed sequences of an operation, and second starts and ends.
    pub operation_repeats: u64,
    /// Operations forgotten because too many were open or sealed at once.
    pub operations_forgotten: u64,
    /// Sources that panicked.
    pub source_panics: u64,
    /// Sources that failed.
    pub source_errors: u64,
    /// Sources made anew.
    pub source_restarts: u64,
    /// Reconcilers that panicked on an effect.
    pub reconciler_panics: u64,
    /// Wake hooks, and wakers of tasks that wait for input, a snapshot or room, that panicked.
    pub wake_panics: u64,
    /// Main lanes stopped by a panic in the host's code: at most one.
    pub main_lane_stops: u64,
    /// Threads that could not be pinned as asked.
    pub pins_refused: u64,
    /// Events on which a reducer panicked, taken out of their turn.
    pub quarantined: u64,
    /// Operations undone or put back.
    pub rewinds: u64,
    /// Turns that came out differently when they were applied twice.
    pub nondeterministic: u64,
    /// Journals that gave up: at most one.
    pub journal_failures: u64,
    /// Times that a journal found no space and began to try again.
    pub journal_full: u64,
    /// Checkpoints that could not be made.
    pub checkpoint_failures: u64,
    /// Runs of supervised workers that ended with an error.
    pub worker_errors: u64,
    /// Runs of supervised workers that ended with a panic.
    pub worker_panics: u64,
    /// How often supervised workers were started again.
    pub worker_restarts: u64,
    /// Supervised workers that did not stop in time.
    pub workers_stuck: u64,
    /// Groups of supervised workers that had more failures than they take.
    pub worker_escalations: u64,
    /// Turns that held a thread of a crew for longer than it allows.
    pub stuck_turns: u64,
    /// Divergences of what the state mirrors, as the host reported them.
    pub divergences: u64,
}

/// Counts that do not belong to a lane. Written on cold paths by whoever it concerns.
#[derive(Default)]
pub(crate) struct PipelineCounts {
    pub(crate) turns: Count,
    pub(crate) cuts: Count,
    pub(crate) passes: Count,
    pub(crate) snapshots: Count,
    pub(crate) snapshots_allocated: Count,
    pub(crate) effects: Count,
    pub(crate) effects_unhandled: Count,
    pub(crate) journal_waits: Count,
    /// Bytes of the flight recorder.
    pub(crate) flight_bytes: Count,
}

/// All lanes that are open, and the sum of those that are not.
#[derive(Default)]
pub(crate) struct LaneBook {
    /// With how many bytes were made for each.
    open: Vec<(LaneId, Arc<str>, Arc<LaneCounts>, u64)>,
    closed: Totals,
    closed_count: u64,
    opened_count: u64,
}

impl LaneBook {
    pub(crate) fn opened(&mut self, id: LaneId, name: Arc<str>, counts: Arc<LaneCounts>, bytes: u64) {
        self.open.push((id, name, counts, bytes));
        self.opened_count += 1;
    }

    pub(crate) fn closed(&mut self, id: LaneId) {
        if let Some(at) = self.open.iter().position(|(open, ..)| *open == id) {
            let (_, _, counts, _) = self.open.remove(at);
            self.closed.add(&counts.read());
            self.closed_count += 1;
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.open.iter().map(|(.., bytes)| bytes).sum()
    }
}

pub(crate) fn read(
    book: &Mutex<LaneBook>,
    counts: &PipelineCounts,
    faults: Faults,
    diagnostics_dropped: u64,
) -> Counters {
    let book = book.lock();
    let lanes: Vec<_> = book
        .open
        .iter()
        .map(|(id, name, counts, _)| LaneCounters { id: *id, name: name.clone(), events: counts.read() })
        .collect();
    let mut events = book.closed;
    lanes.iter().for_each(|lane| events.add(&lane.events));
    Counters {
        events,
        lanes,
        lanes_opened: book.opened_count,
        lanes_closed: book.closed_count,
        turns: counts.turns.read(),
        cuts: counts.cuts.read(),
        passes: counts.passes.read(),
        snapshots: counts.snapshots.read(),
        snapshots_allocated: counts.snapshots_allocated.read(),
        effects: counts.effects.read(),
        effects_unhandled: counts.effects_unhandled.read(),
        journal_waits: counts.journal_waits.read(),
        faults,
        diagnostics_dropped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_goes_missing_breaks_the_law() {
        let counts = LaneCounts::new();
        counts.producer.critical.add(3);
        assert!(counts.read().balanced(), "three in flight");
        counts.main_lane.left_ring.add(3);
        counts.main_lane.applied.add(2);
        assert!(!counts.read().balanced(), "one left the ring and was not applied");
        counts.main_lane.refused.add(1);
        assert!(counts.read().balanced());
    }

    #[test]
    fn a_closed_lane_stays_in_the_sum() {
        let mut book = LaneBook::default();
        let counts = Arc::new(LaneCounts::new());
        book.opened(LaneId(0), "a".into(), counts.clone(), 7);
        assert_eq!(book.bytes(), 7);
        counts.producer.critical.add(2);
        book.closed(LaneId(0));
        assert_eq!(book.bytes(), 0);
        let read = read(&Mutex::new(book), &PipelineCounts::default(), Faults::default(), 0);
        assert_eq!((read.events.pushed, read.lanes.len(), read.lanes_closed), (2, 0, 1));
    }

    /// Counts that differ from each other, so that none can stand for another.
    fn distinct() -> LaneCounts {
        let counts = LaneCounts::new();
        let (producer, main_lane) = (&counts.producer, &counts.main_lane);
        let all = [
            (&producer.critical, 1000),
            (&producer.inserted, 200),
            (&producer.replaced, 3),
            (&producer.merged, 5),
            (&producer.rare.shed_unread, 7),
            (&producer.rare.shed_at_once, 11),
            (&producer.rare.returned, 13),
            (&producer.rare.closed, 17),
            (&producer.rare.waited, 19),
            (&producer.rare.enricher_panics, 23),
            (&main_lane.applied, 29),
            (&main_lane.refused, 31),
            (&main_lane.left_ring, 400),
            (&main_lane.taken, 43),
            (&main_lane.left_hand, 41),
        ];
        for (count, value) in all {
            count.add(value - 1);
            count.add(1);
        }
        counts
    }

    fn totals(times: u64) -> Totals {
        let one = Totals {
            pushed: 1219,
            applied: 29,
            replaced: 3,
            merged: 5,
            shed: 18,
            refused: 31,
            in_flight: 600 + 150 + 2,
            returned: 13,
            closed: 17,
            waited: 19,
            depth: 600,
            unread: 150,
            enricher_panics: 23,
        };
        let mut all = Totals::default();
        (0..times).for_each(|_| all = sum(all, one));
        all
    }

    /// Field by field, by another way than `Totals::add`.
    fn sum(one: Totals, other: Totals) -> Totals {
        Totals {
            pushed: one.pushed + other.pushed,
            applied: one.applied + other.applied,
            replaced: one.replaced + other.replaced,
            merged: one.merged + other.merged,
            shed: one.shed + other.shed,
            refused: one.refused + other.refused,
            in_flight: one.in_flight + other.in_flight,
            returned: one.returned + other.returned,
            closed: one.closed + other.closed,
            waited: one.waited + other.waited,
            depth: one.depth + other.depth,
            unread: one.unread + other.unread,
            enricher_panics: one.enricher_panics + other.enricher_panics,
        }
    }

    #[test]
    fn every_count_is_read_into_its_own_place() {
        assert_eq!(distinct().read(), totals(1));
    }

    #[test]
    fn a_lane_that_is_ahead_of_its_producers_counts_has_nothing_in_flight() {
        let counts = LaneCounts::new();
        counts.main_lane.left_ring.add(1);
        counts.main_lane.taken.set(2);
        counts.main_lane.left_hand.set(3);
        assert_eq!(counts.read(), Totals::default());
    }

    #[test]
    fn each_side_of_the_law_counts() {
        let balanced =
            Totals { pushed: 63, applied: 1, replaced: 2, merged: 4, shed: 8, refused: 16, in_flight: 32, ..totals(0) };
        assert!(balanced.balanced());
        let Totals { pushed, applied, replaced, merged, shed, refused, in_flight, .. } = balanced;
        let broken = [
            Totals { pushed: pushed + 1, ..balanced },
            Totals { applied: applied - 1, ..balanced },
            Totals { replaced: replaced - 1, ..balanced },
            Totals { merged: merged - 1, ..balanced },
            Totals { shed: shed - 1, ..balanced },
            Totals { refused: refused - 1, ..balanced },
            Totals { in_flight: in_flight - 1, ..balanced },
        ];
        assert!(!broken.iter().any(Totals::balanced));
    }

    #[test]
    fn all_lanes_are_summed_up_the_open_and_the_closed() {
        let mut book = LaneBook::default();
        for id in 0..5 {
            book.opened(LaneId(id), "lane".into(), Arc::new(distinct()), 0);
        }
        for id in [1, 3, 3, 9] {
            book.closed(LaneId(id));
        }
        let counts = PipelineCounts::default();
        let all = [&counts.turns, &counts.cuts, &counts.passes, &counts.snapshots, &counts.snapshots_allocated];
        let all = all.into_iter().chain([&counts.effects, &counts.effects_unhandled, &counts.journal_waits]);
        all.zip(1..).for_each(|(count, value)| count.set(value));
        let faults = Faults { misrouted: 8, ..Faults::default() };
        let lane = |id| LaneCounters { id: LaneId(id), name: "lane".into(), events: totals(1) };
        let expected = Counters {
            events: totals(5),
            lanes: [0, 2, 4].map(lane).into(),
            lanes_opened: 5,
            lanes_closed: 2,
            turns: 1,
            cuts: 2,
            passes: 3,
            snapshots: 4,
            snapshots_allocated: 5,
            effects: 6,
            effects_unhandled: 7,
            journal_waits: 8,
            faults,
            diagnostics_dropped: 9,
        };
        assert_eq!(read(&Mutex::new(book), &counts, faults, 9), expected);
    }
}

//! The state at the end of the whole path, which checks everything that comes.

use std::sync::Arc;

use parking_lot::Mutex;

use super::super::transport::{Consumer, Payload};
use super::by_hand::Dressed;
use super::parcel::{Context, KEYS, Parcel, critical_among, critical_from, newest_of};

/// What a contender promises about the order of events, beside each lane's critical ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// What one thread pushes to several lanes comes in that order; a lossy value comes where it was pushed.
    Causal,
    /// Nothing about different lanes; a lossy value comes where it was pushed.
    OfEachLane,
    /// What one thread pushes to several lanes comes in that order; lossy values come when they come.
    OfCritical,
}

/// How lanes are shared out among threads, and in what portions they are pushed to in turn.
#[derive(Clone, Copy)]
pub(crate) struct Shares {
    pub(crate) lanes: usize,
    pub(crate) threads: usize,
    /// Events of one lane before it is the next one's turn; a power of two.
    pub(crate) batch: u64,
    /// A last lane with a thread of its own.
    pub(crate) source: bool,
}

impl Shares {
    pub(crate) fn all_lanes(self) -> usize {
        self.lanes + usize::from(self.source)
    }

    /// The thread that pushes to a lane.
    pub(crate) fn thread(self, lane: usize) -> usize {
        if lane < self.lanes { lane % self.threads } else { self.threads }
    }
}

/// When the sampled events that are applied and not yet published were pushed. Beside the state, for no reader sees it.
pub(crate) type Samples = Arc<Mutex<Vec<u64>>>;

/// The state: how far each lane is, and the newest value of each key.
pub(crate) struct Board {
    lanes: Vec<Seen>,
    values: Vec<Value>,
    /// Where in its own order each thread is.
    places: Vec<u64>,
    /// Critical events.
    taken: u64,
    /// Events that were damaged, lost, doubled, or without their context.
    wrong: u64,
    /// Lossy values that were older than their key's, or did not come between the critical events they were pushed between.
    back: u64,
    astray: u64,
    /// Critical events that came after something their thread had pushed later, to another lane.
    crossed: u64,
    enriched: bool,
    batch_log2: u32,
    lanes_per_thread: u64,
    samples: Samples,
}

#[derive(Clone, Copy)]
struct Seen {
    /// The next critical event.
    next: u64,
    thread: u16,
    /// Which one of its thread's lanes it is.
    at: u16,
    expected: Context,
    known: Context,
}

#[derive(Clone, Copy)]
struct Value {
    /// One more than the number of the event; zero for none.
    newest: u64,
    tier: u8,
}

impl Board {
    pub(crate) fn new(shares: Shares, enriched: bool, samples: Samples) -> Self {
        let seen = |lane: usize| Seen {
            next: 0,
            thread: shares.thread(lane) as u16,
            at: if lane < shares.lanes { (lane / shares.threads) as u16 } else { 0 },
            expected: if enriched { Context::of(lane) } else { Context::default() },
            known: Context::of_state(lane),
        };
        let value = |at: usize| Value { newest: 0, tier: (at % 4) as u8 };
        Self {
            lanes: (0..shares.all_lanes()).map(seen).collect(),
            values: (0..shares.all_lanes() * KEYS).map(value).collect(),
            places: vec![0; shares.threads + 1],
            taken: 0,
            wrong: 0,
            back: 0,
            astray: 0,
            crossed: 0,
            enriched,
            batch_log2: shares.batch.ilog2(),
            lanes_per_thread: shares.lanes.div_ceil(shares.threads) as u64,
            samples,
        }
    }

    /// Applies an event.
    #[inline]
    pub(crate) fn apply<const WORDS: usize>(&mut self, parcel: &Parcel<WORDS>, context: Context) {
        let (lane, number) = (parcel.producer(), parcel.number());
        let seen = &mut self.lanes[lane];
        let is_as_pushed = parcel.is_whole() & parcel.is_marked(self.enriched) & (context == seen.expected);
        self.wrong += u64::from(!is_as_pushed);
        if let Some(key) = parcel.key() {
            let newest = &mut self.values[lane * KEYS + key].newest;
            self.back += u64::from(number < *newest);
            *newest = number + 1;
            self.astray += u64::from(seen.next != number + 1);
            return;
        }
        self.wrong += u64::from(number != seen.next);
        seen.next = critical_from(number + 1);
        let place = (number >> self.batch_log2) * self.lanes_per_thread + u64::from(seen.at);
        let last = &mut self.places[usize::from(seen.thread)];
        self.crossed += u64::from(place < *last);
        *last = place;
        self.taken += 1;
        if parcel.pushed_ns > 0 {
            self.samples.lock().push(parcel.pushed_ns);
        }
    }

    /// What it knows about a lane's origin.
    #[inline]
    pub(crate) fn known(&self, lane: usize) -> &Context {
        &self.lanes[lane].known
    }

    /// How much the value of a key matters now.
    #[inline]
    pub(crate) fn tier(&self, lane: usize, key: usize) -> u8 {
        self.values[lane * KEYS + key].tier
    }

    /// How many critical events were applied.
    #[inline]
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// How many events of other threads' lanes were applied, nearly.
    pub(crate) fn taken_beside(&self, thread: usize) -> u64 {
        self.lanes.iter().filter(|seen| usize::from(seen.thread) != thread).map(|seen| seen.next).sum()
    }

    /// What differs between any two states: for whoever holds on to one.
    pub(crate) fn digest(&self) -> (u64, Vec<u64>) {
        let (lanes, values) = (self.lanes.iter().map(|seen| seen.next), self.values.iter().map(|value| value.newest));
        (self.taken, lanes.chain(values).collect())
    }

    /// True when all parts are of the same moment.
    pub(crate) fn is_coherent(&self) -> bool {
        self.taken == self.lanes.iter().map(|seen| critical_among(seen.next)).sum::<u64>()
    }

    /// # Panics
    /// When an event was lost, doubled, damaged, out of its lane's order or without its context, when a key does not have its
    /// newest value, and when anything came in another order than is promised. `pushed` has the number of events of each lane.
    pub(crate) fn assert(&self, pushed: &[u64], order: Order) {
        let faults = (self.wrong, self.back);
        assert_eq!(faults, (0, 0), "events lost, doubled, damaged or without context, and values that went back");
        let next: Vec<_> = self.lanes.iter().map(|seen| seen.next).collect();
        let expected: Vec<_> = pushed.iter().map(|count| critical_from(*count)).collect();
        assert_eq!(next, expected, "the event after the last of each lane");
        let newest = |at| newest_of(at % KEYS, pushed[at / KEYS]).map_or(0, |number| number + 1);
        let is_newest = self.values.iter().enumerate().all(|(at, value)| value.newest == newest(at));
        assert!(is_newest, "each key has its newest value");
        assert!(self.is_coherent());
        let (astray, crossed) = match order {
            Order::Causal => (self.astray, self.crossed),
            Order::OfEachLane => (self.astray, 0),
            Order::OfCritical => (0, self.crossed),
        };
        assert_eq!((astray, crossed), (0, 0), "values out of place, and events ahead of what caused them");
    }
}

impl Clone for Board {
    fn clone(&self) -> Self {
        let Self { lanes, values, places, samples, .. } = self;
        let (lanes, values, places) = (lanes.clone(), values.clone(), places.clone());
        Self { lanes, values, places, samples: samples.clone(), ..*self }
    }

    /// Into what a retired snapshot has already.
    fn clone_from(&mut self, from: &Self) {
        self.lanes.clone_from(&from.lanes);
        self.values.clone_from(&from.values);
        self.places.clone_from(&from.places);
        let Self { taken, wrong, back, astray, crossed, .. } = *from;
        (self.taken, self.wrong, self.back, self.astray, self.crossed) = (taken, wrong, back, astray, crossed);
    }
}

/// For those that bring an event with its context.
impl<const WORDS: usize> Consumer<Dressed<WORDS>> for Board {
    #[inline]
    fn take(&mut self, dressed: &Dressed<WORDS>) {
        self.apply(&dressed.parcel, dressed.context);
    }

    #[inline]
    fn taken(&self) -> u64 {
        self.taken
    }
}

/// For those that bring an event and nothing else.
impl<const WORDS: usize> Consumer<Parcel<WORDS>> for Board {
    #[inline]
    fn take(&mut self, parcel: &Parcel<WORDS>) {
        self.apply(parcel, Context::default());
    }

    #[inline]
    fn taken(&self) -> u64 {
        self.taken
    }
}

#[cfg(test)]
mod tests {
    use super::super::parcel::enrich;
    use super::*;

    /// Two threads, two lanes each, in batches of two.
    const SHARES: Shares = Shares { lanes: 4, threads: 2, batch: 2, source: false };

    fn board() -> Board {
        Board::new(SHARES, false, Samples::default())
    }

    fn applied(events: impl IntoIterator<Item = (usize, u64)>) -> Board {
        let mut board = board();
        events.into_iter().for_each(|(lane, number)| board.take(&Parcel::<1>::new(lane, number)));
        board
    }

    /// As the threads push them.
    fn as_pushed(count: u64) -> Vec<(usize, u64)> {
        let rounds = (0..count).step_by(2).flat_map(|from| (0..4).map(move |lane| (lane, from)));
        rounds.flat_map(|(lane, from)| [(lane, from), (lane, from + 1)]).collect()
    }

    fn is_refused(board: &Board, pushed: &[u64], order: Order) -> bool {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| board.assert(pushed, order))).is_err()
    }

    #[test]
    fn everything_in_order_is_what_is_promised_by_anybody() {
        let board = applied(as_pushed(160));
        for order in [Order::Causal, Order::OfEachLane, Order::OfCritical] {
            board.assert(&[160; 4], order);
        }
        assert_eq!((board.taken(), board.taken_beside(0)), (4 * 140, 2 * 160));
    }

    #[test]
    fn values_that_a_newer_one_stands_for_are_not_missed() {
        applied(as_pushed(160).into_iter().filter(|(_, number)| number % 8 != 7 || *number > 90))
            .assert(&[160; 4], Order::Causal);
    }

    #[test]
    #[should_panic(expected = "events lost")]
    fn a_lost_event_is_noticed() {
        applied(as_pushed(16).into_iter().filter(|event| *event != (2, 5))).assert(&[16; 4], Order::OfCritical);
    }

    #[test]
    #[should_panic(expected = "events lost")]
    fn a_doubled_event_is_noticed() {
        applied([(0, 0), (0, 0)]).assert(&[1, 0, 0, 0], Order::OfCritical);
    }

    #[test]
    #[should_panic(expected = "after the last")]
    fn an_event_that_is_missing_at_the_end_is_noticed() {
        applied([(0, 0)]).assert(&[2, 0, 0, 0], Order::OfCritical);
    }

    #[test]
    #[should_panic(expected = "each key has its newest value")]
    fn a_value_that_is_missing_is_noticed() {
        applied(as_pushed(16).into_iter().filter(|event| *event != (1, 15))).assert(&[16; 4], Order::OfCritical);
    }

    #[test]
    #[should_panic(expected = "(0, 1)")]
    fn a_value_that_goes_back_is_noticed() {
        let mut events = as_pushed(144);
        events.push((0, 7));
        applied(events).assert(&[144; 4], Order::OfCritical);
    }

    #[test]
    fn a_value_that_comes_late_is_noticed_where_it_must_not() {
        let mut events = as_pushed(10);
        let value = events.iter().position(|event| *event == (3, 7)).unwrap();
        let value = events.remove(value);
        events.push(value);
        let board = applied(events);
        board.assert(&[10; 4], Order::OfCritical);
        assert!(is_refused(&board, &[10; 4], Order::OfEachLane));
        assert!(is_refused(&board, &[10; 4], Order::Causal));
    }

    #[test]
    fn what_overtakes_its_cause_in_another_lane_is_noticed_where_it_must_not() {
        // Lanes 0 and 2 are of one thread: it pushed to lane 0 first.
        let board = applied([(2, 0), (2, 1), (0, 0), (0, 1)]);
        board.assert(&[2, 0, 2, 0], Order::OfEachLane);
        assert!(is_refused(&board, &[2, 0, 2, 0], Order::Causal));
        // Lanes 0 and 1 are not.
        applied([(1, 0), (1, 1), (0, 0), (0, 1)]).assert(&[2, 2, 0, 0], Order::Causal);
    }

    #[test]
    #[should_panic(expected = "without context")]
    fn an_event_without_its_context_is_noticed() {
        let mut board = Board::new(SHARES, true, Samples::default());
        let (mut parcel, mut context) = (Parcel::<1>::new(0, 0), Context::default());
        enrich(&mut parcel, &mut context);
        board.apply(&parcel, context);
        board.assert(&[1, 0, 0, 0], Order::OfCritical);
    }

    #[test]
    fn a_copy_is_the_same_whatever_it_was_before() {
        let (some, mut other) = (applied(as_pushed(40)), board());
        other.clone_from(&some);
        assert!(some.digest() == other.digest() && some.digest() == some.clone().digest());
        other.assert(&[40; 4], Order::Causal);
        other.take(&Parcel::<1>::new(0, 40));
        assert!(some.digest() != other.digest());
    }

    #[test]
    fn parts_of_different_moments_are_not_coherent() {
        let mut board = applied(as_pushed(40));
        board.lanes[1] = applied(as_pushed(42)).lanes[1];
        assert!(!board.is_coherent());
    }
}

//! W15: updates of keyed values for a consumer that is busy most of the time and wants the newest of each key.
//!
//! The benchmark of LMAX's coalescing ring buffer (a geometric mix of ten keys, a consumer that is busy for ten microseconds
//! per turn), with more keys, with a longer turn, and with how old values are when they are applied.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_utils::Backoff;
use foldhash::fast::RandomState;
use hdrhistogram::Histogram;
use indexmap::IndexMap;
use mainlane::{
    Budget, Class, Effects, Envelope, Event, Handle, Lane, LaneBuilder, MainLane, Pipeline, Publish, Reducer, Tier,
};
use parking_lot::Mutex;
use rand::SeedableRng;
use rand::distr::{Distribution, Uniform};
use rand::rngs::SmallRng;
use rand_distr::{Geometric, Zipf};

use super::BurstArgs;
use super::limits::Bound;
use super::machine;
use super::rounds::{self, Contender, Figure, Table, histogram};
use super::transport::{Consumer, Receiving, Sending};

const SLICE: Duration = Duration::from_millis(50);
/// Not timed: the part of a slice, one in so many, in which maps grow and pages are touched for the first time.
const WARM_UP: u32 = 5;
/// One update in so many carries the time of its push; the clock costs more than some of the pushes.
const SAMPLED: usize = 8;
/// How many updates are made up before anything is timed; after these they are the same keys again.
const MADE_UP: usize = 1 << 18;
/// As many updates as a producer makes in a millisecond or two.
const CHANNEL_SLOTS: usize = 1 << 16;

/// How often which key is updated.
#[derive(Clone, Copy)]
enum Frequency {
    /// Half of the updates are of the first key, a quarter of the second, and so on.
    Geometric,
    Uniform,
    /// The second key has half as many updates as the first, the third a third.
    Zipf,
}

const MIXES: [(usize, Frequency, &str); 5] = [
    (10, Frequency::Geometric, "10 keys, geometric"),
    (1_000, Frequency::Uniform, "1,000 keys, uniform"),
    (1_000, Frequency::Zipf, "1,000 keys, Zipf"),
    (100_000, Frequency::Uniform, "100,000 keys, uniform"),
    (100_000, Frequency::Zipf, "100,000 keys, Zipf"),
];
const BUSY: [(Duration, &str); 2] = [(Duration::from_micros(10), "10 µs"), (Duration::from_millis(1), "1 ms")];

/// What one slice does.
#[derive(Clone)]
struct Load {
    key_count: usize,
    /// The keys of the updates, in order, again and again.
    keys: Arc<[u32]>,
    /// How long the consumer is busy after a turn that applied something.
    busy: Duration,
    slice: Duration,
}

pub(crate) fn tables(args: &BurstArgs) -> Vec<Table> {
    let mut tables = Vec::new();
    for (key_count, frequency, mix) in MIXES {
        let keys = made_up(key_count, frequency, args.seed);
        for (busy, turn) in BUSY {
            let load = Load { key_count, keys: keys.clone(), busy, slice: args.slice.unwrap_or(SLICE) };
            tables.push(table(format!("W15 {mix}, a consumer that is busy for {turn} per turn"), &load, args));
        }
    }
    tables
}

fn table(name: String, load: &Load, args: &BurstArgs) -> Table {
    let all = [
        of("mainlane, in causal order", load, Ours::clocked),
        of("mainlane, unclocked", load, Ours::unclocked),
        of("a locked IndexMap, swapped", load, Swapping::open),
        of("crossbeam-channel, the consumer keeps the newest", load, Sifting::open),
    ];
    let (contenders, sums): (Vec<_>, Vec<_>) = all.into_iter().unzip();
    let mut table = rounds::run(name, "updates per second", true, contenders, args.rounds as usize, args.seed);
    table.notes.push("the times are the age of values when they are applied".to_owned());
    table.notes.extend(table.rows.iter().zip(&sums).map(|(row, sum)| sum.get().note(&row.name)));
    table.notes.extend(machine::note_if_crowded(1));
    // Each push enters its number.
    table.limit(Bound::updates(1));
    table
}

/// The keys of so many updates.
fn made_up(key_count: usize, frequency: Frequency, seed: u64) -> Arc<[u32]> {
    let (random, last) = (SmallRng::seed_from_u64(seed), key_count as u32 - 1);
    let drawn = |from: Box<dyn Iterator<Item = u32>>| from.take(MADE_UP).collect();
    match frequency {
        Frequency::Geometric => {
            let tosses = Geometric::new(0.5).expect("a half is a probability");
            drawn(Box::new(tosses.sample_iter(random).map(move |tosses| tosses.min(u64::from(last)) as u32)))
        }
        Frequency::Uniform => {
            let all = Uniform::new_inclusive(0, last).expect("there is a key");
            drawn(Box::new(all.sample_iter(random)))
        }
        Frequency::Zipf => {
            let ranks = Zipf::new(key_count as f64, 1.0).expect("there is a key");
            drawn(Box::new(ranks.sample_iter(random).map(|rank: f64| rank as u32 - 1)))
        }
    }
}

/// A new value of a key, of 24 bytes.
#[derive(Clone, Copy)]
struct Update {
    key: u32,
    /// Of all updates of the slice; the first is one.
    number: u64,
    /// Since the slice began; zero if it was not looked at the clock.
    pushed_ns: u64,
}

/// The newest value of each key that was applied.
#[derive(Clone)]
struct Newest {
    began: Instant,
    numbers: Vec<u64>,
    applied: u64,
    /// Values older than what their key had already.
    back: u64,
    age: Histogram<u64>,
}

impl Newest {
    fn new(began: Instant, key_count: usize) -> Self {
        Self { began, numbers: vec![0; key_count], applied: 0, back: 0, age: histogram() }
    }

    /// # Panics
    /// When a key went back, or does not have the newest of `pushed` updates.
    fn assert(&self, keys: &[u32], pushed: u64) {
        let mut expected = vec![0; self.numbers.len()];
        let recent = pushed.saturating_sub(keys.len() as u64)..pushed;
        recent.for_each(|before| expected[keys[before as usize % keys.len()] as usize] = before + 1);
        assert_eq!(self.back, 0, "values that were older than those before them");
        assert!(self.numbers == expected, "each key has its newest value");
    }
}

impl Consumer<Update> for Newest {
    #[inline]
    fn take(&mut self, update: &Update) {
        let newest = &mut self.numbers[update.key as usize];
        self.back += u64::from(update.number <= *newest);
        *newest = update.number;
        self.applied += 1;
        if update.pushed_ns > 0 {
            let age_ns = self.began.elapsed().as_nanos() as u64 - update.pushed_ns;
            self.age.saturating_record(age_ns.max(1));
        }
    }

    fn taken(&self) -> u64 {
        self.applied
    }
}

/// The consumer's end of a contender.
trait Coalescing: Receiving<Newest> {
    /// Updates that were dropped for want of room. All were pushed.
    fn shed(&self, pushed: u64) -> u64 {
        let _ = pushed;
        0
    }
}

/// Of all slices of a contender.
#[derive(Clone, Copy, Default)]
struct Sums {
    pushed: u64,
    applied: u64,
    shed: u64,
}

impl Sums {
    fn note(self, name: &str) -> String {
        let Self { pushed, applied, shed } = self;
        format!("{name}: {:.1} pushed for each applied, {shed} shed", pushed as f64 / applied as f64)
    }
}

/// A contender, and what it sums up.
fn of<S: Sending<Update>, R: Coalescing>(
    name: &str,
    load: &Load,
    open: fn(Newest) -> (S, R),
) -> (Contender, Rc<Cell<Sums>>) {
    let (load, sums) = (load.clone(), Rc::new(Cell::new(Sums::default())));
    let sum = sums.clone();
    let contender = Contender::new(name, move || {
        let (figure, slice) = slice(&load, open);
        let Sums { pushed, applied, shed } = sum.get();
        sum.set(Sums { pushed: pushed + slice.pushed, applied: applied + slice.applied, shed: shed + slice.shed });
        figure
    });
    (contender, sums)
}

fn slice<S: Sending<Update>, R: Coalescing>(load: &Load, open: fn(Newest) -> (S, R)) -> (Figure, Sums) {
    let began = Instant::now();
    let (mut sender, mut receiver) = open(Newest::new(began, load.key_count));
    let over = Arc::new(AtomicBool::new(false));
    let (producers, consumers) = ((load.clone(), over.clone()), (load.busy, over));
    let consuming = std::thread::spawn(move || {
        machine::pin_consumer(1);
        consume(&mut receiver, consumers.0, &consumers.1);
        receiver
    });
    let producing = std::thread::spawn(move || {
        machine::pin_producer(0, 1);
        let pushed = push_all(&mut sender, &producers.0, began);
        producers.1.store(true, Ordering::Release);
        // Kept until all is applied.
        (pushed, sender)
    });
    let ((pushed, rate), _sender) = producing.join().expect("the producer ends");
    let receiver = consuming.join().expect("the consumer ends");
    let newest = receiver.consumer();
    newest.assert(&load.keys, pushed);
    let sums = Sums { pushed, applied: newest.applied, shed: receiver.shed(pushed) };
    (Figure { value: rate, latency: Some(newest.age.clone()) }, sums)
}

/// Pushes updates until the slice is over. How many that were, and how many a second.
fn push_all(sender: &mut impl Sending<Update>, load: &Load, began: Instant) -> (u64, f64) {
    let warm_up = load.slice / WARM_UP;
    let (start, timed) = (began.elapsed(), load.slice - warm_up);
    let (mut number, mut timed_from) = (0, None);
    for keys in load.keys.chunks_exact(SAMPLED).cycle() {
        let now = began.elapsed();
        if now - start >= warm_up {
            let (since, before) = *timed_from.get_or_insert((now, number));
            if now - since >= timed {
                return (number, (number - before) as f64 / (now - since).as_secs_f64());
            }
        }
        for (at, key) in keys.iter().enumerate() {
            number += 1;
            let pushed_ns = if at == 0 { now.as_nanos() as u64 } else { 0 };
            sender.push(Update { key: *key, number, pushed_ns });
        }
    }
    unreachable!("it goes on until the slice is over")
}

/// Takes what there is, and is busy after each turn in which there was something.
fn consume(receiver: &mut impl Coalescing, busy: Duration, over: &AtomicBool) {
    let idle = Backoff::new();
    loop {
        // Looked at first: what was pushed before is found by the turn.
        let last = over.load(Ordering::Acquire);
        if receiver.turn() {
            spin(busy);
            idle.reset();
        } else if last {
            return;
        } else {
            idle.snooze();
        }
    }
}

fn spin(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

impl Event for Update {
    type Key = u32;
    type Facets = ();

    #[inline]
    fn class(&self) -> Class<u32> {
        Class::lossy(self.key, Tier::NORMAL)
    }
}

impl Reducer for Newest {
    type Event = Update;
    type Effect = ();

    #[inline]
    fn apply(&mut self, envelope: &Envelope<'_, Update>, _: &mut Effects<()>) {
        self.take(envelope.event);
    }
}

/// A pipeline, whose lane has a place for every key.
struct Ours {
    main_lane: MainLane<Newest>,
    handle: Handle<Newest>,
}

impl Ours {
    fn clocked(newest: Newest) -> (Lane<Update>, Self) {
        Self::open(newest, |lane| lane)
    }

    fn unclocked(newest: Newest) -> (Lane<Update>, Self) {
        Self::open(newest, LaneBuilder::unclocked)
    }

    fn open(newest: Newest, set: fn(LaneBuilder<Newest>) -> LaneBuilder<Newest>) -> (Lane<Update>, Self) {
        let key_count = newest.numbers.len();
        let builder = Pipeline::builder(newest).publish(Publish::OnRequest);
        let lane = set(builder.lane("updates").keys(key_count)).open().expect("the builder is not built yet");
        let (main_lane, handle) = builder.build().expect("all settings are in range");
        (lane, Self { main_lane, handle })
    }
}

impl Sending<Update> for Lane<Update> {
    #[inline(always)]
    fn push(&mut self, update: Update) {
        assert!(Lane::push(self, update).is_ok(), "the pipeline is open");
    }
}

impl Receiving<Newest> for Ours {
    #[inline]
    fn turn(&mut self) -> bool {
        match self.main_lane.turn(Budget::UNLIMITED) {
            Ok(turn) => turn.events > 0,
            Err(error) => panic!("{error}"),
        }
    }

    fn consumer(&self) -> &Newest {
        self.main_lane.state()
    }
}

impl Coalescing for Ours {
    fn shed(&self, pushed: u64) -> u64 {
        let events = self.handle.counters().events;
        assert_eq!((events.pushed, events.in_flight), (pushed, 0), "events pushed, and those under way");
        assert!(events.balanced(), "{events:?}");
        events.shed
    }
}

type Unread = IndexMap<u32, Update, RandomState>;

/// A map behind a lock; the consumer swaps it for one that is empty.
struct Swapping {
    shared: Arc<Mutex<Unread>>,
    own: Unread,
    newest: Newest,
}

struct Inserting(Arc<Mutex<Unread>>);

impl Swapping {
    fn open(newest: Newest) -> (Inserting, Self) {
        let shared = Arc::new(Mutex::new(Unread::default()));
        (Inserting(shared.clone()), Self { shared, own: Unread::default(), newest })
    }
}

impl Sending<Update> for Inserting {
    #[inline(always)]
    fn push(&mut self, update: Update) {
        self.0.lock().insert(update.key, update);
    }
}

impl Receiving<Newest> for Swapping {
    fn turn(&mut self) -> bool {
        std::mem::swap(&mut *self.shared.lock(), &mut self.own);
        let any = !self.own.is_empty();
        self.own.drain(..).for_each(|(_, update)| self.newest.take(&update));
        any
    }

    fn consumer(&self) -> &Newest {
        &self.newest
    }
}

impl Coalescing for Swapping {}

/// A bounded channel with every update in it; the consumer keeps the newest of what is there.
struct Sifting {
    receiver: crossbeam_channel::Receiver<Update>,
    unread: HashMap<u32, Update, RandomState>,
    newest: Newest,
}

struct Queueing(crossbeam_channel::Sender<Update>);

impl Sifting {
    fn open(newest: Newest) -> (Queueing, Self) {
        let (sender, receiver) = crossbeam_channel::bounded(CHANNEL_SLOTS);
        (Queueing(sender), Self { receiver, unread: HashMap::default(), newest })
    }
}

impl Sending<Update> for Queueing {
    #[inline(always)]
    fn push(&mut self, update: Update) {
        let full = Backoff::new();
        while self.0.try_send(update).is_err() {
            full.snooze();
        }
    }
}

impl Receiving<Newest> for Sifting {
    fn turn(&mut self) -> bool {
        // No more than there is now: a producer that is quick enough would never let a turn end.
        for update in self.receiver.try_iter().take(self.receiver.len()) {
            self.unread.insert(update.key, update);
        }
        let any = !self.unread.is_empty();
        self.unread.drain().for_each(|(_, update)| self.newest.take(&update));
        any
    }

    fn consumer(&self) -> &Newest {
        &self.newest
    }
}

impl Coalescing for Sifting {}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(key_count: usize, frequency: Frequency) -> Vec<usize> {
        let mut counts = vec![0; key_count];
        made_up(key_count, frequency, 1).iter().for_each(|key| counts[*key as usize] += 1);
        counts
    }

    /// Within a tenth.
    fn is_about(count: usize, part: f64) -> bool {
        (count as f64 / (MADE_UP as f64 * part) - 1.0).abs() < 0.1
    }

    #[test]
    fn keys_are_as_frequent_as_their_mix_says() {
        let geometric = counts(10, Frequency::Geometric);
        assert!(is_about(geometric[0], 0.5) && is_about(geometric[1], 0.25) && geometric[9] > 0, "{geometric:?}");
        assert!(counts(100, Frequency::Uniform).iter().all(|count| is_about(*count, 0.01)));
        let zipf = counts(1_000, Frequency::Zipf);
        assert!(is_about(zipf[1], zipf[0] as f64 / MADE_UP as f64 / 2.0) && zipf[0] > 20 * zipf[99], "{zipf:?}");
    }

    fn newest(updates: &[(u32, u64)]) -> Newest {
        let mut newest = Newest::new(Instant::now(), 2);
        updates.iter().for_each(|&(key, number)| newest.take(&Update { key, number, pushed_ns: 0 }));
        newest
    }

    #[test]
    fn the_newest_of_each_key_is_enough() {
        // Keys 0, 1, 1 and again: updates 1 and 4 are of key 0, the others of key 1.
        newest(&[(0, 1), (1, 3), (0, 4), (1, 5)]).assert(&[0, 1, 1], 5);
        newest(&[(1, 5), (0, 4)]).assert(&[0, 1, 1], 5);
    }

    #[test]
    #[should_panic(expected = "each key has its newest value")]
    fn a_value_that_is_missing_is_noticed() {
        newest(&[(0, 4), (1, 3)]).assert(&[0, 1, 1], 5);
    }

    #[test]
    #[should_panic(expected = "older than those before them")]
    fn a_key_that_goes_back_is_noticed() {
        newest(&[(0, 4), (1, 5), (0, 1), (0, 4)]).assert(&[0, 1, 1], 5);
    }
}

//! W16: what it costs to read the newest state, beside other readers and threads that keep the machine busy; and what readers
//! that hold on to a state cost the one who writes it.

use std::hint::black_box;
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Cache};
use hdrhistogram::Histogram;
use mainlane::{Budget, Class, Effects, Envelope, Event, Pipeline, Reader, Reducer};
use parking_lot::{Mutex, RwLock};

use super::BurstArgs;
use super::limits::Bound;
use super::machine;
use super::rounds::{self, Contender, Figure, Spread, Table, histogram};

const SLICE: Duration = Duration::from_millis(20);
/// Between two states, where it is the readers that are measured.
const BETWEEN: Duration = Duration::from_millis(1);
/// So many loads are timed together; then one on its own, for the percentiles. A figure is of the median stretch, so what a
/// preempted thread loses is in the percentiles alone.
const LOADS: u32 = 1000;
/// So many states are written in a stretch.
const WRITES: u32 = 100;
/// Snapshots that a reader keeps. More than arc-swap has room for guards that are cheap.
const HELD: usize = 32;
/// Words of the state, 512 bytes in all.
const WORDS: usize = 64;
/// By how much a reader may slow the writer down.
const TOLERANCE: f64 = 0.05;

/// Who takes part in a slice.
#[derive(Clone, Copy)]
struct Load {
    readers: usize,
    /// Threads that do nothing but use a core.
    burners: usize,
    slice: Duration,
}

pub(crate) fn tables(args: &BurstArgs) -> Vec<Table> {
    let slice = args.slice.unwrap_or(SLICE);
    let loads = (1..=3).flat_map(|readers| (0..=2).map(move |burners| Load { readers, burners, slice }));
    let mut tables: Vec<_> = loads.map(|load| reading(load, args)).collect();
    tables.push(writing(slice, args));
    tables
}

fn reading(load: Load, args: &BurstArgs) -> Table {
    let Load { readers, burners, .. } = load;
    let name = format!("W16 {readers} reading 512 bytes, {burners} busy elsewhere, a new state every ms");
    let mut table = rounds::run(name, "ns per load", false, reading_contenders(load), args.rounds as usize, args.seed);
    table.notes.push(format!(
        "of the median stretch of {LOADS} loads; the times are of one load in {LOADS}, with a look at the clock"
    ));
    table.limit(Bound::cached());
    let cores = machine::cores();
    if readers + burners > cores {
        table.notes.push(format!(
            "oversubscribed: {} busy threads on {cores} cores; the system's scheduler is in the times",
            readers + burners
        ));
    }
    table
}

/// The state: a number, again and again.
#[derive(Clone, Copy)]
struct Board([u64; WORDS]);

impl Board {
    fn new(number: u64) -> Self {
        Self([number; WORDS])
    }

    /// # Panics
    /// When it is of more than one number.
    #[inline]
    fn number(&self) -> u64 {
        let (first, last) = (self.0[0], self.0[WORDS - 1]);
        assert_eq!(first, last, "a state is seen as a whole");
        first
    }
}

/// The number of the board to come.
struct Draw(u64);

impl Event for Draw {
    type Key = ();
    type Facets = ();

    fn class(&self) -> Class<()> {
        Class::Critical
    }
}

impl Reducer for Board {
    type Event = Draw;
    type Effect = ();

    fn apply(&mut self, envelope: &Envelope<'_, Draw>, _: &mut Effects<()>) {
        self.0.fill(envelope.event.0);
    }
}

/// A pipeline: what makes a new state of each number, and who reads it.
fn ours() -> (impl FnMut(u64) + Send + 'static, Reader<Board>) {
    let builder = Pipeline::builder(Board::new(0));
    let mut lane = builder.lane("boards").open().expect("the builder is not built yet");
    let (mut main_lane, handle) = builder.build().expect("all settings are in range");
    let reader = handle.reader();
    let write = move |number| {
        assert!(lane.push(Draw(number)).is_ok(), "the pipeline is open");
        let turn = main_lane.turn(Budget::UNLIMITED).unwrap_or_else(|error| panic!("{error}"));
        assert!(turn.published.is_some(), "every turn publishes");
    };
    (write, reader)
}

fn swapped() -> (impl FnMut(u64) + Send + 'static, Arc<ArcSwap<Board>>) {
    let cell = Arc::new(ArcSwap::from_pointee(Board::new(0)));
    let writer = cell.clone();
    (move |number| writer.store(Arc::new(Board::new(number))), cell)
}

fn locked() -> (impl FnMut(u64) + Send + 'static, Arc<RwLock<Arc<Board>>>) {
    let cell = Arc::new(RwLock::new(Arc::new(Board::new(0))));
    let writer = cell.clone();
    (move |number| *writer.write() = Arc::new(Board::new(number)), cell)
}

fn copied() -> (impl FnMut(u64) + Send + 'static, Arc<Mutex<Board>>) {
    let cell = Arc::new(Mutex::new(Board::new(0)));
    let writer = cell.clone();
    (move |number| *writer.lock() = Board::new(number), cell)
}

/// A load that keeps the last [`HELD`] it made.
fn holding<T>(mut load: impl FnMut() -> T, number: impl Fn(&T) -> u64) -> impl FnMut() -> u64 {
    let mut held: [Option<T>; HELD] = std::array::from_fn(|_| None);
    let mut at = 0;
    move || {
        let newest = held[at].insert(load());
        at = (at + 1) % HELD;
        number(newest)
    }
}

fn reading_contenders(load: Load) -> Vec<Contender> {
    vec![
        of("mainlane, load", load, ours, |reader| move || reader.load().number()),
        of("mainlane, cached load", load, ours, |reader| {
            let mut cached = reader.cached();
            move || cached.load().number()
        }),
        of("mainlane, load, 32 held", load, ours, |reader| {
            holding(move || reader.load(), |snapshot| snapshot.number())
        }),
        of("arc-swap, load", load, swapped, |cell| move || cell.load().number()),
        of("arc-swap, load_full", load, swapped, |cell| move || cell.load_full().number()),
        of("arc-swap, load, 32 held", load, swapped, |cell| holding(move || cell.load(), |board| board.number())),
        of("arc-swap, cached load", load, swapped, |cell| {
            let mut cached = Cache::new(cell);
            move || cached.load().number()
        }),
        of("a read-write lock, the Arc in it", load, locked, |cell| {
            move || {
                let board = cell.read().clone();
                board.number()
            }
        }),
        of("a mutex, a copy of the state", load, copied, |cell| {
            move || {
                let board = black_box(*cell.lock());
                board.number()
            }
        }),
    ]
}

/// A contender by what writes, what is shared, and how each reader reads that.
fn of<C: Clone + 'static, W, L>(
    name: &str,
    load: Load,
    open: fn() -> (W, C),
    reader: impl Fn(C) -> L + 'static,
) -> Contender
where
    W: FnMut(u64) + Send + 'static,
    L: FnMut() -> u64 + Send + 'static,
{
    Contender::new(name, move || {
        let (write, shared) = open();
        let readers = (0..load.readers).map(|_| reader(shared.clone())).collect();
        slice(load, write, readers)
    })
}

/// What a reader or a writer did.
struct Timed {
    stretches: Histogram<u64>,
    each: Histogram<u64>,
}

impl Timed {
    fn new() -> Self {
        Self { stretches: histogram(), each: histogram() }
    }

    fn add(&mut self, other: &Self) {
        self.stretches.add(&other.stretches).expect("both have the same bounds");
        self.each.add(&other.each).expect("both have the same bounds");
    }

    /// Of the median stretch.
    fn stretch_ns(&self) -> f64 {
        self.stretches.value_at_percentile(50.0) as f64
    }
}

fn record(histogram: &mut Histogram<u64>, time: Duration) {
    histogram.saturating_record(time.as_nanos() as u64);
}

/// Everybody at once. Each stops by the clock: on a crowded machine a word from another thread could wait for a core.
fn slice<L: FnMut() -> u64 + Send + 'static>(
    load: Load,
    write: impl FnMut(u64) + Send + 'static,
    readers: Vec<L>,
) -> Figure {
    let start = Arc::new(Barrier::new(load.readers + load.burners + 1));
    let time = load.slice;
    let burners: Vec<_> = (0..load.burners).map(|_| at_once(&start, move || burn(time))).collect();
    let writer = at_once(&start, move || write_now_and_then(write, time));
    let readers: Vec<_> = readers.into_iter().map(|reader| at_once(&start, move || read(reader, time))).collect();
    let mut all = Timed::new();
    readers.into_iter().for_each(|reader| all.add(&reader.join().expect("a reader ends")));
    burners.into_iter().chain([writer]).for_each(|thread| thread.join().expect("the others end"));
    Figure { value: all.stretch_ns() / f64::from(LOADS), latency: Some(all.each) }
}

/// A thread that begins when all have come.
fn at_once<T: Send + 'static>(
    start: &Arc<Barrier>,
    work: impl FnOnce() -> T + Send + 'static,
) -> std::thread::JoinHandle<T> {
    let start = start.clone();
    std::thread::spawn(move || {
        start.wait();
        work()
    })
}

fn burn(time: Duration) {
    let began = Instant::now();
    while began.elapsed() < time {
        std::hint::spin_loop();
    }
}

fn write_now_and_then(mut write: impl FnMut(u64), time: Duration) {
    let (began, mut number) = (Instant::now(), 0);
    while began.elapsed() < time {
        number += 1;
        write(number);
        std::thread::sleep(BETWEEN);
    }
}

/// Loads until the time is up.
///
/// # Panics
/// When a state is older than the one before it, or in pieces.
fn read(mut load: impl FnMut() -> u64, time: Duration) -> Timed {
    let mut loaded = Timed::new();
    let (mut newest, mut back) = (0, 0);
    let mut one = || {
        let number = load();
        back += u64::from(number < newest);
        newest = number;
    };
    let began = Instant::now();
    // At least once, however late this thread was.
    loop {
        let start = Instant::now();
        (0..LOADS).for_each(|_| one());
        let middle = Instant::now();
        one();
        let end = Instant::now();
        record(&mut loaded.stretches, middle.duration_since(start));
        record(&mut loaded.each, end.duration_since(middle));
        if end.duration_since(began) >= time {
            break;
        }
    }
    assert_eq!(back, 0, "states that were older than those before them");
    loaded
}

/// What the one who writes flat out notices of those who hold on to what they read.
fn writing(slice: Duration, args: &BurstArgs) -> Table {
    let contenders = vec![
        flat_out("mainlane, the writer alone", slice, ours, |_| ()),
        flat_out("mainlane, beside a reader that holds a snapshot", slice, ours, |reader| reader.load()),
        flat_out("mainlane, beside a reader that holds 32 times the same", slice, ours, |reader| {
            [(); HELD].map(|()| reader.load())
        }),
        flat_out("arc-swap, the writer alone", slice, swapped, |_| ()),
        flat_out("arc-swap, beside a reader that holds an Arc", slice, swapped, |cell| cell.load_full()),
        flat_out("a read-write lock, the writer alone", slice, locked, |_| ()),
        flat_out("a read-write lock, beside a reader that holds an Arc", slice, locked, |cell| cell.read().clone()),
    ];
    let name = "W16 writing a state of 512 bytes flat out";
    let mut table = rounds::run(name, "states per second", true, contenders, args.rounds as usize, args.seed);
    table.notes.push(format!(
        "of the median stretch of {WRITES} states; the times are of each turn or store, a preempted writer in the longest"
    ));
    table.notes.push(verdict(table.rows[1].first_against_this));
    table
}

/// Whether a writer keeps its rate beside a reader; `alone` is its rate alone against that.
fn verdict(alone: Spread) -> String {
    let slower = alone.median - 1.0;
    let is = if slower <= TOLERANCE { "is" } else { "IS NOT" };
    format!(
        "beside a reader that holds a snapshot mainlane's writer is {:.1} % slower than alone, which {is} within {:.0} %",
        slower * 100.0,
        TOLERANCE * 100.0
    )
}

fn flat_out<C: Send + 'static, W, H>(
    name: &str,
    time: Duration,
    open: fn() -> (W, C),
    hold: impl Fn(&C) -> H + Copy + Send + 'static,
) -> Contender
where
    W: FnMut(u64) + Send + 'static,
{
    Contender::new(name, move || {
        let (write, shared) = open();
        let (has_loaded, wait_loaded) = channel();
        let (release, wait_released) = channel::<()>();
        let holding = std::thread::spawn(move || {
            let held = hold(&shared);
            has_loaded.send(()).expect("it is waited for");
            // Until the writer has ended.
            let _ = wait_released.recv();
            drop(held);
        });
        wait_loaded.recv().expect("the reader loads");
        let writing = std::thread::spawn(move || write_flat_out(write, time));
        let figure = writing.join().expect("the writer ends");
        drop(release);
        holding.join().expect("the reader ends");
        figure
    })
}

fn write_flat_out(mut write: impl FnMut(u64), time: Duration) -> Figure {
    let mut written = Timed::new();
    let (began, mut number) = (Instant::now(), 0);
    let mut start = began;
    // At least once, however late this thread was.
    loop {
        let stretch = start;
        for _ in 0..WRITES {
            number += 1;
            write(number);
            let end = Instant::now();
            record(&mut written.each, end.duration_since(start));
            start = end;
        }
        record(&mut written.stretches, start.duration_since(stretch));
        if start.duration_since(began) >= time {
            break;
        }
    }
    Figure { value: f64::from(WRITES) / written.stretch_ns() * 1e9, latency: Some(written.each) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_let_go_after_so_many_loads() {
        let shared = Arc::new(7);
        let cell = shared.clone();
        let mut load = holding(move || cell.clone(), |number| **number);
        assert_eq!((0..2 * HELD).map(|_| load()).sum::<u64>(), 7 * 2 * HELD as u64);
        assert_eq!(Arc::strong_count(&shared), HELD + 2);
    }

    #[test]
    #[should_panic(expected = "older than those before them")]
    fn a_reader_that_goes_back_is_noticed() {
        let mut numbers = [3, 4, 3].into_iter().cycle();
        read(|| numbers.next().unwrap(), Duration::from_millis(1));
    }

    #[test]
    fn a_writer_that_keeps_its_rate_is_said_to() {
        let spread = |median| Spread { lower: median, median, upper: median };
        assert!(verdict(spread(1.02)).contains("2.0 % slower than alone, which is within 5 %"));
        assert!(verdict(spread(1.2)).contains("IS NOT"));
    }
}

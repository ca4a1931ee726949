//! Many projects at once: a crew of few threads, a thread for each project, and, for reference, a tokio task for each around a
//! channel and a state behind a lock.
//!
//! `cargo bench --features register --bench crew` prints all; with `-- rate`, `-- wake` or `-- idle` a part.
//!
//! All run in one process, in turn, in short slices, in random order; figures are medians over rounds, with quartiles. What is
//! pushed is counted when it has arrived. The tokio tasks do what is left of the work when there are no lanes, no order between
//! producers, no counters, no budget and no snapshots: they are what lies below, not a peer.

#[path = "crew/idle.rs"]
mod idle;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mainlane::register::{Crew, Hosted};
use mainlane::{Class, Drive, Effects, Envelope, Event, Lane, MainLane, Pipeline, Reducer, Running};
use tokio::sync::mpsc;

/// How many threads the crew has, and tokio.
const THREADS: usize = 2;
/// Slots of each lane and channel, and entries of each flight recorder.
const ROOM: usize = 64;
const RECORDER: usize = 16;
/// Events of a slice, and how many are pushed to one project before it is the next one's turn.
const EVENTS: u64 = 200_000;
const BATCHES: [u64; 2] = [1, 16];
const ROUNDS: usize = 7;
/// Events a second, and for how long.
const RATES: [u64; 2] = [500, 20_000];
const FOR: Duration = Duration::from_millis(400);
const PATIENCE: Duration = Duration::from_secs(60);

/// Meant to be pushed at this moment, in nanoseconds since the state was made.
#[derive(Debug)]
struct Ping(u64);

impl Event for Ping {
    type Key = ();
    type Facets = ();

    fn class(&self) -> Class<()> {
        Class::Critical
    }
}

/// What one project is about.
#[derive(Clone)]
struct State {
    count: u64,
    book: Arc<Book>,
}

/// What all projects write down together.
struct Book {
    begin: Instant,
    late: Mutex<Histogram<u64>>,
    arrived: AtomicU64,
    times: bool,
}

impl State {
    fn apply(&mut self, ping: &Ping) {
        self.count += 1;
        self.book.arrived.fetch_add(1, Relaxed);
        if self.book.times {
            let late = (self.book.begin.elapsed().as_nanos() as u64).saturating_sub(ping.0);
            self.book.late.lock().expect("nobody panics").record(late.max(1)).expect("it grows");
        }
    }
}

impl Reducer for State {
    type Event = Ping;
    type Effect = ();

    fn apply(&mut self, envelope: &Envelope<'_, Ping>, _: &mut Effects<()>) {
        self.apply(envelope.event);
    }
}

/// How many projects are driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Crew,
    Threads,
    Tokio,
}

pub(crate) const WAYS: [Way; 3] = [Way::Crew, Way::Threads, Way::Tokio];

impl Way {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Way::Crew => "a crew of two threads",
            Way::Threads => "a thread for each",
            Way::Tokio => "a tokio task for each, two threads",
        }
    }
}

/// Projects that are open, and who drives them.
#[expect(dead_code, reason = "what is dropped at the end")]
enum Driven {
    Crew(Vec<Hosted<State>>, Crew),
    Threads(Vec<Running<State>>),
    Tokio(tokio::runtime::Runtime),
}

enum Ends {
    Lanes(Vec<Lane<Ping>>),
    Channels(Vec<mpsc::Sender<Ping>>),
}

pub(crate) struct Open {
    ends: Ends,
    book: Arc<Book>,
    _driven: Driven,
}

impl Open {
    pub(crate) fn new(way: Way, projects: usize, times: bool) -> Self {
        let late = Mutex::new(Histogram::new(3).expect("three digits are possible"));
        let book = Arc::new(Book { begin: Instant::now(), late, arrived: AtomicU64::new(0), times });
        let state = || State { count: 0, book: book.clone() };
        let pipeline = || -> (Lane<Ping>, MainLane<State>) {
            let builder = Pipeline::builder(state()).flight_recorder(RECORDER);
            let lane = builder.lane("pings").capacity(ROOM).open().expect("not built yet");
            (lane, builder.build().expect("settings are in range").0)
        };
        let (lanes, main_lanes): (Vec<_>, Vec<_>) = match way {
            Way::Tokio => (Vec::new(), Vec::new()),
            _ => (0..projects).map(|_| pipeline()).unzip(),
        };
        let (ends, driven) = match way {
            Way::Crew => {
                let crew = Crew::builder().threads(THREADS).start().expect("threads");
                let host = |(n, main_lane)| crew.host(format!("{n}"), main_lane).expect("a name of its own");
                (Ends::Lanes(lanes), Driven::Crew(main_lanes.into_iter().enumerate().map(host).collect(), crew))
            }
            Way::Threads => {
                let spawn = |main_lane: MainLane<State>| main_lane.spawn(Drive::new()).expect("a thread");
                (Ends::Lanes(lanes), Driven::Threads(main_lanes.into_iter().map(spawn).collect()))
            }
            Way::Tokio => {
                let mut runtime = tokio::runtime::Builder::new_multi_thread();
                let runtime = runtime.worker_threads(THREADS).build().expect("a runtime");
                let task = |_| {
                    let (sender, mut receiver) = mpsc::channel::<Ping>(ROOM);
                    let state = Arc::new(Mutex::new(state()));
                    runtime.spawn(async move {
                        while let Some(ping) = receiver.recv().await {
                            state.lock().expect("nobody panics").apply(&ping);
                        }
                    });
                    sender
                };
                (Ends::Channels((0..projects).map(task).collect()), Driven::Tokio(runtime))
            }
        };
        Self { ends, book, _driven: driven }
    }

    fn projects(&self) -> usize {
        match &self.ends {
            Ends::Lanes(lanes) => lanes.len(),
            Ends::Channels(channels) => channels.len(),
        }
    }

    fn push(&mut self, project: usize, meant: u64) {
        match &mut self.ends {
            Ends::Lanes(lanes) => lanes[project].push(Ping(meant)).expect("it is open"),
            Ends::Channels(channels) => channels[project].blocking_send(Ping(meant)).expect("it is open"),
        }
    }

    fn wait_for(&self, events: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.book.arrived.load(Relaxed) < events {
            assert!(Instant::now() < deadline, "some of {events} did not arrive");
            std::thread::yield_now();
        }
    }

    /// Events a second through all of them.
    fn rate(&mut self, events: u64, batch: u64) -> f64 {
        let before = self.book.arrived.load(Relaxed);
        let (begin, projects) = (Instant::now(), self.projects());
        for n in 0..events {
            self.push((n / batch) as usize % projects, 0);
        }
        self.wait_for(before + events);
        events as f64 / begin.elapsed().as_secs_f64()
    }

    /// Pushes to one after the other at moments that are fixed before.
    fn pings(&mut self, rate: u64, length: Duration, seed: &mut u64) -> Histogram<u64> {
        let before = self.book.arrived.load(Relaxed);
        self.book.late.lock().expect("nobody panics").reset();
        let (every, begin) = (1_000_000_000 / rate, self.book.begin.elapsed().as_nanos() as u64 + 1_000_000);
        let events = length.as_nanos() as u64 / every;
        for n in 0..events {
            let meant = begin + n * every;
            wait_until(self.book.begin, meant);
            self.push(random(seed, self.projects()), meant);
        }
        self.wait_for(before + events);
        self.book.late.lock().expect("nobody panics").clone()
    }
}

/// Sleeps to shortly before, then looks at the clock.
fn wait_until(begin: Instant, meant: u64) {
    let left = meant.saturating_sub(begin.elapsed().as_nanos() as u64);
    if left > 300_000 {
        std::thread::sleep(Duration::from_nanos(left - 200_000));
    }
    while (begin.elapsed().as_nanos() as u64) < meant {
        std::hint::spin_loop();
    }
}

fn random(seed: &mut u64, below: usize) -> usize {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) as usize % below
}

fn shuffled(seed: &mut u64) -> [Way; 3] {
    let mut ways = WAYS;
    for at in (1..ways.len()).rev() {
        ways.swap(at, random(seed, at + 1));
    }
    ways
}

/// A median with its quartiles.
fn spread(figures: &mut [f64]) -> [f64; 3] {
    figures.sort_by(f64::total_cmp);
    [0.25, 0.5, 0.75].map(|part| figures[(part * (figures.len() - 1) as f64).round() as usize])
}

fn main() {
    let asked_for = |what: &str| std::env::args().any(|argument| argument == what);
    // Anything but `cargo bench` only wants to see that it runs.
    let quick = !asked_for("--bench");
    let all = !["rate", "wake", "idle"].into_iter().any(asked_for);
    let counts: &[usize] = if quick { &[1, 3] } else { &[1, 10, 100, 1000] };
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    if all || asked_for("rate") {
        rate(counts, quick, &mut seed);
    }
    if all || asked_for("wake") {
        wake(counts, quick, &mut seed);
    }
    if all || asked_for("idle") {
        idle::run(counts, quick);
    }
}

fn rate(counts: &[usize], quick: bool, seed: &mut u64) {
    let (events, rounds) = if quick { (500, 1) } else { (EVENTS, ROUNDS) };
    for batch in BATCHES {
        println!("thousand events a second in all, {batch} to a project before the next one's turn");
        for &projects in counts {
            let mut figures = WAYS.map(|_| Vec::new());
            for round in 0..=rounds {
                for way in shuffled(seed) {
                    let figure = Open::new(way, projects, false).rate(events, batch);
                    if round > 0 {
                        figures[way as usize].push(figure / 1e3);
                    }
                }
            }
            for way in WAYS {
                let [lower, median, upper] = spread(&mut figures[way as usize]);
                println!("{projects:>6} {:<36}{median:>10.0} ({lower:.0} to {upper:.0})", way.name());
            }
        }
    }
}

fn wake(counts: &[usize], quick: bool, seed: &mut u64) {
    let (length, rounds) = if quick { (Duration::from_millis(5), 1) } else { (FOR, ROUNDS) };
    for rate in RATES {
        println!(
            "from the moment an event was meant to be pushed until it is applied, us; {rate} a second in all: p50, p99"
        );
        for &projects in counts {
            let mut figures = WAYS.map(|_| (Vec::new(), Vec::new()));
            for round in 0..=rounds {
                for way in shuffled(seed) {
                    let late = Open::new(way, projects, true).pings(rate, length, seed);
                    if round > 0 {
                        let (p50, p99) = &mut figures[way as usize];
                        p50.push(late.value_at_quantile(0.5) as f64 / 1e3);
                        p99.push(late.value_at_quantile(0.99) as f64 / 1e3);
                    }
                }
            }
            for way in WAYS {
                let (p50, p99) = &mut figures[way as usize];
                let ([a, b, c], [d, e, f]) = (spread(p50), spread(p99));
                let name = way.name();
                println!("{projects:>6} {name:<36}{b:>10.1} ({a:.1} to {c:.1}) {e:>10.1} ({d:.1} to {f:.1})");
            }
        }
    }
}

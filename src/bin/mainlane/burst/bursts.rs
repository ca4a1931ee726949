//! W1: bursts with a pause before each, and how long each takes until its last event is seen.
//!
//! The benchmark of disruptor-rs, with two things put right: every value is new, so that the wait for the last one of a
//! burst is not over before it began, and the pause comes before every burst, not before every sample.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;
use mainlane::Publish;

use super::BurstArgs;
use super::limits::Bound;
use super::machine;
use super::ours::Mainlane;
use super::peers::{Crossbeam, DisruptorSingle, Flume, HandMade, Kanal, Of, Rings, Std, Thingbuf, Tokio};
use super::rounds::{self, Contender, Figure, Table, histogram};
use super::transport::{Consumer, Receiving, Sending, Transport};

/// How long a slice takes at least, and how many bursts it has at least.
const SLICE: Duration = Duration::from_millis(8);
const BURSTS_MIN: u32 = 4;

/// What one slice pushes.
#[derive(Clone, Copy)]
struct Load {
    capacity: usize,
    burst: u64,
    pause: Duration,
}

pub(crate) fn tables(args: &BurstArgs) -> Vec<Table> {
    let mut tables = Vec::new();
    for capacity in [128, 1024] {
        for pause_ms in [0, 1, 10] {
            for burst in [1, 10, 100] {
                let load = Load { capacity, burst, pause: Duration::from_millis(pause_ms) };
                let name = format!("W1 bursts of {burst}, a pause of {pause_ms} ms before each, {capacity} slots");
                let rounds = args.rounds as usize;
                let mut table = rounds::run(name, "ns per burst", false, contenders(load), rounds, args.seed);
                table.limit(Bound::there_and_back(burst as usize * size_of::<i64>()));
                tables.push(table);
            }
        }
    }
    tables
}

fn contenders(load: Load) -> Vec<Contender> {
    let ours = |clocked| Mainlane { clocked, publish: Publish::OnRequest };
    vec![
        of("mainlane, unclocked", ours(false), load),
        of("mainlane, in causal order", ours(true), load),
        of("mainlane, a snapshot each turn", Mainlane { clocked: true, publish: Publish::EveryTurn }, load),
        of("disruptor", Of::<DisruptorSingle>::new(), load),
        of("rtrb", Of::<Rings>::new(), load),
        of("crossbeam-channel", Of::<Crossbeam>::new(), load),
        of("kanal", Of::<Kanal>::new(), load),
        of("flume", Of::<Flume>::new(), load),
        of("tokio mpsc", Of::<Tokio>::new(), load),
        of("std mpsc", Of::<Std>::new(), load),
        of("thingbuf", Of::<Thingbuf>::new(), load),
        of("by hand: a channel and a locked state", HandMade, load),
    ]
}

fn of<R: Transport<i64>>(name: &str, transport: R, load: Load) -> Contender {
    Contender::new(name, move || slice(&transport, load))
}

/// Shows the newest value to the producer.
#[derive(Clone)]
struct Showing {
    sink: Arc<CachePadded<AtomicU64>>,
    taken: u64,
    wrong: u64,
}

impl Consumer<i64> for Showing {
    #[inline]
    fn take(&mut self, event: &i64) {
        self.wrong += u64::from(*event as u64 != self.taken);
        self.taken += 1;
        self.sink.store(self.taken, Ordering::Release);
    }

    fn taken(&self) -> u64 {
        self.taken
    }
}

fn slice<R: Transport<i64>>(transport: &R, load: Load) -> Figure {
    let sink = Arc::new(CachePadded::new(AtomicU64::new(0)));
    let (mut senders, mut receiver) =
        transport.open(1, load.capacity, Showing { sink: sink.clone(), taken: 0, wrong: 0 });
    let done = Arc::new(AtomicBool::new(false));
    let over = done.clone();
    let consuming = std::thread::spawn(move || {
        machine::pin_consumer(1);
        while !over.load(Ordering::Relaxed) {
            if !receiver.turn() {
                std::hint::spin_loop();
            }
        }
        receiver.consumer().clone()
    });
    let mut sender = senders.remove(0);
    let producing = std::thread::spawn(move || {
        machine::pin_producer(0, 1);
        let mut latency = histogram();
        let (mut pushed, mut bursts, began) = (0, 0, Instant::now());
        while began.elapsed() < SLICE || bursts < BURSTS_MIN {
            if !load.pause.is_zero() {
                std::thread::sleep(load.pause);
            }
            let start = Instant::now();
            if load.burst == 1 {
                sender.push(pushed as i64);
            } else {
                sender.push_batch((0..load.burst as usize).map(|at| (pushed + at as u64) as i64));
            }
            pushed += load.burst;
            while sink.load(Ordering::Acquire) != pushed {
                std::hint::spin_loop();
            }
            latency.saturating_record(start.elapsed().as_nanos() as u64);
            bursts += 1;
        }
        (latency, pushed)
    });
    let (latency, pushed) = producing.join().expect("the producer ends");
    done.store(true, Ordering::Relaxed);
    let seen = consuming.join().expect("the consumer ends");
    assert_eq!((seen.taken, seen.wrong), (pushed, 0), "events taken, and those out of order");
    Figure { value: latency.value_at_percentile(50.0) as f64, latency: Some(latency) }
}

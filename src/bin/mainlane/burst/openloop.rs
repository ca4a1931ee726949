//! W2: events at a steady rate, and how long each takes from the moment at which it was *meant* to be pushed.
//!
//! The producer does not wait for anything but the clock, and an event that it pushes late counts from its intended time:
//! what a stall does to the events behind it is in the figures.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mainlane::Publish;

use super::BurstArgs;
use super::limits::Bound;
use super::machine;
use super::ours::Mainlane;
use super::peers::{Crossbeam, DisruptorSingle, Flume, HandMade, Kanal, Of, Rings, Std, Thingbuf, Tokio};
use super::rounds::{self, Contender, Figure, Table, histogram};
use super::transport::{Consumer, Receiving, Sending, Transport};

const SLICE: Duration = Duration::from_millis(20);
/// Not counted: the first events of each slice.
const WARM_UP: usize = 100;

#[derive(Clone, Copy)]
struct Load {
    interval: Duration,
}

pub(crate) fn tables(args: &BurstArgs) -> Vec<Table> {
    [(10_000, "10,000"), (200_000, "200,000"), (1_000_000, "1,000,000")]
        .into_iter()
        .map(|(rate, name)| {
            let load = Load { interval: Duration::from_secs(1) / rate };
            let name = format!("W2 {name} events per second, one by one");
            let mut table = rounds::run(name, "ns, median", false, contenders(load), args.rounds as usize, args.seed);
            table.limit(Bound::there());
            table
        })
        .collect()
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

/// Notes when each event came.
#[derive(Clone)]
struct Noting {
    base: Instant,
    came_ns: Arc<[AtomicU64]>,
    taken: u64,
}

impl Consumer<i64> for Noting {
    #[inline]
    fn take(&mut self, event: &i64) {
        self.came_ns[*event as usize].store(self.base.elapsed().as_nanos() as u64, Ordering::Relaxed);
        self.taken += 1;
    }

    fn taken(&self) -> u64 {
        self.taken
    }
}

fn slice<R: Transport<i64>>(transport: &R, load: Load) -> Figure {
    let events = (SLICE.as_nanos() / load.interval.as_nanos()) as usize + WARM_UP;
    let came_ns: Arc<[AtomicU64]> = (0..events).map(|_| AtomicU64::new(0)).collect();
    let base = Instant::now();
    let (mut senders, mut receiver) = transport.open(1, 1024, Noting { base, came_ns: came_ns.clone(), taken: 0 });
    let consuming = std::thread::spawn(move || {
        machine::pin_consumer(1);
        while receiver.consumer().taken() < events as u64 {
            if !receiver.turn() {
                std::hint::spin_loop();
            }
        }
    });
    let mut sender = senders.remove(0);
    let producing = std::thread::spawn(move || {
        machine::pin_producer(0, 1);
        let first = base.elapsed() + Duration::from_millis(1);
        for number in 0..events {
            let intended = first + load.interval * number as u32;
            while base.elapsed() < intended {
                std::hint::spin_loop();
            }
            sender.push(number as i64);
        }
        (first, sender)
    });
    let (first, _sender) = producing.join().expect("the producer ends");
    consuming.join().expect("the consumer ends");
    let mut latency = histogram();
    for (number, came) in came_ns.iter().enumerate().skip(WARM_UP) {
        let intended = (first + load.interval * number as u32).as_nanos() as u64;
        latency.saturating_record(came.load(Ordering::Relaxed).saturating_sub(intended).max(1));
    }
    Figure { value: latency.value_at_percentile(50.0) as f64, latency: Some(latency) }
}

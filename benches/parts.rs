//! What each part of the engine costs on one thread: pushing, cutting and merging, applying, publishing, loading, coalescing.
//!
//! Each bench asserts its result before it is timed. What two threads cost each other is measured by `mainlane burst`.

mod host;

use std::hint::black_box;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mainlane::{Budget, Class, Effects, Envelope, Event, Pipeline, Publish, Reducer, Tier};

use host::{Load, Sum, drain, pipeline};

/// Times `work`, of `events` events a call, without `clear` after each.
fn time(iterations: u64, mut work: impl FnMut(), mut clear: impl FnMut()) -> Duration {
    let mut total = Duration::ZERO;
    for _ in 0..iterations {
        let start = Instant::now();
        work();
        total += start.elapsed();
        clear();
    }
    total
}

/// 512 events into an empty ring, one by one and in batches, in causal order and without.
fn push(criterion: &mut Criterion) {
    const EVENTS: u64 = 512;
    let mut group = criterion.benchmark_group("push");
    group.throughput(Throughput::Elements(EVENTS));
    for (clocked, kind) in [(true, "clocked"), (false, "unclocked")] {
        for batch in [1, 16, 128] {
            let (mut lanes, mut main_lane) = pipeline(1, clocked, 1, Publish::OnRequest);
            let lane = &mut lanes[0];
            let mut work = || {
                for from in (0..EVENTS).step_by(batch as usize) {
                    if batch == 1 {
                        assert!(lane.push(Load::Critical(from, 1)).is_ok());
                    } else {
                        assert!(lane.push_batch((from..from + batch).map(|n| Load::Critical(n, 1))).is_ok());
                    }
                }
            };
            work();
            assert_eq!(drain(&mut main_lane), EVENTS as usize);
            group.bench_function(BenchmarkId::new(kind, batch), |bencher| {
                bencher.iter_custom(|iterations| {
                    time(iterations, &mut work, || {
                        drain(&mut main_lane);
                    })
                });
            });
        }
    }
    group.finish();
}

/// Events of 64 bytes, of which the last possible one would be lossy: what it takes to move an event shows in these.
struct Wide([u64; 8]);

impl Event for Wide {
    type Key = ();
    type Facets = ();

    fn class(&self) -> Class<()> {
        if self.0[0] == u64::MAX { Class::lossy((), Tier::NORMAL) } else { Class::Critical }
    }
}

#[derive(Clone, Default)]
struct Last(u64);

impl Reducer for Last {
    type Event = Wide;
    type Effect = ();

    fn apply(&mut self, envelope: &Envelope<'_, Wide>, _: &mut Effects<()>) {
        self.0 = envelope.event.0.iter().fold(0, |all, word| all | word);
    }
}

/// 512 of them into an empty ring, one by one.
fn push_wide(criterion: &mut Criterion) {
    const EVENTS: u64 = 512;
    let builder = Pipeline::builder(Last::default()).publish(Publish::OnRequest);
    let mut lane = builder.lane("wide").capacity(EVENTS as usize).open().expect("not built yet");
    let (mut main_lane, _) = builder.build().expect("settings are in range");
    let mut work = || (0..EVENTS).for_each(|number| assert!(lane.push(Wide([number; 8])).is_ok()));
    let mut drain = || main_lane.turn(Budget::UNLIMITED).expect("the reducer does not panic").events;
    work();
    assert_eq!(drain(), EVENTS as usize);
    let mut group = criterion.benchmark_group("push of 64 bytes");
    group.throughput(Throughput::Elements(EVENTS));
    group.bench_function("clocked/1", |bencher| {
        bencher.iter_custom(|iterations| {
            time(iterations, &mut work, || {
                drain();
            })
        });
    });
    group.finish();
}

/// A turn over lanes whose events come in runs: 256 events over all lanes, single ones in turn and runs of sixteen.
fn merge(criterion: &mut Criterion) {
    const EVENTS: usize = 256;
    let mut group = criterion.benchmark_group("cut, merge and apply");
    group.throughput(Throughput::Elements(EVENTS as u64));
    for lanes in [1, 4, 16, 64] {
        for run in [1, 16] {
            let (mut ends, mut main_lane) = pipeline(lanes, true, 1, Publish::OnRequest);
            let mut fill = || {
                for at in 0..EVENTS / run {
                    let lane = &mut ends[at % lanes];
                    assert!(lane.push_batch((0..run as u64).map(|n| Load::Critical(n, 1))).is_ok());
                }
            };
            fill();
            assert_eq!(drain(&mut main_lane), EVENTS);
            fill();
            group.bench_function(BenchmarkId::new(format!("runs of {run}"), lanes), |bencher| {
                bencher.iter_custom(|iterations| {
                    time(
                        iterations,
                        || {
                            assert_eq!(drain(&mut main_lane), EVENTS);
                        },
                        &mut fill,
                    )
                });
            });
        }
    }
    group.finish();
}

/// A turn that finds nothing, by the number of lanes.
fn idle(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("idle turn");
    for lanes in [0, 1, 4, 16, 64] {
        let (_ends, mut main_lane) = pipeline(lanes, true, 1, Publish::EveryTurn);
        assert_eq!(drain(&mut main_lane), 0);
        group.bench_function(BenchmarkId::from_parameter(lanes), |bencher| {
            bencher.iter(|| drain(black_box(&mut main_lane)));
        });
    }
    group.finish();
}

/// Threads that have loaded a snapshot, and do nothing any more.
const READERS: usize = 64;

/// One event, applied and published, against applied only; and published in a process with many threads that read now and then.
fn publish(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one event a turn");
    let (_other, handle) = Pipeline::builder(Sum::default()).build().expect("settings are in range");
    let (loaded, over) = (Arc::new(Barrier::new(READERS + 1)), Arc::new(Barrier::new(READERS + 1)));
    let read = |_| {
        let (reader, loaded, over) = (handle.reader(), loaded.clone(), over.clone());
        std::thread::spawn(move || {
            black_box(reader.load().sum);
            loaded.wait();
            over.wait();
        })
    };
    let mut readers = Vec::new();
    let kinds = [
        ("published", Publish::EveryTurn),
        ("applied", Publish::OnRequest),
        ("published, 64 threads have read", Publish::EveryTurn),
    ];
    for (at, (kind, policy)) in kinds.into_iter().enumerate() {
        if at == 2 {
            readers = (0..READERS).map(read).collect();
            loaded.wait();
        }
        let (mut lanes, mut main_lane) = pipeline(1, true, 1, policy);
        let mut turn = || {
            assert!(lanes[0].push(Load::Critical(0, 1)).is_ok());
            drain(&mut main_lane)
        };
        assert_eq!(turn(), 1);
        group.bench_function(kind, |bencher| bencher.iter(&mut turn));
    }
    group.finish();
    over.wait();
    readers.into_iter().for_each(|reader| reader.join().expect("it only waits"));
}

fn load(criterion: &mut Criterion) {
    let builder = Pipeline::builder(Sum::default());
    let mut lane = builder.lane("a").open().expect("not built yet");
    let (mut main_lane, handle) = builder.build().expect("settings are in range");
    assert!(lane.push(Load::Critical(0, 7)).is_ok());
    drain(&mut main_lane);
    let (reader, mut cached) = (handle.reader(), handle.reader().cached());
    assert_eq!((reader.load().sum, cached.load().sum), (7, 7));
    let mut group = criterion.benchmark_group("load");
    group.bench_function("cached", |bencher| bencher.iter(|| black_box(cached.load().sum)));
    group.bench_function("full", |bencher| bencher.iter(|| black_box(reader.load().sum)));
    group.finish();
}

/// Keyed events into the coalescing table, and the turn that takes them: every key twice, so half of them are replaced.
fn coalesce(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("coalesce");
    for keys in [10u32, 1_000, 100_000] {
        let (mut lanes, mut main_lane) = pipeline(1, true, keys as usize, Publish::OnRequest);
        let lane = &mut lanes[0];
        let mut work = || {
            for n in 0..2 * keys {
                assert!(lane.push(Load::Keyed(n % keys, u64::from(n))).is_ok());
            }
        };
        work();
        assert_eq!(drain(&mut main_lane), keys as usize, "half of them were replaced");
        group.throughput(Throughput::Elements(2 * u64::from(keys)));
        group.bench_function(BenchmarkId::new("push", keys), |bencher| {
            bencher.iter_custom(|iterations| {
                time(iterations, &mut work, || {
                    drain(&mut main_lane);
                })
            });
        });
        group.throughput(Throughput::Elements(u64::from(keys)));
        group.bench_function(BenchmarkId::new("take", keys), |bencher| {
            bencher.iter_custom(|iterations| {
                time(
                    iterations,
                    || {
                        drain(&mut main_lane);
                    },
                    &mut work,
                )
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = parts;
    config = Criterion::default().sample_size(30).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = push, push_wide, merge, idle, publish, load, coalesce
}
criterion_main!(parts);

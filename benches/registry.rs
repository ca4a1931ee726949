//! What it costs to find a provider, beside what is usually made by hand: a map behind a lock, one lock or many, and a map behind
//! a swapped pointer.
//!
//! Each contender finds the same providers before it is timed. First on one thread; then on this thread while others look too,
//! and one changes the map now and then.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Barrier};

use arc_swap::ArcSwap;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use mainlane::register::{Interface, Need, Registry};
use parking_lot::{Mutex, RwLock};

const KEYS: u64 = 64;
const SHARDS: usize = 16;

trait Service: Send + Sync {
    fn value(&self) -> u64;
}

struct Plain(u64);

impl Service for Plain {
    fn value(&self) -> u64 {
        self.0
    }
}

impl Interface for dyn Service {
    type Key = u64;
    const NAME: &'static str = "service";
    const CAPABILITIES: &'static [Need] = &[];

    fn id(key: &u64) -> u64 {
        *key
    }
}

/// With the hash that the registry has, too.
type Map = HashMap<u64, Arc<dyn Service>, foldhash::fast::RandomState>;

/// How one contender looks on a thread of its own, and how it is changed.
trait Contender: Send + Sync {
    fn name(&self) -> &'static str;
    fn look(&self) -> Box<dyn FnMut(u64) -> u64 + Send>;
    fn change(&self, key: u64);
}

fn map() -> Map {
    (0..KEYS).map(|key| (key, Arc::new(Plain(key)) as Arc<dyn Service>)).collect()
}

struct Ours {
    registry: Registry<dyn Service>,
    leases: bool,
}

impl Ours {
    fn new(leases: bool) -> Self {
        let registry = Registry::<dyn Service>::new();
        for key in 0..KEYS {
            registry.register(registry.offer(key, "plain", Arc::new(Plain(key)))).expect("it is the first of its name");
        }
        Self { registry, leases }
    }
}

impl Contender for Ours {
    fn name(&self) -> &'static str {
        if self.leases { "mainlane, a lease" } else { "mainlane, a reader" }
    }

    fn look(&self) -> Box<dyn FnMut(u64) -> u64 + Send> {
        let (registry, mut reader) = (self.registry.clone(), self.registry.reader("bench"));
        if self.leases {
            return Box::new(move |key| registry.get(&key, "plain").map_or(0, |service| service.value()));
        }
        Box::new(move |key| reader.get(&key, "plain").map_or(0, |service| service.value()))
    }

    fn change(&self, key: u64) {
        let offer = self.registry.offer(key, "plain", Arc::new(Plain(key)));
        assert!(self.registry.replace(offer).is_ok());
    }
}

/// A contender made by hand: a shared map, how it is looked at, how it is changed.
struct ByHand<M> {
    name: &'static str,
    map: Arc<M>,
    look: fn(&M, u64) -> u64,
    change: fn(&M, u64),
}

impl<M: Send + Sync + 'static> Contender for ByHand<M> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn look(&self) -> Box<dyn FnMut(u64) -> u64 + Send> {
        let (map, look) = (self.map.clone(), self.look);
        Box::new(move |key| look(&map, key))
    }

    fn change(&self, key: u64) {
        (self.change)(&self.map, key);
    }
}

fn by_hand<M: Send + Sync + 'static>(
    name: &'static str,
    map: M,
    look: fn(&M, u64) -> u64,
    change: fn(&M, u64),
) -> Box<dyn Contender> {
    Box::new(ByHand { name, map: Arc::new(map), look, change })
}

fn value(found: Option<&Arc<dyn Service>>) -> u64 {
    found.map_or(0, |service| service.value())
}

fn plain(key: u64) -> Arc<dyn Service> {
    Arc::new(Plain(key))
}

fn contenders() -> Vec<Box<dyn Contender>> {
    vec![
        Box::new(Ours::new(false)),
        Box::new(Ours::new(true)),
        by_hand(
            "RwLock<HashMap>",
            RwLock::new(map()),
            |map, key| value(map.read().get(&key)),
            |map, key| {
                map.write().insert(key, plain(key));
            },
        ),
        by_hand(
            "RwLock<HashMap>, cloned",
            RwLock::new(map()),
            |map, key| value(map.read().get(&key).cloned().as_ref()),
            |map, key| {
                map.write().insert(key, plain(key));
            },
        ),
        by_hand(
            "Mutex<HashMap>",
            Mutex::new(map()),
            |map, key| value(map.lock().get(&key)),
            |map, key| {
                map.lock().insert(key, plain(key));
            },
        ),
        by_hand(
            "16 RwLock<HashMap>",
            (0..SHARDS).map(|_| RwLock::new(map())).collect::<Vec<_>>(),
            |shards, key| value(shards[key as usize % SHARDS].read().get(&key)),
            |shards, key| {
                shards[key as usize % SHARDS].write().insert(key, plain(key));
            },
        ),
        by_hand(
            "ArcSwap<HashMap>, a guard",
            ArcSwap::from_pointee(map()),
            |map, key| value(map.load().get(&key)),
            |map, key| {
                map.rcu(|map| {
                    let mut map = Map::clone(map);
                    map.insert(key, plain(key));
                    map
                });
            },
        ),
    ]
}

fn on_one_thread(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("registry/one thread");
    for contender in contenders() {
        let mut look = contender.look();
        assert!((0..KEYS).all(|key| look(key) == key));
        contender.change(3);
        assert_eq!(look(3), 3);
        let mut key = 0;
        group.bench_function(BenchmarkId::from_parameter(contender.name()), |bencher| {
            bencher.iter(|| {
                key = (key + 1) % KEYS;
                look(black_box(key))
            });
        });
    }
    group.finish();
}

fn among_others(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("registry/two look, one changes");
    for contender in contenders() {
        let (stop, start) = (AtomicBool::new(false), Barrier::new(3));
        std::thread::scope(|scope| {
            let mut other = contender.look();
            scope.spawn({
                let (stop, start) = (&stop, &start);
                move || {
                    start.wait();
                    while !stop.load(Relaxed) {
                        (0..KEYS).for_each(|key| assert_eq!(black_box(other(key)), key));
                    }
                }
            });
            scope.spawn(|| {
                start.wait();
                let mut key = 0;
                while !stop.load(Relaxed) {
                    key = (key + 1) % KEYS;
                    contender.change(key);
                    std::thread::sleep(std::time::Duration::from_micros(200));
                }
            });
            let mut look = contender.look();
            start.wait();
            let mut key = 0;
            group.bench_function(BenchmarkId::from_parameter(contender.name()), |bencher| {
                bencher.iter(|| {
                    key = (key + 1) % KEYS;
                    look(black_box(key))
                });
            });
            stop.store(true, Relaxed);
        });
    }
    group.finish();
}

/// What a change costs: a copy of the map.
fn change(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("registry/replace one of");
    for keys in [64, 1_000, 10_000] {
        let registry = Registry::<dyn Service>::new();
        for key in 0..keys {
            registry.register(registry.offer(key, "plain", plain(key))).expect("it is the first of its name");
        }
        group.bench_function(BenchmarkId::from_parameter(keys), |bencher| {
            bencher.iter(|| registry.replace(registry.offer(keys / 2, "plain", plain(1))).is_ok());
        });
    }
    group.finish();
}

criterion_group!(benches, on_one_thread, among_others, change);
criterion_main!(benches);

//! What the control panel's parts add to what lies below them. Here a maintenance queue, to a runtime's own `spawn` and `spawn_blocking`:
//! from submission to start, and jobs a second. In `workers.rs` a worker, to a thread and a lane.
//!
//! All contenders run in one process, in turn, in short slices, in random order; figures are medians over rounds, with
//! quartiles. The bare calls promise neither order nor bound; they are what lies below, not peers.

mod host;
mod workers;

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread::Thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mainlane::control::maintenance::{Closing, Job, Maintenance, MaintenanceHandle, Step};
use tokio::runtime::Handle;

/// How many jobs a slice of throughput has, and one of latency.
const JOBS: u64 = 2_000;
const PINGS: u64 = 200;
const ROUNDS: usize = 25;

/// Starts one job that calls this, once.
type Start = Box<dyn Fn(Arc<dyn Fn() + Send + Sync>)>;

struct Contender {
    name: &'static str,
    start: Start,
    /// Jobs a second, slice by slice.
    throughput: Vec<f64>,
    /// Of each slice, nanoseconds.
    p50: Vec<f64>,
    p99: Vec<f64>,
    all: Histogram<u64>,
}

impl Contender {
    fn new(name: &'static str, start: impl Fn(Arc<dyn Fn() + Send + Sync>) + 'static) -> Self {
        let all = Histogram::new(3).expect("three digits are possible");
        Self { name, start: Box::new(start), throughput: Vec::new(), p50: Vec::new(), p99: Vec::new(), all }
    }

    fn slice(&mut self, jobs: u64, pings: u64, counts: bool) {
        let ended = Arc::new(AtomicU64::new(0));
        let (its, main) = (ended.clone(), std::thread::current());
        let job: Arc<dyn Fn() + Send + Sync> = Arc::new(move || {
            if its.fetch_add(1, SeqCst) + 1 == jobs {
                main.unpark();
            }
        });
        let begin = Instant::now();
        (0..jobs).for_each(|_| (self.start)(job.clone()));
        while ended.load(SeqCst) < jobs {
            std::thread::park();
        }
        let throughput = jobs as f64 / begin.elapsed().as_secs_f64();
        let mut latency = Histogram::<u64>::new(3).expect("three digits are possible");
        for _ in 0..pings {
            latency.record(self.ping(&std::thread::current())).expect("it grows");
        }
        if counts {
            self.throughput.push(throughput);
            self.p50.push(latency.value_at_quantile(0.5) as f64);
            self.p99.push(latency.value_at_quantile(0.99) as f64);
            self.all.add(&latency).expect("of the same digits");
        }
    }

    /// Nanoseconds from the submission of a job to its start, with nothing else to do.
    fn ping(&self, main: &Thread) -> u64 {
        let took = Arc::new(AtomicU64::new(0));
        let (its, main) = (took.clone(), main.clone());
        let begin = Instant::now();
        (self.start)(Arc::new(move || {
            its.store(begin.elapsed().as_nanos().max(1) as u64, SeqCst);
            main.unpark();
        }));
        while took.load(SeqCst) == 0 {
            std::thread::park();
        }
        took.load(SeqCst)
    }
}

/// A median with its quartiles.
fn spread(figures: &[f64]) -> [f64; 3] {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    [0.25, 0.5, 0.75].map(|part| sorted[(part * (sorted.len() - 1) as f64).round() as usize])
}

/// The numbers below `count`, in random order.
fn shuffle(count: usize, seed: &mut u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    for at in (1..count).rev() {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        order.swap(at, (*seed >> 33) as usize % (at + 1));
    }
    order
}

fn contenders(runtime: &Handle, on_runtime: MaintenanceHandle, on_threads: MaintenanceHandle) -> Vec<Contender> {
    fn blocking(queue: MaintenanceHandle) -> impl Fn(Arc<dyn Fn() + Send + Sync>) {
        move |work| {
            let job = Job::blocking("job", move |_| {
                work();
                Ok(())
            });
            drop(black_box(queue.submit(job).expect("there is room")));
        }
    }
    fn resumable(queue: MaintenanceHandle) -> impl Fn(Arc<dyn Fn() + Send + Sync>) {
        move |work| {
            let job = Job::resumable("job", move |_| {
                work();
                Ok(Step::Done(()))
            });
            drop(black_box(queue.submit(job).expect("there is room")));
        }
    }
    let (spawn, spawn_blocking, asynchronous) = (runtime.clone(), runtime.clone(), on_runtime.clone());
    vec![
        Contender::new("tokio spawn", move |work| drop(spawn.spawn(async move { work() }))),
        Contender::new("queue, asynchronous", move |work| {
            let job = Job::asynchronous("job", move |_| async move {
                work();
                Ok(())
            });
            drop(black_box(asynchronous.submit(job).expect("there is room")));
        }),
        Contender::new("tokio spawn_blocking", move |work| drop(spawn_blocking.spawn_blocking(move || work()))),
        Contender::new("queue, blocking, on the runtime", blocking(on_runtime.clone())),
        Contender::new("queue, resumable, on the runtime", resumable(on_runtime)),
        Contender::new("queue, blocking, own threads", blocking(on_threads)),
    ]
}

fn main() {
    let asked_for = |what: &str| std::env::args().any(|argument| argument == what);
    // Anything but `cargo bench` only wants to see that it runs.
    let quick = !asked_for("--bench");
    let all = asked_for("queue") == asked_for("workers");
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    if all || asked_for("queue") {
        queue(quick, &mut seed);
    }
    if all || asked_for("workers") {
        workers::run(quick, &mut seed);
    }
}

fn queue(quick: bool, seed: &mut u64) {
    let (jobs, pings, rounds) = if quick { (20, 5, 1) } else { (JOBS, PINGS, ROUNDS) };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    let capacity = JOBS as usize;
    let on_runtime =
        Maintenance::builder().capacity(capacity).runtime(runtime.handle().clone()).build().expect("settings");
    let on_threads = Maintenance::builder().capacity(capacity).build().expect("settings");
    let mut contenders = contenders(runtime.handle(), on_runtime.handle(), on_threads.handle());
    for round in 0..=rounds {
        // The first round does not count.
        shuffle(contenders.len(), seed).into_iter().for_each(|at| contenders[at].slice(jobs, pings, round > 0));
    }
    println!(
        "{:<34}{:>26}{:>30}{:>30}{:>12}",
        "", "thousand jobs a second", "start p50, us", "start p99, us", "all p99, us"
    );
    for contender in &contenders {
        let show = |figures: &[f64], unit: f64| {
            let [lower, median, upper] = spread(figures).map(|figure| figure / unit);
            format!("{median:.1} ({lower:.1} to {upper:.1})")
        };
        println!(
            "{:<34}{:>26}{:>30}{:>30}{:>12.1}",
            contender.name,
            show(&contender.throughput, 1e3),
            show(&contender.p50, 1e3),
            show(&contender.p99, 1e3),
            contender.all.value_at_quantile(0.99) as f64 / 1e3,
        );
    }
    for (name, queue) in [("on the runtime", on_runtime), ("own threads", on_threads)] {
        let total = queue.stats().total();
        let starts = (rounds as u64 + 1) * (jobs + pings);
        let expected = if name == "own threads" { starts } else { 3 * starts };
        let report = queue.close(
            Closing::FinishUntil(Instant::now() + Duration::from_secs(10)),
            Instant::now() + Duration::from_secs(10),
        );
        assert!(report.complete, "{report:?}");
        assert_eq!(total.done + report.done, expected, "{name}: every job was done, once");
    }
}

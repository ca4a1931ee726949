//! What a supervised worker costs beside what it is made of: a bare thread, a bare lane, a channel, a shared pointer.
//!
//! The same method as in `control.rs`. The bare things are not watched, not started again and not stopped by anybody.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use mainlane::control::{
    AsyncWorker, ControlPanel, Load as Expected, Next, RuntimeChoice, TaskContext, Worker, WorkerContext, WorkerError,
    WorkerState,
};
use mainlane::{Drive, Handle, Lane, MainLane, Pipeline, Publish};

use super::host::{Load, Sum, drain, pipeline};
use super::{shuffle, spread};

const ROUNDS: usize = 25;
/// How many lives, turns, events and looks a slice has.
const LIVES: usize = 20;
const TURNS: u64 = 100_000;
const EVENTS: u64 = 1_000;
/// As many slots as a lane of `host.rs` has.
const ROOM: usize = 1_024;
const LOOKS: u64 = 100_000;

/// How long anything may take before the bench gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Things that do the same, and what a slice of each took.
struct Table {
    columns: &'static [&'static str],
    /// Nanoseconds in one of the unit.
    unit: f64,
    rows: Vec<Row>,
}

struct Row {
    name: &'static str,
    slice: Box<dyn FnMut() -> Vec<f64>>,
    /// Slice by slice, a figure for each column.
    figures: Vec<Vec<f64>>,
}

impl Table {
    fn new(columns: &'static [&'static str], unit: f64) -> Self {
        Self { columns, unit, rows: Vec::new() }
    }

    fn row(mut self, name: &'static str, slice: impl FnMut() -> Vec<f64> + 'static) -> Self {
        self.rows.push(Row { name, slice: Box::new(slice), figures: Vec::new() });
        self
    }

    fn run(mut self, rounds: usize, seed: &mut u64) {
        for round in 0..=rounds {
            for at in shuffle(self.rows.len(), seed) {
                let row = &mut self.rows[at];
                let figures = (row.slice)();
                // The first round does not count.
                if round > 0 {
                    row.figures.push(figures);
                }
            }
        }
        println!("\n{:<34}{}", "", self.columns.iter().map(|name| format!("{name:>34}")).collect::<String>());
        for row in &self.rows {
            let column = |column: usize| {
                let [lower, median, upper] = spread(&row.figures.iter().map(|slice| slice[column]).collect::<Vec<_>>());
                let shown = [median, lower, upper].map(|nanos| nanos / self.unit);
                format!("{:>34}", format!("{:.1} ({:.1} to {:.1})", shown[0], shown[1], shown[2]))
            };
            println!("{:<34}{}", row.name, (0..self.columns.len()).map(column).collect::<String>());
        }
    }
}

fn nanos(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_nanos() as f64
}

fn median(figures: &[f64]) -> f64 {
    spread(figures)[1]
}

/// A pipeline on a thread of its own.
fn driven() -> Handle<Sum> {
    let (main_lane, handle) = Pipeline::builder(Sum::default()).build().expect("settings are in range");
    let running = main_lane.spawn(Drive::new()).expect("a thread");
    // As long as the process.
    std::mem::forget(running);
    handle
}

/// Says when its first event of a run was pushed, and waits.
struct First(Sender<Instant>);

impl Worker<Sum> for First {
    fn turn(&mut self, ctx: &mut WorkerContext<Sum>) -> Result<Next, WorkerError> {
        ctx.lane().push(Load::Critical(1, 2))?;
        self.0.send(Instant::now())?;
        Ok(Next::Nudged)
    }
}

impl AsyncWorker<Sum> for First {
    async fn run(&mut self, ctx: &mut TaskContext<Sum>) -> Result<(), WorkerError> {
        ctx.lane().push(Load::Critical(1, 2)).await?;
        self.0.send(Instant::now())?;
        ctx.cancelled().await;
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum On {
    Thread,
    BlockingTask,
    Task,
}

/// From its registration to its first event, from a restart to the next one, and until it has stopped.
fn worker_lives(handle: Handle<Sum>, on: On, lives: usize) -> impl FnMut() -> Vec<f64> {
    let panel = ControlPanel::builder().runtime(RuntimeChoice::OwnedAlone(2)).start().expect("a thread");
    let (told, first) = channel();
    let mut number = 0;
    move || {
        let mut took: [Vec<f64>; 3] = Default::default();
        for _ in 0..lives {
            number += 1;
            let (name, told) = (format!("worker {number}"), told.clone());
            let make = move || Ok(First(told.clone()));
            let begin = Instant::now();
            match on {
                On::Thread => panel.worker(&handle, name.clone(), make).start(),
                On::BlockingTask => panel.worker(&handle, name.clone(), make).as_blocking_task().start(),
                On::Task => panel.task(&handle, name.clone(), make).start(),
            }
            .expect("its name is free");
            took[0].push(nanos(begin, first.recv_timeout(PATIENCE).expect("it pushes")));
            let begin = Instant::now();
            panel.restart(&name).expect("it is there");
            took[1].push(nanos(begin, first.recv_timeout(PATIENCE).expect("it pushes")));
            let begin = Instant::now();
            panel.stop(&name).expect("it is there");
            let stopped = panel.wait_for(&name, begin + PATIENCE, |status| status.state == WorkerState::Stopped);
            assert!(stopped.is_some_and(|status| status.errors + status.panics == 0));
            took[2].push(nanos(begin, Instant::now()));
            panel.remove(&name).expect("it is there");
        }
        took.map(|figures| median(&figures)).to_vec()
    }
}

/// The same by hand: a thread, a lane, a flag.
fn thread_lives(handle: Handle<Sum>, lives: usize) -> impl FnMut() -> Vec<f64> {
    fn spawn(
        mut lane: Lane<Load>,
        stop: Arc<AtomicBool>,
        told: Sender<Instant>,
    ) -> std::thread::JoinHandle<Lane<Load>> {
        std::thread::spawn(move || {
            lane.push(Load::Critical(1, 2)).expect("there is room");
            told.send(Instant::now()).expect("the bench waits");
            while !stop.load(Relaxed) {
                std::thread::park();
            }
            lane
        })
    }
    fn end(thread: std::thread::JoinHandle<Lane<Load>>, stop: &AtomicBool) -> Lane<Load> {
        stop.store(true, Relaxed);
        thread.thread().unpark();
        thread.join().expect("it does not panic")
    }
    let (told, first) = channel();
    move || {
        let mut took: [Vec<f64>; 3] = Default::default();
        for _ in 0..lives {
            let stop = Arc::new(AtomicBool::new(false));
            let begin = Instant::now();
            let lane = handle.lane("bare").open().expect("it is open");
            let thread = spawn(lane, stop.clone(), told.clone());
            took[0].push(nanos(begin, first.recv_timeout(PATIENCE).expect("it pushes")));
            let begin = Instant::now();
            let lane = end(thread, &stop);
            stop.store(false, Relaxed);
            let thread = spawn(lane, stop.clone(), told.clone());
            took[1].push(nanos(begin, first.recv_timeout(PATIENCE).expect("it pushes")));
            let begin = Instant::now();
            let lane = end(thread, &stop);
            took[2].push(nanos(begin, Instant::now()));
            drop(lane);
        }
        took.map(|figures| median(&figures)).to_vec()
    }
}

/// Does what it is asked to in its next turn, and tells what that took.
struct Asked<P>(Work<P>, Sender<f64>);

type Work<P> = Box<dyn FnMut(&mut WorkerContext<Sum, P>) -> f64 + Send>;

impl<P: Send + Sync + 'static> Worker<Sum, P> for Asked<P> {
    fn turn(&mut self, ctx: &mut WorkerContext<Sum, P>) -> Result<Next, WorkerError> {
        let took = self.0(ctx);
        self.1.send(took)?;
        Ok(Next::Nudged)
    }
}

/// Many turns, of which each does nothing.
struct Turns {
    count: u64,
    begin: Option<Instant>,
    told: Sender<f64>,
}

impl Worker<Sum> for Turns {
    fn turn(&mut self, _: &mut WorkerContext<Sum>) -> Result<Next, WorkerError> {
        let begin = *self.begin.get_or_insert_with(Instant::now);
        self.count += 1;
        if self.count < TURNS {
            return Ok(Next::Again);
        }
        self.told.send(nanos(begin, Instant::now()) / TURNS as f64)?;
        (self.count, self.begin) = (0, None);
        Ok(Next::Nudged)
    }
}

fn turns(table: Table, handle: &Handle<Sum>) -> Table {
    let panel = ControlPanel::builder().start().expect("a thread");
    let (told, took) = channel();
    panel
        .worker(handle, "turns", move || Ok(Turns { count: 0, begin: None, told: told.clone() }))
        .start()
        .expect("free");
    let _ = took.recv_timeout(PATIENCE);
    let bare = || {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn(move || {
            let (mut count, begin) = (0_u64, Instant::now());
            while !stop.load(Relaxed) && count < TURNS {
                count = black_box(count + 1);
            }
            nanos(begin, Instant::now()) / TURNS as f64
        });
        vec![thread.join().expect("it does not panic")]
    };
    table.row("a bare loop that looks at a flag", bare).row("a worker's turns", move || {
        panel.nudge("turns").expect("it is there");
        vec![took.recv_timeout(PATIENCE).expect("it turns")]
    })
}

fn event(keyed: bool, number: u64) -> Load {
    if keyed { Load::Keyed(1, number) } else { Load::Critical(number, number) }
}

/// A panel and its worker, which does this whenever it is nudged.
fn asked<P: Send + Sync + 'static, W: FnMut(&mut WorkerContext<Sum, P>) -> f64 + Clone + Send + 'static>(
    panel: ControlPanel<P>,
    handle: &Handle<Sum>,
    work: W,
) -> impl FnMut() -> f64 + use<P, W> {
    let (told, took) = channel();
    let make = move || Ok(Asked(Box::new(work.clone()), told.clone()));
    let slots = Expected::Slots(ROOM);
    panel.worker(handle, "asked", make).load(slots).start().expect("its name is free");
    let mut is_first = true;
    move || {
        // Its first turn comes by itself.
        if !std::mem::take(&mut is_first) {
            panel.nudge("asked").expect("it is there");
        }
        took.recv_timeout(PATIENCE).expect("it turns")
    }
}

/// Pushes on a thread of its own while nobody takes; what was pushed is applied after that, on another.
fn pushes(keyed: bool) -> Table {
    let table = Table::new(if keyed { &["a lossy event, ns"] } else { &["a critical event, ns"] }, 1.0);
    let (mut lanes, mut bare_main) = pipeline(1, true, 256, Publish::OnRequest);
    let ((ask, asks), (told, took)) = (channel::<()>(), channel());
    std::thread::spawn(move || {
        for () in asks {
            let begin = Instant::now();
            (0..EVENTS).for_each(|number| lanes[0].push(event(keyed, number)).expect("there is room"));
            told.send(nanos(begin, Instant::now()) / EVENTS as f64).expect("the bench waits");
        }
    });
    let bare = move || {
        ask.send(()).expect("it waits");
        let took = took.recv_timeout(PATIENCE).expect("it pushes");
        assert!(drain(&mut bare_main) > 0);
        vec![took]
    };
    let (mut main_lane, handle) =
        Pipeline::builder(Sum::default()).publish(Publish::OnRequest).build().expect("settings are in range");
    let panel = ControlPanel::builder().start().expect("a thread");
    let mut worker = asked(panel, &handle, move |ctx| {
        let begin = Instant::now();
        (0..EVENTS).for_each(|number| ctx.lane().push(event(keyed, number)).expect("there is room"));
        nanos(begin, Instant::now()) / EVENTS as f64
    });
    table.row("a lane's own push", bare).row("a worker's push", move || {
        let took = worker();
        assert!(drain(&mut main_lane) > 0);
        vec![took]
    })
}

/// Pushes a slice of critical events whenever it is nudged.
struct Pushes(Sender<f64>);

impl AsyncWorker<Sum> for Pushes {
    async fn run(&mut self, ctx: &mut TaskContext<Sum>) -> Result<(), WorkerError> {
        while !ctx.is_cancelled() {
            let begin = Instant::now();
            for number in 0..EVENTS {
                ctx.lane().push(event(false, number)).await?;
            }
            self.0.send(nanos(begin, Instant::now()) / EVENTS as f64)?;
            tokio::select! {
                () = ctx.cancelled() => {}
                () = ctx.nudged() => {}
            }
        }
        Ok(())
    }
}

fn pushes_in_tasks() -> Table {
    let (mut main_lane, handle): (MainLane<Sum>, _) =
        Pipeline::builder(Sum::default()).publish(Publish::OnRequest).build().expect("settings are in range");
    let panel = ControlPanel::builder().runtime(RuntimeChoice::OwnedAlone(1)).start().expect("a thread");
    let (told, took) = channel();
    let spec = panel.task(&handle, "pushes", move || Ok(Pushes(told.clone())));
    spec.load(Expected::Slots(ROOM)).start().expect("its name is free");
    let mut is_first = true;
    let ours = move || {
        if !std::mem::take(&mut is_first) {
            panel.nudge("pushes").expect("it is there");
        }
        let took = took.recv_timeout(PATIENCE).expect("it pushes");
        assert_eq!(drain(&mut main_lane) as u64, EVENTS);
        vec![took]
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
    let (sender, mut events) = tokio::sync::mpsc::channel(ROOM);
    let theirs = move || {
        let sender = sender.clone();
        let task = runtime.spawn(async move {
            let begin = Instant::now();
            for number in 0..EVENTS {
                sender.send(event(false, number)).await.expect("the bench takes it");
            }
            nanos(begin, Instant::now()) / EVENTS as f64
        });
        let took = runtime.block_on(task).expect("it does not panic");
        assert_eq!(std::iter::from_fn(|| events.try_recv().ok()).count() as u64, EVENTS);
        vec![took]
    };
    Table::new(&["a critical event in a task, ns"], 1.0).row("tokio mpsc, send", theirs).row("a task's push", ours)
}

/// Looks at a value that does not change.
fn policies() -> Table {
    fn looks(mut look: impl FnMut() -> u64) -> f64 {
        let begin = Instant::now();
        (0..LOOKS).for_each(|_| {
            black_box(look());
        });
        nanos(begin, Instant::now()) / LOOKS as f64
    }
    let handle = driven();
    let panel = ControlPanel::builder().policy(&handle, |state: &Sum| state.sum).start().expect("a thread");
    let mut worker = asked(panel, &handle, |ctx: &mut WorkerContext<Sum, u64>| looks(|| *ctx.policy()));
    let swap = Arc::new(arc_swap::ArcSwap::from_pointee(7_u64));
    let mut cache = arc_swap::Cache::new(swap.clone());
    let (sender, receiver) = tokio::sync::watch::channel(Arc::new(7_u64));
    Table::new(&["a look at what holds now, ns"], 1.0)
        .row("arc-swap, cached", move || vec![looks(|| **cache.load())])
        .row("arc-swap, load", move || vec![looks(|| **swap.load())])
        .row("tokio watch, borrow", move || {
            let took = looks(|| **receiver.borrow());
            assert_eq!(sender.receiver_count(), 1);
            vec![took]
        })
        .row("a worker's policy", move || vec![worker()])
}

/// How often the threads of this name were on a core so far, and for how long, in nanoseconds.
fn switches(name: &str) -> Option<(u64, u64)> {
    let tasks = std::fs::read_dir("/proc/self/task").ok()?;
    let task = tasks
        .flatten()
        .map(|task| task.path())
        .find(|task| std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim_end() == name))?;
    let status = std::fs::read_to_string(task.join("status")).ok()?;
    let counts = status.lines().filter(|line| line.contains("ctxt_switches")).filter_map(|line| line.split_once(':'));
    let switches = counts.filter_map(|(_, count)| count.trim().parse::<u64>().ok()).sum();
    let busy = std::fs::read_to_string(task.join("schedstat")).ok()?;
    Some((switches, busy.split(' ').next()?.parse().ok()?))
}

/// What the thread of a panel does while nothing happens.
fn idleness(quick: bool) {
    let handle = driven();
    let panel = ControlPanel::builder().name("idle panel").policy(&handle, |state: &Sum| state.sum);
    let panel = panel.start().expect("a thread");
    struct Waits;
    impl<P: Send + Sync + 'static> Worker<Sum, P> for Waits {
        fn turn(&mut self, _: &mut WorkerContext<Sum, P>) -> Result<Next, WorkerError> {
            Ok(Next::Nudged)
        }
    }
    for number in 0..10 {
        panel.worker(&handle, format!("waits {number}"), || Ok(Waits)).start().expect("its name is free");
    }
    let second = if quick { Duration::from_millis(10) } else { Duration::from_secs(1) };
    // Until it has started them all.
    std::thread::sleep(second / 2);
    let mut found = Vec::new();
    for _ in 0..5 {
        let before = switches("idle panel");
        assert!(before.is_none_or(|(count, _)| count > 0), "starting them is noticed");
        std::thread::sleep(second);
        found.extend(
            before.zip(switches("idle panel")).map(|((many, busy), (more, busier))| (more - many, busier - busy)),
        );
    }
    println!("\na panel with ten workers that wait and a policy: switches of its thread in a second, and ns on a core");
    println!("{found:?}");
}

pub(super) fn run(quick: bool, seed: &mut u64) {
    let (rounds, lives) = if quick { (1, 2) } else { (ROUNDS, LIVES) };
    let handle = driven();
    Table::new(&["start to first event, us", "restart to next event, us", "stop, us"], 1e3)
        .row("a bare thread and a lane", thread_lives(handle.clone(), lives))
        .row("a worker on a thread", worker_lives(handle.clone(), On::Thread, lives))
        .row("a worker as a blocking task", worker_lives(handle.clone(), On::BlockingTask, lives))
        .row("a task", worker_lives(handle.clone(), On::Task, lives))
        .run(rounds, seed);
    turns(Table::new(&["a turn that does nothing, ns"], 1.0), &handle).run(rounds, seed);
    pushes(false).run(rounds, seed);
    pushes(true).run(rounds, seed);
    pushes_in_tasks().run(rounds, seed);
    policies().run(rounds, seed);
    idleness(quick);
}

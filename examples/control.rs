//! A host with workers: a thread, a task, and a group that stands and falls together, one of whose members fails now and then. What
//! they may do is a part of the state, and changed by an event.
//!
//! `cargo run --example control --features control`. It ends by itself; Ctrl-C ends it sooner.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mainlane::control::{
    AsyncWorker, Backoff, CancellationToken, Congestion, ControlPanel, Intensity, Load, Next, Strategy, TaskContext,
    Worker, WorkerContext, WorkerError, stop_on_signals,
};
use mainlane::{Class, Coalesced, Drive, Effects, Envelope, Event, Pipeline, Reducer, Tier};

enum Note {
    /// Of each room the newest one counts.
    Temperature { room: u8, celsius: f64 },
    /// Pages of a book that were read. Each one counts.
    Pages(u32),
    /// How many pages may be read at a time.
    Allow(u32),
}

impl Event for Note {
    type Key = u8;
    type Facets = ();

    fn class(&self) -> Class<u8> {
        match self {
            Note::Temperature { room, .. } => Class::lossy(*room, Tier::VISIBLE),
            Note::Pages(_) | Note::Allow(_) => Class::Critical,
        }
    }

    fn coalesce(&mut self, newer: Self) -> Coalesced {
        *self = newer;
        Coalesced::Replaced
    }
}

/// What workers may do.
#[derive(Clone, Debug, PartialEq)]
struct Policy {
    pages: u32,
}

#[derive(Clone)]
struct House {
    celsius: BTreeMap<u8, f64>,
    pages: u64,
    policy: Policy,
}

impl Reducer for House {
    type Event = Note;
    type Effect = ();

    fn apply(&mut self, envelope: &Envelope<'_, Note>, _: &mut Effects<()>) {
        match *envelope.event {
            Note::Temperature { room, celsius } => drop(self.celsius.insert(room, celsius)),
            Note::Pages(pages) => self.pages += u64::from(pages),
            Note::Allow(pages) => self.policy.pages = pages,
        }
    }
}

/// Looks at a thermometer again and again, on a thread of its own.
struct Thermometer {
    looks: u32,
}

impl Worker<House, Policy> for Thermometer {
    fn turn(&mut self, ctx: &mut WorkerContext<House, Policy>) -> Result<Next, WorkerError> {
        self.looks += 1;
        let celsius = 20.0 + f64::from(self.looks % 10) / 10.0;
        ctx.lane().push(Note::Temperature { room: (self.looks % 3) as u8, celsius })?;
        Ok(Next::After(Duration::from_millis(10)))
    }
}

/// Raises the allowance as the house fills, as a task.
struct Librarian;

impl AsyncWorker<House, Policy> for Librarian {
    async fn run(&mut self, ctx: &mut TaskContext<House, Policy>) -> Result<(), WorkerError> {
        let mut reader = ctx.reader();
        loop {
            tokio::select! {
                () = ctx.cancelled() => return Ok(()),
                house = reader.changed() => {
                    let Some(house) = house else { return Ok(()) };
                    if house.pages > 2_000 && house.policy.pages < 50 {
                        ctx.lane().push(Note::Allow(50)).await?;
                    }
                }
            }
        }
    }
}

/// Reads as many pages as it may, and now and then tears one.
struct BookReader {
    turns: u32,
}

impl Worker<House, Policy> for BookReader {
    fn turn(&mut self, ctx: &mut WorkerContext<House, Policy>) -> Result<Next, WorkerError> {
        self.turns += 1;
        // Less while the main lane is behind, and nothing that would have to wait.
        let pages = match ctx.lane().congestion() {
            Congestion::Clear => ctx.policy().pages,
            Congestion::Busy => 1,
            Congestion::Full => return Ok(Next::After(Duration::from_millis(20))),
        };
        for _ in 0..pages {
            ctx.lane().push(Note::Pages(1))?;
        }
        if self.turns == 60 {
            return Err("a page is torn".into());
        }
        Ok(Next::After(Duration::from_millis(5)))
    }
}

/// Turns the lamp on and off. Has to begin anew whenever the reader does.
struct Lamp;

impl Worker<House, Policy> for Lamp {
    fn turn(&mut self, _: &mut WorkerContext<House, Policy>) -> Result<Next, WorkerError> {
        Ok(Next::Nudged)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Kept until the end: it listens as long as it is there.
    let stop = CancellationToken::new();
    let _signals = stop_on_signals(stop.clone())?;

    let house = House { celsius: BTreeMap::new(), pages: 0, policy: Policy { pages: 10 } };
    let (main_lane, handle) = Pipeline::builder(house).build()?;
    let mut running = main_lane.spawn(Drive::new())?;

    let mut panel = ControlPanel::builder()
        .policy(&handle, |house: &House| house.policy.clone())
        .stop_with(stop.clone(), Duration::from_secs(1))
        .start()?;
    panel.worker(&handle, "thermometer", || Ok(Thermometer { looks: 0 })).load(Load::Light).start()?;
    panel.task(&handle, "librarian", || Ok(Librarian)).start()?;
    let often = Intensity::at_most(20, Duration::from_secs(5));
    panel.group("reading").strategy(Strategy::OneForAll).intensity(often).start()?;
    panel.worker(&handle, "lamp", || Ok(Lamp)).group("reading").start()?;
    panel
        .worker(&handle, "book", || Ok(BookReader { turns: 0 }))
        .group("reading")
        .after("lamp")
        .backoff(Backoff::between(Duration::from_millis(50), Duration::from_secs(1)))
        .start()?;

    let reader = handle.reader();
    for _ in 0..8 {
        if panel.wait_for_shutdown(Instant::now() + Duration::from_millis(250)).is_some() {
            break; // Ctrl-C
        }
        let house = reader.load();
        println!("{:?}: {} pages, {} at a time", panel.health(), house.pages, house.policy.pages);
        for worker in panel.workers() {
            let failure = worker.last_failure.map(|failure| format!(", {failure}")).unwrap_or_default();
            println!("  {:<12} {}, {} restarts{failure}", worker.name, worker.state, worker.restarts);
        }
    }

    // The panel first, so that its workers can still push their last words.
    let workers = panel.shutdown(Duration::from_secs(1));
    let pipeline = running.shutdown(Duration::from_secs(1));
    let faults = pipeline.counters.faults;
    println!("workers stopped: {}, pipeline complete: {}", workers.complete, pipeline.complete);
    println!("worker errors: {}, restarts: {}", faults.worker_errors, faults.worker_restarts);
    Ok(())
}

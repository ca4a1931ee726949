//! W23: one who publishes, and 0 to 200 who hear it: what it costs to publish, how much gets through, and how long it takes.

use std::hint::spin_loop;
use std::time::{Duration, Instant};

use mainlane::signal::{Bus, Cause, Delivery, RunningBus, Signal, SignalOutlet, SignalReader};
use mainlane::{Budget, Origin};
use tokio::sync::{broadcast, mpsc};

use super::BurstArgs;
use super::machine;
use super::rounds::{self, Contender, Figure, Spread, Table, histogram};

/// What is published; no more wait in any queue.
const BURST: u64 = 512;
const QUEUE: usize = 1024;
const SUBSCRIBERS: [usize; 3] = [1, 10, 200];
const SLICE: Duration = Duration::from_millis(40);
/// In open loop.
const INTERVAL: Duration = Duration::from_millis(1);

/// As small as a note about something is: a number and who it is about.
#[derive(Clone, Copy, Debug)]
struct Note {
    number: u64,
    #[expect(dead_code, reason = "it has the size of a note")]
    about: [u64; 2],
}

impl Note {
    fn new(number: u64) -> Self {
        Self { number, about: [number; 2] }
    }
}

impl Signal for Note {
    const FAMILY: &'static str = "note";
    const CAPACITY: usize = QUEUE;
}

pub(crate) fn tables(args: &BurstArgs) -> Vec<Table> {
    let costs = [0, 1, 10, 200].map(|subscribers| cost(subscribers, args));
    let rates = SUBSCRIBERS.map(|subscribers| rate(subscribers, args));
    let times = SUBSCRIBERS.map(|subscribers| time(subscribers, args));
    costs.into_iter().chain(rates).chain(times).collect()
}

/// A way to tell many.
trait Telling {
    /// Who publishes.
    type Publishes: Publishing;
    /// Who hears it, one of them.
    type Hears: Hearing;
    /// What has to live as long as those.
    type Keeps;

    fn open(&self, subscribers: usize) -> (Self::Publishes, Vec<Self::Hears>, Self::Keeps);
}

trait Publishing: Send + 'static {
    /// Publishes one; there is room.
    fn publish(&mut self, note: Note);
}

trait Hearing: Send + 'static {
    /// Takes what is there, and hands over the numbers.
    fn take(&mut self, each: impl FnMut(u64));
    /// Waits for the next, in a task. `None` when there will be none.
    fn next(&mut self) -> impl Future<Output = Option<u64>> + Send;
}

/// The bus, with its dispatcher on a thread of its own.
struct Ours;

impl Telling for Ours {
    type Publishes = SignalOutlet<Note>;
    type Hears = SignalReader<Note>;
    type Keeps = RunningBus;

    fn open(&self, subscribers: usize) -> (SignalOutlet<Note>, Vec<SignalReader<Note>>, RunningBus) {
        let running = Bus::builder().start().expect("the system has a thread");
        let reader = |_| running.bus().subscribe("burst").waiting(QUEUE).reader().expect("a queue of this size");
        let readers = (0..subscribers).map(reader).collect();
        (running.bus().outlet(Origin::built_in("burst", 0)), readers, running)
    }
}

impl Publishing for SignalOutlet<Note> {
    #[inline]
    fn publish(&mut self, note: Note) {
        self.publish_with(Cause::NONE, || note).expect("there is room");
    }
}

fn number(delivery: &Delivery<Note>) -> u64 {
    delivery.signal().expect("nothing is missing").number
}

impl Hearing for SignalReader<Note> {
    fn take(&mut self, mut each: impl FnMut(u64)) {
        let _ = self.drain(Budget::UNLIMITED, |delivery| each(number(delivery)));
    }

    async fn next(&mut self) -> Option<u64> {
        SignalReader::next(self).await.as_ref().map(number)
    }
}

/// The same, by an outlet that hands on by itself.
struct Direct;

impl Telling for Direct {
    type Publishes = SignalOutlet<Note>;
    type Hears = SignalReader<Note>;
    type Keeps = RunningBus;

    fn open(&self, subscribers: usize) -> (SignalOutlet<Note>, Vec<SignalReader<Note>>, RunningBus) {
        let (_, readers, running) = Ours.open(subscribers);
        (running.bus().direct_outlet(Origin::built_in("burst", 0)), readers, running)
    }
}

/// tokio's broadcast channel.
struct Broadcast;

impl Telling for Broadcast {
    type Publishes = broadcast::Sender<Note>;
    type Hears = broadcast::Receiver<Note>;
    type Keeps = ();

    fn open(&self, subscribers: usize) -> (Self::Publishes, Vec<Self::Hears>, ()) {
        let (sender, _) = broadcast::channel(QUEUE);
        let receivers = (0..subscribers).map(|_| sender.subscribe()).collect();
        (sender, receivers, ())
    }
}

impl Publishing for broadcast::Sender<Note> {
    #[inline]
    fn publish(&mut self, note: Note) {
        // An error says that nobody listens.
        let _ = self.send(note);
    }
}

impl Hearing for broadcast::Receiver<Note> {
    fn take(&mut self, mut each: impl FnMut(u64)) {
        loop {
            match self.try_recv() {
                Ok(note) => each(note.number),
                Err(broadcast::error::TryRecvError::Empty | broadcast::error::TryRecvError::Closed) => return,
                Err(broadcast::error::TryRecvError::Lagged(_)) => panic!("no more than a burst is published"),
            }
        }
    }

    async fn next(&mut self) -> Option<u64> {
        self.recv().await.ok().map(|note| note.number)
    }
}

/// By hand: a channel for each who hears it.
struct Channels;

impl Telling for Channels {
    type Publishes = Vec<mpsc::Sender<Note>>;
    type Hears = mpsc::Receiver<Note>;
    type Keeps = ();

    fn open(&self, subscribers: usize) -> (Self::Publishes, Vec<Self::Hears>, ()) {
        let (senders, receivers) = (0..subscribers).map(|_| mpsc::channel(QUEUE)).unzip();
        (senders, receivers, ())
    }
}

impl Publishing for Vec<mpsc::Sender<Note>> {
    #[inline]
    fn publish(&mut self, note: Note) {
        self.iter().for_each(|sender| sender.try_send(note).expect("there is room"));
    }
}

impl Hearing for mpsc::Receiver<Note> {
    fn take(&mut self, mut each: impl FnMut(u64)) {
        while let Ok(note) = self.try_recv() {
            each(note.number);
        }
    }

    async fn next(&mut self) -> Option<u64> {
        self.recv().await.map(|note| note.number)
    }
}

/// By hand: a channel of crossbeam's for each who hears it.
struct Crossbeam;

impl Telling for Crossbeam {
    type Publishes = Vec<crossbeam_channel::Sender<Note>>;
    type Hears = crossbeam_channel::Receiver<Note>;
    type Keeps = ();

    fn open(&self, subscribers: usize) -> (Self::Publishes, Vec<Self::Hears>, ()) {
        let (senders, receivers) = (0..subscribers).map(|_| crossbeam_channel::bounded(QUEUE)).unzip();
        (senders, receivers, ())
    }
}

impl Publishing for Vec<crossbeam_channel::Sender<Note>> {
    #[inline]
    fn publish(&mut self, note: Note) {
        self.iter().for_each(|sender| sender.try_send(note).expect("there is room"));
    }
}

impl Hearing for crossbeam_channel::Receiver<Note> {
    fn take(&mut self, mut each: impl FnMut(u64)) {
        self.try_iter().for_each(|note| each(note.number));
    }

    async fn next(&mut self) -> Option<u64> {
        unreachable!("it is not measured in tasks")
    }
}

/// Bursts, each published when everybody has heard the one before, and all checked. Returns how long the publications alone took, in
/// nanoseconds for each signal, and how many deliveries there were in a second.
fn bursts<T: Telling>(telling: &T, subscribers: usize) -> (Spread, f64) {
    let (mut publishes, mut hearing, _keeps) = telling.open(subscribers);
    let (started, is_started) = crossbeam_channel::bounded::<u64>(1);
    let (heard, is_heard) = crossbeam_channel::bounded::<()>(1);
    let taking = std::thread::spawn(move || {
        let mut next = vec![0; hearing.len()];
        for until in is_started {
            let mut behind = hearing.len();
            while behind > 0 {
                behind = 0;
                for (hears, next) in hearing.iter_mut().zip(&mut next) {
                    hears.take(|number| {
                        assert_eq!(number, *next, "in order, and none missing");
                        *next += 1;
                    });
                    behind += usize::from(*next < until);
                }
                spin_loop();
            }
            if heard.send(()).is_err() {
                break;
            }
        }
    });
    let (began, mut published, mut costs) = (Instant::now(), 0, Vec::new());
    while published == 0 || began.elapsed() < SLICE {
        started.send(published + BURST).expect("somebody takes them");
        let start = Instant::now();
        for _ in 0..BURST {
            publishes.publish(Note::new(published));
            published += 1;
        }
        costs.push(start.elapsed().as_nanos() as f64 / BURST as f64);
        is_heard.recv().expect("everybody has heard them");
    }
    let rate = (published * subscribers as u64) as f64 / began.elapsed().as_secs_f64();
    drop(started);
    taking.join().expect("everything was in order");
    (Spread::of(costs), rate)
}

fn several<F: Fn(usize) -> Vec<Contender>>(
    name: &str,
    unit: &'static str,
    more: bool,
    subscribers: usize,
    all: F,
    args: &BurstArgs,
) -> Table {
    let name = match subscribers {
        0 => format!("{name}, nobody listens"),
        1 => format!("{name}, 1 subscriber"),
        many => format!("{name}, {many} subscribers"),
    };
    let mut table = rounds::run(name, unit, more, all(subscribers), args.rounds as usize, args.seed);
    table.notes.extend(machine::note_if_crowded(2));
    table
}

fn cost(subscribers: usize, args: &BurstArgs) -> Table {
    fn of<T: Telling + 'static>(name: &str, telling: T, subscribers: usize) -> Contender {
        Contender::new(name, move || bursts(&telling, subscribers).0.median)
    }
    let all = |subscribers| {
        vec![
            of("mainlane, the signal bus", Ours, subscribers),
            of("tokio broadcast", Broadcast, subscribers),
            of("by hand: a tokio channel for each", Channels, subscribers),
            of("by hand: a crossbeam channel for each", Crossbeam, subscribers),
        ]
    };
    let mut table = several("W23 what a publication costs", "ns per signal", false, subscribers, all, args);
    table.notes.push(format!("bursts of {BURST}, for which there is room; on the thread that publishes alone"));
    table
}

fn rate(subscribers: usize, args: &BurstArgs) -> Table {
    fn of<T: Telling + 'static>(name: &str, telling: T, subscribers: usize) -> Contender {
        Contender::new(name, move || bursts(&telling, subscribers).1)
    }
    let all = |subscribers| {
        vec![
            of("mainlane, the signal bus", Ours, subscribers),
            of("tokio broadcast", Broadcast, subscribers),
            of("by hand: a tokio channel for each", Channels, subscribers),
            of("by hand: a crossbeam channel for each", Crossbeam, subscribers),
        ]
    };
    let mut table = several("W23 how much gets through", "deliveries per second", true, subscribers, all, args);
    table.notes.push(format!(
        "bursts of {BURST}, each published when all have heard the one before; one thread takes for all of them, in turn"
    ));
    table
}

/// A signal each millisecond, and the time from the moment at which it was meant to be published until a task has it.
fn time(subscribers: usize, args: &BurstArgs) -> Table {
    fn of<T: Telling + 'static>(name: &str, telling: T, subscribers: usize) -> Contender {
        Contender::new(name, move || open_loop(&telling, subscribers))
    }
    let all = |subscribers| {
        vec![
            of("mainlane, an outlet that hands on by itself", Direct, subscribers),
            of("mainlane, by the dispatcher's thread", Ours, subscribers),
            of("tokio broadcast", Broadcast, subscribers),
            of("by hand: a tokio channel for each", Channels, subscribers),
        ]
    };
    let mut table = several("W23 from publication to a task", "ns, median", false, subscribers, all, args);
    table.notes.push(
        "one signal each millisecond, from its intended moment; the tasks share one thread of tokio's".to_owned(),
    );
    table
}

fn open_loop<T: Telling>(telling: &T, subscribers: usize) -> Figure {
    let signals = (SLICE.as_nanos() / INTERVAL.as_nanos()) as u64;
    let (mut publishes, hearing, keeps) = telling.open(subscribers);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("the system has a thread");
    let first = Instant::now() + Duration::from_millis(5);
    let tasks: Vec<_> = hearing
        .into_iter()
        .map(|mut hears| {
            runtime.spawn(async move {
                let mut came = Vec::with_capacity(signals as usize);
                for number in 0..signals {
                    assert_eq!(hears.next().await, Some(number), "in order, and none missing");
                    came.push(Instant::now());
                }
                came
            })
        })
        .collect();
    for number in 0..signals {
        let intended = first + INTERVAL * number as u32;
        std::thread::sleep(intended.saturating_duration_since(Instant::now()).saturating_sub(INTERVAL / 5));
        while Instant::now() < intended {
            spin_loop();
        }
        publishes.publish(Note::new(number));
    }
    let mut latency = histogram();
    for task in tasks {
        let came = runtime.block_on(task).expect("everything was in order");
        for (number, came) in came.into_iter().enumerate() {
            let took = came.saturating_duration_since(first + INTERVAL * number as u32);
            latency.saturating_record((took.as_nanos() as u64).max(1));
        }
    }
    drop(keeps);
    Figure { value: latency.value_at_percentile(50.0) as f64, latency: Some(latency) }
}

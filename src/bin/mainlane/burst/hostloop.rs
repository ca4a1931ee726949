//! W20: a host that draws frames and takes what has arrived in each, while others push at their own pace and now and then a
//! great deal at once: how long that holds up a frame.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mainlane::{Budget, Class, Effects, Envelope, Event, Lane, Left, MainLane, Pipeline, Reducer, Tier};
use parking_lot::Mutex;

use super::BurstArgs;
use super::rounds::{self, Contender, Figure, Table, histogram};

const SLICE: Duration = Duration::from_millis(500);
/// The rhythm of the producer that never stops: 1 kHz.
const TICK: Duration = Duration::from_millis(1);
/// The rhythm of the other one, and what it throws at the host each time.
const BURST_EVERY: Duration = Duration::from_millis(100);
const BURST_LOSSY: u64 = 100_000;
const BURST_CRITICAL: u64 = 1_000;
/// How many values the lossy events are about.
const KEYS: u64 = 200;
/// How long a frame may take in what has arrived.
const FRAME: Budget = Budget::millis(2);

/// When a host takes what has arrived.
#[derive(Clone, Copy)]
enum Beat {
    /// In every frame, so many a second; frames that are late are left out.
    Frames(u32),
    /// In steps of a fixed length, so many a second, none left out; a frame makes up for all that are due.
    Steps { frames: u32, steps: u32 },
}

const BEATS: [(Beat, &str); 4] = [
    (Beat::Frames(240), "240 Hz"),
    (Beat::Frames(60), "60 Hz"),
    (Beat::Frames(30), "30 Hz"),
    (Beat::Steps { frames: 60, steps: 64 }, "60 Hz with fixed steps of 64 Hz"),
];

pub(crate) fn tables(args: &BurstArgs) -> Vec<Table> {
    BEATS.map(|(beat, name)| table(beat, name, args)).into()
}

fn table(beat: Beat, name: &str, args: &BurstArgs) -> Table {
    let time = args.slice.unwrap_or(SLICE);
    let contenders = vec![
        Contender::new("mainlane, a turn of 2 ms at most", move || slice(beat, time, Ours::open)),
        Contender::new("by hand: a channel and a locked state", move || slice(beat, time, ByHand::open)),
    ];
    let name = format!("W20 frames at {name}");
    let mut table = rounds::run(name, "ns, longest frame", false, contenders, args.rounds as usize, args.seed);
    let every_ms = BURST_EVERY.as_millis();
    table.notes.push(format!(
        "1,000 events a second, and every {every_ms} ms {BURST_LOSSY} lossy and {BURST_CRITICAL} critical ones at once"
    ));
    table
        .notes
        .push("the times are what each frame spends on events; lost and doubled in every slice: 0 and 0".to_owned());
    table
}

/// What a host is told.
enum Happening {
    /// At a steady rate; each counts.
    Tick(u64),
    /// One of many at once; each counts.
    Line(u64),
    /// One of very many at once; the newest of each key counts.
    Progress { key: u32, number: u64 },
}

/// The state of the host.
#[derive(Clone, Default)]
struct Seen {
    ticks: Numbered,
    lines: Numbered,
    newest: Vec<u64>,
    back: u64,
}

/// Events that come one after the other, from one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Numbered {
    last: u64,
    lost: u64,
    doubled: u64,
}

impl Numbered {
    fn take(&mut self, number: u64) {
        if number > self.last {
            self.lost += number - self.last - 1;
            self.last = number;
        } else {
            self.doubled += 1;
        }
    }
}

impl Seen {
    fn new() -> Self {
        Self { newest: vec![0; KEYS as usize], ..Self::default() }
    }

    fn take(&mut self, happening: &Happening) {
        match *happening {
            Happening::Tick(number) => self.ticks.take(number),
            Happening::Line(number) => self.lines.take(number),
            Happening::Progress { key, number } => {
                let newest = &mut self.newest[key as usize];
                self.back += u64::from(number <= *newest);
                *newest = number;
            }
        }
    }

    /// # Panics
    /// When an event was lost or doubled, or a value is not the newest of its key.
    fn assert(&self, ticks: u64, bursts: u64) {
        let complete = |last| Numbered { last, lost: 0, doubled: 0 };
        assert_eq!(self.ticks, complete(ticks), "ticks");
        assert_eq!(self.lines, complete(bursts * BURST_CRITICAL), "lines");
        let newest = (0..KEYS).map(|key| newest_of(key, bursts));
        assert!(self.newest.iter().copied().eq(newest), "each key has its newest value");
        assert_eq!(self.back, 0, "values that were older than those before them");
    }
}

/// The number of the last progress of a key; the first is one.
fn newest_of(key: u64, bursts: u64) -> u64 {
    if bursts == 0 { 0 } else { bursts * BURST_LOSSY - KEYS + key + 1 }
}

/// A host: what it does with events in a frame.
trait Host {
    /// Takes what has arrived. True if there is nothing more, once nothing more is pushed.
    fn frame(&mut self) -> bool;

    fn seen(&self) -> Seen;
}

/// The way in for one producer.
trait Telling: Send + 'static {
    fn tell(&mut self, happening: Happening);
}

/// The ends of a host: for the steady producer, for the other one, and its own.
type Ends<T, H> = (T, T, H);

fn slice<T: Telling, H: Host>(beat: Beat, time: Duration, open: fn() -> Ends<T, H>) -> Figure {
    let (steady, other, mut host) = open();
    let start = Instant::now();
    let ticking = every(TICK, start, time, steady, tick);
    let bursting = every(BURST_EVERY, start, time, other, burst);
    let (mut clock, mut frames) = (FrameClock::new(beat, start), histogram());
    while !(ticking.is_finished() && bursting.is_finished()) {
        draw(&mut host, &mut clock, &mut frames);
    }
    let (ticks, bursts) = (ticking.join().expect("ticks end"), bursting.join().expect("bursts end"));
    while !draw(&mut host, &mut clock, &mut frames) {}
    host.seen().assert(ticks, bursts);
    Figure { value: frames.max() as f64, latency: Some(frames) }
}

/// Does something again and again until the time is up, late rather than not at all. How often that was.
fn every<T: Telling>(
    interval: Duration,
    start: Instant,
    time: Duration,
    mut end: T,
    what: fn(&mut T, u64),
) -> JoinHandle<u64> {
    std::thread::spawn(move || {
        let mut count = 0;
        while interval * count as u32 <= time {
            sleep_until(start + interval * count as u32);
            what(&mut end, count);
            count += 1;
        }
        count
    })
}

fn tick<T: Telling>(end: &mut T, count: u64) {
    end.tell(Happening::Tick(count + 1));
}

fn burst<T: Telling>(end: &mut T, count: u64) {
    let lossy_per_line = BURST_LOSSY / BURST_CRITICAL;
    for line in count * BURST_CRITICAL..(count + 1) * BURST_CRITICAL {
        for progress in line * lossy_per_line..(line + 1) * lossy_per_line {
            end.tell(Happening::Progress { key: (progress % KEYS) as u32, number: progress + 1 });
        }
        end.tell(Happening::Line(line + 1));
    }
}

/// Draws the next frame, and records how long that took for the events. True if there is nothing more.
fn draw(host: &mut impl Host, clock: &mut FrameClock, frames: &mut Histogram<u64>) -> bool {
    let steps = clock.next();
    let began = Instant::now();
    let is_all = (0..steps).fold(false, |_, _| host.frame());
    if steps > 0 {
        frames.saturating_record(began.elapsed().as_nanos() as u64);
    }
    is_all
}

/// Says when a frame is due, and how many steps are due in it.
struct FrameClock {
    beat: Beat,
    start: Instant,
    due: Instant,
    steps_done: u128,
}

impl FrameClock {
    fn new(beat: Beat, start: Instant) -> Self {
        Self { beat, start, due: start, steps_done: 0 }
    }

    /// Sleeps until the next frame. How often it takes what has arrived.
    fn next(&mut self) -> u32 {
        let (Beat::Frames(frames) | Beat::Steps { frames, .. }) = self.beat;
        let (period, now) = (Duration::from_secs(1) / frames, Instant::now());
        while self.due <= now {
            self.due += period;
        }
        sleep_until(self.due);
        self.steps(self.due)
    }

    fn steps(&mut self, now: Instant) -> u32 {
        let Beat::Steps { steps, .. } = self.beat else { return 1 };
        let done = now.duration_since(self.start).as_nanos() * u128::from(steps) / 1_000_000_000;
        let due = done - self.steps_done;
        self.steps_done = done;
        due as u32
    }
}

fn sleep_until(moment: Instant) {
    std::thread::sleep(moment.saturating_duration_since(Instant::now()));
}

impl Event for Happening {
    type Key = u32;
    type Facets = ();

    fn class(&self) -> Class<u32> {
        match self {
            Happening::Tick(_) | Happening::Line(_) => Class::Critical,
            Happening::Progress { key, .. } => Class::lossy(*key, Tier::VISIBLE),
        }
    }
}

/// The state of a pipeline, copied into what a retired snapshot has already.
#[derive(Default)]
struct Drawn(Seen);

impl Clone for Drawn {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }

    fn clone_from(&mut self, from: &Self) {
        let Seen { ticks, lines, newest, back } = &mut self.0;
        (*ticks, *lines, *back) = (from.0.ticks.clone(), from.0.lines.clone(), from.0.back);
        newest.clone_from(&from.0.newest);
    }
}

impl Reducer for Drawn {
    type Event = Happening;
    type Effect = ();

    fn apply(&mut self, envelope: &Envelope<'_, Happening>, _: &mut Effects<()>) {
        self.0.take(envelope.event);
    }
}

struct Ours(MainLane<Drawn>);

impl Ours {
    fn open() -> Ends<Lane<Happening>, Self> {
        let builder = Pipeline::builder(Drawn(Seen::new()));
        let lane = |name| builder.lane(name).open().expect("the builder is not built yet");
        let (steady, other) = (lane("steady"), lane("bursts"));
        let (main_lane, _) = builder.build().expect("all settings are in range");
        (steady, other, Self(main_lane))
    }
}

impl Telling for Lane<Happening> {
    fn tell(&mut self, happening: Happening) {
        assert!(self.push(happening).is_ok(), "the pipeline is open");
    }
}

impl Host for Ours {
    fn frame(&mut self) -> bool {
        let turn = self.0.turn(FRAME).unwrap_or_else(|error| panic!("{error}"));
        // A turn that finished what an earlier one began did not look for more.
        turn.events == 0 && turn.left == Left::Nothing
    }

    fn seen(&self) -> Seen {
        self.0.state().0.clone()
    }
}

/// What is usually made by hand: a channel without a bound, and a state behind a lock that the frame takes to put in all
/// that has arrived.
struct ByHand {
    receiver: crossbeam_channel::Receiver<Happening>,
    state: Arc<Mutex<Seen>>,
}

impl ByHand {
    fn open() -> Ends<crossbeam_channel::Sender<Happening>, Self> {
        let (sender, receiver) = crossbeam_channel::unbounded();
        (sender.clone(), sender, Self { receiver, state: Arc::new(Mutex::new(Seen::new())) })
    }
}

impl Telling for crossbeam_channel::Sender<Happening> {
    fn tell(&mut self, happening: Happening) {
        assert!(self.send(happening).is_ok(), "the host is there");
    }
}

impl Host for ByHand {
    fn frame(&mut self) -> bool {
        let mut state = self.state.lock();
        self.receiver.try_iter().for_each(|happening| state.take(&happening));
        true
    }

    fn seen(&self) -> Seen {
        self.state.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A burst straight into a state.
    impl Telling for Seen {
        fn tell(&mut self, happening: Happening) {
            self.take(&happening);
        }
    }

    #[test]
    fn what_is_pushed_is_what_is_expected() {
        let mut seen = Seen::new();
        seen.assert(0, 0);
        (0..2).for_each(|count| burst(&mut seen, count));
        (0..3).for_each(|count| tick(&mut seen, count));
        seen.assert(3, 2);
    }

    #[test]
    fn what_is_lost_and_what_is_doubled_are_told_apart() {
        let mut numbered = Numbered::default();
        [1, 2, 5, 5, 6].into_iter().for_each(|number| numbered.take(number));
        assert_eq!(numbered, Numbered { last: 6, lost: 2, doubled: 1 });
    }

    #[test]
    fn fixed_steps_are_made_up_for() {
        let start = Instant::now();
        let mut clock = FrameClock::new(Beat::Steps { frames: 60, steps: 64 }, start);
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        assert_eq!([10, 16, 33, 1000].map(|now| clock.steps(at(now))), [0, 1, 1, 62]);
        assert_eq!(FrameClock::new(Beat::Frames(30), start).steps(at(1000)), 1);
    }
}

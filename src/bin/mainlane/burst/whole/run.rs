//! One slice: threads that push, one that takes and publishes, and some that read.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam_utils::Backoff;
use hdrhistogram::Histogram;

use super::super::machine;
use super::super::rounds::histogram;
use super::super::transport::{Payload, Sending};
use super::board::{Board, Order, Samples, Shares};
use super::parcel::{ALL_PER_CRITICAL, Parcel, critical_among};

/// Threads that push at most, each to several lanes in turn.
const THREADS_MAX: usize = 2;
/// Room for critical events, shared out among all lanes: what varies with their number is that number alone.
const SLOTS: usize = 4096;
/// Events of each lane between two looks at the clock, and between two that carry the time of their push.
pub(crate) const BLOCK: u64 = 64;
/// Not timed: the first part of a slice, one in so many.
const WARM_UP: u32 = 5;
/// Between two looks of a reader.
const BETWEEN: Duration = Duration::from_millis(1);
/// How long a slow reader holds on to what it reads.
pub(crate) const HOLD: Duration = Duration::from_millis(5);
/// A lane stops for this part of a slice.
const STALL: u32 = 3;
/// No lane stands still for so long because another one does.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is set.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) lanes: usize,
    /// Events per push; one is pushed singly.
    pub(crate) batch: u64,
    pub(crate) readers: usize,
    pub(crate) slice: Duration,
    pub(crate) trouble: Trouble,
}

/// What is thrown in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    None,
    /// Readers hold on to what they read for [`HOLD`].
    SlowReader,
    /// A lane stops in the middle of a batch.
    StalledLane,
    /// None, but a lane more with a source behind it.
    Source,
    /// The same, with a source that panics.
    PanickingSource,
}

impl Load {
    pub(crate) fn shares(&self) -> Shares {
        Shares {
            lanes: self.lanes,
            threads: self.threads(),
            batch: self.batch,
            source: matches!(self.trouble, Trouble::Source | Trouble::PanickingSource),
        }
    }

    pub(crate) fn threads(&self) -> usize {
        self.lanes.min(THREADS_MAX)
    }

    /// Room of each lane.
    pub(crate) fn capacity(&self) -> usize {
        SLOTS / self.lanes
    }
}

/// A slice under way.
pub(crate) struct Run {
    pub(crate) load: Load,
    pub(crate) samples: Samples,
    began: Instant,
    /// Threads that still push.
    pushing: AtomicUsize,
    /// How many events were pushed to each lane.
    pushed: Vec<AtomicU64>,
}

impl Run {
    fn new(load: Load) -> Arc<Self> {
        let lanes = load.shares().all_lanes();
        Arc::new(Self {
            load,
            samples: Samples::default(),
            began: Instant::now(),
            pushing: AtomicUsize::new(load.threads() + lanes - load.lanes),
            pushed: (0..lanes).map(|_| AtomicU64::new(0)).collect(),
        })
    }

    pub(crate) fn board(&self, enriched: bool) -> Board {
        Board::new(self.load.shares(), enriched, self.samples.clone())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.elapsed() >= self.load.slice
    }

    /// When something is to happen that happens in the middle.
    pub(crate) fn is_time_for_trouble(&self) -> bool {
        self.elapsed() >= self.load.slice / 3
    }

    pub(crate) fn pushed(&self, lane: usize) -> u64 {
        self.pushed[lane].load(Ordering::Acquire)
    }

    pub(crate) fn set_pushed(&self, lane: usize, count: u64) {
        self.pushed[lane].store(count, Ordering::Release);
    }

    /// A thread has pushed all that it pushes.
    pub(crate) fn leave(&self) {
        self.pushing.fetch_sub(1, Ordering::Release);
    }

    fn pushing(&self) -> usize {
        self.pushing.load(Ordering::Acquire)
    }
}

/// Shows what is published now.
pub(crate) type View = Arc<dyn Fn(&mut dyn FnMut(&Board)) + Send + Sync>;

/// A contender: all of the way from lanes to readers.
pub(crate) trait Path<const WORDS: usize>: 'static {
    const ORDER: Order;
    type Lane: Sending<Parcel<WORDS>>;
    type End: End;

    /// A lane each, the consumer's end, and the readers', if anything is published at all.
    fn open(&self, run: &Arc<Run>) -> (Vec<Self::Lane>, Self::End, Option<View>);
}

/// The consumer's end.
pub(crate) trait End: Send + 'static {
    /// Takes what there is, and publishes what came of it. True if there was anything.
    fn turn(&mut self) -> bool;

    /// How many critical events were taken and published.
    fn taken(&self) -> u64;

    /// The state, when everything is taken.
    ///
    /// # Panics
    /// When the contender's own accounts do not say that `pushed` events came through.
    fn finish(self, pushed: u64) -> Board;
}

/// Everybody at once, until all that was pushed is taken.
///
/// # Panics
/// When anything is not as it was promised.
pub(crate) fn slice<const WORDS: usize, P: Path<WORDS>>(path: &P, load: Load) -> Watched {
    let run = Run::new(load);
    let (lanes, mut end, view) = path.open(&run);
    let over = Arc::new(AtomicBool::new(false));
    let reading = |view: View| {
        let over = over.clone();
        std::thread::spawn(move || read(&view, load.trouble, &over))
    };
    let readers: Vec<_> = (0..load.readers).filter_map(|_| view.clone()).map(reading).collect();
    let watching = run.clone();
    let consuming = std::thread::spawn(move || {
        machine::pin_consumer(load.threads());
        let watched = consume(&mut end, &watching);
        (end, watched)
    });
    let producing: Vec<_> = shared_out(lanes, load.shares())
        .into_iter()
        .enumerate()
        .map(|(thread, mut lanes)| {
            let (run, view) = (run.clone(), view.clone());
            std::thread::spawn(move || {
                machine::pin_producer(thread, load.threads());
                push_all(&mut lanes, thread, &run, view.as_ref());
                // Kept until all is taken: an end that leaves may be counted as part of the work.
                lanes
            })
        })
        .collect();
    let lanes: Vec<_> = producing.into_iter().map(|thread| thread.join().expect("a producer ends")).collect();
    let (end, watched) = consuming.join().expect("the consumer ends");
    over.store(true, Ordering::Relaxed);
    readers.into_iter().for_each(|reader| assert!(reader.join().expect("a reader ends") > 0, "it has read"));
    let pushed: Vec<_> = (0..run.pushed.len()).map(|lane| run.pushed(lane)).collect();
    let critical: u64 = pushed.iter().copied().map(critical_among).sum();
    if let Some(view) = view {
        view(&mut |board| assert_eq!(board.taken(), critical, "what is published at last is all"));
    }
    end.finish(pushed.iter().sum()).assert(&pushed, P::ORDER);
    drop(lanes);
    watched
}

/// The lanes of each thread, with their numbers.
fn shared_out<L>(lanes: Vec<L>, shares: Shares) -> Vec<Vec<(usize, L)>> {
    let mut threads: Vec<Vec<_>> = (0..shares.threads).map(|_| Vec::new()).collect();
    for (number, lane) in lanes.into_iter().enumerate() {
        threads[shares.thread(number)].push((number, lane));
    }
    threads
}

/// Pushes to one lane after the other until the slice is over.
fn push_all<const WORDS: usize>(
    lanes: &mut [(usize, impl Sending<Parcel<WORDS>>)],
    thread: usize,
    run: &Run,
    view: Option<&View>,
) {
    let stalls = Cell::new(run.load.trouble == Trouble::StalledLane && thread == 0);
    let batch = run.load.batch;
    let mut number = 0;
    // At least once, however late this thread was.
    while number == 0 || stalls.get() || !run.is_over() {
        let sampled = (number / BLOCK) as usize % lanes.len();
        for from in (number..number + BLOCK).step_by(batch as usize) {
            for (at, (lane, sender)) in lanes.iter_mut().enumerate() {
                let is_sampled = from == number && at == sampled;
                let pushed_ns = if is_sampled { run.elapsed().as_nanos() as u64 } else { 0 };
                let first = Parcel::new(*lane, from).at(pushed_ns);
                if batch == 1 {
                    sender.push(first);
                } else if stalls.get() && at == 0 && run.is_time_for_trouble() {
                    sender.push_batch((0..batch as usize).map(|ahead| {
                        if ahead as u64 == batch / 2 && stalls.take() {
                            stall(thread, run, view);
                        }
                        Parcel::new(*lane, from + ahead as u64)
                    }));
                } else {
                    let rest = |ahead| Parcel::new(*lane, from + ahead as u64);
                    sender.push_batch((0..batch as usize).map(|ahead| if ahead == 0 { first } else { rest(ahead) }));
                }
            }
        }
        number += BLOCK;
    }
    lanes.iter().for_each(|(lane, _)| run.set_pushed(*lane, number));
    run.leave();
}

/// Stands still for a while, and until others have got on: more than what they had in their lanes, and up to the readers.
///
/// # Panics
/// When they do not.
fn stall(thread: usize, run: &Run, view: Option<&View>) {
    let view = view.expect("where a lane stalls there are readers");
    let others = || {
        let mut taken = 0;
        view(&mut |board| taken = board.taken_beside(thread));
        taken
    };
    let (began, before) = (Instant::now(), others());
    loop {
        std::thread::sleep(BETWEEN);
        let have_got_on = others() > before + SLOTS as u64 || run.pushing() == 1;
        if have_got_on && began.elapsed() >= run.load.slice / STALL {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "a lane that stands still stops the others");
    }
}

/// Looks at what is published, again and again. How often that was.
///
/// # Panics
/// When a state is in pieces, older than the one before it, or changes while it is held.
fn read(view: &View, trouble: Trouble, over: &AtomicBool) -> u64 {
    let (mut looks, mut newest) = (0, 0);
    while looks == 0 || !over.load(Ordering::Relaxed) {
        view(&mut |board| {
            let digest = (trouble == Trouble::SlowReader).then(|| board.digest());
            assert!(board.is_coherent(), "a state is seen as a whole");
            assert!(board.taken() >= newest, "a state is not older than the one before it");
            newest = board.taken();
            if let Some(digest) = digest {
                std::thread::sleep(HOLD);
                assert!(board.is_coherent() && board.digest() == digest, "a state that is held stays as it is");
            }
        });
        looks += 1;
        std::thread::sleep(BETWEEN);
    }
    looks
}

/// Takes and publishes until everybody has pushed everything.
fn consume(end: &mut impl End, run: &Run) -> Watched {
    let (idle, mut watched) = (Backoff::new(), Watched::new(run.load.slice / WARM_UP));
    loop {
        // Looked at first: what was pushed before is found by the turn.
        let last = run.pushing() == 0;
        if end.turn() {
            watched.published(run.elapsed(), end.taken(), run.samples.lock().drain(..));
            idle.reset();
        } else if last {
            return watched;
        } else {
            // Spins, then yields: all contenders wait in the same way.
            idle.snooze();
        }
    }
}

/// What is known about the publications of a slice.
pub(crate) struct Watched {
    warm_up: Duration,
    /// The first publication after the warm-up, and the last of all, each with what was taken by then.
    first: Option<(Duration, u64)>,
    last: (Duration, u64),
    /// From the push of an event to its publication.
    pub(crate) ages: Histogram<u64>,
    /// From one publication to the next.
    pub(crate) gaps: Histogram<u64>,
}

impl Watched {
    fn new(warm_up: Duration) -> Self {
        Self { warm_up, first: None, last: (Duration::ZERO, 0), ages: histogram(), gaps: histogram() }
    }

    fn published(&mut self, now: Duration, taken: u64, samples: impl Iterator<Item = u64>) {
        let (before, _) = std::mem::replace(&mut self.last, (now, taken));
        if self.first.is_none() && now >= self.warm_up {
            self.first = Some((now, taken));
            return;
        }
        if self.first.is_some() {
            self.gaps.saturating_record((now - before).as_nanos() as u64);
            let ages = samples.map(|pushed_ns| (now.as_nanos() as u64).saturating_sub(pushed_ns));
            ages.for_each(|age| self.ages.saturating_record(age.max(1)));
        }
    }

    /// Events per second, lossy ones among them. Of the whole slice, if nothing came after its warm-up.
    pub(crate) fn rate(&self) -> f64 {
        let (end, taken) = self.last;
        let timed = self.first.filter(|(begin, before)| *begin < end && *before < taken);
        let (begin, before) = timed.unwrap_or_default();
        (taken - before) as f64 * ALL_PER_CRITICAL / (end - begin).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOAD: Load =
        Load { lanes: 5, batch: 16, readers: 1, slice: Duration::from_millis(10), trouble: Trouble::PanickingSource };

    #[test]
    fn lanes_are_shared_out_among_two_threads_and_a_source_has_its_own() {
        let shares = LOAD.shares();
        let lanes: Vec<Vec<_>> = shared_out(vec!["a", "b", "c", "d", "e"], shares);
        assert_eq!(lanes, [vec![(0, "a"), (2, "c"), (4, "e")], vec![(1, "b"), (3, "d")]]);
        assert_eq!((shares.all_lanes(), shares.thread(5), Run::new(LOAD).pushing()), (6, 2, 3));
        let one = Load { lanes: 1, trouble: Trouble::None, ..LOAD };
        assert_eq!((one.threads(), one.shares().all_lanes(), Run::new(one).pushing()), (1, 1, 1));
    }

    #[test]
    fn a_rate_is_of_what_was_taken_after_the_warm_up() {
        let mut watched = Watched::new(Duration::from_millis(2));
        let mut at = |ms, taken, samples: &[u64]| {
            watched.published(Duration::from_millis(ms), taken, samples.iter().copied());
        };
        at(1, 700, &[500_000]);
        at(3, 1400, &[500_000]);
        at(4, 2100, &[3_000_000]);
        at(7, 2800, &[]);
        assert_eq!(watched.rate().round(), 400_000.0, "1,600 events in 4 ms");
        assert_eq!((watched.ages.len(), watched.ages.max() / 1_000), (1, 1_000));
        assert_eq!((watched.gaps.len(), watched.gaps.max() / 10_000), (2, 300));
    }

    #[test]
    fn a_slice_in_which_nothing_came_after_the_warm_up_has_a_rate_all_the_same() {
        let mut watched = Watched::new(Duration::from_millis(2));
        watched.published(Duration::from_millis(4), 700, std::iter::empty());
        assert_eq!(watched.rate().round(), 200_000.0);
    }

    #[test]
    #[should_panic(expected = "not older")]
    fn a_reader_that_goes_back_is_noticed() {
        let run = Run::new(LOAD);
        let looks = AtomicUsize::new(0);
        let view: View = Arc::new(move |look| {
            let mut board = run.board(false);
            if looks.fetch_add(1, Ordering::Relaxed) == 0 {
                board.apply(&Parcel::<1>::new(0, 0), Default::default());
            }
            look(&board);
        });
        read(&view, Trouble::None, &AtomicBool::new(false));
    }
}

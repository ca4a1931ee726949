//! What all contenders have in common: a way from producers to one consumer.

use std::time::Instant;

use crossbeam_utils::Backoff;

/// An event of a benchmark: small, and made from its producer and number alone.
pub(crate) trait Payload: Copy + Default + Send + Sync + 'static {
    fn new(producer: usize, number: u64) -> Self;
    fn producer(&self) -> usize;
    fn number(&self) -> u64;
}

/// Eight bytes, as in the benchmarks of disruptor-rs; for one producer.
impl Payload for i64 {
    #[inline]
    fn new(_: usize, number: u64) -> Self {
        number as i64
    }

    #[inline]
    fn producer(&self) -> usize {
        0
    }

    #[inline]
    fn number(&self) -> u64 {
        *self as u64
    }
}

/// So many bytes beside the producer and the number; 24 in all with one word.
#[derive(Clone, Copy)]
pub(crate) struct Wide<const WORDS: usize> {
    producer: u64,
    number: u64,
    rest: [u64; WORDS],
}

impl<const WORDS: usize> Default for Wide<WORDS> {
    fn default() -> Self {
        Self { producer: 0, number: 0, rest: [0; WORDS] }
    }
}

impl<const WORDS: usize> Payload for Wide<WORDS> {
    #[inline]
    fn new(producer: usize, number: u64) -> Self {
        Self { producer: producer as u64, number, rest: [number; WORDS] }
    }

    #[inline]
    fn producer(&self) -> usize {
        self.producer as usize
    }

    #[inline]
    fn number(&self) -> u64 {
        // All of it is read, as a real consumer would.
        self.rest.iter().fold(self.number, |number, word| number | word)
    }
}

/// What is done with an event at the other end; the reducer's part, where there is one.
pub(crate) trait Consumer<T>: Clone + Send + Sync + 'static {
    fn take(&mut self, event: &T);

    /// How many events were taken.
    fn taken(&self) -> u64;
}

/// A contender.
pub(crate) trait Transport<T: Payload>: Send + Sync + 'static {
    type Sender: Sending<T>;
    type Receiver<C: Consumer<T>>: Receiving<C>;

    fn open<C: Consumer<T>>(
        &self,
        producers: usize,
        capacity: usize,
        consumer: C,
    ) -> (Vec<Self::Sender>, Self::Receiver<C>);
}

/// A producer's end. Waits while there is no room.
pub(crate) trait Sending<T>: Send + 'static {
    /// Always inline, whoever the contender is, down to what it brings itself: whether this is a call of its own in the loop that pushes is worth
    /// half as much again, and depends on what else is in that loop.
    fn push(&mut self, event: T);

    /// As many at once as the contender can.
    fn push_batch(&mut self, events: impl ExactSizeIterator<Item = T> + Clone) {
        events.for_each(|event| self.push(event));
    }
}

/// The consumer's end.
pub(crate) trait Receiving<C>: Send + 'static {
    /// Hands what there is to the consumer. True if there was anything.
    fn turn(&mut self) -> bool;

    fn consumer(&self) -> &C;
}

/// Runs the consumer's end until `meter` has enough, and returns what it has then.
pub(crate) fn run<T, C: Consumer<T>>(receiver: &mut impl Receiving<C>, meter: &mut Meter) -> C {
    let idle = Backoff::new();
    while !meter.look(receiver.consumer().taken()) {
        if receiver.turn() {
            idle.reset();
        } else {
            // Spins, then yields: all contenders wait in the same way.
            idle.snooze();
        }
    }
    receiver.consumer().clone()
}

/// How long a number of events took.
#[derive(Clone)]
pub(crate) struct Meter {
    /// Not timed: the caches, the branch predictor and the pages of the first events.
    warm_up: u64,
    expected: u64,
    /// At the first look.
    opened: Option<(Instant, u64)>,
    began: Option<(Instant, u64)>,
    ended: Option<Instant>,
}

impl Meter {
    pub(crate) fn new(warm_up: u64, expected: u64) -> Self {
        Self { warm_up, expected, opened: None, began: None, ended: None }
    }

    /// After each look at the way in. True when all has come.
    #[inline]
    pub(crate) fn look(&mut self, taken: u64) -> bool {
        if self.opened.is_none() {
            self.opened = Some((Instant::now(), taken));
        }
        if self.began.is_none() && taken >= self.warm_up {
            self.began = Some((Instant::now(), taken));
        }
        if taken >= self.expected && self.ended.is_none() {
            self.ended = Some(Instant::now());
        }
        self.ended.is_some()
    }

    /// Events per second.
    pub(crate) fn rate(&self) -> f64 {
        let (Some(opened), Some(began), Some(ended)) = (self.opened, self.began, self.ended) else {
            unreachable!("it is over")
        };
        // A single turn may have taken most of it, the warm-up included.
        let (began, before) = if began.1 > self.expected / 2 { opened } else { began };
        (self.expected - before) as f64 / ended.duration_since(began).as_secs_f64()
    }
}

/// Checks that each producer's events come complete and in order.
#[derive(Clone)]
pub(crate) struct Checked<const PRODUCERS: usize> {
    next: [u64; PRODUCERS],
    wrong: u64,
}

impl<const PRODUCERS: usize> Checked<PRODUCERS> {
    pub(crate) fn new() -> Self {
        Self { next: [0; PRODUCERS], wrong: 0 }
    }

    /// # Panics
    /// When an event was lost, doubled, damaged or out of its producer's order.
    pub(crate) fn assert(&self, expected: u64) {
        assert_eq!(
            (self.next.iter().sum(), self.wrong),
            (expected, 0),
            "events taken, and those out of order or damaged"
        );
    }
}

impl<T: Payload, const PRODUCERS: usize> Consumer<T> for Checked<PRODUCERS> {
    #[inline]
    fn take(&mut self, event: &T) {
        let next = &mut self.next[event.producer()];
        self.wrong += u64::from(event.number() != *next);
        *next += 1;
    }

    #[inline]
    fn taken(&self) -> u64 {
        self.next.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_one_turn_takes_is_timed_from_the_first_look() {
        let mut meter = Meter::new(10, 100);
        assert!(!meter.look(0) && meter.look(100));
        assert!(meter.rate() > 0.0 && meter.rate().is_finite(), "{}", meter.rate());
    }

    #[test]
    fn the_warm_up_is_not_timed() {
        let mut meter = Meter::new(10, 100);
        assert!([0, 9, 10, 50].map(|taken| meter.look(taken)).into_iter().all(|over| !over));
        assert!(meter.look(100));
        let (began, ended) = (meter.began.unwrap(), meter.ended.unwrap());
        assert_eq!(meter.rate(), 90.0 / ended.duration_since(began.0).as_secs_f64());
    }
}

//! The peers: each with the quickest calls it has, and one way of waiting for all.

use std::marker::PhantomData;
use std::sync::Arc;

use crossbeam_utils::Backoff;
use disruptor::{
    BusySpin, EventPoller, MultiProducer, MultiProducerBarrier, Producer, SingleConsumerBarrier, SingleProducer,
    SingleProducerBarrier, build_multi_producer, build_single_producer,
};

use super::transport::{Consumer, Payload, Receiving, Sending, Transport};

/// A queue that is pushed to and drained without waiting.
pub(crate) trait Queue<T: Payload>: Send + Sync + 'static {
    type Sender: Send + 'static;
    type Receiver: Send + 'static;

    fn open(producers: usize, capacity: usize) -> (Vec<Self::Sender>, Self::Receiver);

    /// False when there is no room.
    fn try_push(sender: &mut Self::Sender, event: T) -> bool;

    /// How many of the first events there was room for.
    fn try_push_batch(sender: &mut Self::Sender, events: &mut (impl ExactSizeIterator<Item = T> + Clone)) -> usize {
        match events.clone().next() {
            Some(event) if Self::try_push(sender, event) => {
                events.next();
                1
            }
            _ => 0,
        }
    }

    /// Hands everything there is to `take`. How many that were.
    fn drain(receiver: &mut Self::Receiver, take: impl FnMut(&T)) -> usize;
}

/// A queue as a contender.
pub(crate) struct Of<Q>(PhantomData<fn(Q)>);

impl<Q> Of<Q> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

pub(crate) struct Pushing<T: Payload, Q: Queue<T>>(Q::Sender);

pub(crate) struct Draining<T: Payload, Q: Queue<T>, C> {
    receiver: Q::Receiver,
    consumer: C,
}

impl<T: Payload, Q: Queue<T>> Transport<T> for Of<Q> {
    type Sender = Pushing<T, Q>;
    type Receiver<C: Consumer<T>> = Draining<T, Q, C>;

    fn open<C: Consumer<T>>(
        &self,
        producers: usize,
        capacity: usize,
        consumer: C,
    ) -> (Vec<Self::Sender>, Self::Receiver<C>) {
        let (senders, receiver) = Q::open(producers, capacity);
        (senders.into_iter().map(Pushing).collect(), Draining { receiver, consumer })
    }
}

impl<T: Payload, Q: Queue<T>> Sending<T> for Pushing<T, Q> {
    #[inline(always)]
    fn push(&mut self, event: T) {
        let full = Backoff::new();
        while !Q::try_push(&mut self.0, event) {
            full.snooze();
        }
    }

    #[inline]
    fn push_batch(&mut self, mut events: impl ExactSizeIterator<Item = T> + Clone) {
        let full = Backoff::new();
        while events.len() > 0 {
            if Q::try_push_batch(&mut self.0, &mut events) == 0 {
                full.snooze();
            }
        }
    }
}

impl<T: Payload, Q: Queue<T>, C: Consumer<T>> Receiving<C> for Draining<T, Q, C> {
    #[inline]
    fn turn(&mut self) -> bool {
        let Self { receiver, consumer } = self;
        Q::drain(receiver, |event| consumer.take(event)) > 0
    }

    #[inline]
    fn consumer(&self) -> &C {
        &self.consumer
    }
}

/// disruptor with one producer; its events are polled, as the others' are.
pub(crate) struct DisruptorSingle;

impl<T: Payload> Queue<T> for DisruptorSingle {
    type Sender = SingleProducer<T, SingleConsumerBarrier>;
    type Receiver = EventPoller<T, SingleProducerBarrier>;

    fn open(producers: usize, capacity: usize) -> (Vec<Self::Sender>, Self::Receiver) {
        assert_eq!(producers, 1);
        let (poller, builder) = build_single_producer(capacity, T::default, BusySpin).new_event_poller();
        (vec![builder.build()], poller)
    }

    #[inline(always)]
    fn try_push(sender: &mut Self::Sender, event: T) -> bool {
        sender.try_publish(|slot| *slot = event).is_ok()
    }

    #[inline]
    fn try_push_batch(sender: &mut Self::Sender, events: &mut (impl ExactSizeIterator<Item = T> + Clone)) -> usize {
        let count = events.len();
        match sender.try_batch_publish(count, |slots| slots.zip(&mut *events).for_each(|(slot, event)| *slot = event)) {
            Ok(_) => count,
            Err(_) => 0,
        }
    }

    #[inline]
    fn drain(receiver: &mut Self::Receiver, mut take: impl FnMut(&T)) -> usize {
        let Ok(mut guard) = receiver.poll() else { return 0 };
        let events = &mut guard;
        let count = events.len();
        events.for_each(&mut take);
        count
    }
}

/// disruptor with many producers.
pub(crate) struct DisruptorMulti;

impl<T: Payload> Queue<T> for DisruptorMulti {
    type Sender = MultiProducer<T, SingleConsumerBarrier>;
    type Receiver = EventPoller<T, MultiProducerBarrier>;

    fn open(producers: usize, capacity: usize) -> (Vec<Self::Sender>, Self::Receiver) {
        let (poller, builder) = build_multi_producer(capacity, T::default, BusySpin).new_event_poller();
        let producer = builder.build();
        (vec![producer; producers], poller)
    }

    #[inline(always)]
    fn try_push(sender: &mut Self::Sender, event: T) -> bool {
        sender.try_publish(|slot| *slot = event).is_ok()
    }

    #[inline]
    fn try_push_batch(sender: &mut Self::Sender, events: &mut (impl ExactSizeIterator<Item = T> + Clone)) -> usize {
        let count = events.len();
        match sender.try_batch_publish(count, |slots| slots.zip(&mut *events).for_each(|(slot, event)| *slot = event)) {
            Ok(_) => count,
            Err(_) => 0,
        }
    }

    #[inline]
    fn drain(receiver: &mut Self::Receiver, mut take: impl FnMut(&T)) -> usize {
        let Ok(mut guard) = receiver.poll() else { return 0 };
        let events = &mut guard;
        let count = events.len();
        events.for_each(&mut take);
        count
    }
}

/// One rtrb ring for each producer, drained one after the other: our lanes without an order between them, and without
/// anything around them.
pub(crate) struct Rings;

impl<T: Payload> Queue<T> for Rings {
    type Sender = rtrb::Producer<T>;
    type Receiver = Vec<rtrb::Consumer<T>>;

    fn open(producers: usize, capacity: usize) -> (Vec<Self::Sender>, Self::Receiver) {
        (0..producers).map(|_| rtrb::RingBuffer::new(capacity)).unzip()
    }

    #[inline(always)]
    fn try_push(sender: &mut Self::Sender, event: T) -> bool {
        sender.push(event).is_ok()
    }

    #[inline]
    fn try_push_batch(sender: &mut Self::Sender, events: &mut (impl ExactSizeIterator<Item = T> + Clone)) -> usize {
        let room = if sender.cached_slots() >= events.len() { events.len() } else { sender.slots().min(events.len()) };
        match sender.write_chunk_uninit(room) {
            Ok(chunk) => chunk.fill_from_iter(events),
            Err(_) => 0,
        }
    }

    #[inline]
    fn drain(receiver: &mut Self::Receiver, mut take: impl FnMut(&T)) -> usize {
        let mut count = 0;
        for ring in receiver {
            let slots = ring.slots();
            if slots > 0
                && let Ok(chunk) = ring.read_chunk(slots)
            {
                let (first, second) = chunk.as_slices();
                first.iter().chain(second).for_each(&mut take);
                chunk.commit_all();
                count += slots;
            }
        }
        count
    }
}

/// The bounded channels that are shared by cloning their sender.
macro_rules! channel {
    ($(#[$doc:meta])* $name:ident, $sender:ty, $receiver:ty, |$capacity:ident| $open:expr) => {
        $(#[$doc])*
        pub(crate) struct $name;

        impl<T: Payload> Queue<T> for $name {
            type Sender = $sender;
            type Receiver = $receiver;

            fn open(producers: usize, $capacity: usize) -> (Vec<Self::Sender>, Self::Receiver) {
                let (sender, receiver) = $open;
                (vec![sender; producers], receiver)
            }

            #[inline(always)]
            fn try_push(sender: &mut Self::Sender, event: T) -> bool {
                sender.try_send(event).is_ok()
            }

            #[inline]
            fn drain(receiver: &mut Self::Receiver, mut take: impl FnMut(&T)) -> usize {
                let mut count = 0;
                while let Ok(event) = receiver.try_recv() {
                    take(&event);
                    count += 1;
                }
                count
            }
        }
    };
}

channel!(
    /// crossbeam-channel, bounded.
    Crossbeam, crossbeam_channel::Sender<T>, crossbeam_channel::Receiver<T>, |capacity| crossbeam_channel::bounded(capacity)
);
channel!(
    /// The standard library's bounded channel.
    Std, std::sync::mpsc::SyncSender<T>, std::sync::mpsc::Receiver<T>, |capacity| std::sync::mpsc::sync_channel(capacity)
);
channel!(
    /// thingbuf, which uses its slots again.
    Thingbuf, thingbuf::mpsc::blocking::Sender<T>, thingbuf::mpsc::blocking::Receiver<T>, |capacity| thingbuf::mpsc::blocking::channel(capacity)
);

/// kanal, drained at once.
pub(crate) struct Kanal;

impl<T: Payload> Queue<T> for Kanal {
    type Sender = kanal::Sender<T>;
    type Receiver = (kanal::Receiver<T>, Vec<T>);

    fn open(producers: usize, capacity: usize) -> (Vec<Self::Sender>, Self::Receiver) {
        let (sender, receiver) = kanal::bounded(capacity);
        (vec![sender; producers], (receiver, Vec::with_capacity(capacity)))
    }

    #[inline(always)]
    fn try_push(sender: &mut Self::Sender, event: T) -> bool {
        sender.try_send(event).unwrap_or(false)
    }

    #[inline]
    fn drain((receiver, events): &mut Self::Receiver, take: impl FnMut(&T)) -> usize {
        events.clear();
        let _ = receiver.drain_into(events);
        events.iter().for_each(take);
        events.len()
    }
}

/// flume, drained at once.
pub(crate) struct Flume;

impl<T: Payload> Queue<T> for Flume {
    type Sender = flume::Sender<T>;
    type Receiver = flume::Receiver<T>;

    fn open(producers: usize, capacity: usize) -> (Vec<Self::Sender>, Self::Receiver) {
        let (sender, receiver) = flume::bounded(capacity);
        (vec![sender; producers], receiver)
    }

    #[inline(always)]
    fn try_push(sender: &mut Self::Sender, event: T) -> bool {
        sender.try_send(event).is_ok()
    }

    #[inline]
    fn drain(receiver: &mut Self::Receiver, mut take: impl FnMut(&T)) -> usize {
        receiver.drain().map(|event| take(&event)).count()
    }
}

/// tokio's channel, with permits for batches.
pub(crate) struct Tokio;

impl<T: Payload> Queue<T> for Tokio {
    type Sender = tokio::sync::mpsc::Sender<T>;
    type Receiver = tokio::sync::mpsc::Receiver<T>;

    fn open(producers: usize, capacity: usize) -> (Vec<Self::Sender>, Self::Receiver) {
        let (sender, receiver) = tokio::sync::mpsc::channel(capacity);
        (vec![sender; producers], receiver)
    }

    #[inline(always)]
    fn try_push(sender: &mut Self::Sender, event: T) -> bool {
        sender.try_send(event).is_ok()
    }

    #[inline]
    fn try_push_batch(sender: &mut Self::Sender, events: &mut (impl ExactSizeIterator<Item = T> + Clone)) -> usize {
        let count = events.len();
        match sender.try_reserve_many(count) {
            Ok(permits) => {
                permits.zip(events).for_each(|(permit, event)| permit.send(event));
                count
            }
            Err(_) => 0,
        }
    }

    #[inline]
    fn drain(receiver: &mut Self::Receiver, mut take: impl FnMut(&T)) -> usize {
        let mut count = 0;
        while let Ok(event) = receiver.try_recv() {
            take(&event);
            count += 1;
        }
        count
    }
}

/// What is usually made by hand: a channel, and a state behind a lock that the consumer takes for every event.
pub(crate) struct HandMade;

impl<T: Payload> Transport<T> for HandMade {
    type Sender = Pushing<T, Crossbeam>;
    type Receiver<C: Consumer<T>> = Locking<T, C>;

    fn open<C: Consumer<T>>(
        &self,
        producers: usize,
        capacity: usize,
        consumer: C,
    ) -> (Vec<Self::Sender>, Self::Receiver<C>) {
        let (senders, receiver) = <Crossbeam as Queue<T>>::open(producers, capacity);
        let state = Arc::new(parking_lot::Mutex::new(consumer.clone()));
        (senders.into_iter().map(Pushing).collect(), Locking { receiver, state, seen: consumer })
    }
}

pub(crate) struct Locking<T, C> {
    receiver: crossbeam_channel::Receiver<T>,
    state: Arc<parking_lot::Mutex<C>>,
    seen: C,
}

impl<T: Payload, C: Consumer<T>> Receiving<C> for Locking<T, C> {
    fn turn(&mut self) -> bool {
        let mut any = false;
        while let Ok(event) = self.receiver.try_recv() {
            self.state.lock().take(&event);
            any = true;
        }
        if any {
            self.seen.clone_from(&self.state.lock());
        }
        any
    }

    fn consumer(&self) -> &C {
        &self.seen
    }
}

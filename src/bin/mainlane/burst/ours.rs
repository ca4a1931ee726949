//! mainlane as a contender: a whole pipeline, with its reducer.

use std::marker::PhantomData;

use mainlane::{Budget, Class, Effects, Envelope, Event, Lane, MainLane, Pipeline, Publish, Reducer};

use super::transport::{Consumer, Payload, Receiving, Sending, Transport};

/// An event on its way through a pipeline.
pub(crate) struct Carried<T>(T);

impl<T: Payload> Event for Carried<T> {
    type Key = ();
    type Facets = ();

    #[inline]
    fn class(&self) -> Class<()> {
        Class::Critical
    }
}

/// A consumer as the state of a pipeline.
#[derive(Clone)]
pub(crate) struct Reducing<T, C> {
    consumer: C,
    of: PhantomData<fn(T)>,
}

impl<T: Payload, C: Consumer<T>> Reducer for Reducing<T, C> {
    type Event = Carried<T>;
    type Effect = ();

    #[inline]
    fn apply(&mut self, envelope: &Envelope<'_, Carried<T>>, _: &mut Effects<()>) {
        self.consumer.take(&envelope.event.0);
    }
}

/// A pipeline, and how it is set.
pub(crate) struct Mainlane {
    pub(crate) clocked: bool,
    pub(crate) publish: Publish,
}

impl<T: Payload> Transport<T> for Mainlane {
    type Sender = Lane<Carried<T>>;
    type Receiver<C: Consumer<T>> = MainLane<Reducing<T, C>>;

    fn open<C: Consumer<T>>(
        &self,
        producers: usize,
        capacity: usize,
        consumer: C,
    ) -> (Vec<Self::Sender>, Self::Receiver<C>) {
        let builder = Pipeline::builder(Reducing { consumer, of: PhantomData }).publish(self.publish);
        let lanes = (0..producers)
            .map(|at| {
                let lane = builder.lane(format!("lane {at}")).capacity(capacity).keys(1);
                let lane = if self.clocked { lane } else { lane.unclocked() };
                lane.open().expect("the builder is not built yet")
            })
            .collect();
        let (main_lane, _) = builder.build().expect("all settings are in range");
        (lanes, main_lane)
    }
}

impl<T: Payload> Sending<T> for Lane<Carried<T>> {
    #[inline(always)]
    fn push(&mut self, event: T) {
        assert!(Lane::push(self, Carried(event)).is_ok(), "the pipeline is open");
    }

    #[inline]
    fn push_batch(&mut self, events: impl ExactSizeIterator<Item = T> + Clone) {
        assert!(Lane::push_batch(self, events.map(Carried)).is_ok(), "the pipeline is open");
    }
}

impl<T: Payload, C: Consumer<T>> Receiving<C> for MainLane<Reducing<T, C>> {
    #[inline]
    fn turn(&mut self) -> bool {
        match MainLane::turn(self, Budget::UNLIMITED) {
            Ok(turn) => turn.events > 0,
            Err(error) => panic!("{error}"),
        }
    }

    #[inline]
    fn consumer(&self) -> &C {
        &self.state().consumer
    }
}

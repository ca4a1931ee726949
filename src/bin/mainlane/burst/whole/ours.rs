//! mainlane, from lanes to snapshots.

use std::marker::PhantomData;
use std::sync::Arc;

use mainlane::{
    Budget, Class, Diagnostic, Effects, Envelope, Event, Facets, Handle, Lane, LaneBuilder, MainLane, Origin, Outlet,
    Pipeline, Polled, Reducer, Restart, Source, SourceError, Tier,
};

use super::super::transport::{Payload, Sending};
use super::board::{Board, Order};
use super::parcel::{Context, KEYS, Parcel, enrich};
use super::run::{BLOCK, End, Path, Run, Trouble, View};

/// What a source says as it panics.
const PANIC: &str = "enough";

/// Everything that there is: an enricher, defaults of the lane, what the state knows, a classifier that asks the state.
pub(crate) struct Whole;

/// The same events without any of that.
pub(crate) struct Plain;

/// How a lane is set, and what its events carry.
pub(crate) trait Dress<const WORDS: usize>: Sized + 'static {
    type Context: Carried;
    const ENRICHED: bool;

    fn dress(lane: Builder<WORDS, Self>, number: usize) -> Builder<WORDS, Self>;
}

/// The facets of an event, as the state checks them.
pub(crate) trait Carried: Facets {
    fn context(&self) -> Context;
    fn known(board: &Board, lane: usize) -> Option<&Self>;
}

impl Carried for () {
    fn context(&self) -> Context {
        Context::default()
    }

    fn known(_: &Board, _: usize) -> Option<&Self> {
        None
    }
}

impl Carried for Context {
    #[inline]
    fn context(&self) -> Context {
        *self
    }

    #[inline]
    fn known(board: &Board, lane: usize) -> Option<&Self> {
        Some(board.known(lane))
    }
}

type Builder<const WORDS: usize, D> = LaneBuilder<Published<WORDS, D>>;

/// An event on its way through a pipeline.
pub(crate) struct Sent<const WORDS: usize, D>(Parcel<WORDS>, PhantomData<fn(D)>);

impl<const WORDS: usize, D: Dress<WORDS>> Sent<WORDS, D> {
    #[inline]
    fn new(parcel: Parcel<WORDS>) -> Self {
        Self(parcel, PhantomData)
    }

    #[inline]
    fn class_by(&self, tier: impl FnOnce(usize) -> u8) -> Class<u32> {
        match self.0.key() {
            Some(key) => Class::Lossy { key: key as u32, tier: Tier::new(tier(key)) },
            None => Class::Critical,
        }
    }
}

impl<const WORDS: usize, D: Dress<WORDS>> Event for Sent<WORDS, D> {
    type Key = u32;
    type Facets = D::Context;

    #[inline]
    fn class(&self) -> Class<u32> {
        self.class_by(|_| Tier::NORMAL.number())
    }
}

/// The board as the state of a pipeline.
pub(crate) struct Published<const WORDS: usize, D> {
    board: Board,
    of: PhantomData<fn(D)>,
}

impl<const WORDS: usize, D> Clone for Published<WORDS, D> {
    fn clone(&self) -> Self {
        Self { board: self.board.clone(), of: PhantomData }
    }

    fn clone_from(&mut self, from: &Self) {
        self.board.clone_from(&from.board);
    }
}

impl<const WORDS: usize, D: Dress<WORDS>> Reducer for Published<WORDS, D> {
    type Event = Sent<WORDS, D>;
    type Effect = ();

    #[inline]
    fn apply(&mut self, envelope: &Envelope<'_, Sent<WORDS, D>>, _: &mut Effects<()>) {
        self.board.apply(&envelope.event.0, envelope.facets.context());
    }

    #[inline]
    fn facets_of(&self, _: Origin, event: &Sent<WORDS, D>) -> Option<&D::Context> {
        D::Context::known(&self.board, event.0.producer())
    }
}

impl<const WORDS: usize> Dress<WORDS> for Whole {
    type Context = Context;
    const ENRICHED: bool = true;

    fn dress(lane: Builder<WORDS, Self>, number: usize) -> Builder<WORDS, Self> {
        lane.facets(Context::of_lane(number))
            .enrich(|event, context| enrich(&mut event.0, context))
            .classify_by(|event, state| event.class_by(|key| state.board.tier(event.0.producer(), key)))
    }
}

impl<const WORDS: usize> Dress<WORDS> for Plain {
    type Context = ();
    const ENRICHED: bool = false;

    fn dress(lane: Builder<WORDS, Self>, _: usize) -> Builder<WORDS, Self> {
        lane
    }
}

impl<const WORDS: usize, D: Dress<WORDS>> Path<WORDS> for D {
    const ORDER: Order = Order::Causal;
    type Lane = Lane<Sent<WORDS, D>>;
    type End = Ours<WORDS, D>;

    fn open(&self, run: &Arc<Run>) -> (Vec<Self::Lane>, Self::End, Option<View>) {
        let builder = Pipeline::builder(Published { board: run.board(D::ENRICHED), of: PhantomData });
        let load = run.load;
        let set = move |lane: Builder<WORDS, D>, number| D::dress(lane.capacity(load.capacity()).keys(KEYS), number);
        let open = |number| {
            let lane = set(builder.lane(format!("lane {number}")), number);
            lane.open().expect("the builder is not built yet")
        };
        let lanes = (0..load.lanes).map(open).collect();
        if load.shares().source {
            let (run, mut panics) = (run.clone(), load.trouble == Trouble::PanickingSource);
            let factory =
                move || Ok(Telling { run: run.clone(), panics: std::mem::take(&mut panics), of: PhantomData });
            builder
                .ingest_with("source", factory)
                .expect("the first source is made")
                .restart(Restart::at_most(1, std::time::Duration::MAX))
                .lane(|lane| set(lane, load.lanes))
                .start()
                .expect("all settings are in range");
        }
        let (main_lane, handle) = builder.build().expect("all settings are in range");
        let reader = handle.reader();
        let view: View = Arc::new(move |look| look(&reader.load().board));
        (lanes, Ours { main_lane, handle, panics: load.trouble == Trouble::PanickingSource }, Some(view))
    }
}

impl<const WORDS: usize, D: Dress<WORDS>> Sending<Parcel<WORDS>> for Lane<Sent<WORDS, D>> {
    #[inline(always)]
    fn push(&mut self, parcel: Parcel<WORDS>) {
        assert!(Lane::push(self, Sent::new(parcel)).is_ok(), "the pipeline is open");
    }

    #[inline]
    fn push_batch(&mut self, parcels: impl ExactSizeIterator<Item = Parcel<WORDS>> + Clone) {
        assert!(Lane::push_batch(self, parcels.map(Sent::new)).is_ok(), "the pipeline is open");
    }
}

/// The main lane, and what it counts.
pub(crate) struct Ours<const WORDS: usize, D: Dress<WORDS>> {
    main_lane: MainLane<Published<WORDS, D>>,
    handle: Handle<Published<WORDS, D>>,
    panics: bool,
}

impl<const WORDS: usize, D: Dress<WORDS>> End for Ours<WORDS, D> {
    #[inline]
    fn turn(&mut self) -> bool {
        let turn = self.main_lane.turn(Budget::UNLIMITED).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(turn.published.is_some(), turn.events > 0, "every turn that takes something publishes");
        turn.events > 0
    }

    fn taken(&self) -> u64 {
        self.main_lane.state().board.taken()
    }

    fn finish(self, pushed: u64) -> Board {
        let counters = self.handle.counters();
        let (events, faults) = (counters.events, counters.faults);
        assert_eq!((events.pushed, events.in_flight), (pushed, 0), "events pushed, and those under way");
        assert!(events.balanced(), "{events:?}");
        assert_eq!((events.shed, events.refused, events.enricher_panics), (0, 0, 0), "shed, refused, not enriched");
        let panics = u64::from(self.panics);
        assert_eq!((faults.source_panics, faults.source_restarts), (panics, panics), "sources that panicked");
        let notes: Vec<_> = self.handle.diagnostics().drain().collect();
        let of_panics =
            |note: &&Diagnostic| matches!(note, Diagnostic::SourcePanicked { message, .. } if message == PANIC);
        let of_restarts = |note: &&Diagnostic| matches!(note, Diagnostic::SourceRestarted { restarts: 1, .. });
        let said = (notes.iter().filter(of_panics).count(), notes.iter().filter(of_restarts).count());
        assert_eq!(said, (panics as usize, panics as usize), "{notes:?}");
        self.main_lane.state().board.clone()
    }
}

/// A source that tells of events as fast as it is asked, until the slice is over.
struct Telling<const WORDS: usize, D> {
    run: Arc<Run>,
    panics: bool,
    of: PhantomData<fn(D)>,
}

impl<const WORDS: usize, D: Dress<WORDS>> Source for Telling<WORDS, D> {
    type Event = Sent<WORDS, D>;

    fn poll(&mut self, outlet: &mut Outlet<Self::Event>) -> Result<Polled, SourceError> {
        let lane = self.run.load.lanes;
        let number = self.run.pushed(lane);
        if number > 0 && !self.panics && self.run.is_over() {
            self.run.leave();
            return Ok(Polled::Done);
        }
        let panics = self.panics && self.run.is_time_for_trouble();
        let next = number + if panics { BLOCK / 2 } else { BLOCK };
        (number..next).for_each(|number| outlet.push(Sent::new(Parcel::new(lane, number))));
        self.run.set_pushed(lane, next);
        if panics {
            // As a panic, but for the process's hook, which would print it in every slice.
            std::panic::resume_unwind(Box::new(PANIC));
        }
        Ok(Polled::Ready)
    }
}

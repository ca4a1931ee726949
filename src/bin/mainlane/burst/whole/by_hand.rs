//! The same path without mainlane: bare rings, which do a part of the work, and what is usually made by hand, which does all of
//! it but the order.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, Sender};
use crossbeam_utils::Backoff;
use foldhash::fast::RandomState;
use mainlane::Facets;
use parking_lot::Mutex;

use super::super::peers::{Of, Rings};
use super::super::transport::{Payload, Receiving, Sending, Transport};
use super::board::{Board, Order};
use super::parcel::{Context, Parcel, enrich};
use super::run::{End, Path, Run, View};

/// One rtrb ring for each lane, drained into the state in turn; nothing is enriched, coalesced, ordered or published.
pub(crate) struct Bare;

type RingOf<T> = <Of<Rings> as Transport<T>>::Sender;
type DrainedInto<T> = Draining<<Of<Rings> as Transport<T>>::Receiver<Board>>;

impl<const WORDS: usize> Path<WORDS> for Bare {
    const ORDER: Order = Order::OfEachLane;
    type Lane = RingOf<Parcel<WORDS>>;
    type End = DrainedInto<Parcel<WORDS>>;

    fn open(&self, run: &Arc<Run>) -> (Vec<Self::Lane>, Self::End, Option<View>) {
        let (lanes, drained) = Of::<Rings>::new().open(run.load.lanes, run.load.capacity(), run.board(false));
        (lanes, Draining(drained), None)
    }
}

/// The side of rings that takes.
pub(crate) struct Draining<R>(R);

impl<R: Receiving<Board>> End for Draining<R> {
    #[inline]
    fn turn(&mut self) -> bool {
        self.0.turn()
    }

    fn taken(&self) -> u64 {
        self.0.consumer().taken()
    }

    fn finish(self, _: u64) -> Board {
        self.0.consumer().clone()
    }
}

/// The same rings, and on the side that pushes all that the host itself does to an event on the whole path: what is left then is what
/// mainlane adds. What the state knows comes from a copy made at the beginning.
pub(crate) struct Enriched;

impl<const WORDS: usize> Path<WORDS> for Enriched {
    const ORDER: Order = Order::OfEachLane;
    type Lane = Enriching<WORDS>;
    type End = DrainedInto<Dressed<WORDS>>;

    fn open(&self, run: &Arc<Run>) -> (Vec<Self::Lane>, Self::End, Option<View>) {
        let known = Arc::new(run.board(true));
        let (rings, drained) = Of::<Rings>::new().open(run.load.lanes, run.load.capacity(), run.board(true));
        let enriching = |(lane, ring)| Enriching { ring, defaults: Context::of_lane(lane), known: known.clone() };
        (rings.into_iter().enumerate().map(enriching).collect(), Draining(drained), None)
    }
}

/// The side of such a ring that pushes.
pub(crate) struct Enriching<const WORDS: usize> {
    ring: RingOf<Dressed<WORDS>>,
    defaults: Context,
    known: Arc<Board>,
}

/// Enriched, filled in from both places, and classified.
#[inline]
fn dressed<const WORDS: usize>(mut parcel: Parcel<WORDS>, defaults: &Context, known: &Board) -> Dressed<WORDS> {
    let mut context = Context::default();
    enrich(&mut parcel, &mut context);
    context.fill(defaults);
    context.fill(known.known(parcel.producer()));
    // Nothing is coalesced here, whatever its class is.
    std::hint::black_box(parcel.key().map(|key| known.tier(parcel.producer(), key)));
    Dressed { parcel, context }
}

impl<const WORDS: usize> Sending<Parcel<WORDS>> for Enriching<WORDS> {
    #[inline(always)]
    fn push(&mut self, parcel: Parcel<WORDS>) {
        self.ring.push(dressed(parcel, &self.defaults, &self.known));
    }

    #[inline]
    fn push_batch(&mut self, parcels: impl ExactSizeIterator<Item = Parcel<WORDS>> + Clone) {
        let Self { ring, defaults, known } = self;
        ring.push_batch(parcels.map(|parcel| dressed(parcel, defaults, known)));
    }
}

/// An event with its context, on its way through a ring or a channel.
#[derive(Clone, Copy, Default)]
pub(crate) struct Dressed<const WORDS: usize> {
    pub(crate) parcel: Parcel<WORDS>,
    pub(crate) context: Context,
}

impl<const WORDS: usize> Payload for Dressed<WORDS> {
    fn new(producer: usize, number: u64) -> Self {
        Self { parcel: Parcel::new(producer, number), context: Context::default() }
    }

    fn producer(&self) -> usize {
        self.parcel.producer()
    }

    fn number(&self) -> u64 {
        self.parcel.number()
    }
}

/// The producer's side: enriches, and adds the lane's defaults.
pub(crate) struct Dressing<const WORDS: usize> {
    sender: Sender<Dressed<WORDS>>,
    defaults: Context,
}

/// A channel with as much room as all lanes together have, and an end of it for each lane.
fn channel<const WORDS: usize>(run: &Run) -> (Vec<Dressing<WORDS>>, Sifting<WORDS>) {
    let (sender, receiver) = crossbeam_channel::bounded(run.load.capacity() * run.load.lanes);
    let dressing = |lane| Dressing { sender: sender.clone(), defaults: Context::of_lane(lane) };
    ((0..run.load.lanes).map(dressing).collect(), Sifting { receiver, unread: HashMap::default() })
}

impl<const WORDS: usize> Sending<Parcel<WORDS>> for Dressing<WORDS> {
    #[inline(always)]
    fn push(&mut self, mut parcel: Parcel<WORDS>) {
        let mut context = Context::default();
        enrich(&mut parcel, &mut context);
        context.fill(&self.defaults);
        let (full, mut dressed) = (Backoff::new(), Dressed { parcel, context });
        while let Err(refused) = self.sender.try_send(dressed) {
            dressed = refused.into_inner();
            full.snooze();
        }
    }
}

/// The consumer's side: adds what the state knows, and keeps the newest values of what is there.
struct Sifting<const WORDS: usize> {
    receiver: Receiver<Dressed<WORDS>>,
    unread: HashMap<(usize, usize), Dressed<WORDS>, RandomState>,
}

impl<const WORDS: usize> Sifting<WORDS> {
    /// Applies so many of the events that wait.
    fn sift(&mut self, there: usize, board: &mut Board) {
        let Self { receiver, unread } = self;
        for mut dressed in receiver.try_iter().take(there) {
            let lane = dressed.parcel.producer();
            dressed.context.fill(board.known(lane));
            match dressed.parcel.key() {
                Some(key) => drop(unread.insert((lane, key), dressed)),
                None => board.apply(&dressed.parcel, dressed.context),
            }
        }
        unread.drain().for_each(|(_, dressed)| board.apply(&dressed.parcel, dressed.context));
    }
}

/// A channel, and a state behind a lock that the consumer takes for all that is there, and readers while they look.
pub(crate) struct Locked;

impl<const WORDS: usize> Path<WORDS> for Locked {
    const ORDER: Order = Order::OfCritical;
    type Lane = Dressing<WORDS>;
    type End = Locking<WORDS>;

    fn open(&self, run: &Arc<Run>) -> (Vec<Self::Lane>, Self::End, Option<View>) {
        let (lanes, sifting) = channel(run);
        let state = Arc::new(Mutex::new(run.board(true)));
        let shared = state.clone();
        (lanes, Locking { sifting, state, taken: 0 }, Some(Arc::new(move |look| look(&shared.lock()))))
    }
}

pub(crate) struct Locking<const WORDS: usize> {
    sifting: Sifting<WORDS>,
    state: Arc<Mutex<Board>>,
    taken: u64,
}

impl<const WORDS: usize> End for Locking<WORDS> {
    fn turn(&mut self) -> bool {
        // No more than there is now: producers that are quick enough would never let a turn end.
        let there = self.sifting.receiver.len();
        if there > 0 {
            let mut state = self.state.lock();
            self.sifting.sift(there, &mut state);
            self.taken = state.taken();
        }
        there > 0
    }

    fn taken(&self) -> u64 {
        self.taken
    }

    fn finish(self, _: u64) -> Board {
        self.state.lock().clone()
    }
}

/// A channel, and a state of the consumer's own of which it publishes a copy after all that is there.
pub(crate) struct Swapped;

impl<const WORDS: usize> Path<WORDS> for Swapped {
    const ORDER: Order = Order::OfCritical;
    type Lane = Dressing<WORDS>;
    type End = Swapping<WORDS>;

    fn open(&self, run: &Arc<Run>) -> (Vec<Self::Lane>, Self::End, Option<View>) {
        let ((lanes, sifting), state) = (channel(run), run.board(true));
        let published = Arc::new(ArcSwap::from_pointee(state.clone()));
        let shared = published.clone();
        (lanes, Swapping { sifting, state, published }, Some(Arc::new(move |look| look(&shared.load_full()))))
    }
}

pub(crate) struct Swapping<const WORDS: usize> {
    sifting: Sifting<WORDS>,
    state: Board,
    published: Arc<ArcSwap<Board>>,
}

impl<const WORDS: usize> End for Swapping<WORDS> {
    fn turn(&mut self) -> bool {
        let there = self.sifting.receiver.len();
        if there > 0 {
            self.sifting.sift(there, &mut self.state);
            self.published.store(Arc::new(self.state.clone()));
        }
        there > 0
    }

    fn taken(&self) -> u64 {
        self.state.taken()
    }

    fn finish(self, _: u64) -> Board {
        self.state
    }
}

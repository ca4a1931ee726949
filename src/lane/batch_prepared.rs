//! Batches of lanes that do something to events first: pushed in chunks, of which each is drawn, then prepared, then pushed.
//!
//! As in other batches (`lane/batch.rs`) there is one look at the gate, at the room and at the clock for many events. A run is a chunk
//! here: it raises the gate's flag, for it may have no critical event, and takes its stamps with the first that has one, when all of
//! it is enriched and filled in. The classifier is asked on the way.
//!
//! What was drawn is pushed: if the host's code unwinds for one event, that one is gone, and the unwinding goes on when the others
//! of its chunk are where they belong.

use std::any::Any;
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::vec::Drain;

use crate::clock::key_between;
use crate::core::{Core, let_go};
use crate::event::{Class, Event, Tier};
use crate::lane::batch::Refusal;
use crate::lane::coalesce::Coalescer;
use crate::lane::prepare::{Preparation, Prepare};
use crate::lane::ring::RingProducer;
use crate::lane::table::Unread;
use crate::lane::{Item, Lane, Order, Pushing, closed, combine, count_lossy};
use crate::observe::counters::ProducerCounts;

type Panic = Box<dyn Any + Send>;

impl<E: Event> Lane<E> {
    /// As `push_all` of a lane that does nothing to events.
    #[inline(never)]
    pub(super) fn push_all_prepared<I: Iterator>(
        &mut self,
        mut rest: I,
        item_of: impl Fn(I::Item) -> Item<E>,
    ) -> Result<usize, Refusal<E, I>> {
        let mut accepted = 0;
        loop {
            // No more than there are for sure: to draw one more may take until those before it are applied.
            let wanted = rest.size_hint().0.clamp(1, Preparation::<E>::CHUNK);
            let Some(next) = rest.next() else { return Ok(accepted) };
            let first = item_of(next);
            // R2: room before stamp.
            let limit = self.ring.room(wanted).min(wanted);
            if limit > 0 {
                let count;
                (count, rest) = self.push_chunk(first, rest, &item_of, limit)?;
                accepted += count;
            } else {
                // It waits, if it is critical.
                match self.push_prepared(first) {
                    Ok(()) => accepted += 1,
                    Err(refused) => return Err(refused.map(|first| (first, rest))),
                }
            }
        }
    }

    /// Pushes `first` and what follows it, `limit` events at most, for which there is room if all are critical. Returns how many there
    /// were, and the rest.
    #[inline(always)]
    fn push_chunk<I: Iterator>(
        &mut self,
        first: Item<E>,
        rest: I,
        item_of: &impl Fn(I::Item) -> Item<E>,
        limit: usize,
    ) -> Result<(usize, I), Refusal<E, I>> {
        let Self { core, shared, ring, order, table, lossy_sequence, preparing, is_quick, .. } = self;
        let (core, shared) = (&**core, &**shared);
        let Some(Preparation { steps, chunk }) = preparing else { unreachable!("the lane prepares events") };
        let Some(_pushing) = Pushing::enter(shared, core) else {
            return Err(closed(shared, is_quick, (first, rest)));
        };
        debug_assert!(chunk.is_empty(), "what is drawn is pushed");
        chunk.push(first);
        let drawn = catch_unwind(AssertUnwindSafe(|| draw(chunk, limit, rest, item_of)));
        steps.complete(chunk);
        let (count, counts) = (chunk.len(), &shared.counts.producer);
        let unwound = Chunk {
            items: chunk.drain(..),
            critical: 0,
            is_asking: false,
            key: None,
            stamping: (order, core),
            steps: &mut **steps,
            ring,
            table,
            lossy_sequence,
            counts,
        }
        .push_all();
        match (drawn, unwound) {
            (Ok(rest), None) => Ok((count, rest)),
            (Err(panic), None) | (Ok(_), Some(panic)) => resume_unwind(panic),
            (Err(panic), Some(other)) => {
                count_panic(counts, other);
                resume_unwind(panic);
            }
        }
    }
}

/// Moves events to a chunk until it has so many. What it has when `rest` unwinds it keeps.
#[inline(always)]
fn draw<E: Event, I: Iterator>(
    chunk: &mut Vec<Item<E>>,
    limit: usize,
    mut rest: I,
    item_of: &impl Fn(I::Item) -> Item<E>,
) -> I {
    while chunk.len() < limit
        && let Some(next) = rest.next()
    {
        chunk.push(item_of(next));
    }
    rest
}

/// A chunk on its way: complete, and with room for as many critical events as it has events.
struct Chunk<'a, E: Event> {
    items: Drain<'a, Item<E>>,
    /// So many of them are known to be critical, the first ones.
    critical: usize,
    /// The classifier has the one behind them.
    is_asking: bool,
    /// The key of the next critical one, when stamps were taken.
    key: Option<u64>,
    stamping: (&'a Order, &'a Core),
    steps: &'a mut dyn Prepare<E>,
    ring: &'a mut RingProducer<Item<E>>,
    table: &'a mut Coalescer<E::Key, Item<E>>,
    lossy_sequence: &'a mut u64,
    counts: &'a ProducerCounts,
}

impl<E: Event> Chunk<'_, E> {
    /// Pushes all of it. Returns the first panic of the host's code; others are counted.
    #[inline(always)]
    fn push_all(mut self) -> Option<Panic> {
        let (mut unwound, mut left) = (None, self.items.len());
        while let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.go_on())) {
            if !self.is_asking && self.items.len() == left {
                // Not the host's: each of those costs an event.
                resume_unwind(panic);
            }
            left = self.items.len();
            match unwound {
                None => unwound = Some(panic),
                Some(_) => count_panic(self.counts, panic),
            }
        }
        unwound
    }

    #[inline(always)]
    fn go_on(&mut self) {
        if std::mem::take(&mut self.is_asking) {
            // It unwound.
            self.publish();
            drop(self.items.next());
        }
        loop {
            self.is_asking = true;
            let class = self.steps.classify(&self.items.as_slice()[self.critical..], &mut self.critical);
            self.is_asking = false;
            self.publish();
            match class {
                Class::Lossy { key, tier } => self.push_lossy(key, tier),
                Class::Critical => return,
            }
        }
    }

    /// Makes those visible that are known to be critical.
    #[inline(always)]
    fn publish(&mut self) {
        let Self { items, critical, key, stamping: (order, core), ring, counts, .. } = self;
        if *critical == 0 {
            return;
        }
        // For all that may be critical yet.
        let key = key.get_or_insert_with(|| order.take(core, ring.pushed(), items.len() as u64));
        let admit = |_: &mut _| Ok::<(), Infallible>(());
        let (published, _) =
            ring.fill(*key, *critical, None, || items.next(), admit, |number| counts.critical.set(number));
        debug_assert_eq!(published, *critical);
        *key += 2 * published as u64;
        *critical = 0;
    }

    #[inline(always)]
    fn push_lossy(&mut self, key: E::Key, tier: Tier) {
        let Self { items, key: next, stamping: (order, core), ring, table, lossy_sequence, counts, .. } = self;
        let Some(item) = items.next() else { return };
        // What was pushed before it is visible, as lane order demands.
        let before = next.map_or_else(|| order.read(core, ring.pushed()), key_between);
        let unread = Unread { key: before, sequence: **lossy_sequence, parts: 1, item: || item };
        **lossy_sequence += 1;
        drop(table.push(key, tier, unread, combine, |pushed| count_lossy(counts, pushed)));
    }
}

/// Counts a panic that cannot go on, for there is another one.
#[cold]
fn count_panic(counts: &ProducerCounts, panic: Panic) {
    let_go(panic);
    counts.rare.enricher_panics.add(1);
}

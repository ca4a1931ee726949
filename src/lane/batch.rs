//! Pushing events in batches: one look at the gate, at the room and at the clock for many of them.

use crate::clock::key_between;
use crate::event::{Class, Event};
use crate::lane::refused::{Refused, Unsent};
use crate::lane::ring::RingProducer;
use crate::lane::table::Unread;
use crate::lane::waiting::Room;
use crate::lane::{DRESSED, Item, Lane, PLAIN, Pushing, combine, count_lossy, prepare_as};
use crate::observe::counters::ProducerCounts;

/// Critical events of a batch that take their stamps at once. A run that ends early leaves stamps unused, so this bounds how
/// far stamps can run ahead of events.
const RUN_MAX: usize = 1024;

/// How many events of a run there may be for it to go on behind a lossy one. What comes behind it is published by itself, with a
/// stamp that is below the bound of a cut that is being taken: so this bounds how often a cut finds more.
const MIXED_MAX: usize = 64;

impl<E: Event> Lane<E> {
    /// Pushes events in order. Each run of critical ones that finds room, 1,024 at most, takes one stamp and one
    /// publication; in a batch of up to 64, lossy ones between them do not end a run. Returns how many there were.
    ///
    /// A batch is one push. Its iterator runs inside it and should not block: a shutdown waits for it. What is asked of the state for the
    /// events of a run is asked of the newest snapshot as the run begins.
    ///
    /// # Errors
    /// The events that were not accepted, in order, as an iterator; those before them were accepted.
    pub fn push_batch<I>(&mut self, events: I) -> Result<usize, Refused<Unsent<E, I::IntoIter>>>
    where
        I: IntoIterator<Item = E>,
    {
        let mut rest = events.into_iter();
        let mut bare = rest.by_ref().map(|event| (E::Facets::default(), event));
        match self.push_pairs(&mut bare) {
            Ok(accepted) => Ok(accepted),
            Err(refused) => Err(refused.map(|(_, event)| Unsent { first: Some(event), rest })),
        }
    }

    /// Pushes pairs of facets and events in order; hands back the first that is not accepted.
    #[inline]
    pub(crate) fn push_pairs(
        &mut self,
        pairs: &mut impl Iterator<Item = (E::Facets, E)>,
    ) -> Result<usize, Refused<(E::Facets, E)>> {
        if self.preparing.is_none() { self.push_all::<PLAIN>(pairs) } else { self.push_all::<DRESSED>(pairs) }
    }

    fn push_all<const HOW: bool>(
        &mut self,
        pairs: &mut impl Iterator<Item = (E::Facets, E)>,
    ) -> Result<usize, Refused<(E::Facets, E)>> {
        let mut accepted = 0;
        while let Some((facets, event)) = pairs.next() {
            let mut item = Item { facets, event };
            let pushed = match prepare_as::<HOW, E>(&mut self.preparing, &mut item, true) {
                Class::Lossy { key, tier } => self.push_lossy(&key, tier, item).map(|()| 1),
                Class::Critical => self.push_run::<HOW>(item, pairs),
            };
            accepted += pushed.map_err(|refused| refused.map(|item| (item.facets, item.event)))?;
        }
        Ok(accepted)
    }

    /// Publishes `first` and the events that follow it, as far as there is room, with the stamps that are taken for the critical
    /// ones at the beginning. Returns how many there were.
    fn push_run<const HOW: bool>(
        &mut self,
        first: Item<E>,
        pairs: &mut impl Iterator<Item = (E::Facets, E)>,
    ) -> Result<usize, Refused<Item<E>>> {
        loop {
            let Some(pushing) = Pushing::enter(&self.shared, &self.core) else { return Err(self.closed(first)) };
            let wanted = pairs.size_hint().0.saturating_add(1).min(RUN_MAX);
            let limit = self.ring.room(wanted).min(wanted);
            if limit == 0 {
                drop(pushing);
                match self.wait_for_room() {
                    Room::There => continue,
                    Room::Full => return Err(Refused::Full(first)),
                    Room::Closed => return Err(self.closed(first)),
                }
            }
            let mut key = self.order.take(&self.core, self.ring.pushed(), limit as u64);
            let counts = &self.shared.counts.producer;
            let Self { ring, table, lossy_sequence, preparing, .. } = self;
            let (mut first, mut left, mut pushed) = (Some(first), limit, 0);
            while left > 0 {
                let next = || pairs.next().map(|(facets, event)| Item { facets, event });
                let admit = |item: &mut Item<E>| match prepare_as::<HOW, E>(preparing, item, false) {
                    Class::Critical => Ok(()),
                    Class::Lossy { key, tier } => Err((key, tier)),
                };
                // Dropped before `pushing`, so that a shutdown that finds the gate quiet finds the count as well.
                let run = Run { ring: &mut *ring, counts };
                let (length, lossy) = run.ring.fill(key, left, first.take(), next, admit);
                drop(run);
                (left, pushed, key) = (left - length, pushed + length, key + 2 * length as u64);
                let Some((item, (of, tier))) = lossy else { break };
                // What was pushed before it is visible, as lane order demands.
                let item = || item;
                let unread = Unread { key: key_between(key), sequence: *lossy_sequence, parts: 1, item };
                *lossy_sequence += 1;
                table.push(&of, tier, unread, combine, |pushed| count_lossy(counts, pushed));
                pushed += 1;
                if pushed >= MIXED_MAX {
                    break;
                }
            }
            return Ok(pushed);
        }
    }
}

/// A run of a batch being published; counted when it is, also when the iterator unwinds half-way.
struct Run<'a, T> {
    ring: &'a mut RingProducer<T>,
    counts: &'a ProducerCounts,
}

impl<T> Drop for Run<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.counts.critical.set(self.ring.pushed());
    }
}

//! Pushing events in batches: one look at the gate, at the room and at the clock for many of them.

use crate::clock::key_between;
use crate::event::{Class, Event, Tier};
use crate::lane::coalesce::Coalescer;
use crate::lane::prepare::class_of;
use crate::lane::refused::{Refused, Unsent};
use crate::lane::ring::RingProducer;
use crate::lane::table::Unread;
use crate::lane::waiting::Room;
use crate::lane::{Item, Lane, Ringing, closed, combine, count_lossy};
use crate::observe::counters::ProducerCounts;
use crate::sync::spsc::Held;

/// Critical events of a batch that take their stamps at once. A run that ends early leaves stamps unused, so this bounds how
/// far stamps can run ahead of events.
const RUN_MAX: usize = 1024;

/// How many events of a run there may be for it to go on behind a lossy one. What comes behind it is published by itself, with a
/// stamp that is below the bound of a cut that is being taken: so this bounds how often a cut finds more.
const MIXED_MAX: usize = 64;

/// The first event that is not accepted, and what would come behind it.
pub(super) type Refusal<E, I> = Refused<(Item<E>, I)>;

impl<E: Event> Lane<E> {
    /// Pushes events in order. Each run of critical ones that finds room, 1,024 at most, takes one stamp and one
    /// publication; in a batch of up to 64, lossy ones between them do not end a run. Returns how many there were.
    ///
    /// A batch is one push. Its iterator runs inside it and should not block: a shutdown waits for it.
    ///
    /// On a lane that enriches, fills in or classifies, a run has 64 events at most, and 8 KiB of them, of both classes. As many as the
    /// iterator has for sure ([`size_hint`](Iterator::size_hint)) are drawn, then enriched, then filled in, each step for all of them,
    /// before the first is classified and pushed. What is asked of the state for them is asked of one snapshot, the newest when they are
    /// drawn.
    ///
    /// # Errors
    /// The events that were not accepted, in order, as an iterator; those before them were accepted. The first may have been enriched
    /// already, as in [`push`](Lane::push); the others were not.
    ///
    /// # Panics
    /// When the iterator or the host's own `class`, classifier, key, `coalesce` or `drop` does. An event whose class, key or rule panicked
    /// is lost, as in [`push`](Lane::push). What was drawn before it is pushed, and on a lane with runs as above what was drawn
    /// behind it, too. Of several panics in such a run the first goes on, and the others are counted in
    /// [`enricher_panics`](crate::Totals::enricher_panics).
    pub fn push_batch<I>(&mut self, events: I) -> Result<usize, Refused<Unsent<E, I::IntoIter>>>
    where
        I: IntoIterator<Item = E>,
    {
        let item_of = |event| Item { facets: E::Facets::default(), event };
        let unsent = |(item, rest): (Item<E>, _)| Unsent { first: Some(item.event), rest };
        self.push_items(events.into_iter(), item_of).map_err(|refused| refused.map(unsent))
    }

    /// Pushes what `rest` yields, in order; hands back the first that is not accepted, and the rest.
    ///
    /// By value all the way down: an iterator that somebody holds the address of is in memory, and each step of it with it.
    #[inline]
    pub(crate) fn push_items<I: Iterator>(
        &mut self,
        rest: I,
        item_of: impl Fn(I::Item) -> Item<E>,
    ) -> Result<usize, Refusal<E, I>> {
        match self.preparing {
            None => self.push_all(rest, item_of),
            Some(_) => self.push_all_prepared(rest, item_of),
        }
    }

    #[inline(always)]
    fn push_all<I: Iterator>(
        &mut self,
        mut rest: I,
        item_of: impl Fn(I::Item) -> Item<E>,
    ) -> Result<usize, Refusal<E, I>> {
        let mut accepted = 0;
        while let Some(next) = rest.next() {
            let item = item_of(next);
            match class_of(&item.event, item.event.class()) {
                Class::Lossy { key, tier } => match self.push_lossy(key, tier, item) {
                    Ok(()) => accepted += 1,
                    Err(refused) => return Err(refused.map(|item| (item, rest))),
                },
                Class::Critical => {
                    let count;
                    (count, rest) = self.push_run(item, rest, &item_of)?;
                    accepted += count;
                }
            }
        }
        Ok(accepted)
    }

    /// Publishes `first` and the events that follow it, as far as there is room, with the stamps that are taken for the critical
    /// ones at the beginning. Returns how many there were, and the rest.
    #[inline(always)]
    fn push_run<I: Iterator>(
        &mut self,
        first: Item<E>,
        mut rest: I,
        item_of: &impl Fn(I::Item) -> Item<E>,
    ) -> Result<(usize, I), Refusal<E, I>> {
        let wanted = rest.size_hint().0.saturating_add(1).min(RUN_MAX);
        // R2: room before stamp.
        let mut limit = self.ring.room(wanted).min(wanted);
        if limit == 0 {
            match self.wait_for_room() {
                Room::There => limit = self.ring.room(wanted).min(wanted),
                Room::Full => return Err(Refused::Full((first, rest))),
                Room::Closed => return Err(closed(&self.shared, &mut self.is_quick, (first, rest))),
            }
        }
        let Self { core, shared, ring, order, table, lossy_sequence, is_quick, .. } = self;
        let (core, shared) = (&**core, &**shared);
        let counts = &shared.counts.producer;
        let _then = Ringing(&core.bell, core.store_load);
        if !shared.announce(ring.pushed() + 1, core.store_load) {
            return Err(closed(shared, is_quick, (first, rest)));
        }
        let key = order.take(core, ring.pushed(), limit as u64);
        let mut staying = None;
        // The gate is stayed in before what came before a lossy one is visible, which would end the push.
        let admit = |item: &mut Item<E>| admit_critical(item).inspect_err(|_| staying = Some(shared.gate.stay()));
        let next = || rest.next().map(item_of);
        let mut lossy = Between { table, lossy_sequence, counts };
        let length = match ring.fill(key, limit, Some(first), next, admit, |number| counts.critical.set(number)) {
            (length, None) => return Ok((length, rest)),
            (length, Some((held, what))) => {
                lossy.push(key + 2 * length as u64, held, what);
                length
            }
        };
        let (key, left) = (key + 2 * length as u64, limit - length);
        Ok(Mixed { pushed: length + 1, key, left, ring, lossy }.go_on(rest, item_of))
    }
}

/// Admits an event to a run, which is for critical ones; of another it returns what it needs to be pushed.
#[inline(always)]
fn admit_critical<E: Event>(Item { event, .. }: &mut Item<E>) -> Result<(), (E::Key, Tier)> {
    match class_of(event, event.class()) {
        Class::Critical => Ok(()),
        Class::Lossy { key, tier } => Err((key, tier)),
    }
}

/// Where the lossy events of a run go.
struct Between<'a, E: Event> {
    table: &'a mut Coalescer<E::Key, Item<E>>,
    lossy_sequence: &'a mut u64,
    counts: &'a ProducerCounts,
}

impl<E: Event> Between<'_, E> {
    /// Pushes one before the critical event that would have `key`. What was pushed before it is visible, as lane order demands.
    #[inline(never)]
    fn push(&mut self, key: u64, held: Held<'_, Item<E>>, (of, tier): (E::Key, Tier)) {
        let Self { table, lossy_sequence, counts } = self;
        // From its slot to its place, when that is known.
        let item = || held.take();
        let unread = Unread { key: key_between(key), sequence: **lossy_sequence, parts: 1, item };
        **lossy_sequence += 1;
        drop(table.push(of, tier, unread, combine, |pushed| count_lossy(counts, pushed)));
    }
}

/// A run that goes on behind a lossy event. The gate must be stayed in.
struct Mixed<'a, E: Event> {
    /// How many events it has.
    pushed: usize,
    /// The key of the next critical event, and how many there may be: one at least, for it had a slot that the lossy one did not keep.
    key: u64,
    left: usize,
    ring: &'a mut RingProducer<Item<E>>,
    lossy: Between<'a, E>,
}

impl<E: Event> Mixed<'_, E> {
    /// Pushes what follows. Returns how many events the run has, and the rest.
    #[inline(never)]
    fn go_on<I: Iterator>(mut self, mut rest: I, item_of: &impl Fn(I::Item) -> Item<E>) -> (usize, I) {
        let Self { pushed, key, left, ring, lossy } = &mut self;
        let counts = lossy.counts;
        while *pushed < MIXED_MAX {
            let next = || rest.next().map(item_of);
            let (length, behind) =
                ring.fill(*key, *left, None, next, admit_critical, |number| counts.critical.set(number));
            (*left, *key, *pushed) = (*left - length, *key + 2 * length as u64, *pushed + length);
            let Some((held, what)) = behind else { break };
            lossy.push(*key, held, what);
            *pushed += 1;
        }
        (*pushed, rest)
    }
}

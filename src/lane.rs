//! The way of an event from the thread that pushes it to where the main lane finds it.
//!
//! A lane has two ways in, both wait-free and both bounded: the ring for critical events, the coalescing table for lossy
//! ones. What a host does to the events of one lane (enrich, classify) runs here, on the thread that pushes, without
//! locks, and before the event is published: an event that another thread enriched and published after it was stamped would break the
//! cut. A batch is one push: it begins when it is called, and its stamps may be older than what its iterator does.

mod batch;
mod batch_prepared;
pub(crate) mod builder;
pub(crate) mod coalesce;
#[cfg(test)]
mod coalesce_twin;
pub(crate) mod gate;
pub(crate) mod idle;
pub(crate) mod index;
pub(crate) mod ingest;
pub(crate) mod prepare;
pub(crate) mod refused;
pub(crate) mod ring;
#[cfg(test)]
mod ring_tests;
pub(crate) mod runs;
pub(crate) mod source;
pub(crate) mod sources;
pub(crate) mod table;
#[cfg(test)]
mod table_tests;
pub(crate) mod waiting;

use std::fmt;

use crossbeam_utils::sync::Parker;

use crate::clock::{critical_key, lossy_key};
use crate::core::Core;
use crate::event::{Class, Coalesced, Event, LaneId, Tier};
use crate::lane::coalesce::{Coalescer, Pushed};
use crate::lane::gate::{Entered, Gate};
use crate::lane::prepare::{Preparation, class_of};
use crate::lane::refused::Refused;
use crate::lane::ring::{Held, RingProducer, Vacant};
use crate::lane::table::Unread;
use crate::lane::waiting::{Patience, Room};
#[cfg(feature = "control")]
use crate::notifications::Notifications;
use crate::observe::counters::{LaneCounts, ProducerCounts};
use crate::sync::{Arc, StoreLoad};
use crate::wake::Bell;

/// An event and its context, on their way.
pub(crate) struct Item<E: Event> {
    pub(crate) facets: E::Facets,
    pub(crate) event: E,
}

/// What both ends of a lane see.
pub(crate) struct LaneShared {
    pub(crate) gate: Gate,
    pub(crate) counts: Arc<LaneCounts>,
    /// Wakes a producer that waits for room: its thread, or its task.
    pub(crate) room: Bell,
    #[cfg(feature = "control")]
    pub(crate) tasks: Arc<Notifications>,
}

impl LaneShared {
    /// Begins the push of the lane's `number`th critical event, or of a run that begins with it; false when the lane is closed. The gate is
    /// looked at first as well, so that whoever hammers a closed lane is not counted again and again.
    #[inline(always)]
    fn announce(&self, number: u64, store_load: StoreLoad) -> bool {
        let Self { gate, counts, .. } = self;
        !gate.is_shut() && gate.enter_counted(number, store_load, |number| counts.producer.critical.set(number))
    }
}

/// What `push` does when the ring is full of critical events. Lossy events never wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// Waits until there is room. On the thread that drives the main lane, which would wait for itself, it returns the
    /// event instead. That thread is known from its first turn on: do not fill a ring before it, nor move a main lane to
    /// another thread by hand while a push on the old one may have to wait.
    #[default]
    Wait,
    /// Returns the event, as [`Refused::Full`].
    Return,
}

/// The producer's end of a lane. One thread at a time pushes through it; dropping it closes the lane, and everything
/// accepted before is still applied.
///
/// It can be sent to another thread, but not shared or cloned:
///
/// ```compile_fail
/// fn shared<T: Sync>() {}
/// # struct Tick;
/// # impl mainlane::Event for Tick {
/// #     type Key = (); type Facets = ();
/// #     fn class(&self) -> mainlane::Class<()> { mainlane::Class::Critical }
/// # }
/// shared::<mainlane::Lane<Tick>>();
/// ```
///
/// ```compile_fail
/// fn cloned<T: Clone>() {}
/// # struct Tick;
/// # impl mainlane::Event for Tick {
/// #     type Key = (); type Facets = ();
/// #     fn class(&self) -> mainlane::Class<()> { mainlane::Class::Critical }
/// # }
/// cloned::<mainlane::Lane<Tick>>();
/// ```
pub struct Lane<E: Event> {
    id: LaneId,
    name: Arc<str>,
    core: Arc<Core>,
    shared: Arc<LaneShared>,
    ring: RingProducer<Item<E>>,
    table: Coalescer<E::Key, Item<E>>,
    /// What is done to events first; `None` when that is nothing.
    preparing: Option<Preparation<E>>,
    order: Order,
    /// Nothing is to be done to events first, the process orders stores and loads by `QUICK`, and the gate was never found
    /// shut: one look for all that a push on the beaten track needs not look at.
    is_quick: bool,
    /// An event on its way from `push` to where it is pushed from; empty otherwise.
    aside: Option<Item<E>>,
    lossy_sequence: u64,
    overflow: Overflow,
    parker: Parker,
    /// Until when it waits for room, besides.
    patience: Patience,
}

// Nothing in it is pinned, whatever its events are.
impl<E: Event> Unpin for Lane<E> {}

/// How stores and loads are ordered on the beaten track: as they are almost everywhere that this is compiled for.
const QUICK: StoreLoad =
    if cfg!(all(target_os = "linux", not(miri))) { StoreLoad::Asymmetric } else { StoreLoad::Full };

/// Where a lane's keys come from.
pub(crate) enum Order {
    /// From the pipeline's clock.
    Clocked,
    /// From the ring alone: it counts the lane's critical events as the clock counts everybody's.
    Unclocked,
}

impl<E: Event> Lane<E> {
    /// Which lane this is.
    pub fn id(&self) -> LaneId {
        self.id
    }

    /// The name it was opened with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Pushes one event.
    ///
    /// Wait-free, but for a critical event on a full ring of a lane that waits. Events that come in bursts are cheaper
    /// through [`push_batch`](Lane::push_batch).
    ///
    /// # Errors
    /// The event, when the ring is full and the lane does not wait, or when the pipeline has shut down. It comes back as
    /// the lane's enricher left it, and is enriched again when it is pushed again.
    ///
    /// # Panics
    /// When the host's own `class`, classifier, key or `coalesce` does. The event is lost then; when it was
    /// `coalesce`, so is the unread one that it was to be coalesced with, which counts as shed.
    // Always inline: of what class an event is, is known where it is pushed more often than not, and then half of this is not there.
    #[inline(always)]
    pub fn push(&mut self, event: E) -> Result<(), Refused<E>> {
        self.push_with(E::Facets::default(), event).map_err(|refused| refused.map(|(_, event)| event))
    }

    /// Pushes one event with facets that win over every default.
    ///
    /// # Errors
    /// As [`push`](Lane::push); the facets come back filled in.
    // As `push`.
    #[inline(always)]
    pub fn push_with(&mut self, facets: E::Facets, event: E) -> Result<(), Refused<(E::Facets, E)>> {
        let mut class = self.is_quick.then(|| class_of(&event, event.class()));
        let Self { core, shared, ring, table, preparing, order, lossy_sequence, aside, .. } = self;
        let (core, shared) = (&**core, &**shared);
        let counts = &shared.counts.producer;
        match class {
            // R2: room before stamp.
            Some(Class::Critical) => {
                if let Some(vacant) = ring.vacant() {
                    let _then = Ringing(&core.bell, QUICK);
                    if shared.gate.enter_counted(vacant.position() + 1, QUICK, |number| counts.critical.set(number)) {
                        order.stamp(core, vacant).publish(Item { facets, event });
                        return Ok(());
                    }
                }
            }
            Some(Class::Lossy { key, tier }) => {
                // Dropped when the push is over: its `drop` is the host's code.
                let _forgotten;
                if let Some(_pushing) = Pushing::enter_by(shared, core, QUICK) {
                    let stamp = order.read(core, ring.pushed());
                    let sequence = *lossy_sequence;
                    *lossy_sequence += 1;
                    let key = match table.open(key, tier) {
                        Ok(opened) => {
                            let item = || Item { facets, event };
                            let unread = Unread { key: stamp, sequence, parts: 1, item };
                            _forgotten = opened.put(unread, combine, |pushed| count_lossy(counts, pushed));
                            return Ok(());
                        }
                        Err(key) => key,
                    };
                    *aside = Some(Item { facets, event });
                    let unread = Unread { key: stamp, sequence, parts: 1, item: aside };
                    _forgotten = push_slowly(table, key, tier, unread, counts);
                    return Ok(());
                }
                class = Some(Class::Lossy { key, tier });
            }
            None => {}
        }
        std::hint::cold_path();
        // In the slot or aside, not as an argument: that would be in memory on the way above as well, written field by field, and to copy
        // what was written so a moment ago takes longer than all else that is done there.
        let item = Item { facets, event };
        let pushed = match class {
            None => match ring.vacant_at_hand() {
                Some(vacant) => match push_held(vacant.hold(item), preparing, order, core, shared, aside) {
                    Ok(()) => return Ok(()),
                    Err(why) => self.push_unheld(why),
                },
                None => {
                    *aside = Some(item);
                    self.push_aside()
                }
            },
            Some(Class::Lossy { key, tier }) => {
                *aside = Some(item);
                self.push_aside_lossy(key, tier)
            }
            Some(Class::Critical) => {
                *aside = Some(item);
                self.push_aside_critical()
            }
        };
        pushed.map_err(|refused| refused.map(|item| (item.facets, item.event)))
    }

    /// What was held in a slot and put aside.
    #[inline(never)]
    fn push_unheld(&mut self, why: Unheld<E::Key>) -> Result<(), Refused<Item<E>>> {
        match why {
            Unheld::Lossy { key, tier } => self.push_aside_lossy(key, tier),
            Unheld::Closed => {
                let item = Aside(&mut self.aside).take();
                Err(closed(&self.shared, &mut self.is_quick, item))
            }
        }
    }

    /// What was put aside, whatever the lane is like.
    #[inline(never)]
    fn push_aside(&mut self) -> Result<(), Refused<Item<E>>> {
        let item = Aside(&mut self.aside).take();
        self.push_prepared(item)
    }

    #[inline(never)]
    fn push_aside_critical(&mut self) -> Result<(), Refused<Item<E>>> {
        let item = Aside(&mut self.aside).take();
        self.push_critical(item)
    }

    #[inline]
    fn push_prepared(&mut self, mut item: Item<E>) -> Result<(), Refused<Item<E>>> {
        match self.prepare(&mut item) {
            Class::Critical => self.push_critical(item),
            Class::Lossy { key, tier } => self.push_lossy(key, tier, item),
        }
    }

    /// Its class, after what is to be done to it first.
    #[inline]
    fn prepare(&mut self, item: &mut Item<E>) -> Class<E::Key> {
        prepare(&mut self.preparing, item)
    }

    /// Closes the lane. What it accepted is still applied. Dropping it does the same.
    pub fn close(self) {}

    #[inline(never)]
    fn push_critical(&mut self, item: Item<E>) -> Result<(), Refused<Item<E>>> {
        loop {
            let Self { core, shared, ring, order, is_quick, .. } = self;
            let (core, shared) = (&**core, &**shared);
            // R2: room before stamp.
            if let Some(vacant) = ring.vacant() {
                let _then = Ringing(&core.bell, core.store_load);
                if !shared.announce(vacant.position() + 1, core.store_load) {
                    return Err(closed(shared, is_quick, item));
                }
                order.stamp(core, vacant).publish(item);
                return Ok(());
            }
            match self.wait_for_room() {
                Room::There => {}
                Room::Full => return Err(Refused::Full(item)),
                Room::Closed => return Err(closed(&self.shared, &mut self.is_quick, item)),
            }
        }
    }

    #[inline]
    fn push_lossy(&mut self, key: E::Key, tier: Tier, item: Item<E>) -> Result<(), Refused<Item<E>>> {
        self.aside = Some(item);
        self.push_aside_lossy(key, tier)
    }

    #[inline(never)]
    fn push_aside_lossy(&mut self, key: E::Key, tier: Tier) -> Result<(), Refused<Item<E>>> {
        let Self { shared, core, order, ring, table, lossy_sequence, aside, .. } = self;
        let Some(pushing) = Pushing::enter(shared, core) else {
            let item = Aside(aside).take();
            return Err(closed(&self.shared, &mut self.is_quick, item));
        };
        let unread = Unread { key: order.read(core, ring.pushed()), sequence: *lossy_sequence, parts: 1, item: aside };
        *lossy_sequence += 1;
        let forgotten = push_slowly(table, key, tier, unread, &shared.counts.producer);
        drop(pushing);
        drop(forgotten);
        Ok(())
    }

    pub(crate) fn counts(&self) -> &ProducerCounts {
        &self.shared.counts.producer
    }
}

#[inline]
fn prepare<E: Event>(preparing: &mut Option<Preparation<E>>, item: &mut Item<E>) -> Class<E::Key> {
    match preparing {
        Some(Preparation { steps, .. }) => steps.prepare(item),
        None => class_of(&item.event, item.event.class()),
    }
}

/// Why an event that was held in a slot is aside now.
enum Unheld<K> {
    Lossy { key: K, tier: Tier },
    Closed,
}

/// Prepares an event in its slot, and publishes it if it is critical.
#[inline(never)]
fn push_held<E: Event>(
    mut held: Held<'_, Item<E>>,
    preparing: &mut Option<Preparation<E>>,
    order: &Order,
    core: &Core,
    shared: &LaneShared,
    aside: &mut Option<Item<E>>,
) -> Result<(), Unheld<E::Key>> {
    if let Class::Lossy { key, tier } = held.change(|item| prepare(preparing, item)) {
        *aside = Some(held.take());
        return Err(Unheld::Lossy { key, tier });
    }
    let _then = Ringing(&core.bell, core.store_load);
    if !shared.announce(held.position() + 1, core.store_load) {
        *aside = Some(held.take());
        return Err(Unheld::Closed);
    }
    let key = order.take(core, held.position(), 1);
    held.publish(key);
    Ok(())
}

/// Pushes an event that was put aside. Returns a key to be dropped when the push is over.
#[inline(never)]
fn push_slowly<E: Event>(
    table: &mut Coalescer<E::Key, Item<E>>,
    key: E::Key,
    tier: Tier,
    unread: Unread<&mut Option<Item<E>>>,
    counts: &ProducerCounts,
) -> Option<E::Key> {
    let Unread { key: stamp, sequence, parts, item } = unread;
    let aside = Aside(item);
    let unread = Unread { key: stamp, sequence, parts, item: || aside.take() };
    table.push(key, tier, unread, combine, |pushed| count_lossy(counts, pushed))
}

/// An event that was put aside: taken from there, or gone.
struct Aside<'a, T>(&'a mut Option<T>);

impl<T> Aside<'_, T> {
    #[inline]
    fn take(self) -> T {
        match self.0.take() {
            Some(item) => item,
            None => unreachable!("it was put there a moment ago"),
        }
    }
}

impl<T> Drop for Aside<'_, T> {
    #[inline]
    fn drop(&mut self) {
        *self.0 = None;
    }
}

/// A push under way. When it ends, accepted or not, the gate is left first, and then the main lane is woken: what it waits
/// for may be that the gate is quiet.
struct Pushing<'a> {
    _entered: Entered<'a>,
    _then: Ringing<'a>,
}

struct Ringing<'a>(&'a Bell, StoreLoad);

impl<'a> Pushing<'a> {
    #[inline]
    fn enter(shared: &'a LaneShared, core: &'a Core) -> Option<Self> {
        let then = Ringing(&core.bell, core.store_load);
        Some(Pushing { _entered: shared.gate.enter()?, _then: then })
    }

    #[inline]
    fn enter_by(shared: &'a LaneShared, core: &'a Core, store_load: StoreLoad) -> Option<Self> {
        let then = Ringing(&core.bell, store_load);
        Some(Pushing { _entered: shared.gate.enter_by(store_load)?, _then: then })
    }
}

impl Drop for Ringing<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.ring_by(self.1);
    }
}

impl Order {
    /// Gives a critical event its key.
    #[inline(always)]
    fn stamp<'a, T>(&self, core: &Core, vacant: Vacant<'a, T>) -> Vacant<'a, T> {
        match self {
            Order::Clocked => vacant.stamp(critical_key(core.clock.take(1))),
            // It has that of its position, which is a step after the last.
            Order::Unclocked => vacant,
        }
    }

    /// The key of the first of `count` critical events, after `pushed` others of this lane.
    #[inline]
    fn take(&self, core: &Core, pushed: u64, count: u64) -> u64 {
        match self {
            Order::Clocked => critical_key(core.clock.take(count)),
            Order::Unclocked => critical_key(pushed),
        }
    }

    /// The key of a lossy event, after `pushed` critical ones of this lane.
    #[inline]
    fn read(&self, core: &Core, pushed: u64) -> u64 {
        match self {
            Order::Clocked => lossy_key(core.clock.read()),
            Order::Unclocked => lossy_key(pushed),
        }
    }
}

/// Counts an event that comes too late.
#[cold]
fn closed<T>(shared: &LaneShared, is_quick: &mut bool, item: T) -> Refused<T> {
    // From now on the gate is looked at first: whoever hammers it must not look busy for ever.
    *is_quick = false;
    shared.counts.producer.rare.closed.add(1);
    Refused::Closed(item)
}

/// The newer event's facets are the newer ones.
#[inline]
fn combine<E: Event>(unread: &mut Item<E>, newer: Item<E>) -> Coalesced {
    let coalesced = unread.event.coalesce(newer.event);
    unread.facets = newer.facets;
    coalesced
}

#[inline]
fn count_lossy(counts: &ProducerCounts, pushed: Pushed) {
    match pushed {
        Pushed::Inserted => counts.inserted.add(1),
        Pushed::InsteadOf => {
            counts.inserted.add(1);
            counts.rare.shed_unread.add(1);
        }
        Pushed::Coalesced(Coalesced::Replaced) => counts.replaced.add(1),
        Pushed::Coalesced(Coalesced::Merged) => counts.merged.add(1),
        Pushed::Shed => counts.rare.shed_at_once.add(1),
        Pushed::Lost => counts.rare.shed_unread.add(1),
    }
}

impl<E: Event> Drop for Lane<E> {
    fn drop(&mut self) {
        self.shared.gate.leave();
        // The main lane may be asleep; it has a lane to close.
        self.core.bell.ring();
    }
}

impl<E: Event> fmt::Debug for Lane<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").field("id", &self.id.0).field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use crate::{Budget, Class, Coalesced, Effects, Envelope, Event, Pipeline, Reducer, Refused, Tier};

    use super::{QUICK, StoreLoad};

    /// Lossy with a key; the key 13 is one on which its code panics.
    #[derive(Debug, PartialEq)]
    struct Tick(Option<u32>);

    impl Event for Tick {
        type Key = u32;
        type Facets = ();

        fn class(&self) -> Class<u32> {
            match self.0 {
                Some(key) => Class::Lossy { key, tier: Tier::NORMAL },
                None => Class::Critical,
            }
        }

        fn coalesce(&mut self, newer: Self) -> Coalesced {
            assert_ne!(newer.0, Some(13), "thirteen");
            *self = newer;
            Coalesced::Replaced
        }
    }

    #[derive(Clone)]
    struct Ticks(u64);

    impl Reducer for Ticks {
        type Event = Tick;
        type Effect = ();

        fn apply(&mut self, _: &Envelope<'_, Tick>, _: &mut Effects<()>) {
            self.0 += 1;
        }
    }

    #[test]
    fn the_beaten_track_is_for_plain_lanes_until_they_are_refused() {
        let builder = Pipeline::builder(Ticks(0));
        let mut plain = builder.lane("plain").open().unwrap();
        let dressed = builder.lane("dressed").enrich(|_, _| ()).open().unwrap();
        assert_eq!((plain.is_quick, dressed.is_quick), (StoreLoad::detect() == QUICK, false));
        let (mut main_lane, handle) = builder.build().unwrap();
        handle.close();
        while plain.push(Tick(None)).is_ok() {
            main_lane.turn(Budget::UNLIMITED).unwrap();
        }
        assert!(!plain.is_quick, "it looks at the gate first");
        assert!(matches!(plain.push(Tick(None)), Err(Refused::Closed(Tick(None)))));
    }

    #[test]
    fn what_is_put_aside_is_pushed_handed_back_or_gone() {
        let builder = Pipeline::builder(Ticks(0));
        let mut lane = builder.lane("lane").capacity(1).keys(1).overflow(super::Overflow::Return).open().unwrap();
        let (mut main_lane, handle) = builder.build().unwrap();
        assert_eq!(lane.push(Tick(None)), Ok(()));
        assert_eq!(lane.push(Tick(None)), Err(Refused::Full(Tick(None))), "no room");
        assert_eq!((lane.push(Tick(Some(13))), lane.aside.is_none()), (Ok(()), true));
        assert_eq!((lane.push(Tick(Some(7))), lane.aside.is_none()), (Ok(()), true), "shed, or instead of the other");
        lane.push(Tick(Some(13))).unwrap();
        let unwound = catch_unwind(AssertUnwindSafe(|| lane.push(Tick(Some(13)))));
        assert_eq!((unwound.is_err(), lane.aside.is_none()), (true, true));
        main_lane.turn(Budget::UNLIMITED).unwrap();
        handle.close();
        while lane.push(Tick(Some(1))).is_ok() {
            main_lane.turn(Budget::UNLIMITED).unwrap();
        }
        assert_eq!(lane.push(Tick(Some(1))), Err(Refused::Closed(Tick(Some(1)))));
        assert!(lane.aside.is_none());
        assert!(handle.counters().events.balanced(), "{:?}", handle.counters().events);
    }
}

//! How a producer waits for room in its lane's ring.
//!
//! A thread parks, a task awaits; both follow W1 (`wake.rs`): they arm the lane's bell, look once more, and sleep only if there
//! is nothing. Who lets a producer go without room sets its latch first and rings then, as whoever makes room does.
//!
//! Model: `loom-tests/src/wake.rs`.

use crate::core::Core;
#[cfg(feature = "signal")]
use crate::event::Class;
use crate::event::Event;
#[cfg(feature = "control")]
use crate::lane::LaneShared;
use crate::lane::idle::{IdleStrategy, Idling};
#[cfg(feature = "signal")]
use crate::lane::{Item, refused::Refused};
use crate::lane::{Lane, Overflow};
use crate::latch::Latch;
#[cfg(feature = "control")]
use crate::notifications::listen;
use crate::sync::Arc;

/// What came of waiting.
pub(super) enum Room {
    There,
    Full,
    Closed,
}

/// Until when a producer waits, besides room and the end of its lane: for as long as it takes, unless somebody may let it go.
#[derive(Default)]
pub(crate) struct Patience(Option<Arc<Latch>>);

impl Patience {
    fn is_over(&self) -> bool {
        self.0.as_ref().is_some_and(|latch| latch.is_set())
    }
}

/// Lets a producer that waits for room go, once and for all: it has its event back as if its lane did not wait.
#[cfg(feature = "control")]
pub(crate) struct LetGo {
    latch: Arc<Latch>,
    shared: Arc<LaneShared>,
}

#[cfg(feature = "control")]
impl LetGo {
    pub(crate) fn let_go(&self) {
        self.latch.set();
        // W1: after what it waits for.
        self.shared.room.ring();
    }
}

impl<E: Event> Lane<E> {
    #[cold]
    pub(super) fn wait_for_room(&mut self) -> Room {
        if let Some(room) = self.refuses_to_wait(Core::is_driven_here) {
            return room;
        }
        let mut idling = Idling::default();
        loop {
            if let Some(room) = self.look_for_room() {
                return room;
            }
            if idling.wait(IdleStrategy::PARK) {
                // W1: armed before the last look.
                self.shared.room.arm();
                if self.look_for_room().is_none() {
                    self.parker.park();
                }
                self.shared.room.disarm();
            }
        }
    }

    /// What there is instead of a wait; counts the wait, or the event that is handed back.
    fn refuses_to_wait(&self, would_wait_for_itself: impl Fn(&Core) -> bool) -> Option<Room> {
        let counts = &self.shared.counts.producer;
        if self.shared.gate.is_shut() {
            return Some(Room::Closed);
        }
        if self.overflow == Overflow::Return || self.patience.is_over() || would_wait_for_itself(&self.core) {
            counts.rare.returned.add(1);
            return Some(Room::Full);
        }
        counts.rare.waited.add(1);
        None
    }

    fn look_for_room(&mut self) -> Option<Room> {
        if self.shared.gate.is_shut() {
            return Some(Room::Closed);
        }
        if self.ring.room(1) > 0 {
            return Some(Room::There);
        }
        if self.patience.is_over() {
            self.shared.counts.producer.rare.returned.add(1);
            return Some(Room::Full);
        }
        None
    }
}

#[cfg(feature = "signal")]
impl<E: Event> Lane<E> {
    /// Pushes one event, or hands it back at once where [`push`](Lane::push) would wait.
    pub(crate) fn try_push(&mut self, event: E) -> Result<(), Refused<E>> {
        let (item, class) = self.prepared(event);
        let pushed = match class {
            Class::Lossy { key, tier } => self.push_lossy(key, tier, item),
            Class::Critical if self.is_ready() => self.push_critical(item),
            Class::Critical => {
                self.shared.counts.producer.rare.returned.add(1);
                Err(Refused::Full(item))
            }
        };
        pushed.map_err(|refused| refused.map(|item| item.event))
    }

    fn prepared(&mut self, event: E) -> (Item<E>, Class<E::Key>) {
        let mut item = Item { facets: E::Facets::default(), event };
        let class = self.prepare(&mut item);
        (item, class)
    }

    /// True when a critical event needs no wait: there is room, which stays, for nobody else pushes; or the lane is closed.
    fn is_ready(&mut self) -> bool {
        self.ring.room(1) > 0 || self.shared.gate.is_shut()
    }
}

#[cfg(feature = "control")]
impl<E: Event> Lane<E> {
    /// From now on somebody may let this producer go.
    pub(crate) fn let_go(&mut self) -> LetGo {
        let latch = Arc::new(Latch::default());
        self.patience = Patience(Some(latch.clone()));
        LetGo { latch, shared: self.shared.clone() }
    }

    /// As [`push`](Lane::push) on a lane that waits, for a task.
    pub(crate) async fn push_in_task(&mut self, event: E) -> Result<(), Refused<E>> {
        let (item, class) = self.prepared(event);
        let pushed = match class {
            Class::Lossy { key, tier } => self.push_lossy(key, tier, item),
            Class::Critical => loop {
                if self.is_ready() {
                    break self.push_critical(item);
                }
                if let Room::Full = self.room_in_task().await {
                    break Err(Refused::Full(item));
                }
            },
        };
        pushed.map_err(|refused| refused.map(|item| item.event))
    }

    async fn room_in_task(&mut self) -> Room {
        // A task lets go of its thread while it waits.
        if let Some(room) = self.refuses_to_wait(|_| false) {
            return room;
        }
        let shared = self.shared.clone();
        loop {
            listen!(shared.tasks => told);
            // W1: armed, and listening, before the last look.
            shared.room.arm();
            let room = self.look_for_room();
            if room.is_none() {
                told.await;
            }
            shared.room.disarm();
            if let Some(room) = room.or_else(|| self.look_for_room()) {
                return room;
            }
        }
    }

    /// How many critical events wait in the ring, and how many can.
    pub(crate) fn filled(&self) -> (usize, usize) {
        let capacity = self.ring.capacity();
        (capacity - self.ring.free(), capacity)
    }
}

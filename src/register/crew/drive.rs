//! Driving one project, by whoever took it out of the queue.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::core::contain;
use crate::main_lane::budget::Budget;
use crate::main_lane::outcome::Left;
use crate::main_lane::report::Fault;
use crate::register::crew::Shared;
use crate::register::crew::post::Post;
use crate::register::crew::queue::Queue;
use crate::register::crew::ready::Rest;
use crate::register::crew::seat::{Driven, End, Ended, Held, Seat, Turned};
use crate::register::waits::Holds;
use crate::sync::{Ordering::Relaxed, StoreLoad};

/// A thread with nothing else to do looks so often before it lets others have the core.
const LOOKS: u32 = 8;
/// How often it pauses between two looks.
const PAUSES: u32 = 16;

/// Whoever drives: a thread of the crew, or the host in its loop.
pub(crate) struct Driver<'a> {
    pub(crate) shared: &'a Shared,
    /// Where the watch sees it. `None` when nobody watches.
    pub(crate) post: Option<&'a Post>,
    /// Its number, from one.
    pub(crate) thread: u64,
    /// How much one turn may do.
    pub(crate) budget: Budget,
    /// How long a project that has run dry is looked at before it is let sleep.
    pub(crate) linger: Duration,
    /// Goes on with a project while nobody else is ready.
    pub(crate) stays: bool,
    /// The number of its last turn.
    pub(crate) turn: u32,
}

/// What became of a project that was driven for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    More,
    /// It has had nothing to do since.
    Dry(Instant),
    /// It sleeps, or is driven no more.
    Done,
}

impl Driver<'_> {
    /// Drives one that was taken out of the queue, and queues it again if there is more. Returns how many events it had, if it was
    /// driven at all.
    pub(crate) fn drive(&mut self, seat: Arc<Seat>) -> Option<usize> {
        if !seat.ready.begin() {
            return None;
        }
        seat.counts.thread.store(self.thread, Relaxed);
        let (events, then) = {
            let _driving = Holds::new(&seat.held);
            let mut held = seat.held.lock();
            self.stretch(&seat, &mut held)
        };
        seat.counts.thread.store(0, Relaxed);
        self.rest(seat, then);
        Some(events)
    }

    /// Lets go of a project.
    fn rest(&mut self, seat: Arc<Seat>, then: Then) {
        match (seat.ready.rest(then != Then::Done), then) {
            (Rest::Asleep, _) => {}
            (Rest::Queue, Then::Dry(since)) => self.shared.queue.push_dry(since, seat),
            (Rest::Queue, _) => self.shared.queue.push(seat),
            (Rest::Over { heir: true }, _) => {
                self.watched(&seat, || seat.put_away_as_heir());
                self.shared.forget(&seat);
            }
            (Rest::Over { heir: false }, _) => self.shared.tell_end(),
        }
    }

    /// Lets projects sleep that have run dry, all behind one barrier. Those that have something after all are queued again.
    pub(crate) fn let_sleep(&mut self, dry: &mut Vec<Arc<Seat>>) {
        dry.retain(|seat| seat.ready.begin());
        // W1: armed before the last look.
        dry.iter().for_each(|seat| seat.core.bell.begin_to_arm());
        let barrier = contain(|| barrier(dry.iter().map(|seat| seat.core.store_load)));
        for seat in dry.drain(..) {
            let then = match &barrier {
                Ok(()) => self.last_look(&seat),
                Err(message) => {
                    seat.ended(End::Failed(Fault::Snapshot { message: message.clone() }));
                    Then::Done
                }
            };
            self.rest(seat, then);
        }
    }

    fn last_look(&self, seat: &Arc<Seat>) -> Then {
        let held = &mut *seat.held.lock();
        let Some(lane) = &held.lane else { return Then::Done };
        if lane.is_waiting() {
            seat.core.bell.disarm();
            return Then::More;
        }
        held.armed = true;
        if let Some(due) = lane.due() {
            wake_at(&self.shared.queue, seat, &mut held.timer, due);
        }
        Then::Done
    }

    /// Turns until it is another's turn, or there is nothing more to do.
    fn stretch(&mut self, seat: &Arc<Seat>, held: &mut Held) -> (usize, Then) {
        let Some(lane) = &mut held.lane else { return (0, Then::Done) };
        if std::mem::take(&mut held.armed) {
            seat.core.bell.disarm();
        }
        let (mut events, mut begin, mut looks) = (0, Instant::now(), 0);
        loop {
            let (turned, was_stuck) = self.turn(seat, lane);
            let now = Instant::now();
            seat.counts.count(turned.events, now - begin);
            events += turned.events;
            let left = match turned.ended {
                Ended::No { left } => left,
                Ended::Normally => {
                    seat.ended(End::Closed);
                    return (events, Then::Done);
                }
                Ended::Failed(fault) => {
                    seat.ended(End::Failed(fault));
                    return (events, Then::Done);
                }
            };
            let is_busy = turned.events > 0 || left == Left::More;
            if is_busy {
                held.busy = now;
            }
            let lingers = left == Left::More || now - held.busy < self.linger;
            if !lingers || !self.stays || was_stuck || self.shared.queue.has_more(now) || !seat.ready.goes_on() {
                return (events, if left == Left::More { Then::More } else { Then::Dry(held.busy) });
            }
            if !is_busy {
                looks = pause(looks);
            }
            begin = match is_busy {
                true => now,
                false => Instant::now(),
            };
        }
    }

    fn turn(&mut self, seat: &Seat, lane: &mut Box<dyn Driven>) -> (Turned, bool) {
        let budget = self.budget;
        // What is the host's is contained further in. What gets here is our own, and stops one project.
        self.watched(seat, || {
            contain(|| lane.turn(budget)).unwrap_or_else(|message| {
                let fault = Fault::Snapshot { message };
                Turned { events: 0, ended: Ended::Failed(fault) }
            })
        })
    }

    /// Does something of a project's that may not return. True beside what came of it if it was called stuck meanwhile.
    fn watched<T>(&mut self, seat: &Seat, work: impl FnOnce() -> T) -> (T, bool) {
        if let Some(post) = self.post {
            self.turn = self.turn.checked_add(1).unwrap_or(1);
            post.begin(self.turn, seat.id);
        }
        let done = work();
        let was_stuck = self.post.is_some_and(Post::end);
        if was_stuck {
            self.shared.queue.returned(seat);
        }
        (done, was_stuck)
    }
}

/// Has it woken at `due`, if nothing does that already.
fn wake_at(queue: &Queue, seat: &Arc<Seat>, timer: &mut Option<Instant>, due: Instant) {
    if timer.is_none_or(|set| set <= Instant::now() || due < set) {
        *timer = Some(due);
        queue.wake_at(due, seat.clone());
    }
}

/// Orders what was armed before what is looked at next: once for all pipelines that do it in the same way.
fn barrier(ways: impl Iterator<Item = StoreLoad> + Clone) {
    for way in [StoreLoad::Asymmetric, StoreLoad::Full] {
        if ways.clone().any(|its| its == way) {
            // B1
            way.heavy();
        }
    }
}

/// Between two looks at one project when there is nobody else.
fn pause(looks: u32) -> u32 {
    if looks + 1 < LOOKS {
        (0..PAUSES).for_each(|_| std::hint::spin_loop());
        return looks + 1;
    }
    std::thread::yield_now();
    0
}

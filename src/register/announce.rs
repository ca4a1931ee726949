//! What happens in registries, told on a bus.
//!
//! A follower for each registry, all on one thread of the bus's. Listening comes before the look, so a change wakes the thread or is
//! seen by it; what finds the family full is kept and told later, and meanwhile the registry's own log keeps the rest. So there is no gap
//! but one that is told, with what there is instead.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crossbeam_utils::sync::Unparker;
use event_listener::{Event as Changes, EventListener, Listener};

use super::capability::Mismatch;
use super::follow::{Announcement, Follower, Heard, Listing, Row};
use super::registries::Registries;
use super::registry::{Interface, REFUSED_MAX, Registry, Shared};
use crate::control::wait::Unparking;
use crate::core::contain;
use crate::latch::Latch;
use crate::origin::Origin;
use crate::signal::{Bus, Job, Signal, SignalError, SignalOutlet, Unpublished, Work};

/// How long until what found the family full is told again.
const AGAIN: Duration = Duration::from_millis(5);
/// Who says so.
const REGISTRIES: Origin = Origin::built_in("registries", 0);

/// Something happened in a registry that is [announced](Registries::announce). Keys are as they are printed.
///
/// The news of one registry come in order. Whoever begins to listen looks afterwards what there is: a change is in that listing, or
/// among the news, or in both, which its revision and the listing's tell.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegistryNews {
    /// A provider came, was replaced, or left.
    Announced(Announcement<String>),
    /// The declaration of a provider does not fit, which comes after the news that it is there; or for that reason it is not.
    Mismatch(Mismatch<String>),
    /// The bus had no room for too long. Announcements that come next are of changes after this listing.
    Missed {
        /// The interface.
        interface: &'static str,
        /// How many announcements and mismatches.
        count: u64,
        /// What there is instead.
        now: Listing<String>,
    },
}

impl Signal for RegistryNews {
    const FAMILY: &'static str = "registries";
    const CAPACITY: usize = 256;
}

impl RegistryNews {
    /// Which interface's registry it is about.
    pub fn interface(&self) -> &'static str {
        match self {
            Self::Announced(Announcement { interface, .. }) => interface,
            Self::Mismatch(Mismatch { interface, .. }) | Self::Missed { interface, .. } => interface,
        }
    }
}

impl fmt::Display for RegistryNews {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Announced(announcement) => announcement.fmt(f),
            Self::Mismatch(mismatch) => mismatch.fmt(f),
            Self::Missed { interface, count, now } => {
                write!(f, "{interface}: {count} news were missed; there are {} providers", now.providers.len())
            }
        }
    }
}

impl Registries {
    /// Tells on a bus what happens in all of these registries from here on, and from the beginning in those that are added later: see
    /// [`RegistryNews`]. A thread of the bus's of this name does that; it sleeps while nothing changes.
    ///
    /// # Errors
    /// When the bus was shut down, or the system refuses the thread.
    pub fn announce(&self, bus: &Bus, thread: impl Into<Arc<str>>) -> Result<Announcing, SignalError> {
        let (added, criers) = self.criers(0, false);
        Announcing::start(bus, thread.into(), criers, Some((self.clone(), added)))
    }
}

impl<I: Interface + ?Sized> Registry<I> {
    /// Tells on a bus what happens in this registry from here on, as [`Registries::announce`] does.
    ///
    /// # Errors
    /// As that.
    pub fn announce(&self, bus: &Bus, thread: impl Into<Arc<str>>) -> Result<Announcing, SignalError> {
        Announcing::start(bus, thread.into(), vec![self.crier(false)], None)
    }

    /// Whoever tells of it: from here on, or from the beginning.
    pub(super) fn crier(&self, from_the_beginning: bool) -> Box<dyn Cries> {
        let shared = self.shared.clone();
        let desk = shared.desk.lock();
        let (heard, noted) = if from_the_beginning { (0, 0) } else { (shared.shelves.revision(), desk.noted.count) };
        drop(desk);
        let (follower, news) = (Follower::new(shared.clone(), heard), VecDeque::new());
        Box::new(Crier { shared, follower, noted, listener: Told(None), news })
    }
}

/// As long as this is there, what happens in registries is told on a bus. Dropping it ends that; the registries are as they were.
#[must_use = "dropping it ends the announcements; `keep` leaves them to the bus"]
pub struct Announcing {
    /// `None` when it is the bus's to end.
    stop: Option<Arc<Latch>>,
    unparker: Unparker,
}

impl Announcing {
    fn start(
        bus: &Bus,
        thread: Arc<str>,
        criers: Vec<Box<dyn Cries>>,
        all: Option<(Registries, u64)>,
    ) -> Result<Self, SignalError> {
        let (stop, waker): (Arc<Latch>, Arc<OnceLock<Waker>>) = Default::default();
        let announcer = Announcer {
            bus: bus.clone(),
            outlet: bus.outlet(REGISTRIES),
            criers,
            at: 0,
            all,
            listener: Told(None),
            untold: None,
            stop: stop.clone(),
            waker: waker.clone(),
        };
        let unparker = bus.hand(&thread, Box::new(announcer))?;
        // Set here alone. Until then the thread does nothing of it.
        let _ = waker.set(Waker::from(Arc::new(Unparking(unparker.clone()))));
        unparker.unpark();
        Ok(Self { stop: Some(stop), unparker })
    }

    /// Goes on for as long as the bus is there.
    pub fn keep(mut self) {
        self.stop = None;
    }
}

impl Drop for Announcing {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop.set();
            self.unparker.unpark();
        }
    }
}

impl fmt::Debug for Announcing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Announcing").finish_non_exhaustive()
    }
}

/// Goes through the registries, on a thread of the bus's.
struct Announcer {
    bus: Bus,
    outlet: SignalOutlet<RegistryNews>,
    criers: Vec<Box<dyn Cries>>,
    /// Whose turn it is.
    at: usize,
    /// Where others may be added, and how many had been.
    all: Option<(Registries, u64)>,
    listener: Told,
    /// What found the family full.
    untold: Option<RegistryNews>,
    stop: Arc<Latch>,
    /// Wakes this thread; not there until it is known.
    waker: Arc<OnceLock<Waker>>,
}

impl Announcer {
    fn adopt(&mut self, ctx: &mut Context<'_>) {
        let Some((registries, known)) = &mut self.all else { return };
        self.listener.listen(registries.additions(), ctx);
        if registries.added() != *known {
            let (added, criers) = registries.criers(*known, true);
            *known = added;
            self.criers.extend(criers);
        }
    }

    fn tell(&mut self, news: RegistryNews) -> Option<Work> {
        match self.outlet.publish(news) {
            Ok(()) => None,
            Err(Unpublished::Closed(_)) => Some(Work::Over),
            Err(full) => {
                self.untold = Some(full.into_signal());
                Some(Work::Until(Instant::now() + AGAIN))
            }
        }
    }
}

impl Job for Announcer {
    fn work(&mut self) -> Work {
        if self.stop.is_set() || self.bus.is_closed() {
            return Work::Over;
        }
        let Some(waker) = self.waker.get().cloned() else { return Work::Idle };
        let mut ctx = Context::from_waker(&waker);
        self.adopt(&mut ctx);
        self.criers.iter_mut().for_each(|crier| crier.listen(&mut ctx));
        if let Some(work) = self.untold.take().and_then(|news| self.tell(news)) {
            return work;
        }
        // A piece of news of each in turn: one that changes all the time does not keep the others' from being told.
        let mut silent = 0;
        while silent < self.criers.len() {
            if self.stop.is_set() {
                return Work::Over;
            }
            self.at = (self.at + 1) % self.criers.len();
            silent += 1;
            if let Some(news) = self.criers[self.at].next() {
                silent = 0;
                if let Some(work) = self.tell(news) {
                    return work;
                }
            }
        }
        Work::Idle
    }
}

/// Told of the next change, if it listens.
struct Told(Option<EventListener>);

impl Told {
    /// Has `ctx` woken at the next change: only a waker that may be called under a lock.
    fn listen(&mut self, changes: &Changes, ctx: &mut Context<'_>) {
        loop {
            let listening = self.0.get_or_insert_with(|| changes.listen());
            match Pin::new(listening).poll(ctx) {
                Poll::Pending => return,
                Poll::Ready(()) => self.0 = None,
            }
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        // It passes nothing on (A2 of `src/notifications.rs`).
        self.0.take().map(EventListener::discard);
    }
}

/// Tells of one registry, whatever its interface is.
pub(super) trait Cries: Send {
    /// Before a look.
    fn listen(&mut self, ctx: &mut Context<'_>);
    fn next(&mut self) -> Option<RegistryNews>;
}

struct Crier<I: Interface + ?Sized> {
    shared: Arc<Shared<I>>,
    follower: Follower<I>,
    /// How many mismatches were told.
    noted: u64,
    listener: Told,
    /// Mismatches that are to be told next.
    news: VecDeque<RegistryNews>,
}

impl<I: Interface + ?Sized> Cries for Crier<I> {
    fn listen(&mut self, ctx: &mut Context<'_>) {
        self.listener.listen(&self.shared.changes.event, ctx);
    }

    fn next(&mut self) -> Option<RegistryNews> {
        // What was looked at is not looked at again, so this comes to an end.
        loop {
            match contain(|| self.look()) {
                Ok(news) => return news,
                // A key of the host's: its news cannot be told, and the thread has those of others to tell.
                Err(_) => self.shared.desk.lock().counts.key_panics += 1,
            }
        }
    }
}

impl<I: Interface + ?Sized> Crier<I> {
    fn look(&mut self) -> Option<RegistryNews> {
        if let Some(news) = self.news.pop_front() {
            return Some(news);
        }
        if let Some(heard) = self.follower.next() {
            return Some(news(I::NAME, heard));
        }
        let mut desk = self.shared.desk.lock();
        while self.follower.is_behind() {
            // What is noted by now may be of an announcement that came since, and is told after it. Behind the lock there is none such.
            drop(desk);
            if let Some(heard) = self.follower.next() {
                return Some(news(I::NAME, heard));
            }
            desk = self.shared.desk.lock();
        }
        let (missed, noted) = desk.noted.after(&mut self.noted);
        drop(desk);
        self.news
            .extend(noted.into_iter().map(|mismatch| RegistryNews::Mismatch(mismatch.with_key(|key| printed(&key)))));
        if missed > 0 {
            return Some(RegistryNews::Missed {
                interface: I::NAME,
                count: missed,
                now: listing(self.shared.listing()),
            });
        }
        self.news.pop_front()
    }
}

fn news<K: fmt::Display>(interface: &'static str, heard: Heard<K>) -> RegistryNews {
    match heard {
        Heard::Announced(Announcement { revision, key, provider, change, .. }) => {
            RegistryNews::Announced(Announcement { revision, interface, key: printed(&key), provider, change })
        }
        Heard::Missed { count, now } => RegistryNews::Missed { interface, count, now: listing(now) },
    }
}

fn listing<K: fmt::Display>(listing: Listing<K>) -> Listing<String> {
    let row = |Row { key, provider, origin, rank, number, support, holders }| Row {
        key: printed(&key),
        provider,
        origin,
        rank,
        number,
        support,
        holders,
    };
    Listing { revision: listing.revision, providers: listing.providers.into_iter().map(row).collect() }
}

/// The host's code, on a thread that goes on.
fn printed(key: &impl fmt::Display) -> String {
    contain(|| key.to_string()).unwrap_or_else(|_| "a key that cannot be printed".to_owned())
}

/// The newest mismatches, by their number, for those who tell of them.
pub(super) struct Noted<K> {
    newest: VecDeque<Mismatch<K>>,
    pub(super) count: u64,
}

impl<K: Clone> Noted<K> {
    pub(super) fn new() -> Self {
        Self { newest: VecDeque::new(), count: 0 }
    }

    /// Returns those that give way.
    pub(super) fn extend(&mut self, mismatches: Vec<Mismatch<K>>) -> Vec<Mismatch<K>> {
        self.count += mismatches.len() as u64;
        self.newest.extend(mismatches);
        let over = self.newest.len().saturating_sub(REFUSED_MAX);
        self.newest.drain(..over).collect()
    }

    /// Those after the first `seen`, which are seen from here on, and how many of them are gone for good.
    fn after(&self, seen: &mut u64) -> (u64, Vec<Mismatch<K>>) {
        let unseen = self.count - std::mem::replace(seen, self.count);
        let kept = unseen.min(self.newest.len() as u64);
        (unseen - kept, self.newest.iter().skip(self.newest.len() - kept as usize).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::register::{Capability, Problem};

    #[test]
    fn mismatches_are_told_once_and_those_that_are_gone_are_counted() {
        let capability = Capability::new("blame");
        let mismatch = |key| Mismatch {
            interface: "i",
            key,
            provider: "p",
            capability,
            problem: Problem::Unknown,
            refused: false,
        };
        let keys = |noted: Vec<Mismatch<u64>>| noted.into_iter().map(|mismatch| mismatch.key).collect::<Vec<_>>();
        let (mut noted, mut seen) = (Noted::new(), 0);
        assert_eq!(noted.after(&mut seen), (0, vec![]));
        assert_eq!(noted.extend(vec![mismatch(1), mismatch(2)]), []);
        let (missed, told) = noted.after(&mut seen);
        assert_eq!((missed, keys(told), noted.after(&mut seen).1.len()), (0, vec![1, 2], 0));
        let more = REFUSED_MAX as u64 + 3;
        let gone = (0..more).flat_map(|key| noted.extend(vec![mismatch(key)])).collect();
        assert_eq!(keys(gone), [1, 2, 0, 1, 2]);
        let (missed, told) = noted.after(&mut seen);
        assert_eq!((missed, keys(told)), (3, (3..more).collect::<Vec<_>>()));
    }
}

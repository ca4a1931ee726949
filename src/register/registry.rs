//! Providers of one interface, by key and name: found without a lock, changed at any time.
//!
//! # Invariants
//! - **R-one desk**: whatever changes does so behind one lock, in the order of its revisions; lookups do not take it.
//! - **R-announced**: a change is in the log before the lock is let go, and the listing that a follower begins with is made
//!   behind the same lock. So between the listing and the first announcement there is no gap and no overlap.
//! - **R-host outside**: nothing of the host's runs behind the lock but what its keys do by themselves (`Clone`, `Ord`, `Hash`,
//!   `Drop`) and [`Interface::id`]; they must not look at the registry. Hooks are called after it, and then what may be the last of a
//!   provider is let go of: should that panic, everyone has been told.
//!
//! How a lookup sees one whole revision is argued in `src/register/board.rs`.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Weak};

use super::announce::Noted;
use super::board::{Board, Kept};
use super::capability::{Capability, Mismatch, Need, Support};
use super::follow::{Announcement, Change, Follower, Listing, Log, Row};
use super::hooks::{Hooked, Hooks};
use super::provider::{Departed, Lease, Mark, Offer, Provider, Shelf, Shelves, among, best, fully, named};
use crate::notifications::Notifications;
use crate::sync::{AtomicU64, Mutex, Ordering::Relaxed};

/// How many mismatches of refused providers are kept for the list; the oldest go first. All are counted.
pub const REFUSED_MAX: usize = 256;

/// A service interface: a trait of the host's, as a type. Implemented for `dyn Trait`.
///
/// ```
/// use mainlane::register::{Capability, Interface, Need};
///
/// trait VersionControl: Send + Sync {
///     fn branch(&self) -> String;
/// }
///
/// const BRANCH: Capability = Capability::new("branch");
/// const BLAME: Capability = Capability::new("blame");
///
/// impl Interface for dyn VersionControl {
///     type Key = u64;
///     const NAME: &'static str = "version-control";
///     const CAPABILITIES: &'static [Need] = &[Need::required(BRANCH), Need::expected(BLAME)];
///     fn id(worktree: &u64) -> u64 { *worktree }
/// }
/// ```
pub trait Interface: Send + Sync + 'static {
    /// What providers are found by: a worktree, a project. `()` when there is one of each for all.
    type Key: Clone + Ord + Hash + fmt::Display + Send + Sync + 'static;

    /// Its name in origins, listings and announcements. No two interfaces of one [`Registries`](super::Registries) have the
    /// same.
    const NAME: &'static str;

    /// What providers may be able to do. Each declares all of it.
    const CAPABILITIES: &'static [Need];

    /// Which instance a key stands for in [`Origin::service`](crate::Origin::service).
    fn id(key: &Self::Key) -> u64;
}

/// The providers of one interface. Cheap to clone; all clones are one registry.
pub struct Registry<I: Interface + ?Sized> {
    pub(super) shared: Arc<Shared<I>>,
}

pub(super) struct Shared<I: Interface + ?Sized> {
    pub(super) shelves: Shelves<I>,
    pub(super) desk: Mutex<Desk<I>>,
    pub(super) changes: Notifications,
    hooks: Arc<Hooks>,
    seats: Arc<Seats>,
}

/// What changes, behind the lock.
pub(super) struct Desk<I: Interface + ?Sized> {
    revision: u64,
    pub(super) log: Log<I::Key>,
    refused: VecDeque<Mismatch<I::Key>>,
    pub(super) noted: Noted<I::Key>,
    pub(super) counts: RegistryCounts,
}

/// Readers by name, and the revision that each saw last. For people; nothing is decided by it.
pub(super) struct Seats(Mutex<Vec<Weak<Seat>>>);

struct Seat {
    name: Arc<str>,
    revision: AtomicU64,
}

impl Seats {
    fn open(&self, name: &str, revision: u64) -> Arc<Seat> {
        let seat = Arc::new(Seat { name: name.into(), revision: AtomicU64::new(revision) });
        let mut seats = self.0.lock();
        seats.retain(|seat| seat.strong_count() > 0);
        seats.push(Arc::downgrade(&seat));
        seat
    }

    /// The names of those who saw a revision from `came` up to, not including, `left`.
    pub(super) fn between(&self, came: u64, left: u64) -> Vec<Arc<str>> {
        let seats = self.0.lock();
        let seats = seats.iter().filter_map(Weak::upgrade);
        seats.filter(|seat| (came..left).contains(&seat.revision.load(Relaxed))).map(|seat| seat.name.clone()).collect()
    }
}

/// How much there was of each, since the registry was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegistryCounts {
    /// Providers that came.
    pub registered: u64,
    /// Providers that took the place of another.
    pub replaced: u64,
    /// Providers that left.
    pub withdrawn: u64,
    /// Offers that were refused, for whatever reason.
    pub refused: u64,
    /// Declarations that did not fit, line by line, of refused offers too.
    pub mismatches: u64,
    /// Hooks that panicked.
    pub hook_panics: u64,
    /// Keys that panicked as a change was told on a bus, which is not told then.
    pub key_panics: u64,
}

/// A provider that was registered, for whoever registered it: withdraws that one, and no other that took its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered<K> {
    /// Its key.
    pub key: K,
    /// Its name.
    pub provider: &'static str,
    /// The revision that it came with.
    pub number: u64,
}

/// What becomes of an offer.
pub type RegisterResult<I, T> = Result<T, RegisterError<<I as Interface>::Key>>;

/// What came, and whose place it took.
type Changed<I> = (Registered<<I as Interface>::Key>, Option<Departed<I>>);

/// Why a provider was not registered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegisterError<K> {
    /// There is a provider of this name; replace it, or withdraw it first.
    Taken {
        /// The interface.
        interface: &'static str,
        /// The key.
        key: K,
        /// The name.
        provider: &'static str,
    },
    /// There is no provider of this name to be replaced; register it.
    NotThere {
        /// The interface.
        interface: &'static str,
        /// The key.
        key: K,
        /// The name.
        provider: &'static str,
    },
    /// What the interface requires is not supported, or not declared. Nothing has changed: one that was to be replaced is there
    /// still.
    Unsupported(Vec<Mismatch<K>>),
}

impl<K: fmt::Display> fmt::Display for RegisterError<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RegisterError::Taken { interface, key, provider } => {
                write!(f, "{interface}@{provider} for {key} is there already; replace it, or withdraw it first")
            }
            RegisterError::NotThere { interface, key, provider } => {
                write!(f, "{interface}@{provider} for {key} is not there to be replaced; register it")
            }
            RegisterError::Unsupported(mismatches) => {
                for (at, mismatch) in mismatches.iter().enumerate() {
                    write!(f, "{}{mismatch}", if at == 0 { "" } else { "; " })?;
                }
                Ok(())
            }
        }
    }
}

impl<K: fmt::Display + fmt::Debug> std::error::Error for RegisterError<K> {}

impl<I: Interface + ?Sized> Registry<I> {
    /// An empty registry.
    pub fn new() -> Self {
        let desk = Desk {
            revision: 0,
            log: Log::new(),
            refused: VecDeque::new(),
            noted: Noted::new(),
            counts: RegistryCounts::default(),
        };
        Self {
            shared: Arc::new(Shared {
                shelves: Board::new(HashMap::default()),
                desk: Mutex::new(desk),
                changes: Notifications::new(),
                hooks: Arc::default(),
                seats: Arc::new(Seats(Mutex::new(Vec::new()))),
            }),
        }
    }

    /// A service under a key and a name of its provider, to be [registered](Registry::register).
    pub fn offer(&self, key: I::Key, provider: &'static str, service: Arc<I>) -> Offer<I> {
        Offer::new(key, provider, service)
    }

    /// Registers a provider.
    ///
    /// It is found by whoever looks after this has returned. Costs a copy of the map, of one count per key.
    ///
    /// # Errors
    /// When there is one of its name, or it does not support what the interface requires. Less than what is expected is no
    /// error: see [`mismatches`](Registry::mismatches).
    pub fn register(&self, offer: Offer<I>) -> RegisterResult<I, Registered<I::Key>> {
        self.change(offer, Change::Registered).map(|(registered, _)| registered)
    }

    /// Puts a provider in the place of the one with its key and name.
    ///
    /// # Errors
    /// As [`register`](Registry::register), and when there is none of its name.
    pub fn replace(&self, offer: Offer<I>) -> RegisterResult<I, (Registered<I::Key>, Departed<I>)> {
        let (registered, before) = self.change(offer, Change::Replaced)?;
        Ok((registered, before.expect("a change that replaces has found what it replaces")))
    }

    /// Takes a provider out. `None` when there is none of that name.
    ///
    /// Those who hold it keep it; the answer says who.
    pub fn withdraw(&self, key: &I::Key, provider: &str) -> Option<Departed<I>> {
        self.take_out(key, provider, |_| true)
    }

    /// Takes out the provider that was registered then. `None` when it has left already, also when another has its name.
    pub fn withdraw_this(&self, registered: &Registered<I::Key>) -> Option<Departed<I>> {
        self.take_out(&registered.key, registered.provider, |number| number == registered.number)
    }

    /// The provider of that name.
    pub fn get(&self, key: &I::Key, provider: &str) -> Option<Lease<I>> {
        named(&self.shared.shelves.load().value, key, provider).map(Lease::unnamed)
    }

    /// The preferred provider that supports all of these fully: the lowest rank, then the name.
    pub fn fully(&self, key: &I::Key, capabilities: &[Capability]) -> Option<Lease<I>> {
        fully(&self.shared.shelves.load().value, key, capabilities).map(Lease::unnamed)
    }

    /// The provider that supports most of these fully, and the others in part. Among those that support as many, the preferred.
    pub fn best(&self, key: &I::Key, capabilities: &[Capability]) -> Option<Lease<I>> {
        best(&self.shared.shelves.load().value, key, capabilities).map(Lease::unnamed)
    }

    /// A reader for one thread that keeps what it has seen and looks only whether there is something newer. The name is what those
    /// are told who withdraw what it holds.
    pub fn reader(&self, name: &str) -> RegistryReader<I> {
        let kept = Kept::new(&self.shared.shelves);
        let seat = self.shared.seats.open(name, kept.held().revision);
        RegistryReader { shared: self.shared.clone(), kept, seat, marks: HashMap::default() }
    }

    /// How many changes there were.
    pub fn revision(&self) -> u64 {
        self.shared.shelves.revision()
    }

    /// What there is.
    pub fn list(&self) -> Listing<I::Key> {
        self.shared.listing()
    }

    /// What there is, and whoever hears of all that comes after it: no change is missing between the two, and none is in both.
    pub fn follow(&self) -> (Listing<I::Key>, Follower<I>) {
        let _desk = self.shared.desk.lock();
        let listing = self.shared.listing();
        let follower = Follower::new(self.shared.clone(), listing.revision);
        (listing, follower)
    }

    /// Has `hook` called after each change, on the thread that made it, as long as what this returns is there: to look at a
    /// [`Follower`], or to wake who does. Two changes at once may call it in any order. One that panics is counted, and called again.
    pub fn on_change(&self, hook: impl Fn() + Send + Sync + 'static) -> Hooked {
        Hooks::add(&self.shared.hooks, Arc::new(hook))
    }

    /// Where declarations do not fit: of all that are registered, and of those refused last.
    pub fn mismatches(&self) -> Vec<Mismatch<I::Key>> {
        let desk = self.shared.desk.lock();
        let shelf = self.shared.shelves.load();
        let mut registered: Vec<_> = shelf.value.values().flat_map(|among| among.iter()).collect();
        registered.sort_by_key(|provider| provider.number());
        let of = |provider: &&Arc<Provider<I>>| {
            let problems = provider.declaration().check(I::CAPABILITIES);
            let (key, name) = (provider.key().clone(), provider.name());
            problems.into_iter().map(move |(capability, problem)| mismatch::<I>(&key, name, capability, problem, false))
        };
        let mut all: Vec<_> = registered.iter().flat_map(of).collect();
        all.extend(desk.refused.iter().cloned());
        all
    }

    /// How much there was of each.
    pub fn counts(&self) -> RegistryCounts {
        self.shared.desk.lock().counts
    }

    fn change(&self, offer: Offer<I>, change: Change) -> RegisterResult<I, Changed<I>> {
        let problems = offer.declaration.check(I::CAPABILITIES);
        let refuses = problems.iter().any(|(_, problem)| problem.refuses());
        let (key, name) = (offer.key.clone(), offer.name);
        let mismatches = problems.into_iter();
        let mismatches: Vec<_> =
            mismatches.map(|(capability, problem)| mismatch::<I>(&key, name, capability, problem, refuses)).collect();
        // Should a key panic behind the lock, the service is not dropped there.
        let _service = offer.service.clone();
        let mut desk = self.shared.desk.lock();
        desk.counts.mismatches += mismatches.len() as u64;
        let shelf = self.shared.shelves.load();
        let before = named(&shelf.value, &key, name).cloned();
        let error = match (change, &before) {
            _ if refuses => {
                let error = mismatches.iter().filter(|mismatch| mismatch.problem.refuses()).cloned().collect();
                drop(desk.noted.extend(mismatches.clone()));
                desk.note_refused(&mismatches);
                Some(RegisterError::Unsupported(error))
            }
            (Change::Registered, Some(_)) => {
                Some(RegisterError::Taken { interface: I::NAME, key: key.clone(), provider: name })
            }
            (Change::Replaced, None) => {
                Some(RegisterError::NotThere { interface: I::NAME, key: key.clone(), provider: name })
            }
            _ => None,
        };
        if let Some(error) = error {
            desk.counts.refused += 1;
            drop(desk);
            // Nothing has changed but what does not fit, which is told, too.
            let _ = self.shared.changes.notify_all();
            return Err(error);
        }
        // What was refused under this name is over.
        desk.refused.retain(|mismatch| mismatch.provider != name || mismatch.key != key);
        let number = desk.revision + 1;
        let provider = Arc::new(Provider::new(offer, number));
        let others = among(&shelf.value, &key).iter().filter(|other| other.name() != name).cloned();
        let mut all: Vec<_> = others.chain([provider]).collect();
        all.sort_by_key(|provider| (provider.rank(), provider.name()));
        let mut next = shelf.value.clone();
        next.insert(key.clone(), all.into());
        let departed = before.as_ref().map(|before| self.departed(before, number));
        let over = self.publish(&mut desk, next, &key, name, change);
        let over = (over, desk.noted.extend(mismatches));
        drop(desk);
        // R-host outside.
        self.tell();
        drop((before, shelf, over));
        Ok((Registered { key, provider: name, number }, departed))
    }

    fn take_out(&self, key: &I::Key, provider: &str, is_meant: impl Fn(u64) -> bool) -> Option<Departed<I>> {
        let mut desk = self.shared.desk.lock();
        let shelf = self.shared.shelves.load();
        let before = named(&shelf.value, key, provider).filter(|provider| is_meant(provider.number())).cloned()?;
        let rest: Vec<_> =
            among(&shelf.value, key).iter().filter(|other| !Arc::ptr_eq(other, &before)).cloned().collect();
        let mut next = shelf.value.clone();
        match rest.is_empty() {
            true => next.remove(key),
            false => next.insert(key.clone(), rest.into()),
        };
        let departed = self.departed(&before, desk.revision + 1);
        let over = self.publish(&mut desk, next, key, before.name(), Change::Withdrawn);
        drop(desk);
        self.tell();
        drop((before, shelf, over));
        Some(departed)
    }

    /// Makes the next revision (R-one desk, R-announced). Returns what is to be dropped outside.
    fn publish(
        &self,
        desk: &mut Desk<I>,
        next: Shelf<I>,
        key: &I::Key,
        provider: &'static str,
        change: Change,
    ) -> impl Sized + use<I> {
        let revision = desk.revision + 1;
        // Made first: a key that panics as it is cloned must not leave a change behind that nobody hears of.
        let announcement = Announcement { revision, interface: I::NAME, key: key.clone(), provider, change };
        desk.revision = revision;
        let over = self.shared.shelves.put(revision, next);
        let over = (over, desk.log.push(announcement));
        match change {
            Change::Registered => desk.counts.registered += 1,
            Change::Replaced => desk.counts.replaced += 1,
            Change::Withdrawn => desk.counts.withdrawn += 1,
        }
        over
    }

    fn departed(&self, provider: &Arc<Provider<I>>, left: u64) -> Departed<I> {
        Departed {
            provider: Arc::downgrade(provider),
            origin: provider.origin(),
            number: provider.number(),
            left,
            seats: self.shared.seats.clone(),
        }
    }

    fn tell(&self) {
        let _ = self.shared.changes.notify_all();
        let panics = self.shared.hooks.call();
        if panics > 0 {
            self.shared.desk.lock().counts.hook_panics += panics;
        }
    }
}

impl<I: Interface + ?Sized> Shared<I> {
    pub(super) fn listing(&self) -> Listing<I::Key> {
        let shelf = self.shelves.load();
        let row = |provider: &Arc<Provider<I>>| Row {
            key: provider.key().clone(),
            provider: provider.name(),
            origin: provider.origin(),
            rank: provider.rank(),
            number: provider.number(),
            support: support::<I>(provider),
            holders: provider.leases(),
        };
        let mut providers: Vec<_> = shelf.value.values().flat_map(|among| among.iter()).map(row).collect();
        // Those of one key are in order already.
        providers.sort_by(|one, other| one.key.cmp(&other.key));
        Listing { revision: shelf.revision, providers }
    }
}

impl<I: Interface + ?Sized> Desk<I> {
    fn note_refused(&mut self, mismatches: &[Mismatch<I::Key>]) {
        let is_same = |one: &Mismatch<I::Key>, other: &Mismatch<I::Key>| {
            (one.provider, one.capability) == (other.provider, other.capability) && one.key == other.key
        };
        // Whoever offers the same again and again does not push out the others.
        self.refused.retain(|old| !mismatches.iter().any(|new| is_same(old, new)));
        self.refused.extend(mismatches.iter().cloned());
        let over = self.refused.len().saturating_sub(REFUSED_MAX);
        self.refused.drain(..over);
    }
}

fn mismatch<I: Interface + ?Sized>(
    key: &I::Key,
    provider: &'static str,
    capability: Capability,
    problem: super::capability::Problem,
    refused: bool,
) -> Mismatch<I::Key> {
    Mismatch { interface: I::NAME, key: key.clone(), provider, capability, problem, refused }
}

fn support<I: Interface + ?Sized>(provider: &Provider<I>) -> Vec<(Capability, Support)> {
    let of = |need: &Need| (need.capability, provider.support(need.capability).clone());
    I::CAPABILITIES.iter().map(of).collect()
}

impl<I: Interface + ?Sized> Clone for Registry<I> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<I: Interface + ?Sized> Default for Registry<I> {
    fn default() -> Self {
        Self::new()
    }
}

impl<I: Interface + ?Sized> fmt::Debug for Registry<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("interface", &I::NAME).field("revision", &self.revision()).finish()
    }
}

/// Finds providers in hot loops: as long as nothing was changed, a look is one look at a number, and then the map.
///
/// It keeps alive what it saw last until its next look.
pub struct RegistryReader<I: Interface + ?Sized> {
    shared: Arc<Shared<I>>,
    kept: Kept<Shelf<I>>,
    seat: Arc<Seat>,
    /// By the providers' numbers.
    marks: HashMap<u64, Arc<Mark>, foldhash::fast::RandomState>,
}

impl<I: Interface + ?Sized> RegistryReader<I> {
    /// The provider of that name.
    #[inline]
    pub fn get(&mut self, key: &I::Key, provider: &str) -> Option<&Provider<I>> {
        named(self.look(), key, provider).map(|provider| &**provider)
    }

    /// All providers of that key: by rank, then by name.
    pub fn all(&mut self, key: &I::Key) -> impl Iterator<Item = &Provider<I>> {
        among(self.look(), key).iter().map(|provider| &**provider)
    }

    /// As [`Registry::fully`].
    #[inline]
    pub fn fully(&mut self, key: &I::Key, capabilities: &[Capability]) -> Option<&Provider<I>> {
        fully(self.look(), key, capabilities).map(|provider| &**provider)
    }

    /// As [`Registry::best`].
    #[inline]
    pub fn best(&mut self, key: &I::Key, capabilities: &[Capability]) -> Option<&Provider<I>> {
        best(self.look(), key, capabilities).map(|provider| &**provider)
    }

    /// The provider of that name, held beyond the next look, in this reader's name.
    pub fn lease(&mut self, key: &I::Key, provider: &str) -> Option<Lease<I>> {
        self.look();
        let Self { kept, seat, marks, .. } = self;
        let provider = named(&kept.held().value, key, provider)?;
        let mark = marks.entry(provider.number()).or_insert_with(|| provider.mark(&seat.name));
        Some(Lease::new(provider, mark))
    }

    /// Which revision the last look saw.
    pub fn revision(&self) -> u64 {
        self.kept.held().revision
    }

    #[inline]
    fn look(&mut self) -> &Shelf<I> {
        if self.kept.refresh(&self.shared.shelves) {
            self.note_look();
        }
        &self.kept.held().value
    }

    #[cold]
    fn note_look(&mut self) {
        self.marks.clear();
        self.seat.revision.store(self.kept.held().revision, Relaxed);
    }
}

impl<I: Interface + ?Sized> Clone for RegistryReader<I> {
    fn clone(&self) -> Self {
        Registry { shared: self.shared.clone() }.reader(&self.seat.name)
    }
}

impl<I: Interface + ?Sized> fmt::Debug for RegistryReader<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryReader").field("name", &self.seat.name).field("revision", &self.revision()).finish()
    }
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;

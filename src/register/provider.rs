//! Who provides a service, and who holds it.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Weak};

use crate::origin::Origin;
use crate::sync::{AtomicU64, Mutex, Ordering::Relaxed};

use super::board::Board;
use super::capability::{Capability, Declaration, Support};
use super::registry::{Interface, Seats};

/// The name of those who look without a name.
const UNNAMED: &str = "(unnamed)";

/// A service as it is found in a registry: dereferences to the host's interface.
pub struct Provider<I: Interface + ?Sized> {
    key: I::Key,
    name: &'static str,
    rank: u32,
    /// The revision that it came with; no other of this registry has it.
    number: u64,
    declaration: Declaration,
    marks: Mutex<Vec<Arc<Mark>>>,
    unnamed: Arc<Mark>,
    service: Arc<I>,
}

/// How many leases somebody has of one provider.
pub(super) struct Mark {
    holder: Arc<str>,
    leases: AtomicU64,
}

impl Mark {
    fn new(holder: Arc<str>) -> Arc<Self> {
        Arc::new(Self { holder, leases: AtomicU64::new(0) })
    }
}

impl<I: Interface + ?Sized> Provider<I> {
    pub(super) fn new(offer: Offer<I>, number: u64) -> Self {
        let Offer { key, name, rank, declaration, service } = offer;
        let unnamed = Mark::new(UNNAMED.into());
        let marks = Mutex::new(vec![unnamed.clone()]);
        Self { key, name, rank, number, declaration, marks, unnamed, service }
    }

    /// What it was registered under.
    pub fn key(&self) -> &I::Key {
        &self.key
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its rank among the providers of its key; lower is preferred.
    pub fn rank(&self) -> u32 {
        self.rank
    }

    /// The revision that it came with, which tells it from one of the same name before or after it.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// What it says of itself.
    pub fn declaration(&self) -> &Declaration {
        &self.declaration
    }

    /// How far it supports a capability.
    pub fn support(&self, capability: Capability) -> &Support {
        self.declaration.support(capability)
    }

    /// Whether it supports all of them fully.
    pub fn is_full(&self, capabilities: &[Capability]) -> bool {
        capabilities.iter().all(|capability| *self.support(*capability) == Support::Full)
    }

    /// Who its events are about, as [`Origin::service`] has it.
    pub fn origin(&self) -> Origin {
        Origin::service(I::NAME, self.name, I::id(&self.key))
    }

    /// Who has leases of it, and how many.
    pub(super) fn leases(&self) -> Vec<Holder> {
        let marks = self.marks.lock();
        let held = marks.iter().map(|mark| (mark, mark.leases.load(Relaxed))).filter(|(_, leases)| *leases > 0);
        held.map(|(mark, leases)| Holder { name: mark.holder.clone(), leases, looks: 0 }).collect()
    }

    /// The mark of one who looks by name. Marks are as many as names of those who are there.
    pub(super) fn mark(&self, holder: &Arc<str>) -> Arc<Mark> {
        let mut marks = self.marks.lock();
        if let Some(mark) = marks.iter().find(|mark| mark.holder == *holder) {
            return mark.clone();
        }
        // Those whom nobody can look with any more, and who hold nothing.
        marks.retain(|mark| Arc::strong_count(mark) > 1);
        let mark = Mark::new(holder.clone());
        marks.push(mark.clone());
        mark
    }
}

impl<I: Interface + ?Sized> Deref for Provider<I> {
    type Target = I;

    fn deref(&self) -> &I {
        &self.service
    }
}

impl<I: Interface + ?Sized> fmt::Debug for Provider<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider")
            .field("origin", &format_args!("{}", self.origin()))
            .field("rank", &self.rank)
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

/// A service that is to be registered; see [`Registry::offer`](super::Registry::offer).
pub struct Offer<I: Interface + ?Sized> {
    pub(super) key: I::Key,
    pub(super) name: &'static str,
    pub(super) rank: u32,
    pub(super) declaration: Declaration,
    pub(super) service: Arc<I>,
}

impl<I: Interface + ?Sized> Offer<I> {
    pub(super) fn new(key: I::Key, provider: &'static str, service: Arc<I>) -> Self {
        Self { key, name: provider, rank: 0, declaration: Declaration::new(), service }
    }

    /// What it supports; nothing if it is not said.
    pub fn declare(mut self, declaration: Declaration) -> Self {
        self.declaration = declaration;
        self
    }

    /// Its rank among the providers of its key; lower is preferred. 0 if it is not said; where ranks tie, names decide.
    pub fn rank(mut self, rank: u32) -> Self {
        self.rank = rank;
        self
    }
}

impl<I: Interface + ?Sized> fmt::Debug for Offer<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, name, rank, .. } = self;
        write!(f, "Offer({}@{name} for {key}, rank {rank})", I::NAME)
    }
}

/// A provider, held for as long as one likes: it stays whole when it is replaced or withdrawn meanwhile, and whoever withdraws it
/// is told who holds it.
pub struct Lease<I: Interface + ?Sized> {
    provider: Arc<Provider<I>>,
    mark: Arc<Mark>,
}

impl<I: Interface + ?Sized> Lease<I> {
    pub(super) fn unnamed(provider: &Arc<Provider<I>>) -> Self {
        Self::new(provider, &provider.unnamed)
    }

    pub(super) fn new(provider: &Arc<Provider<I>>, mark: &Arc<Mark>) -> Self {
        mark.leases.fetch_add(1, Relaxed);
        Self { provider: provider.clone(), mark: mark.clone() }
    }

    /// The provider, with what it says of itself.
    pub fn provider(&self) -> &Provider<I> {
        &self.provider
    }
}

impl<I: Interface + ?Sized> Clone for Lease<I> {
    fn clone(&self) -> Self {
        Self::new(&self.provider, &self.mark)
    }
}

impl<I: Interface + ?Sized> Drop for Lease<I> {
    fn drop(&mut self) {
        self.mark.leases.fetch_sub(1, Relaxed);
    }
}

impl<I: Interface + ?Sized> Deref for Lease<I> {
    type Target = I;

    fn deref(&self) -> &I {
        &self.provider.service
    }
}

impl<I: Interface + ?Sized> fmt::Debug for Lease<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lease").field(&self.provider).finish()
    }
}

/// Somebody who holds a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The name that the reader was given; `(unnamed)` for leases from the registry itself.
    pub name: Arc<str>,
    /// How many leases.
    pub leases: u64,
    /// How many readers of this name have not looked since it left. What they saw last has it still; their next look lets go
    /// of it.
    pub looks: u64,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, leases, looks } = self;
        match (leases, looks) {
            (0, _) => write!(f, "{name} (has not looked since)"),
            (leases, 0) => write!(f, "{name} ({leases} leases)"),
            (leases, _) => write!(f, "{name} ({leases} leases, and has not looked since)"),
        }
    }
}

/// A provider that was replaced or withdrawn. Nobody finds it any more; those who hold it keep it until they let go.
///
/// This does not hold it.
pub struct Departed<I: Interface + ?Sized> {
    pub(super) provider: Weak<Provider<I>>,
    pub(super) origin: Origin,
    pub(super) number: u64,
    /// The revision that it left with.
    pub(super) left: u64,
    pub(super) seats: Arc<Seats>,
}

impl<I: Interface + ?Sized> Departed<I> {
    /// Who it was.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Whether it has been dropped.
    pub fn is_gone(&self) -> bool {
        self.provider.strong_count() == 0
    }

    /// Who holds it still, by name. Nobody when it is gone.
    pub fn held_by(&self) -> Vec<Holder> {
        let Some(provider) = self.provider.upgrade() else { return Vec::new() };
        let mut holders = provider.leases();
        for name in self.seats.between(self.number, self.left) {
            match holders.iter_mut().find(|holder| holder.name == name) {
                Some(holder) => holder.looks += 1,
                None => holders.push(Holder { name, leases: 0, looks: 1 }),
            }
        }
        holders.sort_by(|one, other| one.name.cmp(&other.name));
        holders
    }
}

impl<I: Interface + ?Sized> fmt::Debug for Departed<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Departed({}, held by {:?})", self.origin, self.held_by())
    }
}

/// A lookup that is the same for all who look.
pub(super) type Shelf<I> = std::collections::HashMap<<I as Interface>::Key, Among<I>, foldhash::fast::RandomState>;

/// The providers of one key: by rank, then by name.
pub(super) type Among<I> = Arc<[Arc<Provider<I>>]>;

/// Where the newest shelf is.
pub(super) type Shelves<I> = Board<Shelf<I>>;

pub(super) fn among<'a, I: Interface + ?Sized>(shelf: &'a Shelf<I>, key: &I::Key) -> &'a [Arc<Provider<I>>] {
    shelf.get(key).map_or(&[], |among| among)
}

pub(super) fn named<'a, I: Interface + ?Sized>(
    shelf: &'a Shelf<I>,
    key: &I::Key,
    name: &str,
) -> Option<&'a Arc<Provider<I>>> {
    among(shelf, key).iter().find(|provider| provider.name == name)
}

/// The preferred one of those that support all of it fully.
pub(super) fn fully<'a, I: Interface + ?Sized>(
    shelf: &'a Shelf<I>,
    key: &I::Key,
    capabilities: &[Capability],
) -> Option<&'a Arc<Provider<I>>> {
    among(shelf, key).iter().find(|provider| provider.is_full(capabilities))
}

/// As [`fully`], or else the preferred one of those that support most of it fully and each of it in part at least.
pub(super) fn best<'a, I: Interface + ?Sized>(
    shelf: &'a Shelf<I>,
    key: &I::Key,
    capabilities: &[Capability],
) -> Option<&'a Arc<Provider<I>>> {
    let supports = |provider: &Provider<I>, capability: &Capability| *provider.support(*capability) != Support::None;
    let in_part = |provider: &&Arc<Provider<I>>| capabilities.iter().all(|capability| supports(provider, capability));
    let short = |provider: &&Arc<Provider<I>>| {
        capabilities.iter().filter(|capability| *provider.support(**capability) != Support::Full).count()
    };
    among(shelf, key).iter().filter(in_part).min_by_key(short)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::register::Need;

    trait Nothing: Send + Sync {}

    impl Nothing for () {}

    impl Interface for dyn Nothing {
        type Key = u64;
        const NAME: &'static str = "nothing";
        const CAPABILITIES: &'static [Need] = &[];

        fn id(key: &u64) -> u64 {
            *key
        }
    }

    #[test]
    fn readers_that_come_and_go_leave_no_marks() {
        let registry = crate::register::Registry::<dyn Nothing>::new();
        registry.register(registry.offer(1, "a", Arc::new(()))).unwrap();
        let held = registry.reader("stays").lease(&1, "a").unwrap();
        for n in 0..1_000 {
            let mut reader = registry.reader(&format!("reader {n}"));
            let (one, other) = (reader.lease(&1, "a").unwrap(), reader.lease(&1, "a").unwrap());
            drop((reader, one));
            let names: Vec<_> = held.provider().leases().iter().map(|holder| holder.name.to_string()).collect();
            assert_eq!(names, ["stays".to_owned(), format!("reader {n}")]);
            drop(other);
        }
        assert!(held.provider().marks.lock().len() <= 4);
        assert_eq!(held.provider().leases().len(), 1);
    }
}

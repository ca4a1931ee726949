//! Registries of many interfaces in one place, found by type.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use event_listener::Event as Changes;

use super::announce::Cries;
use super::board::Board;
use super::capability::Mismatch;
use super::follow::Row;
use super::registry::{Interface, Registry};
use crate::sync::Mutex;

/// One registry for each interface of a host, found by the interface's type. Cheap to clone; all clones are the same.
///
/// ```
/// use std::sync::Arc;
/// use mainlane::register::{Capability, Declaration, Interface, Need, Registries};
///
/// trait VersionControl: Send + Sync {
///     fn branch(&self) -> String;
/// }
/// const BRANCH: Capability = Capability::new("branch");
/// const BLAME: Capability = Capability::new("blame");
/// impl Interface for dyn VersionControl {
///     type Key = u64;
///     const NAME: &'static str = "version-control";
///     const CAPABILITIES: &'static [Need] = &[Need::required(BRANCH), Need::expected(BLAME)];
///     fn id(worktree: &u64) -> u64 { *worktree }
/// }
///
/// struct Git;
/// impl VersionControl for Git {
///     fn branch(&self) -> String { "main".into() }
/// }
///
/// let registries = Registries::new();
/// registries.add::<dyn VersionControl>()?;
///
/// // Anywhere else, at any time: no name is looked up, the type is the way.
/// let registry = registries.get::<dyn VersionControl>().expect("it was added");
/// let declared = Declaration::new().full(BRANCH).partial(BLAME, "renames");
/// registry.register(registry.offer(7, "git", Arc::new(Git)).declare(declared))?;
///
/// let mut reader = registry.reader("status line");
/// assert_eq!(reader.fully(&7, &[BRANCH]).map(|git| git.branch()), Some("main".into()));
/// assert!(reader.fully(&7, &[BRANCH, BLAME]).is_none(), "nobody supports both in full");
/// assert_eq!(registries.mismatches().len(), 1);
/// println!("{registries}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Registries {
    shared: Arc<Shared>,
}

struct Shared {
    by_type: Board<ByType>,
    /// How many were added; held while one is (G1).
    added: Mutex<u64>,
    additions: Changes,
}

type ByType = HashMap<TypeId, Added, foldhash::fast::RandomState>;

#[derive(Clone)]
struct Added {
    /// Which one of those that were added, counted from one.
    number: u64,
    registry: Arc<dyn Listed>,
}

/// What registries of all interfaces have in common.
trait Listed: Any + Send + Sync {
    fn name(&self) -> &'static str;
    fn rows(&self) -> Vec<Row<String>>;
    fn mismatches(&self) -> Vec<Mismatch<String>>;
    fn crier(&self, from_the_beginning: bool) -> Box<dyn Cries>;
}

impl<I: Interface + ?Sized> Listed for Registry<I> {
    fn name(&self) -> &'static str {
        I::NAME
    }

    fn rows(&self) -> Vec<Row<String>> {
        let row = |row: Row<I::Key>| {
            let Row { key, provider, origin, rank, number, support, holders } = row;
            Row { key: key.to_string(), provider, origin, rank, number, support, holders }
        };
        self.list().providers.into_iter().map(row).collect()
    }

    fn mismatches(&self) -> Vec<Mismatch<String>> {
        let all = Registry::mismatches(self).into_iter();
        all.map(|mismatch| mismatch.with_key(|key| key.to_string())).collect()
    }

    fn crier(&self, from_the_beginning: bool) -> Box<dyn Cries> {
        Registry::crier(self, from_the_beginning)
    }
}

/// Why a registry could not be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegistriesError {
    /// There is a registry of this interface.
    AlreadyThere {
        /// Its name.
        interface: &'static str,
    },
    /// Another interface has this name. Origins of the two could not be told apart.
    NameTaken {
        /// The name.
        interface: &'static str,
    },
    /// The interface names a capability more than once.
    CapabilityTwice {
        /// Its name.
        interface: &'static str,
        /// The capability's name.
        capability: &'static str,
    },
}

impl fmt::Display for RegistriesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RegistriesError::AlreadyThere { interface } => {
                write!(f, "there is a registry of `{interface}` already; get it")
            }
            RegistriesError::NameTaken { interface } => {
                write!(f, "another interface is named `{interface}`; give this one a name of its own")
            }
            RegistriesError::CapabilityTwice { interface, capability } => {
                write!(f, "`{interface}` names the capability `{capability}` more than once")
            }
        }
    }
}

impl std::error::Error for RegistriesError {}

impl Registries {
    /// None yet.
    pub fn new() -> Self {
        let (by_type, added) = (Board::new(HashMap::default()), Mutex::new(0));
        Self { shared: Arc::new(Shared { by_type, added, additions: Changes::new() }) }
    }

    /// Adds an empty registry of an interface.
    ///
    /// # Errors
    /// When there is one, when another interface has the same name, or when it names a capability twice.
    pub fn add<I: Interface + ?Sized>(&self) -> Result<Registry<I>, RegistriesError> {
        let interface = I::NAME;
        let needs = I::CAPABILITIES;
        let is_twice =
            |(at, need): &(usize, &super::Need)| needs[..*at].iter().any(|other| other.capability == need.capability);
        if let Some((_, need)) = needs.iter().enumerate().find(is_twice) {
            return Err(RegistriesError::CapabilityTwice { interface, capability: need.capability.name() });
        }
        let mut added = self.shared.added.lock();
        let before = self.shared.by_type.load();
        if before.value.contains_key(&TypeId::of::<I>()) {
            return Err(RegistriesError::AlreadyThere { interface });
        }
        if before.value.values().any(|other| other.registry.name() == interface) {
            return Err(RegistriesError::NameTaken { interface });
        }
        let registry = Registry::<I>::new();
        let mut next = before.value.clone();
        *added += 1;
        next.insert(TypeId::of::<I>(), Added { number: *added, registry: Arc::new(registry.clone()) });
        // Registries are never taken out: what is dropped here is a map of counts.
        drop(self.shared.by_type.put(*added, next));
        self.shared.additions.notify(usize::MAX);
        Ok(registry)
    }

    /// How many registries were added.
    pub(super) fn added(&self) -> u64 {
        self.shared.by_type.revision()
    }

    /// Told when one is.
    pub(super) fn additions(&self) -> &Changes {
        &self.shared.additions
    }

    /// For those that were added after the first `known`, in that order; and how many there are in all.
    pub(super) fn criers(&self, known: u64, from_the_beginning: bool) -> (u64, Vec<Box<dyn Cries>>) {
        let by_type = self.shared.by_type.load();
        let mut new: Vec<_> = by_type.value.values().filter(|added| added.number > known).collect();
        new.sort_by_key(|added| added.number);
        (by_type.revision, new.into_iter().map(|added| added.registry.crier(from_the_beginning)).collect())
    }

    /// The registry of an interface; `None` when it was not added. Takes no lock.
    pub fn get<I: Interface + ?Sized>(&self) -> Option<Registry<I>> {
        let by_type = self.shared.by_type.load();
        let registry: &dyn Any = &*by_type.value.get(&TypeId::of::<I>())?.registry;
        registry.downcast_ref::<Registry<I>>().cloned()
    }

    /// All providers of all interfaces: by the interface's name, then by key, rank and name. Each interface is as it was at one
    /// moment; not all of them at the same.
    pub fn list(&self) -> Vec<(&'static str, Vec<Row<String>>)> {
        self.sorted().into_iter().map(|registry| (registry.name(), registry.rows())).collect()
    }

    /// Where declarations do not fit, in all interfaces.
    pub fn mismatches(&self) -> Vec<Mismatch<String>> {
        self.sorted().into_iter().flat_map(|registry| registry.mismatches()).collect()
    }

    fn sorted(&self) -> Vec<Arc<dyn Listed>> {
        let by_type = self.shared.by_type.load();
        let mut all: Vec<_> = by_type.value.values().map(|added| added.registry.clone()).collect();
        all.sort_by_key(|registry| registry.name());
        all
    }
}

impl Default for Registries {
    fn default() -> Self {
        Self::new()
    }
}

/// A line for each provider, and one for each mismatch.
impl fmt::Display for Registries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (interface, rows) in self.list() {
            writeln!(f, "{interface}: {} providers", rows.len())?;
            for Row { key, provider, rank, support, holders, .. } in rows {
                write!(f, "  {provider} for {key}, rank {rank}")?;
                for (capability, support) in support {
                    write!(f, "; {capability}: {support}")?;
                }
                for (at, holder) in holders.iter().enumerate() {
                    write!(f, "{}{holder}", if at == 0 { "; held by " } else { ", " })?;
                }
                writeln!(f)?;
            }
        }
        self.mismatches().iter().try_for_each(|mismatch| writeln!(f, "mismatch: {mismatch}"))
    }
}

impl fmt::Debug for Registries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.sorted().iter().map(|registry| registry.name())).finish()
    }
}

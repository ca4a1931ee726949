//! The register: many projects in one host, who provides which service, and whether what mirrors the outside world is equal to it.
//!
//! | part | what it is |
//! |------|------------|
//! | [`Register`], [`Project`] | the composition root: it owns all that follows, and the bus and the control panel |
//! | [`Crew`], [`Hosted`] | many projects: their main lanes on a few threads, or in the host's loop |
//! | [`Registries`], [`Registry`] | providers of typed interfaces, by key and name; found without a lock, changed at any time |
//! | [`Declaration`], [`Mismatch`] | what a provider says of itself, and where that does not fit its interface |
//! | [`Follower`], [`RegistryNews`] | hears of every provider that comes, is replaced, or leaves; the same on a bus |
//! | [`OperationsView`] | what became of operations, as a part of the state |
//! | [`OperationFollower`] | one operation to its end, by its signals and by what snapshots say |
//! | [`Mirror`], [`Divergence`] | whether what mirrors something outside is equal to it |

#[cfg(feature = "register")]
mod announce;
#[cfg(feature = "register")]
mod board;
#[cfg(feature = "register")]
mod capability;
mod divergence;
#[cfg(feature = "register")]
mod crew;
#[cfg(feature = "register")]
mod ending;
#[cfg(feature = "register")]
mod follow;
#[cfg(feature = "register")]
mod hooks;
#[cfg(feature = "register")]
mod operations;
#[cfg(feature = "register")]
mod provider;
#[cfg(feature = "register")]
mod registries;
#[cfg(feature = "register")]
mod registry;
#[cfg(feature = "register")]
mod root;
#[cfg(feature = "register")]
mod waits;

#[cfg(feature = "register")]
pub use announce::{Announcing, RegistryNews};
#[cfg(feature = "register")]
pub use capability::{Capability, Declaration, Level, Mismatch, Need, Problem, Support};
#[cfg(feature = "register")]
pub use crew::status::{CrewCounters, CrewReport, ProjectState, ProjectStatus};
#[cfg(feature = "register")]
pub use crew::{Crew, CrewBuilder, CrewError, CrewLeft, CrewTurn, Hosted, LINGER, SPARES, STUCK_AFTER};
pub use divergence::{Comparison, Divergence, Mirror};
#[cfg(feature = "register")]
pub use ending::{OperationFollower, OperationNews};
#[cfg(feature = "register")]
pub use follow::{ANNOUNCEMENTS, Announcement, Change, Follower, Heard, Listing, Row};
#[cfg(feature = "register")]
pub use hooks::Hooked;
#[cfg(feature = "register")]
pub use operations::{EndedOperation, Followed, FollowedCounts, OpenOperation, OperationsView};
#[cfg(feature = "register")]
pub use provider::{Departed, Holder, Lease, Offer, Provider};
#[cfg(feature = "register")]
pub use registries::{Registries, RegistriesError};
#[cfg(feature = "register")]
pub use registry::{
    Interface, REFUSED_MAX, RegisterError, RegisterResult, Registered, Registry, RegistryCounts, RegistryReader,
};
#[cfg(feature = "register")]
pub use root::{
    Condition, HealthNode, OpenError, Project, ProjectChanged, ProjectError, ProjectPhase, ProjectSpec, Register,
    RegisterBuilder, RegisterFault, RegisterReport, Reopen,
};

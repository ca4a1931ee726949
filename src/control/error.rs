//! What can go wrong in setting up workers.

use std::fmt;

use crate::control::maintenance::MaintenanceError;
use crate::error::Error;

/// Why a worker or a group could not be set up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ControlError {
    /// It has no name.
    Unnamed,
    /// There is a worker or a group of this name already.
    Taken {
        /// The name.
        name: String,
    },
    /// There is no worker or group of this name.
    Unknown {
        /// The name.
        name: String,
    },
    /// It would come after itself: through a group that it is in, or that comes after it.
    Circular {
        /// The name.
        name: String,
    },
    /// It needs a runtime, and the panel was told to have none.
    NoRuntime {
        /// The worker.
        worker: String,
    },
    /// The runtime that was given has one thread alone.
    RuntimeUnfit,
    /// No runtime could be made.
    Runtime {
        /// What the system said.
        reason: String,
    },
    /// The lane could not be opened.
    Lane(Error),
    /// A maintenance queue could not be made.
    Maintenance(MaintenanceError),
    /// The system refused the panel's thread.
    Thread {
        /// What the system said.
        reason: String,
    },
    /// Signals cannot be listened for.
    Signals {
        /// What the system said.
        reason: String,
    },
    /// A setting would have no effect.
    Ignored {
        /// The worker.
        worker: String,
        /// The setting.
        setting: &'static str,
        /// Why it has none, and what to do.
        why: &'static str,
    },
    /// The panel has been shut down.
    Closed,
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ControlError::Unnamed => f.write_str("a worker needs a name; it is what its status and diagnostics call it"),
            ControlError::Taken { name } => write!(f, "there is a worker or group `{name}` already; remove it, or choose another name"),
            ControlError::Unknown { name } => write!(f, "there is no worker or group `{name}`; register it first"),
            ControlError::Circular { name } => {
                write!(f, "`{name}` would have to wait for itself; let it come after workers outside of its own groups")
            }
            ControlError::NoRuntime { worker } => {
                write!(f, "worker `{worker}` needs a runtime, and the panel has `RuntimeChoice::None`; run it as a thread")
            }
            ControlError::RuntimeUnfit => f.write_str(
                "the runtime that was given has one thread, and moves its tasks only while that is inside `block_on`; give one with several, \
                 or choose `RuntimeChoice::Owned`",
            ),
            ControlError::Runtime { reason } => write!(f, "no runtime could be made: {reason}"),
            ControlError::Lane(error) => write!(f, "the worker's lane could not be opened: {error}"),
            ControlError::Maintenance(error) => write!(f, "the maintenance queue could not be made: {error}"),
            ControlError::Thread { reason } => write!(f, "the control panel's thread could not be started: {reason}"),
            ControlError::Signals { reason } => write!(f, "signals cannot be listened for: {reason}"),
            ControlError::Ignored { worker, setting, why } => {
                write!(f, "worker `{worker}`: the setting `{setting}` would be ignored: {why}")
            }
            ControlError::Closed => f.write_str("the control panel has been shut down; start a new one"),
        }
    }
}

impl std::error::Error for ControlError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ControlError::Lane(error) => Some(error),
            ControlError::Maintenance(error) => Some(error),
            _ => None,
        }
    }
}

//! What can go wrong in setting up subscriptions and buses.

use std::fmt;
use std::sync::Arc;

use crate::signal::policy::WAITING_MAX;

/// What can go wrong in setting up subscriptions and buses.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignalError {
    /// So many signals cannot wait for one subscriber.
    Waiting {
        /// The subscription.
        name: Arc<str>,
        /// How many were asked for.
        asked: usize,
    },
    /// A setting that this kind of subscription does not use.
    Unused {
        /// The subscription.
        name: Arc<str>,
        /// The setting.
        setting: &'static str,
    },
    /// The system refused a thread.
    Thread {
        /// Its name.
        name: String,
        /// Why.
        reason: String,
    },
    /// The bus was shut down.
    Closed,
}

impl fmt::Display for SignalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting { name, asked } => {
                write!(
                    f,
                    "the subscription `{name}` asks for a queue of {asked} signals; from 1 to {WAITING_MAX} can wait"
                )
            }
            Self::Unused { name, setting } => {
                write!(f, "the subscription `{name}` sets `{setting}`, which is for handlers, and has none")
            }
            Self::Thread { name, reason } => write!(f, "the thread `{name}` could not be started: {reason}"),
            Self::Closed => f.write_str("the bus was shut down: subscribe before that, or start another one"),
        }
    }
}

impl std::error::Error for SignalError {}

//! Signals, for hosts that do not listen for them themselves.
//!
//! The first signal cancels the host's token, on a thread. From then on a signal does what it does by default, from within the handler:
//! a host that hangs as it shuts down can still be ended, whatever its threads are doing.

use std::fmt;

use tokio_util::sync::CancellationToken;

use crate::control::error::ControlError;

/// Cancels `token` at the first SIGINT, SIGTERM or SIGHUP. A second one ends the process as it does by default.
///
/// Give a clone of the token to [`stop_with`](crate::control::PanelBuilder::stop_with), and keep the guard until the end of `main`. It
/// costs one thread, which sleeps. Signals that come before the first one was taken in count as one with it: a terminal that is closed
/// may send several. Nothing is installed unless this is called; a host that listens for signals itself cancels the token itself.
///
/// # Errors
/// [`ControlError::Signals`], when the system refuses, or has no such signals: they are Unix's.
pub fn stop_on_signals(token: CancellationToken) -> Result<SignalGuard, ControlError> {
    Ok(SignalGuard { _listening: listening::Listening::start(token)? })
}

/// Listens for signals until it is dropped; see [`stop_on_signals`].
///
/// Dropping it ends and joins its thread. After that these signals do *nothing*, unless somebody else listens for them: their default
/// does not come back.
#[must_use = "signals are listened for until this is dropped"]
pub struct SignalGuard {
    _listening: listening::Listening,
}

impl fmt::Debug for SignalGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignalGuard").finish_non_exhaustive()
    }
}

#[cfg(unix)]
mod listening {
    use std::thread::JoinHandle;

    use signal_hook::SigId;
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::iterator::{Handle, Signals};
    use signal_hook::{flag, low_level};

    use super::{CancellationToken, ControlError};
    use crate::core::contain;
    use crate::sync::{Arc, AtomicBool, Ordering::Relaxed};

    const SIGNALS: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

    pub(super) struct Listening {
        signals: Handle,
        thread: Option<JoinHandle<()>>,
        _second: SecondEnds,
    }

    impl Listening {
        pub(super) fn start(token: CancellationToken) -> Result<Self, ControlError> {
            let refused = |error: std::io::Error| ControlError::Signals { reason: error.to_string() };
            let first_came = Arc::new(AtomicBool::new(false));
            let mut second = SecondEnds(Vec::with_capacity(SIGNALS.len()));
            for signal in SIGNALS {
                second.0.push(flag::register_conditional_default(signal, first_came.clone()).map_err(refused)?);
            }
            let mut signals = Signals::new(SIGNALS).map_err(refused)?;
            let handle = signals.handle();
            let listen = move || {
                if signals.forever().next().is_some() {
                    // Before the token, whose cancellation runs whatever the host has hung on it. Hands nothing over.
                    first_came.store(true, Relaxed);
                    let _ = contain(|| token.cancel());
                }
            };
            let thread =
                std::thread::Builder::new().name("mainlane signal".to_owned()).spawn(listen).map_err(refused)?;
            Ok(Self { signals: handle, thread: Some(thread), _second: second })
        }
    }

    impl Drop for Listening {
        fn drop(&mut self) {
            self.signals.close();
            // Dropped by what was hung on the token, it is on that thread itself.
            let thread = self.thread.take().filter(|thread| thread.thread().id() != std::thread::current().id());
            let _ = thread.map(JoinHandle::join);
        }
    }

    /// What ends the process at the second signal.
    struct SecondEnds(Vec<SigId>);

    impl Drop for SecondEnds {
        fn drop(&mut self) {
            for id in self.0.drain(..) {
                low_level::unregister(id);
            }
        }
    }
}

#[cfg(not(unix))]
mod listening {
    use super::{CancellationToken, ControlError};

    /// There is none.
    pub(super) enum Listening {}

    impl Listening {
        pub(super) fn start(_: CancellationToken) -> Result<Self, ControlError> {
            let reason = "this system has no Unix signals; listen for what it has, and cancel the token";
            Err(ControlError::Signals { reason: reason.to_owned() })
        }
    }
}

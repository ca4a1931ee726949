//! The runtime that tasks run on: the host's where there is one that fits, else one of our own.
//!
//! - A **current-thread** runtime moves its tasks only while its host is inside `block_on`, so it does not fit.
//! - A runtime of our own is never entered, and never dropped, where a runtime is active: the panel's thread, which is a plain one,
//!   does both.
//! - There is one of our own per process, shared by all panels, unless a panel asks for one that is its alone.

use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::{Handle, Runtime, RuntimeFlavor};

use crate::control::error::ControlError;
use crate::core::contain;

/// Where a panel's tasks run.
#[derive(Clone, Debug, Default)]
pub enum RuntimeChoice {
    /// On the runtime that is active where the first task is started, if it has several threads, else on one of our own. When the host's
    /// runtime is shut down under way, the panel goes on with one of its own.
    #[default]
    Ambient,
    /// On this one. It must have several threads.
    Handle(Handle),
    /// On the one of this process that is mainlane's own.
    Owned,
    /// On one that is this panel's alone, with this many threads.
    OwnedAlone(usize),
    /// Nowhere: every worker is a thread, and a task is refused.
    None,
}

/// What a panel has of a runtime.
#[derive(Default)]
pub(crate) enum Engine {
    /// Nobody needed one yet.
    #[default]
    Unresolved,
    Host(Handle),
    Owned(Arc<OwnRuntime>),
}

/// Threads of the runtime that panels share.
const SHARED_THREADS: usize = 2;

static SHARED: Mutex<Weak<OwnRuntime>> = Mutex::new(Weak::new());

/// A runtime of mainlane's.
pub(crate) struct OwnRuntime(Option<Runtime>);

impl OwnRuntime {
    fn new(threads: usize) -> Result<Arc<Self>, ControlError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads.max(1))
            .thread_name("mainlane task")
            // Input and output too, if the host has that feature of tokio's: its tasks may be used to it.
            .enable_all()
            .build()
            .map_err(|error| ControlError::Runtime { reason: error.to_string() })?;
        Ok(Arc::new(Self(Some(runtime))))
    }

    fn shared() -> Result<Arc<Self>, ControlError> {
        let mut shared = SHARED.lock();
        if let Some(own) = shared.upgrade() {
            return Ok(own);
        }
        let own = Self::new(SHARED_THREADS)?;
        *shared = Arc::downgrade(&own);
        Ok(own)
    }

    fn handle(&self) -> Handle {
        match &self.0 {
            Some(runtime) => runtime.handle().clone(),
            None => unreachable!("it is taken by whoever drops it"),
        }
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // To wait here could be to wait inside a runtime, which panics.
            runtime.shutdown_background();
        }
    }
}

impl Engine {
    /// The runtime, found or made now if there was none.
    pub(crate) fn resolve(&mut self, choice: &RuntimeChoice, worker: &str) -> Result<Handle, ControlError> {
        if let Some(handle) = self.handle() {
            return Ok(handle);
        }
        *self = match choice {
            RuntimeChoice::None => return Err(ControlError::NoRuntime { worker: worker.to_owned() }),
            RuntimeChoice::Handle(handle) if fits(handle) => Engine::Host(handle.clone()),
            RuntimeChoice::Handle(_) => return Err(ControlError::RuntimeUnfit),
            RuntimeChoice::Owned => Engine::Owned(OwnRuntime::shared()?),
            RuntimeChoice::OwnedAlone(threads) => Engine::Owned(OwnRuntime::new(*threads)?),
            RuntimeChoice::Ambient => match Handle::try_current() {
                Ok(handle) if fits(&handle) => Engine::Host(handle),
                _ => Engine::Owned(OwnRuntime::shared()?),
            },
        };
        self.resolve(choice, worker)
    }

    pub(crate) fn handle(&self) -> Option<Handle> {
        match self {
            Engine::Unresolved => None,
            Engine::Host(handle) => Some(handle.clone()),
            Engine::Owned(own) => Some(own.handle()),
        }
    }

    /// The runtime has gone away. True when there is another one now.
    pub(crate) fn lost(&mut self, choice: &RuntimeChoice) -> bool {
        if !matches!(choice, RuntimeChoice::Ambient) {
            return false;
        }
        if !matches!(self, Engine::Owned(_)) {
            match OwnRuntime::shared() {
                Ok(own) => *self = Engine::Owned(own),
                Err(_) => return false,
            }
        }
        true
    }

    /// Ends a runtime of our own, if nobody else has it; waits for its threads. Only on a plain thread.
    pub(crate) fn release(&mut self, patience: Duration) {
        if let Engine::Owned(own) = std::mem::take(self)
            && let Some(mut own) = Arc::into_inner(own)
            && let Some(runtime) = own.0.take()
        {
            runtime.shutdown_timeout(patience);
        }
    }
}

/// True when tasks of this runtime move by themselves.
pub(crate) fn fits(handle: &Handle) -> bool {
    handle.runtime_flavor() != RuntimeFlavor::CurrentThread
}

/// Blocks this thread in `wait`, and lets a runtime whose thread it is move its tasks elsewhere meanwhile: what is waited for may be
/// among them.
pub(crate) fn wait_here<T>(wait: impl FnOnce() -> T) -> T {
    if !Handle::try_current().is_ok_and(|handle| fits(&handle)) || tokio::task::try_id().is_none() {
        return wait();
    }
    let mut wait = Some(wait);
    // A task of a `LocalSet` may not do this. It says so before it waits.
    let waited = contain(|| tokio::task::block_in_place(|| wait.take().map(|wait| wait())));
    match (waited, wait) {
        (Ok(Some(waited)), _) => waited,
        (_, Some(wait)) => wait(),
        (Ok(None) | Err(_), None) => panic!("what was waited for panicked"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::ControlPanel;
    use crate::control::maintenance::Maintenance;

    #[test]
    fn each_choice_finds_its_runtime_or_says_why_not() {
        let resolve = |choice: RuntimeChoice| Engine::default().resolve(&choice, "w").map(|handle| handle.id());
        assert_eq!(resolve(RuntimeChoice::None), Err(ControlError::NoRuntime { worker: "w".into() }));
        let single = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let several = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        assert_eq!(resolve(RuntimeChoice::Handle(single.handle().clone())), Err(ControlError::RuntimeUnfit));
        let id = several.handle().id();
        assert_eq!(resolve(RuntimeChoice::Handle(several.handle().clone())), Ok(id));
        assert_eq!(several.block_on(async { resolve(RuntimeChoice::Ambient) }), Ok(id));
        let own = single.block_on(async { resolve(RuntimeChoice::Ambient) }).unwrap();
        assert_ne!(own, single.handle().id(), "a current-thread runtime does not fit");
    }

    #[test]
    fn panels_share_the_runtime_that_is_our_own_and_it_ends_with_the_last() {
        let (mut one, mut two, mut alone) = (Engine::default(), Engine::default(), Engine::default());
        let id = one.resolve(&RuntimeChoice::Owned, "w").unwrap().id();
        assert_eq!(two.resolve(&RuntimeChoice::Ambient, "w").unwrap().id(), id);
        assert_ne!(alone.resolve(&RuntimeChoice::OwnedAlone(1), "w").unwrap().id(), id);
        one.release(Duration::from_secs(60));
        let spawned = two.handle().unwrap().spawn(async { 3 });
        assert_eq!(std::thread::spawn(move || futures_block_on(spawned)).join().unwrap(), 3);
        two.release(Duration::from_secs(60));
        alone.release(Duration::from_secs(60));
    }

    #[test]
    fn tasks_have_timers_and_sockets_there_if_the_host_has_them_at_all() {
        let mut own = Engine::default();
        let runtime = own.resolve(&RuntimeChoice::Owned, "w").unwrap();
        let task = runtime.spawn(async {
            tokio::time::sleep(Duration::ZERO).await;
            // The feature `net` is on in tests.
            tokio::net::UdpSocket::bind("127.0.0.1:0").await.map_or(0, |_| 5)
        });
        assert_eq!(futures_block_on(task), 5);
        own.release(Duration::from_secs(60));
    }

    #[test]
    fn a_panel_that_has_ended_makes_no_runtime() {
        let mut panel = ControlPanel::builder().runtime(RuntimeChoice::OwnedAlone(1)).start().unwrap();
        assert!(panel.shutdown(Duration::from_secs(60)).complete);
        assert!(matches!(panel.maintenance(Maintenance::builder()), Err(ControlError::Closed)));
        assert!(panel.runtime().is_none(), "nobody would end it");
    }

    /// Waits for a task from a plain thread.
    fn futures_block_on(task: tokio::task::JoinHandle<u8>) -> u8 {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(task).unwrap()
    }
}

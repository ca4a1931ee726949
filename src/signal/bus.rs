//! The bus, as those see it who publish and subscribe.

use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use crossbeam_utils::sync::{Parker, Unparker};
use parking_lot::{Mutex, ReentrantMutex};

use crate::core::contain;
use crate::latch::Latch;
use crate::mailbox::Mailbox;
use crate::origin::Origin;
use crate::signal::Signal;
use crate::signal::dispatcher::{Dispatcher, RunningBus, Turns};
use crate::signal::ending::Ending;
use crate::signal::error::SignalError;
use crate::signal::family::{Family, FamilyHub, FamilyTurns};
use crate::signal::hand::{Hand, Job};
use crate::signal::notice::BusNotice;
use crate::signal::outlet::SignalOutlet;
use crate::signal::status::FamilyStatus;
use crate::signal::subscribe::Subscribe;
use crate::sync::StoreLoad;
use crate::wake::Bell;

/// How the dispatcher is woken; what every family has of the bus.
pub(crate) struct BusCore {
    /// Rung by whoever publishes.
    pub(crate) bell: Bell,
    pub(crate) store_load: StoreLoad,
    wake: Arc<Waker>,
}

struct Waker {
    unparker: Unparker,
    hook: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Waker {
    fn wake(&self) {
        self.unparker.unpark();
        if let Some(hook) = self.hook.get() {
            // It runs on the thread of whoever publishes, who must not unwind.
            let _ = contain(hook);
        }
    }
}

impl BusCore {
    fn new(unparker: Unparker) -> Self {
        let store_load = StoreLoad::detect();
        let wake = Arc::new(Waker { unparker, hook: OnceLock::new() });
        let woken = wake.clone();
        Self { bell: Bell::new(store_load, move || woken.wake()), store_load, wake }
    }

    /// Wakes the dispatcher, whether or not it is armed.
    pub(crate) fn wake(&self) {
        self.wake.wake();
    }
}

/// What the ends of one bus share.
pub(crate) struct Shared {
    pub(crate) core: Arc<BusCore>,
    /// The dispatcher's work; whoever has the lock does it. It is borrowed for as long as that takes: host's code that is called
    /// meanwhile, and comes back here, finds it borrowed.
    pub(crate) turns: ReentrantMutex<RefCell<Turns>>,
    pub(crate) ending: Ending,
    /// Families on their way to the dispatcher.
    pub(crate) families: Mailbox<Box<dyn Family>>,
    directory: Mutex<Directory>,
    pub(crate) hands: Mutex<Option<Vec<Hand>>>,
    pub(crate) closing: Latch,
}

#[derive(Default)]
struct Directory {
    of: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
    /// In the order in which they were first named.
    listed: Vec<Box<dyn Fn() -> FamilyStatus + Send + Sync>>,
}

/// Where signals are published and subscribed. Cheap to clone; any thread may have one.
#[derive(Clone)]
pub struct Bus {
    pub(crate) shared: Arc<Shared>,
}

/// Sets up a [`Bus`].
#[must_use = "a bus is made by `build` or `start`"]
#[derive(Default)]
pub struct BusBuilder {
    hook: Option<Box<dyn Fn() + Send + Sync>>,
}

impl BusBuilder {
    /// Is called when there is something for a dispatcher whose [`arm_input`](Dispatcher::arm_input) found nothing: for hosts that take its
    /// turns in a loop that sleeps. Called from whatever thread publishes; must not block.
    pub fn on_input(mut self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        self.hook = Some(Box::new(hook));
        self
    }

    /// A bus whose dispatcher the host drives, or [spawns](Dispatcher::spawn).
    pub fn build(self) -> (Dispatcher, Bus) {
        let parker = Parker::new();
        let core = Arc::new(BusCore::new(parker.unparker().clone()));
        if let Some(hook) = self.hook {
            // This builder is the only one who sets it.
            let _ = core.wake.hook.set(hook);
        }
        let shared = Arc::new(Shared {
            ending: Ending::new(core.store_load),
            core,
            turns: ReentrantMutex::new(RefCell::new(Turns::default())),
            families: Mailbox::new(),
            directory: Mutex::default(),
            hands: Mutex::new(Some(Vec::new())),
            closing: Latch::default(),
        });
        let bus = Bus { shared };
        (Dispatcher::new(bus.clone(), parker), bus)
    }

    /// A bus with a thread of its own.
    ///
    /// # Errors
    /// When the system refuses the thread.
    pub fn start(self) -> Result<RunningBus, SignalError> {
        self.build().0.spawn()
    }
}

impl fmt::Debug for BusBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BusBuilder").finish_non_exhaustive()
    }
}

impl Bus {
    /// Sets up a bus.
    pub fn builder() -> BusBuilder {
        BusBuilder::default()
    }

    /// Where `source` publishes signals of one family.
    pub fn outlet<T: Signal>(&self, source: Origin) -> SignalOutlet<T> {
        SignalOutlet::new(self.family(), source, None)
    }

    /// As [`outlet`](Bus::outlet), for a source that would rather hand its signals on by itself than have the dispatcher's thread woken for it:
    /// the way is shorter by one thread, and a publication costs what the fan-out does. Filters, hooks and wakers run on the
    /// thread that publishes, and the dispatcher's next turn waits for them. When somebody else is handing on just then, the dispatcher sees to
    /// it; so it does for what is published in a handler or a reconciler.
    ///
    /// Not for a thread that must not stall.
    pub fn direct_outlet<T: Signal>(&self, source: Origin) -> SignalOutlet<T> {
        SignalOutlet::new(self.family(), source, Some(self.shared.clone()))
    }

    /// A subscription to one family. The name is for people.
    pub fn subscribe<T: Signal>(&self, name: impl Into<Arc<str>>) -> Subscribe<'_, T> {
        Subscribe::new(self, name.into())
    }

    /// What became of the signals of each family, in the order in which families were first named.
    pub fn families(&self) -> Vec<FamilyStatus> {
        self.shared.directory.lock().listed.iter().map(|status| status()).collect()
    }

    /// What became of the signals of one family; of none if nobody has named it yet.
    pub fn status<T: Signal>(&self) -> FamilyStatus {
        self.family::<T>().status()
    }

    /// True when the bus is being shut down, or was.
    pub fn is_closed(&self) -> bool {
        self.shared.closing.is_set()
    }

    /// The bus's own outlet for what it has to say.
    pub(crate) fn notices(&self) -> SignalOutlet<BusNotice> {
        self.outlet(Origin::built_in("bus", 0))
    }

    pub(crate) fn family<T: Signal>(&self) -> Arc<FamilyHub<T>> {
        let mut directory = self.shared.directory.lock();
        if let Some(known) = directory.of.get(&TypeId::of::<T>()) {
            let Ok(known) = known.clone().downcast() else { unreachable!("it is listed under its type") };
            return known;
        }
        let hub = Arc::new(FamilyHub::<T>::new(self.shared.core.clone()));
        let its = hub.clone();
        directory.of.insert(TypeId::of::<T>(), hub.clone());
        directory.listed.push(Box::new(move || its.status()));
        drop(directory);
        match self.shared.families.post(Box::new(FamilyTurns::new(hub.clone()))) {
            Ok(()) => self.shared.core.wake(),
            // Nothing will ever be taken out of it.
            Err(mut family) => family.end(std::time::Instant::now(), &|_| {}),
        }
        hub
    }

    /// Gives the thread of this name a job; starts it if it is not there.
    pub(crate) fn hand(&self, name: &Arc<str>, job: Box<dyn Job>) -> Result<Unparker, SignalError> {
        let mut hands = self.shared.hands.lock();
        let Some(hands) = hands.as_mut() else { return Err(SignalError::Closed) };
        let at = match hands.iter().position(|hand| hand.name == *name) {
            Some(at) => at,
            None => {
                let hand = Hand::start(name.clone())
                    .map_err(|error| SignalError::Thread { name: name.to_string(), reason: error.to_string() })?;
                hands.push(hand);
                hands.len() - 1
            }
        };
        hands[at].post(job).map_err(|_| SignalError::Closed)?;
        Ok(hands[at].unparker().clone())
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus").field("closed", &self.is_closed()).finish_non_exhaustive()
    }
}

//! How a queue is to be, and its start.

use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, RuntimeFlavor};

use crate::notifications::Notifications;
use crate::sync::{Arc, Mutex};

use super::close::{OwnThread, keep};
use super::queue::{Queue, Rules};
use super::run::{Runner, Shared, State, Ticket};
use super::{Maintenance, MaintenanceHandle};

/// Slots, if nothing else was said.
pub const SLOTS: usize = 2;
/// Most slots there can be.
pub const SLOTS_MAX: usize = 256;
/// Waiting jobs, if nothing else was said.
pub const CAPACITY: usize = 1024;
/// Most jobs that can wait.
pub const CAPACITY_MAX: usize = 1 << 20;
/// Submitters that are remembered, if nothing else was said.
pub const SUBMITTERS: usize = 256;

/// What a full queue does with a further job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// Hands it back.
    #[default]
    Refuse,
    /// Sheds a waiting job of a lower priority, counted as it stands then: what has waited long has risen. Of the lowest
    /// there is, it is the one served last, of the submitter that has most waiting. If there is none, hands the new one back.
    ShedLowest,
}

/// How a queue is to be.
#[derive(Clone, Debug)]
#[must_use = "nothing is there until it is built"]
pub struct MaintenanceBuilder {
    name: String,
    runtime: Option<Handle>,
    slots: usize,
    capacity: usize,
    when_full: WhenFull,
    age: Duration,
    slice: Duration,
    submitters: usize,
}

impl MaintenanceBuilder {
    pub(crate) fn new() -> Self {
        Self {
            name: "maint".to_owned(),
            runtime: None,
            slots: SLOTS,
            capacity: CAPACITY,
            when_full: WhenFull::Refuse,
            age: Duration::from_secs(10),
            slice: Duration::from_millis(5),
            submitters: SUBMITTERS,
        }
    }

    /// The runtime that jobs run on; it must be multi-threaded. Without one, asynchronous jobs are handed back, and the
    /// others run on as many threads as there are slots.
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// What its threads are called. By default `maint`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// How many jobs are in work at once. By default [`SLOTS`].
    pub fn slots(mut self, slots: usize) -> Self {
        self.slots = slots;
        self
    }

    /// How many jobs can wait: nothing is taken in while so many do. Resumable ones that end a slice find a place all the
    /// same, so that there can be more, by the number of slots. By default [`CAPACITY`].
    pub fn capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity;
        self
    }

    /// What happens when that many wait. By default the next is handed back.
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.when_full = when_full;
        self
    }

    /// How long a job waits before its priority rises by one. By default ten seconds.
    pub fn age(mut self, age: Duration) -> Self {
        self.age = age;
        self
    }

    /// How long a resumable job runs before others get their turn, and how long a run costs one turn. By default five
    /// milliseconds.
    pub fn slice(mut self, slice: Duration) -> Self {
        self.slice = slice;
        self
    }

    /// How many submitters are remembered one by one, those with jobs apart, which always are. The one without for longest
    /// is forgotten first: its figures are added to those of all forgotten ones, its debts are gone. By default
    /// [`SUBMITTERS`].
    pub fn submitters(mut self, submitters: usize) -> Self {
        self.submitters = submitters;
        self
    }

    /// Starts the queue, and its threads.
    ///
    /// # Errors
    /// A setting is out of range, the runtime is a current-thread one, or the system refuses a thread.
    pub fn build(self) -> Result<Maintenance, MaintenanceError> {
        let rules = self.rules()?;
        let slots = rules.slots;
        let (sender, receiver) = crossbeam_channel::bounded::<Ticket>(slots);
        let runner = match self.runtime {
            Some(handle) if handle.runtime_flavor() == RuntimeFlavor::CurrentThread => {
                return Err(MaintenanceError::CurrentThreadRuntime);
            }
            Some(handle) => Runner::OnRuntime(handle),
            None => Runner::OnThreads(Mutex::new(Some(sender))),
        };
        let shared = Arc::new(Shared {
            epoch: Instant::now(),
            slice: self.slice,
            state: Mutex::new(State {
                queue: Queue::new(rules),
                running: Default::default(),
                settling: 0,
                drop_panics: 0,
                gone: false,
                closing: None,
            }),
            runner,
            times: Default::default(),
            closed: Notifications::new(),
            keeper: OnceLock::new(),
        });
        let mut threads: Vec<OwnThread> = Vec::new();
        if matches!(shared.runner, Runner::OnThreads(_)) {
            for at in 0..slots {
                let (done_here, done) = crossbeam_channel::bounded::<()>(0);
                let receiver = receiver.clone();
                // If a later one is refused, the sender goes, and with it those started before.
                let thread = start(format!("{} {at}", self.name), move || {
                    let _done = done_here;
                    receiver.into_iter().for_each(Ticket::work);
                })?;
                threads.push((thread, done));
            }
        }
        let its = shared.clone();
        let keeper = start(format!("{} time", self.name), move || keep(&its, threads))?;
        let _ = shared.keeper.set(keeper.thread().clone());
        Ok(Maintenance { handle: MaintenanceHandle { shared }, keeper: Mutex::new(Some(keeper)) })
    }

    fn rules(&self) -> Result<Rules, MaintenanceError> {
        let check = |setting, value: usize, most: usize| {
            let range = || format!("1 to {most}, not {value}");
            if (1..=most).contains(&value) {
                Ok(value)
            } else {
                Err(MaintenanceError::Setting { setting, range: range() })
            }
        };
        let nanos = |setting, time: Duration| match u64::try_from(time.as_nanos()) {
            Ok(0) => Err(MaintenanceError::Setting { setting, range: "longer than no time at all".to_owned() }),
            nanos => Ok(nanos.unwrap_or(u64::MAX)),
        };
        Ok(Rules {
            capacity: check("capacity", self.capacity, CAPACITY_MAX)?,
            slots: check("slots", self.slots, SLOTS_MAX)?,
            age_ns: nanos("age", self.age)?,
            slice_ns: nanos("slice", self.slice)?,
            when_full: self.when_full,
            submitters: check("submitters", self.submitters, CAPACITY_MAX)?,
        })
    }
}

fn start(name: String, work: impl FnOnce() + Send + 'static) -> Result<std::thread::JoinHandle<()>, MaintenanceError> {
    std::thread::Builder::new()
        .name(name.replace('\0', " "))
        .spawn(work)
        .map_err(|error| MaintenanceError::Thread { name, reason: error.to_string() })
}

/// Why a queue could not be built.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MaintenanceError {
    /// A setting is out of range.
    Setting {
        /// Which.
        setting: &'static str,
        /// What it can be.
        range: String,
    },
    /// The runtime runs on its caller's thread only, and nothing moves while that is elsewhere. Give a multi-threaded one,
    /// or none.
    CurrentThreadRuntime,
    /// The system refused a thread.
    Thread {
        /// The thread's name.
        name: String,
        /// What the system said.
        reason: String,
    },
}

impl fmt::Display for MaintenanceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting { setting, range } => write!(f, "maintenance queue: `{setting}` must be {range}"),
            Self::CurrentThreadRuntime => f.write_str(
                "maintenance queue: a current-thread runtime moves only while its owner is in it; \
                 give a multi-threaded one, or none",
            ),
            Self::Thread { name, reason } => write!(f, "the thread `{name}` could not be started: {reason}"),
        }
    }
}

impl std::error::Error for MaintenanceError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_out_of_range_is_an_error_that_names_it() {
        let refused = |builder: MaintenanceBuilder| match builder.build() {
            Err(MaintenanceError::Setting { setting, .. }) => setting,
            other => panic!("{other:?}"),
        };
        let builder = MaintenanceBuilder::new;
        assert_eq!(refused(builder().slots(0)), "slots");
        assert_eq!(refused(builder().slots(SLOTS_MAX + 1)), "slots");
        assert_eq!(refused(builder().capacity(0)), "capacity");
        assert_eq!(refused(builder().capacity(CAPACITY_MAX + 1)), "capacity");
        assert_eq!(refused(builder().age(Duration::ZERO)), "age");
        assert_eq!(refused(builder().slice(Duration::ZERO)), "slice");
        assert_eq!(refused(builder().submitters(0)), "submitters");
        assert!(builder().age(Duration::MAX).slice(Duration::MAX).build().is_ok());
    }

    #[test]
    fn a_runtime_that_moves_only_with_its_owner_is_refused() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let refused = MaintenanceBuilder::new().runtime(runtime.handle().clone()).build();
        assert_eq!(refused.unwrap_err(), MaintenanceError::CurrentThreadRuntime);
    }
}

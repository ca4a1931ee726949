//! The worker that looks after the memory.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use super::levels::MemoryLevel;
use super::monitor::{Look, Monitor};
use crate::control::context::WorkerContext;
use crate::control::worker::{Next, Worker, WorkerError};
use crate::main_lane::reduce::Reducer;
use crate::pipeline::Handle;

/// What a [`MemoryMonitor`] found when it looked last. Cheap to clone; for views and for the host.
#[derive(Clone, Debug, Default)]
pub struct MemoryGauge(Arc<Mutex<Told>>);

#[derive(Debug, Default)]
struct Told {
    looks: u64,
    last: Option<Look>,
}

impl MemoryGauge {
    /// Nothing, until a monitor has it.
    pub fn new() -> Self {
        Self::default()
    }

    /// The last look; `None` before the first.
    pub fn last(&self) -> Option<Look> {
        self.0.lock().last
    }

    /// How many looks there were.
    pub fn looks(&self) -> u64 {
        self.0.lock().looks
    }

    fn tell(&self, look: Look) {
        let mut told = self.0.lock();
        *told = Told { looks: told.looks + 1, last: Some(look) };
    }
}

type Held<S> = Box<dyn Fn(&S) -> u64 + Send>;
type Choose<S> = Box<dyn FnMut(&S, MemoryLevel, usize) -> Option<<S as Reducer>::Event> + Send>;

/// A standard worker: looks at the memory again and again, and while it is short has the state put parts of it aside.
///
/// What can be put aside, and by which event, the state says; the monitor says when, and how many. It waits until a snapshot shows what
/// came of the last ones. While there is enough memory it pushes nothing.
pub struct MemoryMonitor<S: Reducer> {
    monitor: Monitor,
    handle: Handle<S>,
    gauge: MemoryGauge,
    held: Held<S>,
    choose: Choose<S>,
}

impl<S: Reducer> MemoryMonitor<S> {
    /// Looks with `monitor` at this pipeline, whose state holds nothing that is known and has nothing to put aside: see
    /// [`held`](MemoryMonitor::held) and [`demote`](MemoryMonitor::demote).
    pub fn new(monitor: Monitor, handle: &Handle<S>) -> Self {
        let (held, choose): (Held<S>, Choose<S>) = (Box::new(|_| 0), Box::new(|_, _, _| None));
        Self { monitor, handle: handle.clone(), gauge: MemoryGauge::new(), held, choose }
    }

    /// How many bytes a state holds. What the lanes, the flight recorder and the journal hold is added.
    pub fn held(mut self, held: impl Fn(&S) -> u64 + Send + 'static) -> Self {
        self.held = Box::new(held);
        self
    }

    /// The event that puts aside a part of this state at this level: the first that is to go at 0, the next at 1, and so on; `None`
    /// when there is none. It must do no harm when it is applied twice.
    pub fn demote(mut self, choose: impl FnMut(&S, MemoryLevel, usize) -> Option<S::Event> + Send + 'static) -> Self {
        self.choose = Box::new(choose);
        self
    }

    /// Where each look is told.
    pub fn gauge(mut self, gauge: MemoryGauge) -> Self {
        self.gauge = gauge;
        self
    }
}

impl<S: Reducer, P: Send + Sync + 'static> Worker<S, P> for MemoryMonitor<S> {
    fn turn(&mut self, ctx: &mut WorkerContext<S, P>) -> Result<Next, WorkerError> {
        let Self { monitor, handle, gauge, held, choose } = self;
        // One snapshot for all of it.
        let snapshot = ctx.reader().load();
        let held = held(&snapshot).saturating_add(handle.held_bytes().total());
        let mut choose = |level, nth| choose(&snapshot, level, nth);
        let mut push = |event| ctx.lane().push(event).map_err(crate::Refused::without_value);
        let look = monitor.look(Instant::now(), Some(held), snapshot.version().as_u64(), &mut choose, &mut push)?;
        gauge.tell(look);
        Ok(Next::After(look.after))
    }
}

impl<S: Reducer> fmt::Debug for MemoryMonitor<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryMonitor").field("monitor", &self.monitor).finish_non_exhaustive()
    }
}

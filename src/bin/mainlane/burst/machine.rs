//! The machine, as far as a benchmark must know it.

use std::fmt;
use std::thread::available_parallelism;

use serde::Serialize;
use sysinfo::{CpuRefreshKind, RefreshKind, System};

use super::costs::{self, Cost, Costs};
use super::rounds::Spread;

/// How often the costs are measured before anything else is.
const MEASURED: usize = 20;

/// What the figures were taken on.
#[derive(Serialize)]
pub(crate) struct Machine {
    cores: usize,
    system: &'static str,
    processor: &'static str,
    /// As the system names it; empty if it does not.
    model: String,
    optimised: bool,
    /// What single things take.
    pub(crate) costs: Vec<Cost>,
    /// Bytes, from memory to memory.
    pub(crate) copied_per_second: Spread,
}

impl Machine {
    /// Takes a few hundred milliseconds.
    pub(crate) fn measure() -> Self {
        let costs: Vec<_> = (0..MEASURED).map(|_| Costs::now()).collect();
        Self {
            cores: cores(),
            system: std::env::consts::OS,
            processor: std::env::consts::ARCH,
            model: model(),
            optimised: !cfg!(debug_assertions),
            costs: Costs::over(&costs),
            copied_per_second: costs::copy_rate(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cores, system, processor, model, optimised, .. } = self;
        write!(f, "{cores} cores, ")?;
        if !model.is_empty() {
            write!(f, "{model}, ")?;
        }
        write!(f, "{processor}, {system}")?;
        if *optimised { Ok(()) } else { f.write_str(", NOT OPTIMISED: build with --release") }
    }
}

fn model() -> String {
    let asked = RefreshKind::nothing().with_cpu(CpuRefreshKind::nothing());
    let system = System::new_with_specifics(asked).ok();
    system.and_then(|system| Some(system.cpus().first()?.brand().trim().to_owned())).unwrap_or_default()
}

/// Says so when there are more threads than cores.
pub(crate) fn note_if_crowded(producers: usize) -> Option<String> {
    let cores = cores();
    (!is_enough_for(producers)).then(|| {
        format!("oversubscribed: {producers} producers and a consumer on {cores} cores, unpinned; the system's scheduler is in the figures")
    })
}

/// How many cores this process may use.
pub(crate) fn cores() -> usize {
    available_parallelism().map_or(1, usize::from)
}

/// True when there is a core for each producer and one for the consumer.
pub(crate) fn is_enough_for(producers: usize) -> bool {
    producers < cores()
}

/// Pins a producer to a core of its own, if there are enough.
pub(crate) fn pin_producer(producer: usize, producers: usize) {
    if is_enough_for(producers) {
        pin(producer + 1);
    }
}

/// Pins the consumer to a core of its own, if there are enough.
pub(crate) fn pin_consumer(producers: usize) {
    if is_enough_for(producers) {
        pin(0);
    }
}

fn pin(core: usize) {
    if let Some(id) = core_affinity::get_core_ids().and_then(|ids| ids.get(core).copied()) {
        core_affinity::set_for_current(id);
    }
}

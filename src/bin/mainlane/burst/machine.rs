//! The machine, as far as a benchmark must know it.

use std::fmt;
use std::thread::available_parallelism;

use serde::Serialize;

/// What the figures were taken on.
#[derive(Serialize)]
pub(crate) struct Machine {
    cores: usize,
    system: &'static str,
    processor: &'static str,
    optimised: bool,
}

impl Machine {
    pub(crate) fn here() -> Self {
        Self {
            cores: cores(),
            system: std::env::consts::OS,
            processor: std::env::consts::ARCH,
            optimised: !cfg!(debug_assertions),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cores, system, processor, optimised } = self;
        write!(f, "{cores} cores, {processor}, {system}")?;
        if *optimised { Ok(()) } else { f.write_str(", NOT OPTIMISED: build with --release") }
    }
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

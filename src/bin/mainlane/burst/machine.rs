//! The machine, as far as a benchmark must know it.

use std::thread::available_parallelism;

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

//! Runs a model through all its executions, or shows that it has one that fails.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use crate::sync::weak;
pub use crate::sync::weak::Weak;

/// How far a model is explored.
#[derive(Clone, Copy, Debug)]
pub enum Bounds {
    /// Every execution.
    All,
    /// Every execution with at most this many preemptions.
    Preemptions(usize),
}

/// Every execution within `bounds` must hold.
pub fn holds(name: &str, bounds: Bounds, model: impl Fn() + Send + Sync + 'static) {
    run(name, bounds, None, model);
}

/// Some execution within `bounds` must fail, with what is weakened taken away.
///
/// # Panics
/// When every execution holds: the model is then blind to what was taken away.
pub fn fails(name: &str, bounds: Bounds, weak: Option<Weak>, model: impl Fn() + Send + Sync + 'static) {
    let failed = catch_unwind(AssertUnwindSafe(|| run(name, bounds, weak, model)));
    weak::set(None);
    assert!(failed.is_err(), "the control arm `{name}` has no counterexample: the model is blind to it");
}

fn run(name: &str, bounds: Bounds, weak: Option<Weak>, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 10_000;
    builder.preemption_bound = match bounds {
        Bounds::All => None,
        Bounds::Preemptions(most) => Some(most),
    };
    weak::set(weak);
    let executions = Arc::new(AtomicU64::new(0));
    let (counted, start) = (executions.clone(), Instant::now());
    builder.check(move || {
        counted.fetch_add(1, Relaxed);
        model();
    });
    if std::env::var_os("LOOM_COUNTS").is_some() {
        println!("{name}: {} executions, {:.1} s", executions.load(Relaxed), start.elapsed().as_secs_f32());
    }
}

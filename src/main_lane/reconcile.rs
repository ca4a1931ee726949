//! Runs the effects that `apply` asked for, after the batch and in order.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::core::{Core, panic_message};
use crate::main_lane::reduce::{Effects, Reducer};
use crate::observe::diagnostic::Diagnostic;

/// Touches the world outside the state: the only place that may.
///
/// Called on the main lane, once per effect, in the order in which `apply` asked for them, after the turn's events and
/// before its publication. It only sequences and routes: what takes long belongs on a thread or task of the host's,
/// whose outcome comes back as an event through a lane.
///
/// A panic is contained, counted and reported; the effects after it are run.
pub trait Reconciler<S: Reducer>: Send + 'static {
    /// Runs one effect. `state` is the state after the turn's events.
    fn reconcile(&mut self, effect: S::Effect, state: &S);
}

impl<S: Reducer, F: FnMut(S::Effect, &S) + Send + 'static> Reconciler<S> for F {
    fn reconcile(&mut self, effect: S::Effect, state: &S) {
        self(effect, state);
    }
}

/// Runs what `effects` has collected.
pub(crate) fn run<S: Reducer>(
    reconciler: &mut Option<Box<dyn Reconciler<S>>>,
    effects: &mut Effects<S::Effect>,
    state: &S,
    core: &Core,
) {
    if effects.pending.is_empty() {
        return;
    }
    let count = effects.pending.len() as u64;
    let Some(reconciler) = reconciler else {
        effects.pending.clear();
        core.counts.effects_unhandled.add(count);
        core.report(Diagnostic::EffectsUnhandled { count });
        return;
    };
    for effect in effects.pending.drain(..) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| reconciler.reconcile(effect, state))) {
            core.report(Diagnostic::ReconcilerPanicked { message: panic_message(panic) });
        }
    }
    core.counts.effects.add(count);
}

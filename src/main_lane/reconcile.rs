//! Runs the effects that `apply` asked for, after the batch and in order.

use crate::core::{Core, contain, drop_each};
use crate::main_lane::budget::Pace;
use crate::main_lane::reduce::{Effects, Reducer};
use crate::observe::diagnostic::Diagnostic;

/// Touches the world outside the state: the only place that may.
///
/// Called on the main lane, once per effect, in the order in which `apply` asked for them, after the turn's events and
/// before they are published; when the turn's time is up, the rest is run at the beginning of the next. It only sequences and routes: what takes long belongs on a thread or task of the host's,
/// whose outcome comes back as an event through a lane.
///
/// With a journal that keeps both back until a turn is durable ([`Durability::BeforePublish`](crate::Durability)), effects are run
/// right after its snapshot was published, and with the main lane's own state, which may be ahead of that.
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

/// Runs what `effects` has collected, one at least, until the time is up. True if nothing is left.
pub(crate) fn run<S: Reducer>(
    reconciler: &mut Option<Box<dyn Reconciler<S>>>,
    effects: &mut Effects<S::Effect>,
    state: &S,
    core: &Core,
    pace: &Pace,
) -> bool {
    if effects.pending.is_empty() {
        return true;
    }
    let Some(reconciler) = reconciler else {
        let count = effects.pending.len() as u64;
        // Their `drop` is the host's code.
        let _ = drop_each(effects.pending.drain(..));
        core.counts.effects_unhandled.add(count);
        core.report(Diagnostic::EffectsUnhandled { count });
        return true;
    };
    // What runs here makes the room that it would wait for.
    #[cfg(feature = "signal")]
    let _here = crate::signal::NoWaiting::here();
    while let Some(effect) = effects.pending.pop_front() {
        core.counts.effects.add(1);
        if let Err(message) = contain(|| reconciler.reconcile(effect, state)) {
            core.report(Diagnostic::ReconcilerPanicked { message });
        }
        if pace.is_over() {
            break;
        }
    }
    effects.pending.is_empty()
}

//! The cell that a registry's board is in, in two kinds, for the real one is invisible to loom.

#![expect(unsafe_code, reason = "what a cell of loom's hands out is a pointer")]

use std::cell::Cell;
use std::sync::atomic::AtomicU64 as Plain;

use loom::cell::UnsafeCell;

use super::weak::{self, Weak};
use super::{Arc, AtomicU64, Mutex, Ordering::Acquire};

/// How many swaps one execution may have, with the kind that keeps everything.
const SWAPS_MAX: usize = 8;

// All threads of a model run on one thread of the system, so this is the model's own.
thread_local!(static KEEPS_ALL: Cell<bool> = const { Cell::new(false) });

/// From here on this model's cells keep every value (true) or only the newest (false).
pub(crate) fn keep_all(keeps_all: bool) {
    KEEPS_ALL.set(keeps_all);
}

pub(crate) enum SwapCell<T> {
    /// A load finds the newest, and has counted itself when it returns: what the real cell promises.
    Newest(Mutex<Arc<T>>),
    /// As weak as a release and an acquire allow: a load may find an older value, unless something orders it behind the
    /// swap. It keeps every value, so that nothing is ever used again.
    All { newest: AtomicU64, swaps: Plain, values: Vec<UnsafeCell<Option<Arc<T>>>> },
}

// SAFETY: a value is written before `newest` is swapped to name it, and read after `newest` was seen to.
unsafe impl<T: Send + Sync> Sync for SwapCell<T> {}

impl<T> SwapCell<T> {
    pub(crate) fn new(value: Arc<T>) -> Self {
        if !KEEPS_ALL.get() {
            return SwapCell::Newest(Mutex::new(value));
        }
        let mut values: Vec<_> = (0..=SWAPS_MAX).map(|_| UnsafeCell::new(None)).collect();
        values[0] = UnsafeCell::new(Some(value));
        SwapCell::All { newest: AtomicU64::new(0), swaps: Plain::new(0), values }
    }

    pub(crate) fn load(&self) -> Arc<T> {
        match self {
            SwapCell::Newest(newest) => newest.lock().clone(),
            SwapCell::All { newest, values, .. } => kept(values, newest.load(Acquire)),
        }
    }

    /// Makes `value` the newest and returns the one before it.
    pub(crate) fn swap(&self, value: Arc<T>) -> Arc<T> {
        match self {
            SwapCell::Newest(newest) => std::mem::replace(&mut *newest.lock(), value),
            SwapCell::All { newest, swaps, values } => {
                // Counted where loom does not look: a load of `newest` here would hide the readers' loads from it.
                let before = swaps.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                // SAFETY: no reader looks here before `newest` names it, and loom watches that none does.
                values[before as usize + 1].with_mut(|slot| unsafe { *slot = Some(value) });
                newest.swap(before + 1, weak::release(Weak::Cell));
                kept(values, before)
            }
        }
    }
}

fn kept<T>(values: &[UnsafeCell<Option<Arc<T>>>], at: u64) -> Arc<T> {
    // SAFETY: written once, before it was named; loom watches that this is so.
    let value = values[at as usize].with(|slot| unsafe { (*slot).clone() });
    match value {
        Some(value) => value,
        None => unreachable!("named, so written"),
    }
}

//! The door, with loom behind it. Same shape as the engine's `src/sync.rs`.

pub(crate) mod cell;
#[path = "../../src/sync/newest.rs"]
mod newest;
pub(crate) mod prefetch;
pub(crate) mod queue;
#[path = "../../src/sync/spsc.rs"]
#[allow(dead_code, reason = "the whole file is compiled, the models use a part of it")]
pub(crate) mod spsc;
pub(crate) mod swap;
pub(crate) mod weak;

pub(crate) use loom::sync::Arc;
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};

pub(crate) use cell::Row;
pub(crate) use newest::NewestCell;
pub(crate) use queue::ArrayQueue;
pub(crate) use swap::SwapCell;

use weak::Weak;

/// Takes no room of its own here: loom knows no cache lines.
pub(crate) struct CachePadded<T>(T);

impl<T> CachePadded<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(value)
    }
}

impl<T> std::ops::Deref for CachePadded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// A lock whose `lock` returns the guard, as parking_lot's does.
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
        match self.0.lock() {
            Ok(guard) => guard,
            Err(_) => unreachable!("an execution ends with the first panic"),
        }
    }
}

/// A lock that is tried, as parking_lot's is.
pub(crate) struct RwLock<T>(loom::sync::RwLock<T>);

impl<T> RwLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::RwLock::new(value))
    }

    pub(crate) fn try_read(&self) -> Option<loom::sync::RwLockReadGuard<'_, T>> {
        self.0.try_read().ok()
    }

    pub(crate) fn try_write(&self) -> Option<loom::sync::RwLockWriteGuard<'_, T>> {
        self.0.try_write().ok()
    }
}

/// One is enough: what stripes have in common is one word.
pub(crate) const STRIPES: usize = 1;

pub(crate) fn stripe() -> usize {
    0
}

/// Orders a store before a later load: fences on both sides, either of which can be taken away.
#[derive(Clone, Copy)]
pub(crate) struct StoreLoad;

impl StoreLoad {
    pub(crate) fn detect() -> Self {
        Self
    }

    pub(crate) fn light(self) {
        if !weak::is(Weak::Light) {
            loom::sync::atomic::fence(Ordering::SeqCst);
        }
    }

    pub(crate) fn heavy(self) {
        if !weak::is(Weak::Heavy) {
            loom::sync::atomic::fence(Ordering::SeqCst);
        }
    }
}

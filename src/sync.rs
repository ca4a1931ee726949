//! The one door to atomics, cells and rings.
//!
//! Protocol files name nothing of `std::sync` or `arc_swap` themselves. The package `loom-tests` compiles the
//! same files against a door of the same shape with loom's types behind it, so the models check the code that ships.

mod cell;
mod newest;
pub(crate) mod prefetch;
pub(crate) mod spsc;
#[cfg(test)]
mod spsc_tests;
mod store_load;
mod stripe;
#[cfg(feature = "register")]
mod swap;

pub(crate) use std::sync::Arc;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

#[cfg(feature = "signal")]
pub(crate) use crossbeam_queue::ArrayQueue;
pub(crate) use crossbeam_utils::CachePadded;
pub(crate) use parking_lot::{Mutex, RwLock};

pub(crate) use cell::Row;
pub(crate) use newest::NewestCell;
pub(crate) use store_load::StoreLoad;
pub(crate) use stripe::{STRIPES, stripe};
#[cfg(feature = "register")]
pub(crate) use swap::SwapCell;

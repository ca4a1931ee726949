//! The cell whose accesses loom watches.

pub(crate) use loom::cell::UnsafeCell;

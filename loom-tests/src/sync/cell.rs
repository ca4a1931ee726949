//! The cells whose accesses loom watches.

use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::Arc;

use loom::cell::UnsafeCell;

/// See `mainlane`'s. Cells must lie one behind the other, which loom's own do not; so beside each is one that is accessed when it is.
pub(crate) struct Row<T> {
    cells: Arc<[std::cell::UnsafeCell<MaybeUninit<T>>]>,
    watched: Arc<[UnsafeCell<()>]>,
}

impl<T> Clone for Row<T> {
    fn clone(&self) -> Self {
        Self { cells: self.cells.clone(), watched: self.watched.clone() }
    }
}

impl<T> Row<T> {
    pub(crate) fn new(len: usize) -> Self {
        Self {
            cells: (0..len).map(|_| std::cell::UnsafeCell::new(MaybeUninit::uninit())).collect(),
            watched: (0..len).map(|_| UnsafeCell::new(())).collect(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.cells.len()
    }

    pub(crate) fn address(&self) -> usize {
        self.cells.as_ptr().addr()
    }

    pub(crate) fn with<R>(&self, range: Range<usize>, access: impl FnOnce(*const T) -> R) -> R {
        self.watched[range.clone()].iter().for_each(|cell| cell.with(|_| ()));
        access(self.first(&range))
    }

    pub(crate) fn with_mut<R>(&self, range: Range<usize>, access: impl FnOnce(*mut T) -> R) -> R {
        self.watched[range.clone()].iter().for_each(|cell| cell.with_mut(|_| ()));
        access(self.first(&range))
    }

    fn first(&self, range: &Range<usize>) -> *mut T {
        self.cells.as_ptr().wrapping_add(range.start).cast::<T>().cast_mut()
    }
}

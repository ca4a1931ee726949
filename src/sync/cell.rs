//! Cells whose accesses are closures, so that the models can watch them.

use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::Arc;

/// Cells in a row, which may hold nothing. Cheap to clone: all clones are the same cells.
pub(crate) struct Row<T>(Arc<[MaybeUninit<std::cell::UnsafeCell<T>>]>);

impl<T> Clone for Row<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Row<T> {
    pub(crate) fn new(len: usize) -> Self {
        Self(Arc::new_uninit_slice(len))
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Where the first of them lies.
    #[inline]
    pub(crate) fn address(&self) -> usize {
        self.0.as_ptr().addr()
    }

    /// Hands a pointer for reading the cells of `range`, which lie one behind the other, to `access`. Nobody may write them while what it returns is used.
    #[inline]
    pub(crate) fn with<R>(&self, range: Range<usize>, access: impl FnOnce(*const T) -> R) -> R {
        self.with_mut(range, |cells| access(cells))
    }

    /// The same for writing: nobody else may access them at all.
    #[inline]
    pub(crate) fn with_mut<R>(&self, range: Range<usize>, access: impl FnOnce(*mut T) -> R) -> R {
        debug_assert!(range.start <= range.end && range.end <= self.len(), "they are of this row");
        // Inside the row, or at its end; and what is in a cell may be written through its shared address.
        access(self.0.as_ptr().wrapping_add(range.start).cast::<T>().cast_mut())
    }
}

//! Hints have no part in any order of memory: here they are nothing.

pub(crate) fn to_read(_address: usize, _bytes: usize) {}

pub(crate) fn to_write(_address: usize, _bytes: usize) {}

/// See `mainlane`'s.
#[derive(Default)]
pub(crate) struct Hint(());

impl Hint {
    pub(crate) fn set(&self, _address: usize) {}

    pub(crate) fn ask(&self) {}
}

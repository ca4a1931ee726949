//! A store in memory that can be held, filled up, broken and looked into.

use std::sync::{Arc, Condvar, Mutex};

use mainlane::journal::store::{StoreError, Write};

use crate::rows::{Held, Holder, Rows};

/// What survives the store.
#[derive(Clone, Default)]
pub(crate) struct Disk(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    rows: Rows,
    held: bool,
    error: Option<StoreError>,
}

impl Disk {
    /// Appends do not return before it is released.
    pub(crate) fn hold(&self) {
        self.0.0.lock().unwrap().held = true;
    }

    pub(crate) fn release(&self) {
        self.0.0.lock().unwrap().held = false;
        self.0.1.notify_all();
    }

    /// Appends fail before it is mended.
    pub(crate) fn fail(&self, error: StoreError) {
        self.0.0.lock().unwrap().error = Some(error);
    }

    pub(crate) fn mend(&self) {
        self.0.0.lock().unwrap().error = None;
    }

    /// Another disk with the same on it, as a crash would leave it.
    pub(crate) fn copy(&self) -> Self {
        let copy = Self::default();
        let rows = self.0.0.lock().unwrap().rows.clone();
        copy.edit(|to| *to = rows);
        copy
    }

    pub(crate) fn edit(&self, edit: impl FnOnce(&mut Rows)) {
        self.with(edit);
    }
}

/// The store on it.
pub(crate) type Memory = Held<Disk>;

impl Memory {
    pub(crate) fn open(disk: &Disk) -> Self {
        Held(disk.clone())
    }
}

impl Holder for Disk {
    fn with<T>(&self, work: impl FnOnce(&mut Rows) -> T) -> T {
        work(&mut self.0.0.lock().unwrap().rows)
    }

    fn append(&self, write: &Write) -> Result<(), StoreError> {
        let (state, released) = &*self.0;
        let mut state = released.wait_while(state.lock().unwrap(), |state| state.held).unwrap();
        if let Some(error) = &state.error {
            return Err(error.clone());
        }
        state.rows.write(write);
        Ok(())
    }
}

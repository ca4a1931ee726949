//! What a family lists, and what it counts of those that are gone.

use std::sync::Arc;

use crate::signal::inbox::Mail;
use crate::signal::outlet::OutletCounts;
use crate::signal::status::Gone;

pub(crate) struct Book<T> {
    pub(crate) subscribers: Vec<Arc<dyn Mail<T>>>,
    /// Gone too, but somebody still has them: a handler in the middle of a call fails after that, and what was taken is given up.
    leaving: Vec<Arc<dyn Mail<T>>>,
    gone: Gone,
    pub(crate) outlets: Vec<Arc<OutletCounts>>,
    /// Of outlets that are gone: published, unheard.
    pub(crate) published: (u64, u64),
    pub(crate) dispatched: u64,
    /// Taken from the queue, and not handed on yet.
    pub(crate) taken: u64,
}

impl<T> Default for Book<T> {
    fn default() -> Self {
        Self {
            subscribers: Vec::new(),
            leaving: Vec::new(),
            gone: Gone::default(),
            outlets: Vec::new(),
            published: (0, 0),
            dispatched: 0,
            taken: 0,
        }
    }
}

impl<T> Book<T> {
    /// A subscriber is gone.
    pub(crate) fn forget(&mut self, mail: &Arc<dyn Mail<T>>) {
        self.settle();
        if let Some(at) = self.subscribers.iter().position(|other| Arc::ptr_eq(other, mail)) {
            self.leaving.push(self.subscribers.remove(at));
        }
    }

    /// What became of the signals of those that are gone.
    pub(crate) fn gone(&mut self) -> Gone {
        self.settle();
        let mut gone = self.gone;
        self.leaving.iter().for_each(|mail| gone.add(&mail.status()));
        gone
    }

    /// Counts for good those that nobody has any more. Whoever had one of them left it, and with that the host's code went.
    fn settle(&mut self) {
        let gone = &mut self.gone;
        self.leaving.retain(|mail| {
            let is_held = Arc::strong_count(mail) > 1;
            if !is_held {
                gone.add(&mail.status());
            }
            is_held
        });
    }
}

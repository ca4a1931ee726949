//! Who is called after each change of a registry, for as long as they want that.

use std::fmt;
use std::sync::Arc;

use crate::core::{contain, drop_each, let_go};
use crate::sync::Mutex;

pub(super) type Hook = Arc<dyn Fn() + Send + Sync>;

/// Who is called after each change.
#[derive(Default)]
pub(super) struct Hooks(Mutex<Vec<Hook>>);

impl Hooks {
    pub(super) fn add(hooks: &Arc<Self>, hook: Hook) -> Hooked {
        hooks.0.lock().push(hook.clone());
        Hooked { hooks: hooks.clone(), hook: Some(hook) }
    }

    /// Calls all, without the lock. Returns how many panicked.
    pub(super) fn call(&self) -> u64 {
        let hooks = self.0.lock().clone();
        let mut panics = 0;
        for hook in hooks {
            panics += u64::from(contain(|| hook()).is_err());
            // One that was taken off meanwhile ends here.
            let_go(hook);
        }
        panics
    }
}

impl Drop for Hooks {
    fn drop(&mut self) {
        // One by one: if what two of them have panicked at once, all would end.
        let _ = drop_each(self.0.get_mut().drain(..));
    }
}

/// As long as this is there, a hook of [`Registry::on_change`](super::Registry::on_change) is called. Dropping it takes the hook off; a
/// call that is under way on another thread comes to its end.
///
/// ```
/// # use std::sync::Arc;
/// # use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
/// # use mainlane::register::{Interface, Need, Registry};
/// # trait Clock: Send + Sync {}
/// # struct Sun;
/// # impl Clock for Sun {}
/// # impl Interface for dyn Clock {
/// #     type Key = u64;
/// #     const NAME: &'static str = "clock";
/// #     const CAPABILITIES: &'static [Need] = &[];
/// #     fn id(key: &u64) -> u64 { *key }
/// # }
/// let clocks = Registry::<dyn Clock>::new();
/// let changes = Arc::new(AtomicU32::new(0));
/// let counts = changes.clone();
/// let hooked = clocks.on_change(move || _ = counts.fetch_add(1, Relaxed));
/// clocks.register(clocks.offer(1, "sun", Arc::new(Sun)))?;
/// drop(hooked);
/// clocks.withdraw(&1, "sun");
/// assert_eq!(changes.load(Relaxed), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping it takes the hook off; `keep` leaves it to the registry"]
pub struct Hooked {
    hooks: Arc<Hooks>,
    /// `None` when it is the registry's to keep.
    hook: Option<Hook>,
}

impl Hooked {
    /// Has the hook called for as long as the registry is there.
    pub fn keep(mut self) {
        self.hook = None;
    }
}

impl Drop for Hooked {
    fn drop(&mut self) {
        let Some(hook) = self.hook.take() else { return };
        let mut hooks = self.hooks.0.lock();
        let at = hooks.iter().position(|other| Arc::ptr_eq(other, &hook));
        let its = at.map(|at| hooks.remove(at));
        // What is the host's in it ends without the lock.
        drop(hooks);
        drop(its);
    }
}

impl fmt::Debug for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooked").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::{AtomicU64, Ordering::Relaxed};

    #[test]
    fn a_hook_is_taken_off_by_itself_or_another_and_what_it_had_ends_with_it() {
        let hooks = Arc::new(Hooks::default());
        let (calls, token) = (Arc::new(AtomicU64::new(0)), Arc::new(()));
        let hook = |takes: Arc<Mutex<Option<Hooked>>>| -> Hook {
            let (count, token) = (calls.clone(), token.clone());
            Arc::new(move || {
                let _token = &token;
                count.fetch_add(1, Relaxed);
                let taken = takes.lock().take();
                drop(taken);
            })
        };
        let [first, second, kept] = [(); 3].map(|()| Hooks::add(&hooks, hook(Arc::default())));
        let own = Arc::new(Mutex::new(None));
        *own.lock() = Some(Hooks::add(&hooks, hook(own.clone())));
        kept.keep();
        assert_eq!((hooks.call(), calls.load(Relaxed), Arc::strong_count(&token)), (0, 4, 4));
        drop(first);
        assert_eq!((hooks.call(), calls.load(Relaxed), Arc::strong_count(&token)), (0, 6, 3));
        drop(hooks);
        assert_eq!(Arc::strong_count(&token), 3, "whoever can take one off has them");
        drop(second);
        assert_eq!(Arc::strong_count(&token), 1);
    }
}

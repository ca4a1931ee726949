//! Who holds what, and waits for whom: a circle of them is found before anybody waits in it.
//!
//! Whoever closes a project waits for its turn, and that turn may be closing another: two reconcilers that close each other's projects would
//! wait until the shorter of their deadlines. So whoever is about to wait for a lock says so, with what its thread holds meanwhile.
//!
//! # Invariant
//! - **Y6 no circle**: all who wait are in one list, each with what its thread holds, which does not change while it waits. Whoever comes
//!   follows, behind the same lock, who holds what it wants, what that one waits for, and so on; and when that ends at itself, it does not
//!   wait. So of those who would make a circle the last to come does not.
//!
//! A lock is known by its address, which is no other's as long as somebody holds it or waits for it.

use std::cell::RefCell;

use crate::sync::Mutex;

/// Those who wait, of all registers, for a circle may go through several. Few, and not for long: whoever opens and closes projects.
static WAITING: Mutex<Vec<Waits>> = Mutex::new(Vec::new());

thread_local! {
    /// What this thread holds: the locks' addresses.
    static HELD: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

struct Waits {
    holds: Vec<usize>,
    wants: usize,
}

/// Whoever waits would wait for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Circle;

/// While this lives, this thread holds a lock, or is the one that everybody who waits for it waits for.
pub(crate) struct Holds(usize);

impl Holds {
    pub(crate) fn new<T>(lock: &Mutex<T>) -> Self {
        let lock = address(lock);
        // A thread whose own storage is gone is ending, and has no turn that anybody could wait for.
        let _ = HELD.try_with(|held| held.borrow_mut().push(lock));
        Self(lock)
    }
}

impl Drop for Holds {
    fn drop(&mut self) {
        let _ = HELD.try_with(|held| {
            let mut held = held.borrow_mut();
            let at = held.iter().rposition(|lock| *lock == self.0);
            at.map(|at| held.remove(at))
        });
    }
}

/// Waits for a lock as `wait` does.
///
/// # Errors
/// When whoever holds it waits for this thread, or is it. It is not waited for then.
pub(crate) fn wait_for<T, G>(lock: &Mutex<T>, wait: impl FnOnce() -> G) -> Result<G, Circle> {
    let wants = address(lock);
    let holds = HELD.try_with(|held| held.borrow().clone()).unwrap_or_default();
    let mut waiting = WAITING.lock();
    if leads_to(&waiting, wants, &holds) {
        return Err(Circle);
    }
    waiting.push(Waits { holds, wants });
    drop(waiting);
    let _in_list = InList(wants);
    Ok(wait())
}

/// Takes this thread out of the list: any of those who hold nothing and want the same is as good as another, and of those who hold
/// something there is one.
struct InList(usize);

impl Drop for InList {
    fn drop(&mut self) {
        let holds = HELD.try_with(|held| held.borrow().clone()).unwrap_or_default();
        let mut waiting = WAITING.lock();
        let at = waiting.iter().position(|one| one.wants == self.0 && one.holds == holds);
        at.map(|at| waiting.swap_remove(at));
    }
}

/// True when waiting for `wants` is, in the end, waiting for somebody who holds `own`.
fn leads_to(waiting: &[Waits], mut wants: usize, own: &[usize]) -> bool {
    // No further than there are steps: by Y6 there is no circle among them.
    for _ in 0..=waiting.len() {
        if own.contains(&wants) {
            return true;
        }
        let Some(holder) = waiting.iter().find(|one| one.holds.contains(&wants)) else { return false };
        wants = holder.wants;
    }
    false
}

fn address<T>(lock: &Mutex<T>) -> usize {
    std::ptr::from_ref(lock).addr()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn nobody_waits_for_what_it_holds_itself_and_everybody_for_what_another_does() {
        let (one, other) = (Mutex::new(()), Mutex::new(()));
        let held = Holds::new(&one);
        assert_eq!(wait_for(&one, || ()), Err(Circle));
        assert_eq!(wait_for(&other, || 7), Ok(7));
        let within = Holds::new(&one);
        drop(held);
        assert_eq!(wait_for(&one, || ()), Err(Circle), "it holds it twice");
        drop(within);
        assert_eq!(wait_for(&one, || ()), Ok(()));
    }

    /// A ring of threads, each of which holds one and wants the next.
    #[test]
    fn of_those_who_wait_in_a_circle_one_does_not() {
        for count in 2..6 {
            let locks: Arc<Vec<_>> = Arc::new((0..count).map(|_| Mutex::new(())).collect());
            let all_hold = Arc::new(std::sync::Barrier::new(count));
            let threads: Vec<_> = (0..count)
                .map(|n| {
                    let (locks, all_hold) = (locks.clone(), all_hold.clone());
                    std::thread::spawn(move || {
                        let (_lock, _holds) = (locks[n].lock(), Holds::new(&locks[n]));
                        all_hold.wait();
                        let next = &locks[(n + 1) % count];
                        let begin = Instant::now();
                        let waited = wait_for(next, || next.try_lock_for(PATIENCE).is_some());
                        assert!(begin.elapsed() < PATIENCE);
                        waited
                    })
                })
                .collect();
            let ends: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
            assert_eq!(ends.iter().filter(|end| **end == Err(Circle)).count(), 1, "{ends:?}");
            assert_eq!(ends.iter().filter(|end| **end == Ok(true)).count(), count - 1);
        }
        assert!(WAITING.lock().iter().all(|one| one.holds.is_empty()), "nobody is left of those");
    }

    #[test]
    fn a_row_of_those_who_wait_is_no_circle() {
        let row = [(vec![1], 2), (vec![2, 3], 4), (vec![5], 1)].map(|(holds, wants)| Waits { holds, wants });
        assert!(leads_to(&row, 5, &[4]) && leads_to(&row, 1, &[2]) && leads_to(&row, 3, &[9, 4]));
        assert!(!leads_to(&row, 5, &[6]) && !leads_to(&row, 4, &[1]) && !leads_to(&row, 1, &[]));
    }
}

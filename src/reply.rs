//! An answer that one thread gives and another waits for.

use std::fmt;
use std::time::Instant;

use crate::notifications::{Notifications, listen};
use crate::sync::{Arc, Mutex};

/// A question, and where its answer will be.
pub(crate) fn reply<T>() -> (Answer<T>, Asked<T>) {
    let slot = Arc::new(Slot { state: Mutex::new(State::Waiting), told: Notifications::new() });
    (Answer(slot.clone()), Asked(slot))
}

struct Slot<T> {
    state: Mutex<State<T>>,
    told: Notifications,
}

enum State<T> {
    Waiting,
    Told(T),
    /// Nobody is left who could answer, or the answer was taken.
    Over,
}

/// The end of whoever answers. Dropped without an answer, it lets the other end go.
pub(crate) struct Answer<T>(Arc<Slot<T>>);

impl<T> Answer<T> {
    pub(crate) fn give(self, answer: T) {
        *self.0.state.lock() = State::Told(answer);
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        if matches!(*state, State::Waiting) {
            *state = State::Over;
        }
        drop(state);
        let _ = self.0.told.notify_all();
    }
}

/// Something that the main lane was asked for, and will answer in one of its next turns.
///
/// Dropping it takes nothing back.
#[must_use = "the answer says whether it was done"]
pub struct Asked<T>(Arc<Slot<T>>);

impl<T> Asked<T> {
    /// The answer, if it is there. `Err` hands the question back; `None` says that the pipeline ended without an answer.
    pub fn poll(self) -> Result<Option<T>, Self> {
        let mut state = self.0.state.lock();
        match std::mem::replace(&mut *state, State::Over) {
            State::Told(answer) => Ok(Some(answer)),
            State::Over => Ok(None),
            State::Waiting => {
                *state = State::Waiting;
                drop(state);
                Err(self)
            }
        }
    }

    /// Blocks this thread until the answer is there, `deadline` at most. `None` when there was none by then, or the
    /// pipeline has ended. Not for the thread that drives the main lane: it would wait for itself.
    pub fn wait(mut self, deadline: Instant) -> Option<T> {
        loop {
            let slot = self.0.clone();
            listen!(slot.told => told);
            self = match self.poll() {
                Ok(answer) => return answer,
                Err(asked) => asked,
            };
            if told.wait_deadline(deadline).is_none() {
                return self.poll().ok().flatten();
            }
        }
    }

    /// Waits for the answer. `None` when the pipeline ended without one. Needs no runtime.
    pub async fn answer(mut self) -> Option<T> {
        loop {
            let slot = self.0.clone();
            listen!(slot.told => told);
            self = match self.poll() {
                Ok(answer) => return answer,
                Err(asked) => asked,
            };
            told.await;
        }
    }
}

impl<T> fmt::Debug for Asked<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn an_answer_reaches_whoever_asked_and_a_dropped_one_lets_them_go() {
        let (answer, asked) = reply();
        let asked = asked.poll().unwrap_err();
        let waiting = std::thread::spawn(move || asked.wait(Instant::now() + Duration::from_secs(60)));
        answer.give(3);
        assert_eq!(waiting.join().unwrap(), Some(3));

        let (answer, asked) = reply::<u8>();
        let waiting = std::thread::spawn(move || asked.wait(Instant::now() + Duration::from_secs(60)));
        drop(answer);
        assert_eq!(waiting.join().unwrap(), None);

        let (_answer, asked) = reply::<u8>();
        assert_eq!(asked.wait(Instant::now()), None);
    }
}

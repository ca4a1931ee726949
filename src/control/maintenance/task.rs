//! A job with what it came to, for those who run it and need not know its type.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::core::contain;

use super::job::{JobError, Step, Work};
use super::outcome::{Outcome, Slot, Tell};
use super::stats::End;

/// What runs. No method of it is called with a lock held: all of them may run the host's code.
pub(crate) trait Unit: Send {
    fn slot(&self) -> Arc<dyn Tell>;

    fn is_asynchronous(&self) -> bool;

    /// Runs for about `slice`, or to the end if it cannot be interrupted. `None` if there is more to do.
    fn run(&mut self, slice: Duration) -> Option<End>;

    /// Polls it once. For asynchronous ones.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<End>;

    /// Drops what there is to do, done or not.
    fn drop_work(&mut self);

    /// Tells how it ended, and returns how many panics there were in drops.
    fn finish(self: Box<Self>, end: End, reason: &str) -> u64;
}

/// A job of one type.
pub(crate) struct Task<T> {
    pub(crate) slot: Arc<Slot<T>>,
    pub(crate) work: Work<T>,
    outcome: Option<Outcome<T>>,
    drop_panics: u64,
}

impl<T> Task<T> {
    pub(crate) fn new(slot: Arc<Slot<T>>, work: Work<T>) -> Self {
        Self { slot, work, outcome: None, drop_panics: 0 }
    }

    fn drop_contained<U>(&mut self, value: U) {
        self.drop_panics += u64::from(contain(|| drop(value)).is_err());
    }

    /// Notes how it ended. An error after it was told to stop is how it stopped.
    fn conclude(&mut self, result: Result<Result<T, JobError>, String>) -> End {
        let (end, outcome) = match result {
            Ok(Ok(value)) => (End::Done, Outcome::Done(value)),
            Ok(Err(error)) if self.slot.context.is_cancelled() => {
                self.drop_contained(error);
                (End::Cancelled, Outcome::Cancelled)
            }
            Ok(Err(error)) => {
                let said = contain(|| error.to_string());
                self.drop_contained(error);
                match said {
                    Ok(message) => (End::Failed, Outcome::Failed(message)),
                    Err(message) => (End::Panicked, Outcome::Panicked(message)),
                }
            }
            Err(message) => (End::Panicked, Outcome::Panicked(message)),
        };
        self.outcome = Some(outcome);
        end
    }
}

impl<T: Send + 'static> Unit for Task<T> {
    fn slot(&self) -> Arc<dyn Tell> {
        self.slot.clone()
    }

    fn is_asynchronous(&self) -> bool {
        matches!(self.work, Work::Asynchronous(_) | Work::Polled(_))
    }

    fn run(&mut self, slice: Duration) -> Option<End> {
        let slot = self.slot.clone();
        let context = &slot.context;
        match std::mem::replace(&mut self.work, Work::Over) {
            Work::Blocking(work) => {
                let result = contain(|| work(context));
                Some(self.conclude(result))
            }
            Work::Resumable(mut work) => {
                let begin = Instant::now();
                let result = loop {
                    match contain(|| work(context)) {
                        Ok(Ok(Step::More)) if context.is_cancelled() => break None,
                        Ok(Ok(Step::More)) if begin.elapsed() < slice => {}
                        Ok(Ok(Step::More)) => {
                            self.work = Work::Resumable(work);
                            return None;
                        }
                        Ok(Ok(Step::Done(value))) => break Some(Ok(Ok(value))),
                        Ok(Err(error)) => break Some(Ok(Err(error))),
                        Err(message) => break Some(Err(message)),
                    }
                };
                self.drop_contained(work);
                Some(result.map_or(End::Cancelled, |result| self.conclude(result)))
            }
            Work::Asynchronous(_) | Work::Polled(_) | Work::Over => unreachable!("only what blocks is run"),
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<End> {
        if matches!(self.work, Work::Asynchronous(_))
            && let Work::Asynchronous(make) = std::mem::replace(&mut self.work, Work::Over)
        {
            let its = self.slot.context.clone();
            match contain(|| make(its)) {
                Ok(future) => self.work = Work::Polled(future),
                Err(message) => return Poll::Ready(self.conclude(Err(message))),
            }
        }
        let Work::Polled(future) = &mut self.work else { unreachable!("only what is asynchronous is polled") };
        let result = match contain(|| future.as_mut().poll(context)) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(result)) => Ok(result),
            Err(message) => Err(message),
        };
        self.drop_work();
        Poll::Ready(self.conclude(result))
    }

    fn drop_work(&mut self) {
        let work = std::mem::replace(&mut self.work, Work::Over);
        self.drop_contained(work);
    }

    fn finish(mut self: Box<Self>, end: End, reason: &str) -> u64 {
        if matches!(end, End::Cancelled | End::Abandoned) {
            // Told already if it ran; if it is between two slices, what it handed its token to goes on meanwhile.
            let _ = contain(|| self.slot.context.token.cancel());
        }
        self.drop_work();
        let outcome = match end {
            End::Done | End::Failed | End::Panicked => self.outcome.take(),
            End::Cancelled => Some(Outcome::Cancelled),
            End::Expired => Some(Outcome::Expired),
            End::Shed => Some(Outcome::Shed),
            End::Abandoned => None,
        };
        let outcome = outcome.unwrap_or_else(|| Outcome::Abandoned(reason.to_owned()));
        let left = self.slot.tell(outcome);
        self.drop_contained(left);
        self.drop_panics
    }
}

//! Signals in their order.
//!
//! What waits is kept in runs, so that a batch of signals costs a subscriber no more than one of them, and a signal that many wait for
//! is counted by reference once a batch.

use std::collections::VecDeque;
use std::time::Instant;

use super::{Missed, QueueCounts, Run, Taken};
use crate::backoff::{Backoff, Schedule};
use crate::signal::policy::Full;

pub(crate) struct Runs<T> {
    full: Full,
    capacity: usize,
    /// What waits, oldest first.
    waiting: Line<T>,
    /// What is missing before everything that waits.
    pub(super) missed_before: Missed,
    /// What is missing after everything that waits.
    pub(super) missed_after: Missed,
    aside: Aside<T>,
    /// A blocking subscriber that held up its family for long enough.
    suspended: bool,
    pub(super) counts: QueueCounts,
    /// What nobody needs any more.
    pub(super) fallen: Vec<Run<T>>,
}

/// Runs in a row, with what is missing right before each.
struct Line<T> {
    runs: VecDeque<(Missed, Run<T>)>,
    signals: usize,
}

/// What is kept aside until there is room.
struct Aside<T> {
    line: Line<T>,
    rests: Schedule,
    /// Looks that found no room.
    tried: u32,
    due: Option<Instant>,
}

impl<T> Runs<T> {
    pub(super) fn new(full: Full, capacity: usize) -> Self {
        let backoff = match full {
            Full::Retry { backoff, .. } => backoff,
            _ => Backoff::NONE,
        };
        Self {
            full,
            capacity,
            waiting: Line::default(),
            missed_before: Missed::default(),
            missed_after: Missed::default(),
            aside: Aside { line: Line::default(), rests: backoff.schedule(None), tried: 0, due: None },
            suspended: false,
            counts: QueueCounts::default(),
            fallen: Vec::new(),
        }
    }

    pub(super) fn depth(&self) -> usize {
        self.waiting.signals + self.aside.line.signals
    }

    pub(super) fn room(&self) -> usize {
        match self.full {
            Full::Block { .. } if !self.suspended => self.capacity - self.waiting.signals,
            _ => usize::MAX,
        }
    }

    pub(super) fn suspend(&mut self) -> bool {
        self.suspended |= self.room() == 0;
        self.suspended
    }

    /// Signals that match.
    pub(crate) fn offer(&mut self, mut run: Run<T>, now: Instant) {
        self.counts.matched += run.len() as u64;
        if self.full == Full::DropOldest {
            self.waiting.append(self.missed_after.take(), run);
            return self.drop_oldest();
        }
        if self.aside.line.signals == 0 {
            let fits = run.split_off_front(self.capacity - self.waiting.signals);
            self.accept(fits);
        }
        if let Full::Retry { .. } = self.full {
            let fits = run.split_off_front(self.capacity - self.aside.line.signals);
            self.keep_aside(fits, now);
        }
        self.counts.dropped += run.len() as u64;
        self.missed_after.numbers(run.signals());
    }

    fn accept(&mut self, run: Run<T>) {
        if run.len() > 0 {
            self.waiting.append(self.missed_after.take(), run);
        }
    }

    fn drop_oldest(&mut self) {
        while self.waiting.signals > self.capacity {
            let Some((missed, run)) = self.waiting.pop(self.waiting.signals - self.capacity) else { return };
            self.missed_before.add(missed);
            self.missed_before.numbers(run.signals());
            self.counts.dropped += run.len() as u64;
            self.fallen.push(run);
        }
    }

    pub(super) fn take(&mut self, most: usize, into: &mut VecDeque<Taken<T>>, now: Instant) {
        let mut left = most;
        while left > 0
            && let Some((missed, run)) = self.waiting.pop(left)
        {
            self.missed_before.add(missed);
            if !self.missed_before.is_none() {
                into.push_back(Taken::Missed(self.missed_before.take()));
            }
            left -= run.len();
            self.counts.delivered += run.len() as u64;
            self.suspended = false;
            into.push_back(Taken::Run(run));
            self.move_up(now);
        }
        if left > 0 {
            self.missed_before.add(self.missed_after.take());
            if !self.missed_before.is_none() {
                into.push_back(Taken::Missed(self.missed_before.take()));
            }
        }
    }

    pub(super) fn look_aside(&mut self, now: Instant) -> Option<Instant> {
        let Full::Retry { tries, .. } = self.full else { return None };
        let due = self.aside.due?;
        if due > now {
            return Some(due);
        }
        self.aside.tried += 1;
        if self.aside.tried < tries {
            self.aside.due = Some(now + self.aside.rests.rest());
            return self.aside.due;
        }
        let after = self.missed_after.take();
        while let Some((missed, run)) = self.aside.line.pop(usize::MAX) {
            self.missed_after.add(missed);
            self.missed_after.numbers(run.signals());
            self.counts.dropped += run.len() as u64;
            self.fallen.push(run);
        }
        self.missed_after.add(after);
        self.aside.anew(None);
        None
    }

    pub(super) fn clear(&mut self) {
        for line in [&mut self.waiting, &mut self.aside.line] {
            self.fallen.extend(std::mem::take(line).runs.into_iter().map(|(_, run)| run));
        }
        self.aside.anew(None);
        (self.missed_before, self.missed_after) = Default::default();
    }

    fn keep_aside(&mut self, run: Run<T>, now: Instant) {
        if run.len() == 0 {
            return;
        }
        self.aside.line.append(self.missed_after.take(), run);
        if self.aside.due.is_none() {
            self.aside.anew(Some(now));
        }
    }

    /// There is room again.
    fn move_up(&mut self, now: Instant) {
        while self.waiting.signals < self.capacity
            && let Some((missed, run)) = self.aside.line.pop(self.capacity - self.waiting.signals)
        {
            self.waiting.append(missed, run);
            let more = self.aside.line.signals > 0;
            self.aside.anew(more.then_some(now));
        }
    }
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self { runs: VecDeque::new(), signals: 0 }
    }
}

impl<T> Line<T> {
    fn append(&mut self, missed: Missed, run: Run<T>) {
        self.signals += run.len();
        // One that goes on where the last one ends is a part of it.
        if let Some((_, last)) = self.runs.back_mut()
            && missed.is_none()
            && last.at.end == run.at.start
            && std::ptr::eq(&*last.batch, &*run.batch)
        {
            last.at.end = run.at.end;
            return;
        }
        self.runs.push_back((missed, run));
    }

    /// The oldest signals, `most` at most, as one run, and what is missing before them.
    fn pop(&mut self, most: usize) -> Option<(Missed, Run<T>)> {
        let (missed, first) = self.runs.front_mut()?;
        let popped =
            if first.len() > most { (missed.take(), first.split_off_front(most)) } else { self.runs.pop_front()? };
        self.signals -= popped.1.len();
        Some(popped)
    }
}

impl<T> Aside<T> {
    /// Counts looks from `now` on, if there is anything to look for.
    fn anew(&mut self, now: Option<Instant>) {
        self.tried = 0;
        self.rests.begin_anew();
        self.due = now.map(|now| now + self.rests.rest());
    }
}

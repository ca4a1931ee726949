//! Applying what was cut: whose events go when, and how many of them.

use crate::clock::Stamp;
use crate::lane::runs::NO_KEY;
use crate::main_lane::budget::Pace;
use crate::main_lane::lane_end::LaneEnd;
use crate::main_lane::lanes::{Lanes, Place};
use crate::main_lane::merge::Next;
use crate::main_lane::reduce::Reducer;
use crate::main_lane::turn::MainLane;

impl<S: Reducer> MainLane<S> {
    /// Applies unclocked lanes first, by rank, then the cut in the order of its keys. Returns how many events there were
    /// and whether that was all.
    ///
    /// When unclocked lanes alone have spent a whole budget, the cut goes first in the next turn, and among them the one that had
    /// nothing of it: a flood on one of them slows the others down, it does not stop them.
    pub(crate) fn apply_batch(&mut self, pace: &mut Pace) -> (usize, bool) {
        if std::mem::take(&mut self.cut_first) {
            let (cut, finished) = self.apply_cut(pace);
            let (unclocked, finished) = if finished { self.apply_unclocked(pace) } else { (0, false) };
            return (cut + unclocked, finished);
        }
        let (unclocked, finished) = self.apply_unclocked(pace);
        let (cut, finished) = if finished { self.apply_cut(pace) } else { (0, false) };
        self.cut_first = self.open_batch && !finished && cut == 0;
        (unclocked + cut, finished)
    }

    fn apply_unclocked(&mut self, pace: &mut Pace) -> (usize, bool) {
        let (mut events, count) = (0, self.lanes.unclocked.len());
        if count == 0 {
            return (0, true);
        }
        let first =
            self.unclocked_first.take().and_then(|id| self.lanes.unclocked.iter().position(|lane| lane.id == id));
        let first = first.unwrap_or_default();
        for at in (first..count).chain(0..first) {
            let (run, finished) = self.apply_lane(Place { clocked: false, at }, pace);
            events += run;
            if !finished {
                if run == 0 {
                    self.unclocked_first = Some(self.lanes.unclocked[at].id);
                }
                return (events, false);
            }
        }
        (events, true)
    }

    /// Applies what was cut of one lane, which is in nobody's order but its own.
    #[inline]
    fn apply_lane(&mut self, place: Place, pace: &mut Pace) -> (usize, bool) {
        let mut events = 0;
        while self.lanes.at(place).has_cut() {
            let Some(run) = self.apply_run(place, NO_KEY, pace) else { return (events, false) };
            events += run;
        }
        (events, true)
    }

    fn apply_cut(&mut self, pace: &mut Pace) -> (usize, bool) {
        if !self.open_batch {
            return (0, true);
        }
        let (events, finished) = match self.only_in_cut() {
            Some(at) => self.apply_lane(Place { clocked: true, at }, pace),
            None => self.apply_merged(pace),
        };
        if finished {
            self.open_batch = false;
            self.settled = self.settled.max(Stamp(self.bound.0));
        }
        (events, finished)
    }

    /// The lane that has all of what is left of the cut, if one has.
    #[inline]
    fn only_in_cut(&self) -> Option<usize> {
        let mut with_some = (0..).zip(&self.lanes.clocked).filter(|(_, lane)| lane.has_cut());
        let (at, _) = with_some.next()?;
        with_some.next().is_none().then_some(at)
    }

    fn apply_merged(&mut self, pace: &mut Pace) -> (usize, bool) {
        let Lanes { clocked, merge, .. } = &mut self.lanes;
        merge.begin(clocked.iter().map(LaneEnd::head_key));
        if self.keeping.is_none() { self.merge_cut(pace) } else { self.merge_cut_kept(pace) }
    }

    /// Where lanes take turns with single events, this is most of what an event costs: so nothing is looked up twice.
    fn merge_cut(&mut self, pace: &mut Pace) -> (usize, bool) {
        let Self { lanes: Lanes { clocked, merge, .. }, applying, hub, current, .. } = self;
        let mut apply = applying.with(&hub.core);
        let mut events = 0;
        while let Some(Next { lane: at, limit }) = merge.next() {
            let allowance = pace.allowance();
            if allowance == 0 {
                return (events, false);
            }
            *current = Place { clocked: true, at };
            let lane = &mut clocked[at];
            let run = lane.take(limit, allowance, &mut apply);
            pace.spend(run);
            events += run;
            merge.went(at, lane.head_key());
        }
        (events, true)
    }

    fn merge_cut_kept(&mut self, pace: &mut Pace) -> (usize, bool) {
        let mut events = 0;
        while let Some(Next { lane: at, limit }) = self.lanes.merge.next() {
            let Some(run) = self.apply_run(Place { clocked: true, at }, limit, pace) else { return (events, false) };
            events += run;
            let head = self.lanes.clocked[at].head_key();
            self.lanes.merge.went(at, head);
        }
        (events, true)
    }

    /// Applies a run of one lane's events below `limit`. `None` when the budget is spent.
    #[inline]
    fn apply_run(&mut self, place: Place, limit: u64, pace: &mut Pace) -> Option<usize> {
        let allowance = pace.allowance();
        if allowance == 0 {
            return None;
        }
        self.current = place;
        if self.keeping.is_some() {
            let run = self.take_run_kept(place, limit, allowance);
            // First, for the reducer may panic, and the turn go on.
            pace.spend(run);
            self.apply_taken();
            return Some(run);
        }
        let mut apply = self.applying.with(&self.hub.core);
        let run = self.lanes.at(place).take(limit, allowance, &mut apply);
        pace.spend(run);
        Some(run)
    }
}

//! The slow, obviously right twin of the levels: it remembers every observation, and goes back over them each time.

use std::time::{Duration, Instant};

use super::budget::MemoryThresholds;
use super::levels::MemoryLevel;

const LEVELS: [MemoryLevel; 4] = [MemoryLevel::Normal, MemoryLevel::Elevated, MemoryLevel::High, MemoryLevel::Critical];

pub(super) struct Twin {
    thresholds: [u32; 4],
    margin: u32,
    dwell: Duration,
    /// When, how full in percent of the budget if it was known, and the level from then on.
    seen: Vec<(Instant, Option<u64>, usize)>,
}

impl Twin {
    pub(super) fn new(thresholds: MemoryThresholds) -> Self {
        let MemoryThresholds { elevated, high, critical, margin, dwell } = thresholds;
        Self { thresholds: [0, elevated, high, critical], margin, dwell, seen: Vec::new() }
    }

    /// `percent` of the budget is used.
    pub(super) fn observe(&mut self, now: Instant, percent: Option<u64>) -> MemoryLevel {
        let level = self.seen.last().map_or(0, |(_, _, level)| *level);
        self.seen.push((now, percent, level));
        let next = self.next(now, level);
        self.seen.last_mut().unwrap().2 = next;
        LEVELS[next]
    }

    fn next(&self, now: Instant, level: usize) -> usize {
        let Some(percent) = self.seen.last().unwrap().1 else { return level };
        let reached = (0..4).rev().find(|level| percent >= u64::from(self.thresholds[*level])).unwrap();
        if reached > level {
            return reached;
        }
        // The observations since the level was taken, newest first, as far as all are below it by the margin.
        let changed = (1..self.seen.len()).rev().find(|at| self.seen[*at].2 != self.seen[*at - 1].2).unwrap_or(0);
        let after = if self.seen[0].2 == level && changed == 0 { 0 } else { changed + 1 };
        let is_calm = |percent: Option<u64>| {
            percent.is_some_and(|percent| percent + u64::from(self.margin) < u64::from(self.thresholds[level]))
        };
        let calm = self.seen[after.min(self.seen.len())..].iter().rev().take_while(|(_, percent, _)| is_calm(*percent));
        match calm.last() {
            Some((since, ..)) if now.duration_since(*since) >= self.dwell => level - 1,
            Some(_) | None => level,
        }
    }
}

//! When and how much of the state is to be put aside.
//!
//! # Rules
//! - **D1 only when it helps**: nothing at [`MemoryLevel::Normal`], and nothing once no more has to go.
//! - **D2 one look at a time**: after demotions nothing more until their effect can have been seen: the host's snapshot is
//!   a newer one. What the system counts follows later, so for those signals a while has to pass as well.
//! - **D3 twice as many**: while nothing improves, each round is twice the one before, up to a bound. At
//!   [`MemoryLevel::Elevated`] there is no hurry: one at a time.

use std::time::{Duration, Instant};

use super::levels::{MemoryLevel, MemorySignal, Observation};

/// How long what was let go takes to show in what the system counts, unless said otherwise.
const SETTLE: Duration = Duration::from_secs(1);
/// How many candidates are demoted in one round at most, unless said otherwise.
const MOST: usize = 256;

/// Says how many candidates may be demoted.
#[derive(Clone, Debug)]
pub struct Demotions {
    most: usize,
    settle: Duration,
    last: Option<Round>,
}

/// Demotions that were made at once.
#[derive(Clone, Copy, Debug)]
struct Round {
    count: usize,
    version: u64,
    at: Instant,
    by: Option<MemorySignal>,
    used: u64,
}

impl Default for Demotions {
    fn default() -> Self {
        Self { most: MOST, settle: SETTLE, last: None }
    }
}

impl Demotions {
    /// Up to 256 in a round, and a second until the system's figures are looked at again.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many may be demoted in one round; one at least.
    pub fn most(mut self, count: usize) -> Self {
        self.most = count.max(1);
        self
    }

    /// How long a round is given to show in what the system counts.
    pub fn settle(mut self, time: Duration) -> Self {
        self.settle = time;
        self
    }

    /// How many may be demoted now, of the candidates in the snapshot `version`.
    pub fn allowed(&self, now: Instant, version: u64, observation: &Observation) -> usize {
        if observation.level == MemoryLevel::Normal || observation.excess == 0 {
            return 0;
        }
        let first = match observation.level {
            MemoryLevel::Normal | MemoryLevel::Elevated | MemoryLevel::High => 1,
            MemoryLevel::Critical => 4,
        };
        let Some(last) = &self.last else { return first.min(self.most) };
        if version <= last.version || !self.has_settled(last, now, observation) {
            return 0;
        }
        let improved = observation.by != last.by || observation.used < last.used;
        let next =
            if improved || observation.level == MemoryLevel::Elevated { 0 } else { last.count.saturating_mul(2) };
        next.max(first).min(self.most)
    }

    /// `count` were demoted after that observation.
    pub fn demoted(&mut self, now: Instant, version: u64, observation: &Observation, count: usize) {
        if count > 0 {
            self.last = Some(Round { count, version, at: now, by: observation.by, used: observation.used });
        } else if observation.level == MemoryLevel::Normal {
            self.last = None;
        }
    }

    fn has_settled(&self, last: &Round, now: Instant, observation: &Observation) -> bool {
        match observation.by {
            Some(MemorySignal::Held) => true,
            Some(MemorySignal::Process | MemorySignal::Cgroup | MemorySignal::Stall) | None => {
                now.saturating_duration_since(last.at) >= self.settle
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn observation(level: MemoryLevel, used: u64) -> Observation {
        Observation { level, by: Some(MemorySignal::Held), used, budget: 100, excess: used, changed: false }
    }

    /// A round: what was allowed is demoted.
    fn round(demotions: &mut Demotions, now: Instant, version: u64, observation: &Observation) -> usize {
        let count = demotions.allowed(now, version, observation);
        demotions.demoted(now, version, observation, count);
        count
    }

    #[test]
    fn while_nothing_improves_there_are_twice_as_many() {
        let (mut demotions, now) = (Demotions::new().most(10), Instant::now());
        let mut at = |version, level, used| round(&mut demotions, now, version, &observation(level, used));
        let high = MemoryLevel::High;
        assert_eq!([1, 2, 3, 4, 5, 6].map(|version| at(version, high, 90)), [1, 2, 4, 8, 10, 10]);
        assert_eq!((at(7, high, 80), at(8, high, 80), at(9, high, 80)), (1, 2, 4), "it improved");
        assert_eq!((at(10, MemoryLevel::Elevated, 80), at(11, MemoryLevel::Elevated, 80)), (1, 1), "no hurry");
        assert_eq!((at(12, MemoryLevel::Normal, 80), at(13, MemoryLevel::Critical, 99)), (0, 4));
    }

    #[test]
    fn nothing_more_until_the_effect_is_seen() {
        let (mut demotions, now) = (Demotions::new(), Instant::now());
        let high = observation(MemoryLevel::High, 90);
        assert_eq!([5, 5, 4, 6, 6].map(|version| round(&mut demotions, now, version, &high)), [1, 0, 0, 2, 0]);
    }

    #[test]
    fn what_the_system_counts_takes_a_while() {
        let (mut demotions, now) = (Demotions::new().settle(Duration::from_secs(2)), Instant::now());
        let mut high = observation(MemoryLevel::High, 90);
        high.by = Some(MemorySignal::Process);
        let mut at = |seconds, version| round(&mut demotions, now + Duration::from_secs(seconds), version, &high);
        assert_eq!((at(0, 1), at(1, 2), at(2, 2), at(4, 3)), (1, 0, 2, 4));
        let mut critical = observation(MemoryLevel::Critical, 99);
        assert_eq!(
            round(&mut demotions, now + Duration::from_secs(4), 4, &critical),
            4,
            "another signal, seen at once"
        );
        critical.excess = 0;
        assert_eq!(round(&mut demotions, now + Duration::from_secs(9), 9, &critical), 0, "enough has gone");
    }

    fn any_step() -> impl Strategy<Value = (u64, u64, usize, u64, bool)> {
        (0u64..3, 0u64..3, 0usize..4, 0u64..100, any::<bool>())
    }

    proptest! {
        #[test]
        fn whatever_comes_the_rules_are_kept(steps in prop::collection::vec(any_step(), 0..60), most in 1usize..20) {
            let levels = [MemoryLevel::Normal, MemoryLevel::Elevated, MemoryLevel::High, MemoryLevel::Critical];
            let (mut demotions, mut now, mut version) = (Demotions::new().most(most), Instant::now(), 0);
            let mut last: Option<(u64, usize)> = None;
            for (seconds, further, level, used, by_state) in steps {
                (now, version) = (now + Duration::from_secs(seconds), version + further);
                let mut observation = observation(levels[level], used);
                if !by_state {
                    observation.by = Some(MemorySignal::Cgroup);
                }
                let count = round(&mut demotions, now, version, &observation);
                prop_assert!(count <= most);
                if level == 0 || used == 0 {
                    prop_assert_eq!(count, 0);
                }
                if let Some((before, _)) = last.filter(|_| count > 0) {
                    prop_assert!(version > before);
                }
                let grown = last.map_or(4, |(_, before)| (2 * before).max(4));
                prop_assert!(count <= grown);
                let seen = last.is_none_or(|(before, _)| version > before);
                if level >= 2 && used > 0 && seen && by_state {
                    prop_assert!(count >= 1, "at least one at such a level");
                }
                if count > 0 {
                    last = Some((version, count));
                } else if level == 0 {
                    last = None;
                }
            }
        }
    }
}

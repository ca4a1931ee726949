//! One look at the memory: read, judge, demote.

use std::time::{Duration, Instant};

use super::demotions::Demotions;
use super::levels::{Levels, MemoryLevel, Observation};
use super::probe::MemoryProbe;
use super::reading::MemoryReading;
use super::spare::Spares;

/// How often is looked at [`MemoryLevel::Normal`], unless said otherwise.
const PERIOD: Duration = Duration::from_secs(1);
/// How much more often at any other level.
const HURRY: u32 = 8;
/// How long it rests at least, whatever was said: a look takes tens of microseconds.
const REST_MIN: Duration = Duration::from_millis(1);

/// Reads, judges and demotes, once per [`look`](Monitor::look). Knows nothing of the state: whoever calls it does.
#[derive(Debug)]
pub struct Monitor {
    probe: MemoryProbe,
    spares: Spares,
    levels: Levels,
    demotions: Demotions,
    period: Duration,
}

/// What came of a look.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Look {
    /// What was found.
    pub reading: MemoryReading,
    /// How it was judged. Of what the system counts, memory that the state let go of since and that is kept for what comes next is
    /// taken off, as far as `held` tells of it: to put more aside would not lower it.
    pub observation: Observation,
    /// How many might have been demoted.
    pub allowed: usize,
    /// How many were: fewer when there were no more candidates.
    pub demoted: usize,
    /// When to look again: after this time.
    pub after: Duration,
}

impl Monitor {
    /// Looks once a second, more often while memory is short.
    pub fn new(probe: MemoryProbe, levels: Levels) -> Self {
        Self { probe, spares: Spares::default(), levels, demotions: Demotions::new(), period: PERIOD }
    }

    /// How often to look while there is enough memory. An eighth of it at any other level. A millisecond at least.
    pub fn period(mut self, period: Duration) -> Self {
        self.period = period;
        self
    }

    /// How many are demoted when.
    pub fn demotions(mut self, demotions: Demotions) -> Self {
        self.demotions = demotions;
        self
    }

    /// The level now.
    pub fn level(&self) -> MemoryLevel {
        self.levels.level()
    }

    /// Looks, at the time `now`, at a state that holds `held` bytes and is the snapshot `version`.
    ///
    /// `choose` gives the event that demotes a candidate of that snapshot: the first at 0, the next at 1, and so on, until it
    /// has none. `push` sends it.
    ///
    /// A snapshot that was published since may not have the events in it yet. Then the same candidates are chosen once
    /// more, so what `choose` gives must do no harm when it is applied twice.
    ///
    /// # Errors
    /// That of `push`. What was pushed before counts.
    pub fn look<E, X>(
        &mut self,
        now: Instant,
        held: Option<u64>,
        version: u64,
        choose: &mut dyn FnMut(MemoryLevel, usize) -> Option<E>,
        push: &mut dyn FnMut(E) -> Result<(), X>,
    ) -> Result<Look, X> {
        let reading = MemoryReading { held, ..self.probe.read() };
        let observation = self.levels.observe(now, &self.spares.take_off(reading));
        let allowed = self.demotions.allowed(now, version, &observation);
        let (mut demoted, mut outcome) = (0, Ok(()));
        while demoted < allowed && outcome.is_ok() {
            let Some(event) = choose(observation.level, demoted) else { break };
            outcome = push(event);
            demoted += usize::from(outcome.is_ok());
        }
        self.demotions.demoted(now, version, &observation, demoted);
        outcome?;
        let after = match observation.level {
            MemoryLevel::Normal => self.period,
            MemoryLevel::Elevated | MemoryLevel::High | MemoryLevel::Critical => self.period / HURRY,
        };
        let after = after.max(REST_MIN);
        Ok(Look { reading, observation, allowed, demoted, after })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::super::budget::{MemoryBudget, MemoryThresholds};
    use super::*;

    /// A state of parts that hold bytes, and the events on their way to it.
    struct Host {
        monitor: Monitor,
        parts: Vec<u64>,
        version: u64,
        pushed: Vec<usize>,
        now: Instant,
    }

    impl Host {
        fn new(budget: u64, parts: Vec<u64>) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let probe = MemoryProbe::at(folder.path(), folder.path());
            let levels = Levels::new(MemoryBudget::new().held(budget), MemoryThresholds::default()).unwrap();
            let monitor = Monitor::new(probe, levels);
            Self { monitor, parts, version: 1, pushed: Vec::new(), now: Instant::now() }
        }

        fn look(&mut self) -> Look {
            let Self { monitor, parts, version, pushed, now } = self;
            let held = parts.iter().sum();
            let mut choose =
                |_, nth| parts.iter().enumerate().filter(|(_, bytes)| **bytes > 0).nth(nth).map(|(at, _)| at);
            let mut push = |at| {
                pushed.push(at);
                Ok::<_, Infallible>(())
            };
            let Ok(look) = monitor.look(*now, Some(held), *version, &mut choose, &mut push);
            *now += look.after;
            look
        }

        /// The main lane applies what was pushed.
        fn turn(&mut self) {
            for at in self.pushed.drain(..) {
                self.parts[at] = 0;
            }
            self.version += 1;
        }
    }

    #[test]
    fn a_state_is_brought_back_under_its_budget_and_no_further() {
        let mut host = Host::new(1000, vec![10; 98]);
        let mut looks = Vec::new();
        while host.monitor.level() > MemoryLevel::Normal || looks.is_empty() {
            looks.push(host.look());
            host.turn();
            assert!(looks.len() < 1000, "it comes to an end");
        }
        assert_eq!(looks[0].observation.level, MemoryLevel::Critical);
        let held: u64 = host.parts.iter().sum();
        assert!((650 - 4 * 10..650).contains(&held), "one round further at most: {held}");
        let demoted: usize = looks.iter().map(|look| look.demoted).sum();
        assert_eq!(demoted as u64, 98 - held / 10);
    }

    #[test]
    fn while_the_main_lane_stands_still_nothing_is_pushed() {
        let mut host = Host::new(1000, vec![10; 98]);
        assert_eq!(host.look().demoted, 4);
        assert_eq!((0..20).map(|_| host.look().demoted).sum::<usize>(), 0);
        host.turn();
        assert!(host.look().demoted > 0);
    }

    #[test]
    fn it_never_looks_without_a_rest() {
        for held in [0, 1000] {
            let mut host = Host::new(1000, vec![held]);
            host.monitor.period = Duration::ZERO;
            assert!(host.look().after > Duration::ZERO);
        }
    }

    #[test]
    fn without_candidates_it_goes_on_looking() {
        let mut host = Host::new(10, vec![20]);
        assert_eq!((host.look().demoted, host.look().allowed), (1, 0));
        host.turn();
        host.parts = vec![0, 0];
        host.parts.push(20);
        host.turn();
        let look = host.look();
        assert_eq!((look.demoted, look.observation.level), (1, MemoryLevel::Critical));
        assert_eq!(look.after, PERIOD / HURRY);
    }

    #[test]
    fn what_cannot_be_pushed_is_said_and_what_was_pushed_counts() {
        let mut host = Host::new(1000, vec![10; 98]);
        let mut room = 2;
        let mut push = |_: usize| {
            let had: u32 = room;
            room = had.saturating_sub(1);
            if had > 0 { Ok(()) } else { Err("full") }
        };
        let mut look = |version| host.monitor.look(host.now, Some(980), version, &mut |_, nth| Some(nth), &mut push);
        assert_eq!(look(1), Err("full"));
        assert_eq!(look(1).map(|look| look.allowed), Ok(0), "their effect is to be seen first");
    }
}

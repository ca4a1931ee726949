//! Tests of the levels.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::levels_twin::Twin;
use super::super::reading::{CgroupFill, CgroupMemory, MemoryPressure, Stall};
use super::*;

const DWELL: Duration = Duration::from_secs(5);

fn thresholds() -> MemoryThresholds {
    MemoryThresholds { elevated: 70, high: 85, critical: 95, margin: 5, dwell: DWELL }
}

/// A budget of so many bytes, and a reading of which one in a hundred is one percent.
fn levels() -> Levels {
    Levels::new(MemoryBudget::new().held(1000), thresholds()).unwrap()
}

fn holding(percent: u64) -> MemoryReading {
    MemoryReading { held: Some(10 * percent), ..MemoryReading::default() }
}

fn stall(percent: f64) -> Option<MemoryPressure> {
    Some(MemoryPressure { some: Some(Stall { avg10: percent, total: Duration::ZERO }), full: None })
}

#[test]
fn a_level_rises_at_once_and_falls_one_at_a_time() {
    let (mut levels, begin) = (levels(), Instant::now());
    let mut at = |seconds: u64, percent: u64| {
        let observation = levels.observe(begin + Duration::from_secs(seconds), &holding(percent));
        (observation.level, observation.changed)
    };
    assert_eq!(at(0, 69), (MemoryLevel::Normal, false));
    assert_eq!(at(0, 95), (MemoryLevel::Critical, true));
    assert_eq!(at(1, 10), (MemoryLevel::Critical, false));
    assert_eq!(at(5, 10), (MemoryLevel::Critical, false));
    assert_eq!(at(6, 10), (MemoryLevel::High, true));
    assert_eq!(at(7, 10), (MemoryLevel::High, false));
    assert_eq!(at(12, 10), (MemoryLevel::Elevated, true));
    assert_eq!(at(13, 65), (MemoryLevel::Elevated, false), "not below by the margin");
    assert_eq!(at(60, 64), (MemoryLevel::Elevated, false), "not for long");
    assert_eq!(at(65, 64), (MemoryLevel::Normal, true));
    assert_eq!(at(66, 85), (MemoryLevel::High, true));
}

#[test]
fn the_fullest_part_decides() {
    let budget = MemoryBudget::new().held(100).process(100).cgroup(0.5).stall(20.0);
    let judged = |reading: &MemoryReading| {
        let observation = Levels::new(budget, thresholds()).unwrap().observe(Instant::now(), reading);
        (observation.level, observation.by, observation.used, observation.budget)
    };
    let mut reading = MemoryReading::default();
    assert_eq!(judged(&reading), (MemoryLevel::Normal, None, 0, 0));
    (reading.held, reading.process) = (Some(30), Some(30));
    assert_eq!(judged(&reading), (MemoryLevel::Normal, Some(MemorySignal::Held), 30, 100));
    reading.process = Some(70);
    assert_eq!(judged(&reading), (MemoryLevel::Elevated, Some(MemorySignal::Process), 70, 100));
    let fullest = Some(CgroupFill { used: 450, limit: 1000, parents: 0 });
    reading.cgroup = Some(CgroupMemory { fullest, ..CgroupMemory::default() });
    assert_eq!(judged(&reading), (MemoryLevel::High, Some(MemorySignal::Cgroup), 450, 500));
    reading.machine_pressure = stall(50.0);
    assert_eq!(judged(&reading), (MemoryLevel::Critical, Some(MemorySignal::Stall), 5000, 2000));
    reading.cgroup_pressure = stall(1.0);
    assert_eq!(judged(&reading), (MemoryLevel::High, Some(MemorySignal::Cgroup), 450, 500), "the machine's is others'");
}

#[test]
fn what_is_not_known_neither_raises_nor_calms() {
    let (mut levels, begin) = (levels(), Instant::now());
    let mut at = |seconds, reading| levels.observe(begin + Duration::from_secs(seconds), &reading);
    assert_eq!(at(0, holding(90)).level, MemoryLevel::High);
    assert_eq!(at(1, holding(10)).level, MemoryLevel::High);
    let unknown = at(100, MemoryReading::default());
    assert_eq!((unknown.level, unknown.by, unknown.changed, unknown.excess), (MemoryLevel::High, None, false, 0));
    assert_eq!(at(101, holding(10)).level, MemoryLevel::High, "the dwell time begins anew");
    assert_eq!(at(106, holding(10)).level, MemoryLevel::Elevated);
}

#[test]
fn time_that_goes_back_is_no_time() {
    let (mut levels, begin) = (levels(), Instant::now() + Duration::from_secs(100));
    levels.observe(begin, &holding(90));
    levels.observe(begin, &holding(10));
    assert_eq!(levels.observe(begin - Duration::from_secs(50), &holding(10)).level, MemoryLevel::High);
}

#[test]
fn what_has_to_go_is_what_keeps_the_lowest_level() {
    let observe = |held| {
        let mut levels = Levels::new(MemoryBudget::new().held(999), thresholds()).unwrap();
        levels.observe(Instant::now(), &MemoryReading { held: Some(held), ..MemoryReading::default() }).excess
    };
    // 65 percent of 999 are 649.35.
    assert_eq!([0, 649, 650, 700, 2000].map(observe), [0, 0, 1, 51, 1351]);
}

#[test]
fn the_largest_numbers_are_judged() {
    let mut levels = Levels::new(MemoryBudget::new().held(u64::MAX), thresholds()).unwrap();
    let all = MemoryReading { held: Some(u64::MAX), ..MemoryReading::default() };
    assert_eq!(levels.observe(Instant::now(), &all).level, MemoryLevel::Critical);
}

proptest! {
    #[test]
    fn agrees_with_its_slow_twin(
        steps in vec((0u64..4, prop::option::weighted(0.9, prop_oneof![0u64..120, 60u64..100])), 0..80),
    ) {
        let (mut levels, mut twin, mut now) = (levels(), Twin::new(thresholds()), Instant::now());
        for (seconds, percent) in steps {
            now += Duration::from_secs(seconds);
            let reading = percent.map_or(MemoryReading::default(), holding);
            prop_assert_eq!(levels.observe(now, &reading).level, twin.observe(now, percent));
        }
    }

    /// Once it is taken, a level is kept through any noise that stays within its margin.
    #[test]
    fn noise_within_the_margin_does_not_flap(level in 0usize..3, noise in vec((0u64..30, 0u64..=14), 1..80)) {
        let (mut levels, mut now) = (levels(), Instant::now());
        let threshold = [70, 85, 95][level];
        let taken = levels.observe(now, &holding(threshold)).level;
        for (seconds, above) in noise {
            now += Duration::from_secs(seconds);
            // From the margin below the threshold to just below the next level.
            let percent = (threshold - 5 + above).min([84, 94, 200][level]);
            let observation = levels.observe(now, &holding(percent));
            prop_assert_eq!((observation.level, observation.changed), (taken, false));
        }
    }

    /// Who uses more at every moment is never at a lower level.
    #[test]
    fn more_is_never_better(steps in vec((0u64..4, 0u64..120, 0u64..40), 0..80)) {
        let (mut less, mut more, mut now) = (levels(), levels(), Instant::now());
        for (seconds, percent, further) in steps {
            now += Duration::from_secs(seconds);
            let lower = less.observe(now, &holding(percent));
            let higher = more.observe(now, &holding(percent + further));
            prop_assert!(lower.level <= higher.level && lower.excess <= higher.excess);
        }
    }
}

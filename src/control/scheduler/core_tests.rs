//! Tests of what a scheduler decides, beside its twin.

use std::sync::Arc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::twin::{Budget, Periodic, Rule, Twin};
use super::*;

const LOOK: u64 = 1_000_000;

/// What a scheduler is set up with.
#[derive(Clone, Debug)]
struct Setup {
    budget: Budget,
    periodic: Vec<Periodic>,
    likely: Vec<u32>,
}

/// Something that happens.
#[derive(Clone, Copy, Debug)]
struct Scene {
    further: u64,
    congestion: Congestion,
    new_versions: u64,
    /// How many candidates each likely entry has.
    candidates: usize,
}

const CALM: Scene = Scene { further: 1, congestion: Congestion::Clear, new_versions: 0, candidates: 0 };

impl Setup {
    fn core(&self) -> (Core, Ledger) {
        let mut ledger = Ledger::default();
        let mut place = |kind: &str, at: usize| ledger.place(&Arc::from(format!("{kind} {at}")));
        let beats = self.periodic.iter().enumerate().map(|(at, entry)| Beat {
            place: place("beat", at),
            period: entry.period,
            cost: entry.cost,
            essential: entry.essential,
            due: entry.first,
            missed: 0,
            put_off: PutOff::default(),
        });
        let beats = beats.collect();
        let guesses = self.likely.iter().enumerate().map(|(at, cost)| Guess::new(place("guess", at), *cost));
        let guesses = guesses.collect();
        let pauses = Pauses::between(Duration::from_nanos(20), Duration::from_nanos(100));
        (Core { beats, guesses, pauses, look_every: LOOK, questions: 0 }, ledger)
    }

    fn twin(&self, rule: Rule) -> Twin {
        let Setup { budget, periodic, likely } = self.clone();
        let (done, looks, answers) = (Vec::new(), Vec::new(), Vec::new());
        Twin { rule, budget, periodic, likely, pauses: (20, 100), done, looks, answers }
    }

    fn seen(&self, version: u64, congestion: Congestion) -> Seen {
        let Budget { units, window, burst } = self.budget;
        let budget = ScheduleBudget::per(Duration::from_nanos(window), units).burst(burst);
        Seen { version, congestion, budget }
    }

    /// Plays a twin alone; says which law its history breaks.
    fn play(&self, rule: Rule, scenes: &[Scene]) -> Option<&'static str> {
        let (mut twin, mut now, mut version) = (self.twin(rule), 0, 1);
        for scene in scenes {
            (now, version) = (now + scene.further, version + scene.new_versions);
            loop {
                match twin.step(now, self.seen(version, scene.congestion)) {
                    Step::Run(_) => {}
                    step @ Step::Ask { likely, most } => {
                        twin.asked(now, step, likely, version, scene.candidates.min(most));
                    }
                    Step::Rest(_) => break,
                }
            }
        }
        twin.breaks(now)
    }
}

fn any_scene() -> impl Strategy<Value = Scene> {
    let congestion = prop_oneof![
        6 => Just(Congestion::Clear), 1 => Just(Congestion::Busy), 1 => Just(Congestion::Full),
    ];
    (0u64..40, congestion, prop_oneof![2 => Just(0u64), 1 => 1u64..3], 0usize..4).prop_map(
        |(further, congestion, new_versions, candidates)| Scene { further, congestion, new_versions, candidates },
    )
}

fn any_setup() -> impl Strategy<Value = Setup> {
    let periodic = (0u64..50, 1u64..50, 1u32..5, any::<bool>()).prop_map(|(first, period, cost, essential)| Periodic {
        first,
        period,
        cost,
        essential,
    });
    let budget = (0u32..12, 1u64..250, 0u32..12).prop_map(|(units, window, burst)| Budget { units, window, burst });
    (budget, vec(periodic, 0..4), vec(1u32..4, 0..4)).prop_map(|(budget, periodic, likely)| Setup {
        budget,
        periodic,
        likely,
    })
}

fn periodic(first: u64, period: u64, cost: u32) -> Periodic {
    Periodic { first, period, cost, essential: false }
}

fn unlimited() -> Budget {
    Budget { units: u32::MAX, window: 100, burst: u32::MAX }
}

proptest! {
    #[test]
    fn it_decides_what_the_twin_does(setup in any_setup(), scenes in vec(any_scene(), 0..40)) {
        let (mut core, mut ledger) = setup.core();
        let (mut twin, mut now, mut version) = (setup.twin(Rule::Right), 0, 1);
        for scene in scenes {
            (now, version) = (now + scene.further, version + scene.new_versions);
            let seen = setup.seen(version, scene.congestion);
            loop {
                let (step, expected) = (core.step(now, seen, &mut ledger), twin.step(now, seen));
                match step {
                    Step::Run(_) => prop_assert_eq!(step, expected),
                    Step::Ask { likely, most } => {
                        prop_assert_eq!(step, expected);
                        let given = scene.candidates.min(most);
                        prop_assert_eq!(core.asked(now, likely, version, Some(given), &mut ledger), given);
                        twin.asked(now, step, likely, version, given);
                    }
                    Step::Rest(until) => {
                        prop_assert_eq!(expected, Step::Rest(None));
                        prop_assert!(until.is_none_or(|until| until > now), "it does not turn hot");
                        break;
                    }
                }
            }
            for (at, beat) in core.beats.iter().enumerate() {
                prop_assert_eq!(ledger.counts(beat.place).missed, twin.missed(at, now) as u64);
            }
        }
        prop_assert_eq!(twin.breaks(now), None);
        let runs: u64 = ledger.entries.iter().map(|(_, counts)| counts.runs).sum();
        let given: u32 = twin.done.iter().map(|done| match done.step {
            Step::Ask { likely, .. } => done.units / setup.likely[likely],
            Step::Run(_) | Step::Rest(_) => 1,
        }).sum();
        prop_assert_eq!(runs, u64::from(given));
    }

    /// Who sleeps as long as he is told does what somebody does who looks at every moment.
    #[test]
    fn nothing_is_missed_by_sleeping(setup in any_setup()) {
        let runs = |sleeps: bool| {
            let ((mut core, mut ledger), mut now, mut runs) = (setup.core(), 0, Vec::new());
            while now < 300 {
                let next = match core.step(now, setup.seen(1, Congestion::Clear), &mut ledger) {
                    Step::Run(at) => {
                        runs.push((now, at));
                        now
                    }
                    Step::Ask { likely, most } => {
                        core.asked(now, likely, 1, Some(most.min(1)), &mut ledger);
                        runs.push((now, 100 + likely));
                        now
                    }
                    Step::Rest(until) => until.unwrap_or(u64::MAX),
                };
                now = if sleeps || next == now { next } else { now + 1 };
            }
            (runs, ledger.entries.iter().map(|(_, counts)| counts.runs).sum::<u64>())
        };
        prop_assert_eq!(runs(true), runs(false));
    }

    #[test]
    fn a_budget_that_changes_is_never_exceeded_in_a_window_that_ends_under_it(
        changes in vec((0u64..30, 0u32..8), 1..60),
    ) {
        let mut setup = Setup { budget: unlimited(), periodic: vec![periodic(0, 1, 1)], likely: vec![1] };
        let ((mut core, mut ledger), mut now, mut spends) = (setup.core(), 0, Vec::new());
        for (version, (further, units)) in (1..).zip(changes) {
            now += further;
            setup.budget = Budget { units, window: 50, burst: units };
            let before = spends.len();
            loop {
                match core.step(now, setup.seen(version, Congestion::Clear), &mut ledger) {
                    Step::Run(_) => spends.push(now),
                    Step::Ask { likely, most } => {
                        spends.extend((0..core.asked(now, likely, version, Some(most), &mut ledger)).map(|_| now));
                    }
                    Step::Rest(_) => break,
                }
            }
            let in_window = spends.iter().filter(|at| now - **at < 50).count();
            prop_assert!(spends.len() == before || in_window <= units as usize);
        }
    }
}

#[test]
fn rules_that_are_wrong_are_told_apart() {
    // A long sleep, and then looks at every moment.
    let mut scenes = vec![Scene { further: 55, ..CALM }];
    scenes.extend([CALM; 40]);
    let setup = Setup { budget: unlimited(), periodic: vec![periodic(10, 10, 1)], likely: Vec::new() };
    assert_eq!(setup.play(Rule::CatchesUp, &scenes), Some("S2"), "bursts");
    assert_eq!(setup.play(Rule::Drifts, &[vec![Scene { further: 12, ..CALM }], vec![CALM; 90]].concat()), Some("S1"));
    assert_eq!(setup.play(Rule::Right, &scenes), None);
    // Cheap work for every unit that comes back, and dear work that never has enough.
    let budget = Budget { units: 10, window: 100, burst: 4 };
    let setup = Setup { budget, periodic: vec![periodic(0, 10, 1), periodic(5, 50, 4)], likely: Vec::new() };
    assert_eq!(setup.play(Rule::CheapFirst, &[CALM; 300]), Some("S3"), "starved");
    assert_eq!(setup.play(Rule::Right, &[CALM; 300]), None);
}

#[test]
fn what_is_put_off_is_counted_once_and_by_its_cause() {
    let budget = Budget { units: 2, window: 100, burst: 2 };
    let mut essential = periodic(0, 100, 1);
    essential.essential = true;
    let setup = Setup { budget, periodic: vec![periodic(0, 100, 1), essential, periodic(0, 100, 3)], likely: vec![1] };
    let (mut core, mut ledger) = setup.core();
    let mut step = |now, congestion, ledger: &mut Ledger| core.step(now, setup.seen(1, congestion), ledger);
    assert_eq!(step(0, Congestion::Full, &mut ledger), Step::Run(1), "the essential one");
    for now in 0..20 {
        assert_eq!(step(now, Congestion::Full, &mut ledger), Step::Rest(Some(20)));
    }
    assert_eq!(step(20, Congestion::Clear, &mut ledger), Step::Run(0));
    for now in 20..100 {
        assert_eq!(step(now, Congestion::Clear, &mut ledger), Step::Rest(Some(100)), "a unit is back at 100");
    }
    let put_off: Vec<_> =
        ledger.entries.iter().map(|(_, counts)| (counts.put_off_budget, counts.put_off_congestion)).collect();
    assert_eq!(put_off, [(0, 1), (0, 0), (1, 1), (1, 1)], "the third is too dear, and holds nobody up");
    assert_eq!(ledger.pauses, 1);
}

#[test]
fn likely_entries_take_turns_and_are_asked_once_a_version() {
    let budget = Budget { units: 3, window: 100, burst: 3 };
    let setup = Setup { budget, periodic: Vec::new(), likely: vec![1, 2] };
    let (mut core, mut ledger) = setup.core();
    let mut asked = Vec::new();
    for (now, version) in [(0, 1), (50, 2), (100, 3), (150, 4), (200, 5)] {
        while let Step::Ask { likely, most } = core.step(now, setup.seen(version, Congestion::Clear), &mut ledger) {
            core.asked(now, likely, version, Some(most), &mut ledger);
            asked.push((now, likely, most));
        }
    }
    assert_eq!(asked, [(0, 0, 3), (100, 1, 1), (100, 0, 1), (200, 1, 1), (200, 0, 1)]);
    let counts = ledger.entries.iter().map(|(_, counts)| (counts.asked, counts.runs, counts.put_off_budget));
    assert_eq!(counts.collect::<Vec<_>>(), [(3, 5, 2), (2, 2, 3)]);
}

#[test]
fn who_cannot_tell_yet_is_asked_again_at_the_next_look() {
    let setup = Setup { budget: unlimited(), periodic: Vec::new(), likely: vec![1] };
    let (mut core, mut ledger) = setup.core();
    let ask = Step::Ask { likely: 0, most: u32::MAX as usize };
    let seen = setup.seen(1, Congestion::Clear);
    assert_eq!(core.step(5, seen, &mut ledger), ask);
    assert_eq!(core.asked(5, 0, 1, None, &mut ledger), 0);
    assert_eq!(core.step(5, seen, &mut ledger), Step::Rest(Some(5 + LOOK)));
    assert_eq!(core.step(5 + LOOK, seen, &mut ledger), ask);
    assert_eq!(core.asked(5 + LOOK, 0, 1, Some(0), &mut ledger), 0);
    assert_eq!(core.step(6 + LOOK, seen, &mut ledger), Step::Rest(Some(6 + 2 * LOOK)));
}

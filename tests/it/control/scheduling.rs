use mainlane::Budget;
use mainlane::control::Load;
use mainlane::control::scheduler::{EntryCounts, Every, ScheduleBudget, Scheduler, SchedulerStats};

use super::*;
use crate::domain::{settled, until};

const MILLISECOND: Duration = Duration::from_millis(1);
/// Longer than any test: what is spent does not come back.
const FOR_GOOD: Duration = Duration::from_secs(24 * 3600);

fn plenty<P>(_: &P) -> ScheduleBudget {
    ScheduleBudget::per(MILLISECOND, 1000)
}

fn counts(stats: &SchedulerStats, entry: &str) -> EntryCounts {
    stats.entry(entry).unwrap_or_default()
}

/// Wants every item up to ten in the state, the next one first.
fn wants(state: &Ledger) -> Option<impl Iterator<Item = Note> + use<>> {
    let known = items(state);
    Some((0..10).filter(move |item| !known.contains(item)).map(Note::Item))
}

#[test]
fn events_arrive_from_both_kinds_of_entries() {
    let (mut running, handle) = pipeline();
    let mut panel = ControlPanel::builder().start().unwrap();
    let stats = SchedulerStats::new();
    let counting = stats.clone();
    let make = move || {
        let mut beats = 99;
        let beat = move |_: &Ledger, out: &mut Vec<Note>| {
            beats += 1;
            out.push(Note::Item(beats));
        };
        let every = Every::new("beat", MILLISECOND).first_after(Duration::ZERO);
        let scheduler = Scheduler::new(plenty).every(every, beat).likely("want", 1, wants).look_every(MILLISECOND);
        Ok(scheduler.stats(counting.clone()))
    };
    panel.worker(&handle, "scheduler", make).start().unwrap();
    until("both", || {
        let known = items(&handle.reader().load());
        (0..10).chain(100..105).all(|item| known.contains(&item))
    });
    assert!(panel.shutdown(PATIENCE).complete);
    assert!(running.shutdown(PATIENCE).complete);
    settled(&handle);
    let applied = items(&handle.reader().load());
    let (beats, wanted): (Vec<u64>, Vec<u64>) = applied.into_iter().partition(|item| *item >= 100);
    assert_eq!(beats.len() as u64, counts(&stats, "beat").runs, "each run is one event");
    assert_eq!(wanted.len() as u64, counts(&stats, "want").runs);
    assert!(beats.into_iter().eq(100..100 + counts(&stats, "beat").runs));
    assert_eq!((counts(&stats, "beat").failures, counts(&stats, "nobody")), (0, EntryCounts::default()));
}

#[test]
fn what_takes_long_to_choose_is_spent_when_it_is_chosen() {
    const WINDOW: Duration = Duration::from_millis(20);
    let (_running, handle) = pipeline();
    let mut panel = ControlPanel::builder().start().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let make = move || {
        let tell = tell.clone();
        let slow = move |_: &Ledger| {
            let began = Instant::now();
            while began.elapsed() < 2 * WINDOW {
                std::hint::spin_loop();
            }
            tell.send((began, Instant::now())).ok()?;
            Some([Note::Item(1)])
        };
        let scheduler = Scheduler::new(|_: &()| ScheduleBudget::per(WINDOW, 1)).likely("slow", 1, slow);
        Ok(scheduler.look_every(MILLISECOND))
    };
    panel.worker(&handle, "scheduler", make).start().unwrap();
    let (_, mut chosen) = told.recv_timeout(PATIENCE).unwrap();
    for _ in 0..3 {
        let (began, ended) = told.recv_timeout(PATIENCE).unwrap();
        assert!(began - chosen >= WINDOW, "two within one window");
        chosen = ended;
    }
    assert!(panel.shutdown(PATIENCE).complete);
}

#[test]
fn on_a_full_lane_it_backs_off_and_on_a_clear_one_it_goes_on() {
    // Nobody takes a turn.
    let (mut main_lane, handle) = Pipeline::builder(Ledger::default()).build().unwrap();
    let mut panel = ControlPanel::builder().start().unwrap();
    let stats = SchedulerStats::new();
    let counting = stats.clone();
    let make = move || {
        let scheduler = Scheduler::new(plenty)
            .every(Every::new("beat", MILLISECOND), |_, out| out.push(Note::Item(100)))
            .likely("want", 1, |state: &Ledger| (!state.seen.is_empty()).then_some([Note::Item(1)]))
            .look_every(MILLISECOND)
            .pauses(MILLISECOND, 4 * MILLISECOND);
        Ok(scheduler.stats(counting.clone()))
    };
    panel.worker(&handle, "scheduler", make).load(Load::Slots(16)).start().unwrap();
    until("congestion", || counts(&stats, "beat").put_off_congestion == 1 && stats.pauses() > 5);
    assert_eq!(counts(&stats, "beat").runs, 14, "up to seven eighths of the ring");
    assert_eq!(counts(&stats, "want").put_off_congestion, 1);
    assert_eq!(counts(&stats, "want").runs, 0);
    until("missed periods", || counts(&stats, "beat").missed > 20);
    assert_eq!(counts(&stats, "beat").runs, 14);
    let patience = deadline();
    while counts(&stats, "want").runs == 0 || counts(&stats, "beat").runs < 20 {
        assert!(Instant::now() < patience, "{stats:?}");
        main_lane.turn(Budget::UNLIMITED).unwrap();
        std::thread::yield_now();
    }
    let (workers, pipeline) = panel.shutdown_with(&mut main_lane, PATIENCE);
    assert!(workers.complete && pipeline.complete);
    let events = settled(&handle).events;
    assert_eq!((events.waited, events.returned), (0, 0), "it never ran into the end of the ring");
    assert_eq!(items(main_lane.state()).len() as u64, counts(&stats, "beat").runs + counts(&stats, "want").runs);
}

#[test]
fn the_budget_is_the_policys_and_holds_across_changes_and_restarts() {
    let builder = Pipeline::builder(Ledger::default());
    let mut lane = builder.lane("host").open().unwrap();
    let (main_lane, handle) = builder.build().unwrap();
    let mut running = main_lane.spawn(Drive::new()).unwrap();
    // As many units as the host has said.
    let allowed = |state: &Ledger| items(state).into_iter().filter(|item| *item < 100).max().unwrap_or(0) as u32;
    let mut panel = ControlPanel::builder().policy(&handle, allowed).start().unwrap();
    let stats = SchedulerStats::new();
    let counting = stats.clone();
    let make = move || {
        let scheduler = Scheduler::new(|units: &u32| ScheduleBudget::per(FOR_GOOD, *units))
            .every(Every::new("beat", MILLISECOND), |_, out| out.push(Note::Item(100)))
            .likely("want", 1, |_: &Ledger| Some([Note::Item(200)]))
            .look_every(MILLISECOND);
        Ok(scheduler.stats(counting.clone()))
    };
    panel.worker(&handle, "scheduler", make).start().unwrap();
    let spent = |stats: &SchedulerStats| counts(stats, "beat").runs + counts(stats, "want").runs;
    for units in [3, 5, 6, 20] {
        lane.push(Note::Item(units)).unwrap();
        until("the budget", || spent(&stats) == units);
        let before = counts(&stats, "beat").missed;
        until("periods without a run", || counts(&stats, "beat").missed > before + 5);
        assert_eq!(spent(&stats), units, "not one more");
        panel.restart("scheduler").unwrap();
        let before = counts(&stats, "beat").missed;
        until("periods of the next run", || counts(&stats, "beat").missed > before + 5);
        assert_eq!(spent(&stats), units, "what the run before has spent is spent");
    }
    assert!(panel.shutdown(PATIENCE).complete);
    assert!(running.shutdown(PATIENCE).complete);
    assert_eq!(items(&handle.reader().load()).into_iter().filter(|item| *item >= 100).count(), 20);
    assert!(counts(&stats, "beat").put_off_budget >= 4);
}

#[test]
fn a_panic_of_an_entry_is_the_workers_and_is_counted() {
    let (mut running, handle) = pipeline();
    let mut panel = ControlPanel::builder().start().unwrap();
    let (stats, runs) = (SchedulerStats::new(), Count::default());
    let counting = stats.clone();
    let make = move || {
        let runs = runs.clone();
        let beat = move |_: &Ledger, out: &mut Vec<Note>| {
            out.push(Note::Item(100));
            assert!(runs.next() > 0, "the first run fails");
        };
        Ok(Scheduler::new(plenty).every(Every::new("beat", MILLISECOND), beat).stats(counting.clone()))
    };
    panel.worker(&handle, "scheduler", make).start().unwrap();
    until("the next run", || counts(&stats, "beat").runs >= 3);
    let status = panel.wait_for("scheduler", deadline(), |status| status.state == WorkerState::Running).unwrap();
    assert_eq!((counts(&stats, "beat").failures, status.restarts), (1, 1));
    assert!(panel.shutdown(PATIENCE).complete);
    assert!(running.shutdown(PATIENCE).complete);
    let applied = items(&handle.reader().load()).len() as u64;
    assert_eq!(applied, counts(&stats, "beat").runs - 1, "what the failed run gave is not pushed");
}

#[test]
fn what_could_not_work_is_refused_at_the_start() {
    type Make = fn(Scheduler<Ledger>) -> Scheduler<Ledger>;
    let wrong: [(Make, &str); 5] = [
        (|scheduler| scheduler.every(Every::new("a", Duration::ZERO), |_, _| {}), "the period of `a` is zero"),
        (|scheduler| scheduler.every(Every::new("a", SHORT).cost(0), |_, _| {}), "`a` costs nothing"),
        (
            |scheduler| scheduler.every(Every::new("a", SHORT), |_, _| {}).likely("a", 1, |_| None::<[Note; 0]>),
            "there are two entries `a`",
        ),
        (|scheduler| scheduler.look_every(Duration::ZERO), "no time at all"),
        (|scheduler| scheduler.pauses(Duration::ZERO, SHORT), "no time at all"),
    ];
    for (make, problem) in wrong {
        let (mut running, handle) = pipeline();
        let mut panel = ControlPanel::builder().start().unwrap();
        panel.worker(&handle, "scheduler", move || Ok(make(Scheduler::new(plenty)))).start().unwrap();
        let failure = panel.wait_for("scheduler", deadline(), |status| status.last_failure.is_some());
        let failure = format!("{:?}", failure.unwrap().last_failure);
        assert!(failure.contains(problem), "{failure}");
        panel.shutdown(PATIENCE);
        running.shutdown(PATIENCE);
    }
}

#[cfg(feature = "workspace")]
mod prefetch {
    use mainlane::control::memory::{
        Levels, MemoryBudget, MemoryGauge, MemoryMonitor, MemoryProbe, MemoryThresholds, Monitor,
    };
    use mainlane::workspace::{LayoutEvent, PaneEvent, PaneId, Warmth, Workspace, WorkspaceEvent};
    use mainlane::{Operation, OperationId, Phase};

    use super::*;

    /// Cold panes, all of them on screen; those that are hot after a while.
    fn promoted(held_at_most: u64, units: u32) -> (u64, EntryCounts) {
        let builder = Pipeline::builder(Workspace::default());
        let mut lane = builder.lane("host").open().unwrap();
        let (main_lane, handle) = builder.build().unwrap();
        let mut running = main_lane.spawn(Drive::new()).unwrap();
        for pane in (1..=5).map(PaneId) {
            let operation = Operation { id: OperationId(pane.0), sequence: 0, phase: Phase::Started };
            let started = PaneEvent::Started { pane, command: "make".into(), folder: None, operation };
            lane.push(WorkspaceEvent::Pane(started)).unwrap();
            lane.push(WorkspaceEvent::Pane(PaneEvent::Demoted { pane, to: Warmth::Cold })).unwrap();
            lane.push(WorkspaceEvent::Layout(LayoutEvent::Visible { pane, visible: true })).unwrap();
        }
        let all_cold = |state: &Workspace| {
            state.layout.visible.len() == 5 && state.model.panes.values().all(|pane| pane.warmth == Warmth::Cold)
        };
        until("the panes", || all_cold(&handle.reader().load()));

        let mut panel = ControlPanel::builder().start().unwrap();
        let (stats, gauge) = (SchedulerStats::new(), MemoryGauge::new());
        let (counting, level) = (stats.clone(), gauge.clone());
        let make = move || {
            let scheduler = Scheduler::new(move |_: &()| ScheduleBudget::per(FOR_GOOD, units));
            let scheduler = scheduler.likely("prefetch", 1, Workspace::prefetch(level.clone()));
            Ok(scheduler.look_every(MILLISECOND).stats(counting.clone()))
        };
        panel.worker(&handle, "scheduler", make).start().unwrap();
        until("questions", || counts(&stats, "prefetch").asked > 3);
        assert_eq!(counts(&stats, "prefetch").runs, 0, "nobody has looked at the memory yet");
        let watching = handle.clone();
        let make = move || {
            let levels = Levels::new(MemoryBudget::new().held(held_at_most), MemoryThresholds::default())?;
            let monitor = Monitor::new(MemoryProbe::new(), levels).period(MILLISECOND);
            Ok(MemoryMonitor::new(monitor, &watching).held(Workspace::held_bytes).gauge(gauge.clone()))
        };
        panel.worker(&handle, "memory", make).start().unwrap();
        if held_at_most == u64::MAX {
            until("promotions", || counts(&stats, "prefetch").runs == u64::from(units));
        } else {
            let before = counts(&stats, "prefetch").asked;
            until("questions", || counts(&stats, "prefetch").asked > before + 10);
        }
        assert!(panel.shutdown(PATIENCE).complete);
        assert!(running.shutdown(PATIENCE).complete);
        let state = handle.reader().load();
        let hot = state.model.panes.values().filter(|pane| pane.warmth == Warmth::Hot).count();
        (hot as u64, counts(&stats, "prefetch"))
    }

    #[test]
    fn panes_are_promoted_within_the_budget() {
        let (hot, counts) = promoted(u64::MAX, 3);
        assert!((1..=3).contains(&hot) && counts.runs == 3, "{hot}: {counts:?}");
    }

    #[test]
    fn while_memory_is_short_nothing_is_promoted() {
        let (hot, counts) = promoted(1, 3);
        assert_eq!((hot, counts.runs), (0, 0), "{counts:?}");
    }
}

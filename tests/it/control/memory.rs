//! Panes that write more than there is room for, in a process of its own, whose memory the kernel counts.
//!
//! The panes write in steps: a monitor that looks now and then can only answer for what comes between two looks. A step is small beside the
//! budget, and waits for a look that saw the one before.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::{Command, Stdio};

use mainlane::control::memory::{
    Demotions, Levels, MemoryBudget, MemoryGauge, MemoryLevel, MemoryProbe, MemoryThresholds, Monitor,
};
use mainlane::control::{Intensity, Load, Restarts};
use mainlane::workspace::{
    LayoutEvent, PaneEvent, PaneId, SCROLLBACK_BYTES, Warmth, Workspace, WorkspaceEvent, memory_monitor,
};
use mainlane::{Operation, OperationId, Phase};

use super::*;

const MIB: u64 = 1 << 20;
/// What may be used beyond what the process has when it begins. Without a monitor the panes come to more than twice of that.
const BUDGET: u64 = 14 * MIB;
const WRITERS: u64 = 4;
const PANES: u64 = 512;
/// Panes `1..=VISIBLE` are on screen, the first has the focus.
const VISIBLE: u64 = 8;
/// How often each pane writes: together more than a scrollback holds.
const OUTPUTS: u64 = 16;
const OUTPUT_BYTES: u64 = 5 * 1024;
/// How many panes of a writer write in one step.
const AT_ONCE: usize = 4;

const ARM: &str = "MAINLANE_MEMORY";

/// What a child is to keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arm {
    /// No monitor.
    Unwatched,
    /// By the state's own count.
    Held,
    /// By what the system counts of the process.
    Process,
    /// More than there is ever used.
    Ample,
}

const ARMS: [(&str, Arm); 4] =
    [("unwatched", Arm::Unwatched), ("held", Arm::Held), ("process", Arm::Process), ("ample", Arm::Ample)];

impl Arm {
    fn budget(self, start: u64) -> Option<MemoryBudget> {
        match self {
            Arm::Unwatched => None,
            Arm::Held => Some(MemoryBudget::new().held(BUDGET / 5 * 2)),
            Arm::Process => Some(MemoryBudget::new().process(start + BUDGET)),
            Arm::Ample => Some(MemoryBudget::new().held(64 * BUDGET).process(start + 64 * BUDGET)),
        }
    }
}

/// A line of `/proc/self/status`, in bytes.
fn status(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_matches(|c: char| !c.is_ascii_digit()).parse::<u64>().unwrap() * 1024
}

fn operation(pane: PaneId, sequence: u64, phase: Phase) -> Operation {
    Operation { id: OperationId(pane.0), sequence, phase }
}

/// In which order panes are used last: another one than that of their numbers.
fn nth_used(nth: u64) -> PaneId {
    PaneId(nth * 421 % PANES + 1)
}

/// Has its panes write, a step a turn.
struct Writes {
    panes: Vec<PaneId>,
    written: usize,
    gauge: Option<MemoryGauge>,
    /// A step is over at this look.
    looks: Option<u64>,
}

impl Writes {
    fn total(&self) -> usize {
        self.panes.len() * OUTPUTS as usize
    }

    fn output(&self, nth: usize) -> WorkspaceEvent {
        let (pane, round) = (self.panes[nth % self.panes.len()], (nth / self.panes.len()) as u64);
        let mut text = String::new();
        while (text.len() as u64) < OUTPUT_BYTES {
            let said = format!("pane {} writes {round}: {}", pane.0, text.len());
            let _ = writeln!(text, "{said:<63}");
        }
        let (bytes, lines) = (text.len() as u64, text.lines().count() as u64);
        let last_line = text.lines().next_back().unwrap().into();
        let operation = operation(pane, round + 1, Phase::Progress);
        WorkspaceEvent::Pane(PaneEvent::Output { pane, bytes, lines, last_line, text: (&*text).into(), operation })
    }

    /// Whether the state has what was written, and somebody who watches has seen it.
    fn is_seen(&mut self, state: &Workspace) -> bool {
        let Some(last) = self.written.checked_sub(1) else { return true };
        let (pane, round) = (self.panes[last % self.panes.len()], (last / self.panes.len()) as u64);
        if state.model.panes[&pane].bytes < (round + 1) * OUTPUT_BYTES {
            return false;
        }
        let Some(gauge) = &self.gauge else { return true };
        // The next look may have begun before.
        gauge.looks() >= *self.looks.get_or_insert(gauge.looks() + 2)
    }
}

impl Worker<Workspace> for Writes {
    fn turn(&mut self, ctx: &mut WorkerContext<Workspace>) -> Result<Next, WorkerError> {
        let state = ctx.reader().load();
        if !self.is_seen(&state) {
            return Ok(Next::After(Duration::from_micros(500)));
        }
        self.looks = None;
        if self.written == self.total() {
            return Ok(Next::Done);
        }
        for _ in 0..AT_ONCE {
            let output = self.output(self.written);
            ctx.lane().push(output)?;
            self.written += 1;
        }
        Ok(Next::Again)
    }
}

/// What the monitor chooses, which is looked at as it is chosen: later the panes have written more.
fn chosen(state: &Workspace, level: MemoryLevel, nth: usize) -> Option<WorkspaceEvent> {
    let pane = |id: PaneId| state.model.panes.get(&id).map(|pane| (pane.warmth, pane.used)).unwrap();
    let candidates = state.demotion_candidates(level);
    assert!(
        candidates.is_sorted_by_key(|(id, _)| state.layout.shows(*id)),
        "a pane on screen goes before a hidden one"
    );
    let hidden = candidates.iter().filter(|(id, _)| !state.layout.shows(*id));
    let hidden: Vec<_> = hidden.map(|(id, _)| pane(*id)).collect();
    let in_order = |earlier: &(Warmth, u64), later: &(Warmth, u64)| earlier.0 != later.0 || earlier.1 <= later.1;
    assert!(hidden.is_sorted_by(in_order), "a pane goes before one that was used longer ago");
    state.demotion_candidate(level, nth)
}

#[test]
#[ignore = "run by another, as a process of its own"]
fn child() {
    let Ok(named) = std::env::var(ARM) else { return };
    let arm = ARMS.into_iter().find(|(name, _)| *name == named).unwrap().1;
    let (main_lane, handle) = Pipeline::builder(Workspace::default()).build().unwrap();
    let mut running = main_lane.spawn(Drive::new()).unwrap();
    let mut panel = ControlPanel::builder().intensity(Intensity::at_most(0, PATIENCE)).start().unwrap();
    let mut host = handle.lane("host").open().unwrap();
    for pane in (1..=PANES).map(PaneId) {
        let operation = operation(pane, 0, Phase::Started);
        host.push(WorkspaceEvent::Pane(PaneEvent::Started { pane, command: "make".into(), folder: None, operation }))
            .unwrap();
    }
    for nth in 0..PANES {
        host.push(WorkspaceEvent::Pane(PaneEvent::CommandStarted { pane: nth_used(nth) })).unwrap();
    }
    for pane in (1..=VISIBLE).map(PaneId) {
        host.push(WorkspaceEvent::Layout(LayoutEvent::Visible { pane, visible: true })).unwrap();
    }
    host.push(WorkspaceEvent::Layout(LayoutEvent::Focused { pane: Some(PaneId(1)) })).unwrap();
    let reader = handle.reader();
    while reader.load().layout.focused.is_none() {
        std::thread::yield_now();
    }

    let (start, data) = (status("VmRSS:"), status("VmData:"));
    let gauge = MemoryGauge::new();
    let watched = arm.budget(start);
    if let Some(budget) = watched {
        let levels =
            Levels::new(budget, MemoryThresholds { dwell: Duration::from_millis(20), ..MemoryThresholds::default() })
                .unwrap();
        let (its, told) = (handle.clone(), gauge.clone());
        let make = move || {
            let demotions = Demotions::new().settle(Duration::from_millis(2));
            let monitor =
                Monitor::new(MemoryProbe::new(), levels.clone()).period(Duration::from_millis(2)).demotions(demotions);
            Ok(memory_monitor(monitor, &its).demote(chosen).gauge(told.clone()))
        };
        panel.worker(&handle, "memory", make).start().unwrap();
    }
    for writer in 0..WRITERS {
        let panes: Vec<_> = (1..=PANES).filter(|pane| pane % WRITERS == writer).map(PaneId).collect();
        let gauge = watched.map(|_| gauge.clone());
        let make = move || Ok(Writes { panes: panes.clone(), written: 0, gauge: gauge.clone(), looks: None });
        let spec =
            panel.worker(&handle, format!("writer {writer}"), make).load(Load::Heavy).restarts(Restarts::Temporary);
        spec.lane(|lane| lane.keys(PANES as usize)).start().unwrap();
    }
    for writer in 0..WRITERS {
        wait_until(&panel, &format!("writer {writer}"), WorkerState::Done);
    }
    let failures: Vec<_> = panel.workers().into_iter().filter_map(|worker| worker.last_failure).collect();
    assert!(failures.is_empty(), "{failures:?}");
    let held = reader.load().held_bytes();
    let lanes = handle.counters().lanes;
    assert!(panel.shutdown(PATIENCE).complete);
    let report = running.shutdown(PATIENCE);
    assert!(report.complete && report.counters.events.balanced(), "{report:?}");
    let peak = status("VmHWM:");

    let state = reader.load();
    let mut warmths = BTreeMap::<_, u64>::new();
    for (id, pane) in &state.model.panes {
        assert_eq!(
            (pane.bytes, pane.lines),
            (OUTPUTS * OUTPUT_BYTES, OUTPUTS * OUTPUT_BYTES / 64),
            "{id} is counted exactly"
        );
        let keeps_all = pane.warmth == Warmth::Hot && pane.scrollback.bytes() == SCROLLBACK_BYTES;
        match (state.layout.shows(*id), arm) {
            (_, Arm::Unwatched | Arm::Ample) | (true, Arm::Held) => assert!(keeps_all, "{id}: {pane:?}"),
            // What is freed is not always given back to the system, so the hidden ones may not have been enough.
            (true, Arm::Process) => assert!(pane.warmth != Warmth::Cold, "{id}: {pane:?}"),
            (false, Arm::Held | Arm::Process) => {}
        }
        *warmths.entry(format!("{:?}", pane.warmth)).or_default() += 1;
    }
    let pushed = lanes.iter().find(|lane| &*lane.name == "memory").map_or(0, |lane| lane.events.pushed);
    let demotions = if arm == Arm::Unwatched { 0 } else { pushed };
    println!("memory: {start} {data} {peak} {demotions}");
    println!(
        "held {held} of {warmths:?}, {} looks, the last {:?}",
        gauge.looks(),
        gauge.last().map(|look| look.observation)
    );
}

/// What a child found: bytes, and a count.
#[derive(Clone, Copy, Debug)]
struct Found {
    start: u64,
    data: u64,
    peak: u64,
    demotions: u64,
}

/// Runs a child, if it is to be so with a limit of the system's on what it may write to, in bytes. `None` when it did not survive that.
fn run(named: &str, limit: Option<u64>) -> Option<Found> {
    let mut child = Command::new("sh");
    let limit = limit.map_or("unlimited".to_owned(), |bytes| (bytes / 1024).to_string());
    child.args(["-c", "ulimit -d \"$0\" && exec \"$@\"", &limit]).arg(std::env::current_exe().unwrap());
    child.args(["control::memory::child", "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
    let output = child.env(ARM, named).stdin(Stdio::null()).output().unwrap();
    let (said, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{named}, limit {limit}: {said}");
    if !output.status.success() {
        assert!(error.contains("memory allocation of") && limit != "unlimited", "{said}\n{error}");
        return None;
    }
    let line = said.lines().find_map(|line| line.split_once("memory: ")).unwrap().1;
    let mut numbers = line.split(' ').map(|number| number.parse::<u64>().unwrap());
    let mut next = || numbers.next().unwrap();
    Some(Found { start: next(), data: next(), peak: next(), demotions: next() })
}

#[test]
fn when_memory_is_short_panes_give_up_theirs_and_the_budget_is_kept() {
    let found = run("unwatched", None).unwrap();
    assert!(found.peak - found.start > 2 * BUDGET, "without a monitor: {found:?}");
    for named in ["held", "process"] {
        let found = run(named, None).unwrap();
        assert!(found.peak <= found.start + BUDGET && found.demotions > 0, "{named}: {found:?}");
    }
    // The same once more, where the system refuses what is too much. How much is there before anything is written differs little.
    let limit = found.data + 2 * BUDGET;
    assert!(run("unwatched", Some(limit)).is_none(), "the limit is one");
    assert!(run("held", Some(limit)).is_some());
}

#[test]
fn while_there_is_enough_memory_nothing_is_pushed() {
    assert_eq!(run("ample", None).unwrap().demotions, 0);
}

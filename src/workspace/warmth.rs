//! How much of a pane's output is kept, and which pane is to give up some of it first.
//!
//! A pane is used when the user looks at it or speaks to it: it is shown, has the focus, is started, its shell runs a
//! command, or it is promoted. Uses are counted, not timed, so that they are the same whenever the past is applied again. What a pane
//! writes is no use: the noisiest pane in the background would be the last to go.
//!
//! The layout counts what is on screen and the model counts the rest, each its own, since neither changes what the other
//! owns. So a pane that is shown is not promoted by that: whoever shows it sends [`PaneEvent::Promoted`](super::PaneEvent).

use super::event::PaneId;
use super::lines::Bound;
use super::state::{Layout, Pane, Workspace};

#[cfg(feature = "control")]
use super::event::{PaneEvent, WorkspaceEvent};
#[cfg(feature = "control")]
use super::state::PaneState;
#[cfg(feature = "control")]
use crate::Handle;
#[cfg(feature = "control")]
use crate::control::memory::{MemoryGauge, MemoryLevel, MemoryMonitor, Monitor};

/// How much of a pane's output is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "journal", derive(serde::Serialize, serde::Deserialize))]
pub enum Warmth {
    /// All that a scrollback holds: [`SCROLLBACK_LINES`](super::SCROLLBACK_LINES).
    #[default]
    Hot,
    /// About a screenful: 64 lines, 4 KiB.
    Warm,
    /// Nothing but counts, title and newest line.
    Cold,
}

impl Warmth {
    pub(super) fn bound(self) -> Bound {
        match self {
            Warmth::Hot => Bound::WHOLE,
            Warmth::Warm => Bound { lines: 64, bytes: 4096 },
            Warmth::Cold => Bound { lines: 0, bytes: 0 },
        }
    }
}

impl Layout {
    /// Whether a pane is on screen in any way.
    pub fn shows(&self, pane: PaneId) -> bool {
        self.focused == Some(pane) || self.zoomed == Some(pane) || self.visible.contains(&pane)
    }
}

impl Pane {
    /// How many bytes it holds: a fixed part, its texts and its scrollback.
    pub fn held_bytes(&self) -> u64 {
        let texts = self.command.len() + self.title.len() + self.last_line.len() + self.scrollback.bytes();
        (size_of::<Self>() + texts) as u64
    }
}

impl Workspace {
    /// How many bytes the state holds, as far as it is counted: what its panes do. Kept up to date, and read at once.
    pub fn held_bytes(&self) -> u64 {
        self.model.panes.held_bytes()
    }

    /// The panes that are likely to be looked at next and are not hot, the likeliest first: those on screen, then the one that
    /// was on screen last, then the neighbours of the one in focus.
    pub fn promotion_candidates(&self) -> Vec<PaneId> {
        let (panes, layout) = (&self.model.panes, &self.layout);
        let on_screen = panes.keys().copied().filter(|id| layout.shows(*id));
        let before = layout.used.iter().filter(|(id, _)| !layout.shows(**id)).max_by_key(|(_, used)| **used);
        let focused = layout.focused.into_iter();
        let neighbours = focused.flat_map(|id| {
            let after = panes.range((std::ops::Bound::Excluded(id), std::ops::Bound::Unbounded)).next();
            [after, panes.range(..id).next_back()].into_iter().flatten().map(|(id, _)| *id)
        });
        let mut likely: Vec<PaneId> = Vec::new();
        for id in on_screen.chain(before.map(|(id, _)| *id)).chain(neighbours) {
            if panes.get(&id).is_some_and(|pane| pane.warmth != Warmth::Hot) && !likely.contains(&id) {
                likely.push(id);
            }
        }
        likely
    }

    /// When each pane was used last: on screen, and else.
    #[cfg(feature = "control")]
    fn last_use(&self, id: PaneId, pane: &Pane) -> (u64, u64) {
        (self.layout.used.get(&id).copied().unwrap_or(0), pane.used)
    }
}

#[cfg(feature = "control")]
#[cfg_attr(docsrs, doc(cfg(feature = "control")))]
impl Workspace {
    /// What to demote when memory is short, the first to go first, and how far.
    ///
    /// Hidden panes that are hot become warm from [`Elevated`](MemoryLevel::Elevated) on, and at [`High`](MemoryLevel::High) warm
    /// ones cold; then those on screen become warm, the one in focus only at [`Critical`](MemoryLevel::Critical), and never
    /// cold. At that level hidden panes become cold at once. Among equals those whose command has ended go first, then
    /// those that were used longest ago. A pane that would give up nothing is no candidate.
    pub fn demotion_candidates(&self, level: MemoryLevel) -> Vec<(PaneId, Warmth)> {
        let mut candidates: Vec<_> = self
            .model
            .panes
            .iter()
            .filter_map(|(id, pane)| {
                let (step, to) = self.step(level, *id, pane)?;
                let runs = pane.state == PaneState::Running;
                pane.scrollback.exceeds(to.bound()).then(|| ((step, runs, self.last_use(*id, pane), *id), (*id, to)))
            })
            .collect();
        candidates.sort_unstable_by_key(|(order, _)| *order);
        candidates.into_iter().map(|(_, candidate)| candidate).collect()
    }

    /// The first of [`demotion_candidates`](Self::demotion_candidates), or the `nth`, as the event that demotes it.
    pub fn demotion_candidate(&self, level: MemoryLevel, nth: usize) -> Option<WorkspaceEvent> {
        let (pane, to) = self.demotion_candidates(level).get(nth).copied()?;
        Some(WorkspaceEvent::Pane(PaneEvent::Demoted { pane, to }))
    }

    /// What to promote while there is enough memory: the [`promotion_candidates`](Self::promotion_candidates) as events, for
    /// [`Scheduler::likely`](crate::control::scheduler::Scheduler::likely).
    ///
    /// Nothing at any other level than [`Normal`](MemoryLevel::Normal), nor before the first look that `gauge` is told of: then it
    /// cannot tell yet, and is asked again. To promote a pane twice does no harm.
    pub fn prefetch(gauge: MemoryGauge) -> impl FnMut(&Workspace) -> Option<Vec<WorkspaceEvent>> + Send + 'static {
        move |state| {
            let is_short = gauge.last().is_none_or(|look| look.observation.level != MemoryLevel::Normal);
            let promote = |pane| WorkspaceEvent::Pane(PaneEvent::Promoted { pane });
            (!is_short).then(|| state.promotion_candidates().into_iter().map(promote).collect())
        }
    }

    /// In which step of a level a pane's turn comes, and what it becomes.
    fn step(&self, level: MemoryLevel, id: PaneId, pane: &Pane) -> Option<(u8, Warmth)> {
        let in_focus = self.layout.focused == Some(id) || self.layout.zoomed == Some(id);
        match (level, pane.warmth) {
            (MemoryLevel::Normal, _) | (_, Warmth::Cold) => None,
            (MemoryLevel::Elevated | MemoryLevel::High, Warmth::Hot) if !self.layout.shows(id) => {
                Some((0, Warmth::Warm))
            }
            (MemoryLevel::High, Warmth::Warm) if !self.layout.shows(id) => Some((1, Warmth::Cold)),
            (MemoryLevel::Critical, Warmth::Hot | Warmth::Warm) if !self.layout.shows(id) => Some((1, Warmth::Cold)),
            (MemoryLevel::High | MemoryLevel::Critical, Warmth::Hot) if !in_focus => Some((2, Warmth::Warm)),
            (MemoryLevel::Critical, Warmth::Hot) => Some((3, Warmth::Warm)),
            (MemoryLevel::Elevated | MemoryLevel::High | MemoryLevel::Critical, Warmth::Hot | Warmth::Warm) => None,
        }
    }
}

/// A worker that demotes this workspace's panes while memory is short, as [`Workspace::demotion_candidates`] says.
///
/// ```
/// use mainlane::control::ControlPanel;
/// use mainlane::control::memory::{Levels, MemoryBudget, MemoryProbe, MemoryThresholds, Monitor};
/// use mainlane::workspace::{Workspace, memory_monitor};
/// use mainlane::{Drive, Pipeline};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (main_lane, handle) = Pipeline::builder(Workspace::default()).build()?;
/// let running = main_lane.spawn(Drive::new())?;
/// let levels = Levels::new(MemoryBudget::new().held(256 << 20).cgroup(0.9), MemoryThresholds::default())?;
/// let panel = ControlPanel::builder().start()?;
/// let of = handle.clone();
/// let make = move || Ok(memory_monitor(Monitor::new(MemoryProbe::new(), levels.clone()), &of));
/// panel.worker(&handle, "memory", make).start()?;
/// # drop((panel, running));
/// # Ok(())
/// # }
/// ```
#[cfg(feature = "control")]
#[cfg_attr(docsrs, doc(cfg(feature = "control")))]
pub fn memory_monitor(monitor: Monitor, handle: &Handle<Workspace>) -> MemoryMonitor<Workspace> {
    let mut candidates = Vec::new();
    let choose = move |state: &Workspace, level, nth| {
        if nth == 0 {
            candidates = state.demotion_candidates(level);
        }
        let (pane, to) = candidates.get(nth).copied()?;
        Some(WorkspaceEvent::Pane(PaneEvent::Demoted { pane, to }))
    };
    MemoryMonitor::new(monitor, handle).held(Workspace::held_bytes).demote(choose)
}

#[cfg(test)]
#[path = "warmth_tests.rs"]
mod tests;

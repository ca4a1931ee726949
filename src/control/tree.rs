//! Who runs, who rests, who is to stop: what a supervisor decides, without a thread or a clock of its own.
//!
//! Fed with what happens (a run has started, a run has ended, time has passed, somebody asks), it says what is to be done
//! ([`Action`]) and what there is to tell ([`Note`]). The panel's thread carries that out; a test can be anybody else.
//!
//! # Invariants
//! - **S1 one run**: no run of a worker begins before its last one has ended.
//! - **S2 order**: a run begins only while all that it comes `after` run or are done; on the way down, a worker is cancelled only when
//!   all that come after it and are on their way down too have ended, or were given up.
//! - **S3 intensity**: within any stretch of its period a group restarts no more often than its intensity says; the failure that would
//!   be one too many stops the group, and fails it.
//! - **S4 nothing hangs**: whoever is cancelled is given up after its stop deadline, so every group that is to stop does.

mod moves; // what time and others' moves allow
mod order; // who waits for whom
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backoff::{Backoff, Schedule};
use crate::control::restarts::{Intensity, Restarts, Strategy};
use crate::control::wait::later;

/// A worker or a group, by the order in which they were added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeId(pub(crate) u32);

/// The group that everything is in.
pub(crate) const ROOT: NodeId = NodeId(0);

/// What is added to the tree.
pub(crate) struct Spec {
    pub(crate) name: Arc<str>,
    pub(crate) parent: NodeId,
    pub(crate) restarts: Restarts,
    /// Started before this one, and stopped after it.
    pub(crate) after: Vec<NodeId>,
    pub(crate) kind: Kind,
}

pub(crate) enum Kind {
    Worker { backoff: Backoff, stop_within: Duration },
    Group { strategy: Strategy, intensity: Intensity, backoff: Backoff },
}

/// How a run ended, as far as supervision cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Its work is done, or it was cancelled.
    Normally,
    /// It failed, panicked, or could not be started.
    Badly,
    /// What it ran on is gone, through no fault of its own. It is started again if there is something else to run on.
    Adrift { again: bool },
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Begin this run.
    Launch { worker: NodeId, run: u64 },
    /// Ask the run to end.
    Cancel { worker: NodeId },
    /// The run did not end in time: let go of it.
    GiveUp { worker: NodeId },
    /// The worker is out of the tree.
    Forget { worker: NodeId },
}

/// What there is to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    /// A worker, or a group, will be started again.
    Restarts { node: NodeId, rest: Duration },
    /// A run did not end in time.
    Stuck { worker: NodeId },
    /// A group has had more failures than its intensity allows; the last was this one's.
    Escalates { group: NodeId, culprit: NodeId },
}

/// What a node is up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It starts when what it comes after runs.
    Waiting,
    /// It waits from `Waiting` on, at this moment.
    Resting { until: Instant },
    /// Its run has begun, and has not said that it is ready.
    Starting,
    /// It runs; a group: its members may.
    Running,
    /// It is to stop, but others have to before; a group: its members stop.
    Leaving { then: Then },
    /// It was asked to stop.
    Stopping { by: Instant, then: Then },
    /// It was asked to stop, and did not in time; a group: it is to be forgotten, and one within it is stuck.
    Stuck { then: Then },
    /// It does not run, and will not by itself.
    Over(Over),
}

/// What follows when a run has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    Restart {
        not_before: Instant,
    },
    Stop,
    Forget,
    /// Of groups: it has failed, which is its parent's to deal with.
    Fail,
}

/// Why a node does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Done,
    Failed,
    Stopped,
}

struct Node {
    name: Arc<str>,
    parent: NodeId,
    restarts: Restarts,
    after: Vec<NodeId>,
    /// Those that come after it.
    dependents: Vec<NodeId>,
    /// Of a group, those in it, in the order in which they were added.
    members: Vec<NodeId>,
    stage: Stage,
    /// False when somebody asked it to stop.
    wanted: bool,
    /// How often it was started again.
    restarted: u64,
    rests: Schedule,
    kind: NodeKind,
}

enum NodeKind {
    Worker { stop_within: Duration, run: u64, since: Option<Instant> },
    Group { strategy: Strategy, intensity: Intensity, times: VecDeque<Instant>, since: Option<Instant> },
}

/// The tree.
pub(crate) struct Tree {
    nodes: BTreeMap<NodeId, Node>,
    next: u32,
    /// By when all is to be over, once it was asked for.
    deadline: Option<Instant>,
    /// There were more failures than all of it takes, and it was not started again since.
    escalated: bool,
    actions: VecDeque<Action>,
    notes: VecDeque<Note>,
}

impl Tree {
    pub(crate) fn new(strategy: Strategy, intensity: Intensity) -> Self {
        let (nodes, actions, notes) = (BTreeMap::new(), VecDeque::new(), VecDeque::new());
        let mut tree = Self { nodes, next: 0, deadline: None, escalated: false, actions, notes };
        let kind = Kind::Group { strategy, intensity, backoff: Backoff::NONE };
        let spec = Spec { name: "root".into(), parent: ROOT, restarts: Restarts::Temporary, after: Vec::new(), kind };
        tree.insert(spec);
        tree
    }

    /// What is to be done next. To be asked until there is nothing, after whatever has happened.
    pub(crate) fn action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    pub(crate) fn note(&mut self) -> Option<Note> {
        self.notes.pop_front()
    }

    pub(crate) fn find(&self, name: &str) -> Option<NodeId> {
        // The root has no name that anybody could use.
        self.nodes.iter().skip(1).find(|(_, node)| &*node.name == name).map(|(id, _)| *id)
    }

    pub(crate) fn is_group(&self, id: NodeId) -> bool {
        self.nodes.get(&id).is_some_and(|node| matches!(node.kind, NodeKind::Group { .. }))
    }

    /// The stage of a node, how often it was started again, and its group; `None` when it is not in the tree.
    pub(crate) fn look(&self, id: NodeId) -> Option<(Stage, u64, NodeId)> {
        self.nodes.get(&id).map(|node| (node.stage, node.restarted, node.parent))
    }

    /// True when there were more failures than all of it takes, till it is started again.
    pub(crate) fn is_escalated(&self) -> bool {
        self.escalated
    }

    /// True when everything is over, or given up.
    pub(crate) fn is_over(&self) -> bool {
        self.nodes[&ROOT].stage.is_gone()
    }

    /// What is left until the deadline for everything.
    pub(crate) fn time_left(&self, now: Instant) -> Duration {
        self.deadline.map_or(Duration::ZERO, |deadline| deadline.saturating_duration_since(now))
    }

    /// True when nothing is left to wait for: everything is over, or what was given up has not ended by the deadline either.
    pub(crate) fn is_finished(&self, now: Instant) -> bool {
        self.is_over()
            && self
                .deadline
                .is_some_and(|deadline| now >= deadline || self.nodes.values().all(|node| node.stage.is_over()))
    }

    /// When time alone will change something.
    pub(crate) fn next_change(&self) -> Option<Instant> {
        self.nodes.values().filter_map(|node| node.stage.due()).chain(self.deadline).min()
    }

    // What happens.

    pub(crate) fn add(&mut self, spec: Spec, now: Instant) -> NodeId {
        let id = self.insert(spec);
        self.advance(now);
        id
    }

    /// The run says that it is ready.
    pub(crate) fn started(&mut self, worker: NodeId, run: u64, now: Instant) {
        if let Some(node) = self.nodes.get_mut(&worker)
            && node.run() == run
            && node.stage == Stage::Starting
        {
            node.stage = Stage::Running;
            self.advance(now);
        }
    }

    pub(crate) fn ended(&mut self, worker: NodeId, run: u64, how: Ended, now: Instant) {
        let Some(node) = self.nodes.get_mut(&worker) else { return };
        if node.run() != run {
            return;
        }
        match node.stage {
            Stage::Leaving { then } | Stage::Stopping { then, .. } | Stage::Stuck { then } => {
                self.settle(worker, then, now);
            }
            Stage::Starting | Stage::Running => match (node.restarts, how) {
                (_, Ended::Adrift { again: true }) => self.settle(worker, Then::Restart { not_before: now }, now),
                (_, Ended::Adrift { again: false }) => node.stage = Stage::Over(Over::Failed),
                (Restarts::Permanent, _) | (Restarts::Transient, Ended::Badly) => self.fail(worker, now),
                (Restarts::Temporary, Ended::Badly) => node.stage = Stage::Over(Over::Failed),
                (Restarts::Transient | Restarts::Temporary, Ended::Normally) => node.stage = Stage::Over(Over::Done),
            },
            Stage::Waiting | Stage::Resting { .. } | Stage::Over(_) => {}
        }
        self.advance(now);
    }

    /// Time has passed. True when that changed anything.
    pub(crate) fn tick(&mut self, now: Instant) -> bool {
        self.advance(now)
    }

    /// Has a node start that does not run. One that is on its way down comes back up; one in a group that is down waits for that.
    pub(crate) fn start(&mut self, id: NodeId, now: Instant) {
        if self.deadline.is_some() {
            // Everything is to end, and what became of it stays.
            return;
        }
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.wanted = true;
        let parent = node.parent;
        if id != ROOT && !self.nodes[&parent].stage.is_up() {
            // With its group, when that starts again.
            return;
        }
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let again = Then::Restart { not_before: now };
        match &mut node.stage {
            Stage::Over(_) => self.begin(id, now),
            // A group that fails is for its own group to deal with; the outermost has none.
            Stage::Leaving { then } | Stage::Stopping { then, .. } | Stage::Stuck { then }
                if *then == Then::Stop || (id == ROOT && *then == Then::Fail) =>
            {
                *then = again;
            }
            _ => {}
        }
        self.escalated &= id != ROOT;
        self.advance(now);
    }

    /// Stops a node, and starts it again. No failure, so it does not count as one.
    pub(crate) fn restart(&mut self, id: NodeId, now: Instant) {
        if self.nodes.get(&id).is_some_and(|node| !node.stage.is_up()) {
            // Over, or on its way there: whoever asked for that before has been overruled.
            return self.start(id, now);
        }
        self.leave(id, Then::Restart { not_before: now }, now);
        self.advance(now);
    }

    /// Stops a node for good.
    pub(crate) fn stop(&mut self, id: NodeId, now: Instant) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.wanted = false;
        }
        self.leave(id, Then::Stop, now);
        self.advance(now);
    }

    /// Stops a node, and takes it out of the tree with all that is in it.
    pub(crate) fn remove(&mut self, id: NodeId, now: Instant) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.wanted = false;
        }
        self.leave(id, Then::Forget, now);
        self.advance(now);
    }

    /// Stops everything. What is not over by `deadline` is given up.
    pub(crate) fn shut_down(&mut self, deadline: Instant, now: Instant) {
        self.deadline = Some(self.deadline.map_or(deadline, |earlier| earlier.min(deadline)));
        for node in self.nodes.values_mut() {
            if let Stage::Stopping { by, .. } = &mut node.stage {
                *by = deadline.min(*by);
            }
        }
        self.leave(ROOT, Then::Stop, now);
        self.advance(now);
    }

    // What follows from it.

    fn insert(&mut self, spec: Spec) -> NodeId {
        let id = NodeId(self.next);
        self.next += 1;
        let (kind, backoff) = match spec.kind {
            Kind::Worker { backoff, stop_within } => (NodeKind::Worker { stop_within, run: 0, since: None }, backoff),
            Kind::Group { strategy, intensity, backoff } => {
                (NodeKind::Group { strategy, intensity, times: VecDeque::new(), since: None }, backoff)
            }
        };
        // What is added to a group that is on its way down, or over, starts with the group if it does again.
        let stage = match self.nodes.get(&spec.parent) {
            Some(parent) if !parent.stage.is_up() => Stage::Over(Over::Stopped),
            Some(_) => Stage::Waiting,
            None => Stage::Running,
        };
        let node = Node {
            name: spec.name,
            parent: spec.parent,
            restarts: spec.restarts,
            after: spec.after,
            dependents: Vec::new(),
            members: Vec::new(),
            stage,
            wanted: true,
            restarted: 0,
            rests: backoff.schedule(None),
            kind,
        };
        for before in &node.after {
            self.nodes.get_mut(before).into_iter().for_each(|before| before.dependents.push(id));
        }
        self.nodes.get_mut(&node.parent).into_iter().for_each(|group| group.members.push(id));
        self.nodes.insert(id, node);
        id
    }

    /// The members of a group, in the order in which they were added.
    fn members(&self, group: NodeId) -> Vec<NodeId> {
        self.nodes.get(&group).map(|group| group.members.clone()).unwrap_or_default()
    }

    /// Sets a node that does not run on its way up; of a group, its members too.
    fn begin(&mut self, id: NodeId, now: Instant) {
        self.set(id, Stage::Waiting);
        for member in self.members(id) {
            let node = &self.nodes[&member];
            let may = node.wanted && (node.restarts != Restarts::Temporary || !node.has_run());
            match node.stage {
                Stage::Over(_) if may => self.begin(member, now),
                Stage::Stuck { then: Then::Stop } if may => {
                    self.set(member, Stage::Stuck { then: Then::Restart { not_before: now } });
                }
                _ => {}
            }
        }
    }

    /// Sets a node on its way down.
    fn leave(&mut self, id: NodeId, then: Then, now: Instant) {
        let Some(node) = self.nodes.get(&id) else { return };
        match node.stage {
            Stage::Over(_) => {
                if then == Then::Forget {
                    self.forget_when_ended(id);
                }
            }
            Stage::Waiting | Stage::Resting { .. } if !self.is_group(id) => self.settle(id, then, now),
            Stage::Waiting | Stage::Resting { .. } | Stage::Starting | Stage::Running => {
                self.set(id, Stage::Leaving { then });
                self.members(id).into_iter().rev().for_each(|member| self.leave(member, Then::Stop, now));
            }
            Stage::Leaving { then: old } => self.set(id, Stage::Leaving { then: old.or(then) }),
            Stage::Stopping { by, then: old } => self.set(id, Stage::Stopping { by, then: old.or(then) }),
            Stage::Stuck { then: old } => self.set(id, Stage::Stuck { then: old.or(then) }),
        }
    }

    /// A node that was on its way down has arrived.
    fn settle(&mut self, id: NodeId, then: Then, now: Instant) {
        match then {
            Then::Restart { not_before } => {
                self.begin(id, now);
                self.set(id, Stage::Resting { until: not_before });
                self.restarted(id);
            }
            Then::Stop => self.set(id, Stage::Over(Over::Stopped)),
            Then::Forget => self.forget_when_ended(id),
            // Somebody has asked for it meanwhile: what it failed at is not to be made good.
            Then::Fail if !self.nodes[&id].wanted => self.set(id, Stage::Over(Over::Stopped)),
            Then::Fail => {
                self.set(id, Stage::Over(Over::Failed));
                if id != ROOT && self.nodes[&id].restarts != Restarts::Temporary {
                    self.fail(id, now);
                }
            }
        }
    }

    /// A node has ended that is to be started again: so is who belongs to it, or its group has had enough.
    fn fail(&mut self, id: NodeId, now: Instant) {
        let Some(Node { parent, .. }) = self.nodes.get(&id) else { return };
        let parent = *parent;
        let Some(Node { kind: NodeKind::Group { strategy, intensity, times, .. }, stage, .. }) =
            self.nodes.get_mut(&parent)
        else {
            return;
        };
        if !stage.is_up() {
            return self.set(id, Stage::Over(Over::Failed));
        }
        let (strategy, intensity) = (*strategy, *intensity);
        while times.front().is_some_and(|time| now.saturating_duration_since(*time) >= intensity.within) {
            times.pop_front();
        }
        // S3.
        if times.len() >= intensity.restarts as usize {
            times.clear();
            self.set(id, Stage::Over(Over::Failed));
            self.escalated |= parent == ROOT;
            self.notes.push_back(Note::Escalates { group: parent, culprit: id });
            return self.leave(parent, Then::Fail, now);
        }
        times.push_back(now);
        let rest = self.rest_of(id, intensity.within, now);
        let until = later(now, rest);
        self.begin(id, now);
        self.set(id, Stage::Resting { until });
        self.restarted(id);
        self.notes.push_back(Note::Restarts { node: id, rest });
        if strategy == Strategy::OneForOne {
            return;
        }
        for member in self.members(parent).into_iter().rev() {
            if member == id || (strategy == Strategy::RestForOne && member < id) {
                continue;
            }
            self.restart_with_another(member, until, now);
        }
    }

    /// A member of a group is started again because another one is.
    fn restart_with_another(&mut self, id: NodeId, not_before: Instant, now: Instant) {
        let Node { restarts, wanted, stage, .. } = &self.nodes[&id];
        let then = if *restarts == Restarts::Temporary || !*wanted { Then::Stop } else { Then::Restart { not_before } };
        match (stage, then) {
            (Stage::Over(_), Then::Stop) => {}
            (Stage::Resting { until }, Then::Restart { .. }) => {
                let until = not_before.max(*until);
                self.set(id, Stage::Resting { until });
            }
            // One that is to stop takes its members down, also when it has not started.
            (Stage::Over(_) | Stage::Waiting, Then::Restart { .. }) => self.settle(id, then, now),
            _ => self.leave(id, then, now),
        }
    }

    /// How long it rests this time.
    fn rest_of(&mut self, id: NodeId, steady: Duration, now: Instant) -> Duration {
        let Some(node) = self.nodes.get_mut(&id) else { return Duration::ZERO };
        let (NodeKind::Worker { since, .. } | NodeKind::Group { since, .. }) = node.kind;
        if since.is_some_and(|since| now.saturating_duration_since(since) >= steady) {
            node.rests.begin_anew();
        }
        node.rests.rest()
    }

    fn restarted(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(&id)
            && node.has_run()
        {
            node.restarted += 1;
        }
    }

    /// A group with a member that is stuck stays as long as that one, which still runs.
    fn forget_when_ended(&mut self, id: NodeId) {
        if self.has_ended(id) {
            self.forget(id);
        } else {
            self.set(id, Stage::Stuck { then: Then::Forget });
        }
    }

    /// True when nothing within a group runs.
    fn has_ended(&self, group: NodeId) -> bool {
        self.members(group).into_iter().all(|member| self.nodes[&member].stage.is_over() && self.has_ended(member))
    }

    fn forget(&mut self, id: NodeId) {
        self.members(id).into_iter().for_each(|member| self.forget(member));
        self.nodes.remove(&id);
        for node in self.nodes.values_mut() {
            for known in [&mut node.after, &mut node.dependents, &mut node.members] {
                known.retain(|one| *one != id);
            }
        }
        self.actions.push_back(Action::Forget { worker: id });
    }

    fn set(&mut self, id: NodeId, stage: Stage) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.stage = stage;
        }
    }
}

impl Node {
    fn run(&self) -> u64 {
        match self.kind {
            NodeKind::Worker { run, .. } => run,
            NodeKind::Group { .. } => 0,
        }
    }

    fn has_run(&self) -> bool {
        match self.kind {
            NodeKind::Worker { run, .. } => run > 0,
            NodeKind::Group { since, .. } => since.is_some(),
        }
    }
}

impl Stage {
    pub(crate) fn is_over(self) -> bool {
        matches!(self, Stage::Over(_))
    }

    /// Nobody need wait for it any more.
    fn is_gone(self) -> bool {
        matches!(self, Stage::Over(_) | Stage::Stuck { .. })
    }

    fn is_leaving(self) -> bool {
        matches!(self, Stage::Leaving { .. } | Stage::Stopping { .. })
    }

    /// On its way up, or there.
    fn is_up(self) -> bool {
        matches!(self, Stage::Waiting | Stage::Resting { .. } | Stage::Starting | Stage::Running)
    }

    fn due(self) -> Option<Instant> {
        match self {
            Stage::Resting { until } => Some(until),
            Stage::Stopping { by, .. } => Some(by),
            _ => None,
        }
    }
}

impl Then {
    /// The stronger of the two.
    fn or(self, other: Then) -> Then {
        let weight = |then| match then {
            Then::Restart { .. } => 0,
            Then::Stop => 1,
            Then::Fail => 2,
            Then::Forget => 3,
        };
        if weight(other) >= weight(self) { other } else { self }
    }
}

//! How everything is, as one tree.

use std::sync::Arc;

use crate::control::{Health, WorkerState};
use crate::register::crew::status::ProjectState;
use crate::register::root::project::AnyProject;
use crate::register::root::{ProjectPhase, Register};
use crate::signal::SubscriberState;

/// How a part is, in one word; of a part with others in it, the worst of theirs and its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// As it should be.
    #[default]
    Good,
    /// It works, but not as it should: something rests, lags, or was lost.
    Degraded,
    /// It does not work.
    Failed,
}

/// A part of the host, and how it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HealthNode {
    /// What it is called.
    pub name: Arc<str>,
    /// How it is.
    pub condition: Condition,
    /// Why, or what it does; for people.
    pub what: String,
    /// The parts that it has.
    pub parts: Vec<HealthNode>,
}

impl HealthNode {
    fn leaf(name: impl Into<Arc<str>>, condition: Condition, what: impl Into<String>) -> Self {
        Self { name: name.into(), condition, what: what.into(), parts: Vec::new() }
    }

    /// Of its own condition and the worst of its parts'.
    fn of(name: impl Into<Arc<str>>, own: Condition, what: impl Into<String>, parts: Vec<Self>) -> Self {
        let condition = parts.iter().map(|part| part.condition).max().unwrap_or_default().max(own);
        Self { name: name.into(), condition, what: what.into(), parts }
    }

    /// The part of this name within it, at any depth.
    pub fn find(&self, name: &str) -> Option<&HealthNode> {
        self.parts.iter().find_map(|part| if &*part.name == name { Some(part) } else { part.find(name) })
    }
}

pub(super) fn tree(register: &Register) -> HealthNode {
    let parts = vec![projects(register), workers(register), bus(register)];
    HealthNode::of("register", Condition::Good, "", parts)
}

fn projects(register: &Register) -> HealthNode {
    let crew = register.crew();
    let project = |project: &Arc<dyn AnyProject>| {
        let name = project.name().clone();
        // Before its phase: what is said to be open after this look has not ended, or is just told to have.
        let has_ended = project.has_ended();
        let phase = project.look().0;
        let condition = match &phase {
            ProjectPhase::Open if has_ended => {
                return HealthNode::leaf(name, Condition::Degraded, "it has ended, which is about to be seen to");
            }
            // By its name it is the newest one: one that was given up may be there beside it.
            ProjectPhase::Open if crew.project(&name).is_some_and(|driven| driven.state == ProjectState::Stuck) => {
                return HealthNode::leaf(name, Condition::Failed, "stuck: a turn does not end");
            }
            ProjectPhase::Open | ProjectPhase::Closed => Condition::Good,
            ProjectPhase::Opening | ProjectPhase::Failed { again: true, .. } => Condition::Degraded,
            ProjectPhase::Failed { again: false, .. } => Condition::Failed,
        };
        let mut what = phase.to_string();
        if matches!(phase, ProjectPhase::Failed { again: true, .. })
            && let Some(needs) = register.shared.unmet(project.after())
        {
            what += &format!("; it waits until `{needs}` is open");
        }
        HealthNode::leaf(name, condition, what)
    };
    let parts = register.shared.projects().iter().map(project).collect();
    let counters = crew.counters();
    let (own, what) = match (counters.threads_stuck, counters.threads) {
        (0, _) => (Condition::Good, String::new()),
        (held, 0) => (Condition::Failed, format!("all {held} threads are held by turns that do not end")),
        (held, _) => (Condition::Degraded, format!("{held} threads are held by turns that do not end")),
    };
    HealthNode::of("projects", own, what, parts)
}

fn workers(register: &Register) -> HealthNode {
    let own = match register.panel().health() {
        Health::Good => Condition::Good,
        Health::Degraded => Condition::Degraded,
        Health::Escalated => Condition::Failed,
    };
    let parts = register.panel().workers().into_iter().map(|worker| {
        let condition = match worker.state {
            WorkerState::Failed | WorkerState::Stuck => Condition::Failed,
            WorkerState::Resting { .. } => Condition::Degraded,
            _ => Condition::Good,
        };
        let what = match &worker.last_failure {
            Some(failure) => format!("{}; it last failed {failure}", worker.state),
            None => worker.state.to_string(),
        };
        HealthNode::leaf(worker.name, condition, what)
    });
    HealthNode::of("workers", own, format!("{:?}", register.panel().health()).to_lowercase(), parts.collect())
}

fn bus(register: &Register) -> HealthNode {
    let families = register.bus().families().into_iter().map(|family| {
        let parts = family.subscribers.iter().map(|subscriber| {
            let condition = match subscriber.state {
                SubscriberState::Detached => Condition::Failed,
                _ if subscriber.dropped + subscriber.given_up + subscriber.filter_panics > 0 => Condition::Degraded,
                _ => Condition::Good,
            };
            let what = format!(
                "{} delivered, {} dropped, {} wait",
                subscriber.delivered, subscriber.dropped, subscriber.depth
            );
            HealthNode::leaf(subscriber.name.clone(), condition, what)
        });
        let own = if family.refused + family.stranded > 0 { Condition::Degraded } else { Condition::Good };
        HealthNode::of(family.family, own, format!("{} refused", family.refused), parts.collect())
    });
    let own = if register.bus().is_closed() { Condition::Failed } else { Condition::Good };
    HealthNode::of("bus", own, if register.bus().is_closed() { "shut down" } else { "" }, families.collect())
}

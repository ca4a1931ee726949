//! What each node does next, when time has passed or others have moved: up in the order in which they were added, down in the other.

use std::time::Instant;

use crate::control::tree::{Action, Node, NodeId, NodeKind, Note, ROOT, Stage, Then, Tree};
use crate::control::wait::later;

impl Tree {
    /// Does what can be done now, until nothing more can. True when it did anything.
    pub(super) fn advance(&mut self, now: Instant) -> bool {
        if self.deadline.is_some() && !self.is_over() {
            self.leave(ROOT, Then::Stop, now);
        }
        let mut moved = false;
        loop {
            let ids: Vec<_> = self.nodes.keys().copied().collect();
            let mut changed = false;
            // Up in the order in which they were added, down in the other.
            ids.iter().for_each(|id| changed |= self.step_up(*id, now));
            ids.iter().rev().for_each(|id| changed |= self.step_down(*id, now));
            if !changed {
                return moved;
            }
            moved = true;
        }
    }

    fn step_up(&mut self, id: NodeId, now: Instant) -> bool {
        let Some(Node { stage, .. }) = self.nodes.get(&id) else { return false };
        match *stage {
            Stage::Resting { until } if now >= until => {
                self.set(id, Stage::Waiting);
                true
            }
            Stage::Waiting if self.may_start(id) => {
                let Some(node) = self.nodes.get_mut(&id) else { return false };
                match &mut node.kind {
                    NodeKind::Group { since, .. } => {
                        *since = Some(now);
                        node.stage = Stage::Running;
                    }
                    NodeKind::Worker { run, since, .. } => {
                        *run += 1;
                        *since = Some(now);
                        node.stage = Stage::Starting;
                        self.actions.push_back(Action::Launch { worker: id, run: *run });
                    }
                }
                true
            }
            _ => false,
        }
    }

    fn step_down(&mut self, id: NodeId, now: Instant) -> bool {
        let Some(node) = self.nodes.get(&id) else { return false };
        match (node.stage, &node.kind) {
            (Stage::Leaving { then }, NodeKind::Group { .. }) => {
                if !self.members(id).into_iter().all(|member| self.nodes[&member].stage.is_gone()) {
                    return false;
                }
                self.settle(id, then, now);
                true
            }
            (Stage::Stuck { then }, NodeKind::Group { .. }) if self.has_ended(id) => {
                self.settle(id, then, now);
                true
            }
            (Stage::Leaving { then }, NodeKind::Worker { stop_within, .. }) => {
                if !self.may_stop(id) {
                    return false;
                }
                let by = later(now, *stop_within);
                let by = self.deadline.map_or(by, |deadline| deadline.min(by));
                self.set(id, Stage::Stopping { by, then });
                self.actions.push_back(Action::Cancel { worker: id });
                true
            }
            // S4.
            (Stage::Stopping { by, .. }, _) if now >= by => {
                self.give_up(id);
                true
            }
            _ => false,
        }
    }

    fn give_up(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if let Stage::Stopping { then, .. } = node.stage {
            node.stage = Stage::Stuck { then };
            self.actions.push_back(Action::GiveUp { worker: id });
            self.notes.push_back(Note::Stuck { worker: id });
        }
    }
}

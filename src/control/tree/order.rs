//! Who waits for whom: on the way up for what it comes after, on the way down for what comes after it.

use crate::control::restarts::Strategy;
use crate::control::tree::{NodeId, NodeKind, Over, ROOT, Stage, Tree};

impl Tree {
    /// True when a node in `parent` that comes after these would have to wait for itself, through the group that it is in.
    pub(crate) fn would_wait_for_itself(&self, parent: NodeId, after: &[NodeId]) -> bool {
        let own: Vec<_> = self.line(parent).collect();
        let mut todo = after.to_vec();
        let mut seen = Vec::new();
        while let Some(id) = todo.pop() {
            if own.contains(&id) {
                return true;
            }
            if seen.contains(&id) {
                continue;
            }
            seen.push(id);
            todo.extend(self.members(id));
            for one in self.line(id) {
                todo.extend(&self.nodes[&one].after);
                todo.extend(self.nodes.keys().filter(|other| self.stands_before(**other, one)));
            }
        }
        false
    }

    /// True when `id` is in `group`, or in a group that is in it.
    pub(crate) fn is_within(&self, id: NodeId, group: NodeId) -> bool {
        group == ROOT || (self.nodes.contains_key(&id) && self.line(id).any(|one| one == group))
    }

    /// S2, on the way up.
    pub(super) fn may_start(&self, id: NodeId) -> bool {
        if id == ROOT {
            return true;
        }
        let node = &self.nodes[&id];
        let parent = &self.nodes[&node.parent];
        if parent.stage != Stage::Running || !node.after.iter().all(|before| self.is_ready(*before)) {
            return false;
        }
        let NodeKind::Group { strategy, .. } = parent.kind else { return true };
        match strategy {
            Strategy::OneForOne => true,
            // Those that go down together are all down before the first comes up.
            Strategy::OneForAll => {
                self.members(node.parent).into_iter().all(|member| !self.nodes[&member].stage.is_leaving())
            }
            Strategy::RestForOne => self.members(node.parent).into_iter().all(|member| {
                !self.nodes[&member].stage.is_leaving() && (member >= id || self.is_ready_or_over(member))
            }),
        }
    }

    /// True when what comes after this node may start.
    pub(super) fn is_ready(&self, id: NodeId) -> bool {
        let Some(node) = self.nodes.get(&id) else { return true };
        match node.stage {
            Stage::Over(Over::Done) => true,
            Stage::Running => !self.is_group(id) || self.members(id).into_iter().all(|member| self.is_ready(member)),
            _ => false,
        }
    }

    fn is_ready_or_over(&self, id: NodeId) -> bool {
        self.is_ready(id) || self.nodes[&id].stage.is_gone()
    }

    /// S2, on the way down.
    pub(super) fn may_stop(&self, id: NodeId) -> bool {
        self.nodes.iter().all(|(other, node)| !node.stage.is_leaving() || !self.comes_after(*other, id))
    }

    /// True when `later`, or a group that it is in, comes after `earlier`, or after a group that that is in.
    fn comes_after(&self, later: NodeId, earlier: NodeId) -> bool {
        self.line(later).any(|one| {
            let after = &self.nodes[&one].after;
            self.line(earlier).any(|other| after.contains(&other) || self.stands_before(other, one))
        })
    }

    /// True when the two are members of one group whose members start one after another.
    fn stands_before(&self, earlier: NodeId, later: NodeId) -> bool {
        let parent = self.nodes[&later].parent;
        earlier != ROOT
            && earlier < later
            && self.nodes[&earlier].parent == parent
            && matches!(self.nodes[&parent].kind, NodeKind::Group { strategy: Strategy::RestForOne, .. })
    }

    /// A node and the groups that it is in, but for the root.
    pub(super) fn line(&self, id: NodeId) -> impl Iterator<Item = NodeId> + use<'_> {
        std::iter::successors(Some(id), |id| Some(self.nodes[id].parent)).take_while(|id| *id != ROOT)
    }
}

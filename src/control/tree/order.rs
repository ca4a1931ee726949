//! Who waits for whom: on the way up for what it comes after, on the way down for what comes after it.

use std::collections::BTreeSet;

use crate::control::restarts::Strategy;
use crate::control::tree::{NodeId, NodeKind, Over, ROOT, Stage, Tree};

impl Tree {
    /// True when a node in `parent` that comes after these would have to wait for itself, through the group that it is in.
    pub(crate) fn would_wait_for_itself(&self, parent: NodeId, after: &[NodeId]) -> bool {
        let own: Vec<_> = self.line(parent).collect();
        let mut todo = after.to_vec();
        let mut seen = BTreeSet::new();
        while let Some(id) = todo.pop() {
            if own.contains(&id) {
                return true;
            }
            if !seen.insert(id) {
                continue;
            }
            todo.extend(&self.nodes[&id].members);
            for one in self.line(id) {
                todo.extend(&self.nodes[&one].after);
                todo.extend(self.siblings_in_order(one).iter().take_while(|other| **other < one));
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
            Strategy::OneForAll => self.nobody_leaves(&parent.members),
            // The one before it is the likeliest to be the one that it waits for.
            Strategy::RestForOne => {
                let before = parent.members.partition_point(|member| *member < id);
                parent.members[..before].iter().rev().all(|member| self.is_ready_or_over(*member))
                    && self.nobody_leaves(&parent.members)
            }
        }
    }

    /// True when what comes after this node may start.
    pub(super) fn is_ready(&self, id: NodeId) -> bool {
        let Some(node) = self.nodes.get(&id) else { return true };
        match node.stage {
            Stage::Over(Over::Done) => true,
            Stage::Running => node.members.iter().all(|member| self.is_ready(*member)),
            _ => false,
        }
    }

    fn is_ready_or_over(&self, id: NodeId) -> bool {
        self.is_ready(id) || self.nodes[&id].stage.is_gone()
    }

    fn nobody_leaves(&self, members: &[NodeId]) -> bool {
        members.iter().all(|member| !self.nodes[member].stage.is_leaving())
    }

    /// S2, on the way down: nobody leaves who comes after this node, or is in a group that does, or comes after a group that it is in.
    pub(super) fn may_stop(&self, id: NodeId) -> bool {
        self.line(id).all(|one| {
            let siblings = self.siblings_in_order(one);
            // The next one is the likeliest to be the one that it waits for.
            let later = siblings[siblings.partition_point(|other| *other <= one)..].iter();
            later.chain(&self.nodes[&one].dependents).all(|other| !self.is_any_leaving(*other))
        })
    }

    /// True when this node, or one within it, is on its way down.
    fn is_any_leaving(&self, id: NodeId) -> bool {
        let node = &self.nodes[&id];
        node.stage.is_leaving() || node.members.iter().any(|member| self.is_any_leaving(*member))
    }

    /// The members of the group that a node is in, if they start one after another.
    fn siblings_in_order(&self, id: NodeId) -> &[NodeId] {
        let parent = &self.nodes[&self.nodes[&id].parent];
        match parent.kind {
            NodeKind::Group { strategy: Strategy::RestForOne, .. } => &parent.members,
            _ => &[],
        }
    }

    /// A node and the groups that it is in, but for the root.
    pub(super) fn line(&self, id: NodeId) -> impl Iterator<Item = NodeId> + use<'_> {
        std::iter::successors(Some(id), |id| Some(self.nodes[id].parent)).take_while(|id| *id != ROOT)
    }
}

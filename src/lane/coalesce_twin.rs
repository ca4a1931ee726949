//! The slow, obviously right twin of the coalescing table, of both ends of it: one list of what is unread, in the order in
//! which it became so.

use std::mem;

use crate::event::{Coalesced, Tier};
use crate::lane::coalesce::Pushed;

/// A value as the main lane is given it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Value {
    pub(crate) item: u64,
    pub(crate) key: u64,
    pub(crate) sequence: u64,
    pub(crate) parts: u32,
}

/// One key with an unread value.
struct Waiting {
    key: u32,
    tier: Tier,
    /// `None` once coalescing has unwound: the value is lost, its place is not.
    value: Option<Value>,
}

pub(crate) struct Twin {
    capacity: usize,
    waiting: Vec<Waiting>,
    /// The key of the value that was put first since all were taken.
    first_key: u64,
    held: Vec<Value>,
}

impl Twin {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, waiting: Vec::new(), first_key: 0, held: Vec::new() }
    }

    /// How many values are waiting, or held for the next cut.
    #[allow(dead_code, reason = "for values that can be counted")]
    pub(crate) fn len(&self) -> usize {
        self.waiting.iter().filter(|waiting| waiting.value.is_some()).count() + self.held.len()
    }

    /// What becomes of a push; if `combine` returns `None`, for a rule that unwinds, both values are lost.
    pub(crate) fn push(
        &mut self,
        key: u32,
        tier: Tier,
        value: Value,
        combine: impl FnOnce(&mut u64, u64) -> Option<Coalesced>,
    ) -> Pushed {
        if self.waiting.is_empty() {
            self.first_key = value.key;
        }
        let mut pushed = Pushed::Inserted;
        if let Some(at) = self.waiting.iter().position(|waiting| waiting.key == key) {
            let mut known = self.waiting.remove(at);
            // It keeps its place, unless its tier changes.
            let at = if known.tier == tier { at } else { self.waiting.len() };
            known.tier = tier;
            let older = known.value.take();
            if let Some(older) = older {
                let mut item = older.item;
                match combine(&mut item, value.item) {
                    Some(coalesced) => {
                        known.value = Some(Value { item, parts: older.parts + value.parts, ..value });
                        pushed = Pushed::Coalesced(coalesced);
                    }
                    None => pushed = Pushed::Lost,
                }
            } else {
                known.value = Some(value);
            }
            self.waiting.insert(at, known);
            return pushed;
        }
        if self.waiting.len() == self.capacity {
            let lowest = self.waiting.iter().map(|waiting| waiting.tier).min();
            if lowest > Some(tier) {
                return Pushed::Shed;
            }
            let at = self.waiting.iter().position(|waiting| Some(waiting.tier) == lowest);
            let shed = at.and_then(|at| self.waiting.remove(at).value);
            if shed.is_some() {
                pushed = Pushed::InsteadOf;
            }
        }
        self.waiting.push(Waiting { key, tier, value: Some(value) });
        pushed
    }

    /// What one pass of a cut with this bound takes, in rising order.
    pub(crate) fn collect(&mut self, bound: u64) -> Vec<Value> {
        let (mut taken, held) = mem::take(&mut self.held).into_iter().partition(|value| value.key < bound);
        self.held = held;
        if !self.waiting.is_empty() && self.first_key < bound {
            for value in mem::take(&mut self.waiting).into_iter().filter_map(|waiting| waiting.value) {
                if value.key < bound { &mut taken } else { &mut self.held }.push(value);
            }
        }
        taken.sort();
        taken
    }
}

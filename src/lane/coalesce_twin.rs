//! The slow, obviously right twin of the coalescing table, of both ends of it: one list of what is unread, in the order in
//! which it was put.

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

/// One entry that is not idle.
struct Waiting {
    key: u32,
    tier: Tier,
    /// `None` once coalescing has unwound: the value is lost, the entry is not idle.
    value: Option<Value>,
    /// The bound that a value in this entry was beyond; zero if there was none since one was taken.
    left_at: u64,
}

pub(crate) struct Twin {
    capacity: usize,
    waiting: Vec<Waiting>,
    held: Vec<Value>,
    bound: u64,
}

impl Twin {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, waiting: Vec::new(), held: Vec::new(), bound: 0 }
    }

    /// How many values are waiting, or held for the next cut.
    #[allow(dead_code, reason = "for values that can be counted")]
    pub(crate) fn len(&self) -> usize {
        self.waiting.iter().filter(|waiting| waiting.value.is_some()).count() + self.held.len()
    }

    /// What becomes of a push; `None` if `combine` returns `None`, for a rule that unwinds: both values are lost.
    pub(crate) fn push(
        &mut self,
        key: u32,
        tier: Tier,
        mut value: Value,
        combine: impl FnOnce(&mut u64, u64) -> Option<Coalesced>,
    ) -> Option<Pushed> {
        let mut left_at = 0;
        let mut pushed = Pushed::Inserted;
        if let Some(at) = self.waiting.iter().position(|waiting| waiting.key == key) {
            if let Some(older) = self.waiting[at].value.take() {
                let mut item = older.item;
                let coalesced = combine(&mut item, value.item)?;
                value = Value { item, parts: older.parts + value.parts, ..value };
                pushed = Pushed::Coalesced(coalesced);
            }
            left_at = self.waiting.remove(at).left_at;
        } else if self.waiting.len() == self.capacity {
            let lowest = self.waiting.iter().map(|waiting| waiting.tier).min()?;
            if lowest > tier {
                return Some(Pushed::Shed);
            }
            let at = self.waiting.iter().position(|waiting| waiting.tier == lowest)?;
            let shed = self.waiting.remove(at);
            left_at = shed.left_at;
            if shed.value.is_some() {
                pushed = Pushed::InsteadOf;
            }
        }
        self.waiting.push(Waiting { key, tier, value: Some(value), left_at });
        Some(pushed)
    }

    /// What one pass of a cut with this bound takes, in rising order.
    pub(crate) fn collect(&mut self, bound: u64) -> Vec<Value> {
        let mut taken = Vec::new();
        if mem::replace(&mut self.bound, bound) != bound {
            taken.append(&mut self.held);
        }
        for mut waiting in mem::take(&mut self.waiting) {
            match waiting.value.take() {
                Some(value) if value.key < bound || bound == u64::MAX => taken.push(value),
                // Beyond the bound of an earlier cut too.
                Some(value) if waiting.left_at != 0 && waiting.left_at != bound => self.held.push(value),
                Some(value) => self.waiting.push(Waiting { value: Some(value), left_at: bound, ..waiting }),
                None => self.waiting.push(waiting),
            }
        }
        taken.sort();
        taken
    }
}

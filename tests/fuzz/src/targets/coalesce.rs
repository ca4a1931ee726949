//! The coalescing table, both ends on one thread: `src/lane/coalesce.rs` and `src/lane/table.rs`.
//!
//! - What becomes of each push, and what each pass of a cut is given, is what the slow twin says: keys, tiers, parts,
//!   pages left at a bound and values held for the next cut.
//! - A rule that unwinds loses the pair, says so, and leaves the rest as it was.
//! - No value is dropped twice, or never; the table forgets none.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

use crate::choices::Choices;
use crate::clock::Bound;
use crate::event::{Coalesced, Tier};
use crate::lane::coalesce::{Coalescer, Pushed};
use crate::lane::coalesce_twin::{Twin, Value};
use crate::lane::table::{TableConsumer, Unread, table};

const CAPACITIES: [usize; 4] = [1, 3, 65, 64 * 64 + 2];
const STARTS: [u64; 2] = [1, 1 << 62];

struct Scenario {
    lane: Coalescer<u32, Item>,
    main_lane: TableConsumer<Item>,
    twin: Twin,
    clock: u64,
    pushes: u64,
    /// A part of every value that there is.
    token: Rc<()>,
}

struct Item {
    number: u64,
    _token: Rc<()>,
}

pub(super) fn check(data: &[u8]) {
    let mut choices = Choices::new(data);
    let capacity = choices.one_of(&CAPACITIES);
    let clock = choices.one_of(&STARTS);
    let is_clocked = choices.yes();
    let (producer, main_lane) = table(capacity);
    let lane = Coalescer::new(producer, capacity);
    let mut scenario = Scenario { lane, main_lane, twin: Twin::new(capacity), clock, pushes: 0, token: Rc::new(()) };
    let mut bound = Bound::OPEN;
    while choices.are_left() {
        match choices.below(8) {
            0 if is_clocked => bound = scenario.cut(),
            0 | 1 => scenario.collect(bound),
            // Critical events of somebody, and another pass of the cut that is being taken.
            2 => scenario.clock += u64::from(choices.byte()),
            3 => {
                // A row of keys that are all different.
                let (first, tier) = (u32::from(choices.byte()) << 8, choices.one_of(&[0, 1, 7]));
                (0..=u32::from(choices.byte())).for_each(|key| scenario.push(first + key, Tier::new(tier), 0));
            }
            _ => {
                let (key, rule) = (choices.byte(), choices.below(32));
                scenario.push(u32::from(key % 8), Tier::new(key >> 5), rule);
            }
        }
        let alive = Rc::strong_count(&scenario.token) - 1;
        assert_eq!(alive, scenario.twin.len(), "every value is dropped once");
    }
    let token = Rc::clone(&scenario.token);
    if choices.yes() {
        drop(scenario);
        assert_eq!(Rc::strong_count(&token), 1, "what waits is dropped with the table");
        return;
    }
    // The second takes what the first leaves for it.
    let last = if is_clocked { [scenario.cut(), scenario.cut()] } else { [Bound::OPEN; 2] };
    last.into_iter().for_each(|bound| scenario.collect(bound));
    assert_eq!(scenario.twin.len(), 0, "nothing is forgotten");
    assert!(!scenario.main_lane.has_visible());
}

impl Scenario {
    /// Fixes the bound of the next cut.
    fn cut(&mut self) -> Bound {
        let bound = Bound(2 * self.clock + 1);
        self.clock += 1;
        bound
    }

    fn push(&mut self, key: u32, tier: Tier, rule: usize) {
        self.pushes += 1;
        let (number, sequence, order) = (self.pushes, self.pushes, 2 * self.clock);
        let combined = |older: u64, newer: u64| match rule {
            0..=15 => Some((Coalesced::Replaced, newer)),
            16..=30 => Some((Coalesced::Merged, older + newer)),
            _ => None,
        };
        let expected =
            self.twin.push(key, tier, Value { item: number, key: order, sequence, parts: 1 }, |item, newer| {
                let (coalesced, combined) = combined(*item, newer)?;
                *item = combined;
                Some(coalesced)
            });
        let mut became = None;
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            let item = Item { number, _token: Rc::clone(&self.token) };
            let unread = Unread { key: order, sequence, parts: 1, item: || item };
            let rule = |older: &mut Item, newer: Item| match combined(older.number, newer.number) {
                Some((coalesced, number)) => {
                    older.number = number;
                    coalesced
                }
                None => resume_unwind(Box::new(())),
            };
            self.lane.push(key, tier, unread, rule, |pushed| {
                assert_eq!(became.replace(pushed), None, "it is counted once");
            });
        }))
        .is_err();
        assert_eq!(became, Some(expected), "key {key}, {tier:?}");
        assert_eq!(unwound, expected == Pushed::Lost);
    }

    fn collect(&mut self, bound: Bound) {
        let expected = self.twin.collect(bound.0);
        let mut taken = Vec::new();
        let added = self.main_lane.collect(bound, |Unread { key, sequence, parts, item }| {
            taken.push(Value { item: item.number, key, sequence, parts });
        });
        taken.sort();
        assert_eq!(taken, expected);
        assert_eq!(added, !expected.is_empty());
        assert!(self.main_lane.has_visible() || self.twin.len() == 0, "what waits is visible");
    }
}

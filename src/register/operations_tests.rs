//! Tests of what a state knows of operations: rules, and a slow twin.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::Class;
use crate::event::{LaneId, Sequence};

/// An event with an outcome, should it be an end.
struct Step(Option<Operation>, u32);

impl Event for Step {
    type Key = ();
    type Facets = ();

    fn class(&self) -> Class<()> {
        Class::Critical
    }

    fn operation(&self) -> Option<Operation> {
        self.0
    }
}

type View = OperationsView<u32>;

fn apply(view: &mut View, id: u64, sequence: u64, phase: Phase, outcome: u32) {
    let operation = Some(Operation { id: OperationId(id), sequence, phase });
    let (event, stamp) = (Step(operation, outcome), Stamp(100 + sequence));
    let operation = event.operation();
    let (lane, origin) = (LaneId(0), Origin::built_in("test", id));
    let envelope =
        Envelope { stamp, lane, sequence: Sequence(0), origin, operation, parts: 1, facets: &(), event: &event };
    view.follow(&envelope, |step| step.1);
}

fn end(view: &mut View, id: u64) {
    apply(view, id, 1, Phase::Terminal, id as u32);
}

fn start(view: &mut View, id: u64) {
    apply(view, id, 0, Phase::Started, 0);
}

/// In a word.
fn word(view: &View, id: u64) -> &'static str {
    match view.get(OperationId(id)) {
        Followed::Unknown => "unknown",
        Followed::Open(_) => "open",
        Followed::Ended(_) => "ended",
        Followed::Forgotten => "forgotten",
    }
}

#[test]
fn an_operation_is_followed_from_its_first_event_to_its_outcome() {
    let mut view = View::default();
    start(&mut view, 7);
    apply(&mut view, 7, 5, Phase::Progress, 0);
    apply(&mut view, 7, 3, Phase::Progress, 0);
    let whole = OpenOperation { since: Stamp(100), origin: Origin::built_in("test", 7), progress: 5 };
    assert_eq!(view.get(OperationId(7)), Followed::Open(&whole));
    assert_eq!(view.open().collect::<Vec<_>>(), [(OperationId(7), &whole)]);
    apply(&mut view, 7, 6, Phase::Terminal, 42);
    let ended = EndedOperation { whole: OpenOperation { progress: 6, ..whole }, ended: Stamp(106), outcome: 42 };
    assert_eq!(view.get(OperationId(7)), Followed::Ended(&ended));
    assert_eq!(view.open().count(), 0);
    // The first outcome stands.
    apply(&mut view, 7, 7, Phase::Terminal, 43);
    apply(&mut view, 7, 0, Phase::Started, 0);
    assert_eq!(view.get(OperationId(7)), Followed::Ended(&ended));
    assert_eq!((view.counts().repeats, word(&view, 8)), (2, "unknown"));
}

#[test]
fn an_end_alone_is_an_end_and_an_event_without_an_operation_nothing() {
    let mut view = View::default();
    end(&mut view, 3);
    assert!(
        matches!(view.get(OperationId(3)), Followed::Ended(ended) if ended.outcome == 3 && ended.whole.progress == 1)
    );
    let before = view.clone();
    let (event, origin) = (Step(None, 0), Origin::built_in("test", 0));
    let (stamp, lane, sequence) = (Stamp(1), LaneId(0), Sequence(0));
    let envelope = Envelope { stamp, lane, sequence, origin, operation: None, parts: 1, facets: &(), event: &event };
    view.follow(&envelope, |_| panic!("it is no end"));
    assert_eq!(view, before);
}

#[test]
fn what_is_beyond_the_bounds_is_forgotten_and_stays_so() {
    let mut view = View::bounded(2, 1);
    for id in 1..=3 {
        start(&mut view, id);
    }
    assert_eq!([1, 2, 3, 4].map(|id| word(&view, id)), ["forgotten", "open", "open", "unknown"]);
    end(&mut view, 1);
    start(&mut view, 1);
    assert_eq!(word(&view, 1), "forgotten", "that it comes up again does not bring it back");
    end(&mut view, 2);
    end(&mut view, 3);
    assert_eq!([2, 3].map(|id| word(&view, id)), ["forgotten", "ended"]);
    let counts = view.counts();
    assert_eq!((counts.forgotten_open, counts.forgotten_ended), (1, 1));
    assert_eq!(view.forgotten.len(), 1);
}

#[test]
fn numbers_that_rise_are_one_range_however_many() {
    let mut view = View::bounded(4, 4);
    for id in 0..20_000 {
        start(&mut view, id);
        end(&mut view, id);
    }
    assert_eq!((view.forgotten.len(), view.known.len(), view.counts().joined), (1, 4, 0));
    assert_eq!([0, 19_995, 19_996, 20_000].map(|id| word(&view, id)), ["forgotten", "forgotten", "ended", "unknown"]);
    end(&mut view, u64::MAX);
    for id in [20_000, 20_001, 20_002, 20_003] {
        end(&mut view, id);
    }
    assert_eq!([u64::MAX, u64::MAX - 1].map(|id| word(&view, id)), ["forgotten", "unknown"]);
}

#[test]
fn too_many_ranges_are_joined_from_below() {
    let mut view = View::bounded(1, 1);
    let last = 10 * (RANGES_MAX as u64 + 3);
    for id in (0..=last).step_by(10) {
        end(&mut view, id);
    }
    assert_eq!(view.forgotten.len(), RANGES_MAX);
    assert_eq!(view.counts().joined, 3);
    assert_eq!([0, 5, 30, 35].map(|id| word(&view, id)), ["forgotten", "forgotten", "forgotten", "unknown"]);
    assert_eq!([last - 5, last, last + 1].map(|id| word(&view, id)), ["unknown", "ended", "unknown"]);
    start(&mut view, 5);
    assert_eq!(word(&view, 5), "forgotten", "it lies between two that were");
    start(&mut view, last + 1);
    assert_eq!(word(&view, last + 1), "open");
}

#[test]
fn a_copy_does_not_see_what_comes_after_it() {
    let mut view = View::default();
    start(&mut view, 1);
    let copy = view.clone();
    end(&mut view, 1);
    assert_eq!((word(&copy, 1), word(&view, 1)), ("open", "ended"));
}

#[test]
fn an_end_whose_outcome_panics_leaves_the_operation_open() {
    let mut view = View::default();
    start(&mut view, 1);
    let operation = Some(Operation { id: OperationId(1), sequence: 1, phase: Phase::Terminal });
    let (event, origin, stamp) = (Step(operation, 0), Origin::built_in("test", 1), Stamp(101));
    let (lane, sequence) = (LaneId(0), Sequence(0));
    let envelope = Envelope { stamp, lane, sequence, origin, operation, parts: 1, facets: &(), event: &event };
    crate::core::contain(|| view.follow(&envelope, |_| panic!("no outcome"))).unwrap_err();
    assert_eq!((word(&view, 1), view.open().count()), ("open", 1));
    end(&mut view, 1);
    assert_eq!((word(&view, 1), view.open().count()), ("ended", 0));
}

/// Every event ever, and each question answered from all of them; what was forgotten is worked out step by step.
#[derive(Default)]
struct Twin {
    open: Vec<u64>,
    ended: Vec<(u64, u32)>,
    forgotten: BTreeSet<u64>,
}

impl Twin {
    fn apply(&mut self, id: u64, is_end: bool, outcome: u32, [open_max, ended_max]: [usize; 2]) {
        if self.forgotten.contains(&id) || self.ended.iter().any(|(ended, _)| *ended == id) {
            return;
        }
        if is_end {
            self.open.retain(|open| *open != id);
            self.ended.push((id, outcome));
        } else if !self.open.contains(&id) {
            self.open.push(id);
        }
        if self.open.len() > open_max {
            self.forgotten.insert(self.open.remove(0));
        }
        if self.ended.len() > ended_max {
            self.forgotten.insert(self.ended.remove(0).0);
        }
    }

    fn word(&self, id: u64) -> &'static str {
        match id {
            _ if self.forgotten.contains(&id) => "forgotten",
            _ if self.open.contains(&id) => "open",
            _ if self.ended.iter().any(|(ended, _)| *ended == id) => "ended",
            _ => "unknown",
        }
    }
}

fn rank(word: &str) -> usize {
    ["unknown", "open", "ended", "forgotten"].iter().position(|other| *other == word).unwrap()
}

proptest! {
    #[test]
    fn a_view_is_what_its_twin_is(
        bounds in [1..4_usize, 1..4_usize],
        steps in prop::collection::vec((0..12_u64, 0..3_u8, any::<u32>()), 0..80),
    ) {
        let (mut view, mut twin) = (View::bounded(bounds[0], bounds[1]), Twin::default());
        let mut words = [0; 12];
        for (id, phase, outcome) in steps {
            let phase = [Phase::Started, Phase::Progress, Phase::Terminal][usize::from(phase)];
            apply(&mut view, id, 0, phase, outcome);
            twin.apply(id, phase == Phase::Terminal, outcome, bounds);
            for id in 0..12 {
                let now = word(&view, id);
                prop_assert_eq!(now, twin.word(id));
                prop_assert!(rank(now) >= words[id as usize], "it never goes back");
                words[id as usize] = rank(now);
            }
            for (id, outcome) in &twin.ended {
                let is_it = matches!(view.get(OperationId(*id)), Followed::Ended(ended) if ended.outcome == *outcome);
                prop_assert!(is_it);
            }
            let open: Vec<_> = view.open().map(|(id, _)| id.0).collect();
            prop_assert_eq!(&open, &twin.open);
        }
    }

    /// Numbers from anywhere, more ranges than are kept: what was seen is never said to be unknown.
    #[test]
    fn unknown_is_certain(ids in prop::collection::vec(0..5_000_u64, 1..200), ranges in 1..5_u64) {
        let mut view = View::bounded(2, 2);
        view.bounds.ranges = ranges;
        for (at, id) in ids.iter().enumerate() {
            start(&mut view, *id);
            if at % 2 == 0 {
                end(&mut view, *id);
            }
            prop_assert!(view.forgotten.len() as u64 <= ranges && view.known.len() <= 4);
            prop_assert!(ids[..=at].iter().all(|id| word(&view, *id) != "unknown"));
        }
    }
}

#[cfg(feature = "journal")]
mod written {
    use super::*;

    fn written(view: &View) -> Vec<u8> {
        postcard::to_allocvec(view).unwrap()
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_was_written_and_goes_on_as_it(
            steps in prop::collection::vec((0..30_u64, 0..3_u8), 0..60), later in prop::collection::vec((0..30_u64, 0..3_u8), 0..20),
        ) {
            let phases = [Phase::Started, Phase::Progress, Phase::Terminal];
            let mut view = View::bounded(3, 3);
            steps.iter().for_each(|(id, phase)| apply(&mut view, *id, 1, phases[usize::from(*phase)], 9));
            let mut back: View = postcard::from_bytes(&written(&view)).unwrap();
            prop_assert_eq!(&back, &view);
            for (id, phase) in later {
                apply(&mut view, id, 2, phases[usize::from(phase)], 8);
                apply(&mut back, id, 2, phases[usize::from(phase)], 8);
            }
            prop_assert_eq!(written(&back), written(&view));
        }

        #[test]
        fn whatever_is_read_is_refused_or_can_go_on(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(mut view) = postcard::from_bytes::<View>(&bytes) {
                (0..4).for_each(|id| end(&mut view, id));
                prop_assert!(view.ended.len() as u64 <= view.bounds.ended);
            }
        }
    }

    #[test]
    fn an_image_that_does_not_fit_is_refused() {
        let mut view = View::bounded(2, 2);
        (0..2).for_each(|id| start(&mut view, id));
        (2..8).for_each(|id| end(&mut view, id));
        let refused = |change: fn(&mut View)| {
            let mut changed = view.clone();
            change(&mut changed);
            postcard::from_bytes::<View>(&written(&changed)).is_err()
        };
        assert!(!refused(|_| {}));
        assert!(refused(|view| view.bounds.open = 1) && refused(|view| view.bounds.ended = 0));
        assert!(refused(|view| view.next_age = 1));
        assert!(refused(|view| _ = view.forgotten.insert(4, 9)));
        assert!(refused(|view| _ = view.forgotten.insert(20, 19)));
    }
}

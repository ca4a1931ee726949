//! Tests of hot, warm and cold panes.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::workspace::testing::apply_all;
use crate::workspace::{Exit, LayoutEvent, Lines, PaneEvent, WorkspaceEvent};
use crate::{Operation, OperationId, Phase};

fn operation(phase: Phase) -> Operation {
    Operation { id: OperationId(1), sequence: 0, phase }
}

fn started(id: u64) -> WorkspaceEvent {
    let operation = operation(Phase::Started);
    WorkspaceEvent::Pane(PaneEvent::Started { pane: PaneId(id), command: "make".into(), folder: None, operation })
}

fn output(id: u64, lines: usize) -> WorkspaceEvent {
    let text = Lines::from(&*format!("pane {id} says\n").repeat(lines));
    let (pane, operation) = (PaneId(id), operation(Phase::Progress));
    WorkspaceEvent::Pane(PaneEvent::Output { pane, bytes: 1, lines: 1, last_line: "says".into(), text, operation })
}

fn exited(id: u64) -> WorkspaceEvent {
    let (exit, operation) = (Exit::Code(0), operation(Phase::Terminal));
    WorkspaceEvent::Pane(PaneEvent::Exited { pane: PaneId(id), exit, operation })
}

fn demoted(id: u64, to: Warmth) -> WorkspaceEvent {
    WorkspaceEvent::Pane(PaneEvent::Demoted { pane: PaneId(id), to })
}

fn promoted(id: u64) -> WorkspaceEvent {
    WorkspaceEvent::Pane(PaneEvent::Promoted { pane: PaneId(id) })
}

fn focused(id: u64) -> WorkspaceEvent {
    WorkspaceEvent::Layout(LayoutEvent::Focused { pane: Some(PaneId(id)) })
}

fn visible(id: u64, visible: bool) -> WorkspaceEvent {
    WorkspaceEvent::Layout(LayoutEvent::Visible { pane: PaneId(id), visible })
}

/// After panes 1 to `count` have started and written, and then these events.
fn workspace(count: u64, events: &[WorkspaceEvent]) -> Workspace {
    let mut state = Workspace::default();
    apply_all(&mut state, &(1..=count).flat_map(|id| [started(id), output(id, 100)]).collect::<Vec<_>>());
    apply_all(&mut state, events);
    state
}

fn ids(panes: &[PaneId]) -> Vec<u64> {
    panes.iter().map(|id| id.0).collect()
}

#[test]
fn what_is_kept_follows_the_warmth() {
    let mut state = workspace(1, &[]);
    let kept = |state: &Workspace| {
        let pane = &state.model.panes[&PaneId(1)];
        (pane.warmth, pane.scrollback.count())
    };
    assert_eq!(kept(&state), (Warmth::Hot, 100));
    let steps = [
        (demoted(1, Warmth::Warm), (Warmth::Warm, 64)),
        (output(1, 200), (Warmth::Warm, 64)),
        (demoted(1, Warmth::Hot), (Warmth::Warm, 64)),
        (promoted(1), (Warmth::Hot, 64)),
        (output(1, 200), (Warmth::Hot, 264)),
        (demoted(1, Warmth::Cold), (Warmth::Cold, 0)),
        (output(1, 200), (Warmth::Cold, 0)),
        (demoted(1, Warmth::Warm), (Warmth::Cold, 0)),
        (promoted(1), (Warmth::Hot, 0)),
        (output(1, 2), (Warmth::Hot, 2)),
    ];
    for (event, expected) in steps {
        apply_all(&mut state, std::slice::from_ref(&event));
        assert_eq!(kept(&state), expected, "{event:?}");
    }
    let pane = &state.model.panes[&PaneId(1)];
    assert_eq!((pane.bytes, pane.lines, &*pane.last_line), (5, 5, "says"), "counts are as exact as ever");
}

#[cfg(feature = "control")]
#[test]
fn the_pane_used_longest_ago_is_the_first_to_go() {
    let state = workspace(4, &[focused(2), focused(1), exited(4), visible(3, true)]);
    let candidates = |level| -> Vec<(u64, Warmth)> {
        state.demotion_candidates(level).into_iter().map(|(id, to)| (id.0, to)).collect()
    };
    let (warm, cold) = (Warmth::Warm, Warmth::Cold);
    assert_eq!(candidates(MemoryLevel::Normal), []);
    assert_eq!(candidates(MemoryLevel::Elevated), [(4, warm), (2, warm)]);
    assert_eq!(candidates(MemoryLevel::High), [(4, warm), (2, warm), (3, warm)]);
    assert_eq!(candidates(MemoryLevel::Critical), [(4, cold), (2, cold), (3, warm), (1, warm)]);
    let first = WorkspaceEvent::Pane(PaneEvent::Demoted { pane: PaneId(4), to: warm });
    assert_eq!(state.demotion_candidate(MemoryLevel::High, 0), Some(first));
    assert_eq!(state.demotion_candidate(MemoryLevel::High, 3), None);
}

#[cfg(feature = "control")]
#[test]
fn uses_are_told_apart_from_noise() {
    let prompt = WorkspaceEvent::Pane(PaneEvent::PromptStarted { pane: PaneId(1) });
    let first = |events: &[WorkspaceEvent]| {
        workspace(3, events).demotion_candidates(MemoryLevel::Elevated).first().map(|(id, _)| id.0)
    };
    assert_eq!(first(&[]), Some(1));
    assert_eq!(first(&[output(1, 10)]), Some(1), "what it writes is no use");
    assert_eq!(first(&[prompt]), Some(2));
    assert_eq!(first(&[promoted(1)]), Some(2));
    assert_eq!(first(&[visible(1, true), visible(1, false), promoted(2)]), Some(3));
    assert_eq!(first(&[demoted(1, Warmth::Warm)]), Some(2), "it is warm by now");
    let short = workspace(0, &[started(9), output(9, 64)]);
    assert_eq!(short.demotion_candidates(MemoryLevel::Elevated), [], "it would give up nothing");
    assert_eq!(short.demotion_candidates(MemoryLevel::Critical), [(PaneId(9), Warmth::Cold)]);
}

#[cfg(feature = "control")]
#[test]
fn demoting_every_candidate_leaves_what_is_on_screen_warm() {
    let mut state = workspace(5, &[visible(1, true), focused(2)]);
    for level in [MemoryLevel::Elevated, MemoryLevel::High, MemoryLevel::Critical] {
        while let Some(event) = state.demotion_candidate(level, 0) {
            let before = state.held_bytes();
            apply_all(&mut state, &[event]);
            assert!(state.held_bytes() < before);
        }
    }
    let warmth: Vec<_> = state.model.panes.values().map(|pane| pane.warmth).collect();
    assert_eq!(warmth, [Warmth::Warm, Warmth::Warm, Warmth::Cold, Warmth::Cold, Warmth::Cold]);
}

#[test]
fn what_was_looked_at_before_or_is_next_to_the_focus_is_promoted_first() {
    let cold = (1..=6).map(|id| demoted(id, Warmth::Cold));
    let events: Vec<_> = cold.chain([focused(6), focused(2), focused(4), visible(5, true), visible(1, true)]).collect();
    let mut state = workspace(6, &events);
    assert_eq!(ids(&state.promotion_candidates()), [1, 4, 5, 2, 3]);
    apply_all(&mut state, &[promoted(4), promoted(2)]);
    assert_eq!(ids(&state.promotion_candidates()), [1, 5, 3]);
    assert_eq!(Workspace::default().promotion_candidates(), []);
}

fn any_event() -> impl Strategy<Value = WorkspaceEvent> {
    let id = 0u64..4;
    let to = prop::sample::select(&[Warmth::Hot, Warmth::Warm, Warmth::Cold][..]);
    prop_oneof![
        6 => (id.clone(), 0usize..400).prop_map(|(id, lines)| output(id, lines)),
        2 => (id.clone(), to).prop_map(|(id, to)| demoted(id, to)),
        1 => id.clone().prop_map(promoted),
        1 => id.clone().prop_map(started),
        1 => id.clone().prop_map(focused),
        1 => (id, "[a-z]{0,9}").prop_map(|(id, title)| {
            WorkspaceEvent::Pane(PaneEvent::Title { pane: PaneId(id), title: title.into() })
        }),
    ]
}

proptest! {
    #[test]
    fn what_is_held_is_counted_as_it_changes(events in vec(any_event(), 0..40)) {
        let mut state = Workspace::default();
        for event in events {
            apply_all(&mut state, &[event]);
            let held: u64 = state.model.panes.values().map(|pane| pane.held_bytes()).sum();
            prop_assert_eq!(state.held_bytes(), held);
            for pane in state.model.panes.values() {
                let bytes: usize = pane.scrollback.lines().map(|line| line.len() + 1).sum();
                prop_assert_eq!(pane.scrollback.bytes(), bytes);
                prop_assert!(!pane.scrollback.exceeds(pane.warmth.bound()));
            }
        }
    }
}

//! Tests of how a workspace is written and read.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::*;
use crate::register::{Comparison, Mirror};
use crate::workspace::testing::{PANE, WORKTREE, apply_all, every_sort};
use crate::workspace::{
    DivergenceCause, EntryKind, Exit, Layout, LayoutEvent, Lines, Machine, Model, Pane, PaneActivity, PaneEvent,
    PaneState, PlugInEvent, PlugInTally, Scrollback, ServiceEvent, SystemEvent, VersionStatus, Warmth, Workspace,
    WorkspaceEvent, WorkspaceFacets, Worktree, WorktreeCounts, WorktreeEvent,
};
use crate::{Event, Operation, OperationId, Phase, Tags};

fn written<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_allocvec(value).expect("everything can be written")
}

fn read<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> postcard::Result<T> {
    match postcard::take_from_bytes(bytes)? {
        (value, []) => Ok(value),
        (_, [..]) => Err(postcard::Error::DeserializeBadEncoding),
    }
}

/// What is read is what was written, and is written as it was.
fn comes_back<T: Serialize + for<'de> Deserialize<'de> + PartialEq + fmt::Debug>(value: &T) {
    let bytes = written(value);
    let back: T = read(&bytes).expect("what was written can be read");
    assert_eq!(&back, value);
    assert_eq!(written(&back), bytes);
}

fn pane() -> impl Strategy<Value = PaneId> {
    any::<u64>().prop_map(PaneId)
}

fn worktree() -> impl Strategy<Value = WorktreeId> {
    any::<u64>().prop_map(WorktreeId)
}

fn text() -> impl Strategy<Value = Arc<str>> {
    ".{0,8}".prop_map(Arc::from)
}

fn lines() -> impl Strategy<Value = Lines> {
    "([a-zü]{0,4}\n){0,4}".prop_map(|text| Lines::from(&*text))
}

fn warmth() -> impl Strategy<Value = Warmth> {
    prop::sample::select(&[Warmth::Hot, Warmth::Warm, Warmth::Cold][..])
}

/// Few, since each of them is kept for good.
fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&["", "git", "mood", "mood/1", "名"][..])
}

/// Any bytes: most of them are no text.
fn path() -> impl Strategy<Value = Arc<Path>> {
    vec(any::<u8>(), 0..8).prop_map(|bytes| Path::new(OsStr::from_bytes(&bytes)).into())
}

fn operation() -> impl Strategy<Value = Operation> {
    let phase = prop::sample::select(&[Phase::Started, Phase::Progress, Phase::Terminal][..]);
    (any::<u64>(), any::<u64>(), phase).prop_map(|(id, sequence, phase)| Operation {
        id: OperationId(id),
        sequence,
        phase,
    })
}

fn exit() -> impl Strategy<Value = Exit> {
    prop_oneof![
        any::<i32>().prop_map(Exit::Code),
        (any::<i32>(), text()).prop_map(|(number, name)| Exit::Signal { number, name }),
    ]
}

fn divergence() -> impl Strategy<Value = DivergenceCause> {
    prop_oneof![
        any::<u64>().prop_map(|dropped| DivergenceCause::QueueFull { dropped }),
        Just(DivergenceCause::SystemOverflow),
        text().prop_map(DivergenceCause::WatcherFailed),
        Just(DivergenceCause::RootMissing),
        any::<u64>().prop_map(|differences| DivergenceCause::Audit { differences }),
        Just(DivergenceCause::NotCompared),
        any::<u64>().prop_map(|folders| DivergenceCause::Unreadable { folders }),
        Just(DivergenceCause::Contradiction),
        Just(DivergenceCause::Unwatched),
    ]
}

fn pane_event() -> impl Strategy<Value = PaneEvent> {
    prop_oneof![
        (pane(), text(), option::of(path()), operation())
            .prop_map(|(pane, command, folder, operation)| { PaneEvent::Started { pane, command, folder, operation } }),
        (pane(), any::<[u64; 2]>(), text(), lines(), operation()).prop_map(
            |(pane, [bytes, lines], last_line, text, operation)| {
                PaneEvent::Output { pane, bytes, lines, last_line, text, operation }
            }
        ),
        (pane(), text()).prop_map(|(pane, title)| PaneEvent::Title { pane, title }),
        (pane(), path()).prop_map(|(pane, folder)| PaneEvent::WorkingDirectory { pane, folder }),
        (pane(), any::<u64>()).prop_map(|(pane, count)| PaneEvent::Bell { pane, count }),
        pane().prop_map(|pane| PaneEvent::PromptStarted { pane }),
        pane().prop_map(|pane| PaneEvent::CommandStarted { pane }),
        (pane(), any::<Option<i32>>()).prop_map(|(pane, exit_code)| PaneEvent::CommandFinished { pane, exit_code }),
        (pane(), exit(), operation()).prop_map(|(pane, exit, operation)| PaneEvent::Exited { pane, exit, operation }),
        pane().prop_map(|pane| PaneEvent::Lost { pane }),
        (pane(), warmth()).prop_map(|(pane, to)| PaneEvent::Demoted { pane, to }),
        pane().prop_map(|pane| PaneEvent::Promoted { pane }),
    ]
}

fn worktree_event() -> impl Strategy<Value = WorktreeEvent> {
    let kind = prop::sample::select(&[EntryKind::Folder, EntryKind::File][..]);
    prop_oneof![
        (worktree(), path(), any::<u64>()).prop_map(|(worktree, path, entries)| WorktreeEvent::Opened {
            worktree,
            path,
            entries
        }),
        (worktree(), path(), kind).prop_map(|(worktree, path, kind)| WorktreeEvent::Created { worktree, path, kind }),
        (worktree(), path()).prop_map(|(worktree, path)| WorktreeEvent::Removed { worktree, path }),
        (worktree(), path(), path(), any::<u64>())
            .prop_map(|(worktree, from, to, replaced)| { WorktreeEvent::Renamed { worktree, from, to, replaced } }),
        (worktree(), path(), any::<u64>()).prop_map(|(worktree, path, changes)| WorktreeEvent::Modified {
            worktree,
            path,
            changes
        }),
        (worktree(), divergence()).prop_map(|(worktree, reason)| WorktreeEvent::Diverged { worktree, reason }),
        (worktree(), any::<u64>())
            .prop_map(|(worktree, number)| WorktreeEvent::Comparing { worktree, comparison: Comparison(number) }),
        (worktree(), any::<[u64; 4]>()).prop_map(|(worktree, [number, entries, created, removed])| {
            WorktreeEvent::Reconciled { worktree, comparison: Comparison(number), entries, created, removed }
        }),
        (worktree(), any::<bool>(), any::<u64>()).prop_map(|(worktree, in_sync, entries)| WorktreeEvent::Audited {
            worktree,
            in_sync,
            entries
        }),
        (worktree(), path(), text()).prop_map(|(worktree, path, reason)| WorktreeEvent::Unreadable {
            worktree,
            path,
            reason
        }),
        worktree().prop_map(|worktree| WorktreeEvent::Unwatched { worktree }),
    ]
}

fn system_event() -> impl Strategy<Value = SystemEvent> {
    prop_oneof![
        any::<[u64; 3]>().prop_map(|[process_rss, machine_used, machine_total]| SystemEvent::Memory {
            process_rss,
            machine_used,
            machine_total
        }),
        any::<[f64; 3]>().prop_map(|[one, five, fifteen]| SystemEvent::Load { one, five, fifteen }),
        any::<f32>().prop_map(|process_percent| SystemEvent::Processor { process_percent }),
    ]
}

fn layout_event() -> impl Strategy<Value = LayoutEvent> {
    prop_oneof![
        option::of(pane()).prop_map(|pane| LayoutEvent::Focused { pane }),
        (pane(), any::<bool>()).prop_map(|(pane, visible)| LayoutEvent::Visible { pane, visible }),
        option::of(pane()).prop_map(|pane| LayoutEvent::Zoomed { pane }),
    ]
}

fn status() -> impl Strategy<Value = VersionStatus> {
    (option::of(text()), any::<u64>()).prop_map(|(branch, changed)| VersionStatus { branch, changed })
}

fn event() -> impl Strategy<Value = WorkspaceEvent> {
    prop_oneof![
        11 => pane_event().prop_map(WorkspaceEvent::Pane),
        9 => worktree_event().prop_map(WorkspaceEvent::Worktree),
        3 => system_event().prop_map(WorkspaceEvent::System),
        3 => layout_event().prop_map(WorkspaceEvent::Layout),
        1 => (name(), worktree(), status()).prop_map(|(provider, worktree, status)| {
            WorkspaceEvent::Service(ServiceEvent::VersionControl { provider, worktree, status })
        }),
        1 => (name(), name(), vec(any::<u8>(), 0..8)).prop_map(|(plugin, schema, payload)| {
            WorkspaceEvent::PlugIn(PlugInEvent { plugin, schema, payload: payload.into() })
        }),
    ]
}

fn facets() -> impl Strategy<Value = WorkspaceFacets> {
    (option::of(text()), option::of(path()), vec(".{0,3}", 0..3)).prop_map(|(project, folder, tags)| WorkspaceFacets {
        project,
        folder,
        tags: Tags::new(tags),
    })
}

fn any_pane() -> impl Strategy<Value = Pane> {
    let state = prop_oneof![Just(PaneState::Running), exit().prop_map(PaneState::Exited), Just(PaneState::Lost)];
    let activity = prop::sample::select(&[PaneActivity::Unknown, PaneActivity::AtPrompt, PaneActivity::InCommand][..]);
    let exit_code = any::<Option<i32>>();
    let output = (lines().prop_map(Scrollback::from), warmth());
    ([text(), text(), text()], any::<[u64; 5]>(), state, activity, exit_code, output, facets()).prop_map(
        |(texts, numbers, state, activity, last_exit_code, (scrollback, warmth), facets)| {
            let ([command, title, last_line], [bytes, lines, bells, commands, used]) = (texts, numbers);
            Pane {
                command,
                title,
                state,
                bytes,
                lines,
                last_line,
                warmth,
                scrollback,
                bells,
                activity,
                commands,
                last_exit_code,
                used,
                facets,
            }
        },
    )
}

/// As it becomes, by the steps that there are.
fn mirror() -> impl Strategy<Value = Mirror<u64, DivergenceCause>> {
    let step = (0..4_u8, any::<u64>(), divergence());
    (any::<u64>(), divergence(), vec(step, 0..4)).prop_map(|(since, cause, steps)| {
        let mut mirror = Mirror::new(since, cause);
        for (step, number, cause) in steps {
            match step {
                0 => mirror.diverge(number, cause),
                1 => mirror.begin_as(Comparison(number)),
                _ => {
                    let comparison = mirror.begin();
                    mirror.equal(comparison);
                }
            }
        }
        mirror
    })
}

fn any_worktree() -> impl Strategy<Value = Worktree> {
    let counts = any::<[u64; 4]>();
    let counts =
        counts.prop_map(|[created, modified, removed, renamed]| WorktreeCounts { created, modified, removed, renamed });
    let last = (option::of(divergence()), any::<Option<bool>>());
    (option::of(path()), counts, any::<[u64; 5]>(), mirror(), last, facets()).prop_map(
        |(path, counts, numbers, mirror, (last_divergence, last_audit_in_sync), facets)| {
            let [entries, told, divergences, unreadable, audits] = numbers;
            Worktree {
                path,
                counts,
                entries,
                mirror,
                told,
                divergences,
                last_divergence,
                unreadable,
                audits,
                last_audit_in_sync,
                facets,
            }
        },
    )
}

fn machine() -> impl Strategy<Value = Machine> {
    (any::<[u64; 3]>(), any::<[f64; 3]>(), any::<f32>()).prop_map(
        |([process_rss, memory_used, memory_total], load, process_percent)| Machine {
            process_rss,
            memory_used,
            memory_total,
            load,
            process_percent,
        },
    )
}

fn workspace() -> impl Strategy<Value = Workspace> {
    let tally = any::<[u64; 2]>().prop_map(|[events, bytes]| PlugInTally { events, bytes });
    let model = (
        vec((pane(), any_pane().prop_map(Arc::new)), 0..4),
        vec((worktree(), any_worktree().prop_map(Arc::new)), 0..4),
        machine(),
        vec(((worktree(), name()), status()), 0..4),
        vec(((name(), name()), tally), 0..4),
        any::<u64>(),
    );
    let model = model.prop_map(|(panes, worktrees, machine, version_control, plug_ins, uses)| Model {
        panes: imbl::OrdMap::from(panes).into(),
        worktrees: worktrees.into(),
        machine,
        version_control: version_control.into(),
        plug_ins: plug_ins.into(),
        uses,
    });
    let used = (vec((pane(), any::<u64>()), 0..4), any::<u64>());
    let layout = (option::of(pane()), vec(pane(), 0..4), option::of(pane()), used);
    let layout = layout.prop_map(|(focused, visible, zoomed, (used, uses))| Layout {
        focused,
        visible: visible.into(),
        zoomed,
        used: used.into(),
        uses,
    });
    (model, layout).prop_map(|(model, layout)| Workspace { model, layout })
}

#[test]
fn the_events_that_are_made_up_are_of_every_sort() {
    let mut runner = TestRunner::deterministic();
    let kinds: BTreeSet<_> = (0..2000).map(|_| event().new_tree(&mut runner).unwrap().current().kind()).collect();
    assert_eq!(kinds, every_sort().iter().map(|(_, kind, _)| *kind).collect());
}

proptest! {
    #[test]
    fn an_event_comes_back_as_it_was(event in event(), facets in facets()) {
        comes_back(&event);
        comes_back(&facets);
    }

    #[test]
    fn a_workspace_comes_back_as_it_was(workspace in workspace()) {
        comes_back(&workspace);
    }

    /// What is damaged is refused, or is another value, which is written and read as any other.
    #[test]
    fn what_is_damaged_is_no_panic(
        event in event(),
        workspace in workspace(),
        at in any::<prop::sample::Index>(),
        damage in any::<u8>(),
        cut in any::<bool>(),
    ) {
        let harm = |mut bytes: Vec<u8>| {
            let at = at.index(bytes.len());
            bytes[at] = damage;
            bytes.truncate(if cut { at + 1 } else { usize::MAX });
            bytes
        };
        if let Ok(other) = read::<WorkspaceEvent>(&harm(written(&event))) {
            let bytes = written(&other);
            prop_assert_eq!(written(&read::<WorkspaceEvent>(&bytes).unwrap()), bytes);
        }
        if let Ok(other) = read::<Workspace>(&harm(written(&workspace))) {
            let bytes = written(&other);
            prop_assert_eq!(written(&read::<Workspace>(&bytes).unwrap()), bytes);
        }
    }

    /// However it came about: panes that came and went, and in which order.
    #[test]
    fn equal_workspaces_are_written_alike(
        panes in prop::collection::btree_map(0u64..500, any::<u64>(), 0..200),
        passing in vec(0u64..500, 0..200),
    ) {
        let pane = |bells: &u64| Arc::new(Pane { bells: *bells, ..Pane::default() });
        let (mut risen, mut fallen) = (Workspace::default(), Workspace::default());
        for (id, bells) in &panes {
            risen.model.panes.insert(PaneId(*id), pane(bells));
            risen.layout.visible.insert(PaneId(*id));
        }
        for id in &passing {
            fallen.model.panes.insert(PaneId(*id), pane(&0));
            fallen.layout.visible.insert(PaneId(*id));
        }
        for (id, bells) in panes.iter().rev() {
            fallen.model.panes.insert(PaneId(*id), pane(bells));
            fallen.layout.visible.insert(PaneId(*id));
        }
        for id in passing.iter().filter(|id| !panes.contains_key(id)) {
            fallen.model.panes.remove(&PaneId(*id));
            fallen.layout.visible.remove(&PaneId(*id));
        }
        prop_assert_eq!(&risen, &fallen);
        prop_assert_eq!(written(&risen), written(&fallen));
    }
}

/// For people and their tools: numbers are not exact in it.
#[test]
fn a_format_whose_keys_are_text_can_write_everything_too() {
    let (mut state, events) =
        (Workspace::default(), every_sort().into_iter().map(|(event, ..)| event).collect::<Vec<_>>());
    apply_all(&mut state, &events);
    for event in &events {
        assert_eq!(&serde_json::from_str::<WorkspaceEvent>(&serde_json::to_string(event).unwrap()).unwrap(), event);
    }
    assert_eq!(serde_json::from_str::<Workspace>(&serde_json::to_string(&state).unwrap()).unwrap(), state);
}

/// Journals are there to be read by later versions. Who changes what is written, or what events do to the state, raises
/// the version of the schema and brings a way to read the old one.
#[test]
fn what_is_written_does_not_change_by_accident() {
    let (mut state, every_sort) = (Workspace::default(), every_sort());
    assert_eq!(every_sort.len(), WRITTEN.len());
    for ((event, kind, _), expected) in every_sort.iter().zip(WRITTEN) {
        let hex: String = written(event).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!((*kind, hex.as_str()), expected);
    }
    apply_all(&mut state, &every_sort.into_iter().map(|(event, ..)| event).collect::<Vec<_>>());
    assert_eq!(xxhash_rust::xxh3::xxh3_128(&written(&state)), 0x25b6_01ef_52c2_4ea7_daad_0e18_882f_fd05);
}

/// By kind, in hexadecimal.
const WRITTEN: [(&str, &str); 31] = [
    ("service.version-control", "040003676974090000"),
    ("plug-in", "05046d6f6f64066d6f6f642f3100"),
    ("pane.started", "000007047465787400030401"),
    ("pane.output", "0001070101047465787402610a030401"),
    ("pane.title", "0002070474657874"),
    ("pane.working-directory", "000307042f737276"),
    ("pane.bell", "00040701"),
    ("pane.prompt-started", "000507"),
    ("pane.command-started", "000607"),
    ("pane.command-finished", "00070700"),
    ("pane.exited", "0008070000030401"),
    ("pane.lost", "000907"),
    ("pane.demoted", "000a0701"),
    ("pane.promoted", "000b07"),
    ("worktree.opened", "010009042f73727600"),
    ("worktree.created", "010109016101"),
    ("worktree.removed", "0102090161"),
    ("worktree.renamed", "0103090161016100"),
    ("worktree.modified", "010409016101"),
    ("worktree.diverged", "01050903"),
    ("worktree.comparing", "01060901"),
    ("worktree.reconciled", "01070901000000"),
    ("worktree.audited", "0108090100"),
    ("worktree.unreadable", "01090901610474657874"),
    ("worktree.unwatched", "010a09"),
    ("system.memory", "0200010203"),
    ("system.load", "0201000000000000f03f00000000000000400000000000000840"),
    ("system.processor", "02020000803f"),
    ("layout.focused", "03000107"),
    ("layout.visible", "03010701"),
    ("layout.zoomed", "03020107"),
];

#[test]
fn names_that_are_no_text_come_back() {
    let path: Arc<Path> = Path::new(OsStr::from_bytes(b"/srv/\xff\xfe\x00/caf\xe9")).into();
    let (worktree, folder) = (WORKTREE, Some(path.clone()));
    assert_eq!(path.to_str(), None);
    let operation = Operation { id: OperationId(1), sequence: 0, phase: Phase::Started };
    let events = [
        WorkspaceEvent::Pane(PaneEvent::Started { pane: PANE, command: "make".into(), folder, operation }),
        WorkspaceEvent::Pane(PaneEvent::WorkingDirectory { pane: PANE, folder: path.clone() }),
        WorkspaceEvent::Worktree(WorktreeEvent::Opened { worktree, path: path.clone(), entries: 1 }),
        WorkspaceEvent::Worktree(WorktreeEvent::Renamed { worktree, from: path.clone(), to: path, replaced: 0 }),
    ];
    events.iter().for_each(comes_back);
    let mut state = Workspace::default();
    apply_all(&mut state, &events);
    comes_back(&state);
}

#[test]
fn every_bit_of_a_number_comes_back() {
    // Quiet and signalling, with a payload, negative; and a zero that is negative.
    for bits in [0x7ff8_0000_0000_0001, 0x7ff0_0000_dead_beef, 0xfff8_1234_5678_9abc, 1 << 63] {
        let load = f64::from_bits(bits);
        let event = WorkspaceEvent::System(SystemEvent::Load { one: load, five: load, fifteen: load });
        let back = read(&written(&event)).unwrap();
        let WorkspaceEvent::System(SystemEvent::Load { one, five, fifteen }) = back else { panic!("{back:?}") };
        assert_eq!([one, five, fifteen].map(f64::to_bits), [bits; 3]);
        let machine = Machine { load: [load; 3], ..Machine::default() };
        assert_eq!(read::<Machine>(&written(&machine)).unwrap().load.map(f64::to_bits), [bits; 3]);
    }
    for bits in [0x7fc0_0001, 0x7f80_beef, 0xffc1_2345, 1 << 31] {
        let event = SystemEvent::Processor { process_percent: f32::from_bits(bits) };
        let back = read(&written(&event)).unwrap();
        let SystemEvent::Processor { process_percent } = back else { panic!("{back:?}") };
        assert_eq!(process_percent.to_bits(), bits);
    }
}

#[test]
fn keys_that_do_not_rise_are_refused() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Maps {
        #[serde(with = "map")]
        map: imbl::OrdMap<PaneId, u8>,
        #[serde(with = "set")]
        set: imbl::OrdSet<PaneId>,
    }
    // As many, then keys with their values; as many, then keys.
    let both = |map: [u8; 2], set: [u8; 2]| read::<Maps>(&[2, map[0], 7, map[1], 8, 2, set[0], set[1]]);
    let (map, set) = (vec![(PaneId(1), 7), (PaneId(2), 8)].into(), vec![PaneId(3), PaneId(4)].into());
    assert_eq!(both([1, 2], [3, 4]), Ok(Maps { map, set }));
    for (map, set) in [([2, 1], [3, 4]), ([1, 1], [3, 4]), ([1, 2], [4, 3]), ([1, 2], [3, 3])] {
        assert!(both(map, set).is_err(), "{map:?}, {set:?}");
    }
}

/// The number of entries alone may not take memory.
#[test]
fn more_entries_than_there_are_bytes_are_refused() {
    let most = written(&u64::MAX);
    // The first map of a model, the layout's set after what is not in focus, and labels after no project and no folder.
    assert!(read::<Model>(&most).is_err());
    assert!(read::<Layout>(&[&[0][..], &most].concat()).is_err());
    assert!(read::<WorkspaceFacets>(&[&[0, 0][..], &most].concat()).is_err());
}

#[test]
fn text_that_no_scrollback_would_hold_is_refused() {
    let whole = "line\n".repeat(crate::workspace::SCROLLBACK_LINES);
    for text in
        ["line", "a\nb", &format!("{whole}line\n"), &format!("{}\n", "x".repeat(crate::workspace::SCROLLBACK_BYTES))]
    {
        let bytes = written(&text);
        assert!(read::<Lines>(&bytes).is_err() && read::<Scrollback>(&bytes).is_err(), "{} bytes", text.len());
    }
    assert_eq!(read::<Scrollback>(&written(&whole.as_str())).map(|kept| kept.count()), Ok(whole.lines().count()));
}

/// However the lines came, and whatever is left of the pieces.
#[test]
fn equal_scrollbacks_are_written_alike() {
    let (mut state, mut other) = (Workspace::default(), Workspace::default());
    let output = |text: String| {
        let (operation, text) =
            (Operation { id: OperationId(1), sequence: 0, phase: Phase::Progress }, Lines::from(&*text));
        WorkspaceEvent::Pane(PaneEvent::Output {
            pane: PANE,
            bytes: 0,
            lines: 0,
            last_line: "".into(),
            text,
            operation,
        })
    };
    let lines: Vec<String> = (0..3000).map(|number| format!("{number}\n")).collect();
    apply_all(&mut state, &lines.iter().cloned().map(output).collect::<Vec<_>>());
    apply_all(&mut other, &lines.chunks(777).map(|lines| output(lines.concat())).collect::<Vec<_>>());
    assert_eq!(state, other);
    assert_eq!(written(&state), written(&other));
    comes_back(&state);
}

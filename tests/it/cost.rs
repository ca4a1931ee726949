//! C10: what a push and a turn cost in steady state. A counting allocator sees every allocation of this process, so this
//! is measured on threads of its own.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;

use mainlane::{
    Budget, Builder, Class, Coalesced, Effects, Envelope, Event, Facets, Fill, Handle, Lane, Origin, Overflow,
    Pipeline, Reducer, Tags, Tier, Timeline,
};

use crate::domain::until;

/// Counts the allocations of the thread that asks.
struct Counting;

thread_local!(static ALLOCATIONS: Cell<u64> = const { Cell::new(0) });

#[expect(unsafe_code, reason = "an allocator is unsafe by its trait; this one hands everything on")]
// SAFETY: every call is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise, handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, handed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations_of(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

#[derive(Clone, Copy, serde::Serialize, serde::Deserialize)]
enum Load {
    Critical(u64),
    Lossy(u32),
    /// What is unread of a key adds up.
    Merged(u32, u64),
}

impl Event for Load {
    type Key = u32;
    type Facets = ();

    fn class(&self) -> Class<u32> {
        match self {
            Load::Critical(_) => Class::Critical,
            Load::Lossy(key) | Load::Merged(key, _) => Class::lossy(*key, Tier::NORMAL),
        }
    }

    fn coalesce(&mut self, newer: Self) -> Coalesced {
        match (&mut *self, newer) {
            (Load::Merged(_, sum), Load::Merged(_, more)) => {
                *sum += more;
                Coalesced::Merged
            }
            (older, newer) => {
                *older = newer;
                Coalesced::Replaced
            }
        }
    }
}

#[derive(Clone, Default, serde::Serialize, serde::Deserialize)]
struct Sum(u64);

impl Reducer for Sum {
    type Event = Load;
    type Effect = u64;

    fn apply(&mut self, envelope: &Envelope<'_, Load>, effects: &mut Effects<u64>) {
        match envelope.event {
            Load::Critical(n) => {
                self.0 += n;
                if n.is_multiple_of(8) {
                    effects.push(*n);
                }
            }
            Load::Lossy(key) => self.0 += u64::from(*key),
            Load::Merged(_, sum) => self.0 += sum,
        }
    }
}

#[test]
fn pushing_turning_and_publishing_allocate_nothing() {
    allocates_nothing(Pipeline::builder(Sum::default()), |_| ());
}

#[test]
fn neither_does_keeping_a_timeline() {
    allocates_nothing(Pipeline::builder(Sum::default()).timeline(Timeline::window(5000).checkpoint_every(500)), |_| ());
}

/// What the main lane does for it: the journal's threads may allocate.
#[test]
#[cfg(feature = "journal")]
fn nor_does_recording_in_a_journal() {
    use mainlane::journal::{CheckpointPolicy, Durability, Journal};
    for durability in [Durability::Async, Durability::BeforePublish] {
        let store = crate::memory::Memory::open(&crate::memory::Disk::default());
        let never = CheckpointPolicy { events: u64::MAX, bytes: u64::MAX, time: None };
        let journal = Journal::store(store).schema("sum", 1).durability(durability).checkpoints(never);
        let (builder, _) = journal.recover(Sum::default()).unwrap();
        // Buffers come back from the journal when it is through with them.
        allocates_nothing(builder, |handle| {
            let (journal, turns) = (handle.journal().unwrap(), handle.counters().turns);
            until("it is durable", || journal.durable() == turns);
        });
    }
}

fn allocates_nothing(builder: Builder<Sum>, between: impl Fn(&Handle<Sum>)) {
    let builder = builder.reconciler(|_: u64, _: &Sum| ());
    let mut lanes = [
        builder.lane("clocked").open().unwrap(),
        builder.lane("unclocked").unclocked().open().unwrap(),
        builder.lane("small table").keys(8).open().unwrap(),
    ];
    let (mut main_lane, handle) = builder.build().unwrap();
    let mut cached = handle.reader().cached();
    let mut round = |n: u64| {
        for lane in &mut lanes {
            lane.push(Load::Critical(n)).unwrap();
            lane.push_batch((0..16).map(Load::Critical)).unwrap();
            // More keys than the smallest table has: some are shed.
            (0..32).for_each(|key| lane.push(Load::Lossy((key + n as u32) % 40)).unwrap());
        }
        main_lane.turn(Budget::events(40)).unwrap();
        main_lane.turn(Budget::UNLIMITED).unwrap();
        std::hint::black_box(cached.load().0);
    };
    let mut rounds = |numbers: Range<u64>| {
        let mut allocations = 0;
        for n in numbers {
            allocations += allocations_of(|| round(n));
            between(&handle);
        }
        allocations
    };
    rounds(0..400);
    assert_eq!(rounds(400..1400), 0);
    assert!(handle.counters().events.shed > 0 && handle.counters().effects > 0, "the paths were taken");
}

#[test]
fn the_count_notices_an_allocation() {
    assert_eq!(allocations_of(|| drop(std::hint::black_box(Box::new(1)))), 1);
}

/// Nobody takes: whatever is pushed, and whatever happens when there is no room, nothing grows.
#[test]
fn a_stalled_main_lane_keeps_memory_bounded() {
    const RING: u64 = 64;
    const KEYS: u64 = 16;
    for (overflow, clocked) in [(Overflow::Return, true), (Overflow::Return, false), (Overflow::Wait, true)] {
        for (flood, most_of) in FLOODS {
            let builder = Pipeline::builder(Sum::default());
            let lane = builder.lane("a").capacity(RING as usize).keys(KEYS as usize).overflow(overflow);
            let mut lane = if clocked { lane } else { lane.unclocked() }.open().unwrap();
            let (mut main_lane, handle) = builder.build().unwrap();
            let most = most_of(RING, KEYS);
            if overflow == Overflow::Wait && most >= RING {
                // The producer stops where the bound is, and goes on when there is room.
                let producer = std::thread::spawn(move || {
                    flood(&mut lane, 0..1000);
                    allocations_of(|| flood(&mut lane, 1000..2000))
                });
                until("the producer waits", || handle.counters().events.waited > 0);
                assert!(handle.counters().events.in_flight <= most);
                // Of the page that was taken last, what came after the bound of its cut is held for the next one.
                until("it is done", || {
                    assert!(handle.counters().events.in_flight <= most_of(RING, 2 * KEYS));
                    main_lane.turn(Budget::UNLIMITED).unwrap();
                    producer.is_finished()
                });
                assert_eq!(producer.join().unwrap(), 0, "{overflow:?}");
            } else {
                flood(&mut lane, 0..1000);
                assert_eq!(allocations_of(|| flood(&mut lane, 1000..10_000)), 0, "nobody takes, and nothing grows");
                assert_eq!(handle.counters().events.in_flight, most);
            }
            assert!(handle.counters().events.balanced());
            main_lane.turn(Budget::UNLIMITED).unwrap();
            assert_eq!(handle.counters().events.in_flight, 0);
        }
    }
}

type Flood = fn(&mut Lane<Load>, Range<u32>);
type Most = fn(u64, u64) -> u64;

/// Ways to flood a lane, and how much of it a lane with so many slots and keys may hold.
const FLOODS: [(Flood, Most); 6] = [
    // Critical, one by one and in batches.
    (|lane, events| events.for_each(|n| drop(lane.push(Load::Critical(u64::from(n))))), |ring, _| ring),
    (|lane, events| drop(lane.push_batch(events.map(|n| Load::Critical(u64::from(n))))), |ring, _| ring),
    // Lossy: of one key, of too many keys, and of keys that merge.
    (|lane, events| events.for_each(|_| lane.push(Load::Lossy(1)).unwrap()), |_, _| 1),
    (|lane, events| drop(lane.push_batch(events.map(Load::Lossy))), |_, keys| keys),
    (|lane, events| events.for_each(|n| lane.push(Load::Merged(n % 8, 1)).unwrap()), |_, _| 8),
    // All of them.
    (
        |lane, events| {
            for n in events {
                let _ = lane.push(Load::Critical(u64::from(n)));
                lane.push(Load::Lossy(n)).unwrap();
                lane.push(Load::Merged(n, 1)).unwrap();
            }
        },
        |ring, keys| ring + keys,
    ),
];

/// An event with context.
struct Titled;

#[derive(Clone, Default)]
struct Context {
    folder: Option<Arc<str>>,
    tags: Tags,
}

impl Facets for Context {
    fn fill(&mut self, fallback: &Self) {
        self.folder.fill(&fallback.folder);
        self.tags.fill(&fallback.tags);
    }
}

impl Event for Titled {
    type Key = ();
    type Facets = Context;

    fn class(&self) -> Class<()> {
        Class::Critical
    }
}

#[derive(Clone)]
struct Known(Context, u64);

impl Reducer for Known {
    type Event = Titled;
    type Effect = ();

    fn apply(&mut self, envelope: &Envelope<'_, Titled>, _: &mut Effects<()>) {
        assert!(envelope.facets.folder.is_some() && !envelope.facets.tags.is_empty());
        self.1 += 1;
    }

    fn facets_of(&self, _: Origin, _: &Titled) -> Option<&Context> {
        Some(&self.0)
    }
}

#[test]
fn filling_in_facets_allocates_nothing() {
    let known = Context { folder: Some("/state".into()), tags: Tags::new(["a", "b"]) };
    let builder = Pipeline::builder(Known(known, 0));
    let defaults = Context { folder: Some("/lane".into()), ..Context::default() };
    let mut lane = builder.lane("a").facets(defaults).enrich(|_, _| ()).open().unwrap();
    let (mut main_lane, _) = builder.build().unwrap();
    let mut round = || {
        (0..100).for_each(|_| lane.push(Titled).unwrap());
        lane.push_batch((0..100).map(|_| Titled)).unwrap();
        main_lane.turn(Budget::UNLIMITED).unwrap();
    };
    (0..10).for_each(|_| round());
    assert_eq!(allocations_of(|| (0..10).for_each(|_| round())), 0);
    assert_eq!(main_lane.state().1, 20 * 200);
}

/// What a checkpoint and a snapshot of the reference domain cost: a copy shares what does not change after it.
#[cfg(feature = "workspace")]
#[test]
fn a_copy_of_a_large_workspace_is_as_cheap_as_one_of_a_small_one() {
    use mainlane::workspace::{Pane, PaneId, Workspace, Worktree, WorktreeId};

    let mut state = Workspace::default();
    for id in 0..10_000 {
        state.model.panes.insert(PaneId(id), Arc::new(Pane::default()));
        state.model.worktrees.insert(WorktreeId(id), Arc::new(Worktree::default()));
        state.layout.visible.insert(PaneId(id));
    }
    let mut copies = Vec::with_capacity(1000);
    assert_eq!(allocations_of(|| copies.extend((0..1000).map(|_| state.clone()))), 0);
    // The first change after a copy takes one pane and the nodes above it out of what is shared, and nothing else.
    let ring = |state: &mut Workspace| {
        state.model.panes.update(PaneId(5000), |pane| pane.bells += 1);
    };
    let first = allocations_of(|| ring(&mut state));
    assert!((1..=8).contains(&first), "{first} allocations");
    assert_eq!(allocations_of(|| ring(&mut state)), 0, "nobody shares it any more");
    assert_eq!(state.model.panes[&PaneId(5000)].bells, 2);
    assert!(copies.iter().all(|copy| copy.model.panes[&PaneId(5000)].bells == 0));
    let shared = |id| Arc::ptr_eq(&state.model.panes[&PaneId(id)], &copies[0].model.panes[&PaneId(id)]);
    assert_eq!((0..10_000).filter(|id| shared(*id)).count(), 9_999);
}

/// Runs a child of this test under the kernel's strictest filter, which kills at the first system call.
#[cfg(target_os = "linux")]
mod system_calls {
    use std::process::Command;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    const ROLE: &str = "MAINLANE_TEST_UNDER_FILTER";
    const NOT_DONE: i32 = 17;
    const NO_FILTER: i32 = 18;
    const TEST: &str = "cost::system_calls::pushing_turning_and_publishing_make_no_system_call";

    /// Does `work(100..)` on a thread that the kernel ends at its first system call, after it has done `work(0..100)` there
    /// without a filter: what a thread sets up once is not steady state. True if the work was done.
    #[expect(unsafe_code, reason = "the filter is set by a bare system call")]
    fn done_under_filter(mut work: impl FnMut(u64) + Send + 'static) -> bool {
        let done = Arc::new(AtomicBool::new(false));
        let (task, tasks) = std::sync::mpsc::channel();
        let its_done = done.clone();
        std::thread::spawn(move || {
            task.send(std::fs::read_link("/proc/thread-self").unwrap()).unwrap();
            (0..100).for_each(&mut work);
            // SAFETY: takes integers, and restricts this thread alone.
            let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_STRICT) };
            if set != 0 {
                std::process::exit(NO_FILTER);
            }
            (100..10_100).for_each(&mut work);
            its_done.store(true, Ordering::Release);
            // To end would take system calls: it waits to be ended with its process.
            loop {
                std::hint::spin_loop();
            }
        });
        let task = std::path::Path::new("/proc").join(tasks.recv().unwrap());
        until("the work, or the end of its thread", || done.load(Ordering::Acquire) || !task.exists());
        done.load(Ordering::Acquire)
    }

    fn steady_state(misbehaves: bool) -> bool {
        let builder = Pipeline::builder(Sum::default()).reconciler(|_: u64, _: &Sum| ());
        let mut lanes =
            [builder.lane("clocked").open().unwrap(), builder.lane("unclocked").unclocked().open().unwrap()];
        let (mut main_lane, handle) = builder.build().unwrap();
        let mut cached = handle.reader().cached();
        done_under_filter(move |n: u64| {
            for lane in &mut lanes {
                lane.push(Load::Critical(n)).unwrap();
                lane.push_batch((0..16).map(Load::Critical)).unwrap();
                (0..8).for_each(|key| lane.push(Load::Lossy(key)).unwrap());
            }
            main_lane.turn(Budget::UNLIMITED).unwrap();
            std::hint::black_box(cached.load().0);
            if misbehaves && n == 5000 {
                std::thread::yield_now();
            }
        })
    }

    #[test]
    fn pushing_turning_and_publishing_make_no_system_call() {
        if let Ok(role) = std::env::var(ROLE) {
            // In the child: the exit code says whether the work was done.
            std::process::exit(if steady_state(role == "misbehaving") { 0 } else { NOT_DONE });
        }
        let child = |role: &str| {
            let program = std::env::current_exe().unwrap();
            Command::new(program).args([TEST, "--exact"]).env(ROLE, role).output().unwrap()
        };
        let output = child("behaving");
        if output.status.code() == Some(NO_FILTER) {
            println!("skipped: this kernel has no strict system call filter");
            return;
        }
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let output = child("misbehaving");
        assert_eq!(output.status.code(), Some(NOT_DONE), "the filter notices a single yield: {output:?}");
    }
}

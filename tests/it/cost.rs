//! C10: what a push and a turn cost in steady state. A counting allocator sees every allocation of this process, so this
//! is measured on threads of its own.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use mainlane::{Budget, Class, Effects, Envelope, Event, Facets, Fill, Origin, Pipeline, Reducer, Tags, Tier};

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

#[derive(Clone, Copy)]
enum Load {
    Critical(u64),
    Lossy(u32),
}

impl Event for Load {
    type Key = u32;
    type Facets = ();

    fn class(&self) -> Class<u32> {
        match self {
            Load::Critical(_) => Class::Critical,
            Load::Lossy(key) => Class::lossy(*key, Tier::NORMAL),
        }
    }
}

#[derive(Clone, Default)]
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
        }
    }
}

#[test]
fn pushing_turning_and_publishing_allocate_nothing() {
    let builder = Pipeline::builder(Sum::default()).reconciler(|_: u64, _: &Sum| ());
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
    (0..100).for_each(&mut round);
    assert_eq!(allocations_of(|| (100..1100).for_each(&mut round)), 0);
    assert!(handle.counters().events.shed > 0 && handle.counters().effects > 0, "the paths were taken");
}

#[test]
fn the_count_notices_an_allocation() {
    assert_eq!(allocations_of(|| drop(std::hint::black_box(Box::new(1)))), 1);
}

#[test]
fn a_stalled_main_lane_keeps_memory_bounded() {
    let builder = Pipeline::builder(Sum::default());
    let mut lane = builder.lane("a").capacity(64).keys(16).overflow(mainlane::Overflow::Return).open().unwrap();
    let (mut main_lane, handle) = builder.build().unwrap();
    let mut flood = |count: u32| {
        for n in 0..count {
            let _ = lane.push(Load::Critical(u64::from(n)));
            lane.push(Load::Lossy(n)).unwrap();
        }
    };
    flood(1000);
    assert_eq!(allocations_of(|| flood(10_000)), 0, "nobody takes, and nothing grows");
    let events = handle.counters().events;
    assert_eq!(events.in_flight, 64 + 16);
    assert!(events.balanced());
    main_lane.turn(Budget::UNLIMITED).unwrap();
    assert_eq!(handle.counters().events.in_flight, 0);
}

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

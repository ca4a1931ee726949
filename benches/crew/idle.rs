//! What projects cost that have nothing to do: memory, and what the system counts of their threads.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::{Open, WAYS};

/// How long they are watched, after they had time to settle.
const SETTLE: Duration = Duration::from_millis(1500);
const WATCHED: Duration = Duration::from_secs(2);

/// Counts the bytes that live.
struct Counting;

static LIVE: AtomicU64 = AtomicU64::new(0);

#[expect(unsafe_code, reason = "an allocator is unsafe by its trait; this one hands everything on")]
// SAFETY: every call is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as u64, Relaxed);
        // SAFETY: the caller's promise, handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as u64, Relaxed);
        // SAFETY: the caller's promise, handed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What the system says of this process.
struct Seen {
    switches: u64,
    ticks: u64,
    resident: u64,
    threads: usize,
}

fn look() -> Seen {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let mut seen = Seen { switches: 0, ticks: 0, resident: 0, threads: 0 };
    for task in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let counts = status.lines().filter(|line| line.contains("ctxt_switches"));
        seen.switches += counts.filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok()).sum::<u64>();
        seen.threads += 1;
    }
    let stat = read("/proc/self/stat");
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let field = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    // Of the user and of the system.
    seen.ticks = field(11) + field(12);
    let statm = read("/proc/self/statm");
    seen.resident = statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0) * 4096;
    seen
}

pub(crate) fn run(counts: &[usize], quick: bool) {
    let (settle, watched) = if quick { (Duration::ZERO, Duration::from_millis(1)) } else { (SETTLE, WATCHED) };
    println!(
        "{:>6} {:<36}{:>9}{:>14}{:>14}{:>22}{:>14}",
        "", "nothing to do", "threads", "heap, KB each", "RSS, KB each", "switches a second", "CPU, ms a s"
    );
    for &projects in counts {
        for way in WAYS {
            let (heap, before) = (LIVE.load(Relaxed), look());
            let open = Open::new(way, projects, false);
            std::thread::sleep(settle);
            let (begin, first) = (Instant::now(), look());
            std::thread::sleep(watched);
            let (last, took) = (look(), begin.elapsed().as_secs_f64());
            let each = |now: u64, then: u64| now.saturating_sub(then) as f64 / 1e3 / projects as f64;
            println!(
                "{projects:>6} {:<36}{:>9}{:>14.1}{:>14.1}{:>22.1}{:>14.1}",
                way.name(),
                last.threads - before.threads,
                each(LIVE.load(Relaxed), heap),
                each(last.resident, before.resident),
                // Those of looking itself are this thread's: one for the sleep.
                (last.switches - first.switches) as f64 / took,
                (last.ticks - first.ticks) as f64 * 10.0 / took,
            );
            drop(open);
        }
    }
}

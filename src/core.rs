//! What all parts of one pipeline share, whatever its events are.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
#[cfg(feature = "control")]
use std::sync::Weak;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use crossbeam_utils::sync::Unparker;

use crate::clock::Clock;
use crate::lane::source::Interrupt;
use crate::latch::Latch;
use crate::notifications::Notifications;
use crate::observe::counters::{self, Counters, LaneBook, PipelineCounts};
use crate::observe::diagnostic::{Diagnostic, Reporter};
use crate::sync::{Arc, AtomicU64, Mutex, Ordering::Relaxed, StoreLoad};
use crate::wake::Bell;

/// How long a drop waits for what it has to stop.
pub(crate) const DROP_DEADLINE: Duration = Duration::from_secs(5);

/// Told when nothing more is to be accepted. From any thread; must not block.
#[cfg(feature = "control")]
pub(crate) trait Closer: Send + Sync {
    fn closed(&self, core: &Core);
}

pub(crate) struct Core {
    pub(crate) clock: Clock,
    pub(crate) store_load: StoreLoad,
    /// Wakes the main lane, however it sleeps.
    pub(crate) bell: Bell,
    pub(crate) sleeper: Arc<Sleeper>,
    pub(crate) reporter: Reporter,
    pub(crate) book: Mutex<LaneBook>,
    pub(crate) counts: PipelineCounts,
    pub(crate) threads: Mutex<Vec<IngestThread>>,
    /// Told when nothing more is to be accepted, as long as they are there.
    #[cfg(feature = "control")]
    closers: Mutex<Vec<Weak<dyn Closer>>>,
    lanes_opened: AtomicU64,
    operations: AtomicU64,
    closing: Latch,
    ended: Latch,
    main_thread: AtomicU64,
}

/// The ways in which a main lane may wait for input.
pub(crate) struct Sleeper {
    pub(crate) unparker: Unparker,
    pub(crate) tasks: Notifications,
    pub(crate) hook: OnceLock<Box<dyn Fn() + Send + Sync>>,
    pub(crate) hook_panics: AtomicU64,
    /// Queues it with the crew that drives it.
    #[cfg(feature = "register")]
    pub(crate) crew: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// An ingestion thread, as those who stop it see it.
pub(crate) struct IngestThread {
    pub(crate) name: String,
    pub(crate) stop: Arc<Latch>,
    /// That of the source that is being polled now.
    pub(crate) interrupt: Arc<Mutex<Option<Interrupt>>>,
    pub(crate) join: std::thread::JoinHandle<()>,
    /// Disconnected when the thread is about to end.
    pub(crate) done: Receiver<()>,
}

impl IngestThread {
    pub(crate) fn ask_to_stop(&self) {
        self.stop.set();
        self.join.thread().unpark();
        if let Some(interrupt) = &*self.interrupt.lock() {
            // The host's code; a panic in it must not stop the shutdown. What it left undone shows as a straggler.
            let _ = contain(interrupt);
        }
    }
}

impl Core {
    pub(crate) fn new(unparker: Unparker, reporter: Reporter) -> Self {
        let store_load = StoreLoad::detect();
        let sleeper = Arc::new(Sleeper {
            unparker,
            tasks: Notifications::new(),
            hook: OnceLock::new(),
            hook_panics: AtomicU64::new(0),
            #[cfg(feature = "register")]
            crew: OnceLock::new(),
        });
        let woken = sleeper.clone();
        Self {
            clock: Clock::new(),
            store_load,
            bell: Bell::new(store_load, move || woken.wake()),
            sleeper,
            reporter,
            book: Mutex::new(LaneBook::default()),
            counts: PipelineCounts::default(),
            threads: Mutex::new(Vec::new()),
            #[cfg(feature = "control")]
            closers: Mutex::new(Vec::new()),
            lanes_opened: AtomicU64::new(0),
            operations: AtomicU64::new(0),
            closing: Latch::default(),
            ended: Latch::default(),
            main_thread: AtomicU64::new(0),
        }
    }

    pub(crate) fn next_lane(&self) -> u32 {
        self.lanes_opened.fetch_add(1, Relaxed) as u32
    }

    pub(crate) fn next_operation(&self) -> u64 {
        self.operations.fetch_add(1, Relaxed)
    }

    /// Numbers below `next` are taken.
    #[cfg(feature = "journal")]
    pub(crate) fn skip_operations(&self, next: u64) {
        self.operations.store(next, Relaxed);
    }

    /// Asks the main lane to close the pipeline, and wakes it.
    pub(crate) fn close(&self) {
        self.closing.set();
        self.sleeper.wake();
        self.tell_closers();
    }

    /// Has `closer` told when nothing more is to be accepted: at once, if that is so already.
    #[cfg(feature = "control")]
    pub(crate) fn on_close(&self, closer: Weak<dyn Closer>) {
        let mut closers = self.closers.lock();
        closers.retain(|other| other.strong_count() > 0);
        closers.push(closer);
        drop(closers);
        if self.is_closing() {
            self.tell_closers();
        }
    }

    #[cfg(feature = "control")]
    fn tell_closers(&self) {
        let closers = std::mem::take(&mut *self.closers.lock());
        closers.iter().filter_map(Weak::upgrade).for_each(|closer| closer.closed(self));
    }

    #[cfg(not(feature = "control"))]
    fn tell_closers(&self) {}

    #[inline]
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.is_set()
    }

    pub(crate) fn end(&self) {
        self.closing.set();
        // P13: after the last publication, which whoever finds this set finds too.
        self.ended.set();
        self.tell_closers();
    }

    pub(crate) fn is_ended(&self) -> bool {
        // P13: the last publication came before.
        self.ended.is_set()
    }

    /// The calling thread drives the main lane.
    #[inline]
    pub(crate) fn drive_here(&self) {
        let here = thread_mark();
        if self.main_thread.load(Relaxed) != here {
            self.main_thread.store(here, Relaxed);
        }
    }

    /// The main lane moves to another thread, which has not taken a turn yet.
    pub(crate) fn drive_elsewhere(&self) {
        self.main_thread.store(0, Relaxed);
    }

    /// The main lane is driven by those who have this mark, see [`SharedMark`].
    #[cfg(feature = "register")]
    pub(crate) fn drive_by(&self, mark: u64) {
        self.main_thread.store(mark, Relaxed);
    }

    /// True on the thread that drives the main lane, and on all of a crew that does: it must not wait for itself.
    pub(crate) fn is_driven_here(&self) -> bool {
        self.main_thread.load(Relaxed) == thread_mark()
    }

    pub(crate) fn report(&self, diagnostic: Diagnostic) {
        self.reporter.report(diagnostic);
    }

    pub(crate) fn read_counters(&self) -> Counters {
        let mut faults = self.reporter.faults();
        faults.wake_panics += self.sleeper.hook_panics.load(Relaxed);
        counters::read(&self.book, &self.counts, faults, self.reporter.dropped())
    }

    /// Joins the ingestion threads. Returns how many, and the names of those that do not end in time.
    pub(crate) fn join_threads(&self, deadline: Instant) -> (usize, Vec<String>) {
        let threads = std::mem::take(&mut *self.threads.lock());
        threads.iter().for_each(IngestThread::ask_to_stop);
        let (mut joined, mut stragglers) = (0, Vec::new());
        for thread in threads {
            // The thread drops its end of the channel as its last act.
            match thread.done.recv_deadline(deadline) {
                Err(RecvTimeoutError::Timeout) => stragglers.push(thread.name),
                Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                    // A panic was contained and reported on the thread itself.
                    let _ = thread.join.join();
                    joined += 1;
                }
            }
        }
        (joined, stragglers)
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        // By whoever lets go of the pipeline last: a thread that has other things to do.
        let_go(self.hook.take());
    }
}

impl Sleeper {
    pub(crate) fn wake(&self) {
        #[cfg(feature = "register")]
        if let Some(crew) = self.crew.get() {
            crew();
        }
        self.unparker.unpark();
        self.tell(&self.tasks);
        if let Some(hook) = self.hook.get()
            && contain(hook).is_err()
        {
            // It ran on the thread of whoever pushed, whose push is accepted: that one must not unwind.
            self.hook_panics.fetch_add(1, Relaxed);
        }
    }

    /// Tells all who listen; a waker of theirs that panics is counted, as the hook is.
    pub(crate) fn tell(&self, listening: &Notifications) {
        if listening.notify_all().is_err() {
            self.hook_panics.fetch_add(1, Relaxed);
        }
    }
}

thread_local! {
    /// What this thread's mark is, if it has one together with others.
    static MARK: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// A number that no other living thread has, but those that share it.
#[inline]
fn thread_mark() -> u64 {
    MARK.with(|mark| match mark.get() {
        0 => std::ptr::from_ref(mark) as u64,
        shared => shared,
    })
}

/// While this lives, its thread counts as one with all that have the same mark: the address of something that they share, and so no
/// thread's own.
#[cfg(feature = "register")]
pub(crate) struct SharedMark {
    before: u64,
}

#[cfg(feature = "register")]
impl SharedMark {
    pub(crate) fn new(mark: u64) -> Self {
        Self { before: MARK.replace(mark) }
    }
}

#[cfg(feature = "register")]
impl Drop for SharedMark {
    fn drop(&mut self) {
        MARK.set(self.before);
    }
}

/// Runs the host's code; a panic in it comes back as what it said.
pub(crate) fn contain<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(panic_message)
}

/// Drops what is the host's and nobody needs any more.
pub(crate) fn let_go<T>(value: T) {
    let _ = contain(|| drop(value));
}

/// Drops values of the host's one by one: a second one that panics must not meet the unwinding of the first.
///
/// # Errors
/// What the first that panicked said. All are dropped.
pub(crate) fn drop_each<T>(values: impl IntoIterator<Item = T>) -> Result<(), String> {
    let (mut values, mut outcome) = (values.into_iter(), Ok(()));
    // Outside of what unwinds, and so good for the rest.
    let values = &mut values;
    while let Err(message) = contain(|| values.for_each(drop)) {
        outcome = outcome.and(Err(message));
    }
    outcome
}

/// What a panic said.
pub(crate) fn panic_message(payload: Box<dyn std::any::Any + Send>) -> String {
    match payload.downcast::<String>() {
        Ok(message) => *message,
        Err(payload) => match payload.downcast::<&'static str>() {
            Ok(message) => (*message).to_owned(),
            Err(payload) => {
                // Its `drop` is the host's code too, and nobody is left to contain it.
                std::mem::forget(payload);
                "a panic without a message".to_owned()
            }
        },
    }
}

#[cfg(all(test, feature = "control"))]
mod tests {
    use crossbeam_utils::sync::Parker;

    use super::*;

    #[derive(Default)]
    struct Told(Latch);

    impl Closer for Told {
        fn closed(&self, _: &Core) {
            self.0.set();
        }
    }

    #[test]
    fn whoever_is_gone_is_not_remembered_to_be_told_of_the_end() {
        let core = Core::new(Parker::new().unparker().clone(), Reporter::new().0);
        let told: Vec<Arc<dyn Closer>> = (0..3).map(|_| Arc::new(Told::default()) as Arc<dyn Closer>).collect();
        let there = Arc::new(Told::default());
        let waits: Arc<dyn Closer> = there.clone();
        core.on_close(Arc::downgrade(&waits));
        told.iter().for_each(|one| core.on_close(Arc::downgrade(one)));
        assert_eq!(core.closers.lock().len(), 4);
        drop(told);
        for _ in 0..1000 {
            let passing: Arc<dyn Closer> = Arc::new(Told::default());
            core.on_close(Arc::downgrade(&passing));
            assert_eq!(core.closers.lock().len(), 2);
        }
        core.close();
        assert!(there.0.take());
        let late = Arc::new(Told::default());
        let its: Arc<dyn Closer> = late.clone();
        core.on_close(Arc::downgrade(&its));
        assert!(late.0.take() && !there.0.take(), "each is told once");
    }
}

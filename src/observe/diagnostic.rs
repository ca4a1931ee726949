//! Typed notes about whatever is out of the ordinary. Each is counted too.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError};

use crate::event::{Authority, LaneId, OperationId, Phase};
use crate::main_lane::report::Fault;
use crate::observe::counters::Faults;
use crate::origin::Origin;
use crate::sync::{AtomicU64, Ordering::Relaxed};
use crate::timeline::Rewind;

/// How many diagnostics wait for whoever drains them; beyond that they are dropped, and the drops counted.
pub(crate) const WAITING_MAX: usize = 1024;

/// Something out of the ordinary.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Diagnostic {
    /// A lane was opened.
    LaneOpened {
        /// Which.
        lane: LaneId,
        /// Its name.
        name: Arc<str>,
    },
    /// A lane was closed, and everything it accepted has been applied.
    LaneClosed {
        /// Which.
        lane: LaneId,
        /// Its name.
        name: Arc<str>,
    },
    /// Lossy events were dropped because the lane's table was full of other keys: give the lane more
    /// [`keys`](crate::LaneBuilder::keys), or push fewer distinct ones. An unread event whose
    /// [`coalesce`](crate::Event::coalesce) panicked is among them.
    Shed {
        /// Which lane.
        lane: LaneId,
        /// How many since the last report.
        count: u64,
    },
    /// Events were handed back because the ring was full.
    Returned {
        /// Which lane.
        lane: LaneId,
        /// How many since the last report.
        count: u64,
    },
    /// An event reached an authority that does not own it, and was not applied.
    Misrouted {
        /// Which lane it came through.
        lane: LaneId,
        /// The event's kind.
        kind: &'static str,
        /// The owner it reached: `None` when the state has no such owner at all.
        reached: Option<Authority>,
        /// The owner it names.
        belongs_to: Authority,
    },
    /// Progress came after its operation had ended, and was not applied.
    Sealed {
        /// Which lane it came through.
        lane: LaneId,
        /// The operation.
        operation: OperationId,
        /// The event's number in its operation.
        sequence: u64,
    },
    /// Events of an operation are missing.
    OperationGap {
        /// The operation.
        operation: OperationId,
        /// The number that was due.
        expected: u64,
        /// The number that came.
        found: u64,
    },
    /// An event of an operation came twice, or out of its order.
    OperationRepeat {
        /// The operation.
        operation: OperationId,
        /// The number that came.
        sequence: u64,
        /// What came again.
        phase: Phase,
    },
    /// More operations were open, or sealed out of order, than the pipeline remembers; one was forgotten.
    OperationForgotten {
        /// The operation.
        operation: OperationId,
    },
    /// An enricher panicked; the event went on with the facets it had. Or what else is counted in
    /// [`enricher_panics`](crate::Totals::enricher_panics).
    EnricherPanicked {
        /// Which lane.
        lane: LaneId,
        /// How many times since the last report.
        count: u64,
    },
    /// A source panicked. What it had emitted was published.
    SourcePanicked {
        /// Which lane.
        lane: LaneId,
        /// The lane's name.
        name: Arc<str>,
        /// What it said.
        message: String,
    },
    /// A source failed.
    SourceFailed {
        /// Which lane.
        lane: LaneId,
        /// The lane's name.
        name: Arc<str>,
        /// Why.
        message: String,
    },
    /// A source was made anew after it panicked or failed.
    SourceRestarted {
        /// Which lane.
        lane: LaneId,
        /// The lane's name.
        name: Arc<str>,
        /// How many times so far.
        restarts: u32,
    },
    /// The reconciler panicked on an effect; the ones after it were run.
    ReconcilerPanicked {
        /// What it said.
        message: String,
    },
    /// The host's code panicked where nothing can go on, and the main lane has stopped.
    Stopped(Fault),
    /// A wake hook panicked; after [`WAKE_PANICS_MAX`](crate::WAKE_PANICS_MAX) panics it is detached.
    WakePanicked {
        /// What it said.
        message: String,
        /// True when it will not be called again.
        detached: bool,
    },
    /// A thread runs where the system put it.
    PinRefused {
        /// The thread.
        thread: String,
        /// The core asked for.
        core: usize,
        /// Why it was refused.
        reason: String,
    },
    /// The reducer panicked on an event. The state was rolled back and the event set aside; see
    /// [`Handle::take_quarantined`](crate::Handle::take_quarantined).
    Quarantined {
        /// Which lane it came through.
        lane: LaneId,
        /// The event's kind.
        kind: &'static str,
        /// The turn it was taken out of.
        turn: u64,
        /// What the reducer said.
        message: String,
        /// False when there was no room left to keep the event.
        kept: bool,
    },
    /// An operation was undone, or put back.
    Rewound(Rewind),
    /// Applied twice from the same state, a batch gave two results: the reducer depends on something other than state and
    /// events, such as a clock or the order of a hash map; or not all of the state is encoded.
    Nondeterministic {
        /// Which turn.
        turn: u64,
        /// The first event after which the two differed, where that could be found out.
        kind: Option<&'static str>,
        /// What differed.
        what: String,
    },
    /// The journal writes nothing more; what is not durable by now will not be.
    JournalFailed {
        /// The newest turn that is durable.
        durable: u64,
        /// What happened.
        reason: String,
    },
    /// There is no space left for the journal. It tries again, and the main lane waits for it.
    JournalFull {
        /// What the system said.
        reason: String,
    },
    /// A checkpoint could not be made, so recovery will take longer.
    CheckpointFailed {
        /// Of which turn.
        turn: u64,
        /// What happened.
        reason: String,
    },
    /// A worker of a control panel failed.
    WorkerFailed {
        /// Its name.
        worker: Arc<str>,
        /// At what, and why.
        message: String,
    },
    /// A worker of a control panel panicked. What it had pushed is applied.
    WorkerPanicked {
        /// Its name.
        worker: Arc<str>,
        /// At what, and what it said.
        message: String,
    },
    /// A worker of a control panel was started again.
    WorkerRestarted {
        /// Its name.
        worker: Arc<str>,
        /// Which run this is; its first was 1.
        run: u64,
    },
    /// A worker of a control panel did not stop in time, and was let go of.
    WorkerStuck {
        /// Its name.
        worker: Arc<str>,
    },
    /// A group of workers had more failures than it takes, and was stopped.
    WorkersEscalated {
        /// The group; `the panel` when it was all of them.
        group: Arc<str>,
        /// Whose failure was one too many.
        worker: Arc<str>,
    },
    /// A turn holds a thread of a crew for longer than it allows: the reducer, or the reconciler, does not return. Nothing is
    /// applied meanwhile; the crew goes on without that thread.
    ProjectStuck {
        /// The project's name.
        project: Arc<str>,
        /// The thread's.
        thread: Arc<str>,
    },
    /// What the state mirrors may differ from what is outside; said by the host, see
    /// [`Handle::report_divergence`](crate::Handle::report_divergence).
    Diverged {
        /// Whose mirror it is.
        origin: Origin,
        /// Why.
        what: Arc<str>,
    },
    /// Effects were produced and there is no reconciler, or a shutdown had no time for them.
    EffectsUnhandled {
        /// How many since the last report.
        count: u64,
    },
}

/// The sending end, and the counts of what was sent.
pub(crate) struct Reporter {
    sender: Sender<Diagnostic>,
    dropped: AtomicU64,
    faults: SharedFaults,
    /// Where the host wants them published too.
    #[cfg(feature = "signal")]
    outlet: std::sync::OnceLock<crate::signal::SignalOutlet<Diagnostic>>,
}

/// Written from several threads, on cold paths.
#[derive(Default)]
struct SharedFaults {
    misrouted: AtomicU64,
    sealed: AtomicU64,
    operation_gaps: AtomicU64,
    operation_repeats: AtomicU64,
    operations_forgotten: AtomicU64,
    source_panics: AtomicU64,
    source_errors: AtomicU64,
    source_restarts: AtomicU64,
    reconciler_panics: AtomicU64,
    wake_panics: AtomicU64,
    main_lane_stops: AtomicU64,
    pins_refused: AtomicU64,
    quarantined: AtomicU64,
    rewinds: AtomicU64,
    nondeterministic: AtomicU64,
    journal_failures: AtomicU64,
    journal_full: AtomicU64,
    checkpoint_failures: AtomicU64,
    worker_errors: AtomicU64,
    worker_panics: AtomicU64,
    worker_restarts: AtomicU64,
    workers_stuck: AtomicU64,
    worker_escalations: AtomicU64,
    stuck_turns: AtomicU64,
    divergences: AtomicU64,
}

impl Reporter {
    pub(crate) fn new() -> (Self, Diagnostics) {
        let (sender, receiver) = crossbeam_channel::bounded(WAITING_MAX);
        let reporter = Self {
            sender,
            dropped: AtomicU64::new(0),
            faults: SharedFaults::default(),
            #[cfg(feature = "signal")]
            outlet: std::sync::OnceLock::new(),
        };
        (reporter, Diagnostics { receiver })
    }

    /// Counts `diagnostic` and hands it to whoever drains. Never waits.
    #[cold]
    pub(crate) fn report(&self, diagnostic: Diagnostic) {
        if let Some(count) = self.count_of(&diagnostic) {
            count.fetch_add(1, Relaxed);
        }
        let is_heard = self.publish(&diagnostic);
        // The everyday must not crowd out what is not.
        let everyday = matches!(diagnostic, Diagnostic::LaneOpened { .. } | Diagnostic::LaneClosed { .. });
        let is_lost = if everyday && self.sender.len() >= WAITING_MAX / 2 {
            true
        } else {
            // When nobody is left to drain it, that is no loss.
            matches!(self.sender.try_send(diagnostic), Err(TrySendError::Full(_)))
        };
        // Who hears it on the bus need not drain it here.
        if is_lost && !is_heard {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Has diagnostics published from here on. False when they are already.
    #[cfg(feature = "signal")]
    pub(crate) fn publish_to(&self, outlet: crate::signal::SignalOutlet<Diagnostic>) -> bool {
        self.outlet.set(outlet).is_ok()
    }

    /// True when somebody hears it.
    #[cfg(feature = "signal")]
    fn publish(&self, diagnostic: &Diagnostic) -> bool {
        self.outlet.get().is_some_and(|outlet| {
            let cause = crate::signal::cause_of(diagnostic);
            // One that is handed back is counted there, and told to whoever listens.
            outlet.is_heard() && outlet.publish_with(cause, || diagnostic.clone()).is_ok()
        })
    }

    #[cfg(not(feature = "signal"))]
    fn publish(&self, _: &Diagnostic) -> bool {
        false
    }

    fn count_of(&self, diagnostic: &Diagnostic) -> Option<&AtomicU64> {
        let faults = &self.faults;
        match diagnostic {
            Diagnostic::Misrouted { .. } => Some(&faults.misrouted),
            Diagnostic::Sealed { .. } => Some(&faults.sealed),
            Diagnostic::OperationGap { .. } => Some(&faults.operation_gaps),
            Diagnostic::OperationRepeat { .. } => Some(&faults.operation_repeats),
            Diagnostic::OperationForgotten { .. } => Some(&faults.operations_forgotten),
            Diagnostic::SourcePanicked { .. } => Some(&faults.source_panics),
            Diagnostic::SourceFailed { .. } => Some(&faults.source_errors),
            Diagnostic::SourceRestarted { .. } => Some(&faults.source_restarts),
            Diagnostic::ReconcilerPanicked { .. } => Some(&faults.reconciler_panics),
            Diagnostic::WakePanicked { .. } => Some(&faults.wake_panics),
            Diagnostic::Stopped(_) => Some(&faults.main_lane_stops),
            Diagnostic::PinRefused { .. } => Some(&faults.pins_refused),
            Diagnostic::Quarantined { .. } => Some(&faults.quarantined),
            Diagnostic::Rewound(_) => Some(&faults.rewinds),
            Diagnostic::Nondeterministic { .. } => Some(&faults.nondeterministic),
            Diagnostic::JournalFailed { .. } => Some(&faults.journal_failures),
            Diagnostic::JournalFull { .. } => Some(&faults.journal_full),
            Diagnostic::CheckpointFailed { .. } => Some(&faults.checkpoint_failures),
            Diagnostic::WorkerFailed { .. } => Some(&faults.worker_errors),
            Diagnostic::WorkerPanicked { .. } => Some(&faults.worker_panics),
            Diagnostic::WorkerRestarted { .. } => Some(&faults.worker_restarts),
            Diagnostic::WorkerStuck { .. } => Some(&faults.workers_stuck),
            Diagnostic::WorkersEscalated { .. } => Some(&faults.worker_escalations),
            Diagnostic::ProjectStuck { .. } => Some(&faults.stuck_turns),
            Diagnostic::Diverged { .. } => Some(&faults.divergences),
            // These are counted where they happen.
            Diagnostic::LaneOpened { .. }
            | Diagnostic::LaneClosed { .. }
            | Diagnostic::Shed { .. }
            | Diagnostic::Returned { .. }
            | Diagnostic::EnricherPanicked { .. }
            | Diagnostic::EffectsUnhandled { .. } => None,
        }
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    pub(crate) fn faults(&self) -> Faults {
        let faults = &self.faults;
        Faults {
            misrouted: faults.misrouted.load(Relaxed),
            sealed: faults.sealed.load(Relaxed),
            operation_gaps: faults.operation_gaps.load(Relaxed),
            operation_repeats: faults.operation_repeats.load(Relaxed),
            operations_forgotten: faults.operations_forgotten.load(Relaxed),
            source_panics: faults.source_panics.load(Relaxed),
            source_errors: faults.source_errors.load(Relaxed),
            source_restarts: faults.source_restarts.load(Relaxed),
            reconciler_panics: faults.reconciler_panics.load(Relaxed),
            wake_panics: faults.wake_panics.load(Relaxed),
            main_lane_stops: faults.main_lane_stops.load(Relaxed),
            pins_refused: faults.pins_refused.load(Relaxed),
            quarantined: faults.quarantined.load(Relaxed),
            rewinds: faults.rewinds.load(Relaxed),
            nondeterministic: faults.nondeterministic.load(Relaxed),
            journal_failures: faults.journal_failures.load(Relaxed),
            journal_full: faults.journal_full.load(Relaxed),
            checkpoint_failures: faults.checkpoint_failures.load(Relaxed),
            worker_errors: faults.worker_errors.load(Relaxed),
            worker_panics: faults.worker_panics.load(Relaxed),
            worker_restarts: faults.worker_restarts.load(Relaxed),
            workers_stuck: faults.workers_stuck.load(Relaxed),
            worker_escalations: faults.worker_escalations.load(Relaxed),
            stuck_turns: faults.stuck_turns.load(Relaxed),
            divergences: faults.divergences.load(Relaxed),
        }
    }
}

/// The receiving end: drained by the host when it likes. Clones share one queue, so each diagnostic reaches one of them.
#[derive(Clone, Debug)]
pub struct Diagnostics {
    receiver: Receiver<Diagnostic>,
}

impl Diagnostics {
    /// The oldest diagnostic that waits, if any.
    pub fn next_waiting(&self) -> Option<Diagnostic> {
        self.receiver.try_recv().ok()
    }

    /// Waits for a diagnostic, `deadline` at most.
    pub fn wait(&self, deadline: Duration) -> Option<Diagnostic> {
        self.receiver.recv_timeout(deadline).ok()
    }

    /// All diagnostics that wait.
    pub fn drain(&self) -> impl Iterator<Item = Diagnostic> {
        self.receiver.try_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::RewindKind;

    const LANE: LaneId = LaneId(3);

    fn shed(count: u64) -> Diagnostic {
        Diagnostic::Shed { lane: LANE, count }
    }

    fn opened() -> Diagnostic {
        Diagnostic::LaneOpened { lane: LANE, name: "pane".into() }
    }

    #[test]
    fn each_fault_is_counted_by_its_kind_and_everything_is_handed_on() {
        let (lane, operation, name, message) = (LANE, OperationId(1), Arc::<str>::from("pane"), "boom".to_owned());
        let (thread, reason) = ("ingest".to_owned(), "no such core".to_owned());
        let (belongs_to, phase) = (Authority::STATE, Phase::Started);
        let worker = Arc::<str>::from("syncer");
        let faults = [
            Diagnostic::Misrouted { lane, kind: "step", reached: None, belongs_to },
            Diagnostic::Sealed { lane, operation, sequence: 1 },
            Diagnostic::OperationGap { operation, expected: 1, found: 2 },
            Diagnostic::OperationRepeat { operation, sequence: 1, phase },
            Diagnostic::OperationForgotten { operation },
            Diagnostic::SourcePanicked { lane, name: name.clone(), message: message.clone() },
            Diagnostic::SourceFailed { lane, name: name.clone(), message: message.clone() },
            Diagnostic::SourceRestarted { lane, name, restarts: 1 },
            Diagnostic::ReconcilerPanicked { message: message.clone() },
            Diagnostic::WakePanicked { message: message.clone(), detached: false },
            Diagnostic::Stopped(Fault::Snapshot { message: message.clone() }),
            Diagnostic::PinRefused { thread, core: 1, reason: reason.clone() },
            Diagnostic::Quarantined { lane, kind: "step", turn: 1, message: message.clone(), kept: true },
            Diagnostic::Rewound(Rewind {
                kind: RewindKind::Undo,
                operation,
                turn: 2,
                reaches: 1,
                events: 1,
                applied: 0,
            }),
            Diagnostic::Nondeterministic { turn: 1, kind: None, what: message.clone() },
            Diagnostic::JournalFailed { durable: 1, reason: reason.clone() },
            Diagnostic::JournalFull { reason: reason.clone() },
            Diagnostic::CheckpointFailed { turn: 1, reason },
            Diagnostic::WorkerFailed { worker: worker.clone(), message: message.clone() },
            Diagnostic::WorkerPanicked { worker: worker.clone(), message },
            Diagnostic::WorkerRestarted { worker: worker.clone(), run: 2 },
            Diagnostic::WorkerStuck { worker: worker.clone() },
            Diagnostic::WorkersEscalated { group: "the panel".into(), worker },
            Diagnostic::ProjectStuck { project: "shop".into(), thread: "crew 1".into() },
            Diagnostic::Diverged { origin: Origin::built_in("worktree", 1), what: "lost track".into() },
            shed(1),
        ];
        let (reporter, diagnostics) = Reporter::new();
        for (fault, times) in faults.iter().zip(1..) {
            (0..times).for_each(|_| reporter.report(fault.clone()));
        }
        let counted = Faults {
            misrouted: 1,
            sealed: 2,
            operation_gaps: 3,
            operation_repeats: 4,
            operations_forgotten: 5,
            source_panics: 6,
            source_errors: 7,
            source_restarts: 8,
            reconciler_panics: 9,
            wake_panics: 10,
            main_lane_stops: 11,
            pins_refused: 12,
            quarantined: 13,
            rewinds: 14,
            nondeterministic: 15,
            journal_failures: 16,
            journal_full: 17,
            checkpoint_failures: 18,
            worker_errors: 19,
            worker_panics: 20,
            worker_restarts: 21,
            workers_stuck: 22,
            worker_escalations: 23,
            stuck_turns: 24,
            divergences: 25,
        };
        assert_eq!((reporter.faults(), reporter.dropped()), (counted, 0));
        assert_eq!(diagnostics.next_waiting().as_ref(), Some(&faults[0]));
        assert_eq!(diagnostics.wait(Duration::ZERO).as_ref(), Some(&faults[1]));
        assert_eq!(diagnostics.drain().count(), (1..=26).sum::<usize>() - 2);
        assert_eq!((diagnostics.next_waiting(), diagnostics.wait(Duration::ZERO)), (None, None));
    }

    #[test]
    fn the_everyday_takes_half_of_the_room_and_leaves_the_rest_to_what_is_not() {
        let (reporter, diagnostics) = Reporter::new();
        for _ in 0..WAITING_MAX {
            reporter.report(opened());
        }
        assert_eq!(reporter.dropped(), (WAITING_MAX / 2) as u64);
        for count in 0..WAITING_MAX {
            reporter.report(shed(count as u64));
        }
        assert_eq!(reporter.dropped(), WAITING_MAX as u64, "half of each");
        let waiting: Vec<_> = diagnostics.drain().collect();
        let (everyday, rare) = waiting.split_at(WAITING_MAX / 2);
        assert!(everyday.iter().all(|diagnostic| *diagnostic == opened()));
        assert_eq!(rare, (0..WAITING_MAX / 2).map(|count| shed(count as u64)).collect::<Vec<_>>());
    }

    #[test]
    fn what_nobody_will_ever_drain_is_not_a_drop() {
        let (reporter, diagnostics) = Reporter::new();
        drop(diagnostics);
        reporter.report(shed(1));
        assert_eq!(reporter.dropped(), 0);
    }
}

//! What can be asked for: a job, with what it is told while it runs.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// How urgent a job is. It rises by one for each [`age`](super::MaintenanceBuilder::age) it has waited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Whenever there is time.
    Low,
    /// What most jobs are.
    #[default]
    Normal,
    /// Before most others.
    High,
    /// Before all others.
    Urgent,
}

impl Priority {
    /// All of them, lowest first.
    pub const ALL: [Priority; 4] = [Priority::Low, Priority::Normal, Priority::High, Priority::Urgent];
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Priority::Low => "low",
            Priority::Normal => "normal",
            Priority::High => "high",
            Priority::Urgent => "urgent",
        })
    }
}

/// What becomes of a job that has not started by its deadline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Late {
    /// It is not started any more, and reported as expired.
    #[default]
    Expire,
    /// It is started nevertheless. Its deadline then only says where it stands among its like.
    Run,
}

/// Why a job failed.
pub type JobError = Box<dyn std::error::Error + Send + Sync>;

/// What one step of a resumable job came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<T> {
    /// There is more to do.
    More,
    /// That was all.
    Done(T),
}

/// Which job it is, for people.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct JobLabel {
    /// The job's name; need not be the only one of this name.
    pub name: Arc<str>,
    /// Who submitted it.
    pub submitter: Arc<str>,
    /// As it was submitted.
    pub priority: Priority,
}

impl fmt::Display for JobLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` of `{}` ({})", self.name, self.submitter, self.priority)
    }
}

/// What a job is told while it runs.
#[derive(Clone, Debug)]
pub struct JobContext {
    pub(crate) label: JobLabel,
    pub(crate) token: CancellationToken,
}

impl JobContext {
    /// Whether it should end: it was cancelled, or the queue closes. A blocking job looks at this now and then; a resumable
    /// one is not resumed, and an asynchronous one is dropped at its next await, without having to look.
    pub fn is_cancelled(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Told when it should end, to be waited for or handed on.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Which job this is.
    pub fn label(&self) -> &JobLabel {
        &self.label
    }
}

pub(crate) type Blocking<T> = Box<dyn FnOnce(&JobContext) -> Result<T, JobError> + Send>;
pub(crate) type Resumable<T> = Box<dyn FnMut(&JobContext) -> Result<Step<T>, JobError> + Send>;
pub(crate) type Running<T> = Pin<Box<dyn Future<Output = Result<T, JobError>> + Send>>;
pub(crate) type Asynchronous<T> = Box<dyn FnOnce(JobContext) -> Running<T> + Send>;

/// What there is to do, and how far it has come.
pub(crate) enum Work<T> {
    Blocking(Blocking<T>),
    Resumable(Resumable<T>),
    Asynchronous(Asynchronous<T>),
    /// An asynchronous one that has been started.
    Polled(Running<T>),
    Over,
}

/// Something to do, for whom, how urgent, and until when it must have begun.
///
/// Built with [`blocking`](Job::blocking), [`resumable`](Job::resumable) or [`asynchronous`](Job::asynchronous), and given
/// to [`submit`](super::MaintenanceHandle::submit).
#[must_use = "a job does nothing until it is submitted"]
pub struct Job<T> {
    pub(crate) name: Arc<str>,
    pub(crate) submitter: Arc<str>,
    pub(crate) priority: Priority,
    pub(crate) deadline: Option<Instant>,
    pub(crate) late: Late,
    pub(crate) cost: Duration,
    pub(crate) work: Work<T>,
}

impl<T: Send + 'static> Job<T> {
    /// Runs in one go on a thread that may block. It keeps its slot until it returns, so it should be short, or look at
    /// [`JobContext::is_cancelled`].
    pub fn blocking(
        name: impl Into<Arc<str>>,
        work: impl FnOnce(&JobContext) -> Result<T, JobError> + Send + 'static,
    ) -> Self {
        Self::new(name.into(), Work::Blocking(Box::new(work)))
    }

    /// Runs step by step on a thread that may block. After each [`slice`](super::MaintenanceBuilder::slice) others get their
    /// turn, so that long work holds nobody up for longer than a slice and a step.
    pub fn resumable(
        name: impl Into<Arc<str>>,
        work: impl FnMut(&JobContext) -> Result<Step<T>, JobError> + Send + 'static,
    ) -> Self {
        Self::new(name.into(), Work::Resumable(Box::new(work)))
    }

    /// Runs as a task of the runtime, which the queue must have. It keeps its slot while it awaits.
    pub fn asynchronous<F>(name: impl Into<Arc<str>>, work: impl FnOnce(JobContext) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<T, JobError>> + Send + 'static,
    {
        Self::new(name.into(), Work::Asynchronous(Box::new(move |context| Box::pin(work(context)))))
    }

    fn new(name: Arc<str>, work: Work<T>) -> Self {
        Self {
            name,
            submitter: "".into(),
            priority: Priority::Normal,
            deadline: None,
            late: Late::Expire,
            cost: Duration::ZERO,
            work,
        }
    }

    /// On whose behalf: a worker's name, a pane's. Submitters take turns. By default the nameless one.
    pub fn submitter(mut self, submitter: impl Into<Arc<str>>) -> Self {
        self.submitter = submitter.into();
        self
    }

    /// By default [`Priority::Normal`].
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// By when it must have started. By default there is no such moment.
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// What becomes of it when its deadline has passed. By default it expires.
    pub fn late(mut self, late: Late) -> Self {
        self.late = late;
        self
    }

    /// About how long it will run. Its submitter is charged for that at the start; what it really took is put right at the
    /// end. Without it, only several long jobs at once of one submitter are charged too late.
    pub fn cost(mut self, cost: Duration) -> Self {
        self.cost = cost;
        self
    }
}

impl<T> fmt::Debug for Job<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("name", &self.name)
            .field("submitter", &self.submitter)
            .field("priority", &self.priority)
            .field("deadline", &self.deadline)
            .field("late", &self.late)
            .field("cost", &self.cost)
            .finish_non_exhaustive()
    }
}

/// A job that was not taken in, handed back.
#[non_exhaustive]
pub enum JobRefused<T> {
    /// The queue is full, and holds nothing that would make room. Try again later.
    Full(Job<T>),
    /// The queue is closing, or closed.
    Closed(Job<T>),
    /// The job is asynchronous, and the queue was built without a runtime.
    NeedsRuntime(Job<T>),
    /// The queue's runtime has been shut down. Nothing will run here any more.
    RuntimeGone(Job<T>),
}

impl<T> JobRefused<T> {
    /// The job.
    pub fn into_inner(self) -> Job<T> {
        match self {
            Self::Full(job) | Self::Closed(job) | Self::NeedsRuntime(job) | Self::RuntimeGone(job) => job,
        }
    }
}

impl<T> fmt::Debug for JobRefused<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (variant, job) = match self {
            Self::Full(job) => ("Full", job),
            Self::Closed(job) => ("Closed", job),
            Self::NeedsRuntime(job) => ("NeedsRuntime", job),
            Self::RuntimeGone(job) => ("RuntimeGone", job),
        };
        f.debug_tuple(variant).field(job).finish()
    }
}

impl<T> fmt::Display for JobRefused<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (why, job) = match self {
            Self::Full(job) => ("the queue is full", job),
            Self::Closed(job) => ("the queue is closed", job),
            Self::NeedsRuntime(job) => ("it is asynchronous, and the queue has no runtime", job),
            Self::RuntimeGone(job) => ("the queue's runtime has been shut down", job),
        };
        write!(f, "the job `{}` of `{}` was refused: {why}", job.name, job.submitter)
    }
}

impl<T> std::error::Error for JobRefused<T> {}

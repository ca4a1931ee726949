//! What an ingestion thread polls.

use std::collections::VecDeque;
use std::fmt;
use std::time::Instant;

use crate::event::Event;
use crate::lane::Lane;

/// Something that yields events when it is asked: a pseudo-terminal, a file watcher, a timer, a ring that a foreign
/// callback fills.
///
/// # Contract
/// - `poll` runs on the lane's own thread, again and again until it answers [`Polled::Done`], fails, or the lane
///   closes. What it emits in one poll is pushed as one batch, see [`Lane::push_batch`].
/// - `poll` may block, if [`interrupt`](Source::interrupt) can end the wait; otherwise it must return soon.
/// - A panic in `poll` is contained: what was emitted before it is published, the panic is reported, and the source is
///   made anew by its restart policy or its lane is closed.
pub trait Source: Send + 'static {
    /// The events it yields.
    type Event: Event;

    /// Emits what there is to emit.
    ///
    /// # Errors
    /// Whatever made the source unusable. It is reported, and handled as a panic is.
    fn poll(&mut self, outlet: &mut Outlet<Self::Event>) -> Result<Polled, SourceError>;

    /// A hook that makes a blocking `poll` return soon. Asked for once for each source, before its first poll; called from another
    /// thread, at shutdown, any number of times. A source whose `poll` never blocks for long needs none.
    fn interrupt(&self) -> Option<Interrupt> {
        None
    }
}

/// Makes a blocking [`Source::poll`] return soon.
pub type Interrupt = Box<dyn Fn() + Send + Sync>;

/// Why a source became unusable.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// What a poll found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polled {
    /// There may be more: poll again at once.
    Ready,
    /// Nothing more now: wait by the lane's idle strategy.
    Idle,
    /// Nothing more before this moment.
    Until(Instant),
    /// Nothing more, ever: the lane is closed.
    Done,
}

/// Where a source puts the events of one poll.
///
/// It holds up to a chunk of events; the thread publishes them when the poll returns, or earlier when the chunk is
/// full, so that a poll that emits without end stays within bounded memory.
pub struct Outlet<E: Event> {
    pub(crate) staged: VecDeque<(E::Facets, E)>,
    pub(crate) chunk: usize,
    pub(crate) lane: Lane<E>,
    /// The lane accepts nothing more.
    pub(crate) closed: bool,
    /// How many events were ever put here.
    pub(crate) emitted: u64,
}

impl<E: Event> Outlet<E> {
    /// Emits an event that sets no facets.
    pub fn push(&mut self, event: E) {
        self.push_with(E::Facets::default(), event);
    }

    /// Emits an event with facets of its own.
    pub fn push_with(&mut self, facets: E::Facets, event: E) {
        self.staged.push_back((facets, event));
        self.emitted += 1;
        if self.staged.len() >= self.chunk {
            self.publish();
        }
    }

    /// How many events this poll has emitted that are not published yet.
    pub fn staged(&self) -> usize {
        self.staged.len()
    }
}

impl<E: Event> fmt::Debug for Outlet<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outlet").field("staged", &self.staged.len()).field("lane", &self.lane).finish()
    }
}

//! When the state is published, and who is told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::Stamp;
use crate::core::{Core, contain, let_go};
use crate::observe::diagnostic::Diagnostic;
use crate::snapshot::{Published, Publisher, Snapshot, Version};
use crate::sync::{AtomicBool, Ordering::Relaxed};
use crate::wake::Notice;

/// When a changed state is published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Publish {
    /// After every turn that applied something.
    #[default]
    EveryTurn,
    /// At most once per this time; the newest state is published when the time is up, without further events.
    AtMostEvery(Duration),
    /// When a reader asks, see [`Reader::request`](crate::Reader::request).
    OnRequest,
}

/// After how many panics a wake hook is not called any more.
pub const WAKE_PANICS_MAX: u32 = 3;

/// A host's hook, to be called when its reader has something unread.
pub(crate) struct WakeHook {
    pub(crate) notice: Arc<Notice>,
    pub(crate) attached: Arc<AtomicBool>,
    pub(crate) hook: Box<dyn Fn() + Send>,
    pub(crate) panics: u32,
    /// The newest version when its reader was made.
    pub(crate) since: Version,
}

/// The state as it is after a turn.
pub(crate) struct Now<'a, S> {
    pub(crate) state: &'a S,
    pub(crate) stamp: Stamp,
    pub(crate) turn: u64,
    pub(crate) core: &'a Core,
}

/// A reader's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// There is none, or it is not taken.
    No,
    /// What was pushed before it is not all applied.
    Waits,
    /// It is to be answered by the next publication.
    Due,
}

/// Publishes by policy, and wakes whoever waits for it.
pub(crate) struct Publishing<S> {
    publisher: Publisher<S>,
    published: Arc<Published<S>>,
    policy: Publish,
    hooks: Vec<WakeHook>,
    /// Something was applied that is not published.
    unpublished: bool,
    asked: Asked,
    last: Option<Instant>,
    /// Waits until its turn is durable. The next is not made before it is out.
    held: Option<Arc<Snapshot<S>>>,
}

impl<S: Clone> Publishing<S> {
    pub(crate) fn new(published: Arc<Published<S>>, policy: Publish) -> Self {
        let publisher = Publisher::new(published.shelf.clone());
        Self {
            publisher,
            published,
            policy,
            hooks: Vec::new(),
            unpublished: false,
            asked: Asked::No,
            last: None,
            held: None,
        }
    }

    pub(crate) fn changed(&mut self) {
        self.unpublished = true;
    }

    /// Takes in a hook. What was published between the making of its reader and now is told at once.
    pub(crate) fn add_hook(&mut self, mut hook: WakeHook, core: &Core) {
        // Those whose readers are gone would otherwise stay until the next publication.
        self.hooks.retain(|hook| hook.attached.load(Relaxed));
        if self.publisher.version() == hook.since || hook.call(core) {
            self.hooks.push(hook);
        }
    }

    /// Takes a request, if there is one and none before it waits for its answer: what was pushed before it can be seen from
    /// here on.
    #[inline]
    pub(crate) fn take_request(&mut self) -> bool {
        // P13: the looks that follow see what was pushed before the request.
        let is_taken = self.asked == Asked::No && self.published.wanted.take();
        if is_taken {
            self.asked = Asked::Waits;
        }
        is_taken
    }

    /// True when a request was taken, and what was pushed before it is not all applied.
    pub(crate) fn has_request(&self) -> bool {
        self.asked == Asked::Waits
    }

    /// Now it is.
    pub(crate) fn request_is_due(&mut self) {
        self.asked = Asked::Due;
    }

    /// True when there is something new and the policy says that it is to be published.
    #[inline]
    pub(crate) fn is_wanted(&mut self) -> bool {
        if self.held.is_some() {
            // Not an answer to who asked since it was made: that request stays.
            return false;
        }
        let due = match self.policy {
            Publish::EveryTurn => true,
            Publish::AtMostEvery(time) => self.unpublished && self.is_due(time),
            // Once answered, also by what was published before, the request is done with.
            Publish::OnRequest => {
                let is_due = self.asked == Asked::Due;
                if is_due {
                    self.asked = Asked::No;
                }
                is_due
            }
        };
        due && self.unpublished
    }

    /// When the next publication is due, if one is held back by time.
    #[inline]
    pub(crate) fn due(&self) -> Option<Instant> {
        match self.policy {
            Publish::AtMostEvery(time) if self.unpublished && self.held.is_none() => {
                self.last.and_then(|last| last.checked_add(time))
            }
            _ => None,
        }
    }

    /// True when a publication must happen that no event will bring about.
    pub(crate) fn is_pending(&self) -> bool {
        self.held.is_none()
            && match self.policy {
                Publish::EveryTurn => self.unpublished,
                Publish::AtMostEvery(time) => self.unpublished && self.is_due(time),
                Publish::OnRequest => self.asked != Asked::No || self.published.wanted.is_set(),
            }
    }

    /// True when nothing is to be published before something is applied or asked for. Where nothing is held.
    pub(crate) fn is_calm(&self) -> bool {
        match self.policy {
            Publish::EveryTurn | Publish::AtMostEvery(_) => !self.unpublished,
            Publish::OnRequest => self.asked == Asked::No,
        }
    }

    /// True when a reader has asked, and is to be heard.
    #[inline]
    pub(crate) fn is_wanted_now(&self) -> bool {
        self.policy == Publish::OnRequest && self.published.wanted.is_set()
    }

    /// True when readers say when something is published.
    pub(crate) fn is_asked_for(&self) -> bool {
        self.policy == Publish::OnRequest
    }

    /// True when the time since the last publication is up.
    fn is_due(&self, time: Duration) -> bool {
        self.last.is_none_or(|last| last.elapsed() >= time)
    }

    /// Publishes if there is something new, whatever the policy says.
    pub(crate) fn publish(&mut self, now: &Now<'_, S>) -> Option<Version> {
        if !self.unpublished || self.held.is_some() {
            return None;
        }
        let Now { state, stamp, turn, core } = *now;
        let allocated = self.publisher.publish(state, stamp, turn);
        self.unpublished = false;
        core.counts.snapshots_allocated.add(u64::from(allocated));
        Some(self.told(core))
    }

    /// Makes what [`publish`](Publishing::publish) would publish, to be [released](Publishing::release) when its turn is durable.
    pub(crate) fn hold(&mut self, now: &Now<'_, S>) {
        if !self.unpublished || self.held.is_some() {
            return;
        }
        let Now { state, stamp, turn, core } = *now;
        let (snapshot, allocated) = self.publisher.prepare(state, stamp, turn);
        self.held = Some(snapshot);
        self.unpublished = false;
        core.counts.snapshots_allocated.add(u64::from(allocated));
    }

    /// The turn of the snapshot that is held back.
    pub(crate) fn held(&self) -> Option<u64> {
        self.held.as_ref().map(|snapshot| snapshot.turn)
    }

    /// True when something was applied that is not published.
    pub(crate) fn is_unpublished(&self) -> bool {
        self.unpublished
    }

    /// True when something was applied that is not published, and could be.
    pub(crate) fn is_unheld(&self) -> bool {
        self.unpublished && self.held.is_none()
    }

    /// Lets out what is held, if it is of turn `durable` or an older one.
    pub(crate) fn release(&mut self, durable: u64, core: &Core) -> Option<Version> {
        let snapshot = self.held.take_if(|snapshot| snapshot.turn <= durable)?;
        self.publisher.put(snapshot);
        Some(self.told(core))
    }

    /// Tells everybody of what was published.
    #[inline]
    fn told(&mut self, core: &Core) -> Version {
        if let Publish::AtMostEvery(_) = self.policy {
            self.last = Some(Instant::now());
        }
        core.counts.snapshots.add(1);
        core.sleeper.tell(&self.published.changes);
        self.hooks.retain_mut(|hook| hook.call(core));
        self.publisher.version()
    }

    /// Drops the copies of the state that nobody sees any more, one by one.
    pub(crate) fn let_go(&mut self) {
        let_go(self.held.take());
        self.publisher.let_go();
    }

    /// There will be no more publications: whoever waits for one is let go, and whoever sleeps on a hook is called.
    pub(crate) fn end(&mut self, core: &Core) {
        self.hooks.retain_mut(|hook| hook.call(core));
        self.hooks.clear();
        core.sleeper.tell(&self.published.changes);
    }
}

impl WakeHook {
    /// Calls the hook if its reader has read everything before this. False when it is to be forgotten.
    fn call(&mut self, core: &Core) -> bool {
        if !self.attached.load(Relaxed) {
            return false;
        }
        if !self.notice.raise() {
            return true;
        }
        let Err(message) = contain(&self.hook) else { return true };
        self.panics += 1;
        let detached = self.panics >= WAKE_PANICS_MAX;
        core.report(Diagnostic::WakePanicked { message, detached });
        !detached
    }
}

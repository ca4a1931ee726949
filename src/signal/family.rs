//! One family of signals: what everybody shares of it, and the dispatcher's side.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::core::{contain, let_go};
use crate::latch::Latch;
use crate::mailbox::Mailbox;
use crate::notifications::Notifications;
use crate::signal::Signal;
use crate::signal::book::Book;
use crate::signal::bus::BusCore;
use crate::signal::inbox::{Call, Caller, Inbox, Mail, Match};
use crate::signal::inlet::Inlet;
use crate::signal::notice::BusNotice;
use crate::signal::outlet::{Entry, OutletCounts};
use crate::signal::queue::{Fallen, Hashed};
use crate::signal::sent::{Batch, Sent};
use crate::signal::status::FamilyStatus;

/// How many signals one look into a family's queue takes at most.
/// A subscriber that keeps one of them keeps them all.
pub(crate) const BATCH: usize = 64;

/// What everybody shares of one family.
pub(crate) struct FamilyHub<T: Signal> {
    pub(crate) inlet: Inlet<Entry<T>>,
    pub(crate) bus: Arc<BusCore>,
    /// Told when the dispatcher has taken something.
    pub(crate) room: Notifications,
    /// A subscriber has left.
    left: Latch,
    /// A subscriber that blocked has made room.
    made_room: Latch,
    /// Subscriptions on their way to the dispatcher.
    joining: Mailbox<Box<dyn Subscriber<T>>>,
    book: Mutex<Book<T>>,
}

impl<T: Signal> FamilyHub<T> {
    pub(crate) fn new(bus: Arc<BusCore>) -> Self {
        Self {
            inlet: Inlet::new(T::CAPACITY.max(1)),
            bus,
            room: Notifications::new(),
            left: Latch::default(),
            made_room: Latch::default(),
            joining: Mailbox::new(),
            book: Mutex::default(),
        }
    }

    pub(crate) fn outlet_counts(&self) -> Arc<OutletCounts> {
        let counts = Arc::new(OutletCounts::default());
        self.book.lock().outlets.push(counts.clone());
        counts
    }

    pub(crate) fn outlet_gone(&self, counts: &Arc<OutletCounts>) {
        let mut book = self.book.lock();
        book.outlets.retain(|other| !Arc::ptr_eq(other, counts));
        let (published, unheard) = counts.read();
        book.published.0 += published;
        book.published.1 += unheard;
    }

    /// Has the dispatcher know of a subscription. From here on whatever is published reaches it.
    pub(crate) fn join(&self, subscriber: Box<dyn Subscriber<T>>) {
        let mail = subscriber.mail();
        self.book.lock().subscribers.push(mail.clone());
        match self.joining.post(subscriber) {
            Ok(()) => self.inlet.listen(),
            Err(subscriber) => {
                subscriber.end();
                self.forget(&mail);
            }
        }
    }

    /// For a subscriber's inbox: wakes the dispatcher, and has it look who left.
    pub(crate) fn caller(self: &Arc<Self>) -> Caller {
        let hub = Arc::downgrade(self);
        Box::new(move |call| {
            let Some(hub) = hub.upgrade() else { return };
            match call {
                Call::Left => hub.left.set(),
                Call::Room => hub.made_room.set(),
            }
            hub.bus.wake();
        })
    }

    fn forget(&self, mail: &Arc<dyn Mail<T>>) {
        self.book.lock().forget(mail);
    }
}

impl<T: Signal> FamilyHub<T> {
    pub(crate) fn status(&self) -> FamilyStatus {
        let mut book = self.book.lock();
        let (mut published, mut unheard) = book.published;
        for outlet in &book.outlets {
            let (more, more_unheard) = outlet.read();
            published += more;
            unheard += more_unheard;
        }
        FamilyStatus {
            family: T::FAMILY,
            published,
            unheard,
            refused: self.inlet.refused(),
            stranded: self.inlet.stranded(),
            dispatched: book.dispatched,
            depth: self.inlet.depth() as u64 + book.taken,
            subscribers: book.subscribers.iter().map(|mail| mail.status()).collect(),
            gone: book.gone(),
        }
    }
}

/// The dispatcher's side of one subscription.
pub(crate) trait Subscriber<T>: Send {
    fn mail(&self) -> Arc<dyn Mail<T>>;
    /// Hands over what matches. False when the subscriber is gone.
    fn offer(&mut self, batch: &Batch<T>, refused: u64, turn: &Turning<'_>) -> bool;
    /// How many signals it can take; and when it has held up its family for too long, if it does.
    fn room(&mut self, is_wanted: bool, turn: &Turning<'_>) -> (usize, Option<Instant>);
    /// True when it may hold up its family.
    fn blocks(&self) -> bool;
    /// True when it may keep signals aside.
    fn keeps_aside(&self) -> bool;
    fn is_open(&self) -> bool;
    /// Looks after what was kept aside. Returns when it has to do so again.
    fn look_aside(&mut self, turn: &Turning<'_>) -> Option<Instant>;
    fn end(&self);
}

/// What a turn of the dispatcher knows.
pub(crate) struct Turning<'a> {
    pub(crate) now: Instant,
    pub(crate) family: &'static str,
    /// Where to say what is out of the ordinary; nowhere for the notices themselves.
    pub(crate) notices: Option<&'a dyn Fn(BusNotice)>,
}

impl Turning<'_> {
    fn notice(&self, notice: impl FnOnce(&'static str) -> BusNotice) {
        if let Some(tell) = self.notices {
            tell(notice(self.family));
        }
    }
}

/// Host's code that says whether a signal matches.
pub(crate) type Filter<T> = Box<dyn FnMut(&Sent<T>) -> bool + Send>;
/// Host's code that says what a signal's key is.
pub(crate) type KeyOf<T, K> = Box<dyn FnMut(&Sent<T>) -> K + Send>;

/// A subscription as the dispatcher has it.
pub(crate) struct Sink<T, K> {
    pub(crate) name: Arc<str>,
    pub(crate) inbox: Arc<Inbox<T, K>>,
    pub(crate) filter: Option<Filter<T>>,
    pub(crate) key: Option<KeyOf<T, K>>,
    pub(crate) patience: Option<Duration>,
    pub(crate) keeps_aside: bool,
    pub(crate) hash: foldhash::fast::RandomState,
    /// What matched; empty between turns.
    pub(crate) matches: Vec<Match<K>>,
    /// What fell out of the queue; empty between turns.
    pub(crate) fallen: Fallen<T, K>,
    pub(crate) blocks_since: Option<Instant>,
    /// Signals were dropped the last time, and that was told.
    pub(crate) lags: bool,
}

impl<T, K> Sink<T, K>
where
    T: Signal,
    K: Eq + std::hash::Hash + Send + 'static,
{
    /// Notes what matches.
    fn match_all(&mut self, batch: &Batch<T>) {
        if self.filter.is_none() && self.key.is_none() {
            self.matches.extend((!batch.is_empty()).then_some(Match::Run(0..batch.len())));
            return;
        }
        for (at, sent) in batch.iter().enumerate() {
            if !self.passes(sent) {
                continue;
            }
            let key = self.key.as_mut().map(|key| contain(|| Hashed::new(key(sent), &self.hash)));
            let matched = match key {
                Some(Ok(key)) => Match::Key(at, key),
                Some(Err(_)) => {
                    self.inbox.tally(&|tallies| tallies.filter_panics += 1);
                    Match::Broken(at)
                }
                None => match self.matches.last_mut() {
                    Some(Match::Run(run)) if run.end == at => {
                        run.end += 1;
                        continue;
                    }
                    _ => Match::Run(at..at + 1),
                },
            };
            self.matches.push(matched);
        }
    }

    fn passes(&mut self, sent: &Sent<T>) -> bool {
        let Some(filter) = &mut self.filter else { return true };
        contain(|| filter(sent)).unwrap_or_else(|_| {
            self.inbox.tally(&|tallies| tallies.filter_panics += 1);
            // Nobody said no.
            true
        })
    }

    fn tell_drops(&mut self, dropped: u64, turn: &Turning<'_>) {
        if dropped > 0 && !self.lags {
            turn.notice(|family| BusNotice::Lagging { family, subscriber: self.name.clone(), dropped });
        }
        self.lags = dropped > 0;
    }
}

impl<T, K> Subscriber<T> for Sink<T, K>
where
    T: Signal,
    K: Eq + std::hash::Hash + Send + 'static,
{
    fn mail(&self) -> Arc<dyn Mail<T>> {
        self.inbox.clone()
    }

    fn offer(&mut self, batch: &Batch<T>, refused: u64, turn: &Turning<'_>) -> bool {
        self.match_all(batch);
        let is_meant = !self.matches.is_empty();
        let offered = self.inbox.offer(batch, &mut self.matches, refused, turn.now, &mut self.fallen);
        self.fallen.bury();
        // What a subscriber that is gone did not want.
        self.matches.drain(..).for_each(let_go);
        match offered.broken {
            None if is_meant => self.tell_drops(offered.dropped, turn),
            // It keeps up no better than before.
            None => {}
            Some(message) => {
                turn.notice(|family| BusNotice::Detached { family, subscriber: self.name.clone(), message });
            }
        }
        offered.open
    }

    fn room(&mut self, is_wanted: bool, turn: &Turning<'_>) -> (usize, Option<Instant>) {
        let Some(patience) = self.patience else { return (usize::MAX, None) };
        let room = self.inbox.room();
        if room > 0 || !is_wanted {
            self.blocks_since = None;
            return (room, None);
        }
        let until = *self.blocks_since.get_or_insert(turn.now) + patience;
        if turn.now < until {
            return (0, Some(until));
        }
        self.blocks_since = None;
        if self.inbox.suspend() {
            turn.notice(|family| BusNotice::Suspended { family, subscriber: self.name.clone() });
        }
        // One that has read meanwhile, or is gone, is asked anew.
        (self.inbox.room(), None)
    }

    fn blocks(&self) -> bool {
        self.patience.is_some()
    }

    fn keeps_aside(&self) -> bool {
        self.keeps_aside
    }

    fn is_open(&self) -> bool {
        self.inbox.is_open()
    }

    fn look_aside(&mut self, turn: &Turning<'_>) -> Option<Instant> {
        let (due, dropped) = self.inbox.look_aside(turn.now, &mut self.fallen);
        self.fallen.bury();
        if dropped > 0 {
            self.tell_drops(dropped, turn);
        }
        due
    }

    fn end(&self) {
        self.inbox.end();
    }
}

/// The dispatcher's side of one family.
pub(crate) struct FamilyTurns<T: Signal> {
    hub: Arc<FamilyHub<T>>,
    subscribers: Vec<Box<dyn Subscriber<T>>>,
    /// Letters of the mailbox that were read.
    joined: u64,
    /// The number of the next signal.
    number: u64,
    /// Taken from the queue, and not handed on yet.
    taken: VecDeque<Sent<T>>,
    /// Refusals that were seen.
    refused: u64,
    /// Refusals that are to be told when the signals before this number are handed on.
    owed: (u64, u64),
    /// Whether there are subscribers that block, and that keep signals aside: the others are not asked.
    blocks: bool,
    keeps_aside: bool,
    /// Somebody blocked the last turn; whoever it was calls when there is room.
    blocked: bool,
}

/// What a turn of one family found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FamilyTurn {
    pub(crate) taken: usize,
    /// When it wants a turn whatever happens.
    pub(crate) due: Option<Instant>,
}

/// A family, whatever its signals are.
pub(crate) trait Family: Send {
    fn turn(&mut self, most: usize, now: Instant, notices: &dyn Fn(BusNotice)) -> FamilyTurn;
    /// True when a turn would find something, if nobody blocks.
    fn has_input(&self) -> bool;
    /// True when somebody blocked the last turn.
    fn is_blocked(&self) -> bool;
    fn close(&mut self);
    /// Hands over what is left, whoever blocks; nothing comes after it.
    fn end(&mut self, now: Instant, notices: &dyn Fn(BusNotice));
}

impl<T: Signal> FamilyTurns<T> {
    pub(crate) fn new(hub: Arc<FamilyHub<T>>) -> Self {
        Self {
            hub,
            subscribers: Vec::new(),
            joined: 0,
            number: 0,
            taken: VecDeque::new(),
            refused: 0,
            owed: (0, 0),
            blocks: false,
            keeps_aside: false,
            blocked: false,
        }
    }

    pub(crate) fn is_of_notices() -> bool {
        std::any::TypeId::of::<T>() == std::any::TypeId::of::<BusNotice>()
    }

    /// The least that those who block can take, and when one of them has blocked for too long.
    fn room(&mut self, turn: &Turning<'_>) -> (usize, Option<Instant>) {
        if !self.blocks {
            return (usize::MAX, None);
        }
        let is_wanted = self.depth() > 0;
        let (mut least, mut first) = (usize::MAX, None);
        for subscriber in &mut self.subscribers {
            let (room, until) = subscriber.room(is_wanted, turn);
            least = least.min(room);
            first = earlier(first, until);
        }
        (least, first)
    }

    /// How many signals are to be handed on.
    fn depth(&self) -> usize {
        self.hub.inlet.depth() + self.taken.len()
    }

    /// Takes signals until there are `most`. True if somebody subscribed meanwhile.
    fn take(&mut self, most: usize) -> bool {
        while self.taken.len() < most
            && let Some(entry) = self.hub.inlet.take()
        {
            self.taken.push_back(Sent::new(self.number, entry));
            self.number += 1;
        }
        // After the look into the queue: whoever subscribed before one of these was published has posted a letter by now.
        let posted = self.hub.joining.posted();
        let has_joined = posted != self.joined;
        if has_joined {
            self.joined = posted;
            self.subscribers.extend(self.hub.joining.collect());
            self.count();
        }
        has_joined
    }

    /// Refusals whose place is after what is handed on now. They were refused because what was in the queue then filled it.
    fn due_refusals(&mut self) -> u64 {
        if self.owed.0 == 0 {
            let refused = self.hub.inlet.refused();
            self.owed = (refused - self.refused, self.number + self.hub.inlet.depth() as u64);
            self.refused = refused;
        }
        if self.number < self.owed.1 || !self.taken.is_empty() {
            return 0;
        }
        std::mem::take(&mut self.owed.0)
    }

    /// How many of `most` signals come before refusals that are owed.
    fn up_to_refusals(&self, most: usize) -> usize {
        if self.owed.0 == 0 {
            most
        } else {
            most.min(self.owed.1.saturating_sub(self.number) as usize + self.taken.len())
        }
    }

    /// Hands on up to `most` of what was taken. Returns how many that were.
    fn hand_on(&mut self, most: usize, turn: &Turning<'_>) -> usize {
        let count = self.taken.len().min(most);
        let batch: Batch<T> = self.taken.drain(..count).collect();
        let refused = self.due_refusals();
        if refused > 0 {
            turn.notice(|family| BusNotice::Refused { family, count: refused });
        }
        if count == 0 && refused == 0 {
            return 0;
        }
        {
            let mut book = self.hub.book.lock();
            book.dispatched += count as u64;
            book.taken = self.taken.len() as u64;
        }
        let mut at = 0;
        while let Some(subscriber) = self.subscribers.get_mut(at) {
            if subscriber.offer(&batch, refused, turn) {
                at += 1;
            } else {
                self.remove(at);
            }
        }
        count
    }

    /// Hands on whatever there is, whoever blocks.
    fn hand_on_all(&mut self, turn: &Turning<'_>) {
        loop {
            self.take(self.up_to_refusals(BATCH));
            if self.hand_on(BATCH, turn) == 0 {
                return;
            }
        }
    }

    fn count(&mut self) {
        self.blocks = self.subscribers.iter().any(|subscriber| subscriber.blocks());
        self.keeps_aside = self.subscribers.iter().any(|subscriber| subscriber.keeps_aside());
    }

    /// Lets go of those that left.
    fn sweep(&mut self) {
        let mut at = 0;
        while let Some(subscriber) = self.subscribers.get(at) {
            if subscriber.is_open() {
                at += 1;
            } else {
                self.remove(at);
            }
        }
        self.count();
    }

    fn remove(&mut self, at: usize) {
        let gone = self.subscribers.remove(at);
        self.hub.inlet.unlisten();
        self.hub.forget(&gone.mail());
        let_go(gone);
    }
}

impl<T: Signal> Family for FamilyTurns<T> {
    fn turn(&mut self, most: usize, now: Instant, notices: &dyn Fn(BusNotice)) -> FamilyTurn {
        let notices = (!Self::is_of_notices()).then_some(notices);
        let turn = Turning { now, family: T::FAMILY, notices };
        // Before the look at who has room, so that whoever makes some after it is heard.
        self.hub.made_room.take();
        // And before the look for letters: whoever left has posted one by then. One who leaves later is input for the next turn.
        let has_left = self.hub.left.take();
        let (mut room, mut due) = self.room(&turn);
        let most = self.up_to_refusals(most.min(BATCH));
        if self.take(most.min(room)) {
            (room, due) = self.room(&turn);
        }
        let taken = self.hand_on(most.min(room), &turn);
        // Not by one that is full while nothing is to be handed on: what comes next is held up from then on, and there is a moment for its end.
        self.blocked = room == 0 && due.is_some();
        if taken > 0 {
            let _ = self.hub.room.notify_all();
        }
        if has_left {
            self.sweep();
        }
        if self.keeps_aside {
            for subscriber in &mut self.subscribers {
                due = earlier(due, subscriber.look_aside(&turn));
            }
        }
        FamilyTurn { taken, due }
    }

    fn has_input(&self) -> bool {
        let hub = &self.hub;
        (self.depth() > 0 && (!self.blocked || hub.made_room.is_set()))
            || hub.joining.posted() != self.joined
            // While some are owed, others wait until those are told.
            || (self.owed.0 == 0 && hub.inlet.refused() != self.refused)
            || hub.left.is_set()
    }

    fn is_blocked(&self) -> bool {
        self.blocked
    }

    fn close(&mut self) {
        self.hub.inlet.close();
        let _ = self.hub.room.notify_all();
    }

    fn end(&mut self, now: Instant, notices: &dyn Fn(BusNotice)) {
        let notices = (!Self::is_of_notices()).then_some(notices);
        let turn = Turning { now, family: T::FAMILY, notices };
        // I3: before the end, after which publishers that were held up count whatever lies in the queue.
        self.hub.inlet.close();
        self.hand_on_all(&turn);
        self.hub.inlet.end(self.hub.bus.store_load);
        self.subscribers.extend(self.hub.joining.close());
        self.hand_on_all(&turn);
        let _ = self.hub.room.notify_all();
        self.subscribers.drain(..).for_each(|subscriber| {
            subscriber.end();
            let_go(subscriber);
        });
    }
}

pub(crate) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
#[path = "family_tests.rs"]
mod tests;

//! A turn of a main lane that keeps what it applies: with a timeline, a journal, or a check of determinism.
//!
//! A batch is taken out of the lanes, applied, written down, and left to the timeline. With
//! [`Durability::BeforeApply`](crate::main_lane::scribe::Durability) it is written down first: the turn that takes it stages
//! it, and a later one applies it. No turn waits for the disk; one that has to says [`Left::Journal`](crate::Left).

use std::sync::Arc;

use crate::core::{contain, drop_each, let_go};
use crate::main_lane::awaited::Asker;
use crate::main_lane::budget::{Budget, Pace};
use crate::main_lane::entry::{Entry, Fate};
use crate::main_lane::keeping::{Before, Keeping, Request, Staged};
use crate::main_lane::lane_end::LaneEnd;
use crate::main_lane::lanes::{Lanes, Place};
use crate::main_lane::outcome::{Poison, TurnError};
use crate::main_lane::reduce::Reducer;
use crate::main_lane::report::Fault;
use crate::main_lane::scribe::Durability;
use crate::main_lane::turn::MainLane;
use crate::observe::diagnostic::Diagnostic;
use crate::reply::Answer;
use crate::snapshot::Version;
use crate::timeline::ask::{Ask, Change, Rewind, RewindError};
use crate::timeline::history::Unkept;

/// Whether a turn may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Go {
    On,
    /// Nothing can be applied before the journal has made progress.
    Wait,
}

impl<S: Reducer> MainLane<S> {
    /// At the beginning of a turn: lets out what is durable by now.
    #[inline(never)]
    pub(crate) fn begin_kept(&mut self) -> Result<(Go, Option<Version>), TurnError<S::Event>> {
        let Some(keeping) = &mut self.keeping else { return Ok((Go::On, None)) };
        if keeping.has_failed() {
            self.lose_journal()?;
        }
        let Some(keeping) = &mut self.keeping else { return Ok((Go::On, None)) };
        keeping.has_answered = false;
        let visible = keeping.visible_turn();
        while keeping.held_effects.front().is_some_and(|(turn, _)| *turn <= visible) {
            self.applying.effects.pending.extend(keeping.held_effects.pop_front().map(|(_, effect)| effect));
        }
        keeping.release_looks();
        let released = self.publishing.release(visible, &self.hub.core);
        if keeping.is_blocked() {
            self.hub.core.counts.journal_waits.add(1);
            return Ok((Go::Wait, released));
        }
        Ok((Go::On, released))
    }

    /// The journal writes nothing more.
    #[cold]
    fn lose_journal(&mut self) -> Result<(), TurnError<S::Event>> {
        let Some(keeping) = &mut self.keeping else { return Ok(()) };
        let Some(scribe) = &keeping.scribe else { return Ok(()) };
        let (durable, durability) = (scribe.durable(), scribe.durability());
        let message = scribe.failure().unwrap_or_default();
        keeping.failed = true;
        self.hub.core.report(Diagnostic::JournalFailed { durable, reason: message.clone() });
        match durability {
            // Readers see what is not durable anyway: nothing changes for them.
            Durability::Async => Ok(()),
            Durability::BeforePublish | Durability::BeforeApply => {
                Err(self.stop_with(Fault::Journal { message: message.clone() }, TurnError::JournalFailed { message }))
            }
        }
    }

    /// Before anything is applied, with no effects left: makes the change that waited for the journal, and answers what an
    /// earlier turn had no time left for.
    #[inline(never)]
    pub(crate) fn answer_left(&mut self, pace: &Pace) -> Result<Go, TurnError<S::Event>> {
        self.change_staged()?;
        self.answer(pace)?;
        let keeping = self.keeping.as_ref();
        // Also one that is durable already has its turn before the next batch.
        let has_change = keeping.is_some_and(|keeping| matches!(keeping.staged, Some(Staged::Change { .. })));
        Ok(if has_change || self.is_blocked() { Go::Wait } else { Go::On })
    }

    /// Before a look at the lanes: what is visible now is to be applied before the questions that are there are answered.
    #[inline(never)]
    pub(crate) fn await_questions(&mut self) {
        let has_staged = self.has_staged();
        let Some(keeping) = &mut self.keeping else { return };
        if keeping.requests.is_empty() {
            return;
        }
        if keeping.due == 0 {
            keeping.due = keeping.requests.len();
            self.lanes.begin_await(Asker::Past);
        }
        // With one staged there is no look in this turn.
        if !has_staged {
            self.lanes.await_look(Asker::Past, self.open_batch);
        }
    }

    /// Answers what was asked of the timeline, between two batches: one question at least, while there is time.
    #[inline(never)]
    pub(crate) fn answer(&mut self, pace: &Pace) -> Result<(), TurnError<S::Event>> {
        let has_due = self.keeping.as_ref().is_some_and(|keeping| keeping.due > 0);
        // What was taken may wait for the journal, which is seen to for each of them.
        if !has_due || !self.lanes.await_end(Asker::Past, self.open_batch) {
            return Ok(());
        }
        loop {
            let Some(keeping) = &mut self.keeping else { return Ok(()) };
            // A batch is here only while it is staged: all others are left behind in the turn that took them.
            debug_assert!(keeping.batch.is_empty() || keeping.staged.is_some());
            let is_between = keeping.staged.is_none() && !keeping.is_blocked();
            if keeping.due == 0 || !is_between || keeping.has_answered && pace.is_over() {
                return Ok(());
            }
            let Some(request) = keeping.requests.pop_front() else { return Ok(()) };
            keeping.due -= 1;
            keeping.has_answered = true;
            match request {
                Request::StateAt(turn, answer) => keeping.answer_look(turn, answer),
                Request::Rewind(ask, answer) if keeping.history.is_some() => self.rewind(ask, answer)?,
                Request::Rewind(..) => request.refuse(),
            }
        }
    }

    fn rewind(&mut self, ask: Ask, answer: Answer<Result<Rewind, RewindError>>) -> Result<(), TurnError<S::Event>> {
        let turn = self.turns + 1;
        let Some(keeping) = &mut self.keeping else { return Ok(()) };
        let Some(history) = &keeping.history else { return Ok(()) };
        let change = match history.plan(ask) {
            Ok(change) => change,
            Err(error) => {
                answer.give(Err(error));
                return Ok(());
            }
        };
        if keeping.durability() == Durability::BeforeApply
            && let Some(journal) = keeping.journal()
        {
            journal.change(turn, &change);
            journal.submit();
            keeping.staged = Some(Staged::Change { turn, change, answer });
            return Ok(());
        }
        self.change(turn, change, answer, true)
    }

    /// The change that was staged is durable.
    fn change_staged(&mut self) -> Result<(), TurnError<S::Event>> {
        let is_change = |staged: &mut Staged| matches!(staged, Staged::Change { .. });
        match self.keeping.as_mut().and_then(|keeping| keeping.staged.take_if(is_change)) {
            Some(Staged::Change { turn, change, answer }) => self.change(turn, change, answer, false),
            Some(Staged::Batch { .. }) | None => Ok(()),
        }
    }

    fn change(
        &mut self,
        turn: u64,
        change: Change,
        answer: Answer<Result<Rewind, RewindError>>,
        to_record: bool,
    ) -> Result<(), TurnError<S::Event>> {
        let Some(keeping) = &mut self.keeping else { return Ok(()) };
        let Some(history) = &mut keeping.history else { return Ok(()) };
        let (outcome, state) = match history.rewind(&change, turn) {
            Ok((state, rewind)) => (Ok(rewind), Some(state)),
            Err(error) => (Err(error), None),
        };
        // A change that is in the journal has its turn, also when it came to nothing.
        if state.is_some() || !to_record {
            self.turns = turn;
            self.hub.core.counts.turns.add(1);
            // Also when the state is the same: readers see the newest turn in the end.
            self.publishing.changed();
        }
        if state.is_none() && !to_record {
            // Nothing comes or goes.
            let _ = history.keep(turn, &mut Vec::new(), &self.applying.state, false);
            // It is durable, and whoever applies it again is to know what came of it.
            if let (Err(RewindError::Panicked { message, .. }), Some(journal)) = (&outcome, keeping.journal()) {
                journal.quarantine(turn, 0, change.kind.name(), message);
                journal.submit();
            }
        }
        if let Some(state) = state {
            let_go(std::mem::replace(&mut self.applying.state, state));
            let_go(keeping.before.take());
            if to_record && let Some(journal) = keeping.journal() {
                journal.change(turn, &change);
                journal.submit();
            }
        }
        if let Ok(rewind) = &outcome {
            self.hub.core.report(Diagnostic::Rewound(*rewind));
        }
        answer.give(outcome);
        Ok(())
    }

    /// Takes a run of one lane's events below `limit` out.
    #[inline(never)]
    pub(crate) fn take_run_kept(&mut self, place: Place, limit: u64, count: usize) -> usize {
        let Some(keeping) = &mut self.keeping else { return 0 };
        self.lanes.at(place).take_out(limit, count, &mut keeping.batch)
    }

    /// Applies what was taken out, unless it is to be durable first.
    #[inline(never)]
    pub(crate) fn apply_taken(&mut self) {
        let Some(keeping) = &mut self.keeping else { return };
        if keeping.durability() != Durability::BeforeApply {
            keeping.apply(&mut self.applying, &self.hub.core, usize::MAX);
        }
    }

    /// Applies what was cut, or what was staged of it and is durable by now. Returns how many events are done with, and
    /// whether that was all of the cut.
    #[inline(never)]
    pub(crate) fn apply_kept(&mut self, pace: &mut Pace) -> Result<(usize, bool), TurnError<S::Event>> {
        let Some(keeping) = &mut self.keeping else { return Ok((0, true)) };
        if keeping.staged.is_none() && keeping.durability() == Durability::BeforeApply {
            return Ok((0, self.stage(pace)));
        }
        self.begin_batch();
        if self.has_staged() {
            return self.apply_staged(pace);
        }
        let finished = loop {
            let applied = contain(|| {
                if let Some(keeping) = &mut self.keeping {
                    keeping.apply(&mut self.applying, &self.hub.core, usize::MAX);
                }
                self.apply_batch(pace)
            });
            match applied {
                Ok((_, finished)) => break finished,
                Err(message) => self.set_aside(message)?,
            }
        };
        Ok((self.end_batch()?, finished))
    }

    /// Keeps a copy for the check of determinism.
    fn begin_batch(&mut self) {
        let Some(keeping) = &mut self.keeping else { return };
        let Some(check) = &keeping.check else { return };
        let pending = self.applying.effects.pending.len();
        if let Some(before) = &mut keeping.before {
            before.pending = pending;
        } else if keeping.applied == 0 && !keeping.uncopied {
            match contain(|| check.copy(&self.applying.state)) {
                Ok(Ok(state)) => keeping.before = Some(Before { state, asked: 0, pending }),
                Ok(Err(what)) | Err(what) => {
                    keeping.uncopied = true;
                    let turn = self.turns + 1;
                    self.hub.core.report(Diagnostic::Nondeterministic { turn, kind: None, what });
                }
            }
        }
    }

    /// Hands a batch to the journal, to be applied when it is durable. True if there was none, and nothing is left.
    fn stage(&mut self, pace: &mut Pace) -> bool {
        let settled = self.settled;
        let (_, finished) = self.apply_batch(pace);
        let settled = std::mem::replace(&mut self.settled, settled);
        let turn = self.turns + 1;
        let Some(keeping) = &mut self.keeping else { return true };
        let is_empty = keeping.batch.is_empty();
        if is_empty {
            self.settled = settled;
        } else {
            if let Some(scribe) = &mut keeping.scribe {
                scribe.record(turn, &keeping.batch);
                scribe.submit();
            }
            keeping.staged = Some(Staged::Batch { turn, finished, settled });
        }
        self.count();
        is_empty && finished
    }

    fn apply_staged(&mut self, pace: &mut Pace) -> Result<(usize, bool), TurnError<S::Event>> {
        loop {
            let Some(keeping) = &mut self.keeping else { return Ok((0, true)) };
            if keeping.applied == keeping.batch.len() {
                break;
            }
            let allowance = pace.allowance();
            if allowance == 0 {
                if let Some(before) = &mut keeping.before {
                    before.asked += self.applying.effects.pending.len() - before.pending;
                }
                return Ok((0, false));
            }
            let begin = keeping.applied;
            let applied = contain(|| keeping.apply(&mut self.applying, &self.hub.core, allowance));
            // Also of one that panicked, and is the last of these.
            pace.spend(match &applied {
                Ok(applied) => *applied,
                Err(_) => keeping.applied + 1 - begin,
            });
            if let Err(message) = applied {
                self.set_aside(message)?;
            }
        }
        let Some(Staged::Batch { finished, settled, .. }) =
            self.keeping.as_ref().and_then(|keeping| keeping.staged.as_ref())
        else {
            return Ok((0, true));
        };
        let (finished, settled) = (*finished, *settled);
        let events = self.end_batch()?;
        self.settled = settled;
        Ok((events, finished))
    }

    /// True when a batch is applied in part.
    pub(crate) fn is_partial(&self) -> bool {
        self.keeping.as_ref().is_some_and(|keeping| keeping.applied > 0)
    }

    /// True when there is a batch that the journal has, and that is to be applied.
    pub(crate) fn has_staged(&self) -> bool {
        self.keeping.as_ref().is_some_and(|keeping| matches!(keeping.staged, Some(Staged::Batch { .. })))
    }

    pub(crate) fn is_blocked(&self) -> bool {
        self.keeping.as_ref().is_some_and(|keeping| keeping.is_blocked())
    }

    /// The reducer panicked on the event of the batch that is next: rolls it back and goes on behind it.
    #[cold]
    fn set_aside(&mut self, message: String) -> Result<(), TurnError<S::Event>> {
        let by_reducer = self.applying.forget_event();
        let Some(keeping) = &mut self.keeping else { return Ok(()) };
        if !by_reducer {
            return Err(self.stop_kept(None, message));
        }
        let flight = &mut self.applying.flight;
        let _ = contain(|| flight.note_panicked(&keeping.batch[keeping.applied].0.envelope()));
        if self.applying.misrouted.is_some() {
            // The state was left alone: there is nothing to roll back, and the host wants it to stop here.
            let at = keeping.applied;
            return Err(self.stop_kept(Some(at), message));
        }
        match keeping.roll_back() {
            Ok(state) => {
                // Half-way through an event, its drop may well panic.
                let_go(std::mem::replace(&mut self.applying.state, state));
                let at = keeping.applied;
                keeping.batch[at].1 = Fate::Refused;
                keeping.poisoned.push((at, message));
                keeping.applied += 1;
                Ok(())
            }
            Err(_) => {
                let at = keeping.applied;
                Err(self.stop_kept(Some(at), message))
            }
        }
    }

    /// Nothing can go on. What was applied before is written down; `poison` is the place of the event.
    #[cold]
    fn stop_kept(&mut self, poison: Option<usize>, message: String) -> TurnError<S::Event> {
        let turn = self.turns + 1;
        let Some(keeping) = &mut self.keeping else { return TurnError::Stopped };
        let staged = keeping.staged.take().is_some();
        let kind = poison.map(|at| keeping.batch[at].0.kind());
        let applied = keeping.applied;
        if let Some(scribe) = keeping.scribe.as_mut().filter(|_| !keeping.failed) {
            if !staged && applied > 0 {
                scribe.record(turn, &keeping.batch[..applied]);
            }
            for (at, message) in std::mem::take(&mut keeping.poisoned) {
                scribe.quarantine(turn, at, keeping.batch[at].0.kind(), &message);
            }
            // In the order of their places.
            if let (true, Some(at), Some(kind)) = (staged, poison, kind) {
                scribe.quarantine(turn, at, kind, &message);
            }
            scribe.submit();
        }
        let entry = poison.map(|at| keeping.batch.remove(at).0);
        self.done(entry.as_ref());
        if applied > 0 || staged {
            self.turns = turn;
        }
        self.reconcile_last();
        match entry {
            Some(entry) => {
                let name = self.lane_name(&entry);
                self.stop_on(Poison::new(entry, name, turn, message))
            }
            None => self.stop_with(Fault::EventDrop { message: message.clone() }, TurnError::DropPanicked { message }),
        }
    }

    /// There will be no other turn to run them in.
    #[cold]
    fn reconcile_last(&mut self) {
        // With `BeforeApply` all of the batch is durable.
        if self.keeping.as_ref().is_some_and(|keeping| keeping.durability() != Durability::BeforePublish) {
            self.reconcile(&Pace::new(Budget::UNLIMITED));
        }
    }

    /// The batch is applied: it is written down, and left to the timeline. Returns how many events it had.
    fn end_batch(&mut self) -> Result<usize, TurnError<S::Event>> {
        let turn = self.turns + 1;
        let Some(keeping) = &mut self.keeping else { return Ok(0) };
        let events = keeping.batch.len();
        if events == 0 {
            // A copy for the check stays for the next turn: where it takes all of a budget, nothing would ever be applied.
            return Ok(0);
        }
        let staged = keeping.staged.take().is_some();
        let effects = self.applying.effects.pending.len();
        if let Some((kind, what)) = keeping.differs(&self.applying.state, effects) {
            self.hub.core.report(Diagnostic::Nondeterministic { turn, kind, what });
        }
        let hold = keeping.durability() == Durability::BeforePublish;
        if let Some(scribe) = keeping.scribe.as_mut().filter(|_| !keeping.failed) {
            if !staged {
                scribe.record(turn, &keeping.batch);
            }
            for (at, message) in &keeping.poisoned {
                scribe.quarantine(turn, *at, keeping.batch[*at].0.kind(), message);
            }
        }
        if hold {
            let effects = self.applying.effects.pending.drain(..);
            keeping.held_effects.extend(effects.map(|effect| (turn, effect)));
        }
        self.done(None);
        if let Some(Keeping { history: Some(history), batch, .. }) = self.keeping.as_deref_mut()
            // While all of it is there.
            && let Err(message) = contain(|| history.look(turn, batch))
        {
            return Err(
                self.stop_with(Fault::EventDrop { message: message.clone() }, TurnError::DropPanicked { message })
            );
        }
        self.leave_poisoned(turn);
        self.leave_batch(turn)?;
        Ok(events)
    }

    /// Counts what became of the batch: what is behind `applied` in it is still in flight, and `poison` was not applied.
    fn done(&mut self, poison: Option<&Entry<S::Event>>) {
        let Some(keeping) = &self.keeping else { return };
        let (done, left) = keeping.batch.split_at(keeping.applied);
        let plain = left.is_empty() && poison.is_none() && done.iter().all(|(_, fate)| *fate == Fate::Applied);
        let Lanes { unclocked, clocked, .. } = &mut self.lanes;
        for lane in unclocked.iter_mut().chain(clocked) {
            let of_lane = |(entry, _): &&(Entry<_>, Fate)| entry.lane == lane.id;
            let (refused, left) = if plain {
                (0, 0)
            } else {
                let refused = done.iter().filter(|(_, fate)| *fate == Fate::Refused).filter(of_lane).count();
                let poison = usize::from(poison.is_some_and(|entry| entry.lane == lane.id));
                (refused + poison, left.iter().filter(of_lane).count())
            };
            lane.done(refused as u64, left as u64);
            lane.count();
        }
    }

    /// Hands what was set aside to whoever asks for it.
    fn leave_poisoned(&mut self, turn: u64) {
        let Some(keeping) = &mut self.keeping else { return };
        let (places, messages): (Vec<_>, Vec<_>) = std::mem::take(&mut keeping.poisoned).into_iter().unzip();
        let marked = !places.is_empty();
        let (mut all, mut next) = (0.., places.into_iter().peekable());
        let is_poison = |_: &mut _| next.next_if_eq(&all.next().unwrap_or_default()).is_some();
        let aside: Vec<_> = if marked { keeping.batch.extract_if(.., is_poison).collect() } else { Vec::new() };
        for ((entry, _), message) in aside.into_iter().zip(messages) {
            let (lane, kind, lane_name) = (entry.lane, entry.kind(), self.lane_name(&entry));
            let kept = self.hub.quarantine.add(Poison::new(entry, lane_name, turn, message.clone()));
            self.hub.core.report(Diagnostic::Quarantined { lane, kind, turn, message, kept });
        }
        if let Some(keeping) = &mut self.keeping {
            keeping.marked = marked;
        }
    }

    fn leave_batch(&mut self, turn: u64) -> Result<(), TurnError<S::Event>> {
        let Some(keeping) = &mut self.keeping else { return Ok(()) };
        (keeping.applied, keeping.uncopied) = (0, false);
        let Keeping { history, scribe, failed, batch, marked, safe, before, .. } = &mut **keeping;
        let (state, operations) = (&self.applying.state, &self.applying.operations);
        let_go(safe.take());
        let_go(before.take());
        let mut left = match history {
            Some(history) => contain(|| history.take(turn, batch, state, *marked)).map_err(Unkept::Dropped).flatten(),
            None => drop_each(batch.drain(..)).map_err(Unkept::Dropped),
        };
        if let Some(scribe) = scribe.as_mut().filter(|_| !*failed) {
            if left.is_ok() && scribe.is_checkpoint_due() {
                let oldest = history.as_ref().map_or(turn, |history| history.base_turn());
                left = contain(|| scribe.checkpoint(turn, state, operations, oldest)).map_err(Unkept::Copied);
            }
            // Also of a last batch.
            scribe.submit();
        }
        let Err(unkept) = left else { return Ok(()) };
        self.turns = turn;
        self.reconcile_last();
        Err(match unkept {
            Unkept::Dropped(message) => {
                self.stop_with(Fault::EventDrop { message: message.clone() }, TurnError::DropPanicked { message })
            }
            Unkept::Copied(message) => {
                self.stop_with(Fault::Snapshot { message: message.clone() }, TurnError::SnapshotPanicked { message })
            }
        })
    }

    fn lane_name(&self, entry: &Entry<S::Event>) -> Arc<str> {
        let Lanes { unclocked, clocked, .. } = &self.lanes;
        let mut lanes = unclocked.iter().chain(clocked);
        let is_its = |lane: &&LaneEnd<S::Event>| lane.id == entry.lane;
        lanes.find(is_its).map_or_else(|| Arc::from(""), |lane| lane.name.clone())
    }

    /// What there would be to do for a main lane that waits for its journal.
    pub(crate) fn has_progress(&self) -> bool {
        let Some(keeping) = &self.keeping else { return false };
        let visible = keeping.visible_turn();
        keeping.has_failed()
            || self.publishing.held().is_some_and(|turn| turn <= visible)
            || keeping.held_effects.front().is_some_and(|(turn, _)| *turn <= visible)
            || keeping.held_looks.iter().any(|look| look.turn <= visible)
            || !keeping.is_blocked() && (keeping.staged.is_some() || !keeping.requests.is_empty())
    }

    /// True when everything is durable and visible, as far as it ever will be.
    pub(crate) fn is_settled_for_good(&self) -> bool {
        let Some(keeping) = &self.keeping else { return true };
        let durable = keeping.scribe.as_ref().is_none_or(|scribe| keeping.failed || scribe.durable() >= self.turns);
        durable && !keeping.is_busy() && self.publishing.held().is_none()
    }
}

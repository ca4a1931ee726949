//! What was said and shown in a life, held against what its journal comes to.

use std::collections::BTreeSet;

use mainlane::journal::Durability;
use mainlane::{OperationId, Origin, Rewind, RewindError, RewindKind, TimelineError};

use super::disk::Kept;
use super::twin::{Op, Outcome, Twin, unmarked};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    Undo(Origin),
    Redo(Origin),
    UndoOperation(OperationId),
    RedoOperation(OperationId),
    Look(u64),
}

#[derive(Clone, Debug)]
pub(super) enum Said {
    Rewound(Result<Rewind, RewindError>),
    /// The hash of the state.
    Looked(Result<u64, TimelineError>),
    /// Nobody answered.
    Nothing,
}

/// A question and its answer.
#[derive(Clone, Debug)]
pub(super) struct Answered {
    pub(super) question: Question,
    /// How many critical events had been accepted when it was asked.
    pub(super) pushed: usize,
    /// It was answered after one of these turns.
    pub(super) from: u64,
    pub(super) to: u64,
    /// What was durable right after.
    pub(super) durable: u64,
    pub(super) said: Said,
}

/// A state that somebody saw.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown {
    pub(super) turn: u64,
    pub(super) hash: u64,
    /// What was durable right after.
    pub(super) durable: u64,
}

/// The window of a timeline, and how often it has a checkpoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) events: usize,
    pub(super) every: usize,
    /// The turn with which it begins.
    pub(super) base: u64,
}

/// What there is to say of a life.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) durability: Durability,
    pub(super) window: Option<Window>,
    pub(super) began: u64,
    /// Critical events: which lane accepted which number.
    pub(super) accepted: Vec<(usize, u32)>,
    pub(super) returned: Vec<u32>,
    pub(super) answered: Vec<Answered>,
    /// Turns and the hashes of their states, on the main lane.
    pub(super) applied: Vec<(u64, u64)>,
    pub(super) shown: Vec<Shown>,
    /// What had been accepted when readers asked, and the turn of what they had when everything had come to rest.
    pub(super) requested: Vec<(usize, u64)>,
    /// Numbers of effects, and what was durable as they were run.
    pub(super) effects: Vec<(u32, u64)>,
    pub(super) poison: Option<u32>,
    pub(super) complete: bool,
    /// There was time for every answer.
    pub(super) answers: bool,
    /// The journal has failed.
    pub(super) failed: bool,
}

impl Told {
    /// # Errors
    /// When something was said that is not so.
    pub(super) fn judge(&self, kept: &Kept) -> Result<Twin, String> {
        let mut twin = Twin::new();
        let mut open: Vec<_> = self.answered.iter().map(|answered| (answered, Vec::new())).collect();
        for record in std::iter::once(None).chain(kept.all.iter().map(Some)) {
            if let Some(record) = record {
                twin.take(record)?;
            }
            let turn = twin.turn();
            if turn >= self.began {
                // It has to be right after one of those turns.
                open.retain_mut(|(answered, wrong)| {
                    let is_near = answered.from <= turn && turn <= answered.to;
                    !is_near || self.is_right(&twin, answered).inspect_err(|why| wrong.push(why.clone())).is_err()
                });
            }
        }
        let newest = twin.turn();
        if let Some((answered, wrong)) = open.iter().find(|(answered, _)| answered.to <= newest) {
            return Err(format!("{answered:?}: {wrong:?}"));
        }
        self.marks(&twin, kept)?;
        self.states(&twin)?;
        self.events(&twin)?;
        self.effects(&twin)?;
        self.kept(&twin, kept)?;
        Ok(twin)
    }

    fn marks(&self, twin: &Twin, kept: &Kept) -> Result<(), String> {
        let (unmarked, wrong) = unmarked(&twin.poisoned, &kept.marks);
        // That of the last turn may not have come to the disk any more.
        let is_whole = self.complete && !self.failed;
        let missing: Vec<_> = unmarked.iter().filter(|(turn, _)| is_whole || *turn < twin.turn()).collect();
        if !missing.is_empty() || !wrong.is_empty() {
            return Err(format!(
                "set aside and not written down {missing:?}, written down and not set aside {wrong:?}"
            ));
        }
        Ok(())
    }

    fn states(&self, twin: &Twin) -> Result<(), String> {
        let newest = twin.turn();
        if self.complete && self.applied.last().is_some_and(|(turn, _)| *turn > newest) {
            return Err(format!("complete, and turn {newest} is the last of {:?}", self.applied.last()));
        }
        for &(turn, hash) in self.applied.iter().filter(|(turn, _)| *turn <= newest) {
            if twin.states[turn as usize].hash() != hash {
                return Err(format!("the main lane's state after turn {turn} is not the twin's"));
            }
        }
        for shown in self.shown.iter().filter(|shown| shown.turn <= newest) {
            if twin.states[shown.turn as usize].hash() != shown.hash {
                return Err(format!("what was shown of turn {} is not the twin's", shown.turn));
            }
        }
        let early = self.shown.iter().find(|shown| shown.turn > shown.durable);
        match early.filter(|_| self.durability != Durability::Async) {
            Some(shown) => Err(format!("{shown:?} before it was durable")),
            None => Ok(()),
        }
    }

    fn events(&self, twin: &Twin) -> Result<(), String> {
        let newest = twin.turn();
        if let Some(number) = self.returned.iter().find(|number| twin.placed.contains_key(number)) {
            return Err(format!("event {number} was returned, and applied"));
        }
        let lanes: BTreeSet<_> = self.accepted.iter().map(|(lane, _)| *lane).collect();
        for lane in lanes {
            let (mut last, mut missing) = ((0, 0), None);
            for &(_, number) in self.accepted.iter().filter(|(of, number)| *of == lane && Some(*number) != self.poison)
            {
                match (twin.placed.get(&number), missing) {
                    (Some(_), Some(missing)) => {
                        return Err(format!("event {number} is there, and event {missing} is not, which came before"));
                    }
                    (Some(place), None) if *place <= last => {
                        return Err(format!("event {number} is at {place:?}, which is not after {last:?}"));
                    }
                    (Some(place), None) => last = *place,
                    (None, _) if self.complete => return Err(format!("event {number} was accepted, and is lost")),
                    (None, _) => missing = Some(number),
                }
            }
        }
        for &(pushed, turn) in self.requested.iter().filter(|(_, turn)| *turn <= newest) {
            self.are_in(twin, pushed, turn)
                .map_err(|wrong| format!("a request was answered by turn {turn}: {wrong}"))?;
        }
        Ok(())
    }

    /// Everything that was accepted first is in turns up to `turn`.
    fn are_in(&self, twin: &Twin, pushed: usize, turn: u64) -> Result<(), String> {
        let is_late = |number| twin.placed.get(number).is_none_or(|(placed, _)| *placed > turn);
        let mut numbers = self.accepted[..pushed].iter().map(|(_, number)| number);
        match numbers.find(|number| Some(**number) != self.poison && is_late(*number)) {
            Some(late) => Err(format!("event {late} came before it, and is not in turn {turn} or before")),
            None => Ok(()),
        }
    }

    fn effects(&self, twin: &Twin) -> Result<(), String> {
        let asked: Vec<_> = twin.asked.iter().filter(|(turn, _)| *turn > self.began).collect();
        if self.complete && self.effects.len() != asked.len() {
            return Err(format!("{} effects were asked for, and {} run", asked.len(), self.effects.len()));
        }
        for (at, &(number, durable)) in self.effects.iter().enumerate() {
            match asked.get(at) {
                Some((_, expected)) if *expected != number => {
                    return Err(format!("effect {at} is that of event {number}, and not of {expected}"));
                }
                Some((turn, _)) if self.durability != Durability::Async && *turn > durable => {
                    return Err(format!(
                        "the effect of event {number} of turn {turn} was run when {durable} was durable"
                    ));
                }
                None if self.durability != Durability::Async => {
                    return Err(format!("the effect of event {number} was run, which is in no turn"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What can be undone for sure can be after a recovery.
    fn kept(&self, twin: &Twin, kept: &Kept) -> Result<(), String> {
        let Some(Window { events, base, .. }) = self.window else { return Ok(()) };
        let oldest = kept.bases().first().copied().ok_or("there is no checkpoint to begin with")?;
        if oldest > base && twin.count_after(oldest) < events {
            let count = twin.count_after(oldest);
            return Err(format!(
                "a window of {events} since turn {base}, and {count} after {oldest}, where it can begin"
            ));
        }
        Ok(())
    }

    /// Whether that can be said after the twin's newest turn.
    fn is_right(&self, twin: &Twin, answered: &Answered) -> Result<(), String> {
        let Answered { question, pushed, ref said, .. } = *answered;
        if let Said::Nothing = said {
            return if self.answers { Err("nobody answered".into()) } else { Ok(()) };
        }
        let Some(window) = self.window else {
            return match said {
                Said::Rewound(Err(RewindError::NoTimeline)) | Said::Looked(Err(TimelineError::NoTimeline)) => Ok(()),
                _ => Err("there is no timeline".into()),
            };
        };
        self.are_in(twin, pushed, twin.turn())?;
        if let (Question::Look(turn), Said::Looked(Ok(_))) = (question, said) {
            is(turn <= answered.durable || self.durability == Durability::Async, "it was not durable")?;
        }
        let view = View { twin, window };
        match (question, said) {
            (Question::Look(turn), Said::Looked(looked)) => view.looked(turn, looked),
            (Question::Undo(origin), Said::Rewound(rewound)) => view.undone(origin, rewound),
            (Question::Redo(origin), Said::Rewound(rewound)) => view.redone(origin, rewound),
            (Question::UndoOperation(id), Said::Rewound(rewound)) => view.changed(RewindKind::Undo, id, rewound),
            (Question::RedoOperation(id), Said::Rewound(rewound)) => view.changed(RewindKind::Redo, id, rewound),
            _ => Err("no answer to that question".into()),
        }
    }
}

/// What a timeline knows for sure, and what it may know.
struct View<'a> {
    twin: &'a Twin,
    window: Window,
}

type Rewound = Result<Rewind, RewindError>;

impl View<'_> {
    /// Something of it came since the timeline began.
    fn is_known(&self, op: &Op) -> bool {
        op.newest > self.window.base
    }

    fn is_certain(&self, op: &Op) -> bool {
        let (turn, place) = op.first;
        op.whole
            && self.has_seen_beginning(op)
            && turn > self.window.base
            && self.twin.count() - place <= self.window.events
    }

    fn is_impossible(&self, op: &Op) -> bool {
        let (turn, place) = op.first;
        let Window { events, every, base } = self.window;
        !op.whole || turn <= base || self.twin.count() - place >= events + every + self.twin.largest
    }

    /// Of what was refused before the timeline began it knows only that there was something.
    fn has_seen_beginning(&self, op: &Op) -> bool {
        op.in_vain.is_none_or(|turn| turn > self.window.base)
    }

    fn began_before(&self, op: &Op) -> bool {
        op.first.0 <= self.window.base
    }

    fn changed(&self, kind: RewindKind, id: OperationId, said: &Rewound) -> Result<(), String> {
        let Some(op) = self.twin.ops.get(&id.0).filter(|op| self.is_known(op)) else {
            return is(matches!(said, Err(RewindError::Unknown { operation }) if *operation == id), "it is unknown");
        };
        let not_now = op.undone.is_some() == (kind == RewindKind::Undo);
        match said {
            Err(RewindError::NotNow { operation, .. }) if *operation == id => {
                is(not_now || self.began_before(op), "it can be, now")
            }
            Err(RewindError::Open { operation }) if *operation == id => {
                is(!not_now && op.ended.is_none() && !self.is_impossible(op), "it has ended, or is beyond the window")
            }
            Err(RewindError::BeyondWindow { operation, oldest }) if *operation == id => {
                is(!not_now || self.began_before(op), "it is not for now, whatever the window")?;
                is(!self.is_certain(op), "it is in the window as a whole")?;
                let is_whole = op.whole && self.has_seen_beginning(op);
                is(!is_whole || op.first.0 < *oldest, "it began later than that")
            }
            Ok(_) | Err(RewindError::Panicked { .. }) => {
                is(!not_now && op.ended.is_some(), "it cannot be, now")?;
                self.is_made(kind, id, op, said)
            }
            Err(_) => Err("that is no reason".into()),
        }
    }

    fn is_made(&self, kind: RewindKind, id: OperationId, op: &Op, said: &Rewound) -> Result<(), String> {
        is(!self.is_impossible(op), "it is beyond the window")?;
        match (self.twin.outcome(kind, id), said) {
            (None, Err(RewindError::Panicked { operation, .. })) => is(*operation == id, "another operation"),
            (Some(Outcome { events, .. }), Ok(rewind)) => {
                is(rewind.kind == kind && rewind.operation == id, "another change")?;
                is(rewind.turn == self.twin.turn() + 1, "another turn")?;
                is(rewind.reaches == op.first.0, "it reaches back to another turn")?;
                is(rewind.events == events, "there are not so many events")
            }
            (outcome, _) => Err(format!("it comes to {}", if outcome.is_some() { "something" } else { "nothing" })),
        }
    }

    fn ops(&self, owner: Origin) -> impl Iterator<Item = (OperationId, &Op)> {
        let known = self.twin.ops.iter().filter(move |(_, op)| self.is_known(op) && op.owner == owner);
        known.map(|(id, op)| (OperationId(*id), op))
    }

    /// Whether it may be said of an operation that it is the one, and out of reach.
    fn is_beyond(&self, said: &Rewound, which: Option<(OperationId, &Op)>) -> bool {
        let Err(RewindError::BeyondWindow { operation, .. }) = said else { return false };
        let is_old = |op: &Op| self.is_known(op) && self.began_before(op);
        // Whose those are that began before the timeline did is for the timeline to guess.
        self.twin.ops.get(&operation.0).is_some_and(is_old)
            || which.is_some_and(|(id, op)| id == *operation && !self.is_certain(op))
    }

    fn undone(&self, origin: Origin, said: &Rewound) -> Result<(), String> {
        let standing = |(_, op): &(OperationId, &Op)| op.undone.is_none() && op.ended.is_some();
        let best = |old| {
            let of_age = self.ops(origin).filter(|(_, op)| self.began_before(op) == old).filter(standing);
            of_age.max_by_key(|(_, op)| op.ended)
        };
        let (newest, older) = (best(false), best(true));
        if self.is_beyond(said, newest) {
            return Ok(());
        }
        let Some((id, op)) = newest else {
            let nothing =
                matches!(said, Err(RewindError::Nothing { kind: RewindKind::Undo, origin: of }) if *of == origin);
            return is(nothing, "there is nothing to undo");
        };
        if let Some((_, older)) = older {
            is(older.ended < op.ended || older.mixed, "one that is beyond the window ended later")?;
        }
        self.is_made(RewindKind::Undo, id, op, said)
    }

    fn redone(&self, origin: Origin, said: &Rewound) -> Result<(), String> {
        let undone = self.ops(origin).filter(|(_, op)| !self.began_before(op) && op.undone.is_some());
        let newest = undone.max_by_key(|(_, op)| op.undone);
        let is_later = |op: &Op, turn: Option<u64>| op.ended.map(|(ended, _)| ended) > turn;
        let newest = newest.filter(|(_, last)| {
            !self.ops(origin).any(|(_, op)| !(self.began_before(op) && op.mixed) && is_later(op, last.undone))
        });
        if self.is_beyond(said, newest) {
            return Ok(());
        }
        let nothing = matches!(said, Err(RewindError::Nothing { kind: RewindKind::Redo, origin: of }) if *of == origin);
        let Some((id, op)) = newest else { return is(nothing, "there is nothing to redo") };
        // Of another's that began before the timeline did it may think that it is this one's.
        let guess =
            self.twin.ops.values().any(|other| {
                self.is_known(other) && self.began_before(other) && other.mixed && is_later(other, op.undone)
            });
        if nothing && guess {
            return Ok(());
        }
        self.is_made(RewindKind::Redo, id, op, said)
    }

    fn looked(&self, turn: u64, said: &Result<u64, TimelineError>) -> Result<(), String> {
        let (now, Window { events, base, .. }) = (self.twin.turn(), self.window);
        match said {
            Err(TimelineError::NotYet { newest }) => is(*newest == now && turn > now, "it is there"),
            Err(TimelineError::BeyondWindow { oldest }) => {
                is(turn < *oldest, "it is not older than that")?;
                let is_lost = |op: &Op| op.changed > Some(turn) && !self.is_certain(op);
                let is_lost = self.twin.ops.values().any(is_lost);
                // The window may begin behind turns that applied nothing.
                let certain = turn >= base && self.twin.count_after(turn) < events && !is_lost;
                is(!certain, "it is in the window")
            }
            Ok(hash) => {
                is(turn <= now && turn >= base, "nobody can know that")?;
                let kept_max = events + self.window.every + self.twin.largest;
                is(self.twin.count_after(turn) < kept_max, "more is kept than there is to be")?;
                is(self.twin.states[turn as usize].hash() == *hash, "it was another state")
            }
            Err(_) => Err("that is no reason".into()),
        }
    }
}

fn is(right: bool, wrong: &str) -> Result<(), String> {
    if right { Ok(()) } else { Err(wrong.to_owned()) }
}

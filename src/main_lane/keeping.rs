//! What a main lane has in hand when it keeps what it applies: for a timeline, a journal, a check of determinism.
//!
//! Without any of these events are applied in place, in their lanes' slots. With one, they are taken out first, as a batch,
//! and are the timeline's or nobody's afterwards.

use std::collections::VecDeque;

use crate::clock::Stamp;
use crate::core::{contain, drop_each, let_go};
use crate::main_lane::apply::Applying;
use crate::main_lane::entry::{Entry, Fate};
use crate::main_lane::outcome::Left;
use crate::main_lane::reduce::{Effects, Reducer};
use crate::main_lane::scribe::{Check, Durability, Scribe};
use crate::reply::Answer;
use crate::timeline::ask::{Ask, Change, Rewind, RewindError, TimelineError};
use crate::timeline::history::History;

pub(crate) struct Keeping<S: Reducer> {
    pub(crate) history: Option<History<S>>,
    pub(crate) scribe: Option<Box<dyn Scribe<S>>>,
    pub(crate) check: Option<Box<dyn Check<S>>>,
    /// The journal has failed, which was reported.
    pub(crate) failed: bool,
    pub(crate) batch: Vec<(Entry<S::Event>, Fate)>,
    /// How many of the batch are done with.
    pub(crate) applied: usize,
    /// What of the batch was set aside: place and message.
    pub(crate) poisoned: Vec<(usize, String)>,
    /// Something of the last batch was set aside: a checkpoint behind it saves the next rollback the way.
    pub(crate) marked: bool,
    /// A state that was rolled back to, and how many of the batch are in it.
    pub(crate) safe: Option<(usize, S)>,
    /// For the check, how things were before the batch.
    pub(crate) before: Option<Before<S>>,
    /// There is no copy of that, which was said. Trying again could take each turn's whole time.
    pub(crate) uncopied: bool,
    /// Is with the journal and not done before it is durable.
    pub(crate) staged: Option<Staged>,
    /// Effects of turns that are not durable, each with its turn.
    pub(crate) held_effects: VecDeque<(u64, S::Effect)>,
    pub(crate) requests: VecDeque<Request<S>>,
    /// How many of them are answered when what was pushed before them is applied. Those behind came too late for that.
    pub(crate) due: usize,
    /// One was answered in this turn.
    pub(crate) has_answered: bool,
    /// States that were asked for of turns that are not durable.
    pub(crate) held_looks: Vec<Look<S>>,
}

/// The state after a turn, and who asked for it.
pub(crate) struct Look<S> {
    pub(crate) turn: u64,
    pub(crate) state: S,
    pub(crate) answer: Answer<Result<S, TimelineError>>,
}

/// How things were before a batch, to apply it a second time.
pub(crate) struct Before<S> {
    pub(crate) state: S,
    /// How many effects earlier parts of the batch asked for: they may have been run meanwhile.
    pub(crate) asked: usize,
    /// How many waited to be run before this part.
    pub(crate) pending: usize,
}

/// What waits to be durable.
pub(crate) enum Staged {
    Batch {
        turn: u64,
        /// It is all that the cut had.
        finished: bool,
        /// The bound below which everything is applied then.
        settled: Stamp,
    },
    Change {
        turn: u64,
        change: Change,
        answer: Answer<Result<Rewind, RewindError>>,
    },
}

/// A question to the main lane.
pub(crate) enum Request<S: Reducer> {
    Rewind(Ask, Answer<Result<Rewind, RewindError>>),
    StateAt(u64, Answer<Result<S, TimelineError>>),
}

impl Staged {
    pub(crate) fn turn(&self) -> u64 {
        match self {
            Staged::Batch { turn, .. } | Staged::Change { turn, .. } => *turn,
        }
    }
}

impl<S: Reducer> Request<S> {
    /// To a pipeline that keeps nothing.
    pub(crate) fn refuse(self) {
        match self {
            Request::Rewind(_, answer) => answer.give(Err(RewindError::NoTimeline)),
            Request::StateAt(_, answer) => answer.give(Err(TimelineError::NoTimeline)),
        }
    }
}

impl<S: Reducer> Keeping<S> {
    pub(crate) fn new(
        history: Option<History<S>>,
        scribe: Option<Box<dyn Scribe<S>>>,
        check: Option<Box<dyn Check<S>>>,
    ) -> Self {
        Self {
            history,
            scribe,
            check,
            failed: false,
            batch: Vec::new(),
            applied: 0,
            poisoned: Vec::new(),
            marked: false,
            safe: None,
            before: None,
            uncopied: false,
            staged: None,
            held_effects: VecDeque::new(),
            requests: VecDeque::new(),
            due: 0,
            has_answered: false,
            held_looks: Vec::new(),
        }
    }

    /// The journal, while it works.
    pub(crate) fn journal(&mut self) -> Option<&mut Box<dyn Scribe<S>>> {
        if self.failed { None } else { self.scribe.as_mut() }
    }

    /// What may be seen before it is durable.
    pub(crate) fn durability(&self) -> Durability {
        match &self.scribe {
            Some(scribe) if !self.failed => scribe.durability(),
            Some(_) | None => Durability::Async,
        }
    }

    /// The newest turn that may be seen.
    pub(crate) fn visible_turn(&self) -> u64 {
        match &self.scribe {
            Some(scribe) if self.durability() != Durability::Async => scribe.durable(),
            Some(_) | None => u64::MAX,
        }
    }

    /// True when nothing can be taken or applied before the journal has made progress.
    pub(crate) fn is_blocked(&self) -> bool {
        let Some(scribe) = self.scribe.as_ref().filter(|_| !self.failed) else { return false };
        match &self.staged {
            Some(staged) => scribe.durable() < staged.turn(),
            None => !scribe.has_room(),
        }
    }

    /// What a turn has to say of it, if anything.
    pub(crate) fn left(&self) -> Option<Left> {
        match self.is_blocked() {
            true => Some(Left::Journal),
            false => (self.staged.is_some() || !self.requests.is_empty()).then_some(Left::More),
        }
    }

    /// True when the journal has failed and nobody was told.
    pub(crate) fn has_failed(&self) -> bool {
        !self.failed && self.scribe.as_ref().is_some_and(|scribe| scribe.failure().is_some())
    }

    /// Nothing will be answered any more: whoever asked is let go.
    pub(crate) fn let_go(&mut self) {
        self.staged.take_if(|staged| matches!(staged, Staged::Change { .. }));
        self.requests.clear();
        self.due = 0;
        let _ = drop_each(self.held_looks.drain(..));
    }

    /// Drops what is the host's.
    pub(crate) fn let_go_of_all(self) {
        let Self { history, batch, safe, before, held_effects, held_looks, .. } = self;
        let _ = drop_each(batch).and(drop_each(held_effects)).and(drop_each(held_looks));
        let_go(safe);
        let_go(before);
        if let Some(history) = history {
            history.let_go();
        }
    }

    /// Answers a look back, when its turn may be seen.
    pub(crate) fn answer_look(&mut self, turn: u64, answer: Answer<Result<S, TimelineError>>) {
        let visible = self.visible_turn();
        let looked = self.history.as_ref().map_or(Err(TimelineError::NoTimeline), |history| history.state_at(turn));
        match looked {
            Ok(state) if turn > visible => self.held_looks.push(Look { turn, state, answer }),
            // What nobody waits for any more is dropped here, and is the host's.
            looked => drop(contain(|| answer.give(looked))),
        }
    }

    /// Answers those whose turn may be seen by now.
    pub(crate) fn release_looks(&mut self) {
        let visible = self.visible_turn();
        for Look { state, answer, .. } in self.held_looks.extract_if(.., |look| look.turn <= visible) {
            let _ = contain(|| answer.give(Ok(state)));
        }
    }

    /// True when a batch is not done with, or something waits to be seen.
    pub(crate) fn is_busy(&self) -> bool {
        let waits = !self.held_effects.is_empty() || !self.held_looks.is_empty() || !self.requests.is_empty();
        waits || !self.batch.is_empty() || self.staged.is_some()
    }

    /// Applies the rest of the batch, at most `count` events. Returns how many. If it unwinds, `applied` is the place of the
    /// event.
    pub(crate) fn apply(&mut self, applying: &mut Applying<S>, core: &crate::core::Core, count: usize) -> usize {
        let end = self.batch.len().min(self.applied.saturating_add(count));
        let begin = self.applied;
        while self.applied < end {
            let (entry, fate) = &mut self.batch[self.applied];
            *fate = applying.fate_of(core, entry.envelope());
            self.applied += 1;
        }
        end - begin
    }

    /// The state before the event at `applied`, for one on which the reducer panicked.
    pub(crate) fn roll_back(&mut self) -> Result<S, String> {
        let Some(history) = &self.history else { return Err("there is no timeline".to_owned()) };
        let (from, mut state) = match &self.safe {
            Some((from, state)) => (*from, contain(|| state.clone())?),
            None => (0, history.newest_state().map_err(|error| error.to_string())?),
        };
        let reapplied = reapply(&mut state, &self.batch[from..self.applied]);
        match reapplied.and_then(|_| contain(|| state.clone())) {
            Ok(safe) => {
                let_go(self.safe.replace((self.applied, safe)));
                Ok(state)
            }
            Err(message) => {
                let_go(state);
                Err(message)
            }
        }
    }

    /// Where the batch that was applied comes out differently the second time.
    pub(crate) fn differs(&mut self, state: &S, effects: usize) -> Option<(Option<&'static str>, String)> {
        let (check, Before { state: before, asked, pending }) = (self.check.as_ref()?, self.before.take()?);
        let compare = |second: &mut S| -> Result<Option<&'static str>, String> {
            let asked_again = reapply(second, &self.batch)?;
            if check.hash(second)? != check.hash(state)? {
                return Ok(Some("the state"));
            }
            Ok((asked_again != asked + effects - pending).then_some("the number of effects"))
        };
        let what = match on_copy(check.as_ref(), &before, compare) {
            Ok(None) => None,
            Ok(Some(what)) => Some(what.to_owned()),
            Err(message) => Some(message),
        };
        let found = what.map(|what| (self.first_difference(check.as_ref(), &before), what));
        let_go(before);
        found
    }

    /// Event by event, on two copies.
    fn first_difference(&self, check: &dyn Check<S>, before: &S) -> Option<&'static str> {
        let differs = |first: &mut S, second: &mut S, entry: &_| {
            let [one, other] = [&mut *first, &mut *second].map(|state| reapply(state, std::slice::from_ref(entry)));
            // It did not panic the first time.
            one.is_err()
                || one != other
                || matches!([check.hash(first), check.hash(second)], [Ok(one), Ok(other)] if one != other)
        };
        let find = |first: &mut S| {
            on_copy(check, before, |second| {
                let mut batch = self.batch.iter().take(STEPS_MAX);
                Ok(batch.find(|entry| differs(first, second, entry)).map(|(entry, _)| entry.kind()))
            })
        };
        on_copy(check, before, find).ok().flatten()
    }
}

/// Does `work` on a copy of this state. All of it is the host's code.
fn on_copy<S, T>(check: &dyn Check<S>, state: &S, work: impl FnOnce(&mut S) -> Result<T, String>) -> Result<T, String> {
    let mut copy = contain(|| check.copy(state)).flatten()?;
    let done = contain(|| work(&mut copy)).flatten();
    let_go(copy);
    done
}

/// How many events of a batch are looked at one by one for the first that differs.
const STEPS_MAX: usize = 4096;

/// Applies what reached the state before. Effects are counted and not run: they were, the first time.
pub(crate) fn reapply<S: Reducer>(state: &mut S, batch: &[(Entry<S::Event>, Fate)]) -> Result<usize, String> {
    let mut effects = Effects::new();
    let mut asked = 0;
    for (entry, fate) in batch {
        if *fate == Fate::Applied {
            contain(|| {
                state.apply(&entry.envelope(), &mut effects);
                if effects.misrouted_to.is_none() {
                    asked += effects.pending.len();
                }
                effects.take_back(0);
            })
            .inspect_err(|_| effects.take_back(0))?;
        }
    }
    Ok(asked)
}

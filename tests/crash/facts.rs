//! What a host was told, and what that promises of the journal that it leaves behind.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use mainlane::journal::store::Store;
use mainlane::journal::{Durability, Journal, Recovery, Replaying, SqliteStore, Sync};

use crate::book::{Book, Reference, settings};
use crate::random::Random;
use crate::tally::Tally;

/// A state in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) turn: u64,
    /// What it makes of the events: the same in every run.
    pub(crate) events: u64,
    /// What it makes of their stamps and sequence numbers: the same in every replay.
    pub(crate) seen: u64,
}

/// What somebody was told, in the order in which they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    /// The journal is about to be opened.
    Opening,
    Recovered(State),
    /// On the main lane.
    Applied(State),
    /// Through a reader of the journal.
    Durable(u64),
    /// Through a reader of snapshots.
    Shown(State),
    /// A store begins to write, and what.
    Writing(Part),
    Written(Part),
    /// What went wrong.
    Failed(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Records,
    Checkpoint,
    /// A checkpoint, and what is older than another goes.
    Prune,
}

/// Where facts go. Called by several threads.
pub(crate) type Tell = Arc<dyn Fn(Fact) + Send + std::marker::Sync>;

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.turn, self.events, self.seen)
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fact::Opening => f.write_str("opening"),
            Fact::Recovered(state) => write!(f, "recovered {state}"),
            Fact::Applied(state) => write!(f, "applied {state}"),
            Fact::Durable(turn) => write!(f, "durable {turn}"),
            Fact::Shown(state) => write!(f, "shown {state}"),
            Fact::Writing(part) => write!(f, "writing {}", *part as u8),
            Fact::Written(part) => write!(f, "written {}", *part as u8),
            Fact::Failed(message) => write!(f, "failed {}", message.replace('\n', " ")),
        }
    }
}

impl FromStr for Fact {
    type Err = ();

    fn from_str(line: &str) -> Result<Self, ()> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let numbers = || rest.split(' ').map(|number| number.parse().map_err(drop)).collect::<Result<Vec<u64>, ()>>();
        let state = || match numbers()?[..] {
            [turn, events, seen] => Ok(State { turn, events, seen }),
            _ => Err(()),
        };
        let part = || match rest {
            "0" => Ok(Part::Records),
            "1" => Ok(Part::Checkpoint),
            "2" => Ok(Part::Prune),
            _ => Err(()),
        };
        Ok(match word {
            "opening" => Fact::Opening,
            "recovered" => Fact::Recovered(state()?),
            "applied" => Fact::Applied(state()?),
            "durable" => Fact::Durable(rest.parse().map_err(drop)?),
            "shown" => Fact::Shown(state()?),
            "writing" => Fact::Writing(part()?),
            "written" => Fact::Written(part()?),
            "failed" => Fact::Failed(rest.to_owned()),
            _ => return Err(()),
        })
    }
}

/// What was promised about a journal, over all that wrote it.
pub(crate) struct Promise {
    durability: Durability,
    /// The newest turn that anybody was told is durable.
    pub(crate) acknowledged: u64,
    /// What the main lane said of turns that may be there.
    applied: BTreeMap<u64, State>,
    /// What readers saw of them.
    shown: BTreeMap<u64, State>,
}

impl Promise {
    pub(crate) fn new(durability: Durability) -> Self {
        Self { durability, acknowledged: 0, applied: BTreeMap::new(), shown: BTreeMap::new() }
    }

    /// # Errors
    /// When it does not agree with what was said before, or with `reference`.
    pub(crate) fn hear(&mut self, fact: &Fact, reference: &mut Reference) -> Result<(), String> {
        match fact {
            Fact::Opening | Fact::Writing(_) | Fact::Written(_) | Fact::Failed(_) => {}
            Fact::Recovered(state) => self.recovered(*state, reference)?,
            Fact::Applied(state) => {
                same(*state, reference)?;
                self.applied.insert(state.turn, *state);
            }
            Fact::Durable(turn) => self.acknowledged = self.acknowledged.max(*turn),
            Fact::Shown(state) => {
                same(*state, reference)?;
                if self.durability != Durability::Async {
                    self.acknowledged = self.acknowledged.max(state.turn);
                    self.shown.insert(state.turn, *state);
                }
            }
        }
        Ok(())
    }

    /// The journal was opened, and is at `state`.
    ///
    /// # Errors
    /// When that is not what was promised.
    pub(crate) fn recovered(&mut self, state: State, reference: &mut Reference) -> Result<(), String> {
        let State { turn, .. } = state;
        if turn < self.acknowledged {
            return Err(format!(
                "turn {} was acknowledged, and turn {turn} is the newest that is there",
                self.acknowledged
            ));
        }
        same(state, reference)?;
        for told in [self.applied.get(&turn), self.shown.get(&turn)].into_iter().flatten() {
            if *told != state {
                return Err(format!("turn {turn} was {told}, and is {state} after its recovery"));
            }
        }
        // What was lost is taken anew, at another time.
        self.applied.split_off(&(turn + 1));
        self.applied.insert(turn, state);
        self.shown.split_off(&(turn + 1));
        // Only a window of it is of use.
        while self.applied.len() > 4000 {
            self.applied.pop_first();
        }
        while self.shown.len() > 4000 {
            self.shown.pop_first();
        }
        Ok(())
    }

    /// Opens what was left, in all ways there are.
    ///
    /// # Errors
    /// When that is not what was promised.
    pub(crate) fn check<T: Store>(
        &mut self,
        open: &dyn Fn(bool) -> Result<T, String>,
        sync: Sync,
        reference: &mut Reference,
        random: &mut Random,
    ) -> Result<Recovery, String> {
        let journal = |read_only| Ok::<_, String>(settings(Journal::store(open(read_only)?), self.durability, sync));
        // As it lies there, before anything is written to it.
        let verify = Replaying { verify: true, ..Replaying::default() };
        let replayed = match journal(true) {
            Ok(journal) => match journal.replay::<Book>(verify, None, &mut |_| true) {
                Ok((book, report)) if report.different.is_empty() => Some(book.at(report.turn)),
                Ok((_, report)) => return Err(format!("the state is another after turns {:?}", report.different)),
                Err(_) if self.acknowledged == 0 => None,
                Err(error) => return Err(format!("replay: {error}")),
            },
            Err(_) if self.acknowledged == 0 => None,
            Err(error) => return Err(error),
        };
        let (builder, recovery) =
            journal(false)?.recover(Book::default()).map_err(|error| format!("recover: {error}"))?;
        let state = builder.state().at(recovery.turn);
        drop(builder);
        if let Some(replayed) = replayed
            && replayed != state
        {
            return Err(format!("replayed to {replayed}, recovered to {state}"));
        }
        // Some of what the main lane said then.
        let known: Vec<_> = self.applied.range(..=state.turn).map(|(_, state)| *state).collect();
        for _ in 0..2.min(known.len()) {
            // The newest are in the journal, and the rest may be.
            let then = known[known.len() - 1 - random.below(known.len().min(60) as u64) as usize];
            let until = Replaying { until: Some(then.turn), ..Replaying::default() };
            match journal(true)?.replay::<Book>(until, None, &mut |_| true) {
                Ok((book, report)) if book.at(report.turn) == then => {}
                Ok((book, report)) => {
                    return Err(format!("was {then}, and is {} as it is replayed", book.at(report.turn)));
                }
                Err(mainlane::journal::JournalError::NoSuchTurn { oldest, .. }) if then.turn < oldest => {}
                Err(error) => return Err(format!("replay until {}: {error}", then.turn)),
            }
        }
        self.recovered(state, reference)?;
        Ok(recovery)
    }

    /// As [`check`](Promise::check), of an SQLite file.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn check_file(
        &mut self,
        path: &std::path::Path,
        sync: Sync,
        reference: &mut Reference,
        random: &mut Random,
    ) -> Result<Recovery, String> {
        let open = |read_only| {
            let opened = if read_only { SqliteStore::open_read_only(path) } else { SqliteStore::open(path, sync) };
            opened.map_err(|error| error.to_string())
        };
        self.check(&open, sync, reference, random)
    }
}

fn same(state: State, reference: &mut Reference) -> Result<(), String> {
    let events = reference.at(state.turn);
    if state.events == events {
        return Ok(());
    }
    Err(format!("turn {} is {} where nothing happened, and {} here", state.turn, events, state.events))
}

/// Counts what a recovery met.
pub(crate) fn tally(recovery: &Recovery, tally: &mut Tally) {
    tally.add_if(recovery.created, "recovery: there was no journal yet");
    tally.add_if(recovery.torn_tail.is_some(), "recovery: a torn tail was cut off");
    tally.add_if(!recovery.quarantined.is_empty(), "recovery: an event was set aside anew");
    tally.add_if(recovery.turns > 0, "recovery: turns were applied again");
    tally.add_if(recovery.checkpoint > 0, "recovery: from a checkpoint of later than the beginning");
}

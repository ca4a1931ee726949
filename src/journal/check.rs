//! Whether a journal is whole: `mainlane journal FILE --check`.

use std::fmt;

use super::store::{Identity, Store, TornTail};
use super::survey::{Bad, Survey};

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckReport {
    /// Whose journal it is; none when it was never begun, or that cannot be read.
    pub identity: Option<Identity>,
    /// The oldest and the newest turn whose records are good.
    pub turns: Option<(u64, u64)>,
    /// How many good records there are.
    pub records: u64,
    /// How many events they have.
    pub events: u64,
    /// Turns of the good checkpoints, oldest first.
    pub checkpoints: Vec<u64>,
    /// How many events are set aside.
    pub quarantined: u64,
    /// What a crash left unfinished, and was never acknowledged.
    pub torn: Option<TornTail>,
    /// All that is wrong, oldest turn first where there is one.
    pub faults: Vec<CheckFault>,
}

impl CheckReport {
    /// Whether nothing is wrong. A torn tail is not: a crash leaves one.
    pub fn is_whole(&self) -> bool {
        self.faults.is_empty()
    }
}

/// Something that is wrong with a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckFault {
    /// Records of these turns are not there, cannot be read, or are not what was written.
    Records {
        /// The first.
        from: u64,
        /// The last.
        to: u64,
        /// What is wrong with them.
        why: String,
    },
    /// The checkpoint of this turn cannot be read, or is not what was written.
    Checkpoint {
        /// Which.
        turn: u64,
        /// What is wrong with it.
        why: String,
    },
    /// Something else cannot be read.
    Unreadable {
        /// What.
        what: &'static str,
        /// Why not.
        why: String,
    },
    /// An event is set aside that there is none of.
    Quarantined {
        /// The turn it is said to be of.
        turn: u64,
        /// The place in it.
        index: u32,
    },
    /// No good checkpoint leads to the newest turn.
    NoStart {
        /// The newest turn.
        newest: u64,
        /// The newest turn that can be rebuilt, if any can.
        reachable: Option<u64>,
    },
    /// The end of the write-ahead file was durable, and is not what was written.
    Tail(TornTail),
}

impl fmt::Display for CheckFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CheckFault::Records { from, to, why } if from == to => write!(f, "turn {from}: {why}"),
            CheckFault::Records { from, to, why } => write!(f, "turns {from} to {to}: {why}"),
            CheckFault::Checkpoint { turn, why } => write!(f, "the checkpoint of turn {turn}: {why}"),
            CheckFault::Unreadable { what, why } => write!(f, "{what} cannot be read: {why}"),
            CheckFault::Quarantined { turn, index } => {
                write!(f, "turn {turn}: event {index} is set aside, and there is none")
            }
            CheckFault::NoStart { newest, reachable: None } => {
                write!(f, "there is no good checkpoint to rebuild any turn up to {newest} from")
            }
            CheckFault::NoStart { newest, reachable: Some(turn) } => {
                write!(f, "turn {newest} cannot be rebuilt from any good checkpoint; turn {turn} can")
            }
            CheckFault::Tail(torn) => {
                write!(f, "{} bytes at {} were durable, and are not what was written", torn.bytes, torn.place)
            }
        }
    }
}

/// Reads all of a journal, and says what is wrong with it. Needs to know nothing of the host.
pub fn check(store: &mut dyn Store) -> CheckReport {
    report(Survey::of(store))
}

fn report(survey: Survey) -> CheckReport {
    let turns = survey.runs.first().zip(survey.runs.last()).map(|(first, last)| (first.from, last.to()));
    let mut faults: Vec<_> = survey
        .bad
        .iter()
        .map(|Bad { from, to, why, .. }| CheckFault::Records { from: *from, to: *to, why: why.clone() })
        .collect();
    for (turn, read) in &survey.checkpoints {
        if let Err(why) = read {
            faults.push(CheckFault::Checkpoint { turn: *turn, why: why.clone() });
        }
    }
    let lists = [
        ("whose journal it is", survey.identity.as_ref().err()),
        ("the list of checkpoints", survey.unlisted.as_ref()),
        ("the list of events that are set aside", survey.quarantined.as_ref().err()),
    ];
    faults.extend(lists.into_iter().filter_map(|(what, why)| Some(CheckFault::Unreadable { what, why: why?.clone() })));
    let quarantined = survey.quarantined.as_deref().unwrap_or(&[]);
    for poison in quarantined {
        let run = survey.runs.iter().find(|run| (run.from..=run.to()).contains(&poison.turn));
        let is_change = poison.index == 0 && survey.changes.iter().any(|(turn, _)| *turn == poison.turn);
        if !is_change && run.is_some_and(|run| poison.index >= run.events[(poison.turn - run.from) as usize]) {
            faults.push(CheckFault::Quarantined { turn: poison.turn, index: poison.index });
        }
    }
    if let Some(newest) = survey.newest() {
        let reachable = survey.good_checkpoints().map(|base| survey.reach(base)).max();
        if reachable != Some(newest) {
            faults.push(CheckFault::NoStart { newest, reachable });
        }
    }
    faults.extend(survey.torn.clone().filter(|torn| torn.was_durable).map(CheckFault::Tail));
    CheckReport {
        turns,
        records: survey.runs.iter().map(|run| run.events.len() as u64).sum(),
        events: survey.runs.iter().flat_map(|run| &run.events).copied().map(u64::from).sum(),
        checkpoints: survey.good_checkpoints().collect(),
        quarantined: quarantined.len() as u64,
        torn: survey.torn,
        identity: survey.identity.ok().flatten(),
        faults,
    }
}

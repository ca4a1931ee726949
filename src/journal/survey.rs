//! What of a journal can be read and is what was written: for `check` and `salvage`.
//!
//! Records are read in a row as far as that goes, and one by one where it does not.

use super::batch;
use super::record;
use super::store::{Identity, Quarantined, Record, RecordKind, Store, TornTail};

/// So many turns that cannot be read are tried one by one after the last that is known, before it is taken for the end; and
/// so many in a row, before the end of them is searched for.
const TRIES_BEYOND: u64 = 1 << 16;

/// All that is there.
#[derive(Debug)]
pub(crate) struct Survey {
    pub(crate) identity: Result<Option<Identity>, String>,
    /// Good records without gaps between them, oldest first.
    pub(crate) runs: Vec<Run>,
    /// What stands between them, or should.
    pub(crate) bad: Vec<Bad>,
    /// Good records that undid or redid something, each with the oldest turn that it changes.
    pub(crate) changes: Vec<(u64, u64)>,
    /// With what is wrong with each.
    pub(crate) checkpoints: Vec<(u64, Result<(), String>)>,
    /// Checkpoints that may be there and were not found, because their list cannot be read.
    pub(crate) unlisted: Option<String>,
    pub(crate) quarantined: Result<Vec<Quarantined>, String>,
    pub(crate) torn: Option<TornTail>,
}

/// Good records of turns that follow each other.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) from: u64,
    /// How many events each has.
    pub(crate) events: Vec<u32>,
}

impl Run {
    pub(crate) fn to(&self) -> u64 {
        self.from + (self.events.len() as u64 - 1)
    }

    /// Whether the records after `turn` begin here, or would if there were any.
    pub(crate) fn follows(&self, turn: u64) -> bool {
        (self.from..=self.to() + 1).contains(&(turn + 1))
    }

    /// How many events the turns after `turn` have.
    pub(crate) fn events_after(&self, turn: u64) -> u64 {
        let skipped = (turn + 1).saturating_sub(self.from).min(self.events.len() as u64);
        self.events[skipped as usize..].iter().copied().map(u64::from).sum()
    }
}

/// Turns whose records are not there, or not as they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bad {
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// How many events they had, where that can be read; it may be wrong itself.
    pub(crate) events: Option<u64>,
    pub(crate) why: String,
}

impl Survey {
    pub(crate) fn of(store: &mut dyn Store) -> Self {
        let (heads, unlisted) = match store.checkpoints() {
            Ok(heads) => (heads.into_iter().map(|head| head.turn).collect(), None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        let mut survey = Self {
            identity: store.identity().map_err(|error| error.to_string()),
            runs: Vec::new(),
            bad: Vec::new(),
            changes: Vec::new(),
            checkpoints: Vec::new(),
            unlisted,
            quarantined: store.quarantined(0).map_err(|error| error.to_string()),
            torn: store.torn_tail(),
        };
        survey.read_records(store, &heads);
        survey.read_checkpoints(store, heads);
        survey
    }

    fn read_records(&mut self, store: &mut dyn Store, heads: &[u64]) {
        // Where the ends cannot be read, checkpoints say where something was.
        let ends = store.turns().ok().flatten();
        let known = heads.first().copied().zip(heads.last().copied());
        let (mut next, newest) = match (ends, known) {
            (Some(ends), _) => ends,
            (None, Some((oldest, newest))) => (oldest + 1, newest),
            (None, None) => (1, 0),
        };
        let (mut last, mut tries) = (newest, 0);
        loop {
            let mut is_in_order = true;
            let began = next;
            let read = store.records(next, &mut |record| {
                is_in_order = record.turn >= next && record.turn < u64::MAX;
                if is_in_order {
                    self.is_missing(next, record.turn);
                    next = record.turn + 1;
                    last = last.max(record.turn);
                    self.see(record);
                }
                is_in_order
            });
            let why = match read {
                Ok(()) if is_in_order => return self.is_missing(next, newest.saturating_add(1)),
                Ok(()) => "records are not in order".to_owned(),
                Err(error) => error.to_string(),
            };
            if ends.is_some() && next > newest {
                return;
            }
            if ends.is_none() && next > last.saturating_add(TRIES_BEYOND) {
                return self.forget_after(last);
            }
            tries = if next > began { 1 } else { tries + 1 };
            // A turn that is not what was written may be any number, and what is before it as long as that.
            let to = match store.turn_from(next) {
                Ok(Some(turn)) => turn.max(next),
                Ok(None) | Err(_) if ends.is_some() && tries > TRIES_BEYOND => end_of_unreadable(store, next, newest),
                Ok(None) | Err(_) => next,
            };
            self.is_bad(next, to, None, why);
            next = to.saturating_add(1);
        }
    }

    /// Turns from `next` on to before `turn` have no record.
    fn is_missing(&mut self, next: u64, turn: u64) {
        if next < turn {
            self.is_bad(next, turn - 1, None, "there is no record".into());
        }
    }

    /// What was tried in vain after the last turn that is known to have been may never have been there.
    fn forget_after(&mut self, last: u64) {
        let Some(bad) = self.bad.last_mut().filter(|bad| bad.to > last) else { return };
        bad.to = bad.from.max(last);
        bad.why += "; there may have been more turns";
    }

    fn is_bad(&mut self, from: u64, to: u64, events: Option<u64>, why: String) {
        match self.bad.last_mut() {
            Some(last) if last.to + 1 == from && last.why == why => {
                last.to = to;
                last.events = last.events.zip(events).map(|(before, events)| before + events);
            }
            _ => self.bad.push(Bad { from, to, events, why }),
        }
    }

    fn see(&mut self, record: Record) {
        let (turn, events) = (record.turn, record.events);
        if let Err(why) = judge(&record) {
            return self.is_bad(turn, turn, Some(events.into()), why);
        }
        if record.kind != RecordKind::Batch {
            self.changes.push((turn, record.reaches));
        }
        match self.runs.last_mut() {
            Some(run) if run.to() + 1 == turn => run.events.push(events),
            _ => self.runs.push(Run { from: turn, events: vec![events] }),
        }
    }

    fn read_checkpoints(&mut self, store: &mut dyn Store, mut heads: Vec<u64>) {
        if self.unlisted.is_some() {
            // One by one then: there may be one before each record, and after it.
            let turns = self.runs.iter().flat_map(|run| run.from - 1..=run.to());
            heads = std::iter::once(0).chain(turns).collect();
            heads.dedup();
        }
        for turn in heads {
            let read = match store.checkpoint(turn) {
                Ok(None) => continue,
                Ok(Some(checkpoint)) => {
                    checkpoint.verify().and(record::split_checkpoint(&checkpoint.payload).map(drop))
                }
                Err(error) => {
                    // One that is not listed may never have been there.
                    if self.unlisted.is_none() {
                        self.checkpoints.push((turn, Err(error.to_string())));
                    }
                    continue;
                }
            };
            self.checkpoints.push((turn, read.map_err(|error| error.to_string())));
        }
    }

    pub(crate) fn good_checkpoints(&self) -> impl Iterator<Item = u64> {
        self.checkpoints.iter().filter(|(_, read)| read.is_ok()).map(|(turn, _)| *turn)
    }

    /// The last turn whose state can be made from the checkpoint of turn `base`: records follow without a gap, and none
    /// changes what came before it.
    pub(crate) fn reach(&self, base: u64) -> u64 {
        let Some(run) = self.runs.iter().find(|run| run.follows(base)) else { return base };
        let reaches_back = self.changes.iter().find(|(turn, reaches)| *turn > base && *reaches <= base);
        reaches_back.map_or(run.to(), |(turn, _)| run.to().min(turn - 1)).max(base)
    }

    /// The newest turn that is known to have been.
    pub(crate) fn newest(&self) -> Option<u64> {
        let run = self.runs.last().map(Run::to);
        let bad = self.bad.last().map(|bad| bad.to);
        let checkpoint = self.checkpoints.last().map(|(turn, _)| *turn);
        run.max(bad).max(checkpoint)
    }
}

/// The last turn, `newest` at most, from which on nothing can be read, as from `from` on nothing can.
fn end_of_unreadable(store: &mut dyn Store, from: u64, newest: u64) -> u64 {
    let newest = newest.min(u64::MAX - 1);
    let mut can_read = |turn| store.records(turn, &mut |_| false).is_ok();
    let (mut bad, mut step) = (from, 1);
    let mut good = loop {
        let turn = bad.saturating_add(step);
        if turn > newest {
            break newest + 1;
        }
        if can_read(turn) {
            break turn;
        }
        (bad, step) = (turn, step * 2);
    };
    while good - bad > 1 {
        let middle = bad + (good - bad) / 2;
        if can_read(middle) {
            good = middle;
        } else {
            bad = middle;
        }
    }
    bad
}

/// What is wrong with a record, as far as can be said without the host's types.
fn judge(record: &Record) -> Result<(), String> {
    record.verify().map_err(|error| error.to_string())?;
    if record.turn == 0 {
        return Err("turns are counted from 1".into());
    }
    match record.kind {
        RecordKind::Batch => {
            if let Some(Err(error)) = batch::heads(&record.payload, record.events).find(Result::is_err) {
                return Err(error.to_string());
            }
            if record.reaches != record.turn {
                return Err(format!("a batch changes its own turn alone, not {}", record.reaches));
            }
        }
        RecordKind::Undo | RecordKind::Redo => {
            record::decode_operation(&record.payload).map_err(|error| error.to_string())?;
            if record.events != 0 || record.reaches > record.turn {
                return Err(format!("it has {} events and changes turn {}", record.events, record.reaches));
            }
        }
    }
    Ok(())
}

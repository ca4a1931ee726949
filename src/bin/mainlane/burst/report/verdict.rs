//! What a table says about ours and the best of the others, in one line.

use super::super::rounds::{self, Row, Spread, Table};

/// Nearer than this is level.
const LEVEL: f64 = 1.05;
/// Fewer rounds than this are named: their quartiles say little.
const ROUNDS_MIN: usize = 5;

/// How ours stand towards the best of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Ahead,
    Level,
    Behind,
    /// The first of ours is behind, another one is not.
    Mixed,
    /// There are no others.
    Alone,
}

#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) standing: Standing,
    /// The first contender, which all others are compared with, against the best of the others; in a few words.
    pub(crate) short: String,
    /// The same, and the best of ours if it is another.
    pub(crate) sentence: String,
}

impl Verdict {
    /// From the ratios of slices of the same round: one is ahead when three quarters of them say so.
    pub(crate) fn of(table: &Table) -> Self {
        let (ours, others): (Vec<_>, Vec<_>) = table.rows.iter().partition(|row| is_ours(&row.name));
        let pair = |row| nearest(table, row, &others).map(|(peer, ratio)| Pair { row, peer, ratio });
        let Some(first) = ours.first().copied().and_then(pair) else {
            let nobody = "there is nobody to compare it with".to_owned();
            return Self { standing: Standing::Alone, short: nobody.clone(), sentence: nobody };
        };
        let (mut standing, mut sentence) = (first.standing(), first.sentence());
        // The best of ours has its say too, as the best of the others has.
        let best = ours.iter().copied().min_by(|one, other| median(one).total_cmp(&median(other)));
        if let Some(best) = best.filter(|best| median(best) < 1.0 / LEVEL).and_then(pair) {
            sentence = format!("{sentence}; {}", best.sentence());
            if standing == Standing::Behind && best.standing() != Standing::Behind {
                standing = Standing::Mixed;
            }
        }
        if first.row.figures.len() < ROUNDS_MIN {
            sentence = format!("{sentence} (rounds: {}, too few to be sure)", first.row.figures.len());
        }
        Self { standing, short: first.short(), sentence }
    }
}

/// One of ours, the one of the others that is best against it, and how many times better ours is.
struct Pair<'a> {
    row: &'a Row,
    peer: &'a Row,
    ratio: Spread,
}

impl Pair<'_> {
    fn standing(&self) -> Standing {
        match self.ratio {
            Spread { lower, median, .. } if lower > 1.0 && median >= LEVEL => Standing::Ahead,
            Spread { upper, median, .. } if upper < 1.0 && median <= 1.0 / LEVEL => Standing::Behind,
            _ => Standing::Level,
        }
    }

    fn short(&self) -> String {
        let (peer, median) = (&self.peer.name, self.ratio.median);
        match self.standing() {
            Standing::Ahead => format!("{} × ahead of {peer}", times(median)),
            Standing::Behind => format!("{} × behind {peer}", times(1.0 / median)),
            _ => format!("level with {peer}"),
        }
    }

    fn sentence(&self) -> String {
        let (row, peer, Spread { lower, median, upper }) = (&self.row.name, &self.peer.name, self.ratio);
        match self.standing() {
            Standing::Ahead => format!("“{row}” is {} times the next best: “{peer}”", times(median)),
            Standing::Behind => format!("“{peer}” is ahead, {} times “{row}”", times(1.0 / median)),
            _ => format!("“{row}” and “{peer}” are level: {} times [{} {}]", times(median), times(lower), times(upper)),
        }
    }
}

pub(crate) fn is_ours(row: &str) -> bool {
    row.starts_with("mainlane")
}

fn median(row: &Row) -> f64 {
    row.first_against_this.median
}

/// The one of `others` that is best against `row`, and how many times better `row` is.
fn nearest<'a>(table: &Table, row: &Row, others: &[&'a Row]) -> Option<(&'a Row, Spread)> {
    let against = |other: &'a Row| (other, rounds::against(&row.figures, &other.figures, table.more_is_better));
    others.iter().map(|other| against(other)).min_by(|(_, one), (_, other)| one.median.total_cmp(&other.median))
}

fn times(ratio: f64) -> String {
    match ratio {
        large if large >= 99.5 => format!("{large:.0}"),
        middle if middle >= 9.95 => format!("{middle:.1}"),
        small => format!("{small:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::rounds::Contender;
    use super::*;

    /// A table of contenders that have these figures, round by round.
    fn table(more_is_better: bool, rows: &[(&'static str, [f64; 5])]) -> Table {
        let contender = |&(name, figures): &(&'static str, [f64; 5])| {
            // The first slice does not count.
            let mut figures = [1.0].into_iter().chain(figures);
            Contender::new(name, move || figures.next().unwrap())
        };
        rounds::run("t", "events", more_is_better, rows.iter().map(contender).collect(), 5, 1)
    }

    fn verdict(table: &Table) -> (Standing, String) {
        let Verdict { standing, sentence, .. } = Verdict::of(table);
        (standing, sentence)
    }

    #[test]
    fn the_next_best_is_named() {
        let table = table(true, &[("mainlane", [140.0; 5]), ("slow", [10.0; 5]), ("kanal", [100.0; 5])]);
        assert_eq!(verdict(&table), (Standing::Ahead, "“mainlane” is 1.40 times the next best: “kanal”".to_owned()));
    }

    #[test]
    fn less_may_be_better() {
        let table = table(false, &[("mainlane", [130.0; 5]), ("slow", [1e6; 5]), ("disruptor", [100.0; 5])]);
        assert_eq!(verdict(&table), (Standing::Behind, "“disruptor” is ahead, 1.30 times “mainlane”".to_owned()));
    }

    #[test]
    fn what_changes_from_round_to_round_is_level() {
        let rows = [("mainlane", [100.0; 5]), ("other", [50.0, 60.0, 90.0, 120.0, 130.0])];
        let (standing, sentence) = verdict(&table(true, &rows));
        assert_eq!(
            (standing, sentence.as_str()),
            (Standing::Level, "“mainlane” and “other” are level: 1.11 times [0.83 1.67]")
        );
        // All rounds say the same, and too little.
        assert_eq!(verdict(&table(true, &[("mainlane", [101.0; 5]), ("other", [100.0; 5])])).0, Standing::Level);
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        // By their medians both are the same; round by round ours is twice the other.
        let ours = [2.0, 4.0, 8.0, 16.0, 32.0];
        let rows = [("mainlane", ours), ("other", ours.map(|figure| figure / 2.0))];
        assert_eq!(verdict(&table(true, &rows)).1, "“mainlane” is 2.00 times the next best: “other”");
    }

    #[test]
    fn another_of_ours_that_is_better_does_not_hide_the_first() {
        let rows = [("mainlane, slow", [50.0; 5]), ("mainlane, quick", [300.0; 5]), ("other", [100.0; 5])];
        let (standing, sentence) = verdict(&table(true, &rows));
        assert_eq!(standing, Standing::Mixed);
        assert_eq!(
            sentence,
            "“other” is ahead, 2.00 times “mainlane, slow”; “mainlane, quick” is 3.00 times the next best: “other”"
        );
        let rows = [("mainlane, slow", [50.0; 5]), ("mainlane, quick", [60.0; 5]), ("other", [100.0; 5])];
        assert_eq!(Verdict::of(&table(true, &rows)).standing, Standing::Behind, "all of ours are");
    }

    #[test]
    fn a_few_words_are_of_the_first() {
        let short = |other: f64| {
            let rows = [("mainlane", [100.0; 5]), ("other", [other; 5])];
            Verdict::of(&table(true, &rows)).short
        };
        assert_eq!(
            [50.0, 100.0, 400.0].map(short),
            ["2.00 × ahead of other", "level with other", "4.00 × behind other"]
        );
    }

    #[test]
    fn few_rounds_are_said_to_be_few() {
        let mut table = table(true, &[("mainlane", [2.0; 5]), ("other", [1.0; 5])]);
        assert!(!Verdict::of(&table).sentence.contains("rounds"));
        table.rows.iter_mut().for_each(|row| row.figures.truncate(3));
        assert!(Verdict::of(&table).sentence.ends_with("(rounds: 3, too few to be sure)"));
    }

    #[test]
    fn nobody_is_ahead_of_nobody() {
        assert_eq!(verdict(&table(true, &[("mainlane", [1.0; 5])])).0, Standing::Alone);
        assert_eq!(verdict(&table(true, &[("other", [1.0; 5])])).0, Standing::Alone);
    }
}

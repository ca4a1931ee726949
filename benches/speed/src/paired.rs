//! `mainlane burst` of two commits, in turn: how much faster the rows of ours have become.
//!
//! A run is short and has both programs in random order, so that what the machine does meanwhile meets both. The peers are
//! the same code before and after: what their rows show is how far a difference is chance.

use std::fmt::Write;
use std::process::Command;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use serde_json::Value;

const WORKLOADS: [&str; 3] = ["W0", "W5", "W15"];
const OURS: &str = "mainlane";

/// One row of one run.
#[derive(Clone, Debug, PartialEq)]
struct Figure {
    table: String,
    row: String,
    median: f64,
    more_is_better: bool,
}

/// A row that both programs have, and how much better the second was, run by run.
#[derive(Debug, PartialEq)]
struct Ratios {
    table: String,
    row: String,
    ratios: Vec<f64>,
}

/// Runs the programs `before` and `after` in turn, and says how they compare.
///
/// # Errors
/// When a program does not start, or no workload runs on both.
pub fn run(before: &str, after: &str, rounds: usize) -> Result<String, String> {
    let mut random = SmallRng::seed_from_u64(1);
    let mut text = format!("above 1, the second is faster: medians of {rounds} pairs of runs, with quartiles\n");
    let mut compared = 0;
    for workload in WORKLOADS {
        match pairs(workload, [before, after], rounds, &mut random) {
            Ok(pairs) => {
                let all = ratios(&pairs);
                compared += all.len();
                text.push_str(&table(&all));
            }
            Err(problem) => {
                let _ = writeln!(text, "\nskipped: {workload}: {problem}");
            }
        }
    }
    if compared == 0 { Err(text) } else { Ok(text) }
}

fn pairs(
    workload: &str,
    programs: [&str; 2],
    rounds: usize,
    random: &mut SmallRng,
) -> Result<Vec<[Vec<Figure>; 2]>, String> {
    let pair = |round: usize| {
        let mut order = [0, 1];
        order.shuffle(random);
        let mut pair = [Vec::new(), Vec::new()];
        for at in order {
            pair[at] = burst(programs[at], workload, round)?;
        }
        Ok(pair)
    };
    (1..=rounds).map(pair).collect()
}

fn burst(program: &str, workload: &str, seed: usize) -> Result<Vec<Figure>, String> {
    let short = ["--rounds", "3", "--events", "100000", "--slice", "20ms", "--json", "--seed", &seed.to_string()]
        .map(str::to_owned);
    let run = Command::new(program).args(["burst", workload]).args(short).output();
    let run = run.map_err(|problem| format!("{program}: {problem}"))?;
    if !run.status.success() {
        return Err(format!("{program}: {}", String::from_utf8_lossy(&run.stderr).trim()));
    }
    figures(&String::from_utf8_lossy(&run.stdout)).ok_or(format!("{program}: its JSON is not understood"))
}

fn figures(json: &str) -> Option<Vec<Figure>> {
    let report: Value = serde_json::from_str(json).ok()?;
    let mut figures = Vec::new();
    for table in report["tables"].as_array()? {
        for row in table["rows"].as_array()? {
            figures.push(Figure {
                table: table["name"].as_str()?.to_owned(),
                row: row["name"].as_str()?.to_owned(),
                median: row["spread"]["median"].as_f64()?,
                more_is_better: table["more_is_better"].as_bool()?,
            });
        }
    }
    Some(figures)
}

/// Row by row, in the order of the first run; rows that are not in all runs are left out.
fn ratios(pairs: &[[Vec<Figure>; 2]]) -> Vec<Ratios> {
    let Some([first, _]) = pairs.first() else { return Vec::new() };
    let of = |figure: &Figure| {
        let find = |run: &[Figure]| {
            run.iter()
                .find(|other| (&other.table, &other.row) == (&figure.table, &figure.row))
                .map(|other| other.median)
        };
        let better = |[before, after]: &[Vec<Figure>; 2]| {
            let (before, after) = (find(before)?, find(after)?);
            Some(if figure.more_is_better { after / before } else { before / after })
        };
        let ratios = pairs.iter().map(better).collect::<Option<_>>()?;
        Some(Ratios { table: figure.table.clone(), row: figure.row.clone(), ratios })
    };
    first.iter().filter_map(of).collect()
}

/// Our rows, and those of the peers in one.
fn table(all: &[Ratios]) -> String {
    let mut text = String::new();
    for rows in all.chunk_by(|one, next| one.table == next.table) {
        let _ = writeln!(text, "\n{}", rows[0].table);
        let (ours, peers): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.row.starts_with(OURS));
        let ours = ours.into_iter().map(|row| (row.row.as_str(), row.ratios.clone()));
        let peers = peers.into_iter().flat_map(|row| row.ratios.clone()).collect();
        for (name, ratios) in ours.chain([("the peers, by chance", peers)]) {
            if let Some([lower, median, upper]) = quartiles(ratios) {
                let _ = writeln!(text, "  {name:<50} {median:>5.2} [{lower:.2} {upper:.2}]");
            }
        }
    }
    text
}

fn quartiles(mut figures: Vec<f64>) -> Option<[f64; 3]> {
    figures.sort_by(f64::total_cmp);
    let last = figures.len().checked_sub(1)?;
    Some([0.25, 0.5, 0.75].map(|part| {
        let place = part * last as f64;
        let (below, above) = (figures[place.floor() as usize], figures[place.ceil() as usize]);
        below + (above - below) * place.fract()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(table: &str, row: &str, median: f64, more_is_better: bool) -> Figure {
        Figure { table: table.to_owned(), row: row.to_owned(), median, more_is_better }
    }

    #[test]
    fn figures_are_read_by_table_and_row() {
        let json = r#"{"tables": [{"name": "W0", "more_is_better": true, "rows": [
            {"name": "mainlane", "spread": {"median": 2.5}}, {"name": "kanal", "spread": {"median": 1.0}}]}]}"#;
        let expected = vec![figure("W0", "mainlane", 2.5, true), figure("W0", "kanal", 1.0, true)];
        assert_eq!(figures(json), Some(expected));
        assert_eq!(figures("{}"), None);
        assert_eq!(figures(&json.replace("median", "mean")), None);
    }

    #[test]
    fn above_one_is_faster_whatever_the_unit() {
        let run = |rate, time| vec![figure("a", "rate", rate, true), figure("b", "time", time, false)];
        let all = ratios(&[[run(10.0, 10.0), run(20.0, 20.0)], [run(10.0, 10.0), run(5.0, 5.0)]]);
        assert_eq!(all[0].ratios, [2.0, 0.5]);
        assert_eq!(all[1].ratios, [0.5, 2.0]);
    }

    #[test]
    fn rows_that_one_of_the_programs_lacks_are_left_out() {
        let (one, other) = (figure("a", "both", 1.0, true), figure("a", "one", 1.0, true));
        let all = ratios(&[[vec![one.clone(), other], vec![one]]]);
        assert_eq!(all.iter().map(|row| row.row.as_str()).collect::<Vec<_>>(), ["both"]);
        assert!(ratios(&[]).is_empty());
    }

    #[test]
    fn the_peers_are_one_row_of_their_table() {
        let row = |table: &str, row: &str, ratios: [f64; 3]| Ratios {
            table: table.to_owned(),
            row: row.to_owned(),
            ratios: ratios.into(),
        };
        let text = table(&[
            row("W0", "mainlane, unclocked", [3.0, 1.0, 2.0]),
            row("W0", "kanal", [1.0, 1.0, 1.0]),
            row("W0", "flume", [1.0, 2.0, 1.0]),
            row("W5", "mainlane", [1.0, 1.0, 1.0]),
        ]);
        let lines: Vec<_> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            lines[1..4],
            ["W0", "mainlane, unclocked 2.00 [1.50 2.50]", "the peers, by chance 1.00 [1.00 1.00]"]
        );
        assert_eq!(lines[5..], ["W5", "mainlane 1.00 [1.00 1.00]"]);
    }
}

//! Instructions part by part, before and after.

use std::fmt;

use serde_json::Value;

use crate::COUNT;

/// The name of a part and what it took in all.
pub type Count = (String, u64);

/// A part that was measured before, after, or both times.
struct Row {
    part: String,
    before: Option<u64>,
    after: Option<u64>,
}

/// Parts side by side, in the order of those measured after.
pub struct Comparison {
    rows: Vec<Row>,
    /// By how many percent a part may get dearer.
    limit: Option<f64>,
}

/// Reads what the bench wrote, a JSON object per line.
///
/// # Errors
/// When a line is not what gungraun writes of a part.
pub fn counts(text: &str) -> Result<Vec<Count>, String> {
    text.lines().filter(|line| !line.trim().is_empty()).map(count).collect()
}

fn count(line: &str) -> Result<Count, String> {
    let part: Value = serde_json::from_str(line).map_err(|problem| problem.to_string())?;
    let word = |key: &str| part[key].as_str().map(|word| word.replace('_', " "));
    let (Some(group), Some(function), Some(id)) = (word("group"), word("function_name"), word("id")) else {
        return Err("a part has no name".to_owned());
    };
    let name = format!("{group} {function}, {id}");
    let taken = part.pointer("/profiles/0/data/total/metrics/Ir/values/new").and_then(Value::as_u64);
    taken.map(|taken| (name.clone(), taken)).ok_or(format!("{name}: instructions were not counted"))
}

impl Row {
    /// In percent of what it was; `None` for a part that is new or gone.
    fn difference(&self) -> Option<f64> {
        let (before, after) = (self.before? as f64, self.after? as f64);
        // From nothing to something is dearer than any limit.
        Some(if before == after { 0.0 } else { (after - before) * 100.0 / before })
    }
}

impl Comparison {
    /// # Errors
    /// When there is no part that was measured both times: that would find nothing, whatever happened.
    pub fn new(before: &[Count], after: &[Count], limit: Option<f64>) -> Result<Self, String> {
        let find = |counts: &[Count], part: &str| counts.iter().find(|(name, _)| name == part).map(|(_, taken)| *taken);
        let mut rows: Vec<_> = after
            .iter()
            .map(|(part, taken)| Row { part: part.clone(), before: find(before, part), after: Some(*taken) })
            .collect();
        let gone = before.iter().filter(|(part, _)| find(after, part).is_none());
        rows.extend(gone.map(|(part, taken)| Row { part: part.clone(), before: Some(*taken), after: None }));
        if rows.iter().all(|row| row.difference().is_none()) {
            return Err("no part was measured both times".to_owned());
        }
        Ok(Self { rows, limit })
    }

    /// True when a part takes more than it may.
    pub fn is_dearer(&self) -> bool {
        self.dearer() > 0
    }

    fn dearer(&self) -> usize {
        self.rows.iter().filter(|row| self.exceeds(row)).count()
    }

    fn exceeds(&self, row: &Row) -> bool {
        matches!((row.difference(), self.limit), (Some(difference), Some(limit)) if difference > limit)
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each =
            |taken: Option<u64>| taken.map_or("-".to_owned(), |taken| format!("{:.1}", taken as f64 / COUNT as f64));
        writeln!(f, "{:<42} {:>9} {:>9}", "instructions each", "before", "after")?;
        for row in &self.rows {
            let difference = match row.difference() {
                Some(unseen) if unseen.abs() < 0.05 => "0.0 %".to_owned(),
                Some(difference) => format!("{difference:+.1} %"),
                None => if row.before.is_none() { "new" } else { "gone" }.to_owned(),
            };
            let verdict = if self.exceeds(row) { "  dearer" } else { "" };
            writeln!(f, "{:<42} {:>9} {:>9} {difference:>9}{verdict}", row.part, each(row.before), each(row.after))?;
        }
        let compared = self.rows.iter().filter(|row| row.difference().is_some()).count();
        match self.limit {
            Some(limit) => writeln!(f, "parts that take over {limit} % more: {} of {compared}", self.dearer()),
            None => writeln!(f, "{compared} parts compared, without a limit"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts_of<const N: usize>(counts: [(&str, u64); N]) -> Vec<Count> {
        counts.map(|(part, taken)| (part.to_owned(), taken)).into()
    }

    #[test]
    fn a_part_is_read_by_name() {
        let line =
            r#"{"group":"push","function_name":"one_by_one","id":"clocked","profiles":[{"data":{"total":{"metrics":
            {"Dr":{"values":{"new":1}},"Ir":{"values":{"new":51200}}}}}}]}"#
                .replace('\n', "");
        assert_eq!(counts(&format!("{line}\n\n")).unwrap(), counts_of([("push one by one, clocked", 51_200)]));
        assert!(counts(&line.replace("Ir", "Dw")).unwrap_err().contains("clocked"));
        assert!(counts(&line.replace("\"id\"", "\"other\"")).is_err());
        assert!(counts("Running").is_err());
    }

    #[test]
    fn a_part_is_dearer_above_the_limit_and_not_at_it() {
        let before = counts_of([("a", 1000), ("b", 1000), ("c", 1000)]);
        let dearer = |after: u64, limit| {
            Comparison::new(&before, &counts_of([("a", 1000), ("b", after), ("c", 500)]), limit).unwrap().is_dearer()
        };
        assert!(!dearer(1000, Some(0.0)));
        assert!(dearer(1001, Some(0.0)));
        assert!(!dearer(1030, Some(3.0)));
        assert!(dearer(1031, Some(3.0)));
        assert!(!dearer(5000, None));
    }

    #[test]
    fn parts_that_are_new_or_gone_are_shown_and_fail_nothing() {
        let before = counts_of([("gone", 512), ("stays", 1024)]);
        let after = counts_of([("new", 51_200), ("stays", 1536)]);
        let comparison = Comparison::new(&before, &after, Some(3.0)).unwrap();
        let text = comparison.to_string();
        let lines: Vec<_> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(lines[1..4], ["new - 100.0 new", "stays 2.0 3.0 +50.0 % dearer", "gone 1.0 - gone"]);
        assert_eq!(lines[4], "parts that take over 3 % more: 1 of 1");
    }

    #[test]
    fn nothing_in_common_is_no_comparison() {
        assert!(Comparison::new(&counts_of([("a", 1)]), &counts_of([("b", 1)]), None).is_err());
        assert!(Comparison::new(&[], &[], Some(3.0)).is_err());
    }

    #[test]
    fn a_part_that_took_nothing_is_dearer_when_it_takes_something() {
        let comparison = Comparison::new(&counts_of([("a", 0)]), &counts_of([("a", 1)]), Some(3.0)).unwrap();
        assert!(comparison.is_dearer());
    }
}

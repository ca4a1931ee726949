//! The kernel's pressure stall information, as it is written in `/proc/pressure/memory` and in a cgroup.

use std::time::Duration;

use super::reading::{MemoryPressure, Stall};

/// What a file of it says; `None` when it says nothing that can be understood.
pub(super) fn parse(text: &str) -> Option<MemoryPressure> {
    let line = |name: &str| text.lines().find_map(|line| stall(line.strip_prefix(name)?));
    let pressure = MemoryPressure { some: line("some "), full: line("full ") };
    (pressure != MemoryPressure::default()).then_some(pressure)
}

/// `avg10=0.12 avg60=0.00 avg300=0.00 total=345`: percent, and microseconds.
fn stall(fields: &str) -> Option<Stall> {
    let field = |name: &str| fields.split_ascii_whitespace().find_map(|field| field.strip_prefix(name));
    let avg10 = field("avg10=")?.parse().ok().filter(|percent| (0.0..=100.0).contains(percent))?;
    let total = Duration::from_micros(field("total=")?.parse().ok()?);
    Some(Stall { avg10, total })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str =
        "some avg10=1.25 avg60=0.50 avg300=0.10 total=2000001\nfull avg10=0.75 avg60=0 avg300=0 total=7\n";

    fn of(avg10: f64, micros: u64) -> Option<Stall> {
        Some(Stall { avg10, total: Duration::from_micros(micros) })
    }

    #[test]
    fn both_lines_are_read() {
        assert_eq!(parse(WHOLE), Some(MemoryPressure { some: of(1.25, 2_000_001), full: of(0.75, 7) }));
        let pressure = MemoryPressure { some: of(1.25, 2_000_001), full: None };
        assert_eq!(parse(WHOLE.lines().next().unwrap()), Some(pressure));
    }

    #[test]
    fn what_is_malformed_is_left_out() {
        for text in [
            "",
            "some",
            "some avg10=x total=1",
            "some avg10=NaN total=1",
            "some avg10=-1 total=1",
            "some avg10=101 total=1",
            "some avg10=1",
            "some total=1",
            "some avg10=1 total=-1",
            "none avg10=1 total=1",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
        let half = "some avg10=oops total=1\nfull avg10=2.00 total=3";
        assert_eq!(parse(half), Some(MemoryPressure { some: None, full: of(2.0, 3) }));
    }
}

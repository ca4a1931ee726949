//! Numbers as people read them.

use super::super::rounds::Spread;

/// A figure of a table, by its unit: a time, or an amount.
pub(crate) fn figure(value: f64, unit: &str) -> String {
    if is_time(unit) { time(value) } else { amount(value) }
}

pub(crate) fn is_time(unit: &str) -> bool {
    unit.starts_with("ns")
}

/// A median with its quartiles.
pub(crate) fn spread(spread: Spread, unit: &str) -> String {
    let Spread { lower, median, upper } = spread;
    format!("{} [{} {}]", figure(median, unit), figure(lower, unit), figure(upper, unit))
}

/// From nanoseconds.
pub(crate) fn time(ns: f64) -> String {
    scaled(ns, &[(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (0.0, "ns")])
}

pub(crate) fn amount(value: f64) -> String {
    scaled(value, &[(1e9, "G"), (1e6, "M"), (1e3, "k"), (0.0, "")])
}

pub(crate) fn percent(part: f64) -> String {
    match part * 100.0 {
        large if large >= 10.0 => format!("{large:.0} %"),
        small => format!("{small:.1} %"),
    }
}

/// In the first unit that is small enough, with three digits.
fn scaled(value: f64, units: &[(f64, &str)]) -> String {
    // Halves a last digit less, so that 999.9 is not written as 1000 of its unit.
    let (size, name) = units.iter().find(|(size, _)| value >= size * 0.9995).copied().unwrap_or((0.0, ""));
    let number = if size > 0.0 { value / size } else { value };
    let text = match number {
        hundreds if hundreds >= 99.95 => format!("{hundreds:.0}"),
        tens if tens >= 9.995 => format!("{tens:.1}"),
        ones => format!("{ones:.2}"),
    };
    if name.is_empty() { text } else { format!("{text} {name}") }
}

/// For an axis: without zeros that say nothing.
pub(crate) fn label(value: f64, unit: &str) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let text = figure(value, unit);
    let (number, name) = text.split_once(' ').unwrap_or((&text, ""));
    let number = if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number };
    if name.is_empty() { number.to_owned() } else { format!("{number} {name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_a_unit() {
        assert_eq!(
            [0.314, 9.999, 45.26, 999.4, 999.6, 1240.0, 2.4e6, 6.1e10].map(time),
            ["0.31 ns", "10.0 ns", "45.3 ns", "999 ns", "1.00 µs", "1.24 µs", "2.40 ms", "61.0 s"]
        );
        assert_eq!([12.0, 1e3, 143.2e6, 4e9].map(amount), ["12.0", "1.00 k", "143 M", "4.00 G"]);
        assert_eq!(figure(5e3, "ns per burst"), "5.00 µs");
        assert_eq!(figure(5e3, "events per second"), "5.00 k");
    }

    #[test]
    fn labels_are_short() {
        assert_eq!([0.0, 0.5, 10.0, 100.0, 2e3].map(|ns| label(ns, "ns")), ["0", "0.5 ns", "10 ns", "100 ns", "2 µs"]);
        assert_eq!([20.0, 1.5e9].map(|value| label(value, "events")), ["20", "1.5 G"]);
    }

    #[test]
    fn parts_are_in_percent() {
        assert_eq!([0.004, 0.314, 1.2].map(percent), ["0.4 %", "31 %", "120 %"]);
    }
}

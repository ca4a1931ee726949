//! Axes: where a value has its place, and where there is a label.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

use super::units;

/// More than this between the least and the greatest, and a scale is logarithmic.
const LINEAR: f64 = 40.0;
/// Places on an axis, at most.
const LABELS: f64 = 6.0;

/// One dimension of a chart.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    pub(crate) is_log: bool,
    pub(crate) from: f64,
    pub(crate) to: f64,
    /// A value, and what is written there.
    labels: Vec<(f64, String)>,
}

impl Axis {
    /// For bars of these values: from zero if one can see them all, logarithmic if not. There is room for those of `more`
    /// that are not further away than `far` times.
    pub(crate) fn of_bars(values: &[f64], more: &[f64], far: f64, unit: &str) -> Self {
        let (least, greatest) = ends(values);
        let near = more.iter().copied().filter(|value| (least / far..=greatest * far).contains(value));
        let (from, to) = ends(&near.chain([least, greatest]).collect::<Vec<_>>());
        if greatest <= least * LINEAR { Self::linear(to, unit) } else { Self::log(from, to, unit) }
    }

    pub(crate) fn has(&self, value: f64) -> bool {
        (self.from..=self.to).contains(&value)
    }

    fn linear(greatest: f64, unit: &str) -> Self {
        let step = step(greatest / LABELS);
        let labels = (0..=(greatest / step) as u32).map(|count| f64::from(count) * step);
        let labels = labels.map(|value| (value, units::label(value, unit))).collect();
        Self { is_log: false, from: 0.0, to: greatest, labels }
    }

    /// From a little below the least to a little above the greatest.
    pub(crate) fn log(least: f64, greatest: f64, unit: &str) -> Self {
        let (from, to) = (least / 1.25, greatest * 1.25);
        let decades = from.log10().floor() as i32..=to.log10().ceil() as i32;
        let steps: &[f64] = if to < from * 100.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let values = decades.flat_map(|decade| steps.iter().map(move |step| step * 10_f64.powi(decade)));
        let labels = values.filter(|value| (from..=to).contains(value));
        Self { is_log: true, from, to, labels: labels.map(|value| (value, units::label(value, unit))).collect() }
    }

    /// Of percentiles: each nine as wide as the one before; the longest of all has its place one further.
    pub(crate) fn percentiles() -> Self {
        let labels = [(0.5, "50%"), (0.9, "90%"), (0.99, "99%"), (0.999, "99.9%"), (0.9999, "99.99%")];
        let mut labels: Vec<_> = labels.map(|(part, label)| (nines(part), label.to_owned())).into();
        labels.push((MAX_NINES, "max".to_owned()));
        Self { is_log: false, from: nines(0.5), to: MAX_NINES, labels }
    }

    /// Which part of the axis is below a value.
    fn part(&self, value: f64) -> f64 {
        let place = |value: f64| if self.is_log { value.log10() } else { value };
        (place(value.clamp(self.from, self.to)) - place(self.from)) / (place(self.to) - place(self.from))
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        limit.0 + (self.part(*value) * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        let all = self.labels.iter().map(|(value, _)| *value);
        if hint.weight().allow_light_points() { Vec::new() } else { all.collect() }
    }

    fn range(&self) -> Range<f64> {
        self.from..self.to
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        self.labels.iter().find(|(at, _)| at == value).map_or_else(String::new, |(_, label)| label.clone())
    }
}

/// Where the longest of all stands among percentiles, which are given as nines.
pub(crate) const MAX_NINES: f64 = 5.0;

/// How many nines a percentile has: `log10(1 / (1 - part))`.
pub(crate) fn nines(part: f64) -> f64 {
    -(1.0 - part).log10()
}

/// The least and the greatest of those above zero.
fn ends(values: &[f64]) -> (f64, f64) {
    let some = values.iter().copied().filter(|value| *value > 0.0 && value.is_finite());
    let (least, greatest) = some.fold((f64::MAX, 0.0_f64), |(least, most), value| (least.min(value), most.max(value)));
    if greatest > 0.0 { (least, greatest) } else { (1.0, 1.0) }
}

/// The least of 1, 2, 5, 10, 20 and so on that is not below `value`.
fn step(value: f64) -> f64 {
    let decade = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0].map(|step| step * decade);
    steps.into_iter().find(|step| *step >= value * 0.999_999).unwrap_or(10.0 * decade)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.labels.iter().map(|(_, label)| label.as_str()).collect()
    }

    /// Where values are on an axis of a thousand pixels.
    fn pixels<const N: usize>(axis: &Axis, values: [f64; N]) -> [i32; N] {
        values.map(|value| axis.map(&value, (0, 1000)))
    }

    #[test]
    fn bars_begin_at_zero_where_they_can() {
        let axis = Axis::of_bars(&[140e6, 10e6], &[], 2.0, "events per second");
        assert_eq!(labels(&axis), ["0", "50 M", "100 M"]);
        assert_eq!(pixels(&axis, [0.0, 70e6, 140e6, 300e6]), [0, 500, 1000, 1000]);
        assert!(!axis.is_log);
    }

    #[test]
    fn bars_that_would_not_be_seen_are_logarithmic() {
        let axis = Axis::of_bars(&[125.0, 80_000.0, 0.0], &[], 2.0, "ns");
        assert_eq!(labels(&axis), ["100 ns", "1 µs", "10 µs", "100 µs"]);
        assert_eq!(pixels(&axis, [0.0, 100.0, 1e3, 1e4, 1e5, 1e9]), [0, 0, 333, 667, 1000, 1000]);
        assert!(axis.is_log);
    }

    #[test]
    fn a_value_far_away_does_not_make_the_others_small() {
        let to = |more: f64| Axis::of_bars(&[10.0, 30.0], &[more], 2.0, "ns").to;
        assert_eq!([20.0, 50.0, 90.0].map(to), [30.0, 50.0, 30.0]);
        let axis = Axis::of_bars(&[10.0, 1000.0], &[6.0, 9000.0], 2.0, "ns");
        assert_eq!([4.0, 6.0, 1000.0, 9000.0].map(|value| axis.has(value)), [false, true, true, false]);
    }

    #[test]
    fn a_short_logarithmic_axis_has_labels_between_decades() {
        assert_eq!(labels(&Axis::log(30.0, 600.0, "ns")), ["50 ns", "100 ns", "200 ns", "500 ns"]);
    }

    #[test]
    fn labels_are_few_and_round() {
        assert_eq!([0.9, 1.0, 1.1, 2.3, 5.5, 12.0].map(step), [1.0, 1.0, 2.0, 5.0, 10.0, 20.0]);
        for greatest in [0.31, 1.0, 7.7, 99.0, 4.2e9] {
            let count = Axis::linear(greatest, "ns").labels.len();
            assert!((3..=7).contains(&count), "{count} labels up to {greatest}");
        }
    }

    #[test]
    fn each_nine_is_as_wide_as_the_one_before() {
        let axis = Axis::percentiles();
        let place = |part| axis.map(&nines(part), (0, 47_000));
        // From 0.301 to 5 nines, so one of them is 10,003 wide.
        let places = [0.5, 0.9, 0.99, 0.999].map(|part| f64::from(place(part)) / 10_003.0);
        assert_eq!(places.map(|place| (place * 1000.0).round()), [0.0, 699.0, 1699.0, 2699.0]);
        assert_eq!((axis.format_ext(&MAX_NINES), axis.format_ext(&1.5)), ("max".to_owned(), String::new()));
    }

    #[test]
    fn nothing_to_show_is_an_axis_all_the_same() {
        assert_eq!(labels(&Axis::of_bars(&[0.0, f64::NAN], &[], 2.0, "ns")).first(), Some(&"0"));
    }
}

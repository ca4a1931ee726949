//! Contenders in turn, in short slices, in random order; and what comes of it.

use hdrhistogram::Histogram;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use serde::Serialize;

use super::costs::Costs;
use super::limits::Limit;

/// One that is measured beside others.
pub(crate) struct Contender {
    name: String,
    slice: Box<dyn FnMut() -> Figure>,
}

/// What one slice gives.
pub(crate) struct Figure {
    /// In the unit of its table.
    pub(crate) value: f64,
    /// In nanoseconds, where the workload is about time.
    pub(crate) latency: Option<Histogram<u64>>,
}

impl From<f64> for Figure {
    fn from(value: f64) -> Self {
        Self { value, latency: None }
    }
}

impl Contender {
    pub(crate) fn new<F: Into<Figure>>(name: impl Into<String>, mut slice: impl FnMut() -> F + 'static) -> Self {
        Self { name: name.into(), slice: Box::new(move || slice().into()) }
    }
}

/// Contenders side by side, in one workload with one setting.
#[derive(Serialize)]
pub(crate) struct Table {
    /// The workload's short name and what is set.
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    /// True when the larger figure is the better one.
    pub(crate) more_is_better: bool,
    /// What a reader must know: that there were fewer cores than threads, say.
    pub(crate) notes: Vec<String>,
    pub(crate) rows: Vec<Row>,
    /// What nobody can beat here.
    pub(crate) limits: Vec<Limit>,
    /// What the machine took for single things before each round, and after the last.
    pub(crate) costs: Vec<Costs>,
}

/// What one contender did.
#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// Round by round.
    pub(crate) figures: Vec<f64>,
    pub(crate) spread: Spread,
    /// The first contender against this one, slice against slice of the same round; above one, the first is better.
    pub(crate) first_against_this: Spread,
    pub(crate) latency_ns: Option<Percentiles>,
    /// For the curves: percentile and nanoseconds.
    pub(crate) curve: Vec<(f64, u64)>,
}

/// A median with its quartiles.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) lower: f64,
    pub(crate) median: f64,
    pub(crate) upper: f64,
}

impl Spread {
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<_> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |part: f64| {
            let place = part * (sorted.len() - 1) as f64;
            let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
            // Against a figure of zero a ratio is endless, and two of them have no difference.
            if below == above { below } else { below + (above - below) * place.fract() }
        };
        Self { lower: at(0.25), median: at(0.5), upper: at(0.75) }
    }
}

/// Of all slices together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) p9999: u64,
    pub(crate) max: u64,
}

/// A histogram of nanoseconds, up to a minute, with three digits.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are in order")
}

impl Percentiles {
    fn of(latency: &Histogram<u64>) -> Self {
        let at = |percentile| latency.value_at_percentile(percentile);
        Self { p50: at(50.0), p90: at(90.0), p99: at(99.0), p999: at(99.9), p9999: at(99.99), max: latency.max() }
    }
}

/// Runs every contender once in each round, after one that does not count.
pub(crate) fn run(
    name: impl Into<String>,
    unit: &'static str,
    more_is_better: bool,
    mut contenders: Vec<Contender>,
    rounds: usize,
    seed: u64,
) -> Table {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut figures = vec![Vec::with_capacity(rounds); contenders.len()];
    let mut latencies: Vec<Option<Histogram<u64>>> = contenders.iter().map(|_| None).collect();
    let mut order: Vec<_> = (0..contenders.len()).collect();
    let mut costs = Vec::with_capacity(rounds + 1);
    for round in 0..=rounds {
        if round > 0 {
            costs.push(Costs::now());
        }
        order.shuffle(&mut random);
        for &at in &order {
            let figure = (contenders[at].slice)();
            if round == 0 {
                continue;
            }
            figures[at].push(figure.value);
            if let Some(latency) = figure.latency {
                let all = latencies[at].get_or_insert_with(histogram);
                all.add(&latency).expect("both have the same bounds");
            }
        }
    }
    costs.push(Costs::now());
    let first = figures[0].clone();
    let rows = contenders.into_iter().zip(figures).zip(latencies).map(|((contender, figures), latency)| Row {
        name: contender.name,
        spread: Spread::of(figures.iter().copied()),
        first_against_this: against(&first, &figures, more_is_better),
        latency_ns: latency.as_ref().map(Percentiles::of),
        curve: latency.map_or_else(Vec::new, |latency| curve(&latency)),
        figures,
    });
    Table {
        name: name.into(),
        unit,
        more_is_better,
        notes: Vec::new(),
        rows: rows.collect(),
        limits: Vec::new(),
        costs,
    }
}

/// How many times better one is than the other, slice against slice of the same round.
pub(crate) fn against(one: &[f64], other: &[f64], more_is_better: bool) -> Spread {
    let better = |(one, other): (&f64, &f64)| if more_is_better { one / other } else { other / one };
    Spread::of(one.iter().zip(other).map(better))
}

/// So many nanoseconds at each percentile, closer and closer to all of them.
fn curve(latency: &Histogram<u64>) -> Vec<(f64, u64)> {
    latency
        .iter_quantiles(4)
        .map(|step| (step.quantile_iterated_to(), step.value_iterated_to()))
        .take_while(|(quantile, _)| *quantile < 0.999_999)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_median_and_its_quartiles() {
        assert_eq!(Spread::of([4.0, 1.0, 3.0, 2.0, 5.0]), Spread { lower: 2.0, median: 3.0, upper: 4.0 });
        assert_eq!(Spread::of([1.0, 2.0]), Spread { lower: 1.25, median: 1.5, upper: 1.75 });
        let endless = f64::INFINITY;
        let spread = Spread::of([1.0, endless, endless]);
        assert_eq!(spread, Spread { lower: endless, median: endless, upper: endless });
    }

    #[test]
    fn ratios_are_of_the_same_round_and_say_how_much_better_the_first_is() {
        let contenders = vec![Contender::new("first", || 4.0), Contender::new("half as good", || 8.0)];
        let table = run("t", "ns", false, contenders, 5, 1);
        assert_eq!(table.rows[1].first_against_this.median, 2.0);
        assert_eq!(table.rows[0].figures.len(), 5);
    }

    #[test]
    fn latencies_of_all_rounds_are_one_histogram() {
        let slice = || {
            let mut latency = histogram();
            (1..=1000).for_each(|ns| latency.record(ns).unwrap());
            Figure { value: 1.0, latency: Some(latency) }
        };
        let table = run("t", "ns", false, vec![Contender::new("a", slice)], 3, 1);
        let latency = table.rows[0].latency_ns.unwrap();
        assert_eq!((latency.p50, latency.p99, latency.max), (500, 990, 1000));
        assert!(table.rows[0].curve.len() > 5);
    }
}

//! Contenders in turn, in short slices, in random order; and what comes of it.

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use serde::Serialize;

/// One that is measured beside others.
pub(crate) struct Contender {
    pub(crate) name: String,
    /// Runs one slice; returns its figure.
    pub(crate) slice: Box<dyn FnMut() -> f64>,
}

impl Contender {
    pub(crate) fn new(name: impl Into<String>, slice: impl FnMut() -> f64 + 'static) -> Self {
        Self { name: name.into(), slice: Box::new(slice) }
    }
}

/// What one contender did, round by round.
#[derive(Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) figures: Vec<f64>,
    pub(crate) spread: Spread,
    /// Against the first contender, slice against slice of the same round.
    pub(crate) ratio: Spread,
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
            below + (above - below) * place.fract()
        };
        Self { lower: at(0.25), median: at(0.5), upper: at(0.75) }
    }
}

/// Runs every contender once in each round, after one that does not count.
pub(crate) fn run(mut contenders: Vec<Contender>, rounds: usize, seed: u64) -> Vec<Row> {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut figures = vec![Vec::with_capacity(rounds); contenders.len()];
    let mut order: Vec<_> = (0..contenders.len()).collect();
    for round in 0..=rounds {
        order.shuffle(&mut random);
        for &at in &order {
            let figure = (contenders[at].slice)();
            if round > 0 {
                figures[at].push(figure);
            }
        }
    }
    let first = figures[0].clone();
    contenders
        .into_iter()
        .zip(figures)
        .map(|(contender, figures)| Row {
            name: contender.name,
            spread: Spread::of(figures.iter().copied()),
            ratio: Spread::of(figures.iter().zip(&first).map(|(figure, first)| figure / first)),
            figures,
        })
        .collect()
}

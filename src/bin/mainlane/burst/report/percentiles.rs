//! How long it took at each percentile, one line a contender.

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::super::rounds::{Percentiles, Row, Table};
use super::axis::{self, Axis};
use super::charts::{self, Canvas, Drawn, GRID, INK, WIDTH};
use super::verdict::is_ours;

const HEIGHT: u32 = 380;
const LEGEND_ROW: i32 = 20;
/// Nearer to the place of the longest of all there is nothing to tell them apart.
const LAST_NINES: f64 = 4.7;

/// `None` where there are no times.
pub(crate) fn percentiles(table: &Table) -> Option<String> {
    let timed: Vec<_> = table.rows.iter().filter_map(|row| Some((row, row.latency_ns?))).collect();
    let shows = format!("times at each percentile of {}", table.name);
    (!timed.is_empty()).then(|| charts::svg(HEIGHT, &shows, |canvas| draw(table, &timed, canvas)))
}

/// Percentiles as nines, and nanoseconds there.
fn line(row: &Row, latency: &Percentiles) -> Vec<(f64, u64)> {
    let steps = row.curve.iter().map(|(part, ns)| (axis::nines(*part), *ns));
    let between = steps.filter(|(nines, _)| (axis::nines(0.5)..LAST_NINES).contains(nines));
    [(axis::nines(0.5), latency.p50)].into_iter().chain(between).chain([(axis::MAX_NINES, latency.max)]).collect()
}

fn draw(table: &Table, timed: &[(&Row, Percentiles)], canvas: &Canvas<'_>) -> Drawn {
    let colours = charts::colours(table.rows.iter().map(|row| row.name.as_str()));
    let mut lines: Vec<_> = (table.rows.iter().zip(colours))
        .filter_map(|(row, colour)| Some((row, line(row, &row.latency_ns?), colour)))
        .collect();
    let all: Vec<_> = timed.iter().flat_map(|(_, times)| [times.p50.max(1) as f64, times.max.max(1) as f64]).collect();
    let (least, most) = all.iter().fold((f64::MAX, 1.0_f64), |(least, most), ns| (least.min(*ns), most.max(*ns)));
    let (x, y) = (Axis::percentiles(), Axis::log(least, most, "ns"));
    let legend = timed.iter().map(|(row, _)| charts::width(&row.name)).max().unwrap_or(0) + 50;
    let mut chart = ChartBuilder::on(canvas)
        .margin_top(12)
        .margin_right(legend.min(WIDTH / 2))
        .x_label_area_size(46)
        .y_label_area_size(66)
        .build_cartesian_2d(x.clone(), y.clone())?;
    chart
        .configure_mesh()
        .x_desc("percentile")
        .label_style(charts::text(INK, HPos::Center))
        .axis_desc_style(charts::text(INK, HPos::Center))
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(GRID)
        .draw()?;
    // Ours last, above the others.
    lines.sort_by_key(|(row, ..)| is_ours(&row.name));
    for (row, points, colour) in &lines {
        let points = points.iter().map(|(nines, ns)| (*nines, *ns as f64));
        let wide = if is_ours(&row.name) { 3 } else { 2 };
        chart.plotting_area().draw(&PathElement::new(points.collect::<Vec<_>>(), colour.stroke_width(wide)))?;
    }
    // The legend from top to bottom, as the lines are where the tail begins.
    lines.sort_by_key(|(row, ..)| std::cmp::Reverse(row.latency_ns.map(|times| times.p99)));
    let (left, top) = chart.backend_coord(&(x.to, y.to));
    for (number, (row, _, colour)) in lines.iter().enumerate() {
        let (left, line) = (left + 12, top + 8 + number as i32 * LEGEND_ROW);
        let wide = if is_ours(&row.name) { 4 } else { 2 };
        canvas.draw(&PathElement::new([(left, line), (left + 20, line)], colour.stroke_width(wide)))?;
        canvas.draw(&Text::new(row.name.clone(), (left + 26, line), charts::text(INK, HPos::Left)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::super::rounds::{self, Contender, Figure};
    use super::*;

    fn table(slice: impl Fn() -> Figure + 'static) -> Table {
        rounds::run("t", "ns", false, vec![Contender::new("mainlane", slice)], 1, 1)
    }

    #[test]
    fn a_line_goes_from_the_median_to_the_longest() {
        let table = table(|| {
            let mut latency = rounds::histogram();
            (1..=1000).for_each(|ns| latency.record(ns).unwrap());
            Figure { value: 1.0, latency: Some(latency) }
        });
        let row = &table.rows[0];
        let line = line(row, &row.latency_ns.unwrap());
        assert_eq!((line[0].1, line.last().unwrap()), (500, &(axis::MAX_NINES, 1000)));
        assert!(line.windows(2).all(|two| two[0].0 <= two[1].0 && two[0].1 <= two[1].1), "{line:?}");
        assert!(percentiles(&table).unwrap().contains("<polyline"));
    }

    #[test]
    fn without_times_there_is_no_chart() {
        assert_eq!(percentiles(&table(|| 1.0.into())), None);
    }
}

//! Medians side by side, with their quartiles, and the limits.

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::super::rounds::{Row, Spread, Table};
use super::axis::Axis;
use super::charts::{self, Canvas, Drawn, GRID, INK, LIMIT, PEER, WIDTH};
use super::units;
use super::verdict::is_ours;

const ROW: u32 = 24;
const ABOVE: u32 = 20;
const BELOW: u32 = 46;
/// For the figure beside the longest bar.
const RIGHT: u32 = 80;
/// Half of a bar, where a row is one high.
const HALF: f64 = 0.32;
/// A limit or a quartile that is further away than this would leave no room for the bars.
const FAR: f64 = 2.5;

/// One bar for each row; dots where the scale is logarithmic, for the length of a bar would mean nothing there.
pub(crate) fn bars(table: &Table) -> String {
    let height = table.rows.len() as u32 * ROW + ABOVE + BELOW;
    charts::svg(height, &format!("medians of {}, {}", table.name, table.unit), |canvas| draw(table, canvas))
}

/// True if the chart has room for a limit.
pub(crate) fn is_shown(table: &Table, limit: f64) -> bool {
    axis(table).has(limit)
}

fn axis(table: &Table) -> Axis {
    let medians: Vec<_> = table.rows.iter().map(|row| row.spread.median).collect();
    let quartiles = table.rows.iter().flat_map(|row| [row.spread.lower, row.spread.upper]);
    let more: Vec<_> = quartiles.chain(table.limits.iter().map(|limit| limit.value.median)).collect();
    Axis::of_bars(&medians, &more, FAR, table.unit)
}

fn draw(table: &Table, canvas: &Canvas<'_>) -> Drawn {
    let axis = axis(table);
    let names = table.rows.iter().map(|row| charts::width(&row.name)).max().unwrap_or(0) + 12;
    let rows = table.rows.len() as f64;
    let mut chart = ChartBuilder::on(canvas)
        .margin_top(ABOVE)
        .margin_right(RIGHT)
        .x_label_area_size(BELOW)
        .y_label_area_size(names.min(WIDTH / 2))
        .build_cartesian_2d(axis.clone(), 0.0..rows)?;
    let better = if table.more_is_better { "more is better" } else { "less is better" };
    let scale = if axis.is_log { ", logarithmic" } else { "" };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .x_desc(format!("{}{scale}; {better}", table.unit))
        .label_style(charts::text(INK, HPos::Center))
        .axis_desc_style(charts::text(INK, HPos::Center))
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(GRID)
        .draw()?;
    let ours = charts::colours(table.rows.iter().map(|row| row.name.as_str()));
    for (at, (row, colour)) in table.rows.iter().zip(ours).enumerate() {
        let (middle, is_ours) = (rows - at as f64 - 0.5, is_ours(&row.name));
        let colour = if is_ours { colour } else { PEER };
        let Spread { lower, median, upper } = row.spread;
        let area = chart.plotting_area();
        if axis.is_log {
            area.draw(&PathElement::new([(axis.from, middle), (median, middle)], GRID))?;
        } else {
            area.draw(&Rectangle::new([(0.0, middle - HALF), (median, middle + HALF)], colour.filled()))?;
        }
        area.draw(&PathElement::new([(lower, middle), (upper, middle)], INK))?;
        // A whisker without an end goes further than the chart.
        for end in [lower, upper].into_iter().filter(|end| axis.has(*end)) {
            area.draw(&PathElement::new([(end, middle - HALF / 2.0), (end, middle + HALF / 2.0)], INK))?;
        }
        if axis.is_log {
            area.draw(&Circle::new((median, middle), 5, colour.filled()))?;
        }
        let (left, (right, line)) = (chart.backend_coord(&(axis.from, middle)), chart.backend_coord(&(upper, middle)));
        canvas.draw(&Text::new(row.name.clone(), (left.0 - 8, left.1), named(is_ours, HPos::Right)))?;
        canvas.draw(&Text::new(figure(row, table.unit), (right + 8, line), named(is_ours, HPos::Left)))?;
    }
    let limits = table.limits.iter().map(|limit| limit.value.median).enumerate();
    for (number, limit) in limits.filter(|(_, limit)| axis.has(*limit)) {
        let (x, top) = chart.backend_coord(&(limit, rows));
        let (_, bottom) = chart.backend_coord(&(limit, 0.0));
        for dash in (top..bottom).step_by(8) {
            canvas.draw(&PathElement::new([(x, dash), (x, (dash + 5).min(bottom))], LIMIT.stroke_width(2)))?;
        }
        let name = if table.limits.len() == 1 { "limit".to_owned() } else { format!("limit {}", number + 1) };
        canvas.draw(&Text::new(name, (x, top - 9), charts::text(LIMIT, HPos::Center)))?;
    }
    Ok(())
}

fn figure(row: &Row, unit: &str) -> String {
    units::figure(row.spread.median, unit)
}

fn named(is_ours: bool, side: HPos) -> TextStyle<'static> {
    let style = charts::text(INK, side);
    if is_ours { TextStyle { font: style.font.style(FontStyle::Bold), ..style } } else { style }
}

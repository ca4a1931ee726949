//! What both kinds of charts have in common: the canvas, the colours, and texts.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::verdict::is_ours;

pub(crate) type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;
/// Drawing into a string fails for no reason but a mistake here.
pub(crate) type Drawn = Result<(), Box<dyn std::error::Error>>;

pub(crate) const WIDTH: u32 = 880;
/// About what a character takes, in a font that the browser chooses.
const CHARACTER: u32 = 7;
/// What the backend divides the size of a font by.
const FONT: f64 = 12.0 * 1.24;

// In the dark the page has other colours for these and for the first of ours; the others do for both.
pub(crate) const INK: RGBColor = RGBColor(0x1F, 0x24, 0x30);
pub(crate) const GRID: RGBColor = RGBColor(0xE2, 0xE5, 0xEA);
pub(crate) const PEER: RGBColor = RGBColor(0xA9, 0xB1, 0xBD);
pub(crate) const LIMIT: RGBColor = RGBColor(0xC2, 0x41, 0x0C);

/// Ours, the first and the others.
const OURS: [RGBColor; 4] =
    [RGBColor(0x0B, 0x5C, 0xC4), RGBColor(0x22, 0xA7, 0xC3), RGBColor(0x6A, 0x5A, 0xE0), RGBColor(0x3F, 0x8F, 0xEE)];
/// The others, where each must be told from the rest.
const PEERS: [RGBColor; 9] = [
    RGBColor(0xD1, 0x49, 0x5B),
    RGBColor(0xE0, 0x8E, 0x1B),
    RGBColor(0x4E, 0x9A, 0x51),
    RGBColor(0x95, 0x5F, 0xB5),
    RGBColor(0x9C, 0x6B, 0x45),
    RGBColor(0xC9, 0x5F, 0xA0),
    RGBColor(0x8A, 0x92, 0x2E),
    RGBColor(0x6E, 0x7B, 0x8B),
    INK,
];

/// Draws on a canvas of so many pixels; the SVG, with what it shows for those who cannot see it.
///
/// # Panics
/// When something cannot be drawn.
pub(crate) fn svg(height: u32, shows: &str, draw: impl FnOnce(&Canvas<'_>) -> Drawn) -> String {
    let mut svg = String::new();
    {
        let canvas = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        draw(&canvas).expect("a string takes whatever is drawn");
        canvas.present().expect("a string takes whatever is drawn");
    }
    svg.replacen("<svg ", &format!("<svg role=\"img\" aria-label=\"{}\" ", super::page::escape(shows)), 1)
}

/// A colour for each row, by whether it is ours.
pub(crate) fn colours<'a>(rows: impl IntoIterator<Item = &'a str>) -> Vec<RGBColor> {
    let (mut ours, mut peers) = (OURS.into_iter().cycle(), PEERS.into_iter().cycle());
    let next = |row| if is_ours(row) { ours.next() } else { peers.next() };
    rows.into_iter().filter_map(next).collect()
}

/// How wide a text will be, at most.
pub(crate) fn width(text: &str) -> u32 {
    text.chars().count() as u32 * CHARACTER
}

pub(crate) fn text(colour: RGBColor, horizontal: HPos) -> TextStyle<'static> {
    let font = ("sans-serif", FONT).into_font();
    TextStyle { font, color: colour.to_backend_color(), pos: Pos::new(horizontal, VPos::Center) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_are_told_from_the_others_by_colour() {
        let colours = colours(["mainlane, a", "disruptor", "mainlane, b", "rtrb"]);
        assert_eq!(colours, [OURS[0], PEERS[0], OURS[1], PEERS[1]]);
    }

    #[test]
    fn texts_are_escaped() {
        let write = |canvas: &Canvas<'_>| Ok(canvas.draw(&Text::new("a < b", (1, 1), text(INK, HPos::Left)))?);
        let svg = svg(10, "\"<what>\"", write);
        assert!(svg.starts_with("<svg role=\"img\" aria-label=\"&quot;&lt;what&gt;&quot;\" "), "{svg}");
        assert!(svg.contains("a &lt; b") && svg.trim_end().ends_with("</svg>"), "{svg}");
    }
}

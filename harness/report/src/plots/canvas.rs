//! The sheet that plots are drawn on: a plotters SVG surface with a closed set of inks.
//!
//! Every ink has a colour of its own, so that a drawing can be themed afterwards by replacing colours: in a page they
//! become CSS variables that follow light and dark, in a file they stay as they are on white.

use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

/// Pixels of the drawing for each unit of layout: lines stay smooth, since plotters rounds to whole pixels.
const SCALE: f64 = 2.0;
/// plotters divides sizes by this on the way to SVG.
const FONT_DIVISOR: f64 = 1.24;

/// Mean width of a glyph for each unit of size, a little more than that of the usual sans-serif fonts.
const GLYPH: f64 = 0.55;

/// What something is drawn in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// The sheet.
    Paper,
    /// Words and axes.
    Text,
    /// Lines that help reading and mean nothing.
    Grid,
    /// What has no verdict.
    Muted,
    /// A variant or a line, by its place.
    Series(usize),
    /// Better.
    Good,
    /// Worse.
    Bad,
    /// Not to be compared.
    Odd,
}

/// The first four are colours of Okabe and Ito (2008), told apart with every kind of colour vision; the others differ from
/// them in lightness. No two lines have the same dashes, so colour is never all that tells them apart.
const SERIES: [(&str, &str, &str); SERIES_MAX] = [
    ("#0072B2", "--series-1", ""),
    ("#D55E00", "--series-2", "14 7"),
    ("#009E73", "--series-3", "4 6"),
    ("#CC79A7", "--series-4", "18 6 4 6"),
    ("#303030", "--series-5", "30 6"),
    ("#8C564B", "--series-6", "8 4"),
    ("#56B4E9", "--series-7", "18 5 4 5 4 5"),
    ("#A58A00", "--series-8", "2 4 14 4"),
    ("#A31545", "--series-9", "6 3 6 9"),
    ("#4A5560", "--series-10", "22 4 10 4"),
];

/// How many lines can be told apart: as many as a ledger has steps.
pub const SERIES_MAX: usize = 10;

const INKS: [(Ink, &str, &str); 7] = [
    (Ink::Paper, "#FFFFFF", "--paper"),
    (Ink::Text, "#1B1F24", "--text"),
    (Ink::Grid, "#D9DCE1", "--grid"),
    (Ink::Muted, "#66707B", "--muted"),
    (Ink::Good, "#007C5A", "--good"),
    (Ink::Bad, "#B94A00", "--bad"),
    (Ink::Odd, "#A0528A", "--odd"),
];

impl Ink {
    fn hex(self) -> &'static str {
        match self {
            Self::Series(index) => SERIES[index % SERIES.len()].0,
            other => INKS.iter().find(|(ink, ..)| *ink == other).map_or("#000000", |(_, hex, _)| hex),
        }
    }

    fn rgb(self) -> RGBColor {
        let part = |at: usize| u8::from_str_radix(&self.hex()[at..at + 2], 16).unwrap_or(0);
        RGBColor(part(1), part(3), part(5))
    }
}

/// How a text stands to its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// It begins there.
    Left,
    /// Its middle is there.
    Center,
    /// It ends there.
    Right,
}

/// A sheet. Lengths are in units of layout, the origin is at the upper left. Drawing into a string cannot fail, so
/// what plotters answers is dropped.
pub struct Canvas<'a>(DrawingArea<SVGBackend<'a>, Shift>);

/// Draws on a sheet of this size and returns the SVG.
pub fn sheet(width: f64, height: f64, draw: impl FnOnce(&Canvas<'_>)) -> String {
    let mut svg = String::new();
    {
        let size = ((width * SCALE) as u32, (height * SCALE) as u32);
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        let canvas = Canvas(area);
        canvas.rectangle(0.0, 0.0, width, height, Ink::Paper, 1.0);
        draw(&canvas);
        let _ = canvas.0.present();
    }
    dashed(&svg)
}

fn pixel((x, y): (f64, f64)) -> (i32, i32) {
    ((x * SCALE).round() as i32, (y * SCALE).round() as i32)
}

impl Canvas<'_> {
    /// A line through points.
    pub fn line(&self, points: &[(f64, f64)], ink: Ink, width: f64) {
        let style = ink.rgb().stroke_width((width * SCALE).round().max(1.0) as u32);
        let points: Vec<(i32, i32)> = points.iter().map(|&point| pixel(point)).collect();
        let _ = self.0.draw(&PathElement::new(points, style));
    }

    /// A filled area.
    pub fn area(&self, points: &[(f64, f64)], ink: Ink, opacity: f64) {
        let points: Vec<(i32, i32)> = points.iter().map(|&point| pixel(point)).collect();
        let _ = self.0.draw(&Polygon::new(points, ink.rgb().mix(opacity).filled()));
    }

    /// A filled rectangle from corner to corner.
    pub fn rectangle(&self, x0: f64, y0: f64, x1: f64, y1: f64, ink: Ink, opacity: f64) {
        let _ = self.0.draw(&Rectangle::new([pixel((x0, y0)), pixel((x1, y1))], ink.rgb().mix(opacity).filled()));
    }

    /// A disc; `hollow` leaves only its rim.
    pub fn disc(&self, at: (f64, f64), radius: f64, ink: Ink, hollow: bool) {
        let size = (radius * SCALE) as i32;
        if hollow {
            let _ = self.0.draw(&Circle::new(pixel(at), size, Ink::Paper.rgb().filled()));
            let _ = self.0.draw(&Circle::new(pixel(at), size, ink.rgb().stroke_width((1.5 * SCALE) as u32)));
        } else {
            let _ = self.0.draw(&Circle::new(pixel(at), size, ink.rgb().filled()));
        }
    }

    /// A word or two, its middle line at `at`.
    pub fn text(&self, words: &str, at: (f64, f64), size: f64, align: Align, ink: Ink) {
        self.letters(words, at, size, align, ink, FontStyle::Normal);
    }

    /// The same in bold.
    pub fn bold(&self, words: &str, at: (f64, f64), size: f64, align: Align, ink: Ink) {
        self.letters(words, at, size, align, ink, FontStyle::Bold);
    }

    fn letters(&self, words: &str, at: (f64, f64), size: f64, align: Align, ink: Ink, weight: FontStyle) {
        let horizontal = match align {
            Align::Left => HPos::Left,
            Align::Center => HPos::Center,
            Align::Right => HPos::Right,
        };
        let colour = ink.rgb();
        let style = TextStyle::from(("sans-serif", size * SCALE * FONT_DIVISOR, weight).into_font())
            .color(&colour)
            .pos(Pos::new(horizontal, VPos::Center));
        let _ = self.0.draw(&Text::new(words.to_owned(), pixel(at), style));
    }
}

/// How wide a text is at most, in units of layout: no fonts are read, so that the same records give the same bytes everywhere.
pub fn width_of(words: &str, size: f64) -> f64 {
    words.chars().count() as f64 * size * GLYPH
}

/// A text cut to a width, with an ellipsis where something was cut.
pub fn fitting(words: &str, size: f64, width: f64) -> String {
    let most = (width / (size * GLYPH)).floor().max(1.0) as usize;
    if words.chars().count() <= most {
        return words.to_owned();
    }
    words.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// Gives the lines of each series their dashes, which plotters has no words for.
fn dashed(svg: &str) -> String {
    SERIES.iter().filter(|(.., dashes)| !dashes.is_empty()).fold(svg.to_owned(), |svg, (hex, _, dashes)| {
        svg.replace(
            &format!("<polyline fill=\"none\" opacity=\"1\" stroke=\"{hex}\""),
            &format!("<polyline fill=\"none\" opacity=\"1\" stroke-dasharray=\"{dashes}\" stroke=\"{hex}\""),
        )
    })
}

/// The drawing as a part of a page: it fills the width that it is given, follows the page's colours, and says to a
/// screen reader what it shows.
pub fn inline(svg: &str, description: &str) -> String {
    let Some((_, rest)) = svg.split_once("viewBox=") else { return svg.to_owned() };
    let mut inner = format!("<svg role=\"img\" aria-label=\"{}\" viewBox={rest}", attribute(description));
    let named = INKS.iter().map(|(_, hex, name)| (hex, name)).chain(SERIES.iter().map(|(hex, name, _)| (hex, name)));
    for (hex, name) in named {
        inner = inner.replace(&format!("\"{hex}\""), &format!("\"var({name})\""));
    }
    inner
}

/// The drawing as a file of its own, with its description for screen readers.
pub fn standalone(svg: &str, description: &str) -> String {
    svg.replacen("<svg ", &format!("<svg role=\"img\" aria-label=\"{}\" ", attribute(description)), 1)
}

fn attribute(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

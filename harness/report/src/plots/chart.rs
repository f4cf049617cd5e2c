//! A chart of lines: two axes with ticks that carry their units, a legend above, bands behind the lines, events below.

use super::canvas::{Align, Canvas, Ink, fitting, sheet, width_of};

/// Width of every plot in units of layout; the page scales it.
pub const WIDTH: f64 = 560.0;
/// Size of the words.
pub const TEXT: f64 = 13.0;
const TITLE: f64 = 15.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 18.0;
const PLOT_HEIGHT: f64 = 230.0;
const ROW: f64 = 19.0;

/// An axis: positions are already transformed (a logarithm, where the axis is logarithmic).
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it shows, in which unit, and which way is better.
    pub label: String,
    /// From where to where.
    pub range: (f64, f64),
    /// Position and word of each tick.
    pub ticks: Vec<(f64, String)>,
}

/// One line.
#[derive(Clone, Debug)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Its place in the order of colours.
    pub place: usize,
    /// Its points.
    pub points: Vec<(f64, f64)>,
    /// Low and high at some x: an interval behind the line.
    pub band: Vec<(f64, f64, f64)>,
    /// Whether each point is marked.
    pub marked: bool,
}

/// Something that happened at some times.
#[derive(Clone, Debug)]
pub struct Lane {
    /// What.
    pub name: String,
    /// The colour of its variant.
    pub place: usize,
    /// From when to when.
    pub spans: Vec<(f64, f64)>,
}

/// A vertical line with a word.
#[derive(Clone, Debug)]
pub struct Mark {
    /// Where.
    pub x: f64,
    /// The word; may be empty.
    pub word: String,
}

/// A chart of lines.
#[derive(Clone, Debug)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis; its label stands above it.
    pub y: Axis,
    /// The lines.
    pub series: Vec<Series>,
    /// Events below the lines.
    pub lanes: Vec<Lane>,
    /// Vertical lines.
    pub marks: Vec<Mark>,
}

struct Frame {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

impl Chart {
    /// The chart as SVG.
    pub fn draw(&self) -> String {
        let legend = legend_rows(&self.series.iter().map(|series| series.name.as_str()).collect::<Vec<_>>());
        let top = 14.0 + TITLE + ROW * (1 + legend.len()) as f64 + 8.0;
        let frame = Frame { left: LEFT, right: WIDTH - RIGHT, top, bottom: top + PLOT_HEIGHT };
        let lanes_height = ROW * self.lanes.len() as f64;
        let height = frame.bottom + lanes_height + 2.0 * ROW + 12.0;
        sheet(WIDTH, height, |canvas| {
            canvas.bold(&fitting(&self.title, TITLE, WIDTH - 24.0), (12.0, 16.0), TITLE, Align::Left, Ink::Text);
            let y_label = fitting(&self.y.label, TEXT, WIDTH - 24.0);
            canvas.text(&y_label, (12.0, 16.0 + TITLE + 4.0), TEXT, Align::Left, Ink::Text);
            self.legend(canvas, &legend, 16.0 + TITLE + 4.0 + ROW);
            self.grid(canvas, &frame, lanes_height);
            for series in &self.series {
                self.band(canvas, &frame, series);
            }
            for series in &self.series {
                let points: Vec<(f64, f64)> =
                    series.points.iter().map(|&(x, y)| (self.across(&frame, x), self.up(&frame, y))).collect();
                if points.len() > 1 {
                    canvas.line(&points, Ink::Series(series.place), 2.0);
                }
                if series.marked || points.len() == 1 {
                    for &point in &points {
                        canvas.disc(point, 3.5, Ink::Series(series.place), series.place % 2 == 1);
                    }
                }
            }
            self.lanes(canvas, &frame);
            let below = (f64::midpoint(frame.left, frame.right), frame.bottom + lanes_height + ROW + 14.0);
            canvas.text(&fitting(&self.x.label, TEXT, WIDTH - 24.0), below, TEXT, Align::Center, Ink::Text);
        })
    }

    fn across(&self, frame: &Frame, x: f64) -> f64 {
        let (low, high) = self.x.range;
        frame.left + ((x - low) / (high - low)).clamp(0.0, 1.0) * (frame.right - frame.left)
    }

    fn up(&self, frame: &Frame, y: f64) -> f64 {
        let (low, high) = self.y.range;
        frame.bottom - ((y - low) / (high - low)).clamp(0.0, 1.0) * (frame.bottom - frame.top)
    }

    fn legend(&self, canvas: &Canvas<'_>, rows: &[Vec<usize>], top: f64) {
        for (row, members) in rows.iter().enumerate() {
            let mut x = 12.0;
            let y = top + ROW * row as f64;
            for &index in members {
                let series = &self.series[index];
                canvas.line(&[(x, y), (x + 26.0, y)], Ink::Series(series.place), 2.5);
                if series.marked {
                    canvas.disc((x + 13.0, y), 3.5, Ink::Series(series.place), series.place % 2 == 1);
                }
                let name = fitting(&series.name, TEXT, WIDTH - 80.0);
                canvas.text(&name, (x + 32.0, y), TEXT, Align::Left, Ink::Text);
                x += 32.0 + width_of(&name, TEXT) + 18.0;
            }
        }
    }

    fn grid(&self, canvas: &Canvas<'_>, frame: &Frame, lanes_height: f64) {
        let mut lowest = f64::INFINITY;
        let mut ticks = self.y.ticks.clone();
        ticks.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (position, word) in &ticks {
            let y = self.up(frame, *position);
            canvas.line(&[(frame.left, y), (frame.right, y)], Ink::Grid, 0.5);
            if lowest - y >= ROW {
                canvas.text(word, (frame.left - 6.0, y), TEXT, Align::Right, Ink::Text);
                lowest = y;
            }
        }
        let floor = frame.bottom + lanes_height;
        let mut last = f64::NEG_INFINITY;
        let mut ticks = self.x.ticks.clone();
        ticks.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (position, word) in &ticks {
            let x = self.across(frame, *position);
            canvas.line(&[(x, frame.top), (x, floor + 4.0)], Ink::Grid, 0.5);
            let half = width_of(word, TEXT) / 2.0;
            let center = x.clamp(half, WIDTH - half - 2.0);
            if center - half > last + 6.0 {
                canvas.text(word, (center, floor + 13.0), TEXT, Align::Center, Ink::Text);
                last = center + half;
            }
        }
        let mut free = frame.left;
        for mark in &self.marks {
            let x = self.across(frame, mark.x);
            canvas.line(&[(x, frame.top), (x, frame.bottom)], Ink::Muted, 1.0);
            let half = width_of(&mark.word, TEXT) / 2.0;
            let center = x.clamp(frame.left + half, frame.right - half);
            if !mark.word.is_empty() && center - half >= free {
                canvas.text(&mark.word, (center, frame.top + 9.0), TEXT, Align::Center, Ink::Muted);
                free = center + half + 8.0;
            }
        }
        canvas.line(&[(frame.left, frame.top), (frame.left, frame.bottom)], Ink::Text, 1.0);
        canvas.line(&[(frame.left, frame.bottom), (frame.right, frame.bottom)], Ink::Text, 1.0);
    }

    fn band(&self, canvas: &Canvas<'_>, frame: &Frame, series: &Series) {
        if series.band.len() < 2 {
            for &(x, low, high) in &series.band {
                let x = self.across(frame, x);
                canvas.line(&[(x, self.up(frame, low)), (x, self.up(frame, high))], Ink::Series(series.place), 1.0);
            }
            return;
        }
        let upper = series.band.iter().map(|&(x, _, high)| (self.across(frame, x), self.up(frame, high)));
        let lower = series.band.iter().rev().map(|&(x, low, _)| (self.across(frame, x), self.up(frame, low)));
        let outline: Vec<(f64, f64)> = upper.chain(lower).collect();
        canvas.area(&outline, Ink::Series(series.place), 0.18);
    }

    fn lanes(&self, canvas: &Canvas<'_>, frame: &Frame) {
        for (index, lane) in self.lanes.iter().enumerate() {
            let middle = frame.bottom + ROW * (index as f64 + 0.5);
            let name = fitting(&lane.name, 10.0, LEFT - 8.0);
            canvas.text(&name, (frame.left - 6.0, middle), 10.0, Align::Right, Ink::Text);
            for &(from, to) in &lane.spans {
                let (from, to) = (self.across(frame, from), self.across(frame, to));
                canvas.rectangle(from, middle - 6.0, to.max(from + 1.5), middle + 6.0, Ink::Series(lane.place), 0.8);
            }
        }
    }
}

/// Which names stand in which row.
fn legend_rows(names: &[&str]) -> Vec<Vec<usize>> {
    let mut rows: Vec<Vec<usize>> = Vec::new();
    let mut used = f64::INFINITY;
    for (index, name) in names.iter().enumerate() {
        let width = 32.0 + width_of(name, TEXT).min(WIDTH - 80.0) + 18.0;
        if used + width > WIDTH - 12.0 {
            rows.push(Vec::new());
            used = 12.0;
        }
        if let Some(row) = rows.last_mut() {
            row.push(index);
        }
        used += width;
    }
    rows
}

/// Ticks of a logarithmic axis in base 10, from the smallest to the largest value; `word` names a value.
pub fn log_axis(label: String, low: f64, high: f64, word: impl Fn(f64) -> String) -> Axis {
    let (low, high) = (low.max(f64::MIN_POSITIVE), high.max(low * 1.05));
    const STEPS: [&[f64]; 4] = [&[1.0], &[1.0, 3.0], &[1.0, 2.0, 5.0], &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0]];
    let candidates = |steps: &[f64]| -> Vec<f64> {
        let (from, to) = (low.log10().floor() as i32, high.log10().ceil() as i32);
        (from..=to)
            .flat_map(|decade| steps.iter().map(move |step| step * 10f64.powi(decade)))
            .filter(|value| (low * 0.999..=high * 1.001).contains(value))
            .collect()
    };
    let ticks = STEPS
        .iter()
        .map(|steps| candidates(steps))
        .find(|ticks| ticks.len() >= 4)
        .unwrap_or_else(|| linear_ticks(low, high, 5));
    let pad = ((high / low).log10() * 0.04).max(0.005);
    Axis {
        label,
        range: (low.log10() - pad, high.log10() + pad),
        ticks: ticks.into_iter().map(|value| (value.log10(), word(value))).collect(),
    }
}

/// A linear axis.
pub fn linear_axis(label: String, low: f64, high: f64, word: impl Fn(f64) -> String) -> Axis {
    let high = if high > low { high } else { low + 1.0 };
    let ticks = linear_ticks(low, high, 6).into_iter().map(|value| (value, word(value))).collect();
    Axis { label, range: (low, high), ticks }
}

/// Round values between `low` and `high`, about `wanted` of them.
pub fn linear_ticks(low: f64, high: f64, wanted: usize) -> Vec<f64> {
    let span = high - low;
    if !span.is_finite() || span <= 0.0 {
        return vec![low];
    }
    let raw = span / wanted.max(1) as f64;
    let decade = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|step| step * decade).find(|step| *step >= raw);
    let step = step.unwrap_or(raw);
    let first = (low / step).ceil() as i64;
    let last = (high / step).floor() as i64;
    (first..=last).map(|index| index as f64 * step).collect()
}

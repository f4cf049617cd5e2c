//! The change of each metric with its corrected interval: one row each, on one logarithmic axis of ratios.

use uplift_model::{
    Better, MetricClass,
    verdict::{MetricVerdict, ScenarioVerdict, Status, Verdict},
};

use super::{
    Plot,
    canvas::{Align, Canvas, Ink, fitting, sheet, width_of},
    chart::{TEXT, WIDTH},
};
use crate::{
    build::shown_by_default,
    document::{Cell, arrow},
    number::change,
};

const ROW: f64 = 24.0;
const NAMES: f64 = 190.0;
const WORDS: f64 = 146.0;
const TOP: f64 = 58.0;
/// The most rows: a picture of everything shows nothing.
const ROWS_MAX: usize = 16;
/// Changes at which there may be a tick.
const TICKS: [f64; 25] = [
    -0.99, -0.9, -0.75, -0.5, -0.25, -0.1, -0.05, -0.02, -0.01, -0.005, 0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.0, 4.0, 9.0, 24.0, 99.0, 999.0,
];

/// Rows for what a reader asks for first; `None` where nothing was compared.
pub fn plot(verdict: &ScenarioVerdict) -> Option<Plot> {
    if verdict.status != Status::Compared {
        return None;
    }
    let rows: Vec<(&MetricVerdict, f64, [f64; 2])> = verdict
        .metrics
        .iter()
        .filter(|metric| {
            shown_by_default(metric) && metric.class != MetricClass::Proportion && metric.class != MetricClass::Info
        })
        .filter_map(|metric| Some((metric, metric.change?, metric.ci?)))
        .take(ROWS_MAX)
        .collect();
    if rows.is_empty() {
        return None;
    }
    let ends = rows.iter().flat_map(|(_, center, [low, high])| [ratio(*center), ratio(*low), ratio(*high)]);
    let (low, high) = ends.fold((-0.01f64, 0.01f64), |(low, high), end| (low.min(end), high.max(end)));
    // Both directions keep some room, so that it is seen which side of no change a row is on.
    let room = (high - low) * 0.12;
    let (low, high) = ((low.min(-room)) - room * 0.5, high.max(room) + room * 0.5);
    let bottom = TOP + ROW * rows.len() as f64;
    let (left, right) = (NAMES, WIDTH - WORDS);
    let across = |value: f64| left + ((ratio(value) - low) / (high - low)).clamp(0.0, 1.0) * (right - left);
    let svg = sheet(WIDTH, bottom + 44.0, |canvas| {
        let title = fitting(&format!("Change with its interval: {}", verdict.name), 15.0, WIDTH - 24.0);
        canvas.bold(&title, (12.0, 16.0), 15.0, Align::Left, Ink::Text);
        let legend = "ratio, logarithmic · ↑ more is better · ↓ less is better · bar: corrected interval";
        canvas.text(legend, (12.0, 36.0), 12.0, Align::Left, Ink::Text);
        axis(canvas, &across, (TOP, bottom), (left, right));
        for (index, (metric, center, interval)) in rows.iter().enumerate() {
            row(canvas, metric, *center, *interval, TOP + ROW * (index as f64 + 0.5), &across);
        }
    });
    let words: Vec<String> = rows
        .iter()
        .map(|(metric, center, _)| {
            format!("{} {} ({})", metric.metric, change(*center, metric.class), Cell::verdict(metric).words())
        })
        .collect();
    Some(Plot::new(
        &verdict.name,
        "change",
        svg,
        format!("Change of each metric with its interval. {}.", words.join("; ")),
    ))
}

/// A change on the axis; one that cannot be shown (nothing left) lies at the edge.
fn ratio(change: f64) -> f64 {
    (1.0 + change).max(1e-3).ln()
}

fn axis(canvas: &Canvas<'_>, across: &impl Fn(f64) -> f64, (top, bottom): (f64, f64), (left, right): (f64, f64)) {
    let mut taken: Vec<(f64, f64)> = Vec::new();
    // No change first, then from the outside inwards: the ends say how far the axis reaches.
    let mut order: Vec<f64> = TICKS.to_vec();
    order.sort_by(|a, b| b.abs().total_cmp(&a.abs()));
    order.retain(|tick| *tick != 0.0);
    for tick in std::iter::once(0.0).chain(order) {
        let x = across(tick);
        if tick != 0.0 && (x <= left + 0.5 || x >= right - 0.5) {
            continue;
        }
        let word = if tick == 0.0 { "0".to_owned() } else { tick_word(tick) };
        let half = width_of(&word, TEXT) / 2.0 + 4.0;
        if taken.iter().any(|(from, to)| x - half < *to && x + half > *from) {
            continue;
        }
        taken.push((x - half, x + half));
        canvas.line(&[(x, top), (x, bottom + 4.0)], Ink::Grid, 0.5);
        canvas.text(&word, (x, bottom + 14.0), TEXT, Align::Center, Ink::Text);
    }
    let zero = across(0.0);
    canvas.line(&[(zero, top), (zero, bottom)], Ink::Text, 1.0);
    canvas.text(
        "candidate against baseline",
        (f64::midpoint(left, right), bottom + 32.0),
        TEXT,
        Align::Center,
        Ink::Text,
    );
}

fn tick_word(tick: f64) -> String {
    let percent = tick * 100.0;
    if percent >= 400.0 { format!("×{:.0}", 1.0 + tick) } else { format!("{percent:+}\u{2009}%") }
}

fn row(
    canvas: &Canvas<'_>,
    metric: &MetricVerdict,
    center: f64,
    [low, high]: [f64; 2],
    y: f64,
    across: &impl Fn(f64) -> f64,
) {
    let ink = match metric.verdict {
        Verdict::Improved => Ink::Good,
        Verdict::Regressed => Ink::Bad,
        Verdict::Incomparable => Ink::Odd,
        Verdict::Unchanged | Verdict::Inconclusive => Ink::Muted,
    };
    let name = fitting(&format!("{}{}", metric.metric, arrow(metric.better)), TEXT, NAMES - 16.0);
    if metric.primary {
        canvas.bold(&name, (NAMES - 10.0, y), TEXT, Align::Right, Ink::Text);
    } else {
        canvas.text(&name, (NAMES - 10.0, y), TEXT, Align::Right, Ink::Text);
    }
    let (from, to, at) = (across(low), across(high), across(center));
    canvas.line(&[(from, y), (to, y)], ink, 2.0);
    for end in [from, to] {
        canvas.line(&[(end, y - 5.0), (end, y + 5.0)], ink, 1.5);
    }
    // The shape repeats what the colour says.
    let up = (metric.verdict == Verdict::Improved) == (metric.better != Better::Lower);
    match metric.verdict {
        Verdict::Improved | Verdict::Regressed => {
            let tip = if up { -6.0 } else { 6.0 };
            canvas.area(&[(at - 6.0, y - tip * 0.7), (at + 6.0, y - tip * 0.7), (at, y + tip)], ink, 1.0);
        }
        Verdict::Incomparable => {
            canvas.area(&[(at - 6.0, y), (at, y - 6.0), (at + 6.0, y), (at, y + 6.0)], ink, 1.0);
        }
        Verdict::Unchanged => canvas.disc((at, y), 4.5, ink, false),
        Verdict::Inconclusive => canvas.disc((at, y), 4.5, ink, true),
    }
    let words = format!("{} {}", change(center, metric.class), Cell::verdict(metric).words());
    canvas.text(&fitting(&words, 12.0, WORDS - 12.0), (WIDTH - WORDS + 10.0, y), 12.0, Align::Left, ink);
}

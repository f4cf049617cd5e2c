//! What happened beside the throughput, on one axis of time: response times, sync calls, CPU, each in a strip of its own.

use std::collections::BTreeMap;

use uplift_analysis::{estimate::median, pairing::kept};
use uplift_model::{Trial, Unit, trial::TurnRecord};

use super::{
    Plot,
    canvas::{Align, Canvas, Ink, fitting, sheet, width_of},
    chart::{TEXT, WIDTH},
};
use crate::number::with_unit;

const LEFT: f64 = 16.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 62.0;
/// Height of a strip, and of the line of words above it.
const STRIP: f64 = 58.0;
const WORDS: f64 = 20.0;
/// More rounds are joined.
const BINS: usize = 60;

/// What a strip shows of a turn; `None` where there is nothing.
type Reading = fn(&TurnRecord) -> Option<f64>;

const STRIPS: [(&str, Unit, Reading); 4] = [
    ("median response · ↓", Unit::Nanoseconds, |turn| turn.response_p50_ns.map(|ns| ns as f64)),
    ("longest response · ↓", Unit::Nanoseconds, |turn| turn.response_max_ns.map(|ns| ns as f64)),
    ("sync calls a second", Unit::CountPerSecond, |turn| rate(turn, turn.sync_calls as f64 * 1e9)),
    ("CPUs busy", Unit::Cores, |turn| rate(turn, turn.cpu_ns as f64)),
];

fn rate(turn: &TurnRecord, amount: f64) -> Option<f64> {
    let ns = turn.wall_ns + turn.quiesce_ns;
    (ns > 0).then(|| amount / ns as f64)
}

/// A strip: the points of each variant, and the greatest of all.
pub(super) struct Strip {
    pub words: String,
    pub lines: Vec<Vec<(f64, f64)>>,
    pub most: f64,
}

/// Medians over the trials of each round; `None` where there are too few rounds to see anything.
pub fn plot(scenario: &str, variants: &[(&str, Vec<&Trial>)]) -> Option<Plot> {
    let rounds = variants.iter().flat_map(|(_, trials)| trials).map(|trial| kept(trial).len()).max()?;
    if rounds < 4 {
        return None;
    }
    let join = rounds.div_ceil(BINS);
    let strips: Vec<Strip> = STRIPS
        .iter()
        .filter_map(|(name, unit, reading)| {
            let lines: Vec<Vec<(f64, f64)>> =
                variants.iter().map(|(_, trials)| points(trials, *reading, join)).collect();
            let most = lines.iter().flatten().map(|(_, value)| *value).fold(0.0f64, f64::max);
            let words = format!("{name} · up to {}", with_unit(most, *unit));
            (most > 0.0).then_some(Strip { words, lines, most })
        })
        .collect();
    if strips.is_empty() {
        return None;
    }
    let label = "round of the block, each strip from 0 · ↓ lower is better";
    let names: Vec<&str> = variants.iter().map(|(name, _)| *name).collect();
    let svg = draw_strips(&format!("Meanwhile: {scenario}"), &names, &strips, (rounds / join).max(1) as f64, label);
    let words: Vec<&str> = strips.iter().map(|strip| strip.words.as_str()).collect();
    let description = format!("Round by round, medians over trials: {}.", words.join("; "));
    Some(Plot::new(scenario, "meanwhile", svg, description))
}

fn points(trials: &[&Trial], reading: Reading, join: usize) -> Vec<(f64, f64)> {
    let mut bins: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for trial in trials {
        for (position, turn) in kept(trial).iter().enumerate() {
            if let Some(value) = reading(turn) {
                bins.entry(position / join).or_default().push(value);
            }
        }
    }
    bins.into_iter().filter_map(|(bin, values)| Some((bin as f64, median(&values)?))).collect()
}

/// Strips above each other, on one axis that ends at `last`.
pub(super) fn draw_strips(title: &str, names: &[&str], strips: &[Strip], last: f64, label: &str) -> String {
    let bottom = TOP + (STRIP + WORDS) * strips.len() as f64;
    sheet(WIDTH, bottom + 40.0, |canvas| {
        canvas.bold(&fitting(title, 15.0, WIDTH - 24.0), (12.0, 16.0), 15.0, Align::Left, Ink::Text);
        legend(canvas, names);
        for (index, strip) in strips.iter().enumerate() {
            draw(canvas, strip, TOP + (STRIP + WORDS) * index as f64, last);
        }
        canvas.text(label, (WIDTH / 2.0, bottom + 22.0), TEXT, Align::Center, Ink::Text);
    })
}

fn legend(canvas: &Canvas<'_>, names: &[&str]) {
    let mut x = 12.0;
    for (place, name) in names.iter().enumerate() {
        let name = fitting(name, TEXT, 150.0);
        let end = x + 32.0 + width_of(&name, TEXT);
        if end > WIDTH - 12.0 {
            break;
        }
        canvas.line(&[(x, 38.0), (x + 26.0, 38.0)], Ink::Series(place), 2.5);
        canvas.text(&name, (x + 32.0, 38.0), TEXT, Align::Left, Ink::Text);
        x = end + 18.0;
    }
}

fn draw(canvas: &Canvas<'_>, strip: &Strip, top: f64, last: f64) {
    let (from, floor) = (top + WORDS, top + WORDS + STRIP - 6.0);
    canvas.text(&fitting(&strip.words, 12.0, WIDTH - 30.0), (LEFT, top + 10.0), 12.0, Align::Left, Ink::Text);
    canvas.line(&[(LEFT, floor), (WIDTH - RIGHT, floor)], Ink::Grid, 1.0);
    for (place, line) in strip.lines.iter().enumerate() {
        let at = |(x, y): &(f64, f64)| {
            (LEFT + (x / last).min(1.0) * (WIDTH - RIGHT - LEFT), floor - y / strip.most * (floor - from))
        };
        let points: Vec<(f64, f64)> = line.iter().map(at).collect();
        if points.len() > 1 {
            canvas.line(&points, Ink::Series(place), 1.5);
        }
    }
}

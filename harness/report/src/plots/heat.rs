//! A heat map of latency over time: when the long responses came, over all trials.
//!
//! Records have the longest response of each slice of a window, or of each turn, and no more: what is drawn is how often
//! the longest was how long. Events of the first block (checkpoints, stalls) stand above it on the same axis.

use std::collections::BTreeMap;

use uplift_analysis::pairing::kept;
use uplift_model::{Trial, Unit, scenario::Interleave};

use super::{
    Plot,
    canvas::{Align, Canvas, Ink, fitting, sheet},
    chart::{TEXT, WIDTH, log_axis},
};
use crate::number::{significant, with_unit};

const LEFT: f64 = 80.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 46.0;
/// Height of a class of latency, and of what is above the map of each variant: its name and its events.
const CLASS: f64 = 9.0;
const HEAD: f64 = 40.0;
/// Columns and classes of the map.
const COLUMNS: usize = 40;
const CLASSES: usize = 12;
/// More variants make a map too long to be seen at once.
const VARIANTS_MAX: usize = 3;
/// So few moments show no course.
const MOMENTS_MIN: usize = 4;

/// When, and how long the longest response took.
type Moments = Vec<(f64, f64)>;

/// One map for each of the first variants; `None` where there are too few moments.
pub fn plot(scenario: &str, variants: &[(&str, Vec<&Trial>)], interleave: Interleave) -> Option<Plot> {
    let maps: Vec<(&str, Moments, Vec<&Trial>)> = variants
        .iter()
        .take(VARIANTS_MAX)
        .map(|(name, trials)| {
            let moments = trials.iter().flat_map(|trial| moments(trial, interleave)).collect();
            (*name, moments, trials.clone())
        })
        .collect();
    let all = || maps.iter().flat_map(|(_, moments, _)| moments);
    let longest_run = maps.iter().map(|(_, _, trials)| trials.iter().map(|one| moments(one, interleave).len()).max());
    if longest_run.flatten().max()? < MOMENTS_MIN {
        return None;
    }
    let last = all().map(|(at, _)| *at).fold(0.0f64, f64::max);
    let (low, high) =
        all().fold((f64::INFINITY, 0.0f64), |(low, high), (_, longest)| (low.min(*longest), high.max(*longest)));
    if high <= 0.0 || last <= 0.0 {
        return None;
    }
    // A round of its own has a column of its own.
    let columns = match interleave {
        Interleave::Turns => COLUMNS.min(last as usize + 1),
        Interleave::Trials => COLUMNS,
    };
    let scale = Scale { columns, last, low: low.ln(), high: (high.max(low * 1.5)).ln() };
    let each = HEAD + CLASS * CLASSES as f64 + 24.0;
    let bottom = TOP + each * maps.len() as f64;
    let svg = sheet(WIDTH, bottom + 26.0, |canvas| {
        let title = fitting(&format!("Longest responses over time: {scenario}"), 15.0, WIDTH - 24.0);
        canvas.bold(&title, (12.0, 16.0), 15.0, Align::Left, Ink::Text);
        let note = "darker: more often · ↓ lower is better · triangles: events of the first block";
        canvas.text(&fitting(note, 12.0, WIDTH - 24.0), (12.0, 36.0), 12.0, Align::Left, Ink::Text);
        for (place, (name, moments, trials)) in maps.iter().enumerate() {
            let top = TOP + each * place as f64;
            canvas.text(&fitting(name, TEXT, 300.0), (12.0, top + 12.0), TEXT, Align::Left, Ink::Text);
            draw(canvas, moments, place, top + HEAD, &scale);
            if interleave == Interleave::Trials {
                events(canvas, trials, place, top + HEAD, &scale);
            }
        }
        let label = match interleave {
            Interleave::Trials => format!("seconds since the window began, to {} s", significant(last)),
            Interleave::Turns => format!("round of the block, to {}", significant(last)),
        };
        canvas.text(&label, (WIDTH / 2.0, bottom + 10.0), TEXT, Align::Center, Ink::Text);
    });
    let what = match interleave {
        Interleave::Trials => "the longest response of each slice of time",
        Interleave::Turns => "the longest response of each turn",
    };
    let words: Vec<String> = maps
        .iter()
        .filter_map(|(name, moments, _)| {
            let (at, longest) = moments.iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
            let at = match interleave {
                Interleave::Trials => format!("{} s after the window began", significant(*at)),
                Interleave::Turns => format!("in round {}", significant(*at)),
            };
            Some(format!("{name}: at most {}, {at}", with_unit(*longest, Unit::Nanoseconds)))
        })
        .collect();
    let description = format!("How often {what} was how long, over all trials. {}.", words.join("; "));
    Some(Plot::new(scenario, "heat", svg, description))
}

struct Scale {
    columns: usize,
    last: f64,
    low: f64,
    high: f64,
}

impl Scale {
    fn column(&self, at: f64) -> usize {
        ((at / self.last * self.columns as f64) as usize).min(self.columns - 1)
    }

    fn class(&self, longest: f64) -> usize {
        let share = (longest.ln() - self.low) / (self.high - self.low);
        ((share * CLASSES as f64) as usize).min(CLASSES - 1)
    }

    fn across(at: f64) -> f64 {
        LEFT + at * (WIDTH - RIGHT - LEFT)
    }
}

fn moments(trial: &Trial, interleave: Interleave) -> Moments {
    match interleave {
        Interleave::Turns => kept(trial)
            .iter()
            .filter_map(|turn| Some((f64::from(turn.index), turn.response_max_ns.filter(|ns| *ns > 0)? as f64)))
            .collect(),
        Interleave::Trials => {
            let Some(measured) = &trial.measured else { return Vec::new() };
            let Some(window) = measured.turns.first() else { return Vec::new() };
            let within = |start_ns: u64| start_ns >= window.start_ns && start_ns <= window.start_ns + window.wall_ns;
            let slices = measured.slices.iter().filter(|slice| slice.response_max_ns > 0 && within(slice.start_ns));
            slices
                .map(|slice| ((slice.start_ns - window.start_ns) as f64 / 1e9, slice.response_max_ns as f64))
                .collect()
        }
    }
}

fn draw(canvas: &Canvas<'_>, moments: &Moments, place: usize, top: f64, scale: &Scale) {
    let mut counts: BTreeMap<(usize, usize), u32> = BTreeMap::new();
    for (at, longest) in moments {
        *counts.entry((scale.column(*at), scale.class(*longest))).or_default() += 1;
    }
    let most = counts.values().copied().max().unwrap_or(1);
    let bottom = top + CLASS * CLASSES as f64;
    let (right, width) = (WIDTH - RIGHT, (WIDTH - RIGHT - LEFT) / scale.columns as f64);
    for ((column, class), count) in &counts {
        let (x, y) = (LEFT + width * *column as f64, bottom - CLASS * *class as f64);
        // A single one must be seen.
        let opacity = 0.2 + 0.8 * f64::from(*count) / f64::from(most);
        canvas.rectangle(x, y - CLASS, x + width, y, Ink::Series(place), opacity);
    }
    canvas.line(&[(LEFT, top), (LEFT, bottom), (right, bottom)], Ink::Text, 1.0);
    let axis = log_axis(String::new(), scale.low.exp(), scale.high.exp(), |ns| with_unit(ns, Unit::Nanoseconds));
    let (low, high) = (scale.low / std::f64::consts::LN_10, scale.high / std::f64::consts::LN_10);
    let mut free = f64::INFINITY;
    for (position, word) in axis.ticks {
        let y = bottom - (position - low) / (high - low) * (bottom - top);
        if (top - 1.0..=bottom + 1.0).contains(&y) && free - y >= TEXT + 3.0 {
            canvas.text(&word, (LEFT - 6.0, y), TEXT, Align::Right, Ink::Text);
            free = y;
        }
    }
}

/// A triangle above the map for each column in which something began.
fn events(canvas: &Canvas<'_>, trials: &[&Trial], place: usize, top: f64, scale: &Scale) {
    let first = trials.iter().min_by_key(|trial| trial.block).and_then(|trial| trial.measured.as_ref());
    let Some((measured, window)) = first.and_then(|measured| Some((measured, measured.turns.first()?))) else { return };
    let mut columns: Vec<usize> = measured
        .events
        .iter()
        .filter(|event| event.start_ns >= window.start_ns)
        .map(|event| (event.start_ns - window.start_ns) as f64 / 1e9)
        .filter(|at| *at <= scale.last)
        .map(|at| scale.column(at))
        .collect();
    columns.dedup();
    for column in columns {
        let x = Scale::across((column as f64 + 0.5) / scale.columns as f64);
        canvas.area(&[(x - 4.0, top - 9.0), (x + 4.0, top - 9.0), (x, top - 2.0)], Ink::Series(place), 1.0);
    }
}

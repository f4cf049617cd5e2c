//! Throughput over time, with what happened meanwhile.

use std::collections::BTreeMap;

use uplift_analysis::estimate::{median, quantile};
use uplift_model::{Trial, Unit, scenario::Interleave};

use super::{
    Plot,
    chart::{Chart, Lane, Series, linear_axis},
};
use crate::number::{compact, significant, with_unit};

/// Bins of a window: slices of 100 ms are joined where there are more.
const BINS: usize = 30;
/// Lanes of events that are shown.
const LANES_MAX: usize = 4;

/// The median over trials at each time, with the middle half of the trials behind it.
pub fn plot(scenario: &str, variants: &[(&str, Vec<&Trial>)], interleave: Interleave) -> Option<Plot> {
    let mut series = Vec::new();
    let (mut y_max, mut x_max) = (0.0f64, 0.0f64);
    for (place, (name, trials)) in variants.iter().enumerate() {
        let mut columns: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
        let mut middles: BTreeMap<u64, f64> = BTreeMap::new();
        for trial in trials {
            let points = match interleave {
                Interleave::Trials => slices(trial),
                Interleave::Turns => turns(trial),
            };
            for (bin, x, rate) in points {
                columns.entry(bin).or_default().push(rate);
                middles.insert(bin, x);
            }
        }
        // A time that only a few trials reached says more about those than about the variant.
        columns.retain(|_, rates| 2 * rates.len() >= trials.len());
        let mut points = Vec::new();
        let mut band = Vec::new();
        for (bin, rates) in &columns {
            let (Some(x), Some(center)) = (middles.get(bin), median(rates)) else { continue };
            let (low, high) = (quantile(rates, 0.25).unwrap_or(center), quantile(rates, 0.75).unwrap_or(center));
            (x_max, y_max) = (x_max.max(*x), y_max.max(high));
            points.push((*x, center));
            band.push((*x, low, high));
        }
        if points.len() > 1 {
            series.push(Series { name: (*name).to_owned(), place, points, band, marked: false });
        }
    }
    if series.is_empty() || y_max <= 0.0 {
        return None;
    }
    let (label, word): (&str, fn(f64) -> String) = match interleave {
        Interleave::Trials => ("seconds since the window began", |x| format!("{} s", significant(x))),
        Interleave::Turns => ("round of the block", significant),
    };
    let lanes = if interleave == Interleave::Trials { lanes(variants) } else { Vec::new() };
    let words: Vec<String> = series
        .iter()
        .map(|series| {
            let rates: Vec<f64> = series.points.iter().map(|(_, rate)| *rate).collect();
            let at = |q: f64| with_unit(quantile(&rates, q).unwrap_or_default(), Unit::OpsPerSecond);
            format!("{}: {} to {}", series.name, at(0.0), at(1.0))
        })
        .collect();
    let events = if lanes.is_empty() { "" } else { " Below: events of the first block." };
    let chart = Chart {
        title: format!("Throughput over time: {scenario}"),
        x: linear_axis(label.to_owned(), 0.0, x_max, word),
        y: linear_axis(
            "operations/s · ↑ higher is better · band: middle half of the trials".to_owned(),
            0.0,
            y_max * 1.05,
            compact,
        ),
        series,
        lanes,
        marks: Vec::new(),
    };
    let description = format!("Throughput over time, median over trials. {}.{events}", words.join("; "));
    Some(Plot::new(scenario, "throughput", chart.draw(), description))
}

/// Bin, its middle in seconds since the window began, and the rate.
fn slices(trial: &Trial) -> Vec<(u64, f64, f64)> {
    let Some(measured) = &trial.measured else { return Vec::new() };
    let Some(window) = measured.turns.first() else { return Vec::new() };
    // Slices after the window belong to the last operations: the load has ended.
    let slices: Vec<_> = measured
        .slices
        .iter()
        .filter(|slice| slice.start_ns + slice.duration_ns <= window.start_ns + window.wall_ns)
        .collect();
    let join = slices.len().div_ceil(BINS).max(1);
    slices
        .chunks(join)
        .filter(|chunk| chunk.len() == join)
        .enumerate()
        .map(|(bin, chunk)| {
            let ok: u64 = chunk.iter().map(|slice| slice.ok).sum();
            let ns: u64 = chunk.iter().map(|slice| slice.duration_ns).sum();
            let begin = chunk[0].start_ns.saturating_sub(window.start_ns);
            (bin as u64, (begin as f64 + ns as f64 / 2.0) / 1e9, ok as f64 / (ns.max(1) as f64 / 1e9))
        })
        .collect()
}

/// Round, round, and the rate of its turn.
fn turns(trial: &Trial) -> Vec<(u64, f64, f64)> {
    uplift_analysis::pairing::kept(trial)
        .iter()
        .filter(|turn| turn.wall_ns > 0)
        .map(|turn| {
            let rate = turn.ok as f64 / (turn.wall_ns as f64 / 1e9);
            (u64::from(turn.index), f64::from(turn.index), rate)
        })
        .collect()
}

fn lanes(variants: &[(&str, Vec<&Trial>)]) -> Vec<Lane> {
    let mut lanes: Vec<Lane> = Vec::new();
    for (place, (_, trials)) in variants.iter().enumerate() {
        let Some(measured) = trials.iter().min_by_key(|trial| trial.block).and_then(|trial| trial.measured.as_ref())
        else {
            continue;
        };
        let Some(window) = measured.turns.first() else { continue };
        let seconds = |ns: u64| ns.saturating_sub(window.start_ns) as f64 / 1e9;
        let mut by_name: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
        for event in measured.events.iter().filter(|event| event.start_ns >= window.start_ns) {
            let span = (seconds(event.start_ns), seconds(event.start_ns + event.duration_ns));
            by_name.entry(&event.name).or_default().push(span);
        }
        lanes.extend(by_name.into_iter().map(|(name, spans)| Lane { name: name.to_owned(), place, spans }));
    }
    lanes.truncate(LANES_MAX);
    lanes
}

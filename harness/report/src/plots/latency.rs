//! Latency percentile curves of all variants on one axis.

use uplift_model::{Histogram, Unit};

use super::{
    Plot,
    chart::{Axis, Chart, Series, log_axis},
};
use crate::number::with_unit;

/// Points of a curve for each tenfold of the tail.
const POINTS_PER_DECADE: usize = 16;

/// One curve for each variant that has a histogram: the share of operations against the time they took. A curve ends
/// at the last percentile that has an operation behind it.
pub fn plot(scenario: &str, variants: &[(&str, Histogram)], open: bool) -> Option<Plot> {
    let filled: Vec<(usize, &str, &Histogram)> = variants
        .iter()
        .enumerate()
        .filter(|(_, (_, histogram))| !histogram.is_empty())
        .map(|(place, (name, histogram))| (place, *name, histogram))
        .collect();
    let tail_max = filled.iter().map(|(.., histogram)| tail_of(histogram.count())).fold(0.5, f64::max);
    let mut series = Vec::new();
    let (mut low, mut high) = (f64::INFINITY, 0.0f64);
    let mut words = Vec::new();
    for (place, name, histogram) in &filled {
        let tail = tail_of(histogram.count());
        let steps = (tail * POINTS_PER_DECADE as f64).ceil() as usize;
        let mut points = Vec::new();
        for step in 0..=steps {
            let nines = (step as f64 / POINTS_PER_DECADE as f64).min(tail);
            let Some(ns) = histogram.quantile(1.0 - 10f64.powf(-nines)) else { continue };
            let ns = (ns as f64).max(1.0);
            (low, high) = (low.min(ns), high.max(ns));
            points.push((nines, ns.log10()));
        }
        let at = |q: f64| histogram.quantile(q).map_or_else(String::new, |ns| with_unit(ns as f64, Unit::Nanoseconds));
        words.push(format!("{name}: median {}, p99 {}", at(0.5), at(0.99)));
        series.push(Series { name: (*name).to_owned(), place: *place, points, band: Vec::new(), marked: false });
    }
    if series.is_empty() {
        return None;
    }
    let ticks = [(0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9"), (0.9999, "p99.99"), (0.99999, "p99.999")]
        .into_iter()
        .map(|(q, word)| (-f64::log10(1.0 - q), word.to_owned()))
        .filter(|(nines, _)| *nines <= tail_max + 0.01)
        .collect();
    let kind = if open { "from the intended start" } else { "from sending to the answer" };
    let chart = Chart {
        title: format!("Response time: {scenario}"),
        x: Axis { label: "percentile of operations (tail stretched)".to_owned(), range: (0.0, tail_max), ticks },
        y: log_axis(format!("{kind}, logarithmic · ↓ lower is better"), low, high, |ns| {
            with_unit(ns, Unit::Nanoseconds)
        }),
        series,
        lanes: Vec::new(),
        marks: Vec::new(),
    };
    Some(Plot::new(scenario, "latency", chart.draw(), format!("Response time by percentile. {}.", words.join("; "))))
}

/// How many nines of a percentile so many operations can show.
fn tail_of(count: u64) -> f64 {
    (count as f64).log10().clamp(0.35, 5.0)
}

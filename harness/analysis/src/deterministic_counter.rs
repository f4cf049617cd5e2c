//! Near-deterministic counters: sync calls, transactions and bytes for each operation.

use crate::estimate::median;

/// The spread, relative to the median, under which a counter counts as deterministic.
pub const SPREAD_MAX: f64 = 0.005;

/// How two near-deterministic counters compare.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Strict {
    /// One of them is not deterministic enough: the intervals must decide.
    NotStrict,
    /// Their ranges touch: the same.
    Same,
    /// Their ranges lie apart; candidate / baseline − 1 of the medians, `None` where the baseline is 0.
    Differ(Option<f64>),
}

/// Whether the values vary by less than [`SPREAD_MAX`] of their median.
pub fn is_deterministic(values: &[f64]) -> bool {
    let (Some(center), Some(low), Some(high)) =
        (median(values), values.iter().copied().reduce(f64::min), values.iter().copied().reduce(f64::max))
    else {
        return false;
    };
    high - low <= SPREAD_MAX * center.abs()
}

/// Compares directly.
pub fn compare(baseline: &[f64], candidate: &[f64]) -> Strict {
    if !is_deterministic(baseline) || !is_deterministic(candidate) {
        return Strict::NotStrict;
    }
    let range = |values: &[f64]| {
        values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &value| (low.min(value), high.max(value)))
    };
    let ((a_low, a_high), (b_low, b_high)) = (range(baseline), range(candidate));
    if a_low <= b_high && b_low <= a_high {
        return Strict::Same;
    }
    match (median(baseline), median(candidate)) {
        (Some(a), Some(b)) if a != 0.0 => Strict::Differ(Some(b / a - 1.0)),
        _ => Strict::Differ(None),
    }
}

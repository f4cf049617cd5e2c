//! Near-deterministic counters: sync calls, transactions and bytes for each operation.

use crate::estimate::median;

/// The spread, relative to the median, under which a counter counts as deterministic; a change within it is none.
pub const SPREAD_MAX: f64 = 0.005;

/// How two near-deterministic counters compare.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Strict {
    /// One of them is not deterministic enough: the intervals must decide.
    NotStrict,
    /// Every value of both is the same.
    Same,
    /// They are not equal; candidate / baseline − 1 of the medians, `None` where the baseline is 0.
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

/// Compares directly. Only equality is told from the values alone: ranges that touch say nothing, since the more blocks
/// there are, the surer they touch.
pub fn compare(baseline: &[f64], candidate: &[f64]) -> Strict {
    if !is_deterministic(baseline) || !is_deterministic(candidate) {
        return Strict::NotStrict;
    }
    let first = baseline.first();
    if baseline.iter().chain(candidate).all(|value| Some(value) == first) {
        return Strict::Same;
    }
    match (median(baseline), median(candidate)) {
        (Some(a), Some(b)) if a != 0.0 => Strict::Differ(Some(b / a - 1.0)),
        _ => Strict::Differ(None),
    }
}

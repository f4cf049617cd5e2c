//! Success rates: differences of proportions whose cluster is the block.
//!
//! Operations of one block share a process, a data set and a moment: they are not independent, and pooling them would
//! make certainty out of nothing. The block's rate is one value.

use crate::estimate::Location;

/// The upper bound of a rate at 95 % when nothing was seen in `n` independent tries: the rule of three (Hanley and
/// Lippman-Hand 1983).
pub fn rule_of_three(n: u64) -> f64 {
    if n == 0 { 1.0 } else { (3.0 / n as f64).min(1.0) }
}

/// The upper bound of a rate when nothing was seen in `n` independent tries: the exact one of a two-sided interval at error
/// probability `alpha` (Clopper and Pearson 1934, no hits).
pub fn none_below(n: u64, alpha: f64) -> f64 {
    if n == 0 { 1.0 } else { -((alpha / 2.0).ln() / n as f64).exp_m1() }
}

/// The differences candidate − baseline of each block's rates, as a location; `None` of fewer than two blocks.
pub fn difference(pairs: &[(f64, f64)]) -> Option<Location> {
    let differences: Vec<f64> = pairs.iter().map(|(baseline, candidate)| candidate - baseline).collect();
    Location::mean(&differences)
}

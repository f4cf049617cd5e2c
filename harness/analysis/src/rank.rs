//! Rank statistics: the Hodges–Lehmann estimate and the signed-rank test, as a check on the means.

use statrs::distribution::{ContinuousCDF as _, Normal};

use crate::estimate::median;

/// Up to how many non-zero values the exact distribution of the signed-rank statistic is used.
const EXACT_UP_TO: usize = 50;

/// The Hodges–Lehmann estimate of location: the median of all pairwise means, each value with itself included
/// (Hodges and Lehmann 1963); `None` of nothing.
pub fn hodges_lehmann(values: &[f64]) -> Option<f64> {
    let mut means = Vec::with_capacity(values.len() * (values.len() + 1) / 2);
    for (index, a) in values.iter().enumerate() {
        means.extend(values[index..].iter().map(|b| (a + b) / 2.0));
    }
    median(&means)
}

/// The two-sided p value of Wilcoxon's signed-rank test against location 0. Zeros are left out; ties share their
/// ranks, and with ties or more than 50 values the normal approximation is used, without continuity correction (as
/// scipy does by default).
pub fn signed_rank_p(values: &[f64]) -> Option<f64> {
    let mut sizes: Vec<(f64, bool)> =
        values.iter().filter(|value| **value != 0.0).map(|value| (value.abs(), *value > 0.0)).collect();
    let n = sizes.len();
    if n == 0 {
        return None;
    }
    sizes.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut positive, mut ties) = (0.0, 0.0);
    let mut start = 0;
    while start < n {
        let end = start + sizes[start..].iter().take_while(|size| size.0 == sizes[start].0).count();
        let rank = (start + 1 + end) as f64 / 2.0;
        positive += rank * sizes[start..end].iter().filter(|size| size.1).count() as f64;
        let count = (end - start) as f64;
        ties += count.powi(3) - count;
        start = end;
    }
    let total = (n * (n + 1)) as f64 / 2.0;
    if ties == 0.0 && n <= EXACT_UP_TO && n == values.len() {
        return Some(exact_p(n, positive.min(total - positive) as usize));
    }
    let variance = (n * (n + 1) * (2 * n + 1)) as f64 / 24.0 - ties / 48.0;
    let z = (positive - total / 2.0).abs() / variance.sqrt();
    Some((2.0 * Normal::standard().sf(z)).min(1.0))
}

/// P(statistic ≤ `lower` or ≥ its mirror image), by counting the subsets of 1..=n with each sum.
fn exact_p(n: usize, lower: usize) -> f64 {
    let mut subsets = vec![0.0f64; n * (n + 1) / 2 + 1];
    subsets[0] = 1.0;
    for rank in 1..=n {
        for sum in (rank..subsets.len()).rev() {
            subsets[sum] += subsets[sum - rank];
        }
    }
    let below: f64 = subsets[..=lower].iter().sum();
    (2.0 * below / 2f64.powi(n as i32)).min(1.0)
}

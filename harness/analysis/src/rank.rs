//! Rank statistics: the Hodges–Lehmann estimate and the signed-rank test, as a check on the means.

use statrs::distribution::{ContinuousCDF as _, Normal};

use crate::estimate::median;

/// Up to how many non-zero values the exact distribution of the signed-rank statistic is used.
const EXACT_UP_TO: usize = 50;

/// The Hodges–Lehmann estimate of location: the median of all pairwise means, each value with itself included
/// (Hodges and Lehmann 1963); `None` of nothing.
pub fn hodges_lehmann(values: &[f64]) -> Option<f64> {
    median(&walsh_averages(values))
}

/// The means of all pairs, each value with itself included, sorted.
pub fn walsh_averages(values: &[f64]) -> Vec<f64> {
    let mut means = Vec::with_capacity(values.len() * (values.len() + 1) / 2);
    for (index, a) in values.iter().enumerate() {
        means.extend(values[index..].iter().map(|b| (a + b) / 2.0));
    }
    means.sort_by(f64::total_cmp);
    means
}

/// The interval of the Hodges–Lehmann estimate from the sorted Walsh averages of `n` values, by inverting the
/// signed-rank test (Hollander, Wolfe, Chicken 2013, section 3.3): exact up to 50 values, normal beyond. At the finest,
/// all averages.
pub fn interval_of(walsh: &[f64], n: usize, alpha: f64) -> [f64; 2] {
    let (Some(first), Some(last)) = (walsh.first(), walsh.last()) else { return [f64::NAN, f64::NAN] };
    let cut = if n <= EXACT_UP_TO { exact_cut(n, alpha) } else { normal_cut(n, alpha) };
    let cut = cut.min(walsh.len().saturating_sub(1) / 2);
    // The cut-th average from each end is itself not rejected.
    if cut == 0 { [*first, *last] } else { [walsh[cut - 1], walsh[walsh.len() - cut]] }
}

/// The rank of the outermost average that is not rejected: the largest `c` with P(statistic ≤ c − 1) ≤ α/2.
fn exact_cut(n: usize, alpha: f64) -> usize {
    let subsets = subset_sums(n);
    let all = 2f64.powi(n as i32);
    let mut below = 0.0;
    subsets
        .iter()
        .take_while(|count| {
            below += **count;
            below / all <= alpha / 2.0
        })
        .count()
}

fn normal_cut(n: usize, alpha: f64) -> usize {
    let (count, n) = ((n * (n + 1)) as f64 / 2.0, n as f64);
    let deviation = (n * (n + 1.0) * (2.0 * n + 1.0) / 24.0).sqrt();
    (count / 2.0 - Normal::standard().inverse_cdf(1.0 - alpha / 2.0) * deviation).floor().max(0.0) as usize
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

/// P(statistic ≤ `lower` or ≥ its mirror image).
fn exact_p(n: usize, lower: usize) -> f64 {
    let below: f64 = subset_sums(n)[..=lower].iter().sum();
    (2.0 * below / 2f64.powi(n as i32)).min(1.0)
}

/// How many subsets of 1..=n have each sum: the null distribution of the signed-rank statistic.
fn subset_sums(n: usize) -> Vec<f64> {
    let mut subsets = vec![0.0f64; n * (n + 1) / 2 + 1];
    subsets[0] = 1.0;
    for rank in 1..=n {
        for sum in (rank..subsets.len()).rev() {
            subsets[sum] += subsets[sum - rank];
        }
    }
    subsets
}

//! Rank statistics: the Hodges–Lehmann estimate and the signed-rank test, as a check on the means.

use statrs::distribution::{ContinuousCDF as _, Normal};

/// Up to how many non-zero values the exact distribution of the signed-rank statistic is used.
const EXACT_UP_TO: usize = 50;

/// Up to how many values the means of all pairs are kept. Their number is half the square of that of the values: of ten
/// thousand blocks they would be 400 MB for each metric.
const KEPT_UP_TO: usize = 256;

/// The Hodges–Lehmann estimate of location: the median of all pairwise means, each value with itself included
/// (Hodges and Lehmann 1963); `None` of nothing.
pub fn hodges_lehmann(values: &[f64]) -> Option<f64> {
    let walsh = walsh_averages(values);
    let last = walsh.len().checked_sub(1)?;
    let (low, high) = (walsh.nth(last / 2), walsh.nth(last.div_ceil(2)));
    Some(low + (high - low) * 0.5)
}

/// The means of all pairs, each value with itself included, in order.
#[derive(Clone, Debug)]
pub struct WalshAverages {
    /// The means, sorted, where they are kept; else the values, sorted.
    sorted: Vec<f64>,
    kept: bool,
    count: usize,
}

/// The means of all pairs of `values`, each value with itself included.
pub fn walsh_averages(values: &[f64]) -> WalshAverages {
    let count = values.len() * (values.len() + 1) / 2;
    let kept = values.len() <= KEPT_UP_TO;
    let mut sorted = if kept { Vec::with_capacity(count) } else { values.to_vec() };
    if kept {
        for (index, a) in values.iter().enumerate() {
            sorted.extend(values[index..].iter().map(|b| (a + b) / 2.0));
        }
    }
    sorted.sort_by(f64::total_cmp);
    WalshAverages { sorted, kept, count }
}

impl WalshAverages {
    /// How many there are.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The average with `index` smaller ones before it.
    ///
    /// # Panics
    /// Where there are not so many.
    pub fn nth(&self, index: usize) -> f64 {
        assert!(index < self.count, "average {index} of {}", self.count);
        if self.kept {
            return self.sorted[index];
        }
        // The smallest number with more than `index` averages up to it is an average itself. Numbers are halved in the
        // order of their bits, so that the search is exact and ends after 64 steps.
        let (mut low, mut high) = (key(f64::NEG_INFINITY), key(f64::INFINITY));
        while low < high {
            let middle = low + (high - low) / 2;
            if self.count_up_to(number(middle)) > index { high = middle } else { low = middle + 1 }
        }
        number(low)
    }

    /// How many averages are `most` or less: for growing values, their partners only become fewer.
    fn count_up_to(&self, most: f64) -> usize {
        let values = &self.sorted;
        let (mut count, mut partners) = (0, values.len());
        for (index, a) in values.iter().enumerate() {
            while partners > index && ((a + values[partners - 1]) / 2.0).total_cmp(&most).is_gt() {
                partners -= 1;
            }
            if partners <= index {
                break;
            }
            count += partners - index;
        }
        count
    }
}

/// Numbers in the order of `f64::total_cmp`, as integers.
fn key(number: f64) -> u64 {
    let bits = number.to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

/// The number of a [`key`].
fn number(key: u64) -> f64 {
    f64::from_bits(if key >> 63 == 1 { key & !(1 << 63) } else { !key })
}

/// The interval of the Hodges–Lehmann estimate from the Walsh averages of `n` values, by inverting the signed-rank test
/// (Hollander, Wolfe, Chicken 2013, section 3.3): exact up to 50 values, normal beyond. At the finest, all averages.
pub fn interval_of(walsh: &WalshAverages, n: usize, alpha: f64) -> [f64; 2] {
    let Some(last) = walsh.len().checked_sub(1) else { return [f64::NAN, f64::NAN] };
    let cut = if n <= EXACT_UP_TO { exact_cut(n, alpha) } else { normal_cut(n, alpha) };
    // The cut-th average from each end is itself not rejected; at the finest none is.
    let inner = cut.min(last / 2).saturating_sub(1);
    [walsh.nth(inner), walsh.nth(last - inner)]
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Of many values the averages are not kept, and each is the same all the same, ties and zeros included.
    #[test]
    fn averages_that_are_not_kept_are_the_same() {
        let mut state = 7u64;
        let values: Vec<f64> = (0..KEPT_UP_TO + 45)
            .map(|index| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let wide = (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5;
                match index % 5 {
                    0 => 0.0,
                    1 => (wide * 8.0).round(),
                    _ => wide * 10f64.powi(index as i32 % 7 - 3),
                }
            })
            .collect();
        let walsh = walsh_averages(&values);
        assert!(!walsh.kept && walsh.sorted.len() == values.len());
        let mut all = Vec::new();
        for (index, a) in values.iter().enumerate() {
            all.extend(values[index..].iter().map(|b| (a + b) / 2.0));
        }
        all.sort_by(f64::total_cmp);
        assert_eq!(walsh.len(), all.len());
        for index in (0..all.len()).step_by(97).chain([all.len() - 1]) {
            assert_eq!(walsh.nth(index).to_bits(), all[index].to_bits(), "average {index}");
        }
    }
}

//! Location and its interval: medians, trimmed means and t intervals.

use std::{cell::RefCell, collections::HashMap};

use statrs::distribution::{ContinuousCDF as _, Normal, StudentsT};

/// From how many values on the trimmed mean is used; below, trimming would leave too little to estimate a spread.
pub const TRIM_FROM: usize = 10;
/// The share trimmed at each end.
pub const TRIM: f64 = 0.2;

/// Up to how many values the interval of a median is exact.
const EXACT_MEDIAN_UP_TO: usize = 1_000;

/// The median; `None` of nothing. Values must not be NaN.
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// The quantile `q` by linear interpolation (type 7 of Hyndman and Fan 1996, numpy's default); `None` of nothing.
pub fn quantile(values: &[f64], q: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    let position = q.clamp(0.0, 1.0) * last as f64;
    let low = position.floor() as usize;
    let high = (low + 1).min(last);
    Some(sorted[low] + (sorted[high] - sorted[low]) * (position - low as f64))
}

/// The median absolute deviation from the median, times 1.4826: the standard deviation of normal data.
pub fn robust_deviation(values: &[f64]) -> Option<f64> {
    let center = median(values)?;
    let deviations: Vec<f64> = values.iter().map(|value| (value - center).abs()).collect();
    median(&deviations).map(|deviation| 1.4826 * deviation)
}

/// The mean; `None` of nothing.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The interval of the median from order statistics: the narrowest symmetric pair whose coverage under the binomial
/// distribution is at least `level` (Conover 1999, section 3.2). `None` where even the extremes do not reach it.
pub fn median_interval(values: &[f64], level: f64) -> Option<[f64; 2]> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    if n > EXACT_MEDIAN_UP_TO {
        // Beyond, 2⁻ⁿ is no number any more, and the normal approximation is as good as exact.
        let half = Normal::standard().inverse_cdf((1.0 + level) / 2.0) * (n as f64).sqrt() / 2.0;
        let lower = (n as f64 / 2.0 - half).floor().max(0.0) as usize;
        return Some([sorted[lower], sorted[n - 1 - lower]]);
    }
    // P(fewer than `lower` of n fair coins are heads) for growing `lower`.
    let mut tail = 0.5f64.powi(i32::try_from(n).ok()?);
    let mut term = tail;
    if n == 0 || 1.0 - 2.0 * tail < level {
        return None;
    }
    let mut lower = 0;
    loop {
        term *= (n - lower) as f64 / (lower + 1) as f64;
        if 1.0 - 2.0 * (tail + term) < level || 2 * (lower + 1) >= n {
            return Some([sorted[lower], sorted[n - 1 - lower]]);
        }
        tail += term;
        lower += 1;
    }
}

/// An estimated location with its standard error and degrees of freedom.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Location {
    /// The estimate.
    pub center: f64,
    /// Its standard error.
    pub error: f64,
    /// Degrees of freedom of that error.
    pub freedom: f64,
    /// How many values.
    pub n: usize,
}

impl Location {
    /// The mean with the ordinary t interval; `None` of fewer than two values.
    pub fn mean(values: &[f64]) -> Option<Self> {
        let n = values.len();
        if n < 2 {
            return None;
        }
        let center = mean(values)?;
        let variance = values.iter().map(|value| (value - center).powi(2)).sum::<f64>() / (n - 1) as f64;
        Some(Self { center, error: (variance / n as f64).sqrt(), freedom: (n - 1) as f64, n })
    }

    /// The mean of what is left when the share `trim` is cut from each end, with the Winsorised standard error (Tukey
    /// and McLaughlin 1963; Wilcox 2012, section 4.3); `None` where fewer than two values would be left.
    pub fn trimmed_mean(values: &[f64], trim: f64) -> Option<Self> {
        let n = values.len();
        let cut = (trim * n as f64).floor() as usize;
        let left = n.checked_sub(2 * cut)?;
        if left < 2 {
            return None;
        }
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let center = mean(&sorted[cut..n - cut])?;
        let (low, high) = (sorted[cut], sorted[n - 1 - cut]);
        for value in &mut sorted {
            *value = value.clamp(low, high);
        }
        let winsorised_mean = mean(&sorted)?;
        let variance = sorted.iter().map(|value| (value - winsorised_mean).powi(2)).sum::<f64>() / (n - 1) as f64;
        // Wilcox writes 1 − 2γ; the share that was really left is exact where γn is not whole.
        let share_left = left as f64 / n as f64;
        Some(Self { center, error: variance.sqrt() / (share_left * (n as f64).sqrt()), freedom: (left - 1) as f64, n })
    }

    /// The typical block: the 20 % trimmed mean, and the plain mean below [`TRIM_FROM`] values. It shows what no stall
    /// moves; verdicts are about [`Location::mean`].
    pub fn typical(values: &[f64]) -> Option<Self> {
        if values.len() < TRIM_FROM { Self::mean(values) } else { Self::trimmed_mean(values, TRIM) }
    }

    /// Half the width of the two-sided interval at error probability `alpha`.
    pub fn half_width(&self, alpha: f64) -> f64 {
        t_quantile(1.0 - alpha / 2.0, self.freedom) * self.error
    }

    /// The two-sided interval at error probability `alpha`.
    pub fn interval(&self, alpha: f64) -> [f64; 2] {
        let half = self.half_width(alpha);
        [self.center - half, self.center + half]
    }

    /// The two-sided p value against `center == value`; 1 where nothing varies and nothing differs.
    pub fn p(&self, value: f64) -> f64 {
        let difference = (self.center - value).abs();
        if self.error == 0.0 {
            return if difference == 0.0 { 1.0 } else { 0.0 };
        }
        (2.0 * t_upper_tail(difference / self.error, self.freedom)).min(1.0)
    }
}

/// The quantile of the standard normal distribution.
pub fn normal_quantile(probability: f64) -> f64 {
    Normal::standard().inverse_cdf(probability)
}

/// So many quantiles are remembered; a run asks for fewer, again and again.
const QUANTILES_KEPT: usize = 4_096;

thread_local! {
    static QUANTILES: RefCell<HashMap<[u64; 2], f64>> = RefCell::default();
}

/// The quantile of Student's t distribution.
pub fn t_quantile(probability: f64, freedom: f64) -> f64 {
    // Each is found by a search, and a simulation of the rule asks for few of them millions of times.
    QUANTILES.with_borrow_mut(|known| {
        if known.len() >= QUANTILES_KEPT {
            known.clear();
        }
        *known
            .entry([probability.to_bits(), freedom.to_bits()])
            .or_insert_with(|| find_t_quantile(probability, freedom))
    })
}

fn find_t_quantile(probability: f64, freedom: f64) -> f64 {
    match StudentsT::new(0.0, 1.0, freedom) {
        // The upper tail loses digits near 1; the distribution is symmetric, so the lower one is taken.
        Ok(distribution) if probability > 0.5 => -distribution.inverse_cdf(1.0 - probability),
        Ok(distribution) => distribution.inverse_cdf(probability),
        Err(_) => f64::NAN,
    }
}

/// The upper tail of Student's t distribution.
pub fn t_upper_tail(t: f64, freedom: f64) -> f64 {
    StudentsT::new(0.0, 1.0, freedom).map_or(f64::NAN, |distribution| distribution.sf(t))
}

//! Failures: the ratio of two failure rates, exact and clustered.
//!
//! A success rate near 1 hides what matters: from 99.99 to 99.85 % fewer operations succeed by a hundredth of a point,
//! and fifteen times as many fail. What is judged is the ratio of the failure rates. Given how many failed in all, how
//! many of them are the candidate's is binomial (Przyborowski and Wilenski 1940), and its exact interval gives that of
//! the ratio. Failures come in clusters: operations of one block share a process and a moment. The counts are therefore
//! divided by how much more the blocks differ than independent failures would (the dispersion of Pearson's χ²).

use statrs::distribution::{Beta, ContinuousCDF as _};

/// The upper bound of a rate when nothing was seen in `n` independent tries: the exact one of a two-sided interval at error
/// probability `alpha` (Clopper and Pearson 1934, no hits).
pub fn none_below(n: u64, alpha: f64) -> f64 {
    if n == 0 { 1.0 } else { -((alpha / 2.0).ln() / n as f64).exp_m1() }
}

/// How many tries without a failure show at error probability `alpha` that the rate is at most `rate`.
pub fn tries_for(rate: f64, alpha: f64) -> u64 {
    ((alpha / 2.0).ln() / (-rate).ln_1p()).ceil() as u64
}

/// Failed and attempted operations of one variant in one block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Failed.
    pub failed: u64,
    /// Attempted.
    pub attempts: u64,
}

/// Failures of two variants over their blocks.
#[derive(Clone, Copy, Debug)]
pub struct Failures {
    /// Of all blocks: the baseline's, the candidate's.
    pub totals: [Count; 2],
    /// How much more the blocks differ than independent failures would; 1 at least.
    pub dispersion: f64,
}

impl Failures {
    /// Of blocks, each with the baseline's and the candidate's count.
    pub fn of(blocks: &[[Count; 2]]) -> Self {
        let totals = [0, 1].map(|side| {
            blocks.iter().fold(Count::default(), |sum, block| Count {
                failed: sum.failed + block[side].failed,
                attempts: sum.attempts + block[side].attempts,
            })
        });
        let (mut chi, mut freedom) = (0.0, 0.0);
        for (side, total) in totals.iter().enumerate().filter(|(_, total)| total.failed > 0) {
            let rate = total.failed as f64 / total.attempts as f64;
            for count in blocks.iter().map(|block| block[side]).filter(|count| count.attempts > 0) {
                let expected = rate * count.attempts as f64;
                chi += (count.failed as f64 - expected).powi(2) / expected;
                freedom += 1.0;
            }
            freedom -= 1.0;
        }
        Self { totals, dispersion: if freedom > 0.0 { (chi / freedom).max(1.0) } else { 1.0 } }
    }

    /// Failures of both.
    pub const fn failed(&self) -> u64 {
        self.totals[0].failed + self.totals[1].failed
    }

    /// The failure rates of baseline and candidate.
    pub fn rates(&self) -> [f64; 2] {
        self.totals.map(|total| if total.attempts == 0 { 0.0 } else { total.failed as f64 / total.attempts as f64 })
    }

    /// The interval of the candidate's share of all failures at error probability `alpha`.
    fn share_interval(&self, alpha: f64) -> [f64; 2] {
        let [own, other] = [1, 0].map(|side| self.totals[side].failed as f64 / self.dispersion);
        let quantile = |a: f64, b: f64, q: f64| Beta::new(a, b).map(|beta| beta.inverse_cdf(q));
        [
            quantile(own, other + 1.0, alpha / 2.0).unwrap_or(0.0),
            quantile(own + 1.0, other, 1.0 - alpha / 2.0).unwrap_or(1.0),
        ]
    }

    /// The candidate's failure rate as a multiple of the baseline's: the interval at error probability `alpha`. Without a
    /// failure of the baseline it has no upper end.
    pub fn ratio_interval(&self, alpha: f64) -> [f64; 2] {
        let exposure = self.totals[0].attempts as f64 / self.totals[1].attempts.max(1) as f64;
        self.share_interval(alpha)
            .map(|share| if share >= 1.0 { f64::INFINITY } else { share / (1.0 - share) * exposure })
    }

    /// The interval of the change of the success rate, candidate − baseline, that belongs to it.
    pub fn difference_interval(&self, alpha: f64) -> [f64; 2] {
        let all = self.failed() as f64;
        if all == 0.0 {
            return [-none_below(self.totals[1].attempts, alpha), none_below(self.totals[0].attempts, alpha)];
        }
        let [baseline, candidate] = self.totals.map(|total| total.attempts.max(1) as f64);
        let [low, high] =
            self.share_interval(alpha).map(|share| (1.0 - share) * all / baseline - share * all / candidate);
        [high, low]
    }

    /// The upper bound of the rate of one side (0: baseline) at error probability `alpha`.
    pub fn at_most(&self, side: usize, alpha: f64) -> f64 {
        let total = self.totals[side];
        let (failed, attempts) = (total.failed as f64 / self.dispersion, total.attempts as f64 / self.dispersion);
        if attempts <= failed {
            return 1.0;
        }
        Beta::new(failed + 1.0, attempts - failed).map_or(1.0, |beta| beta.inverse_cdf(1.0 - alpha / 2.0))
    }

    /// The two-sided p value against equal rates: twice the smaller tail of the same binomial distribution.
    pub fn p(&self) -> f64 {
        let expected =
            self.totals[1].attempts as f64 / (self.totals[0].attempts + self.totals[1].attempts).max(1) as f64;
        let [own, other] = [1, 0].map(|side| self.totals[side].failed as f64 / self.dispersion);
        // P(at least `own` of all) and P(at most `own`), continued to counts that are not whole.
        let at_least = if own > 0.0 { Beta::new(own, other + 1.0).map_or(1.0, |beta| beta.cdf(expected)) } else { 1.0 };
        let at_most = if other > 0.0 { Beta::new(own + 1.0, other).map_or(1.0, |beta| beta.sf(expected)) } else { 1.0 };
        (2.0 * at_least.min(at_most)).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(baseline: &[u64], candidate: &[u64], attempts: u64) -> Vec<[Count; 2]> {
        let count = |failed: &u64| Count { failed: *failed, attempts };
        baseline.iter().zip(candidate).map(|(a, b)| [count(a), count(b)]).collect()
    }

    /// 99.99 → 99.85 %: fifteen times as many failures are seen, and how many times is said.
    #[test]
    fn a_rise_that_a_success_rate_hides_is_found() {
        let failures = Failures::of(&blocks(&[1; 10], &[15; 10], 10_000));
        let [low, high] = failures.ratio_interval(0.01);
        assert!(low > 6.0 && high > 15.0 && high < 50.0, "[{low}, {high}]");
        let [below, above] = failures.difference_interval(0.01);
        assert!(below < -0.0014 && above < 0.0, "[{below}, {above}]");
        assert!(failures.p() < 1e-6);
    }

    /// scipy.stats.binomtest(k, n, 0.5): p is exact for independent failures, and its interval holds 1 where p says so.
    #[test]
    fn independent_failures_have_the_exact_test() {
        for (baseline, candidate, p) in [(0, 8, 0.007_812_5), (0, 1, 1.0), (5, 5, 1.0), (3, 12, 0.035_156_25)] {
            // Spread so evenly that the dispersion stays 1.
            let spread = |n: u64| -> Vec<u64> { (0..100).map(|index| u64::from(index < n)).collect() };
            let failures = Failures::of(&blocks(&spread(baseline), &spread(candidate), 1_000));
            assert!((failures.dispersion - 1.0).abs() < 1e-9);
            assert!((failures.p() - p).abs() < 1e-6, "{baseline} {candidate}: {}", failures.p());
            let [low, high] = failures.ratio_interval(0.01);
            assert_eq!(low > 1.0 || high < 1.0, p < 0.01, "[{low}, {high}]");
        }
    }

    /// A hundred failures of one block are one event.
    #[test]
    fn failures_of_one_block_are_one_event() {
        let mut candidate = [0; 20];
        candidate[7] = 100;
        let failures = Failures::of(&blocks(&[0; 20], &candidate, 1_000));
        assert!(failures.p() > 0.1, "{}", failures.p());
        assert!(failures.ratio_interval(0.01)[0] < 1.0);
    }
}

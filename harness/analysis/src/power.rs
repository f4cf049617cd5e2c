//! What a number of blocks finds, of the rule as it runs: the interval at the error that is left for its last look, and
//! the margin that the estimate must pass.
//!
//! The blocks' values are taken as normal with the spread that was seen. The probability over the mean is then exact,
//! and that over the spread an integral; `tests/rule.rs` holds the result against a simulation of the whole rule, looks
//! included.

use crate::{
    estimate::t_quantile,
    evidence::{FEW_BLOCKS, usable_share},
    spending::share_at,
};

/// More blocks than this are no advice: no run takes more.
pub const BLOCKS_MOST: usize = 1_000;

/// Points of the integral over the spread.
const POINTS: usize = 101;

/// The rule for one metric, at the last look of a plan.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The standard deviation of one block.
    pub deviation: f64,
    /// The error probability of this comparison, before looks.
    pub alpha: f64,
    /// The margin, on the scale of the values.
    pub margin: f64,
}

impl Rule {
    /// The probability that `blocks` blocks find a true change of `change`, in its direction.
    pub fn finds(&self, blocks: usize, change: f64) -> f64 {
        self.over_spreads(blocks, |half, root| {
            upper((self.margin.max(half) - change.abs()) * root / self.deviation.max(f64::MIN_POSITIVE))
        })
    }

    /// The probability that `blocks` blocks show that there is no change beyond the margin, where there is none at all.
    pub fn shows_none(&self, blocks: usize) -> f64 {
        self.over_spreads(blocks, |half, root| {
            let room = (self.margin - half) * root / self.deviation.max(f64::MIN_POSITIVE);
            if room > 0.0 { 2.0f64.mul_add(-upper(room), 1.0) } else { 0.0 }
        })
    }

    /// The smallest true change that `blocks` blocks find with probability `power`.
    pub fn minimum_detectable(&self, blocks: usize, power: f64) -> f64 {
        let (mut low, mut high) = (0.0, self.margin + self.deviation.max(1e-12));
        while self.finds(blocks, high) < power {
            high *= 2.0;
            if high > 1e6 {
                return high;
            }
        }
        for _ in 0..40 {
            let middle = f64::midpoint(low, high);
            if self.finds(blocks, middle) < power { low = middle } else { high = middle }
        }
        high
    }

    /// The fewest blocks, `from` at least, for which `probability` reaches `power`; `None`: more than [`BLOCKS_MOST`].
    pub fn blocks(&self, from: usize, power: f64, probability: impl Fn(&Self, usize) -> f64) -> Option<usize> {
        // One block more or less decides nothing: sizes grow by a twentieth.
        std::iter::successors(Some(from.max(6)), |n| Some(n + n.div_ceil(20)))
            .take_while(|n| *n <= BLOCKS_MOST)
            .find(|&n| probability(self, n) >= power)
    }

    /// The mean of `probability(half the interval's width, √blocks)` over the spreads that may be seen.
    fn over_spreads(&self, blocks: usize, probability: impl Fn(f64, f64) -> f64) -> f64 {
        let few = blocks < FEW_BLOCKS;
        let freedom = (blocks - if few { 1 } else { 2 }) as f64;
        let alpha = self.alpha * last_share(blocks, self.alpha) * usable_share(blocks);
        let root = (blocks as f64).sqrt();
        let half = t_quantile(1.0 - alpha / 2.0, freedom) * self.deviation / root;
        let reach = 6.0 / (2.0 * freedom).sqrt();
        let (mut sum, mut weights) = (0.0, 0.0);
        for index in 0..POINTS {
            let seen = 1.0 - reach + 2.0 * reach * index as f64 / (POINTS - 1) as f64;
            if seen <= 0.0 {
                continue;
            }
            // The density of the seen over the true deviation, but for a constant: χ with so many degrees of freedom.
            let weight = ((freedom - 1.0) * seen.ln() - freedom * (seen * seen - 1.0) / 2.0).exp();
            sum += weight * probability(half * seen, root);
            weights += weight;
        }
        sum / weights
    }
}

/// The share of the error that the last look of a plan of `blocks` has. It hardly depends on the plan's length, so that of
/// a few lengths stands for those between.
fn last_share(blocks: usize, alpha: f64) -> f64 {
    let plan = [6, 8, 11, 20, 36, 64].into_iter().rev().find(|plan| *plan <= blocks as u32).unwrap_or(6);
    share_at(plan, plan, true, alpha)
}

fn upper(z: f64) -> f64 {
    statrs::function::erf::erfc(z / std::f64::consts::SQRT_2) / 2.0
}

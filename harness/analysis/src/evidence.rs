//! What the blocks say about a change: the mean over blocks with its t interval, the order of starts taken out.
//!
//! The mean of all blocks is what a user gets; whatever cuts the ends off hides the candidate that stalls in one process
//! of ten. The t interval of a mean is wide where tails are heavy, and does not raise alarms by that: `tests/rule.rs`
//! simulates it for processes that come in two kinds, for a machine whose state is correlated in time, and for starts
//! that favour the first.

use crate::estimate::{Location, t_upper_tail};

/// From how many blocks on the order of starts is taken out, and more of the error probability may be used.
pub const FEW_BLOCKS: usize = 10;

/// The part of the error probability that fewer blocks may use. A t interval of six blocks believes a drift that six
/// blocks cannot tell from an effect: of 40 comparisons of one orchestration variant with itself, one was called a
/// regression (p = 0.002, 6 blocks).
pub const FEW_SHARE: f64 = 0.2;

/// The part that more blocks may use. The boundaries are exact for normal means of known spread; with t statistics,
/// processes of two kinds, and trials that are correlated with the trial before, the whole rule would alarm in up to 1.5 %
/// of comparisons at 1 %. Chosen by one run of `examples/simulate` (0.65 gave 1.03 %, 0.96 to 1.09, in 64 blocks of correlated
/// trials) and confirmed by another, with other seeds.
pub const CALIBRATED_SHARE: f64 = 0.55;

/// The part of the error probability that so many blocks may use.
pub const fn usable_share(blocks: usize) -> f64 {
    if blocks < FEW_BLOCKS { FEW_SHARE } else { CALIBRATED_SHARE }
}

/// What an interval says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It excludes no change, and the estimate lies beyond the margin.
    Changed {
        /// In which direction.
        up: bool,
        /// Whether all of the interval lies beyond the margin: only then the change is at least as large.
        at_least_margin: bool,
    },
    /// All of it lies within what counts as no change.
    Within,
    /// Neither.
    Open,
}

/// The evidence of one sample of block differences.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// The estimate and its t statistics.
    pub location: Location,
    /// What being started first brings, where both orders occur: half the difference between the blocks in which the
    /// candidate was first and those in which it was second.
    pub position: Option<Location>,
}

impl Evidence {
    /// The evidence of `values`; `None` of fewer than two.
    pub fn of(values: &[f64]) -> Option<Self> {
        Location::mean(values).map(Self::of_mean)
    }

    /// The evidence of `values`, in the blocks of which the candidate was started first where `first` says so. What the
    /// order brings is estimated beside the change and taken out of both the change and its spread, by least squares.
    pub fn of_ordered(values: &[f64], first: &[bool]) -> Option<Self> {
        let plain = Self::of(values)?;
        let n = values.len() as f64;
        let sign = |first: bool| if first { 1.0 } else { -1.0 };
        let signs = first.iter().map(|first| sign(*first)).sum::<f64>() / n;
        // Balanced orders have a variance of 1, one order only has 0.
        let variance = signs.mul_add(-signs, 1.0);
        if values.len() != first.len() || values.len() < 3 || variance <= 0.0 {
            return Some(plain);
        }
        let mean = plain.location.center;
        let together =
            values.iter().zip(first).map(|(value, first)| (value - mean) * (sign(*first) - signs)).sum::<f64>();
        let slope = together / (n * variance);
        let center = slope.mul_add(-signs, mean);
        let left: f64 =
            values.iter().zip(first).map(|(value, first)| (value - slope.mul_add(sign(*first), center)).powi(2)).sum();
        let freedom = n - 2.0;
        let error = (left / freedom / n / variance).sqrt();
        let of = |center| Location { center, error, freedom, n: values.len() };
        let location = if values.len() < FEW_BLOCKS { plain.location } else { of(center) };
        Some(Self { location, position: Some(of(slope)) })
    }

    /// The evidence of a location.
    pub const fn of_mean(location: Location) -> Self {
        Self { location, position: None }
    }

    /// How many values.
    pub const fn n(&self) -> usize {
        self.location.n
    }

    /// The two-sided p value against no change, in the unit of the family's error: that of few blocks counts in full.
    pub fn p(&self) -> f64 {
        self.location.p(0.0)
    }

    /// The error probability that so many blocks may use of `alpha`.
    pub fn usable(&self, alpha: f64) -> f64 {
        alpha * usable_share(self.n())
    }

    /// The interval of the change at error probability `alpha`, of which the blocks use their part.
    pub fn interval(&self, alpha: f64) -> [f64; 2] {
        self.location.interval(self.usable(alpha))
    }

    /// Whether the interval at `alpha` excludes no change.
    pub fn excludes_zero(&self, alpha: f64) -> bool {
        let [low, high] = self.interval(alpha);
        low > 0.0 || high < 0.0
    }

    /// What the interval says at error probability `alpha`: the rule of the verdicts. `same` is within what no change
    /// counts, `slack` by how much the truth may lie below and above what was measured, beside chance.
    pub fn outcome(&self, alpha: f64, margin: f64, same: f64, slack: [f64; 2]) -> Outcome {
        let [low, high] = self.interval(alpha);
        let (low, high) = (low - slack[0], high + slack[1]);
        let center = self.location.center;
        if (low > 0.0 || high < 0.0) && center.abs() > margin {
            Outcome::Changed { up: center > 0.0, at_least_margin: low.max(-high) > margin }
        } else if -same <= low && high <= same {
            Outcome::Within
        } else {
            Outcome::Open
        }
    }

    /// The change, corrected for a stop at the look that found it at error probability `alpha`: only what reads large stops
    /// early. It is the change of which those comparisons that stop here read more in one half of cases and less in the
    /// other: the median-unbiased estimate given the stop, no farther from the reading than no change at all.
    pub fn corrected_for_stop(&self, alpha: f64, margin: f64) -> f64 {
        let Location { center, error, freedom, .. } = self.location;
        let bound = self.location.half_width(self.usable(alpha)).max(margin);
        let size = center.abs();
        if error <= 0.0 || size <= bound {
            return center;
        }
        let more =
            |truth: f64| t_upper_tail((size - truth) / error, freedom) / t_upper_tail((bound - truth) / error, freedom);
        // From the reading downwards: far below, tails of few degrees of freedom are so flat that both are alike again.
        let step = error / 20.0;
        let steps = (size / step).ceil() as usize;
        let truth = (0..=steps).map(|index| size - step * index as f64).find(|truth| more(*truth) <= 0.5);
        truth.unwrap_or(0.0).max(0.0).copysign(center)
    }

    /// The standard deviation of one block that the error comes from.
    pub fn deviation(&self) -> f64 {
        self.location.error * (self.location.n as f64).sqrt()
    }
}

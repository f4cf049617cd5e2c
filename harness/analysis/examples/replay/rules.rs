//! Decision rules that people use on such blocks, and this project's.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use uplift_analysis::{
    DEFAULT_MARGIN, FAMILY_ALPHA,
    estimate::{Location, mean, median, quantile},
    evidence::Evidence,
    spending::{is_look, share_at},
};

use crate::recordings::Block;

/// Whether a rule sees a difference.
pub type Rule = fn(&[Block], &mut ChaCha8Rng) -> bool;

/// The rule of the verdicts: the planned looks, the mean over blocks of the totals, exact joint boundaries, beyond the
/// margin.
pub fn uplift(blocks: &[Block], _: &mut ChaCha8Rng) -> bool {
    decided_after(blocks).is_some()
}

/// The look at which it decides.
pub fn decided_after(blocks: &[Block]) -> Option<usize> {
    decides(blocks, |block| block.totals)
}

/// The same rule about the median round, as the first design had it: what a stall does not move.
pub fn typical(blocks: &[Block], _: &mut ChaCha8Rng) -> bool {
    decides(blocks, |block| block.rounds).is_some()
}

fn decides(blocks: &[Block], value: fn(&Block) -> f64) -> Option<usize> {
    let last = blocks.len();
    looks(last).find(|look| {
        let values: Vec<f64> = blocks[..*look].iter().map(value).collect();
        let share = share_at(*look as u32, last as u32, *look == last, FAMILY_ALPHA);
        let Some(evidence) = Evidence::of(&values) else { return false };
        evidence.excludes_zero(FAMILY_ALPHA * share) && evidence.location.center.abs() > DEFAULT_MARGIN.ln_1p()
    })
}

/// The planned looks.
pub fn looks(last: usize) -> impl Iterator<Item = usize> {
    (1..=last).filter(move |blocks| is_look(*blocks as u32, last as u32))
}

/// A threshold on the ratio of medians.
pub fn fixed_threshold(blocks: &[Block], _: &mut ChaCha8Rng) -> bool {
    let (a, b): (Vec<f64>, Vec<f64>) = blocks.iter().map(|block| block.rates).unzip();
    median(&b).zip(median(&a)).is_some_and(|(b, a)| (b / a - 1.0).abs() > 0.05)
}

/// Of the two samples of rates.
pub fn mann_whitney(blocks: &[Block], _: &mut ChaCha8Rng) -> bool {
    // Normal approximation; the values are continuous, so there are no ties.
    let (a, b): (Vec<f64>, Vec<f64>) = blocks.iter().map(|block| block.rates).unzip();
    let wins = a.iter().map(|a| b.iter().filter(|b| *b > a).count()).sum::<usize>() as f64;
    let (n, m) = (a.len() as f64, b.len() as f64);
    let z = (wins - n * m / 2.0) / (n * m * (n + m + 1.0) / 12.0).sqrt();
    z.abs() > 1.96
}

/// Of the paired log ratios.
pub fn bootstrap(blocks: &[Block], random: &mut ChaCha8Rng) -> bool {
    let values: Vec<f64> = blocks.iter().map(|block| block.totals).collect();
    let means: Vec<f64> = (0..400)
        .map(|_| {
            let drawn: Vec<f64> = (0..values.len()).map(|_| values[random.random_range(0..values.len())]).collect();
            mean(&drawn).unwrap_or(0.0)
        })
        .collect();
    quantile(&means, 0.025).zip(quantile(&means, 0.975)).is_some_and(|(low, high)| low > 0.0 || high < 0.0)
}

/// Of the paired log ratios.
pub fn paired_t(blocks: &[Block], _: &mut ChaCha8Rng) -> bool {
    let values: Vec<f64> = blocks.iter().map(|block| block.totals).collect();
    Location::mean(&values).is_some_and(|location| location.p(0.0) < 0.05)
}

//! Where the typical round and the total part: which rounds, and which processes, are slow.

use uplift_model::verdict::Distribution;

use crate::{
    estimate::{median, quantile, robust_deviation},
    pairing::{Pair, rate, rounds, total_log_ratio},
};

/// Slow is what lies so many robust standard deviations below the others, and at least [`SLOW_MIN`] as a logarithm.
const DEVIATIONS: f64 = 4.0;
const SLOW_MIN: f64 = 0.1;
/// The quantiles of rounds that are shown.
const QUANTILES: [f64; 7] = [0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9];

/// The distribution behind the throughput of some blocks; `None` where there is nothing to see: less than two rounds a
/// block and too few blocks.
pub(super) fn distribution(pairs: &[Pair<'_>]) -> Option<Distribution> {
    // ln of each round's rate, per block and side.
    let blocks: Vec<[Vec<f64>; 2]> = pairs
        .iter()
        .map(|pair| {
            let (a, b) = rounds(pair).into_iter().filter_map(|(a, b)| Some((rate(a)?.ln(), rate(b)?.ln()))).unzip();
            [a, b]
        })
        .collect();
    let mut own = [Vec::new(), Vec::new()];
    let mut shared = [Vec::new(), Vec::new()];
    for block in &blocks {
        let (Some(a), Some(b)) = (median(&block[0]), median(&block[1])) else { continue };
        let middle = f64::midpoint(a, b);
        for (side, center) in [a, b].into_iter().enumerate() {
            own[side].extend(block[side].iter().map(|rate| rate - center));
            shared[side].extend(block[side].iter().map(|rate| rate - middle));
        }
    }
    let limit = |values: &[f64]| Some((DEVIATIONS * robust_deviation(values)?).max(SLOW_MIN));
    let slow = limit(&own.concat())?;
    let slow_rounds = [0, 1]
        .map(|side| own[side].iter().filter(|rate| **rate < -slow).count() as f64 / own[side].len().max(1) as f64);
    let changes: Vec<f64> = pairs.iter().filter_map(total_log_ratio).collect();
    let center = median(&changes)?;
    let far = limit(&changes)?;
    let beyond = [1.0, -1.0].map(|sign| -> Vec<f64> {
        changes.iter().map(|change| sign * (change - center)).filter(|distance| *distance > far).collect()
    });
    let mean = |values: &Vec<f64>| {
        if values.is_empty() { 0.0 } else { (-values.iter().sum::<f64>() / values.len() as f64).exp_m1() }
    };
    Some(Distribution {
        shift: QUANTILES
            .into_iter()
            .filter_map(|q| Some([q, (quantile(&shared[1], q)? - quantile(&shared[0], q)?).exp_m1()]))
            .collect(),
        slow_rounds,
        slow_processes: [beyond[0].len() as u32, beyond[1].len() as u32],
        slow_size: [mean(&beyond[0]), mean(&beyond[1])],
    })
}

/// What stalls, in words: of the variant that loses by it.
pub(super) fn cause(distribution: &Distribution, blocks: usize, candidate_loses: bool) -> String {
    let (side, who) = if candidate_loses { (1, "candidate") } else { (0, "baseline") };
    let other = 1 - side;
    let percent = |share: f64| {
        let percent = share * 100.0;
        if percent < 1.0 { format!("{percent:.1} %") } else { format!("{percent:.0} %") }
    };
    if distribution.slow_processes[side] > distribution.slow_processes[other] {
        return format!(
            "in {} of {blocks} blocks the process of the {who} was slow, by {} in the mean",
            distribution.slow_processes[side],
            percent(-distribution.slow_size[side])
        );
    }
    if distribution.slow_rounds[side] > distribution.slow_rounds[other] {
        return format!(
            "the {who} stalls in {} of its rounds (the other in {})",
            percent(distribution.slow_rounds[side]),
            percent(distribution.slow_rounds[other])
        );
    }
    format!("slow rounds weigh more on the {who}")
}

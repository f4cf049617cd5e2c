//! Which turns at the beginning of a block are warm-up.

use uplift_model::trial::TurnRecord;

use crate::estimate::{median, robust_deviation};

/// At most this share of a block is dropped: a system that is still warming up after a quarter of it has no steady
/// state to measure, and that must stay visible.
const DROPPED_SHARE_MAX: f64 = 0.25;
/// How far, in robust standard deviations, a first turn may lie from the rest.
const DEVIATIONS_MAX: f64 = 4.0;

/// How many turns at the beginning are dropped: turns are dropped one by one while the throughput of the first that
/// is left lies more than four robust standard deviations from the median of the turns after it, for any variant. The
/// number is the same for all variants, so that rounds stay paired.
pub fn dropped_turns(turns: &[&[TurnRecord]]) -> u32 {
    let rates: Vec<Vec<f64>> = turns.iter().map(|turns| turns.iter().filter_map(rate).collect()).collect();
    let shortest = rates.iter().map(Vec::len).min().unwrap_or(0);
    let most = (shortest as f64 * DROPPED_SHARE_MAX) as usize;
    let differs = |rates: &[f64], first: usize| {
        let rest = &rates[first + 1..];
        match (median(rest), robust_deviation(rest)) {
            (Some(center), Some(deviation)) => (rates[first] - center).abs() > DEVIATIONS_MAX * deviation,
            _ => false,
        }
    };
    (0..most).take_while(|&first| rates.iter().any(|rates| differs(rates, first))).count() as u32
}

fn rate(turn: &TurnRecord) -> Option<f64> {
    (turn.base_ns() > 0.0).then(|| turn.ok as f64 / turn.base_ns())
}

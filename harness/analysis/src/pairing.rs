//! Blocks and rounds paired: what of the records is compared with what.

use std::collections::BTreeMap;

use uplift_model::{Trial, trial::TurnRecord};

use crate::estimate::median;

/// The trials of one block, one of each variant, both successful.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a> {
    /// The baseline's.
    pub baseline: &'a Trial,
    /// The candidate's.
    pub candidate: &'a Trial,
}

/// The blocks of `scenario` in which both variants succeeded, in order.
///
/// Where a variant is compared with itself, the block's seed says which of its two trials is the baseline's: the order
/// in which they were started must not.
pub fn pairs<'a>(trials: &'a [Trial], scenario: &str, baseline: &str, candidate: &str) -> Vec<Pair<'a>> {
    // The trials of each block that count, of the baseline and of the candidate, in the order of the record.
    let mut blocks: BTreeMap<u32, [Vec<&Trial>; 2]> = BTreeMap::new();
    for trial in trials.iter().filter(|trial| trial.scenario == scenario && trial.succeeded()) {
        for (side, variant) in [baseline, candidate].into_iter().enumerate() {
            if trial.variant == variant {
                blocks.entry(trial.block).or_default()[side].push(trial);
            }
        }
    }
    blocks
        .into_values()
        .filter_map(|[own, other]| {
            if baseline != candidate {
                return Some(Pair { baseline: own.first()?, candidate: other.first()? });
            }
            match own[..] {
                [first, second, ..] if first.seed & 1 == 0 => Some(Pair { baseline: first, candidate: second }),
                [first, second, ..] => Some(Pair { baseline: second, candidate: first }),
                _ => None,
            }
        })
        .collect()
}

/// The turns of a trial that count.
pub fn kept(trial: &Trial) -> &[TurnRecord] {
    trial.measured.as_ref().map_or(&[], |measured| measured.turns.get(measured.dropped_turns as usize..).unwrap_or(&[]))
}

/// The median over rounds of ln(candidate / baseline) of throughput; `None` where no round has both.
pub fn throughput_log_ratio(pair: &Pair<'_>) -> Option<f64> {
    let rate = |turn: &TurnRecord| (turn.wall_ns > 0 && turn.ok > 0).then(|| turn.ok as f64 / turn.wall_ns as f64);
    median_over_rounds(pair, rate)
}

/// The same of a metric of the target that every turn has by itself.
pub fn ratio_log_ratio(pair: &Pair<'_>, metric: &str) -> Option<f64> {
    median_over_rounds(pair, |turn| turn.ratios.get(metric).copied().filter(|value| *value > 0.0))
}

fn median_over_rounds(pair: &Pair<'_>, value: impl Fn(&TurnRecord) -> Option<f64>) -> Option<f64> {
    let ratios: Vec<f64> = kept(pair.baseline)
        .iter()
        .filter_map(|a| {
            let b = kept(pair.candidate).iter().find(|b| b.index == a.index)?;
            Some((value(b)? / value(a)?).ln())
        })
        .collect();
    median(&ratios)
}

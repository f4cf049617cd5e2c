//! Blocks and rounds paired: what of the records is compared with what.

use std::collections::BTreeMap;

use uplift_model::{Trial, trial::TurnRecord};

use crate::{disturbance::is_disturbed, estimate::median};

/// The trials of one block, one of each variant, both successful.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a> {
    /// The baseline's.
    pub baseline: &'a Trial,
    /// The candidate's.
    pub candidate: &'a Trial,
    /// Whether rounds that the machine disturbed are set aside.
    pub sets_aside: bool,
}

/// The blocks of `scenario` in which both variants succeeded, in order.
///
/// Where a variant is compared with itself, the block's seed says which of its two trials is the baseline's: the order
/// in which they were started must not.
pub fn pairs<'a>(
    trials: impl IntoIterator<Item = &'a Trial>,
    scenario: &str,
    baseline: &str,
    candidate: &str,
) -> Vec<Pair<'a>> {
    // The trials of each block that count, of the baseline and of the candidate, in the order of the record.
    let mut blocks: BTreeMap<u32, [Vec<&Trial>; 2]> = BTreeMap::new();
    for trial in trials.into_iter().filter(|trial| trial.scenario == scenario && trial.succeeded()) {
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
                return Some(pair(own.first()?, other.first()?));
            }
            match own[..] {
                [first, second, ..] if first.seed & 1 == 0 => Some(pair(first, second)),
                [first, second, ..] => Some(pair(second, first)),
                _ => None,
            }
        })
        .collect()
}

const fn pair<'a>(baseline: &'a Trial, candidate: &'a Trial) -> Pair<'a> {
    Pair { baseline, candidate, sets_aside: false }
}

/// The turns of a trial that count.
pub fn kept(trial: &Trial) -> &[TurnRecord] {
    trial.measured.as_ref().map_or(&[], |measured| measured.turns.get(measured.dropped_turns as usize..).unwrap_or(&[]))
}

/// Operations a nanosecond of one turn; `None` where nothing succeeded.
pub fn rate(turn: &TurnRecord) -> Option<f64> {
    let base_ns = turn.base_ns();
    (base_ns > 0.0 && turn.ok > 0).then(|| turn.ok as f64 / base_ns)
}

/// Operations a nanosecond over some turns: all work over all time. `None` where nothing succeeded.
pub fn total_rate<'a>(turns: impl Iterator<Item = &'a TurnRecord>) -> Option<f64> {
    let (ok, ns) = turns.fold((0, 0.0), |(ok, ns), turn| (ok + turn.ok, ns + turn.base_ns()));
    (ok > 0 && ns > 0.0).then(|| ok as f64 / ns)
}

/// ln(candidate / baseline) of the throughput of the whole block: what a user gets, stalls included.
pub fn total_log_ratio(pair: &Pair<'_>) -> Option<f64> {
    let rounds = rounds(pair);
    Some((total_rate(rounds.iter().map(|round| round.1))? / total_rate(rounds.iter().map(|round| round.0))?).ln())
}

/// The median over rounds of ln(candidate / baseline) of throughput: the typical round, which no stall moves. `None` where
/// no round has both.
pub fn typical_log_ratio(pair: &Pair<'_>) -> Option<f64> {
    median_over_rounds(pair, rate)
}

/// The same of a metric of the target that every turn has by itself.
pub fn typical_log_ratio_of(pair: &Pair<'_>, metric: &str) -> Option<f64> {
    median_over_rounds(pair, |turn| turn.ratios.get(metric).copied().filter(|value| *value > 0.0))
}

fn median_over_rounds(pair: &Pair<'_>, value: impl Fn(&TurnRecord) -> Option<f64>) -> Option<f64> {
    let ratios: Vec<f64> = rounds(pair).iter().filter_map(|(a, b)| Some((value(b)? / value(a)?).ln())).collect();
    median(&ratios)
}

/// The rounds of a block that count, as the turns of the baseline and of the candidate.
pub fn rounds<'a>(pair: &Pair<'a>) -> Vec<(&'a TurnRecord, &'a TurnRecord)> {
    let own = kept(pair.candidate);
    kept(pair.baseline)
        .iter()
        .filter_map(|a| Some((a, own.iter().find(|b| b.index == a.index)?)))
        .filter(|(a, b)| !pair.sets_aside || !(is_disturbed(a) || is_disturbed(b)))
        .collect()
}

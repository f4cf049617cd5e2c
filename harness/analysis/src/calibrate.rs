//! What a variant against itself says about a machine: noise of each metric, false alarms, and what a budget finds.

use std::collections::BTreeMap;

use statrs::distribution::{Beta, ContinuousCDF as _};
use uplift_model::{
    MetricClass, Trial, Verdicts,
    calibration::{Calibration, Detectable, FalseAlarms, Noise},
    run::{PlannedScenario, Run},
    verdict::Verdict,
};

use crate::{
    DEFAULT_MARGIN, FAMILY_ALPHA,
    estimate::{mean, robust_deviation},
    evidence::Evidence,
    judge_pair, metrics,
    pairing::{Pair, pairs, total_log_ratio},
    power::Rule,
    random::Splitmix,
    shape,
};

/// Blocks of one experiment: the first look of a comparison.
pub const BLOCKS_EACH: usize = 6;
/// Experiments that use the same blocks again.
const REPLAYS: u32 = 100;
/// The error probability of the noise floor and of the interval of the false-alarm rate.
const ALPHA: f64 = 0.05;
const POWER: f64 = 0.8;
/// Budgets for which the smallest detectable change is computed, in blocks.
const BUDGETS: [u32; 9] = [6, 8, 11, 15, 20, 27, 36, 64, 113];

/// The calibration of each scenario that has at least two blocks of `variant` against itself.
pub fn calibrations(run: &Run, trials: &[Trial], variant: &str) -> Vec<Calibration> {
    run.scenarios.iter().filter_map(|planned| calibration(run, planned, trials, variant)).collect()
}

/// What a budget finds in the primary metric of a scenario; nothing without two blocks of `variant` against itself.
pub fn budget(planned: &PlannedScenario, trials: &[Trial], variant: &str) -> Vec<Detectable> {
    let pairs = pairs(trials, &planned.scenario.name, variant, variant);
    let changes = block_changes(planned, &pairs);
    changes.get(&planned.scenario.primary).map_or_else(Vec::new, |(_, values)| detectable(values, block_ns(&pairs)))
}

fn calibration(run: &Run, planned: &PlannedScenario, trials: &[Trial], variant: &str) -> Option<Calibration> {
    let name = &planned.scenario.name;
    let pairs = pairs(trials, name, variant, variant);
    if pairs.len() < 2 {
        return None;
    }
    let changes = block_changes(planned, &pairs);
    let noise = changes
        .iter()
        .filter_map(|(metric, (class, values))| Some((metric.clone(), noise_of(*class, values)?)))
        .collect();
    let block_ns = block_ns(&pairs);
    let primary = &planned.scenario.primary;
    Some(Calibration {
        run: run.id.clone(),
        measured_unix_s: run.started_unix_s,
        machine: run.environment.machine.clone(),
        scenario: name.clone(),
        shape: shape::of(&planned.scenario),
        variant: variant.to_owned(),
        blocks: u32::try_from(pairs.len()).unwrap_or(u32::MAX),
        block_ns,
        noise,
        false_alarms: false_alarms(run, planned, &pairs, variant),
        primary: primary.clone(),
        detectable: changes.get(primary).map_or_else(Vec::new, |(_, values)| detectable(values, block_ns)),
    })
}

/// ln(copy / copy) of each block for each metric; metrics that are 0 somewhere have no ratio and are left out.
fn block_changes(planned: &PlannedScenario, pairs: &[Pair<'_>]) -> BTreeMap<String, (MetricClass, Vec<f64>)> {
    let mut changes: BTreeMap<String, (MetricClass, Vec<f64>)> = BTreeMap::new();
    for pair in pairs {
        let candidate: BTreeMap<String, f64> = metrics::of_trial(pair.candidate, planned)
            .into_iter()
            .filter_map(|value| Some((value.spec.name.to_string(), value.value.ok()?)))
            .collect();
        for value in metrics::of_trial(pair.baseline, planned) {
            let metric = value.spec.name.to_string();
            let (Ok(a), Some(&b)) = (value.value, candidate.get(&metric)) else { continue };
            let change = if metric == "throughput" { total_log_ratio(pair) } else { Some((b / a).ln()) };
            if value.spec.class != MetricClass::Proportion
                && let Some(change) = change
            {
                changes.entry(metric).or_insert((value.spec.class, Vec::new())).1.push(change);
            }
        }
    }
    changes.retain(|_, (_, values)| values.iter().all(|value| value.is_finite()));
    changes
}

fn noise_of(class: MetricClass, values: &[f64]) -> Option<Noise> {
    let [low, high] = Evidence::of(values)?.location.interval(ALPHA);
    let center = mean(values)?;
    let variance = values.iter().map(|value| (value - center).powi(2)).sum::<f64>() / (values.len() - 1) as f64;
    Some(Noise {
        class,
        n: u32::try_from(values.len()).unwrap_or(u32::MAX),
        deviation: variance.sqrt(),
        robust_deviation: robust_deviation(values)?,
        floor: low.exp_m1().abs().max(high.exp_m1().abs()),
    })
}

/// From the start of one block to the start of the next, on average.
fn block_ns(pairs: &[Pair<'_>]) -> Option<u64> {
    let starts: Vec<u64> =
        pairs.iter().map(|pair| pair.baseline.started_unix_ns.min(pair.candidate.started_unix_ns)).collect();
    let (first, last) = (starts.iter().min()?, starts.iter().max()?);
    let steps = u64::try_from(starts.len()).ok()?.checked_sub(1).filter(|steps| *steps > 0)?;
    Some((last - first) / steps)
}

/// The smallest change that is found with a budget, by the rule of a report of this metric alone.
fn detectable(values: &[f64], block_ns: Option<u64>) -> Vec<Detectable> {
    let Some(known) = Evidence::of(values).filter(|evidence| evidence.location.error > 0.0) else { return Vec::new() };
    let rule = Rule { deviation: known.deviation(), alpha: FAMILY_ALPHA, margin: DEFAULT_MARGIN.ln_1p() };
    BUDGETS
        .into_iter()
        .map(|blocks| Detectable {
            blocks,
            seconds: block_ns.map(|ns| ns as f64 / 1e9 * f64::from(blocks)),
            change: rule.minimum_detectable(blocks as usize, POWER).exp_m1(),
        })
        .collect()
}

fn false_alarms(run: &Run, planned: &PlannedScenario, pairs: &[Pair<'_>], variant: &str) -> FalseAlarms {
    let judged = |chosen: &[(usize, bool)]| {
        let mut planned = planned.clone();
        planned.blocks = u32::try_from(chosen.len()).ok();
        planned.calibration = None;
        let alone = Run { scenarios: vec![planned], ..run.clone() };
        let mut trials = Vec::new();
        for (block, &(index, turned)) in chosen.iter().enumerate() {
            let pair = &pairs[index];
            // The seed says which side a copy is on.
            for (trial, second) in [(pair.baseline, turned), (pair.candidate, !turned)] {
                let mut trial = trial.clone();
                trial.block = block as u32;
                trial.variant = if second { format!("{variant}@copy") } else { variant.to_owned() };
                trials.push(trial);
            }
        }
        is_alarm(&judge_pair(&alone, &trials, variant, &format!("{variant}@copy")))
    };
    let experiments = pairs.len() / BLOCKS_EACH;
    let alarms = (0..experiments)
        .filter(|nth| {
            let chosen: Vec<(usize, bool)> =
                (nth * BLOCKS_EACH..(nth + 1) * BLOCKS_EACH).map(|index| (index, false)).collect();
            judged(&chosen)
        })
        .count();
    let mut random = Splitmix::new(1);
    let replays = if pairs.len() >= BLOCKS_EACH { REPLAYS } else { 0 };
    let replay_alarms = (0..replays)
        .filter(|_| {
            let mut order: Vec<usize> = (0..pairs.len()).collect();
            random.shuffle(&mut order);
            let chosen: Vec<(usize, bool)> =
                order.into_iter().take(BLOCKS_EACH).map(|index| (index, random.below(2) == 1)).collect();
            judged(&chosen)
        })
        .count();
    let (experiments, alarms) = (experiments as u32, alarms as u32);
    FalseAlarms {
        blocks_each: BLOCKS_EACH as u32,
        experiments,
        alarms,
        ci: clopper_pearson(alarms, experiments, ALPHA),
        replays,
        replay_alarms: replay_alarms as u32,
    }
}

fn is_alarm(verdicts: &Verdicts) -> bool {
    verdicts.scenarios.iter().flat_map(|scenario| &scenario.metrics).any(|metric| {
        metric.class != MetricClass::Info && matches!(metric.verdict, Verdict::Improved | Verdict::Regressed)
    })
}

/// The exact interval of a proportion (Clopper and Pearson 1934); `None` of nothing.
pub fn clopper_pearson(hits: u32, tries: u32, alpha: f64) -> Option<[f64; 2]> {
    if tries == 0 || hits > tries {
        return None;
    }
    let (k, n) = (f64::from(hits), f64::from(tries));
    let quantile = |a: f64, b: f64, q: f64| Beta::new(a, b).ok().map(|beta| beta.inverse_cdf(q));
    let low = if hits == 0 { 0.0 } else { quantile(k, n - k + 1.0, alpha / 2.0)? };
    let high = if hits == tries { 1.0 } else { quantile(k + 1.0, n - k, 1.0 - alpha / 2.0)? };
    Some([low, high])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers of scipy.stats.binomtest(k, n).proportion_ci(0.95, "exact").
    #[test]
    fn intervals_of_proportions_are_exact() {
        for (k, n, low, high) in [
            (0, 3, 0.0, 0.707_598_2),
            (0, 40, 0.0, 0.088_097_4),
            (1, 40, 0.000_632_7, 0.131_585_6),
            (5, 5, 0.478_176_2, 1.0),
        ] {
            let [a, b] = clopper_pearson(k, n, 0.05).unwrap();
            assert!((a - low).abs() < 1e-6 && (b - high).abs() < 1e-6, "{k}/{n}: [{a}, {b}]");
        }
        assert_eq!(clopper_pearson(0, 0, 0.05), None);
    }

    /// Twice the noise is twice the floor's logarithm, and four times the blocks find half of what lies beyond the margin.
    #[test]
    fn noise_and_budget_scale() {
        let values: Vec<f64> = (0..40).map(|i| ((i * 7919) % 41) as f64 / 41.0 * 0.04 - 0.02).collect();
        let twice: Vec<f64> = values.iter().map(|value| value * 2.0).collect();
        let (one, two) = (noise_of(MetricClass::Time, &values).unwrap(), noise_of(MetricClass::Time, &twice).unwrap());
        assert!((two.deviation / one.deviation - 2.0).abs() < 1e-9);
        assert!((two.robust_deviation / one.robust_deviation - 2.0).abs() < 1e-9);
        assert!(one.floor < one.deviation);
        let found = detectable(&values, Some(1_000_000_000));
        assert!(found.windows(2).all(|pair| pair[1].change < pair[0].change));
        let at = |blocks: u32| found.iter().find(|one| one.blocks == blocks).unwrap();
        assert_eq!(at(20).seconds, Some(20.0));
        let beyond = |blocks: u32| at(blocks).change.ln_1p() - DEFAULT_MARGIN.ln_1p();
        assert!(
            beyond(113) > 0.0 && at(113).change < at(27).change,
            "a change of just the margin is found half the time"
        );
    }
}

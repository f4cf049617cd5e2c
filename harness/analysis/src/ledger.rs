//! The ledger of a sprint: what each step brought against the one before it, and what all up to it brought.
//!
//! Every step is a variant, and in each block every variant ran once, so any two are paired by block. The marginal and
//! the cumulative changes of all steps are one family: their intervals are corrected together, and reading the largest
//! of them off the table is covered by that. A marginal change says what a step adds on top of the steps before it; in
//! another order it would be another.

use uplift_model::{
    Durability, Trial,
    run::PlannedScenario,
    trial::{FailureKind, Measured, TrialOutcome},
    verdict::{Estimate, Ledger, LedgerStep, MetricVerdict, Parity, SettingRow, Verdict},
};

use crate::{
    FAMILY_ALPHA,
    correction::holm,
    estimate::{median, median_interval},
    judge::{MEDIAN_LEVEL, MetricTest, tests},
    metrics,
    pairing::pairs,
    settings,
};

/// The ledger of one scenario by its primary metric, over the steps that the run measured; `None` where there are fewer
/// than two, or no trial has the metric.
pub fn ledger(planned: &PlannedScenario, trials: &[Trial]) -> Option<Ledger> {
    let own: Vec<&Trial> =
        trials.iter().filter(|trial| trial.scenario == planned.scenario.name && trial.succeeded()).collect();
    let primary = &planned.scenario.primary;
    let spec = own.iter().find_map(|trial| metrics::named(trial, planned, primary))?.spec;
    let variants = &planned.variants;
    let (first, rest) = variants.split_first()?;
    if rest.is_empty() {
        return None;
    }
    let measured =
        |variant: &str| own.iter().filter(|trial| trial.variant == variant).find_map(|trial| trial.measured.as_ref());

    // The first step's marginal change is its cumulative one: it is tested once.
    let marginal = variants.windows(2).map(|pair| [pair[0].as_str(), pair[1].as_str()]);
    let cumulative = rest.iter().skip(1).map(|variant| [first.as_str(), variant.as_str()]);
    let comparisons: Vec<[&str; 2]> = marginal.chain(cumulative).collect();
    let durability = |variant: &str| measured(variant).map(|measured| measured.durability);
    let mut judged = family(planned, trials, &comparisons, durability);
    for (verdict, pair) in judged.iter_mut().zip(&comparisons) {
        let wrong = pair.iter().find_map(|variant| Some((variant, failed_check(planned, trials, variant)?)));
        if let (Some(verdict), Some((variant, message))) = (verdict, wrong) {
            verdict.verdict = Verdict::Incomparable;
            verdict.reason = format!("`{variant}` failed its correctness check: {message}");
        }
    }
    let of = |before: &str, after: &str| -> Option<MetricVerdict> {
        let index = comparisons.iter().position(|pair| *pair == [before, after])?;
        judged[index].clone()
    };

    let steps = variants
        .iter()
        .enumerate()
        .map(|(index, variant)| {
            let before = index.checked_sub(1).map(|before| variants[before].as_str());
            let values: Vec<f64> = own
                .iter()
                .filter(|trial| &trial.variant == variant)
                .filter_map(|trial| metrics::named(trial, planned, primary)?.value.ok())
                .collect();
            LedgerStep {
                variant: variant.clone(),
                changed: before.map_or_else(Vec::new, |before| {
                    changed(planned, [before, variant], [measured(before), measured(variant)])
                }),
                durability: durability(variant),
                value: median(&values).map(|median| Estimate {
                    median,
                    ci: median_interval(&values, MEDIAN_LEVEL),
                    n: u32::try_from(values.len()).unwrap_or(u32::MAX),
                }),
                marginal: before.and_then(|before| of(before, variant)),
                cumulative: before.and_then(|_| of(first, variant)),
            }
        })
        .collect();
    Some(Ledger { metric: primary.clone(), unit: spec.unit, better: spec.better, steps })
}

/// The primary metric of each pair of variants, corrected as one family.
fn family(
    planned: &PlannedScenario,
    trials: &[Trial],
    comparisons: &[[&str; 2]],
    durability: impl Fn(&str) -> Option<Durability>,
) -> Vec<Option<MetricVerdict>> {
    // How many blocks there are is decided beforehand, so the whole error is spent on the one look at the end.
    const SHARE: f64 = 1.0;
    let mut drafts: Vec<Option<MetricTest>> = comparisons
        .iter()
        .map(|[before, after]| {
            let pairs = pairs(trials, &planned.scenario.name, before, after);
            tests(planned, &pairs).into_iter().find(|test| test.primary)
        })
        .collect();
    let members: Vec<usize> =
        (0..drafts.len()).filter(|&index| drafts[index].as_ref().is_some_and(|test| test.p.is_some())).collect();
    let p: Vec<f64> = members.iter().filter_map(|&index| Some(drafts[index].as_ref()?.spent_p(SHARE))).collect();
    for (&index, corrected) in members.iter().zip(holm(&p, FAMILY_ALPHA)) {
        if let Some(test) = &mut drafts[index] {
            test.corrected = Some(corrected);
        }
    }
    drafts
        .into_iter()
        .zip(comparisons)
        .map(|(test, [before, after])| {
            let weaker = match (durability(before), durability(after)) {
                (Some(before), Some(after)) => match settings::parity(before, after) {
                    (Parity::Weaker, reason) => reason,
                    _ => None,
                },
                _ => None,
            };
            test.map(|test| test.finish(SHARE, weaker.as_deref()))
        })
        .collect()
}

/// What was wrong with a step whose correctness check failed in some trial.
fn failed_check<'a>(planned: &PlannedScenario, trials: &'a [Trial], variant: &str) -> Option<&'a str> {
    let mut own = trials.iter().filter(|trial| trial.scenario == planned.scenario.name && trial.variant == variant);
    own.find_map(|trial| match &trial.outcome {
        TrialOutcome::Failed(failure) if failure.kind == FailureKind::Check => Some(failure.message.as_str()),
        _ => None,
    })
}

/// The settings that a step asked for, or brought into force, otherwise than the step before it.
fn changed(planned: &PlannedScenario, [before, after]: [&str; 2], measured: [Option<&Measured>; 2]) -> Vec<SettingRow> {
    let empty = uplift_model::Table::new();
    let requested = |name: &str| planned.scenario.variant(name).map_or(&empty, |variant| &variant.settings);
    let mut rows = settings::rows(
        [requested(before), requested(after)],
        measured.map(|measured| measured.map(|measured| &measured.effective)),
    );
    rows.retain(|row| row.baseline != row.candidate);
    rows
}

/// The step that brought most, and how many brought nothing that the data show: for a headline.
pub fn best_step(ledger: &Ledger) -> Option<&LedgerStep> {
    let gain = |step: &LedgerStep| -> Option<f64> {
        let marginal = step.marginal.as_ref().filter(|marginal| marginal.verdict == Verdict::Improved)?;
        // Against a decrease, halving is as much as doubling.
        Some(marginal.change?.ln_1p().abs())
    };
    ledger
        .steps
        .iter()
        .filter_map(|step| Some((step, gain(step)?)))
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .map(|(step, _)| step)
}

//! Plots, as SVG drawn by plotters: colours that everybody can tell apart, units on the axes, the good direction in
//! words, and no label upon another (a test looks).

pub mod canvas;
pub mod chart;

mod change;
mod counters;
mod heat;
mod latency;
mod meanwhile;
mod pairs;
mod plot;
mod shift;
mod timeline;

use uplift_model::{
    Histogram, Trial,
    run::{Intent, PlannedScenario},
    scenario::Load,
    verdict::ScenarioVerdict,
};

pub use self::plot::Plot;
use crate::{ReportInput, build::variants};

/// Every plot of a report, in its order.
pub fn all(input: &ReportInput<'_>) -> Vec<Plot> {
    input
        .run
        .scenarios
        .iter()
        .flat_map(|planned| {
            let verdict = input
                .verdicts
                .and_then(|verdicts| verdicts.scenarios.iter().find(|verdict| verdict.name == planned.scenario.name));
            of_scenario(input, planned, verdict)
        })
        .collect()
}

/// The plots of one scenario; those that have nothing to show are left out.
pub fn of_scenario(input: &ReportInput<'_>, planned: &PlannedScenario, verdict: Option<&ScenarioVerdict>) -> Vec<Plot> {
    let scenario = &planned.scenario;
    let (shown, left_out) = told_apart(variants(planned));
    let trials: Vec<(&str, Vec<&Trial>)> = shown
        .into_iter()
        .map(|variant| {
            let own = input
                .trials
                .iter()
                .filter(|trial| trial.scenario == scenario.name && trial.variant == variant && trial.succeeded());
            (variant, own.collect())
        })
        .collect();
    let responses: Vec<(&str, Histogram)> = trials
        .iter()
        .map(|(variant, trials)| {
            let mut merged = Histogram::new();
            for operation in trials.iter().filter_map(|trial| trial.measured.as_ref()).flat_map(|m| &m.operations) {
                merged.merge(&operation.response);
            }
            (*variant, merged)
        })
        .collect();
    let open = matches!(scenario.load, Load::Open { .. });
    let special = match &input.run.intent {
        Intent::Calibrate { variant } => crate::build::calibration::plot(input, planned, variant),
        Intent::Sweep { parameters } => crate::build::sweep::plot(input, planned, parameters),
        Intent::Ledger { .. } => verdict.and_then(crate::build::ledger::plot),
        _ => None,
    };
    let pairs = match &input.run.intent {
        Intent::Compare { baseline, candidate } => pairs::plot(planned, input.trials, baseline, candidate),
        _ => None,
    };
    [
        special,
        verdict.and_then(change::plot),
        verdict.and_then(|verdict| shift::plot(verdict, &trials)),
        latency::plot(&scenario.name, &responses, open).map(|plot| plot.without(&left_out)),
        timeline::plot(&scenario.name, &trials, scenario.trial.interleave).map(|plot| plot.without(&left_out)),
        meanwhile::plot(&scenario.name, &trials).map(|plot| plot.without(&left_out)),
        counters::plot(&scenario.name, &trials).map(|plot| plot.without(&left_out)),
        heat::plot(&scenario.name, &trials, scenario.trial.interleave).map(Plot::aside),
        pairs.map(Plot::aside),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// As many variants as lines can be told apart, the first ones and the last one, and those that are left out.
fn told_apart(mut variants: Vec<&str>) -> (Vec<&str>, Vec<&str>) {
    let count = variants.len();
    if count <= canvas::SERIES_MAX {
        return (variants, Vec::new());
    }
    let left_out = variants.drain(canvas::SERIES_MAX - 1..count - 1).collect();
    (variants, left_out)
}

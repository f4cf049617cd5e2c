//! The records behind the figures: every trial with every metric, and where it stands in `trials.jsonl`. Of a run with
//! very many trials, what they came to.

use std::collections::BTreeMap;

use maud::{Markup, html};
use uplift_analysis::{estimate::quantile, metrics};
use uplift_model::{Trial, Unit, run::PlannedScenario, trial::TrialOutcome};

use super::context::{record_anchor, records_anchor};
use crate::{ReportInput, build::scenes, number::machine};

/// So many trials have a row each; of more, each variant has rows for the least, the median and the most.
const TRIALS_MAX: usize = 1_200;

/// So many scenarios have tables of what very many trials came to.
const SCENARIOS_MAX: usize = 20;

/// Whether the page has places of metrics in the records, which links may lead to.
pub fn are_shown(input: &ReportInput<'_>) -> bool {
    input.trials.len() <= TRIALS_MAX || input.run.scenarios.len() <= SCENARIOS_MAX
}

/// The records of every scenario.
pub fn records(input: &ReportInput<'_>) -> Markup {
    let whole = input.trials.len() <= TRIALS_MAX;
    let mut lines: BTreeMap<&str, Vec<(usize, &Trial)>> = BTreeMap::new();
    for (index, trial) in input.trials.iter().enumerate() {
        lines.entry(&trial.scenario).or_default().push((index, trial));
    }
    html! {
        section.records aria-labelledby="records" {
            h2 #records { "Records" }
            p {
                @if whole {
                    "One row for each trial, one column for each metric, values as computed from that trial alone. The first column leads to its line in " code { "trials.jsonl" } ", where the histograms are."
                } @else {
                    "The least, the median and the most of each metric over the trials of a variant: " (input.trials.len()) " trials are too many for a page. Each trial is a line of " a href="trials.jsonl" { "trials.jsonl" } "; " code { "uplift export" } " gives them as CSV."
                }
            }
            @for scene in scenes(input).iter().filter(|_| are_shown(input)) {
                @let trials = lines.remove(scene.planned.scenario.name.as_str()).unwrap_or_default();
                (of_scenario(scene.planned, &trials, whole))
            }
        }
    }
}

/// A trial with its values, by metric.
type Values = BTreeMap<String, f64>;

fn of_scenario(planned: &PlannedScenario, trials: &[(usize, &Trial)], whole: bool) -> Markup {
    let name = &planned.scenario.name;
    let mut columns: Vec<(String, Unit)> = Vec::new();
    let rows: Vec<(usize, &Trial, Values)> = trials
        .iter()
        .map(|(index, trial)| {
            let mut values = BTreeMap::new();
            for value in metrics::of_trial(trial, planned) {
                let metric = value.spec.name.to_string();
                if !columns.iter().any(|(known, _)| *known == metric) {
                    columns.push((metric.clone(), value.spec.unit));
                }
                if let Ok(number) = value.value {
                    values.insert(metric, number);
                }
            }
            (*index, *trial, values)
        })
        .collect();
    html! {
        details id=(records_anchor(name)) {
            summary { (name) ": " (rows.len()) " trials" }
            div.scroll role="region" tabindex="0" aria-label={ "Records of " (name) } {
                table {
                    thead { tr {
                        th scope="col" { @if whole { "line" } @else { "over" } }
                        th scope="col" { "variant" } th.n scope="col" { @if whole { "block" } @else { "trials" } }
                        @for (metric, unit) in &columns {
                            th.n scope="col" id=(record_anchor(name, metric)) {
                                (metric) @if !unit.symbol().is_empty() { " (" (unit.symbol()) ")" }
                            }
                        }
                    } }
                    tbody { @if whole { (every_trial(&rows, &columns)) } @else { (summed_up(&rows, &columns)) } }
                }
            }
        }
    }
}

fn every_trial(rows: &[(usize, &Trial, Values)], columns: &[(String, Unit)]) -> Markup {
    html! {
        @for (index, trial, values) in rows { tr {
            th scope="row" { a href={ "trials.jsonl#L" (index + 1) } { (index + 1) } }
            td { (trial.variant) } td.n { (trial.block) }
            @if let TrialOutcome::Failed(failure) = &trial.outcome {
                td colspan=(columns.len().max(1)) { "failed at " (failure.phase) ": " (failure.message) }
            } @else {
                @for (metric, _) in columns { td.n { (shown(values.get(metric).copied())) } }
            }
        } }
    }
}

fn summed_up(rows: &[(usize, &Trial, Values)], columns: &[(String, Unit)]) -> Markup {
    let mut by_variant: BTreeMap<&str, Vec<&Values>> = BTreeMap::new();
    for (_, trial, values) in rows {
        by_variant.entry(&trial.variant).or_default().push(values);
    }
    html! {
        @for (variant, trials) in by_variant {
            @for (word, share) in [("least", 0.0), ("median", 0.5), ("most", 1.0)] { tr {
                th scope="row" { (word) }
                td { (variant) } td.n { (trials.len()) }
                @for (metric, _) in columns {
                    @let values: Vec<f64> = trials.iter().filter_map(|values| values.get(metric).copied()).collect();
                    td.n { (shown(quantile(&values, share))) }
                }
            } }
        }
    }
}

fn shown(value: Option<f64>) -> String {
    value.map_or_else(|| "n/a".to_owned(), machine)
}

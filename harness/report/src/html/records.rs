//! The records behind the figures: every trial with every metric, and where it stands in `trials.jsonl`.

use std::collections::BTreeMap;

use maud::{Markup, html};
use uplift_analysis::metrics;
use uplift_model::{Trial, Unit, run::PlannedScenario, trial::TrialOutcome};

use super::{record_anchor, slug};
use crate::{ReportInput, number::machine};

/// The records of every scenario.
pub fn section(input: &ReportInput<'_>) -> Markup {
    html! {
        section.records aria-labelledby="records" {
            h2 #records { "Records" }
            p { "One row for each trial, one column for each metric, values as computed from that trial alone. The first column leads to its line in " code { "trials.jsonl" } ", where the histograms are." }
            @for planned in &input.run.scenarios { (of_scenario(input, planned)) }
        }
    }
}

fn of_scenario(input: &ReportInput<'_>, planned: &PlannedScenario) -> Markup {
    let name = &planned.scenario.name;
    let trials: Vec<(usize, &Trial)> =
        input.trials.iter().enumerate().filter(|(_, trial)| &trial.scenario == name).collect();
    let mut columns: Vec<(String, Unit)> = Vec::new();
    let rows: Vec<(usize, &Trial, BTreeMap<String, f64>)> = trials
        .into_iter()
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
            (index, trial, values)
        })
        .collect();
    html! {
        details id={ "records-" (slug(name)) } {
            summary { (name) ": " (rows.len()) " trials" }
            div.scroll role="region" tabindex="0" aria-label={ "Records of " (name) } {
                table {
                    thead { tr {
                        th scope="col" { "line" } th scope="col" { "variant" } th.n scope="col" { "block" }
                        @for (metric, unit) in &columns {
                            th.n scope="col" id=(record_anchor(name, metric)) {
                                (metric) @if !unit.symbol().is_empty() { " (" (unit.symbol()) ")" }
                            }
                        }
                    } }
                    tbody {
                        @for (index, trial, values) in &rows { tr {
                            th scope="row" { a href={ "trials.jsonl#L" (index + 1) } { (index + 1) } }
                            td { (trial.variant) } td.n { (trial.block) }
                            @if let TrialOutcome::Failed(failure) = &trial.outcome {
                                td colspan=(columns.len().max(1)) { "failed at " (failure.phase) ": " (failure.message) }
                            } @else {
                                @for (metric, _) in &columns {
                                    td.n { (values.get(metric).map_or_else(|| "n/a".to_owned(), |value| machine(*value))) }
                                }
                            }
                        } }
                    }
                }
            }
        }
    }
}

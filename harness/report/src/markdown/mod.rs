//! `report.md`: the document that people otherwise write by hand.

mod comparison;
mod environment;
mod internals;
mod operations;
mod validation;

use std::fmt::Write as _;

use uplift_analysis::{
    estimate::median,
    metrics,
    sweep::{Sweep, sweep},
};
use uplift_model::{
    MetricClass, MetricSpec, Trial,
    run::{Intent, PlannedScenario, Run, RunState},
    verdict::ScenarioVerdict,
};

pub(crate) use self::environment::{environment, reproduction};
pub use self::validation::failure_lines;
use self::{
    comparison::{claims_table, comparison_table, durability, settings_table},
    environment::configuration,
    internals::{distributions_table, ratios_table},
    operations::{groups_table, latency_table, operations_table, syncs_table},
};
use crate::{
    ReportInput, events, headline,
    number::{significant, with_unit},
    plots,
    printable::printable,
    profile,
    terminal::arrow,
};

/// The whole document.
pub fn document(input: &ReportInput<'_>) -> String {
    let mut text = String::new();
    let run = input.run;
    let title = match &run.intent {
        Intent::Compare { baseline, candidate } => format!("`{candidate}` against `{baseline}`"),
        Intent::Run { variants } => format!("measurements of {}", variants.join(", ")),
        Intent::Verify => "verification".to_owned(),
        Intent::Sweep { .. } => "parameter sweep".to_owned(),
        Intent::Ledger { steps } => format!("sprint ledger, {}", steps.join(" → ")),
        Intent::Calibrate { variant } => format!("calibration: `{variant}` against itself"),
        Intent::Profile { variants } => format!("profiles of {}", variants.join(", ")),
        Intent::Crash { variants } => format!("cuts of {}", variants.join(", ")),
    };
    let _ = writeln!(text, "# Performance results: {title}\n");
    if run.state != RunState::Complete {
        let _ = writeln!(text, "> **Partial run** ({}): what follows is what was measured.\n", state_word(run.state));
    }
    summary(input, &mut text);
    for planned in &run.scenarios {
        let verdict = input
            .verdicts
            .and_then(|verdicts| verdicts.scenarios.iter().find(|verdict| verdict.name == planned.scenario.name));
        scenario(input, planned, verdict, &mut text);
    }
    environment(input, &mut text);
    reproduction(input, &mut text);
    printable(&text, false)
}

const fn state_word(state: RunState) -> &'static str {
    match state {
        RunState::Complete => "complete",
        RunState::Interrupted => "interrupted",
        RunState::Unfinished => "the harness ended before it was done",
    }
}

fn summary(input: &ReportInput<'_>, text: &mut String) {
    text.push_str("## Summary\n\n");
    match input.verdicts {
        Some(verdicts) => {
            for scenario in &verdicts.scenarios {
                let _ = writeln!(text, "- {}", escape(&headline::of_scenario(scenario)));
                if let Some(changed) = headline::changed_together(scenario) {
                    let _ = writeln!(text, "  - {}", escape(&changed));
                }
                for warning in headline::warnings(scenario) {
                    let _ = writeln!(text, "  - ⚠ {}", escape(&warning));
                }
                if let Some(ledger) = &scenario.ledger {
                    let _ = writeln!(text, "  - {}", escape(&crate::ledger::headline(ledger)));
                }
            }
            for line in headline::geomeans(verdicts) {
                let _ = writeln!(text, "- {line}");
            }
            for note in &verdicts.notes {
                let _ = writeln!(text, "\n> {}", escape(note));
            }
        }
        None => {
            for planned in &input.run.scenarios {
                let trials = trials_of(input, planned).count()
                    + input.profiles.iter().filter(|profile| profile.trial.scenario == planned.scenario.name).count();
                let _ =
                    writeln!(text, "- {}: {trials} trials of {}", planned.scenario.name, planned.variants.join(", "));
                if let Some(sweep) = sweep_of(input, planned) {
                    let _ = writeln!(text, "  - {}", escape(&crate::sweep::headline(&sweep)));
                }
            }
            for warning in &input.run.warnings {
                let _ = writeln!(text, "\n> {}", escape(warning));
            }
        }
    }
    text.push('\n');
}

fn scenario(input: &ReportInput<'_>, planned: &PlannedScenario, verdict: Option<&ScenarioVerdict>, text: &mut String) {
    let _ = writeln!(text, "---\n\n## {}: {}\n", planned.scenario.name, escape(&planned.scenario.title));
    if !planned.scenario.story.is_empty() {
        let _ = writeln!(text, "{}\n", planned.scenario.story.trim());
    }
    if let Some(skipped) = &planned.skipped {
        let _ = writeln!(text, "**Skipped:** {}\n", escape(skipped));
        return;
    }
    match (verdict, input.verdicts) {
        (Some(verdict), Some(verdicts)) => {
            let _ = writeln!(text, "**{}**\n", escape(&headline::of_scenario(verdict)));
            plots_of(input, planned, Some(verdict), text);
            if let Some(ledger) = &verdict.ledger {
                let _ = writeln!(text, "### Sprint ledger\n\n{}", crate::ledger::section(ledger));
            }
            calibration_and_sweep(input, planned, text);
            comparison_table(verdict, &verdicts.baseline, &verdicts.candidate, text);
            latency_table(verdict, &verdicts.baseline, &verdicts.candidate, text);
            if let Some(ceiling) = &verdict.ceiling {
                let _ = writeln!(
                    text,
                    "The workload itself allows at most **{} op/s**: {}.\n",
                    significant(ceiling.throughput),
                    escape(&ceiling.why)
                );
            }
            settings_table(verdict, &verdicts.baseline, &verdicts.candidate, text);
            durability(verdict, text);
            claims_table(verdict, text);
        }
        // A scenario that was only profiled has no measurements to show.
        _ if trials_of(input, planned).next().is_none() && !input.profiles.is_empty() => {}
        _ => {
            plots_of(input, planned, None, text);
            calibration_and_sweep(input, planned, text);
            measurement_table(input, planned, text);
        }
    }
    operations_table(input, planned, text);
    groups_table(input, planned, text);
    syncs_table(input, planned, text);
    text.push_str(&profile::section::markdown(input.profiles, planned));
    text.push_str(&profile::stages::markdown(input.trials, input.profiles, planned));
    ratios_table(input, planned, text);
    distributions_table(input, planned, text);
    let trials: Vec<(&str, Vec<&Trial>)> =
        variants(planned).into_iter().map(|variant| (variant, of_variant(input, planned, variant))).collect();
    text.push_str(&events::markdown(&trials));
    configuration(planned, text);
    validation::validation(input, planned, verdict, text);
}

fn calibration_and_sweep(input: &ReportInput<'_>, planned: &PlannedScenario, text: &mut String) {
    match &input.run.intent {
        Intent::Calibrate { variant } => {
            let alone = Run { scenarios: vec![planned.clone()], ..input.run.clone() };
            for calibration in uplift_analysis::calibrate::calibrations(&alone, input.trials, variant) {
                let _ = writeln!(text, "### Calibration\n\n{}", crate::calibration::section(&calibration));
            }
        }
        _ => {
            if let Some(sweep) = sweep_of(input, planned) {
                let _ = writeln!(text, "### Sweep\n\n{}", crate::sweep::section(&sweep));
            }
        }
    }
}

fn sweep_of(input: &ReportInput<'_>, planned: &PlannedScenario) -> Option<Sweep> {
    match &input.run.intent {
        Intent::Sweep { .. } => sweep(planned, input.trials),
        _ => None,
    }
}

fn plots_of(input: &ReportInput<'_>, planned: &PlannedScenario, verdict: Option<&ScenarioVerdict>, text: &mut String) {
    for plot in plots::of_scenario(input, planned, verdict) {
        let _ = writeln!(text, "![{}]({})\n", escape(&plot.description).replace(['[', ']'], ""), plot.path);
    }
}

fn trials_of<'a>(input: &ReportInput<'a>, planned: &'a PlannedScenario) -> impl Iterator<Item = &'a Trial> {
    let name = &planned.scenario.name;
    input.trials.iter().filter(move |trial| &trial.scenario == name)
}

fn of_variant<'a>(input: &ReportInput<'a>, planned: &'a PlannedScenario, variant: &'a str) -> Vec<&'a Trial> {
    trials_of(input, planned).filter(|trial| trial.variant == variant && trial.succeeded()).collect()
}

/// The variants of a scenario, each once.
pub fn variants(planned: &PlannedScenario) -> Vec<&str> {
    let mut seen: Vec<&str> = Vec::new();
    for variant in &planned.variants {
        if !seen.contains(&variant.as_str()) {
            seen.push(variant);
        }
    }
    seen
}

pub(crate) fn row(cells: &[String], text: &mut String) {
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

pub(crate) fn header(cells: &[&str], text: &mut String) {
    let _ = writeln!(text, "| {} |", cells.join(" | "));
    let rule: Vec<&str> = cells.iter().enumerate().map(|(index, _)| if index == 0 { "---" } else { "---:" }).collect();
    let _ = writeln!(text, "|{}|", rule.join("|"));
}

/// Text that must not end a table cell or start markup.
pub(crate) fn escape(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ").replace('<', "&lt;")
}

/// One row of medians for each metric, for each variant: for runs without a comparison.
pub fn variant_rows(input: &ReportInput<'_>, planned: &PlannedScenario, all: bool) -> Vec<Vec<String>> {
    // Every metric of every trial, computed once.
    let columns: Vec<Vec<Vec<metrics::Value>>> = variants(planned)
        .into_iter()
        .map(|variant| {
            of_variant(input, planned, variant).into_iter().map(|trial| metrics::of_trial(trial, planned)).collect()
        })
        .collect();
    let mut specs: Vec<&MetricSpec> = Vec::new();
    for value in columns.iter().flatten().flatten() {
        if !specs.iter().any(|spec| spec.name == value.spec.name) {
            specs.push(&value.spec);
        }
    }
    let is_shown = |spec: &&&MetricSpec| {
        all || spec.class != MetricClass::Info || spec.name.starts_with("wall_per") || spec.name == "rss_peak"
    };
    specs
        .iter()
        .filter(is_shown)
        .filter_map(|spec| {
            let medians: Vec<Option<f64>> = columns
                .iter()
                .map(|trials| {
                    let own =
                        trials.iter().filter_map(|values| values.iter().find(|value| value.spec.name == spec.name));
                    median(&own.filter_map(|value| value.value.as_ref().ok().copied()).collect::<Vec<f64>>())
                })
                .collect();
            medians.iter().any(Option::is_some).then(|| {
                let written =
                    |center: &Option<f64>| center.map_or_else(|| "n/a".to_owned(), |value| with_unit(value, spec.unit));
                let name = format!("{}{}", spec.name, arrow(spec.better));
                std::iter::once(name).chain(medians.iter().map(written)).collect()
            })
        })
        .collect()
}

fn measurement_table(input: &ReportInput<'_>, planned: &PlannedScenario, text: &mut String) {
    let rows = variant_rows(input, planned, true);
    if rows.is_empty() {
        text.push_str("Nothing was measured.\n\n");
        return;
    }
    text.push_str("### Measurements\n\n");
    let mut head = vec!["metric"];
    head.extend(variants(planned));
    header(&head, text);
    for cells in rows {
        row(&cells, text);
    }
    text.push_str("\nMedians over trials.\n\n");
}

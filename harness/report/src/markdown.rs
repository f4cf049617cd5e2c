//! `report.md`: the document that people otherwise write by hand.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use uplift_analysis::{estimate::median, metrics, pairing::kept};
use uplift_model::{
    Histogram, Tier, Trial, Unit,
    run::{Intent, PlannedScenario, Run, RunState},
    trial::{SyncKind, TrialOutcome},
    verdict::{Estimate, Parity, ScenarioVerdict, SettingValue, Status},
};

use crate::{
    ReportInput, events, headline,
    number::{change, change_interval, count, nanoseconds, significant, with_unit},
    plots, profile,
    terminal::{arrow, is_first, outcome_word, p_value, tier_of, verdict_word},
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
    text
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
                for warning in headline::warnings(scenario) {
                    let _ = writeln!(text, "  - ⚠ {}", escape(&warning));
                }
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
            comparison_table(verdict, &verdicts.baseline, &verdicts.candidate, text);
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
            measurement_table(input, planned, text);
        }
    }
    if let Some(ledger) = verdict.and_then(|verdict| verdict.ledger.as_ref()) {
        let _ = writeln!(text, "### Sprint ledger\n\n{}", crate::ledger::section(ledger));
    }
    calibration_and_sweep(input, planned, text);
    operations_table(input, planned, text);
    groups_table(input, planned, text);
    syncs_table(input, planned, text);
    text.push_str(&profile::section::markdown(input.profiles, planned));
    stage_table(input, planned, text);
    ratios_table(input, planned, text);
    distributions_table(input, planned, text);
    let trials: Vec<(&str, Vec<&Trial>)> =
        variants(planned).into_iter().map(|variant| (variant, of_variant(input, planned, variant))).collect();
    text.push_str(&events::markdown(&trials));
    validation(input, planned, verdict, text);
}

fn calibration_and_sweep(input: &ReportInput<'_>, planned: &PlannedScenario, text: &mut String) {
    match &input.run.intent {
        Intent::Calibrate { variant } => {
            let alone = Run { scenarios: vec![planned.clone()], ..input.run.clone() };
            for calibration in uplift_analysis::calibrate::calibrations(&alone, input.trials, variant) {
                let _ = writeln!(text, "### Calibration\n\n{}", crate::calibration::section(&calibration));
            }
        }
        Intent::Sweep { .. } => {
            if let Some(sweep) = uplift_analysis::sweep::sweep(planned, input.trials) {
                let _ = writeln!(text, "### Sweep\n\n{}", crate::sweep::section(&sweep));
            }
        }
        _ => {}
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

fn comparison_table(verdict: &ScenarioVerdict, baseline: &str, candidate: &str, text: &mut String) {
    if verdict.metrics.is_empty() {
        return;
    }
    text.push_str("### Detailed comparison\n\n");
    header(&["metric", baseline, candidate, "change", "interval", "p", "MDE", "n", "verdict"], text);
    let cell = |estimate: &Option<Estimate>, unit: Unit| match estimate {
        None => "n/a".to_owned(),
        Some(Estimate { median, ci: Some([low, high]), .. }) if low != high => {
            format!("{} ({} … {})", with_unit(*median, unit), with_unit(*low, unit), with_unit(*high, unit))
        }
        Some(estimate) => with_unit(estimate.median, unit),
    };
    for metric in &verdict.metrics {
        if metric.baseline.is_none() && metric.candidate.is_none() && !is_first(metric) {
            continue;
        }
        let name = if metric.primary { format!("**{}**", metric.metric) } else { metric.metric.clone() };
        let word = verdict_word(metric);
        row(
            &[
                format!("{name}{}", arrow(metric.better)),
                cell(&metric.baseline, metric.unit),
                cell(&metric.candidate, metric.unit),
                metric.change.map_or_else(|| "n/a".to_owned(), |value| change(value, metric.tier)),
                metric.ci.map_or_else(|| "n/a".to_owned(), |ci| change_interval(ci, metric.tier)),
                match metric.p {
                    Some(p) if metric.tier != Tier::Info => p_value(p).replace('<', "&lt;"),
                    _ => "–".to_owned(),
                },
                metric
                    .minimum_detectable
                    .map_or_else(|| "–".to_owned(), |value| change(value, metric.tier).replace('+', "")),
                metric.baseline.as_ref().map_or(0, |estimate| estimate.n).to_string(),
                if metric.primary { format!("**{word}**") } else { word.to_owned() },
            ],
            text,
        );
    }
    text.push_str(
        "\nValues are medians over blocks with their 95 % interval; the change is the paired estimate with its corrected interval; MDE is the smallest change that this many blocks would have found 8 times in 10. ↑ more is better, ↓ less is better, – described and not judged.\n\n",
    );
    let reasons: Vec<_> = verdict.metrics.iter().filter(|metric| metric.tier != Tier::Info).collect();
    if !reasons.is_empty() && verdict.status == Status::Compared {
        text.push_str("<details><summary>Why each verdict</summary>\n\n");
        for metric in reasons {
            let _ = writeln!(text, "- `{}`: {}: {}", metric.metric, metric.verdict.word(), escape(&metric.reason));
        }
        text.push_str("\n</details>\n\n");
    }
}

/// One row of medians for each metric, for each variant: for runs without a comparison.
pub fn variant_rows(input: &ReportInput<'_>, planned: &PlannedScenario, all: bool) -> Vec<Vec<String>> {
    let columns: Vec<Vec<&Trial>> =
        variants(planned).into_iter().map(|variant| of_variant(input, planned, variant)).collect();
    let mut rows = Vec::new();
    let Some(first) = columns.iter().flatten().next() else { return rows };
    for value in metrics::of_trial(first, planned) {
        let spec = value.spec;
        if !all && spec.tier == Tier::Info && !spec.name.starts_with("wall_per") && spec.name != "rss_peak" {
            continue;
        }
        let mut cells = vec![format!("{}{}", spec.name, arrow(spec.better))];
        let mut any = false;
        for trials in &columns {
            let values: Vec<f64> =
                trials.iter().filter_map(|trial| metrics::named(trial, planned, &spec.name)?.value.ok()).collect();
            any |= !values.is_empty();
            cells.push(median(&values).map_or_else(|| "n/a".to_owned(), |value| with_unit(value, spec.unit)));
        }
        if any {
            rows.push(cells);
        }
    }
    rows
}

fn measurement_table(input: &ReportInput<'_>, planned: &PlannedScenario, text: &mut String) {
    let rows = variant_rows(input, planned, true);
    if rows.is_empty() {
        text.push_str("Nothing was measured.\n\n");
        return;
    }
    let mut head = vec!["metric"];
    head.extend(variants(planned));
    header(&head, text);
    for cells in rows {
        row(&cells, text);
    }
    text.push_str("\nMedians over trials.\n\n");
}

fn settings_table(verdict: &ScenarioVerdict, baseline: &str, candidate: &str, text: &mut String) {
    let rows: Vec<_> = verdict
        .settings
        .iter()
        .filter(|row| row.baseline != row.candidate || row.baseline.is_ignored() || row.candidate.is_ignored())
        .collect();
    text.push_str("### What changed in force\n\n");
    if rows.is_empty() {
        text.push_str("Nothing: both variants asked for the same and got the same.\n\n");
        return;
    }
    header(&["setting", baseline, candidate, "remark"], text);
    let cell = |value: &SettingValue| match (&value.requested, &value.effective) {
        (Some(asked), Some(got)) if value.is_ignored() => format!("asked `{asked}`, **in force `{got}`**"),
        (_, Some(got)) => format!("`{got}`"),
        (Some(asked), None) => format!("asked `{asked}`, not read back"),
        (None, None) => "–".to_owned(),
    };
    for setting in rows {
        let ignored = setting.baseline.is_ignored() || setting.candidate.is_ignored();
        let same = setting.baseline.effective == setting.candidate.effective;
        let remark = match (ignored, same) {
            (true, true) => "⚠ ignored: no difference in force",
            (true, false) => "⚠ not as asked",
            (false, true) => "no difference in force",
            (false, false) => "",
        };
        row(
            &[
                format!("`{}`", setting.key),
                escape(&cell(&setting.baseline)),
                escape(&cell(&setting.candidate)),
                remark.to_owned(),
            ],
            text,
        );
    }
    text.push('\n');
}

fn durability(verdict: &ScenarioVerdict, text: &mut String) {
    let sentence = match verdict.durability {
        Parity::Equal => "Equal: an acknowledged write survives the same in both variants.".to_owned(),
        Parity::Stronger | Parity::Weaker => format!(
            "**{}**: {}.",
            if verdict.durability == Parity::Weaker { "Weaker" } else { "Stronger" },
            verdict.durability_reason.as_deref().unwrap_or_default()
        ),
        Parity::Unknown => "Not known: nothing was measured that tells.".to_owned(),
    };
    let _ = writeln!(text, "### Durability\n\n{sentence}\n");
}

fn claims_table(verdict: &ScenarioVerdict, text: &mut String) {
    if verdict.claims.is_empty() {
        return;
    }
    text.push_str("### Published figures\n\n");
    header(&["source", "variant", "metric", "published", "measured", "outcome", "why"], text);
    for claim in &verdict.claims {
        let tier = tier_of(verdict, &claim.metric);
        let published = match (claim.published_baseline, claim.published_candidate, claim.published) {
            (Some(a), Some(b), Some(relative)) => {
                format!("{} → {} ({})", significant(a), significant(b), change(relative, tier))
            }
            (_, _, Some(relative)) => change(relative, tier),
            (_, Some(value), None) => significant(value),
            _ => "–".to_owned(),
        };
        let measured = match (claim.measured, claim.ci) {
            (Some(value), Some(ci)) => {
                format!("{} {}", change(value, tier), change_interval(ci, tier))
            }
            (Some(value), None) => change(value, tier),
            _ => "–".to_owned(),
        };
        row(
            &[
                claim.source.clone(),
                claim.variant.clone(),
                claim.metric.clone(),
                published,
                measured,
                format!("**{}**", outcome_word(claim.outcome)),
                escape(&claim.reason),
            ],
            text,
        );
    }
    text.push('\n');
}

/// What the trials of one variant did, for one key (a kind, a group).
#[derive(Default)]
struct Tally {
    ok: u64,
    nothing: u64,
    failed: u64,
    response: Histogram,
}

fn tally<'a>(
    trials: &[&'a Trial],
    key: impl Fn(&'a uplift_model::trial::OperationRecord) -> Option<&'a str>,
) -> BTreeMap<&'a str, Tally> {
    let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
    for operation in trials.iter().filter_map(|trial| trial.measured.as_ref()).flat_map(|measured| &measured.operations)
    {
        let Some(key) = key(operation) else { continue };
        let tally = tallies.entry(key).or_default();
        tally.ok += operation.ok;
        tally.nothing += operation.nothing.values().sum::<u64>();
        tally.failed += operation.failed.values().sum::<u64>();
        tally.response.merge(&operation.response);
    }
    tallies
}

fn tally_cells(tally: &Tally) -> Vec<String> {
    let at = |q: f64| tally.response.quantile(q).map_or_else(|| "n/a".to_owned(), nanoseconds);
    vec![
        count(tally.ok + tally.nothing + tally.failed),
        count(tally.ok),
        count(tally.nothing),
        count(tally.failed),
        at(0.5),
        at(0.95),
        at(0.99),
        at(0.999),
        tally.response.max().map_or_else(|| "n/a".to_owned(), nanoseconds),
    ]
}

const TALLY_HEAD: [&str; 9] = ["attempts", "succeeded", "did nothing", "failed", "p50", "p95", "p99", "p999", "max"];

fn operations_table(input: &ReportInput<'_>, planned: &PlannedScenario, text: &mut String) {
    let mut rows = Vec::new();
    for variant in variants(planned) {
        let trials = of_variant(input, planned, variant);
        for (kind, tally) in tally(&trials, |operation| Some(&operation.kind)) {
            let mut cells = vec![kind.to_owned(), variant.to_owned()];
            cells.extend(tally_cells(&tally));
            rows.push(cells);
        }
    }
    if rows.is_empty() {
        return;
    }
    // Rows of one kind stand together, in the order of the variants.
    rows.sort_by(|a, b| a[0].cmp(&b[0]));
    text.push_str("### Per operation\n\n");
    let mut head = vec!["operation", "variant"];
    head.extend(TALLY_HEAD);
    header(&head, text);
    for cells in rows {
        row(&cells, text);
    }
    let open = matches!(planned.scenario.load, uplift_model::scenario::Load::Open { .. });
    let _ = writeln!(
        text,
        "\nResponse time ({}), merged over all trials of a variant.\n",
        if open { "from the intended start of each arrival" } else { "closed loop: from sending to the answer" }
    );
}

fn groups_table(input: &ReportInput<'_>, planned: &PlannedScenario, text: &mut String) {
    let mut rows = Vec::new();
    for variant in variants(planned) {
        let trials = of_variant(input, planned, variant);
        for (group, tally) in tally(&trials, |operation| operation.group.as_deref()) {
            let mut cells = vec![group.to_owned(), variant.to_owned()];
            cells.extend(tally_cells(&tally));
            rows.push(cells);
        }
    }
    if rows.is_empty() {
        return;
    }
    rows.sort_by(|a, b| a[0].cmp(&b[0]));
    text.push_str("### Per group\n\n");
    let mut head = vec!["group", "variant"];
    head.extend(TALLY_HEAD);
    header(&head, text);
    for cells in rows {
        row(&cells, text);
    }
    text.push('\n');
}

fn syncs_table(input: &ReportInput<'_>, planned: &PlannedScenario, text: &mut String) {
    let mut rows = Vec::new();
    let mut collectors: Vec<&str> = Vec::new();
    let mut blind: Vec<&str> = Vec::new();
    for variant in variants(planned) {
        let trials = of_variant(input, planned, variant);
        let measured: Vec<_> = trials.iter().filter_map(|trial| trial.measured.as_ref()).collect();
        let ok: u64 = measured.iter().flat_map(|m| &m.operations).map(|operation| operation.ok).sum();
        for record in measured.iter().map(|measured| &measured.syncs) {
            if let Some(collector) = record.collector.as_deref()
                && !collectors.contains(&collector)
            {
                collectors.push(collector);
            }
            for spot in &record.blind_spots {
                if !blind.contains(&spot.as_str()) {
                    blind.push(spot);
                }
            }
        }
        for kind in SyncKind::ALL {
            let mut latency = Histogram::new();
            let mut calls = 0;
            for record in measured.iter().filter_map(|measured| measured.syncs.kinds.get(&kind)) {
                calls += record.calls;
                latency.merge(&record.latency);
            }
            if calls > 0 {
                let at = |q: f64| latency.quantile(q).map_or_else(|| "n/a".to_owned(), nanoseconds);
                rows.push(vec![
                    kind.name().to_owned(),
                    variant.to_owned(),
                    count(calls),
                    if ok > 0 { significant(calls as f64 / ok as f64) } else { "n/a".to_owned() },
                    at(0.5),
                    at(0.99),
                    latency.max().map_or_else(|| "n/a".to_owned(), nanoseconds),
                ]);
            }
        }
    }
    if collectors.is_empty() {
        return;
    }
    text.push_str("### Sync calls\n\n");
    if rows.is_empty() {
        text.push_str("No variant made a sync call during its turns.\n");
    } else {
        header(&["call", "variant", "calls", "per operation", "p50", "p99", "max"], text);
        for cells in rows {
            row(&cells, text);
        }
    }
    let _ = writeln!(text, "\nCounted by {}; not seen: {}.\n", collectors.join(", "), blind.join(", "));
}

fn stage_table(input: &ReportInput<'_>, planned: &PlannedScenario, text: &mut String) {
    let mut rows = Vec::new();
    for variant in variants(planned) {
        let trials = of_variant(input, planned, variant);
        let mut stages: BTreeMap<(Option<&str>, &str), (u64, u64, u64)> = BTreeMap::new();
        let mut wall_ns = 0;
        for trial in &trials {
            let Some(measured) = &trial.measured else { continue };
            if measured.stages.is_empty() {
                continue;
            }
            // Stage clocks run from the first measured turn, dropped ones included.
            wall_ns += measured.turns.iter().map(|turn| turn.wall_ns).sum::<u64>();
            for stage in &measured.stages {
                let entry = stages.entry((stage.worker.as_deref(), &stage.stage)).or_default();
                entry.0 += stage.process_ns;
                entry.1 += stage.wait_ns;
                entry.2 += stage.count;
            }
        }
        if wall_ns == 0 {
            continue;
        }
        let share = |ns: u64| format!("{:.1} %", ns as f64 / wall_ns as f64 * 100.0);
        let mut by_worker: BTreeMap<Option<&str>, u64> = BTreeMap::new();
        for ((worker, stage), (process, wait, spans)) in &stages {
            *by_worker.entry(*worker).or_default() += process + wait;
            rows.push(vec![
                (*stage).to_owned(),
                worker.unwrap_or("–").to_owned(),
                variant.to_owned(),
                nanoseconds(*process),
                nanoseconds(*wait),
                share(process + wait),
                count(*spans),
            ]);
        }
        for (worker, accounted) in by_worker {
            let rest = wall_ns.saturating_sub(accounted);
            rows.push(vec![
                "*unaccounted*".to_owned(),
                worker.unwrap_or("–").to_owned(),
                variant.to_owned(),
                nanoseconds(rest),
                "–".to_owned(),
                share(rest),
                "–".to_owned(),
            ]);
        }
    }
    if rows.is_empty() {
        return;
    }
    text.push_str("### Where the time went\n\n");
    header(&["stage", "worker", "variant", "at work", "waiting", "share of wall", "spans"], text);
    for cells in rows {
        row(&cells, text);
    }
    text.push_str("\nFor each worker the stages and the unaccounted rest add up to the wall time.\n\n");
}

/// How the target's ratios (a queue's depth, records for each batch) went over the turns of the trials: medians of the
/// four quarters.
fn ratios_table(input: &ReportInput<'_>, planned: &PlannedScenario, text: &mut String) {
    let mut rows = Vec::new();
    for variant in variants(planned) {
        let mut quarters: BTreeMap<&str, [Vec<f64>; 4]> = BTreeMap::new();
        let trials = of_variant(input, planned, variant);
        for measured in trials.iter().filter_map(|trial| trial.measured.as_ref()) {
            let kept = measured.turns.get(measured.dropped_turns as usize..).unwrap_or(&[]);
            for (position, turn) in kept.iter().enumerate() {
                for (name, value) in &turn.ratios {
                    quarters.entry(name).or_default()[4 * position / kept.len()].push(*value);
                }
            }
        }
        for (name, quarters) in quarters {
            let mut cells = vec![name.to_owned(), variant.to_owned()];
            cells.extend(quarters.iter().map(|values| median(values).map_or_else(|| "n/a".to_owned(), significant)));
            rows.push(cells);
        }
    }
    if rows.is_empty() {
        return;
    }
    text.push_str("### Over the turns\n\n");
    header(&["what", "variant", "first quarter", "second", "third", "last"], text);
    for cells in rows {
        row(&cells, text);
    }
    text.push_str("\nMedians over the turns of all trials; each turn is in `trials.jsonl`.\n\n");
}

/// Distributions are times unless their name says that they count records.
fn is_count(name: &str) -> bool {
    name.ends_with("_records")
}

fn distributions_table(input: &ReportInput<'_>, planned: &PlannedScenario, text: &mut String) {
    let mut rows = Vec::new();
    for variant in variants(planned) {
        let mut merged: BTreeMap<&str, Histogram> = BTreeMap::new();
        let trials = of_variant(input, planned, variant);
        for measured in trials.iter().filter_map(|trial| trial.measured.as_ref()) {
            for (name, histogram) in &measured.distributions {
                merged.entry(name).or_default().merge(histogram);
            }
        }
        for (name, histogram) in merged {
            let written = |value: u64| if is_count(name) { count(value) } else { nanoseconds(value) };
            let at = |q: f64| histogram.quantile(q).map_or_else(|| "n/a".to_owned(), written);
            rows.push(vec![
                name.to_owned(),
                variant.to_owned(),
                count(histogram.count()),
                at(0.5),
                at(0.95),
                at(0.99),
                histogram.max().map_or_else(|| "n/a".to_owned(), written),
            ]);
        }
    }
    if rows.is_empty() {
        return;
    }
    text.push_str("### Inside the system\n\n");
    header(&["what", "variant", "count", "p50", "p95", "p99", "max"], text);
    for cells in rows {
        row(&cells, text);
    }
    text.push_str("\nRecorded by the system itself over whole trials, warm-up included.\n\n");
}

/// One line for each kind of failure of a scenario's trials.
pub fn failure_lines(input: &ReportInput<'_>, planned: &PlannedScenario) -> Vec<String> {
    let mut failures: BTreeMap<(String, String, String), (u32, String)> = BTreeMap::new();
    for trial in trials_of(input, planned) {
        if let TrialOutcome::Failed(failure) = &trial.outcome {
            let key = (trial.variant.clone(), failure.phase.clone(), failure.message.clone());
            let entry = failures.entry(key).or_default();
            entry.0 += 1;
            entry.1.clone_from(&failure.stderr_tail);
        }
    }
    failures
        .into_iter()
        .map(|((variant, phase, message), (times, stderr))| {
            let tail =
                stderr.lines().rev().take(3).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join(" ⏎ ");
            let tail = if tail.is_empty() { String::new() } else { format!(" (stderr: {tail})") };
            format!("{times} × `{variant}` failed at {phase}: {message}{tail}")
        })
        .collect()
}

fn validation(
    input: &ReportInput<'_>,
    planned: &PlannedScenario,
    verdict: Option<&ScenarioVerdict>,
    text: &mut String,
) {
    text.push_str("### Validation\n\n");
    for variant in variants(planned) {
        let trials = of_variant(input, planned, variant);
        let measured: Vec<_> = trials.iter().filter_map(|trial| trial.measured.as_ref()).collect();
        let Some(last) = measured.last() else { continue };
        let checked: u64 = measured.iter().map(|measured| measured.check.checked).sum();
        let turns: usize = trials.iter().map(|trial| kept(trial).len()).sum();
        let dropped: u32 = measured.iter().map(|measured| measured.dropped_turns).sum();
        let shares: Vec<f64> = measured.iter().filter_map(|measured| measured.idle.cpu_share()).collect();
        let idle = median(&shares)
            .map_or_else(String::new, |share| format!("; idle between turns: {:.2} % of a core", share * 100.0));
        let owed: u64 = measured.iter().filter_map(|measured| measured.drain.owed).sum();
        let drained = median(&measured.iter().map(|measured| measured.drain.duration_ns as f64).collect::<Vec<_>>())
            .map_or_else(String::new, |ns| format!("; drain {} (owed {owed})", with_unit(ns, Unit::Nanoseconds)));
        let _ = writeln!(
            text,
            "- `{variant}`: {} trials correct, {} checks; last: {}; {turns} turns kept, {dropped} dropped as warm-up{idle}{drained}",
            measured.len(),
            count(checked),
            escape(&last.check.detail),
        );
    }
    for line in failure_lines(input, planned) {
        let _ = writeln!(text, "- ✗ {}", escape(&line));
    }
    mix(input, planned, text);
    if let Some(verdict) = verdict {
        for expectation in &verdict.expectations {
            let value = expectation.value.map_or_else(|| "not available".to_owned(), significant);
            let _ = writeln!(
                text,
                "- {} expected of `{}`: {} {} (measured {value})",
                if expectation.held { "✓" } else { "✗" },
                expectation.variant,
                expectation.metric,
                escape(&expectation.rule),
            );
        }
        for note in &verdict.notes {
            let _ = writeln!(text, "- {}", escape(note));
        }
        if let Some(stopped) = &verdict.stopped {
            let _ = writeln!(text, "- measuring stopped: {}", escape(stopped));
        }
        if verdict.status == Status::Compared {
            let _ = writeln!(text, "- {} blocks compared", verdict.blocks);
        }
    }
    sentinels(input, planned, text);
    text.push('\n');
}

/// The measured mix of operations and the evenness over groups.
fn mix(input: &ReportInput<'_>, planned: &PlannedScenario, text: &mut String) {
    for variant in variants(planned) {
        let trials = of_variant(input, planned, variant);
        let kinds = tally(&trials, |operation| Some(&operation.kind));
        let total: u64 = kinds.values().map(|tally| tally.ok + tally.nothing + tally.failed).sum();
        if kinds.len() > 1 && total > 0 {
            let parts: Vec<String> = kinds
                .iter()
                .map(|(kind, tally)| {
                    format!("{kind} {:.1} %", (tally.ok + tally.nothing + tally.failed) as f64 / total as f64 * 100.0)
                })
                .collect();
            let _ = writeln!(text, "- measured mix of `{variant}`: {}", parts.join(", "));
        }
        let groups = tally(&trials, |operation| operation.group.as_deref());
        let sizes: Vec<u64> = groups.values().map(|tally| tally.ok + tally.nothing + tally.failed).collect();
        if let (Some(least), Some(most), true) = (sizes.iter().min(), sizes.iter().max(), sizes.len() > 1) {
            let _ = writeln!(
                text,
                "- evenness of `{variant}` over {} groups: the least busy got {:.1} % of the busiest",
                sizes.len(),
                *least as f64 / (*most).max(1) as f64 * 100.0
            );
        }
    }
}

fn sentinels(input: &ReportInput<'_>, planned: &PlannedScenario, text: &mut String) {
    let trials: Vec<&Trial> = trials_of(input, planned).collect();
    let of = |read: fn(&Trial) -> Option<f64>| -> Vec<f64> { trials.iter().filter_map(|trial| read(trial)).collect() };
    let steal = of(|trial| trial.sentinels.steal_share);
    let foreign = of(|trial| trial.sentinels.foreign_cpu_share);
    let spin = of(|trial| trial.sentinels.spin_ns.map(|ns| ns as f64));
    let sync = of(|trial| trial.sentinels.fdatasync_ns.map(|ns| ns as f64));
    let range = |values: &[f64], unit: Unit| {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        median(values)
            .map(|center| format!("{} ({} … {})", with_unit(center, unit), with_unit(low, unit), with_unit(high, unit)))
    };
    let parts: Vec<String> = [
        ("stolen processor time", range(&steal, Unit::Ratio)),
        ("other processes", range(&foreign, Unit::Ratio)),
        ("spin probe", range(&spin, Unit::Nanoseconds)),
        ("fdatasync probe", range(&sync, Unit::Nanoseconds)),
    ]
    .into_iter()
    .filter_map(|(name, range)| range.map(|range| format!("{name} {range}")))
    .collect();
    if !parts.is_empty() {
        let _ = writeln!(text, "- the machine meanwhile, median (least … most): {}", escape(&parts.join("; ")));
    }
}

fn environment(input: &ReportInput<'_>, text: &mut String) {
    let environment = &input.run.environment;
    text.push_str("---\n\n## Environment\n\n");
    header(&["what", "value"], text);
    let none = || "could not be read".to_owned();
    let own = |value: &Option<String>| value.clone().unwrap_or_else(none);
    let revision = match (&environment.git_revision, environment.git_dirty) {
        (Some(revision), Some(true)) => format!("{revision} with uncommitted changes"),
        (Some(revision), _) => revision.clone(),
        (None, _) => none(),
    };
    let rows = [
        ("uplift", format!("{}, {}", environment.uplift_version, environment.build_profile)),
        ("compiler", own(&environment.compiler)),
        ("revision", revision),
        ("processor", own(&environment.cpu_model)),
        ("cores", environment.cores.map_or_else(none, |cores| cores.to_string())),
        ("memory", environment.memory_bytes.map_or_else(none, |bytes| with_unit(bytes as f64, Unit::Bytes))),
        ("virtualization", environment.virtualization.clone().unwrap_or_else(|| "none noticed".to_owned())),
        ("system", own(&environment.os)),
        ("kernel", own(&environment.kernel)),
        ("filesystem of the data", own(&environment.filesystem)),
        ("mount options", own(&environment.mount_options)),
        ("frequency governor", own(&environment.governor)),
    ];
    for (what, value) in rows {
        row(&[what.to_owned(), escape(&value)], text);
    }
    let launchers: BTreeSet<&String> =
        input.run.scenarios.iter().flat_map(|planned| planned.launchers.values()).collect();
    // A child process is what everybody expects.
    if launchers.iter().any(|launcher| *launcher != "process") {
        let words: Vec<&str> = launchers.iter().map(|launcher| launcher.as_str()).collect();
        row(&["agents started as".to_owned(), escape(&words.join("; "))], text);
    }
    text.push('\n');
}

fn reproduction(input: &ReportInput<'_>, text: &mut String) {
    let run = input.run;
    let _ = writeln!(
        text,
        "## Reproduction\n\n```sh\n{}\n```\n\nSeed {}; run `{}`. Every value above is derived from `trials.jsonl` and `run.json` of that run; `uplift report {}` rebuilds this document from them.\n",
        run.command.iter().map(|word| shell_word(word)).collect::<Vec<_>>().join(" "),
        run.seed,
        run.id,
        run.id
    );
}

/// A word as a shell reads it back.
fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,%+@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

//! What a pull request shows: job summary, annotations, comment.

use std::fmt::Write as _;

use uplift_analysis::{
    gate::{GateOutcome, GateRow},
    warning,
};
use uplift_model::verdict::{Status, Verdict};

use crate::{
    ReportInput,
    build::shown_by_default,
    document::{Cell, arrow},
    headline,
    number::change_with_interval,
    printable::printable,
};

/// By this a workflow finds the comment that it wrote before, to replace it.
pub const COMMENT_MARKER: &str = "<!-- uplift-gate -->";
/// GitHub refuses a longer comment. It counts characters; bytes are never fewer.
pub const COMMENT_BYTES_MAX: usize = 65_536;

/// The comment: the verdict of the gate first, then its rules, then the metrics of each scenario as far as they fit.
pub fn comment(input: &ReportInput<'_>, rows: &[GateRow]) -> String {
    let mut text = format!("{COMMENT_MARKER}\n{}", summary_head(input, rows));
    let end = format!("\nRun `{}`, seed {}; every figure is derived from its records.\n", input.run.id, input.run.seed);
    let left_out = "\nSome scenarios are left out: the comment would be too long. The report has them.\n";
    let room = COMMENT_BYTES_MAX - 1 - end.len() - left_out.len();
    cut(&mut text, room);
    let mut complete = true;
    for part in details(input) {
        if text.len() + part.len() > room {
            complete = false;
            continue;
        }
        text.push_str(&part);
    }
    if !complete {
        text.push_str(left_out);
    }
    text.push_str(&end);
    text
}

/// The job summary: the same without marker; GitHub takes 1 MiB of it.
pub fn summary(input: &ReportInput<'_>, rows: &[GateRow]) -> String {
    let mut text = summary_head(input, rows);
    details(input).iter().for_each(|part| text.push_str(part));
    cut(&mut text, 1 << 20);
    text
}

/// Cuts at the end of a line.
fn cut(text: &mut String, bytes_max: usize) {
    if text.len() > bytes_max {
        let end = text.floor_char_boundary(bytes_max);
        let line = text[..end].rfind('\n').map_or(end, |at| at + 1);
        text.truncate(line);
    }
}

/// One command for each rule that is broken or open, and for each scenario that could not be compared.
pub fn annotations(input: &ReportInput<'_>, rows: &[GateRow]) -> Vec<String> {
    let mut lines = Vec::new();
    for row in rows {
        let level = match row.outcome {
            GateOutcome::Passed => continue,
            GateOutcome::Broken => "error",
            GateOutcome::Open => "warning",
        };
        let title = format!("{}: {} {}", row.scenario, row.metric, row.rule);
        let message = format!("{}: {}", row.outcome.word(), row.reason);
        lines.push(format!("::{level} title={}::{}", property(&title), data(&message)));
    }
    for scenario in input.verdicts.iter().flat_map(|verdicts| &verdicts.scenarios) {
        for warning in warning::of_scenario(scenario) {
            lines.push(format!("::warning title={}::{}", property(&scenario.name), data(&warning.text())));
        }
    }
    lines
}

/// What a workflow command's message must not hold.
fn data(text: &str) -> String {
    printable(text, false).replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// Text that must not end a cell, start markup or call somebody by name.
fn cell(text: &str) -> String {
    printable(text, false).replace('|', "\\|").replace('\n', " ").replace('<', "&lt;").replace('@', "@\u{200b}")
}

fn summary_head(input: &ReportInput<'_>, rows: &[GateRow]) -> String {
    let count = |outcome| rows.iter().filter(|row| row.outcome == outcome).count();
    let (broken, open) = (count(GateOutcome::Broken), count(GateOutcome::Open));
    let word = match (broken, open, rows.is_empty()) {
        (_, _, true) => "no rule",
        (0, 0, _) => "passed",
        (0, ..) => "undecided",
        _ => "regression",
    };
    let (baseline, candidate) = input.verdicts.map_or(("", ""), |verdicts| (&verdicts.baseline, &verdicts.candidate));
    let mut text = format!("### Performance gate: {word}\n\n{} against {}: ", cell(candidate), cell(baseline));
    let _ = writeln!(text, "{} rules passed, {broken} broken, {open} open.\n", count(GateOutcome::Passed));
    for scenario in input.verdicts.iter().flat_map(|verdicts| &verdicts.scenarios) {
        let sign = match (scenario.status, scenario.primary().map(|metric| metric.verdict)) {
            (Status::Compared, Some(Verdict::Improved)) => "▲",
            (Status::Compared, Some(Verdict::Regressed)) => "▼",
            (Status::Compared, Some(Verdict::Unchanged)) => "=",
            (Status::Compared, _) => "?",
            _ => "⊘",
        };
        let _ = writeln!(text, "- {sign} {}", cell(&headline::of_scenario(scenario)));
        if let Some(changed) = headline::changed_together(scenario) {
            let _ = writeln!(text, "  - {}", cell(&changed));
        }
        for warning in warning::of_scenario(scenario) {
            let _ = writeln!(text, "  - ⚠ {}", cell(&warning.text()));
        }
    }
    let told: Vec<&GateRow> = rows.iter().filter(|row| row.outcome != GateOutcome::Passed).collect();
    if !told.is_empty() {
        text.push_str("\n| scenario | metric | rule | outcome | measured |\n|---|---|---|---|---|\n");
        for row in told {
            let _ = writeln!(
                text,
                "| {} | {} | {} | **{}** | {} |",
                cell(&row.scenario),
                cell(&row.metric),
                cell(&row.rule),
                row.outcome.word(),
                cell(&row.reason)
            );
        }
    }
    text
}

/// One part for each scenario.
fn details(input: &ReportInput<'_>) -> Vec<String> {
    let Some(verdicts) = input.verdicts else { return Vec::new() };
    verdicts
        .scenarios
        .iter()
        .filter(|scenario| scenario.status == Status::Compared)
        .map(|scenario| {
            let mut text = format!("\n<details><summary>{}</summary>\n\n", cell(&scenario.name));
            let planned = input.run.scenarios.iter().find(|planned| planned.scenario.name == scenario.name);
            let noise = planned.and_then(|planned| planned.calibration.as_deref()).map(|known| &known.noise);
            text.push_str(match noise {
                Some(_) => "| metric | change | interval | A/A floor | verdict |\n|---|---:|---:|---:|---|\n",
                None => "| metric | change | interval | verdict |\n|---|---:|---:|---|\n",
            });
            for metric in scenario.metrics.iter().filter(|metric| shown_by_default(metric) && metric.baseline.is_some())
            {
                let (change, interval) = change_with_interval(metric.change, metric.ci, metric.class);
                // What the baseline showed against itself stands beside what the candidate shows against it.
                let floor = noise.map(|noise| match noise.get(&metric.metric) {
                    Some(noise) => format!(" ±{:.1} % |", noise.floor * 100.0),
                    None => " n/a |".to_owned(),
                });
                let _ = writeln!(
                    text,
                    "| {}{} | {} | {} |{} {} |",
                    cell(&metric.metric),
                    arrow(metric.better),
                    change.as_deref().unwrap_or("n/a"),
                    interval.as_deref().unwrap_or("n/a"),
                    floor.unwrap_or_default(),
                    Cell::verdict(metric).words()
                );
            }
            text.push_str("\n</details>\n");
            text
        })
        .collect()
}

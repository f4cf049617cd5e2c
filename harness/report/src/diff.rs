//! Two stored runs side by side, as markdown.

use std::fmt::Write as _;

use uplift_analysis::diff::RunDiff;

use crate::{
    number::{change, with_unit},
    terminal::arrow,
};

/// Checks, what was left out, then a table for each variant of each scenario.
pub fn document(diff: &RunDiff) -> String {
    let mut text = format!("# {} against {}\n\n", diff.second, diff.first);
    text.push_str("| condition | first | second | |\n|---|---|---|---|\n");
    for check in &diff.checks {
        // What neither run could read is equal to nothing.
        let word = match (check.same, check.first == check.second) {
            (true, _) => "same",
            (false, true) => "not known",
            (false, false) => "differs",
        };
        let _ = writeln!(text, "| {} | {} | {} | {word} |", check.what, check.first, check.second);
    }
    text.push('\n');
    for left in &diff.left_out {
        let _ = writeln!(text, "- left out: {left}");
    }
    if diff.scenarios.is_empty() {
        text.push_str("\nThe runs have nothing in common that may be compared.\n");
    }
    for scenario in &diff.scenarios {
        let _ = writeln!(
            text,
            "\n## {}, `{}`\n\n| metric | first | second | change | verdict |\n|---|---:|---:|---:|---|",
            scenario.scenario, scenario.variant
        );
        let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
        for metric in &scenario.metrics {
            let _ = writeln!(
                text,
                "| {}{} | {} | {} | {} | {} |",
                metric.metric,
                arrow(metric.better),
                with_unit(metric.first.median, metric.unit),
                with_unit(metric.second.median, metric.unit),
                metric.change.map_or_else(|| "n/a".to_owned(), |value| change(value, metric.class)),
                metric.verdict.word(),
            );
            match reasons.iter_mut().find(|(reason, _)| *reason == metric.reason) {
                Some((_, members)) => members.push(&metric.metric),
                None => reasons.push((&metric.reason, vec![&metric.metric])),
            }
        }
        text.push('\n');
        for (reason, members) in reasons {
            let _ = writeln!(text, "- {}: {reason}", members.join(", "));
        }
    }
    text
}

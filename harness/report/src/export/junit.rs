//! JUnit XML: a suite for each scenario, a case for each rule of its gate; a scenario without rules has one case, its
//! primary metric. Broken is a failure, open is skipped with the reason, what could not be compared is an error.
//!
//! Not the quick-junit crate: it counts skipped cases as `disabled` of a suite and not at all of the whole, and readers of
//! these files look for `skipped`; it brings chrono and an XML writer for sixty lines.

use std::fmt::Write as _;

use uplift_analysis::gate::{GateOutcome, GateRow, gate};
use uplift_model::verdict::{ScenarioVerdict, Status, Verdict};

use super::Selection;
use crate::{ReportInput, headline};

/// Every rule of the gate of a run that compares; `None` where it compares nothing.
pub fn export(input: &ReportInput<'_>, selection: &Selection) -> Option<String> {
    let verdicts = input.verdicts?;
    Some(document(input, &gate(input.run, verdicts), selection))
}

struct Case {
    name: String,
    outcome: Outcome,
    words: String,
}

enum Outcome {
    Passed,
    Failed,
    Skipped,
    Error,
}

/// The document for these rows of a gate.
pub fn document(input: &ReportInput<'_>, rows: &[GateRow], selection: &Selection) -> String {
    let mut suites = String::new();
    let mut totals = [0usize; 4];
    for scenario in input.verdicts.iter().flat_map(|verdicts| &verdicts.scenarios) {
        if selection.scenario.as_deref().is_some_and(|wanted| wanted != scenario.name) {
            continue;
        }
        let cases = cases(scenario, rows);
        let count = |wanted: fn(&Outcome) -> bool| cases.iter().filter(|case| wanted(&case.outcome)).count();
        let own = [
            cases.len(),
            count(|outcome| matches!(outcome, Outcome::Failed)),
            count(|outcome| matches!(outcome, Outcome::Error)),
            count(|outcome| matches!(outcome, Outcome::Skipped)),
        ];
        for (total, own) in totals.iter_mut().zip(own) {
            *total += own;
        }
        let seconds = seconds_of(input, &scenario.name);
        let _ = writeln!(
            suites,
            "  <testsuite name=\"{}\" {} time=\"{seconds:.3}\">",
            escaped(&scenario.name),
            counts(own)
        );
        for case in cases {
            let _ = write!(
                suites,
                "    <testcase classname=\"{}\" name=\"{}\" time=\"0\"",
                escaped(&scenario.name),
                escaped(&case.name)
            );
            let words = escaped(&case.words);
            let _ = match case.outcome {
                Outcome::Passed => writeln!(suites, "/>"),
                Outcome::Failed => {
                    writeln!(suites, ">\n      <failure message=\"{words}\" type=\"regression\"/>\n    </testcase>")
                }
                Outcome::Skipped => writeln!(suites, ">\n      <skipped message=\"{words}\"/>\n    </testcase>"),
                Outcome::Error => {
                    writeln!(suites, ">\n      <error message=\"{words}\" type=\"incomparable\"/>\n    </testcase>")
                }
            };
        }
        let _ = writeln!(
            suites,
            "    <system-out>{}</system-out>\n  </testsuite>",
            escaped(&headline::of_scenario(scenario))
        );
    }
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"{}\" {}>\n{suites}</testsuites>\n",
        escaped(&input.run.id),
        counts(totals)
    )
}

fn counts([tests, failures, errors, skipped]: [usize; 4]) -> String {
    format!("tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\"")
}

fn cases(scenario: &ScenarioVerdict, rows: &[GateRow]) -> Vec<Case> {
    let own: Vec<&GateRow> = rows.iter().filter(|row| row.scenario == scenario.name).collect();
    if scenario.status != Status::Compared {
        let outcome = if scenario.status == Status::Skipped { Outcome::Skipped } else { Outcome::Error };
        let words = scenario.reason.clone().unwrap_or_else(|| "no reason was recorded".to_owned());
        return vec![Case { name: "compared".to_owned(), outcome, words }];
    }
    if own.is_empty() {
        let Some(primary) = scenario.primary() else { return Vec::new() };
        let outcome = match primary.verdict {
            Verdict::Improved | Verdict::Unchanged => Outcome::Passed,
            Verdict::Regressed => Outcome::Failed,
            Verdict::Inconclusive => Outcome::Skipped,
            Verdict::Incomparable => Outcome::Error,
        };
        return vec![Case { name: primary.metric.clone(), outcome, words: headline::of_scenario(scenario) }];
    }
    own.iter()
        .enumerate()
        .map(|(index, row)| Case {
            // An expectation is checked against each variant by the same rule: cases need names of their own.
            name: match own[..index]
                .iter()
                .filter(|other| (&other.metric, &other.rule) == (&row.metric, &row.rule))
                .count()
            {
                0 => format!("{} {}", row.metric, row.rule),
                before => format!("{} {} ({})", row.metric, row.rule, before + 1),
            },
            outcome: match row.outcome {
                GateOutcome::Passed => Outcome::Passed,
                GateOutcome::Broken => Outcome::Failed,
                GateOutcome::Open => Outcome::Skipped,
            },
            words: row.reason.clone(),
        })
        .collect()
}

/// How long the scenario's trials measured.
fn seconds_of(input: &ReportInput<'_>, scenario: &str) -> f64 {
    let own = input.trials.iter().filter(|trial| trial.scenario == scenario);
    own.flat_map(uplift_analysis::pairing::kept).map(|turn| turn.wall_ns).sum::<u64>() as f64 / 1e9
}

/// XML 1.0 has no characters below space but three, not even escaped.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            '\t' => escaped.push_str("&#9;"),
            c if c < ' ' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

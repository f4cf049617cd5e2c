//! One line for each metric of each trial, failed trials included (RFC 4180).

use uplift_analysis::metrics;
use uplift_model::{Better, trial::TrialOutcome};

use super::Selection;
use crate::ReportInput;

const HEAD: &str =
    "scenario,variant,block,position,started_unix_ns,line,outcome,metric,unit,better,value,absent_because\r\n";

pub fn export(input: &ReportInput<'_>, selection: &Selection) -> Option<String> {
    let mut text = HEAD.to_owned();
    let mut push = |cells: &[&str]| {
        let cells: Vec<String> = cells.iter().map(|cell| quoted(cell)).collect();
        text.push_str(&cells.join(","));
        text.push_str("\r\n");
    };
    let mut any = false;
    for planned in &input.run.scenarios {
        for (index, trial) in input.trials.iter().enumerate() {
            if trial.scenario != planned.scenario.name || !selection.has(&trial.scenario, &trial.variant) {
                continue;
            }
            any = true;
            let (block, position) = (trial.block.to_string(), trial.position.to_string());
            let (started, line) = (trial.started_unix_ns.to_string(), (index + 1).to_string());
            let head = [&trial.scenario, &trial.variant, &block, &position, &started, &line];
            let head: Vec<&str> = head.into_iter().map(String::as_str).collect();
            let outcome = match &trial.outcome {
                TrialOutcome::Ok => "ok".to_owned(),
                TrialOutcome::Failed(failure) => format!("failed at {}: {}", failure.phase, failure.message),
            };
            let values = if trial.succeeded() { metrics::of_trial(trial, planned) } else { Vec::new() };
            if values.is_empty() {
                push(&[&head[..], &[&outcome, "", "", "", "", &outcome]].concat());
            }
            for value in values {
                let better = match value.spec.better {
                    Better::Higher => "higher",
                    Better::Lower => "lower",
                    Better::Neither => "",
                };
                let (number, absent) = match value.value {
                    Ok(number) => (number.to_string(), String::new()),
                    Err(reason) => (String::new(), reason),
                };
                let rest = [&outcome, value.spec.name.as_ref(), value.spec.unit.symbol(), better, &number, &absent];
                push(&[&head[..], &rest].concat());
            }
        }
    }
    any.then_some(text)
}

/// Not the csv crate: it writes the same bytes, but turns on a feature of serde_core that compiles serde a second time.
fn quoted(cell: &str) -> String {
    if cell.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_owned() }
}

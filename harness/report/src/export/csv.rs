//! One line for each metric of each trial, failed trials included (RFC 4180).

use uplift_analysis::metrics;
use uplift_model::{Better, trial::TrialOutcome};

use super::Selection;
use crate::ReportInput;

const HEAD: [&str; 12] = [
    "scenario",
    "variant",
    "block",
    "position",
    "started_unix_ns",
    "line",
    "outcome",
    "metric",
    "unit",
    "better",
    "value",
    "absent_because",
];

pub fn export(input: &ReportInput<'_>, selection: &Selection) -> Option<String> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    let mut push = |cells: &[&str]| {
        writer.write_record(cells).expect("twelve cells a line, written to memory");
    };
    push(&HEAD);
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
    let bytes = writer.into_inner().expect("memory takes all that is flushed");
    any.then(|| String::from_utf8(bytes).expect("cells are text"))
}

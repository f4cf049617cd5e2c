//! What a gate writes beside the documents of its run, and how all of it is made again from the records.

use std::{collections::BTreeMap, fs, io, path::Path};

use serde::{Deserialize, Serialize};
use uplift_analysis::gate::{GateRow, gate};
use uplift_engine::store::{load_profiles, write_whole};
use uplift_model::{Trial, Verdicts, run::Run, scenario::Bound};
use uplift_report::{
    ReportInput,
    build::gate::section,
    export::{Selection, junit},
    github,
};

use crate::{error::CliError, output::write_documents_with};

/// The rules that were in force: those of the scenarios, of the command line, and the defaults. `run.json` has the first only.
const RULES_FILE: &str = "rules.json";
/// What became of each.
const ROWS_FILE: &str = "gate.json";

/// `rules.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    schema: u32,
    /// Of each scenario, by metric.
    scenarios: BTreeMap<String, BTreeMap<String, Bound>>,
}

/// Writes the rules that `run` has, what became of them, and the run's documents with it.
pub fn publish(directory: &Path, run: &Run, trials: &[Trial]) -> Result<Vec<GateRow>, CliError> {
    let scenarios = run.scenarios.iter().map(|planned| {
        let gate = planned.scenario.gate.iter().map(|(metric, bound)| (metric.clone(), bound.clone()));
        (planned.scenario.name.clone(), gate.collect())
    });
    let rules = Rules { schema: 1, scenarios: scenarios.collect() };
    write(directory, RULES_FILE, &json(&rules)?)?;
    draw(directory, run, trials)
}

/// Makes everything again for a run that was a gate's; `None`: it was none.
pub fn rebuild(directory: &Path, run: &Run, trials: &[Trial], verdicts: Option<&Verdicts>) -> Result<bool, CliError> {
    let mut run = run.clone();
    if let Some(text) = read(directory, RULES_FILE)? {
        let rules: Rules = serde_json::from_str(&text).map_err(|error| damaged(directory, RULES_FILE, &error))?;
        for planned in &mut run.scenarios {
            if let Some(own) = rules.scenarios.get(&planned.scenario.name) {
                planned.scenario.gate = own.iter().map(|(metric, bound)| (metric.clone(), bound.clone())).collect();
            }
        }
    } else if let Some(text) = read(directory, ROWS_FILE)? {
        // Older gates left no rules, but what became of each, with its text.
        let rows: Vec<GateRow> = serde_json::from_str(&text).map_err(|error| damaged(directory, ROWS_FILE, &error))?;
        of_rows(&mut run, &rows, verdicts);
    } else {
        return Ok(false);
    }
    draw(directory, &run, trials).map(|_| true)
}

/// The rules that the rows are about; what a scenario expects, and durability, have rows but are no rules.
fn of_rows(run: &mut Run, rows: &[GateRow], verdicts: Option<&Verdicts>) {
    for planned in &mut run.scenarios {
        let name = &planned.scenario.name;
        let verdict = verdicts.iter().flat_map(|all| &all.scenarios).find(|verdict| &verdict.name == name);
        let mut expected: Vec<(&str, &str)> = verdict
            .iter()
            .flat_map(|verdict| &verdict.expectations)
            .map(|expectation| (expectation.metric.as_str(), expectation.rule.as_str()))
            .collect();
        for row in rows.iter().filter(|row| &row.scenario == name) {
            if let Some(at) = expected.iter().position(|known| *known == (row.metric.as_str(), row.rule.as_str())) {
                expected.swap_remove(at);
            } else if let Ok(bound) = row.rule.parse() {
                planned.scenario.gate.insert(row.metric.clone(), bound);
            }
        }
    }
}

fn draw(directory: &Path, run: &Run, trials: &[Trial]) -> Result<Vec<GateRow>, CliError> {
    let mut rows = Vec::new();
    let verdicts = write_documents_with(directory, run, trials, |verdicts| {
        rows = verdicts.map(|verdicts| gate(run, verdicts)).unwrap_or_default();
        vec![section(&rows)]
    })?;
    let profiles = load_profiles(directory)?;
    let input = ReportInput { run, trials, profiles: &profiles, verdicts: verdicts.as_ref() };
    write(directory, ROWS_FILE, &json(&rows)?)?;
    write(directory, "junit.xml", &junit::document(&input, &rows, &Selection::default()))?;
    write(directory, "comment.md", &github::comment(&input, &rows))?;
    Ok(rows)
}

/// The rows as `gate.json` has them.
pub fn json(value: &impl Serialize) -> Result<String, CliError> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| CliError::environment(format!("could not write the gate's rows: {error}"), ""))?;
    Ok(text + "\n")
}

fn write(directory: &Path, name: &str, text: &str) -> Result<(), CliError> {
    let path = directory.join(name);
    write_whole(&path, text.as_bytes())
        .map_err(|error| CliError::environment(format!("could not write `{}`: {error}", path.display()), ""))
}

fn read(directory: &Path, name: &str) -> Result<Option<String>, CliError> {
    match fs::read_to_string(directory.join(name)) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(damaged(directory, name, &error)),
    }
}

fn damaged(directory: &Path, name: &str, error: &dyn std::fmt::Display) -> CliError {
    let path = directory.join(name);
    let fix = "move it away: the run's own documents can then be made again, without the gate";
    CliError::environment(format!("could not read `{}`: {error}", path.display()), fix)
}

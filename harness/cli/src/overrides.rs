//! `--set key=value`.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use uplift_model::{Scenario, Table, disk::DiskModel};

use crate::error::CliError;

/// Applies overrides to a scenario: a bare key is a setting of every variant, `workload.`, `load.`, `trial.` and `disk.`
/// reach those tables. What they make together is validated, not each by itself: an open load needs a mode and a rate.
pub fn apply(scenario: &mut Scenario, sets: &[String]) -> Result<(), CliError> {
    let (mut load, mut trial, mut disk) = (Table::new(), Table::new(), Table::new());
    for set in sets {
        let Some((path, text)) = set.split_once('=') else {
            return Err(CliError::usage(
                format!("--set `{set}` has no `=`"),
                "write --set key=value, such as --set workload.databases=1",
            ));
        };
        let (path, value) = (path.trim(), value_of(text.trim()));
        match path.split_once('.') {
            None => {
                for variant in &mut scenario.variants {
                    variant.settings.insert(path.to_owned(), value.clone());
                }
            }
            Some(("workload", key)) => drop(scenario.workload.insert(key.to_owned(), value)),
            Some(("load", key)) => drop(load.insert(key.to_owned(), value)),
            Some(("trial", key)) => drop(trial.insert(key.to_owned(), value)),
            Some(("disk", "preset")) => {
                let disk = DiskModel::preset(text.trim().trim_matches('"'))
                    .map_err(|message| CliError::usage(format!("--set {set}: {message}"), "name one of these"))?;
                scenario.disk = Some(disk);
            }
            Some(("disk", key)) => drop(disk.insert(key.to_owned(), value)),
            Some((table, _)) => {
                return Err(CliError::usage(
                    format!("--set {set}: there is no table `{table}`"),
                    "write a bare key for a setting, or workload.key, load.key, trial.key, disk.key",
                ));
            }
        }
    }
    if !load.is_empty() {
        scenario.load = scenario.load.with(&load).map_err(|(key, message, help)| {
            let place = if key.is_empty() { written("load", &load) } else { format!("load.{key}") };
            CliError::usage(format!("--set {place}: {message}"), help)
        })?;
    }
    if !trial.is_empty() {
        scenario.trial = with("trial", &scenario.trial, trial)?;
    }
    if !disk.is_empty() {
        scenario.disk = Some(match &scenario.disk {
            Some(model) => with("disk", model, disk)?,
            None => with("disk", &Table::new(), disk)?,
        });
    }
    scenario.revalidate().map_err(|(key, message, help)| CliError::usage(format!("--set {key}: {message}"), help))
}

/// A table with values of it replaced.
fn with<F: Serialize, T: DeserializeOwned>(name: &str, now: &F, values: Table) -> Result<T, CliError> {
    let place = written(name, &values);
    let wrong = |error: serde_json::Error| {
        CliError::usage(format!("--set {place}: {error}"), "scenarios/README.md lists the keys of this table")
    };
    let mut table: Table = serde_json::to_value(now).and_then(serde_json::from_value).map_err(wrong)?;
    table.extend(values);
    serde_json::from_value(Value::Object(table)).map_err(wrong)
}

/// The overrides of a table, as they were written.
fn written(table: &str, values: &Table) -> String {
    values.iter().map(|(key, value)| format!("{table}.{key}={value}")).collect::<Vec<_>>().join(" --set ")
}

/// A TOML value where the text is one, and otherwise the text: quotes may be left out.
pub fn value_of(text: &str) -> Value {
    toml::from_str::<toml::Table>(&format!("value = {text}"))
        .ok()
        .and_then(|table| serde_json::to_value(table.get("value")?).ok())
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

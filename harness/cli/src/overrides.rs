//! `--set key=value`.

use serde_json::Value;
use uplift_model::{Scenario, disk::DiskModel};

use crate::error::CliError;

/// Applies overrides to a scenario: a bare key is a setting of every variant, `workload.`, `load.`, `trial.` and
/// `disk.` reach those tables.
pub fn apply(scenario: &mut Scenario, sets: &[String]) -> Result<(), CliError> {
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
            Some(("workload", key)) => {
                scenario.workload.insert(key.to_owned(), value);
            }
            Some(("disk", "preset")) => {
                let disk = DiskModel::preset(text.trim().trim_matches('"'))
                    .map_err(|message| CliError::usage(format!("--set {set}: {message}"), "name one of these"))?;
                scenario.disk = Some(disk);
            }
            Some((table @ ("load" | "trial" | "disk"), key)) => {
                let mut whole = serde_json::to_value(&*scenario)
                    .map_err(|error| CliError::usage(format!("--set {set}: {error}"), ""))?;
                if table == "disk" && scenario.disk.is_none() {
                    whole[table] = Value::Object(serde_json::Map::new());
                }
                if let Some(table) = whole.get_mut(table).and_then(Value::as_object_mut) {
                    table.insert(key.to_owned(), value);
                }
                *scenario = serde_json::from_value(whole).map_err(|error| {
                    CliError::usage(format!("--set {set}: {error}"), "scenarios/README.md lists the keys of this table")
                })?;
            }
            Some((table, _)) => {
                return Err(CliError::usage(
                    format!("--set {set}: there is no table `{table}`"),
                    "write a bare key for a setting, or workload.key, load.key, trial.key, disk.key",
                ));
            }
        }
    }
    scenario.revalidate().map_err(|(key, message, help)| CliError::usage(format!("--set {key}: {message}"), help))
}

/// A TOML value where the text is one, and otherwise the text: quotes may be left out.
fn value_of(text: &str) -> Value {
    toml::from_str::<toml::Table>(&format!("value = {text}"))
        .ok()
        .and_then(|table| serde_json::to_value(table.get("value")?).ok())
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

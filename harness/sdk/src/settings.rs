//! Tables of a scenario become typed settings, once, with errors that name the key.

use std::fmt;

use serde::de::DeserializeOwned;
use uplift_model::{
    Table,
    protocol::{Problem, ProblemTable},
};

/// A key of the workload or settings table that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct SettingsError {
    /// Which table: "workload" or "settings".
    pub table: &'static str,
    /// The key's path within it, outermost first; empty where the table as a whole is wrong.
    pub keys: Vec<String>,
    /// The rule that was broken, with the value.
    pub message: String,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.keys.is_empty() {
            write!(f, "{}: {}", self.table, self.message)
        } else {
            write!(f, "{}.{}: {}", self.table, self.keys.join("."), self.message)
        }
    }
}

impl From<SettingsError> for Problem {
    fn from(error: SettingsError) -> Self {
        let table = if error.table == "workload" { ProblemTable::Workload } else { ProblemTable::Settings };
        Self { table, keys: error.keys, message: error.message }
    }
}

impl From<Problem> for SettingsError {
    fn from(problem: Problem) -> Self {
        Self { table: problem.table.name(), keys: problem.keys, message: problem.message }
    }
}

impl SettingsError {
    /// A rule that only the target knows: `key` of `table` has a value that cannot be.
    pub fn new(table: &'static str, key: &str, message: impl Into<String>) -> Self {
        Self { table, keys: vec![key.to_owned()], message: message.into() }
    }
}

/// Reads `values` as a `T`, which should `deny_unknown_fields`. `table` is "workload" or "settings".
///
/// # Errors
/// The path of the key that does not fit, and what would.
pub fn typed<T: DeserializeOwned>(table: &'static str, values: &Table) -> Result<T, SettingsError> {
    serde_path_to_error::deserialize(serde_json::Value::Object(values.clone())).map_err(|error| {
        let mut keys: Vec<String> = error
            .path()
            .iter()
            .filter_map(|segment| match segment {
                serde_path_to_error::Segment::Map { key } => Some(key.clone()),
                serde_path_to_error::Segment::Enum { variant } => Some(variant.clone()),
                _ => None,
            })
            .collect();
        let message = error.into_inner().to_string();
        // The path of an unknown field ends at its table; the name is in the sentence.
        if let Some(name) = message.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next())
            && keys.last().is_none_or(|last| last != name)
        {
            keys.push(name.to_owned());
        }
        SettingsError { table, keys, message }
    })
}

/// A table of a scenario with rules that its types do not tell.
pub trait Validated: DeserializeOwned {
    /// The rules; none where the types tell all.
    ///
    /// # Errors
    /// The key whose value cannot be, or has no meaning beside the others.
    fn validate(&self) -> Result<(), SettingsError> {
        Ok(())
    }
}

/// Reads the workload as a `W` and the settings as an `S`, and holds both to their rules.
///
/// # Errors
/// The first key that is wrong.
pub fn read<W: Validated, S: Validated>(workload: &Table, settings: &Table) -> Result<(W, S), SettingsError> {
    let (workload, settings) = (typed::<W>("workload", workload)?, typed::<S>("settings", settings)?);
    workload.validate()?;
    settings.validate()?;
    Ok((workload, settings))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        #[expect(dead_code, reason = "only the reading is tested")]
        shards: u32,
    }

    #[test]
    fn an_unknown_key_is_named_with_what_is_allowed() {
        let table = serde_json::json!({ "shard": 3 }).as_object().unwrap().clone();
        let error = typed::<Settings>("settings", &table).unwrap_err();
        assert_eq!(error.keys, ["shard"]);
        assert!(error.to_string().contains("expected `shards`"), "{error}");
        let table = serde_json::json!({ "shards": "three" }).as_object().unwrap().clone();
        let error = typed::<Settings>("settings", &table).unwrap_err();
        assert_eq!(error.keys, ["shards"]);
        assert!(error.to_string().contains("invalid type"), "{error}");
    }
}

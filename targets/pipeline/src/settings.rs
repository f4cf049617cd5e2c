//! Workload and settings of the pipeline target: those of the engine, as tables of a scenario.

use pipeline_engine::InvalidSetting;
use serde::{Deserialize, Serialize};
use uplift_sdk::{
    SettingsError,
    model::Table,
    settings::{Validated, read as read_tables},
};

/// What one operation copies.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Workload(pub pipeline_engine::Workload);

/// How the pipeline is built.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Settings(pub pipeline_engine::Settings);

impl Validated for Workload {
    fn validate(&self) -> Result<(), SettingsError> {
        self.0.check().map_err(|error| invalid("workload", error))
    }
}

impl Validated for Settings {
    fn validate(&self) -> Result<(), SettingsError> {
        self.0.check().map_err(|error| invalid("settings", error))
    }
}

/// Reads both, and holds them to the rules that they have together.
///
/// # Errors
/// The first key that is wrong.
pub fn read(workload: &Table, settings: &Table) -> Result<(Workload, Settings), SettingsError> {
    let (workload, settings) = read_tables::<Workload, Settings>(workload, settings)?;
    settings.0.suits(&workload.0).map_err(|error| invalid("settings", error))?;
    Ok((workload, settings))
}

fn invalid(table: &'static str, error: InvalidSetting) -> SettingsError {
    SettingsError::new(table, error.key, error.rule)
}

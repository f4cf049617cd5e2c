//! Workload and settings of the pipeline target: those of the engine, as tables of a scenario.

use pipeline_engine::InvalidSetting;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uplift_sdk::{SettingsError, Validated};

// The schemas are the engine's own, their descriptions too.
/// What one operation copies.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Workload(pub pipeline_engine::Workload);

/// How the pipeline is built.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
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

impl Settings {
    /// The rules that both tables have together.
    ///
    /// # Errors
    /// The first key that is wrong.
    pub fn suits(&self, workload: &Workload) -> Result<(), SettingsError> {
        self.0.suits(&workload.0).map_err(|error| invalid("settings", error))
    }
}

fn invalid(table: &'static str, error: InvalidSetting) -> SettingsError {
    SettingsError::new(table, error.key, error.rule)
}

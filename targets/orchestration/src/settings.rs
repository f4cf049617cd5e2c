//! Workload and settings of the orchestration target.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uplift_target::{SettingsError, model::duration::HumanDuration};

/// What one orchestration does.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Workload {
    /// The shape of an orchestration.
    pub kind: WorkloadKind,
    /// Activities that an orchestration starts.
    pub activities: u32,
    /// How long each activity takes, doing nothing: the work of the real activity, which no storage can shorten.
    pub activity_delay: HumanDuration,
}

impl Default for Workload {
    fn default() -> Self {
        Self { kind: WorkloadKind::Fanout, activities: 5, activity_delay: HumanDuration::from_millis(10) }
    }
}

/// The shape of an orchestration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WorkloadKind {
    /// All activities at once, then wait for all.
    Fanout,
    /// One activity after the other with payloads of 10, 50 and 100 KB in thirds, then five sub-orchestrations.
    LargePayload,
}

/// How duroxide is set up.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Which provider stores the state.
    pub provider: Provider,
    /// Where it stores it.
    pub storage: Storage,
    /// Value given to `PRAGMA synchronous`, as it is written; what SQLite makes of it is read back.
    pub synchronous: String,
    /// Pages in the write-ahead log after which SQLite checkpoints.
    pub wal_autocheckpoint: u32,
    /// Page cache of each connection in KiB.
    pub cache_size_kib: u32,
    /// Orchestration dispatchers.
    pub orchestration_concurrency: u32,
    /// Worker dispatchers; each runs one activity at a time.
    pub worker_concurrency: u32,
    /// How long a dispatcher sleeps when it found no work.
    pub poll_interval: HumanDuration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            provider: Provider::Sqlite,
            storage: Storage::File,
            synchronous: "NORMAL".to_owned(),
            wal_autocheckpoint: 1000,
            cache_size_kib: 2000,
            orchestration_concurrency: 2,
            worker_concurrency: 2,
            poll_interval: HumanDuration::from_millis(100),
        }
    }
}

/// The provider under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Provider {
    /// The SQLite provider that duroxide brings.
    Sqlite,
}

/// Where state is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Storage {
    /// A database file in the data directory.
    File,
    /// A shared in-memory database.
    Memory,
}

impl Workload {
    /// # Errors
    /// An orchestration without activities.
    pub fn validate(&self) -> Result<(), SettingsError> {
        positive("workload", "activities", self.activities)
    }
}

impl Settings {
    /// # Errors
    /// A concurrency of 0, or a pragma value that is not a single word.
    pub fn validate(&self) -> Result<(), SettingsError> {
        positive("settings", "orchestration_concurrency", self.orchestration_concurrency)?;
        positive("settings", "worker_concurrency", self.worker_concurrency)?;
        // The value goes into the text of a statement.
        if self.synchronous.is_empty() || !self.synchronous.chars().all(|c| c.is_ascii_alphanumeric()) {
            let message = format!("`{}` is not one word; write OFF, NORMAL, FULL or EXTRA", self.synchronous);
            return Err(SettingsError::new("settings", "synchronous", message));
        }
        Ok(())
    }
}

fn positive(table: &'static str, key: &str, value: u32) -> Result<(), SettingsError> {
    if value > 0 {
        return Ok(());
    }
    Err(SettingsError::new(table, key, "0 does nothing; write at least 1"))
}

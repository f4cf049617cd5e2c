//! Workload and settings of the orchestration target.

use duroxide_grouped::Synchronous;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uplift_sdk::{SettingsError, Validated, model::duration::HumanDuration};

/// Connections of the bundled provider's pool, which it does not let anybody choose.
pub const POOL_CONNECTIONS: u32 = 5;

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
    /// How a client learns that its orchestration has ended.
    pub completion: Completion,
    /// Connections of the bundled provider's five that are left to it; with one, nobody competes for the lock.
    pub connections: Option<u32>,
    /// Of the grouped provider: the most operations in one transaction.
    pub max_batch: Option<u32>,
    /// Of the grouped provider: how long a transaction waits for more operations.
    pub max_delay: Option<HumanDuration>,
    /// Of the grouped provider: how long the completion of an activity waits, at most, for the others of its instance.
    pub max_turn_delay: Option<HumanDuration>,
    /// Of the grouped provider: files that instances are spread over.
    pub shards: Option<u32>,
    /// Of the grouped provider: threads that write to each file.
    pub writers: Option<u32>,
    /// Of the grouped provider: whether its transactions take the write lock when they begin, or when they first write.
    pub immediate: Option<bool>,
    /// Of the grouped provider: whether a fetch waits for work inside the provider.
    pub long_poll: Option<bool>,
    /// Of the grouped provider: whether the transaction that acknowledges an activity hands out the next one too.
    pub hand_ahead: Option<bool>,
    /// Of the grouped provider: whether, under `FULL`, a transaction that only hands out work is synced too, as the bundled
    /// provider has it: what grouping alone brings is told apart from what is not synced.
    pub sync_fetches: Option<bool>,
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
            completion: Completion::Poll,
            connections: None,
            max_batch: None,
            max_delay: None,
            max_turn_delay: None,
            shards: None,
            writers: None,
            immediate: None,
            long_poll: None,
            hand_ahead: None,
            sync_fetches: None,
        }
    }
}

/// The provider under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Provider {
    /// The SQLite provider that duroxide brings.
    Sqlite,
    /// The provider of the crate `duroxide-grouped`.
    Grouped,
    /// The provider of the crate `duroxide-pg`, where the binary was built with it.
    Postgres,
}

impl Provider {
    /// What it is called in a sentence.
    fn words(self) -> &'static str {
        match self {
            Self::Sqlite => "the bundled provider",
            Self::Grouped => "the grouped provider",
            Self::Postgres => "the provider on PostgreSQL",
        }
    }
}

/// How a client learns that its orchestration has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Completion {
    /// By duroxide's client, which looks after 5 ms and then with back-off, up to 100 ms.
    Poll,
    /// From the provider, by the commit that ends it.
    Notify,
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

impl Validated for Workload {
    /// # Errors
    /// An orchestration without activities.
    fn validate(&self) -> Result<(), SettingsError> {
        positive("workload", "activities", self.activities)
    }
}

impl Validated for Settings {
    /// # Errors
    /// A concurrency of 0, or a pragma value that is not a single word.
    fn validate(&self) -> Result<(), SettingsError> {
        positive("settings", "orchestration_concurrency", self.orchestration_concurrency)?;
        positive("settings", "worker_concurrency", self.worker_concurrency)?;
        // The value goes into the text of a statement.
        if self.synchronous.is_empty() || !self.synchronous.chars().all(|c| c.is_ascii_alphanumeric()) {
            let message = format!("`{}` is not one word; write OFF, NORMAL, FULL or EXTRA", self.synchronous);
            return Err(SettingsError::new("settings", "synchronous", message));
        }
        match self.provider {
            Provider::Sqlite => self.validate_sqlite(),
            Provider::Grouped => self.validate_grouped(),
            Provider::Postgres => self.validate_postgres(),
        }
    }
}

impl Settings {
    /// Refuses what only the grouped provider has.
    fn refuse_grouped(&self) -> Result<(), SettingsError> {
        let of_grouped = [
            ("max_batch", self.max_batch.is_some()),
            ("max_delay", self.max_delay.is_some()),
            ("max_turn_delay", self.max_turn_delay.is_some()),
            ("shards", self.shards.is_some()),
            ("writers", self.writers.is_some()),
            ("immediate", self.immediate.is_some()),
            ("long_poll", self.long_poll.is_some()),
            ("hand_ahead", self.hand_ahead.is_some()),
            ("sync_fetches", self.sync_fetches.is_some()),
            ("completion", self.completion == Completion::Notify),
        ];
        if let Some((key, _)) = of_grouped.into_iter().find(|(_, set)| *set) {
            let message = format!("{} has no such thing; write `provider = \"grouped\"`", self.provider.words());
            return Err(SettingsError::new("settings", key, message));
        }
        Ok(())
    }

    fn validate_sqlite(&self) -> Result<(), SettingsError> {
        self.refuse_grouped()?;
        if let Some(connections) = self.connections
            && !(1..=POOL_CONNECTIONS).contains(&connections)
        {
            let message = format!("{connections} is not between 1 and {POOL_CONNECTIONS}, the size of its pool");
            return Err(SettingsError::new("settings", "connections", message));
        }
        Ok(())
    }

    fn validate_postgres(&self) -> Result<(), SettingsError> {
        self.refuse_grouped()?;
        let refused = |key, message| Err(SettingsError::new("settings", key, message));
        if self.storage == Storage::Memory {
            return refused("storage", "PostgreSQL keeps its state in files; write \"file\"");
        }
        if self.connections.is_some() {
            return refused("connections", "the provider's pool is as DUROXIDE_PG_POOL_MAX says; leave it out");
        }
        if !["FULL", "OFF"].contains(&self.synchronous.as_str()) {
            let message = "PostgreSQL waits for the disk or not; write FULL (`synchronous_commit = on`) or OFF";
            return refused("synchronous", message);
        }
        Ok(())
    }

    fn validate_grouped(&self) -> Result<(), SettingsError> {
        let not_grouped = |key, message| Err(SettingsError::new("settings", key, message));
        if self.connections.is_some() {
            return not_grouped("connections", "the grouped provider has no pool; write `writers`");
        }
        if self.storage == Storage::Memory {
            return not_grouped("storage", "the grouped provider keeps its state in files; write \"file\"");
        }
        if self.grouped_synchronous().is_none() {
            let message = "the grouped provider knows OFF, NORMAL, FULL and EXTRA; write one of them";
            return not_grouped("synchronous", message);
        }
        for (key, value) in [("max_batch", self.max_batch), ("shards", self.shards), ("writers", self.writers)] {
            if let Some(value) = value {
                positive("settings", key, value)?;
            }
        }
        if self.writers.is_some_and(|writers| writers > 1) && self.long_poll != Some(false) {
            return not_grouped("writers", "more than one writer cannot wait for work; write `long_poll = false`");
        }
        Ok(())
    }

    /// The level of `synchronous`, where the grouped provider has it.
    pub fn grouped_synchronous(&self) -> Option<Synchronous> {
        [Synchronous::Off, Synchronous::Normal, Synchronous::Full, Synchronous::Extra]
            .into_iter()
            .find(|level| level.word() == self.synchronous)
    }
}

fn positive(table: &'static str, key: &str, value: u32) -> Result<(), SettingsError> {
    if value > 0 {
        return Ok(());
    }
    Err(SettingsError::new(table, key, "0 does nothing; write at least 1"))
}

//! Workload and settings of the dataflow target.

use dataflow_engine::row::ARTICLES_MAX;
pub use dataflow_engine::settings::{CheckpointMode, Layout, LogFormat, Mode, State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uplift_sdk::{SettingsError, Validated, model::duration::HumanDuration};

/// What is asked of the engine.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Workload {
    /// The kind of operation.
    pub kind: WorkloadKind,
    /// Articles that are inserted before anything is timed.
    pub articles: u32,
    /// How articles are drawn.
    pub distribution: Distribution,
    /// Exponent of the zipf distribution.
    pub zipf_exponent: f64,
    /// One of so many operations is a vote, the others read: 1 is votes only, 19 is the mixed load of the source.
    pub write_every: u32,
    /// Votes that are cast before anything is timed.
    pub preload_votes: u64,
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            kind: WorkloadKind::Vote,
            articles: 100_000,
            distribution: Distribution::Uniform,
            zipf_exponent: 1.08,
            write_every: 1,
            preload_votes: 0,
        }
    }
}

/// The kind of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WorkloadKind {
    /// Votes and reads of the view.
    Vote,
    /// One operation opens the engine on what `preload_votes` left, until the view is whole, and closes it again.
    Recovery,
}

/// How articles are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Distribution {
    /// All alike.
    Uniform,
    /// The article of rank k with a weight of k to the power of minus `zipf_exponent`.
    Zipf,
}

// The engine has the same keys but the last: `serde(flatten)` would take unknown keys, and the engine must not know of
// slowdowns.
/// How the engine is set up.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// What must have happened before a packet is acknowledged, and what happens to its rows afterwards.
    pub durability: Mode,
    /// Shards of the base tables; each has a writer thread and files of its own.
    pub shards: u16,
    /// Rows at which packets that wait are merged and written at once.
    pub max_batch: u32,
    /// How long a packet waits for others to be merged with; 0: only as long as the writer is busy.
    pub flush_timeout: HumanDuration,
    /// Page size of SQLite, in bytes.
    pub page_size: u32,
    /// Rows after which a manual checkpoint is asked for.
    pub checkpoint_rows: u32,
    /// Kind of checkpoint of `sqlite-checkpoint-thread`.
    pub checkpoint_mode: CheckpointMode,
    /// Where the base tables are kept; absent: in SQLite where `durability` has one, else in memory.
    pub state: Option<State>,
    /// How a row lies in SQLite.
    pub layout: Layout,
    /// How the log holds rows; only the modes with a log of ours have one.
    pub log_format: LogFormat,
    /// Votes of all shards for which the memory of base tables is there once the engine is open; absent: as they come.
    pub reserve_votes: Option<u64>,
    /// For testing the harness: clients compute for this share of each operation's own time, in percent, before they
    /// take it for done.
    pub slowdown_percent: f64,
}

impl Default for Settings {
    fn default() -> Self {
        let engine = dataflow_engine::settings::Settings::default();
        Self {
            durability: engine.durability,
            shards: engine.shards,
            max_batch: engine.max_batch,
            flush_timeout: engine.flush_timeout,
            page_size: engine.page_size,
            checkpoint_rows: engine.checkpoint_rows,
            checkpoint_mode: engine.checkpoint_mode,
            state: engine.state,
            layout: engine.layout,
            log_format: engine.log_format,
            reserve_votes: engine.reserve_votes,
            slowdown_percent: 0.0,
        }
    }
}

impl Settings {
    /// Those of the engine; the others concern its clients.
    pub fn engine(&self) -> dataflow_engine::settings::Settings {
        dataflow_engine::settings::Settings {
            durability: self.durability,
            shards: self.shards,
            max_batch: self.max_batch,
            flush_timeout: self.flush_timeout,
            page_size: self.page_size,
            checkpoint_rows: self.checkpoint_rows,
            checkpoint_mode: self.checkpoint_mode,
            state: self.state,
            layout: self.layout,
            log_format: self.log_format,
            reserve_votes: self.reserve_votes,
        }
    }
}

impl Validated for Workload {
    fn validate(&self) -> Result<(), SettingsError> {
        let wrong = |key: &str, message: String| Err(SettingsError::new("workload", key, message));
        if self.articles == 0 || self.articles > ARTICLES_MAX {
            return wrong("articles", format!("{} articles cannot be; write 1 to {ARTICLES_MAX}", self.articles));
        }
        if self.write_every == 0 {
            return wrong("write_every", "one of 0 operations cannot be a vote; write at least 1".to_owned());
        }
        if !(self.zipf_exponent.is_finite() && self.zipf_exponent > 0.0) {
            return wrong(
                "zipf_exponent",
                format!("{} is no exponent of a zipf distribution; write a positive number", self.zipf_exponent),
            );
        }
        if self.kind == WorkloadKind::Recovery && self.preload_votes == 0 {
            return wrong("preload_votes", "there is nothing to recover; write at least 1".to_owned());
        }
        Ok(())
    }
}

impl Validated for Settings {
    fn validate(&self) -> Result<(), SettingsError> {
        let wrong = |key: &str, message: String| Err(SettingsError::new("settings", key, message));
        if let Err(invalid) = self.engine().check() {
            return wrong(invalid.key, invalid.rule);
        }
        if !(self.slowdown_percent.is_finite() && self.slowdown_percent >= 0.0) {
            return wrong(
                "slowdown_percent",
                format!("a slowdown of {} % cannot be; write 0 or more", self.slowdown_percent),
            );
        }
        Ok(())
    }
}

//! Workload and settings of the dataflow target.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uplift_sdk::{SettingsError, Validated, model::duration::HumanDuration};

use crate::row::ARTICLES_MAX;

/// The most rows of a merged packet.
const BATCH_MAX: u32 = 1_000_000;
/// The most votes that memory is reserved for: all that fit into a base table.
const RESERVE_VOTES_MAX: u64 = u32::MAX as u64 - 1;
/// The most shards: each is a thread.
const SHARDS_MAX: u16 = 64;

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
    /// Votes of all shards for which the memory of base tables is there once the engine is open; absent: as they come.
    pub reserve_votes: Option<u64>,
    /// For testing the harness: clients compute for this share of each operation's own time, in percent, before they
    /// take it for done.
    pub slowdown_percent: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            durability: Mode::Log,
            shards: 1,
            max_batch: 65_536,
            flush_timeout: HumanDuration::default(),
            page_size: 4096,
            checkpoint_rows: 10_000,
            checkpoint_mode: CheckpointMode::Passive,
            state: None,
            layout: Layout::Serialized,
            reserve_votes: None,
            slowdown_percent: 0.0,
        }
    }
}

/// Ways to be durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// Our own log, one `fdatasync` for each merged packet, acknowledged after it.
    #[serde(rename = "log")]
    Log,
    /// SQLite in WAL mode, FULL, exclusive; acknowledged after the commit, which now and then holds an automatic
    /// checkpoint.
    #[serde(rename = "sqlite-wal")]
    SqliteWal,
    /// As before without automatic checkpoints: after `checkpoint_rows` rows the writer checkpoints, having
    /// acknowledged.
    #[serde(rename = "sqlite-checkpoint-after-ack")]
    SqliteCheckpointAfterAck,
    /// As before with the checkpoints in a thread of their own, on a second connection.
    #[serde(rename = "sqlite-checkpoint-thread")]
    SqliteCheckpointThread,
    /// The log as in `log`; after acknowledging, the rows go to SQLite without any sync or journal, as an index.
    #[serde(rename = "log+sqlite-nosync")]
    LogSqliteNosync,
    /// Nothing is made durable.
    #[serde(rename = "none")]
    None,
}

impl Mode {
    /// As it is written in a scenario.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::SqliteWal => "sqlite-wal",
            Self::SqliteCheckpointAfterAck => "sqlite-checkpoint-after-ack",
            Self::SqliteCheckpointThread => "sqlite-checkpoint-thread",
            Self::LogSqliteNosync => "log+sqlite-nosync",
            Self::None => "none",
        }
    }

    /// Whether it checkpoints when it is told to.
    pub const fn checkpoints_manually(self) -> bool {
        matches!(self, Self::SqliteCheckpointAfterAck | Self::SqliteCheckpointThread)
    }
}

/// Kinds of SQLite checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CheckpointMode {
    /// As much as can be done without waiting for anybody.
    Passive,
    /// Waits for writers.
    Full,
    /// Waits for writers and readers, so that the next writer begins the write-ahead log anew.
    Restart,
    /// The same, and cuts the write-ahead log to nothing.
    Truncate,
}

impl CheckpointMode {
    /// As it is written in a scenario and in SQL.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passive => "passive",
            Self::Full => "full",
            Self::Restart => "restart",
            Self::Truncate => "truncate",
        }
    }
}

/// Where the base tables are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// In memory.
    Memory,
    /// In SQLite.
    Sqlite,
}

/// How a row lies in SQLite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// As upstream: the whole row serialized in one column, and the key again as text in an indexed one.
    Serialized,
    /// A column for each column, the key indexed as an integer.
    Columns,
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

impl Settings {
    /// Where the base tables are kept.
    pub fn state(&self) -> State {
        self.state.unwrap_or(match self.durability {
            Mode::Log | Mode::None => State::Memory,
            _ => State::Sqlite,
        })
    }

    /// Whether a SQLite database is written.
    pub fn has_sqlite(&self) -> bool {
        !matches!(self.durability, Mode::Log | Mode::None) || self.state() == State::Sqlite
    }
}

impl Validated for Settings {
    fn validate(&self) -> Result<(), SettingsError> {
        let wrong = |key: &str, message: String| Err(SettingsError::new("settings", key, message));
        if self.shards == 0 || self.shards > SHARDS_MAX {
            return wrong("shards", format!("{} shards cannot be; write 1 to {SHARDS_MAX}", self.shards));
        }
        if self.max_batch == 0 || self.max_batch > BATCH_MAX {
            return wrong("max_batch", format!("{} rows cannot be; write 1 to {BATCH_MAX}", self.max_batch));
        }
        if !(self.page_size.is_power_of_two() && (512..=65_536).contains(&self.page_size)) {
            return wrong(
                "page_size",
                format!("{} is no page size of SQLite; write a power of two from 512 to 65536", self.page_size),
            );
        }
        if self.checkpoint_rows == 0 {
            return wrong("checkpoint_rows", "a checkpoint after 0 rows cannot be; write at least 1".to_owned());
        }
        if self.durability == Mode::Log && self.state == Some(State::Sqlite) {
            return wrong(
                "state",
                "`log` has no SQLite to keep rows in; write durability = \"log+sqlite-nosync\"".to_owned(),
            );
        }
        if let Some(votes) = self.reserve_votes {
            if votes > RESERVE_VOTES_MAX {
                return wrong(
                    "reserve_votes",
                    format!("{votes} votes are too many; write at most {RESERVE_VOTES_MAX}"),
                );
            }
            if self.state() != State::Memory {
                return wrong("reserve_votes", "only base tables in memory have memory to reserve".to_owned());
            }
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

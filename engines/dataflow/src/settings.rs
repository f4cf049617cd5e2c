//! How the engine is set up, and what cannot be.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uplift_model::duration::HumanDuration;

/// The most rows of a merged packet.
const BATCH_MAX: u32 = 1_000_000;
/// The most votes that memory is reserved for: all that fit into a base table.
const RESERVE_VOTES_MAX: u64 = u32::MAX as u64 - 1;
/// The most shards: each is a thread.
const SHARDS_MAX: u16 = 64;

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
            log_format: LogFormat::Binary,
            reserve_votes: None,
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
    /// As it is written in settings.
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
    /// As it is written in settings and in SQL.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passive => "passive",
            Self::Full => "full",
            Self::Restart => "restart",
            Self::Truncate => "truncate",
        }
    }
}

/// How our log holds the rows of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// 12 bytes a vote.
    #[default]
    Binary,
    /// A JSON array a packet, as the log of Soup has it: it is made before each write, and is several times as long.
    Json,
}

impl LogFormat {
    /// As it is written in settings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::Json => "json",
        }
    }

    /// As it is written in a record.
    pub const fn number(self) -> u8 {
        match self {
            Self::Binary => 0,
            Self::Json => 1,
        }
    }

    /// The format with this number.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Binary),
            1 => Some(Self::Json),
            _ => None,
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

/// A setting whose value cannot be, or has no meaning beside the others.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {rule}")]
pub struct InvalidSetting {
    /// Which.
    pub key: &'static str,
    /// The rule that it breaks, with the value and what to write instead.
    pub rule: String,
}

impl Settings {
    /// # Errors
    /// The first setting that cannot be.
    pub fn check(&self) -> Result<(), InvalidSetting> {
        let wrong = |key: &'static str, rule: String| Err(InvalidSetting { key, rule });
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
        if self.log_format != LogFormat::Binary && !matches!(self.durability, Mode::Log | Mode::LogSqliteNosync) {
            return wrong(
                "log_format",
                format!(
                    "`{}` has no log of ours; write durability = \"log\" or \"log+sqlite-nosync\"",
                    self.durability.name()
                ),
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
        Ok(())
    }
}

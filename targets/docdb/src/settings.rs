//! Workload and settings of the docdb target.

use std::fmt;

use docdb_engine::{classic, fast};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};
use uplift_sdk::{SettingsError, Validated, model::duration::HumanDuration};

/// The shortest document that the workload can make, in bytes.
pub const DOCUMENT_BYTES_MIN: u32 = 96;

/// What the clients do.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Workload {
    /// Databases; the clients are spread over them evenly.
    pub databases: u16,
    /// Ids of each database. Each belongs to one client, which therefore knows what it must find there.
    pub ids: u32,
    /// Bytes of a document, JSON text.
    pub document_bytes: u32,
    /// Percent of operations that read.
    pub read: u32,
    /// Percent that create.
    pub create: u32,
    /// Percent that update.
    pub update: u32,
    /// Percent that delete.
    pub delete: u32,
    /// How ids are drawn.
    pub distribution: Distribution,
    /// The exponent of `zipf`.
    pub zipf_exponent: f64,
    /// Share of the ids that have a document when the load begins.
    pub preload: f64,
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            databases: 3,
            ids: 10_000,
            document_bytes: 1024,
            read: 40,
            create: 30,
            update: 20,
            delete: 10,
            distribution: Distribution::Uniform,
            zipf_exponent: 1.08,
            preload: 0.75,
        }
    }
}

/// How ids are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Distribution {
    /// Each as likely as any other.
    Uniform,
    /// The k-th in proportion to k to the power of minus the exponent.
    Zipf,
}

/// How the store is set up.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The engine.
    pub engine: Engine,
    /// When `docdb` syncs its log.
    pub fsync: Fsync,
    /// How long `group` gathers records, or how often `interval` syncs.
    pub interval: HumanDuration,
    /// How many records `group` gathers at most.
    pub max_batch: u32,
    /// When `docdb` acknowledges a write under `group`.
    pub ack: Ack,
    /// Syncs of the data file for each document that `docdb` writes: 2, 1 or 0.
    pub datafile_fsyncs: u8,
    /// Threads of `docdb` that carry out requests; "auto" (or 0) is twice the cores or twice the databases, at most 256.
    #[serde(deserialize_with = "number_or_auto")]
    #[schemars(schema_with = "number_or_auto_schema")]
    pub scheduler_workers: u32,
    /// Shards of each database's index.
    pub index_shards: u32,
    /// What writers and readers of `docdb` hold.
    pub locking: Locking,
    /// Connections of each database's clients, who share them in turn; "auto" (or 0) is one for each client.
    #[serde(deserialize_with = "number_or_auto")]
    #[schemars(schema_with = "number_or_auto_schema")]
    pub connections_per_db: u32,
    /// How clients reach the store.
    pub transport: Transport,
    /// How long a group of `fast` waits for the writers of the group before it.
    pub gather: Gather,
    /// Whether `fast` fills the next file of its log with zeros before it is needed, so that no sync waits for its growth.
    pub prepare: bool,
    /// Whether `fast` has one log for all databases or one for each.
    pub logs: Logs,
    /// For testing the harness: after each operation its client computes for so many percent of the time it took.
    pub slowdown_percent: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            engine: Engine::Docdb,
            fsync: Fsync::Always,
            interval: HumanDuration::from_millis(1),
            max_batch: 100,
            ack: Ack::Durable,
            datafile_fsyncs: 2,
            scheduler_workers: 4,
            index_shards: 256,
            locking: Locking::Exclusive,
            connections_per_db: 1,
            transport: Transport::Unix,
            gather: Gather::Never,
            prepare: true,
            logs: Logs::Shared,
            slowdown_percent: 0.0,
        }
    }
}

/// A number, or 0 for "auto".
fn number_or_auto<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    struct NumberOrAuto;

    impl de::Visitor<'_> for NumberOrAuto {
        type Value = u32;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number from 0, or \"auto\"")
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<u32, E> {
            u32::try_from(number).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(number), &self))
        }

        fn visit_str<E: de::Error>(self, word: &str) -> Result<u32, E> {
            if word == "auto" { Ok(0) } else { Err(E::invalid_value(de::Unexpected::Str(word), &self)) }
        }
    }

    deserializer.deserialize_any(NumberOrAuto)
}

fn number_or_auto_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [{ "type": "integer", "minimum": 0 }, { "type": "string", "pattern": "^auto$" }] })
}

/// A storage engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// Data file, write-ahead log, scheduler: every shortcut a setting.
    Docdb,
    /// One log in which the record is the document, group commit.
    Fast,
    /// SQLite, write-ahead log, `synchronous = FULL`.
    Sqlite,
    /// redb, immediate durability.
    Redb,
    /// fjall, journal synced after each write.
    Fjall,
    /// RocksDB, synced writes; only where it was built in.
    Rocksdb,
    /// SQLite, tuned, with a leader before it that commits the writes of many clients at once.
    SqliteGrouped,
    /// redb, likewise.
    RedbGrouped,
    /// fjall, likewise.
    FjallGrouped,
    /// RocksDB, likewise.
    RocksdbGrouped,
}

impl Engine {
    /// The engine's name in a scenario.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Docdb => "docdb",
            Self::Fast => "fast",
            Self::Sqlite => "sqlite",
            Self::Redb => "redb",
            Self::Fjall => "fjall",
            Self::Rocksdb => "rocksdb",
            Self::SqliteGrouped => "sqlite-grouped",
            Self::RedbGrouped => "redb-grouped",
            Self::FjallGrouped => "fjall-grouped",
            Self::RocksdbGrouped => "rocksdb-grouped",
        }
    }
}

/// How long a group of `fast` waits for the writers of the group before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Gather {
    /// Not at all: writers split into two halves that alternate.
    Never,
    /// Half of a sync at most: no sync goes on while they work.
    Always,
    /// A quarter of a sync at most.
    Adaptive,
}

/// How many logs `fast` has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Logs {
    /// One for all databases.
    Shared,
    /// One for each database.
    PerDatabase,
}

/// When the log is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Fsync {
    /// After each record and each commit marker.
    Always,
    /// Once for a batch of records.
    Group,
    /// By a timer.
    Interval,
    /// Only by checkpoints.
    None,
}

/// When a write is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Ack {
    /// When its batch is synced.
    Durable,
    /// When it is in the batch.
    Buffered,
}

/// What is held while working.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Locking {
    /// Writers hold the database, syncs included; readers wait for writers.
    Exclusive,
    /// Writers hold their id; readers still wait for writers.
    Narrow,
    /// Writers hold their id; readers share the data file and do not wait for syncs.
    Rwlock,
}

/// How clients reach the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// By a call.
    InProcess,
    /// Over a Unix socket.
    Unix,
    /// Over TCP on the loopback interface.
    Tcp,
}

/// A scenario's word for a value: "in-process".
pub fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(error) => error.to_string(),
    }
}

impl Validated for Workload {
    /// A mix that is not 100 %, no databases or ids, a document too short, a share that is none.
    fn validate(&self) -> Result<(), SettingsError> {
        let wrong = |key, message: String| Err(SettingsError::new("workload", key, message));
        let sum = self.read + self.create + self.update + self.delete;
        if sum != 100 {
            return wrong("read", format!("read, create, update and delete add up to {sum} percent, not to 100"));
        }
        if self.databases == 0 || self.databases > 64 {
            return wrong("databases", format!("databases must be 1–64, got {}", self.databases));
        }
        if self.ids == 0 {
            return wrong("ids", "0 ids leave nothing to do; write at least 1".to_owned());
        }
        if self.document_bytes < DOCUMENT_BYTES_MIN || self.document_bytes > 1 << 20 {
            let rule = format!("write {DOCUMENT_BYTES_MIN} to 1048576");
            return wrong("document_bytes", format!("{} bytes do not hold a document; {rule}", self.document_bytes));
        }
        if !(0.0..=1.0).contains(&self.preload) {
            return wrong("preload", format!("{} is not a share; write 0 to 1", self.preload));
        }
        if self.distribution == Distribution::Zipf && !(self.zipf_exponent.is_finite() && self.zipf_exponent > 0.0) {
            return wrong("zipf_exponent", format!("{} is no exponent; write more than 0", self.zipf_exponent));
        }
        Ok(())
    }
}

impl Validated for Settings {
    /// A number that cannot be.
    fn validate(&self) -> Result<(), SettingsError> {
        let wrong = |key, message: String| Err(SettingsError::new("settings", key, message));
        if self.datafile_fsyncs > 2 {
            return wrong("datafile_fsyncs", format!("{} syncs are not known; write 2, 1 or 0", self.datafile_fsyncs));
        }
        if self.index_shards == 0 || self.index_shards > 65_536 {
            return wrong("index_shards", format!("index_shards must be 1–65536, got {}", self.index_shards));
        }
        if self.max_batch == 0 {
            return wrong("max_batch", "a batch of 0 records holds nothing; write at least 1".to_owned());
        }
        if self.fsync == Fsync::Interval && self.interval.0.is_zero() {
            return wrong("interval", "a timer of 0 never rests; write at least 1ms, or fsync = \"always\"".to_owned());
        }
        if self.scheduler_workers as usize > classic::WORKERS_MAX {
            let rule = format!("write at most {}", classic::WORKERS_MAX);
            return wrong("scheduler_workers", format!("{} threads are too many; {rule}", self.scheduler_workers));
        }
        if !(0.0..=1_000.0).contains(&self.slowdown_percent) {
            return wrong("slowdown_percent", format!("{} is no slowdown; write 0 to 1000", self.slowdown_percent));
        }
        Ok(())
    }
}

impl Settings {
    /// The classic store's settings.
    pub fn classic(&self, databases: u16) -> classic::Settings {
        classic::Settings {
            databases,
            fsync: match self.fsync {
                Fsync::Always => classic::Fsync::Always,
                Fsync::Group => {
                    classic::Fsync::Group { interval: self.interval.0, records_max: self.max_batch as usize }
                }
                Fsync::Interval => classic::Fsync::Interval(self.interval.0),
                Fsync::None => classic::Fsync::None,
            },
            acknowledge: match self.ack {
                Ack::Durable => classic::Acknowledge::Durable,
                Ack::Buffered => classic::Acknowledge::Buffered,
            },
            data_file_fsyncs: self.datafile_fsyncs,
            locking: match self.locking {
                Locking::Exclusive => classic::Locking::Exclusive,
                Locking::Narrow => classic::Locking::Narrow,
                Locking::Rwlock => classic::Locking::ReadWrite,
            },
            index_shards: self.index_shards as usize,
            workers: self.scheduler_workers as usize,
            ..classic::Settings::default()
        }
    }
}

impl From<classic::Fsync> for Fsync {
    fn from(fsync: classic::Fsync) -> Self {
        match fsync {
            classic::Fsync::Always => Self::Always,
            classic::Fsync::Group { .. } => Self::Group,
            classic::Fsync::Interval(_) => Self::Interval,
            classic::Fsync::None => Self::None,
        }
    }
}

impl From<Gather> for fast::Gather {
    fn from(gather: Gather) -> Self {
        match gather {
            Gather::Never => Self::Never,
            Gather::Always => Self::Always,
            Gather::Adaptive => Self::Adaptive,
        }
    }
}

impl From<classic::Acknowledge> for Ack {
    fn from(acknowledge: classic::Acknowledge) -> Self {
        match acknowledge {
            classic::Acknowledge::Durable => Self::Durable,
            classic::Acknowledge::Buffered => Self::Buffered,
        }
    }
}

impl From<classic::Locking> for Locking {
    fn from(locking: classic::Locking) -> Self {
        match locking {
            classic::Locking::Exclusive => Self::Exclusive,
            classic::Locking::Narrow => Self::Narrow,
            classic::Locking::ReadWrite => Self::Rwlock,
        }
    }
}

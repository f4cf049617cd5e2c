//! What a job copies and how, and what cannot be.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uplift_model::duration::HumanDuration;

use crate::{frame::Compression, profile::Profile, transform::TransformKind};

/// What one run copies.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Workload {
    /// The shape of the rows.
    pub profile: Profile,
    /// Rows of one run; absent: as many as the profile's source used (100,000, 50,000, 10,000).
    pub rows: Option<u32>,
    /// What happens to rows on their way.
    pub transform: TransformKind,
}

impl Default for Workload {
    fn default() -> Self {
        Self { profile: Profile::Small, rows: None, transform: TransformKind::None }
    }
}

impl Workload {
    /// Rows of one run.
    pub fn rows(&self) -> u64 {
        u64::from(self.rows.unwrap_or_else(|| self.profile.rows()))
    }
}

/// How the pipeline is built.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where rows come from.
    pub source: SourceKind,
    /// Where they go.
    pub destination: DestinationKind,
    /// How the destination takes them.
    pub load: LoadMethod,
    /// Rows of one multi-row INSERT.
    pub insert_rows: u32,
    /// Bytes that are handed to the destination at once; 0: by the mean size of the rows seen so far (below 8 KiB 1 MiB,
    /// below 64 KiB 4 MiB, else 16 MiB).
    pub copy_flush_bytes: u64,
    /// Bytes after which the destination commits; 0: one commit at the end.
    pub checkpoint_interval_bytes: u64,
    /// Compression of the frames between stages.
    pub compression: Compression,
    /// What carries the transform out.
    pub transform_engine: TransformEngine,
    /// Whether the transform's module comes from a cache of compiled code.
    pub aot: bool,
    /// When the SQL of `transform_engine = "sql"` is planned.
    pub sql_plan: SqlPlan,
    /// How long a module may take for one batch before it is stopped; the other engines cannot be.
    pub transform_timeout: HumanDuration,
    /// Shards of the source by `id % partitions`, each with threads of its own.
    pub partitions: u32,
    /// Writers of the destination; 0: one for SQLite (it has one writer), one for each partition elsewhere.
    pub writers: u32,
    /// Rows of one frame.
    pub batch_rows: u32,
    /// Frames that may wait in one channel.
    pub max_inflight_batches: u32,
    /// Whether each frame carries a checksum of its rows, which the destination compares before it writes them.
    pub row_checksum: bool,
    /// `PRAGMA synchronous` of a SQLite destination.
    pub synchronous: Synchronous,
    /// `PRAGMA journal_mode` of a SQLite destination.
    pub journal_mode: JournalMode,
    /// `PRAGMA page_size` of a SQLite destination.
    pub page_size: u32,
    /// How a PostgreSQL destination stores texts that are too long for a page.
    pub toast: Toast,
    /// Of what a PostgreSQL destination's table is made.
    pub table_layout: TableLayout,
    /// What PostgreSQL's write-ahead log is good for, and with it, whether rows of a new table go through it.
    pub wal_level: WalLevel,
    /// Sync calls of one commit of plain files: one of the rows, the others of a record of how far each partition has come,
    /// which is written again before each. As many as a database makes for a commit, where it is compared with one.
    pub syncs_per_commit: u32,
    /// What goes wrong once in each run, which is then resumed.
    pub fault: Fault,
    /// The row of each partition at which it does.
    pub fault_at_row: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            source: SourceKind::Generated,
            destination: DestinationKind::Sqlite,
            load: LoadMethod::Insert,
            insert_rows: 1_000,
            copy_flush_bytes: 0,
            checkpoint_interval_bytes: 0,
            compression: Compression::None,
            transform_engine: TransformEngine::Native,
            aot: true,
            sql_plan: SqlPlan::Once,
            transform_timeout: HumanDuration::from_secs(20),
            partitions: 1,
            writers: 0,
            batch_rows: 1_000,
            max_inflight_batches: 16,
            row_checksum: true,
            synchronous: Synchronous::Full,
            journal_mode: JournalMode::Wal,
            page_size: 4_096,
            toast: Toast::Pglz,
            table_layout: TableLayout::Plain,
            wal_level: WalLevel::Replica,
            syncs_per_commit: 1,
            fault: Fault::None,
            fault_at_row: 0,
        }
    }
}

/// Where rows come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SourceKind {
    /// Made while they are read, from the seed.
    Generated,
    /// A table of PostgreSQL that holds the generated rows, read by binary COPY.
    Postgres,
}

/// Where rows go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DestinationKind {
    /// A SQLite database file in the data directory.
    Sqlite,
    /// A PostgreSQL server.
    Postgres,
    /// Plain files in the data directory, synced at the same points: what the disk alone would take.
    File,
}

/// How the destination takes rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LoadMethod {
    /// Multi-row INSERT statements with bound parameters.
    Insert,
    /// PostgreSQL: binary COPY. SQLite: one prepared INSERT that is stepped for each row straight from Arrow's buffers.
    Copy,
    /// No pipeline at all: `psql \copy` of the same rows from a text file that was written before.
    PsqlText,
    /// The same from a file in COPY's binary format.
    PsqlBinary,
}

/// What carries a transform out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TransformEngine {
    /// Arrow's compute kernels.
    Native,
    /// SQL over the batch in a WebAssembly module.
    Wasm,
    /// SQL over the batch by DataFusion, in a build with the feature `sql`.
    Sql,
}

/// When a statement becomes a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SqlPlan {
    /// Once for each worker; the plan is carried out on every batch.
    Once,
    /// Anew for every batch, which is registered as a table, as upstream does.
    PerBatch,
}

/// Levels of `PRAGMA synchronous`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Synchronous {
    /// No syncs.
    Off,
    /// Syncs at checkpoints only, in WAL mode.
    Normal,
    /// Syncs at every commit.
    Full,
}

/// Values of `PRAGMA journal_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum JournalMode {
    /// A write-ahead log: pages are written twice.
    Wal,
    /// A rollback journal: pages that are new need no journal and are written once.
    Delete,
}

/// Storage of long texts in PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Toast {
    /// Compressed by PostgreSQL's own method, which is what it ships with.
    Pglz,
    /// Compressed by LZ4 (PostgreSQL 14 and later, where it was built with it).
    Lz4,
    /// Not compressed.
    External,
}

/// Of what a table of PostgreSQL is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TableLayout {
    /// One heap, which all writers append to: they wait for each other where it grows.
    Plain,
    /// A table that is partitioned by `id % partitions`, with a heap for each writer.
    Partitioned,
}

/// Values of PostgreSQL's `wal_level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WalLevel {
    /// Enough for archiving and for replicas, which is what PostgreSQL ships with: every row goes through the log.
    Replica,
    /// Enough to recover from a crash and nothing else. A writer empties its table in the transaction that first fills it;
    /// what that transaction writes is then not logged, and the table's files are synced before it commits instead.
    Minimal,
}

impl WalLevel {
    /// As PostgreSQL writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Replica => "replica",
            Self::Minimal => "minimal",
        }
    }
}

/// What goes wrong once in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Nothing.
    None,
    /// A row has NULL where the destination does not take it.
    NotNull,
    /// The database may not grow as far as it must (`PRAGMA max_page_count`; SQLite only).
    DiskFull,
    /// The server ends the session in the middle of a COPY (PostgreSQL only).
    DropMidCopy,
    /// The transform executes an unreachable instruction (wasm only).
    TransformTrap,
    /// The transform never ends (wasm only).
    TransformLoop,
    /// The source closes its end before it has given all rows.
    SourceEndsEarly,
}

impl Settings {
    /// Writers of the destination in force.
    pub fn writers(&self) -> u32 {
        match (self.writers, self.destination) {
            (_, DestinationKind::Sqlite) => 1,
            (0, _) => self.partitions,
            (writers, _) => writers.min(self.partitions),
        }
    }

    /// Whether a PostgreSQL server is needed.
    pub fn needs_postgres(&self) -> bool {
        self.source == SourceKind::Postgres || self.destination == DestinationKind::Postgres
    }

    /// # Errors
    /// Values that cannot be with this workload.
    pub fn suits(&self, workload: &Workload) -> Result<(), InvalidSetting> {
        let psql = matches!(self.load, LoadMethod::PsqlText | LoadMethod::PsqlBinary);
        if psql
            && (self.destination != DestinationKind::Postgres
                || self.source != SourceKind::Generated
                || workload.transform != TransformKind::None
                || self.fault != Fault::None)
        {
            return wrong(
                "load",
                "`psql-text` and `psql-binary` copy a file of generated rows into PostgreSQL: they need \
                 `destination = \"postgres\"`, `source = \"generated\"`, `transform = \"none\"` and no fault",
            );
        }
        let fits = match self.fault {
            Fault::None | Fault::SourceEndsEarly | Fault::NotNull => true,
            Fault::DiskFull => self.destination == DestinationKind::Sqlite,
            Fault::DropMidCopy => self.destination == DestinationKind::Postgres,
            Fault::TransformTrap | Fault::TransformLoop => {
                self.transform_engine == TransformEngine::Wasm && workload.transform != TransformKind::None
            }
        };
        if !fits {
            return wrong("fault", "this fault cannot happen with this destination and this transform");
        }
        Ok(())
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

fn wrong(key: &'static str, rule: impl Into<String>) -> Result<(), InvalidSetting> {
    Err(InvalidSetting { key, rule: rule.into() })
}

impl Workload {
    /// # Errors
    /// The key that cannot be.
    pub fn check(&self) -> Result<(), InvalidSetting> {
        if self.rows() == 0 {
            return wrong("rows", "0 rows copy nothing; write at least 1");
        }
        Ok(())
    }
}

impl Settings {
    /// # Errors
    /// The first setting that cannot be, whatever is copied.
    pub fn check(&self) -> Result<(), InvalidSetting> {
        for (key, value, max) in [
            ("insert_rows", self.insert_rows, 10_000),
            ("partitions", self.partitions, 64),
            ("batch_rows", self.batch_rows, 1 << 20),
            ("max_inflight_batches", self.max_inflight_batches, 1 << 16),
            ("syncs_per_commit", self.syncs_per_commit, 64),
        ] {
            if value == 0 || value > max {
                return wrong(key, format!("{value} is not between 1 and {max}"));
            }
        }
        if !(512..=65_536).contains(&self.page_size) || !self.page_size.is_power_of_two() {
            return wrong("page_size", "SQLite's pages are powers of two between 512 and 65536");
        }
        if self.table_layout != TableLayout::Plain && self.destination != DestinationKind::Postgres {
            return wrong("table_layout", "only a PostgreSQL destination has partitioned tables");
        }
        if self.wal_level != WalLevel::Replica {
            if self.destination != DestinationKind::Postgres {
                return wrong("wal_level", "only a PostgreSQL destination has such a log");
            }
            if self.table_layout == TableLayout::Plain && self.writers() > 1 {
                return wrong(
                    "wal_level",
                    "two writers cannot both empty one table; write table_layout = \"partitioned\" or writers = 1",
                );
            }
        }
        if self.syncs_per_commit != 1 && self.destination != DestinationKind::File {
            return wrong("syncs_per_commit", "only plain files sync as often as they are told");
        }
        if self.transform_timeout.0.is_zero() {
            return wrong("transform_timeout", "a limit of 0 stops every batch");
        }
        if self.fault != Fault::None && self.destination == DestinationKind::File {
            return wrong("fault", "plain files have no transactions and cannot be resumed");
        }
        if self.fault == Fault::NotNull && self.source == SourceKind::Postgres {
            return wrong("fault", "a PostgreSQL source cannot hold the NULL; write `source = \"generated\"`");
        }
        Ok(())
    }
}

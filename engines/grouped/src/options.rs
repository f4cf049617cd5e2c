//! What a user chooses, with what SQLite made of it.

use std::time::Duration;

/// How often SQLite waits for the disk: `PRAGMA synchronous`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Synchronous {
    /// Never. A power failure may corrupt the database.
    Off,
    /// At checkpoints. What was acknowledged survives the end of the process, but the newest of it not a power failure.
    Normal,
    /// At every commit that somebody relies on. What was acknowledged survives a power failure. Commits that only hand
    /// out work are left to the next of the others: forgotten, they leave the work where it was.
    Full,
    /// As `Full`, and the directory is synced too when a rollback journal is deleted (which WAL mode never does).
    Extra,
}

impl Synchronous {
    /// The word that SQLite knows it by.
    pub fn word(self) -> &'static str {
        match self {
            Self::Off => "OFF",
            Self::Normal => "NORMAL",
            Self::Full => "FULL",
            Self::Extra => "EXTRA",
        }
    }

    pub(crate) fn from_number(number: i64) -> Option<Self> {
        [Self::Off, Self::Normal, Self::Full, Self::Extra].get(usize::try_from(number).ok()?).copied()
    }
}

/// How a provider works.
#[derive(Clone, Debug)]
pub struct Options {
    /// What an acknowledged operation survives.
    pub synchronous: Synchronous,
    /// The most operations in one transaction; at least 1.
    pub max_batch: usize,
    /// How long a transaction waits, at most, for work that is in somebody's hands to come back and share its commit.
    /// Zero never waits: a transaction has what arrived while the last one was being committed.
    pub max_delay: Duration,
    /// How long the completion of an activity waits, at most, for the other activities of its instance, so that one turn
    /// takes in all of them. The last one waits for nobody, so it is what races the others that may come so much later.
    /// Zero: each may have a turn of its own.
    pub max_turn_delay: Duration,
    /// Files that instances are spread over by a hash of their names; at least 1. A database keeps the number that it
    /// was made with.
    pub shards: usize,
    /// Threads that write to each file; at least 1. More than one only makes them compete for SQLite's one write lock:
    /// it is there to measure that, and excludes `long_poll`.
    #[cfg(feature = "measurement")]
    pub writers: usize,
    /// Whether a transaction takes SQLite's write lock when it begins (`BEGIN IMMEDIATE`), or when it first writes, which
    /// fails where somebody else has written since it first read. False is there to measure what that costs several
    /// writers.
    #[cfg(feature = "measurement")]
    pub immediate: bool,
    /// Whether a fetch that finds nothing waits for work, up to the time it was given, or answers at once.
    pub long_poll: bool,
    /// Whether the transaction that acknowledges an activity hands out the next one too, for the worker that has waited
    /// for work before and will ask again at once. Nothing without `long_poll`.
    pub hand_ahead: bool,
    /// Whether, under `Full`, a transaction that only hands out work is synced too, as the bundled provider has it. False
    /// leaves it to the next transaction that somebody relies on.
    pub sync_fetches: bool,
    /// Pages in the write-ahead log after which SQLite checkpoints; 0 never does.
    pub wal_autocheckpoint: u32,
    /// Page cache of each connection in KiB.
    pub cache_size_kib: u32,
    /// How often waiting fetches look for work whose lock ran out. Nothing announces that; everything else wakes them.
    pub recheck_interval: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            synchronous: Synchronous::Full,
            max_batch: 256,
            max_delay: Duration::ZERO,
            max_turn_delay: Duration::ZERO,
            shards: 1,
            #[cfg(feature = "measurement")]
            writers: 1,
            #[cfg(feature = "measurement")]
            immediate: true,
            long_poll: true,
            hand_ahead: true,
            sync_fetches: false,
            wal_autocheckpoint: 1000,
            cache_size_kib: 16 << 10,
            recheck_interval: Duration::from_millis(100),
        }
    }
}

impl Options {
    /// The statement that begins a transaction.
    pub(crate) fn begin(&self) -> &'static str {
        if self.is_immediate() { "BEGIN IMMEDIATE" } else { "BEGIN DEFERRED" }
    }

    #[cfg(feature = "measurement")]
    pub(crate) const fn writers(&self) -> usize {
        self.writers
    }

    #[cfg(not(feature = "measurement"))]
    #[expect(clippy::unused_self, reason = "the feature makes it a setting")]
    pub(crate) const fn writers(&self) -> usize {
        1
    }

    #[cfg(feature = "measurement")]
    pub(crate) const fn is_immediate(&self) -> bool {
        self.immediate
    }

    #[cfg(not(feature = "measurement"))]
    #[expect(clippy::unused_self, reason = "the feature makes it a setting")]
    pub(crate) const fn is_immediate(&self) -> bool {
        true
    }

    pub(crate) fn validate(&self) -> Result<(), OpenError> {
        for (name, value) in [("max_batch", self.max_batch), ("shards", self.shards), ("writers", self.writers())] {
            if value == 0 {
                return Err(OpenError::Option { name, rule: "must be at least 1" });
            }
        }
        if self.shards > SHARDS_MAX {
            return Err(OpenError::Option { name: "shards", rule: "must be at most 64" });
        }
        if self.recheck_interval.is_zero() {
            return Err(OpenError::Option { name: "recheck_interval", rule: "must be more than 0" });
        }
        if self.writers() > 1 && self.long_poll {
            return Err(OpenError::Option { name: "writers", rule: "must be 1 with long_poll" });
        }
        Ok(())
    }
}

/// More files than this help nobody.
const SHARDS_MAX: usize = 64;

/// What is in force, read back from every connection that writes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InForce {
    /// `PRAGMA synchronous`.
    pub synchronous: Synchronous,
    /// `PRAGMA journal_mode`.
    pub journal_mode: String,
    /// `PRAGMA wal_autocheckpoint`, in pages.
    pub wal_autocheckpoint: i64,
    /// `PRAGMA cache_size`, in KiB.
    pub cache_size_kib: i64,
    /// The most operations in one transaction.
    pub max_batch: usize,
    /// How long a transaction waits for more operations.
    pub max_delay: Duration,
    /// How long a completion waits for those of other activities.
    pub max_turn_delay: Duration,
    /// Files.
    pub shards: usize,
    /// Threads that write to each file.
    pub writers: usize,
    /// Whether a transaction takes the write lock when it begins.
    pub immediate: bool,
    /// Whether fetches wait for work.
    pub long_poll: bool,
    /// Whether an acknowledgement hands out the next activity.
    pub hand_ahead: bool,
    /// Whether transactions that only hand out work are synced too.
    pub sync_fetches: bool,
}

/// Why a database could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// An option has a value that cannot work.
    #[error("option `{name}` {rule}")]
    Option {
        /// The field of [`Options`].
        name: &'static str,
        /// What it must be.
        rule: &'static str,
    },
    /// Another provider, perhaps of another process, has the database open.
    #[error("database `{directory}` is in use by another provider; close that one first")]
    InUse {
        /// The database's directory.
        directory: String,
    },
    /// The database is of another kind than this crate's.
    #[error("database `{directory}` {state}")]
    Foreign {
        /// The database's directory.
        directory: String,
        /// What was found.
        state: String,
    },
    /// The directory or its lock file could not be used.
    #[error("database `{directory}`: {error}")]
    Io {
        /// The database's directory.
        directory: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// SQLite said no.
    #[error("database `{directory}`: {error}")]
    Sqlite {
        /// The database's directory.
        directory: String,
        /// What SQLite said.
        error: rusqlite::Error,
    },
}
